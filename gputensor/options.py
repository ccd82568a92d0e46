"""Options of functions as Python numbers, whatever they are given as.

An option is what is no operand: an axis, a shape, an order, a tolerance. It may be given as one of
NumPy's numbers, or as a tensor or array of one element; the host then waits for it. An option has
no gradient, so a tensor on the tape is refused.
"""

import operator
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor, grad_enabled
from gputensor.errors import GraphError, ShapeError

__all__ = ["integer", "ints", "number", "numbers"]


def numbers(name: str, argument: str, value: Any) -> "np.ndarray[Any, Any]":
    """Numbers of any shape as an array on the host.

    Raises
    ------
    GraphError
        If they are a tensor on the tape.
    TypeError
        If they are no numbers, naming the argument.
    """
    if isinstance(value, Tensor):
        if value.requires_grad and grad_enabled():
            raise GraphError(
                f"{name}: {argument} is a tensor that requires a gradient, and this option gets "
                f"none; write {argument}=x.item(), or x.detach() for several numbers"
            )
        value = value.array
    found = backend.to_host(value) if backend.is_array(value) else np.asarray(value)
    found = backend.plain(found)
    if found.dtype.kind not in "biufc" and found.dtype.name != "bfloat16":
        raise TypeError(f"{name}: {argument} must be a number, got {value!r}")
    return found


def number(name: str, argument: str, value: Any) -> Any:
    """A Python number.

    Raises
    ------
    GraphError
        If it is a tensor on the tape.
    TypeError
        If it is no number, or several, naming the argument.
    """
    if type(value) in (int, float, bool, complex):
        return value
    found = numbers(name, argument, value)
    if found.size != 1:
        raise TypeError(f"{name}: {argument} must be one number, got some of shape {found.shape}")
    return found.item()


def integer(name: str, argument: str, value: Any) -> int:
    """An int.

    Raises
    ------
    TypeError
        If it is none, naming the argument.
    """
    try:
        return operator.index(value)
    except (TypeError, ShapeError):
        raise TypeError(f"{name}: {argument} must be an int, got {value!r}") from None


def ints(name: str, argument: str, value: Any) -> tuple[int, ...]:
    """An int or a sequence of ints as a tuple.

    Raises
    ------
    TypeError
        If it is neither, naming the argument.
    """
    try:
        return tuple(map(operator.index, value if np.iterable(value) else (value,)))
    except (TypeError, ShapeError):
        raise TypeError(f"{name}: {argument} must hold ints, got {value!r}") from None
