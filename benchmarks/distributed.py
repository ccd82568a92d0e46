"""Two processes on the CPU against one with one thread: images per second, and what MPI costs.

    python -m benchmarks.distributed [--processes 2] [--rounds 7] [--json FILE]

All train the same network with the same batches, in turns, round by round; the figures are medians.
In each round the processes train once more without sums of gradients, each for itself.

Elapsed time says little where other programs take turns on the cores: ranks that wait for each
other wait for these programs, too. So the processors' time of an epoch is quoted, too: of the one
process, and of a rank with all of its threads, which is how the quotient would be on cores of their
own. Of the time that the sums add to a rank, what its main thread does not spend is hidden.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def network(kind):  # type: ignore[no-untyped-def]
    """The network, and samples for it."""
    import numpy as np

    from gputensor import keras
    from gputensor.keras import layers

    rng = np.random.default_rng(0)
    if kind == "dense":
        x = rng.random((12800, 784), np.float32)
        stack = [layers.Dense(n, activation="relu") for n in (512, 512)]
        model = keras.Sequential([keras.Input((784,)), *stack, layers.Dense(10, "softmax")])
    else:
        x = rng.random((2560, 28, 28, 1), np.float32)
        stack = []
        for n in (16, 32):
            stack += [layers.Conv2D(n, 3, activation="relu"), layers.MaxPooling2D()]
        stack += [layers.Flatten(), layers.Dense(10, "softmax")]
        model = keras.Sequential([keras.Input((28, 28, 1)), *stack])
    return model, x, rng.integers(0, 10, len(x))


def work(kind: str, batch: int) -> None:
    """Be one of the processes: train an epoch for each line of the input, and print figures."""
    import gputensor as gt
    from gputensor.distributed.group import Group, group

    gt.distributed.init()
    gt.manual_seed(0)
    model, x, y = network(kind)
    model.compile("adam", "sparse_categorical_crossentropy")

    def epoch() -> tuple[float, float, float]:
        """Seconds elapsed, of the processor, and of it in the main thread."""
        gt.distributed.barrier()
        options: dict[str, Any] = {"epochs": 1, "verbose": 0, "capture": True}
        whole, main = time.process_time(), time.thread_time()
        seconds: float = model.fit(x, y, batch_size=batch, **options).seconds[0]
        return seconds, time.process_time() - whole, time.thread_time() - main

    def nothing(self: Group, array: Any, what: str = "") -> None:
        self._started.append(-1)

    epoch()
    team, start = group(), Group.start
    rounds = int(sys.stdin.readline()) if gt.distributed.is_first() else 0
    for _ in range(gt.distributed.broadcast(rounds)):
        if gt.distributed.is_first():
            sys.stdin.readline()
        found = [len(x), *epoch()]
        if team is not None:
            Group.start = nothing  # type: ignore[assignment, method-assign]
            found += epoch()
            Group.start = start  # type: ignore[method-assign]
        if gt.distributed.is_first():
            print(json.dumps(found), flush=True)


class Trainers:
    """Processes that train when they are told."""

    def __init__(self, count: int, kind: str, batch: int, rounds: int) -> None:
        command = [sys.executable, "-m", "benchmarks.distributed", "--work", kind, str(batch)]
        if count > 1:
            here = Path(sys.executable).parent
            mpiexec = shutil.which("mpiexec", path=here) or shutil.which("mpiexec")
            if mpiexec is None:
                sys.exit("there is no mpiexec: pip install mpi4py mpich")
            command = [mpiexec, "-n", str(count), *command]
        threads = dict.fromkeys(("OMP_NUM_THREADS", "GPUTENSOR_THREADS"), "1")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | threads | {"GPUTENSOR_DEVICE": "cpu"},
        )
        self._say(str(rounds))

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)

    def train(self) -> list[float]:
        """An epoch's figures."""
        self._say("")
        assert self._process.stdout is not None
        found: list[float] = json.loads(self._process.stdout.readline())
        return found


def measure(kind: str, batch: int, processes: int, rounds: int) -> dict[str, Any]:
    """Figures of both, in turns: images per second, and shares of the time of an epoch."""
    one, several = (Trainers(n, kind, batch, rounds) for n in (1, processes))
    alone, together = [], []
    for _ in range(rounds):
        alone.append(one.train())
        together.append(several.train())
    pairs = list(zip(alone, together, strict=True))
    return {
        "network": kind,
        "batch": batch,
        "processes": processes,
        "alone": statistics.median(a[0] / a[1] for a in alone),
        "together": statistics.median(b[0] / b[1] for b in together),
        "quotient": statistics.median(a[1] / b[1] for a, b in pairs),
        "quotient of processor time": statistics.median(a[2] / b[2] for a, b in pairs),
        "sums": statistics.median((b[2] - b[5]) / b[2] for b in together),
        "hidden": statistics.median(1 - (b[3] - b[6]) / (b[2] - b[5]) for b in together),
        "columns": "rows; seconds, of processor, of main thread; the same without sums",
        "rounds": {"alone": alone, "together": together},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all figures")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.work[0], int(args.work[1]))
        return
    from gputensor import Device
    from gputensor.benchmarks import common

    report = {"machine": common.machine(Device("cpu"))}
    cases = [(kind, batch) for kind in ("dense", "convolutional") for batch in (256, 1024)]
    found = []
    for kind, batch in cases:
        figures = measure(kind, batch, args.processes, args.rounds)
        found.append(figures)
        print(
            f"{kind:13} batch {batch:4}: {figures['alone']:8.0f} images/s alone, "
            f"{figures['together']:8.0f} with {args.processes} processes, "
            f"{figures['quotient']:.2f} times; by the processors' time "
            f"{figures['quotient of processor time']:.2f} times, sums {figures['sums']:.0%} of it, "
            f"{figures['hidden']:.0%} of that hidden",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps({**report, "cases": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
