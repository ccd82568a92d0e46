"""Transfer by freezing: what was learned of the digits 0 to 4 helps to tell 5 to 9 apart.

A convolutional network learns the first five digits. Its layers are then frozen, and a new head is
trained on a few of the others; beside it the same network learns these few from scratch.
"""

import argparse
from pathlib import Path

import numpy as np

from gputensor import keras
from gputensor.keras import layers
from gputensor.keras.datasets import mnist


def features() -> keras.Sequential:
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
        ],
        name="features",
    )


def train(base: keras.Sequential, data, test, epochs: int) -> list[float]:
    """A new head on `base`; test accuracy after each epoch."""
    head = [layers.Dense(64, activation="relu"), layers.Dense(5, activation="softmax")]
    model = keras.Sequential([keras.Input((28, 28, 1)), base, *head])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    trained = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    print(f"{trained:,} numbers are trained, on {len(data[0]):,} digits")
    history = model.fit(*data, batch_size=64, epochs=epochs, validation_data=test, verbose=2)
    return history.history["val_accuracy"]


def draw(results: dict[str, list[float]], few: int, file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for label, accuracy in results.items():
        epochs = np.arange(len(accuracy)) + 1
        axes.plot(epochs, 100 * np.array(accuracy), marker="o", label=label)
    axes.set(
        title=f"Digits 5 to 9, learned from {few} images",
        xlabel="epoch",
        ylabel="right answers on test digits (%)",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=120)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int, default=60_000, help="of all digits, to train on")
    options.add_argument("--few", type=int, default=500, help="images of the digits 5 to 9")
    options.add_argument("--epochs", type=int, default=8)
    options.add_argument("--out", type=Path, default=Path("transfer.png"))
    args = options.parse_args()

    keras.utils.set_random_seed(0)
    (x, y), (x_test, y_test) = mnist.load_data()
    x, y, x_test = x[: args.images, ..., None], y[: args.images], x_test[..., None]
    low, low_test, high_test = y < 5, y_test < 5, y_test >= 5
    few = np.flatnonzero(~low)[: args.few]
    test = x_test[high_test], y_test[high_test] - 5

    learned = features()
    train(learned, (x[low], y[low]), (x_test[low_test], y_test[low_test]), epochs=2)
    learned.trainable = False
    results = {
        "layers frozen after 0 to 4": train(learned, (x[few], y[few] - 5), test, args.epochs),
        "from scratch": train(features(), (x[few], y[few] - 5), test, args.epochs),
    }
    for label, accuracy in results.items():
        print(f"{label}: {accuracy[-1]:.2%}")
    draw(results, len(few), args.out)
    print(f"Picture: {args.out}")


if __name__ == "__main__":
    main()
