"""Where the memory of a program for the CPU is.

Temporaries lie in one piece of memory, the arena, and share it where their lives do not overlap.
"""

import ctypes
from typing import Any

import numpy as np

from gputensor.backend import Array
from gputensor.graph.fuse import Group
from gputensor.graph.ir import Graph, Node, Value

__all__ = [
    "ALIGN",
    "ARENA",
    "CONSTANTS",
    "PARTIAL",
    "SCRATCH",
    "Layout",
    "address_of",
    "aligned",
    "takes_out",
]

ALIGN = 64
SCRATCH, PARTIAL, CONSTANTS, ARENA = "scratch", "partial", "constants", "arena"


class Layout:
    """Where each buffer of a graph is: outside, in the arena, or a new array in each call.

    Parameters
    ----------
    graph : Graph
    items : list of Group and Node
        What a program of it does, in order.

    Attributes
    ----------
    fresh : dict of int to Value
        Buffers that are new arrays in each call, and how.
    given : list of int
        Buffers that calls from Python return, in order.
    named : dict of int to Value
        Arrays that have a name in the program, as they are laid out.
    offsets : dict of int to int
        Of buffers in the arena.
    arena : array
    base_of : dict
        Number of the base of a buffer, by the buffer's; of scratch memory, partial sums, constants
        and arena.
    objects, bases : ctypes arrays
        Identities of a call's arrays, and addresses of all bases, for the driver.
    known : int
        How many of a call's arrays there are before any call from Python.
    """

    def __init__(self, graph: Graph, items: list[Group | Node]) -> None:
        inner = {n for item in items if isinstance(item, Group) for n in item.inner}
        needed: dict[int, Value] = {}
        for value in graph.needed():
            needed.setdefault(value.buffer.number, value)
        born: dict[int, int] = {}
        dies: dict[int, int] = {}
        given: set[int] = set()  # arrays that calls return
        for i, item in enumerate(items):
            for node in item.nodes if isinstance(item, Group) else [item]:
                for value in (*node.inputs, *node.outputs):
                    number = value.buffer.number
                    if value.buffer.kind == "temporary" and number not in inner:
                        born.setdefault(number, i)
                        dies[number] = i
                if isinstance(item, Node) and not takes_out(node):
                    given.update(v.buffer.number for v in node.outputs[node.writes :])
        buffers = graph.buffers
        fresh = [n for n in born if n in needed and n not in given]
        self.fresh = {n: needed[n] for n in fresh}
        self.given = sorted(given, key=born.__getitem__)
        # Arrays that have a name in the program, as they are laid out.
        self.named = {v.buffer.number: v for v in (*graph.arguments, *self.fresh.values())}
        arena = [n for n in born if n not in needed and n not in given]
        places, size = _packed([(buffers[n].nbytes, born[n], dies[n]) for n in arena])
        self.offsets = dict(zip(arena, places, strict=True))
        self.arena = aligned(size)
        self._make_bases(graph)

    def _make_bases(self, graph: Graph) -> None:
        """Number what operands lie in: first arrays of a call, by their objects, then addresses."""
        arguments = [v.buffer.number for v in graph.arguments]
        objects = [*arguments, *self.fresh, *self.given]
        self.base_of: dict[Any, int] = {n: i for i, n in enumerate(objects)}
        outside = [b for b in graph.buffers if b.kind in ("outside", "state")]
        fixed = [SCRATCH, PARTIAL, CONSTANTS, ARENA, *(b.number for b in outside)]
        self.base_of |= {key: len(objects) + i for i, key in enumerate(fixed)}
        self.objects = (ctypes.c_int64 * max(len(objects), 1))()
        self.bases = (ctypes.c_int64 * len(self.base_of))()
        self.bases[self.base_of[ARENA]] = address_of(self.arena)
        for b in outside:
            self.bases[self.base_of[b.number]] = address_of(b.owner)
        self.known = len(objects) - len(self.given)  # arrays that there are before any call

    def place(self, value: Value) -> tuple[int, int]:
        """Base and offset of a value."""
        number = value.buffer.number
        if number in self.offsets:
            return self.base_of[ARENA], self.offsets[number] + value.offset
        return self.base_of[number], value.offset


def takes_out(node: Node) -> bool:
    """Whether a call can be told where to put its result."""
    name = node.op if isinstance(node.op, str) else getattr(node.op, "__name__", "")
    if node.kind == "map":
        return True
    return (
        len(node.outputs) == 1
        and node.writes == 0
        and name in (*("matmul", "sum", "prod", "max", "min", "mean", "all", "any"),)
    )


def address_of(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def aligned(size: int) -> Array:
    room = np.empty(size + ALIGN, np.uint8)
    skip = -address_of(room) % ALIGN
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
            at = max(at, -(-high // ALIGN) * ALIGN)
        places[i] = at
        total = max(total, at + size)
        done.append(i)
    return places, total
