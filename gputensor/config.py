"""Settings and the ``GPUTENSOR_*`` environment variables, read when first needed.

=====================  =========================  =============================================
variable               values (default first)     meaning
=====================  =========================  =============================================
``GPUTENSOR_DEVICE``   auto, cpu, cuda, cuda:N    the device new tensors are put on
``GPUTENSOR_KERNELS``  auto, reference            fused kernels, or their plain array form
``GPUTENSOR_CACHE``    a folder                   where data sets and compiled loops are kept
``GPUTENSOR_THREADS``  a count                    CPU threads of one fused kernel
=====================  =========================  =============================================
"""

import contextlib
import functools
import os
from pathlib import Path
from typing import Any, Self

import numpy as np

from gputensor.errors import DTypeError

__all__ = [
    "cache_dir",
    "cpu_threads",
    "default_complex",
    "default_dtype",
    "deterministic",
    "device_setting",
    "kernels_setting",
    "matmul_precision",
    "set_default_dtype",
    "sync_debug",
    "sync_debug_mode",
    "tf32_products",
    "use_deterministic",
]


@functools.cache  # asked for by every call, and the environment takes 2 µs to look at
def device_setting() -> str:
    """Value of ``GPUTENSOR_DEVICE``, ``"auto"`` where unset."""
    return os.environ.get("GPUTENSOR_DEVICE", "").strip().lower() or "auto"


@functools.cache  # asked for by every kernel
def kernels_setting() -> str:
    """Value of ``GPUTENSOR_KERNELS``: ``"auto"`` or ``"reference"``.

    Raises
    ------
    ValueError
        For any other value.
    """
    value = os.environ.get("GPUTENSOR_KERNELS", "").strip().lower() or "auto"
    if value not in ("auto", "reference"):
        raise ValueError(
            f"GPUTENSOR_KERNELS is {value!r}; allowed are 'auto' (fused kernels where they "
            "exist) and 'reference' (plain array operations)"
        )
    return value


def cpu_threads() -> int:
    """CPU threads that one fused kernel may use: ``GPUTENSOR_THREADS``, else the usable cores.

    Raises
    ------
    ValueError
        If the variable is not a positive integer.
    """
    value = os.environ.get("GPUTENSOR_THREADS", "").strip()
    if not value:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1
    if not value.isdecimal() or int(value) < 1:
        raise ValueError(f"GPUTENSOR_THREADS is {value!r}; it must be a positive integer")
    return int(value)


def cache_dir() -> Path:
    """Folder of data sets and compiled code: ``GPUTENSOR_CACHE``, else the user's own."""
    value = os.environ.get("GPUTENSOR_CACHE", "").strip()
    if value:
        return Path(value).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "").strip()
    return (Path(base) if base else Path.home() / ".cache") / "gputensor"


class _Setting:
    """A value for the whole process; as a context manager for its block only."""

    _value: Any

    def __init__(self, value: Any) -> None:
        self._before = self._value
        type(self)._value = value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        type(self)._value = self._before


class use_deterministic(_Setting):
    """Equal inputs shall give equal bits, on CUDA too; in the whole process.

    gputensor's own kernels always do: none adds floating point numbers atomically. What changes is
    the gradient of indexing with integer arrays in other ways than ``x[rows]``, which is otherwise
    left to CuPy's atomic additions: it is added up in a fixed order, which takes a sort. And dense
    layers take no epilogues of cublasLt, which are otherwise chosen by a clock: each process may
    choose differently, and its results then differ in rounding. On the CPU nothing changes.

    Parameters
    ----------
    mode : bool

    Examples
    --------
    >>> with gt.use_deterministic():  # for this block only; without with, from here on
    ...     x = gt.ones(3).sum()
    """

    _value = False

    def __init__(self, mode: bool = True) -> None:
        super().__init__(bool(mode))


def deterministic() -> bool:
    """Whether :class:`use_deterministic` is in force."""
    return use_deterministic._value


