"""Neural network operations as functions."""

import math
from typing import Any

import numpy as np

from gputensor import backend, kernels
from gputensor.autograd import Operand, Tensor
from gputensor.backend import Array
from gputensor.errors import DTypeError, ShapeError
from gputensor.nn import activations, images, losses
from gputensor.nn.activations import *  # noqa: F403
from gputensor.nn.images import *  # noqa: F403
from gputensor.nn.losses import *  # noqa: F403
from gputensor.ops.batch_norm import batch_norm as _batch_norm
from gputensor.ops.creation import arange, asarray, ones, zeros
from gputensor.ops.data_type import astype
from gputensor.ops.elementwise import maximum, sqrt
from gputensor.ops.linalg import vector_norm
from gputensor.ops.manipulation import permute_dims, reshape
from gputensor.ops.nn import accuracy, dense, layer_norm, logsumexp, rms_norm
from gputensor.ops.precision import widened
from gputensor.options import number
from gputensor.random import Generator, default_generator

__all__ = [
    *activations.__all__,
    *images.__all__,
    *losses.__all__,
    "accuracy",
    "batch_norm",
    "dense",
    "dropout",
    "embedding",
    "group_norm",
    "layer_norm",
    "linear",
    "logsumexp",
    "normalize",
    "one_hot",
    "rms_norm",
]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``, with PyTorch's shape of the weight.

    Parameters
    ----------
    x : Tensor of shape (..., inputs)
    weight : Tensor of shape (outputs, inputs)
    bias : Tensor of shape (outputs,), optional

    Returns
    -------
    Tensor of shape (..., outputs)

    Examples
    --------
    >>> gt.nn.functional.linear(gt.ones((1, 2)), gt.ones((3, 2)))
    tensor([[2., 2., 2.]], dtype=float32)
    """
    if weight.ndim != 2:
        raise ShapeError(f"linear: weight has shape {weight.shape}; it must be (outputs, inputs)")
    return dense(x, weight.T, bias)


def dropout(
    x: Tensor, p: float = 0.5, training: bool = True, generator: Generator | None = None
) -> Tensor:
    """Set elements to zero at random and scale the others up to keep the mean.

    Parameters
    ----------
    x : Tensor
        Any shape.
    p : float
        Probability of zero, in [0, 1].
    training : bool
        Without it `x` is returned as it is.
    generator : Generator, optional
        Where the random numbers come from; gputensor's own by default.

    Returns
    -------
    Tensor
        Of the shape of `x`.

    Raises
    ------
    ValueError
        If `p` is not a probability.
    DTypeError
        If `x` is not floating point.

    Notes
    -----
    No mask is kept: the gradient draws the same numbers again (see
    :func:`gputensor.kernels.dropout`).

    Examples
    --------
    >>> gt.nn.functional.dropout(gt.ones(1000), 0.25).shape
    (1000,)
    """
    p = number("dropout", "p", p)
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p is {p}; it must be from 0 to 1")
    if x.dtype.kind not in "fV":
        raise DTypeError(f"dropout: x is {x.dtype}; only floating point can be scaled")
    if not training or p == 0:
        return x
    state = (generator or default_generator).take(x.size)
    out: Tensor = kernels.dropout(x, p=p, **state)
    return out


def _places(index: Array) -> Array:
    return index.reshape(math.prod(index.shape)).astype(np.int64, copy=False)


def embedding(index: Operand, weight: Tensor) -> Tensor:
    """Rows of `weight` by number; the gradient adds up the rows that share one.

    Parameters
    ----------
    index : Tensor or array of integers
        Any shape, numbers in ``[0, rows)``, on the device of `weight`.
    weight : Tensor of shape (rows, columns)

    Returns
    -------
    Tensor of shape (*index.shape, columns)

    Raises
    ------
    OutOfRangeError
        If there is no such row: at once on the CPU; on CUDA when the host next reads a value, the
        row being NaN.
    ShapeError, DTypeError, DeviceMismatchError
        If `weight` is not a matrix, `index` not of integers, or on another device.

    Examples
    --------
    >>> gt.nn.functional.embedding(gt.tensor([1, 1]), gt.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[3., 4.],
            [3., 4.]], dtype=float32)
    """
    raw = index.array if isinstance(index, Tensor) else asarray(index, device=weight.device).array
    if weight.ndim != 2:
        raise ShapeError(f"embedding: weight has shape {weight.shape}; it must be (rows, columns)")
    if raw.dtype.kind not in "iu":
        raise DTypeError(f"embedding: index must be of integers, got {raw.dtype}")
    backend.same_device("embedding", [weight.array, raw])
    places = _places(raw)
    rows: Tensor = kernels.embedding(weight, places)
    return rows.reshape(*raw.shape, weight.shape[1])


def one_hot(index: Operand, classes: int) -> Tensor:
    """Rows of 0 with a 1 at the place that each number in `index` names, of int64.

    Parameters
    ----------
    index : Tensor or array of integers of any shape
    classes : int

    Returns
    -------
    Tensor of shape (*index.shape, classes)
        A number out of range gives a row of 0.

    Examples
    --------
    >>> gt.nn.functional.one_hot(gt.tensor([0, 2]), 3)
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    index = asarray(index)
    if index.dtype.kind not in "iu":
        raise DTypeError(f"one_hot: index must be of integers, got {index.dtype}")
    places = arange(classes, device=index.device)
    return astype(reshape(index, (*index.shape, 1)) == places, np.int64)


