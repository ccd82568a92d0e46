"""Elementwise operations as CUDA C++: what kernels generated from groups of maps are made of.

Values are NumPy's, up to the rounding of functions that IEEE 754 does not round correctly. Numbers
of 16 bits are computed with as float and rounded after every operation, as they are where each
operation is a kernel of its own.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gputensor import backend
from gputensor.graph.ir import Node, Value
from gputensor.kernels import clip_norm
from gputensor.kernels.runtime import is_narrow
from gputensor.kernels.source import c_type

__all__ = [
    "INEXACT",
    "Formula",
    "compute_type",
    "converted",
    "formula_of",
    "is_clipping",
    "number",
    "rounded",
]

# By NumPy's name the expression of operands x, y, z for floating point numbers, for integers and
# for bools; an operation that has none is left to CuPy. T is the type that is computed with, @ the
# f that ends C's functions of float. What is not C's is in kernels/formulas.cuh.
FORMULAS = {
    "add": ("x + y", "(T)(word(x) + word(y))", "x || y"),
    "subtract": ("x - y", "(T)(word(x) - word(y))", ""),
    "multiply": ("x * y", "(T)(word(x) * word(y))", "x && y"),
    "divide": ("x / y", "", ""),
    "floor_divide": ("floor_quotient(x, y)", "whole_quotient<T>(x, y)", ""),
    "remainder": ("floor_remainder(x, y)", "whole_remainder<T>(x, y)", ""),
    "fmod": ("fmod@(x, y)", "", ""),
    "power": ("pow@(x, y)", "whole_power<T>(x, y)", ""),
    "negative": ("-x", "(T)(0 - word(x))", ""),
    "reciprocal": ("1 / x", "whole_quotient<T>(1, x)", ""),
    "square": ("x * x", "(T)(word(x) * word(x))", ""),
    "absolute": ("fabs@(x)", "(T)(x < 0 ? 0 - word(x) : word(x))", "x"),
    "fabs": ("fabs@(x)", "", ""),
    "sign": ("x != x ? x : (T)((x > 0) - (x < 0))", "(T)((x > 0) - (x < 0))", ""),
    "maximum": ("maximum(x, y)", "x > y ? x : y", "x || y"),
    "minimum": ("minimum(x, y)", "x < y ? x : y", "x && y"),
    "fmax": ("fmax@(x, y)", "x > y ? x : y", "x || y"),
    "fmin": ("fmin@(x, y)", "x < y ? x : y", "x && y"),
    "clip": ("x < y ? y : x > z ? z : x", "x < y ? y : x > z ? z : x", ""),
    "floor": ("floor@(x)", "x", "x"),
    "ceil": ("ceil@(x)", "x", "x"),
    "trunc": ("trunc@(x)", "x", "x"),
    "rint": ("rint@(x)", "", ""),
    "copysign": ("copysign@(x, y)", "", ""),
    "sqrt": ("sqrt@(x)", "", ""),
    "cbrt": ("cbrt@(x)", "", ""),
    "hypot": ("hypot@(x, y)", "", ""),
    "exp": ("exp@(x)", "", ""),
    "exp2": ("exp2@(x)", "", ""),
    "expm1": ("expm1@(x)", "", ""),
    "log": ("log@(x)", "", ""),
    "log2": ("log2@(x)", "", ""),
    "log10": ("log10@(x)", "", ""),
    "log1p": ("log1p@(x)", "", ""),
    "logaddexp": ("logaddexp(x, y)", "", ""),
    "logaddexp2": ("logaddexp2(x, y)", "", ""),
    "sin": ("sin@(x)", "", ""),
    "cos": ("cos@(x)", "", ""),
    "tan": ("tan@(x)", "", ""),
    "arcsin": ("asin@(x)", "", ""),
    "arccos": ("acos@(x)", "", ""),
    "arctan": ("atan@(x)", "", ""),
    "arctan2": ("atan2@(x, y)", "", ""),
    "sinh": ("sinh@(x)", "", ""),
    "cosh": ("cosh@(x)", "", ""),
    "tanh": ("tanh@(x)", "", ""),
    "arcsinh": ("asinh@(x)", "", ""),
    "arccosh": ("acosh@(x)", "", ""),
    "arctanh": ("atanh@(x)", "", ""),
    "deg2rad": ("x * (T)0.017453292519943295", "", ""),
    "rad2deg": ("x * (T)57.29577951308232", "", ""),
    "erf": ("erf@(x)", "", ""),
    "erfc": ("erfc@(x)", "", ""),
    "erfinv": ("erfinv@(x)", "", ""),
    "gammaln": ("lgamma@(x)", "", ""),
    "digamma": ("digamma(x)", "", ""),
    "bitwise_and": ("", "x & y", "x && y"),
    "bitwise_or": ("", "x | y", "x || y"),
    "bitwise_xor": ("", "x ^ y", "x != y"),
    "invert": ("", "~x", "!x"),
    "left_shift": ("", "shifted_left<T>(x, y)", ""),
    "right_shift": ("", "shifted_right<T>(x, y)", ""),
    # Their results are bools.
    "equal": ("x == y", "x == y", "x == y"),
    "not_equal": ("x != y", "x != y", "x != y"),
    "less": ("x < y", "x < y", "x < y"),
    "less_equal": ("x <= y", "x <= y", "x <= y"),
    "greater": ("x > y", "x > y", "x > y"),
    "greater_equal": ("x >= y", "x >= y", "x >= y"),
    "isnan": ("x != x", "false", "false"),
    "isinf": ("isinf(x)", "false", "false"),
    "isfinite": ("isfinite(x)", "true", "true"),
    "signbit": ("signbit(x)", "x < 0", ""),
    # So are their operands.
    "logical_and": ("", "", "x && y"),
    "logical_or": ("", "", "x || y"),
    "logical_xor": ("", "", "x != y"),
    "logical_not": ("", "", "!x"),
    # Their first operand is a bool, or the only one of another dtype.
    "where": ("x ? y : z", "x ? y : z", "x ? y : z"),
    "cast": ("x", "x", "x"),
}
_TESTS = {
    *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
    *("isnan", "isinf", "isfinite", "signbit"),
}
# Functions that IEEE 754 does not round, whose last bit is the compiler's.
INEXACT = (
    *("arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "cbrt", "cos"),
    *("cosh", "deg2rad", "digamma", "erf", "erfc", "erfinv", "exp", "exp2", "expm1", "gammaln"),
    *("hypot", "log", "log10", "log1p", "log2", "logaddexp", "logaddexp2", "power", "rad2deg"),
    *("sin", "sinh", "tan", "tanh"),
)
_CASTS = {"assign", "astype", "broadcast_to", "conjugate", "copy", "positive"}
_NOT_NARROW = {"nextafter"}
_BOOL = np.dtype(bool)
_COLUMNS = {"f": 0, "V": 0, "i": 1, "u": 1, "b": 2}
_HOST = backend.NAMESPACES[np.ndarray]


class Formula(NamedTuple):
    """An operation on numbers.

    Attributes
    ----------
    code : str
        Expression of x, y and z in CUDA C++.
    operands : tuple
        Values and numbers.
    dtypes : tuple of dtype
        What they are converted to.
    dtype : dtype
        Of the result.
    """

    code: str
    operands: tuple[Any, ...]
    dtypes: "tuple[np.dtype[Any], ...]"
    dtype: "np.dtype[Any]"

    def text(self, operands: Sequence[str]) -> str:
        """The expression with operands in their places."""
        if self.code == "x":
            return operands[0]
        names = dict(zip("xyz", operands, strict=False))
        kind = compute_type(self.dtypes[-1])
        names |= {"T": kind, "@": "f" if kind == "float" else ""}
        return rounded(re.sub(r"\b[xyzT]\b|@", lambda m: names[m[0]], self.code), self.dtype)


def compute_type(dtype: "np.dtype[Any]") -> str:
    """C++ type of numbers of a dtype as they are computed with."""
    return "float" if is_narrow(dtype) else c_type(dtype)


def rounded(text: str, dtype: "np.dtype[Any]") -> str:
    """An expression as a number of a dtype."""
    return f"{c_type(dtype)}({text})" if is_narrow(dtype) else text


def converted(text: str, source: "np.dtype[Any]", target: "np.dtype[Any]") -> str:
    """An expression of one dtype in another one's type; what is of 16 bits is rounded."""
    if source == target:
        return text
    if target.kind == "b":
        return f"({text} != 0)"
    kind = compute_type(target)
    if target.kind in "iu":
        return f"truncated<{kind}>({text})" if source.kind in "fV" else f"(({kind})({text}))"
    if target.name == "float16" and source == np.float64:
        return f"rounded_to_f16({text})"
    if is_narrow(target):
        return f"((float){c_type(target)}((float)({text})))"
    return f"(({kind})({text}))"


