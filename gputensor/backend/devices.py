"""Devices: which there are, which one is meant, and which one an array is on."""

import contextlib
import functools
import importlib
import importlib.util
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self

import numpy as np

from gputensor import config
from gputensor.backend.modes import Array, local
from gputensor.errors import DeviceError

_CUDA_HELP = (
    "To use an NVIDIA GPU install the driver and CuPy: python -m pip install 'cupy-cuda13x' (or "
    "'cupy-cuda12x', as `nvidia-smi` shows); in a clone of gputensor -e '.[cuda13]' has all that "
    "it uses there. `python -m gputensor doctor` says what was found."
)


class CudaStatus(NamedTuple):
    """What the probe for CUDA found.

    Attributes
    ----------
    available : bool
        Whether arrays can be put on a CUDA device.
    reason : str
        The device's name, or why CUDA is not used.
    devices : int
        Number of CUDA devices.
    """

    available: bool
    reason: str
    devices: int


class Device:
    """A place for arrays: ``cpu`` or ``cuda:N``.

    As a context manager it is the device that new tensors are put on, in this thread. It equals
    its name: ``x.device == "cuda:0"``.

    Examples
    --------
    >>> gt.device("cpu").kind
    'cpu'
    """

    __slots__ = ("index", "kind")

    def __init__(self, kind: str, index: int = 0) -> None:
        self.kind = kind
        self.index = index

    if not TYPE_CHECKING:  # where any name would be taken for one

        def __getattr__(self, name: str) -> NoReturn:
            ours = {"type": "kind", "id": "index", "platform": "kind"}.get(name)
            raise AttributeError(
                f"a device has no attribute {name!r}" + (f"; write device.{ours}" if ours else "")
            )

    def __str__(self) -> str:
        return "cpu" if self.kind == "cpu" else f"cuda:{self.index}"

    def __repr__(self) -> str:
        return f"device({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return str(self) == ("cuda:0" if other == "cuda" else other)
        return isinstance(other, Device) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __enter__(self) -> "Device":
        local.devices.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        local.devices.pop()


@functools.cache
def cuda_status() -> CudaStatus:
    """Look for CuPy, a driver and a device, once; never raises.

    Returns
    -------
    CudaStatus
        Whether CUDA is usable, and the device's name or the reason why it is not.

    Examples
    --------
    >>> gt.cuda_status().available in (True, False)
    True
    """
    if importlib.util.find_spec("cupy") is None:
        return CudaStatus(False, "CuPy is not installed", 0)
    try:
        import cupy  # type: ignore[import-not-found, unused-ignore]

        runtime = cupy.cuda.runtime
        count = int(runtime.getDeviceCount())
        if count < 1:
            return CudaStatus(False, "CuPy found no CUDA device", 0)
        cupy.empty(1)
        name = runtime.getDeviceProperties(0)["name"].decode()
    # A broken driver or library surfaces as almost any exception, and a probe must not raise.
    except Exception as error:
        return CudaStatus(False, f"CuPy cannot use a device: {type(error).__name__}: {error}", 0)
    return CudaStatus(True, f"{name} through CuPy {cupy.__version__}", count)


def device(spec: "str | Device | None" = None) -> Device:
    """Name a device; use it as a value or as a context manager.

    Parameters
    ----------
    spec : {"auto", "cpu", "cuda", "cuda:N"} or Device, optional
        ``"auto"`` is CUDA where it is usable, else the CPU; without it the default device.

    Returns
    -------
    Device

    Raises
    ------
    DeviceError
        For another name, or for a CUDA device that is not there.

    Examples
    --------
    >>> with gt.device("cpu"):
    ...     x = gt.ones((2, 3))
    """
    if spec is None:
        return default_device()
    if isinstance(spec, Device):
        return spec
    name = spec.strip().lower() if isinstance(spec, str) else repr(spec)
    if name == "cpu":
        return Device("cpu")
    if name == "auto":
        return Device("cuda") if cuda_status().available else Device("cpu")
    kind, colon, index = name.partition(":")
    if kind != "cuda" or (colon and not index.isdecimal()):
        raise DeviceError(f"device {spec!r} is unknown; allowed are auto, cpu, cuda and cuda:N")
    status = cuda_status()
    if not status.available:
        raise DeviceError(f"device {spec!r} is not available: {status.reason}. {_CUDA_HELP}")
    number = int(index or 0)
    if number >= status.devices:
        raise DeviceError(
            f"device {spec!r} is not there: this machine has {status.devices} CUDA device(s), "
            f"cuda:0 to cuda:{status.devices - 1}"
        )
    return Device("cuda", number)


@functools.cache
def _configured_device(setting: str) -> Device:
    return device(setting)


def entered_device() -> Device | None:
    """Device of the innermost ``with gt.device(...)``, if there is one."""
    return local.devices[-1] if local.devices else None


def default_device() -> Device:
    """Device of new tensors: the innermost ``with gt.device(...)``, else ``GPUTENSOR_DEVICE``."""
    if local.devices:
        innermost: Device = local.devices[-1]
        return innermost
    return _configured_device(config.device_setting())


# Types of arrays on the CPU; recordings have one of their own, see gputensor.graph.tracer.
HOST_TYPES: list[type] = [np.ndarray]


def on_cpu(x: object) -> bool:
    """Whether `x` is an array on the CPU."""
    return isinstance(x, np.ndarray) or type(x) in HOST_TYPES


def device_of(array: Array) -> Device:
    """Device that a raw array lives on."""
    if on_cpu(array):
        return Device("cpu")
    return Device("cuda", array.device.id)


def _cuda_device(index: int) -> contextlib.AbstractContextManager[Any]:
    """Context of a CUDA device."""
    import cupy

    found: contextlib.AbstractContextManager[Any] = cupy.cuda.Device(index)
    return found


_NO_CONTEXT = contextlib.nullcontext()


def on_device_of(place: "Array | Device") -> contextlib.AbstractContextManager[None]:
    """Make the CUDA device of an array current, so that results and launches go there.

    Where there is one device only, nothing is left to do.
    """
    if type(place) is np.ndarray:
        return _NO_CONTEXT
    if isinstance(place, Device):
        where = place
    elif cuda_status().devices < 2:
        return _NO_CONTEXT
    else:
        where = device_of(place)
    return _NO_CONTEXT if where.kind == "cpu" else _cuda_device(where.index)


class FollowDevice:
    """Context in which the current CUDA device follows the arrays shown to it."""

    def __init__(self) -> None:
        self._index = -1  # of the CUDA device
        self._context: contextlib.AbstractContextManager[None] = _NO_CONTEXT

    @property
    def entered(self) -> Device:
        """The device of the last array."""
        return Device("cpu") if self._index < 0 else Device("cuda", self._index)

    def __enter__(self) -> Self:
        return self

    def __call__(self, array: Array) -> None:
        """Make the device of `array` the current one."""
        if on_cpu(array):
            index = -1
        else:  # quicker than to ask an array for its device
            index = array.device.id if hasattr(array, "recording") else array.data.device_id
        if index != self._index:
            self._context.__exit__(None, None, None)
            self._index, self._context = index, _NO_CONTEXT
            if index >= 0 and cuda_status().devices > 1:
                self._context = _cuda_device(index)
            self._context.__enter__()

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(None, None, None)
