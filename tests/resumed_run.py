"""A training run that may be killed at any moment: the same command goes on, to the same end.

``python resumed_run.py FOLDER STEPS_BETWEEN_CHECKPOINTS KIND`` writes ``FOLDER/end`` at the end.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np

import gputensor as gt
from gputensor import keras
from gputensor.keras import callbacks, layers, optimizers

RNG = np.random.default_rng(11)
X = RNG.normal(size=(192, 12)).astype(np.float32)
Y = (np.abs(X[:, :3]).argmax(axis=1)).astype(np.int64)


def digest(arrays, *rest):
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).tobytes())
    found.update(repr(rest).encode())
    return found.hexdigest()


def keras_model():
    """Images moved and flipped, dropout of a seed and of the shared numbers, clipping, averages."""
    model = keras.Sequential(
        [
            layers.Reshape((3, 4, 1), input_shape=(12,)),
            layers.RandomFlip("horizontal", seed=5),
            layers.RandomTranslation(0.0, 0.25),
            layers.Flatten(),
            layers.GaussianNoise(0.1, seed=3),
            layers.Dense(16, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.3, seed=7),
            layers.Dense(8, activation="tanh"),
            layers.Dropout(0.2),
            layers.Dense(3, activation="softmax"),
        ]
    )
    rate = optimizers.schedules.CosineDecay(0.02, 60)
    model.compile(
        optimizers.Adam(rate, clipnorm=0.5),
        "sparse_categorical_crossentropy",
        metrics=["accuracy", keras.metrics.SparseCategoricalAccuracy(name="again")],
    )
    return model


def fitted(saver, capture="auto", epochs=6, extra=(), feed=None, patience=5, **options):
    gt.manual_seed(0)
    model = keras_model()
    stop = callbacks.EarlyStopping("loss", patience=patience, restore_best_weights=True)
    data = (X, Y) if feed is None else (feed(),)
    history = model.fit(
        *data,
        epochs=epochs,
        verbose=0,
        validation_data=(X[:40], Y[:40]),
        callbacks=[stop, *extra],
        capture=capture,
        resume=saver,
        **({"batch_size": 16} if feed is None else {}) | options,
    )
    states = list(model.optimizer.engine.live_state()["state"].values())
    held = [*model.get_weights(), *(np.asarray(gt.asarray(a).numpy()) for a in states)]
    return digest(held, history.history, history.epoch)


def looped(saver, capture=True, steps=48, every=3, at=None):
    """A loop of one's own, in float16 with a loss scale, on an order that is drawn on the way."""
    gt.manual_seed(1)
    model = gt.nn.Sequential(
        gt.nn.Dense(12, 16, "relu"),
        gt.nn.Dropout(0.3, generator=gt.random.Generator(5)),
        gt.nn.Dense(16, 3),
    )
    schedule = gt.optim.schedules.cosine_decay(0.05, 48)
    optimizer = gt.optim.AdamW(model.parameters(), lr=schedule)
    scaler = gt.optim.GradScaler(init_scale=2.0**13, growth_interval=5)
    draws, noise = gt.random.Generator(9), np.random.default_rng(4)
    order = gt.zeros(192, dtype=gt.int64)
    x, y = gt.asarray(X), gt.asarray(Y)

    def step(xs, ys):
        with gt.autocast("float16"):
            loss = gt.nn.functional.cross_entropy(model(xs), ys)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale(optimizer)
        optimizer.clip_grad_norm(0.5)
        scaler.step(optimizer)
        scaler.update()
        return loss

    run = gt.capture(step) if capture else step
    losses = []
    what = {
        "model": model,
        "optimizer": optimizer,
        "scaler": scaler,
        "draws": draws,
        "noise": noise,
        "order": order,
    }
    found = saver.restore(**what) if saver is not None else None
    if found is not None:
        losses = found["losses"]
    try:
        for i in range(found.step if found else 0, steps):
            if i % 12 == 0:
                order[...] = draws.permutation(192)
            rows = order[16 * (i % 12) : 16 * (i % 12) + 16]
            jitter = gt.asarray(noise.normal(scale=0.1, size=(16, 12)).astype(np.float32))
            losses.append(float(run(x[rows] + jitter, y[rows]).item()))
            if at is not None:
                at(i + 1)
            if saver is not None and (i + 1) % every == 0:
                saver.save(i + 1, losses=losses, **what)
    finally:
        if saver is not None:
            saver.wait()
    held = [*model.state_dict().values(), *scaler.state_dict().values()]
    return digest(held, losses)


if __name__ == "__main__":
    folder, every, kind = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

    def started(*_):
        global told
        if not told:
            print("started", flush=True)
            told = True

    told = False
    if kind == "loop":
        checkpoints = gt.checkpoints.Checkpointer(folder)
        end = looped(checkpoints, steps=480, every=every, at=started)
    else:
        checkpoints = gt.checkpoints.Checkpointer(folder, every=every)
        extra = [callbacks.LambdaCallback(on_train_batch_end=started)]
        end = fitted(checkpoints, capture=True, epochs=40, patience=99, extra=extra)
    (folder / "end").write_text(end)
