"""Dtypes and conversion between them."""

import builtins
import contextlib
import importlib
from typing import Any, NamedTuple

import numpy as np

from gputensor import backend
from gputensor.autograd import Operand, Primitive, Tensor
from gputensor.backend import Device
from gputensor.errors import DTypeError

__all__ = [
    "astype",
    "bool",
    "can_cast",
    "complex64",
    "complex128",
    "finfo",
    "float16",
    "float32",
    "float64",
    "iinfo",
    "int8",
    "int16",
    "int32",
    "int64",
    "isdtype",
    "result_type",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
]

bool = np.dtype(np.bool_)
int8 = np.dtype(np.int8)
int16 = np.dtype(np.int16)
int32 = np.dtype(np.int32)
int64 = np.dtype(np.int64)
uint8 = np.dtype(np.uint8)
uint16 = np.dtype(np.uint16)
uint32 = np.dtype(np.uint32)
uint64 = np.dtype(np.uint64)
float16 = np.dtype(np.float16)
float32 = np.dtype(np.float32)
float64 = np.dtype(np.float64)
complex64 = np.dtype(np.complex64)
complex128 = np.dtype(np.complex128)

_astype = Primitive(
    "astype",
    lambda xp, x, dtype: x.astype(dtype),
    # The tape itself casts a gradient to its tensor's dtype.
    (lambda xp, g, _out, _x, dtype: g,),
)


def bfloat16(name: str) -> "np.dtype[Any]":
    """The dtype bfloat16, which NumPy has from a package.

    Raises
    ------
    ImportError
        Without that package, naming it.
    """
    try:
        found: np.dtype[Any] = np.dtype(importlib.import_module("ml_dtypes").bfloat16)
    except ImportError:
        raise ImportError(
            f"{name}: NumPy has bfloat16 from the package ml_dtypes, which is not installed; "
            "pip install ml_dtypes"
        ) from None
    return found


def checked_dtype(name: str, dtype: Any) -> np.dtype[Any]:
    """The dtype that NumPy knows by this name or type, if elements can have it.

    Raises
    ------
    DTypeError
        Otherwise.
    ImportError
        For ``"bfloat16"`` without the package that brings it.
    """
    if isinstance(dtype, str) and dtype == "bfloat16":
        return bfloat16(name)
    with contextlib.suppress(TypeError):  # of NumPy, for a name that is no dtype's
        chosen: np.dtype[Any] = np.dtype(dtype)
        chosen = chosen if chosen.isnative else chosen.newbyteorder("=")
        if chosen.kind in "biufc" or chosen.name == "bfloat16":
            return chosen
    raise DTypeError(
        f"{name}: {dtype!r} is not supported; elements are numbers or bool, for example "
        "gt.float32, gt.int64 or gt.bool"
    )


def of_bytes(array: Any, dtype: np.dtype[Any]) -> Any:
    """An array that a NumPy archive gave back as bytes, which it has bfloat16 as; or as it is."""
    if array.dtype == np.dtype("V2") and dtype.name == "bfloat16":
        return array.view(dtype)
    return array


def check_cast(name: str, source: np.dtype[Any], target: np.dtype[Any]) -> None:
    """Refuse a conversion that would drop imaginary parts, as the standard asks.

    Raises
    ------
    DTypeError
        If `source` is complex and `target` is neither that nor bool.
    """
    if source.kind == "c" and target.kind not in "cb":
        raise DTypeError(
            f"{name}: complex numbers do not become {target}; take gt.real or gt.imag of them first"
        )


def astype(
    x: Operand,
    dtype: Any,
    /,
    *,
    copy: builtins.bool = True,
    device: str | Device | None = None,
) -> Tensor:
    """Copy of `x` with elements of another type. Gradients flow between floating point types.

    Complex numbers become complex or bool only; others are those of :func:`gputensor.real` or
    :func:`gputensor.imag`. What becomes of a number that an integer type lacks, such as -1.5 as
    ``uint8``, is undefined, as in C, and differs by device.

    Parameters
    ----------
    x : Tensor or array
    dtype : dtype
    copy : bool
        False returns a tensor that has the dtype and is on the device as it is.
    device : str or Device, optional
        Where the result shall be; by default where `x` is.

    Returns
    -------
    Tensor
        Of the shape of `x`.

    Raises
    ------
    DTypeError
        If `dtype` is not a type of numbers or bool, or real where `x` is complex.

    Examples
    --------
    >>> gt.astype(gt.tensor([1.7, -1.7]), gt.int64)
    tensor([ 1, -1])
    """
    chosen = checked_dtype("astype", dtype)
    if hasattr(x, "dtype"):
        check_cast("astype", x.dtype, chosen)
    kept = not copy and isinstance(x, Tensor) and x.dtype == chosen
    found: Tensor = x if kept else _astype(x, dtype=chosen)
    return found if device is None else found.to(device)


