"""The table of cases: loops and CUDA equal the reference, special values and sizes included."""

import functools
import itertools
from unittest import mock

import numpy as np
import pytest

import gputensor as gt
from gputensor import backend
from gputensor.kernels import (
    CudaSource,
    adam_step,
    bias_activation,
    bias_activation_backward,
    embedding_backward,
    gather_scale,
    max_pool,
    sgd_step,
    softmax_cross_entropy,
    source,
)
from gputensor.nn import functional as F
from kernel_cases import (
    DTYPES,
    SHAPES,
    cases,
    cases_of,
    compare,
    expected,
    kernels_without_cases,
    misaligned,
    only,
    run,
)


@pytest.mark.cpu
def test_every_kernel_has_cases():
    assert not kernels_without_cases(), "add their calls to kernel_cases.py"


def check(found, place, how):
    for case in found:
        if how == "loop" and np.dtype(case.attrs.get("dtype", np.float64)).itemsize == 2:
            continue  # see test_gather_into_16_bits
        compare(case, run(case, place, how), expected(case))


@pytest.mark.cpu
@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_loops_equal_the_reference(shape, dtype, special):
    check(cases(*shape, dtype, special=special), np.copy, "loop")


class Arena:
    """Memory in which arrays lie one behind the other, or before it, `gap` bytes apart."""

    def __init__(self, gap, down):
        self.gap, self.down = gap, down
        self.room = np.zeros(1 << 20, np.uint8)
        self.low = self.high = self.room.size // 2

    def empty(self, shape, dtype=np.float64):
        dtype = np.dtype(dtype)
        size = int(np.prod(shape)) * dtype.itemsize
        if self.down:
            start = (self.low - size) // dtype.itemsize * dtype.itemsize
            self.low = start - self.gap
        else:
            start = -(-self.high // dtype.itemsize) * dtype.itemsize
            self.high = start + size + self.gap
        return self.room[start : start + size].view(dtype).reshape(shape)

    def empty_like(self, x, dtype=None):
        return self.empty(x.shape, x.dtype if dtype is None else dtype)

    def copy(self, x):
        out = self.empty(x.shape, x.dtype)
        out[...] = x
        return out


def laid_out(case, gap, down, order):
    """Results of a case whose operands, laid in that order, and results are neighbours."""
    arena = Arena(gap, down)
    operands = list(case.operands)
    named = {k: np.copy(v) if isinstance(v, np.ndarray) else v for k, v in case.attrs.items()}
    for i in order:
        if isinstance(operands[i], np.ndarray):
            operands[i] = arena.copy(operands[i])
            same = [k for k, v in case.attrs.items() if v is case.operands[i]]
            named |= dict.fromkeys(same, operands[i])
    there = case._replace(operands=tuple(operands), attrs=named)
    with mock.patch.multiple(np, empty=arena.empty, empty_like=arena.empty_like):
        return run(there, lambda x: x, "loop")


@pytest.mark.cpu
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [4, 8, 17, 130])
def test_bits_of_loops_do_not_depend_on_where_arrays_lie(columns, dtype):
    # Compiled loops look whether arrays are too near each other to go in vectors.
    for case in cases(3, columns, dtype):
        if np.dtype(case.attrs.get("dtype", np.float64)).itemsize == 2:
            continue
        wanted = run(case, np.copy, "loop")
        places = range(len(case.operands))
        for gap, down, order in itertools.product(
            (0, 8, 16, 48, 112), (False, True), (places, places[::-1])
        ):
            for a, b in zip(laid_out(case, gap, down, order), wanted, strict=True):
                np.testing.assert_array_equal(a, b, err_msg=f"{case} {gap} {down} {order}")


@pytest.mark.cpu
def test_gather_into_16_bits():
    check(
        [c for c in cases_of(gather_scale, 3, 5) if np.dtype(c.attrs["dtype"]).itemsize == 2],
        np.copy,
        None,
    )


