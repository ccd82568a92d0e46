"""Models and optimizers that are the same on all ranks."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gputensor import backend
from gputensor.autograd import changed
from gputensor.backend import Array
from gputensor.distributed.group import Group
from gputensor.errors import DistributedError
from gputensor.random import Generator, default_generator

if TYPE_CHECKING:
    from gputensor.nn import Module
    from gputensor.optim import Optimizer

__all__ = [
    "begin",
    "check_same",
    "copy_buffers",
    "copy_module",
    "copy_optimizer",
    "numbers",
    "own_numbers",
    "same_numbers",
    "same_rates",
    "set_numbers",
]


def _copy(group: Group, array: Array, root: int) -> None:
    with backend.on_device_of(array):
        group.broadcast(array, root)
    changed(array, "a copy of another rank's")


def check_same(group: Group, what: str, signature: list[Any], root: int = 0) -> None:
    """See that a description is the same everywhere, or say where it is not."""
    theirs = group.share(signature, root)
    first = next((pair for pair in zip(signature, theirs) if pair[0] != pair[1]), None)  # noqa: B905
    bad = theirs != signature
    if not group.any(bad):
        return
    if bad and first is not None:
        detail = f"rank {group.rank} has {first[0]}, rank {root} has {first[1]}"
    elif bad:
        detail = f"rank {group.rank} has {len(signature)} parts, rank {root} has {len(theirs)}"
    else:
        detail = f"another rank differs from rank {group.rank}"
    raise DistributedError(f"{what} is not the same on all ranks: {detail}")


def copy_module(group: Group, module: "Module", root: int = 0) -> None:
    """Give all ranks the parameters and buffers of one."""
    tensors = list(module._tensors())
    signature = [(name, t.shape, t.dtype.name) for name, t in tensors]
    check_same(group, "the model", signature, root)
    for _, t in tensors:
        _copy(group, t.array, root)


def copy_buffers(group: Group, module: "Module", root: int = 0) -> None:
    """Give all ranks the buffers of one, such as running means."""
    for _, t in module.named_buffers():
        _copy(group, t.array, root)


def copy_optimizer(group: Group, optimizer: "Optimizer", root: int = 0) -> None:
    """Give all ranks an optimizer's state and learning rates of one."""
    optimizer._stretches()
    arrays: list[Array] = []
    signature: list[Any] = [type(optimizer).__name__]
    for part in optimizer._parts:
        states = [] if optimizer._shard is not None else part.states.items()
        own = [*states, *part.scalars.items(), ("count", part.count.value)]
        signature += [(name, t.dtype.name) for name, t in part.states.items()]
        signature.append((part.first, part.size, *sorted(name for name, _ in own)))
        arrays += [t.array for _, t in own]
    arrays += [clock.value.array for clock in optimizer._clocks.values()]
    check_same(group, "the optimizer", signature, root)
    for array in arrays:
        _copy(group, array, root)
    same_rates(group, optimizer, root)


def same_rates(group: Group, optimizer: "Optimizer", root: int = 0) -> None:
    """Give all ranks the learning rates of one; schedules are functions of the steps."""
    groups = optimizer.param_groups
    mine = [None if callable(g.lr) else g.lr for g in groups]
    for g, rate in zip(groups, group.share(mine, root), strict=True):
        if rate is not None and g.lr != rate:
            g.lr = rate


def begin(group: Group, module: "Module", optimizer: "Optimizer") -> None:
    """Before training: the same model and state everywhere, and numbers of each rank's own."""
    copy_module(group, module)
    copy_optimizer(group, optimizer)
    own_numbers(group, module)


# Random numbers


def _generators(module: "Module") -> list[Generator]:
    return [default_generator, *(generator for _, generator in module._generators())]


def numbers(module: "Module") -> list[tuple[int, int]]:
    """States of this rank's generators."""
    return [generator.state for generator in _generators(module)]


def set_numbers(module: "Module", states: Iterable[Sequence[int]]) -> None:
    """Go on from states that :func:`numbers` gave."""
    for generator, (seed, counter) in zip(_generators(module), states, strict=True):
        generator.state = int(seed), int(counter)


def same_numbers(group: Group, module: "Module") -> None:
    """Give all ranks the random numbers of the first."""
    set_numbers(module, group.share(numbers(module)))


def own_numbers(group: Group, module: "Module") -> None:
    """Give each rank random numbers of its own, which follow from those of the first.

    Dropout of equal masks on all ranks would be dropout of fewer masks.
    """
    import hashlib

    same_numbers(group, module)
    if group.rank:
        for generator in _generators(module):
            seed, counter = generator.state
            words = hashlib.sha256(f"{seed}, rank {group.rank}".encode()).digest()
            generator.state = int(np.frombuffer(words[:8], "<u8")[0]), counter
