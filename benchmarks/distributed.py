"""Two processes on the CPU against one with one thread: images per second, and what MPI costs.

    python -m benchmarks.distributed [--processes 2] [--rounds 7] [--json FILE]

Both train the same network with the same batches, in turns, round by round. What is quoted is the
median of the rounds' quotients, as other work on the machine slows both alike at best.

A sum of gradients is hidden as far as nobody waits for it: 1 less the time that the step waits,
over the time that the sums take on their thread.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from pathlib import Path


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
    from gputensor.distributed.group import group

    gt.distributed.init()
    gt.manual_seed(0)
    model, x, y = network(kind)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=batch, epochs=1, verbose=0, capture=True)
    team = group()
    rounds = int(sys.stdin.readline()) if gt.distributed.is_first() else 0
    for _ in range(gt.distributed.broadcast(rounds)):
        if gt.distributed.is_first():
            sys.stdin.readline()
        gt.distributed.barrier()
        if team is not None:
            team.communicated = team.waited = 0.0
        history = model.fit(x, y, batch_size=batch, epochs=1, verbose=0, capture=True)
        found = [len(x) / history.seconds[0]]
        if team is not None:
            found += [team.communicated, team.waited, history.seconds[0]]
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


def measure(kind: str, batch: int, processes: int, rounds: int) -> dict[str, object]:
    """Figures of both, in turns: images per second, and shares of the time of an epoch."""
    one, several = (Trainers(n, kind, batch, rounds) for n in (1, processes))
    alone, together = [], []
    for _ in range(rounds):
        alone.append(one.train())
        together.append(several.train())
    quotients = [b[0] / a[0] for a, b in zip(alone, together, strict=True)]
    hidden = [1 - waited / max(taken, 1e-9) for _, taken, waited, _ in together]
    return {
        "network": kind,
        "batch": batch,
        "processes": processes,
        "alone": statistics.median(a[0] for a in alone),
        "together": statistics.median(b[0] for b in together),
        "quotient": statistics.median(quotients),
        "quotients": quotients,
        "sums": statistics.median(b[1] / b[3] for b in together),
        "waits": statistics.median(b[2] / b[3] for b in together),
        "hidden": statistics.median(hidden),
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
            f"{figures['quotient']:.2f} times; sums take {figures['sums']:.1%} of a step, "
            f"{figures['hidden']:.0%} of that hidden",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps({**report, "cases": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
