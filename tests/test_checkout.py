"""The package as a checkout has it, not installed, and as an installation has it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.cpu
ROOT = Path(__file__).parents[1]
CODE = """
import json
import gputensor as gt, gputensor.benchmarks, gputensor.kernels
total = gt.sum(gt.nn.functional.dense(gt.ones((2, 3)), gt.ones((3, 2)), gt.ones(2))).item()
files = [gt.__file__, gt.kernels.__file__, gt.benchmarks.__file__]
print(json.dumps([total, files, list(gt.__path__)]))
"""


@pytest.mark.parametrize("installed", [False, True])
def test_kernels_and_benchmarks_are_found_beside_or_inside_the_package(tmp_path, installed):
    package, inside = tmp_path / "gputensor", tmp_path / "gputensor" if installed else tmp_path
    places = {"gputensor": package, "kernels": inside / "kernels"}
    places["benchmarks"] = inside / "benchmarks"
    for name, place in places.items():
        ignored = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(ROOT / name, place, ignore=ignored)
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "GPUTENSOR_DEVICE": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    total, files, path = json.loads(done.stdout)
    assert total == 16
    assert files == [str(place / "__init__.py") for place in places.values()]
    assert path == ([str(package)] if installed else [str(package), str(tmp_path)])
