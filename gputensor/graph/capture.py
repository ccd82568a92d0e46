"""``gt.capture``: a function of tensors, recorded as a graph once and replayed from then on."""

import contextlib
import functools
import itertools
import threading
import time
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from enum import Enum
from types import BuiltinFunctionType, CodeType, FunctionType
from typing import Any, overload

import numpy as np

from gputensor import autograd, backend, config
from gputensor.autograd import Tensor, wrap
from gputensor.backend import Array, Device
from gputensor.errors import CaptureError, DeviceMismatchError
from gputensor.graph import cpu, passes
from gputensor.graph.ir import Value, map_values
from gputensor.graph.record import Record, record
from gputensor.graph.trace import owner
from gputensor.ops import precision
from gputensor.random.stream import numbers_kept
from gputensor.shown import log
from gputensor.tree import is_named_tuple, leaves, map_tree
from gputensor.watched import Watched

__all__ = ["Captured", "capture"]

_MOST = 32  # recordings that a function has in a thread
_SPELL = 0.02  # seconds in which replays on the CPU may follow each other
_TRIALS = 2  # recordings of a signature that may end early before no more is tried


class Replay:
    """A recording made ready, in a thread: see :class:`Captured`."""

    def __init__(self, found: Record, tensors: list[Tensor]) -> None:
        self.record = found
        self._on_cuda = found.graph.device.kind != "cpu"
        self._made_with = [weakref.ref(t) for t in tensors]
        outside = [b for b in found.graph.buffers if b.kind == "outside"]
        self._memory: set[int] = set()  # from outside, which arguments must not share
        writes = any(b.version for b in found.graph.buffers if b.kind in ("argument", "outside"))
        if writes:
            self._memory = {id(b.owner) for b in outside}
        self._stops = writes and not self._on_cuda  # by NumPy's exceptions, with a part done
        self._written = [b.array for b in outside if b.version]
        arguments = enumerate(found.graph.arguments)
        self._changed = [i for i, v in arguments if v.buffer.version]  # arguments it writes to
        self._leaves = [leaf for leaf, _ in found.gradients]

    @functools.cached_property
    def program(self) -> Any:
        """What runs."""
        if self._made_with:
            _ = self.outline  # which passes change
        graph = passes.simplified(self.record.graph)
        if not self._on_cuda:
            program = cpu.Program(graph)
            if program.late is not None:
                where = backend.place(*program.late.place)[0]
                raise CaptureError(
                    f"{program.late.name} may raise an error, within a try or with, after memory "
                    f"was written to, at {where}"
                )
            return program
        from gputensor.graph import cuda

        return cuda.Program(graph)

    def holds(self) -> bool:
        """Whether all is as it was when the function was recorded."""
        return self.record.guards.hold() and not autograd.watched(self._leaves)

    def hindrance(self, arrays: list[Array]) -> str:
        """Why a call with such arguments is to be run as it is; nothing if it is not."""
        if self._memory and any(id(owner(a)) in self._memory for a in arrays):
            return "an argument shares the memory of a tensor from outside"
        if self._stops:
            if "raise" in np.geterr().values() or _warnings_are_errors():
                return "NumPy is told to raise errors, perhaps after memory was written to"
            targets = self._written + [arrays[i] for i in self._changed if i < len(arrays)]
            if not all(a.flags.writeable for a in targets):
                return "memory that it writes to is read-only"
        return ""

    def fits(self, tensors: list[Tensor]) -> bool:
        """Whether it is for these arguments, too.

        The function may have reached an argument by a closure. As long as the tensors live that it
        was recorded with, it is for them alone, until :meth:`generalize`.
        """
        if not self._made_with:
            return True
        for ref, t in zip(self._made_with, tensors, strict=True):
            before = ref()
            if before is not t and before is not None:
                return False
        if not any(ref() is not None for ref in self._made_with):
            self.generalize()
        return True

    def generalize(self) -> None:
        """Let it be for all arguments."""
        self._made_with.clear()

    @functools.cached_property
    def outline(self) -> str:
        """What the function did, equal to that of a recording with other arguments."""
        found = self.record
        graph = found.graph
        owners = [id(b.owner) for b in graph.buffers if b.kind in ("outside", "state")]
        nodes = [(n.kind, n.name, n.args, n.kwargs, n.outputs, n.errors) for n in graph.nodes]
        leaves = [(id(leaf), where) for leaf, where in found.gradients]
        draws = [(id(generator), counters) for generator, _, counters in found.draws]
        inputs = [id(leaf) for leaf in found.inputs]
        tree = nodes, graph.result, graph.kept, owners, leaves, inputs, draws
        return repr(map_values(lambda x: tuple(x) if type(x) is Value else x, tree))

    def __call__(self, arrays: list[Array]) -> Any:
        """Do what the function did, and give what it gave.

        Raises
        ------
        CaptureError
            If it cannot be done that way; then nothing was done.
        Failed
            If it raised an error; then nothing was done, either.
        """
        found = self.record
        if found.inputs:
            arrays = [*arrays, *(leaf.grad.array for leaf in found.inputs)]  # type: ignore[union-attr]
        if self._on_cuda:
            with backend.on_device_of(found.graph.device):
                self.program.prepare()
                with self._drawing(1):
                    out, kept = self.program.run(*arrays)
        else:
            out, kept = self._run_on_cpu(arrays)
        self._leave(arrays, kept)
        return out

    @property
    def repeats(self) -> bool:
        """Whether several runs may follow each other without a look at what it holds for."""
        return not self.program.graph.arguments

    def repeat(self, most: int) -> int:
        """Do what the function did, at most `most` times.

        Returns
        -------
        int
            How often: on CUDA as one launch is of, on the CPU what ends within some milliseconds.

        Raises
        ------
        CaptureError
            If it cannot be done that way; then nothing was done.
        Failed
            If it raised an error the first time; then nothing was done, either.
        """
        if not self._on_cuda:
            return self._repeat_on_cpu(most)
        with backend.on_device_of(self.record.graph.device):
            steps: int = self.program.prepare(most)
            with self._drawing(steps):
                kept = self.program.repeat(steps)
        self._leave([], kept)
        return steps

    def _repeat_on_cpu(self, most: int) -> int:
        done, end = 0, time.perf_counter() + _SPELL
        kept: tuple[Array, ...] = ()
        try:
            while done < most and (done == 0 or time.perf_counter() < end):
                kept = self._run_on_cpu([])[1]
                done += 1
        except Failed:
            if done == 0:
                raise
        finally:
            if done:
                self._leave([], kept)
        return done

    def _run_on_cpu(self, arrays: list[Array]) -> tuple[Any, tuple[Array, ...]]:
        """Run the program; what it gives, and the graph keeps."""
        found, program = self.record, self.program
        taken = self._draw(1)
        try:
            given: tuple[Any, tuple[Array, ...]] = program.run(*arrays)
        except Exception as error:
            if _line(error, program.run.__code__) < program.first_write:
                for (generator, _, counters), offset in zip(found.draws, taken, strict=True):
                    generator.give_back(offset, counters)
                raise Failed from error
            raise
        return given

    def _draw(self, runs: int) -> list[int]:
        """Take the random numbers of some runs; the counters of where they begin."""
        taken = []
        for generator, state, counters in self.record.draws:
            seed, offset = generator.reserve(runs * counters)
            state.set(seed, offset)
            taken.append(offset)
            if self._on_cuda:
                state.moved(runs * counters)  # by the program
        return taken

    @contextlib.contextmanager
    def _drawing(self, runs: int) -> Iterator[None]:
        """Context of some runs on CUDA, which take their random numbers, but if they do not end."""
        try:
            self._draw(runs)
            yield
        except BaseException:
            for _, state, _ in self.record.draws:
                state.forget()
            raise

    def _leave(self, arrays: list[Array], kept: tuple[Array, ...]) -> None:
        """Note what was written to, and set the gradients."""
        for array in (*self._written, *(arrays[i] for i in self._changed)):
            autograd.changed(array, "a captured function")
        for leaf, where in self.record.gradients:
            if where is None:
                leaf.grad = None
            else:
                leaf.grad = wrap(leaf.buffer if where < 0 else kept[where])


