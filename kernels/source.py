"""CUDA C++ sources: their kernels, found, compiled, and launched with checked arguments."""

import functools
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gputensor.errors import CompileError, LaunchError

__all__ = ["CudaSource", "Signature", "c_type", "misfit", "number"]

_HERE = Path(__file__).parent
_BLOCKS_PER_MULTIPROCESSOR = 16

# By NumPy's name: the types that sources spell out, the first being the one for c_type().
_NAMES = {
    "float32": ("float",),
    "float64": ("double",),
    "float16": ("f16", "half", "__half"),
    "bfloat16": ("bf16", "__nv_bfloat16"),
    "int8": ("signed char", "char", "int8_t"),
    "uint8": ("unsigned char", "uint8_t", "uint8"),
    "int16": ("short", "int16_t", "int16"),
    "uint16": ("unsigned short", "uint16_t", "uint16"),
    "int32": ("int", "int32_t", "int32"),
    "uint32": ("unsigned int", "unsigned", "uint32_t", "uint32"),
    "int64": ("long long", "int64_t", "int64", "ptrdiff_t"),
    "uint64": ("unsigned long long", "uint64_t", "uint64", "size_t"),
    "bool": ("bool",),
    "complex64": ("complex<float>", "cuFloatComplex"),
    "complex128": ("complex<double>", "cuDoubleComplex"),
}
_DTYPE_NAMES = {c: dtype for dtype, names in _NAMES.items() for c in names}


@functools.cache
def c_type(dtype: np.dtype[Any]) -> str:
    """C++ name of a dtype, as in ``f"scale<{c_type(x.dtype)}>"``; "void" where there is none.

    Examples
    --------
    >>> gt.kernels.c_type(np.dtype("float32"))
    'float'
    """
    return _NAMES.get(dtype.name, ("void",))[0]


def _dtype(c_name: str) -> np.dtype[Any] | None:
    name = _DTYPE_NAMES.get(c_name)
    if name == "bfloat16":
        ml_dtypes = sys.modules.get("ml_dtypes")  # whoever has such arrays has imported it
        return None if ml_dtypes is None else np.dtype(ml_dtypes.bfloat16)
    return None if name is None else np.dtype(name)


class Parameter(NamedTuple):
    """A parameter of a kernel.

    Attributes
    ----------
    name : str
    declared : str
        Its type as the source has it.
    pointer : bool
    dtype : dtype or None
        Of what it is or points to; None if NumPy has no such type, and for ``void``.
    """

    name: str
    declared: str
    pointer: bool
    dtype: np.dtype[Any] | None


class Signature(NamedTuple):
    """A kernel as its source declares it: names of template parameters, and parameters."""

    name: str
    template: tuple[str, ...]
    parameters: tuple[tuple[str, str], ...]  # type and name

    def bind(self, types: Sequence[str]) -> tuple[Parameter, ...]:
        """Parameters with the template's replaced by `types`."""
        replace = dict(zip(self.template, types, strict=True))
        return tuple(_parameter(text, name, replace) for text, name in self.parameters)


# Compiled kernel, its parameters, and the Python type and dtype of each: see CudaSource.launch.
_Entry: TypeAlias = tuple[Any, tuple[Parameter, ...], list[tuple[Any, Any]]]
_POINTER = object()
_PYTHON: dict[Any, type] = {  # what CuPy passes in the parameter's own type
    np.dtype(np.int64): int,
    np.dtype(np.float64): float,
    np.dtype(np.bool_): bool,
}

_QUALIFIERS = r"\b(const|volatile|__restrict__|__restrict|restrict|__grid_constant__)\b"


def _parameter(text: str, name: str, replace: dict[str, str]) -> Parameter:
    declared = " ".join(re.sub(r"\w+", lambda m: replace.get(m[0], m[0]), text).split())
    # What common.cuh computes with.
    kind = re.sub(r"compute<(.*?)>", lambda m: m[1] if m[1] == "double" else "float", declared)
    kind = re.sub(_QUALIFIERS, " ", kind)
    return Parameter(name, declared, "*" in kind, _dtype(" ".join(kind.replace("*", " ").split())))


_KERNEL = re.compile(
    r"(?:template\s*<(?P<template>[^;{}()]*)>\s*)?(?:extern\s*\"C\"\s*)?"
    r"__global__\s+(?:void\s+)?(?:__launch_bounds__\s*\([^()]*\)\s*)?(?:void\s+)?"
    r"(?P<name>\w+)\s*\((?P<parameters>[^()]*)\)\s*\{"
)


