"""The parameters of an optimizer: in which groups and parts, with what state.

Parameters lie side by side in memory, see :mod:`gputensor.optim.blocks`, and those that lie in a
row, a part, are moved by one launch.
"""

import weakref
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from gputensor import backend, memory
from gputensor.autograd import Tensor, leaf_of, wrap
from gputensor.distributed.group import shard_of_state
from gputensor.optim.blocks import Block, checked, lay, place_of, state_like
from gputensor.optim.groups import Check, Group, right_name
from gputensor.optim.parts import Count, Member, Part, split
from gputensor.watched import Watched

__all__ = ["Arranged"]


class Arranged(Watched):
    """Parameters in groups, and in parts that steps move.

    Attributes
    ----------
    param_groups : list of Group
    defaults : dict
        Settings of groups that have none of their own.
    """

    _settings: ClassVar[dict[str, Check]] = {}
    _counts = False  # whether the rule moves the count on
    _reads_count = False  # whether it reads it
    _elementwise = True  # whether parts of parameters may be moved on their own
    _one_count = False  # whether steps are counted for all parameters together, as Keras does

    param_groups: list[Group]
    defaults: dict[str, Any]
    _parts: tuple[Part, ...]
    _clocks: dict[str, Count]
    _shard: Any

    def _begin(self, defaults: dict[str, Any]) -> None:
        members = vars(self)
        shard = shard_of_state() if self._elementwise else None
        members.update(param_groups=[], defaults=defaults, _parts=(), _clocks={}, _shard=shard)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters, with settings of their own.

        Parameters
        ----------
        group : mapping
            ``params``, an iterable of tensors or one, and settings; others are those that the
            optimizer was made with.
        """
        if not isinstance(group, Mapping) or "params" not in group:
            raise TypeError("add_param_group: group must be a dict that has params")
        settings = {k: v for k, v in group.items() if k != "params"}
        for name in settings:
            if name not in self.defaults:
                meant = right_name(name, list(self.defaults))
                raise TypeError(
                    f"{type(self).__name__} has no setting {name}"
                    + (f"; the name is {meant}" if meant else "")
                )
        given = self.defaults | settings
        parameters = group["params"]
        self.add_group(
            Group(self._settings, given.pop("lr"), given),
            [parameters] if isinstance(parameters, Tensor) else parameters,
        )

    def add_group(self, group: Group, parameters: Any) -> None:
        """Add parameters to a group, and the group if it is new."""
        found = checked(parameters)
        if not found:
            raise ValueError("parameters is empty; give at least one tensor")
        known = {id(leaf_of(p)) for g in self.param_groups for p in g.params}
        twice = [i for i, p in enumerate(found) if id(leaf_of(p)) in known]
        if twice:
            raise ValueError(f"parameters: item {twice[0]} belongs to a group of the optimizer")
        self._admit(group, found)
        if not any(g is group for g in self.param_groups):
            self.param_groups.append(group)
            vars(group)["_owner"] = weakref.ref(self)
        group.params.extend(found)
        if found[0].device.kind == "cpu":
            memory.keep_freed()
        with memory.explained(type(self).__name__, found[0].device):
            lay(found)
            self._parts = (*self._parts, *self._parts_of(group, found))

    def _admit(self, group: Group, parameters: list[Tensor]) -> None:
        """Check parameters that join."""

    @property
    def in_parts(self) -> bool:
        """Whether each process keeps a part of the state, see :mod:`gputensor.distributed`."""
        return self._shard is not None

    # Parts

    def _clock(self, block: Block) -> Count:
        """Count of the steps on a block's device."""
        device = block.values.device
        if str(device) not in self._clocks:
            with backend.on_device_of(block.values.array):
                zero = backend.namespace(block.values.array).zeros(1, np.int64)
                self._clocks[str(device)] = Count(zero)
        return self._clocks[str(device)]

    def _parts_of(self, group: Group, parameters: list[Tensor]) -> list[Part]:
        """New parts of parameters."""
        rows: dict[int, list[tuple[Block, Member]]] = {}
        for p in parameters:
            place, leaf = place_of(p), leaf_of(p)
            assert place is not None
            assert leaf is not None
            member = Member(p, leaf, place.start, place.stop)
            rows.setdefault(id(place.block), []).append((place.block, member))
        parts: list[Part] = []
        for row in rows.values():
            block = row[0][0]
            ordered = sorted((m for _, m in row), key=lambda m: m.start)
            for members in self._divided(group, ordered):
                count = self._clock(block)
                if self._reads_count and not self._one_count and self._parts:  # others are ahead
                    with backend.on_device_of(block.values.array):
                        count = Count(backend.namespace(block.values.array).zeros(1, np.int64))
                parts.append(part := Part(group, block, members, count))
                if (shard := self._shard) is not None:
                    part.low, part.high = shard.own(part)
                self._fill(part)
        return parts

    def _divided(self, group: Group, members: list[Member]) -> Iterator[list[Member]]:
        """Members of a block, in order, in stretches that are moved alike."""
        row: list[Member] = []
        for member in members:
            if row and (row[-1].stop != member.start or not self._alike(group, row[-1], member)):
                yield row
                row = []
            row.append(member)
        if row:
            yield row

    def _alike(self, group: Group, one: Member, other: Member) -> bool:
        return True

    def _slots(self, group: Group, part: Part) -> dict[str, float]:
        """Names of the state arrays, and what is in them at first."""
        return {}

    def _scalars(self, group: Group) -> dict[str, float]:
        """Names of single numbers of the state, and what they are at first."""
        return {}

    def _fill(self, part: Part) -> bool:
        """Make state arrays that are not there yet; whether there were any."""
        lacking = {k: v for k, v in self._slots(part.group, part).items() if k not in part.states}
        for name, value in lacking.items():
            part.states[name] = state_like(part.block, part.high - part.low, value)
        for name, value in self._scalars(part.group).items():
            if name not in part.scalars:
                lacking[name] = value
                with backend.on_device_of(part.block.values.array):
                    xp = backend.namespace(part.block.values.array)
                    part.scalars[name] = wrap(xp.full(1, value, np.float64))
        return bool(lacking)

    def _refill(self) -> None:
        """Make the state that a setting asks for."""
        made = [self._fill(part) for part in self._parts]
        if any(made):
            self._parts = (*self._parts,)

    def _arrange(self) -> None:
        """Follow parameters that are elsewhere than they were."""
        parts: list[Part] = []
        for part in self._parts:
            if part.runs() is not None:
                parts.append(part)
                continue
            lay(m.tensor for m in part.members)
            # Parameters of lazy modules, which have got elements.
            made = [m.tensor for m in part.members if m.start == m.stop and m.tensor.array.size]
            parts += self._parts_of(part.group, made)
            for member in part.members:
                if any(t is member.tensor for t in made):
                    continue
                piece = part.piece([member])
                place, leaf = place_of(member.tensor), leaf_of(member.tensor)
                assert place is not None
                assert leaf is not None
                piece.block = place.block
                piece.place([Member(member.tensor, leaf, place.start, place.stop)])
                self._follow(piece, place.block)
                parts.append(piece)
        self._parts = tuple(parts)

    def _follow(self, piece: Part, block: Block) -> None:
        """Bring the state of a piece to the device and dtype of a block."""
        device = block.values.device
        if piece.rate.device != device:
            piece.count = self._clock(block) if self._one_count else piece.count.copy(device)
            piece.rate = piece.group.rate_on(device)
        like = state_like(block, 0).array
        for states in (piece.states, piece.scalars):
            for name, t in states.items():
                array = backend.to_device(t.array, device)
                states[name] = wrap(array.astype(like.dtype) if states is piece.states else array)

    def _stretches(self) -> list[tuple[Part, int, int]]:
        """What is to be moved: parts, and from where to where in their blocks."""
        found: list[tuple[Part, int, int]] = []
        for part in self._parts:
            runs = part.runs()
            if runs is None:
                self._arrange()
                return self._stretches()
            found += [(part, start, stop) for start, stop in runs]
        return found

    def _ready(self) -> list[tuple[Part, int, int]]:
        """As :meth:`_stretches`, in parts whose parameters have all taken the same steps."""
        found = self._stretches()
        if self._one_count or not self._reads_count:
            return found
        if len(found) == len(self._parts) and all(p.size == end - at for p, at, end in found):
            return found
        moved: dict[int, list[tuple[int, int]]] = {}
        for part, start, stop in found:
            moved.setdefault(id(part), []).append((start, stop))
        clocks = {id(clock) for clock in self._clocks.values()}

        def fits(part: Part) -> bool:
            if id(part) in moved:
                return moved[id(part)] == [(part.first, part.first + part.size)]
            return id(part.count) not in clocks

        if not found or all(map(fits, self._parts)):
            return found
        parts: list[Part] = []
        for part in self._parts:
            if fits(part):
                parts.append(part)
                continue
            for moves, members in split(part, moved.get(id(part), [])):
                piece = part if len(members) == len(part.members) else part.piece(members)
                if not moves:
                    piece.count = part.count.copy()
                parts.append(piece)
        self._parts = tuple(parts)
        return self._stretches()
