"""The ``cupy.cuda`` of the stand-in: devices, streams, events and the runtime's functions.

Everything runs at once, in the calling thread, so a stream has nothing to wait for; waiting is
counted all the same.
"""

import ctypes
import threading
import time
from types import ModuleType, TracebackType
from typing import Any, ClassVar

from .host_module import CompileException, CUDADriverError
from .memory import (
    DEVICE_BYTES,
    Allocation,
    MemoryPointer,
    MemoryPool,
    OutOfMemoryError,
    counters,
    current,
    pools,
    settings,
)

__all__ = ["Device", "Event", "Stream", "get_current_stream", "make_modules"]

_VERSION = 13000  # CUDA 13.0
_COMPUTE_CAPABILITY = (9, 0)
_ATTRIBUTES = {
    "ComputeCapabilityMajor": _COMPUTE_CAPABILITY[0],
    "ComputeCapabilityMinor": _COMPUTE_CAPABILITY[1],
    "MaxBlockDimX": 1024,
    "MaxGridDimX": 2**31 - 1,
    "MaxSharedMemoryPerBlock": 48 * 1024,
    "MaxThreadsPerBlock": 1024,
    "MaxThreadsPerMultiProcessor": 2048,
    "MultiProcessorCount": 4,
    "WarpSize": 32,
}


class CUDARuntimeError(RuntimeError):
    """A call that the CUDA runtime refuses.

    Attributes
    ----------
    status : int
        The runtime's error code.
    """

    messages: ClassVar[dict[int, str]] = {
        1: "cudaErrorInvalidValue: invalid argument",
        101: "cudaErrorInvalidDevice: invalid device ordinal",
        801: "cudaErrorNotSupported: operation not supported",
    }

    def __init__(self, status: int) -> None:
        super().__init__(self.messages.get(status, f"CUDA error {status}"))
        self.status = status


def _set_device(number: int) -> None:
    if not 0 <= number < settings.devices:
        raise CUDARuntimeError(101)
    current.id = number


class Device:
    """A device by its number, the current one by default; a context manager like CuPy's."""

    def __init__(self, device: "int | Device | None" = None) -> None:
        if device is None:
            device = current.id
        self.id: int = device.id if isinstance(device, Device) else int(device)
        self._outer: list[int] = []

    def __enter__(self) -> "Device":
        self._outer.append(current.id)
        try:
            _set_device(self.id)
        except CUDARuntimeError:
            self._outer.pop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        current.id = self._outer.pop()

    def use(self) -> "Device":
        """Make it the calling thread's current device."""
        _set_device(self.id)
        return self

    def synchronize(self) -> None:
        """Wait for what runs on the device."""
        counters.count("synchronizations")

    @property
    def compute_capability(self) -> str:
        """Major and minor number, as in ``"90"``."""
        return "".join(map(str, _COMPUTE_CAPABILITY))

    @property
    def attributes(self) -> dict[str, int]:
        """Limits and numbers of the device."""
        return dict(_ATTRIBUTES)

    @property
    def mem_info(self) -> tuple[int, int]:
        """Free and total bytes."""
        return DEVICE_BYTES - pools[self.id].total_bytes(), DEVICE_BYTES

    @property
    def pci_bus_id(self) -> str:
        """Address of the device on the bus."""
        return f"0000:00:{self.id:02X}.0"

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self) -> int:
        return hash((Device, self.id))

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"


class Stream:
    """A stream; the work given to it is done already."""

    null: ClassVar["Stream"]

    def __init__(
        self,
        null: bool = False,
        non_blocking: bool = False,
        ptds: bool = False,
        priority: int | None = None,
    ) -> None:
        self.ptr = 0 if null else id(self)
        self.is_non_blocking = non_blocking
        self.priority = priority or 0
        self.device_id = current.id
        self._outer: list[Stream] = []

    def __enter__(self) -> "Stream":
        self._outer.append(_streams.current)
        _streams.current = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _streams.current = self._outer.pop()

    def use(self) -> "Stream":
        """Make it the calling thread's current stream."""
        _streams.current = self
        return self

    @property
    def done(self) -> bool:
        """Whether nothing is left to wait for."""
        return True

    def synchronize(self) -> None:
        """Wait for the stream."""
        counters.count("synchronizations")

    def record(self, event: "Event | None" = None) -> "Event":
        """Put an event into the stream."""
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: "Event") -> None:
        """Let the stream wait for an event, not the host."""

    def is_capturing(self) -> bool:
        """Whether a graph is recorded; the stand-in cannot."""
        return False

    def begin_capture(self, mode: int | None = None) -> None:
        """Refuse: the stand-in records no graphs."""
        raise CUDARuntimeError(801)

    def end_capture(self) -> None:
        """Refuse: the stand-in records no graphs."""
        raise CUDARuntimeError(801)


