"""Thirty operations on arrays of a million float32, one thread: forward, and with gradients."""

from collections.abc import Sequence

import numpy as np

import gputensor as gt
from gputensor import backend
from gputensor.backend import Device
from gputensor.benchmarks import common
from gputensor.benchmarks.common import Call, Report

TITLE = "30 operations on {:,} float32"
PEERS = ("torch", "numpy")
REPEATS = 15
SIZE = 1_000_000


def cases(where: Device, peers: Sequence[str], size: int) -> dict[str, dict[str, Call]]:
    """By direction and contestant: a call."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(size).astype(np.float32) for _ in range(3)]
    ours = [gt.tensor(a, requires_grad=True) for a in arrays]

    def chain() -> gt.Tensor:
        w, b, z = ours
        for _ in range(10):
            z = gt.tanh(z * w + b)
        return z.sum()

    def backward() -> None:
        for t in ours:
            t.grad = None
        chain().backward()

    forward: dict[str, Call] = {"gputensor": gt.no_grad(chain), "gputensor, taped": chain}
    both: dict[str, Call] = {"gputensor": backward}
    if "numpy" in peers:
        xp = backend.namespace(where)
        w, b, x = (t.array for t in ours)

        def plain() -> None:
            z = x
            for _ in range(10):
                z = xp.tanh(z * w + b)
            z.sum()

        forward["NumPy" if where == "cpu" else "CuPy"] = plain
    if "torch" in peers:
        import torch

        theirs = [torch.tensor(a, device=str(where), requires_grad=True) for a in arrays]

        def pytorch() -> None:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)  # as NumPy has one for these
            for t in theirs:
                t.grad = None
            w, b, z = theirs
            for _ in range(10):
                z = torch.tanh(z * w + b)
            z.sum().backward()
            torch.set_num_threads(threads)

        both["PyTorch eager, 1 thread"] = pytorch
    return {"forward": forward, "forward and backward": both}


def run(where: Device, peers: Sequence[str], repeats: int = REPEATS, shrink: int = 1) -> Report:
    """Time the contestants; `shrink` divides the size."""
    size = SIZE // shrink
    title = TITLE.format(size)
    tables = {}
    for direction, calls in cases(where, peers, size).items():
        timers = common.timers(calls, common.host_clock(where))
        tables[direction] = common.summary(common.interleaved(timers, repeats), scale=1e3)
        common.print_table(f"{title}, {direction}", "ms", tables[direction])
    record = {"title": title, "unit": "ms", "machine": common.machine(where), "results": tables}
    bars = {
        f"{name}, {direction}": row["median"]
        for direction, table in tables.items()
        for name, row in table.items()
    }
    return Report(record, bars, "ms")


if __name__ == "__main__":
    common.script("chain")
