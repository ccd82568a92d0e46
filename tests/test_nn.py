"""Layers, losses, optimizers: against plain formulas, and against PyTorch and JAX."""

import importlib.util
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

import gputensor as gt
from gputensor.nn import functional as F

RNG = np.random.default_rng(5)


def peer(name):
    """The module `name`; skips where it is absent, unless peers are required."""
    if importlib.util.find_spec(name) is None and os.environ.get("GPUTENSOR_PEERS") != "required":
        pytest.skip(f"{name} is not installed")
    return importlib.import_module(name)


def data(*shape, dtype=np.float32):
    return RNG.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("activation", [None, "linear", "relu", "sigmoid", "softmax", "tanh"])
@pytest.mark.parametrize("shape", [(3, 4), (4,), (2, 3, 4), (0, 4)])
@pytest.mark.usefixtures("setting")
def test_dense_is_activation_of_product_and_bias(activation, shape):
    x, w, b = data(*shape), data(4, 5), data(5)
    out = F.dense(gt.asarray(x), gt.asarray(w), gt.asarray(b), activation).numpy()
    z = x.astype(float) @ w + b
    expected = {
        "relu": lambda: np.maximum(z, 0),
        "sigmoid": lambda: 1 / (1 + np.exp(-z)),
        "softmax": lambda: np.exp(z) / np.exp(z).sum(-1, keepdims=True),
        "tanh": lambda: np.tanh(z),
    }.get(activation, lambda: z)()
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_dense_takes_strided_and_read_only_arrays(setting):
    x, w, b = data(6, 8)[::2, ::2], data(5, 4).T, data(10)[::2]
    for a in (x, w, b):
        a.flags.writeable = False
    tensors = [gt.asarray(a) for a in (x, w, b)]
    np.testing.assert_allclose(
        F.dense(*tensors, "relu").numpy(), np.maximum(x @ w + b, 0), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: F.dense(gt.ones((2, 3)), gt.ones((4, 5))), gt.errors.ShapeError, "x of shape"),
        (
            lambda: F.dense(gt.ones((2, 4)), gt.ones((4, 5)), gt.ones(4)),
            gt.errors.ShapeError,
            r"b has shape \(4,\), it must be \(5,\)",
        ),
        (
            lambda: F.dense(gt.ones((2, 4)), gt.ones((4, 5)), activation="mish"),
            ValueError,
            "'mish' is unknown; allowed are None, 'gelu', 'linear', 'relu'",
        ),
        (
            lambda: F.cross_entropy(gt.ones((2, 3)), gt.tensor([0, 3])).item(),
            gt.errors.LabelError,
            "row 1 has label 3; labels must be in the range 0 to 2",
        ),
        (lambda: F.cross_entropy(gt.ones(3), np.zeros(3, int)), gt.errors.ShapeError, "rows, cl"),
        (
            lambda: F.cross_entropy(gt.ones((2, 3)), np.zeros(3, int)),
            gt.errors.ShapeError,
            r"target has shape \(3,\)",
        ),
        (
            lambda: F.cross_entropy(gt.ones((2, 3)), np.zeros(2)),
            gt.errors.DTypeError,
            "integers, not float64",
        ),
        (
            lambda: F.cross_entropy(gt.ones((2, 3)), np.zeros(2, int), label_smoothing=1.5),
            ValueError,
            "label_smoothing is 1.5",
        ),
        (
            lambda: F.cross_entropy(gt.ones((2, 3)), np.zeros(2, int), reduction="avg"),
            ValueError,
            "'avg' is unknown",
        ),
        (lambda: F.cross_entropy(gt.ones((2, 3)), {0, 1}), TypeError, "target must be"),
        (lambda: F.dropout(gt.ones(2), 1.5), ValueError, "p is 1.5"),
        (lambda: gt.nn.Dense(0, 3), ValueError, "in_features is 0"),
        (lambda: gt.nn.Dense(3, 3, "elu"), ValueError, "'elu' is unknown"),
        (lambda: gt.nn.Sequential(gt.nn.Dense), TypeError, "layer 0 is a type"),
        (lambda: gt.optim.SGD([], 0.1), ValueError, "parameters is empty"),
        (lambda: gt.optim.SGD([gt.ones(2) > 0], 0.1), TypeError, "item 0 must be a floating point"),
        (lambda: gt.optim.SGD(gt.ones(2), 0.1), TypeError, r"write \[x\]"),
        (lambda: gt.optim.SGD([leaf(2)], -1), ValueError, "lr is -1"),
        (lambda: gt.optim.SGD([leaf(2)], "1"), TypeError, "lr must be a number"),
        (lambda: gt.optim.SGD([leaf(2)], 0.1, nesterov=True), ValueError, "needs a momentum"),
        (lambda: gt.optim.Adam([leaf(2)], betas=(1.0, 0.9)), ValueError, r"betas\[0\] is 1.0"),
        (lambda: gt.optim.Adam([leaf(2)], eps=-1), ValueError, "eps is -1"),
    ],
)
def test_bad_arguments(call, kind, text):
    with pytest.raises(kind, match=text):
        call()


