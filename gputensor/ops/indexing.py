"""Reading parts of an array, and arrays with parts exchanged."""

import math
from typing import Any, TypeAlias

import numpy as np

from gputensor import backend, config
from gputensor.autograd import (
    Operand,
    Primitive,
    Tensor,
    View,
    as_array,
    clearer,
    note_view,
    raw_operand,
)
from gputensor.cuda_functions import has_hidden_sign
from gputensor.errors import DTypeError, IndexTypeError, ShapeError
from gputensor.kernels import embedding_backward
from gputensor.ops.axes import checked_axis, one_axis
from gputensor.ops.creation import asarray, raw_like
from gputensor.ops.manipulation import permute_dims
from gputensor.options import integer

__all__ = [
    "diag",
    "diagonal",
    "getitem",
    "index_add",
    "index_put",
    "index_set",
    "take",
    "take_along_axis",
]

# int, slice, ..., None, Tensor or array of integers or bool, or a tuple of these.
Key: TypeAlias = Any


def _raw_key(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(_raw_key(k) for k in key)
    if isinstance(key, list):
        return [_raw_key(k) for k in key]
    raw = key.array if isinstance(key, Tensor) else key
    if isinstance(raw, np.ndarray):
        raw = backend.plain(raw)
    if hasattr(raw, "dtype") and raw.dtype.kind not in "biu":
        raise IndexTypeError(f"index: an index array must be of integers or bool, got {raw.dtype}")
    return int(raw) if isinstance(raw, np.integer) else raw


def checked_key(x: Operand, key: Any) -> Any:
    """Raw key, whose arrays are on the device of `x`."""
    raw = _raw_key(key)
    arrays = [k for k in (raw if isinstance(raw, tuple) else (raw,)) if backend.is_array(k)]
    for k in arrays:
        if k.dtype == bool and k.ndim:
            backend.wait_for(k, "an index of a boolean mask")
    backend.same_device("index", [x.array if isinstance(x, Tensor) else x, *arrays])
    return raw


def repeats(key: Any) -> bool:
    """Whether a key may name an element twice: only integer arrays and lists do."""
    if isinstance(key, tuple):
        return any(repeats(k) for k in key)
    return isinstance(key, list) or (hasattr(key, "dtype") and key.ndim > 0 and key.dtype != bool)


# What keys are made of that give views.
_BASIC = {int, slice, type(None), type(...)}


def is_basic(key: Any) -> bool:
    """Whether a checked key gives a view."""
    return type(key) in _BASIC or (type(key) is tuple and _BASIC.issuperset(map(type, key)))


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
    if values.size and values.dtype.kind in "fV":
        if backend.is_array(key) and key.dtype.kind in "iu":
            rows = values.reshape(key.size, -1)
            index = xp.remainder(key.reshape(-1).astype(np.int64), shape[0])  # -1 is the last
            return embedding_backward.raw(rows, index, rows=shape[0]).reshape(shape)
        if config.deterministic() and not backend.on_cpu(values):
            size = math.prod(shape)
            places = xp.arange(size).reshape(shape)[key].reshape(-1)
            return embedding_backward.raw(values.reshape(-1, 1), places, rows=size).reshape(shape)
    return xp.index_add(shape, key, values)


def _getitem_rule(xp: Any, g: Any, _out: Any, _x: Any, key: Any) -> Any:
    if not repeats(key):
        return xp.index_put(_x.shape, key, g)
    return (
        index_add(_x.shape, key, g) if isinstance(g, Tensor) else _scattered(xp, g, _x.shape, key)
    )


def _getitem_forward(xp: Any, x: Any, key: Any) -> Any:
    out = x[key]
    if isinstance(out, np.generic):  # an element becomes a view, as on CUDA
        return x[(*key, ...) if isinstance(key, tuple) else (key, ...)]
    return out if out.flags.c_contiguous or is_basic(key) else out.copy("C")


def _getitem_add(total: Any, g: Any, key: Any) -> bool:
    """A loop over the parts of an array would else make zeros of its shape for each of them."""
    if not is_basic(key):
        return False
    part = _getitem_forward(None, total, key)
    part += g
    return True


_getitem = Primitive("getitem", _getitem_forward, (_getitem_rule,), add_to=_getitem_add)


def getitem(x: Operand, key: Key, /) -> Tensor:
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

    Examples
    --------
    >>> gt.getitem(gt.tensor([1, 2, 3]), slice(1, None))
    tensor([2, 3])
    """
    key = checked_key(x, key)
    out = _getitem(x, key=key)
    if isinstance(x, Tensor) and is_basic(key):
        note_view(out, x, PART, key)
    return out


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
    """Zeros of `shape` with `values` added at `key`; places named twice get both.

    Examples
    --------
    >>> gt.index_add((3,), gt.tensor([0, 0, 2]), gt.ones(3))
    tensor([2., 0., 1.], dtype=float32)
    """
    return _index_add(values, shape=shape, key=checked_key(values, key))


def index_put(shape: tuple[int, ...], key: Key, values: Operand) -> Tensor:
    """Zeros of `shape` with `values` put at `key`, which must not name a place twice.

    Examples
    --------
    >>> gt.index_put((3,), gt.tensor([2]), gt.ones(1))
    tensor([0., 0., 1.], dtype=float32)
    """
    return _index_put(values, shape=shape, key=checked_key(values, key))


def _last_selections(xp: Any, shape: tuple[int, ...], key: Any) -> Any:
    """For each selection of a key, the number of the last one of the same place."""
    size = math.prod(shape)
    places = xp.arange(size).reshape(shape)[key]
    numbers = xp.arange(places.size, dtype=np.uint64).reshape(places.shape)
    last = xp.zeros(size, np.uint64)  # CuPy's maximum.at is not for int64
    xp.maximum.at(last, places, numbers)
    return last[places].astype(np.int64)


def _put(x: Any, key: Any, value: Any, last: Any) -> Any:
    """Write into a raw array; `last` are its last selections, where they need be told."""
    if last is not None:
        xp = backend.namespace(x)
        value = xp.broadcast_to(xp.asarray(value, x.dtype), last.shape).reshape(-1)[last]
    number = isinstance(value, (int, float, complex, np.generic))
    if number and not backend.on_cpu(x) and has_hidden_sign(value):
        value = backend.namespace(x).full((), value, x.dtype)  # CuPy would write zero bytes
    x[key] = value
    return x


def _index_set_value(
    xp: Any, g: Any, _out: Any, _x: Any, _value: Any, key: Any, last: Any, own: bool
) -> Any:
    g = g[key]
    if last is not None:  # what was overwritten has no part in the result
        raw = backend.namespace(last)
        g = xp.where(last == raw.arange(last.size).reshape(last.shape), g, 0)
    extra = len(_value.shape) - len(g.shape)
    return xp.reshape(g, (*(1,) * extra, *g.shape)) if extra > 0 else g


_index_set = Primitive(
    "index_set",
    lambda xp, x, value, key, last, own: _put(x if own else x.copy(), key, value, last),
    (
        lambda xp, g, _out, _x, _value, key, last, own: xp.index_set(g, key, 0),
        _index_set_value,
    ),
)


def _setting(name: str, x: Tensor, key: Any, value: Operand) -> tuple[Any, Any, Any]:
    """Raw value, checked key, and its last selections where they need be told.

    Raises
    ------
    DTypeError
        If the value is of another kind than `x`.
    """
    raw = value.array if isinstance(value, Tensor) else raw_operand(name, value)
    dtype = x.dtype
    number = isinstance(raw, (int, float, complex))
    kind = np.result_type(dtype, raw) if number else raw.dtype
    if kind != dtype and not np.can_cast(kind, dtype, "same_kind"):
        raise DTypeError(
            f"{name}: the value is {kind}, the tensor {dtype}; convert the value first, for "
            f"example value.astype(gt.{dtype})"
        )
    if not number:
        backend.same_device(name, [x.array, raw])
    key = checked_key(x, key)
    # NumPy lets the last value stay, CuPy any. Of the values only those that stay get a gradient.
    tracked = isinstance(value, Tensor) and value._node is not None
    if not repeats(key) or not (tracked or not backend.on_cpu(x.array)):
        return raw, key, None
    with backend.on_device_of(x.array):
        try:
            return raw, key, _last_selections(backend.namespace(x.array), x.shape, key)
        except IndexError as error:
            raise clearer(name, [x.array], error) from None


def _checkable(value: Any) -> Any:
    """A value that is refused where it does not fit, which NumPy's integers are not by CuPy."""
    return int(value) if isinstance(value, np.integer) else value


def set_items(name: str, x: Tensor, key: Any, value: Operand, own: bool) -> Tensor:
    """Tensor like `x` with `value` at `key`; with `own` in the memory of `x`, which is lost."""
    value = _checkable(value)
    _, key, last = _setting(name, x, key, value)
    try:
        return _index_set(x, value, key=key, last=last, own=own)
    except TypeError as error:  # NumPy's, of shapes
        raise ShapeError(f"{name}: {error}") from None


def write_items(name: str, x: Tensor, key: Any, value: Operand) -> Any:
    """Write `value` into the raw array of `x`, which is returned."""
    raw, key, last = _setting(name, x, key, _checkable(value))
    with backend.on_device_of(x.array):
        try:
            return _put(x.array, key, raw, last)
        except IndexError as error:
            raise clearer(name, [x.array], error) from None
        except (TypeError, ValueError) as error:
            raise ShapeError(f"{name}: {error}") from None


def index_set(x: Tensor, key: Key, value: Operand, /) -> Tensor:
    """Copy of `x` with `value` at `key`: what ``x[key] = value`` does in place.

    Parameters
    ----------
    x : Tensor
    key
        As in ``x[key]``. Where it names a place twice the last value stays.
    value : Tensor, array or Python number
        Broadcast to what the key selects; converted to the dtype of `x` if NumPy's rule
        ``same_kind`` allows.

    Returns
    -------
    Tensor
        Of the shape and dtype of `x`.

    Raises
    ------
    DTypeError
        If the value is of another kind, such as a float for integers.
    ShapeError
        If the shape does not fit.

    Examples
    --------
    >>> gt.index_set(gt.zeros(3), 1, 5.0)
    tensor([0., 5., 0.], dtype=float32)
    """
    return set_items("index_set", asarray(x), key, value, own=False)


PART = View(getitem, lambda x, value, key, own: _index_set(x, value, key=key, last=None, own=own))


def _check_integers(name: str, indices: Operand) -> None:
    """Refuse what would be taken for a mask.

    Raises
    ------
    IndexTypeError
        If `indices` are bools or other numbers than integers.
    """
    listed = np.asarray(indices) if isinstance(indices, (list, tuple)) else indices
    dtype = getattr(listed, "dtype", np.dtype(type(listed)))
    if dtype.kind not in "iu" and getattr(listed, "size", None) != 0:
        remedy = "x[mask] takes elements by a mask" if dtype.kind == "b" else "convert them first"
        raise IndexTypeError(f"{name}: indices must be integers, got {dtype}; {remedy}")


def take(x: Operand, indices: Operand, /, axis: int | None = None) -> Tensor:
    """Elements of `x` at `indices` along `axis`.

    Parameters
    ----------
    x : Tensor or array
    indices : Tensor, array or list of int
        Any shape, which takes the place of `axis`; negative ones count from the end.
    axis : int, optional
        May be left out if there is only one.

    Returns
    -------
    Tensor

    Raises
    ------
    ShapeError
        If `axis` is not an axis of `x`.
    ValueError
        If `axis` is missing where there are several.
    IndexError
        If an index is out of range (on the CPU), or `indices` are not integers.

    Examples
    --------
    >>> gt.take(gt.tensor([10, 20, 30]), gt.tensor([2, 0]))
    tensor([30, 10])
    """
    x = as_array("take", x)
    _check_integers("take", indices)
    ndim = len(getattr(x, "shape", ()))
    if axis is None:
        if ndim != 1:
            raise ValueError(f"take: axis must be named for an array of {ndim} axes")
        axis = 0
    axis = one_axis("take", x, axis)
    return getitem(x, (*(slice(None),) * (axis % ndim), indices))


def take_along_axis(x: Operand, indices: Operand, /, axis: int = -1) -> Tensor:
    """Elements of `x` at `indices` along `axis`, each from the place where its index is.

    Parameters
    ----------
    x : Tensor or array
    indices : Tensor or array of int
        As many axes as `x`, which broadcast with those of `x` but for `axis`.
    axis : int

    Returns
    -------
    Tensor
        Of the shape of `indices`, or what that broadcasts to.

    Raises
    ------
    ShapeError
        If the axes do not fit.
    IndexError
        If an index is out of range (on the CPU), or `indices` are not integers.

    Examples
    --------
    >>> gt.take_along_axis(gt.tensor([[1, 2], [3, 4]]), gt.tensor([[1], [0]]), axis=1)
    tensor([[2],
            [3]])
    """
    x, indices = as_array("take_along_axis", x), as_array("take_along_axis", indices)
    _check_integers("take_along_axis", indices)
    shape, wanted = getattr(x, "shape", ()), getattr(indices, "shape", ())
    if len(shape) != len(wanted):
        raise ShapeError(
            f"take_along_axis: x has shape {shape}, indices {wanted}; give them as many axes"
        )
    axis = one_axis("take_along_axis", x, axis)
    axis %= len(shape)
    array = indices.array if isinstance(indices, Tensor) else indices
    key = []
    with backend.on_device_of(array):
        xp = backend.namespace(array)
        for a, n in enumerate(shape):
            places = (-1,) + (1,) * (len(shape) - 1 - a)
            key.append(array if a == axis else xp.arange(n).reshape(places))
    return getitem(x, tuple(key))


def _diagonal_key(x: Operand, offset: int, length: int) -> Key:
    """Key of `length` elements on a diagonal of matrices that are where `x` is."""
    starts = max(-offset, 0), max(offset, 0)
    return ..., *(raw_like(x, "arange", n, n + length, dtype=np.int64) for n in starts)


def _diagonal_rule(xp: Any, g: Any, _out: Any, _x: Any, offset: int) -> Any:
    return xp.index_put(_x.shape, _diagonal_key(g, offset, g.shape[-1]), g)


def _diagonal_forward(xp: Any, x: Any, offset: int) -> Any:
    out = xp.diagonal(x, offset, -2, -1)
    if backend.on_cpu(out):  # NumPy's is read-only, CuPy's is not
        out.flags.writeable = x.flags.writeable
    return out


_diagonal = Primitive("diagonal", _diagonal_forward, (_diagonal_rule,))


def diagonal(x: Operand, /, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """View of the elements ``i, i + offset`` of the matrices of two axes, in a new last axis.

    NumPy's axes are the first two; :func:`gputensor.linalg.diagonal` takes the last two.

    Raises
    ------
    ShapeError
        If `axis1` and `axis2` are not two axes of `x`.

    Examples
    --------
    >>> gt.diagonal(gt.tensor([[1, 2], [3, 4]]))
    tensor([1, 4])
    """
    x = as_array("diagonal", x)
    checked_axis("diagonal", x, (axis1, axis2))
    n = len(x.shape)
    last = tuple(one_axis("diagonal", x, axis) % n for axis in (axis1, axis2))
    if last != (n - 2, n - 1):
        x = permute_dims(x, (*(a for a in range(n) if a not in last), *last))
    return _diagonal(x, offset=integer("diagonal", "offset", offset))


def diag(x: Operand, /, k: int = 0) -> Tensor:
    """Diagonal `k` of a matrix; of a vector the square matrix that has it there, 0 elsewhere.

    Raises
    ------
    ShapeError
        If `x` has neither one nor two axes.

    Examples
    --------
    >>> gt.diag(gt.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    """
    x = as_array("diag", x)
    shape: tuple[int, ...] = getattr(x, "shape", ())
    if len(shape) == 2:
        return diagonal(x, k)
    if len(shape) != 1:
        raise ShapeError(f"diag: x must be a vector or a matrix, its shape is {shape}")
    k = integer("diag", "k", k)
    n = shape[0] + abs(k)
    return index_put((n, n), _diagonal_key(x, k, shape[0]), x)
