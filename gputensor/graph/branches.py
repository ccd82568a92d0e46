"""Which steps of a program for CUDA run beside the others, on a second stream.

The backward pass of a layer needs ``x.T @ g`` for its weight and ``g @ w.T`` for the layer before,
and neither needs the other. As small products fill a part of a device only, the two can run at the
same time. ``python -m gputensor bench mnist --device cuda`` measures an epoch with and without it.

The steps are a chain, and some products are moved beside it. Such a product

* is issued as soon as all that it depends on has been, and follows all that was issued before it;
* may run at the same time as what is issued after it, until the chain waits: before the first step
  that depends on it, at the latest at the end of the run.

So two steps without an order are always one beside the chain and one issued after it, before the
chain waits. What they could share is kept apart by this:

* Memory of temporaries. What a product beside the chain uses is given back only when the chain has
  waited for it. What it takes was given back before it was issued, so it comes after the last use.
  CuPy's pool hands memory out to the stream only that it was first taken on.
* cuBLAS handles with their workspaces, without which bits may depend on what else runs (cuBLAS,
  "Results reproducibility"), and zeros to count in: there is one for each stream.
* All else, such as flags, counters of generators and states of libraries, is used by other steps
  than products, which stay on the chain.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from gputensor import blas
from gputensor.epilogue import product_with_epilogue
from gputensor.graph.ir import Node

__all__ = ["Issue", "in_one_chain", "orders"]

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
        Numbers of the temporary buffers that may be given back once it has been issued.
    """

    number: int
    beside: bool
    joins: bool
    over: tuple[int, ...]


class _Uses:
    """What steps read and write."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.count = len(steps)
        # By step and buffer: first byte, the one after the last, and whether it is written.
        self._spans: list[dict[int, set[tuple[int, int, bool]]]] = []
        self.temporaries: list[dict[int, int]] = []  # by step, bytes of such buffers, by number
        for step in steps:
            spans: dict[int, set[tuple[int, int, bool]]] = {}
            sizes: dict[int, int] = {}
            for node in step.nodes:
                for values, written in ((node.inputs, False), (node.outputs, True)):
                    for value in values:
                        buffer = value.buffer
                        spans.setdefault(buffer.number, set()).add((*value.extent(), written))
                        if buffer.kind == "temporary":
                            sizes[buffer.number] = buffer.nbytes
            self._spans.append(spans)
            self.temporaries.append(sizes)

    def ordered(self, i: int, j: int) -> bool:
        """Whether two steps must keep their order."""
        one, other = self._spans[i], self._spans[j]
        return any(
            (written or writes) and a < d and c < b
            for number in one.keys() & other.keys()
            for a, b, written in one[number]
            for c, d, writes in other[number]
        )

    def place(self, i: int) -> tuple[int, int]:
        """The last step that one depends on, or -1; the first that depends on it, or the end."""
        before = (j for j in reversed(range(i)) if self.ordered(i, j))
        after = (j for j in range(i + 1, self.count) if self.ordered(i, j))
        return next(before, -1), next(after, self.count)


def orders(steps: Sequence[Step], needed: set[int]) -> tuple[list[Issue], list[Issue]]:
    """The steps in two orders of issue: all in one chain, and with products beside it.

    Parameters
    ----------
    steps : sequence of steps
        In an order in which they may run, that of the first.
    needed : set of int
        Numbers of the buffers that are needed when all steps have run.
    """
    uses = _Uses(steps)
    return _issues(uses, {}, needed), _issues(uses, _beside(steps, uses), needed)


def _beside(steps: Sequence[Step], uses: _Uses) -> dict[int, int]:
    """Products that run beside the chain, and after which step each is issued, -1 for none.

    Each has another product for itself that stays on the chain, and is independent of it: waiting
    takes about a microsecond, for which a smaller step is no gain. Those that are needed last come
    first: of a layer that is the gradient of the weight.
    """
    products = [i for i, step in enumerate(steps) if _is_product(step)] if _allowed else []
    places = {i: uses.place(i) for i in products}
    found: dict[int, int] = {}
    stay: set[int] = set()
    for i in sorted(products, key=lambda i: places[i][0] - places[i][1]):
        first, last = places[i]
        if i in stay:
            continue
        others = (j for j in products if first < j < last and j != i)
        other = next((j for j in others if j not in found and j not in stay), None)
        if other is not None:
            found[i] = first
            stay.add(other)
    return found


def _is_product(step: Step) -> bool:
    """Whether a step is a matrix product by a handle of gputensor's, with its epilogue or not."""
    node = step.nodes[0]
    if len(step.nodes) > 1 or node.kind != "call":
        return False
    product = node.op == "matmul" or node.op is product_with_epilogue
    return product and blas.kind_of(node.outputs[0].dtype) is not None


def _issues(uses: _Uses, apart: dict[int, int], needed: set[int]) -> list[Issue]:
    """The steps in the order of issue, some of them apart from the chain."""
    order = sorted(range(uses.count), key=lambda i: (apart.get(i, i), i in apart, i))
    joins = _joins(order, apart, uses)
    end = len(order)
    last: dict[int, int] = {}  # by temporary buffer, the place after which it is not needed
    for place, i in enumerate(order):
        over = place
        if i in apart:
            over = next((p for p in range(place + 1, end) if p in joins), end)
        for number in uses.temporaries[i]:
            last[number] = max(last.get(number, 0), over)
    free: list[list[int]] = [[] for _ in range(end + 1)]
    for number, place in last.items():
        if number not in needed:
            free[place].append(number)
    return [Issue(i, i in apart, p in joins, tuple(free[p])) for p, i in enumerate(order)]


def _joins(order: list[int], apart: dict[int, int], uses: _Uses) -> set[int]:
    """Places in the order at which the chain waits for what runs beside it."""
    found: set[int] = set()
    pending: list[int] = []
    kept: dict[int, int] = {}  # temporary buffers of these, and their bytes
    for place, i in enumerate(order):
        if i in apart:
            waits = sum(kept.values()) > _MOST_KEPT
        else:
            waits = any(uses.ordered(i, j) for j in pending)
        if waits:
            found.add(place)
            pending.clear()
            kept.clear()
        if i in apart:
            pending.append(i)
            kept |= uses.temporaries[i]
    return found
