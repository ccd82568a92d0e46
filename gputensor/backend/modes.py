"""What a thread is in the middle of: devices it entered, work it records."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

# A numpy.ndarray or a cupy.ndarray. Neither library types the common part of the two.
Array = Any

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Local(threading.local):
    def __init__(self) -> None:
        self.devices: list[Any] = []  # entered and not yet left
        self.capturing = False  # whether work is recorded into a CUDA graph
        self.expected = False  # whether waits for the device are meant to be
        self.recording: Any = None  # what records this thread's work, see gputensor.graph


local = _Local()


def recording() -> Any:
    """What records this thread's work as a graph; None at most times."""
    return local.recording


def set_recording(recorder: Any) -> None:
    """Have this thread's work recorded, or no longer."""
    local.recording = recorder


def end_recording(reason: str) -> None:
    """Say that what happens now cannot be part of a graph, to what records it, if anything."""
    if local.recording is not None:
        local.recording.end(reason)


def one_call(*, raises: bool = False) -> Callable[[_Function], _Function]:
    """Decorator of a function of raw arrays that looks at their values to choose a way.

    A recording notes the call as one, and not what is done in it. With `raises` it may raise an
    error because of values.
    """

    def decorated(function: Any) -> Any:
        function.raises = raises

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if local.recording is None:
                return function(*args, **kwargs)
            return local.recording.call(function, args, kwargs)

        return call

    return decorated


def capturing() -> bool:
    """Whether this thread's work is being recorded into a CUDA graph, and not done."""
    return local.capturing


@contextlib.contextmanager
def while_capturing() -> Iterator[None]:
    """Context in which the host cannot wait for the device: see :func:`wait_for_device`."""
    local.capturing = True
    try:
        yield
    finally:
        local.capturing = False


@contextlib.contextmanager
def expected_waits() -> Iterator[None]:
    """Context whose waits ``gt.sync_debug`` does not mind."""
    before, local.expected = local.expected, True
    try:
        yield
    finally:
        local.expected = before
