"""A wheel and a source archive hold what is needed: they work where the repository is not."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.cpu,
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("setuptools") is None, reason="setuptools is not installed"
    ),
]

SMOKE = """
import sys
from pathlib import Path

import numpy as np

import gputensor as gt
import gputensor.torch as torch
from gputensor import standin
from gputensor.cli import main
from gputensor.keras.layers import Dense
from gputensor.keras.models import Sequential, load_model

here = Path(gt.__file__).parent
assert str(here).startswith(sys.argv[1]), here
assert list((here / "kernels").glob("*.cu")) and (here / "kernels" / "common.cuh").exists()
assert (here / "py.typed").exists()

x = gt.tensor([1.0, 2.0], requires_grad=True)
(gt.sin(x) ** 2).sum().backward()
assert np.allclose(x.grad, np.sin([2.0, 4.0]))
assert float(gt.capture(lambda x: (x * x).sum())(gt.ones(3)).item()) == 3
assert torch.zeros(2, 3).size() == (2, 3)

gt.manual_seed(0)
rng = np.random.default_rng(0)
points = rng.normal(size=(128, 2)).astype("f")
labels = (points[:, 0] > 0).astype(int)
model = Sequential([Dense(8, activation="relu", input_shape=(2,)), Dense(2, "softmax")])
adam = gt.keras.optimizers.Adam(0.02)
model.compile(adam, "sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(points, labels, epochs=20, batch_size=16, verbose=0)
assert history.history["accuracy"][-1] > 0.8
model.save("model.keras")
assert np.array_equal(load_model("model.keras").predict(points), model.predict(points))
gt.plot.curves(history).savefig("training.png")
report = gt.kernels.check(gt.kernels.row_softmax, points)
ran = any("on the CPU; threads" in text for text in report.checked)
assert ran == (standin.host_compiler() is not None), report
assert main(["new-kernel", "mine"]) == 0 and main(["check", "mine.py"]) == 0
print("all good", gt.__version__)
"""


def run(*command, cwd, **environment):
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source, kind, folder):
    folder.mkdir(exist_ok=True)
    code = f"from setuptools import build_meta as b; b.build_{kind}({str(folder)!r})"
    run(sys.executable, "-c", code, cwd=source)
    (file,) = folder.iterdir()
    return file


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """What is under version control, and would be, without what was built in its place."""
    place = tmp_path_factory.mktemp("source") / "gputensor"
    left_out = shutil.ignore_patterns(
        *("__pycache__", "*.egg-info", "build", "dist", "_build", "generated", ".git", ".*_cache"),
        *("shared", ".hypothesis", "out"),
    )
    shutil.copytree(ROOT, place, ignore=left_out)
    return place


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_what_is_released_works_without_the_repository(source, tmp_path, kind):
    file = build(source, kind, tmp_path / "dist")
    if kind == "sdist":
        with tarfile.open(file) as archive:
            archive.extractall(tmp_path / "unpacked", filter="data")
        (unpacked,) = (tmp_path / "unpacked").iterdir()
        assert (unpacked / "LICENSE").exists()
        assert (unpacked / "README.md").exists()
        file = build(unpacked, "wheel", tmp_path / "wheel")
    place = tmp_path / "installed"
    shutil.unpack_archive(file, place, "zip")  # which is all that pip does of a pure wheel
    code = tmp_path / "smoke.py"
    code.write_text(SMOKE, "utf-8")
    out = run(
        *(sys.executable, "-P", str(code), str(place)),
        cwd=tmp_path,
        PYTHONPATH=str(place),
        GPUTENSOR_DEVICE="cpu",
    )
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert out.splitlines()[-1] == f"all good {version}"


def test_every_file_that_names_the_version_names_the_same():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f'__version__ = "{version}"' in (ROOT / "gputensor" / "__init__.py").read_text("utf-8")
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
