"""Loops over elements in C++, as CuPy compiles them: complex numbers, and kernels of users."""

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .host_module import compile_library

__all__ = ["COMPLEX", "Parameter", "complex_function", "parameters", "run"]

HostArray = np.ndarray[Any, Any]
_HEADER = Path(__file__).with_name("thrust.h").read_text()

_C_TYPES = {
    **{"bool": "bool", "float32": "float", "float64": "double"},
    **{"complex64": "complex<float>", "complex128": "complex<double>"},
    **{f"int{n}": f"int{n}_t" for n in (8, 16, 32, 64)},
    **{f"uint{n}": f"uint{n}_t" for n in (8, 16, 32, 64)},
}


class Parameter(NamedTuple):
    """A parameter of an elementwise kernel: its type, or the letter that stands for one."""

    type: str
    name: str


def parameters(text: str) -> tuple[Parameter, ...]:
    """Parameters of a text such as ``"T x, float32 y"``."""
    return tuple(Parameter(*part.split()) for part in text.split(",") if part.strip())


def _loop(
    entry: str, ins: Sequence[tuple[str, str]], outs: Sequence[tuple[str, str]], operation: str
) -> str:
    """C function that runs an operation for each element; pairs are C types and names."""
    flush = any(c in ("float", "complex<float>") for c, _ in (*ins, *outs))
    both = [*ins, *outs]
    begin = [f"auto _{n} = static_cast<{c}*>(_data[{i}]);" for i, (c, n) in enumerate(both)]
    values = [f"const {c} {n} = _{n}[i];" for c, n in ins]
    values += [f"{c}& {n} = _{n}[i];" for c, n in outs]
    return "\n".join(
        [
            f'extern "C" __attribute__((visibility("default"))) void {entry}',
            "(long _size, void** _data) {",
            f"FlushSubnormals _flush({str(flush).lower()});",
            *begin,
            f"for (long i = 0; i < _size; ++i) {{ {' '.join(values)} {operation}; }}",
            "}",
        ]
    )


@functools.cache
def _kernel(
    ins: tuple[tuple[str, str], ...],
    outs: tuple[tuple[str, str], ...],
    operation: str,
    preamble: str,
) -> Any:
    text = "\n".join([_HEADER, preamble, _loop("run", ins, outs, operation)])
    return ctypes.CDLL(str(compile_library(text))).run


def run(
    ins: Sequence[Parameter],
    outs: Sequence[Parameter],
    operation: str,
    preamble: str,
    types: dict[str, np.dtype[Any]],
    *arrays: Any,
) -> list[HostArray]:
    """Results of an operation for each element of `arrays`, broadcast."""

    def typed(params: Sequence[Parameter]) -> tuple[tuple[str, str], ...]:
        return tuple((_C_TYPES[types[p.type].name], p.name) for p in params)

    aliases = "\n".join(
        f"using {name} = {_C_TYPES[dtype.name]};" for name, dtype in types.items() if len(name) == 1
    )
    function = _kernel(typed(ins), typed(outs), operation, f"{aliases}\n{preamble}")
    return _execute(function, [types[p.type] for p in ins], [types[p.type] for p in outs], arrays)


def _execute(
    function: Any,
    in_dtypes: Sequence[np.dtype[Any]],
    out_dtypes: Sequence[np.dtype[Any]],
    arrays: Sequence[Any],
) -> list[HostArray]:
    given = [np.asarray(a, dtype) for a, dtype in zip(arrays, in_dtypes, strict=True)]
    shape = np.broadcast_shapes(*(a.shape for a in given))
    given = [np.ascontiguousarray(np.broadcast_to(a, shape)) for a in given]
    made = [np.empty(shape, dtype) for dtype in out_dtypes]
    both = [*given, *made]
    pointers = (ctypes.c_void_p * len(both))(*(a.ctypes.data for a in both))
    function(ctypes.c_long(made[0].size), pointers)
    return made


# ------------------------------------------------------------------ complex functions

# What CuPy's ufuncs run where they are not what NumPy's do; in1 only where there are two.
COMPLEX = {
    **{
        name: f"out0 = {name.replace('arc', 'a')}(in0)"
        for name in (
            *("arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "cos", "cosh"),
            *("exp", "expm1", "log", "log10", "log1p", "log2", "rint", "sin", "sinh", "sqrt"),
            *("tan", "tanh"),
        )
    },
    "divide": "out0 = in0 / in1",
    "exp2": "out0 = pow(T(2), in0)",
    "maximum": "out0 = isnan(in0) || isnan(in1) ? T(0) / T(0) : max(in0, in1)",
    "minimum": "out0 = isnan(in0) || isnan(in1) ? T(0) / T(0) : min(in0, in1)",
    "power": "out0 = in1 == T(0) ? T(1) : pow(in0, in1)",
    "reciprocal": "out0 = T(1) / in0",
    "sign": "auto size = abs(in0); if (size == 0) out0 = T(0); else out0 = in0 / size",
    "sinc": "T turn = T(M_PI) * in0; out0 = abs(in0) > 1e-9 ? sin(turn) / turn : T(1)",
}
# Functions for which there is no overload: the compiler refuses them.
NOT_COMPILED = ("arctan2", "copysign", "hypot", "i0", "nextafter")


@functools.cache
def _complex_library() -> ctypes.CDLL:
    pieces = [_HEADER]
    for char, c in (("F", "complex<float>"), ("D", "complex<double>")):
        for name, code in COMPLEX.items():
            ins = [(c, "in0"), (c, "in1")][: 1 + ("in1" in code)]
            pieces.append(_loop(f"{name}_{char}", ins, [(c, "out0")], f"using T = {c}; {code}"))
    return ctypes.CDLL(str(compile_library("\n".join(pieces))))


def complex_function(name: str, dtype: np.dtype[Any], *arrays: Any) -> HostArray:
    """One of :data:`COMPLEX` of complex arrays, all of `dtype`."""
    function = getattr(_complex_library(), f"{name}_{dtype.char}")
    return _execute(function, [dtype] * len(arrays), [dtype], arrays)[0]


_FLUSHING = """
#define PUBLIC extern "C" __attribute__((visibility("default")))
#if defined(__SSE__)
PUBLIC unsigned begin() {
  unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);
  return before;
}
PUBLIC void end(unsigned before) { _mm_setcsr(before); }
#else
PUBLIC unsigned begin() { return 0; }
PUBLIC void end(unsigned) {}
#endif
"""


@functools.cache
def _flushing() -> tuple[Any, Any]:
    library = ctypes.CDLL(str(compile_library(_HEADER + _FLUSHING)))
    return library.begin, library.end


class flushed:
    """Context in which the thread's float32 numbers below the normal ones are 0."""

    def __enter__(self) -> None:
        begin, self._end = _flushing()
        self._before = begin()

    def __exit__(self, *error: object) -> None:
        self._end(self._before)
