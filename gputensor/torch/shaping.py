"""Shapes, parts and joins, with PyTorch's names and arguments."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gputensor import backend, ops
from gputensor.autograd import Tensor as Engine
from gputensor.errors import ShapeError
from gputensor.torch.dtypes import promote_types
from gputensor.torch.tensor import Size, ours

__all__ = ["FUNCTIONS", "METHODS", "lengths"]


def lengths(sizes: Sequence[Any]) -> tuple[Any, ...]:
    """Ints given one by one or as one tuple, list or Size."""
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        return tuple(sizes[0])
    return tuple(sizes)


def reshape(input: Any, *shape: Any, **named: Any) -> Any:
    """The elements in another shape, one length of which may be -1.

    Examples
    --------
    >>> torch.reshape(torch.arange(6), (2, -1))
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    return ours(ops.reshape(input, lengths(named.get("shape", shape) or shape)))


def view(input: Any, *shape: Any) -> Any:
    """:func:`reshape`; with a dtype the same bytes as elements of that.

    The memory is shared where the elements lie so that it can be. Where they do not, which layouts
    such as those of convolutions bring about, they are copied; PyTorch refuses.
    """
    shape = lengths(shape)
    if len(shape) == 1 and isinstance(shape[0], np.dtype):
        return ours(ops.asarray(input.array.view(shape[0])))
    return ours(ops.reshape(input, shape))


def view_as(input: Any, other: Any) -> Any:
    """:func:`view` in the shape of another."""
    return view(input, other.array.shape)


def reshape_as(input: Any, other: Any) -> Any:
    """:func:`reshape` to the shape of another."""
    return reshape(input, other.array.shape)


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Axes from `start_dim` to `end_dim` as one.

    Examples
    --------
    >>> torch.flatten(torch.ones(2, 3, 4), 1).shape
    torch.Size([2, 12])
    """
    shape = input.array.shape
    if not shape:
        return reshape(input, 1)
    first, last = start_dim % len(shape), end_dim % len(shape)
    if first > last:
        raise ShapeError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    if first == last:
        return input
    middle = math.prod(shape[first : last + 1])
    return ours(ops.reshape(input, (*shape[:first], middle, *shape[last + 1 :])))


def unflatten(input: Any, dim: int, sizes: Any) -> Any:
    """One axis as several.

    Examples
    --------
    >>> torch.unflatten(torch.ones(6, 2), 0, (2, 3)).shape
    torch.Size([2, 3, 2])
    """
    shape = input.array.shape
    dim %= len(shape)
    return reshape(input, (*shape[:dim], *sizes, *shape[dim + 1 :]))


def squeeze(input: Any, dim: Any = None) -> Any:
    """Without the axes of length 1, all or those in `dim`; others stay.

    Examples
    --------
    >>> torch.squeeze(torch.ones(1, 3, 1)).shape
    torch.Size([3])
    """
    shape = input.array.shape
    dims = range(len(shape)) if dim is None else dim if isinstance(dim, (tuple, list)) else (dim,)
    for d in dims:
        if not -max(len(shape), 1) <= d < max(len(shape), 1):
            raise ShapeError(f"squeeze: dim {d} is out of range for shape {shape}")
    drop = tuple(sorted({d % len(shape) for d in dims if shape and shape[d] == 1}))
    return ours(ops.squeeze(input, drop))


def unsqueeze(input: Any, dim: int) -> Any:
    """With an axis of length 1 at `dim`.

    Examples
    --------
    >>> torch.unsqueeze(torch.ones(3), 0).shape
    torch.Size([1, 3])
    """
    n = input.array.ndim
    if not -n - 1 <= dim <= n:
        raise ShapeError(f"unsqueeze: dim {dim} is out of range, allowed are {-n - 1} to {n}")
    return ours(ops.expand_dims(input, axis=dim))


def permute(input: Any, *dims: Any, **named: Any) -> Any:
    """Axes in the order `dims`.

    Examples
    --------
    >>> torch.permute(torch.ones(2, 3, 4), (2, 0, 1)).shape
    torch.Size([4, 2, 3])
    """
    return ours(ops.permute_dims(input, lengths(named.get("dims", dims) or dims)))


def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """Two axes exchanged.

    Examples
    --------
    >>> torch.transpose(torch.ones(2, 3, 4), 0, 2).shape
    torch.Size([4, 3, 2])
    """
    if not input.array.ndim:
        return input
    return ours(ops.swapaxes(input, dim0, dim1))


def t(input: Any) -> Any:
    """A matrix with rows and columns exchanged; a vector as it is.

    Examples
    --------
    >>> torch.t(torch.ones(2, 3)).shape
    torch.Size([3, 2])
    """
    if input.array.ndim > 2:
        raise ShapeError(f"t: for two axes at most, the shape is {input.array.shape}")
    return input if input.array.ndim < 2 else ours(ops.permute_dims(input, (1, 0)))


def movedim(input: Any, source: Any, destination: Any) -> Any:
    """Axes moved to other places.

    Examples
    --------
    >>> torch.movedim(torch.ones(2, 3, 4), 0, -1).shape
    torch.Size([3, 4, 2])
    """
    return ours(ops.moveaxis(input, source, destination))


def expand(input: Any, *sizes: Any) -> Any:
    """Axes of length 1 repeated, without a copy; -1 keeps a length."""
    shape, sizes = input.array.shape, lengths(sizes)
    if len(sizes) < len(shape):
        raise ShapeError(f"expand: {len(sizes)} lengths for a tensor of shape {shape}")
    old = (None,) * (len(sizes) - len(shape)) + tuple(shape)
    full = tuple(o if n == -1 and o is not None else n for n, o in zip(sizes, old, strict=True))
    return ours(ops.broadcast_to(input, full))


def expand_as(input: Any, other: Any) -> Any:
    """:func:`expand` to the shape of another."""
    return expand(input, other.array.shape)


def repeat(input: Any, *repeats: Any) -> Any:
    """The whole tensor several times along each axis."""
    counts = lengths(repeats)
    if len(counts) < input.array.ndim:
        raise ShapeError(f"repeat: {len(counts)} counts for shape {input.array.shape}")
    return ours(ops.tile(input, counts))


def tile(input: Any, *dims: Any) -> Any:
    """:func:`repeat`, where counts that are missing in front are 1.

    Examples
    --------
    >>> torch.tile(torch.tensor([1, 2]), (2, 2))
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    return ours(ops.tile(input, lengths(dims)))


