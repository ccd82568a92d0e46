"""Grouping: which maps of a graph run over the same elements together, in one pass over memory."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import TypeAlias

from gputensor.graph.ir import Graph, Node, Value

__all__ = ["Group", "commits", "groups", "order_of", "space", "with_sums"]


class Group:
    """Maps, and reductions, over one shape, which may be computed element by element.

    Attributes
    ----------
    shape : tuple of int
    nodes : list of Node
    inner : set of int
        Numbers of buffers that nothing outside the group reads: they need no memory.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.nodes: list[Node] = []
        self.inner: set[int] = set()

    def values(self) -> list[Value]:
        """All values that its nodes read and write."""
        return [v for node in self.nodes for v in (*node.inputs, *node.outputs)]

    def __repr__(self) -> str:
        return f"<group of {', '.join(node.name for node in self.nodes)}>"


def groups(
    graph: Graph,
    fusable: Callable[[Node], bool],
    joins: Callable[[Group, Node], bool] = lambda group, node: True,
) -> list[Group | Node]:
    """The nodes in an order that keeps what they compute, maps in groups.

    Parameters
    ----------
    graph : Graph
    fusable : callable
        Whether a node may be in a group.
    joins : callable
        Whether a node may join a group whose shape it has.

    Returns
    -------
    list of Group and Node
        Each node goes to the first group that it may join without passing anything that it depends
        on, or that depends on it. What writes to memory from outside comes after what may raise an
        error, as far as that does not depend on it.
    """
    items: list[Group | Node] = []
    accesses: _Accesses = {}

    def earliest(node: Node) -> int:
        first = 0
        for i, value, other in _met(accesses, node):
            # Element by element at the same place, the two may be in one group.
            together = isinstance(items[i], Group) and value.same_place(other)
            first = max(first, i if together else i + 1)
        return first

    fallible = 0  # after the last item that may raise an error
    for node in _calls_first(graph, fusable):
        first = max(earliest(node), fallible if commits(node) else 0)
        place = len(items)
        if fusable(node):
            shape = _shape_of(node)
            for i in range(first, len(items)):
                item = items[i]
                if isinstance(item, Group) and item.shape == shape and joins(item, node):
                    place = i
                    break
            else:
                items.append(Group(shape))
            items[place].nodes.append(node)  # type: ignore[union-attr]
        else:
            items.append(node)
        if node.raises:
            fallible = place + 1
        _note(accesses, place, node)
    _find_inner(graph, items, accesses)
    return items


def with_sums(
    graph: Graph, items: Sequence[Group | Node], joins: Callable[[Group, Node], bool]
) -> list[Group | Node]:
    """Items with reductions moved into the groups whose results they take.

    Parameters
    ----------
    graph : Graph
    items : list of Group and Node
    joins : callable
        Whether a reduction may be at the end of a group.
    """
    found: list[Group | Node] = []
    accesses: _Accesses = {}
    for item in items:
        place = len(found)
        nodes = item.nodes if isinstance(item, Group) else [item]
        if isinstance(item, Node) and item.kind == "reduce":
            last = max((i for i, _, _ in _met(accesses, item)), default=-1)
            before = found[last] if last >= 0 else None
            if isinstance(before, Group) and not commits(item) and joins(before, item):
                place = last
                before.nodes.append(item)
        if place == len(found):
            found.append(item)
        for node in nodes:
            _note(accesses, place, node)
    _find_inner(graph, found, accesses)
    return found


def _ordered(value: Value, other: Value) -> bool:
    """Whether it counts which of two values of a buffer comes first.

    It does where one has no elements, too: there is no memory before what makes it.
    """
    return value.overlaps(other) or 0 in value.shape or 0 in other.shape


def _shape_of(node: Node) -> tuple[int, ...]:
    """Shape of what a node runs over: a reduction over its operand."""
    return (node.inputs if node.kind == "reduce" else node.outputs)[0].shape


# By buffer: place, value, and whether it is written.
_Accesses: TypeAlias = dict[int, list[tuple[int, Value, bool]]]


def _note(accesses: _Accesses, place: int, node: Node) -> None:
    for values, writes in ((node.inputs, False), (node.outputs, True)):
        for value in values:
            accesses.setdefault(value.buffer.number, []).append((place, value, writes))


def _met(accesses: _Accesses, node: Node) -> Iterator[tuple[int, Value, Value]]:
    """Accesses that a node comes after: their places, the node's values, and theirs."""
    for values, writes in ((node.inputs, False), (node.outputs, True)):
        for value in values:
            for place, other, written in accesses.get(value.buffer.number, ()):
                if (written or writes) and _ordered(value, other):
                    yield place, value, other


