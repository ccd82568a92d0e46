"""Recording: a function runs as ever, on tracers in the place of arrays, and leaves a graph.

The tracers compute, see :mod:`gputensor.graph.tracer`; each operation comes here, is carried out on
the arrays, and is noted as a node with the memory that it reads and writes.

Tensors from outside hold plain arrays. While a recording runs, the attributes by which the library
reaches arrays are doors that hand out the tracer of an array, see :mod:`gputensor.graph.record`.
"""

import functools
import sys
import threading
import weakref
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.backend import Array, Device
from gputensor.graph.formulas import INEXACT
from gputensor.graph.ir import Buffer, Graph, Node, Value, map_values
from gputensor.graph.tracer import (
    TRACING,
    CudaTracer,
    HostTracer,
    Tracer,
    TracingNamespace,
    concrete,
)

__all__ = ["Recording", "name_of", "owner"]

_NONE: dict[str, Any] = {}


class Recording:
    """What a thread does while it records.

    Attributes
    ----------
    graph : Graph
    reason : str or None
        Why the recording ended before the function did.
    """

    def __init__(self, device: Device) -> None:
        self.graph = Graph(device)
        self.reason: str | None = None
        self.root: CodeType | None = None  # of the frame that calls the function
        self._errors = np.geterr()
        self.thread = threading.get_ident()
        # Tracers of arrays from outside, by the array's identity; they keep it alive.
        self.outside: dict[int, Tracer] = {}
        self._memory: dict[int, _Memory] = {}  # by the identity of its owner
        self._foreign: set[int] = set()  # numbers of buffers that only raw arrays lead to

    def end(self, reason: str) -> None:
        """End the recording; the function goes on and computes as it stands."""
        if self.reason is None:
            self.reason = f"{reason}, at {backend.user_line()}"

    @property
    def live(self) -> bool:
        """Whether what happens now, in this thread, is noted."""
        if self.reason is None and threading.get_ident() != self.thread:
            self.end("another thread uses a tensor of the function")
        return self.reason is None

    def namespace(self, real: Any) -> "TracingNamespace":
        """The namespace of tracers of arrays of a namespace."""
        return TRACING[real]

    # Arrays and their tracers

    def _memory_of(self, array: Array) -> "_Memory | None":
        found = self._memory.get(id(owner(array)))
        return found if found is not None and found.is_of(array) else None

    def _admit(self, array: Array, kind: str) -> "_Memory":
        whose = owner(array)
        from_outside = kind in ("outside", "state")
        nbytes = _nbytes(whose) if from_outside else _end(array)
        buffer = self.graph.buffer(kind, nbytes, whose if from_outside else None)
        buffer.array = array if from_outside else None
        start = _address(whose if from_outside else array)
        made = self._memory[id(whose)] = _Memory(array, start, buffer)
        return made

    def _tracer(self, array: Array, memory: "_Memory") -> "Tracer":
        made = object.__new__(HostTracer if isinstance(array, np.ndarray) else CudaTracer)
        made.recording, made.value, made.buffer = self, array, memory.buffer
        made.is_number = False
        first = memory.tracer() if memory.tracer is not None else None
        if first is None:
            memory.tracer = weakref.ref(made)
        made.base = first
        return made

    def value_of(self, array: Array) -> Value:
        """An array in known memory as a value of the graph, in the version of now."""
        memory = self._memory_of(array)
        assert memory is not None
        offset = _address(array) - memory.address
        buffer = memory.buffer
        return Value(buffer, buffer.version, offset, array.shape, array.strides, array.dtype)

    def enter(self, array: Array, *, foreign: bool = False, kind: str = "outside") -> "Tracer":
        """Tracer of an array that was there before.

        Parameters
        ----------
        array : array
        foreign : bool
            Whether it came as an array, not by a tensor: then the graph does not write to it.
        kind : {"outside", "argument", "state"}
        """
        if isinstance(array, Tracer):
            return array
        found = self.outside.get(id(array))
        if found is None:
            if isinstance(array, np.ndarray) != (self.graph.device.kind == "cpu"):
                self.end(f"an array on another device than {self.graph.device} is used")
            memory = self._memory_of(array)
            if memory is None:
                memory = self._admit(array, kind)
                if foreign:
                    self._foreign.add(memory.buffer.number)
            found = self.outside[id(array)] = self._tracer(array, memory)
        if found.buffer.kind == "argument" and kind != "argument":
            self.end("a tensor from outside shares the memory of an argument")
        return found

    def constant(self, array: Array) -> Any:
        """What stands for an array that was not computed by the function."""
        if isinstance(array, Tracer) or not self.live:
            return array
        return self.enter(array, foreign=True)

    def new(self, array: Array) -> Any:
        """Tracer of new memory that nothing was written to."""
        if not self.live:
            return array
        return self._tracer(array, self._admit(array, "temporary"))

    def _symbol(self, leaf: Any) -> Any:
        """What stands in a node for an argument of a call."""
        if isinstance(leaf, Tracer):
            return self.value_of(leaf.value)
        if not backend.is_array(leaf):
            return concrete(leaf)
        if type(leaf) is np.ndarray and self.graph.device.kind != "cpu":
            return leaf.copy()  # which goes to the device as it is
        return self.value_of(self.enter(leaf, foreign=True).value)

    # Nodes

    def record(
        self,
        kind: str,
        op: Any,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] = _NONE,
        writes: "tuple[Tracer, ...]" = (),
        raises: bool = False,
    ) -> Any:
        """Call a function of arrays and note that.

        Parameters
        ----------
        kind, op
            Of the node.
        function : callable
        args, kwargs
            Its arguments, with tracers.
        writes : tuple of Tracer
            Those of them that it writes to.
        raises : bool
            Whether values may make it raise an error.

        Returns
        -------
        object
            What it gives, with tracers in the place of arrays.
        """
        given = map_values(concrete, (args, kwargs))
        if not self.live:
            return function(*given[0], **given[1])
        into = bool(writes) and kind != "kernel" and kwargs.get("out") is writes[0]
        # What `out` names is in the node by its outputs.
        read = {k: v for k, v in kwargs.items() if k != "out"} if into else kwargs
        arguments, options = map_values(self._symbol, (args, read))
        if any(t.buffer.number in self._foreign for t in writes):
            self.end("an array that is no tensor's is written to")
        backend.set_recording(None)  # what it calls is part of it
        try:
            if kind == "map" and not into and not options:
                function = self._map(op, function, given[0])
            found = function(*given[0], **given[1])
        except Exception as error:
            self.end(f"{name_of(op)} raised {type(error).__name__}")
            raise
        finally:
            backend.set_recording(self)
        outputs: list[Value] = []
        for target in writes:
            target.buffer.version += 1
            outputs.append(self.value_of(target.value))
        targets = {id(t.value): t for t in writes}

        def made(leaf: Any) -> Any:
            if id(leaf) in targets:
                return targets[id(leaf)]
            return self._result(leaf, outputs)

        result = map_values(made, found)
        if (outputs or raises) and self.reason is None:
            frame = backend.user_frame(sys._getframe(2))
            place = frame.f_code, frame.f_lasti
            node = Node(kind, op, arguments, options, tuple(outputs), place, raises)
            node.writes, node.into = len(writes), into
            node.caught = raises and self._catches(sys._getframe(2))
            errors = np.geterr()
            node.errors = None if errors == self._errors else dict(errors)
            node.result = map_values(self._symbol_of_result, result)
            self.graph.nodes.append(node)
        return result

    def _map(
        self, op: Any, function: Callable[..., Any], operands: tuple[Any, ...]
    ) -> Callable[..., Any]:
        """What computes a map: on CUDA a kernel as generated ones are, for their bits."""
        kinds = [type(x) for x in operands if backend.is_array(x)]
        if not kinds or kinds[0] is np.ndarray or op not in INEXACT:
            return function
        found: Callable[..., Any] = getattr(backend.NAMESPACES[kinds[0]], op)
        return found

    def _catches(self, frame: FrameType | None) -> bool:
        """Whether the user's part of the function may catch what is raised in a frame."""
        while frame is not None and frame.f_code is not self.root:
            if not backend.is_library(frame) and _is_in_try(frame):
                return True
            frame = frame.f_back
        return False

    def _symbol_of_result(self, leaf: Any) -> Any:
        return self.value_of(leaf.value) if isinstance(leaf, Tracer) else leaf

    def _result(self, leaf: Any, outputs: list[Value]) -> Any:
        """A result as a tracer; noted as an output if it is no view of what was there."""
        is_number = isinstance(leaf, np.generic)
        if is_number:
            leaf = np.asarray(leaf)
        if not backend.is_array(leaf):
            if leaf is not None:
                self.end("a value is read")
            return leaf
        memory = self._memory_of(leaf)
        if memory is None:
            memory = self._admit(leaf, "temporary")
            memory.buffer.version = 1
            outputs.append(self.value_of(leaf))
        made = self._tracer(leaf, memory)
        made.is_number = is_number and isinstance(made, HostTracer)
        return made

    def call(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run a function of arrays and note that as one call."""
        raises = getattr(function, "raises", False)
        return self.record("call", function, function, args, kwargs, raises=raises)

    def follow(self, array: Any) -> None:
        """The tape follows a change of an array in place: its memory must be the function's own."""
        if isinstance(array, Tracer) and array.buffer.kind != "temporary":
            self.end("a tensor from outside is changed on the tape")

    def read(self, array: Any) -> Any:
        """An array whose values are read, which ends the recording."""
        if isinstance(array, Tracer):
            self.end("values are read")
        return concrete(array)

    def kernel(self, kernel: Any, arrays: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Run one of :mod:`gputensor.kernels` and note that."""
        given = dict(zip(kernel.operands, arrays, strict=False)) | attrs
        written = (given.get(name) for name in kernel.writes)
        writes = tuple(
            a if isinstance(a, Tracer) else self.enter(a, foreign=True)
            for a in written
            if a is not None
        )
        raises = kernel.raises and self.graph.device.kind == "cpu"
        function: Any = functools.partial(kernel.bound(*map(concrete, arrays)))
        function.name, function.kernel = kernel.name, kernel
        return self.record("kernel", function, function, arrays, attrs, writes, raises)

    def write(self, op: str, function: Callable[..., Any], args: Any, target: "Tracer") -> "Tracer":
        """Note a map into the memory of `target`: ``function(*args, out=target)``."""
        self.record("map", op, function, args, {"out": target}, (target,))
        return target


def _is_in_try(frame: FrameType) -> bool:
    """Whether a frame is at an instruction of a ``try`` or ``with``.

    Their instructions are in the code's table of exceptions: numbers of 6 bits a byte, of which bit
    6 says that the number goes on, four of them an entry; the first two are where it begins and how
    far it goes, in words.
    """
    numbers: list[int] = []
    number = 0
    for byte in frame.f_code.co_exceptiontable:
        number = number << 6 | byte & 63
        if not byte & 64:
            numbers.append(number)
            number = 0
    at = frame.f_lasti // 2
    return any(
        start <= at < start + length
        for start, length in zip(numbers[::4], numbers[1::4], strict=False)
    )


class _Memory:
    """Memory that is known to a recording.

    Attributes
    ----------
    address : int
    buffer : Buffer
    tracer : weakref or None
        The first tracer that was made of it; those of views have it for their base.
    """

    __slots__ = ("_arrays", "address", "buffer", "tracer")

    def __init__(self, array: Array, address: int, buffer: Buffer) -> None:
        # Arrays that keep it alive. CuPy's pieces of memory themselves take no weak references.
        self._arrays = [weakref.ref(_root(array))]
        self.address = address
        self.buffer = buffer
        self.tracer: Any = None

    def is_of(self, array: Array) -> bool:
        """Whether an array that has the identity of its owner lies in it: the owner lives on."""
        root = _root(array)
        alive = [kept for ref in self._arrays if (kept := ref()) is not None]
        # No generator that ends early: an interrupt that comes as it is closed would be lost.
        if alive and id(root) not in map(id, alive):
            self._arrays.append(weakref.ref(root))
        return bool(alive)


def name_of(op: Any) -> str:
    """Name of an operation."""
    if isinstance(op, str):
        return op
    name: str = getattr(op, "name", None) or getattr(op, "func", op).__name__
    return name


def owner(array: Array) -> Any:
    """What owns the memory of a raw array: an array, or CuPy's piece of memory."""
    if not isinstance(array, np.ndarray):
        return array.data.mem
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _root(array: Array) -> Array:
    """The array that a view is of; itself if it is none."""
    if isinstance(array, np.ndarray):
        return owner(array)
    return array if array.base is None else array.base


def _address(memory: Any) -> int:
    if isinstance(memory, np.ndarray):
        return int(memory.__array_interface__["data"][0])
    return int(memory.data.ptr if hasattr(memory, "data") else memory.ptr)


def _nbytes(owner: Any) -> int:
    return int(owner.nbytes if isinstance(owner, np.ndarray) else owner.size)


def _end(array: Array) -> int:
    """Bytes up to the end of a new array in its memory, of which CuPy takes more than it needs."""
    if isinstance(array, np.ndarray) or array.base is not None:
        return _nbytes(owner(array))
    return int(array.data.ptr - array.data.mem.ptr + array.nbytes)
