"""What a training loop is fed with: arrays on the device, or batches of an iterable."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor
from gputensor.backend import Array
from gputensor.errors import ShapeError
from gputensor.random.everywhere import set_shared_state, shared_state

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
        self._begun: Any = None  # states of the shared generators when it began
        self._taken = 0  # batches since then
        if steps is None and hasattr(source, "__len__"):
            self._steps = len(source)

    @property
    def steps(self) -> int | None:
        """Batches of an epoch, if that is known."""
        return self._steps

    def _begin(self) -> Iterator[Any]:
        self._begun, self._taken = shared_state(), 0
        if hasattr(self._source, "__iter__") or hasattr(self._source, "__next__"):
            return iter(self._source)
        return (self._source[i] for i in range(len(self._source)))

    def __iter__(self) -> Iterator[tuple[Any, Any, Any]]:
        """The batches of the next epoch; a generator goes on where it was."""
        if self._running is None or self.begins_anew:
            self._running = self._begin()
        return self.going(0)

    def going(self, count: int) -> Iterator[tuple[Any, Any, Any]]:
        """The rest of an epoch, of which so many batches are taken."""
        assert self._running is not None
        while self._steps is None or count < self._steps:
            try:
                batch = next(self._running)
            except StopIteration:
                if self._steps is None or self._once:
                    return
                self._running = self._begin()
                try:
                    batch = next(self._running)
                except StopIteration:
                    return
            count += 1
            self._taken += 1
            yield unpacked(batch)

    def state(self) -> dict[str, Any]:
        """Where the source is: its own state if it tells it, and what has been taken of it."""
        own = getattr(self._source, "state_dict", None)
        own = own() if callable(own) and hasattr(self._source, "load_state_dict") else None
        return {"own": own, "begun": self._begun, "taken": self._taken}

    def go_on(self, state: dict[str, Any]) -> None:
        """Take the source to where it was; by itself, or by taking as many batches as then."""
        if state["own"] is not None:
            self._source.load_state_dict(state["own"])
            self._running, self._begun, self._taken = None, None, 0
            self._running = self._begin()
            return
        begin = 0
        if self._running is None or not self._once:
            if state["begun"] is not None:
                set_shared_state(state["begun"])
            self._running = self._begin()
        else:
            begin = self._taken
        for _ in range(begin, state["taken"]):
            if next(self._running, None) is None:
                raise ValueError(
                    f"fit: the checkpoint was made after {state['taken']} batches of x, which now "
                    "gives fewer"
                )
        self._begun, self._taken = state["begun"], state["taken"]

    @property
    def _once(self) -> bool:
        """Whether the source is an iterator, which gives its batches once."""
        return hasattr(self._source, "__next__")

    @property
    def begins_anew(self) -> bool:
        """Whether each epoch begins with the first batch."""
        whole = hasattr(self._source, "__len__") and len(self._source) == self._steps
        return not self._once and (self._steps is None or whole)

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
