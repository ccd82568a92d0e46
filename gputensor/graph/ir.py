"""The graph of a recorded function: buffers, values in them, and nodes in the order they ran.

* A :class:`Buffer` is memory: of an argument, of an array from outside, of a state that the library
  keeps, or of a temporary result.
* A :class:`Value` is an array in a buffer: offset, shape, strides, dtype, and the version of the
  buffer that it reads. A view is a value of its own, never a node.
* A :class:`Node` is an operation. What it writes are its outputs, each the next version of its
  buffer. An output that covers a part of its buffer leaves the rest as it was.

:func:`verify` says what must hold; every pass keeps it.
"""

from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any, NamedTuple

import numpy as np

from gputensor.backend import Array, Device

__all__ = [
    "Buffer",
    "Const",
    "Graph",
    "Node",
    "Returned",
    "Value",
    "map_values",
    "values_in",
    "verify",
]


class Buffer:
    """Memory that values lie in.

    Attributes
    ----------
    number : int
    kind : {"argument", "outside", "state", "temporary"}
        A state is a generator's seed and counter.
    nbytes : int
    owner : object or None
        What owns memory from outside, which stays alive with the graph: an array, or on CUDA CuPy's
        piece of memory.
    array : array or None
        An array in it.
    version : int
        Number of writes so far; 0 for what is there when the graph begins.
    """

    __slots__ = ("array", "kind", "nbytes", "number", "owner", "version")

    def __init__(self, number: int, kind: str, nbytes: int, owner: Any = None) -> None:
        self.number = number
        self.kind = kind
        self.nbytes = nbytes
        self.owner = owner
        self.array: Array = None
        self.version = 0

    def __repr__(self) -> str:
        return f"{self.kind[0]}{self.number}"


class Value(NamedTuple):
    """An array in a buffer; `offset` is that of its first element, in bytes."""

    buffer: Buffer
    version: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: "np.dtype[Any]"

    def __repr__(self) -> str:
        return f"{self.buffer!r}.{self.version}{list(self.shape)}"

    @property
    def size(self) -> int:
        """Number of elements."""
        n = 1
        for length in self.shape:
            n *= length
        return n

    def extent(self) -> tuple[int, int]:
        """First byte, and the one after the last, in the buffer."""
        low = high = self.offset
        for n, stride in zip(self.shape, self.strides, strict=True):
            if n == 0:
                return low, low
            if stride > 0:
                high += (n - 1) * stride
            else:
                low += (n - 1) * stride
        return low, high + self.dtype.itemsize

    def dense(self) -> bool:
        """Whether the elements fill their extent."""
        low, high = self.extent()
        return high - low == self.size * self.dtype.itemsize

    def whole(self) -> bool:
        """Whether it covers its buffer."""
        return self.size * self.dtype.itemsize == self.buffer.nbytes

    def overlaps(self, other: "Value") -> bool:
        """Whether the two may share bytes."""
        if self.buffer is not other.buffer:
            return False
        (a, b), (c, d) = self.extent(), other.extent()
        return a < d and c < b

    def same_place(self, other: "Value") -> bool:
        """Whether element by element the two are at equal addresses."""
        return self[0] is other[0] and self[2:] == other[2:]


class Const(NamedTuple):
    """A number, as an array of shape ()."""

    number: Any


class Returned(NamedTuple):
    """A value that is returned, as a tensor or as an array."""

    value: Value
    tensor: bool


class Node:
    """An operation.

    Attributes
    ----------
    kind : {"map", "reduce", "kernel", "call"}
        A map computes elements from elements, a reduction sums and the like, a kernel is one of
        :mod:`gputensor.kernels`, and a call is any other function of arrays.
    op : str or object
        Name of the function in the namespace of the arrays; the Kernel; or a callable.
    args, kwargs
        What it is called with: trees that hold values in the place of arrays.
    outputs : tuple of Value
    place : (code, int)
        Instruction of the user's that it came from, as of ``gputensor.backend.place``.
    raises : bool
        Whether it may raise an error because of values.
    writes : int
        How many of the outputs, the first ones, are operands that it writes to; the others are new.
    into : bool
        Whether such an operand is given to it by the keyword ``out``.
    result : object
        What the call gives: a tree with values in the place of arrays.
    caught : bool
        Whether the function may catch such an error.
    errors : dict or None
        What the function asked NumPy to do about floating-point exceptions here, see
        ``numpy.errstate``; None if that is as where it was called.
    """

    __slots__ = (
        *("args", "caught", "errors", "into", "kind", "kwargs", "op", "outputs", "place"),
        *("raises", "result", "writes"),
    )

    def __init__(
        self,
        kind: str,
        op: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: tuple[Value, ...],
        place: tuple[CodeType, int],
        raises: bool = False,
    ) -> None:
        self.kind = kind
        self.op = op
        self.args = args
        self.kwargs = kwargs
        self.outputs = outputs
        self.place = place
        self.raises = raises
        self.writes = 0
        self.into = False
        self.result: Any = None
        self.caught = False
        self.errors: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The operation's name."""
        op = self.op
        if isinstance(op, str):
            return op
        name: str = getattr(op, "name", None) or getattr(op, "func", op).__name__
        return name

    def is_kernel(self, *kernels: Any) -> bool:
        """Whether it is one of these kernels."""
        return any(getattr(self.op, "kernel", None) is kernel for kernel in kernels)

    @property
    def inputs(self) -> list[Value]:
        """Values that it reads."""
        return values_in((self.args, self.kwargs))

    def __repr__(self) -> str:
        out = ", ".join(map(repr, self.outputs))
        return f"{out} = {self.name}({', '.join(map(repr, self.inputs))})"


