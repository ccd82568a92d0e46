"""``cupy.RawModule`` on the host: compiles CUDA C++ with the host's compiler and checks launches.

The source goes through the preprocessor alone first, where no header but those of ``-I`` is
found, as with NVRTC. In that text the kernels are looked for. A line for each is added, from
which ``cuda_host.h`` makes functions that run the kernel and tell the types of its parameters.
"""

import contextlib
import ctypes
import functools
import hashlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gputensor import config

from .memory import Allocation, Block, MemoryPointer, require
from .state import Count, current, settings
from .streams import Uses, submit

__all__ = [
    "CUDADriverError",
    "CompileException",
    "RawKernel",
    "RawModule",
    "compile_library",
    "host_compiler",
]

_HEADER = Path(__file__).with_name("cuda_host.h")
_FLAGS = (
    *("-std=c++17", "-O1", "-g", "-w", "-fPIC", "-fno-gnu-unique", "-fvisibility=hidden"),
    # Without a fused multiply-add the result is the same on every host.
    *("-fsanitize=bounds", "-ffp-contract=off", "-U_FORTIFY_SOURCE"),
)
_ORDERS = {"forward": 0, "reverse": 1, "shuffle": 2}
_MAX_GRID = (2**31 - 1, 65535, 65535)
_MAX_BLOCK = (1024, 1024, 64)
_MAX_THREADS = 1024
_MAX_SHARED = 48 * 1024

_lock = threading.Lock()


class CompileException(Exception):
    """A source that the compiler does not take, like ``cupy.cuda.compiler.CompileException``."""

    def __init__(
        self, msg: str, source: str, name: str, options: Sequence[str], backend: str = "nvrtc"
    ) -> None:
        super().__init__(msg)
        self.source, self.name, self.options, self.backend = source, name, options, backend

    def get_message(self) -> str:
        """What the compiler says."""
        return str(self)


class CUDADriverError(RuntimeError):
    """A launch that the driver refuses, like ``cupy.cuda.driver.CUDADriverError``."""


def host_compiler() -> str | None:
    """Path of the host's C++ compiler: ``$CXX``, ``g++``, ``c++`` or ``clang++``.

    None where there is none, and off Linux, whose loader and fibers ``cuda_host.h`` uses.
    """
    if not sys.platform.startswith("linux"):
        return None
    names = (os.environ.get("CXX", ""), "g++", "c++", "clang++")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def _run(command: list[str], source: str, text: str, options: Sequence[str]) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CompileException(done.stderr, source, "source.cu", options)
    return done.stdout


@functools.cache
def _folder_of_the_process() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="gputensor-kernels-")


def _cache_folder() -> Path:
    """Folder for compiled kernels: in the user's cache, else one of this process alone."""
    folder = config.cache_dir() / "kernels"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return Path(_folder_of_the_process().name)
    return folder if os.access(folder, os.W_OK) else Path(_folder_of_the_process().name)


@functools.cache
def _preprocess(source: str, options: tuple[str, ...]) -> str:
    """Source with its headers and without its macros, as NVRTC would see it."""
    short = {"--define-macro=": "-D", "--undefine-macro=": "-U", "--include-path=": "-I"}
    kept = list(options)
    for long, letter in short.items():
        kept = [letter + o.removeprefix(long) if o.startswith(long) else o for o in kept]
    flags = [
        option
        for before, option in zip(["", *kept], kept, strict=False)
        if option.startswith(("-D", "-U", "-I")) or before in ("-D", "-U", "-I")
    ]
    return _run(
        [
            *(_require_compiler(), "-E", "-x", "c++", "-std=c++17", "-nostdinc", *flags),
            *("-D__CUDACC__=1", "-D__CUDACC_RTC__=1", "-D__CUDA_ARCH__=900", "-DCUDA_HOST=1", "-"),
        ],
        source,
        f'#line 1 "source.cu"\n{source}',
        options,
    )


def _require_compiler() -> str:
    compiler = host_compiler()
    if compiler is None:
        raise RuntimeError(
            "there is nothing to run CUDA sources on the CPU with; it takes Linux, and g++ or "
            "clang++, or a compiler named by CXX"
        )
    return compiler


class _Declared(NamedTuple):
    """A kernel as the source declares it."""

    name: str
    parameters: list[str]  # their names
    bound: int | None  # threads of a block, of __launch_bounds__


_BOUNDS = r"__launch_bounds__\s*\(((?:[^()]|\([^()]*\))*)\)"


