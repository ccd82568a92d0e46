"""The examples run, reach their figure and save the picture, where they draw one."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gputensor.datasets import mnist
from gputensor.torchvision import datasets

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name, tmp_path, *options):
    file = tmp_path / "picture.png"
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), "--out", str(file), *options],
        env=os.environ | {"GPUTENSOR_DEVICE": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert file.read_bytes().startswith(b"\x89PNG")
    return done.stdout


@pytest.mark.cpu
def test_phase_retrieval_finds_the_image(tmp_path):
    out = run("phase_retrieval.py", tmp_path, "--size", "24", "--masks", "12", "--steps", "150")
    assert float(re.findall(r"relative error (\S+)", out)[-1]) < 1e-4


@pytest.mark.cpu
def test_the_gaussian_process_learns_to_forecast(tmp_path):
    out = run("gaussian_process.py", tmp_path, "--steps", "80")
    first, *_, last = map(float, re.findall(r"log marginal likelihood (\S+)", out))
    assert last > first + 50
    (before, after), *_ = re.findall(r"forecast: (\S+) before the fit, (\S+) after", out)
    assert float(after) < 0.5 * float(before)
    assert re.search(r"its period: 1\.1 -> (1\.0|0\.99)", out)


@pytest.mark.cpu
def test_newton_by_products_with_the_hessian(tmp_path):
    out = run("newton_hvp.py", tmp_path)
    steps, place = re.search(r"Newton: (\d+) steps to \[(.*)\]", out).groups()
    assert int(steps) < 40
    np.testing.assert_allclose([float(v) for v in place.split(",")], [1, 1], atol=1e-6)


@pytest.mark.cpu
def test_logistic_regression_converges(tmp_path):
    out = run("logistic_regression.py", tmp_path, "--points", "300")
    assert "A tolerance was met" in out
    assert float(re.search(r"accuracy on the data: (\S+)%", out)[1]) > 85


def pictures(count, seed=4):
    """Digits' stand-ins: noise with one of ten places inked."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    images = rng.integers(0, 60, (count, 28, 28), dtype=np.uint8)
    images[np.arange(count), 2 * labels + 3, 10:18] = 255
    return images, labels


@pytest.fixture
def in_process(monkeypatch, tmp_path, capsys):
    """Runs an example with stand-ins for the digits, and options; gives what it printed."""

    def load_data():
        return pictures(1500), pictures(300, seed=5)

    monkeypatch.setattr(mnist, "load_data", load_data)
    monkeypatch.setattr(datasets.MNIST, "_load", staticmethod(load_data))

    def call(name, *options, picture=True):
        file = tmp_path / "picture.png"
        given = [*options, *(["--out", str(file)] if picture else [])]
        monkeypatch.setattr(sys, "argv", [name, *given])
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.main()
        printed = capsys.readouterr().out
        if picture:
            assert file.read_bytes().startswith(b"\x89PNG")
            assert printed.endswith(f"Picture: {file}\n")
        return printed

    return call


def test_the_dense_network_learns(in_process):
    out = in_process("mnist_dense", "--epochs", "3", picture=False)
    assert float(re.search(r"Test accuracy: (\S+)%", out)[1]) > 95


def test_the_convolutional_network_learns(in_process):
    out = in_process("mnist_convolutional", "--epochs", "3", "--images", "600")
    losses = [float(loss) for loss in re.findall(r" loss (\S+)", out)]
    assert losses[-1] < losses[0]  # its shifts mix up the stand-ins' places
    assert re.search(r"Test accuracy: \S+%", out)


def test_the_autoencoder_learns_to_copy(in_process):
    out = in_process("autoencoder", "--epochs", "6")
    losses = [float(loss) for loss in re.findall(r"val_loss (\S+)", out)]
    assert losses[-1] < losses[0]
    assert float(re.search(r"test digits: (\S+)", out)[1]) < 0.03


def test_generator_and_discriminator_train(in_process):
    out = in_process("gan", "--epochs", "2", "--images", "600")
    numbers = [float(n) for n in re.findall(r"(?:discriminator|generator) (\S+?),?$", out, re.M)]
    assert len(numbers) == 2
    assert all(0 < n < 5 for n in numbers)


def test_frozen_layers_help_with_few_images(in_process):
    out = in_process("transfer", "--few", "100", "--epochs", "2")
    counts = [int(n.replace(",", "")) for n in re.findall(r"(\S+) numbers are trained", out)]
    assert counts[0] == counts[2] == counts[1] + 4800  # those of the frozen convolutions
    assert float(re.search(r"layers frozen after 0 to 4: (\S+)%", out)[1]) > 20


@pytest.mark.cpu  # minutes on the stand-in for CuPy
def test_the_transformer_learns_and_writes(in_process):
    out = in_process("character_transformer", "--steps", "20", "--write", "5", "--batch-size", "8")
    tests = [float(loss) for loss in re.findall(r"test (\S+)", out)]
    assert tests[-1] < tests[0] - 0.5
    assert "def " in out


def test_the_hand_written_loop_learns(monkeypatch, capsys):
    """On pictures of ten places that are inked."""
    monkeypatch.setattr(mnist, "load_data", lambda: (pictures(1500), pictures(300, seed=5)))
    spec = importlib.util.spec_from_file_location("train_loop", EXAMPLES / "train_loop.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main(samples=1500, epochs=3, batch_size=128) > 0.95
    assert "epoch 3" in capsys.readouterr().out


@pytest.mark.cpu
@pytest.mark.peers
def test_gradients_cross_the_border_to_pytorch_and_back(capsys):
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("across", EXAMPLES / "across_libraries.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert max(module.main()) < 1e-6
    losses = re.findall(r"loss (\S+) -> (\S+)", capsys.readouterr().out)
    assert len(losses) == 2
    assert all(float(after) < float(before) for before, after in losses)
