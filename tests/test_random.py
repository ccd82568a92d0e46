"""Random numbers: known answers, equal on every device, well distributed, clear errors."""

import math
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import gputensor as gt
from gputensor import standin
from gputensor.kernels import dropout, random_bits, random_normal, random_uniform, runtime
from gputensor.random.discrete import _high_product

DTYPES = [gt.float32, gt.float64, gt.float16]


def bits(size, key, offset):
    return random_bits.raw(np.empty(size, np.uint32), key=key, offset=offset)


def test_known_answers(setting):
    # Of the Random123 distribution: a zero counter and key, and the digits of pi in the key.
    assert [hex(w) for w in bits(4, 0, 0)] == [
        *("0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8")
    ]


@pytest.mark.parametrize("threads", [1, 3])
def test_parts_make_the_whole(setting, threads, monkeypatch):
    monkeypatch.setattr(runtime, "_threads", lambda: threads)
    monkeypatch.setattr(sys.modules["gputensor.kernels.philox"], "_GRAIN", 1)
    runtime._pool.cache_clear()
    key = 12345678901234567890
    whole = bits(1003, key, 2**64 - 50)
    np.testing.assert_array_equal(whole[40:80], bits(40, key, 2**64 - 40))
    np.testing.assert_array_equal(whole[240:], bits(763, key, 10))  # the counter went round
    uniform = random_uniform.raw(np.empty(1003, np.float32), key=key, offset=2**64 - 50)
    np.testing.assert_array_equal(uniform, (whole >> 8) * np.float32(2.0**-24))
    runtime._pool.cache_clear()


def draws(rng, device, dtype):
    on = {"dtype": dtype, "device": device}
    for size in ((), 1, 3, 4, (5, 7), 1002, (0, 3)):
        yield rng.uniform(shape=size, **on)
        yield rng.uniform(-3.7, 11.3, size, **on)
        yield rng.random(size, **on)
        x = gt.ones(size, **on)
        with gt.device(device):
            yield gt.nn.functional.dropout(x * 3, 0.3, generator=rng)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_cuda_draws_the_same_bits(cupy, dtype, kernels, monkeypatch):
    expected = [x.numpy() for x in draws(gt.random.Generator(2**63 + 5), "cpu", dtype)]
    monkeypatch.setenv("GPUTENSOR_KERNELS", kernels)
    found = list(draws(gt.random.Generator(2**63 + 5), "cuda", dtype))
    for a, b in zip(found, expected, strict=True):
        assert a.device == "cuda"
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_array_equal(a.numpy(), b)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_draws_the_same_normals_to_rounding(cupy, dtype):
    tolerance = {"float32": 2e-6, "float64": 1e-14, "float16": 2e-3}[np.dtype(dtype).name]
    for size in (1, 2, 7, 1000):
        drawn = [
            gt.random.Generator(5).normal(2.0, 3.0, size, dtype=dtype, device=d).numpy()
            for d in ("cpu", "cuda")
        ]
        np.testing.assert_allclose(*drawn, rtol=tolerance, atol=10 * tolerance)


