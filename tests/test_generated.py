"""Kernels generated from groups: formulas, layouts, reductions; on the stand-in and by NVRTC."""

import functools
import itertools
import math
import os
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gputensor as gt
import nvrtc
from checks import bits
from conftest import forget_cupy
from gputensor import backend, standin
from gputensor.graph import formulas, ir
from gputensor.graph.cuda import Program
from gputensor.graph.ir import Graph, Node, Returned, Value
from kernel_cases import Launch

PLACE = ((lambda: None).__code__, 0)


class Builder:
    """A graph of maps and reductions, made by hand."""

    def __init__(self):
        self.graph = Graph(backend.Device("cuda"))
        self.graph.result = []
        self.arrays = []

    def argument(self, array, shape=None, strides=None, offset=0):
        """An argument; its layout is given in elements of a NumPy array that is its memory."""
        host = np.asarray(array)
        buffer = self.graph.buffer("argument", host.nbytes)
        shape = host.shape if shape is None else shape
        size = host.itemsize
        strides = host.strides if strides is None else tuple(s * size for s in strides)
        value = Value(buffer, 0, offset * size, shape, strides, host.dtype)
        self.graph.arguments.append(value)
        self.arrays.append((host, value))
        return value

    def node(self, kind, op, args, shape, dtype, **kwargs):
        dtype = np.dtype(dtype)
        like = np.empty(shape, dtype)
        buffer = self.graph.buffer("temporary", like.nbytes)
        buffer.version = 1
        out = Value(buffer, 1, 0, like.shape, like.strides, dtype)
        self.graph.nodes.append(Node(kind, op, tuple(args), kwargs, (out,), PLACE))
        self.graph.result.append(Returned(out, False))
        return out

    def map(self, op, *args, dtype):
        shape = np.broadcast_shapes(*(a.shape for a in args if isinstance(a, Value)))
        return self.node("map", op, args, shape, dtype)

    def run(self, cupy):
        ir.verify(self.graph)
        program = Program(self.graph)
        device = []
        for host, value in self.arrays:
            memory = cupy.asarray(host.reshape(-1))
            pointer = memory.data + value.offset
            device.append(cupy.ndarray(value.shape, value.dtype, pointer, value.strides))
        results, _ = program.run(*device)
        return [backend.to_host(r) for r in results], program


# Formulas

FLOATS = ["float16", "bfloat16", "float32", "float64"]
INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
DTYPES = [*FLOATS, *INTEGERS, "bool"]


def dtype_of(name):
    if name == "bfloat16":
        return np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    return np.dtype(name)


def numbers(dtype):
    """Pairs of numbers, special ones and others."""
    rng = np.random.default_rng(3)
    if dtype.kind == "b":
        x = [False, False, True, True]
        return np.array(x), np.array(x[::-1])
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        special = {0, 1, 2, 3, 7, limits.max, limits.max - 1, limits.min, limits.min + 1}
        special |= {-1, -2, -3, 8 * dtype.itemsize} if dtype.kind == "i" else {8 * dtype.itemsize}
        pairs = np.array(list(itertools.product(sorted(special), repeat=2)), object)
        return pairs[:, 0].astype(dtype), pairs[:, 1].astype(dtype)
    # Below the normal numbers those of float32, and bfloat16, are 0 on the device.
    tiny = {"float16": 6e-8, "bfloat16": 1e-30, "float32": 1e-30}.get(dtype.name, 1e-310)
    huge = {"float16": 6e4}.get(dtype.name, 3e38)
    special = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -2.5, 3.0, math.inf, -math.inf, math.nan]
    special += [tiny, -tiny, huge, 0.1, 1e-4, 7.75]
    pairs = np.array(list(itertools.product(special, repeat=2)))
    more = rng.standard_normal((40, 2)) * 3
    x, y = np.concatenate([pairs, more, np.abs(more), more / 4]).T
    return x.astype(dtype), y.astype(dtype)


# Functions that C's library rounds otherwise than NumPy: by how many units in the last place.
INEXACT = {
    *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "logaddexp", "logaddexp2"),
    *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "arctan2", "sinh", "cosh", "tanh"),
    *("arcsinh", "arccosh", "arctanh", "power", "cbrt", "hypot", "erf", "erfc", "erfinv"),
    *("gammaln", "digamma", "deg2rad", "rad2deg"),
}
SPECIAL = {"digamma", "erfc", "erfinv", "gammaln"}
OPERATIONS = [n for n in formulas.FORMULAS if n not in ("where", "cast", "clip")]


