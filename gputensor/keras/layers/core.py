"""Layers that most models have."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

from gputensor import nn
from gputensor.autograd import Tensor
from gputensor.errors import DTypeError, ShapeError
from gputensor.keras import activations
from gputensor.keras.layers.base import Hidden, Layer, positive
from gputensor.keras.layers.channels import Channeled
from gputensor.keras.masks import mask_of, set_mask
from gputensor.keras.symbolic import KerasTensor, Node
from gputensor.ops.choices import not_equal, where
from gputensor.ops.creation import asarray
from gputensor.ops.data_type import astype
from gputensor.ops.manipulation import expand_dims, permute_dims, reshape
from gputensor.ops.pieces import repeat
from gputensor.ops.utility import any as some

__all__ = [
    "Activation",
    "Dense",
    "Embedding",
    "Flatten",
    "Identity",
    "Input",
    "InputLayer",
    "Lambda",
    "Masking",
    "Operation",
    "Permute",
    "RepeatVector",
    "Rescaling",
    "Reshape",
]


class InputLayer(Layer):
    """Where a model begins; :func:`Input` makes one.

    Parameters
    ----------
    shape : tuple of int, optional
        Of a sample.
    batch_shape : tuple, optional
        The same with the axis of samples.

    Examples
    --------
    >>> model = keras.Sequential([keras.layers.InputLayer((4,)), keras.layers.Dense(3)])
    >>> model.output_shape
    (3,)
    """

    built = True

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: Any = None,
        batch_shape: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if batch_shape is not None:
            batch_size, *rest = batch_shape
            shape = tuple(rest)
        shape = kwargs.pop("input_shape", None) if shape is None else shape
        super().__init__(shape, name=name, dtype=dtype, **kwargs)
        self.output_shape = self.input_shape
        self.batch_size = None if batch_size is None else positive("Input", batch_size=batch_size)
        spec = KerasTensor((self.batch_size, *(self.input_shape or ())), dtype, name=self.name)
        self._nodes = Hidden([Node(self, (), {}, spec)])

    def call(self, x: Tensor) -> Tensor:
        """`x` itself."""
        return x

    def get_config(self) -> dict[str, Any]:
        """Shape, dtype and name."""
        (node,) = self._calls
        return {
            "batch_shape": list(node.outputs.shape),
            "dtype": str(node.outputs.dtype),
            "sparse": False,
            "name": self.name,
        }


def Input(
    shape: Any = None,
    batch_size: int | None = None,
    dtype: Any = None,
    name: str | None = None,
    batch_shape: Any = None,
    **kwargs: Any,
) -> Any:
    """A tensor without values, which a model of layers begins with.

    Parameters
    ----------
    shape : int or tuple of int
        Of a sample; None where a length is not known.
    batch_size : int, optional
        Number of samples, as the first of the shape; a model takes any number all the same.
    dtype : dtype, optional
    name : str, optional

    Returns
    -------
    KerasTensor

    Examples
    --------
    >>> keras.layers.Input((4,)).shape
    (None, 4)
    """
    return InputLayer(shape, batch_size, dtype, batch_shape, name, **kwargs).output


class Operation(Layer):
    """A function of tensors as a layer, as symbolic tensors make it of operators.

    Examples
    --------
    >>> x = keras.Input((3,))
    >>> model = keras.Model(x, x * 2 + 1)
    >>> [type(layer).__name__ for layer in model.layers]
    ['InputLayer', 'Operation', 'Operation']
    """

    built = True

    def __init__(self, function: Callable[..., Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.function = function

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The function's result."""
        return self.function(*args, **kwargs)


