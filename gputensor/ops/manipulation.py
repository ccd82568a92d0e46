"""Shapes: reshape, transpose, broadcast, join."""

import math
from collections.abc import Sequence
from typing import Any

from gputensor.autograd import Operand, Primitive, Tensor
from gputensor.errors import ShapeError
from gputensor.ops.statistical import checked_axis

__all__ = [
    "broadcast_to",
    "concat",
    "expand_dims",
    "flatten",
    "matrix_transpose",
    "permute_dims",
    "reshape",
    "squeeze",
    "stack",
    "transpose",
]

_reshape = Primitive(
    "reshape",
    lambda xp, x, shape: xp.reshape(x, shape),
    (lambda xp, g, _out, _x, shape: xp.reshape(g, _x.shape),),
)


def _shape_of(x: Operand) -> tuple[int, ...]:
    shape: tuple[int, ...] = getattr(x, "shape", ())
    return shape


def reshape(x: Operand, /, shape: int | Sequence[int]) -> Tensor:
    """Same elements, row by row, in another shape.

    Parameters
    ----------
    x : Tensor or array
    shape : int or sequence of ints
        One entry may be -1: whatever is left.

    Returns
    -------
    Tensor
        In the same memory where strides allow it.

    Raises
    ------
    ShapeError
        If the number of elements differs.
    """
    target = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
    return _reshape(x, shape=target)


def flatten(x: Operand, /) -> Tensor:
    """All elements in one axis, row by row."""
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
    """
    shape = _shape_of(x)
    checked_axis("permute_dims", x, tuple(axes))
    if len(axes) != len(shape):
        raise ShapeError(f"permute_dims: axes {tuple(axes)} must name each axis of shape {shape}")
    return _permute_dims(x, axes=tuple(a % len(shape) for a in axes))


def transpose(x: Operand, /, axes: tuple[int, ...] | None = None) -> Tensor:
    """View with the axes reversed, or in the order of `axes`, as NumPy's transpose."""
    return permute_dims(x, tuple(reversed(range(len(_shape_of(x))))) if axes is None else axes)


def matrix_transpose(x: Operand, /) -> Tensor:
    """View with the last two axes exchanged.

    Raises
    ------
    ShapeError
        If `x` has fewer than two axes.
    """
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
    """
    return _broadcast_to(x, shape=tuple(shape))


def expand_dims(x: Operand, /, axis: int = 0) -> Tensor:
    """View with a new axis of length 1 at position `axis` of the result."""
    shape = _shape_of(x)
    if not -len(shape) - 1 <= axis <= len(shape):
        raise ShapeError(
            f"expand_dims: axis {axis} is out of range for shape {shape}; "
            f"allowed are {-len(shape) - 1} to {len(shape)}"
        )
    at = axis % (len(shape) + 1)
    return reshape(x, (*shape[:at], 1, *shape[at:]))


def squeeze(x: Operand, /, axis: int | tuple[int, ...]) -> Tensor:
    """View without the axes `axis`, which must have length 1.

    Raises
    ------
    ShapeError
        If one is longer, or is not an axis of `x`.
    """
    shape = _shape_of(x)
    checked_axis("squeeze", x, axis)
    drop = {a % len(shape) for a in ((axis,) if isinstance(axis, int) else axis)}
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


def concat(arrays: Sequence[Operand], /, *, axis: int | None = 0) -> Tensor:
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
    """
    if not len(arrays):
        raise ShapeError("concat: arrays is empty; give at least one")
    if axis is None:
        return _concat(*[flatten(a) for a in arrays], axis=0)
    checked_axis("concat", arrays[0], axis)
    return _concat(*arrays, axis=axis)


def stack(arrays: Sequence[Operand], /, *, axis: int = 0) -> Tensor:
    """Join arrays of one shape along a new axis at position `axis` of the result."""
    if not len(arrays):
        raise ShapeError("stack: arrays is empty; give at least one")
    shapes = {_shape_of(a) for a in arrays}
    if len(shapes) > 1:
        found = ", ".join(map(str, sorted(shapes)))
        raise ShapeError(f"stack: arrays must have one shape, found {found}")
    return _concat(*[expand_dims(a, axis) for a in arrays], axis=axis)


def size_of(shape: tuple[int, ...]) -> int:
    """Number of elements of an array of `shape`."""
    return math.prod(shape)
