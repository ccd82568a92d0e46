"""A function of tensors on the CPU as a straight-line program on raw arrays.

Most of the time of a small training step is Python: shapes are checked, tensors and the tape are
made, a backward pass finds its way. Each time it ends in the same calls on raw arrays. A
:class:`Recording` writes these down as Python source, one line a call, while the function runs::

    v0 = next_rows(c0, c1, rows=32)
    v1 = gather_scale(c2, v0, dtype=c3, scale=0.00392156862745098, offset=0.0)
    v2 = dense(v1, c4, c5, kind='relu')

``v0`` is a result, ``c0`` a constant: an array that was there before, whose memory is read and
written in place, or something else that was given. :class:`Replay` records a function twice, and
runs the source from then on if both recordings are the same. They differ, and the function goes on
being called, if it computes on raw arrays or reads values in ways that the recorder is not told
of: then an array turns up that no call has made and that is another one each time.
"""

import contextlib
import itertools
import keyword
import logging
import math
import random
import re
import sys
import threading
import types
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from gputensor import autograd, backend, calls, memory
from gputensor.autograd import Leaf, Node, Spec, Tensor, _array, memory_of, wrap
from gputensor.backend import Array, Device
from gputensor.tree import leaves, map_tree

__all__ = ["Gradients", "Recording", "Replay", "detached"]

_log = logging.getLogger("gputensor")

_MOST_BYTES = 1 << 28  # of results that a recording keeps: the time of larger steps is arithmetic
_LOOKED_AT = 1 << 22  # bytes of memory that are looked at for changes
_LOOKED_AT_OF_MORE = 1 << 19  # of larger memory, such as a data set

# Equal ones are the same; of other objects only one and the same, as they may hold tensors.
_VALUES = (int, str, bytes, range, np.dtype, Device, Spec)


class _Refusal(Exception):
    """Something that cannot be written down."""


