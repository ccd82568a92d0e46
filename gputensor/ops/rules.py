"""Elementwise functions of one and of two operands are made here."""

import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from gputensor.autograd import Operand, Primitive, Rule, Tensor
from gputensor.kernels.runtime import widen
from gputensor.shown import examples

__all__ = [
    "Binary",
    "Unary",
    "binary",
    "floating",
    "unary",
    "whole",
    "zero",
]


Unary: TypeAlias = Callable[[Operand], Tensor]

Binary: TypeAlias = Callable[[Operand, Operand], Tensor]


def _named(function: Any, name: str) -> None:
    """Give a function its name, and the module that makes it, where pickle looks for it."""
    function.__name__ = function.__qualname__ = name
    function.__module__ = sys._getframe(2).f_globals["__name__"]


def unary(
    name: str,
    text: str,
    rule: Rule | None,
    forward: Callable[..., Any] | None = None,
    example: str = "",
) -> Unary:
    rules = None if rule is None else (rule,)
    function = Primitive(name, forward, rules, elementwise=True).unary()
    _named(function, name)
    function.__doc__ = f"""{text}

    Parameters
    ----------
    x : Tensor or array
        Any shape; integers are taken as float64, as in NumPy, where the result is fractional.

    Returns
    -------
    Tensor
        Of the shape of `x`.
    """ + examples(example)
    return function


def binary(
    name: str,
    text: str,
    rules: tuple[Rule, Rule] | None,
    forward: Callable[..., Any] | None = None,
    example: str = "",
) -> Binary:
    function = Primitive(name, forward, rules, elementwise=True).binary()
    _named(function, name)
    function.__doc__ = f"""{text}

    Parameters
    ----------
    x, y : Tensor, array or Python number
        Shapes that broadcast together; Python numbers take the other operand's dtype, but for a
        float beside bfloat16: NumPy's rule makes that float32.

    Returns
    -------
    Tensor
        Of the broadcast shape and the promoted dtype.

    Raises
    ------
    ShapeError
        If the shapes do not broadcast.
    DeviceMismatchError
        If the operands are on different devices.
    """ + examples(example)
    return function


def zero(xp: Any, g: Any, _out: Any, _x: Any, _y: Any = None) -> Any:
    return xp.zeros_like(g)


def whole(name: str) -> Callable[..., Any]:
    """Rounding that leaves integers what they are; CuPy's would make them float64."""
    return lambda xp, x: x.copy() if x.dtype.kind in "iu" else getattr(xp, name)(x)


def floating(xp: Any, x: Any) -> Any:
    """Array of a dtype that special functions compute in: integers as float64, 16 bits as 32."""
    return x.astype(np.float64) if x.dtype.kind in "biu" else widen(xp, x)
