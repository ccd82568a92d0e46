// activation(z + bias) and its gradients. The bias gradient is summed in two stages, each in a
// fixed order, so equal inputs give equal bits.
#include "common.cuh"

// Numbers of the activations, in the order of bias_activation.py.
constexpr int RELU = 0, TANH = 1, GELU = 2, SILU = 3;

template <int KIND, typename A>
__device__ __forceinline__ A activate(A t) {
    if (KIND == RELU) return t <= A(0) ? A(0) : t;  // NaN is not <= 0 and stays
    if (KIND == TANH) return tanh(t);
    if (KIND == GELU) return A(0.5) * t * (A(1) + erf(t * A(0.70710678118654752)));
    return t / (A(1) + exp(-t));
}

// Derivative, from the result for RELU and TANH, else from the argument.
template <int KIND, typename A>
__device__ __forceinline__ A slope(A t) {
    if (KIND == TANH) return A(1) - t * t;
    if (KIND == GELU)
        return A(0.5) * (A(1) + erf(t * A(0.70710678118654752))) +
               t * A(0.39894228040143268) * exp(A(-0.5) * t * t);
    A s = A(1) / (A(1) + exp(-t));
    return s * (A(1) + t * (A(1) - s));
}

// `out` may be `z`.
template <typename T, int KIND>
__global__ void bias_activation(const T* z, const T* bias, T* out, int64 size, int64 columns) {
    using A = compute<T>;
    bool packs = aligned(z) && aligned(bias) && aligned(out) && columns % (16 / (int64)sizeof(T)) == 0;
    bool narrow = size <= 0x7fffffff;  // 32-bit remainders are quicker
    elementwise<T>(size, packs, [&](auto width, int64 i) {
        constexpr int N = decltype(width)::value;
        auto x = load<N>(z + i);
        auto b = load<N>(bias + (narrow ? (uint32)i % (uint32)columns : i % columns));
        for (int k = 0; k < N; k++) x.at[k] = T(activate<KIND>(A(x.at[k]) + A(b.at[k])));
        store(out + i, x);
    });
}

// Block (32, 8): each warp walks down 32 packs of N columns in a chunk of rows; the 8 partial sums
// of a column meet in shared memory. `saved` is the result for RELU and TANH, else z.
template <typename T, int KIND, int N>
__global__ void bias_activation_backward(const T* g, const T* saved, const T* bias, T* dz,
                                         compute<T>* parts, int64 rows, int64 columns,
                                         int64 chunk) {
    using A = compute<T>;
    __shared__ A sums[8][32 * N];
    int64 column = ((int64)blockIdx.x * 32 + threadIdx.x) * N;
    int64 first = blockIdx.y * chunk;
    int64 last = first + chunk < rows ? first + chunk : rows;
    A sum[N] = {};
    if (column < columns) {
        Pack<N, T> b;
        if (KIND == GELU || KIND == SILU) b = load<N>(bias + column);
        for (int64 row = first + threadIdx.y; row < last; row += 8) {
            int64 i = row * columns + column;
            auto s = load<N>(saved + i);
            auto d = load<N>(g + i);
            for (int k = 0; k < N; k++) {
                A t = A(s.at[k]);
                if (KIND == RELU) {
                    if (t <= A(0)) d.at[k] = T(0);
                } else {
                    if (KIND != TANH) t += A(b.at[k]);
                    d.at[k] = T(A(d.at[k]) * slope<KIND>(t));
                }
                sum[k] += A(d.at[k]);
            }
            store(dz + i, d);
        }
    }
    for (int k = 0; k < N; k++) sums[threadIdx.y][threadIdx.x * N + k] = sum[k];
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int k = 0; k < N; k++) {
            A total = sum[k];
            for (int y = 1; y < 8; y++) total += sums[y][threadIdx.x * N + k];
            parts[blockIdx.y * columns + column + k] = total;
        }
    }
}

template <typename T>
__global__ void sum_parts(const compute<T>* parts, T* sums, int64 chunks, int64 columns) {
    for (int64 column = first_index(); column < columns; column += grid_stride()) {
        compute<T> sum = 0;
        for (int64 k = 0; k < chunks; k++) sum += parts[k * columns + column];
        sums[column] = T(sum);
    }
}
