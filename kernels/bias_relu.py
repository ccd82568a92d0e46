"""Bias and ReLU: ``relu(z + b)`` in place, and the gradients of both in one pass."""

from gputensor.backend import Array, namespace
from gputensor.kernels.runtime import Loop, blocks, cuda_kernel, implementation, split, suffix

__all__ = ["backward", "forward"]

_THREADS = 256
_TILE = 32  # columns of a CUDA block in the backward pass
_CHUNK = 64  # rows of one
_GRAIN = 1 << 19  # elements that are worth a CPU thread


@Loop
def _forward_loop(start, stop, z, bias):  # type: ignore[no-untyped-def]
    zero = z.dtype.type(0)
    for i in range(start, stop):
        row = z[i]
        for j in range(row.size):
            t = row[j] + bias[j]
            row[j] = zero if t <= zero else t  # NaN is not <= 0 and stays


@Loop
def _backward_loop(start, stop, g, out, masked, bias_grad):  # type: ignore[no-untyped-def]
    zero = g.dtype.type(0)
    for j in range(start, stop):
        bias_grad[j] = zero
    total = bias_grad[start:stop]
    for i in range(g.shape[0]):
        # Row views and two loops, as Numba vectorizes only what is this plain.
        source, y, target = g[i, start:stop], out[i, start:stop], masked[i, start:stop]
        for j in range(target.size):
            target[j] = zero if y[j] <= zero else source[j]
        for j in range(target.size):
            total[j] += target[j]


def forward(z: Array, bias: Array) -> Array:
    """Write ``relu(z + bias)`` over `z`.

    Parameters
    ----------
    z : array of shape (rows, columns)
    bias : array of shape (columns,) and the dtype of `z`

    Returns
    -------
    array
        `z` itself. NaN stays NaN.
    """
    rows, columns = z.shape
    how = implementation(z, bias)
    if how == "loop":
        split(_forward_loop, rows, _GRAIN // max(columns, 1) + 1, z, bias)
    elif how == "cuda" and z.size:
        kernel = cuda_kernel("bias_relu", f"bias_relu_forward_{suffix(z)}")
        kernel(blocks(z.size, _THREADS, z), (_THREADS,), (z, bias, z.size, columns))
    elif z.size:
        xp = namespace(z)
        z += bias
        xp.maximum(z, 0, out=z)
    return z


def backward(g: Array, out: Array, bias_grad: Array | None = None) -> tuple[Array, Array]:
    """Gradients towards ``z`` and ``bias`` from the gradient of ``out = relu(z + bias)``.

    Parameters
    ----------
    g, out : arrays of shape (rows, columns)
        Gradient of the result, and the result.
    bias_grad : array of shape (columns,), optional
        Where to write the bias gradient.

    Returns
    -------
    masked : array of shape (rows, columns)
        `g` where `out` is not ``<= 0``, else 0.
    bias_grad : array of shape (columns,)
        Its sum over rows, in an order that depends on the shape only.
    """
    xp = namespace(g)
    rows, columns = g.shape
    if bias_grad is None:
        bias_grad = xp.empty(columns, g.dtype)
    how = implementation(g, out)
    if how == "reference" or not g.size:
        masked = xp.where(out <= 0, 0, g)
        xp.sum(masked, axis=0, out=bias_grad)
        return masked, bias_grad
    masked = xp.empty_like(g)
    if how == "loop":
        split(_backward_loop, columns, _GRAIN // rows + 1, g, out, masked, bias_grad)
        return masked, bias_grad
    tiles = -(-columns // _TILE)
    chunks = -(-rows // _CHUNK)
    parts = xp.empty((chunks, columns), g.dtype)
    kernel = cuda_kernel("bias_relu", f"bias_relu_backward_{suffix(g)}")
    kernel((tiles, chunks), (_TILE, 8), (g, out, masked, parts, rows, columns, _CHUNK))
    finish = cuda_kernel("bias_relu", f"bias_relu_sum_{suffix(g)}")
    finish(blocks(columns, _THREADS, g), (_THREADS,), (parts, bias_grad, chunks, columns))
    return masked, bias_grad
