"""Norms of gradient buffers and their clipping, without a word to the host.

A buffer has one norm or, with `segments`, each parameter in it one of its own.
"""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.backend import Array, namespace
from gputensor.kernels.declare import kernel
from gputensor.kernels.runtime import (
    ALL_FLOATS,
    LOOP_FLOATS,
    Inline,
    Loop,
    narrow,
    packs,
    split,
    widen,
)
from gputensor.kernels.scratch import zeros
from gputensor.kernels.source import CudaSource, c_type

__all__ = [
    "clip_norm",
    "clip_on_cpu",
    "clipping_on_cpu",
    "ends_of",
    "scale",
    "segments_of",
    "squared_norm",
]

_EPS = 1e-6  # added to the norm, as PyTorch does
_CHUNK = 1 << 16  # elements of a partial sum on the CPU
_MOST_BLOCKS = 1024  # and of one on CUDA: the same on every device, and so are the bits
_THREADS = 256
_GRAIN = 1 << 16  # elements that are worth a CPU thread
_SOURCE = CudaSource(Path(__file__).with_suffix(".cu"))


def segments_of(sizes: Sequence[int], like: Array) -> Array:
    """What kernels are told of the parameters of a buffer, on its device.

    Parameters
    ----------
    sizes : sequence of int
        How many elements each has, in their order; together they are the buffer.
    like : array
        The buffer, or a part of it.

    Returns
    -------
    int64 array of shape (3, number of parameters)
        Where the elements of each end, and where the partial sums of its norm do, on the CPU and on
        CUDA. How many those are depends on its size alone.
    """
    chunks = [max(1, -(-n // _CHUNK)) for n in sizes]
    blocks = [max(1, _blocks(n * like.dtype.itemsize)) for n in sizes]
    table = np.cumsum([sizes, chunks, blocks], axis=1, dtype=np.int64)
    with backend.on_device_of(like):
        return backend.NAMESPACES[type(like)].asarray(table)  # a recording knows it by the array


def _blocks(nbytes: int) -> int:
    """Partial sums of a norm on CUDA: of blocks whose threads take 16 bytes each, or more."""
    return min(-(-nbytes // (16 * _THREADS)), _MOST_BLOCKS)


@functools.lru_cache(maxsize=256)
def _whole(size: int) -> Array:
    """Segments of a buffer of the CPU that has one norm."""
    return segments_of([size], np.empty(0))


@Loop
def _squares_loop(start, stop, x, segments, parts):  # type: ignore[no-untyped-def]
    # The parts that begin from `start` on.
    begin = part = 0
    for j in range(segments.shape[1]):
        while part < segments[1, j]:
            end = min(begin + _CHUNK, segments[0, j])
            if start <= begin < stop:
                values = x[begin:end]
                total = 0.0
                for i in range(values.size):
                    value = np.float64(values[i])
                    total += value * value
                parts[part] = total
            begin = end
            part += 1


def _scale(x, first, segments, factors):  # type: ignore[no-untyped-def]
    begin = 0
    for j in range(factors.size):
        end = min(segments[0, j] - first, x.size)
        if end > begin:
            factor = factors[j]
            if factor != 1:
                values = x[begin:end]
                for i in range(values.size):
                    values[i] = values[i] * factor
            begin = end


# Multiplies elements of a buffer, from `first` on, by the factors of their parameters; in loops.
scale: Any = Inline({"float32": _scale, "float64": _scale})


@Loop
def _scale_loop(start, stop, x, segments, factors):  # type: ignore[no-untyped-def]
    scale(x[start:stop], start, segments, factors)


def _norm_on_cpu(x: Array, *, segments: Array | None = None) -> Array:
    table = _whole(x.size) if segments is None else segments
    ends = table[1]
    parts = np.zeros(ends[-1])
    split(_squares_loop, x.size, _GRAIN, x, table, parts)
    if segments is None:
        return np.asarray(parts.sum())
    totals = parts[ends - 1]
    for j in np.flatnonzero(np.diff(ends, prepend=0) > 1):
        totals[j] = parts[ends[j - 1] if j else 0 : ends[j]].sum()
    return totals


def ends_of(segments: Array | None) -> tuple[Array | None, int]:
    """Pointer and count of what CUDA kernels look the parameter of an element up in."""
    return (None, 0) if segments is None else (segments, segments.shape[1])


def _norm_on_cuda(source: CudaSource, x: Array, *, segments: Array | None = None) -> Array:
    xp = namespace(x)
    table, count = ends_of(segments)
    parts = x.nbytes // (16 * _THREADS) + count if count else _blocks(x.nbytes)
    totals = xp.empty(count or ())
    source.launch(
        f"squared_norm<{c_type(x.dtype)}>",
        (x, xp.empty(parts), totals, zeros(max(count, 1)).tickets, table, count, x.size),
        blocks=(min(parts, _MOST_BLOCKS),),
        threads=_THREADS,
    )
    return totals


def _parameter_of(xp: Any, x: Any, segments: Any) -> Any:
    """Number of the parameter that each element belongs to."""
    return xp.searchsorted(segments[0], xp.arange(x.size), side="right")


@kernel(
    source=_SOURCE,
    cuda=_norm_on_cuda,
    loop=_norm_on_cpu,
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
)
def squared_norm(xp: Any, x: Any, *, segments: Any = None) -> Any:
    """Sum of the squares, taken in float64 and in an order that depends on the size only.

    Parameters
    ----------
    x : array of shape (n,)
    segments : int64 array of shape (3, m), optional
        The `m` parameters that `x` has side by side, as of ``kernels.grad_norm.segments_of``: each
        gets a sum, of the bits that it has where `x` is that parameter alone.

    Returns
    -------
    float64 array of shape () or (m,)

    Examples
    --------
    >>> gt.kernels.squared_norm.raw(np.array([3.0, 4.0], "f"))
    array(25.)
    """
    wide = xp.astype(x, np.float64)
    squares = wide * wide
    if segments is None:
        return xp.asarray(xp.sum(squares))
    count = segments.shape[1]
    return xp.bincount(_parameter_of(xp, x, segments), weights=squares, minlength=count)


def _factors(squared: Array, most: float, dtype: "np.dtype[Any]") -> Array:
    """What gradients of squared norms are scaled by: an array of shape (m,)."""
    squared = np.asarray(squared)
    if squared.size == 1:
        factor = most / (math.sqrt(squared.item()) + _EPS)
        return np.array([1.0 if factor >= 1 else factor], dtype)
    factors = most / (np.sqrt(squared) + _EPS)
    return np.where(factors >= 1, 1.0, factors).astype(dtype)


def clip_on_cpu(x: Array, squared: Array, *, most: float, segments: Array | None = None) -> None:
    """:func:`clip_norm` on the CPU."""
    factors = _factors(squared, most, x.dtype)
    if factors.size > 1 or factors[0] != 1:
        table = _whole(x.size) if segments is None else segments
        split(_scale_loop, x.size, _GRAIN, x, table, factors)


def clipping_on_cpu(
    x: Array, squared: Array | None, most: float, segments: Array | None
) -> tuple[Array, Array]:
    """Segments and factors of a step, for :data:`scale`; without factors nothing is scaled."""
    if squared is None:
        return _nothing(x.dtype)
    table = _whole(x.size) if segments is None else segments
    return table, _factors(squared, most, x.dtype)


@functools.cache
def _nothing(dtype: "np.dtype[Any]") -> tuple[Array, Array]:
    return _whole(0), np.empty(0, dtype)


def _clip_on_cuda(
    source: CudaSource, x: Array, squared: Array, *, most: float, segments: Array | None = None
) -> None:
    args = (x, squared, *ends_of(segments), x.size, most)
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
def clip_norm(
    xp: Any, x: Array, squared: Array, *, most: float, segments: Array | None = None
) -> None:
    """Scale `x` in place by ``most / (norm + 1e-6)`` where that is below 1 (Pascanu et al. 2013).

    Parameters
    ----------
    x : array of shape (n,)
    squared : float64 array of shape () or (m,)
        Square of the norm, which may be that of more than `x`; with `segments` those of its
        parameters. If one is NaN or infinite there is no right factor: `x` becomes NaN where it is
        not finite, and NaN or 0 elsewhere.
    most : float
        The largest norm.
    segments : int64 array of shape (3, m), optional
        The parameters that are scaled each by its own norm, see :func:`squared_norm`.

    Examples
    --------
    >>> x = np.array([3.0, 4.0], "f")
    >>> gt.kernels.clip_norm.raw(x, gt.kernels.squared_norm.raw(x), most=1.0)
    >>> x
    array([0.5999999 , 0.79999983], dtype=float32)
    """
    factor = most / (xp.sqrt(squared) + _EPS)
    factor = xp.where(factor >= 1, 1.0, factor)
    if segments is not None:
        factor = factor[_parameter_of(xp, x, segments)]
    wide = widen(xp, x)
    x[...] = narrow(xp, wide * factor.astype(wide.dtype), x)
