"""Metrics: functions of ``(y_true, y_pred)`` that give a number for each sample, and classes.

A class adds up on the device: ``update_state`` does not wait for it, ``result`` gives a tensor.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor, no_grad, wrap
from gputensor.errors import ShapeError
from gputensor.keras import losses
from gputensor.keras.gathering import Mean, MeanMetricWrapper, Metric, Sum
from gputensor.keras.losses import aligned, pair
from gputensor.keras.naming import snake_case
from gputensor.ops.creation import asarray, zeros
from gputensor.shown import retold

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "F1Score",
    "FalseNegatives",
    "FalsePositives",
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
    "Poisson",
    "Precision",
    "R2Score",
    "Recall",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SquaredHinge",
    "Sum",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "accuracy",
    "binary_accuracy",
    "binary_crossentropy",
    "categorical_accuracy",
    "categorical_crossentropy",
    "categorical_hinge",
    "confusion_matrix",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy",
    "squared_hinge",
    "top_k_categorical_accuracy",
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


class _Counts(Metric):
    """Right and wrong answers of two classes, at one threshold or several.

    Parameters
    ----------
    thresholds : float or sequence of float, optional
        0.5 by default; a prediction above it says yes.
    class_id : int, optional
        The column that counts; all of them by default.
    name : str, optional
    """

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        if isinstance(thresholds, str):
            thresholds, name = None, thresholds
        super().__init__(name, dtype)
        if top_k is not None:
            raise TypeError(f"{type(self).__name__}: top_k is not supported")
        given = 0.5 if thresholds is None else thresholds
        self._many = isinstance(given, (list, tuple, np.ndarray))
        self.thresholds = np.atleast_1d(np.asarray(given, np.float64))
        self.class_id = class_id
        size = (len(self.thresholds),)
        self._tp, self._fp, self._fn, self._tn = (self.add_weight(size) for _ in range(4))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        truth, prediction = aligned(type(self).__name__, y_true, y_pred)
        with no_grad():
            truth, prediction = truth.detach(), prediction.detach()
            if self.class_id is not None:
                truth, prediction = truth[..., self.class_id], prediction[..., self.class_id]
            self._at(prediction)
            xp = backend.namespace(prediction.array)
            weight: Any = 1.0
            if sample_weight is not None:
                given = asarray(sample_weight, device=prediction.device).array
                given = given.reshape(*given.shape, *(1 for _ in prediction.shape[given.ndim :]))
                weight = xp.broadcast_to(given, prediction.shape).reshape(-1, 1)
            limits = xp.asarray(self.thresholds)
            yes = prediction.array.reshape(-1, 1) > limits
            true = truth.array.reshape(-1, 1) > 0.5
            for sums, hits in (
                (self._tp, yes & true),
                (self._fp, yes & ~true),
                (self._fn, ~yes & true),
                (self._tn, ~yes & ~true),
            ):
                sums.array += xp.sum(hits * weight, axis=0, dtype=np.float64)

    def _given(self, found: Tensor) -> Tensor:
        return found if self._many else found[0]


def _over(part: Tensor, whole: Tensor) -> Tensor:
    """Quotient; 0 where there is nothing."""
    return part / (whole + (whole == 0))


class Precision(_Counts):
    __doc__ = retold(
        _Counts,
        "Share of right ones among those given yes.",
        ">>> metric = keras.metrics.Precision()\n"
        ">>> metric.update_state([0, 1, 1], [0.9, 0.9, 0.1])\n"
        ">>> float(metric.result().item())\n"
        "0.5",
    )

    def result(self) -> Tensor:
        """From 0 to 1."""
        return self._given(_over(self._tp, self._tp + self._fp))


class Recall(_Counts):
    __doc__ = retold(
        _Counts,
        "Share of those given yes among the true ones.",
        ">>> metric = keras.metrics.Recall()\n"
        ">>> metric.update_state([0, 1, 1], [0.9, 0.9, 0.1])\n"
        ">>> float(metric.result().item())\n"
        "0.5",
    )

    def result(self) -> Tensor:
        """From 0 to 1."""
        return self._given(_over(self._tp, self._tp + self._fn))


class TruePositives(_Counts):
    """Number of true ones that were given yes.

    Examples
    --------
    >>> keras.metrics.TruePositives().name
    'true_positives'
    """

    def result(self) -> Tensor:
        """A number."""
        return self._given(self._tp + 0)


class FalsePositives(_Counts):
    """Number of others that were given yes.

    Examples
    --------
    >>> keras.metrics.FalsePositives().name
    'false_positives'
    """

    def result(self) -> Tensor:
        """A number."""
        return self._given(self._fp + 0)


class FalseNegatives(_Counts):
    """Number of true ones that were given no.

    Examples
    --------
    >>> keras.metrics.FalseNegatives().name
    'false_negatives'
    """

    def result(self) -> Tensor:
        """A number."""
        return self._given(self._fn + 0)


class TrueNegatives(_Counts):
    """Number of others that were given no.

    Examples
    --------
    >>> keras.metrics.TrueNegatives().name
    'true_negatives'
    """

    def result(self) -> Tensor:
        """A number."""
        return self._given(self._tn + 0)


class AUC(_Counts):
    """Area under the curve of true against false positives, by trapezoids.

    Parameters
    ----------
    num_thresholds : int
        Points of the curve.
    curve : {"ROC", "PR"}
        "PR" is precision against recall.
    name : str, optional
    from_logits : bool

    Examples
    --------
    >>> metric = keras.metrics.AUC()
    >>> metric.update_state([0, 1], [0.2, 0.9])
    >>> round(float(metric.result().item()), 3)
    1.0
    """

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = "auc",
        dtype: Any = None,
        from_logits: bool = False,
        **options: Any,
    ) -> None:
        if (
            curve not in ("ROC", "PR")
            or summation_method != "interpolation"
            or any(options.values())
        ):
            raise ValueError(
                f"AUC: got curve {curve!r}, summation_method {summation_method!r}, {options}; "
                "supported are curve 'ROC' and 'PR' with 'interpolation'"
            )
        inner = [(i + 1) / (num_thresholds - 1) for i in range(num_thresholds - 2)]
        super().__init__([-1e-7, *inner, 1 + 1e-7], name=name)
        self.curve = curve
        self.from_logits = from_logits

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        if self.from_logits:
            y_pred = 1 / (1 + np.exp(1.0) ** -asarray(y_pred))
        super().update_state(y_true, y_pred, sample_weight)

    def result(self) -> Tensor:
        """From 0 to 1."""
        tp, fp, fn, tn = self._tp, self._fp, self._fn, self._tn
        if self.curve == "ROC":
            y, x = _over(tp, tp + fn), _over(fp, fp + tn)
            return ((x[:-1] - x[1:]) * (y[:-1] + y[1:]) / 2).sum()
        # Davis & Goadrich 2006, as Keras: true positives are interpolated, not the precision.
        xp = backend.namespace(tp.array)
        t, p = tp.array, tp.array + fp.array
        dt, dp = t[:-1] - t[1:], xp.maximum(p[:-1] - p[1:], 0)
        slope = xp.where(dp > 0, dt / xp.where(dp > 0, dp, 1), 0)
        intercept = t[1:] - slope * p[1:]
        both = (p[:-1] > 0) & (p[1:] > 0)
        ratio = xp.where(both, p[:-1] / xp.where(both, p[1:], 1), 1)
        whole = t[1:] + fn.array[1:]
        part = slope * (dt + intercept * xp.log(ratio))
        return wrap(
            xp.asarray(xp.sum(xp.where(whole > 0, part / xp.where(whole > 0, whole, 1), 0)))
        )


class F1Score(Metric):
    """Harmonic mean of precision and recall, of each class.

    Parameters
    ----------
    average : {None, "micro", "macro", "weighted"}
        How classes become one number; None for each by itself.
    threshold : float, optional
        What is above says yes; by default it is the largest of a row.
    name : str

    Examples
    --------
    >>> keras.metrics.F1Score(average="macro").name
    'f1_score'
    """

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str = "f1_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, dtype)
        if average not in (None, "micro", "macro", "weighted"):
            raise ValueError(f"F1Score: average is {average!r}")
        self.average = average
        self.threshold = threshold
        self._counts: Any = None

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        truth, prediction = aligned("F1Score", y_true, y_pred)
        raw, true = prediction.array, truth.array
        xp = backend.namespace(raw)
        if self._counts is None:
            size = (3, raw.shape[-1])
            self._counts = self.add_weight(size)
        self._at(prediction)
        if self.threshold is None:
            yes = (raw == xp.max(raw, axis=-1, keepdims=True)) & (xp.abs(raw) > 1e-9)
        else:
            yes = raw > self.threshold
        weight: Any = 1.0
        if sample_weight is not None:
            weight = asarray(sample_weight, device=prediction.device).array.reshape(-1, 1)
        counts = self._counts.array
        counts[0] += xp.sum(yes * true * weight, axis=0)
        counts[1] += xp.sum(yes * (1 - true) * weight, axis=0)
        counts[2] += xp.sum(~yes * true * weight, axis=0)

    def result(self) -> Tensor:
        """From 0 to 1: a number, or one for each class."""
        if self._counts is None:
            return zeros((), dtype=np.float64)
        tp, fp, fn = (self._counts[i] for i in range(3))
        if self.average == "micro":
            tp, fp, fn = tp.sum(), fp.sum(), fn.sum()
        precision, recall = _over(tp, tp + fp), _over(tp, tp + fn)
        score = _over(2 * precision * recall, precision + recall)
        if self.average == "macro":
            return score.mean()
        if self.average == "weighted":
            return (score * _over(tp + fn, (tp + fn).sum())).sum()
        return score


class R2Score(Metric):
    """Coefficient of determination ``1 - residuals / variance``, the mean over the outputs.

    Examples
    --------
    >>> keras.metrics.R2Score().name
    'r2_score'
    """

    def __init__(self, name: str = "r2_score", dtype: Any = None, **options: Any) -> None:
        if any(v not in (None, 0, "uniform_average") for v in options.values()):
            raise ValueError(f"R2Score: {options} is not supported")
        super().__init__(name, dtype)
        self._moments: Any = None

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        truth, prediction = aligned("R2Score", y_true, y_pred)
        columns = 1 if truth.ndim < 2 else truth.shape[-1]
        y = truth.array.reshape(-1, columns).astype(np.float64)
        d = y - prediction.array.reshape(-1, columns)
        if self._moments is None:
            self._moments = self.add_weight((4, columns))
        self._at(prediction)
        xp = backend.namespace(y)
        weight: Any = xp.ones((len(y), 1))
        if sample_weight is not None:
            weight = asarray(sample_weight, device=prediction.device).array.reshape(-1, 1)
        sums = self._moments.array
        for i, part in enumerate((xp.ones_like(y), y, y * y, d * d)):
            sums[i] += xp.sum(part * weight, axis=0)

    def result(self) -> Tensor:
        """At most 1."""
        if self._moments is None:
            return zeros((), dtype=np.float64)
        n, s, q, r = (self._moments[i] for i in range(4))
        score: Tensor = (1 - r / (q - s * s / n)).mean()
        return score


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
    """
    if isinstance(metric, dict) and "class_name" in metric:
        options = metric.get("config") or {}
        metric = _CLASSES[metric["class_name"]](**{k: v for k, v in options.items() if k == "name"})
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
