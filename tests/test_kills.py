"""SIGKILL at any moment: the same command goes on to the same bits; no file is ever half written.

``--kills 50`` does each fifty times.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gputensor.checkpoints import Checkpointer

pytestmark = [
    pytest.mark.cpu,
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL"),
]
HERE = Path(__file__).parent
ENVIRONMENT = os.environ | {"OPENBLAS_NUM_THREADS": "1"}


def started(script, *args):
    run = subprocess.Popen(
        [sys.executable, HERE / script, *map(str, args)],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    run.stdout.readline()
    return run


def ended(*args):
    """How long a run takes from its beginning, and what it ends with."""
    run = started("resumed_run.py", *args)
    began = time.monotonic()
    assert run.wait() == 0
    return time.monotonic() - began, (args[0] / "end").read_text()


@pytest.mark.parametrize("kind", ["fit", "loop"])
def test_runs_that_are_killed_end_with_the_same_bits(tmp_path, request, kind):
    rng = np.random.default_rng()
    seconds, expected = ended(tmp_path / "whole", 5, kind)
    count, resumed = request.config.option.kills, []
    for i in range(3 * count):
        folder = tmp_path / str(i)
        run = started("resumed_run.py", folder, 1 + i % 5, kind)
        time.sleep(rng.uniform(0, 0.9 * seconds))
        run.send_signal(signal.SIGKILL)
        if run.wait() != -signal.SIGKILL:  # it had ended
            continue
        resumed.append(Checkpointer(folder).latest)
        assert ended(folder, 1 + i % 5, kind)[1] == expected, resumed
        assert not list(folder.glob("*.tmp"))
        if len(resumed) == count:
            break
    print(f"{kind}: {len(resumed)} killed, and resumed at steps {resumed}")
    assert resumed


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(tmp_path, request):
    rng = np.random.default_rng()
    in_the_middle, before = 0, 0
    for _ in range(request.config.option.kills):
        run = started("writing_run.py", tmp_path)
        for _ in range(int(rng.integers(1, 4)) * 2):  # written, writing
            run.stdout.readline()
        time.sleep(rng.uniform(0, 0.03))
        run.send_signal(signal.SIGKILL)
        run.wait()
        in_the_middle += bool(list(tmp_path.glob("*.tmp")))
        saver = Checkpointer(tmp_path)
        assert not list(tmp_path.glob("*.tmp"))
        assert saver.latest > before
        before = saver.latest
        for step in saver.steps:
            found = saver.open(step).checkpoint()
            assert found.step == found["number"] == step
            assert (found["array"] == step).all()
    print(f"killed in the middle of writing: {in_the_middle} of {request.config.option.kills}")
