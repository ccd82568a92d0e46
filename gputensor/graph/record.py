"""Recording a function of tensors: the doors that tracers come in by, and what is left at the end.

While a thread records, a few attributes by which the library reaches arrays and settings are doors:
:attr:`Tensor.array`, ``buffer`` and ``grad`` of leaves, and all attributes of
:class:`gputensor.watched.Watched` objects. They note what the function found, and hand out tracers.
What was found is what a recording holds for, see :class:`gputensor.graph.guards.Guards`.
"""

import _signal  # type: ignore[import-not-found]
import contextlib
import functools
import gc
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np

from gputensor import backend
from gputensor.autograd import Leaf, Node, Tensor, grad_enabled, line_of
from gputensor.backend import Array, Device
from gputensor.graph.chance import Chance
from gputensor.graph.draws import State, state_of
from gputensor.graph.guards import Guards
from gputensor.graph.ir import Graph, Returned, map_values
from gputensor.graph.trace import Recording
from gputensor.graph.tracer import Tracer, concrete
from gputensor.tree import is_named_tuple, map_tree
from gputensor.watched import Watched, is_plain

__all__ = ["Record", "record"]

_SLOTS: dict[tuple[type, str], Any] = {
    (Tensor, "array"): Tensor.__dict__["array"],
    (Leaf, "buffer"): Leaf.__dict__["buffer"],
    (Leaf, "grad"): Leaf.__dict__["grad"],
}
_array, _buffer, _grad = _SLOTS.values()


@functools.cache
def _starts() -> set[CodeType]:
    """Code of functions that start threads."""
    from concurrent.futures import ThreadPoolExecutor

    return {threading.Thread.start.__code__, ThreadPoolExecutor.submit.__code__}


@functools.cache
def _numbers() -> tuple[int, ...]:
    return tuple(map(int, signal.valid_signals()))


def _handlers() -> set[CodeType]:
    """Code of what signals call, which is no part of a function that it interrupts."""
    found = [_signal.getsignal(number) for number in _numbers()]  # that of signal is slow
    codes = [getattr(handler, "__code__", None) for handler in found]
    return {code for code in codes if code is not None}


class Record(NamedTuple):
    """A function recorded.

    Attributes
    ----------
    graph : Graph
    guards : Guards
        What must be as it was.
    gradients : tuple of (Leaf, int or None)
        Leaves whose gradients the function leaves behind: which of ``graph.kept`` it is, or -1 for
        the leaf's buffer, or None where there is none afterwards.
    inputs : tuple of Leaf
        Leaves whose gradients it adds to: arguments of the graph after those of the function.
    draws : tuple of (Generator, State, int)
        Generators it draws from, where the graph reads their states, and how many counters.
    """

    graph: Graph
    guards: Guards
    gradients: tuple[tuple[Leaf, int | None], ...]
    inputs: tuple[Leaf, ...]
    draws: tuple[tuple[Any, State, int], ...]


