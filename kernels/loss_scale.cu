// Loss scaling: gradients divided by the scale, and the next scale, all of it on the device.
#include "common.cuh"

// `found` becomes 1 where a quotient is NaN or infinite; all who write it write the same.
template <typename T>
__global__ void unscale(T* g, const float* scale, uint32* found, int64 size) {
    using A = compute<T>;
    A divisor = A(*scale);
    bool bad = false;
    elementwise<T>(size, aligned(g), [&](auto width, int64 i) {
        constexpr int N = decltype(width)::value;
        auto values = load<N>(g + i);
        for (int k = 0; k < N; k++) {
            values.at[k] = T(A(values.at[k]) / divisor);
            A value = A(values.at[k]);
            if (!(value - value == 0)) bad = true;
        }
        store(g + i, values);
    });
    if (bad) *found = 1;
}

extern "C" __global__ void update_scale(float* scale, uint32* streak, const uint32* found, double growth,
                                        double backoff, uint32 interval, double least) {
    if (first_index()) return;
    uint32 steps = *found ? 0 : *streak + 1;
    bool grows = steps >= interval;
    float moved = *scale * float(*found ? backoff : grows ? growth : 1);
    if (moved - moved == 0) *scale = fmaxf(moved, float(least));
    *streak = grows ? 0 : steps;
}