def number(value: Any, dtype: "np.dtype[Any]") -> Any:
    """A number as a dtype has it; None if it has none such."""
    if type(value) is int and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not limits.min <= value <= limits.max:
            return None
    if isinstance(value, (complex, np.complexfloating)):
        return None
    try:
        with np.errstate(all="ignore"):
            return np.asarray(value).astype(dtype)[()]
    except (OverflowError, TypeError, ValueError):
        return None


def _common(operands: Sequence[Any]) -> "np.dtype[Any] | None":
    """Dtype that operands are computed with together; None where libraries differ about it."""
    dtypes = [a.dtype for a in operands if hasattr(a, "dtype")]
    weak = [a for a in operands if not hasattr(a, "dtype")]
    if any(d.kind == "V" for d in dtypes):
        others = {d for d in dtypes if d.kind != "V"}
        if any(d.kind not in "bf" for d in others):
            return None
        wide = {np.dtype(np.float32) if d.itemsize < 8 else d for d in others if d.kind == "f"}
        return (
            max(wide, key=lambda d: d.itemsize)
            if wide
            else next(d for d in dtypes if d.kind == "V")
        )
    try:
        found = np.result_type(*dtypes, *weak)
    except (OverflowError, TypeError):
        return None
    mixed = found.kind == "f" and all(d.kind in "iu" for d in dtypes) and not weak
    return None if mixed and len(set(dtypes)) > 1 else found


