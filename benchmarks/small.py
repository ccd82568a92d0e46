"""Training of a model that is bound by launches and Python: 784-64-10 on MNIST, batch 32."""

from collections.abc import Sequence
from pathlib import Path

from gputensor.backend import Device
from gputensor.benchmarks import common, mnist
from gputensor.benchmarks.common import Report
from gputensor.benchmarks.mnist import PEERS, REPEATS

__all__ = ["PEERS", "REPEATS", "run"]


def run(
    where: Device,
    peers: Sequence[str],
    repeats: int = REPEATS,
    shrink: int = 1,
    data: Path | None = None,
) -> Report:
    """Time the contestants; parameters as for :func:`mnist.run`."""
    arrays = mnist.load(data)
    return mnist.report(
        mnist.epochs(where, peers, repeats, shrink, arrays, mnist.Sizes(hidden=64, batch=32))
    )


if __name__ == "__main__":
    common.script("small")
