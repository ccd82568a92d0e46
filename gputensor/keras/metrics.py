"""Metrics: functions of ``(y_true, y_pred)`` that give a number for each sample, as in Keras."""

from collections.abc import Callable
from typing import Any

from gputensor import backend
from gputensor.autograd import Tensor, wrap
from gputensor.keras.losses import pair

__all__ = ["accuracy", "binary_accuracy", "get", "mean_squared_error"]


def _raw(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Raw targets and predictions."""
    target, prediction = pair(y_true, y_pred)
    return target, prediction.array


def accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """Whether each row's largest prediction is that of the target; bool, shape (n,).

    Parameters
    ----------
    y_true : array of class labels, shape (n,), or of shape (n, classes)
    y_pred : array of shape (n, classes)
        With one column it is the probability of the second of two classes, as in
        :func:`binary_accuracy`.
    """
    truth, prediction = _raw(y_true, y_pred)
    if prediction.shape[-1] == 1:
        return binary_accuracy(truth.reshape(-1), prediction.reshape(-1))
    xp = backend.namespace(prediction)
    answer = truth if truth.ndim == 1 else xp.argmax(truth, axis=-1)
    return wrap(xp.argmax(prediction, axis=-1) == answer)


def binary_accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """Whether each prediction is on the target's side of 0.5; bool, shape of `y_pred`."""
    truth, prediction = _raw(y_true, y_pred)
    return wrap((prediction > 0.5) == (truth > 0.5))


def mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    """Mean squared difference of each row, shape (n,)."""
    truth, prediction = _raw(y_true, y_pred)
    difference = prediction - truth
    squares = (difference * difference).reshape(len(difference), -1)
    return wrap(backend.namespace(squares).mean(squares, axis=1))


_NAMES: dict[str, Callable[..., Tensor]] = {
    "accuracy": accuracy,
    "acc": accuracy,
    "categorical_accuracy": accuracy,
    "sparse_categorical_accuracy": accuracy,
    "binary_accuracy": binary_accuracy,
    "mean_squared_error": mean_squared_error,
    "mse": mean_squared_error,
}


def get(metric: Any) -> tuple[str, Callable[..., Tensor]]:
    """Name and function of a metric given by name or as a function."""
    if isinstance(metric, str):
        if metric not in _NAMES:
            allowed = ", ".join(map(repr, _NAMES))
            raise ValueError(f"metric {metric!r} is unknown; allowed are {allowed}")
        return metric, _NAMES[metric]
    if not callable(metric):
        raise TypeError(f"a metric must be a name or a function, got {type(metric).__name__}")
    return getattr(metric, "__name__", "metric"), metric
