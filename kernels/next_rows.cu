// out = order[at : at + rows], then at += rows; by one block, so that all read `at` before it moves.
#include "common.cuh"

extern "C" __global__ void next_rows(const int64* order, int64* at, int64* out, int64 rows) {
    int64 start = *at;
    for (int64 i = threadIdx.x; i < rows; i += blockDim.x) out[i] = order[start + i];
    __syncthreads();
    if (threadIdx.x == 0) *at = start + rows;
}
