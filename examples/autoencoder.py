"""An autoencoder: digits through 16 numbers and back, and what lies between two of them.

The encoder and the decoder are models of their own, which share their layers with the whole.
"""

import argparse
from pathlib import Path

import numpy as np

from gputensor import keras
from gputensor.keras import layers
from gputensor.keras.datasets import mnist


def models(code: int) -> tuple[keras.Model, keras.Model, keras.Model]:
    image = keras.Input((28, 28, 1))
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(image)
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(x)
    encoder = keras.Model(image, layers.Dense(code)(layers.Flatten()(x)), name="encoder")

    numbers = keras.Input((code,))
    x = layers.Reshape((7, 7, 32))(layers.Dense(7 * 7 * 32, activation="relu")(numbers))
    x = layers.Conv2DTranspose(16, 4, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(1, 4, strides=2, padding="same", activation="sigmoid")(x)
    decoder = keras.Model(numbers, x, name="decoder")

    return encoder, decoder, keras.Model(image, decoder(encoder(image)), name="autoencoder")


def draw(images, copies, between, history: keras.callbacks.History, file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.6, 1))
    cells = left.subplots(3, 10)
    rows = {"original": images, "decoded": copies, "from first\nto last": between}
    for line, (name, pictures) in zip(cells, rows.items(), strict=True):
        for cell, picture in zip(line, pictures, strict=True):
            cell.imshow(picture[..., 0], cmap="gray_r", vmin=0, vmax=1)
            cell.set(xticks=[], yticks=[])
        line[0].set_ylabel(name)
    left.suptitle("Test digits, what the decoder makes of their codes, and codes between two")
    axes = right.subplots()
    for name, label in (("loss", "training"), ("val_loss", "test")):
        axes.plot(np.array(history.epoch) + 1, history.history[name], marker="o", label=label)
    axes.set(title="Loss", xlabel="epoch", ylabel="binary cross-entropy (nats per pixel)")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=120)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--epochs", type=int, default=5)
    options.add_argument("--images", type=int, default=60_000, help="how many to train on")
    options.add_argument("--code", type=int, default=16, help="numbers for an image")
    options.add_argument("--out", type=Path, default=Path("autoencoder.png"))
    args = options.parse_args()

    keras.utils.set_random_seed(0)
    (x_train, _), (x_test, _) = mnist.load_data()
    x_train = x_train[: args.images, ..., None] / np.float32(255)
    x_test = x_test[..., None] / np.float32(255)

    encoder, decoder, whole = models(args.code)
    whole.compile(keras.optimizers.Adam(0.002), loss="binary_crossentropy")
    history = whole.fit(
        x_train, x_train, batch_size=128, epochs=args.epochs, validation_data=(x_test, x_test)
    )

    shown = x_test[:10]
    codes = encoder.predict(shown, verbose=0)
    share = np.linspace(0, 1, 10, dtype=np.float32)[:, None]
    between = decoder.predict((1 - share) * codes[0] + share * codes[-1], verbose=0)
    copies = decoder.predict(codes, verbose=0)
    print(f"Mean squared error of ten test digits: {np.mean((copies - shown) ** 2):.4f}")
    draw(shown, copies, between, history, args.out)
    print(f"Picture: {args.out}")


if __name__ == "__main__":
    main()
