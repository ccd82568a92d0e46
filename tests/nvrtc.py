"""Registers, spills and shared memory of every kernel, from NVRTC; no GPU or driver is needed.

    python tests/nvrtc.py [--json FILE] [--arch sm_90 ...]

What is compiled is what the launch code asks for when it runs the table of `kernel_cases` on the
stand-in: no second list.
"""

import argparse
import importlib
import json
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import standin
from conftest import forget_cupy
from gputensor.kernels import CudaSource
from kernel_cases import Launch, instantiations

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100", "sm_120")
# What CuPy adds to a source's own options, with the -arch of the device.
CUPY_OPTIONS = ("-ftz=true",)
_PROGRAM = 32  # kernels that are compiled at once
REGISTERS = 65536  # of a multiprocessor, the same in all architectures


def is_installed() -> bool:
    """Whether there are NVRTC, its bindings and bfloat16."""
    try:
        importlib.import_module("ml_dtypes")
        importlib.import_module("cuda.bindings.nvrtc").nvrtcVersion()
    except (ImportError, RuntimeError):  # the second without the library itself
        return False
    return True


class Usage(NamedTuple):
    """What ptxas says of one kernel."""

    file: str
    entry: str
    arch: str
    threads: int
    registers: int
    spilled: int  # bytes of spill stores and loads
    stack: int  # bytes
    shared: int  # bytes, static and dynamic

    @property
    def fits(self) -> bool:
        """Whether a block of that many threads finds registers: a warp takes them by 256."""
        warps = -(-self.threads // 32)
        return warps * -(-self.registers * 32 // 256) * 256 <= REGISTERS


def launches() -> list[Launch]:
    """Every instantiation of a kernel in a file, with the largest block it is launched with."""
    forget_cupy()
    with standin.installed() as cupy:
        found = instantiations(cupy)
    forget_cupy()
    return [launch for launch in found.values() if launch.source.name != "source.cu"]


def compile_source(source: CudaSource, entries: Sequence[Launch], arch: str) -> list[Usage]:
    """Compile kernels of a source in one program, with the options that CuPy would give.

    Raises
    ------
    RuntimeError
        If it does not compile without warnings, with the compiler's words.
    """
    from cuda.bindings import nvrtc

    def call(result: tuple[Any, ...]) -> Any:
        if result[0] != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise RuntimeError(f"{source.name} for {arch}: {result[0].name}\n{log()}")
        return result[1] if len(result) == 2 else None

    def log() -> str:
        size = nvrtc.nvrtcGetProgramLogSize(program)[1]
        text = b" " * size
        nvrtc.nvrtcGetProgramLog(program, text)
        return text.decode().rstrip("\0 \n")

    program = nvrtc.nvrtcCreateProgram(source.text.encode(), source.name.encode(), 0, [], [])[1]
    try:
        for launch in entries:
            call(nvrtc.nvrtcAddNameExpression(program, launch.entry.encode()))
        options = (*source.options, *CUPY_OPTIONS, f"-arch={arch}", "--ptxas-options=-v")
        call(nvrtc.nvrtcCompileProgram(program, len(options), [o.encode() for o in options]))
        said = log()
        if "warning" in said:
            raise RuntimeError(f"{source.name} for {arch}:\n{said}")
        lowered = [call(nvrtc.nvrtcGetLoweredName(program, e.entry.encode())) for e in entries]
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    parts = re.split(r"Compiling entry function '(\w+)'", said)
    words = dict(zip(parts[1::2], parts[2::2], strict=True))
    return [
        _usage(source.name, launch, arch, words[name.decode()])
        for launch, name in zip(entries, lowered, strict=True)
    ]


def _usage(file: str, launch: Launch, arch: str, words: str) -> Usage:
    def number(pattern: str) -> int:
        return sum(int(n) for n in re.findall(pattern, words))

    return Usage(
        file,
        launch.entry,
        arch,
        launch.threads,
        number(r"Used (\d+) registers"),
        number(r"(\d+) bytes spill"),
        number(r"(\d+) bytes stack frame"),
        number(r"(\d+) bytes smem") + launch.shared,
    )


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
    from cuda.bindings import nvrtc

    _, major, minor = nvrtc.nvrtcVersion()
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
