"""Losses as in Keras: functions of ``(y_true, y_pred)`` with a loss for each sample, and classes.

Targets may have one axis more or less than predictions where that axis has length 1: labels (n, 1)
are labels (n,), and numbers (n,) are the targets of one output (n, 1).
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor, wrap
from gputensor.errors import ShapeError
from gputensor.keras.naming import lacking, snake_case
from gputensor.nn import functional
from gputensor.nn.losses import clipped_binary_cross_entropy
from gputensor.ops.choices import clip, where
from gputensor.ops.creation import asarray, eye
from gputensor.ops.data_type import astype
from gputensor.ops.elementwise import abs as absolute
from gputensor.ops.elementwise import log, maximum, sigmoid, softplus, square
from gputensor.ops.manipulation import expand_dims, permute_dims, reshape
from gputensor.ops.nn import log_softmax, logsumexp, softmax
from gputensor.ops.statistical import max as largest
from gputensor.ops.statistical import mean
from gputensor.ops.statistical import sum as total
from gputensor.shown import Shown
from gputensor.training.checks import check_labels

__all__ = [
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy",
    "CategoricalHinge",
    "Circle",
    "CosineSimilarity",
    "Dice",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "Tversky",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "categorical_hinge",
    "circle",
    "cosine_similarity",
    "deserialize",
    "dice",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "serialize",
    "sparse_categorical_crossentropy",
    "squared_hinge",
    "tversky",
]

_TINY = 1e-7  # Keras's backend.epsilon()


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


def aligned(name: str, y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    """Both as tensors of one shape, an axis of length 1 at the end put on or taken off.

    Raises
    ------
    ShapeError
        If the shapes differ otherwise: broadcasting would hide a mistake.
    """
    prediction = asarray(y_pred)
    target = y_true if isinstance(y_true, Tensor) else asarray(y_true, device=prediction.device)
    if target.shape != prediction.shape:
        if target.ndim + 1 == prediction.ndim and prediction.shape[-1] == 1:
            target = expand_dims(target, axis=-1)
        elif target.ndim == prediction.ndim + 1 and target.shape[-1] == 1:
            target = reshape(target, target.shape[:-1])
    if target.shape != prediction.shape:
        raise ShapeError(
            f"{name}: y_true has shape {target.shape}, y_pred {prediction.shape}; they must be "
            "equal"
        )
    if prediction.dtype.kind not in "fVc":
        prediction = astype(prediction, np.float32)
    return astype(target, prediction.dtype), prediction


def _per_sample(each: Tensor, axis: int = -1) -> Tensor:
    """Mean along an axis."""
    return mean(each, axis=axis) if each.ndim else each


# Cross-entropy


def _labels(name: str, y_true: Any, y_pred: Tensor) -> Any:
    """Raw labels of the predictions' shape without the classes."""
    raw, _ = pair(y_true, y_pred)
    rows = y_pred.shape[:-1]
    if raw.shape == (*rows, 1):
        raw = raw.reshape(rows)
    if raw.shape != rows:
        raise ShapeError(
            f"{name}: y_true has shape {raw.shape}; it must be class labels of shape {rows}. For "
            "one-hot rows use categorical_crossentropy"
        )
    return raw


def categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Cross-entropy of each row against probabilities or class labels.

    Parameters
    ----------
    y_true : array of the shape of `y_pred`, or int array without its last axis
    y_pred : Tensor of shape (n, ..., classes)
        Probabilities, or logits with `from_logits`. Probabilities are scaled to sum 1 and kept
        1e-7 away from 0 and 1, as Keras does.
    from_logits : bool
    label_smoothing : float

    Returns
    -------
    Tensor of shape (n, ...)

    Examples
    --------
    >>> keras.losses.categorical_crossentropy([[0.0, 1.0]], [[0.2, 0.8]])
    tensor([0.22314353], dtype=float32)
    """
    name = "categorical_crossentropy"
    if axis != -1:
        raise ValueError(f"{name}: axis is {axis}; only the last one, -1, is supported")
    target, y_pred = pair(y_true, y_pred)
    classes = y_pred.shape[-1]
    if from_logits and y_pred.ndim == 2:
        target = target.reshape(-1) if target.shape == (len(target), 1) and classes > 1 else target
        return functional.cross_entropy(
            y_pred, target, label_smoothing=label_smoothing, reduction="none"
        )
    if target.ndim < y_pred.ndim or (target.shape == (*y_pred.shape[:-1], 1) and classes > 1):
        labels = _labels(name, y_true, y_pred)
        target = _one_hot(f"{name}: y_true", labels.reshape(-1), classes, y_pred.dtype)
        target = target.reshape(y_pred.shape)
    if target.shape != y_pred.shape:
        raise ShapeError(f"{name}: y_true has shape {target.shape}, y_pred {y_pred.shape}")
    target = target * (1 - label_smoothing) + label_smoothing / classes
    target = target.astype(y_pred.dtype)
    if from_logits:
        return -total(log_softmax(y_pred, axis=-1) * target, axis=-1)
    p = clip(y_pred / total(y_pred, axis=-1, keepdims=True), _TINY, 1 - _TINY)
    return -total(log(p) * target, axis=-1)


def sparse_categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
) -> Tensor:
    """Cross-entropy of each row against class labels; otherwise as categorical_crossentropy.

    Rows of the label `ignore_class` have the loss 0.

    Examples
    --------
    >>> keras.losses.sparse_categorical_crossentropy([1], [[0.2, 0.8]])
    tensor([0.22314353], dtype=float32)
    """
    name = "sparse_categorical_crossentropy"
    y_pred = asarray(y_pred)
    labels = _labels(name, y_true, y_pred)
    if ignore_class is None:
        return categorical_crossentropy(wrap(labels), y_pred, from_logits, axis=axis)
    counted = wrap(labels) != ignore_class
    known = where(counted, wrap(labels), 0)
    each = categorical_crossentropy(known, y_pred, from_logits, axis=axis)
    return where(counted, each, 0.0)


def _binary(
    name: str, y_true: Any, y_pred: Any, from_logits: bool, label_smoothing: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Targets, predictions and losses of each element."""
    target, y_pred = aligned(name, y_true, y_pred)
    if label_smoothing:
        target = target * (1 - label_smoothing) + 0.5 * label_smoothing
    if from_logits:
        each = functional.binary_cross_entropy_with_logits(y_pred, target, reduction="none")
    else:
        each = clipped_binary_cross_entropy(y_pred, target)
    return target, y_pred, each


