"""Where the extremes are. The results are integers, gradients end here."""

import operator

from gputensor.autograd import Operand, Primitive, Tensor, as_array
from gputensor.errors import ShapeError
from gputensor.ops.statistical import any_zero, checked_axis, kept_shape

__all__ = ["argmax", "argmin"]

_argmax = Primitive("argmax", lambda xp, x, axis: xp.argmax(x, axis=axis))
_argmin = Primitive("argmin", lambda xp, x, axis: xp.argmin(x, axis=axis))


def _arg(run: Primitive, x: Operand, axis: int | None, keepdims: bool) -> Tensor:
    if axis is not None:
        try:
            axis = operator.index(axis)
        except TypeError:
            raise TypeError(f"{run.name}: axis must be an int or None, got {axis!r}") from None
    x = as_array(run.name, x)
    checked_axis(run.name, x, axis)
    shape = getattr(x, "shape", ())
    if any_zero(shape, axis):
        raise ShapeError(f"{run.name}: there is none of zero elements, shape is {shape}")
    result = run(x, axis=axis)
    if keepdims:
        result.array = result.array.reshape(kept_shape(shape, axis))
    return result


def argmax(x: Operand, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Index of the largest element along `axis`, or of all elements in one row; first of ties.

    Raises
    ------
    ShapeError
        If there is no element, or `axis` is not an axis of `x`.
    """
    return _arg(_argmax, x, axis, keepdims)


def argmin(x: Operand, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Index of the smallest element; otherwise as :func:`argmax`."""
    return _arg(_argmin, x, axis, keepdims)
