"""Rules of optimizers as formulas over flat arrays, in PyTorch's form.

A formula computes in the dtype of the state, float32 for parameters of 16 bits; ``decay`` of the
optimizers here is added to the gradient unless said otherwise. The rules that are kernels of their
own are in :mod:`gputensor.optim.optimizers`.
"""

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor
from gputensor.backend import Array
from gputensor.kernels.runtime import widen
from gputensor.optim.groups import Check, Group, between, count, flag, optional, pair_of_decays
from gputensor.optim.optimizer import Optimizer
from gputensor.optim.parts import Launch, Part
from gputensor.optim.schedules import Schedule

__all__ = [
    "Adadelta",
    "Adagrad",
    "Formula",
    "Lion",
    "Muon",
    "NAdam",
    "RMSprop",
    "as_dtype",
    "decayed",
]


class Formula(Optimizer):
    """Base class of optimizers whose rule is :meth:`_formula`."""

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        """The new values of `p`, and in `s` those of the state.

        Parameters
        ----------
        p, g : arrays
            Values and gradients.
        s : dict of str to array
            The state; the formula puts new arrays there. Single numbers are of float64.
        rate, t : float64 arrays of shape ()
            Learning rate, and the number of this step, from 1 on.
        """
        raise NotImplementedError

    def _update(self, launch: Launch) -> None:
        p, g, states, part, rate, taken, _, advance, skip = launch
        with backend.on_device_of(p):
            xp = backend.namespace(p)
            x = widen(xp, p)
            old = states | {name: t.array for name, t in part.scalars.items()}
            new = dict(old)
            t = taken.reshape(()).astype(np.float64) + 1
            moved = self._formula(xp, part.group, x, widen(xp, g), new, rate, t)
            done = None if skip is None else skip[0] == 0
            for target, value in [(p, moved), *((old[name], new[name]) for name in old)]:
                if value is target:
                    continue
                value = value.astype(target.dtype)
                target[...] = value if done is None else xp.where(done, value, target)
            if advance and self._reads_count:
                taken += 1 if skip is None else skip == 0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._counts = cls._reads_count


def as_dtype(number: Array, like: Array) -> Array:
    """A float64 array of shape () in the dtype of another array."""
    return number.astype(like.dtype)


def decayed(group: Group, p: Array, g: Array) -> Array:
    """Gradient of a parameter with its weight decay."""
    return g + group.weight_decay * p if group.weight_decay else g


class RMSprop(Formula):
    """RMSprop (Tieleman & Hinton 2012), as PyTorch has it.

    Parameters
    ----------
    parameters : iterable of Tensor, or of dict
    lr : float or Schedule
    alpha : float
        Decay of the running mean of squares, in [0, 1).
    eps : float
        Added to the root of the mean.
    weight_decay : float
        Times the parameter, added to its gradient.
    momentum : float
    centered : bool
        Whether the mean's square is taken off the mean of squares.
    maximize : bool
        Whether to climb.

    Examples
    --------
    >>> w = gt.tensor([1.0], requires_grad=True)
    >>> gt.optim.RMSprop([w], lr=0.1)
    RMSprop(1 parameter, lr=0.1, ...)
    """

    _settings: ClassVar[dict[str, Check]] = {
        "alpha": between(0, 1),
        "eps": between(0),
        "weight_decay": between(0),
        "momentum": between(0),
        "centered": flag,
        "maximize": flag,
    }

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float | Schedule = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            parameters,
            lr,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
            maximize=maximize,
        )

    def _slots(self, group: Group, part: Part) -> dict[str, float]:
        wanted = {"square": True, "mean": group.centered, "velocity": group.momentum}
        return {name: 0.0 for name, there in wanted.items() if there}

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        g = decayed(group, p, g)
        keep = group.alpha
        s["square"] = spread = keep * s["square"] + (1 - keep) * (g * g)
        if group.centered:
            s["mean"] = keep * s["mean"] + (1 - keep) * g
            spread = spread - s["mean"] * s["mean"]
        return self._move(xp, group, p, g, s, spread, as_dtype(rate, p))

    def _move(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], spread: Array, lr: Any
    ) -> Array:
        step = g / (xp.sqrt(spread) + group.eps)
        if group.momentum:
            s["velocity"] = step = group.momentum * s["velocity"] + step
        return p - lr * step