def numpy_function(name):
    return getattr(backend.NAMESPACES[np.ndarray], name)


def operand_count(name):
    return 2 if any(re.search(r"\by\b", code) for code in formulas.FORMULAS[name]) else 1


def expected_of(name, dtype, *operands):
    """NumPy's result; None if it has none for the dtype."""
    function = numpy_function(name)
    wide = [o.astype(np.float32) if formulas.is_narrow(dtype) else o for o in operands]
    tests = formulas._TESTS | {n for n in formulas.FORMULAS if n.startswith("logical_")}
    with np.errstate(all="ignore"):
        try:
            if name == "power" and dtype.kind in "iu":
                found = np.array(
                    [
                        pow(int(a), int(b), 1 << 8 * dtype.itemsize)
                        if b >= 0
                        else (1 if a == 1 else (-1 if b % 2 else 1) if a == -1 else 0)
                        for a, b in zip(*operands, strict=True)
                    ],
                    object,
                )
                bound = 1 << 8 * dtype.itemsize
                return np.array([int(v) % bound for v in found], np.uint64).astype(dtype)
            if name == "reciprocal" and dtype.kind in "iu":
                return np.array(
                    [
                        0
                        if v == 0
                        else int(1 / int(v))
                        if abs(int(v)) == 1
                        else (-1 if v < 0 else 0)
                        for v in operands[0]
                    ],
                    dtype,
                )
            found = function(*wide)
            if name == "floor_divide" and dtype.kind in "fV":  # of infinities as gt.floor_divide
                endless = np.isinf(wide[0]) | np.isinf(wide[1])
                found = np.where(endless, np.floor(np.divide(*wide)), found)
        except TypeError:
            return None
    if name in tests:
        return found
    if formulas.is_narrow(dtype) and found.dtype == np.float32:
        with np.errstate(over="ignore"):
            return found.astype(dtype)
    return found if found.dtype == dtype else None


def all_formulas(dtype):
    """A graph of all operations there are for a dtype, their names and results."""
    x, y = numbers(dtype)
    made = Builder()
    a, b = made.argument(x), made.argument(y)
    wanted = []
    for op in OPERATIONS:
        operands = (x, y)[: operand_count(op)]
        expected = expected_of(op, dtype, *operands)
        if expected is None:
            continue
        made.map(op, *(a, b)[: len(operands)], dtype=expected.dtype)
        if formulas.formula_of(made.graph.nodes[-1]) is None:
            made.graph.nodes.pop()
            made.graph.result.pop()
            continue
        wanted.append((op, expected))
    return made, wanted


@pytest.mark.parametrize("name", DTYPES)
def test_formulas_have_the_values_of_numpy(cupy, name):
    dtype = dtype_of(name)
    made, wanted = all_formulas(dtype)
    assert len(wanted) > (20 if dtype.kind != "b" else 10)
    found, _ = made.run(cupy)
    for (op, expected), got in zip(wanted, found, strict=True):
        assert got.dtype == expected.dtype, op
        if op == "gammaln":  # SciPy's is infinite of subnormal numbers, and -inf of -inf
            size = np.abs(numbers(dtype)[0].astype(np.float64))
            inside = (size < 1e30) & (size > 1e-300)
            got, expected = got[inside], expected[inside]
        same_values(op, got, expected, dtype)


def same_values(op, got, expected, dtype):
    if got.dtype.kind in "biu":
        np.testing.assert_array_equal(got, expected, err_msg=op)
        return
    precise = op not in INEXACT
    g, e = got.astype(np.float64), expected.astype(np.float64)
    if dtype.name in ("float32", "bfloat16"):
        g, e = (np.where(np.abs(v) < 2.0**-126, np.copysign(0, v), v) for v in (g, e))
    np.testing.assert_array_equal(np.isnan(g), np.isnan(e), err_msg=op)
    finite = np.isfinite(e)
    np.testing.assert_array_equal(g[~finite], e[~finite], err_msg=op)
    # NumPy's of 0 and -0 is either, SciPy's of -0 is 0.
    signed = op not in ("maximum", "minimum", "fmax", "fmin", "erfinv")
    known = ~np.isnan(e) & ((e != 0) | signed)
    np.testing.assert_array_equal(np.signbit(g)[known], np.signbit(e)[known], err_msg=op)
    if precise:
        np.testing.assert_array_equal(g[finite], e[finite], err_msg=op)
    else:
        eps = float(gt.finfo(dtype).eps)
        np.testing.assert_allclose(
            g[finite],
            e[finite],
            rtol=(32 if op in SPECIAL else 8) * eps,
            atol=eps * (op in SPECIAL) + 1e-300,
            err_msg=op,
        )