def _same(a: Any, b: Any) -> bool:
    """Whether a constant of one recording is that of another."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        if memory_of(a) is not memory_of(b):
            return False
        here, there = ((x.ctypes.data, x.shape, x.strides, x.dtype) for x in (a, b))
        return here == there
    if isinstance(a, np.generic):  # of one dtype then
        return bool(a.tobytes() == b.tobytes())
    if isinstance(a, (float, complex)):
        return repr(a) == repr(b)  # NaN is the same as NaN, 0.0 is not -0.0
    if isinstance(a, types.MethodType):
        return a.__self__ is b.__self__ and a.__func__ is b.__func__
    return isinstance(a, _VALUES) and bool(a == b)


def _fingerprint(memory: Array) -> int:
    if not memory.flags.c_contiguous:
        memory = memory.T if memory.flags.f_contiguous else memory.copy()
    flat = memory.reshape(-1).view(np.uint8)
    if flat.size <= _LOOKED_AT:
        return zlib.crc32(flat)
    blocks = flat[: flat.size // 64 * 64].reshape(-1, 64)  # cache lines, spread evenly
    return zlib.crc32(blocks[:: -(-flat.size // _LOOKED_AT_OF_MORE)].copy())


def _arrays_in(tree: Any) -> Iterator[Array]:
    if isinstance(tree, np.ndarray):
        yield tree
    elif isinstance(tree, Tensor):
        yield tree.array
    elif isinstance(tree, (tuple, list, dict)):
        for item in tree.values() if isinstance(tree, dict) else tree:
            yield from _arrays_in(item)


def _memory(tree: Any) -> list[Array]:
    """Owners of the memory of the arrays in containers, each once."""
    owners = map(memory_of, _arrays_in(tree))
    return list({id(owner): owner for owner in owners}.values())


def _arrays(results: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(map(_array, results))


def _call(line: str) -> str:
    """A line without the name of its result."""
    return re.sub(r"^\w+ = ", "", line)


# What programs call beside what they were recorded with.
_BUILTINS = {"arrays": _arrays, "asarray": np.asarray, "slice": slice, "wrap": wrap}


class Recording:
    """The calls of one run of a function; a :class:`gputensor.calls.Recorder`.

    Parameters
    ----------
    arguments : sequence of arrays
        What stands for the arrays that the function is given.
    before : Recording, optional
        An earlier one. With it changes are noticed that no call has made; its constants are looked
        at from the beginning.

    Attributes
    ----------
    reason : str or None
        Why it cannot be repeated.
    """

    def __init__(self, arguments: Sequence[Array], before: "Recording | None" = None) -> None:
        self.reason: str | None = None
        self.constants: list[Any] = []
        self.functions: dict[str, Callable[..., Any]] = {}
        self.lines: list[str] = []
        self.called_at: list[str] = []  # the user's line that each is of
        self._thread = threading.get_ident()
        self._busy = False  # in a call that is noted: those in it are part of it
        self._places: dict[int, str] = {}  # by id; what has one is kept alive
        self._alive: list[Any] = []
        self._bytes = 0
        self._memory: dict[int, tuple[Array, int]] = {}  # owners of memory, and fingerprints
        self._fresh: set[int] = set()  # ids of owners whose fingerprint was just taken
        self._names: dict[int, str] = {}  # of functions, by id
        self._arguments = len(arguments)
        self._looks = before is not None
        if before is not None:
            for owner in _memory(before.constants):
                self._memory[id(owner)] = owner, _fingerprint(owner)
        for i, array in enumerate(arguments):
            self._place(array, f"a{i}")
        self._given = {id(memory_of(array)) for array in arguments}

    def refuse(self, reason: str, inside: bool = False) -> None:
        """Give up; the function itself is not disturbed."""
        if threading.get_ident() != self._thread or (self._busy and not inside):
            return
        if self.reason is None:
            self.reason = f"{reason}, at {backend.user_line()}"
            # Nobody shall find references to arrays here, which changes in place count.
            for kept in (self._alive, self._places, self._memory, self.constants, self.lines):
                kept.clear()

    def run(self, function: Callable[..., Any], args: Any, kwargs: Any, name: str = "") -> Any:
        """Call a function of raw arrays and note the call."""
        if self._busy or self.reason is not None or threading.get_ident() != self._thread:
            return function(*args, **kwargs)
        self._fresh.clear()
        try:
            words = [self._written(x) for x in args]
            words += [f"{k}={self._written(x)}" for k, x in kwargs.items()]
            call = f"{self._name(function, name)}({', '.join(words)})"
            self._unchanged(_memory((args, kwargs)))
        except _Refusal as refusal:
            self.refuse(f"{name or function.__name__}: {refusal}")
            return function(*args, **kwargs)
        self._busy = True
        try:
            out = function(*args, **kwargs)
        finally:
            self._busy = False
        if name:  # an operation's: its results become tensors
            if isinstance(out, np.generic):
                out, call = np.asarray(out), f"asarray({call})"
            elif isinstance(out, tuple) and any(isinstance(item, np.generic) for item in out):
                out, call = _arrays(out), f"arrays({call})"
        place = f"v{len(self.lines)}"
        self.called_at.append(backend.user_line())
        self.lines.append(call if out is None else f"{place} = {call}")
        try:
            self._made(out, place)
        except _Refusal as refusal:
            self.refuse(f"{name or function.__name__}: {refusal}")
        for owner in _memory((args, kwargs, out)):
            if id(owner) in self._memory:
                self._memory[id(owner)] = owner, _fingerprint(owner)
        return out

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """:meth:`run` for results that become tensors, named as the function is."""
        return self.run(function, args, {}, function.__name__.strip("_"))

    def rule(self, function: Callable[..., Any] | None, name: str) -> Callable[..., Any]:
        """A derivative rule of an operation, whose calls are noted."""

        def noted(*args: Any, **attrs: Any) -> Any:
            assert function is not None
            return self.run(function, args, attrs, f"{name}_backward")

        return noted

    def _name(self, function: Callable[..., Any], name: str) -> str:
        found = self._names.get(id(function))
        if found is None:
            plain = re.sub(r"\W", "_", name or getattr(function, "__name__", "f")).strip("_") or "f"
            if re.fullmatch(r"[acv]?\d\w*", plain) or keyword.iskeyword(plain):
                plain = f"f_{plain}"
            found = next(
                n
                for n in itertools.chain([plain], (f"{plain}_{i}" for i in itertools.count(2)))
                if n not in self.functions and n not in _BUILTINS
            )
            self._names[id(function)] = found
            self.functions[found] = function
        return found

    def _place(self, x: Any, place: str) -> None:
        self._places[id(x)] = place
        self._alive.append(x)
        if isinstance(x, np.ndarray):
            owner = memory_of(x)
            if self._looks and id(owner) not in self._memory:
                self._memory[id(owner)] = owner, _fingerprint(owner)
                self._fresh.add(id(owner))

    def _constant(self, x: Any) -> str:
        for i, constant in enumerate(self.constants):
            if constant is x:
                return f"c{i}"
        self.constants.append(x)
        return f"c{len(self.constants) - 1}"

    def _written(self, x: Any) -> str:
        """`x` as an expression."""
        place = self._places.get(id(x))
        if place is not None:
            return place
        if x is None or x is Ellipsis or type(x) in (bool, int, str):
            return repr(x)
        if type(x) is float and math.isfinite(x):
            return repr(x)
        if isinstance(x, np.ndarray):
            if id(memory_of(x)) in self._given:  # or part of a parameter that is given, too
                raise _Refusal("it is given a view of an argument that no operation made")
            self._place(x, self._constant(x))
            return self._places[id(x)]
        if isinstance(x, Tensor):
            if x._node is not None:
                raise _Refusal("a raw computation is given a tensor on the tape")
            return f"wrap({self._written(x.array)})"
        if isinstance(x, slice):
            return f"slice({', '.join(map(self._written, (x.start, x.stop, x.step)))})"
        if isinstance(x, dict):
            if type(x) is not dict or not all(type(key) in (str, int) for key in x):
                raise _Refusal(f"a {type(x).__name__}")
            return "{" + ", ".join(f"{k!r}: {self._written(v)}" for k, v in x.items()) + "}"
        if isinstance(x, (tuple, list)):
            items = [self._written(item) for item in x]
            if type(x) is list:
                return f"[{', '.join(items)}]"
            if hasattr(x, "_fields"):
                return f"{self._constant(type(x))}({', '.join(items)})"
            plain = f"({''.join(item + ', ' for item in items)})"
            return plain if type(x) is tuple else f"{self._constant(type(x))}({plain})"
        return self._constant(Spec(x) if isinstance(x, (Node, Leaf)) else x)

    def _made(self, out: Any, place: str) -> None:
        """Note where the result of a call, or a part of it, is found."""
        if id(out) in self._places or out is None or isinstance(out, str):
            return
        if isinstance(out, np.ndarray):
            self._bytes += out.nbytes
            if self._bytes > _MOST_BYTES:
                raise _Refusal("its arrays are large, so that replaying would save little")
            self._place(out, place)
        elif isinstance(out, Tensor):
            self._made(out.array, f"{place}.array")
        elif isinstance(out, (tuple, list)):
            for i, item in enumerate(out):
                self._made(item, f"{place}[{i}]")
            if out and type(out) is not list:
                self._places[id(out)] = place
                self._alive.append(out)
        elif isinstance(out, np.generic) and not isinstance(out, np.bool_):
            self._place(out, place)
        else:
            raise _Refusal(f"a result is {type(out).__name__}, which Python may decide on")

    def _unchanged(self, owners: Iterable[Array]) -> None:
        """See that nobody but the calls noted so far has written to memory that they were given.

        Raises
        ------
        _Refusal
            If somebody has.
        """
        for owner in owners:
            key = id(owner)
            if key in self._fresh or key not in self._memory:
                continue
            if _fingerprint(owner) != self._memory[key][1]:
                raise _Refusal("an array was changed by code that computes on raw arrays")

    def finish(self, out: Any, given: Iterable[Leaf]) -> None:
        """End with what the function returned, and the leaves that were given gradients."""
        if self.reason is not None:
            return
        self._fresh.clear()
        try:
            self._unchanged([owner for owner, _ in self._memory.values()])
            for leaf in given:
                if leaf.buffer is None and leaf.grad is not None:
                    words = f"{self._constant(leaf)}.grad = {self._written(leaf.grad)}"
                    self.lines.append(words)
            self.lines.append(f"return {self._written(out)}")
        except _Refusal as refusal:
            self.refuse(str(refusal))

    def release(self) -> None:
        """Let go of the results, when all calls are noted."""
        for kept in (self._alive, self._places, self._memory):
            kept.clear()

    def differs(self, other: "Recording") -> str | None:
        """Why this is not the recording of the same calls; None if it is."""
        if self.reason or other.reason:
            return self.reason or other.reason
        if len(self.lines) != len(other.lines):
            return "it made other calls the second time"
        for i, (a, b) in enumerate(zip(self.lines, other.lines, strict=True)):
            if a != b:
                return f"{_call(a)} was {_call(b)} the next time{self._at(i)}"
        for name, function in self.functions.items():
            if not _same(function, other.functions[name]):
                return f"{name} is another function each time"
        for i, (a, b) in enumerate(zip(self.constants, other.constants, strict=True)):
            if not _same(a, b):
                k = next(k for k, x in enumerate(self.lines) if re.search(rf"\bc{i}\b", x))
                name, kind = _call(self.lines[k]).partition("(")[0], type(a).__name__
                return f"{name} is given another {kind} each time, of no operation{self._at(k)}"
        return None

    def _at(self, line: int) -> str:
        return f", at {self.called_at[line]}" if line < len(self.called_at) else ""

    def source(self) -> str:
        """The program."""
        names = re.compile(r"\bv\d+\b")
        last: dict[str, int] = {}
        for i, line in enumerate(self.lines):
            last.update(dict.fromkeys(names.findall(line), i))
        text = [f"def replay({', '.join(f'a{i}' for i in range(self._arguments))}):"]
        for i, line in enumerate(self.lines):
            text.append(f"    {line}")
            done = [name for name in dict.fromkeys(names.findall(line)) if last[name] == i]
            if done and not line.startswith("return"):
                text.append(f"    del {', '.join(done)}")
        return "\n".join(text) + "\n"

    def compiled(self) -> Callable[..., Any]:
        """The program as a function of the arguments' arrays."""
        scope: dict[str, Any] = {**_BUILTINS, **self.functions}
        scope |= {f"c{i}": constant for i, constant in enumerate(self.constants)}
        exec(compile(self.source(), "<gputensor replay>", "exec"), scope)
        program: Callable[..., Any] = scope["replay"]
        return program


