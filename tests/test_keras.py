"""The Keras door: the well-known script, fit's options, bad input."""

import warnings

import numpy as np
import pytest

import gputensor as gt
from gputensor import keras
from gputensor.keras import callbacks
from gputensor.keras.layers import Dense, Dropout, Flatten, Input, Rescaling
from gputensor.keras.losses import categorical_crossentropy
from gputensor.keras.models import Sequential
from gputensor.keras.optimizers import SGD, Adam, AdamW


def digits(samples=300, classes=4, seed=0):
    """Images that are easy to tell apart, and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples).astype(np.uint8)
    images = rng.integers(0, 60, (samples, 6, 6), dtype=np.uint8)
    images[np.arange(samples), labels] += 180
    return images, labels


def model(loss="sparse_categorical_crossentropy", seed=3, metrics=("accuracy",), optimizer="adam"):
    gt.manual_seed(seed)
    built = Sequential(
        [
            Rescaling(1 / 255, input_shape=(6, 6)),
            Flatten(),
            Dense(16, activation="relu"),
            Dense(4, activation="softmax"),
        ]
    )
    built.compile(optimizer, loss, list(metrics))
    return built


X, Y = digits()


def test_the_script_of_the_article_runs_and_learns():
    x_train, y_train = X / 255, Y
    gt.manual_seed(0)
    network = Sequential()
    network.add(Dense(32, activation="relu", input_shape=(36,)))
    network.add(Dense(4, activation="softmax"))
    network.compile(optimizer=Adam(lr=0.001), loss=categorical_crossentropy, metrics=["accuracy"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = network.fit(x_train, y_train, epochs=10, batch_size=16, verbose=0)
        out = network.predict(x_train)
        network.fit(x_train, y_train, verbose=0)
    texts = [str(w.message) for w in caught]
    assert len(texts) == 2
    assert "x.reshape(-1, 36)" in texts[0]
    assert "sparse_categorical_crossentropy" in texts[1]
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
    assert out.shape == (300, 4)
    np.testing.assert_allclose(out.sum(axis=1), 1, rtol=1e-5)
    assert (out.argmax(axis=1) == Y).mean() > 0.95


@pytest.mark.parametrize("kind", [Adam, AdamW, SGD])
def test_both_names_of_the_learning_rate(kind):
    assert kind(lr=0.2).learning_rate == kind(learning_rate=0.2).learning_rate == 0.2
    with pytest.raises(TypeError, match="lr and learning_rate are the same"):
        kind(lr=0.2, learning_rate=0.2)
    with pytest.raises(TypeError, match="learning_speed"):
        kind(learning_speed=1)


def test_unknown_keywords_are_named():
    with pytest.raises(TypeError, match="unit"):
        Dense(3, unit=3)
    with pytest.raises(TypeError, match="batch"):
        model().fit(X, Y, batch=3)


def test_history_validation_and_seconds():
    history = model().fit(X, Y, epochs=3, verbose=0, validation_data=digits(seed=1))
    assert history.epoch == [0, 1, 2]
    names = {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert len(history.seconds) == 3
    assert set(history.history) == names
    assert all(len(v) == 3 for v in history.history.values())


def test_validation_split_takes_the_end():
    network = model()
    history = network.fit(X, Y, verbose=0, validation_split=0.2)
    scores = network.evaluate(X[240:], Y[240:], return_dict=True)
    assert history.history["val_loss"][0] == pytest.approx(scores["loss"], rel=1e-6)
    assert history.history["val_accuracy"][0] == pytest.approx(scores["accuracy"])


@pytest.mark.parametrize(("verbose", "lines"), [(0, 0), (1, 2), (2, 2), ("auto", 2)])
def test_verbose(verbose, lines, capsys):
    model().fit(X, Y, epochs=2, verbose=verbose)
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == lines
    assert ("loss" in printed.out) == bool(lines)
    assert not [line for line in printed.err.splitlines() if "Numba" not in line]


@pytest.mark.parametrize("verbose", [0, 2])
def test_ctrl_c_says_how_to_go_on_where_nothing_is_saved(verbose, capsys):
    class Interrupt(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    network = model()
    with pytest.raises(KeyboardInterrupt):
        network.fit(X, Y, epochs=3, callbacks=[Interrupt()], shuffle=False, verbose=verbose)
    said = capsys.readouterr().out.replace("\n", " ")
    assert ("Interrupted in epoch 2 of 3." in said) == bool(verbose)
    assert ("the same fit with initial_epoch=1 goes on" in said) == bool(verbose)
    rest = network.fit(X, Y, epochs=3, initial_epoch=1, shuffle=False, verbose=0)
    whole = model().fit(X, Y, epochs=3, shuffle=False, verbose=0)
    assert rest.history["loss"] == whole.history["loss"][1:]


def test_evaluate_agrees_with_predict():
    network = model()
    network.fit(X, Y, epochs=2, verbose=0)
    p = network.predict(X, batch_size=7)
    loss, accuracy = network.evaluate(X, Y, batch_size=11)
    assert accuracy == pytest.approx((p.argmax(1) == Y).mean())
    assert loss == pytest.approx(-np.log(p[np.arange(300), Y]).mean(), rel=1e-4)
    assert isinstance(model(metrics=()).evaluate(X, Y), float)


def test_equal_seeds_give_equal_bits_and_others_do_not():
    weights = []
    for seed in (1, 1, 2):
        network = model(seed=seed)
        network.fit(X, Y, epochs=2, verbose=0)
        weights.append(network.state_dict()["2.weight"])
    np.testing.assert_array_equal(weights[0], weights[1])
    assert (weights[0] != weights[2]).any()


def test_without_shuffle_order_counts_not_the_seed():
    found = []
    for seed in (1, 2):
        network = model(seed=5)
        gt.manual_seed(seed)
        network.fit(X, Y, shuffle=False, verbose=0)
        found.append(network.state_dict()["2.weight"])
    np.testing.assert_array_equal(*found)


def test_integer_images_are_scaled_as_floats_are():
    first = model().fit(X, Y, verbose=0).history["loss"]
    unscaled = model()
    unscaled.layers[0].scale = 1.0
    second = unscaled.fit(X.astype(np.float32) / 255, Y, verbose=0).history["loss"]
    assert first == pytest.approx(second, rel=1e-4)


def test_one_hot_rows_and_labels_train_alike():
    first = model().fit(X, Y, epochs=2, verbose=0).history
    hot = keras.utils.to_categorical(Y)
    second = model("categorical_crossentropy").fit(X, hot, epochs=2, verbose=0).history
    assert first["loss"] == pytest.approx(second["loss"], rel=1e-4)
    assert first["accuracy"] == second["accuracy"]


def test_softmax_and_loss_are_fused_without_changing_the_result():
    network = model()
    fused = network.evaluate(X, Y, return_dict=True)
    logits = model(keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    logits.layers[-1].activation = None
    assert network._fused
    assert not logits._fused
    assert fused["loss"] == pytest.approx(logits.evaluate(X, Y, return_dict=True)["loss"])
    p = network.predict(X)
    each = keras.losses.sparse_categorical_crossentropy(gt.asarray(Y), gt.asarray(p))
    assert fused["loss"] == pytest.approx(each.numpy().mean(), rel=1e-5)


def test_a_loss_on_probabilities_without_softmax_learns():
    gt.manual_seed(0)
    network = Sequential([Dense(4, activation="sigmoid", input_shape=(36,))])
    network.compile(Adam(0.01), "sparse_categorical_crossentropy", ["accuracy"])
    history = network.fit(X.reshape(-1, 36) / 255, Y, epochs=8, verbose=0).history
    assert history["accuracy"][-1] > 0.9


def test_regression_learns():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 3))
    y = x @ [[1.0], [2.0], [-1.0]] + 0.5
    network = Sequential([Dense(1, input_shape=(3,))])
    network.compile(SGD(0.1, momentum=0.5), "mse", ["mse"])
    history = network.fit(x, y, epochs=20, verbose=0).history
    assert history["loss"][-1] < 1e-3
    assert history["mse"][-1] == pytest.approx(history["loss"][-1], rel=1e-4)


def test_functions_of_the_users_own_as_loss_and_metric():
    def loss(y_true, y_pred):
        return gt.mean(gt.abs(y_pred - y_true), axis=1)

    def largest(y_true, y_pred):
        return gt.max(y_pred, axis=1)

    network = Sequential([Dense(2, input_shape=(3,))])
    network.compile("sgd", loss, [largest])
    history = network.fit(np.ones((10, 3)), np.ones((10, 2)), epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert "largest" in history


def test_dropout_acts_in_training_only():
    gt.manual_seed(0)
    network = Sequential([Input((36,)), Dropout(0.5), Dense(4, activation="softmax")])
    network.compile("adam", "sparse_categorical_crossentropy")
    x = X.reshape(-1, 36)
    network.fit(x, Y, verbose=0)
    np.testing.assert_array_equal(network.predict(x), network.predict(x))


def test_the_input_shape_is_read_off_the_data():
    network = Sequential([Flatten(), Dense(4, activation="softmax")])
    network.compile("adam", "sparse_categorical_crossentropy")
    network.fit(X, Y, verbose=0)
    assert network.input_shape == (6, 6)
    assert network.count_params() == 36 * 4 + 4


def test_summary():
    lines = []
    model().summary(lines.append)
    assert lines[5].split()[1:] == ["(Dense)", "(None,", "16)", "592"]
    assert lines[-3:] == [
        "Total parameters: 660",
        "Trainable parameters: 660",
        "Non-trainable parameters: 0",
    ]


def test_strided_and_read_only_data():
    x = np.repeat(X, 2, axis=2)[:, :, ::2]
    y = np.repeat(Y, 2)[::2]
    x.flags.writeable = y.flags.writeable = False
    expected = model().fit(X, Y, verbose=0).history["loss"]
    assert model().fit(x, y, verbose=0).history["loss"] == expected


def test_nan_input_gives_a_nan_loss():
    x = X.astype(np.float32)
    x[7, 0, 0] = np.nan
    assert np.isnan(model().fit(x, Y, verbose=0).history["loss"][0])


def test_to_categorical():
    assert keras.utils.to_categorical([0, 2]).tolist() == [[1, 0, 0], [0, 0, 1]]
    with pytest.raises(gt.errors.LabelError, match="row 1 has label 2"):
        keras.utils.to_categorical([0, 2], 2)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: Sequential([Dense(2)]).fit(X, Y), gt.errors.GraphError, "not compiled"),
        (lambda: model().fit(X[:, :5], Y), gt.errors.ShapeError, r"takes samples of \(6, 6\)"),
        (lambda: model().fit(X, Y[:5]), gt.errors.ShapeError, "x has 300 samples, so must y"),
        (lambda: model().fit(X[:0], Y[:0]), gt.errors.ShapeError, "a sample or more"),
        (lambda: model().fit(X, Y + 1), gt.errors.LabelError, r"row \d+ has label 4.* 0 to 3"),
        (lambda: model().fit(X, Y + 0.5), gt.errors.DTypeError, "whole numbers"),
        (lambda: model().fit(X, np.full(300, np.nan)), gt.errors.DTypeError, "fractions or NaN"),
        (lambda: model().fit(X, np.eye(4)[Y]), gt.errors.ShapeError, "use categorical_cross"),
        (
            lambda: model("categorical_crossentropy").fit(X, np.zeros((300, 5))),
            gt.errors.ShapeError,
            r"it must be \(300, 4\)",
        ),
        (lambda: model().fit(X, Y, batch_size=0), ValueError, "batch_size is 0"),
        (lambda: model().fit(X, Y, epochs=-1), ValueError, "epochs is -1"),
        (lambda: model().fit(X, Y, verbose=3), ValueError, "verbose is 3"),
        (lambda: model().fit(X, Y, validation_split=1.0), ValueError, "validation_split is 1.0"),
        (lambda: model().fit(X, Y, validation_split=0.999), ValueError, "leaves none"),
        (lambda: model().fit(X.astype(str), Y), gt.errors.DTypeError, "x has dtype <U"),
        (lambda: model("hinges"), ValueError, "loss 'hinges' is unknown"),
        (lambda: model(metrics=["f1"]), ValueError, "metric 'f1' is unknown"),
        (lambda: model(optimizer="tiger"), ValueError, "optimizer 'tiger' is unknown"),
        (lambda: Dense(3, activation="swosh"), ValueError, "'swosh' is unknown"),
        (lambda: Dense(0), ValueError, "units is 0"),
        (lambda: Dense(3, input_shape=(0,)), gt.errors.ShapeError, "positive ints"),
        (lambda: Dropout(2.0), ValueError, "rate is 2.0"),
        (lambda: Sequential([3]), TypeError, "got int"),
        (lambda: Sequential().predict(X), gt.errors.GraphError, "no layers"),
        (lambda: model().compile("adam", "mse", "accuracy"), TypeError, r"metrics=\['accuracy'\]"),
    ],
)
def test_bad_input_is_a_clear_error(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
