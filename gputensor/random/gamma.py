"""Gamma variables and their derivative towards the concentration."""

from typing import Any

import numpy as np

from gputensor.autograd import Primitive, Tensor
from gputensor.backend import Array
from gputensor.errors import (
    GraphError,
)
from gputensor.kernels import random_normal, random_uniform


def log_gammas(xp: Any, a: Array, starts: list[dict[str, Any]]) -> Array:
    """Logarithms of standard gamma variables, by Marsaglia & Tsang."""
    n = len(a)
    proper = a > 0
    a = xp.where(proper, a, 1)
    small = a < 1
    d = xp.where(small, a + 1, a) - 1 / 3
    c = 1 / xp.sqrt(9 * d)
    root = xp.ones(n, np.float64)  # the cube root of the proposal over d
    waiting = xp.ones(n, bool)
    for i in range(0, len(starts) - 1, 2):
        x = random_normal.raw(xp.empty(n, np.float64), **starts[i])
        u = random_uniform.raw(xp.empty(n, np.float64), **starts[i + 1])
        t = 1 + c * x
        positive = t > 0
        t = xp.where(positive, t, 1)
        bound = 0.5 * x * x + d * (1 - t * t * t + 3 * xp.log(t))
        root = xp.where(waiting & positive, t, root)
        waiting &= ~(positive & (xp.log1p(-u) < bound))
        if isinstance(waiting, np.ndarray) and not waiting.any():
            break  # CUDA goes on, as the host does not look
    u = random_uniform.raw(xp.empty(n, np.float64), **starts[-1])
    # Below 1, a variable of one more times a power of a uniform one.
    power = xp.where(small, xp.log1p(-u) / a, 0)
    return xp.where(proper, xp.log(d) + 3 * xp.log(root) + power, xp.nan)


def _gamma_slope_forward(xp: Any, a: Any, sample: Any) -> Any:
    """Derivative of the logarithm of a gamma variable at a fixed probability.

    The distribution function F(a, x) stays: dx/da is -(dF/da) / (dF/dx). The numerator is a
    difference of the incomplete gamma function, of its complement where x is above a.
    """
    a = xp.asarray(a, np.float64)
    x = xp.exp(sample)
    step = 1e-4 * a / xp.sqrt(1 + a)
    below = xp.gammainc(a + step, x) - xp.gammainc(a - step, x)
    above = xp.gammaincc(a - step, x) - xp.gammaincc(a + step, x)
    change = xp.where(x > a, above, below) / (2 * step)
    density = xp.exp(a * sample - x - xp.gammaln(a))  # times x
    # Near 0, where F is x**a / gamma(a + 1).
    small = -(sample - 1 / a - xp.digamma(a)) / a
    return xp.where(sample < -14, small, -change / density)


def _gamma_slope_rule(xp: Any, g: Any, _out: Any, a: Any, sample: Any) -> Any:
    if isinstance(g, Tensor):
        raise GraphError("gamma: third derivatives towards concentration are not supported")
    a = xp.asarray(a, np.float64)
    step = 1e-3 * a / xp.sqrt(1 + a)
    ends = [_gamma_slope_forward(xp, a + h, sample) for h in (step, -step)]
    return g * (ends[0] - ends[1]) / (2 * step)


gamma_slope = Primitive(
    "gamma_slope",
    _gamma_slope_forward,
    (
        _gamma_slope_rule,
        # As dF/ds = x**a exp(-x) / gamma(a), with s the logarithm of x.
        lambda xp, g, out, a, s: g * (xp.digamma(a) - s - out * (a - xp.exp(s))),
    ),
)


def _gamma_rule(xp: Any, g: Any, out: Any, a: Any, sample: Array) -> Any:
    if isinstance(g, Tensor):
        return g * gamma_slope(a, out)
    return g * _gamma_slope_forward(xp, a, out)


gamma_sample = Primitive("gamma_sample", lambda xp, a, sample: sample, (_gamma_rule,))
