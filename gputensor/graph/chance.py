"""Random numbers of others, which a graph would take for constants."""

import pickle
from collections.abc import Iterator
from types import FrameType
from typing import Any

import numpy as np

__all__ = ["Chance"]


class Chance:
    """Whether random numbers are drawn, and not from a generator of gputensor's.

    The generators of Python and NumPy are compared with what they were: the global ones, and those
    that code names which runs meanwhile.
    """

    def __init__(self) -> None:
        self._before = _global_state()
        self._seen: dict[
            int, tuple[Any, bytes, str]
        ] = {}  # generator, state, and where it is named

    def look(self, frame: FrameType) -> None:
        """Note the generators that a function names, as it begins to run."""
        for value in _named(frame):
            if id(value) not in self._seen and (state := _state(value)):
                code = frame.f_code
                where = f"{code.co_qualname} ({code.co_filename}:{code.co_firstlineno})"
                self._seen[id(value)] = value, state, where

    def drawn(self) -> str:
        """What was drawn from; empty if nothing was."""
        for generator, before, where in self._seen.values():
            if _state(generator) != before:
                kind = f"{type(generator).__module__}.{type(generator).__name__}"
                return f"random numbers are drawn from a {kind} in {where}"
        if _global_state() != self._before:
            return "random numbers are drawn without a generator of gputensor's"
        return ""


def _named(frame: FrameType) -> Iterator[Any]:
    """Values of the variables of a frame, and of attributes of such, that its code names."""
    names, scope = frame.f_code.co_names, frame.f_globals
    waiting = [*frame.f_locals.values(), *(scope[n] for n in names if n in scope)]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        try:
            members = object.__getattribute__(value, "__dict__")
        except AttributeError:
            continue
        waiting += [members[n] for n in names if n in members]


def _state(value: Any) -> bytes:
    """State of a generator; empty for what is none."""
    if isinstance(value, np.random.Generator):
        return pickle.dumps(value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return pickle.dumps(value.get_state(legacy=False))
    import random

    if type(value) is random.Random:
        return pickle.dumps(value.getstate())
    return b""


def _global_state() -> Any:
    import random

    legacy: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    keys = legacy.pop("state")
    return random.getstate(), keys["key"].tobytes(), keys["pos"], legacy
