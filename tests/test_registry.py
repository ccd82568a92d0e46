"""Every operation: layouts, kernel settings, dtypes, empty and 0-d operands, beside JAX."""

import importlib
import math

import numpy as np
import pytest

import gputensor as gt
from cases import CHECKS, REAL, every_case
from checks import assert_near, outcome, weights_of
from gputensor.ops.data_type import checked_dtype


def cases_but(*names):
    """The cases of all operations but these."""
    left = [case for case in CHECKS if case.values[0] not in names]
    return pytest.mark.parametrize(("name", "function", "arrays"), left)


# Memory layouts: an array of the same elements, and the memory that is looked at


def in_columns(a):
    found = np.array(a, order="F")
    return found, found.T


def backwards(a):
    memory = np.flip(a).copy()
    return np.flip(memory), memory


def every_second(a):
    memory = np.full([2 * n + 1 for n in a.shape], np.nan, a.dtype)
    found = memory[(..., *(slice(1, None, 2),) * a.ndim)]
    found[...] = a
    return found, memory


def inside(a):
    memory = np.full(a.size + 3, np.nan, a.dtype)
    found = memory[1 : a.size + 1].reshape(a.shape)
    found[...] = a
    return found, memory


def unaligned(a):
    memory = np.zeros(a.nbytes + 1, np.uint8)
    found = memory[1:].view(a.dtype).reshape(a.shape)
    found[...] = a
    return found, memory


def read_only(a):
    memory = a.copy()
    memory.flags.writeable = False
    return memory, memory


def byte_swapped(a):
    memory = a.astype(a.dtype.newbyteorder())
    return memory, memory


LAYOUTS = [in_columns, backwards, every_second, inside, unaligned, read_only, byte_swapped]


@pytest.mark.cpu
@every_case
def test_layouts_and_kernels_change_nothing(name, function, arrays, monkeypatch):
    monkeypatch.setenv("GPUTENSOR_KERNELS", "reference")
    expected = outcome(function, [a.copy() for a in arrays])
    monkeypatch.setenv("GPUTENSOR_KERNELS", "auto")
    assert_near(outcome(function, [a.copy() for a in arrays]), expected, 1e-9)
    alike = [[layout] * len(arrays) for layout in LAYOUTS]
    mixed = [np.roll(LAYOUTS, i)[: len(arrays)] for i in range(len(LAYOUTS))]
    for chosen in alike if len(arrays) == 1 else alike + mixed:
        laid, memories = zip(
            *(make(a) for make, a in zip(chosen, arrays, strict=True)), strict=True
        )
        before = [memory.tobytes() for memory in memories]
        found = outcome(function, laid)
        assert_near(found, expected, 1e-9)
        assert [None if a is None else a.dtype for a in found] == [
            None if a is None else a.dtype for a in expected
        ]
        assert [memory.tobytes() for memory in memories] == before


# One case of each operation is enough, as each layout may compile kernels.
@pytest.mark.parametrize(
    ("name", "function", "arrays"), [c for c in CHECKS if c.id.endswith(("-0", "-0-real"))]
)
def test_cuda_takes_strided_arrays(cupy, name, function, arrays):
    expected = outcome(function, arrays)
    columns = [cupy.asarray(in_columns(a)[1]).T for a in arrays]
    spread = [
        cupy.asarray(every_second(a)[1])[(..., *(slice(1, None, 2),) * a.ndim)] for a in arrays
    ]
    for laid in (columns, spread):
        assert_near(outcome(function, laid), expected, 1e-9)


# Dtypes

# What LAPACK is for, which has no numbers of 16 bits; the last two by what they compute with it.
DECOMPOSED = {
    *("cholesky", "cofactors", "cofactors_slope", "det", "eig", "eigh", "eigvals", "eigvalsh"),
    *("expm", "inv", "lstsq", "output", "pinv", "qr", "slogdet", "solve", "solve_triangular"),
    *("svd", "svdvals", "matrix_norm", "matrix_power"),
}


