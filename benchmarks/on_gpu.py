"""All that needs a GPU, step by step: tests, compute-sanitizer over the kernels, benchmarks.

    python benchmarks/on_gpu.py [STEP ...]

What was found goes to ``results/gpu-NAME.json``, after every step; a later run with the same
sources adds to it. The exit status is 0 only if each step that was asked for has passed.
"""

import argparse
import collections
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from gputensor import backend
from gputensor.benchmarks import common

ROOT = Path(__file__).resolve().parents[1]
SANITIZERS = ("memcheck", "racecheck", "initcheck")
BENCHMARKS = ("kernels", "matmul", "epilogue", "mnist", "small", "overhead", "chain")
STEPS = ("tests", *SANITIZERS, *BENCHMARKS)
TESTS: tuple[str, ...] = ("tests",)
KERNEL_TESTS: tuple[str, ...] = (
    "tests/test_kernel_cases.py",
    "tests/test_row_kernels.py",
    "tests/test_kernel_declaration.py",
)

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


def run(command: Sequence[str]) -> Step:
    """Run a command at the root of the repository, and show and keep what it prints."""
    print("$", *(word if len(word) < 200 else "..." for word in command), flush=True)
    tail: collections.deque[str] = collections.deque(maxlen=30)
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipe) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            tail.append(line.rstrip())
    return {"exit status": process.returncode, "tail": list(tail)}


def judged(step: Step, *reasons: str) -> Step:
    """The step with its status: passed, if there are no reasons why it failed."""
    found = [reason for reason in reasons if reason]
    if not found:
        return {"status": "passed"} | {k: v for k, v in step.items() if k != "tail"}
    return {"status": "failed", "reason": "; ".join(found)} | step


# Tests


def pytest(folder: Path, *arguments: str, prefix: Sequence[str] = ()) -> Step:
    """Run tests with ``-m gpu``, and count their outcomes."""
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    options = ("-q", "-m", "gpu", f"--junitxml={report}", *arguments)
    step = run([*prefix, sys.executable, "-m", "pytest", *options])
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


def sanitizer(tool: str, folder: Path) -> Step:
    """Run the tests of the kernels under a tool, after an error that it has to find."""
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
    run([*prefix, sys.executable, "-c", PLANTED, tool])
    planted = errors_in(log)
    log.unlink(missing_ok=True)
    step = pytest(folder, "--no-pool", *KERNEL_TESTS, prefix=prefix)
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


def benchmark(name: str, folder: Path, args: argparse.Namespace) -> Step:
    """Run a benchmark, and keep its record."""
    figures = folder / f"{name}.json"
    command = [sys.executable, "-m", "gputensor", "bench", name, f"--device={args.device}"]
    command += [f"--compare={args.compare}", f"--json={figures}"]
    command += [f"--repeats={args.repeats}"] if args.repeats else []
    command += [f"--data={args.data}"] if args.data and name in ("mnist", "small") else []
    step = run(command)
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run steps; 0 if all passed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "steps", nargs="*", metavar="STEP", help=f"of {', '.join(STEPS)}; default: all"
    )
    parser.add_argument("--device", default="cuda", help="cuda or cuda:N")
    parser.add_argument("--compare", default="torch,jax,numpy", help="peers of the benchmarks")
    parser.add_argument("--repeats", type=int, help="rounds of a benchmark")
    parser.add_argument("--data", type=Path, help="a data set of MNIST's form")
    parser.add_argument("--out", type=Path, default=common.RESULTS, help="folder of the results")
    args = parser.parse_args(arguments)
    unknown = [name for name in args.steps if name not in STEPS]
    if unknown:
        parser.error(f"there is no step {unknown[0]}; there are {', '.join(STEPS)}")
    try:
        where = backend.device(args.device)
    except backend.DeviceError as error:
        parser.error(str(error))
    if where.kind != "cuda":
        parser.error(f"{where} is no GPU")
    os.environ["GPUTENSOR_DEVICE"] = str(where)

    args.out.mkdir(parents=True, exist_ok=True)
    facts = machine(where)
    name = re.sub("[^a-z0-9]+", "-", facts["gpu"].lower()).strip("-")
    path, digest = args.out / f"gpu-{name}.json", sources()
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept = before.get("steps", {}) if before.get("sources") == digest else {}
    steps: dict[str, Step] = {n: kept.get(n, {"status": "not run"}) for n in STEPS}
    record = {"machine": facts, "sources": digest, "steps": steps}
    chosen = args.steps or STEPS
    for name in chosen:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            if name == "tests":
                step = pytest(Path(folder), *TESTS)
            elif name in SANITIZERS:
                step = sanitizer(name, Path(folder))
            else:
                step = benchmark(name, Path(folder), args)
        steps[name] = step | {"seconds": round(time.perf_counter() - began, 1)}
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"\n{table(record)}\nWritten: {path}")
    return int(any(steps[name]["status"] != "passed" for name in chosen))


if __name__ == "__main__":
    sys.exit(main())
