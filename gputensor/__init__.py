"""Differentiable arrays over CuPy and NumPy, with fused kernels and training on the device."""

import sys
from os import path as _path
from typing import Any

# In a checkout kernels/ and benchmarks/ are beside the package; once installed, they are inside it.
__path__ = [
    *__path__,
    *(_path.dirname(p) for p in __path__ if not _path.exists(_path.join(p, "kernels"))),
]

from gputensor import (
    distributed,
    errors,
    interop,
    kernels,
    nn,
    ops,
    optim,
    optimize,
    random,
    special,
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
    "distributed",
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
    "random",
    "set_default_dtype",
    "special",
    "sync_debug",
    "synchronize",
    "use_deterministic",
    "value_and_grad",
    "vjp",
]

# What other libraries call otherwise, besides NumPy's names that ``interop`` knows.
_WORDS = {
    "FloatTensor": "tensor",
    "LongTensor": "tensor(data, dtype=gt.int64)",
    "addmm": "matmul, and +",
    "array": "tensor (a copy) or gt.asarray",
    "bmm": "matmul",
    "cat": "concat",
    "chunk": "split",
    "clamp": "clip",
    "cuda": "cuda_status() or gt.device('cuda')",
    "div": "divide",
    "eq": "equal",
    "from_numpy": "asarray",
    "gather": "take_along_axis",
    "mm": "matmul",
    "mul": "multiply",
    "neg": "negative",
    "numel": "asarray(x).size",
    "permute": "permute_dims",
    "rand": "random.default_generator.random(shape)",
    "randint": "random.default_generator.integers(low, high, shape)",
    "randn": "random.default_generator.standard_normal(shape)",
    "randperm": "random.default_generator.permutation(n)",
    "sub": "subtract",
    "unbind": "unstack",
    "unsqueeze": "expand_dims",
}


def __getattr__(name: str) -> Any:
    """Refuse a name that is missing, with the one that it has here."""
    ours = interop.NAMES.get(name) or _WORDS.get(name)
    raise AttributeError(
        f"module 'gputensor' has no attribute {name!r}" + (f"; write gt.{ours}" if ours else ""),
        name=name,
        obj=sys.modules[__name__],
    )
