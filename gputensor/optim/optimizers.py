"""Optimizers whose step is one fused kernel: gradient descent and Adam."""

from collections.abc import Iterable
from typing import Any, ClassVar

from gputensor.kernels import adam_step, sgd_step
from gputensor.optim.groups import Check, Group, between, flag, pair_of_decays
from gputensor.optim.optimizer import Optimizer
from gputensor.optim.parts import Launch, Part
from gputensor.optim.schedules import Schedule

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]


class SGD(Optimizer):
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
    }
    _rate_within = False  # whether momentum is of steps, not of gradients

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float | Schedule = 0.01,
        momentum: float = 0.0,
        *,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        if nesterov and not momentum:
            raise ValueError("nesterov=True needs a momentum above 0")
        super().__init__(
            parameters, lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
        )

    def _slots(self, group: Group, part: Part) -> dict[str, float]:
        return {"velocity": 0.0} if group.momentum else {}

    def _update(self, launch: Launch) -> None:
        group = launch.part.group
        sgd_step.raw(
            launch.p,
            launch.g,
            launch.states["velocity"] if group.momentum else None,
            lr=launch.rate,
            momentum=group.momentum,
            weight_decay=group.weight_decay,
            nesterov=group.nesterov,
            within=self._rate_within,
            skip=launch.skip,
        )


class Adam(Optimizer):
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
    }
    _counts = True
    _reads_count = True
    _decoupled = False
    _hat = False  # whether `eps` is the paper's "epsilon hat", added before bias is taken off

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float | Schedule = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def _slots(self, group: Group, part: Part) -> dict[str, float]:
        return {"mean": 0.0, "square": 0.0}

    def _update(self, launch: Launch) -> None:
        group = launch.part.group
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
            decoupled=self._decoupled,
            hat=self._hat,
            advance=launch.advance,
            skip=launch.skip,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019): parameters as for Adam.

    Examples
    --------
    >>> w = gt.tensor([1.0], requires_grad=True)
    >>> gt.optim.AdamW([w], lr=0.1)
    AdamW(1 parameter, lr=0.1, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01)
    """

    _decoupled = True

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float | Schedule = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay)
