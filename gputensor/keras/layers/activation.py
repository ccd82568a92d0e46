"""Activations with settings or parameters of their own."""

from typing import Any, ClassVar

from gputensor.autograd import Tensor
from gputensor.keras import activations
from gputensor.keras.layers.base import Layer
from gputensor.nn import functional
from gputensor.ops.choices import where
from gputensor.ops.nn import softmax

__all__ = ["ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax"]


class _Elementwise(Layer):
    built = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape


class ReLU(_Elementwise):
    """`x` above `threshold`, `max_value` at most; ``negative_slope * (x - threshold)`` below.

    Examples
    --------
    >>> keras.layers.ReLU()(np.float32([[-1.0, 2.0]]))
    tensor([[0., 2.]], dtype=float32)
    """

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_value = max_value
        self.negative_slope = negative_slope
        self.threshold = threshold

    def call(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        return activations.relu(x, self.negative_slope, self.max_value, self.threshold)


class LeakyReLU(_Elementwise):
    """`x` above 0, ``negative_slope * x`` below; `alpha` is its older name.

    Examples
    --------
    >>> keras.layers.LeakyReLU(0.1)(np.float32([[-1.0, 2.0]]))
    tensor([[-0.1,  2. ]], dtype=float32)
    """

    def __init__(
        self, negative_slope: float = 0.3, *, alpha: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.negative_slope = negative_slope if alpha is None else alpha

    def call(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        return functional.leaky_relu(x, self.negative_slope)


class ELU(_Elementwise):
    """`x` above 0, ``alpha * (exp(x) - 1)`` below.

    Examples
    --------
    >>> keras.layers.ELU()(np.float32([[-1.0, 2.0]]))
    tensor([[-0.63212055,  2.        ]], dtype=float32)
    """

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = alpha

    def call(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        return functional.elu(x, self.alpha)


class Softmax(_Elementwise):
    """``exp(x) / sum(exp(x))`` along `axis`; where a mask is false the result is 0.

    Examples
    --------
    >>> keras.layers.Softmax()(np.float32([[0.0, 1.0]]))
    tensor([[0.26894143, 0.7310586 ]], dtype=float32)
    """

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, x: Tensor, mask: Any = None) -> Tensor:
        """Of the shape of `x`."""
        if mask is not None:
            x = where(mask, x, -3.4e38 / 2)
        return softmax(x, axis=self.axis)


class PReLU(_Elementwise):
    """Leaky ReLU whose slopes are parameters.

    Parameters
    ----------
    alpha_initializer : str or Initializer
    alpha_regularizer : str or Regularizer, optional
    alpha_constraint : str or Constraint, optional
    shared_axes : sequence of int, optional
        Axes, counted from 1, along which a slope is the same.

    Attributes
    ----------
    alpha : Tensor
        Of a sample's shape, 1 along the shared axes.

    Examples
    --------
    >>> keras.layers.PReLU()(np.ones((2, 3))).shape
    (2, 3)
    """

    built = False
    _constrained: ClassVar = {"alpha": "alpha"}

    def __init__(
        self,
        alpha_initializer: Any = "zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(alpha_constraint=alpha_constraint, **kwargs)
        self.initializer = alpha_initializer
        self.regularizer = alpha_regularizer
        axes = shared_axes if isinstance(shared_axes, (list, tuple)) else [shared_axes]
        self.shared_axes = [] if shared_axes is None else [int(axis) for axis in axes]
        self.alpha: Any = None

    def build(self, input_shape: Any) -> None:
        """Make the slopes."""
        shape = [1 if i in self.shared_axes else n for i, n in enumerate(input_shape)][1:]
        self.alpha = self.add_weight(shape, self.initializer, regularizer=self.regularizer)
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        return where(x > 0, x, self.alpha * x)
