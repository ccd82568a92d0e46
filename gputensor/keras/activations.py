"""Activations by Keras's names."""

import functools
from collections.abc import Callable
from typing import Any

from gputensor.autograd import Tensor
from gputensor.keras.symbolic import KerasTensor
from gputensor.nn import functional
from gputensor.ops.choices import clip, where
from gputensor.ops.creation import arange
from gputensor.ops.elementwise import abs as absolute
from gputensor.ops.elementwise import exp, maximum, minimum, sqrt
from gputensor.ops.elementwise import relu as plain_relu
from gputensor.ops.manipulation import moveaxis
from gputensor.ops.nn import ACTIVATIONS
from gputensor.ops.sorting import sort
from gputensor.ops.statistical import cumulative_sum
from gputensor.ops.statistical import sum as total

__all__ = [
    "celu",
    "deserialize",
    "elu",
    "exponential",
    "gelu",
    "get",
    "glu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "serialize",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "swish",
    "tanh",
    "tanh_shrink",
    "threshold",
]

celu = functional.celu
elu = functional.elu
glu = functional.glu
hard_sigmoid = functional.hardsigmoid
hard_silu = hard_swish = functional.hardswish
hard_tanh = functional.hardtanh
log_sigmoid = functional.log_sigmoid
log_softmax = functional.log_softmax
mish = functional.mish
relu6 = functional.relu6
selu = functional.selu
sigmoid = functional.sigmoid
silu = swish = functional.silu
softmax = functional.softmax
softplus = functional.softplus
softsign = functional.softsign
tanh = functional.tanh
tanh_shrink = functional.tanhshrink


def linear(x: Tensor) -> Tensor:
    """`x` itself.

    Examples
    --------
    >>> keras.activations.linear(gt.tensor([-1.0]))
    tensor([-1.], dtype=float32)
    """
    return x


def exponential(x: Tensor) -> Tensor:
    """``exp(x)``.

    Examples
    --------
    >>> keras.activations.exponential(gt.tensor([0.0]))
    tensor([1.], dtype=float32)
    """
    return exp(x)


def gelu(x: Tensor, approximate: bool = False) -> Tensor:
    """``x * Phi(x)``.

    Examples
    --------
    >>> keras.activations.gelu(gt.tensor([1.0]))
    tensor([0.8413447], dtype=float32)
    """
    return functional.gelu(x, approximate)


def leaky_relu(x: Tensor, negative_slope: float = 0.2) -> Tensor:
    """`x` above 0, ``negative_slope * x`` below.

    Examples
    --------
    >>> keras.activations.leaky_relu(gt.tensor([-1.0]))
    tensor([-0.2], dtype=float32)
    """
    return functional.leaky_relu(x, negative_slope)


def relu(
    x: Tensor,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    threshold: float = 0.0,
) -> Tensor:
    """`x` above `threshold`, `max_value` at most; ``negative_slope * (x - threshold)`` below.

    Examples
    --------
    >>> keras.activations.relu(gt.tensor([-1.0, 9.0]), max_value=6)
    tensor([0., 6.], dtype=float32)
    """
    if not negative_slope and not threshold:
        y = plain_relu(x)
    elif not negative_slope:
        y = where(x > threshold, x, 0.0)
    else:
        y = where(x >= threshold, x, negative_slope * (x - threshold))
    return y if max_value is None else minimum(y, max_value)


def hard_shrink(x: Tensor, threshold: float = 0.5) -> Tensor:
    """`x` beyond the threshold, 0 within.

    Examples
    --------
    >>> keras.activations.hard_shrink(gt.tensor([-1.0, 0.2]))
    tensor([-1.,  0.], dtype=float32)
    """
    return where(absolute(x) > threshold, x, 0.0)


def soft_shrink(x: Tensor, threshold: float = 0.5) -> Tensor:
    """`x` moved by the threshold towards 0, 0 within.

    Examples
    --------
    >>> keras.activations.soft_shrink(gt.tensor([-1.0, 0.2]))
    tensor([-0.5,  0. ], dtype=float32)
    """
    return x - clip(x, -threshold, threshold)


def threshold(x: Tensor, threshold: float, default_value: float) -> Tensor:
    """`x` above the threshold, `default_value` elsewhere.

    Examples
    --------
    >>> keras.activations.threshold(gt.tensor([-1.0, 0.2]), 0.0, 5.0)
    tensor([5. , 0.2], dtype=float32)
    """
    return where(x > threshold, x, default_value)


