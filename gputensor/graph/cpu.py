"""A graph as a program for the CPU: passes of NumPy's inner loops over pieces of arrays, and calls.

A group of maps goes through its elements piece by piece; on each piece all its loops run, one after
the other, so that what one leaves for the next stays in the first-level cache. Sums are loops, too,
in the order that NumPy adds in. Everything else is called from Python in between. The results are
those of the graph's interpreter, bit for bit, because the loops are NumPy's own, see
:mod:`gputensor.graph.loops`.

Temporaries lie in one piece of memory, the arena, and share it where their lives do not overlap.

The driver reads a list of 64-bit numbers. A group is the length of its innermost axis, that of a
piece, the number of its instructions, and the lengths of three outer axes; then follow the
instructions: address of the loop, its data, the number of operands, and the floating-point
exceptions to note, with a mark of the node from bit 8 on; and of each operand the number of its
base, its offset, its step, how far it moves for an element from piece to piece (its step, or 0 for
a register), and its steps along the outer axes. The bases are addresses.
"""

import ctypes
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import wrap
from gputensor.backend import Array
from gputensor.graph import loops
from gputensor.graph.fuse import Group, commits, groups, space
from gputensor.graph.interpret import array_at, function_of
from gputensor.graph.ir import Graph, Node, Returned, Value, dense_strides
from gputensor.graph.loops import Loop
from gputensor.kernels.runtime import _pool as thread_pool
from gputensor.kernels.runtime import _threads

__all__ = ["Program"]

_ALIGN = 64
_CACHE = 24 << 10  # bytes that the registers of a group may take
_HEAD = 6  # numbers before the instructions of a group
_OP, _OPERAND = 4, 7  # numbers of an instruction before its operands, and of each of these
_GRAIN = 1 << 18  # elements times loops that are worth a thread
_NARROW = 64  # innermost lengths below this are not worth to break up what is in one piece
_HOST = backend.NAMESPACES[np.ndarray]
_WRITES = "# From here on what is outside is written to."
_EXCEPTIONS = {
    "invalid": "invalid value",
    "divide": "divide by zero",
    "over": "overflow",
    "under": "underflow",
}
_FLAGS = {"divide": 1, "over": 2, "under": 4, "invalid": 8}  # as numpy.seterrcall gives them
_COPIES = {"assign", "astype", "broadcast_to", "copy"}


class _Register:
    """A piece of a group's elements."""

    __slots__ = ("dtype", "place")

    def __init__(self, dtype: "np.dtype[Any]") -> None:
        self.dtype = dtype
        self.place = 0


class _Step:
    """A loop and its operands, the result last: values, registers and numbers."""

    __slots__ = ("loop", "operands")

    def __init__(self, loop: Loop, operands: list[Any]) -> None:
        self.loop = loop
        self.operands = operands


def steps_of(node: Node) -> list[_Step] | None:
    """A map as loops; None if there are none for it."""
    if node.kind != "map" or node.kwargs or not loops.usable():
        return None
    out = node.outputs[0]
    if any(v.overlaps(out) and not v.same_place(out) for v in node.inputs):
        return None
    made: list[_Step] = []

    def run(loop: Loop | None, operands: list[Any], result: Any) -> Any:
        if loop is None:
            raise LookupError
        made.append(_Step(loop, [*operands, result]))
        return result

    def converted(item: Any, target: "np.dtype[Any]") -> Any:
        if not isinstance(item, (Value, _Register)):
            with np.errstate(all="ignore"):
                return np.asarray(item).astype(target)
        if item.dtype == target:
            return item
        return run(loops.find_cast(item.dtype, target), [item], _Register(target))

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
            register = run(loop, operands, _Register(dtype))
            run(loops.find_cast(dtype, out.dtype), [register], out)
    except (LookupError, TypeError):
        return None
    return made


def _is_sum(node: Node) -> bool:
    """Whether a node is a sum that one loop computes as NumPy does."""
    return node.kind == "reduce" and _sum_layout(node) is not None


def _sum_layout(node: Node) -> tuple[int, int, int, bool] | None:
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
        return rows, x.size // rows, x.size // rows * itemsize, False
    return None


def _joins(group: Group, node: Node) -> bool:
    """Whether a map may run with a group without breaking up what is in one piece."""
    alone, _ = space(group.shape, [*node.inputs, *node.outputs])
    before, _ = space(group.shape, group.values())
    both, _ = space(group.shape, [*group.values(), *node.inputs, *node.outputs])
    return len(both) <= 4 and (both == alone == before or both[-1] >= _NARROW)