def all_conversions(source):
    """A graph of the conversions of a dtype to all, and their results."""
    x, _ = numbers(source)
    for target in map(dtype_of, DTYPES):
        if source.kind in "fV" and target.kind in "iu":  # others are undefined in C
            wide = x.astype(np.float64)
            limits = np.iinfo(target)
            x = x[(wide > max(limits.min, -(2.0**63)) - 1) & (wide < limits.max)]
    made = Builder()
    a = made.argument(x)
    wanted = []
    for target in map(dtype_of, DTYPES):
        made.map("astype", a, dtype=target)
        with np.errstate(all="ignore"):
            wanted.append(x.astype(target))
    return made, wanted


@pytest.mark.parametrize("name", DTYPES)
def test_conversions_are_those_of_numpy(cupy, name):
    made, wanted = all_conversions(dtype_of(name))
    found, _ = made.run(cupy)
    for got, expected in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(got, expected)
        if expected.dtype.kind in "fV" and name in FLOATS:
            np.testing.assert_array_equal(np.signbit(got), np.signbit(expected))


def test_float_to_integer_conversions_saturate_as_on_the_device(cupy):
    made = Builder()
    x = np.array([np.inf, -np.inf, 3e9, -3e9, 1e20, -1e20, 300.5, -1.5, np.nan], "f")
    a = made.argument(x)
    for target in ("int32", "uint32", "int64", "uint64"):
        made.map("astype", a, dtype=target)
    found, _ = made.run(cupy)
    top = [2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1]
    low = [-(2**31), 0, -(2**63), 0]
    for got, high, least in zip(found, top, low, strict=True):
        assert got[[0, 4]].tolist() == [high] * 2
        assert got[[1, 5]].tolist() == [least] * 2
        assert got[6] == 300
    assert found[0][8] == found[1][8] == 0


def test_choices_and_bounds(cupy):
    made = Builder()
    x = np.array([-2, -1, -0.0, 0, 1, 2, np.nan], "f")
    a = made.argument(x)
    c = made.argument(np.array([0, 1, 0, 2, 0, -1, 1], np.int8))
    made.map("where", c, a, 5.5, dtype="f")
    made.map("where", a, 1, a, dtype="f")
    for low, high in ((-1.0, 1.0), (None, 0.5), (-0.5, None)):
        made.node("call", "clip", (a, low, high), x.shape, "f")
    found, _ = made.run(cupy)
    for got, expected in zip(
        found,
        [
            np.where(c_of(made) != 0, x, np.float32(5.5)),
            np.where(x != 0, np.float32(1), x),
            *(np.clip(x, *b) for b in ((-1, 1), (None, 0.5), (-0.5, None))),
        ],
        strict=True,
    ):
        np.testing.assert_array_equal(got, expected)


def c_of(made):
    return made.arrays[1][0]


def test_larger_zero_is_the_positive_one(cupy):
    made = Builder()
    a, b = (made.argument(np.array(v, "f")) for v in ([0.0, -0.0, -0.0], [-0.0, 0.0, -0.0]))
    made.map("maximum", a, b, dtype="f")
    made.map("minimum", a, b, dtype="f")
    found, _ = made.run(cupy)
    assert np.signbit(found[0]).tolist() == [False, False, True]
    assert np.signbit(found[1]).tolist() == [True, True, True]


@pytest.mark.parametrize("name", ["digamma", "erfinv"])
def test_functions_that_c_has_not_are_near_those_of_mpmath(cupy, name):
    mpmath = pytest.importorskip("mpmath")
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 60) if name == "erfinv" else rng.uniform(-20, 40, 120)
    x = np.concatenate([x, [1e-8, 0.5, 0.999999 if name == "erfinv" else 1e5, -1e-3]])
    made = Builder()
    made.map(name, made.argument(x), dtype="float64")
    (found,), _ = made.run(cupy)
    with mpmath.workdps(40):
        expected = np.array([float(getattr(mpmath, name)(mpmath.mpf(float(v)))) for v in x])
    np.testing.assert_allclose(found, expected, rtol=2e-14, atol=2e-15)


