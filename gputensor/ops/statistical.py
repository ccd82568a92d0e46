"""Reductions over axes."""

import math
import operator
from typing import Any, TypeAlias

from gputensor.autograd import Operand, Primitive, Tensor, as_array
from gputensor.errors import AxisError, ShapeError
from gputensor.kernels import row_moments
from gputensor.ops.elementwise import add, imag, real, sqrt
from gputensor.ops.precision import widened

__all__ = ["all", "any", "max", "mean", "min", "std", "sum", "var"]

Axis: TypeAlias = int | tuple[int, ...] | None


def _axes(shape: tuple[int, ...], axis: Axis) -> list[int]:
    """Axes that a reduction over `axis` takes away, in ascending order."""
    if axis is None:
        return list(range(len(shape)))
    return sorted(a % len(shape) for a in ((axis,) if isinstance(axis, int) else axis))


def _count(shape: tuple[int, ...], axis: Axis) -> int:
    """Elements that a reduction over `axis` makes one of."""
    return math.prod(shape[a] for a in _axes(shape, axis))


def kept_shape(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """Shape that a reduction over `axis` has with ``keepdims=True``."""
    axes = _axes(shape, axis)
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def checked_axis(name: str, x: Operand, axis: Axis) -> Axis:
    """The axis argument, if it names axes of `x`, each once.

    Raises
    ------
    ShapeError
        Otherwise, naming the axis and the shape.
    """
    if axis is None:
        return None
    shape = getattr(x, "shape", ())
    try:
        axes = tuple(map(operator.index, axis if isinstance(axis, (tuple, list)) else (axis,)))
    except TypeError:
        raise TypeError(
            f"{name}: axis must be an int, a tuple of ints or None, got {axis!r}"
        ) from None
    for a in axes:
        if not -len(shape) <= a < len(shape):
            allowed = (
                f"allowed are {-len(shape)} to {len(shape) - 1}" if shape else "it has no axes"
            )
            raise AxisError(f"{name}: axis {a} is out of range for shape {shape}; {allowed}")
    if len({a % len(shape) for a in axes}) != len(axes):
        raise ShapeError(f"{name}: axis {axis} names an axis twice")
    return axes if isinstance(axis, (tuple, list)) else axes[0]


def _spread(xp: Any, g: Any, shape: tuple[int, ...], axis: Axis) -> Any:
    """Gradient of a reduction's result, repeated along the reduced axes."""
    return xp.broadcast_to(xp.reshape(g, kept_shape(shape, axis)), shape)


_sum = Primitive(
    "sum",
    lambda xp, x, axis, dtype, keepdims: xp.sum(x, axis=axis, dtype=dtype, keepdims=keepdims),
    (lambda xp, g, _out, _x, axis, dtype, keepdims: _spread(xp, g, _x.shape, axis),),
)


def sum(x: Operand, /, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """Sum of the elements along `axis`, all of them by default.

    Parameters
    ----------
    x : Tensor or array
    axis : int, tuple of ints or None
    dtype : dtype, optional
        Of the sum and its intermediate values.
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
    """
    x = widened(as_array("sum", x))
    return _sum(x, axis=checked_axis("sum", x, axis), dtype=dtype, keepdims=keepdims)


def _mean_rule(xp: Any, g: Any, _out: Any, _x: Any, axis: Axis, keepdims: bool) -> Any:
    count = _count(_x.shape, axis)
    # Of no elements there is nothing to give a share to.
    return _spread(xp, g / count if count else g, _x.shape, axis)


_mean = Primitive(
    "mean",
    lambda xp, x, axis, keepdims: xp.mean(x, axis=axis, keepdims=keepdims),
    (_mean_rule,),
)


def mean(x: Operand, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Arithmetic mean along `axis`; parameters as for :func:`sum`. Of no elements it is NaN."""
    x = widened(as_array("mean", x))
    return _mean(x, axis=checked_axis("mean", x, axis), keepdims=keepdims)


def _var_forward(xp: Any, x: Any, axis: Axis, correction: float, keepdims: bool) -> Any:
    shape = x.shape
    axes, count = _axes(shape, axis), _count(shape, axis)
    last = axes == list(range(len(shape) - len(axes), len(shape)))
    if x.dtype.kind == "f" and x.size and last and x.flags.c_contiguous:
        found = row_moments.raw(x.reshape(x.size // count, count))[1] * count
    else:
        deviation = x - xp.mean(x, axis=axis, keepdims=True)
        found = xp.sum(deviation * deviation, axis=axis)
    found = found / _freedom(count, correction)
    if x.dtype.kind == "f":
        found = xp.astype(found, x.dtype)
    kept = [n for a, n in enumerate(shape) if a not in axes]
    return xp.reshape(found, kept_shape(shape, axis) if keepdims else kept)


def _freedom(count: int, correction: float) -> float:
    """Degrees of freedom; NaN where none are left."""
    return count - correction if count > correction else math.nan


def _var_rule(
    xp: Any, g: Any, _out: Any, x: Any, axis: Axis, correction: float, keepdims: bool
) -> Any:
    deviation = x - xp.mean(x, axis=axis, keepdims=True)
    scale = 2 / _freedom(_count(x.shape, axis), correction)
    return xp.reshape(g, kept_shape(x.shape, axis)) * scale * deviation


_var = Primitive("var", _var_forward, (_var_rule,))


def var(
    x: Operand, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False
) -> Tensor:
    """Variance along `axis`, of the population with ``correction=0``, of a sample with 1.

    The sum of squared deviations is divided by their number less `correction`; it is NaN where
    nothing is left to divide by. Deviations of complex numbers count by their absolute value.
    Other parameters are those of :func:`sum`.
    """
    x = widened(as_array("var", x))
    dtype = getattr(x, "dtype", None)
    if dtype is not None and dtype.kind == "c":
        parts = (real(x), imag(x))
        return add(*(var(p, axis=axis, correction=correction, keepdims=keepdims) for p in parts))
    return _var(x, axis=checked_axis("var", x, axis), correction=correction, keepdims=keepdims)


def std(
    x: Operand, /, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False
) -> Tensor:
    """Standard deviation along `axis`: the square root of :func:`var`."""
    return sqrt(var(x, axis=axis, correction=correction, keepdims=keepdims))


def _extremum_rule(xp: Any, g: Any, out: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    kept = kept_shape(x.shape, axis)
    # Where the result is NaN no element equals it: the NaN elements share the gradient.
    chosen = xp.logical_or(xp.equal(x, xp.reshape(out, kept)), xp.isnan(x))
    count = xp.astype(xp.sum(chosen, axis=axis, keepdims=True), g.dtype)
    return xp.where(chosen, xp.reshape(g, kept) / xp.reshape(count, kept), 0)


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


def any_zero(shape: tuple[int, ...], axis: Axis) -> bool:
    """Whether a reduction of `shape` over `axis` has nothing to choose from."""
    return _count(shape, axis) == 0


def max(x: Operand, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Largest element along `axis`, NaN if there is one; elements that tie share the gradient.

    Raises
    ------
    ShapeError
        If there is no element, or `axis` is not an axis of `x`.
    """
    x = as_array("max", x)
    axis = checked_axis("max", x, axis)
    _not_empty("max", x, axis)
    return _max(x, axis=axis, keepdims=keepdims)


def min(x: Operand, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Smallest element along `axis`; as :func:`max` otherwise."""
    x = as_array("min", x)
    axis = checked_axis("min", x, axis)
    _not_empty("min", x, axis)
    return _min(x, axis=axis, keepdims=keepdims)


_any = Primitive("any", lambda xp, x, axis, keepdims: xp.any(x, axis=axis, keepdims=keepdims))
_all = Primitive("all", lambda xp, x, axis, keepdims: xp.all(x, axis=axis, keepdims=keepdims))


def any(x: Operand, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether any element along `axis` is true (not zero)."""
    x = as_array("any", x)
    return _any(x, axis=checked_axis("any", x, axis), keepdims=keepdims)


def all(x: Operand, /, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether all elements along `axis` are true (not zero)."""
    x = as_array("all", x)
    return _all(x, axis=checked_axis("all", x, axis), keepdims=keepdims)
