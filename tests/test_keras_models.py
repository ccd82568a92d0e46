"""Models as graphs, as classes, and in files."""

import copy
import json
import os
import pickle
import warnings

import numpy as np
import pytest

import gputensor as gt
from gputensor import keras
from gputensor.keras import layers as L
from gputensor.keras.models import Model, Sequential, clone_model, load_model, model_from_json

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 6)).astype(np.float32)


def two_ways():
    """A graph with a shared layer, a residual and two outputs."""
    x, y = keras.Input((6,), name="x"), keras.Input((6,), name="y")
    shared = L.Dense(5, activation="relu", name="shared")
    a, b = shared(x), shared(y)
    h = L.add([a, b])
    h = L.BatchNormalization()(L.Dense(5)(h)) + a
    first = L.Dense(1, name="first")(h)
    second = L.Dense(3, activation="softmax", name="second")(L.concatenate([h, b]))
    return Model([x, y], [first, second])


def test_a_graph_computes_what_its_layers_do():
    model = two_ways()
    assert [layer.name for layer in model.layers][:2] == ["x", "y"]
    assert sum(layer.name == "shared" for layer in model.layers) == 1
    a, b = model.get_layer("shared")(X), model.get_layer("shared")(X[::-1].copy())
    found = model([X, X[::-1].copy()])
    dense, norm = (
        next(layer for layer in model.layers if type(layer) is kind and layer.name != "shared")
        for kind in (L.Dense, L.BatchNormalization)
    )
    h = norm(dense(a + b)) + a
    np.testing.assert_array_equal(
        found[0].detach().numpy(), model.get_layer("first")(h).detach().numpy()
    )
    assert found[1].shape == (40, 3)
    named = model({"x": X, "y": X[::-1].copy()})
    np.testing.assert_array_equal(named[0].detach().numpy(), found[0].detach().numpy())


def test_parts_of_a_graph_are_models_over_the_same_weights():
    whole = two_ways()
    part = Model(whole.inputs, whole.get_layer("first").output)
    before = part([X, X]).detach().numpy()
    whole.get_layer("shared").weight.array[...] = 0
    assert (part([X, X]).detach().numpy() != before).any()
    assert len(part.layers) == len(whole.layers) - 2


def test_a_graph_without_its_input_is_an_error():
    x, y = keras.Input((6,)), keras.Input((6,))
    out = L.Dense(1)(x)
    with pytest.raises(gt.errors.GraphError, match="is none of the inputs"):
        Model(y, out)
    with pytest.raises(TypeError, match="must be of keras"):
        Model(X, out)
    with pytest.raises(gt.errors.GraphError, match="has no values"):
        np.asarray(out)


def test_models_are_layers_of_models():
    inner = Sequential([L.Dense(4, activation="relu", input_shape=(6,)), L.Dense(2)])
    outer = Sequential([inner, L.Dense(1)])
    assert outer.output_shape is None or outer.output_shape == (1,)
    x = keras.Input((6,))
    graph = Model(x, L.Dense(1)(inner(x)))
    assert [w.shape for w in graph.weights] == [(6, 4), (4,), (4, 2), (2,), (2, 1), (1,)]
    outer(X)
    np.testing.assert_array_equal(
        outer.layers[0](X).detach().numpy(), graph.layers[1](X).detach().numpy()
    )


