"""Every operation: memory layouts, both settings of kernels, dtypes, empty and 0-d operands."""

import math

import numpy as np
import pytest
import test_complex
import test_fft
import test_linalg
import test_ops

import gputensor as gt
from gputensor.ops.data_type import checked_dtype

CASES = [
    pytest.param(
        check.id.partition("-")[0],
        function,
        [np.asarray(x) for x in (inputs if isinstance(inputs, list) else [inputs])],
        id=f"{module.__name__.removeprefix('test_')}-{check.id}",
    )
    for module in (test_ops, test_complex, test_linalg, test_fft)
    for check in module.CHECKS
    for function, inputs in [check.values]
]
every_case = pytest.mark.parametrize(("name", "function", "arrays"), CASES)


def cases_but(*names):
    """The cases of all operations but these."""
    left = [case for case in CASES if case.values[0] not in names]
    return pytest.mark.parametrize(("name", "function", "arrays"), left)


def outcome(function, arrays):
    """Values, and the gradients of their sum with changing weights, of arrays as they lie there."""
    tensors = [gt.asarray(a) for a in arrays]
    for t in tensors:
        t.requires_grad = True
    out = function(*tensors)
    if out.requires_grad:
        weights = np.cos(np.arange(out.size) + 0.5).reshape(out.shape)
        weights = weights * (1 + 0.5j) if out.dtype.kind == "c" else weights
        out.backward(gt.asarray(weights.astype(out.dtype), device=out.device))
    return [
        None if t is None else t.detach().cpu().numpy() for t in (out, *(t.grad for t in tensors))
    ]


def assert_near(found, expected, tolerance):
    """Errors are relative to the largest element."""
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.shape == b.shape
            scale = max(1, np.max(np.abs(b), initial=0, where=np.isfinite(b)))
            np.testing.assert_allclose(a.astype(b.dtype), b, rtol=0, atol=tolerance * scale)


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
        laid, memories = zip(*(make(a) for make, a in zip(chosen, arrays, strict=True)), strict=True)
        before = [memory.tobytes() for memory in memories]
        found = outcome(function, laid)
        assert_near(found, expected, 1e-9)
        assert [None if a is None else a.dtype for a in found] == [
            None if a is None else a.dtype for a in expected
        ]
        assert [memory.tobytes() for memory in memories] == before


# Dtypes

# What LAPACK is for, which has no numbers of 16 bits; the last two by what they compute with it.
DECOMPOSED = {
    *("cholesky", "cofactors", "cofactors_slope", "det", "eigh", "eigvalsh", "inv", "lstsq"),
    *("output", "pinv", "qr", "slogdet", "solve", "solve_triangular", "svd", "svdvals"),
    *("matrix_norm", "matrix_power"),
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

# What needs elements, or more than one: at an axis of length 0 they may say so.
NEED_ELEMENTS = {
    *("convolve", "cross", "cross_entropy", "fft", "fftn", "hfft", "ifft", "ifftn", "ihfft"),
    *("irfft", "irfftn", "matrix_norm", "max", "maximum", "min", "pad", "rfft", "rfftn"),
    *("row_layer_norm", "row_rms_norm", "vector_norm"),
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


ELEMENTWISE = set(gt.ops.elementwise.__all__) & set(test_ops.CASES) - {"where"}


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
