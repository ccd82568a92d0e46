"""``python -m gputensor``."""

import sys

from gputensor.cli import main

if __name__ == "__main__":
    sys.exit(main())
