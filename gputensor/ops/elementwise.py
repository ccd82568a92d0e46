"""Elementwise functions: arithmetic, rounding, exponentials, angles."""

import functools
import math
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Operand, Primitive, Rule, Tensor
from gputensor.backend import namespace
from gputensor.errors import DTypeError
from gputensor.kernels.runtime import widen
from gputensor.ops.data_type import finfo
from gputensor.ops.rules import binary, unary, whole, zero

__all__ = [
    "abs",
    "acos",
    "acosh",
    "add",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cbrt",
    "ceil",
    "conj",
    "copysign",
    "cos",
    "cosh",
    "divide",
    "exp",
    "exp2",
    "expm1",
    "fabs",
    "floor",
    "floor_divide",
    "hypot",
    "imag",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "positive",
    "pow",
    "real",
    "reciprocal",
    "relu",
    "remainder",
    "rint",
    "round",
    "sigmoid",
    "sign",
    "sin",
    "sinh",
    "softplus",
    "sqrt",
    "square",
    "subtract",
    "tan",
    "tanh",
    "trunc",
]


add = binary(
    "add",
    "Sum ``x + y``.",
    (lambda xp, g, _out, _x, _y: g, lambda xp, g, _out, _x, _y: g),
    example=">>> gt.add(gt.tensor([1, 2]), 3)\ntensor([4, 5])",
)

subtract = binary(
    "subtract",
    "Difference ``x - y``.",
    (lambda xp, g, _out, _x, _y: g, lambda xp, g, _out, _x, _y: -g),
    example=">>> gt.subtract(gt.tensor([1, 2]), 3)\ntensor([-2, -1])",
)

multiply = binary(
    "multiply",
    "Product ``x * y``.",
    (lambda xp, g, _out, _x, y: g * y, lambda xp, g, _out, x, _y: g * x),
    example=">>> gt.multiply(gt.tensor([1, 2]), 3)\ntensor([3, 6])",
)

divide = binary(
    "divide",
    "Quotient ``x / y``.",
    (
        lambda xp, g, _out, _x, y: xp.divide(g, y),
        lambda xp, g, out, _x, y: xp.divide(-g * out, y),
    ),
    example=">>> gt.divide(gt.tensor([1, 2]), 2)\ntensor([0.5, 1. ], dtype=float64)",
)


@functools.cache
def _smallest(dtype: np.dtype[Any]) -> float:
    return finfo(dtype).smallest_normal


def _pow_base(xp: Any, g: Any, out: Any, x: Any, y: Any) -> Any:
    # x ** 0 is flat also where x ** -1 is infinite or NaN.
    finite = xp.greater(xp.abs(x), _smallest(out.dtype))
    flat = xp.logical_and(xp.equal(y, 0), xp.logical_not(finite))
    return g * xp.where(flat, 0.0, y * xp.where(flat, 1, x) ** (y - 1))


def _pow_exponent(xp: Any, g: Any, out: Any, x: Any, y: Any) -> Any:
    # 0 ** y is flat in y > 0, where log(0) would say -inf * 0.
    flat = xp.logical_and(xp.equal(x, 0), xp.greater(y, 0))
    base = xp.where(flat, 1.0, x)
    if out.dtype.kind == "c":  # log of a negative number
        base = xp.astype(base, out.dtype)
    return g * xp.where(flat, 0.0, out * xp.log(base))


def _power(xp: Any, x: Any, y: Any) -> Any:
    try:
        if isinstance(y, (int, np.integer)) and y < 0 and x.dtype.kind in "biu":
            raise ValueError("negative integer powers")  # as NumPy says, but CuPy does not
        if not (backend.on_cpu(x) or backend.on_cpu(y)):
            return _cuda_power(xp, x, y)
        if type(y) is float and y == 0.5 and x.dtype.kind in "fV":
            return _root(x, np.float32 if x.dtype.kind == "V" else None)
        out = x**y
        if hasattr(y, "dtype") and out.dtype.kind == "f":
            half = np.equal(y, 0.5)
            if not _is_plain(half) or half.any():
                return np.where(half, _root(x, out.dtype), out)
        return out
    except ValueError as error:
        if "negative integer powers" not in str(error):
            raise
        raise DTypeError(
            "pow: an integer to a negative power is no integer; convert it first, for example "
            "x.astype(gt.float32)"
        ) from None


