"""A kernel with shared memory and a reduction: the length of each row of a matrix."""

import numpy as np

import gputensor as gt
from gputensor.backend import namespace
from gputensor.kernels import CudaSource, c_type

THREADS = 256  # of a block, a power of two

SOURCE = CudaSource(r"""
#include "common.cuh"

// A block for each row: each thread adds up its share, then pairs of shares are added.
template <typename T, int THREADS>
__global__ void row_length(const T* x, T* out, int columns) {
    __shared__ T parts[THREADS];
    const T* row = x + (int64)blockIdx.x * columns;
    T sum = 0;
    for (int j = threadIdx.x; j < columns; j += THREADS) sum += row[j] * row[j];
    parts[threadIdx.x] = sum;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
    }
    if (threadIdx.x == 0) out[blockIdx.x] = sqrt(parts[0]);
}
""")


def launch(source, x):
    rows, columns = x.shape
    out = namespace(x).empty(rows, x.dtype)
    entry = f"row_length<{c_type(x.dtype)}, {THREADS}>"
    source.launch(entry, (x, out, columns), blocks=(rows,), threads=THREADS)
    return out


@gt.kernel(source=SOURCE, cuda=launch, vjp=lambda xp, g, out, x: (g / out)[:, None] * x)
def row_length(xp, x):
    return xp.sqrt(xp.sum(x * x, axis=1))


# Rows that are shorter than a block, as long, and longer.
CASES = [
    (row_length, (np.random.default_rng(columns).normal(size=(3, columns)).astype(np.float32),))
    for columns in (1, 31, THREADS, 2 * THREADS + 5)
]

if __name__ == "__main__":
    for kernel, arrays in CASES:
        print(gt.kernels.check(kernel, *arrays))
