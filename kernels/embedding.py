"""Rows of a table by number, and the sums of gradients towards each row."""

from pathlib import Path
from typing import Any

import numpy as np

from gputensor.backend import Array, is_array, namespace
from gputensor.errors import OutOfRangeError
from gputensor.kernels.declare import kernel
from gputensor.kernels.flags import Flag
from gputensor.kernels.rows import pack_width
from gputensor.kernels.runtime import ALL_FLOATS, LOOP_FLOATS, Loop, narrow, packs, split, widen
from gputensor.kernels.scratch import zeros
from gputensor.kernels.source import CudaSource, c_type

__all__ = ["embedding", "embedding_backward"]

_GRAIN = 1 << 15  # elements that are worth a CPU thread
_SOURCE = CudaSource(Path(__file__).with_suffix(".cu"))


def _explain(place: int, row: int, rows: int) -> OutOfRangeError:
    return OutOfRangeError(
        f"embedding: index {row} at place {place} is out of range; it must be 0 to {rows - 1}, as "
        f"the table has {rows} rows"
    )


_flag = Flag(_explain)


@Loop
def _gather_loop(start, stop, weight, index, out):  # type: ignore[no-untyped-def]
    for i in range(start, stop):
        source, target = weight[index[i]], out[i]
        for j in range(target.size):
            target[j] = source[j]


@Loop
def _sum_loop(start, stop, g, index, grad):  # type: ignore[no-untyped-def]
    for i in range(index.size):
        source, target = g[i, start:stop], grad[index[i], start:stop]
        for j in range(target.size):
            target[j] += source[j]


def _forward_on_cpu(weight: Array, index: Array) -> Array:
    _flag.check(index, len(weight))
    out = np.empty((len(index), weight.shape[1]), weight.dtype)
    split(_gather_loop, len(index), _GRAIN // weight.shape[1] + 1, weight, index, out)
    return out


def _forward_on_cuda(source: CudaSource, weight: Array, index: Array) -> Array:
    xp = namespace(weight)
    rows, columns = weight.shape
    out = xp.empty((len(index), columns), weight.dtype)
    source.launch(
        f"embedding<{c_type(weight.dtype)}>",
        (weight, index, out, out.size, columns, rows, zeros().tickets, _flag.on(index)),
        elements=packs(out),
    )
    return out


@kernel(
    source=_SOURCE,
    cuda=_forward_on_cuda,
    loop=_forward_on_cpu,
    vjp=lambda _xp, g, _out, weight, index: (
        embedding_backward.raw(g, index, rows=len(weight)),
        None,
    ),
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
    raises=True,
)
def embedding(xp: Any, weight: Any, index: Any) -> Any:
    """``weight[index]``, with every index checked.

    Parameters
    ----------
    weight : array of shape (rows, columns)
    index : int64 array of shape (places,)

    Returns
    -------
    array of shape (places, columns)

    Raises
    ------
    OutOfRangeError
        If an index is not in ``[0, rows)``: at once on the CPU; on CUDA when the host next reads a
        value, the row being NaN.

    Examples
    --------
    >>> table = gt.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> gt.kernels.embedding(table, np.array([1, 1, 0]))
    tensor([[3., 4.],
            [3., 4.],
            [1., 2.]], dtype=float32)
    """
    if not is_array(weight):  # a tensor where gradients are recorded; all was checked before
        return weight[index]
    inside = _flag.check(index, len(weight))
    if isinstance(index, np.ndarray):
        return weight[index]
    out = weight[xp.where(inside, index, 0)]
    return xp.where(inside[:, None], out, xp.nan).astype(weight.dtype)


def _backward_on_cpu(g: Array, index: Array, *, rows: int) -> Array:
    grad = np.zeros((rows, g.shape[1]), g.dtype)
    # Threads share out the columns, so that each sum is taken in one order.
    split(_sum_loop, g.shape[1], _GRAIN // len(index) + 1, g, index, grad)
    return grad


def _backward_on_cuda(source: CudaSource, g: Array, index: Array, *, rows: int) -> Array:
    xp = namespace(g)
    places, columns = g.shape
    order = xp.argsort(index, kind="stable")
    grad = xp.zeros((rows, columns), g.dtype)
    width = pack_width(g)
    across = 1
    while across < min(32, columns // width):
        across *= 2
    down = 256 // across
    source.launch(
        f"embedding_backward<{c_type(g.dtype)}, {width}>",
        (g, index[order], order, grad, places, columns, rows),
        blocks=(-(-places // down), -(-columns // (across * width))),
        threads=(across, down),
    )
    return grad


@kernel(
    source=_SOURCE,
    cuda=_backward_on_cuda,
    loop=_backward_on_cpu,
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
)
def embedding_backward(xp: Any, g: Array, index: Array, *, rows: int) -> Array:
    """Sums of the rows of `g` that have the same number.

    The rows are sorted by number and added up from first to last, without atomics, so equal inputs
    give equal bits. On CUDA the time of a number's sum grows with the times that it occurs.

    Parameters
    ----------
    g : array of shape (places, columns)
    index : int64 array of shape (places,)
        Numbers in ``[0, rows)``; not checked.
    rows : int

    Returns
    -------
    array of shape (rows, columns)
        Zero where a number does not occur.

    Examples
    --------
    >>> gt.kernels.embedding_backward.raw(np.ones((3, 2), "f"), np.array([1, 1, 0]), rows=2)
    array([[1., 1.],
           [2., 2.]], dtype=float32)
    """
    wide = widen(xp, g)
    grad = xp.zeros((rows, g.shape[1]), wide.dtype)
    xp.add.at(grad, index, wide)
    return narrow(xp, grad, g)