def _cuda_power(xp: Any, x: Any, y: Any) -> Any:
    """CuPy's power. For some numbers its operator takes other functions, of other results."""
    if type(y) is float and (y == 0.5 or x.dtype.kind == "V"):
        return xp.power(x, y)  # where the square root would be -0 of -0, and NaN of -inf
    if isinstance(y, int) and y == 2 and x.dtype.kind == "b":
        x = x.astype(np.int8)  # NumPy's square of bools
    return x**y


def _root(x: Any, dtype: Any = None) -> Any:
    """``x ** 0.5``, where NumPy's is -0 of -0 and NaN of minus infinity."""
    out = np.sqrt(x, dtype=dtype) + 0.0
    if _is_plain(x) and np.min(x, initial=0) > -math.inf:
        return out
    return np.where(np.equal(x, -math.inf), -x, out)


def _is_plain(x: Any) -> bool:
    """Whether values may be looked at for a shorter way: not while they are recorded."""
    return isinstance(x, (np.ndarray, np.generic, int, float))


_pow = Primitive("pow", _power, (_pow_base, _pow_exponent), elementwise=True)

_pow_arrays = _pow.binary()

_pow_number = Primitive(
    "pow_number",
    lambda xp, x, exponent: _power(xp, x, exponent),
    (lambda xp, g, _out, x, exponent: g * exponent * x ** (exponent - 1),),
    elementwise=True,
)


def pow(x: Operand, y: Operand, /) -> Tensor:
    """Power ``x ** y``.

    Parameters
    ----------
    x, y : Tensor, array or Python number
        Shapes that broadcast together.

    Returns
    -------
    Tensor
        Of the broadcast shape and the promoted dtype. The gradient towards `y` is NaN where `x`
        is negative.

    Raises
    ------
    DTypeError
        For integers to a negative power. On CUDA it is raised for a number `y` only; where `y` is
        an array of integers, CuPy gives the quotient cut to an integer.

    Examples
    --------
    >>> gt.pow(gt.tensor([2.0, 3.0]), 2)
    tensor([4., 9.], dtype=float32)
    """
    if isinstance(x, Tensor) and isinstance(y, (int, float)) and y not in (0, 1):
        return _pow_number(x, exponent=y)
    return _pow_arrays(x, y)


negative = unary(
    "negative",
    "Negation ``-x``.",
    lambda xp, g, _out, _x: -g,
    example=">>> gt.negative(gt.tensor([1, -2]))\ntensor([-1,  2])",
)

positive = unary(
    "positive",
    "A copy ``+x``.",
    lambda xp, g, _out, _x: g,
    example=">>> gt.positive(gt.tensor([1, -2]))\ntensor([ 1, -2])",
)


def abs_rule(xp: Any, g: Any, _out: Any, x: Any) -> Any:
    """Rule of :func:`abs`."""
    return g * (xp.sign(x) if x.dtype.kind != "c" else xp.conj(_phase(xp, x)))


def _phase(xp: Any, x: Any) -> Any:
    """``x / abs(x)`` of complex numbers, and 0 of 0, whatever the signs of its parts."""
    size = xp.abs(x)
    nothing = xp.equal(size, 0)
    return xp.where(nothing, 0, xp.divide(x, xp.where(nothing, 1, size)))


def _sign_rule(xp: Any, g: Any, _out: Any, x: Any) -> Any:
    if x.dtype.kind != "c":
        return xp.zeros_like(g)
    # Only the part of a change that is perpendicular to x, as seen from 0, turns it.
    phase, size = _phase(xp, x), xp.abs(x)
    across = xp.imag(g * phase) / xp.where(xp.equal(size, 0), math.inf, size)
    return 1j * across * xp.conj(phase)


