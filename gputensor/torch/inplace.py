"""Changes in place: ``x.add_(y)``, made of the functions that give a new tensor.

The result of the function is put into the tensor by the engine's ``x[...] = result``, which keeps
the tape right or refuses.
"""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from gputensor import backend, ops
from gputensor import random as engine_random
from gputensor.autograd import Leaf
from gputensor.autograd import Tensor as Engine
from gputensor.errors import DTypeError, GraphError, ShapeError
from gputensor.ops.inplace import setitem
from gputensor.torch.dtypes import can_cast, category_of
from gputensor.torch.tensor import ours

__all__ = ["augmented", "setting", "take_place", "write", "written"]


def write(name: str, x: Any, value: Any) -> Any:
    """Put `value` into `x`, in its dtype; `x` itself."""
    if isinstance(value, Engine):
        have, want = value.array.dtype, x.array.dtype
        if have != want:
            if not can_cast(have, want):
                raise DTypeError(f"{name}: the result is {have}, the tensor stays {want}")
            value = ops.astype(value, want)
        if value.array.shape != x.array.shape:
            raise ShapeError(
                f"{name}: the result has shape {value.array.shape}, the tensor {x.array.shape}"
            )
    setitem(x, ..., value)
    return x


def take_place(name: str, x: Any, value: Any) -> Any:
    """Give `x` the elements of `value`: in its memory, or where the tape needs that in another.

    An operation before may have saved the memory for its gradient, as normalization does. Then `x`
    itself is the result, as in PyTorch; others that share its old memory keep the old elements.
    """
    try:
        return write(name, x, value)
    except GraphError:
        if isinstance(x._node, Leaf) or x.array.shape != value.array.shape:
            raise
        x.array, x._node = value.array, value._node
        return x


def _changing(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **options: Any) -> Any:
        return write(name, self, function(self, *args, **options))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"``{name[:-1]}`` in place; the tensor itself."
    return method


def copy_(self: Any, src: Any, non_blocking: bool = False) -> Any:
    """Take the elements of another tensor, in this one's dtype; they are broadcast."""
    if not isinstance(src, Engine):
        src = ops.asarray(src, device=self.device)
    if src.array.dtype != self.array.dtype:
        src = ops.astype(src, self.array.dtype)
    here = backend.device_of(self.array)
    if backend.device_of(src.array) != here:
        src = Engine.to(src, here)
    setitem(self, ..., src)
    return self


def fill_(self: Any, value: Any) -> Any:
    """The same number everywhere."""
    if isinstance(value, Engine):
        return copy_(self, value)
    if self.array.dtype.kind in "biu" and category_of(value) == 2:
        value = int(value)
    setitem(self, ..., value)
    return self


def zero_(self: Any) -> Any:
    """Zeros everywhere."""
    setitem(self, ..., 0)
    return self


def _random(draw: Callable[..., Any], name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, generator: Any = None, **options: Any) -> Any:
        source = engine_random.default_generator if generator is None else generator
        place = {"shape": tuple(self.array.shape), "device": self.device}
        return copy_(self, draw(source, self, place, *args, **options))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = "Random numbers everywhere; the tensor itself."
    return method


def _uniform(g: Any, x: Any, place: Any, a: float = 0.0, b: float = 1.0, **named: float) -> Any:
    low, high = named.get("from", a), named.get("to", b)
    return g.uniform(float(low), float(high), dtype=x.array.dtype, **place)


def _normal(g: Any, x: Any, place: Any, mean: float = 0.0, std: float = 1.0) -> Any:
    return g.normal(mean, std, dtype=x.array.dtype, **place)


def _integers(g: Any, x: Any, place: Any, *bounds: int) -> Any:
    if not bounds:
        bounds = (0, 1 << {"float32": 24, "float64": 53}.get(x.array.dtype.name, 31))
    return g.integers(*bounds, **place)


def _bernoulli(g: Any, x: Any, place: Any, p: Any = 0.5) -> Any:
    return g.bernoulli(p, dtype=x.array.dtype, **place)


