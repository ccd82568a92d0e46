"""What is printed says what it is; what a notebook shows is HTML of the same."""

import io
import os
import subprocess
import sys
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest

import gputensor as gt
import gputensor.torch as torch
from gputensor import keras, shown
from gputensor.keras.layers import Dense, Dropout
from gputensor.keras.models import Sequential
from gputensor.shown import in_bytes, in_units
from gputensor.torch.utils.data import TensorDataset
from gputensor.training.display import Display
from gputensor.training.measures import Sums


class Cells(HTMLParser):
    """Texts of a table's cells, row by row; tags must be closed in order."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.open = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag != "br":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)


def fitted():
    model = Sequential([Dense(3, activation="relu", input_shape=(4,)), Dense(2, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x, y = np.zeros((8, 4), np.float32), np.zeros(8, int)
    return model, model.fit(x, y, epochs=2, verbose=0)


def test_a_module_prints_its_tree():
    net = gt.nn.Sequential(gt.nn.Dense(4, 3, "relu"), gt.nn.Dropout(0.2))
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Dense(weight: (4, 3), bias: (3,), activation='relu')\n"
        "  (1): Dropout(p=0.2)\n"
        ")"
    )
    rows = Cells(net._repr_html_()).rows
    assert rows[1] == ["0.weight", "(4, 3)", "float32", "12", "yes"]
    assert "15 elements" in net._repr_html_()


def test_an_optimizer_prints_its_settings():
    net = gt.nn.Dense(4, 3)
    text = repr(gt.optim.SGD(net.parameters(), lr=0.1, momentum=0.9))
    assert text.startswith("SGD(2 parameters, lr=0.1, momentum=0.9")
    assert repr(keras.optimizers.SGD(0.1)).startswith("SGD(learning_rate=0.1")


def test_a_keras_model_prints_its_summary():
    model, _ = fitted()
    printed = []
    model.summary(print_fn=printed.append)
    assert repr(model) == "\n".join(printed)
    assert "Total parameters: 23" in printed
    assert [row[-1] for row in Cells(model._repr_html_()).rows] == ["Parameters", "15", "8"]
    assert "units=3, activation='relu'" in repr(model.layers[0])
    assert "?" in repr(Sequential([Dense(3), Dropout(0.5)]))


def test_a_history_prints_its_last_epoch():
    _, history = fitted()
    assert repr(history).startswith("History of 2 epochs; the last: accuracy 1, loss 0.")
    head, *rows = Cells(history._repr_html_()).rows
    assert head == ["Epoch", "accuracy", "loss", "Time"]
    assert [row[0] for row in rows] == ["1", "2"]
    assert rows[0][-1].rpartition(" ")[2] in ("s", "ms")
    assert repr(keras.callbacks.History()) == "History of no epochs"


def test_a_tensor_in_a_notebook_is_its_text_and_its_range():
    shown = gt.tensor([1.0, 2.0])._repr_html_()
    assert "tensor([1., 2.]" in shown
    assert "shape (2,), float32" in shown
    assert "max 1999" in gt.arange(2000)._repr_html_()
    assert "&lt;" in gt.nn.Module._repr_html_(type("<b>", (gt.nn.Module,), {})())
    picture = gt.arange(784).reshape((28, 28))._repr_html_()
    assert picture.count("\n") < 10
    assert "monospace" in picture
    assert "shape (2, 3)" in torch.zeros(2, 3)._repr_html_()


@pytest.mark.cpu
def test_an_empty_tensor_says_its_shape():
    assert repr(gt.zeros((0, 3))) == "tensor([], shape=(0, 3), dtype=float32)"
    assert repr(gt.zeros(0)) == "tensor([], dtype=float32)"


def test_a_module_without_parameters_is_its_text_in_a_notebook():
    assert gt.nn.Dropout(0.2)._repr_html_() == "<code>Dropout(p=0.2)</code>"


def test_of_many_epochs_a_notebook_shows_the_first_and_the_last():
    history = keras.callbacks.History()
    for epoch in range(100):
        history.add(epoch, {"loss": 1.0})
        history.seconds.append(1.0)
    rows = Cells(history._repr_html_()).rows
    assert [row[0] for row in rows] == [
        "Epoch",
        *map(str, range(1, 11)),
        "…",
        *map(str, range(91, 101)),
    ]


def test_a_data_set_prints_its_size():
    samples = TensorDataset(gt.zeros((3, 2)))
    assert repr(samples) == "TensorDataset(3 samples)"
    loader = torch.utils.data.DataLoader(samples, batch_size=2, shuffle=True)
    assert repr(loader) == "DataLoader(TensorDataset(3 samples), 2 of batch_size=2)"
    assert repr(loader.sampler) == "RandomSampler(3 indices)"
    series = keras.utils.timeseries_dataset_from_array(np.arange(9.0), None, 3, batch_size=2)
    assert repr(series) == "Windows(4 batches)"
    assert repr(keras.utils.PyDataset()) == "PyDataset()"


def test_a_summary_of_memory_is_the_same_printed_or_not():
    summary = gt.memory_summary()
    assert repr(summary) == str(summary)
    assert "  tensors" in repr(summary)


def test_the_bar_is_there_on_a_terminal(monkeypatch):
    def bar():
        with Display(10, "Epoch 1/1", 1) as display:
            display.update(10)
        return sys.stdout.getvalue(), sys.stderr.getvalue()

    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.StringIO())
    assert bar() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    out, err = bar()
    assert (out, "Epoch 1/1" in err) == ("", True)


def test_the_bar_shows_no_loss_before_there_is_a_sample(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    sums = Sums(["loss"], gt.device("cpu"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Display(10, "Epoch 1/1", 1, sums) as display:
            for rows in (0, 0, 5, 5):
                display.update(rows)


@pytest.mark.parametrize("name", gt.optim.__all__)
def test_printing_an_optimizer_never_fails(name):
    kind = getattr(gt.optim, name)
    if isinstance(kind, type) and issubclass(kind, gt.optim.Optimizer) and name != "Optimizer":
        w = gt.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
        assert repr(kind([w], lr=0.01)).startswith(f"{name}(1 parameter, lr=0.01")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 s"),
        (3.2e-6, "3.2 µs"),
        (0.0456, "45.6 ms"),
        (0.1, "0.10 s"),
        (59.99, "59.99 s"),
        (119.7, "2 min 00 s"),
        (3600, "1 h 00 min"),
        (7199, "2 h 00 min"),
    ],
)
def test_times_are_told_in_units_that_people_read(seconds, text):
    assert in_units(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (5.5e7, "55.0 MB"), (3e9, "3.0 GB")],
)
def test_sizes_are_told_in_units_that_people_read(size, text):
    assert in_bytes(size) == text


@pytest.mark.cpu
def test_the_first_compilation_is_said_once_and_the_second_process_says_nothing(tmp_path):
    code = (
        "import numpy as np; import gputensor as gt; x = gt.tensor(np.ones((3, 4), 'f'));"
        "gt.nn.functional.softmax(x); gt.kernels.bias_activation(x, gt.ones(4), kind='relu')"
    )
    environment = os.environ | {"GPUTENSOR_CACHE": str(tmp_path)}
    environment.pop("NUMBA_CACHE_DIR", None)
    said = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            check=True,
        ).stderr
        for _ in range(2)
    ]
    assert said[0].splitlines() == [
        "Compiling loops for the CPU with Numba, some seconds that are spent once"
    ]
    assert said[1] == ""


def test_a_notice_is_given_once(capsys, monkeypatch):
    monkeypatch.setattr(shown, "_said", set())
    for text in ("one", "two", "one"):
        shown.notice(text)
    assert capsys.readouterr().err == "one\ntwo\n"


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        (keras.losses.MeanSquaredError(), "MeanSquaredError()"),
        (keras.losses.Huber(0.3, reduction="sum"), "Huber(reduction='sum', delta=0.3)"),
        (keras.metrics.AUC(curve="PR"), "AUC(curve='PR')"),
        (keras.metrics.Precision(name="p"), "Precision(name='p')"),
        (
            keras.optimizers.schedules.CosineDecay(0.1, 10),
            "CosineDecay(initial_learning_rate=0.1, decay_steps=10)",
        ),
        (keras.callbacks.EarlyStopping(patience=3), "EarlyStopping(patience=3, mode='min')"),
        (keras.callbacks.TerminateOnNaN(), "TerminateOnNaN()"),
        (keras.regularizers.L2(0.1), "L2(l2=0.1)"),
        (keras.initializers.HeNormal(seed=1), "HeNormal(seed=1)"),
        (keras.constraints.MaxNorm(3), "MaxNorm(max_value=3)"),
    ],
)
def test_what_training_is_made_of_shows_its_settings(thing, text):
    assert repr(thing) == text


def test_what_users_derive_shows_its_settings():
    class Mine(keras.callbacks.Callback):
        def __init__(self, n, m=2):
            super().__init__()
            self.n, self.m = n, m

    assert repr(Mine(4)) == "Mine(n=4)"
