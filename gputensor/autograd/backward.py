"""Gradients that leave the backward pass for the user; and what Tensor gets from above itself."""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from gputensor import backend, memory
from gputensor.autograd import reverse
from gputensor.autograd.primitive import Primitive
from gputensor.autograd.reverse import propagate
from gputensor.autograd.tape import Node
from gputensor.autograd.tensor import Leaf, Tensor, accumulating, copied, seed_gradient, wrap
from gputensor.backend import Device
from gputensor.errors import DTypeError, GraphError

_getrefcount = sys.getrefcount


def _references(found: dict[Any, Any]) -> int:
    _, g = found.popitem()
    return _getrefcount(g)


_ALONE = _references({0: np.empty(0)})  # references to an array that nobody else has


def owned(found: dict[Node | Leaf, Any], entry: Node | Leaf) -> Tensor | None:
    """Take a gradient out of what :func:`propagate` found, for the user, who may change it.

    No other has its memory: no other gradient, hook or tensor of the user's. It is in C's order.
    """
    g = found.pop(entry, None)
    if isinstance(g, Tensor):
        result: Tensor = reverse.differentiable_namespace.positive(g)
        return result
    if g is None:
        return None
    if g.base is None and _getrefcount(g) <= _ALONE and g.flags.c_contiguous:
        return wrap(g)
    with backend.on_device_of(g):
        return wrap(copied(g))


def _transfer_back(xp: Any, g: Any, _out: Any, _x: Any, where: Device, here: Device) -> Any:
    return g.to(here) if isinstance(g, Tensor) else backend.to_device(g, here)


_transfer = Primitive(
    "to", lambda xp, x, where, here: backend.to_device(x, where), (_transfer_back,)
)


def _held_by_node(node: Node) -> Iterator[tuple[str, Any]]:
    purpose = f"saved by {node.primitive.name} for its gradient"
    for value in (*(node.saved or ()), node.out, *node.attrs.values()):
        yield purpose, value
        if isinstance(value, tuple):  # a kernel's results
            yield from ((purpose, part) for part in value)


memory.HOLDERS[Node] = _held_by_node

memory.HOLDERS[Tensor] = lambda t: [("tensor", getattr(t, "array", None))]

memory.HOLDERS[Leaf] = lambda leaf: [("gradient", getattr(leaf.grad, "array", leaf.buffer))]


def _backward(self: Tensor, gradient: Tensor | None = None, retain_graph: bool = False) -> None:
    """Add the gradient of this tensor to ``.grad`` of every leaf it was computed from.

    Parameters
    ----------
    gradient : Tensor, optional
        Gradient of the final result with respect to this tensor, of its shape; 1 for a
        real tensor of one element.
    retain_graph : bool
        Keep the saved values for another backward pass.

    Raises
    ------
    GraphError
        If nothing here requires a gradient, the saved values are freed already, or
        `gradient` is missing for a tensor of several elements or a complex one.
    ShapeError
        If `gradient` has another shape.
    DTypeError
        If `gradient` is complex and this tensor is not.
    """
    node = self._node
    if node is None:
        raise GraphError(
            "backward: this tensor was computed from nothing that requires a gradient; make "
            "an input with requires_grad=True, and compute outside gt.no_grad()"
        )
    g = seed_gradient(self, gradient)
    found = propagate([(node, g)], retain_graph=retain_graph)
    with accumulating:
        while found:
            leaf, value = found.popitem()
            own = value.base is None and _getrefcount(value) <= _ALONE
            leaf.accumulate(value, own, found)  # type: ignore[union-attr]


def _to(self: Tensor, where: str | Device) -> Tensor:
    """Same values on another device; the tensor itself if it is there. Differentiable.

    A copy has its axes in the same order in memory.
    """
    if isinstance(where, (np.dtype, type)):
        raise DTypeError(f"to: it takes a device; write x.astype({where!r}) for other elements")
    target = backend.device(where)
    return self if self.device == target else _transfer(self, where=target, here=self.device)


Tensor.backward = _backward  # type: ignore[assignment, method-assign]
Tensor.to = _to  # type: ignore[assignment, method-assign]
