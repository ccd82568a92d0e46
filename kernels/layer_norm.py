"""Layer normalization (Ba et al. 2016) and RMS normalization (Zhang & Sennrich 2019) along rows."""

from pathlib import Path
from typing import Any

import numpy as np

from gputensor.autograd import Tensor
from gputensor.backend import Array, namespace
from gputensor.kernels.declare import kernel
from gputensor.kernels.rows import ColumnSums, chunk_rows, row_layout
from gputensor.kernels.runtime import (
    ALL_FLOATS,
    LOOP_FLOATS,
    Loop,
    narrow,
    power_of_two,
    split,
    widen,
)
from gputensor.kernels.source import CudaSource, c_type

__all__ = ["row_layer_norm", "row_norm_backward", "row_rms_norm"]

_GRAIN = 1 << 15  # elements that are worth a CPU thread
_SOURCE = CudaSource(Path(__file__).with_suffix(".cu"))


@Loop
def _forward_loop(  # type: ignore[no-untyped-def]
    start, stop, x, weight, bias, out, endless, eps, center
):
    columns = x.dtype.type(x.shape[1])
    for i in range(start, stop):
        row, target = x[i], out[i]
        mean = x.dtype.type(0)
        if center:  # less the first, as sums of large numbers lose what these differ by
            first = row[0]
            for j in range(target.size):
                mean += row[j] - first
            mean = first + mean / columns
        square = x.dtype.type(0)
        for j in range(target.size):
            d = row[j] - mean
            square += d * d
        endless[i] = not square < np.inf
        scale = x.dtype.type(1) / np.sqrt(square / columns + eps)
        if bias.size:
            for j in range(target.size):
                target[j] = (row[j] - mean) * scale * weight[j] + bias[j]
        else:
            for j in range(target.size):
                target[j] = (row[j] - mean) * scale * weight[j]


@Loop
def _backward_loop(  # type: ignore[no-untyped-def]
    start, stop, g, x, weight, dx, weight_parts, bias_parts, endless, chunk, eps, center
):
    columns = x.dtype.type(x.shape[1])
    for part in range(start, stop):
        weight_sums, bias_sums = weight_parts[part], bias_parts[part]
        weight_sums[:] = 0
        bias_sums[:] = 0
        for i in range(part * chunk, min((part + 1) * chunk, x.shape[0])):
            row, d, target = x[i], g[i], dx[i]
            mean = x.dtype.type(0)
            if center:
                first = row[0]
                for j in range(target.size):
                    mean += row[j] - first
                mean = first + mean / columns
            square = x.dtype.type(0)
            for j in range(target.size):
                t = row[j] - mean
                square += t * t
            endless[i] = not square < np.inf
            scale = x.dtype.type(1) / np.sqrt(square / columns + eps)
            total = x.dtype.type(0)
            dot = x.dtype.type(0)
            for j in range(target.size):
                t = d[j] * weight[j]
                total += t
                dot += t * ((row[j] - mean) * scale)
            total = total / columns if center else x.dtype.type(0)
            dot /= columns
            for j in range(target.size):
                h = (row[j] - mean) * scale
                target[j] = scale * (d[j] * weight[j] - total - h * dot)
            for j in range(target.size):
                weight_sums[j] += d[j] * ((row[j] - mean) * scale)
            if center:
                for j in range(target.size):
                    bias_sums[j] += d[j]


def _forward_on_cpu(x: Array, weight: Array, bias: Array | None = None, *, eps: float) -> Array:
    out = np.empty_like(x)
    center = bias is not None
    shift = np.empty(0, x.dtype) if bias is None else bias
    endless = np.empty(len(x), np.bool_)
    grain = _GRAIN // x.shape[1] + 1
    split(_forward_loop, len(x), grain, x, weight, shift, out, endless, x.dtype.type(eps), center)
    if np.count_nonzero(endless):  # squares that overflowed, or NaN
        xp = namespace(x)
        if bias is None:
            return row_rms_norm.reference(xp, x, weight, eps=eps)
        return row_layer_norm.reference(xp, x, weight, bias, eps=eps)
    return out


