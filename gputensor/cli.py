"""``python -m gputensor``: what this installation consists of and which device it would use."""

import argparse
import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Iterator, Sequence

import numpy as np

import gputensor
from gputensor import backend, config

__all__ = ["main"]


def _version(module: str) -> str:
    """Version of an installed package, by the name that it is imported by."""
    if importlib.util.find_spec(module) is None:
        return "not installed"
    names = importlib.metadata.packages_distributions().get(module, [])
    return ", ".join(f"{importlib.metadata.version(n)} ({n})" for n in sorted(set(names)))


def _blas() -> str:
    build = np.show_config(mode="dicts") or {}
    blas = build.get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()


def _findings() -> Iterator[tuple[str, str]]:
    yield "gputensor", gputensor.__version__
    yield "Python", f"{platform.python_version()}, {platform.platform()}"
    yield "NumPy", f"{np.__version__}, BLAS {_blas()}"
    for name, module in (("Numba", "numba"), ("CuPy", "cupy")):
        yield name, _version(module)
    status = backend.cuda_status()
    yield "CUDA", status.reason
    if status.available:
        import cupy  # type: ignore[import-not-found, unused-ignore]

        runtime = cupy.cuda.runtime
        yield "driver, runtime", f"{runtime.driverGetVersion()}, {runtime.runtimeGetVersion()}"
        for i in range(status.devices):
            found = cupy.cuda.Device(i)
            name = runtime.getDeviceProperties(i)["name"].decode()
            free, total = found.mem_info
            yield (
                f"cuda:{i}",
                f"{name}, compute capability {found.compute_capability}, "
                f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free",
            )
    try:
        yield "new tensors go to", str(backend.default_device())
    except gputensor.errors.DeviceError as error:
        yield "new tensors go to", f"nowhere: {error}"
    yield "CPU threads of a kernel", str(config.cpu_threads())
    yield "cache", str(config.cache_dir())
    for name, value in sorted(os.environ.items()):
        if name.startswith("GPUTENSOR_"):
            yield name, value


def doctor() -> None:
    """Print what was found, a line each."""
    for name, text in _findings():
        print(f"{name + ':':25}{text}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m gputensor``.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the command line.

    Returns
    -------
    int
        Exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m gputensor", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="versions, devices and settings, and why CUDA is not used")
    parser.parse_args(arguments)
    doctor()
    return 0
