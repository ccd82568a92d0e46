"""Shapes: reshape, transpose, broadcast, join."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import (
    Operand,
    Primitive,
    Tensor,
    View,
    as_array,
    note_view,
    raw_operand,
)
from gputensor.errors import AxisError, ShapeError
from gputensor.ops.axes import Axis, checked_axis, one_axis
from gputensor.ops.data_type import astype
from gputensor.options import integer, ints

__all__ = [
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_arrays",
    "broadcast_to",
    "concat",
    "expand_dims",
    "flatten",
    "flip",
    "hstack",
    "matrix_transpose",
    "moveaxis",
    "permute_dims",
    "reshape",
    "roll",
    "squeeze",
    "stack",
    "tile",
    "transpose",
    "vstack",
]

_reshape = Primitive(
    "reshape",
    lambda xp, x, shape: xp.reshape(x, shape),
    (lambda xp, g, _out, _x, shape: xp.reshape(g, _x.shape),),
)


def _shape_of(x: Operand) -> tuple[int, ...]:
    shape: tuple[int, ...] = getattr(x, "shape", ())
    return shape


def reshape(x: Operand, /, shape: int | Sequence[int], *, copy: bool | None = None) -> Tensor:
    """Same elements, row by row, in another shape.

    Parameters
    ----------
    x : Tensor or array
    shape : int or sequence of ints
        One entry may be -1: whatever is left.
    copy : bool, optional
        True always copies; False raises instead of copying; None copies where strides need it.

    Returns
    -------
    Tensor

    Raises
    ------
    ShapeError
        If the number of elements differs, or with ``copy=False`` if strides need a copy.

    Examples
    --------
    >>> gt.reshape(gt.arange(6), (2, -1))
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    sizes = ints("reshape", "shape", shape)
    if copy is False:
        _check_viewable(as_array("reshape", x), sizes)
    out = _reshape(x, shape=sizes)
    if copy:
        return astype(out, out.dtype)
    if isinstance(x, Tensor):
        note_view(out, x, _RESHAPED, out.shape)
    return out


def _check_viewable(x: Operand, shape: tuple[int, ...]) -> None:
    array = x.array if isinstance(x, Tensor) else x
    try:
        backend.namespace(array).reshape(array, shape, copy=False)
    except ValueError as error:
        raise ShapeError(f"reshape: copy=False, x has shape {_shape_of(x)}: {error}") from None


_RESHAPED = View(reshape, lambda x, value, shape, own: reshape(value, x.shape))


def flatten(x: Operand, /) -> Tensor:
    """All elements in one axis, row by row.

    Examples
    --------
    >>> gt.flatten(gt.tensor([[1, 2], [3, 4]]))
    tensor([1, 2, 3, 4])
    """
    return reshape(x, (-1,))


def _inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


_permute_dims = Primitive(
    "permute_dims",
    lambda xp, x, axes: xp.transpose(x, axes),
    (lambda xp, g, _out, _x, axes: xp.permute_dims(g, _inverse(axes)),),
)


def permute_dims(x: Operand, /, axes: tuple[int, ...]) -> Tensor:
    """View with the axes in another order: axis ``i`` of the result is axis ``axes[i]`` of `x`.

    Raises
    ------
    ShapeError
        If `axes` does not name every axis of `x` once.

    Examples
    --------
    >>> gt.permute_dims(gt.ones((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """
    x = as_array("permute_dims", x)
    shape = _shape_of(x)
    axes = ints("permute_dims", "axes", axes)
    checked_axis("permute_dims", x, axes)
    if len(axes) != len(shape):
        raise ShapeError(f"permute_dims: axes {axes} must name each axis of shape {shape}")
    axes = tuple(a % len(shape) for a in axes)
    out = _permute_dims(x, axes=axes)
    if isinstance(x, Tensor):
        note_view(out, x, _PERMUTED, axes)
    return out


_PERMUTED = View(permute_dims, lambda x, value, axes, own: permute_dims(value, _inverse(axes)))


def transpose(x: Operand, /, axes: tuple[int, ...] | None = None) -> Tensor:
    """View with the axes reversed, or in the order of `axes`, as NumPy's transpose.

    Examples
    --------
    >>> gt.transpose(gt.ones((2, 3))).shape
    (3, 2)
    """
    x = as_array("transpose", x)
    return permute_dims(x, tuple(reversed(range(len(_shape_of(x))))) if axes is None else axes)


def matrix_transpose(x: Operand, /) -> Tensor:
    """View with the last two axes exchanged.

    Raises
    ------
    ShapeError
        If `x` has fewer than two axes.

    Examples
    --------
    >>> gt.matrix_transpose(gt.ones((5, 2, 3))).shape
    (5, 3, 2)
    """
    x = as_array("matrix_transpose", x)
    n = len(_shape_of(x))
    if n < 2:
        raise ShapeError(f"matrix_transpose: x needs two axes or more, its shape is {_shape_of(x)}")
    return permute_dims(x, (*range(n - 2), n - 1, n - 2))


