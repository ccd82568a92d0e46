"""Further rules of PyTorch's: Adamax, RAdam, Rprop and averaged gradient descent."""

from collections.abc import Iterable
from typing import Any, ClassVar

from gputensor.backend import Array
from gputensor.optim.groups import Check, Group, between, flag, number, pair_of_decays
from gputensor.optim.parts import Part
from gputensor.optim.rules import Formula, as_dtype, decayed
from gputensor.optim.schedules import Schedule

__all__ = ["ASGD", "Adamax", "RAdam", "Rprop"]


class Adamax(Formula):
    """Adam with the largest gradient in the place of the mean square (Kingma & Ba 2015, 7.1).

    Parameters
    ----------
    parameters : iterable of Tensor, or of dict
    lr : float or Schedule
    betas : (float, float)
        Decay of the running mean of the gradient and of its largest size, in [0, 1).
    eps : float
        Added to the size of each gradient.
    weight_decay : float
        Times the parameter, added to its gradient.
    maximize : bool
        Whether to climb.

    Examples
    --------
    >>> w = gt.tensor([1.0], requires_grad=True)
    >>> gt.optim.Adamax([w], lr=0.1)
    Adamax(1 parameter, lr=0.1, ...)
    """

    _reads_count = True
    _settings: ClassVar[dict[str, Check]] = {
        "betas": pair_of_decays,
        "eps": between(0),
        "weight_decay": between(0),
        "maximize": flag,
    }

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float | Schedule = 0.002,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        settings = {"betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(parameters, lr, **settings, maximize=maximize)

    def _slots(self, group: Group, part: Part) -> dict[str, float]:
        return {"mean": 0.0, "largest": 0.0}

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        one, two = group.betas
        g = decayed(group, p, g)
        s["mean"] = one * s["mean"] + (1 - one) * g
        s["largest"] = xp.maximum(two * s["largest"], abs(g) + group.eps)
        return p - as_dtype(rate / (1 - one**t), p) * s["mean"] / s["largest"]


class RAdam(Formula):
    """Adam whose first steps do not trust the mean of squares (Liu et al. 2020).

    Parameters
    ----------
    parameters : iterable of Tensor, or of dict
    lr : float or Schedule
    betas : (float, float)
        Decay of the running means of the gradient and of its square, in [0, 1).
    eps : float
        Added to the root of the second mean.
    weight_decay : float
        Times the parameter, added to its gradient.
    decoupled_weight_decay : bool
        Whether the decay is taken off the parameter itself, times the learning rate.
    maximize : bool
        Whether to climb.

    Examples
    --------
    >>> w = gt.tensor([1.0], requires_grad=True)
    >>> gt.optim.RAdam([w], lr=0.1)
    RAdam(1 parameter, lr=0.1, ...)
    """

    _reads_count = True
    _settings: ClassVar[dict[str, Check]] = {
        "betas": pair_of_decays,
        "eps": between(0),
        "weight_decay": between(0),
        "decoupled_weight_decay": flag,
        "maximize": flag,
    }

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float | Schedule = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            parameters,
            lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize,
        )

    def _slots(self, group: Group, part: Part) -> dict[str, float]:
        return {"mean": 0.0, "square": 0.0}

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        one, two = group.betas
        if group.decoupled_weight_decay:
            p = p * as_dtype(1 - rate * group.weight_decay, p)
        else:
            g = decayed(group, p, g)
        s["mean"] = one * s["mean"] + (1 - one) * g
        s["square"] = two * s["square"] + (1 - two) * (g * g)
        most = 2 / (1 - two) - 1
        known = most - 2 * t * two**t / (1 - two**t)
        sure = known > 5
        known = xp.where(sure, known, 6.0)
        spread = (known - 4) * (known - 2) * most / ((most - 4) * (most - 2) * known)
        scale = as_dtype(xp.sqrt(spread * (1 - two**t)), p) / (xp.sqrt(s["square"]) + group.eps)
        step = s["mean"] * as_dtype(rate / (1 - one**t), p)
        return p - step * xp.where(sure, scale, xp.ones_like(scale))


class Rprop(Formula):
    """Steps by the signs of gradients alone (Riedmiller & Braun 1993), for whole data sets.

    Parameters
    ----------
    parameters : iterable of Tensor, or of dict
    lr : float
        Length of the first step.
    etas : (float, float)
        What a step is multiplied by where the sign has changed, and where it has not.
    step_sizes : (float, float)
        Smallest and largest step.
    maximize : bool
        Whether to climb.

    Examples
    --------
    >>> w = gt.tensor([1.0], requires_grad=True)
    >>> gt.optim.Rprop([w], lr=0.1)
    Rprop(1 parameter, lr=0.1, ...)
    """

    _reads_count = True
    _settings: ClassVar[dict[str, Check]] = {
        "etas": lambda name, v: (number(name, v[0], 0, 1), number(name, v[1], 1, float("inf"))),
        "step_sizes": lambda name, v: tuple(number(name, n, 0, float("inf")) for n in v),
        "maximize": flag,
    }

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float | Schedule = 0.01,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(parameters, lr, etas=etas, step_sizes=step_sizes, maximize=maximize)

    def _slots(self, group: Group, part: Part) -> dict[str, float]:
        return {"before": 0.0, "size": 0.0}

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        less, more = group.etas
        low, high = group.step_sizes
        size = xp.where(t == 1, as_dtype(rate, p), s["size"])
        turn = g * s["before"]
        size = xp.where(turn > 0, size * more, xp.where(turn < 0, size * less, size))
        s["size"] = xp.clip(size, low, high)
        s["before"] = g = xp.where(turn < 0, xp.zeros_like(g), g)
        return p - xp.sign(g) * s["size"]


class ASGD(Formula):
    """Gradient descent, and the average of where it was (Polyak & Juditsky 1992).

    The average of each parameter is its ``average`` in :meth:`state_dict`.

    Parameters
    ----------
    parameters : iterable of Tensor, or of dict
    lr : float or Schedule
    lambd : float
        Decay of the parameters.
    alpha : float
        Power of the decay of the learning rate.
    t0 : float
        Step from which on it averages.
    weight_decay : float
        Times the parameter, added to its gradient.
    maximize : bool
        Whether to climb.

    Examples
    --------
    >>> w = gt.tensor([1.0], requires_grad=True)
    >>> gt.optim.ASGD([w], lr=0.1)
    ASGD(1 parameter, lr=0.1, ...)
    """

    _reads_count = True
    _settings: ClassVar[dict[str, Check]] = {
        "lambd": between(0),
        "alpha": between(0),
        "t0": between(0),
        "weight_decay": between(0),
        "maximize": flag,
    }

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float | Schedule = 0.01,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        settings = {"lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay}
        super().__init__(parameters, lr, **settings, maximize=maximize)

    def _slots(self, group: Group, part: Part) -> dict[str, float]:
        return {"average": 0.0}

    def _scalars(self, group: Group) -> dict[str, float]:
        return {"pace": 0.0}

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        g = decayed(group, p, g)
        pace = xp.where(t == 1, rate, s["pace"].reshape(()))
        p = p * as_dtype(1 - group.lambd * pace, p) - as_dtype(pace, p) * g
        share = 1 / xp.maximum(1, t - 1 - group.t0)
        s["average"] = s["average"] + (p - s["average"]) * as_dtype(share, p)
        s["pace"] = (rate / (1 + group.lambd * rate * t) ** group.alpha).reshape(1)
        return p
