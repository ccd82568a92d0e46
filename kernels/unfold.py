"""Windows of images as rows of a matrix, and the sum of such rows back into images.

With them a convolution is one matrix product (im2col: Chellapilla et al. 2006); channels come last,
so that a row is made of runs of neighbours.
"""

from pathlib import Path
from typing import Any

import numpy as np

from gputensor.backend import Array, namespace
from gputensor.kernels.declare import kernel
from gputensor.kernels.runtime import ALL_FLOATS, LOOP_FLOATS, Loop, narrow, packs, split, widen
from gputensor.kernels.source import CudaSource, c_type

__all__ = ["fold", "unfold"]

_GRAIN = 1 << 14  # elements that are worth a CPU thread
_NARROW = 16  # elements of neighbours in a window below which a loop along the windows is quicker
_SOURCE = CudaSource(Path(__file__).with_suffix(".cu"))
Pair = tuple[int, int]


# Loops over one axis of memory: views of more take longer to make than a run of neighbours to copy.


@Loop.exact
def _unfold_loop(  # type: ignore[no-untyped-def]
    start, stop, x, out, high, wide, oh, ow, channels, h, w, sh, sw, dh, dw, top, left
):
    run, width = w * channels, wide * channels
    zero = x.dtype.type(0)
    for line in range(start, stop):
        n, i = line // oh, line % oh
        for a in range(h):
            row = i * sh - top + a * dh
            inside = 0 <= row < high
            source = x[(n * high + row) * width : (n * high + row + 1) * width] if inside else x[:0]
            at = (line * ow * h + a) * run
            for j in range(ow):
                first = j * sw - left
                target = out[at : at + run]
                at += h * run
                if inside and dw == 1 and first >= 0 and first + w <= wide:
                    part = source[first * channels : first * channels + run]
                    for c in range(run):
                        target[c] = part[c]
                    continue
                for b in range(w):
                    column = first + b * dw
                    there = inside and 0 <= column < wide
                    for c in range(channels):
                        target[b * channels + c] = source[column * channels + c] if there else zero


@Loop.exact
def _unfold_narrow_loop(  # type: ignore[no-untyped-def]
    start, stop, x, out, high, wide, oh, ow, channels, h, w, sh, sw, dh, dw, top, left
):
    """Of short runs: place by place, along the windows."""
    run, width = w * channels, wide * channels
    step = h * run
    zero = x.dtype.type(0)
    for line in range(start, stop):
        n, i = line // oh, line % oh
        target = out[line * ow * step : (line + 1) * ow * step]
        for a in range(h):
            row = i * sh - top + a * dh
            inside = 0 <= row < high
            source = x[(n * high + row) * width : (n * high + row + 1) * width] if inside else x[:0]
            for b in range(w):
                shift = b * dw - left
                low, end = 0, ow if inside else 0
                while low < end and low * sw + shift < 0:
                    low += 1
                while end > low and (end - 1) * sw + shift >= wide:
                    end -= 1
                for c in range(channels):
                    at = a * run + b * channels + c
                    for j in range(low):
                        target[at + j * step] = zero
                    for j in range(low, end):
                        target[at + j * step] = source[(j * sw + shift) * channels + c]
                    for j in range(end, ow):
                        target[at + j * step] = zero


@Loop.exact
def _fold_loop(  # type: ignore[no-untyped-def]
    start, stop, g, out, high, wide, oh, ow, channels, h, w, sh, sw, dh, dw, top, left
):
    run, width = w * channels, wide * channels
    for n in range(start, stop):
        for i in range(oh):
            for a in range(h):
                row = i * sh - top + a * dh
                if row < 0 or row >= high:
                    continue
                target = out[(n * high + row) * width : (n * high + row + 1) * width]
                at = ((n * oh + i) * ow * h + a) * run
                for j in range(ow):
                    first = j * sw - left
                    source = g[at : at + run]
                    at += h * run
                    if dw == 1 and first >= 0 and first + w <= wide:
                        part = target[first * channels : first * channels + run]
                        for c in range(run):
                            part[c] += source[c]
                        continue
                    for b in range(w):
                        column = first + b * dw
                        if 0 <= column < wide:
                            for c in range(channels):
                                target[column * channels + c] += source[b * channels + c]


@Loop.exact
def _fold_narrow_loop(  # type: ignore[no-untyped-def]
    start, stop, g, out, high, wide, oh, ow, channels, h, w, sh, sw, dh, dw, top, left
):
    """Of short runs: place by place, along the windows."""
    run, width = w * channels, wide * channels
    step = h * run
    for n in range(start, stop):
        for i in range(oh):
            source = g[(n * oh + i) * ow * step : (n * oh + i + 1) * ow * step]
            for a in range(h):
                row = i * sh - top + a * dh
                if row < 0 or row >= high:
                    continue
                target = out[(n * high + row) * width : (n * high + row + 1) * width]
                for b in range(w):
                    shift = b * dw - left
                    low, end = 0, ow
                    while low < end and low * sw + shift < 0:
                        low += 1
                    while end > low and (end - 1) * sw + shift >= wide:
                        end -= 1
                    for c in range(channels):
                        at = a * run + b * channels + c
                        for j in range(low, end):
                            target[(j * sw + shift) * channels + c] += source[at + j * step]


def _unfold_on_cpu(
    x: Array, *, window: Pair, stride: Pair, dilation: Pair, before: Pair, out: Pair
) -> Array:
    found = np.empty((len(x), *out, window[0] * window[1], x.shape[3]), x.dtype)
    lines = len(x) * out[0]
    grain = _GRAIN * lines // found.size + 1
    _, high, wide, channels = x.shape
    loop = _unfold_narrow_loop if window[1] * channels < _NARROW else _unfold_loop
    flat = x.reshape(-1), found.reshape(-1), high, wide, *out, channels
    split(loop, lines, grain, *flat, *window, *stride, *dilation, *before)
    return found


