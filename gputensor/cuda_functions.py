"""Functions of CuPy that differ from NumPy's, as NumPy's are: what CuPy's namespace has instead.

Each is named as there and takes raw CuPy arrays. A docstring says what CuPy's own function does;
``docs/explanations/standin.md`` says where that was seen.

One difference is left: for all kernels that CuPy compiles float32 numbers below the normal ones are
0, since it puts ``-ftz=true`` behind whatever options there are, and the last one counts.
"""

import functools
import importlib
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["FUNCTIONS", "has_hidden_sign"]

FUNCTIONS: dict[str, Callable[..., Any]] = {}


def _replaces(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator of a function that goes by some names in CuPy's namespace."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        FUNCTIONS.update(dict.fromkeys(names, function))
        return function

    return add


def _cupy() -> Any:
    return sys.modules["cupy"]  # whoever has arrays of it has imported it


def _promoted(*operands: Any) -> np.dtype[Any]:
    """Dtype that NumPy's arithmetic has for arrays and numbers."""
    empty = (np.empty(0, a.dtype) if hasattr(a, "dtype") else a for a in operands)
    dtype: np.dtype[Any] = np.add(*empty).dtype
    return dtype


# Signs of zero


def has_hidden_sign(value: Any) -> bool:
    """Whether a number equals 0 but has a minus sign, in a part: CuPy's fill writes zero bytes."""
    return bool(value == 0) and any(np.asarray(value).tobytes())


@_replaces("asarray")
def asarray(a: Any, dtype: Any = None) -> Any:
    """CuPy fills in the one element of an array without axes, and loses the sign of zero."""
    if isinstance(a, (np.ndarray, np.generic, float, complex)) and np.ndim(a) == 0:
        host = np.asarray(a, dtype)
        if has_hidden_sign(host):
            copied = _cupy().asarray(host.reshape(1))
            copied.shape = ()
            return copied
    return _cupy().asarray(a, dtype)


# Complex numbers, whose arithmetic and functions are Thrust's. NumPy's are C99's.


@functools.cache
def _kernel(name: str, parameters: str, code: str, out: str = "T out") -> Any:
    """A kernel for each element of arrays, which are broadcast."""
    return _cupy().ElementwiseKernel(parameters, out, code, f"gputensor_{name}")


def _is_complex(x: Any) -> bool:
    return x.dtype.kind == "c" if hasattr(x, "dtype") else isinstance(x, complex)


def _complex(name: str, code: str, *names: str) -> None:
    """Give complex numbers another function than CuPy's."""

    def function(x: Any) -> Any:
        if x.dtype.kind != "c":
            return getattr(_cupy(), name)(x)
        return _kernel(name, "T x", code)(x)

    function.__name__ = name
    _replaces(name, *names)(function)


_DIVIDE = """
    auto a = x.real(), b = x.imag(), c = y.real(), d = y.imag();
    if (fabs(c) >= fabs(d)) {
      if (c == 0 && d == 0) {
        out = T(a / fabs(c), b / fabs(c));
      } else {
        auto ratio = d / c, below = c + d * ratio;  // 1 / below may be flushed to 0
        out = T((a + b * ratio) / below, (b - a * ratio) / below);
      }
    } else {
      auto ratio = c / d, below = d + c * ratio;
      out = T((a * ratio + b) / below, (b * ratio - a) / below);
    }
"""


@_replaces("divide", "true_divide")
def divide(x: Any, y: Any) -> Any:
    """Thrust's is NaN where a quotient by zero is infinite, or one by infinity zero."""
    if not (_is_complex(x) or _is_complex(y)):
        return _cupy().true_divide(x, y)
    dtype = _promoted(x, y)
    x, y = (asarray(a, dtype) for a in (x, y))
    return _kernel("divide", "T x, T y", _DIVIDE)(x, y)


_RECIPROCAL = """
    auto a = x.real(), b = x.imag();
    if (fabs(a) >= fabs(b)) {
      auto ratio = b / a, scale = 1 / (a + b * ratio);
      out = T(scale, -ratio * scale);
    } else {
      auto ratio = a / b, scale = 1 / (b + a * ratio);
      out = T(ratio * scale, -scale);
    }
"""
_complex("reciprocal", _RECIPROCAL)

# Thrust's is NaN where one part is NaN and the other infinite.
_LOG = "T y = isnan(x) ? T(log(hypot(x.real(), x.imag())), atan2(x.imag(), x.real())) : log(x);"
_complex("log", f"{_LOG} out = y;")
for _name, _base in (("log10", 10), ("log2", 2)):
    _complex(
        _name,
        f"{_LOG} const typename T::value_type unit = {1 / math.log(_base)}; "
        "out = T(y.real() * unit, y.imag() * unit);",
    )

# C99's keep the real part where that is 0 and the imaginary one is infinite or NaN.
_TANH = """
    T y = z.real() == 0 && !isfinite(z.imag()) ? T(z.real(), z.imag() - z.imag()) : tanh(z);
"""
_complex("tanh", f"T z = x; {_TANH} out = y;")
_complex("tan", f"T z(-x.imag(), x.real()); {_TANH} out = T(y.imag(), -y.real());")

_complex(
    "arccosh",
    f"out = x.real() == 0 && isnan(x.imag()) ? T(x.imag(), {math.pi / 2}) : acosh(x);",
    "acosh",
)


def _truth(name: str) -> None:
    """Logic of complex numbers, which CuPy's functions are not for."""

    def function(*operands: Any) -> Any:
        return getattr(_cupy(), name)(*(x != 0 if _is_complex(x) else x for x in operands))

    function.__name__ = name
    _replaces(name)(function)


for _name in ("logical_and", "logical_or", "logical_xor", "logical_not"):
    _truth(_name)


# Quotients of real numbers

_FLOOR_DIVIDE = """
    if (y == 0 || isinf(x) || isinf(y)) {
      out = floor(x / y);
    } else {
      T rest = fmod(x, y), whole = (x - rest) / y;
      if (rest != 0 && (rest < 0) != (y < 0)) whole -= 1;
      out = floor(whole);
      if (whole - out > T(0.5)) out += 1;
      if (whole == 0) out = copysign(T(0), x / y);
    }
"""
_REMAINDER = """
    T rest = fmod(x, y);
    if (rest != 0 && (rest < 0) != (y < 0)) rest += y;
    out = copysign(rest, y);
"""


def _quotient(name: str, code: str) -> None:
    """Take whole multiples off exactly, as NumPy does: CuPy takes a rounded quotient's floor."""

    def function(x: Any, y: Any) -> Any:
        dtype = _promoted(x, y)
        if dtype.kind not in "fV":
            return getattr(_cupy(), name)(x, y)
        wide = np.dtype(np.float32) if dtype.itemsize == 2 else dtype
        given = (a if hasattr(a, "ndim") else np.asarray(a, dtype)[()] for a in (x, y))
        found = _kernel(name, "T x, T y", code)(*(a.astype(wide, copy=False) for a in given))
        return found.astype(dtype, copy=False)

    function.__name__ = name
    _replaces(name)(function)


_quotient("floor_divide", _FLOOR_DIVIDE)
_quotient("remainder", _REMAINDER)


# Not-a-number


# By dtype: the integers in the order of the numbers, of NaN the first or the last of all.
_IN_ORDER = {
    "float32": ("int32", "int", "__float_as_int", "0x7fffffff"),
    "float64": ("int64", "long long", "__double_as_longlong", "0x7fffffffffffffffLL"),
}


@_replaces("sinc")
def sinc(x: Any) -> Any:
    """CuPy's is 1 of NaN."""
    nan = x.dtype.type(complex(np.nan, np.nan)) if x.dtype.kind == "c" else x
    return where(x == x, _cupy().sinc(x), nan)


def _first_extreme(name: str, nan: str) -> None:
    """Place of an extreme: of several NaN CuPy's is that of any, here that of the first."""

    def function(x: Any, axis: int | None = None) -> Any:
        cupy = _cupy()
        if x.dtype.kind in "fV":
            x = x.astype(np.float32) if x.dtype.itemsize == 2 else x
            key, c_type, bits, last = _IN_ORDER[x.dtype.name]
            code = (
                f"{c_type} bits = x == 0 ? 0 : {bits}(x); "
                f"out = isnan(x) ? {nan.format(last)} : bits < 0 ? bits ^ {last} : bits"
            )
            kernel = _kernel(f"{name}_{key}", f"{x.dtype.name} x", code, f"{key} out")
            x = kernel(x)
        return getattr(cupy, name)(x, axis=axis)

    function.__name__ = name
    _replaces(name)(function)


_first_extreme("argmax", "{}")
_first_extreme("argmin", "-{} - 1")


def _sortable(x: Any) -> Any:
    """Array that CuPy sorts as NumPy does: rows of one axis by their bits, and no bfloat16."""
    cupy = _cupy()
    if x.dtype.kind == "V":
        x = x.astype(np.float32)
    if x.ndim == 1 and x.dtype.kind == "f":  # where a NaN with a minus sign would come first
        return cupy.where(cupy.isnan(x), x.dtype.type(np.nan), x)
    return x


@_replaces("sort")
def sort(x: Any, axis: int = -1, kind: str | None = None) -> Any:
    """CuPy's puts a NaN with a minus sign first, and is not for bfloat16."""
    return _cupy().sort(_sortable(x), axis=axis).astype(x.dtype, copy=False)


@_replaces("argsort")
def argsort(x: Any, axis: int = -1, kind: str | None = None) -> Any:
    """As :func:`sort`; CuPy's is stable."""
    return _cupy().argsort(_sortable(x), axis=axis)


_PRODUCTS = 1 << 22  # as many are made at once


@_replaces("convolve")
def convolve(x: Any, y: Any, mode: str = "full") -> Any:
    """CuPy's takes Fourier transforms: what is not finite spreads, and digits are lost.

    So does this one of sequences with more products.
    """
    cupy, n, m = _cupy(), x.size, y.size
    if x.dtype.kind in "biu" or y.dtype.kind in "biu" or n * m > _PRODUCTS:
        return cupy.convolve(x, y, mode)
    if n < m:
        x, y, n, m = y, x, m, n
    places = cupy.arange(n + m - 1)[:, None] - cupy.arange(m)
    if mode == "valid":
        places = places[m - 1 : n]
    products = cupy.where((places >= 0) & (places < n), x[places] * y, 0)
    return products.sum(axis=1)


# Dtypes


@_replaces("where")
def where(condition: Any, x: Any, y: Any) -> Any:
    """CuPy's makes float32 of bfloat16."""
    found = _cupy().where(condition, x, y)
    if found.dtype.char == "f" and any(hasattr(a, "dtype") and a.dtype.kind == "V" for a in (x, y)):
        return found.astype(np.result_type(*(getattr(a, "dtype", a) for a in (x, y))), copy=False)
    return found


@_replaces("clip")
def clip(x: Any, low: Any, high: Any) -> Any:
    """CuPy's is not for bfloat16, and keeps integers what they are, whatever the bounds are."""
    if x.dtype.kind in "iu":
        if isinstance(low, float) or isinstance(high, float):
            x = x.astype(_promoted(x, 0.0))
        else:
            ends = np.iinfo(x.dtype)
            low = None if low is not None and low <= ends.min else low
            high = None if high is not None and high >= ends.max else high
            if low is high is None:
                return x.copy()
    wide = x.astype(np.float32) if x.dtype.kind == "V" else x
    return _cupy().clip(wide, low, high).astype(x.dtype, copy=False)


@_replaces("nextafter")
def nextafter(x: Any, y: Any) -> Any:
    """CuPy's is not for bfloat16."""
    cupy, dtype = _cupy(), _promoted(x, y)
    if dtype.kind != "V":
        return cupy.nextafter(x, y)
    x, y = cupy.broadcast_arrays(*(asarray(a, dtype) for a in (x, y)))
    bits = cupy.ascontiguousarray(x).view(np.int16)  # in the order of the absolute values
    away = (x < y) == (bits >= 0)
    found = (bits + cupy.where(away, 1, -1).astype(np.int16)).view(dtype)
    least = (cupy.signbit(y) * -(1 << 15) + 1).astype(np.int16).view(dtype)
    found = where(x == 0, least, found)
    found = where(x == y, y, found)
    return where((x == x) & (y == y), found, dtype.type(np.nan))


@_replaces("round")
def round(x: Any, decimals: int = 0) -> Any:
    """CuPy's makes float32 of bfloat16."""
    found = _cupy().round(x, decimals)
    return found.astype(x.dtype) if x.dtype.kind == "V" else found


@_replaces("index_add")
def index_add(shape: tuple[int, ...], index: Any, values: Any) -> Any:
    """CuPy's ``add.at`` has no atomic operation for small integers, bfloat16 and complex numbers.

    Those of float16 round after each addition.
    """
    cupy, dtype = _cupy(), values.dtype
    if dtype.kind == "c":
        out = cupy.empty(shape, dtype)
        out.real, out.imag = (index_add(shape, index, part) for part in (values.real, values.imag))
        return out
    wide = {1: np.int32, 2: np.float32 if dtype.kind in "fV" else np.int32}.get(dtype.itemsize)
    out = cupy.zeros(shape, wide or dtype)
    cupy.add.at(out, index, values.astype(out.dtype, copy=False))
    return out.astype(dtype, copy=False)


@_replaces("unique")
def unique(x: Any, equal_nan: bool = True, **asked: bool) -> Any:
    """CuPy's sorts: see :func:`sort`."""
    found = _cupy().unique(_sortable(x), equal_nan=equal_nan, **asked)
    if not isinstance(found, tuple):
        return found.astype(x.dtype, copy=False)
    return (found[0].astype(x.dtype, copy=False), *found[1:])


@_replaces("polygamma")
def polygamma(n: Any, x: Any) -> Any:
    """CuPy's takes arrays alone, and computes in float64."""
    special = importlib.import_module("cupyx.scipy.special")
    shape = np.broadcast_shapes(getattr(n, "shape", ()), x.shape)
    orders = n if hasattr(n, "shape") else _cupy().full(1, n)
    found = special.polygamma(orders, x).reshape(shape)
    return found.astype(x.dtype) if x.dtype.kind == "f" and orders is not n else found