class Adagrad(Formula):
    """Adagrad (Duchi, Hazan & Singer 2011), as PyTorch has it.

    Parameters
    ----------
    parameters : iterable of Tensor, or of dict
    lr : float or Schedule
    lr_decay : float
        The rate is divided by ``1 + lr_decay * steps``.
    weight_decay : float
        Times the parameter, added to its gradient.
    initial_accumulator_value : float
        What the sum of squares begins with.
    eps : float
        Added to the root of the sum.
    maximize : bool
        Whether to climb.

    Examples
    --------
    >>> w = gt.tensor([1.0], requires_grad=True)
    >>> gt.optim.Adagrad([w], lr=0.1)
    Adagrad(1 parameter, lr=0.1, ...)
    """

    _reads_count = True
    _settings: ClassVar[dict[str, Check]] = {
        "lr_decay": between(0),
        "weight_decay": between(0),
        "initial_accumulator_value": between(0),
        "eps": between(0),
        "maximize": flag,
    }

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float | Schedule = 0.01,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            parameters,
            lr,
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            eps=eps,
            maximize=maximize,
        )

    def _slots(self, group: Group, part: Part) -> dict[str, float]:
        return {"sum": group.initial_accumulator_value}

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        g = decayed(group, p, g)
        s["sum"] = s["sum"] + g * g
        lr = as_dtype(rate / (1 + (t - 1) * group.lr_decay), p)
        return p - lr * g / (xp.sqrt(s["sum"]) + group.eps)


class Adadelta(Formula):
    """Adadelta (Zeiler 2012), as PyTorch and Keras have it.

    Parameters
    ----------
    parameters : iterable of Tensor, or of dict
    lr : float or Schedule
    rho : float
        Decay of the running means of squares, in [0, 1).
    eps : float
        Added to them below the roots.
    weight_decay : float
        Times the parameter, added to its gradient.
    maximize : bool
        Whether to climb.

    Examples
    --------
    >>> w = gt.tensor([1.0], requires_grad=True)
    >>> gt.optim.Adadelta([w])
    Adadelta(1 parameter, lr=1.0, rho=0.9, eps=1e-06, weight_decay=0.0)
    """

    _settings: ClassVar[dict[str, Check]] = {
        "rho": between(0, 1),
        "eps": between(0),
        "weight_decay": between(0),
        "maximize": flag,
    }

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float | Schedule = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            parameters, lr, rho=rho, eps=eps, weight_decay=weight_decay, maximize=maximize
        )

    def _slots(self, group: Group, part: Part) -> dict[str, float]:
        return {"square": 0.0, "moved": 0.0}

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        g = decayed(group, p, g)
        keep, eps = group.rho, group.eps
        s["square"] = keep * s["square"] + (1 - keep) * (g * g)
        step = xp.sqrt(s["moved"] + eps) / xp.sqrt(s["square"] + eps) * g
        s["moved"] = keep * s["moved"] + (1 - keep) * (step * step)
        return p - as_dtype(rate, p) * step


class NAdam(Formula):
    """Adam with Nesterov's momentum (Dozat 2016), as PyTorch has it.

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
    momentum_decay : float
    maximize : bool
        Whether to climb.
    decoupled_weight_decay : bool
        Whether the decay is taken off the parameter itself, times the learning rate.

    Examples
    --------
    >>> w = gt.tensor([1.0], requires_grad=True)
    >>> gt.optim.NAdam([w], lr=0.1)
    NAdam(1 parameter, lr=0.1, ...)
    """

    _reads_count = True
    _settings: ClassVar[dict[str, Check]] = {
        "betas": pair_of_decays,
        "eps": between(0),
        "weight_decay": between(0),
        "momentum_decay": between(0),
        "maximize": flag,
        "decoupled_weight_decay": flag,
    }

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float | Schedule = 0.002,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 0.004,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(
            parameters,
            lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            momentum_decay=momentum_decay,
            maximize=maximize,
            decoupled_weight_decay=decoupled_weight_decay,
        )

    def _slots(self, group: Group, part: Part) -> dict[str, float]:
        return {"mean": 0.0, "square": 0.0}

    def _scalars(self, group: Group) -> dict[str, float]:
        return {"product": 1.0}

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        (one, two), pace = group.betas, group.momentum_decay
        if group.decoupled_weight_decay:
            p = p * as_dtype(1 - rate * group.weight_decay, p)
        else:
            g = decayed(group, p, g)
        now = one * (1 - 0.5 * 0.96 ** (t * pace))
        later = one * (1 - 0.5 * 0.96 ** ((t + 1) * pace))
        s["product"] = s["product"] * now
        product = s["product"].reshape(())
        s["mean"] = mean = one * s["mean"] + (1 - one) * g
        s["square"] = square = two * s["square"] + (1 - two) * (g * g)
        below = xp.sqrt(square * as_dtype(1 / (1 - two**t), p)) + group.eps
        of_g = as_dtype(rate * (1 - now) / (1 - product), p)
        of_mean = as_dtype(rate * later / (1 - product * later), p)
        return p - (of_g * g + of_mean * mean) / below


