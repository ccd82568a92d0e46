"""Elementwise functions: each is a line with its derivative beside it."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from gputensor import backend
from gputensor.autograd import Operand, Primitive, Rule, Tensor, as_array, default_dtype
from gputensor.backend import namespace
from gputensor.errors import DTypeError, GraphError
from gputensor.kernels.runtime import narrow, widen
from gputensor.ops.data_type import astype, finfo
from gputensor.options import integer, number

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
    "bitwise_and",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "cbrt",
    "ceil",
    "clip",
    "conj",
    "copysign",
    "cos",
    "cosh",
    "digamma",
    "divide",
    "equal",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "exp2",
    "expm1",
    "fabs",
    "floor",
    "floor_divide",
    "gammaln",
    "greater",
    "greater_equal",
    "hypot",
    "imag",
    "isfinite",
    "isinf",
    "isnan",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "multiply",
    "nan_to_num",
    "negative",
    "nextafter",
    "not_equal",
    "polygamma",
    "positive",
    "pow",
    "real",
    "reciprocal",
    "relu",
    "remainder",
    "rint",
    "round",
    "select",
    "sigmoid",
    "sign",
    "signbit",
    "sin",
    "sinc",
    "sinh",
    "softplus",
    "sqrt",
    "square",
    "subtract",
    "tan",
    "tanh",
    "trunc",
    "where",
]

Unary: TypeAlias = Callable[[Operand], Tensor]
Binary: TypeAlias = Callable[[Operand, Operand], Tensor]


def _unary(
    name: str, text: str, rule: Rule | None, forward: Callable[..., Any] | None = None
) -> Unary:
    rules = None if rule is None else (rule,)
    function = Primitive(name, forward, rules, elementwise=True).unary()
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""{text}

    Parameters
    ----------
    x : Tensor or array
        Any shape; integers are taken as float64, as in NumPy, where the result is fractional.

    Returns
    -------
    Tensor
        Of the shape of `x`.
    """
    return function


def _binary(
    name: str, text: str, rules: tuple[Rule, Rule] | None, forward: Callable[..., Any] | None = None
) -> Binary:
    function = Primitive(name, forward, rules, elementwise=True).binary()
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""{text}

    Parameters
    ----------
    x, y : Tensor, array or Python number
        Shapes that broadcast together; Python numbers take the other operand's dtype, but for a
        float beside bfloat16: NumPy's rule makes that float32.

    Returns
    -------
    Tensor
        Of the broadcast shape and the promoted dtype.

    Raises
    ------
    ShapeError
        If the shapes do not broadcast.
    DeviceMismatchError
        If the operands are on different devices.
    """
    return function


def _zero(xp: Any, g: Any, _out: Any, _x: Any, _y: Any = None) -> Any:
    return xp.zeros_like(g)


# Arithmetic

add = _binary(
    "add",
    "Sum ``x + y``.",
    (lambda xp, g, _out, _x, _y: g, lambda xp, g, _out, _x, _y: g),
)
subtract = _binary(
    "subtract",
    "Difference ``x - y``.",
    (lambda xp, g, _out, _x, _y: g, lambda xp, g, _out, _x, _y: -g),
)
multiply = _binary(
    "multiply",
    "Product ``x * y``.",
    (lambda xp, g, _out, _x, y: g * y, lambda xp, g, _out, x, _y: g * x),
)
divide = _binary(
    "divide",
    "Quotient ``x / y``.",
    (
        lambda xp, g, _out, _x, y: xp.divide(g, y),
        lambda xp, g, out, _x, y: xp.divide(-g * out, y),
    ),
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
    """
    if isinstance(x, Tensor) and isinstance(y, (int, float)) and y not in (0, 1):
        return _pow_number(x, exponent=y)
    return _pow_arrays(x, y)


negative = _unary("negative", "Negation ``-x``.", lambda xp, g, _out, _x: -g)
positive = _unary("positive", "A copy ``+x``.", lambda xp, g, _out, _x: g)


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


