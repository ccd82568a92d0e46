"""Sorting."""

from typing import Any, NamedTuple

from gputensor.autograd import Operand, Primitive, Tensor, as_array
from gputensor.backend import NAMESPACES
from gputensor.errors import ShapeError
from gputensor.ops.axes import one_axis
from gputensor.ops.indexing import getitem, take_along_axis
from gputensor.options import integer

__all__ = ["argsort", "sort", "topk"]


def _kind(stable: bool) -> str | None:
    return "stable" if stable else None


def _order(xp: Any, x: Any, axis: int, descending: bool, stable: bool) -> Any:
    """Indices that sort a raw array."""
    if not descending:
        return xp.argsort(x, axis=axis, kind=_kind(stable))
    # Backwards twice, so that equal elements keep their order.
    order = xp.argsort(xp.flip(x, axis=axis), axis=axis, kind=_kind(stable))
    return x.shape[axis] - 1 - xp.flip(order, axis=axis)


def _sorted(xp: Any, x: Any, axis: int, descending: bool, stable: bool) -> Any:
    found = xp.sort(x, axis=axis, kind=_kind(stable))
    return xp.flip(found, axis=axis) if descending else found


def _sort_rule(
    xp: Any, g: Any, _out: Any, x: Any, axis: int, descending: bool, stable: bool
) -> Any:
    raw = x.array if isinstance(x, Tensor) else x
    here = NAMESPACES[type(raw)]
    order = _order(here, raw, axis, descending, stable)
    return xp.take_along_axis(g, here.argsort(order, axis=axis), axis=axis)


_sort = Primitive("sort", _sorted, (_sort_rule,))
_argsort = Primitive("argsort", _order)


def _along(name: str, x: Operand, axis: int) -> tuple[Operand, int]:
    x = as_array(name, x)
    return x, one_axis(name, x, axis)


def sort(x: Operand, /, axis: int = -1, *, descending: bool = False, stable: bool = True) -> Tensor:
    """Copy with the elements along `axis` in order.

    Parameters
    ----------
    x : Tensor or array
    axis : int
    descending : bool
        From the largest to the smallest. NaN counts as the largest.
    stable : bool
        Whether equal elements keep their order, which shows in their gradients only.

    Returns
    -------
    Tensor
        Of the shape of `x`.

    Raises
    ------
    ShapeError
        If `axis` is not an axis of `x`.

    Examples
    --------
    >>> gt.sort(gt.tensor([3, 1, 2]), descending=True)
    tensor([3, 2, 1])
    """
    x, axis = _along("sort", x, axis)
    return _sort(x, axis=axis, descending=descending, stable=stable)


def argsort(
    x: Operand, /, axis: int = -1, *, descending: bool = False, stable: bool = True
) -> Tensor:
    """Indices that put the elements along `axis` in order; parameters as for :func:`sort`.

    Examples
    --------
    >>> gt.argsort(gt.tensor([3, 1, 2]))
    tensor([1, 2, 0])
    """
    x, axis = _along("argsort", x, axis)
    return _argsort(x, axis=axis, descending=descending, stable=stable)


class TopK(NamedTuple):
    """Result of :func:`topk`."""

    values: Tensor
    indices: Tensor


def topk(x: Operand, k: int, /, axis: int = -1, *, largest: bool = True) -> TopK:
    """The `k` largest elements along `axis`, in order, and where they are.

    Parameters
    ----------
    x : Tensor or array
    k : int
        At most the length of `axis`.
    axis : int
    largest : bool
        False asks for the smallest.

    Returns
    -------
    TopK
        ``values``, through which gradients flow, and ``indices`` along `axis`.

    Raises
    ------
    ShapeError
        If there are fewer than `k` elements, or `axis` is not an axis of `x`.

    Examples
    --------
    >>> gt.topk(gt.tensor([3.0, 1.0, 2.0]), 2)
    TopK(values=tensor([3., 2.], dtype=float32), indices=tensor([0, 2]))
    """
    x, axis = _along("topk", x, axis)
    shape, k = x.shape, integer("topk", "k", k)
    if not 0 <= k <= shape[axis]:
        raise ShapeError(f"topk: k is {k}; axis {axis} of shape {shape} allows 0 to {shape[axis]}")
    first = (*(slice(None),) * (axis % len(shape)), slice(k))
    indices = getitem(argsort(x, axis=axis, descending=largest), first)
    return TopK(take_along_axis(x, indices, axis=axis), indices)
