"""Philox4x32-10: random bits as a function of a key and a counter (Salmon et al. 2011)."""

from pathlib import Path
from typing import Any

import numpy as np

from gputensor import config
from gputensor.backend import Array
from gputensor.kernels.runtime import Loop, split
from gputensor.kernels.source import CudaSource

__all__ = ["random_bits"]

_SOURCE = CudaSource(Path(__file__).with_suffix(".cu"))
_GRAIN = 1 << 16  # counters that are worth a CPU thread
_M0, _M1 = 0xD2511F53, 0xCD9E8D57  # multipliers
_W0, _W1 = 0x9E3779B9, 0xBB67AE85  # key increments, from the golden ratio and sqrt(3)
_LOW = 0xFFFFFFFF


@Loop
def _philox_loop(start, stop, out, key, offset):  # type: ignore[no-untyped-def]
    low = np.uint64(_LOW)
    half = np.uint64(32)
    for i in range(start, stop):
        block = offset + np.uint64(i)
        c0, c1 = block & low, block >> half
        c2 = c3 = np.uint64(0)
        k0, k1 = key & low, key >> half
        for _ in range(10):
            a = np.uint64(_M0) * c0
            b = np.uint64(_M1) * c2
            c0, c1, c2, c3 = (b >> half) ^ c1 ^ k0, b & low, (a >> half) ^ c3 ^ k1, a & low
            k0 = (k0 + np.uint64(_W0)) & low
            k1 = (k1 + np.uint64(_W1)) & low
        out[4 * i] = c0
        out[4 * i + 1] = c1
        out[4 * i + 2] = c2
        out[4 * i + 3] = c3


def _reference(xp: Any, count: int, key: int, offset: int) -> Array:
    """Words of `count` counters, shape (4 * count,)."""
    block = xp.arange(count, dtype=np.uint64) + np.uint64(offset)
    low, half = np.uint64(_LOW), np.uint64(32)
    c0, c1 = block & low, block >> half
    c2 = xp.zeros_like(block)
    c3 = xp.zeros_like(block)
    k0, k1 = key & _LOW, key >> 32
    for _ in range(10):
        a, b = np.uint64(_M0) * c0, np.uint64(_M1) * c2
        c0, c1, c2, c3 = (
            (b >> half) ^ c1 ^ np.uint64(k0),
            b & low,
            (a >> half) ^ c3 ^ np.uint64(k1),
            a & low,
        )
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return xp.stack([c0, c1, c2, c3], axis=1).astype(np.uint32).reshape(-1)


def random_bits(xp: Any, size: int, key: int, offset: int) -> Array:
    """`size` random 32-bit words: those of the counters from `offset` on, four to a counter.

    Parameters
    ----------
    xp : namespace
        NumPy's or CuPy's; the words are made there, and are the same in both.
    size : int
    key : int
        The stream, 64 bits.
    offset : int
        First counter, 64 bits.

    Returns
    -------
    uint32 array of shape (size,)
    """
    count = -(-size // 4)
    if config.kernels_setting() == "reference" or not size:
        return _reference(xp, count, key, offset)[:size]
    out = xp.empty(4 * count, np.uint32)
    if type(out) is np.ndarray:
        split(_philox_loop, count, _GRAIN, out, np.uint64(key), np.uint64(offset))
    else:
        _SOURCE.launch("philox_u32", (out, out.size, key, offset), elements=count)
    return out[:size]
