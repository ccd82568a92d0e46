"""Metrics of several classes or outputs: F scores, overlap, determination."""

from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor, wrap
from gputensor.keras.counts import over
from gputensor.keras.gathering import Metric
from gputensor.keras.losses import aligned, pair
from gputensor.ops.choices import where
from gputensor.ops.creation import asarray, zeros
from gputensor.ops.indexing import diagonal

__all__ = [
    "BinaryIoU",
    "F1Score",
    "FBetaScore",
    "IoU",
    "MeanIoU",
    "OneHotIoU",
    "OneHotMeanIoU",
    "R2Score",
]


class FBetaScore(Metric):
    """Weighted harmonic mean of precision and recall, of each class.

    Parameters
    ----------
    average : {None, "micro", "macro", "weighted"}
        How classes become one number; None for each by itself.
    beta : float
        How many times as much as precision recall counts.
    threshold : float, optional
        What is above says yes; by default it is the largest of a row.
    name : str

    Examples
    --------
    >>> keras.metrics.FBetaScore(beta=2.0).name
    'fbeta_score'
    """

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str = "fbeta_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, dtype)
        if average not in (None, "micro", "macro", "weighted"):
            raise ValueError(
                f"{type(self).__name__}: average is {average!r}; allowed are None, 'micro', "
                "'macro' and 'weighted'"
            )
        if not beta > 0:
            raise ValueError(f"{type(self).__name__}: beta is {beta}; it must be above 0")
        self.average = average
        self.beta = beta
        self.threshold = threshold
        self._counts: Any = None

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        truth, prediction = aligned(type(self).__name__, y_true, y_pred)
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
        precision, recall = over(tp, tp + fp), over(tp, tp + fn)
        share = self.beta**2
        score = over((1 + share) * precision * recall, share * precision + recall)
        if self.average == "macro":
            return score.mean()
        if self.average == "weighted":
            return (score * over(tp + fn, (tp + fn).sum())).sum()
        return score