def _find_kernels(text: str) -> list[_Declared]:
    """Kernels that the preprocessed source declares, templates left out."""
    text = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
    plain = re.sub(_BOUNDS, "", text)
    found: dict[str, _Declared] = {}
    pattern = r"(template\s*<[^;{}()]*>\s*)?(?:extern\s*\"C\"\s*)?__global__[^(;{}]*?(\w+)\s*\("
    for match in re.finditer(pattern, plain):
        name = match[2]
        if match[1] or name in found:
            continue
        bound = re.search(_BOUNDS + rf"[^;{{}}]*?\b{name}\s*\(", text)
        number = re.match(r"\s*(\d+)\s*(?:,|$)", bound[1]) if bound else None
        found[name] = _Declared(
            name, _parameter_names(plain, match.end()), int(number[1]) if number else None
        )
    return list(found.values())


def _parameter_names(text: str, start: int) -> list[str]:
    """Names in a list of parameters that begins at `start`, behind its parenthesis."""
    depth, end, commas = 1, start, []
    while depth:
        depth += {"(": 1, "<": 1, ")": -1, ">": -1}.get(text[end], 0)
        if text[end] == "," and depth == 1:
            commas.append(end)
        end += 1
    edges = [start, *commas, end - 1]
    pieces = [text[a:b] for a, b in itertools.pairwise(edges)]
    words = [re.findall(r"\w+", piece) for piece in pieces]
    return [w[-1] for w in words if w and w != ["void"]]


# `extern __shared__ T name[]` is memory that the launch gives, of a size known only then.
_DYNAMIC_SHARED = re.compile(
    r"extern\s+__shared__\s+(?:(?:__align__|alignas)\s*\([^()]*\)\s*)?([^;=()\[\]]*?)\s*"
    r"\b(\w+)\s*\[\s*\]\s*;"
)


class _Library:
    """A compiled source, loaded."""

    def __init__(self, source: str, options: Sequence[str], expressions: Sequence[str]) -> None:
        text = _preprocess(source, options)
        # Folders left out of the line marks, the same source is the same text everywhere.
        text = re.sub(r'^# (\d+) "[^"]*/', r'# \1 "', text, flags=re.MULTILINE)
        self.kernels = {k.name: k for k in _find_kernels(text)}
        self._entries = [*self.kernels, *expressions]
        text = _DYNAMIC_SHARED.sub(
            r"static \1* const \2 = reinterpret_cast<\1*>(cuda_host::dynamic_shared);", text
        )
        tail = (f"CUDA_HOST_KERNEL({i}, {entry})" for i, entry in enumerate(self._entries))
        text = "\n".join(['#include "cuda_host.h"', text, '#line 1 "entries"', *tail, ""])
        path = _compile(text, source, options)
        self._library = ctypes.PyDLL(str(path))  # one launch at a time, hence with the GIL

    def has_c_name(self, name: str) -> bool:
        """Whether a kernel is ``extern "C"``."""
        try:
            self._library[name]
        except AttributeError:
            return False
        return True

    def entry(self, name: str) -> "tuple[list[str], Callable[..., bytes | None]]":
        """Parameter types of a kernel, and the function that runs it."""
        number = self._entries.index(name)
        signature = self._library[f"cuda_host_signature_{number}"]
        run = self._library[f"cuda_host_launch_{number}"]
        signature.restype = run.restype = ctypes.c_char_p
        run.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        return signature().decode().split(), run


def _compile(text: str, source: str, options: Sequence[str]) -> Path:
    """Path of the shared library for a text, compiled unless that was done before."""
    compiler = _require_compiler()
    parts = (_HEADER.read_text(), text, *_FLAGS, compiler)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    folder = _cache_folder()
    path = folder / f"{key}.so"
    if path.exists():
        return path
    unit = folder / f"{key}.cpp"
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made, linked = f"{scratch}/kernel.o", f"{scratch}/kernel.so"
        written = Path(scratch, "kernel.cpp")
        written.write_text(text)
        os.replace(written, unit)  # at once, for threads and processes that do the same
        include = f"-I{_precompiled_header(compiler, folder)}"
        _run([compiler, *_FLAGS, include, "-c", str(unit), "-o", made], source, "", options)
        # Linked on its own: with the flags above the compiler would ask for libubsan.
        _run([compiler, "-shared", "-Wl,-Bsymbolic", made, "-o", linked], source, "", options)
        os.replace(linked, path)
    return path


def compile_library(text: str) -> Path:
    """Path of the shared library for C++ that is no kernel."""
    return _compile(text, text, ())


