"""Divergences between distributions."""

from typing import Any

from gputensor.torch.distributions.bernoulli import Bernoulli
from gputensor.torch.distributions.categorical import Categorical
from gputensor.torch.distributions.distribution import door
from gputensor.torch.distributions.normal import Normal

__all__ = ["kl_divergence"]


def kl_divergence(p: Any, q: Any) -> Any:
    """Kullback-Leibler divergence of `q` from `p`, two of one class, in nats.

    Raises
    ------
    NotImplementedError
        For others than Normal, Categorical and Bernoulli.

    Examples
    --------
    >>> Normal = torch.distributions.Normal
    >>> torch.distributions.kl_divergence(Normal(1.0, 1.0), Normal(0.0, 1.0))
    tensor(0.5000)
    """
    kinds = {type(p), type(q)}
    if kinds == {Normal}:
        ratio = (p.scale / q.scale) ** 2
        return 0.5 * (ratio + ((p.loc - q.loc) / q.scale) ** 2 - 1 - door.log(ratio))
    if kinds == {Categorical}:
        difference = door.where(p.probs > 0, p.logits - q.logits, 0.0)
        return (p.probs * difference).sum(-1)
    if kinds == {Bernoulli}:
        return -p.entropy() - (p.probs * q.logits - door.nn.functional.softplus(q.logits))
    names = " and ".join(sorted(kind.__name__ for kind in kinds))
    raise NotImplementedError(
        f"kl_divergence: not of {names}; of two Normal, Categorical or Bernoulli"
    )