def binary_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Cross-entropy of two classes, the mean over the outputs.

    Parameters
    ----------
    y_true : array of the shape of `y_pred`, of numbers from 0 to 1
    y_pred : Tensor of shape (n, ..., outputs)
        Probabilities, kept 1e-7 away from 0 and 1; or logits with `from_logits`.
    from_logits : bool
    label_smoothing : float
        Share by which targets are drawn to 0.5.
    axis : int
        Of the outputs.

    Returns
    -------
    Tensor of shape (n, ...)

    Examples
    --------
    >>> keras.losses.binary_crossentropy([[1.0]], [[0.5]])
    tensor([0.6931472], dtype=float32)
    """
    return _per_sample(
        _binary("binary_crossentropy", y_true, y_pred, from_logits, label_smoothing)[2], axis
    )


def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """:func:`binary_crossentropy` times ``(1 - p)**gamma`` of the right class (Lin et al. 2017).

    Examples
    --------
    >>> keras.losses.binary_focal_crossentropy([[1.0]], [[0.5]])
    tensor([0.1732868], dtype=float32)
    """
    name = "binary_focal_crossentropy"
    target, y_pred, each = _binary(name, y_true, y_pred, from_logits, label_smoothing)
    p = sigmoid(y_pred) if from_logits else clip(y_pred, _TINY, 1 - _TINY)
    right = target * p + (1 - target) * (1 - p)
    each = (1 - right) ** gamma * each
    if apply_class_balancing:
        each = (target * alpha + (1 - target) * (1 - alpha)) * each
    return _per_sample(each, axis)


def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """Cross-entropy of each row, its terms times ``alpha * (1 - p)**gamma`` (Lin et al. 2017).

    Examples
    --------
    >>> keras.losses.categorical_focal_crossentropy([[0.0, 1.0]], [[0.2, 0.8]])
    tensor([0.00223144], dtype=float32)
    """
    target, y_pred = aligned("categorical_focal_crossentropy", y_true, y_pred)
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / y_pred.shape[-1]
    p = softmax(y_pred, axis=axis) if from_logits else y_pred
    p = clip(p / total(p, axis=axis, keepdims=True), _TINY, 1 - _TINY)
    return -total(alpha * (1 - p) ** gamma * target * log(p), axis=axis)


def categorical_generalized_cross_entropy(y_true: Any, y_pred: Any, q: float = 0.5) -> Tensor:
    """``(1 - p**q) / q`` of the right class's probability (Zhang & Sabuncu 2018).

    Parameters
    ----------
    y_true : int array of shape (n,) or (n, 1)
    y_pred : Tensor of shape (n, classes)
    q : float
        From 0, as cross-entropy, to 1, as the absolute error.

    Examples
    --------
    >>> keras.losses.categorical_generalized_cross_entropy([1], [[0.2, 0.8]]).shape
    (1,)
    """
    name = "categorical_generalized_cross_entropy"
    y_pred = asarray(y_pred)
    labels = _labels(name, y_true, y_pred)
    rows = _one_hot(f"{name}: y_true", labels.reshape(-1), y_pred.shape[-1], y_pred.dtype)
    p = total(y_pred * rows.reshape(y_pred.shape), axis=-1)
    return (1 - p**q) / q


# Overlap


def dice(y_true: Any, y_pred: Any, axis: Any = None) -> Tensor:
    """One less twice the overlap over the sum of both, along `axis` or in all (Dice 1945).

    Examples
    --------
    >>> keras.losses.dice([[0.0, 1.0]], [[0.2, 0.8]])
    tensor(0.19999999, dtype=float32)
    """
    y_true, y_pred = aligned("dice", y_true, y_pred)
    both = total(y_true * y_pred, axis=axis)
    return 1 - 2 * both / (total(y_true, axis=axis) + total(y_pred, axis=axis) + _TINY)


def tversky(
    y_true: Any, y_pred: Any, alpha: float = 0.5, beta: float = 0.5, axis: Any = None
) -> Tensor:
    """:func:`dice` with weights of what only `y_true` has, `alpha`, and only `y_pred`, `beta`.

    Examples
    --------
    >>> keras.losses.tversky([[0.0, 1.0]], [[0.2, 0.8]])
    tensor(0.2000001, dtype=float32)
    """
    y_true, y_pred = aligned("tversky", y_true, y_pred)
    both = total(y_true * y_pred, axis=axis)
    lost = total(y_true * (1 - y_pred), axis=axis)
    added = total(y_pred * (1 - y_true), axis=axis)
    return 1 - both / (both + alpha * lost + beta * added + _TINY)


def circle(
    y_true: Any,
    y_pred: Any,
    ref_labels: Any = None,
    ref_embeddings: Any = None,
    remove_diagonal: bool = True,
    gamma: float = 80.0,
    margin: float = 0.4,
) -> Tensor:
    """Circle loss (Sun et al. 2020): like samples near each other, unlike ones apart.

    Parameters
    ----------
    y_true : int array of shape (n,) or (n, 1)
    y_pred : Tensor of shape (n, features)
        Each of length 1.
    ref_labels, ref_embeddings : arrays, optional
        Other samples to compare with; by default these.
    remove_diagonal : bool
        Whether a sample is not compared with itself.
    gamma, margin : float
        Scale, and how far like and unlike are to be apart.

    Examples
    --------
    >>> embeddings = gt.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> keras.losses.circle(np.array([0, 0, 1]), embeddings)
    tensor([7.621877e-12, 7.621877e-12, 0.000000e+00], dtype=float32)
    """
    y_pred = asarray(y_pred)
    labels, _ = pair(y_true, y_pred)
    others = labels if ref_labels is None else pair(ref_labels, y_pred)[0]
    there = y_pred if ref_embeddings is None else asarray(ref_embeddings)
    apart = maximum(1 - y_pred @ permute_dims(there, (1, 0)), 0.0)
    like = wrap(labels.reshape(-1, 1) == others.reshape(1, -1))
    unlike = wrap(~like.array)
    if remove_diagonal:
        n, m = like.shape
        like = wrap(like.array & (eye(n, m, device=y_pred.device).array == 0))
    near = maximum(margin + apart, 0.0) * (margin - apart) * -gamma
    far = maximum(1 + margin - apart, 0.0) * (1 - margin - apart) * gamma
    parts = [logsumexp(where(m, d, -np.inf), axis=1) for m, d in ((like, near), (unlike, far))]
    return softplus(parts[0] + parts[1])


# Numbers


def mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    """Mean along the last axis of ``(y_true - y_pred)**2``.

    Parameters
    ----------
    y_true : array of the shape of `y_pred`
    y_pred : Tensor of shape (n, ..., outputs)

    Returns
    -------
    Tensor of shape (n, ...)

    Examples
    --------
    >>> keras.losses.mean_squared_error([[0.0, 0.0]], [[1.0, 3.0]])
    tensor([5.], dtype=float32)
    """
    y_true, y_pred = aligned("mean_squared_error", y_true, y_pred)
    return _per_sample(square(y_pred - y_true))


def mean_absolute_error(y_true: Any, y_pred: Any) -> Tensor:
    """Mean along the last axis of ``|y_true - y_pred|``.

    Examples
    --------
    >>> keras.losses.mean_absolute_error([[0.0, 0.0]], [[1.0, 3.0]])
    tensor([2.], dtype=float32)
    """
    y_true, y_pred = aligned("mean_absolute_error", y_true, y_pred)
    return _per_sample(absolute(y_pred - y_true))


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Tensor:
    """Mean along the last axis of ``100 |y_true - y_pred| / |y_true|``; 1e-7 at least below.

    Examples
    --------
    >>> keras.losses.mean_absolute_percentage_error([[2.0]], [[1.0]])
    tensor([50.], dtype=float32)
    """
    y_true, y_pred = aligned("mean_absolute_percentage_error", y_true, y_pred)
    return 100 * _per_sample(absolute((y_true - y_pred) / maximum(absolute(y_true), _TINY)))


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Tensor:
    """Mean along the last axis of ``(log(y_true + 1) - log(y_pred + 1))**2``.

    Examples
    --------
    >>> keras.losses.mean_squared_logarithmic_error([[0.0]], [[1.0]])
    tensor([0.48045287], dtype=float32)
    """
    y_true, y_pred = aligned("mean_squared_logarithmic_error", y_true, y_pred)
    logs = [log(maximum(y, _TINY) + 1) for y in (y_true, y_pred)]
    return _per_sample(square(logs[0] - logs[1]))


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Tensor:
    """Half the square of small differences, ``delta * (|d| - delta / 2)`` of others (Huber).

    Examples
    --------
    >>> keras.losses.huber([[0.0]], [[3.0]])
    tensor([2.5], dtype=float32)
    """
    y_true, y_pred = aligned("huber", y_true, y_pred)
    return _per_sample(functional.huber_loss(y_pred, y_true, delta=delta, reduction="none"))


def log_cosh(y_true: Any, y_pred: Any) -> Tensor:
    """Mean along the last axis of ``log(cosh(y_pred - y_true))``.

    Examples
    --------
    >>> keras.losses.log_cosh([[0.0]], [[1.0]])
    tensor([0.4337808], dtype=float32)
    """
    y_true, y_pred = aligned("log_cosh", y_true, y_pred)
    d = y_pred - y_true
    return _per_sample(d + softplus(-2 * d) - 0.6931471805599453)


def _signs(name: str, y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    """Targets 1 and -1, of 1 and 0 as well."""
    y_true, y_pred = aligned(name, y_true, y_pred)
    return where(y_true == 0, -1.0, y_true), y_pred


def hinge(y_true: Any, y_pred: Any) -> Tensor:
    """Mean along the last axis of ``max(1 - y_true * y_pred, 0)``; a target 0 is -1.

    Examples
    --------
    >>> keras.losses.hinge([[1.0, -1.0]], [[0.5, 0.5]])
    tensor([1.], dtype=float32)
    """
    y_true, y_pred = _signs("hinge", y_true, y_pred)
    return _per_sample(maximum(1 - y_true * y_pred, 0.0))


def squared_hinge(y_true: Any, y_pred: Any) -> Tensor:
    """Mean along the last axis of ``max(1 - y_true * y_pred, 0)**2``; a target 0 is -1.

    Examples
    --------
    >>> keras.losses.squared_hinge([[1.0, -1.0]], [[0.5, 0.5]])
    tensor([1.25], dtype=float32)
    """
    y_true, y_pred = _signs("squared_hinge", y_true, y_pred)
    return _per_sample(square(maximum(1 - y_true * y_pred, 0.0)))


def categorical_hinge(y_true: Any, y_pred: Any) -> Tensor:
    """``max(neg - pos + 1, 0)``, `pos` the right class's output, `neg` the largest other one.

    Examples
    --------
    >>> keras.losses.categorical_hinge([[0.0, 1.0]], [[0.2, 0.8]])
    tensor([0.39999998], dtype=float32)
    """
    y_true, y_pred = aligned("categorical_hinge", y_true, y_pred)
    right = total(y_true * y_pred, axis=-1)
    wrong = largest((1 - y_true) * y_pred, axis=-1)
    return maximum(wrong - right + 1, 0.0)


def kl_divergence(y_true: Any, y_pred: Any) -> Tensor:
    """``sum(y_true * log(y_true / y_pred))`` along the last axis, both 1e-7 at least.

    Examples
    --------
    >>> keras.losses.kl_divergence([[0.5, 0.5]], [[0.5, 0.5]])
    tensor([0.], dtype=float32)
    """
    y_true, y_pred = aligned("kl_divergence", y_true, y_pred)
    p, q = clip(y_true, _TINY, 1.0), clip(y_pred, _TINY, 1.0)
    return total(p * (log(p) - log(q)), axis=-1)


def poisson(y_true: Any, y_pred: Any) -> Tensor:
    """Mean along the last axis of ``y_pred - y_true * log(y_pred + 1e-7)``.

    Examples
    --------
    >>> keras.losses.poisson([[1.0]], [[1.0]])
    tensor([0.9999999], dtype=float32)
    """
    y_true, y_pred = aligned("poisson", y_true, y_pred)
    return _per_sample(y_pred - y_true * log(y_pred + _TINY))


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """Less the cosine between the two along `axis`, so that -1 is best.

    Examples
    --------
    >>> keras.losses.cosine_similarity([[0.0, 1.0]], [[0.0, 2.0]])
    tensor([-1.], dtype=float32)
    """
    y_true, y_pred = aligned("cosine_similarity", y_true, y_pred)
    one, other = (functional.normalize(y, axis=axis, eps=1e-6) for y in (y_true, y_pred))
    return -total(one * other, axis=axis)


# Classes

_REDUCTIONS = (
    "sum_over_batch_size",
    "mean",
    "sum",
    "none",
    None,
    "auto",
    "mean_with_sample_weight",
)


class Loss(Shown):
    """A loss: called with ``(y_true, y_pred, sample_weight=None)`` it gives a number.

    Parameters
    ----------
    name : str, optional
    reduction : {"sum_over_batch_size", "mean", "sum", "none"}
        Of the losses of samples; the first two are the mean.

    A subclass defines ``call(self, y_true, y_pred)``, which gives a loss for each sample.

    Examples
    --------
    >>> loss = keras.losses.MeanSquaredError(reduction="sum")
    >>> loss([[0.0], [0.0]], [[1.0], [3.0]])
    tensor(10., dtype=float32)
    """

    # What fit asks, to run loss and softmax as one kernel.
    cross_entropy = False
    sparse = False
    from_logits = False
    label_smoothing = 0.0

    def __init__(
        self,
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        if reduction not in _REDUCTIONS:
            raise ValueError(
                f"{type(self).__name__}: reduction is {reduction!r}; allowed are "
                f"{', '.join(map(repr, _REDUCTIONS[:4]))}"
            )
        self.name = name or snake_case(type(self).__name__)
        self.reduction = reduction

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        """Loss of each sample."""
        raise NotImplementedError(f"{type(self).__name__} defines no call(self, y_true, y_pred)")

    def function(self, y_true: Any, y_pred: Any, **options: Any) -> Tensor:
        """Loss of each sample, which :meth:`__call__` and fit reduce."""
        return self.call(y_true, y_pred, **options)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        """Loss of a batch."""
        each = self.call(y_true, y_pred)
        if sample_weight is not None:
            weight = asarray(sample_weight, device=each.device)
            if weight.ndim == each.ndim + 1 and weight.shape[-1] == 1:
                weight = reshape(weight, weight.shape[:-1])
            if weight.ndim < each.ndim:
                weight = reshape(weight, (*weight.shape, *(1 for _ in each.shape[weight.ndim :])))
            each = each * weight
        if self.reduction in ("none", None):
            return each
        return total(each) if self.reduction == "sum" else mean(each)

    def get_config(self) -> dict[str, Any]:
        """What the constructor takes."""
        return {k: v for k, v in vars(self).items() if not k.startswith("_")}


class _Function(Loss):
    """A loss of a function and its options."""

    def __init__(self, function: Callable[..., Tensor], name: str | None, **options: Any) -> None:
        super().__init__(name or getattr(function, "__name__", "loss"))
        self._function = function
        self._options = options

    def call(self, y_true: Any, y_pred: Any, **options: Any) -> Tensor:
        """Loss of each sample."""
        return self._function(y_true, y_pred, **(self._options | options))


def _class(
    name: str, function: Callable[..., Tensor], label: str | None = None, **facts: Any
) -> type[Loss]:
    """Class whose options are the function's, and the name and reduction."""
    options = [p for p in inspect.signature(function).parameters if p not in ("y_true", "y_pred")]
    defaults = {p: inspect.signature(function).parameters[p].default for p in options}

    def __init__(
        self: Any,
        *args: Any,
        reduction: Any = "sum_over_batch_size",
        name: Any = None,
        **given: Any,
    ) -> None:
        given.pop("dtype", None)
        values = dict(zip(options, args, strict=False)) | given
        if unknown := values.keys() - set(options):
            raise TypeError(
                f"{kind.__name__}: got an unexpected argument {sorted(unknown)[0]!r}; its "
                f"arguments are {', '.join([*options, 'reduction', 'name'])}"
            )
        Loss.__init__(self, name or label or function.__name__, reduction)
        for key, value in (defaults | values).items():
            setattr(self, key, value)
        smoothing = getattr(self, "label_smoothing", 0.0)
        if not 0 <= smoothing <= 1:
            raise ValueError(
                f"{kind.__name__}: label_smoothing is {smoothing}; it must be from 0 to 1"
            )

    def call(self: Any, y_true: Any, y_pred: Any, **more: Any) -> Tensor:
        return function(y_true, y_pred, **({key: getattr(self, key) for key in options} | more))

    by_class = facts.get("sparse") or "Generalized" in name
    labels = "[1]" if by_class else "[[0.0, 1.0]]"
    known = f":func:`{function.__name__}`" if function.__name__[0] != "_" else "Keras's loss"
    doc = f"""See {known}; `reduction` and `name` are those of :class:`Loss`.

    Examples
    --------
    >>> keras.losses.{name}()({labels}, [[0.2, 0.8]]).shape
    ()
    """
    members = {"__init__": __init__, "call": call, "__doc__": doc, "__module__": __name__, **facts}
    kind = type(name, (Loss,), members)
    return kind