@functools.cache
def _precompiled_header(compiler: str, folder: Path) -> Path:
    """Folder of the header in a form that GCC reads in half the time; others read the text."""
    key = hashlib.sha256("\0".join((_HEADER.read_text(), *_FLAGS, compiler)).encode()).hexdigest()
    place = folder / f"header-{key[:32]}"
    if not place.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / "header"
            made.mkdir()
            header = shutil.copy(_HEADER, made)
            command = [compiler, *_FLAGS, "-x", "c++-header", header, "-o", f"{header}.gch"]
            _run(command, _HEADER.name, "", ())
            with contextlib.suppress(OSError):  # another process was quicker
                made.rename(place)
    return place


@functools.cache
def _library(source: str, options: tuple[str, ...], expressions: tuple[str, ...]) -> _Library:
    return _Library(source, options, expressions)


class RawModule:
    """Kernels of one CUDA C++ source, with the signature of ``cupy.RawModule``."""

    def __init__(
        self,
        code: str | None = None,
        *,
        path: str | None = None,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        translate_cucomplex: bool = False,
        enable_cooperative_groups: bool = False,
        name_expressions: Iterable[str] | None = None,
        jitify: bool | None = None,
    ) -> None:
        if (code is None) == (path is None):
            raise TypeError("Exactly one of `code` and `path` keyword arguments must be given.")
        if code is None:
            raise NotImplementedError("the stand-in reads sources, not cubin or ptx")
        if not isinstance(options, tuple):
            raise TypeError(f"options must be a tuple, not {type(options).__name__}")
        self.code, self.options, self.backend = code, options, backend
        self.name_expressions = tuple(name_expressions or ())
        self.enable_cooperative_groups = enable_cooperative_groups

    def compile(self, log_stream: object = None) -> None:
        """Compile now instead of at the first kernel."""
        _library(self.code, self.options, self.name_expressions)

    def get_function(self, name: str) -> "RawKernel":
        """Get a kernel by its name, ``extern "C"`` or one of `name_expressions`."""
        library = _library(self.code, self.options, self.name_expressions)
        if name not in self.name_expressions and not (
            name in library.kernels and library.has_c_name(name)
        ):
            declared = ' but not extern "C"' if name in library.kernels else ""
            raise CUDADriverError(
                f"CUDA_ERROR_NOT_FOUND: named symbol not found ({name}"
                f"{': declared' + declared if declared else ''})"
            )
        return RawKernel(self.code, name, self.options, _library=library)


