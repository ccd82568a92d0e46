"""Mixed precision: what autocast casts, equality with the same by hand, and loss scaling."""

import copy
import importlib
import importlib.util
import sys
import threading

import numpy as np
import pytest

import gputensor as gt
from checks import normal_by
from gputensor import standin
from gputensor.keras.layers import Dense
from gputensor.keras.models import Sequential
from gputensor.nn import functional as F

RNG = np.random.default_rng(3)
normal = normal_by(RNG, np.float32)
WITHOUT = pytest.mark.skipif(
    importlib.util.find_spec("ml_dtypes") is None, reason="ml_dtypes is not installed"
)
DTYPES = ["float16", pytest.param("bfloat16", marks=WITHOUT)]


def narrow(name):
    return np.dtype(importlib.import_module("ml_dtypes").bfloat16 if name == "bfloat16" else name)


def product(a, b):
    """Of 16-bit arrays, added up in float32."""
    return (a.astype(np.float32) @ b.astype(np.float32)).astype(a.dtype)


@pytest.mark.cpu  # CUDA adds in another order
@pytest.mark.parametrize("name", DTYPES)
def test_a_layer_equals_the_same_by_hand(name):
    dtype = narrow(name)
    x, w, b, g = normal(6, 40), normal(40, 5), normal(5), normal(6, 5)
    tensors = [gt.tensor(a, requires_grad=True) for a in (x, w, b)]
    with gt.autocast(name):
        out = F.dense(*tensors, "relu")
    assert out.dtype == dtype
    x, w, b, g = (a.astype(dtype) for a in (x, w, b, g))
    z = product(x, w).astype(np.float32) + b.astype(np.float32)
    expected = np.maximum(z, 0).astype(dtype)
    np.testing.assert_array_equal(out.detach().numpy(), expected)
    out.backward(gt.asarray(g))
    masked = np.where(expected > 0, g, 0)
    wanted = product(masked, w.T), product(x.T, masked), masked.astype(np.float32).sum(axis=0)
    for t, grad in zip(tensors, wanted, strict=True):
        assert t.grad.dtype == np.float32
        np.testing.assert_array_equal(t.grad.numpy(), grad.astype(dtype).astype(np.float32))


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize(
    "shapes", [((3, 4), (4, 2)), ((4,), (4,)), ((2, 3, 4), (4,)), ((4,), (4, 3))]
)
def test_products_are_rounded_once(name, shapes):
    dtype = narrow(name)
    x, y = (normal(*shape) for shape in shapes)
    a, b = (gt.tensor(v, requires_grad=True) for v in (x, y))
    with gt.autocast(name):
        out = a @ b
        assert out.dtype == dtype
    exact = x.astype(dtype).astype(np.float64) @ y.astype(dtype).astype(np.float64)
    eps = 2.0**-8 if name == "bfloat16" else 2.0**-11
    np.testing.assert_allclose(out.detach().numpy().astype(np.float64), exact, 1.01 * eps, 1e-6)
    out.astype(gt.float32).sum().backward()
    p, q = (gt.tensor(v.astype(dtype).astype(np.float32), requires_grad=True) for v in (x, y))
    (p @ q).sum().backward()
    for t, wanted in ((a, p), (b, q)):
        assert t.grad.dtype == np.float32
        np.testing.assert_allclose(t.grad.numpy(), wanted.grad.numpy(), 8 * eps, 8 * eps)


@pytest.mark.parametrize("name", DTYPES)
def test_sums_in_float32_are_not_swallowed(name):
    # Added up in 16 bits, ones would stop counting at 256 or 2048.
    ones, column = gt.ones((1, 5000)), gt.ones((5000, 1))
    with gt.autocast(name):
        assert float((ones @ column).item()) == pytest.approx(5000, rel=2**-8)
        assert float(gt.einsum("ij,kj->ik", ones, ones).item()) == pytest.approx(5000, rel=2**-8)
        assert float(gt.einsum("ij->i", ones).item()) == pytest.approx(5000, rel=2**-8)


