"""Optimizers with Keras's parameter names; ``compile`` binds them to the model's parameters."""

from collections.abc import Iterable
from typing import Any

from gputensor import optim
from gputensor.autograd import Tensor
from gputensor.optim.groups import checked_rate
from gputensor.optim.groups import number as _number
from gputensor.optim.schedules import Schedule

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "get"]


class Optimizer:
    """Base class: a learning rate under both of its names.

    Parameters
    ----------
    learning_rate : float or Schedule
        See :mod:`gputensor.optim.schedules`.
    lr : float or Schedule
        The same, as older scripts write it; only one may be given.
    """

    _default = 0.001

    def __init__(
        self, learning_rate: float | Schedule | None = None, lr: float | Schedule | None = None
    ) -> None:
        if learning_rate is not None and lr is not None:
            raise TypeError(
                f"{type(self).__name__}: lr and learning_rate are the same; give one of them"
            )
        given = lr if learning_rate is None else learning_rate
        self.learning_rate = self._default if given is None else given
        checked_rate("learning_rate", self.learning_rate)

    def bind(self, parameters: Iterable[Tensor]) -> optim.Optimizer:
        """The optimizer of these parameters."""
        raise NotImplementedError


class SGD(Optimizer):
    """Gradient descent, with momentum where asked for. Parameters: `learning_rate` (0.01),
    `momentum` (0), `nesterov`.
    """

    _default = 0.01

    def __init__(
        self,
        learning_rate: float | Schedule | None = None,
        momentum: float = 0.0,
        nesterov: bool = False,
        *,
        lr: float | Schedule | None = None,
    ) -> None:
        super().__init__(learning_rate, lr)
        self.momentum = momentum
        self.nesterov = nesterov

    def bind(self, parameters: Iterable[Tensor]) -> optim.SGD:
        """The optimizer of these parameters."""
        return optim.SGD(
            parameters, self.learning_rate, momentum=self.momentum, nesterov=self.nesterov
        )


class Adam(Optimizer):
    """Adam. Parameters: `learning_rate` (0.001), `beta_1`, `beta_2`, `epsilon`."""

    def __init__(
        self,
        learning_rate: float | Schedule | None = None,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        *,
        lr: float | Schedule | None = None,
    ) -> None:
        super().__init__(learning_rate, lr)
        for name, beta in (("beta_1", beta_1), ("beta_2", beta_2)):
            _number(name, beta, 0, 1)
        self._options: dict[str, Any] = {"betas": (beta_1, beta_2), "eps": epsilon}

    def bind(self, parameters: Iterable[Tensor]) -> optim.Adam:
        """The optimizer of these parameters."""
        return optim.Adam(parameters, self.learning_rate, **self._options)


class AdamW(Adam):
    """Adam with decoupled `weight_decay` (0.004, as in Keras); otherwise as Adam."""

    def __init__(
        self,
        learning_rate: float | Schedule | None = None,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        *,
        lr: float | Schedule | None = None,
    ) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, lr=lr)
        self._options["weight_decay"] = weight_decay

    def bind(self, parameters: Iterable[Tensor]) -> optim.AdamW:
        """The optimizer of these parameters."""
        return optim.AdamW(parameters, self.learning_rate, **self._options)


_NAMES: dict[str, type[Optimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD}


def get(optimizer: str | Optimizer) -> Optimizer:
    """The optimizer of a name, or the one given."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, str) and optimizer.lower() in _NAMES:
        return _NAMES[optimizer.lower()]()
    raise ValueError(
        f"optimizer {optimizer!r} is unknown; allowed are {', '.join(map(repr, _NAMES))} and the "
        "classes of gputensor.keras.optimizers"
    )
