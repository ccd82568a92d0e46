// Kernels that work row by row: a group of GROUP threads, a warp or a whole block, takes a row in
// packs of N; up to KEPT packs a thread stay in registers between the passes over the row, and with
// KEPT = 0, for rows of any length, each pass reads again. rows.py chooses.
#pragma once
#include "common.cuh"

// Threads of a block, for __launch_bounds__: the larger, the fewer registers.
template <int GROUP>
constexpr int block_threads = GROUP > 32 ? GROUP : 128;

// The row of this thread's group; groups are warps of a block, or the block.
template <int GROUP>
__device__ __forceinline__ int64 group_row() {
    if constexpr (GROUP > 32) return blockIdx.x;
    return (int64)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
}

template <int GROUP>
__device__ __forceinline__ int group_rank() {
    return threadIdx.x % GROUP;
}

// Calls body(j, k) for the packs of this thread: j is the first column, k counts the packs.
template <int N, int GROUP, int KEPT, typename Body>
__device__ __forceinline__ void for_packs(int64 columns, Body body) {
    int64 j = (int64)group_rank<GROUP>() * N;
    if constexpr (KEPT > 0) {
#pragma unroll
        for (int k = 0; k < KEPT; k++, j += GROUP * N)
            if (j < columns) body(j, k);
    } else {
#pragma unroll 2  // more takes more registers than there are
        for (; j < columns; j += GROUP * N) body(j, 0);
    }
}

// A row that is read for the first time by read() and later by again().
template <int N, int KEPT, typename T>
struct Row {
    const T* at;
    Pack<N, T> kept[KEPT > 0 ? KEPT : 1];

    __device__ __forceinline__ explicit Row(const T* first) : at(first) {}

    __device__ __forceinline__ const Pack<N, T>& read(int64 j, int k) {
        kept[k] = load<N>(at + j);
        return kept[k];
    }
    __device__ __forceinline__ const Pack<N, T>& again(int64 j, int k) {
        if (KEPT == 0) kept[0] = load<N>(at + j);
        return kept[k];
    }
};

// Sum over the group, the same in all of its threads.
template <int GROUP, typename T>
__device__ __forceinline__ T group_sum(T value) {
    value = warp_sum(value);
    if constexpr (GROUP > 32) {
        __shared__ T parts[GROUP / 32];
        __syncthreads();  // until all have read the last call's parts
        if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
        __syncthreads();
        value = parts[0];
        for (int w = 1; w < GROUP / 32; w++) value += parts[w];
    }
    return value;
}

// Largest value of the group and, in its first thread, the first place of it. No value may be NaN.
template <int GROUP, typename T>
__device__ __forceinline__ void group_max(T& value, int64& place) {
    for (int offset = 16; offset > 0; offset /= 2) {
        T other = __shfl_xor_sync(ALL_LANES, value, offset);
        int64 other_place = __shfl_xor_sync(ALL_LANES, place, offset);
        if (other > value || (other == value && other_place < place)) {
            value = other;
            place = other_place;
        }
    }
    if constexpr (GROUP > 32) {
        __shared__ T values[GROUP / 32];
        __shared__ int64 places[GROUP / 32];
        __syncthreads();
        if (threadIdx.x % 32 == 0) {
            values[threadIdx.x / 32] = value;
            places[threadIdx.x / 32] = place;
        }
        __syncthreads();
        value = values[0];
        for (int w = 1; w < GROUP / 32; w++) {
            if (values[w] > value || (values[w] == value && places[w] < place)) {
                value = values[w];
                place = places[w];
            }
        }
    }
}

// Mean and sum of squared deviations in one pass (Welford 1962; merged after Chan et al. 1983).
template <typename A>
struct Moments {
    A count = 0, mean = 0, square = 0;

    __device__ __forceinline__ void merge(const Moments& other) {
        if (other.count == A(0)) return;
        A total = count + other.count;
        A distance = other.mean - mean, share = other.count / total;
        // An infinite mean stays what it is: its distance to others would make it NaN.
        mean += distance - distance == A(0) ? distance * share : other.mean;
        square += other.square;
        // There is no distance to nothing, and none between infinite means.
        if (count > A(0) && distance == distance) square += distance * (distance * (count * share));
        count = total;
    }
    // Of the values less `pivot`, one of them: what large numbers differ by is lost in their mean.
    template <int N, typename T>
    __device__ __forceinline__ void add(const Pack<N, T>& values, A pivot) {
        Moments pack;
        pack.count = N;
        for (int n = 0; n < N; n++) pack.mean += (A(values.at[n]) - pivot) * (A(1) / N);
        for (int n = 0; n < N; n++) {
            A d = (A(values.at[n]) - pivot) - pack.mean;
            pack.square += d * d;
        }
        if (pack.mean - pack.mean != A(0)) {  // finite numbers that are too far from each other
            pack.square = infinity<A>();
            for (int n = 0; n < N; n++) pack.square += A(values.at[n]) - A(values.at[n]);
        }
        merge(pack);
    }
    // Of the group: in all threads of a block, in the first lane of a warp; the others may differ in
    // the last bit.
    template <int GROUP>
    __device__ __forceinline__ void combine() {
        for (int offset = 16; offset > 0; offset /= 2) {
            Moments other;
            other.count = __shfl_xor_sync(ALL_LANES, count, offset);
            other.mean = __shfl_xor_sync(ALL_LANES, mean, offset);
            other.square = __shfl_xor_sync(ALL_LANES, square, offset);
            merge(other);
        }
        if constexpr (GROUP > 32) {
            __shared__ A counts[GROUP / 32], means[GROUP / 32], squares[GROUP / 32];
            int warp = threadIdx.x / 32;
            __syncthreads();
            if (threadIdx.x % 32 == 0) {
                counts[warp] = count;
                means[warp] = mean;
                squares[warp] = square;
            }
            __syncthreads();
            *this = Moments();
            for (int w = 0; w < GROUP / 32; w++) {
                Moments other;
                other.count = counts[w];
                other.mean = means[w];
                other.square = squares[w];
                merge(other);
            }
        }
    }
};

// Maximum and sum of exp(x - maximum) in one pass over the elements (Milakov & Gimelshein 2018),
// and where the maximum stands first: a thread adds elements in ascending order, and minus infinity
// has no place. NaN and +infinity make the sum NaN.
template <typename A>
struct OnlineSoftmax {
    A top = -infinity<A>();
    A sum = 0;
    int64 place = 0x7fffffffffffffff;

    __device__ __forceinline__ void add(A x, int64 j) {
        if (x > top) {
            sum = sum * exp(top - x) + exp(x - x);
            top = x;
            place = j;
        } else {
            // Minus infinity before anything larger adds nothing.
            if (!(x == top && x < A(0) && x - x != A(0))) sum += exp(x - top);
        }
    }
    template <int GROUP>
    __device__ __forceinline__ void combine() {
        A own = top;
        group_max<GROUP>(top, place);
        // A thread without a number has the sum 0, which 0 * exp(-inf + inf) would make NaN.
        sum = group_sum<GROUP>(own == top ? sum : sum * exp(own - top));
    }
};
