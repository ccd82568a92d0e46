"""The normal distribution."""

import math
from typing import Any

from gputensor.torch.distributions.distribution import Distribution, door, together

__all__ = ["Normal"]


class Normal(Distribution):
    """Normal distribution of mean `loc` and standard deviation `scale`.

    Parameters
    ----------
    loc, scale : Tensor or float

    Examples
    --------
    >>> torch.distributions.Normal(0.0, 1.0).log_prob(torch.tensor(0.0))
    tensor(-0.9189)
    """

    def __init__(self, loc: Any, scale: Any, validate_args: Any = None) -> None:
        self.loc, self.scale = together(loc, scale)
        super().__init__(self.loc.shape)

    @property
    def mean(self) -> Any:
        """The mean."""
        return self.loc

    @property
    def stddev(self) -> Any:
        """The standard deviation."""
        return self.scale

    @property
    def variance(self) -> Any:
        """Its square."""
        return self.scale**2

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Samples with gradients towards the parameters."""
        drawn = door.randn(self._shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + drawn * self.scale

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the density."""
        distance = (value - self.loc) / self.scale
        return -0.5 * distance**2 - door.log(self.scale) - 0.5 * math.log(2 * math.pi)

    def entropy(self) -> Any:
        """Entropy in nats."""
        return 0.5 + 0.5 * math.log(2 * math.pi) + door.log(self.scale)
