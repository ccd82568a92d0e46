"""Loss scaling: gradients back to their size, and the next scale, without a word to the host."""

from pathlib import Path
from typing import Any

import numpy as np

from gputensor.backend import Array
from gputensor.kernels.declare import kernel
from gputensor.kernels.runtime import ALL_FLOATS, LOOP_FLOATS, Loop, narrow, packs, split, widen
from gputensor.kernels.source import CudaSource, c_type

__all__ = ["unscale", "update_scale"]

_GRAIN = 1 << 16  # elements that are worth a CPU thread
_SOURCE = CudaSource(Path(__file__).with_suffix(".cu"))


@Loop
def _unscale_loop(start, stop, g, scale, found):  # type: ignore[no-untyped-def]
    g = g[start:stop]
    zero = g.dtype.type(0)
    rest = zero
    for i in range(g.size):
        g[i] /= scale
        rest += g[i] - g[i]  # 0, but for NaN and infinity NaN
    if rest != zero:
        found[0] = 1


def _unscale_on_cpu(g: Array, scale: Array, found: Array) -> None:
    split(_unscale_loop, g.size, _GRAIN, g, g.dtype.type(scale[0]), found)


def _unscale_on_cuda(source: CudaSource, g: Array, scale: Array, found: Array) -> None:
    source.launch(f"unscale<{c_type(g.dtype)}>", (g, scale, found, g.size), elements=packs(g))


@kernel(
    source=_SOURCE,
    cuda=_unscale_on_cuda,
    loop=_unscale_on_cpu,
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
    mixed=True,
    writes=("g", "found"),
)
def unscale(xp: Any, g: Array, scale: Array, found: Array) -> None:
    """Divide gradients by the scale of the loss, in place, and note whether one is not finite.

    Parameters
    ----------
    g : array of shape (n,)
    scale : float32 array of shape (1,)
    found : uint32 array of shape (1,)
        Becomes 1 if an element of the result is NaN or infinite.

    Examples
    --------
    >>> g, found = np.array([8.0], "f"), np.zeros(1, "f")
    >>> gt.kernels.unscale.raw(g, np.array([4.0], "f"), found)
    >>> g
    array([2.], dtype=float32)
    """
    wide = widen(xp, g)
    g[...] = narrow(xp, wide / scale.astype(wide.dtype), g)
    found |= xp.logical_not(xp.all(xp.isfinite(g))).astype(np.uint32)


def _update_on_cpu(
    scale: Array,
    streak: Array,
    found: Array,
    *,
    growth: float,
    backoff: float,
    interval: int,
    least: float = 0.0,
) -> None:
    bad = bool(found[0])
    steps = 0 if bad else int(streak[0]) + 1
    grows = steps >= interval
    factor = np.float32(backoff if bad else growth if grows else 1.0)
    with np.errstate(over="ignore"):
        moved = scale * factor
    if np.isfinite(moved[0]):
        scale[...] = np.maximum(moved, np.float32(least))
    streak[0] = 0 if grows else steps


def _update_on_cuda(
    source: CudaSource,
    scale: Array,
    streak: Array,
    found: Array,
    *,
    growth: float,
    backoff: float,
    interval: int,
    least: float = 0.0,
) -> None:
    args = (scale, streak, found, growth, backoff, interval, least)
    source.launch("update_scale", args, blocks=(1,), threads=32)


@kernel(
    source=_SOURCE,
    cuda=_update_on_cuda,
    loop=_update_on_cpu,
    dtypes=("float32",),
    mixed=True,
    writes=("scale", "streak"),
)
def update_scale(
    xp: Any,
    scale: Array,
    streak: Array,
    found: Array,
    *,
    growth: float,
    backoff: float,
    interval: int,
    least: float = 0.0,
) -> None:
    """The next scale, in place: times `backoff` after a bad step, times `growth` after good ones.

    Parameters
    ----------
    scale : float32 array of shape (1,)
        Stays as it is where it would become infinite.
    streak : uint32 array of shape (1,)
        Good steps since the scale last changed.
    found : uint32 array of shape (1,)
        Not 0 after a step whose gradients were not finite.
    growth, backoff : float
    interval : int
        Good steps after which the scale grows.
    least : float
        Smallest scale.

    Examples
    --------
    >>> scale, streak, found = np.array([8.0], "f"), np.zeros(1, np.int32), np.ones(1, "f")
    >>> gt.kernels.update_scale.raw(scale, streak, found, growth=2.0, backoff=0.5, interval=10)
    >>> scale
    array([4.], dtype=float32)
    """
    bad = found != 0
    steps = xp.where(bad, 0, streak + 1)
    grows = steps >= interval
    factor = xp.where(bad, backoff, xp.where(grows, growth, 1.0)).astype(np.float32)
    moved = scale * factor
    scale[...] = xp.where(xp.isfinite(moved), xp.maximum(moved, np.float32(least)), scale)
    streak[...] = xp.where(grows, 0, steps)
