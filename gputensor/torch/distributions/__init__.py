"""``torch.distributions``: random numbers with densities, for policies and variational models."""

from gputensor.torch.distributions.bernoulli import Bernoulli
from gputensor.torch.distributions.categorical import Categorical
from gputensor.torch.distributions.distribution import Distribution
from gputensor.torch.distributions.kl import kl_divergence
from gputensor.torch.distributions.normal import Normal
from gputensor.torch.distributions.uniform import Uniform

__all__ = ["Bernoulli", "Categorical", "Distribution", "Normal", "Uniform", "kl_divergence"]