def test_a_class_of_model():
    class Net(Model):
        def __init__(self):
            super().__init__()
            self.one = L.Dense(4, activation="relu")
            self.drop = L.Dropout(0.5)
            self.two = L.Dense(1)

        def call(self, x, training=False):
            return self.two(self.drop(self.one(x), training=training))

    model = Net()
    quiet = model(X).detach().numpy()
    np.testing.assert_array_equal(model(X).detach().numpy(), quiet)
    assert (model(X, training=True).detach().numpy() != quiet).any()
    model.compile("sgd", "mse")
    losses = model.fit(X, X.sum(axis=1), epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert len(model.trainable_weights) == 4


@pytest.mark.parametrize("operation", ["lambda", "operator"])
def test_functions_between_layers(operation):
    x = keras.Input((6,))
    y = L.Lambda(lambda t: t * 2)(x) if operation == "lambda" else 2 * x
    np.testing.assert_array_equal(Model(x, y)(X).numpy(), 2 * X)
    assert y.shape == (None, 6)


def test_lengths_that_are_not_known():
    x = keras.Input((None,), dtype="int32")
    h = L.Embedding(10, 4)(x)
    assert h.shape == (None, None, 4)
    y = L.LSTM(3)(h)
    assert y.shape == (None, 3)
    model = Model(x, y)
    assert model(np.zeros((2, 5), np.int32)).shape == model(np.zeros((2, 9), np.int32)).shape


def test_freezing_layers_at_any_time():
    model = Sequential([L.Dense(4, input_shape=(6,)), L.BatchNormalization(), L.Dense(1)])
    assert (len(model.trainable_weights), len(model.non_trainable_weights)) == (6, 2)
    model.layers[0].trainable = False
    assert (len(model.trainable_weights), len(model.non_trainable_weights)) == (4, 4)
    frozen = model.layers[0].get_weights()
    model.compile("sgd", "mse")
    model.fit(X, X.sum(axis=1), verbose=0)
    np.testing.assert_array_equal(model.layers[0].get_weights()[0], frozen[0])
    model.trainable = False
    assert not model.trainable_weights
    model.trainable = True
    model.fit(X, X.sum(axis=1), verbose=0)
    assert (model.layers[0].get_weights()[0] != frozen[0]).any()


def test_weights_are_set_all_or_none():
    model = Sequential([L.Dense(4, input_shape=(6,)), L.Dense(1)])
    before = model.get_weights()
    wrong = [np.ones_like(w) for w in before]
    wrong[-1] = np.ones(2, np.float32)
    with pytest.raises(gt.errors.ShapeError, match="weight 3 of"):
        model.set_weights(wrong)
    with pytest.raises(ValueError, match="has 4 weights, 1 were given"):
        model.set_weights(wrong[:1])
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    model.set_weights([np.ones_like(w) for w in before])
    assert all((w == 1).all() for w in model.get_weights())


def test_layers_that_are_built_are_not_built_again():
    model = Sequential([L.Dense(4, input_shape=(6,)), L.Dense(1)])
    weights = model.get_weights()
    part = Sequential(model.layers[:1])
    part.build((6,))
    model.build((None, 6))
    for a, b in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert part.layers[0] is model.layers[0]


def test_an_error_names_the_layer_that_there_is_not():
    with pytest.raises(ValueError, match=r"no layer is named 'third'; there are x, y"):
        two_ways().get_layer("third")


# Files


def whole_house():
    """A model of many kinds of layers."""
    x = keras.Input((8, 8, 3), name="picture")
    words = keras.Input((5,), dtype="int32", name="words")
    h = L.Conv2D(4, 3, activation="relu", kernel_regularizer="l2", padding="same")(x)
    h = L.MaxPooling2D()(L.BatchNormalization()(h))
    h = L.SeparableConv2D(4, 3)(h)
    h = L.Conv2DTranspose(2, 3, strides=2, padding="same")(h)
    h = L.Flatten()(L.LayerNormalization()(h))
    e = L.Bidirectional(L.LSTM(2, return_sequences=True))(L.Embedding(10, 3)(words))
    e = L.GRU(3)(L.SimpleRNN(3, return_sequences=True)(e))
    r = L.Reshape((3, 1))(e)
    a = L.Flatten()(L.MultiHeadAttention(2, 3)(r, r))
    y = L.Dropout(0.2)(L.Concatenate()([h, e, a]))
    y = L.PReLU()(L.Dense(4, kernel_initializer="he_normal", use_bias=False)(y))
    out = L.Dense(2, activation="softmax", name="out")(y)
    inner = Sequential([L.Dense(3, input_shape=(2,)), L.LeakyReLU(), L.Dense(2)])
    return Model([x, words], [out, inner(out)])


PICTURES = RNG.standard_normal((3, 8, 8, 3)).astype(np.float32)
WORDS = RNG.integers(0, 10, (3, 5)).astype(np.int32)


def outputs(model):
    return [t.detach().numpy() for t in model([PICTURES, WORDS])]


@pytest.mark.parametrize("ending", [".keras", ".h5", ".safetensors"])
def test_a_model_comes_back_from_a_file(tmp_path, ending):
    if ending != ".safetensors":
        pytest.importorskip("h5py")
    model = whole_house()
    model.save(tmp_path / f"m{ending}")
    again = load_model(tmp_path / f"m{ending}")
    for a, b in zip(outputs(again), outputs(model), strict=True):
        np.testing.assert_array_equal(a, b)
    assert os.listdir(tmp_path) == [f"m{ending}"]
    with pytest.raises(FileExistsError):
        model.save(tmp_path / f"m{ending}", overwrite=False)


@pytest.mark.parametrize("ending", [".weights.h5", ".h5", ".safetensors"])
def test_weights_come_back_from_a_file(tmp_path, ending):
    if ending != ".safetensors":
        pytest.importorskip("h5py")
    model, other = whole_house(), whole_house()
    model.save_weights(tmp_path / f"w{ending}")
    other.load_weights(tmp_path / f"w{ending}")
    for a, b in zip(outputs(other), outputs(model), strict=True):
        np.testing.assert_array_equal(a, b)
    small = Sequential([L.Dense(3, input_shape=(2,))])
    before = small.get_weights()
    with pytest.raises(gt.errors.ShapeError):
        small.load_weights(tmp_path / f"w{ending}")
    np.testing.assert_array_equal(small.get_weights()[0], before[0])


def test_an_architecture_comes_back_from_json():
    model = whole_house()
    again = model_from_json(model.to_json())
    assert [w.shape for w in again.weights] == [w.shape for w in model.weights]
    again.set_weights(model.get_weights())
    for a, b in zip(outputs(again), outputs(model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_settings_made_later_and_dtypes_come_back():
    dense, leaky = L.Dense(2, "relu", dtype="float64"), L.LeakyReLU(negative_slope=0.1)
    dense.activation = keras.activations.get("linear")
    dense.kernel_regularizer = keras.regularizers.L2(0.5)
    leaky.negative_slope = 0.3
    model = Sequential([L.Input((3,)), dense, leaky])
    again = clone_model(model)
    assert [w.dtype for w in again.weights] == [np.float64] * 2
    again.set_weights(model.get_weights())
    x = np.float64([[-1.0, 2.0, -3.0]])
    np.testing.assert_array_equal(again(x).numpy(), model(x).numpy())
    (loss,) = again.losses  # as in Keras, a penalty set on a layer counts once it is made again
    assert float(loss.item()) == pytest.approx(0.5 * (model.get_weights()[0] ** 2).sum())
    assert "activation" not in L.Dense(2).get_config()


def test_a_configuration_makes_new_layers():
    class Stack(Sequential):
        pass

    class Wide(Sequential):
        def __init__(self, units, **kwargs):
            super().__init__([L.Dense(units)], **kwargs)

    given = L.Input((3,))
    models = [Model(given, L.Dense(2)(given)), Wide(2)]
    models += [kind([L.Dense(2, input_shape=(3,))]) for kind in (Sequential, Stack)]
    models += [L.TimeDistributed(L.Dense(2)), L.Bidirectional(L.GRU(2))]
    for model in models:
        again = type(model).from_config(model.get_config())
        assert type(again) is type(model)
        mine, its = (list(m.modules()) for m in (model, again))
        assert len(mine) == len(its) > 1
        assert not set(map(id, mine)) & set(map(id, its))
        assert [w.shape for w in again.weights] == [w.shape for w in model.weights]


def test_a_copy_of_a_graph_computes_the_same():
    model = two_ways()
    expected = model.predict([X, X], verbose=0)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        for a, b in zip(again.predict([X, X], verbose=0), expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_several_cells_in_a_row_come_back(tmp_path):
    model = Sequential([L.Input((5, 2)), L.RNN([L.LSTMCell(3), L.GRUCell(4)])])
    model.save(tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    x = RNG.standard_normal((2, 5, 2)).astype(np.float32)
    np.testing.assert_array_equal(again(x).numpy(), model(x).numpy())


def test_what_is_code_is_not_saved(tmp_path):
    model = Sequential([L.Lambda(lambda x: x, input_shape=(3,))])
    with pytest.raises(TypeError, match="its function is code"):
        model.save(tmp_path / "m.safetensors")
    text = json.dumps({"class_name": "Lambda", "config": {}})
    with pytest.raises(ValueError, match="not run"):
        model_from_json(text)
    with pytest.raises(ValueError, match="the layer Own is not known; give its class"):
        model_from_json(json.dumps({"class_name": "Own", "config": {}}))


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_model(tmp_path / "m.keras")
    with pytest.raises(ValueError, match=r"must end in .keras, .h5 or .safetensors"):
        Sequential([L.Dense(1, input_shape=(2,))]).save(tmp_path / "m.pkl")


@pytest.mark.peers
def test_keras_itself_reads_and_writes_the_files(tmp_path):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    pytest.importorskip("torch")
    theirs = pytest.importorskip("keras")
    model = whole_house()
    model.compile("adam", "mse")
    model.save(tmp_path / "ours.keras")
    other = theirs.models.load_model(tmp_path / "ours.keras")
    inputs = [theirs.ops.convert_to_tensor(a) for a in (PICTURES, WORDS)]
    expected = [theirs.ops.convert_to_numpy(t) for t in other(inputs)]
    for a, b in zip(outputs(model), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    other.set_weights([w + 0.01 * RNG.random(w.shape) for w in other.get_weights()])
    other.save(tmp_path / "theirs.keras")
    back = load_model(tmp_path / "theirs.keras")
    expected = [theirs.ops.convert_to_numpy(t) for t in other(inputs)]
    for a, b in zip(outputs(back), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("ending", [".keras", ".safetensors"])
def test_how_a_model_was_compiled_comes_back(tmp_path, ending):
    if ending == ".keras":
        pytest.importorskip("h5py")
    model = Sequential([L.Dense(1, input_shape=(6,))])
    model.compile(keras.optimizers.SGD(0.25, momentum=0.5), "mae", metrics=["mse"])
    model.save(tmp_path / f"m{ending}")
    again = load_model(tmp_path / f"m{ending}")
    assert float(again.optimizer.learning_rate) == 0.25
    assert again.optimizer.momentum == 0.5
    y = X.sum(axis=1)
    assert again.evaluate(X, y, verbose=0) == model.evaluate(X, y, verbose=0)
    again.fit(X, y, verbose=0)


@pytest.mark.parametrize("ending", [".keras", ".h5", ".safetensors"])
def test_losses_metrics_and_schedules_come_back_with_their_settings(tmp_path, ending):
    if ending != ".safetensors":
        pytest.importorskip("h5py")
    model = Sequential([L.Dense(1, activation="sigmoid", input_shape=(6,))])
    rate = keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.9)
    loss = keras.losses.BinaryCrossentropy(label_smoothing=0.2)
    measures = keras.metrics
    own = [measures.BinaryAccuracy(threshold=0.9), measures.AUC(), keras.losses.Huber(0.1)]
    own += [measures.Precision(), measures.PrecisionAtRecall(0.5), measures.mse, "acc"]
    model.compile(keras.optimizers.SGD(rate), loss, metrics=own, weighted_metrics=["mae"])
    y = (X[:, :1] > 0).astype(np.float32)
    model.fit(X, y, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.save(tmp_path / f"m{ending}")
        again = load_model(tmp_path / f"m{ending}")
    found = again.evaluate(X, y, verbose=0, return_dict=True)
    assert found == model.evaluate(X, y, verbose=0, return_dict=True)
    assert len(found) == 9
    again.fit(X, y, verbose=0)
    assert again.optimizer.get_config() == model.optimizer.get_config()


def test_a_loss_of_the_users_own_is_said_not_to_be_saved(tmp_path):
    model = Sequential([L.Dense(1, input_shape=(6,))])
    model.compile("sgd", lambda y_true, y_pred: (y_true - y_pred) ** 2)
    with pytest.warns(UserWarning, match="how the model was compiled is not in the file"):
        model.save(tmp_path / "m.safetensors")
    assert load_model(tmp_path / "m.safetensors").optimizer is None


@pytest.mark.peers
def test_keras_and_we_read_losses_metrics_and_schedules(tmp_path):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    pytest.importorskip("torch")
    theirs = pytest.importorskip("keras")

    def compiled(k):
        model = k.Sequential([k.layers.Input((6,)), k.layers.Dense(1, activation="sigmoid")])
        rate = k.optimizers.schedules.ExponentialDecay(0.5, 10, 0.9)
        own = [k.metrics.BinaryAccuracy(threshold=0.9), k.metrics.AUC(), k.metrics.Precision()]
        loss = k.losses.BinaryCrossentropy(label_smoothing=0.2)
        model.compile(k.optimizers.SGD(rate), loss, metrics=own, weighted_metrics=["mae"])
        model.fit(X, y, verbose=0)
        return model

    y = (X[:, :1] > 0).astype(np.float32)
    for first, other in ((theirs, keras), (keras, theirs)):
        model = compiled(first)
        model.save(tmp_path / "m.keras")
        again = other.models.load_model(tmp_path / "m.keras")
        again.fit(X, y, verbose=0, shuffle=False)
        model.fit(X, y, verbose=0, shuffle=False)
        found, expected = (m.evaluate(X, y, verbose=0, return_dict=True) for m in (again, model))
        assert found == pytest.approx(expected, rel=1e-4)


def test_several_inputs_and_outputs_are_trained():
    model = two_ways()
    model.compile("adam", ["mse", "sparse_categorical_crossentropy"], metrics=[["mae"], ["acc"]])
    y, labels = X.sum(axis=1), RNG.integers(0, 3, 40)
    history = model.fit([X, X], [y, labels], epochs=30, verbose=0).history
    assert {"loss", "first_loss", "second_loss", "first_mae", "second_acc"} <= history.keys()
    assert history["loss"][-1] < history["loss"][0]
    assert [p.shape for p in model.predict([X, X], verbose=0)] == [(40, 1), (40, 3)]


def test_penalties_are_part_of_the_loss():
    model = Sequential([L.Dense(1, kernel_regularizer="l2", input_shape=(6,))])
    model.compile("sgd", "mse")
    (kernel, bias), y = model.get_weights(), X.sum(axis=1)
    expected = np.mean((X @ kernel + bias - y[:, None]) ** 2) + 0.01 * np.sum(kernel**2)
    assert model.evaluate(X, y, verbose=0) == pytest.approx(expected, rel=1e-5)
    assert float(model.losses[0].item()) == pytest.approx(0.01 * np.sum(kernel**2), rel=1e-5)


OPTIMIZERS = [
    ("SGD", {"learning_rate": 0.1}),
    ("SGD", {"momentum": 0.9}),
    ("RMSprop", {"momentum": 0.9, "centered": True}),
    ("Adam", {}),
    ("Adam", {"amsgrad": True}),
    ("AdamW", {}),
    ("Adamax", {}),
    ("Nadam", {}),
    ("Adagrad", {}),
    ("Adadelta", {}),
    ("Lion", {}),
    ("Muon", {}),
    ("Adam", {"use_ema": True}),
    ("SGD", {"momentum": 0.9, "use_ema": True}),
    ("Ftrl", {}),
    ("Lamb", {}),
    ("Adafactor", {"learning_rate": 0.1}),
    ("SGD", {"momentum": 0.9, "gradient_accumulation_steps": 3}),
    ("Adam", {"gradient_accumulation_steps": 3}),
]


def small(library, name, settings):
    model = library.Sequential(
        [
            library.Input((6,)),
            library.layers.Dense(4, activation="tanh"),
            library.layers.BatchNormalization(),
            library.layers.Dense(1),
        ]
    )
    model.compile(getattr(library.optimizers, name)(**settings), "mse")
    return model


def trained(model, steps=5):
    for i in range(steps):
        rows = slice(8 * i, 8 * i + 8)
        model.train_on_batch(X[rows], X[rows, :1])
    return model


def weights_of(model):
    return [np.asarray(w, np.float32) for w in model.get_weights()]


@pytest.mark.parametrize(("name", "settings"), OPTIMIZERS)
@pytest.mark.parametrize(
    "ending", [".keras", ".h5", ".safetensors", ".weights.h5", ".weights.safetensors"]
)
def test_the_state_of_an_optimizer_comes_back(tmp_path, name, settings, ending):
    if not ending.endswith(".safetensors"):
        pytest.importorskip("h5py")
    model = trained(small(keras, name, settings))
    path = tmp_path / f"m{ending}"
    if ".weights" not in ending:
        model.save(path)
        again = load_model(path)
    else:
        model.save_weights(path)
        again = small(keras, name, settings)
        again.load_weights(path)
    assert again.optimizer.iterations == 5 // settings.get("gradient_accumulation_steps", 1)
    for a, b in zip(weights_of(trained(again, 2)), weights_of(trained(model, 2)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.peers
@pytest.mark.parametrize(("name", "settings"), OPTIMIZERS)
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_keras_and_we_take_over_the_state_of_optimizers(tmp_path, name, settings, ending):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    pytest.importorskip("torch")
    theirs = pytest.importorskip("keras")
    ours = trained(small(keras, name, settings))
    ours.save(tmp_path / "ours.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        other = theirs.models.load_model(tmp_path / "ours.keras")
    trained(other, 3)
    trained(ours, 3)
    for a, b in zip(weights_of(ours), weights_of(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)
    if (name, ending) == ("Adafactor", ".h5"):
        return  # Keras gives two of its arrays one name there, and fails
    other.save(tmp_path / f"theirs{ending}")
    back = load_model(tmp_path / f"theirs{ending}")
    assert back.optimizer.iterations == 8 // settings.get("gradient_accumulation_steps", 1)
    for a, b in zip(weights_of(trained(back, 2)), weights_of(trained(other, 2)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


def test_a_state_that_is_not_saved_is_told(tmp_path):
    pytest.importorskip("h5py")

    class Mine(keras.optimizers.SGD):
        pass

    model = small(keras, "SGD", {})
    model.compile(Mine(0.1), "mse")
    with pytest.warns(UserWarning, match="state of the optimizer, Mine, is not in the file"):
        trained(model).save(tmp_path / "m.keras")


@pytest.mark.parametrize("ending", [".keras", ".h5", ".safetensors"])
def test_the_state_of_the_optimizer_is_in_every_file_of_a_model(tmp_path, ending):
    if ending != ".safetensors":
        pytest.importorskip("h5py")
    model = trained(small(keras, "Adam", {}))
    model.save(tmp_path / f"m{ending}")
    again = load_model(tmp_path / f"m{ending}")
    mine, theirs = (m.optimizer.engine.state_dict() for m in (model, again))
    for key in mine.keys() - {"random"}:
        np.testing.assert_array_equal(theirs[key], mine[key])
    assert again.optimizer.iterations == model.optimizer.iterations > 0


@pytest.mark.parametrize("ending", [".weights.h5", ".h5", ".safetensors"])
def test_weights_that_would_be_left_over_are_refused(tmp_path, ending):
    if ending != ".safetensors":
        pytest.importorskip("h5py")
    Sequential([L.Dense(3, input_shape=(2,)), L.Dense(4)]).save_weights(tmp_path / f"w{ending}")
    fewer = Sequential([L.Dense(3, input_shape=(2,))])
    before = fewer.get_weights()
    with pytest.raises(gt.errors.ShapeError, match=r"weights"):
        fewer.load_weights(tmp_path / f"w{ending}")
    other = Sequential([L.Dense(3, input_shape=(2,)), L.Dense(5)])
    first = other.get_weights()
    with pytest.raises(gt.errors.ShapeError):
        other.load_weights(tmp_path / f"w{ending}")
    for a, b in zip([*fewer.get_weights(), *other.get_weights()], [*before, *first], strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=r"is not built yet; call it, or build\(input_shape\)"):
        Sequential([L.Dense(3), L.Dense(4)]).load_weights(tmp_path / f"w{ending}")


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("change", ["cut off", "altered"])
def test_a_damaged_file_is_named(tmp_path, ending, change):
    pytest.importorskip("h5py")
    path = tmp_path / f"m{ending}"
    Sequential([L.Dense(3, input_shape=(2,))]).save(path)
    raw = bytearray(path.read_bytes())
    if change == "cut off":
        raw = raw[:500]
    else:
        raw[: len(raw) // 2] = bytes(len(raw) // 2)
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=rf"m\{ending}: it is damaged, or no model of Keras"):
        load_model(path)


@pytest.mark.parametrize("ending", [".keras", ".h5", ".safetensors"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_weights_come_back_in_their_dtype(tmp_path, ending, dtype):
    pytest.importorskip("ml_dtypes")
    if ending != ".safetensors":
        pytest.importorskip("h5py")
    model = Sequential([keras.Input((2,)), L.Dense(3, dtype=dtype)])
    model.save(tmp_path / f"m{ending}")
    found = load_model(tmp_path / f"m{ending}").get_weights()
    assert {value.dtype.name for value in found} == {dtype}
    for a, b in zip(model.get_weights(), found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_model_of_float64_is_one_where_float32_is_the_default(tmp_path):
    keras.backend.set_floatx("float64")
    try:
        model = Sequential([L.Dense(3, input_shape=(2,))])
        model.save(tmp_path / "m.safetensors")
    finally:
        keras.backend.set_floatx("float32")
    weight, _ = load_model(tmp_path / "m.safetensors").get_weights()
    assert weight.dtype == np.float64
    np.testing.assert_array_equal(weight, model.get_weights()[0])


def test_a_state_that_does_not_fit_the_optimizer_is_told(tmp_path):
    pytest.importorskip("h5py")
    trained(small(keras, "Adam", {})).save_weights(tmp_path / "m.weights.h5")
    other = small(keras, "SGD", {})
    with pytest.warns(UserWarning, match="its optimizer is not taken over, it does not fit"):
        other.load_weights(tmp_path / "m.weights.h5")


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.DepthwiseConv1D(2),
        keras.layers.DepthwiseConv2D(3, depth_multiplier=2),
        keras.layers.GroupQueryAttention(2, 4, 2),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_what_a_base_class_is_given_is_no_setting_of_a_layer(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert not {"filters", "num_heads", "key_dim"} & layer.get_config().keys()


class Endpoint(L.Layer):
    """A layer that has targets among its inputs, and a loss and a metric of its own."""

    def __init__(self):
        super().__init__()
        self.right = keras.metrics.BinaryAccuracy(name="right")

    def call(self, values, targets=None):
        if targets is not None:
            self.add_loss(keras.losses.BinaryCrossentropy()(targets, values))
            self.right.update_state(targets, values)
        return values


class WithEndpoint(Model):
    def __init__(self):
        super().__init__()
        self.dense = L.Dense(1, activation="sigmoid")
        self.end = Endpoint()

    def call(self, inputs):
        return self.end(targets=inputs["y"], values=self.dense(inputs["x"]))


@pytest.mark.parametrize("graph", [False, True])
def test_metrics_that_layers_update_are_told(graph):
    y = (X[:, :1] > 0).astype(np.float32)
    if graph:
        x, target = keras.Input((6,), name="x"), keras.Input((1,), name="y")
        model = Model([x, target], Endpoint()(L.Dense(1, activation="sigmoid")(x), target))
    else:
        model = WithEndpoint()
    model.compile("adam")
    history = model.fit({"x": X, "y": y}, epochs=2, verbose=0).history
    assert list(history) == ["loss", "right"]
    found = model.evaluate({"x": X, "y": y}, verbose=0, return_dict=True)
    predicted = model.predict({"x": X, "y": y}, verbose=0)
    assert found["right"] == pytest.approx(((predicted > 0.5) == y).mean())
    assert model.metrics_names == ["loss", "right"]


def test_a_layer_that_is_called_by_keyword_alone_is_built():
    layer = L.Dense(3)
    assert layer(x=X).shape == (40, 3)
    np.testing.assert_array_equal(layer(x=X).detach().numpy(), layer(X).detach().numpy())


@pytest.mark.parametrize("metrics", [[], ["mae"], ["mae", keras.metrics.RootMeanSquaredError()]])
def test_a_model_tells_what_it_measured_last(metrics):
    model = Sequential([L.Dense(1, input_shape=(6,))])
    assert model.metrics == []
    model.compile("sgd", "mse", metrics=metrics)
    y = X.sum(axis=1)
    assert set(model.get_metrics_result().values()) == {0.0}
    for run in (
        lambda: model.evaluate(X, y, verbose=0, return_dict=True),
        lambda: model.train_on_batch(X, y, return_dict=True),
        lambda: {k: v[-1] for k, v in model.fit(X, y, verbose=0).history.items()},
    ):
        found = run()
        assert model.get_metrics_result() == found
        assert {m.name: float(m.result()) for m in model.metrics} == pytest.approx(found)
    for metric in model.metrics:
        metric.reset_state()
    assert [float(m.result()) for m in model.metrics] == [0.0] * (1 + len(metrics))
    model.reset_metrics()
    assert set(model.get_metrics_result()) == set(model.metrics_names)
    assert set(model.get_metrics_result().values()) == {0.0}


def operators(door):
    """A graph of operators between its layers, with numbers on both sides."""
    x = door.Input((6,))
    z = door.layers.Dense(6)(x)
    rest = 1 - z
    rest = 2.0 / (3 + rest * rest) + 2 * z - 0.5 * (z > 0.1) * z
    rest = rest + 2 ** (-abs(z)) + z % 0.5
    last = rest[:, ::2] * rest[..., 1:4] + rest[:, 0:1]
    return door.Model(x, last)


def test_numbers_of_numpy_may_stand_before_what_has_no_values():
    x = keras.Input((6,))
    for y in (np.float32(2) * x, np.full(6, 2, np.float32) * x):
        np.testing.assert_array_equal(Model(x, y)(X).numpy(), 2 * X)


@pytest.mark.parametrize("ending", [".keras", ".safetensors"])
def test_operators_with_numbers_on_either_side_come_back_from_a_file(tmp_path, ending):
    if ending == ".keras":
        pytest.importorskip("h5py")
    model = operators(keras)
    model.save(tmp_path / f"m{ending}")
    for again in (load_model(tmp_path / f"m{ending}"), clone_model(model)):
        again.set_weights(model.get_weights())
        np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))


@pytest.mark.peers
def test_keras_and_we_read_graphs_of_operators(tmp_path):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    pytest.importorskip("torch")
    theirs = pytest.importorskip("keras")
    for one, other in ((keras, theirs), (theirs, keras)):
        model = operators(one)
        model.save(tmp_path / "m.keras")
        again = other.models.load_model(tmp_path / "m.keras")
        np.testing.assert_allclose(
            again.predict(X, verbose=0), model.predict(X, verbose=0), rtol=1e-4, atol=1e-5
        )


def test_a_regularizer_set_later_counts_and_is_saved(tmp_path):
    model = Sequential([L.Dense(4, kernel_regularizer="l1", input_shape=(6,))])
    model.compile("sgd", "mse")
    y = np.zeros((40, 4), np.float32)
    kernel = model.layers[0].kernel.detach().numpy()
    plain = np.mean((X @ kernel) ** 2)
    assert model.evaluate(X, y, verbose=0) == pytest.approx(plain + 0.01 * np.abs(kernel).sum())
    model.layers[0].kernel_regularizer = keras.regularizers.L2(0.5)
    assert model.evaluate(X, y, verbose=0) == pytest.approx(plain + 0.5 * np.sum(kernel**2))
    again = model_from_json(model.to_json())
    assert again.layers[0].kernel_regularizer.l2 == 0.5
    model.layers[0].kernel_regularizer = None
    assert model.evaluate(X, y, verbose=0) == pytest.approx(plain)
    model.fit(X, y, verbose=0)
    assert model.losses == []
    layer = L.Conv2D(2, 3)
    layer.bias_regularizer = "l2"
    layer.build((None, 8, 8, 1))
    assert len(layer.losses) == 1


def test_a_setting_that_would_have_no_effect_later_is_refused():
    layer = L.Dense(3, kernel_initializer="zeros")
    assert type(layer.kernel_initializer) is keras.initializers.Zeros
    with pytest.raises(AttributeError, match="kernel_initializer is given to the constructor"):
        layer.kernel_initializer = "ones"
    with pytest.raises(AttributeError, match="kernel_regularizer is given to the constructor"):
        L.MultiHeadAttention(2, 4).kernel_regularizer = "l2"


def test_settings_of_a_cell_are_those_of_its_layer():
    layer = L.LSTM(3, dropout=0.5)
    assert layer.dropout == 0.5
    layer.dropout = 0.0
    layer.recurrent_regularizer = keras.regularizers.L1(1.0)
    found = layer(X.reshape(40, 2, 3), training=True).detach().numpy()
    np.testing.assert_array_equal(found, layer(X.reshape(40, 2, 3)).detach().numpy())
    expected = np.abs(layer.cell.recurrent_kernel.detach().numpy()).sum()
    assert float(layer.losses[0].detach()) == pytest.approx(expected)


@pytest.mark.peers
def test_a_last_axis_of_one_may_lack_or_be_too_much_as_in_keras():
    os.environ.setdefault("KERAS_BACKEND", "torch")
    pytest.importorskip("torch")
    theirs = pytest.importorskip("keras")
    shapes = []
    for door in (keras, theirs):
        a, b = door.Input((4, 5, 1)), door.Input((5,))
        model = door.Model([a, b], [door.layers.Conv2D(2, 2)(a), door.layers.Dense(3)(b)])
        x = np.ones((7, 4, 5), np.float32), np.ones((7, 5, 1), np.float32)
        shapes.append([out.shape for out in model.predict(list(x), verbose=0)])
        model.compile("sgd", ["mse", "mse"])
        y = np.zeros((7, 3, 4, 2), np.float32), np.zeros((7, 3), np.float32)
        model.fit(list(x), list(y), verbose=0)
    assert shapes[0] == shapes[1] == [(7, 3, 4, 2), (7, 3)]


def test_parts_of_keras_ops_have_its_functions():
    x = keras.Input((6,))
    model = Model(x, keras.ops.nn.relu(keras.ops.numpy.negative(x)))
    np.testing.assert_array_equal(model.predict(X, verbose=0), np.maximum(-X, 0))
