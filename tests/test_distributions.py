"""Distributions: equal to SciPy's, alike on both devices, with gradients, and clear errors."""

import copy
import pickle

import numpy as np
import pytest
from scipy import special, stats

import gputensor as gt
from gputensor import standin
from gputensor.random import Generator

N = 20_000
LEAST = 1e-3  # p-value below which a test with a fixed seed fails


def host(x):
    return x.detach().cpu().numpy()


def check(drawn, distribution):
    found = host(drawn).astype(np.float64).reshape(-1)
    assert np.isfinite(found).all()
    assert stats.kstest(found, distribution.cdf).pvalue > LEAST
    error = np.sqrt(distribution.var() / found.size)
    assert abs(found.mean() - distribution.mean()) < 5 * error


CONTINUOUS = {
    "exponential": (lambda g, **o: g.exponential(2.5, N, **o), stats.expon(scale=2.5)),
    **{
        f"gamma {a}": (lambda g, a=a, **o: g.gamma(a, 0.5, N, **o), stats.gamma(a, scale=0.5))
        for a in (0.3, 0.999, 1.0, 1.7, 12.0, 1e5)
    },
    "standard_gamma": (lambda g, **o: g.standard_gamma(2.0, N, **o), stats.gamma(2)),
    "beta": (lambda g, **o: g.beta(2.0, 3.5, N, **o), stats.beta(2, 3.5)),
    "beta below 1": (lambda g, **o: g.beta(0.5, 0.7, N, **o), stats.beta(0.5, 0.7)),
    "normal": (
        lambda g, **o: g.normal(gt.full(N, 3.0, dtype=gt.float64), 2.0),
        stats.norm(3, 2),
    ),
    "uniform": (
        lambda g, **o: g.uniform(gt.full(N, -3.0, dtype=gt.float64), 2.0),
        stats.uniform(-3, 5),
    ),
}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_distributions_are_those_of_scipy(name, seed):
    draw, distribution = CONTINUOUS[name]
    check(draw(Generator(seed), dtype=gt.float64), distribution)


def counts(drawn, k):
    return np.bincount(host(drawn).reshape(-1).astype(np.int64), minlength=k)


def check_counts(found, chances):
    possible = np.asarray(chances) * found.sum() > 1e-9
    assert not found[~possible].any()
    chances = np.asarray(chances)[possible]
    wanted = chances / chances.sum() * found.sum()
    if possible.sum() > 1:
        assert stats.chisquare(found[possible], wanted).pvalue > LEAST


P = np.array([0.1, 0.0, 0.3, 0.2, 0.4])


@pytest.mark.parametrize("seed", [1, 2])
def test_discrete_distributions(seed):
    g = Generator(seed)
    check_counts(counts(g.bernoulli(0.3, N), 2), [0.7, 0.3])
    check_counts(counts(g.bernoulli(gt.full(N, 0.3)), 2), [0.7, 0.3])
    for n, p in ((1, 0.5), (7, 0.2), (60, 0.5), (5, 0.0), (5, 1.0)):
        check_counts(counts(g.binomial(n, p, N), n + 1), stats.binom(n, p).pmf(np.arange(n + 1)))
    check_counts(counts(g.choice(5, N), 5), np.ones(5))
    for p in (P, (7 * P).tolist(), gt.asarray(P)):
        check_counts(counts(g.choice(5, N, p=p), 5), P)
    with np.errstate(divide="ignore"):
        logits = gt.asarray(np.log(P))
    check_counts(counts(g.categorical(logits, N), 5), P)
    check_counts(host(g.multinomial(N, P)), P)


def test_a_large_binomial():
    found = host(Generator(3).binomial(1 << 20, 0.37, N)).astype(np.float64)
    wanted = stats.binom(1 << 20, 0.37)
    assert abs(found.mean() - wanted.mean()) < 5 * wanted.std() / np.sqrt(N)
    assert stats.kstest(found, wanted.cdf).pvalue > LEAST


