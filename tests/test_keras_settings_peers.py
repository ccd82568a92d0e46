"""Settings of layers, losses and optimizers beside real Keras: each takes effect as there."""

import os

import numpy as np
import pytest

import gputensor as gt
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
    theirs.utils.set_random_seed(0)
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
        np.testing.assert_array_equal(layer(np.array([[1, 6]])).detach().numpy()[0], table[[1, 6]])


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


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("absolute", (ROWS,)),
        ("arctan2", (ROWS, ROWS[::-1].copy())),
        ("arcsinh", (ROWS,)),
        ("top_k", (ROWS, 2)),
        ("in_top_k", (np.arange(48) % 6, ROWS, 2)),
        ("moments", (ROWS, [0])),
        ("average", (ROWS, 1, np.arange(1.0, 7.0, dtype=np.float32))),
        ("ravel", (ROWS,)),
        ("slice", (ROWS, (1, 2), (3, 4))),
        ("mod", (ROWS, np.float32(0.7))),
        ("divide_no_nan", (ROWS, np.maximum(ROWS, 0))),
        ("identity", (3,)),
        ("size", (ROWS,)),
        ("ndim", (ROWS,)),
    ],
)
def test_operations_are_those_of_keras(name, args):
    expected, found = (getattr(k.ops, name)(*args) for k in (theirs, keras))
    several = isinstance(expected, tuple)
    for true, mine in zip(*((a if several else (a,)) for a in (expected, found)), strict=True):
        true = theirs.ops.convert_to_numpy(true)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(mine), true, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["Hinge", "SquaredHinge", "CategoricalHinge", "LogCoshError"])
def test_metrics_of_margins(name):
    y = np.where(ROWS > 0, 1.0, -1.0).astype(np.float32)
    p = RNG.standard_normal(ROWS.shape).astype(np.float32)
    values = []
    for k in (theirs, keras):
        metric = getattr(k.metrics, name)()
        metric.update_state(y[:20], p[:20])
        metric.update_state(y[20:], p[20:])
        values.append((metric.name, float(metric.result())))
    assert values[1][0] == values[0][0]
    assert values[1][1] == pytest.approx(values[0][1], rel=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"sequence_length": 4, "batch_size": 5},
        {"sequence_length": 3, "sequence_stride": 2, "sampling_rate": 3, "batch_size": 4},
        {"sequence_length": 3, "start_index": 5, "end_index": 25, "batch_size": 4},
    ],
)
def test_windows_of_a_series_are_those_of_keras(settings):
    data = np.arange(60.0, dtype=np.float32).reshape(30, 2)
    windows = keras.utils.timeseries_dataset_from_array(data[:-4], data[4:, 0], **settings)
    first, length = settings.get("start_index", 0), settings["sequence_length"]
    rate, every = settings.get("sampling_rate", 1), settings.get("sequence_stride", 1)
    stop = min(settings.get("end_index", 26), 26)
    found = list(windows)
    x, y = (np.concatenate(parts) for parts in zip(*found, strict=True))
    starts = range(first, stop - (length - 1) * rate, every)
    np.testing.assert_array_equal(x, [[data[s + rate * i] for i in range(length)] for s in starts])
    np.testing.assert_array_equal(y, [data[s + 4, 0] for s in starts])
    assert len(windows) == len(found) == -(-len(x) // settings["batch_size"])


SEEDED = [
    ("Dropout", {"rate": 0.5}, ROWS),
    ("Dropout", {"rate": 0.5, "noise_shape": (None, 1)}, ROWS),
    ("GaussianNoise", {"stddev": 1.0}, ROWS),
    ("GaussianDropout", {"rate": 0.5}, ROWS),
    ("AlphaDropout", {"rate": 0.5}, ROWS),
    ("SpatialDropout1D", {"rate": 0.5}, STEPS),
    ("LSTM", {"units": 3, "dropout": 0.5, "kernel_initializer": "ones"}, STEPS),
    ("GRU", {"units": 3, "recurrent_dropout": 0.5, "recurrent_initializer": "ones"}, STEPS),
]


@pytest.mark.parametrize(("name", "settings", "x"), SEEDED)
def test_a_seed_makes_a_layer_draw_the_same_numbers(name, settings, x):
    kinds = (
        {"recurrent_initializer": "ones", "kernel_initializer": "ones"}
        if name
        in (
            "LSTM",
            "GRU",
        )
        else {}
    )
    runs = []
    for start in (1, 2):
        keras.utils.set_random_seed(start)
        layer = getattr(keras.layers, name)(seed=7, **{**settings, **kinds})
        runs.append([layer(x, training=True).detach().numpy() for _ in range(2)])
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    np.testing.assert_array_equal(runs[0][1], runs[1][1])
    assert (runs[0][0] != runs[0][1]).any()
    other = getattr(keras.layers, name)(seed=8, **{**settings, **kinds})
    assert (other(x, training=True).detach().numpy() != runs[0][0]).any()


def test_a_seeded_layer_trains_the_same_captured_or_not():
    found = []
    for capture in (False, True):
        keras.utils.set_random_seed(3)
        model = keras.Sequential(
            [keras.layers.Dropout(0.5, seed=5), keras.layers.Dense(2, kernel_initializer="ones")]
        )
        model.compile("sgd", "mse")
        model.fit(ROWS, ROWS[:, :2], batch_size=8, epochs=3, verbose=0, capture=capture)
        found.append(model.get_weights())
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["Attention", "AdditiveAttention", "MultiHeadAttention"])
def test_attention_draws_by_its_seed(kind):
    options = {"num_heads": 2, "key_dim": 3} if kind == "MultiHeadAttention" else {}
    x, runs = STEPS, []
    for start, seed in ((1, 7), (2, 7), (2, 8)):
        keras.utils.set_random_seed(start)
        layer = getattr(keras.layers, kind)(dropout=0.5, seed=seed, **options)
        call = (x, x) if options else ([x, x],)
        layer(*call)
        layer.set_weights([np.full(w.shape, 0.1, np.float32) for w in layer.get_weights()])
        runs.append(layer(*call, training=True).detach().numpy())
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[1] != runs[2]).any()


