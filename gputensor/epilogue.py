"""Matrix products on CUDA with what comes next in the same kernel, where that is faster.

cublasLt adds a bias to a product, and may take its ReLU, before it is written; and with the
product ``x.T @ g`` of a weight gradient it sums the columns of `g`, the bias gradient. Whether this
beats the product and a kernel after it depends on shape, dtype and device. So the first eager use
of each kind runs both ways, compares the results, measures, and remembers the faster for the
process. That waits for the device, once.

As clocks differ, two processes may choose differently, and their results then differ in rounding;
under :class:`gputensor.use_deterministic` products stay plain. A captured step goes the way that
was chosen in its first, eager call.

The derivative of ReLU is not joined to the product that gives its gradient (``DRELU_BGRAD``): that
product belongs to the layer after it on the tape, and other layers may add to the same gradient.
"""

import functools
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gputensor import backend, blas, config
from gputensor.backend import Array
from gputensor.shown import log

__all__ = ["BIAS", "COLUMN_SUMS", "RELU_BIAS", "product"]

# Values of cublasLt.h. Its BGRADA sums the rows of the first operand of a column-major product: the
# columns of our second.
BIAS, RELU_BIAS, COLUMN_SUMS = 4, 6, 256
_NAMES = {BIAS: "bias", RELU_BIAS: "bias and ReLU", COLUMN_SUMS: "column sums"}
_TRANSA, _TRANSB, _EPILOGUE, _BIAS_POINTER = 3, 4, 7, 8
_MAX_WORKSPACE, _REDUCTION_SCHEMES, _ALIGNMENTS = 1, 3, (5, 6, 7, 8)
_REDUCE_IN_COMPUTE_TYPE = 2
_R_32F = 0

_ALIGNMENT = 16  # bytes; what is less aligned stays plain
# Largest error allowed, of the largest element: what rounding at other places can make. That of
# a difference between both ways of 16 bits, of TF32, and of float32.
_TOLERANCE_16, _TOLERANCE_TF32, _TOLERANCE_32 = 2e-2, 2e-3, 1e-4
_ROUNDS, _CALLS = 5, 4
_WORTH = 0.97  # of the plain way's time, lest noise decide

_forced: bool | None = None  # for tests and benchmarks: always where it is sound, or never
_lock = threading.Lock()  # descriptors are changed for each call


@functools.cache
def _bindings() -> Any:
    return blas.load_bindings("cublasLt", "get_version", 20, "no epilogues: cublasLt")


# Does the same as an epilogue without cublasLt: plain(a, b, vector, out).
Plain: TypeAlias = Callable[[Array, Array, Array, Array], object]


def product(epilogue: int, a: Array, b: Array, vector: Array, out: Array, plain: Plain) -> None:
    """Write ``a @ b`` and its epilogue, in the faster of two ways.

    Parameters
    ----------
    epilogue : {BIAS, RELU_BIAS, COLUMN_SUMS}
        Add `vector` to each row; then take the ReLU, too; or write ``b.sum(0)`` into `vector`.
    a : cupy.ndarray of shape (m, k)
    b : cupy.ndarray of shape (k, n)
    vector : cupy.ndarray of shape (n,)
    out : cupy.ndarray of shape (m, n)
        Must not overlap the operands.
    plain : callable
        Does the same without cublasLt; may be called several times.
    """
    recording = backend.recording()
    if recording is not None:
        written = (out, vector) if epilogue == COLUMN_SUMS else (out,)
        args = epilogue, a, b, vector, out, plain
        recording.record("call", product_with_epilogue, product_with_epilogue, args, writes=written)
        return
    product_with_epilogue(epilogue, a, b, vector, out, plain)


def product_with_epilogue(
    epilogue: int, a: Array, b: Array, vector: Array, out: Array, plain: Plain
) -> None:
    plain_way = functools.partial(plain, a, b, vector, out)
    if _forced is False or config.deterministic() or config.kernels_setting() == "reference":
        plain_way()
        return
    import cupy

    addresses = a.data.ptr | b.data.ptr | vector.data.ptr | out.data.ptr
    tf32 = config.tf32_products()
    layouts = a.shape, a.strides, b.shape, b.strides, out.strides, vector.strides
    dtypes = a.dtype, b.dtype, vector.dtype, out.dtype
    key = cupy.cuda.get_device_id(), epilogue, layouts, dtypes, tf32
    choice = choices.get(key)
    if addresses % _ALIGNMENT or (choice and not choice.plan):
        plain_way()
        return
    with _lock:
        if choice is None:
            if backend.capturing() or cupy.cuda.get_current_stream().is_capturing():
                choice = _LATER
            elif key in choices:  # another thread has made it
                choice = choices[key]
            else:
                choice = choices[key] = _choose(epilogue, a, b, vector, out, plain_way)
        if choice.plan:
            choice.plan.run(a, b, vector, out)
            return
    plain_way()


