"""What several processes do that :mod:`test_distributed` compares with one: started by mpiexec.

    mpiexec -n 2 python tests/distributed_cases.py FOLDER [NAME ...]

Each function gives arrays and numbers by name, which are written to a file of the rank's. Those
whose names begin with "own" may differ from rank to rank, those with "ranks" from one process.
"""

import contextlib
import io
import itertools
import os
import sys
import warnings
from pathlib import Path

import numpy as np

import gputensor as gt
from gputensor import keras, torch
from gputensor.keras import layers

CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


def data(rows=203, columns=12, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns)).astype(np.float32)
    y = rng.integers(0, classes, rows)
    x[np.arange(rows), y] += 1.5
    return x, y


def dense(*more, units=16, classes=4, columns=12, **options):
    return keras.Sequential(
        [
            layers.Dense(units, activation="relu", input_shape=(columns,), **options),
            *more,
            layers.Dense(classes, activation="softmax"),
        ]
    )


def weights(model):
    return {f"w.{k}": v for k, v in model.state_dict().items() if v.dtype.kind == "f"}


def figures(history):
    return {f"h.{k}": np.array(v, np.float64) for k, v in history.history.items()}


def trained(model, x, y, optimizer="adam", loss="sparse_categorical_crossentropy", **options):
    model.compile(optimizer, loss, metrics=options.pop("metrics", ["accuracy"]))
    history = model.fit(x, y, **({"epochs": 3, "batch_size": 32, "verbose": 0} | options))
    return weights(model) | figures(history)


# The whole of fit


@case
def adam():
    return trained(dense(), *data())


@case
def momentum():
    return trained(dense(), *data(), optimizer=keras.optimizers.SGD(0.1, momentum=0.9))


@case
def captured():
    return trained(dense(), *data(), capture=True)


@case
def eager():
    return trained(dense(), *data(), capture=False)


@case
def last_batch_of_one_row():
    return trained(dense(), *data(rows=97), metrics=["accuracy", keras.metrics.AUC(name="auc")][:1])


@case
def validation():
    return trained(dense(), *data(), validation_split=0.2)


@case
def few_samples_to_validate_on():
    x, y = data()
    return trained(dense(), x, y, validation_data=(x[:3], y[:3]))


@case
def batches_to_validate_on():
    x, y = data()
    batches = iter([(x[:50], y[:50]), (x[50:], y[50:])])
    return trained(dense(), x, y, validation_data=batches, epochs=1)


@case
def clipped_by_global_norm():
    return trained(dense(), *data(), optimizer=keras.optimizers.Adam(0.01, global_clipnorm=0.1))


@case
def clipped_by_norm():
    return trained(dense(), *data(), optimizer=keras.optimizers.SGD(0.1, clipnorm=0.05))


@case
def accumulated():
    optimizer = keras.optimizers.Adam(0.01, gradient_accumulation_steps=3)
    return trained(dense(), *data(), optimizer=optimizer)


@case
def decay_and_average():
    optimizer = keras.optimizers.Adam(0.01, weight_decay=0.01, use_ema=True)
    return trained(dense(), *data(), optimizer=optimizer)


@case
def regularized():
    return trained(dense(kernel_regularizer="l2"), *data())


@case
def loss_that_is_a_sum():
    loss = keras.losses.SparseCategoricalCrossentropy(reduction="sum")
    model = dense(kernel_regularizer="l2")
    return trained(model, *data(rows=97), optimizer=keras.optimizers.SGD(0.002), loss=loss)


@case
def weighted():
    x, y = data()
    w = np.random.default_rng(1).random(len(y)).astype(np.float32)
    return trained(dense(), x, y, sample_weight=w, class_weight={0: 2.0, 1: 1.0, 2: 0.5, 3: 1.0})


@case
def gathered_metrics():
    x, y = data(classes=2)
    model = keras.Sequential([layers.Dense(1, activation="sigmoid", input_shape=(12,))])
    kinds = keras.metrics
    metrics = [kinds.AUC(name="auc"), kinds.Precision(name="p"), kinds.F1Score(name="f1")]
    y = y[:, None].astype(np.float32)
    return trained(model, x, y, loss="binary_crossentropy", metrics=metrics, validation_split=0.2)


