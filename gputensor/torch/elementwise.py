"""Functions of elements, with PyTorch's names, arguments and dtypes."""

from collections.abc import Callable
from typing import Any

from gputensor import ops
from gputensor.autograd import Tensor as Engine
from gputensor.errors import DTypeError, OperandError
from gputensor.torch.dtypes import category_of, floating, operand, promoted, result_type
from gputensor.torch.tensor import UFUNCS, Tensor, ours

__all__ = ["METHODS", "OPERATORS"]

_TENSORS = {Engine, Tensor}


def _tensor(name: str, x: Any) -> Any:
    if not isinstance(x, Engine):
        raise TypeError(f"{name}: the argument must be a tensor, got {type(x).__name__}")
    return x


def _named(function: Callable[..., Any], name: str, source: Any) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{(source.__doc__ or name).strip()}"
    return function


def _unary(name: str, engine: Any, floats: bool) -> Callable[..., Any]:
    def function(input: Any) -> Any:
        x = _tensor(name, input)
        result = engine(floating(x) if floats else x)
        result.__class__ = Tensor
        return result

    return _named(function, name, engine)


def _binary(name: str, engine: Any, floats: bool = False) -> Callable[..., Any]:
    def function(input: Any, other: Any) -> Any:
        x, y = input, other
        if type(x) not in _TENSORS or type(y) not in _TENSORS or x.array.dtype != y.array.dtype:
            x, y = promoted(x, y)
        if floats:
            if isinstance(x, Engine):
                x = floating(x)
            if isinstance(y, Engine):
                y = floating(y)
        result = engine(x, y)
        result.__class__ = Tensor
        return result

    return _named(function, name, engine)


def _operator(
    function: Callable[..., Any], reverse: bool = False, engine: Any = None
) -> Callable[..., Any]:
    """Method of a function; of two tensors of one dtype the engine's, without further looks."""

    def method(self: Any, other: Any) -> Any:
        if (
            engine is not None
            and type(other) is Tensor
            and (dtype := self.array.dtype) is other.array.dtype
            and dtype.kind in "fc"
        ):
            result = engine(self, other)
            result.__class__ = Tensor
            return result
        try:
            return function(other, self) if reverse else function(self, other)
        except OperandError:
            return NotImplemented

    return method


def _scaled(y: Any, alpha: Any) -> Any:
    return y if alpha is None or alpha == 1 else multiply(y, alpha)


def add(input: Any, other: Any, *, alpha: Any = None) -> Any:
    """``input + alpha * other``.

    Examples
    --------
    >>> torch.add(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]), alpha=2)
    tensor([ 7., 10.])
    """
    return _add(input, _scaled(other, alpha))


def sub(input: Any, other: Any, *, alpha: Any = None) -> Any:
    """``input - alpha * other``.

    Examples
    --------
    >>> torch.sub(torch.tensor([3.0, 4.0]), 1)
    tensor([2., 3.])
    """
    return _subtract(input, _scaled(other, alpha))


def rsub(input: Any, other: Any) -> Any:
    """``other - input``.

    Examples
    --------
    >>> torch.rsub(torch.tensor([3.0, 4.0]), 1)
    tensor([-2., -3.])
    """
    return _subtract(other, input)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    """``input / other``, with `rounding_mode` rounded towards zero or down.

    Parameters
    ----------
    input, other : Tensor or number
    rounding_mode : {None, "trunc", "floor"}

    Examples
    --------
    >>> torch.div(torch.tensor([7, -7]), 2)
    tensor([ 3.5000, -3.5000])
    >>> torch.div(torch.tensor([7, -7]), 2, rounding_mode="trunc")
    tensor([ 3, -3])
    """
    if rounding_mode is None:
        return _divide(input, other)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode != "trunc":
        raise ValueError(
            f"div: rounding_mode is {rounding_mode!r}; allowed are None, 'trunc' and 'floor'"
        )
    x, y = promoted(input, other)
    found = _divide(x, y)
    d = result_type(x, y)
    return ours(ops.astype(ops.trunc(found), d, copy=False))


