"""Metrics that are gathered over batches: the base class, and means and sums."""

import inspect
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor, no_grad, wrap
from gputensor.keras import initializers
from gputensor.keras.masks import mask_of
from gputensor.keras.naming import snake_case
from gputensor.ops.creation import asarray
from gputensor.shown import Shown

__all__ = ["Mean", "MeanMetricWrapper", "Metric", "Sum"]


class Metric(Shown):
    """Base class: a number that is gathered over batches.

    A subclass defines ``update_state(y_true, y_pred, sample_weight=None)``, ``result()`` and
    ``reset_state()``; what it adds up it makes with ``add_weight``.

    Examples
    --------
    >>> metric = keras.metrics.BinaryAccuracy()
    >>> metric.update_state([[1.0], [0.0]], [[0.9], [0.8]])
    >>> float(metric.result().item())
    0.5
    """

    _arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Keep what the constructor is given, which attributes may have in another form."""
        metric = super().__new__(cls)
        names = [k for k in inspect.signature(cls.__init__).parameters if k != "self"]
        metric._arguments = dict(zip(names, args, strict=False)) | kwargs
        return metric

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        self.name = name or snake_case(type(self).__name__)
        self._sums: list[Tensor] = []
        # Values of a checkpoint for sums that are made in the first update, when shapes are known.
        self._coming: list[Any] = []

    def add_weight(
        self,
        shape: Any = (),
        initializer: Any = "zeros",
        dtype: Any = None,
        name: str | None = None,
    ) -> Tensor:
        """A sum, 0 at first, or as `initializer` says; :meth:`reset_state` makes it 0."""
        if isinstance(shape, str):
            shape = ()
        start = initializers.get(initializer)(tuple(shape)).detach()
        made = wrap(start.array.astype(np.float64))
        if self._coming:
            made.array[...] = backend.to_device(self._coming.pop(0), made.device)
        self._sums.append(made)
        return made

    add_variable = add_weight

    @property
    def variables(self) -> list[Tensor]:
        """The sums."""
        return list(self._sums)

    def update_state(self, *args: Any, **kwargs: Any) -> None:
        """Add a batch."""
        raise NotImplementedError(f"{type(self).__name__} defines no update_state")

    def result(self) -> Any:
        """The number over all batches since :meth:`reset_state`."""
        raise NotImplementedError(f"{type(self).__name__} defines no result(self)")

    def get_config(self) -> dict[str, Any]:
        """What the constructor takes to make a metric like this one."""
        found: dict[str, Any] = {}
        kinds: Any = type(self).__mro__
        for base in kinds:
            known = inspect.signature(base.__init__).parameters
            for key, p in known.items():
                if hasattr(self, key) and p.default is not p.empty:
                    found.setdefault(key, p.default)
            if not any(p.kind is p.VAR_KEYWORD for p in known.values()):
                break
        return {**found, **self._arguments, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Metric":
        """The metric of :meth:`get_config`."""
        return cls(**config)

    def reset_state(self) -> None:
        """Begin again."""
        for made in self._sums:
            made.array[...] = 0

    reset_states = reset_state

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Add a batch, and give the number so far."""
        self.update_state(*args, **kwargs)
        return self.result()

    def _at(self, place: Any) -> Any:
        """The sums, brought where a batch is."""
        for i, made in enumerate(self._sums):
            if made.device != place.device:
                self._sums[i].array = made.to(place.device).array
        return self._sums


class Mean(Metric):
    """Mean of numbers, weighted where weights are given.

    Examples
    --------
    >>> metric = keras.metrics.Mean()
    >>> metric.update_state([1.0, 3.0])
    >>> float(metric.result().item())
    2.0
    """

    def __init__(self, name: str | None = "mean", dtype: Any = None) -> None:
        super().__init__(name, dtype)
        self._total = self.add_weight()
        self._count = self.add_weight()

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Add numbers."""
        with no_grad():
            x = asarray(values).detach().astype(np.float64)
            self._at(x)
            if sample_weight is None:
                self._total += x.sum()
                self._count += x.size
                return
            weight = asarray(sample_weight, device=x.device).astype(np.float64)
            weight = weight.reshape(*weight.shape, *(1 for _ in x.shape[weight.ndim :]))
            self._total += (x * weight).sum()
            self._count += (weight + 0 * x).sum()

    def result(self) -> Tensor:
        """The mean; 0 of no numbers."""
        with no_grad():
            count = self._count
            return self._total / (count + (count == 0))


class Sum(Mean):
    """Sum of numbers.

    Examples
    --------
    >>> metric = keras.metrics.Sum()
    >>> metric.update_state([1.0, 3.0])
    >>> float(metric.result().item())
    4.0
    """

    def __init__(self, name: str | None = "sum", dtype: Any = None) -> None:
        super().__init__(name, dtype)

    def result(self) -> Tensor:
        """The sum."""
        return self._total + 0


class MeanMetricWrapper(Mean):
    """Mean of a function of ``(y_true, y_pred)``.

    Examples
    --------
    >>> metric = keras.metrics.MeanMetricWrapper(keras.metrics.mean_squared_error, name="mine")
    >>> metric.name
    'mine'
    """

    def __init__(
        self, fn: Callable[..., Tensor], name: str | None = None, dtype: Any = None, **options: Any
    ) -> None:
        super().__init__(name or getattr(fn, "__name__", "metric"), dtype)
        self._fn = fn
        self._options = options
        for key, value in options.items():
            setattr(self, key, value)

    def get_config(self) -> dict[str, Any]:
        """Name and options."""
        own = {"fn": self._fn} if type(self) is MeanMetricWrapper else {}
        return {"name": self.name, **own, **self._options}

    def function(self, y_true: Any, y_pred: Any) -> Tensor:
        """A number for each sample."""
        return self._fn(y_true, y_pred, **self._options)

    def update_state(  # type: ignore[override]
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        """Add a batch."""
        mask = mask_of(y_pred)
        with no_grad():
            values = self.function(y_true, y_pred)
            if mask is not None and tuple(mask.shape) == tuple(values.shape):
                weight = asarray(mask).astype(np.float64)
                if sample_weight is not None:
                    given = asarray(sample_weight, device=weight.device)
                    given = given.reshape(*given.shape, *(1 for _ in weight.shape[given.ndim :]))
                    weight = weight * given
                sample_weight = weight
            super().update_state(values, sample_weight)