@case
def two_outputs():
    x, y = data()
    inputs = keras.Input((12,))
    h = layers.Dense(8, activation="tanh")(inputs)
    outputs = [layers.Dense(4, activation="softmax", name="a")(h), layers.Dense(1, name="b")(h)]
    model = keras.Model(inputs, outputs)
    model.compile("adam", ["sparse_categorical_crossentropy", "mse"], loss_weights=[1.0, 0.3])
    history = model.fit(x, [y, x[:, :1]], epochs=2, batch_size=32, verbose=0)
    return weights(model) | figures(history)


@case
def batches_of_an_iterable():
    x, y = data()

    class Batches:
        def __len__(self):
            return 7

        def __getitem__(self, i):
            return x[32 * i : 32 * (i + 1)], y[32 * i : 32 * (i + 1)]

    return trained(dense(), Batches(), None, batch_size=None)


@case
def batches_that_differ_in_length():
    x, y = data()
    cuts = [0, 7, 13, 40, 41, 203]
    parts = [(x[a:b], y[a:b]) for a, b in itertools.pairwise(cuts)]
    return trained(dense(), parts.__iter__(), None, batch_size=None, epochs=1)


@case
def steps_per_epoch():
    return trained(dense(), *data(), steps_per_epoch=3, epochs=5)


@case
def schedule():
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 5, 0.5)
    return trained(dense(), *data(), optimizer=keras.optimizers.SGD(rate))


@case
def no_order():
    return trained(dense(), *data(), shuffle=False)


@case
def synchronized_batch_normalization():
    model = dense(layers.BatchNormalization(synchronized=True))
    return trained(model, *data(rows=101), validation_split=0.1)


@case
def batch_normalization_of_each_rank():
    """Running means are those of the first rank."""
    found = trained(dense(layers.BatchNormalization()), *data(rows=101), validation_split=0.1)
    return {f"ranks {k}": v for k, v in found.items()}


@case
def batches_by_hand():
    x, y = data(rows=70)
    model = dense()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    found = [model.train_on_batch(x[a : a + 33], y[a : a + 33]) for a in (0, 33, 66, 3, 69)]
    return weights(model) | {"found": np.array(found)}


# Loops of one's own


def loop(optimizer, steps=5, rows=21, clip=None):
    """Training of a module, where each rank has a part of uneven length of each batch."""
    x, y = data(rows=rows)
    model = gt.nn.Sequential(gt.nn.Linear(12, 9), gt.nn.Tanh(), gt.nn.Linear(9, 4))
    gt.distributed.broadcast(model)
    optimizer = optimizer(model.parameters())
    rank, size = gt.distributed.rank(), gt.distributed.size()
    bounds = [int(rows * (r / size) ** 1.5) for r in range(size)] + [rows]
    own = slice(bounds[rank], bounds[rank + 1])
    norms = []
    for _ in range(steps):
        optimizer.zero_grad()
        if own.stop > own.start:
            loss = gt.nn.functional.cross_entropy(model(gt.tensor(x[own])), gt.tensor(y[own]))
            loss.backward()
        gt.distributed.average_gradients(optimizer, share=(own.stop - own.start) / rows)
        if clip:
            norms.append(optimizer.clip_grad_norm(clip).item())
        optimizer.step()
    return weights(model) | {"norms": np.array(norms)}


@case
def loop_with_adam():
    return loop(lambda p: gt.optim.AdamW(p, lr=0.01))


@case
def loop_with_clipping():
    return loop(lambda p: gt.optim.SGD(p, lr=0.1, momentum=0.9), clip=0.1)


