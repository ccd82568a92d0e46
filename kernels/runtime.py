"""What all kernels share: choosing the implementation, Numba, CPU threads, CUDA modules."""

import functools
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gputensor import config
from gputensor.backend import Array

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["Loop", "blocks", "cuda_kernel", "implementation", "negligible", "split", "suffix"]

_SUFFIXES = {"float32": "f32", "float64": "f64", "uint8": "u8"}


def implementation(*arrays: Array) -> str:
    """Which implementation takes these arrays: ``"loop"``, ``"cuda"`` or ``"reference"``.

    The first array's dtype decides; kernels expect C-contiguous arrays, so others go to the
    reference.
    """
    if config.kernels_setting() == "reference" or arrays[0].dtype.char not in "fd":
        return "reference"
    for a in arrays:
        if not a.flags.c_contiguous:
            return "reference"
    return "loop" if type(arrays[0]) is np.ndarray else "cuda"


class Loop:
    """A CPU loop, compiled by Numba on its first call and cached on disk by Numba.

    ``nogil`` lets :func:`split` run parts of it on several threads. The fast-math flags are those
    that keep NaN, infinity and signed results: operations may be fused and reordered, no more.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        functools.update_wrapper(self, function)

    @functools.cached_property
    def _compiled(self) -> Callable[..., Any]:
        import numba

        compiled: Callable[..., Any] = numba.njit(
            cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"}
        )(self._function)
        return compiled

    def __call__(self, *args: Any) -> Any:
        return self._compiled(*args)


@functools.cache
def _threads() -> int:
    return config.cpu_threads()


@functools.cache
def _pool() -> "ThreadPoolExecutor":
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(_threads() - 1, thread_name_prefix="gputensor-kernel")


# Threads do not survive a fork; a child makes its own pool.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def split(loop: Loop, length: int, grain: int, *args: Any) -> None:
    """Run ``loop(start, stop, *args)`` over ``range(length)``, in parts of `grain` or more.

    The parts go to a few threads that sleep when idle. Threads that spin, as OpenMP's do, would
    take the cores from the matrix products in between.
    """
    parts = min(_threads(), length // grain) if length >= 2 * grain else 1
    if parts == 1:
        loop(0, length, *args)
        return
    bounds = [length * i // parts for i in range(parts + 1)]
    rest = [
        _pool().submit(loop, start, stop, *args) for start, stop in itertools.pairwise(bounds[1:])
    ]
    loop(bounds[0], bounds[1], *args)
    for part in rest:
        part.result()


def suffix(array: Array) -> str:
    """Ending of the names of CUDA entry points for this array's dtype; "other" has none."""
    return _SUFFIXES.get(array.dtype.name, "other")


def negligible(array: Array) -> Any:
    """Size below which an optimizer's running means become 0: the smallest normal number.

    Where gradients stay away, means decay to subnormal numbers and stay there (0.9 times the
    smallest rounds to itself), and those are slow on a CPU: with MNIST, whose outer pixels are
    rarely inked, they doubled the time of Adam. float16 needs its subnormal numbers.
    """
    return np.finfo(array.dtype).tiny if array.dtype.char in "fd" else array.dtype.type(0)


_HERE = Path(__file__).parent


@functools.cache
def _module(name: str) -> Any:
    import cupy  # type: ignore[import-not-found, unused-ignore]

    source = (_HERE / f"{name}.cu").read_text(encoding="utf-8")
    return cupy.RawModule(code=source, options=("--std=c++17", f"-I{_HERE}"))


@functools.cache
def cuda_kernel(name: str, entry: str) -> Any:
    """Entry point `entry` of ``NAME.cu``, compiled by NVRTC when first asked for."""
    return _module(name).get_function(entry)


@functools.cache
def _multiprocessors(device: int) -> int:
    import cupy

    return int(cupy.cuda.Device(device).attributes["MultiProcessorCount"])


def blocks(count: int, threads: int, array: Array) -> tuple[int]:
    """Grid for a grid-stride loop over `count` elements: enough to fill the device, no more."""
    return (max(1, min(-(-count // threads), 16 * _multiprocessors(array.device.id))),)
