"""Run data-apis/array-api-tests, the conformance suite of the array API standard, on gputensor.

    git clone --recurse-submodules https://github.com/data-apis/array-api-tests
    python -m pip install -r array-api-tests/requirements.txt
    python tests/array_api_suite.py array-api-tests [--device cpu] [options of pytest]

`--device` is where new tensors go: cpu, cuda, or standin, which is the stand-in for CuPy. What the
suite gets wrong, and what is decided otherwise here, is in ``array_api_skips.txt`` with the reason.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import gputensor

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run pytest; its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("suite", type=Path, help="a clone of the suite, with its submodule")
    parser.add_argument("--device", choices=("cpu", "cuda", "standin"), default="cpu")
    args, options = parser.parse_known_args()
    for part in ("array_api_tests", "array-api/spec"):
        if not (args.suite / part).exists():
            parser.error(f"{args.suite} has no {part}; it is to be cloned with its submodules")
    paths = [HERE.parent, *([HERE / "standin_site"] if args.device == "standin" else [])]
    environment = os.environ | {
        "ARRAY_API_TESTS_MODULE": "gputensor",
        "ARRAY_API_TESTS_VERSION": gputensor.__array_api_version__,
        "GPUTENSOR_DEVICE": "cuda" if args.device == "standin" else args.device,
        "PYTHONPATH": os.pathsep.join(map(str, [*paths, os.environ.get("PYTHONPATH", "")])),
    }
    command = [sys.executable, "-m", "pytest", "array_api_tests", "-q", "-W", "ignore"]
    # Kernels are compiled in the first example, which would be late for the suite's deadline.
    command += [f"--skips-file={HERE / 'array_api_skips.txt'}", "--disable-deadline"]
    if args.device == "standin":  # which exports to the CPU only
        command += ["--deselect=array_api_tests/test_dlpack.py::test_dunder_dlpack"]
    if importlib.util.find_spec("xdist") is not None:
        command += ["-n", "auto"]
    return subprocess.run([*command, *options], cwd=args.suite, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
