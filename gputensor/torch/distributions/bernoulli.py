"""The Bernoulli distribution."""

from typing import Any

from gputensor.autograd import no_grad
from gputensor.nn.functional import softplus
from gputensor.torch.distributions.distribution import Distribution, door, together
from gputensor.torch.tensor import ours

__all__ = ["Bernoulli"]


class Bernoulli(Distribution):
    """1 with probability `probs`, else 0.

    Parameters
    ----------
    probs : Tensor or float, optional
    logits : Tensor or float, optional
        Logarithms of the odds, in its stead.

    Examples
    --------
    >>> torch.distributions.Bernoulli(0.25).mean
    tensor(0.2500)
    """

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: Any = None) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Bernoulli: give either probs or logits")
        if logits is None:
            (self.probs,) = together(probs)
            self.logits = door.log(self.probs) - door.log1p(-self.probs)
        else:
            (self.logits,) = together(logits)
            self.probs = door.sigmoid(self.logits)
        super().__init__(self.probs.shape)

    @property
    def mean(self) -> Any:
        """The probability of 1."""
        return self.probs

    @property
    def variance(self) -> Any:
        """The variance."""
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Any:
        """Samples, 0.0 and 1.0."""
        with no_grad():
            return door.bernoulli(door.broadcast_to(self.probs, self._shape(sample_shape)))

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the probability."""
        return value * self.logits - ours(softplus(self.logits))

    def entropy(self) -> Any:
        """Entropy in nats."""
        return ours(softplus(self.logits)) - self.probs * self.logits
