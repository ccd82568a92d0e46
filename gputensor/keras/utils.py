"""Helpers of Keras scripts."""

import hashlib
import os
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from collections.abc import Sequence as Many
from pathlib import Path
from typing import Any

import numpy as np

from gputensor import config, files
from gputensor.errors import DatasetError, DTypeError, LabelError
from gputensor.random import manual_seed

__all__ = [
    "PyDataset",
    "Sequence",
    "array_to_img",
    "get_file",
    "img_to_array",
    "load_img",
    "normalize",
    "pad_sequences",
    "plot_model",
    "save_img",
    "set_random_seed",
    "timeseries_dataset_from_array",
    "to_categorical",
    "to_numerical",
]

Array = np.ndarray[Any, Any]


def set_random_seed(seed: int) -> None:
    """Start the generator of weights, dropout and shuffling, Python's and NumPy's from `seed`.

    Examples
    --------
    >>> keras.utils.set_random_seed(1)
    """
    import random

    manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002


def to_categorical(x: Any, num_classes: int | None = None, dtype: Any = None) -> Array:
    """One-hot rows of class labels.

    Parameters
    ----------
    x : array-like of int, shape (n,), (n, 1) or any other
    num_classes : int, optional
        By default one more than the largest label.
    dtype : dtype, optional
        float32 by default.

    Returns
    -------
    numpy.ndarray of shape (n, num_classes), or (..., num_classes)

    Raises
    ------
    LabelError
        If a label is negative or not below `num_classes`.
    DTypeError
        If `x` holds something else than whole numbers.

    Examples
    --------
    >>> keras.utils.to_categorical([0, 2], 3)
    array([[1., 0., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    given = np.asarray(x)
    if given.dtype.kind not in "biuf" or not np.all(np.floor(given) == given):
        raise DTypeError("to_categorical: x must hold class labels, whole numbers")
    shape = given.shape[:-1] if given.ndim > 1 and given.shape[-1] == 1 else given.shape
    labels = given.astype(np.int64).reshape(-1)
    classes = int(labels.max(initial=-1)) + 1 if num_classes is None else int(num_classes)
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if bad.size:
        raise LabelError(
            f"to_categorical: row {bad[0]} has label {labels[bad[0]]}; labels must be in the range "
            f"0 to {classes - 1}"
        )
    return np.eye(classes, dtype=np.float32 if dtype is None else dtype)[labels.reshape(shape)]


def to_numerical(x: Any) -> Array:
    """Class labels of one-hot rows.

    Examples
    --------
    >>> keras.utils.to_numerical(np.eye(3))
    array([0, 1, 2])
    """
    return np.asarray(np.argmax(np.asarray(x), axis=-1))


def normalize(x: Any, axis: int = -1, order: int = 2) -> Array:
    """`x` over its norm along `axis`; what has none stays 0.

    Examples
    --------
    >>> keras.utils.normalize(np.array([[3.0, 4.0]]))
    array([[0.6, 0.8]])
    """
    x = np.asarray(x)
    size = np.atleast_1d(np.linalg.norm(x, order, axis))
    size[size == 0] = 1
    return np.asarray(x / np.expand_dims(size, axis))


def pad_sequences(
    sequences: Many[Any],
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0.0,
) -> Array:
    """Sequences of one length, as rows of an array.

    Parameters
    ----------
    sequences : sequence of sequences
    maxlen : int, optional
        The length; by default that of the longest.
    dtype : dtype
    padding, truncating : {"pre", "post"}
        Where short ones are filled, and long ones cut.
    value : number
        What short ones are filled with.

    Returns
    -------
    numpy.ndarray of shape (len(sequences), maxlen, ...)

    Examples
    --------
    >>> keras.utils.pad_sequences([[1, 2, 3], [4]])
    array([[1, 2, 3],
           [0, 0, 4]], dtype=int32)
    """
    for name, where in (("padding", padding), ("truncating", truncating)):
        if where not in ("pre", "post"):
            raise ValueError(f"pad_sequences: {name} is {where!r}; allowed are 'pre' and 'post'")
    if not hasattr(sequences, "__len__"):
        raise TypeError("pad_sequences: sequences must be a list of sequences")
    rows = [np.asarray(s) for s in sequences]
    if any(not row.ndim for row in rows):
        raise TypeError("pad_sequences: sequences must be a list of sequences")
    length = max((len(row) for row in rows), default=0) if maxlen is None else int(maxlen)
    inner = next((row.shape[1:] for row in rows if len(row)), ())
    text = isinstance(dtype, str) and dtype.startswith("str")
    out = np.full((len(rows), length, *inner), value, dtype=object if text else dtype)
    for i, row in enumerate(rows):
        if not len(row) or not length:
            continue
        kept = row[-length:] if truncating == "pre" else row[:length]
        if padding == "pre":
            out[i, -len(kept) :] = kept
        else:
            out[i, : len(kept)] = kept
    return out


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


def img_to_array(img: Any, data_format: str | None = None, dtype: Any = None) -> Array:
    """An image of Pillow as an array (height, width, channels), float32 by default.

    Examples
    --------
    >>> image = keras.utils.array_to_img(np.zeros((4, 6, 3)))  # doctest: +SKIP
    >>> keras.utils.img_to_array(image).shape  # doctest: +SKIP
    """
    x = np.asarray(img, dtype=np.float32 if dtype is None else dtype)
    if data_format not in (None, "channels_last"):
        raise ValueError("img_to_array: only data_format='channels_last' is supported")
    if x.ndim not in (2, 3):
        raise ValueError(f"img_to_array: img has shape {x.shape}; it must have 2 or 3 axes")
    return x[..., None] if x.ndim == 2 else x


def array_to_img(
    x: Any, data_format: str | None = None, scale: bool = True, dtype: Any = None
) -> Any:
    """An array (height, width, channels) as an image of Pillow, from black to white if `scale`.

    Examples
    --------
    >>> keras.utils.array_to_img(np.zeros((4, 6, 3))).size  # doctest: +SKIP
    """
    from PIL import Image

    values = np.asarray(x, dtype=np.float32 if dtype is None else dtype)
    if data_format not in (None, "channels_last") or values.ndim != 3:
        raise ValueError("array_to_img: x must have the axes height, width, channels")
    if scale:
        values = values - values.min()
        most = values.max()
        values = values / most * 255 if most else values
    if values.shape[-1] not in (1, 3, 4):
        raise ValueError(f"array_to_img: x has {values.shape[-1]} channels; allowed are 1, 3, 4")
    pixels = values.astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def load_img(
    path: Any,
    color_mode: str = "rgb",
    target_size: Any = None,
    interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
) -> Any:
    """An image file as an image of Pillow.

    Parameters
    ----------
    path : path-like or file
    color_mode : {"grayscale", "rgb", "rgba"}
    target_size : (int, int), optional
        Height and width.
    interpolation : {"nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"}
    keep_aspect_ratio : bool
        Whether the middle is cut out in the ratio of `target_size` first.

    Examples
    --------
    >>> keras.utils.load_img("cat.jpg", target_size=(32, 32)).size  # doctest: +SKIP
    (32, 32)
    """
    from PIL import Image

    modes = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}
    if color_mode not in modes:
        raise ValueError(f"load_img: color_mode is {color_mode!r}; allowed are {', '.join(modes)}")
    filters = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
    if interpolation not in filters:
        allowed = ", ".join(filters)
        raise ValueError(f"load_img: interpolation is {interpolation!r}; allowed are {allowed}")
    found = Image.open(path)
    with found:
        image = found.convert(modes[color_mode])
    if target_size is None:
        return image
    high, wide = (int(n) for n in target_size)
    box = None
    if keep_aspect_ratio:
        width, height = image.size
        cut_high = min(height, max(width * high // wide, 1))
        cut_wide = min(width, max(height * wide // high, 1))
        left, top = (width - cut_wide) // 2, (height - cut_high) // 2
        box = (left, top, left + cut_wide, top + cut_high)
    return image.resize((wide, high), getattr(Image.Resampling, interpolation.upper()), box)


def save_img(
    path: Any,
    x: Any,
    data_format: str | None = None,
    file_format: str | None = None,
    scale: bool = True,
    **options: Any,
) -> None:
    """Write an array (height, width, channels) as an image file; see :func:`array_to_img`.

    Examples
    --------
    >>> keras.utils.save_img("black.png", np.zeros((4, 6, 3)))  # doctest: +SKIP
    """
    array_to_img(x, data_format, scale).save(path, format=file_format, **options)


def plot_model(model: Any, to_file: Any = None, **options: Any) -> None:
    """Print the model's layers; with `to_file` draw them, see :func:`gputensor.plot.layers`.

    Options say how Keras draws the graph of a model, which is not drawn here.

    Examples
    --------
    >>> layers = [keras.layers.Dense(2, input_shape=(3,), name="dense")]
    >>> keras.utils.plot_model(keras.Sequential(layers, name="model"))
    Model: "model"
    Layer (type)   Output shape  Parameters
    ---------------------------------------
    dense (Dense)  (None, 2)              8
    Total parameters: 8
    Trainable parameters: 8
    Non-trainable parameters: 0
    """
    model.summary()
    if to_file is not None:
        from gputensor import plot

        plot.layers(model).savefig(to_file)


def get_file(
    fname: str | None = None,
    origin: str | None = None,
    untar: bool = False,
    md5_hash: str | None = None,
    file_hash: str | None = None,
    cache_subdir: str = "datasets",
    hash_algorithm: str = "auto",
    extract: bool = False,
    archive_format: str = "auto",
    cache_dir: Any = None,
    force_download: bool = False,
) -> str:
    """Path of a file that is downloaded once.

    Parameters
    ----------
    fname : str, optional
        Its name on disk; by default that of `origin`.
    origin : str
        URL.
    untar, extract : bool
        Unpack a tar or zip archive, into a folder of its name without the ending.
    file_hash, md5_hash : str, optional
        SHA-256 or MD5 of the file, in hexadecimal; another content is an error.
    hash_algorithm : {"auto", "sha256", "md5"}
        By default that which gives as many digits as `file_hash` has.
    archive_format : {"auto", "tar", "zip"}
        What an archive must be; by default either.
    cache_dir : path-like, optional
        Folder with `cache_subdir`; by default gputensor's cache.

    Returns
    -------
    str

    Raises
    ------
    DatasetError
        If it cannot be had, or has another hash.

    Examples
    --------
    >>> keras.utils.get_file("words.txt", "https://example.org/words.txt")  # doctest: +SKIP
    """
    from gputensor.datasets.sources import download

    if origin is None:
        raise ValueError("get_file: origin is missing, the URL of the file")
    name = fname or origin.rsplit("/", 1)[-1]
    if os.path.basename(name) != name:
        raise ValueError(f"get_file: fname is {name!r}; it must be a name without folders")
    base = config.cache_dir() / "keras" if cache_dir is None else Path(cache_dir).expanduser()
    file = base / cache_subdir / name
    wanted = file_hash or md5_hash
    kind = hash_algorithm if file_hash else "md5"
    kind = ("sha256" if len(wanted or "") == 64 else "md5") if kind == "auto" else kind
    if kind not in ("sha256", "md5"):
        raise ValueError(
            f"get_file: hash_algorithm is {kind!r}; allowed are 'auto', 'sha256' and 'md5'"
        )
    if force_download or not file.exists() or (wanted and _digest(file, kind) != wanted):
        file.parent.mkdir(parents=True, exist_ok=True)
        content = download(origin, set()).getvalue()
        files.write(file, content)
        if wanted and (found := _digest(file, kind)) != wanted:
            file.unlink()
            raise DatasetError(f"{origin}: its hash is {found}, expected {wanted}")
    if untar or extract:
        return str(_unpacked(file, "tar" if untar else archive_format))
    return str(file)


def _digest(file: Path, kind: str) -> str:
    with open(file, "rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.new(kind, usedforsecurity=False))
    return found.hexdigest()


_ENDINGS = (".tar.gz", ".tgz", ".tar.bz2", ".tar", ".zip")


def _unpacked(file: Path, kind: str | None) -> Path:
    found = "zip" if zipfile.is_zipfile(file) else "tar" if tarfile.is_tarfile(file) else "neither"
    if found == "neither" or kind not in ("auto", found):
        raise ValueError(
            f"get_file: {file} is {'no archive' if found == 'neither' else f'a {found} archive'}, "
            f"archive_format is {kind!r}; allowed are 'auto', 'tar' and 'zip'"
        )
    name = next((file.name.removesuffix(e) for e in _ENDINGS if file.name.endswith(e)), None)
    folder = file.with_name(f"{file.name}_extracted" if name is None else name)
    if not folder.exists():
        options: dict[str, Any] = {} if found == "zip" else {"filter": "data"}
        shutil.unpack_archive(file, folder, found, **options)
    return folder


_ELSEWHERE = {
    "CustomObjectScope": "configuration",
    "clear_session": "backend",
    "custom_object_scope": "configuration",
    "get_custom_objects": "configuration",
    "register_keras_serializable": "saving",
}


def __getattr__(name: str) -> Any:
    """What Keras has in this place, too, and modules above this one define."""
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
    import importlib

    return getattr(importlib.import_module(f"gputensor.keras.{_ELSEWHERE[name]}"), name)
