"""Memory of parameters, side by side, so that a step of all of them is one launch.

Where a parameter lies is a matter of the parameter, not of who optimizes it: it is laid down once,
and any number of optimizers work there. A parameter whose memory somebody else sees stays where it
is.
"""

import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from gputensor import backend
from gputensor.autograd import Leaf, Tensor, leaf_of, wrap
from gputensor.backend import Array

__all__ = ["Block", "Place", "array_of", "lay", "place_of"]

# Past the doors of recordings: whether a parameter has moved is no value that a function reads.
array_of = Tensor.__dict__["array"].__get__


class Block:
    """Values of parameters of one dtype and device, and their gradients, as flat arrays.

    To the kernels a complex number is two real ones.
    """

    __slots__ = ("grads", "values")

    def __init__(self, values: Array) -> None:
        # Tensors, so that a recording knows them.
        self.values = wrap(values)
        self.grads = wrap(backend.namespace(values).zeros(values.size, values.dtype))

    def take(self, parameter: Tensor, start: int, array: Array) -> None:
        """Note that a parameter's values are `array`, from `start` on, and give it its gradient."""
        leaf = leaf_of(parameter)
        assert leaf is not None
        stop = start + _numbers(array)
        with backend.on_device_of(array):
            grad, leaf.grad = leaf.grad, None
            dtype = array.dtype
            leaf.buffer = self.grads.array[start:stop].view(dtype).reshape(array.shape)
            if grad is not None:
                leaf.accumulate(grad.array, own=False)
        leaf.place = Place(self, start, stop, array)


class Place(NamedTuple):
    """Where a parameter is: numbers ``start`` to ``stop`` of a block; `array` is around them."""

    block: Block
    start: int
    stop: int
    array: Array


def _numbers(array: Array) -> int:
    """How many real numbers an array has."""
    pair = 2 if array.dtype.kind == "c" else 1
    return int(array.size) * pair


def place_of(parameter: Tensor) -> Place | None:
    """Where a parameter is; None if it has no place in a block, or has left it."""
    leaf = leaf_of(parameter)
    place: Place | None = None if leaf is None else leaf.place
    return place if place is not None and array_of(parameter) is place.array else None


def _references(t: Tensor) -> tuple[int, int]:
    array = array_of(t)
    base = array.base
    return sys.getrefcount(array), 0 if base is None else sys.getrefcount(base)


_ALONE = _references(wrap(np.empty(2)))[0], _references(wrap(np.empty(2).reshape(1, 2)))[1]


def _is_alone(parameter: Tensor) -> bool:
    """Whether nobody else has a parameter's memory: no array, detached tensor or saved value."""
    array = array_of(parameter)
    base = array.base
    if base is not None and (type(base) is not type(array) or base.base is not None):
        return False
    del array, base
    counts = _references(parameter)
    return counts[0] <= _ALONE[0] and counts[1] <= _ALONE[1]


def _may_stay(array: Array) -> bool:
    return bool(array.flags.c_contiguous) and getattr(array.flags, "writeable", True)


def lay(parameters: Iterable[Tensor]) -> None:
    """See that each parameter has a place; those that are free to move lie side by side.

    One that has a place gets another view of it, so that functions that were captured before, with
    another optimizer perhaps, are recorded anew.
    """
    apart: dict[tuple[Any, str], list[Tensor]] = {}
    for p in parameters:
        if (place := place_of(p)) is not None:
            p.array = place.array.view()
            leaf = leaf_of(p)
            assert leaf is not None
            leaf.place = place._replace(array=array_of(p))
            continue
        array = array_of(p)
        if not _may_stay(array):
            free = True
        else:
            del array
            free = _is_alone(p)
        if free:
            apart.setdefault((p.dtype, str(p.device)), []).append(p)
        else:
            array = array_of(p)
            with backend.on_device_of(array):
                flat = array.reshape(-1)
                Block(flat.view(_flat_dtype(array))).take(p, 0, array)
    for group in apart.values():
        _lay_together(group)


def _flat_dtype(array: Array) -> Any:
    return array.real.dtype if array.dtype.kind == "c" else array.dtype


def _lay_together(parameters: list[Tensor]) -> None:
    first = array_of(parameters[0])
    with backend.on_device_of(first):
        size = sum(_numbers(array_of(p)) for p in parameters)
        block = Block(backend.namespace(first).empty(size, _flat_dtype(first)))
        start = 0
        for p in parameters:
            array = array_of(p)
            stop = start + _numbers(array)
            view = block.values.array[start:stop].view(array.dtype).reshape(array.shape)
            view[...] = array
            p.array = view
            block.take(p, start, view)
            start = stop


def state_like(block: Block, size: int, fill: float = 0.0) -> Tensor:
    """Numbers of an optimizer's beside the values: float32 beside those of 16 bits."""
    values = block.values.array
    dtype = np.float32 if values.dtype.itemsize == 2 else values.dtype
    with backend.on_device_of(values):
        return wrap(backend.namespace(values).full(size, fill, dtype))


def checked(parameters: Iterable[Any]) -> list[Tensor]:
    """Parameters, each once, frozen ones too.

    Raises
    ------
    TypeError
        If one is no tensor, or computed, or has no gradient by its dtype.
    """
    if isinstance(parameters, Tensor):
        raise TypeError("parameters must be an iterable of tensors; write [x] for one tensor")
    found: dict[int, Tensor] = {}
    for i, p in enumerate(parameters):
        leaf, what = None, type(p).__name__
        if isinstance(p, Tensor):
            what = "one that was computed" if p._node is not None else f"one of {p.dtype}"
            leaf = leaf_of(p)
            if leaf is None and p._node is None and p.dtype.kind in "fcV":
                leaf = p._frozen = Leaf(array_of(p))  # frozen from the start
        if leaf is None:
            raise TypeError(
                f"parameters: item {i} must be a floating point tensor made with "
                f"requires_grad=True, not {what}"
            )
        found.setdefault(id(leaf), p)
    return list(found.values())
