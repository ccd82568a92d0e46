"""Softmax and its logarithm along rows."""

from pathlib import Path
from typing import Any

import numpy as np

from gputensor.backend import Array, namespace
from gputensor.kernels.cpu_math import exp, row_max
from gputensor.kernels.declare import kernel
from gputensor.kernels.rows import row_layout
from gputensor.kernels.runtime import ALL_FLOATS, LOOP_FLOATS, Loop, narrow, split, widen
from gputensor.kernels.source import CudaSource, c_type

__all__ = ["row_softmax", "row_softmax_backward"]

_GRAIN = 1 << 14  # elements that are worth a CPU thread
_SOURCE = CudaSource(Path(__file__).with_suffix(".cu"))


@Loop
def _softmax_loop(start, stop, x, out, logarithm):  # type: ignore[no-untyped-def]
    zero, one = x.dtype.type(0), x.dtype.type(1)
    for i in range(start, stop):
        row, target = x[i], out[i]
        top = row_max(row)
        total = zero
        if logarithm:
            for j in range(target.size):
                total += exp(row[j] - top)
            log_total = np.log(total)
            for j in range(target.size):
                target[j] = row[j] - top - log_total
        else:
            for j in range(target.size):
                target[j] = exp(row[j] - top)
            for j in range(target.size):  # by itself: see Loop
                total += target[j]
            scale = one / total
            for j in range(target.size):
                target[j] *= scale


@Loop
def _backward_loop(start, stop, g, out, dx, logarithm):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        d, y, target = g[i], out[i], dx[i]
        total = g.dtype.type(0)
        if logarithm:
            for j in range(target.size):
                total += d[j]
            for j in range(target.size):
                target[j] = d[j] - exp(y[j]) * total
        else:
            for j in range(target.size):
                total += d[j] * y[j]
            for j in range(target.size):
                target[j] = y[j] * (d[j] - total)


def _forward_on_cpu(x: Array, *, logarithm: bool = False) -> Array:
    out = np.empty_like(x)
    split(_softmax_loop, len(x), _GRAIN // x.shape[1] + 1, x, out, logarithm)
    return out


def _forward_on_cuda(source: CudaSource, x: Array, *, logarithm: bool = False) -> Array:
    out = namespace(x).empty_like(x)
    layout, shape = row_layout(x)
    entry = f"softmax<{c_type(x.dtype)}, {layout}, {int(logarithm)}>"
    source.launch(entry, (x, out, *x.shape), **shape)
    return out


def _vjp(_xp: Any, g: Array, out: Array, _x: Array, *, logarithm: bool = False) -> Array:
    return row_softmax_backward.raw(g, out, logarithm=logarithm)


@kernel(
    source=_SOURCE,
    cuda=_forward_on_cuda,
    loop=_forward_on_cpu,
    vjp=_vjp,
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
)
def row_softmax(xp: Any, x: Any, *, logarithm: bool = False) -> Any:
    """``exp(x) / sum(exp(x))`` along the rows of a matrix, without overflow.

    Parameters
    ----------
    x : array of shape (rows, columns)
        ``columns`` at least 1.
    logarithm : bool
        Give the logarithm of it instead.

    Returns
    -------
    array of the shape of `x`
        A row with NaN or plus infinity is all NaN.

    Examples
    --------
    >>> gt.kernels.row_softmax(gt.tensor([[0.0, 1.0]]))
    tensor([[0.26894143, 0.7310586 ]], dtype=float32)
    """
    wide = widen(xp, x)
    shifted = wide - xp.max(wide, axis=1, keepdims=True)
    exps = xp.exp(shifted)
    total = xp.sum(exps, axis=1, keepdims=True)
    return narrow(xp, shifted - xp.log(total) if logarithm else exps / total, x)


def _backward_on_cpu(g: Array, out: Array, *, logarithm: bool = False) -> Array:
    dx = np.empty_like(g)
    split(_backward_loop, len(g), _GRAIN // g.shape[1] + 1, g, out, dx, logarithm)
    return dx


def _backward_on_cuda(
    source: CudaSource, g: Array, out: Array, *, logarithm: bool = False
) -> Array:
    dx = namespace(g).empty_like(g)
    layout, shape = row_layout(g, out)
    entry = f"softmax_backward<{c_type(g.dtype)}, {layout}, {int(logarithm)}>"
    source.launch(entry, (g, out, dx, *g.shape), **shape)
    return dx


@kernel(
    source=_SOURCE,
    cuda=_backward_on_cuda,
    loop=_backward_on_cpu,
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
)
def row_softmax_backward(xp: Any, g: Any, out: Any, *, logarithm: bool = False) -> Any:
    r"""Gradient towards ``x`` of :func:`row_softmax`.

    :math:`y_j (g_j - \sum_k g_k y_k)`, and :math:`g_j - e^{y_j} \sum_k g_k` of the logarithm.

    Parameters
    ----------
    g, out : arrays of shape (rows, columns)
        Gradient of the result, and the result.
    logarithm : bool

    Returns
    -------
    array of shape (rows, columns)

    Examples
    --------
    >>> y = gt.kernels.row_softmax.raw(np.zeros((1, 2), "f"))
    >>> gt.kernels.row_softmax_backward.raw(np.array([[1.0, 0.0]], "f"), y)
    array([[ 0.25, -0.25]], dtype=float32)
    """
    d, y = widen(xp, g), widen(xp, out)
    if logarithm:
        dx = d - xp.exp(y) * xp.sum(d, axis=1, keepdims=True)
    else:
        dx = y * (d - xp.sum(d * y, axis=1, keepdims=True))
    return narrow(xp, dx, g)
