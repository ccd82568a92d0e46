"""The next rows of an order, whose place is kept on the device: which samples a batch has."""

from pathlib import Path
from typing import Any

import numpy as np

from gputensor.backend import Array, namespace
from gputensor.kernels.declare import kernel
from gputensor.kernels.source import CudaSource

__all__ = ["next_rows"]


def _on_cpu(order: Array, at: Array, *, rows: int) -> Array:
    start = int(at[0])
    at += rows
    return order[start : start + rows].copy()


def _on_cuda(source: CudaSource, order: Array, at: Array, *, rows: int) -> Array:
    out = namespace(order).empty(rows, np.int64)
    source.launch("next_rows", (order, at, out, rows), blocks=(1,), threads=512)
    return out


@kernel(
    source=Path(__file__).with_suffix(".cu"),
    cuda=_on_cuda,
    loop=_on_cpu,
    dtypes=("int64",),
    writes=("at",),
)
def next_rows(xp: Any, order: Array, at: Array, *, rows: int) -> Array:
    """``order[at : at + rows]``; `at` is moved on by `rows`.

    Parameters
    ----------
    order : int64 array of shape (n,)
    at : int64 array of shape (1,)
        Where to begin, ``0 <= at <= n - rows``; not checked. Changed in place.
    rows : int

    Returns
    -------
    int64 array of shape (rows,)
    """
    out = order[at + xp.arange(rows)]
    at += rows
    return out
