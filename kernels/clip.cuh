// Gradients scaled down to a largest norm: that of all of them, or of each parameter's by itself.
#pragma once
#include "common.cuh"

// most / (norm + 1e-6) where that is below 1, and where it is NaN; else 1.
template <typename A>
__device__ __forceinline__ A clip_factor(double squared, double most) {
    double factor = most / (sqrt(squared) + 1e-6);
    return factor >= 1 ? A(1) : A(factor);
}

// Number of the first of `count` ends, which do not descend, that is above i; one is.
__device__ __forceinline__ int64 first_above(const int64* ends, int64 count, int64 i) {
    int64 low = 0, high = count - 1;
    while (low < high) {
        int64 middle = (low + high) / 2;
        if (ends[middle] > i) high = middle;
        else low = middle + 1;
    }
    return low;
}

// What a thread multiplies gradients of a flat buffer by, one after the other. `squared` is the square
// of their norm or, with `ends`, those of `count` parameters, which end there.
template <typename A>
struct Clip {
    const double* squared;
    const int64* ends;
    int64 count;
    double most;
    A factor;  // of the elements before `last`, from the one on that was last asked for
    int64 last;

    __device__ __forceinline__ Clip(const double* squared, const int64* ends, int64 count, double most, A factor)
        : squared(squared), ends(ends), count(count), most(most), factor(factor),
          last(ends ? 0 : 0x7fffffffffffffff) {}

    __device__ __forceinline__ Clip(const double* squared, const int64* ends, int64 count, double most)
        : Clip(squared, ends, count, most, squared && !ends ? clip_factor<A>(*squared, most) : A(1)) {}

    // Gradient x of element i, scaled down; i only grows.
    __device__ __forceinline__ A operator()(A x, int64 i) {
        if (i >= last) {
            int64 j = first_above(ends, count, i);
            last = ends[j];
            factor = clip_factor<A>(squared[j], most);
        }
        return factor == 1 ? x : product(x, factor);
    }

    // The same for neighbours from i on; whether one is multiplied.
    template <int N, typename T>
    __device__ __forceinline__ bool operator()(Pack<N, T>& values, int64 i) {
        bool changed = false;
        for (int k = 0; k < N; k++) {
            values.at[k] = T((*this)(A(values.at[k]), i + k));
            changed = changed || factor != 1;
        }
        return changed;
    }
};
