"""The CUDA path: on a GPU, and without one on the CPU by a stand-in with CuPy's rules."""

import numpy as np
import pytest

import gputensor as gt
from checks import normal_by
from gputensor import standin
from gputensor.keras.layers import Dense, Dropout, Rescaling
from gputensor.keras.models import Sequential
from gputensor.kernels import (
    adam_step,
    bias_activation,
    bias_activation_backward,
    gather_scale,
    sgd_step,
    softmax_cross_entropy,
)
from gputensor.nn import functional as F

RNG = np.random.default_rng(11)
normal = normal_by(RNG, np.float32)


def require(cupy, device):
    """Skip on a machine with fewer devices."""
    count = cupy.cuda.runtime.getDeviceCount()
    if device.startswith("cuda:") and int(device[5:]) >= count:
        pytest.skip(f"{count} CUDA device(s) here, {device} is not among them")


SHAPES = [(1, 1), (3, 5), (65, 33), (130, 70)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bias_relu(cupy, shape, dtype):
    z, b, g = (
        normal(*shape, dtype=dtype),
        normal(shape[1], dtype=dtype),
        normal(*shape, dtype=dtype),
    )
    z[0, 0] = np.nan
    on_device = bias_activation.raw(cupy.asarray(z), cupy.asarray(b), kind="relu")
    out = bias_activation.raw(z, b, kind="relu")
    np.testing.assert_array_equal(on_device.get(), out)
    masked, bias_grad = bias_activation_backward.raw(
        cupy.asarray(g), on_device, cupy.asarray(b), kind="relu"
    )
    expected, total = bias_activation_backward.raw(g, out, b, kind="relu")
    np.testing.assert_array_equal(masked.get(), expected)
    np.testing.assert_allclose(bias_grad.get(), total, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (9, 10), (65, 33), (2, 1000)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("by_label", [True, False])
def test_cross_entropy(cupy, shape, dtype, smoothing, by_label):
    logits = normal(*shape, dtype=dtype)
    target = RNG.integers(0, shape[1], shape[0]) if by_label else RNG.random(shape).astype(dtype)
    expected = softmax_cross_entropy.raw(logits, target, smoothing=smoothing)
    found = softmax_cross_entropy.raw(
        cupy.asarray(logits), cupy.asarray(target), smoothing=smoothing
    )
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.get(), b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("row", [[np.nan, 0, 1], [np.inf, 0, 1], [-np.inf, 0, 1], [1, 1, 1]])
def test_cross_entropy_special_values(cupy, row):
    logits, label = np.array([row, [0, 1, 2]], np.float32), np.array([1, 2])
    with np.errstate(all="ignore"):
        expected = softmax_cross_entropy.raw(logits, label)
    found = softmax_cross_entropy.raw(cupy.asarray(logits), cupy.asarray(label))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.get(), b, rtol=1e-6)


@pytest.mark.parametrize("data", [np.uint8, np.float32])
@pytest.mark.parametrize("columns", [1, 7, 300])
def test_gather_scale(cupy, data, columns):
    rows = RNG.integers(0, 200, (11, columns)).astype(data)
    index = np.array([10, 0, 3, 3])
    found = gather_scale.raw(
        cupy.asarray(rows), cupy.asarray(index), dtype=np.float32, scale=1 / 255, offset=-0.5
    )
    expected = gather_scale.raw(rows, index, dtype=np.float32, scale=1 / 255, offset=-0.5)
    np.testing.assert_allclose(found.get(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("size", [1, 255, 1000])
@pytest.mark.parametrize("decoupled", [False, True])
def test_adam(cupy, size, decoupled):
    p = normal(size)
    host = [p.copy(), None, *(np.zeros(size, np.float32) for _ in range(2))]
    device = [cupy.asarray(p), None, *(cupy.zeros(size, np.float32) for _ in range(2))]
    counts = [np.zeros(1, np.int64), cupy.zeros(1, np.int64)]
    tickets = [np.zeros(1, np.uint32), cupy.zeros(1, np.uint32)]
    options = {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.01}
    for _ in range(3):
        g = normal(size)
        host[1], device[1] = g, cupy.asarray(g)
        for arrays, count, ticket in zip((host, device), counts, tickets, strict=True):
            adam_step.raw(*arrays, count, ticket, **options, decoupled=decoupled)
    for a, b in zip(device, host, strict=True):
        np.testing.assert_allclose(a.get(), b, rtol=1e-5, atol=1e-6)
    assert counts[1].get().tolist() == [3]
    assert tickets[1].get().tolist() == [0]


@pytest.mark.parametrize(("momentum", "nesterov"), [(0, False), (0.9, False), (0.9, True)])
def test_sgd(cupy, momentum, nesterov):
    p, g = normal(777), normal(777)
    host, device = p.copy(), cupy.asarray(p)
    for array, grad, xp in ((host, g, np), (device, cupy.asarray(g), cupy)):
        velocity = xp.zeros(777, np.float32) if momentum else None
        for _ in range(3):
            sgd_step.raw(
                *(array, grad, velocity),
                **{"lr": 0.1, "momentum": momentum, "weight_decay": 0.01, "nesterov": nesterov},
            )
    np.testing.assert_allclose(device.get(), host, rtol=1e-5, atol=1e-6)


def test_tensors_and_gradients_on_the_device(cupy):
    values = normal(4, 4)
    found = []
    for device in ("cpu", "cuda"):
        x = gt.tensor(values, device=device, requires_grad=True)
        y = gt.softmax(gt.tanh(x @ x.T) * 2 - x[:, ::2].sum(axis=1, keepdims=True))
        (y.max(axis=0).sum() + gt.einsum("ij,ij->", x, y) + x[[0, 0, 2]].mean()).backward()
        assert x.grad.device == device
        found.append(x.grad.numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6)


def test_second_derivatives_on_the_device(cupy):
    def second(device):
        x = gt.tensor(0.7, dtype=gt.float64, device=device)
        return gt.grad(gt.grad(lambda t: gt.relu(gt.sin(t)) * t**3))(x)

    result = second("cuda")
    assert result.device == "cuda"
    assert result.item() == pytest.approx(second("cpu").item())


def test_auto_is_cuda_where_there_is_one(cupy):
    assert gt.cuda_status().available
    assert gt.device("auto") == "cuda:0"
    assert gt.ones(2).device == "cuda:0"
    with gt.device("cpu"):
        assert gt.ones(2).device == "cpu"
    last = f"cuda:{cupy.cuda.runtime.getDeviceCount() - 1}"
    with gt.device(last):
        assert (gt.ones(2) * 2).device == last
    with pytest.raises(gt.errors.DeviceError, match=f"cuda:0 to {last}"):
        gt.device("cuda:99")


def test_a_cuda_tensor_does_not_become_numpy_silently(cupy):
    x = gt.ones(3)
    with pytest.raises(gt.errors.ImplicitTransferError, match=r"x\.numpy\(\)"):
        np.asarray(x)
    with pytest.raises(TypeError, match="no counterpart"):
        np.gcd(x, x)
    assert np.sin(x).device == "cuda"
    assert x.numpy().tolist() == [1, 1, 1]


@pytest.mark.parametrize("other", ["cpu", "cuda:1"])
def test_mixing_devices_is_an_error(cupy, other):
    require(cupy, other)
    x, y = gt.ones(3), gt.ones(3, device=other)
    for call in (
        *(lambda: x + y, lambda: gt.concat([x, y]), lambda: gt.where(x > 0, x, y)),
        *(lambda: x[y > 0], lambda: gt.index_add((3,), gt.argmax(y), x[0])),
    ):
        with pytest.raises(gt.errors.DeviceMismatchError, match=r"x\.to\('cuda:0'\)"):
            call()
    assert (x + y.to("cuda:0")).tolist() == [2, 2, 2]


def test_gradients_cross_devices(cupy):
    require(cupy, "cuda:1")
    x = gt.tensor([1.0, 2.0], device="cpu", requires_grad=True)
    (x.to("cuda:1") * 3).to("cuda:0").sum().backward()
    assert x.grad.device == "cpu"
    assert x.grad.tolist() == [3, 3]


def test_a_bad_label_is_found_when_the_host_next_reads(cupy):
    logits = gt.tensor(normal(4, 3), requires_grad=True)
    loss = F.cross_entropy(logits, gt.asarray(np.array([0, 7, 1, -2])))
    with pytest.raises(gt.errors.LabelError, match=r"row 1 has label 7; .* 0 to 2"):
        loss.item()
    assert np.isnan(loss.item())
    F.cross_entropy(logits, gt.asarray(np.array([0, 2, 1, 1]))).item()


def test_a_bad_label_is_found_by_the_reference_too(cupy, monkeypatch):
    monkeypatch.setenv("GPUTENSOR_KERNELS", "reference")
    loss = F.cross_entropy(gt.asarray(cupy.zeros((3, 2))), gt.asarray(np.array([0, 1, 2])))
    with pytest.raises(gt.errors.LabelError, match="row 2 has label 2"):
        loss.item()
    assert np.isnan(loss.item())


def model():
    gt.manual_seed(5)
    built = Sequential(
        [
            Rescaling(1 / 255, input_shape=(12,)),
            Dense(16, activation="relu"),
            Dropout(0.1),
            Dense(4, activation="softmax"),
        ]
    )
    built.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return built


def data(samples=200):
    x = RNG.integers(0, 256, (samples, 12), dtype=np.uint8)
    return x, (x[:, 0] // 64).astype(np.int64)


def test_training_gives_what_the_cpu_gives(cupy):
    x, y = data()
    found = []
    for device in ("cpu", "cuda"):
        with gt.device(device):
            network = model()
            history = network.fit(x, y, batch_size=32, epochs=3, verbose=0)
            found.append((history.history, network.predict(x), network.evaluate(x, y)))
    np.testing.assert_allclose(found[0][0]["loss"], found[1][0]["loss"], rtol=1e-4)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found[0][2], found[1][2], rtol=1e-4)


@pytest.mark.standin  # which counts
def test_an_epoch_reads_the_device_at_its_end_only(cupy):
    x, y = data()
    network = model()
    device_x, device_y = gt.asarray(x, device="cuda"), gt.asarray(y, device="cuda")
    network.fit(device_x, device_y, batch_size=32, verbose=0)
    counts = []
    for epochs in (1, 4):
        standin.counters.reset()
        network.fit(device_x, device_y, batch_size=32, epochs=epochs, verbose=0)
        c = standin.counters
        counts.append((c.transfers_to_host, c.synchronizations, c.transfers_to_device))
    reads, waits, sent = ((b - a) / 3 for a, b in zip(*counts, strict=True))
    # The sums of loss and accuracy and the flag of bad labels, at the end of the epoch; nothing is
    # sent to the device. Before each launch the host waits for the one before the last, no more.
    assert reads == 2
    assert waits <= 2 + -(-len(x) // 32)
    assert sent == 0
