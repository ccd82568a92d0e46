"""Elementwise functions: each is a line with its derivative beside it."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from gputensor.autograd import Operand, Primitive, Rule, Tensor, default_dtype
from gputensor.errors import DTypeError

__all__ = [
    "abs",
    "acos",
    "add",
    "asin",
    "atan",
    "bitwise_and",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "ceil",
    "clip",
    "conj",
    "cos",
    "cosh",
    "divide",
    "equal",
    "erf",
    "exp",
    "expm1",
    "floor",
    "floor_divide",
    "greater",
    "greater_equal",
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
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "not_equal",
    "positive",
    "pow",
    "real",
    "reciprocal",
    "relu",
    "remainder",
    "round",
    "sigmoid",
    "sign",
    "sin",
    "sinh",
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
    function = Primitive(name, forward, None if rule is None else (rule,)).unary()
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
    function = Primitive(name, forward, rules).binary()
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""{text}

    Parameters
    ----------
    x, y : Tensor, array or Python number
        Shapes that broadcast together; Python numbers take the other operand's dtype.

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
    (lambda xp, g, _out, _x, y: g / y, lambda xp, g, out, _x, y: -g * out / y),
)


def _pow_base(xp: Any, g: Any, _out: Any, x: Any, y: Any) -> Any:
    # x ** 0 is flat also where x ** -1 is infinite.
    return g * xp.where(xp.equal(y, 0), 0.0, y * x ** xp.where(xp.equal(y, 0), 1, y - 1))


def _pow_exponent(xp: Any, g: Any, out: Any, x: Any, y: Any) -> Any:
    # 0 ** y is flat in y > 0, where log(0) would say -inf * 0.
    flat = xp.logical_and(xp.equal(x, 0), xp.greater(y, 0))
    base = xp.where(flat, 1.0, x)
    if out.dtype.kind == "c":  # log of a negative number
        base = xp.astype(base, out.dtype)
    return g * xp.where(flat, 0.0, out * xp.log(base))


def _power(xp: Any, x: Any, y: Any) -> Any:
    try:
        if isinstance(y, (int, np.integer)) and y < 0 and x.dtype.kind in "iu":
            raise ValueError("negative integer powers")  # as NumPy says, but CuPy does not
        return x**y
    except ValueError as error:
        if "negative integer powers" not in str(error):
            raise
        raise DTypeError(
            "pow: an integer to a negative power is no integer; convert it first, for example "
            "x.astype(gt.float32)"
        ) from None


_pow = Primitive("pow", _power, (_pow_base, _pow_exponent))
_pow_number = Primitive(
    "pow_number",
    lambda xp, x, exponent: _power(xp, x, exponent),
    (lambda xp, g, _out, x, exponent: g * exponent * x ** (exponent - 1),),
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
    return _pow(x, y)


negative = _unary("negative", "Negation ``-x``.", lambda xp, g, _out, _x: -g)
positive = _unary("positive", "A copy ``+x``.", lambda xp, g, _out, _x: g)


def _abs_rule(xp: Any, g: Any, _out: Any, x: Any) -> Any:
    return g * (xp.sign(x) if x.dtype.kind != "c" else xp.conj(_phase(xp, x)))


def _phase(xp: Any, x: Any) -> Any:
    """``x / abs(x)`` of complex numbers, and 0 of 0."""
    size = xp.abs(x)
    return x / xp.where(xp.equal(size, 0), 1, size)


def _sign_rule(xp: Any, g: Any, _out: Any, x: Any) -> Any:
    if x.dtype.kind != "c":
        return xp.zeros_like(g)
    # Only the part of a change that is perpendicular to x, as seen from 0, turns it.
    phase, size = _phase(xp, x), xp.abs(x)
    across = xp.imag(g * phase) / xp.where(xp.equal(size, 0), math.inf, size)
    return 1j * across * xp.conj(phase)


abs = _unary("abs", "Absolute value; gradient 0 at 0.", _abs_rule)
real = _unary("real", "Real part.", lambda xp, g, _out, _x: g, lambda xp, x: xp.real(x)[...])
imag = _unary(
    "imag",
    "Imaginary part; 0 for real numbers.",
    lambda xp, g, _out, _x: -1j * g if _x.dtype.kind == "c" else xp.zeros_like(g),
    lambda xp, x: xp.imag(x)[...],
)
conj = _unary("conj", "Complex conjugate.", lambda xp, g, _out, _x: xp.conj(g))
square = _unary("square", "Square.", lambda xp, g, _out, x: g * 2 * x)
sqrt = _unary("sqrt", "Square root.", lambda xp, g, out, _x: g * 0.5 / out)
reciprocal = _unary("reciprocal", "Reciprocal ``1 / x``.", lambda xp, g, out, _x: -g * out * out)
sign = _unary(
    "sign",
    "Sign: -1, 0, 1 or NaN; of complex numbers ``x / abs(x)``.",
    _sign_rule,
    lambda xp, x: xp.sign(x) if x.dtype.kind != "c" else _phase(xp, x),
)
floor = _unary("floor", "Largest integer not above `x`.", _zero)
ceil = _unary("ceil", "Smallest integer not below `x`.", _zero)
trunc = _unary("trunc", "Integer part of `x`.", _zero)
round = _unary("round", "Nearest integer, halves to even.", _zero)
floor_divide = _binary("floor_divide", "Floor of ``x / y``.", (_zero, _zero))
remainder = _binary(
    "remainder",
    "Remainder ``x % y``, with the sign of `y`.",
    (lambda xp, g, _out, _x, _y: g, lambda xp, g, _out, x, y: -g * xp.floor(x / y)),
)

# Exponentials and logarithms

exp = _unary("exp", "Exponential.", lambda xp, g, out, _x: g * out)
expm1 = _unary("expm1", "``exp(x) - 1``, exact near 0.", lambda xp, g, out, _x: g * (out + 1))
log = _unary("log", "Natural logarithm.", lambda xp, g, _out, x: g / x)
log1p = _unary("log1p", "``log(1 + x)``, exact near 0.", lambda xp, g, _out, x: g / (x + 1))
log2 = _unary("log2", "Logarithm to base 2.", lambda xp, g, _out, x: g / (x * float(np.log(2))))
log10 = _unary("log10", "Logarithm to base 10.", lambda xp, g, _out, x: g / (x * float(np.log(10))))

# Trigonometric and hyperbolic functions

sin = _unary("sin", "Sine of radians.", lambda xp, g, _out, x: g * xp.cos(x))
cos = _unary("cos", "Cosine of radians.", lambda xp, g, _out, x: -g * xp.sin(x))
tan = _unary("tan", "Tangent of radians.", lambda xp, g, out, _x: g * (1 + out * out))
asin = _unary("asin", "Inverse sine, in radians.", lambda xp, g, _out, x: g / xp.sqrt(1 - x * x))
acos = _unary("acos", "Inverse cosine, in radians.", lambda xp, g, _out, x: -g / xp.sqrt(1 - x * x))
atan = _unary("atan", "Inverse tangent, in radians.", lambda xp, g, _out, x: g / (1 + x * x))
sinh = _unary("sinh", "Hyperbolic sine.", lambda xp, g, _out, x: g * xp.cosh(x))
cosh = _unary("cosh", "Hyperbolic cosine.", lambda xp, g, _out, x: g * xp.sinh(x))
erf = _unary(
    "erf",
    "Error function.",
    lambda xp, g, _out, x: g * (2 / math.sqrt(math.pi)) * xp.exp(-x * x),
    forward=lambda xp, x: xp.erf(x),  # looked up when called, as it imports SciPy
)
tanh = _unary("tanh", "Hyperbolic tangent.", lambda xp, g, out, _x: g * (1 - out * out))


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
    "maximum", "Larger of two; NaN if either is.", (_chosen("less", 0), _chosen("less", 1))
)
minimum = _binary(
    "minimum", "Smaller of two; NaN if either is.", (_chosen("greater", 0), _chosen("greater", 1))
)


def _outside(xp: Any, x: Any, low: float | None, high: float | None) -> Any:
    if low is None:
        return xp.greater(x, high)
    if high is None:
        return xp.less(x, low)
    return xp.logical_or(xp.less(x, low), xp.greater(x, high))


_clip = Primitive(
    "clip",
    lambda xp, x, low, high: xp.clip(x, low, high),
    (lambda xp, g, _out, x, low, high: xp.where(_outside(xp, x, low, high), 0, g),),
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
        Of the shape of `x`. NaN stays NaN.

    Raises
    ------
    ValueError
        If ``min > max``.
    """
    if all(bound is None or isinstance(bound, (int, float)) for bound in (min, max)):
        if min is None and max is None:
            return positive(x)
        if min is not None and max is not None and min > max:
            raise ValueError(f"clip: min is {min}, above max {max}; min must not be above max")
        return _clip(x, low=min, high=max)
    if min is not None:
        x = maximum(x, min)
    return positive(x) if max is None else minimum(x, max)


_where = Primitive(
    "where",
    None,
    (
        None,
        lambda xp, g, _out, condition, _x, _y: xp.where(condition, g, 0),
        lambda xp, g, _out, condition, _x, _y: xp.where(condition, 0, g),
    ),
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
    """
    if not any(hasattr(choice, "dtype") for choice in (x, y)):  # nothing else says of which dtype
        x, y = default_dtype(x), default_dtype(y)
    return _where(condition, x, y)


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
isnan = _unary("isnan", "Whether it is NaN.", None)
isinf = _unary("isinf", "Whether it is infinite.", None)
isfinite = _unary("isfinite", "Whether it is neither infinite nor NaN.", None)