_broadcast_to = Primitive(
    "broadcast_to",
    lambda xp, x, shape: xp.broadcast_to(x, shape),
    (lambda xp, g, _out, _x, shape: g,),  # the tape sums over the broadcast axes
)


def broadcast_to(x: Operand, /, shape: tuple[int, ...]) -> Tensor:
    """Copy of `x` repeated along axes of length 1 and new leading axes until it has `shape`.

    Raises
    ------
    ShapeError
        If `x` cannot be broadcast to `shape`.

    Examples
    --------
    >>> gt.broadcast_to(gt.tensor([1, 2]), (2, 2))
    tensor([[1, 2],
            [1, 2]])
    """
    x = as_array("broadcast_to", x)
    sizes, given = ints("broadcast_to", "shape", shape), _shape_of(x)
    if len(given) > len(sizes):
        raise ShapeError(f"broadcast_to: x has shape {given}, which has more axes than {sizes}")
    return _broadcast_to(x, shape=sizes)


def broadcast_arrays(*arrays: Operand) -> list[Tensor]:
    """Copies of arrays, repeated until all have the shape that they broadcast to.

    Raises
    ------
    ShapeError
        If they do not broadcast.

    Examples
    --------
    >>> [x.shape for x in gt.broadcast_arrays(gt.ones((2, 1)), gt.ones(3))]
    [(2, 3), (2, 3)]
    """
    given = [as_array("broadcast_arrays", a) for a in arrays]
    shapes = [_shape_of(a) for a in given]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(f"broadcast_arrays: shapes {shapes} do not broadcast") from None
    return [broadcast_to(a, shape) for a in given]


def moveaxis(
    x: Operand, source: int | tuple[int, ...], destination: int | tuple[int, ...], /
) -> Tensor:
    """View with axes moved to other positions; the others stay in order.

    Parameters
    ----------
    x : Tensor or array
    source, destination : int or tuple of ints
        Which axes, and their positions in the result.

    Raises
    ------
    ShapeError
        If one is not an axis of `x`, is named twice, or there are not as many of both.

    Examples
    --------
    >>> gt.moveaxis(gt.ones((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    x = as_array("moveaxis", x)
    n = len(_shape_of(x))
    places = []
    for name, value in (("source", source), ("destination", destination)):
        axes = ints("moveaxis", name, value)
        checked_axis("moveaxis", x, axes)
        places.append([a % n for a in axes])
    old, new = places
    if len(old) != len(new):
        raise ShapeError(f"moveaxis: {len(old)} axes for {len(new)} positions")
    order = [a for a in range(n) if a not in old]
    for place, axis in sorted(zip(new, old, strict=True)):
        order.insert(place, axis)
    return permute_dims(x, tuple(order))


_flip = Primitive(
    "flip",
    lambda xp, x, axis: xp.flip(x, axis=axis),
    (lambda xp, g, _out, _x, axis: xp.flip(g, axis=axis),),
)


def flip(x: Operand, /, axis: Axis = None) -> Tensor:
    """View with the elements along `axis` (by default all axes) in reverse order.

    Raises
    ------
    ShapeError
        If `axis` is not an axis of `x`.

    Examples
    --------
    >>> gt.flip(gt.tensor([1, 2, 3]))
    tensor([3, 2, 1])
    """
    x = as_array("flip", x)
    axis = checked_axis("flip", x, axis)
    if not _shape_of(x):  # which CuPy refuses
        return reshape(x, ())
    out = _flip(x, axis=axis)
    if isinstance(x, Tensor):
        note_view(out, x, _FLIPPED, axis)
    return out


_FLIPPED = View(
    lambda x, axis: flip(x, axis=axis), lambda x, value, axis, own: flip(value, axis=axis)
)


_roll = Primitive(
    "roll",
    # Along no axis NumPy's fails.
    lambda xp, x, shift, axis: xp.roll(x, shift, axis=axis) if axis else x.copy(),
    (
        lambda xp, g, _out, _x, shift, axis: (
            xp.roll(g, tuple(-n for n in shift), axis=axis) if axis else g
        ),
    ),
)


def roll(x: Operand, /, shift: int | tuple[int, ...], axis: Axis = None) -> Tensor:
    """Copy with the elements moved along axes; those that leave at an end come in at the other.

    Parameters
    ----------
    x : Tensor or array
    shift : int or tuple of ints
        By how much, for each axis.
    axis : int or tuple of ints, optional
        By default the elements are one row, and keep the shape of `x`.

    Raises
    ------
    ShapeError
        If `axis` is not an axis of `x`, or there are not as many shifts.

    Examples
    --------
    >>> gt.roll(gt.tensor([1, 2, 3]), 1)
    tensor([3, 1, 2])
    """
    x = as_array("roll", x)
    shifts = ints("roll", "shift", shift)
    if axis is None:
        if len(shifts) > 1:
            raise ShapeError(f"roll: {len(shifts)} shifts need as many axes")
        return reshape(_roll(flatten(x), shift=shifts, axis=(0,)), _shape_of(x))
    axes = ints("roll", "axis", axis)
    for a in axes:
        checked_axis("roll", x, a)
    if len(shifts) == 1:
        shifts *= len(axes)
    if len(shifts) != len(axes):
        raise ShapeError(f"roll: {len(shifts)} shifts for {len(axes)} axes")
    # Each axis once and in ascending order, as CuPy sorts them apart from their shifts.
    total = dict.fromkeys(sorted(a % len(_shape_of(x)) for a in axes), 0)
    for a, n in zip(axes, shifts, strict=True):
        total[a % len(_shape_of(x))] += n
    return _roll(x, shift=tuple(total.values()), axis=tuple(total))


def _tile_rule(xp: Any, g: Any, _out: Any, _x: Any, repetitions: tuple[int, ...]) -> Any:
    shape = (1,) * (len(repetitions) - len(_x.shape)) + _x.shape
    pairs = [n for pair in zip(repetitions, shape, strict=True) for n in pair]
    return xp.sum(xp.reshape(g, tuple(pairs)), axis=tuple(range(0, len(pairs), 2)))


_tile = Primitive("tile", lambda xp, x, repetitions: xp.tile(x, repetitions), (_tile_rule,))


def tile(x: Operand, repetitions: int | tuple[int, ...], /) -> Tensor:
    """The whole array several times along each axis.

    Parameters
    ----------
    x : Tensor or array
    repetitions : int or tuple of ints
        How often, for the last axes; where there are more than axes, the result has new ones.

    Raises
    ------
    ValueError
        If a number is negative.

    Examples
    --------
    >>> gt.tile(gt.tensor([1, 2]), (2, 2))
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    x = as_array("tile", x)
    times = ints("tile", "repetitions", repetitions)
    if any(n < 0 for n in times):
        raise ValueError(f"tile: repetitions are {times}; they must not be negative")
    return _tile(x, repetitions=(1,) * (len(_shape_of(x)) - len(times)) + times)


