"""CuPy's elementwise functions: the dtypes they are written for, and what they compute.

``LOOPS`` is CuPy 14.2's, ``tests/test_standin.py`` compares it with an installed CuPy. As there,
the first loop that the operands can be cast to safely is the one that runs.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .elementwise import COMPLEX, NOT_COMPILED, complex_function, flushed
from .host_module import CompileException

__all__ = ["LOOPS", "Loop", "choose", "compute", "converted"]

HostArray = np.ndarray[Any, Any]

_INTEGERS = "bBhHiIlLqQ"
_REAL = "eEfd"  # E is bfloat16
_COMPLEX = "FD"


def _alike(chars: str, nin: int = 1, out: str = "") -> tuple[str, ...]:
    """Loops from one dtype to the same, or to `out`."""
    return tuple(f"{c * nin}->{out or c}" for c in chars)


def _compared(chars: str) -> tuple[str, ...]:
    return ("??->?", "qq->?", "QQ->?", "qQ->?", "Qq->?", *_alike(chars, 2, "?"))


LOOPS: dict[str, tuple[str, ...]] = {
    name: loops
    for names, loops in {
        "absolute": (*_alike("?" + _INTEGERS + _REAL), "F->f", "D->d"),
        """
        arccos arccosh arcsin arcsinh arctan arctanh cos cosh exp exp2 expm1 i0 log log10 log1p
        log2 rint sin sinc sinh sqrt tan tanh
        """: _alike(_REAL + _COMPLEX),
        "add fmax fmin maximum minimum multiply subtract": _alike(
            "?" + _INTEGERS + _REAL + _COMPLEX, 2
        ),
        "arctan2 copysign hypot nextafter": _alike(_REAL + _COMPLEX, 2),
        "bitwise_and bitwise_or bitwise_xor gcd lcm": _alike("?" + _INTEGERS, 2),
        "bitwise_count": _alike(_INTEGERS, 1, "B"),
        "invert": _alike("?" + _INTEGERS),
        "left_shift right_shift": _alike(_INTEGERS, 2),
        "cbrt deg2rad degrees fabs rad2deg radians": _alike(_REAL),
        "ceil fix floor trunc": _alike("?" + _INTEGERS + _REAL),
        "clip": _alike("?" + _INTEGERS + "efd", 3),
        "conjugate reciprocal sign square": _alike(_INTEGERS + _REAL + _COMPLEX),
        "divide": ("qq->d", "qQ->d", "Qq->d", "QQ->d", *_alike(_REAL + _COMPLEX, 2)),
        "divmod": tuple(f"{c}{c}->{c}{c}" for c in _INTEGERS + "efd"),
        "equal not_equal greater greater_equal less less_equal": _compared(_REAL + _COMPLEX),
        "float_power": ("dd->d", "FF->D", "DD->D"),
        "floor_divide fmod remainder": _alike(_INTEGERS + _REAL, 2),
        "frexp": ("e->ei", "E->Ei", "f->fi", "d->di"),
        "heaviside logaddexp logaddexp2": _alike(_REAL, 2),
        "isfinite isinf isnan": _alike(_REAL + _COMPLEX, 1, "?"),
        "ldexp": ("ei->e", "Ei->E", "fi->f", "el->e", "El->E", "fl->f", "di->d", "dq->d"),
        "logical_and logical_or": _compared(_REAL),
        "logical_not": _alike("?" + _INTEGERS + "efd", 1, "?"),
        "logical_xor": _alike("?" + _INTEGERS + "efd", 2, "?"),
        "modf": ("e->ee", "E->EE", "f->ff", "d->dd"),
        "nan_to_num": (*_alike("?" + _INTEGERS + _REAL, 4), "Ffff->F", "Dddd->D"),
        "negative positive": _alike("?" + _INTEGERS + _REAL + _COMPLEX),
        "power": ("??->b", *_alike(_INTEGERS + _REAL + _COMPLEX, 2)),
        "round": ("?q->e", *(f"{c}q->{c}" for c in _INTEGERS + "efdFD")),
        "signbit": _alike(_REAL, 1, "?"),
        "where": tuple(f"?{c}{c}->{c}" for c in "?" + _INTEGERS + "efdFD"),
        # of cupyx.scipy.special
        "betainc": ("fff->f", "ddd->d"),
        "digamma": ("l->d", "e->d", "f->f", "d->d", "F->F", "D->D"),
        "erf erfc expit log_ndtr ndtr": ("e->d", "f->f", "d->d"),
        "erfinv": ("f->f", "d->d"),
        "gammainc gammaincc": ("ff->f", "dd->d"),
        "gammaln": ("l->d", "e->d", "f->f", "d->d"),
    }.items()
    for name in names.split()
}

# Operations on bools that CuPy has loops for, which raise.
_NOT_OF_BOOLS = {"gcd", "lcm", "negative", "positive", "subtract"}


class Loop(NamedTuple):
    """Dtypes of the operands and results of a loop."""

    ins: tuple[np.dtype[Any], ...]
    outs: tuple[np.dtype[Any], ...]


def _dtype(char: str) -> np.dtype[Any] | None:
    if char != "E":
        return np.dtype(char)
    ml_dtypes = sys.modules.get("ml_dtypes")
    return None if ml_dtypes is None else np.dtype(ml_dtypes.bfloat16)


@functools.cache
def _parsed(name: str, bfloat16: bool) -> tuple[Loop, ...]:
    loops = []
    for text in LOOPS[name]:
        dtypes = [tuple(map(_dtype, part)) for part in text.split("->")]
        if not any(d is None for d in (*dtypes[0], *dtypes[1])):  # a dtype equals None
            loops.append(Loop(*dtypes))  # type: ignore[arg-type]
    return tuple(loops)


def loops_of(name: str) -> tuple[Loop, ...]:
    """Loops of a function, those of bfloat16 only once somebody has such numbers."""
    return _parsed(name, "ml_dtypes" in sys.modules)


_WEAK = (int, float, complex)
_KINDS = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 2}


def _type_of(value: Any) -> np.dtype[Any]:
    dtype = getattr(value, "dtype", None)
    if dtype is not None:
        return np.dtype(dtype)
    return np.dtype(np.uint64) if type(value) is int and value >= 2**63 else np.dtype(type(value))


def choose(name: str, args: Sequence[Any], dtype: Any = None) -> Loop:
    """The loop that CuPy takes for host arrays and numbers.

    Raises
    ------
    TypeError
        If there is none.
    """
    if dtype is not None:
        for loop in loops_of(name):
            if all(out == np.dtype(dtype) for out in loop.outs):
                return loop
        raise TypeError(f"Wrong type ({dtype}) of arguments for cupy_{name}")
    types = [_type_of(a) for a in args]
    weak = [type(a) if type(a) in _WEAK else None for a in args]
    if name in ("equal", "not_equal", "greater", "greater_equal", "less", "less_equal"):
        # A Python integer is compared by its value.
        weak = [None if w is int and types[1 - i].kind in "iu" else w for i, w in enumerate(weak)]
    strong = [_KINDS.get(t.kind, 3) for t, w in zip(types, weak, strict=True) if w is None]
    kinds = [_KINDS[t.kind] for t, w in zip(types, weak, strict=True) if w is not None]
    if not strong or not kinds or max(strong) < max(kinds):
        weak = [None] * len(args)
    found = _find(name, tuple(types), tuple(weak), "ml_dtypes" in sys.modules)
    if found is None:
        raise TypeError(f"Wrong type ({tuple(types)}) of arguments for cupy_{name}")
    if name in _NOT_OF_BOOLS and found.ins[0].kind == "b":
        raise TypeError(f"The cupy boolean {name}, the operator, is not supported.")
    return found


@functools.cache
def _find(
    name: str, types: tuple[np.dtype[Any], ...], weak: tuple[Any, ...], bfloat16: bool
) -> Loop | None:
    for loop in loops_of(name):
        for given, w, wanted in zip(types, weak, loop.ins, strict=True):
            if not np.can_cast(given, wanted) and (
                w is None or np.result_type(w(0), wanted) != wanted
            ):
                break
        else:
            return loop
    return None


# ------------------------------------------------------------------ values


def converted(x: HostArray, dtype: Any, order: Any = "C") -> HostArray:
    """Copy with another dtype. Floats that are no number of an integer dtype become what the
    device's conversion gives: the nearest one of 32 or 64 bits, and of that the lowest bits.
    """
    dtype = np.dtype(dtype)
    if dtype.kind not in "iu" or x.dtype.kind in "biu":
        return x.astype(dtype, order)
    wide = np.dtype(f"{dtype.kind}{max(4, dtype.itemsize)}")
    low, high = np.iinfo(wide).min, np.iinfo(wide).max
    value = np.trunc((x.real if x.dtype.kind == "c" else x).astype(np.float64, order))
    inside = (value >= low) & (value < 2.0 ** high.bit_length())
    found = np.where(inside, value, 0).astype(wide, order)
    found[value < low] = low
    found[value >= 2.0 ** high.bit_length()] = high
    found[np.isnan(value)] = low if wide.itemsize == 8 else 0
    return found.astype(dtype, order)


def _power(x: Any, y: Any) -> Any:
    """C's power of real numbers; integers to negative powers are cut to integers."""
    if x.dtype.kind == "f":
        # NumPy takes the square root where the exponent is 0.5: NaN of -inf, and -0 of -0.
        half = np.equal(y, 0.5)
        found = np.power(x, y)
        return np.where(half, np.float_power(x, y).astype(x.dtype), found) if half.any() else found
    if x.dtype.kind != "i" or not np.less(y, 0).any():
        return np.power(x, y)
    found = np.power(x, np.abs(y))
    return np.where(np.less(y, 0) & (np.abs(x) != 1), 0, found)


