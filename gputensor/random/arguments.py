"""Shapes, dtypes, places and parameters of distributions, checked."""

import math
from typing import Any, TypeAlias

import numpy as np

from gputensor import backend, config, memory
from gputensor.autograd import Operand, Tensor, raw_operand
from gputensor.backend import Array, Device
from gputensor.errors import (
    DeviceMismatchError,
    DTypeError,
    ShapeError,
)
from gputensor.ops.creation import asarray
from gputensor.ops.data_type import checked_dtype
from gputensor.options import ints

Shape: TypeAlias = int | tuple[int, ...] | None


def is_number(x: Any) -> bool:
    return isinstance(x, (int, float, np.number)) and not isinstance(x, bool)


def check(name: str, **parameters: tuple[Any, float, float, bool]) -> None:
    """Check numbers: each with its bounds (0 for no upper one), and whether it must be above."""
    for key, (value, low, high, above) in parameters.items():
        if not is_number(value):
            continue
        inside = low < value if above else low <= value
        if not (inside and value < math.inf and (not high or value <= high)):
            allowed = f"above {low}" if above else f"at least {low}"
            allowed += f" and at most {high}" if high else " and finite"
            raise ValueError(f"{name}: {key} is {value}; it must be {allowed}")


def parameters_of(
    name: str,
    values: tuple[Operand, ...],
    shape: Shape,
    dtype: Any,
    device: str | Device | None,
) -> tuple[tuple[Operand, ...], tuple[int, ...], Any, Device]:
    """Parameters of a distribution, numbers or tensors; shape, dtype and place of the result."""
    tensors = [v for v in values if isinstance(v, Tensor)]
    where = tensors[0].device if tensors else backend.device(device)
    made = tuple(
        float(v) if is_number(v) else v if isinstance(v, Tensor) else asarray(v, device=where)
        for v in values
    )
    tensors = [v for v in made if isinstance(v, Tensor)]
    backend.same_device(name, [v.array for v in tensors])
    if device is not None and backend.device(device) != where:
        raise DeviceMismatchError(
            f"{name}: device is {backend.device(device)}, and the parameters are on {where}; move "
            f"them, for example x.to({str(backend.device(device))!r})"
        )
    if dtype is None:
        floats = [v.dtype for v in tensors if v.dtype.kind in "fV"]
        dtype = np.result_type(*floats) if floats else config.default_dtype()
    wanted = None if shape is None else sizes_of(name, shape)
    try:
        sizes = np.broadcast_shapes(*(v.shape for v in tensors))
        if wanted is not None:
            sizes = wanted
            fits = np.broadcast_shapes(sizes, *(v.shape for v in tensors)) == sizes
        else:
            fits = True
    except ValueError:
        fits = False
    if not fits:
        found = ", ".join(str(v.shape) for v in tensors)
        raise ShapeError(
            f"{name}: parameters of shape {found} do not broadcast to "
            f"{'each other' if shape is None else shape}"
        )
    return made, sizes, floating(name, dtype), where


def sizes_of(name: str, shape: Shape) -> tuple[int, ...]:
    """Shape of a result as a tuple, checked."""
    sizes = () if shape is None else ints(name, "shape", shape)
    if any(n < 0 for n in sizes):
        raise ValueError(f"{name}: shape is {shape!r}; it must be of non-negative ints")
    return sizes


def floating(name: str, dtype: Any) -> "np.dtype[Any]":
    """The dtype, if random numbers can have it."""
    chosen = checked_dtype(name, dtype)
    if chosen.kind not in "fV" or chosen.itemsize > 8:
        raise DTypeError(f"{name}: random numbers have a floating point dtype, not {chosen}")
    return chosen


def chances_of(
    name: str, p: Operand, n: int | None, device: str | Device | None
) -> tuple[Array, Device]:
    """Probabilities as a row, checked where they are on the host, and their place."""
    raw = p.array if isinstance(p, Tensor) else raw_operand(name, p)
    if raw.ndim != 1 or (n is not None and len(raw) != n) or not len(raw):
        wanted = "(k,)" if n is None else f"({n},)"
        raise ShapeError(f"{name}: probabilities have shape {raw.shape}; it must be {wanted}")
    if isinstance(raw, np.ndarray) and not (np.all(raw >= 0) and 0 < raw.sum() < math.inf):
        raise ValueError(
            f"{name}: probabilities must not be negative, NaN or infinite, nor all zero"
        )
    where = backend.device(device)
    if not isinstance(p, (list, tuple, np.ndarray)):
        where = backend.device_of(raw) if device is None else where
        backend.same_device(name, [raw, backend.namespace(where).empty(0)])
    return backend.to_device(raw, where), where


def wide(dtype: Any) -> Any:
    """What 16-bit numbers are computed in."""
    return np.float64 if np.dtype(dtype) == np.float64 else np.float32


def skip(start: dict[str, Any], numbers: int) -> dict[str, Any]:
    """Where the words after those of an even count of float64 numbers are."""
    return start | {"offset": (start["offset"] + numbers // 2) % (1 << 64)}


def room(
    name: str, shape: Shape, dtype: Any, device: str | Device | None, words: int = 0
) -> tuple[Array, tuple[int, ...], Device]:
    """Flat array to fill, `words` for an element if that is given, its shape to be, its place."""
    sizes = sizes_of(name, shape)
    dtype = np.dtype(dtype) if words else floating(name, dtype)
    where = backend.device(device)
    with backend.on_device_of(where), memory.explained(name, where):
        make = backend.namespace(where).empty
        out = make(math.prod(sizes) * (words or 1), dtype)
    return out, sizes, where


def shaped(x: Array, shape: tuple[int, ...]) -> Array:
    return x.reshape(shape)