class _Recorder(Recording):
    """A recording of a function of tensors."""

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self.guards = Guards()
        self.made: dict[int, weakref.ref[Tensor]] = {}  # tensors of the function, by identity
        self.new_leaves: set[int] = set()
        self.leaves: dict[int, tuple[Leaf, Any]] = {}  # those touched, and the gradient found
        self.inputs: list[Leaf] = []
        self.draws: dict[Any, list[Any]] = {}
        self.given: set[int] = set()  # tensors that are arguments, by identity
        self._welcome = 0
        self.chance = Chance()
        self._handlers = _handlers()

    def end(self, reason: str) -> None:
        """End the recording; tensors have plain arrays from here on."""
        ended = self.reason is not None
        super().end(reason)
        if not ended:
            self.release()
            # Who looks at references finds those that there are without a recording.
            self.outside.clear()
            self.guards = Guards()
            for buffer in self.graph.buffers:
                buffer.owner = buffer.array = None

    # Doors

    def array(self, t: Tensor) -> Array:
        """``t.array``."""
        raw = _array.__get__(t)
        if not self.live:
            return concrete(raw)
        if isinstance(raw, Tracer):
            return raw
        if id(t) in self.given:
            return self.enter(raw, kind="argument")
        if not self._is_own(t):
            if isinstance(t._node, Node) and grad_enabled():
                self.end("a tensor of a tape from outside is used")
                return raw
            self.guards.tensor(t, raw)
        # What the function made of an array of NumPy's may be read, but not written to.
        return self.enter(raw, foreign=self._is_own(t))

    def _is_own(self, t: Tensor) -> bool:
        """Whether the function made a tensor."""
        ref = self.made.get(id(t))
        return ref is not None and ref() is t

    def set_array(self, t: Tensor, raw: Array) -> None:
        """``t.array = raw``."""
        if isinstance(raw, Tracer):
            raw.is_number = False  # tensors have arrays
        try:
            _array.__get__(t)
        except AttributeError:
            self.made[id(t)] = weakref.ref(t)
            return
        if not self._is_own(t):
            self.end("a tensor from outside takes another array")

    def leaf_set(self, t: Tensor) -> None:
        """``t.requires_grad`` is set."""
        if not self._is_own(t):
            self.end("requires_grad of a tensor from outside is set")

    def buffer(self, leaf: Leaf) -> Any:
        """``leaf.buffer``."""
        raw = _buffer.__get__(leaf)
        return self.enter(raw) if raw is not None and self.live else raw

    def set_buffer(self, leaf: Leaf, raw: Any) -> None:
        """``leaf.buffer = raw``."""
        if raw is not None:
            self.end("an optimizer is made")

    def grad(self, leaf: Leaf) -> Any:
        """``leaf.grad``."""
        found = _grad.__get__(leaf)
        if id(leaf) in self.leaves or id(leaf) in self.new_leaves or not self.live:
            return found
        self.leaves[id(leaf)] = leaf, found
        if found is None:
            self.guards.gradient(leaf, None)
        elif _array.__get__(found) is _buffer.__get__(leaf):
            self.guards.gradient(leaf, "buffer")
        else:  # what it is now is given to each replay
            raw = _array.__get__(found)
            self.guards.gradient(leaf, (raw.shape, raw.strides, raw.dtype))
            self.argument(raw)
            self.given.add(id(found))
            self.inputs.append(leaf)
        return found

    def set_grad(self, leaf: Leaf, value: Any) -> None:
        """``leaf.grad = value``."""
        try:
            before = _grad.__get__(leaf)
        except AttributeError:  # a leaf of the function's own
            self.new_leaves.add(id(leaf))
            return
        if id(leaf) not in self.new_leaves:
            self.leaves.setdefault(id(leaf), (leaf, before))

    def attribute(self, owner: Any, name: str) -> None:
        """``owner.name`` was read."""
        if self.live:
            self.guards.attribute(owner, name)

    def attribute_set(self, owner: Any, name: str) -> None:
        """``owner.name`` was set to something else."""
        if self.live:
            self.end(f"{type(owner).__name__}.{name} is set")

    def argument(self, array: Array) -> Tracer:
        """Tracer of what each call gives anew."""
        if self._memory_of(array) is not None:
            self.end("an argument shares the memory of another or of a tensor from outside")
        made = self.enter(array, kind="argument")
        self.graph.arguments.append(self.value_of(array))
        return made

    # Python of others

    @contextlib.contextmanager
    def watching(self, own: bool) -> Iterator[None]:
        """Context in which threads that start end the recording, and generators are looked at.

        With `own` Python that is not the library's ends it, too.
        """
        self._own = own
        if sys.getprofile() is not None:
            if own:
                self.end("a profiler is at work, in the place of what sees whose Python runs")
            yield
            return
        collecting = gc.isenabled()
        gc.disable()  # its callbacks are Python of others
        sys.setprofile(self._look)
        try:
            yield
        finally:
            sys.setprofile(None)
            if collecting:
                gc.enable()

    def _look(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or self.reason is not None or backend.recording() is not self:
            return
        code = frame.f_code
        if code in _starts():
            self.end("work is given to another thread")
        elif backend.is_library(frame):
            pass
        elif code in self._handlers:
            self.end("a signal is handled")
        elif not self._own or self._welcome:
            self.chance.look(frame)
        else:
            where = f"{code.co_filename}:{code.co_firstlineno}"
            self.end(f"it calls {code.co_qualname}, which is yours ({where})")

    @contextlib.contextmanager
    def welcomed(self) -> Iterator[None]:
        """Context of a function that its author has captured: it is recorded whosever it is."""
        self._welcome += 1
        try:
            yield
        finally:
            self._welcome -= 1

    # The end

    def result(self, leaf: Any) -> Any:
        """What stands in the graph's result for what the function returned."""
        if isinstance(leaf, Tensor):
            return Returned(self.value_of(leaf.array.value), True)
        if isinstance(leaf, Tracer):
            return Returned(self.value_of(leaf.value), False)
        if not is_plain(leaf):
            self.end(f"{type(leaf).__name__} is returned, neither a tensor nor a plain value")
        return leaf

    def left(self) -> tuple[tuple[Leaf, int | None], ...]:
        """The gradients that the leaves have now, see :class:`Record`."""
        found: list[tuple[Leaf, int | None]] = []
        for leaf, _ in self.leaves.values():
            grad = _grad.__get__(leaf)
            if grad is None:
                found.append((leaf, None))
                continue
            array = _array.__get__(grad)
            raw = array.value if isinstance(array, Tracer) else array
            if raw is _buffer.__get__(leaf):
                found.append((leaf, -1))
            else:
                found.append((leaf, len(self.graph.kept)))
                self.graph.kept.append(self.value_of(raw))
        return tuple(found)

    def release(self) -> list[Tensor]:
        """Put arrays in the place of tracers in all tensors that are left, and give these."""
        alive = [t for ref in [*self.made.values()] if (t := ref()) is not None]
        waiting: list[Any] = []
        for t in alive:
            try:
                _array.__set__(t, concrete(_array.__get__(t)))
                waiting.append(t._node)
            except AttributeError:  # an interrupt came while it was made
                continue
        seen: set[int] = set()
        while waiting:
            node = waiting.pop()
            if isinstance(node, Node) and id(node) not in seen:
                seen.add(id(node))
                node.out = map_values(concrete, node.out)
                node.saved = map_values(concrete, node.saved)
                node.attrs = map_values(concrete, node.attrs)
                waiting += node.parents
        return alive

    def check(self, out: Any, alive: list[Tensor]) -> None:
        """End the recording if the function left something behind that a replay does not."""
        known = {id(_grad.__get__(leaf)) for leaf, _ in self.leaves.values()}

        def know(leaf: Any) -> None:
            while isinstance(leaf, Tensor) and id(leaf) not in known:
                known.add(id(leaf))
                leaf = getattr(leaf, "_view", (None,))[0]  # which a view keeps

        map_tree(know, out)
        escaped = [weakref.ref(t) for t in alive if id(t) not in known]
        alive.clear()
        if any(ref() is not None for ref in escaped):
            gc.collect()
        for ref in escaped:
            t = ref()
            if t is not None:
                made = f", made {line_of(t._node)}" if t._node is not None else ""
                self.end(f"a tensor is kept that is neither returned nor a gradient{made}")
                return
        if drawn := self.chance.drawn():
            self.end(f"{drawn}; gt.random.Generator goes on from call to call")
        elif not self.guards.hold(afterwards=True):
            self.end("the function changes what it reads")

    # Random numbers

    def draw(self, generator: Any, counters: int) -> "dict[str, Any] | None":
        """Words of a generator for a kernel: where they begin is read when the graph runs."""
        if not self.live:
            return None
        seed, counter = generator.reserve(counters)
        if generator not in self.draws:
            state = state_of(generator, self.graph.device)
            state.set(seed, counter)
            self.draws[generator] = [state, counter, 0]
        entry = self.draws[generator]
        offset = entry[2]
        if (counter - entry[1]) % (1 << 64) != offset:
            self.end("a generator is moved on by another thread")
            return {"key": seed, "offset": counter}
        entry[2] += counters
        return {"key": 0, "offset": offset, "state": self.enter(entry[0].array, kind="state")}

    def advance(self) -> None:
        """As the last of what is recorded for CUDA: count what was drawn, on the device."""
        if self.graph.device.kind == "cpu":
            return
        for state, _, counters in self.draws.values():
            counter = self.enter(state.array, kind="state")[1:]
            counter += np.uint64(counters)
            state.moved(counters)


class _Door:
    """An attribute that a recording is asked for."""

    def __init__(self, slot: Any, get: str, put: str) -> None:
        self._slot = slot
        self._get = get
        self._put = put

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        recording = backend.recording()
        if recording is None or owner is None:
            return self._slot.__get__(owner, kind)
        return getattr(recording, self._get)(owner)

    def __set__(self, owner: Any, value: Any) -> None:
        recording = backend.recording()
        if recording is not None:
            getattr(recording, self._put)(owner, value)
            if isinstance(value, Tracer) and not recording.live:
                value = value.value
        self._slot.__set__(owner, value)


def _read_attribute(owner: Any, name: str) -> Any:
    recording = backend.recording()
    if recording is not None:
        recording.attribute(owner, name)
    return object.__getattribute__(owner, name)


_lock = threading.Lock()
_recording_threads: set[int] = set()


def _open_doors() -> None:
    with _lock:
        _recording_threads.add(threading.get_ident())
        for (owner, name), slot in _SLOTS.items():
            if owner.__dict__[name] is slot:
                setattr(owner, name, _Door(slot, name, f"set_{name}"))
        if "__getattribute__" not in vars(Watched):
            type.__setattr__(Watched, "__getattribute__", _read_attribute)


def _close_doors() -> None:
    """Close what is open; an interrupt may have come while it was opened, or closed before."""
    with _lock:
        _recording_threads.discard(threading.get_ident())
        if not _recording_threads:
            for (owner, name), slot in _SLOTS.items():
                setattr(owner, name, slot)
            if "__getattribute__" in vars(Watched):
                type.__delattr__(Watched, "__getattribute__")


def _after_fork() -> None:
    """In a child there are no other threads, nor what they record."""
    global _lock
    _lock = threading.Lock()
    _recording_threads.clear()
    if backend.recording() is not None:
        _recording_threads.add(threading.get_ident())
    else:
        _close_doors()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _unusual(tree: Any) -> type | None:
    """Class of a container in a tree that is more than the containers of Python."""
    kind = type(tree)
    if not isinstance(tree, (tuple, list, dict)):
        return None
    if kind not in (tuple, list, dict) and not is_named_tuple(kind):
        return kind
    items = tree.values() if isinstance(tree, dict) else tree
    return next(filter(None, map(_unusual, items)), None)


def record(
    function: Callable[..., Any],
    args: Any,
    kwargs: Any,
    arguments: list[Tensor],
    device: Device,
    own: bool = False,
) -> tuple[Any, Record | None, str]:
    """Call a function, and record what it does.

    Parameters
    ----------
    function : callable
    args, kwargs
        Its arguments.
    arguments : list of Tensor
        The tensors among them, each once.
    device : Device
        Where it computes.
    own : bool
        Whether Python that is not the library's own ends the recording.

    Returns
    -------
    out : object
        What it returned.
    record : Record or None
        None if it did what a graph cannot repeat.
    reason : str
        That, and where.
    """
    recorder = _Recorder(device)
    for t in arguments:
        recorder.given.add(id(t))
        recorder.argument(_array.__get__(t))
    try:
        _open_doors()
        backend.set_recording(recorder)
        recorder.root = record.__code__
        with recorder.watching(own):
            out = function(*args, **kwargs)
        kind = _unusual(out)
        if kind is not None:
            recorder.end(f"a {kind.__name__} is returned, which may hold more than its items")
        if recorder.live:
            recorder.advance()
            recorder.graph.result = map_tree(recorder.result, out)
            gradients = recorder.left()
    except BaseException as error:
        recorder.end(f"{type(error).__name__} was raised")
        raise
    finally:
        try:
            backend.set_recording(None)
        finally:
            try:
                _close_doors()
            finally:
                kept = recorder.release()
    if recorder.reason is None:
        recorder.check(out, kept)
    if recorder.reason is not None:
        return out, None, recorder.reason
    draws = tuple((g, state, count) for g, (state, _, count) in recorder.draws.items())
    found = Record(recorder.graph, recorder.guards, gradients, tuple(recorder.inputs), draws)
    return out, found, ""
