"""What memory is used for: a report when asked, and errors that tell when there is no more.

Nothing is counted while tensors come and go. The report walks the objects that Python's garbage
collector knows, asks those of the types in :data:`HOLDERS` for their arrays, and counts memory that
several of them share once.
"""

import contextlib
import ctypes
import functools
import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gputensor import backend
from gputensor.backend import Array, Device
from gputensor.errors import OutOfMemoryError

__all__ = [
    "HOLDERS",
    "LiveArray",
    "MemorySummary",
    "explained",
    "keep_freed",
    "memory_summary",
    "out_of_memory",
]

# By type: the arrays that an object holds, each with what it is for. Memory that several share goes
# by the largest of them, or the last in this order.
HOLDERS: dict[type, Callable[[Any], Iterable[tuple[str, Any]]]] = {}

# Numbers of mallopt in malloc.h, and bytes.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT, _OWN_MAPPING = 1 << 30, 1 << 28

_SHOWN = 10  # arrays in a report
_TAPE = "saved by "


class LiveArray(NamedTuple):
    """Memory that something holds.

    Attributes
    ----------
    nbytes : int
        Of the whole allocation, of which the array may be a part.
    shape : tuple of int
    dtype : str
    purpose : str
        ``"tensor"``, ``"gradient"``, what an optimizer keeps in it, or which operation saved it.
    """

    nbytes: int
    shape: tuple[int, ...]
    dtype: str
    purpose: str

    def __str__(self) -> str:
        return f"{_size(self.nbytes)}  {self.dtype} {self.shape}, {self.purpose}"


@dataclass(frozen=True)
class MemorySummary:
    """Memory of a device, in bytes; None where the system does not tell.

    Attributes
    ----------
    device : str
    in_use : int or None
        On CUDA what CuPy's memory pool has handed out, on the CPU what the process has resident.
    peak : int or None
        The most so far: on CUDA, where nobody counts, what the pool has taken from the driver and
        not given back, which the use never exceeded since; on the CPU the largest resident size.
    reserved : int or None
        What the pool has taken from the driver, in use or not; CUDA only.
    free, total : int or None
        Of the device, or of the machine.
    tensors : int
        What tensors, gradients, optimizers and the tape hold.
    tape : int
        The part of it that is held for a backward pass only.
    largest : tuple of LiveArray
        The largest of these, up to ten.
    """

    device: str
    in_use: int | None
    peak: int | None
    reserved: int | None
    free: int | None
    total: int | None
    tensors: int
    tape: int
    largest: tuple[LiveArray, ...]

    def __str__(self) -> str:
        names = ("in_use", "peak", "reserved", "free", "total", "tensors", "tape")
        rows = [(name, getattr(self, name)) for name in names]
        lines = [f"Memory of {self.device}"]
        lines += [f"  {n.replace('_', ' '):10}{_size(v):>12}" for n, v in rows if v is not None]
        return "\n".join([*lines, *(f"  {array}" for array in self.largest)])

    __repr__ = __str__


@functools.cache
def keep_freed() -> None:
    """Have the C library keep freed memory, up to a GiB, for the arrays of the next training step.

    By default glibc gives arrays of some MiB back to the system and gets new pages for the next
    ones, each at the cost of a page fault: up to a fifth of a step. Where a variable of glibc's,
    such as ``MALLOC_TRIM_THRESHOLD_``, is set, and with other C libraries, nothing is done.
    """
    given = any(name.startswith("MALLOC_") for name in os.environ)
    if given or not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
        mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING)


def _size(n: int) -> str:
    """Bytes in words."""
    size, unit = float(n), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def _owner(array: Array) -> tuple[Any, int]:
    """What tells the allocation that an array lies in from others, and its size."""
    if not isinstance(array, np.ndarray):
        memory = array.data.mem
        return (array.device.id, memory.ptr), max(memory.size, array.nbytes)
    while isinstance(array.base, np.ndarray):
        array = array.base
    return id(array), array.nbytes


