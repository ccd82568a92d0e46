"""What tests of many files make tensors and compare results with."""

import numpy as np

import gputensor as gt


def leaf(data, dtype=None):
    """A tensor with these values that wants a gradient."""
    return gt.tensor(data if dtype is None else np.asarray(data, dtype), requires_grad=True)


def double_leaf(data):
    """One in float64."""
    return leaf(data, np.float64)


def normal_by(rng, dtype):
    """A function that draws normal numbers of a dtype, by default this one."""

    def normal(*shape, dtype=dtype):
        return rng.standard_normal(shape).astype(dtype)

    return normal


def real_by(rng):
    """A function that draws normal numbers of a shape."""

    def real(*shape):
        return rng.standard_normal(shape)

    return real


def cplx_by(rng):
    """A function that draws complex numbers of a shape."""

    def cplx(*shape):
        return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)

    return cplx


def bits(x):
    """All of an array or a tensor, to the bit."""
    x = x.detach().numpy() if isinstance(x, gt.Tensor) else x
    return x.dtype, x.shape, x.tobytes()


def weights_of(out):
    """Changing weights for the elements of a result."""
    weights = np.cos(np.arange(out.size) + 0.5).reshape(out.shape)
    return weights * (1 + 0.5j) if out.dtype.kind == "c" else weights


def outcome(function, arrays):
    """Values, and the gradients of their sum with changing weights, of arrays as they lie there."""
    tensors = [gt.asarray(a) for a in arrays]
    for t in tensors:
        t.requires_grad = True
    out = function(*tensors)
    if out.requires_grad:
        out.backward(gt.asarray(weights_of(out).astype(out.dtype), device=out.device))
    return [
        None if t is None else t.detach().cpu().numpy() for t in (out, *(t.grad for t in tensors))
    ]


def assert_near(found, expected, tolerance):
    """Errors are relative to the largest element."""
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.shape == b.shape
            scale = max(1, np.max(np.abs(b), initial=0, where=np.isfinite(b)))
            np.testing.assert_allclose(a.astype(b.dtype), b, rtol=0, atol=tolerance * scale)
