"""State of optimizers by parameter: copies of it, and back."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor, leaf_of
from gputensor.backend import Array
from gputensor.copies import host_copy
from gputensor.errors import ShapeError
from gputensor.optim.groups import Group, number
from gputensor.optim.parts import Member, Part
from gputensor.random import default_generator

if TYPE_CHECKING:
    from gputensor.optim.optimizer import Optimizer

__all__ = ["arrays", "copied", "load", "named_rates"]


def _by_parameter(optimizer: "Optimizer") -> Iterator[tuple[int, Member, Part]]:
    at = {id(m.leaf): (m, part) for part in optimizer._parts for m in part.members}
    number = 0
    for group in optimizer.param_groups:
        for p in group.params:
            member, part = at[id(leaf_of(p))]
            yield number, member, part
            number += 1


def copied(optimizer: "Optimizer") -> dict[str, Any]:
    """Copies of an optimizer's state on the host."""
    state: dict[str, Any] = {key: group.lr for key, group in named_rates(optimizer)}
    state |= {name: host_copy(array) for name, array in arrays(optimizer).items()}
    state["random"] = np.array(default_generator.state, np.uint64)
    return state


def arrays(optimizer: "Optimizer") -> dict[str, Any]:
    """The state's own arrays, by name; copies on the host where each rank keeps a part of them."""
    state: dict[str, Any] = {}
    shard = optimizer._shard
    wholes: dict[int, Array] = {}  # by their tensors' identity
    if shard is not None:
        for part in optimizer._parts:
            for t in part.states.values():
                wholes[id(t)] = shard.whole(part, t.array)
    for i, member, part in _by_parameter(optimizer):
        state[f"{i}.step"] = part.count.value.array
        inner = slice(member.start - part.first, member.stop - part.first)
        for name, t in part.states.items():
            whole = t.array if shard is None else wholes[id(t)]
            state[f"{i}.{name}"] = whole[inner].reshape(_shape(member))
        for name, t in part.scalars.items():
            state[f"{i}.{name}"] = t.array
    return state


def named_rates(optimizer: "Optimizer") -> list[tuple[str, Group]]:
    groups = optimizer.param_groups
    names = ["lr"] if len(groups) == 1 else [f"lr.{k}" for k in range(len(groups))]
    return [(n, g) for n, g in zip(names, groups, strict=True) if not callable(g.lr)]


def load(optimizer: "Optimizer", state: dict[str, Any]) -> None:
    """Check all of a state, then copy it back."""
    chance = state.pop("random", None)
    shapes: dict[str, tuple[int, ...]] = {key: () for key, _ in named_rates(optimizer)}
    for i, member, part in _by_parameter(optimizer):
        shapes[f"{i}.step"] = (1,)
        shapes |= {f"{i}.{name}": _shape(member) for name in part.states}
        shapes |= {f"{i}.{name}": (1,) for name in part.scalars}
    if state.keys() != shapes.keys():
        lacking = sorted(shapes.keys() - state.keys())
        unknown = sorted(state.keys() - shapes.keys())
        raise KeyError(
            f"load_state_dict: state must hold {', '.join(shapes)}"
            + (f"; it lacks {', '.join(lacking)}" if lacking else "")
            + (f"; it has {', '.join(unknown)} besides" if unknown else "")
        )
    values: dict[str, Any] = {}
    for key, value in state.items():
        array = np.asarray(value.numpy() if isinstance(value, Tensor) else value)
        if array.shape != shapes[key]:
            raise ShapeError(
                f"load_state_dict: {key} has shape {array.shape}, it must have {shapes[key]}"
            )
        if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
            raise TypeError(f"load_state_dict: {key} must hold numbers, it is {array.dtype}")
        values[key] = array
    rates = {key: number(key, values[key], 0, float("inf")) for key, _ in named_rates(optimizer)}
    seed = None
    if chance is not None:
        seed, counter = (int(n) for n in np.asarray(chance).reshape(-1))
    for key, group in named_rates(optimizer):
        group.lr = rates[key]
    _set_counts(optimizer, [int(values[f"{i}.step"][0]) for i, _, _ in _by_parameter(optimizer)])
    for i, member, part in _by_parameter(optimizer):
        start, stop = max(member.start, part.low), min(member.stop, part.high)
        if start < stop:  # what of it is here
            inner = slice(start - part.low, stop - part.low)
            given = slice(start - member.start, stop - member.start)
            for name, t in part.states.items():
                _put(t.array[inner], values[f"{i}.{name}"].reshape(-1)[given])
        for name, t in part.scalars.items():
            _put(t.array, values[f"{i}.{name}"])
    if seed is not None:
        default_generator.state = seed, counter


def _set_counts(optimizer: "Optimizer", steps: list[int]) -> None:
    """Set how many steps each parameter has taken."""
    changed_now = False
    for clock in optimizer._clocks.values():
        clock.value.array.fill(max(steps))
    parts: list[Part] = []
    by_leaf = {id(m.leaf): n for n, (_, m, _) in zip(steps, _by_parameter(optimizer), strict=True)}
    for part in optimizer._parts:
        found = [by_leaf[id(m.leaf)] for m in part.members]
        pieces = [part] if len(set(found)) == 1 else [part.piece([m]) for m in part.members]
        for piece in pieces:
            taken = by_leaf[id(piece.members[0].leaf)]
            clock = optimizer._clock(piece.block)
            if taken == max(steps):
                changed_now |= piece.count is not clock
                piece.count = clock
            else:
                changed_now = True
                piece.count = clock.copy()
                piece.count.value.array.fill(taken)
        parts += pieces
    if changed_now or len(parts) != len(optimizer._parts):
        optimizer._parts = tuple(parts)


def _shape(member: Member) -> tuple[int, ...]:
    """Shape of a parameter's state: complex numbers are pairs."""
    shape = member.leaf.shape
    return (*shape, 2) if member.leaf.dtype.kind == "c" else shape


def _put(array: Array, value: "np.ndarray[Any, Any]") -> None:
    with backend.on_device_of(array):
        array[...] = backend.to_device(value.astype(array.dtype), backend.device_of(array))