def _warnings_are_errors() -> bool:
    """Whether what NumPy warns of is raised."""
    if "error" not in [one[0] for one in warnings.filters]:  # which is quick
        return False
    for how, text, kind, *_ in warnings.filters:
        if text is None and issubclass(RuntimeWarning, kind):
            return how == "error"
    return False


class Failed(Exception):
    """A replay raised an error before it did anything: the function is to be run as it is."""


def _line(error: BaseException, code: CodeType) -> int:
    """Line at which an error was raised in a function."""
    place = error.__traceback__
    while place is not None:
        if place.tb_frame.f_code is code:
            return place.tb_lineno
        place = place.tb_next
    return 0


class Captured:
    """A function that is replayed as it was recorded; :func:`capture` makes it.

    Attributes
    ----------
    graphs : int
        Number of graphs recorded so far, in this thread.
    reason : str or None
        Why the last call was not recorded, if it was not.

    Parameters
    ----------
    function : callable
    device : str or Device, optional
    own : bool
        Whether it is recorded only if no Python but the library's own runs in it.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        device: str | Device | None = None,
        *,
        own: bool = False,
    ) -> None:
        functools.update_wrapper(self, function)
        self.reason: str | None = None
        self._own = own
        self._function = function
        self._device = None if device is None else backend.device(device)
        self._local = _Recordings()

    def __repr__(self) -> str:
        return f"<captured {getattr(self._function, '__name__', 'function')}>"

    def __reduce__(self) -> str:
        """As functions do: its name goes into files, and copies are itself."""
        return getattr(self, "__qualname__", repr(self))

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        """A method: the function is recorded for each object of its own."""
        return self if owner is None else functools.partial(self, owner)

    @property
    def graphs(self) -> int:
        """Number of graphs recorded so far, in this thread."""
        return sum(map(len, self._local.replays.values()))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function, or replay what it did before with arguments of this signature."""
        recording = backend.recording()
        if recording is not None:  # a part of what is recorded
            with recording.welcomed():
                return self._plain("", args, kwargs)
        tensors: list[Tensor] = []
        local = self._local
        try:
            key = _signature(args, kwargs, tensors), _settings()
        except _Unfit as error:
            return self._plain(str(error), args, kwargs)
        if numbers_kept():
            return self._plain("its random numbers are kept by checkpoint", args, kwargs)
        if _here.replaying:  # programs have memory of their own, which is in use
            return self._plain("it is called within a replay, by a signal's handler", args, kwargs)
        replays = local.replays.get(key, ())
        arrays = [t.array for t in tensors]
        others: list[Replay] = []
        for replay in replays:
            if replay.holds():
                hindrance = replay.hindrance(arrays)
                if hindrance:
                    return self._plain(hindrance, args, kwargs)
                if not replay.fits(tensors):
                    others.append(replay)
                    continue
                try:
                    _here.replaying = True
                    return replay(arrays)
                except Failed:
                    break
                except CaptureError as error:
                    self._give_up(str(error), key)
                    break
                finally:
                    _here.replaying = False
        else:
            if local.may_try(key):
                return self._record(args, kwargs, tensors, key, others)
            if others:
                return self._plain(
                    "it does something else with each argument, which a closure may hold, too",
                    args,
                    kwargs,
                )
        return detached(self._function(*args, **kwargs))

    def replay_for(self, *args: Any, **kwargs: Any) -> Replay | None:
        """The replay that a call with such arguments would be; None if there is none yet."""
        tensors: list[Tensor] = []
        try:
            key = _signature(args, kwargs, tensors), _settings()
        except _Unfit:
            return None
        arrays = [t.array for t in tensors]
        holding = (r for r in self._local.replays.get(key, ()) if r.holds())
        return next((r for r in holding if not r.hindrance(arrays) and r.fits(tensors)), None)

    def repeat(self, count: int) -> None:
        """Call the function `count` times, without arguments and results.

        Many replays follow each other without a look at what they hold for. On CUDA they go to the
        device as CUDA graphs of up to 64 of them: the host knows nothing of those in between.
        """
        while count:
            count -= self.some(count)

    def some(self, most: int) -> int:
        """Call the function once, or as often as replays go together; see :meth:`repeat`.

        Returns
        -------
        int
            How often: `most` times at most.
        """
        replay = None
        if backend.recording() is None and not numbers_kept() and not _here.replaying:
            replay = self.replay_for()
        if replay is not None and replay.repeats:
            try:
                _here.replaying = True
                return replay.repeat(most)
            except Failed:
                pass
            except CaptureError as error:
                self._give_up(str(error), (_signature((), {}, []), _settings()))
            finally:
                _here.replaying = False
        self()
        return 1

    def _give_up(self, reason: str, key: Hashable) -> None:
        """Run the function as it is from now on, for arguments of a signature."""
        del self._local.replays[key]
        self._local.trials[key] = _TRIALS
        self._say(reason)

    def _say(self, reason: str) -> None:
        """Note why the function is run as it is; what is the library's own says that itself."""
        if reason != self.reason and not self._own:
            log("gputensor.capture").info(f"{self!r} is run as it is: {reason}")
        self.reason = reason

    def _plain(self, reason: str, args: Any, kwargs: Any) -> Any:
        """Run the function as it is; on the tape that its arguments are on."""
        if reason:
            self._say(reason)
        out = self._function(*args, **kwargs)
        on_tape = any(isinstance(x, Tensor) and x.requires_grad for x in leaves((args, kwargs)))
        return out if on_tape and autograd.grad_enabled() else detached(out)

    def _record(self, args: Any, kwargs: Any, tensors: Any, key: Any, others: list[Replay]) -> Any:
        """Record the function, where it has other recordings that are not for these tensors."""
        local = self._local
        where = self._place(tensors)
        with backend.on_device_of(where):
            out, found, reason = record(self._function, args, kwargs, tensors, where, self._own)
        if found is None:
            local.trials[key] = local.trials.get(key, 0) + 1
            self._say(reason)
        else:
            self.reason = None
            replay = Replay(found, tensors)
            like = next((r for r in others if r.outline == replay.outline), None)
            if like is not None:
                like.generalize()
            else:
                if others:
                    local.trials[key] = local.trials.get(key, 0) + 1
                local.keep(key, replay)
        return detached(out)

    def _place(self, tensors: list[Tensor]) -> Device:
        """Device that the function computes on."""
        devices = {t.device for t in tensors}
        if self._device is not None:
            devices.add(self._device)
        if len(devices) > 1:
            found = ", ".join(sorted(map(str, devices)))
            raise DeviceMismatchError(
                f"capture: a graph is of one device, {self!r} was given {found}; move its "
                "arguments to one"
            )
        return devices.pop() if devices else backend.default_device()


