"""Cost of the tape: thirty small operations forward and backward, side by side in one run."""

from collections.abc import Sequence

import numpy as np

import gputensor as gt
from gputensor.backend import Device
from gputensor.benchmarks import common
from gputensor.benchmarks.common import Call, Report

TITLE = "30 operations on 8 floats, forward and backward"
PEERS = ("torch", "autograd", "numpy")
REPEATS = 25
CALLS = 200


def cases(where: Device, peers: Sequence[str], count: int) -> dict[str, Call]:
    """By contestant: a call that does it all `count` times."""
    rng = np.random.default_rng(0)
    w, b, x = (rng.standard_normal(8).astype(np.float32) for _ in range(3))
    found: dict[str, Call] = {}

    tensors = [gt.tensor(a, requires_grad=True) for a in (w, b, x)]

    def ours() -> None:
        for _ in range(count):
            z = tensors[2]
            for _ in range(10):
                z = gt.tanh(z * tensors[0] + tensors[1])
            z.sum().backward()

    found["gputensor"] = ours
    if "torch" in peers:
        import torch

        theirs = [torch.tensor(a, device=str(where), requires_grad=True) for a in (w, b, x)]

        def pytorch() -> None:
            for _ in range(count):
                z = theirs[2]
                for _ in range(10):
                    z = torch.tanh(z * theirs[0] + theirs[1])
                z.sum().backward()

        found["PyTorch eager"] = pytorch
    if "autograd" in peers:
        import autograd
        import autograd.numpy as anp

        def function(w, b, x):
            for _ in range(10):
                x = anp.tanh(x * w + b)
            return anp.sum(x)

        gradient = autograd.grad(function, (0, 1, 2))

        def hips() -> None:
            for _ in range(count):
                gradient(w, b, x)

        found["HIPS autograd"] = hips

    def plain() -> None:
        for _ in range(count):
            z = x
            for _ in range(10):
                z = np.tanh(z * w + b)
            z.sum()

    if "numpy" in peers:
        found["NumPy, forward only"] = plain
    return found


def run(where: Device, peers: Sequence[str], repeats: int = REPEATS, shrink: int = 1) -> Report:
    """Time the contestants; `shrink` divides the number of calls in a round."""
    count = max(1, CALLS // shrink)
    clock = common.host_clock(where)
    timers = common.timers(cases(where, peers, count), clock)
    table = common.summary(common.interleaved(timers, repeats), scale=1e6 / count)
    common.print_table(TITLE, "µs", table)
    record = {"title": TITLE, "unit": "µs", "machine": common.machine(where), "results": table}
    return Report(record, {name: row["median"] for name, row in table.items()}, "µs")


if __name__ == "__main__":
    common.script("overhead")
