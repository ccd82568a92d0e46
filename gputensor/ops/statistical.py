"""Reductions over axes."""

import builtins
import math
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Operand, Primitive, Tensor, as_array
from gputensor.errors import ShapeError
from gputensor.kernels import row_moments
from gputensor.kernels.runtime import power_of_two, squares_fit, widen
from gputensor.ops.axes import Axis, any_zero, axes_of, checked_axis, count_of, kept_shape, one_axis
from gputensor.ops.creation import full
from gputensor.ops.data_type import checked_dtype
from gputensor.ops.elementwise import add, hypot, imag, real
from gputensor.ops.manipulation import concat
from gputensor.ops.precision import widened
from gputensor.options import number

__all__ = [
    "cumulative_prod",
    "cumulative_sum",
    "max",
    "mean",
    "min",
    "prod",
    "std",
    "sum",
    "var",
]


def _spread(xp: Any, g: Any, shape: tuple[int, ...], axis: Axis) -> Any:
    """Gradient of a reduction's result, repeated along the reduced axes."""
    return xp.broadcast_to(xp.reshape(g, kept_shape(shape, axis)), shape)


_sum = Primitive(
    "sum",
    lambda xp, x, axis, dtype, keepdims: xp.sum(x, axis=axis, dtype=dtype, keepdims=keepdims),
    (lambda xp, g, _out, _x, axis, dtype, keepdims: _spread(xp, g, _x.shape, axis),),
)


