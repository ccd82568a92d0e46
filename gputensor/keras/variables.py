"""Weights under Keras's names: ``keras.Variable``, and how the values of one are changed."""

from typing import Any

import numpy as np

from gputensor import config
from gputensor.autograd import Tensor, no_grad
from gputensor.keras import initializers
from gputensor.ops.creation import asarray, parameter

__all__ = ["Variable"]


def Variable(
    initializer: Any,
    shape: Any = None,
    dtype: Any = None,
    trainable: bool = True,
    name: str | None = None,
) -> Tensor:
    """A tensor that training moves, unless `trainable` is False or it holds no floats.

    Parameters
    ----------
    initializer : array-like, or Initializer or its name with `shape`
    shape : tuple of int, optional
    dtype : dtype, optional
        By default the default dtype for floats, that of the values for others.
    trainable : bool
    name : str, optional
        Is not kept.

    Returns
    -------
    Tensor
    """
    if isinstance(initializer, str) or callable(initializer):
        if shape is None:
            raise ValueError("Variable: an initializer needs a shape")
        values = initializers.get(initializer)(tuple(shape), dtype=dtype or config.default_dtype())
        given = values if isinstance(values, Tensor) else asarray(values)
    else:
        given = asarray(initializer)
        wanted = dtype or (config.default_dtype() if given.dtype == np.float64 else given.dtype)
        given = given.astype(wanted, copy=True)
    return parameter(given.array) if trainable and given.dtype.kind in "fcV" else given.detach()


def _assign(self: Tensor, value: Any) -> Tensor:
    """Give a weight other values, off the tape; it stays where it is."""
    with no_grad():
        self[...] = _beside(self, value)
    return self


def _beside(weight: Tensor, value: Any) -> Any:
    """A value off the tape; an array of NumPy's where the weight is."""
    if isinstance(value, Tensor):
        return value.detach()
    return asarray(value, device=weight.device) if isinstance(value, np.ndarray) else value


def _assign_add(self: Tensor, value: Any) -> Tensor:
    """Add to a weight, off the tape."""
    return _assign(self, self.detach() + _beside(self, value))


def _assign_sub(self: Tensor, value: Any) -> Tensor:
    """Take off a weight, off the tape."""
    return _assign(self, self.detach() - _beside(self, value))


Tensor.assign = _assign  # type: ignore[attr-defined]
Tensor.assign_add = _assign_add  # type: ignore[attr-defined]
Tensor.assign_sub = _assign_sub  # type: ignore[attr-defined]
# Of what Keras calls a variable, the tensor, with its gradient: here they are one.
Tensor.value = property(lambda self: self)  # type: ignore[attr-defined]
