"""The categorical distribution."""

import math
from typing import Any

from gputensor.autograd import no_grad
from gputensor.torch.distributions.distribution import Distribution, door

__all__ = ["Categorical"]


class Categorical(Distribution):
    """Numbers of classes, by the probabilities in the last axis.

    Parameters
    ----------
    probs : Tensor of shape (..., classes), optional
        Divided by their sums.
    logits : Tensor of shape (..., classes), optional
        Their logarithms, but for a constant, in its stead.

    Examples
    --------
    >>> torch.distributions.Categorical(torch.tensor([1.0, 3.0])).probs
    tensor([0.2500, 0.7500])
    """

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: Any = None) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Categorical: give either probs or logits")
        if logits is None:
            self.probs = probs / probs.sum(-1, keepdim=True)
            self.logits = door.log(self.probs)
        else:
            self.logits = logits - door.logsumexp(logits, -1, keepdim=True)
            self.probs = door.exp(self.logits)
        super().__init__(self.probs.shape[:-1])

    def sample(self, sample_shape: Any = ()) -> Any:
        """Samples, of dtype int64."""
        classes = self.probs.shape[-1]
        count = math.prod(sample_shape)
        with no_grad():
            rows = self.probs.reshape(-1, classes)
            drawn = door.multinomial(rows, max(count, 1), replacement=True)
            return drawn.T.reshape(self._shape(sample_shape))

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the probability of classes."""
        index = value.long()
        shape = door.broadcast_shapes(index.shape, self.batch_shape)
        logits = door.broadcast_to(self.logits, (*shape, self.logits.shape[-1]))
        index = door.broadcast_to(index, shape).unsqueeze(-1)
        return door.gather(logits, -1, index).squeeze(-1)

    def entropy(self) -> Any:
        """Entropy in nats."""
        safe = door.where(self.probs > 0, self.logits, 0.0)
        return -(self.probs * safe).sum(-1)
