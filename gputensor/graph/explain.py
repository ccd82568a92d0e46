"""``gt.explain``: what a captured function does when it is replayed, part by part."""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from gputensor import backend
from gputensor.errors import CaptureError
from gputensor.graph.capture import Captured, Replay
from gputensor.graph.fuse import Group
from gputensor.graph.ir import Graph, Node, Value
from gputensor.kernels.source import CudaSource

__all__ = ["Explanation", "Part", "explain"]


class Place(NamedTuple):
    """A line of the user's, and operations that came from it."""

    line: str
    source: str
    operations: tuple[str, ...]


class Part(NamedTuple):
    """A part of a program.

    Attributes
    ----------
    kind : {"generated", "written", "call", "loops"}
        A generated kernel, a hand-written one, any other function, or on the CPU loops of NumPy's.
    name : str
    launches : tuple of str
        Names of the CUDA kernels it launches, as far as they are gputensor's own.
    places : tuple of Place
        Where its operations came from.
    read, written : int
        Bytes.
    beside : bool
        Whether on CUDA it runs at the same time as what comes next, up to the first part that
        depends on it.

    Examples
    --------
    >>> part = gt.explain(lambda x: gt.exp(-x) + 1)(gt.ones(1000)).parts[0]
    >>> part.read, part.written
    (4000, 4000)
    """

    kind: str
    name: str
    launches: tuple[str, ...]
    places: tuple[Place, ...]
    read: int
    written: int
    beside: bool = False


class Explanation:
    """What a function does when it is replayed; printed, it is a table.

    Attributes
    ----------
    name : str
        The function's.
    device : Device or None
    reason : str or None
        Why it is not captured, with the line.
    parts : list of Part
    constants : list of (number, str)
        Numbers that are part of the program, and their lines.
    source : str
        The generated source: CUDA C++, on the CPU the Python that runs the loops.
    result : object
        What the call gave, if there was one.

    Examples
    --------
    >>> explained = gt.explain(lambda x: gt.exp(-x) + 1)(gt.ones(1000))
    >>> len(explained.parts), explained.reason is None
    (1, True)
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.device: Any = None
        self.reason: str | None = None
        self.parts: list[Part] = []
        self.constants: list[tuple[Any, str]] = []
        self.source = ""
        self.result: Any = None

    @property
    def launches(self) -> "Counter[str]":
        """How often each of gputensor's CUDA kernels is launched, by name."""
        return Counter(name for part in self.parts for name in part.launches)

    def __str__(self) -> str:
        if self.reason is not None:
            return f"{self.name} is run as it is: {self.reason}"
        read, written = (sum(getattr(p, n) for p in self.parts) for n in ("read", "written"))
        counts = Counter(part.kind for part in self.parts)
        kinds = ", ".join(f"{n} {_KINDS[kind]}" for kind, n in counts.items()) or "nothing to do"
        lines = [
            f"{self.name} on {self.device}: {kinds}; reads {_bytes(read)}, writes {_bytes(written)}"
        ]
        for i, part in enumerate(self.parts, 1):
            count = sum(len(place.operations) for place in part.places)
            lines.append(
                f"{i:3}  {part.name}: {count} operation{'s' * (count != 1)}, reads "
                f"{_bytes(part.read)}, writes {_bytes(part.written)}"
                f"{', beside what comes next' * part.beside}"
            )
            for place in part.places:
                lines.append(f"       {place.line}: {place.source}")
                lines.append(f"           {_listed(place.operations)}")
        if self.constants:
            lines.append("constants")
            lines += [f"       {value!r}, {line}" for value, line in self.constants]
        return "\n".join(lines)

    __repr__ = __str__


_KINDS = {
    "generated": "generated kernel(s)",
    "written": "kernel(s) written by hand",
    "call": "other call(s)",
    "loops": "pass(es) of loops",
}


def _bytes(count: int) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.3g} {unit}" if unit != "B" else f"{count} B"
        count /= 1000  # type: ignore[assignment]
    raise AssertionError


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{name} {n} times" if n > 1 else name for name, n in Counter(names).items())