def sum(x: Operand, /, axis: Axis = None, *, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """Sum of the elements along `axis`, all of them by default.

    Parameters
    ----------
    x : Tensor or array
    axis : int, tuple of ints or None
    dtype : dtype, optional
        Of the sum and its intermediate values; those of 16-bit numbers are float32.
    keepdims : bool
        Whether reduced axes stay, with length 1.

    Returns
    -------
    Tensor
        The sum of no elements is 0.

    Raises
    ------
    ShapeError
        If `axis` is not an axis of `x`.

    Examples
    --------
    >>> gt.sum(gt.tensor([[1, 2], [3, 4]]), axis=1, keepdims=True)
    tensor([[3],
            [7]])
    """
    x = widened(as_array("sum", x))
    dtype = dtype if dtype is None else checked_dtype("sum", dtype)
    return _sum(x, axis=checked_axis("sum", x, axis), dtype=dtype, keepdims=keepdims)


def _mean_rule(xp: Any, g: Any, _out: Any, _x: Any, axis: Axis, keepdims: bool) -> Any:
    count = count_of(_x.shape, axis)
    g = widen(xp, g)  # the count may be above the range of 16 bits
    # Of no elements there is nothing to give a share to.
    return _spread(xp, g / count if count else g, _x.shape, axis)


_mean = Primitive(
    "mean",
    lambda xp, x, axis, keepdims: xp.mean(x, axis=axis, keepdims=keepdims),
    (_mean_rule,),
)


def mean(x: Operand, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Arithmetic mean along `axis`; parameters as for :func:`sum`. Of no elements it is NaN.

    Examples
    --------
    >>> gt.mean(gt.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    tensor([2., 3.], dtype=float32)
    """
    x = widened(as_array("mean", x))
    return _mean(x, axis=checked_axis("mean", x, axis), keepdims=keepdims)


def _variance(xp: Any, x: Any, axis: Axis, correction: float) -> Any:
    """Variance without the axes that it is taken along, of 16-bit numbers in float32."""
    shape = x.shape
    axes, count = axes_of(shape, axis), count_of(shape, axis)
    last = axes == list(range(len(shape) - len(axes), len(shape)))
    if x.dtype.kind in "fV" and x.size and last and x.flags.c_contiguous:
        found = row_moments.raw(x.reshape(x.size // count, count))[1] * count
    else:
        deviation = _deviation(xp, x, axis)
        rest = xp.sum(deviation, axis=axis)  # what rounding left out of the mean, times the count
        found = xp.sum(deviation * deviation, axis=axis)
        excess = rest * rest / builtins.max(count, 1)
        found = xp.maximum(found - xp.where(xp.isinf(excess), 0, excess), 0)
    return found / _freedom(count, correction)


def _finished(xp: Any, found: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    """A variance or deviation in the dtype and the shape that are asked for."""
    if x.dtype.kind in "fV":
        found = xp.astype(xp.asarray(found), x.dtype)
    axes = axes_of(x.shape, axis)
    kept = [n for a, n in enumerate(x.shape) if a not in axes]
    return xp.reshape(found, kept_shape(x.shape, axis) if keepdims else kept)


def _var_forward(xp: Any, x: Any, axis: Axis, correction: float, keepdims: bool) -> Any:
    found = _variance(xp, x, axis, correction)
    return _finished(xp, found, x, axis, keepdims)


def _freedom(count: int, correction: float) -> float:
    """Degrees of freedom; NaN where none are left."""
    return count - correction if count > correction else math.nan


def _deviation(xp: Any, x: Any, axis: Axis) -> Any:
    x = widen(xp, x)
    return x - xp.mean(x, axis=axis, keepdims=True)


def _var_rule(
    xp: Any, g: Any, _out: Any, x: Any, axis: Axis, correction: float, keepdims: bool
) -> Any:
    scale = 2 / _freedom(count_of(x.shape, axis), correction)
    g = widen(xp, xp.reshape(g, kept_shape(x.shape, axis)))
    return g * scale * _deviation(xp, x, axis)


_var = Primitive("var", _var_forward, (_var_rule,))


def var(
    x: Operand, /, axis: Axis = None, *, correction: float = 0.0, keepdims: bool = False
) -> Tensor:
    """Variance along `axis`, of the population with ``correction=0``, of a sample with 1.

    The sum of squared deviations is divided by their number less `correction`; it is NaN where
    nothing is left to divide by. Deviations of complex numbers count by their absolute value.
    Other parameters are those of :func:`sum`.

    Examples
    --------
    >>> gt.var(gt.tensor([1.0, 3.0]))
    tensor(1., dtype=float32)
    """
    x, correction = widened(as_array("var", x)), number("var", "correction", correction)
    dtype = getattr(x, "dtype", None)
    if dtype is not None and dtype.kind == "c":
        parts = (real(x), imag(x))
        return add(*(var(p, axis=axis, correction=correction, keepdims=keepdims) for p in parts))
    return _var(x, axis=checked_axis("var", x, axis), correction=correction, keepdims=keepdims)


@backend.one_call()
def _std_forward(xp: Any, x: Any, axis: Axis, correction: float, keepdims: bool) -> Any:
    if isinstance(x, np.ndarray) or any_zero(x.shape, axis):
        with np.errstate(over="ignore", invalid="ignore"):
            found = xp.asarray(_variance(xp, x, axis, correction))
        if any_zero(x.shape, axis) or squares_fit(found):
            return _finished(xp, xp.sqrt(found), x, axis, keepdims)
    wide = widen(xp, x) if x.dtype.kind in "fV" else xp.astype(x, np.float64)
    unit = power_of_two(xp.asarray(xp.abs(wide)), axis)
    found = xp.sqrt(_variance(xp, wide * unit, axis, correction))
    return _finished(xp, found / xp.reshape(unit, found.shape), x, axis, keepdims)


def _std_rule(
    xp: Any, g: Any, out: Any, x: Any, axis: Axis, correction: float, keepdims: bool
) -> Any:
    kept = kept_shape(x.shape, axis)
    g, out = widen(xp, xp.reshape(g, kept)), widen(xp, xp.reshape(out, kept))
    share = _deviation(xp, x, axis) / xp.where(xp.equal(out, 0), math.inf, out)
    return g * share / _freedom(count_of(x.shape, axis), correction)


_std = Primitive("std", _std_forward, (_std_rule,))


def std(
    x: Operand, /, axis: Axis = None, *, correction: float = 0.0, keepdims: bool = False
) -> Tensor:
    """Standard deviation along `axis`: the square root of :func:`var`, without its overflow.

    Gradient and second derivative are 0 where all elements are equal, also those of ``std(x)**2``:
    take :func:`var` for it.

    Examples
    --------
    >>> gt.std(gt.tensor([1.0, 3.0])), gt.std(gt.tensor([1.0, 3.0]), correction=1)
    (tensor(1., dtype=float32), tensor(1.4142135, dtype=float32))
    """
    x, correction = widened(as_array("std", x)), number("std", "correction", correction)
    dtype = getattr(x, "dtype", None)
    if dtype is not None and dtype.kind == "c":
        parts = (real(x), imag(x))
        return hypot(*(std(p, axis=axis, correction=correction, keepdims=keepdims) for p in parts))
    return _std(x, axis=checked_axis("std", x, axis), correction=correction, keepdims=keepdims)


def _extremum_rule(xp: Any, g: Any, out: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    kept = kept_shape(x.shape, axis)
    # Where the result is NaN no element equals it: the NaN elements share the gradient.
    chosen = xp.logical_or(xp.equal(x, xp.reshape(out, kept)), xp.isnan(x))
    g = widen(xp, xp.reshape(g, kept))  # a count may be above the range of 16 bits
    count = xp.astype(xp.sum(chosen, axis=axis, keepdims=True), g.dtype)
    return xp.where(chosen, g / count, 0)


def _extremum(name: str) -> Primitive:
    return Primitive(
        name,
        lambda xp, x, axis, keepdims: getattr(xp, name)(x, axis=axis, keepdims=keepdims),
        (_extremum_rule,),
    )


_max = _extremum("max")
_min = _extremum("min")


def _not_empty(name: str, x: Operand, axis: Axis) -> None:
    shape = getattr(x, "shape", ())
    if any_zero(shape, axis):
        raise ShapeError(f"{name}: there is no {name} of zero elements, shape is {shape}")


def max(x: Operand, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Largest element along `axis`, NaN if there is one; elements that tie share the gradient.

    Raises
    ------
    ShapeError
        If there is no element, or `axis` is not an axis of `x`.

    Examples
    --------
    >>> gt.max(gt.tensor([[1, 4], [3, 2]]), axis=1)
    tensor([4, 3])
    """
    x = as_array("max", x)
    axis = checked_axis("max", x, axis)
    _not_empty("max", x, axis)
    return _max(x, axis=axis, keepdims=keepdims)


def min(x: Operand, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Smallest element along `axis`; as :func:`max` otherwise.

    Examples
    --------
    >>> gt.min(gt.tensor([[1, 4], [3, 2]]), axis=1)
    tensor([1, 2])
    """
    x = as_array("min", x)
    axis = checked_axis("min", x, axis)
    _not_empty("min", x, axis)
    return _min(x, axis=axis, keepdims=keepdims)


def _exclusive(xp: Any, x: Any) -> Any:
    """Product of the elements before each along the last axis."""
    return xp.concat([xp.ones_like(x[..., :1]), xp.cumprod(x, axis=-1)[..., :-1]], axis=-1)


def _prod_rule(xp: Any, g: Any, _out: Any, x: Any, axis: Axis, dtype: Any, keepdims: bool) -> Any:
    x, g, shape = widen(xp, x), widen(xp, g), x.shape
    axes = axes_of(shape, axis)
    order = tuple(a for a in range(len(shape)) if a not in axes) + tuple(axes)
    kept = tuple(shape[a] for a in order[: len(shape) - len(axes)])
    rows = xp.reshape(xp.permute_dims(x, order), (*kept, math.prod(shape[a] for a in axes)))
    # What the others multiply to, without dividing by the element, which may be 0.
    before = _exclusive(xp, rows)
    after = xp.flip(_exclusive(xp, xp.flip(rows, axis=-1)), axis=-1)
    part = xp.reshape(g, (*kept, 1)) * before * after
    part = xp.reshape(part, tuple(shape[a] for a in order))
    return xp.permute_dims(part, tuple(sorted(range(len(shape)), key=order.__getitem__)))


_prod = Primitive(
    "prod",
    lambda xp, x, axis, dtype, keepdims: xp.prod(x, axis=axis, dtype=dtype, keepdims=keepdims),
    (_prod_rule,),
)


def prod(x: Operand, /, axis: Axis = None, *, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """Product of the elements along `axis`; parameters as for :func:`sum`. Of none it is 1.

    Examples
    --------
    >>> gt.prod(gt.tensor([2, 3, 4]))
    tensor(24)
    """
    x = widened(as_array("prod", x))
    dtype = dtype if dtype is None else checked_dtype("prod", dtype)
    return _prod(x, axis=checked_axis("prod", x, axis), dtype=dtype, keepdims=keepdims)


_cumulative_sum = Primitive(
    "cumulative_sum",
    lambda xp, x, axis, dtype: xp.cumsum(x, axis=axis, dtype=dtype),
    (
        lambda xp, g, _out, _x, axis, dtype: xp.flip(
            xp.cumsum(xp.flip(g, axis=axis), axis=axis), axis=axis
        ),
    ),
)


def _cumulative_prod_rule(xp: Any, g: Any, _out: Any, x: Any, axis: int, dtype: Any) -> Any:
    # Element i takes part in products j >= i, each of what is before i, what is between i and j,
    # and itself: the sum over j of g[j] times what is between obeys s[i] = g[i] + x[i+1] * s[i+1].
    x, sums = (xp.moveaxis(widen(xp, a), axis, -1) for a in (x, g))
    between, step, n = x[..., 1:], 1, x.shape[-1]
    while step < n:  # sums of 1, 2, 4, ... terms
        summed = sums[..., : n - step] + between * sums[..., step:]
        sums = xp.concat([summed, sums[..., n - step :]], axis=-1)
        rest = between[..., step:]
        between = between[..., : rest.shape[-1]] * rest
        step *= 2
    return xp.moveaxis(_exclusive(xp, x) * sums, -1, axis)


_cumulative_prod = Primitive(
    "cumulative_prod",
    lambda xp, x, axis, dtype: xp.cumprod(x, axis=axis, dtype=dtype),
    (_cumulative_prod_rule,),
)


def _cumulative(
    run: Primitive, x: Operand, axis: int | None, dtype: Any, include_initial: bool
) -> Tensor:
    x = widened(as_array(run.name, x))
    shape = getattr(x, "shape", ())
    if axis is None and len(shape) > 1:
        raise ValueError(f"{run.name}: axis must be named for an array of shape {shape}")
    axis = one_axis(run.name, x, 0 if axis is None else axis)
    dtype = dtype if dtype is None else checked_dtype(run.name, dtype)
    found = run(x, axis=axis, dtype=dtype)
    if not include_initial:
        return found
    axis %= len(shape)
    edge = (*shape[:axis], 1, *shape[axis + 1 :])
    first = full(edge, int(run is _cumulative_prod), dtype=found.dtype, device=found.device)
    return concat([first, found], axis=axis)


def cumulative_sum(
    x: Operand,
    /,
    *,
    axis: int | None = None,
    dtype: Any = None,
    include_initial: bool = False,
) -> Tensor:
    """Sums of the elements up to each along `axis`.

    Parameters
    ----------
    x : Tensor or array
    axis : int, optional
        May be left out if there is only one.
    dtype : dtype, optional
        Of the sums; integers are added up in 64 bits by default.
    include_initial : bool
        Whether the sum of no elements, 0, comes first.

    Returns
    -------
    Tensor
        Of the shape of `x`; with `include_initial` longer by 1 along `axis`.

    Raises
    ------
    ShapeError
        If `axis` is not an axis of `x`, or there is none.
    ValueError
        If `axis` is missing where there are several.

    Examples
    --------
    >>> gt.cumulative_sum(gt.tensor([1, 2, 3]), include_initial=True)
    tensor([0, 1, 3, 6])
    """
    return _cumulative(_cumulative_sum, x, axis, dtype, include_initial)


def cumulative_prod(
    x: Operand,
    /,
    *,
    axis: int | None = None,
    dtype: Any = None,
    include_initial: bool = False,
) -> Tensor:
    """Products of the elements up to each along `axis`; as :func:`cumulative_sum`.

    The gradient divides by nothing, so that it is right where elements are 0 too.

    Examples
    --------
    >>> gt.cumulative_prod(gt.tensor([1, 2, 3, 4]))
    tensor([ 1,  2,  6, 24])
    """
    return _cumulative(_cumulative_prod, x, axis, dtype, include_initial)
