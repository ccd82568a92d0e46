"""Data sets that give batches by number."""

from collections.abc import Iterator
from typing import Any

import numpy as np

__all__ = [
    "PyDataset",
    "Sequence",
    "pack_x_y_sample_weight",
    "timeseries_dataset_from_array",
    "unpack_x_y_sample_weight",
]


class PyDataset:
    """Base class of batches by number: a subclass defines ``__getitem__`` and ``__len__``.

    Parameters
    ----------
    workers, use_multiprocessing, max_queue_size
        How Keras fetches batches, not what they hold; here they are fetched one after the other.

    Examples
    --------
    >>> class Squares(keras.utils.PyDataset):
    ...     def __len__(self):
    ...         return 2
    ...     def __getitem__(self, batch):
    ...         x = np.arange(4 * batch, 4 * batch + 4, dtype="float32")[:, None]
    ...         return x, x**2
    >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(1,))])
    >>> model.compile("sgd", "mse")
    >>> history = model.fit(Squares(), epochs=3, verbose=0)
    >>> len(history.history["loss"])
    3
    """

    def __init__(
        self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10
    ) -> None:
        self.workers = workers
        self.use_multiprocessing = use_multiprocessing
        self.max_queue_size = max_queue_size

    def __repr__(self) -> str:
        try:
            size = f"{len(self)} batches"
        except Exception:  # of a subclass that has not got so far
            size = ""
        return f"{type(self).__name__.strip('_')}({size})"

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} defines no __getitem__(self, index)")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} defines no __len__(self)")

    def __iter__(self) -> Iterator[Any]:
        for i in range(len(self)):
            yield self[i]
        self.on_epoch_end()

    def on_epoch_end(self) -> None:
        """Called after the last batch of an epoch."""


Sequence = PyDataset


class _Windows(PyDataset):
    """Batches of windows of series."""

    def __init__(self, starts: Any, offsets: Any, data: Any, targets: Any, **options: Any) -> None:
        super().__init__()
        self._starts, self._offsets = starts, offsets
        self._data, self._targets = data, targets
        self._size: int = options["batch_size"]
        self._order = np.random.default_rng(options["seed"]) if options["shuffle"] else None
        self._shuffle()

    def _shuffle(self) -> None:
        self._rows = np.arange(len(self._starts))
        if self._order is not None:
            self._order.shuffle(self._rows)

    on_epoch_end = _shuffle

    def __len__(self) -> int:
        return -(-len(self._starts) // self._size)

    def __getitem__(self, index: int) -> Any:
        rows = self._starts[self._rows[index * self._size : (index + 1) * self._size]]
        windows = self._data[rows[:, None] + self._offsets]
        return windows if self._targets is None else (windows, self._targets[rows])


def timeseries_dataset_from_array(
    data: Any,
    targets: Any,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int = 128,
    shuffle: bool = False,
    seed: int | None = None,
    start_index: int | None = None,
    end_index: int | None = None,
) -> PyDataset:
    """Batches of windows over a series.

    Parameters
    ----------
    data : array of shape (steps, ...)
    targets : array of shape (n, ...), or None
        That of a window stands at the window's first step.
    sequence_length : int
        Steps of a window.
    sequence_stride, sampling_rate : int
        Steps from window to window, and from step to step within.
    batch_size : int
    shuffle, seed : bool, int
        Whether windows have a random order, and where it begins.
    start_index, end_index : int, optional
        Part of the series that is used.

    Returns
    -------
    PyDataset
        Of windows (n, sequence_length, ...), or pairs of them and their targets.

    Examples
    --------
    >>> data = keras.utils.timeseries_dataset_from_array(np.arange(5), None, 2)
    >>> len(data)
    1
    """
    series = np.asarray(data)
    ends = None if targets is None else np.asarray(targets)
    first = start_index or 0
    stop = len(series) if end_index is None else end_index
    series = series[first:stop]
    ends = None if ends is None else ends[first:stop]
    count = len(series) - (sequence_length - 1) * sampling_rate
    count = count if ends is None else min(count, len(ends))
    if count < 1:
        raise ValueError(
            f"timeseries_dataset_from_array: {len(series)} steps hold no window of "
            f"sequence_length {sequence_length}"
        )
    starts = np.arange(0, count, sequence_stride)
    offsets = np.arange(sequence_length) * sampling_rate
    options = {"batch_size": int(batch_size), "shuffle": shuffle, "seed": seed}
    return _Windows(starts, offsets, series, ends, **options)


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """Inputs, targets and weights as one batch, of as many parts as there are.

    Examples
    --------
    >>> keras.utils.pack_x_y_sample_weight(1, 2)
    (1, 2)
    """
    if y is None:
        return x if not isinstance(x, (tuple, list)) else (x,)
    return (x, y) if sample_weight is None else (x, y, sample_weight)


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """Inputs, targets and weights of a batch; None for what it has not.

    Examples
    --------
    >>> keras.utils.unpack_x_y_sample_weight((1, 2))
    (1, 2, None)
    """
    parts = tuple(data) if isinstance(data, (tuple, list)) else (data,)
    if not 1 <= len(parts) <= 3:
        raise ValueError(
            f"unpack_x_y_sample_weight: data has {len(parts)} parts; it must be x, (x, y) or "
            "(x, y, sample_weight)"
        )
    return (*parts, None, None)[:3]
