"""Two dense layers on MNIST, with dropout and a learning rate that falls: 98.6 %."""

import argparse

from gputensor import keras
from gputensor.keras import layers
from gputensor.keras.datasets import mnist


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--epochs", type=int, default=20)
    options.add_argument("--images", type=int, default=60_000, help="how many to train on")
    options.add_argument("--seed", type=int, default=0)
    args = options.parse_args()

    keras.utils.set_random_seed(args.seed)
    (x_train, y_train), (x_test, y_test) = mnist.load_data()
    x_train, y_train = x_train[: args.images], y_train[: args.images]
    model = keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dropout(0.1),
            layers.Dense(512, activation="relu"),
            layers.Dropout(0.4),
            layers.Dense(256, activation="relu"),
            layers.Dropout(0.4),
            layers.Dense(10, activation="softmax"),
        ]
    )
    steps = args.epochs * -(-len(x_train) // 128)
    rate = keras.optimizers.schedules.CosineDecay(0.001, steps)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", ["accuracy"])
    test = (x_test, y_test)
    model.fit(x_train, y_train, batch_size=128, epochs=args.epochs, validation_data=test)
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"Test accuracy: {accuracy:.2%}")


if __name__ == "__main__":
    main()