class _Here(threading.local):
    replaying = False  # whether this thread is in a replay


_here = _Here()


class _Recordings(threading.local):
    """What a thread has recorded of a function, by signature."""

    def __init__(self) -> None:
        self.replays: dict[Hashable, list[Replay]] = {}
        self.trials: dict[Hashable, int] = {}

    def may_try(self, key: Hashable) -> bool:
        """Whether a signature is worth a recording; not where those of many others ended early."""
        tried = self.trials.get(key, 0)
        return tried < _TRIALS and (tried > 0 or len(self.trials) < _MOST)

    def keep(self, key: Hashable, replay: Replay) -> None:
        """Keep a recording, in the place of the oldest one if there are many."""
        if sum(map(len, self.replays.values())) >= _MOST:
            oldest = next(iter(self.replays))
            del self.replays[oldest][0]
            if not self.replays[oldest]:
                del self.replays[oldest]
        self.replays.setdefault(key, []).append(replay)


def detached(results: Any) -> Any:
    """What a function returned, off the tape."""
    return map_tree(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, results)


_PLAIN = {int, bool, str, type(None)}


def _signature(args: Any, kwargs: Any, tensors: list[Tensor]) -> Hashable:
    """All of the arguments but their tensors' elements; the tensors go to `tensors`, each once."""
    structure = _structure(args, tensors), _structure(kwargs, tensors) if kwargs else None
    arrays = [t.array for t in tensors]
    layouts = tuple((a.shape, a.dtype, a.strides) for a in arrays)
    apart = len(arrays) < 2 or not any(itertools.starmap(_share, itertools.combinations(arrays, 2)))
    return structure, layouts, apart


