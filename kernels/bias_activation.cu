// activation(z + bias) and its gradients.
#include "columns.cuh"

// Numbers of the activations, in the order of bias_activation.py.
constexpr int RELU = 0, TANH = 1, GELU = 2, SILU = 3;

template <int KIND, typename A>
__device__ __forceinline__ A activate(A t) {
    if (KIND == RELU) return not_positive(t) ? A(0) : t;  // NaN is not, and stays
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
    bool packs = aligned(z) && aligned(bias) && aligned(out);
    packs = packs && columns % (16 / (int64)sizeof(T)) == 0;
    elementwise<T>(size, packs, [&](auto width, int64 i) {
        constexpr int N = decltype(width)::value;
        auto x = load<N>(z + i);
        auto b = load<N>(bias + (i - quotient(i, columns) * columns));
        for (int k = 0; k < N; k++) x.at[k] = T(activate<KIND>(A(x.at[k]) + A(b.at[k])));
        store(out + i, x);
    });
}

// `saved` is the result for RELU and TANH, else z. `parts` is room for the sums over chunks of rows.
template <typename T, int KIND, int N>
__global__ void bias_activation_backward(const T* g, const T* saved, const T* bias, T* dz,
                                         T* bias_grad, compute<T>* parts, uint32* tickets,
                                         int64 rows, int64 columns, int64 chunk) {
    using A = compute<T>;
    A sum[N] = {};
    for_column<N>(rows, columns, chunk, [&](int64 row, int64 column) {
        int64 i = row * columns + column;
        auto s = load<N>(saved + i);
        auto d = load<N>(g + i);
        Pack<N, T> b;
        if (KIND == GELU || KIND == SILU) b = load<N>(bias + column);
        for (int n = 0; n < N; n++) {
            A t = A(s.at[n]);
            if (KIND == RELU) {
                if (not_positive(t)) d.at[n] = T(0);
            } else {
                if (KIND != TANH) t += A(b.at[n]);
                d.at[n] = T(A(d.at[n]) * slope<KIND>(t));
            }
            sum[n] += A(d.at[n]);
        }
        store(dz + i, d);
    });
    store_parts<N>(sum, parts, columns);
    if (last_of_columns(tickets)) add_parts<N>(parts, bias_grad, columns);
}
