"""Differentiable arrays over CuPy and NumPy, with fused kernels and training on the device."""

from os import path as _path
from typing import Any

# In a checkout kernels/ and benchmarks/ are beside the package; once installed, they are inside it.
__path__ = [
    *__path__,
    *(_path.dirname(p) for p in __path__ if not _path.exists(_path.join(p, "kernels"))),
]

from gputensor import (
    errors,
    interop,
    kernels,
    nn,
    ops,
    optim,
    optimize,
    plot,
    random,
    special,
    words,
)
from gputensor.autograd import Tensor, detect_anomaly, enable_grad, no_grad
from gputensor.backend import Device, cuda_status, device, synchronize
from gputensor.config import (
    matmul_precision,
    set_default_dtype,
    sync_debug,
    use_deterministic,
)
from gputensor.function import checkpoint, custom_vjp
from gputensor.graph.capture import capture
from gputensor.graph.explain import explain
from gputensor.kernels import kernel
from gputensor.memory import memory_summary
from gputensor.ops import *  # noqa: F403
from gputensor.ops import fft, linalg
from gputensor.ops.precision import autocast
from gputensor.random import manual_seed
from gputensor.transforms import (
    grad,
    gradcheck,
    gradgradcheck,
    hessian,
    hvp,
    jacobian,
    jvp,
    value_and_grad,
    vjp,
)

__version__ = "0.1.0"

__all__ = [
    *ops.__all__,
    "Device",
    "Tensor",
    "autocast",
    "capture",
    "checkpoint",
    "cuda_status",
    "custom_vjp",
    "detect_anomaly",
    "device",
    "enable_grad",
    "errors",
    "explain",
    "fft",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "kernel",
    "kernels",
    "linalg",
    "manual_seed",
    "matmul_precision",
    "memory_summary",
    "nn",
    "no_grad",
    "optim",
    "optimize",
    "plot",
    "random",
    "set_default_dtype",
    "special",
    "sync_debug",
    "synchronize",
    "use_deterministic",
    "value_and_grad",
    "vjp",
]

_unknown = words.unknown("gputensor", {k: f"gt.{v}" for k, v in interop.NAMES.items()})


def __getattr__(name: str) -> Any:
    """Refuse a name that is missing, with the one that it has here."""
    _unknown(name)
