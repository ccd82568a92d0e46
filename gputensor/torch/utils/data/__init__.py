"""Data sets and loaders: ``torch.utils.data``."""

import bisect
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from typing import Any, Generic, TypeVar

import numpy as np

from gputensor import ops
from gputensor import random as engine_random
from gputensor.autograd import Tensor as Engine
from gputensor.errors import ShapeError
from gputensor.torch.creation import Generator, as_tensor
from gputensor.torch.tensor import ours

__all__ = [
    "BatchSampler",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "IterableDataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "default_collate",
    "random_split",
]

T = TypeVar("T")


def _sized(thing: object, what: str) -> str:
    """A text such as ``Subset(30 samples)``."""
    size = f"{len(thing)} {what}" if isinstance(thing, Sized) else ""
    return f"{type(thing).__name__}({size})"


class Dataset(Generic[T]):
    """Base class of data sets that have ``__getitem__`` and ``__len__``.

    Examples
    --------
    >>> class Squares(torch.utils.data.Dataset):
    ...     def __len__(self):
    ...         return 4
    ...     def __getitem__(self, i):
    ...         return float(i), i * i
    >>> next(iter(torch.utils.data.DataLoader(Squares(), batch_size=4)))
    [tensor([0., 1., 2., 3.], dtype=torch.float64), tensor([0, 1, 4, 9])]
    """

    def __getitem__(self, index: Any) -> T:
        raise NotImplementedError(f"{type(self).__name__} defines no __getitem__(self, index)")

    def __repr__(self) -> str:
        return _sized(self, "samples")

    def __add__(self, other: "Dataset[T]") -> "ConcatDataset":
        return ConcatDataset([self, other])


class IterableDataset(Dataset[T]):
    """Base class of data sets that have ``__iter__`` alone.

    Examples
    --------
    >>> class Counted(torch.utils.data.IterableDataset):
    ...     def __iter__(self):
    ...         return iter(range(3))
    >>> [x.tolist() for x in torch.utils.data.DataLoader(Counted(), batch_size=2)]
    [[0, 1], [2]]
    """

    def __iter__(self) -> Iterator[T]:
        raise NotImplementedError(f"{type(self).__name__} defines no __iter__(self)")


class TensorDataset(Dataset[tuple[Any, ...]]):
    """Samples along the first axis of tensors.

    Parameters
    ----------
    *tensors : Tensor
        Of one length.

    Examples
    --------
    >>> torch.utils.data.TensorDataset(torch.tensor([1.0, 2.0]), torch.tensor([0, 1]))[1]
    (tensor(2.), tensor(1))
    """

    def __init__(self, *tensors: Any) -> None:
        lengths = [len(t) for t in tensors]
        if len(set(lengths)) > 1:
            raise ShapeError(f"TensorDataset: the tensors have lengths {lengths}; give equal ones")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        return tuple(t[index] for t in self.tensors)

    def __getitems__(self, indices: Any) -> tuple[Any, ...]:
        """A batch at once."""
        return tuple(t[indices] for t in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])


