"""``keras.backend``: the array functions of older scripts, by their names."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gputensor import config
from gputensor.autograd import Tensor, changed
from gputensor.keras import losses, naming
from gputensor.keras import ops as kops
from gputensor.keras.symbolic import door
from gputensor.ops import (
    choices,
    creation,
    elementwise,
    manipulation,
    products,
    searching,
    statistical,
    utility,
)
from gputensor.random import default_generator

__all__ = [
    "backend",
    "clear_session",
    "epsilon",
    "floatx",
    "get_value",
    "image_data_format",
    "set_floatx",
    "set_image_data_format",
    "set_value",
]


def backend() -> str:
    """Name of what computes: gputensor."""
    return "gputensor"


def clear_session(free_memory: bool = True) -> None:
    """Begin again with the first names of layers."""
    naming.forget()


def epsilon() -> float:
    """The small number of Keras's formulas, 1e-7."""
    return 1e-7


def floatx() -> str:
    """Name of the default floating point dtype."""
    return str(config.default_dtype())


def set_floatx(dtype: str) -> None:
    """Set the default floating point dtype."""
    config.set_default_dtype(dtype)


def image_data_format() -> str:
    """Order of an image's axes: channels come last."""
    return "channels_last"


def set_image_data_format(data_format: str) -> None:
    """Refuse all but ``channels_last``."""
    if data_format != "channels_last":
        raise ValueError(
            f"set_image_data_format: got {data_format!r}; only 'channels_last' is supported"
        )


def get_value(x: Any) -> Any:
    """Copy on the host; a setting of an optimizer as it is."""
    if isinstance(x, Tensor):
        return x.detach().numpy().copy()
    return x


eval = get_value


def set_value(x: Any, value: Any) -> None:
    """Write values into a tensor.

    Raises
    ------
    TypeError
        If `x` is none: what was a variable in Keras, such as a learning rate, is a number here.
    """
    if not isinstance(x, Tensor):
        raise TypeError(
            "set_value: it takes a tensor; an optimizer's settings are set as attributes, for "
            "example optimizer.learning_rate = 0.01"
        )
    x.array[...] = creation.asarray(value, dtype=x.dtype, device=x.device).array
    changed(x.array, "set_value")


def get_uid(prefix: str = "") -> int:
    """The next number for a name."""
    name = naming.auto_name(prefix)
    return int(name.rpartition("_")[2]) + 1 if name[-1].isdigit() else 1


def _int_shape(x: Any) -> tuple[Any, ...]:
    return tuple(x.shape)


def _dot(x: Any, y: Any) -> Tensor:
    return products.matmul(x, y) if y.ndim < 3 else products.tensordot(x, y, axes=((-1,), (-2,)))


def _batch_dot(x: Any, y: Any, axes: Any = None) -> Tensor:
    from gputensor.keras.layers.merging import Dot

    if axes is None:
        axes = (x.ndim - 1, max(y.ndim - 2, 1))
    found: Tensor = Dot(axes)([x, y])
    return found


def _random(kind: str) -> Callable[..., Tensor]:
    def draw(shape: Any, a: float, b: float, dtype: Any) -> Tensor:
        function = getattr(default_generator, kind)
        found: Tensor = function(a, b, tuple(int(n) for n in shape), dtype=dtype)
        return found

    if kind == "normal":
        return lambda shape, mean=0.0, stddev=1.0, dtype=None, seed=None: draw(
            shape, mean, stddev, dtype
        )
    return lambda shape, minval=0.0, maxval=1.0, dtype=None, seed=None: draw(
        shape, minval, maxval, dtype
    )


def _binary_each(target: Any, output: Any, from_logits: bool = False) -> Tensor:
    """Of each element, not the mean over the last axis."""
    return losses._binary("binary_crossentropy", target, output, from_logits, 0.0)[2]


def _batch_flatten(x: Any) -> Tensor:
    return manipulation.reshape(x, (x.shape[0], -1))