@pytest.mark.cpu
@pytest.mark.parametrize("shape", [(3, 5), (7, 128)])
def test_loops_take_misaligned_arrays(shape):
    check(cases(*shape), lambda a: misaligned(np, a), "loop")


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_cuda_equals_the_reference(cupy, shape, special):
    check(cases(*shape, special=special), cupy.asarray, "cuda")


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize(
    "shape", [(3, 5), *(pytest.param(s, marks=pytest.mark.slow) for s in ((9, 64), (2, 600)))]
)
def test_cuda_in_other_dtypes(cupy, dtype, shape):
    if dtype not in DTYPES:
        pytest.skip("ml_dtypes is not installed")
    for special in (False, True):
        check(cases(*shape, DTYPES[dtype], special=special), cupy.asarray, "cuda")


@pytest.mark.parametrize("shape", [(3, 5), (7, 128)])
def test_cuda_takes_misaligned_arrays(cupy, shape):
    def odd(array):
        return misaligned(cupy, array)

    check(cases(*shape), odd, "cuda")
    for case in cases(*shape):
        wanted = expected(case)
        for i in range(sum(isinstance(a, np.ndarray) for a in case.operands)):
            compare(case, run(case, only(i, odd, cupy.asarray), "cuda"), wanted)


@pytest.mark.parametrize("shape", [(40, 64), (300, 7)])
def test_grid_stride_loops_go_round(cupy, shape, monkeypatch):
    monkeypatch.setattr(source, "_BLOCKS_PER_MULTIPROCESSOR", 1)
    monkeypatch.setattr(source, "_multiprocessors", functools.cache(lambda _device: 1))
    check(cases(*shape), cupy.asarray, "cuda")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_means_below_the_normal_numbers_become_zero(cupy, dtype):
    tiny = np.finfo(dtype).tiny
    # Halved, they are the smallest normal number, one half of it, and its negative.
    start = cupy.asarray(np.array([2 * tiny, tiny, -2 * tiny, -tiny, np.nan], dtype))
    p, g = cupy.ones(5, dtype), cupy.zeros(5, dtype)
    m, v, velocity = (start.copy() for _ in range(3))
    count, ticket = cupy.zeros(1, np.int64), cupy.zeros(1, np.uint32)
    adam_step.raw(p, g, m, v, count, ticket, lr=0.1, beta1=0.5, beta2=0.5, eps=1e-8)
    sgd_step.raw(p, g, velocity, lr=0.1, momentum=0.5)
    for means in (m, velocity):
        np.testing.assert_array_equal(means.get(), np.array([tiny, 0, -tiny, 0, np.nan], dtype))
    np.testing.assert_array_equal(v.get(), np.array([tiny, 0, 0, 0, np.nan], dtype))


def test_gradients_of_rows_that_are_not_there_are_left_out(cupy):
    g = cupy.asarray(np.arange(16, dtype=np.float32).reshape(4, 4))
    index = cupy.asarray(np.array([2, 0, -1, 0]))
    grad = embedding_backward.raw(g, index, rows=2)
    np.testing.assert_array_equal(grad.get(), [[16, 18, 20, 22], [0, 0, 0, 0]])


def test_the_first_of_many_bad_numbers_is_named(cupy):
    index = np.zeros(2000, np.int64)
    index[[700, 1999]] = 5, 7  # in several blocks, which run in any order
    weight = gt.ones((5, 4), device="cuda")
    out = F.embedding(index, weight)
    with pytest.raises(gt.errors.OutOfRangeError, match=r"index 5 at place 700 .* has 5 rows"):
        out.numpy()
    out = F.embedding(np.array([-1, 0]), weight)
    with pytest.raises(gt.errors.OutOfRangeError, match="index -1 at place 0"):
        out.numpy()


QUOTIENTS = CudaSource(r"""
#include "common.cuh"
extern "C" __global__ void quotients(const int64* i, const int64* n, int64* out, int64 size) {
    for (int64 k = first_index(); k < size; k += grid_stride()) out[k] = quotient(i[k], n[k]);
}
""")


