"""Layers, losses and metrics beside real Keras: the same weights in, results compared."""

import os

import numpy as np
import pytest

import gputensor as gt
from checks import normal_by
from gputensor import keras
from gputensor.keras import layers as L

os.environ.setdefault("KERAS_BACKEND", "torch")
torch = pytest.importorskip("torch")
theirs = pytest.importorskip("keras")
if theirs.backend.backend() != "torch":
    pytest.skip("Keras does not run on PyTorch here", allow_module_level=True)
pytestmark = pytest.mark.peers

RNG = np.random.default_rng(0)
numbers = normal_by(RNG, np.float32)


IMAGES = numbers(3, 9, 8, 4)
STEPS = numbers(3, 7, 4)
ROWS = numbers(5, 6)
VOLUMES = numbers(2, 5, 6, 7, 4)
FILMS = numbers(2, 3, 6, 5, 4)
SOUNDS = numbers(2, 3, 8, 4)

LAYERS = [
    ("Dense", {"units": 3, "activation": "tanh"}, ROWS),
    ("Dense", {"units": 3, "use_bias": False, "activation": "selu"}, STEPS),
    ("Flatten", {}, IMAGES),
    ("Activation", {"activation": "softplus"}, ROWS),
    ("Activation", {"activation": "hard_sigmoid"}, ROWS),
    ("Activation", {"activation": "leaky_relu"}, ROWS),
    ("Activation", {"activation": "gelu"}, ROWS),
    ("Activation", {"activation": "exponential"}, ROWS),
    ("ReLU", {"max_value": 1.0, "negative_slope": 0.1, "threshold": 0.2}, ROWS),
    ("LeakyReLU", {"negative_slope": 0.2}, ROWS),
    ("ELU", {"alpha": 0.5}, ROWS),
    ("Softmax", {"axis": 1}, STEPS),
    ("PReLU", {"alpha_initializer": "uniform"}, ROWS),
    ("PReLU", {"alpha_initializer": "uniform", "shared_axes": [1, 2]}, IMAGES),
    ("Reshape", {"target_shape": (3, 2)}, ROWS),
    ("Permute", {"dims": (2, 1)}, STEPS),
    ("RepeatVector", {"n": 3}, ROWS),
    ("Rescaling", {"scale": 0.5, "offset": 1.0}, ROWS),
    ("Embedding", {"input_dim": 7, "output_dim": 3}, RNG.integers(0, 7, (4, 2))),
    ("Conv2D", {"filters": 6, "kernel_size": 3}, IMAGES),
    ("Conv2D", {"filters": 6, "kernel_size": (3, 2), "strides": 2, "padding": "same"}, IMAGES),
    ("Conv2D", {"filters": 6, "kernel_size": 3, "dilation_rate": 2, "activation": "relu"}, IMAGES),
    ("Conv2D", {"filters": 6, "kernel_size": 3, "groups": 2, "use_bias": False}, IMAGES),
    ("Conv1D", {"filters": 6, "kernel_size": 3, "strides": 2, "padding": "same"}, STEPS),
    ("Conv1D", {"filters": 6, "kernel_size": 3, "padding": "causal", "dilation_rate": 2}, STEPS),
    ("Conv2DTranspose", {"filters": 6, "kernel_size": 3}, IMAGES),
    ("Conv2DTranspose", {"filters": 6, "kernel_size": 3, "strides": 2, "padding": "same"}, IMAGES),
    ("Conv2DTranspose", {"filters": 6, "kernel_size": 4, "strides": 2, "padding": "same"}, IMAGES),
    ("Conv2DTranspose", {"filters": 6, "kernel_size": 2, "strides": 2}, IMAGES),
    ("Conv2DTranspose", {"filters": 6, "kernel_size": 5, "strides": 1, "padding": "same"}, IMAGES),
    ("Conv1DTranspose", {"filters": 6, "kernel_size": 3, "strides": 2, "padding": "same"}, STEPS),
    ("DepthwiseConv2D", {"kernel_size": 3, "depth_multiplier": 2}, IMAGES),
    ("SeparableConv2D", {"filters": 5, "kernel_size": 3, "padding": "same"}, IMAGES),
    ("SeparableConv1D", {"filters": 5, "kernel_size": 3, "padding": "same"}, STEPS),
    ("SeparableConv1D", {"filters": 5, "kernel_size": 2, "depth_multiplier": 2}, STEPS),
    ("DepthwiseConv1D", {"kernel_size": 3, "depth_multiplier": 2, "activation": "tanh"}, STEPS),
    ("Conv3D", {"filters": 6, "kernel_size": 3, "padding": "same", "strides": 2}, VOLUMES),
    ("Conv3D", {"filters": 6, "kernel_size": (2, 3, 1), "activation": "relu"}, VOLUMES),
    ("Conv3D", {"filters": 6, "kernel_size": 2, "dilation_rate": 2, "groups": 2}, VOLUMES),
    ("Conv3D", {"filters": 6, "kernel_size": 1, "use_bias": False}, VOLUMES),
    ("Conv3DTranspose", {"filters": 6, "kernel_size": 3}, VOLUMES),
    ("Conv3DTranspose", {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same"}, VOLUMES),
    ("MaxPooling3D", {}, VOLUMES),
    ("MaxPooling3D", {"pool_size": (2, 3, 3), "strides": 2, "padding": "same"}, VOLUMES),
    ("AveragePooling3D", {"pool_size": (2, 3, 2)}, VOLUMES),
    ("GlobalMaxPooling3D", {}, VOLUMES),
    ("GlobalAveragePooling3D", {"keepdims": True}, VOLUMES),
    ("ZeroPadding3D", {"padding": ((1, 2), (0, 1), (1, 1))}, VOLUMES),
    ("Cropping3D", {}, VOLUMES),
    ("Cropping2D", {}, IMAGES),
    ("UpSampling3D", {"size": (1, 2, 3)}, VOLUMES),
    ("UpSampling2D", {"size": (2, 3), "interpolation": "bilinear"}, IMAGES),
    ("UpSampling2D", {"size": 2, "interpolation": "bicubic"}, IMAGES),
    ("AdaptiveAveragePooling2D", {"output_size": (4, 3)}, IMAGES),
    ("AdaptiveAveragePooling1D", {"output_size": 3}, STEPS),
    ("AdaptiveMaxPooling2D", {"output_size": (3, 5)}, IMAGES),
    ("AdaptiveMaxPooling3D", {"output_size": 3}, VOLUMES),
    (
        "EinsumDense",
        {"equation": "abc,cd->abd", "output_shape": (7, 5), "bias_axes": "d"},
        STEPS,
    ),
    ("EinsumDense", {"equation": "...x,xy->...y", "output_shape": 5, "activation": "tanh"}, STEPS),
    (
        "EinsumDense",
        {"equation": "abc,cde->adbe", "output_shape": (2, 7, 3), "bias_axes": "de"},
        STEPS,
    ),
    ("EinsumDense", {"equation": "ab...,bc->ac...", "output_shape": 5, "bias_axes": "c"}, STEPS),
    ("Resizing", {"height": 5, "width": 12}, IMAGES),
    ("Resizing", {"height": 5, "width": 12, "antialias": True}, IMAGES),
    ("Resizing", {"height": 14, "width": 5, "interpolation": "bicubic", "antialias": True}, IMAGES),
    ("Resizing", {"height": 5, "width": 12, "interpolation": "nearest"}, IMAGES),
    ("Resizing", {"height": 6, "width": 3, "crop_to_aspect_ratio": True}, IMAGES),
    ("CenterCrop", {"height": 5, "width": 4}, IMAGES),
    ("Normalization", {"axis": 1, "mean": [1.0] * 7, "variance": [2.0] * 7}, STEPS),
    ("Normalization", {"mean": 1.0, "variance": 2.0, "axis": None, "invert": True}, ROWS),
    ("ConvLSTM2D", {"filters": 3, "kernel_size": (3, 2), "return_sequences": True}, FILMS),
    ("ConvLSTM2D", {"filters": 3, "kernel_size": 3, "padding": "same", "strides": 2}, FILMS),
    ("ConvLSTM1D", {"filters": 3, "kernel_size": 3, "go_backwards": True}, SOUNDS),
    ("MaxPooling2D", {}, IMAGES),
    ("MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, IMAGES),
    ("MaxPooling1D", {"pool_size": 2}, STEPS),
    ("AveragePooling2D", {"pool_size": (2, 3)}, IMAGES),
    ("AveragePooling1D", {"pool_size": 2}, STEPS),
    ("GlobalMaxPooling2D", {}, IMAGES),
    ("GlobalAveragePooling2D", {"keepdims": True}, IMAGES),
    ("GlobalMaxPooling1D", {}, STEPS),
    ("GlobalAveragePooling1D", {}, STEPS),
    ("ZeroPadding2D", {"padding": ((1, 2), (0, 1))}, IMAGES),
    ("ZeroPadding1D", {"padding": 2}, STEPS),
    ("Cropping2D", {"cropping": ((1, 2), (0, 1))}, IMAGES),
    ("Cropping1D", {"cropping": 1}, STEPS),
    ("UpSampling2D", {"size": (2, 3)}, IMAGES),
    ("UpSampling1D", {"size": 2}, STEPS),
    ("BatchNormalization", {}, IMAGES),
    ("BatchNormalization", {"axis": 1, "scale": False, "momentum": 0.5}, STEPS),
    ("LayerNormalization", {}, STEPS),
    ("LayerNormalization", {"axis": [1, 2], "center": False}, STEPS),
    ("GroupNormalization", {"groups": 2}, IMAGES),
    ("RMSNormalization", {}, STEPS),
    ("UnitNormalization", {}, STEPS),
    ("SimpleRNN", {"units": 5}, STEPS),
    ("SimpleRNN", {"units": 5, "return_sequences": True, "go_backwards": True}, STEPS),
    ("LSTM", {"units": 5}, STEPS),
    ("LSTM", {"units": 5, "return_sequences": True, "use_bias": False}, STEPS),
    ("LSTM", {"units": 5, "go_backwards": True, "recurrent_activation": "hard_sigmoid"}, STEPS),
    ("GRU", {"units": 5}, STEPS),
    ("GRU", {"units": 5, "return_sequences": True, "reset_after": False}, STEPS),
]


def both(name, options, x):
    """Our layer and Keras's with the same weights, all of them random."""
    ours, other = getattr(L, name)(**options), getattr(theirs.layers, name)(**options)
    other.build(x.shape)
    ours(x)
    weights = [w + 0.1 + 0.1 * np.abs(numbers(*w.shape)) for w in other.get_weights()]
    other.set_weights(weights)
    assert [w.shape for w in ours.get_weights()] == [w.shape for w in weights]
    ours.set_weights(weights)
    return ours, other


LAYERS += [
    (name, options | {"data_format": "channels_first"}, x)
    for name, options, x in (
        ("Flatten", {}, IMAGES),
        ("Conv1D", {"filters": 6, "kernel_size": 3, "strides": 2, "padding": "same"}, STEPS),
        ("Conv2D", {"filters": 6, "kernel_size": 3, "groups": 3, "activation": "relu"}, IMAGES),
        ("Conv2DTranspose", {"filters": 6, "kernel_size": 3, "strides": 2}, IMAGES),
        ("Conv3D", {"filters": 6, "kernel_size": 2}, VOLUMES),
        ("DepthwiseConv2D", {"kernel_size": 2, "depth_multiplier": 2}, IMAGES),
        ("SeparableConv2D", {"filters": 5, "kernel_size": 3}, IMAGES),
        ("MaxPooling1D", {}, STEPS),
        ("MaxPooling2D", {"pool_size": (2, 3), "padding": "same"}, IMAGES),
        ("AveragePooling3D", {"pool_size": 2}, VOLUMES),
        ("GlobalAveragePooling1D", {}, STEPS),
        ("GlobalMaxPooling2D", {"keepdims": True}, IMAGES),
        ("ZeroPadding2D", {"padding": ((1, 0), (2, 1))}, IMAGES),
        ("Cropping2D", {"cropping": ((1, 0), (2, 1))}, IMAGES),
        ("UpSampling2D", {"size": (2, 3)}, IMAGES),
        ("AdaptiveAveragePooling2D", {"output_size": (4, 3)}, IMAGES),
        ("SpatialDropout2D", {"rate": 0.0}, IMAGES),
    )
]
IDS = [f"{name}{options}" for name, options, _ in LAYERS]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("name", "options", "x"), LAYERS, ids=IDS)
def test_a_layer_does_what_kerass_does(name, options, x, training):
    ours, other = both(name, options, x)
    a, b = gt.asarray(x), torch.tensor(x)
    if x.dtype.kind == "f":
        a.requires_grad = True
        b.requires_grad_()
    found, expected = ours(a, training=training), other(b, training=training)
    assert tuple(other.compute_output_shape(x.shape)) == found.shape
    assert tuple(ours.compute_output_shape((None, *x.shape[1:])))[1:] == found.shape[1:]
    g = numbers(*expected.shape)
    found.backward(gt.asarray(g))
    expected.backward(torch.tensor(g))
    close = {"rtol": 2e-4, "atol": 2e-5}
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), **close)
    if x.dtype.kind == "f":
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), **close)
    for mine, w in zip(ours.trainable_weights, other.trainable_weights, strict=True):
        np.testing.assert_allclose(mine.grad.numpy(), w.value.grad.numpy(), **close)
    for mine, w in zip(ours.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(mine, w, **close)


@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave"])
@pytest.mark.parametrize("sequences", [False, True])
def test_both_directions(mode, sequences):
    def layer(at):
        return at.Bidirectional(at.LSTM(4, return_sequences=sequences), merge_mode=mode)

    ours, other = layer(L), layer(theirs.layers)
    other.build(STEPS.shape)
    ours(STEPS)
    ours.set_weights(other.get_weights())
    expected = other(torch.tensor(STEPS)).detach().numpy()
    np.testing.assert_allclose(ours(STEPS).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_attention(causal):
    ours, other = (
        at.MultiHeadAttention(num_heads=2, key_dim=3, value_dim=5) for at in (L, theirs.layers)
    )
    query, value = numbers(2, 6, 4), numbers(2, 6, 8)
    mask = RNG.random((2, 6, 6)) > 0.3
    options = {"return_attention_scores": True, "use_causal_mask": causal}
    expected = other(
        torch.tensor(query), torch.tensor(value), attention_mask=torch.tensor(mask), **options
    )
    ours(query, value)
    ours.set_weights(other.get_weights())
    found = ours(query, value, attention_mask=mask, **options)
    for a, b in zip(found, expected, strict=True):
        seen = (mask & np.tri(6, dtype=bool)).any(-1) if causal else mask.any(-1)
        seen = seen[:, None] if a.ndim == 4 else seen
        a, b = a.detach().numpy(), b.detach().numpy()
        rows = np.broadcast_to(seen[..., None], a.shape)
        np.testing.assert_allclose(a[rows], b[rows], rtol=1e-4, atol=1e-5)


def test_masks_reach_recurrent_layers():
    words = np.array([[1, 2, 0, 0], [3, 1, 2, 0], [4, 4, 4, 4]])

    def model(at):
        return [at.Embedding(5, 3, mask_zero=True), at.LSTM(4, return_sequences=True), at.GRU(2)]

    ours = keras.Sequential(model(L))
    other = theirs.Sequential(model(theirs.layers))
    expected = other(torch.tensor(words)).detach().numpy()
    ours(words)
    ours.set_weights(other.get_weights())
    found = ours(words).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


ATTENTIONS = [
    (lambda at: at.MultiHeadAttention(2, 3), False),
    (lambda at: at.GroupQueryAttention(3, 4, 2), False),
    (lambda at: at.Attention(), True),
    (lambda at: at.AdditiveAttention(), True),
]


@pytest.mark.parametrize(("make", "listed"), ATTENTIONS)
@pytest.mark.parametrize("other_values", [False, True])
def test_padding_is_not_attended_to(make, listed, other_values):
    asked, told = np.array([[1, 2, 3, 0], [3, 1, 0, 0]]), np.array([[4, 3, 0, 0], [1, 2, 0, 3]])
    found = []
    for k in (keras, theirs):
        first, second = k.Input((4,), dtype="int32"), k.Input((4,), dtype="int32")
        embedded = k.layers.Embedding(5, 4, mask_zero=True)
        query, value = embedded(first), embedded(second if other_values else first)
        layer = make(k.layers)
        model = k.Model([first, second], layer([query, value]) if listed else layer(query, value))
        model.predict([asked, told], verbose=0)
        found.append(model)
    found[0].set_weights(found[1].get_weights())
    rows = asked != 0
    ours, expected = (m.predict([asked, told], verbose=0)[rows] for m in found)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
    weights = found[0].get_weights()
    (place,) = (i for i, w in enumerate(weights) if w.shape == (5, 4))
    weights[place][0] += 5
    found[0].set_weights(weights)
    np.testing.assert_array_equal(found[0].predict([asked, told], verbose=0)[rows], ours)


def test_padding_is_not_in_the_statistics_of_batch_normalization():
    words = np.array([[1, 2, 0, 0], [3, 1, 2, 0], [4, 4, 4, 4]])

    def model(at):
        return [at.Embedding(5, 3, mask_zero=True), at.BatchNormalization(momentum=0.5)]

    ours = keras.Sequential(model(L))
    other = theirs.Sequential(model(theirs.layers))
    other(torch.tensor(words))
    ours(words)
    ours.set_weights(other.get_weights())
    expected = other(torch.tensor(words), training=True).detach().numpy()
    found = ours(words, training=True).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for a, b in zip(ours.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_the_edge_does_not_count_in_a_mean():  # where Keras on PyTorch differs from the others
    x = np.ones((1, 3, 3, 1), np.float32)
    assert L.AveragePooling2D(2, padding="same")(x).numpy().min() == 1


def probabilities(*shape):
    return (RNG.random(shape) * 0.98 + 0.01).astype(np.float32)


P = RNG.dirichlet(np.ones(4), 6).astype(np.float32)
HOT = np.eye(4, dtype=np.float32)[RNG.integers(0, 4, 6)]
LABELS = RNG.integers(0, 4, 6)
LOSSES = [
    ("CategoricalCrossentropy", {}, HOT, P),
    ("CategoricalCrossentropy", {"label_smoothing": 0.1}, HOT, P),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, HOT, numbers(6, 4)),
    ("SparseCategoricalCrossentropy", {}, LABELS, P),
    ("SparseCategoricalCrossentropy", {}, LABELS[:, None], P),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, LABELS, numbers(6, 4)),
    ("SparseCategoricalCrossentropy", {}, LABELS.reshape(2, 3), P.reshape(2, 3, 4)),
    ("BinaryCrossentropy", {}, (HOT > 0).astype("f4"), probabilities(6, 4)),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.2}, HOT, numbers(6, 4)),
    ("BinaryCrossentropy", {}, HOT[:, 0], probabilities(6, 1)),
    ("BinaryFocalCrossentropy", {"gamma": 3.0}, HOT, probabilities(6, 4)),
    ("BinaryFocalCrossentropy", {"apply_class_balancing": True}, HOT, probabilities(6, 4)),
    ("MeanSquaredError", {}, numbers(6, 4), numbers(6, 4)),
    ("MeanSquaredError", {}, numbers(6), numbers(6, 1)),
    ("MeanAbsoluteError", {}, numbers(6, 2, 4), numbers(6, 2, 4)),
    ("MeanAbsolutePercentageError", {}, numbers(6, 4), numbers(6, 4)),
    ("MeanSquaredLogarithmicError", {}, probabilities(6, 4), probabilities(6, 4)),
    ("Huber", {"delta": 0.5}, numbers(6, 4), numbers(6, 4)),
    ("LogCosh", {}, numbers(6, 4), numbers(6, 4)),
    ("Hinge", {}, 2 * HOT - 1, numbers(6, 4)),
    ("Hinge", {}, HOT, numbers(6, 4)),
    ("SquaredHinge", {}, HOT, numbers(6, 4)),
    ("CategoricalHinge", {}, HOT, numbers(6, 4)),
    ("KLDivergence", {}, P[::-1].copy(), P),
    ("Poisson", {}, RNG.poisson(2.0, (6, 4)).astype("f4"), probabilities(6, 4)),
    ("CosineSimilarity", {}, numbers(6, 4), numbers(6, 4)),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "none"])
