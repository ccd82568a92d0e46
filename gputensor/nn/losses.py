"""Losses beside cross-entropy, named and reduced as PyTorch's."""

import math
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Operand, Primitive, Tensor, wrap
from gputensor.backend import is_narrow
from gputensor.errors import DTypeError, LabelError, ShapeError
from gputensor.kernels.flags import Flag
from gputensor.ops.creation import asarray
from gputensor.ops.data_type import astype
from gputensor.ops.elementwise import abs as absolute
from gputensor.ops.elementwise import (
    equal,
    exp,
    logistic,
    minimum,
    multiply,
    square,
    subtract,
    where,
)
from gputensor.ops.indexing import take_along_axis
from gputensor.ops.manipulation import reshape
from gputensor.ops.precision import widened
from gputensor.ops.statistical import mean
from gputensor.ops.statistical import sum as total

__all__ = [
    "binary_cross_entropy_with_logits",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "mse_loss",
    "nll_loss",
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
    """
    x, y, dtype = _pair("mse_loss", prediction, target)
    return _reduced("mse_loss", square(subtract(x, y)), reduction, dtype)


def l1_loss(prediction: Operand, target: Operand, *, reduction: str = "mean") -> Tensor:
    """Absolute difference; parameters as for :func:`mse_loss`. Its gradient at 0 is 0."""
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
    logits: Operand, target: Operand, *, reduction: str = "mean"
) -> Tensor:
    """Cross-entropy of ``sigmoid(logits)`` against probabilities, without overflow.

    ``softplus(x) - x * t``; `target` is from 0 to 1, other parameters are those of
    :func:`mse_loss`. A logit of infinity is certainty: right it costs nothing, wrong infinity.
    """
    x, t, dtype = _pair(_bce.name, logits, target)
    if "c" in (x.dtype.kind, t.dtype.kind):
        raise DTypeError(f"{_bce.name}: logits and target must be real, got {x.dtype}, {t.dtype}")
    return _reduced(_bce.name, _bce(x, t), reduction, dtype)


def kl_div(log_prediction: Operand, log_target: Operand, *, reduction: str = "mean") -> Tensor:
    """Kullback-Leibler divergence ``exp(t) * (t - x)`` of logarithms of probabilities.

    Parameters are those of :func:`mse_loss`; a target of minus infinity adds 0. The divergence of
    distributions is the sum over their elements, so for a batch of n it is the result with
    ``reduction="sum"`` over n.
    """
    x, t, dtype = _pair("kl_div", log_prediction, log_target)
    empty = equal(t, -math.inf)
    x, t = where(empty, 0.0, x), where(empty, 0.0, t)  # so that no gradient becomes NaN either
    return _reduced("kl_div", multiply(exp(t), subtract(t, x)), reduction, dtype)


def nll_loss(log_probabilities: Operand, target: Operand, *, reduction: str = "mean") -> Tensor:
    """Negative logarithm of each target's probability; from logits use ``cross_entropy``.

    Parameters
    ----------
    log_probabilities : Tensor of shape (rows, classes)
        As of ``log_softmax``.
    target : Tensor or array of integers of shape (rows,)
        Class labels in ``[0, classes)``.
    reduction : {"mean", "sum", "none"}

    Returns
    -------
    Tensor
        Of shape (), or (rows,) with ``reduction="none"``.

    Raises
    ------
    ShapeError, DTypeError
        If they do not fit.
    LabelError
        If a label is not in ``[0, classes)``: on the CPU at once; on CUDA when the host next reads
        a value, the loss of that row being NaN.
    """
    x = asarray(log_probabilities)
    labels = target if isinstance(target, Tensor) else asarray(target, device=x.device)
    if x.ndim != 2 or labels.shape != x.shape[:1]:
        raise ShapeError(
            f"nll_loss: log_probabilities have shape {x.shape}, target {labels.shape}; they must "
            "be (rows, classes) and (rows,)"
        )
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"nll_loss: target must be class labels, integers, not {labels.dtype}")
    backend.same_device("nll_loss", [x.array, labels.array])
    with backend.on_device_of(x.array):
        inside = wrap(_flag.check(labels.array, x.shape[1]))
    chosen = take_along_axis(x, reshape(where(inside, labels, 0), (-1, 1)), axis=1)
    return _reduced("nll_loss", where(inside, -reshape(chosen, (-1,)), math.nan), reduction)
