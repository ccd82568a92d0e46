"""Layers, losses, optimizers and schedulers of the door with PyTorch's names beside PyTorch's."""

import numpy as np
import pytest

import gputensor.torch as ours
import gputensor.torch.optim.lr_scheduler as our_schedulers

pytestmark = [pytest.mark.peers, pytest.mark.cpu]
theirs = pytest.importorskip("torch")
pytest.importorskip("torch.utils.checkpoint")
RNG = np.random.default_rng(11)


def _close(found, wanted, rtol=1e-4, atol=2e-5):
    if isinstance(wanted, (tuple, list)):
        assert len(found) == len(wanted)
        for f, w in zip(found, wanted, strict=True):
            _close(f, w, rtol, atol)
        return
    if wanted is None:
        assert found is None
        return
    assert tuple(found.shape) == tuple(wanted.shape)
    np.testing.assert_allclose(
        found.detach().numpy(), wanted.detach().numpy(), rtol=rtol, atol=atol
    )


def _floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


IMAGES, ROWS, SERIES = _floats(2, 3, 8, 8), _floats(5, 6), _floats(4, 3, 6)
VOLUMES = _floats(2, 2, 5, 6, 4)
LAYERS = {
    "Linear": (lambda t: t.nn.Linear(6, 4), [ROWS]),
    "Linear of series": (lambda t: t.nn.Linear(6, 4, bias=False), [SERIES]),
    "Bilinear": (lambda t: t.nn.Bilinear(6, 6, 3), [ROWS, ROWS]),
    "Conv2d": (lambda t: t.nn.Conv2d(3, 4, 3, padding=1), [IMAGES]),
    "Conv2d stride": (
        lambda t: t.nn.Conv2d(3, 6, (3, 2), stride=2, groups=3, bias=False),
        [IMAGES],
    ),
    "Conv2d dilation": (lambda t: t.nn.Conv2d(3, 2, 3, 1, 2, 2), [IMAGES]),
    "Conv1d": (lambda t: t.nn.Conv1d(3, 4, 3), [SERIES]),
    "ConvTranspose2d": (lambda t: t.nn.ConvTranspose2d(3, 2, 4, 2, 1), [IMAGES]),
    "MaxPool2d": (lambda t: t.nn.MaxPool2d(2), [IMAGES]),
    "MaxPool2d padding": (lambda t: t.nn.MaxPool2d(3, stride=2, padding=1), [IMAGES]),
    "AvgPool2d": (lambda t: t.nn.AvgPool2d(2, 2), [IMAGES]),
    "AdaptiveAvgPool2d": (lambda t: t.nn.AdaptiveAvgPool2d((1, 1)), [IMAGES]),
    "BatchNorm2d": (lambda t: t.nn.BatchNorm2d(3), [IMAGES]),
    "BatchNorm1d": (lambda t: t.nn.BatchNorm1d(6), [ROWS]),
    "BatchNorm1d eval": (lambda t: t.nn.BatchNorm1d(6).eval(), [ROWS]),
    "LayerNorm": (lambda t: t.nn.LayerNorm(6), [SERIES]),
    "GroupNorm": (lambda t: t.nn.GroupNorm(3, 3), [IMAGES]),
    "Flatten": (lambda t: t.nn.Flatten(), [IMAGES]),
    "Unflatten": (lambda t: t.nn.Unflatten(1, (2, 3)), [ROWS]),
    "Dropout eval": (lambda t: t.nn.Dropout(0.5).eval(), [ROWS]),
    "Identity": (lambda t: t.nn.Identity(3), [ROWS]),
    "RNN": (lambda t: t.nn.RNN(6, 5), [SERIES]),
    "RNN relu": (lambda t: t.nn.RNN(6, 5, nonlinearity="relu", batch_first=True), [SERIES]),
    "LSTM": (lambda t: t.nn.LSTM(6, 5, num_layers=2), [SERIES]),
    "LSTM both ways": (lambda t: t.nn.LSTM(6, 5, bidirectional=True, batch_first=True), [SERIES]),
    "GRU": (lambda t: t.nn.GRU(6, 5, 2, batch_first=True), [SERIES]),
    "LSTMCell": (lambda t: t.nn.LSTMCell(6, 5), [ROWS]),
    "GRUCell": (lambda t: t.nn.GRUCell(6, 5), [ROWS]),
    "RNNCell": (lambda t: t.nn.RNNCell(6, 5), [ROWS]),
    "MultiheadAttention": (lambda t: t.nn.MultiheadAttention(6, 2), [SERIES] * 3),
    "TransformerEncoderLayer": (
        lambda t: t.nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, activation="gelu"),
        [SERIES],
    ),
    "TransformerEncoder": (
        lambda t: t.nn.TransformerEncoder(
            t.nn.TransformerEncoderLayer(6, 3, 8, dropout=0.0, batch_first=True, norm_first=True),
            2,
            t.nn.LayerNorm(6),
            enable_nested_tensor=False,
        ),
        [SERIES],
    ),
    "TransformerDecoderLayer": (
        lambda t: t.nn.TransformerDecoderLayer(6, 2, 8, dropout=0.0, norm_first=True),
        [SERIES, SERIES[::-1].copy()],
    ),
    "TransformerDecoder": (
        lambda t: t.nn.TransformerDecoder(
            t.nn.TransformerDecoderLayer(6, 3, 8, dropout=0.0, batch_first=True), 2
        ),
        [SERIES, SERIES[:, ::-1].copy()],
    ),
    "Transformer": (
        lambda t: t.nn.Transformer(6, 2, 1, 2, 8, dropout=0.0, batch_first=True),
        [SERIES, SERIES[:, :2].copy()],
    ),
    "Conv3d": (lambda t: t.nn.Conv3d(2, 4, 3, stride=(1, 2, 1), padding=1, groups=2), [VOLUMES]),
    "Conv3d same": (lambda t: t.nn.Conv3d(2, 3, (1, 3, 2), padding="same"), [VOLUMES]),
    "ConvTranspose3d": (lambda t: t.nn.ConvTranspose3d(2, 4, 3, 2, 1, 1, groups=2), [VOLUMES]),
    "MaxPool3d": (lambda t: t.nn.MaxPool3d(3, 2, padding=1), [VOLUMES]),
    "AvgPool3d": (lambda t: t.nn.AvgPool3d((2, 3, 2), padding=1), [VOLUMES]),
    "AdaptiveAvgPool2d uneven": (lambda t: t.nn.AdaptiveAvgPool2d((3, None)), [IMAGES]),
    "AdaptiveMaxPool1d": (lambda t: t.nn.AdaptiveMaxPool1d(4), [SERIES]),
    "AdaptiveAvgPool3d": (lambda t: t.nn.AdaptiveAvgPool3d((2, 3, 1)), [VOLUMES]),
    "BatchNorm3d": (lambda t: t.nn.BatchNorm3d(2), [VOLUMES]),
    "InstanceNorm1d": (lambda t: t.nn.InstanceNorm1d(SERIES.shape[1]), [SERIES]),
    "InstanceNorm2d": (lambda t: t.nn.InstanceNorm2d(3, 1e-5, 0.1, True), [IMAGES]),
    "PixelShuffle": (lambda t: t.nn.PixelShuffle(2), [IMAGES.repeat(4, axis=1)]),
    "PixelUnshuffle": (lambda t: t.nn.PixelUnshuffle(2), [IMAGES[:, :, :4, :4].copy()]),
    "ChannelShuffle": (lambda t: t.nn.ChannelShuffle(2), [IMAGES.repeat(2, axis=1)]),
    "ConstantPad2d": (lambda t: t.nn.ConstantPad2d((1, 0, 2, 1), 0.5), [IMAGES]),
    "ReflectionPad1d": (lambda t: t.nn.ReflectionPad1d(2), [SERIES]),
    "ReplicationPad3d": (lambda t: t.nn.ReplicationPad3d(1), [VOLUMES]),
    "CircularPad2d": (lambda t: t.nn.CircularPad2d((1, 2, 0, 1)), [IMAGES]),
    "ZeroPad1d": (lambda t: t.nn.ZeroPad1d((1, 2)), [SERIES]),
    "Softmax2d": (lambda t: t.nn.Softmax2d(), [IMAGES]),
    "LocalResponseNorm": (lambda t: t.nn.LocalResponseNorm(2, alpha=0.5), [IMAGES]),
    "AlphaDropout eval": (lambda t: t.nn.AlphaDropout(0.5).eval(), [ROWS]),
    "RReLU eval": (lambda t: t.nn.RReLU().eval(), [ROWS]),
    "Unfold": (lambda t: t.nn.Unfold((2, 3), padding=1, stride=2), [IMAGES]),
    "Fold": (lambda t: t.nn.Fold((4, 5), 2), [_floats(2, 12, 12)]),
    "PairwiseDistance": (lambda t: t.nn.PairwiseDistance(keepdim=True), [ROWS, ROWS[::-1].copy()]),
    **{
        f"Upsample {mode} {options}": (
            lambda t, mode=mode, options=options: t.nn.Upsample(mode=mode, **options),
            [{"linear": SERIES, "trilinear": VOLUMES}.get(mode, IMAGES)],
        )
        for mode, options in (
            ("nearest", {"scale_factor": 1.7}),
            ("nearest-exact", {"size": (9, 3)}),
            ("bilinear", {"scale_factor": 2}),
            ("bilinear", {"size": (9, 3), "align_corners": True}),
            ("bilinear", {"scale_factor": 1.7, "recompute_scale_factor": True}),
            ("bicubic", {"scale_factor": (1.3, 2.1)}),
            ("bicubic", {"size": (9, 11), "align_corners": True}),
            ("linear", {"size": 9}),
            ("trilinear", {"scale_factor": 1.5}),
            ("area", {"size": (3, 2)}),
        )
    },
    "UpsamplingBilinear2d": (lambda t: t.nn.UpsamplingBilinear2d(scale_factor=2), [IMAGES]),
    "PReLU": (lambda t: t.nn.PReLU(), [ROWS]),
    "Sequential": (
        lambda t: t.nn.Sequential(t.nn.Linear(6, 8), t.nn.ReLU(), t.nn.Linear(8, 2)),
        [ROWS],
    ),
    **{
        name: (lambda t, name=name: getattr(t.nn, name)(), [ROWS])
        for name in (
            *("ReLU", "ReLU6", "LeakyReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish"),
            *("Sigmoid", "Tanh", "Softplus", "Softsign", "Tanhshrink", "Hardtanh", "Hardsigmoid"),
            *("Hardswish", "Hardshrink", "Softshrink", "LogSigmoid", "GLU"),
        )
    },
    "Softmax": (lambda t: t.nn.Softmax(dim=1), [ROWS]),
    "LogSoftmax": (lambda t: t.nn.LogSoftmax(-1), [ROWS]),
    "LeakyReLU slope": (lambda t: t.nn.LeakyReLU(0.2, inplace=True), [ROWS]),
    "GELU tanh": (lambda t: t.nn.GELU(approximate="tanh"), [ROWS]),
    "Softplus beta": (lambda t: t.nn.Softplus(beta=2), [ROWS]),
    "Threshold": (lambda t: t.nn.Threshold(0.1, 20), [ROWS]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_with_pytorchs_weights_is_pytorchs(name):
    make, arrays = LAYERS[name]
    their_layer, our_layer = make(theirs), make(ours)
    state = their_layer.state_dict()
    assert list(our_layer.state_dict()) == list(state)
    our_layer.load_state_dict({key: value.numpy().copy() for key, value in state.items()})
    results = []
    for library, layer in ((theirs, their_layer), (ours, our_layer)):
        inputs = [library.tensor(a, requires_grad=True) for a in arrays]
        parts = [x * 1 for x in inputs] if "inplace" in repr(layer) else inputs
        out = layer(*parts)
        first = out[0] if isinstance(out, tuple) else out
        (
            first
            * library.tensor(
                np.cos(np.arange(first.numel())).reshape(tuple(first.shape)).astype("f4")
            )
        ).sum().backward()
        results.append((out, [x.grad for x in inputs], [p.grad for p in layer.parameters()]))
        results[-1] += (list(layer.buffers()),)
    (wanted, their_inputs, their_params, their_buffers), (found, *rest) = results
    _close(found, wanted)
    _close(rest[0], their_inputs)
    _close(rest[1], their_params)
    _close(rest[2], their_buffers)


LOGITS = _floats(6, 5)
CLASSES = RNG.integers(0, 5, 6)
PROBABILITIES = RNG.uniform(0.05, 0.95, (6, 5)).astype(np.float32)
SHARES = PROBABILITIES / PROBABILITIES.sum(1, keepdims=True)
WEIGHT = RNG.uniform(0.5, 2, 5).astype(np.float32)
IGNORED = np.where(np.arange(6) % 3 == 0, -100, CLASSES)
PICTURE, PICTURE_CLASSES = _floats(2, 5, 3, 3), RNG.integers(0, 5, (2, 3, 3))
LOSSES = {
    "CrossEntropyLoss": (lambda t: t.nn.CrossEntropyLoss(), LOGITS, CLASSES),
    "CrossEntropyLoss weight": (
        lambda t: t.nn.CrossEntropyLoss(weight=t.tensor(WEIGHT)),
        LOGITS,
        CLASSES,
    ),
    "CrossEntropyLoss ignored": (lambda t: t.nn.CrossEntropyLoss(), LOGITS, IGNORED),
    "CrossEntropyLoss index": (lambda t: t.nn.CrossEntropyLoss(ignore_index=2), LOGITS, CLASSES),
    "CrossEntropyLoss smooth": (
        lambda t: t.nn.CrossEntropyLoss(label_smoothing=0.1),
        LOGITS,
        CLASSES,
    ),
    "CrossEntropyLoss shares": (lambda t: t.nn.CrossEntropyLoss(), LOGITS, SHARES),
    "CrossEntropyLoss none": (lambda t: t.nn.CrossEntropyLoss(reduction="none"), LOGITS, CLASSES),
    "CrossEntropyLoss sum": (lambda t: t.nn.CrossEntropyLoss(reduction="sum"), LOGITS, CLASSES),
    "CrossEntropyLoss old": (lambda t: t.nn.CrossEntropyLoss(size_average=False), LOGITS, CLASSES),
    "CrossEntropyLoss picture": (lambda t: t.nn.CrossEntropyLoss(), PICTURE, PICTURE_CLASSES),
    "NLLLoss": (lambda t: t.nn.NLLLoss(), np.log(SHARES), CLASSES),
    "NLLLoss weight": (lambda t: t.nn.NLLLoss(t.tensor(WEIGHT)), np.log(SHARES), CLASSES),
    "MSELoss": (lambda t: t.nn.MSELoss(), LOGITS, SHARES),
    "MSELoss sum": (lambda t: t.nn.MSELoss(reduction="sum"), LOGITS, SHARES),
    "L1Loss": (lambda t: t.nn.L1Loss(), LOGITS, SHARES),
    "SmoothL1Loss": (lambda t: t.nn.SmoothL1Loss(beta=0.5), LOGITS, SHARES),
    "HuberLoss": (lambda t: t.nn.HuberLoss(delta=0.7), LOGITS, SHARES),
    "BCELoss": (lambda t: t.nn.BCELoss(), PROBABILITIES, SHARES),
    "BCELoss weight": (lambda t: t.nn.BCELoss(t.tensor(WEIGHT)), PROBABILITIES, SHARES),
    "BCEWithLogitsLoss": (lambda t: t.nn.BCEWithLogitsLoss(), LOGITS, SHARES),
    "BCEWithLogitsLoss pos": (
        lambda t: t.nn.BCEWithLogitsLoss(pos_weight=t.tensor(WEIGHT)),
        LOGITS,
        SHARES,
    ),
    "KLDivLoss": (lambda t: t.nn.KLDivLoss(reduction="batchmean"), np.log(PROBABILITIES), SHARES),
    "KLDivLoss log": (
        lambda t: t.nn.KLDivLoss(reduction="sum", log_target=True),
        LOGITS,
        np.log(SHARES),
    ),
    "SoftMarginLoss": (lambda t: t.nn.SoftMarginLoss(), LOGITS, np.sign(LOGITS[::-1]).copy()),
    "HingeEmbeddingLoss": (
        lambda t: t.nn.HingeEmbeddingLoss(),
        LOGITS,
        np.sign(LOGITS[::-1]).copy(),
    ),
    "MultiMarginLoss": (lambda t: t.nn.MultiMarginLoss(), LOGITS, CLASSES),
    "PoissonNLLLoss": (lambda t: t.nn.PoissonNLLLoss(), LOGITS, PROBABILITIES),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_and_its_gradient_are_pytorchs(name):
    make, prediction, target = LOSSES[name]
    results = []
    for library in (theirs, ours):
        x = library.tensor(prediction, requires_grad=True)
        loss = make(library)(x, library.tensor(target))
        loss.sum().backward()
        results.append((loss, x.grad))
    _close(results[1], results[0])


def _model(t):
    model = t.nn.Sequential(t.nn.Linear(6, 7), t.nn.Tanh(), t.nn.Linear(7, 2))
    with t.no_grad():
        for i, p in enumerate(model.parameters()):
            p.copy_(t.tensor(np.sin(np.arange(p.numel()) + i).reshape(tuple(p.shape)) * 0.5))
    return model


OPTIMIZERS = {
    "SGD": lambda t, p: t.optim.SGD(p, lr=0.05),
    "SGD momentum": lambda t, p: t.optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.01),
    "SGD nesterov": lambda t, p: t.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "Adam": lambda t, p: t.optim.Adam(p, lr=0.01),
    "Adam decay": lambda t, p: t.optim.Adam(p, lr=0.01, betas=(0.8, 0.9), weight_decay=0.1),
    "AdamW": lambda t, p: t.optim.AdamW(p, lr=0.01),
    "RMSprop": lambda t, p: t.optim.RMSprop(p, lr=0.01),
    "RMSprop centered": lambda t, p: t.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "Adagrad": lambda t, p: t.optim.Adagrad(p, lr=0.05, lr_decay=0.01),
    "Adadelta": lambda t, p: t.optim.Adadelta(p, lr=1.0),
    "NAdam": lambda t, p: t.optim.NAdam(p, lr=0.01),
    "NAdam decoupled": lambda t, p: t.optim.NAdam(
        p, 0.01, weight_decay=0.3, decoupled_weight_decay=True
    ),
    "SGD dampening": lambda t, p: t.optim.SGD(p, 0.05, 0.9, 0.5, 0.1, maximize=True),
    "SGD maximize": lambda t, p: t.optim.SGD(p, 0.01, 0.9, nesterov=True, maximize=True),
    "Adam amsgrad": lambda t, p: t.optim.Adam(p, 0.05, (0.5, 0.6), 1e-8, 0.1, True),
    "Adam decoupled": lambda t, p: t.optim.Adam(
        p, 0.01, weight_decay=0.3, decoupled_weight_decay=True, foreach=False, capturable=False
    ),
    "AdamW amsgrad": lambda t, p: t.optim.AdamW(
        p, 0.05, (0.5, 0.6), weight_decay=0.3, amsgrad=True, maximize=True
    ),
    "RMSprop maximize": lambda t, p: t.optim.RMSprop(p, 0.01, weight_decay=0.1, maximize=True),
    "Adagrad maximize": lambda t, p: t.optim.Adagrad(p, 0.01, weight_decay=0.1, maximize=True),
    "Adadelta maximize": lambda t, p: t.optim.Adadelta(p, 1.0, weight_decay=0.1, maximize=True),
    "Adamax": lambda t, p: t.optim.Adamax(p, 0.01, (0.8, 0.9), weight_decay=0.1),
    "RAdam": lambda t, p: t.optim.RAdam(p, 0.01, weight_decay=0.1),
    "RAdam decoupled": lambda t, p: t.optim.RAdam(
        p, 0.01, (0.8, 0.9), weight_decay=0.1, decoupled_weight_decay=True, maximize=True
    ),
    "Rprop": lambda t, p: t.optim.Rprop(p, 0.01),
    "ASGD": lambda t, p: t.optim.ASGD(p, 0.05, lambd=0.1, t0=4, weight_decay=0.1),
    "LBFGS": lambda t, p: t.optim.LBFGS(p, lr=0.5, max_iter=4),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ten_steps_of_an_optimizer_are_pytorchs(name):
    x, y = _floats(8, 6), _floats(8, 2)
    seen = []
    for library in (theirs, ours):
        model = _model(library)
        optimizer = OPTIMIZERS[name](library, model.parameters())
        inputs, targets = library.tensor(x), library.tensor(y)

        def closure(model=model, optimizer=optimizer, inputs=inputs, targets=targets, t=library):
            optimizer.zero_grad()
            loss = t.nn.functional.mse_loss(model(inputs), targets)
            loss.backward()
            return loss

        for i in range(10):
            optimizer.step(closure)
            if i == 5:
                optimizer.param_groups[0]["lr"] *= 0.5
        seen.append(list(model.parameters()))
    _close(seen[1], seen[0], 2e-3, 2e-4)


def test_dampening_begins_with_the_first_gradient_of_each_parameter():
    seen = []
    for library in (theirs, ours):
        ends = [library.tensor([1.0, 2.0], requires_grad=True) for _ in range(2)]
        optimizer = library.optim.SGD(ends, lr=0.1, momentum=0.9, dampening=0.5)
        for i in range(4):
            optimizer.zero_grad()
            used = ends if i > 1 else ends[:1]
            sum((p**2).sum() for p in used).backward()
            optimizer.step()
        seen.append(ends)
    _close(seen[1], seen[0])


def test_the_average_of_descent_is_pytorchs():
    x = _floats(3)
    seen = []
    for library in (theirs, ours):
        p = library.tensor(x, requires_grad=True)
        optimizer = library.optim.ASGD([p], lr=0.1, t0=1)
        for _ in range(5):
            optimizer.zero_grad()
            (p**3).sum().backward()
            optimizer.step()
        seen.append(optimizer)
    (state,) = seen[0].state.values()
    np.testing.assert_allclose(
        seen[1].state_dict()["0.average"], state["ax"].numpy(), rtol=1e-5, atol=1e-6
    )


def test_what_changes_only_the_speed_of_a_step_is_taken_and_the_rest_refused():
    p = ours.tensor([1.0], requires_grad=True)
    ours.optim.Adam([p], fused=True, foreach=True, capturable=True, differentiable=False)
    with pytest.raises(ValueError, match="differentiable=True is not there"):
        ours.optim.SGD([p], differentiable=True)
    with pytest.raises(TypeError, match="amsgrad= is unknown"):
        ours.optim.SGD([p], amsgrad=True)
    with pytest.raises(ValueError, match="dampening of 0"):
        ours.optim.SGD([p], momentum=0.9, dampening=0.1, nesterov=True)


SCHEDULES = {
    "StepLR": lambda s, o: s.StepLR(o, 3, gamma=0.5),
    "MultiStepLR": lambda s, o: s.MultiStepLR(o, milestones=[2, 5], gamma=0.1),
    "ExponentialLR": lambda s, o: s.ExponentialLR(o, 0.9),
    "ConstantLR": lambda s, o: s.ConstantLR(o, factor=0.5, total_iters=4),
    "LinearLR": lambda s, o: s.LinearLR(o, 0.1, total_iters=6),
    "PolynomialLR": lambda s, o: s.PolynomialLR(o, total_iters=7, power=2.0),
    "CosineAnnealingLR": lambda s, o: s.CosineAnnealingLR(o, T_max=5, eta_min=0.01),
    "CosineAnnealingWarmRestarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 2),
    "OneCycleLR": lambda s, o: s.OneCycleLR(o, max_lr=1.0, total_steps=13),
    "OneCycleLR linear": lambda s, o: s.OneCycleLR(
        o, max_lr=1.0, epochs=4, steps_per_epoch=4, anneal_strategy="linear", three_phase=True
    ),
    "CyclicLR": lambda s, o: s.CyclicLR(o, 0.1, 1.0, step_size_up=3, mode="triangular2"),
    "LambdaLR": lambda s, o: s.LambdaLR(o, lambda epoch: 0.95**epoch),
    "MultiplicativeLR": lambda s, o: s.MultiplicativeLR(o, lambda epoch: 0.95),
    "SequentialLR": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, total_iters=3), s.ExponentialLR(o, 0.9)], milestones=[4]
    ),
    "ChainedScheduler": lambda s, o: s.ChainedScheduler(
        [s.LinearLR(o, 0.5, total_iters=4), s.ExponentialLR(o, 0.9)]
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_scheduler_gives_pytorchs_rates(name):
    seen = []
    for library, schedulers in (
        (theirs, theirs.optim.lr_scheduler),
        (ours, our_schedulers),
    ):
        p = library.nn.Parameter(library.ones(2))
        optimizer = library.optim.SGD([p], lr=0.4, momentum=0.9)
        scheduler = SCHEDULES[name](schedulers, optimizer)
        rates = []
        for _ in range(12):
            p.grad = library.ones(2)
            optimizer.step()
            rates.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
            scheduler.step()
        seen.append(rates)
    np.testing.assert_allclose(seen[1], seen[0], rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"threshold_mode": "abs", "cooldown": 1}, {"mode": "max"}])
