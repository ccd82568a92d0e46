"""The largest element of each window of images, and its gradient."""

from pathlib import Path
from typing import Any

import numpy as np

from gputensor.backend import Array, namespace
from gputensor.kernels.declare import kernel
from gputensor.kernels.runtime import ALL_FLOATS, LOOP_FLOATS, Loop, narrow, packs, split, widen
from gputensor.kernels.source import CudaSource, c_type
from gputensor.kernels.unfold import Pair, _padding, _places

__all__ = ["max_pool", "max_pool_backward"]

_GRAIN = 1 << 14  # elements that are worth a CPU thread
_SOURCE = CudaSource(Path(__file__).with_suffix(".cu"))


@Loop.exact
def _pool_loop(start, stop, x, out, kh, kw, sh, sw, dh, dw, top, left):  # type: ignore[no-untyped-def]
    _, high, wide, channels = x.shape
    _, oh, ow, _ = out.shape
    lowest = x.dtype.type(-np.inf)
    for line in range(start, stop):
        n, i = line // oh, line % oh
        for j in range(ow):
            best = out[n, i, j]
            for c in range(channels):
                best[c] = lowest
            for a in range(kh):
                row = i * sh - top + a * dh
                if row < 0 or row >= high:
                    continue
                for b in range(kw):
                    column = j * sw - left + b * dw
                    if column < 0 or column >= wide:
                        continue
                    value = x[n, row, column]
                    for c in range(channels):  # all is read first, as a branch is not vectorized
                        old, new = best[c], value[c]
                        best[c] = old if (old >= new) | (old != old) else new


@Loop.exact
def _back_loop(  # type: ignore[no-untyped-def]
    start, stop, g, x, y, out, scratch, kh, kw, sh, sw, dh, dw, top, left
):
    _, high, wide, channels = x.shape
    _, oh, ow, _ = g.shape
    zero, one = x.dtype.type(0), x.dtype.type(1)
    for n in range(start, stop):
        done = scratch[n]
        for i in range(oh):
            for j in range(ow):
                part, best = g[n, i, j], y[n, i, j]
                for c in range(channels):
                    done[c] = zero
                for a in range(kh):
                    row = i * sh - top + a * dh
                    if row < 0 or row >= high:
                        continue
                    for b in range(kw):
                        column = j * sw - left + b * dw
                        if column < 0 or column >= wide:
                            continue
                        value, target = x[n, row, column], out[n, row, column]
                        for c in range(channels):
                            it, before, share = value[c], done[c], part[c]
                            here = (it == best[c]) | (it != it)
                            target[c] += share if here & (before == zero) else zero
                            done[c] = one if here else before


def _forward_on_cpu(
    x: Array, *, window: Pair, stride: Pair, dilation: Pair, before: Pair, out: Pair
) -> Array:
    found = np.empty((len(x), *out, x.shape[3]), x.dtype)
    lines = len(x) * out[0]
    grain = _GRAIN * lines // x.size + 1
    split(_pool_loop, lines, grain, x, found, *window, *stride, *dilation, *before)
    return found


def _backward_on_cpu(
    g: Array, x: Array, y: Array, *, window: Pair, stride: Pair, dilation: Pair, before: Pair
) -> Array:
    found = np.zeros(x.shape, x.dtype)
    grain = _GRAIN * len(x) // x.size + 1
    scratch = np.empty((len(x), x.shape[3]), x.dtype)
    split(_back_loop, len(x), grain, g, x, y, found, scratch, *window, *stride, *dilation, *before)
    return found


