"""Where the host waits for a device."""

import warnings

from gputensor import config
from gputensor.backend.devices import on_cpu
from gputensor.backend.lines import user_line
from gputensor.backend.modes import Array, end_recording, local
from gputensor.errors import CaptureError, SyncError


def wait_for_device(what: str) -> None:
    """Say that the host is about to wait for a CUDA device.

    Raises
    ------
    CaptureError
        If work is being recorded, when there is nothing to wait for.
    SyncError
        Under ``gt.sync_debug("error")``, unless the wait is expected.
    """
    if local.capturing:
        raise CaptureError(f"{what} makes the host wait for values that are not computed yet")
    mode = config.sync_debug_mode()
    if mode == "off" or local.expected:
        return
    text = f"{what} makes the host wait for the device, at {user_line()}"
    if mode == "error":
        raise SyncError(text)
    warnings.warn(text, UserWarning, stacklevel=2)


def wait_for(array: Array, what: str) -> None:
    """:func:`wait_for_device`, if `array` is on one; for results whose shape its values decide."""
    end_recording(f"{what} makes a shape depend on values")
    if not on_cpu(array):
        wait_for_device(what)