@case
def loss_scale():
    """A gradient that overflows on the last rank only is left out on all."""
    rank, size = gt.distributed.rank(), gt.distributed.size()
    p = gt.tensor(np.ones(3), requires_grad=True)
    optimizer, scaler = gt.optim.SGD([p], lr=0.1), gt.optim.GradScaler(2.0**10)
    found = []
    for step in range(4):
        x = np.inf if step == 1 and rank == size - 1 else 1.0 + step
        optimizer.zero_grad()
        scaler.scale((p * x).sum()).backward()
        gt.distributed.average_gradients(optimizer)
        scaler.unscale(optimizer)
        optimizer.clip_grad_norm(100.0)
        scaler.step(optimizer)
        scaler.update()
        found.append([scaler.factor.item(), *p.detach().numpy()])
    return {"found": np.array(found)}


@case
def parameter_used_on_one_rank():
    """It moves by its share on all; one that is used nowhere stays, without weight decay, too."""
    rank, size = gt.distributed.rank(), gt.distributed.size()
    a, b, c = (gt.tensor(np.ones(2), requires_grad=True) for _ in range(3))
    optimizer = gt.optim.AdamW([a, b, c], lr=0.1, weight_decay=0.1)
    for step in range(3):
        optimizer.zero_grad()
        loss = (a * a).sum()
        if rank == step % size:
            loss = loss + size * (b * b).sum()
        loss.backward()
        gt.distributed.average_gradients(optimizer)
        optimizer.step()
    return {
        "a": a.detach().numpy(),
        "b": b.detach().numpy(),
        "c": c.detach().numpy(),
        "own": np.array([rank]),
    }


@case
def values_of_all():
    """all_reduce and broadcast of tensors, arrays and numbers of several dtypes."""
    rank, size = gt.distributed.rank(), gt.distributed.size()
    reduce = gt.distributed.all_reduce
    found = {}
    for dtype in ("float32", "float64", "float16", "int32", "int64", "complex64"):
        x = gt.asarray(np.arange(5).astype(dtype) * (rank + 1))
        total = reduce(x)
        assert total.dtype == x.dtype
        found[f"ranks {dtype}"] = total.numpy()
        np.testing.assert_array_equal(total.numpy(), np.arange(5) * (size * (size + 1) // 2))
    assert reduce(rank, "max") == size - 1
    assert reduce(rank, "min") == 0
    assert reduce(float(rank), "mean") == (size - 1) / 2
    assert reduce(rank, "mean") == (size - 1) / 2
    np.testing.assert_array_equal(reduce(np.eye(3)[::2] * rank), np.eye(3)[::2] * sum(range(size)))
    assert reduce(np.array([rank == 0]), "max").tolist() == [True]
    x = gt.tensor([1.0 + rank], requires_grad=True)
    assert not reduce(x).requires_grad
    assert x.detach().numpy() == [1.0 + rank]
    last = size - 1
    assert gt.distributed.broadcast({"a": rank}, root=last) == {"a": last}
    assert gt.distributed.broadcast(gt.tensor([rank]), root=last).item() == last
    gt.distributed.barrier()
    found["ranks first"] = np.array([reduce(int(gt.distributed.is_first()))])
    assert found["ranks first"] == 1
    assert gt.distributed.local_rank() == rank
    return found


@case
def state_that_is_saved_and_loaded():
    """Training goes on with another optimizer of the same state, which is that of one process."""
    x, y = data(rows=40)
    model = gt.nn.Sequential(gt.nn.Linear(12, 9), gt.nn.Tanh(), gt.nn.Linear(9, 4))
    gt.distributed.broadcast(model)
    optimizer = gt.optim.Adam(model.parameters(), lr=0.01)
    rank, size = gt.distributed.rank(), gt.distributed.size()
    own = slice(40 * rank // size, 40 * (rank + 1) // size)
    for step in range(6):
        if step == 3:
            state = optimizer.state_dict()
            optimizer = gt.optim.Adam(model.parameters(), lr=0.5)
            optimizer.load_state_dict(state)
        optimizer.zero_grad()
        gt.nn.functional.cross_entropy(model(gt.tensor(x[own])), gt.tensor(y[own])).backward()
        gt.distributed.average_gradients(optimizer)
        optimizer.step()
    state = {k: v for k, v in optimizer.state_dict().items() if k != "random"}
    held = sum(t.size for part in optimizer._parts for t in part.states.values())
    return weights(model) | state | {"own held": np.array([held])}


def synchronized_loop(model, parts, columns, capture=False, momentum=0.9):
    """A loop on batches of which each rank has an uneven part, perhaps of no rows."""
    rng = np.random.default_rng(3)
    gt.distributed.broadcast(model)
    optimizer = gt.optim.SGD(model.parameters(), lr=0.1, momentum=momentum)
    rank, size = gt.distributed.rank(), gt.distributed.size()
    model.train()

    def step(x, y, share):
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).mean() if len(x) else model(x).sum()
        (loss * share).backward()
        gt.distributed.average_gradients(optimizer, share=1.0)
        optimizer.step()

    run = gt.capture(step) if capture else step
    for rows in parts:
        x = rng.normal(1.0, 2.0, size=(rows, *columns)).astype(np.float32)
        y = rng.normal(size=(rows, 2)).astype(np.float32)
        bounds = [int(rows * (r / size) ** 1.5) for r in range(size)] + [rows]
        own = slice(bounds[rank], bounds[rank + 1])
        run(gt.tensor(x[own]), gt.tensor(y[own]), gt.tensor((own.stop - own.start) / rows))
    model.eval()
    found = {f"w.{k}": np.asarray(v) for k, v in model.state_dict().items()}
    return found | {"eval": model(gt.tensor(x)).detach().numpy()}


def normalized_rows(**options):
    norm = gt.nn.BatchNorm1d(5, synchronized=True, **options)
    return gt.nn.Sequential(gt.nn.Linear(3, 5), norm, gt.nn.Tanh(), gt.nn.Linear(5, 2))


@case
def synchronized_modules():
    return synchronized_loop(normalized_rows(), [24, 24, 24, 7, 3], (3,))


@case
def synchronized_modules_in_a_captured_step():
    return synchronized_loop(normalized_rows(), [24, 24, 24, 24, 7, 24, 7], (3,), capture=True)


@case
def synchronized_modules_of_plain_means():
    return synchronized_loop(normalized_rows(momentum=None, affine=False), [24, 9, 5], (3,))


@case
def synchronized_modules_without_running_means():
    """Evaluated, each rank takes the means of what it is given."""
    return synchronized_loop(normalized_rows(track_running_stats=False), [24, 9, 5], (3,))


@case
def synchronized_images_of_the_torch_door():
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)
    )
    model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return synchronized_loop(model, [16, 16, 5, 1], (2, 6, 6))


