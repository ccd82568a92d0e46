"""``cupy.cuda.nccl``: collective operations between processes that mpiexec started, or of one.

A call is put on the stream that it is given by its address, and so recorded where that captures.
What NCCL leaves undefined is an error: memory that is not on the communicator's device, or ends
before the last element. Calls of a group are put on the stream when it ends.
"""

import ctypes
from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .memory import Allocation
from .state import Count, current
from .streams import Uses, as_stream, submit

__all__ = ["Call", "calls", "make_module"]

# ncclDataType_t and ncclRedOp_t of nccl.h, version 2.
_DTYPES = {
    0: "int8",
    1: "uint8",
    2: "int32",
    3: "uint32",
    4: "int64",
    5: "uint64",
    6: "float16",
    7: "float32",
    8: "float64",
}
_OPS = {0: "SUM", 1: "PROD", 2: "MAX", 3: "MIN"}
_NAMES = {"INT8": 0, "UINT8": 1, "INT32": 2, "UINT32": 3, "INT64": 4, "UINT64": 5}
_NAMES |= {"FLOAT16": 6, "FLOAT32": 7, "FLOAT64": 8, "SUM": 0, "PROD": 1, "MAX": 2, "MIN": 3}
ID_BYTES = 128


class NcclError(RuntimeError):
    """A call that NCCL refuses."""


class Call(NamedTuple):
    """A call that was made.

    Attributes
    ----------
    name : str
    count : int
        Of elements.
    dtype : str
    stream : int
        Its address.
    captured : bool
        Whether it was recorded, not done.
    """

    name: str
    count: int
    dtype: str
    stream: int
    captured: bool


calls: list[Call] = []


class _Groups:
    depth = 0
    waiting: ClassVar[list[Callable[[], None]]] = []


def _group_start() -> None:
    _Groups.depth += 1


def _group_end() -> None:
    if not _Groups.depth:
        raise NcclError("NCCL_ERROR_INVALID_USAGE: invalid usage")
    _Groups.depth -= 1
    if not _Groups.depth:
        waiting = [*_Groups.waiting]
        _Groups.waiting.clear()
        for call in waiting:
            call()


class NcclCommunicator:
    """Like ``cupy.cuda.nccl.NcclCommunicator`` of CuPy 14: one device of a process."""

    def __init__(self, ndev: int, commId: bytes, rank: int, config: Any = None) -> None:
        if not isinstance(commId, bytes):
            raise TypeError(f"Argument 'commId' has incorrect type, {type(commId).__name__}")
        if len(commId) != ID_BYTES:
            raise ValueError(f"commId length {len(commId)} != {ID_BYTES}.")
        self._device = current.id
        self._size, self._rank = ndev, rank
        self._comm: Any = None
        if ndev > 1:
            from mpi4py import MPI

            self._mpi = MPI
            self._comm = MPI.COMM_WORLD.Dup()
            if (self._comm.size, self._comm.rank) != (ndev, rank):
                raise NcclError("NCCL_ERROR_INVALID_ARGUMENT: invalid argument")
            if len(set(self._comm.allgather(commId))) > 1:
                raise NcclError("NCCL_ERROR_SYSTEM_ERROR: ranks of different unique IDs")
            devices = self._comm.allgather(self._device)
            if len(set(devices)) < ndev:
                raise NcclError("NCCL_ERROR_INVALID_USAGE: Duplicate GPU detected")

    def device_id(self) -> int:
        """Number of its device."""
        return self._device

    def rank_id(self) -> int:
        """Its rank."""
        return self._rank

    def size(self) -> int:
        """How many ranks there are."""
        return self._size

    def destroy(self) -> None:
        """End it."""
        self._comm = None

    abort = destroy

    def check_async_error(self) -> None:
        """Raise what went wrong on the device: nothing."""

    def _memory(self, address: int, nbytes: int, uses: Uses, written: bool) -> Any:
        """Bytes on the device, noted as used."""
        memory = Allocation.around(address)
        if memory is None or address + nbytes > memory.ptr + memory.nbytes:
            raise NcclError(f"NCCL_ERROR_INVALID_ARGUMENT: {nbytes} bytes at {address:#x}")
        if memory.device != self._device:
            raise NcclError(f"NCCL_ERROR_INVALID_ARGUMENT: memory of device {memory.device}")
        raw = (ctypes.c_char * nbytes).from_address(address)
        uses.note(memory, address, address + nbytes, written)
        return np.frombuffer(raw, np.uint8)

    def _put(
        self,
        name: str,
        addresses: tuple[int, int],
        count: int,
        datatype: int,
        stream: int,
        work: Callable[[Any, Any], None],
    ) -> None:
        if not isinstance(stream, int):
            raise TypeError("an integer is required")
        if datatype not in _DTYPES:
            raise NcclError("NCCL_ERROR_INVALID_ARGUMENT: invalid argument")
        dtype = np.dtype(_DTYPES[datatype])
        if not count:
            return
        uses, nbytes = Uses(), count * dtype.itemsize
        send = self._memory(addresses[0], nbytes, uses, False)
        receive = self._memory(addresses[1], nbytes, uses, True)
        send, receive = send.view(dtype), receive.view(dtype)

        def call() -> None:
            captured = as_stream(stream).capture is not None
            calls.append(Call(name, count, dtype.name, stream, captured))
            what = Count(f"nccl{name}", count * dtype.itemsize)
            submit(lambda: work(send, receive), "launches", uses, stream, what)

        if _Groups.depth:
            _Groups.waiting.append(call)
        else:
            call()

    def allReduce(
        self, sendbuf: int, recvbuf: int, count: int, datatype: int, op: int, stream: int
    ) -> None:
        """Reduce; all get it."""

        def work(send: Any, receive: Any) -> None:
            receive[...] = self._reduced(send, op)

        self._put("AllReduce", (sendbuf, recvbuf), count, datatype, stream, work)

    def reduce(
        self, sendbuf: int, recvbuf: int, count: int, datatype: int, op: int, root: int, stream: int
    ) -> None:
        """Reduce; one gets it."""

        def work(send: Any, receive: Any) -> None:
            found = self._reduced(send, op)
            if self._rank == root:
                receive[...] = found

        self._put("Reduce", (sendbuf, recvbuf), count, datatype, stream, work)

    def _reduced(self, send: Any, op: int) -> Any:
        wide = send.astype(np.float32) if send.dtype.itemsize == 2 else send.copy()
        if self._comm is not None:
            self._comm.Allreduce(self._mpi.IN_PLACE, wide, getattr(self._mpi, _OPS[op]))
        return wide.astype(send.dtype)

    def broadcast(
        self, sendbuff: int, recvbuff: int, count: int, datatype: int, root: int, stream: int
    ) -> None:
        """Copy what one has."""

        def work(send: Any, receive: Any) -> None:
            found = send.copy()
            if self._comm is not None:
                self._comm.Bcast(found.view(np.uint8), root)
            receive[...] = found

        self._put("Broadcast", (sendbuff, recvbuff), count, datatype, stream, work)


def make_module() -> ModuleType:
    """Make ``cupy.cuda.nccl``."""
    module = ModuleType("cupy.cuda.nccl")
    vars(module).update(
        {f"NCCL_{name}": value for name, value in _NAMES.items()},
        NcclCommunicator=NcclCommunicator,
        NcclError=NcclError,
        available=True,
        get_build_version=lambda: 22800,
        get_version=lambda: 22800,
        get_unique_id=lambda: bytes(np.random.default_rng().integers(0, 256, ID_BYTES, np.uint8)),
        groupStart=_group_start,
        groupEnd=_group_end,
    )
    return module
