"""Registers, spills and shared memory of every kernel, from NVRTC; no GPU or driver is needed.

    python tests/nvrtc.py [--json FILE] [--arch sm_90 ...]

What is compiled is what the launch code asks for when it runs the table of `kernel_cases` on the
stand-in: no second list.
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from conftest import forget_cupy
from gputensor import standin
from gputensor.kernels import CudaSource, nvrtc
from gputensor.kernels.nvrtc import Launch, Usage, compile_source
from kernel_cases import instantiations

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100", "sm_120")
_PROGRAM = 32  # kernels that are compiled at once


def is_installed() -> bool:
    """Whether there are NVRTC, its bindings and bfloat16."""
    return importlib.util.find_spec("ml_dtypes") is not None and nvrtc.is_installed()


def launches() -> list[Launch]:
    """Every instantiation of a kernel in a file, with the largest block it is launched with."""
    forget_cupy()
    with standin.installed() as cupy:
        found = instantiations(cupy)
    forget_cupy()
    return [launch for launch in found.values() if launch.source.name != "source.cu"]


def compile_all(
    found: Iterable[Launch], architectures: Sequence[str] = ARCHITECTURES
) -> list[Usage]:
    """Usage of every kernel on every architecture."""
    by_source: dict[CudaSource, list[Launch]] = {}
    for launch in found:
        by_source.setdefault(launch.source, []).append(launch)
    work = [
        (source, entries[i : i + _PROGRAM], arch)
        for source, entries in by_source.items()
        for i in range(0, len(entries), _PROGRAM)
        for arch in architectures
    ]
    # NVRTC compiles one program at a time in a process.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as p:
        return [u for usages in p.map(compile_source, *zip(*work, strict=True)) for u in usages]


def table(usages: Sequence[Usage]) -> dict[str, Any]:
    """By file and kernel template: the most of all instantiations, by architecture."""
    from cuda.bindings import nvrtc as compiler

    _, major, minor = compiler.nvrtcVersion()
    kernels: dict[str, Any] = {}
    for u in usages:
        row = kernels.setdefault(f"{u.file} {u.entry.partition('<')[0]}", {})
        most = row.setdefault(
            u.arch, {"instantiations": 0, "registers": 0, "spilled": 0, "stack": 0, "shared": 0}
        )
        most["instantiations"] += 1
        if u.registers >= most["registers"]:
            most["registers"], most["entry"] = u.registers, u.entry
        for name in ("spilled", "stack", "shared"):
            most[name] = max(most[name], getattr(u, name))
    return {"nvrtc": f"{major}.{minor}", "kernels": kernels}


def main() -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the table")
    parser.add_argument("--arch", nargs="+", default=ARCHITECTURES)
    options = parser.parse_args()
    began = time.perf_counter()
    usages = compile_all(launches(), options.arch)
    seconds = time.perf_counter() - began
    made = table(usages)
    print(f"{'kernel':42}{'arch':>8}{'number':>8}{'registers':>11}{'spilled':>9}{'shared':>8}")
    for kernel, row in made["kernels"].items():
        for arch, most in row.items():
            print(
                f"{kernel:42}{arch:>8}{most['instantiations']:8}{most['registers']:11}"
                f"{most['spilled']:9}{most['shared']:8}"
            )
    unfit = [u for u in usages if not u.fits or u.spilled]
    print(f"{len(usages)} kernels in {seconds:.0f} s with NVRTC {made['nvrtc']}")
    for u in unfit:
        print(f"spills, or too many registers for its block: {u}")
    if options.json:
        options.json.write_text(json.dumps(made, indent=1) + "\n")
    sys.exit(bool(unfit))


if __name__ == "__main__":
    main()