def _live(where: Device) -> list[LiveArray]:
    """All that is held on a device, largest first."""
    holders: dict[type, int] = {}
    order = [*reversed(HOLDERS)]
    found: list[list[Any]] = [[] for _ in order]
    for item in gc.get_objects():
        kind = type(item)
        if kind not in holders:
            holders[kind] = next((i for i, c in enumerate(order) if c in kind.__mro__), -1)
        if holders[kind] >= 0:
            found[holders[kind]].append(item)
    arrays: dict[Any, tuple[Array, LiveArray]] = {}
    for holder, items in zip(order, found, strict=True):
        for item in items:
            for purpose, array in HOLDERS[holder](item):
                if isinstance(array, np.ndarray) != (where.kind == "cpu"):
                    continue
                if not backend.is_array(array) or backend.device_of(array) != where:
                    continue
                owner, nbytes = _owner(array)
                known = arrays.get(owner)
                if known is None or (
                    array.nbytes > known[0].nbytes and not purpose.startswith(_TAPE)
                ):
                    described = LiveArray(nbytes, array.shape, array.dtype.name, purpose)
                    arrays[owner] = array, described
    return sorted((a for _, a in arrays.values()), key=lambda a: a.nbytes, reverse=True)


def memory_summary(device: str | Device | None = None) -> MemorySummary:
    """Report on the memory of a device.

    Parameters
    ----------
    device : str or Device, optional
        The default device without it.

    Returns
    -------
    MemorySummary
        Its fields are numbers of bytes; printed, it is a table with the largest arrays.

    Raises
    ------
    DeviceError
        If the device is not there.

    Examples
    --------
    >>> summary = gt.memory_summary()
    >>> summary.tensors >= 0
    True
    """
    where = backend.device(device)
    live = _live(where)
    tensors = sum(a.nbytes for a in live)
    tape = sum(a.nbytes for a in live if a.purpose.startswith(_TAPE))
    in_use, peak, reserved, free, total = _of_host() if where.kind == "cpu" else of_cuda(where)
    largest = tuple(live[:_SHOWN])
    return MemorySummary(str(where), in_use, peak, reserved, free, total, tensors, tape, largest)


def of_cuda(where: Device) -> tuple[int, int, int, int, int]:
    """Bytes in use, at most so far, reserved, free and in all: see :class:`MemorySummary`."""
    import cupy

    with cupy.cuda.Device(where.index) as current:
        pool = cupy.get_default_memory_pool()
        reserved = int(pool.total_bytes())
        free, total = current.mem_info
        return int(pool.used_bytes()), reserved, reserved, int(free), int(total)


def _of_host() -> tuple[int | None, ...]:
    use = _kib("/proc/self/status", "VmRSS")
    free, total = _kib("/proc/meminfo", "MemAvailable"), _kib("/proc/meminfo", "MemTotal")
    peak = _peak()
    if use is not None and peak is not None:
        peak = max(peak, use)  # the two are counted in different ways
    return use, peak, None, free, total


def _kib(file: str, name: str) -> int | None:
    """Number of bytes in a line of a file of Linux."""
    with contextlib.suppress(OSError):
        for line in Path(file).read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    return None


def _peak() -> int | None:
    if (peak := _kib("/proc/self/status", "VmHWM")) is not None:
        return peak
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def out_of_memory(name: str, where: Device, error: MemoryError) -> OutOfMemoryError:
    """What to raise in the place of NumPy's or CuPy's error: what failed, and what is used."""
    if isinstance(error, OutOfMemoryError):
        return error
    summary = memory_summary(where)
    if summary.tape * 2 > summary.tensors:
        advice = (
            "Most of that waits for a backward pass: take a smaller batch, or compute under "
            "gt.no_grad() where no gradient is wanted"
        )
    else:
        advice = "Take smaller batches, or delete tensors that are no longer needed"
    request = str(error).rstrip(".") or "no memory"
    held = f"tensors hold {_size(summary.tensors)}"
    if summary.total is not None and summary.free is not None:
        held += f", {_size(summary.free)} of {_size(summary.total)} are free"
    largest = "".join(f"\n  {array}" for array in summary.largest[:5])
    return OutOfMemoryError(f"{name} on {where}: {request}; {held}. {advice}{largest}")


@contextlib.contextmanager
def explained(name: str, where: Device) -> Iterator[None]:
    """Errors for want of memory inside are raised with :func:`out_of_memory`."""
    try:
        yield
    except MemoryError as error:
        raise out_of_memory(name, where, error) from None
