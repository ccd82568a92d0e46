"""Helpers of Keras scripts."""

import hashlib
import os
import shutil
import tarfile
import zipfile
from collections.abc import Sequence as Many
from pathlib import Path
from typing import Any

import numpy as np

from gputensor import config, files
from gputensor.errors import DatasetError, DTypeError, LabelError
from gputensor.keras.batches import (
    PyDataset,
    Sequence,
    pack_x_y_sample_weight,
    timeseries_dataset_from_array,
    unpack_x_y_sample_weight,
)
from gputensor.keras.folders import image_dataset_from_directory, text_dataset_from_directory
from gputensor.keras.naming import lacking
from gputensor.keras.pictures import array_to_img, img_to_array, load_img, save_img
from gputensor.random import manual_seed

__all__ = [
    "PyDataset",
    "Sequence",
    "array_to_img",
    "get_file",
    "image_dataset_from_directory",
    "img_to_array",
    "load_img",
    "normalize",
    "pack_x_y_sample_weight",
    "pad_sequences",
    "plot_model",
    "save_img",
    "set_random_seed",
    "text_dataset_from_directory",
    "timeseries_dataset_from_array",
    "to_categorical",
    "to_numerical",
    "unpack_x_y_sample_weight",
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


_lacking = lacking(
    __name__,
    {
        "Config": "a dict",
        "FeatureSpace": "keras.layers.Normalization, CategoryEncoding and their like",
        "Progbar": "verbose=1 of fit",
        "audio_dataset_from_directory": "a PyDataset of your own",
        "bounding_boxes": "arrays of corners",
        "deserialize_keras_object": "keras.models.model_from_json, or the class's from_config",
        "disable_interactive_logging": "verbose=2 of fit",
        "enable_interactive_logging": "verbose=1 of fit",
        "get_registered_name": "keras.utils.register_keras_serializable",
        "get_registered_object": "custom_objects= of load_model",
        "get_source_inputs": "model.inputs",
        "is_interactive_logging_enabled": "verbose= of fit",
        "is_keras_tensor": "isinstance(x, keras.KerasTensor)",
        "legacy": "the names of Keras 3",
        "model_to_dot": "keras.utils.plot_model, or gputensor.plot.layers",
        "serialize_keras_object": "model.to_json(), or the object's get_config()",
        "split_dataset": "slices of arrays, or take and skip of data sets of folders",
        "standardize_dtype": "numpy.dtype",
    },
)
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
        return _lacking(name)
    import importlib

    return getattr(importlib.import_module(f"gputensor.keras.{_ELSEWHERE[name]}"), name)
