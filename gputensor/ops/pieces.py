"""Cutting up, repeating and padding."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Operand, Primitive, Tensor, as_array
from gputensor.errors import ShapeError
from gputensor.ops.axes import one_axis
from gputensor.ops.indexing import getitem, take
from gputensor.ops.manipulation import flatten
from gputensor.options import ints, numbers

__all__ = ["pad", "repeat", "split", "unstack"]


def _repeat_rule(xp: Any, g: Any, _out: Any, _x: Any, repeats: int, axis: int) -> Any:
    shape = _x.shape
    parts = (*shape[: axis + 1], repeats, *shape[axis + 1 :])
    return xp.sum(xp.reshape(g, parts), axis=axis + 1)


_repeat = Primitive(
    "repeat", lambda xp, x, repeats, axis: xp.repeat(x, repeats, axis=axis), (_repeat_rule,)
)


def repeat(x: Operand, repeats: int | Operand, /, axis: int | None = None) -> Tensor:
    """Each element several times in a row.

    Parameters
    ----------
    x : Tensor or array
    repeats : int or array of ints
        How often, for all or each along `axis`. Of a tensor on CUDA the host waits for it.
    axis : int, optional
        By default the elements are one row, and so is the result.

    Returns
    -------
    Tensor

    Raises
    ------
    ShapeError
        If `axis` is not an axis of `x`, or `repeats` has another length.
    ValueError
        If a number is negative.

    Examples
    --------
    >>> gt.repeat(gt.tensor([1, 2]), 2)
    tensor([1, 1, 2, 2])
    """
    x = flatten(x) if axis is None else as_array("repeat", x)
    axis = one_axis("repeat", x, 0 if axis is None else axis)
    shape = x.shape
    axis %= len(shape)
    raw = repeats.array if isinstance(repeats, Tensor) else repeats
    counts = backend.plain(backend.to_host(raw) if backend.is_array(raw) else np.asarray(raw))
    if counts.dtype.kind not in "iu" and counts.size:
        raise TypeError(f"repeat: repeats must hold ints, got {counts.dtype}")
    if counts.size and counts.min() < 0:
        raise ValueError(f"repeat: repeats holds {counts.min()}; it must not be negative")
    if counts.size == 1:
        return _repeat(x, repeats=int(counts.item()), axis=axis)
    if counts.shape != (shape[axis],):
        raise ShapeError(
            f"repeat: repeats has shape {counts.shape}; axis {axis} of shape {shape} needs one "
            "number, or one for each"
        )
    return _taken(x, np.repeat(np.arange(shape[axis]), counts), axis)


def _taken(x: Operand, places: Any, axis: int) -> Tensor:
    """Elements along `axis` at places that are known on the host."""
    array = x.array if isinstance(x, Tensor) else x
    return take(x, backend.to_device(places, backend.device_of(array)), axis=axis)


def unstack(x: Operand, /, axis: int = 0) -> tuple[Tensor, ...]:
    """Views of the parts along `axis`, without it: the inverse of :func:`stack`.

    Raises
    ------
    ShapeError
        If `axis` is not an axis of `x`.

    Examples
    --------
    >>> gt.unstack(gt.tensor([[1, 2], [3, 4]]))
    (tensor([1, 2]), tensor([3, 4]))
    """
    x = as_array("unstack", x)
    axis = one_axis("unstack", x, axis)
    axis %= len(x.shape)
    return tuple(getitem(x, (*(slice(None),) * axis, i)) for i in range(x.shape[axis]))


def split(x: Operand, sections: int | Sequence[int], /, axis: int = 0) -> list[Tensor]:
    """Views of parts along `axis`: the inverse of :func:`concat`.

    Parameters
    ----------
    x : Tensor or array
    sections : int or sequence of ints
        Number of parts, all as long; or where to cut.
    axis : int

    Raises
    ------
    ShapeError
        If `axis` is not an axis of `x`, or cannot be cut into as many parts of one length.

    Examples
    --------
    >>> gt.split(gt.arange(4), 2)
    [tensor([0, 1]), tensor([2, 3])]
    """
    x = as_array("split", x)
    axis = one_axis("split", x, axis)
    axis %= len(x.shape)
    n = x.shape[axis]
    if np.iterable(sections):
        cuts = [*ints("split", "sections", sections)]
    else:
        (parts,) = ints("split", "sections", sections)
        if parts < 1 or n % parts:
            raise ShapeError(f"split: axis {axis} of length {n} has no {parts} parts of one length")
        cuts = list(range(n // parts, n, n // parts)) if n else [0] * (parts - 1)
    before = (slice(None),) * axis
    ends = zip([0, *cuts], [*cuts, n], strict=True)
    return [getitem(x, (*before, slice(start, stop))) for start, stop in ends]


_pad = Primitive(
    "pad",
    lambda xp, x, widths, value: xp.pad(x, widths, constant_values=value),
    (
        lambda xp, g, _out, _x, widths, value: g[
            tuple(slice(b, b + n) for (b, _), n in zip(widths, _x.shape, strict=True))
        ],
    ),
)


def _widths(given: Any) -> Any:
    """Numbers of a nested list, of which some may be tensors, on the host."""
    if isinstance(given, (list, tuple)):
        return [*map(_widths, given)]
    return numbers("pad", "pad_width", given)


def pad(
    x: Operand,
    pad_width: int | Sequence[Any],
    /,
    mode: str = "constant",
    *,
    constant_values: Any = 0,
) -> Tensor:
    """The array with elements put before and after it along each axis.

    Parameters
    ----------
    x : Tensor or array
    pad_width : int, pair or pair for each axis
        How many before and after.
    mode : {"constant", "edge", "reflect", "symmetric", "wrap"}
        What to put there: `constant_values`, the last element, what is behind it without or with
        itself, or what comes in at the other end.
    constant_values : number, pair or pair for each axis

    Returns
    -------
    Tensor

    Raises
    ------
    ShapeError
        If `pad_width` does not fit, or an axis without elements has nothing to repeat.
    ValueError
        If a width is negative, or `mode` is another.

    Examples
    --------
    >>> gt.pad(gt.tensor([1, 2]), (1, 2))
    tensor([0, 1, 2, 0, 0])
    """
    x = as_array("pad", x)
    shape: tuple[int, ...] = getattr(x, "shape", ())
    if mode not in ("constant", "edge", "reflect", "symmetric", "wrap"):
        raise ValueError(
            f"pad: mode is {mode!r}; allowed are 'constant', 'edge', 'reflect', 'symmetric' and "
            "'wrap'"
        )
    try:
        pairs = np.broadcast_to(_widths(pad_width), (len(shape), 2)).tolist()
    except ValueError:
        raise ShapeError(f"pad: pad_width {pad_width} does not fit shape {shape}") from None
    widths = tuple(ints("pad", "pad_width", pair) for pair in pairs)
    if any(n < 0 for pair in widths for n in pair):
        raise ValueError(f"pad: pad_width is {pad_width}; it must not be negative")
    if mode == "constant" and widths:
        values = numbers("pad", "constant_values", constant_values)
        return _pad(x, widths=widths, value=values.item() if values.size == 1 else values.tolist())
    for axis, (n, pair) in enumerate(zip(shape, widths, strict=True)):
        if any(pair):
            if not n:
                raise ShapeError(f"pad: axis {axis} of shape {shape} has nothing to repeat")
            x = _taken(x, np.pad(np.arange(n), pair, mode=mode), axis)  # type: ignore[call-overload]
    return getitem(x, ...)
