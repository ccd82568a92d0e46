"""Our own code for an elementwise operation on CUDA: CuPy's arrays, without a driver below them.

    python benchmarks/launch.py [--repeats 25]

It needs CuPy and no GPU. Taking memory gives the same address again and again, and a launch does
nothing, so that what is left is the way from a call on tensors to the launch. Of the backward pass
an operation's share is shown.
"""

import argparse
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

import gputensor as gt
from gputensor.autograd import wrap

LIMIT = 6.0  # microseconds for a call


class Module:
    """In the place of ``cupy.RawModule``: kernels that do nothing."""

    def __init__(self, **options: Any) -> None: ...

    def compile(self) -> None:
        """Compile nothing."""

    def get_function(self, name: str) -> Any:
        """A kernel."""
        return lambda grid, block, arguments, **options: None


def without_driver() -> Any:
    """CuPy with an allocator and launches that do nothing."""
    import cupy  # type: ignore[import-not-found, unused-ignore]

    memory = cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(1 << 20, 1 << 20, None, 0), 0)
    cupy.cuda.set_allocator(lambda size: memory)
    cupy.RawModule = Module
    return cupy


def tensors(cupy: Any, count: int, *, requires_grad: bool = False) -> list[gt.Tensor]:
    """Tensors of 8 elements that nobody may read."""
    made = [wrap(cupy.ndarray((8,), np.float32)) for _ in range(count)]
    for t in made:
        t.requires_grad = requires_grad
    return made


def microseconds(call: Any, repeats: int, calls: int = 2000) -> float:
    """Median time of a call, of the processor: others may be at work."""
    call()
    found = []
    for _ in range(repeats):
        began = time.thread_time()
        for _ in range(calls):
            call()
        found.append((time.thread_time() - began) / calls * 1e6)
    return statistics.median(found)


def measured(repeats: int) -> dict[str, float]:
    """Microseconds by what is called."""
    cupy = without_driver()
    x, y = tensors(cupy, 2)
    p, q = tensors(cupy, 2, requires_grad=True)
    g = tensors(cupy, 1)[0]

    def chain() -> None:
        z = p
        for _ in range(10):
            z = gt.tanh(z * q + q)
        z.backward(g)
        p.grad = q.grad = None

    def forward() -> None:
        z = p
        for _ in range(10):
            z = gt.tanh(z * q + q)

    found = {
        "tanh(x)": microseconds(lambda: gt.tanh(x), repeats),
        "x * y": microseconds(lambda: x * y, repeats),
        "x * 2": microseconds(lambda: x * 2, repeats),
        "x * 0.1": microseconds(lambda: x * 0.1, repeats),
        "sum(x)": microseconds(lambda: gt.sum(x), repeats),
        "tanh(p), on the tape": microseconds(lambda: gt.tanh(p), repeats),
        "p * q, on the tape": microseconds(lambda: p * q, repeats),
    }
    both, there = (microseconds(call, repeats, 100) for call in (chain, forward))
    found["backward, a call's share"] = (both - there) / 30
    return found


def processor() -> str:
    """Name of the processor, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=25, help="rounds of which the median is")
    args = parser.parse_args()
    print(f"{processor()}, Python {platform.python_version()}; at most {LIMIT} µs a call")
    for name, time_of_it in measured(args.repeats).items():
        print(f"{name:28} {time_of_it:6.2f} µs")


if __name__ == "__main__":
    main()
