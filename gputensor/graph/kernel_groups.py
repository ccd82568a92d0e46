"""What may be one generated kernel: maps and reductions, and how they may go together."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gputensor.graph.formulas import compute_type, formula_of, is_clipping
from gputensor.graph.fuse import Group, order_of, steps_along
from gputensor.graph.ir import Node, Value
from gputensor.kernels.runtime import is_narrow

__all__ = ["Reduction", "follows", "fusable", "joins", "place_of", "reduction_of"]

_MOST_READ, _MOST_NODES = 40, 150
_MOST_SUMMED = 160  # bytes of the totals of a thread: a block's are in shared memory


class Reduction(NamedTuple):
    """A sum or the like.

    Attributes
    ----------
    begin : str
        What it begins with, of the type that is added up.
    join : str
        Expression of x and y.
    axes : tuple of int
    source, out : Value
    dtype : dtype
        That is added up.
    mean : bool
        Whether the sum is divided by the number of elements.
    """

    begin: str
    join: str
    axes: tuple[int, ...]
    source: Value
    out: Value
    dtype: "np.dtype[Any]"
    mean: bool

    @property
    def ordered(self) -> bool:
        """Whether the order decides on bits."""
        return self.dtype.kind == "f" and self.join in ("x + y", "x * y")

    def spread(self, value: Value, shape: tuple[int, ...]) -> Value:
        """What is broadcast to a shape, that of the result but for axes of length 1, as it is
        broadcast to the operand's.
        """
        steps = steps_along(value, shape)
        long = (step for n, step in zip(shape, steps, strict=True) if n != 1)
        strides = tuple(
            next(long) if i not in self.axes and n != 1 else 0
            for i, n in enumerate(self.source.shape)
        )
        return value._replace(shape=self.source.shape, strides=strides)


_UFUNCS: dict[Any, str] = {np.add: "sum", np.multiply: "prod", np.maximum: "max", np.minimum: "min"}
_JOINS = {
    "sum": ("0", "x + y"),
    "mean": ("0", "x + y"),
    "prod": ("1", "x * y"),
    "max": ("-infinity<{T}>()", "maximum(x, y)"),
    "min": ("infinity<{T}>()", "minimum(x, y)"),
    "any": ("0", "x || y"),
    "all": ("1", "x && y"),
}


def reduction_of(node: Node) -> Reduction | None:
    """What a node adds up; None if there is no kernel for it."""
    if node.kind != "reduce" or len(node.outputs) != 1 or not isinstance(node.args[0], Value):
        return None
    ufunc = getattr(node.op, "__self__", None)
    name = _UFUNCS.get(ufunc, "") if isinstance(ufunc, np.ufunc) else node.name
    options = dict(zip(("axis", "dtype"), node.args[1:], strict=False)) | node.kwargs
    if name not in _JOINS or len(node.args) > 3 or options.keys() - {"axis", "dtype", "keepdims"}:
        return None
    x, out = node.args[0], node.outputs[0]
    ndim = len(x.shape)
    axis = options.get("axis", 0 if isinstance(ufunc, np.ufunc) else None)
    axes = range(ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(sorted(a % ndim for a in axes))
    if not axes or 0 in x.shape or x.dtype.kind not in "fViub" or x.overlaps(out):
        return None
    if min(x.strides) < 0 and name in ("sum", "prod", "mean"):  # CuPy's order is another
        return None
    dtype = out.dtype
    if name in ("any", "all"):
        if dtype.kind != "b":
            return None
    elif dtype.kind in "iu":
        if x.dtype.kind == "f" or name == "mean" or (name in ("max", "min") and x.dtype != dtype):
            return None
    elif dtype.kind not in "fV":
        return None
    if is_narrow(dtype):
        dtype = np.dtype(np.float32)
    begin, join = _JOINS[name]
    if name in ("max", "min") and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        begin = str(limits.max if name == "min" else limits.min + (dtype.kind == "i"))
        begin += "ULL" if dtype.kind == "u" else "LL - 1" if name == "max" else "LL"
    begin = begin.replace("{T}", compute_type(dtype))
    return Reduction(begin, join, axes, x, out, dtype, name == "mean")


def fusable(node: Node) -> bool:
    """Whether a node may be in a group that becomes a kernel."""
    if node.kind == "reduce":
        if reduction_of(node) is None:
            return False
    elif formula_of(node) is None:
        return False
    values = [*node.inputs, *node.outputs]
    out = node.outputs[0]
    return all(
        not any(step % v.dtype.itemsize for step in (v.offset, *v.strides)) for v in values
    ) and not any(v.overlaps(out) and not v.same_place(out) for v in node.inputs)


def joins(group: Group, node: Node) -> bool:
    """Whether a node may join a group whose shape it has."""
    sums = reductions_of(group)
    if any(v.overlaps(one.out) for one in sums for v in (*node.inputs, *node.outputs)):
        return False
    own = reduction_of(node)
    if own is not None and sums:
        size = sum(max(4, one.dtype.itemsize) for one in (*sums, own))
        orders = {order_of(one.source) for one in (*sums, own) if one.ordered}
        if own.axes != sums[0].axes or len(orders) > 1 or size > _MOST_SUMMED:
            return False
    if len(group.nodes) == _MOST_NODES:
        return False
    nodes, shape = (*group.nodes, node), group.shape
    made = {place_of(v, shape) for n in nodes for v in n.outputs}
    read = {place_of(v, shape) for n in nodes for v in n.inputs}
    return len(read - made) <= _MOST_READ


def reductions_of(group: Group) -> list[Reduction]:
    return [one for n in group.nodes if (one := reduction_of(n)) is not None]


def follows(group: Group, after: Sequence[Node], later: Group) -> bool:
    """Whether a group that needs another one's reductions may run at its end, element by element.

    Parameters
    ----------
    group : Group
    after : sequence of Node
        What runs at its end already.
    later : Group
        Nothing that it depends on runs after `group`.
    """
    sums = reductions_of(group)
    if not sums or _long(sums[0].out.shape) != _long(later.shape) or reductions_of(later):
        return False
    if any(map(is_clipping, later.nodes)):  # the norms that it reads are in memory
        return False
    if any(n.outputs[0].shape != later.shape for n in after):
        return False
    totals = [one.out for one in sums] + [n.outputs[0] for n in after]
    outs = [n.outputs[0] for n in group.nodes if n.kind != "reduce"]
    read = [v for n in group.nodes for v in n.inputs]
    for node in later.nodes:
        for value in node.inputs:
            if any(value.overlaps(out) for out in outs):
                return False  # what other threads write
            if any(
                value.overlaps(out) and place_of(value, later.shape) != place_of(out, later.shape)
                for out in totals
            ):
                return False
        # Other threads may not have read yet what is written over.
        if any(v.overlaps(other) for v in node.outputs for other in (*read, *outs)):
            return False
    return len(after) + len(later.nodes) <= _MOST_NODES


def _long(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def place_of(value: Value, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Where the elements of a value lie that go with those of a shape.

    Values that are not broadcast to it are the same whatever axes of length 1 they have.
    """
    if _long(value.shape) != _long(shape):
        return value.buffer.number, *value[2:]
    steps = tuple(s for n, s in zip(value.shape, value.strides, strict=True) if n != 1)
    return value.buffer.number, value.offset, _long(shape), steps, value.dtype
