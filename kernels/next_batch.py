"""The next training batch: rows of a data set in a given order, whose place is on the device."""

from pathlib import Path
from typing import Any

from gputensor.backend import Array, namespace
from gputensor.kernels.declare import kernel
from gputensor.kernels.gather_scale import gather_scale
from gputensor.kernels.runtime import packs
from gputensor.kernels.scratch import zeros
from gputensor.kernels.source import CudaSource, c_type

__all__ = ["next_batch"]


def _on_cpu(
    data: Array,
    labels: Array,
    order: Array,
    at: Array,
    *,
    rows: int,
    dtype: Any,
    scale: float = 1.0,
    offset: float = 0.0,
) -> tuple[Array, Array]:
    start = int(at[0])
    at += rows
    index = order[start : start + rows]
    x = gather_scale.loop(data, index, dtype=dtype, scale=scale, offset=offset)  # type: ignore
    return x, labels[index]


def _on_cuda(
    source: CudaSource,
    data: Array,
    labels: Array,
    order: Array,
    at: Array,
    *,
    rows: int,
    dtype: Any,
    scale: float = 1.0,
    offset: float = 0.0,
) -> tuple[Array, Array]:
    xp = namespace(data)
    x = xp.empty((rows, *data.shape[1:]), dtype)
    y = xp.empty((rows, *labels.shape[1:]), labels.dtype)
    columns = x.size // rows, y.size // rows
    source.launch(
        f"next_batch<{c_type(data.dtype)}, {c_type(x.dtype)}, {c_type(y.dtype)}>",
        (data, labels, order, at, zeros().tickets, x, y, rows, *columns, scale, offset),
        elements=packs(x),
    )
    return x, y


@kernel(
    source=Path(__file__).with_suffix(".cu"),
    cuda=_on_cuda,
    loop=_on_cpu,
    dtypes=gather_scale.dtypes,
    loop_dtypes=gather_scale.loop_dtypes,
    mixed=True,
    writes=("at",),
)
def next_batch(
    xp: Any,
    data: Array,
    labels: Array,
    order: Array,
    at: Array,
    *,
    rows: int,
    dtype: Any,
    scale: float = 1.0,
    offset: float = 0.0,
) -> tuple[Array, Array]:
    """Rows ``order[at : at + rows]`` of data and labels; `at` is moved on by `rows`.

    Parameters
    ----------
    data : array of shape (n, ...)
        uint8 or floating point; others go to the reference.
    labels : array of shape (n, ...)
    order : int64 array of shape (m,)
        Row numbers, ``0 <= order < n``; not checked.
    at : int64 array of shape (1,)
        Where to begin, ``0 <= at <= m - rows``; not checked. Changed in place.
    rows : int
        At least 1.
    dtype : dtype
        Floating point dtype of the first result.
    scale, offset : float

    Returns
    -------
    x : array of shape (rows, ...)
        ``data * scale + offset`` in `dtype`; 16-bit results are computed in float32.
    y : array of shape (rows, ...)
        The labels.

    Examples
    --------
    >>> data, labels, order = np.eye(4, dtype="f"), np.arange(4), np.array([3, 1, 0, 2])
    >>> at = np.zeros(1, np.int64)
    >>> x, y = gt.kernels.next_batch.raw(data, labels, order, at, rows=2, dtype="float32")
    >>> y, at
    (array([3, 1]), array([2]))
    """
    index = order[at + xp.arange(rows)]
    at += rows
    x = gather_scale.reference(xp, data, index, dtype=dtype, scale=scale, offset=offset)
    return x, labels[index]
