"""Distinct elements. Gradients end here."""

from typing import Any, NamedTuple

from gputensor import backend
from gputensor.autograd import Operand, Tensor, wrap
from gputensor.ops.creation import asarray

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
    """
    asked = {"return_index": True, "return_inverse": True, "return_counts": True}
    values, indices, inverse, counts = _unique(x, **asked)
    inverse = inverse.reshape(asarray(x).shape)
    return UniqueAll(wrap(values), wrap(indices), wrap(inverse), wrap(counts))


def unique_counts(x: Operand, /) -> UniqueCounts:
    """Distinct elements and how often each occurs; as :func:`unique_all` has them."""
    return UniqueCounts(*map(wrap, _unique(x, return_counts=True)))


def unique_inverse(x: Operand, /) -> UniqueInverse:
    """Distinct elements and which one each element is; as :func:`unique_all` has them."""
    values, inverse = _unique(x, return_inverse=True)
    return UniqueInverse(wrap(values), wrap(inverse.reshape(asarray(x).shape)))


def unique_values(x: Operand, /) -> Tensor:
    """Distinct elements; as :func:`unique_all` has them."""
    return wrap(_unique(x))
