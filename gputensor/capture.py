"""``gt.capture``: a function of tensors as one CUDA graph, recorded once and replayed.

On the CPU :class:`gputensor.replay.Replay` takes its place; what follows is about CUDA.

The first call with arguments of some signature runs the function as it stands, on a stream and from
a memory pool of the graph's own; this compiles and allocates all that is needed. The second records
the function, which computes nothing, and launches what was recorded; later calls only launch. A
graph reads and writes the addresses it was recorded with. So arguments are copied to where it
reads them, results are copied from where it leaves them, and random numbers are counted on the
device.
"""

import contextlib
import functools
import threading
import weakref
from collections.abc import Callable, Hashable, Iterator
from types import TracebackType
from typing import Any, NoReturn, TypeAlias, TypeVar, overload

import numpy as np

from gputensor import autograd, backend, calls, config, random
from gputensor.autograd import Tensor, wrap
from gputensor.backend import Array, Device
from gputensor.errors import CaptureError, DeviceError, DeviceMismatchError
from gputensor.ops import precision
from gputensor.random import Generator
from gputensor.replay import Gradients, Replay, detached
from gputensor.tree import map_tree

__all__ = ["Captured", "capture"]

_MOST_GRAPHS = 32
Signature: TypeAlias = Hashable
_Function = TypeVar("_Function", bound=Callable[..., Any])


class Captured:
    """A function that is replayed as a CUDA graph; :func:`capture` makes it.

    Attributes
    ----------
    graphs : int
        Number of graphs recorded so far.
    """

    def __init__(self, function: Callable[..., Any], device: str | Device | None = None) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._device = None if device is None else backend.device(device)
        self._graphs: dict[Signature, _Graph] = {}
        self._replays: dict[Signature, Replay] = {}
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<captured {getattr(self._function, '__name__', 'function')}>"

    @property
    def graphs(self) -> int:
        """Number of graphs recorded so far, on the CPU of programs."""
        recorded = [*self._graphs.values(), *self._replays.values()]
        return sum(r.recorded for r in recorded)  # type: ignore[attr-defined]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function, or replay what it did before with arguments of this signature."""
        arrays: list[Array] = []
        structure = _structure(args, arrays), _structure(kwargs, arrays) if kwargs else None
        where = self._place(arrays)
        # Inside checkpoint, which hands out random numbers, these must come from there.
        inside = _lanes.busy or calls.active is not None or random.recorder.note is not None
        if inside:
            return detached(self._function(*args, **kwargs))
        on_cpu = where.kind == "cpu"
        values, others = autograd.settings()
        settings = (
            values,
            autograd.grad_enabled(),
            precision.casting.dtype,
            config.deterministic(),
            config.kernels_setting(),
            config.tf32_products(),
            config.default_dtype(),
            (autograd.moves(), others if on_cpu else None),
        )
        if on_cpu:
            return self._on_cpu(structure, settings, arrays, args, kwargs)
        key = (str(where), structure, tuple((a.shape, a.dtype) for a in arrays), settings)
        with self._lock, backend.on_device_of(where):
            try:
                graph = self._graphs.get(key)
            except TypeError:
                raise CaptureError(
                    f"capture: an argument of {self!r} is neither a tensor nor hashable; pass what "
                    "changes as tensors, and what does not by closure"
                ) from None
            if graph is None:
                graph = self._new_graph(key, arrays)
                out = graph.run(arrays, args, kwargs)
                self._graphs[key] = graph
                return out
            gradients = graph.gradients
            if gradients.watched() or (graph.recorded and not gradients.as_before()):
                return detached(self._function(*args, **kwargs))
            if not graph.recorded:
                graph.record(args, kwargs)
            return graph.replay(arrays)

    def _on_cpu(
        self, structure: Hashable, settings: Any, arrays: list[Array], args: Any, kwargs: Any
    ) -> Any:
        key = (structure, tuple((a.shape, a.dtype, a.strides) for a in arrays), settings)
        with self._lock:
            try:
                replay = self._replays.get(key)
            except TypeError:  # an argument that is not hashable
                replay = Replay(self._function, "an argument is not hashable")
            if replay is None:
                _make_room(self._replays, settings)
                replay = Replay(self._function)
                if len(self._replays) < _MOST_GRAPHS:
                    self._replays[key] = replay
            if replay.reason is None:
                return replay(arrays, args, kwargs)
        return replay.run(args, kwargs)  # by several threads side by side, as without

    def _new_graph(self, key: tuple[Any, ...], arrays: list[Array]) -> "_Graph":
        _make_room(self._graphs, key[-1])
        if len(self._graphs) == _MOST_GRAPHS:
            raise CaptureError(
                f"capture: {self!r} was called with more than {_MOST_GRAPHS} signatures, and each "
                "takes a graph with memory of its own; pass numbers that change as tensors, and "
                "pad arrays to a few shapes"
            )
        return _Graph(self._function, arrays)

    def _place(self, arrays: list[Array]) -> Device:
        """Device that the function computes on."""
        devices = {backend.device_of(a) for a in arrays}
        if self._device is not None:
            devices.add(self._device)
        if len(devices) > 1:
            found = ", ".join(sorted(map(str, devices)))
            raise DeviceMismatchError(
                f"capture: a graph is of one device, {self!r} was given {found}; move its "
                "arguments to one"
            )
        return devices.pop() if devices else backend.default_device()