def name_of(node: Node) -> str:
    """NumPy's own name of what a node computes."""
    function = getattr(_HOST, node.op, None) if isinstance(node.op, str) else None
    return function.__name__ if isinstance(function, np.ufunc) else node.name


def _clip(x: Any, low: Any = None, high: Any = None) -> tuple[str, tuple[Any, ...]]:
    if low is None:
        return "x > y ? y : x", (x, high)
    if high is None:
        return "x < y ? y : x", (x, low)
    return FORMULAS["clip"][0], (x, low, high)


def is_clipping(node: Node) -> bool:
    """Whether a node scales a row of gradients down, to norms that lie elsewhere."""
    if not node.is_kernel(clip_norm):
        return False
    g, *tables = node.inputs
    squared = node.args[1]
    return (
        len(g.shape) == 1
        and isinstance(squared, Value)
        and squared.dtype == np.float64
        and all(v.dense() and v.shape != g.shape for v in tables)
    )


def formula_of(node: Node) -> Formula | None:
    """What a node computes of each element; None if it is nothing that the table has."""
    if is_clipping(node):  # by what clip.cuh has, which looks norms up by an element's place
        own = node.outputs[0].dtype
        return Formula("clip(x, i0 + j)", node.args[:1], (own,), own)
    if node.kind not in ("map", "call") or len(node.outputs) != 1:
        return None
    name, out, operands = name_of(node), node.outputs[0].dtype, node.args
    if out.kind not in _COLUMNS or (node.kind == "call" and name not in ("clip", "round")):
        return None
    if name == "round" and operands[1:] in ((), (0,)):
        name, operands = "rint", operands[:1]
    if name in _CASTS:
        name, operands = "cast", operands[:1]
    if name not in FORMULAS or node.kwargs or not all(map(_is_number, operands)):
        return None
    fresh = node.writes == 0
    codes = FORMULAS[name]
    if name == "cast":
        own = operands[0].dtype if isinstance(operands[0], Value) else out
        return None if own.kind not in _COLUMNS else Formula("x", operands, (own,), own)
    dtype: np.dtype[Any] | None
    if name == "where":
        dtype = out if fresh else _common(operands[1:])
    elif name.startswith("logical_"):
        dtype = _BOOL
    elif name in _TESTS or not fresh:
        dtype = _common(operands)
        if dtype is not None and dtype.kind in "biu" and not codes[_COLUMNS[dtype.kind]]:
            dtype = np.dtype(np.float64)
    else:
        dtype = out
    if dtype is None or dtype.kind not in _COLUMNS:
        return None
    code = codes[_COLUMNS[dtype.kind]]
    if name == "clip":
        code, operands = _clip(*operands)
    if not code:
        return None
    first = [_BOOL] if name == "where" else []
    dtypes = (*first, *[dtype] * (len(operands) - len(first)))
    for operand, wanted in zip(operands, dtypes, strict=True):
        if not isinstance(operand, Value) and number(operand, wanted) is None:
            return None
        if isinstance(operand, Value) and operand.dtype.kind not in _COLUMNS:
            return None
    return Formula(code, tuple(operands), dtypes, _BOOL if name in _TESTS else dtype)


def _is_number(operand: Any) -> bool:
    return isinstance(operand, (Value, bool, int, float, np.generic)) or operand is None
