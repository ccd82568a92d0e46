"""Where elements are. The results are integers, gradients end here."""

from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Operand, Primitive, Tensor, as_array, wrap
from gputensor.errors import ShapeError
from gputensor.ops.axes import Axis, any_zero, checked_axis, kept_shape
from gputensor.ops.creation import asarray
from gputensor.options import integer

__all__ = [
    "argmax",
    "argmin",
    "count_nonzero",
    "nonzero",
    "searchsorted",
]

_argmax = Primitive("argmax", lambda xp, x, axis: xp.argmax(x, axis=axis))
_argmin = Primitive("argmin", lambda xp, x, axis: xp.argmin(x, axis=axis))


def _arg(run: Primitive, x: Operand, axis: int | None, keepdims: bool) -> Tensor:
    if axis is not None:
        axis = integer(run.name, "axis", axis)
    x = as_array(run.name, x)
    checked_axis(run.name, x, axis)
    shape = getattr(x, "shape", ())
    if any_zero(shape, axis):
        raise ShapeError(f"{run.name}: there is none of zero elements, shape is {shape}")
    result = run(x, axis=axis)
    if keepdims:
        result.array = result.array.reshape(kept_shape(shape, axis))
    return result


def argmax(x: Operand, /, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """Index of the largest element along `axis`, or of all elements in one row; first of ties.

    Raises
    ------
    ShapeError
        If there is no element, or `axis` is not an axis of `x`.

    Examples
    --------
    >>> gt.argmax(gt.tensor([[1, 4], [3, 2]]), axis=1)
    tensor([1, 0])
    """
    return _arg(_argmax, x, axis, keepdims)


def argmin(x: Operand, /, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """Index of the smallest element; otherwise as :func:`argmax`.

    Examples
    --------
    >>> gt.argmin(gt.tensor([3, 1, 2]))
    tensor(1)
    """
    return _arg(_argmin, x, axis, keepdims)


_count_nonzero = Primitive(
    "count_nonzero",
    lambda xp, x, axis, keepdims: xp.sum(
        xp.not_equal(x, 0), axis=axis, dtype=np.int64, keepdims=keepdims
    ),
)


def count_nonzero(x: Operand, /, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """How many elements along `axis` are not zero; parameters as for :func:`sum`.

    Examples
    --------
    >>> gt.count_nonzero(gt.tensor([0, 1, 2]))
    tensor(2)
    """
    x = as_array("count_nonzero", x)
    axis = checked_axis("count_nonzero", x, axis)
    return _count_nonzero(x, axis=axis, keepdims=keepdims)


def nonzero(x: Operand, /) -> tuple[Tensor, ...]:
    """Indices of the elements that are not zero, row by row.

    Parameters
    ----------
    x : Tensor or array
        One axis or more.

    Returns
    -------
    tuple of Tensor
        For each axis the indices along it. Their number depends on the data: on CUDA this waits
        for the device.

    Raises
    ------
    ShapeError
        If `x` has no axis.

    Examples
    --------
    >>> gt.nonzero(gt.tensor([0, 1, 2]))
    (tensor([1, 2]),)
    """
    array = asarray(x).array
    if not array.ndim:
        raise ShapeError("nonzero: a 0-dimensional array has no axis; give it one with x[None]")
    backend.wait_for(array, "nonzero")
    with backend.on_device_of(array):
        return tuple(wrap(i) for i in backend.namespace(array).nonzero(array))


def _searchsorted_forward(xp: Any, x1: Any, x2: Any, *sorter: Any, side: str) -> Any:
    # CuPy's takes no numbers, and compares integers of different kinds as C++ does.
    dtype = np.result_type(x1.dtype, getattr(x2, "dtype", type(x2)))
    dtype = np.dtype(np.float32) if dtype.kind == "V" else dtype  # whose NaN have an order
    x1, x2 = (xp.asarray(x, dtype) for x in (x1, x2))
    return xp.searchsorted(x1, x2, side, *sorter)


_searchsorted = Primitive("searchsorted", _searchsorted_forward)


def searchsorted(
    x1: Operand, x2: Operand, /, *, side: str = "left", sorter: Operand | None = None
) -> Tensor:
    """Where elements of `x2` would have to be put in `x1` for it to stay in order.

    Parameters
    ----------
    x1 : Tensor or array of shape (n,)
        Ascending, unless `sorter` says how to make it so.
    x2 : Tensor, array or number
    side : {"left", "right"}
        Before or after elements that are equal.
    sorter : Tensor or array of int, shape (n,), optional
        What :func:`argsort` gives for `x1`.

    Returns
    -------
    Tensor
        Integers from 0 to n, of the shape of `x2`.

    Raises
    ------
    ShapeError
        If `x1` does not have one axis.
    ValueError
        If `side` is another.

    Examples
    --------
    >>> gt.searchsorted(gt.tensor([1, 3, 5]), gt.tensor([2, 5]))
    tensor([1, 2])
    """
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted: side is {side!r}; allowed are 'left' and 'right'")
    x1 = as_array("searchsorted", x1)
    shape = getattr(x1, "shape", ())
    if len(shape) != 1:
        raise ShapeError(f"searchsorted: x1 must have one axis, its shape is {shape}")
    return _searchsorted(x1, x2, *(() if sorter is None else (sorter,)), side=side)