def detached(results: Any) -> Any:
    """What a captured function returned, off the tape."""
    return map_tree(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, results)


class Gradients:
    """Which leaves a recorded function gives gradients, and which have one before and after it.

    A gradient that is there is added to, so a recording holds as long as it finds what it found.

    Attributes
    ----------
    leaves : list of Leaf
    steady : bool
        Whether the last run was to the same leaves as the one before.
    """

    def __init__(self) -> None:
        self.leaves: list[Leaf] = []
        self.steady = False
        self._used: list[tuple[Leaf, Tensor | None]] = []  # gradients before, where they matter
        self._after: list[tuple[Leaf, Tensor | None]] = []

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Context of a run of the function."""
        before = [leaf.grad for leaf in self.leaves]
        with autograd.noting_leaves() as found:
            yield
        self.steady = list(found) == self.leaves
        if self.steady:
            self._used = [
                (leaf, old) for (leaf, u), old in zip(found.items(), before, strict=True) if u
            ]
            self._after = [(leaf, leaf.grad) for leaf in found]
        self.leaves = list(found)

    def watched(self) -> bool:
        """Whether somebody wants to see how gradients are computed."""
        return autograd.watched(self.leaves)

    def as_before(self) -> bool:
        """Whether the same leaves have a gradient as before the last run, and in that place.

        Gradients that are overwritten before they are used do not matter.
        """
        for leaf, before in self._used:
            leaf.settle()
            grad = leaf.grad
            if grad is not before and (
                grad is None
                or before is None
                or (grad.array is not before.array and leaf.buffer is None)
            ):
                return False
        return True

    def restore(self) -> None:
        """Let the leaves have the gradients, in the memory that they had after the last run."""
        for leaf, after in self._after:
            leaf.grad = after


_one_at_a_time = threading.Lock()  # calls.active is one for all threads


def _chance() -> Any:
    """State of the random numbers that are drawn without a generator of the user's own."""
    legacy: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    keys = legacy.pop("state")
    return random.getstate(), keys["key"].tobytes(), keys["pos"], legacy


