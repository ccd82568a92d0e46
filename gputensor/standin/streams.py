"""Streams, events, and CUDA graphs: what records the work put on a stream, and what replays it.

Everything runs at once, in the calling thread, so a stream has nothing to wait for; waiting is
counted all the same. While a stream captures nothing is computed: memory keeps what it held. A
recorded piece of work knows addresses, and keeps no array alive.

Streams and events of a capture say which work comes before which. A graph is replayed in an order
that this allows, another one each time (``settings.seed``). It is refused if work without an order
uses the same memory and writes there.
"""

import bisect
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, NoReturn

from .state import Count, counters, current, settings

if TYPE_CHECKING:
    from .memory import Allocation, Block

__all__ = ["CUDARuntimeError", "Event", "Graph", "Race", "Stream", "Uses", "get_current_stream"]

GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2  # cudaStreamCaptureMode


class CUDARuntimeError(RuntimeError):
    """A call that the CUDA runtime refuses.

    Attributes
    ----------
    status : int
        The runtime's error code.
    """

    messages: ClassVar[dict[int, str]] = {
        1: "cudaErrorInvalidValue: invalid argument",
        101: "cudaErrorInvalidDevice: invalid device ordinal",
        401: "cudaErrorIllegalState: the operation cannot be performed in the present state",
        700: "cudaErrorIllegalAddress: an illegal memory access was encountered",
        801: "cudaErrorNotSupported: operation not supported",
        900: "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing",
        901: "cudaErrorStreamCaptureInvalidated: operation failed due to a previous error during "
        "capture",
        902: "cudaErrorStreamCaptureMerge: operation would result in a merge of separate capture "
        "sequences",
        903: "cudaErrorStreamCaptureUnmatched: capture was not ended in the same stream as it "
        "began",
        904: "cudaErrorStreamCaptureUnjoined: capturing stream has unjoined work",
        905: "cudaErrorStreamCaptureIsolation: dependency created on uncaptured work in another "
        "stream",
        906: "cudaErrorStreamCaptureImplicit: operation would make the legacy stream depend on a "
        "capturing blocking stream",
        907: "cudaErrorCapturedEvent: operation not permitted on an event last recorded in a "
        "capturing stream",
        908: "cudaErrorStreamCaptureWrongThread: attempt to terminate a thread-local capture "
        "sequence from another thread",
    }

    def __init__(self, status: int, detail: str = "") -> None:
        text = self.messages.get(status, f"CUDA error {status}")
        super().__init__(f"{text} ({detail})" if detail else text)
        self.status = status


class Race(AssertionError):
    """Two pieces of work that nothing orders use the same memory, and one writes there."""


class Span(NamedTuple):
    """Addresses from the first on, up to the last, that a piece of work reads, or may write to."""

    first: int
    last: int
    written: bool

    def meets(self, other: "Span") -> bool:
        """Whether it matters which of the two comes first."""
        apart = self.last <= other.first or other.last <= self.first
        return not apart and (self.written or other.written)


class Uses:
    """Memory that a piece of work uses.

    Attributes
    ----------
    blocks : dict of Block to int
        Blocks, and up to which byte.
    spans : list of Span
    """

    __slots__ = ("blocks", "spans")

    def __init__(self) -> None:
        self.blocks: dict[Block, int] = {}
        self.spans: list[Span] = []

    def note(self, memory: "Allocation", first: int, last: int, written: bool) -> None:
        """Add addresses in somebody's memory."""
        self.blocks[memory.block] = memory.nbytes
        self.spans.append(Span(first, last, written))

    def note_all(self, memory: "Allocation", written: bool) -> None:
        """Add all of somebody's memory."""
        self.note(memory, memory.ptr, memory.ptr + memory.nbytes, written)


class Work(NamedTuple):
    """A piece of recorded work.

    Attributes
    ----------
    run : callable
        Does it, on the memory at the recorded addresses.
    kind : {"launches", "array_ops", "memsets", "copies", ""}
        What it would have counted as.
    uses : Uses
    what : Count
    after : frozenset of int
        Places, in the list of all, of what it directly follows.
    """

    run: Callable[[], None]
    kind: str
    uses: Uses
    what: Count
    after: frozenset[int] = frozenset()


