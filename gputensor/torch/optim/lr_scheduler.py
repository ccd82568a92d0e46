"""Learning rates that a call of ``scheduler.step()`` changes, with PyTorch's formulas.

Rates follow from the one before, as in PyTorch, so that schedulers can be combined and a rate that
the user sets is gone on from.
"""

import bisect
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from gputensor.shown import Shown

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]


class LRScheduler(Shown):
    """Base class; a subclass defines ``get_lr()``.

    Parameters
    ----------
    optimizer : Optimizer
    last_epoch : int
        Number of steps done before, less one; -1 to begin.

    Attributes
    ----------
    base_lrs : list of float
        Rates of the groups at the beginning.
    last_epoch : int
        Steps so far.

    Examples
    --------
    >>> class Halved(torch.optim.lr_scheduler.LRScheduler):
    ...     def get_lr(self):
    ...         return [rate / 2**self.last_epoch for rate in self.base_lrs]
    >>> optimizer = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=1.0)
    >>> schedule = Halved(optimizer)
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(self, optimizer: Any, last_epoch: int = -1) -> None:
        self.optimizer = optimizer
        initial = vars(optimizer).setdefault("_initial_rates", {})
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1 or i not in initial:
                initial.setdefault(i, float(group["lr"]))
        self.base_lrs = [initial[i] for i in range(len(optimizer.param_groups))]
        self.last_epoch = last_epoch
        self.step()

    def _rates(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def get_lr(self) -> list[float]:
        """Rates of the groups at ``last_epoch``."""
        raise NotImplementedError

    def get_last_lr(self) -> list[float]:
        """Rates that were set last."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next rate, or to that of an epoch."""
        if epoch is None:
            self.last_epoch += 1
            rates = self.get_lr()
        else:
            self.last_epoch = epoch
            closed = getattr(self, "closed", None)
            rates = self.get_lr() if closed is None else [closed(base) for base in self.base_lrs]
        self._set(rates)

    def _set(self, rates: Iterable[float]) -> None:
        self._last_lr = [float(rate) for rate in rates]
        for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        """All but the optimizer, and functions."""
        return {k: v for k, v in vars(self).items() if k != "optimizer" and not callable(v)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a state over."""
        vars(self).update(state_dict)


class LambdaLR(LRScheduler):
    """``base * lr_lambda(epoch)``; a function, or a list with one for each group.

    Examples
    --------
    >>> optimizer = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=1.0)
    >>> rates = torch.optim.lr_scheduler
    >>> schedule = rates.LambdaLR(optimizer, lr_lambda=lambda epoch: 1 / (1 + epoch))
    >>> seen = []
    >>> for _ in range(4):
    ...     seen.append(round(schedule.get_last_lr()[0], 3))
    ...     optimizer.step()
    ...     schedule.step()
    >>> seen
    [1.0, 0.5, 0.333, 0.25]
    """

    def __init__(self, optimizer: Any, lr_lambda: Any, last_epoch: int = -1) -> None:
        n = len(optimizer.param_groups)
        functions = list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * n
        if len(functions) != n:
            raise ValueError(f"{type(self).__name__}: {len(functions)} functions for {n} groups")
        self.lr_lambdas = functions
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [
            base * f(self.last_epoch)
            for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        return {k: v for k, v in super().state_dict().items() if k != "lr_lambdas"}


class MultiplicativeLR(LambdaLR):
    """The rate before times ``lr_lambda(epoch)``.

    Examples
    --------
    >>> optimizer = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=1.0)
    >>> rates = torch.optim.lr_scheduler
    >>> schedule = rates.MultiplicativeLR(optimizer, lr_lambda=lambda epoch: 0.5)
    >>> seen = []
    >>> for _ in range(4):
    ...     seen.append(round(schedule.get_last_lr()[0], 3))
    ...     optimizer.step()
    ...     schedule.step()
    >>> seen
    [1.0, 0.5, 0.25, 0.125]
    """

    def get_lr(self) -> list[float]:
        if self.last_epoch == 0:
            return self._rates()
        return [r * f(self.last_epoch) for r, f in zip(self._rates(), self.lr_lambdas, strict=True)]


class StepLR(LRScheduler):
    """Times `gamma` every `step_size` epochs.

    Examples
    --------
    >>> optimizer = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=1.0)
    >>> schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates.append(round(schedule.get_last_lr()[0], 3))
    ...     optimizer.step()
    ...     schedule.step()
    >>> rates
    [1.0, 1.0, 0.1, 0.1]
    """

    def __init__(
        self, optimizer: Any, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        due = self.last_epoch and self.last_epoch % self.step_size == 0
        return [rate * self.gamma if due else rate for rate in self._rates()]

    def closed(self, base: float) -> float:
        """Rate at ``last_epoch`` from the first one."""
        return base * self.gamma ** (self.last_epoch // self.step_size)


class MultiStepLR(LRScheduler):
    """Times `gamma` at each of the `milestones`.

    Examples
    --------
    >>> optimizer = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=1.0)
    >>> schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 3])
    >>> rates = []
    >>> for _ in range(4):
    ...     rates.append(round(schedule.get_last_lr()[0], 3))
    ...     optimizer.step()
    ...     schedule.step()
    >>> rates
    [1.0, 0.1, 0.1, 0.01]
    """

    def __init__(
        self, optimizer: Any, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        times = self.milestones[self.last_epoch]
        return [rate * self.gamma**times for rate in self._rates()]

    def closed(self, base: float) -> float:
        """Rate at ``last_epoch`` from the first one."""
        return base * self.gamma ** bisect.bisect_right(
            sorted(self.milestones.elements()), self.last_epoch
        )


class ConstantLR(LRScheduler):
    """Times `factor` until epoch `total_iters`.

    Examples
    --------
    >>> optimizer = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=1.0)
    >>> schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=2)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates.append(round(schedule.get_last_lr()[0], 3))
    ...     optimizer.step()
    ...     schedule.step()
    >>> rates
    [0.5, 0.5, 1.0, 1.0]
    """

    def __init__(
        self, optimizer: Any, factor: float = 1 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        first, last = self.last_epoch == 0, self.last_epoch == self.total_iters
        scale = self.factor if first else 1 / self.factor if last else 1.0
        return [rate * scale for rate in self._rates()]


class LinearLR(LRScheduler):
    """From `start_factor` to `end_factor` of the rate in a line over `total_iters` epochs.

    Examples
    --------
    >>> optimizer = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=1.0)
    >>> rates = torch.optim.lr_scheduler
    >>> schedule = rates.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> seen = []
    >>> for _ in range(4):
    ...     seen.append(round(schedule.get_last_lr()[0], 3))
    ...     optimizer.step()
    ...     schedule.step()
    >>> seen
    [0.5, 0.75, 1.0, 1.0]
    """

    def __init__(
        self,
        optimizer: Any,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch: int) -> float:
        done = min(epoch, self.total_iters) / self.total_iters
        return self.start_factor + (self.end_factor - self.start_factor) * done

    def get_lr(self) -> list[float]:
        if self.last_epoch == 0:
            return [rate * self.start_factor for rate in self._rates()]
        scale = self._factor(self.last_epoch) / self._factor(self.last_epoch - 1)
        return [rate * scale for rate in self._rates()]

    def closed(self, base: float) -> float:
        """Rate at ``last_epoch`` from the first one."""
        return base * self._factor(self.last_epoch)


class ExponentialLR(LRScheduler):
    """Times `gamma` each epoch.

    Examples
    --------
    >>> optimizer = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=1.0)
    >>> schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates.append(round(schedule.get_last_lr()[0], 3))
    ...     optimizer.step()
    ...     schedule.step()
    >>> rates
    [1.0, 0.5, 0.25, 0.125]
    """

    def __init__(self, optimizer: Any, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [rate * self.gamma if self.last_epoch else rate for rate in self._rates()]

    def closed(self, base: float) -> float:
        """Rate at ``last_epoch`` from the first one."""
        return float(base * self.gamma**self.last_epoch)


class PolynomialLR(LRScheduler):
    """Down to 0 over `total_iters` epochs as ``(1 - epoch / total_iters) ** power``.

    Examples
    --------
    >>> optimizer = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=1.0)
    >>> schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=4)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates.append(round(schedule.get_last_lr()[0], 3))
    ...     optimizer.step()
    ...     schedule.step()
    >>> rates
    [1.0, 0.75, 0.5, 0.25]
    """

    def __init__(
        self, optimizer: Any, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1
    ) -> None:
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        if not 0 < self.last_epoch <= self.total_iters:
            return self._rates()
        left = 1.0 - self.last_epoch / self.total_iters
        before = 1.0 - (self.last_epoch - 1) / self.total_iters
        return [rate * (left / before) ** self.power for rate in self._rates()]

    def closed(self, base: float) -> float:
        """Rate at ``last_epoch`` from the first one."""
        done = min(self.total_iters, self.last_epoch) / self.total_iters
        return float(base * (1.0 - done) ** self.power)


class CosineAnnealingLR(LRScheduler):
    """Down to `eta_min` over `T_max` epochs along half a cosine, and up again, and so on.

    Examples
    --------
    >>> optimizer = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=1.0)
    >>> schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates.append(round(schedule.get_last_lr()[0], 3))
    ...     optimizer.step()
    ...     schedule.step()
    >>> rates
    [1.0, 0.854, 0.5, 0.146]
    """

    def __init__(
        self,
        optimizer: Any,
        T_max: int,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        epoch, low = self.last_epoch, self.eta_min
        if epoch == 0:
            return self._rates()
        if (epoch - 1 - self.T_max) % (2 * self.T_max) == 0:  # where the cosine before was -1
            turn = (1 - math.cos(math.pi / self.T_max)) / 2
            return [
                rate + (base - low) * turn
                for rate, base in zip(self._rates(), self.base_lrs, strict=True)
            ]
        here = 1 + math.cos(math.pi * epoch / self.T_max)
        before = 1 + math.cos(math.pi * (epoch - 1) / self.T_max)
        return [here / before * (rate - low) + low for rate in self._rates()]

    def closed(self, base: float) -> float:
        """Rate at ``last_epoch`` from the first one."""
        cosine = math.cos(math.pi * self.last_epoch / self.T_max)
        return self.eta_min + (base - self.eta_min) * (1 + cosine) / 2


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half cosines of `T_0` epochs, each `T_mult` times as long as the one before.

    ``step(epoch)`` takes fractions of an epoch, too.

    Examples
    --------
    >>> optimizer = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=1.0)
    >>> schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates.append(round(schedule.get_last_lr()[0], 3))
    ...     optimizer.step()
    ...     schedule.step()
    >>> rates
    [1.0, 0.5, 1.0, 0.5]
    """

    def __init__(
        self,
        optimizer: Any,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        super().__init__(optimizer, last_epoch)

    def _place(self) -> tuple[float, float]:
        """Epochs since the last restart, and length of the round."""
        since, length = float(self.last_epoch), float(self.T_0)
        if self.T_mult == 1:
            return since % length, length
        while since >= length:
            since, length = since - length, length * self.T_mult
        return since, length

    def get_lr(self) -> list[float]:
        since, length = self._place()
        cosine = math.cos(math.pi * since / length)
        return [self.eta_min + (base - self.eta_min) * (1 + cosine) / 2 for base in self.base_lrs]


class OneCycleLR(LRScheduler):
    """Up from ``max_lr / div_factor`` to `max_lr`, and down far below (Smith 2018), once.

    The momentum, or the first of the betas, goes the other way if `cycle_momentum`.

    Examples
    --------
    >>> optimizer = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=1.0)
    >>> schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=5)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates.append(round(schedule.get_last_lr()[0], 3))
    ...     optimizer.step()
    ...     schedule.step()
    >>> rates
    [0.04, 0.95, 0.611, 0.188]
    """

    def __init__(
        self,
        optimizer: Any,
        max_lr: Any,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"OneCycleLR: anneal_strategy is {anneal_strategy!r}; allowed are 'cos', 'linear'"
            )
        n = len(optimizer.param_groups)
        self.max_lrs = list(max_lr) if isinstance(max_lr, (list, tuple)) else [max_lr] * n
        self.total_steps, self.anneal_strategy = total_steps, anneal_strategy
        self.cycle_momentum = cycle_momentum
        self.momenta = (max_momentum, base_momentum)
        self.div_factor, self.final_div_factor = div_factor, final_div_factor
        up = pct_start * total_steps - 1
        last = float(total_steps - 1)
        # Ends of the phases, and of each the multiples of the largest rate at its ends.
        first, least = 1 / div_factor, 1 / div_factor / final_div_factor
        if three_phase:
            down = 2 * pct_start * total_steps - 2
            self.phases = [(up, first, 1.0), (down, 1.0, first), (last, first, least)]
        else:
            self.phases = [(up, first, 1.0), (last, 1.0, least)]
        super().__init__(optimizer, last_epoch)

    def _between(self, start: float, end: float, done: float) -> float:
        if self.anneal_strategy == "linear":
            return start + (end - start) * done
        return end + (start - end) / 2 * (1 + math.cos(math.pi * done))

    def get_lr(self) -> list[float]:
        if self.last_epoch > self.total_steps:
            raise ValueError(
                f"OneCycleLR: step {self.last_epoch} of {self.total_steps}; total_steps is too low"
            )
        begin = 0.0
        for i, phase in enumerate(self.phases):
            end, low, high = phase
            if self.last_epoch <= end or i == len(self.phases) - 1:
                done = (self.last_epoch - begin) / (end - begin)
                break
            begin = end
        if self.cycle_momentum:
            ends = [self.momenta, self.momenta[::-1], (self.momenta[0],) * 2][i]
            _set_momentum(self.optimizer, self._between(*ends, done))
        return [self._between(low * top, high * top, done) for top in self.max_lrs]


def _set_momentum(optimizer: Any, value: float) -> None:
    for group in optimizer.param_groups:
        if "betas" in group:
            group["betas"] = (value, group["betas"][1])
        elif "momentum" in group:
            group["momentum"] = value


class CyclicLR(LRScheduler):
    """Up and down between two rates, again and again (Smith 2017).

    Examples
    --------
    >>> optimizer = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=1.0)
    >>> rates = torch.optim.lr_scheduler
    >>> schedule = rates.CyclicLR(optimizer, base_lr=0.1, max_lr=1.0, step_size_up=2)
    >>> seen = []
    >>> for _ in range(4):
    ...     seen.append(round(schedule.get_last_lr()[0], 3))
    ...     optimizer.step()
    ...     schedule.step()
    >>> seen
    [0.1, 0.55, 1.0, 0.55]
    """

    def __init__(
        self,
        optimizer: Any,
        base_lr: float,
        max_lr: float,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        cycle_momentum: bool = True,
        base_momentum: float = 0.8,
        max_momentum: float = 0.9,
        last_epoch: int = -1,
    ) -> None:
        if mode not in ("triangular", "triangular2", "exp_range"):
            raise ValueError(
                f"CyclicLR: mode is {mode!r}; allowed are 'triangular', 'triangular2', 'exp_range'"
            )
        self.low, self.high, self.mode, self.gamma = base_lr, max_lr, mode, gamma
        self.up, self.down = step_size_up, step_size_down or step_size_up
        self.cycle_momentum, self.momenta = cycle_momentum, (base_momentum, max_momentum)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = [base_lr] * len(optimizer.param_groups)

    def get_lr(self) -> list[float]:
        length = self.up + self.down
        cycle, since = divmod(self.last_epoch, length)
        height = since / self.up if since <= self.up else (length - since) / self.down
        if self.mode == "triangular2":
            height *= 0.5**cycle
        elif self.mode == "exp_range":
            height *= self.gamma**self.last_epoch
        if self.cycle_momentum:
            low, high = self.momenta
            _set_momentum(self.optimizer, high - (high - low) * height)
        return [self.low + (self.high - self.low) * height for _ in self.optimizer.param_groups]


def _no_epoch(scheduler: LRScheduler, epoch: int | None) -> None:
    if epoch is not None:
        raise TypeError(
            f"{type(scheduler).__name__}: step got epoch={epoch}; it counts by itself, as in "
            "PyTorch: write step()"
        )


class SequentialLR(LRScheduler):
    """Schedulers one after the other, each from its milestone on.

    Examples
    --------
    >>> optimizer = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=1.0)
    >>> rates = torch.optim.lr_scheduler
    >>> both = [rates.ConstantLR(optimizer, 0.1, 2), rates.ExponentialLR(optimizer, 0.9)]
    >>> schedule = rates.SequentialLR(optimizer, both, milestones=[2])
    >>> for _ in range(3):
    ...     optimizer.step()
    ...     schedule.step()
    >>> [round(rate, 3) for rate in schedule.get_last_lr()]
    [0.9]
    """

    def __init__(
        self,
        optimizer: Any,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"SequentialLR: {len(schedulers)} schedulers need {len(schedulers) - 1} milestones,"
                f" got {len(milestones)}"
            )
        self.optimizer, self.milestones = optimizer, list(milestones)
        self.schedulers = list(schedulers)
        self.last_epoch = last_epoch + 1
        self.base_lrs = self.schedulers[0].base_lrs
        for group, base in zip(optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base
        for scheduler in self.schedulers:
            scheduler.last_epoch -= 1
        self.schedulers[0].step()
        self._last_lr = self.schedulers[0].get_last_lr()

    def step(self, epoch: int | None = None) -> None:
        """Step of the scheduler whose turn it is; `epoch` must be None."""
        _no_epoch(self, epoch)
        self.last_epoch += 1
        i = bisect.bisect_right(self.milestones, self.last_epoch)
        scheduler = self.schedulers[i]
        if i and self.milestones[i - 1] == self.last_epoch:
            scheduler.step(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        state = {k: v for k, v in super().state_dict().items() if k != "schedulers"}
        return state | {"schedulers": [s.state_dict() for s in self.schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        inner = state_dict["schedulers"]
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "schedulers"})
        for scheduler, state in zip(self.schedulers, inner, strict=True):
            scheduler.load_state_dict(state)


class ChainedScheduler(LRScheduler):
    """Schedulers that all take effect.

    Examples
    --------
    >>> optimizer = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=1.0)
    >>> rates = torch.optim.lr_scheduler
    >>> both = [rates.ConstantLR(optimizer, 0.5, 1), rates.ExponentialLR(optimizer, 0.9)]
    >>> schedule = rates.ChainedScheduler(both)
    >>> optimizer.step()
    >>> schedule.step()
    >>> [round(rate, 3) for rate in schedule.get_last_lr()]
    [0.9]
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Any = None) -> None:
        self.schedulers = list(schedulers)
        self.optimizer = optimizer or self.schedulers[0].optimizer
        self._last_lr = self._rates()

    def step(self, epoch: int | None = None) -> None:
        """Step of each; `epoch` must be None."""
        _no_epoch(self, epoch)
        for scheduler in self.schedulers:
            scheduler.step()
        self._last_lr = self._rates()

    state_dict = SequentialLR.state_dict
    load_state_dict = SequentialLR.load_state_dict


class ReduceLROnPlateau(LRScheduler):
    """Times `factor` when a quantity has not become better for more than `patience` steps.

    Examples
    --------
    >>> optimizer = torch.optim.SGD([torch.ones(2, requires_grad=True)], lr=1.0)
    >>> schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
    >>> for loss in (1.0, 2.0, 2.0):
    ...     schedule.step(loss)
    >>> optimizer.param_groups[0]["lr"]
    0.1
    """

    def __init__(
        self,
        optimizer: Any,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: Any = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"ReduceLROnPlateau: mode is {mode!r}, threshold_mode {threshold_mode!r}; allowed "
                "are 'min' and 'max', 'rel' and 'abs'"
            )
        if factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor is {factor}; it must be below 1")
        self.optimizer = optimizer
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.cooldown_counter, self.eps = cooldown, 0, eps
        n = len(optimizer.param_groups)
        self.min_lrs = list(min_lr) if isinstance(min_lr, (list, tuple)) else [min_lr] * n
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = 0
        self.last_epoch = 0
        self._last_lr = self._rates()

    def _better(self, value: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "abs":
            return sign * value > sign * self.best + self.threshold
        if math.isinf(self.best):
            return sign * value > sign * self.best
        return sign * value > sign * self.best * (1 + sign * self.threshold)

    def step(self, metrics: Any, epoch: int | None = None) -> None:
        """Look at the quantity."""
        value = float(metrics.item() if hasattr(metrics, "item") else metrics)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            rates = [
                max(rate * self.factor, least)
                for rate, least in zip(self._rates(), self.min_lrs, strict=True)
            ]
            self._set(
                new if rate - new > self.eps else rate
                for rate, new in zip(self._rates(), rates, strict=True)
            )
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = self._rates()


_LRScheduler = LRScheduler
