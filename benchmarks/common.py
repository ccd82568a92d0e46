"""What the benchmarks share: peers, the machine, timing, tables, JSON files and charts."""

import contextlib
import ctypes
import functools
import importlib.metadata
import importlib.util
import itertools
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_info

from gputensor import backend, config
from gputensor.backend import Array, Device

RESULTS = Path(__file__).parent / "results"
LABELS = {"torch": "PyTorch", "jax": "JAX", "autograd": "HIPS autograd", "numpy": "NumPy"}

Call = Callable[[], object]
Clock = Callable[[Call], float]  # seconds of a call
Timer = Callable[[], float]  # seconds of a contestant's next turn


class PeerError(ValueError):
    """A peer that is not known, or not to be had."""


class Report(NamedTuple):
    """What a benchmark found.

    Attributes
    ----------
    record : dict
        For the JSON file; has a title.
    bars : dict
        For the chart: a number by label.
    axis : str
        What the numbers are.
    """

    record: dict[str, Any]
    bars: dict[str, float]
    axis: str


class Case(NamedTuple):
    """A computation, the forms of it that are compared, and at which shapes.

    A form takes the inputs by name, prepares, and returns the call to time.

    Attributes
    ----------
    name : str
    shapes, cuda_shapes : tuples of tuples of ints
        Shapes to run at; those that only a GPU is asked to.
    work : int
        Bytes read and written, or operations done, for each element of a shape.
    draw : callable
        ``draw(random, *shape)`` gives the inputs, arrays by name; `random` is a :class:`Random`.
    gputensor : callable
        ``gputensor(**arrays)``.
    torch : callable, optional
        ``torch(module, **tensors)``.
    plain : callable, optional
        ``plain(**arrays)`` with NumPy or CuPy; else gputensor's, which
        ``GPUTENSOR_KERNELS=reference`` makes plain.
    """

    name: str
    shapes: tuple[tuple[int, ...], ...]
    cuda_shapes: tuple[tuple[int, ...], ...]
    work: int
    draw: Callable[..., dict[str, Array]]
    gputensor: Callable[..., Call]
    torch: Callable[..., Call] | None = None
    plain: Callable[..., Call] | None = None


# Peers


def _absent(peer: str, where: Device) -> str:
    """Why a peer cannot run on a device; empty if it can."""
    if importlib.util.find_spec(peer) is None:
        extra = "test" if peer == "autograd" else "peers"
        return f'it is not installed; python -m pip install -e ".[{extra}]" does that'
    if where.kind == "cuda" and peer == "torch":
        import torch

        return "" if torch.cuda.is_available() else "it finds no CUDA device"
    if where.kind == "cuda" and peer == "jax":
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leave memory for others
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")  # IEEE, as all others multiply
        return "" if jax.default_backend() == "gpu" else "it finds no CUDA device"
    return ""


def choose_peers(asked: str | None, offered: Sequence[str], where: Device) -> list[str]:
    """Peers to compare with.

    Parameters
    ----------
    asked : str, optional
        Names with commas between them; else all that are there.
    offered : sequence of str
        Those that the benchmark knows.
    where : Device

    Returns
    -------
    list of str

    Raises
    ------
    PeerError
        If a peer that was asked for is unknown or cannot run.
    """
    chosen = []
    names = offered if asked is None else [n.strip() for n in asked.split(",") if n.strip()]
    for name in names:
        if name not in LABELS:
            raise PeerError(f"there is no peer {name!r}; there are {', '.join(LABELS)}")
        reason = "" if name in offered else "this benchmark has no form for it"
        if not reason:
            reason = _absent(name, where)
            if reason and asked is not None:
                raise PeerError(f"cannot compare with {name}: {reason}")
        if reason:
            print(f"{LABELS[name]} is left out: {reason}")
        else:
            chosen.append(name)
    return chosen


# The machine


