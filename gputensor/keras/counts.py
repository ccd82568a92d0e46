"""Metrics by right and wrong answers of two classes, at one threshold or several."""

from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor, no_grad, wrap
from gputensor.keras.gathering import Metric
from gputensor.keras.losses import aligned
from gputensor.ops.creation import asarray
from gputensor.ops.elementwise import maximum, minimum
from gputensor.shown import retold

__all__ = [
    "AUC",
    "Counts",
    "FalseNegatives",
    "FalsePositives",
    "Precision",
    "PrecisionAtRecall",
    "Recall",
    "RecallAtPrecision",
    "SensitivityAtSpecificity",
    "SpecificityAtSensitivity",
    "TrueNegatives",
    "TruePositives",
]


class Counts(Metric):
    """Right and wrong answers of two classes, at one threshold or several.

    Parameters
    ----------
    thresholds : float or sequence of float, optional
        0.5 by default; a prediction above it says yes.
    top_k : int, optional
        Without `thresholds`: the so many largest of each row say yes.
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
        self.top_k = top_k
        least = 0.5 if top_k is None else -1e10
        given = least if thresholds is None else thresholds
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
            if self.top_k is not None:
                prediction = _largest(prediction, self.top_k)
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
                counts = sums.array
                counts += xp.sum(hits * weight, axis=0, dtype=np.float64)

    def _given(self, found: Tensor) -> Tensor:
        return found if self._many else found[0]


def _largest(prediction: Tensor, k: int) -> Tensor:
    """Predictions, less than all thresholds but the `k` largest of each row."""
    raw = prediction.array
    xp = backend.namespace(raw)
    limit = xp.sort(raw, axis=-1)[..., raw.shape[-1] - k, None]
    return wrap(xp.where(raw >= limit, raw, -xp.inf))


def over(part: Tensor, whole: Tensor) -> Tensor:
    """Quotient; 0 where there is nothing."""
    return part / (whole + (whole == 0))


class Precision(Counts):
    __doc__ = retold(
        Counts,
        "Share of right ones among those given yes.",
        ">>> metric = keras.metrics.Precision()\n"
        ">>> metric.update_state([0, 1, 1], [0.9, 0.9, 0.1])\n"
        ">>> float(metric.result().item())\n"
        "0.5",
    )

    def result(self) -> Tensor:
        """From 0 to 1."""
        return self._given(over(self._tp, self._tp + self._fp))


class Recall(Counts):
    __doc__ = retold(
        Counts,
        "Share of those given yes among the true ones.",
        ">>> metric = keras.metrics.Recall()\n"
        ">>> metric.update_state([0, 1, 1], [0.9, 0.9, 0.1])\n"
        ">>> float(metric.result().item())\n"
        "0.5",
    )

    def result(self) -> Tensor:
        """From 0 to 1."""
        return self._given(over(self._tp, self._tp + self._fn))


class _Number(Counts):
    """A number of answers, at one threshold or several."""

    def __init__(self, thresholds: Any = None, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(thresholds, name=name, dtype=dtype)


class TruePositives(_Number):
    """Number of true ones that were given yes.

    Examples
    --------
    >>> keras.metrics.TruePositives().name
    'true_positives'
    """

    def result(self) -> Tensor:
        """A number."""
        return self._given(self._tp + 0)


class FalsePositives(_Number):
    """Number of others that were given yes.

    Examples
    --------
    >>> keras.metrics.FalsePositives().name
    'false_positives'
    """

    def result(self) -> Tensor:
        """A number."""
        return self._given(self._fp + 0)


class FalseNegatives(_Number):
    """Number of true ones that were given no.

    Examples
    --------
    >>> keras.metrics.FalseNegatives().name
    'false_negatives'
    """

    def result(self) -> Tensor:
        """A number."""
        return self._given(self._fn + 0)


class TrueNegatives(_Number):
    """Number of others that were given no.

    Examples
    --------
    >>> keras.metrics.TrueNegatives().name
    'true_negatives'
    """

    def result(self) -> Tensor:
        """A number."""
        return self._given(self._tn + 0)


class AUC(Counts):
    """Area under the curve of true against false positives, or of precision against recall.

    Parameters
    ----------
    num_thresholds : int
        Points of the curve.
    curve : {"ROC", "PR"}
        "PR" is precision against recall.
    summation_method : {"interpolation", "minoring", "majoring"}
        Trapezoids (for "PR" as Davis & Goadrich 2006 say), or the lower or upper sum.
    name : str, optional
    thresholds : sequence of float, optional
        The points themselves, within 0 and 1.
    multi_label : bool
        Whether each column has an area of its own, of which the mean is given.
    num_labels : int, optional
        Number of columns; they are known from the first batch anyway.
    label_weights : sequence of float, optional
        Of the columns in that mean; of all answers if it is one area.
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
        name: str | None = None,
        dtype: Any = None,
        thresholds: Any = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Any = None,
        from_logits: bool = False,
    ) -> None:
        if curve not in ("ROC", "PR"):
            raise ValueError(f"AUC: curve is {curve!r}; allowed are 'ROC' and 'PR'")
        if summation_method not in _SUMMATIONS:
            raise ValueError(
                f"AUC: summation_method is {summation_method!r}; allowed are {_SUMMATIONS}"
            )
        if thresholds is None:
            inner = [(i + 1) / (num_thresholds - 1) for i in range(num_thresholds - 2)]
        else:
            inner = sorted(float(t) for t in thresholds)
        super().__init__([-1e-7, *inner, 1 + 1e-7], name=name)
        self.num_thresholds = len(inner) + 2
        self.num_labels = num_labels
        self.curve = curve
        self.summation_method = summation_method
        self.multi_label = multi_label
        self.label_weights = None if label_weights is None else [float(w) for w in label_weights]
        self.from_logits = from_logits
        self._columns: list[Counts] = []

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        if self.from_logits:
            y_pred = 1 / (1 + np.exp(1.0) ** -asarray(y_pred))
        if self.multi_label:
            columns = asarray(y_pred).shape[-1]
            if not self._columns:
                self._columns = [Counts(self.thresholds, class_id=i) for i in range(columns)]
            for column in self._columns:
                column.update_state(y_true, y_pred, sample_weight)
        elif self.label_weights is None:
            super().update_state(y_true, y_pred, sample_weight)
        else:
            rows = 1.0 if sample_weight is None else asarray(sample_weight)
            for i, share in enumerate(self.label_weights):
                column = Counts(self.thresholds, class_id=i)
                each = share * rows * asarray(np.ones(asarray(y_pred).shape[0]))
                column.update_state(y_true, y_pred, each)
                self._at(column._tp)
                for mine, part in zip(self._sums, column._sums, strict=True):
                    mine.array += part.array

    def reset_state(self) -> None:
        """Begin again."""
        super().reset_state()
        self._columns = []

    def result(self) -> Tensor:
        """From 0 to 1."""
        if not self._columns:
            return self._area(self)
        areas: list[Any] = [self._area(column) for column in self._columns]
        shares = self.label_weights or [1.0] * len(areas)
        whole: Any = sum(a * w for a, w in zip(areas, shares, strict=True))
        return whole / sum(shares)  # type: ignore[no-any-return]

    def _area(self, counts: Counts) -> Tensor:
        tp, fp, fn, tn = counts._tp, counts._fp, counts._fn, counts._tn
        if self.curve == "PR" and self.summation_method == "interpolation":
            return _interpolated(tp, fp, fn)
        if self.curve == "ROC":
            y, x = over(tp, tp + fn), over(fp, fp + tn)
        else:
            y, x = over(tp, tp + fp), over(tp, tp + fn)
        bounds: Any = {"minoring": minimum, "majoring": maximum}
        mean = (y[:-1] + y[1:]) / 2
        kind = bounds.get(self.summation_method)
        height: Tensor = mean if kind is None else kind(y[:-1], y[1:])
        return ((x[:-1] - x[1:]) * height).sum()


