"""Learning rates that follow the number of steps, with Keras's names and formulas.

They are computed where the optimizer is; nothing comes from the host.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from gputensor.autograd import Tensor
from gputensor.ops.choices import clip, where
from gputensor.ops.elementwise import cos, floor, log, maximum
from gputensor.ops.elementwise import pow as power
from gputensor.shown import Shown

__all__ = [
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "deserialize",
    "serialize",
]


class LearningRateSchedule(Shown):
    """Base class; a subclass defines ``__call__(self, step)``, of tensors or numbers.

    Examples
    --------
    >>> class Halved(keras.optimizers.schedules.LearningRateSchedule):
    ...     def __call__(self, step):
    ...         return 1 / 2**step
    >>> keras.optimizers.SGD(Halved()).learning_rate
    1.0
    """

    def __call__(self, step: Any) -> Any:
        """The learning rate after `step` steps."""
        raise NotImplementedError(f"{type(self).__name__} defines no __call__(self, step)")

    def get_config(self) -> dict[str, Any]:
        """What the constructor takes."""
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LearningRateSchedule":
        """The schedule of :meth:`get_config`."""
        return cls(**config)


def _positive(kind: str, **numbers: float) -> None:
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise ValueError(f"{kind}: {name} is {number}; it must be above 0 and finite")


class _Decay(LearningRateSchedule):
    """A decay by `decay_rate` in each `decay_steps` steps; `staircase` rounds them down."""

    _kind: ClassVar[str]

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = None,
    ) -> None:
        _positive(self._kind, decay_steps=decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = self._kind if name is None else name

    def _done(self, step: Tensor) -> Tensor:
        """How often `decay_steps` steps were taken."""
        done = step / self.decay_steps
        return floor(done) if self.staircase else done


class ExponentialDecay(_Decay):
    """``initial_learning_rate * decay_rate ** (step / decay_steps)``; `staircase` rounds down.

    Examples
    --------
    >>> keras.optimizers.schedules.ExponentialDecay(0.1, 100, 0.5)(100)
    tensor(0.05, dtype=float32)
    """

    _kind = "ExponentialDecay"

    def __call__(self, step: Tensor) -> Tensor:
        return self.initial_learning_rate * power(self.decay_rate, self._done(step))


class InverseTimeDecay(_Decay):
    """``initial_learning_rate / (1 + decay_rate * step / decay_steps)``, with `staircase` too.

    Examples
    --------
    >>> keras.optimizers.schedules.InverseTimeDecay(0.1, 100, 1.0)(100)
    0.05
    """

    _kind = "InverseTimeDecay"

    def __call__(self, step: Tensor) -> Tensor:
        return self.initial_learning_rate / (1 + self.decay_rate * self._done(step))


class PiecewiseConstantDecay(LearningRateSchedule):
    """``values[i]`` up to and including step ``boundaries[i]``, after all of them the last.

    Examples
    --------
    >>> keras.optimizers.schedules.PiecewiseConstantDecay([10], [0.1, 0.01])(20)
    tensor(0.01, dtype=float32)
    """

    def __init__(
        self,
        boundaries: Sequence[float],
        values: Sequence[float],
        name: str = "PiecewiseConstant",
    ) -> None:
        if len(values) != len(boundaries) + 1:
            raise ValueError(
                "PiecewiseConstantDecay: values must be one more than boundaries; there are "
                f"{len(boundaries)} boundaries and {len(values)} values"
            )
        self.boundaries = list(boundaries)
        self.values = list(values)
        self.name = name

    def __call__(self, step: Tensor) -> Tensor:
        rate = step * 0 + self.values[-1]
        for boundary, value in reversed(list(zip(self.boundaries, self.values, strict=False))):
            rate = where(step <= boundary, value, rate)
        return rate


class PolynomialDecay(LearningRateSchedule):
    """From the first rate to `end_learning_rate` in `decay_steps`, along ``(1 - t) ** power``.

    Examples
    --------
    >>> keras.optimizers.schedules.PolynomialDecay(0.1, 100)(50)
    tensor(0.05005, dtype=float32)
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        _positive("PolynomialDecay", decay_steps=decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.end_learning_rate = end_learning_rate
        self.power = power
        self.cycle = cycle
        self.name = name

    def __call__(self, step: Tensor) -> Tensor:
        if self.cycle:
            times = maximum(-floor(-step / self.decay_steps), 1.0)
            done = step / (times * self.decay_steps)
        else:
            done = clip(step / self.decay_steps, 0.0, 1.0)
        end = self.end_learning_rate
        return (self.initial_learning_rate - end) * power(1 - done, self.power) + end


class CosineDecay(LearningRateSchedule):
    """Half a cosine from the first rate to `alpha` of it in `decay_steps`, after a warm-up.

    With `warmup_target` the rate first goes in a line from `initial_learning_rate` to it, in
    `warmup_steps`, and decays from there.

    Examples
    --------
    >>> keras.optimizers.schedules.CosineDecay(0.1, 100)(50)
    tensor(0.05, dtype=float32)
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: float = 0,
    ) -> None:
        _positive("CosineDecay", decay_steps=decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.alpha = alpha
        self.name = name
        self.warmup_target = warmup_target
        self.warmup_steps = warmup_steps

    def __call__(self, step: Tensor) -> Tensor:
        def decayed(first: float, step: Tensor) -> Tensor:
            done = clip(step / self.decay_steps, 0.0, 1.0)
            share = 0.5 * (1 + cos(math.pi * done))
            return first * ((1 - self.alpha) * share + self.alpha)

        if self.warmup_target is None:
            return decayed(self.initial_learning_rate, step)
        begin, top = self.initial_learning_rate, self.warmup_target
        warm = begin + (top - begin) * step / max(self.warmup_steps, 1)
        return where(step < self.warmup_steps, warm, decayed(top, step - self.warmup_steps))


class CosineDecayRestarts(LearningRateSchedule):
    """Half cosines one after the other (Loshchilov & Hutter 2017).

    Each is `t_mul` times as long as the one before, and begins at `m_mul` times its rate.

    Examples
    --------
    >>> keras.optimizers.schedules.CosineDecayRestarts(0.1, 100)(50)
    tensor(0.05, dtype=float32)
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ) -> None:
        _positive("CosineDecayRestarts", first_decay_steps=first_decay_steps, t_mul=t_mul)
        self.initial_learning_rate = initial_learning_rate
        self.first_decay_steps = first_decay_steps
        self.t_mul = t_mul
        self.m_mul = m_mul
        self.alpha = alpha
        self.name = name

    def __call__(self, step: Tensor) -> Tensor:
        done = step / self.first_decay_steps
        if self.t_mul == 1.0:
            restart = floor(done)
            share = done - restart
        else:
            restart = floor(log(1.0 - done * (1.0 - self.t_mul)) / math.log(self.t_mul))
            times = power(self.t_mul, restart)
            begun = (1.0 - times) / (1.0 - self.t_mul)
            share = (done - begun) / times
        size = power(self.m_mul, restart)
        cosine = 0.5 * size * (1 + cos(math.pi * share))
        return self.initial_learning_rate * ((1 - self.alpha) * cosine + self.alpha)


