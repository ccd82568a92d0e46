"""CPU loops: their mathematics, their cache, their threads."""

import errno
import math
import os
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl
from scipy import special

from gputensor.kernels import Loop, cpu_math, runtime

exp, erf = cpu_math.exp, cpu_math.erf


@Loop
def exps(x, out):
    for i in range(out.size):
        out[i] = exp(x[i])


@Loop
def erfs(x, out):
    for i in range(out.size):
        out[i] = erf(x[i])


@Loop.exact
def scaled(x, out, y, z):
    for i in range(out.size):
        out[i] = x[i] * y + z


def units(found, expected):
    """Largest error in units of the last place of the result, subnormal ones too."""
    rounded = expected.astype(found.dtype)
    spacing = np.spacing(np.abs(rounded)).astype(float)
    finite = np.isfinite(rounded)
    assert np.array_equal(found[~finite], rounded[~finite], equal_nan=True)
    return np.max(np.abs(found.astype(float)[finite] - expected[finite]) / spacing[finite])


SPECIAL = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, -1e-40, 1e-30]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exp_is_exact_to_rounding(dtype):
    limit = 105 if dtype == np.float32 else 750
    x = np.r_[np.linspace(-limit, limit, 1_000_001), SPECIAL].astype(dtype)
    out = np.empty_like(x)
    exps(x, out)
    with np.errstate(over="ignore"):
        expected = np.exp(x.astype(np.longdouble)).astype(float)
        assert units(out, expected) < 1.1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_erf_is_exact_to_a_few_units(dtype):
    x = np.r_[np.linspace(-6, 6, 1_000_001), SPECIAL].astype(dtype)
    out = np.empty_like(x)
    erfs(x, out)
    assert units(out, special.erf(x.astype(float))) <= 3
    assert np.abs(out[np.isfinite(out)]).max() <= 1


def test_an_exact_loop_rounds_twice():
    x = np.random.default_rng(1).normal(size=10_000).astype(np.float32)
    y, z, out = np.float32(1.1), np.float32(-0.3), np.empty_like(x)
    scaled(x, out, y, z)
    np.testing.assert_array_equal(out, (x * y).astype(np.float32) + z)


