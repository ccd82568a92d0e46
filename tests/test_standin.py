"""The stand-in for CuPy: its kernels compute, its checks catch, its rules are CuPy's."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from conftest import forget_cupy
from gputensor import standin
from gputensor.standin import counters, cupy_api, ufuncs

pytestmark = pytest.mark.standin
needs_compiler = pytest.mark.skipif(
    standin.host_compiler() is None, reason="no C++ compiler to run kernels on the host"
)

SOFTMAX = r"""
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(256)
softmax(const float* __restrict__ x, float* __restrict__ y, int columns) {
  const float* row = x + static_cast<size_t>(blockIdx.x) * columns;
  float* out = y + static_cast<size_t>(blockIdx.x) * columns;
  float top = __int_as_float(0xff800000);
  for (int i = threadIdx.x; i < columns; i += blockDim.x) top = fmaxf(top, row[i]);
  top = block_reduce<float>(top, [](float a, float b) { return fmaxf(a, b); });
  float sum = 0.0f;
  for (int i = threadIdx.x; i < columns; i += blockDim.x) sum += expf(row[i] - top);
  sum = block_reduce<float>(sum, [](float a, float b) { return a + b; });
  for (int i = threadIdx.x; i < columns; i += blockDim.x) out[i] = expf(row[i] - top) / sum;
}
"""

REDUCE = r"""
#ifndef BARRIER
#define BARRIER __syncthreads()
#endif

template <class T, class Operation>
__device__ __forceinline__ T block_reduce(T value, Operation combine) {
  __shared__ T part[32];
  for (int offset = warpSize / 2; offset > 0; offset /= 2)
    value = combine(value, __shfl_xor_sync(0xffffffffu, value, offset));
  if (threadIdx.x % warpSize == 0) part[threadIdx.x / warpSize] = value;
  BARRIER;
  for (int i = 0; i < blockDim.x / warpSize; ++i) value = i ? combine(value, part[i]) : part[0];
  __syncthreads();
  return value;
}
"""


@pytest.fixture
def cupy():
    with standin.installed(order="forward") as module:
        yield module


@pytest.fixture
def kernel(cupy):
    """Compile a source and get the kernel ``k``, or another."""

    def get(source, name="k", options=(), **kwargs):
        return cupy.RawModule(code=source, options=options, **kwargs).get_function(name)

    if standin.host_compiler() is None:
        pytest.skip("no C++ compiler to run kernels on the host")
    return get


@pytest.fixture
def softmax(kernel, tmp_path):
    (tmp_path / "reduce.cuh").write_text(REDUCE)

    def get(*options):
        return kernel(SOFTMAX, "softmax", (f"-I{tmp_path}", *options))

    return get


def numpy_softmax(x):
    e = np.exp(x - x.max(1, keepdims=True), dtype=np.float64)
    return e / e.sum(1, keepdims=True)


# ------------------------------------------------------------------ kernels compute


@pytest.mark.parametrize("order", ["forward", "reverse", "shuffle", "compare"])
def test_softmax_is_right_in_every_order(cupy, softmax, order):
    run = softmax()
    x = np.random.default_rng(0).normal(size=(64, 1000)).astype(np.float32)
    y = cupy.empty(x.shape, np.float32)
    device_x = cupy.asarray(x)
    run((1,), (256,), (device_x, y, np.int32(10)))  # compiled, its stacks touched
    standin.settings.order = order
    run((64,), (256,), (device_x, y, np.int32(1000)))
    np.testing.assert_allclose(y.get(), numpy_softmax(x), rtol=1e-5)


@pytest.mark.parametrize("order", ["forward", "reverse", "shuffle"])
def test_a_missing_barrier_shows(cupy, softmax, order):
    standin.settings.order = order
    x = np.random.default_rng(0).normal(size=(4, 1000)).astype(np.float32)
    y = cupy.empty(x.shape, np.float32)
    softmax("-DBARRIER=")((4,), (256,), (cupy.asarray(x), y, np.int32(1000)))
    assert not np.allclose(y.get(), numpy_softmax(x), rtol=1e-3)


def test_plain_kernels_take_many_threads(cupy, kernel):
    run = kernel(
        """
        extern "C" __global__ void k(float* x, long long n) {
          long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
          if (i < n) x[i] = 2.0f * i;
        }
        """
    )
    x = cupy.empty(1_000_000, np.float32)
    run((3907,), (256,), (x, 1_000_000))
    np.testing.assert_array_equal(x.get(), 2.0 * np.arange(1_000_000))


def test_warp_and_block_operations(cupy, kernel):
    run = kernel(
        """
        extern "C" __global__ void k(int* out) {
          int t = threadIdx.x + blockDim.x * threadIdx.y, lane = t % 32;
          int* o = out + t * 10;
          o[0] = __shfl_sync(~0u, t, 3);
          o[1] = __shfl_up_sync(~0u, t, 1);
          o[2] = __shfl_down_sync(~0u, t, 2, 8);
          o[3] = __shfl_xor_sync(~0u, t, 5);
          o[4] = __popc(__ballot_sync(~0u, lane < 7));
          o[5] = __any_sync(~0u, t == 40) + 2 * __all_sync(~0u, t >= 32);
          o[6] = __syncthreads_count(t % 3 == 0);
          o[7] = __syncthreads_or(t == 5) + 2 * __syncthreads_and(t < 64);
          if (lane < 16) o[8] = __shfl_xor_sync(0x0000ffffu, t, 1);
          else o[8] = __shfl_xor_sync(0xffff0000u, t, 2);
          double wide = __shfl_sync(~0u, t + 0.5, 1, 4);
          long long big = __shfl_sync(~0u, (1LL << 40) + t, 0);
          o[9] = (int)(2 * wide) + (int)(big >> 40);
        }
        """
    )
    out = cupy.zeros((64, 10), np.int32)
    run((1,), (16, 4), (out,))
    t = np.arange(64)
    lane, first = t % 32, t - t % 32
    expected = [
        first + 3,
        np.where(lane == 0, t, t - 1),
        np.where(t % 8 < 6, t + 2, t),
        first + (lane ^ 5),
        np.full(64, 7),
        np.where(t < 32, 0, 3),
        np.full(64, 22),
        np.full(64, 3),
        np.where(lane < 16, t ^ 1, t ^ 2),
        2 * (t - t % 4 + 1) + 2,
    ]
    np.testing.assert_array_equal(out.get().T, expected)


def test_atomics_vectors_and_bits(cupy, kernel):
    run = kernel(
        """
        struct Pair { int count; unsigned most; };
        extern "C" __global__ void k(const float4* x, float* sum, int* counts, double* d,
                                     unsigned long long* big) {
          float4 v = __ldg(x + threadIdx.x);
          atomicAdd(sum, v.x + v.y + v.z + v.w);
          atomicAdd(&counts[0], 1);
          atomicMax(&counts[1], (int)threadIdx.x);
          atomicMin(&counts[2], (int)threadIdx.x);
          counts[3] = __clz(1) + __ffs(8) + min(3, 5u) + max(2, 1);
          if (atomicCAS(&counts[4], 0, 7) == 0) counts[5] = __float2int_rn(2.5f);
          counts[6] = __umulhi(0x80000000u, 6u) + (__int_as_float(0x3fc00000) == 1.5f);
          *d = rsqrt(4.0) + fma(2.0, 3.0, 1.0);
          atomicExch(big, 1ull << 63);
        }
        """
    )
    x = cupy.arange(128, dtype=np.float32)
    counts = cupy.asarray(np.array([0, 0, 99, 0, 0, 0, 0], np.int32))
    total, d, big = cupy.zeros((), np.float32), cupy.empty((), float), cupy.empty((), np.uint64)
    run((1,), (32,), (x, total, counts, d, big))
    assert float(total) == 127 * 64
    assert counts.tolist() == [32, 31, 0, 31 + 4 + 3 + 2, 7, 2, 4]
    assert (float(d), int(big)) == (7.5, 2**63)
    with pytest.raises(TypeError, match=r"argument 0 \(x\).*multiple of 16"):
        run((1,), (31,), (x[1:125], total, counts, d, big))


def test_dynamic_shared_memory_and_three_dimensions(cupy, kernel):
    source = """
        extern "C" __global__ void k(int* out) {
          extern __shared__ __align__(16) int seen[];
          int t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
          seen[t] = t;
          __syncthreads();
          int n = blockDim.x * blockDim.y * blockDim.z;
          int b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
          out[b * n + t] = seen[n - 1 - t] + 100 * b;
        }
        """
    run = kernel(source)
    out = cupy.empty((12, 24), np.int32)
    run((3, 2, 2), (4, 3, 2), (out,), shared_mem=96)
    np.testing.assert_array_equal(
        out.get(), np.arange(24)[::-1] + 100 * np.arange(12)[:, np.newaxis]
    )
    with pytest.raises(RuntimeError, match="past the 92 bytes of dynamic shared memory"):
        run((3, 2, 2), (4, 3, 2), (out,), shared_mem=92)


def test_templates_and_macros_make_kernels(cupy, kernel):
    source = """
        template <class T, int scale> __global__ void scaled(T* x) { x[threadIdx.x] *= scale; }
        template <class T> __device__ void fill(T* x, T value) { x[threadIdx.x] = value; }
        #define FILL(T) extern "C" __global__ void fill_##T(T* x, T value) { fill<T>(x, value); }
        FILL(float)
        FILL(double)
        FILL(int)
        """
    for dtype, name in [(np.float32, "float"), (np.float64, "double"), (np.int32, "int")]:
        x = cupy.empty(8, dtype)
        kernel(source, f"fill_{name}")((1,), (8,), (x, dtype(3)))
        assert x.tolist() == [3] * 8
    expression = "scaled<int, 5>"
    kernel(source, expression, name_expressions=[expression])((1,), (8,), (x,))
    assert x.tolist() == [15] * 8
    with pytest.raises(RuntimeError, match="CUDA_ERROR_NOT_FOUND"):
        kernel(source, "scaled")


def test_kernels_without_c_linkage_are_not_found(kernel):
    with pytest.raises(RuntimeError, match='not extern "C"'):
        kernel("__global__ void k() {}")


@pytest.mark.parametrize(
    "body", ["x[0] = INFINITY;", "int64_t i = 0;", "atomicAdd((long long*)x, 1ll);", "oops"]
)
def test_what_nvrtc_refuses_does_not_compile(cupy, kernel, body):
    if "int64_t" in body:
        body = "#include <cstdint>\n" + body  # the name itself is in the host's headers
    with pytest.raises(cupy.cuda.compiler.CompileException, match=r"source\.cu"):
        kernel(f'extern "C" __global__ void k(float* x) {{\n{body}\n}}')


# ------------------------------------------------------------------ checks catch


def test_a_write_out_of_bounds_is_caught(cupy, kernel):
    run = kernel('extern "C" __global__ void k(float* x, int i) { x[i] = 1.0f; }')
    x, other = cupy.zeros((5, 7), np.float32), cupy.zeros(3)
    for i, side in [(35, "past the end"), (-1, "before the start")]:
        message = rf"'k'.*argument 0 \(x\).*\(5, 7\).*4 byte.*{side}"
        with pytest.raises(RuntimeError, match=message):
            run((1,), (1,), (x, np.int32(i)))
    run((1,), (1,), (x, np.int32(34)))  # mended
    run((1,), (1,), (other.view(np.float32)[1:3], np.int32(1)))


def test_reads_of_memory_nobody_wrote_are_nan(cupy, kernel):
    run = kernel(
        """
        extern "C" __global__ void k(const float* x, float* y) {
          __shared__ float s[4];
          y[0] = x[0]; y[1] = s[threadIdx.x]; y[2] = x[3];
          s[0] = 1.0f;
        }
        """
    )
    y = cupy.zeros(3, np.float32)
    for blocks in (1, 2):
        run((blocks,), (1,), (cupy.empty(3, np.float32), y))
        assert np.isnan(y.get()).all()


def test_a_crash_is_an_error(cupy, kernel):
    run = kernel(
        """
        extern "C" __global__ void k(int* x, int n) {
          __shared__ int s[4];
          if (n == 0) x[0] = 7 / n;
          if (n == 1) *x = 1;
          if (n == 2) s[threadIdx.x] = 1;
          if (n == 3) assert(threadIdx.x < 5);
        }
        """
    )
    x = cupy.zeros(1, np.int32)
    for n, array, message in [
        (0, x, r"block \(0, 0, 0\), thread \(0, 0, 0\): integer division by zero"),
        (1, None, "memory access far outside"),
        (2, x, r"thread \(4, 0, 0\): index 4 is outside of 'int \[4\]' \(source.cu:6\)"),
        (3, x, r"thread \(5, 0, 0\): source.cu:7: assertion `threadIdx.x < 5` failed"),
    ]:
        with pytest.raises(RuntimeError, match=f"kernel 'k', .*{message}"):
            run((1,), (8,), (array, np.int32(n)))
        run((1,), (8,), (x, np.int32(4)))


DIVERGENT = {
    "if (threadIdx.x < 40) __syncthreads();": (
        r"block \(0, 0, 0\).*40 wait at __syncthreads \(source.cu:2\).*24 have exited"
    ),
    "if (threadIdx.x < 40) __syncthreads();\nelse __syncthreads();": (
        r"40 wait at .*source.cu:2.*24 wait at .*source.cu:3.*thread \(40, 0, 0\)"
    ),
    "if (threadIdx.x != 3) x[threadIdx.x] = __shfl_xor_sync(~0u, 1, 1);": (
        r"31 wait at __shfl_xor_sync \(source.cu:2\) with mask 0xffffffff.*33 have exited"
    ),
    "x[threadIdx.x] = __shfl_sync(1u << (threadIdx.x + 1) % 32, 1, 1);": (
        r"with mask 0x00000002, which lacks the caller's own lane 0"
    ),
    "if (threadIdx.x < 32) __syncwarp(); if (threadIdx.x < 16) __syncwarp(0xff);": (
        r"mask 0x000000ff, which lacks the caller's own lane 8"
    ),
}


@pytest.mark.parametrize(("number", "message"), list(enumerate(DIVERGENT.values())))
def test_divergence_is_reported(cupy, kernel, number, message):
    source = "\n".join(
        f'extern "C" __global__ void k{i}(int* x) {{\n#line 2 "source.cu"\n{body}\n}}'
        for i, body in enumerate(DIVERGENT)
    )
    run = kernel(source, f"k{number}")
    x = cupy.zeros(64, np.int32)
    for _ in range(2):  # the failed launch leaves nothing behind
        with pytest.raises(RuntimeError, match=message):
            run((2,), (64,), (x,))


def test_results_that_depend_on_the_order_are_reported(cupy, kernel):
    standin.settings.order = "compare"
    source = """
        extern "C" __global__ void sum(float* x) { atomicAdd(x, 1.0f / (1 + threadIdx.x)); }
        extern "C" __global__ void last(int* x) { *x = blockIdx.x; }
        extern "C" __global__ void count(int* x) { atomicAdd(x, 1); }
        """
    total = cupy.zeros(1, np.int32)
    for name, x in [("sum", cupy.zeros(1, np.float32)), ("last", total)]:
        with pytest.raises(RuntimeError, match=r"depends on the order.*argument 0 \(x\)"):
            kernel(source, name)((4,), (256,), (x,))
    total[0] = 0
    kernel(source, "count")((2,), (64,), (total,))
    assert int(total[0]) == 128


MIXED = """
extern "C" __global__ void k(float* x, const long long* labels, float rate, int n,
                             unsigned long long seed, bool* flag, double precise) {}
