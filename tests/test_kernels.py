"""Fused kernels on the CPU: the loop, the reference and float64 agree; special values; threads."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from checks import normal_by
from gputensor.errors import LabelError
from gputensor.kernels import (
    adam_step,
    bias_activation,
    bias_activation_backward,
    gather_scale,
    runtime,
    sgd_step,
    softmax_cross_entropy,
)

pytestmark = pytest.mark.cpu

FOLDER = Path(__file__).parent.parent / "kernels"
SHAPES = [(1, 1), (3, 5), (64, 33), (257, 129), (0, 4)]
DTYPES = [np.float32, np.float64]
RNG = np.random.default_rng(3)
normal = normal_by(RNG, np.float64)


def close(found, expected, dtype):
    tolerance = {np.float16: 2e-2, np.float32: 1e-5, np.float64: 1e-12}[dtype]
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.fixture(params=[1, 3])
def threads(request, monkeypatch):
    """Kernels cut into parts however small, or not at all."""
    monkeypatch.setattr(runtime, "_threads", lambda: request.param)
    for name in ("adam", "bias_activation", "gather_scale", "philox", "sgd"):
        monkeypatch.setattr(sys.modules[f"gputensor.kernels.{name}"], "_GRAIN", 1)
    runtime._pool.cache_clear()
    yield request.param
    runtime._pool.cache_clear()


def test_which_implementation_runs(monkeypatch):
    x = np.ones((2, 3), np.float32)
    assert adam_step.implementation(x) == "loop"
    assert adam_step.implementation(x.T) == "reference"
    assert adam_step.implementation(x.astype(np.float16)) == "reference"
    monkeypatch.setenv("GPUTENSOR_KERNELS", "reference")
    assert adam_step.implementation(x) == "reference"
    monkeypatch.setenv("GPUTENSOR_KERNELS", "fastest")
    with pytest.raises(ValueError, match="'fastest'"):
        adam_step.implementation(x)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [*DTYPES, np.float16])
@pytest.mark.usefixtures("threads")
def test_bias_relu(setting, shape, dtype):
    z, bias, g = (
        normal(*shape, dtype=dtype),
        normal(shape[1], dtype=dtype),
        normal(*shape, dtype=dtype),
    )
    expected = np.maximum(z.astype(float) + bias.astype(float), 0)
    out = bias_activation.raw(z, bias, kind="relu", out=z)
    assert out is z
    close(out, expected, dtype)
    masked, bias_grad = bias_activation_backward.raw(g, out, bias, kind="relu")
    close(masked, g * (expected > 0), dtype)
    np.testing.assert_allclose(
        bias_grad,
        (g.astype(float) * (expected > 0)).sum(0),
        rtol=1e-2 if dtype == np.float16 else 1e-4,
        atol=0.2 if dtype == np.float16 else 1e-4,
    )
    place = np.empty_like(bias)
    assert bias_activation_backward.raw(g, out, bias, kind="relu", bias_grad=place)[1] is place
    np.testing.assert_array_equal(place, bias_grad)


def test_bias_relu_special_values(setting):
    z = np.array([[np.nan, np.inf, -np.inf, 0.0, -0.0]], np.float32)
    out = bias_activation.raw(z, np.zeros(5, np.float32), kind="relu", out=z)
    np.testing.assert_array_equal(out, [[np.nan, np.inf, 0, 0, 0]])
    g = np.array([[1, 2, np.nan, np.inf, 5]], np.float32)
    masked, bias_grad = bias_activation_backward.raw(g, out, out[0], kind="relu")
    np.testing.assert_array_equal(masked, [[1, 2, 0, 0, 0]])
    np.testing.assert_array_equal(bias_grad, masked[0])


def plain_cross_entropy(x, q):
    x = x.astype(float)
    log_p = x - np.log(np.exp(x).sum(1, keepdims=True))
    return -(q * log_p).sum(1), np.exp(log_p) * q.sum(1, keepdims=True) - q


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 33), (257, 10), (5, 1000)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0])
def test_cross_entropy_of_labels(setting, shape, dtype, smoothing):
    rows, classes = shape
    logits, labels = normal(*shape, dtype=dtype), RNG.integers(0, classes, rows)
    q = np.eye(classes)[labels] * (1 - smoothing) + smoothing / classes
    losses, grad = plain_cross_entropy(logits, q)
    for kind in (np.int64, np.uint8) if classes < 256 else (np.int32,):
        result = softmax_cross_entropy.raw(logits, labels.astype(kind), smoothing=smoothing)
        close(result.losses, losses, dtype)
        close(result.grad, grad, dtype)
        assert float(result.total) == pytest.approx(losses.sum(), rel=1e-5)
        assert int(result.correct) == (logits.argmax(1) == labels).sum()


@pytest.mark.parametrize("shape", [(1, 1), (64, 33), (5, 1000)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_of_probabilities(setting, shape, dtype):
    logits = normal(*shape, dtype=dtype)
    q = RNG.random(shape)  # rows that do not sum to 1 are weights
    losses, grad = plain_cross_entropy(logits, q * 0.9 + 0.1 / shape[1])
    result = softmax_cross_entropy.raw(logits, q.astype(dtype), smoothing=0.1)
    np.testing.assert_allclose(result.losses, losses, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(result.grad, grad, rtol=1e-4, atol=1e-5)
    assert int(result.correct) == (logits.argmax(1) == q.argmax(1)).sum()


@pytest.mark.parametrize(
    ("row", "label", "loss"),
    [
        ([1000.0, 0.0], 0, 0.0),
        ([1000.0, 0.0], 1, 1000.0),
        ([-np.inf, 0.0], 1, 0.0),
        ([-np.inf, 0.0], 0, np.inf),
        ([np.nan, 0.0], 1, np.nan),
        ([0.0, np.nan], 0, np.nan),
        ([np.inf, 0.0], 0, np.nan),
    ],
)
def test_cross_entropy_special_values(setting, row, label, loss):
    with np.errstate(all="ignore"):
        result = softmax_cross_entropy.raw(np.array([row], np.float32), np.array([label]))
    np.testing.assert_array_equal(result.losses, np.float32([loss]))
    assert np.isnan(result.total) == np.isnan(loss)
    if np.isnan(loss):
        assert np.isnan(result.grad).any()
        assert int(result.correct) == 0


@pytest.mark.parametrize("bad", [-1, 4, 2**40])
def test_label_out_of_range_names_row_and_label(setting, bad):
    labels = np.array([0, 3, bad, 1, bad])
    with pytest.raises(LabelError, match=rf"row 2 has label {bad}; .* range 0 to 3"):
        softmax_cross_entropy.raw(normal(5, 4, dtype=np.float32), labels)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("threads")
def test_gather_scale(setting, dtype):
    index = np.array([5, 0, 5, 9], np.int64)
    for data in (RNG.integers(0, 256, (10, 7, 3), dtype=np.uint8), normal(10, 7, 3, dtype=dtype)):
        out = gather_scale.raw(data, index, dtype=dtype, scale=1 / 255, offset=-0.5)
        assert out.dtype == dtype
        close(out, data[index].astype(float) / 255 - 0.5, dtype)
    assert gather_scale.raw(data, index[:0], dtype=dtype).shape == (0, 7, 3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.usefixtures("threads")
def test_adam(setting, dtype, size, decoupled):
    p, m, v = normal(size, dtype=dtype), np.zeros(size, dtype), np.zeros(size, dtype)
    count, ticket = np.zeros(1, np.int64), np.zeros(1, np.uint32)
    x, mean, square = p.astype(float), 0.0, 0.0
    for t in range(1, 6):
        g = normal(size, dtype=dtype)
        adam_step.raw(
            *(p, g, m, v, count, ticket),
            **{"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8},
            weight_decay=0.05,
            decoupled=decoupled,
        )
        d = g + (0 if decoupled else 0.05 * x)
        x = x * (1 - 0.1 * 0.05) if decoupled else x
        mean, square = 0.9 * mean + 0.1 * d, 0.99 * square + 0.01 * d * d
        x = x - 0.1 * (mean / (1 - 0.9**t)) / (np.sqrt(square / (1 - 0.99**t)) + 1e-8)
    np.testing.assert_allclose(p, x, rtol=1e-4, atol=1e-5)
    assert count[0] == 5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.usefixtures("threads")
def test_sgd(setting, dtype, momentum, nesterov):
    p = normal(100, dtype=dtype)
    velocity = np.zeros(100, dtype) if momentum else None
    x, u = p.astype(float), 0.0
    for _ in range(5):
        g = normal(100, dtype=dtype)
        sgd_step.raw(
            p, g, velocity, lr=0.1, momentum=momentum, weight_decay=0.01, nesterov=nesterov
        )
        d = g + 0.01 * x
        u = momentum * u + d
        x = x - 0.1 * (d + momentum * u if nesterov else u)
    np.testing.assert_allclose(p, x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_means_do_not_linger_as_subnormal_numbers(setting, dtype):
    tiny = np.finfo(dtype).tiny
    state = [np.array([1, 4 * tiny, 4 * tiny, np.nan], dtype) for _ in range(4)]
    p, g, m, v = state
    g[:2] = 0, 0
    count, ticket = np.zeros(1, np.int64), np.zeros(1, np.uint32)
    velocity = m.copy()
    for _ in range(100):
        adam_step.raw(p, g, m, v, count, ticket, lr=0.1, beta1=0.9, beta2=0.9, eps=1e-8)
        sgd_step.raw(p, g, velocity, lr=0.1, momentum=0.9)
    for mean in (m, v, velocity):
        assert mean[1] == 0
        assert mean[0] > 0
        assert np.isnan(mean[3])
    # Without eps the quotient of two small means counts, so they stay.
    m, v = np.full(1, 4 * tiny, dtype), np.full(1, tiny, dtype)
    for _ in range(40):
        adam_step.raw(p[:1], g[:1], m, v, count, ticket, lr=0.1, beta1=0.9, beta2=0.9, eps=0.0)
    assert 0 < m[0] < tiny
    assert 0 < v[0] < tiny


def test_nan_parameters_and_gradients_stay(setting):
    p, g = np.ones(3, np.float32), np.array([np.nan, np.inf, 1], np.float32)
    m, v, count, ticket = (
        np.zeros(3, np.float32),
        np.zeros(3, np.float32),
        np.zeros(1, np.int64),
        np.zeros(1, np.uint32),
    )
    with np.errstate(all="ignore"):
        adam_step.raw(p, g, m, v, count, ticket, lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8)
    assert np.isnan(p[:2]).all()
    assert p[2] == pytest.approx(0.9)


def test_kernels_run_in_several_python_threads_at_once():
    logits, labels = normal(512, 64, dtype=np.float32), RNG.integers(0, 64, 512)
    expected = softmax_cross_entropy.raw(logits, labels)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: softmax_cross_entropy.raw(logits, labels), range(40)):
            np.testing.assert_array_equal(result.grad, expected.grad)


def test_equal_inputs_give_equal_bits():
    g, out = normal(333, 77, dtype=np.float32), normal(333, 77, dtype=np.float32)
    first = bias_activation_backward.raw(g, out, out[0], kind="relu")
    for _ in range(5):
        for a, b in zip(
            first, bias_activation_backward.raw(g, out, out[0], kind="relu"), strict=True
        ):
            np.testing.assert_array_equal(a, b)


def test_every_cuda_file_has_its_python_file():
    assert {f.stem for f in FOLDER.glob("*.cu")} == {f.stem for f in FOLDER.glob("*.py")} - {
        "__init__",
        "checking",
        "cpu_math",
        "declare",
        "flags",
        "machine_code",
        "nvrtc",
        "pool",
        "rows",
        "runtime",
        "scratch",
        "source",
    }


def test_import_is_light():
    code = (
        "import sys, gputensor, gputensor.keras, gputensor.datasets;"
        "heavy = {'cupy', 'numba', 'matplotlib', 'tqdm', 'scipy', 'torch'} & set(sys.modules);"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