@pytest.mark.cpu
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@cases_but("astype")
def test_dtypes_are_kept_and_precise(name, function, arrays, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    chosen = checked_dtype("test", dtype)
    if dtype != "float32" and any(a.dtype.kind == "c" for a in arrays):
        return  # there are no complex numbers of 16-bit parts
    small = [a.astype(np.complex64 if a.dtype.kind == "c" else chosen) for a in arrays]
    expected = outcome(function, [s.astype(a.dtype) for s, a in zip(small, arrays, strict=True)])
    try:
        found = outcome(function, small)
    except gt.errors.DTypeError:
        assert name in DECOMPOSED
        assert dtype != "float32"
        return
    precision = 3000 if name in DECOMPOSED else 30
    assert_near(found, expected, precision * float(gt.finfo(chosen).eps))
    if expected[0].dtype.kind == "c":
        assert found[0].dtype == np.complex64
    elif dtype == "bfloat16":  # which NumPy's own promotion, of 2.5 for instance, does not know
        assert found[0].dtype in (chosen, np.float32)
    else:
        assert found[0].dtype == chosen
    for s, g in zip(small, found[1:], strict=True):
        assert g is None or g.dtype == s.dtype


# Of nothing, and of single numbers

# What needs elements, or more than one (of sort's cases quantile): of an empty axis they say so.
NEED_ELEMENTS = {
    *(
        "conv2d",
        "conv_transpose2d",
        "convolve",
        "cross",
        "cross_entropy",
        "fft",
        "fftn",
        "hfft",
        "ifft",
        "ifftn",
        "ihfft",
    ),
    *("fold", "irfft", "irfftn", "matrix_norm", "max", "max_pool", "maximum", "min", "pad", "rfft"),
    *("rfftn", "unfold"),
    *("row_layer_norm", "row_rms_norm", "sort", "vector_norm"),
}


def resized(arrays, old, new):
    """Arrays whose axes of length `old` have length `new`."""
    shapes = [tuple(new if n == old else n for n in a.shape) for a in arrays]
    return [
        np.resize(a, s) if math.prod(s) else np.empty(s, a.dtype)
        for a, s in zip(arrays, shapes, strict=True)
    ]


def shape_of_result(function, arrays):
    try:
        return function(*map(gt.asarray, arrays)).shape
    except gt.errors.GPUTensorError:
        return None


@pytest.mark.cpu
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@every_case
def test_empty_operands_have_results_or_clear_errors(name, function, arrays):
    dtype = function(*map(gt.asarray, arrays)).dtype
    for old in sorted({n for a in arrays for n in a.shape}):
        empty = resized(arrays, old, 0)
        # The length of an axis of the result is linear in `old`, or half of it rounded up.
        known = [shape_of_result(function, resized(arrays, old, n)) for n in (1, 2, 4)]
        expected = [
            tuple(max(2 * m - n, 0) for m, n in zip(*pair, strict=True))
            for pair in (known[:2], known[1:])
            if None not in pair
        ]
        try:
            found = outcome(function, empty)
        except gt.errors.GPUTensorError:
            assert name in NEED_ELEMENTS or None in known
            continue
        assert not expected or found[0].shape in expected
        assert found[0].dtype == dtype
        for a, g in zip(empty, found[1:], strict=True):
            assert g is None or (g.shape, g.dtype) == (a.shape, a.dtype)
        if np.isfinite(found[0]).all():
            assert gt.gradcheck(function, *(gt.tensor(a, requires_grad=True) for a in empty))


@pytest.mark.cpu
@cases_but("cofactors", "cofactors_slope", "bias_activation")  # which check no shapes themselves
def test_single_numbers_are_taken_as_arrays_of_one_or_refused(name, function, arrays):
    numbers = [a.reshape(-1)[:1].reshape(()) for a in arrays]
    every = [numbers]
    if len(arrays) > 1:
        every += [[*arrays[:i], numbers[i], *arrays[i + 1 :]] for i in range(len(arrays))]
    for operands in every:
        try:
            found = outcome(function, operands)
        except gt.errors.GPUTensorError:
            assert name not in ELEMENTWISE
            continue
        for a, g in zip(operands, found[1:], strict=True):
            assert g is None or (g.shape, g.dtype) == (a.shape, a.dtype)
        if name not in ("pad", "tensordot"):  # to which axes matter
            rows = outcome(function, [a.reshape(a.shape or 1) for a in operands])
            flat = [[None if a is None else a.reshape(-1) for a in r] for r in (found, rows)]
            assert_near(*flat, 1e-12)
            assert found[0].dtype == rows[0].dtype


ELEMENTWISE = set(gt.ops.elementwise.__all__) & set(REAL) - {"where"}


def test_softmax_and_logsumexp_of_nothing(cupy):
    for device in ("cpu", "cuda"):
        x = gt.tensor(np.empty((2, 0)), device=device, requires_grad=True)
        with np.errstate(divide="ignore"):
            assert gt.logsumexp(x, axis=1).tolist() == [-math.inf] * 2
        for function in (gt.softmax, gt.log_softmax):
            out = function(x)
            out.sum().backward()
            assert out.shape == x.grad.shape == (2, 0)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda x: x[5], gt.errors.OutOfRangeError, r"getitem: .* shape \(3, 4\): index 5"),
        (lambda x: x[0, 0, 0], gt.errors.ShapeError, "getitem: .*too many indices"),
        (lambda x: x[[True]], gt.errors.ShapeError, "getitem: .*boolean index did not match"),
        (lambda x: gt.take(x, [4], axis=1), gt.errors.OutOfRangeError, "getitem: .*index 4"),
        (lambda x: gt.index_set(x, [3], 1.0), gt.errors.OutOfRangeError, "index_set: .*index 3"),
        (
            lambda x: gt.index_set(x, [3], gt.tensor(1.0, requires_grad=True)),
            gt.errors.OutOfRangeError,
            "index_set: .*index 3",
        ),
        (lambda x: x.__setitem__(3, 1.0), gt.errors.OutOfRangeError, r"x\[key\] = .*index 3"),
        (lambda x: gt.index_add((2,), [2], x[0, :1]), gt.errors.OutOfRangeError, "index_add"),
    ],
)
@pytest.mark.cpu
def test_bad_indices_are_refused_by_name(call, kind, text):
    with pytest.raises(kind, match=text) as caught:
        call(gt.ones((3, 4)))
    assert isinstance(caught.value, IndexError)