"""


def test_arguments_must_fit(cupy, kernel):
    run = kernel(MIXED)
    x, labels, flag = cupy.zeros(4, np.float32), cupy.zeros(4, np.int64), cupy.zeros(1, bool)
    good = (x, labels, np.float32(1), np.int32(4), np.uint64(2**63), flag, 1.0)
    run((1,), (1,), good)
    run((1,), (1,), (None, x.data.ptr and labels.data, *good[2:4], 7, flag.data.ptr, np.float64(1)))

    def with_argument(i, value):
        return (*good[:i], value, *good[i + 1 :])

    for i, value, message in [
        (0, cupy.zeros(4), r"argument 0 \(x\): float64 array of shape \(4,\) .* float\*"),
        (0, np.zeros(4, np.float32), "numpy.ndarray for a parameter of C type float"),
        (0, 1234, "builtins.int"),
        (0, cupy.zeros((4, 4), np.float32).T[:2], "not contiguous"),
        (1, cupy.zeros(4, np.int32), r"\(labels\): int32 .* const long long\*"),
        (2, 1.0, r"\(rate\): float64 1.0 .* C type float, pass a NumPy scalar"),
        (2, x, "float32 array"),
        (3, 4, r"\(n\): int64 4 .* C type int,"),
        (3, np.float32(4), "float32 4.0"),
        (3, np.uint32(2**31), "uint32 2147483648 for a parameter of C type int"),
        (4, -1, "int64 -1 for a parameter of C type unsigned long long"),
        (5, x, r"float32 array of shape \(4,\) for a parameter of C type bool\*"),
        (6, np.float32(1), "float32 1.0 for a parameter of C type double"),
    ]:
        with pytest.raises(TypeError, match=message):
            run((1,), (1,), with_argument(i, value))
    with pytest.raises(TypeError, match=r"takes 7 arguments \(x, labels, rate.*, 6 given"):
        run((1,), (1,), good[:-1])


@pytest.mark.parametrize(
    ("grid", "block", "shared"),
    [
        ((0,), (32,), 0),
        ((1,), (0,), 0),
        ((1, 65536), (1,), 0),
        ((2**31,), (1,), 0),
        ((1,), (1025,), 0),
        ((1,), (1, 1, 65), 0),
        ((1,), (65,), 0),
        ((1,), (1,), 48 * 1024 + 1),
    ],
)
def test_launches_beyond_the_limits_are_refused(cupy, kernel, grid, block, shared):
    source = """
        extern "C" __global__ void k() {}
        extern "C" __global__ void __launch_bounds__(64) bounded() {}
        """
    run = kernel(source, "bounded" if block == (65,) else "k")
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match="CUDA_ERROR_INVALID_VALUE"):
        run(grid, block, (), shared_mem=shared)
    with pytest.raises(TypeError, match="tuples"):
        run([1], (1,), ())


# ------------------------------------------------------------------ CuPy's rules


def test_nothing_becomes_a_numpy_array_unasked(cupy):
    x, host = cupy.ones((2, 3), np.float32), np.ones((2, 3), np.float32)
    for convert in (np.asarray, np.array, lambda a: np.array([a]), lambda a: np.ones(2).dot(a)):
        with pytest.raises(TypeError, match=r"Implicit conversion|Unsupported type"):
            convert(x)
    for mix in (
        lambda: x + host,
        lambda: host + x,
        lambda: x * np.array(2.0),
        lambda: cupy.add(host, host),
        lambda: cupy.sum(host),
        lambda: cupy.concatenate([x, host]),
        lambda: cupy.where(x > 0, host, 0.0),
        lambda: x.__iadd__(host),
        lambda: [1.0, 2.0, 3.0] * x,
    ):
        with pytest.raises(TypeError, match="Unsupported type"):
            mix()
    with pytest.raises(ValueError, match="cannot be used for fill"):
        x[...] = host
    assert not isinstance(x, np.ndarray)
    assert counters.transfers_to_host == 0
    assert type(cupy.asnumpy(x)) is type(x.get()) is np.ndarray


def test_results_stay_on_the_device(cupy):
    x = cupy.arange(6.0).reshape(2, 3)
    for result in (
        *(x.sum(), x[0, 1], x.max(axis=0), np.float32(2) * x, 2 - x, np.sum(x), np.exp(x)),
        *(x @ x.T, -x, x == None, cupy.allclose(x, x), *divmod(x, 2), *cupy.split(x, 3, 1)),  # noqa: E711
        *(cupy.linalg.norm(x), cupy.einsum("ij->j", x), cupy.stack([x, x]), cupy.isnan(x).any()),
    ):
        assert type(result) is cupy.ndarray
    assert counters.transfers_to_host == counters.synchronizations == 0
    x[0, 1][...] = 9.0  # a 0-d view
    x += 1
    assert x.get().tolist() == [[1, 10, 3], [4, 5, 6]]
    assert (x.dtype, (x.astype("f4") * 2.0).dtype, x.T.flags.f_contiguous) == ("f8", "f4", True)


def test_names_and_keywords_that_cupy_lacks(cupy):
    x = cupy.ones(3)
    for absent in (
        *("vecdot", "unstack", "errstate", "block", "nditer", "insert", "geomspace"),
        *("c_", "nonsense"),
    ):
        assert not hasattr(cupy, absent)
    for absent in ("ctypes", "setflags", "__array_interface__", "__index__"):
        assert not hasattr(x, absent)
    for call in (
        lambda: cupy.sum(x, where=x > 0),
        lambda: x.max(initial=0.0),
        lambda: cupy.var(x, correction=1),
        lambda: cupy.add(x, x, where=x > 0),
        lambda: cupy.take(x, 0, mode="clip"),
        lambda: cupy.sort(x, stable=True),
        lambda: cupy.clip(x, min=0),
        lambda: cupy.zeros(3, device="cpu"),
    ):
        with pytest.raises(TypeError, match=r"keyword|Wrong arguments"):
            call()
    for method in (cupy.maximum.reduce, cupy.exp.accumulate):
        with pytest.raises(NotImplementedError, match="is not supported yet"):
            method(x)
    with pytest.raises(TypeError, match="only supports"):
        cupy.add.at(cupy.zeros(3, complex), cupy.asarray([0, 0]), 1)
    with pytest.raises(TypeError, match="Unsupported dtype"):
        cupy.asarray(["text"])
    with pytest.raises(RuntimeError, match=r"cupy\.random"):
        cupy.random.rand(3)


def test_indexing(cupy):
    host = np.arange(24.0).reshape(2, 3, 4)
    x = cupy.asarray(host)
    rows = cupy.asarray([1, 0, 1])
    for index in (
        *(
            0,
            -1,
            slice(None),
            (0, 1),
            (..., 1),
            (None, 0),
            (slice(None), slice(1, 3), slice(None, None, 2))[:2],
        ),
        *([1, 0], (0, [2, 2]), (slice(None), [[0], [1]], 1)),
    ):
        np.testing.assert_array_equal(x[index].get(), host[index])
    np.testing.assert_array_equal(x[rows].get(), host[[1, 0, 1]])
    np.testing.assert_array_equal(x[:, rows, 1].get(), host[:, [1, 0, 1], 1])
    np.testing.assert_array_equal(x[x > 5].get(), host[host > 5])
    # Out of bounds, CuPy goes around.
    np.testing.assert_array_equal(x[cupy.asarray([3, -3])].get(), host[[1, 1]])
    np.testing.assert_array_equal(x.take(cupy.asarray([5]), axis=0).get(), host[[1]])
    with pytest.raises(IndexError):
        x[2]
    total = cupy.zeros(2)
    cupy.add.at(total, rows, cupy.asarray([1.0, 2.0, 3.0]))
    x[x > 5] = 0.0
    assert (total.tolist(), float(x.sum())) == ([2.0, 4.0], 15.0)


def test_counters(cupy):
    x = cupy.asarray(np.ones((2, 3), np.float32))
    assert (counters.transfers_to_device, counters.bytes_to_device) == (1, 24)
    for cause, expected in [
        (lambda: x.get(), (1, 1)),
        (lambda: float(x[0, 0]), (1, 1)),
        (lambda: bool(x[0, 0]), (1, 1)),
        (lambda: x.sum().item(), (1, 1)),
        (lambda: x.tolist(), (1, 1)),
        (lambda: repr(x), (1, 1)),
        (lambda: f"{x}", (1, 1)),
        (lambda: x[x > 0], (0, 1)),
        (lambda: cupy.unique(x), (0, 1)),
        (lambda: cupy.nonzero(x), (0, 1)),
        (lambda: x.nonzero(), (0, 1)),
        (lambda: cupy.cuda.Device().synchronize(), (0, 1)),
        (lambda: cupy.cuda.get_current_stream().synchronize(), (0, 1)),
        (lambda: cupy.where(x > 0, x, 0), (0, 0)),
    ]:
        counters.reset()
        cause()
        assert (counters.transfers_to_host, counters.synchronizations) == expected
    counters.reset()
    x.reshape(3, 2), x.T, x[0], cupy.empty(3), x.shape
    assert counters.array_ops == 0
    (x + 1).sum()
    cupy.add(x, x, out=x)
    x[...] = 0
    assert (counters.array_ops, counters.memsets) == (3, 1)
    assert counters.kernels == {"cupy_add": 2, "sum": 1, "memset": 1}
    assert counters.bytes_moved == 2 * 24 + (24 + 4) + 3 * 24 + 24  # with what they made
    counters.logging = True
    x.get()
    counters.logging = False
    assert [kind for kind, _ in counters.log] == ["transfers_to_host", "synchronizations"]
    assert all(where.startswith(f"{__file__}:") for _, where in counters.log)


@needs_compiler
def test_launches_are_counted(kernel):
    run = kernel('extern "C" __global__ void k() {}')
    run((1,), (1,), ())
    run((1,), (1,), (), stream=None)
    assert counters.launches == 2


def test_devices_are_kept_apart():
    with standin.installed(devices=2) as cupy:
        assert cupy.cuda.runtime.getDeviceCount() == 2
        x = cupy.ones(3)
        with cupy.cuda.Device(1):
            y = cupy.ones(3)
            moved = cupy.asarray(x)
            assert y.sum().device.id == moved.device.id == 1
            with pytest.raises(ValueError, match="Peer access is unavailable"):
                x + 1
        for mix in (lambda: x + y, lambda: y.sum(), lambda: y.fill(0), lambda: y[[0, 1]]):
            with pytest.raises(ValueError, match="different from the current device"):
                mix()
        assert (x.device, y.get().sum()) == (cupy.cuda.Device(0), 3.0)
        with pytest.raises(RuntimeError, match="invalid device ordinal"):
            cupy.cuda.Device(2).use()


def test_memory_is_counted_and_limited(cupy):
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    before = pool.used_bytes()
    x = cupy.empty(1000, np.float32)
    y = x[10:]
    del x
    assert pool.used_bytes() - before == 4096
    del y
    assert pool.used_bytes() == before
    assert pool.total_bytes() >= before + 4096
    pool.free_all_blocks()
    assert pool.total_bytes() == pool.used_bytes() == before
    pool.set_limit(before + 1000)
    with pytest.raises(MemoryError, match="Out of memory"):
        cupy.empty(1000, np.float32)
    pool.set_limit(0)


def test_the_interface_of_an_array_leads_back_to_it(cupy):
    class Foreign:
        def __init__(self, array):
            self.__cuda_array_interface__ = array.__cuda_array_interface__

    x = cupy.arange(12.0).reshape(3, 4)[:, 1:]
    y = cupy.asarray(Foreign(x))
    y[0, 0] = 5.0
    assert y.data.ptr == x.data.ptr
    assert (float(x[0, 0]), y.strides, x.__cuda_array_interface__["version"]) == (5.0, x.strides, 3)
    assert (x.__dlpack_device__(), type(cupy.from_dlpack(x))) == ((2, 0), cupy.ndarray)


def test_streams_events_and_properties(cupy):
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        assert cupy.cuda.get_current_stream() is stream
        start, end = cupy.cuda.Event(), stream.record()
    assert cupy.cuda.get_current_stream() is cupy.cuda.Stream.null
    start.record()
    end.record()
    assert cupy.cuda.get_elapsed_time(start, end) >= 0
    properties = cupy.cuda.runtime.getDeviceProperties(0)
    assert isinstance(properties["name"], bytes)
    assert cupy.cuda.Device().attributes["MultiProcessorCount"] > 0
    assert cupy.is_available()


# ------------------------------------------------------------------ graphs


@contextlib.contextmanager
def capturing(cupy, mode=None, stream=None):
    """Capture on a new stream; gives a list that gets the graph."""
    graphs = []
    with stream or cupy.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture(mode)
        yield graphs
        graphs.append(stream.end_capture())


def device(cupy, values, dtype=np.float32):
    return cupy.asarray(np.array(values, dtype))


SCALE = """
extern "C" __global__ void k(const float* x, float* y, float by, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = by * x[i];
}
"""


@pytest.mark.parametrize("order", ["forward", "compare"])
def test_a_graph_replays_kernels_and_array_operations(cupy, kernel, order):
    standin.settings.order = order
    scale, x = kernel(SCALE), device(cupy, [1, 2, 3])
    y, steps = cupy.empty_like(x), cupy.zeros(1, np.int32)
    by = np.array(2, np.float32)
    with capturing(cupy) as graphs:
        scale((1,), (32,), (x, y, by[()], np.int32(3)))
        steps += 1
        total = (y + 1).sum()
    by[...] = 5
    assert np.isnan(y.get()).all()  # nothing has run
    assert np.isnan(total.get())
    assert steps.tolist() == [0]
    for i, values in enumerate([[1, 2, 3], [4, 5, 6]]):
        x.set(np.array(values, np.float32))
        graphs[0].launch()
        assert y.tolist() == [2 * v for v in values]
        assert (float(total), steps.tolist()) == (2 * sum(values) + 3, [i + 1])


def test_a_graph_that_was_recorded_counts_as_one_launch(cupy, kernel):
    scale, x = kernel(SCALE), device(cupy, [1, 2, 3])
    counters.reset()
    with capturing(cupy) as graphs:
        for _ in range(3):
            scale((1,), (32,), (x, x, np.float32(2), np.int32(3)))
        row = cupy.reshape(x, (3, 1)).transpose()[0]  # views are no work
        row += 1
    assert (counters.launches, counters.array_ops) == (0, 0)
    for _ in range(2):
        graphs[0].upload()
        graphs[0].launch()
    assert (counters.launches, counters.array_ops, counters.graph_launches) == (0, 0, 2)
    assert (counters.replayed_launches, counters.replayed_array_ops) == (6, 2)
    assert x.tolist() == [73, 137, 201]


def _added_at(cupy, x, i):
    cupy.add.at(x, i, x[0])


def _put(cupy, x, i):
    cupy.put(x, i, cupy.asarray(x[0]))


def _copied_to(cupy, x, i):
    cupy.copyto(x, x[0])


def _bytes(cupy, x, i):
    y = cupy.empty_like(x)
    y.data.copy_from_device_async(x.data, 16)
    (y.data + 16).memset_async(0, 16)
    return y


def _memcpy(cupy, x, i):
    y = cupy.zeros_like(x)
    stream = cupy.cuda.get_current_stream().ptr
    cupy.cuda.runtime.memcpyAsync(y.data.ptr, x.data.ptr, 16, 3, stream)
    return y


ARRAY_WORK = {
    "binary": lambda cupy, x, i: 2 * x + x[0],
    "several results": lambda cupy, x, i: divmod(x, 3),
    "views and results": lambda cupy, x, i: [x.T, -x, *cupy.split(x, 2)],
    "reduction": lambda cupy, x, i: x.sum(axis=0) / x.max(),
    "matrix of integers": lambda cupy, x, i: cupy.matmul(i, i),
    "copy": lambda cupy, x, i: x.T.copy(),
    "astype": lambda cupy, x, i: x.astype(np.float64),
    "asarray": lambda cupy, x, i: cupy.asarray(x, np.float16),
    "asarray of a list": lambda cupy, x, i: cupy.asarray([x[0], x[1]]),
    "contiguous": lambda cupy, x, i: cupy.ascontiguousarray(x[:, ::-2]),
    "indices": lambda cupy, x, i: x[i],
    "take": lambda cupy, x, i: x.take(i, axis=1),
    "take along": lambda cupy, x, i: cupy.take_along_axis(x, i[:, np.newaxis], 1),
    "put along": lambda cupy, x, i: cupy.put_along_axis(x, i[:, np.newaxis], x[:, :1], 1),
    "mask": lambda cupy, x, i: x.__setitem__(x > 4, 0.0),
    "where": lambda cupy, x, i: cupy.where(x > 4, x, i[0]),
    "constants": lambda cupy, x, i: (cupy.zeros(3), cupy.full(2, 7), cupy.arange(4)),
    "joined": lambda cupy, x, i: cupy.concatenate([x, x[:1]]),
    "in place": lambda cupy, x, i: x.__imul__(3),
    "out": lambda cupy, x, i: cupy.exp(x, out=x),
    "two outs": lambda cupy, x, i: cupy.divmod(x[0], 3, out=(x[1], x[0])),
    "assignment": lambda cupy, x, i: x.__setitem__((slice(None), 1), x[:, 0]),
    "assignment at indices": lambda cupy, x, i: x.__setitem__(i, x[0] * 2),
    "fill": lambda cupy, x, i: x.fill(3),
    "imaginary part": lambda cupy, x, i: x.imag,
    "fft": lambda cupy, x, i: cupy.fft.fft(x),
    "add at": _added_at,
    "put": _put,
    "copyto": _copied_to,
    "bytes": _bytes,
    "memcpy": _memcpy,
}


@pytest.mark.parametrize("what", ARRAY_WORK)
def test_array_operations_are_recorded(cupy, what):
    work, values = ARRAY_WORK[what], np.arange(8.0, dtype=np.float32).reshape(2, 4)

    def lists(result):
        results = result if isinstance(result, list | tuple) else [result]
        return [None if r is None else r.get() for r in results]

    expected_x, i = device(cupy, values), device(cupy, [[1, 0], [0, 1]], np.int64)
    i = i if what == "matrix of integers" else i[0]
    expected = lists(work(cupy, expected_x, i))
    x = device(cupy, -values)
    with capturing(cupy) as graphs:
        result = work(cupy, x, i)
    np.testing.assert_array_equal(x.get(), -values)
    for _ in range(2):
        x.set(values)
        graphs[0].launch()
        for found, right in zip(lists(result), expected, strict=True):
            np.testing.assert_array_equal(found, right)
        np.testing.assert_array_equal(x.get(), expected_x.get())


def test_results_are_garbage_until_a_graph_is_launched(cupy):
    x = device(cupy, [1, 2, 3])
    pool = cupy.cuda.MemoryPool()
    stream = cupy.cuda.Stream(non_blocking=True)
    with cupy.cuda.using_allocator(pool.malloc), stream:
        x + 1  # its memory is what is given out below
        stream.begin_capture()
        y = x + 1
        z = x + y
        graph = stream.end_capture()
    for garbage in (y, z):
        assert np.isnan(garbage.get()).all()
    graph.launch()
    assert z.tolist() == [3, 5, 7]


REFUSED = {
    # What CuPy notices itself leaves the capture as it is,
    "get": (lambda cupy, x: x.get(), RuntimeError, "is capturing", True),
    "item": (lambda cupy, x: x[0].item(), RuntimeError, "is capturing", True),
    "bool": (lambda cupy, x: bool(x[0] > 0), RuntimeError, "is capturing", True),
    "float": (lambda cupy, x: float(x[0]), RuntimeError, "is capturing", True),
    "repr": (lambda cupy, x: repr(x), RuntimeError, "is capturing", True),
    "asnumpy": (lambda cupy, x: cupy.asnumpy(x), RuntimeError, "is capturing", True),
    "text": (lambda cupy, x: cupy.array_str(x), RuntimeError, "is capturing", True),
    "nonzero": (lambda cupy, x: cupy.nonzero(x), RuntimeError, "is capturing", True),
    "where": (lambda cupy, x: cupy.where(x > 0), RuntimeError, "is capturing", True),
    "unique": (lambda cupy, x: cupy.unique(x), RuntimeError, "is capturing", True),
    "mask": (lambda cupy, x: x[x > 0], RuntimeError, "is capturing", True),
    "into a mask": (lambda cupy, x: x.__setitem__(x > 0, x), RuntimeError, "is capturing", True),
    "matmul": (lambda cupy, x: x @ x, NotImplementedError, "cuBLAS", True),
    "dot": (lambda cupy, x: x.dot(x), NotImplementedError, "cuBLAS", True),
    "tensordot": (lambda cupy, x: cupy.tensordot(x, x, 1), NotImplementedError, "cuBLAS", True),
    "einsum": (lambda cupy, x: cupy.einsum("i,i", x, x), NotImplementedError, "cuBLAS", True),
    "inverse": (lambda cupy, x: cupy.linalg.inv(x), NotImplementedError, "cuSOLVER", True),
    # what CUDA notices spoils it.
    "sort": (lambda cupy, x: cupy.sort(x), None, "CaptureUnsupported", False),
    "argsort": (lambda cupy, x: x.argsort(), None, "CaptureUnsupported", False),
    "upload": (lambda cupy, x: cupy.asarray([1.0]), None, "CaptureUnsupported", False),
    "set": (lambda cupy, x: x.set(np.ones(3, "f")), None, "CaptureUnsupported", False),
    "list": (lambda cupy, x: x[[0, 1]], None, "CaptureUnsupported", False),
    "memcpy": (
        lambda cupy, x: cupy.cuda.runtime.memcpyAsync(
            *(x.data.ptr, np.ones(3).ctypes.data, 8, 1, cupy.cuda.get_current_stream().ptr)
        ),
        *(None, "CaptureUnsupported", False),
    ),
    "stream": (
        lambda cupy, x: cupy.cuda.get_current_stream().synchronize(),
        *(None, "CaptureUnsupported", False),
    ),
    "stream's address": (
        lambda cupy, x: cupy.cuda.runtime.streamSynchronize(cupy.cuda.get_current_stream().ptr),
        *(None, "CaptureUnsupported", False),
    ),
    "device": (
        lambda cupy, x: cupy.cuda.Device().synchronize(),
        *(None, "CaptureUnsupported", False),
    ),
    "event": (
        lambda cupy, x: cupy.cuda.get_current_stream().record().synchronize(),
        *(None, "cudaErrorCapturedEvent", False),
    ),
    "foreign event": (
        lambda cupy, x: cupy.cuda.get_current_stream().wait_event(cupy.cuda.Event()),
        *(None, "CaptureIsolation", False),
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_capture_forbids(cupy, what):
    call, kind, message, goes_on = REFUSED[what]
    x, stream = device(cupy, [1, 2, 3]), cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        with pytest.raises(kind or cupy.cuda.runtime.CUDARuntimeError, match=message):
            call(cupy, x)
        if goes_on:
            x += 1
            stream.end_capture().launch()
            assert x.tolist() == [2, 3, 4]
        else:
            error = cupy.cuda.runtime.CUDARuntimeError
            with pytest.raises(error, match="CaptureInvalidated") as caught:
                x += 1
            assert caught.value.status == 901
            with pytest.raises(error, match="CaptureInvalidated"):
                stream.end_capture()
            assert x.tolist() == [1, 2, 3]
        assert not stream.is_capturing()
        stream.synchronize()


def test_to_ask_whether_a_stream_is_done_spoils_its_capture(cupy):
    for query in (lambda s: s.done, lambda s: s.record().done):
        stream = cupy.cuda.Stream(non_blocking=True)
        stream.begin_capture()
        assert not query(stream)
        with pytest.raises(RuntimeError, match="CaptureInvalidated"):
            stream.end_capture()


def test_captures_begin_and_end_as_they_must(cupy):
    runtime, stream = cupy.cuda.runtime, cupy.cuda.Stream(non_blocking=True)
    with pytest.raises(RuntimeError, match=r"cannot capture on the default \(legacy\) stream"):
        cupy.cuda.Stream.null.begin_capture()
    with pytest.raises(runtime.CUDARuntimeError, match="cudaErrorIllegalState"):
        stream.end_capture()
    with pytest.raises(runtime.CUDARuntimeError, match="cudaErrorInvalidValue"):
        stream.begin_capture(mode=3)
    with pytest.raises(NotImplementedError, match="stream capture"):
        cupy.cuda.Graph()
    stream.begin_capture(mode=runtime.streamCaptureModeThreadLocal)
    assert stream.is_capturing() == runtime.streamIsCapturing(stream.ptr) == True  # noqa: E712
    assert not cupy.cuda.get_current_stream().is_capturing()
    with pytest.raises(runtime.CUDARuntimeError, match="cudaErrorIllegalState"):
        stream.begin_capture()
    assert isinstance(stream.end_capture(), cupy.cuda.Graph)


def test_only_the_work_of_the_capturing_stream_is_recorded(cupy, kernel):
    scale, x, y = kernel(SCALE), device(cupy, [1]), device(cupy, [1])
    stream = cupy.cuda.Stream(non_blocking=True)
    stream.begin_capture()
    x += 1
    scale((1,), (1,), (y, y, np.float32(3), np.int32(1)), stream=stream)
    with cupy.cuda.Stream(non_blocking=True):
        x *= 2
    assert (x.tolist(), y.tolist()) == ([4], [1])
    graph = stream.end_capture()
    graph.launch(stream)
    assert (x.tolist(), y.tolist()) == ([4], [3])
    # A graph launched while capturing becomes a part of the next.
    with capturing(cupy) as graphs:
        graph.launch()
        x += y
    assert (x.tolist(), y.tolist()) == ([4], [3])
    graphs[0].launch()
    assert (x.tolist(), y.tolist()) == ([13], [9])


def test_the_legacy_stream_cannot_be_used_while_a_blocking_stream_captures(cupy):
    x, stream = device(cupy, [1]), cupy.cuda.Stream()
    stream.begin_capture()
    with pytest.raises(RuntimeError, match="cudaErrorStreamCaptureImplicit"):
        cupy.cuda.Stream.null.is_capturing()
    stream.end_capture()
    stream.begin_capture()
    with pytest.raises(RuntimeError, match="cudaErrorStreamCaptureImplicit"):
        x += 1
    with pytest.raises(RuntimeError, match="CaptureInvalidated"):
        stream.end_capture()


def test_streams_join_a_capture_through_events(cupy):
    x = device(cupy, [1, 2])
    first, second = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
    for joined in (True, False):
        with first:
            first.begin_capture()
            y = x * 10
            second.wait_event(first.record())
            assert second.is_capturing()
            with second:
                z = y + 1
                event = second.record()
            if joined:
                first.wait_event(event)
                first.end_capture().launch()
                assert z.tolist() == [11, 21]
            else:
                with pytest.raises(RuntimeError, match="cudaErrorStreamCaptureUnmatched"):
                    second.end_capture()
                with pytest.raises(RuntimeError, match="CaptureInvalidated"):
                    first.end_capture()
        assert not second.is_capturing()
    for work_later in (False, True):
        first.begin_capture()
        second.wait_event(first.record())
        if work_later:
            first.wait_event(second.record())
            with second:
                x + 1
        with pytest.raises(RuntimeError, match="cudaErrorStreamCaptureUnjoined"):
            first.end_capture()


@contextlib.contextmanager
def two_streams(cupy, prepare=lambda: None):
    """Capture on a stream; gives it, another that has joined in, and a list that gets the graph."""
    first, second = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
    graphs = []
    with second:
        prepare()
    with first:
        prepare()
        first.begin_capture()
        second.wait_event(first.record())
        yield first, second, graphs
        first.wait_event(second.record())
        graphs.append(first.end_capture())


def test_an_event_joins_what_came_before_it_only(cupy):
    x = device(cupy, [1, 2])
    for late in (False, True):
        first, second = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
        first.begin_capture()
        second.wait_event(first.record())
        with second:
            x + 1
            event = second.record()
            if late:
                x + 2
        first.wait_event(event)
        if late:
            with pytest.raises(RuntimeError, match="cudaErrorStreamCaptureUnjoined"):
                first.end_capture()
        else:
            first.end_capture().launch()


def test_work_of_two_streams_is_replayed_in_orders_that_they_allow(cupy):
    ran = []
    with two_streams(cupy) as (first, second, graphs):
        first.launch_host_func(ran.append, "a")
        second.wait_event(first.record())
        for stream, names in ((second, "xyz"), (first, "bcd")):
            for name in names:
                stream.launch_host_func(ran.append, name)
        first.wait_event(second.record())
        first.launch_host_func(ran.append, "e")

    def orders(seed):
        standin.settings.seed = seed
        found = []
        graphs[0]._launches = 0
        for _ in range(30):
            ran.clear()
            graphs[0].launch()
            found.append("".join(ran))
        return found

    found = orders(0)
    assert len(set(found)) > 8
    assert {"axyzbcde", "abcdxyze"} <= set(found)
    for order in found:
        assert [order[0], order[-1], len(order)] == ["a", "e", 8]
        for names in ("bcd", "xyz"):
            assert [c for c in order if c in names] == list(names)
    assert orders(0) == found
    assert orders(1) != found
    assert set(orders(None)) == {"axyzbcde"}
    # A graph within a capture keeps its orders, and is ordered with what is around it.
    standin.settings.seed = 0
    with capturing(cupy) as outer:
        stream = cupy.cuda.get_current_stream()
        stream.launch_host_func(ran.append, "<")
        graphs[0].launch()
        stream.launch_host_func(ran.append, ">")
    graphs[:] = outer
    again = orders(0)
    assert {order[0] + order[-1] for order in again} == {"<>"}
    assert {"axyzbcde", "abcdxyze"} <= {order[1:-1] for order in again}


def _scaled(cupy, kernel, x, y):
    kernel(SCALE)((1,), (32,), (x, y, np.float32(2), np.int32(4)))


def _multiplied(cupy, kernel, x, y):
    from gputensor import blas

    blas.matmul(x.reshape(2, 2), x.reshape(2, 2), out=y.reshape(2, 2))


# Work that reads the first array and writes the second, both of 4 elements.
ACCESSES = {
    "kernel": _scaled,
    "operation": lambda cupy, kernel, x, y: cupy.add(x, 1, out=y),
    "assignment": lambda cupy, kernel, x, y: y.__setitem__(slice(None), x),
    "copy": lambda cupy, kernel, x, y: y.data.copy_from_device_async(x.data, 16),
    "product": _multiplied,
}


@pytest.mark.parametrize("what", ACCESSES)
def test_work_in_no_order_must_not_write_where_other_work_is(cupy, kernel, what):
    from gputensor import blas

    forget_cupy()
    x, y, z = (device(cupy, range(4)) for _ in range(3))
    halves = device(cupy, range(8))

    def graph(pairs, ordered=False):
        with two_streams(cupy, prepare=blas.prepare) as (first, second, graphs):
            ACCESSES[what](cupy, kernel, *pairs[0])
            if ordered:
                second.wait_event(first.record())
            with second:
                ACCESSES[what](cupy, kernel, *pairs[1])
        return graphs[0]

    for pairs in (((x, y), (x, z)), ((x, halves[:4]), (x, halves[4:]))):
        graph(pairs).launch()  # both read the same, and write elsewhere
    for pairs in (((x, y), (y, z)), ((y, z), (x, y)), ((x, y), (z, y)), ((x, y), (y, y[::-1]))):
        if pairs[1][1].strides[0] < 0 and what not in ("operation", "assignment"):
            continue
        with pytest.raises(AssertionError, match="in no order"):
            graph(pairs).launch()
        graph(pairs, ordered=True).launch()
    forget_cupy()


def test_streams_must_not_share_a_workspace(cupy):
    from gputensor import blas

    forget_cupy()
    x, y, z = (device(cupy, range(4)).reshape(2, 2) for _ in range(3))

    def prepare():
        assert blas.prepare()
        blas.current_handle().workspace = shared.workspace
        cublas = blas._bindings()
        cublas.set_workspace(blas.current_handle().number, shared.workspace.ptr, shared.size)

    with cupy.cuda.Stream(non_blocking=True):
        shared = blas.current_handle()
    for ready, refused in ((blas.prepare, False), (prepare, True)):
        with two_streams(cupy, prepare=ready) as (_, second, graphs):
            blas.matmul(x, x, out=y)
            with second:
                blas.matmul(x, x, out=z)
        assert bool(graphs[0].races) == refused
    forget_cupy()


@pytest.mark.parametrize("mode", ["Global", "ThreadLocal", "Relaxed"])
def test_modes_say_whose_unsafe_calls_are_forbidden(cupy, mode):
    """A thread is as good as another stream in it: what counts is who began the capture."""
    pool, stream = cupy.cuda.MemoryPool(), cupy.cuda.Stream(non_blocking=True)
    y = cupy.zeros(4)
    unsafe = {
        "malloc": lambda: pool.malloc(100),
        "free": pool.free_all_blocks,
        "memset": lambda: y.data.memset(0, 4),
        "read": y.get,
        "other stream": lambda: cupy.cuda.Stream(non_blocking=True).synchronize(),
        "other event": lambda: cupy.cuda.Event().synchronize(),
    }
    for elsewhere in (False, True):
        allowed = mode == "Relaxed" or (mode == "ThreadLocal" and elsewhere)
        for name, call in unsafe.items():
            pool.free_all_blocks()
            kept = pool.malloc(5000)
            del kept
            errors = []

            def attempt(call=call, errors=errors):
                try:
                    call()
                except cupy.cuda.runtime.CUDARuntimeError as error:
                    errors.append(error.status)

            stream.begin_capture(getattr(cupy.cuda.runtime, f"streamCaptureMode{mode}"))
            if elsewhere:
                thread = threading.Thread(target=attempt)
                thread.start()
                thread.join()
            else:
                attempt()
            assert errors == ([] if allowed else [900]), name
            if allowed:
                stream.end_capture()
            else:
                with pytest.raises(RuntimeError, match="CaptureInvalidated"):
                    stream.end_capture()


def test_a_capture_of_a_thread_ends_in_it(cupy):
    stream, errors = cupy.cuda.Stream(non_blocking=True), []

    def end():
        with pytest.raises(RuntimeError, match="cudaErrorStreamCaptureWrongThread"):
            stream.end_capture()
        errors.append(True)

    stream.begin_capture(cupy.cuda.runtime.streamCaptureModeThreadLocal)
    thread = threading.Thread(target=end)
    thread.start()
    thread.join()
    assert errors == [True]
    stream.end_capture()


def test_functions_of_the_host_are_replayed(cupy):
    seen = []
    with capturing(cupy) as graphs:
        cupy.cuda.get_current_stream().launch_host_func(seen.append, 1)
    assert seen == []
    graphs[0].launch()
    cupy.cuda.get_current_stream().launch_host_func(seen.append, 2)
    assert seen == [1, 2]


# ------------------------------------------------------------------ pools, and who holds memory


def test_pools_keep_freed_memory_for_their_stream_and_size(cupy):
    pool, stream = cupy.cuda.MemoryPool(), cupy.cuda.Stream(non_blocking=True)
    counters.reset()
    with cupy.cuda.using_allocator(pool.malloc):
        x = cupy.ones(100, np.float32)
        address = x.data.ptr
        del x
        assert (pool.used_bytes(), pool.free_bytes(), pool.n_free_blocks()) == (0, 512, 1)
        y = cupy.empty(128, np.float32)
        assert (y.data.ptr, pool.used_bytes(), counters.driver_allocations) == (address, 512, 1)
        assert np.isnan(y.get()).all()
        z = cupy.empty(129, np.float32)
        assert (pool.total_bytes(), counters.driver_allocations) == (1536, 2)
        del y, z
        with stream:
            w = cupy.empty(128, np.float32)
        assert (w.data.ptr != address, counters.driver_allocations) == (True, 3)
        del w
        pool.free_all_blocks(stream)
        assert pool.total_bytes() == 1536
        pool.free_all_blocks()
        assert pool.total_bytes() == 0
        assert pool.malloc(0).mem.size == 0
        with cupy.cuda.using_allocator(), pytest.raises(ValueError, match="global allocator"):
            cupy.cuda.set_allocator()
        assert cupy.cuda.get_allocator() == pool.malloc
    assert pool.used_bytes() == 0
    cupy.cuda.set_allocator()
    before = counters.driver_allocations
    for _ in range(2):
        cupy.empty(3)
    assert counters.driver_allocations == before + 2
    with standin.installed() as again:  # begins with the default pool
        for _ in range(2):
            again.empty(3)
        assert counters.driver_allocations == 1


def test_limits_and_the_end_of_memory(cupy):
    pool = cupy.cuda.MemoryPool()
    pool.set_limit(2048)
    kept = pool.malloc(1000)
    del kept
    assert pool.malloc(2000).mem.size == 2000  # for which the pool gives up what it kept
    pool.set_limit(0)
    free, total = cupy.cuda.Device().mem_info
    assert free < total
    with pytest.raises(MemoryError, match="Out of memory"):
        pool.malloc(total + 1)


def test_freed_memory_reads_as_nan(cupy):
    x = cupy.ones(3, np.float32)
    view = x.data.mem.block.view(x._host)
    assert view.tolist() == [1, 1, 1]
    del x
    assert np.isnan(view).all()


def test_what_a_graph_uses_is_not_kept_for_it(cupy):
    """A replay writes over memory that was freed and given to somebody else."""
    x = device(cupy, [1, 2, 3])
    pool, stream = cupy.cuda.MemoryPool(), cupy.cuda.Stream(non_blocking=True)
    with cupy.cuda.using_allocator(pool.malloc), stream:
        stream.begin_capture()
        total = ((x + 1) * 2).sum()  # in the memory of the first array; that of the second is free
        graph = stream.end_capture()
        assert pool.n_free_blocks() == 1
        victim = cupy.zeros(100, np.float32)
        graph.launch()
        assert float(total) == 18
        assert victim.tolist() == [4, 6, 8] + [0] * 97
        block = victim.data.mem.block
        del victim
        graph.launch()
        assert float(total) == 18
        assert np.isnan(block.bytes.view(np.float32)).all()  # free again, hence garbage


def test_an_input_that_was_freed_is_garbage(cupy):
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        x = cupy.ones(3, np.float32)
        stream.begin_capture()
        y = x + 1
        graph = stream.end_capture()
        graph.launch()
        assert y.tolist() == [2, 2, 2]
        del x
        graph.launch()
        assert np.isnan(y.get()).all()


def test_warm_memory_serves_a_capture(cupy):
    """Memory of the same stream and pool need not come from the driver."""
    pool, stream = cupy.cuda.MemoryPool(), cupy.cuda.Stream(non_blocking=True)
    x = device(cupy, [1, 2, 3])
    mode = cupy.cuda.runtime.streamCaptureModeThreadLocal

    def work():
        y = x + 1
        z = y * y
        return (z - y).sum()

    with cupy.cuda.using_allocator(pool.malloc), stream:
        stream.begin_capture(mode)
        with pytest.raises(RuntimeError, match="CaptureUnsupported"):
            work()
        with pytest.raises(RuntimeError, match="CaptureInvalidated"):
            stream.end_capture()
        work()
        counters.reset()
        stream.begin_capture(mode)
        total = work()
        graph = stream.end_capture()
        assert counters.driver_allocations == 0
        graph.launch()
        assert float(total) == 20


@pytest.mark.parametrize("how", ["free_all_blocks", "the pool dies", "no pool"])
def test_a_graph_whose_memory_went_back_to_the_driver_is_refused(cupy, kernel, how):
    pool, stream = cupy.cuda.MemoryPool(), cupy.cuda.Stream(non_blocking=True)
    scale, x = kernel(SCALE), device(cupy, [1, 2, 3])
    with cupy.cuda.using_allocator(None if how == "no pool" else pool.malloc), stream:
        stream.begin_capture()
        y = cupy.empty_like(x)
        scale((1,), (32,), (x, y, np.float32(2), np.int32(3)))
        graph = stream.end_capture()
    graph.launch()
    assert y.tolist() == [2, 4, 6]
    if how != "the pool dies":
        del y
        pool.free_all_blocks()
    del pool
    for call in (graph.launch, graph.upload):
        with pytest.raises(RuntimeError, match=r"illegal memory access.*float32 array of shape"):
            call()
    if how == "the pool dies":  # as CuPy's does, with all of its memory
        by = np.float32(1), np.int32(1)
        use = [y.get, y.copy, lambda: y + 1, lambda: scale((1,), (1,), (y, y, *by))]
        for call in use:
            with pytest.raises(RuntimeError, match="illegal memory access"):
                call()


def test_copies_of_bytes_know_their_memory(cupy):
    for work in (
        lambda x, y: x.data.memset_async(0, 4),
        lambda x, y: x.data.copy_from_device_async(y.data, 4),
        lambda x, y: y.data.copy_from_device_async(x.data, 4),
    ):
        with cupy.cuda.using_allocator():
            x, y = cupy.zeros(3), cupy.ones(3)
        with capturing(cupy) as graphs:
            work(x, y)
        graphs[0].launch()
        del x
        with pytest.raises(RuntimeError, match="illegal memory access"):
            graphs[0].launch()


def test_a_replay_out_of_bounds_is_caught(cupy, kernel):
    run = kernel('extern "C" __global__ void k(float* x, const int* i) { x[*i] = 1.0f; }')
    x, i = cupy.zeros((5, 7), np.float32), device(cupy, [34], np.int32)
    with capturing(cupy) as graphs:
        run((1,), (1,), (x, i))
    graphs[0].launch()
    assert float(x[4, 6]) == 1
    i[0] = 35
    for launch in (graphs[0].launch, lambda: run((1,), (1,), (x, i))):
        with pytest.raises(RuntimeError, match=r"argument 0 \(x\).*\(5, 7\).*4 byte.*past the end"):
            launch()
    i[0] = 0
    graphs[0].launch()


def test_a_replay_in_memory_of_a_smaller_array_is_not_out_of_its_bounds(cupy, kernel):
    fill = kernel('extern "C" __global__ void k(float* x) { x[threadIdx.x] = 1.0f; }')
    with capturing(cupy) as graphs:
        x = cupy.empty(100, np.float32)
        fill((1,), (100,), (x,))
        stream = cupy.cuda.get_current_stream()
    address = x.data.ptr
    del x
    with stream:
        y = cupy.zeros(90, np.float32)
    assert y.data.ptr == address
    graphs[0].launch()
    assert y.tolist() == [1] * 90
    with pytest.raises(RuntimeError, match="past the end"):
        fill((1,), (91,), (y,))
    del y
    graphs[0].launch()


def test_install_ends_what_was_left_over(cupy):
    stream = cupy.cuda.Stream().use()
    stream.begin_capture()
    with standin.installed() as again:
        assert again.cuda.get_current_stream() is again.cuda.Stream.null
        assert not again.cuda.Stream.null.is_capturing()
        assert again.ones(2).tolist() == [1, 1]


# ------------------------------------------------------------------ more of CuPy's rules


def test_powers_and_dtypes_are_refused_as_by_cupy(cupy):
    x = cupy.asarray([2, -1, 1, 3])
    assert (x**-3).get().tolist() == [0, -1, 1, 0]
    assert (x ** cupy.asarray([-1, -2, 2, 2])).get().tolist() == [0, 1, 1, 9]
    assert (cupy.asarray([2.0]) ** -1).get().tolist() == [0.5]
    with pytest.raises(TypeError, match=r"Wrong type .* of arguments for cupy_bitwise_and"):
        cupy.ones(2) & cupy.ones(2)


def signs(array):
    return np.signbit(array.get()).tolist()


def test_zero_bytes_have_no_sign(cupy):
    for dtype in (np.float16, np.float32, np.float64):
        assert not signs(cupy.asarray(dtype(-0.0)))
        assert signs(cupy.asarray(np.array([-0.0], dtype))) == [True]
        x = cupy.ones(4, dtype)
        x.fill(-0.0)
        x[1:] = -0.0
        x[cupy.asarray([0])] = -0.0
        assert signs(x) == [False] * 4
        x[::2] = -0.0  # with gaps a kernel writes the number
        assert signs(x) == [True, False, True, False]
        assert signs(cupy.full(1, -0.0, dtype)) == [True]
    assert not np.signbit(cupy.asarray(complex(-0.0, -0.0)).get().imag)


@needs_compiler
def test_complex_numbers_are_thrusts(cupy):
    inf, nan = np.inf, np.nan

    def parts(array):
        return array.real.tolist() + array.imag.tolist()

    for dtype in (np.complex64, np.complex128):
        x = cupy.asarray(np.array([1, complex(inf, nan), complex(0, inf), complex(0, nan)], dtype))
        zero, far = (cupy.asarray(np.array([v], dtype)) for v in (0, inf))
        np.testing.assert_array_equal(parts(x[:1] / zero), [nan, nan])
        np.testing.assert_array_equal(parts(cupy.reciprocal(far)), [nan, nan])
        np.testing.assert_array_equal(parts(cupy.log(x[1:2])), [nan, nan])
        np.testing.assert_array_equal(parts(cupy.tanh(x[2:3])), [nan, nan])
        np.testing.assert_array_equal(parts(cupy.arccosh(x[3:])), [nan, nan])
        some = np.random.default_rng(0).normal(size=(2, 50)).view(complex).astype(dtype)
        y, z = cupy.asarray(some[0]), cupy.asarray(some[1])
        near = {"rtol": 1e-5 if dtype is np.complex64 else 1e-12}
        np.testing.assert_allclose((y / z).get(), some[0] / some[1], **near)
        np.testing.assert_allclose((y**z).get(), some[0] ** some[1], **near)
        for name in ("exp", "log", "sqrt", "sin", "tanh", "arccosh", "log1p", "sign", "exp2"):
            found, expected = getattr(cupy, name)(y), getattr(np, name)(some[0])
            np.testing.assert_allclose(found.get(), expected, **near, err_msg=name)
        for name in ("arctan2", "copysign", "hypot", "nextafter"):
            with pytest.raises(cupy.cuda.compiler.CompileException, match="no instance of"):
                getattr(cupy, name)(y, z)
    for call in (cupy.floor, cupy.signbit, cupy.logical_not):
        with pytest.raises(TypeError, match="Wrong type"):
            call(y)


def test_results_of_kernels_are_in_c_order(cupy):
    x = cupy.ones((2, 3)).T
    for result in (x + x, cupy.exp(x), cupy.where(x > 0, x, 0), x[:, cupy.asarray([0, 1])]):
        assert result.flags.c_contiguous
    for result in (cupy.concatenate([x, x]), cupy.sum(x[None], 0), x.copy(), cupy.sort(x)):
        assert result.flags.c_contiguous
    for result in (x.astype(np.float32), cupy.zeros_like(x), cupy.array(x), cupy.copy(x, "K")):
        assert result.flags.f_contiguous


def test_numbers_beyond_an_integer_dtype(cupy):
    x = cupy.asarray(np.array([-2.0, 300.0, 1e20, -1e20, np.nan], np.float32))
    assert x.astype(np.uint8).tolist() == [0, 300 - 256, 255, 0, 0]
    assert x.astype(np.int32).tolist() == [-2, 300, 2**31 - 1, -(2**31), 0]
    assert x.astype(np.int64).tolist()[2:] == [2**63 - 1, -(2**63), -(2**63)]
    assert x[:2].sum(dtype=np.uint8).tolist() == 300 - 256


def test_loops_are_chosen_as_by_cupy(cupy):
    small = cupy.asarray(np.array([1, 2], np.int8))
    assert cupy.sin(small).dtype == np.float16
    assert (small / 2).dtype == np.float64
    assert cupy.sign(cupy.ones(2, bool)).dtype == np.int8
    assert (small + 1.0).dtype == np.float64
    with pytest.raises(OverflowError, match="300 out of bounds for int8"):
        small + 300
    assert (small < 300).all()
    with pytest.raises(TypeError, match="casting is not supported yet"):
        small.astype(np.int16, casting="safe")
    ml_dtypes = pytest.importorskip("ml_dtypes")
    narrow = cupy.asarray(np.array([1, 2], ml_dtypes.bfloat16))
    assert (narrow * narrow).dtype == cupy.sum(narrow).dtype == ml_dtypes.bfloat16
    for found in (cupy.where(narrow > 1, narrow, 0), cupy.clip(narrow, 0.0, 1.0), narrow.round()):
        assert found.dtype == np.float32
    assert narrow.var().dtype == np.float64
    with pytest.raises(ValueError, match="bfloat16"):
        cupy.sort(narrow)


def test_what_else_differs_from_numpy(cupy):
    x = cupy.asarray(np.array([-np.inf, -0.0, 4.0]))
    np.testing.assert_array_equal((x**0.5).get(), [np.nan, -0.0, 2])
    np.testing.assert_array_equal(cupy.power(x, 0.5).get(), [np.inf, 0, 2])
    assert not np.signbit(cupy.maximum(x[1:2], 0.0).get())
    nan = cupy.asarray(np.array([1.0, np.nan, -np.nan, 0.0]))
    assert int(cupy.argmax(nan)) == 2  # of several, any
    np.testing.assert_array_equal(cupy.sort(nan).get(), [np.nan, 0, 1, np.nan])
    np.testing.assert_array_equal(cupy.argsort(nan).get(), [2, 3, 0, 1])
    np.testing.assert_array_equal(cupy.sort(nan[None]).get(), [[0, 1, np.nan, np.nan]])
    np.testing.assert_array_equal(cupy.clip(nan, np.nan, 0.5).get(), [0.5, np.nan, np.nan, 0])
    assert np.isnan(cupy.var(x[1:], ddof=2).get())
    assert np.isnan(cupy.convolve(nan, cupy.ones(2)).get()).all()  # through Fourier transforms
    assert np.isnan(cupy.mean(cupy.zeros((0,))).get())  # without a warning
    with pytest.raises(ValueError, match="Negative dimensions"):
        cupy.zeros((-1, 2))
    from cupyx.scipy.special import polygamma

    with pytest.raises(AttributeError, match="astype"):
        polygamma(1, x)
    assert float(polygamma(cupy.asarray([1]), x[2:])[0]) == pytest.approx(0.2838229557)


def test_float32_below_the_normal_numbers_is_zero(cupy):
    tiny = cupy.asarray(np.array([1e-40], np.float32))
    assert float((tiny * np.float32(1))[0]) == 0 == float((tiny == 0).sum()) - 1
    assert float((tiny.astype(np.float64) * 1)[0]) > 0
    assert float(cupy.where(tiny > -1, tiny, 0)[0]) > 0  # copies are as they were


@pytest.mark.parametrize("options", [(), ("-ftz=false",)])
def test_no_option_keeps_subnormal_numbers(cupy, kernel, options):
    for c_type, dtype in (("float", np.float32), ("double", np.float64)):
        source = f'extern "C" __global__ void k({c_type}* x) {{ x[0] = x[0] * 2; }}'
        x = cupy.asarray(np.array([np.finfo(dtype).tiny / 8], dtype))
        kernel(source, options=options)((1,), (1,), (x,))
        assert (float(x[0]) > 0) is (dtype is np.float64)


def test_a_pivot_is_rounded_once(cupy):
    singular = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [0.5, -1.0, 2.0]])
    import cupyx

    with cupyx.errstate(linalg="raise"):
        assert abs(cupy.linalg.inv(cupy.asarray(singular)).get()).max() > 1e14
        with pytest.raises(np.linalg.LinAlgError):
            cupy.linalg.inv(cupy.asarray(np.diag([1.0, 0.0])))
    half = cupy.asarray(np.eye(2, dtype=np.float16))
    assert cupy.linalg.eigh(half)[0].dtype == np.float16
    with pytest.raises(TypeError, match="float16"):
        cupy.linalg.inv(half)


@needs_compiler
def test_kernels_by_element(cupy):
    square = cupy.ElementwiseKernel("T x, float64 y", "T out", "out = x * x + T(y)", "square")
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    counters.reset()
    for data in (x, x.astype(complex)):
        np.testing.assert_array_equal(square(cupy.asarray(data.T), 1.0).get(), (data.T) ** 2 + 1)
    assert counters.kernels["square"] == 2
    with pytest.raises(TypeError, match="mismatched"):
        cupy.ElementwiseKernel("T x, T y", "T out", "out = x + y")(
            cupy.ones(2), cupy.ones(2, np.float32)
        )


def test_errors_come_out_of_frames_that_are_no_python(cupy):
    x, stream = cupy.ones(2), cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        with pytest.raises(RuntimeError) as caught:
            float(x.sum())
        stream.end_capture()
    assert str(caught.traceback[-1].path) == "cupy/cuda/memory.pyx"


def test_special_functions(cupy):
    from cupyx.scipy.special import erf

    found = erf(cupy.asarray([0.0, np.inf, np.nan]))
    assert isinstance(found, cupy.ndarray)
    np.testing.assert_array_equal(found.get(), [0, 1, np.nan])


def test_one_that_is_installed_stays(cupy):
    with standin.installed(devices=2) as inner:
        assert inner is cupy
        assert cupy.cuda.runtime.getDeviceCount() == 2
    assert sys.modules["cupy"] is cupy
    assert cupy.cuda.runtime.getDeviceCount() == 1


def test_install_and_uninstall_leave_modules_as_they_were():
    before = [sys.modules.get(name) for name in ("cupy", "cupyx.scipy.special")]
    with standin.installed(devices=0):
        import cupy
        import cupy.cuda.runtime

        assert cupy.cuda.runtime.getDeviceCount() == 0
        with pytest.raises(ImportError):
            import cupyx.jit  # noqa: F401
    assert [sys.modules.get(name) for name in ("cupy", "cupyx.scipy.special")] == before
    with pytest.raises(ValueError, match="order 'sideways' is unknown"):
        standin.install(order="sideways")


LIST_API = """
import inspect, json, cupy, numpy
def parameters(function):
    try:
        return set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return None
