"""Random numbers from a counter-based stream, Philox4x32-10: the same on the CPU and on CUDA.

Methods and their arguments are those of ``numpy.random.Generator``, in the same order.
"""

import math
import secrets
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from gputensor import backend, memory
from gputensor.autograd import Tensor, wrap
from gputensor.backend import Array, Device
from gputensor.errors import DTypeError
from gputensor.kernels import random_bits, random_normal, random_uniform
from gputensor.kernels.philox import words_of

__all__ = ["Generator", "default_generator", "default_rng", "manual_seed"]

Shape: TypeAlias = int | tuple[int, ...] | None


class _Recorder(threading.local):
    """Who is told what a thread takes from generators: a capture, see :mod:`gputensor.capture`."""

    note: "Callable[[Generator, int], dict[str, Any] | None] | None" = None


recorder = _Recorder()


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

    Notes
    -----
    In the methods `shape` is that of the result, ``()`` if it is None, in the place of NumPy's
    `size`; `dtype` is its dtype and `device` its place, where the numbers are drawn.
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
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise TypeError(f"seed must be an int, got {type(seed).__name__}")
        if not 0 <= seed < 1 << 64:
            raise ValueError(f"seed is {seed}; it must be from 0 to 2**64 - 1")
        with self._lock:
            self._seed, self._counter = int(seed), 0
        return self

    @property
    def state(self) -> tuple[int, int]:
        """Seed and counter."""
        with self._lock:
            return self._seed, self._counter

    @state.setter
    def state(self, value: tuple[int, int]) -> None:
        seed, counter = value
        self.manual_seed(seed)
        if not 0 <= counter < 1 << 64:
            raise ValueError(f"counter is {counter}; it must be from 0 to 2**64 - 1")
        with self._lock:
            self._counter = int(counter)

    def take(self, words: int) -> dict[str, Any]:
        """Where the next `words` random words are, which are taken out of the stream.

        For kernels that draw for themselves, such as :func:`gputensor.kernels.dropout`: their
        arguments ``key`` and ``offset``, and ``state`` in a CUDA graph that is being captured.
        """
        counters = -(-words // 4)
        taken = recorder.note(self, counters) if recorder.note else None
        if taken is not None:
            return taken
        with self._lock:
            offset = self._counter
            self._counter = (offset + counters) % (1 << 64)
            return {"key": self._seed, "offset": offset}

    def advance(self, counters: int) -> "Generator":
        """Skip the words of so many counters, four of each."""
        with self._lock:
            self._counter = (self._counter + counters) % (1 << 64)
        return self

    def random(
        self, shape: Shape = None, *, dtype: Any = np.float32, device: str | Device | None = None
    ) -> Tensor:
        """Numbers evenly distributed over ``[0, 1)``."""
        return self.uniform(shape=shape, dtype=dtype, device=device)

    def uniform(
        self,
        low: float = 0.0,
        high: float = 1.0,
        shape: Shape = None,
        *,
        dtype: Any = np.float32,
        device: str | Device | None = None,
    ) -> Tensor:
        """Numbers evenly distributed over ``[low, high)``.

        Raises
        ------
        ValueError
            If `low` is above `high`, or one is not finite.
        DTypeError
            If `dtype` is not a floating point dtype.
        """
        if not -math.inf < low <= high < math.inf:
            raise ValueError(
                f"uniform: low is {low}, high is {high}; they must be finite and low not above high"
            )
        out, sizes, where = _room("uniform", shape, dtype, device)
        with backend.on_device_of(where):
            state = self.take(out.size * words_of(out.dtype))
            return wrap(random_uniform.raw(out, low=low, high=high, **state).reshape(sizes))

    def normal(
        self,
        loc: float = 0.0,
        scale: float = 1.0,
        shape: Shape = None,
        *,
        dtype: Any = np.float32,
        device: str | Device | None = None,
    ) -> Tensor:
        """Normally distributed numbers of mean `loc` and standard deviation `scale`.

        Raises
        ------
        ValueError
            If `scale` is negative.
        DTypeError
            If `dtype` is not a floating point dtype.
        """
        if not scale >= 0:
            raise ValueError(f"normal: scale is {scale}; it must not be negative")
        out, sizes, where = _room("normal", shape, dtype, device)
        with backend.on_device_of(where):
            state = self.take((out.size + out.size % 2) * words_of(out.dtype))
            return wrap(random_normal.raw(out, mean=loc, std=scale, **state).reshape(sizes))

    def standard_normal(
        self, shape: Shape = None, *, dtype: Any = np.float32, device: str | Device | None = None
    ) -> Tensor:
        """Normally distributed numbers of mean 0 and standard deviation 1."""
        return self.normal(shape=shape, dtype=dtype, device=device)

    def integers(
        self,
        low: int,
        high: int | None = None,
        shape: Shape = None,
        *,
        dtype: Any = np.int64,
        endpoint: bool = False,
        device: str | Device | None = None,
    ) -> Tensor:
        """Integers from `low` to ``high - 1``, or to `high` with `endpoint`.

        Without `high` they are from 0 to ``low - 1``. A 64-bit word times the length of the range
        gives the integer, so each one's probability is right to 2**-64.

        Raises
        ------
        ValueError
            If the range is empty or does not fit `dtype`.
        """
        first, last = (0, low) if high is None else (low, high)
        last = last if endpoint else last - 1
        info = np.iinfo(dtype)
        if not info.min <= first <= last <= info.max:
            raise ValueError(
                f"integers: the range is {first} to {last}; it must not be empty and fit "
                f"{np.dtype(dtype)}, {info.min} to {info.max}"
            )
        words, sizes, where = _room("integers", shape, np.uint32, device, 2)
        with backend.on_device_of(where):
            pairs = random_bits.raw(words, **self.take(words.size)).astype(np.uint64).reshape(-1, 2)
            numbers = _high_product(pairs[:, 0], pairs[:, 1], last - first + 1)
            # Added modulo 2**64: a negative `first` is its complement.
            numbers += np.uint64(first % (1 << 64))
            return wrap(numbers.astype(np.int64).astype(dtype, copy=False).reshape(sizes))

    def permutation(self, n: int, *, device: str | Device | None = None) -> Tensor:
        """The numbers 0 to ``n - 1`` in random order, int64, drawn on the device.

        Each gets a random 64-bit key, and the keys are sorted.
        """
        keys, _, where = _room("permutation", n, np.uint32, device, 2)
        with backend.on_device_of(where):
            words = random_bits.raw(keys, **self.take(keys.size))
            # Stable, so that equal keys, rare as they are, come out alike on every device.
            return wrap(backend.namespace(where).argsort(words.view(np.uint64), kind="stable"))


def _room(
    name: str, shape: Shape, dtype: Any, device: str | Device | None, words: int = 0
) -> tuple[Array, tuple[int, ...], Device]:
    """Flat array to fill, `words` for an element if that is given, its shape to be, its place."""
    sizes = () if shape is None else (shape,) if isinstance(shape, int | np.integer) else shape
    if any(isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0 for n in sizes):
        raise ValueError(f"{name}: shape is {shape!r}; it must be of non-negative ints")
    dtype = np.dtype(dtype)
    if not words and (dtype.kind not in "fV" or dtype.itemsize > 8):
        raise DTypeError(f"{name}: random numbers have a floating point dtype, not {dtype}")
    where = backend.device(device)
    with backend.on_device_of(where), memory.explained(name, where):
        out = backend.namespace(where).empty(math.prod(sizes) * (words or 1), dtype)
    return out, tuple(sizes), where


def _high_product(high: Array, low: Array, span: int) -> Array:
    """Upper 64 bits of ``(high * 2**32 + low) * span``, for words below 2**32 in uint64."""
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    if span == 1 << 64:
        return (high << half) | low
    span_high, span_low = np.uint64(span >> 32), np.uint64(span & 0xFFFFFFFF)
    middle = high * span_low + ((low * span_low) >> half)
    other = low * span_high + (middle & mask)
    return high * span_high + (middle >> half) + (other >> half)


default_generator = Generator()


def default_rng(seed: int | None = None) -> Generator:
    """Make a generator, as ``numpy.random.default_rng`` does; the same as ``Generator(seed)``."""
    return Generator(seed)


def manual_seed(seed: int) -> Generator:
    """Start gputensor's own generator, which layers and dropout draw from, again from `seed`."""
    return default_generator.manual_seed(seed)