abs = unary(
    "abs",
    "Absolute value. Gradient and second derivative are 0 at 0, also those of ``abs(x)**2``.",
    abs_rule,
    example=">>> gt.abs(gt.tensor([-1.0, 2.0]))\ntensor([1., 2.], dtype=float32)",
)

fabs = unary(
    "fabs",
    "Absolute value of real numbers, in floating point; see :func:`abs`.",
    abs_rule,
    example=">>> gt.fabs(gt.tensor([-1.5, 2.0]))\ntensor([1.5, 2. ], dtype=float32)",
)

real = unary(
    "real",
    "Real part.",
    lambda xp, g, _out, _x: g,
    lambda xp, x: xp.real(x)[...],
    example=">>> gt.real(gt.tensor([1 + 2j]))\ntensor([1.], dtype=float32)",
)

imag = unary(
    "imag",
    "Imaginary part; 0 for real numbers.",
    lambda xp, g, _out, _x: -1j * g if _x.dtype.kind == "c" else xp.zeros_like(g),
    # Of real numbers NumPy's is read-only.
    lambda xp, x: xp.imag(x)[...] if x.dtype.kind == "c" else xp.zeros_like(x),
    example=">>> gt.imag(gt.tensor([1 + 2j]))\ntensor([2.], dtype=float32)",
)

conj = unary(
    "conj",
    "Complex conjugate.",
    lambda xp, g, _out, _x: xp.conj(g),
    example=">>> gt.conj(gt.tensor([1 + 2j]))\ntensor([1.-2.j], dtype=complex64)",
)

square = unary(
    "square",
    "Square.",
    lambda xp, g, _out, x: g * 2 * x,
    example=">>> gt.square(gt.tensor([2.0, -3.0]))\ntensor([4., 9.], dtype=float32)",
)

sqrt = unary(
    "sqrt",
    "Square root.",
    lambda xp, g, out, _x: xp.divide(g * 0.5, out),
    example=">>> gt.sqrt(gt.tensor([4.0, 9.0]))\ntensor([2., 3.], dtype=float32)",
)

cbrt = unary(
    "cbrt",
    "Cube root.",
    lambda xp, g, out, _x: g / (3 * out * out),
    example=">>> gt.cbrt(gt.tensor([8.0, -27.0]))\ntensor([ 2.       , -2.9999998], dtype=float32)",
)

hypot = binary(
    "hypot",
    "``sqrt(x**2 + y**2)``, without overflow; gradient 0 at 0, as of ``vector_norm``.",
    (
        lambda xp, g, out, x, _y: g * x / xp.where(xp.equal(out, 0), 1, out),
        lambda xp, g, out, _x, y: g * y / xp.where(xp.equal(out, 0), 1, out),
    ),
    example=">>> gt.hypot(gt.tensor([3.0]), gt.tensor([4.0]))\ntensor([5.], dtype=float32)",
)

reciprocal = unary(
    "reciprocal",
    "Reciprocal ``1 / x``.",
    lambda xp, g, out, _x: -g * out * out,
    example=">>> gt.reciprocal(gt.tensor([2.0, 4.0]))\ntensor([0.5 , 0.25], dtype=float32)",
)


def _sign(xp: Any, x: Any) -> Any:
    if x.dtype.kind != "c":
        return xp.sign(x) + 0 if x.dtype.kind == "V" else xp.sign(x)  # ml_dtypes keeps -0
    return xp.where(xp.equal(x, 0), x.dtype.type(0), _phase(xp, x))  # 0 of zeros of any sign


sign = unary(
    "sign",
    "Sign: -1, 0, 1 or NaN; of complex numbers ``x / abs(x)``.",
    _sign_rule,
    _sign,
    example=">>> gt.sign(gt.tensor([-2.0, 0.0, 3.0]))\ntensor([-1.,  0.,  1.], dtype=float32)",
)

floor = unary(
    "floor",
    "Largest integer not above `x`.",
    zero,
    whole("floor"),
    example=">>> gt.floor(gt.tensor([1.7, -1.2]))\ntensor([ 1., -2.], dtype=float32)",
)

