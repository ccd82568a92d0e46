"""Ctrl-C in fit: what is saved, what is said, and how a script and a notebook end."""

import importlib.util
import os
import re
import signal
import subprocess
import sys

import pytest

from gputensor.checkpoints import Checkpointer
from gputensor.keras import callbacks
from resumed_run import fitted

pytestmark = [
    pytest.mark.cpu,
    pytest.mark.skipif(os.name == "nt", reason="Windows knows no signals"),
]

SCRIPT = """
import os, signal
import numpy as np
from gputensor import keras

class Press(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored behind a shell's &
model = keras.Sequential([keras.layers.Dense(1, input_shape=(2,))])
model.compile("sgd", "mse")
def fit(**options):
    model.fit(np.ones((64, 2)), np.ones(64), 8, epochs=2, callbacks=[Press()], **options)
"""


def ended(lines, cwd, *command):
    """Status and what a script of these lines says, or Python with another command line."""
    (cwd / "script.py").write_text(SCRIPT + lines, "utf-8")
    return subprocess.run(
        [sys.executable, *(command or ["script.py"])],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "Interrupted in epoch 1 of 2."),
        ("resume='run'", "Interrupted: step 3 is saved. The same fit with resume="),
    ],
)
def test_a_script_ends_by_the_signal_without_a_traceback(tmp_path, options, said):
    done = ended(f"fit({options})\nprint('not reached')", tmp_path)
    assert done.returncode == -signal.SIGINT  # which shells call 130
    assert said in done.stdout.replace("\n", " ")
    assert all(len(x) <= 80 or str(tmp_path) in x for x in done.stdout.splitlines())
    assert "not reached" not in done.stdout
    assert done.stderr == ""


def test_silent_training_is_interrupted_as_python_does_it(tmp_path):
    done = ended("fit(verbose=0)", tmp_path)
    assert done.returncode == -signal.SIGINT
    assert done.stdout == ""
    assert "Traceback" in done.stderr


def test_who_catches_the_interrupt_goes_on(tmp_path):
    done = ended(
        """
try:
    fit()
except KeyboardInterrupt as error:
    assert type(error) is KeyboardInterrupt
print("reached")
raise KeyError("an error after it")
""",
        tmp_path,
    )
    assert done.returncode == 1
    assert done.stdout.endswith("reached\n")
    assert "Traceback" in done.stderr
    assert "KeyError: 'an error after it'" in done.stderr


@pytest.mark.parametrize("lines", ["finally:\n    1 / 0", "except KeyboardInterrupt:\n    1 / 0"])
def test_an_error_while_cleaning_up_is_shown(tmp_path, lines):
    done = ended(f"try:\n    fit()\n{lines}", tmp_path)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "Traceback" in done.stderr


def test_an_excepthook_of_the_user_hears_of_all_else(tmp_path):
    done = ended(
        """
import sys
sys.excepthook = lambda kind, error, trace: print("theirs", kind.__name__)
try:
    fit()
except KeyboardInterrupt:
    pass
raise ValueError
""",
        tmp_path,
    )
    assert done.stdout.endswith("theirs ValueError\n")


@pytest.mark.skipif(importlib.util.find_spec("IPython") is None, reason="IPython is not installed")
def test_ipython_shows_one_line(tmp_path):
    command = ["-m", "IPython", "--no-banner", "--colors=NoColor", "-c"]
    done = ended("fit()", tmp_path, *command, "%run script.py")
    assert "Interrupted in epoch 1 of 2." in done.stdout
    assert done.stdout.splitlines()[-1] == "KeyboardInterrupt"
    assert "Traceback" not in done.stdout + done.stderr


class Raise(callbacks.Callback):
    """Raises in the so-maniest call of one of its methods."""

    def __init__(self, name, call):
        super().__init__()
        self.left = call
        setattr(self, name, self.count)

    def count(self, *args):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("name", "call", "step"),
    [
        ("on_train_batch_begin", 5, 5),
        ("on_train_batch_end", 5, 5),
        ("on_epoch_begin", 2, 13),
        ("on_epoch_end", 1, 12),
        ("on_test_end", 1, 12),
    ],
)
def test_an_interrupt_of_a_callback_saves(tmp_path, name, call, step):
    expected = fitted(None)
    heard = []
    after = callbacks.LambdaCallback(on_epoch_end=lambda *_: heard.append(1))
    with pytest.raises(KeyboardInterrupt):
        fitted(Checkpointer(tmp_path), extra=[Raise(name, call), after])
    assert Checkpointer(tmp_path).latest == step
    assert len(heard) == step // 12  # of an epoch's end all callbacks hear
    assert fitted(tmp_path) == expected


def test_an_interrupt_before_and_after_training_is_at_once(tmp_path):
    for name, latest in (("on_train_begin", None), ("on_train_end", 12)):
        with pytest.raises(KeyboardInterrupt):
            fitted(Checkpointer(tmp_path / name), epochs=1, extra=[Raise(name, 1)])
        assert Checkpointer(tmp_path / name).latest == latest


def test_what_is_said_of_a_second_interrupt_is_the_last_checkpoint(tmp_path, capsys):
    class Twice(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 4:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fitted(Checkpointer(tmp_path, every=2), extra=[Twice()])
    said = " ".join(capsys.readouterr().out.split())
    assert re.match("Interrupted at step 5: step [24] is saved. The same fit with resume=", said)