def test_an_operation_without_a_formula_is_left_to_cupy(cupy):
    made = Builder()
    x = made.argument(np.array([1, 2], "e"))
    made.map("nextafter", x, x, dtype="e")
    assert formulas.formula_of(made.graph.nodes[0]) is None
    y = made.argument(np.array([1, 2], "F"))
    made.map("multiply", y, y, dtype="F")
    assert formulas.formula_of(made.graph.nodes[1]) is None


def test_numbers_that_a_dtype_has_not_are_left_to_cupy():
    made = Builder()
    x = made.argument(np.array([1, 2], "b"))
    made.map("less", x, 300, dtype="?")
    made.map("less", x, 100, dtype="?")
    made.map("multiply", x, 1j, dtype="F")
    assert [formulas.formula_of(n) is None for n in made.graph.nodes] == [True, False, True]


# Rounding


def test_each_operation_rounds_by_itself(cupy):
    made = Builder()
    x = np.array([0.1, 1.7, 3.3, 1e20], "f")
    a, b = made.argument(x), made.argument(x[::-1].copy())
    p, q = made.map("multiply", a, b, dtype="f"), made.map("multiply", b, a, dtype="f")
    made.map("subtract", p, q, dtype="f")  # with a fused multiply-add it would not be 0
    minus = made.map("negative", b, dtype="f")
    made.map(
        "add",
        made.map("multiply", a, b, dtype="f"),
        made.map("multiply", a, minus, dtype="f"),
        dtype="f",
    )
    found, program = made.run(cupy)
    assert len(program.steps) == 1
    assert not found[2].any()
    assert not found[6].any()


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_numbers_of_16_bits_are_rounded_after_every_operation(cupy, name):
    dtype = dtype_of(name)
    rng = np.random.default_rng(1)
    x, y, z = (rng.standard_normal(300).astype(dtype) for _ in range(3))
    made = Builder()
    a, b, c = (made.argument(v) for v in (x, y, z))
    p = made.map("add", made.map("multiply", a, b, dtype=dtype), c, dtype=dtype)
    q = made.map("multiply", made.map("add", a, c, dtype=dtype), b, dtype=dtype)
    made.map("equal", p, q, dtype="?")
    made.map(
        "less", p, made.map("astype", made.map("astype", q, dtype="f"), dtype=dtype), dtype="?"
    )
    other = dtype_of("bfloat16" if name == "float16" else "float16")
    made.map("astype", made.map("astype", p, dtype=other), dtype="f")
    del made.graph.result[0], made.graph.result[1]
    found, program = made.run(cupy)
    assert len(program.steps) == 1

    def op(f, u, v):
        return f(u.astype("f"), v.astype("f")).astype(dtype)

    p, q = op(np.add, op(np.multiply, x, y), z), op(np.multiply, op(np.add, x, z), y)
    names = {bits(f) for f in found}
    for expected in (p, q, p == q, p < q, p.astype(other).astype("f")):
        assert bits(expected) in names


# Layouts

SHAPES = [
    (),
    (1,),
    (7,),
    (8,),
    (300,),
    (3, 5),
    (4, 8),
    (1, 6),
    (6, 1),
    (2, 3, 4),
    (3, 1, 8),
    (5, 33),
]


@st.composite
def operands(draw, shape):
    """An array that broadcasts to a shape, in some layout: memory, strides and offset."""
    own = [n if draw(st.booleans()) or n == 1 else 1 for n in shape]
    while own and own[0] == 1 and draw(st.booleans()):
        own = own[1:]
    axes = draw(st.permutations(range(len(own))))
    strides, step = [0] * len(own), draw(st.sampled_from([1, 1, 1, 2]))
    for a in axes:
        strides[a] = step
        step *= own[a] + draw(st.sampled_from([0, 0, 0, 1, 4]))
    offset = draw(st.sampled_from([0, 0, 1, 4]))
    for a in range(len(own)):
        if draw(st.sampled_from([False] * 5 + [True])):
            offset += strides[a] * (own[a] - 1)
            strides[a] = -strides[a]
    return tuple(own), tuple(strides), offset, offset + step + 8