class Subset(Dataset[Any]):
    """The samples of a data set with these indices.

    Examples
    --------
    >>> torch.utils.data.Subset(["a", "b", "c"], [0, 2])[1]
    'c'
    """

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index: Any) -> Any:
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(Dataset[Any]):
    """Data sets one after the other.

    Examples
    --------
    >>> both = torch.utils.data.ConcatDataset([[1, 2], [3]])
    >>> len(both), both[2]
    (3, 3)
    """

    def __init__(self, datasets: Any) -> None:
        self.datasets = list(datasets)
        self.cumulative_sizes = list(itertools.accumulate(len(d) for d in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        index = index + len(self) if index < 0 else index
        i = bisect.bisect_right(self.cumulative_sizes, index)
        return self.datasets[i][index - (self.cumulative_sizes[i - 1] if i else 0)]


def _generator(generator: Any) -> engine_random.Generator:
    return engine_random.default_generator if generator is None else generator


def _shuffled(n: int, generator: Any) -> list[int]:
    order: list[int] = _generator(generator).permutation(n, device="cpu").tolist()
    return order


def random_split(
    dataset: Any, lengths: Sequence[float], generator: Generator | None = None
) -> list[Subset]:
    """Cut a data set into parts at random.

    Parameters
    ----------
    dataset : Dataset
    lengths : sequence of int or of float
        Lengths that add up to that of the data set, or shares that add up to 1.
    generator : Generator, optional

    Examples
    --------
    >>> train, test = torch.utils.data.random_split(range(10), [8, 2])
    >>> len(train), sorted([*train, *test]) == list(range(10))
    (8, True)
    """
    total = len(dataset)
    sizes = list(lengths)
    if sum(sizes) <= 1 and math.isclose(sum(sizes), 1):
        shares, sizes = sizes, [math.floor(total * share) for share in sizes]
        for i in range(total - int(sum(sizes))):
            sizes[i % len(shares)] += 1
    if sum(sizes) != total:
        raise ValueError(f"random_split: the lengths {sizes} do not add up to {total}")
    order = _shuffled(total, generator)
    ends = list(itertools.accumulate(int(n) for n in sizes))
    return [Subset(dataset, order[e - int(n) : e]) for n, e in zip(sizes, ends, strict=True)]


class Sampler(Generic[T]):
    """Base class of orders to go through a data set.

    Examples
    --------
    >>> class Backwards(torch.utils.data.Sampler):
    ...     def __init__(self, data):
    ...         self.data = data
    ...     def __iter__(self):
    ...         return iter(range(len(self.data) - 1, -1, -1))
    ...     def __len__(self):
    ...         return len(self.data)
    >>> list(Backwards("abc"))
    [2, 1, 0]
    """

    def __repr__(self) -> str:
        return _sized(self, "indices")

    def __init__(self, data_source: Any = None) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[T]:
        raise NotImplementedError


class SequentialSampler(Sampler[int]):
    """In order.

    Examples
    --------
    >>> list(torch.utils.data.SequentialSampler("abc"))
    [0, 1, 2]
    """

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """In random order, or with replacement.

    Examples
    --------
    >>> sorted(torch.utils.data.RandomSampler(range(4)))
    [0, 1, 2, 3]
    """

    def __init__(
        self,
        data_source: Any,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Any = None,
    ) -> None:
        super().__init__(data_source)
        self.replacement, self.generator = replacement, generator
        self.num_samples = len(data_source) if num_samples is None else num_samples

    def __iter__(self) -> Iterator[int]:
        n = len(self.data_source)
        if self.replacement:
            return self._drawn(n)
        return iter(_shuffled(n, self.generator)[: self.num_samples])

    def _drawn(self, n: int) -> Iterator[int]:
        """With replacement, some at a time: there may be billions."""
        for start in range(0, self.num_samples, 4096):
            count = min(4096, self.num_samples - start)
            yield from _generator(self.generator).integers(n, shape=count, device="cpu").tolist()

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """These indices, in random order.

    Examples
    --------
    >>> sorted(torch.utils.data.SubsetRandomSampler([1, 3, 5]))
    [1, 3, 5]
    """

    def __init__(self, indices: Sequence[int], generator: Any = None) -> None:
        self.indices, self.generator = indices, generator

    def __iter__(self) -> Iterator[int]:
        return (self.indices[i] for i in _shuffled(len(self.indices), self.generator))

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """Indices drawn with weights.

    Examples
    --------
    >>> set(torch.utils.data.WeightedRandomSampler([0.0, 1.0, 0.0], num_samples=5))
    {1}
    """

    def __init__(
        self, weights: Any, num_samples: int, replacement: bool = True, generator: Any = None
    ) -> None:
        self.weights = np.asarray([float(w) for w in weights])
        self.num_samples, self.replacement, self.generator = num_samples, replacement, generator

    def __iter__(self) -> Iterator[int]:
        drawn = _generator(self.generator).choice(
            len(self.weights), self.num_samples, self.replacement, self.weights, device="cpu"
        )
        return iter(drawn.tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Indices of another sampler in batches.

    Examples
    --------
    >>> data = torch.utils.data
    >>> in_order = data.SequentialSampler(range(5))
    >>> list(data.BatchSampler(in_order, batch_size=2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool = False) -> None:
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.sampler)
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        n = len(self.sampler)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


def default_collate(batch: Sequence[Any]) -> Any:
    """One batch of a list of samples: tensors stacked, numbers as a tensor, structures inside.

    Examples
    --------
    >>> torch.utils.data.default_collate([(1.0, 2), (3.0, 4)])
    [tensor([1., 3.], dtype=torch.float64), tensor([2, 4])]
    """
    first = batch[0]
    if isinstance(first, Engine):
        return ours(ops.stack(list(batch)))
    if isinstance(first, np.ndarray):
        return as_tensor(np.stack(batch))
    if isinstance(first, float):
        return as_tensor(np.array(batch, np.float64))
    if isinstance(first, (int, bool, np.generic)):
        return as_tensor(np.array(batch))
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, Mapping):
        return {key: default_collate([sample[key] for sample in batch]) for key in first}
    if isinstance(first, (tuple, list)):
        parts = [default_collate(column) for column in zip(*batch, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else parts
    raise TypeError(
        f"DataLoader: samples hold a {type(first).__name__}; give collate_fn= to make a batch of it"
    )


class DataLoader(Generic[T]):
    """Batches of a data set.

    Parameters
    ----------
    dataset : Dataset
        With ``__getitem__`` and ``__len__``, or with ``__iter__``.
    batch_size : int or None
        None gives the samples one by one.
    shuffle : bool
        Whether each pass is in another random order.
    sampler, batch_sampler : iterable, optional
        Order of the indices, in the place of `shuffle`.
    collate_fn : callable, optional
        Makes a batch of a list of samples; :func:`default_collate` by default.
    drop_last : bool
        Whether a last batch that is not full is left out.
    generator : Generator, optional
    num_workers, pin_memory, timeout, worker_init_fn, prefetch_factor, persistent_workers : optional
        Taken, and say nothing: batches are made in this process, which changes no result.

    Examples
    --------
    >>> samples = torch.utils.data.TensorDataset(torch.arange(5.0), torch.arange(5))
    >>> for x, y in torch.utils.data.DataLoader(samples, batch_size=2):
    ...     print(x.tolist(), y.tolist())
    [0.0, 1.0] [0, 1]
    [2.0, 3.0] [2, 3]
    [4.0] [4]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Any = None,
        batch_sampler: Any = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Any = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
    ) -> None:
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.num_workers, self.generator = num_workers, generator
        self.collate_fn = collate_fn or default_collate
        self._plain = collate_fn is None
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"DataLoader: batch_size is {batch_size}; it must be 1 or more")
        if sampler is not None and shuffle:
            raise ValueError("DataLoader: give sampler or shuffle, not both")
        if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
            if shuffle or sampler is not None:
                raise ValueError("DataLoader: a data set that is only iterated has no other order")
            self.sampler: Any = None
        elif sampler is not None:
            self.sampler = sampler
        elif shuffle:
            self.sampler = RandomSampler(dataset, generator=generator)
        else:
            self.sampler = SequentialSampler(dataset)
        self.batch_sampler = batch_sampler
        if batch_sampler is None and batch_size is not None and self.sampler is not None:
            self.batch_sampler = BatchSampler(self.sampler, batch_size, drop_last)

    def __repr__(self) -> str:
        batches = "" if self.sampler is None and self.batch_sampler is None else f"{len(self)} of "
        return f"DataLoader({self.dataset!r}, {batches}batch_size={self.batch_size})"

    def __len__(self) -> int:
        if self.batch_sampler is not None:
            return len(self.batch_sampler)
        if self.sampler is not None:
            return len(self.sampler)
        n = len(self.dataset)
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def _iterated(self) -> Iterator[Any]:
        samples = iter(self.dataset)
        if self.batch_size is None:
            yield from samples
            return
        while batch := list(itertools.islice(samples, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield self.collate_fn(batch)

    def _gathered(self) -> Iterator[Any]:
        """Batches of tensors that are there as a whole, each taken at once."""
        tensors = self.dataset.tensors
        for indices in self.batch_sampler:
            places = np.asarray(indices)
            yield [ours(ops.take(t, ops.asarray(places, device=t.device), axis=0)) for t in tensors]

    def __iter__(self) -> Iterator[Any]:
        if self.sampler is None and self.batch_sampler is None:
            yield from self._iterated()
        elif self.batch_sampler is None:
            for i in self.sampler:
                sample = self.dataset[i]
                yield _converted(sample) if self._plain else self.collate_fn(sample)
        elif type(self.dataset) is TensorDataset and self._plain:
            yield from self._gathered()
        else:
            for indices in self.batch_sampler:
                together = getattr(self.dataset, "__getbatch__", None) if self._plain else None
                batch = None if together is None else together(indices)
                if batch is None:
                    batch = self.collate_fn([self.dataset[i] for i in indices])
                yield batch


def _converted(sample: Any) -> Any:
    """A sample with its arrays as tensors."""
    if isinstance(sample, np.ndarray):
        return as_tensor(sample)
    if isinstance(sample, (tuple, list)):
        return type(sample)(_converted(part) for part in sample)
    return sample
