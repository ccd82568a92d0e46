"""Copies on the host, and such from the device that nobody waits for."""

from typing import Any

import numpy as np

from gputensor import backend
from gputensor.backend import Array

__all__ = ["Copy", "host_copy"]


def host_copy(array: Array) -> "np.ndarray[Any, Any]":
    """A copy on the host, which shares no memory."""
    return np.array(backend.to_host(array))


class Copy:
    """A copy of a small device array on the host, which is there some time later.

    Attributes
    ----------
    host : numpy.ndarray
        Its values, once it is :attr:`done`.
    """

    def __init__(self, array: Array) -> None:
        self._event: Any = None
        if backend.on_cpu(array):
            self.host = array.copy()
            return
        import cupy

        with backend.on_device_of(array):
            memory = cupy.cuda.alloc_pinned_memory(array.nbytes)
            self.host = np.frombuffer(memory, array.dtype, array.size)
            stream = cupy.cuda.get_current_stream()
            array.get(stream=stream, out=self.host, blocking=False)
            self._event = stream.record()

    @property
    def done(self) -> bool:
        """Whether the values are there."""
        return self._event is None or bool(self._event.done)