@pytest.mark.parametrize("name", DTYPES)
def test_which_function_gives_which_dtype(name):
    x, w, b = gt.tensor(normal(3, 4)), gt.tensor(normal(4, 4)), gt.tensor(normal(4))
    low = narrow(name)
    with gt.autocast(name):
        h = x @ w
        for out in (
            *(gt.einsum("ij,jk", x, w), gt.einsum("ij,jk,kl->il", x, w, w), w.T @ h.T),
            *(F.dense(x, w, b), F.dense(x, w, b, "relu"), F.dense(x, w, b, "gelu")),
            *(F.dense(x[None], w), F.relu(h), h + h, h * h, h.reshape(12), gt.maximum(h, h)),
        ):
            assert out.dtype == low
        for out in (
            *(h.sum(), h.mean(axis=0), h.var(), h.std(), gt.logsumexp(h, axis=1)),
            *(F.softmax(h), F.log_softmax(h), F.dense(x, w, b, "softmax"), h + x),
            *(F.layer_norm(h, b, b), F.rms_norm(h, b), F.cross_entropy(h, [0, 1, 3])),
        ):
            assert out.dtype == gt.float32
        assert (x + x).dtype == gt.float32
        for other in (gt.float64, gt.int64, gt.complex64):
            y = gt.ones((4, 4), dtype=other)
            assert (x @ y).dtype == np.result_type(np.float32, other)
            assert (y @ y).dtype == other
    assert (x @ w).dtype == gt.float32


@pytest.mark.cpu
def test_arrays_are_cast_too():
    with gt.autocast("float16"):
        assert (normal(2, 3) @ gt.ones((3, 2))).dtype == gt.float16


def test_contexts_nest_and_end():
    x = gt.ones((2, 2))
    with gt.autocast("float16"):
        with gt.autocast(None):
            assert (x @ x).dtype == gt.float32
        assert (x @ x).dtype == gt.float16
        with pytest.raises(gt.errors.ShapeError, match="matmul"):
            x @ gt.ones((3, 2))
    with pytest.raises(KeyError), gt.autocast(gt.float16):
        raise KeyError
    assert (x @ x).dtype == gt.float32


def test_a_decorator():
    @gt.autocast("float16")
    def multiply(x):
        return x @ x

    assert multiply(gt.ones((2, 2))).dtype == gt.float16
    with pytest.raises(TypeError, match=r"generator or coroutine.*gt\.autocast"):

        @gt.autocast("float16")
        def products(x):
            yield x @ x


def test_other_threads_are_not_affected():
    x = gt.ones((2, 2))
    found = []
    with gt.autocast("float16"):
        thread = threading.Thread(target=lambda: found.append((x @ x).dtype))
        thread.start()
        thread.join()
    assert found == [gt.float32]


@pytest.mark.parametrize("dtype", ["float32", "int8", "half precision", 3])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(gt.errors.DTypeError, match="'float16', 'bfloat16'"):
        gt.autocast(dtype)


def test_bfloat16_needs_a_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    for call in (gt.autocast, gt.ones(1).astype, lambda dtype: gt.zeros(1, dtype=dtype)):
        with pytest.raises(ImportError, match="pip install ml_dtypes"):
            call("bfloat16")


@pytest.mark.parametrize("name", DTYPES)
def test_second_derivatives(name):
    x, w = gt.tensor(normal(3, 4)), gt.tensor(normal(4, 2))

    def second(w):
        def loss(w):
            with gt.autocast(name):
                return gt.tanh(gt.einsum("ij,jk", x, w) + x @ w).sum()

        return gt.grad(lambda w: gt.grad(loss)(w).square().sum())(w)

    def second_in_float32(w):
        loss = lambda w: gt.tanh(2 * (x @ w)).sum()  # noqa: E731
        return gt.grad(lambda w: gt.grad(loss)(w).square().sum())(w)

    found, wanted = second(w).numpy(), second_in_float32(w).numpy()
    assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()


@pytest.mark.peers
def test_gradients_are_near_those_of_pytorch():
    torch = pytest.importorskip("torch")
    x, w, b, t = normal(16, 20), normal(20, 7), normal(7), RNG.integers(0, 7, 16)
    ours = [gt.tensor(a, requires_grad=True) for a in (w, b)]
    theirs = [torch.tensor(a, requires_grad=True) for a in (w, b)]
    with gt.autocast("bfloat16"):
        loss = F.cross_entropy(F.dense(gt.asarray(x), *ours, "tanh"), gt.asarray(t))
    with torch.autocast("cpu", torch.bfloat16):
        h = torch.tanh(torch.nn.functional.linear(torch.tensor(x), theirs[0].T, theirs[1]))
        other = torch.nn.functional.cross_entropy(h, torch.tensor(t))
    assert h.dtype == torch.bfloat16
    assert other.dtype == torch.float32
    loss.backward()
    other.backward()
    assert loss.item() == pytest.approx(other.item(), rel=1e-2)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), atol=1e-2)