class Lion(Formula):
    """Lion (Chen et al. 2023): the sign of a running mean, with decoupled weight decay.

    Parameters
    ----------
    parameters : iterable of Tensor, or of dict
    lr : float or Schedule
    betas : (float, float)
        Weight of the mean in the step, and its decay, in [0, 1).
    weight_decay : float
        Times learning rate and parameter, taken off it.

    Examples
    --------
    >>> w = gt.tensor([1.0], requires_grad=True)
    >>> gt.optim.Lion([w], lr=0.1)
    Lion(1 parameter, lr=0.1, betas=(0.9, 0.99), weight_decay=0.0)
    """

    _settings: ClassVar[dict[str, Check]] = {
        "betas": pair_of_decays,
        "weight_decay": between(0),
    }

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float | Schedule = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, betas=betas, weight_decay=weight_decay)

    def _slots(self, group: Group, part: Part) -> dict[str, float]:
        return {"mean": 0.0}

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        one, two = group.betas
        lr = as_dtype(rate, p)
        step = xp.sign(one * s["mean"] + (1 - one) * g)
        s["mean"] = two * s["mean"] + (1 - two) * g
        return p - lr * (step + group.weight_decay * p if group.weight_decay else step)


def orthogonal(
    xp: Any, g: Array, coefficients: tuple[float, float, float], steps: int, eps: float
) -> Array:
    """The matrix near `g` whose singular values are about 1, by Newton and Schulz's iteration."""
    a, b, c = coefficients
    wide = g.shape[0] <= g.shape[1]
    x = g if wide else g.T
    norm = xp.sqrt(xp.sum(x * x))
    x = x / xp.maximum(norm, eps)
    for _ in range(steps):
        square = xp.matmul(x, x.T)
        x = a * x + xp.matmul(b * square + c * xp.matmul(square, square), x)
    return x if wide else x.T


class Muon(Formula):
    """Momentum made orthogonal (Jordan et al. 2024), for matrices, as PyTorch has it.

    The iteration is computed in the parameters' own dtype; PyTorch computes it in bfloat16.

    Parameters
    ----------
    parameters : iterable of Tensor of shape (m, n), or of dict
    lr : float or Schedule
    weight_decay : float
        Times learning rate and parameter, taken off it.
    momentum : float
        In [0, 1).
    nesterov : bool
    ns_coefficients : (float, float, float)
        Of the polynomial of each step of the iteration.
    eps : float
        Smallest norm that momentum is divided by.
    ns_steps : int
    adjust_lr_fn : {None, "original", "match_rms_adamw"}
        The rate is multiplied by ``sqrt(max(1, m / n))``, or by ``0.2 * sqrt(max(m, n))``.

    Examples
    --------
    >>> w = gt.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    >>> gt.optim.Muon([w], lr=0.1)
    Muon(1 parameter, lr=0.1, ...)
    """

    _elementwise = False
    _settings: ClassVar[dict[str, Check]] = {
        "weight_decay": between(0),
        "momentum": between(0, 1),
        "nesterov": flag,
        "ns_coefficients": lambda name, value: tuple(float(v) for v in value),
        "eps": between(0),
        "ns_steps": count,
        "adjust_lr_fn": optional(lambda name, value: _one_of(name, value)),
    }

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float | Schedule = 0.001,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        super().__init__(
            parameters,
            lr,
            weight_decay=weight_decay,
            momentum=momentum,
            nesterov=nesterov,
            ns_coefficients=ns_coefficients,
            eps=eps,
            ns_steps=ns_steps,
            adjust_lr_fn=adjust_lr_fn,
        )

    def _admit(self, group: Group, parameters: list[Tensor]) -> None:
        for i, p in enumerate(parameters):
            if p.ndim != 2 or p.dtype.kind == "c":
                raise ValueError(
                    f"parameters: item {i} has shape {p.shape} and dtype {p.dtype}; Muon is for "
                    "real matrices, give the others to another optimizer"
                )

    def _alike(self, group: Group, one: Any, other: Any) -> bool:
        return False

    def _slots(self, group: Group, part: Part) -> dict[str, float]:
        return {"mean": 0.0}

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        keep = group.momentum
        s["mean"] = mean = keep * s["mean"] + (1 - keep) * g
        step = keep * mean + (1 - keep) * g if group.nesterov else mean
        step = orthogonal(xp, step, group.ns_coefficients, group.ns_steps, group.eps)
        m, n = p.shape
        factor = math.sqrt(max(1, m / n))
        if group.adjust_lr_fn == "match_rms_adamw":
            factor = 0.2 * math.sqrt(max(m, n))
        lr = as_dtype(rate, p)
        return p * (1 - lr * group.weight_decay) - (lr * factor) * step

    def _update(self, launch: Launch) -> None:
        shape = launch.part.members[0].leaf.shape
        super()._update(
            launch._replace(
                p=launch.p.reshape(shape),
                g=launch.g.reshape(shape),
                states={name: a.reshape(shape) for name, a in launch.states.items()},
            )
        )


def _one_of(name: str, value: Any) -> str:
    if value not in ("original", "match_rms_adamw"):
        raise ValueError(f"{name} is {value!r}; allowed are None, 'original', 'match_rms_adamw'")
    return str(value)
