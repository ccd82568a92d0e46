"""gt.fft: values, gradients of two orders, lengths, norms, bad input."""

import math

import array_api_strict
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import gputensor as gt
from cases import ALONG, FFT_CHECKS, NORMS, OF_REAL, OVER, TRANSFORMS
from checks import cplx_by, leaf, real_by
from gputensor import fft

RNG = np.random.default_rng(3)


real, cplx = real_by(RNG), cplx_by(RNG)


def test_every_transform_has_a_case():
    assert {check.values[0] for check in FFT_CHECKS} == set(TRANSFORMS)


def options_of(data, shape, name):
    """Options of a transform of an array of some shape."""
    norm = data.draw(st.sampled_from(NORMS))
    length = st.none() | st.integers(1, 6)
    if name in ALONG:
        return {
            "n": data.draw(length),
            "axis": data.draw(st.integers(-len(shape), len(shape) - 1)),
            "norm": norm,
        }
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True))
    s = data.draw(st.none() | st.just([data.draw(st.integers(1, 6)) for _ in axes]))
    return {"s": s, "axes": axes, "norm": norm}


@pytest.mark.parametrize("name", ALONG + OVER)
@settings(deadline=None, max_examples=40)
@given(data=st.data(), shape=hnp.array_shapes(max_dims=3, min_side=2, max_side=5))
def test_values_equal_array_api_strict(name, data, shape):
    single = data.draw(st.booleans())
    x = real(*shape) if name in OF_REAL else cplx(*shape)
    if single:
        x = x.astype(np.float32 if name in OF_REAL else np.complex64)
    options = options_of(data, shape, name)
    found = getattr(fft, name)(gt.asarray(x), **options)
    expected = np.asarray(
        getattr(array_api_strict.fft, name)(array_api_strict.asarray(x), **options)
    )
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-4 if single else 1e-12)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n", [4, 5])
def test_inverses(norm, n):
    x, z = gt.asarray(real(2, n)), gt.asarray(cplx(2, n))
    for there, back, value in (("fft", "ifft", z), ("rfft", "irfft", x), ("ihfft", "hfft", x)):
        found = getattr(fft, back)(getattr(fft, there)(value, norm=norm), n=n, norm=norm)
        np.testing.assert_allclose(found.numpy(), value.numpy(), atol=1e-12)
    np.testing.assert_allclose(fft.ifftn(fft.fftn(z, norm=norm), norm=norm).numpy(), z.numpy())
    back = fft.irfftn(fft.rfftn(x, norm=norm), s=(2, n), norm=norm)
    np.testing.assert_allclose(back.numpy(), x.numpy(), atol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "complex"),
    [("float32", "complex64"), ("float64", "complex128"), ("int32", "complex128")],
)
def test_dtypes(dtype, complex):
    x = gt.ones(4, dtype=dtype)
    assert fft.fft(x).dtype == fft.rfft(x).dtype == fft.ihfft(x).dtype == complex
    assert fft.irfft(x.astype(complex)).dtype == fft.hfft(x.astype(complex)).dtype
    if dtype != "int32":
        assert fft.irfft(x.astype(complex)).dtype == dtype
        x.requires_grad = True
        gt.sum(gt.abs(fft.rfft(x))).backward()
        assert x.grad.dtype == dtype


def test_autocast_transforms_in_float32():
    with gt.autocast("float16"):
        assert fft.rfft(gt.ones(4, dtype=gt.float16)).dtype == gt.complex64


@pytest.mark.parametrize("n", [1, 2, 5, 8])
@pytest.mark.parametrize("name", ["fftfreq", "rfftfreq"])
def test_frequencies_equal_numpy(n, name):
    found = getattr(fft, name)(n, d=0.5)
    assert found.dtype == gt.float32
    np.testing.assert_allclose(found.numpy(), getattr(np.fft, name)(n, 0.5), rtol=1e-6)
    double = getattr(fft, name)(n, dtype=gt.float64, device="cpu")
    np.testing.assert_array_equal(double.numpy(), getattr(np.fft, name)(n))
    assert double.device == "cpu"