_add = _binary("add", ops.add)
_subtract = _binary("sub", ops.subtract)
_divide = _binary("div", ops.divide, floats=True)
multiply = _binary("mul", ops.multiply)
floor_divide = _binary("floor_divide", ops.floor_divide)
remainder = _binary("remainder", ops.remainder)
_pow = _binary("pow", ops.pow)
maximum = _binary("maximum", ops.maximum)
minimum = _binary("minimum", ops.minimum)


def fmod(input: Any, other: Any) -> Any:
    """Remainder of the division that rounds towards zero: it has the sign of `input`.

    Examples
    --------
    >>> torch.fmod(torch.tensor([7.0, -7.0]), 3)
    tensor([ 1., -1.])
    """
    x, y = promoted(input, other)
    return _subtract(x, multiply(div(x, y, rounding_mode="trunc"), y))


def pow(input: Any, exponent: Any) -> Any:
    """``input ** exponent``.

    Examples
    --------
    >>> torch.pow(torch.tensor([1.0, 2.0]), 3)
    tensor([1., 8.])
    """
    x = operand(input, exponent)
    if (
        isinstance(x, Engine)
        and x.array.dtype.kind in "iu"
        and category_of(exponent) == 1
        and exponent < 0
    ):
        raise DTypeError("pow: integers to negative integer powers are no integers; use x.float()")
    if not isinstance(x, Engine) and isinstance(exponent, Engine):
        d = result_type(x, exponent)
        x = ops.asarray(x, dtype=d, device=exponent.device)
    return _pow(x, exponent)


def clamp(input: Any, min: Any = None, max: Any = None) -> Any:
    """`input`, at least `min` and at most `max`: numbers or tensors, or None.

    Examples
    --------
    >>> torch.clamp(torch.tensor([-1.0, 0.5, 3.0]), 0, 1)
    tensor([0.0000, 0.5000, 1.0000])
    """
    if min is None and max is None:
        raise ValueError("clamp: give min, max or both")
    result = input
    numbers = all(not isinstance(bound, Engine) for bound in (min, max))
    if numbers:
        kinds = [category_of(b) for b in (min, max) if b is not None]
        if input.array.dtype.kind in "biu" and 2 in kinds:
            result = floating(input)
        return ours(ops.clip(result, min, max))
    if min is not None:
        result = maximum(result, min) if isinstance(min, Engine) else ours(ops.clip(result, min))
    if max is not None:
        result = minimum(result, max) if isinstance(max, Engine) else clamp(result, max=max)
    return result


def round(input: Any, *, decimals: int = 0) -> Any:
    """To the nearest integer, ties to the even one; or to so many decimals.

    Examples
    --------
    >>> torch.round(torch.tensor([0.5, 1.5]))
    tensor([0., 2.])
    >>> torch.round(torch.tensor([1.234]), decimals=1)
    tensor([1.2000])
    """
    if decimals:
        scale = 10.0**decimals
        return ours(ops.divide(ops.round(ops.multiply(input, scale)), scale))
    return ours(ops.round(input))


def rsqrt(input: Any) -> Any:
    """``1 / sqrt(input)``.

    Examples
    --------
    >>> torch.rsqrt(torch.tensor([4.0, 0.25]))
    tensor([0.5000, 2.0000])
    """
    return ours(ops.divide(1.0, ops.sqrt(floating(input))))


def frac(input: Any) -> Any:
    """What is behind the point.

    Examples
    --------
    >>> torch.frac(torch.tensor([1.5, -1.5]))
    tensor([ 0.5000, -0.5000])
    """
    return ours(ops.subtract(input, ops.trunc(input)))


def logit(input: Any, eps: float | None = None) -> Any:
    """``log(p / (1 - p))``; with `eps` of p clamped to ``[eps, 1 - eps]``.

    Examples
    --------
    >>> torch.logit(torch.tensor([0.5, 0.75]))
    tensor([0.0000, 1.0986])
    """
    p = floating(input)
    if eps is not None:
        p = ops.clip(p, eps, 1 - eps)
    return ours(ops.subtract(ops.log(p), ops.log1p(ops.negative(p))))


def lerp(input: Any, end: Any, weight: Any) -> Any:
    """``input + weight * (end - input)``.

    Examples
    --------
    >>> torch.lerp(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 4.0]), 0.5)
    tensor([0.5000, 3.0000])
    """
    return _add(input, multiply(weight, _subtract(end, input)))


