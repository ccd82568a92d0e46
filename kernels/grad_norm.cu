// The squared norm of a buffer, or of each parameter in it, and scaling down to a largest norm that
// stays on the device.
#include "clip.cuh"
#include "rows.cuh"

constexpr int THREADS = 256;

// A sum has `parts`, of which each is a block's work; the last block to have one adds them up, in
// their order. Of `segments` the first row has where the elements of each of `count` parameters end,
// the third where its parts do; without it x is one parameter, and has a part for each block. The
// order in which elements are added depends on their number alone.
template <typename T>
__global__ void squared_norm(const T* x, double* parts, double* totals, uint32* tickets,
                             const int64* segments, int64 count, int64 size) {
    constexpr int N = 16 / sizeof(T);
    const int64* ends = segments + 2 * count;
    int64 all = segments ? ends[count - 1] : gridDim.x;
    for (int64 part = blockIdx.x; part < all; part += gridDim.x) {
        int64 j = segments ? first_above(ends, count, part) : 0;
        int64 start = j ? segments[j - 1] : 0, stop = segments ? segments[j] : size;
        int64 first = j ? ends[j - 1] : 0;
        int64 blocks = (segments ? ends[j] : all) - first;
        const T* values = x + start;
        int64 thread = (part - first) * THREADS + threadIdx.x, threads = blocks * THREADS;
        int64 length = stop - start, packed = length / N * N;
        double sum = 0;
        auto add = [&](T value) { sum += double(compute<T>(value)) * double(compute<T>(value)); };
        bool packs = aligned(values);
        for (int64 i = thread * N; i < packed; i += threads * N) {
            if (packs) {
                auto pack = load<N>(values + i);
                for (int k = 0; k < N; k++) add(pack.at[k]);
            } else {
                for (int k = 0; k < N; k++) add(values[i + k]);
            }
        }
        for (int64 i = packed + thread; i < length; i += threads) add(values[i]);
        sum = group_sum<THREADS>(sum);
        if (threadIdx.x == 0) parts[part] = sum;
        if (!last_of(tickets + j, blocks)) continue;
        sum = 0;
        for (int64 i = threadIdx.x; i < blocks; i += THREADS) sum += ((volatile double*)parts)[first + i];
        sum = group_sum<THREADS>(sum);
        if (threadIdx.x == 0) totals[j] = sum;
    }
}

template <typename T>
__global__ void clip_norm(T* x, const double* squared, const int64* ends, int64 count, int64 size,
                          double most) {
    Clip<compute<T>> clip(squared, ends, count, most);
    if (!ends && clip.factor == 1) return;
    elementwise<T>(size, aligned(x), [&](auto width, int64 i) {
        constexpr int N = decltype(width)::value;
        auto values = load<N>(x + i);
        if (clip(values, i)) store(x + i, values);
    });
}