def test_quotients_beyond_32_bits(cupy):
    edges = [1, 3, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**33, 2**40 + 7, 2**62]
    i, n = (a.reshape(-1) for a in np.meshgrid([0, *edges], edges))
    out = cupy.empty(i.size, np.int64)
    args = cupy.asarray(i), cupy.asarray(n), out, i.size
    QUOTIENTS.launch("quotients", args, elements=i.size)
    np.testing.assert_array_equal(out.get(), i // n)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_rounded_to_even(cupy, dtype):
    if dtype not in DTYPES:
        pytest.skip("ml_dtypes is not installed")
    dtype = np.dtype(DTYPES[dtype])
    # The type's own numbers, the middles between neighbours, and what is next to these.
    exact = np.arange(1 << 15, dtype=np.uint16).view(dtype).astype(np.float32)
    exact = exact[np.isfinite(exact) & (exact > 1e-6)]
    middle = exact[:-1] + np.diff(exact) / 2
    x = np.concatenate(
        [exact, middle, np.nextafter(middle, 0), np.nextafter(middle, np.float32(np.inf))]
    )
    x = np.concatenate([x, -x, np.array([np.inf, -np.inf, np.nan, 3.4e38], np.float32)])
    index = cupy.zeros(1, np.int64)
    found = gather_scale.raw(cupy.asarray(x[None]), index, dtype=dtype).get()[0]
    with np.errstate(over="ignore"):
        wanted = x.astype(dtype)
    numbers = ~np.isnan(x)
    np.testing.assert_array_equal(found[numbers].view(np.uint16), wanted[numbers].view(np.uint16))
    assert np.isnan(found[~numbers].astype(np.float32)).all()


@pytest.mark.parametrize("by_label", [True, False])
def test_a_row_without_a_finite_logit_is_not_right(cupy, by_label):
    logits = cupy.asarray(np.full((1, 4), -np.inf, np.float32))
    target = np.zeros(1, np.int64) if by_label else np.eye(1, 4, dtype=np.float32)
    assert int(softmax_cross_entropy.raw(logits, cupy.asarray(target)).correct.get()) == 0


def test_relu_of_minus_zero_is_zero(cupy):
    z = cupy.asarray(np.array([[-0.0, -1.0, 0.0]], np.float32))
    out = bias_activation.raw(z, cupy.asarray(np.float32([-0.0, 0, 0])), kind="relu").get()
    np.testing.assert_array_equal(out, 0)
    assert not np.signbit(out).any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_relu_where_its_argument_is_hardly_a_number(cupy, dtype):
    tiny, nan = np.finfo(dtype).smallest_subnormal, np.nan
    y = np.array([[-nan, nan, -np.inf, np.inf, -tiny, tiny, -0.0, 0.0, -1, 1]], dtype)
    ones, bias = cupy.ones(y.shape, dtype), cupy.zeros(y.size, dtype)
    dz, db = bias_activation_backward.raw(ones, cupy.asarray(y), bias, kind="relu")
    passes = np.array([1, 1, 0, 1, 0, 1, 0, 0, 0, 1], dtype)
    np.testing.assert_array_equal(dz.get()[0], passes)
    np.testing.assert_array_equal(db.get(), passes)
    keep = np.isin(np.arange(y.size), [4, 5], invert=True)  # CuPy's kernels flush subnormals
    out = bias_activation.raw(cupy.asarray(y), bias, kind="relu").get()[0]
    np.testing.assert_array_equal(out[keep], np.where(y[0] <= 0, 0, y[0])[keep])


@pytest.mark.cpu
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_rows(dtype):
    check(cases(0, 4, DTYPES[dtype]), np.copy, "reference")


def test_no_rows_on_cuda(cupy):
    check(cases(0, 4), cupy.asarray, "reference")


def test_the_first_of_two_zeros_is_the_largest(cupy):
    one_window = {"window": (1, 2), "stride": (1, 1), "dilation": (1, 1), "before": (0, 0)}
    for zeros in ([-0.0, 0.0], [0.0, -0.0]):
        x = np.array(zeros, np.float32).reshape(1, 1, 2, 1)
        for place in (np.array, cupy.asarray):
            found = max_pool.raw(place(x), **one_window, out=(1, 1))
            largest = np.asarray(backend.to_host(found))
            assert np.signbit(largest).item() == np.signbit(zeros[0])