def _floor_divide(x: Any, y: Any) -> Any:
    """Floor of the rounded quotient; NumPy takes the remainder off first."""
    return np.floor_divide(x, y) if x.dtype.kind in "iu" else np.floor(np.divide(x, y))


def _remainder(x: Any, y: Any) -> Any:
    """What the floor of the quotient leaves; NumPy's is exact and knows infinities."""
    if x.dtype.kind in "iu":
        return np.remainder(x, y)
    return np.subtract(x, _floor_divide(x, y) * y)


def _fmod(x: Any, y: Any) -> Any:
    if x.dtype.kind == "f":
        return np.fmod(x, y)
    return np.where(y == 0, 0, np.fmod(x.astype(np.float64), y.astype(np.float64)))


def _extreme(function: np.ufunc, zeros: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """C's function, for which 0 is larger than -0, and NaN where either is."""

    def compute(x: Any, y: Any) -> Any:
        if x.dtype.kind != "f":
            return function(x, y)
        found = np.where((x == 0) & (y == 0), zeros(x, y), function(x, y))
        return np.where(np.isnan(x) | np.isnan(y), x.dtype.type(np.nan), found)

    return compute


def _sign(x: Any) -> Any:
    return np.sign(x) if x.dtype.kind != "f" else np.where(x == 0, x.dtype.type(0), np.sign(x))


def _clip(x: Any, low: Any, high: Any) -> Any:
    """Choice by comparison, for which what is NaN is no bound."""
    within = np.where(x < low, low, np.where(x > high, high, x))
    return np.where(low > high, high, within)


def _reciprocal(x: Any) -> Any:
    if x.dtype.kind == "f":
        return np.reciprocal(x)
    return np.where(x == 0, 0, 1 // np.where(x == 0, 1, x) * (np.abs(x) == 1))


def _round(x: Any, decimals: Any) -> Any:
    return x if x.dtype.kind in "iub" else np.round(x, int(decimals))


def _nan_to_num(x: Any, nan: Any, posinf: Any, neginf: Any) -> Any:
    return np.nan_to_num(x, nan=nan[()], posinf=posinf[()], neginf=neginf[()])


_OWN: dict[str, Callable[..., Any]] = {
    "clip": _clip,
    "floor_divide": _floor_divide,
    "fmod": _fmod,
    "maximum": _extreme(np.fmax, lambda x, y: x + y),
    "minimum": _extreme(np.fmin, lambda x, y: -(-x - y)),
    "nan_to_num": _nan_to_num,
    "power": _power,
    "reciprocal": _reciprocal,
    "remainder": _remainder,
    "round": _round,
    "sign": _sign,
    "sinc": lambda x: np.where(np.abs(x) > 1e-9, np.sinc(x), x.dtype.type(1)),
    "where": np.where,
}


def compute(
    name: str, function: Callable[..., Any], loop: Loop, *args: Any
) -> HostArray | tuple[HostArray, ...]:
    """What a loop gives for host arrays and numbers, in C order as all that CuPy computes."""
    given = [
        a.astype(t, copy=False) if isinstance(a, np.ndarray) else np.asarray(a, t)
        for a, t in zip(args, loop.ins, strict=True)
    ]
    chars = {t.char for t in (*loop.ins, *loop.outs)}
    if chars & set(_COMPLEX) and any(t.kind == "c" for t in loop.ins):
        if name in NOT_COMPILED:
            raise CompileException(
                f'kernel.cu(19): error: no instance of overloaded function "{name}" matches the '
                "argument list",
                *("", "kernel.cu", ()),
            )
        if name in COMPLEX:
            return complex_function(name, loop.outs[0], *given)
    # Numbers of 16 bits are computed with as float32, and so rounded once.
    narrow = [t for t in loop.ins if t.name == "bfloat16"]
    if narrow:
        given = [a.astype(np.float32) if a.dtype == narrow[0] else a for a in given]
    with flushed() if chars & set("eEfF") else contextlib.nullcontext():
        found = _OWN.get(name, function)(*given)
    if isinstance(found, tuple):
        return tuple(
            np.asarray(f).astype(t, "C", copy=False) for f, t in zip(found, loop.outs, strict=True)
        )
    return np.asarray(found).astype(loop.outs[0], "C", copy=False)