@overload
def capture(
    function: None = None, /, *, device: str | Device | None = None
) -> Callable[[_Function], Captured]: ...
@overload
def capture(function: Callable[..., Any], /, *, device: str | Device | None = None) -> Captured: ...
def capture(function: Any = None, /, *, device: str | Device | None = None) -> Any:
    """Replay a function of tensors as one CUDA graph; on the CPU as its calls on raw arrays.

    For steps that are bound by launches: a training step of a small model. The function's results
    and effects on tensors are those that it has without, bit for bit.

    Parameters
    ----------
    function : callable
        Takes tensors, arrays and hashable values, also in tuples, lists and dicts; returns tensors,
        or such containers of them, or None. Each signature (shapes, dtypes and values of other
        arguments) gets a graph.
    device : str or Device, optional
        Where it computes. By default where its arguments are, without any on the default device.

    Returns
    -------
    Captured
        Called as `function` is. Results are detached, from CUDA copies.

    Raises
    ------
    CaptureError
        On CUDA, in the second call with a signature, naming the operation and the line, if the
        function waits for the device: reads a value, prints a tensor, indexes by a boolean mask.
        Its effects of that call did not happen then. In the first call, if it changes an argument
        in place.

    Notes
    -----
    What Python does in the function happens in the first calls of each signature only, two on CUDA
    and three on the CPU: numbers and tensors from outside are those of that time. Tensors that
    change must be changed in place, as optimizers do, or be arguments, which must not be changed.
    Random numbers go on from call to call, learning rates and schedules are read on the device.
    Attributes of modules and optimizers, such as ``training`` and ``weight_decay``, are noticed
    when they are set to something else; what is put into their lists and dicts is not.

    On the CPU nothing is refused: a function that does what a program cannot repeat, such as
    reading a value, using ``x.array`` or taking a NumPy array as an argument, is run as it is, and
    the log (level INFO) says why. What it does with NumPy arrays from outside is not seen, as long
    as only Python makes something of it: ``if raw[0] > 0`` is decided in the first three calls.

    Examples
    --------
    >>> @gt.capture
    ... def step(x, y):
    ...     loss = gt.nn.functional.cross_entropy(model(x), y)
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    """
    if function is None:
        return lambda f: Captured(f, device)
    return Captured(function, device)


# Arguments and results: containers, tensors and the rest


_PLAIN = {int, bool, str, type(None)}


def _structure(tree: Any, arrays: list[Array]) -> Hashable:
    """All of a tree but its arrays' elements, which go to `arrays`."""
    if type(tree) in _PLAIN:
        return type(tree), tree
    if isinstance(tree, (tuple, list)):
        return type(tree), *[_structure(item, arrays) for item in tree]
    if isinstance(tree, dict):
        return dict, *[(key, _structure(item, arrays)) for key, item in tree.items()]
    if isinstance(tree, Tensor):
        if tree.requires_grad:
            raise CaptureError(
                "capture: an argument requires a gradient, which cannot pass into a graph; give "
                "x.detach(), and reach parameters by closure"
            )
        arrays.append(tree.array)
        return Tensor
    if backend.is_array(tree):
        arrays.append(tree)
        return np.ndarray
    if isinstance(tree, (float, complex, np.generic)):
        return type(tree), repr(tree)  # 0.0 is not -0.0
    return type(tree), tree


def _make_room(recorded: dict[Any, Any], settings: tuple[Any, ...]) -> None:
    """Forget what does not hold any more, and where there is no room, what holds for others.

    Settings end a key, and with what was moved, or set, since: what was recorded before writes to
    where it was.
    """
    for key in [k for k in recorded if k[-1][-1] != settings[-1]]:
        del recorded[key]
    if len(recorded) == _MOST_GRAPHS:
        for key in [k for k in recorded if k[-1] != settings]:
            del recorded[key]