class Capture:
    """A capture under way: what a stream, and those that joined it, were given."""

    active: ClassVar[list["Capture"]] = []

    def __init__(self, origin: "Stream", mode: int) -> None:
        self.origin, self.mode, self.thread = origin, mode, threading.get_ident()
        self.work: list[Work] = []
        # By stream, places of what its next piece of work follows.
        self.ends: dict[Stream, frozenset[int]] = {origin: frozenset()}
        self.unjoined: set[Stream] = set()
        self.invalid = False
        origin.capture = self
        self.active.append(self)

    def join(self, stream: "Stream", after: frozenset[int]) -> None:
        """Let another stream take part."""
        stream.capture = self
        self.ends[stream] = after
        self.unjoined.add(stream)

    def add(self, stream: "Stream", work: Iterable[Work]) -> None:
        """Put work into a stream: a piece of it, or a graph."""
        begin, start = len(self.work), self.ends[stream]
        for piece in work:
            after = frozenset(begin + i for i in piece.after) or start
            self.work.append(piece._replace(after=after))
        added = range(begin, len(self.work))
        if added:
            followed = frozenset().union(*(self.work[i].after for i in added))
            self.ends[stream] = frozenset(added) - followed

    def fail(self, status: int) -> NoReturn:
        """Spoil the capture and raise."""
        self.invalid = True
        raise CUDARuntimeError(status)

    def end(self) -> None:
        """Leave the streams as they were."""
        for stream in self.ends:
            stream.capture = None
        self.active.remove(self)


def recording(stream: Any = None) -> Capture | None:
    """Capture that work put on a stream, by default the current one, belongs to."""
    stream = as_stream(stream)
    capture: Capture | None = stream.capture
    if capture is None:
        _refuse_on_null(stream)
    elif capture.invalid:
        raise CUDARuntimeError(901)
    elif stream is not capture.origin:
        capture.unjoined.add(stream)
    return capture


def submit(
    run: Callable[[], None],
    kind: str,
    uses: Uses,
    stream: Any = None,
    what: Count | None = None,
) -> None:
    """Do a piece of work, or record it if its stream captures."""
    capture = recording(stream)
    what = what or Count(kind, 0)
    if capture:
        capture.add(as_stream(stream), [Work(run, kind, uses, what)])
        return
    if kind:
        counters.ran(kind, what)
    run()


def _before(after: Iterable[frozenset[int]]) -> list[int]:
    """For each piece of work all that comes before it, as a number with a bit for each."""
    found: list[int] = []
    for places in after:
        bits = 0
        for i in places:
            bits |= found[i] | 1 << i
        found.append(bits)
    return found


def _races(work: list[Work]) -> Iterator[str]:
    """Pairs of work that must not run side by side but may, in words."""
    before = _before(piece.after for piece in work)
    for j, second in enumerate(work):
        free = before[j] ^ ((1 << j) - 1)
        while free:
            i = free.bit_length() - 1
            free ^= 1 << i
            for span in work[i].uses.spans:
                other = next((o for o in second.uses.spans if span.meets(o)), None)
                if other is not None:
                    ways = ("reads", "writes")
                    yield (
                        f"{work[i].what.name} (number {i}) {ways[span.written]} and "
                        f"{second.what.name} (number {j}) {ways[other.written]} "
                        f"{max(span.first, other.first):#x}, in no order"
                    )
                    break