def _forward_on_cuda(
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
    found = namespace(x).empty((len(x), *out, channels), x.dtype)
    sizes = (found.size, channels, high, wide, *out, *window)
    source.launch(
        f"max_pool<{c_type(x.dtype)}>",
        (x, found, *sizes, *stride, *dilation, *before),
        elements=packs(found),
    )
    return found


def _backward_on_cuda(
    source: CudaSource,
    g: Array,
    x: Array,
    y: Array,
    *,
    window: Pair,
    stride: Pair,
    dilation: Pair,
    before: Pair,
) -> Array:
    _, high, wide, channels = x.shape
    found = namespace(x).empty(x.shape, x.dtype)
    sizes = (found.size, channels, high, wide, *g.shape[1:3], *window)
    source.launch(
        f"max_pool_backward<{c_type(x.dtype)}>",
        (g, x, y, found, *sizes, *stride, *dilation, *before),
        elements=found.size,
    )
    return found


def _windows(xp: Any, x: Any, **geometry: Any) -> list[Any]:
    """The elements at each place of all windows; minus infinity outside."""
    out = geometry["out"]
    pads = _padding(x.shape[1:3], out=out, **{k: v for k, v in geometry.items() if k != "out"})
    x = xp.pad(x, [(0, 0), *pads, (0, 0)], constant_values=-np.inf)
    places = _places(geometry["window"], geometry["stride"], geometry["dilation"], out)
    return [x[:, rows, columns] for rows, columns in places]


@kernel(
    source=_SOURCE,
    cuda=_forward_on_cuda,
    loop=_forward_on_cpu,
    vjp=lambda xp, g, y, x, *, out, **geometry: max_pool_backward.raw(g, x, y, **geometry),
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
)
def max_pool(
    xp: Any, x: Any, *, window: Pair, stride: Pair, dilation: Pair, before: Pair, out: Pair
) -> Any:
    """The largest element of each window; NaN where there is one.

    Parameters are those of :func:`gputensor.kernels.unfold`; what is outside does not count.

    Returns
    -------
    array of shape (n, *out, channels)

    Examples
    --------
    >>> sizes = {"window": (2, 2), "stride": (2, 2), "dilation": (1, 1), "before": (0, 0)}
    >>> x = np.arange(4, dtype="f").reshape(1, 2, 2, 1)
    >>> gt.kernels.max_pool.raw(x, **sizes, out=(1, 1)).ravel()
    array([3.], dtype=float32)
    """
    geometry = {
        "window": window,
        "stride": stride,
        "dilation": dilation,
        "before": before,
        "out": out,
    }
    return xp.max(xp.stack(_windows(xp, x, **geometry), axis=3), axis=3)


@kernel(
    source=_SOURCE,
    cuda=_backward_on_cuda,
    loop=_backward_on_cpu,
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
)
def max_pool_backward(
    xp: Any,
    g: Array,
    x: Array,
    y: Array,
    *,
    window: Pair,
    stride: Pair,
    dilation: Pair,
    before: Pair,
) -> Array:
    """Gradient of :func:`max_pool`: to the first of the largest elements, or the first NaN.

    Parameters
    ----------
    g : array of the shape of `y`
    x : array of shape (n, height, width, channels)
    y : array
        What :func:`max_pool` gave.
    window, stride, dilation, before : (int, int)

    Returns
    -------
    array of the shape of `x`

    Examples
    --------
    >>> sizes = {"window": (2, 2), "stride": (2, 2), "dilation": (1, 1), "before": (0, 0)}
    >>> x = np.arange(4, dtype="f").reshape(1, 2, 2, 1)
    >>> y = gt.kernels.max_pool.raw(x, **sizes, out=(1, 1))
    >>> gt.kernels.max_pool_backward.raw(np.ones_like(y), x, y, **sizes).ravel()
    array([0., 0., 0., 1.], dtype=float32)
    """
    size, out = x.shape[1:3], g.shape[1:3]
    geometry = {"window": window, "stride": stride, "dilation": dilation, "before": before}
    pads = _padding(size, out=out, **geometry)
    shape = [n + sum(pair) for n, pair in zip(size, pads, strict=True)]
    wide = widen(xp, g)
    total = xp.zeros((len(g), *shape, g.shape[3]), wide.dtype)
    done = xp.zeros(g.shape, bool)
    values = _windows(xp, x, out=out, **geometry)
    inside = _windows(xp, xp.zeros((1, *size, 1), x.dtype), out=out, **geometry)
    for (rows, columns), value, zero in zip(
        _places(window, stride, dilation, out), values, inside, strict=True
    ):
        here = ((value == y) | (value != value)) & (zero == 0) & ~done
        total[:, rows, columns] += xp.where(here, wide, 0)
        done |= here
    (top, left) = before
    return narrow(xp, total[:, top : top + size[0], left : left + size[1]], g)
