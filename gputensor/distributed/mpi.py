"""Collective operations of arrays on the host, by MPI through mpi4py."""

import itertools
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from gputensor.backend import Array, is_narrow
from gputensor.errors import DistributedError

__all__ = ["Mpi"]

# An operation is asked so often whether it is done, and then again after pauses, in seconds, that
# become longer: MPI's own waiting keeps a core busy, which another rank may need to come.
_LOOKS, _SHORTEST, _LONGEST = 200, 2e-5, 3e-4
_OPS = {"sum": "SUM", "max": "MAX", "min": "MIN"}
_UFUNCS = {"sum": "add", "max": "maximum", "min": "minimum"}
_SLOT = 1 << 19  # bytes of an array that ranks exchange at once: they stay in a processor's cache
_LINE = 64


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
        self.what = ""  # is done, in words
        self._memory = _Memory(MPI, near) if near.size == self.size > 1 else None
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
        numbers = _numbers(array)
        if self._memory is not None:
            self._memory.all_reduce(self.what, numbers.reshape(-1), getattr(np, _UFUNCS[op]))
            return
        function = getattr(self._mpi, _OPS[op])
        _wait(self._comm.Iallreduce(self._mpi.IN_PLACE, numbers, function).Test)

    def broadcast(self, array: Array, root: int) -> None:
        """Copy the array of one rank, in place."""
        _wait(self._comm.Ibcast(array.reshape(-1).view(np.uint8), root).Test)

    def reduce_parts(self, array: Array, bounds: Sequence[int]) -> None:
        """Sum over the ranks where it is the rank's part: from its bound to the next one."""
        if is_narrow(array.dtype):
            wide = array.astype(np.float32)
            self.reduce_parts(wide, bounds)
            own = slice(*bounds[self.rank : self.rank + 2])
            array[own] = wide[own].astype(array.dtype)
            return
        if self._memory is not None:
            self._memory.reduce_parts(self.what, array, bounds)
            return
        counts = [b - a for a, b in itertools.pairwise(bounds)]
        found = np.empty(counts[self.rank], array.dtype)
        _wait(self._comm.Ireduce_scatter(array, found, counts, self._mpi.SUM).Test)
        array[bounds[self.rank] : bounds[self.rank + 1]] = found

    def gather_parts(self, array: Array, bounds: Sequence[int]) -> None:
        """Copy each rank's part, from its bound to the next one, in place."""
        if self._memory is not None:
            self._memory.gather_parts(self.what, array, bounds)
            return
        size = array.itemsize
        counts = [(b - a) * size for a, b in itertools.pairwise(bounds)]
        places = [b * size for b in bounds[:-1]]
        target = [array.view(np.uint8), (counts, places), self._mpi.BYTE]
        _wait(self._comm.Iallgatherv(self._mpi.IN_PLACE, target).Test)


class _Memory:
    """Memory that the ranks of one machine share, by way of which they add up arrays.

    A rank copies a piece of its array there, waits until all others have, and takes from theirs
    what it needs: nothing is sent, and what one rank does takes no core of another one.

    Parameters
    ----------
    mpi : module
        ``mpi4py.MPI``.
    comm : mpi4py.MPI.Comm
        Of the ranks, all of one machine.
    """

    def __init__(self, mpi: Any, comm: Any) -> None:
        self._rank, self._size = comm.rank, comm.size
        marks = self._size * _LINE
        whole = marks + 2 * self._size * _SLOT
        self._window = mpi.Win.Allocate_shared(whole if self._rank == 0 else 0, 1, comm=comm)
        self._window.Lock_all()
        memory = np.frombuffer(self._window.Shared_query(0)[0], np.uint8)
        # How often each rank has come, in a cache line of its own, and by a number, for what.
        numbers, line = memory[:marks].view(np.int64).data, _LINE // 8
        self._come = numbers[::line]
        self._for = numbers[1::line], numbers[2::line]
        # Two sets, taken in turns: who comes to one again has seen all others leave it.
        self._sets = memory[marks:].reshape(2, self._size, _SLOT)
        self._count = 0
        self._come[self._rank] = 0
        self._window.Sync()
        comm.Barrier()

    def _meet(self, what: str) -> None:
        """Wait until all ranks have come as far as this one, for the same."""
        reasons = self._for[self._count % 2]
        reasons[self._rank] = zlib.crc32(what.encode())
        self._count += 1
        self._window.Sync()  # what was written before is seen by who sees the number
        self._come[self._rank] = self._count
        _wait(lambda: min(self._come) >= self._count)
        self._window.Sync()
        if min(reasons) != max(reasons):
            raise DistributedError(
                f"rank {self._rank} is in {what}, and another rank in something else. All ranks "
                "must call the same, in the same order. Gradients of other parameters on each rank "
                "are for a loop of one's own, whose step is not captured"
            )

    def _pieces(self, flat: Array) -> Iterator[tuple[int, Array, Array]]:
        """Where a piece of an array begins, it, and those of all ranks in its place."""
        per = _SLOT // flat.itemsize
        for start in range(0, len(flat), per):
            piece = flat[start : start + per]
            slots = self._sets[self._count % 2, :, : piece.nbytes].view(flat.dtype)
            yield start, piece, slots

    def all_reduce(self, what: str, flat: Array, function: Any) -> None:
        """Reduce by a ufunc, in place; the order is that of the ranks, everywhere."""
        for _, piece, slots in self._pieces(flat):
            slots[self._rank] = piece
            self._meet(what)
            function(slots[0], slots[1], out=piece)
            for other in slots[2:]:
                function(piece, other, out=piece)

    def reduce_parts(self, what: str, flat: Array, bounds: Sequence[int]) -> None:
        """Sum where it is the rank's part."""
        low, high = bounds[self._rank : self._rank + 2]
        for start, piece, slots in self._pieces(flat):
            slots[self._rank] = piece
            self._meet(what)
            own = slice(max(low - start, 0), max(high - start, 0))
            found = piece[own]
            np.add(slots[0, own], slots[1, own], out=found)
            for other in slots[2:, own]:
                found += other

    def gather_parts(self, what: str, flat: Array, bounds: Sequence[int]) -> None:
        """Copy each rank's part."""
        for start, piece, slots in self._pieces(flat):
            parts = [
                slice(max(low - start, 0), max(high - start, 0))
                for low, high in itertools.pairwise(bounds)
            ]
            own = parts[self._rank]
            slots[self._rank, own] = piece[own]
            self._meet(what)
            for slot, part in zip(slots, parts, strict=True):
                if part is not own:
                    piece[part] = slot[part]


def _wait(done: Callable[[], bool]) -> None:
    """Wait until something is done."""
    for _ in range(_LOOKS):
        if done():
            return
    pause = _SHORTEST
    while not done():
        time.sleep(pause)
        pause = min(1.5 * pause, _LONGEST)


def _numbers(array: Array) -> Array:
    """An array as MPI takes it."""
    return array.view(np.uint8) if array.dtype.kind == "b" else array
