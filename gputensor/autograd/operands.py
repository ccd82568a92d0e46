"""Operands that are no tensors: numbers, lists and arrays."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gputensor import backend, config
from gputensor.autograd.modes import state
from gputensor.autograd.tensor import Operand, Tensor
from gputensor.errors import (
    AxisError,
    DTypeError,
    GPUTensorError,
    GraphError,
    OperandError,
    OutOfRangeError,
    ShapeError,
)

_SCALARS = (bool, int, float, complex)

NUMBERS = (*_SCALARS, np.generic)

ndarray = np.ndarray

# How NumPy and CuPy say that a function is not for these dtypes.
DTYPE_COMPLAINTS = (
    *("not supported for the input types", "did not contain a loop"),  # NumPy's
    "unsupported in linalg",
    *("boolean subtract, the", "boolean negative, the"),  # both
    *("Wrong type", "boolean positive, the"),  # CuPy's
)


def default_dtype(value: Any) -> Any:
    """A Python number that decides on a dtype: that of :class:`gputensor.set_default_dtype`."""
    if type(value) is float:
        return config.default_dtype().type(value)
    return config.default_complex().type(value) if type(value) is complex else value


def _items(data: Any) -> Iterator[Any]:
    """What nested lists hold."""
    if isinstance(data, (list, tuple)):
        for item in data:
            yield from _items(item)
    else:
        yield data


def _unwrapped(data: Any) -> Any:
    if isinstance(data, (list, tuple)):
        return [_unwrapped(item) for item in data]
    if isinstance(data, ndarray):
        return backend.plain(data)
    return backend.to_host(data.array) if isinstance(data, Tensor) else data


def array_of_lists(name: str, data: Any, dtype: Any = None) -> "np.ndarray[Any, Any]":
    """NumPy array of nested lists; Python floats get the default dtype where none was chosen.

    Raises
    ------
    ShapeError
        If their lengths are uneven.
    GraphError
        If they hold tensors that are on the tape.
    """
    if state.enabled and any(
        isinstance(item, Tensor) and item._node is not None for item in _items(data)
    ):
        raise GraphError(f"{name}: a list loses its tensors' gradients; write gt.stack(list)")
    try:
        array = np.asarray(_unwrapped(data), dtype)
    except ValueError as error:
        raise ShapeError(f"{name}: nested lists of uneven lengths: {error}") from None
    usual = {"f": config.default_dtype(), "c": config.default_complex()}.get(array.dtype.kind)
    if usual is None or dtype or any(hasattr(item, "dtype") for item in _items(data)):
        return array
    return array.astype(usual)


def raw_operand(name: str, operand: Any) -> Any:
    """Raw array or scalar of an operand that is no Tensor.

    Raises
    ------
    OperandError
        If it is none of these, so that operators leave it to the other object.
    DTypeError
        If elements are no numbers, such as times.
    TypeError
        If it is a subclass of NumPy's array, see :func:`gputensor.backend.plain`.
    """
    if isinstance(operand, _SCALARS):
        return operand
    if isinstance(operand, (list, tuple)):
        operand = array_of_lists(name, operand)
    elif isinstance(operand, np.ndarray):
        operand = backend.plain(operand)
        if (recording := backend.recording()) is not None:
            operand = recording.constant(operand)
    elif not isinstance(operand, np.generic) and not backend.is_array(operand):
        raise OperandError(
            f"{name}: operands are tensors, NumPy or CuPy arrays and Python numbers, "
            f"not {type(operand).__name__}"
        )
    if operand.dtype.kind not in "biufc" and operand.dtype.name != "bfloat16":
        raise DTypeError(f"{name} does not take operands of dtype {operand.dtype}")
    return operand


def as_array(name: str, x: Operand) -> Any:
    """The operand, nested lists as an array on the default device, for its shape."""
    if not isinstance(x, (list, tuple)):
        return x
    return backend.to_device(raw_operand(name, x), backend.default_device())


def follow_device(operands: Sequence[Operand], arrays: list[Any]) -> type | None:
    """Bring lists, which live anywhere as numbers do, to the others; the type of those."""
    listed = [isinstance(operand, (list, tuple)) for operand in operands]
    there = [a for a, new in zip(arrays, listed, strict=True) if backend.is_array(a) and not new]
    if not there or not any(listed):
        return None
    home = backend.device_of(there[0])
    arrays[:] = [
        backend.to_device(a, home) if new else a for a, new in zip(arrays, listed, strict=True)
    ]
    return type(there[0])


def clearer(name: str, arrays: Sequence[Any], error: ValueError | IndexError) -> Exception:
    """The same complaint with the operation's name and the operands' shapes."""
    shapes = ", ".join(str(getattr(a, "shape", "scalar")) for a in arrays)
    if isinstance(error, GPUTensorError):
        return error
    if isinstance(error, ValueError):
        sizes = re.search(r"core dimension.*\(size (\d+) is different from (\d+)\)", str(error))
        why = f"the axes to sum over have {sizes[2]} and {sizes[1]} elements" if sizes else error
        return ShapeError(f"{name}: operands of shape {shapes} do not fit: {why}")
    kind = OutOfRangeError if "out of bounds" in str(error) else AxisError
    return kind(f"{name}: the index does not fit operands of shape {shapes}: {error}")
