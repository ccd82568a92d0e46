"""docs/scipy.md is right: gradients through SciPy's functions, with and without its switch."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gputensor as gt

pytestmark = pytest.mark.cpu
PAGE = Path(__file__).parents[1] / "docs" / "scipy.md"
RNG = np.random.default_rng(2)

# Arguments, where a function takes others than one array; a result, where it has others.
CALLS = {
    "special.rel_entr": lambda f, x, y: f(x, y),
    "special.xlogy": lambda f, x, y: f(x, y),
    "fft.fht": lambda f, x, y: f(x, 0.1, 0.2),
    "fft.ifht": lambda f, x, y: f(x, 0.1, 0.2),
    "stats.entropy": lambda f, x, y: f(x, y),
    "stats.moment": lambda f, x, y: f(x, 3),
    "stats.pmean": lambda f, x, y: f(x, 2),
    "stats.quantile": lambda f, x, y: f(x, 0.3, axis=0),
    "stats.zmap": lambda f, x, y: f(x, y),
    "stats.directional_stats": lambda f, x, y: f(x).mean_direction,
    "integrate.cumulative_simpson": lambda f, x, y: f(x, axis=0),
    "integrate.cumulative_trapezoid": lambda f, x, y: f(x, axis=0),
    "integrate.tanhsinh": lambda f, x, y: f(sine_of(x), x[0] - 1, x[0]).integral,
    "integrate.trapezoid": lambda f, x, y: f(x, axis=0),
    "optimize.rosen_der": lambda f, x, y: f(x[:, 0]),
    "optimize.rosen_hess": lambda f, x, y: f(x[:, 0]),
    "optimize.rosen_hess_prod": lambda f, x, y: f(x[:, 0], y[:, 0]),
    "signal.envelope": lambda f, x, y: f(x, axis=0),
    "signal.fftconvolve": lambda f, x, y: f(x, y),
    "signal.freqz": lambda f, x, y: f(x[:, 0], 8)[1],
    "signal.oaconvolve": lambda f, x, y: f(x[:, 0], y[:2, 0]),
    "signal.resample": lambda f, x, y: f(x, 5, axis=0),
    "signal.vectorstrength": lambda f, x, y: f(x[:, 0], 2.0),
    "differentiate.derivative": lambda f, x, y: f(sine_of(x), x[0]).df,
}
SWITCHES = {"without": "Without the switch", "with": "With `SCIPY_ARRAY_API=1`"}


def sine_of(x):
    return gt.sin if isinstance(x, gt.Tensor) else np.sin


def names(switch):
    """Functions that the page lists, as module and name."""
    section = PAGE.read_text().partition(f"## {SWITCHES[switch]}\n")[2].partition("\n## ")[0]
    for module, listed in re.findall(r"^- `scipy\.([\w.]+)`: ((?:.|\n  )*)", section, re.MULTILINE):
        for name in re.findall(r"`(\w+)`", listed):
            yield module, name


def floats(out):
    """The floating point and complex results of a function."""
    if isinstance(out, (gt.Tensor, np.ndarray, np.generic)):
        return [out] if out.dtype.kind in "fc" else []
    parts = out if isinstance(out, tuple) else vars(out).values()
    return [x for part in parts if not isinstance(part, (int, str)) for x in floats(part)]


def total(call, *arrays):
    """A real number that depends on all results."""
    found = gt.sum(arrays[0]) * 0
    for out in floats(call(*arrays)):
        for part in (gt.real(out), gt.imag(out)) if out.dtype.kind == "c" else (out,):
            found = found + gt.sum(part * np.cos(np.arange(part.size) + 0.5).reshape(part.shape))
    return found


def check(switch):
    """Run in a process of its own, as SciPy reads the switch once."""
    import importlib

    x, y = (RNG.uniform(0.1, 0.9, (5, 2)) for _ in range(2))
    for module, name in names(switch):
        function = getattr(importlib.import_module(f"scipy.{module}"), name)
        usual = CALLS.get(f"{module}.{name}", lambda f, x, y: f(x))
        call = functools.partial(usual, function)
        leaves = [gt.tensor(a, requires_grad=True) for a in (x, y)]
        found, wanted = floats(call(*leaves)), floats(call(x, y))
        assert any(out.requires_grad for out in found), name
        for a, b in zip(found, wanted, strict=True):
            np.testing.assert_allclose(a.detach().numpy(), b, rtol=1e-7, atol=1e-9, err_msg=name)
        try:
            assert gt.gradcheck(functools.partial(total, call), *leaves)
        except gt.errors.GradcheckError as error:
            raise AssertionError(f"{module}.{name}") from error


@pytest.mark.parametrize("switch", SWITCHES)
def test_gradients_come_through_what_the_page_lists(switch):
    pytest.importorskip("scipy", minversion="1.17")
    environment = {k: v for k, v in os.environ.items() if k != "SCIPY_ARRAY_API"}
    environment |= {"SCIPY_ARRAY_API": "1"} if switch == "with" else {}
    code = (
        "import gputensor as gt; gt.set_default_dtype('float64'); import test_scipy; "
        f"test_scipy.check({switch!r})"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=Path(__file__).parent,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_page_lists_each_function_once():
    for switch, least in (("without", 15), ("with", 75)):
        listed = list(names(switch))
        assert len(set(listed)) == len(listed) > least
