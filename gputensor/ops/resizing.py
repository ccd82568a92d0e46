"""Other sizes along an axis: interpolation, and pooling to a number of windows.

Interpolation is linear in the elements: it is a product with a matrix of weights, which the host
makes of the two lengths.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor, wrap
from gputensor.ops.indexing import getitem, take
from gputensor.ops.manipulation import concat, moveaxis, reshape
from gputensor.ops.precision import widened
from gputensor.ops.products import matmul

__all__ = ["KINDS", "adaptive", "resized", "resized_axis"]

KINDS = ("nearest", "nearest-exact", "bilinear", "bicubic")


def _places(old: int, new: int, corners: bool, scale: float | None) -> "np.ndarray[Any, Any]":
    """Where new elements are among the old ones, whose centres are at 0, 1, 2, ..."""
    if corners:
        return np.arange(new) * ((old - 1) / (new - 1) if new > 1 else 0.0)
    pace = old / new if scale is None else 1 / scale
    return (np.arange(new) + 0.5) * pace - 0.5


def _cubic(d: "np.ndarray[Any, Any]", a: float) -> "np.ndarray[Any, Any]":
    """Keys's kernel (1981)."""
    d = np.abs(d)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _matrix(
    kind: str, old: int, new: int, corners: bool, scale: float | None, smooth: bool
) -> "np.ndarray[Any, Any]":
    """Weights of old elements (columns) in new ones (rows)."""
    places = _places(old, new, corners, scale)
    if smooth:  # a kernel as wide as the step, cut off at the edges
        wide = max(old / new if scale is None else 1 / scale, 1.0)
        d = (np.arange(old)[None] - places[:, None]) / wide
        weights = np.maximum(1 - np.abs(d), 0.0) if kind == "bilinear" else _cubic(d, -0.5)
        return weights / weights.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]
    if kind == "bilinear":
        places = np.maximum(places, 0.0)
    first = np.floor(places).astype(int)
    reach = (0, 1) if kind == "bilinear" else (-1, 0, 1, 2)
    matrix = np.zeros((new, old))
    for step in reach:
        d = places - (first + step)
        share = np.maximum(1 - np.abs(d), 0.0) if kind == "bilinear" else _cubic(d, -0.75)
        np.add.at(matrix, (np.arange(new), np.clip(first + step, 0, old - 1)), share)
    return matrix


def resized_axis(
    x: Tensor,
    axis: int,
    size: int,
    kind: str,
    *,
    corners: bool = False,
    scale: float | None = None,
    smooth: bool = False,
) -> Tensor:
    """`x` with `size` elements along `axis`.

    Parameters
    ----------
    x : Tensor
    axis, size : int
    kind : {"nearest", "nearest-exact", "bilinear", "bicubic"}
        "bilinear" is linear along one axis; "bicubic" is the convolution of Keys (1981).
    corners : bool
        Whether first and last elements stay where they are, not the edges.
    scale : float, optional
        How many times as long the axis is to be taken for, where that is no whole number.
    smooth : bool
        Whether kernels are as wide as the steps between elements, against aliases.
    """
    old = x.shape[axis]
    if kind.startswith("nearest"):
        pace = old / size if scale is None else 1 / scale
        exact = 0.5 if kind == "nearest-exact" else 0.0
        places = np.minimum(np.floor((np.arange(size) + exact) * pace), old - 1).astype(np.int64)
        return take(x, backend.to_device(places, x.device), axis=axis)
    if old == size and scale in (None, 1.0):
        return x
    x = widened(x)
    matrix = _matrix(kind, old, size, corners, scale, smooth and not corners).astype(x.dtype)
    factor = wrap(backend.to_device(matrix, x.device))
    if axis == x.ndim - 2:
        return matmul(factor, x)
    return moveaxis(matmul(moveaxis(x, axis, -1), factor.T), -1, axis)


def resized(x: Tensor, size: Sequence[int], kind: str, first: int = 1, **options: Any) -> Tensor:
    """`x` with these lengths of its axes from `first` on, see :func:`resized_axis`."""
    for axis, length in enumerate(size, start=first):
        x = resized_axis(x, axis, length, kind, **options)
    return x


def adaptive(x: Tensor, axis: int, size: int, reduction: Any) -> Tensor:
    """`x` with `size` windows along `axis`, each reduced to one element.

    Window i is from ``floor(i * n / size)`` to ``ceil((i + 1) * n / size)``, as in PyTorch.
    """
    n = x.shape[axis]
    found: Tensor
    if n % size == 0:
        parts = reshape(x, (*x.shape[:axis], size, n // size, *x.shape[axis + 1 :]))
        found = reduction(parts, axis=axis + 1)
        return found
    before = (slice(None),) * axis
    windows = [
        getitem(x, (*before, slice(i * n // size, math.ceil((i + 1) * n / size))))
        for i in range(size)
    ]
    return concat([reduction(w, axis=axis, keepdims=True) for w in windows], axis=axis)