class Dense(Layer):
    """Fully connected layer ``activation(x @ kernel + bias)``.

    Parameters
    ----------
    units : int
        Length of the output's last axis.
    activation : str or function, optional
        See :mod:`gputensor.keras.activations`.
    use_bias : bool
    kernel_initializer, bias_initializer : str or Initializer
    kernel_regularizer, bias_regularizer : str or Regularizer, optional
    kernel_constraint, bias_constraint : str or Constraint, optional
    input_shape : tuple of int, optional
        Of one sample, where this is the first layer; or `input_dim`, its length.

    Attributes
    ----------
    weight, or kernel : Tensor of shape (inputs, units)
    bias : Tensor of shape (units,), or None

    Examples
    --------
    >>> layer = keras.layers.Dense(3, activation="relu")
    >>> layer(np.ones((2, 4))).shape, layer.count_params()
    ((2, 3), 15)
    """

    _constrained: ClassVar = {"kernel": "kernel", "bias": "bias"}

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = positive("Dense", units=units)
        self.activation = activations.short(activation)
        self.use_bias = use_bias
        self.initializers = (kernel_initializer, bias_initializer)
        self.regularizers = (kernel_regularizer, bias_regularizer)
        self.weight: Any = None
        self.bias: Any = None

    @property
    def kernel(self) -> Any:
        """The weight by Keras's name."""
        return self.weight

    def build(self, input_shape: Any) -> None:
        """Draw the weights for inputs of this shape."""
        shape = (input_shape[-1], self.units)
        self.weight = self.add_weight(shape, self.initializers[0], regularizer=self.regularizers[0])
        if self.use_bias:
            bias = self.add_weight(
                (self.units,), self.initializers[1], regularizer=self.regularizers[1]
            )
            self.bias = bias
        self.built = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape with `units` as its last length."""
        return (*input_shape[:-1], self.units)

    def call(self, x: Tensor) -> Tensor:
        """Of shape (n, ..., units)."""
        if self.activation is None or isinstance(self.activation, str):
            return nn.functional.dense(x, self.weight, self.bias, self.activation)
        return activations.applied(self.activation, self.logits(x))

    def logits(self, x: Tensor) -> Tensor:
        """``x @ kernel + bias``, before the activation."""
        out = nn.functional.dense(x, self.weight, self.bias)
        set_mask(out, mask_of(x))  # which a call would do
        return out


class Flatten(Channeled):
    """All axes of a sample in one.

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}, optional
        With the latter channels are moved behind the other axes before.
    input_shape : tuple of int, optional

    Examples
    --------
    >>> keras.layers.Flatten()(np.ones((2, 3, 4))).shape
    (2, 12)
    """

    built = True

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._set_format(data_format)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """One axis with as many elements."""
        sizes = input_shape[1:]
        return (input_shape[0], None if None in sizes else math.prod(sizes))

    def call(self, x: Tensor) -> Tensor:
        """Tensor of shape (n, features)."""
        if not x.ndim:
            raise ShapeError("Flatten: x has shape (); it must have an axis of samples")
        return reshape(x, (x.shape[0], math.prod(x.shape[1:])))


class Rescaling(Layer):
    """``x * scale + offset``. As a model's first layer it is part of gathering the batch, and
    integer images may stay integers on the device.

    Parameters
    ----------
    scale, offset : float
    input_shape : tuple of int, optional

    Examples
    --------
    >>> keras.layers.Rescaling(1 / 255)(np.float32([[255.0]]))
    tensor([[1.]], dtype=float32)
    """

    built = True

    def __init__(self, scale: float, offset: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = float(scale)
        self.offset = float(offset)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape

    def call(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        return x * self.scale + self.offset


class Identity(Layer):
    """What comes goes.

    Examples
    --------
    >>> keras.layers.Identity()(np.float32([[1.0]]))
    tensor([[1.]], dtype=float32)
    """

    built = True

    def call(self, x: Any) -> Any:
        """`x` itself."""
        return x


class Activation(Layer):
    """An activation as a layer.

    Parameters
    ----------
    activation : str or function

    Examples
    --------
    >>> keras.layers.Activation("tanh")(np.float32([[0.0, 1.0]]))
    tensor([[0.       , 0.7615942]], dtype=float32)
    """

    built = True

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.short(activation)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape

    def call(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        return activations.applied(self.activation, x)


class Reshape(Layer):
    """Samples in another shape.

    Parameters
    ----------
    target_shape : tuple of int
        Of a sample; one entry may be -1.

    Examples
    --------
    >>> keras.layers.Reshape((2, -1))(np.ones((5, 6))).shape
    (5, 2, 3)
    """

    built = True

    def __init__(self, target_shape: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        sizes = target_shape if isinstance(target_shape, (tuple, list)) else (target_shape,)
        self.target_shape = tuple(int(n) for n in sizes)

    def call(self, x: Tensor) -> Tensor:
        """Of shape (n, *target_shape)."""
        return reshape(x, (x.shape[0], *self.target_shape))


class Permute(Layer):
    """Axes of samples in another order.

    Parameters
    ----------
    dims : tuple of int
        Numbers from 1.

    Examples
    --------
    >>> keras.layers.Permute((2, 1))(np.ones((2, 3, 4))).shape
    (2, 4, 3)
    """

    built = True

    def __init__(self, dims: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(f"Permute: dims is {dims}; it must hold the numbers 1 to {len(dims)}")

    def call(self, x: Tensor) -> Tensor:
        """`x` with its axes in that order."""
        return permute_dims(x, (0, *self.dims))


class RepeatVector(Layer):
    """A vector `n` times: (samples, features) becomes (samples, n, features).

    Examples
    --------
    >>> keras.layers.RepeatVector(3)(np.ones((2, 4))).shape
    (2, 3, 4)
    """

    built = True

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = positive("RepeatVector", n=n)

    def call(self, x: Tensor) -> Tensor:
        """Of shape (samples, n, features)."""
        return repeat(expand_dims(x, axis=1), self.n, axis=1)


class Lambda(Layer):
    """A function as a layer.

    Parameters
    ----------
    function : callable
    output_shape : tuple of int, optional
        Not needed: the shape is what the function gives.
    arguments : dict, optional
        Keyword arguments for the function.

    Examples
    --------
    >>> keras.layers.Lambda(lambda x: 2 * x)(np.float32([[1.0]]))
    tensor([[2.]], dtype=float32)
    """

    built = True

    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: Any = None,
        mask: Any = None,
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if mask is not None:
            raise TypeError("Lambda: mask is not supported; write a layer with compute_mask")
        self.function = function
        self.arguments = dict(arguments or {})

    def call(self, x: Any) -> Any:
        """The function's result."""
        return self.function(x, **self.arguments)