CategoricalCrossentropy = _class(
    "CategoricalCrossentropy", categorical_crossentropy, cross_entropy=True
)
SparseCategoricalCrossentropy = _class(
    "SparseCategoricalCrossentropy",
    sparse_categorical_crossentropy,
    cross_entropy=True,
    sparse=True,
)
BinaryCrossentropy = _class("BinaryCrossentropy", binary_crossentropy)
BinaryFocalCrossentropy = _class("BinaryFocalCrossentropy", binary_focal_crossentropy)
MeanSquaredError = _class("MeanSquaredError", mean_squared_error)
MeanAbsoluteError = _class("MeanAbsoluteError", mean_absolute_error)
MeanAbsolutePercentageError = _class("MeanAbsolutePercentageError", mean_absolute_percentage_error)
MeanSquaredLogarithmicError = _class("MeanSquaredLogarithmicError", mean_squared_logarithmic_error)
Huber = _class("Huber", huber, "huber_loss")
LogCosh = _class("LogCosh", log_cosh)
Hinge = _class("Hinge", hinge)
SquaredHinge = _class("SquaredHinge", squared_hinge)
CategoricalHinge = _class("CategoricalHinge", categorical_hinge)
KLDivergence = _class("KLDivergence", kl_divergence)
Poisson = _class("Poisson", poisson)
CosineSimilarity = _class("CosineSimilarity", cosine_similarity)
CategoricalFocalCrossentropy = _class(
    "CategoricalFocalCrossentropy", categorical_focal_crossentropy
)
CategoricalGeneralizedCrossEntropy = _class(
    "CategoricalGeneralizedCrossEntropy", categorical_generalized_cross_entropy
)
Dice = _class("Dice", dice)
Tversky = _class("Tversky", tversky)