@pytest.mark.parametrize("seed", [1, 2])
def test_binomials_of_tensors_are_those_of_scipy(seed):
    n = np.array([0, 1, 7, 60, 400, 1 << 20])
    p = np.array([[0.0], [1e-6], [0.3], [0.999], [1.0]])
    found = Generator(seed).binomial(gt.asarray(n), gt.asarray(p), (N // 10, 5, 6))
    assert found.dtype == gt.int64
    for (i, j), _ in np.ndenumerate(np.empty((5, 6))):
        drawn = host(found)[:, i, j].astype(float)
        wanted = stats.binom(n[j], p[i, 0])
        if wanted.var() < 1e-3:
            assert abs(drawn - wanted.mean()).max() <= 1
        elif wanted.var() > 25:  # nearly continuous
            moved = drawn + np.random.default_rng(seed).random(drawn.size) - 0.5
            assert stats.kstest(moved, lambda x, w=wanted: w.cdf(np.round(x))).statistic < 0.1
            assert abs(drawn.mean() - wanted.mean()) < 5 * wanted.std() / np.sqrt(drawn.size)
            assert drawn.var() == pytest.approx(wanted.var(), rel=0.2)
        else:
            chances = wanted.pmf(np.arange(n[j] + 1))
            often = chances * drawn.size > 5
            seen = np.bincount(drawn.astype(int), minlength=n[j] + 1)
            seen, chances = (np.append(x[often], x[~often].sum()) for x in (seen, chances))
            check_counts(seen, chances)


def test_binomials_of_numbers_and_tensors_are_the_same():
    for n, p in ((9, 0.3), (1000, 0.01), (1 << 20, 0.37), (3, 1.0), (3, 0.0), (0, 0.5)):
        expected = host(Generator(3).binomial(n, p, 500))
        for given in ((gt.asarray(np.full(500, n)), p), (n, gt.full(500, p, dtype=gt.float64))):
            np.testing.assert_array_equal(host(Generator(3).binomial(*given)), expected)
    assert Generator(3).binomial([3, 4], [[0.5], [0.25]]).shape == (2, 2)


def test_binomials_out_of_range(cupy):
    g = Generator(3)
    for n, p in (([3, -1], 0.5), (3, [0.5, 1.5]), (3, [np.nan]), ([1 << 21], 0.5)):
        with pytest.raises(ValueError, match=r"binomial: [np] has other .* from 0 to"):
            g.binomial(n, p, device="cpu")
    with pytest.raises(gt.errors.DTypeError, match="binomial: n must be of integers, not float"):
        g.binomial([2.5], 0.5)
    with pytest.raises(gt.errors.ShapeError, match="do not broadcast"):
        g.binomial([2, 3], [0.5, 0.5, 0.5])
    n = gt.asarray([3, -1, 1 << 21, 3], device="cuda")
    p = gt.asarray([1.0, 0.5, 0.5, np.nan], device="cuda")
    assert g.binomial(n, p).tolist() == [3, -1, -1, -1]


def test_multinomial_counts_add_up():
    found = Generator(4).multinomial(50, gt.asarray(P), (3, 4000))
    assert found.shape == (3, 4000, 5)
    assert found.dtype == gt.int64
    assert (host(found).sum(axis=-1) == 50).all()
    flat = host(found).reshape(-1, 5)
    np.testing.assert_allclose(flat.mean(axis=0), 50 * P, atol=0.2)
    np.testing.assert_allclose(flat.var(axis=0), 50 * P * (1 - P), rtol=0.1)
    assert host(Generator(4).multinomial(0, [1.0], 2)).tolist() == [[0], [0]]


@pytest.mark.parametrize("p", [None, P])
def test_choice_without_replacement(p):
    g = Generator(5)
    drawn = np.stack([host(g.choice(5, 3, replace=False, p=p)) for _ in range(4000)])
    assert all(len(set(row)) == 3 for row in drawn.tolist())
    weights = np.full(5, 0.2) if p is None else p
    first = np.bincount(drawn[:, 0], minlength=5)
    check_counts(first, weights)
    # The second follows from what the first left.
    second = np.zeros(5)
    for i in np.flatnonzero(weights):
        rest = np.where(np.arange(5) == i, 0, weights)
        second += weights[i] * rest / rest.sum()
    check_counts(np.bincount(drawn[:, 1], minlength=5), second)


def test_choice_of_elements_is_on_the_tape():
    x = gt.tensor(np.arange(12.0).reshape(3, 4), requires_grad=True)
    out = Generator(6).choice(x, (2, 5), axis=1)
    assert out.shape == (3, 2, 5)
    out.sum().backward()
    found = counts(out[0], 4)
    np.testing.assert_array_equal(host(x.grad), np.tile(found, (3, 1)))
    assert host(Generator(6).choice([10.5, 20.5], 4)).dtype == np.float32
    assert Generator(6).choice(3).shape == ()


def test_shuffles_move_whole_entries():
    x = gt.asarray(np.arange(40).reshape(10, 4))
    moved = Generator(7).permutation(x)
    assert moved is not x
    order = host(moved)[:, 0] // 4
    assert sorted(order) == list(range(10)) != list(order)
    np.testing.assert_array_equal(host(moved), host(x)[order])
    same = gt.asarray(np.arange(40).reshape(10, 4))
    Generator(7).shuffle(same)
    np.testing.assert_array_equal(host(same), host(moved))
    columns = host(Generator(7).permutation(x, axis=-1))
    assert sorted(columns[0]) == [0, 1, 2, 3]
    assert (columns - columns[0] == np.arange(0, 40, 4)[:, None]).all()
    assert sorted(host(Generator(7).permutation(6))) == list(range(6))


# ---------------------------------------------------------------- parameters that are tensors


def test_tensors_broadcast_and_decide_on_dtype():
    g = Generator(8)
    a, b = gt.ones((3, 1), dtype=gt.float64), gt.ones(4)
    for draw in (g.normal, g.uniform, g.gamma, g.beta):
        out = draw(a, 2 * b)
        assert (out.shape, out.dtype) == ((3, 4), gt.float64)
        assert draw(b, 2.0, (2, 4)).dtype == gt.float32
        assert draw(b, 2.0, (2, 4), dtype=gt.float16).shape == (2, 4)
        with pytest.raises(gt.errors.ShapeError, match="do not broadcast to"):
            draw(a, b, (4, 3))
        with pytest.raises(gt.errors.ShapeError, match="do not broadcast to each other"):
            draw(gt.ones(3), b)
    assert g.exponential(a).shape == (3, 1)
    assert g.bernoulli(b / 2).dtype == gt.bool
    assert g.normal([1.0, 2.0], 1).shape == (2,)
    assert g.gamma(gt.ones(3, dtype=gt.int64)).dtype == gt.float32


def test_numbers_that_are_drawn_the_same_way_are_the_same():
    ones = gt.ones(5000, dtype=gt.float64)
    for name, number in (("gamma", 0.4), ("exponential", 1.5)):
        a = getattr(Generator(9), name)(number, shape=5000, dtype=gt.float64)
        b = getattr(Generator(9), name)(number * ones)
        np.testing.assert_allclose(host(a), host(b), rtol=1e-14)


def test_normal_uniform_and_exponential_are_reparameterized():
    loc, scale = (
        gt.tensor(v, dtype=gt.float64, requires_grad=True) for v in ([1.0, 2.0], [3.0, 0.5])
    )
    for name in ("normal", "uniform", "exponential"):
        given = (scale,) if name == "exponential" else (loc, scale)
        for t in (loc, scale):
            t.grad = None
        out = getattr(Generator(10), name)(*given, (1000, 2))
        out.sum(axis=0).sum().backward()
        drawn = host(out)
        if name == "uniform":
            share = (drawn - host(loc)) / (host(scale) - host(loc))
            np.testing.assert_allclose(host(loc.grad), (1 - share).sum(axis=0))
        elif name == "normal":
            share = (drawn - host(loc)) / host(scale)
            np.testing.assert_allclose(host(loc.grad), [1000, 1000])
        else:
            share = drawn / host(scale)
        np.testing.assert_allclose(host(scale.grad), share.sum(axis=0), rtol=1e-9)


def test_gamma_gradients_follow_the_quantile_function():
    values = np.repeat([0.05, 0.4, 1.0, 1.01, 3.0, 60.0, 3e4], 300)
    a = gt.tensor(values, dtype=gt.float64, requires_grad=True)
    scale = gt.tensor(2.0, dtype=gt.float64, requires_grad=True)
    x = Generator(11).gamma(a, scale)
    x.sum().backward()
    drawn = host(x) / 2
    probability = special.gammainc(values, drawn)
    # Near 1 the inverse of the complement is the exact one.
    upper = drawn > values
    step = 1e-5 * values / np.sqrt(1 + values)

    def quantile(a):
        rest = special.gammaincc(values, drawn)
        return np.where(upper, special.gammainccinv(a, rest), special.gammaincinv(a, probability))

    wanted = 2 * (quantile(values + step) - quantile(values - step)) / (2 * step)
    sure = drawn > 1e-250
    np.testing.assert_allclose(host(a.grad)[sure], wanted[sure], rtol=1e-4, atol=1e-6)
    assert host(scale.grad) == pytest.approx(drawn.sum(), rel=1e-12)


def test_the_mean_of_gamma_gradients_is_that_of_the_mean():
    # d/da of E[x] = a and of E[x**2] = a + a**2
    a = gt.tensor(1.8, dtype=gt.float64, requires_grad=True)
    for power, slope in ((1, 1.0), (2, 1 + 2 * 1.8)):
        a.grad = None
        (Generator(12).gamma(a, shape=N) ** power).mean().backward()
        assert a.grad.item() == pytest.approx(slope, rel=0.03)
    b = gt.tensor(2.2, dtype=gt.float64, requires_grad=True)
    a.grad = None
    Generator(12).beta(a, b, N).mean().backward()
    assert a.grad.item() == pytest.approx(2.2 / 16, rel=0.03)
    assert b.grad.item() == pytest.approx(-1.8 / 16, rel=0.03)


def test_second_derivatives_of_gamma_follow_the_quantile_function():
    values = np.repeat([0.05, 0.4, 1.0, 1.01, 3.0, 60.0, 3e4], 100)
    a = gt.tensor(values, dtype=gt.float64)

    def slope(v):
        return gt.sum(gt.grad(lambda u: gt.sum(Generator(11).gamma(u)))(v))

    found = host(gt.grad(slope)(a))
    drawn = host(Generator(11).gamma(a))
    below, above = special.gammainc(values, drawn), special.gammaincc(values, drawn)
    step = 1e-3 * values / np.sqrt(1 + values)

    def quantile(v):
        exact = special.gammaincinv(v, below), special.gammainccinv(v, above)
        return np.where(drawn > values, *exact[::-1])

    wanted = (quantile(values + step) - 2 * drawn + quantile(values - step)) / step**2
    sure = drawn > 1e-250
    np.testing.assert_allclose(found[sure], wanted[sure], rtol=2e-3, atol=1e-6)


def test_the_mean_of_second_derivatives_is_that_of_the_mean(cupy):
    # of E[x**2] = a + a**2 for gamma variables, and of E[x] = a / (a + b) for beta ones
    for device in ("cpu", "cuda"):
        for draw, wanted in (
            (lambda v: Generator(12).gamma(v, shape=N) ** 2, 2.0),
            (lambda v: Generator(12).beta(v, 2.2, N), -2 * 2.2 / 4**3),
        ):

            def slope(v, draw=draw):
                return gt.grad(lambda u: gt.mean(draw(u)))(v)

            found = gt.grad(slope)(gt.tensor(1.8, dtype=gt.float64, device=device))
            assert found.item() == pytest.approx(wanted, rel=0.05)


def test_gamma_has_no_third_derivative():
    with pytest.raises(gt.errors.GraphError, match="third derivatives"):
        gt.grad(gt.grad(gt.grad(lambda a: Generator(13).gamma(a))))(gt.tensor(2.0))


def test_tiny_concentrations_keep_their_ratio():
    # x and y themselves are 0 in float64 here.
    out = host(Generator(14).beta(1e-3, 1e-3, N, dtype=gt.float64))
    assert np.isfinite(out).all()
    assert abs(np.mean(out > 0.5) - 0.5) < 0.02


# ---------------------------------------------------------------- devices


def draws(g, device):
    on = {"dtype": gt.float64, "device": device}
    with gt.device(device):
        yield g.exponential(1.5, (3, 5), **on)
        yield g.gamma(0.4, 2.0, 3000, **on)
        yield g.gamma(gt.asarray(np.linspace(0.1, 20, 999)))
        yield g.beta(2.0, 0.5, 101, **on)
        yield g.normal(gt.ones(3), gt.asarray(np.arange(3.0)), (2, 3))
        yield g.uniform(gt.zeros(3), 2.0)
        yield g.bernoulli(0.3, 100)
        yield g.binomial(9, 0.3, 100)
        yield g.binomial(gt.arange(50), gt.asarray(np.linspace(0, 1, 50)), (20, 50))
        yield g.categorical(gt.asarray(np.log([[0.2, 0.8], [0.5, 0.5]])), (7, 2))
        yield g.categorical(gt.asarray(np.log([[0.2, 0.8], [0.5, 0.5]])), axis=0)
        yield g.multinomial(12, P, (2, 3))
        yield g.choice(7, (4, 2))
        yield g.choice(5, 4, False)
        yield g.choice(5, 3, False, P)
        yield g.choice(gt.asarray(np.arange(5.0)), 6, p=gt.asarray(P))
        yield g.permutation(gt.asarray(np.arange(9)))


def test_equal_seeds_draw_alike_on_every_device(cupy):
    for a, b in zip(*(list(draws(Generator(15), d)) for d in ("cpu", "cuda")), strict=True):
        assert (a.device, b.device, a.dtype, a.shape) == ("cpu", "cuda", b.dtype, b.shape)
        np.testing.assert_allclose(host(b), host(a), rtol=1e-6)


@pytest.mark.standin  # which counts
def test_the_host_reads_nothing(cupy):
    g = Generator(16)
    with gt.device("cuda"):
        a = gt.ones(300)
        a.requires_grad = True
        p = gt.ones(10)
        g.gamma(a)
        standin.counters.reset()
        (g.gamma(a, a) + g.beta(a, a) + g.exponential(a) + g.normal(a, a)).sum().backward()
        g.gamma(0.3, shape=5)
        g.binomial(gt.asarray(p, dtype=gt.int64), p)
        g.categorical(p, 100)
        g.multinomial(5, p, 3)
        g.choice(p, 4, p=p)
        g.choice(10, 4, replace=False, p=p)
        counters = standin.counters
        assert (counters.transfers_to_host, counters.synchronizations) == (0, 0)
        assert counters.transfers_to_device == 0
    assert a.grad is not None


def test_captured_draws_go_on(cupy):
    found = []
    for capture in (lambda f: f, gt.capture):
        g = Generator(17)

        @capture
        def draw(a, g=g):
            return g.gamma(a), g.exponential(a), g.categorical(a)

        with gt.device("cuda"):
            a = gt.ones(50)
            found.append([host(x) for _ in range(4) for x in draw(a)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_parameters_and_device_must_agree(cupy):
    with pytest.raises(gt.errors.DeviceMismatchError, match=r"x\.to\('cpu'\)"):
        Generator(1).normal(gt.ones(3, device="cuda"), 1.0, device="cpu")
    with pytest.raises(gt.errors.DeviceMismatchError):
        Generator(1).choice(3, 2, p=gt.ones(3, device="cuda"), device="cpu")


# ---------------------------------------------------------------- streams


def test_spawned_streams_differ_and_are_reproducible():
    parent = Generator(18)
    children = parent.spawn(5)
    again = Generator(18).spawn(5)
    assert [c.state for c in children] == [c.state for c in again]
    assert parent.spawn(1)[0].state != children[0].state
    drawn = np.stack([host(c.normal(shape=5000)) for c in (*children, parent)])
    correlation = np.corrcoef(drawn) - np.eye(6)
    assert np.abs(correlation).max() < 5 / np.sqrt(5000)
    with pytest.raises(ValueError, match="spawn"):
        parent.spawn(-1)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))])
