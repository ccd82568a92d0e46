"""``keras.ops``: NumPy's functions, of tensors and of symbolic ones."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from gputensor import ops
from gputensor.autograd import Tensor
from gputensor.keras import activations, losses
from gputensor.keras.symbolic import KerasTensor, symbolic
from gputensor.nn import functional
from gputensor.ops import creation, data_type, elementwise, linalg, manipulation, statistical
from gputensor.ops.nn import log_softmax, logsumexp, softmax

__all__ = ["door"]


def door(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that makes a layer's call of itself where it is given symbolic tensors."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if symbolic(args, kwargs):
            from gputensor.keras.layers.core import Operation

            return Operation(function)(*args, **kwargs)
        return function(*args, **kwargs)

    return call


def cast(x: Any, dtype: Any) -> Tensor:
    """`x` in another dtype."""
    return data_type.astype(creation.asarray(x), dtype)


def convert_to_tensor(x: Any, dtype: Any = None, sparse: Any = None, ragged: Any = None) -> Tensor:
    """Tensor of an array or a list."""
    return creation.asarray(x, dtype=dtype)


def convert_to_numpy(x: Any) -> "np.ndarray[Any, Any]":
    """Copy on the host."""
    return x.detach().numpy() if isinstance(x, Tensor) else np.asarray(x)


def shape(x: Any) -> tuple[Any, ...]:
    """The lengths of `x`."""
    if isinstance(x, KerasTensor):
        return x.shape
    return creation.asarray(x).shape


def one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None, **_: Any) -> Tensor:
    """Rows of 0 with a 1 at the place that each number names."""
    rows = functional.one_hot(cast(x, np.int64), num_classes)
    return data_type.astype(rows, np.float32 if dtype is None else dtype)


def concatenate(xs: Any, axis: int = 0) -> Tensor:
    """Tensors one behind the other."""
    return manipulation.concat([creation.asarray(x) for x in xs], axis=axis)


def transpose(x: Any, axes: Any = None) -> Tensor:
    """`x` with its axes in another order, by default backwards."""
    x = creation.asarray(x)
    return manipulation.permute_dims(x, tuple(range(x.ndim))[::-1] if axes is None else tuple(axes))


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Norm of vectors."""
    return linalg.vector_norm(x, axis=axis, keepdims=keepdims, ord=2 if ord is None else ord)


def stop_gradient(x: Any) -> Tensor:
    """`x`, through which no gradient passes."""
    return creation.asarray(x).detach()


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Mean, of integers too."""
    x = creation.asarray(x)
    if x.dtype.kind not in "fVc":
        x = data_type.astype(x, np.float32)
    return statistical.mean(x, axis=axis, keepdims=keepdims)


def rsqrt(x: Any) -> Tensor:
    """``1 / sqrt(x)``."""
    return 1 / elementwise.sqrt(x)


_OWN: dict[str, Callable[..., Any]] = {
    "cast": cast,
    "concatenate": concatenate,
    "convert_to_numpy": convert_to_numpy,
    "convert_to_tensor": convert_to_tensor,
    "divide": elementwise.divide,
    "mean": mean,
    "norm": norm,
    "one_hot": one_hot,
    "rsqrt": rsqrt,
    "shape": shape,
    "stop_gradient": stop_gradient,
    "transpose": transpose,
    "amax": statistical.max,
    "amin": statistical.min,
    "array": convert_to_tensor,
    "power": elementwise.pow,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "logsumexp": logsumexp,
    "normalize": functional.normalize,
    "binary_crossentropy": losses.binary_crossentropy,
    "categorical_crossentropy": losses.categorical_crossentropy,
    "sparse_categorical_crossentropy": losses.sparse_categorical_crossentropy,
    **{name: getattr(activations, name) for name in activations.__all__ if name[0] != "_"},
}


def __getattr__(name: str) -> Any:
    """The function of that name, Keras's or else gputensor's own."""
    function = _OWN.get(name)
    if function is None and name in ops.__all__:
        function = getattr(ops, name)
    if function is None:
        raise AttributeError(f"module 'gputensor.keras.ops' has no attribute {name!r}", name=name)
    if (
        not callable(function)
        or name in ("shape", "convert_to_numpy")
        or isinstance(function, type)
    ):
        return function
    found = door(function)
    globals()[name] = found
    return found
