"""The ``cupy.cuda`` of the stand-in: devices and the runtime's functions."""

import ctypes
from types import ModuleType, TracebackType
from typing import Any

from . import memory as fake_memory
from . import nccl as fake_nccl
from . import streams
from .host_module import CompileException, CUDADriverError
from .memory import DEVICE_BYTES, Allocation, Block, MemoryPointer, MemoryPool, OutOfMemoryError
from .state import counters, current, settings
from .streams import CUDARuntimeError, Event, Graph, Stream, get_current_stream, get_elapsed_time

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
        streams.refuse_device_wait()
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
        return DEVICE_BYTES - Block.driver_bytes[self.id], DEVICE_BYTES

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
    streams.refuse_unsafe()
    _memcpy_async(target, source, size, kind, 0)


def _memcpy_async(target: int, source: int, size: int, kind: int, stream: int) -> None:
    if kind not in (1, 2):
        fake_memory.copy_bytes(target, source, size, stream)
        return
    capture = streams.recording(stream)
    if capture:
        capture.fail(900)  # the host's memory is pageable
    (counters.to_device if kind == 1 else counters.to_host)(size)
    ctypes.memmove(target, source, size)


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
        streamCaptureModeGlobal=streams.GLOBAL,
        streamCaptureModeRelaxed=streams.RELAXED,
        streamCaptureModeThreadLocal=streams.THREAD_LOCAL,
        streamIsCapturing=lambda stream: streams.as_stream(stream).is_capturing(),
        streamSynchronize=lambda stream: streams.as_stream(stream).synchronize(),
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
        alloc=fake_memory.alloc,
        get_allocator=fake_memory.get_allocator,
        set_allocator=fake_memory.set_allocator,
        OutOfMemoryError=OutOfMemoryError,
    )
    graph = _module("cupy.cuda.graph", Graph=Graph)
    nccl = fake_nccl.make_module()
    cuda = _module(
        "cupy.cuda",
        Device=Device,
        Event=Event,
        Graph=Graph,
        Memory=Allocation,
        MemoryPointer=MemoryPointer,
        MemoryPool=MemoryPool,
        Stream=Stream,
        alloc=fake_memory.alloc,
        alloc_pinned_memory=lambda size: (ctypes.c_char * size)(),
        compiler=compiler,
        device=device,
        driver=driver,
        get_allocator=fake_memory.get_allocator,
        get_current_stream=get_current_stream,
        get_device_id=lambda: current.id,
        get_elapsed_time=get_elapsed_time,
        is_available=lambda: settings.devices > 0,
        memory=memory,
        graph=graph,
        nccl=nccl,
        nvrtc=nvrtc,
        runtime=runtime,
        set_allocator=fake_memory.set_allocator,
        set_pinned_memory_allocator=lambda allocator=None: None,
        stream=stream,
        using_allocator=fake_memory.using_allocator,
    )
    cuda.__path__ = []
    return {
        m.__name__: m
        for m in (cuda, device, runtime, driver, compiler, nccl, nvrtc, stream, memory, graph)
    }
