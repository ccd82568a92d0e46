"""What a checkpoint costs: writing against plain writing, and training while it is written.

``python benchmarks/checkpoints.py [--size 2GiB] [--folder FOLDER]``
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import gputensor as gt
from gputensor.benchmarks import common

_FIGURES = ("plain", "durable", "written", "call", "step")
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def bytes_of(text: str) -> int:
    """A size such as 2GiB."""
    for unit, factor in _UNITS.items():
        if text.endswith(unit):
            return int(float(text.removesuffix(unit)) * factor)
    return int(text)


def state(size: int) -> tuple[gt.nn.Module, gt.optim.Optimizer]:
    """A model and its Adam, of so many bytes together."""
    width = max(8, int((size / 12 / 4) ** 0.5))
    layers = [gt.nn.Dense(width, width, "relu") for _ in range(4)]
    model = gt.nn.Sequential(*layers)
    return model, gt.optim.Adam(model.parameters(), lr=1e-4)


def train(model: Any, optimizer: Any, x: Any) -> Any:
    """A step, captured."""

    @gt.capture
    def step() -> Any:
        loss = (model(x) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def plain_write(path: Path, arrays: list[Any]) -> tuple[float, float]:
    """Seconds to write arrays' bytes and sync them; and until they are in their place, for good."""
    began = time.perf_counter()
    with open(path, "wb") as file:
        for array in arrays:
            file.write(memoryview(array.reshape(-1).view(np.uint8)))
        file.flush()
        os.fsync(file.fileno())
    written = time.perf_counter() - began
    os.replace(path, path.with_suffix(".done"))
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    return written, time.perf_counter() - began


def measure(size: int, folder: Path, rounds: int, rows: int) -> dict[str, Any]:
    """The figures of one size."""
    model, optimizer = state(size)
    width = model.parameters()[0].shape[0]
    x = gt.ones((rows, width))
    step = train(model, optimizer, x)
    for _ in range(3):
        step()
    saver = gt.checkpoints.Checkpointer(folder / "checkpoints", keep=1)
    what = {"model": model, "optimizer": optimizer}
    saver.save(1, **what)
    saver.wait()
    arrays = list(saver._staging.arrays.values())
    found: dict[str, list[float]] = {name: [] for name in _FIGURES}
    busy: list[float] = []
    number = 1
    for _ in range(rounds):
        os.sync()
        written, durable = plain_write(folder / "plain", arrays)
        found["plain"].append(written)
        found["durable"].append(durable)
        os.unlink(folder / "plain.done")
        os.sync()
        number += 1
        began = time.perf_counter()
        saver.save(number, **what)
        found["call"].append(time.perf_counter() - began)
        saver.wait()
        found["written"].append(time.perf_counter() - began)
        for _ in range(5):
            began = time.perf_counter()
            step()
            found["step"].append(time.perf_counter() - began)
        number += 1
        saver.save(number, **what)
        while saver.busy:
            began = time.perf_counter()
            step()
            busy.append(time.perf_counter() - began)
        saver.wait()
    median = {name: statistics.median(times) for name, times in found.items()}
    during = statistics.median(busy) if busy else median["step"]
    least = {name: min(times) for name, times in found.items()}
    return {
        "bytes": sum(a.nbytes for a in arrays),
        "write_and_sync_s": median["plain"],
        "write_move_and_sync_s": median["durable"],
        "save_s": median["written"],
        "save_over_write": median["written"] / median["plain"],
        "save_over_write_and_move": median["written"] / median["durable"],
        "least_save_over_write": least["written"] / least["plain"],
        "least_save_over_write_and_move": least["written"] / least["durable"],
        "save_call_s": median["call"],
        "step_s": median["step"],
        "step_while_writing_s": during,
        "steps_while_writing": len(busy) / rounds,
        "held_up": median["call"] / median["step"],
        "held_up_every_s": {
            str(every): (
                median["call"]
                + min(median["written"], every) * (1 - median["step"] / max(during, 1e-9))
            )
            / every
            for every in (10, 60, 600)
        },
    }


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--size", nargs="+", default=[2 << 20, 2 << 30], type=bytes_of)
    options.add_argument("--folder", type=Path, help="where to write; a temporary one by default")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--rows", type=int, default=256, help="samples of a step")
    options.add_argument("--json", type=Path)
    args = options.parse_args()
    results: dict[Any, Any] = {"machine": common.machine(gt.Device("cpu"))}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for size in args.size:
            place = Path(folder) / str(size)
            place.mkdir()
            results[size] = measure(size, place, args.rounds, args.rows)
            print(json.dumps(results[size], indent=1))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
