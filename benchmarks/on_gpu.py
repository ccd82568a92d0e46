"""All that needs a GPU, step by step: tests, compute-sanitizer over the kernels, benchmarks.

    python benchmarks/on_gpu.py [STEP ...] [--minutes 10]

It runs from a checkout, installed or not. What was found goes to ``results/gpu-NAME.json``, after
every step; a later run with the same sources adds to it. A step that takes too long is ended, and
steps for which no time is left are not run, the last ones first. The exit status is 0 only if each
step that ran, or was asked for by name, has passed.
"""

import argparse
import collections
import glob
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # it runs as a script: this checkout is what is tested, installed or not
    sys.path[0] = str(ROOT)

from gputensor import backend, config, errors  # noqa: E402
from gputensor.benchmarks import common  # noqa: E402

# Seconds that each step may take, the most telling steps first.
STEPS = {
    "tests": 270,
    "memcheck": 60,
    "racecheck": 60,
    "mnist": 90,
    "kernels": 120,
    "overhead": 30,
    "small": 60,
    "graph": 90,
    "matmul": 60,
    "epilogue": 60,
    "initcheck": 60,
}
SANITIZERS = ("memcheck", "racecheck", "initcheck")
TESTS: tuple[str, ...] = ("tests", "--slow")
HAS_XDIST = importlib.util.find_spec("xdist") is not None
PARALLEL: tuple[str, ...] = ("--numprocesses=auto", "--dist=worksteal") if HAS_XDIST else ()
KERNEL_TESTS: tuple[str, ...] = ("tests/test_small_cases.py", "-k", "equal_the_reference")

Step = dict[str, Any]

# What each tool has to find; one that does not is not watching.
PLANTED = """
import sys, cupy, numpy
bodies = {
    "memcheck": "y[64 + i] = x[i];",
    "racecheck": "__shared__ volatile float s[64]; s[i] = x[i]; y[i] = s[63 - i];",
    "initcheck": "y[i] = x[64 + i];",
}
cupy.cuda.set_allocator(None)
x, y = cupy.empty(128, numpy.float32), cupy.zeros(64, numpy.float32)
x[:64] = 1
head = 'extern "C" __global__ void planted(const float* x, float* y) { int i = threadIdx.x; '
kernel = cupy.RawKernel(head + bodies[sys.argv[1]] + "}", "planted")
kernel((1,), (64,), (x, y))
cupy.cuda.runtime.deviceSynchronize()
"""


def run(command: Sequence[str], limit: float) -> Step:
    """Run a command at the root of the repository, and show and keep what it prints.

    After `limit` seconds it is ended, with the processes that it has started.
    """
    print("$", *(word if len(word) < 200 else "..." for word in command), flush=True)
    tail: collections.deque[str] = collections.deque(maxlen=100)
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "start_new_session": True}
    ended = threading.Event()
    with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipe) as process:

        def end() -> None:
            ended.set()
            if os.name == "posix":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()

        timer = threading.Timer(max(limit, 0), end)
        timer.start()
        try:
            for line in process.stdout or ():
                print(line, end="", flush=True)
                tail.append(line.rstrip())
            process.wait()
        finally:
            timer.cancel()
    step: Step = {"exit status": process.returncode, "tail": list(tail)}
    return step | ({"late": f"it was ended after {limit:.0f} s"} if ended.is_set() else {})


def judged(step: Step, *reasons: str) -> Step:
    """The step with its status: passed, if there are no reasons why it failed."""
    found = [reason for reason in (step.pop("late", ""), *reasons) if reason]
    if not found:
        return {"status": "passed"} | {k: v for k, v in step.items() if k != "tail"}
    return {"status": "failed", "reason": "; ".join(found)} | step


# Tests


