"""Rules of optimizers in Keras's form, with what all of its optimizers do besides.

Before the rule: gradients are accumulated, clipped, and parameters decayed by
``learning_rate * weight_decay``; after it a moving average of the parameters is kept, where asked
for. Settings have Keras's names. Steps are counted for all parameters together.
"""

import math
from typing import Any, ClassVar

import numpy as np

from gputensor import backend
from gputensor.autograd import changed, leaf_of
from gputensor.backend import Array
from gputensor.kernels import adam_step, clip_norm, sgd_step, squared_norm
from gputensor.kernels.runtime import widen
from gputensor.optim.blocks import checked
from gputensor.optim.groups import Check, Group, between, count, flag, number, optional
from gputensor.optim.optimizer import Optimizer, add_one
from gputensor.optim.parts import Launch, Part
from gputensor.optim.rules import Formula, as_dtype, orthogonal

__all__ = [
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "Adamax",
    "Ftrl",
    "Lamb",
    "Lion",
    "Muon",
    "Nadam",
    "RMSprop",
]

_number = between(0)
_decay01 = between(0, 1)
_COMMON: dict[str, Check] = {
    "weight_decay": optional(_number),
    "clipnorm": optional(_number),
    "clipvalue": optional(_number),
    "global_clipnorm": optional(_number),
    "use_ema": flag,
    "ema_momentum": between(0, 1.0000001),
    "ema_overwrite_frequency": optional(count),
    "loss_scale_factor": optional(_number),
    "gradient_accumulation_steps": optional(count),
}