ceil = unary(
    "ceil",
    "Smallest integer not below `x`.",
    zero,
    whole("ceil"),
    example=">>> gt.ceil(gt.tensor([1.2, -1.2]))\ntensor([ 2., -1.], dtype=float32)",
)

trunc = unary(
    "trunc",
    "Integer part of `x`.",
    zero,
    whole("trunc"),
    example=">>> gt.trunc(gt.tensor([1.7, -1.7]))\ntensor([ 1., -1.], dtype=float32)",
)

round = unary(
    "round",
    "Nearest integer, halves to even.",
    zero,
    example=">>> gt.round(gt.tensor([0.5, 1.5, 2.3]))\ntensor([0., 2., 2.], dtype=float32)",
)

rint = unary(
    "rint",
    "Nearest integer in floating point, halves to even; see :func:`round`.",
    zero,
    example=">>> gt.rint(gt.tensor([0.5, 1.5, 2.3]))\ntensor([0., 2., 2.], dtype=float32)",
)


def _endless(x: Any) -> bool:
    """Whether an array of NumPy's or a number holds, or may hold, an infinity or a NaN."""
    floating = isinstance(x, float) or (hasattr(x, "dtype") and x.dtype.kind in "fV")
    return floating and not (_is_plain(x) and np.isfinite(x).all())


def _floor_divide(xp: Any, x: Any, y: Any) -> Any:
    on_cpu = backend.on_cpu(x) or backend.on_cpu(y)
    if not (on_cpu and (_endless(x) or _endless(y))):
        return xp.floor_divide(x, y)
    # NumPy takes a remainder off first, which of infinities is NaN.
    with np.errstate(invalid="ignore"):
        infinite = np.logical_or(np.isinf(x), np.isinf(y))
        return np.where(infinite, np.floor(np.divide(x, y)), np.floor_divide(x, y))


floor_divide = binary(
    "floor_divide",
    "Floor of ``x / y``; of infinities as IEEE 754 has the quotient.",
    (zero, zero),
    _floor_divide,
    example=">>> gt.floor_divide(gt.tensor([7, -7]), 2)\ntensor([ 3, -4])",
)


def _times(out: Any, x: Any, y: Any) -> Any:
    """How often the divisor was taken off for a remainder, in its dtype."""
    xp = namespace(out)
    with np.errstate(invalid="ignore", divide="ignore"):
        times = xp.rint((x - widen(xp, out)) / y)
    endless = xp.isinf(y)
    if not isinstance(out, np.ndarray) or np.any(endless):
        times = xp.where(endless, xp.where(out == x, 0, -1), times)
    return xp.astype(times, out.dtype)


def _remainder_divisor(_xp: Any, g: Any, out: Any, x: Any, y: Any) -> Any:
    # Rounding makes it another number than the floor of the quotient. It is constant.
    return -g * _times(*(a.array if isinstance(a, Tensor) else a for a in (out, x, y)))


remainder = binary(
    "remainder",
    "Remainder ``x % y``, with the sign of `y`.",
    (lambda xp, g, _out, _x, _y: g, _remainder_divisor),
    example=">>> gt.remainder(gt.tensor([7, -7]), 4)\ntensor([3, 1])",
)

exp = unary(
    "exp",
    "Exponential.",
    lambda xp, g, out, _x: g * out,
    example=">>> gt.exp(gt.tensor([0.0, 1.0]))\ntensor([1.      , 2.718282], dtype=float32)",
)

exp2 = unary(
    "exp2",
    "Power ``2 ** x``.",
    lambda xp, g, out, _x: g * out * math.log(2),
    example=">>> gt.exp2(gt.tensor([3.0, -1.0]))\ntensor([8. , 0.5], dtype=float32)",
)


def _joined(xp: Any, real: Any, imag: Any, x: Any) -> Any:
    """Complex numbers of two parts, of the shape and dtype of `x`; ``1j * inf`` would be NaN."""
    out = xp.empty_like(x)
    out.real, out.imag = real, imag
    return out


