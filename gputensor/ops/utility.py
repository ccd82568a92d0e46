"""Logical reductions, comparisons of whole arrays, and differences."""

import builtins
from typing import Any

import numpy as np

from gputensor.autograd import Operand, Primitive, Tensor, as_array, no_grad, raw_operand
from gputensor.ops.axes import Axis, checked_axis, one_axis
from gputensor.ops.creation import asarray
from gputensor.ops.data_type import astype
from gputensor.ops.elementwise import (
    abs,
    add,
    equal,
    isfinite,
    isnan,
    less_equal,
    logical_and,
    logical_or,
    multiply,
    not_equal,
    subtract,
)
from gputensor.ops.indexing import getitem
from gputensor.ops.manipulation import broadcast_to, concat
from gputensor.options import integer

__all__ = ["all", "allclose", "any", "array_equal", "diff", "isclose"]

_any = Primitive("any", lambda xp, x, axis, keepdims: xp.any(x, axis=axis, keepdims=keepdims))
_all = Primitive("all", lambda xp, x, axis, keepdims: xp.all(x, axis=axis, keepdims=keepdims))


def any(x: Operand, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Whether any element along `axis` is true (not zero)."""
    x = as_array("any", x)
    return _any(x, axis=checked_axis("any", x, axis), keepdims=keepdims)


def all(x: Operand, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Whether all elements along `axis` are true (not zero)."""
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
    """Whether all elements are close, see :func:`isclose`; on CUDA the host waits for it."""
    return builtins.bool(all(isclose(x, y, rtol, atol, equal_nan)))


def array_equal(x: Operand, y: Operand, /, equal_nan: builtins.bool = False) -> builtins.bool:
    """Whether shapes and elements are equal; with `equal_nan`, NaN counts as equal to NaN."""
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
        What to put before and after `x` first: of its shape but for `axis`, or one number.

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
    """
    x = as_array("diff", x)
    axis = one_axis("diff", x, axis)
    shape, n = x.shape, integer("diff", "n", n)
    if n < 0:
        raise ValueError(f"diff: n is {n}; it must not be negative")
    axis %= len(shape)
    edge = (*shape[:axis], 1, *shape[axis + 1 :])

    def fitted(part: Operand) -> Operand:
        part = as_array("diff", part)
        if not hasattr(part, "dtype"):  # a number takes that of x
            part = asarray(part, x.dtype, asarray(x).device)
        return part if part.shape else broadcast_to(part, edge)

    parts = [fitted(part) for part in (prepend, x, append) if part is not None]
    found = concat(parts, axis=axis) if len(parts) > 1 else x
    before: tuple[Any, ...] = (slice(None),) * axis
    for _ in range(n):
        change = not_equal if found.dtype.kind == "b" else subtract
        later = getitem(found, (*before, slice(1, None)))
        found = change(later, getitem(found, (*before, slice(None, -1))))
    return getitem(found, ...)
