"""Collective operations of arrays on the host, by MPI through mpi4py."""

import itertools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from gputensor.backend import Array, is_narrow
from gputensor.errors import DistributedError

__all__ = ["Mpi"]

# An operation is asked so often whether it is done, and then again after pauses, in seconds, that
# become longer: MPI's own waiting keeps a core busy, which another rank may need to come.
_LOOKS, _SHORTEST, _LONGEST = 50, 2e-5, 3e-4
_OPS = {"sum": "SUM", "max": "MAX", "min": "MIN"}


class Mpi:
    """All processes that ``mpiexec`` started.

    Attributes
    ----------
    rank, size : int
    local_rank, local_size : int
        Number among the ranks of this machine, and how many there are.
    threads : bool
        Whether another thread than the main one may communicate.
    """

    def __init__(self) -> None:
        try:
            from mpi4py import MPI
        except (ImportError, RuntimeError) as error:
            raise DistributedError(
                f"MPI is not usable: {error}. Install it with pip install mpi4py mpich"
            ) from None
        self._mpi = MPI
        self._comm = MPI.COMM_WORLD.Dup()  # apart from what the user's program sends
        self.rank, self.size = self._comm.rank, self._comm.size
        near = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = near.rank, near.size
        near.Free()
        self.threads = MPI.Query_thread() >= MPI.THREAD_SERIALIZED

    def share(self, thing: Any, root: int = 0) -> Any:
        """A Python object of one rank, to begin with."""
        return self._comm.bcast(thing, root)

    def kill(self) -> None:
        """End all processes."""
        self._mpi.COMM_WORLD.Abort(70)

    def all_reduce(self, array: Array, op: str) -> None:
        """Reduce over the ranks, in place."""
        if is_narrow(array.dtype):  # MPI has no such numbers
            wide = array.astype(np.float32)
            self.all_reduce(wide, op)
            array[...] = wide.astype(array.dtype)
            return
        numbers, function = _numbers(array), getattr(self._mpi, _OPS[op])
        _wait(self._comm.Iallreduce(self._mpi.IN_PLACE, numbers, function))

    def broadcast(self, array: Array, root: int) -> None:
        """Copy the array of one rank, in place."""
        _wait(self._comm.Ibcast(array.reshape(-1).view(np.uint8), root))

    def reduce_parts(self, array: Array, bounds: Sequence[int]) -> None:
        """Sum over the ranks where it is the rank's part: from its bound to the next one."""
        if is_narrow(array.dtype):
            wide = array.astype(np.float32)
            self.reduce_parts(wide, bounds)
            own = slice(*bounds[self.rank : self.rank + 2])
            array[own] = wide[own].astype(array.dtype)
            return
        counts = [b - a for a, b in itertools.pairwise(bounds)]
        found = np.empty(counts[self.rank], array.dtype)
        _wait(self._comm.Ireduce_scatter(array, found, counts, self._mpi.SUM))
        array[bounds[self.rank] : bounds[self.rank + 1]] = found

    def gather_parts(self, array: Array, bounds: Sequence[int]) -> None:
        """Copy each rank's part, from its bound to the next one, in place."""
        size = array.itemsize
        counts = [(b - a) * size for a, b in itertools.pairwise(bounds)]
        places = [b * size for b in bounds[:-1]]
        target = [array.view(np.uint8), (counts, places), self._mpi.BYTE]
        _wait(self._comm.Iallgatherv(self._mpi.IN_PLACE, target))


def _wait(request: Any) -> None:
    """Wait until an operation is done."""
    for _ in range(_LOOKS):
        if request.Test():
            return
    pause = _SHORTEST
    while not request.Test():
        time.sleep(pause)
        pause = min(1.5 * pause, _LONGEST)


def _numbers(array: Array) -> Array:
    """An array as MPI takes it."""
    return array.view(np.uint8) if array.dtype.kind == "b" else array