class KerasForm(Optimizer):
    """Base class."""

    _one_count = True
    _reads_count = True

    def join(self, group: Group, parameters: list[Any]) -> None:
        """Add those parameters that are not there yet."""
        known = {id(leaf_of(p)) for g in self.param_groups for p in g.params}
        new = [p for p in checked(parameters) if id(leaf_of(p)) not in known]
        if new:
            self.add_group(group, new)

    @property
    def steps(self) -> int:
        """Steps taken; waits for the device."""
        with backend.expected_waits():
            found = [int(backend.to_host(c.value.array)[0]) for c in self._clocks.values()]
        return max(found, default=0)

    def set_steps(self, steps: int) -> None:
        """Set how many steps were taken."""
        for clock in self._clocks.values():
            clock.value.array.fill(steps)

    def take_averages(self) -> None:
        """Put the moving averages in the place of the parameters."""
        for part in self._parts:
            average = part.states.get("average")
            if average is not None:
                values = part.block.values.array[part.low : part.high]
                with backend.on_device_of(values):
                    values[...] = average.array.astype(values.dtype)
                if (shard := self._shard) is not None:
                    shard.gather([part])
                changed(part.block.values.array, "finalize_variable_values")

    # Settings of all rules

    def _slots(self, group: Group, part: Part) -> dict[str, float]:
        found = self._rule_slots(group, part)
        if group.gradient_accumulation_steps:
            found["accumulated"] = 0.0
        if group.use_ema:
            found["average"] = 0.0
        return found

    def _rule_slots(self, group: Group, part: Part) -> dict[str, float]:
        """State arrays of the rule, and what is in them at first."""
        raise NotImplementedError

    def _decay(self, group: Group, part: Part) -> float:
        """Weight decay that the rule does not do itself."""
        return group.weight_decay or 0.0

    def _is_plain(self, stretches: list[tuple[Part, int, int]]) -> bool:
        """Whether the rule is all there is to do."""
        return not any(
            g.clipnorm is not None
            or g.clipvalue is not None
            or g.global_clipnorm is not None
            or g.use_ema
            or g.loss_scale_factor
            or g.gradient_accumulation_steps
            or any(self._decay(g, part) for part, _, _ in stretches if part.group is g)
            for g in {id(part.group): part.group for part, _, _ in stretches}.values()
        )

    def _step(self, stretches: list[tuple[Part, int, int]], skip: Array | None) -> None:
        if self._is_plain(stretches):
            super()._step(stretches, skip)
            return
        self._arrive()
        shard = self._shard
        everything = stretches
        if shard is not None:
            stretches = self._cut(shard, stretches)
        self._set_rates(everything)
        flags: dict[int, Array | None] = dict(self._flags(everything, skip))
        self._wait(everything, flags)
        for part, start, stop in stretches:
            with backend.on_device_of(part.block.values.array):
                self._gather(part, start, stop)
        self._clip_together(stretches)
        done = {str(p.block.values.device): flags.get(id(p.rate)) for p, _, _ in everything}
        for part, start, stop in stretches:
            flag_here = flags.get(id(part.rate))
            with backend.on_device_of(part.block.values.array):
                self._clip(part, start, stop)
                launch = self._launch(part, start, stop, False, flag_here)
                if decay := self._decay(part.group, part):
                    keep = 1 - as_dtype(launch.rate, widen(np, launch.p[:0])) * decay
                    _put(launch.p, launch.p * keep, flag_here)
                self._update(launch)
                self._finish(launch)
        if shard is not None:
            shard.gather(list({id(part): part for part, _, _ in everything}.values()))
        for part, _, _ in everything:
            changed(part.block.values.array, "an optimizer's step")
        for clock in {id(c): c for c in (self._clock(p.block) for p, _, _ in everything)}.values():
            with backend.on_device_of(clock.value.array):
                add_one(clock.value.array, done[str(clock.value.device)])

    def _cut(
        self, shard: Any, stretches: list[tuple[Part, int, int]]
    ) -> list[tuple[Part, int, int]]:
        """What of the stretches this rank moves."""
        if any(part.group.clipnorm is not None for part, _, _ in stretches):
            shard.refuse("clipnorm, the norm of each parameter's gradient,")
        found: list[tuple[Part, int, int]] = shard.cut(stretches)
        return found

    def _wait(self, stretches: list[tuple[Part, int, int]], flags: dict[int, Array | None]) -> None:
        """Note in the flags where a step only adds gradients up."""
        for key, part in {id(part.rate): part for part, _, _ in stretches}.items():
            every = part.group.gradient_accumulation_steps
            if every:
                with backend.on_device_of(part.block.values.array):
                    gathered = self._first_of(part).scalars["gathered"].array
                    gathered[...] = (gathered + 1) % every
                    waits = (gathered != 0).astype(np.uint32)
                    before = flags.get(key)
                    flags[key] = waits if before is None else before | waits

    def _scalars(self, group: Group) -> dict[str, float]:
        return {"gathered": 0.0} if group.gradient_accumulation_steps else {}

    def _gather(self, part: Part, start: int, stop: int) -> None:
        """Unscale gradients, and add those of the steps before."""
        group = part.group
        g = part.block.grads.array[start:stop]
        if group.loss_scale_factor:
            g /= g.dtype.type(group.loss_scale_factor)
        every = group.gradient_accumulation_steps
        if not every:
            return
        total = part.states["accumulated"].array[start - part.low : stop - part.low]
        total += g
        g[...] = total / total.dtype.type(every)
        first = self._first_of(part)
        total *= (first.scalars["gathered"].array != 0).astype(total.dtype)

    def _first_of(self, part: Part) -> Part:
        """The part whose numbers stand for all of a group and device."""
        return next(other for other in self._parts if other.rate is part.rate)

    def _clip_together(self, stretches: list[tuple[Part, int, int]]) -> None:
        """Clip by the norm of all gradients."""
        groups = self.param_groups
        most = [group.global_clipnorm for group in groups]
        if most and most[0] is not None and groups[0].clipnorm is None:
            gradients = [part.block.grads.array[start:stop] for part, start, stop in stretches]
            squared = self._squared_norm(gradients)
            for g in gradients:
                with backend.on_device_of(g):
                    here = backend.to_device(squared, backend.device_of(g))
                    clip_norm.raw(g, here, most=most[0])

    def _clip(self, part: Part, start: int, stop: int) -> None:
        """Clip by the norm of each gradient, or by value."""
        group, grads = part.group, part.block.grads.array
        if group.clipnorm is not None:
            g, segments = grads[start:stop], part.segments_in(start, stop)
            norms = squared_norm.raw(g, segments=segments)
            clip_norm.raw(g, norms, most=group.clipnorm, segments=segments)
        elif group.clipvalue is not None and group.global_clipnorm is None:
            g = grads[start:stop]
            g[...] = backend.namespace(g).clip(g, -group.clipvalue, group.clipvalue)

    def _finish(self, launch: Launch) -> None:
        """Move the average on, and put it in the place of the parameters where it is time."""
        group = launch.part.group
        if not group.use_ema:
            return
        average = launch.states["average"]
        taken = launch.count
        keep = ((taken != 0) * group.ema_momentum).astype(average.dtype)
        average[...] = keep * average + (1 - keep) * launch.p
        if group.ema_overwrite_frequency:
            waits = (taken + 1) % group.ema_overwrite_frequency != 0
            xp = backend.namespace(launch.p)
            launch.p[...] = xp.where(waits, launch.p, average)


