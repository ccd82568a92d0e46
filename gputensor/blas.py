"""Matrix products: on CUDA through cuBLAS handles of gputensor's own, on the CPU by NumPy's BLAS.

CuPy refuses its cuBLAS while a stream captures a graph. The handles made here have a workspace
that is there before and stays in place, as a capture needs. Eager work takes the same way, so that
a captured step gives the bits of an eager one. Without nvmath-python, whose bindings of cuBLAS
these are, products are CuPy's and cannot be captured.

cuBLAS reads a matrix column by column, and in that reading a row-major matrix is its transpose. So
``a @ b`` is computed as the column-major product ``b.T @ a.T``, which needs no copy; neither do
transposed operands, which are a flag of the call, nor rows that lie apart (its leading dimension).
"""

import contextlib
import ctypes
import functools
import importlib
import itertools
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from gputensor import config
from gputensor.backend import Array
from gputensor.errors import DeviceError, DTypeError, ShapeError
from gputensor.shown import log

__all__ = [
    "Handle",
    "Kind",
    "current_handle",
    "folded",
    "give_threads",
    "host_matmul",
    "kind_of",
    "load_bindings",
    "matmul",
    "one_thread",
    "prepare",
]

_MIB = 1 << 20
# What NVIDIA recommends, by the first number of the compute capability; 4 MiB for the others.
_WORKSPACE = {9: 32 * _MIB, 10: 32 * _MIB, 12: 12 * _MIB}

# Values of cublas_api.h and library_types.h.
_N, _T = 0, 1
_COMPUTE_32F, _COMPUTE_64F, _COMPUTE_32F_FAST_TF32 = 68, 70, 77
_POINTER_MODE_HOST = 0
_DISALLOW_REDUCED_PRECISION_REDUCTION = 16
_GEMM_DEFAULT = -1


# Multiply-adds between which a product on the CPU is left to one thread: OpenBLAS takes one below
# these anyway, and beyond those two save more than they cost.
_SHARED, _WORTH_SHARING = 1 << 18, 1 << 23

# What tells OpenBLAS to take threads of gputensor.kernels.pool, and their function's address.
_give: Any = None


@functools.cache
def _openblas() -> Any:
    """Controller of the threads of NumPy's OpenBLAS; None if it has another library."""
    threadpoolctl = importlib.import_module("threadpoolctl")
    found = threadpoolctl.ThreadpoolController().select(internal_api="openblas").lib_controllers
    return next((lib for lib in found if "numpy" in lib.filepath), found[0] if found else None)


