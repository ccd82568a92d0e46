"""A graph as a program for the CPU: passes of NumPy's inner loops over pieces of arrays, and calls.

Groups of maps are loops, one after the other on each piece of their elements. Sums are loops, too,
in the order that NumPy adds in. Everything else is called from Python in between. The results are
those of the graph's interpreter, bit for bit, because the loops are NumPy's own, see
:mod:`gputensor.graph.loops`. :mod:`gputensor.graph.layout` says where memory is,
:mod:`gputensor.graph.driver_code` what the driver of the loops reads.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import wrap
from gputensor.backend import Array
from gputensor.graph import loops
from gputensor.graph.driver_code import DriverCode
from gputensor.graph.fuse import Group, commits, groups, space, with_sums
from gputensor.graph.interpret import array_at, function_of
from gputensor.graph.ir import Graph, Node, Returned, Value, dense_strides
from gputensor.graph.layout import (
    CONSTANTS,
    PARTIAL,
    SCRATCH,
    Layout,
    address_of,
    aligned,
    takes_out,
)
from gputensor.graph.steps import is_sum, is_total, steps_of

__all__ = ["Program"]

_NARROW = 64  # innermost lengths below this are not worth to break up what is in one piece
_HOST = backend.NAMESPACES[np.ndarray]
_WRITES = "# From here on what is outside is written to."


def _joins(group: Group, node: Node) -> bool:
    """Whether a map may run with a group without breaking up what is in one piece."""
    alone, _ = space(group.shape, [*node.inputs, *node.outputs])
    before, _ = space(group.shape, group.values())
    both, _ = space(group.shape, [*group.values(), *node.inputs, *node.outputs])
    return len(both) <= 4 and (both == alone == before or both[-1] >= _NARROW)


def _ends_with(group: Group, node: Node) -> bool:
    """Whether a reduction may run with a group: a sum of all elements, which lie in one piece."""
    maps = [v for n in group.nodes if n.kind == "map" for v in (*n.inputs, *n.outputs)]
    return (
        is_total(node)
        and node.inputs[0].size == math.prod(group.shape)
        and len(space(group.shape, [*maps, *node.inputs])[0]) == 1
    )


class Program:
    """A graph made ready to run: a function of its arguments' arrays.

    Parameters
    ----------
    graph : Graph
    report : callable, optional
        Called with what the driver gives for a floating-point exception, instead of what NumPy
        does about it.

    Attributes
    ----------
    source : str
        The function, in Python.
    items : list of Group and Node
        What it does, in order.
    late : Node or None
        One that may raise an error after memory from outside was written to, and is caught.
    first_write : int
        Line of the source from which on that memory is written to.
    """

    def __init__(self, graph: Graph, report: Callable[[int], None] | None = None) -> None:
        self.graph = graph
        self._report = report
        self.late: Node | None = None
        items = groups(graph, lambda node: steps_of(node) is not None, _joins)
        self.items = with_sums(graph, items, _ends_with)
        self._names: dict[str, Any] = {
            "empty": np.empty,
            "view": _view,
            "relaid": _relaid,
            "asarray": np.asarray,
            "wrap": wrap,
        }
        self._fixed: dict[Any, str] = {}  # names of arrays that are always the same
        self._layout = Layout(graph, self.items)
        self._known = self._layout.known
        self._code = DriverCode(self._layout)
        lines = [*self._lines()]
        arguments = [f"b{v.buffer.number}" for v in graph.arguments]
        self.first_write = 2 + (lines.index(_WRITES) if _WRITES in lines else len(lines))
        self.source = "\n    ".join([f"def program({', '.join(arguments)}):", *lines])
        exec(compile(self.source, "<program>", "exec"), self._names)
        self.run: Callable[..., Any] = self._names["program"]

    @property
    def arena_size(self) -> int:
        """Bytes of memory that the program keeps for what is needed while it runs."""
        return int(self._layout.arena.nbytes)

    def is_loop(self, item: Group | Node) -> bool:
        """Whether an item runs as loops of NumPy's, not as a call from Python."""
        return isinstance(item, Group) or is_sum(item)

    # Text of the program

    def _lines(self) -> Iterator[str]:
        for i, value in enumerate(self.graph.arguments):
            yield f"objects[{i}] = id(b{value.buffer.number})"
        for number, value in self._layout.fresh.items():
            plain = value.whole() and value.strides == dense_strides(
                value.shape, value.dtype.itemsize
            )
            shape, dtype = (value.shape, value.dtype) if plain else (value.buffer.nbytes, np.uint8)
            yield f"b{number} = m{number} = empty({shape!r}, {self._name(np.dtype(dtype))})"
            if not plain:
                yield f"b{number} = view(m{number}, {self._name(value)})"
            yield f"objects[{self._layout.base_of[number]}] = id(m{number})"
        waiting: list[list[int]] = []
        segments: list[Any] = []

        def flushed() -> Iterator[str]:
            if waiting:
                code = f"c{len(segments)}, {len(waiting)}"
                yield f"found = run({code}, bases, objects, {self._known})"
                yield "if found: report(found)"
                segments.append([*waiting])
                waiting.clear()

        writes = False
        for item in self.items:
            nodes = item.nodes if isinstance(item, Group) else [item]
            if writes:
                self.late = self.late or next((n for n in nodes if n.caught or _raises(n)), None)
            elif any(map(commits, nodes)):
                writes = True
                yield from flushed()
                yield _WRITES
            jobs = self._code.of(item)
            if jobs is None:
                yield from flushed()
                yield from self._call_lines(item)  # type: ignore[arg-type]
                continue
            for parts in jobs:
                if len(parts) == 1:
                    waiting += parts[0]
                    continue
                yield from flushed()
                names = ", ".join(
                    f"(c{len(segments) + i}, {len(part)})" for i, part in enumerate(parts)
                )
                yield f"found = share(({names}), bases, objects, {self._known})"
                yield "if found: report(found)"
                segments += parts
        yield from flushed()
        kept = "".join(f"{self._expression(value)}, " for value in self.graph.kept)
        yield f"return {self._text(self.graph.result)}, ({kept})"
        scratch = self._keep(aligned(self._code.scratch_size))
        partial = self._keep(aligned(self._code.partial_size))
        constants = self._keep(aligned(16 * len(self._code.constants)))
        self._layout.bases[self._layout.base_of[SCRATCH]] = address_of(scratch)
        self._layout.bases[self._layout.base_of[PARTIAL]] = address_of(partial)
        self._layout.bases[self._layout.base_of[CONSTANTS]] = address_of(constants)
        for i, number in enumerate(self._code.constants):
            raw = np.asarray(number).tobytes()
            constants[16 * i : 16 * i + len(raw)] = np.frombuffer(raw, np.uint8)
        for i, segment in enumerate(segments):
            code = self._keep(np.array([word for group in segment for word in group], np.int64))
            self._names[f"c{i}"] = address_of(code)
        self._names |= {
            "run": loops.driver(),
            "share": loops.share,
            "report": self._report or self._code.report,
            "objects": self._layout.objects,
            "bases": self._layout.bases,
        }

    def _name(self, thing: Any) -> str:
        """Name of an object in the text."""
        name = f"k{len(self._names)}"
        self._names[name] = thing
        return name

    def _keep(self, array: Array) -> Array:
        self._name(array)
        return array

    def _expression(self, value: Value) -> str:
        """Text of the array that a value is."""
        number = value.buffer.number
        if value.buffer.kind in ("outside", "state") or number in self._layout.offsets:
            key = number, *value[2:]
            if key not in self._fixed:
                base, offset = self._layout.place(value)
                owner = self._layout.arena if number in self._layout.offsets else value.buffer.owner
                start = self._layout.bases[base] + offset - value.offset
                self._fixed[key] = self._name(array_at(start, value, owner))
            return self._fixed[key]
        if self._layout.named[number].same_place(value):
            return f"b{number}"
        return f"view({'m' if number in self._layout.fresh else 'b'}{number}, {self._name(value)})"

    def _text(self, tree: Any) -> str:
        """Text of a tree of values and other objects."""
        if type(tree) is Value:
            return self._expression(tree)
        if isinstance(tree, Returned):
            found = self._expression(tree.value)
            return f"wrap({found})" if tree.tensor else found
        if isinstance(tree, tuple) and hasattr(tree, "_fields"):
            return f"{self._name(type(tree))}({', '.join(map(self._text, tree))})"
        if type(tree) is tuple:
            return f"({''.join(self._text(item) + ', ' for item in tree)})"
        if type(tree) is list:
            return f"[{', '.join(map(self._text, tree))}]"
        if type(tree) is dict:
            items = (f"{self._text(k)}: {self._text(v)}" for k, v in tree.items())
            return f"{{{', '.join(items)}}}"
        if type(tree) is slice:
            parts = (self._text(p) for p in (tree.start, tree.stop, tree.step))
            return f"slice({', '.join(parts)})"
        if tree is None or type(tree) in (bool, int, str):
            return repr(tree)
        return self._name(tree)

    def _call_lines(self, node: Node) -> Iterator[str]:
        function = function_of(node, _HOST)
        name = self._name(function if node.errors is None else _under(node.errors, function))
        parts = [self._text(a) for a in node.args]
        out = node.kind == "map" or node.into or takes_out(node)
        parts += [
            f"{key}={self._text(value)}"
            for key, value in node.kwargs.items()
            if not (out and key == "out")
        ]
        fresh = node.outputs[node.writes :]
        if out:
            yield f"{name}({', '.join([*parts, 'out=' + self._expression(node.outputs[0])])})"
            return
        call = f"{name}({', '.join(parts)})"
        if not fresh:
            yield call
            return
        numbers = [v.buffer.number for v in fresh]
        yield f"{self._targets(node.result, set(numbers))} = {call}"
        for value in fresh:
            number = value.buffer.number
            self._layout.named[number] = value
            if not value.shape:  # which may be a number
                yield f"b{number} = asarray(b{number})"
            else:
                yield f"if b{number}.strides != {value.strides}:"
                yield f"    b{number} = relaid(b{number}, {self._name(value)})"
            yield f"objects[{self._layout.base_of[number]}] = id(b{number})"
        self._known += len(numbers)

    def _targets(self, result: Any, numbers: set[int]) -> str:
        """Text of what a call's results are assigned to."""
        if type(result) is Value:
            number = result.buffer.number
            return f"b{number}" if number in numbers else "_"
        if isinstance(result, (tuple, list)):
            return f"({''.join(self._targets(item, numbers) + ', ' for item in result)})"
        return "_"


def _under(errors: dict[str, Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is called with NumPy's way with floating-point exceptions."""

    def call(*args: Any, **kwargs: Any) -> Any:
        with np.errstate(**errors):
            return function(*args, **kwargs)

    return call


def _raises(node: Node) -> bool:
    """Whether the function wants an error for floating-point exceptions."""
    return node.errors is not None and "raise" in node.errors.values()


def _relaid(found: Array, value: Value) -> Array:
    """The array in the memory order that the graph knows it by."""
    laid = _view(np.empty(value.buffer.nbytes, np.uint8), value)
    laid[...] = found
    return laid


def _view(array: Array, value: Value) -> Array:
    """The array that a value is, whose buffer begins with that of `array`."""
    if value.offset == 0 and (array.shape, array.strides, array.dtype) == value[3:]:
        return array
    return array_at(address_of(array), value, array)