def machine(where: Device) -> dict[str, Any]:
    """Processors, versions, and what the BLAS libraries say of themselves."""
    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), model)
    packages = "gputensor numpy numba cupy-cuda12x cupy-cuda13x torch jax autograd"
    versions = {}
    for name in packages.split():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    facts: dict[str, Any] = {
        "device": str(where),
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
    }
    if where.kind == "cuda":
        from cupy.cuda import runtime

        facts["gpu"] = runtime.getDeviceProperties(where.index)["name"].decode()
        facts["CUDA driver"] = runtime.driverGetVersion()
        facts["CUDA runtime"] = runtime.runtimeGetVersion()
    facts["blas"] = [
        {k: pool.get(k) for k in ("prefix", "version", "architecture", "num_threads")}
        for pool in threadpool_info()
    ]
    if "OPENBLAS_CORETYPE" in os.environ:
        print("OPENBLAS_CORETYPE is set: NumPy's matrix products may be slower than they could be")
    return facts


def _cache_bytes(where: Device) -> int:
    """Size that no cache of the device exceeds."""
    if where.kind == "cuda":
        return 256 << 20
    path = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
    kib = int(path.read_text(encoding="ascii").strip().rstrip("K")) if path.exists() else 0
    return max(kib << 10, 64 << 20)


# Inputs


class Random:
    """Source of inputs on a device, the same in every run."""

    def __init__(self, where: Device) -> None:
        self._rng = np.random.default_rng(0)
        self._where = where

    def normal(self, *shape: int) -> Array:
        """Normally distributed float32."""
        return backend.to_device(self._rng.standard_normal(shape, np.float32), self._where)

    def integers(self, high: int, shape: Any, dtype: Any = np.int64) -> Array:
        """Integers from 1 to ``high - 1``."""
        return backend.to_device(self._rng.integers(1, high, shape, dtype), self._where)


