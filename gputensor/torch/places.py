"""``torch.cuda``, ``torch.backends`` and ``torch.amp``: what scripts ask about the machine."""

import contextlib
from types import SimpleNamespace
from typing import Any

from gputensor import backend
from gputensor.memory import of_cuda
from gputensor.ops.precision import autocast as engine_autocast
from gputensor.optim import GradScaler as EngineScaler
from gputensor.torch import creation
from gputensor.torch.tensor import as_device, legacy_types

__all__ = ["accelerator", "amp", "backends", "cuda", "jit", "mps"]


def _available() -> bool:
    return backend.cuda_status().available


def _count() -> int:
    return backend.cuda_status().devices if _available() else 0


def _nothing(*args: Any, **options: Any) -> None:
    """For what has no meaning here, and changes no result."""


def _synchronize(device: Any = None) -> None:
    backend.synchronize(None if device is None else as_device(device))


@contextlib.contextmanager
def autocast(
    device_type: Any = "cuda", dtype: Any = None, enabled: bool = True, cache_enabled: Any = None
) -> Any:
    """The engine's ``autocast``, in float16 on CUDA and bfloat16 on the CPU by default.

    Examples
    --------
    >>> with torch.autocast("cpu"):
    ...     y = torch.ones(2, 3) @ torch.ones(3, 2)
    >>> y.dtype
    dtype(bfloat16)
    """
    if not enabled:
        yield
        return
    if dtype is None:
        dtype = "float16" if device_type == "cuda" else "bfloat16"
    with engine_autocast(str(getattr(dtype, "name", dtype))):
        yield


class GradScaler(EngineScaler):
    """The engine's, with PyTorch's arguments and names."""

    def __init__(self, device: str = "cuda", *, enabled: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.enabled = enabled

    def scale(self, loss: Any) -> Any:
        """`loss` times the scale."""
        return super().scale(loss) if self.enabled else loss

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients by the scale."""
        if self.enabled:
            self.unscale(optimizer)

    def step(self, optimizer: Any) -> None:
        """Step of the optimizer, if all gradients are finite."""
        if self.enabled:
            super().step(optimizer)
        else:
            optimizer.step()

    def update(self) -> None:
        """Move the scale."""
        if self.enabled:
            super().update()

    def get_scale(self) -> float:
        """The scale as a number."""
        return float(self.factor.item()) if self.enabled else 1.0

    def is_enabled(self) -> bool:
        """Whether it does anything."""
        return self.enabled


def _memory(number: int) -> Any:
    """A figure of a CUDA device's memory in bytes, 0 without one."""

    def figure(device: Any = None) -> int:
        where = as_device("cuda" if device is None else device)
        return of_cuda(where)[number]

    return lambda device=None: figure(device) if _available() else 0


def _properties(device: Any = None) -> Any:
    """Name and memory of a CUDA device."""
    where = as_device("cuda" if device is None else device)
    return SimpleNamespace(name=backend.cuda_status().reason, total_memory=of_cuda(where)[4])


cuda = SimpleNamespace(
    is_available=_available,
    device_count=_count,
    current_device=lambda: 0,
    get_device_name=lambda device=None: backend.cuda_status().reason,
    manual_seed=creation.manual_seed,
    manual_seed_all=creation.manual_seed,
    seed_all=creation.seed,
    synchronize=_synchronize,
    empty_cache=_nothing,
    set_device=_nothing,
    memory_allocated=_memory(0),
    max_memory_allocated=_memory(1),
    memory_reserved=_memory(2),
    max_memory_reserved=_memory(2),
    get_device_properties=_properties,
    **legacy_types("cuda"),
    amp=SimpleNamespace(autocast=lambda **k: autocast("cuda", **k), GradScaler=GradScaler),
)
mps = SimpleNamespace(is_available=lambda: False)
xpu = SimpleNamespace(is_available=lambda: False)
accelerator = SimpleNamespace(
    is_available=_available,
    current_accelerator=lambda: backend.device("cuda") if _available() else None,
    device_count=_count,
    synchronize=_synchronize,
)
# Settings of PyTorch's own libraries, which are not used here.
backends = SimpleNamespace(
    cudnn=SimpleNamespace(
        benchmark=False,
        deterministic=False,
        enabled=False,
        is_available=lambda: False,
        version=lambda: None,
    ),
    mps=SimpleNamespace(is_available=lambda: False, is_built=lambda: False),
    cuda=SimpleNamespace(matmul=SimpleNamespace(allow_tf32=False), is_built=_available),
)
amp = SimpleNamespace(autocast=autocast, GradScaler=GradScaler)
# Nothing is compiled before it runs: what is to be called is the function or module itself.
jit = SimpleNamespace(script=lambda obj, **k: obj, trace=lambda func, *a, **k: func)
