"""Convolutions on the CPU go through a few images at a time: every gradient, and the same bits."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gputensor as gt
from gputensor.kernels import runtime
from gputensor.nn import functional as F
from gputensor.ops import convolution

RNG = np.random.default_rng(0)
CASES = [
    (F.conv2d, (5, 3, 7, 6), (4, 3, 3, 2), {"stride": 2, "padding": 1}),
    (F.conv2d, (5, 2, 7, 6), (4, 2, 2, 3), {"dilation": 2}),
    (F.conv_transpose2d, (5, 3, 4, 3), (3, 4, 3, 2), {"stride": 2, "padding": 1}),
]


def operands(x_shape, w_shape, dtype="float64"):
    return [
        gt.tensor(RNG.standard_normal(shape), dtype=dtype, requires_grad=True)
        for shape in (x_shape, w_shape, (4,))
    ]


@pytest.mark.parametrize(("function", "x_shape", "w_shape", "options"), CASES)
@pytest.mark.parametrize("elements", [1, 200, 1 << 20])
def test_gradients_of_both_orders(function, x_shape, w_shape, options, elements, monkeypatch):
    monkeypatch.setattr(convolution, "_ELEMENTS", elements)
    given = operands(x_shape, w_shape)
    assert gt.gradcheck(lambda *a: function(*a, **options), *given)
    small = [
        gt.tensor(t.detach().numpy()[:1], requires_grad=True) if t is given[0] else t for t in given
    ]
    assert gt.gradgradcheck(lambda *a: function(*a, **options), *small)


@pytest.mark.cpu
@pytest.mark.parametrize(("function", "x_shape", "w_shape", "options"), CASES)
def test_bits_do_not_depend_on_threads(function, x_shape, w_shape, options, monkeypatch):
    monkeypatch.setattr(convolution, "_ELEMENTS", 1)
    x, w, b = operands(x_shape, w_shape, "float32")
    gradients = gt.grad(total(function, options), (0, 1, 2))
    found = []
    with ThreadPoolExecutor(2) as pool:
        monkeypatch.setattr(runtime, "_pool", lambda: pool)
        for threads in (1, 3):
            monkeypatch.setattr(runtime, "_threads", lambda n=threads: n)
            results = function(x, w, b, **options), *gradients(x, w, b)
            found.append([t.detach().numpy() for t in results])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def total(function, options):
    return lambda x, w, b: gt.sum(function(x, w, b, **options) ** 2)


@pytest.mark.cpu
def test_an_error_in_a_part_of_shared_work_is_raised():
    def work(start, stop):
        raise KeyError(start)

    with pytest.raises(KeyError):
        runtime.shared(work, 8)


@pytest.mark.cpu
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_where_with_a_number_is_that_of_numpy(order, dtype):
    x = RNG.standard_normal((40, 30, 20)).astype(dtype).transpose(order)
    x[0, 0, 0] = np.nan
    condition = x > 0
    for arguments in ((x, 0), (-np.inf, x), (x, np.nan)):
        found = gt.where(condition, *arguments).numpy()
        wanted = np.where(condition, *arguments)
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype
        assert found.strides == wanted.strides


def test_gelu_keeps_the_digits_of_its_tail():
    special = pytest.importorskip("scipy.special")
    x = np.linspace(-9, 9, 4001).astype(np.float32)
    wide = x.astype(np.float64)
    wanted = wide * 0.5 * special.erfc(-wide / np.sqrt(2))
    found = F.gelu(gt.asarray(x)).numpy()
    np.testing.assert_allclose(found, wanted, rtol=8e-6)
    near = np.abs(x) < 4
    np.testing.assert_allclose(found[near], wanted[near], rtol=1.5e-6)
