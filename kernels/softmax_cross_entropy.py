"""Softmax cross-entropy: losses, their gradient and the count of right answers in one pass."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gputensor.backend import Array, namespace
from gputensor.errors import LabelError
from gputensor.kernels.cpu_math import exp, row_max
from gputensor.kernels.declare import kernel
from gputensor.kernels.flags import Flag
from gputensor.kernels.rows import row_layout
from gputensor.kernels.runtime import ALL_FLOATS, LOOP_FLOATS, Loop, split, widen
from gputensor.kernels.scratch import zeros
from gputensor.kernels.source import CudaSource, c_type

__all__ = ["Result", "softmax_cross_entropy"]

_GRAIN = 1 << 13  # logits that are worth a CPU thread


class Result(NamedTuple):
    """What one pass over the logits gives.

    Attributes
    ----------
    losses : array of shape (rows,)
        NaN in rows whose label is out of range; float32 for logits of 16 bits.
    total : float64 array of shape ()
        Sum of the losses.
    correct : int64 array of shape ()
        Rows whose largest logit, the first of equals, is that of the target.
    grad : array of shape (rows, classes)
        Gradient of each row's loss towards its logits, times `scale`.
    """

    losses: Array
    total: Array
    correct: Array
    grad: Array


@Loop
def _label_loop(  # type: ignore[no-untyped-def]
    start, stop, logits, labels, smoothing, factor, losses, grad, correct
):
    classes = logits.shape[1]
    zero, one = logits.dtype.type(0), logits.dtype.type(1)
    share = smoothing / logits.dtype.type(classes)
    for i in range(start, stop):
        x, d = logits[i], grad[i]
        top = row_max(x)
        total = zero
        for j in range(classes):
            d[j] = exp(x[j] - top)
        for j in range(classes):  # by itself: see Loop
            total += d[j]
        log_total = np.log(total)  # of logits less the largest, whose size would hide it
        scale = one / total
        correct[i] = False
        label = labels[i]
        if label < 0 or label >= classes:
            losses[i] = np.nan
            d[:] = np.nan
            continue
        loss = (one - smoothing) * (log_total - (x[label] - top))
        if smoothing > 0:
            spread = zero
            for j in range(classes):
                spread += log_total - (x[j] - top)
            loss += share * spread
        for j in range(classes):
            d[j] = d[j] * scale - share
        d[label] -= one - smoothing
        if factor != one:
            for j in range(classes):
                d[j] *= factor
        losses[i] = loss
        if x[label] == top and log_total == log_total:
            before = x[:label]
            equal = 0
            for j in range(before.size):
                equal += before[j] == top
            correct[i] = equal == 0


@Loop
def _weight_loop(  # type: ignore[no-untyped-def]
    start, stop, logits, weights, smoothing, factor, losses, grad, correct
):
    classes = logits.shape[1]
    zero, one = logits.dtype.type(0), logits.dtype.type(1)
    keep = one - smoothing
    share = smoothing / logits.dtype.type(classes)
    for i in range(start, stop):
        x, d, q = logits[i], grad[i], weights[i]
        top = row_max(x)
        total = zero
        for j in range(classes):
            d[j] = exp(x[j] - top)
        for j in range(classes):  # by itself: see Loop
            total += d[j]
        log_total = np.log(total)
        loss = zero
        mass = zero
        for j in range(classes):
            w = q[j] * keep + share
            mass += w
            # A class without weight adds nothing, even where its logit is minus infinity.
            loss += w * (log_total - (x[j] - top)) if w != 0 else zero
        scale = mass / total
        for j in range(classes):
            d[j] = d[j] * scale - (q[j] * keep + share)
        if factor != one:
            for j in range(classes):
                d[j] *= factor
        losses[i] = loss
        best = 0
        label = 0
        for j in range(1, classes):
            best = j if x[j] > x[best] else best
            label = j if q[j] > q[label] else label
        correct[i] = best == label and log_total == log_total


def _explain(row: int, label: int, classes: int) -> LabelError:
    return LabelError(
        f"cross-entropy: row {row} has label {label}; labels must be in the range 0 to "
        f"{classes - 1}, as there are {classes} classes"
    )


_flag = Flag(_explain)


def _on_cpu(
    logits: Array,
    target: Array,
    *,
    smoothing: float = 0.0,
    scale: float = 1.0,
    sums: Array | None = None,
) -> Result:
    rows, classes = logits.shape
    by_label = target.ndim == 1
    losses = np.empty(rows, logits.dtype)
    grad = np.empty_like(logits)
    right = np.empty(rows, np.bool_)
    number = logits.dtype.type
    loop = _label_loop if by_label else _weight_loop
    split(
        loop,
        rows,
        _GRAIN // classes + 1,
        *(logits, target, number(smoothing), number(scale), losses, grad, right),
    )
    # A label out of range leaves NaN, and so do NaN logits: only then look closer.
    total = losses.sum(dtype=np.float64)
    if by_label and total != total:
        _flag.check(target, classes)
    count = np.count_nonzero(right)
    if sums is not None:
        sums[0] += total
        for i in range(1, len(sums)):  # one or none: an element at a time is quicker
            sums[i] += count
    return Result(losses, np.asarray(total), np.asarray(count), grad)


def _on_cuda(
    source: CudaSource,
    logits: Array,
    target: Array,
    *,
    smoothing: float = 0.0,
    scale: float = 1.0,
    sums: Array | None = None,
) -> Result:
    xp = namespace(logits)
    rows, classes = logits.shape
    losses = xp.empty(rows, np.float64 if logits.dtype.char == "d" else np.float32)
    grad = xp.empty_like(logits)
    total = xp.empty((), np.float64)
    correct = xp.empty((), np.int64)
    args = (rows, classes, smoothing, scale, losses, grad, correct, total)
    args = (*args, sums, 0 if sums is None else len(sums), *zeros())
    name = c_type(logits.dtype)
    if target.ndim == 1:
        target = target.astype(np.int64, copy=False)
        layout, shape = row_layout(logits)
        entry = f"cross_entropy_labels<{name}, {layout}>"
        source.launch(entry, (logits, target, *args, _flag.on(target)), **shape)
    else:
        layout, shape = row_layout(logits, target)
        source.launch(f"cross_entropy_rows<{name}, {layout}>", (logits, target, *args), **shape)
    return Result(losses, total, correct, grad)


@kernel(
    source=Path(__file__).with_suffix(".cu"),
    cuda=_on_cuda,
    loop=_on_cpu,
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
    writes=("sums",),
    raises=True,
)
def softmax_cross_entropy(
    xp: Any,
    logits: Array,
    target: Array,
    *,
    smoothing: float = 0.0,
    scale: float = 1.0,
    sums: Array | None = None,
) -> Result:
    r"""Cross-entropy of ``softmax(logits)`` against a target, row by row.

    With target probabilities :math:`q` (1 for the label's class, else 0), smoothed to
    :math:`q' = (1 - s) q + s / C`, the loss is :math:`\sum_j q'_j (\log\sum_k e^{x_k} - x_j)` and
    its gradient :math:`\mathrm{softmax}(x)_j \sum_k q'_k - q'_j`.

    Parameters
    ----------
    logits : array of shape (rows, classes)
        ``classes`` at least 1.
    target : int array of shape (rows,) or array of shape (rows, classes)
        Class labels, or probabilities in the dtype of `logits`.
    smoothing : float
        :math:`s` in [0, 1].
    scale : float
        What the gradient is multiplied by.
    sums : float64 array of shape (1,) or (2,), optional
        To the first the sum of the losses is added, to the second the number of right answers.

    Returns
    -------
    Result

    Raises
    ------
    LabelError
        If a label is out of range: at once on the CPU, when the host next reads a value on CUDA.

    Examples
    --------
    >>> found = gt.kernels.softmax_cross_entropy.raw(np.zeros((1, 2), "f"), np.array([0]))
    >>> found.losses
    array([0.6931472], dtype=float32)
    """
    classes = logits.shape[1]
    by_label = target.ndim == 1
    x = widen(xp, logits)
    shifted = x - xp.max(x, axis=1, keepdims=True)  # the size of the logits would hide the losses
    exps = xp.exp(shifted)
    total = xp.sum(exps, axis=1, keepdims=True)
    minus_log_p = xp.log(total) - shifted
    if by_label:
        inside = _flag.check(target, classes)
        q = (xp.where(inside, target, 0)[:, None] == xp.arange(classes)).astype(x.dtype)
        q[~inside] = xp.nan
        answer = target
    else:
        q = widen(xp, target)
        answer = xp.argmax(target, axis=1)
    q = q * (1 - smoothing) + smoothing / classes
    losses = xp.sum(xp.where(q == 0, 0, q * minus_log_p), axis=1)
    grad = (exps / total * xp.sum(q, axis=1, keepdims=True) - q).astype(logits.dtype)
    if scale != 1:
        grad *= scale
    right = (xp.argmax(x, axis=1) == answer) & ~xp.isnan(total[:, 0])
    found = xp.sum(losses, dtype=np.float64), xp.sum(right, dtype=np.int64)
    if sums is not None:
        sums[:1] += found[0]
        sums[1:] += found[1]
    return Result(losses, *map(xp.asarray, found), grad)
