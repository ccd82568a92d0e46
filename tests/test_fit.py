"""fit, evaluate and predict: what may be set on the way, callbacks, weights, streams."""

import copy
import functools
import logging
import math
import os
import pickle
import re

import numpy as np
import pytest

import gputensor as gt
from gputensor import keras
from gputensor.keras import callbacks, layers, optimizers
from gputensor.training import steps

RNG = np.random.default_rng(5)
X = RNG.normal(size=(64, 4)).astype(np.float32)
Y = (X @ RNG.normal(size=(4, 1)) + 0.1).astype(np.float32)
LABELS = (Y[:, 0] > 0).astype(np.int64)


def network(optimizer="sgd", loss="mse", metrics=(), units=(3, 1), seed=0):
    gt.manual_seed(seed)
    stack = [layers.Dense(n, activation="tanh") for n in units[:-1]]
    model = keras.Sequential([*stack, layers.Dense(units[-1])])
    model.build((4,))
    model.compile(optimizer, loss, metrics=list(metrics))
    return model


def weights(model):
    return [np.array(w) for w in model.get_weights()]


def fit(model, **options):
    return model.fit(X, Y, **({"verbose": 0, "batch_size": 16, "shuffle": False} | options))


def moved(before, after):
    return [bool((a != b).any()) for a, b in zip(before, after, strict=True)]


# What may be set at any time


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("capture", [True, False])
def test_a_frozen_layer_is_not_trained_and_a_thawed_one_is(when, capture):
    model = network("adam")
    if when == "after":
        fit(model, capture=capture)
    model.layers[0].trainable = False
    before = weights(model)
    fit(model, capture=capture)
    assert moved(before, weights(model)) == [False, False, True, True]
    model.layers[0].trainable = True
    model.layers[1].trainable = False
    before = weights(model)
    fit(model, capture=capture)
    assert moved(before, weights(model)) == [True, True, False, False]
    model.trainable = False
    before = weights(model)
    fit(model, capture=capture)
    assert moved(before, weights(model)) == [False] * 4


