"""How kernels on rows (``rows.cuh``) and columns (``columns.cuh``) are cut into parts."""

from typing import Any

import numpy as np

from gputensor.backend import Array, namespace
from gputensor.kernels.scratch import zeros

__all__ = ["ColumnSums", "chunk_rows", "pack_width", "row_layout"]

_WARPS = 4  # of a block, where a warp takes a row
_CHUNK = 64  # rows of a block, where blocks sum columns; and the most chunks on a CPU
_CHUNK_ELEMENTS = 1 << 15  # that a chunk on a CPU has at least
_MOST_CHUNKS = 65535  # what a grid can have in its second direction


def chunk_rows(rows: int, columns: int) -> int:
    """Rows of a chunk, where CPU loops sum columns: chunk by chunk, and then the chunks.

    It depends on the shape alone, so that sums do not depend on the number of threads. Whole rows
    are read in one stretch; a thread with some columns of all rows took five times as long.
    """
    return max(-(-rows // _CHUNK), _CHUNK_ELEMENTS // columns, 1)


def pack_width(*arrays: Array) -> int:
    """Elements of a row that can be read at once: 16 bytes of them, or one."""
    width = 16 // arrays[0].itemsize
    aligned = not any(a.data.ptr % 16 for a in arrays)
    return width if aligned and arrays[0].shape[-1] % width == 0 else 1


def row_layout(*arrays: Array) -> tuple[str, dict[str, Any]]:
    """Template arguments ``N, GROUP, KEPT`` and launch shape for arrays of shape (rows, columns).

    Rows of up to 8 packs a thread stay in the registers of a warp, or of a block of 256 threads;
    longer ones are read again in each pass by a block of 512: in one of 1024 a thread has only 64
    registers.
    """
    rows, columns = arrays[0].shape
    width = pack_width(*arrays)
    packs = columns // width
    if packs <= 32 * 8:
        kept = 1 if packs <= 32 else 8
        shape = {"blocks": (-(-rows // _WARPS),), "threads": 32 * _WARPS}
        return f"{width}, 32, {kept}", shape
    if packs <= 256 * 8:
        return f"{width}, 256, 8", {"blocks": (rows,), "threads": 256}
    return f"{width}, 512, 0", {"blocks": (rows,), "threads": 512}


class ColumnSums:
    """Launch shape of a kernel that sums over rows in chunks, and then the chunks.

    Parameters
    ----------
    *arrays : arrays
        What the kernel reads; the first of shape (rows, columns).

    Attributes
    ----------
    width : int
        Template argument ``N``.
    sizes : tuple
        Arguments ``rows, columns, chunk``.
    shape : dict
        Launch shape.
    tickets : array
        For ``last_of_columns``.
    """

    def __init__(self, *arrays: Array) -> None:
        self._like = arrays[0]
        rows, columns = self._like.shape
        chunk = _CHUNK * -(-rows // (_CHUNK * _MOST_CHUNKS))
        self._chunks = -(-rows // chunk)
        self.width = pack_width(*arrays)
        self.sizes = rows, columns, chunk
        blocks = -(-columns // (32 * self.width)), self._chunks
        self.shape: dict[str, Any] = {"blocks": blocks, "threads": (32, 8)}
        self.tickets = zeros(blocks[0]).tickets

    def parts(self) -> Array:
        """Room for the sums of the chunks."""
        dtype = np.float64 if self._like.dtype.char == "d" else np.float32
        return namespace(self._like).empty((self._chunks, self._like.shape[1]), dtype)
