"""``gputensor doctor``: what this installation consists of, what is wrong, and what mends it."""

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import gputensor
from gputensor import backend, config
from gputensor.shown import in_bytes

__all__ = ["Finding", "doctor", "findings", "size_of"]

_SETTINGS = ("CACHE", "DEVICE", "KERNELS", "THREADS")
_JOBS = ("GPUTENSOR_MASTER_PORT", "GPUTENSOR_RESTART")  # which launched processes are given


class Finding(NamedTuple):
    """A line of the report.

    Attributes
    ----------
    name, text : str
        What was looked at, and what was found.
    mend : str
        What to do about it; empty where nothing is wrong.
    problem : bool
        Whether something does not work; otherwise `mend` is a hint.
    """

    name: str
    text: str
    mend: str = ""
    problem: bool = False


def _problem(name: str, text: str, mend: str) -> Finding:
    return Finding(name, text, mend, True)


def _version(module: str) -> str:
    """Version of an installed package, by the name that it is imported by."""
    if importlib.util.find_spec(module) is None:
        return "not installed"
    names = importlib.metadata.packages_distributions().get(module, [])
    return ", ".join(f"{importlib.metadata.version(n)} ({n})" for n in sorted(set(names)))


def _versions() -> Iterator[Finding]:
    yield Finding("gputensor", f"{gputensor.__version__}")
    yield Finding("Python", f"{platform.python_version()}, {platform.platform()}")


def _numpy() -> Iterator[Finding]:
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))  # its BLAS is loaded
    found = [p for p in threadpool_info() if p["user_api"] == "blas"]
    blas = ", ".join(
        f"{p['internal_api']} {p['version'] or ''} with {p['num_threads']} thread(s)" for p in found
    )
    text = f"{np.__version__}, BLAS {blas or 'unknown'}"
    threads = max((p["num_threads"] for p in found), default=1)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    cores = os.cpu_count() or 1
    mend = ""
    if threads > 1 and load > 1.5 * cores:
        text += f"; the machine is busy: {load:.0f} processes for {cores} cores"
        mend = "OPENBLAS_NUM_THREADS=1 in the environment: waiting threads cost more than they do"
    yield Finding("NumPy", text, mend)


def _numba() -> Iterator[Finding]:
    text = _version("numba")
    mend = "python -m pip install numba" if text == "not installed" else ""
    yield Finding("Numba", text, mend, bool(mend))


def _driver_cuda() -> int | None:
    """CUDA version that the driver takes, as 13000 for 13.0; None without a driver."""
    version = ctypes.c_int()
    with contextlib.suppress(OSError, AttributeError):
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
        if driver.cuDriverGetVersion(ctypes.byref(version)) == 0:
            return version.value
    return None


def _cuda() -> Iterator[Finding]:
    yield Finding("CuPy", _version("cupy"))
    driver = _driver_cuda()
    text = "none" if driver is None else f"takes CUDA {driver // 1000}.{driver % 1000 // 10}"
    yield Finding("driver", text)
    status = backend.cuda_status()
    if status.available:
        yield Finding("CUDA", status.reason)
        yield from _devices(status.devices)
        return
    seen = driver is not None or shutil.which("nvidia-smi") is not None
    mend = ""
    if seen:  # there seems to be a GPU, and it is not used
        package = f"cupy-cuda{12 if (driver or 13000) < 13000 else 13}x"
        mend = f'python -m pip install "{package}"'
        if importlib.util.find_spec("cupy") is not None:
            mend = f"nvidia-smi, which says whether the driver works; {mend} fits CuPy to it"
    yield Finding("CUDA", status.reason, mend, seen)


def _devices(count: int) -> Iterator[Finding]:
    import cupy  # type: ignore[import-not-found, unused-ignore]

    runtime = cupy.cuda.runtime
    yield Finding("driver, runtime", f"{runtime.driverGetVersion()}, {runtime.runtimeGetVersion()}")
    for i in range(count):
        found = cupy.cuda.Device(i)
        name = runtime.getDeviceProperties(i)["name"].decode()
        free, total = found.mem_info
        yield Finding(
            f"cuda:{i}",
            f"{name}, compute capability {found.compute_capability}, "
            f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free",
        )


def _default() -> Iterator[Finding]:
    name = "new tensors go to"
    try:
        yield Finding(name, str(backend.default_device()))
    except gputensor.errors.DeviceError as error:
        # The error says how to come by a GPU, where there is none.
        yield _problem(name, f"nowhere: {error}", "GPUTENSOR_DEVICE=cpu, or unset it")


def _settings() -> Iterator[Finding]:
    for name, read, default in (
        ("CPU threads of a kernel", config.cpu_threads, "GPUTENSOR_THREADS"),
        ("kernels", config.kernels_setting, "GPUTENSOR_KERNELS"),
    ):
        try:
            yield Finding(name, str(read()))
        except ValueError as error:
            yield _problem(name, str(error), f"unset {default}")
    for name, value in sorted(os.environ.items()):
        if not name.startswith("GPUTENSOR_") or name in _JOBS:
            continue
        known = name.removeprefix("GPUTENSOR_") in _SETTINGS
        allowed = ", ".join(f"GPUTENSOR_{s}" for s in _SETTINGS)
        mend = "" if known else f"unset {name}, which nothing reads; there are {allowed}"
        yield Finding(name, value, mend)


def size_of(place: Path) -> int:
    """Bytes of a file, or of the files in a folder."""
    if place.is_dir():
        return sum(f.stat().st_size for f in place.rglob("*") if f.is_file())
    return place.stat().st_size if place.exists() else 0


def _caches() -> Iterator[Finding]:
    folder = config.cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        yield _problem(
            "cache",
            f"{folder} cannot be written to: {error.strerror or error}",
            "GPUTENSOR_CACHE=DIR, a folder that you may write to; until then data sets are fetched "
            "and loops compiled again in each process",
        )
        return
    loops, kernels = size_of(folder / "loops"), size_of(folder / "kernels")
    yield Finding("cache", str(folder))
    yield Finding("data sets", in_bytes(size_of(folder) - loops - kernels))
    yield Finding("compiled loops", in_bytes(loops))
    yield Finding("compiled for checks", in_bytes(kernels))
    cupys = Path(os.environ.get("CUPY_CACHE_DIR") or Path.home() / ".cupy" / "kernel_cache")
    if cupys.is_dir():
        yield Finding("CuPy's kernels", f"{in_bytes(size_of(cupys))} in {cupys}")


_LOOKS: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
    ("gputensor", _versions),
    ("NumPy", _numpy),
    ("Numba", _numba),
    ("CUDA", _cuda),
    ("new tensors go to", _default),
    ("settings", _settings),
    ("cache", _caches),
)


def findings() -> Iterator[Finding]:
    """All that is looked at; what fails to be found out is a problem, never an exception."""
    for name, look in _LOOKS:
        try:
            yield from look()
        except Exception as error:  # a report on what is broken must survive what is broken
            yield _problem(
                name,
                f"cannot be found out, {type(error).__name__}: {error}",
                "python -m pip install --force-reinstall the package that the message names",
            )


def doctor() -> int:
    """Print what was found, a line each, and what mends it.

    Returns
    -------
    int
        Exit status: 1 where something does not work.
    """
    problems = 0
    for found in findings():
        print(f"{found.name + ':':25}{found.text}")
        if found.mend:
            print(f"{'':25}{'mend' if found.problem else 'hint'}: {found.mend}")
        problems += found.problem
    print(f"{'problems:':25}{problems or 'none'}")
    return int(problems > 0)
