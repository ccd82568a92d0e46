"""Layers and losses beside PyTorch's: the same weights in, results and gradients compared."""

import numpy as np
import pytest

import gputensor as gt
from checks import normal_by

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers

RNG = np.random.default_rng(0)
numbers = normal_by(RNG, np.float64)


def set_weights(ours, theirs):
    """Give a module, whose parameters have the same names, the values of the other."""
    ours.load_state_dict({name: t.numpy() for name, t in theirs.state_dict().items()})


def compare(ours, theirs, *inputs, rtol=1e-9):
    """Results, gradients towards inputs and parameters of two modules."""
    theirs = theirs.double()
    mine = [gt.asarray(x) for x in inputs]
    yours = [torch.tensor(x) for x in inputs]
    for a, b in zip(mine, yours, strict=True):
        if a.dtype.kind == "f":
            a.requires_grad = True
            b.requires_grad_()
    set_weights(ours, theirs)
    out, expected = ours(*mine), theirs(*yours)
    if isinstance(expected, tuple):
        assert len(out) == len(expected)
        out, expected = out[0], expected[0]
    g = numbers(*expected.shape)
    expected.backward(torch.tensor(g))
    out.backward(gt.asarray(g))
    tolerance = {"rtol": rtol, "atol": 1e-11}
    np.testing.assert_allclose(out.detach().numpy(), expected.detach().numpy(), **tolerance)
    for a, b in zip(mine, yours, strict=True):
        if a.dtype.kind == "f":
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), **tolerance)
    for name, p in theirs.named_parameters():
        owner = ours
        for part in name.split("."):
            owner = getattr(owner, part)
        np.testing.assert_allclose(owner.grad.numpy(), p.grad.numpy(), err_msg=name, **tolerance)
    for name, b in theirs.named_buffers():
        found = getattr(ours, name).numpy()
        np.testing.assert_allclose(found, b.numpy(), err_msg=name, rtol=1e-9)


def images(*shape):
    return numbers(*(shape or (3, 4, 9, 8)))


