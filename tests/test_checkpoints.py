"""Checkpoints: a run that is cut off anywhere goes on with the same bits; bad files are refused."""

import errno
import json
import os
import random
import signal
import threading
import time
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest

import gputensor as gt
import resumed_run
from gputensor import keras
from gputensor.checkpoints import Checkpointer, file
from gputensor.errors import CheckpointError
from gputensor.keras import callbacks, layers
from resumed_run import X, Y, fitted, looped

RNG = np.random.default_rng(3)


class Stop(callbacks.Callback):
    """Ends training as an error would, after so many batches."""

    def __init__(self, after=None):
        super().__init__()
        self.left = after

    def on_train_batch_end(self, batch, logs=None):
        if self.left is not None:
            self.left -= 1
            if not self.left:
                raise ZeroDivisionError


# A run goes on with the same bits


@pytest.mark.parametrize("capture", [True, False, "auto"])
@pytest.mark.parametrize(("after", "every"), [(5, 1), (12, 5), (13, 1), (40, 7), (71, 1)])
def test_fit_goes_on_with_the_same_bits(tmp_path, capture, after, every):
    expected = fitted(None, capture)
    saver = Checkpointer(tmp_path, every=every)
    with pytest.raises(ZeroDivisionError):
        fitted(saver, capture, extra=[Stop(after)])
    assert fitted(Checkpointer(tmp_path, every=every), capture, extra=[Stop()]) == expected


def test_captured_or_not_is_all_the_same_to_a_checkpoint(tmp_path):
    with pytest.raises(ZeroDivisionError):
        fitted(Checkpointer(tmp_path, every=2), True, extra=[Stop(30)])
    assert fitted(Checkpointer(tmp_path), False) == fitted(None, True)


@pytest.mark.parametrize("after", [None, 3, 9])
def test_metrics_that_learn_their_shape_by_the_first_batch_go_on(tmp_path, after):
    truth = np.eye(3, dtype=np.float32)[Y]

    class Rows(keras.metrics.Metric):
        """A user's, whose weight is made late."""

        total = None

        def update_state(self, y_true, y_pred, sample_weight=None):
            if self.total is None:
                self.total = self.add_weight((1,))
            self.total += y_pred.sum()

        def result(self):
            return self.total[0]

        def reset_state(self):
            if self.total is not None:
                self.total[...] = 0

    def run(epochs, stop=None, **options):
        gt.manual_seed(0)
        model = keras.Sequential([layers.Input((12,)), layers.Dense(3, activation="softmax")])
        kinds = [keras.metrics.F1Score(), keras.metrics.FBetaScore("micro", 2.0)]
        kinds += [keras.metrics.R2Score(num_regressors=5), Rows()]
        model.compile("adam", "categorical_crossentropy", metrics=kinds)
        options |= {"batch_size": 32, "verbose": 0}
        return model.fit(X, truth, epochs=epochs, callbacks=[Stop(stop)], **options).history

    whole = run(4)
    if after is None:
        run(2, resume=tmp_path)
    else:
        with pytest.raises(ZeroDivisionError):
            run(4, after, resume=Checkpointer(tmp_path, every=1))
    found = run(4, resume=tmp_path)
    for name, values in whole.items():
        np.testing.assert_array_equal(found[name], values, name)


def test_fit_that_was_cut_off_many_times_ends_the_same(tmp_path):
    for _ in range(9):
        with pytest.raises(ZeroDivisionError):
            fitted(Checkpointer(tmp_path, every=3), extra=[Stop(7)])
    assert fitted(Checkpointer(tmp_path)) == fitted(None)


def test_backup_and_restore_is_keras_name_for_it(tmp_path):
    def backup():
        return callbacks.BackupAndRestore(tmp_path, save_freq=3)

    with pytest.raises(ZeroDivisionError):
        fitted(None, extra=[backup(), Stop(20)])
    assert 12 <= Checkpointer(tmp_path).latest <= 19
    assert fitted(None, extra=[backup()]) == fitted(None)
    assert Checkpointer(tmp_path).latest is None
    with pytest.raises(ValueError, match="save_freq is 'batch'"):
        callbacks.BackupAndRestore(tmp_path, save_freq="batch")


def test_fit_that_has_ended_is_not_done_again(tmp_path):
    first = fitted(Checkpointer(tmp_path))
    began = []
    extra = [callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: began.append(epoch))]
    assert fitted(Checkpointer(tmp_path), extra=extra) == first
    assert not began
    assert fitted(Checkpointer(tmp_path), epochs=8) == fitted(None, epochs=8)