def test_steps_of_the_users_that_would_not_be_taken_are_refused():
    class Mine(keras.Model):
        def train_step(self, data):
            return {}

    with pytest.raises(TypeError, match="Mine defines train_step"):
        Mine().compile("sgd", "mse")


def test_logs_have_the_order_of_keras():
    orders = []
    for k in (theirs, keras):
        m = k.Sequential([k.layers.Dense(1)])
        m.compile("sgd", "mse", metrics=["mae", "cosine_similarity"])
        h = m.fit(ROWS, ROWS[:, 0], validation_split=0.2, verbose=0)
        orders.append(list(h.history))
    assert orders[1] == orders[0]


@pytest.mark.parametrize("around", [False, True])
def test_steps_that_are_left_out_give_zero_where_asked_for(around):
    x = STEPS.copy()
    x[:, 3:] = 0
    x[::2, :1] = 0
    for options in (
        {"return_sequences": True, "zero_output_for_mask": True},
        {"return_sequences": True},
        {"zero_output_for_mask": not around},
    ):
        found = []
        for k in (theirs, keras):
            layer = k.layers.GRU(3, **options)
            layer = k.layers.Bidirectional(layer) if around else layer
            m = k.Sequential([k.layers.Masking(), layer])
            m(x[:2])
            if found:
                m.set_weights(found[0][0])
            found.append((m.get_weights(), m.predict(x, verbose=0)))
        np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-4, atol=1e-5)


def test_weights_are_assigned_to_as_in_keras():
    class Running(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.total = self.add_weight((6,), initializer="zeros", trainable=False)
            self.scale = keras.Variable(np.ones(6))

        def call(self, x):
            self.total.assign_add(keras.ops.sum(x, axis=0))
            return x * self.scale

    layer = Running()
    layer(ROWS)
    layer(ROWS)
    np.testing.assert_allclose(layer.total.numpy(), 2 * ROWS.sum(axis=0), rtol=1e-5)
    assert [w.requires_grad for w in layer.weights] == [True, False]
    layer.scale.assign(np.full(6, 2.0)).assign_sub(0.5)
    np.testing.assert_array_equal(layer(ROWS).detach().numpy(), ROWS * np.float32(1.5))
    assert layer.scale.requires_grad


@pytest.mark.parametrize(
    ("loss", "shape"),
    [
        ("categorical_crossentropy", (5,)),
        ("categorical_crossentropy", (2, 3)),
        ("sparse_categorical_crossentropy", (5,)),  # PyTorch's own stops at more axes
    ],
)
def test_classes_of_each_step_after_a_last_softmax(loss, shape):
    x = RNG.standard_normal((24, *shape, 4)).astype(np.float32)
    y = RNG.integers(0, 3, (24, *shape))
    if loss[0] == "c":
        y = np.eye(3, dtype=np.float32)[y]

    def make(k):
        return k.Sequential([k.layers.Dense(3, activation="softmax")])

    both(make, x, y, loss=loss)


def test_a_layers_dtype_is_that_of_its_weights_and_results_beside_another_default():
    rng = np.random.default_rng(3)
    x, y = rng.random((8, 3)), rng.random((8, 1))
    values = [rng.random(s) for s in ((3, 4), (4,), (4,), (4,), (4, 1), (1,))]
    seen = []
    for library in (theirs, keras):
        library.config.set_floatx("float64")
        if library is theirs:
            library.config.set_dtype_policy("float64")  # which follows only at a start
        try:
            model = library.Sequential(
                [
                    library.Input((3,)),
                    library.layers.Dense(4, dtype="float32"),
                    library.layers.LayerNormalization(dtype="float32"),
                    library.layers.Dense(1),
                ]
            )
            model.set_weights(values)
            model.compile(library.optimizers.SGD(0.1), "mse")
            model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
            dtypes = [np.asarray(w).dtype for w in model.get_weights()]
            inner = library.Sequential(model.layers[:2]).predict(x, verbose=0)
            seen.append((dtypes, inner.dtype, model.get_weights()))
        finally:
            library.config.set_floatx("float32")
            if library is theirs:
                library.config.set_dtype_policy("float32")
    assert seen[1][:2] == seen[0][:2]
    for ours, wanted in zip(seen[1][2], seen[0][2], strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-5)


def test_a_loop_in_pytorchs_way_moves_variables_by_their_gradients():
    rng = np.random.default_rng(4)
    x, y = rng.random((8, 3), np.float32), rng.random((8, 2), np.float32)
    values = [rng.random(s, np.float32) for s in ((3, 2), (2,))]
    seen = []
    for library, tensor, mode in (
        (theirs, torch.tensor, torch.no_grad),
        (keras, gt.tensor, gt.no_grad),
    ):
        model = library.Sequential([library.Input((3,)), library.layers.Dense(2)])
        model.set_weights(values)
        optimizer = library.optimizers.Adam(0.1)
        for _ in range(4):
            loss = library.ops.mean(library.losses.mean_squared_error(tensor(y), model(tensor(x))))
            model.zero_grad()
            loss.backward()
            weights = list(model.trainable_weights)
            gradients = [v.value.grad for v in weights]
            with mode():
                optimizer.apply(gradients, weights)
        seen.append(model.get_weights())
    for ours, wanted in zip(seen[1], seen[0], strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4)
