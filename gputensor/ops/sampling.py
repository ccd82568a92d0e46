"""Images seen at other places: values between the elements of (n, height, width, channels)."""

from typing import Any

import numpy as np

from gputensor.autograd import Tensor
from gputensor.ops.choices import clip, logical_and, where
from gputensor.ops.creation import arange
from gputensor.ops.data_type import astype
from gputensor.ops.elementwise import abs as absolute
from gputensor.ops.elementwise import floor
from gputensor.ops.indexing import take
from gputensor.ops.manipulation import expand_dims, reshape

__all__ = ["EDGES", "affine", "sampled"]

# What is outside: "reflect" is (d c b a | a b c d | d c b a), "mirror" leaves out the edge twice.
EDGES = ("constant", "nearest", "reflect", "mirror", "wrap")


def _inside(places: Tensor, n: int, edge: str) -> Tensor:
    """Whole numbers from 0 to n - 1 for places of whole numbers anywhere."""
    if edge == "reflect":
        places = places % (2 * n)
        places = where(places >= n, 2 * n - 1 - places, places)
    elif edge == "mirror" and n > 1:
        places = (n - 1) - absolute(places % (2 * n - 2) - (n - 1))
    elif edge == "wrap":
        places = places % n
    return clip(places, 0, n - 1)


def sampled(
    x: Tensor,
    rows: Tensor,
    columns: Tensor,
    kind: str = "bilinear",
    edge: str = "constant",
    fill: float = 0.0,
) -> Tensor:
    """Values of images at places; the gradient goes to the elements that were seen, and the places.

    Parameters
    ----------
    x : Tensor of shape (n, height, width, channels)
    rows, columns : Tensor of shape (n, high, wide)
        Places, where elements are at 0, 1, 2, ...
    kind : {"bilinear", "nearest"}
    edge : one of EDGES
        What is seen outside.
    fill : float
        With "constant".

    Returns
    -------
    Tensor of shape (n, high, wide, channels)
    """
    n, high, wide, channels = x.shape
    flat = reshape(x, (n * high * wide, channels))
    start = reshape(arange(n, device=x.device) * (high * wide), (n, 1, 1))

    def at(row: Tensor, column: Tensor) -> Tensor:
        i, j = (astype(p.detach(), np.int64) for p in (row, column))
        index = start + _inside(i, high, edge) * wide + _inside(j, wide, edge)
        found = reshape(take(flat, reshape(index, (-1,)), axis=0), (*index.shape, channels))
        if edge != "constant":
            return found
        there = logical_and(logical_and(i >= 0, i < high), logical_and(j >= 0, j < wide))
        return where(expand_dims(there, axis=-1), found, fill)

    if kind == "nearest":
        return at(floor(rows + 0.5), floor(columns + 0.5))
    top, left = floor(rows).detach(), floor(columns).detach()
    down, right = (expand_dims(p, axis=-1) for p in (rows - top, columns - left))
    above = at(top, left) * (1 - right) + at(top, left + 1) * right
    below = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    return above * (1 - down) + below * down


def affine(x: Tensor, transforms: Tensor, **options: Any) -> Tensor:
    """Images seen through maps of their places, see :func:`sampled`.

    Parameters
    ----------
    x : Tensor of shape (n, height, width, channels)
    transforms : Tensor of shape (n, 8)
        ``a0, a1, a2, b0, b1, b2, c0, c1``: what is at column i and row j of the result is at column
        ``(a0 i + a1 j + a2) / k`` and row ``(b0 i + b1 j + b2) / k`` of `x`, where
        ``k = c0 i + c1 j + 1``.
    """
    _, high, wide, _ = x.shape
    dtype: Any = {"dtype": transforms.dtype, "device": x.device}
    j = reshape(arange(high, **dtype), (1, high, 1))
    i = reshape(arange(wide, **dtype), (1, 1, wide))
    a0, a1, a2, b0, b1, b2, c0, c1 = (reshape(transforms[:, k], (-1, 1, 1)) for k in range(8))
    k = c0 * i + c1 * j + 1
    return sampled(x, (b0 * i + b1 * j + b2) / k, (a0 * i + a1 * j + a2) / k, **options)