spaces = {name: (eval("numpy" + name), eval("cupy" + name)) for name in ("", ".linalg", ".fft")}
absent = {
    name: [n for n in dir(a) if n[0] != "_" and not hasattr(b, n)]
    for name, (a, b) in spaces.items()
}
lacking = [
    (keyword, (name[1:] + "." if name else "") + function)
    for name, (a, b) in spaces.items()
    for function in dir(a)
    if callable(getattr(b, function, None)) and not isinstance(getattr(b, function), type)
    if not isinstance(getattr(a, function), numpy.ufunc)
    for keyword in (parameters(getattr(a, function)) or set())
    - (parameters(getattr(b, function)) or {"kwargs"})
    if "kwargs" not in (parameters(getattr(b, function)) or {"kwargs"})
]
from cupy._core import _routines_math, core
from cupy._math import misc
from cupy._sorting import search
from cupyx.scipy import special
loops = {
    name: function.types
    for space in (special, cupy)
    for name in dir(space)
    if isinstance(function := getattr(space, name), cupy.ufunc)
}
loops["where"] = search._where_ufunc.types
loops["clip"] = _routines_math.clip.types
loops["nan_to_num"] = misc._nan_to_num.types
print(json.dumps([cupy.__version__, absent, lacking, dir(cupy.ndarray), loops]))
"""


@pytest.mark.hardware
def test_the_tables_match_an_installed_cupy(cupy):
    """An importable CuPy need not find a device for its names to be compared."""
    done = subprocess.run(
        [sys.executable, "-c", LIST_API], capture_output=True, text=True, check=False, cwd=os.sep
    )
    if done.returncode != 0:
        pytest.skip("CuPy is not installed")
    version, absent, lacking, attributes, loops = json.loads(done.stdout)
    if int(version.partition(".")[0]) != 14:
        pytest.skip(f"the tables are of CuPy 14, not {version}")
    for name, found in absent.items():
        assert set(found) <= cupy_api.ABSENT[name[1:]]
    for name in cupy_api.ABSENT[""]:
        assert not hasattr(cupy, name)
    pairs = {tuple(pair) for pair in lacking}
    ours = {(k, name) for k, names in cupy_api.ABSENT_KEYWORDS.items() for name in names}
    assert ours <= pairs
    # What is left are first parameters of another name, and keywords for reading files.
    first = cupy_api.words(
        "A a ar1 ar2 args arr arrays ary kw m ndmax obj object start_or_stop x x1 x2 kwargs"
    )
    known = first | cupy_api.NEVER_KEYWORDS
    known |= cupy_api.words("subok mode allow_pickle encoding fix_imports max_header_size")
    assert {k for k, _ in pairs - ours} <= known
    assert {n for n in dir(cupy.ndarray) if n[0] != "_"} <= set(attributes)
    bfloat16 = any("E" in loop for loop in loops["add"])
    for name, ours in ufuncs.LOOPS.items():
        if name != "round":  # which CuPy hides
            theirs = [loop for loop in loops[name] if not loop.startswith("V")]
            assert [loop for loop in ours if bfloat16 or "E" not in loop] == theirs, name


def test_the_header_is_found_beside_the_package():
    assert (Path(standin.__file__).parent / "cuda_host.h").is_file()
    for kind in (np.float32, np.float64):
        assert np.isnan(standin.memory._PATTERN.view(kind)).all()
