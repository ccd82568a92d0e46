"""What scripts written for Keras expect of the door besides training."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import gputensor as gt
from gputensor import keras
from gputensor.keras import losses, metrics, optimizers
from gputensor.keras.layers import Dense
from gputensor.keras.models import Sequential

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(0)
X = RNG.random((100, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 100)


def model(loss="sparse_categorical_crossentropy", metrics=("accuracy",), units=3, activation=None):
    gt.manual_seed(0)
    activation = activation or ("softmax" if "entropy" in loss else None)
    built = Sequential([Dense(8, "relu", input_shape=(6,)), Dense(units, activation)])
    built.compile("adam", loss, metrics)
    return built


def test_verbose_of_evaluate_and_predict(capsys):
    network = model()
    quiet = network.evaluate(X, Y, verbose=0)
    network.predict(X, verbose=0)
    assert capsys.readouterr().out == ""
    assert network.evaluate(X, Y) == quiet
    assert capsys.readouterr().out == f"Evaluation  loss {quiet[0]:.4f}  accuracy {quiet[1]:.4f}\n"


def test_defaults_may_be_written_out():
    network = model(metrics=None)
    network.fit(X, Y, batch_size=None, verbose=0)
    assert network.evaluate(X, Y, batch_size=None, verbose=0) > 0
    assert network.predict(X, batch_size=None, verbose=0).shape == (100, 3)


def test_history_belongs_to_the_model_and_knows_its_parameters():
    network = model()
    history = network.fit(X, Y, batch_size=32, epochs=2, verbose=0)
    assert network.history is history
    assert history.params == {"epochs": 2, "steps": 4, "verbose": 0}
    assert history.epoch == [0, 1]


def test_accuracy_of_one_output_is_binary():
    network = model("mse", units=1, activation="sigmoid")
    y = (Y > 0).astype(np.float32)
    expected = ((network.predict(X, verbose=0) > 0.5)[:, 0] == y).mean()
    assert 0 < expected < 1
    for target in (y, y[:, None]):
        assert network.evaluate(X, target, verbose=0)[1] == pytest.approx(expected)


def test_numbers_of_shape_n_are_the_targets_of_one_output():
    y = X.sum(axis=1)
    column = model("mse", (), units=1).fit(X, y[:, None], verbose=0).history["loss"]
    assert model("mse", (), units=1).fit(X, y, verbose=0).history["loss"] == column


def test_a_layer_added_after_compile_is_trained():
    network = Sequential()
    network.compile("adam", "mse")
    network.add(Dense(3, input_shape=(6,)))
    network.fit(X, np.eye(3)[Y], verbose=0)
    network.add(Dense(3))
    before = network.state_dict()
    network.fit(X, np.eye(3)[Y], verbose=0)
    assert all((before[k] != v).any() for k, v in network.state_dict().items())


def test_memory_mapped_data(tmp_path):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    expected = model().fit(X, Y, verbose=0).history["loss"]
    assert model().fit(mapped, Y, verbose=0).history["loss"] == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float64])
def test_losses_and_metrics_take_lists_and_arrays(dtype):
    p = [[0.25, 0.75], [0.5, 0.5]]
    expected = [-np.log(0.75), -np.log(0.5)]
    for y, predicted in (([1, 0], p), (np.array([1, 0], dtype), np.array(p))):
        each = losses.categorical_crossentropy(y, predicted)
        np.testing.assert_allclose(each.numpy(), expected, rtol=1e-6)
        assert metrics.accuracy(y, predicted).tolist() == [True, True]
    assert losses.mean_squared_error([[1.0, 0.0]], [[0.0, 0.0]]).tolist() == [0.5]


@pytest.mark.parametrize("loss", [losses.categorical_crossentropy, "sparse"])
def test_a_loss_of_probabilities_names_a_bad_label(loss):
    loss = losses.sparse_categorical_crossentropy if loss == "sparse" else loss
    p = gt.tensor([[0.25, 0.75], [0.5, 0.5]], device="cpu")
    for label in (2, -1):
        with pytest.raises(gt.errors.LabelError, match=f"row 1 has label {label}; .* range 0 to 1"):
            loss(np.array([0, label]), p)


def test_a_bad_label_is_nan_where_the_error_would_wait(cupy):
    p = gt.tensor([[0.25, 0.75], [0.5, 0.5]], device="cuda")
    each = losses.categorical_crossentropy(gt.tensor([1, 2], device="cuda"), p).numpy()
    assert np.isfinite(each[0])
    assert np.isnan(each[1])


def test_to_categorical_keeps_leading_axes():
    assert keras.utils.to_categorical([[0], [1]]).tolist() == [[1, 0], [0, 1]]
    assert keras.utils.to_categorical([[0, 1, 2], [2, 1, 0]]).shape == (2, 3, 3)
    assert keras.utils.to_categorical([], 3).shape == (0, 3)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: model().evaluate(X, Y, batch_size=-1), ValueError, "evaluate: batch_size is -1"),
        (lambda: model().predict(X, batch_size=0), ValueError, "predict: batch_size is 0"),
        (lambda: model().predict(X, verbose=5), ValueError, "predict: verbose is 5"),
        (lambda: model().fit(X, Y, validation_data=X), TypeError, r"\(x, y\), .*, got ndarray"),
        (lambda: model().fit(X, Y, validation_data=[X]), TypeError, "got a list of 1"),
        (lambda: model().fit(X, Y, validation_split="a"), ValueError, "validation_split is 'a'"),
        (lambda: model().predict(X[0]), gt.errors.ShapeError, r"write x\[None\]"),
        (lambda: model().predict([[1], [1, 2]]), gt.errors.ShapeError, "x has nested lists of un"),
        (lambda: optimizers.Adam(lr=-1), ValueError, "learning_rate is -1"),
        (lambda: optimizers.SGD("x"), TypeError, "learning_rate must be a number, got str"),
        (lambda: optimizers.Adam(beta_2=1), ValueError, "beta_2 is 1"),
        (
            lambda: losses.CategoricalCrossentropy(label_smoothing=2),
            ValueError,
            "label_smoothing is 2",
        ),
        (lambda: keras.utils.to_categorical([0.5]), gt.errors.DTypeError, "whole numbers"),
        (lambda: keras.utils.to_categorical(["a"]), gt.errors.DTypeError, "whole numbers"),
        (lambda: model().evaluate(X, Y, stepz=3), TypeError, "stepz"),
        (lambda: model().predict(X, stepz=3), TypeError, "stepz"),
        (lambda: model().compile("adam", "mse", loss_weight=1), TypeError, "loss_weight"),
        (lambda: model().compile("adam", ["mse", "mse"]), ValueError, "2 items, .* 1 outputs"),
        (lambda: model().fit(X, None), TypeError, "y is missing"),
        (lambda: model().fit(X, Y, sample_weight=[1.0]), gt.errors.ShapeError, "100 samples"),
        (lambda: model().fit(X, Y, class_weight=[1.0]), TypeError, "must be a dict"),
        (lambda: model().fit(X, Y, callbacks=[3]), TypeError, "item 0 must be a Callback"),
        (lambda: model().fit(iter(()), None), ValueError, "gives no batch"),
    ],
)
def test_bad_input_is_a_clear_error(call, kind, text):
    with pytest.raises(kind, match=text):
        call()


def mnist_like(path, samples=300):
    x = RNG.integers(0, 50, (samples, 10, 12)).astype(np.uint8)
    y = RNG.integers(0, 10, samples).astype(np.uint8)
    x[np.arange(samples), y] += 150
    np.savez(path, x_train=x, y_train=y, x_test=x[:40], y_test=y[:40])


def train(*options, **environment):
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / "train_mnist.py"), *options],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.cpu
def test_the_training_example(tmp_path):
    mnist_like(tmp_path / "set.npz")
    options = ["--data", str(tmp_path / "set.npz"), "--epochs", "2", "--batch-size", "32"]
    done = train(*options, "--device", "cpu", "--out", str(tmp_path / "a" / "b"))
    assert done.returncode == 0, done.stderr
    assert "Device: cpu (as asked)" in done.stdout
    assert "Epoch 2/2  loss" in done.stdout
    assert "Test accuracy: " in done.stdout
    for name in ("training.png", "confusion.png", "wrong.png"):
        assert (tmp_path / "a" / "b" / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.cpu
@pytest.mark.skipif(gt.cuda_status().available, reason="this machine has a usable CUDA device")
def test_the_training_example_never_falls_back_silently(tmp_path):
    mnist_like(tmp_path / "set.npz")
    options = ["--data", str(tmp_path / "set.npz"), "--out", str(tmp_path)]
    for done in (train(*options, GPUTENSOR_DEVICE="cuda"), train(*options, "--device", "cuda:1")):
        assert done.returncode == 2
        assert "pip install 'cupy-cuda13x'" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.cpu
@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--epochs", "0"], "--epochs: '0' is not a positive int"),
        (["--batch-size", "-4"], "--batch-size: '-4' is not a positive int"),
        (["--seed", "-1"], "seed is -1"),
        (["--device", "tpu"], "allowed are auto, cpu, cuda and cuda:N"),
        (["--data", "no/such/set"], "no such file or folder"),
    ],
)
def test_the_training_example_says_what_is_wrong(options, text, tmp_path):
    done = train(*options, "--out", str(tmp_path))
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_warnings_are_given_once_a_model():
    images = X.reshape(100, 2, 3)
    network = model("categorical_crossentropy")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        network.fit(images, Y, validation_data=(images, Y), verbose=0)
        network.evaluate(images, Y, verbose=0)
        network.predict(images, verbose=0)
    assert ["Write" in str(w.message) for w in caught] == [True, True]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: keras.layers.Lambda(abs, mask=abs), "Lambda: mask is not supported"),
        (
            lambda: keras.layers.Bidirectional(keras.layers.GRU(2), weights=[1]),
            "Bidirectional: weights is not supported",
        ),
    ],
)
def test_settings_that_would_have_no_effect_are_refused(make, text):
    with pytest.raises(TypeError, match=text):
        make()
