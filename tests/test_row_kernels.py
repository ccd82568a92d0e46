"""Kernels that work row by row: layouts, special values, what the norms are."""

import numpy as np
import pytest

import gputensor as gt
from checks import normal_by
from gputensor import backend
from gputensor.errors import LabelError
from gputensor.kernels import (
    row_layer_norm,
    row_softmax,
    row_softmax_backward,
    softmax_cross_entropy,
)
from gputensor.kernels.rows import row_layout
from gputensor.nn import functional as F
from kernel_cases import SHAPES, misaligned

RNG = np.random.default_rng(21)
normal = normal_by(RNG, np.float32)


def test_the_layouts_are_all_covered(cupy):
    found = {row_layout(cupy.zeros(shape, np.float32))[0] for shape in SHAPES}
    assert len(found) == 8
    assert {layout[0] for layout in found} == {"1", "4"}
    assert row_layout(cupy.zeros((1, 4096), np.float16))[0] == "8, 256, 8"


def test_misaligned_rows_are_read_one_by_one(cupy):
    aligned, view = cupy.zeros((6, 64), np.float32), misaligned(cupy, np.zeros((6, 64), np.float32))
    assert view.data.ptr % 16
    assert row_layout(aligned)[0].startswith("4,")
    assert row_layout(view)[0].startswith("1,")
    assert row_layout(aligned, view)[0].startswith("1,")


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
