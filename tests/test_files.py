"""Files are whole or not there; what killed writers leave is cleared, and nothing else."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputensor import files, tensor_files

pytestmark = pytest.mark.cpu

KILLED = """
import os, pathlib, sys, time
from gputensor import files

with files.replacing(pathlib.Path(sys.argv[1])) as place:
    place.write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""


def writer(path):
    """A process that is in the middle of writing."""
    found = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert found.stdout.readline() == "writing\n"
    return found


def test_a_file_is_the_old_one_until_it_is_the_new_one(tmp_path):
    path = tmp_path / "a.bin"
    files.write(path, b"old")
    with files.replacing(path) as place:
        place.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.bin"]
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.bin"
    files.write(path, b"old")

    def half():
        with files.replacing(path) as place:
            place.write_bytes(b"half")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        half()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_file_and_folder_are_synced_before_and_after_the_move(tmp_path, monkeypatch):
    done = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda fd: (done.append(os.readlink(f"/proc/self/fd/{fd}")), sync(fd))
    )
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("moved"), replace(a, b)))
    files.write(tmp_path / "a.bin", b"x")
    assert len(done) == 3
    assert done[0].endswith("/a.bin")
    assert done[1:] == ["moved", str(tmp_path)]


@pytest.mark.skipif(files.fcntl is None, reason="there are no locks on files")
def test_only_what_killed_writers_left_is_cleared(tmp_path):
    alive, dead = writer(tmp_path / "alive"), writer(tmp_path / "dead")
    try:
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        others = [tmp_path / "notes.tmp", tmp_path / "a.0123456789abcdef.tmp"]
        for other in others:
            other.touch()
        foreign = tmp_path / "b.0123456789abcdef.tmp"
        (foreign / "deeper").mkdir(parents=True)
        young, old = tmp_path / "c.0123456789abcde0.tmp", tmp_path / "c.0123456789abcde1.tmp"
        young.mkdir()
        old.mkdir()
        os.utime(old, (time.time() - 3600,) * 2)
        assert len(list(tmp_path.glob("dead.*.tmp"))) == 1
        files.clear_leftovers(tmp_path)
        assert not list(tmp_path.glob("dead.*.tmp"))
        assert len(list(tmp_path.glob("alive.*.tmp"))) == 1
        assert all(path.exists() for path in (*others, foreign, young))
        assert not old.exists()
    finally:
        alive.kill()
        alive.wait()
    files.clear_leftovers(tmp_path)
    assert not list(tmp_path.glob("alive.*.tmp"))


def test_a_folder_that_is_not_there_has_no_leftovers(tmp_path):
    files.clear_leftovers(tmp_path / "none")


def test_the_cache_of_data_sets_is_cleared_of_them(tmp_path):
    from gputensor.datasets import sources

    dead = writer(tmp_path / "set.npz")
    dead.kill()
    dead.wait()
    sources._store(b"new", tmp_path / "set.npz")
    assert os.listdir(tmp_path) == ["set.npz"]


def test_keys_with_dots_in_them_do_not_meet():
    tree = {"a.b": np.ones(2), "a": {"b": np.zeros(3)}, 1: (None, float("-inf"), [np.float32(2)])}
    arrays = {}
    plan = tensor_files.plan("save", tree, "", arrays)
    found = tensor_files.built(plan, arrays)
    np.testing.assert_array_equal(found["a.b"], [1, 1])
    np.testing.assert_array_equal(found["a"]["b"], [0, 0, 0])
    assert found[1] == (None, float("-inf"), [2.0])


def test_arrays_of_all_kinds_come_back(tmp_path):
    rng = np.random.default_rng(0)
    held = {
        name: rng.integers(0, 2, (3, 2)).astype(name)
        for name in sorted(tensor_files.NAMES - {"bfloat16"})
    }
    held["transposed"] = np.arange(6.0).reshape(2, 3).T
    held["strided"] = np.arange(10)[::3]
    held["other order"] = np.arange(4, dtype=">f4")
    held["none"] = np.zeros((0, 4), np.float32)
    held["one"] = np.array(2.5)
    tensor_files.write(tmp_path / "a.safetensors", held, {"k": "v"})
    found, texts = tensor_files.read(tmp_path / "a.safetensors")
    assert texts == {"k": "v"}
    assert found.keys() == held.keys()
    for name, array in held.items():
        assert found[name].dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found[name], array)
    with pytest.raises(TypeError, match="x is complex128, which safetensors files do not have"):
        tensor_files.write(tmp_path / "b", {"x": np.zeros(1, complex)}, {})
    (tmp_path / "c").write_bytes((tmp_path / "a.safetensors").read_bytes()[:-1])
    with pytest.raises(ValueError, match="c: it is no safetensors file, or damaged"):
        tensor_files.read(tmp_path / "c")


@given(
    arrays=st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=5).filter(lambda n: n != "__metadata__"),
        st.tuples(
            st.sampled_from(sorted(tensor_files.NAMES - {"bfloat16"})),
            st.lists(st.integers(0, 3), max_size=3),
        ),
        max_size=6,
    ),
    metadata=st.dictionaries(
        st.text(st.characters(codec="utf-8")), st.text('a"\\\n\0é'), max_size=3
    ),
)
def test_what_is_written_piece_by_piece_is_what_the_package_reads(arrays, metadata):
    rng = np.random.default_rng(0)
    made = {
        name: rng.integers(0, 2, shape).astype(dtype).T for name, (dtype, shape) in arrays.items()
    }
    head, ordered = tensor_files.head(made, metadata)
    assert len(head) % 8 == 0
    found, texts = tensor_files.loads(head + b"".join(array.tobytes() for array in ordered))
    assert texts == metadata
    assert found.keys() == made.keys()
    for name, array in made.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
        assert found[name].ctypes.data % array.itemsize == 0 or not array.size


@pytest.mark.parametrize("fails", [False, True])
def test_files_are_gone_before_their_space_is(tmp_path, fails):
    paths = [tmp_path / name for name in ("a", "b", "missing")]
    for path in paths[:2]:
        path.write_bytes(b"x")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    with pytest.raises(KeyError) if fails else contextlib.nullcontext(), files.removed(paths):
        assert not list(tmp_path.iterdir())
        if before:
            assert len(os.listdir("/proc/self/fd")) == before + 2
        if fails:
            raise KeyError
    if before:
        assert len(os.listdir("/proc/self/fd")) == before
