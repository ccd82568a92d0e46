"""``python -m gputensor``."""

import sys

from gputensor.cli import entry

if __name__ == "__main__":
    sys.exit(entry())
