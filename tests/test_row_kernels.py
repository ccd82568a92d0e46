"""Kernels that work row by row: every layout on the stand-in's CUDA, loops, special values."""

import numpy as np
import pytest

import gputensor as gt
from gputensor import backend
from gputensor.errors import LabelError
from gputensor.kernels import (
    bias_activation,
    bias_activation_backward,
    row_layer_norm,
    row_norm_backward,
    row_rms_norm,
    row_softmax,
    row_softmax_backward,
    softmax_cross_entropy,
)
from gputensor.kernels.rows import row_layout
from gputensor.nn import functional as F

RNG = np.random.default_rng(21)
KINDS = ("relu", "tanh", "gelu", "silu")


def normal(*shape, dtype=np.float32):
    return RNG.standard_normal(shape).astype(dtype)


def cases(rows, columns, dtype=np.float32):
    """Calls of every row kernel: kernel, operands, keyword arguments."""
    x, g, b = (normal(*s, dtype=dtype) for s in ((rows, columns), (rows, columns), (columns,)))
    w = normal(columns, dtype=dtype)
    labels = RNG.integers(0, columns, rows)
    weights = RNG.random((rows, columns)).astype(dtype) / dtype(columns)
    out = row_softmax.reference(np, x)
    log_out = row_softmax.reference(np, x, logarithm=True)
    yield softmax_cross_entropy, (x, labels), {}
    yield softmax_cross_entropy, (x, labels), {"smoothing": 0.2}
    yield softmax_cross_entropy, (x, weights), {"smoothing": 0.1}
    yield row_softmax, (x,), {}
    yield row_softmax, (x,), {"logarithm": True}
    yield row_softmax_backward, (g, out), {}
    yield row_softmax_backward, (g, log_out), {"logarithm": True}
    yield row_layer_norm, (x, w, b), {"eps": 1e-5}
    yield row_rms_norm, (x, w), {"eps": 1e-5}
    yield row_norm_backward, (g, x, w), {"eps": 1e-5, "center": True}
    yield row_norm_backward, (g, x, w), {"eps": 1e-5, "center": False}
    for kind in KINDS:
        yield bias_activation, (x, b), {"kind": kind}
        yield bias_activation_backward, (g, x, b), {"kind": kind}


SHAPES = [(1, 1), (3, 5), (9, 10), (7, 128), (5, 1000), (70, 33), (2, 1003), (2, 3001), (3, 9000)]
# Wide sums of products in float32 differ by their order; a single column has variance 0.
TOLERANCE = {"rtol": 2e-5, "atol": 2e-5}
WIDE_TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


def tolerance(columns):
    return WIDE_TOLERANCE if columns > 2000 or columns == 1 else TOLERANCE