class _Plan:
    """A product with an epilogue, for operands of a layout and dtype on a device."""

    def __init__(self, epilogue: int, kind: blas.Kind, a: Array, b: Array, out: Array) -> None:
        lt = self._lt = _bindings()
        handle = self._handle()
        self._one, self._zero = kind.one, kind.zero
        self._made: list[tuple[Callable[[int], object], int]] = []
        self._address = np.zeros(1, np.uint64)
        self._at_address = self._address.ctypes.data
        try:
            compute = kind.tf32 if config.tf32_products() else kind.compute
            create, destroy = lt.matmul_desc_create, lt.matmul_desc_destroy
            self._operation = self._own(create(compute, _R_32F), destroy)
            # The transposes, column by column: see gputensor.blas.
            self._first, op_first = self._layout(b, kind)
            self._second, op_second = self._layout(a, kind)
            self._result, _ = self._layout(out, kind)
            describe = functools.partial(self._set, lt.matmul_desc_set_attribute, self._operation)
            describe(_TRANSA, op_first, np.int32)
            describe(_TRANSB, op_second, np.int32)
            describe(_EPILOGUE, epilogue, np.uint32)
            describe(_BIAS_POINTER, _ALIGNMENT, np.uint64)  # the heuristic sees how it is aligned
            self._algorithm = self._heuristic(handle)
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _handle() -> blas.Handle:
        handle = blas.current_handle()
        assert handle is not None  # there are bindings
        return handle

    def _own(self, descriptor: int, destroy: Callable[[int], object]) -> int:
        self._made.append((destroy, descriptor))
        return descriptor

    @staticmethod
    def _set(setter: Callable[..., object], owner: int, name: int, value: int, dtype: Any) -> None:
        buffer = np.array(value, dtype)
        setter(owner, name, buffer.ctypes.data, buffer.nbytes)

    def _layout(self, x: Array, kind: blas.Kind) -> tuple[int, int]:
        """Descriptor of the transpose of `x` as it lies in memory, and its operation."""
        op, ld = blas.folded(x)  # type: ignore[misc]
        rows, columns = x.shape if op else x.shape[::-1]
        lt = self._lt
        layout = lt.matrix_layout_create(kind.data, rows, columns, ld)
        return self._own(layout, lt.matrix_layout_destroy), op

    def _heuristic(self, handle: blas.Handle) -> "np.ndarray[Any, Any]":
        """The algorithm that cublasLt recommends, a structure of its own.

        16-bit products are summed in float32 from beginning to end.
        """
        lt = self._lt
        preference = lt.matmul_preference_create()
        try:
            prefer = functools.partial(self._set, lt.matmul_preference_set_attribute, preference)
            prefer(_MAX_WORKSPACE, handle.size, np.uint64)
            prefer(_REDUCTION_SCHEMES, _REDUCE_IN_COMPUTE_TYPE, np.uint32)
            for name in _ALIGNMENTS:
                prefer(name, _ALIGNMENT, np.uint32)
            found = np.zeros(1, lt.matmul_heuristic_result_dtype)
            count = np.zeros(1, np.int32)
            layouts = self._first, self._second, self._result, self._result
            arrays = found.ctypes.data, count.ctypes.data
            number = handle.number
            lt.matmul_algo_get_heuristic(number, self._operation, *layouts, preference, 1, *arrays)
        finally:
            lt.matmul_preference_destroy(preference)
        if not count[0] or found["state"][0]:
            raise LookupError("cublasLt has no algorithm for it")
        return found

    def run(self, a: Array, b: Array, vector: Array, out: Array) -> None:
        """Launch, on the current stream and with the workspace of its handle."""
        handle = self._handle()
        self._address[0] = vector.data.ptr
        self._lt.matmul_desc_set_attribute(self._operation, _BIAS_POINTER, self._at_address, 8)
        self._lt.matmul(
            *(handle.number, self._operation, self._one, b.data.ptr, self._first),
            *(a.data.ptr, self._second, self._zero, out.data.ptr, self._result),
            *(out.data.ptr, self._result, self._algorithm.ctypes.data),
            *(handle.workspace.ptr, handle.size, handle.stream),
        )

    def close(self) -> None:
        """Free the descriptors; there is no other use after it."""
        while self._made:
            destroy, descriptor = self._made.pop()
            destroy(descriptor)