@pytest.mark.parametrize("capture", [True, False])
@pytest.mark.parametrize("after", [2, 4, 13, 25, 40])
def test_a_loop_goes_on_with_the_same_bits(tmp_path, capture, after):
    def at(step):
        if step == after:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        looped(Checkpointer(tmp_path), capture, at=at)
    assert looped(Checkpointer(tmp_path), capture) == looped(None, capture)


def rate_of_epochs(epoch, rate):
    return rate * 0.8


@pytest.mark.parametrize("after", [2, 3, 8, 12, 15])
def test_callbacks_go_on_as_they_were(tmp_path, after):
    def run(saver, stop, log):
        gt.manual_seed(2)
        model = keras.Sequential([layers.Dense(4, "tanh", input_shape=(12,)), layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.1, momentum=0.5), "mse", metrics=["mae"])
        told = [
            callbacks.LearningRateScheduler(rate_of_epochs),
            callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=10.0, cooldown=1),
            callbacks.CSVLogger(log),
            stop,
        ]
        history = model.fit(
            X, Y, 32, 5, 0, told, 0.1, steps_per_epoch=4, resume=saver
        )  # the order of the data goes on from epoch to epoch
        return resumed_run.digest(model.get_weights(), history.history), log.read_text()

    expected = run(None, Stop(), tmp_path / "a.csv")
    with pytest.raises(ZeroDivisionError):
        run(Checkpointer(tmp_path / "c", every=1), Stop(after), tmp_path / "b.csv")
    assert run(Checkpointer(tmp_path / "c"), Stop(), tmp_path / "b.csv") == expected


def forever():
    """Batches without end, by NumPy's shared numbers."""
    while True:
        rows = np.random.permutation(len(X))[:16]  # noqa: NPY002
        yield X[rows] + np.random.normal(size=(16, 12)).astype(np.float32), Y[rows]  # noqa: NPY002


class Batches:
    """Batches that are begun again in each epoch, in an order of Python's numbers."""

    def __iter__(self):
        order = list(range(12))
        random.shuffle(order)
        for i in order:
            yield X[16 * i : 16 * i + 16], Y[16 * i : 16 * i + 16]


class Kept:
    """Batches that know where they are."""

    def __init__(self):
        self.at = 0

    def __iter__(self):
        while self.at < 12:
            self.at += 1
            yield X[16 * self.at - 16 : 16 * self.at], Y[16 * self.at - 16 : 16 * self.at]
        self.at = 0

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


@pytest.mark.parametrize("after", [1, 5, 12, 13, 18])
@pytest.mark.parametrize(
    ("feed", "options"),
    [
        (forever, {"steps_per_epoch": 12}),
        (Batches, {}),
        (Batches, {"steps_per_epoch": 5}),
        (Kept, {}),
    ],
)
def test_batches_go_on_where_they_were(tmp_path, feed, options, after):
    def seeded():
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        return feed()

    expected = fitted(None, epochs=4, feed=seeded, **options)
    with pytest.raises(ZeroDivisionError):
        fitted(
            Checkpointer(tmp_path, every=1), epochs=4, feed=seeded, extra=[Stop(after)], **options
        )
    random.seed(5)
    assert fitted(Checkpointer(tmp_path), epochs=4, feed=seeded, **options) == expected


def test_layers_that_remember_states_go_on_with_them(tmp_path):
    series = RNG.normal(size=(32, 5, 2)).astype(np.float32)

    def run(saver, stop):
        gt.manual_seed(0)
        inputs = keras.Input((5, 2), batch_size=8)
        model = keras.Model(inputs, layers.Dense(1)(layers.LSTM(3, stateful=True)(inputs)))
        model.compile("sgd", "mse")
        model.fit(series, series[:, 0, :1], 8, 2, 0, [stop], shuffle=False, resume=saver)
        return resumed_run.digest(model.get_weights())

    with pytest.raises(ZeroDivisionError):
        run(Checkpointer(tmp_path, every=1), Stop(3))
    assert run(Checkpointer(tmp_path), Stop()) == run(None, Stop())


# What a checkpoint holds


def parts(seed=0):
    gt.manual_seed(seed)
    model = gt.nn.Sequential(gt.nn.Dense(3, 4, "relu"), gt.nn.Dense(4, 2))
    optimizer = gt.optim.Adam(model.parameters(), lr=0.01)
    model(gt.ones((2, 3))).sum().backward()
    optimizer.step()
    return {"model": model, "optimizer": optimizer}


