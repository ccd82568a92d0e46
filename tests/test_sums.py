"""Numbers of 16 bits add up in float32: values and gradients of all that sums, on many elements."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gputensor as gt
from gputensor import linalg
from gputensor.nn import functional as F

# Sums in 16 bits stop at 256 or 2048 ones.
N = 3000
DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
ROWS = np.arange(N) % 3
LABELS = ROWS.tolist()  # which go to the device of what they are for


def near_one(*shape):
    return np.random.default_rng(3).uniform(0.5, 1.5, shape)


def places():
    return gt.asarray(ROWS)


CASES = {
    "bincount": (lambda x: gt.bincount(places(), x), near_one(N)),
    "broadcast": (lambda x, y: x * y, near_one(N, 1), near_one(1, 3)),
    "broadcast_to": (lambda x: gt.broadcast_to(x, (N, 3)), near_one(3)),
    "convolve": (lambda x, y: gt.convolve(x, y, "valid"), near_one(N), near_one(N)),
    "cross_entropy": (lambda x: F.cross_entropy(x, LABELS), near_one(N, 3)),
    "cumulative_prod": (gt.cumulative_prod, 1 + 0.01 * (near_one(300) - 1)),
    "cumulative_sum": (lambda x: gt.cumulative_sum(x, axis=0), near_one(N, 2)),
    "dense": (F.dense, near_one(N, 2), near_one(2, 2), near_one(2)),
    "einsum": (lambda x: gt.einsum("ij->j", x), near_one(N, 2)),
    "einsum of two": (lambda x, y: gt.einsum("ij,k->jk", x, y), near_one(N, 2), near_one(3)),
    "embedding": (lambda w: F.embedding(places(), w), near_one(3, 2)),
    "getitem": (lambda x: x[places()], near_one(3)),
    "getitem of two": (lambda x: x[places(), places()], near_one(3, 3)),
    "huber_loss": (F.huber_loss, near_one(N), -near_one(N)),
    "index_add": (lambda x: gt.index_add((3,), places(), x), near_one(N)),
    "interp": (
        lambda x, y: gt.interp(gt.linspace(0, 1, N, dtype=x.dtype), x, y),
        np.array([0, 0.4, 1.0]),
        near_one(3),
    ),
    "layer_norm": (F.layer_norm, near_one(N, 3), near_one(3), near_one(3)),
    "linspace": (lambda a, b: gt.linspace(a, b, N), near_one(1), 3 * near_one(1)),
    "logsumexp": (lambda x: gt.logsumexp(x, axis=0), near_one(N, 2)),
    "matmul": (gt.matmul, near_one(N, 1, 2), near_one(2, 1)),
    "matrix_norm": (linalg.matrix_norm, near_one(60, 50)),
    "max": (gt.max, np.ones(70000)),
    "mean": (lambda x: gt.mean(x, axis=0), near_one(N, 2)),
    "mean of more than 65504": (gt.mean, near_one(70000)),
    "mse_loss": (lambda x, y: F.mse_loss(x, y, reduction="sum"), near_one(N), -near_one(N)),
    "mse_loss of large ones": (
        lambda x: F.mse_loss(x, 0 * x),
        300 * (ROWS == 0) * (near_one(N) < 1),
    ),
    "nll_loss": (lambda x: F.nll_loss(x, LABELS), -near_one(N, 3)),
    "prod": (gt.prod, 1 + 0.01 * (near_one(N) - 1)),
    "repeat": (lambda x: gt.repeat(x, N), near_one(3)),
    "rms_norm": (F.rms_norm, near_one(N, 3), near_one(3)),
    "segment_sum": (lambda x: gt.segment_sum(x, places()), near_one(N, 2)),
    "softmax": (lambda x: gt.softmax(x, axis=0), near_one(N, 2)),
    "std": (lambda x: gt.std(x, axis=0, correction=1), near_one(N, 2)),
    "std of all": (gt.std, near_one(70000)),
    "sum": (lambda x: gt.sum(x, axis=0), near_one(N, 2)),
    "sum of all": (gt.sum, near_one(70, 2, 70)),
    "take": (lambda x: gt.take(x, places(), axis=1), near_one(2, 3)),
    "tensordot": (lambda x, y: gt.tensordot(x, y, axes=1), near_one(2, N), near_one(N, 2)),
    "tile": (lambda x: gt.tile(x, N), near_one(3)),
    "trace": (gt.trace, near_one(900, 900)),
    "var": (lambda x: gt.var(x, axis=0), near_one(N, 2)),
    "var of all": (gt.var, near_one(70000)),
    "vecdot": (gt.vecdot, near_one(N), near_one(N)),
    "vector_norm": (linalg.vector_norm, 30 * near_one(N)),
    "vector_norm 3": (lambda x: linalg.vector_norm(x, axis=0, ord=3), near_one(N, 2)),
    "where": (lambda x, y: gt.where(places() > 0, x, y), near_one(1), near_one(1)),
}


def outcome(function, arrays, rounded):
    """Value and gradients, towards weights that are numbers of the dtype `rounded`."""
    tensors = [gt.tensor(a, requires_grad=True) for a in arrays]
    out = function(*tensors)
    weights = (1.5 + np.cos(np.arange(out.size))).reshape(out.shape).astype(rounded)
    out.backward(gt.tensor(weights.astype(out.dtype)))
    return [x.detach().numpy() for x in (out, *(t.grad for t in tensors))]


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_float64_but_for_rounding(case, name):
    function, *arrays = CASES[case]
    dtype = np.dtype(DTYPES[name])
    small = [np.asarray(a).astype(dtype) for a in arrays]
    found = outcome(function, small, dtype)
    wanted = outcome(function, [a.astype(np.float64) for a in small], dtype)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == dtype
        error = np.abs(a.astype(np.float64) - b).max() / np.abs(b).max()
        assert error <= 4 * float(gt.finfo(dtype).eps)


@settings(deadline=None, max_examples=40)
@given(
    shape=st.lists(st.sampled_from([1, 2, 40, 300]), min_size=1, max_size=3),
    name=st.sampled_from(list(DTYPES)),
    data=st.data(),
)
def test_ones_are_counted(shape, name, data):
    dtype = np.dtype(DTYPES[name])
    axis = data.draw(st.sets(st.integers(0, len(shape) - 1)).map(tuple))
    x = gt.ones(tuple(shape), dtype=dtype)
    count = np.prod([shape[a] for a in axis], dtype=int)
    with np.errstate(over="ignore"):
        wanted = np.asarray(count).astype(dtype)
        total = gt.sum(x, axis=axis)
        assert (total.numpy() == wanted).all()
        assert total.dtype == dtype
        assert (gt.mean(x, axis=axis).numpy() == 1).all()
        kept = gt.sum(x, axis=axis, keepdims=True)
        assert (gt.grad(lambda v: gt.sum(v * x))(kept).numpy() == wanted).all()
        along = gt.cumulative_sum(x, axis=0).numpy()[-1]
        assert (along == np.asarray(shape[0]).astype(dtype)).all()


def test_gradients_of_parameters_under_autocast():
    for name in DTYPES:
        w = gt.tensor([[0.0]], requires_grad=True)
        with gt.autocast(name):
            h = gt.zeros((1000, 1)) @ gt.ones((1, 1)) + gt.ones((1, 1)) @ w
        h.sum().backward()
        assert w.grad.tolist() == [[1000]]


def test_gradients_that_16_bits_hold_are_not_lost_on_the_way():
    x = gt.ones((70000,), dtype="float16")
    assert gt.grad(gt.mean)(x).numpy()[0] == np.float16(1 / 70000)
    assert gt.grad(gt.max)(x).numpy()[0] == np.float16(1 / 70000)
    assert gt.grad(lambda v: F.l1_loss(v, 0 * v))(x).numpy()[0] == np.float16(1 / 70000)
    big = gt.tensor([300.0], dtype="float16")
    for function, slope in (
        (gt.atan, 1 / (1 + 300**2)),
        (gt.asinh, 1 / np.sqrt(1 + 300**2)),
        (linalg.norm, 1),
    ):
        found = gt.grad(lambda v, f=function: gt.sum(f(v)))(big).numpy()
        np.testing.assert_allclose(found, slope, rtol=2e-3, atol=6e-8)
