"""Layers in Keras's form: their input's shape is known when the model is built."""

import math
from typing import Any

from gputensor import nn
from gputensor.autograd import Tensor
from gputensor.errors import GraphError, ShapeError
from gputensor.ops.nn import ACTIVATIONS

__all__ = ["Dense", "Dropout", "Flatten", "Input", "Layer", "Rescaling"]

Shape = tuple[int, ...]


def _checked_shape(name: str, given: Any) -> Shape | None:
    if given is None:
        return None
    shape: Shape = (given,) if isinstance(given, int) else tuple(given)
    if not all(isinstance(n, int) and n > 0 for n in shape):
        raise ShapeError(
            f"{name}: input_shape is {shape}; it must hold positive ints, no batch axis"
        )
    return shape


class Layer(nn.Module):
    """Base class of layers.

    Attributes
    ----------
    input_shape, output_shape : tuple of int or None
        Without the batch axis; None until the model is built.
    """

    def __init__(self, input_shape: int | Shape | None = None) -> None:
        self.input_shape = _checked_shape(type(self).__name__, input_shape)
        self.output_shape: Shape | None = None

    def build(self, input_shape: Shape) -> Shape:
        """Make the parameters for an input of this shape; returns the output's shape."""
        self.input_shape = self.output_shape = input_shape
        return input_shape


class Input(Layer):
    """The shape of a model's input, without the batch axis.

    Parameters
    ----------
    shape : tuple of int
    """

    def __init__(self, shape: int | Shape) -> None:
        super().__init__(shape)

    def forward(self, x: Tensor) -> Tensor:
        """`x` itself."""
        return x


class Dense(nn.Dense, Layer):
    """Fully connected layer ``activation(x @ weight + bias)``.

    Parameters
    ----------
    units : int
        Length of the output's last axis.
    activation : {None, "linear", "relu", "sigmoid", "softmax", "tanh"}
    use_bias : bool
    input_shape : tuple of int, optional
        Of one sample, where this is the first layer.
    """

    def __init__(
        self,
        units: int,
        activation: str | None = None,
        use_bias: bool = True,
        *,
        input_shape: int | Shape | None = None,
    ) -> None:
        Layer.__init__(self, input_shape)
        if isinstance(units, bool) or not isinstance(units, int) or units < 1:
            raise ValueError(f"Dense: units is {units!r}; it must be a positive int")
        if activation not in ACTIVATIONS:
            allowed = ", ".join(repr(name) for name in ACTIVATIONS)
            raise ValueError(f"Dense: activation {activation!r} is unknown; allowed are {allowed}")
        self.units = units
        self.activation = activation
        self.use_bias = use_bias

    def build(self, input_shape: Shape) -> Shape:
        """Draw the weights for inputs of this shape."""
        nn.Dense.__init__(self, input_shape[-1], self.units, self.activation, bias=self.use_bias)
        self.input_shape = input_shape
        self.output_shape = (*input_shape[:-1], self.units)
        return self.output_shape

    def forward(self, x: Tensor) -> Tensor:
        """Of shape (n, ..., units)."""
        if self.output_shape is None:
            raise GraphError("Dense: the layer is not built; put it into a model with input_shape")
        return super().forward(x)

    def logits(self, x: Tensor) -> Tensor:
        """``x @ weight + bias``, before the activation."""
        return nn.functional.dense(x, self.weight, self.bias)


class Flatten(nn.Flatten, Layer):
    """All axes of a sample in one.

    Parameters
    ----------
    input_shape : tuple of int, optional
    """

    def build(self, input_shape: Shape) -> Shape:
        """One axis with as many elements."""
        self.input_shape = input_shape
        self.output_shape = (math.prod(input_shape),)
        return self.output_shape


class Dropout(nn.Dropout, Layer):
    """Zeros at random while training.

    Parameters
    ----------
    rate : float
        Probability of zero.
    """

    def __init__(self, rate: float, *, input_shape: int | Shape | None = None) -> None:
        Layer.__init__(self, input_shape)
        nn.Dropout.__init__(self, rate)


class Rescaling(Layer):
    """``x * scale + offset``. As a model's first layer it is part of gathering the batch, and
    integer images may stay integers on the device.

    Parameters
    ----------
    scale, offset : float
    input_shape : tuple of int, optional
    """

    def __init__(
        self, scale: float, offset: float = 0.0, *, input_shape: int | Shape | None = None
    ) -> None:
        super().__init__(input_shape)
        self.scale = float(scale)
        self.offset = float(offset)

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        return x * self.scale + self.offset
