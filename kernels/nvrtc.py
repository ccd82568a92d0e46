"""CUDA sources compiled by NVRTC, NVIDIA's compiler, which needs neither a GPU nor a driver."""

import importlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from gputensor.errors import CompileError
from gputensor.kernels.source import CudaSource

__all__ = ["INSTALL", "Launch", "Usage", "compile_source", "is_installed"]

_UNUSED = "--diag-suppress=177"  # of what a source has for other entries than those asked for

INSTALL = 'python -m pip install "nvidia-cuda-nvrtc>=13" "cuda-bindings>=13"'
# What CuPy adds to a source's own options, with the -arch of the device.
CUPY_OPTIONS = ("-ftz=true",)
REGISTERS = 65536  # of a multiprocessor, the same in all architectures


class Launch(NamedTuple):
    """A kernel as it was launched."""

    source: CudaSource
    entry: str
    threads: int  # of a block, at most
    shared: int  # bytes of dynamic shared memory, at most


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


def is_installed() -> bool:
    """Whether there are NVRTC and its bindings."""
    try:
        importlib.import_module("cuda.bindings.nvrtc").nvrtcVersion()
    except (ImportError, RuntimeError):  # the second without the library itself
        return False
    return True


def compile_source(source: CudaSource, entries: Sequence[Launch], arch: str) -> list[Usage]:
    """Compile kernels of a source in one program, with the options that CuPy would give.

    Parameters
    ----------
    source : CudaSource
    entries : sequence of Launch
    arch : str
        Such as ``"sm_90"``.

    Raises
    ------
    CompileError
        If it does not compile without warnings, with the lines and the compiler's words.
    """
    from cuda.bindings import nvrtc

    def call(result: tuple[Any, ...]) -> Any:
        if result[0] != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            said = log()
            if not said:
                said = result[0].name
            names = ", ".join(launch.entry for launch in entries)
            raise CompileError(source.explain(f"{names} for {arch}", said))
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
        options = (*source.options, *CUPY_OPTIONS, f"-arch={arch}", "--ptxas-options=-v", _UNUSED)
        call(nvrtc.nvrtcCompileProgram(program, len(options), [o.encode() for o in options]))
        said = log()
        if "warning" in said:
            raise CompileError(f"{source.name} for {arch}:\n{said}")
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