class Embedding(Layer):
    """A table of vectors, looked up by number.

    Parameters
    ----------
    input_dim, output_dim : int
        Number of vectors and their length.
    embeddings_initializer : str or Initializer
    embeddings_regularizer : str or Regularizer, optional
    embeddings_constraint : str or Constraint, optional
    weights : array, or list of one, optional
        What the table holds at first.
    mask_zero : bool
        Whether steps of number 0 do not count for recurrent layers that follow.
    input_length : int, optional
        Of older scripts: the length of a sample.

    Attributes
    ----------
    embeddings : Tensor of shape (input_dim, output_dim)

    Examples
    --------
    >>> keras.layers.Embedding(10, 4)(np.array([[1, 5]])).shape
    (1, 2, 4)
    """

    _constrained: ClassVar = {"embeddings": "embeddings"}

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        mask_zero: bool = False,
        input_length: int | None = None,
        weights: Any = None,
        **kwargs: Any,
    ) -> None:
        if input_length is not None and "input_shape" not in kwargs:
            kwargs["input_shape"] = (input_length,)
        super().__init__(**kwargs)
        self.input_dim = positive("Embedding", input_dim=input_dim)
        self.output_dim = positive("Embedding", output_dim=output_dim)
        self.initializer = embeddings_initializer
        self.regularizer = embeddings_regularizer
        self.mask_zero = mask_zero
        self._table = Hidden(weights)
        self.embeddings: Any = None

    def build(self, input_shape: Any) -> None:
        """Draw the table."""
        shape = (self.input_dim, self.output_dim)
        self.embeddings = self.add_weight(shape, self.initializer, regularizer=self.regularizer)
        self.built = True
        if self._table.value is not None:
            table = self._table.value
            self.set_weights(table if isinstance(table, (list, tuple)) else [table])
            self._table.value = None

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape and `output_dim`."""
        return (*input_shape, self.output_dim)

    def call(self, x: Any) -> Tensor:
        """Vectors, of shape (*x.shape, output_dim)."""
        index = asarray(x)
        if index.dtype.kind not in "iu":
            if index.dtype.kind == "c":
                raise DTypeError(f"Embedding: x is {index.dtype}; it must hold numbers of rows")
            index = astype(index, "int64")
        return nn.functional.embedding(index, self.embeddings)

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """Which steps count, of shape `x`, or None."""
        return not_equal(asarray(x), 0) if self.mask_zero else None

    @property
    def makes_mask(self) -> bool:
        """Whether it was asked for."""
        return bool(self.mask_zero)


class Masking(Layer):
    """Leaves out steps whose features all are `mask_value`, for recurrent layers that follow.

    Examples
    --------
    >>> keras.layers.Masking(0.0)(np.ones((2, 3, 4))).shape
    (2, 3, 4)
    """

    built = True
    makes_mask = True

    def __init__(self, mask_value: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mask_value = mask_value

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """Which steps count, of shape (n, steps)."""
        return some(not_equal(asarray(x), self.mask_value), axis=-1)

    def call(self, x: Tensor) -> Tensor:
        """`x` with 0 in the steps that are left out."""
        return where(expand_dims(self.compute_mask(x), axis=-1), x, 0.0)