def _standard(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return statistical.std(x, axis=axis, keepdims=keepdims)


def _variance(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    return statistical.var(x, axis=axis, keepdims=keepdims)


def _clip(x: Any, min_value: Any, max_value: Any) -> Tensor:
    return choices.clip(x, min_value, max_value)


def _in_train_phase(x: Any, alt: Any, training: bool | None = None) -> Any:
    chosen = x if training else alt
    return chosen() if callable(chosen) else chosen


def _variable(
    value: Any, dtype: Any = None, name: str | None = None, constraint: Any = None
) -> Tensor:
    if constraint is not None:
        raise ValueError("variable: a constraint is that of a layer's add_weight; here it is None")
    return creation.parameter(
        creation.asarray(np.array(value), dtype=dtype or config.default_dtype()).array
    )


def _constant(value: Any, dtype: Any = None, shape: Any = None, name: str | None = None) -> Tensor:
    found = creation.asarray(value, dtype=dtype or config.default_dtype())
    return found if shape is None else manipulation.broadcast_to(found, tuple(shape))


_DOORS: dict[str, Callable[..., Any]] = {
    "abs": elementwise.abs,
    "all": utility.all,
    "any": utility.any,
    "arange": creation.arange,
    "argmax": searching.argmax,
    "argmin": searching.argmin,
    "batch_dot": _batch_dot,
    "batch_flatten": _batch_flatten,
    "binary_crossentropy": _binary_each,
    "cast": kops.cast,
    "categorical_crossentropy": losses.categorical_crossentropy,
    "clip": _clip,
    "concatenate": kops.concatenate,
    "constant": _constant,
    "cos": elementwise.cos,
    "cumsum": kops.__getattr__("cumsum"),
    "dot": _dot,
    "equal": choices.equal,
    "exp": elementwise.exp,
    "expand_dims": lambda x, axis=-1: manipulation.expand_dims(x, axis=axis),
    "eye": creation.eye,
    "flatten": manipulation.flatten,
    "greater": choices.greater,
    "greater_equal": choices.greater_equal,
    "in_train_phase": _in_train_phase,
    "l2_normalize": kops.__getattr__("normalize"),
    "less": choices.less,
    "less_equal": choices.less_equal,
    "log": elementwise.log,
    "logsumexp": kops.__getattr__("logsumexp"),
    "max": statistical.max,
    "maximum": elementwise.maximum,
    "mean": kops.mean,
    "min": statistical.min,
    "minimum": elementwise.minimum,
    "not_equal": choices.not_equal,
    "one_hot": kops.one_hot,
    "ones": creation.ones,
    "ones_like": creation.ones_like,
    "permute_dimensions": kops.transpose,
    "pow": elementwise.pow,
    "prod": statistical.prod,
    "random_normal": _random("normal"),
    "random_uniform": _random("uniform"),
    "reshape": manipulation.reshape,
    "reverse": lambda x, axes: manipulation.flip(x, axis=axes),
    "round": elementwise.round,
    "sign": elementwise.sign,
    "sin": elementwise.sin,
    "sparse_categorical_crossentropy": losses.sparse_categorical_crossentropy,
    "sqrt": elementwise.sqrt,
    "square": elementwise.square,
    "squeeze": manipulation.squeeze,
    "stack": manipulation.stack,
    "std": _standard,
    "stop_gradient": kops.stop_gradient,
    "sum": statistical.sum,
    "switch": choices.where,
    "tile": manipulation.tile,
    "transpose": kops.transpose,
    "var": _variance,
    "variable": _variable,
    "zeros": creation.zeros,
    "zeros_like": creation.zeros_like,
    **{
        name: kops.__getattr__(name)
        for name in ("elu", "hard_sigmoid", "relu", "sigmoid", "softmax", "softplus", "softsign")
    },
    "tanh": elementwise.tanh,
}
int_shape = _int_shape
shape = kops.shape


def ndim(x: Any) -> int:
    """Number of axes."""
    return len(x.shape)


def __getattr__(name: str) -> Any:
    if name not in _DOORS:
        raise AttributeError(
            f"module 'gputensor.keras.backend' has no attribute {name!r}; keras.ops has NumPy's "
            "functions",
            name=name,
        )
    found = globals()[name] = door(_DOORS[name])
    return found