def _expm1(xp: Any, x: Any) -> Any:
    if x.dtype.kind != "c":
        return xp.expm1(x)
    exp, finite = xp.exp(x), xp.isfinite(x)
    a, b = xp.real(x), xp.where(finite, xp.imag(x), 0)
    # 0 - 0 is 0, of no sign, which is what the standard has of zeros of either sign.
    near = 0 - 2 * xp.sin(b / 2) ** 2 + xp.expm1(a) * xp.cos(b)
    # exp knows which of its parts vanish at infinity.
    return _joined(xp, xp.where(finite, near, xp.real(exp) - 1), xp.imag(exp), x)


def _log1p(xp: Any, x: Any) -> Any:
    if x.dtype.kind != "c":
        return xp.log1p(x)
    a, b = xp.real(x), xp.imag(x)
    near = xp.abs(x) < 0.5
    square = xp.where(near, a * (2 + a) + b * b, 0)  # less 1
    size = xp.where(near, 0.5 * xp.log1p(square), xp.log(xp.hypot(1 + a, b)))
    return _joined(xp, size, xp.atan2(b, 1 + a), x)


def _log2(xp: Any, x: Any) -> Any:
    if x.dtype.kind != "c":
        return xp.log2(x)
    log, unit = xp.log(x), math.log2(math.e)
    return _joined(xp, xp.real(log) * unit, xp.imag(log) * unit, x)


expm1 = unary(
    "expm1",
    "``exp(x) - 1``, exact near 0.",
    lambda xp, g, _out, x: g * xp.exp(x),
    _expm1,
    example=">>> gt.expm1(gt.tensor([0.0, 1e-8]))\ntensor([0.e+00, 1.e-08], dtype=float32)",
)

log = unary(
    "log",
    "Natural logarithm.",
    lambda xp, g, _out, x: xp.divide(g, x),
    example=">>> gt.log(gt.tensor([1.0, gt.e]))\ntensor([0., 1.], dtype=float32)",
)

log1p = unary(
    "log1p",
    "``log(1 + x)``, exact near 0.",
    lambda xp, g, _out, x: xp.divide(g, x + 1),
    _log1p,
    example=">>> gt.log1p(gt.tensor([0.0, 1e-8]))\ntensor([0.e+00, 1.e-08], dtype=float32)",
)

log2 = unary(
    "log2",
    "Logarithm to base 2.",
    lambda xp, g, _out, x: xp.divide(g * (1 / math.log(2)), x),
    _log2,
    example=">>> gt.log2(gt.tensor([8.0, 0.5]))\ntensor([ 3., -1.], dtype=float32)",
)

log10 = unary(
    "log10",
    "Logarithm to base 10.",
    lambda xp, g, _out, x: xp.divide(g * (1 / math.log(10)), x),
    example=">>> gt.log10(gt.tensor([1000.0]))\ntensor([3.0000002], dtype=float32)",
)


def logistic(xp: Any, x: Any) -> Any:
    """``1 / (1 + exp(-x))`` in a rule, to full relative precision also where it is small."""
    if isinstance(x, Tensor):
        return sigmoid(x)
    with np.errstate(over="ignore"):
        return 1 / (1 + xp.exp(-x))


def _share(xp: Any, x: Any, y: Any) -> Any:
    """``exp(x) / (exp(x) + exp(y))``, a half of equal infinities."""
    if isinstance(x, Tensor) or isinstance(y, Tensor):
        same = xp.logical_and(xp.equal(x, y), xp.isinf(x))
        return sigmoid(widen(xp, xp.where(same, 0, x) - xp.where(same, 0, y)))
    with np.errstate(invalid="ignore"):
        found = logistic(xp, widen(xp, x - y))
    return xp.where(xp.equal(x, y), found.dtype.type(0.5), found)


logaddexp = binary(
    "logaddexp",
    "``log(exp(x) + exp(y))``, without overflow; equal infinities share the gradient.",
    (
        lambda xp, g, _out, x, y: g * _share(xp, x, y),
        lambda xp, g, _out, x, y: g * _share(xp, y, x),
    ),
    example=">>> gt.logaddexp(gt.tensor([1000.0]), gt.tensor([1000.0]))\n"
    "tensor([1000.6932], dtype=float32)",
)

