"""Special cases of elementwise functions, row by row as the Python Array API standard has them."""

import inspect
import itertools
import math
import operator

import numpy as np
import pytest

import gputensor as gt

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

inf, nan, pi = math.inf, math.nan, math.pi
REAL = ("float32", "float64")
COMPLEX = ("complex64", "complex128")
# Subnormal in both dtypes, or the largest of float32: the grid is the same for all dtypes.
TINY, HUGE = 1e-45, 3e38
VALUES = [0.0, TINY, 0.3, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 1e6, HUGE, inf, nan]
VALUES += [-v for v in VALUES]
PARTS = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, inf, nan]
PARTS += [-v for v in PARTS]

# Words for what a row asks of an operand; several, joined by &, must all hold.
ASKS = {
    "any": lambda v: v == v,
    "anything": lambda v: np.full(v.shape, True),
    "nan": np.isnan,
    "number": lambda v: ~np.isnan(v),
    "inf": lambda v: v == inf,
    "-inf": lambda v: v == -inf,
    "±inf": np.isinf,
    "0": lambda v: (v == 0) & ~np.signbit(v),
    "-0": lambda v: (v == 0) & np.signbit(v),
    "±0": lambda v: v == 0,
    "1": lambda v: v == 1,
    "-1": lambda v: v == -1,
    "not1": lambda v: v != 1,
    "finite": np.isfinite,
    "nonzero": lambda v: np.isfinite(v) & (v != 0),
    "pos": lambda v: np.isfinite(v) & (v > 0),
    "neg": lambda v: np.isfinite(v) & (v < 0),
    ">0": lambda v: v > 0,
    "<0": lambda v: v < 0,
    ">1": lambda v: v > 1,
    "<1": lambda v: v < 1,
    "<-1": lambda v: v < -1,
    "whole": lambda v: v == np.floor(v),
    "fraction": lambda v: v != np.floor(v),
    "odd": lambda v: np.fmod(v, 2) == np.copysign(1, v),
    "even": lambda v: np.fmod(v, 2) != np.copysign(1, v),  # or no whole number
    "|.|>1": lambda v: np.abs(v) > 1,
    "|.|<1": lambda v: np.abs(v) < 1,
    "|.|=1": lambda v: np.abs(v) == 1,
    "sign+": lambda v: ~np.signbit(v),
    "sign-": lambda v: np.signbit(v),
}
# Words for results: numbers, or what they are computed by; ± leaves the sign open.
GIVES = {
    "a": lambda a, b: a,
    "b": lambda a, b: b,
    "|a|": lambda a, b: np.abs(a),
    "|b|": lambda a, b: np.abs(b),
    "-|a|": lambda a, b: -np.abs(a),
    "inf*cos": lambda a, b: inf * np.cos(b),
    "inf*sin": lambda a, b: inf * np.sin(b),
    "inf*cos-1": lambda a, b: inf * np.cos(b) - 1,
    "0*cos": lambda a, b: 0 * np.cos(b),
    "0*sin": lambda a, b: 0 * np.sin(b),
    "0*cos-1": lambda a, b: 0 * np.cos(b) - 1,
    "python": lambda a, b: np.array(
        [x % y if y else nan for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    ),
}
ANGLES = {"pi": pi, "pi/2": pi / 2, "pi/4": pi / 4, "3pi/4": 3 * pi / 4}

ROUNDING = "inf inf; -inf -inf; 0 0; -0 -0; nan nan; whole a"
ODD = "nan nan; 0 0; -0 -0; "  # what functions with f(-x) = -f(x) have in common
UNARY = {
    "abs": "nan nan; -0 0; -inf inf; inf inf",
    "acos": "nan nan; >1 nan; <-1 nan; 1 0",
    "acosh": "nan nan; <1 nan; 1 0; inf inf",
    "asin": ODD + ">1 nan; <-1 nan",
    "asinh": ODD + "inf inf; -inf -inf",
    "atan": ODD + "inf pi/2; -inf -pi/2",
    "atanh": ODD + ">1 nan; <-1 nan; 1 inf; -1 -inf",
    "ceil": ROUNDING,
    "cos": "nan nan; ±0 1; ±inf nan",
    "cosh": "nan nan; ±0 1; ±inf inf",
    "exp": "nan nan; ±0 1; inf inf; -inf 0",
    "expm1": ODD + "inf inf; -inf -1",
    "floor": ROUNDING,
    "isfinite": "±inf 0; nan 0; finite 1",
    "isinf": "±inf 1; nan 0; finite 0",
    "isnan": "nan 1; number 0",
    "log": "nan nan; <0 nan; ±0 -inf; 1 0; inf inf",
    "log10": "nan nan; <0 nan; ±0 -inf; 1 0; inf inf",
    "log1p": ODD + "<-1 nan; -1 -inf; inf inf",
    "log2": "nan nan; <0 nan; ±0 -inf; 1 0; inf inf",
    "reciprocal": "nan nan; 0 inf; -0 -inf; inf 0; -inf -0",
    "round": ROUNDING,
    "sign": "<0 -1; >0 1; ±0 ±0; nan nan",
    "signbit": "sign+ 0; sign- 1",
    "sin": ODD + "±inf nan",
    "sinh": ODD + "inf inf; -inf -inf",
    "sqrt": ODD + "<0 nan; inf inf",
    "square": "nan nan; ±inf inf; ±0 0",
    "tan": ODD + "±inf nan",
    "tanh": ODD + "inf 1; -inf -1",
    "trunc": ROUNDING,
}
NANS = "nan anything nan; anything nan nan; "
SUM = """inf -inf nan; -inf inf nan; inf inf inf; -inf -inf -inf; inf finite inf; -inf finite -inf;
    finite inf inf; finite -inf -inf; -0 -0 -0; -0 0 0; 0 -0 0; 0 0 0; ±0 nonzero b; nonzero ±0 a"""
QUOTIENT = """±inf ±inf nan; ±0 ±0 nan; 0 >0 0; -0 >0 -0; 0 <0 -0; -0 <0 0; >0 0 inf; >0 -0 -inf;
    <0 0 -inf; <0 -0 inf; inf pos inf; inf neg -inf; -inf pos -inf; -inf neg inf; pos inf 0;
    pos -inf -0; neg inf -0; neg -inf 0"""
EQUAL = "nan anything 0; anything nan 0; inf inf 1; -inf -inf 1; ±0 ±0 1; inf -inf 0; finite ±inf 0"
BINARY = {
    "add": NANS + SUM,
    "atan2": NANS
    + """>0 ±0 pi/2; 0 >0 0; 0 0 0; 0 -0 pi; 0 <0 pi; -0 >0 -0; -0 0 -0; -0 -0 -pi; -0 <0 -pi;
    <0 ±0 -pi/2; pos inf 0; pos -inf pi; neg inf -0; neg -inf -pi; inf finite pi/2;
    -inf finite -pi/2; inf inf pi/4; inf -inf 3pi/4; -inf inf -pi/4; -inf -inf -3pi/4""",
    "copysign": "anything sign+ |a|; anything sign- -|a|",
    "divide": NANS + QUOTIENT,
    "equal": EQUAL,
    "floor_divide": NANS + QUOTIENT,
    "greater": "nan anything 0; anything nan 0; inf finite 1; finite inf 0; ±0 ±0 0",
    "greater_equal": "nan anything 0; anything nan 0; inf finite 1; finite inf 0; ±0 ±0 1",
    "hypot": """±inf anything inf; anything ±inf inf; ±0 number |b|; number ±0 |a|;
    finite nan nan; nan finite nan; nan nan nan""",
    "less": "nan anything 0; anything nan 0; inf finite 0; finite inf 1; ±0 ±0 0",
    "less_equal": "nan anything 0; anything nan 0; inf finite 0; finite inf 1; ±0 ±0 1",
    "logaddexp": NANS + "inf number inf; number inf inf",
    "maximum": NANS + "inf number inf; number -inf a",
    "minimum": NANS + "-inf number -inf; number inf a",
    "multiply": NANS
    + """±inf ±0 nan; ±0 ±inf nan; ±inf sign+&nonzero a; sign+&nonzero ±inf b;
    inf neg -inf; -inf neg inf; inf inf inf; inf -inf -inf; -inf inf -inf; -inf -inf inf;
    0 sign+&finite 0; 0 sign-&finite -0; -0 sign+&finite -0; -0 sign-&finite 0""",
    "nextafter": NANS + "-0 0 0; 0 -0 -0; inf inf inf",
    "not_equal": "nan anything 1; anything nan 1; inf -inf 1; inf inf 0; ±0 ±0 0; finite ±inf 1",
    "pow": """not1 nan nan; anything ±0 1; nan nonzero nan; nan ±inf nan; |.|>1 inf inf;
    |.|>1 -inf 0; |.|=1 ±inf 1; 1 number 1; |.|<1 inf 0; |.|<1 -inf inf; inf >0 inf; inf <0 0;
    -inf >0&odd -inf; -inf >0&even inf; -inf <0&odd -0; -inf <0&even 0; 0 >0 0; 0 <0 inf;
    -0 >0&odd -0; -0 >0&even 0; -0 <0&odd -inf; -0 <0&even inf; neg finite&fraction nan""",
    "remainder": NANS
    + """±inf ±inf nan; ±0 ±0 nan; ±0 pos 0; ±0 neg -0; anything ±0 nan; ±inf anything nan;
    pos inf a; pos -inf b; neg inf b; neg -inf a; finite nonzero python""",
    "subtract": NANS + "inf inf nan; inf -inf inf; -0 0 -0; 0 0 0; -0 -0 0; ±0 ±inf&>0 -inf",
}
OPERATORS = {
    **{"add": "add", "subtract": "sub", "multiply": "mul", "divide": "truediv", "pow": "pow"},
    **{"floor_divide": "floordiv", "remainder": "mod", "equal": "eq", "not_equal": "ne"},
    **{"less": "lt", "less_equal": "le", "greater": "gt", "greater_equal": "ge"},
}
COMPLEX_UNARY = {
    "abs": "±inf anything inf; anything ±inf inf; nan finite nan; finite nan nan; nan nan nan;"
    "±0 number |b|; number ±0 |a|",
    "acos": """±0 0 pi/2 -0; ±0 nan pi/2 nan; finite inf pi/2 -inf; nonzero nan nan nan;
    -inf pos pi -inf; inf pos 0 -inf; -inf inf 3pi/4 -inf; inf inf pi/4 -inf; ±inf nan nan ±inf;
    nan finite nan nan; nan inf nan -inf; nan nan nan nan""",
    "acosh": """±0 0 0 pi/2; finite inf inf pi/2; nonzero nan nan nan; 0 nan nan ±pi/2;
    -inf pos inf pi; inf pos inf 0; -inf inf inf 3pi/4; inf inf inf pi/4; ±inf nan inf nan;
    nan finite nan nan; nan inf inf nan; nan nan nan nan""",
    "asinh": """0 0 0 0; pos inf inf pi/2; finite nan nan nan; inf pos inf 0; inf inf inf pi/4;
    nan 0 nan 0; nan nonzero nan nan; nan inf ±inf nan; nan nan nan nan; inf nan inf nan""",
    "atanh": """0 0 0 0; 0 nan 0 nan; 1 0 inf 0; pos inf 0 pi/2; nonzero nan nan nan;
    inf pos 0 pi/2; inf inf 0 pi/2; inf nan 0 nan; nan finite nan nan; nan inf ±0 pi/2;
    nan nan nan nan""",
    "cosh": """0 0 1 0; 0 inf nan ±0; 0 nan nan ±0; nonzero inf nan nan; nonzero nan nan nan;
    inf 0 inf 0; inf nonzero inf*cos inf*sin; inf inf ±inf nan; inf nan inf nan; nan ±0 nan ±0;
    nan nonzero nan nan; nan nan nan nan""",
    "exp": """±0 0 1 0; finite inf nan nan; finite nan nan nan; inf 0 inf 0;
    -inf finite 0*cos 0*sin; inf nonzero inf*cos inf*sin; -inf inf ±0 ±0; inf inf ±inf nan;
    -inf nan ±0 ±0; inf nan ±inf nan; nan 0 nan 0; nan nonzero nan nan; nan inf nan nan;
    nan nan nan nan""",
    "expm1": """±0 0 0 0; finite inf nan nan; finite nan nan nan; inf 0 inf 0;
    -inf finite 0*cos-1 0*sin; inf nonzero inf*cos-1 inf*sin; -inf inf -1 ±0; inf inf ±inf nan;
    -inf nan -1 ±0; inf nan ±inf nan; nan 0 nan 0; nan nonzero nan nan; nan inf nan nan;
    nan nan nan nan""",
    "isfinite": "nan anything 0; anything nan 0; ±inf anything 0; anything ±inf 0; finite finite 1",
    "isinf": "±inf anything 1; anything ±inf 1; finite finite 0; nan finite 0; nan nan 0",
    "isnan": "nan anything 1; anything nan 1; number number 0",
    "log": """-0 0 -inf pi; 0 0 -inf 0; finite inf inf pi/2; finite nan nan nan; -inf pos inf pi;
    inf pos inf 0; -inf inf inf 3pi/4; inf inf inf pi/4; ±inf nan inf nan; nan finite nan nan;
    nan inf inf nan; nan nan nan nan""",
    "log1p": """-1 0 -inf 0; finite inf inf pi/2; finite nan nan nan; -inf pos inf pi;
    inf pos inf 0; -inf inf inf 3pi/4; inf inf inf pi/4; ±inf nan inf nan; nan finite nan nan;
    nan inf inf nan; nan nan nan nan""",
    "sign": "±0 ±0 0 0; nan anything nan nan; anything nan nan nan",
    "sinh": """0 0 0 0; 0 inf ±0 nan; 0 nan ±0 nan; pos inf nan nan; pos nan nan nan; inf 0 inf 0;
    inf pos inf*cos inf*sin; inf inf ±inf nan; inf nan ±inf nan; nan 0 nan 0;
    nan nonzero nan nan; nan nan nan nan""",
    # Of -inf + bj and inf + bj as C99 has it, and the standard's own words on branch cuts; its rows
    # for these two have other results.
    "sqrt": """±0 0 0 0; anything inf inf inf; finite nan nan nan; -inf pos 0 inf; inf pos inf 0;
    -inf nan nan ±inf; inf nan inf nan; nan finite nan nan; nan nan nan nan""",
    # Not of 0 + inf j and 0 + nan j: the result may be that of an older C library.
    "tanh": """0 0 0 0; nonzero inf nan nan; nonzero nan nan nan;
    inf pos 1 0*sin2; inf inf 1 ±0; inf nan 1 ±0; nan 0 nan 0; nan nonzero nan nan;
    nan inf nan nan; nan nan nan nan""",
}
GIVES["0*sin2"] = lambda a, b: 0 * np.sin(2 * b)


def wanted(word, operands):
    """Values that a word of a row stands for, and whether their sign matters."""
    if word in GIVES:
        given = [*operands, operands[0]]
        return GIVES[word](given[0], given[1]), True
    bare = word.lstrip("±-")
    value = ANGLES[bare] if bare in ANGLES else float(bare)
    return np.full(operands[0].shape, -value if word[0] == "-" else value), word[0] != "±"


def check_rows(table, operands, *found):
    """Compare results with each row of a table, where its operands are what the row asks for."""
    for row in table.split(";"):
        words = row.split()
        asked, given = words[: len(operands)], words[len(operands) :]
        held = np.full(operands[0].shape, True)
        for ask, operand in zip(asked, operands, strict=True):
            for word in ask.split("&"):
                held = held & ASKS[word](operand)
        assert held.any(), f"no value of the grid is for {row}"
        for word, result in zip(given, found, strict=True):
            value, signed = wanted(word, operands)
            value, result = value[held].astype(result.dtype), result[held]
            if not signed:
                value, result = np.abs(value), np.abs(result)
            of = [o[held] for o in operands]
            np.testing.assert_allclose(result, value, rtol=1e-5, err_msg=f"{row}, of {of}")
            number = ~np.isnan(value)
            np.testing.assert_array_equal(
                np.signbit(result[number]), np.signbit(value[number]), f"signs of {row}, of {of}"
            )


def on_host(x):
    x = x.numpy()
    return x.astype(np.float64) if x.dtype == bool else x


def check_unary(name, dtype, device):
    x = np.array(VALUES, dtype)
    function = getattr(gt, name)
    found = function(gt.tensor(x, device=device))
    assert found.dtype == (gt.bool if name in ("isfinite", "isinf", "isnan", "signbit") else dtype)
    check_rows(UNARY[name], (x,), on_host(found))
    elements = gt.stack([function(gt.tensor(v, device=device)) for v in x])
    check_rows(UNARY[name], (x,), on_host(elements))


@pytest.mark.cpu
@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("dtype", REAL)
def test_rows_of_one_real_operand(name, dtype):
    check_unary(name, dtype, "cpu")


def ways_of(name, x, y, xs, ys, device):
    """Results of a function of two operands, all ways that it can be called."""
    function = getattr(gt, name)

    def raw(data):  # a copy
        return gt.tensor(data, device=device)

    yield "arrays", function(raw(x), raw(y))
    yield "broadcast", function(raw(xs[:, None]), raw(ys))
    if device == "cpu":
        yield "elements", gt.stack([function(raw(a), raw(b)) for a, b in zip(x, y, strict=True)])
    yield "number, array", gt.stack([function(v, raw(ys)) for v in xs.tolist()])
    yield "array, number", gt.stack([function(raw(xs), v) for v in ys.tolist()]).T
    if name not in OPERATORS:
        return
    apply = getattr(operator, f"__{OPERATORS[name]}__")
    yield "operator", apply(raw(x), raw(y))
    yield "number operator", gt.stack([apply(v, raw(ys)) for v in xs.tolist()])
    yield "operator number", gt.stack([apply(raw(xs), v) for v in ys.tolist()]).T
    change = getattr(operator, f"__i{OPERATORS[name]}__", None)
    if change:
        yield "in place", change(raw(x), raw(y))
        yield "in place, number", gt.stack([change(raw(xs), v) for v in ys.tolist()]).T


def check_binary(name, dtype, device):
    xs = np.array(VALUES, dtype)
    x, y = (np.ravel(v) for v in np.meshgrid(xs, xs, indexing="ij"))
    for way, found in ways_of(name, x, y, xs, xs, device):
        assert found.dtype in (dtype, gt.bool), way
        try:
            check_rows(BINARY[name], (x, y), on_host(found).ravel())
        except AssertionError as error:
            raise AssertionError(f"{way}: {error}") from None


@pytest.mark.cpu
@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("dtype", REAL)
def test_rows_of_two_real_operands(name, dtype):
    check_binary(name, dtype, "cpu")


def test_rows_hold_on_cuda(cupy):
    # float64: CuPy takes subnormal numbers of float32 for 0.
    for name in UNARY:
        check_unary(name, "float64", "cuda")
    for name in BINARY:
        check_binary(name, "float64", "cuda")


# By what other function the standard defines a complex one, or what equality it demands:
# operands and results as they are to be in the rows of the other.
TURNS = {
    "itself": lambda a, b, re, im: ((a, b), (re, im)),
    "conjugate": lambda a, b, re, im: ((a, -b), (re, -im)),
    "odd": lambda a, b, re, im: ((-a, -b), (-re, -im)),
    "even": lambda a, b, re, im: ((-a, -b), (re, im)),
    "-i f(ix)": lambda a, b, re, im: ((-b, a), (-im, re)),
    "f(ix)": lambda a, b, re, im: ((-b, a), (re, im)),
    "binary": lambda a, b, re, im: ((a, b), (re * math.log(2), im * math.log(2))),
    "decimal": lambda a, b, re, im: ((a, b), (re * math.log(10), im * math.log(10))),
}
TWO_PARTS = [n for n in COMPLEX_UNARY if n not in ("abs", "isfinite", "isinf", "isnan", "sign")]
COMPLEX_CASES = [
    *[(name, name, turn) for name in TWO_PARTS for turn in ("itself", "conjugate")],
    *[("sign", "sign", "itself"), ("cosh", "cosh", "even"), ("cos", "cosh", "f(ix)")],
    *[(name, name, "odd") for name in ("sinh", "tanh", "asinh", "atanh")],
    *[(name, f"{name}h", "-i f(ix)") for name in ("sin", "tan", "asin", "atan")],
    *[("log2", "log", "binary"), ("log10", "log", "decimal")],
]


def complex_grid(dtype):
    part = np.array(PARTS, np.dtype(dtype).char.lower())
    a, b = (np.ravel(v) for v in np.meshgrid(part, part, indexing="ij"))
    x = np.empty(a.shape, dtype)
    x.real, x.imag = a, b
    return a, b, x


def check_complex(name, rows, turn, dtype, device):
    a, b, x = complex_grid(dtype)
    function = getattr(gt, name)
    x = gt.tensor(x, device=device)
    for found in (function(x), gt.stack([function(element) for element in x])):
        assert found.dtype == dtype
        operands, parts = TURNS[turn](a, b, found.numpy().real, found.numpy().imag)
        check_rows(COMPLEX_UNARY[rows], operands, *parts)


@pytest.mark.cpu
@pytest.mark.parametrize(("name", "rows", "turn"), COMPLEX_CASES)
@pytest.mark.parametrize("dtype", COMPLEX)
def test_rows_of_a_complex_operand(name, rows, turn, dtype):
    check_complex(name, rows, turn, dtype, "cpu")


@pytest.mark.parametrize("dtype", COMPLEX)
def test_rows_of_a_complex_operand_hold_on_cuda(cupy, dtype):
    for name, rows, turn in COMPLEX_CASES:
        check_complex(name, rows, turn, dtype, "cuda")


@pytest.mark.parametrize("turn", [1, 1j, -1, -1j, 1 + 2j, -2 + 1j])
def test_complex_expm1_and_log1p_are_exact_near_0(turn):
    for size in (1e-3, 1e-9, 1e-20):
        x = turn * size
        found = [f(gt.tensor(x, dtype=gt.complex128)).item() for f in (gt.expm1, gt.log1p)]
        wanted = [x + x**2 / 2 + x**3 / 6 + x**4 / 24, x - x**2 / 2 + x**3 / 3 - x**4 / 4]
        for part in ("real", "imag"):
            np.testing.assert_allclose(
                [getattr(z, part) for z in found], [getattr(z, part) for z in wanted], rtol=1e-10
            )


@pytest.mark.parametrize("name", ["abs", "isfinite", "isinf", "isnan"])
@pytest.mark.parametrize("dtype", COMPLEX)
def test_real_results_of_a_complex_operand(name, dtype):
    a, b, x = complex_grid(dtype)
    check_rows(COMPLEX_UNARY[name], (a, b), on_host(getattr(gt, name)(gt.asarray(x))))


# Integers of every width, against Python's own

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
EXACT = {
    **{name: getattr(operator, op) for name, op in OPERATORS.items() if name != "divide"},
    "bitwise_and": operator.and_,
    "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor,
    "bitwise_left_shift": operator.lshift,
    "bitwise_right_shift": operator.rshift,
}
EXACT.update(maximum=max, minimum=min)


def wrapped(value, dtype):
    """What is left of a Python integer in the bits of a dtype."""
    bits = dtype.itemsize * 8
    value &= (1 << bits) - 1
    return value - (1 << bits) if dtype.kind == "i" and value >> (bits - 1) else value


def defined(name, y, bits):
    """Whether the standard defines a function of integers for a second operand."""
    if name in ("floor_divide", "remainder"):
        return y != 0
    if "shift" in name:
        return 0 <= y <= bits + 1
    return name != "pow" or 0 <= y <= 5


@pytest.mark.parametrize("name", EXACT)
def test_integers_are_pythons_in_every_width(name):
    exact, function = EXACT[name], getattr(gt, name)
    pairs = [
        (a, b)
        for a, b in itertools.product(INTEGERS, INTEGERS)
        if "uint64" not in (a, b) or a[0] == b[0]  # no integer dtype holds both
    ]
    for a, b in pairs:
        dtype = np.result_type(a, b)
        ends = [np.iinfo(d) for d in (a, b)]
        xs, ys = ([e.min, e.max // 2, 0, 1, 2, 3, 5, 7, 9, e.max, -(e.min < 0)] for e in ends)
        ys = [y for y in (*ys, 31, 33, 64) if y <= ends[1].max and defined(name, y, ends[0].bits)]
        truth = [[exact(x, y) for y in ys] for x in xs]
        boolean = isinstance(truth[0][0], bool)
        if not boolean:
            truth = [[wrapped(value, dtype) for value in row] for row in truth]
        wanted = np.array(truth, bool if boolean else dtype)
        x, y = gt.asarray(np.array(xs, a)), gt.asarray(np.array(ys, b))
        ways = [function(x[:, None], y)]
        if hasattr(operator, exact.__name__):
            ways.append(exact(x[:, None], y))
            change = getattr(operator, f"i{exact.__name__.strip('_')}", None)
            if change and dtype == a:
                ways.append(change(gt.tensor(x[:, None]) + gt.zeros((1, len(ys)), dtype=a), y))
        if a == b:  # a number takes the dtype of the array
            ways.append(gt.stack([function(x, value) for value in ys]).T)
            ways.append(gt.stack([function(value, y) for value in xs]))
            if hasattr(operator, exact.__name__):
                ways.append(gt.stack([exact(x, value) for value in ys]).T)
                ways.append(gt.stack([exact(value, y) for value in xs]))
        for found in ways:
            assert found.dtype == wanted.dtype, (a, b)
            np.testing.assert_array_equal(found.numpy(), wanted, f"{a}, {b}")


# clip, bool, reductions

BOUNDS = {
    "none": None,
    "number": 2,
    "nan": nan,
    "0-d": np.array(1),
    "row": np.array([1, 2, 3]),
    "wider": np.array([[[1]], [[2]]]),
    "some nan": np.array([1, nan, 3]),
}


def check_clip(low, high, dtype, device):
    x = np.array([[0, 1, 9], [3, 2, 7]], dtype)
    low, high = BOUNDS[low], BOUNDS[high]
    high = high if high is None else high + 2
    bounds = [b if not isinstance(b, np.ndarray) else b.astype(dtype) for b in (low, high)]
    kept = [gt.tensor(b, device=device) if isinstance(b, np.ndarray) else b for b in bounds]
    wanted = x
    for bound, choose in zip(bounds, (np.maximum, np.minimum), strict=True):
        wanted = wanted if bound is None else choose(wanted, bound)
    tensor = gt.tensor(x, device=device)
    for found in (gt.clip(tensor, *kept), gt.clip(tensor, min=kept[0], max=kept[1])):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found.numpy(), wanted)


@pytest.mark.cpu
@pytest.mark.parametrize("dtype", REAL + INTEGERS)
def test_clip_takes_bounds_of_all_kinds(dtype):
    for low, high in itertools.product(BOUNDS, BOUNDS):
        if dtype in REAL or "nan" not in low + high:
            check_clip(low, high, dtype, "cpu")


def test_clip_takes_bounds_of_all_kinds_on_cuda(cupy):
    for low, high in itertools.product(BOUNDS, BOUNDS):
        check_clip(low, high, "float32", "cuda")


@pytest.mark.parametrize("name", ["and", "or", "xor"])
def test_bools_combine_as_pythons(name):
    truth = getattr(operator, f"__{name}__")
    change = getattr(operator, f"__i{name}__")
    x, y = (np.ravel(v) for v in np.meshgrid([False, True], [False, True]))
    a, b = gt.asarray(x), gt.asarray(y)
    bitwise, logical = getattr(gt, f"bitwise_{name}"), getattr(gt, f"logical_{name}")
    for found in (bitwise(a, b), logical(a, b), truth(a, b), change(gt.tensor(x), b)):
        assert found.dtype == gt.bool
        assert found.tolist() == [truth(*pair) for pair in zip(x.tolist(), y.tolist(), strict=True)]
    for value in (False, True):
        for found in (
            *(bitwise(a, value), bitwise(value, a), logical(a, value), logical(value, a)),
            *(truth(a, value), truth(value, a), change(gt.tensor(x), value)),
        ):
            assert found.dtype == gt.bool
            assert found.tolist() == [truth(element, value) for element in x.tolist()]


REDUCTIONS = {  # of no element, of NaN beside a number, of an infinity beside a number
    "sum": (0, nan, inf),
    "prod": (1, nan, inf),
    "mean": (nan, nan, inf),
    "var": (nan, nan, nan),
    "std": (nan, nan, nan),
    "max": (None, nan, inf),
    "min": (None, nan, 1),
}


def check_reduction(name, dtype, device):
    function = getattr(gt, name)
    for data, value in zip(([], [nan, 1], [inf, 1]), REDUCTIONS[name], strict=True):
        for turned in (data, data[::-1]):
            # Rows and columns take different ways.
            x = gt.tensor(np.array(turned, dtype), device=device)
            if value is None:
                with pytest.raises(ValueError, match="of zero elements"):
                    function(x)
                continue
            for found in (function(x), function(x[:, None], axis=0)[0], function(x[None], axis=1)):
                assert found.dtype == dtype
                np.testing.assert_array_equal(found.numpy(), value)


@pytest.mark.cpu
@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("dtype", REAL)
def test_reductions_of_nothing_nan_and_infinity(name, dtype):
    check_reduction(name, dtype, "cpu")


def test_reductions_of_nothing_nan_and_infinity_on_cuda(cupy):
    for name in REDUCTIONS:
        check_reduction(name, "float32", "cuda")


@pytest.mark.parametrize("name", ["var", "std"])
def test_no_degrees_of_freedom_are_nan(name):
    x = gt.tensor([1.0, 2.0])
    for correction in (2, 2.5, 3):
        assert math.isnan(getattr(gt, name)(x, correction=correction).item())


ARITHMETIC = [OPERATORS[name] for name in ("add", "subtract", "multiply", "divide")]
ARITHMETIC += [OPERATORS[name] for name in ("floor_divide", "remainder", "pow")]
METHODS = [
    *[f"__{op}__" for op in ("abs", "neg", "pos", "invert", "getitem", "setitem")],
    *[f"__{op}__" for op in ("eq", "ne", "lt", "le", "gt", "ge")],
    *[
        f"__{form}{op}__"
        for form in ("", "r", "i")
        for op in [*ARITHMETIC, "matmul", "and", "or", "xor", "lshift", "rshift"]
    ],
]


@pytest.mark.parametrize("name", METHODS)
def test_operands_of_methods_have_no_names(name):
    for parameter in inspect.signature(getattr(gt.Tensor, name)).parameters.values():
        assert parameter.kind == inspect.Parameter.POSITIONAL_ONLY
        assert parameter.default is inspect.Parameter.empty


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("bool", ("bool",)),
        ("signed integer", INTEGERS[:4]),
        ("unsigned integer", INTEGERS[4:]),
        ("integral", INTEGERS),
        ("real floating", REAL),
        ("complex floating", COMPLEX),
        ("numeric", INTEGERS + REAL + COMPLEX),
        (("bool", "real floating"), ("bool", *REAL)),
        ((), ()),
        (None, ("bool", *INTEGERS, *REAL, *COMPLEX)),
    ],
)
def test_dtypes_by_kind(kind, names):
    info = gt.__array_namespace_info__()
    for device in (None, *info.devices()):
        assert info.dtypes(kind=kind, device=device) == {n: getattr(gt, n) for n in names}
        assert info.default_dtypes(device=device).keys() == {
            *("real floating", "complex floating", "integral", "indexing")
        }
    if kind is not None:
        for name in (*INTEGERS, *REAL, *COMPLEX, "bool"):
            assert gt.isdtype(getattr(gt, name), kind) is (name in names)


def test_minus_zero_is_written_on_cuda(cupy):
    x = gt.ones(3, device="cuda")
    x[1:] = -0.0
    made = gt.full(2, -0.0, device="cuda"), gt.full_like(x, -0.0), gt.index_set(x, 0, -0.0), x[1:]
    for found in made:
        assert np.signbit(found.numpy()).all()
        assert not found.numpy().any()
    x[:] = 0.0
    assert not np.signbit(x.numpy()).any()
