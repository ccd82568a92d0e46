"""The uniform distribution."""

import math
from typing import Any

from gputensor.torch.distributions.distribution import Distribution, door, together

__all__ = ["Uniform"]


class Uniform(Distribution):
    """Uniform distribution from `low` on, below `high`.

    Parameters
    ----------
    low, high : Tensor or float

    Examples
    --------
    >>> torch.distributions.Uniform(0.0, 4.0).mean
    tensor(2.)
    """

    def __init__(self, low: Any, high: Any, validate_args: Any = None) -> None:
        self.low, self.high = together(low, high)
        super().__init__(self.low.shape)

    @property
    def mean(self) -> Any:
        """The mean."""
        return (self.low + self.high) / 2

    @property
    def variance(self) -> Any:
        """The variance."""
        return (self.high - self.low) ** 2 / 12

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Samples with gradients towards the parameters."""
        drawn = door.rand(self._shape(sample_shape), dtype=self.low.dtype, device=self.low.device)
        return self.low + drawn * (self.high - self.low)

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the density, minus infinity outside."""
        inside = (value >= self.low) & (value < self.high)
        return door.where(inside, -door.log(self.high - self.low), -math.inf)

    def entropy(self) -> Any:
        """Entropy in nats."""
        return door.log(self.high - self.low)
