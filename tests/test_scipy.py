"""SciPy's functions with tensors, with and without SCIPY_ARRAY_API: what docs/scipy.md says."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy

import gputensor as gt

HERE = Path(__file__).parent
PAGE = (HERE.parent / "docs" / "scipy.md").read_text(encoding="utf-8")
CURRENT = tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 17)
of_this_version = pytest.mark.skipif(not CURRENT, reason="the page is about SciPy 1.17")


def environment(switch):
    kept = {k: v for k, v in os.environ.items() if k != "SCIPY_ARRAY_API"}
    return kept | {"GPUTENSOR_DEVICE": "cpu"} | ({"SCIPY_ARRAY_API": "1"} if switch else {})


def run(code_or_file, switch):
    done = subprocess.run(
        [sys.executable, *code_or_file], env=environment(switch), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def promised():
    """What the page says of each function: without the switch, and with it."""
    found = {}
    for line in PAGE.splitlines():
        module, names, *answers = (
            (cell.strip() for cell in line.strip("| ").split("|"))
            if (line.startswith("| `"))
            else ("", "")
        )
        for name in re.findall(r"`([^`]+)`", names):
            found[f"{module.strip('`')}.{name}"] = answers or ["no", "no"]
    return found


@pytest.mark.cpu
@of_this_version
@pytest.mark.parametrize("switch", [False, True])
def test_the_page_says_what_functions_do(switch):
    found = json.loads(run([str(HERE / "scipy_cases.py")], switch))
    page = {name: answers[switch] for name, answers in promised().items()}
    assert page == {name: {"keeps": "yes", "refuses": "no"}[o] for name, o in found.items()}


def test_the_page_names_many():
    answers = list(promised().values())
    assert len(answers) > 120
    assert {tuple(a) for a in answers} == {("yes", "yes"), ("no", "yes"), ("no", "no")}


@pytest.mark.cpu
@of_this_version
def test_functions_of_compiled_code_give_tensors_back():
    code = """
import numpy as np, scipy.signal, scipy.ndimage, scipy.interpolate
import gputensor as gt
b, a, at = np.array([1, 0.5]), np.array([1, 0.3]), np.linspace(0, 1, 20)
calls = {
    "lfilter": lambda c: scipy.signal.lfilter(c(b), c(a), c(at)),
    "lfilter_zi": lambda c: scipy.signal.lfilter_zi(c(b), c(a)),
    "deconvolve": lambda c: scipy.signal.deconvolve(c(np.array([1.0, 3, 3, 1])), c(b))[0],
    "group_delay": lambda c: scipy.signal.group_delay((c(b), c(a)), w=8)[1],
    "edt": lambda c: scipy.ndimage.distance_transform_edt(c(np.eye(4))),
    "spline": lambda c: scipy.interpolate.CubicSpline(c(at), c(at**2))(c(at)),
    "pchip": lambda c: scipy.interpolate.PchipInterpolator(c(at), c(at**2))(c(at)),
    "grid": lambda c: scipy.interpolate.RegularGridInterpolator((c(at),), c(at**2))(c(at[:, None])),
}
for name, call in calls.items():
    found = call(gt.asarray)
    assert isinstance(found, gt.Tensor), name
    np.testing.assert_allclose(found.numpy(), call(np.asarray), err_msg=name)
"""
    run(["-c", code], True)


def test_special_functions_have_scipys_names():
    special = pytest.importorskip("scipy.special")
    x = gt.tensor([0.2, 0.5], dtype="float64")
    for name in gt.special.__all__:
        ours, theirs = getattr(gt.special, name), getattr(special, name, None)
        if theirs is None:  # SciPy has softplus since 1.16
            assert name == "softplus"
            continue
        args = (1,) if name == "polygamma" else ()
        np.testing.assert_allclose(
            ours(*args, x).cpu().numpy(), theirs(*args, np.array([0.2, 0.5])), rtol=1e-6
        )