def leaf(*shape):
    return gt.tensor(data(*shape), requires_grad=True)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # inf - inf
def test_nan_and_infinity_come_through(setting):
    x = gt.tensor([[np.nan, 1.0], [np.inf, 1.0], [0.0, 1.0]], requires_grad=True)
    out = F.dense(x, gt.ones((2, 1)), gt.zeros(1), "relu")
    assert np.isnan(out.detach().numpy()[0])
    assert np.isinf(out.detach().numpy()[1])
    loss = F.cross_entropy(x, gt.tensor([0, 0, 1]), reduction="none")
    assert np.isnan(loss.detach().numpy()[:2]).all()
    assert np.isfinite(loss.detach().numpy()[2])


def test_cross_entropy_of_no_rows_is_nan_as_a_mean_and_zero_as_a_sum(setting):
    x, y = gt.zeros((0, 3)), gt.zeros(0, dtype=gt.int64)
    assert np.isnan(F.cross_entropy(x, y).item())
    assert F.cross_entropy(x, y, reduction="sum").item() == 0


def test_dropout_zeros_a_share_and_keeps_the_mean():
    gt.manual_seed(0)
    x = gt.tensor(np.ones(100_000, np.float32), requires_grad=True)
    y = F.dropout(x, 0.25)
    values = y.detach().numpy()
    assert set(np.unique(values)) == {0, np.float32(1 / 0.75)}
    assert np.mean(values == 0) == pytest.approx(0.25, abs=0.01)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), values)
    assert F.dropout(x, 0.25, training=False) is x
    assert F.dropout(x, 1.0).sum().item() == 0


def network():
    return gt.nn.Sequential(
        gt.nn.Flatten(), gt.nn.Dense(12, 8, "relu"), gt.nn.Dropout(0.5), gt.nn.Dense(8, 3)
    )


def test_modules_list_their_parameters():
    model = network()
    names = ["1.weight", "1.bias", "3.weight", "3.bias"]
    assert [n for n, _ in model.named_parameters()] == names
    assert [p.shape for p in model.parameters()] == [(12, 8), (8,), (8, 3), (3,)]
    assert model.eval()[2].training is False
    assert model(gt.ones((2, 3, 4))).shape == (2, 3)
    assert gt.nn.Dense(2, 3, bias=False).bias is None


def test_initial_weights_are_glorot_uniform():
    gt.manual_seed(1)
    layer = gt.nn.Dense(300, 200)
    w, limit = layer.weight.detach().numpy(), np.sqrt(6 / 500)
    assert abs(w).max() <= limit
    assert abs(w).max() > 0.99 * limit
    assert w.std() == pytest.approx(limit / np.sqrt(3), rel=0.02)
    assert not layer.bias.detach().numpy().any()


