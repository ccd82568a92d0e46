"""The examples that draw a picture run, reach their figure and save the picture."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
