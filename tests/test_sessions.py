"""What a session does: which tests run, in how many processes, with which numbers."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import conftest
import left_out

pytestmark = pytest.mark.cpu
HERE = Path(__file__).parent
TESTS = """
import numpy as np, pytest
import gputensor as gt
RNG = np.random.default_rng(1)
def test_a(): print("a", RNG.random(), gt.random.default_generator.random().item())
def test_b(): print("b", RNG.random(), gt.random.default_generator.random().item())
def test_c(): pytest.skip("no")
@pytest.mark.slow
def test_d(): pass
"""


@pytest.fixture
def session(tmp_path):
    """Run these tests; what is printed, and the names of those that ran."""
    (tmp_path / "test_it.py").write_text(TESTS)

    def run(*options, code=0):
        paths = os.pathsep.join([str(HERE), os.environ["PYTHONPATH"]])
        command = [
            "-m",
            "pytest",
            "-p",
            "conftest",
            "-p",
            "no:cacheprovider",
            "--ran=ran",
            "-s",
            "-q",
        ]
        done = subprocess.run(
            [sys.executable, *command, *options],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": paths},
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stdout + done.stderr
        ran = tmp_path / "ran"
        names = ran.read_text().split()
        ran.unlink()
        return done.stdout, names

    return run


def test_numbers_depend_on_a_tests_name_alone(session):
    found = []
    for names in ("ab", "b"):
        out, ran = session(*(f"test_it.py::test_{name}" for name in names))
        assert ran == [f"test_it.py::test_{name}" for name in names]
        found.append(dict(re.findall(r"([ab]) (\S+ \S+)", out)))
    assert found[0]["b"] == found[1]["b"]
    assert len({number for numbers in found[0].values() for number in numbers.split()}) == 4


def test_slow_tests_run_when_asked_for_and_names_are_those_of_tests_that_ran(session):
    _, ran = session("test_it.py")
    assert ran == ["test_it.py::test_a", "test_it.py::test_b"]
    _, ran = session("test_it.py", "--slow")
    assert ran == ["test_it.py::test_a", "test_it.py::test_b", "test_it.py::test_d"]


@pytest.mark.parametrize(
    ("changes", "processes"),
    [
        ({}, "auto"),
        ({"args_source": pytest.Config.ArgsSource.ARGS}, None),
        ({"keyword": "x"}, None),
        ({"capture": "no"}, None),
        ({"numprocesses": 3}, 3),
        ({"workerinput": {}}, None),
    ],
)
def test_only_a_whole_session_is_parallel_unasked(changes, processes):
    values = {"keyword": "", "capture": "fd", "numprocesses": None, "dist": "no"} | changes
    config = SimpleNamespace(
        option=SimpleNamespace(**values),
        args_source=values.get("args_source", pytest.Config.ArgsSource.TESTPATHS),
        **({"workerinput": {}} if "workerinput" in changes else {}),
    )
    conftest.pytest_cmdline_main(config)
    assert config.option.numprocesses == processes
    del config.option.numprocesses  # without pytest-xdist
    conftest.pytest_cmdline_main(config)
    assert not hasattr(config.option, "numprocesses")


def test_what_no_step_ran_is_listed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(left_out, "collected", lambda *options: {"a::x", "a::y", "b::z"})
    monkeypatch.setattr(sys, "argv", ["left_out.py", str(tmp_path / "ran")])
    for ran, left in (("a::y\nb::z\na::y\n", ["a::x"]), ("a::y\na::x\nb::z\n", [])):
        (tmp_path / "ran").write_text(ran)
        with pytest.raises(SystemExit) as done:
            left_out.main()
        assert done.value.code == bool(left)
        *lines, _ = capsys.readouterr().out.splitlines()
        assert lines == left
