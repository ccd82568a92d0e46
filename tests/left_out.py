"""Print the tests that no session ran, of those that wrote to one file with ``--ran=FILE``.

    python tests/left_out.py FILE

What is marked ``hardware`` may be left out: it needs a GPU, or CuPy. The exit status is 1 if there
is anything else.
"""

import subprocess
import sys
from pathlib import Path

COLLECT = [sys.executable, "-m", "pytest", "--collect-only", "-q"]


def collected(*options: str) -> set[str]:
    """Names of all tests that the options select."""
    done = subprocess.run([*COLLECT, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return {line for line in done.stdout.splitlines() if "::" in line}


def main() -> None:
    """Compare."""
    ran = set(Path(sys.argv[1]).read_text(encoding="utf-8").splitlines())
    left = sorted(collected("-m", "not hardware") - ran)
    print(*left, sep="\n", end="\n" if left else "")
    print(f"{len(left)} test(s) left out, {len(ran)} run")
    sys.exit(bool(left))


if __name__ == "__main__":
    main()
