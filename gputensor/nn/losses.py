"""Losses beside cross-entropy, named and reduced as PyTorch's."""

import math
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Operand, Primitive, Tensor, wrap
from gputensor.backend import is_narrow
from gputensor.errors import DTypeError, LabelError, ShapeError
from gputensor.kernels.flags import Flag
from gputensor.ops.choices import equal, where
from gputensor.ops.creation import asarray
from gputensor.ops.data_type import astype
from gputensor.ops.elementwise import abs as absolute
from gputensor.ops.elementwise import (
    exp,
    log,
    logistic,
    maximum,
    minimum,
    multiply,
    softplus,
    sqrt,
    square,
    subtract,
)
from gputensor.ops.indexing import take, take_along_axis
from gputensor.ops.manipulation import permute_dims, reshape
from gputensor.ops.nn import cross_entropy as _fused_cross_entropy
from gputensor.ops.nn import log_softmax
from gputensor.ops.precision import widened
from gputensor.ops.statistical import mean
from gputensor.ops.statistical import sum as total
from gputensor.options import number

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "margin_ranking_loss",
    "mse_loss",
    "multi_margin_loss",
    "nll_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
]


def _pair(name: str, prediction: Operand, target: Operand) -> tuple[Any, Any, Any]:
    """Both as tensors of one shape on one device, and the dtype of the loss if it is another.

    Those of 16 bits are taken in float32, and under autocast stay so.

    Raises
    ------
    ShapeError
        If they differ in shape: broadcasting would hide a mistake.
    """
    x = asarray(prediction)
    y = target if isinstance(target, Tensor) else asarray(target, device=x.device)
    if x.shape != y.shape:
        raise ShapeError(
            f"{name}: prediction has shape {x.shape}, target {y.shape}; they must be equal"
        )
    x, y = widened(x), widened(y)
    if x.dtype == y.dtype and is_narrow(x.dtype):
        return astype(x, np.float32), astype(y, np.float32), x.dtype
    return x, y, None


def _explain(row: int, label: int, classes: int) -> LabelError:
    return LabelError(
        f"nll_loss: row {row} has label {label}; labels must be in the range 0 to {classes - 1}, "
        f"as there are {classes} classes"
    )


_flag = Flag(_explain)


_REDUCTIONS = {"mean": mean, "none": lambda losses: losses, "sum": total}


def _reduced(name: str, losses: Tensor, reduction: str, dtype: Any = None) -> Tensor:
    if reduction not in _REDUCTIONS:
        raise ValueError(
            f"{name}: reduction {reduction!r} is unknown; allowed are 'mean', 'sum' and 'none'"
        )
    found = _REDUCTIONS[reduction](losses)
    return found if dtype is None else astype(found, dtype)


def mse_loss(prediction: Operand, target: Operand, *, reduction: str = "mean") -> Tensor:
    """Squared difference ``(prediction - target)**2``.

    Parameters
    ----------
    prediction : Tensor
    target : Tensor or array of the shape of `prediction`
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor
        Of shape (), or that of `prediction` with ``reduction="none"``.

    Raises
    ------
    ShapeError
        If the shapes differ.

    Examples
    --------
    >>> gt.nn.functional.mse_loss(gt.tensor([1.0, 3.0]), gt.tensor([0.0, 0.0]))
    tensor(5., dtype=float32)
    """
    x, y, dtype = _pair("mse_loss", prediction, target)
    return _reduced("mse_loss", square(subtract(x, y)), reduction, dtype)


def l1_loss(prediction: Operand, target: Operand, *, reduction: str = "mean") -> Tensor:
    """Absolute difference; parameters as for :func:`mse_loss`. Its gradient at 0 is 0.

    Examples
    --------
    >>> gt.nn.functional.l1_loss(gt.tensor([1.0, 3.0]), gt.tensor([0.0, 0.0]))
    tensor(2., dtype=float32)
    """
    x, y, dtype = _pair("l1_loss", prediction, target)
    return _reduced("l1_loss", absolute(subtract(x, y)), reduction, dtype)


