"""Optimizers whose step is one fused kernel: gradient descent and Adam."""

from collections.abc import Iterable
from typing import Any, ClassVar

from gputensor.backend import Array
from gputensor.kernels import adam_step, sgd_step
from gputensor.optim.groups import Check, Group, between, flag, pair_of_decays
from gputensor.optim.parts import Launch, Part
from gputensor.optim.rules import Formula, as_dtype, decayed
from gputensor.optim.schedules import Schedule

__all__ = ["SGD", "Adam", "AdamW"]


class SGD(Formula):
    """Gradient descent, with momentum where asked for.

    Parameters
    ----------
    parameters : iterable of Tensor, or of dict
    lr : float or Schedule
        Learning rate.
    momentum : float
        In [0, 1).
    nesterov : bool
        Nesterov's form of momentum.
    weight_decay : float
        Times the parameter, added to its gradient.
    dampening : float
        What is left out of a gradient where it joins the momentum, from its second step on.
    maximize : bool
        Whether to climb.

    Examples
    --------
    >>> w = gt.tensor([1.0], requires_grad=True)
    >>> optimizer = gt.optim.SGD([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.detach()
    tensor([0.8], dtype=float32)
    """

    _settings: ClassVar[dict[str, Check]] = {
        "momentum": between(0, 1),
        "nesterov": flag,
        "weight_decay": between(0),
        "dampening": between(0),
        "maximize": flag,
    }

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float | Schedule = 0.01,
        momentum: float = 0.0,
        *,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        dampening: float = 0.0,
        maximize: bool = False,
    ) -> None:
        if nesterov and (not momentum or dampening):
            raise ValueError("nesterov=True needs a momentum above 0 and a dampening of 0")
        super().__init__(
            parameters,
            lr,
            momentum=momentum,
            nesterov=nesterov,
            weight_decay=weight_decay,
            dampening=dampening,
            maximize=maximize,
        )

    def _slots(self, group: Group, part: Part) -> dict[str, float]:
        if not group.momentum:
            return {}
        return {"velocity": 0.0} | ({"begun": 0.0} if group.dampening else {})

    def _formula(
        self, xp: Any, group: Group, p: Array, g: Array, s: dict[str, Array], rate: Array, t: Array
    ) -> Array:
        keep, g = group.momentum, decayed(group, p, g)
        later = keep * s["velocity"] + (1 - group.dampening) * g
        s["velocity"] = xp.where(s["begun"] != 0, later, g)
        s["begun"] = xp.ones_like(s["begun"])
        return p - as_dtype(rate, p) * s["velocity"]

    def _update(self, launch: Launch) -> None:
        group = launch.part.group
        if group.momentum and group.dampening:
            super()._update(launch)
            return
        sgd_step.raw(
            launch.p,
            launch.g,
            launch.states["velocity"] if group.momentum else None,
            lr=launch.rate,
            momentum=group.momentum,
            weight_decay=group.weight_decay,
            nesterov=group.nesterov,
            within=False,
            skip=launch.skip,
        )


class Adam(Formula):
    """Adam (Kingma & Ba 2015).

    Parameters
    ----------
    parameters : iterable of Tensor, or of dict
    lr : float or Schedule
        Learning rate.
    betas : (float, float)
        Decay of the running means of the gradient and of its square, in [0, 1).
    eps : float
        Added to the root of the second mean.
    weight_decay : float
        Times the parameter, added to its gradient.
    amsgrad : bool
        Whether to divide by the largest second mean so far (Reddi, Kale & Kumar 2018).
    maximize : bool
        Whether to climb.
    decoupled_weight_decay : bool
        Whether the decay is taken off the parameter itself, times the learning rate, as AdamW's.

    Examples
    --------
    >>> w = gt.tensor([1.0], requires_grad=True)
    >>> optimizer = gt.optim.Adam([w], lr=0.1)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.detach()
    tensor([0.9], dtype=float32)
    """

    _settings: ClassVar[dict[str, Check]] = {
        "betas": pair_of_decays,
        "eps": between(0),
        "weight_decay": between(0),
        "amsgrad": flag,
        "maximize": flag,
        "decoupled_weight_decay": flag,
    }
    _reads_count = True

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float | Schedule = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
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
            amsgrad=amsgrad,
            maximize=maximize,
            decoupled_weight_decay=decoupled_weight_decay,
        )

    def _slots(self, group: Group, part: Part) -> dict[str, float]:
        found = {"mean": 0.0, "square": 0.0}
        return found | {"largest": 0.0} if group.amsgrad else found

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
        s["largest"] = xp.maximum(s["largest"], s["square"])
        below = xp.sqrt(s["largest"]) / as_dtype(xp.sqrt(1 - two**t), p) + group.eps
        return p - as_dtype(rate / (1 - one**t), p) * (s["mean"] / below)

    def _update(self, launch: Launch) -> None:
        group = launch.part.group
        if group.amsgrad:
            super()._update(launch)
            return
        beta1, beta2 = group.betas
        adam_step.raw(
            launch.p,
            launch.g,
            launch.states["mean"],
            launch.states["square"],
            launch.count,
            launch.ticket,
            lr=launch.rate,
            beta1=beta1,
            beta2=beta2,
            eps=group.eps,
            weight_decay=group.weight_decay,
            decoupled=group.decoupled_weight_decay,
            hat=False,
            advance=launch.advance,
            skip=launch.skip,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019): parameters as for Adam.

    Examples
    --------
    >>> w = gt.tensor([1.0], requires_grad=True)
    >>> gt.optim.AdamW([w], lr=0.1)
    AdamW(1 parameter, lr=0.1, ...)
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float | Schedule = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        more = {"maximize": maximize, "decoupled_weight_decay": True}
        super().__init__(parameters, lr, betas, eps, weight_decay, amsgrad, **more)
