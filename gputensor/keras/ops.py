"""``keras.ops``: NumPy's functions, of tensors and of symbolic ones."""

import builtins
import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from gputensor import ops
from gputensor.autograd import Tensor
from gputensor.keras import activations, losses
from gputensor.keras import images as image  # noqa: F401
from gputensor.keras.formats import checked_format
from gputensor.keras.symbolic import KerasTensor, door
from gputensor.nn import functional
from gputensor.ops import (
    creation,
    data_type,
    elementwise,
    linalg,
    manipulation,
    statistical,
    utility,
    windows,
)
from gputensor.ops.choices import where
from gputensor.ops.indexing import take_along_axis
from gputensor.ops.nn import log_softmax, logsumexp, softmax

__all__: list[str] = []


def _dense(function: str, **settings: Any) -> None:
    """Refuse sparse and ragged results."""
    for name, value in settings.items():
        if value:
            raise ValueError(f"{function}: {name} is {value!r}; there are dense tensors only")


def cast(x: Any, dtype: Any) -> Tensor:
    """`x` in another dtype."""
    return data_type.astype(creation.asarray(x), dtype)


def convert_to_tensor(x: Any, dtype: Any = None, sparse: Any = None, ragged: Any = None) -> Tensor:
    """Tensor of an array or a list."""
    _dense("convert_to_tensor", sparse=sparse, ragged=ragged)
    return creation.asarray(x, dtype=dtype)


def convert_to_numpy(x: Any) -> "np.ndarray[Any, Any]":
    """Copy on the host."""
    return x.detach().numpy() if isinstance(x, Tensor) else np.asarray(x)


def shape(x: Any) -> tuple[Any, ...]:
    """The lengths of `x`."""
    if isinstance(x, KerasTensor):
        return x.shape
    return creation.asarray(x).shape


def one_hot(
    x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False
) -> Tensor:
    """Rows along `axis`, of 0 with a 1 at the place that each number names."""
    _dense("one_hot", sparse=sparse)
    rows = functional.one_hot(cast(x, np.int64), num_classes)
    rows = data_type.astype(rows, np.float32 if dtype is None else dtype)
    return rows if axis in (-1, rows.ndim - 1) else manipulation.moveaxis(rows, -1, axis)


def concatenate(xs: Any, axis: int = 0) -> Tensor:
    """Tensors one behind the other."""
    return manipulation.concat([creation.asarray(x) for x in xs], axis=axis)


def transpose(x: Any, axes: Any = None) -> Tensor:
    """`x` with its axes in another order, by default backwards."""
    x = creation.asarray(x)
    return manipulation.permute_dims(x, tuple(range(x.ndim))[::-1] if axes is None else tuple(axes))


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Norm of vectors, or of matrices where `ord` is given for two axes, as NumPy's."""
    x = creation.asarray(x)
    axes = tuple(range(x.ndim)) if axis is None else axis
    if ord is None or isinstance(axes, int) or len(axes) == 1:
        return linalg.vector_norm(x, axis=axis, keepdims=keepdims, ord=2 if ord is None else ord)
    if len(axes) != 2:
        raise ValueError(f"norm: axis is {axis} of shape {x.shape}; with ord it must be one or two")
    found = linalg.matrix_norm(manipulation.moveaxis(x, axes, (-2, -1)), ord=ord)
    if not keepdims:
        return found
    return manipulation.expand_dims(found, axis=tuple(sorted(a % x.ndim for a in axes)))


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
    """Mean and variance along axes; `synchronized` ones, over all ranks, are refused."""
    if synchronized:
        raise ValueError(
            "moments: synchronized is True; means over all ranks are those of "
            "layers.BatchNormalization(synchronized=True), here it must be False"
        )
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


def normalize(x: Any, axis: int = -1, order: int = 2, epsilon: float | None = None) -> Tensor:
    """`x` over its norm along `axis`, or over a small number where the norm is smaller."""
    small = 1e-7 if epsilon is None else epsilon
    x = creation.asarray(x)
    if order == 2:
        whole = statistical.sum(elementwise.square(x), axis=axis, keepdims=True)
        found: Tensor = x / elementwise.sqrt(elementwise.maximum(whole, small))
        return found
    return functional.normalize(x, order, axis, small)


