"""A machine with CUDA, played by the CPU: ``cupy`` on NumPy, kernels through the C++ compiler.

    from gputensor import standin
    cupy = standin.install()          # before the code under test imports cupy
    ...
    standin.counters.reset()          # transfers, synchronizations, launches, ...
    ...
    standin.uninstall()

Arrays and functions keep CuPy's rules (`fakecupy`), and ``cupy.RawModule`` builds and runs the
same CUDA C++ source as a device would (`host_module`, `cuda_host.h`). Memory errors, divergent
barriers, arguments of a wrong type and hidden transfers become exceptions or counts. Graphs are
captured and replayed on the memory they were captured with (`streams`, `memory`), in any order that
their streams and events allow.

What it does not show: speed, the error of fast-math functions, races that every order of whole
threads hides.
"""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator
from types import ModuleType

from . import memory, nvmath_cublas, nvmath_cublaslt, streams
from .fakecupy import make_modules
from .host_module import host_compiler
from .memory import MAX_DEVICES
from .state import Counters, Settings, counters, current, settings

__all__ = [
    "Counters",
    "Settings",
    "counters",
    "host_compiler",
    "install",
    "installed",
    "settings",
    "uninstall",
]

PACKAGES = ("cupy", "cupyx", "nvmath")
ORDERS = ("forward", "reverse", "shuffle", "compare")

_replaced: dict[str, ModuleType | None] = {}


def install(
    devices: int = 1, order: str | None = None, contiguous: bool = True, seed: int | None = 0
) -> ModuleType:
    """Put the stand-in into ``sys.modules`` as ``cupy``.

    Parameters
    ----------
    devices : int
        Number of CUDA devices there seem to be.
    order : {"forward", "reverse", "shuffle", "compare"}, optional
        In which order blocks, and threads of a block, run; ``"compare"`` runs each launch in all
        three and raises if the results differ. Default: ``$GPUTENSOR_STANDIN_ORDER``, else
        ``"forward"``.
    contiguous : bool
        Whether a kernel may only be given C-contiguous arrays.
    seed : int or None
        Of the orders in which a graph's work on several streams is replayed; None for the one in
        which it was recorded.

    Returns
    -------
    module
        The stand-in, what ``import cupy`` gives from now on.
    """
    order = order or os.environ.get("GPUTENSOR_STANDIN_ORDER") or "forward"
    if order not in ORDERS:
        raise ValueError(f"order {order!r} is unknown; allowed are {', '.join(ORDERS)}")
    if not 0 <= devices <= MAX_DEVICES:
        raise ValueError(f"{devices} devices; allowed are 0 to {MAX_DEVICES}")
    settings.devices, settings.order = devices, order
    settings.contiguous, settings.seed = contiguous, seed
    current.id = 0
    streams.reset()
    memory.reset()
    counters.reset()
    if not _replaced:
        ours = [name for name in sys.modules if name.partition(".")[0] in PACKAGES]
        _replaced.update({name: sys.modules.pop(name) for name in ours})
        sys.modules.update(make_modules())
        sys.modules.update(nvmath_cublas.make_modules())
        lt = sys.modules["nvmath.bindings.cublasLt"] = nvmath_cublaslt.make_module()
        sys.modules["nvmath.bindings"].cublasLt = lt
        _replaced.setdefault("cupy", None)
    return sys.modules["cupy"]


def uninstall() -> None:
    """Take the stand-in out of ``sys.modules`` and put back what was there."""
    if not _replaced:
        return
    for name in list(sys.modules):
        if name.partition(".")[0] in PACKAGES:
            del sys.modules[name]
    sys.modules.update({k: v for k, v in _replaced.items() if v is not None})
    _replaced.clear()


@contextlib.contextmanager
def installed(
    devices: int = 1, order: str | None = None, contiguous: bool = True, seed: int | None = 0
) -> Iterator[ModuleType]:
    """Install the stand-in for the length of a ``with`` block; one that is there stays."""
    before = dataclasses.replace(settings) if _replaced else None
    try:
        yield install(devices, order, contiguous, seed)
    finally:
        if before:
            install(**vars(before))
        else:
            uninstall()