def test_generators_are_copied_with_their_state(again):
    g = Generator(19)
    g.random(7)
    other = again(g)
    assert other.state == g.state
    assert host(other.random(9)).tolist() == host(g.random(9)).tolist()


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda g: g.exponential(-1), ValueError, "exponential: scale is -1"),
        (lambda g: g.gamma(0), ValueError, "gamma: concentration is 0; it must be above 0"),
        (lambda g: g.gamma(1, np.nan), ValueError, "gamma: scale is nan"),
        (lambda g: g.gamma(np.inf), ValueError, "gamma: concentration is inf"),
        (lambda g: g.beta(1, -2), ValueError, "beta: b is -2"),
        (lambda g: g.bernoulli(1.5), ValueError, "bernoulli: p is 1.5.* at most 1"),
        (lambda g: g.binomial(-1, 0.5), ValueError, "binomial: n is -1"),
        (lambda g: g.binomial(1 << 21, 0.5), ValueError, "binomial: n is 2097152"),
        (lambda g: g.binomial(3, 1.5), ValueError, "binomial: p is 1.5"),
        (lambda g: g.binomial(2.5, 0.5), TypeError, "integer"),
        (lambda g: g.binomial(True, 0.5), TypeError, "integer"),
        (lambda g: g.categorical(gt.ones((2, 0))), gt.errors.ShapeError, "nothing to choose"),
        (lambda g: g.categorical(gt.ones(3), axis=1), gt.errors.ShapeError, "axis 1"),
        (
            lambda g: g.categorical(gt.ones((2, 3)), (2, 5)),
            gt.errors.ShapeError,
            r"end with \(2,\)",
        ),
        (lambda g: g.multinomial(3, [[0.5, 0.5]]), gt.errors.ShapeError, r"\(1, 2\)"),
        (lambda g: g.multinomial(3, [0.5, -0.5]), ValueError, "negative"),
        (lambda g: g.multinomial(-3, [0.5, 0.5]), ValueError, "n is -3"),
        (lambda g: g.choice(3, p=[0.5, 0.5]), gt.errors.ShapeError, r"\(2,\); it must be \(3,\)"),
        (lambda g: g.choice(3, p=[0.5, np.nan, 0]), ValueError, "NaN"),
        (lambda g: g.choice(2, p=[0.0, 0.0]), ValueError, "all zero"),
        (lambda g: g.choice(3, 4, replace=False), ValueError, "4 out of 3"),
        (lambda g: g.choice(0, 1), ValueError, "1 out of 0"),
        (lambda g: g.choice(3, 2, False, [0, 1, 0]), ValueError, "fewer than 2 entries"),
        (lambda g: g.choice(gt.ones(3), 2, axis=1), gt.errors.ShapeError, "axis 1"),
        (lambda g: g.choice(3, -1), ValueError, "shape is -1"),
        (lambda g: g.shuffle([1, 2]), TypeError, "Tensor, got list"),
        (lambda g: g.permutation(gt.ones(3), 1), gt.errors.ShapeError, "axis 1"),
        (lambda g: g.permutation(-1), ValueError, "permutation"),
        (lambda g: g.gamma(2.0, dtype=gt.int64), gt.errors.DTypeError, "int64"),
        (lambda g: g.exponential(2.0, dtype="i8"), gt.errors.DTypeError, "int64"),
    ],
)
def test_bad_input_is_explained(call, error, message):
    g = Generator(20)
    with pytest.raises(error, match=message):
        call(g)


def test_a_concentration_that_is_not_positive_gives_nan():
    found = host(Generator(21).gamma(gt.tensor([-1.0, 0.0, np.nan, 2.0])))
    assert np.isnan(found).tolist() == [True, True, True, False]


def test_no_numbers():
    g = Generator(22)
    for out in (g.gamma(2.0, 1.0, 0), g.exponential(1.0, (0, 3)), g.beta(1.0, 1.0, 0)):
        assert out.size == 0
    assert g.choice(4, 0).shape == (0,)
    assert g.choice(0, 0).shape == (0,)
    assert g.multinomial(3, [1.0], 0).shape == (0, 1)