def input_sets(name: str, draw: Callable[[], dict[str, Array]], nbytes: int) -> list[Any]:
    """Sets of inputs to use in turn, together larger than `nbytes`, so that no cache holds them.

    Raises
    ------
    ValueError
        If an input is all zeros: such data can be quicker to move, and hides work.
    """
    found = [draw()]
    size = sum(a.nbytes for a in found[0].values())
    found += [draw() for _ in range(nbytes // size)] if size else []
    for key, array in ((k, a) for inputs in found for k, a in inputs.items()):
        if not array.any():
            raise ValueError(f"{name}: input {key!r} is all zeros, which would not be timed fairly")
    return found


# Timing


def host_clock(where: Device) -> Clock:
    """Clock of the host, which waits for the device before and after."""

    def clock(call: Call) -> float:
        backend.synchronize(where)
        began = time.perf_counter()
        call()
        backend.synchronize(where)
        return time.perf_counter() - began

    return clock


def _cupy_events() -> tuple[Any, Any, Callable[[], bool], Callable[[], float]]:
    import cupy

    start, stop = cupy.cuda.Event(), cupy.cuda.Event()
    return start, stop, lambda: start.done, lambda: cupy.cuda.get_elapsed_time(start, stop)


def _torch_events() -> tuple[Any, Any, Callable[[], bool], Callable[[], float]]:
    import torch

    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    return start, stop, start.query, lambda: start.elapsed_time(stop)


def event_clock(copy: Call, events: Callable[[], Any] = _cupy_events) -> Clock:
    """Clock of the GPU: the time between two events in its queue.

    Copies of memory are queued before, so that the GPU is still busy with them when the host has
    issued the call; else the clock would show how quick the host is.
    """

    def clock(call: Call) -> float:
        for copies in (1, 4, 16, 64):
            start, stop, reached, milliseconds = events()
            for _ in range(copies):
                copy()
            start.record()
            call()
            stop.record()
            late = reached()
            stop.synchronize()
            if not late:
                break
        return milliseconds() / 1e3

    return clock


def issue_seconds(where: Device, call: Call, count: int = 20) -> float:
    """Host time of a call, which is not waited for."""
    backend.synchronize(where)
    began = time.perf_counter()
    for _ in range(count):
        call()
    seconds = time.perf_counter() - began
    backend.synchronize(where)
    return seconds / count


def launches(call: Call) -> int | None:
    """Kernels, fills and copies that a call launches; None if that cannot be found out."""
    import cupy

    count = ctypes.c_size_t()
    try:
        with cupy.cuda.Stream(non_blocking=True) as stream:
            call()  # takes memory, which the capture then finds at hand
            stream.synchronize()
            stream.begin_capture()
            try:
                call()
            finally:
                graph = stream.end_capture()
        driver = ctypes.CDLL("libcuda.so.1")
        failed = driver.cuGraphGetNodes(ctypes.c_void_p(graph.graph), None, ctypes.byref(count))
    except Exception:  # whatever a driver, or a call that waits, may raise in a capture
        return None
    return None if failed else count.value


def timers(calls: dict[str, Call], clock: Clock) -> dict[str, Timer]:
    """A timer for each call."""
    return {name: functools.partial(clock, call) for name, call in calls.items()}


def interleaved(timers: dict[str, Timer], repeats: int) -> dict[str, list[float]]:
    """Seconds of contestants that take turns in every round, after a round of warm-up."""
    from tqdm import tqdm

    # Shown on a terminal alone, and only if it takes a while.
    shown = tqdm(range(repeats + 1), desc="rounds", delay=2, leave=False, disable=None)
    rounds = [{name: timer() for name, timer in timers.items()} for _ in shown]
    return {name: [seconds[name] for seconds in rounds[1:]] for name in timers}


def summary(seconds: dict[str, list[float]], scale: float = 1.0) -> dict[str, dict[str, float]]:
    """Median and quartiles of each contestant, and the ratio of gputensor's median to its."""
    ours = statistics.median(seconds["gputensor"])
    found = {}
    for name, values in seconds.items():
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        found[name] = {
            "median": middle * scale,
            "low": low * scale,
            "high": high * scale,
            "gputensor/this": ours / middle,
        }
    return found


def copy_rate(where: Device, clock: Clock, copy: Call, nbytes: int) -> float:
    """GB/s, read and written, of a copy of `nbytes`; printed."""
    rate = 2e-9 * nbytes / statistics.median(interleaved({"": lambda: clock(copy)}, 15)[""])
    print(f"Memory copy on {where}: {rate:.1f} GB/s read and written")
    return rate


@contextlib.contextmanager
def copier(where: Device, shrink: int = 1) -> Iterator[tuple[Call, int]]:
    """A copy of memory as quick as the device can, and its bytes."""
    size = (1 << 26 if where.kind == "cuda" else 1 << 25) // shrink
    xp = backend.namespace(where)
    source = xp.arange(1, size + 1, dtype=np.float32)
    target = xp.empty_like(source)
    if where.kind == "cuda":
        yield lambda: xp.copyto(target, source), source.nbytes
        return
    threads = config.cpu_threads()
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:
        yield lambda: list(pool.map(lambda pair: np.copyto(*pair), parts)), source.nbytes


@contextlib.contextmanager
def kernels_setting(value: str) -> Iterator[None]:
    """Set ``GPUTENSOR_KERNELS`` for a while."""
    before = os.environ.get("GPUTENSOR_KERNELS", "")
    os.environ["GPUTENSOR_KERNELS"] = value
    config.kernels_setting.cache_clear()
    try:
        yield
    finally:
        os.environ["GPUTENSOR_KERNELS"] = before
        config.kernels_setting.cache_clear()


# Comparisons


def _contestants(
    case: Case, sets: list[Any], where: Device, peers: Sequence[str]
) -> dict[str, tuple[str, list[Call]]]:
    """By label: value of ``GPUTENSOR_KERNELS``, and a call for each set of inputs."""
    found = {"gputensor": ("auto", [case.gputensor(**inputs) for inputs in sets])}
    if "numpy" in peers:
        form = case.plain or case.gputensor
        label = "NumPy" if where.kind == "cpu" else "CuPy"
        found[label] = ("reference", [form(**inputs) for inputs in sets])
    if "torch" in peers and case.torch:
        import torch

        shared = [{k: torch.from_dlpack(a) for k, a in inputs.items()} for inputs in sets]
        found["PyTorch"] = ("auto", [case.torch(torch, **tensors) for tensors in shared])
    return found


def _header(labels: Sequence[str], unit: str, of_copy: bool, on_cuda: bool) -> str:
    text = f"\n{'µs; ratio: gputensor / this':38}{'gputensor':>10}{'quartiles':>20}"
    text += "".join(f"{label:>10}{'ratio':>7}" for label in labels)
    text += f"{unit:>9}" + f"{'of copy':>9}" * of_copy
    return text + f"{'launches':>10}{'host µs each':>14}" * on_cuda


def _line(name: str, row: dict[str, Any], labels: Sequence[str], unit: str) -> str:
    stats = row["contestants"]
    ours = stats["gputensor"]
    quartiles = f"{ours['low']:.1f} to {ours['high']:.1f}"
    text = f"{name:38}{ours['median']:>10.1f}{quartiles:>20}"
    for label in labels:
        if label in stats:
            text += f"{stats[label]['median']:>10.1f}{stats[label]['gputensor/this']:>7.2f}"
        else:
            text += f"{'-':>10}{'-':>7}"
    text += f"{ours[unit]:>9.1f}"
    text += f"{row['share of copy']:>9.0%}" if "share of copy" in row else ""
    if "launches" in row:
        each = row["host µs per launch"]
        text += f"{row['launches'] or '?':>10}{f'{each:.1f}' if each else '?':>14}"
    return text


def _in_turns(
    forms: dict[str, tuple[str, list[Call]]], clock: Clock, clocks: dict[str, Clock], lead: float
) -> dict[str, Timer]:
    """Timers of contestants, by `clock` or their own, after `lead` seconds of untimed calls."""
    turn = itertools.count()  # one for all, so that nobody finds the last one's inputs in the cache

    def timer(setting: str, calls: list[Call], clock: Clock) -> Timer:
        def seconds() -> float:
            with kernels_setting(setting):
                begin = time.perf_counter() + lead
                while time.perf_counter() < begin:
                    calls[next(turn) % len(calls)]()
                return clock(calls[next(turn) % len(calls)])

        return seconds

    return {label: timer(*form, clocks.get(label, clock)) for label, form in forms.items()}


def _launch_cost(where: Device, call: Call) -> dict[str, Any]:
    with kernels_setting("auto"):
        count, host = launches(call), 1e6 * issue_seconds(where, call)
    each = host / count if count else None
    return {"launches": count, "host µs": host, "host µs per launch": each}


def compare(
    title: str,
    cases: Sequence[Case],
    unit: str,
    where: Device,
    peers: Sequence[str],
    repeats: int,
    shrink: int = 1,
) -> Report:
    """Time every case at every shape, and print a line for each.

    Parameters
    ----------
    title : str
    cases : sequence of Case
    unit : {"GB/s", "GFLOP/s"}
        What the work of a case amounts to; GB/s are set against those of a copy.
    where : Device
        The current device.
    peers : sequence of str
    repeats : int
        Rounds.
    shrink : int
        Divides the first dimension of shapes and the other sizes, for tests.

    Returns
    -------
    Report
    """
    on_cuda = where.kind == "cuda"
    results: dict[str, Any] = {}
    record: dict[str, Any] = {"title": f"{title}, {where}", "unit": "µs", "results": results}
    bars: dict[str, float] = {}
    random = Random(where)
    # CPU threads of the one before spin for some time after its turn (OpenBLAS's for 2**26 cycles),
    # and hold cores.
    lead = 0.0 if on_cuda else 0.06 / shrink
    labels = [("NumPy", "CuPy")[on_cuda]] * ("numpy" in peers) + ["PyTorch"] * ("torch" in peers)
    with copier(where, shrink) as (copy, nbytes):
        clock = event_clock(copy) if on_cuda else host_clock(where)
        clocks = {"PyTorch": event_clock(copy, _torch_events)} if on_cuda else {}
        if unit == "GB/s":
            record["copy GB/s"] = copy_rate(where, clock, copy, nbytes)
        print(_header(labels, unit, "copy GB/s" in record, on_cuda))
        for case, full in ((c, s) for c in cases for s in (*c.shapes, *c.cuda_shapes * on_cuda)):
            shape = (max(1, full[0] // shrink), *full[1:])
            name = f"{case.name} {'x'.join(map(str, shape)) if shape[1:] else f'{shape[0]:,}'}"
            draw = functools.partial(case.draw, random, *shape)
            sets = input_sets(name, draw, _cache_bytes(where) // shrink)
            forms = _contestants(case, sets, where, peers)
            row: dict[str, Any] = {}
            seconds = interleaved(_in_turns(forms, clock, clocks, lead), repeats)
            row["contestants"] = summary(seconds, 1e6)
            for label, stats in row["contestants"].items():
                stats[unit] = case.work * math.prod(shape) / stats["median"] / 1e3
                bars[f"{name}, {label}"] = stats[unit]
            if "copy GB/s" in record:
                rate = row["contestants"]["gputensor"][unit]
                row["share of copy"] = rate / record["copy GB/s"]
            if on_cuda:
                row |= _launch_cost(where, forms["gputensor"][1][0])
            results[name] = row
            print(_line(name, row, labels, unit), flush=True)
    record["machine"] = machine(where)
    return Report(record, bars, unit)


# Output


def print_table(title: str, unit: str, table: dict[str, dict[str, float]]) -> None:
    """Print a summary, in `unit` but for the ratio."""
    median = f"median, {unit}"
    print(f"\n{title}\n{'':32}{median:>12} {'quartiles':>21}   gputensor / this")
    for name, row in table.items():
        quartiles = f"{row['low']:.4g} to {row['high']:.4g}"
        print(f"{name:32}{row['median']:>12.4g} {quartiles:>21} {row['gputensor/this']:>18.2f}")


_MOST_BARS = 40  # one above the other


def plot(report: Report, path: Path) -> None:
    """Draw a bar chart, side by side in parts if there are many bars."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    names = list(report.bars)
    parts = -(-len(names) // _MOST_BARS)
    each = -(-len(names) // parts)
    figure = Figure(figsize=(7 * parts + 1, 0.24 * each + 1.5), layout="constrained")
    for i, axes in enumerate(figure.subplots(1, parts, squeeze=False, sharex=True)[0]):
        shown = names[i * each : (i + 1) * each][::-1]
        colors = ["tab:green" if "gputensor" in n else "tab:gray" for n in shown]
        bars = axes.barh(shown, [report.bars[n] for n in shown], color=colors)
        axes.bar_label(bars, fmt="%.3g", padding=3, fontsize=8)
        axes.tick_params(axis="y", labelsize=8)
        axes.set(xlabel=report.axis)
        axes.margins(x=0.12, y=0.02)
    key = [Patch(color="tab:green", label="gputensor"), Patch(color="tab:gray", label="others")]
    figure.suptitle(report.record["title"])
    figure.legend(handles=key, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    figure.savefig(path, dpi=120)


def save(report: Report, json_path: Path | None, plot_path: Path | None) -> None:
    """Write the record and the chart, where asked to."""
    if json_path:
        text = json.dumps(report.record, indent=2)
        json_path.write_text(text + "\n", encoding="utf-8")
        print(f"Written: {json_path}")
    if plot_path:
        plot(report, plot_path)
        print(f"Written: {plot_path}")


def script(name: str) -> None:
    """Run a benchmark with the command line of this process; results go to ``results/``."""
    from gputensor import cli

    RESULTS.mkdir(exist_ok=True)
    outputs = (f"--json={RESULTS / name}.json", f"--plot={RESULTS / name}.png")
    sys.exit(cli.main(["bench", name, *outputs, *sys.argv[1:]]))
