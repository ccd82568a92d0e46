"""What a notebook shows: cells run by a kernel of Jupyter's, output by output."""

import os
import sys

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

pytestmark = pytest.mark.cpu

BEGIN = """
import os, signal
import numpy as np
import gputensor as gt
from gputensor import keras

class Press(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            os.kill(os.getpid(), signal.SIGINT)

model = keras.Sequential([keras.layers.Dense(1, input_shape=(2,))])
model.compile("sgd", "mse")
X, Y = np.ones((64, 2)), np.ones(64)
"""


@pytest.fixture(scope="module")
def run():
    """Run a cell; its outputs."""
    book = nbformat.v4.new_notebook()
    client = nbclient.NotebookClient(book, timeout=300, allow_errors=True)

    def one(source):
        book.cells.append(nbformat.v4.new_code_cell(source))
        client.execute_cell(book.cells[-1], len(book.cells) - 1)
        return book.cells[-1].outputs

    with client.setup_kernel(env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}):
        assert not one(BEGIN)
        yield one


def stream(outputs):
    """The text that is printed."""
    assert {o.name for o in outputs} <= {"stdout"}  # standard error is red
    return "".join(o.text for o in outputs)


def test_a_bar_leaves_nothing_but_the_lines_of_epochs(run):
    bar, *printed = run("model.fit(X, Y, 8, epochs=3); model.predict(X);")
    assert bar.output_type == "display_data"  # it was there, and was cleared
    assert bar.data == {"text/html": ""}
    lines = stream(printed).splitlines()
    assert [line[:9] for line in lines] == ["Epoch 1/3", "Epoch 2/3", "Epoch 3/3"]


@pytest.mark.parametrize(
    ("options", "said"), [("", "Interrupted in epoch 1 of 2."), ("resume='run'", "step 3 is saved")]
)
def test_an_interrupted_fit_says_how_to_go_on_without_a_traceback(run, tmp_path, options, said):
    run(f"os.chdir({str(tmp_path)!r})")
    _, *printed, error = run(f"model.fit(X, Y, 8, epochs=2, callbacks=[Press()], {options})")
    assert said in stream(printed)
    assert (error.output_type, error.ename) == ("error", "KeyboardInterrupt")
    assert error.traceback == ["KeyboardInterrupt"]
    (found,) = run("1 + 1")
    assert found.data["text/plain"] == "2"


@pytest.mark.parametrize(
    "code",
    [
        "gt.ones((2, 3))",
        "gt.nn.Dense(2, 3)",
        "model",
        "model.fit(X, Y, epochs=2, verbose=0)",
        "gt.memory_summary()",
        "gt.plot.curves(model.history)",
        "gt.plot.tape(model(gt.ones((1, 2))))",
        "keras.callbacks.EarlyStopping()",
    ],
)
def test_what_a_cell_ends_with_is_shown_once_and_is_no_address(run, code):
    (found,) = run(code)
    assert found.output_type == "execute_result"
    assert len(found.data["text/plain"]) < 1000
    assert " object at 0x" not in found.data["text/plain"]


def test_modules_are_reloaded_by_their_own_extension(run):
    assert not run("%load_ext autoreload\n%autoreload 2")
    (found,) = run("gt.grad(gt.sin)(gt.tensor(0.0)).item()")
    assert found.data["text/plain"] == "1.0"