LAYERS = [
    ("Linear", (5, 3), {}, numbers(2, 4, 5)),
    ("Linear", (5, 3, False), {}, numbers(4, 5)),
    ("Conv2d", (4, 6, 3), {}, images()),
    ("Conv2d", (4, 6, (3, 2)), {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}, images()),
    ("Conv2d", (4, 8, 3), {"padding": "same", "groups": 2, "bias": False}, images()),
    ("Conv2d", (4, 8, 3), {"padding": 1, "groups": 4}, images()),
    ("Conv2d", (4, 8, 1), {"stride": 2}, images(4, 9, 8)),
    ("Conv1d", (4, 6, 3), {"stride": 2, "padding": 1, "dilation": 2}, numbers(3, 4, 11)),
    ("ConvTranspose2d", (4, 6, 3), {}, images()),
    (
        "ConvTranspose2d",
        (4, 6, 4),
        {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2},
        images(),
    ),
    ("ConvTranspose1d", (4, 6, 3), {"stride": 2, "dilation": 2}, numbers(3, 4, 7)),
    ("MaxPool2d", (2,), {}, images()),
    ("MaxPool2d", ((3, 2),), {"stride": (1, 2), "padding": 1}, images()),
    ("MaxPool2d", (2,), {"stride": 1, "dilation": 2}, images()),
    ("MaxPool1d", (3, 2, 1), {}, numbers(3, 4, 11)),
    ("AvgPool2d", (2,), {}, images()),
    ("AvgPool2d", (3, 2, 1), {}, images()),
    ("AvgPool2d", (3, 2, 1), {"count_include_pad": False}, images()),
    ("AvgPool1d", (3,), {}, numbers(3, 4, 11)),
    ("MaxPool2d", (3, 2, 1), {"ceil_mode": True}, images(4, 8, 7)),
    ("MaxPool2d", (2, 3), {"ceil_mode": True, "dilation": 2}, images(4, 9, 7)),
    ("MaxPool1d", (2, 3), {"ceil_mode": True}, numbers(3, 4, 9)),  # a last window would be outside
    ("MaxPool3d", (2,), {"ceil_mode": True}, numbers(2, 3, 5, 4, 3)),
    ("AvgPool2d", (3, 2, 1, True), {}, images(4, 8, 7)),
    ("AvgPool2d", (2,), {"ceil_mode": True}, images(4, 9, 7)),
    ("AvgPool2d", (3, 2, 1, True, False), {}, images(4, 8, 7)),
    ("AvgPool1d", (2, 3, 0, True), {}, numbers(3, 4, 11)),
    ("AvgPool3d", (3, 2, 1, True), {}, numbers(2, 3, 6, 5, 4)),
    ("AdaptiveAvgPool2d", (1,), {}, images()),
    ("AdaptiveAvgPool2d", ((3, 2),), {}, images()),
    ("AdaptiveMaxPool2d", (1,), {}, images()),
    ("BatchNorm1d", (5,), {}, numbers(7, 5)),
    ("BatchNorm1d", (5,), {"momentum": None}, numbers(7, 5, 3)),
    ("BatchNorm2d", (4,), {"eps": 0.1, "momentum": 0.3}, images()),
    ("BatchNorm2d", (4,), {"affine": False}, images()),
    ("BatchNorm2d", (4,), {"track_running_stats": False}, images()),
    ("LayerNorm", (5,), {}, numbers(7, 5)),
    ("LayerNorm", ((4, 5),), {}, numbers(7, 4, 5)),
    ("LayerNorm", (5,), {"bias": False}, numbers(7, 5)),
    ("GroupNorm", (2, 4), {}, images()),
    ("InstanceNorm2d", (4,), {}, images()),
    ("Embedding", (7, 3), {}, RNG.integers(0, 7, (4, 2))),
    ("RNN", (4, 5), {}, numbers(6, 3, 4)),
    ("RNN", (4, 5, 2, "relu"), {"bidirectional": True}, numbers(6, 3, 4)),
    ("LSTM", (4, 5), {"batch_first": True}, numbers(6, 3, 4)),
    ("LSTM", (4, 5, 2), {"bidirectional": True, "bias": False}, numbers(6, 3, 4)),
    ("GRU", (4, 5, 2), {"batch_first": True}, numbers(6, 3, 4)),
    ("GRU", (4, 5), {}, numbers(6, 4)),
    ("RNNCell", (4, 5), {}, numbers(6, 4)),
    ("LSTMCell", (4, 5), {}, numbers(6, 4)),
    ("GRUCell", (4, 5), {}, numbers(6, 4)),
    ("PReLU", (4,), {}, images()),
    ("PReLU", (), {}, images()),
    *((name, (), {}, 3 * numbers(5, 6)) for name in ("ReLU", "ReLU6", "Sigmoid", "Tanh", "SiLU")),
    *((name, (), {}, 3 * numbers(5, 6)) for name in ("SELU", "Mish", "Hardsigmoid", "Hardswish")),
    *((name, (), {}, 3 * numbers(5, 6)) for name in ("LogSigmoid", "Softsign", "Tanhshrink")),
    *((name, (), {}, 3 * numbers(5, 6)) for name in ("LeakyReLU", "ELU", "CELU", "GELU", "GLU")),
    *((name, (), {}, 3 * numbers(5, 6)) for name in ("Hardtanh", "Softplus", "Identity")),
    ("Threshold", (0.5, -1.0), {}, numbers(5, 6)),
    ("GELU", (), {"approximate": "tanh"}, numbers(5, 6)),
    ("Softplus", (2.0,), {}, numbers(5, 6)),
    ("Softmax", (1,), {}, numbers(5, 6)),
    ("LogSoftmax", (0,), {}, numbers(5, 6)),
    ("LeakyReLU", (0.2,), {}, numbers(5, 6)),
]


@pytest.mark.parametrize(
    ("name", "args", "options", "x"), LAYERS, ids=[f"{a[0]}{a[1]}{a[2]}" for a in LAYERS]
)
def test_a_layer_does_what_pytorchs_does(name, args, options, x):
    theirs = getattr(torch.nn, name)(*args, **options)
    with gt.set_default_dtype(gt.float64):
        ours = getattr(gt.nn, name)(*args, **options)
    compare(ours, theirs, x, rtol=1e-7 if name == "Hardsigmoid" else 1e-9)  # PyTorch rounds 1 / 6


@pytest.mark.parametrize("need", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_attention_in_several_heads(first, need):
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=first).double()
    with gt.set_default_dtype(gt.float64):
        ours = gt.nn.MultiheadAttention(8, 2, batch_first=first)
    set_weights(ours, theirs)
    query, key = (numbers(3, 3, 8), numbers(3, 3, 8))
    padding = np.array([[False, False, True]] * 3)
    causal = np.triu(np.ones((3, 3), bool), 1)
    found, weights = ours(
        *map(gt.asarray, (query, key, key)),
        key_padding_mask=gt.asarray(padding),
        attn_mask=gt.asarray(causal),
        need_weights=need,
    )
    expected, wanted = theirs(
        *map(torch.tensor, (query, key, key)),
        key_padding_mask=torch.tensor(padding),
        attn_mask=torch.tensor(causal),
        need_weights=need,
    )
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=1e-9)
    assert (weights is None) == (wanted is None)
    if need:
        np.testing.assert_allclose(weights.detach().numpy(), wanted.detach().numpy(), rtol=1e-9)


def probabilities(*shape):
    return RNG.random(shape) * 0.98 + 0.01


