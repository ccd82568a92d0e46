// Sums over the rows of a matrix, column by column, in two stages and a fixed order. Block (32, 8):
// each warp walks down 32 packs of N columns in a chunk of rows, and the 8 partial sums of a column
// meet in shared memory; the last block of some columns to finish adds up their chunks.
#pragma once
#include "common.cuh"

// Calls body(row, column) for the rows of this thread, column being the first of its pack.
template <int N, typename Body>
__device__ __forceinline__ void for_column(int64 rows, int64 columns, int64 chunk, Body body) {
    int64 column = ((int64)blockIdx.x * 32 + threadIdx.x) * N;
    int64 first = blockIdx.y * chunk;
    int64 last = first + chunk < rows ? first + chunk : rows;
    if (column < columns)
        for (int64 row = first + threadIdx.y; row < last; row += 8) body(row, column);
}

// Adds up `sum`, of N columns, over the warps of the block: a row of `parts` for each chunk.
template <int N, typename A>
__device__ __forceinline__ void store_parts(const A* sum, A* parts, int64 columns) {
    __shared__ A sums[8][32 * N];
    int64 column = ((int64)blockIdx.x * 32 + threadIdx.x) * N;
    __syncthreads();  // until all have read an earlier call's sums
    for (int n = 0; n < N; n++) sums[threadIdx.y][threadIdx.x * N + n] = sum[n];
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int n = 0; n < N; n++) {
            A total = sum[n];
            for (int y = 1; y < 8; y++) total += sums[y][threadIdx.x * N + n];
            parts[blockIdx.y * columns + column + n] = total;
        }
    }
}

// Whether this block is the last of those with its columns; then it calls add_parts.
__device__ __forceinline__ bool last_of_columns(uint32* tickets) {
    return last_of(tickets + blockIdx.x, gridDim.y);
}

// The sums of all chunks, for the columns of this block.
template <int N, typename T, typename A>
__device__ __forceinline__ void add_parts(const A* parts, T* sums, int64 columns) {
    for (int i = threadIdx.y * 32 + threadIdx.x; i < 32 * N; i += 256) {
        int64 column = (int64)blockIdx.x * 32 * N + i;
        if (column >= columns) return;
        A sum = 0;
        for (int64 k = 0; k < gridDim.y; k++) sum += ((const volatile A*)parts)[k * columns + column];
        sums[column] = T(sum);
    }
}
