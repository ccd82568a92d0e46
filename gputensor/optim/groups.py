"""Parameters of an optimizer that share its settings, and what each setting may be."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor, no_grad, wrap
from gputensor.backend import Device
from gputensor.ops.creation import tensor
from gputensor.optim.schedules import Schedule
from gputensor.watched import Watched

__all__ = ["Check", "Group", "between", "checked_rate", "flag"]

Check: TypeAlias = Callable[[str, Any], Any]


def number(name: str, value: Any, low: float, high: float) -> float:
    """`value` as a float if it is in ``[low, high)``."""
    if isinstance(value, (np.ndarray, Tensor)) and value.shape == ():
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    if not low <= value < high:
        raise ValueError(f"{name} is {value}; it must be at least {low} and below {high}")
    return float(value)


def between(low: float, high: float = float("inf")) -> Check:
    """Check of a number in ``[low, high)``."""
    return lambda name, value: number(name, value, low, high)


def optional(check: Check) -> Check:
    """Check of what may be None."""
    return lambda name, value: None if value is None else check(name, value)


def pair_of_decays(name: str, value: Any) -> tuple[float, float]:
    """Check of two numbers in [0, 1)."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"{name} must be a pair of numbers, such as (0.9, 0.999), got {value!r}")
    return number(f"{name}[0]", value[0], 0, 1), number(f"{name}[1]", value[1], 0, 1)


def flag(name: str, value: Any) -> bool:
    """Check of True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def count(name: str, value: Any) -> int:
    """Check of an int from 1 on."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} is {value!r}; it must be a positive int")
    return int(value)


def checked_rate(name: str, value: Any) -> float | Schedule:
    """A learning rate, if it is a number from 0 on, or a schedule that gives a number."""
    if not callable(value):
        return number(name, value, 0, float("inf"))
    with no_grad():
        first = value(tensor(0.0, dtype=np.float64, device="cpu"))
    if isinstance(first, (int, float, np.number)) and not isinstance(first, bool):
        return _Lifted(value)
    if not isinstance(first, Tensor) or first.shape != ():
        raise TypeError(
            f"{name}: a schedule must return a number, or a tensor of shape (), for the number of "
            f"steps taken; it returned {first!r}"
        )
    schedule: Schedule = value
    return schedule


class _Lifted:
    """A schedule that gives plain numbers, as one that gives tensors."""

    def __init__(self, function: Callable[[Any], float]) -> None:
        self.function = function

    def __call__(self, step: Tensor) -> Tensor:
        return tensor(float(self.function(step)), dtype=np.float64, device=step.device)


# Names that other libraries have for the settings of an optimizer.
_ELSEWHERE = {
    "learning_rate": "lr",
    "beta_1": "betas",
    "beta_2": "betas",
    "beta1": "betas",
    "beta2": "betas",
    "epsilon": "eps",
    "rho": "alpha",
    "decay": "weight_decay",
}


def right_name(name: str, names: "list[str] | tuple[str, ...]") -> str:
    """The one of `names` that is probably meant; an empty text if none is."""
    import difflib

    if _ELSEWHERE.get(name) in names:
        return _ELSEWHERE[name]
    found = difflib.get_close_matches(name, names, 1, 0.6)
    return found[0] if found else ""


class Group(Watched):
    """Parameters with settings of their own: a mapping, and attributes of the same names.

    What is set counts from the next step on, a captured one too.

    Parameters
    ----------
    checks : dict of str to function
        The settings' names, and what they may be.
    lr : float or Schedule
    settings : dict
        Values of all in `checks`.

    Examples
    --------
    >>> w = gt.tensor([1.0], requires_grad=True)
    >>> gt.optim.SGD([w], lr=0.1).param_groups[0]["lr"]
    0.1
    """

    def __init__(self, checks: dict[str, Check], lr: Any, settings: dict[str, Any]) -> None:
        members = vars(self)
        members.update(_checks=checks, _rates={}, _schedule=None, _lr=0.0, params=[])
        self.lr = lr
        for name, value in settings.items():
            setattr(self, name, value)

    def names(self) -> list[str]:
        """Names of all settings."""
        return ["lr", *vars(self)["_checks"]]

    @property
    def lr(self) -> float | Schedule:
        """Learning rate, or its schedule."""
        members = vars(self)
        rate: float | Schedule = members["_schedule"] or members["_lr"]
        return rate

    @lr.setter
    def lr(self, value: float | Schedule) -> None:
        rate = checked_rate("lr", value)
        self._schedule: Schedule | None = rate if callable(rate) else None
        if callable(rate):
            return
        vars(self)["_lr"] = rate  # no setting of a captured step, which reads it below
        for on_device in vars(self)["_rates"].values():
            with backend.on_device_of(on_device.array):
                on_device.array.fill(rate)

    def rate_on(self, device: Device) -> Tensor:
        """The learning rate on a device, where steps read it."""
        members = vars(self)
        rates = members["_rates"]
        if str(device) not in rates:
            with backend.on_device_of(device):
                xp = backend.namespace(device)
                rates[str(device)] = wrap(xp.full((), members["_lr"], np.float64))
        found: Tensor = rates[str(device)]
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        checks = vars(self)["_checks"]
        if name in checks:
            value = checks[name](name, value)
        elif name != "lr" and name != "params" and not name.startswith("_"):
            meant = right_name(name, self.names())
            raise AttributeError(
                f"an optimizer's group has no setting {name}; "
                + (f"the name is {meant}" if meant else f"there are {', '.join(self.names())}")
            )
        super().__setattr__(name, value)
        owner = vars(self).get("_owner")
        if name in checks and owner is not None and (optimizer := owner()) is not None:
            optimizer._refill()

    def __getattr__(self, name: str) -> Any:
        meant = right_name(name, self.names()) if not name.startswith("_") else ""
        raise AttributeError(
            f"an optimizer's group has no setting {name}"
            + (f"; the name is {meant}" if meant else "")
        )

    # The mapping

    def __getitem__(self, name: str) -> Any:
        if name != "params" and name not in self.names():
            raise KeyError(name)
        return getattr(self, name)

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self, name, value)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def __len__(self) -> int:
        return len(self.keys())

    def keys(self) -> list[str]:
        """``params``, and the names of the settings."""
        return ["params", *self.names()]

    def values(self) -> list[Any]:
        """Values in the order of the names."""
        return [self[name] for name in self.keys()]

    def items(self) -> list[tuple[str, Any]]:
        """Pairs of name and value."""
        return [(name, self[name]) for name in self.keys()]

    def get(self, name: str, default: Any = None) -> Any:
        """A value, or `default` if there is no such name."""
        return self[name] if name in self.keys() else default

    def update(self, *others: Any, **values: Any) -> None:
        """Set several."""
        for name, value in dict(*others, **values).items():
            self[name] = value

    def __repr__(self) -> str:
        shown = {name: self[name] for name in self.names()}
        return f"Group({len(self.params)} parameters, {shown})"


Mapping.register(Group)
