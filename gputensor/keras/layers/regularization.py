"""Layers that act while training alone."""

from typing import Any

import numpy as np

from gputensor import nn
from gputensor.autograd import Tensor
from gputensor.keras.layers.base import Layer
from gputensor.keras.layers.channels import Channeled
from gputensor.keras.random import dropout
from gputensor.keras.regularizers import L1L2
from gputensor.ops.choices import where
from gputensor.ops.creation import ones
from gputensor.ops.elementwise import multiply
from gputensor.random import Generator, default_generator

__all__ = [
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
]


def generator_of(seed: Any) -> Generator | None:
    """A layer's own random numbers where it is given a seed or a ``SeedGenerator``, else None."""
    return seed if seed is None or isinstance(seed, Generator) else Generator(int(seed))


class _Noise(Layer):
    """Base: `rate` may be set at any time, and takes effect in the next step.

    With `seed` the layer draws from a generator of its own, which begins there.
    """

    built = True

    def __init__(self, rate: float, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        name = type(self).__name__
        if isinstance(rate, bool) or not isinstance(rate, (int, float, np.number)):
            raise ValueError(f"{name}: rate is {rate!r}; it must be a number from 0 to 1")
        if not 0 <= rate <= 1:
            raise ValueError(f"{name}: rate is {rate!r}; it must be a number from 0 to 1")
        self.rate = float(rate)
        self.seed = seed
        self._generator = generator_of(seed)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape

    def _dropped(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, self.rate, True, self._generator)


class Dropout(_Noise):
    """Zeros at random while training; the others are scaled to keep the mean.

    Parameters
    ----------
    rate : float
        Probability of zero.
    noise_shape : tuple of int, optional
        Of what is drawn, 1 along axes that share it.
    seed : int or keras.random.SeedGenerator, optional
        Where the layer's own random numbers begin; by default they are gputensor's, which
        ``keras.utils.set_random_seed`` starts.

    Examples
    --------
    >>> keras.layers.Dropout(0.5)(np.float32([[1.0, 2.0]]))
    tensor([[1., 2.]], dtype=float32)
    """

    def __init__(
        self, rate: float, noise_shape: Any = None, seed: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(rate, seed, **kwargs)
        self.noise_shape = noise_shape

    def call(self, x: Tensor) -> Tensor:
        """`x` with elements dropped while training."""
        if not self.training or not self.rate:
            return x
        return dropout(x, self.rate, self.noise_shape, self._generator)


class SpatialDropout1D(_Noise):
    """Drops whole features of sequences (n, steps, features) while training.

    Examples
    --------
    >>> keras.layers.SpatialDropout1D(0.1)(np.ones((2, 5, 3))).shape
    (2, 5, 3)
    """

    def call(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        if not self.training or not self.rate:
            return x
        shape = (x.shape[0], *(1 for _ in x.shape[1:-1]), x.shape[-1])
        return dropout(x, self.rate, shape, self._generator)


class SpatialDropout2D(Channeled, SpatialDropout1D):
    """Drops whole channels of images (n, height, width, channels) while training.

    Examples
    --------
    >>> keras.layers.SpatialDropout2D(0.1)(np.ones((2, 5, 5, 3))).shape
    (2, 5, 5, 3)
    """

    def __init__(
        self, rate: float, data_format: str | None = None, seed: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(rate, seed, **kwargs)
        self._set_format(data_format)


class SpatialDropout3D(SpatialDropout2D):
    """Drops whole channels of volumes (n, depth, height, width, channels) while training.

    Examples
    --------
    >>> keras.layers.SpatialDropout3D(0.5)(gt.ones((2, 3, 3, 3, 4)), training=True).shape
    (2, 3, 3, 3, 4)
    """


class GaussianNoise(Layer):
    """Adds normal numbers of standard deviation `stddev` while training.

    Examples
    --------
    >>> keras.layers.GaussianNoise(0.1)(np.ones((2, 3))).shape
    (2, 3)
    """

    built = True

    def __init__(self, stddev: float, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not stddev >= 0:
            raise ValueError(f"GaussianNoise: stddev is {stddev}; it must be 0 or more")
        self.stddev = float(stddev)
        self.seed = seed
        self._generator = generator_of(seed)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's shape."""
        return input_shape

    def call(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        if not self.training or not self.stddev:
            return x
        generator = self._generator or default_generator
        return x + self.stddev * generator.standard_normal(x.shape, dtype=x.dtype, device=x.device)


class GaussianDropout(_Noise):
    """Multiplies by normal numbers of mean 1 and variance ``rate / (1 - rate)`` while training.

    Examples
    --------
    >>> keras.layers.GaussianDropout(0.1)(np.ones((2, 3))).shape
    (2, 3)
    """

    def call(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        if not self.training or not self.rate:
            return x
        spread = (self.rate / (1 - self.rate)) ** 0.5
        generator = self._generator or default_generator
        drawn = generator.standard_normal(x.shape, dtype=x.dtype, device=x.device)
        return multiply(x, 1 + spread * drawn)


class AlphaDropout(_Noise):
    """Dropout that keeps mean and variance of SELU's outputs (Klambauer et al. 2017).

    Parameters are those of :class:`Dropout`.

    Examples
    --------
    >>> keras.layers.AlphaDropout(0.1)(np.ones((2, 3))).shape
    (2, 3)
    """

    def __init__(
        self, rate: float, noise_shape: Any = None, seed: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(rate, seed, **kwargs)
        self.noise_shape = noise_shape

    def call(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        if not self.training or not self.rate:
            return x
        low = -1.6732632423543772 * 1.0507009873554805
        keep = 1 - self.rate
        a = (keep * (1 + self.rate * low**2)) ** -0.5
        sizes = self.noise_shape or x.shape
        sizes = tuple(n if m is None else m for m, n in zip(sizes, x.shape, strict=True))
        kept = self._dropped(ones(sizes, dtype=x.dtype, device=x.device)) > 0
        found: Tensor = a * where(kept, x, low) - a * low * self.rate
        return found


class ActivityRegularization(Layer):
    """What comes goes; its size is added to the loss, times `l1` and its square times `l2`.

    Examples
    --------
    >>> keras.layers.ActivityRegularization(l2=0.01)(np.ones((2, 3))).shape
    (2, 3)
    """

    built = True

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(activity_regularizer=L1L2(l1, l2), **kwargs)
        self.l1 = l1
        self.l2 = l2

    def call(self, x: Tensor) -> Tensor:
        """`x` itself."""
        return x
