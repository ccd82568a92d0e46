"""What a weight is brought back to after each step: ``kernel_constraint="max_norm"``, ..."""

from typing import Any

from gputensor.autograd import Tensor
from gputensor.keras.backend import epsilon
from gputensor.ops.choices import clip, where
from gputensor.ops.elementwise import sqrt, square
from gputensor.ops.statistical import sum as total
from gputensor.shown import Shown

__all__ = [
    "Constraint",
    "MaxNorm",
    "MinMaxNorm",
    "NonNeg",
    "UnitNorm",
    "deserialize",
    "get",
    "max_norm",
    "min_max_norm",
    "non_neg",
    "serialize",
    "unit_norm",
]


class Constraint(Shown):
    """Base class: called with a weight it gives what the weight becomes."""

    def __call__(self, w: Tensor) -> Tensor:
        """Of the shape of `w`."""
        raise NotImplementedError(f"{type(self).__name__} defines no __call__(self, w)")

    def get_config(self) -> dict[str, Any]:
        """What the constructor takes."""
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Constraint":
        """The constraint of :meth:`get_config`."""
        return cls(**config)


def _norms(w: Tensor, axis: Any) -> Tensor:
    found: Tensor = sqrt(total(square(w), axis=axis, keepdims=True))
    return found


class MaxNorm(Constraint):
    """Norms along `axis` of at most `max_value`.

    Parameters
    ----------
    max_value : float
    axis : int or sequence of int
        0 for a kernel (inputs, units): the weights of each unit; [0, 1, 2] for one of images.
    """

    def __init__(self, max_value: float = 2, axis: Any = 0) -> None:
        self.max_value = max_value
        self.axis = axis

    def __call__(self, w: Tensor) -> Tensor:
        """Of the shape of `w`."""
        norms = _norms(w, self.axis)
        return w * (clip(norms, 0, self.max_value) / (epsilon() + norms))


class NonNeg(Constraint):
    """No element below 0."""

    def __call__(self, w: Tensor) -> Tensor:
        """Of the shape of `w`."""
        return where(w >= 0, w, 0.0)


class UnitNorm(Constraint):
    """Norms of 1 along `axis`."""

    def __init__(self, axis: Any = 0) -> None:
        self.axis = axis

    def __call__(self, w: Tensor) -> Tensor:
        """Of the shape of `w`."""
        return w / (epsilon() + _norms(w, self.axis))


class MinMaxNorm(Constraint):
    """Norms along `axis` from `min_value` to `max_value`, approached by `rate` at each step."""

    def __init__(
        self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Any = 0
    ) -> None:
        self.min_value = min_value
        self.max_value = max_value
        self.rate = rate
        self.axis = axis

    def __call__(self, w: Tensor) -> Tensor:
        """Of the shape of `w`."""
        norms = _norms(w, self.axis)
        wanted = self.rate * clip(norms, self.min_value, self.max_value) + (1 - self.rate) * norms
        return w * (wanted / (epsilon() + norms))


max_norm, non_neg, unit_norm, min_max_norm = MaxNorm, NonNeg, UnitNorm, MinMaxNorm

_NAMES: dict[str, type[Constraint]] = {
    "max_norm": MaxNorm,
    "MaxNorm": MaxNorm,
    "maxnorm": MaxNorm,
    "non_neg": NonNeg,
    "NonNeg": NonNeg,
    "unit_norm": UnitNorm,
    "UnitNorm": UnitNorm,
    "min_max_norm": MinMaxNorm,
    "MinMaxNorm": MinMaxNorm,
}


def get(identifier: Any) -> Any:
    """The constraint of a name or a config, the function given, or None."""
    if identifier is None:
        return None
    if isinstance(identifier, dict):
        return get(identifier["class_name"]).from_config(identifier.get("config") or {})
    if isinstance(identifier, str):
        if identifier not in _NAMES:
            raise ValueError(f"constraint {identifier!r} is unknown; allowed are {list(_NAMES)}")
        return _NAMES[identifier]()
    if isinstance(identifier, type):
        return identifier()
    if not callable(identifier):
        raise TypeError(f"a constraint must be a name or a function, got {identifier!r}")
    return identifier


deserialize = get


def serialize(constraint: Any) -> Any:
    """As Keras writes it into a saved model."""
    return {
        "module": "keras.constraints",
        "class_name": type(constraint).__name__,
        "config": constraint.get_config(),
        "registered_name": None,
    }