def _share(a: Array, b: Array) -> bool:
    """Whether arrays may share memory."""
    if type(a) is np.ndarray:
        return type(b) is np.ndarray and np.may_share_memory(a, b)
    return type(b) is type(a) and bool(a.data.mem is b.data.mem)


def _structure(tree: Any, tensors: list[Tensor]) -> Hashable:
    kind = type(tree)
    if kind in _PLAIN:
        return kind, tree
    if isinstance(tree, Tensor):
        if tree.requires_grad and autograd.grad_enabled():
            raise _Unfit(
                "an argument requires a gradient, which does not pass into a graph; give "
                "x.detach(), and reach parameters by closure"
            )
        for i, t in enumerate(tensors):
            if t is tree:
                return Tensor, i
        tensors.append(tree)
        return Tensor, len(tensors) - 1
    # Objects of other classes may have more in them than their items.
    if kind is tuple or kind is list or is_named_tuple(kind):
        return kind, *[_structure(item, tensors) for item in tree]
    if kind is dict or kind is OrderedDict:
        return kind, *[(_structure(k, tensors), _structure(v, tensors)) for k, v in tree.items()]
    if kind is float or kind is complex or isinstance(tree, np.generic):
        return kind, repr(tree)  # 0.0 is not -0.0
    if isinstance(tree, _LASTING):
        return kind, id(tree), tree
    what = "an array; give a tensor" if backend.is_array(tree) else "which may change unseen"
    raise _Unfit(f"an argument is of {kind.__module__}.{kind.__qualname__}, {what}")