def gelu(x: Any, approximate: bool = True) -> Tensor:
    """``x * Phi(x)``; approximate by default, as this function of Keras, not its activation, is."""
    return activations.gelu(creation.asarray(x), approximate)


def round(x: Any, decimals: int = 0) -> Tensor:
    """To whole numbers, or to so many decimals."""
    if not decimals:
        return elementwise.round(x)
    scale = 10.0**decimals
    return elementwise.round(creation.asarray(x) * scale) / scale


def squeeze(x: Any, axis: Any = None) -> Tensor:
    """Without axes of length 1: all, or those given."""
    x = creation.asarray(x)
    if axis is None:
        axis = tuple(i for i, n in enumerate(x.shape) if n == 1)
    return manipulation.squeeze(x, axis=axis) if axis != () else x


def _bound(function: Any, x: Any, axis: Any, keepdims: bool, initial: Any, other: Any) -> Tensor:
    found: Tensor = function(x, axis=axis, keepdims=keepdims)
    return found if initial is None else creation.asarray(other(found, initial))


def amax(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Tensor:
    """The largest element, and `initial`."""
    return _bound(statistical.max, x, axis, keepdims, initial, elementwise.maximum)


def amin(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Tensor:
    """The smallest element, and `initial`."""
    return _bound(statistical.min, x, axis, keepdims, initial, elementwise.minimum)


def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """Numbers with equal steps."""
    if axis != 0:
        raise ValueError(f"linspace: axis is {axis}; only 0 is supported")
    found = creation.linspace(start, stop, num, endpoint=endpoint, dtype=dtype)
    return (found, (stop - start) / (num - endpoint)) if retstep else found


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Tensor:
    """1 on a diagonal, else 0."""
    return creation.eye(N, M, k=k, dtype=np.float32 if dtype is None else dtype)


def copy(x: Any) -> Tensor:
    """The same numbers in memory of their own."""
    return creation.asarray(x) + 0


def is_tensor(x: Any) -> bool:
    """Whether an object is a tensor."""
    return isinstance(x, (Tensor, KerasTensor))


def dtype(x: Any) -> str:
    """Name of the dtype."""
    return str(x.dtype)


def flipud(x: Any) -> Tensor:
    """Rows in the opposite order."""
    return manipulation.flip(creation.asarray(x), axis=0)


def fliplr(x: Any) -> Tensor:
    """Columns in the opposite order."""
    return manipulation.flip(creation.asarray(x), axis=1)


def append(x1: Any, x2: Any, axis: int | None = None) -> Tensor:
    """One behind the other; as one row by default."""
    if axis is None:
        return concatenate([ravel(x1), ravel(x2)])
    return concatenate([x1, x2], axis)


def fori_loop(lower: int, upper: int, body_fun: Any, init_val: Any) -> Any:
    """``init_val = body_fun(i, init_val)`` for each i."""
    for i in range(int(lower), int(upper)):
        init_val = body_fun(i, init_val)
    return init_val


def while_loop(cond: Any, body: Any, loop_vars: Any, maximum_iterations: int | None = None) -> Any:
    """``loop_vars = body(*loop_vars)`` as long as ``cond(*loop_vars)`` is true for the host."""
    several = isinstance(loop_vars, (list, tuple))
    state = tuple(loop_vars) if several else (loop_vars,)
    count = 0
    while bool(cond(*state)) and (maximum_iterations is None or count < maximum_iterations):
        found = body(*state)
        state = tuple(found) if isinstance(found, (list, tuple)) else (found,)
        count += 1
    return state if several else state[0]


def map(f: Any, xs: Any) -> Any:
    """Results of a function of each row, as one tensor."""
    return manipulation.stack([f(x) for x in creation.asarray(xs)], axis=0)


def switch(index: Any, branches: Any, *operands: Any) -> Any:
    """What one of several functions gives; the number is read by the host."""
    i = builtins.min(builtins.max(int(index), 0), len(branches) - 1)
    return branches[i](*operands)


def slice_update(inputs: Any, start_indices: Any, updates: Any) -> Tensor:
    """`inputs` with `updates` from an index on."""
    made, new = copy(inputs), creation.asarray(updates)
    place = tuple(
        builtins.slice(int(i), int(i) + n) for i, n in zip(start_indices, new.shape, strict=True)
    )
    made[place] = new
    return made


def _spatial(x: Any, axes: Any) -> tuple[Tensor, tuple[int, ...]]:
    x = creation.asarray(x)
    sizes = tuple(axes) if isinstance(axes, (list, tuple)) else (axes,) * (x.ndim - 2)
    return x, sizes


def _pooled(kind: Any, inputs: Any, pool_size: Any, strides: Any, padding: str) -> Tensor:
    x, size = _spatial(inputs, pool_size)
    _, step = _spatial(inputs, size if strides is None else strides)
    if x.ndim == 3:
        flat = manipulation.expand_dims(x, axis=1)
        found: Tensor = kind(flat, (1, *size), (1, *step), padding)[:, 0]
        return found
    made: Tensor = kind(x, size, step, padding)
    return made


def _in_format(
    name: str, function: Callable[[Tensor], Tensor], inputs: Any, data_format: str | None
) -> Tensor:
    """A function of channels last, of inputs in either format."""
    x = creation.asarray(inputs)
    if checked_format(name, data_format) == "channels_last":
        return function(x)
    return manipulation.moveaxis(function(manipulation.moveaxis(x, 1, -1)), -1, 1)


def max_pool(
    inputs: Any,
    pool_size: Any,
    strides: Any = None,
    padding: str = "valid",
    data_format: str | None = None,
) -> Tensor:
    """The largest element of each window of sequences or images."""

    def pool(x: Tensor) -> Tensor:
        return _pooled(windows.largest_pool, x, pool_size, strides, padding)

    return _in_format("max_pool", pool, inputs, data_format)


def average_pool(
    inputs: Any,
    pool_size: Any,
    strides: Any = None,
    padding: str = "valid",
    data_format: str | None = None,
) -> Tensor:
    """The mean of each window of sequences or images."""

    def pool(x: Tensor) -> Tensor:
        return _pooled(windows.average_pool, x, pool_size, strides, padding)

    return _in_format("average_pool", pool, inputs, data_format)


def conv(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> Tensor:
    """Convolution of sequences or images with a kernel (..., channels, filters)."""

    def convolved(x: Tensor) -> Tensor:
        return _convolved(x, kernel, strides, padding, dilation_rate)

    return _in_format("conv", convolved, inputs, data_format)


def _convolved(inputs: Any, kernel: Any, strides: Any, padding: str, dilation_rate: Any) -> Tensor:
    x, step = _spatial(inputs, strides)
    _, spread = _spatial(inputs, dilation_rate)
    k = creation.asarray(kernel)
    groups = x.shape[-1] // k.shape[-2]
    if x.ndim == 3:
        x, k = manipulation.expand_dims(x, axis=1), manipulation.expand_dims(k, axis=0)
        step, spread = (1, *step), (1, *spread)
        options: dict[str, Any] = {"stride": step, "dilation": spread, "groups": groups}
        found: Tensor = windows.convolve(x, k, padding=padding, **options)[:, 0]
        return found
    options = {"stride": step, "dilation": spread, "groups": groups}
    return windows.convolve(x, k, padding=padding, **options)


# What to use for names of Keras that are not there, where that is not plain.
_INSTEAD = {
    "associative_scan": "cumsum, cumprod, or a loop",
    "ctc_decode": "a cross-entropy of aligned labels",
    "ctc_loss": "a cross-entropy of aligned labels",
    "custom_gradient": "gputensor.custom_vjp",
    "jvp": "gputensor.jvp",
    "scan": "a loop in Python",
    "vectorized_map": "keras.ops.map",
    "vectorize": "keras.ops.map",
    "unfold": "gputensor.torch.nn.functional.unfold",
    "fold": "gputensor.torch.nn.functional.fold",
}
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
    **dict.fromkeys(("amax", "max"), amax),
    **dict.fromkeys(("amin", "min"), amin),
    "append": append,
    "average_pool": average_pool,
    "conjugate": elementwise.conj,
    "conv": conv,
    "copy": copy,
    "dtype": dtype,
    "eye": eye,
    "fliplr": fliplr,
    "flipud": flipud,
    "fori_loop": fori_loop,
    "is_tensor": is_tensor,
    "linspace": linspace,
    "map": map,
    "max_pool": max_pool,
    "round": round,
    "slice_update": slice_update,
    "squeeze": squeeze,
    "switch": switch,
    "while_loop": while_loop,
    "array": convert_to_tensor,
    "power": elementwise.pow,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "logsumexp": logsumexp,
    "normalize": normalize,
    "binary_crossentropy": losses.binary_crossentropy,
    "categorical_crossentropy": losses.categorical_crossentropy,
    "sparse_categorical_crossentropy": losses.sparse_categorical_crossentropy,
    **{name: getattr(activations, name) for name in activations.__all__ if name[0] != "_"},
    "gelu": gelu,
}


# Parameters in Keras's order, of functions that take them otherwise: "/" marks those that go by
# position, the others go by name.
_FORMS: dict[str, str] = {
    **dict.fromkeys(
        (
            *("all", "any", "prod", "std", "var", "sum", "median"),
            *("argmax", "argmin", "logsumexp", "mean"),
        ),
        "x/ axis keepdims",
    ),
    **dict.fromkeys(
        (
            *("add", "arctan2", "divide", "equal", "floor_divide", "greater", "greater_equal"),
            *("hypot", "less", "less_equal", "logaddexp", "logical_and", "logical_or"),
            *("logical_xor", "matmul", "maximum", "minimum", "mod", "multiply", "nextafter"),
            *("not_equal", "power", "subtract", "true_divide", "cross", "vdot", "kron", "outer"),
        ),
        "x1/ x2/",
    ),
    **dict.fromkeys(("zeros", "ones", "empty"), "shape/ dtype"),
    **dict.fromkeys(("zeros_like", "ones_like", "empty_like"), "x/ dtype"),
    **dict.fromkeys(("tril", "triu"), "x/ k"),
    "arange": "start/ stop/ step/ dtype",
    "clip": "x/ x_min/ x_max/",
    "diff": "a/ n axis",
    "full": "shape/ fill_value/ dtype",
    "full_like": "x/ fill_value/ dtype",
    "nan_to_num": "x/ nan posinf neginf",
    "pad": "x/ pad_width/ mode/ constant_values",
    "reshape": "x/ newshape/",
    "searchsorted": "sorted_sequence/ values/ side",
    "split": "x/ indices_or_sections/ axis",
    "tensordot": "x1/ x2/ axes",
    "tile": "x/ repeats/",
    "where": "condition/ x1/ x2/",
}


def _in_keras_form(function: Callable[..., Any], form: str) -> Callable[..., Any]:
    """A function that takes its arguments in Keras's order, and by Keras's names."""
    names = [part.rstrip("/") for part in form.split()]
    placed = [part.rstrip("/") for part in form.split() if part.endswith("/")]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = dict(zip(names, args, strict=False)) | kwargs
        if len(args) > len(names):
            raise TypeError(
                f"{function.__name__}: it takes {len(names)} arguments at most, {', '.join(names)}"
            )
        front = [given.pop(name) for name in placed if name in given]
        return function(*front, **given)

    return call


def __getattr__(name: str) -> Any:
    """The function of that name, Keras's or else gputensor's own."""
    if name in ("nn", "numpy"):  # parts of Keras's, all of whose functions are here
        return sys.modules[__name__]
    function = _OWN.get(name)
    if function is None and name in ops.__all__:
        function = getattr(ops, name)
    if function is None and name in linalg.__all__:
        function = getattr(linalg, name)
    if function is None:
        hint = _INSTEAD.get(name, "gputensor's own functions, or a Lambda layer with them")
        raise AttributeError(
            f"module 'gputensor.keras.ops' has no attribute {name!r}; use {hint}", name=name
        )
    found = globals()[name] = _door_of(name, function)
    return found


def _door_of(name: str, function: Any) -> Any:
    """A function with Keras's arguments, which takes symbolic tensors, too."""
    plain = name in ("shape", "ndim", "convert_to_numpy", "is_tensor", "dtype")
    if plain or not callable(function) or isinstance(function, type):
        return function
    return door(_in_keras_form(function, _FORMS[name]) if name in _FORMS else function)


# Names that are functions of this file, or imported, are not asked for by __getattr__.
globals().update(
    {
        name: _door_of(name, _OWN.get(name, globals()[name]))
        for name in (*_OWN, "take_along_axis", "where")
        if name in globals()
    }
)