class Graph:
    """Recorded work, like ``cupy.cuda.Graph``; :meth:`Stream.end_capture` makes it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            "currently this class cannot be initiated by the user and must be created via stream "
            "capture"
        )

    @classmethod
    def _of(cls, work: list[Work]) -> "Graph":
        graph = object.__new__(cls)
        graph.work = work
        graph._launches = 0
        graph._chain = all(piece.after == {i - 1} for i, piece in enumerate(work) if i)
        graph.races = [] if graph._chain else list(_races(work))
        graph._blocks = {}
        for piece in work:
            for block, end in piece.uses.blocks.items():
                graph._blocks[block] = max(end, graph._blocks.get(block, 0))
        return graph

    work: list[Work]
    races: list[str]
    _launches: int
    _chain: bool
    _blocks: "dict[Block, int]"

    def launch(self, stream: "Stream | None" = None) -> None:
        """Replay the work in an order that it allows; into a capture, record it once more.

        Raises
        ------
        CUDARuntimeError
            If the driver has got back memory that the work uses.
        Race
            If work without an order uses the same memory.
        """
        capture = recording(stream)
        if capture:
            capture.add(as_stream(stream), self.work)
            return
        if self.races:
            raise Race("; ".join(self.races))
        self._require_memory()
        counters.count("graph_launches")
        for block, end in self._blocks.items():
            block.widen(end)
        try:
            for run, kind, _, what, _ in self.order():
                if kind:
                    counters.ran(f"replayed_{kind}", what)
                run()
        finally:
            for block in self._blocks:
                block.narrow()

    def order(self) -> list[Work]:
        """The work in one of the orders that streams and events allow.

        Always the earliest recorded first, the latest, or any, as chance has it.
        """
        if self._chain or settings.seed is None:
            return self.work
        self._launches += 1
        chance = random.Random(f"{settings.seed} {self._launches}")
        choose = chance.choice([lambda n: 0, lambda n: n - 1, chance.randrange])
        waits = [len(piece.after) for piece in self.work]
        followers: list[list[int]] = [[] for _ in self.work]
        for i, piece in enumerate(self.work):
            for j in piece.after:
                followers[j].append(i)
        ready = [i for i, count in enumerate(waits) if not count]
        found = []
        while ready:
            i = ready.pop(choose(len(ready)))
            found.append(self.work[i])
            for j in followers[i]:
                waits[j] -= 1
                if not waits[j]:
                    bisect.insort(ready, j)
        return found

    def upload(self, stream: "Stream | None" = None) -> None:
        """Bring the graph to the device, ahead of its first launch."""
        recording(stream)
        self._require_memory()

    def _require_memory(self) -> None:
        gone = [block.label for block in self._blocks if block.released and block.size]
        if gone:
            raise CUDARuntimeError(700, f"the graph uses memory that was freed: {', '.join(gone)}")


class Stream:
    """A stream; the work given to it is done already, or recorded."""

    null: ClassVar["Stream"]
    by_address: ClassVar["weakref.WeakValueDictionary[int, Stream]"] = weakref.WeakValueDictionary()

    def __init__(
        self,
        null: bool = False,
        non_blocking: bool = False,
        ptds: bool = False,
        priority: int | None = None,
    ) -> None:
        self.ptr = 0 if null else id(self)
        self.is_non_blocking = non_blocking
        self.priority = priority or 0
        self.device_id = current.id
        self.capture: Capture | None = None
        self._outer: list[Stream] = []
        self.by_address.setdefault(self.ptr, self)

    def __enter__(self) -> "Stream":
        self._outer.append(_thread.stream)
        _thread.stream = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _thread.stream = self._outer.pop()

    def use(self) -> "Stream":
        """Make it the calling thread's current stream."""
        _thread.stream = self
        return self

    @property
    def done(self) -> bool:
        """Whether nothing is left to wait for; to ask spoils a capture."""
        if self.capture:
            self.capture.invalid = True
        return self.capture is None

    def synchronize(self) -> None:
        """Wait for the stream."""
        refuse_wait(self)
        counters.count("synchronizations")

    def record(self, event: "Event | None" = None) -> "Event":
        """Put an event into the stream."""
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event: "Event") -> None:
        """Let the stream wait for an event, not the host; an event of a capture draws it in."""
        ours, theirs = self.capture, event.capture
        if ours is theirs is None:
            return
        if self.ptr == 0:
            theirs.fail(906)
        if theirs is None:
            ours.fail(905)
        if theirs not in Capture.active:
            raise CUDARuntimeError(1)
        if ours is None:
            theirs.join(self, event.after)
        elif ours is not theirs:
            theirs.invalid = True
            ours.fail(902)
        elif event.stream is not self:
            ours.ends[self] |= event.after
            ours.unjoined.discard(event.stream)

    def launch_host_func(self, callback: Callable[[Any], None], arg: Any) -> None:
        """Call a function of the host when the stream comes to it."""
        submit(lambda: callback(arg), "", Uses(), self)

    def is_capturing(self) -> bool:
        """Whether work is recorded instead of done."""
        if self.ptr == 0 and any(not c.origin.is_non_blocking for c in Capture.active):
            raise CUDARuntimeError(906)
        return self.capture is not None

    def begin_capture(self, mode: int | None = None) -> None:
        """Record from now on, in the relaxed mode unless told otherwise."""
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if mode not in (None, GLOBAL, THREAD_LOCAL, RELAXED):
            raise CUDARuntimeError(1)
        if self.capture:
            raise CUDARuntimeError(401)
        Capture(self, RELAXED if mode is None else mode)

    def end_capture(self) -> Graph:
        """Get what was recorded as a graph."""
        capture = self.capture
        if capture is None:
            raise CUDARuntimeError(401)
        if self is not capture.origin:
            capture.fail(903)
        if capture.mode != RELAXED and capture.thread != threading.get_ident():
            raise CUDARuntimeError(908)
        capture.end()
        if capture.invalid:
            raise CUDARuntimeError(901)
        *_, joined = _before((*(piece.after for piece in capture.work), capture.ends[self]))
        if capture.unjoined or joined.bit_count() < len(capture.work):
            raise CUDARuntimeError(904)
        return Graph._of(capture.work)


