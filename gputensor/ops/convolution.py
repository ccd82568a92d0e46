"""Windows of images as rows of a matrix; on the CPU, convolution by those of some images at a time.

As rows of a matrix, the windows of a batch take many times the memory of its images. Those of a few
images stay in the cache: they are laid out, multiplied and forgotten, and for the gradient laid out
again.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gputensor import backend, kernels
from gputensor.autograd import Primitive, Tensor
from gputensor.backend import Array
from gputensor.blas import host_matmul
from gputensor.kernels.runtime import is_native, shared

__all__ = ["convolve_by_parts", "fold", "transposed_by_parts", "unfold"]

Pair = tuple[int, int]

_ELEMENTS = 1 << 17  # of the windows that are laid out at a time
_WORTH = 1 << 22  # of them that are worth threads of Python's, each with some of the images
_PARTS = 8  # that the images are cut into for threads; sums of gradients depend on it


def _unfold_rule(xp: Any, g: Any, _out: Any, _x: Any, *, out: Pair, **geometry: Any) -> Any:
    size = tuple(_x.shape[1:3])
    if isinstance(g, Tensor):
        return fold(g, size=size, **geometry)
    return kernels.fold.raw(backend.in_c_order(g), size=size, **geometry)


def _fold_rule(xp: Any, g: Any, _out: Any, _x: Any, *, size: Pair, **geometry: Any) -> Any:
    out = tuple(_x.shape[1:3])
    if isinstance(g, Tensor):
        return unfold(g, out=out, **geometry)
    return kernels.unfold.raw(backend.in_c_order(g), out=out, **geometry)


unfold = Primitive(
    "unfold",
    lambda _xp, x, **geometry: kernels.unfold.raw(backend.in_c_order(x), **geometry),
    (_unfold_rule,),
)
fold = Primitive(
    "fold",
    lambda _xp, g, **geometry: kernels.fold.raw(backend.in_c_order(g), **geometry),
    (_fold_rule,),
)


def _each(images: int, windows: int, work: Callable[[int, slice], None]) -> int:
    """Run ``work(part, some images)`` over all images; how many parts there are.

    A part's images come in order and in one thread. Parts depend on shapes alone, so that sums over
    each, and then over all, have the same bits for any number of threads.
    """
    step = max(1, _ELEMENTS // max(windows, 1))
    chunks = -(-images // step)
    parts = min(_PARTS, chunks)
    bounds = [chunks * i // parts * step for i in range(parts)] + [images]

    def run(first: int, stop: int) -> None:
        for part in range(first, stop):
            for start in range(bounds[part], bounds[part + 1], step):
                work(part, slice(start, min(start + step, bounds[part + 1])))

    if images * windows < _WORTH and is_native():  # loops and products have threads within
        run(0, parts)
    else:
        shared(run, parts)
    return parts


def _rows(x: Array, geometry: dict[str, Any]) -> Array:
    """Windows of images as rows."""
    found = kernels.unfold.run(x, **geometry)
    return found.reshape(-1, math.prod(found.shape[3:]))


@backend.one_call()
def _forward(x: Array, w: Array, b: Array, kind: str | None, geometry: dict[str, Any]) -> Array:
    x = backend.in_c_order(x)
    n, (oh, ow), filters = len(x), geometry["out"], w.shape[-1]
    matrix = np.ascontiguousarray(w).reshape(-1, filters)
    y = np.empty((n, oh, ow, filters), x.dtype)

    def work(part: int, some: slice) -> None:
        rows = _rows(x[some], geometry)
        out = y[some].reshape(len(rows), filters)
        host_matmul(rows, matrix, out=out)
        if kind is None:
            out += b
        else:
            kernels.bias_activation.run(out, b, kind=kind, out=out)

    _each(n, oh * ow * len(matrix), work)
    return y


@backend.one_call()
def _backward(
    g: Array,
    y: Array,
    x: Array,
    w: Array,
    b: Array,
    kind: str | None,
    geometry: dict[str, Any],
    needs: tuple[bool, ...],
) -> tuple[Array | None, ...]:
    g, x = backend.in_c_order(g), backend.in_c_order(x)
    n, (oh, ow), filters = len(x), geometry["out"], w.shape[-1]
    matrix = np.ascontiguousarray(w).reshape(-1, filters)
    size = x.shape[1:3]
    x_grad = np.empty_like(x) if needs[0] else None
    w_grads = np.zeros((_PARTS, *matrix.shape), w.dtype) if needs[1] else None
    b_grads = np.zeros((_PARTS, filters), w.dtype)
    folded = {k: v for k, v in geometry.items() if k != "out"} | {"size": size}

    def work(part: int, some: slice) -> None:
        d = g[some].reshape(-1, filters)
        if kind is not None:
            saved = y[some].reshape(d.shape)
            d, sums = kernels.bias_activation_backward.run(d, saved, b, kind=kind)
            b_grads[part] += sums
        elif needs[2]:
            b_grads[part] += np.ones(len(d), d.dtype) @ d  # quicker than its sum
        if w_grads is not None:
            w_grads[part] += host_matmul(_rows(x[some], geometry).T, d)
        if x_grad is not None:
            back = host_matmul(d, matrix.T)
            places = geometry["window"][0] * geometry["window"][1]
            back = back.reshape(-1, oh, ow, places, x.shape[3])
            x_grad[some] = kernels.fold.run(back, **folded)

    parts = _each(n, oh * ow * len(matrix), work)
    w_grad = None if w_grads is None else w_grads[:parts].sum(axis=0).reshape(w.shape)
    return x_grad, w_grad, b_grads[:parts].sum(axis=0) if needs[2] else None


def _rule(
    _xp: Any, needs: Any, g: Any, y: Any, x: Any, w: Any, b: Any, *, kind: Any, **geometry: Any
) -> Any:
    return _backward(g, y, x, w, b, kind, geometry, tuple(need is not False for need in needs))


def _reference(xp: Any, x: Any, w: Any, b: Any, *, kind: str | None, **geometry: Any) -> Any:
    rows: Any = unfold(x, **geometry)
    n, oh, ow, *_ = rows.shape
    size = math.prod(w.shape[:-1])
    y = xp.matmul(xp.reshape(rows, (n * oh * ow, size)), xp.reshape(w, (size, w.shape[-1])))
    y = kernels.bias_activation.reference(xp, y, b, kind=kind) if kind else y + b
    return xp.reshape(y, (n, oh, ow, w.shape[-1]))


convolve_by_parts = Primitive(
    "conv2d",
    lambda _xp, x, w, b, *, kind, **geometry: _forward(x, w, b, kind, geometry),
    _rule,
    reference=_reference,
)


@backend.one_call()
def _transposed(x: Array, w: Array, b: Array, geometry: dict[str, Any]) -> Array:
    x = backend.in_c_order(x)
    n, high, wide, channels = x.shape
    places, each = math.prod(w.shape[:2]), w.shape[2]
    matrix = np.ascontiguousarray(w).reshape(-1, channels)
    y = np.empty((n, *geometry["size"], each), x.dtype)

    def work(part: int, some: slice) -> None:
        rows = host_matmul(x[some].reshape(-1, channels), matrix.T)
        rows = rows.reshape(-1, high, wide, places, each)
        np.add(kernels.fold.run(rows, **geometry), b, out=y[some])

    _each(n, high * wide * len(matrix), work)
    return y


@backend.one_call()
def _transposed_backward(
    g: Array, x: Array, w: Array, geometry: dict[str, Any], needs: tuple[bool, ...]
) -> tuple[Array | None, ...]:
    g, x = backend.in_c_order(g), backend.in_c_order(x)
    n, high, wide, channels = x.shape
    matrix = np.ascontiguousarray(w).reshape(-1, channels)
    x_grad = np.empty_like(x) if needs[0] else None
    w_grads = np.zeros((_PARTS, *matrix.shape), w.dtype) if needs[1] else None
    unfolded = {k: v for k, v in geometry.items() if k != "size"} | {"out": (high, wide)}

    def work(part: int, some: slice) -> None:
        rows = _rows(g[some], unfolded)
        if x_grad is not None:
            host_matmul(rows, matrix, out=x_grad[some].reshape(-1, channels))
        if w_grads is not None:
            w_grads[part] += host_matmul(rows.T, x[some].reshape(-1, channels))

    parts = _each(n, high * wide * len(matrix), work)
    w_grad = None if w_grads is None else w_grads[:parts].sum(axis=0).reshape(w.shape)
    return x_grad, w_grad, g.sum(axis=(0, 1, 2)) if needs[2] else None


def _transposed_rule(
    _xp: Any, needs: Any, g: Any, _out: Any, x: Any, w: Any, _b: Any, **geometry: Any
) -> Any:
    return _transposed_backward(g, x, w, geometry, tuple(need is not False for need in needs))


def _transposed_reference(xp: Any, x: Any, w: Any, b: Any, **geometry: Any) -> Any:
    n, high, wide, channels = x.shape
    rows = xp.reshape(x, (n * high * wide, channels))
    matrix = xp.reshape(w, (math.prod(w.shape[:-1]), channels))
    y = xp.matmul(rows, xp.permute_dims(matrix, (1, 0)))
    y = xp.reshape(y, (n, high, wide, math.prod(w.shape[:2]), w.shape[2]))
    return fold(y, **geometry) + b


transposed_by_parts = Primitive(
    "conv_transpose2d",
    lambda _xp, x, w, b, **geometry: _transposed(x, w, b, geometry),
    _transposed_rule,
    reference=_transposed_reference,
)
