"""Device memory on the host: guarded allocations, the memory pools, and counters of what happens.

A device array lies in an :class:`Allocation` with guard bytes on both sides, so that a kernel
that writes past an array is found out after the launch. Memory nobody has written yet reads as
NaN, or as -1.
"""

import ctypes
import sys
import threading
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

__all__ = ["Allocation", "Counters", "MemoryPointer", "MemoryPool", "Settings"]

ALIGNMENT = 256
GUARD = 4096
# Reads as NaN in float32 and float64, but not as the -1 that a kernel might well write.
_PATTERN = np.frombuffer((0xFFFFDEAD).to_bytes(4, "little") * (GUARD // 4), np.uint8)
_PATTERN_BYTES = _PATTERN.tobytes()


@dataclass
class Counters:
    """What went on between host and device since the last :meth:`reset`.

    With `logging` set, `log` gets a pair for each count: what was counted, and file and line of
    the code that caused it.
    """

    transfers_to_host: int = 0
    transfers_to_device: int = 0
    bytes_to_host: int = 0
    bytes_to_device: int = 0
    synchronizations: int = 0
    launches: int = 0
    array_ops: int = 0
    logging: bool = False
    log: list[tuple[str, str]] = field(default_factory=list)

    def reset(self) -> None:
        """Set every count to zero and forget the log."""
        for name, value in vars(Counters()).items():
            if name != "logging":
                setattr(self, name, value)

    def count(self, kind: str) -> None:
        """Add one to a count."""
        setattr(self, kind, getattr(self, kind) + 1)
        if self.logging:
            self.log.append((kind, _caller()))

    def to_host(self, nbytes: int) -> None:
        """Count a copy to the host, which waits for the device."""
        self.count("transfers_to_host")
        self.count("synchronizations")
        self.bytes_to_host += nbytes

    def to_device(self, nbytes: int) -> None:
        """Count a copy to the device."""
        self.count("transfers_to_device")
        self.bytes_to_device += nbytes


def _caller() -> str:
    """File and line of the innermost frame outside of this package and NumPy."""
    inside = (str(Path(__file__).parent), str(Path(np.__file__).parent), "<__array_function__")
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


@dataclass
class Settings:
    """How the stand-in behaves; :func:`standin.install` sets it.

    Attributes
    ----------
    devices : int
        Number of CUDA devices there seem to be.
    order : {"forward", "reverse", "shuffle", "compare"}
        In which order blocks, and threads of a block, run. ``"compare"`` runs each launch in all
        three and raises if the results differ in any bit.
    contiguous : bool
        Whether a kernel may only be given C-contiguous arrays.
    """

    devices: int = 1
    order: str = "forward"
    contiguous: bool = True


counters = Counters()
settings = Settings()


class CurrentDevice(threading.local):
    """Number of the calling thread's current device."""

    id = 0


current = CurrentDevice()


class OutOfMemoryError(MemoryError):
    """A pool's limit is reached."""


class Allocation:
    """A piece of device memory between two guards.

    Parameters
    ----------
    nbytes : int
        Its size.
    label : str
        What it holds, for messages.
    poison : bool
        Whether to fill it as memory that nobody has written.
    """

    __slots__ = ("__weakref__", "_buffer", "_pool", "_start", "device", "label", "nbytes", "ptr")

    live: ClassVar["weakref.WeakValueDictionary[int, Allocation]"] = weakref.WeakValueDictionary()

    def __init__(self, nbytes: int, label: str, poison: bool = True) -> None:
        self.device = current.id
        self._pool = pools[self.device]
        self._pool.take(nbytes)
        self.nbytes = nbytes
        self.label = label
        self._buffer = np.empty(nbytes + 2 * GUARD + ALIGNMENT, np.uint8)
        address = self._buffer.ctypes.data
        self._start = GUARD + -(address + GUARD) % ALIGNMENT
        self.ptr = address + self._start
        if poison:
            self._buffer[self._start : self._start + nbytes] = 0xFF
        self._write_guards()
        self.live[self.ptr] = self

    def __del__(self) -> None:
        if hasattr(self, "nbytes"):  # else the pool refused
            self._pool.give_back(self.nbytes)

    @property
    def __array_interface__(self) -> dict[str, object]:
        """For NumPy: the memory as bytes. Arrays made from it have this object as their base."""
        return {
            "shape": (self.nbytes,),
            "typestr": "|u1",
            "data": (self.ptr, False),
            "version": 3,
        }

    @property
    def size(self) -> int:
        """Bytes, as CuPy's memory objects call it."""
        return self.nbytes

    def _guards(self) -> tuple[slice, slice]:
        end = self._start + self.nbytes
        return slice(self._start - GUARD, self._start), slice(end, end + GUARD)

    def _write_guards(self) -> None:
        for guard in self._guards():
            self._buffer[guard] = _PATTERN

    def damage(self) -> str | None:
        """Say where the guards were overwritten, and mend them; None if they were not."""
        for guard, side in zip(self._guards(), ("before the start", "past the end"), strict=True):
            found = self._buffer[guard]
            if found.tobytes() != _PATTERN_BYTES:
                places = np.flatnonzero(found != _PATTERN)
                distance = GUARD - places[-1] if side.startswith("before") else places[0] + 1
                self._write_guards()
                return f"{places.size} byte(s) changed {side}, the nearest at distance {distance}"
        return None

    @classmethod
    def around(cls, address: int) -> "Allocation | None":
        """Allocation that an address points into, or at the end of."""
        for memory in list(cls.live.values()):
            if memory.ptr <= address <= memory.ptr + memory.nbytes:
                return memory
        return None


class MemoryPointer:
    """A place in device memory, like ``cupy.cuda.MemoryPointer``."""

    __slots__ = ("mem", "ptr")

    def __init__(self, mem: Allocation, offset: int) -> None:
        self.mem = mem
        self.ptr = mem.ptr + offset

    def __int__(self) -> int:
        return self.ptr

    def __add__(self, offset: int) -> "MemoryPointer":
        return MemoryPointer(self.mem, self.ptr - self.mem.ptr + offset)

    @property
    def device_id(self) -> int:
        """Number of the device."""
        return self.mem.device

    def memset(self, value: int, size: int) -> None:
        """Fill `size` bytes."""
        ctypes.memset(self.ptr, value, size)

    def memset_async(self, value: int, size: int, stream: object = None) -> None:
        """Fill `size` bytes."""
        self.memset(value, size)

    def copy_from_device(self, source: "MemoryPointer", size: int) -> None:
        """Copy `size` bytes from another place on the device."""
        ctypes.memmove(self.ptr, source.ptr, size)

    def copy_from_device_async(
        self, source: "MemoryPointer", size: int, stream: object = None
    ) -> None:
        """Copy `size` bytes from another place on the device."""
        self.copy_from_device(source, size)


class MemoryPool:
    """Counts the memory of one device, like ``cupy.cuda.MemoryPool``: freed memory is kept."""

    unit = 512

    def __init__(self) -> None:
        self._used = self._total = self._limit = 0

    def _rounded(self, nbytes: int) -> int:
        return -(-nbytes // self.unit) * self.unit

    def take(self, nbytes: int) -> None:
        """Count an allocation."""
        used = self._used + self._rounded(nbytes)
        if self._limit and used > self._limit:
            raise OutOfMemoryError(
                f"Out of memory allocating {self._rounded(nbytes):,} bytes (allocated so far: "
                f"{self._used:,} bytes, limit set to: {self._limit:,} bytes)."
            )
        self._used = used
        self._total = max(self._total, used)

    def give_back(self, nbytes: int) -> None:
        """Count the end of an allocation."""
        self._used -= self._rounded(nbytes)

    def used_bytes(self) -> int:
        """Bytes in use."""
        return self._used

    def total_bytes(self) -> int:
        """Bytes in use or kept for later."""
        return self._total

    def free_bytes(self) -> int:
        """Bytes kept for later."""
        return self._total - self._used

    def n_free_blocks(self) -> int:
        """Number of kept pieces; here they count as one."""
        return int(self.free_bytes() > 0)

    def free_all_blocks(self, stream: object = None) -> None:
        """Drop what is kept for later."""
        self._total = self._used

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        """Refuse allocations beyond `size` bytes; 0 for no limit."""
        self._limit = int(size if size is not None else (fraction or 0) * DEVICE_BYTES)

    def get_limit(self) -> int:
        """Upper limit in bytes; 0 for none."""
        return self._limit

    def malloc(self, size: int) -> MemoryPointer:
        """Allocate `size` bytes."""
        return MemoryPointer(Allocation(size, f"{size} bytes of malloc"), 0)


DEVICE_BYTES = 8 << 30
MAX_DEVICES = 16
pools = [MemoryPool() for _ in range(MAX_DEVICES)]