softplus = unary(
    "softplus",
    "``log(1 + exp(x))``, without overflow.",
    lambda xp, g, out, _x: -g * xp.expm1(-out),
    lambda xp, x: xp.logaddexp(x, 0),
    example=">>> gt.softplus(gt.tensor([0.0, 100.0]))\n"
    "tensor([  0.6931472, 100.       ], dtype=float32)",
)

sin = unary(
    "sin",
    "Sine of radians.",
    lambda xp, g, _out, x: g * xp.cos(x),
    example=">>> gt.sin(gt.tensor([0.0, gt.pi / 2]))\ntensor([0., 1.], dtype=float32)",
)

cos = unary(
    "cos",
    "Cosine of radians.",
    lambda xp, g, _out, x: -g * xp.sin(x),
    example=">>> gt.cos(gt.tensor([0.0, gt.pi]))\ntensor([ 1., -1.], dtype=float32)",
)

tan = unary(
    "tan",
    "Tangent of radians.",
    lambda xp, g, out, _x: g * (1 + out * out),
    example=">>> gt.tan(gt.tensor([0.0, gt.pi / 4]))\ntensor([0., 1.], dtype=float32)",
)

asin = unary(
    "asin",
    "Inverse sine, in radians.",
    lambda xp, g, _out, x: xp.divide(g, xp.sqrt(1 - x * x)),
    example=">>> gt.asin(gt.tensor([0.0, 1.0]))\ntensor([0.       , 1.5707964], dtype=float32)",
)

acos = unary(
    "acos",
    "Inverse cosine, in radians.",
    lambda xp, g, _out, x: xp.divide(-g, xp.sqrt(1 - x * x)),
    example=">>> gt.acos(gt.tensor([1.0, 0.0]))\ntensor([0.       , 1.5707964], dtype=float32)",
)


def _atan_rule(xp: Any, g: Any, _out: Any, x: Any) -> Any:
    x = widen(xp, x)  # 16 bits do not hold the square of 300
    return xp.divide(g, 1 + x * x)


def _turning(xp: Any, along: Any, across: Any) -> Any:
    """How fast the angle of a point turns: `along` over its squared distance, 0 at 0 and infinity.

    The last two come without a division by 0 or infinity, so that derivatives are 0 there, too.
    """
    size = xp.abs(along) + xp.abs(across)  # NaN beside infinity, too, unlike the distance
    still = xp.logical_or(xp.equal(size, 0), xp.isinf(size))
    distance = xp.where(still, 1, xp.hypot(along, across))
    return xp.where(still, 0, along) / distance / distance


atan = unary(
    "atan",
    "Inverse tangent, in radians.",
    _atan_rule,
    example=">>> gt.atan(gt.tensor([0.0, 1.0]))\ntensor([0.       , 0.7853982], dtype=float32)",
)

atan2 = binary(
    "atan2",
    "Angle of the point ``(y, x)``, in radians: of ``x / y`` in its quadrant; gradient 0 at 0.",
    (
        lambda xp, g, _out, x, y: g * _turning(xp, y, x),
        lambda xp, g, _out, x, y: -g * _turning(xp, x, y),
    ),
    example=">>> gt.atan2(gt.tensor([1.0, -1.0]), gt.tensor([0.0, -1.0]))\n"
    "tensor([ 1.5707964, -2.3561945], dtype=float32)",
)

sinh = unary(
    "sinh",
    "Hyperbolic sine.",
    lambda xp, g, _out, x: g * xp.cosh(x),
    example=">>> gt.sinh(gt.tensor([0.0, 1.0]))\ntensor([0.       , 1.1752012], dtype=float32)",
)

cosh = unary(
    "cosh",
    "Hyperbolic cosine.",
    lambda xp, g, _out, x: g * xp.sinh(x),
    example=">>> gt.cosh(gt.tensor([0.0, 1.0]))\ntensor([1.       , 1.5430807], dtype=float32)",
)