def test_parameters_are_of_bfloat16_before_its_package_was_imported():
    pytest.importorskip("ml_dtypes")
    program = (
        "import sys, gputensor as gt; assert 'ml_dtypes' not in sys.modules;"
        "layers = gt.nn.Linear(2, 3, dtype='bfloat16'), gt.nn.Linear(2, 3).to('bfloat16');"
        "assert {layer.weight.dtype.name for layer in layers} == {'bfloat16'}"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_bfloat16_comes_back_from_a_numpy_archive(tmp_path):
    pytest.importorskip("ml_dtypes")
    model, other = (gt.nn.Linear(2, 3, dtype="bfloat16") for _ in range(2))
    np.savez(tmp_path / "m.npz", **model.state_dict())
    other.load_state_dict(dict(np.load(tmp_path / "m.npz")))
    np.testing.assert_array_equal(other.state_dict()["weight"], model.state_dict()["weight"])
    with pytest.raises(gt.errors.DTypeError, match=r"is of \|V2"):
        gt.nn.Linear(2, 3).load_state_dict(dict(np.load(tmp_path / "m.npz")))


def test_state_dict_round_trip_and_its_errors():
    first, second = network().eval(), network().eval()
    x = gt.asarray(data(2, 12))
    assert (first(x) != second(x)).any()
    second.load_state_dict(first.state_dict())
    assert (first(x) == second(x)).all()
    state = first.state_dict()
    with pytest.raises(KeyError, match=r"lacks 3\.bias"):
        second.load_state_dict({k: v for k, v in state.items() if k != "3.bias"})
    with pytest.raises(KeyError, match="has no extra"):
        second.load_state_dict({**state, "extra": 1})
    with pytest.raises(gt.errors.ShapeError, match=r"1\.bias has shape \(7,\)"):
        second.load_state_dict({**state, "1.bias": np.zeros(7)})


def quadratic(parameters, targets):
    parts = [((p - t) ** 2).sum() for p, t in zip(parameters, targets, strict=True)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def test_parameters_and_gradients_are_views_of_one_buffer():
    parameters = [leaf(3, 4), leaf(5)]
    before = [p.detach().numpy().copy() for p in parameters]
    optimizer = gt.optim.Adam(parameters)
    (part,) = optimizer._parts
    quadratic(parameters, (0, 0)).backward()
    for p, old in zip(parameters, before, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), old)
        assert np.shares_memory(p.array, part.block.values)
        assert np.shares_memory(p._node.grad.array, part.block.grads)
        np.testing.assert_allclose(p.grad.numpy(), 2 * old, rtol=1e-6)


def test_zero_grad_and_accumulation_in_the_buffer():
    p = leaf(4)
    optimizer = gt.optim.SGD([p], 0.1)
    for passes in (1, 2):
        optimizer.zero_grad()
        assert p.grad is None
        for _ in range(passes):
            (p * 3).sum().backward()
        assert p.grad.tolist() == [3 * passes] * 4


def test_dense_gradients_written_to_the_buffer_equal_those_that_are_not():
    x, y = gt.asarray(data(6, 12)), gt.asarray(RNG.integers(0, 3, 6))
    model = network().eval()
    F.cross_entropy(model(x), y).backward()
    plain = [p.grad.numpy().copy() for p in model.parameters()]
    model.zero_grad()
    optimizer = gt.optim.SGD(model.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        for p, g in zip(model.parameters(), plain, strict=True):
            np.testing.assert_allclose(p.grad.numpy(), g, rtol=1e-5, atol=1e-7)


def test_a_shared_weight_gets_both_gradients():
    w = gt.tensor(data(3, 3), requires_grad=True)
    b = gt.tensor(data(3), requires_grad=True)
    x = gt.asarray(data(2, 3))
    F.dense(F.dense(x, w, b), w, b, "relu").sum().backward()
    plain = [t.grad.numpy().copy() for t in (w, b)]
    w.grad = b.grad = None
    gt.optim.SGD([w, b], 0.1)
    F.dense(F.dense(x, w, b), w, b, "relu").sum().backward()
    for t, g in zip((w, b), plain, strict=True):
        np.testing.assert_allclose(t.grad.numpy(), g, rtol=1e-5)


def test_parameters_without_a_gradient_stay():
    p, q, r = leaf(3), leaf(2), leaf(4)
    kept = q.detach().numpy().copy()
    optimizer = gt.optim.Adam([p, q, r], 0.1)
    (p.sum() + r.sum()).backward()
    moved = [t.detach().numpy().copy() for t in (p, r)]
    optimizer.step()
    np.testing.assert_array_equal(q.detach().numpy(), kept)
    for t, old in zip((p, r), moved, strict=True):
        np.testing.assert_allclose(t.detach().numpy(), old - 0.1, rtol=1e-4, atol=1e-5)


def test_a_gradient_set_by_hand_is_used():
    p = gt.tensor([1.0, 2.0], requires_grad=True)
    optimizer = gt.optim.SGD([p], 0.5)
    p.grad = gt.tensor([2.0, 4.0])
    optimizer.step()
    assert p.tolist() == [0, 0]


def test_optimizer_state_resumes_bit_for_bit():
    def run(steps, state=None, start=None):
        p = gt.tensor(np.ones(5, np.float32) if start is None else start, requires_grad=True)
        optimizer = gt.optim.AdamW([p], 0.1)
        if state:
            optimizer.load_state_dict(state)
        for _ in range(steps):
            optimizer.zero_grad()
            quadratic([p], [gt.arange(5)]).backward()
            optimizer.step()
        return p.detach().numpy().copy(), optimizer.state_dict()

    whole, _ = run(6)
    half, state = run(3)
    resumed, _ = run(3, state, half)
    np.testing.assert_array_equal(whole, resumed)
    with pytest.raises(KeyError, match="must hold"):
        gt.optim.SGD([leaf(5)], 0.1).load_state_dict(state)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_optimizers_find_a_minimum(setting, dtype):
    for make in (
        lambda p: gt.optim.SGD(p, 0.1),
        lambda p: gt.optim.SGD(p, 0.05, momentum=0.8, nesterov=True),
        lambda p: gt.optim.Adam(p, 0.1, eps=1e-4),
    ):
        p = gt.tensor(np.array([3.0, -2.0], dtype), requires_grad=True)
        optimizer = make([p])
        for _ in range(200):
            optimizer.zero_grad()
            quadratic([p], [gt.tensor(np.array([1.0, 1.0], dtype))]).backward()
            optimizer.step()
        np.testing.assert_allclose(p.detach().numpy(), 1, atol=0.05)


OPTIMIZERS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("Adam", {"lr": 0.1}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.1}),
]