class matmul_precision(_Setting):
    """How CUDA multiplies float32 matrices; in the whole process.

    Parameters
    ----------
    mode : {"ieee", "tf32"}
        ``"ieee"``, the default, keeps the 24 bits of float32. ``"tf32"`` rounds the factors to 11
        and adds in float32, on the tensor cores of Ampere and later, several times as fast. Nothing
        changes on the CPU, for other dtypes than float32 and complex64, and without nvmath-python.

    Raises
    ------
    ValueError
        For another mode.

    Examples
    --------
    >>> with gt.matmul_precision("tf32"):  # for this block only; without with, from here on
    ...     x = gt.ones((2, 2)) @ gt.ones((2, 2))
    """

    _value = "ieee"

    def __init__(self, mode: str) -> None:
        if mode not in ("ieee", "tf32"):
            raise ValueError(
                f"matmul_precision: {mode!r} is unknown; allowed are 'ieee' and 'tf32'"
            )
        super().__init__(mode)


def tf32_products() -> bool:
    """Whether ``matmul_precision("tf32")`` is in force."""
    return matmul_precision._value == "tf32"


class set_default_dtype(_Setting):
    """Dtype of what is made of Python's floats, or of nothing; in the whole process.

    Python floats and lists of them become numbers of this dtype, complex ones complex64 or
    complex128 with it, functions that make tensors, random numbers and parameters of layers take it
    where no dtype is given. Arrays keep their dtype, and a Python number takes that of the tensor
    that it meets.

    Parameters
    ----------
    dtype : {"float32", "float64"} or dtype
        float32 at first, which GPUs are fast with; NumPy and SciPy take float64 for granted.

    Raises
    ------
    DTypeError
        For another dtype.

    Examples
    --------
    >>> with gt.set_default_dtype("float64"):  # for this block only; without with, from here on
    ...     print(gt.tensor([1.0, 2.0]).dtype)
    float64
    """

    _value = np.dtype(np.float32)

    def __init__(self, dtype: Any) -> None:
        chosen = None
        with contextlib.suppress(TypeError):  # of NumPy, for what names no dtype
            chosen = None if dtype is None else np.dtype(dtype)  # None would be float64
        if chosen not in _COMPLEX:
            raise DTypeError(
                f"set_default_dtype: {dtype!r} is not supported; allowed are 'float32' and "
                "'float64'"
            )
        super().__init__(chosen)


_COMPLEX = {np.dtype(np.float32): np.dtype(np.complex64), np.dtype(np.float64): np.dtype(complex)}


def default_dtype() -> "np.dtype[Any]":
    """The dtype of :class:`set_default_dtype` that is in force."""
    return set_default_dtype._value


def default_complex() -> "np.dtype[Any]":
    """Complex numbers of the precision of :func:`default_dtype`."""
    return _COMPLEX[set_default_dtype._value]


class sync_debug(_Setting):
    """Find out where the host waits for a CUDA device; in the whole process.

    Each wait keeps the device from being given work ahead. What is seen is what gputensor does:
    values read (``item()``, ``float()``, ``numpy()``, printing), boolean masks and other results
    whose shape depends on values, and ``gt.synchronize()``. The reads that ``fit`` and ``evaluate``
    cannot do without, of the data at the beginning and of the sums at an epoch's end, are allowed.

    Parameters
    ----------
    mode : {"off", "warn", "error"}
        ``"warn"`` warns with the line that waits, ``"error"`` raises SyncError there, before.

    Raises
    ------
    ValueError
        For another mode.

    Examples
    --------
    >>> with gt.sync_debug("error"):
    ...     total = gt.ones(3).sum()  # total.item() would be an error on CUDA
    """

    _value = "off"

    def __init__(self, mode: str) -> None:
        if mode not in ("off", "warn", "error"):
            raise ValueError(
                f"sync_debug: {mode!r} is unknown; allowed are 'off', 'warn' and 'error'"
            )
        super().__init__(mode)


def sync_debug_mode() -> str:
    """Mode of :class:`sync_debug` that is in force."""
    return str(sync_debug._value)