def _put(target: Array, value: Array, skip: Array | None) -> None:
    if skip is not None:
        value = backend.namespace(target).where(skip == 0, value, target)
    target[...] = value


class SGD(KerasForm):
    """``v = m v - lr g; w += v``, or ``w += m v - lr g`` with Nesterov's momentum."""

    _counts = True
    _settings: ClassVar[dict[str, Check]] = {"momentum": _decay01, "nesterov": flag, **_COMMON}

    def _rule_slots(self, group: Group, part: Part) -> dict[str, float]:
        return {"velocity": 0.0} if group.momentum else {}

    def _update(self, launch: Launch) -> None:
        group = launch.part.group
        sgd_step.raw(
            launch.p,
            launch.g,
            launch.states["velocity"] if group.momentum else None,
            *((launch.count, launch.ticket) if launch.advance else ()),
            lr=launch.rate,
            momentum=group.momentum,
            nesterov=group.nesterov,
            within=True,
            skip=launch.skip,
        )


class Adam(KerasForm, Formula):
    """Adam and AdamW with epsilon hat."""

    _settings: ClassVar[dict[str, Check]] = {
        "beta_1": _decay01,
        "beta_2": _decay01,
        "epsilon": _number,
        "amsgrad": flag,
        **_COMMON,
    }

    def _rule_slots(self, group: Group, part: Part) -> dict[str, float]:
        found = {"mean": 0.0, "square": 0.0}
        return found | {"largest": 0.0} if group.amsgrad else found

    def _decay(self, group: Group, part: Part) -> float:
        return group.weight_decay or 0.0 if group.amsgrad else 0.0

    def _update(self, launch: Launch) -> None:
        group = launch.part.group
        if group.amsgrad:
            Formula._update(self, launch)
            return
        adam_step.raw(
            launch.p,
            launch.g,
            launch.states["mean"],
            launch.states["square"],
            launch.count,
            launch.ticket,
            lr=launch.rate,
            beta1=group.beta_1,
            beta2=group.beta_2,
            eps=group.epsilon,
            weight_decay=group.weight_decay or 0.0,
            decoupled=True,
            hat=True,
            advance=launch.advance,
            skip=launch.skip,
        )

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        square = _adam_means(s, g, group.beta_1, group.beta_2)
        s["largest"] = largest = xp.maximum(s["largest"], square)
        pace = _adam_rate(xp, rate, t, group.beta_1, group.beta_2)
        return p - as_dtype(pace, p) * s["mean"] / (xp.sqrt(largest) + group.epsilon)


