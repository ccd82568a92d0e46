"""Data sets of files in folders, a folder for each class."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from gputensor.keras import images
from gputensor.keras.batches import PyDataset
from gputensor.keras.pictures import img_to_array, load_img

__all__ = ["image_dataset_from_directory", "text_dataset_from_directory"]

_IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")


class _Batches(PyDataset):
    """Batches by number, and what is asked of data sets of TensorFlow's.

    Attributes
    ----------
    class_names, file_paths : list of str
    """

    class_names: list[str] | None
    file_paths: list[str]

    def cache(self, filename: str = "") -> "_Batches":
        """The data set itself: where batches are kept changes none."""
        return self

    def prefetch(self, buffer_size: Any = None) -> "_Batches":
        """The data set itself: when batches are read changes none."""
        return self

    def map(self, function: Callable[..., Any], num_parallel_calls: Any = None) -> "_Batches":
        """The data set of a function's results, of what each batch holds."""
        return _Mapped(self, function)

    def take(self, count: int) -> "_Batches":
        """The first batches."""
        return _Part(self, range(len(self))[: count if count >= 0 else None])

    def skip(self, count: int) -> "_Batches":
        """The batches after the first ones."""
        return _Part(self, range(len(self))[count:])


class _View(_Batches):
    def __init__(self, base: _Batches) -> None:
        super().__init__()
        self._base = base
        self.class_names, self.file_paths = base.class_names, base.file_paths

    def __len__(self) -> int:
        return len(self._base)

    def on_epoch_end(self) -> None:
        """As of the data set that this is one of."""
        self._base.on_epoch_end()


class _Mapped(_View):
    def __init__(self, base: _Batches, function: Callable[..., Any]) -> None:
        super().__init__(base)
        self._function = function

    def __getitem__(self, index: int) -> Any:
        batch = self._base[index]
        return self._function(*batch) if isinstance(batch, tuple) else self._function(batch)


class _Part(_View):
    def __init__(self, base: _Batches, places: range) -> None:
        super().__init__(base)
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Any:
        return self._base[self._places[index]]


class _Files(_Batches):
    """Batches of files."""

    def __init__(
        self,
        paths: list[str],
        labels: Any,
        classes: list[str] | None,
        read: Callable[[str], Any],
        size: int | None,
        order: Any,
    ) -> None:
        super().__init__()
        self.file_paths, self.class_names = paths, classes
        self._labels, self._read, self._size, self._order = labels, read, size, order
        self._rows = np.arange(len(paths))
        self.on_epoch_end()

    def on_epoch_end(self) -> None:
        """Draw another order, if files are shuffled."""
        if self._order is not None:
            self._order.shuffle(self._rows)

    def __len__(self) -> int:
        return -(-len(self.file_paths) // (self._size or 1))

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} batches, {index} is none of them")
        if self._size is None:
            row = self._rows[index]
            found = self._read(self.file_paths[row])
            return found if self._labels is None else (found, self._labels[row])
        rows = self._rows[index * self._size : (index + 1) * self._size]
        found = np.stack([self._read(self.file_paths[row]) for row in rows])
        return found if self._labels is None else (found, self._labels[rows])


def _listed(folder: str, endings: Sequence[str], follow: bool) -> Iterator[str]:
    for root, _, files in sorted(os.walk(folder, followlinks=follow)):
        for name in sorted(files):
            if name.lower().endswith(tuple(endings)):
                yield os.path.join(root, name)