@case
def images_of_each_rank():
    """What is not synchronized is not that of the whole batch."""
    model = gt.nn.Sequential(gt.nn.Flatten(), gt.nn.Linear(8, 2), gt.nn.BatchNorm1d(2))
    found = synchronized_loop(model, [24, 24], (2, 4))
    return {f"own {k}": v for k, v in found.items()}


# Random numbers


@case
def own_initial_weights():
    """Weights that each rank drew for itself are those of the first."""
    gt.manual_seed(5 + gt.distributed.rank())
    return trained(dense(), *data())


@case
def random_numbers():
    """Outside of fit all ranks draw the same, inside each for itself."""
    seen = []

    class Noise(layers.Layer):
        def call(self, x):
            drawn = gt.random.default_generator.random((1,))
            seen.append(drawn.item())
            return x

    before = gt.random.default_generator.random((2,)).numpy()
    trained(dense(Noise()), *data(), epochs=1)
    after = gt.random.default_generator.random((2,)).numpy()
    return {"ranks before": before, "ranks after": after, "own noise": np.array(seen[-3:])}


@case
def dropout_of_a_seed():
    """A layer with numbers of its own has other masks on each rank, and the same in each run."""
    layer = layers.Dropout(0.5, seed=7)
    found = {f"ranks {k}": v for k, v in trained(dense(layer), *data(), epochs=1).items()}
    layer.train()
    return found | {"ranks mask": layer(gt.ones((64,))).numpy()}


# Callbacks


