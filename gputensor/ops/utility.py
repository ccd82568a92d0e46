"""Logical reductions and differences."""

from typing import Any

from gputensor.autograd import Operand, Primitive, Tensor, as_array
from gputensor.ops.axes import Axis, checked_axis, one_axis
from gputensor.ops.creation import asarray
from gputensor.ops.elementwise import not_equal, subtract
from gputensor.ops.indexing import getitem
from gputensor.ops.manipulation import broadcast_to, concat
from gputensor.options import integer

__all__ = ["all", "any", "diff"]

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
