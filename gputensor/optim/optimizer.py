"""The optimizer: its settings, its steps and its state.

Which parameters a step moves is said in :mod:`gputensor.optim.arranged`. What is computed for them
is a subclass's: :mod:`gputensor.optim.rules`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from gputensor import backend, memory
from gputensor.autograd import Tensor, changed, enable_grad, no_grad, wrap
from gputensor.backend import Array
from gputensor.distributed.group import sums_under_way
from gputensor.optim import state
from gputensor.optim.clipping import Clipping
from gputensor.optim.groups import Group, right_name
from gputensor.optim.parts import Launch, Part
from gputensor.optim.schedules import Schedule
from gputensor.shown import call_text
from gputensor.words import refuse_keywords

__all__ = ["Optimizer"]


def _as_number(count: Array) -> Array:
    return count.reshape(()).astype(np.float64)


def add_one(count: Array, skip: Array | None) -> None:
    count += 1 if skip is None else skip == 0


class Optimizer(Clipping):
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


def _held(optimizer: Optimizer) -> Iterator[tuple[str, Any]]:
    for part in vars(optimizer).get("_parts", ()):  # which may not be complete yet
        yield "parameters of an optimizer", part.block.values.array
        yield "gradients of an optimizer", part.block.grads.array
        yield from ((f"{name} of an optimizer", t.array) for name, t in part.states.items())


memory.HOLDERS[Optimizer] = _held