def expand_dims(x: Operand, /, axis: int | tuple[int, ...] = 0) -> Tensor:
    """View with a new axis of length 1 at position `axis` of the result, or at several.

    Raises
    ------
    ShapeError
        If the result has no such axis, or one is named twice.

    Examples
    --------
    >>> gt.expand_dims(gt.ones(3), axis=0).shape
    (1, 3)
    """
    return _with_axis("expand_dims", x, axis)


def _with_axis(name: str, x: Operand, axis: int | tuple[int, ...]) -> Tensor:
    x = as_array(name, x)
    shape = _shape_of(x)
    axes = ints(name, "axis", axis)
    n = len(shape) + len(axes)
    for a in axes:
        if not -n <= a < n:
            raise AxisError(
                f"{name}: axis {a} is out of range for shape {shape}; allowed are {-n} to {n - 1}"
            )
    new = {a % n for a in axes}
    if len(new) != len(axes):
        raise ShapeError(f"{name}: axis {axis} names an axis twice")
    old = iter(shape)
    return reshape(x, tuple(1 if a in new else next(old) for a in range(n)))


def _at_least(ndim: int, arrays: Sequence[Operand]) -> Any:
    name = f"atleast_{ndim}d"

    def one(x: Operand) -> Tensor:
        x = x if isinstance(x, Tensor) else as_array(name, raw_operand(name, x))
        n = len(_shape_of(x))
        # NumPy puts the axis of a vector in the middle of three, those of a matrix before the last.
        front = max(0, ndim - n) if ndim < 3 or not 1 <= n <= 2 else 2 - n
        back = max(0, ndim - n - front)
        return reshape(x, (*(1,) * front, *_shape_of(x), *(1,) * back))

    found = tuple(map(one, arrays))
    return found[0] if len(found) == 1 else found


def atleast_1d(*arrays: Operand) -> Any:
    """View of each array with an axis or more: a number as a vector of one element.

    Returns
    -------
    Tensor, or tuple of Tensor if there are several arrays

    Examples
    --------
    >>> gt.atleast_1d(3.0)
    tensor([3.], dtype=float32)
    """
    return _at_least(1, arrays)


def atleast_2d(*arrays: Operand) -> Any:
    """View of each array with two axes or more, a vector as a row; as :func:`atleast_1d`.

    Examples
    --------
    >>> gt.atleast_2d(gt.ones(2)).shape
    (1, 2)
    """
    return _at_least(2, arrays)