tanh = unary(
    "tanh",
    "Hyperbolic tangent. Of ``inf + bj`` it is 1 with an imaginary part 0 of the sign of\n"
    "    ``sin(2 * b)``, as in C99 and NumPy; the array API standard has 0j for every b.",
    lambda xp, g, out, _x: g * (1 - out * out),
    example=">>> gt.tanh(gt.tensor([0.0, 1.0]))\ntensor([0.       , 0.7615942], dtype=float32)",
)

asinh = unary(
    "asinh",
    "Inverse hyperbolic sine.",
    # Without the overflow of x * x, but for complex numbers, which hypot is not for.
    lambda xp, g, _out, x: xp.divide(
        g, xp.hypot(x, 1) if x.dtype.kind != "c" else xp.sqrt(1 + x * x)
    ),
    example=">>> gt.asinh(gt.tensor([0.0, 1.0]))\ntensor([0.       , 0.8813736], dtype=float32)",
)

acosh = unary(
    "acosh",
    "Inverse hyperbolic cosine.",
    # Not the root of x * x - 1, which has another branch cut.
    lambda xp, g, _out, x: xp.divide(g, xp.sqrt(x - 1) * xp.sqrt(x + 1)),
    example=">>> gt.acosh(gt.tensor([1.0, 2.0]))\ntensor([0.      , 1.316958], dtype=float32)",
)

atanh = unary(
    "atanh",
    "Inverse hyperbolic tangent.",
    lambda xp, g, _out, x: xp.divide(g, 1 - x * x),
    example=">>> gt.atanh(gt.tensor([0.0, 0.5]))\ntensor([0.        , 0.54930615], dtype=float32)",
)


def _sigmoid(xp: Any, x: Any) -> Any:
    if x.dtype.kind == "c":
        return 0.5 * xp.tanh(0.5 * x) + 0.5
    decay = xp.exp(-xp.abs(x))  # of a negative number: cannot overflow
    return xp.where(x < 0, decay, 1) / (1 + decay)


sigmoid = unary(
    "sigmoid",
    "Logistic function ``1 / (1 + exp(-x))``, without overflow.",
    lambda xp, g, out, _x: g * out * (1 - out),
    _sigmoid,
    example=">>> gt.special.expit(gt.tensor([0.0]))\ntensor([0.5], dtype=float32)",
)
# `x <= 0` is false for NaN, so that a NaN passes and so does the gradient at it.
relu = unary(
    "relu",
    "Rectified linear unit ``max(x, 0)``; gradient 0 at 0, NaN stays NaN.",
    lambda xp, g, out, _x: xp.where(out <= 0, 0, g),
    lambda xp, x: xp.maximum(x, 0),
    example=">>> gt.relu(gt.tensor([-1.0, 2.0]))\ntensor([0., 2.], dtype=float32)",
)


def _chosen(lost: str, own: int) -> Rule:
    def rule(xp: Any, g: Any, _out: Any, x: Any, y: Any) -> Any:
        mine, other = (x, y) if own == 0 else (y, x)
        share = xp.where(xp.equal(mine, other), 0.5 * g, g)
        return xp.where(getattr(xp, lost)(mine, other), 0, share)

    return rule


maximum = binary(
    "maximum",
    "Larger of two; NaN if either is, and of 0 and -0 either.",
    (_chosen("less", 0), _chosen("less", 1)),
    example=">>> gt.maximum(gt.tensor([1.0, 5.0]), 3)\ntensor([3., 5.], dtype=float32)",
)

minimum = binary(
    "minimum",
    "Smaller of two; NaN if either is, and of 0 and -0 either.",
    (_chosen("greater", 0), _chosen("greater", 1)),
    example=">>> gt.minimum(gt.tensor([1.0, 5.0]), 3)\ntensor([1., 3.], dtype=float32)",
)

copysign = binary(
    "copysign",
    "Absolute value of `x` with the sign of `y`.",
    (
        lambda xp, g, _out, x, y: xp.where(xp.equal(xp.signbit(x), xp.signbit(y)), g, -g),
        zero,
    ),
    example=">>> gt.copysign(gt.tensor([1.0, 2.0]), gt.tensor([-1.0, 1.0]))\n"
    "tensor([-1.,  2.], dtype=float32)",
)