_SUMMATIONS = ("interpolation", "minoring", "majoring")


def _interpolated(tp: Tensor, fp: Tensor, fn: Tensor) -> Tensor:
    """Davis & Goadrich 2006, as Keras: true positives are interpolated, not the precision."""
    xp = backend.namespace(tp.array)
    t, p = tp.array, tp.array + fp.array
    dt, dp = t[:-1] - t[1:], xp.maximum(p[:-1] - p[1:], 0)
    slope = xp.where(dp > 0, dt / xp.where(dp > 0, dp, 1), 0)
    intercept = t[1:] - slope * p[1:]
    both = (p[:-1] > 0) & (p[1:] > 0)
    ratio = xp.where(both, p[:-1] / xp.where(both, p[1:], 1), 1)
    whole = t[1:] + fn.array[1:]
    part = slope * (dt + intercept * xp.log(ratio))
    return wrap(xp.asarray(xp.sum(xp.where(whole > 0, part / xp.where(whole > 0, whole, 1), 0))))


class _Best(Counts):
    """Best value of one share where another is large enough.

    Parameters
    ----------
    value : float
        What the other one has to be at least, from 0 to 1.
    num_thresholds : int
    class_id : int, optional
        The column that counts; all of them by default.
    name : str, optional
    """

    def __init__(
        self,
        value: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        kind = type(self).__name__
        if not 0 <= value <= 1:
            raise ValueError(f"{kind}: the least value is {value}; it must be from 0 to 1")
        if num_thresholds < 1:
            raise ValueError(f"{kind}: num_thresholds is {num_thresholds}; it must be 1 or more")
        inner = [(i + 1) / (num_thresholds - 1) for i in range(num_thresholds - 2)]
        limits = [0.5] if num_thresholds == 1 else [0.0, *inner, 1.0]
        super().__init__(limits, class_id=class_id, name=name)
        self._least = value
        self.num_thresholds = num_thresholds

    def _shares(self) -> tuple[Tensor, Tensor]:
        """What is to be large enough, and what is asked for."""
        raise NotImplementedError

    def result(self) -> Tensor:
        """From 0 to 1; 0 where there is none."""
        held, asked = self._shares()
        return (asked * (held >= self._least)).max()


class SensitivityAtSpecificity(_Best):
    """Best share of true ones found (recall) where specificity is at least a value.

    Examples
    --------
    >>> keras.metrics.SensitivityAtSpecificity(0.5).name
    'sensitivity_at_specificity'
    """

    def __init__(self, specificity: float, *args: Any, **options: Any) -> None:
        super().__init__(specificity, *args, **options)
        self.specificity = specificity

    def _shares(self) -> tuple[Tensor, Tensor]:
        tp, fp, fn, tn = self._tp, self._fp, self._fn, self._tn
        return over(tn, tn + fp), over(tp, tp + fn)


class SpecificityAtSensitivity(_Best):
    """Best specificity where the share of true ones found (recall) is at least a value.

    Examples
    --------
    >>> keras.metrics.SpecificityAtSensitivity(0.5).name
    'specificity_at_sensitivity'
    """

    def __init__(self, sensitivity: float, *args: Any, **options: Any) -> None:
        super().__init__(sensitivity, *args, **options)
        self.sensitivity = sensitivity

    def _shares(self) -> tuple[Tensor, Tensor]:
        tp, fp, fn, tn = self._tp, self._fp, self._fn, self._tn
        return over(tp, tp + fn), over(tn, tn + fp)


class PrecisionAtRecall(_Best):
    """Best precision where recall is at least a value.

    Examples
    --------
    >>> keras.metrics.PrecisionAtRecall(0.5).name
    'precision_at_recall'
    """

    def __init__(self, recall: float, *args: Any, **options: Any) -> None:
        super().__init__(recall, *args, **options)
        self.recall = recall

    def _shares(self) -> tuple[Tensor, Tensor]:
        tp, fp, fn = self._tp, self._fp, self._fn
        return over(tp, tp + fn), over(tp, tp + fp)


class RecallAtPrecision(_Best):
    """Best recall where precision is at least a value.

    Examples
    --------
    >>> keras.metrics.RecallAtPrecision(0.5).name
    'recall_at_precision'
    """

    def __init__(self, precision: float, *args: Any, **options: Any) -> None:
        super().__init__(precision, *args, **options)
        self.precision = precision

    def _shares(self) -> tuple[Tensor, Tensor]:
        tp, fp, fn = self._tp, self._fp, self._fn
        return over(tp, tp + fp), over(tp, tp + fn)
