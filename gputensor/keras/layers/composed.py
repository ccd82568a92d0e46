"""Layers of products along named axes, and layers around a layer."""

import re
from typing import Any, ClassVar

from gputensor.autograd import Tensor, no_grad
from gputensor.errors import ShapeError
from gputensor.keras import activations
from gputensor.keras.layers.base import Layer, positive
from gputensor.ops.elementwise import sqrt, square
from gputensor.ops.manipulation import permute_dims, reshape
from gputensor.ops.products import einsum
from gputensor.ops.statistical import sum as total

__all__ = ["EinsumDense", "SpectralNormalization", "Wrapper"]


class EinsumDense(Layer):
    """``activation(einsum(equation, x, kernel) + bias)``.

    Parameters
    ----------
    equation : str
        Such as ``"abc,cd->abd"`` or ``"...x,xy->...y"``.
    output_shape : int or sequence of int
        Of a sample; None for lengths that are those of the input.
    activation : str or function, optional
    bias_axes : str, optional
        Axes of the result that the bias has.
    kernel_initializer, bias_initializer : str or Initializer
    kernel_regularizer, bias_regularizer : str or Regularizer, optional
    kernel_constraint, bias_constraint : str or Constraint, optional

    Examples
    --------
    >>> keras.layers.EinsumDense("ab,bc->ac", output_shape=3)(np.ones((2, 4))).shape
    (2, 3)
    """

    _constrained: ClassVar = {"kernel": "kernel", "bias": "bias"}

    def __init__(
        self,
        equation: str,
        output_shape: Any,
        activation: Any = None,
        bias_axes: str | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        parts = re.fullmatch(
            r"(\.{3})?([a-zA-Z]+)(\.{3})?,([a-zA-Z]+)->(\.{3})?([a-zA-Z]+)(\.{3})?", equation
        )
        if parts is None or parts[1] != parts[5] or parts[3] != parts[7]:
            raise ValueError(
                f"EinsumDense: equation is {equation!r}; it must be such as 'ab,bc->ac', "
                "'...b,bc->...c' or 'ab...,bc->ac...'"
            )
        self.equation = equation
        self._left, self._specs = bool(parts[1]), (parts[2], parts[4], parts[6])
        given = output_shape if isinstance(output_shape, (list, tuple)) else (output_shape,)
        self.target = tuple(given)
        self.activation = activations.short(activation)
        self.bias_axes = bias_axes
        self.initializers = (kernel_initializer, bias_initializer)
        self.regularizers = (kernel_regularizer, bias_regularizer)
        self.kernel: Any = None
        self.bias: Any = None

    def build(self, input_shape: Any) -> None:
        """Draw the weights."""
        given, weight, found = self._specs
        more = len(input_shape) - len(given)
        start = more if self._left else 0
        sizes = {axis: input_shape[start + i] for i, axis in enumerate(given)}
        ends = (
            [*input_shape[: more or 1], *self.target]
            if self._left
            else [input_shape[0], *self.target]
        )
        ends = ends[-len(found) :] if self._left else ends
        for axis, n in zip(found, ends, strict=False):
            if n is not None:
                sizes.setdefault(axis, n)
        lacking = [axis for axis in weight if sizes.get(axis) is None]
        if lacking:
            raise ShapeError(
                f"EinsumDense: the length of axis {lacking[0]!r} of the kernel follows neither "
                f"from the input's shape {tuple(input_shape)} nor from output_shape {self.target}"
            )
        self.kernel = self.add_weight(
            tuple(sizes[axis] for axis in weight),
            self.initializers[0],
            regularizer=self.regularizers[0],
        )
        if self.bias_axes is not None:
            first = min(found.find(axis) for axis in self.bias_axes)
            if first < 0:
                raise ValueError(
                    f"EinsumDense: bias_axes is {self.bias_axes!r}; the result has {found!r}"
                )
            shape = [sizes[a] if a in self.bias_axes else 1 for a in found[first:]]
            shape += [1] * (0 if self._left else more)
            self.bias = self.add_weight(
                tuple(shape), self.initializers[1], regularizer=self.regularizers[1]
            )
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        """The product."""
        y = einsum(self.equation, x, self.kernel)
        return activations.applied(self.activation, y if self.bias is None else y + self.bias)


class Wrapper(Layer):
    """Base of layers around a layer, which is their ``layer``.

    Examples
    --------
    >>> class Scaled(keras.layers.Wrapper):
    ...     def call(self, inputs):
    ...         return self.layer(inputs) * 10
    >>> Scaled(keras.layers.ReLU())(gt.tensor([[-1.0, 2.0]]))
    tensor([[ 0., 20.]], dtype=float32)
    """

    def __init__(self, layer: Layer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(layer, Layer):
            raise TypeError(
                f"{type(self).__name__}: layer must be a layer, got {type(layer).__name__}"
            )
        self.layer = layer

    def build(self, input_shape: Any = None) -> None:
        """Build the layer."""
        if not self.layer.built:
            self.layer._build(input_shape)
        self.built = True

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's result."""
        return self.layer(*args, **kwargs)


class SpectralNormalization(Wrapper):
    """Divides a layer's kernel by its largest singular value in each training step.

    That value is found by iteration (Miyato et al. 2018).

    Parameters
    ----------
    layer : Layer
        With a ``kernel``, or ``embeddings``.
    power_iterations : int

    Examples
    --------
    >>> keras.layers.SpectralNormalization(keras.layers.Dense(3))(np.ones((2, 4))).shape
    (2, 3)
    """

    def __init__(self, layer: Layer, power_iterations: int = 1, **kwargs: Any) -> None:
        super().__init__(layer, **kwargs)
        self.power_iterations = positive("SpectralNormalization", power_iterations=power_iterations)
        self.vector_u: Any = None

    def _kernel(self) -> Tensor:
        found = getattr(self.layer, "kernel", None)
        found = getattr(self.layer, "embeddings", None) if found is None else found
        if found is None:
            raise ShapeError(
                f"SpectralNormalization: {type(self.layer).__name__} has neither kernel nor "
                "embeddings"
            )
        kernel: Tensor = found
        return kernel

    def build(self, input_shape: Any = None) -> None:
        """Build the layer, and draw the vector."""
        super().build(input_shape)
        shape = (1, self._kernel().shape[-1])
        from gputensor.keras.initializers import TruncatedNormal

        self.vector_u = self.add_weight(shape, TruncatedNormal(stddev=0.02), trainable=False)

    def call(self, x: Tensor) -> Any:
        """The layer's result, with its kernel normalized while training."""
        if self.training:
            with no_grad():
                kernel = self._kernel()
                rows = reshape(kernel.detach(), (-1, kernel.shape[-1]))
                u = self.vector_u.detach()
                for _ in range(self.power_iterations):
                    v = _unit(u @ permute_dims(rows, (1, 0)))
                    u = _unit(v @ rows)
                size = v @ rows @ permute_dims(u, (1, 0))
                self.vector_u[...] = u
                kernel[...] = kernel.detach() / reshape(size, ())
        return self.layer(x)


def _unit(x: Tensor) -> Tensor:
    return x / sqrt(total(square(x)))