def _calls_first(graph: Graph, fusable: Callable[[Node], bool]) -> list[Node]:
    """The nodes in an order in which each call comes as soon as it may: the maps move together.

    What writes to memory from outside waits for what may raise an error. Calls that other processes
    take part in keep their order. What begins such a call comes first of all, with the copies that
    it reads, and what waits for its end last, see :mod:`gputensor.distributed`.
    """
    nodes = graph.nodes
    accesses: _Accesses = {}
    waits: list[int] = []  # for how many nodes each one waits
    followers: list[list[int]] = [[] for _ in nodes]
    urgent: set[int] = set()
    shared: int | None = None  # the last call that other processes take part in
    for i, node in enumerate(nodes):
        before: set[int] = set()
        if getattr(node.op, "shared", ""):
            if shared is not None:
                before.add(shared)
            shared = i
        before |= {j for j, _, _ in _met(accesses, node)}
        if getattr(node.op, "shared", "") == "begins":
            urgent |= {i, *(j for j in before if nodes[j].op == "assign")}
        for j in before:
            followers[j].append(i)
        waits.append(len(before))
        _note(accesses, i, node)
    fallible = sum(node.raises for node in nodes)  # those that are left

    def haste(i: int) -> int:
        if i in urgent:
            return 0
        return 3 if getattr(nodes[i].op, "shared", "") == "ends" else 1 + fusable(nodes[i])

    def rank(i: int) -> tuple[bool, int, int]:
        return fallible > 0 and commits(nodes[i]), haste(i), i

    ready = [rank(i) for i, count in enumerate(waits) if count == 0]
    heapify(ready)
    found: list[Node] = []
    while ready:
        *_, i = heappop(ready)
        found.append(nodes[i])
        if nodes[i].raises:
            fallible -= 1
            if not fallible:
                ready = [rank(j) for *_, j in ready]
                heapify(ready)
        for j in followers[i]:
            waits[j] -= 1
            if waits[j] == 0:
                heappush(ready, rank(j))
    return found


def commits(node: Node) -> bool:
    """Whether a node writes to memory that is there after the graph has run."""
    return any(v.buffer.kind != "temporary" for v in node.outputs)


def _find_inner(
    graph: Graph,
    items: Sequence[Group | Node],
    accesses: "_Accesses",
) -> None:
    needed = {value.buffer.number for value in graph.needed()}
    for i, item in enumerate(items):
        if not isinstance(item, Group):
            continue
        for node in item.nodes:
            out = node.outputs[0]
            number = out.buffer.number
            if node.kind == "reduce" or out.buffer.kind != "temporary" or number in needed:
                continue
            others = accesses[number]
            if all(place == i and value.same_place(out) for place, value, _ in others):
                item.inner.add(number)


def order_of(value: Value) -> tuple[int, ...]:
    """Axes of more than one element in the order of memory, the outermost first."""
    axes = [i for i, n in enumerate(value.shape) if n != 1]
    return tuple(sorted(axes, key=lambda i: -abs(value.strides[i])))


def space(
    shape: tuple[int, ...], values: Iterable[Value], order: Sequence[int] | None = None
) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """Lengths to run over, innermost last, and the steps in bytes of each value along them.

    Values are broadcast to the shape. Axes along which all go on as one are joined, and those of
    length 1 left out; axes come in an order that is given, else in that of memory.
    """
    steps = [steps_along(value, shape) for value in values]
    if not steps:
        return (math.prod(shape),), []
    if order is None:
        axes = [i for i, n in enumerate(shape) if n != 1]
        axes.sort(key=lambda i: -max(abs(s[i]) for s in steps))
    else:
        axes = list(order)
    lengths: list[int] = []
    joined: list[list[int]] = [[] for _ in steps]
    for i in axes:
        n = shape[i]
        both = list(zip(joined, steps, strict=True))
        if lengths and all(j[-1] == s[i] * n for j, s in both):
            lengths[-1] *= n
            for j, s in both:
                j[-1] = s[i]
        else:
            lengths.append(n)
            for j, s in both:
                j.append(s[i])
    if not lengths:
        return (1,), [(0,) for _ in steps]
    return tuple(lengths), [tuple(j) for j in joined]


def steps_along(value: Value, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a value that is broadcast to a shape, or assigned to one of fewer axes."""
    lead = len(shape) - len(value.shape)
    steps = tuple(
        0 if n == 1 else stride for n, stride in zip(value.shape, value.strides, strict=True)
    )
    return (0,) * lead + steps if lead >= 0 else steps[-lead:]
