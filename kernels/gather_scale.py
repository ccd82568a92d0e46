"""Rows of a data set, chosen by index, converted and scaled: a training batch in one pass."""

from pathlib import Path
from typing import Any

import numpy as np

from gputensor.backend import Array, namespace
from gputensor.kernels.declare import kernel
from gputensor.kernels.runtime import ALL_FLOATS, Loop, packs, split
from gputensor.kernels.source import CudaSource, c_type

__all__ = ["gather_scale"]

_GRAIN = 1 << 13  # elements that are worth a CPU thread


@Loop
def _gather_loop(start, stop, data, index, out, scale, offset):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        source = data[index[i]]
        target = out[i]
        for j in range(source.size):
            target[j] = source[j] * scale + offset


def _on_cpu(
    data: Array, index: Array, *, dtype: Any, scale: float = 1.0, offset: float = 0.0
) -> Array:
    if np.dtype(dtype).char not in "fd":  # Numba has no numbers of 16 bits
        return gather_scale.reference(
            namespace(data), data, index, dtype=dtype, scale=scale, offset=offset
        )
    out = np.empty((len(index), *data.shape[1:]), dtype)
    rows = len(index)
    columns = out.size // rows
    flat = data.reshape(len(data), columns), index, out.reshape(rows, columns)
    number = out.dtype.type
    split(_gather_loop, rows, _GRAIN // columns + 1, *flat, number(scale), number(offset))
    return out


def _on_cuda(
    source: CudaSource,
    data: Array,
    index: Array,
    *,
    dtype: Any,
    scale: float = 1.0,
    offset: float = 0.0,
) -> Array:
    out = namespace(data).empty((len(index), *data.shape[1:]), dtype)
    source.launch(
        f"gather_scale<{c_type(data.dtype)}, {c_type(out.dtype)}>",
        (data, index, out, out.size, out.size // len(index), scale, offset),
        elements=packs(out),
    )
    return out


@kernel(
    source=Path(__file__).with_suffix(".cu"),
    cuda=_on_cuda,
    loop=_on_cpu,
    dtypes=("uint8", *ALL_FLOATS),
    loop_dtypes=("uint8", "float32", "float64"),
)
def gather_scale(
    xp: Any,
    data: Array,
    index: Array,
    *,
    dtype: Any,
    scale: float = 1.0,
    offset: float = 0.0,
) -> Array:
    """``data[index] * scale + offset`` in `dtype`.

    Parameters
    ----------
    data : array of shape (n, ...)
        uint8 or floating point; others go to the reference.
    index : int64 array of shape (rows,)
        Row numbers, ``0 <= index < n``; not checked.
    dtype : dtype
        Floating point dtype of the result.
    scale, offset : float

    Returns
    -------
    array of shape (rows, ...)

    Examples
    --------
    >>> pixels = np.array([[0, 255], [255, 0]], np.uint8)
    >>> gt.kernels.gather_scale.raw(pixels, np.array([1]), dtype="float32", scale=1 / 255)
    array([[1., 0.]], dtype=float32)
    """
    wide = np.result_type(dtype, np.float32)  # 16-bit results are computed in float32
    out = data[index].astype(wide)
    out *= scale
    out += offset
    return out.astype(dtype, copy=False)
