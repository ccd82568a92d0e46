"""The command line, run as a user runs it."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import gputensor
from gputensor import cli, doctor, recipes
from gputensor.backend.devices import CudaStatus


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
    assert done.returncode == 1, done.stderr
    assert "new tensors go to:       nowhere: " in done.stdout
    assert "mend: GPUTENSOR_DEVICE=cpu" in done.stdout


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"GPUTENSOR_THREADS": "foo"}, "mend: unset GPUTENSOR_THREADS"),
        ({"GPUTENSOR_KERNELS": "quick"}, "allowed are 'auto'"),
        ({"GPUTENSOR_CACHE": __file__}, "cannot be written to: "),
    ],
)
def test_doctor_names_each_problem_and_what_mends_it(setting, said):
    done = run("doctor", **setting)
    assert done.returncode == 1
    assert done.stderr == ""
    assert said in done.stdout
    assert done.stdout.count("mend: ") == 1
    assert done.stdout.splitlines()[-1].split() == ["problems:", "1"]


@pytest.mark.cpu
def test_doctor_says_which_package_makes_use_of_a_driver(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_driver_cuda", lambda: 12040)
    monkeypatch.setattr(
        doctor.backend, "cuda_status", lambda: CudaStatus(False, "CuPy is not installed", 0)
    )
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    assert doctor.doctor() == 1
    assert 'mend: python -m pip install "cupy-cuda12x"' in capsys.readouterr().out


@pytest.mark.cpu
def test_doctor_measures_the_caches(monkeypatch, tmp_path, capsys):
    for name, size in (("own/loops/x.nbi", 1500), ("own/mnist.npz", 700), ("cupy/a.cubin", 2000)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"0" * size)
    monkeypatch.setenv("GPUTENSOR_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "cupy"))
    doctor.doctor()
    lines = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["data sets"].strip() == "700 B"
    assert lines["compiled loops"].strip() == "1.5 kB"
    assert lines["CuPy's kernels"].strip() == f"2.0 kB in {tmp_path / 'cupy'}"


@pytest.mark.cpu
def test_doctor_hints_at_a_name_that_nothing_reads():
    done = run("doctor", GPUTENSOR_DEVCIE="cuda")
    assert done.returncode == 0
    assert "hint: unset GPUTENSOR_DEVCIE" in done.stdout


@pytest.mark.cpu
def test_doctor_outlives_what_it_looks_at(monkeypatch, capsys):
    def broken():
        raise RuntimeError("torn")

    monkeypatch.setattr(doctor, "_version", lambda module: broken())
    assert doctor.doctor() == 1
    assert "cannot be found out, RuntimeError: torn" in capsys.readouterr().out


@pytest.mark.cpu
def test_a_bad_setting_is_an_error_of_the_command_line():
    done = run("bench", "overhead", GPUTENSOR_THREADS="foo")
    assert done.returncode == 2
    assert "GPUTENSOR_THREADS is 'foo'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.cpu
def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["--version"])
    assert done.value.code == 0
    assert capsys.readouterr().out == f"gputensor {gputensor.__version__}\n"


@pytest.mark.cpu
@pytest.mark.parametrize("command", sorted(cli._COMMANDS))
def test_each_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as done:
        cli.main([command, "--help"])
    assert done.value.code == 0
    assert command in capsys.readouterr().out


def small_digits():
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(10, dtype=np.uint8), 30)
    images = rng.integers(0, 60, (300, 8, 8), dtype=np.uint8)
    images[np.arange(300), labels % 8, labels // 2] = 255
    return (images[:200], labels[:200]), (images[200:], labels[200:])


@pytest.mark.cpu
@pytest.mark.parametrize("model", sorted(recipes.MODELS))
def test_train_learns_saves_a_picture_and_goes_on(model, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(recipes.DATA, "digits", small_digits)
    plot = tmp_path / "curves.png"
    command = ["train", "digits", "--model", model, "--batch-size", "20", "--device", "cpu"]
    command += ["--resume", str(tmp_path / "run"), "--plot", str(plot), "--epochs"]
    assert cli.main([*command, "4"]) == 0
    out = capsys.readouterr().out
    assert "Epoch 4/4" in out
    assert float(out.split("Test accuracy: ")[1].split("%")[0]) > 60
    assert max(map(len, out.splitlines())) <= 80 or str(plot) in out
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert cli.main([*command, "5"]) == 0
    out = capsys.readouterr().out
    assert "Epoch 5/5" in out
    assert "Epoch 4/" not in out


@pytest.mark.cpu
def test_train_without_its_data_is_an_error_of_one_line(monkeypatch, capsys):
    monkeypatch.setattr(recipes.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["train", "digits", "--device", "cpu"]) == 1
    assert "python -m pip install scikit-learn" in capsys.readouterr().err


@pytest.mark.cpu
@pytest.mark.parametrize("resume", [[], ["--resume", "run"]])
def test_an_interrupted_training_says_how_to_go_on(resume, monkeypatch, tmp_path, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(recipes.DATA, "digits", interrupted)
    assert cli.main(["train", "digits", *resume]) == 130
    said = capsys.readouterr().err
    assert "the same command goes on" in said
    assert ("--resume DIR" in said) == (not resume)


@pytest.mark.cpu
@pytest.mark.skipif(os.name == "nt", reason="Windows knows no signals")
@pytest.mark.parametrize("module", ["gputensor.optim", "gputensor.doctor"])
def test_ctrl_c_leaves_no_traceback_while_the_command_imports(module, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(f"""
import signal, sys

