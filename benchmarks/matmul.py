"""Matrix products in float32, m x k times k x n, against NumPy's or CuPy's and PyTorch's."""

from collections.abc import Sequence
from typing import Any

import gputensor as gt
from gputensor.backend import Device
from gputensor.benchmarks import common
from gputensor.benchmarks.common import Call, Case, Random, Report

PEERS = ("numpy", "torch")
REPEATS = 15

SQUARES = tuple((n, n, n) for n in (256, 1024, 2048))
CUDA_SQUARES = ((8192, 8192, 8192),)


def _draw(random: Random, m: int, k: int, n: int) -> dict[str, Any]:
    return {"a": random.normal(m, k), "b": random.normal(k, n)}


def _draw_transposed(random: Random, m: int, k: int, n: int) -> dict[str, Any]:
    return {"a": random.normal(k, m).T, "b": random.normal(k, n)}


def _gputensor(a: Any, b: Any) -> Call:
    x, y = gt.asarray(a), gt.asarray(b)
    return lambda: x @ y


def _plain(a: Any, b: Any) -> Call:
    return lambda: a @ b


def _torch(_: Any, a: Any, b: Any) -> Call:
    return lambda: a @ b


FORMS = (_gputensor, _torch, _plain)
CASES = (
    Case("square", SQUARES, CUDA_SQUARES, 2, _draw, *FORMS),
    Case("MNIST layer", ((256, 784, 512),), (), 2, _draw, *FORMS),
    Case("its weight gradient", ((784, 256, 512),), (), 2, _draw_transposed, *FORMS),
)


def run(where: Device, peers: Sequence[str], repeats: int = REPEATS, shrink: int = 1) -> Report:
    """Time the products; see :func:`common.compare`."""
    return common.compare("Matrix products", CASES, "GFLOP/s", where, peers, repeats, shrink)


if __name__ == "__main__":
    common.script("matmul")