Stream.null = Stream(null=True)


class _Streams(threading.local):
    def __init__(self) -> None:
        self.current = Stream.null


_streams = _Streams()


def get_current_stream(device_id: int | None = None) -> Stream:
    """Get the calling thread's stream."""
    return _streams.current


class Event:
    """A moment in a stream."""

    def __init__(
        self, block: bool = False, disable_timing: bool = False, interprocess: bool = False
    ) -> None:
        self.time = 0.0

    done = True

    def record(self, stream: Stream | None = None) -> None:
        """Remember the time."""
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        """Wait until the stream has come here."""
        counters.count("synchronizations")


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """Milliseconds between two events."""
    return (end_event.time - start_event.time) * 1e3


def _get_device_properties(number: int) -> dict[str, Any]:
    if not 0 <= number < settings.devices:
        raise CUDARuntimeError(101)
    return {
        "name": b"NumPy stand-in",
        "major": _COMPUTE_CAPABILITY[0],
        "minor": _COMPUTE_CAPABILITY[1],
        "maxGridSize": (2**31 - 1, 65535, 65535),
        "maxThreadsDim": (1024, 1024, 64),
        "maxThreadsPerBlock": 1024,
        "maxThreadsPerMultiProcessor": 2048,
        "multiProcessorCount": _ATTRIBUTES["MultiProcessorCount"],
        "pciBusID": number,
        "sharedMemPerBlock": 48 * 1024,
        "totalGlobalMem": DEVICE_BYTES,
        "warpSize": 32,
    }


def _memcpy(target: int, source: int, size: int, kind: int) -> None:
    if kind == 1:
        counters.to_device(size)
    elif kind == 2:
        counters.to_host(size)
    ctypes.memmove(target, source, size)


def _memcpy_async(target: int, source: int, size: int, kind: int, stream: int) -> None:
    _memcpy(target, source, size, kind)


def _module(name: str, **contents: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(contents)
    return module


def make_modules() -> dict[str, ModuleType]:
    """Make ``cupy.cuda`` and what is below it, by their names."""
    runtime = _module(
        "cupy.cuda.runtime",
        CUDARuntimeError=CUDARuntimeError,
        deviceSynchronize=lambda: Device().synchronize(),
        driverGetVersion=lambda: _VERSION,
        getDevice=lambda: current.id,
        getDeviceCount=lambda: settings.devices,
        getDeviceProperties=_get_device_properties,
        is_hip=False,
        memGetInfo=lambda: Device().mem_info,
        memcpy=_memcpy,
        memcpyAsync=_memcpy_async,
        memcpyDeviceToDevice=3,
        memcpyDeviceToHost=2,
        memcpyHostToDevice=1,
        runtimeGetVersion=lambda: _VERSION,
        setDevice=_set_device,
        streamSynchronize=lambda stream: counters.count("synchronizations"),
    )
    driver = _module(
        "cupy.cuda.driver", CUDADriverError=CUDADriverError, get_build_version=lambda: _VERSION
    )
    compiler = _module("cupy.cuda.compiler", CompileException=CompileException)
    nvrtc = _module("cupy.cuda.nvrtc", getVersion=lambda: (_VERSION // 1000, 0))
    device = _module("cupy.cuda.device", Device=Device)
    stream = _module(
        "cupy.cuda.stream", Event=Event, Stream=Stream, get_current_stream=get_current_stream
    )
    memory = _module(
        "cupy.cuda.memory",
        MemoryPointer=MemoryPointer,
        MemoryPool=MemoryPool,
        OutOfMemoryError=OutOfMemoryError,
    )
    cuda = _module(
        "cupy.cuda",
        Device=Device,
        Event=Event,
        Memory=Allocation,
        MemoryPointer=MemoryPointer,
        MemoryPool=MemoryPool,
        Stream=Stream,
        alloc=lambda size: pools[current.id].malloc(size),
        alloc_pinned_memory=lambda size: (ctypes.c_char * size)(),
        compiler=compiler,
        device=device,
        driver=driver,
        get_current_stream=get_current_stream,
        get_device_id=lambda: current.id,
        get_elapsed_time=get_elapsed_time,
        is_available=lambda: settings.devices > 0,
        memory=memory,
        nvrtc=nvrtc,
        runtime=runtime,
        # Each array has memory of its own, whoever hands it out.
        set_allocator=lambda allocator=None: None,
        set_pinned_memory_allocator=lambda allocator=None: None,
        stream=stream,
    )
    cuda.__path__ = []
    return {m.__name__: m for m in (cuda, device, runtime, driver, compiler, nvrtc, stream, memory)}
