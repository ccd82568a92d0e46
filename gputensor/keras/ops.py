"""``keras.ops``: NumPy's functions, of tensors and of symbolic ones."""

import builtins
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from gputensor import ops
from gputensor.autograd import Tensor
from gputensor.keras import activations, losses
from gputensor.keras import images as image  # noqa: F401
from gputensor.keras.symbolic import KerasTensor, symbolic
from gputensor.nn import functional
from gputensor.ops import (
    creation,
    data_type,
    elementwise,
    linalg,
    manipulation,
    statistical,
    utility,
)
from gputensor.ops.choices import where
from gputensor.ops.indexing import take_along_axis
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


def top_k(x: Any, k: int, sorted: bool = True) -> tuple[Tensor, Tensor]:
    """The `k` largest along the last axis, and their places."""
    x = creation.asarray(x)
    places = ops.argsort(x, axis=-1, descending=True)[..., :k]
    return take_along_axis(x, places, axis=-1), data_type.astype(places, np.int32)


def in_top_k(targets: Any, predictions: Any, k: int) -> Tensor:
    """Whether the number of each target is among the `k` largest of its row."""
    _, places = top_k(predictions, k)
    return utility.any(
        places == manipulation.expand_dims(cast(targets, np.int32), axis=-1), axis=-1
    )


def size(x: Any) -> int:
    """Number of elements."""
    return creation.asarray(x).size


def ndim(x: Any) -> int:
    """Number of axes."""
    return len(x.shape) if isinstance(x, KerasTensor) else creation.asarray(x).ndim


def moments(x: Any, axes: Any, keepdims: bool = False, synchronized: bool = False) -> Any:
    """Mean and variance along axes."""
    x = creation.asarray(x)
    axes = tuple(axes) if isinstance(axes, (list, tuple)) else axes
    kept: dict[str, Any] = {"axis": axes, "keepdims": keepdims}
    return statistical.mean(x, **kept), statistical.var(x, **kept)


def ravel(x: Any) -> Tensor:
    """All elements along one axis."""
    return manipulation.reshape(creation.asarray(x), (-1,))


def identity(n: int, dtype: Any = None) -> Tensor:
    """1 on the diagonal of a matrix (n, n), else 0."""
    return creation.eye(n, dtype=np.float32 if dtype is None else dtype)


def average(x: Any, axis: Any = None, weights: Any = None) -> Tensor:
    """Mean, or weighted mean along `axis`."""
    x = creation.asarray(x)
    if weights is None:
        return mean(x, axis)
    weights = creation.asarray(weights)
    if weights.ndim < x.ndim:
        sizes = [n if i == axis % x.ndim else 1 for i, n in enumerate(x.shape)]
        weights = manipulation.reshape(weights, tuple(sizes))
    both = x * weights
    return statistical.sum(both, axis=axis) / statistical.sum(weights + 0 * x, axis=axis)


def slice(x: Any, start_indices: Any, shape: Any) -> Tensor:
    """The part of `x` that begins at an index and has a shape."""
    where = tuple(
        builtins.slice(int(i), int(i) + int(n)) for i, n in zip(start_indices, shape, strict=True)
    )
    found: Tensor = creation.asarray(x)[where]
    return found


def cond(pred: Any, true_fn: Any, false_fn: Any) -> Any:
    """What one of two functions gives; the condition is read by the host."""
    return true_fn() if bool(pred) else false_fn()


def divide_no_nan(x1: Any, x2: Any) -> Tensor:
    """``x1 / x2``, 0 where `x2` is 0."""
    above, below = creation.asarray(x1), creation.asarray(x2)
    none = below == 0
    found: Tensor = where(none, 0.0, above / where(none, 1.0, below))
    return found


_OWN: dict[str, Callable[..., Any]] = {
    "absolute": elementwise.abs,
    "arccos": elementwise.acos,
    "arccosh": elementwise.acosh,
    "arcsin": elementwise.asin,
    "arcsinh": elementwise.asinh,
    "arctan": elementwise.atan,
    "arctan2": elementwise.atan2,
    "arctanh": elementwise.atanh,
    "average": average,
    "cast": cast,
    "cond": cond,
    "concatenate": concatenate,
    "convert_to_numpy": convert_to_numpy,
    "convert_to_tensor": convert_to_tensor,
    "divide": elementwise.divide,
    "divide_no_nan": divide_no_nan,
    "identity": identity,
    "in_top_k": in_top_k,
    "mean": mean,
    "mod": elementwise.remainder,
    "moments": moments,
    "ndim": ndim,
    "norm": norm,
    "one_hot": one_hot,
    "ravel": ravel,
    "rsqrt": rsqrt,
    "shape": shape,
    "size": size,
    "slice": slice,
    "stop_gradient": stop_gradient,
    "top_k": top_k,
    "transpose": transpose,
    "true_divide": elementwise.divide,
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
        or name in ("shape", "ndim", "convert_to_numpy")
        or isinstance(function, type)
    ):
        return function
    found = door(function)
    globals()[name] = found
    return found