class RawKernel:
    """A kernel to launch, with the signature of ``cupy.RawKernel``."""

    max_threads_per_block = _MAX_THREADS
    max_dynamic_shared_size_bytes = _MAX_SHARED

    def __init__(
        self,
        code: str,
        name: str,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        translate_cucomplex: bool = False,
        *,
        enable_cooperative_groups: bool = False,
        jitify: bool | None = None,
        _library: _Library | None = None,
    ) -> None:
        self.code, self.name, self.options, self.backend = code, name, options, backend
        self._loaded = _library
        self._run: Callable[..., bytes | None] | None = None
        self._types: list[str] = []
        self._names: list[str] = []

    def compile(self, log_stream: object = None) -> None:
        """Compile now instead of at the first launch."""
        if self._loaded is None:
            self._loaded = (
                RawModule(self.code, options=self.options).get_function(self.name)._loaded
            )
        assert self._loaded is not None
        self._types, self._run = self._loaded.entry(self.name)
        declared = self._loaded.kernels.get(self.name)
        self._names = declared.parameters if declared else []
        if declared and declared.bound:
            self.max_threads_per_block = declared.bound

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: Sequence[Any],
        *,
        shared_mem: int = 0,
        stream: object = None,
        enable_cooperative_groups: bool = False,
    ) -> None:
        """Launch the kernel.

        Raises
        ------
        TypeError
            If an argument does not fit its parameter. A real device would read garbage.
        CUDADriverError
            If the grid or block is empty or too large, or if too much shared memory is asked for.
        RuntimeError
            If the kernel fails, or writes outside of the arrays it was given.
        """
        if self._run is None:
            self.compile()
        shape = self._launch_shape(grid, block, shared_mem)
        values = self._convert(args)
        memories = [_memory_of(a) for a in args]
        blocks = [memory and memory.block for memory in memories]
        uses = Uses()
        for value, kind, memory in zip(args, self._types, memories, strict=True):
            if memory:
                _note(value, memory, uses, "=" not in kind)
        what = Count(
            self.name, sum(a.nbytes for a in args if _is_array(a) and hasattr(a, "nbytes"))
        )
        submit(
            lambda: self._execute(shape, shared_mem, values, blocks), "launches", uses, stream, what
        )

    def _execute(
        self,
        shape: list[int],
        shared_mem: int,
        values: list["np.ndarray[Any, Any]"],
        blocks: list[Block | None],
    ) -> None:
        """Run the kernel with arguments that are bytes by now."""
        pointers = (ctypes.c_void_p * max(len(values), 1))(*(v.ctypes.data for v in values))
        with _lock:
            if settings.order == "compare":
                self._compare(shape, shared_mem, pointers, blocks)
            else:
                self._launch(shape, shared_mem, settings.order, pointers, blocks)

    def _launch_shape(
        self, grid: tuple[int, ...], block: tuple[int, ...], shared_mem: int
    ) -> list[int]:
        if not isinstance(grid, tuple) or not isinstance(block, tuple):
            raise TypeError("grid and block must be tuples")
        limits = (*_MAX_GRID, *_MAX_BLOCK)
        shape = [*grid, 1, 1, 1][:3] + [*block, 1, 1, 1][:3]
        threads = int(np.prod(shape[3:]))
        if (
            max(len(grid), len(block)) > 3
            or any(not 1 <= n <= limit for n, limit in zip(shape, limits, strict=True))
            or threads > self.max_threads_per_block
            or not 0 <= shared_mem <= _MAX_SHARED
        ):
            raise CUDADriverError(
                f"CUDA_ERROR_INVALID_VALUE: invalid argument (kernel {self.name!r}: grid {grid}, "
                f"block {block}, at most {self.max_threads_per_block} threads a block; "
                f"shared_mem {shared_mem}, at most {_MAX_SHARED})"
            )
        return [int(n) for n in shape]

    def _convert(self, args: Sequence[Any]) -> list["np.ndarray[Any, Any]"]:
        """Arguments as the bytes that the kernel reads."""
        if len(args) != len(self._types):
            raise TypeError(
                f"kernel {self.name!r} takes {len(self._types)} arguments "
                f"({', '.join(self._names)}), {len(args)} given"
            )
        converted = []
        for i, (value, kind) in enumerate(zip(args, self._types, strict=True)):
            convert = _pointer if kind.startswith("*") else _scalar
            try:
                converted.append(convert(value, kind))
            except TypeError as error:
                raise TypeError(f"kernel {self.name!r}, {self._place(i)}: {error}") from None
        return converted

    def _place(self, i: int) -> str:
        name = f" ({self._names[i]})" if i < len(self._names) else ""
        return f"argument {i}{name}"

    def _launch(
        self,
        shape: list[int],
        shared_mem: int,
        order: str,
        pointers: "ctypes.Array[ctypes.c_void_p]",
        blocks: list[Block | None],
    ) -> None:
        # Behind a source's own options CuPy puts -ftz=true, and NVRTC heeds the last. The host can
        # flush all numbers or none, the device flushes those of float32 alone.
        flush = not any(t.lstrip("*=") == "f8" for t in self._types)
        how = (ctypes.c_uint * 9)(*shape, shared_mem, _ORDERS[order], flush)
        assert self._run is not None
        message = self._run(how, pointers)
        places = {block: self._place(i) for i, block in enumerate(blocks)}
        damaged = [
            f"{places.get(block, 'an array that is no argument')}: {block.label}: {damage}"
            for block, damage in Block.damaged()
        ]
        if damaged:
            raise RuntimeError(
                f"kernel {self.name!r} wrote outside of an array: {'; '.join(damaged)}"
            )
        if message is not None:
            raise RuntimeError(f"kernel {self.name!r}, {message.decode()}")

    def _compare(
        self,
        shape: list[int],
        shared_mem: int,
        pointers: "ctypes.Array[ctypes.c_void_p]",
        blocks: list[Block | None],
    ) -> None:
        """Launch in every order; the arrays must come out the same, bit for bit."""
        written = {
            i: block.bytes
            for i, (block, kind) in enumerate(zip(blocks, self._types, strict=True))
            if kind.startswith("*") and "=" not in kind and block
        }
        before = {i: array.copy() for i, array in written.items()}
        first: dict[int, np.ndarray[Any, Any]] = {}
        for order in _ORDERS:
            for i, array in written.items():
                array[...] = before[i]
            self._launch(shape, shared_mem, order, pointers, blocks)
            for i, array in written.items():
                changed = np.flatnonzero(first.setdefault(i, array.copy()) != array)
                if changed.size:
                    raise RuntimeError(
                        f"kernel {self.name!r}: the result depends on the order in which blocks "
                        f"and threads run (forward against {order}): {self._place(i)} differs in "
                        f"{changed.size} byte(s), the first is byte {changed[0]} of its memory"
                    )


