"""Convolution and pooling: windows of images become rows of a matrix.

Arrays have shape (n, height, width, channels): with channels last a window is made of runs of
neighbours, and the result of the product lies as the next layer wants it. Other orders of axes are
views (see :mod:`gputensor.nn.functional`), which cost a copy where a network begins and ends.
"""

import math
from collections.abc import Sequence
from typing import Any

from gputensor import backend, kernels
from gputensor.autograd import Primitive, Tensor
from gputensor.errors import ShapeError
from gputensor.kernels.bias_activation import FROM_RESULT
from gputensor.kernels.runtime import LOOP_FLOATS
from gputensor.ops.convolution import convolve_by_parts, fold, transposed_by_parts, unfold
from gputensor.ops.creation import asarray, ones, zeros
from gputensor.ops.elementwise import divide, multiply
from gputensor.ops.manipulation import permute_dims, reshape
from gputensor.ops.nn import ACTIVATIONS, dense
from gputensor.ops.pieces import pad
from gputensor.ops.precision import casting, widened
from gputensor.ops.products import matmul
from gputensor.ops.statistical import mean
from gputensor.ops.statistical import sum as total

__all__ = [
    "average_pool",
    "convolve",
    "convolve_transposed",
    "largest_pool",
    "pads_of",
    "windows_of",
]

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]


def _largest_rule(
    xp: Any,
    g: Any,
    y: Any,
    x: Any,
    *,
    window: Any,
    stride: Any,
    dilation: Any,
    before: Any,
    out: Any,
) -> Any:
    return kernels.max_pool_backward.raw(
        *map(backend.in_c_order, (g, x, y)),
        window=window,
        stride=stride,
        dilation=dilation,
        before=before,
    )


_largest = Primitive(
    "max_pool",
    lambda _xp, x, **geometry: kernels.max_pool.raw(backend.in_c_order(x), **geometry),
    (_largest_rule,),
    reference=kernels.max_pool.reference,
)


