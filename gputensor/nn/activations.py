"""Activations as functions; each names its paper."""

from gputensor.autograd import Operand, Tensor
from gputensor.ops.choices import clip, where
from gputensor.ops.creation import asarray
from gputensor.ops.elementwise import abs as absolute
from gputensor.ops.elementwise import divide, expm1, relu, sigmoid, softplus, subtract, tanh
from gputensor.ops.nn import gelu as _exact_gelu
from gputensor.ops.nn import log_softmax, silu, softmax
from gputensor.ops.pieces import split

__all__ = [
    "celu",
    "elu",
    "gelu",
    "glu",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "swish",
    "tanh",
    "tanhshrink",
    "threshold",
]

# Of Klambauer et al. 2017, section 2: the fixed point of mean 0 and variance 1.
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946
_SQRT_2_OVER_PI = 0.7978845608028654


def leaky_relu(x: Operand, /, slope: float = 0.01) -> Tensor:
    """`x` above 0, and ``slope * x`` below (Maas et al. 2013); the gradient at 0 is `slope`."""
    x = asarray(x)
    return where(x > 0, x, slope * x)


def prelu(x: Operand, weight: Tensor, /) -> Tensor:
    """:func:`leaky_relu` whose slope is a parameter (He et al. 2015).

    Parameters
    ----------
    x : Tensor of shape (n, channels, ...)
    weight : Tensor of shape (1,) or (channels,)
    """
    x = asarray(x)
    if weight.size > 1 and x.ndim > 2:
        weight = weight.reshape(-1, *(1 for _ in x.shape[2:]))
    return where(x > 0, x, weight * x)


def elu(x: Operand, /, alpha: float = 1.0) -> Tensor:
    """`x` above 0, and ``alpha * (exp(x) - 1)`` below (Clevert et al. 2016)."""
    x = asarray(x)
    above = x > 0
    return where(above, x, alpha * expm1(where(above, 0.0, x)))  # no overflow where not chosen


def selu(x: Operand, /) -> Tensor:
    """Scaled :func:`elu`, which keeps mean 0 and variance 1 (Klambauer et al. 2017)."""
    return _SELU_SCALE * elu(x, _SELU_ALPHA)


def celu(x: Operand, /, alpha: float = 1.0) -> Tensor:
    """`x` above 0, and ``alpha * (exp(x / alpha) - 1)`` below (Barron 2017)."""
    return alpha * elu(asarray(x) / alpha)


def gelu(x: Operand, /, approximate: bool | str = False) -> Tensor:
    """Gaussian error linear unit ``x * Phi(x)`` (Hendrycks & Gimpel 2016).

    `approximate` (True or "tanh") takes their formula with tanh.
    """
    if approximate in (False, "none"):
        return _exact_gelu(x)
    x = asarray(x)
    found: Tensor = 0.5 * x * (1 + tanh(_SQRT_2_OVER_PI * (x + 0.044715 * x * x * x)))
    return found


def relu6(x: Operand, /) -> Tensor:
    """`x` cut off at 0 and 6."""
    return clip(asarray(x), 0.0, 6.0)


def hardtanh(x: Operand, /, low: float = -1.0, high: float = 1.0) -> Tensor:
    """`x` cut off at `low` and `high`."""
    return clip(asarray(x), low, high)


def hardsigmoid(x: Operand, /) -> Tensor:
    """``x / 6 + 1 / 2``, cut off at 0 and 1."""
    return clip(asarray(x) / 6 + 0.5, 0.0, 1.0)


def hardswish(x: Operand, /) -> Tensor:
    """``x * hardsigmoid(x)`` (Howard et al. 2019)."""
    return asarray(x) * hardsigmoid(x)


swish = silu


def mish(x: Operand, /) -> Tensor:
    """``x * tanh(softplus(x))`` (Misra 2019)."""
    return asarray(x) * tanh(softplus(x))


def softsign(x: Operand, /) -> Tensor:
    """``x / (1 + |x|)``."""
    x = asarray(x)
    return divide(x, 1 + absolute(x))


def tanhshrink(x: Operand, /) -> Tensor:
    """``x - tanh(x)``."""
    x = asarray(x)
    return subtract(x, tanh(x))


def threshold(x: Operand, /, limit: float, value: float) -> Tensor:
    """`x` above `limit`, `value` elsewhere."""
    x = asarray(x)
    return where(x > limit, x, value)


def glu(x: Operand, /, axis: int = -1) -> Tensor:
    """First half along `axis` times the sigmoid of the second (Dauphin et al. 2017)."""
    a, b = split(x, 2, axis=axis)
    return a * sigmoid(b)


def log_sigmoid(x: Operand, /) -> Tensor:
    """``log(sigmoid(x))``, without overflow."""
    return -softplus(-asarray(x))