def repeat_interleave(input: Any, repeats: Any, dim: int | None = None) -> Any:
    """Each element several times in a row.

    Examples
    --------
    >>> torch.repeat_interleave(torch.tensor([1, 2]), 2)
    tensor([1, 1, 2, 2])
    """
    return ours(ops.repeat(input, repeats, axis=dim))


def _alike(tensors: Any) -> list[Any]:
    """Tensors in the dtype that all become together; an empty vector among others is left out."""
    listed = list(tensors)
    d = listed[0].array.dtype
    for x in listed[1:]:
        d = promote_types(d, x.array.dtype)
    return [x if x.array.dtype == d else ops.astype(x, d) for x in listed]


def cat(tensors: Any, dim: int = 0, **named: Any) -> Any:
    """Tensors one after the other along an axis.

    Examples
    --------
    >>> torch.cat((torch.ones(2), torch.zeros(1)))
    tensor([1., 1., 0.])
    """
    listed = _alike(tensors)
    if any(x.array.ndim > 1 for x in listed):
        listed = [x for x in listed if x.array.shape != (0,)]
    return ours(ops.concat(listed, axis=named.get("axis", dim)))


def stack(tensors: Any, dim: int = 0) -> Any:
    """Tensors of one shape along a new axis.

    Examples
    --------
    >>> torch.stack((torch.ones(2), torch.zeros(2))).shape
    torch.Size([2, 2])
    """
    return ours(ops.stack(_alike(tensors), axis=dim))


def hstack(tensors: Any) -> Any:
    """Tensors side by side.

    Examples
    --------
    >>> torch.hstack((torch.ones(2), torch.zeros(1)))
    tensor([1., 1., 0.])
    """
    return ours(ops.hstack(_alike(tensors)))


