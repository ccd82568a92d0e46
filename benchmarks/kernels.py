"""Each fused kernel on the CPU against its NumPy form: µs, GB/s, share of a memory copy."""

import argparse
import os
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

import common
from gputensor import config
from gputensor.backend import NAMESPACES
from gputensor.kernels import adam, bias_relu, gather_scale, philox, sgd
from gputensor.kernels.softmax_cross_entropy import forward_backward

TITLE = "Fused kernels on the CPU"
BEYOND_CACHE = 64 << 20  # bytes of a set of inputs that no cache holds


def sets(make: Callable[[], Any], nbytes: int) -> list[Any]:
    """As many input sets as take turns without staying in the cache, up to eight."""
    return [make() for _ in range(min(8, max(1, BEYOND_CACHE // max(nbytes, 1))))]


def cases() -> dict[str, tuple[list[Callable[[], object]], int]]:
    """By name: calls that take turns, and the bytes that one must read and write."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape, dtype=np.float32)

    found: dict[str, tuple[list[Callable[[], object]], int]] = {}

    def add(name: str, nbytes: int, make: Callable[[], Any], run: Callable[..., object]) -> None:
        calls = [lambda args=args: run(*args) for args in sets(make, nbytes)]
        found[name] = calls, nbytes

    for rows, columns in ((256, 512), (4096, 1024)):
        size = rows * columns
        label = f"{rows}x{columns}"
        add(
            f"bias+ReLU forward {label}",
            8 * size,
            lambda r=rows, c=columns: (normal(r, c), normal(c)),
            bias_relu.forward,
        )
        add(
            f"bias+ReLU backward {label}",
            12 * size,
            lambda r=rows, c=columns: (normal(r, c), np.maximum(normal(r, c), 0)),
            bias_relu.backward,
        )
        add(
            f"softmax cross-entropy {label}",
            8 * size,
            lambda r=rows, c=columns: (normal(r, c), rng.integers(0, c, r)),
            forward_backward,
        )
    for size in (407_050, 25_000_000):

        def step(p: Any, g: Any, m: Any, v: Any) -> None:
            count, ticket = np.ones(1, np.int64), np.zeros(1, np.uint32)
            adam.step(p, g, m, v, count, ticket, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8)

        add(
            f"Adam {size:,}",
            28 * size,
            lambda n=size: (normal(n), normal(n), normal(n), np.abs(normal(n))),
            step,
        )
        add(
            f"SGD with momentum {size:,}",
            20 * size,
            lambda n=size: (normal(n), normal(n), normal(n)),
            lambda p, g, u: sgd.step(p, g, u, lr=1e-3, momentum=0.9),
        )
    images = rng.integers(0, 256, (60_000, 784), dtype=np.uint8)
    add(
        "gather+scale 256 of 60000x784 uint8",
        5 * 256 * 784,
        lambda: (images, rng.integers(0, 60_000, 256)),
        lambda data, rows: gather_scale.gather_scale(data, rows, np.float32, 1 / 255),
    )
    add(
        "Philox 1,000,000 words",
        4_000_000,
        lambda: (),
        lambda: philox.random_bits(NAMESPACES[np.ndarray], 1_000_000, 1, 2),
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    source = np.random.default_rng(1).standard_normal(32 << 20, dtype=np.float32)
    target = np.empty_like(source)
    threads = config.cpu_threads()
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:

        def copy() -> None:
            list(pool.map(lambda pair: np.copyto(*pair), parts))

        copies = common.interleaved({"copy": copy}, 15)["copy"]
    ceiling = 2 * source.nbytes / statistics.median(copies) / 1e9
    print(f"Memory copy: {ceiling:.1f} GB/s read and written, with {threads} threads")

    record: dict[str, Any] = {"title": TITLE, "unit": "µs", "copy GB/s": ceiling, "results": {}}
    print(f"\n{'':38}{'kernel µs':>10}{'NumPy µs':>10}{'ratio':>7}{'GB/s':>8}{'of copy':>9}")
    for name, (calls, nbytes) in cases().items():
        turn = [0]

        def run(setting: str, calls: Any = calls, turn: list[int] = turn) -> None:
            os.environ["GPUTENSOR_KERNELS"] = setting
            turn[0] += 1
            calls[turn[0] % len(calls)]()

        both = {"gputensor": lambda run=run: run("auto"), "NumPy": lambda run=run: run("reference")}
        seconds = common.interleaved(both, args.repeats)
        ours, plain = (statistics.median(seconds[k]) for k in both)
        rate = nbytes / ours / 1e9
        record["results"][name] = {
            "median": ours * 1e6,
            "NumPy": plain * 1e6,
            "ratio": ours / plain,
            "GB/s": rate,
            "share of copy": rate / ceiling,
        }
        print(
            f"{name:38}{ours * 1e6:>10.1f}{plain * 1e6:>10.1f}{ours / plain:>7.2f}{rate:>8.1f}"
            f"{rate / ceiling:>9.0%}"
        )
    del os.environ["GPUTENSOR_KERNELS"]
    record["machine"] = common.machine()
    chart = {
        f"gputensor {name}": {"median": 1 / r["ratio"]} for name, r in record["results"].items()
    }
    common.write("kernels", record, chart, "times as fast as the NumPy form")


if __name__ == "__main__":
    main()