def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """``input + value * tensor1 * tensor2``.

    Examples
    --------
    >>> a, b = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])
    >>> torch.addcmul(torch.ones(2), a, b, value=0.5)
    tensor([2.5000, 5.0000])
    """
    return add(input, multiply(tensor1, tensor2), alpha=value)


def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    """``input + value * tensor1 / tensor2``.

    Examples
    --------
    >>> torch.addcdiv(torch.ones(2), torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0]))
    tensor([1.5000, 1.5000])
    """
    return add(input, _divide(tensor1, tensor2), alpha=value)


def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition holds, else `other`; the condition alone: its places.

    Examples
    --------
    >>> torch.where(torch.tensor([True, False]), torch.tensor([1.0, 2.0]), 0)
    tensor([1., 0.])
    """
    if input is None and other is None:
        return ours(ops.nonzero(condition))
    x, y = promoted(input, other)
    if not isinstance(x, Engine) and not isinstance(y, Engine):
        d = result_type(x, y)
        x, y = (ops.asarray(v, dtype=d, device=condition.device) for v in (x, y))
    return ours(ops.where(condition, x, y))


def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """`input` with `value` where the mask holds.

    Examples
    --------
    >>> torch.masked_fill(torch.tensor([1.0, 2.0]), torch.tensor([True, False]), 0)
    tensor([0., 2.])
    """
    if isinstance(value, Engine):
        value = ops.astype(value, input.array.dtype)
    elif input.array.dtype.kind in "biu" and category_of(value) == 2:
        value = int(value)
    return ours(ops.where(mask, value, input))


def nan_to_num(input: Any, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    """Other numbers in the place of NaN and the infinities; these by default the largest.

    Examples
    --------
    >>> torch.nan_to_num(torch.tensor([1.0, torch.nan]), nan=0.0)
    tensor([1., 0.])
    """
    return ours(ops.nan_to_num(input, nan=nan, posinf=posinf, neginf=neginf))


def isclose(
    input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Any:
    """Whether ``|input - other| <= atol + rtol * |other|``.

    Examples
    --------
    >>> torch.isclose(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.1]))
    tensor([ True, False])
    """
    return ours(ops.isclose(input, other, rtol=rtol, atol=atol, equal_nan=equal_nan))


def allclose(
    input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether :func:`isclose` holds for all elements; a Python bool.

    Examples
    --------
    >>> torch.allclose(torch.tensor([1.0]), torch.tensor([1.0 + 1e-9]))
    True
    """
    return bool(ops.allclose(input, other, rtol=rtol, atol=atol, equal_nan=equal_nan))


def equal(input: Any, other: Any) -> bool:
    """Whether shapes and all elements are the same; a Python bool.

    Examples
    --------
    >>> torch.equal(torch.tensor([1, 2]), torch.tensor([1, 2]))
    True
    """
    if input.array.shape != other.array.shape:
        return False
    return bool(ops.all(eq(input, other)).item())


def _logical(name: str, engine: Any) -> Callable[..., Any]:
    def function(input: Any, other: Any) -> Any:
        return ours(engine(ops.astype(input, bool), ops.astype(other, bool)))

    return _named(function, name, engine)


def logical_not(input: Any) -> Any:
    """Whether an element is 0 or False.

    Examples
    --------
    >>> torch.logical_not(torch.tensor([0, 3]))
    tensor([ True, False])
    """
    return ours(ops.logical_not(ops.astype(input, bool)))


eq = _binary("eq", ops.equal)
ne = _binary("ne", ops.not_equal)
lt = _binary("lt", ops.less)
le = _binary("le", ops.less_equal)
gt = _binary("gt", ops.greater)
ge = _binary("ge", ops.greater_equal)

_FLOATING = {
    **{
        name: getattr(ops, name)
        for name in [
            "acos",
            "acosh",
            "asin",
            "asinh",
            "atan",
            "atanh",
            "cos",
            "cosh",
            "digamma",
            "erf",
            "erfc",
            "erfinv",
            "exp",
            "exp2",
            "expm1",
            "log",
            "log10",
            "log1p",
            "log2",
            "sigmoid",
            "sin",
            "sinc",
            "sinh",
            "sqrt",
            "tan",
            "tanh",
            "deg2rad",
            "rad2deg",
            "reciprocal",
        ]
    },
    "lgamma": ops.gammaln,
}
_SAME = {
    "abs": ops.abs,
    "ceil": ops.ceil,
    "conj": ops.conj,
    "floor": ops.floor,
    "isfinite": ops.isfinite,
    "isinf": ops.isinf,
    "isnan": ops.isnan,
    "neg": ops.negative,
    "bitwise_not": ops.bitwise_invert,
    "positive": ops.positive,
    "relu": ops.relu,
    "signbit": ops.signbit,
    "square": ops.square,
    "trunc": ops.trunc,
    "angle": ops.angle,
}