def test_a_plateau_lowers_the_rate_as_pytorchs(options):
    losses = [3.0, 2.0, 1.9, 1.9, 1.9, 1.9, 1.8, 1.8, 1.8, 1.8, 1.8, 1.8, 1.8]
    seen = []
    for library, schedulers in ((theirs, theirs.optim.lr_scheduler), (ours, our_schedulers)):
        optimizer = library.optim.SGD([library.nn.Parameter(library.ones(2))], lr=0.4)
        scheduler = schedulers.ReduceLROnPlateau(optimizer, patience=1, factor=0.5, **options)
        rates = []
        for loss in losses:
            scheduler.step(loss)
            rates.append(optimizer.param_groups[0]["lr"])
        seen.append(rates)
    np.testing.assert_allclose(seen[1], seen[0], rtol=1e-6)


INITS = {
    "xavier_uniform_": ((200, 300), {"gain": 2.0}),
    "xavier_normal_": ((200, 300), {}),
    "kaiming_uniform_": ((200, 30, 3, 3), {"nonlinearity": "relu"}),
    "kaiming_normal_": ((200, 300), {"mode": "fan_out", "a": 0.2}),
    "normal_": ((300, 300), {"mean": 1.0, "std": 0.1}),
    "uniform_": ((300, 300), {"a": -1.0, "b": 3.0}),
    "trunc_normal_": ((300, 300), {"std": 2.0}),
    "orthogonal_": ((40, 60), {"gain": 1.5}),
    "constant_": ((3, 4), {"val": 2.5}),
    "zeros_": ((3, 4), {}),
    "eye_": ((3, 4), {}),
}


