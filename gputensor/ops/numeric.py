"""Functions that NumPy has and the array API standard has not."""

import math
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Operand, Primitive, Tensor, as_array, wrap
from gputensor.errors import DTypeError, OutOfRangeError, ShapeError
from gputensor.kernels.runtime import narrow, widen
from gputensor.ops.axes import Axis, any_zero, axes_of, checked_axis, count_of, kept_shape, one_axis
from gputensor.ops.choices import clip, isfinite, isinf, isnan, logical_not, logical_or, where
from gputensor.ops.creation import asarray
from gputensor.ops.data_type import astype
from gputensor.ops.elementwise import atan2, imag, multiply, real
from gputensor.ops.indexing import getitem, index_add, take
from gputensor.ops.manipulation import flatten, moveaxis, permute_dims, reshape
from gputensor.ops.searching import searchsorted
from gputensor.ops.sorting import sort
from gputensor.ops.statistical import cumulative_prod, cumulative_sum
from gputensor.options import integer, numbers

__all__ = [
    "angle",
    "bincount",
    "convolve",
    "cumprod",
    "cumsum",
    "deg2rad",
    "interp",
    "median",
    "quantile",
    "rad2deg",
    "segment_sum",
    "swapaxes",
]


def cumsum(x: Operand, /, axis: int | None = None, dtype: Any = None) -> Tensor:
    """:func:`cumulative_sum` with NumPy's parameters: over all elements in one row by default.

    Examples
    --------
    >>> gt.cumsum(gt.tensor([1, 2, 3]))
    tensor([1, 3, 6])
    """
    return cumulative_sum(flatten(x) if axis is None else x, axis=axis, dtype=dtype)


def cumprod(x: Operand, /, axis: int | None = None, dtype: Any = None) -> Tensor:
    """:func:`cumulative_prod` with NumPy's parameters: over all elements in one row by default.

    Examples
    --------
    >>> gt.cumprod(gt.tensor([1, 2, 3]))
    tensor([1, 2, 6])
    """
    return cumulative_prod(flatten(x) if axis is None else x, axis=axis, dtype=dtype)


def angle(x: Operand, /) -> Tensor:
    """Argument of complex numbers, in radians: 0 or pi of real ones; gradient 0 at 0.

    Examples
    --------
    >>> gt.angle(gt.tensor([1j, -1.0]))
    tensor([1.5707964, 3.1415927], dtype=float32)
    """
    x = as_array("angle", x)
    if getattr(x, "dtype", None) == np.bool_:
        x = astype(x, np.float64)
    return atan2(imag(x), real(x))


def deg2rad(x: Operand, /) -> Tensor:
    """Radians of degrees.

    Examples
    --------
    >>> gt.deg2rad(gt.tensor([180.0]))
    tensor([3.1415927], dtype=float32)
    """
    return multiply(x, math.pi / 180)


def rad2deg(x: Operand, /) -> Tensor:
    """Degrees of radians.

    Examples
    --------
    >>> gt.rad2deg(gt.tensor([gt.pi]))
    tensor([180.], dtype=float32)
    """
    return multiply(x, 180 / math.pi)


def swapaxes(x: Operand, axis1: int, axis2: int, /) -> Tensor:
    """View with two axes exchanged.

    Raises
    ------
    ShapeError
        If one is not an axis of `x`.

    Examples
    --------
    >>> gt.swapaxes(gt.ones((2, 3, 4)), 0, 2).shape
    (4, 3, 2)
    """
    x = as_array("swapaxes", x)
    a, b = (one_axis("swapaxes", x, axis) for axis in (axis1, axis2))
    order = list(range(len(x.shape)))
    order[a], order[b] = order[b], order[a]
    return permute_dims(x, tuple(order))


