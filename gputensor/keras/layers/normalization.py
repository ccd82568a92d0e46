"""Normalization."""

import math
from typing import Any, ClassVar

import numpy as np

from gputensor.autograd import Tensor, no_grad
from gputensor.errors import ShapeError
from gputensor.keras.layers.base import Layer, _as_tensor
from gputensor.nn import functional
from gputensor.ops.choices import where
from gputensor.ops.creation import asarray, ones, zeros
from gputensor.ops.elementwise import maximum, sqrt
from gputensor.ops.manipulation import broadcast_to, concat, expand_dims, permute_dims, reshape
from gputensor.ops.precision import widened
from gputensor.ops.statistical import mean, var
from gputensor.ops.statistical import sum as total

__all__ = [
    "BatchNormalization",
    "GroupNormalization",
    "LayerNormalization",
    "Normalization",
    "RMSNormalization",
    "UnitNormalization",
]


class _Normalization(Layer):
    _constrained: ClassVar = {"gamma": "gamma", "beta": "beta"}

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape


class BatchNormalization(_Normalization):
    """Batch normalization (Ioffe & Szegedy 2015).

    While training, means and variances are those of the batch, and move the running ones;
    otherwise, and where the layer is not `trainable`, the running ones are taken.

    Parameters
    ----------
    axis : int
        Of the channels.
    momentum : float
        Share of the running means that stays at each batch.
    epsilon : float
    center, scale : bool
        Whether there are `beta` and `gamma`.
    synchronized : bool
        Whether the means of a batch are those of the parts that all processes have of it, see
        :mod:`gputensor.distributed`.

    Attributes
    ----------
    gamma, beta, moving_mean, moving_variance : Tensor of shape (channels,)

    Examples
    --------
    >>> keras.layers.BatchNormalization()(np.ones((8, 3))).shape
    (8, 3)
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("renorm") in (None, False):
            kwargs = {k: v for k, v in kwargs.items() if k[:6] != "renorm"}
        super().__init__(**kwargs)
        self.synchronized = bool(synchronized)
        (self.axis,) = axis if isinstance(axis, (list, tuple)) else (axis,)
        self.momentum = momentum
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.synchronized = bool(synchronized)
        self.initializers = (
            gamma_initializer,
            beta_initializer,
            moving_mean_initializer,
            moving_variance_initializer,
        )
        self.regularizers = (gamma_regularizer, beta_regularizer)
        self.gamma: Any = None
        self.beta: Any = None
        self.moving_mean: Any = None
        self.moving_variance: Any = None

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        shape = (input_shape[self.axis],)
        gamma, beta, mean_of, variance = self.initializers
        if self.scale:
            self.gamma = self.add_weight(shape, gamma, regularizer=self.regularizers[0])
        if self.center:
            self.beta = self.add_weight(shape, beta, regularizer=self.regularizers[1])
        self.moving_mean = self.add_weight(shape, mean_of, trainable=False)
        self.moving_variance = self.add_weight(shape, variance, trainable=False)
        self.built = True

    def _masked_statistics(self, x: Tensor, mask: Any) -> tuple[Tensor, Tensor]:
        """Mean and variance of what a mask leaves, with Keras's guard against a mask of nothing."""
        others = tuple(i for i in range(x.ndim) if i != self.axis % x.ndim)
        seen = broadcast_to(expand_dims(asarray(mask).astype(bool), axis=-1), x.shape)
        x = widened(x)
        count = total(seen.astype(x.dtype), axis=others) + 1e-7
        shape = tuple(1 if i in others else n for i, n in enumerate(x.shape))
        middle = total(where(seen, x, 0.0), axis=others) / count
        away = where(seen, x - reshape(middle, shape), 0.0)
        return middle, total(away * away, axis=others) / count

    def call(self, x: Tensor, mask: Any = None) -> Tensor:
        """Of the shape of `x`; places that `mask` leaves out do not count in means."""
        options: dict[str, Any] = {"axis": self.axis, "eps": self.epsilon}
        if not self.training or not self._trainable:
            options["statistics"] = (self.moving_mean, self.moving_variance)
            return functional.batch_norm(x, self.gamma, self.beta, **options)[0]
        if mask is not None and tuple(mask.shape) == x.shape[:-1]:  # else of steps that are gone
            options["statistics"] = self._masked_statistics(x, mask)
        else:
            options["synchronized"] = self.synchronized
        y, mean_of, variance = functional.batch_norm(x, self.gamma, self.beta, **options)
        share = 1 - self.momentum
        with no_grad():
            self.moving_mean += share * (mean_of.detach() - self.moving_mean)
            self.moving_variance += share * (variance.detach() - self.moving_variance)
        return y


