"""Passes: functions from graph to graph that leave what it computes as it is, to the bit.

Each can be left out, and is named in :data:`PASSES` in the order they are applied in. A graph as a
pass gets it is shown before the arrow in the docstrings, as it leaves it after.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.graph.fuse import steps_along
from gputensor.graph.interpret import function_of
from gputensor.graph.ir import Graph, Node, Value, map_values
from gputensor.kernels import adam_step, clip_norm, sgd_step
from gputensor.tree import leaves

__all__ = ["PASSES", "simplified"]

_COPIES = {"assign", "astype", "broadcast_to", "copy"}
_HOST = backend.NAMESPACES[np.ndarray]


def simplified(graph: Graph, skip: tuple[str, ...] = ()) -> Graph:
    """The graph after all passes but those that `skip` names."""
    for one in PASSES:
        if one.__name__ not in skip:
            one(graph)
    return graph


def _writers(graph: Graph) -> dict[int, list[int]]:
    """By buffer number, the nodes that write to it."""
    found: dict[int, list[int]] = {}
    for i, node in enumerate(graph.nodes):
        for value in node.outputs:
            found.setdefault(value.buffer.number, []).append(i)
    return found


def _needed(graph: Graph) -> set[int]:
    return {value.buffer.number for value in graph.needed()}


def _once(graph: Graph) -> Iterator[tuple[int, Node, Value]]:
    """Maps that alone write their temporary buffer, all of it; with their place and result."""
    writers = _writers(graph)
    for i, node in enumerate(graph.nodes):
        if node.kind != "map":
            continue
        out = node.outputs[0]
        alone = writers[out.buffer.number] == [i]
        if alone and out.buffer.kind == "temporary" and out.dense() and out.whole():
            yield i, node, out


def constants(graph: Graph) -> None:
    """Compute once what depends on nothing.

    ``t1 = arange(3); t2 = add(t1, x); t3 = divide(1, 2) -> t2 = add(c1, x); t3 = assign(0.5)``
    """
    writers, needed = _writers(graph), _needed(graph)
    xp = backend.namespace(graph.device)
    left: list[Node] = []
    for node in graph.nodes:
        if node.kind == "map" and node.op not in _COPIES and not node.inputs and not node.kwargs:
            number = np.empty((), node.outputs[0].dtype)
            with np.errstate(all="ignore"):
                function_of(node, _HOST)(*node.args, out=number)
            node.op, node.args = "assign", (number[()],)
        outs = node.outputs
        fixed = node.kind == "call" and isinstance(node.op, str) and not node.inputs
        if (
            not fixed
            or node.raises
            or any(v.buffer.number in needed or len(writers[v.buffer.number]) > 1 for v in outs)
        ):
            left.append(node)
            continue
        with backend.on_device_of(graph.device):
            found = function_of(node, xp)(*node.args, **node.kwargs)
        arrays = [xp.asarray(leaf) for leaf in leaves(found)]
        if len(arrays) != len(outs) or any(
            a.strides != v.strides or not a.flags.owndata for a, v in zip(arrays, outs, strict=True)
        ):
            left.append(node)
            continue
        for array, value in zip(arrays, outs, strict=True):
            value.buffer.kind = "outside"
            value.buffer.owner = array
            value.buffer.version = 0
    graph.nodes = left
    _renumber(graph)


def copies(graph: Graph) -> None:
    """Let maps read what was copied, broadcast or filled in, in the place of the copy.

    So may others, where that is another result that lies as the copy does.

    ``t1 = broadcast_to(g); t2 = multiply(t1, y) -> t2 = multiply(g, y)``
    """
    writers = _writers(graph)
    for i, node, out in _once(graph):
        if node.op not in _COPIES:
            continue
        source = node.args[0]
        if isinstance(source, Value):
            if source.dtype != out.dtype or source.buffer is out.buffer:
                continue
            strides = steps_along(source, out.shape)
            new: Any = source._replace(shape=out.shape, strides=strides)
            until = min(
                (w for w in writers.get(source.buffer.number, ()) if w > i),
                default=len(graph.nodes),
            )
        elif isinstance(source, (bool, int, float, complex, np.generic)):
            with np.errstate(all="ignore"):
                new = np.asarray(source).astype(out.dtype)[()]
            until = len(graph.nodes)
        else:
            continue
        # Others choose their way by strides and by alignment.
        alike = (
            isinstance(new, Value)
            and (new.strides, new.offset, out.offset) == (out.strides, 0, 0)
            and new.buffer.kind == "temporary"
        )
        for later in graph.nodes[i + 1 : until + 1]:
            if (later.kind == "map" or alike) and not (
                isinstance(new, Value) and any(v.overlaps(new) for v in later.outputs)
            ):
                later.args = map_values(functools.partial(_instead, out, new), later.args)


def _instead(out: Value, new: Any, leaf: Any) -> Any:
    """What is read in the place of a copy, or of a part of it."""
    return new if type(leaf) is Value and _is_copy(leaf, out, new) else leaf


def _is_copy(read: Value, out: Value, new: Any) -> bool:
    """Whether a value that is read is that of a copy, or a part of what one number fills."""
    if isinstance(new, Value):
        return read.same_place(out)
    return read.buffer is out.buffer and read.dtype == out.dtype


def _is_one(leaf: Any) -> bool:
    return isinstance(leaf, (int, float, np.generic)) and bool(leaf == 1)


def units(graph: Graph) -> None:
    """Make copies of products with 1 and quotients by 1, which are exact.

    ``t1 = multiply(x, 1) -> t1 = copy(x)``
    """
    for node in graph.nodes:
        if node.kind != "map" or node.kwargs or len(node.args) != 2:
            continue
        x, y = node.args
        out = node.outputs[0]
        if node.op == "multiply" and _is_one(x):
            x, y = y, x
        if (
            node.op in ("multiply", "divide")
            and isinstance(x, Value)
            and x.dtype == out.dtype
            and x.dtype.kind == "f"
            and _is_one(y)
        ):
            node.op, node.args = "broadcast_to", (x,)


def repeated(graph: Graph) -> None:
    """Compute once what is computed twice from the same values.

    ``t1 = abs(x); t2 = abs(x); t3 = add(t1, t2) -> t1 = abs(x); t3 = add(t1, t1)``
    """
    needed = _needed(graph)
    first: dict[Any, Value] = {}
    gone: dict[int, Value] = {}

    def instead(leaf: Any) -> Any:
        if type(leaf) is Value and leaf.buffer.number in gone:
            return leaf._replace(buffer=gone[leaf.buffer.number].buffer)
        return leaf

    writers = _writers(graph)
    left = []
    for i, node in enumerate(graph.nodes):
        if gone:
            node.args, node.kwargs = map_values(instead, (node.args, node.kwargs))
        pure = node.kind in ("map", "reduce", "call") and isinstance(node.op, str)
        out = node.outputs[0] if len(node.outputs) == 1 else None
        if (
            pure
            and out is not None
            and not node.raises
            and (out.buffer.kind == "temporary" and writers[out.buffer.number] == [i])
        ):
            key = (node.op, _key(node.args), _key(node.kwargs), out[3:])
            before = first.setdefault(key, out)
            if before is not out and out.buffer.number not in needed:
                gone[out.buffer.number] = before
                continue
        left.append(node)
    graph.nodes = left


def _key(tree: Any) -> Any:
    if isinstance(tree, (tuple, list)) and type(tree) is not Value:
        return type(tree), *map(_key, tree)
    if isinstance(tree, dict):
        return dict, *((k, _key(v)) for k, v in tree.items())
    if type(tree) is Value:
        return tree.buffer.number, *tree[1:]
    return type(tree), repr(tree)


def clips(graph: Graph) -> None:
    """Let a step of an optimizer scale its gradients down itself, where it is next to touch them.

    ``g = clip_norm(g, n); p = adam_step(p, g, ...) -> p, g = adam_step(p, g, ..., n, g)``
    """
    left: list[Node] = []
    for i, node in enumerate(graph.nodes):
        step = _step_after(i, graph.nodes) if node.is_kernel(clip_norm) else None
        if step is None:
            left.append(node)
            continue
        g, squared = node.args
        step.args = (step.args[0], g, *step.args[2:])
        step.kwargs = step.kwargs | node.kwargs | {"squared": squared, "clipped": g}
        step.outputs = (*step.outputs, *node.outputs)
        step.writes += 1
    graph.nodes = left
    _renumber(graph)


def _step_after(i: int, nodes: list[Node]) -> Node | None:
    """The step that takes the gradients of the clipping at place `i`, if nothing else does before.

    The norm must be there still, too.
    """
    g, squared = nodes[i].args
    for node in nodes[i + 1 :]:
        if any(v.overlaps(squared) for v in node.outputs):
            return None
        if any(v.overlaps(g) for v in (*node.inputs, *node.outputs)):
            takes = node.is_kernel(adam_step, sgd_step) and node.args[1].same_place(g)
            return node if takes and node.kwargs.get("squared") is None else None
    return None


def unread(graph: Graph) -> None:
    """Leave out what nothing reads.

    ``t1 = exp(x); t2 = log(x); return t2 -> t2 = log(x); return t2``
    """
    live = _needed(graph)
    left = []
    for node in reversed(graph.nodes):
        kept = node.raises or any(
            v.buffer.kind != "temporary" or v.buffer.number in live for v in node.outputs
        )
        if not kept:
            continue
        left.append(node)
        for value in node.outputs:
            if value.dense() and value.whole():
                live.discard(value.buffer.number)
        live.update(v.buffer.number for v in node.inputs)
    graph.nodes = left[::-1]
    _renumber(graph)


def _renumber(graph: Graph) -> None:
    """Count the versions of what is left from 1 on, and let each read be of the last before it.

    That has what the node is to read where it reads, as :func:`~gputensor.graph.ir.verify` sees to.
    """
    now: dict[int, int] = {}

    def read(leaf: Any) -> Any:
        if type(leaf) is not Value:
            return leaf
        return leaf._replace(version=now.get(leaf.buffer.number, 0))

    for node in graph.nodes:
        node.args, node.kwargs = map_values(read, (node.args, node.kwargs))
        outputs = []
        for value in node.outputs:
            number = value.buffer.number
            now[number] = now.get(number, 0) + 1
            outputs.append(value._replace(version=now[number]))
        node.outputs = tuple(outputs)
    graph.result = map_values(read, graph.result)
    graph.kept = [read(value) for value in graph.kept]


PASSES: list[Callable[[Graph], None]] = [
    *(copies, constants, copies, units, copies, repeated, clips, unread)
]