Stream.null = Stream(null=True)


class _Thread(threading.local):
    """The calling thread's stream."""

    stream = Stream.null


_thread = _Thread()


def get_current_stream(device_id: int | None = None) -> Stream:
    """Get the calling thread's stream."""
    return _thread.stream


def as_stream(stream: Any) -> Stream:
    """Stream of an argument: None for the current one, an address, or a stream."""
    if stream is None:
        return _thread.stream
    return Stream.by_address[stream] if isinstance(stream, int) else stream


class Event:
    """A moment in a stream."""

    def __init__(
        self, block: bool = False, disable_timing: bool = False, interprocess: bool = False
    ) -> None:
        self.time = 0.0
        self.stream: Stream | None = None
        self.capture: Capture | None = None
        self.after: frozenset[int] = frozenset()  # places of the work that it marks the end of

    @property
    def done(self) -> bool:
        """Whether the stream has come here; to ask for a captured one spoils the capture."""
        if self.capture:
            self.capture.invalid = True
        elif not spoil_unsafe():
            return True
        return False

    def record(self, stream: Stream | None = None) -> None:
        """Remember the time, or the place in a capture."""
        self.stream = as_stream(stream)
        _refuse_on_null(self.stream)
        self.capture = self.stream.capture
        self.after = self.capture.ends[self.stream] if self.capture else frozenset()
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        """Wait until the stream has come here."""
        if self.capture:
            self.capture.fail(907)
        refuse_unsafe()
        counters.count("synchronizations")


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """Milliseconds between two events."""
    for event in (start_event, end_event):
        if event.capture:
            event.capture.fail(907)
    return (end_event.time - start_event.time) * 1e3


def reset() -> None:
    """Forget captures that nobody ended."""
    for capture in list(Capture.active):
        capture.end()
    _thread.stream = Stream.null


# ------------------------------------------------------------------ what a capture forbids


def _refuse_on_null(stream: "Stream") -> None:
    """The legacy stream waits for all blocking streams, so it cannot while one captures."""
    if stream.ptr == 0:
        for capture in Capture.active:
            if not capture.origin.is_non_blocking:
                capture.fail(906)


def spoil_unsafe() -> bool:
    """Invalidate what a call such as ``cudaMalloc`` or ``cudaFree`` is forbidden in."""
    spoiled = [
        capture
        for capture in Capture.active
        if capture.mode == GLOBAL
        or (capture.mode == THREAD_LOCAL and capture.thread == threading.get_ident())
    ]
    for capture in spoiled:
        capture.invalid = True
    return bool(spoiled)


def refuse_unsafe() -> None:
    """Refuse what might depend on captured work, as far as the modes of the captures say."""
    if spoil_unsafe():
        raise CUDARuntimeError(900)


def refuse_wait(stream: Any) -> None:
    """Refuse to wait for a stream that captures."""
    stream = as_stream(stream)
    if stream.capture:
        stream.capture.fail(900)
    _refuse_on_null(stream)
    refuse_unsafe()


def refuse_device_wait() -> None:
    """Refuse to wait for a device while any of its streams captures."""
    for capture in Capture.active:
        capture.fail(900)


def refuse_upload() -> None:
    """Refuse a copy from memory of the host, which is pageable."""
    if _thread.stream.capture:
        _thread.stream.capture.fail(900)


def _cython(file: str, line: int) -> Callable[[Exception], NoReturn]:
    """Function that raises from a frame such as tracebacks have of CuPy's compiled parts."""
    scope: dict[str, Any] = {"__name__": file.partition(".")[0].replace("/", ".")}
    source = "\n" * (line - 1) + "def fail(error): raise error"
    exec(compile(source, file, "exec"), scope)
    function: Callable[[Exception], NoReturn] = scope["fail"]
    return function


_fail_in_memory = _cython("cupy/cuda/memory.pyx", 717)


def refuse_host(stream: Any = None) -> None:
    """Refuse what needs a value on the host; CuPy asks first, and spoils nothing."""
    if as_stream(stream).capture:
        _fail_in_memory(
            RuntimeError("the current stream is capturing, so synchronous API calls are disallowed")
        )
    refuse_wait(stream)


def refuse_library(name: str) -> None:
    """Refuse one of the libraries that CuPy does not let into a graph."""
    if _thread.stream.capture:
        raise NotImplementedError(
            f"calling {name} API during stream capture is currently unsupported"
        )
