"""Logical reductions, comparisons of whole arrays, and differences."""

import builtins
from typing import Any

import numpy as np

from gputensor.autograd import Operand, Primitive, Tensor, as_array, no_grad, raw_operand
from gputensor.errors import ShapeError
from gputensor.ops.axes import Axis, checked_axis, one_axis
from gputensor.ops.choices import (
    equal,
    isfinite,
    isnan,
    less_equal,
    logical_and,
    logical_or,
    not_equal,
    where,
)
from gputensor.ops.creation import asarray
from gputensor.ops.data_type import astype
from gputensor.ops.elementwise import abs, add, multiply, subtract
from gputensor.ops.indexing import getitem
from gputensor.ops.manipulation import broadcast_to, concat, reshape
from gputensor.options import integer

__all__ = ["all", "allclose", "any", "array_equal", "diff", "gradient", "isclose"]

_any = Primitive("any", lambda xp, x, axis, keepdims: xp.any(x, axis=axis, keepdims=keepdims))
_all = Primitive("all", lambda xp, x, axis, keepdims: xp.all(x, axis=axis, keepdims=keepdims))


def any(x: Operand, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Whether any element along `axis` is true (not zero).

    Examples
    --------
    >>> gt.any(gt.tensor([True, False]))
    tensor(True)
    """
    x = as_array("any", x)
    return _any(x, axis=checked_axis("any", x, axis), keepdims=keepdims)


def all(x: Operand, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Whether all elements along `axis` are true (not zero).

    Examples
    --------
    >>> gt.all(gt.tensor([True, False]))
    tensor(False)
    """
    x = as_array("all", x)
    return _all(x, axis=checked_axis("all", x, axis), keepdims=keepdims)


def isclose(
    x: Operand,
    y: Operand,
    /,
    rtol: Operand = 1e-05,
    atol: Operand = 1e-08,
    equal_nan: builtins.bool = False,
) -> Tensor:
    """Whether ``abs(x - y) <= atol + rtol * abs(y)``, element by element, as NumPy's isclose.

    Parameters
    ----------
    x, y : Tensor, array or Python number
        Shapes that broadcast together. Infinities are close to those of their sign.
    rtol, atol : float, Tensor or array
        Tolerances, relative to `y` and absolute.
    equal_nan : bool
        Whether NaN is close to NaN.

    Returns
    -------
    Tensor of bool

    Examples
    --------
    >>> gt.isclose(gt.tensor([1.0, 2.0]), gt.tensor([1.0, 2.1]))
    tensor([ True, False])
    """
    with no_grad():
        x, y = _alike("isclose", x, y)
        if y.dtype.kind in "biu":  # whose differences overflow
            y = astype(y, np.result_type(y.dtype, 1.0))
        with np.errstate(invalid="ignore"):
            near = less_equal(abs(subtract(x, y)), add(atol, multiply(rtol, abs(y))))
        found = logical_or(logical_and(near, isfinite(y)), equal(x, y))
        return logical_or(found, logical_and(isnan(x), isnan(y))) if equal_nan else found


def allclose(
    x: Operand,
    y: Operand,
    /,
    rtol: Operand = 1e-05,
    atol: Operand = 1e-08,
    equal_nan: builtins.bool = False,
) -> builtins.bool:
    """Whether all elements are close, see :func:`isclose`; on CUDA the host waits for it.

    Examples
    --------
    >>> gt.allclose(gt.tensor([1.0]), gt.tensor([1.0 + 1e-9]))
    True
    """
    return builtins.bool(all(isclose(x, y, rtol, atol, equal_nan)))


def array_equal(x: Operand, y: Operand, /, equal_nan: builtins.bool = False) -> builtins.bool:
    """Whether shapes and elements are equal; with `equal_nan`, NaN counts as equal to NaN.

    Examples
    --------
    >>> gt.array_equal(gt.ones(2), gt.ones(3))
    False
    """
    with no_grad():
        x, y = _alike("array_equal", x, y)
        if x.shape != y.shape:
            return False
        found = equal(x, y)
        if equal_nan:
            found = logical_or(found, logical_and(isnan(x), isnan(y)))
        return builtins.bool(all(found))


def _alike(name: str, x: Operand, y: Operand) -> tuple[Tensor, Tensor]:
    """Tensors of two operands; numbers and lists are where the other is, and bend to its dtype."""
    known = [asarray(o) for o in (x, y) if hasattr(o, "dtype") and not isinstance(o, np.generic)]
    if not known:
        return asarray(x), asarray(y)

    def bent(o: Operand) -> Tensor:
        if isinstance(o, (list, tuple, int, float, complex)):
            kind = np.asarray(raw_operand(name, o)).dtype.kind
            weak = {"b": True, "f": 1.0, "c": 1j}.get(kind, 1)
            return asarray(o, np.result_type(known[0].dtype, weak), known[0].device)
        return asarray(o, device=known[0].device if isinstance(o, np.generic) else None)

    return bent(x), bent(y)


def diff(
    x: Operand,
    /,
    *,
    axis: int = -1,
    n: int = 1,
    prepend: Operand | None = None,
    append: Operand | None = None,
) -> Tensor:
    """Differences of neighbours along `axis`; of bools, whether they differ.

    Parameters
    ----------
    x : Tensor or array
    axis : int
    n : int
        How often differences are taken; 0 or more.
    prepend, append : Tensor, array or Python number, optional
        What to put before and after `x` first: of its shape but for `axis`, or one number. An int
        put to bools or integers makes them int64, as in NumPy, so that 0 - 1 is -1.

    Returns
    -------
    Tensor
        Shorter by `n` along `axis`, down to 0.

    Raises
    ------
    ShapeError
        If `axis` is not an axis of `x`, or what is put to it does not fit.
    ValueError
        If `n` is negative.

    Examples
    --------
    >>> gt.diff(gt.tensor([1, 4, 9]))
    tensor([3, 5])
    """
    x = as_array("diff", x)
    axis = one_axis("diff", x, axis)
    shape, n = x.shape, integer("diff", "n", n)
    if n < 0:
        raise ValueError(f"diff: n is {n}; it must not be negative")
    axis %= len(shape)
    if n == 0:
        return getitem(x, ...)
    edge = (*shape[:axis], 1, *shape[axis + 1 :])

    def fitted(part: Operand) -> Operand:
        part = as_array("diff", part)
        if not hasattr(part, "dtype"):
            # Of bfloat16 NumPy does not know that a number bends to it.
            dtype = x.dtype if x.dtype.kind == "V" else np.result_type(x.dtype, part)
            dtype = np.result_type(dtype, np.asarray(part)) if dtype.kind in "biu" else dtype
            part = asarray(part, dtype, asarray(x).device)
        return part if part.shape else broadcast_to(part, edge)

    parts = [fitted(part) for part in (prepend, x, append) if part is not None]
    found = concat(parts, axis=axis) if len(parts) > 1 else x
    before: tuple[Any, ...] = (slice(None),) * axis
    for _ in range(n):
        change = not_equal if found.dtype.kind == "b" else subtract
        later = getitem(found, (*before, slice(1, None)))
        found = change(later, getitem(found, (*before, slice(None, -1))))
    return getitem(found, ...)


def gradient(
    x: Operand, /, *spacing: Operand, axis: Axis = None, edge_order: int = 1
) -> Tensor | tuple[Tensor, ...]:
    """Slopes of samples by differences, as :func:`numpy.gradient`; of functions: :func:`grad`.

    Inside they are central differences, exact for parabolas also where the spacing is uneven; at
    the edges one-sided ones.

    Parameters
    ----------
    x : Tensor or array
        Samples; integers are taken as float64.
    *spacing : number, or Tensor or array of shape (n,)
        Distance of the samples, 1 by default, or their coordinates: one for all axes or one for
        each.
    axis : int, tuple of ints or None
        All axes by default.
    edge_order : {1, 2}
        Whether slopes at the edges are exact for lines or for parabolas.

    Returns
    -------
    Tensor, or a tuple with one for each of several axes
        Of the shape of `x`.

    Raises
    ------
    ShapeError
        If there are fewer than ``edge_order + 1`` samples along an axis, or coordinates do not fit.
    TypeError
        If there is neither one spacing nor one for each axis.
    ValueError
        For another `edge_order`.

    Examples
    --------
    >>> gt.gradient(gt.tensor([1.0, 4.0, 9.0]))
    tensor([3., 4., 5.], dtype=float32)
    """
    x = asarray(x)
    axis = checked_axis("gradient", x, tuple(range(x.ndim)) if axis is None else axis)
    axes = [a % x.ndim for a in ((axis,) if isinstance(axis, int) else axis or ())]
    if edge_order not in (1, 2):
        raise ValueError(f"gradient: edge_order is {edge_order!r}; allowed are 1 and 2")
    if len(spacing) not in (0, 1, len(axes)):
        raise TypeError(
            f"gradient: {len(spacing)} spacings for {len(axes)} axes; give 0, 1 or {len(axes)}"
        )
    if x.dtype.kind in "biu":
        x = astype(x, np.float64)
    steps = spacing or (1.0,)
    steps = steps * len(axes) if len(steps) == 1 else steps
    found = tuple(_slopes(x, a, step, edge_order) for a, step in zip(axes, steps, strict=True))
    return found[0] if len(found) == 1 else found


def _slopes(x: Tensor, axis: int, spacing: Operand, edge_order: int) -> Tensor:
    """:func:`gradient` along one axis."""
    shape, spacing = x.shape, as_array("gradient", spacing)
    given = getattr(spacing, "shape", ())
    if shape[axis] <= edge_order:
        raise ShapeError(
            f"gradient: axis {axis} of shape {shape} needs {edge_order + 1} samples or more"
        )
    if given not in ((), (shape[axis],)):
        raise ShapeError(
            f"gradient: coordinates have shape {given}; axis {axis} of shape {shape} needs a "
            f"number or shape ({shape[axis]},)"
        )

    def part(a: Tensor, *ends: int | None) -> Tensor:
        return getitem(a, (..., slice(*ends), *(slice(None),) * (x.ndim - 1 - axis)))

    width: Any = spacing
    share: Any = 0.5  # of the slope after a sample in the slope there
    if given:
        width = astype(spacing, np.float64) if spacing.dtype.kind in "biu" else spacing
        width = reshape(diff(width), (-1, *(1,) * (x.ndim - 1 - axis)))
        share = part(width, None, -1) / (part(width, None, -1) + part(width, 1, None))
    slope = diff(x, axis=axis) / width
    before, after = part(slope, None, -1), part(slope, 1, None)
    inside = part(x, 2, None) - part(x, None, -2)
    if given:
        inside = inside / (part(width, None, -1) + part(width, 1, None))
        # Of even spacing the sample in between, which may be infinite, has no part.
        inside = where(share == 0.5, inside, before * (1 - share) + after * share)
    else:
        inside = inside / (2 * width)
    first, last = part(slope, None, 1), part(slope, -1, None)
    if edge_order == 2:
        bend = after - before
        shares = (part(share, None, 1), part(share, -1, None)) if given else (share, share)
        first = first - shares[0] * part(bend, None, 1)
        last = last + (1 - shares[1]) * part(bend, -1, None)
    return astype(concat([first, inside, last], axis=axis), x.dtype, copy=False)
