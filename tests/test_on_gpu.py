"""benchmarks/on_gpu.py, with stand-ins for GPU and compute-sanitizer: no success without proof."""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import forget_cupy
from gputensor import standin
from gputensor.benchmarks import on_gpu

pytestmark = pytest.mark.standin
HERE = Path(__file__).parent
SITE = HERE / "standin_site"

# Runs the program that it is given; the planted errors come with `-c`.
SANITIZER = """#!{python}
import subprocess, sys
tool, log = (a.partition("=")[2] for a in sys.argv[1:3])
program = next(i for i, a in enumerate(sys.argv) if a == {python!r})
planted = sys.argv[program + 1] == "-c"
code = 0 if planted else subprocess.run(sys.argv[program:]).returncode
errors = {planted} if planted else {errors}
if errors is not None:
    races = tool == "racecheck"
    text = "RACECHECK SUMMARY: # hazards displayed" if races else "ERROR SUMMARY: # errors"
    open(log, "w").write(f"========= {{text.replace('#', str(errors))}}\\n")
sys.exit(99 if errors else code)
"""


def written(folder, *bodies):
    """Arguments of pytest that run tests with these bodies, with the conftest of this folder."""
    path = folder / "test_it.py"
    tests = (f"@gpu\ndef test_{i}(): {body}\n" for i, body in enumerate(bodies))
    head = "import os, pytest, subprocess\nimport gputensor as gt\ngpu = pytest.mark.gpu\n"
    path.write_text(head + "".join(tests))
    return ("-p", "conftest", str(path))


@pytest.fixture
def results(tmp_path, monkeypatch, request):
    """Run steps with small tests; their record and the exit status."""
    if standin.host_compiler() is None:
        pytest.skip("no C++ compiler to run the CUDA sources with")
    for name, first in (("PYTHONPATH", f"{SITE}{os.pathsep}{HERE}"), ("PATH", tmp_path / "bin")):
        monkeypatch.setenv(name, os.pathsep.join([str(first), os.environ.get(name, "")]))
    monkeypatch.setenv("GPUTENSOR_DEVICE", "auto")
    monkeypatch.setattr(on_gpu, "TESTS", written(tmp_path, "assert gt.ones(1).device == 'cuda'"))
    monkeypatch.setattr(on_gpu, "KERNEL_TESTS", on_gpu.TESTS)
    if not request.node.get_closest_marker("slow"):
        monkeypatch.setattr(on_gpu, "PARALLEL", ())
    monkeypatch.setattr(on_gpu, "sources", lambda: "these")

    def run(*arguments, planted=1, errors=0):
        tool = tmp_path / "bin" / "compute-sanitizer"
        tool.parent.mkdir(exist_ok=True)
        text = SANITIZER.format(python=sys.executable, planted=planted, errors=errors)
        tool.write_text(text)
        tool.chmod(0o700)
        code = on_gpu.main([*arguments, f"--out={tmp_path}"])
        return json.loads((tmp_path / "gpu-numpy-stand-in.json").read_text()), code

    forget_cupy()
    with standin.installed(devices=2):
        yield run
    forget_cupy()


@pytest.mark.slow
def test_what_passes_is_in_one_file(results, monkeypatch, capfd):
    asked = ("tests", "racecheck", "overhead")
    record, code = results(*asked, "--repeats=2", "--compare=numpy")
    steps = record["steps"]
    assert code == 0
    assert {n: s["status"] for n, s in steps.items()} == {
        n: "passed" if n in asked else "not run" for n in on_gpu.STEPS
    }
    assert record["machine"]["gpu"] == "NumPy stand-in"
    assert {"CUDA driver", "versions"} <= set(record["machine"])
    assert steps["tests"]["tests"]["passed"] > 0
    assert steps["racecheck"]["tests"] == {"passed": 1}
    assert steps["racecheck"]["summary"] == "RACECHECK SUMMARY: 0 hazards displayed"
    assert "gputensor" in steps["overhead"]["record"]["results"]
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("initcheck")] == [
        ["initcheck", "not"]
    ]
    # What another call finds is added, as long as the sources are the same.
    monkeypatch.setattr(on_gpu, "find_sanitizer", lambda: None)
    record, code = results("initcheck")
    assert record["steps"] == steps | {"initcheck": record["steps"]["initcheck"]}
    assert record["steps"]["initcheck"]["status"] == "absent"
    monkeypatch.setattr(on_gpu, "sources", lambda: "others")
    record, code = results("initcheck")
    assert record["steps"]["tests"] == {"status": "not run"}


@pytest.mark.skipif(os.name != "posix", reason="is about processes as POSIX has them")
def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path):
    pid = tmp_path / "pid"
    code = (
        "import pathlib, subprocess; child = subprocess.Popen(['sleep', '1000'])\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(child.pid)); child.wait()"
    )
    began = time.monotonic()
    step = on_gpu.run([sys.executable, "-c", code], limit=2)
    assert 2 <= time.monotonic() - began < 300
    assert step["late"] == "it was ended after 2 s"
    with contextlib.suppress(FileNotFoundError):  # of pid, on a machine that is very slow
        status = Path(f"/proc/{pid.read_text()}/stat")
        while status.exists() and status.read_text().split()[2] != "Z":
            assert time.monotonic() - began < 300
            time.sleep(0.1)