class F1Score(FBetaScore):
    """Harmonic mean of precision and recall, of each class: :class:`FBetaScore` of beta 1.

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
        super().__init__(average, 1.0, threshold, name, dtype)


class R2Score(Metric):
    """Coefficient of determination ``1 - residuals / variance``.

    Parameters
    ----------
    class_aggregation : {"uniform_average", "variance_weighted_average", None}
        How outputs become one number; None for each by itself.
    num_regressors : int
        Number of inputs, which the adjusted score takes into account; 0 for the plain one.
    name : str

    Examples
    --------
    >>> keras.metrics.R2Score().name
    'r2_score'
    """

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str = "r2_score",
        dtype: Any = None,
    ) -> None:
        allowed = ("uniform_average", "variance_weighted_average", None)
        if class_aggregation not in allowed:
            raise ValueError(
                f"R2Score: class_aggregation is {class_aggregation!r}; allowed are {allowed}"
            )
        if num_regressors < 0:
            raise ValueError(f"R2Score: num_regressors is {num_regressors}; it must be 0 or more")
        super().__init__(name, dtype)
        self.class_aggregation = class_aggregation
        self.num_regressors = num_regressors
        self._moments: Any = None

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        truth, prediction = aligned("R2Score", y_true, y_pred)
        columns = 1 if truth.ndim < 2 else truth.shape[-1]
        y = truth.array.reshape(-1, columns).astype(np.float64)
        d = y - prediction.array.reshape(-1, columns)
        if self._moments is None:
            self._moments = self.add_weight((5, columns))
        self._at(prediction)
        xp = backend.namespace(y)
        weight: Any = xp.ones((len(y), 1))
        if sample_weight is not None:
            weight = asarray(sample_weight, device=prediction.device).array.reshape(-1, 1)
        sums = self._moments.array
        for i, part in enumerate((xp.ones_like(y), y, y * y, d * d)):
            sums[i] += xp.sum(part * weight, axis=0)
        sums[4] += len(y)

    def result(self) -> Tensor:
        """At most 1."""
        if self._moments is None:
            return zeros((), dtype=np.float64)
        n, s, q, r, rows = (self._moments[i] for i in range(5))
        spread = q - s * s / n
        score: Tensor = where(spread == 0, 0.0, 1 - r / where(spread == 0, 1.0, spread))
        if self.class_aggregation == "uniform_average":
            score = score.mean()
        elif self.class_aggregation is not None:
            score = (spread * score).sum() / spread.sum()
        if not self.num_regressors:
            return score
        count = rows.sum()  # of all outputs, as Keras counts them
        free = count - self.num_regressors - 1
        adjusted = 1 - (1 - score) * (count - 1) / where(free <= 0, 1.0, free)
        found: Tensor = where(free <= 0, score, adjusted)
        return found


class IoU(Metric):
    """Intersection over union: ``true positives / (true + false positives + false negatives)``.

    Parameters
    ----------
    num_classes : int
    target_class_ids : sequence of int
        Classes of which the mean is given.
    name : str, optional
    ignore_class : int, optional
        Label of elements that do not count.
    sparse_y_true, sparse_y_pred : bool
        Whether they are class labels, not rows of which the largest says the class.
    axis : int
        Of the classes, in such rows.

    Examples
    --------
    >>> metric = keras.metrics.IoU(num_classes=2, target_class_ids=[1])
    >>> metric.update_state([0, 1, 1, 0], [0, 1, 0, 0])
    >>> float(metric.result().item())
    0.5
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Any,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        super().__init__(name, dtype)
        wrong = [i for i in target_class_ids if not 0 <= i < num_classes]
        if wrong:
            raise ValueError(
                f"{type(self).__name__}: target_class_ids has {wrong[0]}; there are {num_classes} "
                "classes, from 0 on"
            )
        self.num_classes = num_classes
        self.target_class_ids = list(target_class_ids)
        self.ignore_class = ignore_class
        self.sparse_y_true, self.sparse_y_pred = sparse_y_true, sparse_y_pred
        self.axis = axis
        self._table = self.add_weight((num_classes * num_classes,))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        raw, prediction = pair(y_true, y_pred)
        self._at(prediction)
        xp = backend.namespace(prediction.array)
        truth, found = (
            (a if sparse else xp.argmax(a, axis=self.axis)).reshape(-1).astype(np.int64)
            for a, sparse in ((raw, self.sparse_y_true), (prediction.array, self.sparse_y_pred))
        )
        n = self.num_classes
        counted = (truth >= 0) & (truth < n) & (found >= 0) & (found < n)
        if self.ignore_class is not None:
            counted &= truth != self.ignore_class
        weight = counted.astype(np.float64)
        if sample_weight is not None:
            given = asarray(sample_weight, device=prediction.device).array
            weight *= xp.broadcast_to(given.reshape(-1), truth.shape)
        places = xp.where(counted, truth * n + found, 0)
        self._table.array += xp.bincount(places, weights=weight, minlength=n * n)

    def result(self) -> Tensor:
        """Mean over those of the classes that were seen."""
        table = self._table.reshape(self.num_classes, self.num_classes)
        right = diagonal(table)[self.target_class_ids]
        whole = (table.sum(axis=0) + table.sum(axis=1))[self.target_class_ids] - right
        seen = (whole > 0).astype(np.float64)
        return over(over(right, whole).sum(), seen.sum())


class BinaryIoU(IoU):
    """:class:`IoU` of two classes: predictions of `threshold` or more are class 1.

    Examples
    --------
    >>> keras.metrics.BinaryIoU().num_classes
    2
    """

    def __init__(
        self,
        target_class_ids: Any = (0, 1),
        threshold: float = 0.5,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(2, target_class_ids, name, dtype)
        self.threshold = threshold

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch."""
        _, prediction = pair(y_true, y_pred)
        super().update_state(y_true, wrap(prediction.array >= self.threshold), sample_weight)


class MeanIoU(IoU):
    """:class:`IoU`, the mean of all classes.

    Examples
    --------
    >>> keras.metrics.MeanIoU(2).num_classes
    2
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        kinds = (sparse_y_true, sparse_y_pred, axis)
        super().__init__(num_classes, range(num_classes), name, dtype, ignore_class, *kinds)


class OneHotIoU(IoU):
    """:class:`IoU` of one-hot rows.

    Examples
    --------
    >>> keras.metrics.OneHotIoU(2, [1]).num_classes
    2
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Any,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        kinds = (ignore_class, False, sparse_y_pred, axis)
        super().__init__(num_classes, target_class_ids, name, dtype, *kinds)


class OneHotMeanIoU(OneHotIoU):
    """:class:`IoU` of one-hot rows, the mean of all classes.

    Examples
    --------
    >>> keras.metrics.OneHotMeanIoU(2).num_classes
    2
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        kinds = (ignore_class, sparse_y_pred, axis)
        super().__init__(num_classes, range(num_classes), name, dtype, *kinds)