def _fold_on_cpu(
    g: Array, *, window: Pair, stride: Pair, dilation: Pair, before: Pair, size: Pair
) -> Array:
    n, oh, ow, _, channels = g.shape
    found = np.zeros((n, *size, channels), g.dtype)
    grain = _GRAIN * n // g.size + 1
    loop = _fold_narrow_loop if window[1] * channels < _NARROW else _fold_loop
    flat = g.reshape(-1), found.reshape(-1), *size, oh, ow, channels
    split(loop, n, grain, *flat, *window, *stride, *dilation, *before)
    return found


def _unfold_on_cuda(
    source: CudaSource,
    x: Array,
    *,
    window: Pair,
    stride: Pair,
    dilation: Pair,
    before: Pair,
    out: Pair,
) -> Array:
    _, high, wide, channels = x.shape
    found = namespace(x).empty((len(x), *out, window[0] * window[1], channels), x.dtype)
    sizes = (found.size, channels, high, wide, *out, *window)
    source.launch(
        f"unfold<{c_type(x.dtype)}>",
        (x, found, *sizes, *stride, *dilation, *before),
        elements=packs(found),
    )
    return found


def _fold_on_cuda(
    source: CudaSource,
    g: Array,
    *,
    window: Pair,
    stride: Pair,
    dilation: Pair,
    before: Pair,
    size: Pair,
) -> Array:
    _, oh, ow, _, channels = g.shape
    found = namespace(g).empty((len(g), *size, channels), g.dtype)
    sizes = (found.size, channels, *size, oh, ow, *window)
    source.launch(
        f"fold<{c_type(g.dtype)}>",
        (g, found, *sizes, *stride, *dilation, *before),
        elements=packs(found),
    )
    return found


def _places(window: Pair, stride: Pair, dilation: Pair, out: Pair) -> list[tuple[slice, slice]]:
    """Where each place of the windows lies in padded images."""
    return [
        tuple(
            slice(at * d, at * d + (n - 1) * s + 1, s)
            for at, d, n, s in zip(place, dilation, out, stride, strict=True)
        )  # type: ignore[misc]
        for place in np.ndindex(*window)
    ]


def _padding(
    size: Pair, window: Pair, stride: Pair, dilation: Pair, before: Pair, out: Pair
) -> list[Pair]:
    """What to put before and after each axis, so that all windows are inside."""
    return [
        (b, max(0, (n - 1) * s + (w - 1) * d + 1 - b - length))
        for length, w, s, d, b, n in zip(size, window, stride, dilation, before, out, strict=True)
    ]


@kernel(
    source=_SOURCE,
    cuda=_unfold_on_cuda,
    loop=_unfold_on_cpu,
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
)
def unfold(
    xp: Any, x: Any, *, window: Pair, stride: Pair, dilation: Pair, before: Pair, out: Pair
) -> Any:
    """Windows of images, with zeros where they reach over the edge.

    Parameters
    ----------
    x : array of shape (n, height, width, channels)
    window, stride, dilation : (int, int)
        Height and width of a window, from one to the next, and between places within one.
    before : (int, int)
        Rows and columns of zeros above and to the left.
    out : (int, int)
        Number of windows along height and width.

    Returns
    -------
    array of shape (n, *out, window[0] * window[1], channels)

    Examples
    --------
    >>> sizes = {"window": (2, 2), "stride": (1, 1), "dilation": (1, 1), "before": (0, 0)}
    >>> gt.kernels.unfold.raw(np.ones((1, 3, 3, 1), "f"), **sizes, out=(2, 2)).shape
    (1, 2, 2, 4, 1)
    """
    pads = _padding(x.shape[1:3], window, stride, dilation, before, out)
    x = xp.pad(x, [(0, 0), *pads, (0, 0)])
    places = _places(window, stride, dilation, out)
    return xp.stack([x[:, rows, columns] for rows, columns in places], axis=3)


@kernel(
    source=_SOURCE,
    cuda=_fold_on_cuda,
    loop=_fold_on_cpu,
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
)
def fold(
    xp: Any, g: Array, *, window: Pair, stride: Pair, dilation: Pair, before: Pair, size: Pair
) -> Array:
    """Sum of windows at their places in images: the transpose of :func:`unfold`.

    Parameters
    ----------
    g : array of shape (n, out_height, out_width, window[0] * window[1], channels)
    window, stride, dilation, before : (int, int)
        As of :func:`unfold`.
    size : (int, int)
        Height and width of the images.

    Returns
    -------
    array of shape (n, *size, channels)

    Examples
    --------
    >>> sizes = {"window": (2, 2), "stride": (1, 1), "dilation": (1, 1), "before": (0, 0)}
    >>> windows = gt.kernels.unfold.raw(np.ones((1, 3, 3, 1), "f"), **sizes, out=(2, 2))
    >>> gt.kernels.fold.raw(windows, **sizes, size=(3, 3))[0, :, :, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]], dtype=float32)
    """
    out = g.shape[1:3]
    pads = _padding(size, window, stride, dilation, before, out)
    shape = [n + sum(pair) for n, pair in zip(size, pads, strict=True)]
    wide = widen(xp, g)
    total = xp.zeros((len(g), *shape, g.shape[4]), wide.dtype)
    for k, (rows, columns) in enumerate(_places(window, stride, dilation, out)):
        total[:, rows, columns] += wide[:, :, :, k]
    (top, left) = before
    return narrow(xp, total[:, top : top + size[0], left : left + size[1]], g)