class Stop(keras.callbacks.Callback):
    def __init__(self, at, batch=None):
        super().__init__()
        self.at, self.batch = at, batch

    def on_epoch_end(self, epoch, logs=None):
        if self.batch is None and epoch == self.at:
            self.model.stop_training = True


class StopAtBatch(Stop):
    def on_train_batch_end(self, batch, logs=None):
        if batch == self.at:
            self.model.stop_training = True


@case
def stop_by_one_rank():
    """A wish of one rank, of the last one, is that of all."""
    last = gt.distributed.rank() == gt.distributed.size() - 1
    return trained(dense(), *data(), callbacks=[Stop(1)] if last else [], epochs=5)


@case
def stop_within_an_epoch_by_one_rank():
    last = gt.distributed.rank() == gt.distributed.size() - 1
    return trained(dense(), *data(), callbacks=[StopAtBatch(2)] if last else [], epochs=5)


@case
def measures_of_each_batch():
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append([logs["loss"], logs["accuracy"]])

    found = trained(dense(), *data(), callbacks=[Look()])
    return found | {"seen": np.array(seen)}


@case
def decisions_of_callbacks():
    x, y = data()
    kinds = keras.callbacks
    found = trained(
        dense(),
        x,
        y,
        optimizer=keras.optimizers.SGD(1.0),
        validation_split=0.3,
        epochs=12,
        callbacks=[
            kinds.ReduceLROnPlateau(patience=1, factor=0.5),
            kinds.EarlyStopping(patience=4, restore_best_weights=True),
        ],
    )
    return found


@case
def rate_set_by_the_first_rank():
    class Rate(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.optimizer.learning_rate = 0.1 / (epoch + 2)

    callbacks = [Rate()] if gt.distributed.is_first() else []
    return trained(dense(), *data(), optimizer=keras.optimizers.SGD(0.1), callbacks=callbacks)


@case
def loss_that_is_nan():
    """A NaN in the rows of one rank ends the training of all."""
    x, y = data()
    x[5] = np.nan
    model = dense()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = trained(model, x, y, callbacks=[keras.callbacks.TerminateOnNaN()], epochs=5)
    return {"epochs": np.array(found["h.loss"].shape)}


@case
def files_and_lines():
    """One rank writes files and prints."""
    folder = FOLDER / f"files{gt.distributed.size()}"
    if gt.distributed.is_first():
        folder.mkdir()
    gt.distributed.barrier()
    own = folder / f"rank{gt.distributed.rank()}"  # which the others would write, if they did
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        trained(
            dense(),
            *data(),
            verbose=2,
            validation_split=0.2,
            callbacks=[
                keras.callbacks.ModelCheckpoint(f"{own}.keras", verbose=1),
                keras.callbacks.CSVLogger(f"{own}.csv"),
                keras.callbacks.EarlyStopping(patience=0, verbose=1),
                keras.callbacks.LearningRateScheduler(lambda epoch: 0.01, verbose=1),
            ],
        )
    return {"own lines": np.array([len(said.getvalue().splitlines())])}


@case
def evaluation_by_the_first_rank():
    """evaluate and predict are no collective operations: one rank may call them alone."""
    x, y = data()
    model = dense()
    trained(model, x, y)
    if gt.distributed.is_first():
        model.evaluate(x, y, verbose=0)
        model.predict(x, verbose=0)
    return {"loss": np.array(model.evaluate(x, y, verbose=0))}


FOLDER = Path()


def main(folder, *names):
    """Run cases, all without names."""
    global FOLDER
    FOLDER = Path(folder)
    if "GPUTENSOR_TEST_SENT" in os.environ:  # as between machines
        from gputensor.distributed import mpi

        mpi._Memory = lambda *_: None
    gt.distributed.init(timeout=30, shard_state="GPUTENSOR_TEST_SHARDS" in os.environ)
    rank, size = gt.distributed.rank(), gt.distributed.size()
    for name in names or CASES:
        gt.manual_seed(11)
        keras.backend.clear_session()
        found = CASES[name]()
        np.savez(FOLDER / f"{name}.{size}.{rank}.npz", **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
