"""What a function of arrays computes, element by element, from a run of it without values.

It is run on arrays that have shapes and dtypes only: that leaves the maps it consists of, and sums
over what comes of them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gputensor import backend
from gputensor.backend import Array, Device
from gputensor.graph import passes
from gputensor.graph.fuse import Group
from gputensor.graph.ir import Node, Value, dense_strides, map_values
from gputensor.graph.kernel_groups import follows, fusable, joins, reduction_of
from gputensor.graph.trace import Recording
from gputensor.graph.tracer import TRACING, CudaTracer, Tracer

__all__ = ["Operand", "Outlined", "outlined"]


class OutlineTracer(CudaTracer):
    """An array of which only shape and dtype are known."""

    __slots__ = ()

    @staticmethod
    def namespace() -> Any:
        """Namespace of such tracers: NumPy's functions tell shapes and dtypes."""
        return TRACING[backend.NAMESPACES[np.ndarray]]


class Outline(Recording):
    """A recording of a function of such arrays. Those that it computes with are small."""

    def _tracer(self, array: Array, memory: Any) -> Tracer:
        made = object.__new__(OutlineTracer)
        made.recording, made.value, made.buffer, made.base = self, array, memory.buffer, None
        made.is_number = False
        return made

    def operand(self, dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> Tracer:
        """An array as an argument of the graph."""
        array = np.ones(tuple(min(n, 2) for n in shape), dtype)
        made = self._tracer(array, self._admit(array, "argument"))
        self.graph.arguments.append(self.value_of(array))
        return made


class Operand(NamedTuple):
    """An array that a function is given: what is known of it."""

    dtype: "np.dtype[Any]"
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Outlined(NamedTuple):
    """What a function computes.

    Attributes
    ----------
    group : Group
        Empty if it only gives what it was given.
    after : list of Node
        What is computed of sums.
    operands : list of Value
        Its arrays.
    results : list of Value or int
        What it computes, or the number of the array that it gives as it is.
    """

    group: Group
    after: list[Node]
    operands: list[Value]
    results: list[Any]


def outlined(
    function: Callable[..., Any], operands: list[Any], attrs: dict[str, Any]
) -> Outlined | None:
    """What a function of arrays computes; None if that is more than one kernel's new arrays.

    Parameters
    ----------
    function : callable
        ``function(xp, *operands, **attrs)`` gives an array or a tuple of them.
    operands : list
        An :class:`Operand` for each array, others as they are.
    attrs : dict
    """
    outline = Outline(Device("cuda"))
    arrays = [o for o in operands if type(o) is Operand]
    given = [outline.operand(o.dtype, o.shape) if type(o) is Operand else o for o in operands]
    tracers = [g for g in given if isinstance(g, Tracer)]
    backend.set_recording(outline)
    try:
        with np.errstate(all="ignore"):
            found = function(OutlineTracer.namespace(), *given, **attrs)
    except Exception:  # what is wrong the function itself says, when it is called
        return None
    finally:
        backend.set_recording(None)
    found = found if type(found) is tuple else (found,)
    if outline.reason is not None or not all(isinstance(f, OutlineTracer) for f in found):
        return None
    results: list[Any] = [next((i for i, t in enumerate(tracers) if t is f), None) for f in found]
    graph = outline.graph
    values = [outline.value_of(f.value) for f in found]
    graph.result = [v for v, i in zip(values, results, strict=True) if i is None]
    before = [*graph.arguments]
    graph = passes.simplified(graph)
    full = np.broadcast_shapes(*(o.shape for o in arrays))
    shapes = {tuple(min(n, 2) for n in full): full}  # by those that it was run with
    fits = all(v.buffer.kind == "temporary" for v in graph.result)
    if not fits or not all(n.kind in ("map", "reduce") and fusable(n) for n in graph.nodes):
        return None
    own = {v.buffer.number: (v, o) for v, o in zip(before, arrays, strict=True)}

    def grown(leaf: Any) -> Any:
        """A value of the small arrays as one of the true ones."""
        if type(leaf) is not Value:
            return leaf
        if leaf.buffer.number not in own:
            if not leaf.dense():
                raise LookupError
            shape = shapes[leaf.shape]
            return leaf._replace(shape=shape, strides=dense_strides(shape, leaf.dtype.itemsize))
        whole, operand = own[leaf.buffer.number]
        if not leaf.same_place(whole):
            raise LookupError
        return leaf._replace(shape=operand.shape, strides=operand.strides)

    group, after = Group(full), Group(())
    try:
        for node in graph.nodes:
            args = map_values(grown, node.args)
            if node.kind == "reduce":
                shapes[node.outputs[0].shape] = _reduced(node, args[0].shape)
            outputs = tuple(map(grown, node.outputs))
            kwargs = node.kwargs if node.kind == "reduce" else {}
            made = Node(node.kind, node.op, args, kwargs, outputs, node.place)
            made.writes, made.into = node.writes, node.into
            if not _takes(group, after, made):
                return None
        made_by = iter([grown(v) for v in graph.result])
        results = [next(made_by) if i is None else i for i in results]
        before = [grown(v) for v in before]
    except LookupError:  # it takes views
        return None
    if after.nodes and not follows(group, (), after):
        return None
    group.inner = {v.buffer.number for n in (*group.nodes, *after.nodes) for v in n.outputs}
    group.inner -= {r.buffer.number for r in results if type(r) is Value}
    return Outlined(group, after.nodes, before, results)


def _reduced(node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of what a reduction makes of an array of that shape."""
    one = reduction_of(node)
    assert one is not None
    keeps = len(one.out.shape) == len(shape)
    return tuple(
        1 if i in one.axes else n for i, n in enumerate(shape) if keeps or i not in one.axes
    )


def _takes(group: Group, after: Group, node: Node) -> bool:
    """Put a node where it belongs, if one kernel can do both."""
    out = node.outputs[0]
    if node.kind == "reduce":
        takes = node.inputs[0].shape == group.shape and joins(group, node)
    elif out.shape == group.shape:
        sums = {n.outputs[0].buffer for n in group.nodes if n.kind == "reduce"}
        sums |= {n.outputs[0].buffer for n in after.nodes}
        takes = not any(v.buffer in sums for v in node.inputs)
    else:
        if not after.nodes:
            after.shape = out.shape
        group, takes = after, out.shape == after.shape
    if takes:
        group.nodes.append(node)
    return takes
