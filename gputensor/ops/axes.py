"""The axis argument of operations."""

import math
import operator
from typing import TypeAlias

from gputensor.autograd import Operand
from gputensor.errors import AxisError, ShapeError
from gputensor.options import integer

__all__ = ["Axis", "any_zero", "axes_of", "checked_axis", "count_of", "kept_shape", "one_axis"]

Axis: TypeAlias = int | tuple[int, ...] | None


def axes_of(shape: tuple[int, ...], axis: Axis) -> list[int]:
    """Axes that a reduction over `axis` takes away, in ascending order."""
    if axis is None:
        return list(range(len(shape)))
    return sorted(a % len(shape) for a in ((axis,) if isinstance(axis, int) else axis))


def count_of(shape: tuple[int, ...], axis: Axis) -> int:
    """Elements that a reduction over `axis` makes one of."""
    return math.prod(shape[a] for a in axes_of(shape, axis))


def kept_shape(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """Shape that a reduction over `axis` has with ``keepdims=True``."""
    if axis is None:
        return (1,) * len(shape)
    axes = axes_of(shape, axis)
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def checked_axis(name: str, x: Operand, axis: Axis) -> Axis:
    """The axis argument, if it names axes of `x`, each once.

    Raises
    ------
    ShapeError
        Otherwise, naming the axis and the shape.
    """
    if axis is None:
        return None
    shape = getattr(x, "shape", ())
    try:
        axes = tuple(map(operator.index, axis if isinstance(axis, (tuple, list)) else (axis,)))
    except (TypeError, ShapeError):
        raise TypeError(
            f"{name}: axis must be an int, a tuple of ints or None, got {axis!r}"
        ) from None
    for a in axes:
        if not -len(shape) <= a < len(shape):
            allowed = (
                f"allowed are {-len(shape)} to {len(shape) - 1}" if shape else "it has no axes"
            )
            raise AxisError(f"{name}: axis {a} is out of range for shape {shape}; {allowed}")
    if len({a % len(shape) for a in axes}) != len(axes):
        raise ShapeError(f"{name}: axis {axis} names an axis twice")
    return axes if isinstance(axis, (tuple, list)) else axes[0]


def one_axis(name: str, x: Operand, axis: int) -> int:
    """:func:`checked_axis` where there must be just one."""
    checked_axis(name, x, (integer(name, "axis", axis),))
    return operator.index(axis)


def any_zero(shape: tuple[int, ...], axis: Axis) -> bool:
    """Whether a reduction of `shape` over `axis` has nothing to choose from."""
    return count_of(shape, axis) == 0