class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored behind a shell's &
""")
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = run("doctor", PYTHONPATH=paths)
    assert done.returncode in (-signal.SIGINT, 130)
    assert "Traceback" not in done.stderr


@pytest.mark.cpu
def test_the_cache_is_listed_measured_and_cleared_and_nothing_else_is(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("GPUTENSOR_CACHE", str(tmp_path))
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "x.so").write_bytes(b"0" * 300)
    (tmp_path / "loops" / "a").mkdir(parents=True)
    (tmp_path / "loops" / "a" / "x.nbi").write_bytes(b"0" * 1500)
    (tmp_path / "mnist.npz").write_bytes(b"0" * 500)
    (tmp_path / "thesis.tex").write_bytes(b"0" * 7)
    assert cli.main(["cache", "size"]) == 0
    assert capsys.readouterr().out == "2.3 kB\n"
    assert cli.main(["cache"]) == 0
    listed = capsys.readouterr().out
    assert "mnist.npz" in listed
    assert "thesis" not in listed
    assert cli.main(["cache", "clear", "loops"]) == 0
    assert cli.main(["cache", "clear", "kernels"]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mnist.npz", "thesis.tex"]
    assert cli.main(["cache", "clear"]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.cpu
def test_explain_shows_what_a_function_of_a_file_becomes(tmp_path, capsys):
    file = tmp_path / "model.py"
    file.write_text("import gputensor as gt\n\ndef step(x, k):\n    return (gt.exp(x) * k).sum()\n")
    assert cli.main(["explain", f"{file}:step", "8x3", "()", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "step" in out
    assert "model.py:4" in out
    for given, said in (
        ([f"{file}:stop"], "has no function 'stop'; it has step"),
        ([f"{file}x:step"], "there is no file"),
        ([f"{file}:step", "8,3"], "'8,3' is no shape; write 32x784"),
        ([f"{file}:step", "8x3"], "step(x, k): missing a required argument: 'k'; give a SHAPE"),
    ):
        with pytest.raises(SystemExit):
            cli.main(["explain", *given])
        assert said in capsys.readouterr().err


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
    assert done.stderr.startswith("bench overhead: cost of the tape")


@pytest.mark.cpu
@pytest.mark.skipif(os.name != "posix", reason="is about pipes as POSIX has them")
def test_a_reader_that_has_seen_enough_is_no_error():
    command = [sys.executable, "-m", "gputensor", "doctor"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.cpu
@pytest.mark.peers  # the digits are scikit-learn's
@pytest.mark.skipif(os.name != "posix", reason="sends Ctrl-C as POSIX has it")
@pytest.mark.parametrize("resume", [False, True])
def test_ctrl_c_ends_a_training_without_a_traceback(resume, tmp_path):
    pytest.importorskip("sklearn")
    command = [sys.executable, "-u", "-m", "gputensor", "train", "digits", "--device", "cpu"]
    command += ["--epochs", "100000"] + ["--resume", str(tmp_path / "run")] * resume
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background of a shell, they ignore Ctrl-C, and so would it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        for line in process.stdout:
            if line.startswith("Epoch 2/"):
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "the same command goes on" in err
    assert ("is saved" in out) == resume
