// The squared norm of a buffer, and scaling down to a largest norm that stays on the device.
#include "clip.cuh"
#include "rows.cuh"

constexpr int THREADS = 256;

// Block by block into `parts`; the last block adds those up, in the order of the blocks.
template <typename T>
__global__ void squared_norm(const T* x, double* parts, double* total, uint32* ticket, int64 size) {
    double sum = 0;
    elementwise<T>(size, aligned(x), [&](auto width, int64 i) {
        constexpr int N = decltype(width)::value;
        auto values = load<N>(x + i);
        for (int k = 0; k < N; k++) {
            double value = double(compute<T>(values.at[k]));
            sum += value * value;
        }
    });
    sum = group_sum<THREADS>(sum);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
    if (!last_block(ticket)) return;
    sum = 0;
    for (int64 i = threadIdx.x; i < gridDim.x; i += THREADS) sum += ((volatile double*)parts)[i];
    sum = group_sum<THREADS>(sum);
    if (threadIdx.x == 0) *total = sum;
}

template <typename T>
__global__ void clip_norm(T* x, const double* squared, int64 size, double most) {
    auto factor = clip_factor<compute<T>>(squared, most);
    if (factor == 1) return;
    elementwise<T>(size, aligned(x), [&](auto width, int64 i) {
        constexpr int N = decltype(width)::value;
        auto values = load<N>(x + i);
        clip(values, factor);
        store(x + i, values);
    });
}
