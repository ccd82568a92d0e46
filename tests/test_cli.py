"""The command line, run as a user runs it."""

import os
import subprocess
import sys

import numpy as np
import pytest

import gputensor


def run(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "gputensor", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_doctor_says_what_there_is_and_why_cuda_is_not_used():
    done = run("doctor", GPUTENSOR_DEVICE="cpu", GPUTENSOR_THREADS="3")
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(":", 1) for line in done.stdout.splitlines())
    lines = {name: text.strip() for name, text in lines.items()}
    assert lines["gputensor"] == gputensor.__version__
    assert lines["NumPy"].startswith(np.__version__)
    assert lines["CUDA"] == gputensor.cuda_status().reason
    assert lines["new tensors go to"] == "cpu"
    assert lines["CPU threads of a kernel"] == "3"
    assert lines["GPUTENSOR_DEVICE"] == "cpu"


def test_doctor_survives_a_device_that_is_not_there():
    done = run("doctor", GPUTENSOR_DEVICE="cuda:99")
    assert done.returncode == 0, done.stderr
    assert "new tensors go to:       nowhere: " in done.stdout


def test_without_a_command_the_help_is_shown():
    done = run()
    assert done.returncode == 2
    assert "doctor" in done.stderr
    assert "bench" in done.stderr


def test_benchmarks_are_imported_only_when_asked_for():
    code = (
        "import sys; from gputensor import cli; cli.main(['doctor']);"
        "assert not [m for m in sys.modules if m.startswith('gputensor.benchmarks')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_bench_prints_a_table():
    done = run("bench", "overhead", "--repeats", "2", "--compare", "numpy", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "NumPy, forward only" in done.stdout
    assert "PyTorch" not in done.stdout


@pytest.mark.cpu
@pytest.mark.skipif(os.name != "posix", reason="is about pipes as POSIX has them")
def test_a_reader_that_has_seen_enough_is_no_error():
    command = [sys.executable, "-m", "gputensor", "doctor"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1