def _dataset(
    name: str,
    directory: Any,
    labels: Any,
    label_mode: str | None,
    class_names: Any,
    endings: Sequence[str],
    follow_links: bool,
    split: tuple[float | None, str | None],
    shuffle: bool,
    seed: int | None,
    batch_size: int | None,
    read: Callable[[str], Any],
    how: tuple[str, bool],
) -> Any:
    """What data sets of all kinds of files have in common; `how` is format and verbose."""
    if how[0] not in ("tf", "grain"):
        raise ValueError(f"{name}: format is {how[0]!r}; allowed are 'tf' and 'grain', alike here")
    modes = ("int", "binary", "categorical", None)
    if label_mode not in modes:
        raise ValueError(f"{name}: label_mode is {label_mode!r}; allowed are {modes}")
    folder = os.path.expanduser(os.fspath(directory))
    if not os.path.isdir(folder):
        raise ValueError(f"{name}: there is no directory {folder}")
    classes: list[str] | None = None
    numbers: Any = None
    if isinstance(labels, str) and labels == "inferred":
        there = sorted(e.name for e in os.scandir(folder) if e.is_dir())
        classes = there if class_names is None else list(class_names)
        if not set(classes) <= set(there):
            raise ValueError(f"{name}: class_names are {classes}; the folders are {there}")
        found = [[*_listed(os.path.join(folder, c), endings, follow_links)] for c in classes]
        paths = [path for files in found for path in files]
        numbers = np.repeat(np.arange(len(classes)), [len(files) for files in found])
    else:
        if class_names is not None:
            raise ValueError(f"{name}: class_names need labels='inferred'")
        paths = [*_listed(folder, endings, follow_links)]
        if labels is not None:
            if len(labels) != len(paths):
                raise ValueError(f"{name}: {len(labels)} labels and {len(paths)} files")
            classes = [str(c) for c in sorted(set(labels))]
            numbers = np.asarray(labels)
    if not paths:
        raise ValueError(f"{name}: {folder} has no files that end in {', '.join(endings)}")
    if how[1]:
        of = f" belonging to {len(classes)} classes" if classes is not None else ""
        print(f"Found {len(paths)} files{of}.")
    if label_mode == "binary" and len(classes or ()) != 2:
        raise ValueError(f"{name}: label_mode='binary' needs two classes, there are {classes}")
    first = int(np.random.default_rng().integers(1_000_000)) if seed is None else seed
    if shuffle:  # Keras's order, which its parts for validation depend on
        order = np.arange(len(paths))
        np.random.RandomState(first).shuffle(order)
        paths = [paths[i] for i in order]
        numbers = None if numbers is None else numbers[order]
    values: Any = None
    if label_mode is not None and numbers is not None:
        values = numbers.astype(np.int32)
        if label_mode == "binary":
            values = values[:, None].astype(np.float32)
        elif label_mode == "categorical":
            values = np.eye(len(classes or ()), dtype=np.float32)[numbers]

    def made(part: slice, mixed: bool) -> _Files:
        kept = None if values is None else values[part]
        order = np.random.default_rng(first) if mixed else None
        return _Files(paths[part], kept, classes, read, batch_size, order)

    share, subset = split
    if share is None and subset is None:
        return made(slice(None), shuffle)
    if share is None or not 0 < share < 1 or subset not in ("training", "validation", "both"):
        raise ValueError(
            f"{name}: validation_split is {share} and subset {subset!r}; give a number between 0 "
            "and 1, and 'training', 'validation' or 'both'"
        )
    if shuffle and seed is None:
        raise ValueError(f"{name}: give a seed, or the parts of validation_split overlap")
    cut = len(paths) - int(share * len(paths))
    training, validation = slice(0, cut), slice(cut, None)
    if subset == "both":
        return [made(training, shuffle), made(validation, False)]
    return made(training if subset == "training" else validation, shuffle)


def image_dataset_from_directory(
    directory: Any,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: Any = None,
    color_mode: str = "rgb",
    batch_size: int | None = 32,
    image_size: Any = (256, 256),
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    interpolation: str = "bilinear",
    follow_links: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    data_format: str | None = None,
    format: str = "tf",
    verbose: bool = True,
) -> Any:
    """Batches of images of one size, float32 from 0 to 255, from a folder for each class.

    Parameters
    ----------
    directory : path-like
    labels : "inferred", sequence of int, or None
        By the folders' names, in their order; or of the files, in theirs.
    label_mode : {"int", "binary", "categorical"} or None
        Numbers of shape (n,), (n, 1), rows of one 1, or no labels.
    class_names : sequence of str, optional
        Folders, in the order of their numbers.
    color_mode : {"grayscale", "rgb", "rgba"}
    batch_size : int or None
        None gives one image at a time.
    image_size : (int, int)
        Height and width.
    shuffle, seed : bool, int
    validation_split, subset : float, {"training", "validation", "both"}
        Share of the files that is kept for validation, and which part this is.
    interpolation, crop_to_aspect_ratio, pad_to_aspect_ratio, data_format
        As of ``keras.ops.image.resize``.
    follow_links : bool
    format : {"tf", "grain"}
        Alike here.
    verbose : bool
        Whether it is said how many files there are.

    Returns
    -------
    PyDataset, or list of two
        With ``class_names`` and ``file_paths``, ``map``, ``take`` and ``skip``.

    Examples
    --------
    >>> data = keras.utils.image_dataset_from_directory("pets")  # doctest: +SKIP
    >>> data.class_names  # doctest: +SKIP
    ['cats', 'dogs']
    """
    options: dict[str, Any] = {
        "crop_to_aspect_ratio": crop_to_aspect_ratio,
        "pad_to_aspect_ratio": pad_to_aspect_ratio,
        "data_format": data_format,
    }

    def read(path: str) -> Any:
        array = img_to_array(load_img(path, color_mode))
        return images.resize(array, tuple(image_size), interpolation, **options).numpy()

    return _dataset(
        "image_dataset_from_directory",
        *(directory, labels, label_mode, class_names, _IMAGES, follow_links),
        *((validation_split, subset), shuffle, seed, batch_size, read, (format, verbose)),
    )


def text_dataset_from_directory(
    directory: Any,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: Any = None,
    batch_size: int | None = 32,
    max_length: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    follow_links: bool = False,
    format: str = "tf",
    verbose: bool = True,
) -> Any:
    """Batches of texts, arrays of str, from a folder for each class; see the data set of images.

    `max_length` is a number of characters, behind which texts end.

    Examples
    --------
    >>> data = keras.utils.text_dataset_from_directory("reviews")  # doctest: +SKIP
    """

    def read(path: str) -> Any:
        with open(path, encoding="utf-8") as file:
            return np.array(file.read()[:max_length], dtype=object)

    return _dataset(
        "text_dataset_from_directory",
        *(directory, labels, label_mode, class_names, (".txt",), follow_links),
        *((validation_split, subset), shuffle, seed, batch_size, read, (format, verbose)),
    )
