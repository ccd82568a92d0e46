"""Settings of layers, losses and optimizers beside real Keras: each takes effect as there."""

import os

import numpy as np
import pytest

from gputensor import keras

os.environ.setdefault("KERAS_BACKEND", "torch")
torch = pytest.importorskip("torch")
theirs = pytest.importorskip("keras")
if theirs.backend.backend() != "torch":
    pytest.skip("Keras does not run on PyTorch here", allow_module_level=True)
pytestmark = pytest.mark.peers

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((48, 6)).astype(np.float32)
STEPS = RNG.standard_normal((24, 5, 4)).astype(np.float32)
IMAGES = RNG.standard_normal((24, 6, 6, 2)).astype(np.float32)


def both(make, x, y, loss="mse", weights=None, optimizer="sgd", batch=8, epochs=2):
    """The same model, weights and batches in both; the weights and losses afterwards."""
    models = [make(theirs), make(keras)]
    for m in models:
        m(x[:2])
    start = models[0].get_weights() if weights is None else weights
    found = []
    for door, m in zip((theirs, keras), models, strict=True):
        m.set_weights(start)
        rate = door.optimizers.get({"class_name": optimizer, "config": {"learning_rate": 0.1}})
        m.compile(optimizer=rate, loss=loss)
        h = m.fit(x, y, batch_size=batch, epochs=epochs, shuffle=False, verbose=0)
        found.append((m.get_weights(), h.history["loss"]))
    (w, a), (v, b) = found
    np.testing.assert_allclose(b, a, rtol=2e-4, atol=1e-6)
    for mine, true in zip(v, w, strict=True):
        np.testing.assert_allclose(mine, true, rtol=2e-3, atol=2e-5)
    return v


LIMITS = [
    {"kernel_constraint": "max_norm"},
    {"kernel_constraint": "non_neg", "bias_constraint": "non_neg"},
    {"kernel_constraint": "unit_norm"},
    {"kernel_constraint": lambda k: k.constraints.MaxNorm(0.5, axis=1)},
    {"kernel_constraint": lambda k: k.constraints.MinMaxNorm(0.5, 0.9, rate=0.5)},
]


def given(door, settings):
    return {n: v(door) if callable(v) else v for n, v in settings.items()}


@pytest.mark.parametrize("settings", LIMITS)
def test_constraints_hold_after_each_step(settings):
    def make(k):
        return k.Sequential([k.layers.Dense(4, **given(k, settings)), k.layers.Dense(1)])

    kernel = both(make, ROWS, ROWS.sum(axis=1, keepdims=True))[0]
    if settings["kernel_constraint"] == "non_neg":
        assert (kernel >= 0).all()
        assert (kernel == 0).any()


@pytest.mark.parametrize(
    ("name", "options", "x"),
    [
        ("Conv2D", {"filters": 3, "kernel_size": 3}, IMAGES),
        ("SeparableConv2D", {"filters": 3, "kernel_size": 3}, IMAGES),
        ("DepthwiseConv2D", {"kernel_size": 3}, IMAGES),
        ("LSTM", {"units": 3}, STEPS),
        ("BatchNormalization", {}, ROWS),
        ("PReLU", {}, ROWS),
    ],
)
def test_constraints_of_other_layers(name, options, x):
    names = {
        "SeparableConv2D": ("depthwise", "pointwise", "bias"),
        "DepthwiseConv2D": ("depthwise", "bias"),
        "LSTM": ("kernel", "recurrent", "bias"),
        "BatchNormalization": ("gamma", "beta"),
        "PReLU": ("alpha",),
    }.get(name, ("kernel", "bias"))
    limits = {f"{n}_constraint": "non_neg" for n in names}

    def make(k):
        layers = [getattr(k.layers, name)(**options, **limits)]
        return k.Sequential([*layers, k.layers.Flatten(), k.layers.Dense(1)])

    both(make, x, x.reshape(len(x), -1)[:, :1])


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_penalties_of_activity_are_a_mean_over_samples(kind):
    def make(k):
        layers = k.layers
        return k.Sequential(
            [
                layers.Dense(4, activation="relu", activity_regularizer=kind),
                layers.ActivityRegularization(l2=0.1),
                layers.Dense(3, activation="softmax", activity_regularizer=kind),
            ]
        )

    y = np.eye(3, dtype=np.float32)[np.arange(48) % 3]
    both(make, ROWS, y, loss="categorical_crossentropy")


def test_an_embedding_begins_with_the_table_it_is_given():
    table = RNG.standard_normal((7, 3)).astype(np.float32)
    for form in (table, [table]):
        layer = keras.layers.Embedding(7, 3, weights=form)
        np.testing.assert_array_equal(layer(np.array([[1, 6]])).numpy()[0], table[[1, 6]])


def test_a_saved_model_keeps_its_constraints(tmp_path):
    m = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(2, kernel_constraint=keras.constraints.MaxNorm(3))]
    )
    m.save(tmp_path / "m.keras")
    layer = theirs.models.load_model(tmp_path / "m.keras").layers[0]
    assert layer.kernel_constraint.max_value == 3
    again = keras.models.load_model(tmp_path / "m.keras")
    ((limit, _),) = again.layers[0]._limits.value[1]
    assert limit.max_value == 3