def test_cuda_draws_the_same_integers_and_permutations(cupy):
    for device in (f"cuda:{i}" for i in range(gt.cuda_status().devices)):
        for draw in (
            lambda rng, device: rng.integers(-(2**63), 2**63 - 1, 999, device=device),
            lambda rng, device: rng.integers(0, 7, (3, 5), dtype=np.uint8, device=device),
            lambda rng, device: rng.permutation(1000, device=device),
            lambda rng, device: rng.permutation(0, device=device),
        ):
            found, expected = (draw(gt.random.Generator(9), d) for d in (device, "cpu"))
            assert found.device == device
            assert found.tolist() == expected.tolist()
    assert standin.counters.synchronizations == standin.counters.transfers_to_host


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_key_and_counter_may_lie_on_the_device(cupy, kernels, monkeypatch):
    monkeypatch.setenv("GPUTENSOR_KERNELS", kernels)
    state = np.array([77, 2**64 - 9], np.uint64)
    x = np.arange(1.0, 1001.0).astype(np.float32)
    for place in (np.asarray, cupy.asarray):
        for kernel, operand, extra in (
            (random_bits, np.empty(1001, np.uint32), {}),
            (random_uniform, np.empty(1001, np.float32), {"low": -1.0}),
            (random_uniform, np.empty(1001, np.float64), {}),
            (random_normal, np.empty(1001, np.float32), {}),
            (dropout, x, {"p": 0.4}),
        ):
            expected = kernel.raw(operand.copy(), key=77, offset=3, **extra)
            found = kernel.raw(place(operand), key=1, offset=12, state=place(state), **extra)
            np.testing.assert_allclose(gt.asarray(found).numpy(), expected, rtol=2e-6, atol=1e-6)


def test_misaligned_views_are_filled_alike(cupy):
    whole = cupy.zeros(1001, np.float32)
    for kernel in (random_uniform, random_normal):
        kernel.raw(whole[1:], key=3, offset=4)
        expected = kernel.raw(np.empty(1000, np.float32), key=3, offset=4)
        np.testing.assert_allclose(whole[1:].get(), expected, rtol=2e-6, atol=1e-6)
        assert float(whole[0]) == 0


def test_the_distributions(setting):
    rng = gt.random.default_rng(11)
    n = 20_000
    for dtype in (gt.float32, gt.float64):
        u = rng.uniform(-2, 3, n, dtype=dtype).numpy()
        assert stats.kstest(u, stats.uniform(-2, 5).cdf).pvalue > 1e-3
        z = rng.normal(1, 2, n, dtype=dtype).numpy()
        assert stats.kstest(z, stats.norm(1, 2).cdf).pvalue > 1e-3
        assert abs(np.corrcoef(z[::2], z[1::2])[0, 1]) < 0.03
    counts = np.bincount(rng.integers(10, shape=n).numpy(), minlength=10)
    assert stats.chisquare(counts).pvalue > 1e-3
    first = np.bincount([int(rng.permutation(5)[0].item()) for _ in range(2000)], minlength=5)
    assert stats.chisquare(first).pvalue > 1e-3


@given(
    st.integers(0, 2**64 - 1), st.integers(1, 2**64), st.sampled_from([1, 2**32, 2**64 - 1, 2**64])
)
def test_the_high_product(word, span, edge):
    high, low = np.array([word >> 32], np.uint64), np.array([word & 0xFFFFFFFF], np.uint64)
    for length in (span, edge):
        assert int(_high_product(high, low, length)[0]) == word * length >> 64


@settings(deadline=None, max_examples=50)
@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**32), st.integers(0, 2**63))
def test_integers_stay_in_their_range(low, length, seed):
    high = min(low + length, 2**63 - 1)
    drawn = gt.random.Generator(seed).integers(low, high, 50, endpoint=True).numpy()
    assert (drawn >= low).all()
    assert (drawn <= high).all()


@settings(deadline=None, max_examples=50)
@given(st.floats(-(2.0**90), 2.0**90), st.floats(0, 2.0**90), st.sampled_from(DTYPES[:2]))
def test_uniform_numbers_stay_below_high(low, length, dtype):
    low, high = dtype.type(low), dtype.type(low + length)
    drawn = gt.random.Generator(1).uniform(float(low), float(high), 200, dtype=dtype).numpy()
    assert (drawn >= low).all()
    assert (drawn < high).all() or low == high


def test_all_integers_of_a_small_range_occur():
    assert set(gt.random.Generator(0).integers(-3, 4, 500).tolist()) == set(range(-3, 4))
    assert set(gt.random.Generator(0).integers(3, shape=500, endpoint=True).tolist()) == {
        0,
        1,
        2,
        3,
    }
    assert gt.random.Generator(0).integers(2, dtype=np.int8).dtype == np.int8