def values_in(tree: Any) -> list[Value]:
    """Values that a tree of tuples, lists, dicts and slices holds."""
    found: list[Value] = []
    _collect(tree, found)
    return found


def _collect(tree: Any, found: list[Value]) -> None:
    if type(tree) is Value:
        found.append(tree)
    elif type(tree) in (tuple, list) or (isinstance(tree, tuple) and type(tree) is not Const):
        for item in tree:
            _collect(item, found)
    elif type(tree) is dict:
        for item in tree.values():
            _collect(item, found)
    elif type(tree) is slice:
        _collect((tree.start, tree.stop, tree.step), found)


def map_values(function: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with `function` applied to each of its leaves."""
    kind = type(tree)
    if kind is tuple or kind is list:
        return kind([map_values(function, item) for item in tree])
    if kind is dict:
        return {key: map_values(function, item) for key, item in tree.items()}
    if kind is slice:
        return slice(*(map_values(function, p) for p in (tree.start, tree.stop, tree.step)))
    if isinstance(tree, tuple) and kind not in (Value, Const):
        items = [map_values(function, item) for item in tree]
        return kind(*items) if hasattr(kind, "_fields") else kind(items)
    return function(tree)


class Graph:
    """What a function did, and what it gave.

    Attributes
    ----------
    device : Device
    nodes : list of Node
    buffers : list of Buffer
    arguments : list of Value
        What is given to it anew each time.
    result : object
        Tree of what the function returned, with values in the place of tensors and arrays.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.nodes: list[Node] = []
        self.buffers: list[Buffer] = []
        self.arguments: list[Value] = []
        self.result: Any = None
        self.kept: list[Value] = []  # other values that are needed after the last node

    def buffer(self, kind: str, nbytes: int, owner: Any = None) -> Buffer:
        """A new buffer."""
        made = Buffer(len(self.buffers), kind, nbytes, owner)
        self.buffers.append(made)
        return made

    def needed(self) -> Iterator[Value]:
        """Values that are needed when all nodes have run."""
        yield from values_in(self.result)
        yield from self.kept


class GraphFault(AssertionError):
    """A graph breaks a rule of :func:`verify`."""


def verify(graph: Graph) -> None:
    """Check what must hold of a graph.

    Raises
    ------
    GraphFault
        If a value is read before it is written, or after its version was written over where it
        lies; if two nodes write one version; or if outputs of a node overlap each other.
    """
    versions: dict[int, int] = {}  # by buffer
    written: dict[tuple[int, int], Value] = {}

    def check(value: Value, reader: str) -> None:
        current = versions.get(value.buffer.number, 0)
        if value.version > current:
            raise GraphFault(f"{reader} reads {value!r} before it is written")
        if value.version == 0 and value.buffer.kind == "temporary":
            raise GraphFault(f"{reader} reads {value!r}, which nothing has written")
        for version in range(value.version + 1, current + 1):
            if written[value.buffer.number, version].overlaps(value):
                raise GraphFault(f"{reader} reads {value!r} after it was written over")

    for node in graph.nodes:
        for value in node.inputs:
            if value.version or not any(out.same_place(value) for out in node.outputs):
                check(value, repr(node))
        for i, out in enumerate(node.outputs):
            number = out.buffer.number
            if out.version != versions.get(number, 0) + 1:
                raise GraphFault(f"{node!r} writes version {out.version} of {out.buffer!r}")
            if any(out.overlaps(other) for other in node.outputs[:i]):
                raise GraphFault(f"results of {node!r} overlap")
            versions[number] = out.version
            written[number, out.version] = out
    for value in graph.needed():
        check(value, "the result")


def dense_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Strides of an array in C's order without gaps."""
    strides = []
    for n in reversed(shape):
        strides.append(itemsize)
        itemsize *= n
    return tuple(reversed(strides))
