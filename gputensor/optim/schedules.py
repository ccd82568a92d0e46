"""Learning rates that follow the number of steps, computed where the optimizer is.

A schedule is a function of that number, a float64 tensor of shape () on the optimizer's device, and
returns the rate, such a tensor too: nothing has to come from the host. Any function of tensors will
do; these are the usual ones.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from gputensor.autograd import Tensor
from gputensor.ops.elementwise import clip, cos, floor, where
from gputensor.ops.elementwise import pow as power

__all__ = ["Schedule", "cosine_decay", "exponential_decay", "piecewise_constant", "warmup"]

Schedule: TypeAlias = Callable[[Tensor], Tensor]


def _positive(name: str, **numbers: float) -> None:
    for key, number in numbers.items():
        if not 0 < number < math.inf:
            raise ValueError(f"{name}: {key} is {number}; it must be above 0 and finite")


def exponential_decay(lr: float, steps: float, rate: float, *, staircase: bool = False) -> Schedule:
    """``lr * rate ** (step / steps)``; with `staircase` the exponent is rounded down."""
    _positive("exponential_decay", lr=lr, steps=steps, rate=rate)

    def schedule(step: Tensor) -> Tensor:
        exponent = step / steps
        return lr * power(rate, floor(exponent) if staircase else exponent)

    return schedule


def cosine_decay(lr: float, steps: float, *, final: float = 0.0) -> Schedule:
    """From `lr` to `final` in `steps`, along half a cosine (Loshchilov & Hutter 2017)."""
    _positive("cosine_decay", lr=lr, steps=steps)

    def schedule(step: Tensor) -> Tensor:
        done = clip(step / steps, 0.0, 1.0)
        return final + (lr - final) * 0.5 * (1 + cos(math.pi * done))

    return schedule


def piecewise_constant(boundaries: Sequence[float], values: Sequence[float]) -> Schedule:
    """``values[i]`` up to and including step ``boundaries[i]``, after all of them the last."""
    if len(values) != len(boundaries) + 1 or list(boundaries) != sorted(boundaries):
        raise ValueError(
            "piecewise_constant: boundaries must ascend and values be one more than they; there "
            f"are {len(boundaries)} boundaries, {list(boundaries)}, and {len(values)} values"
        )

    def schedule(step: Tensor) -> Tensor:
        rate = step * 0 + values[-1]
        for boundary, value in reversed(list(zip(boundaries, values, strict=False))):
            rate = where(step <= boundary, value, rate)
        return rate

    return schedule


def warmup(steps: float, after: Schedule | float) -> Schedule:
    """From nothing up in a line over `steps`, then `after`: its steps count from there."""
    _positive("warmup", steps=steps)

    def schedule(step: Tensor) -> Tensor:
        rest = clip(step - steps, 0.0, math.inf)
        target = after(rest) if callable(after) else rest * 0 + after
        return target * clip((step + 1) / steps, 0.0, 1.0)

    return schedule
