"""Train by several processes: each has the model, and a part of each batch.

    python -m gputensor launch -n 2 examples/data_parallel.py
    mpiexec -n 4 python examples/data_parallel.py --epochs 3

Alone, `python examples/data_parallel.py`, it ends with the same weights but for rounding.
"""

import argparse

import numpy as np

import gputensor as gt
from gputensor import keras
from gputensor.keras import layers

options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
options.add_argument("--epochs", type=int, default=5)
options.add_argument("--batch-size", type=int, default=256, help="of all processes together")
options.add_argument("--shard-state", action="store_true", help="Adam's moments in parts")
args = options.parse_args()

gt.distributed.init(shard_state=args.shard_state)
gt.manual_seed(0)

# Spirals of three colours: each process makes them all, and fit gives it its part of each batch.
rng = np.random.default_rng(0)
labels = rng.integers(0, 3, 6000)
turn = rng.random(6000)
angle = 2 * np.pi * (labels / 3 + turn) + 0.1 * rng.normal(size=6000)
points = (turn[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)).astype(np.float32)

model = keras.Sequential(
    [
        keras.Input((2,)),
        layers.Dense(128, activation="relu"),
        layers.BatchNormalization(synchronized=True),
        layers.Dense(128, activation="relu"),
        layers.Dense(3, activation="softmax"),
    ]
)
model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", ["accuracy"])
history = model.fit(
    points, labels, batch_size=args.batch_size, epochs=args.epochs, validation_split=0.2
)

total = sum(float(np.abs(w).sum()) for w in model.get_weights())
same = gt.distributed.all_reduce(total, "max") == gt.distributed.all_reduce(total, "min")
if gt.distributed.is_first():
    print(f"{gt.distributed.size()} processes, accuracy {history.history['val_accuracy'][-1]:.3f}")
    print(f"weights: {total:.4f}, the same on all: {same}")