def pytest(folder: Path, limit: float, *arguments: str, prefix: Sequence[str] = ()) -> Step:
    """Run tests with ``-m gpu``, and count their outcomes."""
    report, ran = folder / "report.xml", folder / "ran"
    for path in (report, ran):
        path.unlink(missing_ok=True)
    # Nothing is written to the checkout, which may be read-only.
    options = ["-q", "-m", "gpu", "-p", "no:cacheprovider", f"--junitxml={report}", f"--ran={ran}"]
    step = run([*prefix, sys.executable, "-m", "pytest", *options, *arguments], limit)
    if "late" in step and ran.exists():
        step["late"] += f", {len(ran.read_text().splitlines())} tests having run"
    cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
    counts, skipped, names = collections.Counter[str](), collections.Counter[str](), []
    for case in cases:
        outcome = next((e for e in case if e.tag in ("failure", "error", "skipped")), None)
        counts["passed" if outcome is None else outcome.tag] += 1
        if outcome is not None and outcome.tag == "skipped":
            skipped[outcome.get("message", "")] += 1
        elif outcome is not None:
            names.append(f"{case.get('classname')}.{case.get('name')}")
    step |= {"tests": dict(counts), "skipped because": dict(skipped), "failures": names}
    return judged(
        step,
        "" if counts["passed"] else "no test passed",
        f"{len(names)} test(s) failed" if names else "",
        f"pytest ended with {step['exit status']}" if step["exit status"] else "",
    )


# compute-sanitizer


def find_sanitizer() -> str | None:
    """Path of compute-sanitizer: on PATH, or in a CUDA toolkit."""
    homes = [os.environ.get(name, "") for name in ("CUDA_HOME", "CUDA_PATH")]
    homes += ["/opt/cuda", *sorted(glob.glob("/usr/local/cuda*"))]
    places = [
        f"{home}/{folder}" for home in homes if home for folder in ("bin", "compute-sanitizer")
    ]
    return shutil.which("compute-sanitizer") or shutil.which(
        "compute-sanitizer", path=os.pathsep.join(places)
    )


def sanitizer(tool: str, folder: Path, limit: float) -> Step:
    """Run small cases of the kernels under a tool, after an error that it has to find."""
    path = find_sanitizer()
    if path is None:
        reason = "compute-sanitizer is neither on PATH nor in a CUDA toolkit"
        return {"status": "absent", "reason": reason}
    log = folder / f"{tool}.log"
    # CuPy probes with calls of the API that may fail, and raises for those that must not.
    options = (
        "--report-api-errors=no",
        "--launch-timeout=0",
        "--target-processes=application-only",
    )
    prefix = (path, f"--tool={tool}", f"--log-file={log}", "--error-exitcode=99", *options)
    began = time.perf_counter()
    run([*prefix, sys.executable, "-c", PLANTED, tool], limit)
    planted = errors_in(log)
    log.unlink(missing_ok=True)
    left = limit - (time.perf_counter() - began)
    step = pytest(folder, left, "--no-pool", *KERNEL_TESTS, prefix=prefix)
    errors = errors_in(log)
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    step["summary"] = next((line.strip("= ") for line in lines[::-1] if "SUMMARY" in line), "none")
    if errors:
        step["log"] = lines[:100]
    return judged(
        {k: v for k, v in step.items() if k not in ("status", "reason")},
        step.get("reason", ""),
        "" if planted else "it did not find an error that was planted",
        "it gave no summary" if errors is None else "",
        f"it found {errors} error(s)" if errors else "",
    )


def errors_in(log: Path) -> int | None:
    """Errors or hazards that a log sums up; None if it does not."""
    text = log.read_text(errors="replace") if log.exists() else ""
    found = re.findall(r"SUMMARY: (\d+) (?:error|hazard)", text)
    return sum(map(int, found)) if found else None


# Benchmarks


def benchmark(name: str, folder: Path, args: argparse.Namespace, limit: float) -> Step:
    """Run a benchmark, and keep its record."""
    figures = folder / f"{name}.json"
    command = [sys.executable, "-m", "gputensor", "bench", name, f"--device={args.device}"]
    command += [f"--json={figures}"]
    command += [f"--compare={args.compare}"] if args.compare else []
    command += [f"--repeats={args.repeats}"] if args.repeats else []
    command += [f"--data={args.data}"] if args.data and name in ("mnist", "small") else []
    step = run(command, limit)
    step["record"] = json.loads(figures.read_text()) if figures.exists() else {}
    where = step["record"].get("machine", {}).get("device", "")
    return judged(
        step,
        f"it ended with {step['exit status']}" if step["exit status"] else "",
        "" if step["record"].get("results") else "it left no results",
        "" if where.startswith("cuda") else f"it ran on {where or 'no device'}",
    )