def atleast_3d(*arrays: Operand) -> Any:
    """View of each array with three axes or more, (n,) as (1, n, 1) and (m, n) as (m, n, 1).

    Examples
    --------
    >>> gt.atleast_3d(gt.ones(2)).shape
    (1, 2, 1)
    """
    return _at_least(3, arrays)


def squeeze(x: Operand, /, axis: int | tuple[int, ...]) -> Tensor:
    """View without the axes `axis`, which must have length 1.

    Raises
    ------
    ShapeError
        If one is longer, or is not an axis of `x`.

    Examples
    --------
    >>> gt.squeeze(gt.ones((1, 3)), axis=0).shape
    (3,)
    """
    x = as_array("squeeze", x)
    shape = _shape_of(x)
    axes = ints("squeeze", "axis", axis)
    checked_axis("squeeze", x, axes)
    drop = {a % len(shape) for a in axes}
    if any(shape[a] != 1 for a in drop):
        raise ShapeError(f"squeeze: axis {axis} of shape {shape} does not have length 1")
    return reshape(x, tuple(n for i, n in enumerate(shape) if i not in drop))


def _concat_rule(xp: Any, needs: Any, g: Any, _out: Any, *_operands: Any, axis: int) -> list[Any]:
    parts = []
    start = 0
    before = (slice(None),) * (axis % len(g.shape))
    for operand, need in zip(_operands, needs, strict=True):
        stop = start + operand.shape[axis]
        parts.append(None if need is False else g[(*before, slice(start, stop))])
        start = stop
    return parts


_concat = Primitive(
    "concat", lambda xp, *arrays, axis: xp.concatenate(arrays, axis=axis), _concat_rule
)


def concat(arrays: Sequence[Operand], /, axis: int | None = 0) -> Tensor:
    """Join arrays along an axis they have; flattened first with ``axis=None``.

    Parameters
    ----------
    arrays : sequence of Tensor or array
        Equal in shape but for `axis`.
    axis : int or None

    Returns
    -------
    Tensor

    Raises
    ------
    ShapeError
        If there are none, or their shapes do not fit.

    Examples
    --------
    >>> gt.concat([gt.zeros(2), gt.ones(1)])
    tensor([0., 0., 1.], dtype=float32)
    """
    given = _listed("concat", arrays, axis)
    if axis is None:
        return _concat(*[flatten(a) for a in given], axis=0)
    if not _shape_of(given[0]):
        raise ShapeError("concat: a 0-dimensional array has no axis to join along; use gt.stack")
    axis = one_axis("concat", given[0], axis)
    return _concat(*given, axis=axis)


def stack(arrays: Sequence[Operand], /, axis: int = 0) -> Tensor:
    """Join arrays of one shape along a new axis at position `axis` of the result.

    Examples
    --------
    >>> gt.stack([gt.zeros(2), gt.ones(2)], axis=1)
    tensor([[0., 1.],
            [0., 1.]], dtype=float32)
    """
    given, axis = _listed("stack", arrays, axis), integer("stack", "axis", axis)
    shapes = {_shape_of(a) for a in given}
    if len(shapes) > 1:
        found = ", ".join(map(str, sorted(shapes)))
        raise ShapeError(f"stack: arrays must have one shape, found {found}")
    return _concat(*[_with_axis("stack", a, axis) for a in given], axis=axis)


def hstack(arrays: Sequence[Operand], /) -> Tensor:
    """Join arrays along the second axis, or along the only one, as NumPy's hstack.

    Examples
    --------
    >>> gt.hstack([gt.zeros(2), gt.ones(1)])
    tensor([0., 0., 1.], dtype=float32)
    """
    given = [flatten(a) if not _shape_of(a) else a for a in _listed("hstack", arrays)]
    return concat(given, axis=min(1, len(_shape_of(given[0])) - 1))


def vstack(arrays: Sequence[Operand], /) -> Tensor:
    """Join arrays as rows along the first axis, as NumPy's vstack.

    Examples
    --------
    >>> gt.vstack([gt.zeros(2), gt.ones(2)])
    tensor([[0., 0.],
            [1., 1.]], dtype=float32)
    """
    given = _listed("vstack", arrays)
    return concat([reshape(a, (1, -1)) if len(_shape_of(a)) < 2 else a for a in given])


def _listed(name: str, arrays: Any, axis: Any = 0) -> list[Operand]:
    """The operands of a join, nested lists among them as arrays, if there are any."""
    if getattr(axis, "ndim", 0):
        raise TypeError(f"{name}: arrays are one argument; write {name}([x, y])")
    if not np.iterable(arrays) or isinstance(arrays, str):
        raise TypeError(f"{name}: arrays must be a sequence of them, got {arrays!r}")
    given = [as_array(name, a) for a in arrays]
    if not given:
        raise ShapeError(f"{name}: arrays is empty; give at least one")
    return given
