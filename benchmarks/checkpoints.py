"""What a checkpoint costs: writing against plain writing, and training while it is written.

``python benchmarks/checkpoints.py [--size 2GiB] [--folder FOLDER]``
"""

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import gputensor as gt

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


def plain_write(path: Path, arrays: list[Any]) -> float:
    """Seconds to write arrays' bytes and sync them."""
    began = time.perf_counter()
    with open(path, "wb") as file:
        for array in arrays:
            file.write(memoryview(array.reshape(-1).view(np.uint8)))
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - began


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
    found: dict[str, list[float]] = {name: [] for name in ("plain", "written", "call", "step")}
    busy: list[float] = []
    number = 1
    for _ in range(rounds):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(folder / "plain")
        os.sync()
        found["plain"].append(plain_write(folder / "plain", arrays))
        os.unlink(folder / "plain")
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
        "save_s": median["written"],
        "save_over_write": median["written"] / median["plain"],
        "best_save_over_write": least["written"] / least["plain"],
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
    options.add_argument("--size", nargs="+", default=["2MiB", "2GiB"], type=bytes_of)
    options.add_argument("--folder", type=Path, help="where to write; a temporary one by default")
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--rows", type=int, default=256, help="samples of a step")
    options.add_argument("--json", type=Path)
    args = options.parse_args()
    results = {}
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for size in args.size:
            results[size] = measure(size, Path(folder), args.rounds, args.rows)
            print(json.dumps(results[size], indent=1))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
