"""Stochastic gradient descent over a flat buffer, with (Nesterov) momentum and weight decay."""

import numpy as np

from gputensor.backend import Array
from gputensor.kernels.runtime import (
    Loop,
    blocks,
    cuda_kernel,
    implementation,
    negligible,
    split,
    suffix,
)

__all__ = ["step"]

_THREADS = 256
_GRAIN = 1 << 20  # elements that are worth a CPU thread


@Loop
def _plain_loop(start, stop, p, g, lr, decay):  # type: ignore[no-untyped-def]
    p, g = p[start:stop], g[start:stop]  # an index that may be negative stops vectorization
    for i in range(p.size):
        p[i] -= lr * (g[i] + decay * p[i])


@Loop
def _momentum_loop(  # type: ignore[no-untyped-def]
    start, stop, p, g, velocity, lr, momentum, decay, small, nesterov
):
    zero = p.dtype.type(0)
    p, g, velocity = p[start:stop], g[start:stop], velocity[start:stop]
    for i in range(p.size):
        d = g[i] + decay * p[i]
        moved = momentum * velocity[i] + d
        moved = zero if abs(moved) < small else moved  # NaN stays
        velocity[i] = moved
        p[i] -= lr * (d + momentum * moved if nesterov else moved)


def step(
    p: Array,
    g: Array,
    velocity: Array | None,
    *,
    lr: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> None:
    r"""One step of gradient descent, in place.

    With :math:`d = g + \mathrm{weight\_decay}\,p` the step is
    :math:`p \leftarrow p - \mathrm{lr}\,d`.
    With momentum :math:`\mu`, :math:`u \leftarrow \mu u + d` takes the place of :math:`d`, and
    :math:`d + \mu u` with `nesterov` (Sutskever et al. 2013). Elements of :math:`u` below the
    smallest normal number become 0 (see ``negligible``).

    Parameters
    ----------
    p, g : arrays of shape (n,)
        Parameters and gradients.
    velocity : array of shape (n,), optional
        :math:`u`; without it there is no momentum.
    """
    how = implementation(p, g)
    number = p.dtype.type
    rates = (number(lr), number(momentum), number(weight_decay))
    small = negligible(p)
    if how == "cuda" and p.size:
        grid, block = blocks(p.size, _THREADS, p), (_THREADS,)
        if velocity is None:
            kernel = cuda_kernel("sgd", f"sgd_{suffix(p)}")
            kernel(grid, block, (p, g, p.size, rates[0], rates[2]))
        else:
            kernel = cuda_kernel("sgd", f"sgd_momentum_{suffix(p)}")
            kernel(grid, block, (p, g, velocity, p.size, *rates, small, np.int32(nesterov)))
    elif how == "loop" and velocity is None:
        split(_plain_loop, p.size, _GRAIN, p, g, rates[0], rates[2])
    elif how == "loop":
        split(_momentum_loop, p.size, _GRAIN, p, g, velocity, *rates, small, nesterov)
    else:
        d = g + weight_decay * p if weight_decay else g
        if velocity is not None:
            velocity *= momentum
            velocity += d
            velocity[abs(velocity) < small] = 0
            d = d + momentum * velocity if nesterov else velocity
        p -= lr * d