@pytest.mark.parametrize("name", INITS)
def test_first_values_are_distributed_as_pytorchs(name):
    shape, options = INITS[name]
    seen = []
    for library in (theirs, ours):
        library.manual_seed(0)
        w = library.nn.Parameter(library.empty(*shape))
        assert getattr(library.nn.init, name)(w, **options) is w
        values = w.detach().numpy()
        seen.append([values.mean(), values.std(), values.min(), values.max()])
    spread = abs(seen[0][3] - seen[0][2]) + 1e-6
    np.testing.assert_allclose(seen[1][:2], seen[0][:2], atol=0.02 * spread)
    np.testing.assert_allclose(seen[1][2:], seen[0][2:], atol=0.2 * spread)
    if name == "orthogonal_":
        rows = w.detach().numpy()
        np.testing.assert_allclose(rows @ rows.T, 1.5**2 * np.eye(40), atol=1e-4)


FUNCTIONS = {
    "normalize": lambda t, x: t.nn.functional.normalize(x, dim=1),
    "cosine_similarity": lambda t, x: t.nn.functional.cosine_similarity(x, x + 1, dim=1),
    "pairwise_distance": lambda t, x: t.nn.functional.pairwise_distance(x, x * 2 + 1),
    "pad": lambda t, x: t.nn.functional.pad(x, (1, 2, 0, 1), value=3.0),
    "pad reflect": lambda t, x: t.nn.functional.pad(x[None], (1, 2), mode="reflect"),
    "pad negative": lambda t, x: t.nn.functional.pad(x, (-1, 1)),
    "layer_norm": lambda t, x: t.nn.functional.layer_norm(x, (6,)),
    "interpolate": lambda t, x: t.nn.functional.interpolate(x[None, None], scale_factor=2),
    "linear": lambda t, x: t.nn.functional.linear(x, x),
    "softmin": lambda t, x: t.nn.functional.softmin(x, dim=1),
    "glu": lambda t, x: t.nn.functional.glu(x),
    "logsigmoid": lambda t, x: t.nn.functional.logsigmoid(x),
    "attention": lambda t, x: t.nn.functional.scaled_dot_product_attention(
        x[None], x[None], x[None], is_causal=True
    ),
    "one_hot": lambda t, x: t.nn.functional.one_hot(t.tensor([1, 0, 3])),
    "embedding": lambda t, x: t.nn.functional.embedding(t.tensor([[1, 0]]), x),
    **{
        f"embedding_bag {options}": (
            lambda t, x, options=options: t.nn.functional.embedding_bag(
                t.tensor([[1, 0, 2], [3, 1, 1]]), x, **options
            )
        )
        for options in (
            {"mode": "sum"},
            {"mode": "max", "padding_idx": 1},
            {"padding_idx": 1},
        )
    },
    **{
        f"embedding_bag of one axis {options}": (
            lambda t, x, options=options: t.nn.functional.embedding_bag(
                t.tensor([1, 0, 2, 3, 1]), x, t.tensor([0, 2, 2, 5]), **options
            )
        )
        for options in ({"mode": "sum"}, {"mode": "max"}, {}, {"include_last_offset": True})
    },
    "embedding_bag with factors": lambda t, x: t.nn.functional.embedding_bag(
        t.tensor([1, 0, 2]),
        x,
        t.tensor([0, 1]),
        mode="sum",
        per_sample_weights=t.tensor([2.0, -1.0, 0.5]),
    ),
    "max_pool1d": lambda t, x: t.nn.functional.max_pool1d(x[None], 2),
    "avg_pool2d": lambda t, x: t.nn.functional.avg_pool2d(x[None, None], 2),
    "avg_pool2d by position": lambda t, x: t.nn.functional.avg_pool2d(
        x[None, None], 3, 2, 1, True, False
    ),
    "max_pool2d over the end": lambda t, x: t.nn.functional.max_pool2d(
        x[None, None], 2, ceil_mode=True
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_networks_is_pytorchs(name):
    seen = []
    for library in (theirs, ours):
        x = library.tensor(ROWS, requires_grad=True)
        out = FUNCTIONS[name](library, x)
        if out.requires_grad:
            (out * out).sum().backward()
        seen.append((out, x.grad))
    _close(seen[1], seen[0])


def test_gradients_are_clipped_as_in_pytorch():
    seen = []
    for library in (theirs, ours):
        model = _model(library)
        (model(library.tensor(ROWS)) ** 2).sum().backward()
        norm = library.nn.utils.clip_grad_norm_(model.parameters(), 0.7)
        first = [p.grad.clone() for p in model.parameters()]
        library.nn.utils.clip_grad_value_(model.parameters(), 0.05)
        vector = library.nn.utils.parameters_to_vector(model.parameters())
        seen.append((norm, first, [p.grad for p in model.parameters()], vector))
    _close(seen[1], seen[0])


def test_second_derivatives_are_pytorchs():
    seen = []
    for library in (theirs, ours):
        x = library.tensor(ROWS, requires_grad=True)
        y = (x**3).sum() + x.sigmoid().sum()
        (g,) = library.autograd.grad(y, x, create_graph=True)
        (h,) = library.autograd.grad((g**2).sum(), x)
        seen.append((g, h))
    _close(seen[1], seen[0])


def test_a_function_with_its_own_gradient_is_pytorchs():
    seen = []
    for library in (theirs, ours):

        class Clipped(library.autograd.Function):
            @staticmethod
            def forward(ctx, x, bound):
                ctx.save_for_backward(x)
                ctx.bound = bound
                return x.clamp(-bound, bound)

            @staticmethod
            def backward(ctx, g):
                (x,) = ctx.saved_tensors
                return g * (x.abs() < 2 * ctx.bound), None

        x = library.tensor(ROWS, requires_grad=True)
        y = Clipped.apply(x, 0.5)
        (y * 3).sum().backward()
        seen.append((y, x.grad))
    _close(seen[1], seen[0])


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_packed_series_run_as_in_pytorch(kind, batch_first):
    lengths = [2, 4, 1, 4]
    series = [_floats(n, 3) for n in lengths]
    state, seen = None, []
    for library in (theirs, ours):
        layer = getattr(library.nn, kind)(3, 5, 2, bidirectional=True, batch_first=batch_first)
        state = state or {k: v.numpy().copy() for k, v in layer.state_dict().items()}
        layer.load_state_dict({k: library.tensor(v) for k, v in state.items()})
        rnn = library.nn.utils.rnn
        padded = rnn.pad_sequence([library.tensor(s) for s in series], batch_first=batch_first)
        padded.requires_grad_()
        pack = rnn.pack_padded_sequence(padded, lengths, batch_first, enforce_sorted=False)
        out, last = layer(pack)
        unpacked, counts = rnn.pad_packed_sequence(out, batch_first=batch_first)
        (unpacked**2).sum().backward()
        seen.append((pack.data, pack.batch_sizes, out.data, unpacked, counts, last, padded.grad))
    _close(seen[1], seen[0])


@pytest.mark.parametrize("before", [True, False], ids=["made before", "made after"])
def test_lazy_layers_are_trained_as_pytorchs_by_an_optimizer(before):
    values, seen = {}, []
    for t in (theirs, ours):
        nn = t.nn
        model = nn.Sequential(
            nn.LazyConv2d(4, 3, groups=1, bias=False),
            nn.LazyBatchNorm2d(),
            nn.ReLU(),
            nn.LazyConvTranspose2d(3, 2),
            nn.Flatten(),
            nn.Linear(147, 5),
            nn.LazyLinear(3),
        )
        optimizer = t.optim.Adam(model.parameters(), lr=0.1) if before else None
        x = t.tensor(IMAGES)
        model.eval()(x)
        model.train()
        assert type(model[0]) is nn.Conv2d
        assert str(model[-1]) == "Linear(in_features=5, out_features=3, bias=True)"
        with t.no_grad():
            for name, p in model.named_parameters():
                values.setdefault(name, _floats(*p.shape) / 3)
                p.copy_(t.tensor(values[name]))
        optimizer = optimizer or t.optim.Adam(model.parameters(), lr=0.1)
        for _ in range(4):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), t.tensor([0, 2]))
            loss.backward()
            optimizer.step()
        seen.append((loss, list(model.state_dict().values())))
    _close(seen[1], seen[0], rtol=1e-3, atol=1e-4)