def deserialize(config: dict[str, Any]) -> LearningRateSchedule:
    """The schedule of ``{"class_name": ..., "config": ...}``.

    Examples
    --------
    >>> schedules = keras.optimizers.schedules
    >>> config = schedules.serialize(schedules.ExponentialDecay(0.1, 100, 0.9))
    >>> float(schedules.deserialize(config)(100))
    0.08999999612569809
    """
    found = globals().get(config["class_name"])
    if not isinstance(found, type) or not issubclass(found, LearningRateSchedule):
        raise ValueError(f"learning rate schedule {config['class_name']!r} is unknown")
    return found.from_config(config["config"])


def serialize(learning_rate_schedule: LearningRateSchedule) -> dict[str, Any]:
    """Class and settings of a schedule, as :func:`deserialize` takes them.

    Examples
    --------
    >>> schedules = keras.optimizers.schedules
    >>> schedules.serialize(schedules.ExponentialDecay(0.1, 100, 0.9))["class_name"]
    'ExponentialDecay'
    """
    kind = type(learning_rate_schedule)
    known = globals().get(kind.__name__) is kind
    return {
        "module": "keras.optimizers.schedules" if known else None,
        "class_name": kind.__name__,
        "config": learning_rate_schedule.get_config(),
        "registered_name": None if known else f"Custom>{kind.__name__}",
    }
