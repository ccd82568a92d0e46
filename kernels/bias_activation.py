"""Bias and activation in one pass, and the gradients of both in another."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from gputensor.backend import Array, namespace
from gputensor.kernels.cpu_math import erf, exp
from gputensor.kernels.declare import kernel
from gputensor.kernels.rows import ColumnSums, chunk_rows
from gputensor.kernels.runtime import ALL_FLOATS, LOOP_FLOATS, Loop, narrow, packs, split, widen
from gputensor.kernels.source import CudaSource, c_type

__all__ = ["KINDS", "bias_activation", "bias_activation_backward"]

KINDS = ("relu", "tanh", "gelu", "silu")  # numbered as in the CUDA source
FROM_RESULT = ("relu", "tanh")  # whose derivative follows from the result

_GRAIN = 1 << 15  # elements that are worth a CPU thread
_SOURCE = CudaSource(Path(__file__).with_suffix(".cu"))


@Loop
def _relu_loop(start, stop, z, bias, out):  # type: ignore[no-untyped-def]
    zero = z.dtype.type(0)
    for i in range(start, stop):
        row, target = z[i], out[i]
        for j in range(target.size):
            t = row[j] + bias[j]
            target[j] = zero if t <= zero else t  # NaN is not <= 0 and stays


@Loop
def _relu_backward_loop(start, stop, g, out, dz, parts, chunk):  # type: ignore[no-untyped-def]
    zero = g.dtype.type(0)
    for part in range(start, stop):
        total = parts[part]
        total[:] = zero
        for i in range(part * chunk, min((part + 1) * chunk, g.shape[0])):
            # Row views, as Numba vectorizes only what is this plain.
            source, y, target = g[i], out[i], dz[i]
            for j in range(target.size):
                d = zero if y[j] <= zero else source[j]
                target[j] = d
                total[j] += d


@Loop
def _silu_loop(start, stop, z, bias, out):  # type: ignore[no-untyped-def]
    one = z.dtype.type(1)
    for i in range(start, stop):
        row, target = z[i], out[i]
        for j in range(target.size):
            t = row[j] + bias[j]
            target[j] = t / (one + exp(-t))


@Loop
def _gelu_loop(start, stop, z, bias, out):  # type: ignore[no-untyped-def]
    f = z.dtype.type
    half, one, root = f(0.5), f(1), f(math.sqrt(0.5))
    for i in range(start, stop):
        row, target = z[i], out[i]
        for j in range(target.size):
            t = row[j] + bias[j]
            target[j] = half * t * (one + erf(t * root))


@Loop
def _silu_backward_loop(  # type: ignore[no-untyped-def]
    start, stop, g, z, bias, dz, parts, chunk
):
    one = g.dtype.type(1)
    for part in range(start, stop):
        total = parts[part]
        total[:] = 0
        for i in range(part * chunk, min((part + 1) * chunk, g.shape[0])):
            source, y, target = g[i], z[i], dz[i]
            for j in range(target.size):
                t = y[j] + bias[j]
                s = one / (one + exp(-t))
                target[j] = source[j] * (s * (one + t * (one - s)))
            for j in range(target.size):
                total[j] += target[j]


@Loop
def _gelu_backward_loop(  # type: ignore[no-untyped-def]
    start, stop, g, z, bias, dz, parts, chunk
):
    f = g.dtype.type
    half, one, root, density = f(0.5), f(1), f(math.sqrt(0.5)), f(1 / math.sqrt(2 * math.pi))
    for part in range(start, stop):
        total = parts[part]
        total[:] = 0
        for i in range(part * chunk, min((part + 1) * chunk, g.shape[0])):
            source, y, target = g[i], z[i], dz[i]
            for j in range(target.size):
                t = y[j] + bias[j]
                slope = half * (one + erf(t * root)) + t * density * exp(-half * t * t)
                target[j] = source[j] * slope
            for j in range(target.size):
                total[j] += target[j]


_FORWARD_LOOPS = {"relu": _relu_loop, "silu": _silu_loop, "gelu": _gelu_loop}


def _forward_on_cpu(z: Array, bias: Array, *, kind: str, out: Array | None = None) -> Array:
    if kind == "tanh":  # NumPy's is vectorized, Numba's is not
        return bias_activation.reference(namespace(z), z, bias, kind=kind, out=out)
    out = np.empty_like(z) if out is None else out
    split(_FORWARD_LOOPS[kind], len(z), _GRAIN // z.shape[1] + 1, z, bias, out)
    return out


def _forward_on_cuda(
    source: CudaSource, z: Array, bias: Array, *, kind: str, out: Array | None = None
) -> Array:
    out = namespace(z).empty_like(z) if out is None else out
    source.launch(
        f"bias_activation<{c_type(z.dtype)}, {KINDS.index(kind)}>",
        (z, bias, out, z.size, z.shape[1]),
        elements=packs(z),
    )
    return out


def _vjp(_xp: Any, g: Array, out: Array, z: Array, bias: Array, *, kind: str, **_: Any) -> Any:
    saved = out if kind in FROM_RESULT else z
    return bias_activation_backward.raw(g, saved, bias, kind=kind)


@kernel(
    source=_SOURCE,
    cuda=_forward_on_cuda,
    loop=_forward_on_cpu,
    vjp=_vjp,
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
    writes=("out",),
)
def bias_activation(xp: Any, z: Any, bias: Any, *, kind: str, out: Array | None = None) -> Any:
    """``activation(z + bias)``.

    Parameters
    ----------
    z : array of shape (rows, columns)
    bias : array of shape (columns,) and the dtype of `z`
    kind : {"relu", "tanh", "gelu", "silu"}
        GELU is the exact one, with the error function (Hendrycks & Gimpel 2016).
    out : array, optional
        Where to write; may be `z`.

    Returns
    -------
    array of the shape of `z`
        NaN stays NaN.

    Examples
    --------
    >>> z, bias = gt.tensor([[-1.0, 2.0]]), gt.tensor([0.5, 0.5])
    >>> gt.kernels.bias_activation(z, bias, kind="relu")
    tensor([[0. , 2.5]], dtype=float32)
    """
    t = widen(xp, z) + widen(xp, bias)
    if kind == "relu":
        y = xp.where(t <= 0, 0, t)
    elif kind == "tanh":
        y = xp.tanh(t)
    elif kind == "gelu":
        y = 0.5 * t * (1 + xp.erf(t * math.sqrt(0.5)))
    else:
        y = t / (1 + xp.exp(-t))
    y = narrow(xp, y, z)
    if out is None:
        return y
    out[...] = y
    return out


def _backward_on_cpu(
    g: Array, saved: Array, bias: Array, *, kind: str, bias_grad: Array | None = None
) -> tuple[Array, Array]:
    if kind == "tanh":
        return bias_activation_backward.reference(
            namespace(g), g, saved, bias, kind=kind, bias_grad=bias_grad
        )
    rows, columns = g.shape
    dz = np.empty_like(g)
    chunk = chunk_rows(rows, columns)
    parts = np.empty((-(-rows // chunk), columns), g.dtype)
    grain = _GRAIN // (chunk * columns) + 1
    if kind == "relu":
        split(_relu_backward_loop, len(parts), grain, g, saved, dz, parts, chunk)
    else:
        loop = _silu_backward_loop if kind == "silu" else _gelu_backward_loop
        split(loop, len(parts), grain, g, saved, bias, dz, parts, chunk)
    return dz, parts.sum(axis=0, out=bias_grad)


def _backward_on_cuda(
    source: CudaSource,
    g: Array,
    saved: Array,
    bias: Array,
    *,
    kind: str,
    bias_grad: Array | None = None,
) -> tuple[Array, Array]:
    xp = namespace(g)
    dz = xp.empty_like(g)
    bias_grad = xp.empty(g.shape[1], g.dtype) if bias_grad is None else bias_grad
    sums = ColumnSums(g, saved, bias)
    source.launch(
        f"bias_activation_backward<{c_type(g.dtype)}, {KINDS.index(kind)}, {sums.width}>",
        (g, saved, bias, dz, bias_grad, sums.parts(), sums.tickets, *sums.sizes),
        **sums.shape,
    )
    return dz, bias_grad


@kernel(
    source=_SOURCE,
    cuda=_backward_on_cuda,
    loop=_backward_on_cpu,
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
    writes=("bias_grad",),
)
def bias_activation_backward(
    xp: Any, g: Array, saved: Array, bias: Array, *, kind: str, bias_grad: Array | None = None
) -> tuple[Array, Array]:
    """Gradients towards ``z`` and ``bias`` from that of ``activation(z + bias)``.

    Parameters
    ----------
    g : array of shape (rows, columns)
        Gradient of the result.
    saved : array of shape (rows, columns)
        The result, if `kind` is relu or tanh, else ``z``.
    bias : array of shape (columns,)
    kind : {"relu", "tanh", "gelu", "silu"}
    bias_grad : array of shape (columns,), optional
        Where to write the bias gradient.

    Returns
    -------
    dz : array of shape (rows, columns)
    bias_grad : array of shape (columns,)
        Its sum over rows, in an order that depends on the shape only.

    Examples
    --------
    >>> g, out, bias = np.ones((2, 2), "f"), np.array([[0, 1], [2, 3]], "f"), np.zeros(2, "f")
    >>> dz, dbias = gt.kernels.bias_activation_backward.raw(g, out, bias, kind="relu")
    >>> dbias
    array([1., 2.], dtype=float32)
    """
    d, s = widen(xp, g), widen(xp, saved)
    if kind == "relu":
        d = xp.where(s <= 0, 0, d)
    elif kind == "tanh":
        d = d * (1 - s * s)
    elif kind == "gelu":
        t = s + widen(xp, bias)
        density = xp.exp(-0.5 * t * t) * (1 / math.sqrt(2 * math.pi))
        d = d * (0.5 * (1 + xp.erf(t * math.sqrt(0.5))) + t * density)
    else:
        t = s + widen(xp, bias)
        p = 1 / (1 + xp.exp(-t))
        d = d * (p * (1 + t * (1 - p)))
    dz = narrow(xp, d, g)
    total = xp.sum(widen(xp, dz), axis=0)
    if bias_grad is None:
        return dz, narrow(xp, total, g)
    bias_grad[...] = total
    return dz, bias_grad