def _exponential(g: Any, x: Any, place: Any, lambd: float = 1.0) -> Any:
    return g.exponential(1 / lambd, dtype=x.array.dtype, **place)


def fill_diagonal_(self: Any, fill_value: Any) -> Any:
    """The same number all along the diagonal."""
    places = np.arange(min(self.array.shape))
    setitem(self, (places, places), fill_value)
    return self


def setting(self: Any, key: Any, value: Any) -> None:
    """``x[key] = value``; the value is taken in the dtype of `x`."""
    if not isinstance(value, Engine) and not isinstance(value, (bool, int, float, complex)):
        value = ops.asarray(value, device=self.device)
    if isinstance(value, Engine):
        if value.array.dtype != self.array.dtype:
            value = ops.astype(value, self.array.dtype)
    elif self.array.dtype.kind in "biu" and isinstance(value, float):
        value = int(value)
    setitem(self, key, value)


def written(functions: dict[str, Any]) -> dict[str, Any]:
    """Methods in place, by name, of the functions that there are."""
    return {
        **{f"{name}_": _changing(f"{name}_", functions[name]) for name in _NAMES},
        "copy_": copy_,
        "fill_": fill_,
        "zero_": zero_,
        "fill_diagonal_": fill_diagonal_,
        "uniform_": _random(_uniform, "uniform_"),
        "normal_": _random(_normal, "normal_"),
        "random_": _random(_integers, "random_"),
        "bernoulli_": _random(_bernoulli, "bernoulli_"),
        "exponential_": _random(_exponential, "exponential_"),
    }


_NAMES = [
    "abs",
    "absolute",
    "acos",
    "add",
    "addcdiv",
    "addcmul",
    "asin",
    "atan",
    "atan2",
    "ceil",
    "clamp",
    "clip",
    "copysign",
    "cos",
    "cosh",
    "cumprod",
    "cumsum",
    "deg2rad",
    "digamma",
    "div",
    "divide",
    "eq",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "exp2",
    "expm1",
    "fix",
    "floor",
    "floor_divide",
    "fmod",
    "frac",
    "ge",
    "gt",
    "hypot",
    "index_add",
    "index_copy",
    "index_fill",
    "le",
    "lerp",
    "lgamma",
    "log",
    "log10",
    "log1p",
    "log2",
    "logit",
    "lt",
    "masked_fill",
    "mul",
    "multiply",
    "nan_to_num",
    "ne",
    "neg",
    "negative",
    "pow",
    "rad2deg",
    "reciprocal",
    "relu",
    "remainder",
    "round",
    "rsqrt",
    "scatter",
    "scatter_add",
    "sigmoid",
    "sign",
    "sin",
    "sinc",
    "sinh",
    "sqrt",
    "square",
    "sub",
    "subtract",
    "tan",
    "tanh",
    "tril",
    "triu",
    "true_divide",
    "trunc",
    "logical_not",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "logical_and",
    "logical_or",
    "logical_xor",
    "addmm",
]


def _whole(x: Any) -> bool:
    """Whether a tensor is all of its memory, not a part that others look at."""
    base = getattr(x.array, "base", None)
    return base is None or getattr(base, "size", None) == x.array.size


def augmented(symbol: str) -> Callable[..., Any]:
    """An operator such as ``+=``: in the memory of its operand, or where the tape needs that in
    another, as activations with ``inplace=True`` do.
    """
    name = symbol.strip("_")[1:]
    inside, outside = getattr(Engine, f"__i{name}__"), getattr(operator, name)

    def method(self: Any, other: Any) -> Any:
        try:
            return ours(inside(self, other))
        except GraphError:
            if isinstance(self._node, Leaf) or not _whole(self):
                raise
            made = outside(self, other)
            if made.array.shape != self.array.shape or made.array.dtype != self.array.dtype:
                raise
            self.array, self._node = made.array, made._node
            return self

    return method
