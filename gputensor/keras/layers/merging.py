"""Layers of several inputs."""

import functools
from collections.abc import Callable
from typing import Any

from gputensor.autograd import Tensor
from gputensor.errors import ShapeError
from gputensor.keras.layers.base import Layer
from gputensor.nn import functional
from gputensor.ops.elementwise import add as plus
from gputensor.ops.elementwise import maximum as larger
from gputensor.ops.elementwise import minimum as smaller
from gputensor.ops.elementwise import multiply as times
from gputensor.ops.elementwise import subtract as minus
from gputensor.ops.manipulation import concat, reshape
from gputensor.ops.statistical import sum as total

__all__ = [
    "Add",
    "Average",
    "Concatenate",
    "Dot",
    "Maximum",
    "Minimum",
    "Multiply",
    "Subtract",
    "add",
    "average",
    "concatenate",
    "dot",
    "maximum",
    "minimum",
    "multiply",
    "subtract",
]


class _Merge(Layer):
    """Base: one function between each two inputs, from first to last."""

    built = True
    _function: Callable[[Any, Any], Any]
    _most: int | None = None

    def call(self, inputs: Any) -> Tensor:
        """One tensor of a list of tensors."""
        kind = type(self)
        if not isinstance(inputs, (list, tuple)) or len(inputs) < 2:
            raise ShapeError(f"{kind.__name__}: it takes a list of two tensors or more")
        if kind._most is not None and len(inputs) > kind._most:
            raise ShapeError(f"{kind.__name__}: it takes two tensors, got {len(inputs)}")
        found: Tensor = functools.reduce(kind._function, inputs)
        return found


class Add(_Merge):
    """Sum of tensors.

    Examples
    --------
    >>> keras.layers.Add()([np.ones((1, 2)), np.ones((1, 2))]).shape
    (1, 2)
    """

    _function = staticmethod(plus)


class Subtract(_Merge):
    """First less second tensor.

    Examples
    --------
    >>> keras.layers.Subtract()([np.ones((1, 2)), np.ones((1, 2))]).shape
    (1, 2)
    """

    _function = staticmethod(minus)
    _most = 2


class Multiply(_Merge):
    """Product of tensors, element by element.

    Examples
    --------
    >>> keras.layers.Multiply()([np.ones((1, 2)), np.ones((1, 2))]).shape
    (1, 2)
    """

    _function = staticmethod(times)


class Maximum(_Merge):
    """The largest of tensors, element by element.

    Examples
    --------
    >>> keras.layers.Maximum()([np.ones((1, 2)), np.zeros((1, 2))]).shape
    (1, 2)
    """

    _function = staticmethod(larger)


class Minimum(_Merge):
    """The smallest of tensors, element by element.

    Examples
    --------
    >>> keras.layers.Minimum()([np.ones((1, 2)), np.zeros((1, 2))]).shape
    (1, 2)
    """

    _function = staticmethod(smaller)


class Average(Add):
    """Mean of tensors, element by element.

    Examples
    --------
    >>> keras.layers.Average()([np.ones((1, 2)), np.zeros((1, 2))]).shape
    (1, 2)
    """

    def call(self, inputs: Any) -> Tensor:
        """One tensor of a list of tensors."""
        return super().call(inputs) / len(inputs)


class Concatenate(Layer):
    """Tensors one behind the other along `axis`.

    Examples
    --------
    >>> keras.layers.Concatenate()([np.ones((1, 2)), np.ones((1, 3))]).shape
    (1, 5)
    """

    built = True

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Any) -> Tensor:
        """One tensor of a list of tensors."""
        return concat([*inputs], axis=self.axis)


class Dot(Layer):
    """Products of the samples of two tensors, summed over an axis of each.

    Parameters
    ----------
    axes : int or (int, int)
    normalize : bool
        Whether they are taken over their norm along the axis first, for the cosine.

    Examples
    --------
    >>> keras.layers.Dot(axes=1)([np.ones((2, 3)), np.ones((2, 3))]).shape
    (2, 1)
    """

    built = True

    def __init__(self, axes: Any, normalize: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axes = axes
        self.normalize = normalize

    def call(self, inputs: Any) -> Tensor:
        """One tensor of two."""
        x, y = inputs
        a, b = (self.axes, self.axes) if isinstance(self.axes, int) else self.axes
        a, b = a % x.ndim, b % y.ndim
        if self.normalize:
            x = functional.normalize(x, axis=a, eps=1e-6)
            y = functional.normalize(y, axis=b, eps=1e-6)
        if x.ndim == y.ndim == 2:
            return total(times(x, y), axis=1, keepdims=True)
        left = [i for i in range(1, x.ndim) if i != a]
        right = [i for i in range(1, y.ndim) if i != b]
        x = x.permute_dims((0, *left, a))
        y = y.permute_dims((0, b, *right))
        shape = (x.shape[0], *x.shape[1:-1], *y.shape[2:])
        rows = reshape(x, (x.shape[0], -1, x.shape[-1]))
        columns = reshape(y, (y.shape[0], y.shape[1], -1))
        return reshape(rows @ columns, shape)


def _form(kind: type[Layer]) -> Callable[..., Any]:
    def merge(inputs: Any, **kwargs: Any) -> Any:
        return kind(**kwargs)(inputs)

    merge.__name__ = kind.__name__.lower()
    merge.__doc__ = (
        f":class:`{kind.__name__}` as a function.\n\n    Examples\n    --------\n"
        f"    >>> keras.layers.{merge.__name__}([gt.ones((1, 3)), gt.ones((1, 3))]).shape\n"
        f"    (1, {6 if kind is Concatenate else 3})"
    )
    return merge


add = _form(Add)
average = _form(Average)
concatenate = _form(Concatenate)
maximum = _form(Maximum)
minimum = _form(Minimum)
multiply = _form(Multiply)
subtract = _form(Subtract)


def dot(inputs: Any, axes: Any, normalize: bool = False, **kwargs: Any) -> Any:
    """:class:`Dot` as a function.

    Examples
    --------
    >>> keras.layers.dot([gt.ones((1, 3)), gt.ones((1, 3))], axes=1)
    tensor([[3.]], dtype=float32)
    """
    return Dot(axes, normalize, **kwargs)(inputs)