def signatures(text: str) -> dict[str, Signature]:
    """Kernels of a source, by name. Those that macros make are not seen."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL)
    text = re.sub(r"^[ \t]*#(?:[^\n\\]|\\\n|\\.)*", " ", text, flags=re.MULTILINE)
    found = {}
    for match in _KERNEL.finditer(text):
        template = [p.split("=")[0].split()[-1] for p in (match["template"] or "").split(",") if p]
        parameters = []
        for piece in match["parameters"].split(","):
            declared = re.fullmatch(r"\s*(.*?)(\w+)\s*", piece, re.DOTALL)
            if declared and declared[1].strip():
                parameters.append((declared[1].strip(), declared[2]))
        found[match["name"]] = Signature(match["name"], tuple(template), tuple(parameters))
    return found


class CudaSource:
    """CUDA C++, compiled by NVRTC when a kernel of it is first launched.

    Kernels are ``extern "C"`` functions or templates. ``#include "common.cuh"`` gives the number
    types ``f16`` and ``bf16``, 16-byte accesses and reductions that gputensor's own kernels use.

    Parameters
    ----------
    code : str or Path
        The source, or the file that holds it.
    options : sequence of str
        Further options for NVRTC, such as ``--use_fast_math``.

    Examples
    --------
    >>> source = gt.kernels.CudaSource("__global__ void nothing(long long size) {}")
    >>> source.launch.__name__
    'launch'
    """

    def __init__(self, code: str | Path, options: Sequence[str] = ()) -> None:
        self._code = code
        self.options = ("--std=c++17", f"-I{_HERE}", *options)
        self._entries: dict[str, _Entry] = {}
        _SOURCES.append(self)

    def __repr__(self) -> str:
        return f"CudaSource({self.name!r})"

    @property
    def name(self) -> str:
        """File name, for messages."""
        return self._code.name if isinstance(self._code, Path) else "source.cu"

    @functools.cached_property
    def text(self) -> str:
        """The source."""
        return self._code.read_text("utf-8") if isinstance(self._code, Path) else self._code

    @functools.cached_property
    def kernels(self) -> dict[str, Signature]:
        """Kernels by name, those of included headers of gputensor's too."""
        text, seen = self.text, set[str]()
        while fresh := [h for h in re.findall(r'#include "(\w+\.cuh)"', text) if h not in seen]:
            seen.update(fresh)
            text += "".join((_HERE / h).read_text("utf-8") for h in set(fresh))
        return signatures(text)

    def parameters(self, entry: str) -> tuple[Parameter, ...]:
        """Parameters of `entry`, such as ``"scale"`` or ``"scale<float, 4>"``.

        Raises
        ------
        LaunchError
            If the source has no such kernel, or its template takes another number of arguments.
        """
        name, _, arguments = entry.partition("<")
        types = [t.strip() for t in arguments.removesuffix(">").split(",")] if arguments else []
        known = self.kernels.get(name)
        if known is None:
            raise LaunchError(
                f"{self.name} has no kernel {name!r}; it has {', '.join(self.kernels) or 'none'}"
            )
        if len(types) != len(known.template):
            raise LaunchError(
                f"{entry}: the template of {name} takes {len(known.template)} argument(s) "
                f"({', '.join(known.template)}), {len(types)} given"
            )
        return known.bind(types)

    def fitting(self, entry: str, args: Sequence[Any]) -> tuple[Parameter, ...]:
        """Parameters of `entry`, if there is an argument for each.

        Raises
        ------
        LaunchError
            If there is none, or there are others.
        """
        parameters = self.parameters(entry)
        if len(args) != len(parameters):
            wanted = ", ".join(f"{p.declared} {p.name}" for p in parameters)
            raise LaunchError(
                f"{entry} takes {len(parameters)} arguments ({wanted}), {len(args)} given"
            )
        return parameters

    def compiled(self, entry: str) -> _Entry:
        """As :meth:`_entry`, once."""
        return self._entries.get(entry) or self._entry(entry)

    def _entry(self, entry: str) -> _Entry:
        """Compiled kernel, its parameters, and what a launch checks of them."""
        import cupy  # type: ignore[import-not-found, unused-ignore]

        parameters = self.parameters(entry)
        names = (entry,) if "<" in entry else None
        module = cupy.RawModule(code=self.text, options=self.options, name_expressions=names)
        try:
            module.compile()
        except Exception as error:
            if not hasattr(error, "get_message"):
                raise
            raise CompileError(self.explain(entry, error.get_message())) from None
        quick = [(_POINTER if p.pointer else _PYTHON.get(p.dtype), p.dtype) for p in parameters]
        self._entries[entry] = module.get_function(entry), parameters, quick
        return self._entries[entry]

    def explain(self, entry: str, log: str) -> str:
        """The compiler's complaint with the lines that it is about."""
        lines = self.text.splitlines()
        shown: list[str] = []
        pattern = r"\.cu(?:\((\d+)\)|:(\d+)(?::\d+)?): *(?:fatal |catastrophic )?error"
        for match in re.finditer(pattern, log):
            at = int(match[1] or match[2])
            if 1 <= at <= len(lines):
                shown += [
                    f"{'>' if n == at else ' '} {n:4} | {lines[n - 1]}"
                    for n in range(max(1, at - 2), min(len(lines), at + 2) + 1)
                ]
                break
        said = log.strip().replace("source.cu", self.name)  # as compilers that get a text call it
        return "\n".join([f"{self.name}: {entry} does not compile", *shown, said])

    def launch(
        self,
        entry: str,
        args: Sequence[Any],
        *,
        elements: int | None = None,
        blocks: tuple[int, ...] | None = None,
        threads: int | tuple[int, ...] = 256,
        shared: int = 0,
    ) -> None:
        """Launch a kernel on the current stream.

        Parameters
        ----------
        entry : str
            Its name; with template arguments for a template: ``"scale<float>"``.
        args : sequence
            Arrays of the pointed-to dtype, C-contiguous and on the current device, or None for a
            null pointer; and numbers, which are converted to the parameter's type.
        elements : int, optional
            Work items of a grid-stride loop: the grid becomes large enough to fill the device, no
            larger. Give this or `blocks`.
        blocks : tuple of int, optional
            The grid.
        threads : int or tuple of int
            Threads of a block.
        shared : int
            Bytes of dynamic shared memory.

        Raises
        ------
        LaunchError
            If an argument does not fit its parameter; nothing is launched.
        CompileError
            If the source does not compile, with the line in question.
        """
        function, parameters, quick = self._entries.get(entry) or self._entry(entry)
        if len(args) != len(parameters):
            self.fitting(entry, args)
        values = list(args)
        device = 0
        i = -1
        for value in args:
            i += 1
            kind, dtype = quick[i]
            # CuPy passes these as they are, ints that take more than 63 bits too.
            if kind is type(value) and (kind is not int or -_LIMIT <= value < _LIMIT):
                continue
            if kind is not _POINTER:
                values[i] = number(entry, parameters[i], value)
            elif value is None:
                values[i] = _NULL
            else:
                try:
                    device = value.data.device_id
                    fits = dtype is None or value.dtype is dtype or value.dtype == dtype
                    fits = fits and value.flags.c_contiguous
                except AttributeError:  # no CuPy array
                    fits = False
                if not fits:
                    raise LaunchError(misfit(entry, parameters[i], value))
        block = (threads,) if isinstance(threads, int) else threads
        if blocks is None:
            limit = _BLOCKS_PER_MULTIPROCESSOR * _multiprocessors(device)
            blocks = (max(1, min(-(-(elements or 0) // block[0]), limit)),)
        function(blocks, block, tuple(values), shared_mem=shared)


_SOURCES: list[CudaSource] = []
_NULL = np.uint64(0)
_LIMIT = 2**63


def number(entry: str, parameter: Parameter, value: Any) -> Any:
    """`value` in the parameter's type."""
    dtype = parameter.dtype
    if hasattr(value, "ndim") and value.ndim:
        raise LaunchError(misfit(entry, parameter, value))
    if dtype is None:  # a struct or an unknown type: what comes must be of its size
        return value
    if dtype.kind in "iub" and not isinstance(value, (int, np.integer, np.bool_)):
        raise LaunchError(misfit(entry, parameter, value))
    try:
        return dtype.type(int(value) if dtype.kind in "iu" else value)
    except (OverflowError, TypeError, ValueError) as error:
        raise LaunchError(f"{misfit(entry, parameter, value)}: {error}") from None


def misfit(entry: str, parameter: Parameter, value: Any) -> str:
    """What is wrong with an argument, and what mends it."""
    if hasattr(value, "flags"):
        order = "" if value.flags.c_contiguous else ", not C-contiguous"
        library = "NumPy " if isinstance(value, np.ndarray) else ""
        came = f"{library}{value.dtype} array of shape {value.shape}{order}"
    else:
        came = f"{type(value).__name__} {value!r}"
    fix = ""
    if parameter.pointer and parameter.dtype is not None:
        fix = f"; give a C-contiguous {parameter.dtype} array, as by xp.ascontiguousarray(x, dtype)"
    return f"{entry}: {parameter.name} is `{parameter.declared}` in the source, got {came}{fix}"


@functools.cache
def _multiprocessors(device: int) -> int:
    import cupy

    return int(cupy.cuda.Device(device).attributes["MultiProcessorCount"])