USE = """
import numpy as np
from gputensor.kernels import bias_activation
loop = __import__("sys").modules["gputensor.kernels.bias_activation"]._relu_loop
x = np.ones((3, 4), np.float32)
bias_activation.raw(x, x[0], kind="relu")
stats = loop._compiled.stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


def cached(**environment):
    command = [sys.executable, "-c", USE]
    env = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"} | environment
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split()]


def test_loops_are_compiled_once_and_kept_in_the_users_folder(tmp_path):
    package = Path(runtime.__file__).parent
    before = set(package.rglob("*.nb?"))
    assert cached(GPUTENSOR_CACHE=str(tmp_path)) == [0, 1]
    assert cached(GPUTENSOR_CACHE=str(tmp_path)) == [1, 0]
    assert list(tmp_path.rglob("*_relu_loop*.nbc"))
    assert set(package.rglob("*.nb?")) == before  # the package's folder may be read-only
    other = tmp_path / "numba"
    assert cached(GPUTENSOR_CACHE=str(tmp_path), NUMBA_CACHE_DIR=str(other)) == [0, 1]
    assert list(other.rglob("*_relu_loop*.nbc"))


def test_numbas_own_folder_is_left_alone():
    import numba

    before = numba.config.CACHE_DIR
    scaled(np.ones(3), np.empty(3), 1.0, 2.0)
    assert before == numba.config.CACHE_DIR


def test_loops_work_where_nothing_can_be_cached(monkeypatch):
    import numba

    compile_it = numba.njit

    def njit(**options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return compile_it(**options)

    monkeypatch.setattr(numba, "njit", njit)
    loop = Loop(exps._function)
    out = np.empty(2)
    loop(np.array([0.0, 1.0]), out)
    np.testing.assert_allclose(out, [1, math.e])


def test_files_of_the_cache_may_be_damaged(tmp_path):
    assert cached(GPUTENSOR_CACHE=str(tmp_path)) == [0, 1]
    for kind in ("nbi", "nbc"):
        (file,) = tmp_path.rglob(f"*_relu_loop*.{kind}")
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        hits, misses = cached(GPUTENSOR_CACHE=str(tmp_path))
        assert (hits, misses) == (0, 1)
        cached(GPUTENSOR_CACHE=str(tmp_path))
        assert cached(GPUTENSOR_CACHE=str(tmp_path)) == [1, 0]  # it is whole again


def test_the_disk_of_the_cache_may_be_full(tmp_path, monkeypatch):
    from numba.core import caching

    def write(self, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("GPUTENSOR_CACHE", str(tmp_path))
    monkeypatch.setattr(caching.IndexDataCacheFile, "_open_for_write", write)
    loop = Loop(exps._function)
    out = np.empty(2)
    for dtype in (np.float64, np.float32):
        loop(np.array([0.0, 1.0], dtype), out)
        np.testing.assert_allclose(out, [1, math.e], rtol=1e-6)


@pytest.fixture(params=["native", "python"])
def three(request, monkeypatch):
    """Three threads, of the pool and of Python."""
    monkeypatch.setattr(runtime, "_threads", lambda: 3)
    if request.param == "native" and not runtime.is_native():
        pytest.skip("there is no pool on this system")
    if request.param == "python":
        monkeypatch.setattr(runtime, "is_native", lambda: False)
        monkeypatch.setattr(runtime, "_ASLEEP", 1)
    runtime._pool.cache_clear()
    yield
    runtime._pool.cache_clear()


@Loop
def refuse(start, stop, x, largest):
    for i in range(start, stop):
        if x[i] > largest:
            raise ValueError("too large")


@pytest.mark.parametrize("at", [0, 50, 99])
def test_an_exception_of_a_part_is_raised(three, at):
    x = np.zeros(100)
    x[at] = 5
    for _ in range(2):
        with pytest.raises(ValueError, match="too large"):
            runtime.split(refuse, 100, 1, x, 3.0)
    runtime.split(refuse, 100, 1, x, 5.0)


def test_wrong_arguments_do_not_cost_a_loop_its_threads():
    if not runtime.is_native():
        pytest.skip("there is no pool on this system")

    @Loop
    def add(start, stop, x):
        for i in range(start, stop):
            x[i] += 1

    with pytest.raises(Exception, match="nopython"):
        add.in_parts(10, 2, None)
    x = np.zeros(10)
    add.in_parts(10, 2, x)
    assert add._launch(10, 2, (x,)) == 1
    assert (x == 2).all()


def _scale(factor):
    @Loop
    def scale(start, stop, x):
        for i in range(start, stop):
            x[i] *= factor

    return scale


def test_closures_of_one_place_are_told_apart(three):
    for factor in (3.0, 0.5, 3.0):
        x = np.ones(90)
        runtime.split(_scale(factor), 90, 1, x)
        assert (x == factor).all()


@pytest.mark.parametrize("grain", [0, -1])
def test_a_grain_is_one_or_more(grain):
    with pytest.raises(ValueError, match="grain is"):
        runtime.split(refuse, 10, grain, np.zeros(10), 1.0)


@Loop
def counted(start, stop, seen, lengths):
    for i in range(start, stop):
        seen[i] += 1
        lengths[i] = stop - start


@pytest.mark.parametrize("length", [1, 5, 6, 100])
def test_parts_cover_the_range_once(three, length):
    seen, lengths = np.zeros(length, int), np.zeros(length, int)
    runtime.split(counted, length, 3, seen, lengths)
    np.testing.assert_array_equal(seen, 1)
    assert lengths.min() >= min(3, length)
    assert lengths.max() < length or length < 6


@pytest.mark.parametrize("value", [True, None, np.float32(2.5), 7])
def test_a_loop_in_parts_takes_what_a_loop_takes(three, value):
    @Loop
    def filled(start, stop, out, value):
        for i in range(start, stop):
            out[i] = 0 if value is None else value

    out, whole = np.ones(90), np.ones(90)
    runtime.split(filled, 90, 30, out, value)
    filled(0, 90, whole, value)
    np.testing.assert_array_equal(out, whole)
    np.testing.assert_array_equal(out, 0 if value is None else value)
    runtime.split(filled, 45, 15, out[::-2], 9.0)  # with gaps, backwards
    np.testing.assert_array_equal(out[1::2], 9)
    assert (out[::2] == whole[::2]).all()


def test_a_loop_may_make_arrays(three):
    @Loop
    def totals(start, stop, x, out):
        row = np.empty(3)
        for i in range(start, stop):
            row[:] = x[i]
            out[i] = row.sum()

    x, out = np.arange(20.0), np.empty(20)
    runtime.split(totals, 20, 2, x, out)
    np.testing.assert_array_equal(out, 3 * x)


def test_what_numba_refuses_is_raised(three):
    import numba

    @Loop
    def wrong(start, stop, x):
        x.no_such_thing()

    for _ in range(2):
        with pytest.raises(numba.errors.TypingError, match="no_such_thing"):
            runtime.split(wrong, 10, 1, np.ones(10))
        with pytest.raises(numba.errors.TypingError, match="no_such_thing"):
            wrong(0, 10, np.ones(10))


def test_an_error_in_a_part_is_raised():
    def fail(start, stop):
        if start:
            raise ZeroDivisionError("in the second part")

    with pytest.raises(ZeroDivisionError, match="second"):
        runtime.spread(fail, [(0, 1), (1, 2)])


@Loop
def increased(start, stop, source, target):
    for i in range(start, stop):
        target[i] = source[i] + 1


def test_jobs_of_several_callers_do_not_mix(three):
    """Of those that come at once one has the threads, and the others do their work themselves."""

    def caller(k):
        x, out = np.full(5000, float(k)), np.empty(5000)
        for _ in range(300):
            runtime.split(increased, 5000, 100, x, out)
            runtime.split(increased, 5000, 100, out, x)
        return (x == k + 600).all()

    with ThreadPoolExecutor(4) as callers:
        assert all(callers.map(caller, range(4)))


def test_products_and_loops_share_the_threads(three):
    """From several callers, after a pause in which threads fall asleep, and with more of them."""
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-4, 5, (300, 300)).astype(np.float64) for _ in range(2))
    right = a.astype(int) @ b.astype(int)

    def caller(pause):
        x, out = np.zeros(3000), np.empty(3000)
        for k in range(40):
            if not np.array_equal(a @ b, right):
                return False
            runtime.split(increased, 3000, 100, x, out)
            x, out = out, x
            if k % 20 == 0:
                time.sleep(pause)
        return bool((x == 40).all())

    with ThreadPoolExecutor(3) as callers:
        assert all(callers.map(caller, [0.0, 0.01, 0.05]))
    with threadpoolctl.threadpool_limits(5):
        assert np.array_equal(a @ b, right)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_threads_of_its_own(three):
    x, out = np.ones(100), np.empty(100)
    a = np.ones((300, 300))
    runtime.split(increased, 100, 1, x, out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking a process with threads, ours and JAX's
        child = os.fork()
    if child == 0:
        runtime.split(increased, 100, 1, out, x)
        os._exit(0 if (x == 3).all() and (a @ a == 300).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_process_ends_while_threads_look_for_work():
    text = """
