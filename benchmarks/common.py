"""What the benchmarks share: the machine, interleaved timing, tables, JSON and charts."""

import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Processor, versions, and what the BLAS libraries say of themselves."""
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), model)
    packages = "gputensor numpy numba cupy-cuda12x cupy-cuda13x torch jax autograd"
    versions = {}
    for name in packages.split():
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    facts = {
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
    }
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        print("threadpoolctl is not installed: BLAS architecture unknown")
    else:
        facts["blas"] = [
            {k: pool.get(k) for k in ("prefix", "version", "architecture", "num_threads")}
            for pool in threadpool_info()
        ]
    if "OPENBLAS_CORETYPE" in os.environ:
        print("OPENBLAS_CORETYPE is set: NumPy's matrix products may be slower than they could be")
    return facts


def interleaved(cases: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each case, one after the other in every round, after a round of warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(repeats + 1):
        for name, case in cases.items():
            began = time.perf_counter()
            case()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def summary(seconds: dict[str, list[float]], scale: float = 1.0) -> dict[str, dict[str, float]]:
    """Median and quartiles of each case, and the ratio of gputensor's median to its."""
    ours = statistics.median(seconds["gputensor"])
    found = {}
    for name, values in seconds.items():
        low, middle, high = statistics.quantiles(values, n=4)
        found[name] = {
            "median": middle * scale,
            "low": low * scale,
            "high": high * scale,
            "gputensor/this": ours / middle,
        }
    return found


def print_table(title: str, unit: str, table: dict[str, dict[str, float]]) -> None:
    """Print a summary."""
    print(f"\n{title}\n{'':34}{'median':>10} {'quartiles':>21}   gputensor / this")
    for name, row in table.items():
        quartiles = f"{row['low']:.4g} to {row['high']:.4g}"
        print(
            f"{name:34}{row['median']:>10.4g} {quartiles:>21} {row['gputensor/this']:>10.2f}   "
            f"{unit}"
        )


def write(name: str, record: dict[str, Any], table: dict[str, dict[str, float]], unit: str) -> None:
    """Write ``results/NAME.json`` and a bar chart ``results/NAME.png``."""
    from matplotlib.figure import Figure

    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(record, indent=2)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    figure = Figure(figsize=(8, 0.5 * len(table) + 1.2), layout="constrained")
    axes = figure.subplots()
    names = list(table)[::-1]
    values = [table[n]["median"] for n in names]
    colors = ["tab:green" if "gputensor" in n else "tab:gray" for n in names]
    bars = axes.barh(names, values, color=colors)
    axes.bar_label(bars, fmt="%.3g", padding=3)
    axes.set(xlabel=unit, title=record["title"])
    axes.margins(x=0.12)
    figure.savefig(RESULTS / f"{name}.png", dpi=120)
    print(f"Written: {RESULTS / name}.json and .png")