# The file


def machine(where: backend.Device) -> dict[str, Any]:
    """What `common.machine` says, and the driver's own version."""
    facts = common.machine(where)
    if path := shutil.which("nvidia-smi"):
        query = [path, f"--id={where.index}", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, check=False)
        facts["NVIDIA driver"] = done.stdout.strip() or done.stderr.strip()
    return facts


def commit() -> str:
    """Name of the checked-out commit, if git can tell."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def sources() -> str:
    """Digest of all that the steps run."""
    digest = hashlib.sha256()
    for folder in ("gputensor", "kernels", "benchmarks", "tests"):
        for path in sorted((ROOT / folder).rglob("*.*")):
            if path.suffix in (".py", ".cu", ".cuh", ".h"):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def table(record: dict[str, Any]) -> str:
    """A line for each step."""
    lines = [f"{record['machine']['gpu']}: gputensor on a GPU"]
    for name, step in record["steps"].items():
        counts = ", ".join(f"{n} {outcome}" for outcome, n in step.get("tests", {}).items())
        details = (
            step.get("reason"),
            counts,
            step.get("summary"),
            step.get("record", {}).get("title"),
        )
        text = "; ".join(filter(None, details))
        lines.append(f"{name:12}{step['status']:10}{step.get('seconds', 0):>7.0f} s  {text}")
    return "\n".join(lines)


_LEAST = 5  # seconds that a step is begun with


def main(arguments: Sequence[str] | None = None) -> int:
    """Run steps; 0 if all passed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "steps", nargs="*", metavar="STEP", help=f"of {', '.join(STEPS)}; default: all"
    )
    parser.add_argument("--device", default="cuda", help="cuda or cuda:N")
    parser.add_argument("--minutes", type=float, default=10, help="for all steps; default: 10")
    parser.add_argument("--compare", help="peers of the benchmarks; default: all there are")
    parser.add_argument("--repeats", type=int, help="rounds of a benchmark")
    parser.add_argument("--data", type=Path, help="a data set of MNIST's form")
    parser.add_argument("--out", type=Path, default=common.RESULTS, help="folder of the results")
    args = parser.parse_args(arguments)
    unknown = [name for name in args.steps if name not in STEPS]
    if unknown:
        parser.error(f"there is no step {unknown[0]}; there are {', '.join(STEPS)}")
    try:
        where = backend.device(args.device)
    except errors.DeviceError as error:
        parser.error(str(error))
    if where.kind != "cuda":
        parser.error(f"{where} is no GPU")
    os.environ["GPUTENSOR_DEVICE"] = str(where)
    config.device_setting.cache_clear()

    try:
        args.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=args.out).close()
    except OSError as error:
        parser.error(f"nothing can be written to {args.out}, choose with --out: {error}")
    facts = machine(where)
    name = re.sub("[^a-z0-9]+", "-", facts["gpu"].lower()).strip("-")
    path, digest = args.out / f"gpu-{name}.json", sources()
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept = before.get("steps", {}) if before.get("sources") == digest else {}
    steps: dict[str, Step] = {n: kept.get(n, {"status": "not run"}) for n in STEPS}
    record = {"machine": facts, "commit": commit(), "sources": digest, "steps": steps}
    chosen = args.steps or list(STEPS)
    end, late = time.perf_counter() + 60 * args.minutes, []
    for name in chosen:
        began = time.perf_counter()
        limit = min(STEPS[name], end - began)
        if limit < _LEAST:
            late.append(name)
            continue
        with tempfile.TemporaryDirectory() as folder:
            if name == "tests":
                step = pytest(Path(folder), limit, *PARALLEL, *TESTS)
            elif name in SANITIZERS:
                step = sanitizer(name, Path(folder), limit)
            else:
                step = benchmark(name, Path(folder), args, limit)
        steps[name] = step | {"seconds": round(time.perf_counter() - began, 1)}
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"\n{table(record)}\nWritten: {path}")
    if late:
        print(f"Not run, as {args.minutes:g} minutes were over: {', '.join(late)}")
    wanted = args.steps or [name for name in chosen if name not in late]
    return int(any(steps[name]["status"] != "passed" for name in wanted) or not wanted)


if __name__ == "__main__":
    sys.exit(main())
