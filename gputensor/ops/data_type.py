"""Dtypes and conversion between them."""

import contextlib
from typing import Any

import numpy as np

from gputensor.autograd import Operand, Primitive, Tensor
from gputensor.errors import DTypeError

__all__ = [
    "astype",
    "bool",
    "complex64",
    "complex128",
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
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


def checked_dtype(name: str, dtype: Any) -> np.dtype[Any]:
    """The dtype that NumPy knows by this name or type, if elements can have it.

    Raises
    ------
    DTypeError
        Otherwise.
    """
    with contextlib.suppress(TypeError):  # of NumPy, for a name that is no dtype's
        chosen: np.dtype[Any] = np.dtype(dtype)
        if chosen.kind in "biufc" or chosen.name == "bfloat16":
            return chosen
    raise DTypeError(
        f"{name}: {dtype!r} is not supported; elements are numbers or bool, for example "
        "gt.float32, gt.int64 or gt.bool"
    )


def astype(x: Operand, dtype: Any, /) -> Tensor:
    """Copy of `x` with elements of another type. Gradients flow between floating point types.

    Parameters
    ----------
    x : Tensor or array
    dtype : dtype

    Returns
    -------
    Tensor
        Of the shape of `x`.

    Raises
    ------
    DTypeError
        If `dtype` is not a type of numbers or bool.
    """
    return _astype(x, dtype=checked_dtype("astype", dtype))
