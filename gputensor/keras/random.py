"""``keras.random``: numbers of gputensor's generator, or of one of a seed."""

from typing import Any

import numpy as np

from gputensor.autograd import Tensor
from gputensor.nn import functional
from gputensor.ops import multiply, ones
from gputensor.random import Generator, default_generator

__all__ = ["SeedGenerator", "dropout", "normal", "randint", "shuffle", "uniform"]


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
