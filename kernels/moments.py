"""Mean and variance of rows in one pass over the data."""

from pathlib import Path
from typing import Any

import numpy as np

from gputensor.backend import Array, namespace
from gputensor.kernels.declare import kernel
from gputensor.kernels.rows import pack_width
from gputensor.kernels.runtime import ALL_FLOATS, LOOP_FLOATS, Loop, split, widen
from gputensor.kernels.source import CudaSource, c_type

__all__ = ["row_moments"]

_CHUNK = 1 << 14  # columns of a partial result
_GRAIN = 1 << 15  # elements that are worth a CPU thread


@Loop
def _loop(start, stop, x, means, squares, chunk):  # type: ignore[no-untyped-def]
    for part in range(start, stop):
        row, k = part // means.shape[1], part % means.shape[1]
        values = x[row, k * chunk : (k + 1) * chunk]  # small enough to be in the cache twice
        # Less the first, as sums of large numbers lose what these differ by.
        first = values[0] if values[0] - values[0] == 0 else x.dtype.type(0)
        mean = x.dtype.type(0)
        for j in range(values.size):
            mean += values[j] - first
        mean = first + mean / x.dtype.type(values.size)
        square = x.dtype.type(0)
        for j in range(values.size):
            d = values[j] - mean
            square += d * d
        means[row, k] = mean
        squares[row, k] = square


def _merged(xp: Any, means: Array, squares: Array, columns: int) -> tuple[Array, Array]:
    """Mean and variance of rows from those of their chunks (Chan et al. 1983)."""
    chunks = means.shape[1]
    if chunks == 1:
        return means[:, 0], squares[:, 0] / columns
    counts = np.full(chunks, _CHUNK)
    counts[-1] = columns - (chunks - 1) * _CHUNK
    shares = xp.asarray((counts / columns).astype(means.dtype))
    mean = xp.sum(means * shares, axis=1)
    deviation = means - mean[:, None]
    between = xp.sum(deviation * deviation * shares, axis=1)
    within = xp.sum(squares, axis=1) / columns
    # Of infinite means there is no deviation.
    return mean, within + xp.where(xp.isfinite(within), between, 0)


def _on_cpu(x: Array) -> tuple[Array, Array]:
    rows, columns = x.shape
    means = np.empty((rows, -(-columns // _CHUNK)), x.dtype)
    squares = np.empty_like(means)
    grain = _GRAIN // min(columns, _CHUNK) + 1
    split(_loop, means.size, grain, x, means, squares, _CHUNK)
    return _merged(namespace(x), means, squares, columns)


def _on_cuda(source: CudaSource, x: Array) -> tuple[Array, Array]:
    xp = namespace(x)
    rows, columns = x.shape
    chunks = -(-columns // _CHUNK)
    means = xp.empty((rows, chunks), np.float64 if x.dtype.char == "d" else np.float32)
    squares = xp.empty_like(means)
    width = pack_width(x)
    group, blocks, threads = (32, -(-rows // 4), 128) if columns <= 1024 else (256, rows, 256)
    source.launch(
        f"row_moments<{c_type(x.dtype)}, {width}, {group}>",
        (x, means, squares, rows, columns, _CHUNK),
        blocks=(blocks, chunks),
        threads=threads,
    )
    return _merged(xp, means, squares, columns)


@kernel(
    source=Path(__file__).with_suffix(".cu"),
    cuda=_on_cuda,
    loop=_on_cpu,
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
)
def row_moments(xp: Any, x: Any) -> tuple[Any, Any]:
    """Mean and variance, without correction, along the rows of a matrix.

    Parameters
    ----------
    x : array of shape (rows, columns)

    Returns
    -------
    mean, variance : arrays of shape (rows,)
        float32 for `x` of 16 bits, else of its dtype.

    Examples
    --------
    >>> mean, variance = gt.kernels.row_moments.raw(np.array([[1.0, 3.0]], "f"))
    >>> mean, variance
    (array([2.], dtype=float32), array([1.], dtype=float32))
    """
    wide = widen(xp, x)
    mean = xp.mean(wide, axis=1)
    deviation = wide - mean[:, None]
    return mean, xp.mean(deviation * deviation, axis=1)
