"""``keras.random``: numbers of gputensor's generator, or of one of a seed."""

from typing import Any

import numpy as np

from gputensor import config
from gputensor.autograd import Tensor
from gputensor.errors import ShapeError
from gputensor.keras.initializers import truncated
from gputensor.nn import functional
from gputensor.ops import asarray, multiply, ones, permute_dims
from gputensor.random import Generator, default_generator

__all__ = [
    "SeedGenerator",
    "beta",
    "binomial",
    "categorical",
    "dropout",
    "gamma",
    "normal",
    "randint",
    "shuffle",
    "truncated_normal",
    "uniform",
]


class SeedGenerator(Generator):
    """A generator of its own, as ``seed=`` takes it."""

    def __init__(self, seed: int | None = None, name: str | None = None) -> None:
        super().__init__(int(np.random.default_rng().integers(2**31)) if seed is None else seed)


def _of(seed: Any) -> Generator:
    if seed is None:
        return default_generator
    return seed if isinstance(seed, Generator) else Generator(int(seed))


def _sizes(shape: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in shape)


def normal(
    shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None
) -> Tensor:
    """Normal numbers."""
    return _of(seed).normal(mean, stddev, _sizes(shape), dtype=dtype)


def uniform(
    shape: Any, minval: float = 0.0, maxval: float = 1.0, dtype: Any = None, seed: Any = None
) -> Tensor:
    """Evenly distributed numbers."""
    return _of(seed).uniform(minval, maxval, _sizes(shape), dtype=dtype)


def truncated_normal(
    shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Any = None
) -> Tensor:
    """Normal numbers, none of them more than two standard deviations away."""
    return mean + stddev * truncated(_of(seed), _sizes(shape), dtype)


def gamma(shape: Any, alpha: Any, dtype: Any = None, seed: Any = None) -> Tensor:
    """Numbers of the gamma distribution of scale 1."""
    return _of(seed).gamma(alpha, 1.0, _sizes(shape), dtype=dtype)


def beta(shape: Any, alpha: Any, beta: Any, dtype: Any = None, seed: Any = None) -> Tensor:
    """Numbers of the beta distribution."""
    return _of(seed).beta(alpha, beta, _sizes(shape), dtype=dtype)


def binomial(
    shape: Any, counts: Any, probabilities: Any, dtype: Any = None, seed: Any = None
) -> Tensor:
    """How many of `counts` trials succeed, in the default dtype."""
    trials = asarray(counts).astype("int64")
    drawn = _of(seed).binomial(trials, probabilities, _sizes(shape))
    return drawn.astype(config.default_dtype() if dtype is None else dtype)


def categorical(logits: Any, num_samples: int, dtype: Any = "int32", seed: Any = None) -> Tensor:
    """Classes with probabilities ``softmax(logits)``, of shape (n, num_samples).

    Parameters
    ----------
    logits : Tensor or array of shape (n, classes)
    num_samples : int
    """
    rows = asarray(logits)
    if rows.ndim != 2:
        raise ShapeError(f"categorical: logits has shape {rows.shape}; it must be (n, classes)")
    drawn = _of(seed).categorical(rows, (int(num_samples), rows.shape[0]))
    return permute_dims(drawn, (1, 0)).astype(dtype)


def randint(shape: Any, minval: int, maxval: int, dtype: Any = "int32", seed: Any = None) -> Tensor:
    """Whole numbers from `minval` up to below `maxval`."""
    return _of(seed).integers(minval, maxval, _sizes(shape)).astype(dtype)


def shuffle(x: Tensor, axis: int = 0, seed: Any = None) -> Tensor:
    """`x` in another order along the first axis."""
    if axis != 0:
        raise ValueError(f"shuffle: axis is {axis}; only 0 is supported")
    return x[_of(seed).permutation(x.shape[0])]


def dropout(x: Tensor, rate: float, noise_shape: Any = None, seed: Any = None) -> Tensor:
    """`x` with zeros at random, see :func:`gputensor.nn.functional.dropout`.

    `noise_shape` has 1 where a whole axis is kept or dropped together.
    """
    if noise_shape is None:
        return functional.dropout(x, rate, True, _of(seed))
    sizes = [n if m is None else m for m, n in zip(noise_shape, x.shape, strict=True)]
    whole = ones(tuple(sizes), dtype=x.dtype, device=x.device)
    return multiply(x, functional.dropout(whole, rate, True, _of(seed)))
