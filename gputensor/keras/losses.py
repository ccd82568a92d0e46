"""Losses: functions of ``(y_true, y_pred)`` that give a loss for each sample, as in Keras."""

from collections.abc import Callable
from typing import Any, NamedTuple

from gputensor import backend
from gputensor.autograd import Tensor
from gputensor.errors import LabelError, ShapeError
from gputensor.nn import functional
from gputensor.ops.creation import asarray
from gputensor.ops.elementwise import clip, log, square
from gputensor.ops.statistical import mean
from gputensor.ops.statistical import sum as total

__all__ = [
    "CategoricalCrossentropy",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "categorical_crossentropy",
    "get",
    "mean_squared_error",
    "sparse_categorical_crossentropy",
]

_TINY = 1e-7  # Keras's backend.epsilon()


def check_labels(name: str, labels: Any, classes: int) -> None:
    """Check that class labels, a raw array of shape (n,), are in range; waits for the device.

    Raises
    ------
    LabelError
        Naming the first row that is not, its label and the range.
    """
    bad = (labels < 0) | (labels >= classes)
    row = int(backend.namespace(labels).argmax(bad)) if len(labels) else 0
    if len(labels) and bool(bad[row]):
        raise LabelError(
            f"{name}: row {row} has label {labels[row].item()}; labels must be in the range 0 to "
            f"{classes - 1}, as there are {classes} outputs"
        )


def _one_hot(name: str, labels: Any, classes: int, dtype: Any) -> Any:
    """Rows of class labels. A label out of range is an error on the CPU, and a row of NaN on CUDA,
    where the error would wait for the device at every batch.
    """
    xp = backend.namespace(labels)
    if backend.on_cpu(labels):
        check_labels(name, labels, classes)
    rows = (labels[:, None] == xp.arange(classes)).astype(dtype)
    rows[(labels < 0) | (labels >= classes)] = xp.nan
    return rows


def pair(y_true: Any, y_pred: Any) -> tuple[Any, Tensor]:
    """Raw targets and predictions; targets that are no Tensor go where the predictions are."""
    prediction = asarray(y_pred)
    if not isinstance(y_true, Tensor):
        y_true = asarray(y_true, device=prediction.device)
    return y_true.array, prediction


def categorical_crossentropy(
    y_true: Any, y_pred: Tensor, from_logits: bool = False, label_smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy of each row against probabilities or class labels.

    Parameters
    ----------
    y_true : array of shape (n, classes) or int array of shape (n,)
    y_pred : Tensor of shape (n, classes)
        Probabilities, or logits with `from_logits`. Probabilities are scaled to sum 1 and kept
        1e-7 away from 0 and 1, as Keras does.
    from_logits : bool
    label_smoothing : float

    Returns
    -------
    Tensor of shape (n,)
    """
    target, y_pred = pair(y_true, y_pred)
    if from_logits:
        return functional.cross_entropy(
            y_pred, target, label_smoothing=label_smoothing, reduction="none"
        )
    classes = y_pred.shape[-1]
    if target.ndim == 1:
        target = _one_hot("categorical_crossentropy: y_true", target, classes, y_pred.dtype)
    if target.shape != y_pred.shape:
        raise ShapeError(
            f"categorical_crossentropy: y_true has shape {target.shape}, y_pred {y_pred.shape}"
        )
    target = target * (1 - label_smoothing) + label_smoothing / classes
    p = clip(y_pred / total(y_pred, axis=-1, keepdims=True), _TINY, 1 - _TINY)
    return -total(log(p) * target.astype(y_pred.dtype), axis=-1)


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Tensor, from_logits: bool = False
) -> Tensor:
    """Cross-entropy of each row against class labels; otherwise as categorical_crossentropy."""
    target, y_pred = pair(y_true, y_pred)
    if target.ndim != 1:
        raise ShapeError(
            f"sparse_categorical_crossentropy: y_true has shape {target.shape}; it must be class "
            "labels of shape (n,). For one-hot rows use categorical_crossentropy"
        )
    return categorical_crossentropy(target, y_pred, from_logits)


def mean_squared_error(y_true: Any, y_pred: Tensor) -> Tensor:
    """Mean of the squared differences over all axes but the first.

    Parameters
    ----------
    y_true : array of the shape of `y_pred`
    y_pred : Tensor of shape (n, ...)

    Returns
    -------
    Tensor of shape (n,)
    """
    y_true, y_pred = pair(y_true, y_pred)
    if y_true.shape != y_pred.shape:
        raise ShapeError(
            f"mean_squared_error: y_true has shape {y_true.shape}, y_pred {y_pred.shape}; they "
            "must be equal"
        )
    difference = y_pred - y_true
    return mean(square(difference), axis=tuple(range(1, difference.ndim)))


class Loss(NamedTuple):
    """A loss as ``fit`` uses it."""

    name: str
    function: Callable[..., Tensor]
    cross_entropy: bool = False
    sparse: bool = False
    from_logits: bool = False
    label_smoothing: float = 0.0


def CategoricalCrossentropy(from_logits: bool = False, label_smoothing: float = 0.0) -> Loss:
    """Cross-entropy against one-hot rows or probabilities, with options."""
    if not 0 <= label_smoothing <= 1:
        raise ValueError(
            f"CategoricalCrossentropy: label_smoothing is {label_smoothing}; it must be from 0 to 1"
        )
    return Loss(
        "categorical_crossentropy",
        categorical_crossentropy,
        True,
        from_logits=from_logits,
        label_smoothing=label_smoothing,
    )


def SparseCategoricalCrossentropy(from_logits: bool = False) -> Loss:
    """Cross-entropy against class labels, with options."""
    return Loss(
        "sparse_categorical_crossentropy",
        sparse_categorical_crossentropy,
        True,
        True,
        from_logits=from_logits,
    )


def MeanSquaredError() -> Loss:
    """Mean squared error."""
    return Loss("mean_squared_error", mean_squared_error)


_NAMES = {
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
}


def get(loss: Any) -> Loss:
    """The loss of a name, of one of this module's functions, or of the user's own function."""
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str):
        if loss not in _NAMES:
            raise ValueError(
                f"loss {loss!r} is unknown; allowed are {', '.join(map(repr, _NAMES))}"
            )
        return _NAMES[loss]()
    if not callable(loss):
        raise TypeError(f"loss must be a name or a function, got {type(loss).__name__}")
    for make in _NAMES.values():
        if make().function is loss:
            return make()
    return Loss(getattr(loss, "__name__", "loss"), loss)
