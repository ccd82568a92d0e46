"""Train a 784-512-10 network on MNIST, entirely on the device, and draw what it learned."""

import argparse
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

import gputensor as gt
from gputensor.datasets import mnist
from gputensor.keras.layers import Dense, Rescaling
from gputensor.keras.models import History, Sequential
from gputensor.keras.optimizers import Adam


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive int")
    return int(text)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--device", help="auto, cpu, cuda or cuda:N; default: GPUTENSOR_DEVICE")
    options.add_argument("--epochs", type=positive, default=10)
    options.add_argument("--batch-size", type=positive, default=256)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--data", type=Path, help="mnist.npz, or a folder with the IDX files")
    options.add_argument("--out", type=Path, default=Path("out"), help="folder for the pictures")
    return options


def draw_curves(history: History, file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        epochs = np.array(history.epoch) + 1
        axes.plot(epochs, history.history[name], marker="o", label="training")
        axes.plot(epochs, history.history[f"val_{name}"], marker="o", label="test")
        axes.set(xlabel="epoch", title=name)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(file, dpi=120)


def draw_digits(images: Any, labels: Any, probabilities: Any, file: Path) -> None:
    """The first wrong predictions in the first two rows, then the first digits of the set."""
    from matplotlib.figure import Figure

    guesses = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(guesses != labels)[:16]
    chosen = [*wrong, *np.arange(min(48 - len(wrong), len(labels)))]
    figure = Figure(figsize=(9, 7.5), layout="constrained")
    cells = figure.subplots(6, 8).ravel()
    for axes in cells:
        axes.axis("off")
    for axes, i in zip(cells, chosen, strict=False):
        axes.imshow(images[i], cmap="gray_r")
        right = guesses[i] == labels[i]
        text = f"{guesses[i]}" if right else f"{guesses[i]}, is {labels[i]}"
        axes.set_title(text, color="black" if right else "crimson", fontsize=10)
    figure.suptitle("Predictions on test digits; wrong ones in red")
    figure.savefig(file, dpi=120)


def main() -> None:
    options = parser()
    args = options.parse_args()
    asked = args.device or os.environ.get("GPUTENSOR_DEVICE") or "auto"
    try:
        device = gt.device(asked)
        why = gt.cuda_status().reason if asked == "auto" or device != "cpu" else "as asked"
        print(f"Device: {device} ({why})")
        gt.manual_seed(args.seed)
        args.out.mkdir(parents=True, exist_ok=True)
        (x_train, y_train), (x_test, y_test) = mnist.load_data(args.data)
    except (gt.errors.GPUTensorError, OSError, ValueError) as error:
        options.error(str(error))
    print(f"Data: {len(x_train)} training and {len(x_test)} test images of {x_train.shape[1:]}")

    pixels = math.prod(x_train.shape[1:])
    x_train, flat_test = x_train.reshape(-1, pixels), x_test.reshape(-1, pixels)
    with device:
        model = Sequential(
            [
                Rescaling(1 / 255, input_shape=(pixels,)),
                Dense(512, activation="relu"),
                Dense(10, activation="softmax"),
            ]
        )
        model.summary()
        model.compile(Adam(0.001), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        began = time.perf_counter()
        history = model.fit(
            x_train,
            y_train,
            batch_size=args.batch_size,
            epochs=args.epochs,
            validation_data=(flat_test, y_test),
        )
        seconds = time.perf_counter() - began
        scores = model.evaluate(flat_test, y_test, verbose=0, return_dict=True)
        probabilities = model.predict(flat_test)
    assert isinstance(scores, dict)
    print(f"Trained {args.epochs} epochs in {seconds:.1f} s")
    print(f"Test accuracy: {scores['accuracy']:.2%}")

    draw_curves(history, args.out / "training.png")
    draw_digits(x_test, y_test, probabilities, args.out / "digits.png")
    print(f"Pictures: {args.out / 'training.png'}, {args.out / 'digits.png'}")


if __name__ == "__main__":
    main()