def test_a_lazy_layer_takes_one_sample_too():
    for t in (theirs, ours):
        assert t.nn.LazyConv1d(4, 3)(t.ones(3, 6)).shape == (4, 4)
        assert t.nn.LazyLinear(4)(t.ones(6)).shape == (4,)


def test_checkpoints_and_scripts_change_no_gradient():
    values = {}
    seen = []
    for t in (theirs, ours):
        nn = t.nn
        model = nn.Sequential(
            nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)
        )
        with t.no_grad():
            for name, p in model.named_parameters():
                p.copy_(t.tensor(values.setdefault(name, _floats(*p.shape))))
        x = t.tensor(ROWS, requires_grad=True)
        checkpoint = t.utils.checkpoint
        y = checkpoint.checkpoint_sequential(model, 2, x, use_reentrant=False)
        y = checkpoint.checkpoint(lambda a, b: a * b.sin(), y, y, use_reentrant=False)
        (y * y).sum().backward()
        seen.append((y, x.grad, [p.grad for p in model.parameters()]))
    _close(seen[1], seen[0])
    scripted = ours.jit.script(model)
    assert ours.jit.trace(scripted, ours.tensor(ROWS)) is model


def test_gradients_are_checked_as_in_pytorch():
    for t in (theirs, ours):
        x = t.tensor([0.5, 2.0], dtype=t.float64, requires_grad=True)
        assert t.autograd.gradcheck(lambda a: (a.exp() / a).sum(), (x,))

        class Wrong(t.autograd.Function):
            @staticmethod
            def forward(ctx, a):
                return a * 2

            @staticmethod
            def backward(ctx, g):
                return g * 3

        assert not t.autograd.gradcheck(Wrong.apply, (x,), raise_exception=False)