@contextlib.contextmanager
def _raw_arrays_guarded() -> Iterator[None]:
    """Context in which the recorder is told of uses of ``tensor.array`` outside the library."""
    slot: Any = Tensor.__dict__["array"]

    def look() -> None:
        module = sys._getframe(2).f_globals.get("__name__", "")
        if module.partition(".")[0] != "gputensor":
            calls.refuse("a tensor's raw array is used")

    def read(t: Tensor) -> Array:
        look()
        return slot.__get__(t)

    def write(t: Tensor, array: Array) -> None:
        look()
        slot.__set__(t, array)

    type.__setattr__(Tensor, "array", property(read, write))
    try:
        yield
    finally:
        type.__setattr__(Tensor, "array", slot)


class Replay:
    """Runs a function for one signature of arguments on the CPU, and replays it when it can.

    Parameters
    ----------
    function : callable
        Of tensors, raw arrays and hashable values.
    reason : str, optional
        Why it is not to be recorded, if that is so.

    Attributes
    ----------
    reason : str or None
        Why nothing is, once that is known.
    """

    def __init__(self, function: Callable[..., Any], reason: str | None = None) -> None:
        self.reason = reason
        self._function = function
        self._program: Callable[..., Any] | None = None
        self._runs = 0
        self._first: Recording | None = None
        self._gradients = Gradients()
        self._written: list[Array] = []  # memory that is changed in place
        self._written_arguments: list[int] = []

    def __call__(self, arrays: list[Array], args: Any, kwargs: Any) -> Any:
        """Run the function, or what was recorded of it."""
        if self.reason is None and not self._gradients.watched():
            if self._program is None:
                self._runs += 1
                if self._runs > 1:
                    return self._recorded(args, kwargs)
                with self._gradients.noted():
                    return self.run(args, kwargs)  # which makes what stays from run to run
            if self._gradients.as_before():
                return self._replayed(arrays)
        return self.run(args, kwargs)

    @property
    def recorded(self) -> bool:
        """Whether there is something to replay."""
        return self._program is not None

    def run(self, args: Any, kwargs: Any) -> Any:
        """Results of the function itself, off the tape."""
        return detached(self._function(*args, **kwargs))

    def _replayed(self, arrays: list[Array]) -> Any:
        self._gradients.restore()  # the program replaces those in memory of its own
        try:
            out = self._program(*arrays)  # type: ignore[misc]
        except MemoryError as error:
            raise memory.out_of_memory(repr(self._function), Device("cpu"), error) from None
        finally:  # an error may have come after changes
            for owner in self._written:
                autograd.changed(owner, "a captured function")
            for i in self._written_arguments:
                autograd.changed(arrays[i], "a captured function")
        return out

    def _recorded(self, args: Any, kwargs: Any) -> Any:
        """Run the function, and write down what it does."""
        if not _one_at_a_time.acquire(blocking=False):
            return self.run(args, kwargs)  # another thread is recording
        try:
            return self._written_down(args, kwargs)
        finally:
            _one_at_a_time.release()

    def _written_down(self, args: Any, kwargs: Any) -> Any:
        mine: list[Array] = []

        def view(leaf: Any) -> Any:
            if isinstance(leaf, Tensor):
                return wrap(view(leaf.array))
            if isinstance(leaf, np.ndarray):
                mine.append(leaf.view())
                return mine[-1]
            return leaf

        raw = any(isinstance(leaf, np.ndarray) for leaf in leaves((args, kwargs)))
        args, kwargs = map_tree(view, (args, kwargs))
        first = self._first
        recording = Recording(mine, first)
        if raw:
            recording.refuse("an argument is a NumPy array, which Python may read; give a tensor")
        began = autograd.next_order()
        chance = _chance()
        try:
            with self._gradients.noted(), _raw_arrays_guarded():
                calls.active = recording
                out = self.run(args, kwargs)
        finally:
            calls.active = None
        if _chance() != chance:
            recording.refuse("Python's or NumPy's own random numbers are drawn")
        recording.finish(out, self._gradients.leaves)
        recording.release()
        self.reason = recording.reason if first is None else first.differs(recording)
        if not self._gradients.steady:
            self.reason = self.reason or "gradients of other tensors were computed the second time"
        if self.reason is not None:
            self._first = None
            _log.info(f"capture: {self._function!r} is run as it is on the CPU: {self.reason}")
        elif first is None:
            self._first = recording
        else:
            self._first = None
            self._program = recording.compiled()
            kept = {id(owner) for owner in _memory(recording.constants)}
            changed = (ref() for ref in autograd.changed_since(began))
            found = {id(owner): owner for owner in changed if owner is not None}
            self._written = [owner for key, owner in found.items() if key in kept]
            self._written_arguments = [
                i for i, array in enumerate(mine) if id(memory_of(array)) in found
            ]
        return out
