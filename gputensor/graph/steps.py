"""Nodes of a graph as loops of NumPy's, each with its operands."""

import math
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.graph import loops
from gputensor.graph.ir import Node, Value, dense_strides
from gputensor.graph.loops import Loop

__all__ = ["Register", "Step", "is_sum", "is_total", "steps_of", "sum_layout"]

_HOST = backend.NAMESPACES[np.ndarray]
_COPIES = {"assign", "astype", "broadcast_to", "copy"}


class Register:
    """A piece of a group's elements, or those that are summed together."""

    __slots__ = ("dtype", "place", "summed")

    def __init__(self, dtype: "np.dtype[Any]") -> None:
        self.dtype = dtype
        self.place = 0
        self.summed = False


class Step:
    """A loop and its operands, the result last: values, registers and numbers."""

    __slots__ = ("loop", "operands")

    def __init__(self, loop: Loop, operands: list[Any]) -> None:
        self.loop = loop
        self.operands = operands


def steps_of(node: Node) -> list[Step] | None:
    """A map as loops; None if there are none for it."""
    if node.kind != "map" or node.kwargs or not loops.usable():
        return None
    out = node.outputs[0]
    if any(v.overlaps(out) and not v.same_place(out) for v in node.inputs):
        return None
    made: list[Step] = []

    def run(loop: Loop | None, operands: list[Any], result: Any) -> Any:
        if loop is None:
            raise LookupError
        made.append(Step(loop, [*operands, result]))
        return result

    def converted(item: Any, target: "np.dtype[Any]") -> Any:
        if not isinstance(item, (Value, Register)):
            with np.errstate(all="ignore"):
                return np.asarray(item).astype(target)
        if item.dtype == target:
            return item
        return run(loops.find_cast(item.dtype, target), [item], Register(target))

    try:
        if node.op in _COPIES:
            item = node.args[0]
            item = item if isinstance(item, Value) else converted(item, out.dtype)
            run(loops.find_cast(item.dtype, out.dtype), [item], out)
            return made
        if node.op == "where":
            condition, *both = node.args
            dtype = np.result_type(*(b.dtype if isinstance(b, Value) else b for b in both))
            numbers = tuple(i for i, b in enumerate(node.args) if not isinstance(b, Value))
            loop = loops.find_choice(dtype.itemsize, numbers)
            operands = [converted(condition, np.dtype(bool)), *(converted(b, dtype) for b in both)]
        else:
            ufunc = getattr(_HOST, node.op)
            if not isinstance(ufunc, np.ufunc):
                return None
            kinds = [a.dtype if hasattr(a, "dtype") else type(a) for a in node.args]
            dtypes = ufunc.resolve_dtypes((*kinds, None))
            dtype = dtypes[-1]
            loop = loops.find(ufunc, dtypes)
            operands = [converted(a, d) for a, d in zip(node.args, dtypes, strict=False)]
        if dtype == out.dtype:
            run(loop, operands, out)
        else:
            register = run(loop, operands, Register(dtype))
            run(loops.find_cast(dtype, out.dtype), [register], out)
    except (LookupError, TypeError):
        return None
    return made


def is_sum(node: Node) -> bool:
    """Whether a node is a sum that one loop computes as NumPy does."""
    return node.kind == "reduce" and sum_layout(node) is not None


def is_total(node: Node) -> bool:
    """Whether a node is a sum of all elements of an array, that one loop computes."""
    return is_sum(node) and node.outputs[0].size == 1


def sum_layout(node: Node) -> tuple[int, int, int, bool] | None:
    """Rows, columns, and the distance of rows of a sum; whether it goes along the columns.

    None if it is no sum of a matrix along one of its axes, or of all of an array in one piece.
    """
    name = node.op if isinstance(node.op, str) else node.op.__name__
    if (
        not loops.usable()
        or name != "sum"
        or len(node.args) != 1
        or node.kwargs.keys() - {"axis", "dtype", "keepdims"}
    ):
        return None
    x, out = node.args[0], node.outputs[0]
    if x.dtype != out.dtype or x.dtype.char not in "fd" or x.size == 0:
        return None
    if out.strides != dense_strides(out.shape, out.dtype.itemsize):
        return None
    axis = node.kwargs.get("axis")
    shape, itemsize = x.shape, x.dtype.itemsize
    over = range(len(shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = sorted(a % len(shape) for a in over)
    if x.strides != dense_strides(shape, itemsize):
        return None
    first, count = len(shape) - len(axes), len(axes)
    if axes == list(range(first, len(shape))):  # the last axes
        columns = math.prod(shape[first:])
        return x.size // max(columns, 1), columns, columns * itemsize, True
    if axes == list(range(count)):  # the first
        rows = math.prod(shape[:count])
        if rows == x.size:  # axes of length 1 are left: it is all in one piece
            return 1, rows, rows * itemsize, True
        return rows, x.size // rows, x.size // rows * itemsize, False
    return None