def pads_of(
    name: str, padding: Any, size: Sequence[int], window: Pair, stride: Pair, dilation: Pair
) -> Pads:
    """Zeros before and after height and width.

    Parameters
    ----------
    name : str
        Of the function, for errors.
    padding : {"valid", "same"}, (int, int) or ((int, int), (int, int))
        None; as many as give ``ceil(size / stride)`` windows, the odd one after, as in TensorFlow;
        as many on both sides of height and width; or each by itself.
    size, window, stride, dilation : (int, int)
    """
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        lacking = [
            max((-(-n // s) - 1) * s + (w - 1) * d + 1 - n, 0)
            for n, w, s, d in zip(size, window, stride, dilation, strict=True)
        ]
        return tuple((n // 2, n - n // 2) for n in lacking)  # type: ignore[return-value]
    if isinstance(padding, str):
        raise ValueError(
            f"{name}: padding is {padding!r}; allowed are 'valid', 'same' and numbers of zeros"
        )
    both = [(p, p) if isinstance(p, int) else tuple(p) for p in padding]
    return both[0], both[1]


def windows_of(
    name: str, size: Sequence[int], window: Pair, stride: Pair, dilation: Pair, pads: Pads
) -> Pair:
    """How many windows there are along height and width."""
    out = tuple(
        (n + sum(p) - (w - 1) * d - 1) // s + 1
        for n, p, w, d, s in zip(size, pads, window, dilation, stride, strict=True)
    )
    if min(out) < 1:
        raise ShapeError(
            f"{name}: a window of {window}, dilated by {dilation}, is larger than images of "
            f"{tuple(size)} with {pads} zeros around"
        )
    return out  # type: ignore[return-value]


def _check_images(name: str, x: Tensor, weight: Tensor | None = None) -> None:
    for key, t in (("x", x), ("weight", weight)):
        if t is not None and t.ndim != 4:
            raise ShapeError(f"{name}: {key} has shape {t.shape}; it must have four axes")
    if weight is not None and 0 in weight.shape[:2]:
        raise ShapeError(f"{name}: weight has shape {weight.shape}; its window is empty")


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Any = "valid",
    dilation: Pair = (1, 1),
    groups: int = 1,
    activation: str | None = None,
) -> Tensor:
    """``activation(convolution + bias)`` of images, in fact a correlation, as everywhere.

    Parameters
    ----------
    x : Tensor of shape (n, height, width, channels)
    weight : Tensor of shape (window height, window width, channels / groups, filters)
    bias : Tensor of shape (filters,), optional
    stride, dilation : (int, int)
    padding : see :func:`pads_of`
    groups : int
        Parts that channels and filters are cut into; each has to do with its like alone.
    activation : str, optional
        As of :func:`gputensor.nn.functional.dense`.

    Returns
    -------
    Tensor of shape (n, out height, out width, filters)

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    """
    _check_images("conv", x, weight)
    n, high, wide, channels = x.shape
    kh, kw, depth, filters = weight.shape
    if depth * groups != channels or filters % groups:
        raise ShapeError(
            f"conv: x has {channels} channels and the weight takes {depth} in each of {groups} "
            f"groups, for {filters} filters; images are (n, channels, height, width) for gt.nn, "
            "(n, height, width, channels) for gputensor.keras"
        )
    window = (kh, kw)
    pads = pads_of("conv", padding, (high, wide), window, stride, dilation)
    out = windows_of("conv", (high, wide), window, stride, dilation, pads)
    before = (pads[0][0], pads[1][0])
    geometry: dict[str, Any] = {
        "window": window,
        "stride": stride,
        "dilation": dilation,
        "before": before,
        "out": out,
    }
    pointwise = window == stride == (1, 1) and pads == ((0, 0), (0, 0))
    if not pointwise and groups == 1 and n and _by_parts(x, weight, bias):
        if bias is None:
            bias = zeros(filters, dtype=x.dtype, device=x.device)
        kind = activation if activation in FROM_RESULT else None
        y = convolve_by_parts(x, weight, bias, kind=kind, **geometry)
        return y if kind else ACTIVATIONS[activation](y)
    if pointwise:
        rows = reshape(x, (n * out[0] * out[1], 1, channels))
    else:
        rows = reshape(unfold(x, **geometry), (n * out[0] * out[1], kh * kw, channels))
    if groups == 1:
        flat = reshape(rows, (rows.shape[0], kh * kw * channels))
        y = dense(flat, reshape(weight, (kh * kw * channels, filters)), bias, activation)
    else:
        y = _grouped(rows, reshape(weight, (kh * kw, depth, filters)), groups)
        y = ACTIVATIONS[activation](y if bias is None else y + bias)
    return reshape(y, (n, *out, filters))


def _by_parts(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether operands are on the CPU, all of one dtype that loops compute with."""
    dtypes = {t.dtype for t in (x, weight, bias) if t is not None}
    alike = len(dtypes) == 1 and casting.dtype is None
    return alike and backend.on_cpu(x.array) and x.dtype.name in LOOP_FLOATS


def _grouped(rows: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Product of rows (n, places, channels) with a weight (places, depth, filters) by groups."""
    n, places, channels = rows.shape
    _, depth, filters = weight.shape
    each = filters // groups
    if depth == 1:  # a channel by itself: too little for a matrix product
        parts = multiply(
            reshape(rows, (n, places, channels, 1)), reshape(weight, (places, groups, each))
        )
        return reshape(total(parts, axis=1), (n, filters))
    apart = permute_dims(reshape(rows, (n, places, groups, depth)), (2, 0, 1, 3))
    factors = permute_dims(reshape(weight, (places, depth, groups, each)), (2, 0, 1, 3))
    y = matmul(
        reshape(apart, (groups, n, places * depth)),
        reshape(factors, (groups, places * depth, each)),
    )
    return reshape(permute_dims(y, (1, 0, 2)), (n, filters))


def convolve_transposed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: Pair = (1, 1),
    padding: Pads = ((0, 0), (0, 0)),
    extra: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Tensor:
    """The gradient of :func:`convolve` towards its images, as a layer that makes images larger.

    Parameters
    ----------
    x : Tensor of shape (n, height, width, channels)
    weight : Tensor of shape (window height, window width, filters / groups, channels)
        That of the convolution from `filters` to `channels`.
    bias : Tensor of shape (filters,), optional
    stride, dilation, groups : as of :func:`convolve`
    padding : ((int, int), (int, int))
        What is cut off at the edges.
    extra : (int, int)
        What is added below and to the right.

    Returns
    -------
    Tensor of shape (n, ``(height - 1) * stride + (window - 1) * dilation + 1 - cut + extra``, ...,
    filters)
    """
    _check_images("conv_transpose", x, weight)
    n, high, wide, channels = x.shape
    kh, kw, each, inputs = weight.shape
    if inputs != channels or channels % groups:
        raise ShapeError(
            f"conv_transpose: x has {channels} channels; the weight of shape {weight.shape} takes "
            f"{inputs}, in {groups} groups"
        )
    size = tuple(
        (m - 1) * s + (k - 1) * d + 1 - sum(p) + e
        for m, s, k, d, p, e in zip(
            (high, wide), stride, (kh, kw), dilation, padding, extra, strict=True
        )
    )
    if min(size) < 1:
        raise ShapeError(f"conv_transpose: padding {padding} leaves nothing of the result")
    before = (padding[0][0], padding[1][0])
    geometry: dict[str, Any] = {
        "window": (kh, kw),
        "stride": stride,
        "dilation": dilation,
        "before": before,
        "size": size,
    }
    if groups == 1 and x.size and _by_parts(x, weight, bias):
        if bias is None:
            bias = zeros(each, dtype=x.dtype, device=x.device)
        return transposed_by_parts(x, weight, bias, **geometry)
    rows = reshape(x, (n * high * wide, groups, channels // groups))
    factors = reshape(weight, (kh * kw * each, groups, channels // groups))
    y = matmul(permute_dims(rows, (1, 0, 2)), permute_dims(factors, (1, 2, 0)))
    y = reshape(y, (groups, n * high * wide, kh * kw, each))
    y = reshape(permute_dims(y, (1, 2, 0, 3)), (n, high, wide, kh * kw, groups * each))
    found = fold(y, **geometry)
    return found if bias is None else found + bias


def largest_pool(
    x: Tensor, window: Pair, stride: Pair, padding: Any = "valid", dilation: Pair = (1, 1)
) -> Tensor:
    """The largest element of each window, of each channel; NaN where there is one.

    Parameters
    ----------
    x : Tensor of shape (n, height, width, channels)
    window, stride, dilation : (int, int)
    padding : see :func:`pads_of`
        What is outside does not count.

    Returns
    -------
    Tensor of shape (n, out height, out width, channels)
        The gradient goes to the first of the largest.
    """
    _check_images("max_pool", x)
    pads = pads_of("max_pool", padding, x.shape[1:3], window, stride, dilation)
    out = windows_of("max_pool", x.shape[1:3], window, stride, dilation, pads)
    before = (pads[0][0], pads[1][0])
    return _largest(x, window=window, stride=stride, dilation=dilation, before=before, out=out)


def average_pool(
    x: Tensor, window: Pair, stride: Pair, padding: Any = "valid", *, counted: Pads | None = None
) -> Tensor:
    """The mean of each window, of each channel; parameters as of :func:`largest_pool`.

    `counted` are the zeros around the images that count as elements; by default none does.
    """
    _check_images("average_pool", x)
    x = widened(x)
    n, high, wide, channels = x.shape
    pads = pads_of("average_pool", padding, (high, wide), window, stride, (1, 1))
    out = windows_of("average_pool", (high, wide), window, stride, (1, 1), pads)
    padded = any(any(p) for p in pads)
    if window == stride and not padded:
        cut = x[:, : out[0] * window[0], : out[1] * window[1]]
        return mean(reshape(cut, (n, out[0], window[0], out[1], window[1], channels)), axis=(2, 4))
    geometry: dict[str, Any] = {
        "window": window,
        "stride": stride,
        "dilation": (1, 1),
        "before": (pads[0][0], pads[1][0]),
        "out": out,
    }
    sums = total(unfold(x, **geometry), axis=3)
    if not padded:
        return sums / math.prod(window)
    inside = ones((1, high, wide, 1), dtype=x.dtype, device=x.device)
    if counted is not None:
        inside = pad(inside, [(0, 0), *counted, (0, 0)], constant_values=1.0)
        geometry["before"] = (pads[0][0] - counted[0][0], pads[1][0] - counted[1][0])
    return divide(sums, total(unfold(asarray(inside), **geometry), axis=3))