def test_roll_and_shifts_along_no_axis_are_copies():
    x = gt.tensor(2.0, requires_grad=True)
    for found in (gt.fft.fftshift(x), gt.fft.ifftshift(x), gt.roll(x, 3), gt.roll(x, (), axis=())):
        assert found.item() == 2
        assert gt.grad(lambda v: gt.fft.fftshift(v) * 3)(x).item() == 3
    assert gt.fft.fftshift(gt.ones((2, 3)), axes=()).shape == (2, 3)


@pytest.mark.cpu
def test_other_byte_orders_are_converted():
    swapped = np.arange(3.0, dtype=">f4")
    for x in (gt.tensor(swapped), gt.asarray(swapped), gt.zeros(3, dtype=">f4"), gt.exp(swapped)):
        assert x.dtype == gt.float32
    with pytest.raises(ValueError, match="copy=False"):
        gt.asarray(swapped, copy=False)
    loss = gt.nn.functional.cross_entropy(gt.eye(3), np.array([0, 1, 1], ">i8"))
    assert loss.item() == gt.nn.functional.cross_entropy(gt.eye(3), [0, 1, 1]).item()


@pytest.mark.cpu
@pytest.mark.parametrize("name", ["det", "inv", "qr", "slogdet", "svd"])
def test_matrices_of_bfloat16_are_refused(name):
    pytest.importorskip("ml_dtypes")
    with pytest.raises(gt.errors.DTypeError, match=rf"linalg\.{name} does not take bfloat16"):
        getattr(gt.linalg, name)(gt.eye(2, dtype="bfloat16"))


# Beside JAX


class Names:
    """Functions by name, wherever one of several modules has them."""

    def __init__(self, *places):
        self.places = places

    def __getattr__(self, name):
        return next(getattr(place, name) for place in self.places if hasattr(place, name))


SHAPE, ROW, SQUARE = (3, 4), (4,), (3, 3)
REAL_UNARY = {
    *("cbrt", "ceil", "deg2rad", "digamma", "erf", "erfc", "erfinv", "exp2", "floor", "gammaln"),
    *("leaky_relu", "elu", "rad2deg", "relu", "round", "silu", "softplus", "trunc"),
}
UNARY = {
    *("abs", "acos", "angle", "asin", "asinh", "atan", "atanh", "conj", "cos", "cosh", "exp"),
    *("expm1", "imag", "log", "log10", "log1p", "log2", "nan_to_num", "negative", "positive"),
    *("real", "reciprocal", "sigmoid", "sign", "sin", "sinc", "sinh", "sqrt", "square", "tan"),
    "tanh",
}
REAL_BINARY = {
    *("atan2", "copysign", "floor_divide", "hypot", "logaddexp", "maximum", "minimum", "remainder")
}
BINARY = {"add", "divide", "multiply", "pow", "subtract"}
ALONG = ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"]
OVER = ["fftn", "ifftn", "rfftn", "irfftn", "fftshift", "ifftshift"]

