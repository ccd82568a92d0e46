"""Parts of an optimizer: parameters that lie one after the other, with their state."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gputensor import backend
from gputensor.autograd import Leaf, Tensor, leaf_of, wrap
from gputensor.backend import Array, Device
from gputensor.errors import DistributedError
from gputensor.kernels.grad_norm import segments_of
from gputensor.optim.blocks import Block, array_of
from gputensor.optim.groups import Group

__all__ = ["Count", "Launch", "Member", "Part", "split"]


class Count:
    """A number of steps on a device, which kernels move on by the ticket of their last block."""

    __slots__ = ("ticket", "value")

    def __init__(self, value: Array) -> None:
        self.value = wrap(value)
        self.ticket = wrap(backend.namespace(value).zeros(1, np.uint32))

    def copy(self, device: Device | None = None) -> "Count":
        """The same number, on this device or another."""
        with backend.on_device_of(self.value.array):
            made = self.value.array.copy()
        made = made if device is None else backend.to_device(made, device)
        with backend.on_device_of(made):
            return Count(made)


class Member(NamedTuple):
    """A parameter in a part."""

    tensor: Tensor
    leaf: Leaf
    start: int
    stop: int


class Part:
    """Parameters of a group that lie one after the other, with their state: one launch.

    Attributes
    ----------
    count : Count
        How many steps they have taken.
    first, size : int
        Where it begins in the block, and how many numbers it has.
    low, high : int
        From where to where in the block the states are: all of it, or this rank's share.
    states : dict of str to Tensor
        Flat arrays beside the values.
    scalars : dict of str to Tensor
        Single numbers, of shape (1,).
    segments : dict of (int, int) to array
        What :meth:`segments_in` has given: arrays that nothing changes, which a recording may make.
    """

    __slots__ = (
        "block",
        "count",
        "first",
        "group",
        "high",
        "low",
        "members",
        "rate",
        "scalars",
        "segments",
        "size",
        "states",
    )

    def __init__(self, group: Group, block: Block, members: list[Member], count: Count) -> None:
        self.group = group
        self.block = block
        self.place(members)
        self.count = count
        self.rate = group.rate_on(block.values.device)
        self.states: dict[str, Tensor] = {}
        self.scalars: dict[str, Tensor] = {}

    def place(self, members: list[Member]) -> None:
        """Note where the parameters are."""
        self.members = members
        self.first = members[0].start
        self.size = members[-1].stop - self.first
        self.low, self.high = self.first, self.first + self.size
        self.segments: dict[tuple[int, int], Array] = {}

    def segments_in(self, start: int, stop: int) -> Array:
        """What kernels are told of the parameters of a stretch, see ``kernels.grad_norm``."""
        if (start, stop) not in self.segments:
            sizes = [m.stop - m.start for m in self.members if start <= m.start < stop]
            self.segments[start, stop] = segments_of(sizes, array_of(self.block.grads))
        return self.segments[start, stop]

    def runs(self) -> list[tuple[int, int]] | None:
        """Longest stretches of the block that are to be moved: not frozen, with gradients.

        None if a parameter is not where it was.
        """
        found: list[tuple[int, int]] = []
        block = self.block
        for tensor, leaf, start, stop in self.members:
            place = leaf.place
            if (
                place is None
                or array_of(tensor) is not place.array
                or place.block is not block
                or place.start != start
            ):
                return None
            if tensor._node is not leaf:
                if leaf_of(tensor) is not leaf:
                    return None
                continue
            grad = leaf.grad
            if grad is None:
                continue
            if grad.array is not leaf.buffer:
                leaf.settle()
            if found and found[-1][1] == start:
                found[-1] = found[-1][0], stop
            else:
                found.append((start, stop))
        return found

    def piece(self, members: list[Member]) -> "Part":
        """Some of the members, one after the other, with their state as it is."""
        if self.high - self.low != self.size:
            raise DistributedError(
                "parameters that are frozen, moved or without a gradient on their own are not "
                "possible where each rank keeps a part of the optimizer's state"
            )
        made = Part(self.group, self.block, members, self.count)
        start, stop = made.first - self.first, members[-1].stop - self.first
        made.states = {k: wrap(t.array[start:stop]) for k, t in self.states.items()}
        made.scalars = {k: wrap(t.array.copy()) for k, t in self.scalars.items()}
        return made


class Launch(NamedTuple):
    """What a step does at once: arrays of one stretch of parameters.

    Attributes
    ----------
    p, g : arrays of shape (n,)
        Values, and gradients.
    states : dict of str to array
    part : Part
    rate : float64 array of shape ()
    count : int64 array of shape (1,)
        Steps taken before this one.
    ticket : uint32 array of shape (1,)
    advance : bool
        Whether it is the last one that reads the count.
    skip : uint32 array of shape (1,) or None
    """

    p: Array
    g: Array
    states: dict[str, Array]
    part: Part
    rate: Array
    count: Array
    ticket: Array
    advance: bool
    skip: Array | None


def split(part: Part, runs: list[tuple[int, int]]) -> Iterator[tuple[bool, list[Member]]]:
    """Members of a part in stretches that are in `runs`, or not."""
    row: list[Member] = []
    inside = False
    for member in part.members:
        now = any(start <= member.start < stop for start, stop in runs)
        if row and now != inside:
            yield inside, row
            row = []
        inside = now
        row.append(member)
    yield inside, row
