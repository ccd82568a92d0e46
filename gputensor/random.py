"""Random numbers from a counter-based stream, Philox4x32-10: the same on the CPU and on CUDA."""

import math
import secrets
import threading
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor, wrap
from gputensor.backend import Array, Device
from gputensor.errors import DTypeError
from gputensor.kernels.philox import random_bits

__all__ = ["Generator", "default_generator", "manual_seed"]


class Generator:
    """Stream of random numbers.

    Parameters
    ----------
    seed : int, optional
        Non-negative, below 2**64; without it, one from the operating system. Equal seeds give
        equal numbers on every device, normal ones to rounding.

    Attributes
    ----------
    state : tuple of int
        Seed and counter; settable, to go on from there.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._lock = threading.Lock()
        self.manual_seed(secrets.randbits(63) if seed is None else seed)

    def __repr__(self) -> str:
        return f"Generator(seed={self._seed}, counter={self._counter})"

    def manual_seed(self, seed: int) -> "Generator":
        """Start again from `seed`.

        Raises
        ------
        ValueError
            If `seed` is negative or takes more than 64 bits.
        """
        if not isinstance(seed, (int, np.integer)):
            raise TypeError(f"seed must be an int, got {type(seed).__name__}")
        if not 0 <= seed < 1 << 64:
            raise ValueError(f"seed is {seed}; it must be from 0 to 2**64 - 1")
        self._seed = int(seed)
        self._counter = 0
        return self

    @property
    def state(self) -> tuple[int, int]:
        """Seed and counter."""
        return self._seed, self._counter

    @state.setter
    def state(self, value: tuple[int, int]) -> None:
        seed, counter = value
        self.manual_seed(seed)
        self._counter = counter

    def _bits(self, size: int, where: Device) -> Array:
        with self._lock:
            offset = self._counter
            self._counter += -(-size // 4)
        with backend.on_device_of(where):
            return random_bits(backend.namespace(where), size, self._seed, offset)

    def _uniform(self, size: int, dtype: np.dtype[Any], where: Device) -> Array:
        """Raw numbers in [0, 1), of 53 random bits for float64, else float32 ones of 24."""
        if dtype == np.float64:
            words = self._bits(2 * size, where).reshape(size, 2).astype(np.uint64)
            return (words[:, 0] >> np.uint64(6)) * 2.0**-26 + (
                words[:, 1] >> np.uint64(5)
            ) * 2.0**-53
        if dtype.kind != "f":
            raise DTypeError(f"random numbers have a floating point dtype, not {dtype}")
        numbers = (self._bits(size, where) >> np.uint32(8)).astype(np.float32)
        numbers *= np.float32(2.0**-24)
        return numbers

    def uniform(
        self,
        shape: int | tuple[int, ...],
        low: float = 0.0,
        high: float = 1.0,
        *,
        dtype: Any = np.float32,
        device: str | Device | None = None,
    ) -> Tensor:
        """Numbers evenly distributed over ``[low, high)``.

        Parameters
        ----------
        shape : int or tuple of ints
        low, high : float
        dtype : floating point dtype
        device : str or Device, optional

        Returns
        -------
        Tensor of `shape`
        """
        if not low <= high:
            raise ValueError(f"uniform: low is {low}, high is {high}; low must not be above high")
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        where = backend.device(device)
        with backend.on_device_of(where):
            numbers = self._uniform(math.prod(shape), np.dtype(dtype), where)
            numbers = (numbers * (high - low) + low).astype(dtype, copy=False)
            # Rounding can carry the largest of them onto `high`.
            below = np.nextafter(numbers.dtype.type(high), numbers.dtype.type(low))
            backend.namespace(where).minimum(numbers, below, out=numbers)
            return wrap(numbers.reshape(shape))

    def normal(
        self,
        shape: int | tuple[int, ...],
        mean: float = 0.0,
        std: float = 1.0,
        *,
        dtype: Any = np.float32,
        device: str | Device | None = None,
    ) -> Tensor:
        """Normally distributed numbers, by the transform of Box and Muller (1958).

        Parameters
        ----------
        shape : int or tuple of ints
        mean, std : float
        dtype : floating point dtype
        device : str or Device, optional

        Returns
        -------
        Tensor of `shape`
        """
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        where = backend.device(device)
        size = math.prod(shape)
        with backend.on_device_of(where):
            xp = backend.namespace(where)
            pairs = self._uniform(size + size % 2, np.dtype(dtype), where).reshape(2, -1)
            radius = xp.sqrt(-2 * xp.log1p(-pairs[0]))
            angle = 2 * math.pi * pairs[1]
            numbers = xp.concatenate([radius * xp.cos(angle), radius * xp.sin(angle)])[:size]
            return wrap((numbers * std + mean).astype(dtype, copy=False).reshape(shape))

    def permutation(self, n: int, *, device: str | Device | None = None) -> Tensor:
        """The numbers 0 to ``n - 1`` in random order, int64, drawn on the device.

        Each gets a random 64-bit key, and the keys are sorted.
        """
        where = backend.device(device)
        words = self._bits(2 * n, where)
        with backend.on_device_of(where):
            return wrap(backend.namespace(where).argsort(words.view(np.uint64)))


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Start gputensor's own generator, which layers and dropout draw from, again from `seed`."""
    return default_generator.manual_seed(seed)
