"""What distributions share."""

import importlib
from typing import Any

from gputensor.autograd import Tensor, no_grad

__all__ = ["Distribution", "door", "together"]

door: Any = importlib.import_module("gputensor.torch")  # whose functions are made as it loads


def together(*values: Any) -> list[Any]:
    """Parameters as tensors of one shape."""
    tensors = [v if isinstance(v, Tensor) else door.tensor(float(v)) for v in values]
    return list(door.broadcast_tensors(*tensors))


class Distribution:
    """Base class.

    Parameters
    ----------
    batch_shape : tuple of int
        Of the parameters: so many distributions that are independent.

    Examples
    --------
    >>> isinstance(torch.distributions.Normal(0.0, 1.0), torch.distributions.Distribution)
    True
    """

    def __init__(self, batch_shape: Any) -> None:
        self.batch_shape = door.Size(tuple(batch_shape))
        self.event_shape = door.Size(())

    def _shape(self, sample_shape: Any) -> tuple[int, ...]:
        """Of that many samples."""
        return (*sample_shape, *self.batch_shape)

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Samples with gradients towards the parameters."""
        raise NotImplementedError(f"{type(self).__name__}: samples have no gradient; use sample()")

    def sample(self, sample_shape: Any = ()) -> Any:
        """Samples of shape (*sample_shape, *batch_shape), without gradients."""
        with no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the density, or of the probability, of values."""
        raise NotImplementedError(f"{type(self).__name__} defines no log_prob")

    def entropy(self) -> Any:
        """Entropy in nats."""
        raise NotImplementedError(f"{type(self).__name__} defines no entropy")
