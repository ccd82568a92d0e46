"""Adam and AdamW over a flat buffer."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from gputensor.backend import Array
from gputensor.kernels.declare import kernel
from gputensor.kernels.grad_norm import (
    clip_norm,
    clip_on_cpu,
    clipping_on_cpu,
    ends_of,
    scale,
)
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

__all__ = ["adam_step"]

_GRAIN = 1 << 14  # elements that are worth a CPU thread
_CHUNK = 1 << 12  # elements whose arrays stay in the first-level cache


@Loop
def _adam_loop(  # type: ignore[no-untyped-def]
    start,
    stop,
    p,
    g,
    m,
    v,
    rate,
    root,
    beta1,
    rest1,
    beta2,
    rest2,
    eps,
    decay,
    shrink,
    small,
    one,
    segments,
    factors,
):
    # Slices, as Numba vectorizes only where an index cannot be negative.
    p, g, m, v = p[start:stop], g[start:stop], m[start:stop], v[start:stop]
    zero = p.dtype.type(0)
    for first in range(0, p.size, _CHUNK):
        # Parameters that the matrix products left in the cache of another core as well are written
        # here before anything is computed with them: in the loop below that took three times as
        # long as all the rest.
        xs = p[first : first + _CHUNK]
        for i in range(xs.size):
            xs[i] = xs[i] * one
        gs, ms, vs = g[first : first + _CHUNK], m[first : first + _CHUNK], v[first : first + _CHUNK]
        if factors.size:
            scale(gs, start + first, segments, factors)
        for i in range(xs.size):
            x = xs[i]
            d = gs[i] + decay * x
            mean = beta1 * ms[i] + rest1 * d
            square = beta2 * vs[i] + rest2 * d * d
            # NaN is not below `small` and stays.
            mean = zero if abs(mean) < small else mean
            square = zero if square < small else square
            ms[i] = mean
            vs[i] = square
            xs[i] = x * shrink - rate * mean / (np.sqrt(square) * root + eps)


def _on_cpu(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    count: Array,
    ticket: Array,
    *,
    lr: float | Array,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    hat: bool = False,
    advance: bool = True,
    skip: Array | None = None,
    squared: Array | None = None,
    most: float = 0.0,
    clipped: Array | None = None,
    segments: Array | None = None,
) -> None:
    if skip is not None and skip[0]:
        if squared is not None:
            clip_on_cpu(g, squared, most=most, segments=segments)
        return
    t = int(count[0]) + 1
    number = p.dtype.type
    lr = float(lr)
    rate, root = lr / (1 - beta1**t), 1 / math.sqrt(1 - beta2**t)
    decay = 0.0 if decoupled else weight_decay
    shrink = 1 - lr * weight_decay if decoupled else 1.0
    small = negligible(p) if eps else 0.0
    eps = eps * root if hat else eps
    numbers = (
        *(rate, root, beta1, 1 - beta1, beta2, 1 - beta2, eps, decay, shrink, small),
        1.0,
    )
    clipping = clipping_on_cpu(g, squared, most, segments)
    split(_adam_loop, p.size, _GRAIN, p, g, m, v, *map(number, numbers), *clipping)
    if advance:
        count += 1


def _on_cuda(
    source: CudaSource,
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    count: Array,
    ticket: Array,
    *,
    lr: float | Array,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    hat: bool = False,
    advance: bool = True,
    skip: Array | None = None,
    squared: Array | None = None,
    most: float = 0.0,
    clipped: Array | None = None,
    segments: Array | None = None,
) -> None:
    small = negligible(m) if eps else 0.0
    numbers = (
        *number_or_array(lr),
        beta1,
        beta2,
        eps,
        weight_decay,
        small,
        decoupled,
        hat,
        advance,
    )
    source.launch(
        f"adam_step<{c_type(p.dtype)}, {c_type(m.dtype)}>",
        (
            *(p, g, m, v, count, ticket, skip, squared, *ends_of(segments), clipped, most),
            *(p.size, *numbers),
        ),
        elements=packs(m),
    )


@kernel(
    source=Path(__file__).with_suffix(".cu"),
    cuda=_on_cuda,
    loop=_on_cpu,
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
    mixed=True,
    writes=("p", "m", "v", "count", "ticket", "clipped"),
)
def adam_step(
    xp: Any,
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    count: Array,
    ticket: Array,
    *,
    lr: float | Array,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    hat: bool = False,
    advance: bool = True,
    skip: Array | None = None,
    squared: Array | None = None,
    most: float = 0.0,
    clipped: Array | None = None,
    segments: Array | None = None,
) -> None:
    r"""One step of Adam, in place.

    With :math:`t` one more than `count`:
    :math:`m \leftarrow \beta_1 m + (1-\beta_1) g`,
    :math:`v \leftarrow \beta_2 v + (1-\beta_2) g^2`,
    :math:`p \leftarrow p - \mathrm{lr}\,\hat m / (\sqrt{\hat v} + \epsilon)` with
    :math:`\hat m = m / (1-\beta_1^t)`, :math:`\hat v = v / (1-\beta_2^t)` (Kingma & Ba 2015).
    `weight_decay` adds ``weight_decay * p`` to the gradient or, `decoupled`, shrinks ``p`` by
    ``lr * weight_decay`` (AdamW, Loshchilov & Hutter 2019). With `hat`, :math:`\epsilon` is the
    paper's :math:`\hat\epsilon`, which is added to :math:`\sqrt v`: times
    :math:`1 / \sqrt{1-\beta_2^t}` it stands in the place of :math:`\epsilon`.

    Means below the smallest normal number become 0 (see ``negligible``), which leaves out changes
    of `p` below ``lr * 1.2e-38 / eps`` in float32; not with ``eps = 0``.

    Parameters
    ----------
    p, g : arrays of shape (n,)
        Parameters and gradients.
    m, v : arrays of shape (n,)
        The two running means; of the dtype of `p`, or float32 where that has 16 bits.
    count : int64 array of shape (1,)
        Steps taken before; one is added if `advance`.
    ticket : uint32 array of shape (1,)
        Zero; scratch memory of the CUDA kernel.
    lr : float or float64 array of shape ()
        Learning rate; an array, on the device of `p`, may change without a word from the host.
    skip : uint32 array of shape (1,), optional
        If not 0, nothing is done but clipping, and nothing counted.
    squared : float64 array of shape () or (m,), optional
        Square of the gradients' norm, or those of each parameter's, by which they are scaled down
        first, as of :func:`~gputensor.kernels.clip_norm`. Its other arguments are `most`,
        `segments`, and `clipped` for the array: `g` itself, which is written to.

    Examples
    --------
    >>> p, g, m, v = (np.full(2, fill, "f") for fill in (1.0, 0.5, 0.0, 0.0))
    >>> count, ticket = np.zeros(1, np.int64), np.zeros(1, np.uint32)
    >>> rates = {"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    >>> gt.kernels.adam_step.raw(p, g, m, v, count, ticket, **rates)
    >>> p, count
    (array([0.90000004, 0.90000004], dtype=float32), array([1]))
    """
    t = (count + 1).astype(np.float64)
    rate, root = (a.astype(m.dtype) for a in (lr / (1 - beta1**t), (1 - beta2**t) ** -0.5))
    if squared is not None:
        clip_norm.reference(xp, g, squared, most=most, segments=segments)
    small = negligible(m) if eps else 0.0
    least = eps * root if hat else eps
    x, g = widen(xp, p), widen(xp, g)
    if weight_decay and not decoupled:
        g = g + weight_decay * x
    with undone(xp, skip, p, m, v, count):
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        v += (1 - beta2) * g * g
        m[xp.abs(m) < small] = 0
        v[v < small] = 0
        if weight_decay and decoupled:
            x = x * (1 - lr * weight_decay)
        p[...] = x - rate * m / (xp.sqrt(v) * root + least)
        if advance:
            count += 1