# ---------------------------------------------------------------- training and loss scaling


def network():
    return gt.nn.Sequential(
        gt.nn.Dense(8, 16, "relu", generator=gt.random.Generator(1)),
        gt.nn.Dense(16, 3, generator=gt.random.Generator(2)),
    )


X = normal(96, 8)
Y = X[:, :3].argmax(axis=1)


def train(dtype, scaler=None, steps=60):
    model = network()
    optimizer = gt.optim.Adam(model.parameters(), lr=0.02)
    x, y = gt.asarray(X), gt.asarray(Y)
    losses = []
    for _ in range(steps):
        with gt.autocast(dtype):
            loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        if scaler is None:
            loss.backward()
            optimizer.step()
        else:
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        losses.append(loss.detach())
    return gt.stack(losses).numpy()


def test_training_converges_alike():
    pytest.importorskip("ml_dtypes")
    plain = train(None)
    assert plain[-1] < 0.3 * plain[0]
    for dtype, scaler in (("float16", gt.optim.GradScaler()), ("bfloat16", None)):
        np.testing.assert_allclose(train(dtype, scaler), plain, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("loss", ["mse", "sparse_categorical_crossentropy"])
def test_keras_models_are_trained_in_mixed_precision(loss):
    pytest.importorskip("ml_dtypes")
    y = Y if loss.startswith("sparse") else (X[:, 0] > 0).astype(np.float32)
    last = Dense(3, "softmax") if loss.startswith("sparse") else Dense(1, "sigmoid")
    found = []
    for dtype in (None, "bfloat16"):
        gt.manual_seed(1)
        model = Sequential([Dense(16, activation="relu", input_shape=(8,)), copy.deepcopy(last)])
        model.compile("adam", loss)
        with gt.autocast(dtype):
            found.append(model.fit(X, y, epochs=8, verbose=0).history["loss"])
        assert all(p.dtype == gt.float32 for p in model.parameters())
    assert found[0] != found[1]
    np.testing.assert_allclose(*found, rtol=0.02)
    assert found[1][-1] < found[1][0]


def test_scaling_alone_changes_no_bit():
    # Powers of two are exact in float32.
    np.testing.assert_array_equal(train(None, gt.optim.GradScaler()), train(None))


OPTIMIZERS = {
    "adam": lambda p: gt.optim.AdamW(p, lr=0.1),
    "sgd": lambda p: gt.optim.SGD(p, lr=0.1, momentum=0.9),
    "schedule": lambda p: gt.optim.SGD(p, lr=gt.optim.schedules.exponential_decay(0.1, 1, 0.5)),
}


@pytest.mark.parametrize("kernels", ["auto", "reference"])
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_step_that_overflows_is_left_out(make, bad, kernels, monkeypatch):
    monkeypatch.setenv("GPUTENSOR_KERNELS", kernels)
    p = gt.tensor(normal(5), requires_grad=True)
    optimizer = make([p])
    scaler = gt.optim.GradScaler(64.0, growth_interval=3)

    def step(factor):
        optimizer.zero_grad()
        scaler.scale((p * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        return scaler.factor.item()

    def everything():
        return [p.detach().numpy().copy(), *optimizer.state_dict().values()]

    assert step(1.0) == 64
    before = everything()
    assert step(gt.tensor([1.0, 1.0, bad, 1.0, 1.0])) == 32
    for a, b in zip(everything(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert [step(1.0) for _ in range(4)] == [32, 32, 64, 64]
    assert np.isfinite(p.detach().numpy()).all()
    assert not np.array_equal(p.detach().numpy(), before[0])


@pytest.mark.standin  # which counts
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_the_host_reads_nothing(cupy, make):
    with gt.device("cuda"):
        model = network()
        x, y = gt.asarray(X), gt.asarray(Y)
        optimizer, scaler = make(model.parameters()), gt.optim.GradScaler(2.0**40)

        def step():
            with gt.autocast("float16"):
                loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.unscale(optimizer)
            optimizer.clip_grad_norm(1.0)
            scaler.step(optimizer)
            scaler.update()

        step()
        standin.counters.reset()
        for _ in range(3):
            step()
        counters = standin.counters
        assert (counters.transfers_to_host, counters.synchronizations) == (0, 0)
        assert counters.transfers_to_device == 0
        assert scaler.factor.item() < 2.0**40


@pytest.mark.parametrize("clips", [False, True])
def test_captured_steps_equal_eager_ones(cupy, clips):
    x, y = (gt.asarray(a, device="cuda") for a in (X, Y))
    found = []
    for capture in (lambda f: f, gt.capture):
        with gt.device("cuda"):
            model = network()
            optimizer = gt.optim.Adam(model.parameters(), lr=0.02)
            scaler = gt.optim.GradScaler(2.0**40, growth_interval=2)

            @capture
            def step(x, y, model=model, optimizer=optimizer, scaler=scaler):
                loss = F.cross_entropy(model(x), y)
                optimizer.zero_grad()
                scaler.scale(loss).backward()
                if clips:
                    scaler.unscale(optimizer)
                    optimizer.clip_grad_norm(0.2)
                scaler.step(optimizer)
                scaler.update()
                return loss

            losses = []
            for dtype in [*["float16"] * 5, None, *["float16"] * 2, None]:
                with gt.autocast(dtype):
                    losses.append(step(x, y).item())
                    losses.append(model[0].weight.grad.numpy().tobytes())
            found.append([*losses, scaler.factor.item(), model[0].weight.tolist()])
    assert found[0] == found[1]
    assert step.graphs == 2


def test_on_cuda_as_on_the_cpu(cupy):
    found = []
    for device in ("cpu", "cuda"):
        with gt.device(device):
            found.append(train("float16", gt.optim.GradScaler(2.0**20), steps=15))
    np.testing.assert_allclose(*found, rtol=0.02, atol=0.01)


def test_unscaled_gradients_can_be_clipped():
    p = gt.tensor([3.0, 4.0], requires_grad=True)
    optimizer, scaler = gt.optim.SGD([p], lr=1.0), gt.optim.GradScaler()
    scaler.scale((p * p).sum() / 2).backward()
    assert p.grad.tolist() == [3 * 65536, 4 * 65536]
    scaler.unscale(optimizer)
    assert optimizer.clip_grad_norm(1.0).item() == 5
    scaler.step(optimizer)
    np.testing.assert_allclose(p.detach().numpy(), [2.4, 3.2], rtol=1e-5)


def test_an_overflow_in_one_optimizer_stops_that_one_alone():
    good, bad = (gt.tensor([1.0], requires_grad=True) for _ in range(2))
    optimizers = [gt.optim.SGD([p], lr=0.5) for p in (good, bad)]
    scaler = gt.optim.GradScaler(8.0)
    scaler.scale((good + bad * np.float32(np.inf)).sum()).backward()
    for optimizer in optimizers:
        scaler.step(optimizer)
    scaler.update()
    assert (good.item(), bad.item(), scaler.factor.item()) == (0.5, 1.0, 4.0)


def test_state_goes_on():
    scaler, other = gt.optim.GradScaler(8.0), gt.optim.GradScaler()
    state = scaler.state_dict() | {"streak": np.uint32([7])}
    other.load_state_dict(state)
    assert {k: v.tolist() for k, v in other.state_dict().items()} == {"scale": [8], "streak": [7]}
    with pytest.raises(KeyError, match="scale, streak"):
        other.load_state_dict({})


def test_misuse_is_explained():
    p = gt.tensor([1.0], requires_grad=True)
    optimizer, scaler = gt.optim.SGD([p]), gt.optim.GradScaler()
    with pytest.raises(gt.errors.GraphError, match="no step"):
        scaler.update()
    scaler.scale(p.sum()).backward()
    scaler.unscale(optimizer)
    with pytest.raises(gt.errors.GraphError, match=r"update\(\)"):
        scaler.unscale(optimizer)
    scaler.step(optimizer)
    with pytest.raises(gt.errors.GraphError, match=r"update\(\)"):
        scaler.step(optimizer)
    with pytest.raises(TypeError, match="Tensor, got float"):
        scaler.scale(1.0)
    for options in (
        *({"init_scale": 0}, {"growth_factor": 1.0}, {"backoff_factor": 1.5}),
        *({"growth_interval": 0}, {"init_scale": np.nan}),
    ):
        with pytest.raises(ValueError, match=next(iter(options))):
            gt.optim.GradScaler(**options)
