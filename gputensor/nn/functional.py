"""Neural network operations as functions."""

from gputensor import kernels
from gputensor.autograd import Tensor
from gputensor.ops.elementwise import relu, sigmoid, tanh
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
from gputensor.random import Generator, default_generator

__all__ = [
    "accuracy",
    "cross_entropy",
    "dense",
    "dropout",
    "gelu",
    "layer_norm",
    "log_softmax",
    "logsumexp",
    "relu",
    "rms_norm",
    "sigmoid",
    "silu",
    "softmax",
    "tanh",
]


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

    Notes
    -----
    No mask is kept: the gradient draws the same numbers again (see
    :func:`gputensor.kernels.dropout`).
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p is {p}; it must be from 0 to 1")
    if not training or p == 0:
        return x
    state = (generator or default_generator).take(x.size)
    out: Tensor = kernels.dropout(x, p=p, **state)
    return out
