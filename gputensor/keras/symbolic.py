"""Tensors without values: what ``keras.Input`` gives and layers are called with to make a model.

The shape of a layer's result is what the layer gives for zeros, so that layers need no formula for
it; lengths that are not known yet, None, are those that differ between two runs.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from gputensor import config
from gputensor.autograd import Tensor, no_grad
from gputensor.backend import Device
from gputensor.errors import GraphError
from gputensor.keras.naming import auto_name
from gputensor.ops.creation import zeros
from gputensor.tree import leaves, map_tree

__all__ = ["KerasTensor", "Node", "door", "item", "output_of", "symbolic"]

Shape = tuple[int | None, ...]


class Node:
    """A call of a layer: what came in and what went out.

    Attributes
    ----------
    layer : Layer
    args, kwargs : trees that hold :class:`KerasTensor`
    outputs : tree of KerasTensor
    """

    def __init__(self, layer: Any, args: Any, kwargs: Any, specs: Any) -> None:
        self.layer = layer
        self.args = args
        self.kwargs = kwargs
        self.outputs = map_tree(
            lambda spec: KerasTensor(spec.shape, spec.dtype, node=self, name=spec.name), specs
        )
        for i, t in enumerate(leaves(self.outputs)):
            t.index = i

    @property
    def inputs(self) -> "list[KerasTensor]":
        """The symbolic tensors that came in."""
        return [x for x in leaves((self.args, self.kwargs)) if isinstance(x, KerasTensor)]


class KerasTensor:
    """A tensor without values.

    Attributes
    ----------
    shape : tuple
        With None for the samples, and where it is not known yet.
    dtype : numpy.dtype
    node : Node or None
        The call that it came from.
    index : int
        Its place among the outputs.
    """

    def __init__(
        self, shape: Shape, dtype: Any = None, *, node: Node | None = None, name: str | None = None
    ) -> None:
        self.shape = tuple(shape)
        self.dtype = np.dtype(config.default_dtype() if dtype is None else dtype)
        self.node = node
        self.index = 0
        self.name = name or auto_name("keras_tensor")

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, name={self.name}>"

    def __bool__(self) -> bool:
        raise GraphError("a KerasTensor has no values: a model of keras.Input cannot branch on it")

    __array_ufunc__ = None  # arrays leave operators to the symbolic tensor on the right

    def __array__(self, *_args: Any, **_kwargs: Any) -> Any:
        raise GraphError(
            "a KerasTensor has no values. Put what computes with it into a layer, such as "
            "keras.layers.Lambda(function)"
        )

    def __iter__(self) -> Any:
        if not self.shape or self.shape[0] is None:
            raise GraphError("a KerasTensor cannot be iterated over: its length is not known")
        return (self[i] for i in range(self.shape[0]))

    def __getitem__(self, key: Any) -> "KerasTensor":
        found: KerasTensor = _operation(item)(self, key)
        return found


def item(x: Any, key: Any) -> Any:
    """``x[key]``."""
    return x[key]


def _operation(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors as a layer's call."""

    def call(*args: Any) -> Any:
        from gputensor.keras.layers.core import Operation

        return Operation(function)(*args)

    return call


def _swapped(operation: Callable[..., Any]) -> Callable[..., Any]:
    """The operation of which the symbolic tensor is on the right."""

    def call(x: Any, y: Any) -> Any:
        return operation(y, x)

    return call


for _name in ("add", "sub", "mul", "truediv", "pow", "matmul", "mod", "floordiv"):
    _of_two = _operation(getattr(operator, _name))
    setattr(KerasTensor, f"__{_name}__", _of_two)
    setattr(KerasTensor, f"__r{_name}__", _swapped(_of_two))
for _name in ("neg", "abs", "lt", "le", "gt", "ge"):
    setattr(KerasTensor, f"__{_name}__", _operation(getattr(operator, _name)))


def symbolic(*trees: Any) -> bool:
    """Whether a tree holds a tensor without values."""
    return any(isinstance(x, KerasTensor) for x in leaves(trees))


def door(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that makes a layer's call of itself where it is given symbolic tensors."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if symbolic(args, kwargs):
            from gputensor.keras.layers.core import Operation

            return Operation(function)(*args, **kwargs)
        return function(*args, **kwargs)

    return call


def output_of(layer: Any, args: Any, kwargs: Any) -> Any:
    """Outputs, without values, of a layer called with such."""
    given = [x for x in leaves((args, kwargs)) if isinstance(x, KerasTensor)]
    unknown = any(None in x.shape[1:] for x in given)
    first = _run(layer, args, kwargs, 1, 8)
    second = _run(layer, args, kwargs, 1, 11) if unknown else first
    batched = any(x.shape and x.shape[0] is None for x in given)

    def spec(one: Any, other: Any) -> KerasTensor:
        sizes = zip(one.shape, other.shape, strict=True)
        shape: list[int | None] = [a if a == b else None for a, b in sizes]
        if batched and shape:
            shape[0] = None
        return KerasTensor(tuple(shape), one.dtype)

    return Node(layer, args, kwargs, map_tree(spec, first, second)).outputs


def _run(layer: Any, args: Any, kwargs: Any, samples: int, length: int) -> Any:
    """What a layer gives for zeros."""
    place = _place_of(layer)

    def example(x: Any) -> Any:
        if not isinstance(x, KerasTensor):
            return x
        sizes = [length if n is None else n for n in x.shape]
        if x.shape and x.shape[0] is None:
            sizes[0] = samples
        return zeros(tuple(sizes), dtype=x.dtype, device=place)

    with no_grad(), np.errstate(all="ignore"):
        return layer(*map_tree(example, args), **map_tree(example, kwargs))


def _place_of(layer: Any) -> Device | None:
    for p in layer.parameters():
        if isinstance(p, Tensor):
            return p.device
    return None
