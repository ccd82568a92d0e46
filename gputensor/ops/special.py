"""Special functions: error, gamma and polygamma functions."""

import math
from typing import Any

import numpy as np

from gputensor.autograd import Operand, Primitive, Rule, Tensor
from gputensor.errors import GraphError
from gputensor.kernels.runtime import narrow
from gputensor.ops.elementwise import positive
from gputensor.ops.rules import Unary, floating, unary
from gputensor.options import integer

__all__ = [
    "digamma",
    "erf",
    "erfc",
    "erfinv",
    "gammaln",
    "polygamma",
    "sinc",
]


def _sinc_rule(xp: Any, g: Any, out: Any, x: Any) -> Any:
    u = math.pi * x
    small = xp.less(xp.abs(u), 0.25)
    # Near 0 both terms of the quotient cancel; their power series does not.
    near = xp.where(small, u, 0)
    v = near * near
    series = -1 / 3 + v * (1 / 30 + v * (-1 / 840 + v * (1 / 45360 - v * (1 / 3991680))))
    far = (xp.cos(u) - out) / xp.where(small, 1, x)
    return g * xp.where(small, math.pi * near * series, far)


def _special(name: str, text: str, rule: Rule, example: str = "") -> Unary:
    def forward(xp: Any, x: Any) -> Any:
        return narrow(xp, getattr(xp, name)(floating(xp, x)), x)

    return unary(name, text, rule, forward, example)


sinc = _special(
    "sinc",
    "``sin(pi * x) / (pi * x)``, and 1 at 0.",
    _sinc_rule,
    example=">>> gt.sinc(gt.tensor([0.0, 0.5]))\ntensor([1.        , 0.63661975], dtype=float32)",
)

erf = _special(
    "erf",
    "Error function.",
    lambda xp, g, _out, x: g * (2 / math.sqrt(math.pi)) * xp.exp(-x * x),
    example=">>> gt.erf(gt.tensor([0.0, 1.0]))\ntensor([0.       , 0.8427008], dtype=float32)",
)

erfc = _special(
    "erfc",
    "Complementary error function ``1 - erf(x)``, exact where it is small.",
    lambda xp, g, _out, x: -g * (2 / math.sqrt(math.pi)) * xp.exp(-x * x),
    example=">>> gt.erfc(gt.tensor([0.0, 1.0]))\ntensor([1.       , 0.1572992], dtype=float32)",
)

erfinv = _special(
    "erfinv",
    "Inverse of :func:`erf`.",
    lambda xp, g, out, _x: g * (math.sqrt(math.pi) / 2) * xp.exp(out * out),
    example=">>> gt.erfinv(gt.tensor([0.0, 0.5]))\ntensor([0.        , 0.47693628], dtype=float32)",
)

gammaln = _special(
    "gammaln",
    "Logarithm of the absolute value of the gamma function.",
    lambda xp, g, _out, x: g * xp.digamma(x),
    example=">>> gt.gammaln(gt.tensor([1.0, 5.0]))\ntensor([0.       , 3.1780539], dtype=float32)",
)

digamma = _special(
    "digamma",
    "Derivative of :func:`gammaln`.",
    lambda xp, g, _out, x: g * xp.polygamma(1, x),
    example=">>> gt.special.psi(gt.tensor([1.0]))\ntensor([-0.5772157], dtype=float32)",
)


def _polygamma_forward(xp: Any, n: Any, x: Any) -> Any:
    out = xp.polygamma(n, floating(xp, x))
    dtype = np.result_type(n, x) if hasattr(n, "dtype") else x.dtype
    return xp.astype(out, dtype) if dtype.kind in "fV" else out


_polygamma = Primitive(
    "polygamma",
    _polygamma_forward,
    (None, lambda xp, g, _out, n, x: g * xp.polygamma(n + 1, x)),
    elementwise=True,
)


def polygamma(n: int | Operand, x: Operand, /) -> Tensor:
    """Derivative `n` of :func:`digamma`.

    Parameters
    ----------
    n : int, or Tensor or array of whole numbers
        0 or more. An array broadcasts with `x`, and gives NaN where it is negative or no integer.
    x : Tensor or array

    Returns
    -------
    Tensor
        Of the broadcast shape and the promoted dtype.

    Raises
    ------
    GraphError
        If `n` requires a gradient: there is none.
    ValueError
        If `n` is a negative int.

    Examples
    --------
    >>> gt.polygamma(1, gt.tensor([1.0]))
    tensor([1.644934], dtype=float32)
    """
    if isinstance(n, Tensor) and n.requires_grad:
        raise GraphError("polygamma: there is no gradient towards n; write n.detach()")
    if isinstance(n, Tensor) or getattr(n, "ndim", False):
        return _polygamma(n, x)
    n = integer("polygamma", "n", n)
    if n < 0:
        raise ValueError(f"polygamma: n is {n}; it must be an int, 0 or more")
    return _polygamma(n, x if hasattr(x, "dtype") else positive(x))  # a number has a dtype then