@pytest.mark.parametrize("case", LOSSES, ids=[f"{c[0]}{c[1]}{c[2].shape}" for c in LOSSES])
def test_a_loss_is_kerass(case, reduction, weighted):
    name, options, y, p = case
    weight = probabilities(*p.shape[:-1]) if weighted else None
    ours = getattr(keras.losses, name)(reduction=reduction, **options)
    other = getattr(theirs.losses, name)(reduction=reduction, **options)
    assert ours.name == other.name
    a, b = gt.asarray(p), torch.tensor(p, requires_grad=True)
    a.requires_grad = True
    found, expected = ours(y, a, weight), other(torch.tensor(y), b, weight)
    assert found.shape == tuple(expected.shape)
    close = {"rtol": 1e-4, "atol": 1e-6}
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), **close)
    found.sum().backward()
    expected.sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-3, atol=1e-5)


BINARY = (HOT[:, :1] > 0).astype("f4")
METRICS = [
    ("BinaryAccuracy", {}, BINARY, probabilities(6, 1)),
    ("BinaryAccuracy", {"threshold": 0.3}, BINARY[:, 0], probabilities(6, 1)),
    ("CategoricalAccuracy", {}, HOT, P),
    ("SparseCategoricalAccuracy", {}, LABELS, P),
    ("SparseCategoricalAccuracy", {}, LABELS[:, None], P),
    ("TopKCategoricalAccuracy", {"k": 2}, HOT, P),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, LABELS, P),
    ("MeanSquaredError", {}, numbers(6), numbers(6, 1)),
    ("MeanAbsoluteError", {}, numbers(6, 3), numbers(6, 3)),
    ("RootMeanSquaredError", {}, numbers(6, 3), numbers(6, 3)),
    ("CosineSimilarity", {}, numbers(6, 3), numbers(6, 3)),
    ("Precision", {}, BINARY, probabilities(6, 1)),
    ("Precision", {"thresholds": [0.2, 0.8]}, BINARY, probabilities(6, 1)),
    ("Recall", {"class_id": 1}, HOT, P),
    ("TruePositives", {}, BINARY, probabilities(6, 1)),
    ("FalseNegatives", {}, BINARY, probabilities(6, 1)),
    ("AUC", {}, BINARY, probabilities(6, 1)),
    ("AUC", {"curve": "PR", "num_thresholds": 20}, BINARY, probabilities(6, 1)),
    ("F1Score", {}, HOT, P),
    ("F1Score", {"average": "macro", "threshold": 0.3}, HOT, P),
    ("F1Score", {"average": "weighted"}, HOT, P),
    ("R2Score", {}, numbers(6, 3), numbers(6, 3)),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", METRICS, ids=[f"{c[0]}{c[1]}{c[2].shape}" for c in METRICS])
