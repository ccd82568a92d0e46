"""``gputensor train``: a data set, a model, a picture of the training, without a script."""

import importlib
import importlib.util
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.errors import DatasetError
from gputensor.shown import in_units

__all__ = ["DATA", "MODELS", "train"]

Pair = tuple[Any, Any]


def _digits() -> tuple[Pair, Pair]:
    """1797 digits of 8 x 8 pixels that come with scikit-learn, in no need of a network."""
    if importlib.util.find_spec("sklearn") is None:
        raise DatasetError("digits are part of scikit-learn: python -m pip install scikit-learn")
    found = importlib.import_module("sklearn.datasets").load_digits()
    x = (found.images * (255 / 16)).astype(np.uint8)
    y = found.target.astype(np.uint8)
    return (x[:1500], y[:1500]), (x[1500:], y[1500:])


def _keras_set(name: str) -> Callable[[], tuple[Pair, Pair]]:
    def load() -> tuple[Pair, Pair]:
        found: tuple[Pair, Pair] = (
            importlib.import_module("gputensor.keras.datasets").__dict__[name].load_data()
        )
        return found

    return load


DATA: dict[str, Callable[[], tuple[Pair, Pair]]] = {
    "mnist": _keras_set("mnist"),
    "fashion-mnist": _keras_set("fashion_mnist"),
    "cifar10": _keras_set("cifar10"),
    "digits": _digits,
}


def _dense() -> list[Any]:
    from gputensor.keras import layers

    return [layers.Flatten(), layers.Dense(512, activation="relu")]


def _conv() -> list[Any]:
    from gputensor.keras import layers

    return [
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dropout(0.3),
        layers.Dense(128, activation="relu"),
    ]


MODELS = {"dense": _dense, "conv": _conv}


def train(
    name: str,
    model: str = "dense",
    epochs: int = 10,
    batch_size: int = 256,
    device: str | None = None,
    seed: int = 0,
    resume: Path | None = None,
    plot: Path | None = None,
) -> float:
    """Train a network on a data set, and say what came of it.

    Parameters
    ----------
    name : {"mnist", "fashion-mnist", "cifar10", "digits"}
        The data set.
    model : {"dense", "conv"}
        One hidden layer of 512, or two convolutions.
    epochs, batch_size : int
    device : str, optional
    seed : int
        Of weights, dropout and the order of the data.
    resume : Path, optional
        Folder of checkpoints, where training goes on.
    plot : Path, optional
        Where to draw loss and accuracy.

    Returns
    -------
    float
        Accuracy on the test set.
    """
    import gputensor as gt
    from gputensor import keras

    where = backend.device(device)
    print(f"Device: {where} ({'as asked' if device else gt.cuda_status().reason})")
    (x, y), (x_test, y_test) = DATA[name]()
    if x.ndim == 3:
        x, x_test = x[..., None], x_test[..., None]
    print(f"Data: {len(x)} training and {len(x_test)} test images of {x.shape[1:]}")
    gt.manual_seed(seed)
    with where:
        network = keras.Sequential(
            [
                keras.Input(x.shape[1:]),
                keras.layers.Rescaling(1 / 255),
                *MODELS[model](),
                keras.layers.Dense(10, activation="softmax"),
            ]
        )
        network.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        size = sum(math.prod(w.shape) for w in network.trainable_weights)
        print(f"Model: {model}, {size:,} parameters")
        history = network.fit(
            x,
            y.reshape(-1),
            batch_size=batch_size,
            epochs=epochs,
            validation_data=(x_test, y_test.reshape(-1)),
            resume=resume,
        )
    accuracy = float(history.history["val_accuracy"][-1])
    print(f"Trained {len(history.epoch)} epochs in {in_units(sum(history.seconds))}")
    print(f"Test accuracy: {accuracy:.2%}")
    if plot is not None:
        gt.plot.curves(history, ["loss", "accuracy"]).savefig(plot, dpi=120)
        print(f"Picture: {os.fspath(plot)}")
    sys.stdout.flush()
    return accuracy