def state(objects):
    found = [*objects["model"].state_dict().values()]
    found += [np.asarray(v) for v in objects["optimizer"].state_dict().values()]
    return resumed_run.digest(found, gt.random.default_generator.state, objects["optimizer"].lr)


def test_values_and_settings_come_back(tmp_path):
    saver = Checkpointer(tmp_path)
    objects = parts()
    objects["optimizer"].param_groups[0]["betas"] = (0.5, 0.75)
    objects["optimizer"].lr = 0.125
    values = {
        "text": "ä",
        "numbers": [1, 2.5, float("inf"), 2**100, None, True],
        "tree": {"a": (1, {"b": np.arange(3)})},
        "complex": np.array([1 - 2j, complex(0.0, -0.0)]),
    }
    before = state(objects)
    saver.save(7, metrics={"loss": 0.5, "nan": float("nan")}, **objects, **values)
    saver.wait()
    others = parts(1)
    found = Checkpointer(tmp_path).restore(**others)
    assert found.step == 7
    assert found.metrics["loss"] == 0.5
    assert found["numbers"] == values["numbers"]
    assert found["text"] == "ä"
    np.testing.assert_array_equal(found["tree"]["a"][1]["b"], np.arange(3))
    np.testing.assert_array_equal(found["complex"], values["complex"])
    assert state(others) == before
    assert others["optimizer"].betas == (0.5, 0.75)


