"""Training steps, replayed where that is possible."""

import collections
import functools
import time
from collections.abc import Callable
from typing import Any

from gputensor import backend
from gputensor.backend import Device
from gputensor.errors import CaptureError
from gputensor.graph.capture import Captured
from gputensor.shown import log

__all__ = ["Singles", "Steps"]

_LONGEST = 0.05  # seconds that a launch may take
_WORTH = 50  # steps on the CPU that save what their recording costs


class Steps:
    """Runs training steps, replayed where that is possible.

    Parameters
    ----------
    step : callable
        Trains on a batch.
    capture : {"auto", True, False}
        With "auto" steps on the CPU are run as they are where too few come to save what their
        recording costs; where that is not known, the first ones are.
    device : Device
    ahead : dict, optional
        How many steps there will be, by their rows; by None for batches that are given.
    """

    def __init__(
        self,
        step: Callable[..., None],
        capture: Any,
        device: Device,
        ahead: dict[int | None, int] | None = None,
    ) -> None:
        self._step = step
        self._capture = capture
        self._device = device
        self._told = False
        spares = capture == "auto" and device.kind == "cpu"
        self._plain = _WORTH if spares and ahead is None else 0
        self._few = {n for n, steps in (ahead or {}).items() if spares and steps <= _WORTH}
        self._runs: dict[int | None, Captured] = {}
        self._pace = _Pace() if device.kind == "cuda" else None

    def _captured(self, rows: int | None) -> Captured:
        run = self._runs.get(rows)
        if run is None:
            step = self._step if rows is None else functools.partial(self._step, rows)
            own = self._capture == "auto"
            run = self._runs[rows] = Captured(step, self._device, own=own)
        return run

    def __call__(self, *batch: Any) -> None:
        """Train on a batch."""
        if not self._capture or None in self._few or self._early():
            self._step(*batch)
            return
        run = self._captured(None)
        began = time.perf_counter()
        known = run.reason
        run(*batch)
        self._tell(run, known, began)

    def next(self, rows: int, count: int) -> int:
        """Train on the next batches of so many rows: on one, or on as many as go together.

        Returns
        -------
        int
            How many: `count` at most.
        """
        if not self._capture or rows in self._few:
            self._step(rows)
            return 1
        run = self._captured(rows)
        began = time.perf_counter()
        known = run.reason
        if known is not None:
            run()
            done = 1
        elif self._pace is None:
            done = run.some(count)
        else:
            done = run.some(self._pace.most(count))
            self._pace.launched(done)
        self._tell(run, known, began)
        return done

    def _early(self) -> bool:
        """Whether a step comes too early to be recorded."""
        early = self._plain > 0
        self._plain -= early
        return early

    def _tell(self, run: Captured, known: str | None, began: float) -> None:
        """Say once why steps are not replayed, if they are not, and what that costs.

        That is told by a step before which the reason was `known`: it was not recorded.
        """
        if run.reason is None or self._told:
            return
        if self._capture is True:
            raise CaptureError(f"fit: a step cannot be captured: {run.reason}")
        if known is not None:
            self._told = True
            cost = 1e3 * (time.perf_counter() - began)
            log("gputensor.keras").info(
                f"fit runs its steps operation by operation, not as one graph: {run.reason}. "
                f"That takes the host {cost:.2g} ms a step"
            )


class Singles:
    """What a model's ``train_on_batch`` uses again; it does not go into copies and files."""

    def __init__(self) -> None:
        self._made: dict[Device, Any] = {}

    def __reduce__(self) -> Any:
        return Singles, ()

    def of(self, place: Any, make: Callable[[Any], Any]) -> Any:
        """What ``make(place)`` gives on the device of an array."""
        where = backend.device_of(place)
        if where not in self._made:
            self._made[where] = make(place)
        return self._made[where]


class _Pace:
    """How many steps may be given to the device at once.

    They take no longer than the progress bar may stand still, and Ctrl-C may have to wait: the host
    is two launches ahead of the device at most.
    """

    def __init__(self) -> None:
        self._events: collections.deque[tuple[Any, int]] = collections.deque()  # after launches
        self._seconds: float | None = None  # that a step took last

    def launched(self, steps: int) -> None:
        """Say that so many steps were given to the current stream."""
        import cupy

        self._events.append((cupy.cuda.get_current_stream().record(), steps))

    def most(self, count: int) -> int:
        """How many of `count` steps may be next; waits until the device is near enough."""
        import cupy

        while len(self._events) > 2:
            before, _ = self._events.popleft()
            after, steps = self._events[0]
            after.synchronize()
            self._seconds = cupy.cuda.get_elapsed_time(before, after) / 1e3 / steps
        if self._seconds is None:
            return 1
        return max(1, int(min(count, _LONGEST / max(self._seconds, 1e-9) + 0.5)))