def vstack(tensors: Any) -> Any:
    """Tensors below each other.

    Examples
    --------
    >>> torch.vstack((torch.ones(2), torch.zeros(2)))
    tensor([[1., 1.],
            [0., 0.]])
    """
    return ours(ops.vstack(_alike(tensors)))


def _parts(input: Any, dim: int, cuts: list[int]) -> tuple[Any, ...]:
    before = (slice(None),) * (dim % input.array.ndim)
    ends = zip([0, *cuts[:-1]], cuts, strict=True)
    return tuple(ours(ops.getitem(input, (*before, slice(a, b)))) for a, b in ends)


def split(input: Any, split_size_or_sections: Any, dim: int = 0) -> tuple[Any, ...]:
    """Parts along an axis, of one length (the last may be shorter) or of those listed.

    Examples
    --------
    >>> [part.tolist() for part in torch.split(torch.arange(5), 2)]
    [[0, 1], [2, 3], [4]]
    """
    n, size = input.array.shape[dim], split_size_or_sections
    if isinstance(size, (list, tuple)):
        if np.sum(size) != n:
            raise ShapeError(f"split: the lengths {list(size)} do not add up to {n}")
        return _parts(input, dim, np.cumsum(size).tolist())
    return _parts(input, dim, [min(start + size, n) for start in range(0, n, size)] or [0])