class LayerNormalization(_Normalization):
    """Normalization of each sample along `axis` (Ba et al. 2016).

    Parameters
    ----------
    axis : int or sequence of int
    epsilon : float
    center, scale : bool

    Attributes
    ----------
    gamma, beta : Tensor of the shape of those axes

    Examples
    --------
    >>> keras.layers.LayerNormalization()(np.ones((2, 3))).shape
    (2, 3)
    """

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axis = axis
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.initializers = (gamma_initializer, beta_initializer)
        self.regularizers = (gamma_regularizer, beta_regularizer)
        self.gamma: Any = None
        self.beta: Any = None

    def _axes(self, ndim: int) -> tuple[int, ...]:
        given = self.axis if isinstance(self.axis, (list, tuple)) else [self.axis]
        return tuple(sorted(a % ndim for a in given))

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        shape = tuple(input_shape[a] for a in self._axes(len(input_shape)))
        if self.scale:
            self.gamma = self.add_weight(
                shape, self.initializers[0], regularizer=self.regularizers[0]
            )
        if self.center:
            self.beta = self.add_weight(
                shape, self.initializers[1], regularizer=self.regularizers[1]
            )
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        axes = self._axes(x.ndim)
        others = [i for i in range(x.ndim) if i not in axes]
        order = (*others, *axes)
        moved = x if order == tuple(range(x.ndim)) else permute_dims(x, order)
        size = 1
        for axis in axes:
            size *= x.shape[axis]
        rows = reshape(moved, (*moved.shape[: len(others)], size))
        kind: dict[str, Any] = {"dtype": x.dtype, "device": x.device}
        gamma = ones(size, **kind) if self.gamma is None else reshape(self.gamma, (size,))
        beta = zeros(size, **kind) if self.beta is None else reshape(self.beta, (size,))
        y = reshape(functional.layer_norm(rows, gamma, beta, self.epsilon), moved.shape)
        return y if moved is x else permute_dims(y, tuple(order.index(i) for i in range(x.ndim)))