class Adamax(KerasForm, Formula):
    """Adam with the largest gradient in the place of the mean square (Kingma & Ba 2015, 7.1)."""

    _settings: ClassVar[dict[str, Check]] = {
        "beta_1": _decay01,
        "beta_2": _decay01,
        "epsilon": _number,
        **_COMMON,
    }

    def _rule_slots(self, group: Group, part: Part) -> dict[str, float]:
        return {"mean": 0.0, "largest": 0.0}

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        one = group.beta_1
        s["mean"] = one * s["mean"] + (1 - one) * g
        s["largest"] = xp.maximum(group.beta_2 * s["largest"], abs(g))
        pace = as_dtype(rate / (1 - one**t), p)
        return p - pace * s["mean"] / (s["largest"] + group.epsilon)


def _adam_means(s: dict[str, Array], g: Array, one: float, two: float) -> Array:
    s["mean"] = one * s["mean"] + (1 - one) * g
    s["square"] = two * s["square"] + (1 - two) * (g * g)
    return s["square"]


def _adam_rate(xp: Any, rate: Array, t: Array, one: float, two: float) -> Array:
    return rate * xp.sqrt(1 - two**t) / (1 - one**t)


class Nadam(KerasForm, Formula):
    """Adam with Nesterov's momentum."""

    _settings: ClassVar[dict[str, Check]] = {
        "beta_1": _decay01,
        "beta_2": _decay01,
        "epsilon": _number,
        **_COMMON,
    }

    def _rule_slots(self, group: Group, part: Part) -> dict[str, float]:
        return {"mean": 0.0, "square": 0.0}

    def _scalars(self, group: Group) -> dict[str, float]:
        return {"product": 1.0} | super()._scalars(group)

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        one, two = group.beta_1, group.beta_2
        now = one * (1 - 0.5 * 0.96**t)
        later = one * (1 - 0.5 * 0.96 ** (t + 1))
        s["product"] = s["product"] * now
        product = s["product"].reshape(())
        square = _adam_means(s, g, one, two)
        of_mean = as_dtype(later / (1 - product * later), p)
        of_g = as_dtype((1 - now) / (1 - product), p)
        below = xp.sqrt(square * as_dtype(1 / (1 - two**t), p)) + group.epsilon
        return p - as_dtype(rate, p) * (of_mean * s["mean"] + of_g * g) / below


class RMSprop(KerasForm, Formula):
    """RMSprop with epsilon below the root, and momentum of steps."""

    _settings: ClassVar[dict[str, Check]] = {
        "rho": _decay01,
        "momentum": _number,
        "epsilon": _number,
        "centered": flag,
        **_COMMON,
    }

    def _rule_slots(self, group: Group, part: Part) -> dict[str, float]:
        wanted = {"square": True, "mean": group.centered, "velocity": group.momentum}
        return {name: 0.0 for name, there in wanted.items() if there}

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        keep = group.rho
        s["square"] = spread = keep * s["square"] + (1 - keep) * (g * g)
        if group.centered:
            s["mean"] = keep * s["mean"] + (1 - keep) * g
            spread = spread - s["mean"] * s["mean"]
        step = as_dtype(rate, p) * g / xp.sqrt(spread + group.epsilon)
        if group.momentum:
            s["velocity"] = step = group.momentum * s["velocity"] + step
        return p - step


class Adagrad(KerasForm, Formula):
    """Adagrad with epsilon below the root."""

    _settings: ClassVar[dict[str, Check]] = {
        "initial_accumulator_value": _number,
        "epsilon": _number,
        **_COMMON,
    }

    def _rule_slots(self, group: Group, part: Part) -> dict[str, float]:
        return {"sum": group.initial_accumulator_value}

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        s["sum"] = s["sum"] + g * g
        return p - as_dtype(rate, p) * g / xp.sqrt(s["sum"] + group.epsilon)


