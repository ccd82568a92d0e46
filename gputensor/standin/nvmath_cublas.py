"""``nvmath.bindings.cublas`` on device memory that the host holds: the products of matrices.

NumPy computes; what cuBLAS demands is checked first: handles that exist and belong to the current
device and stream, a workspace, operations, dtypes and compute types that go together, leading
dimensions, and matrices that lie within one allocation each. A stream that captures records.
"""

import ctypes
import enum
import importlib
import itertools
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from .memory import Allocation, without_owner
from .state import Count, current
from .streams import Uses, get_current_stream, submit

__all__ = ["ComputeType", "Math", "Operation", "PointerMode", "Status", "make_modules"]


class Status(enum.IntEnum):
    """Why a call failed."""

    NOT_INITIALIZED = 1
    INVALID_VALUE = 7
    EXECUTION_FAILED = 13
    NOT_SUPPORTED = 15


class Operation(enum.IntEnum):
    """What is done to an operand first."""

    N = 0
    T = 1
    C = 2


class ComputeType(enum.IntEnum):
    """Precision of the sums."""

    COMPUTE_32F = 68
    COMPUTE_32F_FAST_TF32 = 77
    COMPUTE_64F = 70


class Math(enum.IntFlag):
    """Modes of a handle."""

    DEFAULT_MATH = 0
    DISALLOW_REDUCED_PRECISION_REDUCTION = 16


class PointerMode(enum.IntEnum):
    """Where alpha and beta lie."""

    HOST = 0
    DEVICE = 1


class LibraryError(Exception):
    """A call that a library refuses."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(f"{status.name} ({int(status)}): {reason}")
        self.status = int(status)


class cuBLASError(LibraryError):
    """A call that cuBLAS refuses."""


@dataclass
class _Handle:
    device: int
    stream: int = 0
    workspace: tuple[int, int] | None = None  # address and size
    math: int = 0


_FLOAT, _TF32, _DOUBLE = (
    ComputeType.COMPUTE_32F,
    ComputeType.COMPUTE_32F_FAST_TF32,
    ComputeType.COMPUTE_64F,
)
# Elements, sums and compute types, by the number of a cudaDataType.
_TYPES: dict[int, tuple[str, str, tuple[ComputeType, ...]]] = {
    0: ("float32", "float32", (_FLOAT, _TF32)),
    1: ("float64", "float64", (_DOUBLE,)),
    2: ("float16", "float32", (_FLOAT,)),
    4: ("complex64", "complex64", (_FLOAT, _TF32)),
    5: ("complex128", "complex128", (_DOUBLE,)),
    14: ("bfloat16", "float32", (_FLOAT,)),
}

_handles: dict[int, _Handle] = {}
_numbers = itertools.count(0xB1A5)
calls: list[dict[str, Any]] = []  # what was asked for, for tests; they clear it


def _require(condition: bool, reason: str, status: Status = Status.INVALID_VALUE) -> None:
    if not condition:
        raise cuBLASError(status, reason)


def _handle(number: int) -> _Handle:
    _require(number in _handles, f"there is no handle {number}", Status.NOT_INITIALIZED)
    handle = _handles[number]
    _require(
        handle.device == current.id,
        f"the handle is of device {handle.device}, the current one is {current.id}",
        Status.EXECUTION_FAILED,
    )
    return handle


def create() -> int:
    """Make a handle of the current device."""
    capturing = get_current_stream().is_capturing()
    _require(not capturing, "create while the stream is capturing", Status.NOT_SUPPORTED)
    number = next(_numbers)
    _handles[number] = _Handle(current.id)
    return number


def destroy(handle: int) -> None:
    """End a handle."""
    _handle(handle)
    del _handles[handle]


def get_cudart_version() -> int:
    """Version of the runtime."""
    return 13000


def set_stream(handle: int, stream_id: int) -> None:
    """Set the stream, and go back to the workspace of cuBLAS itself."""
    _handle(handle).stream = stream_id
    _handle(handle).workspace = None


def set_workspace(handle: int, workspace: int, workspace_size_in_bytes: int) -> None:
    """Set the workspace, aligned to 256 bytes."""
    _require(workspace % 256 == 0, f"workspace at {workspace:#x} is not aligned to 256 bytes")
    _memory("the workspace", workspace, workspace_size_in_bytes)
    _handle(handle).workspace = workspace, workspace_size_in_bytes


def set_pointer_mode(handle: int, mode: int) -> None:
    """Say where alpha and beta lie: on the host, for the stand-in."""
    _handle(handle)
    _require(PointerMode(mode) == PointerMode.HOST, "alpha and beta must lie on the host")


def set_math_mode(handle: int, mode: int) -> None:
    """Set the mode of a handle."""
    _handle(handle).math = Math(mode)


def _memory(name: str, address: int, nbytes: int) -> Allocation:
    """Allocation that holds all bytes."""
    memory = Allocation.around(address)
    _require(
        memory is not None
        and address + nbytes <= memory.ptr + memory.nbytes
        and memory.device == current.id,
        f"{name} does not lie in one allocation of device {current.id}",
        Status.EXECUTION_FAILED,
    )
    assert memory is not None
    return memory


def _scalar(address: int, dtype: np.dtype[Any]) -> Any:
    return np.frombuffer(ctypes.string_at(address, dtype.itemsize), dtype)[0]


def _dtype(name: str) -> np.dtype[Any]:
    if name == "bfloat16":
        return np.dtype(importlib.import_module("ml_dtypes").bfloat16)
    return np.dtype(name)


def _matrices(
    name: str, address: int, dtype: np.dtype[Any], shape: tuple[int, int, int], ld: int, stride: int
) -> "np.ndarray[Any, Any]":
    """Device memory as a stack of column-major matrices, if it has room for them."""
    count, rows, columns = shape
    size = dtype.itemsize
    _require(ld >= max(rows, 1), f"ld{name} is {ld}, the matrix has {rows} rows")
    _require(stride >= 0, f"stride{name} is {stride}")
    _require(address % size == 0, f"{name} at {address:#x} is not aligned to {size} bytes")
    nbytes = size * ((count - 1) * stride + (columns - 1) * ld + rows)
    label = f"{name} of {count} x {rows} x {columns} elements (ld {ld}, stride {stride})"
    memory = _memory(label, address, nbytes)
    strides = (stride * size, size, ld * size)
    return np.ndarray(shape, dtype, np.asarray(memory), address - memory.ptr, strides)


def _rounded(x: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """Floats with the eleven bits of TF32."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(x.dtype)


