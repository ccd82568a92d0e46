"""benchmarks/on_gpu.py, with stand-ins for GPU and compute-sanitizer: no success without proof."""

import json
import os
import sys
from pathlib import Path

import pytest

import standin
from conftest import forget_cupy
from gputensor.benchmarks import on_gpu

pytestmark = pytest.mark.standin
SITE = Path(__file__).parent / "standin" / "site"

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


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Run steps with small tests; their record and the exit status."""
    if standin.host_compiler() is None:
        pytest.skip("no C++ compiler to run the CUDA sources with")
    for name, first in (("PYTHONPATH", SITE), ("PATH", tmp_path / "bin")):
        monkeypatch.setenv(name, os.pathsep.join([str(first), os.environ.get(name, "")]))
    monkeypatch.setenv("GPUTENSOR_DEVICE", "auto")
    monkeypatch.setattr(on_gpu, "TESTS", ("tests/test_autograd.py", "-k", "accumulate"))
    monkeypatch.setattr(on_gpu, "KERNEL_TESTS", ("tests/test_device.py", "-k", "test_sgd"))
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


def test_what_passes_is_in_one_file(results, monkeypatch, capfd):
    asked = ("tests", "memcheck", "racecheck", "overhead")
    record, code = results(*asked, "--repeats=2", "--compare=numpy")
    steps = record["steps"]
    assert code == 0
    assert {n: s["status"] for n, s in steps.items()} == {
        n: "passed" if n in asked else "not run" for n in on_gpu.STEPS
    }
    assert record["machine"]["gpu"] == "NumPy stand-in"
    assert {"CUDA driver", "versions"} <= set(record["machine"])
    assert steps["tests"]["tests"]["passed"] > 0
    assert steps["memcheck"]["tests"] == {"passed": 3}
    assert steps["memcheck"]["summary"] == "ERROR SUMMARY: 0 errors"
    assert steps["racecheck"]["summary"] == "RACECHECK SUMMARY: 0 hazards displayed"
    assert "gputensor" in steps["overhead"]["record"]["results"]
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("initcheck")] == [
        ["initcheck", "not"]
    ]
    # What another call finds is added, as long as the sources are the same.
    record, code = results("initcheck")
    assert record["steps"]["tests"] == steps["tests"]
    assert record["steps"]["initcheck"]["status"] == "passed"
    monkeypatch.setattr(on_gpu, "sources", lambda: "others")
    record, code = results("initcheck")
    assert record["steps"]["tests"] == {"status": "not run"}


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
    path = tmp_path / "test_it.py"
    path.write_text(f"import os, pytest\n@pytest.mark.gpu\ndef test_it():\n    {body}\n")
    monkeypatch.setattr(on_gpu, "TESTS", (str(path),))
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
    for name in (*on_gpu.TESTS, *on_gpu.KERNEL_TESTS):
        assert (on_gpu.ROOT / name).exists()
