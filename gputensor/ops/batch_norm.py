"""Normalization by means and variances over all but some axes."""

from typing import Any

import numpy as np

from gputensor.autograd import Primitive, Tensor
from gputensor.backend import in_c_order
from gputensor.kernels.runtime import narrow, widen
from gputensor.ops.manipulation import reshape
from gputensor.ops.precision import widened

__all__ = ["batch_norm"]


def _forward(xp: Any, x: Any, weight: Any, bias: Any, eps: float) -> Any:
    wide = widen(xp, x)
    mean = xp.mean(wide, axis=0)
    centered = wide - mean
    variance = xp.mean(centered * centered, axis=0)
    scale = weight / xp.sqrt(variance + eps)
    centered *= scale
    centered += bias
    return in_c_order(narrow(xp, centered, x)), mean, variance


def _rule(xp: Any, needs: Any, g: Any, out: Any, x: Any, weight: Any, bias: Any, eps: float) -> Any:
    _, mean, variance = out
    main, mean_g, variance_g = g
    wide = widen(xp, x)
    rows = max(len(x), 1)
    inverse = 1 / xp.sqrt(variance + eps)
    normal = (wide - mean) * inverse
    x_grad: Any = 0
    bias_grad = weight_grad = None
    if main is not None:
        main = widen(xp, main)
        bias_grad = xp.sum(main, axis=0)
        weight_grad = xp.sum(main * normal, axis=0)
        x_grad = (weight * inverse) * (main - bias_grad / rows - normal * (weight_grad / rows))
    if mean_g is not None:
        x_grad = x_grad + mean_g / rows
    if variance_g is not None:
        x_grad = x_grad + (wide - mean) * (variance_g * (2 / rows))
    return x_grad, weight_grad, bias_grad


_batch_norm = Primitive("batch_norm", _forward, _rule)


def batch_norm(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` (Ioffe & Szegedy 2015).

    Parameters
    ----------
    x : Tensor of shape (..., channels)
    weight, bias : Tensor of shape (channels,)
    eps : float

    Returns
    -------
    Tensor of the shape of `x`; mean and variance (divided by the count), of shape (channels,)
    """
    x = widened(x)
    rows = reshape(x, (int(np.prod(x.shape[:-1])), x.shape[-1]))
    found: Any = _batch_norm(rows, weight, bias, eps=eps)
    y, mean, variance = found
    return reshape(y, x.shape), mean, variance
