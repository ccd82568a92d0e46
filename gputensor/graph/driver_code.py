"""What the driver of a program for the CPU reads: a list of 64-bit numbers.

A group of maps goes through its elements piece by piece; on each piece all its loops run, one after
the other, so that what one leaves for the next stays in the first-level cache.

A sum of all elements of an array runs on stretches, which NumPy's sum too takes one by one: each is
summed after the maps that compute it. Threads have several each. What stretches give is added up in
NumPy's order.

A group is the length of its innermost axis, that of a piece, the number of its instructions, and
the lengths of three outer axes; then follow the instructions: address of the loop, its data, the
number of operands, and the floating-point exceptions to note, with a mark of the node from bit 8
on; and of each operand the number of its base, its offset, its step, how far it moves for an
element from piece to piece (its step, or 0 for a register), and its steps along the outer axes. The
bases are addresses.
"""

import functools
import itertools
import math
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import numpy as np

from gputensor import backend
from gputensor.graph import loops
from gputensor.graph.fuse import Group, space
from gputensor.graph.ir import Node, Value
from gputensor.graph.layout import ALIGN, CONSTANTS, PARTIAL, SCRATCH, Layout
from gputensor.graph.steps import Register, Step, is_sum, is_total, steps_of, sum_layout
from gputensor.kernels.runtime import _threads

__all__ = ["DriverCode"]

_CACHE = 24 << 10  # bytes that the registers of a group may take
_GRAIN = 1 << 15  # elements times loops that are worth a thread
_STRETCH = 1 << 14  # elements that are summed together
_LEAST = 256  # and the least: 128 elements NumPy's sum takes in another way
_EXCEPTIONS = {
    "invalid": "invalid value",
    "divide": "divide by zero",
    "over": "overflow",
    "under": "underflow",
}
_FLAGS = {"divide": 1, "over": 2, "under": 4, "invalid": 8}  # as numpy.seterrcall gives them

_Part: TypeAlias = list[list[int]]  # groups, one after the other


class _Maps(NamedTuple):
    """Loops of the maps of a group.

    Attributes
    ----------
    steps : list of Step
    marks : list of int
        Exceptions to note of each.
    lengths : tuple of int
        Lengths to run over, innermost last.
    strides : dict
        Steps in bytes along them, by value.
    block : int
        Length of a piece.
    room : int
        Bytes that a thread needs for registers.
    """

    steps: list[Step]
    marks: list[int]
    lengths: tuple[int, ...]
    strides: dict[Value, tuple[int, ...]]
    block: int
    room: int


class _Total(NamedTuple):
    """A sum of all elements, by stretches.

    Attributes
    ----------
    x : Value or Register
        What is summed; a register has the elements of one stretch.
    dtype : dtype
    mark : int
        Exceptions to note.
    base, place : int
        Where the sums of the stretches are, one after the other; of one stretch, the result.
    """

    x: Value | Register
    dtype: "np.dtype[Any]"
    mark: int
    base: int
    place: int


