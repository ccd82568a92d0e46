// Gradients scaled down to a largest norm.
#pragma once
#include "common.cuh"

// most / (norm + 1e-6) where that is below 1, and where it is NaN; else, and without a norm, 1.
template <typename A>
__device__ __forceinline__ A clip_factor(const double* squared, double most) {
    if (!squared) return 1;
    double factor = most / (sqrt(*squared) + 1e-6);
    return factor >= 1 ? A(1) : A(factor);
}

template <int N, typename T, typename A>
__device__ __forceinline__ void clip(Pack<N, T>& values, A factor) {
    for (int k = 0; k < N; k++) values.at[k] = T(product(A(values.at[k]), factor));
}