def array_at(memory, shape, strides, offset):
    return np.lib.stride_tricks.as_strided(
        memory[offset:], shape, [s * memory.itemsize for s in strides]
    )


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_operands_may_lie_in_any_way(cupy, data):
    shape = data.draw(st.sampled_from(SHAPES))
    made, host = Builder(), []
    for i in range(2):
        own, strides, offset, size = data.draw(operands(shape))
        memory = np.random.default_rng(i).standard_normal(size).astype("f")
        host.append(array_at(memory, own, strides, offset))
        made.argument(memory, own, strides, offset)
    a, b = made.graph.arguments
    full = np.broadcast_shapes(*(h.shape for h in host))
    out = made.node("map", "multiply", (a, b), full, "f")
    made.node("map", "subtract", (out, a), full, "f")
    found, _ = made.run(cupy)
    product = host[0] * host[1]
    np.testing.assert_array_equal(found[0], product)
    np.testing.assert_array_equal(found[1], product - host[0])


def test_a_value_may_be_broadcast_in_two_ways(cupy):
    made = Builder()
    x = np.random.default_rng(0).standard_normal((2, 3)).astype("f")
    a = made.argument(x)
    rows = a._replace(shape=(2, 3, 1), strides=(12, 4, 4))
    columns = a._replace(shape=(2, 1, 3), strides=(12, 12, 4))
    made.map("subtract", rows, columns, dtype="f")
    made.node(
        "reduce", "sum", (made.map("multiply", rows, columns, dtype="f"),), (2, 3), "f", axis=1
    )
    found, program = made.run(cupy)
    assert len(program.steps) == 1
    np.testing.assert_array_equal(found[0], x[:, :, None] - x[:, None, :])
    np.testing.assert_allclose(found[2], (x[:, :, None] * x[:, None, :]).sum(axis=1), rtol=1e-5)


def test_what_follows_a_reduction_runs_in_its_kernel(cupy):
    made = Builder()
    x = np.random.default_rng(0).standard_normal((6, 8)).astype("f")
    y = np.random.default_rng(1).standard_normal(8).astype("f")
    a, b = made.argument(x), made.argument(y)
    total = made.node("reduce", "sum", (a,), (1, 8), "f", axis=0, keepdims=True)
    flat = total._replace(shape=(8,), strides=(4,))
    scaled = made.map("multiply", flat, b, dtype="f")
    made.map("subtract", scaled, flat, dtype="f")
    found, program = made.run(cupy)
    assert len(program.steps) == 1
    expected = x.sum(axis=0)
    np.testing.assert_allclose(found[0], expected[None], rtol=1e-5)
    np.testing.assert_allclose(found[2], found[0][0] * y - found[0][0], rtol=1e-6)