@pytest.mark.parametrize("shape", SHAPES)
def test_loops_equal_the_reference(shape):
    for kernel, operands, attrs in cases(*shape):
        assert "loop" in kernel.parity(*operands, **attrs, **tolerance(shape[1])), kernel
    for kernel, operands, attrs in cases(*shape, dtype=np.float64):
        kernel.parity(*operands, **attrs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_cuda_equals_the_reference(cupy, shape):
    for kernel, operands, attrs in cases(*shape):
        assert "cuda" in kernel.parity(*operands, **attrs, **tolerance(shape[1])), kernel


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize("shape", [(3, 5), (9, 64), (2, 600)])
def test_cuda_in_other_dtypes(cupy, dtype, shape):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    dtype = np.dtype(dtype).type
    allowed = {"float64": 1e-10, "float16": 4e-3, "bfloat16": 3e-2}[np.dtype(dtype).name]
    for kernel, operands, attrs in cases(*shape, dtype=dtype):
        found = kernel.parity(*operands, **attrs, rtol=allowed, atol=allowed)
        assert "cuda" in found, (kernel, found)


def test_the_layouts_are_all_covered(cupy):
    found = {row_layout(cupy.zeros(shape, np.float32))[0] for shape in SHAPES}
    assert (
        found
        == {
            *("1, 32, 1", "1, 32, 8", "1, 256, 8", "1, 1024, 0"),
            *("4, 32, 1", "4, 32, 8", "4, 1024, 0"),
        }
        | {"4, 256, 8"} & found
    )
    assert row_layout(cupy.zeros((1, 4096), np.float32))[0] == "4, 256, 8"
    assert row_layout(cupy.zeros((1, 4096), np.float16))[0] == "8, 256, 8"


@pytest.mark.parametrize("columns", [4, 8, 64])
def test_misaligned_views_take_the_scalar_path(cupy, columns):
    flat = cupy.asarray(normal(6 * columns + 1))
    x = flat[1:].reshape(6, columns)
    assert x.data.ptr % 16
    assert row_layout(x)[0].startswith("1,")
    b = cupy.asarray(normal(columns + 1))[1:]
    for found, expected in (
        (row_softmax.raw(x), row_softmax.reference(np, x.get())),
        (bias_activation.raw(x, b, kind="gelu"), None),
        (row_layer_norm.raw(x, b, b, eps=1e-5), None),
    ):
        assert np.isfinite(found.get()).all()
        if expected is not None:
            np.testing.assert_allclose(found.get(), expected, rtol=1e-5)
    np.testing.assert_allclose(
        bias_activation.raw(x, b, kind="relu").get(), np.maximum(x.get() + b.get(), 0), rtol=1e-6
    )


SPECIAL_ROWS = [
    [np.nan, 0, 1, 2],
    [np.inf, 0, 1, 2],
    [-np.inf, 0, 1, -np.inf],
    [-np.inf] * 4,
    [0, 1, 2, np.nan],
    [1e-40, -1e-42, 0, 1e-45],
    [88, -88, 100, -100],
]


@pytest.mark.parametrize("columns", [4, 40, 5000])
@pytest.mark.parametrize("kernel", [row_softmax, row_softmax_backward, softmax_cross_entropy])
def test_special_values_on_the_cpu(kernel, columns):
    check_special(kernel, columns, lambda a: a)


@pytest.mark.parametrize("columns", [4, 40, 5000])
@pytest.mark.parametrize("kernel", [row_softmax, row_softmax_backward, softmax_cross_entropy])
def test_special_values_on_cuda(cupy, kernel, columns):
    check_special(kernel, columns, cupy.asarray)


def check_special(kernel, columns, place):
    x = np.zeros((len(SPECIAL_ROWS), columns), np.float32)
    x[:, -4:] = SPECIAL_ROWS
    operands = [x]
    if kernel is row_softmax_backward:
        operands.append(np.full_like(x, 0.5))
    if kernel is softmax_cross_entropy:
        operands.append(np.full(len(x), columns - 2))
    with np.errstate(all="ignore"):
        expected = kernel.reference(backend.NAMESPACES[np.ndarray], *operands)
        found = kernel.raw(*(place(a) for a in operands))
    expected, found = (r if isinstance(r, tuple) else (r,) for r in (expected, found))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(backend.to_host(a), b, rtol=1e-5, atol=5e-6)


def test_wide_rows_name_the_first_bad_label(cupy):
    logits = gt.asarray(cupy.asarray(normal(3, 9001)))
    loss = F.cross_entropy(logits, gt.asarray(np.array([9000, 9001, -1])))
    with pytest.raises(LabelError, match=r"row 1 has label 9001; .* 0 to 9000"):
        loss.item()


def test_many_classes():
    logits, labels = normal(2, 128_000), np.array([5, 127_999])
    expected = softmax_cross_entropy.reference(backend.NAMESPACES[np.ndarray], logits, labels)
    found = softmax_cross_entropy.raw(logits, labels)
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-5)
    np.testing.assert_allclose(found.grad, expected.grad, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("setting", ["auto", "reference"])
def test_norms_are_what_they_say(setting, monkeypatch):
    monkeypatch.setenv("GPUTENSOR_KERNELS", setting)
    x = normal(4, 6, 50) * 3 + 7
    y = F.layer_norm(gt.asarray(x), gt.ones(50), gt.zeros(50)).numpy()
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(-1), 1, rtol=1e-4)
    y = F.rms_norm(gt.asarray(x), gt.ones(50)).numpy()
    np.testing.assert_allclose((y**2).mean(-1), 1, rtol=1e-4)
    layer = gt.nn.LayerNorm(50)
    assert layer(gt.asarray(x)).shape == x.shape
    assert set(layer.state_dict()) == {"weight", "bias"}
    assert set(gt.nn.RMSNorm(50).state_dict()) == {"weight"}


def test_layer_norm_of_a_large_mean_is_exact():
    x = (RNG.standard_normal((3, 1000)) + 1e4).astype(np.float32)
    y = row_layer_norm.raw(x, np.ones(1000, np.float32), np.zeros(1000, np.float32), eps=0.0)
    wide = x.astype(float)
    expected = (wide - wide.mean(1, keepdims=True)) / wide.std(1, keepdims=True)
    np.testing.assert_allclose(y, expected, atol=2e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.layer_norm(gt.ones((2, 3)), gt.ones(2), gt.ones(3)), r"weight has shape \(2,\)"),
        (lambda: F.layer_norm(gt.ones((2, 3)), gt.ones(3), gt.ones(4)), r"bias has shape \(4,\)"),
        (lambda: F.rms_norm(gt.ones(()), gt.ones(3)), r"x has shape \(\)"),
        (lambda: F.rms_norm(gt.ones((2, 0)), gt.ones(0)), r"x has shape \(2, 0\)"),
    ],
)
def test_bad_shapes_of_norms(call, message):
    with pytest.raises(gt.errors.ShapeError, match=message):
        call()


def test_softmax_takes_one_axis():
    for axis in (None, (0, 1)):
        with pytest.raises(TypeError, match="axis must be an int"):
            gt.softmax(gt.ones((2, 2)), axis=axis)
    assert gt.softmax(gt.ones((0, 3))).shape == (0, 3)
    assert gt.softmax(gt.asarray(np.array([1, 2]))).dtype == np.float64