def _scaling(x: Any, eps: float) -> Any:
    """For a reference, factors for the rows of `x`, so that no square overflows, and `eps` then."""
    x = x.array if isinstance(x, Tensor) else x
    xp = namespace(x)
    unit = xp.minimum(power_of_two(abs(x), axis=1), 1)
    least = xp.where(unit < 1, np.finfo(x.dtype).tiny, 0)  # rows of equal numbers, less the mean
    return unit, xp.maximum(eps * unit * unit, least.astype(x.dtype))


def _forward_on_cuda(
    source: CudaSource, x: Array, weight: Array, bias: Array | None = None, *, eps: float
) -> Array:
    out = namespace(x).empty_like(x)
    layout, shape = row_layout(x, weight, *([] if bias is None else [bias]))
    entry = f"layer_norm<{c_type(x.dtype)}, {layout}, {_bool(bias is not None)}>"
    source.launch(entry, (x, weight, bias, out, *x.shape, eps), **shape)
    return out


def _bool(value: bool) -> str:
    return "true" if value else "false"


@kernel(
    source=_SOURCE,
    cuda=_forward_on_cuda,
    loop=_forward_on_cpu,
    vjp=lambda _xp, g, _out, x, weight, _bias, *, eps: row_norm_backward.raw(
        g, x, weight, eps=eps, center=True
    ),
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
)
def row_layer_norm(xp: Any, x: Any, weight: Any, bias: Any, *, eps: float) -> Any:
    r"""``(x - mean) / sqrt(variance + eps) * weight + bias``, row by row.

    Parameters
    ----------
    x : array of shape (rows, columns)
        Mean and variance, without correction, are those of a row.
    weight, bias : arrays of shape (columns,)
    eps : float

    Returns
    -------
    array of the shape of `x`

    Examples
    --------
    >>> gt.kernels.row_layer_norm(gt.tensor([[1.0, 3.0]]), gt.ones(2), gt.zeros(2), eps=0.0)
    tensor([[-1.,  1.]], dtype=float32)
    """
    wide = widen(xp, x)
    unit, eps = _scaling(wide, eps)
    wide = wide * unit
    d = wide - xp.mean(wide, axis=1, keepdims=True)
    scale = 1 / xp.sqrt(xp.mean(d * d, axis=1, keepdims=True) + eps)
    return narrow(xp, d * scale * widen(xp, weight) + widen(xp, bias), x)


@kernel(
    source=_SOURCE,
    cuda=_forward_on_cuda,
    loop=_forward_on_cpu,
    vjp=lambda _xp, g, _out, x, weight, *, eps: row_norm_backward.raw(
        g, x, weight, eps=eps, center=False
    )[:2],
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
)
def row_rms_norm(xp: Any, x: Any, weight: Any, *, eps: float) -> Any:
    r"""``x / sqrt(mean(x**2) + eps) * weight``, row by row.

    Parameters
    ----------
    x : array of shape (rows, columns)
    weight : array of shape (columns,)
    eps : float

    Returns
    -------
    array of the shape of `x`

    Examples
    --------
    >>> gt.kernels.row_rms_norm(gt.tensor([[3.0, 4.0]]), gt.ones(2), eps=0.0)
    tensor([[0.84852815, 1.1313709 ]], dtype=float32)
    """
    wide = widen(xp, x)
    unit, eps = _scaling(wide, eps)
    wide = wide * unit
    scale = 1 / xp.sqrt(xp.mean(wide * wide, axis=1, keepdims=True) + eps)
    return narrow(xp, wide * scale * widen(xp, weight), x)


