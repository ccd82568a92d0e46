"""Copies of arrays as they are at a moment, in memory that is kept for the next time."""

from typing import Any

import numpy as np

from gputensor import backend
from gputensor.backend import Array
from gputensor.errors import OutOfMemoryError

__all__ = ["Staging"]


class Staging:
    """Copies of arrays by name; those of arrays on a device come to the host later.

    On the host the memory of the copies before is taken again: to get pages from the system takes
    longer than to fill them.

    Attributes
    ----------
    arrays : dict of str to numpy.ndarray
        What was copied since :meth:`begin`, once it has :meth:`arrive`-d.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}
        self._kept: dict[str, np.ndarray[Any, Any]] = {}
        self._coming: dict[str, Array] = {}
        self._after: list[tuple[Any, Any]] = []

    def begin(self) -> None:
        """Forget the copies; their memory is used again."""
        self._kept, self.arrays = self.arrays, {}
        self._coming = {}

    def take(self, name: str, array: Array) -> None:
        """Copy an array, on its device."""
        host = self._kept.get(name)
        if host is None or host.shape != array.shape or host.dtype != array.dtype:
            host = np.empty(array.shape, array.dtype)
        self.arrays[name] = host
        if backend.on_cpu(array):
            np.copyto(host, array)
            return
        with backend.on_device_of(array):
            try:
                self._coming[name] = array.copy()
            except (OutOfMemoryError, MemoryError):  # then the host waits for the device
                host[...] = backend.to_host(array)

    def taken(self) -> None:
        """Say that all is copied, or will be once the devices come to it."""
        self._kept = {}
        self._after = [
            (device, _event(device))
            for device in {
                str(d): d for d in map(backend.device_of, self._coming.values())
            }.values()
        ]

    def arrive(self) -> None:
        """Bring the copies to the host, on a stream of this thread's own."""
        if not self._coming:
            return
        import cupy

        for device, event in self._after:
            with backend.on_device_of(device):
                stream = cupy.cuda.Stream(non_blocking=True)
                stream.wait_event(event)
                for name, copy in self._coming.items():
                    if backend.device_of(copy) == device:
                        copy.get(stream=stream, out=self.arrays[name])
                stream.synchronize()
        self._coming = {}


def _event(device: Any) -> Any:
    import cupy

    with backend.on_device_of(device):
        return cupy.cuda.get_current_stream().record()
