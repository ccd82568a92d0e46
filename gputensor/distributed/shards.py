"""State of optimizers of which each rank keeps its part."""

from typing import TYPE_CHECKING, Any

import numpy as np

from gputensor import backend
from gputensor.backend import Array
from gputensor.distributed.group import Group, noted
from gputensor.errors import DistributedError

if TYPE_CHECKING:
    from gputensor.optim.parts import Part

__all__ = ["Shard"]


class _Call:
    """A collective operation with what it needs besides arrays, as a function of them."""

    shared = "whole"

    def __init__(self, name: str, call: Any, *options: Any) -> None:
        self.__name__ = name
        self._call, self._options = call, options

    def __call__(self, *arrays: Array) -> None:
        self._call(*arrays, *self._options)


class Shard:
    """A rank's share of the work of an optimizer whose rule goes element by element.

    Gradients are summed where the rank moves parameters only (a reduce-scatter), and the
    parameters are gathered after the step (Rajbhandari et al. 2020, "ZeRO", stage 1): as many bytes
    as one sum of all gradients.

    Parameters
    ----------
    group : Group
    """

    def __init__(self, group: Group) -> None:
        self.group = group

    def bounds(self, part: "Part") -> list[int]:
        """Where the ranks' shares of a part begin in its block, and where the last one ends."""
        n = self.group.size
        return [part.first + part.size * r // n for r in range(n + 1)]

    def own(self, part: "Part") -> tuple[int, int]:
        """From where to where in the block this rank moves parameters."""
        bounds = self.bounds(part)
        return bounds[self.group.rank], bounds[self.group.rank + 1]

    def cut(self, stretches: list[tuple["Part", int, int]]) -> list[tuple["Part", int, int]]:
        """What of some stretches of parameters this rank moves."""
        found = []
        for part, start, stop in stretches:
            low, high = self.own(part)
            if max(start, low) < min(stop, high):
                found.append((part, max(start, low), min(stop, high)))
        return found

    def _each(self, name: str, call: Any, part: "Part", array: Array) -> None:
        bounds = [b - part.first for b in self.bounds(part)]
        with backend.on_device_of(array):
            noted(_Call(name, call, bounds), array[part.first : part.first + part.size])

    def add_up(self, parts: list["Part"]) -> None:
        """Sum the gradients of parts where this rank moves their parameters."""
        for part in parts:
            self._each("reduce_parts", self.group.reduce_parts, part, part.block.grads.array)

    def gather(self, parts: list["Part"]) -> None:
        """Give all ranks the parameters of parts."""
        for part in parts:
            self._each("gather_parts", self.group.gather_parts, part, part.block.values.array)

    def total(self, array: Array, op: str = "sum") -> None:
        """Reduce what was computed of the ranks' own gradients, in place."""
        with backend.on_device_of(array):
            noted(_Call("all_reduce", self.group.all_reduce, op), array)

    def whole(self, part: "Part", own: Array) -> Array:
        """The state of all ranks for a part, on the host; each has to ask for it."""
        bounds = [b - part.first for b in self.bounds(part)]
        found = np.zeros(part.size, own.dtype)
        found[slice(*bounds[self.group.rank : self.group.rank + 2])] = backend.to_host(own)
        self.group.gather_parts(found, bounds)
        return found

    def refuse(self, what: str) -> None:
        """Say that something cannot be done with a part of the state."""
        raise DistributedError(
            f"{what} is not possible where each rank keeps a part of the optimizer's state; call "
            "gt.distributed.init() without shard_state=True"
        )
