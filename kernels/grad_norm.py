"""The norm of a gradient buffer and its clipping, without a word to the host."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from gputensor.backend import Array, namespace
from gputensor.kernels.declare import kernel
from gputensor.kernels.runtime import ALL_FLOATS, LOOP_FLOATS, Loop, narrow, packs, split, widen
from gputensor.kernels.scratch import zeros
from gputensor.kernels.source import CudaSource, c_type

__all__ = ["clip_factor", "clip_norm", "clip_on_cpu", "squared_norm"]

_EPS = 1e-6  # added to the norm, as PyTorch does
_CHUNK = 1 << 16  # elements of a partial sum on the CPU
_MOST_BLOCKS = 1024  # and of one on CUDA: the same on every device, and so are the bits
_THREADS = 256
_GRAIN = 1 << 16  # elements that are worth a CPU thread
_SOURCE = CudaSource(Path(__file__).with_suffix(".cu"))


@Loop
def _squares_loop(start, stop, x, parts, chunk):  # type: ignore[no-untyped-def]
    for part in range(start, stop):
        values = x[part * chunk : (part + 1) * chunk]
        total = 0.0
        for i in range(values.size):
            value = np.float64(values[i])
            total += value * value
        parts[part] = total


@Loop
def _scale_loop(start, stop, x, factor):  # type: ignore[no-untyped-def]
    x = x[start:stop]
    for i in range(x.size):
        x[i] *= factor


def _norm_on_cpu(x: Array) -> Array:
    parts = np.empty(-(-x.size // _CHUNK))
    split(_squares_loop, parts.size, _GRAIN // _CHUNK, x, parts, _CHUNK)
    return np.asarray(parts.sum())


def _norm_on_cuda(source: CudaSource, x: Array) -> Array:
    xp = namespace(x)
    blocks = min(-(-packs(x) // _THREADS), _MOST_BLOCKS)
    parts, total = xp.empty(blocks), xp.empty(())
    source.launch(
        f"squared_norm<{c_type(x.dtype)}>",
        (x, parts, total, zeros().tickets, x.size),
        blocks=(blocks,),
        threads=_THREADS,
    )
    return total


@kernel(
    source=_SOURCE,
    cuda=_norm_on_cuda,
    loop=_norm_on_cpu,
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
)
def squared_norm(xp: Any, x: Any) -> Any:
    """Sum of the squares, taken in float64 and in an order that depends on the size only.

    Parameters
    ----------
    x : array of shape (n,)

    Returns
    -------
    float64 array of shape ()

    Examples
    --------
    >>> gt.kernels.squared_norm.raw(np.array([3.0, 4.0], "f"))
    array(25.)
    """
    wide = xp.astype(x, np.float64)
    return xp.asarray(xp.sum(wide * wide))


def clip_factor(squared: Array, most: float) -> float:
    """What gradients of a squared norm are scaled by, on the CPU."""
    factor = most / (math.sqrt(squared) + _EPS)
    return 1.0 if factor >= 1 else factor


def clip_on_cpu(x: Array, squared: Array, *, most: float) -> None:
    """:func:`clip_norm` on the CPU."""
    factor = clip_factor(squared, most)
    if factor != 1:
        split(_scale_loop, x.size, _GRAIN, x, x.dtype.type(factor))


def _clip_on_cuda(source: CudaSource, x: Array, squared: Array, *, most: float) -> None:
    args = (x, squared, x.size, most)
    source.launch(f"clip_norm<{c_type(x.dtype)}>", args, elements=packs(x))


@kernel(
    source=_SOURCE,
    cuda=_clip_on_cuda,
    loop=clip_on_cpu,
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
    mixed=True,
    writes=("x",),
)
def clip_norm(xp: Any, x: Array, squared: Array, *, most: float) -> None:
    """Scale `x` in place by ``most / (norm + 1e-6)`` where that is below 1 (Pascanu et al. 2013).

    Parameters
    ----------
    x : array of shape (n,)
    squared : float64 array of shape ()
        Square of the norm, which may be that of more than `x`. If it is NaN or infinite there is
        no right factor: `x` becomes NaN where it is not finite, and NaN or 0 elsewhere.
    most : float
        The largest norm.

    Examples
    --------
    >>> x = np.array([3.0, 4.0], "f")
    >>> gt.kernels.clip_norm.raw(x, gt.kernels.squared_norm.raw(x), most=1.0)
    >>> x
    array([0.5999999 , 0.79999983], dtype=float32)
    """
    factor = most / (xp.sqrt(squared) + _EPS)
    wide = widen(xp, x)
    x[...] = narrow(xp, wide * xp.where(factor >= 1, 1.0, factor).astype(wide.dtype), x)
