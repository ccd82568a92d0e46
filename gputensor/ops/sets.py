"""Distinct elements. Gradients flow to where each occurs first."""

from typing import Any, NamedTuple

from gputensor import backend
from gputensor.autograd import Operand, Tensor, grad_enabled, wrap
from gputensor.ops.creation import asarray
from gputensor.ops.indexing import take
from gputensor.ops.manipulation import flatten

__all__ = ["unique_all", "unique_counts", "unique_inverse", "unique_values"]


class UniqueAll(NamedTuple):
    """Result of :func:`unique_all`."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """Result of :func:`unique_counts`."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """Result of :func:`unique_inverse`."""

    values: Tensor
    inverse_indices: Tensor


def _unique(x: Operand, **asked: bool) -> Any:
    array = asarray(x).array
    backend.wait_for(array, "unique elements")
    with backend.on_device_of(array):
        # A NaN equals nothing, not even another.
        return backend.namespace(array).unique(array.reshape(-1), equal_nan=False, **asked)


def _tracked(x: Operand) -> bool:
    return isinstance(x, Tensor) and x.requires_grad and grad_enabled()


def unique_all(x: Operand, /) -> UniqueAll:
    """Distinct elements, where each occurs first, which one each element is, and how often.

    Parameters
    ----------
    x : Tensor or array

    Returns
    -------
    UniqueAll
        ``values``, ascending, of one axis; ``indices`` of the first of each in ``x`` as one row;
        ``inverse_indices`` of the shape of `x`, for which ``values[inverse_indices]`` is `x`;
        ``counts``. Every NaN is a value of its own. Their number depends on the data: on CUDA
        this waits for the device.

    Examples
    --------
    >>> gt.unique_all(gt.tensor([3, 1, 3])).values
    tensor([1, 3])
    """
    asked = {"return_index": True, "return_inverse": True, "return_counts": True}
    values, indices, inverse, counts = _unique(x, **asked)
    inverse = inverse.reshape(asarray(x).shape)
    found = take(flatten(x), wrap(indices)) if _tracked(x) else wrap(values)
    return UniqueAll(found, wrap(indices), wrap(inverse), wrap(counts))


def unique_counts(x: Operand, /) -> UniqueCounts:
    """Distinct elements and how often each occurs; as :func:`unique_all` has them.

    Examples
    --------
    >>> gt.unique_counts(gt.tensor([3, 1, 3])).counts
    tensor([1, 2])
    """
    if _tracked(x):
        found = unique_all(x)
        return UniqueCounts(found.values, found.counts)
    return UniqueCounts(*map(wrap, _unique(x, return_counts=True)))


def unique_inverse(x: Operand, /) -> UniqueInverse:
    """Distinct elements and which one each element is; as :func:`unique_all` has them.

    Examples
    --------
    >>> gt.unique_inverse(gt.tensor([3, 1, 3])).inverse_indices
    tensor([1, 0, 1])
    """
    if _tracked(x):
        found = unique_all(x)
        return UniqueInverse(found.values, found.inverse_indices)
    values, inverse = _unique(x, return_inverse=True)
    return UniqueInverse(wrap(values), wrap(inverse.reshape(asarray(x).shape)))


def unique_values(x: Operand, /) -> Tensor:
    """Distinct elements; as :func:`unique_all` has them.

    Examples
    --------
    >>> gt.unique_values(gt.tensor([3, 1, 3]))
    tensor([1, 3])
    """
    return unique_all(x).values if _tracked(x) else wrap(_unique(x))