class Adadelta(KerasForm, Formula):
    """Adadelta."""

    _settings: ClassVar[dict[str, Check]] = {"rho": _decay01, "epsilon": _number, **_COMMON}

    def _rule_slots(self, group: Group, part: Part) -> dict[str, float]:
        return {"square": 0.0, "moved": 0.0}

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        keep, eps = group.rho, group.epsilon
        s["square"] = keep * s["square"] + (1 - keep) * (g * g)
        step = xp.sqrt(s["moved"] + eps) * g / xp.sqrt(s["square"] + eps)
        s["moved"] = keep * s["moved"] + (1 - keep) * (step * step)
        return p - as_dtype(rate, p) * step


class Lion(KerasForm, Formula):
    """Lion."""

    _settings: ClassVar[dict[str, Check]] = {"beta_1": _decay01, "beta_2": _decay01, **_COMMON}

    def _rule_slots(self, group: Group, part: Part) -> dict[str, float]:
        return {"mean": 0.0}

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        one, two = group.beta_1, group.beta_2
        step = xp.sign(one * s["mean"] + (1 - one) * g)
        s["mean"] = two * s["mean"] + (1 - two) * g
        return p - as_dtype(rate, p) * step


class Ftrl(KerasForm, Formula):
    """Follow the regularized leader (McMahan et al. 2013)."""

    _settings: ClassVar[dict[str, Check]] = {
        "learning_rate_power": lambda name, value: -number(f"-{name}", -value, 0, math.inf),
        "initial_accumulator_value": _number,
        "l1_regularization_strength": _number,
        "l2_regularization_strength": _number,
        "l2_shrinkage_regularization_strength": _number,
        "beta": _number,
        **_COMMON,
    }

    def _rule_slots(self, group: Group, part: Part) -> dict[str, float]:
        return {"sum": group.initial_accumulator_value, "linear": 0.0}

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        lr, power = as_dtype(rate, p), -group.learning_rate_power
        l1 = group.l1_regularization_strength
        l2 = group.l2_regularization_strength + group.beta / (2 * lr)
        whole = s["sum"] + g * g
        shrunk = g + 2 * group.l2_shrinkage_regularization_strength * p
        s["linear"] = s["linear"] + shrunk - (whole**power - s["sum"] ** power) / lr * p
        s["sum"] = whole
        return (xp.clip(s["linear"], -l1, l1) - s["linear"]) / (whole**power / lr + 2 * l2)


class _ByParameter(KerasForm, Formula):
    """Base of rules that look at each parameter as a whole, in its shape."""

    def _alike(self, group: Group, one: Any, other: Any) -> bool:
        return False

    def _update(self, launch: Launch) -> None:
        shape = launch.part.members[0].leaf.shape
        states = {name: a.reshape(shape) for name, a in launch.states.items()}
        p, g = launch.p.reshape(shape), launch.g.reshape(shape)
        super()._update(launch._replace(p=p, g=g, states=states))


class Lamb(_ByParameter):
    """Adam's step in the length of each parameter (You et al. 2020)."""

    _settings: ClassVar[dict[str, Check]] = {
        "beta_1": _decay01,
        "beta_2": _decay01,
        "epsilon": _number,
        **_COMMON,
    }

    def _rule_slots(self, group: Group, part: Part) -> dict[str, float]:
        return {"mean": 0.0, "square": 0.0}

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        one, two = group.beta_1, group.beta_2
        square = _adam_means(s, g, one, two)
        below = xp.sqrt(square / as_dtype(1 - two**t, p)) + group.epsilon
        step = s["mean"] / as_dtype(1 - one**t, p) / below
        mine, its = (xp.sqrt(xp.sum(a * a)) for a in (p, step))
        both = (mine > 0) & (its > 0)
        ratio = xp.where(both, mine / xp.where(both, its, xp.ones_like(its)), xp.ones_like(its))
        return p - as_dtype(rate, p) * ratio * step


