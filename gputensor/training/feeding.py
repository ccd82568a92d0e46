"""What a training loop is fed with: arrays on the device, or batches of an iterable."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor
from gputensor.backend import Array
from gputensor.errors import ShapeError

__all__ = ["is_iterable_of_batches", "rows_of", "unpacked", "weights_of_classes"]


def is_iterable_of_batches(x: Any) -> bool:
    """Whether `x` gives batches: a generator, a loader or a sequence of batches, no array."""
    if isinstance(x, (Tensor, np.ndarray, list, tuple, dict, str, bytes)) or x is None:
        return False
    if backend.is_array(x) or hasattr(x, "__array__") or hasattr(x, "__dlpack__"):
        return False
    return hasattr(x, "__iter__") or hasattr(x, "__next__") or hasattr(x, "__getitem__")


def unpacked(batch: Any) -> tuple[Any, Any, Any]:
    """Samples, targets and weights of a batch; None for what it has not.

    Raises
    ------
    ValueError
        If it is a tuple of more.
    """
    if isinstance(batch, list) and len(batch) in (2, 3):  # as loaders give it
        batch = tuple(batch)
    if not isinstance(batch, tuple):
        return batch, None, None
    if not 1 <= len(batch) <= 3:
        raise ValueError(f"a batch must be (x, y) or (x, y, weights), got {len(batch)} items")
    x, y, weight = (*batch, None, None)[:3]
    return x, y, weight


class Batches:
    """Batches of an iterable, epoch by epoch.

    Parameters
    ----------
    source : iterable, or object with ``__len__`` and ``__getitem__``
    steps : int, optional
        Batches of an epoch; all, or as many as there are, by default.
    """

    def __init__(self, source: Any, steps: int | None) -> None:
        self._source = source
        self._steps = steps
        self._running: Iterator[Any] | None = None
        if steps is None and hasattr(source, "__len__"):
            self._steps = len(source)

    @property
    def steps(self) -> int | None:
        """Batches of an epoch, if that is known."""
        return self._steps

    def _begin(self) -> Iterator[Any]:
        if hasattr(self._source, "__iter__") or hasattr(self._source, "__next__"):
            return iter(self._source)
        return (self._source[i] for i in range(len(self._source)))

    def __iter__(self) -> Iterator[tuple[Any, Any, Any]]:
        """The batches of the next epoch; a generator goes on where it was."""
        once = hasattr(self._source, "__next__")
        if (
            self._running is None
            or (not once and self._steps is None)
            or (not once and self._steps is not None and self._is_whole())
        ):
            self._running = self._begin()
        count = 0
        while self._steps is None or count < self._steps:
            try:
                batch = next(self._running)
            except StopIteration:
                if self._steps is None or once:
                    return
                self._running = self._begin()
                try:
                    batch = next(self._running)
                except StopIteration:
                    return
            count += 1
            yield unpacked(batch)

    def _is_whole(self) -> bool:
        return hasattr(self._source, "__len__") and len(self._source) == self._steps

    def end_epoch(self) -> None:
        """Tell the source that an epoch is over."""
        told = getattr(self._source, "on_epoch_end", None)
        if callable(told):
            told()


def rows_of(arrays: Iterable[Any]) -> int:
    """Number of rows that all arrays have.

    Raises
    ------
    ShapeError
        If they differ.
    """
    counts = [len(a) for a in arrays]
    if len(set(counts)) > 1:
        raise ShapeError(f"x has arrays of {', '.join(map(str, counts))} samples; they must agree")
    return counts[0]


def weights_of_classes(class_weight: dict[int, float], y: Array, classes: int) -> Array:
    """Weight of each sample by its class.

    Raises
    ------
    ValueError
        If a class has no weight.
    """
    xp = backend.namespace(y)
    labels = y
    if y.ndim > 1:
        labels = xp.argmax(y, axis=-1) if y.shape[-1] > 1 else y.reshape(len(y))
    labels = labels.astype(np.int64)
    table = np.ones(max(classes, 2, *(int(k) + 1 for k in class_weight)), np.float64)
    for key, value in class_weight.items():
        table[int(key)] = float(value)
    with backend.on_device_of(y):
        return backend.to_device(table, backend.device_of(y))[labels]


def as_weights(name: str, given: Any, rows: int, upload: Callable[[str, Any], Array]) -> Array:
    """Weights of samples on the device.

    Raises
    ------
    ShapeError
        If there is not one for each.
    """
    array = upload(name, given)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array.reshape(-1)
    if array.ndim < 1 or len(array) != rows:
        raise ShapeError(f"{name} has shape {array.shape}; there are {rows} samples")
    return array
