"""Gradients of an optimizer's parameters, added up over the ranks."""

import itertools
import weakref
from typing import TYPE_CHECKING

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor, changed, wrap
from gputensor.backend import Array
from gputensor.distributed.group import Group, noted, sums_under_way
from gputensor.optim.blocks import Block, array_of
from gputensor.optim.parts import Part

if TYPE_CHECKING:
    from gputensor.optim.optimizer import Optimizer

__all__ = ["Arriving", "add_up", "backward"]

# Bytes that are added up at once: enough that latency does not count, and few enough that the first
# of them are under way early in the backward pass.
_BUCKET = {"cpu": 1 << 19, "cuda": 1 << 24}
# Which parameters had gradients when the ranks compared that last.
_patterns: "weakref.WeakKeyDictionary[Optimizer, bytes]" = weakref.WeakKeyDictionary()


class Arriving:
    """Sums of gradients over the ranks that are under way.

    Parameters
    ----------
    group : Group
    pieces : list of (Block, int, int)
        What is added up, from where to where in a block, in the order that it was begun in.
    """

    def __init__(self, group: Group, pieces: list[tuple[Block, int, int]]) -> None:
        self._group = group
        self._pieces = pieces

    def wait(self, count: int | None = None) -> None:
        """Wait for the first so many, or for all."""
        pieces = self._pieces[:count]
        if pieces:
            arrays = [block.grads.array[start:stop] for block, start, stop in pieces]
            with backend.on_device_of(arrays[0]):
                noted(_Join(self._group, count), *arrays)

    def wait_for(self, block: Block, start: int, stop: int) -> None:
        """Wait for the gradients of a stretch of parameters."""
        self.wait(self._last(block, start, stop) + 1)

    def _last(self, block: Block, start: int, stop: int) -> int:
        """The last piece that is needed."""
        return max(
            i
            for i, (other, a, b) in enumerate(self._pieces)
            if other is block and a < stop and start < b
        )

    def cut(self, stretches: list[tuple[Part, int, int]]) -> list[tuple[Part, int, int]]:
        """Stretches of parameters, piece by piece, those first whose sums come first."""
        found: list[tuple[int, Part, int, int]] = []
        for part, start, stop in stretches:
            block = part.block
            inner = [b for other, _, b in self._pieces if other is block and start < b < stop]
            # Numbers of the whole part move once in a step.
            bounds = [start, *([] if part.scalars else sorted(inner)), stop]
            for a, b in itertools.pairwise(bounds):
                found.append((self._last(block, a, b), part, a, b))
        found.sort(key=lambda item: item[0])
        return [(part, start, stop) for _, part, start, stop in found]


class _Start:
    """The beginning of a sum, as a function of what it is of."""

    __name__ = "start"
    shared = "begins"

    def __init__(self, group: Group, what: str) -> None:
        self._group = group
        self._what = what

    def __call__(self, piece: Array) -> None:
        self._group.start(piece, self._what)


class _Join:
    """The end of sums, as a function of what they are of."""

    __name__ = "join"
    shared = "ends"

    def __init__(self, group: Group, count: int | None) -> None:
        self._group = group
        self._count = count

    def __call__(self, *pieces: Array) -> None:
        self._group.join(self._count)


def backward(group: Group, optimizer: "Optimizer", loss: Tensor, share: float) -> None:
    """Backward pass of a rank's part of the loss; gradients become those of the whole.

    Sums are under way afterwards, and the optimizer waits for them.

    Parameters
    ----------
    group : Group
    optimizer : Optimizer
    loss : Tensor of shape ()
        Mean over the rows of this rank.
    share : float
        Of these among the rows of all.
    """
    (loss * share).backward()
    sums_under_way[optimizer] = add_up(group, optimizer)


def add_up(group: Group, optimizer: "Optimizer", share: float | None = None) -> Arriving:
    """Begin to add up gradients over the ranks, times `share` where that is given."""
    if (
        share is not None and backend.recording() is None
    ):  # fit does the same on all, captured or not
        _complete(group, optimizer)
    optimizer._gradients(change=True)
    stretches = optimizer._stretches()
    for part, start, stop in stretches:
        g = part.block.grads.array[start:stop]
        if share is not None:
            with backend.on_device_of(g):
                g *= g.dtype.type(share)
        changed(g, "a sum over ranks")
    if (shard := optimizer._shard) is not None:
        shard.add_up(list({id(part): part for part, _, _ in stretches}.values()))
        return Arriving(group, [])
    blocks = list({id(part.block): None for part in optimizer._parts})
    pieces = [
        (part.block, *bounds)
        for part, start, stop in reversed(stretches)
        for bounds in _buckets(part, start, stop)
    ]
    for block, start, stop in pieces:
        number = blocks.index(id(block))
        piece = block.grads.array[start:stop]
        with backend.on_device_of(piece):
            noted(_Start(group, f" of gradients {start} to {stop} of parameters {number}"), piece)
    return Arriving(group, pieces)


def _buckets(part: Part, start: int, stop: int) -> list[tuple[int, int]]:
    """Pieces of a stretch of parameters, of whole ones, the last parameters' first."""
    grads = array_of(part.block.grads)
    most = _BUCKET["cpu" if backend.on_cpu(grads) else "cuda"] // grads.dtype.itemsize
    found: list[tuple[int, int]] = []
    end = stop
    for member in reversed(part.members):
        if start <= member.start < end and (end - member.start >= most or member.start == start):
            found.append((member.start, end))
            end = member.start
    return found


def _complete(group: Group, optimizer: "Optimizer") -> None:
    """Give parameters a gradient of 0 here that have one on another rank only.

    On a CUDA device, where the host would have to wait, that is looked at when it changes.
    """
    leaves = [m.leaf for part in optimizer._parts for m in part.members]
    have = np.array([leaf.grad is not None for leaf in leaves], np.int32)
    pattern = have.tobytes()
    on_cuda = optimizer._home.kind == "cuda"
    if on_cuda and _patterns.get(optimizer) == pattern:
        return
    _patterns[optimizer] = pattern
    group.all_reduce(have, "max")
    for leaf, there in zip(leaves, have, strict=True):
        if there and leaf.grad is None and leaf.buffer is not None:
            with backend.on_device_of(leaf.buffer):
                leaf.buffer[...] = 0
            leaf.grad = wrap(leaf.buffer)