def test_what_needs_all_of_a_reduction_at_every_place_waits_for_it(cupy):
    made = Builder()
    x = np.random.default_rng(0).standard_normal((5, 5)).astype("f")
    a = made.argument(x)
    row = made.node("reduce", "sum", (a,), (5,), "f", axis=0)
    made.map("subtract", a, row, dtype="f")
    turned = made.map("add", row, row._replace(offset=16, strides=(-4,)), dtype="f")
    found, program = made.run(cupy)
    assert len(program.steps) == 3
    total = found[0]
    np.testing.assert_allclose(total, x.sum(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(found[1], x - total)
    np.testing.assert_array_equal(found[2], total + total[::-1])
    assert turned.shape == (5,)


def test_results_may_have_gaps(cupy):
    made = Builder()
    x = np.arange(12, dtype="f").reshape(3, 4)
    a = made.argument(x)
    memory = np.full(60, -1, "f")
    target = made.argument(memory)
    buffer = target.buffer
    buffer.version = 1
    out = Value(buffer, 1, 4, (3, 4), (8 * 4, 2 * 4), np.dtype("f"))
    made.graph.nodes.append(Node("map", "exp2", (a,), {}, (out,), PLACE))
    made.graph.nodes[-1].writes = 1
    made.graph.result.append(Returned(target._replace(version=1), False))
    found, _ = made.run(cupy)
    expected = memory.copy()
    array_at(expected, (3, 4), (8, 2), 1)[...] = np.exp2(x)
    np.testing.assert_array_equal(found[0], expected)


def test_one_source_serves_all_shapes_and_numbers_of_a_pattern(cupy):
    def run(n, number):
        made = Builder()
        made.map("add", made.argument(np.ones((n, 3), "f")), number, dtype="f")
        return made.run(cupy)[1].steps[0].kernel.source

    assert run(4, 1.0) is run(9, 2.5) is run(10**5, -1)


def test_one_source_serves_all_shapes_of_a_sum(cupy):
    def run(m, n):
        made = Builder()
        made.node("reduce", "sum", (made.argument(np.ones((m, n), "f")),), (m,), "f", axis=1)
        (found,), program = made.run(cupy)
        assert found.tolist() == [n] * m
        return program.steps[0].kernel.source

    assert run(4, 8) is run(300, 40) is run(2, 40000)


# Reductions

REDUCED = [
    ((5,), None),
    ((1,), 0),
    ((1000,), None),
    ((70001,), None),
    ((3, 7), 1),
    ((3, 8), 0),
    ((300, 12), 0),
    ((3000, 10), 0),
    ((12, 300), 1),
    ((200, 3), 1),
    ((2, 20000), 1),
    ((3, 4, 5), (0, 2)),
    ((3, 4, 8), 1),
    ((3, 4, 8), (1, 2)),
    ((3, 4, 8), (0, 1)),
    ((2, 3, 4, 5), (1, 3)),
    ((1, 6), 0),
    ((6, 1), 1),
]


def dtype_of_sum(name, dtype):
    if name in ("max", "min"):
        return dtype
    if name == "mean":
        return dtype if dtype.kind in "fV" else np.dtype("float64")
    return dtype if dtype.kind in "fV" else np.dtype("uint64" if dtype.kind == "u" else "int64")


def all_reductions(name, dtype, shapes):
    """A graph of sums and the like of arrays of some shapes, and their results."""
    rng = np.random.default_rng(5)
    made, wanted = Builder(), []
    for shape, axis in shapes:
        x = rng.standard_normal(shape) if dtype.kind in "fV" else rng.integers(0, 2, shape)
        if name in ("any", "all"):
            x = x * (np.abs(x) < 0.3) if name == "any" else x + (np.abs(x) < 1e-3)
        if name == "prod":
            x = np.exp(x / 50) if dtype.kind in "fV" else x * 0 + 1
        x = x.astype(dtype)
        target = np.dtype(bool) if name in ("any", "all") else dtype_of_sum(name, dtype)
        wide = x.astype(np.float64) if dtype.kind in "fV" else x
        for keepdims in (False, True):
            expected = getattr(np, name)(wide, axis=axis, keepdims=keepdims)
            options = {"axis": axis, "keepdims": keepdims}
            made.node("reduce", name, (made.argument(x),), expected.shape, target, **options)
            wanted.append(expected)
    return made, wanted


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *itertools.product(["sum", "mean", "max", "min", "prod"], ["float32"]),
        *itertools.product(["sum", "max"], ["float16", "bfloat16", "float64", "int32", "uint8"]),
        *(("mean", "float16"), ("mean", "int32"), ("prod", "int32"), ("any", "bool")),
        *(("sum", "bool"), ("mean", "bool"), ("any", "float32"), ("all", "float32")),
    ],
)
def test_reductions_are_near_those_of_numpy(cupy, name, dtype):
    every = name == "sum" and dtype == "float32"
    dtype = dtype_of(dtype)
    made, wanted = all_reductions(name, dtype, REDUCED if every else REDUCED[2:8:2])
    found, program = made.run(cupy)
    assert all(hasattr(s, "kernel") for s in program.steps)
    for got, expected in zip(found, wanted, strict=True):
        assert got.shape == expected.shape
        if got.dtype.kind not in "fV":
            np.testing.assert_array_equal(got, expected)
            continue
        eps = float(gt.finfo(got.dtype).eps)
        rtol = eps * (120 if name == "prod" else 4)
        atol = 100 * max(eps / 8, 1e-7) if name in ("sum", "mean") else 0
        np.testing.assert_allclose(got.astype(np.float64), expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", ["max", "min", "sum", "mean"])
def test_nan_and_infinities_come_through_reductions(cupy, name):
    x = np.ones((4, 700), "f")
    x[0, 650], x[1, 3], x[2, 9] = np.nan, np.inf, -np.inf
    made = Builder()
    made.node("reduce", name, (made.argument(x),), (4,), "f", axis=1)
    (found,), _ = made.run(cupy)
    np.testing.assert_array_equal(found, getattr(np, name)(x, axis=1))


def test_sums_of_16_bits_add_up_in_float32(cupy):
    x = np.full(5000, 0.5, "e")
    made = Builder()
    made.node("reduce", "sum", (made.argument(x),), (), "e")
    (found,), _ = made.run(cupy)
    assert found == 2500  # in float16 it would stay at 1024


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_reductions_of_any_layout(cupy, data):
    shape = data.draw(st.sampled_from([s for s in SHAPES if s]))
    axes = data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
    _, strides, offset, size = data.draw(operands(shape).filter(lambda o: o[0] == shape))
    memory = np.random.default_rng(0).integers(0, 9, size).astype("f")
    x = array_at(memory, shape, strides, offset)
    made = Builder()
    a = made.argument(memory, shape, strides, offset)
    double = made.map("multiply", a, 2.0, dtype="f")
    expected = x.sum(axis=tuple(axes))
    made.node("reduce", "sum", (double,), expected.shape, "f", axis=tuple(axes))
    made.node("reduce", "max", (a,), expected.shape, "f", axis=tuple(axes))
    found, program = made.run(cupy)
    assert len(program.steps) == 1
    np.testing.assert_array_equal(found[0], x * 2)
    np.testing.assert_array_equal(found[1], expected * 2)
    np.testing.assert_array_equal(found[2], x.max(axis=tuple(axes)))


def test_the_order_of_a_sum_does_not_depend_on_where_it_lies(cupy):
    x = np.random.default_rng(0).standard_normal(5000).astype("f")
    found = []
    for offset in (0, 1, 2):
        memory = np.concatenate([np.zeros(offset, "f"), x])
        made = Builder()
        a = made.argument(memory, x.shape, (1,), offset)
        made.node("reduce", "sum", (a,), (), "f")
        found.append(made.run(cupy)[0][0].tobytes())
    assert len(set(found)) == 1


def test_results_of_one_group_keep_their_shapes(cupy):
    made = Builder()
    x, y = np.ones((2, 2, 2), "f"), np.full((2, 2), 3, "f")
    a, b = made.argument(x), made.argument(y)
    made.map("add", a, b, dtype="f")
    made.map("add", b, b, dtype="f")
    found, program = made.run(cupy)
    assert [f.shape for f in found] == [(2, 2, 2), (2, 2)]
    assert len(program.steps) == 2


def test_nothing_is_computed_of_nothing(cupy):
    made = Builder()
    a = made.argument(np.empty((0, 3), "f"))
    made.map("exp", a, dtype="f")
    found, program = made.run(cupy)
    assert found[0].shape == (0, 3)
    assert program.steps == []


# NVRTC


@functools.cache
def sources():
    """Sources of all formulas, and of reductions and layouts of each kind."""
    forget_cupy()
    with standin.installed():
        made = [all_formulas(dtype_of(name))[0] for name in DTYPES]
        made += [all_conversions(dtype_of(name))[0] for name in DTYPES]
        made += [
            all_reductions("sum", dtype_of(name), REDUCED)[0] for name in ("float32", "float16")
        ]
        made += [
            all_reductions(name, dtype_of(dtype), REDUCED[5:7])[0]
            for name, dtype in (
                ("mean", "float64"),
                ("max", "float32"),
                ("min", "int32"),
                ("any", "bool"),
            )
        ]
        found = {k.source.text: k for b in made for k in (s.kernel for s in Program(b.graph).steps)}
    forget_cupy()
    return [Launch(k.source, k.entry, 256, 0) for k in found.values()]


@pytest.mark.skipif(
    not nvrtc.is_installed() and os.environ.get("GPUTENSOR_NVRTC") != "required",
    reason='NVRTC is not installed: python -m pip install -e ".[nvrtc]"',
)
@pytest.mark.parametrize("arch", ["sm_75", "sm_90"])
def test_sources_compile_without_warnings_and_spills(arch):
    usages = nvrtc.compile_all(sources(), [arch])
    assert len(usages) == len(sources()) > 30
    assert not [u for u in usages if not u.fits]
    # One that computes every formula there is may run out of registers.
    assert not [u for u in usages if u.spilled and not u.entry.startswith("map_")]