abs = _unary(
    "abs",
    "Absolute value. Gradient and second derivative are 0 at 0, also those of ``abs(x)**2``.",
    abs_rule,
)
fabs = _unary(
    "fabs", "Absolute value of real numbers, in floating point; see :func:`abs`.", abs_rule
)
real = _unary("real", "Real part.", lambda xp, g, _out, _x: g, lambda xp, x: xp.real(x)[...])
imag = _unary(
    "imag",
    "Imaginary part; 0 for real numbers.",
    lambda xp, g, _out, _x: -1j * g if _x.dtype.kind == "c" else xp.zeros_like(g),
    # Of real numbers NumPy's is read-only.
    lambda xp, x: xp.imag(x)[...] if x.dtype.kind == "c" else xp.zeros_like(x),
)
conj = _unary("conj", "Complex conjugate.", lambda xp, g, _out, _x: xp.conj(g))
square = _unary("square", "Square.", lambda xp, g, _out, x: g * 2 * x)
sqrt = _unary("sqrt", "Square root.", lambda xp, g, out, _x: xp.divide(g * 0.5, out))
cbrt = _unary("cbrt", "Cube root.", lambda xp, g, out, _x: g / (3 * out * out))
hypot = _binary(
    "hypot",
    "``sqrt(x**2 + y**2)``, without overflow; gradient 0 at 0, as of ``vector_norm``.",
    (
        lambda xp, g, out, x, _y: g * x / xp.where(xp.equal(out, 0), 1, out),
        lambda xp, g, out, _x, y: g * y / xp.where(xp.equal(out, 0), 1, out),
    ),
)
reciprocal = _unary("reciprocal", "Reciprocal ``1 / x``.", lambda xp, g, out, _x: -g * out * out)


def _sign(xp: Any, x: Any) -> Any:
    if x.dtype.kind != "c":
        return xp.sign(x) + 0 if x.dtype.kind == "V" else xp.sign(x)  # ml_dtypes keeps -0
    return xp.where(xp.equal(x, 0), x.dtype.type(0), _phase(xp, x))  # 0 of zeros of any sign


sign = _unary(
    "sign",
    "Sign: -1, 0, 1 or NaN; of complex numbers ``x / abs(x)``.",
    _sign_rule,
    _sign,
)


def _whole(name: str) -> Callable[..., Any]:
    """Rounding that leaves integers what they are; CuPy's would make them float64."""
    return lambda xp, x: x.copy() if x.dtype.kind in "iu" else getattr(xp, name)(x)


