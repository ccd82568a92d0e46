"""Gradients of an optimizer's parameters, added up over the ranks."""

import itertools
import weakref
from typing import TYPE_CHECKING

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor, changed, wrap
from gputensor.backend import Array
from gputensor.distributed.group import Group, noted

if TYPE_CHECKING:
    from gputensor.optim.optimizer import Optimizer

__all__ = ["add_up", "backward"]

# Bytes that are added up at once: enough that latency does not count, and few enough that the first
# of them are under way early in the backward pass.
_BUCKET = {"cpu": 1 << 19, "cuda": 1 << 24}
# Which parameters had gradients when the ranks compared that last.
_patterns: "weakref.WeakKeyDictionary[Optimizer, bytes]" = weakref.WeakKeyDictionary()


def backward(group: Group, optimizer: "Optimizer", loss: Tensor, share: float) -> None:
    """Backward pass of a rank's part of the loss; gradients are those of the whole.

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
    add_up(group, optimizer)


def add_up(group: Group, optimizer: "Optimizer", share: float | None = None) -> None:
    """Add up gradients over the ranks, times `share` where that is given."""
    if backend.recording() is None:
        _complete(group, optimizer)
    gradients = optimizer._gradients(change=True)
    if share is not None:
        for g in gradients:
            with backend.on_device_of(g):
                g *= g.dtype.type(share)
    pieces = [piece for g in reversed(gradients) for piece in _buckets(g)]
    for piece in pieces:
        with backend.on_device_of(piece):
            noted(group.start, piece)
    if pieces:
        with backend.on_device_of(pieces[0]):
            noted(_Join(group), *pieces)
    for g in gradients:
        changed(g, "a sum over ranks")


class _Join:
    """The end of all sums, as a function of what they are of."""

    __name__ = "join"

    def __init__(self, group: Group) -> None:
        self._group = group

    def __call__(self, *pieces: Array) -> None:
        self._group.join()


def _buckets(g: Array) -> list[Array]:
    """Pieces of a stretch of gradients, the last parameters' first."""
    most = _BUCKET["cpu" if backend.on_cpu(g) else "cuda"] // g.dtype.itemsize
    n = int(g.size)
    count = max(1, round(n / most))
    stops = [n * i // count for i in range(count + 1)]
    return [g[start:stop] for start, stop in itertools.pairwise(stops)][::-1]


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
