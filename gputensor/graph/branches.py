"""Which steps of a program for CUDA run beside the others, on a second stream.

The backward pass of a layer needs ``x.T @ g`` for its weight and ``g @ w.T`` for the layer before,
and neither needs the other. Small products fill a part of a device only, so the two are quicker at
the same time than one after the other.

The steps are a chain; a few products are moved beside it. Such a product

* is issued as soon as all that it depends on has been, and follows all that was issued before it;
* may run at the same time as what is issued after it, until the chain waits: before the first step
  that depends on it, at the latest at the end of the run.

So two steps without an order are always one beside the chain and one issued after it, before the
chain waits. What they could share is kept apart by this:

* Memory of temporaries. What a product beside the chain uses is given back only when the chain has
  waited for it. What is given to it was given back before it was issued, so it comes after the
  last use. Its own temporaries come from the second stream's part of the pool.
* cuBLAS handles with their workspaces, and zeros to count in: there is one for each stream.
* All else, such as flags, counters of generators and states of libraries, is used by other steps
  than products, which stay on the chain.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from gputensor import blas
from gputensor.epilogue import product_with_epilogue
from gputensor.graph.ir import Node, Value

__all__ = ["Issue", "beside", "in_one_chain", "issues"]

# Bytes that products beside the chain may keep from being given back, before the chain waits.
_MOST_KEPT = 32 << 20

_allowed = True


@contextlib.contextmanager
def in_one_chain() -> Iterator[None]:
    """Context in which programs are made without branches, for tests and benchmarks."""
    global _allowed
    before, _allowed = _allowed, False
    try:
        yield
    finally:
        _allowed = before


class Step(Protocol):
    """What a step must have.

    Attributes
    ----------
    nodes : tuple of Node
    """

    nodes: tuple[Node, ...]


class Issue(NamedTuple):
    """A step in the order of issue.

    Attributes
    ----------
    number : int
        Of the step.
    beside : bool
        Whether it runs beside the chain.
    joins : bool
        Whether the chain first waits for all that runs beside it.
    over : tuple of int
        Numbers of the temporary buffers that may be given back then.
    """

    number: int
    beside: bool
    joins: bool
    over: tuple[int, ...]


class _Uses:
    """What steps read and write."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.by_buffer: list[dict[int, list[tuple[Value, bool]]]] = []
        for step in steps:
            found: dict[int, list[tuple[Value, bool]]] = {}
            for node in step.nodes:
                for values, written in ((node.inputs, False), (node.outputs, True)):
                    for value in values:
                        found.setdefault(value.buffer.number, []).append((value, written))
            self.by_buffer.append(found)

    def ordered(self, i: int, j: int) -> bool:
        """Whether two steps must keep their order."""
        one, other = self.by_buffer[i], self.by_buffer[j]
        return any(
            (written or writes) and value.overlaps(reached)
            for number in one.keys() & other.keys()
            for value, written in one[number]
            for reached, writes in other[number]
        )

    def place(self, i: int) -> tuple[int, int]:
        """The last step that one depends on, or -1; the first that depends on it, or the end."""
        count = len(self.by_buffer)
        before = (j for j in reversed(range(i)) if self.ordered(i, j))
        after = (j for j in range(i + 1, count) if self.ordered(i, j))
        return next(before, -1), next(after, count)

    def temporaries(self, i: int) -> dict[int, int]:
        """Bytes of the temporary buffers that a step uses, by their numbers."""
        buffers = (pairs[0][0].buffer for pairs in self.by_buffer[i].values())
        return {b.number: b.nbytes for b in buffers if b.kind == "temporary"}


def _is_product(step: Step) -> bool:
    """Whether a step is a matrix product by a handle of gputensor's, with its epilogue or not."""
    node = step.nodes[0]
    if len(step.nodes) > 1 or node.kind != "call":
        return False
    return node.op in ("matmul", product_with_epilogue) and (
        blas.kind_of(node.outputs[0].dtype) is not None
    )


def beside(steps: Sequence[Step]) -> dict[int, int]:
    """Products that run beside the chain, and the steps of the chain that they follow at once.

    Each has another product for itself that stays on the chain, and is independent of it: waiting
    takes about a microsecond, for which a smaller step is no gain. Those that are needed last come
    first: of a layer that is the gradient of the weight.

    Parameters
    ----------
    steps : sequence of steps
        In an order in which they may run.

    Returns
    -------
    dict of int to int
        By the number of the step beside the chain, that of the step that it is issued after; -1 for
        the beginning.
    """
    products = [i for i, step in enumerate(steps) if _is_product(step)] if _allowed else []
    if len(products) < 2:
        return {}
    uses = _Uses(steps)
    places = {i: uses.place(i) for i in products}
    found: dict[int, int] = {}
    stay: set[int] = set()
    for i in sorted(products, key=lambda i: places[i][0] - places[i][1]):
        first, last = places[i]
        if i in stay:
            continue
        free = (j for j in products if first < j < last and j != i and j not in found)
        other = next((j for j in free if j not in stay), None)
        if other is not None:
            found[i] = first
            stay.add(other)
    return found


def issues(steps: Sequence[Step], apart: dict[int, int], needed: set[int]) -> list[Issue]:
    """The steps in the order of issue.

    Parameters
    ----------
    steps : sequence of steps
    apart : dict of int to int
        As :func:`beside` gives it, or empty.
    needed : set of int
        Numbers of the buffers that are needed when all steps have run.
    """
    uses = _Uses(steps)
    order = sorted(range(len(steps)), key=lambda i: (apart.get(i, i), i in apart, i))
    joins = _joins(order, apart, uses)
    last: dict[int, int] = {}  # by temporary buffer, the place after which it is not needed
    for place, i in enumerate(order):
        for number in uses.temporaries(i):
            if i in apart:
                waited = (p for p in range(place + 1, len(order)) if p in joins)
                last[number] = max(last.get(number, 0), next(waited, len(order)))
            else:
                last[number] = max(last.get(number, 0), place)
    over: list[list[int]] = [[] for _ in range(len(order) + 1)]
    for number, place in last.items():
        if number not in needed:
            over[place].append(number)
    return [Issue(i, i in apart, p in joins, tuple(over[p])) for p, i in enumerate(order)]


def _joins(order: list[int], apart: dict[int, int], uses: _Uses) -> set[int]:
    """Places in the order at which the chain waits for what runs beside it."""
    found: set[int] = set()
    pending: list[int] = []
    for place, i in enumerate(order):
        if i in apart:
            kept = {n: size for j in pending for n, size in uses.temporaries(j).items()}
            waits = sum(kept.values()) > _MOST_KEPT
        else:
            waits = any(uses.ordered(i, j) for j in pending)
        if waits:
            found.add(place)
            pending.clear()
        if i in apart:
            pending.append(i)
    return found