def test_a_model_alone_may_be_taken_out(tmp_path):
    saver, objects = Checkpointer(tmp_path), parts()
    saver.save(1, **objects)
    other = parts(1)["model"]
    assert saver.restore(model=other).step == 1
    for a, b in zip(other.parameters(), objects["model"].parameters(), strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def test_shared_numbers_of_python_and_numpy_go_on(tmp_path):
    saver = Checkpointer(tmp_path)
    saver.save(1)
    drawn = random.random(), np.random.normal(), gt.random.default_generator.random().item()  # noqa: NPY002
    saver.restore()
    again = random.random(), np.random.normal(), gt.random.default_generator.random().item()  # noqa: NPY002
    assert drawn == again


def test_schedulers_of_the_torch_door_go_on(tmp_path):
    import gputensor.torch as torch

    def run(saver, until=20):
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Linear(3, 4),
            torch.nn.BatchNorm1d(4),
            torch.nn.Dropout(),
            torch.nn.Linear(4, 1),
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        schedulers = [
            torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=20),
            torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1),
        ]
        what = {"model": model, "optimizer": optimizer, "a": schedulers[0], "b": schedulers[1]}
        found = saver.restore(**what)
        for step in range(found.step if found else 0, until):
            optimizer.zero_grad()
            loss = (model(torch.randn(8, 3)) ** 2).mean()
            loss.backward()
            optimizer.step()
            schedulers[0].step()
            schedulers[1].step(1.0)
            saver.save(step + 1, **what)
        saver.wait()
        return [p.detach().cpu().numpy() for p in model.state_dict().values()]

    expected = run(Checkpointer(tmp_path / "a"))
    run(Checkpointer(tmp_path / "b"), 7)
    for a, b in zip(run(Checkpointer(tmp_path / "b")), expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_training_may_change_all_of_it_while_it_is_written(tmp_path, monkeypatch):
    written, held = threading.Event(), threading.Event()
    plain = file.write

    def slow(*args):
        written.set()
        held.wait(10)
        plain(*args)

    monkeypatch.setattr(file, "write", slow)
    saver, objects = Checkpointer(tmp_path), parts()
    values, numbers = np.zeros(1000), [1.0]
    before = state(objects)
    saver.save(1, values=values, numbers=numbers, **objects)
    assert written.wait(10)
    assert saver.busy
    assert saver.latest is None  # not before it is whole
    values += 1
    numbers.append(2.0)
    objects["model"](gt.ones((2, 3))).sum().backward()
    objects["optimizer"].step()
    assert state(objects) != before
    held.set()
    saver.wait()
    found = saver.restore(**objects)
    assert state(objects) == before
    assert found["numbers"] == [1.0]
    np.testing.assert_array_equal(found["values"], np.zeros(1000))


def test_the_last_ones_and_the_best_are_kept(tmp_path):
    saver = Checkpointer(tmp_path, keep=2, monitor="val_accuracy")
    for step, value in enumerate([0.5, 0.9, 0.7, float("nan"), 0.8, 0.9]):
        saver.save(step, metrics={"val_accuracy": value})
        if step == 3:
            saver.wait()
            saver = Checkpointer(tmp_path, keep=2, monitor="val_accuracy")
            saver.restore()
    saver.wait()
    assert saver.steps == [4, 5]
    assert saver.best == 5
    saver.save(6, metrics={"val_accuracy": 0.1})
    saver.save(7, metrics={"val_accuracy": 0.2})
    saver.wait()
    assert saver.steps == [5, 6, 7]
    assert (saver.latest, saver.best) == (7, 5)
    least = Checkpointer(tmp_path, monitor="val_accuracy", mode="min")
    assert least.best == 6
    (tmp_path / "step-000000001.safetensors.txt").touch()  # somebody's own
    saver.save(8)
    saver.wait()
    assert sorted(os.listdir(tmp_path))[0] == "step-000000001.safetensors.txt"


def test_an_earlier_checkpoint_takes_the_place_of_later_ones(tmp_path):
    saver = Checkpointer(tmp_path, keep=9)
    for step in range(5):
        saver.save(step, value=step)
    assert saver.restore(step=2)["value"] == 2
    assert saver.steps == [0, 1, 2, 3, 4]
    saver.save(3, value="new")
    saver.wait()
    assert saver.steps == [0, 1, 2, 3]
    assert saver.restore()["value"] == "new"


def test_a_run_does_not_write_into_another_ones_folder(tmp_path):
    saver = Checkpointer(tmp_path)
    saver.save(5)
    saver.wait()
    with pytest.raises(ValueError, match=r"has a checkpoint of step 5, .* go on from there with"):
        Checkpointer(tmp_path).save(3)
    with pytest.raises(ValueError, match=r"resume=True goes on from there, a run that begins anew"):
        resumed_run.keras_model().fit(X, Y, verbose=0, callbacks=[Checkpointer(tmp_path)])
    with pytest.raises(CheckpointError, match="was not saved by fit, but by a loop"):
        resumed_run.keras_model().fit(X, Y, verbose=0, resume=tmp_path)


def test_two_fits_with_one_checkpointer_count_on(tmp_path):
    model, saver = resumed_run.keras_model(), Checkpointer(tmp_path)
    for _ in range(2):
        model.fit(X, Y, 16, 1, 0, [saver])
    assert saver.steps == [12, 24]


# What goes wrong


def test_a_full_disk_is_told_once_and_training_goes_on(tmp_path, monkeypatch):
    plain, full = file.write, [True]

    def write(*args):
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(*args)

    saver = Checkpointer(tmp_path, every=1)
    monkeypatch.setattr(file, "write", write)
    with pytest.warns(
        UserWarning,
        match=r"no checkpoint could be written to .*: .*No space left"
        r".*training goes on",
    ) as caught:
        end = fitted(saver)
    assert len([w for w in caught if "checkpoint" in str(w.message)]) == 1
    assert end == fitted(None)
    full[0] = False
    saver.save(10**6)
    saver.wait()
    assert saver.latest == 10**6
    full[0] = True
    saver.save(10**6 + 1)
    with pytest.warns(UserWarning, match="the last checkpoint is that of step 1000000"):
        saver.wait()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    saver = Checkpointer(tmp_path / "file" / "below")
    saver.save(1)
    with pytest.warns(UserWarning, match="no checkpoint could be written"):
        saver.wait()
    assert saver.latest is None


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, capsys):
    expected = fitted(None)

    class Press(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 4:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fitted(Checkpointer(tmp_path), extra=[Press()])
    assert signal.getsignal(signal.SIGINT) is before
    said = capsys.readouterr().out.replace("\n", " ")
    assert f"step 5 is saved. The same fit with resume='{tmp_path}' goes on" in said
    assert Checkpointer(tmp_path).steps == [5]
    assert fitted(tmp_path) == expected


def test_ctrl_c_twice_interrupts_at_once(tmp_path):
    class Press(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        fitted(Checkpointer(tmp_path), extra=[Press()])
    assert Checkpointer(tmp_path).latest is None


def test_without_a_checkpointer_ctrl_c_is_pythons(monkeypatch):
    seen = []
    extra = [callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(signal.getsignal(2)))]
    fitted(None, epochs=1, extra=extra)
    assert seen == [signal.getsignal(signal.SIGINT)]


def test_other_data_in_the_middle_of_an_epoch_is_refused(tmp_path):
    with pytest.raises(ZeroDivisionError):
        fitted(Checkpointer(tmp_path, every=1), extra=[Stop(5)])
    model = resumed_run.keras_model()
    with pytest.raises(CheckpointError, match=r"batch_size 16, here 32.*nothing was changed"):
        model.fit(X, Y, 32, 6, 0, resume=tmp_path)
    with pytest.raises(CheckpointError, match="made with arrays, x gives batches"):
        model.fit(Batches(), epochs=6, verbose=0, resume=tmp_path)
    model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(CheckpointError, match="made with the measures"):
        model.fit(X, Y, 16, 6, 0, resume=tmp_path)


def test_words_that_do_not_fit_are_refused(tmp_path):
    for given in ({"keep": 0}, {"keep": True}, {"every": 1.5}, {"mode": "best"}):
        with pytest.raises(ValueError, match=next(iter(given))):
            Checkpointer(tmp_path, **given)
    saver = Checkpointer(tmp_path)
    assert saver.restore() is None
    with pytest.raises(ValueError, match="step is -1"):
        saver.save(-1)
    with pytest.raises(TypeError, match=r"x is a set.*allowed"):
        saver.save(1, x={1})
    with pytest.raises(TypeError, match="has no state; a schedule follows the steps"):
        saver.save(1, rate=gt.optim.schedules.cosine_decay(0.1, 10))
    saver.save(1, a=1, x=np.zeros(2))
    with pytest.raises(TypeError, match=r"take it from the result: found\['a'\]"):
        saver.restore(a=0)
    with pytest.raises(CheckpointError, match="has no b; it has a, x"):
        saver.restore(b=np.zeros(2))
    with pytest.raises(CheckpointError, match="has no checkpoint of step 3; there are those of 1"):
        saver.restore(step=3)
    with pytest.raises(CheckpointError, match="x was saved as a value, and is a module"):
        saver.restore(x=gt.nn.Dense(1, 1))
    with pytest.raises(ValueError, match="there is none; resume='folder' makes one"):
        resumed_run.keras_model().fit(X, Y, resume=True)


def test_folders_and_metrics_that_cannot_be_are_refused(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(NotADirectoryError, match=f"{name} is there, and is no folder"):
            Checkpointer(tmp_path / name)
    for folder in ("", 3, b"runs"):
        with pytest.raises(TypeError, match=r"folder is .*; it must be the path of a folder"):
            Checkpointer(folder)
    saver = Checkpointer(tmp_path / "run")
    with pytest.raises(TypeError, match="metrics is a ndarray; give a dict of numbers by name"):
        saver.save(1, metrics=np.ones(2))
    with pytest.raises(TypeError, match="the metric loss is 'low'; it must be a number"):
        saver.save(1, metrics={"loss": "low"})
    assert saver.steps == []


def test_a_run_stays_in_its_folder_where_the_program_goes_elsewhere(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "a")
    saver = Checkpointer("run")
    saver.save(1, x=1)
    saver.wait()
    monkeypatch.chdir(tmp_path / "b")
    saver.save(2, x=2)
    saver.wait()
    assert saver.steps == [1, 2]
    assert not list((tmp_path / "b").iterdir())


def test_a_monitor_that_is_not_among_the_metrics_is_told_once(tmp_path):
    saver = Checkpointer(tmp_path, monitor="val_loss")
    with pytest.warns(UserWarning, match=r"monitor is 'val_loss', and the metrics .* are loss"):
        saver.save(1, metrics={"loss": 1.0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        saver.save(2, metrics={"loss": 1.0})
        saver.wait()


def test_names_that_the_format_has_for_itself_come_back(tmp_path):
    saver = Checkpointer(tmp_path)
    saver.save(1, __metadata__=np.ones(2))
    saver.wait()
    np.testing.assert_array_equal(saver.restore()["__metadata__"], np.ones(2))


def test_another_optimizer_is_refused_and_nothing_changed(tmp_path):
    saver, objects = Checkpointer(tmp_path), parts()
    saver.save(1, **objects)
    other = parts(1)
    model = other["model"]
    before = [p.detach().numpy().copy() for p in model.parameters()]
    for optimizer in (
        gt.optim.AdamW(model.parameters(), lr=0.01),
        gt.optim.SGD(model.parameters(), lr=0.01, momentum=0.9),
        gt.optim.Adam(model.parameters()[:2], lr=0.01),
    ):
        with pytest.raises(CheckpointError, match="nothing was changed"):
            saver.restore(model=model, optimizer=optimizer)
        for a, p in zip(before, model.parameters(), strict=True):
            np.testing.assert_array_equal(a, p.detach().numpy())


# Three hundred bad files


def raw_parts(path):
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def forged(header, body, checksum=True):
    """A file of this header, with a right checksum if that is wanted."""
    header["__metadata__"]["checksum"] = "00000000"
    text = header["text"] if "text" in header else json.dumps(header, separators=(",", ":"))
    text = text.encode()
    found = 0
    entries = [v for k, v in header.items() if k not in ("__metadata__", "text")]
    for start, stop in sorted(entry["data_offsets"] for entry in entries):
        found = zlib.crc32(body[start:stop], found)
    found = zlib.crc32(text, found)
    if checksum:
        text = text.replace(b'"checksum":"00000000"', b'"checksum":"%08x"' % found)
    return len(text).to_bytes(8, "little") + text + body


def mutation(kind, path, rng):
    """Bytes of a file that is bad in one way."""
    content = path.read_bytes()
    header, body = raw_parts(path)
    names = [n for n in header if n.startswith("model.")]
    name = names[rng.integers(len(names))]
    length = int.from_bytes(content[:8], "little")
    if kind == "truncated":
        return content[: rng.integers(len(content))]
    if kind in ("bit in the header", "bit in the data", "bit in the length"):
        low, high = {"header": (8, 8 + length), "data": (8 + length, len(content))}.get(
            kind.split()[-1], (0, 8)
        )
        at = int(rng.integers(low, high))
        return content[:at] + bytes([content[at] ^ (1 << int(rng.integers(8)))]) + content[at + 1 :]
    if kind == "longer":
        return content + bytes(int(rng.integers(1, 100)))
    if kind == "shape":  # as many numbers, in another shape
        size = int(np.prod(header[name]["shape"]))
        header[name]["shape"] = [size, 1, 1]
        return forged(header, body)
    if kind == "dtype":
        header[name]["dtype"] = "I32" if header[name]["dtype"] != "I32" else "F32"
        return forged(header, body)
    if kind == "holes":  # in the data, or before the first
        at = int(rng.choice([header[n]["data_offsets"][0] for n in header if n[:2] != "__"]))
        for entry in header.values():
            if "data_offsets" in entry and entry["data_offsets"][0] >= at:
                entry["data_offsets"] = [n + 8 for n in entry["data_offsets"]]
        return forged(header, body[:at] + bytes(8) + body[at:])
    if kind == "places exchanged":
        a, b = rng.choice([n for n in header if n[:2] != "__"], 2, replace=False)
        header[a]["data_offsets"], header[b]["data_offsets"] = (
            header[b]["data_offsets"],
            header[a]["data_offsets"],
        )
        same = header[a]["shape"] == header[b]["shape"]
        return forged(header, body, checksum=not same)
    if kind == "other byte order":
        if rng.integers(2):
            return content[7::-1] + content[8:]
        return content[: 8 + length] + np.frombuffer(body, "<u4").byteswap().tobytes()
    if kind in ("huge number", "no number", "nothing", "two of a kind", "another step"):
        word = {
            "huge number": str(rng.choice(["1e999", "9" * 400, "9" * 5000, "-1e400"])),
            "no number": str(rng.choice(["NaN", "Infinity", "-Infinity"])),
            "nothing": str(rng.choice(["null", "{}", "[]", '"1"', ""])),
            "two of a kind": '1,"step":1',
            "another step": str(rng.integers(2, 10)),
        }[kind]
        text = header["__metadata__"]["gputensor.checkpoint"]
        assert '"step":1,' in text
        header["__metadata__"]["gputensor.checkpoint"] = text.replace(
            '"step":1,', f'"step":{word},'
        )
        return forged(header, body)
    if kind == "plan":  # a part of the structure is something else
        inside = json.loads(header["__metadata__"]["gputensor.checkpoint"])
        at, keys = inside["what"]["optimizer"], rng.permutation(["dict", "tensor", "list", "?"])
        while isinstance(at[1], dict) and "dict" in at[1] and rng.integers(4):
            at = at[1]["dict"][rng.integers(len(at[1]["dict"]))]
        at[1] = [{keys[0]: [[1]]}, {keys[0]: "x"}, {}, [1], {keys[0]: 1, keys[1]: 2}][
            rng.integers(5)
        ]
        header["__metadata__"]["gputensor.checkpoint"] = json.dumps(inside)
        return forged(header, body)
    if kind == "unknown dtype":
        header[name]["dtype"] = str(rng.choice(["F8_E4M3", "F128", "X", ""]))
        return forged(header, body)
    if kind == "huge length":
        return int(rng.integers(2**40, 2**62)).to_bytes(8, "little") + content[8:]
    if kind == "huge shape":
        header[name]["shape"] = [int(rng.integers(2**30, 2**62)), 2]
        return forged(header, body)
    if kind == "huge offsets":
        header[name]["data_offsets"] = [0, int(rng.integers(2**40, 2**62))]
        return forged(header, body)
    if kind == "overlap":
        other = names[(names.index(name) + 1) % len(names)]
        header[name]["data_offsets"] = header[other]["data_offsets"]
        return forged(header, body)
    if kind == "duplicate name":
        text = json.dumps(header, separators=(",", ":"))
        entry = json.dumps({name: header[name]}, separators=(",", ":"))[1:-1]
        header["text"] = text[:-1] + "," + entry + "}"
        return forged(header, body)
    if kind == "path as a name":
        header[str(rng.choice(["../../x", "/etc/x", "model.\u0000", "model.."]))] = header.pop(name)
        return forged(header, body)
    if kind == "name is missing":
        start, stop = header.pop(name)["data_offsets"]
        for entry in header.values():
            if "data_offsets" in entry and entry["data_offsets"][0] >= stop:
                entry["data_offsets"] = [n - (stop - start) for n in entry["data_offsets"]]
        return forged(header, body[:start] + body[stop:])
    if kind == "one more name":
        header["model.more"] = {
            "dtype": "U8",
            "shape": [4],
            "data_offsets": [len(body), len(body) + 4],
        }
        inside = json.loads(header["__metadata__"]["gputensor.checkpoint"])
        inside["what"]["model"][1]["dict"].append(["more", {"array": "model.more"}])
        header["__metadata__"]["gputensor.checkpoint"] = json.dumps(inside)
        return forged(header, body + b"more")
    if kind == "version":
        inside = json.loads(header["__metadata__"]["gputensor.checkpoint"])
        inside["version"] = int(rng.choice([0, 1, 3, 9]))
        header["__metadata__"]["gputensor.checkpoint"] = json.dumps(inside)
        return forged(header, body)
    if kind == "no checksum":
        found = header["__metadata__"]
        del found["checksum"]
        text = json.dumps(header, separators=(",", ":")).encode()
        return len(text).to_bytes(8, "little") + text + body
    if kind == "foreign":
        return (b"PK\x03\x04" + content, b"\x89HDF\r\n" + content, b"", b"\x80\x04.", bytes(64))[
            int(rng.integers(5))
        ]
    assert kind == "another safetensors file"
    header["__metadata__"] = {"format": "pt", "checksum": ""}
    return forged(header, body, checksum=False)


KINDS = [
    "holes",
    "places exchanged",
    "other byte order",
    "huge number",
    "no number",
    "nothing",
    "two of a kind",
    "another step",
    "plan",
    "truncated",
    "bit in the header",
    "bit in the data",
    "bit in the length",
    "longer",
    "shape",
    "dtype",
    "unknown dtype",
    "huge length",
    "huge shape",
    "huge offsets",
    "overlap",
    "duplicate name",
    "path as a name",
    "name is missing",
    "one more name",
    "version",
    "no checksum",
    "foreign",
    "another safetensors file",
]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    saver = Checkpointer(folder)
    saver.save(1, **large())
    saver.wait()
    return saver.path(1)


def large(seed=0):
    gt.manual_seed(seed)
    model = gt.nn.Sequential(gt.nn.Dense(64, 400, "relu"), gt.nn.Dense(400, 10))
    return {"model": model, "optimizer": gt.optim.Adam(model.parameters(), lr=0.01)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_file_is_refused_and_changes_nothing(tmp_path, good, kind):
    objects = large(1)
    before, shared = state(objects), random.getstate()
    path = Checkpointer(tmp_path).path(1)
    for i in range(10):
        path.write_bytes(mutation(kind, good, np.random.default_rng([KINDS.index(kind), i])))
        saver = Checkpointer(tmp_path)
        tracemalloc.start()
        with pytest.raises(CheckpointError, match="nothing was changed") as caught:
            saver.restore(**objects)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert str(path) in str(caught.value)
        assert peak < path.stat().st_size + 200_000, kind
        assert state(objects) == before
        assert random.getstate() == shared


def test_what_is_no_file_of_its_own_is_refused(tmp_path, good):
    """Two files in each other's place, a link that leads nowhere, a pipe, a folder."""
    saver, objects = Checkpointer(tmp_path), large(1)
    for step in (1, 2):
        saver.save(step, **large(step))
    saver.wait()
    one, two = saver.path(1), saver.path(2)
    one.rename(tmp_path / "other")
    two.rename(one)
    (tmp_path / "other").rename(two)
    before = state(objects)
    with pytest.raises(CheckpointError, match="checkpoint of step 1; nothing was changed"):
        saver.restore(**objects)
    with pytest.raises(CheckpointError, match="checkpoint of step 2; nothing was changed"):
        saver.restore(1, **objects)
    places = [lambda: two.symlink_to(tmp_path / "nowhere"), two.mkdir]
    if hasattr(os, "mkfifo"):
        places.append(lambda: os.mkfifo(two))
    for make in places:
        two.rmdir() if two.is_dir() else two.unlink()
        make()
        with pytest.raises(CheckpointError, match="nothing was changed"):
            saver.restore(**objects)
        assert state(objects) == before
    one.unlink()
    one.symlink_to(good)  # a file elsewhere is as good
    assert saver.restore(1, **objects).step == 1


def test_a_damaged_one_does_not_keep_others_from_being_the_best(tmp_path):
    saver = Checkpointer(tmp_path, monitor="loss", keep=1)
    saver.save(1, metrics={"loss": 0.5}, value=1)
    saver.wait()
    header, body = raw_parts(saver.path(1))
    inside = header["__metadata__"]["gputensor.checkpoint"]
    for text in ("null", "{}", '{"dict":[["loss",{"list":[]}]]}', '{"dict":[["loss","x"]]}'):
        bad = inside.replace('{"dict":[["loss",0.5]]}', text)
        assert bad != inside
        header["__metadata__"]["gputensor.checkpoint"] = bad
        saver.path(1).write_bytes(forged(header, body))
        saver = Checkpointer(tmp_path, monitor="loss", keep=1)
        assert saver.best is None
        saver.last = 1
        saver.save(2, metrics={"loss": 1.0}, value=2)
        saver.wait()
        assert saver.steps == [2]
        assert saver.best == 2
        saver.path(2).unlink()


def test_the_good_file_is_taken(good):
    objects = large(1)
    assert Checkpointer(good.parent).restore(**objects).step == 1
    first = large(0)
    for a, b in zip(objects["model"].parameters(), first["model"].parameters(), strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def test_the_one_before_a_damaged_one_is_named(tmp_path):
    saver = Checkpointer(tmp_path)
    for step in (1, 2):
        saver.save(step, value=step)
    saver.wait()
    with open(saver.path(2), "r+b") as damaged:
        damaged.truncate(100)
    with pytest.raises(CheckpointError, match=r"restore\(step=1\) takes the one before"):
        saver.restore()
    assert saver.restore(step=1)["value"] == 1
    saver.path(2).unlink()
    saver.path(2).mkdir()
    with pytest.raises((CheckpointError, OSError)):
        saver.restore()


@pytest.mark.peers
def test_the_package_reads_our_files(good):
    safetensors = pytest.importorskip("safetensors.torch")
    found = safetensors.load_file(good)
    weights = {k: v for k, v in found.items() if k.startswith("model.")}
    for name, array in large(0)["model"].state_dict().items():
        np.testing.assert_array_equal(weights[f"model.{name}"].numpy(), array)


def test_states_are_compared_before_anything_is_changed(tmp_path, monkeypatch):
    saver, objects = Checkpointer(tmp_path), parts()
    saver.save(1, **objects)
    others = parts(1)
    before = state(others)

    def fail(found):
        raise RuntimeError("broken half-way")

    object.__setattr__(others["optimizer"], "load_live_state", fail)
    with pytest.raises(CheckpointError, match="optimizer does not take its state: broken"):
        saver.restore(**others)
    assert state(others) == before


def test_a_monitor_that_was_not_measured_is_said(tmp_path):
    saver = Checkpointer(tmp_path, monitor="val_los")
    with pytest.warns(
        UserWarning, match="monitor is 'val_los', and the metrics of this checkpoint are val_loss"
    ):
        saver.save(1, metrics={"val_loss": 0.5})
    saver.save(2)  # without measures there is nothing to say
    saver.wait()