def _circle(
    y_true: Any,
    y_pred: Any,
    gamma: float = 80.0,
    margin: float = 0.4,
    remove_diagonal: bool = True,
) -> Tensor:
    return circle(y_true, y_pred, gamma=gamma, margin=margin, remove_diagonal=remove_diagonal)


Circle = _class("Circle", _circle, "circle")

_FUNCTIONS: dict[Callable[..., Tensor], type[Loss]] = {
    categorical_crossentropy: CategoricalCrossentropy,
    sparse_categorical_crossentropy: SparseCategoricalCrossentropy,
    binary_crossentropy: BinaryCrossentropy,
    binary_focal_crossentropy: BinaryFocalCrossentropy,
    mean_squared_error: MeanSquaredError,
    mean_absolute_error: MeanAbsoluteError,
    mean_absolute_percentage_error: MeanAbsolutePercentageError,
    mean_squared_logarithmic_error: MeanSquaredLogarithmicError,
    huber: Huber,
    log_cosh: LogCosh,
    hinge: Hinge,
    squared_hinge: SquaredHinge,
    categorical_hinge: CategoricalHinge,
    kl_divergence: KLDivergence,
    poisson: Poisson,
    cosine_similarity: CosineSimilarity,
    categorical_focal_crossentropy: CategoricalFocalCrossentropy,
    categorical_generalized_cross_entropy: CategoricalGeneralizedCrossEntropy,
    dice: Dice,
    tversky: Tversky,
    circle: Circle,
}
mse = MSE = mean_squared_error
mae = MAE = mean_absolute_error
mape = MAPE = mean_absolute_percentage_error
msle = MSLE = mean_squared_logarithmic_error
kld = KLD = kullback_leibler_divergence = kl_divergence
logcosh = log_cosh
bce = BCE = binary_crossentropy
_NAMES: dict[str, type[Loss]] = {
    **{function.__name__: kind for function, kind in _FUNCTIONS.items()},
    **{kind.__name__: kind for kind in _FUNCTIONS.values()},
    "huber_loss": Huber,
    **dict.fromkeys(("mse", "MSE"), MeanSquaredError),
    **dict.fromkeys(("mae", "MAE"), MeanAbsoluteError),
    **dict.fromkeys(("mape", "MAPE"), MeanAbsolutePercentageError),
    **dict.fromkeys(("msle", "MSLE"), MeanSquaredLogarithmicError),
    **dict.fromkeys(("kld", "KLD", "kullback_leibler_divergence"), KLDivergence),
    **dict.fromkeys(("bce", "BCE"), BinaryCrossentropy),
    "logcosh": LogCosh,
}
# Losses of nn.functional take the prediction first, and give nonsense in this place.
_OTHER_ORDER = {
    getattr(functional, name)
    for name in dir(functional)
    if name.endswith(("_loss", "_entropy", "_logits", "kl_div"))
    and callable(getattr(functional, name))
}


