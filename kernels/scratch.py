"""Zeros that CUDA kernels find, count in, and leave as zeros: no launch has to make them."""

import threading
from typing import NamedTuple

import numpy as np

from gputensor.backend import Array

__all__ = ["Zeros", "zeros"]

_FEWEST = 1024


class Zeros(NamedTuple):
    """Zeros of a stream, whose kernels run one after the other.

    Attributes
    ----------
    tickets : uint32 array
        For ``last_block`` of ``common.cuh``.
    counter : int64 array of shape (1,)
    """

    tickets: Array
    counter: Array


# By device, stream and thread. None is freed: captured graphs go on using them.
_zeros: dict[tuple[int, int, int], list[Zeros]] = {}


def zeros(tickets: int = 1) -> Zeros:
    """Zeros of the current device, stream and thread, with so many tickets or more."""
    import cupy  # type: ignore[import-not-found, unused-ignore]

    stream = cupy.cuda.get_current_stream()
    key = (cupy.cuda.get_device_id(), stream.ptr, threading.get_ident())
    made = _zeros.setdefault(key, [])
    if not made or made[-1].tickets.size < tickets:
        # Not from an allocator that is in force for a while only, such as that of a capture. And
        # on another stream, as what one captures is not done.
        pool, apart = cupy.get_default_memory_pool(), cupy.cuda.Stream(non_blocking=True)
        with cupy.cuda.using_allocator(pool.malloc), apart:
            count = max(_FEWEST, 2 * tickets)
            made.append(Zeros(cupy.zeros(count, np.uint32), cupy.zeros(1, np.int64)))
            apart.synchronize()
    return made[-1]