class _Unfit(Exception):
    """Why arguments have no signature."""


# What is the same as long as it is the same object; attributes of modules are guarded.
_LASTING = (Watched, Device, np.dtype, type, FunctionType, BuiltinFunctionType, Captured, Enum)


def _settings() -> Hashable:
    """What else decides on what a function does."""
    return (
        autograd.grad_enabled(),
        precision.casting.dtype,
        config.deterministic(),
        config.kernels_setting(),
        config.tf32_products(),
        backend.default_device(),
        config.default_dtype(),
    )


@overload
def capture(
    function: None = None, /, *, device: str | Device | None = None
) -> Callable[[Callable[..., Any]], Captured]: ...
@overload
def capture(function: Callable[..., Any], /, *, device: str | Device | None = None) -> Captured: ...
def capture(function: Any = None, /, *, device: str | Device | None = None) -> Any:
    """Record what a function does with tensors, and replay that in the calls that follow.

    For functions of many small operations, a training step above all, whose time is what Python and
    launches cost. On CUDA a replay is one CUDA graph of generated kernels, on the CPU a program of
    compiled loops. Results and effects have the bits that they have without.

    Parameters
    ----------
    function : callable
        Takes tensors, numbers, strings and lasting objects such as modules, also in tuples, lists
        and dicts; returns tensors, plain values, or such containers of them. A method, too.
    device : str or Device, optional
        Where it computes. By default where its arguments are, without any on the default device.

    Returns
    -------
    Captured
        Called as `function` is. Results are off the tape.

    Raises
    ------
    DeviceMismatchError
        If arguments are on several devices.

    See Also
    --------
    explain : What a captured function does, or why it is run as it is.

    Notes
    -----
    A recording is for arguments of the same structure, shapes, strides, dtypes and plain values;
    others get one of their own. It holds as long as what the function found outside is as it was:
    tensors, attributes of modules and optimizers, settings, which gradients there were. Values of
    tensors may change, in place, and so may learning rates and schedules; random numbers of
    gputensor's generators go on from call to call.

    Python runs while the function is recorded, and not when it is replayed: a ``print`` is seen
    once, and plain numbers and NumPy arrays from outside are constants. That a variable, or an item
    of a list or dict, is another tensor by now is not noticed, if no module or optimizer holds it:
    change its values in place, or give it as an argument. A function that does what a
    graph cannot repeat, such as deciding by a tensor's value, or drawing from a
    ``numpy.random.Generator`` that its code names, is run as it is each time; ``reason``, and the
    log ``gputensor.capture``, name the operation and the line.

    Examples
    --------
    >>> w = gt.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = gt.optim.SGD([w], lr=0.5)
    >>> @gt.capture
    ... def step(x):
    ...     loss = gt.sum(w * x) ** 2
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> x = gt.asarray([0.25, 0.5])
    >>> [round(step(x).item(), 3) for _ in range(3)]
    [1.562, 0.739, 0.349]
    """
    if function is None:
        return lambda f: Captured(f, device)
    if not callable(function):
        raise TypeError(f"capture: function must be callable, got {type(function).__name__}")
    return Captured(function, device)
