"""The order of axes in memory, which NumPy keeps and CuPy does not."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gputensor.backend.modes import Array


def in_order(function: Callable[..., Array], arrays: Sequence[Any], attrs: dict[str, Any]) -> Array:
    """Result of an elementwise function of CuPy, its axes in the order in memory that NumPy's have.

    NumPy keeps the order of the operands' axes, CuPy makes C's of any. What is a view depends on
    that: a reshape of the result would share its memory on one device alone.
    """
    layouts = [(a.shape, a.strides) for a in arrays if hasattr(a, "strides")]
    axes = order_of_axes(layouts)
    given = [
        a[(None,) * (len(axes) - a.ndim)].transpose(axes) if _has_layout(a) else a for a in arrays
    ]
    return at_axes(function(*given, **attrs), axes)


def _has_layout(x: Any) -> bool:
    return hasattr(x, "strides") and not isinstance(x, np.generic)


def at_axes(x: Array, axes: Sequence[int]) -> Array:
    """The array with its axes at places `axes`: of its memory, but no view of it."""
    back = sorted(range(len(axes)), key=axes.__getitem__)
    if x.base is not None or isinstance(x, np.ndarray) or hasattr(x, "recording"):
        return x.transpose(back)  # a view of an operand, or a tracer
    shape, strides = (tuple(part[i] for i in back) for part in (x.shape, x.strides))
    return type(x)(shape, x.dtype, x.data, strides)


def order_of_axes(layouts: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> list[int]:
    """Axes of what NumPy computes of arrays of some shapes and strides, outermost first."""
    # Never read, and of as little memory as has the same order of axes.
    alike = [
        np.lib.stride_tricks.as_strided(np.empty((), bool), [min(n, 2) for n in shape], strides)
        for shape, strides in layouts
    ]
    flags: Any = [["readonly"]] * len(alike) + [["writeonly", "allocate"]]
    out = np.nditer([*alike, None], ["zerosize_ok"], flags, order="K").operands[-1]
    return sorted(range(out.ndim), key=lambda i: -out.strides[i])


def in_c_order(x: Array) -> Array:
    """The array, its elements in C's order in memory: a copy where they are not."""
    return x if x.flags.c_contiguous else x.copy("C")


def broadcast_axes(shape: tuple[int, ...], to: tuple[int, ...]) -> tuple[int, ...]:
    """Axes of `shape` that an operand of the shape `to` was broadcast along."""
    extra = len(shape) - len(to)
    ones = (i + extra for i, n in enumerate(to) if n == 1 and shape[i + extra] != 1)
    return (*range(extra), *ones)