def _backward_on_cpu(
    g: Array, x: Array, weight: Array, *, eps: float, center: bool
) -> tuple[Array, Array, Array | None]:
    rows, columns = x.shape
    dx = np.empty_like(x)
    chunk = chunk_rows(rows, columns)
    weight_parts = np.empty((-(-rows // chunk), columns), x.dtype)
    bias_parts = np.empty_like(weight_parts)
    endless = np.empty(rows, np.bool_)
    split(
        _backward_loop,
        len(weight_parts),
        _GRAIN // (chunk * columns) + 1,
        *(g, x, weight, dx, weight_parts, bias_parts, endless, chunk, x.dtype.type(eps), center),
    )
    if np.count_nonzero(endless):
        xp = namespace(x)
        return row_norm_backward.reference(xp, g, x, weight, eps=eps, center=center)
    return dx, weight_parts.sum(axis=0), bias_parts.sum(axis=0) if center else None


def _backward_on_cuda(
    source: CudaSource, g: Array, x: Array, weight: Array, *, eps: float, center: bool
) -> tuple[Array, Array, Array | None]:
    xp = namespace(x)
    rows, columns = x.shape
    dx = xp.empty_like(x)
    wide = np.float64 if x.dtype.char == "d" else np.float32
    means, scales = xp.empty(rows, wide), xp.empty(rows, wide)
    layout, shape = row_layout(g, x, weight)
    name = c_type(x.dtype)
    source.launch(
        f"layer_norm_backward<{name}, {layout}, {_bool(center)}>",
        (g, x, weight, dx, means, scales, rows, columns, eps),
        **shape,
    )
    sums = ColumnSums(g, x)
    weight_grad = xp.empty(columns, x.dtype)
    bias_grad, bias_parts = (xp.empty(columns, x.dtype), sums.parts()) if center else (None, None)
    room = sums.parts(), bias_parts, sums.tickets
    source.launch(
        f"layer_norm_sums<{name}, {sums.width}, {_bool(center)}>",
        (g, x, means, scales, weight_grad, bias_grad, *room, *sums.sizes),
        **sums.shape,
    )
    return dx, weight_grad, bias_grad


@kernel(
    source=_SOURCE,
    cuda=_backward_on_cuda,
    loop=_backward_on_cpu,
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
)
def row_norm_backward(
    xp: Any, g: Array, x: Array, weight: Array, *, eps: float, center: bool
) -> tuple[Array, Array, Array | None]:
    r"""Gradients of :func:`row_layer_norm` (`center`) and :func:`row_rms_norm`.

    With :math:`h = (x - \mu) s`, :math:`s` the inverse root and :math:`d = g w`:
    :math:`s (d - \bar d - h\, \overline{d h})`, without :math:`\mu` and :math:`\bar d` if not
    `center`; :math:`\sum g h` and :math:`\sum g` over the rows.

    Parameters
    ----------
    g, x : arrays of shape (rows, columns)
        Gradient of the result, and the operand.
    weight : array of shape (columns,)
    eps : float
    center : bool

    Returns
    -------
    dx : array of shape (rows, columns)
    weight_grad : array of shape (columns,)
    bias_grad : array of shape (columns,) or None
        None if not `center`. Sums are taken in an order that depends on the shape only.

    Examples
    --------
    >>> g, x = np.array([[1.0, 0.0]], "f"), np.array([[1.0, 3.0]], "f")
    >>> dx, dw, db = gt.kernels.row_norm_backward.raw(g, x, np.ones(2, "f"), eps=0.0, center=True)
    >>> dw, db
    (array([-1.,  0.], dtype=float32), array([1., 0.], dtype=float32))
    """
    wide, d = widen(xp, x), widen(xp, g)
    unit, eps = _scaling(wide, eps)
    wide = wide * unit
    h = wide - xp.mean(wide, axis=1, keepdims=True) if center else wide
    scale = 1 / xp.sqrt(xp.mean(h * h, axis=1, keepdims=True) + eps)
    h = h * scale
    weight_grad = narrow(xp, xp.sum(d * h, axis=0), x)
    bias_grad = narrow(xp, xp.sum(d, axis=0), x) if center else None
    d = d * widen(xp, weight)
    dx = d - h * xp.mean(d * h, axis=1, keepdims=True)
    if center:
        dx = dx - xp.mean(d, axis=1, keepdims=True)
    return narrow(xp, dx * (scale * unit), x), weight_grad, bias_grad