def test_the_state_is_saved_and_restored():
    rng = gt.random.Generator(4)
    rng.normal(shape=5)
    state = rng.state
    later = [rng.uniform(shape=3).tolist(), rng.permutation(10).tolist()]
    other = gt.random.Generator()
    other.state = state
    assert [other.uniform(shape=3).tolist(), other.permutation(10).tolist()] == later
    assert gt.manual_seed(8).state == (8, 0)
    a = gt.nn.Dense(3, 4).weight.tolist()
    gt.manual_seed(8)
    assert gt.nn.Dense(3, 4).weight.tolist() == a


def test_threads_take_different_numbers():
    rng = gt.random.Generator(6)
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda _: tuple(rng.uniform(shape=4).tolist()), range(200)))
    assert len(set(drawn)) == 200


def test_dropout_and_its_gradient_drop_the_same(setting):
    x = gt.ones((50, 40))
    x.requires_grad = True
    y = gt.nn.functional.dropout(x, 0.25, generator=gt.random.Generator(3))
    (y * 2).sum().backward()
    values = y.detach().numpy()
    assert set(np.unique(values)) == {0, np.float32(4 / 3)}
    assert abs((values == 0).mean() - 0.25) < 0.03
    np.testing.assert_array_equal(x.grad.numpy(), 2 * values)


@pytest.mark.parametrize("p", [0.0, 0.4, 1.0])
def test_dropout_against_finite_differences(setting, p):
    x = gt.random.Generator(1).normal(shape=(3, 4), dtype=gt.float64)
    x.requires_grad = True

    def drop(t):
        return gt.nn.functional.dropout(t * t, p, generator=gt.random.Generator(2))

    assert gt.gradcheck(drop, x)
    second = gt.grad(lambda t: gt.grad(lambda s: drop(s).sum())(t).sum())(x.detach())
    factor = drop(x.detach()).numpy() / x.detach().numpy() ** 2
    np.testing.assert_allclose(second.numpy(), 2 * factor)


def test_dropout_does_not_hide_nan(setting):
    x = gt.tensor([math.nan, math.inf] * 20)
    with np.errstate(invalid="ignore"):
        y = gt.nn.functional.dropout(x, 0.5, generator=gt.random.Generator(3)).numpy()
    assert np.isnan(y[::2]).all()
    assert (np.isnan(y[1::2]) | np.isinf(y[1::2])).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda rng: rng.uniform(2, 1), ValueError, "low is 2, high is 1"),
        (lambda rng: rng.uniform(0, math.inf), ValueError, "must be finite"),
        (lambda rng: rng.uniform(math.nan, 1), ValueError, "low is nan"),
        (lambda rng: rng.normal(0, -1), ValueError, "scale is -1; it must not be negative"),
        (lambda rng: rng.uniform(dtype=gt.int32), gt.errors.DTypeError, "not int32"),
        (lambda rng: rng.uniform(shape=-1), ValueError, r"shape is -1; .* non-negative"),
        (
            lambda rng: rng.uniform(shape=(2, 1.5)),
            TypeError,
            r"shape must hold ints, got \(2, 1.5\)",
        ),
        (lambda rng: rng.integers(0), ValueError, "the range is 0 to -1; it must not be empty"),
        (lambda rng: rng.integers(0, 300, dtype=np.uint8), ValueError, "0 to 299; .* 0 to 255"),
        (lambda rng: rng.permutation(-1), ValueError, "permutation: shape is -1"),
        (lambda rng: rng.manual_seed(-1), ValueError, "seed is -1"),
        (lambda rng: rng.manual_seed(1.5), TypeError, "seed must be an int, got float"),
        (lambda rng: setattr(rng, "state", (1, -1)), ValueError, "counter is -1"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call(gt.random.Generator(0))
