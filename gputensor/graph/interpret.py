"""Running a graph node by node: what the graph means, and what all other ways are compared with."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.backend import Array, Device
from gputensor.graph.ir import Buffer, Graph, Node, Value, map_values

__all__ = ["Memory", "array_at", "interpret", "run_node"]


class _At:
    """Memory as NumPy takes it."""

    def __init__(self, interface: dict[str, Any], keep: Any) -> None:
        self.keep = keep
        self.__array_interface__ = interface


def array_at(address: int, value: Value, keep: Any) -> Array:
    """The NumPy array that a value is; its buffer begins at an address and lives in `keep`."""
    dtype = value.dtype
    typestr = dtype.str if dtype.isbuiltin == 1 else f"<u{dtype.itemsize}"  # not of bfloat16
    interface = {
        "version": 3,
        "data": (address + value.offset, False),
        "shape": value.shape,
        "strides": value.strides,
        "typestr": typestr,
    }
    found = np.asarray(_At(interface, keep))
    return found if dtype.isbuiltin == 1 else found.view(dtype)


class Memory:
    """Where the buffers of a graph are.

    Parameters
    ----------
    device : Device
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self._places: dict[int, Any] = {}  # owners, by number

    def put(self, buffer: Buffer, owner: Any) -> None:
        """Say what owns a buffer's memory, from its first byte on."""
        self._places[buffer.number] = owner

    def array(self, value: Value) -> Array:
        """The array that a value is."""
        buffer = value.buffer
        if buffer.number not in self._places:
            self._places[buffer.number] = (
                buffer.owner
                if buffer.kind in ("outside", "state")
                else _allocated(self.device, buffer.nbytes)
            )
        owner = self._places[buffer.number]
        if self.device.kind == "cpu":
            address = owner.__array_interface__["data"][0]
            return array_at(address, value, owner)
        import cupy

        start = owner.data if hasattr(owner, "data") else cupy.cuda.MemoryPointer(owner, 0)
        return cupy.ndarray(value.shape, value.dtype, start + value.offset, value.strides)


def _allocated(device: Device, nbytes: int) -> Any:
    if device.kind == "cpu":
        return np.empty(nbytes, np.uint8)
    import cupy

    return cupy.cuda.alloc(nbytes).mem


# Maps that no namespace has under their name, by what they compute.
_MAPS: dict[str, Callable[..., Any]] = {
    "assign": lambda xp, x: x,
    "astype": lambda xp, x, *_: x,
    "broadcast_to": lambda xp, x, *_: x,
    "copy": lambda xp, x, *_: x,
    "where": lambda xp, *args: xp.where(*args),
    "sign": lambda xp, x: xp.sign(x),
}


_HOST = backend.NAMESPACES[np.ndarray]


def _of_namespace(name: str) -> Callable[..., Any]:
    return lambda xp, *args, **kwargs: getattr(xp, name)(*args, **kwargs)


def function_of(node: Node, xp: Any) -> Callable[..., Any]:
    """What a node calls, in a namespace."""
    if node.kind == "map" and isinstance(node.op, str) and (node.op in _MAPS or xp is not _HOST):
        compute: Callable[..., Any] = _MAPS.get(node.op) or _of_namespace(node.op)

        def function(*args: Any, out: Array, **kwargs: Any) -> None:
            out[...] = compute(xp, *args, **kwargs)

        return function
    if isinstance(node.op, str):
        found: Callable[..., Any] = attrgetter(node.op)(xp)
        return found
    return node.op  # type: ignore[no-any-return]


def run_node(node: Node, memory: Memory, xp: Any) -> None:
    """Run one node on the arrays in memory."""
    args, kwargs = map_values(
        lambda leaf: memory.array(leaf) if type(leaf) is Value else leaf, (node.args, node.kwargs)
    )
    if node.kind == "map":
        function_of(node, xp)(*args, **kwargs, out=memory.array(node.outputs[0]))
        return
    if node.into:
        kwargs = {**kwargs, "out": memory.array(node.outputs[0])}
    found = function_of(node, xp)(*args, **kwargs)
    fresh: list[Any] = []
    written = {id(a) for a in arrays_in((args, kwargs))}
    map_values(lambda leaf: fresh.append(leaf) if id(leaf) not in written else None, found)
    for value, made in zip(
        node.outputs[node.writes :], (a for a in fresh if a is not None), strict=True
    ):
        memory.array(value)[...] = made


def arrays_in(tree: Any) -> list[Any]:
    """Raw arrays among the leaves of arguments."""
    found: list[Any] = []
    map_values(lambda leaf: found.append(leaf) if backend.is_array(leaf) else None, tree)
    return found


def interpret(graph: Graph, memory: Memory) -> Any:
    """Run all nodes, one after the other, in the namespace of the arrays.

    Returns
    -------
    object
        What the function returned, as arrays in `memory`.
    """
    xp = backend.namespace(graph.device)
    for node in graph.nodes:
        run_node(node, memory, xp)
    return map_values(
        lambda leaf: memory.array(leaf) if type(leaf) is Value else leaf, graph.result
    )