_SCRATCH, _CONSTANTS, _ARENA = "scratch", "constants", "arena"


class Program:
    """A graph made ready to run: a function of its arguments' arrays.

    Parameters
    ----------
    graph : Graph

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

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.late: Node | None = None
        self._marks: list[Node] = []
        self.items = groups(graph, lambda node: steps_of(node) is not None, _joins)
        self._names: dict[str, Any] = {
            "empty": np.empty,
            "view": _view,
            "relaid": _relaid,
            "asarray": np.asarray,
            "wrap": wrap,
        }
        self._fixed: dict[Any, str] = {}  # names of arrays that are always the same
        self._lay_out()
        self._make_bases()
        lines = [*self._lines()]
        arguments = [f"b{v.buffer.number}" for v in graph.arguments]
        self.first_write = 2 + (lines.index(_WRITES) if _WRITES in lines else len(lines))
        self.source = "\n    ".join([f"def program({', '.join(arguments)}):", *lines])
        exec(compile(self.source, "<program>", "exec"), self._names)
        self.run: Callable[..., Any] = self._names["program"]

    # Memory

    def _lay_out(self) -> None:
        """Decide where each buffer is: outside, in the arena, or a new array in each call."""
        graph = self.graph
        inner = {n for item in self.items if isinstance(item, Group) for n in item.inner}
        needed: dict[int, Value] = {}
        for value in graph.needed():
            needed.setdefault(value.buffer.number, value)
        born: dict[int, int] = {}
        dies: dict[int, int] = {}
        given: set[int] = set()  # arrays that calls return
        for i, item in enumerate(self.items):
            for node in item.nodes if isinstance(item, Group) else [item]:
                for value in (*node.inputs, *node.outputs):
                    number = value.buffer.number
                    if value.buffer.kind == "temporary" and number not in inner:
                        born.setdefault(number, i)
                        dies[number] = i
                if isinstance(item, Node) and not _takes_out(node):
                    given.update(v.buffer.number for v in node.outputs[node.writes :])
        buffers = graph.buffers
        fresh = [n for n in born if n in needed and n not in given]
        self._fresh = {n: needed[n] for n in fresh}
        self._given = sorted(given, key=born.__getitem__)
        # Arrays that have a name in the program, as they are laid out.
        self._named = {v.buffer.number: v for v in (*graph.arguments, *self._fresh.values())}
        arena = [n for n in born if n not in needed and n not in given]
        places, size = _packed([(buffers[n].nbytes, born[n], dies[n]) for n in arena])
        self._offsets = dict(zip(arena, places, strict=True))
        self._arena = _aligned(size)

    def _make_bases(self) -> None:
        """Number what operands lie in: first arrays of a call, by their objects, then addresses."""
        arguments = [v.buffer.number for v in self.graph.arguments]
        objects = [*arguments, *self._fresh, *self._given]
        self._base_of: dict[Any, int] = {n: i for i, n in enumerate(objects)}
        outside = [b for b in self.graph.buffers if b.kind in ("outside", "state")]
        fixed = [_SCRATCH, _CONSTANTS, _ARENA, *(b.number for b in outside)]
        self._base_of |= {key: len(objects) + i for i, key in enumerate(fixed)}
        self._objects = (ctypes.c_int64 * max(len(objects), 1))()
        self._bases = (ctypes.c_int64 * len(self._base_of))()
        self._bases[self._base_of[_ARENA]] = _address(self._arena)
        for b in outside:
            self._bases[self._base_of[b.number]] = _address(b.owner)
        self._constants: list[Any] = []
        self._scratch_size = self._scratch_part = 0
        self._known = len(objects) - len(self._given)  # arrays that there are before any call

    def _place(self, value: Value) -> tuple[int, int]:
        """Base and offset of a value."""
        number = value.buffer.number
        if number in self._offsets:
            return self._base_of[_ARENA], self._offsets[number] + value.offset
        return self._base_of[number], value.offset

    # Text of the program

    def _lines(self) -> Iterator[str]:
        for i, value in enumerate(self.graph.arguments):
            yield f"objects[{i}] = id(b{value.buffer.number})"
        for number, value in self._fresh.items():
            plain = value.whole() and value.strides == dense_strides(
                value.shape, value.dtype.itemsize
            )
            shape, dtype = (value.shape, value.dtype) if plain else (value.buffer.nbytes, np.uint8)
            yield f"b{number} = m{number} = empty({shape!r}, {self._name(np.dtype(dtype))})"
            if not plain:
                yield f"b{number} = view(m{number}, {self._name(value)})"
            yield f"objects[{self._base_of[number]}] = id(m{number})"
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
            code = self._group_code(item)
            if code is None:
                yield from flushed()
                yield from self._call_lines(item)  # type: ignore[arg-type]
            elif parts := self._parts(code):
                yield from flushed()
                names = ", ".join(f"c{len(segments) + i}" for i in range(len(parts)))
                yield f"found = share(({names}), bases, objects, {self._known})"
                yield "if found: report(found)"
                segments += [[part] for part in parts]
            else:
                waiting += code
        yield from flushed()
        kept = "".join(f"{self._expression(value)}, " for value in self.graph.kept)
        yield f"return {self._text(self.graph.result)}, ({kept})"
        scratch = self._keep(_aligned(self._scratch_size))
        constants = self._keep(_aligned(16 * len(self._constants)))
        self._bases[self._base_of[_SCRATCH]] = _address(scratch)
        self._bases[self._base_of[_CONSTANTS]] = _address(constants)
        for i, number in enumerate(self._constants):
            raw = np.asarray(number).tobytes()
            constants[16 * i : 16 * i + len(raw)] = np.frombuffer(raw, np.uint8)
        for i, segment in enumerate(segments):
            code = self._keep(np.array([word for group in segment for word in group], np.int64))
            self._names[f"c{i}"] = _address(code)
        self._names |= {
            "run": loops.driver(),
            "share": _share,
            "report": self._report,
            "objects": self._objects,
            "bases": self._bases,
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
        if value.buffer.kind in ("outside", "state") or number in self._offsets:
            key = number, *value[2:]
            if key not in self._fixed:
                base, offset = self._place(value)
                owner = self._arena if number in self._offsets else value.buffer.owner
                start = self._bases[base] + offset - value.offset
                self._fixed[key] = self._name(array_at(start, value, owner))
            return self._fixed[key]
        if self._named[number].same_place(value):
            return f"b{number}"
        return f"view({'m' if number in self._fresh else 'b'}{number}, {self._name(value)})"

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
        out = node.kind == "map" or node.into or _takes_out(node)
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
            self._named[number] = value
            if not value.shape:  # which may be a number
                yield f"b{number} = asarray(b{number})"
            else:
                yield f"if b{number}.strides != {value.strides}:"
                yield f"    b{number} = relaid(b{number}, {self._name(value)})"
            yield f"objects[{self._base_of[number]}] = id(b{number})"
        self._known += len(numbers)

    def _targets(self, result: Any, numbers: set[int]) -> str:
        """Text of what a call's results are assigned to."""
        if type(result) is Value:
            number = result.buffer.number
            return f"b{number}" if number in numbers else "_"
        if isinstance(result, (tuple, list)):
            return f"({''.join(self._targets(item, numbers) + ', ' for item in result)})"
        return "_"

    def _report(self, found: int) -> None:
        """Say what floating-point exceptions a run of the driver met."""
        node = self._marks[(found >> 8) - 1]
        errors = node.errors or dict(np.geterr())
        for exception, bit in loops.NOTED.items():
            if found & bit:
                _complain(node, exception, errors[exception])

    # Code of groups

    def is_loop(self, item: Group | Node) -> bool:
        """Whether an item runs as loops of NumPy's, not as a call from Python."""
        return isinstance(item, Group) or _is_sum(item)

    def _group_code(self, item: Group | Node) -> list[list[int]] | None:
        """Numbers that the driver reads; None for what is called from Python."""
        if isinstance(item, Group):
            return self._maps_code(item)
        return self._sum_code(item) if _is_sum(item) else None

    def _parts(self, code: list[list[int]]) -> list[list[int]]:
        """A group that is worth several threads as a group for each; nothing for others."""
        if len(code) != 1 or code[0][5] > 1:
            return []
        n, block, count, rows, *_ = words = code[0]
        threads = _threads()
        if n * rows * count < threads * _GRAIN or threads == 1:
            return []
        found = []
        size = self._scratch_part
        for thread in range(threads):
            part = [*words]
            if rows >= threads:
                first, last = (rows * k // threads for k in (thread, thread + 1))
                part[3] = last - first
            else:
                pieces = -(-n // block)
                first, last = (min(pieces * k // threads * block, n) for k in (thread, thread + 1))
                part[0] = last - first
            at = _HEAD
            for _ in range(count):
                for j in range(part[at + 2]):
                    operand = at + _OP + _OPERAND * j
                    if part[operand] == self._base_of[_SCRATCH]:
                        part[operand + 1] += thread * size
                    else:
                        part[operand + 1] += first * part[operand + (4 if rows >= threads else 3)]
                at += _OP + _OPERAND * part[at + 2]
            found.append(part)
        self._scratch_size = max(self._scratch_size, threads * size)
        return found

    def _maps_code(self, group: Group) -> list[list[int]]:
        if 0 in group.shape:
            return []
        steps: list[_Step] = []
        watched: list[int] = []
        registers: dict[int, _Register] = {}  # of values that need no memory
        for node in group.nodes:
            for step in steps_of(node):  # type: ignore[union-attr]
                watched.append(self._watched(node))
                for j, operand in enumerate(step.operands):
                    if isinstance(operand, Value) and operand.buffer.number in group.inner:
                        number = operand.buffer.number
                        step.operands[j] = registers.setdefault(number, _Register(operand.dtype))
                steps.append(step)
        values = list(
            dict.fromkeys(o for step in steps for o in step.operands if isinstance(o, Value))
        )
        lengths, along = space(group.shape, values)
        stride = dict(zip(values, along, strict=True))
        block = self._allot(steps, lengths[-1])
        outer = lengths[:-1]
        code = [lengths[-1], block, len(steps), *outer, *(1,) * (3 - len(outer))]
        for step, noted in zip(steps, watched, strict=True):
            code += [step.loop.address, step.loop.data, len(step.operands), noted]
            for operand in step.operands:
                if isinstance(operand, _Register):
                    size = operand.dtype.itemsize
                    code += [self._base_of[_SCRATCH], operand.place, size, 0, 0, 0, 0]
                elif isinstance(operand, Value):
                    far = stride[operand]
                    inside = far[-1]
                    code += [*self._place(operand), inside, inside, *far[:-1]]
                    code += [0] * (4 - len(far))
                else:
                    code += [self._base_of[_CONSTANTS], 16 * len(self._constants), 0, 0, 0, 0, 0]
                    self._constants.append(operand)
        return [code]

    def _allot(self, steps: list[_Step], length: int) -> int:
        """Give registers their places; the length of a piece."""
        last: dict[int, int] = {}
        for i, step in enumerate(steps):
            for operand in step.operands:
                if isinstance(operand, _Register):
                    last[id(operand)] = i
        free: list[int] = []
        slots: dict[int, int] = {}
        count = 0
        for i, step in enumerate(steps):
            for operand in step.operands:
                if isinstance(operand, _Register) and id(operand) not in slots:
                    if not free:
                        free.append(count)
                        count += 1
                    slots[id(operand)] = free.pop()
            read = {id(o) for o in step.operands if isinstance(o, _Register)}
            free += [slots[key] for key in sorted(read, key=slots.__getitem__) if last[key] == i]
        size = max(
            (o.dtype.itemsize for s in steps for o in s.operands if isinstance(o, _Register)),
            default=1,
        )
        block = min(max(_CACHE // (size * max(count, 6)), 128) // 16 * 16, max(length, 1))
        room = -(-block * size // _ALIGN) * _ALIGN
        for step in steps:
            for operand in step.operands:
                if isinstance(operand, _Register):
                    operand.place = slots[id(operand)] * room
        self._scratch_part = count * room
        self._scratch_size = max(self._scratch_size, self._scratch_part)
        return block

    def _sum_code(self, node: Node) -> list[list[int]]:
        rows, columns, distance, along = _sum_layout(node)  # type: ignore[misc]
        x, out = node.args[0], node.outputs[0]
        size = out.dtype.itemsize
        target, source = self._place(out), self._place(x)
        zero = [self._base_of[_CONSTANTS], 16 * len(self._constants), 0, 0, 0, 0, 0]
        self._constants.append(out.dtype.type(0))
        copy = loops.find_cast(out.dtype, out.dtype)
        add = loops.find(np.add, [out.dtype] * 3)
        assert copy is not None
        assert add is not None
        clear = [out.size, max(out.size, 1), 1, 1, 1, 1, copy.address, copy.data, 2, 0, *zero]
        clear += [*target, size, size, 0, 0, 0]
        if along:
            result = [*target, 0, 0, size, 0, 0]
            head = [columns, max(columns, 1), 1, rows, 1, 1]
            read = [*source, size, 0, distance, 0, 0]
        else:
            result = [*target, size, size, 0, 0, 0]
            head = [columns, columns, 1, rows, 1, 1]
            read = [*source, size, size, distance, 0, 0]
        noted = self._watched(node)
        return [clear, [*head, add.address, add.data, 3, noted, *result, *read, *result]]

    def _watched(self, node: Node) -> int:
        """Floating-point exceptions of a node that are not ignored, and a mark of the node."""
        self._marks.append(node)
        bits = loops.NOTED.items()
        noted = sum(bit for e, bit in bits if node.errors is None or node.errors[e] != "ignore")
        return noted | len(self._marks) << 8


def _share(codes: tuple[int, ...], bases: Any, objects: Any, known: int) -> int:
    """Run groups side by side, each on a thread."""
    run = loops.driver()
    rest = [thread_pool().submit(run, code, 1, bases, objects, known) for code in codes[1:]]
    found: int = run(codes[0], 1, bases, objects, known)
    others = [part.result() for part in rest]  # which waits for each
    return next(filter(None, [found, *others]), 0)


def _under(errors: dict[str, Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is called with NumPy's way with floating-point exceptions."""

    def call(*args: Any, **kwargs: Any) -> Any:
        with np.errstate(**errors):
            return function(*args, **kwargs)

    return call


def _complain(node: Node, exception: str, how: str) -> None:
    """Do about a floating-point exception what NumPy does, see ``numpy.seterr``."""
    if how == "ignore":
        return
    text = f"{_EXCEPTIONS[exception]} encountered in {node.name}"
    handler: Any = np.geterrcall()
    if how == "raise":
        raise FloatingPointError(text)
    if how == "warn":
        file, _, line = backend.place(*node.place)[0].rpartition(":")
        warnings.warn_explicit(text, RuntimeWarning, file, int(line))
    elif how == "print":
        print(f"Warning: {text}")
    elif how == "call":
        handler(text, _FLAGS[exception])
    else:
        handler.write(f"Warning: {text}\n")


def _raises(node: Node) -> bool:
    """Whether the function wants an error for floating-point exceptions."""
    return node.errors is not None and "raise" in node.errors.values()


def _takes_out(node: Node) -> bool:
    """Whether a call can be told where to put its result."""
    name = node.op if isinstance(node.op, str) else getattr(node.op, "__name__", "")
    if node.kind == "map":
        return True
    return (
        len(node.outputs) == 1
        and node.writes == 0
        and name in (*("matmul", "sum", "prod", "max", "min", "mean", "all", "any"),)
    )


def _relaid(found: Array, value: Value) -> Array:
    """The array in the memory order that the graph knows it by."""
    laid = _view(np.empty(value.buffer.nbytes, np.uint8), value)
    laid[...] = found
    return laid


def _view(array: Array, value: Value) -> Array:
    """The array that a value is, whose buffer begins with that of `array`."""
    if value.offset == 0 and (array.shape, array.strides, array.dtype) == value[3:]:
        return array
    return array_at(_address(array), value, array)


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def _aligned(size: int) -> Array:
    room = np.empty(size + _ALIGN, np.uint8)
    skip = -_address(room) % _ALIGN
    return room[skip : skip + size]


def _packed(lives: list[tuple[int, int, int]]) -> tuple[list[int], int]:
    """Places for pieces of memory of a size that live from one moment to another, and their sum.

    The largest come first, each at the lowest place that is free for its life.
    """
    places = [0] * len(lives)
    done: list[int] = []
    total = 0
    for i in sorted(range(len(lives)), key=lambda i: -lives[i][0]):
        size, born, dies = lives[i]
        taken = sorted(
            (places[j], places[j] + lives[j][0])
            for j in done
            if not (lives[j][2] < born or dies < lives[j][1])
        )
        at = 0
        for low, high in taken:
            if low - at >= size:
                break
            at = max(at, -(-high // _ALIGN) * _ALIGN)
        places[i] = at
        total = max(total, at + size)
        done.append(i)
    return places, total