import numpy as np, gputensor as gt
@gt.kernels.Loop
def doubled(start, stop, x, out):
    for i in range(start, stop):
        out[i] = 2 * x[i]
x, out = np.ones(1000), np.empty(1000)
gt.kernels.split(doubled, 1000, 10, x, out)
print(out.sum(), (np.ones((500, 500)) @ np.ones((500, 500))).sum())
"""
    environment = os.environ | {"GPUTENSOR_THREADS": "4"}
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", text], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["2000.0", "125000000.0"]


def test_ctrl_c_waits_until_a_loop_is_compiled(monkeypatch):
    from numba.core.dispatcher import Dispatcher

    real, done = Dispatcher.compile, []

    def interrupted(self, signature):
        if self.py_func.__name__ == "doubled":
            signal.raise_signal(signal.SIGINT)
            done.append(signature)
        return real(self, signature)

    @Loop
    def doubled(x, out):
        for i in range(x.size):
            out[i] = 2 * x[i]

    monkeypatch.setattr(Dispatcher, "compile", interrupted)
    x, out = np.arange(3.0), np.zeros(3)
    handler = signal.default_int_handler
    before = signal.signal(signal.SIGINT, handler)  # it is ignored behind a shell's &
    try:
        with pytest.raises(KeyboardInterrupt):
            doubled(x, out)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(done) == 1
    doubled(x, out)
    np.testing.assert_array_equal(out, [0, 2, 4])
    assert len(done) == 1  # it was compiled then