def give_threads(address: int) -> None:
    """Have :func:`host_matmul` use threads of ours, instead of those of NumPy's OpenBLAS.

    It says so for each product, as others, and LU decompositions, go better with its own.

    Parameters
    ----------
    address : int
        Of a function as its ``openblas_set_threads_callback_function`` takes it.
    """
    global _give
    library = _openblas()
    if library is None or library.get_num_threads() < 2:
        return
    for prefix, suffix in itertools.product(("", "scipy_"), ("", "64_", "_64", "_64_")):
        name = f"{prefix}openblas_set_threads_callback_function{suffix}"
        if hasattr(library.dynlib, name):
            place = ctypes.cast(getattr(library.dynlib, name), ctypes.c_void_p).value
            # A function of Python's kind keeps the interpreter's lock, which is quicker.
            _give = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(place or 0), ctypes.c_void_p(address)
            return


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Context in which products on the CPU take one thread, for who has threads of their own."""
    library = _openblas()
    threads = library.get_num_threads() if library else 1
    if threads > 1:
        library.set_num_threads(1)
    try:
        yield
    finally:
        if threads > 1:
            library.set_num_threads(threads)


def host_matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """``numpy.matmul``, small products by one thread if the threads are OpenBLAS's own.

    A second thread computes a small product a little faster, but leaves the operands in the cache
    of another core, where an optimizer's step then has to get each line of the parameters back: in
    the training of 784-64-10 with batches of 32 it took ten times as long for it. Where the step
    is by the same threads, both gain.
    """
    if a.dtype.kind == "V" == b.dtype.kind and out is None:  # bfloat16, which NumPy makes float32
        return np.matmul(a, b).astype(a.dtype)
    work = a.size * b.shape[-1] if b.ndim > 1 else 0
    if work > _SHARED and _give is not None:
        give, ours = _give
        give(ours)
        try:
            return np.matmul(a, b, out=out)
        finally:
            give(None)
    if _SHARED < work < _WORTH_SHARING:
        library = _openblas()
        threads = library.get_num_threads() if library else 1
        if threads > 1:
            library.set_num_threads(1)
            try:
                return np.matmul(a, b, out=out)
            finally:
                library.set_num_threads(threads)
    return np.matmul(a, b, out=out)


class Kind(NamedTuple):
    """How cuBLAS multiplies elements of a dtype."""

    data: int
    compute: int
    tf32: int  # the compute type where TF32 is asked for
    one: int
    zero: int  # host addresses of alpha and beta


_ONE_AND_ZERO = {t: np.array([1, 0], t) for t in ("f4", "f8", "c8", "c16")}  # cuBLAS reads these


def _kind(data: int, compute: int, scalar: str, tf32: int | None = None) -> Kind:
    one = _ONE_AND_ZERO[scalar].ctypes.data
    return Kind(data, compute, tf32 or compute, one, one + np.dtype(scalar).itemsize)


_KINDS = {
    "float16": _kind(2, _COMPUTE_32F, "f4"),
    "bfloat16": _kind(14, _COMPUTE_32F, "f4"),
    "float32": _kind(0, _COMPUTE_32F, "f4", _COMPUTE_32F_FAST_TF32),
    "float64": _kind(1, _COMPUTE_64F, "f8"),
    "complex64": _kind(4, _COMPUTE_32F, "c8", _COMPUTE_32F_FAST_TF32),
    "complex128": _kind(5, _COMPUTE_64F, "c16"),
}


@functools.cache
def kind_of(dtype: "np.dtype[Any]") -> Kind | None:
    return _KINDS.get(dtype.name)


def load_bindings(name: str, probe: str, level: int, without: str) -> Any:
    """Module ``nvmath.bindings.NAME``; None, and a line in the log, where it is not usable.

    Parameters
    ----------
    name : str
    probe : str
        Function of it without arguments, whose call loads the library.
    level : int
        Of the line in the log: 20 for information, 30 for a warning.
    without : str
        What follows for the user, the beginning of the line.
    """
    try:
        module = importlib.import_module(f"nvmath.bindings.{name}")
        getattr(module, probe)()
    # A missing or broken library surfaces as almost any exception.
    except Exception as error:
        log().log(level, f"{without} is not usable ({type(error).__name__}: {error})")
        return None
    return module


@functools.cache
def _bindings() -> Any:
    without = (
        "matrix products are left to CuPy and cannot be captured in a CUDA graph: nvmath-python"
    )
    return load_bindings("cublas", "get_cudart_version", 30, without)


class Handle:
    """cuBLAS handle of a stream, with its workspace."""

    __slots__ = ("batched", "gemm", "number", "size", "stream", "workspace")

    def __init__(self, cublas: Any, stream: int) -> None:
        import cupy

        capability = int(cupy.cuda.Device().compute_capability) // 10
        self.size = size = _WORKSPACE.get(capability, 4 * _MIB)
        self.stream = stream
        self.gemm = cublas.gemm_ex_64
        self.batched = cublas.gemm_strided_batched_ex_64
        self.number = cublas.create()
        # Not from an allocator that is in force for a while only, such as that of a capture.
        self.workspace = cupy.get_default_memory_pool().malloc(size)
        cublas.set_stream(self.number, stream)
        cublas.set_workspace(self.number, self.workspace.ptr, size)  # set_stream took it away
        cublas.set_pointer_mode(self.number, _POINTER_MODE_HOST)
        # 16-bit products are summed in float32 from beginning to end.
        cublas.set_math_mode(self.number, _DISALLOW_REDUCED_PRECISION_REDUCTION)


# By device, stream and thread. None is destroyed: a captured graph goes on using the workspace.
_handles: dict[tuple[int, int, int], Handle] = {}


def current_handle() -> Handle | None:
    """Handle of the current device, stream and thread; None without the bindings."""
    import cupy

    stream = cupy.cuda.get_current_stream()
    key = (cupy.cuda.get_device_id(), stream.ptr, threading.get_ident())
    handle = _handles.get(key)
    if handle is None:
        cublas = _bindings()
        if stream.is_capturing():
            raise DeviceError(
                "matmul: the stream captures a graph, and CuPy's cuBLAS cannot be captured; "
                "install nvmath-python: pip install nvmath-python"
                if cublas is None
                else "matmul: the stream captures a graph and has no cuBLAS handle yet; call "
                "gputensor.blas.prepare() on it, or run one product there, before the capture"
            )
        if cublas is not None:
            handle = _handles[key] = Handle(cublas, stream.ptr)
    return handle


def prepare() -> bool:
    """Make the handle of the current stream, before a capture, which cannot make one.

    Returns
    -------
    bool
        Whether matrix products can be captured: False without nvmath-python.
    """
    return current_handle() is not None


def matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """Matrix product of CuPy arrays, over leading axes that broadcast.

    Parameters
    ----------
    a : cupy.ndarray of shape (..., m, k) or (k,)
    b : cupy.ndarray of shape (..., k, n) or (k,)
    out : cupy.ndarray of shape (..., m, n), optional
        Where to write the result; must not overlap the operands. Written in place if the rows or
        the columns of its matrices are dense.

    Returns
    -------
    cupy.ndarray
        Of shape (..., m, n), without the axis of an operand that has one axis only. float16 and
        bfloat16 are summed in float32, float32 as :func:`gputensor.matmul_precision` says.

    Raises
    ------
    ShapeError
        If the shapes do not fit.
    DTypeError
        If `out` cannot take the result.
    DeviceError
        If the stream captures a graph, and there is no nvmath-python or no handle.
    """
    left, right, shape = _matrices(a, b)
    dtype = a.dtype if a.dtype is b.dtype else np.result_type(a.dtype, b.dtype)
    if out is not None:
        if out.shape != shape:
            raise ShapeError(f"matmul: out has shape {out.shape}, the result has {shape}")
        if out.dtype != dtype and not np.can_cast(dtype, out.dtype, "same_kind"):
            raise DTypeError(f"matmul: out is {out.dtype}, which cannot take {dtype}")
    import cupy

    kind = kind_of(dtype)
    handle = current_handle() if kind is not None else None
    if kind is None or handle is None:
        return cupy.matmul(a, b) if out is None else cupy.matmul(a, b, out=out)
    result = out if out is not None and out.dtype == dtype else cupy.empty(shape, dtype)
    target: Array = result
    if a.ndim == 1:
        target = cupy.expand_dims(target, -1 if b.ndim == 1 else -2)
    if b.ndim == 1:
        target = cupy.expand_dims(target, -1)
    if not left.shape[-1]:
        target.fill(0)
    elif target.size:
        left, right = left.astype(dtype, copy=False), right.astype(dtype, copy=False)
        _multiply(handle, kind, left, right, target)
    if out is None or out is result:
        return result
    out[...] = result
    return out


def _matrices(a: Array, b: Array) -> tuple[Array, Array, tuple[int, ...]]:
    """Operands with two axes or more, and the shape of their product."""
    first, second = getattr(a, "shape", ()), getattr(b, "shape", ())
    if not first or not second:
        raise ShapeError(f"matmul: operands of shape {first}, {second}: each needs an axis")
    left = a if len(first) > 1 else a[None, :]
    right = b if len(second) > 1 else b[:, None]
    if first[-1] != right.shape[-2]:
        raise ShapeError(
            f"matmul: operands of shape {first}, {second} do not fit: {first[-1]} columns, "
            f"{right.shape[-2]} rows"
        )
    shape = left.shape[:-2]
    if shape != right.shape[:-2]:
        try:
            shape = np.broadcast_shapes(shape, right.shape[:-2])
        except ValueError:
            raise ShapeError(
                f"matmul: the leading axes of operands of shape {first}, {second} do not broadcast"
            ) from None
    if len(first) > 1:
        shape = (*shape, first[-2])
    if len(second) > 1:
        shape = (*shape, second[-1])
    return left, right, shape


def folded(x: Array) -> tuple[int, int] | None:
    """Operation and leading dimension by which cuBLAS reads the transposes of matrices.

    None if it cannot read them: neither rows nor columns are dense, or elements lie at addresses
    that are no multiple of their size.
    """
    size = x.itemsize
    rows, columns = x.shape[-2:]
    *stack, down, across = x.strides
    if x.data.ptr % size or (stack and any(step < 0 or step % size for step in stack)):
        return None
    if columns == 1 or across == size:
        if rows == 1:
            return _N, columns
        if down >= columns * size and not down % size:
            return _N, down // size
    if rows == 1 or down == size:
        if columns == 1:
            return _T, rows
        if across >= rows * size and not across % size:
            return _T, across // size
    return None


def _readable(x: Array) -> tuple[Array, int, int]:
    """`x` as cuBLAS can read it, a copy if need be, its operation and leading dimension."""
    read = folded(x)
    if read is None:
        x = x.copy(order="C")
        read = _N, x.shape[-1]
    return x, *read


def _multiply(handle: Handle, kind: Kind, a: Array, b: Array, out: Array) -> None:
    """Write ``a @ b`` of matrices into `out`; none is empty."""
    read = folded(out)
    if read is None:
        dense = out.copy(order="C")
        _multiply(handle, kind, a, b, dense)
        out[...] = dense
        return
    op, ldc = read
    if op == _T:  # columns of `out` are dense: rows of its transpose, and that is b.T @ a.T
        _multiply(handle, kind, b.swapaxes(-1, -2), a.swapaxes(-1, -2), out.swapaxes(-1, -2))
        return
    a, op_a, lda = _readable(a)
    b, op_b, ldb = _readable(b)
    m, n = out.shape[-2:]
    k = a.shape[-1]
    compute = kind.tf32 if config.tf32_products() else kind.compute
    data = kind.data
    axes = _stack_axes(a, b, out) if out.ndim > 2 else None
    if axes and op_a == _N and axes[0].steps == (m * lda, 0, m * ldc):
        m *= axes.pop(0).length  # one product with all the rows
    at_a, at_b, at_c = a.data.ptr, b.data.ptr, out.data.ptr
    if not axes:
        handle.gemm(
            *(handle.number, op_b, op_a, n, m, k, kind.one, at_b, data, ldb, at_a, data, lda),
            *(kind.zero, at_c, data, ldc, compute, _GEMM_DEFAULT),
        )
        return
    # Matrices of an `out` may be interleaved; those are written one by one.
    apart = [axis for axis in axes if axis.steps[2] >= (m - 1) * ldc + n]
    stack = max(apart, key=lambda axis: axis.length, default=_Axis(1, (0, 0, 0)))
    others = [axis for axis in axes if axis is not stack]
    step_a, step_b, step_c = stack.steps
    size = out.itemsize
    for place in itertools.product(*(range(axis.length) for axis in others)):
        skip_a, skip_b, skip_c = (
            size * sum(i * axis.steps[array] for i, axis in zip(place, others, strict=True))
            for array in range(3)
        )
        handle.batched(
            *(handle.number, op_b, op_a, n, m, k, kind.one),
            *(at_b + skip_b, data, ldb, step_b, at_a + skip_a, data, lda, step_a),
            *(kind.zero, at_c + skip_c, data, ldc, step_c, stack.length, compute, _GEMM_DEFAULT),
        )


class _Axis(NamedTuple):
    """Leading axis: its length, and how many elements `a`, `b` and `out` advance along it."""

    length: int
    steps: tuple[int, int, int]


def _stack_axes(*arrays: Array) -> list[_Axis]:
    """Leading axes, innermost first; those that are evenly spaced together become one."""
    axes: list[_Axis] = []
    for i in range(-3, -arrays[-1].ndim - 1, -1):
        length = arrays[-1].shape[i]
        if length == 1:
            continue
        steps = tuple(
            x.strides[i] // x.itemsize if -i <= x.ndim and x.shape[i] > 1 else 0 for x in arrays
        )
        inner = axes[-1] if axes else None
        if inner and steps == tuple(inner.length * step for step in inner.steps):
            axes[-1] = _Axis(inner.length * length, inner.steps)
        else:
            axes.append(_Axis(length, steps))  # type: ignore[arg-type]
    return axes