class DriverCode:
    """Writes the code of groups and sums, and knows their constants, registers and marks.

    Parameters
    ----------
    layout : Layout

    Attributes
    ----------
    constants : list
        Numbers among the operands; each takes 16 bytes.
    scratch_size, partial_size : int
        Bytes of registers, and of sums of stretches.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._marks: list[Node] = []
        self.constants: list[Any] = []
        self._numbers: dict[int, int] = {}  # their places, by identity
        self.scratch_size = self.partial_size = 0

    def of(self, item: Group | Node) -> list[list[_Part]] | None:
        """Numbers that the driver reads; None for what is called from Python.

        Returns
        -------
        list of list of parts
            Jobs that are done one after the other; parts of a job, which are lists of groups, are
            done side by side.
        """
        if isinstance(item, Group):
            group, nodes = item, item.nodes
        elif is_total(item):
            group, nodes = Group(item.inputs[0].shape), [item]
        else:
            return [self._rows_code(item)] if is_sum(item) else None
        if 0 in group.shape:
            return []
        maps = [node for node in nodes if node.kind == "map"]
        if len(maps) < len(nodes):
            return self._totals_code(group, maps, nodes[len(maps) :])
        registers = _registers(group)
        return [self._maps_code(self._maps(group, maps, registers))]

    # Maps

    def _maps(self, group: Group, nodes: list[Node], registers: dict[int, Register]) -> _Maps:
        steps: list[Step] = []
        marks: list[int] = []
        for node in nodes:
            mark = self._watched(node)
            for step in steps_of(node):  # type: ignore[union-attr]
                for j, operand in enumerate(step.operands):
                    if isinstance(operand, Value):
                        step.operands[j] = registers.get(operand.buffer.number, operand)
                steps.append(step)
                marks.append(mark)
        values = list(
            dict.fromkeys(o for step in steps for o in step.operands if isinstance(o, Value))
        )
        lengths, along = space(group.shape, values)
        strides = dict(zip(values, along, strict=True))
        block, room = _allot(steps, lengths[-1])
        return _Maps(steps, marks, lengths, strides, block, room)

    def _maps_code(self, maps: _Maps) -> list[_Part]:
        """The loops; on several threads if that is worth it."""
        n, outer = maps.lengths[-1], maps.lengths[:-1]
        rows = outer[0] if outer else 1
        threads = _worth(math.prod(maps.lengths) * len(maps.steps))
        parts: list[_Part] = []
        if rows >= threads:
            for k, first, last in _split(rows, threads):
                parts.append([self._words(maps, k, 0, n, first, last)])
        else:
            for k, first, last in _split(-(-n // maps.block), threads):
                start, stop = (min(i * maps.block, n) for i in (first, last))
                parts.append([self._words(maps, k, start, stop, 0, rows)])
        self.scratch_size = max(self.scratch_size, threads * maps.room)
        return parts

    def _words(
        self, maps: _Maps, thread: int, start: int, stop: int, row: int = 0, end: int = 1
    ) -> list[int]:
        """A thread's group of the loops, on parts of the innermost and the outermost axis."""
        outer = [end - row, *maps.lengths[1:-1]]
        words = [stop - start, maps.block, len(maps.steps), *outer, *[1] * (3 - len(outer))]
        for step, mark in zip(maps.steps, maps.marks, strict=True):
            words += [step.loop.address, step.loop.data, len(step.operands), mark]
            for operand in step.operands:
                if isinstance(operand, Register):
                    words += self._register(operand, thread * maps.room)
                elif isinstance(operand, Value):
                    *far, inside = maps.strides[operand]
                    base, place = self._layout.place(operand)
                    place += start * inside + (row * far[0] if far else 0)
                    words += [base, place, inside, inside, *far, *[0] * (3 - len(far))]
                else:
                    words += self._constant(operand)
        return words

    def _register(self, register: Register, begin: int) -> list[int]:
        size = register.dtype.itemsize
        place = begin + register.place
        return [
            *(self._layout.base_of[SCRATCH], place, size, size if register.summed else 0),
            *(0, 0, 0),
        ]

    def _constant(self, number: Any) -> list[int]:
        i = self._numbers.setdefault(id(number), len(self.constants))
        if i == len(self.constants):
            self.constants.append(number)
        return [self._layout.base_of[CONSTANTS], 16 * i, 0, 0, 0, 0, 0]

    # Sums

    def _totals_code(self, group: Group, nodes: list[Node], sums: list[Node]) -> list[list[_Part]]:
        """Maps, and sums of all elements of what they compute or of other arrays."""
        registers = _registers(group)
        for node in sums:
            if register := registers.get(node.inputs[0].buffer.number):
                register.summed = True
        maps = self._maps(group, nodes, registers)
        size = math.prod(group.shape)
        threads = _worth(size * (len(maps.steps) + len(sums)))
        depth = 0
        if loops.sums_by_halves():
            while size >> depth > (_STRETCH if 1 << depth >= threads else 2 * _LEAST):
                depth += 1
        lengths = loops.halves(size, depth)
        room = maps.room
        for register in registers.values():
            if register.summed:
                register.place = room
                room += _rounded(max(lengths) * register.dtype.itemsize)
        maps = maps._replace(room=room)
        self.scratch_size = max(self.scratch_size, threads * room)
        totals = self._totals(sums, registers, len(lengths))
        stops = [*itertools.accumulate(lengths)]
        parts: list[_Part] = []
        for k, first, last in _split(len(lengths), threads):
            part = [self._cleared(t.base, t.place, first, last, t.dtype) for t in totals]
            for i in range(first, last):
                start, stop = stops[i] - lengths[i], stops[i]
                if maps.steps:
                    part.append(self._words(maps, k, start, stop))
                part += [self._stretch_words(t, i, k * room, start, stop) for t in totals]
            parts.append(part)
        rest = [
            words
            for node, total in zip(sums, totals, strict=True)
            for words in self._together(total, len(lengths), self._layout.place(node.outputs[0]))
        ]
        return [parts, [rest]] if rest else [parts]

    def _totals(self, sums: list[Node], registers: dict[int, Register], count: int) -> list[_Total]:
        found = []
        used = 0
        for node in sums:
            x, out = node.args[0], node.outputs[0]
            base, place = self._layout.place(out)
            if count > 1:
                base, place = self._layout.base_of[PARTIAL], used
                used += _rounded(2 * count * out.dtype.itemsize)
            source = registers.get(x.buffer.number, x)
            found.append(_Total(source, out.dtype, self._watched(node), base, place))
        self.partial_size = max(self.partial_size, used)
        return found

    def _stretch_words(self, total: _Total, i: int, begin: int, start: int, stop: int) -> list[int]:
        """Group that adds up a stretch."""
        size, count = total.dtype.itemsize, stop - start
        if isinstance(total.x, Register):
            read = self._register(total.x, begin)
        else:
            base, place = self._layout.place(total.x)
            read = [base, place + start * size, size, size, 0, 0, 0]
        result = [total.base, total.place + i * size, 0, 0, 0, 0, 0]
        head = [count, count, 1, 1, 1, 1, *_added(total.dtype, total.mark)]
        return [*head, *result, *read, *result]

    def _together(self, total: _Total, count: int, result: tuple[int, int]) -> _Part:
        """Groups that add what stretches give, two and two, until one number is left."""
        size, base, place = total.dtype.itemsize, total.base, total.place
        found: _Part = []
        while count > 1:
            after = place + count * size
            count //= 2
            target = (base, after) if count > 1 else result
            head = [count, count, 1, 1, 1, 1, *_added(total.dtype, total.mark)]
            both = [w for p in (place, place + size) for w in (base, p, 2 * size, 0, 0, 0, 0)]
            found.append([*head, *both, *target, size, 0, 0, 0, 0])
            place = after
        return found

    def _rows_code(self, node: Node) -> list[_Part]:
        """A sum along the rows of a matrix, or along its columns."""
        rows, columns, distance, along = sum_layout(node)  # type: ignore[misc]
        x, out = node.args[0], node.outputs[0]
        dtype, size = out.dtype, out.dtype.itemsize
        base, place = self._layout.place(out)
        source, begin = self._layout.place(x)
        add = _added(dtype, self._watched(node))
        parts: list[_Part] = []
        for _, first, last in _split(out.size, _worth(rows * columns)):
            at, count = place + first * size, last - first
            if along:
                result = [base, at, 0, 0, size, 0, 0]
                read = [source, begin + first * distance, size, size, distance, 0, 0]
                head = [columns, columns, 1, count, 1, 1]
            else:
                result = [base, at, size, size, 0, 0, 0]
                read = [source, begin + first * size, size, size, distance, 0, 0]
                head = [count, count, 1, rows, 1, 1]
            clear = self._cleared(base, place, first, last, dtype)
            parts.append([clear, [*head, *add, *result, *read, *result]])
        return parts

    def _cleared(
        self, base: int, place: int, first: int, last: int, dtype: "np.dtype[Any]"
    ) -> list[int]:
        """Group that makes some elements 0."""
        copy = loops.find_cast(dtype, dtype)
        assert copy is not None
        size, count = dtype.itemsize, last - first
        zero = self._constant(_zero(dtype))
        head = [count, count, 1, 1, 1, 1, copy.address, copy.data, 2, 0]
        return [*head, *zero, base, place + first * size, size, 0, 0, 0, 0]

    # Floating-point exceptions

    def _watched(self, node: Node) -> int:
        """Floating-point exceptions of a node that are not ignored, and a mark of the node."""
        self._marks.append(node)
        bits = loops.NOTED.items()
        noted = sum(bit for e, bit in bits if node.errors is None or node.errors[e] != "ignore")
        return noted | len(self._marks) << 8

    def report(self, found: int) -> None:
        """Say what floating-point exceptions a run of the driver met."""
        node = self._marks[(found >> 8) - 1]
        errors = node.errors or dict(np.geterr())
        for exception, bit in loops.NOTED.items():
            if found & bit:
                _complain(node, exception, errors[exception])


