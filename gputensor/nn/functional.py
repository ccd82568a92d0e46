"""Neural network operations as functions."""

import math

import numpy as np

from gputensor import backend, kernels
from gputensor.autograd import Operand, Tensor
from gputensor.backend import Array
from gputensor.errors import DTypeError, ShapeError
from gputensor.nn.losses import (
    binary_cross_entropy_with_logits,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    nll_loss,
)
from gputensor.ops.creation import asarray
from gputensor.ops.elementwise import expm1, relu, sigmoid, softplus, tanh, where
from gputensor.ops.nn import (
    accuracy,
    cross_entropy,
    dense,
    gelu,
    layer_norm,
    log_softmax,
    logsumexp,
    rms_norm,
    silu,
    softmax,
)
from gputensor.options import number
from gputensor.random import Generator, default_generator

__all__ = [
    "accuracy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "dense",
    "dropout",
    "elu",
    "embedding",
    "gelu",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "mse_loss",
    "nll_loss",
    "relu",
    "rms_norm",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]


def leaky_relu(x: Operand, /, slope: float = 0.01) -> Tensor:
    """`x` above 0, and ``slope * x`` below (Maas et al. 2013); the gradient at 0 is `slope`."""
    x = asarray(x)
    return where(x > 0, x, slope * x)


def elu(x: Operand, /, alpha: float = 1.0) -> Tensor:
    """`x` above 0, and ``alpha * (exp(x) - 1)`` below (Clevert et al. 2016)."""
    x = asarray(x)
    above = x > 0
    return where(above, x, alpha * expm1(where(above, 0.0, x)))  # no overflow where not chosen


def log_sigmoid(x: Operand, /) -> Tensor:
    """``log(sigmoid(x))``, without overflow."""
    return -softplus(-asarray(x))


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