class Adafactor(_ByParameter):
    """Means of squares by rows and columns alone (Shazeer & Stern 2018)."""

    _settings: ClassVar[dict[str, Check]] = {
        "beta_2_decay": lambda name, value: -number(f"-{name}", -value, 0, math.inf),
        "epsilon_1": _number,
        "epsilon_2": _number,
        "clip_threshold": _number,
        "relative_step": flag,
        **_COMMON,
    }

    def _rule_slots(self, group: Group, part: Part) -> dict[str, float]:
        wide = len(part.members[0].leaf.shape) > 1
        return {"rows": 0.0, "columns": 0.0} if wide else {"square": 0.0}

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        squares = g * g + group.epsilon_1
        keep = as_dtype(1 - t**group.beta_2_decay, p)
        # Each mean stands at all places that it is of, so that a state has the parameter's shape.
        for name, axis in (("rows", -1), ("columns", -2)):
            if name in s:
                s[name] = keep * s[name] + (1 - keep) * xp.mean(squares, axis=axis, keepdims=True)
        if "rows" in s:
            spread = s["rows"] / xp.mean(s["rows"], axis=-2, keepdims=True) * s["columns"]
        else:
            s["square"] = spread = keep * s["square"] + (1 - keep) * squares
        step = g / xp.sqrt(spread)
        step = step / xp.maximum(1, xp.sqrt(xp.mean(step * step)) / group.clip_threshold)
        pace = xp.minimum(rate, 1 / xp.sqrt(t))
        size = xp.maximum(group.epsilon_2, xp.sqrt(xp.mean(p * p)))
        return p - as_dtype(pace, p) * size * step


class Muon(KerasForm, Formula):
    """Muon for matrices, and AdamW for the rest."""

    _elementwise = False
    _settings: ClassVar[dict[str, Check]] = {
        "adam_beta_1": _decay01,
        "adam_beta_2": _decay01,
        "adam_weight_decay": optional(_number),
        "epsilon": _number,
        "muon_a": lambda _, value: float(value),
        "muon_b": lambda _, value: float(value),
        "muon_c": lambda _, value: float(value),
        "adam_lr_ratio": _number,
        "momentum": _decay01,
        "ns_steps": count,
        "nesterov": flag,
        "rms_rate": optional(_number),
        **_COMMON,
    }

    def _alike(self, group: Group, one: Any, other: Any) -> bool:
        return len(one.leaf.shape) != 2 and len(other.leaf.shape) != 2

    def _is_matrix(self, part: Part) -> bool:
        return len(part.members[0].leaf.shape) == 2

    def _rule_slots(self, group: Group, part: Part) -> dict[str, float]:
        return {"mean": 0.0} if self._is_matrix(part) else {"mean": 0.0, "square": 0.0}

    def _decay(self, group: Group, part: Part) -> float:
        matrix = self._is_matrix(part)
        return (group.weight_decay if matrix else group.adam_weight_decay) or 0.0

    def _update(self, launch: Launch) -> None:
        if self._is_matrix(launch.part):
            shape = launch.part.members[0].leaf.shape
            states = {name: a.reshape(shape) for name, a in launch.states.items()}
            p, g = launch.p.reshape(shape), launch.g.reshape(shape)
            launch = launch._replace(p=p, g=g, states=states)
        super()._update(launch)

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        if "square" in s:
            one, two = group.adam_beta_1, group.adam_beta_2
            square = _adam_means(s, g, one, two)
            pace = _adam_rate(xp, rate * group.adam_lr_ratio, t, one, two)
            return p - as_dtype(pace, p) * s["mean"] / (xp.sqrt(square) + group.epsilon)
        s["mean"] = mean = group.momentum * s["mean"] + g
        step = g + group.momentum * mean if group.nesterov else mean
        numbers = group.muon_a, group.muon_b, group.muon_c
        step = orthogonal(xp, step, numbers, group.ns_steps, 1e-7)
        factor = 1.0 if group.rms_rate is None else math.sqrt(max(p.shape)) * group.rms_rate
        return p - as_dtype(rate, p) * factor * step