def _registers(group: Group) -> dict[int, Register]:
    """Of the values of a group that need no memory, by the numbers of their buffers."""
    outputs = [node.outputs[0] for node in group.nodes]
    return {v.buffer.number: Register(v.dtype) for v in outputs if v.buffer.number in group.inner}


def _is_piece(operand: Any) -> TypeGuard[Register]:
    return isinstance(operand, Register) and not operand.summed


def _allot(steps: list[Step], length: int) -> tuple[int, int]:
    """Give registers of pieces their places; length of a piece, and bytes of all registers."""
    uses = [[o for o in step.operands if _is_piece(o)] for step in steps]
    last = {id(register): i for i, used in enumerate(uses) for register in used}
    free: list[int] = []
    slots: dict[int, int] = {}
    count = 0
    for i, used in enumerate(uses):
        for register in used:
            if id(register) not in slots:
                if not free:
                    free.append(count)
                    count += 1
                slots[id(register)] = free.pop()
        read = {id(register) for register in used}
        free += [slots[key] for key in sorted(read, key=slots.__getitem__) if last[key] == i]
    registers = [register for used in uses for register in used]
    size = max((register.dtype.itemsize for register in registers), default=1)
    block = min(max(_CACHE // (size * max(count, 6)), 128) // 16 * 16, max(length, 1))
    for register in registers:
        register.place = slots[id(register)] * _rounded(block * size)
    return block, count * _rounded(block * size)


def _rounded(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


def _worth(work: int) -> int:
    """Threads for so many elements times loops."""
    threads = _threads()
    return threads if work >= threads * _GRAIN else 1


def _split(length: int, parts: int) -> Iterator[tuple[int, int, int]]:
    """Number, first and last of each part that is not empty."""
    for k in range(parts):
        first, last = length * k // parts, length * (k + 1) // parts
        if first < last:
            yield k, first, last


def _added(dtype: "np.dtype[Any]", mark: int) -> list[int]:
    """Head of an instruction that adds two operands."""
    add = loops.find(np.add, [dtype] * 3)
    assert add is not None
    return [add.address, add.data, 3, mark]


@functools.cache
def _zero(dtype: "np.dtype[Any]") -> Any:
    return dtype.type(0)


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
