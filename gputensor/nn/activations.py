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
    """`x` above 0, and ``slope * x`` below (Maas et al. 2013); the gradient at 0 is `slope`.

    Examples
    --------
    >>> gt.nn.functional.leaky_relu(gt.tensor([-1.0, 2.0]))
    tensor([-0.01,  2.  ], dtype=float32)
    """
    x = asarray(x)
    return where(x > 0, x, slope * x)


def prelu(x: Operand, weight: Tensor, /) -> Tensor:
    """:func:`leaky_relu` whose slope is a parameter (He et al. 2015).

    Parameters
    ----------
    x : Tensor of shape (n, channels, ...)
    weight : Tensor of shape (1,) or (channels,)

    Examples
    --------
    >>> gt.nn.functional.prelu(gt.tensor([-1.0, 2.0]), gt.tensor([0.25]))
    tensor([-0.25,  2.  ], dtype=float32)
    """
    x = asarray(x)
    if weight.size > 1 and x.ndim > 2:
        weight = weight.reshape(-1, *(1 for _ in x.shape[2:]))
    return where(x > 0, x, weight * x)


def elu(x: Operand, /, alpha: float = 1.0) -> Tensor:
    """`x` above 0, and ``alpha * (exp(x) - 1)`` below (Clevert et al. 2016).

    Examples
    --------
    >>> gt.nn.functional.elu(gt.tensor([-1.0, 2.0]))
    tensor([-0.63212055,  2.        ], dtype=float32)
    """
    x = asarray(x)
    above = x > 0
    return where(above, x, alpha * expm1(where(above, 0.0, x)))  # no overflow where not chosen


def selu(x: Operand, /) -> Tensor:
    """Scaled :func:`elu`, which keeps mean 0 and variance 1 (Klambauer et al. 2017).

    Examples
    --------
    >>> gt.nn.functional.selu(gt.tensor([-1.0, 2.0]))
    tensor([-1.1113307,  2.101402 ], dtype=float32)
    """
    return _SELU_SCALE * elu(x, _SELU_ALPHA)


def celu(x: Operand, /, alpha: float = 1.0) -> Tensor:
    """`x` above 0, and ``alpha * (exp(x / alpha) - 1)`` below (Barron 2017).

    Examples
    --------
    >>> gt.nn.functional.celu(gt.tensor([-1.0, 2.0]))
    tensor([-0.63212055,  2.        ], dtype=float32)
    """
    return alpha * elu(asarray(x) / alpha)


def gelu(x: Operand, /, approximate: bool | str = False) -> Tensor:
    """Gaussian error linear unit ``x * Phi(x)`` (Hendrycks & Gimpel 2016).

    `approximate` (True or "tanh") takes their formula with tanh.

    Examples
    --------
    >>> gt.nn.functional.gelu(gt.tensor([-1.0, 2.0]))
    tensor([-0.15865526,  1.9544997 ], dtype=float32)
    """
    if approximate in (False, "none"):
        return _exact_gelu(x)
    x = asarray(x)
    found: Tensor = 0.5 * x * (1 + tanh(_SQRT_2_OVER_PI * (x + 0.044715 * x * x * x)))
    return found


def relu6(x: Operand, /) -> Tensor:
    """`x` cut off at 0 and 6.

    Examples
    --------
    >>> gt.nn.functional.relu6(gt.tensor([-1.0, 2.0, 9.0]))
    tensor([0., 2., 6.], dtype=float32)
    """
    return clip(asarray(x), 0.0, 6.0)


def hardtanh(x: Operand, /, low: float = -1.0, high: float = 1.0) -> Tensor:
    """`x` cut off at `low` and `high`.

    Examples
    --------
    >>> gt.nn.functional.hardtanh(gt.tensor([-2.0, 0.5, 2.0]))
    tensor([-1. ,  0.5,  1. ], dtype=float32)
    """
    return clip(asarray(x), low, high)


def hardsigmoid(x: Operand, /) -> Tensor:
    """``x / 6 + 1 / 2``, cut off at 0 and 1.

    Examples
    --------
    >>> gt.nn.functional.hardsigmoid(gt.tensor([-4.0, 0.0, 1.5]))
    tensor([0.  , 0.5 , 0.75], dtype=float32)
    """
    return clip(asarray(x) / 6 + 0.5, 0.0, 1.0)


def hardswish(x: Operand, /) -> Tensor:
    """``x * hardsigmoid(x)`` (Howard et al. 2019).

    Examples
    --------
    >>> gt.nn.functional.hardswish(gt.tensor([-4.0, 0.0, 1.5]))
    tensor([-0.   ,  0.   ,  1.125], dtype=float32)
    """
    return asarray(x) * hardsigmoid(x)


swish = silu


def mish(x: Operand, /) -> Tensor:
    """``x * tanh(softplus(x))`` (Misra 2019).

    Examples
    --------
    >>> gt.nn.functional.mish(gt.tensor([-1.0, 2.0]))
    tensor([-0.30340147,  1.9439589 ], dtype=float32)
    """
    return asarray(x) * tanh(softplus(x))


def softsign(x: Operand, /) -> Tensor:
    """``x / (1 + |x|)``.

    Examples
    --------
    >>> gt.nn.functional.softsign(gt.tensor([-1.0, 3.0]))
    tensor([-0.5 ,  0.75], dtype=float32)
    """
    x = asarray(x)
    return divide(x, 1 + absolute(x))


def tanhshrink(x: Operand, /) -> Tensor:
    """``x - tanh(x)``.

    Examples
    --------
    >>> gt.nn.functional.tanhshrink(gt.tensor([-1.0, 2.0]))
    tensor([-0.23840582,  1.0359724 ], dtype=float32)
    """
    x = asarray(x)
    return subtract(x, tanh(x))


def threshold(x: Operand, /, limit: float, value: float) -> Tensor:
    """`x` above `limit`, `value` elsewhere.

    Examples
    --------
    >>> gt.nn.functional.threshold(gt.tensor([0.5, 2.0]), 1.0, 0.0)
    tensor([0., 2.], dtype=float32)
    """
    x = asarray(x)
    return where(x > limit, x, value)


def glu(x: Operand, /, axis: int = -1) -> Tensor:
    """First half along `axis` times the sigmoid of the second (Dauphin et al. 2017).

    Examples
    --------
    >>> gt.nn.functional.glu(gt.tensor([1.0, 2.0, 0.0, 0.0]))
    tensor([0.5, 1. ], dtype=float32)
    """
    a, b = split(x, 2, axis=axis)
    return a * sigmoid(b)


def log_sigmoid(x: Operand, /) -> Tensor:
    """``log(sigmoid(x))``, without overflow.

    Examples
    --------
    >>> gt.nn.functional.log_sigmoid(gt.tensor([-1.0, 2.0]))
    tensor([-1.3132617, -0.126928 ], dtype=float32)
    """
    return -softplus(-asarray(x))