def test_a_metric_is_kerass(case, weighted):
    name, options, y, p = case
    ours, other = getattr(keras.metrics, name)(**options), getattr(theirs.metrics, name)(**options)
    assert ours.name.rstrip("_0123456789") == other.name.rstrip("_0123456789")
    for part in (slice(None, 4), slice(4, None)):
        weight = probabilities(len(y[part])) if weighted else None
        ours.update_state(y[part], gt.asarray(p[part]), sample_weight=weight)
        other.update_state(torch.tensor(y[part]), torch.tensor(p[part]), sample_weight=weight)
    found, expected = ours.result().numpy(), theirs.ops.convert_to_numpy(other.result())
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    ours.reset_state()
    assert not any(v.numpy().any() for v in ours.variables)


def networks():
    """Networks and data of the usual kinds: layers, samples, targets, loss."""
    image, steps, rows = IMAGES, STEPS, ROWS
    labels = RNG.integers(0, 3, 3)
    return {
        "dense": (
            lambda at: [at.Dense(5, activation="relu"), at.Dense(1)],
            rows,
            rows[:, :1],
            "mse",
        ),
        "convolution": (
            lambda at: [
                at.Conv2D(4, 3, activation="relu", padding="same"),
                at.BatchNormalization(),
                at.MaxPooling2D(),
                at.Conv2D(3, 2, strides=2),
                at.Flatten(),
                at.Dense(3, activation="softmax"),
            ],
            image,
            labels,
            "sparse_categorical_crossentropy",
        ),
        "lstm": (
            lambda at: [at.LSTM(4, return_sequences=True), at.GRU(3), at.Dense(1, "sigmoid")],
            steps,
            labels[:, None] % 2,
            "binary_crossentropy",
        ),
        "both ways": (
            lambda at: [at.Bidirectional(at.SimpleRNN(3)), at.LayerNormalization(), at.Dense(2)],
            steps,
            numbers(3, 2),
            "huber",
        ),
        "autoencoder": (
            lambda at: [
                at.Conv2D(3, 3, strides=2, padding="same", activation="elu"),
                at.Conv2DTranspose(4, 3, strides=2, padding="same"),
                at.Cropping2D(((0, 1), (0, 0))),
            ],
            image,
            image,
            "mae",
        ),
        "penalties": (
            lambda at: [at.Dense(4, "tanh", kernel_regularizer="l2"), at.Dense(3, "softmax")],
            rows,
            np.eye(3, dtype=np.float32)[RNG.integers(0, 3, 5)],
            "categorical_crossentropy",
        ),
    }


NETWORKS = networks()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", NETWORKS)
def test_ten_steps_lead_to_the_same_weights(name, optimizer):
    layers, x, y, loss = NETWORKS[name]
    ours, other = keras.Sequential(layers(L)), theirs.Sequential(layers(theirs.layers))
    other.build(x.shape)
    ours.build(x.shape[1:])
    ours.set_weights(other.get_weights())
    ours.compile(optimizer, loss)
    other.compile(optimizer, loss)
    for _ in range(10):
        found, expected = ours.train_on_batch(x, y), other.train_on_batch(x, y)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    for a, b in zip(ours.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)