@pytest.mark.peers
@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
@pytest.mark.usefixtures("setting")
def test_optimizers_equal_pytorch(name, options):
    torch = peer("torch")
    start, target = data(7), data(7)
    ours = gt.tensor(start, requires_grad=True)
    theirs = torch.tensor(start, requires_grad=True)
    pair = (
        getattr(gt.optim, name)([ours], **options),
        getattr(torch.optim, name)([theirs], **options),
    )
    for _ in range(20):
        for optimizer in pair:
            optimizer.zero_grad()
        quadratic([ours], [gt.asarray(target)]).backward()
        ((theirs - torch.tensor(target)) ** 2).sum().backward()
        for optimizer in pair:
            optimizer.step()
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.peers
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("by_label", [True, False])
@pytest.mark.usefixtures("setting")
def test_cross_entropy_equals_pytorch(smoothing, reduction, by_label):
    torch = peer("torch")
    logits = data(9, 6)
    target = RNG.integers(0, 6, 9) if by_label else RNG.dirichlet(np.ones(6), 9).astype(np.float32)
    ours = gt.tensor(logits, requires_grad=True)
    theirs = torch.tensor(logits, requires_grad=True)
    a = F.cross_entropy(ours, gt.asarray(target), label_smoothing=smoothing, reduction=reduction)
    b = torch.nn.functional.cross_entropy(
        theirs, torch.tensor(target), label_smoothing=smoothing, reduction=reduction
    )
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-5, atol=1e-6)
    a.sum().backward()
    b.sum().backward()
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.peers
def test_a_network_and_its_gradients_equal_pytorch():
    torch = peer("torch")
    x, labels = data(5, 12), RNG.integers(0, 3, 5)
    model = network().eval()
    twin = torch.nn.Sequential(torch.nn.Linear(12, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    with torch.no_grad():
        for layer, index in ((twin[0], 1), (twin[2], 3)):
            layer.weight.copy_(torch.tensor(model[index].weight.detach().numpy().T.copy()))
            layer.bias.copy_(torch.tensor(model[index].bias.detach().numpy()))
    F.cross_entropy(model(gt.asarray(x)), gt.asarray(labels)).backward()
    torch.nn.functional.cross_entropy(twin(torch.tensor(x)), torch.tensor(labels)).backward()
    for layer, index in ((twin[0], 1), (twin[2], 3)):
        np.testing.assert_allclose(
            model[index].weight.grad.numpy(), layer.weight.grad.numpy().T, rtol=1e-4, atol=1e-6
        )
        np.testing.assert_allclose(
            model[index].bias.grad.numpy(), layer.bias.grad.numpy(), rtol=1e-4, atol=1e-6
        )


@pytest.mark.peers
def test_gradients_and_second_derivatives_equal_jax():
    jax = peer("jax")
    jax.config.update("jax_enable_x64", True)
    x = data(4, 3, dtype=np.float64)

    def f(xp, softmax, v):
        return xp.sum(softmax(xp.tanh(v @ v.T) * 2, axis=-1) ** 2 * xp.max(v, axis=1))

    def ours(v):
        return gt.sum(gt.softmax(gt.tanh(v @ v.T) * 2, axis=-1) ** 2 * gt.max(v, axis=1))

    def theirs(v):
        return f(jax.numpy, jax.nn.softmax, v)

    np.testing.assert_allclose(gt.grad(ours)(gt.asarray(x)).numpy(), jax.grad(theirs)(x), rtol=1e-9)
    second = gt.grad(lambda v: gt.sum(gt.square(gt.grad(ours)(v))))(gt.asarray(x))
    expected = jax.grad(lambda v: (jax.grad(theirs)(v) ** 2).sum())(x)
    np.testing.assert_allclose(second.numpy(), expected, rtol=1e-8)


class Nested(gt.nn.Module):
    """Parameters and modules in containers."""

    def __init__(self):
        self.blocks = [gt.nn.Dense(2, 3), gt.nn.Dropout(0.5), gt.nn.Dense(3, 1)]
        self.heads = {"a": gt.nn.Dense(1, 2)}
        self.scales = (gt.tensor([1.0], requires_grad=True), 5)


def test_modules_and_parameters_in_containers_are_found():
    module = Nested()
    names = {f"blocks.{i}.{p}" for i in (0, 2) for p in ("weight", "bias")}
    assert set(module.state_dict()) == names | {"heads.a.weight", "heads.a.bias", "scales.0"}
    module.eval()
    assert not module.blocks[1].training
    other = Nested()
    other.load_state_dict(module.state_dict())
    assert other.heads["a"].weight.tolist() == module.heads["a"].weight.tolist()


def test_dense_promotes_as_the_operators_do():
    x, w, b = gt.ones((2, 3)), gt.ones((3, 4)), gt.ones(4, dtype=gt.float64)
    for activation in (None, "relu", "silu"):
        assert F.dense(x, w, b, activation).dtype == (x @ w + b).dtype == gt.float64


def test_targets_and_logits_that_are_no_tensors():
    logits = np.array([[1.0, 2.0], [0.5, 0.0]], np.float32)
    expected = F.cross_entropy(gt.asarray(logits), gt.asarray(np.array([1, 1]))).item()
    assert F.cross_entropy(logits, [1, 1]).item() == pytest.approx(expected)
    assert F.accuracy(logits, [1, 1]).item() == 0.5
    with pytest.raises(TypeError, match="target must be a tensor, an array or a list, not str"):
        F.cross_entropy(logits, "ab")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.dropout(gt.asarray(np.arange(3)), 0.3), TypeError, "x is int64"),
        (lambda: F.dense(gt.ones((1, 1)), gt.ones((1, 1)), None, ["relu"]), ValueError, "relu"),
        (lambda: gt.nn.Dense(1, 1, ["relu"]), ValueError, "unknown"),
        (lambda: gt.nn.Dropout("a"), ValueError, "p is 'a'"),
        (lambda: gt.nn.Flatten()(gt.ones(())), ValueError, r"x has shape \(\)"),
        (lambda: gt.nn.Dense(1, 1).load_state_dict(None), TypeError, "got NoneType"),
        (lambda: gt.optim.Adam([gt.tensor(1.0, requires_grad=True)], betas=0.9), TypeError, "pair"),
    ],
)
def test_bad_arguments_of_layers(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.cpu
@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults as Linux does")
def test_a_repeated_step_takes_no_more_memory_from_the_system():
    """Activations and gradients are given back and taken again: no page is touched anew."""
    resource = pytest.importorskip("resource")
    rows, hidden = 256, 512
    network = gt.nn.Sequential(gt.nn.Dense(300, hidden, "relu"), gt.nn.Dense(hidden, 10))
    optimizer = gt.optim.Adam(network.parameters())
    x = gt.tensor(RNG.standard_normal((rows, 300)), dtype="float32")
    y = gt.tensor(RNG.integers(0, 10, rows))

    def pages(steps):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(steps):
            loss = F.cross_entropy(network(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    pages(5)
    one_step = 2 * rows * hidden * 4 / resource.getpagesize()  # the activation and its gradient
    assert pages(20) < one_step


LOSSES = {
    "mse_loss": {},
    "l1_loss": {},
    "huber_loss": {"delta": 0.7},
    "binary_cross_entropy_with_logits": {},
    "kl_div": {},
    "nll_loss": {},
}


def loss_inputs(name):
    rng = np.random.default_rng(9)
    x = rng.uniform(-3, 3, (6, 4))
    if name == "nll_loss":
        return np.log(rng.dirichlet(np.ones(4), 6)), rng.integers(0, 4, 6)
    if name == "kl_div":
        return tuple(np.log(rng.dirichlet(np.ones(4), 6)) for _ in range(2))
    return x, rng.uniform(0, 1, (6, 4))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_of_losses(name, reduction):
    x, t = (gt.tensor(a) for a in loss_inputs(name))
    x.requires_grad = True
    options = LOSSES[name] | {"reduction": reduction}
    if name == "nll_loss":
        gt.gradcheck(lambda x: F.nll_loss(x, t, **options), x)
        return
    t.requires_grad = True
    gt.gradcheck(lambda x, t: getattr(F, name)(x, t, **options), x, t)


@pytest.mark.peers
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_pytorchs(name, reduction):
    torch = peer("torch")
    x, t = loss_inputs(name)
    options = LOSSES[name] | {"reduction": reduction}
    found = getattr(F, name)(gt.tensor(x), gt.tensor(t), **options)
    if name == "kl_div":
        options["log_target"] = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what reduction="mean" of kl_div will come to mean
        function = getattr(torch.nn.functional, name)
        expected = function(torch.tensor(x), torch.tensor(t), **options)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-12)


def test_activations():
    x = np.array([-900.0, -2.0, -0.1, 0.0, 0.1, 2.0, 900.0])
    t = gt.tensor(x, requires_grad=True)
    below = np.minimum(x, 0)
    for function, expected, slope in (
        (F.leaky_relu, np.where(x > 0, x, 0.01 * x), np.where(x > 0, 1, 0.01)),
        (F.elu, np.where(x > 0, x, np.expm1(below)), np.where(x > 0, 1, np.exp(below))),
        (F.log_sigmoid, -np.logaddexp(0, -x), 1 / (1 + np.exp(np.minimum(x, 700)))),
    ):
        t.grad = None
        out = function(t)
        out.sum().backward()
        np.testing.assert_allclose(out.detach().numpy(), expected, rtol=1e-12)
        np.testing.assert_allclose(t.grad.numpy(), slope, rtol=1e-12, atol=1e-300)


def test_losses_at_the_edges():
    assert F.binary_cross_entropy_with_logits(gt.tensor([900.0, -900.0]), [1.0, 0.0]).item() == 0
    t = gt.tensor([-np.inf, 0.0], dtype="float64")
    x = gt.tensor([-np.inf, -0.5], dtype="float64", requires_grad=True)
    out = F.kl_div(x, t, reduction="sum")
    out.backward()
    assert out.item() == 0.5
    assert x.grad.tolist() == [0.0, -1.0]
    with pytest.raises(gt.errors.LabelError, match=r"nll_loss: row 1 has label -1; .* 0 to 2"):
        F.nll_loss(gt.zeros((2, 3)), [0, -1]).item()
    with pytest.raises(
        gt.errors.ShapeError, match=r"mse_loss: prediction has shape \(3,\), target"
    ):
        F.mse_loss(gt.ones(3), gt.ones((3, 1)))
    with pytest.raises(gt.errors.DTypeError, match="must be class labels, integers, not float32"):
        F.nll_loss(gt.zeros((2, 3)), gt.ones(2))
    with pytest.raises(ValueError, match="'average' is unknown; allowed are 'mean', 'sum'"):
        F.l1_loss(gt.ones(3), gt.ones(3), reduction="average")
    with pytest.raises(ValueError, match=r"huber_loss: delta is -1; it must be above 0"):
        F.huber_loss(gt.ones(3), gt.ones(3), delta=-1)
