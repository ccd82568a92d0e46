"""The Gaussian error linear unit and its gradient, each in one pass."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from gputensor.backend import Array, namespace
from gputensor.kernels.cpu_math import erfc_and_exp
from gputensor.kernels.declare import kernel
from gputensor.kernels.runtime import ALL_FLOATS, LOOP_FLOATS, Loop, narrow, packs, split, widen
from gputensor.kernels.source import CudaSource, c_type

__all__ = ["gelu", "gelu_backward"]

_GRAIN = 1 << 14  # elements that are worth a CPU thread
_SOURCE = CudaSource(Path(__file__).with_suffix(".cu"))


@Loop
def _forward_loop(start, stop, x, out):  # type: ignore[no-untyped-def]
    f = x.dtype.type
    half, one, root = f(0.5), f(1), f(math.sqrt(0.5))
    x, out = x[start:stop], out[start:stop]
    for i in range(out.size):
        t = x[i]
        tail = half * erfc_and_exp(abs(t) * root)[0]
        out[i] = t * (tail if t < 0 else one - tail)


@Loop
def _backward_loop(start, stop, g, x, dx):  # type: ignore[no-untyped-def]
    f = x.dtype.type
    half, one, root, density = f(0.5), f(1), f(math.sqrt(0.5)), f(1 / math.sqrt(2 * math.pi))
    g, x, dx = g[start:stop], x[start:stop], dx[start:stop]
    for i in range(dx.size):
        t = x[i]
        tail, power = erfc_and_exp(abs(t) * root)
        tail *= half
        dx[i] = g[i] * ((tail if t < 0 else one - tail) + t * (density * power))


def _forward_on_cpu(x: Array) -> Array:
    out = np.empty_like(x)
    split(_forward_loop, x.size, _GRAIN, x.reshape(-1), out.reshape(-1))
    return out


def _forward_on_cuda(source: CudaSource, x: Array) -> Array:
    out = namespace(x).empty_like(x)
    source.launch(f"gelu<{c_type(x.dtype)}>", (x, out, x.size), elements=packs(x))
    return out


@kernel(
    source=_SOURCE,
    cuda=_forward_on_cuda,
    loop=_forward_on_cpu,
    vjp=lambda _xp, g, _out, x: gelu_backward.raw(g, x),
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
)
def gelu(xp: Any, x: Any) -> Any:
    """``x * Phi(x)``, Phi the normal distribution function (Hendrycks & Gimpel 2016).

    Parameters
    ----------
    x : array

    Returns
    -------
    array of the shape of `x`
        Small results left of zero keep their digits; NaN stays NaN.

    Examples
    --------
    >>> gt.kernels.gelu(gt.tensor([-1.0, 2.0]))
    tensor([-0.15865526,  1.9544997 ], dtype=float32)
    """
    t = widen(xp, x)
    return narrow(xp, t * (0.5 * xp.erfc(-t * math.sqrt(0.5))), x)


def _backward_on_cpu(g: Array, x: Array) -> Array:
    dx = np.empty_like(g)
    split(_backward_loop, x.size, _GRAIN, g.reshape(-1), x.reshape(-1), dx.reshape(-1))
    return dx


def _backward_on_cuda(source: CudaSource, g: Array, x: Array) -> Array:
    dx = namespace(g).empty_like(g)
    source.launch(f"gelu_backward<{c_type(g.dtype)}>", (g, x, dx, g.size), elements=packs(g))
    return dx


@kernel(
    source=_SOURCE,
    cuda=_backward_on_cuda,
    loop=_backward_on_cpu,
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
)
def gelu_backward(xp: Any, g: Any, x: Any) -> Any:
    r"""Gradient towards ``x`` of :func:`gelu`: :math:`g (\Phi(x) + x \varphi(x))`.

    Parameters
    ----------
    g, x : arrays of one shape
        Gradient of the result, and the operand.

    Returns
    -------
    array of that shape

    Examples
    --------
    >>> gt.kernels.gelu_backward.raw(np.ones(2, "f"), np.array([0.0, 10.0], "f"))
    array([0.5, 1. ], dtype=float32)
    """
    t = widen(xp, x)
    density = xp.exp(-0.5 * t * t) * (1 / math.sqrt(2 * math.pi))
    slope = 0.5 * xp.erfc(-t * math.sqrt(0.5)) + t * density
    return narrow(xp, widen(xp, g) * slope, g)
