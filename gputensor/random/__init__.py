"""Random numbers from a counter-based stream, Philox4x32-10: the same on the CPU and on CUDA.

Methods and their arguments are those of ``numpy.random.Generator``, in the same order. Parameters
of distributions may be tensors; then the numbers are functions of them, with gradients.
"""

from typing import TYPE_CHECKING

from gputensor import words
from gputensor.random.discrete import Discrete

__all__ = [
    "Generator",
    "default_generator",
    "default_rng",
    "manual_seed",
]


class Generator(Discrete):
    """Stream of random numbers.

    Parameters
    ----------
    seed : int, optional
        Non-negative, below 2**64; without it, one from the operating system. Equal seeds give
        equal numbers on every device, normal ones to rounding.

    Attributes
    ----------
    state : tuple of int
        Seed and counter; settable, to go on from there.

    Notes
    -----
    In the methods `shape` is that of the result, ``()`` if it is None, in the place of NumPy's
    `size`; `dtype` is its dtype and `device` its place, where the numbers are drawn.

    Where parameters of a distribution are tensors, or arrays, they broadcast, and with `shape`; by
    default the result has their shape, dtype and device. Their values are not checked, as the host
    would have to wait for them.

    Examples
    --------
    >>> rng = gt.random.Generator(42)
    >>> rng.normal(0, 1, (2, 3)).shape, rng.state
    ((2, 3), (42, 2))
    """


default_generator = Generator()


def default_rng(seed: int | None = None) -> Generator:
    """Make a generator, as ``numpy.random.default_rng`` does; the same as ``Generator(seed)``.

    Examples
    --------
    >>> gt.random.default_rng(42).integers(0, 10, 5)
    tensor([6, 0, 9, 5, 8])
    """
    return Generator(seed)


def manual_seed(seed: int) -> Generator:
    """Start gputensor's own generator, which layers and dropout draw from, again from `seed`.

    Examples
    --------
    >>> gt.random.manual_seed(42)
    Generator(seed=42, counter=0)
    """
    return default_generator.manual_seed(seed)


if not TYPE_CHECKING:
    __getattr__ = words.unknown("gputensor.random")
