"""Reading parts of an array."""

import math
from typing import Any, TypeAlias

import numpy as np

from gputensor import backend, config
from gputensor.autograd import Operand, Primitive, Tensor
from gputensor.errors import DTypeError
from gputensor.kernels import embedding_backward
from gputensor.ops.statistical import checked_axis

__all__ = ["getitem", "index_add", "index_put", "take"]

# int, slice, ..., None, Tensor or array of integers or bool, or a tuple of these.
Key: TypeAlias = Any


def _raw_key(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(_raw_key(k) for k in key)
    if isinstance(key, list):
        return [_raw_key(k) for k in key]
    raw = key.array if isinstance(key, Tensor) else key
    if hasattr(raw, "dtype") and raw.dtype.kind not in "biu":
        raise DTypeError(f"index: an index array must be of integers or bool, got {raw.dtype}")
    return raw


def _checked_key(x: Operand, key: Any) -> Any:
    """Raw key, whose arrays are on the device of `x`."""
    raw = _raw_key(key)
    arrays = [k for k in (raw if isinstance(raw, tuple) else (raw,)) if backend.is_array(k)]
    if any(k.dtype == bool and k.ndim and not isinstance(k, np.ndarray) for k in arrays):
        backend.wait_for_device("an index of a boolean mask")
    backend.same_device("index", [x.array if isinstance(x, Tensor) else x, *arrays])
    return raw


def _repeats(key: Any) -> bool:
    """Whether a key may name an element twice: only integer arrays and lists do."""
    if isinstance(key, tuple):
        return any(_repeats(k) for k in key)
    return isinstance(key, list) or (hasattr(key, "dtype") and key.ndim > 0 and key.dtype != bool)


def _scattered(xp: Any, values: Any, shape: tuple[int, ...], key: Any) -> Any:
    """Zeros of `shape` with `values` added at `key`, as raw arrays.

    An index into the first axis, and on CUDA any index where results must not depend on the order
    of atomic additions, is for the kernel of embeddings, which adds rows up in a fixed order.
    """
    if values.dtype.kind == "c":
        out = xp.empty(shape, values.dtype)
        out.real = _scattered(xp, values.real, shape, key)
        out.imag = _scattered(xp, values.imag, shape, key)
        return out
    if values.size and values.dtype.kind == "f":
        if backend.is_array(key) and key.dtype.kind in "iu":
            rows = values.reshape(key.size, -1)
            index = xp.remainder(key.reshape(-1).astype(np.int64), shape[0])  # -1 is the last
            return embedding_backward.raw(rows, index, rows=shape[0]).reshape(shape)
        if config.deterministic() and not isinstance(values, np.ndarray):
            size = math.prod(shape)
            places = xp.arange(size).reshape(shape)[key].reshape(-1)
            return embedding_backward.raw(values.reshape(-1, 1), places, rows=size).reshape(shape)
    return xp.index_add(shape, key, values)


def _getitem_rule(xp: Any, g: Any, _out: Any, _x: Any, key: Any) -> Any:
    if not _repeats(key):
        return xp.index_put(_x.shape, key, g)
    return (
        index_add(_x.shape, key, g) if isinstance(g, Tensor) else _scattered(xp, g, _x.shape, key)
    )


_getitem = Primitive("getitem", lambda xp, x, key: x[key], (_getitem_rule,))


def getitem(x: Tensor, key: Key) -> Tensor:
    """``x[key]``: slices, integers, ``None``, ``...``, integer and boolean arrays, as in NumPy.

    Basic indexing gives a view, index arrays a copy. A boolean array on CUDA waits for the
    device, since the result's shape depends on it. On CUDA integer arrays are not checked for
    being in range; they wrap around, as CuPy does.

    Raises
    ------
    IndexError
        If an index is out of range, or there are too many.
    DTypeError
        If an index array is not of integers or bool.
    DeviceMismatchError
        If an index array is on another device.
    """
    return _getitem(x, key=_checked_key(x, key))


_index_add = Primitive(
    "index_add",
    lambda xp, values, shape, key: _scattered(xp, values, shape, key),
    (lambda xp, g, _out, _values, shape, key: g[key],),
)
_index_put = Primitive(
    "index_put",
    lambda xp, values, shape, key: xp.index_put(shape, key, values),
    (lambda xp, g, _out, _values, shape, key: g[key],),
)


def index_add(shape: tuple[int, ...], key: Key, values: Operand) -> Tensor:
    """Zeros of `shape` with `values` added at `key`; places named twice get both."""
    return _index_add(values, shape=shape, key=_checked_key(values, key))


def index_put(shape: tuple[int, ...], key: Key, values: Operand) -> Tensor:
    """Zeros of `shape` with `values` put at `key`, which must not name a place twice."""
    return _index_put(values, shape=shape, key=_checked_key(values, key))


def take(x: Tensor, indices: Operand, /, *, axis: int) -> Tensor:
    """Elements of `x` at `indices` along `axis`; `indices` may have any shape.

    Raises
    ------
    ShapeError
        If `axis` is not an axis of `x`.
    IndexError
        If an index is out of range (on the CPU).
    """
    checked_axis("take", x, axis)
    return getitem(x, (*(slice(None),) * (axis % x.ndim), indices))