def normalize(x: Tensor, p: float = 2.0, axis: int = 1, eps: float = 1e-12) -> Tensor:
    """`x` over its norm along `axis`, or over `eps` where the norm is smaller.

    Examples
    --------
    >>> gt.nn.functional.normalize(gt.tensor([[3.0, 4.0]]))
    tensor([[0.6, 0.8]], dtype=float32)
    """
    return x / maximum(vector_norm(x, ord=p, axis=axis, keepdims=True), eps)


def batch_norm(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    axis: int = 1,
    statistics: tuple[Tensor, Tensor] | None = None,
    eps: float = 1e-5,
    synchronized: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch normalization ``(x - mean) / sqrt(variance + eps) * weight + bias``.

    Parameters
    ----------
    x : Tensor
    weight, bias : Tensor of shape (channels,), optional
        One and zero by default.
    axis : int
        Of the channels; means are over all others.
    statistics : (mean, variance), optional
        Of shape (channels,); by default those of `x`.
    eps : float
    synchronized : bool
        Whether those are of the `x` of all ranks together, see :mod:`gputensor.distributed`; each
        rank has to call it then.

    Returns
    -------
    Tensor of the shape of `x`; mean and variance (over the count), of shape (channels,)

    Examples
    --------
    >>> out = gt.nn.functional.batch_norm(gt.tensor([[1.0], [3.0]]), gt.ones(1), gt.zeros(1))
    >>> out[0]
    tensor([[-0.999995],
            [ 0.999995]], dtype=float32)
    """
    return counted_batch_norm(x, weight, bias, axis, statistics, eps, synchronized)[:3]


def counted_batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    axis: int,
    statistics: tuple[Tensor, Tensor] | None,
    eps: float,
    synchronized: bool,
) -> tuple[Tensor, Tensor, Tensor, Any]:
    """:func:`batch_norm`, and of how many values of a channel mean and variance are.

    That is an int, or where they are those of all ranks a Tensor of shape (1,).
    """
    if not -x.ndim <= axis < x.ndim:
        raise ShapeError(f"batch_norm: x of shape {x.shape} has no axis {axis}")
    axis %= x.ndim
    channels = x.shape[axis]
    kind: dict[str, Any] = {
        "dtype": weight.dtype if weight is not None else x.dtype,
        "device": x.device,
    }
    weight = ones(channels, **kind) if weight is None else weight
    bias = zeros(channels, **kind) if bias is None else bias
    if weight.shape != (channels,) or bias.shape != (channels,):
        raise ShapeError(
            f"batch_norm: x has {channels} channels along axis {axis}; weight has shape "
            f"{weight.shape}, bias {bias.shape}"
        )
    if statistics is not None:
        mean, variance = statistics
        scale = weight / sqrt(variance + eps)
        along = (channels, *(1 for _ in x.shape[axis + 1 :]))
        shift = bias - mean * scale
        x = widened(x)
        return x * reshape(scale, along) + reshape(shift, along), mean, variance, None
    last = axis == x.ndim - 1
    order = [*range(axis), *range(axis + 1, x.ndim), axis]
    moved = x if last else permute_dims(x, tuple(order))
    y, mean, variance, count = _batch_norm(moved, weight, bias, eps, synchronized)
    if not last:
        y = permute_dims(y, (*range(axis), x.ndim - 1, *range(axis, x.ndim - 1)))
    return y, mean, variance, count


def group_norm(
    x: Tensor,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    axis: int = 1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalization of each sample by groups of channels (Wu & He 2018).

    Parameters
    ----------
    x : Tensor of shape (n, ...)
    groups : int
        As many, of neighbouring channels.
    weight, bias : Tensor of shape (channels,), optional
    axis : int
        Of the channels.
    eps : float

    Returns
    -------
    Tensor of the shape of `x`

    Examples
    --------
    >>> gt.nn.functional.group_norm(gt.ones((2, 4, 3)), 2).shape
    (2, 4, 3)
    """
    axis %= x.ndim
    channels = x.shape[axis]
    if groups < 1 or channels % groups:
        raise ShapeError(f"group_norm: {channels} channels cannot be cut into {groups} groups")
    order = [0, axis, *(i for i in range(1, x.ndim) if i != axis)]
    moved = permute_dims(x, tuple(order))
    size = math.prod(moved.shape[1:]) // groups
    one = ones(size, dtype=x.dtype, device=x.device)
    rows = layer_norm(reshape(moved, (x.shape[0], groups, size)), one, 0 * one, eps)
    y = permute_dims(reshape(rows, moved.shape), tuple(order.index(i) for i in range(x.ndim)))
    along = (channels, *(1 for _ in x.shape[axis + 1 :]))
    if weight is not None:
        y = y * reshape(weight, along)
    return y if bias is None else y + reshape(bias, along)
