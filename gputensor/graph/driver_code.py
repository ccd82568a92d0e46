"""What the driver of a program for the CPU reads: a list of 64-bit numbers.

A group of maps goes through its elements piece by piece; on each piece all its loops run, one after
the other, so that what one leaves for the next stays in the first-level cache.

A group is the length of its innermost axis, that of a piece, the number of its instructions, and
the lengths of three outer axes; then follow the instructions: address of the loop, its data, the
number of operands, and the floating-point exceptions to note, with a mark of the node from bit 8
on; and of each operand the number of its base, its offset, its step, how far it moves for an
element from piece to piece (its step, or 0 for a register), and its steps along the outer axes. The
bases are addresses.
"""

import warnings
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.graph import loops
from gputensor.graph.fuse import Group, space
from gputensor.graph.ir import Node, Value
from gputensor.graph.layout import ALIGN, CONSTANTS, SCRATCH, Layout
from gputensor.graph.steps import Register, Step, is_sum, steps_of, sum_layout
from gputensor.kernels.runtime import _threads

__all__ = ["DriverCode"]

_CACHE = 24 << 10  # bytes that the registers of a group may take
_HEAD = 6  # numbers before the instructions of a group
_OP, _OPERAND = 4, 7  # numbers of an instruction before its operands, and of each of these
_GRAIN = 1 << 15  # elements times loops that are worth a thread
_EXCEPTIONS = {
    "invalid": "invalid value",
    "divide": "divide by zero",
    "over": "overflow",
    "under": "underflow",
}
_FLAGS = {"divide": 1, "over": 2, "under": 4, "invalid": 8}  # as numpy.seterrcall gives them


class DriverCode:
    """Writes the code of groups and sums, and knows their constants, registers and marks.

    Parameters
    ----------
    layout : Layout

    Attributes
    ----------
    constants : list
        Numbers among the operands; each takes 16 bytes.
    scratch_size : int
        Bytes of registers.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._marks: list[Node] = []
        self.constants: list[Any] = []
        self.scratch_size = self._scratch_part = 0

    def of(self, item: Group | Node) -> list[list[int]] | None:
        """Numbers that the driver reads; None for what is called from Python."""
        if isinstance(item, Group):
            return self._maps_code(item)
        return self._sum_code(item) if is_sum(item) else None

    def shared(self, code: list[list[int]]) -> list[list[int]]:
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
                    if part[operand] == self._layout.base_of[SCRATCH]:
                        part[operand + 1] += thread * size
                    else:
                        part[operand + 1] += first * part[operand + (4 if rows >= threads else 3)]
                at += _OP + _OPERAND * part[at + 2]
            found.append(part)
        self.scratch_size = max(self.scratch_size, threads * size)
        return found

    def _maps_code(self, group: Group) -> list[list[int]]:
        if 0 in group.shape:
            return []
        steps: list[Step] = []
        watched: list[int] = []
        registers: dict[int, Register] = {}  # of values that need no memory
        for node in group.nodes:
            for step in steps_of(node):  # type: ignore[union-attr]
                watched.append(self._watched(node))
                for j, operand in enumerate(step.operands):
                    if isinstance(operand, Value) and operand.buffer.number in group.inner:
                        number = operand.buffer.number
                        step.operands[j] = registers.setdefault(number, Register(operand.dtype))
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
                if isinstance(operand, Register):
                    size = operand.dtype.itemsize
                    code += [self._layout.base_of[SCRATCH], operand.place, size, 0, 0, 0, 0]
                elif isinstance(operand, Value):
                    far = stride[operand]
                    inside = far[-1]
                    code += [*self._layout.place(operand), inside, inside, *far[:-1]]
                    code += [0] * (4 - len(far))
                else:
                    code += [
                        self._layout.base_of[CONSTANTS],
                        16 * len(self.constants),
                        0,
                        0,
                        0,
                        0,
                        0,
                    ]
                    self.constants.append(operand)
        return [code]

    def _constant(self, number: Any) -> list[int]:
        self.constants.append(number)
        return [self._layout.base_of[CONSTANTS], 16 * (len(self.constants) - 1), 0, 0, 0, 0, 0]

    def _allot(self, steps: list[Step], length: int) -> int:
        """Give registers their places; the length of a piece."""
        last: dict[int, int] = {}
        for i, step in enumerate(steps):
            for operand in step.operands:
                if isinstance(operand, Register):
                    last[id(operand)] = i
        free: list[int] = []
        slots: dict[int, int] = {}
        count = 0
        for i, step in enumerate(steps):
            for operand in step.operands:
                if isinstance(operand, Register) and id(operand) not in slots:
                    if not free:
                        free.append(count)
                        count += 1
                    slots[id(operand)] = free.pop()
            read = {id(o) for o in step.operands if isinstance(o, Register)}
            free += [slots[key] for key in sorted(read, key=slots.__getitem__) if last[key] == i]
        size = max(
            (o.dtype.itemsize for s in steps for o in s.operands if isinstance(o, Register)),
            default=1,
        )
        block = min(max(_CACHE // (size * max(count, 6)), 128) // 16 * 16, max(length, 1))
        room = -(-block * size // ALIGN) * ALIGN
        for step in steps:
            for operand in step.operands:
                if isinstance(operand, Register):
                    operand.place = slots[id(operand)] * room
        self._scratch_part = count * room
        self.scratch_size = max(self.scratch_size, self._scratch_part)
        return block

    def _sum_code(self, node: Node) -> list[list[int]]:
        rows, columns, distance, along = sum_layout(node)  # type: ignore[misc]
        x, out = node.args[0], node.outputs[0]
        size = out.dtype.itemsize
        target, source = self._layout.place(out), self._layout.place(x)
        zero = self._constant(out.dtype.type(0))
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

    def report(self, found: int) -> None:
        """Say what floating-point exceptions a run of the driver met."""
        node = self._marks[(found >> 8) - 1]
        errors = node.errors or dict(np.geterr())
        for exception, bit in loops.NOTED.items():
            if found & bit:
                _complain(node, exception, errors[exception])


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
