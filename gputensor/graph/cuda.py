"""A graph as a program for CUDA: generated kernels, hand-written ones and calls, as one CUDA graph.

The first run issues the program as it is, on a stream of the thread's own: that compiles, makes
plans and workspaces, and takes memory, so that all is there when a later run issues it once more
while the stream captures; then some products run beside the others, see
:mod:`gputensor.graph.branches`. From then on a run is a launch. The user's function is not called.

Temporaries come from a memory pool of the stream's, each from the launch that writes it to the last
that reads it. All programs of a stream share the pool, as they run one after the other. Arguments
are copied to where the graph reads them, results from where it leaves them.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from gputensor import backend, blas
from gputensor.autograd import wrap
from gputensor.backend import Array, Device
from gputensor.errors import CaptureError
from gputensor.graph import branches, interpret
from gputensor.graph.fuse import Group, groups
from gputensor.graph.generate import Generated, generated, launch
from gputensor.graph.interpret import arrays_in, function_of
from gputensor.graph.ir import Graph, Node, Returned, Value, map_values
from gputensor.graph.kernel_groups import follows, fusable, joins
from gputensor.shown import log

__all__ = ["STEPS", "Program", "lane"]

# Runs that one launch may be of.
STEPS = (64, 16, 4, 1)
_MOST_NODES = 1024  # of a CUDA graph of several runs


# Streams


class Lane:
    """Streams and memory that the graphs of a thread are captured on, and where they ran last.

    One for all graphs of a thread and device, as each stream needs a cuBLAS workspace; graphs that
    share it must not run at the same time.
    """

    def __init__(self) -> None:
        import cupy

        self.stream = cupy.cuda.Stream(non_blocking=True)
        self.second = cupy.cuda.Stream(non_blocking=True)
        self.pool = cupy.cuda.MemoryPool()
        self.last = self.stream

    @contextlib.contextmanager
    def entered(self) -> Iterator[Any]:
        """Context of its stream and memory, after what the current stream was given."""
        import cupy

        outer = cupy.cuda.get_current_stream()
        self.follow(self.stream, outer)
        self.follow(self.stream, self.last)
        try:
            with self.stream, cupy.cuda.using_allocator(self.pool.malloc):
                yield self.stream
        finally:
            self.follow(outer, self.stream)
            self.last = self.stream

    def catch_up(self) -> None:
        """Let the current stream wait for the last graph."""
        import cupy

        stream = cupy.cuda.get_current_stream()
        self.follow(stream, self.last)
        self.last = stream

    def launch(self, graph: Any) -> None:
        """Launch into the current stream."""
        self.catch_up()
        graph.launch(self.last)

    @staticmethod
    def follow(stream: Any, other: Any) -> None:
        """Let `stream` wait for what `other` was given so far."""
        if stream.ptr != other.ptr:
            stream.wait_event(other.record())


class _Lanes(threading.local):
    def __init__(self) -> None:
        self.by_device: dict[int, Lane] = {}


_lanes = _Lanes()


def lane() -> Lane:
    """Lane of this thread and the current device."""
    import cupy

    device = cupy.cuda.get_device_id()
    if device not in _lanes.by_device:
        _lanes.by_device[device] = Lane()
    return _lanes.by_device[device]


# Memory


class Memory(interpret.Memory):
    """Where the buffers of a graph are, while a program is issued."""

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self._begin: dict[int, int] = {}  # offsets of the first bytes that are there

    def put_at(self, value: Value, array: Array) -> None:
        """Say where an array is that a value of its layout stands for."""
        self.put(value.buffer, array.data.mem)
        self._begin[value.buffer.number] = value.offset - (array.data.ptr - array.data.mem.ptr)

    def drop(self, number: int) -> None:
        """Forget a buffer."""
        self._places.pop(number, None)

    def array(self, value: Value) -> Array:
        begin = self._begin.get(value.buffer.number, 0)
        return super().array(value._replace(offset=value.offset - begin) if begin else value)

    def row(self, value: Value) -> Array:
        """An array without gaps from a value's first element on, of as many as it has."""
        count = 1
        for n, stride in zip(value.shape, value.strides, strict=True):
            count *= n if stride else 1
            if stride < 0:
                count = 1
                break
        return self.array(value._replace(shape=(count,), strides=(value.dtype.itemsize,)))


# Steps


class _Step:
    """A part of a program.

    Attributes
    ----------
    nodes : tuple of Node
    """

    nodes: tuple[Node, ...]

    def issue(self, memory: Memory) -> None:
        """Do it, on the current stream."""
        raise NotImplementedError


