"""Device memory on the host: blocks between guards, and the pools that hand them out.

A device array lies in an :class:`Allocation` with guard bytes on both sides, so that a kernel
that writes past an array is found out after the launch. Memory nobody has written yet, and memory
given back, reads as NaN, or as -1.
"""

import contextlib
import ctypes
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from .state import Count, counters, current
from .streams import (
    CUDARuntimeError,
    Stream,
    Uses,
    get_current_stream,
    refuse_unsafe,
    spoil_unsafe,
    submit,
)

__all__ = [
    "Allocation",
    "Block",
    "MemoryPointer",
    "MemoryPool",
    "OutOfMemoryError",
    "alloc",
    "memory_of",
    "without_owner",
]

HostArray = np.ndarray[Any, Any]

ALIGNMENT = 256
GUARD = 4096
UNIT = 512
DEVICE_BYTES = 8 << 30
MAX_DEVICES = 16
# Reads as NaN in float32 and float64, but not as the -1 that a kernel might well write. It is a
# signaling NaN of both: what is computed from it, and written behind another array, is a quiet one.
_PATTERN = np.frombuffer((0xFFF7DEAD_FFBFDEAD).to_bytes(8, "little") * (GUARD // 8), np.uint8)
_PATTERN_BYTES = _PATTERN.tobytes()
_POISON = 0xFF
# Held while guards move: threads make and drop arrays while one looks at the guards of all.
_moving = threading.RLock()


class OutOfMemoryError(MemoryError):
    """A pool's limit is reached, or the end of the device's memory."""


class Block:
    """Memory from the driver, between two guards; what ``cudaMalloc`` gives.

    Parameters
    ----------
    size : int
        Its size in bytes.
    """

    __slots__ = (
        *("__weakref__", "_buffer", "_start", "_used", "device", "end", "label", "ptr"),
        *("released", "size", "stream"),
    )

    # Those in use, by address: after a launch the guards of these are looked at.
    guarded: ClassVar[dict[int, "Block"]] = {}
    driver_bytes: ClassVar[dict[int, int]] = defaultdict(int)

    def __init__(self, size: int) -> None:
        if size:
            refuse_unsafe()
        self.device = current.id
        if self.driver_bytes[self.device] + size > DEVICE_BYTES:
            raise OutOfMemoryError(f"Out of memory allocating {size:,} bytes")
        if size:
            counters.count("driver_allocations")
        self.driver_bytes[self.device] += size
        self.size, self.stream, self.released, self.label = size, 0, False, ""
        self.end = self._used = 0
        self._buffer = np.empty(size + 2 * GUARD + ALIGNMENT, np.uint8)
        address = self._buffer.ctypes.data
        self._start = GUARD + -(address + GUARD) % ALIGNMENT
        self.ptr = address + self._start

    @property
    def bytes(self) -> HostArray:
        """The bytes up to the guard, which keep no array alive."""
        return self._buffer[self._start : self._start + self.end]

    def view(self, host: HostArray) -> HostArray:
        """Same elements as those of an array in the block, which keep no array alive."""
        offset = host.__array_interface__["data"][0] - self.ptr + self._start
        return np.ndarray(host.shape, host.dtype, self._buffer, offset, host.strides)

    def occupy(self, nbytes: int, label: str) -> None:
        """Give the first `nbytes` to an array."""
        with _moving:
            self.label = label
            self._used = nbytes
            self._set_guards(nbytes)
            self.guarded[self.ptr] = self

    def vacate(self) -> None:
        """Take the memory back; who reads it still gets NaN."""
        with _moving:
            self.bytes[...] = _POISON
            self._used = 0
            self.guarded.pop(self.ptr, None)

    def release(self) -> None:
        """Give the memory to the driver."""
        if not self.released:
            if self.size:
                spoil_unsafe()
            self.vacate()
            self.released = True
            self.driver_bytes[self.device] -= self.size

    def widen(self, end: int) -> None:
        """Move the guard for a replay, which may write where there was a larger array."""
        with _moving:
            self._set_guards(max(end, self._used))
            self.guarded[self.ptr] = self

    def narrow(self) -> None:
        """Move the guard back; what a replay left in memory that nobody holds is gone."""
        with _moving:
            if self._used:
                self._set_guards(self._used)
            else:
                self.vacate()

    def _guards(self) -> tuple[slice, slice]:
        end = self._start + self.end
        return slice(self._start - GUARD, self._start), slice(end, end + GUARD)

    def _set_guards(self, end: int) -> None:
        self.end = end
        for guard in self._guards():
            self._buffer[guard] = _PATTERN

    @classmethod
    def damaged(cls) -> "list[tuple[Block, str]]":
        """The blocks in use whose guards were overwritten, and where; they are mended."""
        with _moving:
            found = [(block, block.damage()) for block in list(cls.guarded.values())]
        return [(block, damage) for block, damage in found if damage]

    def damage(self) -> str | None:
        """Say where the guards were overwritten, and mend them; None if they were not."""
        for guard, side in zip(self._guards(), ("before the start", "past the end"), strict=True):
            found = self._buffer[guard]
            if found.tobytes() != _PATTERN_BYTES:
                places = np.flatnonzero(found != _PATTERN)
                distance = GUARD - places[-1] if side.startswith("before") else places[0] + 1
                self._set_guards(self.end)
                return f"{places.size} byte(s) changed {side}, the nearest at distance {distance}"
        return None


class Allocation:
    """A piece of device memory that somebody holds; without a pool, like ``cupy.cuda.Memory``.

    Parameters
    ----------
    size : int
        Its size in bytes.
    """

    __slots__ = ("__weakref__", "_pool", "block", "device", "nbytes", "ptr")

    live: ClassVar["weakref.WeakValueDictionary[int, Allocation]"] = weakref.WeakValueDictionary()

    def __init__(self, size: int) -> None:
        self._hold(Block(size), size, None)

    @classmethod
    def of_pool(cls, block: Block, nbytes: int, pool: "_DevicePool") -> "Allocation":
        """Hold a block that is a pool's."""
        memory = object.__new__(cls)
        memory._hold(block, nbytes, weakref.ref(pool))
        return memory

    def _hold(self, block: Block, nbytes: int, pool: Any) -> None:
        block.occupy(nbytes, f"{nbytes} bytes of malloc")
        self.block, self.nbytes, self._pool = block, nbytes, pool
        self.device, self.ptr = block.device, block.ptr
        self.live[self.ptr] = self

    def __del__(self) -> None:
        if not hasattr(self, "block") or _POISON is None:  # the driver refused, or Python ends
            return
        pool = self._pool and self._pool()
        if pool:
            pool.give_back(self.block)
        elif self._pool is None:
            self.block.release()

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

    @classmethod
    def around(cls, address: int) -> "Allocation | None":
        """Allocation that an address points into, or at the end of."""
        for ref in cls.live.valuerefs():  # a list, other threads may change what is alive
            memory = ref()
            if memory is not None and memory.ptr <= address <= memory.ptr + memory.nbytes:
                return memory
        return None


def memory_of(host: HostArray) -> Allocation | None:
    """Device memory that a host array is a view of."""
    base: Any = host
    while base is not None and not isinstance(base, Allocation):
        base = getattr(base, "base", None)
    return base


def without_owner(host: HostArray, uses: Uses, written: bool = False) -> HostArray:
    """Same elements as those of a view of device memory, as recorded work needs them.

    They keep no array alive; what they use is noted in `uses`.
    """
    memory = memory_of(host)
    assert memory is not None
    first = last = host.__array_interface__["data"][0]
    for n, stride in zip(host.shape, host.strides, strict=True):
        first += min((n - 1) * stride, 0)
        last += max((n - 1) * stride, 0)
    uses.note(memory, first, last + host.itemsize if host.size else first, written)
    return memory.block.view(host)


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
        """Fill `size` bytes, on the legacy stream."""
        refuse_unsafe()
        self.memset_async(value, size, Stream.null)

    def memset_async(self, value: int, size: int, stream: object = None) -> None:
        """Fill `size` bytes."""
        address = self.ptr
        uses = Uses()
        uses.note(self.mem, address, address + size, True)
        what = Count("memset", size)
        submit(lambda: ctypes.memset(address, value, size) and None, "memsets", uses, stream, what)

    def copy_from_device(self, source: "MemoryPointer", size: int) -> None:
        """Copy `size` bytes from another place on the device, on the legacy stream."""
        refuse_unsafe()
        self.copy_from_device_async(source, size, Stream.null)

    def copy_from_device_async(
        self, source: "MemoryPointer", size: int, stream: object = None
    ) -> None:
        """Copy `size` bytes from another place on the device."""
        copy_bytes(self.ptr, source.ptr, size, stream)


def copy_bytes(target: int, source: int, size: int, stream: object = None) -> None:
    """Copy between two addresses on the device."""
    uses = Uses()
    for address in (target, source):
        if memory := Allocation.around(address):
            uses.note(memory, address, address + size, address == target)
    what = Count("memcpy", 2 * size)
    submit(lambda: ctypes.memmove(target, source, size) and None, "copies", uses, stream, what)


# ------------------------------------------------------------------ pools


class _DevicePool:
    """Blocks of one device. A block freed on a stream is kept for that stream and that size."""

    def __init__(self) -> None:
        self.blocks: set[Block] = set()
        self.free: defaultdict[tuple[int, int], list[Block]] = defaultdict(list)
        self.limit = 0

    def __del__(self) -> None:
        # As with CuPy this takes the memory from under arrays that are still alive.
        for block in self.blocks:
            block.release()

    def take(self, size: int) -> Block:
        """Get a block, a kept one if there is one."""
        stream = get_current_stream().ptr
        kept = self.free[stream, size]
        if kept:
            return kept.pop()
        try:
            self._check_limit(size)
            block = Block(size)
        except OutOfMemoryError:
            self.free_all()
            self._check_limit(size)
            block = Block(size)
        block.stream = stream
        self.blocks.add(block)
        return block

    def _check_limit(self, size: int) -> None:
        total = self.total()
        if self.limit and total + size > self.limit:
            raise OutOfMemoryError(
                f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes, "
                f"limit set to: {self.limit:,} bytes)."
            )

    def give_back(self, block: Block) -> None:
        """Keep a block for later."""
        block.vacate()
        self.free[block.stream, block.size].append(block)

    def free_all(self, stream: Stream | None = None) -> None:
        """Give kept blocks to the driver."""
        for key, kept in self.free.items():
            if stream is None or key[0] == stream.ptr:
                if kept:
                    refuse_unsafe()
                while kept:
                    block = kept.pop()
                    self.blocks.discard(block)
                    block.release()

    def kept(self) -> list[Block]:
        """Blocks that nobody holds."""
        return [block for blocks in list(self.free.values()) for block in blocks]

    def total(self) -> int:
        """Bytes that came from the driver."""
        return sum(block.size for block in self.blocks)


class MemoryPool:
    """Keeps freed memory for later, like ``cupy.cuda.MemoryPool``; for the current device."""

    def __init__(self, allocator: object = None) -> None:
        self._pools: defaultdict[int, _DevicePool] = defaultdict(_DevicePool)

    @property
    def _pool(self) -> _DevicePool:
        return self._pools[current.id]

    def malloc(self, size: int) -> MemoryPointer:
        """Allocate `size` bytes."""
        if not size:
            return _malloc(0)
        pool = self._pool
        return MemoryPointer(Allocation.of_pool(pool.take(-(-size // UNIT) * UNIT), size, pool), 0)

    def used_bytes(self) -> int:
        """Bytes in use."""
        return self.total_bytes() - self.free_bytes()

    def total_bytes(self) -> int:
        """Bytes in use or kept for later."""
        return self._pool.total()

    def free_bytes(self) -> int:
        """Bytes kept for later."""
        return sum(block.size for block in self._pool.kept())

    def n_free_blocks(self) -> int:
        """Number of blocks kept for later."""
        return len(self._pool.kept())

    def free_all_blocks(self, stream: Stream | None = None) -> None:
        """Give the driver what is kept for later, by default on any stream."""
        self._pool.free_all(stream)

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        """Take no more than `size` bytes from the driver; 0 for no limit."""
        self._pool.limit = int(size if size is not None else (fraction or 0) * DEVICE_BYTES)

    def get_limit(self) -> int:
        """Upper limit in bytes; 0 for none."""
        return self._pool.limit


def _malloc(size: int) -> MemoryPointer:
    """Allocate without a pool."""
    return MemoryPointer(Allocation(size), 0)


Allocator = Callable[[int], MemoryPointer]
default_pool = MemoryPool()


class _Allocators(threading.local):
    """The allocator of :func:`using_allocator` in the calling thread, and everybody's."""

    local: Allocator | None = None
    shared: ClassVar[Allocator] = default_pool.malloc


_allocators = _Allocators()


def alloc(size: int) -> MemoryPointer:
    """Allocate `size` bytes by the current allocator."""
    return get_allocator()(size)


def get_allocator() -> Allocator:
    """Get the current allocator."""
    return _allocators.local or _Allocators.shared


def set_allocator(allocator: Allocator | None = None) -> None:
    """Set the allocator of all threads; None for memory straight from the driver."""
    if _allocators.local:
        raise ValueError(
            "Can't change the global allocator inside `using_allocator` context manager"
        )
    _Allocators.shared = staticmethod(allocator or _malloc)


@contextlib.contextmanager
def using_allocator(allocator: Allocator | None = None) -> Iterator[None]:
    """Set the calling thread's allocator for the length of a ``with`` block."""
    before, _allocators.local = _allocators.local, allocator or _malloc
    try:
        yield
    finally:
        _allocators.local = before


def require(memory: Allocation) -> None:
    """Refuse memory that the driver has got back, as it does when the pool is gone."""
    if memory.block.released:
        raise CUDARuntimeError(700, f"{memory.block.label} was freed")


def reset() -> None:
    """Give back what the default pool keeps."""
    set_allocator(default_pool.malloc)
    for pool in list(default_pool._pools.values()):
        pool.limit = 0
        pool.free_all()
