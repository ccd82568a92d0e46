"""Ctrl-C in a loop: a wish to save and stop, and an end that says how to go on."""

import signal
import sys
import textwrap
import threading
from typing import Any

__all__ = ["Interrupts", "tell"]


class Interrupts:
    """Interrupts as a wish, for the time of a context; the second one interrupts at once.

    Parameters
    ----------
    waits : bool
        Whether somebody looks at :attr:`wished`; else each interrupts at once.

    Attributes
    ----------
    wished : bool
    """

    def __init__(self, waits: bool) -> None:
        self.wished = False
        main = threading.current_thread() is threading.main_thread()
        self._waits = waits
        self._watches = waits and main and signal.getsignal(signal.SIGINT) is not None

    def __enter__(self) -> "Interrupts":
        if self._watches:
            self._before = signal.signal(signal.SIGINT, self._pressed)
        return self

    def wish(self) -> bool:
        """Take an interrupt as a wish; False if it is to interrupt at once."""
        waits = self._waits and not self.wished
        self.wished = self.wished or waits
        return waits

    def _pressed(self, *_: Any) -> None:
        if not self.wish():
            raise KeyboardInterrupt

    def __exit__(self, *_: object) -> None:
        self._waits = False
        if self._watches:
            signal.signal(signal.SIGINT, self._before)


def tell(error: KeyboardInterrupt, text: str) -> None:
    """Print how to go on; an interrupt that nobody catches shows no traceback, then.

    The error is raised on, of Python's own type, so that a script ends as shells expect it, by the
    signal (status 130). IPython asks an error for ``_render_traceback_``; of scripts
    ``sys.excepthook`` is told, once something was interrupted.
    """
    if text:
        print(textwrap.fill(text, 80, break_long_words=False, break_on_hyphens=False), flush=True)
    vars(error)["_render_traceback_"] = lambda: ["KeyboardInterrupt"]
    before = sys.excepthook
    if getattr(before, "__module__", None) == __name__:
        return

    def hook(kind: Any, error: BaseException, trace: Any) -> None:
        if not hasattr(error, "_render_traceback_"):
            before(kind, error, trace)

    sys.excepthook = hook
