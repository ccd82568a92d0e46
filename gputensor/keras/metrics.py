"""Metrics: functions of ``(y_true, y_pred)`` that give a number for each sample, and classes.

A class adds up on the device: ``update_state`` does not wait for it, ``result`` gives a tensor.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor, wrap
from gputensor.errors import ShapeError
from gputensor.keras import counts, losses, scores
from gputensor.keras.counts import *  # noqa: F403
from gputensor.keras.gathering import Mean, MeanMetricWrapper, Metric, Sum
from gputensor.keras.losses import aligned, pair
from gputensor.keras.naming import snake_case
from gputensor.keras.scores import *  # noqa: F403
from gputensor.ops.statistical import mean, std, var

__all__ = [
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "ConcordanceCorrelation",
    "CosineSimilarity",
    "Hinge",
    "KLDivergence",
    "LogCoshError",
    "Mean",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Metric",
    "PearsonCorrelation",
    "Poisson",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SquaredHinge",
    "Sum",
    "TopKCategoricalAccuracy",
    "accuracy",
    "binary_accuracy",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_accuracy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "concordance_correlation",
    "confusion_matrix",
    "deserialize",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "pearson_correlation",
    "poisson",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy",
    "squared_hinge",
    "top_k_categorical_accuracy",
    *(name for name in counts.__all__ if name != "Counts"),
    *scores.__all__,
]


def _is_rows(truth: Any, prediction: Any) -> bool:
    """Whether targets are rows as the predictions are, not labels of shape (n,) or (n, 1)."""
    return bool(truth.shape == prediction.shape)


def accuracy(y_true: Any, y_pred: Any) -> Tensor:
    """Whether each row's largest prediction is that of the target; bool, shape (n,).

    Parameters
    ----------
    y_true : array of class labels, shape (n,) or (n, 1), or of shape (n, classes)
    y_pred : array of shape (n, classes)
        With one column it is the probability of the second of two classes, as in
        :func:`binary_accuracy`.

    Examples
    --------
    >>> keras.metrics.accuracy([1, 0], [1, 1])
    tensor([ True, False])
    """
    truth, prediction = pair(y_true, y_pred)
    raw = prediction.array
    if raw.ndim < 2 or raw.shape[-1] == 1:
        right = binary_accuracy(truth, prediction).array
        return wrap(right.reshape(len(right), -1)[:, 0] if right.ndim > 1 else right)
    xp = backend.namespace(raw)
    if _is_rows(truth, raw):
        answer = xp.argmax(truth, axis=-1)
    elif truth.size == raw.size // raw.shape[-1]:
        answer = truth.reshape(raw.shape[:-1])
    else:
        raise ShapeError(
            f"accuracy: y_true has shape {truth.shape}, y_pred {raw.shape}; y_true must be class "
            f"labels of shape {raw.shape[:-1]} or of shape {raw.shape}"
        )
    return wrap(xp.argmax(raw, axis=-1) == answer)


categorical_accuracy = sparse_categorical_accuracy = accuracy


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Tensor:
    """Whether each prediction, above `threshold` or not, is the target, 1 or 0; of its shape.

    A target that is neither is never met: numbers of a regression have no accuracy.

    Examples
    --------
    >>> keras.metrics.binary_accuracy([[1.0, 0.0]], [[0.9, 0.8]])
    tensor([[ True, False]])
    """
    truth, prediction = aligned("binary_accuracy", y_true, y_pred)
    return wrap((prediction.array > threshold) == truth.array)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Tensor:
    """Whether the target's class is among the `k` largest predictions; bool, shape (n,).

    Examples
    --------
    >>> keras.metrics.sparse_top_k_categorical_accuracy([1], [[0.2, 0.5, 0.3]], k=1)
    tensor([ True])
    """
    truth, prediction = pair(y_true, y_pred)
    raw = prediction.array
    xp = backend.namespace(raw)
    labels = xp.argmax(truth, axis=-1) if _is_rows(truth, raw) else truth.reshape(raw.shape[:-1])
    own = xp.take_along_axis(raw, labels[..., None].astype(np.int64), axis=-1)
    return wrap(xp.isfinite(own[..., 0]) & (xp.sum(raw > own, axis=-1) < k))


sparse_top_k_categorical_accuracy = top_k_categorical_accuracy
mean_squared_error = losses.mean_squared_error
mean_absolute_error = losses.mean_absolute_error


def confusion_matrix(y_true: Any, y_pred: Any, classes: int | None = None) -> Tensor:
    """How often samples of the class of the row were given the class of the column.

    Parameters
    ----------
    y_true, y_pred : int array of shape (n,), or probabilities of shape (n, classes)
    classes : int, optional
        By default one more than the largest; the host waits for that.

    Returns
    -------
    Tensor of int64 of shape (classes, classes)

    Examples
    --------
    >>> keras.metrics.confusion_matrix([0, 1, 1], [0, 1, 0])
    tensor([[1, 0],
            [1, 1]])
    """
    truth, prediction = pair(y_true, y_pred)
    raw = prediction.array
    xp = backend.namespace(raw)
    labels = [
        xp.argmax(a, axis=1) if a.ndim == 2 and a.shape[1] > 1 else a.reshape(-1)
        for a in (truth, raw)
    ]
    one, other = (a.astype(np.int64) for a in labels)
    if classes is None:
        classes = int(max(one.max(), other.max())) + 1
    counts = xp.bincount(one * classes + other, minlength=classes * classes)
    return wrap(counts.reshape(classes, classes))


def _centred(y: Tensor, axis: int) -> Tensor:
    return y - mean(y, axis=axis, keepdims=True)


def pearson_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """Pearson's coefficient of correlation along `axis`.

    Examples
    --------
    >>> x, y = np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 2.0, 4.0]])
    >>> keras.metrics.pearson_correlation(x, y)
    tensor([0.98198051], dtype=float64)
    """
    pairs = aligned("pearson_correlation", y_true, y_pred)
    one, other = (_centred(y, axis) for y in pairs)
    one, other = (y / std(y, axis=axis, keepdims=True) for y in (one, other))
    found: Tensor = mean(one * other, axis=axis)
    return found


def concordance_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """Lin's coefficient of concordance along `axis`.

    Examples
    --------
    >>> x, y = np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 2.0, 4.0]])
    >>> keras.metrics.concordance_correlation(x, y)
    tensor([0.85714286], dtype=float64)
    """
    y_true, y_pred = aligned("concordance_correlation", y_true, y_pred)
    both = mean(_centred(y_true, axis) * _centred(y_pred, axis), axis=axis)
    apart = mean(y_true, axis=axis) - mean(y_pred, axis=axis)
    found: Tensor = 2 * both / (var(y_true, axis=axis) + var(y_pred, axis=axis) + apart * apart)
    return found


def _class(name: str, function: Callable[..., Tensor], label: str) -> type[MeanMetricWrapper]:
    options = [p for p in inspect.signature(function).parameters if p not in ("y_true", "y_pred")]

    def __init__(self: Any, *args: Any, **given: Any) -> None:
        values = dict(zip([*options, "name", "dtype"], args, strict=False)) | given
        if unknown := values.keys() - {*options, "name", "dtype"}:
            raise TypeError(f"{name}: got an unexpected argument {sorted(unknown)[0]!r}")
        if isinstance(values.get(options[0]) if options else None, str):  # the name came first
            values["name"] = values.pop(options[0])
        title = values.pop("name", None) or label
        MeanMetricWrapper.__init__(self, function, title, **values)

    measure = getattr(function, "__name__", "_")
    known = f":func:`~{function.__module__}.{measure}`"
    mean = label.replace("_", " ") if measure[0] == "_" else known
    doc = f"""Mean of {mean} over all samples.

    Examples
    --------
    >>> keras.metrics.{name}().name
    {label!r}
    """
    return type(name, (MeanMetricWrapper,), {"__init__": __init__, "__doc__": doc})


def _equal(y_true: Any, y_pred: Any) -> Tensor:
    truth, prediction = aligned("accuracy", y_true, y_pred)
    return wrap(truth.array == prediction.array)


Accuracy = _class("Accuracy", _equal, "accuracy")
BinaryAccuracy = _class("BinaryAccuracy", binary_accuracy, "binary_accuracy")
CategoricalAccuracy = _class("CategoricalAccuracy", accuracy, "categorical_accuracy")
SparseCategoricalAccuracy = _class(
    "SparseCategoricalAccuracy", accuracy, "sparse_categorical_accuracy"
)
TopKCategoricalAccuracy = _class(
    "TopKCategoricalAccuracy", top_k_categorical_accuracy, "top_k_categorical_accuracy"
)
SparseTopKCategoricalAccuracy = _class(
    "SparseTopKCategoricalAccuracy",
    top_k_categorical_accuracy,
    "sparse_top_k_categorical_accuracy",
)
MeanSquaredError = _class("MeanSquaredError", losses.mean_squared_error, "mean_squared_error")
MeanAbsoluteError = _class("MeanAbsoluteError", losses.mean_absolute_error, "mean_absolute_error")
MeanAbsolutePercentageError = _class(
    "MeanAbsolutePercentageError",
    losses.mean_absolute_percentage_error,
    "mean_absolute_percentage_error",
)
MeanSquaredLogarithmicError = _class(
    "MeanSquaredLogarithmicError",
    losses.mean_squared_logarithmic_error,
    "mean_squared_logarithmic_error",
)
BinaryCrossentropy = _class("BinaryCrossentropy", losses.binary_crossentropy, "binary_crossentropy")
CategoricalCrossentropy = _class(
    "CategoricalCrossentropy", losses.categorical_crossentropy, "categorical_crossentropy"
)
SparseCategoricalCrossentropy = _class(
    "SparseCategoricalCrossentropy",
    losses.sparse_categorical_crossentropy,
    "sparse_categorical_crossentropy",
)
KLDivergence = _class("KLDivergence", losses.kl_divergence, "kl_divergence")
Poisson = _class("Poisson", losses.poisson, "poisson")
Hinge = _class("Hinge", losses.hinge, "hinge")
SquaredHinge = _class("SquaredHinge", losses.squared_hinge, "squared_hinge")
CategoricalHinge = _class("CategoricalHinge", losses.categorical_hinge, "categorical_hinge")
LogCoshError = _class("LogCoshError", losses.log_cosh, "logcosh")


def _cosine(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    return -losses.cosine_similarity(y_true, y_pred, axis)


CosineSimilarity = _class("CosineSimilarity", _cosine, "cosine_similarity")
PearsonCorrelation = _class("PearsonCorrelation", pearson_correlation, "pearson_correlation")
ConcordanceCorrelation = _class(
    "ConcordanceCorrelation", concordance_correlation, "concordance_correlation"
)


class RootMeanSquaredError(MeanMetricWrapper):
    """Root of the mean squared difference over all samples.

    Examples
    --------
    >>> metric = keras.metrics.RootMeanSquaredError()
    >>> metric.update_state([[0.0], [0.0]], [[3.0], [3.0]])
    >>> float(metric.result().item())
    3.0
    """

    def __init__(self, name: str | None = "root_mean_squared_error", dtype: Any = None) -> None:
        super().__init__(losses.mean_squared_error, name, dtype)

    def result(self) -> Tensor:
        """The root."""
        return super().result() ** 0.5


_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "accuracy": accuracy,
    "acc": accuracy,
    "categorical_accuracy": accuracy,
    "sparse_categorical_accuracy": accuracy,
    "binary_accuracy": binary_accuracy,
    "top_k_categorical_accuracy": top_k_categorical_accuracy,
    "sparse_top_k_categorical_accuracy": top_k_categorical_accuracy,
    "cosine_similarity": _cosine,
}
MSE = mse = mean_squared_error
MAE = mae = mean_absolute_error
mean_absolute_percentage_error = mape = MAPE = losses.mean_absolute_percentage_error
binary_crossentropy = losses.binary_crossentropy
categorical_crossentropy = losses.categorical_crossentropy
sparse_categorical_crossentropy = losses.sparse_categorical_crossentropy
binary_focal_crossentropy = losses.binary_focal_crossentropy
categorical_focal_crossentropy = losses.categorical_focal_crossentropy
hinge = losses.hinge
squared_hinge = losses.squared_hinge
categorical_hinge = losses.categorical_hinge
huber = losses.huber
kl_divergence = losses.kl_divergence
log_cosh = losses.log_cosh
mean_squared_logarithmic_error = losses.mean_squared_logarithmic_error
poisson = losses.poisson
_CLASSES: dict[str, type[Metric]] = {
    snake_case(name): globals()[name]
    for name in __all__
    if name[0].isupper() and name not in ("Metric", "Accuracy")
} | {name: globals()[name] for name in __all__ if name[0].isupper() and name != "Metric"}


def get(metric: Any) -> tuple[str, Any]:
    """Name of a metric, and its function or the object of its class.

    Parameters
    ----------
    metric : str, function, Metric or class of such, or Loss

    Examples
    --------
    >>> keras.metrics.get("AUC")[0]
    'auc'
    """
    if isinstance(metric, dict) and "class_name" in metric:
        kind = metric["class_name"]
        known = _CLASSES if kind in _CLASSES else losses._NAMES
        metric = known[kind](**(metric.get("config") or {}))
    if isinstance(metric, type) and issubclass(metric, (Metric, losses.Loss)):
        metric = metric()
    if isinstance(metric, (Metric, losses.Loss)):
        return metric.name, metric
    if isinstance(metric, str):
        if metric in _FUNCTIONS:
            return metric, _FUNCTIONS[metric]
        if metric in losses._NAMES:
            return metric, losses._NAMES[metric]().call
        if metric in _CLASSES:
            found = _CLASSES[metric]()
            return found.name, found
        allowed = ", ".join(map(repr, [*_FUNCTIONS, "mse", "mae"]))
        raise ValueError(f"metric {metric!r} is unknown; allowed are {allowed} and more")
    if not callable(metric):
        raise TypeError(f"a metric must be a name or a function, got {type(metric).__name__}")
    return getattr(metric, "__name__", "metric"), metric


def function_of(metric: Any) -> Any:
    """Function of a metric that is a mean over samples; None if it is not."""
    if not hasattr(metric, "update_state"):
        return metric.function if hasattr(metric, "cross_entropy") else metric
    plain = (
        isinstance(metric, MeanMetricWrapper)
        and type(metric).result is MeanMetricWrapper.result
        and type(metric).update_state is MeanMetricWrapper.update_state
    )
    return metric.function if plain else None


def gathering(metric: Any, name: str) -> Any:
    """A metric as an object with ``update_state``."""
    if hasattr(metric, "update_state"):
        return metric
    return MeanMetricWrapper(metric.function if hasattr(metric, "cross_entropy") else metric, name)


deserialize = get


def serialize(metric: Any) -> Any:
    """Class and settings of a metric, or the name of a function, as :func:`get` takes them.

    Examples
    --------
    >>> keras.metrics.serialize(keras.metrics.MeanSquaredError())["class_name"]
    'MeanSquaredError'
    """
    if not isinstance(metric, Metric):
        return getattr(metric, "__name__", metric)
    return {
        "module": "keras.metrics",
        "class_name": type(metric).__name__,
        "config": metric.get_config(),
        "registered_name": None,
    }