_Note: TypeAlias = Callable[[_Step, bool], object]


class _Generated(_Step):
    """A kernel made for a group."""

    def __init__(self, kernel: Generated) -> None:
        self.kernel = kernel
        self.nodes = kernel.nodes

    def issue(self, memory: Memory) -> None:
        kernel = self.kernel
        launch(kernel, {v: memory.row(v) for v in kernel.arguments if type(v) is Value})


class _Call(_Step):
    """A node of its own: a hand-written kernel, a product, any other function of arrays."""

    def __init__(self, node: Node, xp: Any) -> None:
        self.node = node
        self.nodes = (node,)
        self._xp = xp
        # What the host brought, such as an index, is on the device before.
        self._arguments = map_values(
            lambda leaf: xp.asarray(leaf) if type(leaf) is np.ndarray else leaf,
            (node.args, node.kwargs),
        )

    def issue(self, memory: Memory) -> None:
        node = self.node
        args, kwargs = map_values(
            lambda leaf: memory.array(leaf) if type(leaf) is Value else leaf, self._arguments
        )
        if node.kind == "map":
            function_of(node, self._xp)(*args, **kwargs, out=memory.array(node.outputs[0]))
            return
        if node.into:
            kwargs = {**kwargs, "out": memory.array(node.outputs[0])}
        found = function_of(node, self._xp)(*args, **kwargs)
        known = {id(a.data.mem) for a in _arrays((args, kwargs))}
        fresh = [a for a in _arrays(found) if id(a.data.mem) not in known]
        for value, made in zip(node.outputs[node.writes :], fresh, strict=True):
            _adopt(memory, value, made)


def _arrays(tree: Any) -> list[Any]:
    return [a for a in arrays_in(tree) if not isinstance(a, np.ndarray)]


def _adopt(memory: Memory, value: Value, made: Array) -> None:
    """Take what a call made for the value that the graph knows it by."""
    if (made.shape, made.strides, made.dtype) == (value.shape, value.strides, value.dtype):
        memory.put_at(value, made)
    else:
        memory.array(value)[...] = made


_Item: TypeAlias = tuple[Group | Node, list[Node]]


def _with_followers(items: list[Group | Node]) -> list[_Item]:
    """Items, and with reductions the maps that can run at their end."""
    found: list[_Item] = []
    for item in items:
        if isinstance(item, Group) and not any(n.kind == "reduce" for n in item.nodes):
            last = next((f for f in reversed(found) if _depends(item, f)), None)
            if last and isinstance(last[0], Group) and follows(last[0], last[1], item):
                last[1].extend(item.nodes)
                continue
        found.append((item, []))
    return found


def _depends(group: Group, before: _Item) -> bool:
    """Whether a group cannot run before an item."""
    item, after = before
    nodes = [*(item.nodes if isinstance(item, Group) else [item]), *after]
    return any(
        value.overlaps(other)
        for node in nodes
        for value, written in _accesses(node)
        for own in group.nodes
        for other, writes in _accesses(own)
        if written or writes
    )


def _accesses(node: Node) -> Iterator[tuple[Value, bool]]:
    for value in node.inputs:
        yield value, False
    for value in node.outputs:
        yield value, True


class _Captured:
    """A CUDA graph of some runs, and what it leaves behind.

    Attributes
    ----------
    graph : cupy.cuda.Graph
    results : list of array
    checks : dict
        What must be looked at before the host reads a value, see ``backend.DEFERRED_CHECKS``.
    """

    def __init__(self, graph: Any, results: list[Array], checks: dict[str, Any]) -> None:
        self.graph = graph
        self.results = results
        self.checks = checks


