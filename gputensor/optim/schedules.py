"""Learning rates that follow the number of steps, computed where the optimizer is.

A schedule is a function of that number, a float64 tensor of shape () on the optimizer's device, and
returns the rate, such a tensor too: nothing has to come from the host. Any function of tensors will
do; these are the usual ones.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from gputensor.autograd import Tensor
from gputensor.ops.choices import clip, where
from gputensor.ops.elementwise import cos, floor, log
from gputensor.ops.elementwise import pow as power

__all__ = [
    "Schedule",
    "cosine_decay",
    "cosine_restarts",
    "exponential_decay",
    "one_cycle",
    "piecewise_constant",
    "polynomial_decay",
    "warmup",
]

Schedule: TypeAlias = Callable[[Tensor], Tensor]


def _positive(name: str, **numbers: float) -> None:
    for key, number in numbers.items():
        if not 0 < number < math.inf:
            raise ValueError(f"{name}: {key} is {number}; it must be above 0 and finite")


def exponential_decay(lr: float, steps: float, rate: float, *, staircase: bool = False) -> Schedule:
    """``lr * rate ** (step / steps)``; with `staircase` the exponent is rounded down.

    Examples
    --------
    >>> rate = gt.optim.schedules.exponential_decay(0.1, 100, 0.5)
    >>> rate(gt.tensor(100.0, dtype=gt.float64))
    tensor(0.05, dtype=float64)
    """
    _positive("exponential_decay", lr=lr, steps=steps, rate=rate)

    def schedule(step: Tensor) -> Tensor:
        exponent = step / steps
        return lr * power(rate, floor(exponent) if staircase else exponent)

    return schedule


def cosine_decay(lr: float, steps: float, *, final: float = 0.0) -> Schedule:
    """From `lr` to `final` in `steps`, along half a cosine (Loshchilov & Hutter 2017).

    Examples
    --------
    >>> rate = gt.optim.schedules.cosine_decay(0.1, 100)
    >>> rate(gt.tensor(50.0, dtype=gt.float64))
    tensor(0.05, dtype=float64)
    """
    _positive("cosine_decay", lr=lr, steps=steps)

    def schedule(step: Tensor) -> Tensor:
        done = clip(step / steps, 0.0, 1.0)
        return final + (lr - final) * 0.5 * (1 + cos(math.pi * done))

    return schedule


def cosine_restarts(
    lr: float, steps: float, *, factor: float = 1.0, final: float = 0.0
) -> Schedule:
    """Halves of cosines one after the other, each `factor` times as long as the one before.

    The first one is of `steps` (Loshchilov & Hutter 2017).

    Examples
    --------
    >>> rate = gt.optim.schedules.cosine_restarts(0.1, 100)
    >>> rate(gt.tensor(100.0, dtype=gt.float64))
    tensor(0.1, dtype=float64)
    """
    _positive("cosine_restarts", lr=lr, steps=steps)
    if factor < 1:
        raise ValueError(f"cosine_restarts: factor is {factor}; it must be at least 1")

    def schedule(step: Tensor) -> Tensor:
        done = step / steps
        if factor == 1:
            share = done - floor(done)
        else:
            begun = floor(log(1 + done * (factor - 1)) / math.log(factor) + 1e-12)
            length = power(factor, begun)
            share = (done - (length - 1) / (factor - 1)) / length
        return final + (lr - final) * 0.5 * (1 + cos(math.pi * share))

    return schedule


def polynomial_decay(
    lr: float, steps: float, *, final: float = 0.0, degree: float = 1.0
) -> Schedule:
    """From `lr` to `final` in `steps`, along ``(1 - step / steps) ** degree``.

    Examples
    --------
    >>> rate = gt.optim.schedules.polynomial_decay(0.1, 100)
    >>> rate(gt.tensor(50.0, dtype=gt.float64))
    tensor(0.05, dtype=float64)
    """
    _positive("polynomial_decay", lr=lr, steps=steps, degree=degree)

    def schedule(step: Tensor) -> Tensor:
        left = 1 - clip(step / steps, 0.0, 1.0)
        return final + (lr - final) * power(left, degree)

    return schedule


def one_cycle(
    lr: float,
    steps: float,
    *,
    rise: float = 0.3,
    first: float = 25.0,
    last: float = 1e4,
) -> Schedule:
    """Up to `lr` and down again, along halves of cosines (Smith & Topin 2018).

    Parameters
    ----------
    lr : float
        The largest rate.
    steps : int
        Of the whole, as ``total_steps`` of PyTorch's ``OneCycleLR``.
    rise : float
        Share of them in which the rate goes up.
    first, last : float
        It begins at ``lr / first`` and ends at ``lr / first / last``.

    Examples
    --------
    >>> rate = gt.optim.schedules.one_cycle(0.1, 100)
    >>> rate(gt.tensor(30.0, dtype=gt.float64))
    tensor(0.09994965, dtype=float64)
    """
    _positive("one_cycle", lr=lr, steps=steps, rise=rise, first=first, last=last)
    top, end = rise * steps - 1, steps - 1
    low = lr / first

    def along(begin: float, finish: float, done: Tensor) -> Tensor:
        return finish + (begin - finish) * 0.5 * (1 + cos(math.pi * clip(done, 0.0, 1.0)))

    def schedule(step: Tensor) -> Tensor:
        up = along(low, lr, step / max(top, 1e-9))
        return where(step <= top, up, along(lr, low / last, (step - top) / (end - top)))

    return schedule


def piecewise_constant(boundaries: Sequence[float], values: Sequence[float]) -> Schedule:
    """``values[i]`` up to and including step ``boundaries[i]``, after all of them the last.

    Examples
    --------
    >>> rate = gt.optim.schedules.piecewise_constant([10], [0.1, 0.01])
    >>> rate(gt.tensor(20.0, dtype=gt.float64))
    tensor(0.01, dtype=float64)
    """
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
    """From nothing up in a line over `steps`, then `after`: its steps count from there.

    Examples
    --------
    >>> rate = gt.optim.schedules.warmup(0.1, 10)
    >>> rate(gt.tensor(5.0, dtype=gt.float64))
    tensor(10., dtype=float64)
    """
    _positive("warmup", steps=steps)

    def schedule(step: Tensor) -> Tensor:
        rest = clip(step - steps, 0.0, math.inf)
        target = after(rest) if callable(after) else rest * 0 + after
        return target * clip((step + 1) / steps, 0.0, 1.0)

    return schedule