def chunk(input: Any, chunks: int, dim: int = 0) -> tuple[Any, ...]:
    """At most so many parts along an axis, of one length but for the last.

    Examples
    --------
    >>> [part.tolist() for part in torch.chunk(torch.arange(5), 2)]
    [[0, 1, 2], [3, 4]]
    """
    n = input.array.shape[dim]
    return split(input, max(1, -(-n // chunks)), dim)


def unbind(input: Any, dim: int = 0) -> tuple[Any, ...]:
    """Parts along an axis, without it.

    Examples
    --------
    >>> torch.unbind(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    (tensor([1., 2.]), tensor([3., 4.]))
    """
    return ours(ops.unstack(input, axis=dim))  # type: ignore[no-any-return]


def narrow(input: Any, dim: int, start: int, length: int) -> Any:
    """Part along an axis, of a length.

    Examples
    --------
    >>> torch.narrow(torch.arange(5), 0, 1, 3)
    tensor([1, 2, 3])
    """
    return _parts(input, dim, [start, start + length])[1]


def select(input: Any, dim: int, index: int) -> Any:
    """Part at one place of an axis, without it.

    Examples
    --------
    >>> torch.select(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 0, 1)
    tensor([3., 4.])
    """
    return ours(ops.getitem(input, (*(slice(None),) * (dim % input.array.ndim), index)))


def index_select(input: Any, dim: int, index: Any) -> Any:
    """Parts at several places of an axis.

    Examples
    --------
    >>> torch.index_select(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 1, torch.tensor([1, 0]))
    tensor([[2., 1.],
            [4., 3.]])
    """
    return ours(ops.take(input, index, axis=dim))


def take(input: Any, index: Any) -> Any:
    """Elements by their place in the flattened tensor.

    Examples
    --------
    >>> torch.take(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0, 3]))
    tensor([1., 4.])
    """
    return ours(ops.getitem(ops.flatten(input), index))


def masked_select(input: Any, mask: Any) -> Any:
    """Elements where the mask holds, in a row.

    Examples
    --------
    >>> x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> torch.masked_select(x, x > 2)
    tensor([3., 4.])
    """
    x, mask = ops.broadcast_arrays(input, mask)
    return ours(ops.getitem(x, mask))


def _key(index: Any, dim: int) -> tuple[Any, ...]:
    """Key of the elements that `index` names along `dim`, its other places being their own."""
    shape, xp = index.array.shape, backend.namespace(index.array)
    dim %= len(shape)
    return tuple(
        index
        if axis == dim
        else ops.asarray(xp.arange(n).reshape([-1 if a == axis else 1 for a in range(len(shape))]))
        for axis, n in enumerate(shape)
    )


def gather(input: Any, dim: int, index: Any) -> Any:
    """Elements that `index` names along an axis: ``out[i, j] = x[index[i, j], j]`` for 0.

    Examples
    --------
    >>> torch.gather(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 1, torch.tensor([[0], [1]]))
    tensor([[1.],
            [4.]])
    """
    if not input.array.ndim:
        return ours(ops.reshape(input, index.array.shape))
    return ours(ops.getitem(input, _key(index, dim)))


def _source(input: Any, index: Any, src: Any) -> Any:
    if not isinstance(src, Engine):
        return ops.full(index.array.shape, src, dtype=input.array.dtype, device=input.device)
    if src.array.shape != index.array.shape:
        src = src[tuple(slice(0, n) for n in index.array.shape)]
    return src


def scatter(input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None) -> Any:
    """`input` with `src` at the places that `index` names along an axis.

    Examples
    --------
    >>> torch.scatter(torch.zeros(2, 2), 1, torch.tensor([[0], [1]]), 5.0)
    tensor([[5., 0.],
            [0., 5.]])
    """
    src = _source(input, index, value if src is None else src)
    return ours(ops.index_set(input, _key(index, dim), src))


def scatter_add(input: Any, dim: int, index: Any, src: Any) -> Any:
    """`input` with `src` added at the places that `index` names along an axis.

    Examples
    --------
    >>> torch.scatter_add(torch.zeros(3), 0, torch.tensor([0, 0, 2]), torch.ones(3))
    tensor([2., 0., 1.])
    """
    added = ops.index_add(input.array.shape, _key(index, dim), _source(input, index, src))
    return ours(ops.add(input, ops.astype(added, input.array.dtype)))


def index_add(input: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
    """`input` with parts added at several places of an axis.

    Examples
    --------
    >>> torch.index_add(torch.zeros(3), 0, torch.tensor([0, 0, 2]), torch.ones(3))
    tensor([2., 0., 1.])
    """
    key = (*(slice(None),) * (dim % input.array.ndim), index)
    return ours(ops.add(input, ops.index_add(input.array.shape, key, ops.multiply(source, alpha))))


def index_fill(input: Any, dim: int, index: Any, value: Any) -> Any:
    """`input` with a number at several places of an axis.

    Examples
    --------
    >>> torch.index_fill(torch.zeros(3), 0, torch.tensor([0, 2]), 7.0)
    tensor([7., 0., 7.])
    """
    key = (*(slice(None),) * (dim % input.array.ndim), index)
    return ours(ops.index_set(input, key, value))


def index_copy(input: Any, dim: int, index: Any, source: Any) -> Any:
    """`input` with other parts at several places of an axis.

    Examples
    --------
    >>> torch.index_copy(torch.zeros(3), 0, torch.tensor([0, 2]), torch.tensor([5.0, 6.0]))
    tensor([5., 0., 6.])
    """
    key = (*(slice(None),) * (dim % input.array.ndim), index)
    return ours(ops.index_set(input, key, source))


def nonzero(input: Any, *, as_tuple: bool = False) -> Any:
    """Places of the elements that are not 0: a row of indices each, or a tensor for each axis.

    Examples
    --------
    >>> torch.nonzero(torch.tensor([0, 3, 4]))
    tensor([[1],
            [2]])
    """
    found = ops.nonzero(input if input.array.ndim else ops.reshape(input, (1,)))
    if as_tuple:
        return ours(found)
    if not input.array.ndim:
        return ours(ops.zeros((len(found[0]), 0), dtype=np.int64))
    return ours(ops.stack(list(found), axis=1))


def flip(input: Any, *dims: Any) -> Any:
    """Axes in reverse.

    Examples
    --------
    >>> torch.flip(torch.arange(3), (0,))
    tensor([2, 1, 0])
    """
    return ours(ops.flip(input, axis=lengths(dims)))


def roll(input: Any, shifts: Any, dims: Any = None) -> Any:
    """Elements moved along axes; what leaves at one end comes in at the other.

    Examples
    --------
    >>> torch.roll(torch.arange(4), 1)
    tensor([3, 0, 1, 2])
    """
    as_tuple = tuple(shifts) if isinstance(shifts, list) else shifts
    return ours(ops.roll(input, as_tuple, axis=tuple(dims) if isinstance(dims, list) else dims))


def tril(input: Any, diagonal: int = 0) -> Any:
    """Lower triangle; zeros elsewhere.

    Examples
    --------
    >>> torch.tril(torch.ones(2, 2))
    tensor([[1., 0.],
            [1., 1.]])
    """
    return ours(ops.tril(input, k=diagonal))


def triu(input: Any, diagonal: int = 0) -> Any:
    """Upper triangle; zeros elsewhere.

    Examples
    --------
    >>> torch.triu(torch.ones(2, 2))
    tensor([[1., 1.],
            [0., 1.]])
    """
    return ours(ops.triu(input, k=diagonal))


def diag(input: Any, diagonal: int = 0) -> Any:
    """Diagonal of a matrix, or the matrix of a diagonal.

    Examples
    --------
    >>> torch.diag(torch.tensor([1.0, 2.0]))
    tensor([[1., 0.],
            [0., 2.]])
    """
    return ours(ops.diag(input, k=diagonal))


def diagonal(input: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """Diagonal along two axes.

    Examples
    --------
    >>> torch.diagonal(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([1., 4.])
    """
    return ours(ops.diagonal(input, offset=offset, axis1=dim1, axis2=dim2))


def diff(input: Any, n: int = 1, dim: int = -1) -> Any:
    """Differences of neighbours.

    Examples
    --------
    >>> torch.diff(torch.tensor([1.0, 4.0, 9.0]))
    tensor([3., 5.])
    """
    return ours(ops.diff(input, n=n, axis=dim))


def ravel(input: Any) -> Any:
    """All elements in a row.

    Examples
    --------
    >>> torch.ravel(torch.ones(2, 3)).shape
    torch.Size([6])
    """
    return reshape(input, -1)


def broadcast_to(input: Any, shape: Any) -> Any:
    """Axes of length 1 repeated.

    Examples
    --------
    >>> torch.broadcast_to(torch.tensor([1, 2]), (2, 2))
    tensor([[1, 2],
            [1, 2]])
    """
    return ours(ops.broadcast_to(input, tuple(shape)))


METHODS: dict[str, Any] = {
    f.__name__: f
    for f in (
        *(reshape, view, view_as, reshape_as, flatten, unflatten, squeeze, unsqueeze, permute),
        *(transpose, t, movedim, expand, expand_as, repeat, tile, repeat_interleave, split, chunk),
        *(unbind, narrow, select, index_select, take, masked_select, gather, scatter, scatter_add),
        *(index_add, index_fill, index_copy, nonzero, flip, roll, tril, triu, diag, diagonal, diff),
        broadcast_to,
    )
}
METHODS |= {
    "argwhere": nonzero,
    "moveaxis": movedim,
    "ravel": ravel,
    "swapaxes": transpose,
    "swapdims": transpose,
}


def broadcast_tensors(*tensors: Any) -> tuple[Any, ...]:
    """Tensors in the shape that all fit into.

    Examples
    --------
    >>> a, b = torch.broadcast_tensors(torch.zeros(3, 1), torch.zeros(2))
    >>> a.shape
    torch.Size([3, 2])
    """
    return tuple(ours(t) for t in ops.broadcast_arrays(*tensors))


def broadcast_shapes(*shapes: Any) -> Any:
    """The shape that all fit into.

    Examples
    --------
    >>> torch.broadcast_shapes((3, 1), (2,))
    torch.Size([3, 2])
    """
    return Size(np.broadcast_shapes(*(lengths((shape,)) for shape in shapes)))


_OF_SEVERAL = (cat, stack, hstack, vstack, broadcast_tensors, broadcast_shapes)
FUNCTIONS: dict[str, Any] = {f.__name__: f for f in _OF_SEVERAL}
FUNCTIONS |= {"concat": cat, "concatenate": cat, "row_stack": vstack}
