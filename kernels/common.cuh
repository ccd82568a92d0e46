// Shared by the kernels: fixed-width names and reductions in a fixed order.
#pragma once

typedef long long int64;
typedef unsigned int uint32;
typedef unsigned long long uint64;

constexpr unsigned ALL_LANES = 0xffffffffu;

__device__ __forceinline__ int64 first_index() {
    return (int64)blockIdx.x * blockDim.x + threadIdx.x;
}

__device__ __forceinline__ int64 grid_stride() { return (int64)gridDim.x * blockDim.x; }

template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
    for (int offset = 16; offset > 0; offset /= 2)
        value += __shfl_xor_sync(ALL_LANES, value, offset);
    return value;
}

// True in the block that is the last of the grid to arrive; all earlier writes are visible to it.
// `ticket` must be 0 before the launch and is 0 again after it.
__device__ __forceinline__ bool last_block(uint32* ticket) {
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(ticket, 1u) == gridDim.x - 1;
        if (last) *ticket = 0;
    }
    __syncthreads();
    return last;
}