SIGNS = RNG.choice([-1.0, 1.0], 5)
LABELS = RNG.integers(0, 4, 5)
WEIGHTS = probabilities(4)
LOSSES = [
    ("CrossEntropyLoss", {}, numbers(5, 4), LABELS),
    ("CrossEntropyLoss", {"label_smoothing": 0.1}, numbers(5, 4), LABELS),
    ("CrossEntropyLoss", {"weight": WEIGHTS}, numbers(5, 4), LABELS),
    ("CrossEntropyLoss", {"weight": WEIGHTS, "label_smoothing": 0.2}, numbers(5, 4), LABELS),
    ("CrossEntropyLoss", {"ignore_index": int(LABELS[0])}, numbers(5, 4), LABELS),
    ("CrossEntropyLoss", {}, numbers(5, 4), np.where(np.arange(5) % 2, LABELS, -100)),
    (
        "CrossEntropyLoss",
        {"label_smoothing": 0.2, "ignore_index": 0},
        numbers(2, 4, 3, 5),
        RNG.integers(0, 4, (2, 3, 5)),
    ),
    ("CrossEntropyLoss", {}, numbers(5, 4), RNG.dirichlet(np.ones(4), 5)),
    (
        "CrossEntropyLoss",
        {"weight": WEIGHTS, "label_smoothing": 0.2},
        numbers(5, 4),
        RNG.dirichlet(np.ones(4), 5),
    ),
    ("CrossEntropyLoss", {}, numbers(2, 4, 3), RNG.integers(0, 4, (2, 3))),
    ("NLLLoss", {"weight": WEIGHTS}, numbers(5, 4), LABELS),
    ("NLLLoss", {"ignore_index": 1}, numbers(2, 4, 3), RNG.integers(0, 4, (2, 3))),
    ("MSELoss", {}, numbers(5, 4), numbers(5, 4)),
    ("L1Loss", {}, numbers(5, 4), numbers(5, 4)),
    ("SmoothL1Loss", {}, numbers(5, 4), numbers(5, 4)),
    ("SmoothL1Loss", {"beta": 0.5}, numbers(5, 4), numbers(5, 4)),
    ("HuberLoss", {"delta": 0.5}, numbers(5, 4), numbers(5, 4)),
    ("BCELoss", {}, probabilities(5, 4), probabilities(5, 4)),
    ("BCELoss", {"weight": WEIGHTS}, probabilities(5, 4), probabilities(5, 4)),
    ("BCEWithLogitsLoss", {}, numbers(5, 4), probabilities(5, 4)),
    ("BCEWithLogitsLoss", {"pos_weight": 3 * WEIGHTS}, numbers(5, 4), probabilities(5, 4)),
    ("BCEWithLogitsLoss", {"weight": WEIGHTS}, numbers(5, 4), probabilities(5, 4)),
    ("KLDivLoss", {}, np.log(probabilities(5, 4)), probabilities(5, 4)),
    ("KLDivLoss", {"log_target": True}, np.log(probabilities(5, 4)), np.log(probabilities(5, 4))),
    ("SoftMarginLoss", {}, numbers(5), SIGNS),
    ("HingeEmbeddingLoss", {}, probabilities(5), SIGNS),
    ("MultiMarginLoss", {}, numbers(5, 4), LABELS),
    ("MarginRankingLoss", {"margin": 0.1}, numbers(5), numbers(5), SIGNS),
    ("CosineEmbeddingLoss", {"margin": 0.1}, numbers(5, 4), numbers(5, 4), SIGNS),
    ("TripletMarginLoss", {}, numbers(5, 4), numbers(5, 4), numbers(5, 4)),
    ("PoissonNLLLoss", {}, numbers(5), RNG.poisson(2.0, 5).astype(float)),
    ("PoissonNLLLoss", {"log_input": False}, probabilities(5), RNG.poisson(2.0, 5).astype(float)),
]


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("case", LOSSES, ids=[f"{c[0]}{list(c[1])}" for c in LOSSES])
def test_a_loss_is_pytorchs(case, reduction):
    name, options, x, *rest = case
    if name == "CrossEntropyLoss" and -100 in rest[0]:
        options = {"ignore_index": -100}  # by default the host does not look at labels on CUDA
    arrays = (np.ndarray,)
    mine = {k: gt.asarray(v) if isinstance(v, arrays) else v for k, v in options.items()}
    yours = {k: torch.tensor(v) if isinstance(v, arrays) else v for k, v in options.items()}
    ours = getattr(gt.nn, name)(reduction=reduction, **mine)
    theirs = getattr(torch.nn, name)(reduction=reduction, **yours)
    a, b = gt.asarray(x), torch.tensor(x, requires_grad=True)
    a.requires_grad = True
    found, expected = ours(a, *map(gt.asarray, rest)), theirs(b, *map(torch.tensor, rest))
    assert found.shape == tuple(expected.shape)
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=1e-9)
    g = numbers(*expected.shape)
    found.backward(gt.asarray(g))
    expected.backward(torch.tensor(g))
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-8, atol=1e-12)
