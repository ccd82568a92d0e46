"""What a training loop shows: a progress bar, and a line for each epoch."""

import math
import time
from typing import TYPE_CHECKING, Any

from gputensor.copies import Copy
from gputensor.distributed.api import size
from gputensor.shown import in_units, screen

if TYPE_CHECKING:
    from gputensor.training.measures import Sums

__all__ = ["Display", "lines_of", "print_epoch"]

_WIDTH = 80


class Display:
    """Progress bar with the loss so far, on a terminal or in a notebook, where it is wanted.

    The loss comes by a copy to pinned memory, begun at most four times a second and shown when it
    has arrived, so that nobody waits for the device. It is that of this rank's part of the rows.
    """

    def __init__(
        self, total: int | None, text: str, verbose: int | str, sums: "Sums | None" = None
    ) -> None:
        from shutil import get_terminal_size

        from tqdm import tqdm

        stream = screen()
        self._bar = tqdm(
            total=total,
            desc=text,
            unit=" samples",
            unit_scale=True,
            leave=False,
            mininterval=0.25,
            ncols=min(_WIDTH, get_terminal_size().columns),
            file=stream,
            disable=verbose not in (1, "auto") or stream is None,
        )
        self._sums = None if self._bar.disable else sums
        self._rows = 0
        self._ranks = size()
        self._next = 0.0
        self._copy: tuple[Copy, int] | None = None

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def update(self, rows: int) -> None:
        """Say that so many more rows are done, or given to the device."""
        self._bar.update(rows)
        self._rows += rows
        if self._sums is None:
            return
        if self._copy is not None and self._copy[0].done:
            copy, count = self._copy
            self._copy = None
            loss = copy.host[0] * self._ranks / count
            self._bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
        now = time.monotonic()
        if self._rows and self._copy is None and now >= self._next:
            self._next = now + 0.25
            self._copy = Copy(self._sums.values.array), self._rows


def _in_words(name: str, value: float) -> str:
    if name.endswith("loss") and math.isnan(value):
        return f"{name} is NaN"
    small = value != 0 and abs(value) < 1e-3
    return f"{name} {value:.4e}" if small else f"{name} {value:.4f}"


def lines_of(head: str, values: dict[str, Any], tail: tuple[str, ...] = ()) -> list[str]:
    """Text of numbers by name, in lines of 80 columns at most."""
    lines, line = [], head
    for part in [_in_words(k, v) for k, v in values.items()] + list(tail):
        if (line != head and len(line) + 2 + len(part) > _WIDTH) or len(line) + len(
            part
        ) > 2 * _WIDTH:
            lines.append(line)
            line = " " * (len(head.split("  ")[0])) + "  " + part
        else:
            line = f"{line}  {part}"
    return [*lines, line]


def print_epoch(head: str, values: dict[str, Any], rows: int, seconds: float) -> None:
    """Print the line of an epoch."""
    rate = f"{rows / seconds:,.0f} samples/s" if seconds else ""
    for line in lines_of(head, values, (in_units(seconds), rate)):
        print(line)