class Choice(NamedTuple):
    """Which way a kind of product goes: by a plan, or without one in the plain way; and why."""

    plan: _Plan | None
    reason: str


_LATER = Choice(None, "nothing can be measured while a stream captures")
choices: dict[tuple[Any, ...], Choice] = {}


def _choose(
    epilogue: int, a: Array, b: Array, vector: Array, out: Array, plain: Callable[[], object]
) -> Choice:
    """Compare both ways, if cublasLt can take these operands."""
    import cupy

    kind = blas.kind_of(a.dtype)
    taken = (
        a.size
        and b.size
        and kind is not None
        and a.dtype.name in ("float16", "bfloat16", "float32")
        and a.dtype == b.dtype == vector.dtype == out.dtype
        and out.flags.c_contiguous
        and vector.flags.c_contiguous
        and blas.folded(a)
        and blas.folded(b)
        and blas.current_handle()
        and _bindings()
    )
    if not taken:
        return Choice(None, "not for cublasLt")
    plan = None
    try:
        plan = _Plan(epilogue, kind, a, b, out)  # type: ignore[arg-type]
        # What is needed once only shall not enlarge the memory of a graph to be captured.
        with cupy.cuda.using_allocator(cupy.get_default_memory_pool().malloc):
            better, reason = _compare(plan, epilogue, a, b, vector, out, plain)
    except (LookupError, MemoryError, _bindings().cuBLASLtError) as error:
        better, reason = False, f"{type(error).__name__}: {error}"
    log().debug(
        f"product with {_NAMES[epilogue]}, {a.shape} @ {b.shape}, {a.dtype}: "
        f"{'the epilogue' if better else 'the plain way'} ({reason})"
    )
    if plan is not None and not better:
        plan.close()
    return Choice(plan if better else None, reason)


def _compare(
    plan: _Plan,
    epilogue: int,
    a: Array,
    b: Array,
    vector: Array,
    out: Array,
    plain: Callable[[], object],
) -> tuple[bool, str]:
    """Whether to take the plan, and why."""
    import cupy

    written = (out, vector) if epilogue == COLUMN_SUMS else (out,)
    plain()
    expected = [x.copy() for x in written]
    for x in written:
        _fill_with_nan(x)
    plan.run(a, b, vector, out)
    for found, wanted in zip(written, expected, strict=True):
        error, allowed = _error(found, wanted), _tolerance(found, found is out)
        if not error <= allowed:  # it may be NaN
            return False, f"its error is {error:.1e}, {allowed:.1e} allowed"
    if epilogue == RELU_BIAS:
        # The maximum of NaN and 0 is 0 in some of cublasLt's kernels.
        nan = cupy.empty_like(vector)
        _fill_with_nan(nan)
        plan.run(a, b, nan, out)
        if not cupy.isnan(out.astype(np.float32)).all():
            return False, "it hides NaN"
    if _forced:
        return True, "forced"
    ways = (lambda: plan.run(a, b, vector, out)), plain
    rounds = [[_milliseconds(way) for way in ways] for _ in range(_ROUNDS)]
    fused, apart = map(min, zip(*rounds, strict=True))
    return fused < _WORTH * apart, f"{1e3 * fused:.1f} µs with it, {1e3 * apart:.1f} without"


def _fill_with_nan(x: Array) -> None:
    """Set all bits, which is NaN in every floating point format; `x` is dense."""
    x.data.memset_async(0xFF, x.nbytes)


def _tolerance(x: Array, is_product: bool) -> float:
    if x.itemsize == 2:
        return _TOLERANCE_16
    return _TOLERANCE_TF32 if is_product and config.tf32_products() else _TOLERANCE_32


def _error(found: Array, wanted: Array) -> float:
    """Largest difference, in parts of the largest element; NaN if there is one."""
    found, wanted = found.astype(np.float32), wanted.astype(np.float32)
    return float(abs(found - wanted).max() / max(float(abs(wanted).max()), 1e-30))


def _milliseconds(work: Callable[[], object]) -> float:
    """Time of a call, as the device sees it."""
    import cupy

    start, stop = cupy.cuda.Event(), cupy.cuda.Event()
    start.record()
    for _ in range(_CALLS):
        work()
    stop.record()
    stop.synchronize()
    return float(cupy.cuda.get_elapsed_time(start, stop)) / _CALLS