# By name a function of either library and of operands, and their shapes. JAX and gputensor agree
# but for the following, which is left out:
# - The gradients of JAX towards complex numbers are the conjugates of those here.
# - The gradient of abs at 0 is 1 in JAX, and 0 here, as in PyTorch.
# - JAX has gradient 0 of the sign of complex numbers, and none of their order (max, sort).
# - Where clip meets a bound JAX has half of the gradient, as its clip is a minimum of a maximum.
# - JAX has no gradient of the modes "complete" and "full" of qr and svd of oblong matrices.
IN_JAX = {
    **{n: (lambda m, x, n=n: getattr(m, n)(x), SHAPE) for n in sorted(REAL_UNARY | UNARY)},
    **{
        n: (lambda m, x, y, n=n: getattr(m, n)(x, y), SHAPE, ROW)
        for n in sorted(REAL_BINARY | BINARY)
    },
    "acosh": (lambda m, x: m.acosh(x * x + 1), SHAPE),
    "gelu": (lambda m, x: m.gelu(x) if m is OURS else m.gelu(x, approximate=False), SHAPE),
    "polygamma": (lambda m, x: m.polygamma(2, x), SHAPE),
    "pow_number": (lambda m, x: x**3 + x**-0.5, SHAPE),
    "clip": (lambda m, x: m.clip(x, 0.3, 0.6), SHAPE),
    "where": (lambda m, x, y: m.where(m.asarray(MASK), x, y), SHAPE, ROW),
    "select": (lambda m, x, y: m.select([m.asarray(MASK)], [x], y), SHAPE, SHAPE),
    "interp": (lambda m, x, y: m.interp(m.asarray(AT), x, y), ROW, ROW),
    # Reductions
    "sum": (lambda m, x: m.sum(x, axis=0), SHAPE),
    "mean": (lambda m, x: m.mean(x, axis=1, keepdims=True), SHAPE),
    "prod": (lambda m, x: m.prod(x, axis=1), SHAPE),
    "max": (lambda m, x: m.max(x, axis=0), SHAPE),
    "min": (lambda m, x: m.min(x, axis=1), SHAPE),
    "var": (lambda m, x: m.var(x, axis=0, correction=1), SHAPE),
    "std": (lambda m, x: m.std(x, axis=1), SHAPE),
    "median": (lambda m, x: m.median(x, axis=1), SHAPE),
    "quantile": (lambda m, x: m.quantile(x, AT if m is OURS else m.asarray(AT), axis=0), SHAPE),
    "logsumexp": (lambda m, x: m.logsumexp(x, axis=1), SHAPE),
    "softmax": (lambda m, x: m.softmax(x, axis=0), SHAPE),
    "log_softmax": (lambda m, x: m.log_softmax(x, axis=1), SHAPE),
    "cumulative_sum": (lambda m, x: m.cumulative_sum(x, axis=1, include_initial=True), SHAPE),
    "cumulative_prod": (lambda m, x: m.cumulative_prod(x, axis=0), SHAPE),
    "trace": (lambda m, x: m.trace(x, 1), SHAPE),
    # Places
    "sort": (lambda m, x: m.sort(x, axis=0, descending=True), SHAPE),
    "flip": (lambda m, x: m.flip(x, axis=1), SHAPE),
    "roll": (lambda m, x: m.roll(x, (1, -2), axis=(0, 1)), SHAPE),
    "repeat": (lambda m, x: m.repeat(x, m.asarray([0, 2, 1]), axis=0, **length(m)), SHAPE),
    "tile": (lambda m, x: m.tile(x, (2, 1, 3)), SHAPE),
    **{
        f"pad_{mode}": (lambda m, x, mode=mode: m.pad(x, ((1, 2), (0, 1)), mode=mode), SHAPE)
        for mode in ("constant", "edge", "reflect", "symmetric", "wrap")
    },
    "tril": (lambda m, x: m.tril(x, k=1), SHAPE),
    "triu": (lambda m, x: m.triu(x, k=-1), SHAPE),
    "reshape": (lambda m, x: m.reshape(x, (2, -1)), SHAPE),
    "permute_dims": (lambda m, x: m.permute_dims(x, (1, 0)), SHAPE),
    "broadcast_to": (lambda m, x: m.broadcast_to(x, (2, 3, 4)), SHAPE),
    "concat": (lambda m, x, y: m.concat([x, y, x], axis=1), SHAPE, (3, 2)),
    "stack": (lambda m, x, y: m.stack([x, y], axis=1), SHAPE, SHAPE),
    "diff": (lambda m, x: m.diff(x, n=2), SHAPE),
    "diag": (lambda m, x: m.diag(x, -1), ROW),
    "diagonal": (lambda m, x: m.diagonal(x, 1), SHAPE),
    "getitem": (lambda m, x: x[m.asarray([0, 2, 0]), 1:], SHAPE),
    "take": (lambda m, x: m.take(x, m.asarray([1, 1, -1]), axis=1), SHAPE),
    "take_along_axis": (
        lambda m, x: m.take_along_axis(x, m.asarray([[1, 1, 0, 2]]), axis=0),
        SHAPE,
    ),
    "index_set": (
        lambda m, x, y: m.index_set(x, 1, y) if m is OURS else x.at[1].set(y),
        SHAPE,
        ROW,
    ),
    "segment_sum": (
        lambda m, x: m.segment_sum(x, m.asarray([1, 0, 1]), num_segments=3),
        SHAPE,
    ),
    # Products
    "matmul": (lambda m, x, y: m.matmul(x, y), (2, 3, 4), (4, 2)),
    "einsum": (lambda m, x, y: m.einsum("ij,kj->ik", x, y), SHAPE, (2, 4)),
    "tensordot": (lambda m, x, y: m.tensordot(x, y, axes=1), SHAPE, (4, 2)),
    "vecdot": (lambda m, x, y: m.vecdot(x, y), SHAPE, ROW),
    "dot": (lambda m, x, y: m.dot(x, y), SHAPE, (2, 4, 3)),
    "inner": (lambda m, x, y: m.inner(x, y), SHAPE, SHAPE),
    "outer": (lambda m, x, y: m.outer(x, y), ROW, ROW),
    "kron": (lambda m, x, y: m.kron(x, y), SHAPE, (2, 2)),
    "convolve": (lambda m, x, y: m.convolve(x, y, mode="same"), (5,), (3,)),
    "cross": (lambda m, x, y: m.linalg.cross(x, y), (2, 3), (2, 3)),
    # Linear algebra
    **{
        n: (lambda m, x, n=n: getattr(m.linalg, n)(x + m.asarray(EYE)), SQUARE)
        for n in ("det", "inv", "pinv", "svdvals")
    },
    "cholesky": (lambda m, x: m.linalg.cholesky(x @ m.conj(x.mT) + m.asarray(EYE)), SQUARE),
    "eigvalsh": (lambda m, x: m.linalg.eigvalsh(x + m.conj(x.mT) + m.asarray(EYE)), SQUARE),
    "eigh": (
        lambda m, x: (lambda w, v: (v * m.exp(w)) @ m.conj(v.mT))(
            *m.linalg.eigh(x + m.conj(x.mT) + m.asarray(EYE))
        ),
        SQUARE,
    ),
    "svd": (
        lambda m, x: (lambda u, s, vh: (u * m.sin(s)) @ vh)(*m.linalg.svd(x, full_matrices=False)),
        SHAPE,
    ),
    "qr": (lambda m, x: (lambda q, r: m.conj(q) @ (r * r))(*m.linalg.qr(x)), (4, 3)),
    "slogdet": (
        lambda m, x: (lambda s, v: s * m.exp(v))(*m.linalg.slogdet(x + m.asarray(EYE))),
        SQUARE,
    ),
    "lstsq": (lambda m, a, b: m.linalg.lstsq(a, b)[0], (4, 2), (4, 3)),
    "solve": (lambda m, a, b: m.linalg.solve(a + m.asarray(EYE), b), SQUARE, (3, 2)),
    "solve_triangular": (
        lambda m, a, b: (m.linalg if m is OURS else m).solve_triangular(
            a + m.asarray(EYE), b, lower=True, trans=1
        ),
        SQUARE,
        (3, 2),
    ),
    "matrix_power": (lambda m, x: m.linalg.matrix_power(x + m.asarray(EYE), -2), SQUARE),
    **{
        f"matrix_norm_{ord}": (lambda m, x, ord=ord: m.linalg.matrix_norm(x, ord=ord), SHAPE)
        for ord in ("fro", "nuc", 1, 2, math.inf, -1, -2, -math.inf)
    },
    **{
        f"vector_norm_{ord}": (
            lambda m, x, ord=ord: m.linalg.vector_norm(x, axis=1, ord=ord),
            SHAPE,
        )
        for ord in (1, 2, 3.5, -1, 0.5, math.inf, -math.inf)
    },
    "fft.length": (lambda m, x: m.fft.fft(x, n=6, axis=0, norm="ortho"), SHAPE),
    **{f"fft.{n}": (lambda m, x, n=n: getattr(m.fft, n)(x), SHAPE) for n in ALONG + OVER},
}
OURS = Names(gt, gt.nn.functional)
AT = np.array([0.25, 0.6])
EYE = 3 * np.eye(3)
MASK = np.arange(12).reshape(3, 4) % 5 < 3