floor = _unary("floor", "Largest integer not above `x`.", _zero, _whole("floor"))
ceil = _unary("ceil", "Smallest integer not below `x`.", _zero, _whole("ceil"))
trunc = _unary("trunc", "Integer part of `x`.", _zero, _whole("trunc"))
round = _unary("round", "Nearest integer, halves to even.", _zero)
rint = _unary(
    "rint", "Nearest integer in floating point, halves to even; see :func:`round`.", _zero
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


floor_divide = _binary(
    "floor_divide",
    "Floor of ``x / y``; of infinities as IEEE 754 has the quotient.",
    (_zero, _zero),
    _floor_divide,
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


remainder = _binary(
    "remainder",
    "Remainder ``x % y``, with the sign of `y`.",
    (lambda xp, g, _out, _x, _y: g, _remainder_divisor),
)

# Exponentials and logarithms

exp = _unary("exp", "Exponential.", lambda xp, g, out, _x: g * out)
exp2 = _unary("exp2", "Power ``2 ** x``.", lambda xp, g, out, _x: g * out * math.log(2))


# CuPy has the next of real numbers only, and NumPy's are NaN of infinities, or not exact near 0.


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


expm1 = _unary(
    "expm1", "``exp(x) - 1``, exact near 0.", lambda xp, g, _out, x: g * xp.exp(x), _expm1
)
log = _unary("log", "Natural logarithm.", lambda xp, g, _out, x: xp.divide(g, x))
log1p = _unary(
    "log1p", "``log(1 + x)``, exact near 0.", lambda xp, g, _out, x: xp.divide(g, x + 1), _log1p
)
log2 = _unary(
    "log2",
    "Logarithm to base 2.",
    lambda xp, g, _out, x: xp.divide(g * (1 / math.log(2)), x),
    _log2,
)
log10 = _unary(
    "log10", "Logarithm to base 10.", lambda xp, g, _out, x: xp.divide(g * (1 / math.log(10)), x)
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


logaddexp = _binary(
    "logaddexp",
    "``log(exp(x) + exp(y))``, without overflow; equal infinities share the gradient.",
    (
        lambda xp, g, _out, x, y: g * _share(xp, x, y),
        lambda xp, g, _out, x, y: g * _share(xp, y, x),
    ),
)
softplus = _unary(
    "softplus",
    "``log(1 + exp(x))``, without overflow.",
    lambda xp, g, out, _x: -g * xp.expm1(-out),
    lambda xp, x: xp.logaddexp(x, 0),
)

# Trigonometric and hyperbolic functions

sin = _unary("sin", "Sine of radians.", lambda xp, g, _out, x: g * xp.cos(x))
cos = _unary("cos", "Cosine of radians.", lambda xp, g, _out, x: -g * xp.sin(x))
tan = _unary("tan", "Tangent of radians.", lambda xp, g, out, _x: g * (1 + out * out))
asin = _unary(
    "asin", "Inverse sine, in radians.", lambda xp, g, _out, x: xp.divide(g, xp.sqrt(1 - x * x))
)
acos = _unary(
    "acos", "Inverse cosine, in radians.", lambda xp, g, _out, x: xp.divide(-g, xp.sqrt(1 - x * x))
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


atan = _unary("atan", "Inverse tangent, in radians.", _atan_rule)
atan2 = _binary(
    "atan2",
    "Angle of the point ``(y, x)``, in radians: of ``x / y`` in its quadrant; gradient 0 at 0.",
    (
        lambda xp, g, _out, x, y: g * _turning(xp, y, x),
        lambda xp, g, _out, x, y: -g * _turning(xp, x, y),
    ),
)
sinh = _unary("sinh", "Hyperbolic sine.", lambda xp, g, _out, x: g * xp.cosh(x))
cosh = _unary("cosh", "Hyperbolic cosine.", lambda xp, g, _out, x: g * xp.sinh(x))
tanh = _unary(
    "tanh",
    "Hyperbolic tangent. Of ``inf + bj`` it is 1 with an imaginary part 0 of the sign of\n"
    "    ``sin(2 * b)``, as in C99 and NumPy; the array API standard has 0j for every b.",
    lambda xp, g, out, _x: g * (1 - out * out),
)
asinh = _unary(
    "asinh",
    "Inverse hyperbolic sine.",
    # Without the overflow of x * x, but for complex numbers, which hypot is not for.
    lambda xp, g, _out, x: xp.divide(
        g, xp.hypot(x, 1) if x.dtype.kind != "c" else xp.sqrt(1 + x * x)
    ),
)
acosh = _unary(
    "acosh",
    "Inverse hyperbolic cosine.",
    # Not the root of x * x - 1, which has another branch cut.
    lambda xp, g, _out, x: xp.divide(g, xp.sqrt(x - 1) * xp.sqrt(x + 1)),
)
atanh = _unary(
    "atanh", "Inverse hyperbolic tangent.", lambda xp, g, _out, x: xp.divide(g, 1 - x * x)
)


def _sinc_rule(xp: Any, g: Any, out: Any, x: Any) -> Any:
    u = math.pi * x
    small = xp.less(xp.abs(u), 0.25)
    # Near 0 both terms of the quotient cancel; their power series does not.
    near = xp.where(small, u, 0)
    v = near * near
    series = -1 / 3 + v * (1 / 30 + v * (-1 / 840 + v * (1 / 45360 - v * (1 / 3991680))))
    far = (xp.cos(u) - out) / xp.where(small, 1, x)
    return g * xp.where(small, math.pi * near * series, far)


# Special functions. NumPy and CuPy leave all but sinc to SciPy and their part of it: looked up when
# called


def _floating(xp: Any, x: Any) -> Any:
    """Array of a dtype that special functions compute in: integers as float64, 16 bits as 32."""
    return x.astype(np.float64) if x.dtype.kind in "biu" else widen(xp, x)


def _special(name: str, text: str, rule: Rule) -> Unary:
    def forward(xp: Any, x: Any) -> Any:
        return narrow(xp, getattr(xp, name)(_floating(xp, x)), x)

    return _unary(name, text, rule, forward)


sinc = _special("sinc", "``sin(pi * x) / (pi * x)``, and 1 at 0.", _sinc_rule)
erf = _special(
    "erf", "Error function.", lambda xp, g, _out, x: g * (2 / math.sqrt(math.pi)) * xp.exp(-x * x)
)
erfc = _special(
    "erfc",
    "Complementary error function ``1 - erf(x)``, exact where it is small.",
    lambda xp, g, _out, x: -g * (2 / math.sqrt(math.pi)) * xp.exp(-x * x),
)
erfinv = _special(
    "erfinv",
    "Inverse of :func:`erf`.",
    lambda xp, g, out, _x: g * (math.sqrt(math.pi) / 2) * xp.exp(out * out),
)
gammaln = _special(
    "gammaln",
    "Logarithm of the absolute value of the gamma function.",
    lambda xp, g, _out, x: g * xp.digamma(x),
)
digamma = _special(
    "digamma",
    "Derivative of :func:`gammaln`.",
    lambda xp, g, _out, x: g * xp.polygamma(1, x),
)


def _polygamma_forward(xp: Any, n: Any, x: Any) -> Any:
    out = xp.polygamma(n, _floating(xp, x))
    dtype = np.result_type(n, x) if hasattr(n, "dtype") else x.dtype
    return xp.astype(out, dtype) if dtype.kind in "fV" else out


_polygamma = Primitive(
    "polygamma",
    _polygamma_forward,
    (None, lambda xp, g, _out, n, x: g * xp.polygamma(n + 1, x)),
    elementwise=True,
)


def polygamma(n: int | Operand, x: Operand, /) -> Tensor:
    """Derivative `n` of :func:`digamma`.

    Parameters
    ----------
    n : int, or Tensor or array of whole numbers
        0 or more. An array broadcasts with `x`, and gives NaN where it is negative or no integer.
    x : Tensor or array

    Returns
    -------
    Tensor
        Of the broadcast shape and the promoted dtype.

    Raises
    ------
    GraphError
        If `n` requires a gradient: there is none.
    ValueError
        If `n` is a negative int.
    """
    if isinstance(n, Tensor) and n.requires_grad:
        raise GraphError("polygamma: there is no gradient towards n; write n.detach()")
    if isinstance(n, Tensor) or getattr(n, "ndim", False):
        return _polygamma(n, x)
    n = integer("polygamma", "n", n)
    if n < 0:
        raise ValueError(f"polygamma: n is {n}; it must be an int, 0 or more")
    return _polygamma(n, x if hasattr(x, "dtype") else positive(x))  # a number has a dtype then


def _sigmoid(xp: Any, x: Any) -> Any:
    if x.dtype.kind == "c":
        return 0.5 * xp.tanh(0.5 * x) + 0.5
    decay = xp.exp(-xp.abs(x))  # of a negative number: cannot overflow
    return xp.where(x < 0, decay, 1) / (1 + decay)


sigmoid = _unary(
    "sigmoid",
    "Logistic function ``1 / (1 + exp(-x))``, without overflow.",
    lambda xp, g, out, _x: g * out * (1 - out),
    _sigmoid,
)
# `x <= 0` is false for NaN, so that a NaN passes and so does the gradient at it.
relu = _unary(
    "relu",
    "Rectified linear unit ``max(x, 0)``; gradient 0 at 0, NaN stays NaN.",
    lambda xp, g, out, _x: xp.where(out <= 0, 0, g),
    lambda xp, x: xp.maximum(x, 0),
)

# Choice. Where two values tie, each gets half of the gradient; a NaN passes it to both.


def _chosen(lost: str, own: int) -> Rule:
    def rule(xp: Any, g: Any, _out: Any, x: Any, y: Any) -> Any:
        mine, other = (x, y) if own == 0 else (y, x)
        share = xp.where(xp.equal(mine, other), 0.5 * g, g)
        return xp.where(getattr(xp, lost)(mine, other), 0, share)

    return rule


maximum = _binary(
    "maximum",
    "Larger of two; NaN if either is, and of 0 and -0 either.",
    (_chosen("less", 0), _chosen("less", 1)),
)
minimum = _binary(
    "minimum",
    "Smaller of two; NaN if either is, and of 0 and -0 either.",
    (_chosen("greater", 0), _chosen("greater", 1)),
)


copysign = _binary(
    "copysign",
    "Absolute value of `x` with the sign of `y`.",
    (
        lambda xp, g, _out, x, y: xp.where(xp.equal(xp.signbit(x), xp.signbit(y)), g, -g),
        _zero,
    ),
)


def _outside(xp: Any, x: Any, low: float | None, high: float | None) -> Any:
    if low is None:
        return xp.greater(x, high)
    if high is None:
        return xp.less(x, low)
    return xp.logical_or(xp.less(x, low), xp.greater(x, high))


def _clip_forward(xp: Any, x: Any, low: float | None, high: float | None) -> Any:
    found = xp.clip(x, low, high)
    return found.astype(x.dtype) if x.dtype.kind == "V" else found  # of bfloat16 NumPy's is float32


_clip = Primitive(
    "clip",
    _clip_forward,
    (lambda xp, g, _out, x, low, high: xp.where(_outside(xp, x, low, high), 0, g),),
    elementwise=True,
)


def clip(x: Operand, /, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """Bring elements into ``[min, max]``; the gradient is 1 inside and at the bounds, else 0.

    Parameters
    ----------
    x : Tensor or array
        Any shape.
    min, max : number, Tensor or None
        Bounds; None leaves that side open. With tensors the result is
        ``minimum(maximum(x, min), max)``, and so is the gradient.

    Returns
    -------
    Tensor
        Of the shape that all broadcast to, and of the dtype of `x` unless integers meet floating
        point bounds. NaN stays NaN, and a bound that is NaN makes it.

    Raises
    ------
    ValueError
        If ``min > max``.
    """
    min, max = _plain(min), _plain(max)
    # A number that is NaN takes the other way: CuPy's clip does not see it.
    if all(b is None or (isinstance(b, (int, float)) and b == b) for b in (min, max)):
        if min is None and max is None:
            return positive(x)
        if min is not None and max is not None and min > max:
            raise ValueError(f"clip: min is {min}, above max {max}; min must not be above max")
        return _clip(x, low=min, high=max)
    x = as_array("clip", x)
    out = x if min is None else maximum(x, min)
    out = out if max is None else minimum(out, max)
    own = getattr(x, "dtype", out.dtype)
    same_kind = any(own.kind in k and out.dtype.kind in k for k in ("iu", "fV", "c"))
    return astype(out, own) if own != out.dtype and same_kind else out


def _plain(number: Any) -> Any:
    """A number that takes the dtype of what it meets, which NumPy's numbers do not."""
    return number.item() if isinstance(number, np.generic) else number


def _without_nan(xp: Any, x: Any, nan: float, posinf: float | None, neginf: float | None) -> Any:
    if x.dtype.kind != "V":
        return xp.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)
    # NumPy takes bfloat16 for no floating point, and CuPy makes 0 of all three.
    most = finfo(x.dtype).max
    ends = {
        "posinf": most if posinf is None else posinf,
        "neginf": -most if neginf is None else neginf,
    }
    return xp.nan_to_num(x.astype(np.float32), nan=nan, **ends).astype(x.dtype)


_nan_to_num = Primitive(
    "nan_to_num",
    _without_nan,
    (lambda xp, g, _out, x, **_values: xp.where(xp.isfinite(x), g, 0),),
    elementwise=True,
)


def nan_to_num(
    x: Operand,
    /,
    *,
    nan: float = 0.0,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Tensor:
    """Copy with numbers in the place of NaN and infinities, which get gradient 0.

    Parameters
    ----------
    x : Tensor or array
    nan : float
        What NaN becomes.
    posinf, neginf : float, optional
        What infinities become; by default the largest and the least finite number of the dtype.

    Returns
    -------
    Tensor
        Of the shape and dtype of `x`.
    """
    given = {"nan": nan, "posinf": posinf, "neginf": neginf}
    values = {k: v if v is None else number("nan_to_num", k, v) for k, v in given.items()}
    return _nan_to_num(x, **values)


_where = Primitive(
    "where",
    None,
    (
        None,
        lambda xp, g, _out, condition, _x, _y: xp.where(condition, g, 0),
        lambda xp, g, _out, condition, _x, _y: xp.where(condition, 0, g),
    ),
    elementwise=True,
)


def where(condition: Operand, x: Operand, y: Operand, /) -> Tensor:
    """Elements of `x` where `condition` holds, of `y` elsewhere.

    Parameters
    ----------
    condition : Tensor or array of bool
    x, y : Tensor, array or Python number
        All three broadcast together.

    Returns
    -------
    Tensor
        Of the broadcast shape. What was not chosen gets gradient 0, even if it is NaN.

    Raises
    ------
    OverflowError
        If an int is out of the range of the other's integers.
    """
    given = [choice.dtype for choice in (x, y) if hasattr(choice, "dtype")]
    if not given:  # nothing else says of which dtype
        x, y = default_dtype(x), default_dtype(y)
    elif len(given) == 1 and given[0].kind in "iuV":
        # NumPy's function cuts ints that do not fit, and a float beside bfloat16 is float64 to it.
        number, fitting = given[0].type, (int, float) if given[0].kind == "V" else int
        x, y = (number(c) if isinstance(c, fitting) else c for c in (x, y))
    return _where(condition, x, y)


def select(
    conditions: Sequence[Operand], choices: Sequence[Operand], /, default: Operand = 0
) -> Tensor:
    """Elements of the first of `choices` whose condition holds, of `default` where none does.

    Parameters
    ----------
    conditions : sequence of Tensor or array of bool
    choices : sequence of Tensor, array or Python number
        As many. All broadcast together.
    default : Tensor, array or Python number

    Returns
    -------
    Tensor

    Raises
    ------
    ValueError
        If there are no conditions, or not as many as choices.
    """
    if not conditions or len(conditions) != len(choices):
        raise ValueError(
            f"select: {len(conditions)} conditions for {len(choices)} choices; give as many, and "
            "one at least"
        )
    found = where(conditions[-1], choices[-1], default)
    for condition, choice in zip(reversed(conditions[:-1]), reversed(choices[:-1]), strict=True):
        found = where(condition, choice, found)
    return found


# Comparisons and logic: results are bool, gradients end here.

equal = _binary("equal", "Whether ``x == y``; false for NaN.", None)
not_equal = _binary("not_equal", "Whether ``x != y``; true for NaN.", None)
less = _binary("less", "Whether ``x < y``.", None)
less_equal = _binary("less_equal", "Whether ``x <= y``.", None)
greater = _binary("greater", "Whether ``x > y``.", None)
greater_equal = _binary("greater_equal", "Whether ``x >= y``.", None)
bitwise_and = _binary("bitwise_and", "Bits set in both; of bools, whether both hold.", None)
bitwise_or = _binary("bitwise_or", "Bits set in either; of bools, whether either holds.", None)
bitwise_xor = _binary("bitwise_xor", "Bits set in just one; of bools, whether they differ.", None)
bitwise_invert = _unary(
    "bitwise_invert",
    "Bits that are not set; of bools, whether it does not hold.",
    None,
    lambda xp, x: ~x,
)
bitwise_left_shift = _binary("bitwise_left_shift", "``x * 2**y``.", None, lambda xp, x, y: x << y)
bitwise_right_shift = _binary(
    "bitwise_right_shift", "Floor of ``x / 2**y``.", None, lambda xp, x, y: x >> y
)
logical_and = _binary("logical_and", "Whether both hold.", None)
logical_or = _binary("logical_or", "Whether either holds.", None)
logical_xor = _binary("logical_xor", "Whether just one holds.", None)
logical_not = _unary("logical_not", "Whether it does not hold.", None)
signbit = _unary("signbit", "Whether the sign is minus, that of -0 and NaN included.", None)
nextafter = _binary("nextafter", "Next number after `x` towards `y`.", None)
isnan = _unary("isnan", "Whether it is NaN.", None)
isinf = _unary("isinf", "Whether it is infinite.", None)
isfinite = _unary("isfinite", "Whether it is neither infinite nor NaN.", None)