def _copied(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return wrap(leaf.array.copy())
    return leaf.copy() if backend.is_array(leaf) else leaf


# Streams


class _Lane:
    """Stream that a thread records on, and the one that it last launched a graph into.

    One for all graphs of a thread and device, as each stream needs a cuBLAS workspace; graphs that
    share it must not run at the same time.
    """

    def __init__(self) -> None:
        import cupy

        self.stream = cupy.cuda.Stream(non_blocking=True)
        self.last = self.stream

    def __enter__(self) -> "_Lane":
        """Go on to the recording stream, after what the current one was given."""
        import cupy

        self._outer = cupy.cuda.get_current_stream()
        self.follow(self.stream, self._outer)
        self.follow(self.stream, self.last)
        self.stream.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stream.__exit__(kind, error, traceback)
        self.follow(self._outer, self.stream)

    def launch(self, graph: Any) -> None:
        """Launch into the current stream."""
        import cupy

        stream = cupy.cuda.get_current_stream()
        self.follow(stream, self.last)
        graph.launch(stream)
        self.last = stream

    @staticmethod
    def follow(stream: Any, other: Any) -> None:
        """Let `stream` wait for what `other` was given so far."""
        if stream.ptr != other.ptr:
            stream.wait_event(other.record())


class _Lanes(threading.local):
    """Lanes of a thread.

    Attributes
    ----------
    busy : bool
        Whether a function is being run or recorded: those captured inside are part of it.
    """

    def __init__(self) -> None:
        self.by_device: dict[int, _Lane] = {}
        self.busy = False

    def current(self) -> _Lane:
        """Lane of this thread and the current device."""
        import cupy

        device = cupy.cuda.get_device_id()
        if device not in self.by_device:
            self.by_device[device] = _Lane()
        return self.by_device[device]


_lanes = _Lanes()


# Random numbers


class _DeviceState:
    """Seed and counter of a generator on a device, where graphs read and advance them."""

    def __init__(self) -> None:
        import cupy

        self.array = cupy.zeros(2, np.uint64)
        self.value: tuple[int, int] = (0, 0)

    def set(self, value: tuple[int, int]) -> None:
        """Set both, if they are something else there; by launches, without a copy."""
        if value != self.value:
            for i, number in enumerate(value):
                self.array[i : i + 1].fill(np.uint64(number))
            self.value = value


# By generator and device: graphs that draw from one generator share its state.
_states: "weakref.WeakKeyDictionary[Generator, dict[int, _DeviceState]]"
_states = weakref.WeakKeyDictionary()


class _Draws:
    """Random words that a function takes, in counters of each generator."""

    def __init__(self) -> None:
        self.counters: dict[Generator, int] = {}

    def meet(self, generator: Generator, counters: int) -> None:
        """Note a generator in a run that is not recorded."""
        self.counters[generator] = 0

    def take(self, generator: Generator, counters: int) -> dict[str, Any]:
        """Words of a generator for a launch that is recorded."""
        if generator not in self.counters:
            raise CaptureError("random numbers of a generator that the call before did not use")
        offset = self.counters[generator]
        self.counters[generator] = offset + counters
        return {"key": 0, "offset": offset, "state": self._state(generator).array}

    def _state(self, generator: Generator) -> _DeviceState:
        import cupy

        by_device = _states.setdefault(generator, {})
        device = cupy.cuda.get_device_id()
        if device not in by_device:
            by_device[device] = _DeviceState()
        return by_device[device]

    def begin(self) -> None:
        """Make the states that recording needs, and count from the beginning."""
        for generator in self.counters:
            self._state(generator)
            self.counters[generator] = 0

    def advance(self) -> None:
        """As the last of what is recorded: count what was taken, on the device."""
        for generator, counters in self.counters.items():
            counter = self._state(generator).array[1:]
            counter += np.uint64(counters)

    def before_replay(self) -> None:
        """Bring the generators' states to the device where they have changed on the host."""
        for generator in self.counters:
            self._state(generator).set(generator.state)

    def after_replay(self) -> None:
        """Count on the host what the graph takes."""
        for generator, counters in self.counters.items():
            self._state(generator).value = generator.advance(counters).state


# Graphs

# Pools of graphs that are gone. What else was made in the first run may live on in them, and CuPy
# frees the memory of a pool with the pool.
_spare_pools: list[Any] = []


def _spare(pool: Any) -> None:
    pool.free_all_blocks()
    _spare_pools.append(pool)


class _Graph:
    """A function recorded for one signature, with the memory it uses."""

    def __init__(self, function: Callable[..., Any], arrays: list[Array]) -> None:
        import cupy

        self.function = function
        self.pool = _spare_pools.pop() if _spare_pools else cupy.cuda.MemoryPool()
        weakref.finalize(self, _spare, self.pool)
        self.draws = _Draws()
        self.gradients = Gradients()
        self.checks: dict[str, Callable[[], None]] = {}
        self.graph: Any = None
        self.outputs: Any = None
        self.written: list[weakref.ref[Any]] = []  # memory that it changes in place
        with _lanes.current(), cupy.cuda.using_allocator(self.pool.malloc):
            self.inputs = [cupy.empty(a.shape, a.dtype) for a in arrays]

    @property
    def recorded(self) -> bool:
        """Whether there is something to replay."""
        return self.graph is not None

    @contextlib.contextmanager
    def _apart(self, note: Callable[[Generator, int], Any]) -> Iterator[Any]:
        """Context of the graph's stream and memory, where draws are told to `note`."""
        import cupy

        with _lanes.current() as lane, cupy.cuda.using_allocator(self.pool.malloc):
            _lanes.busy = True
            random.recorder.note = note
            try:
                yield lane.stream
            finally:
                _lanes.busy = False
                random.recorder.note = None

    def _arguments(self, tree: Any) -> Any:
        """Arguments with the graph's own arrays in the place of the caller's."""
        mine = iter(self.inputs)

        def replaced(leaf: Any) -> Any:
            if isinstance(leaf, Tensor):
                return wrap(next(mine))
            return next(mine) if backend.is_array(leaf) else leaf

        return map_tree(replaced, tree)

    def _load(self, arrays: list[Array]) -> None:
        for mine, given in zip(self.inputs, arrays, strict=True):
            mine[...] = given

    def run(self, arrays: list[Array], args: Any, kwargs: Any) -> Any:
        """Run the function, on the stream and from the pool of the recording to come."""
        args, kwargs = self._arguments((args, kwargs))
        with self._apart(self.draws.meet), self.gradients.noted():
            self._load(arrays)
            out = self.function(*args, **kwargs)
        if any(map(autograd.was_changed, self.inputs)):
            raise CaptureError(
                "capture: the function changes an argument in place, which does not reach the "
                "caller's tensor; let the function reach that by closure"
            )
        # Copies are not of the pool, whose memory the recording is to find free.
        return map_tree(_copied, out)

    def record(self, args: Any, kwargs: Any) -> None:
        """Record the function.

        Raises
        ------
        CaptureError
            If it does what a graph cannot.
        """
        args, kwargs = self._arguments((args, kwargs))
        self.draws.begin()
        began = autograd.next_order()
        before = dict(backend.DEFERRED_CHECKS)
        backend.DEFERRED_CHECKS.clear()
        with self._apart(self.draws.take) as stream:
            stream.begin_capture()
            try:
                with backend.while_capturing(), self.gradients.noted():
                    out = detached(self.function(*args, **kwargs))
                    self.draws.advance()
            except BaseException as error:
                sound = _ended(stream) is not None
                if not isinstance(error, Exception) or (sound and not _of_capture(error)):
                    raise
                _explain(error)
            finally:
                self.checks = dict(backend.DEFERRED_CHECKS)
                backend.DEFERRED_CHECKS.update(before)
            self.graph, self.outputs = _ended(stream), out
        self.written = autograd.changed_since(began)
        if self.graph is None:
            raise CaptureError(
                "capture: an operation spoiled the recording, and the function caught its error"
            )
        if not self.gradients.steady:
            self.graph = None
            raise CaptureError(
                "capture: the function computes gradients of other tensors each time; make "
                "tensors with requires_grad=True outside it"
            )

    def replay(self, arrays: list[Array]) -> Any:
        """Launch what was recorded, and give copies of its results."""
        self._load(arrays)
        self.draws.before_replay()
        _lanes.current().launch(self.graph)
        self.draws.after_replay()
        for memory in self.written:
            if (array := memory()) is not None:
                autograd.changed(array, "a captured function")
        self.gradients.restore()
        backend.DEFERRED_CHECKS.update(self.checks)
        return map_tree(_copied, self.outputs)


def _ended(stream: Any) -> Any:
    """Graph of what a stream recorded; None if the recording was spoiled."""
    try:
        return stream.end_capture()
    except RuntimeError:
        return None


def _of_capture(error: Exception) -> bool:
    """Whether an error says that something cannot be recorded."""
    if isinstance(error, (CaptureError, DeviceError)):
        return True
    return isinstance(error, (RuntimeError, NotImplementedError)) and "captur" in str(error)


def _explain(error: Exception) -> NoReturn:
    """Raise what keeps a function from being recorded, with the line of it."""

    def frames(traceback: TracebackType | None) -> Iterator[Any]:
        while traceback is not None:
            yield traceback.tb_frame
            traceback = traceback.tb_next

    stack = list(frames(error.__traceback__))[1:]
    line = backend.user_line(reversed(stack))
    raise CaptureError(f"capture: {error}\n  at {line}") from error