def get(loss: Any) -> Any:
    """The loss of a name, a class, a config, one of the functions, or the user's own function.

    Examples
    --------
    >>> keras.losses.get("mse").name
    'mean_squared_error'
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, dict) and "class_name" in loss:
        options = loss.get("config") or {}
        kind = _NAMES[loss["class_name"]]
        return kind(**(options if isinstance(options, dict) else {}))
    if isinstance(loss, str):
        if loss not in _NAMES:
            allowed = ", ".join(repr(function.__name__) for function in _FUNCTIONS)
            raise ValueError(f"loss {loss!r} is unknown; allowed are {allowed}, 'mse' and 'mae'")
        return _NAMES[loss]()
    if isinstance(loss, type) and issubclass(loss, Loss):
        return loss()
    if isinstance(loss, type) or not callable(loss):
        raise TypeError(f"loss must be a name or a function, got {type(loss).__name__}")
    try:
        known = loss in _FUNCTIONS, loss in _OTHER_ORDER
    except TypeError:
        known = False, False
    if known[0]:
        return _FUNCTIONS[loss]()
    if known[1]:
        raise TypeError(
            f"loss {loss.__name__} of nn.functional takes the prediction first, a loss of Keras "
            "the target; use one of gputensor.keras.losses"
        )
    return _Function(loss, getattr(loss, "name", None))


deserialize = get


def serialize(loss: Any) -> Any:
    """Class and settings of a loss, or the name of a function, as :func:`get` takes them.

    Examples
    --------
    >>> keras.losses.serialize(keras.losses.MeanSquaredError())["class_name"]
    'MeanSquaredError'
    """
    if not isinstance(loss, Loss):
        return getattr(loss, "__name__", loss)
    return {
        "module": "keras.losses",
        "class_name": type(loss).__name__,
        "config": loss.get_config(),
        "registered_name": None,
    }


__getattr__ = lacking(
    __name__,
    dict.fromkeys(
        ("CTC", "ctc"),
        "a cross-entropy of aligned labels: series without alignment are not supported",
    ),
)
