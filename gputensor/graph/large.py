"""Elementwise operations and their derivative rules on large arrays of the CPU.

NumPy computes them with one thread, and a rule in several passes over memory. Here each is a
program of NumPy's own inner loops on several threads (:mod:`gputensor.graph.cpu`), which gives the
same bits. It is made when a combination of shapes and dtypes comes for the second time.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.backend import Array, Device
from gputensor.graph import cpu, eager, loops, passes
from gputensor.graph.trace import Recording
from gputensor.graph.tracer import HostTracer
from gputensor.kernels.runtime import is_native

__all__ = ["Large", "rules"]

_Call = Callable[..., Any]
_MOST = 64  # programs that are remembered for a function, in a thread
_ARENA = 1 << 24  # bytes of memory for temporaries that a program may keep


class _Exceptions(Exception):
    """A floating-point exception was met: what is done about it, the plain function does."""


# What programs note; of numbers that become too small NumPy says nothing unless it is told to.
_NOTED = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}


def _met(_: int) -> None:
    errors = np.geterr()
    if not errors["divide"] == errors["over"] == errors["invalid"] == "ignore":
        raise _Exceptions


class _Programs(threading.local):
    """Programs of a function by what they are made for; a thread's own, as they use memory."""

    running = False  # whether one of them does: a signal's handler may call the function, too

    def __init__(self) -> None:
        self.made: dict[Any, Any] = {}

    def find(self, key: Any, function: _Call, arrays: list[Array]) -> Any:
        """The program, or None if there is none for such arrays, or none yet."""
        if self.running:
            return None
        program = self.made.get(key, _NEW)
        if program is _NEW:
            if len(self.made) >= _MOST:
                self.made.clear()
            self.made[key] = _SEEN
            return None
        if program is _SEEN:
            program = self.made[key] = _program(function, arrays)
        return program

    def run(self, program: _Call, arrays: list[Array]) -> Any:
        """What a program gives.

        Raises
        ------
        _Exceptions
            If a floating-point exception was met.
        """
        try:
            self.running = True
            return program(*arrays)
        finally:
            self.running = False


_NEW, _SEEN = object(), object()


def _program(function: _Call, arrays: list[Array]) -> _Call | None:
    """A function of arrays as a program of loops; None if it takes more than loops."""
    with np.errstate(all="ignore"):
        recording = Recording(Device("cpu"))
        tracers = [recording.enter(a, kind="argument") for a in arrays]
        graph = recording.graph
        graph.arguments = [recording.value_of(a) for a in arrays]
        if len(graph.buffers) < len(arrays):  # some share their memory
            return None
        backend.set_recording(recording)
        try:
            found = function(HostTracer.namespace(), *tracers)
        except Exception:  # what is wrong the function itself says
            return None
        finally:
            backend.set_recording(None)
        if recording.reason is not None:
            return None
        graph.result = tuple(recording.value_of(t.value) for t in found)
    for node in graph.nodes:
        node.errors = _NOTED
    program = cpu.Program(passes.simplified(graph), report=_met)
    if not all(map(program.is_loop, program.items)) or program.arena_size > _ARENA:
        return None
    return lambda *arrays: program.run(*arrays)[0]


def _usable() -> bool:
    return loops.usable() and is_native() and np.geterr()["under"] == "ignore"


def _told(operands: tuple[Any, ...]) -> tuple[list[Any], list[int], list[Array]] | None:
    """What tells operands from others; the place of each among their arrays; and these.

    An array that is there twice is one. The place of what is none is -1. None if some have gaps, or
    are numbers, for which alone a program would be.
    """
    key: list[Any] = []
    places: list[int] = []
    own: dict[int, Array] = {}
    for a in operands:
        if type(a) is not np.ndarray:
            if isinstance(a, (int, float, complex, np.generic)):
                return None
            places.append(-1)
            key.append((getattr(a, "shape", None), getattr(a, "dtype", None)))
            continue
        if not a.flags.c_contiguous:
            return None
        own.setdefault(id(a), a)
        places.append([*own].index(id(a)))
        key.append((places[-1], a.dtype, a.shape))
    return key, places, [*own.values()]


class Large:
    """A function of one or two large arrays, element by element.

    Parameters
    ----------
    function : callable
        ``function(xp, *arrays)``.
    plain : callable
        The same of NumPy's arrays.
    """

    __slots__ = ("_function", "_plain", "_programs")

    def __init__(self, function: _Call, plain: _Call) -> None:
        self._function = function
        self._plain = plain
        self._programs = _Programs()

    def __call__(self, *arrays: Any) -> Any:
        told = _told(arrays) if _usable() else None
        program = None
        if told is not None and -1 not in told[1]:
            key, places, own = told
            program = self._programs.find(
                tuple(key),
                lambda xp, *given: (self._function(xp, *(given[i] for i in places)),),
                own,
            )
        if program is None:
            return self._plain(*arrays)
        try:
            return self._programs.run(program, own)[0]
        except _Exceptions:
            return self._plain(*arrays)


def rules(functions: tuple[_Call | None, ...]) -> eager.Rules:
    """Rules as they are, and all of an operation together as one program."""
    made = eager.Rules(functions)
    made.step = _Step(functions)
    return made


class _Step:
    """All rules of an operation, and the sums with gradients that are there, as one program."""

    __slots__ = ("_functions", "_programs")

    def __init__(self, functions: tuple[_Call | None, ...]) -> None:
        self._functions = functions
        self._programs = _Programs()

    def __call__(
        self,
        g: Array,
        out: Any,
        saved: tuple[Any, ...],
        attrs: dict[str, Any],
        parents: tuple[Any, ...],
        gradients: dict[Any, Any],
        owned: set[Any],
    ) -> list[tuple[Any, Array]] | None:
        """Gradients towards an operation's operands, added to those that they have.

        Parameters and result are those of the steps of :mod:`gputensor.graph.eager`. Nothing is
        written over.
        """
        if attrs or not _usable():
            return None
        found = eager.wanting(parents, gradients)
        if found is None:
            return None
        which, wanted = found
        before = [gradients.get(parent) for parent in wanted]
        operands = (g, out, *saved, *before)
        told = _told(operands)
        if told is None:
            return None
        key, places, arrays = told
        key += [*which, *((parent.dtype, parent.shape) for parent in wanted)]

        def function(xp: Any, *given: Any) -> tuple[Any, ...]:
            whole = [a if i < 0 else given[i] for a, i in zip(operands, places, strict=True)]
            full = g.shape
            options = [eager.sum_to(full, parent.shape) for parent in wanted]
            all_of_it = eager.everything(self._functions, which, options, len(saved), {})
            totals: tuple[Any, ...] = all_of_it(xp, *whole)
            if any(t.dtype != p.dtype for t, p in zip(totals, wanted, strict=True)):
                raise TypeError("a gradient is to be converted, which is not done here")
            return totals

        program = self._programs.find(tuple(key), function, arrays)
        if program is None:
            return None
        try:
            totals = self._programs.run(program, arrays)
        except _Exceptions:
            return None
        return list(zip(wanted, totals, strict=True))
