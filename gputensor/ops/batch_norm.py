"""Normalization by means and variances over all but some axes."""

from typing import Any

import numpy as np

from gputensor.autograd import Primitive, Tensor
from gputensor.backend import in_c_order
from gputensor.distributed.group import Group, group, noted
from gputensor.errors import GraphError
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


def _forward_of_all(xp: Any, x: Any, weight: Any, bias: Any, eps: float, ranks: Group) -> Any:
    """:func:`_forward` of the rows of all ranks, and their number."""
    wide = widen(xp, x)
    sums = xp.concatenate([xp.sum(wide, axis=0), xp.full(1, len(x), wide.dtype)])
    noted(ranks.all_reduce, sums)
    count = sums[-1:]
    mean = sums[:-1] / count
    centered = wide - mean
    variance = xp.sum(centered * centered, axis=0)
    noted(ranks.all_reduce, variance)
    variance = variance / count
    scale = weight / xp.sqrt(variance + eps)
    centered *= scale
    centered += bias
    return in_c_order(narrow(xp, centered, x)), mean, variance, count.copy()


def _rule_of_all(
    xp: Any, needs: Any, g: Any, out: Any, x: Any, weight: Any, bias: Any, eps: float, ranks: Group
) -> Any:
    if isinstance(x, Tensor):
        raise GraphError(
            "batch_norm: with synchronized=True there is no gradient of a gradient, which would "
            "take all ranks"
        )
    _, mean, variance, count = out
    main, mean_g, variance_g, _ = g
    if mean_g is not None or variance_g is not None:
        raise GraphError(
            "batch_norm: with synchronized=True mean and variance have no gradient of their own; "
            "detach them"
        )
    wide = widen(xp, x)
    inverse = 1 / xp.sqrt(variance + eps)
    normal = (wide - mean) * inverse
    main = widen(xp, main)
    own = xp.stack([xp.sum(main, axis=0), xp.sum(main * normal, axis=0)])
    sums = own.copy()
    noted(ranks.all_reduce, sums)
    sums = sums / count
    # Gradients of parameters are those of this rank's rows: they are added up later.
    return (weight * inverse) * (main - sums[0] - normal * sums[1]), own[1], own[0]


_batch_norm_of_all = Primitive("batch_norm", _forward_of_all, _rule_of_all)


def batch_norm(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, synchronized: bool = False
) -> tuple[Tensor, Tensor, Tensor, Any]:
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` (Ioffe & Szegedy 2015).

    Parameters
    ----------
    x : Tensor of shape (..., channels)
    weight, bias : Tensor of shape (channels,)
    eps : float
    synchronized : bool
        Whether mean and variance are those of the rows of all ranks.

    Returns
    -------
    Tensor of the shape of `x`; mean and variance (divided by the count), of shape (channels,); the
    count, an int, or a Tensor of shape (1,) of the rows of all ranks
    """
    x = widened(x)
    count: Any = int(np.prod(x.shape[:-1]))
    rows = reshape(x, (count, x.shape[-1]))
    ranks = group() if synchronized else None
    found: Any
    if ranks is None:
        found = _batch_norm(rows, weight, bias, eps=eps)
        y, mean, variance = found
    else:
        found = _batch_norm_of_all(rows, weight, bias, eps=eps, ranks=ranks)
        y, mean, variance, count = found
    return reshape(y, x.shape), mean, variance, count