def gemm_strided_batched_ex_64(
    handle: int, transa: int, transb: int, m: int, n: int, k: int,
    alpha: int, a: int, atype: int, lda: int, stride_a: int,
    b: int, btype: int, ldb: int, stride_b: int,
    beta: int, c: int, ctype: int, ldc: int, stride_c: int,
    batch_count: int, compute_type: int, algo: int,
) -> None:  # fmt: skip
    """``C = alpha op(A) op(B) + beta C`` for a stack of column-major matrices."""
    found = _handle(handle)
    stream = get_current_stream()
    _require(found.stream == stream.ptr, "the handle is of another stream than the current one")
    _require(
        found.workspace is not None or not stream.capture,
        "cuBLAS would allocate a workspace while the stream is capturing",
        Status.NOT_SUPPORTED,
    )
    _require(min(m, n, k) > 0 and batch_count > 0, f"m, n, k are {m}, {n}, {k}")
    _require(algo == -1, f"algorithm {algo}")
    _require(atype == btype == ctype and ctype in _TYPES, f"types {atype}, {btype}, {ctype}")
    name, sums, allowed = _TYPES[ctype]
    _require(compute_type in allowed, f"{name} with compute type {compute_type}")
    dtype, scale = _dtype(name), np.dtype(sums)
    stored = [(m, k) if transa == Operation.N else (k, m)]
    stored.append((k, n) if transb == Operation.N else (n, k))
    x = _matrices("a", a, dtype, (batch_count, *stored[0]), lda, stride_a)
    y = _matrices("b", b, dtype, (batch_count, *stored[1]), ldb, stride_b)
    z = _matrices("c", c, dtype, (batch_count, m, n), ldc, stride_c)
    _require(batch_count == 1 or stride_c >= (n - 1) * ldc + m, "matrices of C overlap")
    _require(not (np.may_share_memory(x, z) or np.may_share_memory(y, z)), "C overlaps A or B")
    factor, share = _scalar(alpha, scale), _scalar(beta, scale)
    calls.append(
        {"compute": ComputeType(compute_type), "batch": batch_count, "shape": (m, n, k)}
        | {"trans": (Operation(transa), Operation(transb)), "dtype": name, "math": found.math}
    )

    uses = Uses()
    x, y, z = (without_owner(v, uses, v is z) for v in (x, y, z))
    if found.workspace:
        uses.note_all(_memory("the workspace", *found.workspace), True)

    def run() -> None:
        left, right = (
            np.conj(v.mT) if op == Operation.C else v.mT if op == Operation.T else v
            for v, op in ((x.astype(scale), transa), (y.astype(scale), transb))
        )
        if compute_type == ComputeType.COMPUTE_32F_FAST_TF32:
            left, right = _rounded(left), _rounded(right)
        with np.errstate(all="ignore"):
            product = factor * (left @ right)
            z[...] = product + share * z.astype(scale) if share else product

    submit(run, "launches", uses, what=Count("cublas_gemm", 0))


def gemm_ex_64(
    handle: int, transa: int, transb: int, m: int, n: int, k: int,
    alpha: int, a: int, atype: int, lda: int, b: int, btype: int, ldb: int,
    beta: int, c: int, ctype: int, ldc: int, compute_type: int, algo: int,
) -> None:  # fmt: skip
    """``C = alpha op(A) op(B) + beta C`` for column-major matrices."""
    gemm_strided_batched_ex_64(
        *(handle, transa, transb, m, n, k, alpha, a, atype, lda, 0, b, btype, ldb, 0),
        *(beta, c, ctype, ldc, 0, 1, compute_type, algo),
    )


def make_modules() -> dict[str, ModuleType]:
    """Make ``nvmath`` and what is below it, by their names."""
    modules = {name: ModuleType(name) for name in ("nvmath", "nvmath.bindings")}
    cublas = modules["nvmath.bindings.cublas"] = ModuleType("nvmath.bindings.cublas")
    vars(cublas).update({k: v for k, v in globals().items() if not k.startswith("_")})
    modules["nvmath"].bindings = modules["nvmath.bindings"]
    modules["nvmath.bindings"].cublas = cublas
    modules["nvmath"].__path__ = modules["nvmath.bindings"].__path__ = []
    return modules