class RMSNormalization(_Normalization):
    """``x / sqrt(mean(x**2) + epsilon) * scale`` along the last axis (Zhang & Sennrich 2019).

    Examples
    --------
    >>> keras.layers.RMSNormalization()(np.ones((2, 3))).shape
    (2, 3)
    """

    def __init__(self, axis: int = -1, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if axis != -1:
            raise ValueError(f"RMSNormalization: axis is {axis}; only -1 is supported")
        self.axis = axis
        self.epsilon = epsilon
        self.scale: Any = None

    def build(self, input_shape: Any) -> None:
        """Make the weight."""
        self.scale = self.add_weight((input_shape[-1],), "ones")
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        return functional.rms_norm(x, self.scale, self.epsilon)


class GroupNormalization(_Normalization):
    """Normalization of each sample by groups of channels (Wu & He 2018).

    Parameters
    ----------
    groups : int
        -1 for a group for each channel.
    axis : int
    epsilon : float
    center, scale : bool

    Examples
    --------
    >>> keras.layers.GroupNormalization(2)(np.ones((2, 3, 4))).shape
    (2, 3, 4)
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.regularizers = (gamma_regularizer, beta_regularizer)
        self.groups = groups
        self.axis = axis
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.initializers = (gamma_initializer, beta_initializer)
        self.gamma: Any = None
        self.beta: Any = None

    def build(self, input_shape: Any) -> None:
        """Make the weights."""
        channels = input_shape[self.axis]
        if self.groups == -1:
            self.groups = channels
        if channels % self.groups:
            raise ShapeError(
                f"GroupNormalization: {channels} channels cannot be cut into {self.groups} groups"
            )
        if self.scale:
            self.gamma = self.add_weight(
                (channels,), self.initializers[0], regularizer=self.regularizers[0]
            )
        if self.center:
            self.beta = self.add_weight(
                (channels,), self.initializers[1], regularizer=self.regularizers[1]
            )
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        return functional.group_norm(
            x, self.groups, self.gamma, self.beta, axis=self.axis, eps=self.epsilon
        )


class UnitNormalization(_Normalization):
    """`x` over its norm along `axis`.

    Examples
    --------
    >>> keras.layers.UnitNormalization()(np.float32([[3.0, 4.0]]))
    tensor([[0.6, 0.8]], dtype=float32)
    """

    built = True

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        return functional.normalize(x, axis=self.axis)


class Normalization(_Normalization):
    """``(x - mean) / sqrt(variance)`` with means and variances of a data set, see :meth:`adapt`.

    Until :meth:`adapt` is called the mean is 0 and the variance 1, as in Keras.

    Parameters
    ----------
    axis : int, sequence of int or None
        That each has its own mean; None for one of all.
    mean, variance : array-like, optional
    invert : bool
        Whether to give ``x * sqrt(variance) + mean`` instead.

    Attributes
    ----------
    mean, variance : Tensor
        Of the rank of the input, once its shape is known.
    adapt_mean, adapt_variance, count : Tensor
        The weights, where mean and variance are not given. Keras keeps a count that stays 0.

    Examples
    --------
    >>> layer = keras.layers.Normalization()
    >>> layer.adapt(np.float32([[0.0], [2.0]]))
    >>> layer(np.float32([[2.0]]))
    tensor([[1.]], dtype=float32)
    """

    def __init__(
        self,
        axis: Any = -1,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (mean is None) != (variance is None):
            raise ValueError("Normalization: give both mean and variance, or neither and adapt()")
        self.axis = axis
        self.invert = bool(invert)
        self._given_mean = None if mean is None else asarray(mean)
        self._given_variance = None if variance is None else asarray(variance)
        self._aligned: tuple[int, ...] = ()

    def build(self, input_shape: Any) -> None:
        """Make the weights, where mean and variance are not given."""
        ndim = len(input_shape)
        kept = self._kept(ndim)
        if any(input_shape[i] is None for i in kept):
            raise ShapeError(
                f"Normalization: axis {self.axis} of the input, {tuple(input_shape)}, must be known"
            )
        self._aligned = tuple(input_shape[i] if i in kept else 1 for i in range(ndim))
        if self._given_mean is None:
            shape = tuple(input_shape[i] for i in kept)
            self.adapt_mean = self.add_weight(shape, "zeros", trainable=False)
            self.adapt_variance = self.add_weight(shape, "ones", trainable=False)
            self.count = self.add_weight((), "zeros", dtype="int32", trainable=False)
        self.built = True

    @property
    def mean(self) -> Any:
        """Means, given or of the data set; None before the layer is built."""
        return self._along(self._given_mean, "adapt_mean")

    @property
    def variance(self) -> Any:
        """Variances, given or of the data set; None before the layer is built."""
        return self._along(self._given_variance, "adapt_variance")

    def _along(self, given: Any, weight: str) -> Any:
        """Values with an axis of length 1 for each that has no means of its own."""
        value = getattr(self, weight, None) if given is None else given
        if value is None or not self.built:
            return value
        fits = value.size == math.prod(self._aligned)
        return reshape(value, self._aligned) if fits else value

    def _kept(self, ndim: int) -> list[int]:
        if self.axis is None:
            return []
        given = self.axis if isinstance(self.axis, (list, tuple)) else [self.axis]
        if any(not -ndim <= a < ndim for a in given):
            raise ShapeError(f"Normalization: axis is {self.axis}, the input has {ndim} axes")
        return sorted(a % ndim for a in given)

    def adapt(self, data: Any) -> None:
        """Take mean and variance from a data set.

        Parameters
        ----------
        data : array-like, or iterable of arrays
            Samples, or batches of them; of a pair the first is taken.
        """
        x = _joined(data)
        kept = self._kept(x.ndim)
        shape = tuple(n if i in kept else None for i, n in enumerate(x.shape))
        self._given_mean = self._given_variance = None
        if not self.built or not hasattr(self, "adapt_mean"):
            self._build(shape)
        aligned = tuple(n or 1 for n in shape)
        if aligned != self._aligned:
            raise ShapeError(
                f"Normalization: adapt was given data of shape {x.shape}, the layer is built for "
                f"means of shape {self._aligned}, these are of {aligned}"
            )
        axes = tuple(i for i in range(x.ndim) if i not in kept)
        with no_grad():
            if x.dtype.kind in "biu":
                x = x.astype(np.float32)
            self.adapt_mean[...] = mean(x, axis=axes)
            self.adapt_variance[...] = var(x, axis=axes)

    def call(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        if x.dtype.kind in "biu":
            x = x.astype(np.float32)
        middle = self.mean.astype(x.dtype)
        spread = maximum(sqrt(self.variance), 1e-7).astype(x.dtype)
        found: Tensor = x * spread + middle if self.invert else (x - middle) / spread
        return found


def _joined(data: Any) -> Tensor:
    """An array, or batches of a data set one behind the other."""
    if not hasattr(data, "shape"):
        batches = [b[0] if isinstance(b, tuple) else b for b in data]
        if not batches:
            raise ValueError("adapt: the data set has no batches")
        if not all(getattr(b, "ndim", 0) for b in batches):  # numbers, or lists of them
            return asarray(_as_tensor(np.asarray(data)))
        return concat([asarray(_as_tensor(b)) for b in batches])
    return asarray(_as_tensor(data))
