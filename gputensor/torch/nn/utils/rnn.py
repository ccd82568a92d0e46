"""Series of several lengths for recurrent layers: padded, or packed."""

from typing import Any, NamedTuple

import numpy as np

from gputensor import ops
from gputensor.autograd import Tensor as Engine
from gputensor.torch.tensor import ours

__all__ = [
    "PackedSequence",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
]


class PackedSequence(NamedTuple):
    """Series without their padding, step by step: those that go on, longest first.

    Attributes
    ----------
    data : Tensor of shape (elements, ...)
    batch_sizes : Tensor of int64
        How many series each step has.
    sorted_indices, unsorted_indices : Tensor of int64, or None
        The order by length, and back.
    """

    data: Any
    batch_sizes: Any
    sorted_indices: Any = None
    unsorted_indices: Any = None


def pad_sequence(sequences: Any, batch_first: bool = False, padding_value: float = 0.0) -> Any:
    """Series in one tensor (steps, n, ...), the shorter ones with padding behind."""
    longest = max(len(s) for s in sequences)
    padded = []
    for s in sequences:
        widths = [(0, longest - len(s))] + [(0, 0)] * (s.array.ndim - 1)
        padded.append(ops.pad(s, widths, constant_values=padding_value))
    return ours(ops.stack(padded, axis=0 if batch_first else 1))


def _host(lengths: Any) -> "np.ndarray[Any, Any]":
    if isinstance(lengths, Engine):
        lengths = lengths.tolist()
    return np.asarray([int(n) for n in lengths])


def _places(lengths: "np.ndarray[Any, Any]") -> tuple[Any, Any, Any]:
    """Step and number of each element of a pack of series, longest first, and the batch sizes."""
    sizes = (lengths[None, :] > np.arange(lengths.max())[:, None]).sum(axis=1)
    steps = np.repeat(np.arange(len(sizes)), sizes)
    numbers = np.concatenate([np.arange(n) for n in sizes])
    return steps, numbers, sizes


def pack_padded_sequence(
    input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Series (steps, n, ...) with their lengths, without padding.

    Raises
    ------
    ValueError
        If a length is not positive, or lengths do not descend with `enforce_sorted`.
    """
    counts = _host(lengths)
    if not counts.size or counts.min() < 1:
        raise ValueError(f"pack_padded_sequence: lengths must be positive, got {counts.tolist()}")
    if enforce_sorted and (np.diff(counts) > 0).any():
        raise ValueError(
            f"pack_padded_sequence: lengths must descend, got {counts.tolist()}; "
            "give enforce_sorted=False for any order"
        )
    order = np.argsort(-counts, kind="stable")
    steps, numbers, sizes = _places(counts[order])
    numbers = order[numbers]
    key = (numbers, steps) if batch_first else (steps, numbers)
    data = ops.getitem(input, key)
    known = (None, None) if enforce_sorted else (order, np.argsort(order))
    return PackedSequence(
        ours(data),
        ours(ops.asarray(sizes, device="cpu")),
        *(None if k is None else ours(ops.asarray(k, device=input.device)) for k in known),
    )


def pack_sequence(sequences: Any, enforce_sorted: bool = True) -> PackedSequence:
    """Series of a list, without padding."""
    lengths = [len(s) for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, False, enforce_sorted)


def lengths_of(batch_sizes: Any) -> "np.ndarray[Any, Any]":
    """Lengths of the series of a pack, longest first."""
    sizes = _host(batch_sizes)
    return np.asarray((sizes[None, :] > np.arange(sizes[0])[:, None]).sum(axis=1))


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Any, Any]:
    """A pack as (steps, n, ...) with padding behind, and the lengths."""
    data = sequence.data
    lengths = lengths_of(sequence.batch_sizes)
    steps, numbers, _ = _places(lengths)
    longest = int(lengths.max()) if total_length is None else total_length
    order = np.arange(len(lengths))
    if sequence.sorted_indices is not None:
        order = np.asarray(sequence.sorted_indices.tolist())
    shape = (longest, len(lengths), *data.array.shape[1:])
    whole = ops.full(shape, padding_value, dtype=data.array.dtype, device=data.device)
    found = ops.index_set(whole, (steps, order[numbers]), data)
    back = np.empty_like(lengths)
    back[order] = lengths
    if batch_first:
        found = ops.swapaxes(found, 0, 1)
    return ours(found), ours(ops.asarray(back, device="cpu"))


def run_packed(layer: Any, run: Any, pack: PackedSequence, state: Any) -> tuple[Any, Any]:
    """Run a recurrent layer on a pack: series of one length together, exactly.

    Parameters
    ----------
    layer : Module
    run : callable
        ``run(x, state)`` for a padded batch as the layer's ``batch_first`` says.
    pack : PackedSequence
    state : Tensor, pair or None
    """
    padded, lengths = pad_packed_sequence(pack, batch_first=layer.batch_first)
    counts = _host(lengths)
    axis = 0 if layer.batch_first else 1
    parts, ends, order = [], [], []
    longest = int(counts.max())
    for n in np.unique(counts):
        places = np.flatnonzero(counts == n)
        order.append(places)
        steps = slice(0, int(n))
        x = ops.take(padded, ops.asarray(places, device=padded.device), axis=axis)
        x = ops.getitem(x, (slice(None), steps) if layer.batch_first else (steps,))
        begin = _map(
            state,
            lambda s, places=places: ops.take(s, ops.asarray(places, device=s.device), axis=1),
        )
        out, end = run(x, begin)
        widths = [(0, 0)] * out.array.ndim
        widths[1 - axis] = (0, longest - int(n))
        parts.append(ops.pad(out, widths))
        ends.append(end)
    back = ops.asarray(np.argsort(np.concatenate(order)), device=padded.device)
    whole = ops.take(ops.concat(parts, axis=axis), back, axis=axis)
    if isinstance(ends[0], tuple):
        final: Any = tuple(
            ops.take(ops.concat([e[k] for e in ends], axis=1), back, axis=1)
            for k in range(len(ends[0]))
        )
    else:
        final = ops.take(ops.concat(ends, axis=1), back, axis=1)
    packed = pack_padded_sequence(
        whole, counts, layer.batch_first, enforce_sorted=pack.sorted_indices is None
    )
    return packed, ours(final)


def _map(state: Any, function: Any) -> Any:
    if state is None:
        return None
    return tuple(map(function, state)) if isinstance(state, (tuple, list)) else function(state)