def _dtype_of(name: str, x: Any) -> np.dtype[Any]:
    """The dtype that an array has, or a dtype itself."""
    has_one = isinstance(x, (Tensor, np.generic)) or backend.is_array(x)
    return checked_dtype(name, x.dtype if has_one else x)


def can_cast(from_: Any, to: Any, /) -> builtins.bool:
    """Whether every value of one dtype is a value of another, so that promotion may turn to it.

    Parameters
    ----------
    from_ : dtype, Tensor or array
    to : dtype

    Returns
    -------
    bool

    Examples
    --------
    >>> gt.can_cast(gt.float32, gt.float64), gt.can_cast(gt.float64, gt.float32)
    (True, False)
    """
    source, target = _dtype_of("can_cast", from_), checked_dtype("can_cast", to)
    return np.can_cast(source, target)


class FloatInfo(NamedTuple):
    """Limits of a floating point dtype, as Python numbers."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: np.dtype[Any]


class IntegerInfo(NamedTuple):
    """Limits of an integer dtype, as Python numbers."""

    bits: int
    max: int
    min: int
    dtype: np.dtype[Any]


def finfo(type: Any, /) -> FloatInfo:
    """Limits of a floating point dtype, of a complex one those of its parts.

    Parameters
    ----------
    type : dtype, Tensor or array

    Returns
    -------
    FloatInfo
        ``bits``, ``eps`` (what 1 lacks of the next number), ``max``, ``min``,
        ``smallest_normal``, ``dtype``.

    Raises
    ------
    DTypeError
        If the dtype is not floating point.

    Examples
    --------
    >>> gt.finfo(gt.float32).max
    3.4028234663852886e+38
    """
    dtype = _dtype_of("finfo", type)
    if dtype.kind not in "fcV":  # V is bfloat16's
        raise DTypeError(f"finfo: {dtype} is not floating point; gt.iinfo is for integers")
    found = (
        np.finfo(dtype) if dtype.kind != "V" else importlib.import_module("ml_dtypes").finfo(dtype)
    )
    eps, high, low, normal = map(float, (found.eps, found.max, found.min, found.smallest_normal))
    return FloatInfo(found.bits, eps, high, low, normal, found.dtype)


def iinfo(type: Any, /) -> IntegerInfo:
    """Limits of an integer dtype.

    Parameters
    ----------
    type : dtype, Tensor or array

    Returns
    -------
    IntegerInfo
        ``bits``, ``max``, ``min``, ``dtype``.

    Raises
    ------
    DTypeError
        If the dtype is not of integers.

    Examples
    --------
    >>> gt.iinfo(gt.int8).min
    -128
    """
    dtype = _dtype_of("iinfo", type)
    if dtype.kind not in "iu":
        raise DTypeError(f"iinfo: {dtype} is not of integers; gt.finfo is for floating point")
    found = np.iinfo(dtype)
    return IntegerInfo(found.bits, int(found.max), int(found.min), dtype)


def isdtype(dtype: Any, kind: Any) -> builtins.bool:
    """Whether a dtype is of a kind.

    Parameters
    ----------
    dtype : dtype
    kind : dtype, str or tuple of these
        ``"bool"``, ``"signed integer"``, ``"unsigned integer"``, ``"integral"``,
        ``"real floating"``, ``"complex floating"``, ``"numeric"``, or a dtype itself; of a tuple
        any one.

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If a kind is unknown.

    Examples
    --------
    >>> gt.isdtype(gt.float32, "real floating")
    True
    """
    chosen = checked_dtype("isdtype", dtype)
    if chosen.kind != "V":
        return np.isdtype(chosen, kind)
    kinds = kind if isinstance(kind, tuple) else (kind,)  # of bfloat16, which NumPy has not
    return builtins.any(k in ("real floating", "numeric", chosen) for k in kinds)


def result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    """The dtype that operands promote to, by the rules of NumPy 2.

    Parameters
    ----------
    *arrays_and_dtypes : dtype, Tensor, array or Python number
        Python numbers bend to the dtypes of the others.

    Returns
    -------
    dtype

    Raises
    ------
    ValueError
        If none has a dtype.

    Examples
    --------
    >>> gt.result_type(gt.float32, gt.int64)
    dtype('float64')
    """
    numbers = (builtins.bool, int, float, complex)
    weak = [x for x in arrays_and_dtypes if type(x) in numbers]
    strong = [_dtype_of("result_type", x) for x in arrays_and_dtypes if type(x) not in numbers]
    if not strong:
        raise ValueError("result_type: give at least one array or dtype")
    return np.result_type(*strong, *weak)