_PYTHON_SCALARS = {bool: np.bool_, int: np.int64, float: np.float64, complex: np.complex128}


def _scalar(value: Any, kind: str) -> "np.ndarray[Any, Any]":
    """Bytes of a scalar, in the type that CuPy gives it."""
    if type(value) in _PYTHON_SCALARS:
        unsigned = type(value) is int and value >= 2**63
        value = np.uint64(value) if unsigned else _PYTHON_SCALARS[type(value)](value)
    if not isinstance(value, np.generic):
        raise TypeError(f"{_describe(value)} for a parameter of C type {_c_type(kind)}")
    size = int(kind[1:])
    given = value.dtype.kind
    fits = {
        "f": given == "f",
        "b": given == "b",
        "V": given in "Vc",
        "i": given in "iu" and not (given == "u" and int(value) >= 2 ** (8 * size - 1)),
        "u": given in "iub" and int(value) >= 0,
        "c": given in "iub",
    }[kind[0]]
    if value.itemsize != size or not fits:
        raise TypeError(
            f"{_describe(value)} for a parameter of C type {_c_type(kind)}"
            + (", pass a NumPy scalar of that type" if value.dtype.itemsize == 8 else "")
        )
    return np.array(value)


def _pointer(value: Any, kind: str) -> "np.ndarray[Any, Any]":
    """Bytes of an address."""
    address = 0
    if isinstance(value, MemoryPointer):
        address = value.ptr
    elif type(value) is int and Allocation.around(value):
        address = value
    elif _is_array(value):
        address = _array_address(value, kind)
    elif value is not None and not (isinstance(value, np.uint64) and value == 0):
        raise TypeError(f"{_describe(value)} for a parameter of C type {_c_type(kind)}")
    return np.array(address, np.uint64)


def _array_address(array: Any, kind: str) -> int:
    element, size = kind.lstrip("*=")[0], int(kind.lstrip("*=")[1:])
    dtype = array.dtype
    interface = array.__cuda_array_interface__
    address: int = interface["data"][0]
    accepted = {"b": "b", "f": "f", "i": "i", "u": "ub", "c": "iub", "V": "biufcV"}[element]
    if dtype.kind not in accepted or (element != "V" and dtype.itemsize != size):
        raise TypeError(f"{_describe(array)} for a parameter of C type {_c_type(kind)}")
    if array.device.id != current.id:
        raise TypeError(
            f"{_describe(array)} on device {array.device.id}; the kernel runs on {current.id}"
        )
    if settings.contiguous and interface["strides"] is not None:
        raise TypeError(f"{_describe(array)} is not contiguous, strides {interface['strides']}")
    if address % min(max(size, 1), 16):
        raise TypeError(f"{_describe(array)} starts at an address that is no multiple of {size}")
    return address


def _memory_of(value: Any) -> Allocation | None:
    memory: Allocation | None = None
    if isinstance(value, MemoryPointer):
        memory = value.mem
    elif type(value) is int:
        memory = Allocation.around(value)
    elif _is_array(value):
        memory = value.data.mem
    if memory:
        require(memory)
    return memory


def _note(value: Any, memory: Allocation, uses: Uses, written: bool) -> None:
    """Note what an argument uses: an array its elements, an address all that is behind it."""
    if _is_array(value):
        first = value.data.ptr
        uses.note(memory, first, first + value.nbytes, written)
    else:
        first = value if type(value) is int else value.ptr
        uses.note(memory, first, memory.ptr + memory.nbytes, written)


def _is_array(value: Any) -> bool:
    return isinstance(getattr(value, "data", None), MemoryPointer)


def _describe(value: Any) -> str:
    if _is_array(value):
        return f"{value.dtype} array of shape {value.shape}"
    if isinstance(value, np.generic):
        return f"{value.dtype} {value}"
    return f"{type(value).__module__}.{type(value).__qualname__}"


_C_TYPES = {
    **{"f4": "float", "f8": "double", "b1": "bool", "c1": "char", "V0": "void"},
    **{"i1": "signed char", "i2": "short", "i4": "int", "i8": "long long"},
    **{"u1": "unsigned char", "u2": "unsigned short"},
    **{"u4": "unsigned int", "u8": "unsigned long long"},
}


def _c_type(kind: str) -> str:
    element = kind.lstrip("*=")
    name = _C_TYPES.get(element, f"struct of {element[1:]} bytes")
    return ("const " if "=" in kind else "") + name + ("*" if kind.startswith("*") else "")