def quantile(x: Operand, q: Any, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Value below which a share `q` of the elements along `axis` lies, between two interpolated.

    Parameters
    ----------
    x : Tensor or array
    q : float or sequence of floats
        From 0 to 1.
    axis : int, tuple of ints or None
    keepdims : bool
        Whether reduced axes stay, with length 1.

    Returns
    -------
    Tensor
        With axes for those of `q` before the others. NaN where there is one.

    Raises
    ------
    ShapeError
        If there are no elements, or `axis` is not an axis of `x`.
    ValueError
        If `q` is out of range.

    Examples
    --------
    >>> gt.quantile(gt.tensor([1.0, 2.0, 3.0]), 0.5)
    tensor(2., dtype=float32)
    """
    x = as_array("quantile", x)
    axis = checked_axis("quantile", x, axis)
    shape = getattr(x, "shape", ())
    if any_zero(shape, axis):
        raise ShapeError(f"quantile: there is none of zero elements, shape is {shape}")
    shares = numbers("quantile", "q", q).astype(np.float64)
    if not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError(f"quantile: q is {q}; it must be from 0 to 1")
    axes = axes_of(shape, axis)
    kept = [a for a in range(len(shape)) if a not in axes]
    rows = permute_dims(x, (*kept, *axes)) if shape else x
    rows = sort(reshape(rows, (*(shape[a] for a in kept), count_of(shape, axis))))
    at = shares.reshape(-1) * (rows.shape[-1] - 1)
    device = rows.device
    below, above = (
        take(rows, asarray(end(at).astype(np.int64), device=device), axis=-1)
        for end in (np.floor, np.ceil)
    )
    dtype: Any = rows.dtype if rows.dtype.kind in "fV" else np.float64
    if rows.dtype.kind == "c":
        dtype = rows.dtype.char.lower()
    share = asarray(at - np.floor(at), dtype, device)
    found = where(share == 0, below, (1 - share) * below + share * above)
    last = getitem(rows, (..., slice(-1, None)))
    found = where(isnan(last), last, found)
    out = reshape(moveaxis(found, -1, 0), (*shares.shape, *found.shape[:-1]))
    return reshape(out, (*shares.shape, *kept_shape(shape, axis))) if keepdims else out


def median(x: Operand, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Middle of the elements along `axis` in order; parameters as for :func:`quantile`.

    Examples
    --------
    >>> gt.median(gt.tensor([3.0, 1.0, 2.0]))
    tensor(2., dtype=float32)
    """
    return quantile(x, 0.5, axis=axis, keepdims=keepdims)


def _convolve_forward(xp: Any, x: Any, y: Any) -> Any:
    found = xp.convolve(widen(xp, x), widen(xp, y))
    return narrow(xp, found, x) if x.dtype == y.dtype else found


def _convolve_rule(xp: Any, g: Any, other: Any) -> Any:
    return xp.convolve(widen(xp, g), widen(xp, xp.flip(other)), mode="valid")


_convolve = Primitive(
    "convolve",
    _convolve_forward,
    (
        lambda xp, g, _out, _x, y: _convolve_rule(xp, g, y),
        lambda xp, g, _out, x, _y: _convolve_rule(xp, g, x),
    ),
)


def convolve(x: Operand, y: Operand, /, mode: str = "full") -> Tensor:
    """Convolution of two sequences, ``out[k] = sum(x[i] * y[k - i])``.

    Parameters
    ----------
    x, y : Tensor or array of shape (n,), (m,)
    mode : {"full", "same", "valid"}
        All ``n + m - 1`` sums, the middle ``max(n, m)``, or those in which none of the shorter
        sequence is missing.

    Returns
    -------
    Tensor

    Raises
    ------
    ShapeError
        If a sequence is empty or has several axes.
    ValueError
        If `mode` is another.

    Examples
    --------
    >>> gt.convolve(gt.tensor([1, 2, 3]), gt.tensor([1, 1]))
    tensor([1, 3, 5, 3])
    """
    if mode not in ("full", "same", "valid"):
        raise ValueError(f"convolve: mode is {mode!r}; allowed are 'full', 'same' and 'valid'")
    x, y = as_array("convolve", x), as_array("convolve", y)
    for operand in (x, y):
        shape: tuple[int, ...] = getattr(operand, "shape", ())
        if len(shape) != 1 or not shape[0]:
            raise ShapeError(f"convolve: operands need one axis with elements, got shape {shape}")
    full = _convolve(x, y)
    short, long = sorted((x.shape[0], y.shape[0]))
    if mode == "valid":
        return getitem(full, slice(short - 1, long))
    start = (short - 1) // 2
    return getitem(full, slice(start, start + long)) if mode == "same" else full


def interp(
    x: Operand,
    xp: Operand,
    fp: Operand,
    /,
    left: float | None = None,
    right: float | None = None,
) -> Tensor:
    """Values at `x` of the broken line through the points ``(xp, fp)``.

    Parameters
    ----------
    x : Tensor or array
        Any shape.
    xp, fp : Tensor or array of shape (n,)
        Abscissas, ascending, and ordinates.
    left, right : float, optional
        Values before the first and after the last point; those of these points by default.

    Returns
    -------
    Tensor
        Of the shape of `x`. Gradients flow to `x`, `xp` and `fp`.

    Raises
    ------
    ShapeError
        If `xp` and `fp` are not of one shape (n,), or empty.

    Examples
    --------
    >>> gt.interp(gt.tensor([1.5]), gt.tensor([1.0, 2.0]), gt.tensor([10.0, 20.0]))
    tensor([15.], dtype=float32)
    """
    at, knots, values = asarray(x), asarray(xp), asarray(fp)
    if knots.ndim != 1 or not knots.size or knots.shape != values.shape:
        raise ShapeError(
            f"interp: xp and fp have shapes {knots.shape} and {values.shape}; they must have one "
            "axis, as long in both, with elements"
        )
    first, last = getitem(values, 0), getitem(values, -1)
    below, above = at < getitem(knots, 0), at > getitem(knots, -1)
    if knots.size > 1:
        within = where(logical_or(below, above), getitem(knots, 0), at)
        i = clip(searchsorted(knots, within, side="right") - 1, 0, knots.size - 2)
        inside = _on_line(within, *(take(a, i + k) for k in (0, 1) for a in (knots, values)))
    else:
        inside = where(isnan(at), at, first)
    inside = where(below, first if left is None else left, inside)
    return where(above, last if right is None else right, inside)


def _on_line(x: Tensor, x0: Tensor, y0: Tensor, x1: Tensor, y1: Tensor) -> Tensor:
    """Where the line from ``(x0, y0)`` to ``(x1, y1)`` is at `x`, from `x0` to `x1`, as in NumPy.

    At equal abscissas, which only the end has, it is `y1`. From an infinite abscissa to another one
    it is the ordinate of the latter.
    """
    fixed = (x0 == x1) | isinf(x0) | isinf(x1)
    share = (x - where(fixed, 0, x0)) / where(fixed, 1, x1 - where(fixed, 0, x0))
    share = where(fixed & logical_not(isnan(x)), 1, share)
    share = where(fixed & (x < x1) & ((x == x0) | isinf(x1)), 0, share)
    finite = isfinite(y0) & isfinite(y1)
    start = where(finite, y0, 0)
    plain = start + share * (where(finite, y1, 0) - start)
    # No product with 0 where an ordinate is infinite.
    special = where(share == 0, y0, where(share == 1, y1, (1 - share) * y0 + share * y1))
    return where(finite, plain, special)


def _group_ids(name: str, ids: Operand, groups: int | None, least: int = 0) -> tuple[Tensor, int]:
    """Integers of one axis, and how many groups they number; checked on the CPU."""
    given = asarray(ids)
    if given.ndim != 1:
        raise ShapeError(f"{name}: numbers of groups need one axis, their shape is {given.shape}")
    if given.dtype.kind not in "iu":
        raise DTypeError(f"{name}: numbers of groups must be integers, got {given.dtype}")
    array = given.array
    if groups is not None:
        groups = integer(name, "num_segments", groups)
    else:
        groups = max(least, int(given.max().item()) + 1 if array.size else 0)
    if backend.on_cpu(array) and array.size:
        _check_groups(name, array, groups)
    return given, groups


@backend.one_call(raises=True)
def _check_groups(name: str, ids: Any, groups: int) -> None:
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= groups:
        wrong = low if low < 0 else high
        raise OutOfRangeError(
            f"{name}: group {wrong} is out of range; allowed are 0 to {groups - 1}"
        )


def segment_sum(x: Operand, segment_ids: Operand, /, num_segments: int | None = None) -> Tensor:
    """Sums of the rows that are of one group.

    Parameters
    ----------
    x : Tensor or array of shape (n, ...)
    segment_ids : Tensor or array of int, shape (n,)
        Group of each row, from 0, in any order. Out of range they raise on the CPU; on CUDA they
        wrap around.
    num_segments : int, optional
        Number of groups; by default as many as are named, which on CUDA waits for the device.

    Returns
    -------
    Tensor
        Of shape ``(num_segments, ...)``; 0 for a group without rows.

    Raises
    ------
    ShapeError
        If there are not as many groups' numbers as rows.
    OutOfRangeError
        If a group's number is out of range.

    Examples
    --------
    >>> gt.segment_sum(gt.tensor([1.0, 2.0, 3.0]), gt.tensor([0, 0, 1]), 2)
    tensor([3., 3.], dtype=float32)
    """
    rows = asarray(x)
    ids, groups = _group_ids("segment_sum", segment_ids, num_segments)
    if rows.shape[:1] != ids.shape:
        raise ShapeError(f"segment_sum: x has shape {rows.shape}, segment_ids {ids.shape}")
    return index_add((groups, *rows.shape[1:]), ids, rows)


def bincount(x: Operand, /, weights: Operand | None = None, minlength: int = 0) -> Tensor:
    """How often each integer from 0 occurs, or the sum of its `weights`.

    Parameters
    ----------
    x : Tensor or array of int, shape (n,)
    weights : Tensor or array of shape (n,), optional
        Gradients flow to them; the result has their dtype.
    minlength : int
        Least length of the result, which else ends with the largest integer. To find that, CUDA
        is waited for.

    Returns
    -------
    Tensor

    Raises
    ------
    ShapeError
        If `x` or `weights` do not have one axis, of one length.
    OutOfRangeError
        If an integer is negative (on the CPU).

    Examples
    --------
    >>> gt.bincount(gt.tensor([0, 2, 2]))
    tensor([1, 0, 2])
    """
    ids, groups = _group_ids("bincount", x, None, integer("bincount", "minlength", minlength))
    if weights is not None:
        return segment_sum(weights, ids, groups)
    backend.wait_for(ids.array, "bincount")
    with backend.on_device_of(ids.array):
        return wrap(backend.namespace(ids.array).bincount(ids.array, minlength=groups))
