"""Variance in one pass; the norm of gradients and their clipping."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gputensor as gt
from gputensor import standin
from gputensor.kernels import clip_norm, row_layer_norm, row_moments, squared_norm

RNG = np.random.default_rng(29)
# One chunk of a row and several, whole and broken packs, warps and blocks.
SHAPES = [(1, 1), (5, 3), (9, 64), (3, 1030), (2, 16384), (2, 16385), (1, 50000)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_moments(setting, cupy, shape, dtype):
    x = (RNG.normal(size=shape) * 2 + 30).astype(dtype)
    wide = x.astype(float)
    for array in (x, cupy.asarray(x)):
        mean, variance = row_moments.raw(array)
        assert mean.dtype == variance.dtype == (np.float64 if dtype == np.float64 else np.float32)
        np.testing.assert_allclose(gt.asarray(mean).numpy(), wide.mean(1), rtol=1e-5)
        found = gt.asarray(variance).numpy()
        np.testing.assert_allclose(found, wide.var(1), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(("dtype", "large"), [("float32", 1e20), ("float64", 1e200)])
def test_a_variance_too_large_for_its_dtype_is_infinite(cupy, device, dtype, large):
    for row in ([large, large, -large], [large, 0, 0], [0, 0, large] * 300):
        x = gt.tensor(row, dtype=dtype, device=device)
        assert gt.var(x).item() == np.inf
        assert gt.var(gt.stack([x, x], axis=1), axis=0).numpy().tolist() == [np.inf] * 2
        assert gt.std(x).item() == pytest.approx(np.std(np.array(row) / large) * large, rel=1e-5)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("columns", [2, 5, 64, 1030, 16385])
def test_differences_too_large_for_a_dtype_make_a_variance_infinite(cupy, device, columns):
    row = np.full(columns, 3e38, np.float32)
    assert gt.var(gt.tensor(row, device=device)).item() == 0
    row[1::2] = -3e38
    assert gt.var(gt.tensor(row, device=device)).item() == np.inf
    assert gt.var(gt.tensor(-row, device=device)).item() == np.inf
    for bad in (np.nan, np.inf, -np.inf):
        row[-1] = bad
        assert np.isnan(gt.var(gt.tensor(row, device=device)).item())


def test_moments_of_numbers_far_from_zero(setting, cupy):
    x = (RNG.normal(size=(2, 40000)) + 1e4).astype(np.float32)
    for array in (x, cupy.asarray(x)):
        found = gt.asarray(row_moments.raw(array)[1]).numpy()
        np.testing.assert_allclose(found, x.astype(float).var(1), rtol=1e-3)
    w = np.ones(40000, np.float32)
    y = row_layer_norm.raw(*(cupy.asarray(a) for a in (x, w, w)), eps=0.0).get()
    wide = x.astype(float)
    expected = (wide - wide.mean(1, keepdims=True)) / wide.std(1, keepdims=True) + 1
    np.testing.assert_allclose(y, expected, atol=3e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_moments_do_not_hide_what_is_not_finite(setting, cupy, value):
    x = np.ones((3, 40), np.float32)
    x[1, 17] = value
    with np.errstate(invalid="ignore"):
        for array in (x, cupy.asarray(x)):
            mean, variance = (gt.asarray(a).numpy() for a in row_moments.raw(array))
            np.testing.assert_array_equal(mean, [1, value, 1])
            np.testing.assert_array_equal(variance, [0, np.nan, 0])


@given(
    st.sampled_from([(3, 4), (2, 3, 5), (1,), (4, 1), ()]),
    st.sampled_from([None, 0, -1, (0, 1), (1,), (-1, -2)]),
    st.sampled_from([0.0, 1.0, 0.5]),
    st.booleans(),
)
def test_variance_is_numpys(shape, axis, correction, keepdims):
    x = RNG.normal(size=shape)
    options = {"axis": axis, "keepdims": keepdims}
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            expected = np.var(x, ddof=correction, **options)
    except np.exceptions.AxisError:
        with pytest.raises(gt.errors.ShapeError):
            gt.var(gt.asarray(x), **options)
        return
    found = gt.var(gt.asarray(x), correction=correction, **options).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, np.where(np.isinf(expected), np.nan, expected), rtol=1e-10)
    transposed = gt.asarray(x).T if x.ndim == 2 else gt.asarray(x)
    np.testing.assert_allclose(gt.var(transposed).numpy(), x.var(), rtol=1e-10, atol=1e-15)


def test_variance_of_integers_and_of_nothing():
    assert gt.var(gt.asarray(np.array([1, 2, 4]))).item() == pytest.approx(14 / 9)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, which CuPy does not give
        assert np.isnan(gt.var(gt.zeros((0, 3)), axis=0).numpy()).all()


@pytest.mark.parametrize("size", [1, 7, 1000, 70_001])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_norm_and_clip(setting, cupy, size, dtype):
    x = RNG.normal(size=size).astype(dtype)
    norm = np.sqrt((x.astype(float) ** 2).sum())
    allowed = {"float32": 1e-6, "float64": 1e-13, "float16": 1e-3}[np.dtype(dtype).name]
    for place in (np.array, cupy.asarray):
        squared = squared_norm.raw(place(x))
        assert (squared.shape, squared.dtype) == ((), np.float64)
        np.testing.assert_allclose(float(squared), norm**2, rtol=1e-12)
        for most, factor in ((norm / 2, norm / 2 / (norm + 1e-6)), (norm * 2, 1.0)):
            clipped = place(x)
            clip_norm.raw(clipped, squared, most=float(most))
            np.testing.assert_allclose(
                gt.asarray(clipped).numpy(), x.astype(float) * factor, rtol=allowed, atol=1e-7
            )


def test_a_large_norm_does_not_overflow(setting, cupy):
    x = np.full(10, 3e38, np.float32)
    for array in (x, cupy.asarray(x)):
        assert float(squared_norm.raw(array)) == pytest.approx(10 * 3e38**2, rel=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_clipping_does_not_hide_what_is_not_finite(setting, cupy, bad):
    x = np.array([bad, 1, 2], np.float32)
    for place in (np.array, cupy.asarray):
        clipped = place(x)
        with np.errstate(invalid="ignore"):
            clip_norm.raw(clipped, squared_norm.raw(clipped), most=1.0)
        clipped = gt.asarray(clipped).numpy()
        assert np.isnan(clipped[0])
        assert np.isnan(clipped[1:]).all() if np.isnan(bad) else (clipped[1:] == 0).all()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_an_optimizer_clips_all_gradients_together(cupy, device):
    values = [RNG.normal(size=s).astype(d) for s, d in (((3, 4), "f4"), (5, "f4"), (2, "f8"))]
    parameters = [gt.tensor(v, device=device, requires_grad=True) for v in values]
    unused = gt.tensor([1.0], device=device, requires_grad=True)
    optimizer = gt.optim.SGD([unused, *parameters], lr=1.0)
    assert optimizer.grad_norm().item() == 0
    for p in parameters:
        (p * p * 2).sum().backward()
    norm = np.sqrt(sum(((4 * v.astype(float)) ** 2).sum() for v in values))
    assert optimizer.grad_norm().item() == pytest.approx(norm, rel=1e-6)
    before = optimizer.clip_grad_norm(1.5)
    assert before.device == device
    assert before.item() == pytest.approx(norm, rel=1e-6)
    assert optimizer.grad_norm().item() == pytest.approx(1.5, rel=1e-5)
    for p, v in zip(parameters, values, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), 4 * v * (1.5 / norm), rtol=1e-5)
    optimizer.step()
    for p, v in zip(parameters, values, strict=True):
        np.testing.assert_allclose(
            p.detach().numpy(), v - 4 * v * (1.5 / norm), rtol=1e-4, atol=1e-6
        )
    with pytest.raises(ValueError, match="max_norm is -1"):
        optimizer.clip_grad_norm(-1)


def test_clipping_reads_nothing_on_the_host(cupy):
    p = gt.ones(100, device="cuda")
    p.requires_grad = True
    optimizer = gt.optim.Adam([p])
    (p * p).sum().backward()
    optimizer.clip_grad_norm(1.0)
    standin.counters.reset()
    optimizer.clip_grad_norm(0.5)
    optimizer.step()
    assert standin.counters.transfers_to_host == standin.counters.synchronizations == 0
