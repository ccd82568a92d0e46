"""How a CUDA kernel that works row by row (``rows.cuh``) is cut into groups of threads."""

from typing import Any

from gputensor.backend import Array

__all__ = ["row_layout"]

_WARPS = 4  # of a block, where a warp takes a row


def row_layout(*arrays: Array) -> tuple[str, dict[str, Any]]:
    """Template arguments ``N, GROUP, KEPT`` and launch shape for arrays of shape (rows, columns).

    Rows of up to 8 packs a thread stay in the registers of a warp, or of a block of 256 threads;
    longer ones are read again in each pass by a block of 1024.
    """
    rows, columns = arrays[0].shape
    width = 16 // arrays[0].itemsize
    if columns % width or any(a.data.ptr % 16 for a in arrays):
        width = 1
    packs = columns // width
    if packs <= 32 * 8:
        kept = 1 if packs <= 32 else 8
        shape = {"blocks": (-(-rows // _WARPS),), "threads": 32 * _WARPS}
        return f"{width}, 32, {kept}", shape
    if packs <= 256 * 8:
        return f"{width}, 256, 8", {"blocks": (rows,), "threads": 256}
    return f"{width}, 1024, 0", {"blocks": (rows,), "threads": 1024}