class Halve(callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.optimizer.learning_rate = self.model.optimizer.learning_rate / 2

    def on_train_batch_end(self, batch, logs=None):
        if batch == 1:
            self.model.optimizer.momentum = 0.5


@pytest.mark.parametrize("capture", [True, False, "auto"])
def test_settings_of_the_optimizer_count_from_the_next_step_on(capture):
    model, other = network(optimizers.SGD(0.1)), network(optimizers.SGD(0.1))
    fit(model, epochs=3, callbacks=[Halve()], capture=capture)
    step = 0
    for epoch in range(3):
        for batch in range(4):
            rows = slice(16 * batch, 16 * batch + 16)
            other.train_on_batch(X[rows], Y[rows])
            if batch == 1:
                other.optimizer.momentum = 0.5
            step += 1
        other.optimizer.learning_rate = 0.1 / 2 ** (epoch + 1)
    assert model.optimizer.iterations == step
    for a, b in zip(weights(model), weights(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_learning_rate_of_zero_moves_nothing():
    model = network("adam")
    fit(model)
    model.optimizer.learning_rate = 0.0
    before = weights(model)
    fit(model)
    assert moved(before, weights(model)) == [False] * 4


def test_the_rate_of_dropout_counts_from_the_next_step_on():
    gt.manual_seed(0)
    drop = layers.Dropout(0.5)
    model = keras.Sequential([drop, layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((64, 4), np.float32)
    model.fit(x, Y, verbose=0)
    drop.rate = 0.0
    losses = [model.evaluate(x, Y, verbose=0)]
    model.optimizer.learning_rate = 0.0
    losses.append(model.fit(x, Y, verbose=0, batch_size=64).history["loss"][0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_attributes_of_layers_that_do_not_exist_are_named():
    model = network()
    for owner, name, meant in (
        (model.layers[0], "trainible", "trainable"),
        (layers.Dropout(0.5), "p", "rate"),
        (gt.nn.Dropout(0.5), "rate", "p"),
        (model, "stop_trainning", "stop_training"),
    ):
        with pytest.raises(AttributeError, match=f"has no attribute {name}; the name is {meant}"):
            setattr(owner, name, 0)
    model.notes = "mine"

    class Own(gt.nn.Module):
        pass

    own = Own()
    own.layer1, own.layer2, own.trainning = 1, 2, 3


def test_a_metric_may_return_a_number():
    def largest(y, p):
        return float(gt.max(gt.abs(p)))

    model = network(metrics=[largest])
    found = model.evaluate(X, Y, verbose=0)
    assert found[1] == pytest.approx(abs(model.predict(X, verbose=0)).max())


# Whose Python runs


def counted(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        call.count += 1
        return function(*args, **kwargs)

    call.count = 0
    return call


def test_python_of_the_users_runs_at_each_step_and_is_named(caplog):
    expected = network("adam")
    fit(expected, epochs=5, capture=False)
    for place in ("forward", "call", "loss", "metric", "schedule", "step"):
        model = network("adam")
        if place in ("forward", "call"):
            layer = model.layers[0]
            function = counted(getattr(layer, place))
            setattr(layer, place, function)
        elif place == "loss":
            function = counted(keras.losses.mean_squared_error)
            model.compile("adam", function)
        elif place == "metric":
            function = counted(keras.metrics.mean_squared_error)
            model.compile("adam", "mse", metrics=[function])
        elif place == "schedule":
            function = counted(lambda step: step * 0 + 0.001)
            model.compile(optimizers.Adam(function), "mse")
            function.count = 0
        else:
            function = counted(model.optimizer.engine.step)
            model.optimizer.engine._held = None
            object.__setattr__(model.optimizer.engine, "step", function)
        with caplog.at_level(logging.INFO, logger="gputensor.keras"):
            caplog.clear()
            fit(model, epochs=5)
        assert function.count == 20, place
        assert len([r for r in caplog.records if r.name == "gputensor.keras"]) == 1, place
        assert "which is yours" in caplog.text
        assert re.search(r"That takes the host \S+ ms a step$", caplog.messages[0])
        for a, b in zip(weights(model), weights(expected), strict=True):
            np.testing.assert_array_equal(a, b)


def test_few_steps_on_the_cpu_are_not_recorded(caplog, monkeypatch):
    monkeypatch.setattr(steps, "_WORTH", 41)

    def loss(y, p):  # the log says that it is not captured, where that is tried
        return gt.mean((y - p) ** 2, axis=-1)

    on_cuda = gt.zeros(1).device != "cpu"
    for epochs, tried in ((13, on_cuda), (14, True)):  # of 3 steps each, and one of fewer rows
        with caplog.at_level(logging.INFO, logger="gputensor.keras"):
            caplog.clear()
            fit(network("adam", loss), epochs=epochs, batch_size=20)
        assert bool([r for r in caplog.records if r.name == "gputensor.keras"]) == tried


def test_few_batches_of_a_loader_on_the_cpu_are_not_recorded(caplog, monkeypatch):
    monkeypatch.setattr(steps, "_WORTH", 11)

    def loss(y, p):
        return gt.mean((y - p) ** 2, axis=-1)

    class Loader:
        def __init__(self, count):
            self.count = count

        def __len__(self):
            return self.count

        def __iter__(self):
            return iter([(X[:16], Y[:16])] * self.count)

    def endless():
        while True:
            yield X[:16], Y[:16]

    on_cuda = gt.zeros(1).device != "cpu"
    for x, count, tried in (
        (Loader(5), None, on_cuda),
        (Loader(6), None, True),
        (endless(), 5, on_cuda),
        (endless(), 6, True),
    ):
        with caplog.at_level(logging.INFO, logger="gputensor.keras"):
            caplog.clear()
            network("adam", loss).fit(x, epochs=2, steps_per_epoch=count, verbose=0)
        assert bool([r for r in caplog.records if r.name == "gputensor.keras"]) == tried


@pytest.mark.cpu  # the stand-in for CuPy is not the library's own
def test_what_its_author_has_captured_keeps_the_graph(caplog):
    @gt.capture
    def loss(y, p):
        return gt.mean((y - p) ** 2, axis=-1)

    model = network("adam", loss)
    with caplog.at_level(logging.INFO, logger="gputensor.keras"):
        fit(model)
    assert not [r for r in caplog.records if r.name == "gputensor.keras"]


# Building, sharing


def test_layers_that_are_built_are_not_built_again():
    model = network()
    fit(model)
    before = weights(model)
    part = keras.Sequential(model.layers[:1])
    model.build((None, 4))
    assert part.layers[0] is model.layers[0]
    for a, b in zip(weights(model), before, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(
        part.predict(X, verbose=0), np.tanh(X @ before[0] + before[1]), rtol=1e-5, atol=1e-6
    )
    fit(model)
    assert all(moved(before, weights(model)))


def test_two_compiled_models_train_the_layers_that_they_share():
    shared = layers.Dense(3, input_shape=(4,))
    one = keras.Sequential([shared, layers.Dense(1)])
    two = keras.Sequential([shared, layers.Dense(1)])
    one.compile("sgd", "mse")
    two.compile("adam", "mse")
    for model in (one, two, one):
        before = np.array(shared.get_weights()[0])
        fit(model)
        assert (before != shared.get_weights()[0]).any()


def test_a_frozen_discriminator_in_a_combined_model_stays():
    critic = keras.Sequential(
        [
            layers.Dense(4, activation="relu", input_shape=(2,)),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    critic.compile("adam", "binary_crossentropy")
    maker = keras.Sequential([layers.Dense(2, input_shape=(4,))])
    critic.trainable = False
    both = keras.Sequential([maker, critic])
    both.compile("adam", "binary_crossentropy")
    before = weights(critic), weights(maker)
    both.train_on_batch(X, np.ones((64, 1)))
    assert moved(before[0], weights(critic)) == [False] * 4
    assert all(moved(before[1], weights(maker)))
    critic.trainable = True
    critic.train_on_batch(X[:, :2], np.ones((64, 1)))
    assert any(moved(before[0], weights(critic)))


def adversaries(eager):
    gt.manual_seed(1)
    critic = keras.Sequential(
        [layers.Dense(4, activation="relu", input_shape=(2,)), layers.Dropout(0.3), layers.Dense(1)]
    )
    critic.compile("adam", "mse", metrics=["mae"], run_eagerly=eager)
    maker = keras.Sequential([layers.Dense(2, input_shape=(4,))])
    critic.trainable = False
    both = keras.Sequential([maker, critic])
    both.compile("rmsprop", "mse", run_eagerly=eager)
    return critic, maker, both


def test_single_batches_are_replayed_with_the_same_bits(monkeypatch):
    found = []
    for eager in (True, False):
        critic, maker, both = adversaries(eager)
        losses = []
        for i in range(6):
            rows = slice(8 * i, 8 * i + 8)
            critic.trainable = True
            losses += critic.train_on_batch(X[rows, :2], np.ones((8, 1)))
            losses += critic.train_on_batch(maker.predict(X[rows], verbose=0), np.zeros((8, 1)))
            critic.trainable = False
            losses.append(both.train_on_batch(X[rows], np.ones((8, 1))))
            if i == 3:
                both.optimizer.learning_rate = 0.01
        found.append((losses, weights(both), weights(critic)))
        captured = [s for m in (critic, both) for (s,) in [m._singles._made.values()]]
        for _, run in captured:
            assert bool(run._runs) != eager
            assert eager or run._runs[None].reason is None
    assert found[0][0] == found[1][0]
    for a, b in zip(found[0][1] + found[0][2], found[1][1] + found[1][2], strict=True):
        np.testing.assert_array_equal(a, b)
    twins = [copy.deepcopy(both), pickle.loads(pickle.dumps(both)), both]
    ends = []
    for twin in twins:
        gt.manual_seed(2)
        ends.append([twin.train_on_batch(X[:8], np.ones((8, 1))) for _ in range(3)])
    assert ends[0] == ends[1] == ends[2]


def test_a_layer_that_is_added_later_is_trained():
    model = network(units=(1,))
    fit(model)
    model.add(layers.Dense(1))
    before = weights(model)
    fit(model)
    assert all(moved(before, weights(model)))


def test_copies_of_compiled_models_train_apart():
    model = network("adam")
    fit(model)
    other = copy.deepcopy(model)
    before = weights(model)
    fit(other)
    assert not any(moved(before, weights(model)))
    fit(model)
    for a, b in zip(weights(model), weights(other), strict=True):
        np.testing.assert_array_equal(a, b)


# Callbacks


def test_the_order_in_which_callbacks_are_called():
    calls = []
    names = [
        n
        for n in dir(callbacks.Callback)
        if n.startswith("on_") and "batch" not in n and "predict" not in n
    ]
    told = callbacks.LambdaCallback(
        **{n: functools.partial(lambda n, *args: calls.append(n), n) for n in names},
        on_train_batch_begin=lambda batch, logs: calls.append(f"begin {batch}"),
        on_train_batch_end=lambda batch, logs: calls.append(f"end {batch} {sorted(logs)}"),
    )
    fit(network(), batch_size=32, callbacks=[told], validation_split=0.5)
    assert calls == [
        "on_train_begin",
        "on_epoch_begin",
        "begin 0",
        "end 0 ['loss']",
        "on_test_begin",
        "on_test_end",
        "on_epoch_end",
        "on_train_end",
    ]


@pytest.mark.parametrize("batches", [False, True])
def test_callbacks_hear_of_the_batches_of_evaluations(batches):
    calls = []
    told = callbacks.LambdaCallback(
        on_test_batch_begin=lambda batch, logs: calls.append(f"begin {batch}"),
        on_test_batch_end=lambda batch, logs: calls.append((batch, logs["loss"])),
        on_predict_batch_begin=lambda batch, logs: calls.append(f"predict {batch}"),
    )
    model = keras.Sequential([layers.Input((2,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = np.ones((5, 2), np.float32), np.float32([1, 2, 3, 4, 5])
    parts = [(x[:2], y[:2]), (x[2:4], y[2:4]), (x[4:], y[4:])]
    given = (iter(parts),) if batches else (x, y)
    loss = model.evaluate(*given, batch_size=2, verbose=0, callbacks=[told])
    assert calls[::2] == ["begin 0", "begin 1", "begin 2"]
    assert [batch for batch, _ in calls[1::2]] == [0, 1, 2]
    assert (
        calls[-1][1]
        == loss
        != calls[1][1]
        == pytest.approx(model.evaluate(x[:2], y[:2], verbose=0))
    )
    calls.clear()
    held = iter(parts) if batches else given
    model.fit(x, y, validation_data=held, validation_batch_size=2, callbacks=[told], verbose=0)
    assert calls[::2] == ["begin 0", "begin 1", "begin 2"]
    calls.clear()
    model.predict(x, batch_size=3, verbose=0, callbacks=[told])
    assert calls == ["predict 0", "predict 1"]


@pytest.mark.parametrize(
    "given",
    [
        gt.tanh,
        gt.add,
        gt.isnan,
        gt.erf,
        keras.activations.tanh,
        keras.activations.swish,
        keras.activations.relu,
    ],
)
def test_functions_go_through_pickle(given):
    assert pickle.loads(pickle.dumps(given)) is given


@pytest.mark.parametrize(
    "layer",
    [
        layers.LSTM(3),
        layers.GRU(3),
        layers.Dense(3, activation=keras.activations.tanh),
        layers.Dense(3, activation=gt.tanh),
    ],
)
def test_layers_with_activations_go_through_pickle(layer):
    x = np.ones((2, 3, 4), np.float32)
    y = layer(x)
    twin = pickle.loads(pickle.dumps(layer))
    np.testing.assert_array_equal(twin(x).detach().numpy(), y.detach().numpy())


def test_early_stopping_stops_and_puts_the_best_weights_back(capsys):
    model = network(optimizers.SGD(0.05))
    kept = {}

    def worse(epoch, logs):
        kept[epoch] = weights(model)
        logs["val_loss"] = [3.0, 2.0, 2.5, 2.25, 1.0][epoch]

    stop = callbacks.EarlyStopping(patience=2, restore_best_weights=True, verbose=1)
    history = fit(model, epochs=5, callbacks=[callbacks.LambdaCallback(on_epoch_end=worse), stop])
    assert (stop.stopped_epoch, stop.best_epoch, stop.best) == (3, 1, 2.0)
    assert len(history.epoch) == 4
    assert "Epoch 4: early stopping" in capsys.readouterr().out
    for a, b in zip(weights(model), kept[1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_measure_that_is_not_there_is_named():
    with pytest.warns(UserWarning, match=r"'val_loss', which was not measured; there are loss"):
        fit(network(), callbacks=[callbacks.EarlyStopping()])


def test_names_in_the_path_of_a_model_checkpoint(tmp_path):
    path = tmp_path / "{epoch}-{batch}.safetensors"
    fit(network(), epochs=1, callbacks=[callbacks.ModelCheckpoint(path, save_freq=2)])
    assert "1-2.safetensors" in {p.name for p in tmp_path.iterdir()}
    wrong = callbacks.ModelCheckpoint(tmp_path / "{val_lss:.2f}.safetensors")
    with pytest.raises(ValueError, match=r"there is no 'val_lss'; there are 'epoch', 'loss'"):
        fit(network(), callbacks=[wrong])


def test_checkpoints_schedulers_plateaus_and_logs(tmp_path, monkeypatch):
    model = network(optimizers.SGD(0.5))
    saved = []
    monkeypatch.setattr(type(model), "save_weights", lambda self, path: saved.append(path), False)
    values = iter([3.0, 4.0, 2.0, 2.0, 2.0, 2.0])

    def measure(epoch, logs):
        logs["val_loss"] = next(values)

    log = tmp_path / "log.csv"
    history = fit(
        model,
        epochs=6,
        callbacks=[
            callbacks.LambdaCallback(on_epoch_end=measure),
            callbacks.ModelCheckpoint(
                str(tmp_path / "new" / "{epoch:02d}-{val_loss:.1f}.h5"),
                save_best_only=True,
                save_weights_only=True,
            ),
            callbacks.ReduceLROnPlateau(factor=0.5, patience=2, min_lr=0.2),
            callbacks.CSVLogger(log),
        ],
    )
    assert [os.path.basename(p) for p in saved] == ["01-3.0.h5", "03-2.0.h5"]
    np.testing.assert_allclose(history.history["learning_rate"], [0.5] * 5 + [0.25], rtol=1e-6)
    lines = log.read_text().splitlines()
    assert lines[0] == "epoch,learning_rate,loss,val_loss"
    assert [line.split(",")[0] for line in lines[1:]] == list("012345")
    model.fit(
        X,
        Y,
        epochs=2,
        verbose=0,
        callbacks=[callbacks.LearningRateScheduler(lambda epoch, lr: 0.5 if epoch else lr)],
    )
    assert model.optimizer.learning_rate == 0.5


def test_a_loss_of_nan_is_said_and_stops_where_asked_for(capsys):
    x = X.copy()
    x[20] = np.nan
    history = network().fit(x, Y, epochs=2, batch_size=16, shuffle=False)
    assert "loss is NaN" in capsys.readouterr().out
    assert all(map(math.isnan, history.history["loss"]))
    history = network().fit(
        x, Y, epochs=3, batch_size=16, verbose=0, callbacks=[callbacks.TerminateOnNaN()]
    )
    assert len(history.epoch) == 1
    assert "training stops" in capsys.readouterr().out


def test_lines_of_epochs_fit_80_columns(capsys):
    model = network(metrics=["mse", "mae", "mean_absolute_percentage_error", "cosine_similarity"])
    fit(model, verbose=2, validation_split=0.25, epochs=10)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("Epoch ") for line in lines) == 10


def test_stop_training_ends_after_the_batch():
    model, batches = network(), []

    def stop(batch, logs):
        batches.append(batch)
        model.stop_training = batch == 1

    history = fit(model, epochs=3, callbacks=[callbacks.LambdaCallback(on_train_batch_end=stop)])
    assert batches == [0, 1]
    assert history.epoch == [0]
    fit(model)
    assert not model.stop_training


# Data


def test_generators_loaders_and_arrays_train_alike():
    def batches(end=True):
        while True:
            for i in range(0, 64, 16):
                yield X[i : i + 16], Y[i : i + 16]
            if end:
                return

    class Loader:
        def __len__(self):
            return 4

        def __getitem__(self, i):
            if i > 3:
                raise IndexError
            return X[16 * i : 16 * i + 16], Y[16 * i : 16 * i + 16]

    expected = network("adam")
    h = fit(expected, epochs=3)
    sources = [
        lambda m: m.fit(batches(False), steps_per_epoch=4, epochs=3, verbose=0),
        lambda m: m.fit(Loader(), epochs=3, verbose=0),
        lambda m: [m.fit(batches(), verbose=0) for _ in range(3)][-1],
    ]
    for train in sources:
        model = network("adam")
        history = train(model)
        assert history.history["loss"][-1] == pytest.approx(h.history["loss"][-1], rel=1e-5)
        for a, b in zip(weights(model), weights(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        assert model.evaluate(Loader(), verbose=0) == pytest.approx(
            expected.evaluate(X, Y, verbose=0), rel=1e-5
        )
        np.testing.assert_allclose(
            model.predict(Loader(), verbose=0), expected.predict(X, verbose=0), rtol=1e-4, atol=1e-5
        )


def test_steps_initial_epochs_and_frequencies():
    model = network()
    history = fit(
        model,
        initial_epoch=3,
        epochs=6,
        steps_per_epoch=2,
        validation_split=0.25,
        validation_freq=3,
    )
    assert history.epoch == [3, 4, 5]
    assert history.params["steps"] == 2
    assert len(history.history["loss"]) == 3
    assert len(history.history["val_loss"]) == 1
    assert model.optimizer.iterations == 5  # of three batches, epochs of two, one and two


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "mse"])
def test_weights_of_samples_and_classes_scale_their_losses(loss):
    y = LABELS if loss != "mse" else Y
    one, other = (network("sgd", loss, units=(3, 2 if loss != "mse" else 1)) for _ in range(2))
    factors = np.where(LABELS == 1, 3.0, 0.5)
    one.fit(X, y, sample_weight=factors, verbose=0, shuffle=False)
    if loss != "mse":
        other.fit(X, y, class_weight={0: 0.5, 1: 3.0}, verbose=0, shuffle=False)
        for a, b in zip(weights(one), weights(other), strict=True):
            np.testing.assert_array_equal(a, b)
    unweighted = one.evaluate(X, y, verbose=0)
    doubled = one.evaluate(X, y, sample_weight=np.full(64, 2.0), verbose=0)
    assert doubled == pytest.approx(2 * unweighted, rel=1e-5)


def test_the_loss_of_several_outputs_of_a_users_function_is_their_mean():
    model = network("sgd", lambda y, p: (y - p) ** 2, units=(3, 2))
    y = np.concatenate([Y, -Y], axis=1)
    found = model.evaluate(X, y, verbose=0)
    assert found == pytest.approx(((model.predict(X, verbose=0) - y) ** 2).mean(), rel=1e-5)


def test_several_inputs_and_outputs():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    h = layers.Concatenate()([a, b])
    outs = [
        layers.Dense(1, name="number")(h),
        layers.Dense(2, activation="softmax", name="kind")(h),
    ]
    model = keras.Model([a, b], outs)
    model.compile(
        "adam",
        {"number": "mse", "kind": "sparse_categorical_crossentropy"},
        loss_weights={"number": 0.5, "kind": 2.0},
        metrics={"kind": ["accuracy"]},
    )
    xs, ys = [X, -X], [Y, LABELS]
    history = model.fit(xs, ys, epochs=2, verbose=0, validation_data=(xs, ys))
    names = ["loss", "number_loss", "kind_loss", "kind_accuracy"]
    assert list(history.history) == [*sorted(names), *(f"val_{n}" for n in sorted(names))]
    found = model.evaluate(
        {"a": X, "b": -X}, {"number": Y, "kind": LABELS}, verbose=0, return_dict=True
    )
    assert found["loss"] == pytest.approx(0.5 * found["number_loss"] + 2 * found["kind_loss"])
    number, kind = model.predict(xs, verbose=0)
    assert (number.shape, kind.shape) == ((64, 1), (64, 2))


def test_single_batches():
    model = network("sgd", metrics=["mae"])
    expected = model.evaluate(X, Y, verbose=0)
    assert model.test_on_batch(X, Y) == pytest.approx(expected)
    assert model.train_on_batch(X, Y) == pytest.approx(expected)
    assert model.test_on_batch(X, Y)[0] < expected[0]
    assert model.predict_on_batch(X).shape == (64, 1)
    assert set(model.train_on_batch(X, Y, return_dict=True)) == {"loss", "mae"}


# Beside Keras


def pair(build, optimizer, loss, metrics=()):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    pytest.importorskip("torch")
    real = pytest.importorskip("keras")
    theirs, ours = build(real), build(keras)
    theirs.build((None, 4))
    ours.build((None, 4))
    ours.set_weights(theirs.get_weights())
    for model, place in ((theirs, real), (ours, keras)):
        model.compile(optimizer(place), loss, metrics=list(metrics))
    return ours, theirs


def stack(*sizes, last=None):
    def build(k):
        return k.Sequential(
            [
                *(k.layers.Dense(n, activation="tanh") for n in sizes[:-1]),
                k.layers.Dense(sizes[-1], activation=last),
            ]
        )

    return build


FITS = {
    "regression": (
        stack(5, 1),
        lambda k: k.optimizers.SGD(0.1, momentum=0.9),
        "mse",
        ["mae"],
        Y,
        {},
    ),
    "classes": (
        stack(5, 2, last="softmax"),
        lambda k: k.optimizers.Adam(k.optimizers.schedules.ExponentialDecay(0.05, 3, 0.5)),
        "sparse_categorical_crossentropy",
        ["accuracy"],
        LABELS,
        {"class_weight": {0: 0.5, 1: 2.0}, "validation_split": 0.25},
    ),
    "binary": (
        stack(5, 1, last="sigmoid"),
        lambda k: k.optimizers.RMSprop(0.02, clipnorm=0.1),
        "binary_crossentropy",
        ["accuracy"],
        LABELS,
        {"sample_weight": np.linspace(0.1, 2, 64), "initial_epoch": 1},
    ),
    "plateau": (
        stack(5, 1),
        lambda k: k.optimizers.Nadam(0.05),
        "mae",
        [],
        Y,
        {"validation_data": (X, Y), "callbacks": "plateau", "steps_per_epoch": 3},
    ),
}


@pytest.mark.peers
@pytest.mark.parametrize("name", FITS)
def test_fit_is_keras(name):
    build, optimizer, loss, metrics, y, options = FITS[name]
    ours, theirs = pair(build, optimizer, loss, metrics)
    found = []
    for model, place in ((ours, keras), (theirs, __import__("keras"))):
        given = dict(options)
        if given.get("callbacks") == "plateau":
            given["callbacks"] = [
                place.callbacks.ReduceLROnPlateau(factor=0.3, patience=1, min_delta=0.05),
                place.callbacks.EarlyStopping(patience=3, restore_best_weights=True),
            ]
        history = model.fit(X, y, epochs=6, batch_size=16, shuffle=False, verbose=0, **given)
        found.append((history.history, [np.asarray(w) for w in model.get_weights()]))
    (ours_h, ours_w), (theirs_h, theirs_w) = found
    assert ours_h.keys() == theirs_h.keys()
    for key, values in theirs_h.items():
        np.testing.assert_allclose(ours_h[key], values, rtol=2e-4, atol=2e-5, err_msg=key)
    for a, b in zip(ours_w, theirs_w, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)