def huber_loss(
    prediction: Operand, target: Operand, *, delta: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """``d**2 / 2`` for differences up to `delta`, ``delta * (|d| - delta / 2)`` above (Huber 1964).

    Other parameters are those of :func:`mse_loss`.

    Raises
    ------
    ValueError
        If `delta` is not above 0.

    Examples
    --------
    >>> gt.nn.functional.huber_loss(gt.tensor([0.5, 3.0]), gt.tensor([0.0, 0.0]))
    tensor(1.3125, dtype=float32)
    """
    if not delta > 0:
        raise ValueError(f"huber_loss: delta is {delta}; it must be above 0")
    x, y, dtype = _pair("huber_loss", prediction, target)
    distance = absolute(subtract(x, y))
    near = minimum(distance, delta)  # one formula for both: near * (distance - near / 2)
    return _reduced("huber_loss", multiply(near, distance - 0.5 * near), reduction, dtype)


def _bce_forward(xp: Any, x: Any, t: Any) -> Any:
    # softplus(x) - x * t, without its difference of large numbers, and of infinities.
    size, missing = xp.abs(x), xp.where(x > 0, 1 - t, t)
    with np.errstate(invalid="ignore"):
        linear = xp.where(missing == 0, 0, size * missing)
    return linear + xp.log1p(xp.exp(-size))


_bce = Primitive(
    "binary_cross_entropy_with_logits",
    _bce_forward,
    (
        lambda xp, g, _out, x, t: g * ((1 - t) * logistic(xp, x) - t * logistic(xp, -x)),
        lambda xp, g, _out, x, _t: -g * x,
    ),
)


def binary_cross_entropy_with_logits(
    logits: Operand,
    target: Operand,
    weight: Operand | None = None,
    *,
    pos_weight: Operand | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy of ``sigmoid(logits)`` against probabilities, without overflow.

    ``softplus(x) - x * t``; `target` is from 0 to 1, `weight` multiplies the losses and
    `pos_weight` the part of `target` alone; other parameters are those of :func:`mse_loss`. A
    logit of infinity is certainty: right it costs nothing, wrong infinity.

    Examples
    --------
    >>> gt.nn.functional.binary_cross_entropy_with_logits(gt.tensor([0.0]), gt.tensor([1.0]))
    tensor(0.6931472, dtype=float32)
    """
    x, t, dtype = _pair(_bce.name, logits, target)
    if "c" in (x.dtype.kind, t.dtype.kind):
        raise DTypeError(f"{_bce.name}: logits and target must be real, got {x.dtype}, {t.dtype}")
    each = _bce(x, t)
    if pos_weight is not None:
        more = asarray(pos_weight, device=x.device) - 1
        each = each + multiply(multiply(more, t), softplus(-x))
    if weight is not None:
        each = multiply(each, asarray(weight, device=x.device))
    return _reduced(_bce.name, each, reduction, dtype)


def kl_div(
    log_prediction: Operand,
    target: Operand,
    *,
    log_target: bool = True,
    reduction: str = "mean",
) -> Tensor:
    """Kullback-Leibler divergence ``exp(t) * (t - x)`` of logarithms of probabilities.

    Parameters are those of :func:`mse_loss`; without `log_target` the target holds probabilities
    themselves. A target of probability 0 adds 0. The divergence of distributions is the sum over
    their elements, so for a batch it is the result with ``reduction="batchmean"``.

    Examples
    --------
    >>> p = gt.tensor([[0.5, 0.5]])
    >>> gt.nn.functional.kl_div(gt.log(p), p, reduction="batchmean")
    tensor(3.934334, dtype=float32)
    """
    x, t, dtype = _pair("kl_div", log_prediction, target)
    empty = equal(t, -math.inf if log_target else 0)
    x = where(empty, 0.0, x)  # so that no gradient becomes NaN either
    if log_target:
        t = where(empty, 0.0, t)
        each = multiply(exp(t), subtract(t, x))
    else:
        each = multiply(t, subtract(log(where(empty, 1.0, t)), x))
    if reduction == "batchmean":
        return _reduced("kl_div", each, "sum", dtype) / x.shape[0]
    return _reduced("kl_div", each, reduction, dtype)


def _rows(name: str, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Scores as (rows, classes) and labels as (rows,), of shapes (n, classes, ...) and (n, ...)."""
    if x.ndim == 1 and labels.ndim == 0:
        return reshape(x, (1, -1)), reshape(labels, (1,))
    if x.ndim < 2 or labels.shape != (x.shape[0], *x.shape[2:]):
        raise ShapeError(
            f"{name}: log_probabilities have shape {x.shape}, target {labels.shape}; they must be "
            "(rows, classes) and (rows,), or (n, classes, ...) and (n, ...)"
        )
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"{name}: target must be class labels, integers, not {labels.dtype}")
    if x.ndim > 2:
        x = reshape(permute_dims(x, (0, *range(2, x.ndim), 1)), (-1, x.shape[1]))
    return x, reshape(labels, (-1,))


def nll_loss(
    log_probabilities: Operand,
    target: Operand,
    weight: Operand | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Negative logarithm of each target's probability; from logits use :func:`cross_entropy`.

    Parameters
    ----------
    log_probabilities : Tensor of shape (rows, classes), or (n, classes, ...)
        As of ``log_softmax``.
    target : Tensor or array of integers of shape (rows,), or (n, ...)
        Class labels in ``[0, classes)``.
    weight : Tensor of shape (classes,), optional
        Of each class; the mean is over the weights of the targets then.
    ignore_index : int
        Label of rows that do not count: their loss is 0, and the mean is over the others.
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor
        Of shape (), or that of `target` with ``reduction="none"``.

    Raises
    ------
    ShapeError, DTypeError
        If they do not fit.
    LabelError
        If a label is not in ``[0, classes)``: on the CPU at once; on CUDA when the host next reads
        a value, the loss of that row being NaN.

    Examples
    --------
    >>> gt.nn.functional.nll_loss(gt.log(gt.tensor([[0.5, 0.5]])), gt.tensor([0]))
    tensor(0.6931472, dtype=float32)
    """
    scores = asarray(log_probabilities)
    given = target if isinstance(target, Tensor) else asarray(target, device=scores.device)
    x, labels = _rows("nll_loss", scores, given)
    backend.same_device("nll_loss", [x.array, labels.array])
    counted = labels != ignore_index
    known = where(counted, labels, 0)
    with backend.on_device_of(x.array):
        inside = wrap(_flag.check(known.array, x.shape[1]))
    known = where(inside, known, 0)
    chosen = reshape(take_along_axis(x, reshape(known, (-1, 1)), axis=1), (-1,))
    each = where(inside, -chosen, math.nan)
    shares = astype(counted, x.dtype)
    if weight is not None:
        weights = asarray(weight, device=x.device)
        if weights.shape != (x.shape[1],):
            raise ShapeError(
                f"nll_loss: weight has shape {weights.shape}; it must be ({x.shape[1]},)"
            )
        shares = multiply(shares, astype(take(weights, known, axis=0), x.dtype))
        each = multiply(each, shares)
    each = where(counted, each, 0.0)
    if reduction == "mean":
        return total(each) / total(shares)
    return _reduced("nll_loss", reshape(each, given.shape), reduction)


def cross_entropy(
    logits: Operand,
    target: Operand,
    weight: Operand | None = None,
    *,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    r"""Cross-entropy of ``softmax(logits)`` against class labels or probabilities.

    Loss and gradient come from one pass over the logits,
    :math:`L = \sum_j q_j (\log\sum_k e^{x_k} - x_j)` for each row.

    Parameters
    ----------
    logits : Tensor of shape (rows, classes), or (n, classes, ...)
    target : Tensor or array of shape (rows,) or (n, ...), or of the shape of `logits`
        Class labels (integers), or probabilities :math:`q`.
    weight : Tensor of shape (classes,), optional
        Of each class; with labels the mean is over the weights of the targets then.
    ignore_index : int, optional
        Label of rows that do not count. By default it is -100 where the host may look at the
        labels; on CUDA, and in captured functions, -100 has to be given, as it costs launches.
    label_smoothing : float
        Share of each target's mass that is spread evenly over the classes, in [0, 1].
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor
        Of shape (), or that of the labels with ``reduction="none"``.

    Raises
    ------
    LabelError
        If a label is not in ``[0, classes)``: on the CPU at once; on CUDA when the host next reads
        a value, the loss of that row being NaN.
    ShapeError, DTypeError
        If logits and target do not fit.

    Examples
    --------
    >>> gt.nn.functional.cross_entropy(gt.tensor([[2.0, 0.0], [0.0, 2.0]]), gt.tensor([0, 1]))
    tensor(0.12692805, dtype=float32)
    """
    x = asarray(logits)
    some_left_out = _has_label(target, ignore_index)
    plain = weight is None and x.ndim == 2 and not some_left_out
    ignore_index = -100 if ignore_index is None else ignore_index
    if plain or not x.ndim or (x.ndim == 1 and _axes_of(target)):
        return _fused_cross_entropy(x, target, label_smoothing=label_smoothing, reduction=reduction)
    given = target if isinstance(target, Tensor) else asarray(target, device=x.device)
    if weight is None and x.ndim == 2 and given.ndim == 1:
        counted = given != ignore_index
        each = _fused_cross_entropy(
            x, where(counted, given, 0), label_smoothing=label_smoothing, reduction="none"
        )
        each = where(counted, each, 0.0)
        if reduction == "mean":
            return total(each) / total(astype(counted, each.dtype))
        return _reduced("cross_entropy", each, reduction)
    logs = log_softmax(x, axis=1 if x.ndim > 1 else 0)
    smooth = number("cross_entropy", "label_smoothing", label_smoothing)
    if given.shape == x.shape:
        shares = astype(given, x.dtype) * (1 - smooth) + smooth / x.shape[1]
        each = -total(multiply(_weighted(logs, weight), shares), axis=1)
        return _reduced("cross_entropy", each, reduction)
    if smooth == 0:
        return nll_loss(logs, given, weight, ignore_index=ignore_index, reduction=reduction)
    each = nll_loss(logs, given, weight, ignore_index=ignore_index, reduction="none")
    counted = given != ignore_index
    spread = where(counted, -mean(_weighted(logs, weight), axis=1), 0.0)
    each = (1 - smooth) * each + smooth * spread
    if reduction == "mean":
        ones = astype(counted, x.dtype)
        if weight is not None:
            known = where(counted, given, 0)
            ones = multiply(ones, take(asarray(weight, device=x.device), known, axis=0))
        return total(each) / total(ones)
    return _reduced("cross_entropy", each, reduction)


def _axes_of(target: Any) -> int:
    return np.ndim(getattr(target, "array", target))


def _has_label(target: Any, label: int | None) -> bool:
    """Whether rows may be left out.

    The host does not look at labels on CUDA, nor while a graph is recorded: there -100, unless it
    is given, is an error as other labels out of range are.
    """
    raw = target.array if isinstance(target, Tensor) else target
    kind = getattr(getattr(raw, "dtype", None), "kind", "")
    if kind in "fVub" and kind:
        return False
    if isinstance(raw, np.ndarray) or not kind:
        return bool(np.any(np.asarray(raw) == (-100 if label is None else label)))
    return label is not None


def _weighted(logs: Tensor, weight: Operand | None) -> Tensor:
    if weight is None:
        return logs
    along = (-1, *(1 for _ in logs.shape[2:]))
    return multiply(logs, reshape(asarray(weight, device=logs.device), along))


def smooth_l1_loss(
    prediction: Operand, target: Operand, *, beta: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """:func:`huber_loss` over `beta`, its width; with 0 :func:`l1_loss` (Girshick 2015).

    Examples
    --------
    >>> gt.nn.functional.smooth_l1_loss(gt.tensor([0.5, 3.0]), gt.tensor([0.0, 0.0]))
    tensor(1.3125, dtype=float32)
    """
    if beta == 0:
        return l1_loss(prediction, target, reduction=reduction)
    return huber_loss(prediction, target, delta=beta, reduction=reduction) / beta


def _logs_forward(xp: Any, p: Any, t: Any) -> Any:
    with np.errstate(divide="ignore"):
        yes, no = xp.maximum(xp.log(p), -100), xp.maximum(xp.log1p(-p), -100)
    return -(t * yes + (1 - t) * no)


_bce_of_probabilities = Primitive(
    "binary_cross_entropy",
    _logs_forward,
    (
        lambda xp, g, _out, p, t: g * ((p - t) / xp.maximum(p * (1 - p), 1e-12)),
        lambda xp, g, _out, p, _t: g * (xp.log1p(-p) - xp.log(p)),
    ),
)


def _inside(xp: Any, p: Any) -> Any:
    """Probabilities kept 1e-7 away from 0 and 1, as Keras does."""
    return xp.minimum(xp.maximum(p, 1e-7), 1 - 1e-7)


def _clipped_forward(xp: Any, p: Any, t: Any) -> Any:
    p = _inside(xp, p)
    right = xp.log(p)
    right *= t
    wrong = xp.log1p(-p)
    wrong *= 1 - t
    right += wrong
    return xp.negative(right)


def _clipped_rule(xp: Any, g: Any, _out: Any, p: Any, t: Any) -> Any:
    q = _inside(xp, p)
    return xp.where(xp.equal(p, q), g * ((q - t) / (q * (1 - q))), 0)


clipped_binary_cross_entropy = Primitive(
    "clipped_binary_cross_entropy",
    _clipped_forward,
    (
        _clipped_rule,
        lambda xp, g, _out, p, _t: g * (xp.log1p(-_inside(xp, p)) - xp.log(_inside(xp, p))),
    ),
)


def binary_cross_entropy(
    probabilities: Operand,
    target: Operand,
    weight: Operand | None = None,
    *,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy of probabilities; see :func:`binary_cross_entropy_with_logits`, too.

    ``-(t log(p) + (1 - t) log(1 - p))``, logarithms of -100 at least, as in PyTorch. `weight`
    multiplies the losses; other parameters are those of :func:`mse_loss`.

    Examples
    --------
    >>> gt.nn.functional.binary_cross_entropy(gt.tensor([0.9, 0.1]), gt.tensor([1.0, 0.0]))
    tensor(0.10536054, dtype=float32)
    """
    name = "binary_cross_entropy"
    p, t, dtype = _pair(name, probabilities, target)
    each = _bce_of_probabilities(p, t)
    if weight is not None:
        each = multiply(each, asarray(weight, device=p.device))
    return _reduced(name, each, reduction, dtype)


def cosine_similarity(x: Operand, y: Operand, *, axis: int = 1, eps: float = 1e-8) -> Tensor:
    """``sum(x * y) / (|x| |y|)`` along `axis`; norms are `eps` at least.

    Examples
    --------
    >>> gt.nn.functional.cosine_similarity(gt.tensor([[1.0, 0.0]]), gt.tensor([[1.0, 1.0]]))
    tensor([0.70710677], dtype=float32)
    """
    x, y = widened(asarray(x)), widened(asarray(y))
    norms = [maximum(sqrt(total(square(a), axis=axis)), eps) for a in (x, y)]
    return total(multiply(x, y), axis=axis) / multiply(*norms)


def cosine_embedding_loss(
    x: Operand, y: Operand, target: Operand, *, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """``1 - cos`` of rows whose target is 1, ``max(cos - margin, 0)`` where it is -1.

    Examples
    --------
    >>> x = gt.tensor([[1.0, 0.0]])
    >>> gt.nn.functional.cosine_embedding_loss(x, x, gt.tensor([1.0]))
    tensor(0., dtype=float32)
    """
    cosine = cosine_similarity(x, y)
    each = where(asarray(target) > 0, 1 - cosine, maximum(cosine - margin, 0.0))
    return _reduced("cosine_embedding_loss", each, reduction)


def hinge_embedding_loss(
    x: Operand, target: Operand, *, margin: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """`x`, a distance, where the target is 1; ``max(margin - x, 0)`` where it is -1.

    Examples
    --------
    >>> gt.nn.functional.hinge_embedding_loss(gt.tensor([0.5, 0.5]), gt.tensor([1.0, -1.0]))
    tensor(0.5, dtype=float32)
    """
    x = asarray(x)
    each = where(asarray(target) > 0, x, maximum(margin - x, 0.0))
    return _reduced("hinge_embedding_loss", each, reduction)


def margin_ranking_loss(
    x: Operand, y: Operand, target: Operand, *, margin: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """``max(margin - target * (x - y), 0)``: with target 1 `x` shall be the larger.

    Examples
    --------
    >>> gt.nn.functional.margin_ranking_loss(gt.tensor([1.0]), gt.tensor([3.0]), gt.tensor([1.0]))
    tensor(2., dtype=float32)
    """
    distance = subtract(asarray(x), asarray(y))
    each = maximum(margin - multiply(asarray(target), distance), 0.0)
    return _reduced("margin_ranking_loss", each, reduction)


def soft_margin_loss(x: Operand, target: Operand, *, reduction: str = "mean") -> Tensor:
    """``log(1 + exp(-target * x))`` with targets 1 and -1.

    Examples
    --------
    >>> gt.nn.functional.soft_margin_loss(gt.tensor([0.0]), gt.tensor([1.0]))
    tensor(0.6931472, dtype=float32)
    """
    x, y, dtype = _pair("soft_margin_loss", x, target)
    return _reduced("soft_margin_loss", softplus(-multiply(y, x)), reduction, dtype)


def multi_margin_loss(
    x: Operand, target: Operand, *, margin: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """Mean over the other classes of ``max(margin - x[target] + x[class], 0)``.

    Examples
    --------
    >>> gt.nn.functional.multi_margin_loss(gt.tensor([[0.1, 0.9]]), gt.tensor([1]))
    tensor(0.10000002, dtype=float32)
    """
    x, labels = _rows("multi_margin_loss", asarray(x), asarray(target))
    chosen = take_along_axis(x, reshape(labels, (-1, 1)), axis=1)
    each = total(maximum(margin - chosen + x, 0.0), axis=1) - max(margin, 0.0)
    return _reduced("multi_margin_loss", each / x.shape[1], reduction)


def triplet_margin_loss(
    anchor: Operand,
    positive: Operand,
    negative: Operand,
    *,
    margin: float = 1.0,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """``max(|a - p| - |a - n| + margin, 0)`` of rows (Schroff et al. 2015).

    Examples
    --------
    >>> a, p, n = gt.zeros((1, 2)), gt.zeros((1, 2)), gt.ones((1, 2))
    >>> gt.nn.functional.triplet_margin_loss(a, p, n).shape
    ()
    """
    a, p, n = (asarray(x) for x in (anchor, positive, negative))
    near, far = (sqrt(total(square(a - other + eps), axis=-1)) for other in (p, n))
    return _reduced("triplet_margin_loss", maximum(near - far + margin, 0.0), reduction)


def poisson_nll_loss(
    prediction: Operand,
    target: Operand,
    *,
    log_input: bool = True,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    """``exp(x) - t * x`` of logarithms of rates, or ``x - t * log(x + eps)`` of rates.

    Examples
    --------
    >>> gt.nn.functional.poisson_nll_loss(gt.tensor([0.0]), gt.tensor([1.0]))
    tensor(1., dtype=float32)
    """
    x, t, dtype = _pair("poisson_nll_loss", prediction, target)
    each = exp(x) - multiply(t, x) if log_input else x - multiply(t, log(x + eps))
    return _reduced("poisson_nll_loss", each, reduction, dtype)