@pytest.mark.parametrize("axes", [None, 0, -1, (0, 1), [1]])
@pytest.mark.parametrize("shape", [(3, 4), (2, 5), (0, 3)])
def test_shifts_equal_numpy(axes, shape):
    x = real(*shape)
    for name in ("fftshift", "ifftshift"):
        found = getattr(fft, name)(gt.asarray(x), axes=axes)
        np.testing.assert_array_equal(found.numpy(), getattr(np.fft, name)(x, axes))


def test_energy_is_kept_and_its_gradient_is_twice_the_signal():
    x = leaf(real(8))
    energy = gt.sum(gt.abs(fft.fft(x, norm="ortho")) ** 2)
    np.testing.assert_allclose(energy.item(), (x.detach().numpy() ** 2).sum())
    energy.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.detach().numpy())


@pytest.mark.peers
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ALONG + OVER)
def test_gradient_equals_pytorch(name, norm):
    torch = pytest.importorskip("torch")
    data = real(3, 5) if name in OF_REAL else cplx(3, 5)
    x, theirs = leaf(data), torch.tensor(data, requires_grad=True)
    out, other = getattr(fft, name)(x, norm=norm), getattr(torch.fft, name)(theirs, norm=norm)
    weights = (cplx if out.dtype.kind == "c" else real)(*out.shape)
    out.backward(gt.asarray(weights))
    other.backward(torch.tensor(weights))
    np.testing.assert_allclose(x.grad.numpy(), theirs.grad.resolve_conj().numpy(), atol=1e-12)


@pytest.mark.parametrize("name", [*ALONG, *OVER, "fftshift"])
def test_cuda_gives_the_values_and_gradients_of_the_cpu(cupy, name):
    data = real(3, 5) if name in OF_REAL else cplx(3, 5)
    found = {}
    for device in ("cpu", "cuda"):
        x = gt.tensor(data, device=device, requires_grad=True)
        out = getattr(fft, name)(x)
        gt.sum(gt.abs(out) ** 2).backward()
        assert out.device.kind == device
        found[device] = out.detach().cpu().numpy(), x.grad.cpu().numpy()
    for a, b in zip(*found.values(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    assert fft.fftfreq(3, device="cuda").device == "cuda"


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_are_captured(cupy, name):
    x = gt.tensor((real if name in OF_REAL else cplx)(3, 4), device="cuda", requires_grad=True)

    @gt.capture
    def step():
        x.grad = None
        loss = gt.sum(gt.abs(getattr(fft, name)(x)) ** 2)
        loss.backward()
        return loss, x.grad

    expected = [t.tolist() for t in step()]
    for _ in range(2):
        assert [t.tolist() for t in step()] == expected


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda x: fft.fft(x, axis=2), gt.errors.ShapeError, "fft.fft: axis 2 is out of range"),
        (lambda x: fft.fft(x, n=0), gt.errors.ShapeError, "0 points cannot be transformed"),
        (lambda x: fft.irfft(x[:, :1]), gt.errors.ShapeError, "0 points cannot be transformed"),
        (lambda x: fft.fft(gt.tensor(1.0)), gt.errors.ShapeError, "it has no axes"),
        (lambda x: fft.fftn(x, axes=()), gt.errors.ShapeError, "no axis to transform"),
        (lambda x: fft.fftn(x, s=(2,), axes=(0, 1)), gt.errors.ShapeError, "must be as many"),
        (lambda x: fft.fft(x, norm="half"), ValueError, "norm 'half' is unknown"),
        (lambda x: fft.rfft(x * 1j), gt.errors.DTypeError, "x must be real, it is complex64"),
        (lambda x: fft.fftfreq(4, dtype=gt.int32), gt.errors.DTypeError, "real floating point"),
        (lambda x: fft.fftfreq(0), gt.errors.ShapeError, "0 points"),
        (lambda x: fft.rfftfreq(4, d=0), ValueError, "spacing of samples, is 0"),
    ],
)
def test_bad_input_is_a_clear_error(call, kind, text):
    with pytest.raises(kind, match=text):
        call(gt.ones((3, 4)))


def test_nan_is_not_hidden():
    assert np.isnan(fft.fft(gt.tensor([1.0, math.nan, 2.0])).numpy()).all()