def squareplus(x: Tensor, b: float = 4) -> Tensor:
    """``(x + sqrt(x**2 + b)) / 2``.

    Examples
    --------
    >>> keras.activations.squareplus(gt.tensor([0.0]))
    tensor([1.], dtype=float32)
    """
    return (x + sqrt(x * x + b)) / 2


def sparse_plus(x: Tensor) -> Tensor:
    """0 below -1, `x` above 1, ``(x + 1)**2 / 4`` between.

    Examples
    --------
    >>> keras.activations.sparse_plus(gt.tensor([-1.0, 0.2]))
    tensor([0.  , 0.36], dtype=float32)
    """
    return where(x <= -1, 0.0, where(x < 1, (x + 1) ** 2 / 4, x))


def sparse_sigmoid(x: Tensor) -> Tensor:
    """``(x + 1) / 2``, within 0 and 1.

    Examples
    --------
    >>> keras.activations.sparse_sigmoid(gt.tensor([-1.0, 0.2]))
    tensor([0. , 0.6], dtype=float32)
    """
    return clip((x + 1) / 2, 0.0, 1.0)


def sparsemax(x: Tensor, axis: int = -1) -> Tensor:
    """The nearest point whose coordinates are 0 or more and add up to 1 (Martins et al. 2016).

    Examples
    --------
    >>> keras.activations.sparsemax(gt.tensor([[1.0, 0.2]]))
    tensor([[0.9       , 0.09999998]], dtype=float32)
    """
    rows = moveaxis(x, axis, -1)
    ordered = sort(rows, axis=-1, descending=True)
    counts = arange(1, rows.shape[-1] + 1, dtype=rows.dtype, device=rows.device)
    chosen = 1 + counts * ordered > cumulative_sum(ordered, axis=-1)
    taken = where(chosen, ordered, 0.0)
    size = total(chosen.astype(rows.dtype), axis=-1, keepdims=True)
    level = (total(taken, axis=-1, keepdims=True) - 1) / size
    return moveaxis(maximum(rows - level, 0.0), -1, axis)


_NAMES: dict[str, Callable[..., Tensor]] = {
    name: globals()[name] for name in __all__ if name not in ("get", "serialize", "deserialize")
}


def _door(name: str, function: Callable[..., Tensor]) -> Callable[..., Any]:
    """A function that makes a layer of itself where it is given a tensor without values."""

    @functools.wraps(function)
    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        if type(x) is KerasTensor:
            from gputensor.keras.layers.core import Operation

            return Operation(function)(x, *args, **kwargs)
        return function(x, *args, **kwargs)

    call.__module__, call.__qualname__ = __name__, name  # where pickle looks for it
    return call


_NAMES = {name: _door(name, function) for name, function in _NAMES.items()}
globals().update(_NAMES)


def get(identifier: Any) -> Callable[..., Tensor]:
    """The activation of a name, or the function given; ``linear`` of None.

    Examples
    --------
    >>> keras.activations.get("relu")(gt.tensor([-1.0]))
    tensor([0.], dtype=float32)
    """
    if identifier is None:
        return linear
    if isinstance(identifier, dict):
        identifier = identifier.get("config", identifier.get("class_name"))
    if isinstance(identifier, str):
        if identifier not in _NAMES:
            raise ValueError(
                f"activation {identifier!r} is unknown; allowed are "
                f"{', '.join(map(repr, _NAMES))} and functions"
            )
        return _NAMES[identifier]
    if isinstance(identifier, type):
        identifier = identifier()
    if not callable(identifier):
        raise TypeError(f"an activation must be a name or a function, got {identifier!r}")
    function: Callable[..., Tensor] = identifier
    return function


def serialize(function: Callable[..., Tensor]) -> Any:
    """Its name, if it is one of these; else the function.

    Examples
    --------
    >>> keras.activations.serialize(keras.activations.relu)
    'relu'
    """
    for name, known in _NAMES.items():
        if known is function:
            return name
    return function


deserialize = get


def short(identifier: Any) -> Any:
    """What :func:`gputensor.nn.functional.dense` takes: a name of its own, or else a function."""
    name = serialize(get(identifier))
    if name == "linear":
        return None
    return name if isinstance(name, str) and name in ACTIVATIONS else get(identifier)


def applied(activation: Any, x: Tensor) -> Tensor:
    """Result of what :func:`short` gave."""
    known = activation is None or isinstance(activation, str)
    found: Tensor = ACTIVATIONS[activation](x) if known else activation(x)
    return found
