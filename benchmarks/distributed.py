"""Two processes on the CPU against one with one thread: images per second, and what MPI costs.

    python -m benchmarks.distributed [--processes 2] [--rounds 7] [--json FILE]

All train the same network with the same batches, in turns, round by round. What is quoted is the
median of the rounds' quotients, as other work on the machine slows both alike at best.

In each round the processes train once more without sums of gradients, each for itself. What an
epoch takes longer with them is what they cost: sums, and waiting for each other. The same sums are
timed with nothing else to do, too. They are hidden as far as they cost less than that.
"""

import argparse
import json
import os
import platform
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


def sums(team: Any, model: Any) -> float:
    """Seconds that the sums of a step take with nothing else to do."""
    import numpy as np

    from gputensor.distributed import gradients

    engine = model.optimizer.engine
    pieces = [
        np.zeros(stop - start, np.float32)
        for part in engine._parts
        for start, stop in gradients._buckets(part, part.first, part.first + part.size)
    ]
    found = []
    for _ in range(51):
        team.barrier()
        began = time.perf_counter()
        for piece in pieces:
            team.start(piece)
        team.join()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def work(kind: str, batch: int) -> None:
    """Be one of the processes: train an epoch for each line of the input, and print figures."""
    import gputensor as gt
    from gputensor.distributed.group import Group, group

    gt.distributed.init()
    gt.manual_seed(0)
    model, x, y = network(kind)
    model.compile("adam", "sparse_categorical_crossentropy")

    def epoch() -> float:
        gt.distributed.barrier()
        options: dict[str, Any] = {"epochs": 1, "verbose": 0, "capture": True}
        seconds: float = model.fit(x, y, batch_size=batch, **options).seconds[0]
        return seconds

    def nothing(self: Group, array: Any) -> None:
        self._started.append(-1)

    epoch()
    team, start = group(), Group.start
    rounds = int(sys.stdin.readline()) if gt.distributed.is_first() else 0
    for _ in range(gt.distributed.broadcast(rounds)):
        if gt.distributed.is_first():
            sys.stdin.readline()
        found = [epoch(), len(x)]
        if team is not None:
            Group.start = nothing  # type: ignore[assignment, method-assign]
            found.append(epoch())
            Group.start = start  # type: ignore[method-assign]
            found.append(sums(team, model) * -(-len(x) // batch))
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
                sys.exit("there is no mpiexec: pip install 'gputensor[mpi]'")
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
    quotients = [a[0] / b[0] for a, b in zip(alone, together, strict=True)]
    cost = [with_sums - without for with_sums, _, without, _ in together]
    return {
        "network": kind,
        "batch": batch,
        "processes": processes,
        "alone": statistics.median(count / seconds for seconds, count in alone),
        "together": statistics.median(count / seconds for seconds, count, *_ in together),
        "quotient": statistics.median(quotients),
        "quotients": quotients,
        "sums": statistics.median(b[3] / b[0] for b in together),
        "cost": statistics.median(c / b[0] for c, b in zip(cost, together, strict=True)),
        "hidden": 1 - statistics.median(c / b[3] for c, b in zip(cost, together, strict=True)),
        "seconds": {"alone": alone, "together": together},
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
    report = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    cases = [(kind, batch) for kind in ("dense", "convolutional") for batch in (256, 1024)]
    found = []
    for kind, batch in cases:
        figures = measure(kind, batch, args.processes, args.rounds)
        found.append(figures)
        print(
            f"{kind:13} batch {batch:4}: {figures['alone']:8.0f} images/s alone, "
            f"{figures['together']:8.0f} with {args.processes} processes, "
            f"{figures['quotient']:.2f} times; sums are {figures['sums']:.1%} of an epoch and "
            f"cost {figures['cost']:.1%}: {figures['hidden']:.0%} hidden",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps({**report, "cases": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
