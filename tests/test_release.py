"""A wheel and a source archive hold what is needed: they work where the repository is not."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
pytestmark = pytest.mark.cpu


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


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("setuptools") is None, reason="setuptools is not installed"
)
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_what_is_released_works_without_the_repository(source, tmp_path, kind):
    file = build(source, kind, tmp_path / "dist")
    if kind == "sdist":
        with tarfile.open(file) as archive:
            archive.extractall(tmp_path / "unpacked", filter="data")
        (unpacked,) = (tmp_path / "unpacked").iterdir()
        for name in ("LICENSE", "CHANGELOG.md", "tests/conftest.py", "examples/keras_script.py"):
            assert (unpacked / name).exists(), name
        file = build(unpacked, "wheel", tmp_path / "wheel")
    place = tmp_path / "installed"
    shutil.unpack_archive(file, place, "zip")  # which is all that pip does of a pure wheel
    out = run(
        *(sys.executable, "-P", str(ROOT / "tests" / "smoke.py"), str(place)),
        cwd=tmp_path,
        PYTHONPATH=str(place),
        GPUTENSOR_DEVICE="cpu",
    )
    assert out.splitlines()[-1] == f"all good {VERSION}"


def test_every_file_that_names_the_version_names_the_same():
    assert f"version: {VERSION}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f'__version__ = "{VERSION}"' in (ROOT / "gputensor" / "__init__.py").read_text("utf-8")
    assert f"## {VERSION} (" in (ROOT / "CHANGELOG.md").read_text("utf-8")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no clone")
def test_a_commit_with_the_tag_of_a_version_is_that_version_with_its_date():
    tags = run("git", "tag", "--points-at", "HEAD", "--list", "v[0-9]*", cwd=ROOT).split()
    assert tags in ([], [f"v{VERSION}"])
    date = re.search(rf"^## {VERSION} \((.*)\)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    cited = re.search(r"^date-released: (.*)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.M)
    if tags or date[1] != "unreleased":
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", date[1])
        assert cited[1] == date[1]
    else:
        assert cited is None