class Program:
    """A graph made ready to run: a function of its arguments' arrays.

    Parameters
    ----------
    graph : Graph

    Attributes
    ----------
    steps : list of steps
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._xp = backend.namespace(graph.device)
        self.steps: list[_Step] = []
        items = _with_followers(groups(graph, fusable, joins))
        for item, after in items:
            if isinstance(item, Node):
                self.steps.append(_Call(item, self._xp))
            elif kernel := generated(item, after, self._hidden(items, (*item.nodes, *after))):
                self.steps.append(_Generated(kernel))
        needed = {v.buffer.number for v in graph.needed()}
        self._chain, self._order = branches.orders(self.steps, needed)
        if not any(issue.beside for issue in self._order):
            self._order = self._chain
        self._kept = [*_returned(graph.result), *graph.kept]
        self._arguments: list[Array] = []
        self._graphs: dict[int, _Captured] = {}
        self._lane: Any = None
        self._node: Node | None = None

    def _hidden(self, items: "list[_Item]", nodes: tuple[Node, ...]) -> set[int]:
        """Numbers of the temporaries that no others use than some nodes."""
        own = {id(node) for node in nodes}
        found = {v.buffer.number for n in nodes for v in n.outputs if v.buffer.kind == "temporary"}
        found -= {v.buffer.number for v in self.graph.needed()}
        for node in self.graph.nodes:
            if id(node) not in own:
                found -= {v.buffer.number for v in (*node.inputs, *node.outputs)}
        return found

    # Running

    def run(self, *arrays: Array) -> tuple[Any, tuple[Array, ...]]:
        """Run once.

        Parameters
        ----------
        *arrays : arrays
            One for each of the graph's arguments, of its shape, strides and dtype.

        Returns
        -------
        result : object
            What the function returned, with new arrays.
        kept : tuple of array
            New arrays for what the graph keeps.

        Raises
        ------
        CaptureError
            As of :meth:`prepare`.
        """
        with backend.on_device_of(self.graph.device):
            self.prepare()
            self._run(arrays, 1)
            return self._given(arrays)

    def prepare(self, count: int = 1) -> int:
        """Make ready for runs, all but the first by a graph that is captured when first needed.

        Returns
        -------
        int
            How many of `count` runs one launch is of: see :data:`STEPS`.

        Raises
        ------
        CaptureError
            If something cannot be part of a CUDA graph, naming the line; nothing was computed then.
        """
        if self._lane is None:
            return 1
        most = min(count, _MOST_NODES // max(len(self.steps), 1))
        steps = next((n for n in STEPS if n <= most), 1)
        if steps not in self._graphs:
            with backend.on_device_of(self.graph.device):
                self._graphs[steps] = self._captured(steps)
        return steps

    def repeat(self, steps: int) -> tuple[Array, ...]:
        """Run a program without arguments so many times in one launch, as :meth:`prepare` says.

        Returns
        -------
        tuple of array
            New arrays for what the graph keeps, of the last run.
        """
        assert not self.graph.arguments
        with backend.on_device_of(self.graph.device):
            self._run((), steps)
            return self._given(())[1]

    def _run(self, arrays: tuple[Array, ...], steps: int) -> None:
        first = self._lane is None
        if first:
            self._lane = lane()
            self._make_room()
        self._lane.catch_up()
        for mine, given in zip(self._arguments, arrays, strict=True):
            _copy(given, mine)
        if first:
            try:
                with self._lane.entered():
                    self._results = self._issue(self._chain)
            except BaseException:  # what a graph needs may not be there
                self._lane = None
                raise
            return
        captured = self._graphs[steps]
        self._lane.launch(captured.graph)
        backend.DEFERRED_CHECKS.update(captured.checks)
        self._results = captured.results

    def _make_room(self) -> None:
        """Make arrays of its own for the arguments."""
        import cupy

        for value in self.graph.arguments[len(self._arguments) :]:
            low, high = value.extent()
            memory = cupy.cuda.alloc(max(high - low, 1)) + (value.offset - low)
            self._arguments.append(cupy.ndarray(value.shape, value.dtype, memory, value.strides))

    def _given(self, arrays: tuple[Array, ...]) -> tuple[Any, tuple[Array, ...]]:
        """Results for the caller, and arguments that were written to."""
        for value, mine, given in zip(self.graph.arguments, self._arguments, arrays, strict=True):
            if value.buffer.version:
                _copy(mine, given)
        found = [
            self._result(value, array, arrays)
            for value, array in zip(self._kept, self._results, strict=True)
        ]
        count = len(found) - len(self.graph.kept)
        results = iter(found[:count])

        def given_for(leaf: Any) -> Any:
            if not isinstance(leaf, Returned):
                return leaf
            return wrap(next(results)) if leaf.tensor else next(results)

        return _mapped(given_for, self.graph.result), tuple(found[count:])

    def _result(self, value: Value, array: Array, arrays: tuple[Array, ...]) -> Array:
        """A result for the caller: new, but where it is memory of the caller's."""
        if value.buffer.kind == "outside":
            return array
        if value.buffer.kind == "argument":
            for own, given in zip(self.graph.arguments, arrays, strict=True):
                if own.buffer is value.buffer:
                    place = given.data + (value.offset - own.offset)
                    return type(given)(value.shape, value.dtype, place, value.strides)
        return _new(array)

    # Issuing

    def _issue(self, order: list[branches.Issue], note: _Note = lambda *_: None) -> list[Array]:
        """Give all work to the lane's streams; what is needed afterwards."""
        memory = Memory(self.graph.device)
        for value, mine in zip(self.graph.arguments, self._arguments, strict=True):
            memory.put_at(value, mine)
        chain, second, follow = self._lane.stream, self._lane.second, self._lane.follow
        forked = on_second = False  # whether the chain has to wait; where the last step was issued
        for issue in order:
            step = self.steps[issue.number]
            self._node = step.nodes[0]
            if issue.joins:
                follow(chain, second)
                forked = False
            if issue.beside and not on_second:
                follow(second, chain)
            on_second = issue.beside
            forked |= on_second
            with second if on_second else contextlib.nullcontext():
                step.issue(memory)
            note(step, on_second)
            for number in issue.over:
                memory.drop(number)
        if forked:
            follow(chain, second)
        self._node = None
        return [memory.array(value) for value in self._kept]

    def rehearse(self, note: _Note) -> None:
        """Issue all work once without doing it: what is captured is thrown away.

        `note` is told of each step, and whether it runs beside the chain, when it is issued.

        Raises
        ------
        CaptureError
            As of :meth:`prepare`.
        """
        with backend.on_device_of(self.graph.device):
            self._make_room()
            first, self._lane = self._lane, self._lane or lane()
            try:
                self._capture(1, note)
            finally:
                self._lane = first

    def _captured(self, steps: int) -> _Captured:
        """The CUDA graph of some runs; in one chain, where side by side is refused."""
        try:
            return self._capture(steps)
        except CaptureError as error:
            if self._order is self._chain:
                raise
            why = str(error)
        self._order = self._chain
        found = self._capture(steps)
        log("gputensor.capture").info(f"products are not computed side by side: {why}")
        return found

    def _capture(self, steps: int, note: _Note = lambda *_: None) -> _Captured:
        """The CUDA graph of some runs, one after the other."""
        checks = backend.DEFERRED_CHECKS
        before = dict(checks)
        checks.clear()
        with self._lane.entered() as stream:
            blas.prepare()
            if self._order is not self._chain:
                with self._lane.second:
                    blas.prepare()
            stream.begin_capture()
            try:
                with backend.while_capturing():
                    for _ in range(steps):
                        results = self._issue(self._order, note)
            except BaseException as error:
                with contextlib.suppress(RuntimeError):  # lest the second stream be left in it
                    self._lane.follow(stream, self._lane.second)
                _ended(stream)
                if not isinstance(error, Exception) or isinstance(error, MemoryError):
                    raise
                raise CaptureError(self._explained(error)) from error
            finally:
                found = dict(checks)
                checks.clear()
                checks.update(before)
            graph = _ended(stream)
        if graph is None:
            raise CaptureError(f"{self._name()} spoiled the recording")
        return _Captured(graph, results, found)

    def _name(self) -> str:
        node = self._node or self.graph.nodes[-1]
        where, _, text = backend.place(*node.place)
        return f"{node.name}, at {where}: {text},"

    def _explained(self, error: Exception) -> str:
        return f"{self._name()} cannot be part of a CUDA graph: {error}"


