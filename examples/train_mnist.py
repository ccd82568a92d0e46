"""Train a 784-512-10 network on MNIST, entirely on the device, and draw what it learned."""

import argparse
import math
import os
import time
from pathlib import Path

import gputensor as gt
from gputensor.datasets import mnist
from gputensor.keras.layers import Dense, Rescaling
from gputensor.keras.models import Sequential
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
    options.add_argument("--resume", type=Path, help="save checkpoints here, and go on from here")
    options.add_argument("--out", type=Path, default=Path("out"), help="folder for the pictures")
    return options


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
        try:
            history = model.fit(
                x_train,
                y_train,
                batch_size=args.batch_size,
                epochs=args.epochs,
                validation_data=(flat_test, y_test),
                resume=args.resume,
            )
        except KeyboardInterrupt:
            options.exit(130, "Interrupted\n")
        seconds = time.perf_counter() - began
        scores = model.evaluate(flat_test, y_test, verbose=0, return_dict=True)
        probabilities = model.predict(flat_test)
    assert isinstance(scores, dict)
    print(f"Trained {args.epochs} epochs in {seconds:.1f} s")
    print(f"Test accuracy: {scores['accuracy']:.2%}")

    pictures = {
        "training.png": gt.plot.curves(history, ["loss", "accuracy"]),
        "confusion.png": gt.plot.confusion(y_test, probabilities),
        "wrong.png": gt.plot.wrong(x_test, y_test, probabilities),
    }
    for name, figure in pictures.items():
        figure.savefig(args.out / name, dpi=120)
    print("Pictures:", ", ".join(str(args.out / name) for name in pictures))


if __name__ == "__main__":
    main()