def test_tests_that_took_too_long_have_failed(results, monkeypatch):
    def run(command, limit):
        ran = next(word.partition("=")[2] for word in command if word.startswith("--ran="))
        Path(ran).write_text("test_a\ntest_b\n")
        assert limit == on_gpu.STEPS["tests"]
        return {"exit status": -9, "tail": [], "late": f"it was ended after {limit} s"}

    monkeypatch.setattr(on_gpu, "run", run)
    record, code = results("tests")
    assert code == 1
    step = record["steps"]["tests"]
    assert step["status"] == "failed"
    assert step["reason"].startswith("it was ended after 270 s, 2 tests having run; no test passed")


def test_steps_that_no_time_is_left_for_are_not_run(results, monkeypatch, capfd):
    monkeypatch.setattr(on_gpu, "find_sanitizer", lambda: None)
    clock = itertools.count(step=40)  # each look at it, at two a step, is 40 seconds later
    monkeypatch.setattr(on_gpu.time, "perf_counter", lambda: next(clock))
    record, code = results("memcheck", "racecheck", "initcheck", "--minutes=2")
    assert [record["steps"][n]["status"] for n in on_gpu.SANITIZERS] == [
        "absent",
        "not run",
        "not run",
    ]
    assert code == 1
    assert "as 2 minutes were over: racecheck, initcheck" in capfd.readouterr().out


def test_a_checkout_need_be_neither_installed_nor_writable(tmp_path):
    """As a script, which tells in its help what there is to do."""
    for name in ("gputensor", "kernels", "benchmarks"):
        ignored = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(on_gpu.ROOT / name, tmp_path / name, ignore=ignored)
    script = tmp_path / "benchmarks" / "on_gpu.py"
    code = (
        "import runpy, sys; sys.argv[1:] = ['--help']; sys.path[0] = 'benchmarks'\n"
        f"try: runpy.run_path({str(script)!r}, run_name='__main__')\n"
        "finally: import gputensor; print(gputensor.kernels.__file__)"
    )
    environment = os.environ | {"PYTHONPATH": str(SITE)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=os.sep, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "--minutes" in done.stdout
    assert done.stdout.splitlines()[-1] == str(tmp_path / "kernels" / "__init__.py")


def test_results_that_cannot_be_written_are_refused_before_anything_runs(results, tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        on_gpu.main(["tests", f"--out={tmp_path / 'file'}"])
    assert "choose with --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"planted": 0}, "did not find an error that was planted"),
        ({"errors": 2}, "found 2 error"),
        ({"errors": None}, "gave no summary"),
    ],
)
def test_a_sanitizer_that_proves_nothing_has_failed(results, options, reason):
    record, code = results("memcheck", **options)
    assert code == 1
    assert record["steps"]["memcheck"]["status"] == "failed"
    assert reason in record["steps"]["memcheck"]["reason"]


def test_an_absent_sanitizer_is_no_success(results, monkeypatch):
    monkeypatch.setattr(on_gpu, "find_sanitizer", lambda: None)
    record, code = results("racecheck")
    assert code == 1
    assert record["steps"]["racecheck"]["status"] == "absent"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("assert False", "no test passed; 1 test(s) failed; pytest ended with 1"),
        ("pytest.skip('no')", "no test passed"),
        ("os._exit(3)", "no test passed; pytest ended with 3"),
    ],
)
def test_tests_that_prove_nothing_have_failed(results, tmp_path, monkeypatch, body, reason):
    monkeypatch.setattr(on_gpu, "TESTS", written(tmp_path, body))
    record, code = results("tests")
    assert code == 1
    assert record["steps"]["tests"]["reason"] == reason


def test_a_benchmark_that_ends_with_an_error_has_failed(results):
    record, code = results("overhead", "--compare=nonesuch")
    assert code == 1
    assert record["steps"]["overhead"]["reason"].startswith("it ended with 2; it left no results")
    assert "nonesuch" in record["steps"]["overhead"]["tail"][-1]


def test_the_sanitizer_of_a_toolkit_is_found(tmp_path, monkeypatch):
    path = tmp_path / "bin" / "compute-sanitizer"
    path.parent.mkdir()
    path.touch(0o700)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert on_gpu.find_sanitizer() == str(path)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nonesuch"], "no step nonesuch"),
        (["--device=cuda:9"], "cuda:9"),
        (["--device=cpu"], "no GPU"),
    ],
)
def test_what_there_is_not_is_said_at_once(arguments, text, tmp_path, capsys):
    with pytest.raises(SystemExit) as done:
        on_gpu.main([*arguments, f"--out={tmp_path / 'out'}"])
    assert done.value.code == 2
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_sources_have_a_digest(monkeypatch, tmp_path):
    (tmp_path / "kernels").mkdir()
    monkeypatch.setattr(on_gpu, "ROOT", tmp_path)
    digests = set()
    for text in ("a", "b", "b"):
        (tmp_path / "kernels" / "x.cu").write_text(text)
        digests.add(on_gpu.sources())
    assert len(digests) == 2


def test_the_files_of_tests_are_there():
    folder, slow = on_gpu.TESTS
    file, k, name = on_gpu.KERNEL_TESTS
    assert (on_gpu.ROOT / folder).is_dir()
    assert (slow, k) == ("--slow", "-k")
    assert name in (on_gpu.ROOT / file).read_text()
