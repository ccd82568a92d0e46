"""Training steps, replayed where that is possible."""

import logging
from collections.abc import Callable
from typing import Any

from gputensor.backend import Device
from gputensor.errors import CaptureError
from gputensor.graph.capture import Captured

__all__ = ["Steps"]

_log = logging.getLogger("gputensor.keras")


class Steps:
    """Runs training steps, replayed where that is possible.

    Parameters
    ----------
    step : callable
        Trains on a batch.
    capture : {"auto", True, False}
    device : Device
    """

    def __init__(self, step: Callable[..., None], capture: Any, device: Device) -> None:
        self._must = capture is True
        self._told = False
        self._run: Callable[..., None] = step
        if capture:
            self._run = Captured(step, device, own=capture == "auto")

    def __call__(self, *batch: Any) -> None:
        self._run(*batch)
        reason = getattr(self._run, "reason", None)
        if reason is None or self._told:
            return
        if self._must:
            raise CaptureError(f"fit: a step cannot be captured: {reason}")
        self._told = True
        _log.info(f"fit runs its steps operation by operation, not as one graph: {reason}")
