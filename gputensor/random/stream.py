"""The stream of random words, Philox4x32-10, and the place in it."""

import os
import threading
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from gputensor import backend
from gputensor.kernels import random_bits
from gputensor.random.arguments import (
    room,
)


class _Recorder(threading.local):
    """Who is asked for what a thread takes from generators: see :func:`gputensor.checkpoint`."""

    note: "Callable[[Stream, int], dict[str, Any]] | None" = None


recorder = _Recorder()


def numbers_kept() -> bool:
    """Whether somebody keeps the numbers that this thread draws, as ``checkpoint`` does."""
    return recorder.note is not None


class Stream:
    """A seed and a counter; its parameters are those of :class:`gputensor.random.Generator`."""

    def __init__(self, seed: int | None = None) -> None:
        self._lock = threading.Lock()
        self.manual_seed(int.from_bytes(os.urandom(8)) >> 1 if seed is None else seed)

    def __repr__(self) -> str:
        return f"Generator(seed={self._seed}, counter={self._counter})"

    def manual_seed(self, seed: int) -> "Self":
        """Start again from `seed`.

        Raises
        ------
        ValueError
            If `seed` is negative or takes more than 64 bits.
        """
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise TypeError(f"seed must be an int, got {type(seed).__name__}")
        backend.end_recording("a generator is set to a seed")
        if not 0 <= seed < 1 << 64:
            raise ValueError(f"seed is {seed}; it must be from 0 to 2**64 - 1")
        with self._lock:
            self._seed, self._counter = int(seed), 0
        return self

    @property
    def state(self) -> tuple[int, int]:
        """Seed and counter."""
        backend.end_recording("a generator's state is read")
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

    def __getstate__(self) -> tuple[int, int]:
        return self.state

    def __setstate__(self, state: tuple[int, int]) -> None:
        self._lock = threading.Lock()
        self.state = state

    def spawn(self, n: int) -> "list[Self]":
        """`n` generators for workers that draw side by side; their seeds are drawn from this one.

        Two of them share a seed with a probability of ``n**2 / 2**65``.
        """
        out, _, _ = room("spawn", n, np.uint32, "cpu", 2)
        start = self.take(out.size)
        backend.end_recording("seeds of generators are drawn")
        words = random_bits.raw(out, **start).view(np.uint64)
        return [type(self)(int(seed)) for seed in words]

    def take(self, words: int) -> dict[str, Any]:
        """Where the next `words` random words are, which are taken out of the stream.

        For kernels that draw for themselves, such as :func:`gputensor.kernels.dropout`: their
        arguments ``key`` and ``offset``, and ``state`` in a CUDA graph that is being captured.
        """
        counters = -(-words // 4)
        if recorder.note is not None:
            return recorder.note(self, counters)
        recording = backend.recording()
        if recording is not None and (found := recording.draw(self, counters)) is not None:
            return found  # type: ignore[no-any-return]
        key, offset = self.reserve(counters)
        return {"key": key, "offset": offset}

    def reserve(self, counters: int) -> tuple[int, int]:
        """Seed and counter, which is moved on: what is drawn from there on is the caller's."""
        with self._lock:
            offset = self._counter
            self._counter = (offset + counters) % (1 << 64)
            return self._seed, offset

    def give_back(self, offset: int, counters: int) -> None:
        """Undo a :meth:`reserve`, unless somebody has drawn since."""
        with self._lock:
            if self._counter == (offset + counters) % (1 << 64):
                self._counter = offset

    def advance(self, counters: int) -> "Self":
        """Skip the words of so many counters, four of each."""
        backend.end_recording("a generator is moved on")
        self.reserve(counters)
        return self
