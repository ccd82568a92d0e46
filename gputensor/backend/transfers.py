"""Transfers between host and device. Bytes cross here only."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gputensor.backend.devices import Device, device, device_of, on_device_of
from gputensor.backend.layout import at_axes, order_of_axes
from gputensor.backend.modes import Array, local
from gputensor.backend.namespaces import namespace
from gputensor.backend.waits import wait_for_device
from gputensor.errors import CaptureError

# What must be looked at before the host may believe a value: kernels that find bad input on the
# device (a label out of range) cannot raise there, so they leave a callable here, once a key.
DEFERRED_CHECKS: dict[str, Callable[[], None]] = {}


def to_host(array: Array) -> "np.ndarray[Any, Any]":
    """NumPy array with the values of a raw array: itself on the CPU, a copy from CUDA.

    Raises
    ------
    LabelError
        If a kernel launched before found a class label out of range.
    CaptureError, SyncError
        As of :func:`wait_for_device`.
    """
    if local.recording is not None:
        array = local.recording.read(array)
    if isinstance(array, np.ndarray):
        return array
    wait_for_device("reading a tensor's values")
    while DEFERRED_CHECKS:
        DEFERRED_CHECKS.popitem()[1]()
    host: np.ndarray[Any, Any] = _transferred(array, lambda a: a.get())
    return host


def to_device(array: Array, where: Device) -> Array:
    """Raw array with the values of `array` on `where`; itself if it is there already."""
    here = device_of(array)
    if here == where:
        return array
    if where.kind == "cpu":
        return to_host(array)
    if local.capturing and here.kind == "cpu":
        raise CaptureError("copying from the host would be repeated with a stale array")
    with on_device_of(where):
        return _transferred(array, namespace(where).asarray)


def _transferred(array: Array, transfer: Callable[[Array], Array]) -> Array:
    """Copy on another device, its axes in the same order in memory, which CuPy would not keep."""
    if array.flags.c_contiguous:
        return transfer(array)
    axes = order_of_axes([(array.shape, array.strides)])
    return at_axes(transfer(array.transpose(axes)), axes)


def synchronize(where: "str | Device | None" = None) -> None:
    """Wait until a device has finished what was given to it; the CPU never waits.

    Examples
    --------
    >>> gt.synchronize()
    """
    chosen = device(where)
    if chosen.kind == "cuda":
        import cupy

        wait_for_device("synchronize()")
        if local.recording is not None:
            local.recording.end("the device is waited for")
        cupy.cuda.Device(chosen.index).synchronize()
