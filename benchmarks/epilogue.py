"""Products with bias, bias + ReLU or a bias gradient: by a kernel, or by cublasLt's epilogue.

On CUDA only. ``chosen`` is what gputensor takes by its own measurement, ``refused`` why it takes no
epilogue however quick that is.
"""

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gputensor import config, epilogue
from gputensor.backend import Device, namespace
from gputensor.benchmarks import common
from gputensor.benchmarks.common import Call, Random, Report
from gputensor.ops import nn

PEERS = ()
REPEATS = 15
CUDA_ONLY = True

SHAPES = (  # rows, inputs, outputs
    *((32, 784, 64), (256, 784, 512), (256, 512, 10)),
    *((4096, 1024, 1024), (4096, 1024, 4096), (8192, 4096, 4096)),
)
DTYPES = ("float32", "tf32", "float16", "bfloat16")


def _forward(kind: str | None) -> Callable[..., Call]:
    return lambda xp, x, w, b, g: lambda: nn._dense_forward(xp, x, w, b, kind)


def _backward(xp: Any, x: Any, w: Any, b: Any, g: Any) -> Call:
    needs = False, True, True
    return lambda: nn._dense_rule(xp, needs, g, None, x, w, b, kind=None)


CASES = {"bias": _forward(None), "bias+ReLU": _forward("relu"), "bias gradient": _backward}


def _dtype(name: str) -> "np.dtype[Any]":
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype("float32" if name == "tf32" else name)


def _way(call: Call, forced: bool | None) -> Call:
    def forced_call() -> None:
        before, epilogue._forced = epilogue._forced, forced
        try:
            call()
        finally:
            epilogue._forced = before

    return forced_call


def _choice(call: Call, forced: bool | None) -> epilogue.Choice:
    """What is chosen for a call that has one product."""
    epilogue.choices.clear()
    _way(call, forced)()
    return next(iter(epilogue.choices.values()), epilogue.Choice(None, "operands are not aligned"))


def run(where: Device, peers: Sequence[str], repeats: int = REPEATS, shrink: int = 1) -> Report:
    """Time both ways.

    Parameters
    ----------
    where : Device
        The current device, a CUDA one.
    peers : sequence of str
        None.
    repeats : int
        Rounds.
    shrink : int
        Divides the dimensions, for tests.

    Returns
    -------
    Report
    """
    results: dict[str, Any] = {}
    bars: dict[str, float] = {}
    random, xp = Random(where), namespace(where)
    with common.copier(where, shrink) as (copy, _):
        clock = common.event_clock(copy)
        print(f"{'µs, device time':44}{'kernel':>10}{'epilogue':>10}{'ratio':>7}  chosen")
        for dtype in DTYPES:
            if dtype == "bfloat16" and importlib.util.find_spec("ml_dtypes") is None:
                print("bfloat16 is left out: NumPy has it from ml_dtypes, which is not installed")
                continue
            for m, k, n in ([max(1, size // shrink) for size in shape] for shape in SHAPES):
                shapes = (m, k), (k, n), (n,), (m, n)
                arrays = [random.normal(*shape).astype(_dtype(dtype)) for shape in shapes]
                for case, make in CASES.items():
                    with config.matmul_precision("tf32" if dtype == "tf32" else "ieee"):
                        name = f"{case} {m}x{k}x{n}, {dtype}"
                        row = _row(make(xp, *arrays), clock, repeats)
                    results[name] = row
                    print(_line(name, row), flush=True)
                    for label, stats in row["contestants"].items():
                        bars[f"{name}, {label}"] = stats["median"]
    record = {"title": f"Epilogues, {where}", "unit": "µs", "results": results}
    return Report(record | {"machine": common.machine(where)}, bars, "µs")


def _row(call: Call, clock: common.Clock, repeats: int) -> dict[str, Any]:
    ours = _choice(call, None)
    sound = _choice(call, True)  # leaves the epilogue to be timed, if it may be used at all
    ways = {"kernel": _way(call, False)}
    if sound.plan:
        ways["epilogue"] = _way(call, True)
    seconds = common.interleaved(common.timers(ways, clock), repeats)
    chosen = "epilogue" if ours.plan and sound.plan else "kernel"
    seconds["gputensor"] = seconds[chosen]
    row = {
        "contestants": common.summary(seconds, 1e6),
        "chosen": chosen,
        "because": ours.reason,
    }
    return row if sound.plan else row | {"refused": sound.reason}


def _line(name: str, row: dict[str, Any]) -> str:
    kernel = row["contestants"]["kernel"]["median"]
    text = f"{name:44}{kernel:>10.1f}"
    if "refused" in row:
        return f"{text}{'-':>10}{'-':>7}  {row['chosen']}; refused: {row['refused']}"
    fused = row["contestants"]["epilogue"]["median"]
    return f"{text}{fused:>10.1f}{fused / kernel:>7.2f}  {row['chosen']}"


if __name__ == "__main__":
    common.script("epilogue")
