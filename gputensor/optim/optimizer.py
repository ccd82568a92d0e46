"""The optimizer: which parameters a step moves, with which settings, and its state.

Parameters lie side by side in memory, see :mod:`gputensor.optim.blocks`, and those that lie in a
row are moved by one launch. What is computed for them is a
subclass's: :mod:`gputensor.optim.rules`.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from gputensor import backend, memory
from gputensor.autograd import Tensor, changed, enable_grad, leaf_of, no_grad, wrap
from gputensor.backend import Array
from gputensor.distributed.group import shard_of_state, sums_under_way
from gputensor.kernels import clip_norm, squared_norm
from gputensor.optim import state
from gputensor.optim.blocks import Block, checked, lay, place_of, state_like
from gputensor.optim.groups import Check, Group, number, right_name
from gputensor.optim.parts import Count, Launch, Member, Part, split
from gputensor.optim.schedules import Schedule
from gputensor.shown import call_text
from gputensor.watched import Watched
from gputensor.words import refuse_keywords

__all__ = ["Optimizer"]


def _as_number(count: Array) -> Array:
    return count.reshape(()).astype(np.float64)


def add_one(count: Array, skip: Array | None) -> None:
    count += 1 if skip is None else skip == 0


def _root_of(xp: Any, squared: Array) -> Array:
    return xp.asarray(xp.sqrt(squared))


def _total(xp: Any, parts: list[Array]) -> Array:
    return xp.asarray(sum(parts[1:], parts[0])) if parts else xp.zeros(())


class Optimizer(Watched):
    """Base class.

    Parameters
    ----------
    parameters : iterable of Tensor, or of dict
        Tensors made with ``requires_grad=True``; a frozen one is moved once it is thawed. Several
        optimizers may share a parameter. Dicts are groups: ``params``, and settings of their own.
        Real and imaginary parts of complex ones count as parameters of their own.
    lr : float or Schedule
        Learning rate, or a function of the number of steps taken that gives it, see
        :mod:`gputensor.optim.schedules`.
    **settings
        Those of the subclass. Each is an attribute, too; to set it is to set it in all groups.

    Attributes
    ----------
    param_groups : list of Group
        Settings by group: ``optimizer.param_groups[0]["lr"] = 0.1``.
    lr : float or Schedule
        May be set. It is kept on the device, where steps read it.

    Examples
    --------
    >>> w = gt.tensor([1.0], requires_grad=True)
    >>> optimizer = gt.optim.SGD([w], lr=0.1)
    >>> optimizer.lr = 0.01
    >>> optimizer.param_groups[0].lr
    0.01
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

    def __new__(cls, *args: Any, **kwargs: Any) -> "Optimizer":
        """Refuse settings that other libraries call otherwise, before Python does."""
        refuse_keywords(cls.__init__, cls.__name__, kwargs)
        return super().__new__(cls)

    def __init__(self, parameters: Any, lr: float | Schedule, **settings: Any) -> None:
        if isinstance(parameters, Tensor):
            raise TypeError("parameters must be an iterable of tensors; write [x] for one tensor")
        if hasattr(parameters, "parameters"):
            raise TypeError("parameters is a model; write model.parameters()")
        if callable(parameters):
            raise TypeError("parameters is a function; call it, as in model.parameters()")
        groups = list(parameters)
        if not groups:
            raise ValueError("parameters is empty; give at least one tensor")
        if not all(isinstance(g, Mapping) for g in groups):
            groups = [{"params": groups}]
        base = Group(self._settings, lr, settings)
        self._begin({name: base[name] for name in base.names()})
        for group in groups:
            self.add_param_group(group)

    def __repr__(self) -> str:
        groups = self.param_groups
        values = {name: groups[0][name] for name in groups[0].names()} if groups else {}
        first = {name: value for name, value in values.items() if value is not False}
        count = sum(len(group.params) for group in groups)
        more = f", {len(groups)} groups" if len(groups) > 1 else ""
        return call_text(
            type(self).__name__, first, [f"{count} parameter{'s' * (count != 1)}{more}"]
        )

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

    # Steps

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients; the next backward pass overwrites them.

        Parameters
        ----------
        set_to_none : bool
            Whether ``.grad`` is None then, or zeros.
        """
        for part in self._parts:
            for member in part.members:
                if set_to_none:  # without a look at it, which a recording would note
                    member.leaf.grad = None
                elif (grad := member.leaf.grad) is not None:
                    with backend.on_device_of(grad.array):
                        grad.array[...] = 0

    def step(self, closure: Callable[[], Any] | None = None, *, skip: Array | None = None) -> Any:
        """Move the parameters that have gradients; the others stay as they are.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss and its gradients first.
        skip : uint32 array of shape (1,), optional
            A flag on the device: where it is not 0, nothing moves and nothing counts.

        Returns
        -------
        object
            What `closure` returned, or None.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        self._step(self._ready(), skip)
        return loss

    def _step(self, stretches: list[tuple[Part, int, int]], skip: Array | None) -> None:
        if (shard := self._shard) is not None:
            self._step_own(shard, stretches, skip)
            return
        arriving = sums_under_way.pop(self, None)
        if arriving is not None:
            stretches = arriving.cut(stretches)
        last = {id(part.count): i for i, (part, _, _) in enumerate(stretches)}
        clocked = self._set_rates(stretches) or self._one_count
        flags = self._flags(stretches, skip)
        for i, (part, start, stop) in enumerate(stretches):
            block = part.block
            if arriving is not None:
                arriving.wait_for(block, start, stop)
            with backend.on_device_of(block.values.array):
                there = flags.get(id(part.rate))
                self._update(self._launch(part, start, stop, last[id(part.count)] == i, there))
            if i + 1 == len(stretches) or stretches[i + 1][0].block is not block:
                changed(block.values.array, "an optimizer's step")
        if clocked:
            self._move_clocks(stretches, skip)

    def _step_own(
        self, shard: Any, stretches: list[tuple[Part, int, int]], skip: Array | None
    ) -> None:
        """A step of those parameters that this rank moves; all have them afterwards."""
        self._arrive()
        clocked = self._set_rates(stretches) or self._one_count
        flags = self._flags(stretches, skip)
        for part, start, stop in shard.cut(stretches):
            with backend.on_device_of(part.block.values.array):
                there = flags.get(id(part.rate))
                self._update(self._launch(part, start, stop, False, there))
        parts = list({id(part): part for part, _, _ in stretches}.values())
        shard.gather(parts)
        for part in parts:
            changed(part.block.values.array, "an optimizer's step")
        counts = {id(part.count): part.count for part in parts} if self._counts else {}
        for count in counts.values():
            with backend.on_device_of(count.value.array):
                there = None if skip is None else backend.to_device(skip, count.value.device)
                add_one(count.value.array, there)
        if clocked:
            self._move_clocks(stretches, skip)

    def _set_rates(self, stretches: list[tuple[Part, int, int]]) -> bool:
        """Set learning rates that follow a schedule; whether there are any."""
        seen: set[int] = set()
        for part, _, _ in stretches:
            schedule = part.group._schedule
            if schedule is not None and id(part.rate) not in seen:
                seen.add(id(part.rate))
                with backend.on_device_of(part.block.values.array), no_grad():
                    steps = wrap(_as_number(self._clock(part.block).value.array))
                    part.rate.array[...] = schedule(steps).array
        return bool(seen)

    def _flags(
        self, stretches: list[tuple[Part, int, int]], skip: Array | None
    ) -> dict[int, Array]:
        """The flag on the device of each part, by its rate."""
        if skip is None:
            return {}
        parts = {id(part.rate): part for part, _, _ in stretches}
        return {k: backend.to_device(skip, p.block.values.device) for k, p in parts.items()}

    def _move_clocks(self, stretches: list[tuple[Part, int, int]], skip: Array | None) -> None:
        moved = {id(part.count) for part, _, _ in stretches} if self._counts else set()
        for clock in {id(c): c for c in (self._clock(p.block) for p, _, _ in stretches)}.values():
            if id(clock) not in moved:
                with backend.on_device_of(clock.value.array):
                    there = None if skip is None else backend.to_device(skip, clock.value.device)
                    add_one(clock.value.array, there)

    def _launch(self, part: Part, start: int, stop: int, last: bool, skip: Array | None) -> Launch:
        first, end = start - part.low, stop - part.low
        states = part.states
        whole = start == part.low and stop == part.high
        g = part.block.grads.array[start:stop]
        return Launch(
            part.block.values.array[start:stop],
            -g if "maximize" in self._settings and part.group.maximize else g,
            {k: t.array if whole else t.array[first:end] for k, t in states.items()},
            part,
            part.rate.array,
            part.count.value.array,
            part.count.ticket.array,
            last,
            skip,
        )

    def _update(self, launch: Launch) -> None:
        raise NotImplementedError

    # Gradients

    @property
    def _home(self) -> Any:
        """Device of the first parameter."""
        return self._parts[0].block.values.device

    def _arrive(self) -> None:
        """Wait for gradients that are being added up over several processes."""
        arriving = sums_under_way.pop(self, None)
        if arriving is not None:
            arriving.wait()

    def _gradients(self, change: bool = False) -> list[Array]:
        """Stretches of the flat buffers that hold gradients; with `change` they may be written.

        Tensors that ``.grad`` has given then keep the values that they have.
        """
        self._arrive()
        stretches = self._stretches()
        if (shard := self._shard) is not None:
            stretches = shard.cut(stretches)
        found = [part.block.grads.array[start:stop] for part, start, stop in stretches]
        for leaf in (m.leaf for part in self._parts for m in part.members if change):
            if leaf.grad is not None and leaf.grad.array is not leaf.buffer:
                leaf.grad = wrap(leaf.buffer)
        return found

    def grad_norm(self) -> Tensor:
        """Euclidean norm of all gradients together; it stays on the device.

        Returns
        -------
        float64 Tensor of shape ()
            On the device of the first parameter; 0 if there are no gradients.
        """
        return _root(self._squared_norm(self._gradients()))

    def _squared_norm(self, gradients: list[Array]) -> Array:
        home = self._home
        parts = []
        for g in gradients:
            with backend.on_device_of(g):
                parts.append(backend.to_device(squared_norm.raw(g), home))
        with backend.on_device_of(home):
            xp = backend.namespace(home)
            found = _total(xp, parts)
            if (shard := self._shard) is not None:
                found = found.astype(np.float64).reshape(1)
                shard.total(found)
                found = found.reshape(())
            return found

    def clip_grad_norm(self, max_norm: float) -> Tensor:
        """Scale all gradients down so that their norm is `max_norm` at most; call before `step`.

        Nothing is read by the host. A norm of NaN or infinity makes gradients NaN, not small.

        Parameters
        ----------
        max_norm : float
            Above 0.

        Returns
        -------
        float64 Tensor of shape ()
            The norm before, as of :meth:`grad_norm`.
        """
        most = number("max_norm", max_norm, 0, float("inf"))
        gradients = self._gradients(change=True)
        squared = self._squared_norm(gradients)
        for g in gradients:
            with backend.on_device_of(g):
                clip_norm.raw(g, backend.to_device(squared, backend.device_of(g)), most=most)
            changed(g, "clip_grad_norm")
        return _root(squared)

    def clip_grad_value(self, max_value: float) -> None:
        """Bring each element of the gradients into ``[-max_value, max_value]``; before `step`.

        Parameters
        ----------
        max_value : float
            From 0 on.
        """
        most = number("max_value", max_value, 0, float("inf"))
        for g in self._gradients(change=True):
            with backend.on_device_of(g):
                g[...] = backend.namespace(g).clip(g, -most, most)
            changed(g, "clip_grad_value")

    @property
    def in_parts(self) -> bool:
        """Whether each process keeps a part of the state, see :mod:`gputensor.distributed`."""
        return self._shard is not None

    # Settings

    def __getattr__(self, name: str) -> Any:
        groups = vars(self).get("param_groups")
        if groups and (name == "lr" or name in type(self)._settings):
            return getattr(groups[0], name)
        known = ["lr", *type(self)._settings, *(n for n in dir(type(self)) if n[0] != "_")]
        meant = right_name(name, known) if not name.startswith("_") else ""
        raise AttributeError(
            f"{type(self).__name__} has no attribute {name}"
            + (f"; the name is {meant}" if meant else "")
        )

    def __setattr__(self, name: str, value: Any) -> None:
        settings = type(self)._settings
        if name == "lr" or name in settings:
            for group in self.param_groups:
                setattr(group, name, value)
            return
        if not name.startswith("_") and not hasattr(self, name) and self._is_ours():
            meant = right_name(name, ["lr", *settings])
            raise AttributeError(
                f"{type(self).__name__} has no attribute {name}"
                + (f"; the name is {meant}" if meant else f"; it has lr, {', '.join(settings)}")
            )
        super().__setattr__(name, value)

    def _is_ours(self) -> bool:
        """Whether the class is the library's own, not the user's."""
        return type(self).__module__.partition(".")[0] == "gputensor"

    # State

    def __getstate__(self) -> dict[str, Any]:
        own = {"param_groups", "defaults", "_parts", "_clocks", "_shard"}
        rest = {k: v for k, v in vars(self).items() if k not in own}
        groups = [(g.params, {name: g[name] for name in g.names()}) for g in self.param_groups]
        found = self.state_dict() if self._parts else {}
        return {"rest": rest, "defaults": self.defaults, "groups": groups, "state": found}

    def __setstate__(self, members: dict[str, Any]) -> None:
        self._begin(members["defaults"])
        vars(self).update(members["rest"])
        for parameters, settings in members["groups"]:
            self.add_param_group({"params": parameters, **settings})
        if members["state"]:
            state.load(self, {k: v for k, v in members["state"].items() if k != "random"})

    def state_dict(self) -> dict[str, Any]:
        """Copies of the optimizer's state on the host: arrays and numbers by name.

        State of the ``i``-th parameter, in the order of ``param_groups``, is ``"i.name"``, and has
        its shape. ``lr`` is the learning rate, or ``lr.0``, ``lr.1``, ... those of the groups;
        schedules are no part of it. ``random`` is the state of the generator that numbers are drawn
        from by default.
        """
        self._stretches()
        return state.copied(self)

    def live_state(self) -> dict[str, Any]:
        """What a checkpoint has: the state's own arrays, and the settings but for schedules."""
        self._stretches()
        settings = [
            {name: group[name] for name in group.names() if not callable(group[name])}
            for group in self.param_groups
        ]
        return {"class": type(self).__name__, "settings": settings, "state": state.arrays(self)}

    def load_live_state(self, found: Mapping[str, Any]) -> None:
        """Copy back what :meth:`live_state` gave.

        Raises
        ------
        ValueError
            If it is of another class, or of other groups. Nothing is changed then.
        """
        if found["class"] != type(self).__name__:
            raise ValueError(f"it is of {found['class']}, not of {type(self).__name__}")
        settings = found["settings"]
        if [sorted(s) for s in settings] != [sorted(s) for s in self.live_state()["settings"]]:
            raise ValueError("its groups, or their settings, are others")
        for group, values in zip(self.param_groups, settings, strict=True):
            for name, value in values.items():
                if group[name] != value:
                    group[name] = value
        rates = {key: group.lr for key, group in state.named_rates(self)}
        state.load(self, {**found["state"], **rates})

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy state back, also from ``numpy.load`` of what ``numpy.savez(**state)`` wrote.

        Raises
        ------
        KeyError
            If names are missing or unknown.
        ShapeError
            If a shape differs. Nothing is changed then.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"load_state_dict: state must be a mapping, as of state_dict(), got "
                f"{type(state_dict).__name__}"
            )
        self._stretches()
        state.load(self, dict(state_dict))


def _root(squared: Array) -> Tensor:
    with backend.on_device_of(squared):
        return wrap(_root_of(backend.namespace(squared), squared))


def _held(optimizer: Optimizer) -> Iterator[tuple[str, Any]]:
    for part in vars(optimizer).get("_parts", ()):  # which may not be complete yet
        yield "parameters of an optimizer", part.block.values.array
        yield "gradients of an optimizer", part.block.grads.array
        yield from ((f"{name} of an optimizer", t.array) for name, t in part.states.items())


memory.HOLDERS[Optimizer] = _held
