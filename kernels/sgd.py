"""Stochastic gradient descent over a flat buffer, with (Nesterov) momentum and weight decay."""

from pathlib import Path
from typing import Any

from gputensor.backend import Array
from gputensor.kernels.declare import kernel
from gputensor.kernels.grad_norm import clip_norm, clip_on_cpu, ends_of
from gputensor.kernels.runtime import (
    ALL_FLOATS,
    LOOP_FLOATS,
    Loop,
    negligible,
    number_or_array,
    packs,
    split,
    undone,
    widen,
)
from gputensor.kernels.source import CudaSource, c_type

__all__ = ["sgd_step"]

_GRAIN = 1 << 14  # elements that are worth a CPU thread


@Loop
def _plain_loop(start, stop, p, g, lr, decay):  # type: ignore[no-untyped-def]
    p, g = p[start:stop], g[start:stop]  # an index that may be negative stops vectorization
    for i in range(p.size):
        p[i] -= lr * (g[i] + decay * p[i])


@Loop
def _momentum_loop(  # type: ignore[no-untyped-def]
    start, stop, p, g, velocity, inner, outer, momentum, decay, small, nesterov
):
    zero = p.dtype.type(0)
    p, g, velocity = p[start:stop], g[start:stop], velocity[start:stop]
    for i in range(p.size):
        d = inner * (g[i] + decay * p[i])
        moved = momentum * velocity[i] + d
        moved = zero if abs(moved) < small else moved  # NaN stays
        velocity[i] = moved
        p[i] -= outer * (d + momentum * moved if nesterov else moved)


def _on_cpu(
    p: Array,
    g: Array,
    velocity: Array | None,
    count: Array | None = None,
    ticket: Array | None = None,
    *,
    lr: float | Array,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    within: bool = False,
    skip: Array | None = None,
    squared: Array | None = None,
    most: float = 0.0,
    clipped: Array | None = None,
    segments: Array | None = None,
) -> None:
    if squared is not None:
        clip_on_cpu(g, squared, most=most, segments=segments)
    if skip is not None and skip[0]:
        return
    number = p.dtype.type
    rate, keep, decay = number(float(lr)), number(momentum), number(weight_decay)
    if count is not None:
        count += 1
    if velocity is None:
        split(_plain_loop, p.size, _GRAIN, p, g, rate, decay)
    else:
        one = number(1)
        rates = (rate, one) if within else (one, rate)
        numbers = (*rates, keep, decay, negligible(p), nesterov)
        split(_momentum_loop, p.size, _GRAIN, p, g, velocity, *numbers)


def _on_cuda(
    source: CudaSource,
    p: Array,
    g: Array,
    velocity: Array | None,
    count: Array | None = None,
    ticket: Array | None = None,
    *,
    lr: float | Array,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    within: bool = False,
    skip: Array | None = None,
    squared: Array | None = None,
    most: float = 0.0,
    clipped: Array | None = None,
    segments: Array | None = None,
) -> None:
    state = c_type(p.dtype) if p.dtype.char == "d" else "float"
    numbers = (
        *number_or_array(lr),
        momentum,
        weight_decay,
        0.0 if velocity is None else negligible(velocity),
    )
    source.launch(
        f"sgd_step<{c_type(p.dtype)}, {state}>",
        (
            *(p, g, velocity, count, ticket, skip, squared, *ends_of(segments), clipped, most),
            *(p.size, *numbers, nesterov, within),
        ),
        elements=packs(p),
    )


@kernel(
    source=Path(__file__).with_suffix(".cu"),
    cuda=_on_cuda,
    loop=_on_cpu,
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
    mixed=True,
    writes=("p", "velocity", "count", "ticket", "clipped"),
)
def sgd_step(
    xp: Any,
    p: Array,
    g: Array,
    velocity: Array | None,
    count: Array | None = None,
    ticket: Array | None = None,
    *,
    lr: float | Array,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    within: bool = False,
    skip: Array | None = None,
    squared: Array | None = None,
    most: float = 0.0,
    clipped: Array | None = None,
    segments: Array | None = None,
) -> None:
    r"""One step of gradient descent, in place.

    With :math:`d = g + \mathrm{weight\_decay}\,p` the step is
    :math:`p \leftarrow p - \mathrm{lr}\,d`.
    With momentum :math:`\mu`, :math:`u \leftarrow \mu u + d` takes the place of :math:`d`, and
    :math:`d + \mu u` with `nesterov` (Sutskever et al. 2013). Elements of :math:`u` below the
    smallest normal number become 0 (see ``negligible``). With `within` the learning rate is part of
    the momentum: :math:`u \leftarrow \mu u + \mathrm{lr}\,d`, and :math:`p \leftarrow p - u`, or
    :math:`p - \mathrm{lr}\,d - \mu u` with `nesterov`.

    Parameters
    ----------
    p, g : arrays of shape (n,)
        Parameters and gradients.
    velocity : array of shape (n,), optional
        :math:`u`, of the dtype of `p`, or float32 where that has 16 bits; without it there is no
        momentum.
    count : int64 array of shape (1,), optional
        One is added.
    ticket : uint32 array of shape (1,), optional
        Zero; scratch memory of the CUDA kernel where there is a count.
    lr : float or float64 array of shape ()
        Learning rate; an array, on the device of `p`, may change without a word from the host.
    skip : uint32 array of shape (1,), optional
        If not 0, nothing is done but clipping.
    squared : float64 array of shape () or (m,), optional
        Square of the gradients' norm, or those of each parameter's, by which they are scaled down
        first, as of :func:`~gputensor.kernels.clip_norm`. Its other arguments are `most`,
        `segments`, and `clipped` for the array: `g` itself, which is written to.

    Examples
    --------
    >>> p, g = np.ones(2, "f"), np.full(2, 0.5, "f")
    >>> gt.kernels.sgd_step.raw(p, g, None, lr=0.1)
    >>> p
    array([0.95, 0.95], dtype=float32)
    """
    if squared is not None:
        clip_norm.reference(xp, g, squared, most=most, segments=segments)
    x, d = widen(xp, p), widen(xp, g)
    if weight_decay:
        d = d + weight_decay * x
    rate = lr.astype(x.dtype) if hasattr(lr, "flags") else lr
    within = within and velocity is not None
    if within:
        d = rate * d
    with undone(xp, skip, *(a for a in (p, velocity, count) if a is not None)):
        if count is not None:
            count += 1
        if velocity is not None:
            velocity *= momentum
            velocity += d
            velocity[abs(velocity) < negligible(velocity)] = 0
            d = d + momentum * velocity if nesterov else velocity
        p[...] = x - d if within else x - rate * d
