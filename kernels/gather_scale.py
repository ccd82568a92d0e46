"""Rows of a data set, chosen by index, converted and scaled: a training batch in one pass."""

from typing import Any

from gputensor.backend import Array, namespace
from gputensor.kernels.runtime import Loop, blocks, cuda_kernel, implementation, split, suffix

__all__ = ["gather_scale"]

_THREADS = 256
_GRAIN = 1 << 20  # elements that are worth a CPU thread
_PAIRS = ("u8_f32", "u8_f64", "f32_f32", "f64_f64")


@Loop
def _gather_loop(start, stop, data, index, out, scale, offset):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        source = data[index[i]]
        target = out[i]
        for j in range(source.size):
            target[j] = source[j] * scale + offset


def gather_scale(
    data: Array, index: Array, dtype: Any, scale: float = 1.0, offset: float = 0.0
) -> Array:
    """``data[index] * scale + offset`` in `dtype`.

    Parameters
    ----------
    data : array of shape (n, ...)
        uint8, or of the result's dtype; others go to the reference.
    index : int64 array of shape (rows,)
        Row numbers, ``0 <= index < n``; not checked.
    dtype : dtype
        Floating point dtype of the result.
    scale, offset : float

    Returns
    -------
    array of shape (rows, ...)
    """
    xp = namespace(data)
    out = xp.empty((len(index), *data.shape[1:]), dtype)
    how = implementation(out, data, index)
    rows = len(index)
    columns = out.size // rows if rows else 0
    pair = f"{suffix(data)}_{suffix(out)}"
    if how == "reference" or not out.size or pair not in _PAIRS:
        out[...] = data[index]
        if scale != 1:
            out *= scale
        if offset:
            out += offset
        return out
    number = out.dtype.type
    if how == "loop":
        flat = data.reshape(len(data), columns), index, out.reshape(rows, columns)
        split(_gather_loop, rows, _GRAIN // columns + 1, *flat, number(scale), number(offset))
    else:
        kernel = cuda_kernel("gather_scale", f"gather_scale_{pair}")
        args = (data, index, out, out.size, columns, number(scale), number(offset))
        kernel(blocks(out.size, _THREADS, out), (_THREADS,), args)
    return out
