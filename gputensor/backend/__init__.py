"""NumPy or CuPy: which device there is, which namespace an array belongs to, and transfers.

What differs between the two libraries is in this folder. CuPy is imported when a CUDA device is
first asked about, never by ``import gputensor``. Bytes cross between host and device in
:func:`to_host` and :func:`to_device` only.
"""

from gputensor.backend.devices import (
    HOST_TYPES,
    CudaStatus,
    Device,
    FollowDevice,
    cuda_status,
    default_device,
    device,
    device_of,
    entered_device,
    on_cpu,
    on_device_of,
)
from gputensor.backend.layout import broadcast_axes, in_c_order, in_order
from gputensor.backend.lines import is_library, place, user_frame, user_line, warn_user
from gputensor.backend.modes import (
    Array,
    capturing,
    end_recording,
    expected_waits,
    one_call,
    recording,
    set_recording,
    while_capturing,
)
from gputensor.backend.namespaces import (
    CUPY_FUNCTIONS,
    NAMESPACES,
    Namespace,
    is_array,
    is_narrow,
    namespace,
    plain,
    same_device,
)
from gputensor.backend.transfers import DEFERRED_CHECKS, synchronize, to_device, to_host
from gputensor.backend.waits import wait_for, wait_for_device

__all__ = [
    "CUPY_FUNCTIONS",
    "DEFERRED_CHECKS",
    "HOST_TYPES",
    "NAMESPACES",
    "Array",
    "CudaStatus",
    "Device",
    "FollowDevice",
    "Namespace",
    "broadcast_axes",
    "capturing",
    "cuda_status",
    "default_device",
    "device",
    "device_of",
    "end_recording",
    "entered_device",
    "expected_waits",
    "in_c_order",
    "in_order",
    "is_array",
    "is_library",
    "is_narrow",
    "namespace",
    "on_cpu",
    "on_device_of",
    "one_call",
    "place",
    "plain",
    "recording",
    "same_device",
    "set_recording",
    "synchronize",
    "to_device",
    "to_host",
    "user_frame",
    "user_line",
    "wait_for",
    "wait_for_device",
    "warn_user",
    "while_capturing",
]