def _returned(tree: Any) -> list[Value]:
    found: list[Value] = []
    _mapped(lambda leaf: found.append(leaf.value) if isinstance(leaf, Returned) else None, tree)
    return found


def _mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """The tree of a result with `function` applied to its leaves."""
    if isinstance(tree, Returned):
        return function(tree)
    if isinstance(tree, (tuple, list)):
        items = [_mapped(function, item) for item in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    if isinstance(tree, dict):
        return {key: _mapped(function, item) for key, item in tree.items()}
    return function(tree)


def _copy(source: Array, target: Array) -> None:
    """Copy elements between arrays of one layout."""
    if source.flags.c_contiguous or source.flags.f_contiguous:
        target.data.copy_from_device_async(source.data, source.nbytes)
    else:
        target[...] = source


def _new(array: Array) -> Array:
    """A copy in new memory, of the same layout where that has no gaps."""
    import cupy

    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        return array.copy("K")
    memory = cupy.cuda.alloc(array.nbytes)
    memory.copy_from_device_async(array.data, array.nbytes)
    return cupy.ndarray(array.shape, array.dtype, memory, array.strides)


def _ended(stream: Any) -> Any:
    """Graph of what a stream captured; None if the capture was spoiled."""
    try:
        return stream.end_capture()
    except RuntimeError:
        return None
