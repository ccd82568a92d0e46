"""Inner loops of NumPy's ufuncs by their addresses, and a driver that runs lists of them.

A ufunc holds compiled loops ``loop(addresses, count, steps, data)``, one for each combination of
dtypes, chosen for the processor when NumPy is imported. Called here they give the bits that the
ufunc gives, without its dispatch; called one after the other on pieces of arrays that fit the
first-level cache, they make of a chain of operations one pass over memory. What NumPy has no ufunc
for (conversions, choices) are loops of the same form, in LLVM's language.

The driver is some instructions of LLVM, compiled once by llvmlite, which comes with Numba.
"""

import ctypes
import functools
import itertools
import platform
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gputensor.kernels import machine_code, pool
from gputensor.kernels.runtime import is_native, spread

__all__ = [
    "NOTED",
    "Loop",
    "driver",
    "find",
    "find_cast",
    "find_choice",
    "halves",
    "share",
    "sums_by_halves",
    "usable",
]


class Loop(NamedTuple):
    """A compiled loop: its address, and that of the data it is given."""

    address: int
    data: int


class _UFunc(ctypes.Structure):
    """``PyUFuncObject`` of numpy/ufuncobject.h, as far as it is read here."""

    _fields_ = (
        ("head", ctypes.c_ssize_t * (object.__basicsize__ // ctypes.sizeof(ctypes.c_ssize_t))),
        ("nin", ctypes.c_int),
        ("nout", ctypes.c_int),
        ("nargs", ctypes.c_int),
        ("identity", ctypes.c_int),
        ("functions", ctypes.POINTER(ctypes.c_void_p)),
        ("data", ctypes.POINTER(ctypes.c_void_p)),
        ("ntypes", ctypes.c_int),
        ("reserved", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("types", ctypes.POINTER(ctypes.c_char)),
    )


@functools.cache
def _loops(ufunc: np.ufunc) -> dict[tuple[int, ...], Loop]:
    """Loops of a ufunc by the type numbers of its operands; none where it is not as expected."""
    inside = _UFunc.from_address(id(ufunc))
    counts = ufunc.nin, ufunc.nout, ufunc.nargs, ufunc.ntypes
    if counts != (inside.nin, inside.nout, inside.nargs, inside.ntypes):
        return {}
    found: dict[tuple[int, ...], Loop] = {}
    numbers = ctypes.string_at(inside.types, inside.ntypes * inside.nargs)
    for i in range(inside.ntypes):
        key = tuple(numbers[i * inside.nargs : (i + 1) * inside.nargs])
        if inside.functions[i]:  # NumPy takes the first that fits
            found.setdefault(key, Loop(inside.functions[i], inside.data[i] or 0))
    return found


def find(ufunc: np.ufunc, dtypes: "Sequence[np.dtype[Any]]") -> Loop | None:
    """The loop for operands of these dtypes, the result's last; None if there is none."""
    if any(dtype.kind not in "biufc" for dtype in dtypes):  # Python objects, for instance
        return None
    return _loops(ufunc).get(tuple(dtype.num for dtype in dtypes))


# Loops of our own

_INTEGERS = {1: "i8", 2: "i16", 4: "i32", 8: "i64", 16: "i128"}


def _llvm_type(dtype: "np.dtype[Any]") -> str | None:
    if dtype.kind in "biu":
        return _INTEGERS[dtype.itemsize]
    return {"f": "float", "d": "double"}.get(dtype.char)


def _conversion(source: "np.dtype[Any]", target: "np.dtype[Any]") -> str | None:
    """Instructions that make ``%y`` of ``%x``; None where C leaves values undefined."""
    a, b = _llvm_type(source), _llvm_type(target)
    if a is None or b is None:
        return None
    if target.kind == "b":
        compare = f"fcmp une {a} %x, 0.0" if source.kind == "f" else f"icmp ne {a} %x, 0"
        return f"%t = {compare}\n  %y = zext i1 %t to i8"
    if source.kind == "f":
        if target.kind != "f":
            return None
        how = "fpext" if target.itemsize > source.itemsize else "fptrunc"
    elif target.kind == "f":
        how = "sitofp" if source.kind == "i" else "uitofp"
    elif target.itemsize > source.itemsize:
        how = "sext" if source.kind == "i" else "zext"
    elif target.itemsize < source.itemsize:
        how = "trunc"
    else:
        return None  # the same bits
    return f"%y = {how} {a} %x to {b}"


_HEAD = """
define void @{name}(i64* %args, i64* %dims, i64* %steps, i64 %data) {{
entry:
  %n = load i64, i64* %dims
"""


def _strided(name: str, types: Sequence[str], body: str, still: Sequence[int] = ()) -> str:
    """A loop over operands of these types, the last of which is stored; `body` makes it ``%y``.

    The operands are ``%x``, or ``%x0``, ``%x1``, ... where there are several. Those that `still`
    numbers are one element in most calls.
    """
    lines = [_HEAD.format(name=name)]
    count = len(types)
    widths = [0 if j in still else _width(kind) for j, kind in enumerate(types)]
    lines += [
        f"""
  %pa{j} = getelementptr i64, i64* %args, i64 {j}
  %a{j} = load i64, i64* %pa{j}
  %ps{j} = getelementptr i64, i64* %steps, i64 {j}
  %s{j} = load i64, i64* %ps{j}
  %d{j} = icmp eq i64 %s{j}, {widths[j]}"""
        for j in range(count)
    ]
    lines.append("\n  %c0 = and i1 %d0, %d0")
    lines += [f"\n  %c{j} = and i1 %c{j - 1}, %d{j}" for j in range(1, count)]
    lines.append(f"""
  %some = icmp sgt i64 %n, 0
  br i1 %some, label %pick, label %done
pick:
  br i1 %c{count - 1}, label %dense, label %loose
""")
    for label in ("dense", "loose"):
        part = [f"{label}:\n  %i{label} = phi i64 [0, %pick], [%n{label}, %{label}]\n"]
        for j, kind in enumerate(types):
            step = str(widths[j]) if label == "dense" else f"%s{j}"
            part.append(f"""  %o{label}{j} = mul i64 %i{label}, {step}
  %q{label}{j} = add i64 %a{j}, %o{label}{j}
  %p{label}{j} = inttoptr i64 %q{label}{j} to {kind}*
""")
            if j < count - 1:
                operand = "x" if count == 2 else f"x{j}"
                part.append(f"  %{operand}_{label} = load {kind}, {kind}* %p{label}{j}, align 1\n")
        text = body
        for operand in ["x"] if count == 2 else [f"x{j}" for j in range(count - 1)]:
            text = text.replace(f"%{operand} ", f"%{operand}_{label} ")
            text = text.replace(f"%{operand},", f"%{operand}_{label},")
            text = text.replace(f"%{operand}\n", f"%{operand}_{label}\n")
        text = text.replace("%y", f"%y_{label}").replace("%t ", f"%t_{label} ")
        text = text.replace("%t,", f"%t_{label},")
        part.append(f"  {text}\n")
        result = "%x_" + label if body == "" else f"%y_{label}"
        part.append(f"""  store {types[-1]} {result}, {types[-1]}* %p{label}{count - 1}, align 1
  %n{label} = add i64 %i{label}, 1
  %m{label} = icmp slt i64 %n{label}, %n
  br i1 %m{label}, label %{label}, label %done
""")
        lines.append("".join(part))
    lines.append("done:\n  ret void\n}\n")
    return "".join(lines)


def _width(kind: str) -> int:
    return {"float": 4, "double": 8}.get(kind) or int(kind[1:]) // 8


@functools.cache
def find_cast(source: "np.dtype[Any]", target: "np.dtype[Any]") -> Loop | None:
    """The loop that converts, or copies where the dtypes are equal; None if there is none."""
    alike = source.kind in "biu" and target.kind in "iu" and source.itemsize == target.itemsize
    if source == target or alike:
        kind = _INTEGERS.get(source.itemsize)
        if kind is None:
            return None
        return _compiled(
            f"copy{source.itemsize}", _strided(f"copy{source.itemsize}", (kind, kind), "")
        )
    body = _conversion(source, target)
    if body is None:
        return None
    name = f"cast_{source.char}_{target.char}".replace("?", "bool")
    types = (_llvm_type(source), _llvm_type(target))
    return _compiled(name, _strided(name, types, body))  # type: ignore[arg-type]


@functools.cache
def find_choice(itemsize: int, still: tuple[int, ...] = ()) -> Loop | None:
    """The loop of ``where(condition, x, y)`` for elements of so many bytes.

    It is quickest where the operands that `still` numbers are one element, and the others dense.
    """
    kind = _INTEGERS.get(itemsize)
    if kind is None:
        return None
    name = "_".join(["choose", str(itemsize), *map(str, still)])
    body = f"%t = icmp ne i8 %x0, 0\n  %y = select i1 %t, {kind} %x1, {kind} %x2\n"
    return _compiled(name, _strided(name, ("i8", kind, kind, kind), body, still))


_DRIVER = """
define i64 @driver(i64* %code, i64 %groups, i64* %bases, i64* %objects, i64 %known) {
entry:
  %seen = alloca i64
  store i64 0, i64* %seen
  %args = alloca [8 x i64]
  %steps = alloca [8 x i64]
  %count = alloca i64
  %args0 = getelementptr [8 x i64], [8 x i64]* %args, i64 0, i64 0
  %steps0 = getelementptr [8 x i64], [8 x i64]* %steps, i64 0, i64 0
  %stale = call i64 @exceptions()
  %clean = icmp eq i64 %stale, 0
  br i1 %clean, label %begin, label %forget
forget:
  call void @clear_exceptions()
  br label %begin
begin:
  %any = icmp sgt i64 %known, 0
  br i1 %any, label %object, label %group
object:
  %k = phi i64 [0, %begin], [%kn, %object]
  %po = getelementptr i64, i64* %objects, i64 %k
  %o = load i64, i64* %po
  %od = add i64 %o, 16
  %odp = inttoptr i64 %od to i64*
  %d = load i64, i64* %odp
  %pbk = getelementptr i64, i64* %bases, i64 %k
  store i64 %d, i64* %pbk
  %kn = add i64 %k, 1
  %more_objects = icmp slt i64 %kn, %known
  br i1 %more_objects, label %object, label %group
group:
  %g = phi i64 [0, %begin], [0, %object], [%g1, %group_end]
  %at = phi i64* [%code, %begin], [%code, %object], [%after, %group_end]
  %pn = getelementptr i64, i64* %at, i64 0
  %n = load i64, i64* %pn
  %pb = getelementptr i64, i64* %at, i64 1
  %block = load i64, i64* %pb
  %pk = getelementptr i64, i64* %at, i64 2
  %instructions = load i64, i64* %pk
  %pr0 = getelementptr i64, i64* %at, i64 3
  %r0 = load i64, i64* %pr0
  %pr1 = getelementptr i64, i64* %at, i64 4
  %r1 = load i64, i64* %pr1
  %pr2 = getelementptr i64, i64* %at, i64 5
  %r2 = load i64, i64* %pr2
  %first = getelementptr i64, i64* %at, i64 6
  br label %outer
outer:
  %o0 = phi i64 [0, %group], [%o0n, %outer_end]
  %o1 = phi i64 [0, %group], [%o1n, %outer_end]
  %o2 = phi i64 [0, %group], [%o2n, %outer_end]
  br label %piece
piece:
  %start = phi i64 [0, %outer], [%next, %piece_end]
  %left = sub i64 %n, %start
  %short = icmp slt i64 %left, %block
  %now = select i1 %short, i64 %left, i64 %block
  store i64 %now, i64* %count
  br label %op
op:
  %i = phi i64 [0, %piece], [%i1, %ran]
  %op_at = phi i64* [%first, %piece], [%op_next, %ran]
  %fn = load i64, i64* %op_at
  %pd = getelementptr i64, i64* %op_at, i64 1
  %data = load i64, i64* %pd
  %pna = getelementptr i64, i64* %op_at, i64 2
  %nargs = load i64, i64* %pna
  %pw = getelementptr i64, i64* %op_at, i64 3
  %watched = load i64, i64* %pw
  %arg_first = getelementptr i64, i64* %op_at, i64 4
  br label %arg
arg:
  %j = phi i64 [0, %op], [%j1, %arg]
  %a = phi i64* [%arg_first, %op], [%a_next, %arg]
  %base_i = load i64, i64* %a
  %pbase = getelementptr i64, i64* %bases, i64 %base_i
  %base = load i64, i64* %pbase
  %a1 = getelementptr i64, i64* %a, i64 1
  %offset = load i64, i64* %a1
  %a2 = getelementptr i64, i64* %a, i64 2
  %step = load i64, i64* %a2
  %a3 = getelementptr i64, i64* %a, i64 3
  %move = load i64, i64* %a3
  %a4 = getelementptr i64, i64* %a, i64 4
  %s0 = load i64, i64* %a4
  %a5 = getelementptr i64, i64* %a, i64 5
  %s1 = load i64, i64* %a5
  %a6 = getelementptr i64, i64* %a, i64 6
  %s2 = load i64, i64* %a6
  %moved = mul i64 %start, %move
  %m0 = mul i64 %o0, %s0
  %m1 = mul i64 %o1, %s1
  %m2 = mul i64 %o2, %s2
  %t0 = add i64 %base, %offset
  %t1 = add i64 %t0, %moved
  %t2 = add i64 %t1, %m0
  %t3 = add i64 %t2, %m1
  %t4 = add i64 %t3, %m2
  %to = getelementptr i64, i64* %args0, i64 %j
  store i64 %t4, i64* %to
  %st = getelementptr i64, i64* %steps0, i64 %j
  store i64 %step, i64* %st
  %j1 = add i64 %j, 1
  %a_next = getelementptr i64, i64* %a, i64 7
  %more_args = icmp slt i64 %j1, %nargs
  br i1 %more_args, label %arg, label %run
run:
  %loop = inttoptr i64 %fn to void (i64*, i64*, i64*, i64)*
  call void %loop(i64* %args0, i64* %count, i64* %steps0, i64 %data)
  %raised = call i64 @exceptions()
  %loud = and i64 %raised, %watched
  %quiet = icmp eq i64 %raised, 0
  br i1 %quiet, label %ran, label %noisy
noisy:
  call void @clear_exceptions()
  %seen_before = load i64, i64* %seen
  %first_time = icmp eq i64 %seen_before, 0
  %is_loud = icmp ne i64 %loud, 0
  %new = and i1 %first_time, %is_loud
  br i1 %new, label %note, label %ran
note:
  %mark = and i64 %watched, -256
  %found = or i64 %mark, %loud
  store i64 %found, i64* %seen
  br label %ran
ran:
  %i1 = add i64 %i, 1
  %op_next = getelementptr i64, i64* %a_next, i64 0
  %more_ops = icmp slt i64 %i1, %instructions
  br i1 %more_ops, label %op, label %piece_end
piece_end:
  %next = add i64 %start, %block
  %more_pieces = icmp slt i64 %next, %n
  br i1 %more_pieces, label %piece, label %outer_end
outer_end:
  %o2a = add i64 %o2, 1
  %c2 = icmp sge i64 %o2a, %r2
  %o2n = select i1 %c2, i64 0, i64 %o2a
  %k1 = zext i1 %c2 to i64
  %o1a = add i64 %o1, %k1
  %c1 = icmp sge i64 %o1a, %r1
  %o1n = select i1 %c1, i64 0, i64 %o1a
  %k0 = zext i1 %c1 to i64
  %o0n = add i64 %o0, %k0
  %more_outer = icmp slt i64 %o0n, %r0
  br i1 %more_outer, label %outer, label %group_end
group_end:
  %after = getelementptr i64, i64* %op_next, i64 0
  %g1 = add i64 %g, 1
  %more_groups = icmp slt i64 %g1, %groups
  br i1 %more_groups, label %group, label %done
done:
  %answer = load i64, i64* %seen
  ret i64 %answer
}
"""

# The driver as a part of a job of :mod:`gputensor.kernels.pool`: what it gives takes the place of
# the code's address among the words that it is told; after that is the number of groups.
_PART = """
define void @driver_part(i64 %index, i8* %argument) {
  %words = bitcast i8* %argument to i64*
  %p1 = getelementptr i64, i64* %words, i64 1
  %p2 = getelementptr i64, i64* %words, i64 2
  %twice = mul i64 %index, 2
  %place = add i64 %twice, 3
  %p3 = getelementptr i64, i64* %words, i64 %place
  %p4 = getelementptr i64, i64* %p3, i64 1
  %bases = load i64, i64* %words
  %objects = load i64, i64* %p1
  %known = load i64, i64* %p2
  %code = load i64, i64* %p3
  %groups = load i64, i64* %p4
  %bases_at = inttoptr i64 %bases to i64*
  %objects_at = inttoptr i64 %objects to i64*
  %code_at = inttoptr i64 %code to i64*
  %found = call i64 @driver(i64* %code_at, i64 %groups, i64* %bases_at, i64* %objects_at,
                            i64 %known)
  store i64 %found, i64* %p3
  ret void
}
"""

# The exceptions that floating-point operations met since they were cleared, which the driver does
# first: others leave theirs, as products of matrices do; bits as of NOTED. On
# x86 both units have some: C's feraiseexcept, which NumPy's loops call, sets those of the old one.
_EXCEPTIONS = {
    "x86_64": """
declare void @llvm.x86.sse.stmxcsr(i8*)
declare void @llvm.x86.sse.ldmxcsr(i8*)
define internal i64 @exceptions() alwaysinline {
  %word = alloca i32
  %at = bitcast i32* %word to i8*
  call void @llvm.x86.sse.stmxcsr(i8* %at)
  %sse = load i32, i32* %word
  %x87 = call i16 asm sideeffect "fnstsw $0", "={ax}"()
  %wide = zext i16 %x87 to i32
  %both = or i32 %sse, %wide
  %flags = and i32 %both, 29
  %found = zext i32 %flags to i64
  ret i64 %found
}
define internal void @clear_exceptions() alwaysinline {
  %word = alloca i32
  %at = bitcast i32* %word to i8*
  call void @llvm.x86.sse.stmxcsr(i8* %at)
  %value = load i32, i32* %word
  %cleared = and i32 %value, -64
  store i32 %cleared, i32* %word
  call void @llvm.x86.sse.ldmxcsr(i8* %at)
  call void asm sideeffect "fnclex", ""()
  ret void
}
""",
    "aarch64": """
define internal i64 @exceptions() alwaysinline {
  %value = call i64 asm sideeffect "mrs $0, fpsr", "=r"()
  %flags = and i64 %value, 15
  ret i64 %flags
}
define internal void @clear_exceptions() alwaysinline {
  call void asm sideeffect "msr fpsr, $0", "r"(i64 0)
  ret void
}
""",
}
_MACHINE = {"amd64": "x86_64", "arm64": "aarch64"}.get(
    platform.machine().lower(), platform.machine().lower()
)
_BITS = {"x86_64": (1, 4, 8, 16), "aarch64": (1, 2, 4, 8)}.get(_MACHINE, ())
NOTED = dict(zip(("invalid", "divide", "over", "under"), _BITS, strict=False))


def _compiled(name: str, text: str) -> Loop:
    (address,) = machine_code.compiled(text, name)
    return Loop(address, 0)


@functools.cache
def _drivers() -> tuple[int, int]:
    """Addresses of the driver, and of what runs it as a part of a job."""
    driver, part = machine_code.compiled(
        _EXCEPTIONS[_MACHINE] + _DRIVER + _PART, "driver", "driver_part"
    )
    return driver, part


@functools.cache
def driver() -> Any:
    """``driver(code, groups, bases, objects, known)``, see :mod:`gputensor.graph.cpu`.

    The first `known` of the bases it reads off the array objects whose addresses `objects` holds.
    It gives 0, or of the first instruction whose operations met an exception that it is told to
    note: the exceptions, as of ``NOTED``, and the instruction's mark from bit 8 on.
    """
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    return ctypes.CFUNCTYPE(number, pointer, number, pointer, pointer, number)(_drivers()[0])


def share(parts: Sequence[tuple[int, int]], bases: Any, objects: Any, known: int) -> int:
    """Run codes of so many groups side by side, each on a thread; what the driver gives for one."""
    calls = [(code, groups, bases, objects, known) for code, groups in parts]
    if is_native():
        words = (ctypes.c_int64 * (3 + 2 * len(parts)))(
            ctypes.addressof(bases), ctypes.addressof(objects), known, *itertools.chain(*parts)
        )
        if pool.run(_drivers()[1], words, len(parts), 0):
            return next(filter(None, words[3::2]), 0)
        found = [driver()(*call) for call in calls]
    else:
        found = spread(driver(), calls)
    return next(filter(None, found), 0)


def halves(length: int, depth: int) -> list[int]:
    """Lengths of the stretches that NumPy's sum has after halving so often.

    It sums stretches of more than 128 elements as two halves, the first of a multiple of 8 elements
    (pairwise summation, ``numpy/_core/src/umath/loops_utils.h.src``).
    """
    found = [length]
    for _ in range(depth):
        found = [part for n in found for part in (n // 16 * 8, n - n // 16 * 8)]
    return found


@functools.cache
def sums_by_halves() -> bool:
    """Whether NumPy's sum goes by :func:`halves`."""
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        x = (rng.standard_normal(5003) * 10.0 ** rng.integers(-3, 4, 5003)).astype(dtype)
        parts = [p.sum() for p in np.split(x, np.cumsum(halves(x.size, 3))[:-1])]
        while len(parts) > 1:
            parts = [a + b for a, b in zip(parts[::2], parts[1::2], strict=True)]
        if parts[0] != x.sum():
            return False
    return True


@functools.cache
def usable() -> bool:
    """Whether NumPy's loops are where they are looked for: a sum of two arrays comes out right."""
    if not machine_code.usable() or _MACHINE not in _EXCEPTIONS:
        return False
    x, y, out = np.arange(3.0), np.full(3, 0.5), np.zeros(3)
    loop = _loops(np.add).get((x.dtype.num,) * 3)
    if loop is None:
        return False
    operands = [word for i in range(3) for word in (i, 0, 8, 8, 0, 0, 0)]
    code = np.array([3, 2, 1, 1, 1, 1, loop.address, loop.data, 3, 0, *operands], np.int64)
    objects = (ctypes.c_int64 * 3)(id(x), id(y), id(out))
    bases = (ctypes.c_int64 * 3)()
    # Only an array whose address lies where it is looked for is touched.
    if ctypes.c_int64.from_address(id(x) + 16).value != x.ctypes.data:
        return False
    driver()(code.ctypes.data, 1, bases, objects, 3)
    return out.tolist() == [0.5, 1.5, 2.5]