def length(m):
    """What JAX must be told of the result of repeat when it compiles."""
    return {} if m is OURS else {"total_repeat_length": 3}


# What JAX, or what both refuse for complex numbers, or see above.
REAL_ONLY = {
    *REAL_UNARY,
    *REAL_BINARY,
    *("clip", "fft.ihfft", "fft.rfft", "fft.rfftn", "gelu", "interp", "max", "median", "min"),
    *("log_softmax", "polygamma", "quantile", "sign", "softmax", "sort"),  # softmax: JAX 0.11
}


@pytest.fixture(scope="module")
def theirs():
    jax = pytest.importorskip("jax")
    scipy, ops = (importlib.import_module(f"jax.{n}") for n in ("scipy", "ops"))
    with jax.enable_x64(True):
        yield Names(jax.numpy, jax.nn, scipy.special, scipy.linalg, ops)


@pytest.mark.peers
@pytest.mark.parametrize("kind", ["f", "c"])
@pytest.mark.parametrize("name", IN_JAX)
def test_values_and_gradients_equal_jax(name, kind, theirs):
    if kind == "c" and name in REAL_ONLY:
        return
    jax = importlib.import_module("jax")
    function, *shapes = IN_JAX[name]
    rng = np.random.default_rng(17)
    arrays = [rng.uniform(0.2, 0.8, s) for s in shapes]
    if kind == "c":
        arrays = [a * np.exp(1j * rng.uniform(0.1, 1.4, a.shape)) for a in arrays]
    elif name not in ("digamma", "gammaln", "log", "log10", "log2", "pow", "pow_number", "sqrt"):
        arrays = [a * rng.choice([-1, 1], a.shape) for a in arrays]
    found = outcome(lambda *x: function(OURS, *x), arrays)

    @jax.jit  # which compiles once a case, not once an operation of its own
    def run(*x):
        out, back = jax.vjp(lambda *x: function(theirs, *x), *x)
        return out, back(jax.numpy.conj(weights_of(out)).astype(out.dtype))

    out, gradients = run(*map(jax.numpy.asarray, arrays))
    assert_near(found, [np.asarray(out), *map(np.conj, gradients)], 1e-7)


@pytest.mark.peers
@pytest.mark.parametrize("name", ["max", "maximum", "min", "minimum", "relu", "sort"])
def test_ties_are_decided_as_in_jax(name, theirs):
    jax = importlib.import_module("jax")
    arrays = [np.array([0.0, 2.0, -1.0, 2.0]), np.array([0.0, 1.0, -1.0, 3.0])]
    arrays = arrays if name in REAL_BINARY else arrays[:1]
    gradients = jax.grad(lambda x: jax.numpy.sum(getattr(theirs, name)(*x) * 3.0))(
        [jax.numpy.asarray(a) for a in arrays]
    )
    leaves = [gt.tensor(a, requires_grad=True) for a in arrays]
    (getattr(OURS, name)(*leaves) * 3.0).sum().backward()
    for x, g in zip(leaves, gradients, strict=True):
        np.testing.assert_array_equal(x.grad.numpy(), g)
