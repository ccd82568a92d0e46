"""Random numbers of programs: a generator's seed and counter, in memory where kernels read them."""

import threading
import weakref
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.backend import Array, Device

__all__ = ["State", "state_of"]


class State:
    """Seed and counter of a generator, where the programs of a thread read them.

    Attributes
    ----------
    array : uint64 array of shape (2,)
    """

    def __init__(self, device: Device) -> None:
        self.array: Array
        self._value: tuple[int, int] | None = None  # what is there, or will be by then
        if device.kind == "cpu":
            self.array = np.zeros(2, np.uint64)
            return
        import cupy

        with cupy.cuda.using_allocator(cupy.get_default_memory_pool().malloc):
            self.array = cupy.empty(2, np.uint64)

    def set(self, seed: int, counter: int) -> None:
        """Set both, if they are something else there; on CUDA by launches, without a copy."""
        if (seed, counter) != self._value:
            if not isinstance(self.array, np.ndarray):
                from gputensor.graph.cuda import lane

                lane().catch_up()  # earlier programs have read what is there
            for i, number in enumerate((seed, counter)):
                self.array[i : i + 1].fill(np.uint64(number))
            self._value = seed, counter

    def forget(self) -> None:
        """Say that nobody knows what is there, as a program did not end."""
        self._value = None

    def moved(self, counters: int) -> None:
        """Say that a program has moved the counter on, on the device."""
        assert self._value is not None
        seed, counter = self._value
        self._value = seed, (counter + counters) % (1 << 64)


class _States(threading.local):
    def __init__(self) -> None:
        self.by_generator: weakref.WeakKeyDictionary[Any, dict[Device, State]]
        self.by_generator = weakref.WeakKeyDictionary()


_states = _States()


def state_of(generator: Any, device: Device) -> State:
    """The state of a generator on a device, one for all programs of this thread."""
    by_device = _states.by_generator.setdefault(generator, {})
    if device not in by_device:
        with backend.on_device_of(device):
            by_device[device] = State(device)
    return by_device[device]