def sign(input: Any) -> Any:
    """-1, 0 or 1.

    Examples
    --------
    >>> torch.sign(torch.tensor([-2.0, 0.0, 5.0]))
    tensor([-1.,  0.,  1.])
    """
    return ours(ops.sign(input) if input.array.dtype.kind != "b" else ops.asarray(input))


METHODS: dict[str, Any] = {
    **{name: _unary(name, engine, True) for name, engine in _FLOATING.items()},
    **{name: _unary(name, engine, False) for name, engine in _SAME.items()},
    **{
        name: _binary(name, getattr(ops, engine), floats)
        for name, engine, floats in (
            ("atan2", "atan2", True),
            ("hypot", "hypot", False),
            ("copysign", "copysign", True),
            ("logaddexp", "logaddexp", True),
            ("nextafter", "nextafter", False),
            ("bitwise_and", "bitwise_and", False),
            ("bitwise_or", "bitwise_or", False),
            ("bitwise_xor", "bitwise_xor", False),
            ("bitwise_left_shift", "bitwise_left_shift", False),
            ("bitwise_right_shift", "bitwise_right_shift", False),
        )
    },
    **{
        name: _logical(name, getattr(ops, name))
        for name in ("logical_and", "logical_or", "logical_xor")
    },
    **{
        f.__name__: f
        for f in (
            *(add, sub, rsub, div, floor_divide, remainder, maximum, minimum, fmod, pow, clamp),
            *(round, rsqrt, frac, logit, lerp, addcmul, addcdiv, masked_fill, nan_to_num, isclose),
            *(allclose, equal, logical_not, eq, ne, lt, le, gt, ge, sign),
        )
    },
    "mul": multiply,
}
for _alias, _name in {
    "absolute": "abs",
    "negative": "neg",
    "clip": "clamp",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "true_divide": "div",
    "less": "lt",
    "less_equal": "le",
    "greater": "gt",
    "greater_equal": "ge",
    "not_equal": "ne",
    "arccos": "acos",
    "arcsin": "asin",
    "arctan": "atan",
    "arctan2": "atan2",
    "fix": "trunc",
    "sgn": "sign",
}.items():
    METHODS[_alias] = METHODS[_name]

for _name in (
    *("add", "subtract", "multiply", "divide", "true_divide", "floor_divide", "remainder"),
    *("less", "less_equal", "greater", "greater_equal", "not_equal", "maximum", "minimum"),
):
    UFUNCS[_name] = METHODS[_name]
UFUNCS |= {"power": pow, "equal": eq}

OPERATORS: dict[str, Any] = {
    **{
        f"__{prefix}{name}__": _operator(function, bool(prefix), None if prefix else engine)
        for name, function, engine in (
            ("add", _add, ops.add),
            ("sub", _subtract, ops.subtract),
            ("mul", multiply, ops.multiply),
            ("truediv", _divide, ops.divide),
            ("floordiv", floor_divide, None),
            ("mod", remainder, None),
            ("pow", pow, None),
            ("and", METHODS["bitwise_and"], None),
            ("or", METHODS["bitwise_or"], None),
            ("xor", METHODS["bitwise_xor"], None),
            ("lshift", METHODS["bitwise_left_shift"], None),
            ("rshift", METHODS["bitwise_right_shift"], None),
        )
        for prefix in ("", "r")
    },
    **{
        f"__{name}__": _operator(function)
        for name, function in {"eq": eq, "ne": ne, "lt": lt, "le": le, "gt": gt, "ge": ge}.items()
    },
    "__neg__": METHODS["neg"],
    "__pos__": METHODS["positive"],
    "__abs__": METHODS["abs"],
    "__invert__": METHODS["bitwise_not"],
}
