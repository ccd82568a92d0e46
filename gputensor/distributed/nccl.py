"""Collective operations of arrays on CUDA devices, by NCCL through CuPy.

They go to a stream of their own, which waits for the current one and is waited for, so that they
run beside what is launched in between, and are captured where the current stream is.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gputensor.backend import Array
from gputensor.errors import DistributedError, DTypeError

__all__ = ["Nccl", "new_id"]

# Numbers of nccl.h: CuPy has no name for some.
_DTYPES = {
    "int8": 0,
    "uint8": 1,
    "bool": 1,
    "int32": 2,
    "uint32": 3,
    "int64": 4,
    "uint64": 5,
    "float16": 6,
    "float32": 7,
    "float64": 8,
    "bfloat16": 9,
}
_OPS = {"sum": 0, "max": 2, "min": 3}


def _library() -> Any:
    from cupy.cuda import nccl  # type: ignore[import-not-found, unused-ignore]

    if not nccl.available:
        raise DistributedError(
            "NCCL is not usable through CuPy; install nvidia-nccl-cu12 or nvidia-nccl-cu13, as of "
            "CuPy's CUDA version, and see `python -c 'from cupy.cuda import nccl'`"
        )
    return nccl


def new_id() -> str:
    """What the ranks of a communicator find each other by, as hexadecimal digits."""
    found: bytes = _library().get_unique_id()
    return found.hex()


class Nccl:
    """The CUDA devices of all ranks, one of each.

    Parameters
    ----------
    rank, size : int
    device : int
        This rank's CUDA device.
    number : str
        Of :func:`new_id`, of the first rank.
    """

    def __init__(self, rank: int, size: int, device: int, number: str) -> None:
        import cupy

        self.rank, self.size, self.device = rank, size, device
        self._nccl = _library()
        with cupy.cuda.Device(device):
            self._comm = self._nccl.NcclCommunicator(size, bytes.fromhex(number), rank)
            self._stream = cupy.cuda.Stream(non_blocking=True)
        self._ends: list[Any] = []  # events after calls

    def start(self, call: Callable[[int], object]) -> int:
        """Give a call to the stream, after what the current one was given so far; its number."""
        import cupy

        with cupy.cuda.Device(self.device):
            self._stream.wait_event(cupy.cuda.get_current_stream().record())
            call(self._stream.ptr)
            self._ends.append(self._stream.record())
        return len(self._ends) - 1

    def join(self, number: int) -> None:
        """Let the current stream wait for a call, and those before it."""
        import cupy

        with cupy.cuda.Device(self.device):
            cupy.cuda.get_current_stream().wait_event(self._ends[number])
        if number == len(self._ends) - 1:
            self._ends.clear()

    def _now(self, call: Callable[[int], object]) -> None:
        """Give a call to the stream, which the current one waits for."""
        self.join(self.start(call))

    def kill(self) -> None:
        """Give up what is under way, so that the process can end."""
        self._comm.abort()

    def reducing(self, array: Array, op: str) -> Callable[[int], object]:
        """Reduction over the ranks, in place, as a function of the stream."""
        self._check(array)
        count, dtype = _count_and_dtype(array)
        place = array.data.ptr
        return lambda stream: self._comm.allReduce(place, place, count, dtype, _OPS[op], stream)

    def all_reduce(self, array: Array, op: str) -> None:
        """Reduce over the ranks, in place."""
        self._now(self.reducing(array, op))

    def broadcast(self, array: Array, root: int) -> None:
        """Copy the array of one rank, in place."""
        self._check(array)
        place, nbytes = array.data.ptr, array.nbytes
        self._now(lambda s: self._comm.broadcast(place, place, nbytes, _DTYPES["uint8"], root, s))

    def reduce_parts(self, array: Array, bounds: Sequence[int]) -> None:
        """Sum over the ranks where it is the rank's part: from its bound to the next one."""
        _, dtype = _count_and_dtype(array)
        places = [array.data.ptr + b * array.itemsize for b in bounds]

        def call(stream: int) -> None:
            self._nccl.groupStart()
            for root, (a, b) in enumerate(itertools.pairwise(bounds)):
                place = places[root]
                self._comm.reduce(place, place, b - a, dtype, _OPS["sum"], root, stream)
            self._nccl.groupEnd()

        self._now(call)

    def gather_parts(self, array: Array, bounds: Sequence[int]) -> None:
        """Copy each rank's part, from its bound to the next one, in place."""
        places = [array.data.ptr + b * array.itemsize for b in bounds]

        def call(stream: int) -> None:
            self._nccl.groupStart()
            for root, (a, b) in enumerate(itertools.pairwise(bounds)):
                place, nbytes = places[root], (b - a) * array.itemsize
                self._comm.broadcast(place, place, nbytes, _DTYPES["uint8"], root, stream)
            self._nccl.groupEnd()

        self._now(call)

    def _check(self, array: Array) -> None:
        if array.device.id != self.device:
            raise DistributedError(
                f"rank {self.rank} communicates by cuda:{self.device}, and an array is on "
                f"cuda:{array.device.id}; move the model there"
            )


def _count_and_dtype(array: Array) -> tuple[int, int]:
    dtype: np.dtype[Any] = array.dtype
    count = int(array.size)
    if dtype.kind == "c":
        dtype, count = array.real.dtype, 2 * count
    if dtype.name not in _DTYPES:
        raise DTypeError(f"all_reduce: NCCL has no numbers of {array.dtype}")
    return count, _DTYPES[dtype.name]