def explain(function: Callable[..., Any]) -> Callable[..., Explanation]:
    """Say what a function does when it is captured and replayed.

    Parameters
    ----------
    function : callable
        A function of tensors, captured or not; see :func:`gputensor.capture`.

    Returns
    -------
    callable
        Takes the function's arguments, and gives an
        :class:`~gputensor.graph.explain.Explanation`: each kernel with the operations that it
        holds and their lines, what it reads and writes, and the generated source. If there is no
        recording for such arguments yet, the function is called.

    Examples
    --------
    >>> print(gt.explain(lambda x: gt.exp(-x) + 1)(gt.ones(1000)))
    <lambda> on cpu: 1 pass(es) of loops; reads 4 kB, writes 4 kB
      1  negative_exp_add: 3 operations, reads 4 kB, writes 4 kB
    ...
    """
    captured = function if isinstance(function, Captured) else Captured(function)

    def explained(*args: Any, **kwargs: Any) -> Explanation:
        found = Explanation(getattr(captured, "__name__", repr(function)))
        replay = captured.replay_for(*args, **kwargs)
        if replay is None:
            found.result = captured(*args, **kwargs)
            replay = captured.replay_for(*args, **kwargs)
        if replay is None:
            found.reason = captured.reason
            return found
        _describe(found, replay)
        return found

    return explained


def _describe(found: Explanation, replay: Replay) -> None:
    program = replay.program
    graph: Graph = program.graph
    found.device = graph.device
    found.constants = list(dict.fromkeys(_constants(graph)))
    if graph.device.kind == "cpu":
        found.source = program.source
        for item in program.items:
            nodes = item.nodes if isinstance(item, Group) else [item]
            kind = "loops" if program.is_loop(item) else "call"
            hidden = item.inner if isinstance(item, Group) else set()
            found.parts.append(_part(kind, _name(nodes), (), nodes, hidden))
        return
    launched: list[str] = []
    sources: list[str] = []

    def note(step: Any, beside: bool) -> None:
        kernel = getattr(step, "kernel", None)
        if kernel is not None:
            sources.append(kernel.source.text)
            parts = "generated", kernel.entry
            read, written = (_size(values) for values in (kernel.reads, kernel.writes))
        else:
            parts = "written" if launched else "call", step.node.name
            read, written = _size(step.node.inputs), _size(step.node.outputs)
        part = Part(*parts, tuple(launched), _places(step.nodes), read, written, beside)
        found.parts.append(part)
        launched.clear()

    try:
        with _noted(launched):
            program.rehearse(note)
    except CaptureError as error:
        found.reason = str(error)
        found.parts.clear()
    found.source = "\n".join(dict.fromkeys(sources))


def _name(nodes: list[Node]) -> str:
    names = list(dict.fromkeys(node.name for node in nodes))
    return "_".join(names[:4]) + ("_..." if len(names) > 4 else "")


def _part(
    kind: str, name: str, launches: tuple[str, ...], nodes: list[Node], hidden: set[int]
) -> Part:
    made = {(v.buffer.number, v.version) for n in nodes for v in n.outputs}
    read = [v for n in nodes for v in n.inputs if (v.buffer.number, v.version) not in made]
    written = [v for n in nodes for v in n.outputs if v.buffer.number not in hidden]
    return Part(kind, name, launches, _places(nodes), _size(read), _size(written))


def _size(values: Iterable[Value]) -> int:
    """Bytes of values, each counted once."""
    places = {(v.buffer.number, v.offset, v.shape, v.strides): v for v in values}
    return sum(
        v.dtype.itemsize
        * int(np.prod([n for n, s in zip(v.shape, v.strides, strict=True) if s], dtype=np.int64))
        for v in places.values()
    )


def _places(nodes: Iterable[Node]) -> tuple[Place, ...]:
    found: dict[tuple[str, str], list[str]] = {}
    for node in nodes:
        line, _, source = backend.place(*node.place)
        found.setdefault((line, source), []).append(node.name)
    return tuple(Place(*where, tuple(names)) for where, names in found.items())


def _constants(graph: Graph) -> Iterator[tuple[Any, str]]:
    for node in graph.nodes:
        if node.kind != "map":
            continue
        for leaf in node.args:
            if isinstance(leaf, (int, float, complex, np.generic)) and not isinstance(leaf, bool):
                line, _, source = backend.place(*node.place)
                yield leaf, f"{line}: {source}"


@contextlib.contextmanager
def _noted(launched: list[str]) -> Iterator[None]:
    """Context in which the names of the kernels that this thread launches are noted."""
    launch, thread = CudaSource.launch, threading.get_ident()

    def noting(self: CudaSource, entry: str, *args: Any, **options: Any) -> None:
        if threading.get_ident() == thread:
            launched.append(entry)
        launch(self, entry, *args, **options)

    CudaSource.launch = noting
    try:
        yield
    finally:
        CudaSource.launch = launch
