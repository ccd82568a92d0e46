// x * Phi(x) and its gradient, Phi the normal distribution function.
#include "common.cuh"

template <typename T>
__global__ void gelu(const T* x, T* out, int64 size) {
    using A = compute<T>;
    elementwise<T>(size, aligned(x) && aligned(out), [&](auto width, int64 i) {
        constexpr int N = decltype(width)::value;
        auto values = load<N>(x + i);
        for (int k = 0; k < N; k++) {
            A t = A(values.at[k]);
            values.at[k] = T(t * (A(0.5) * erfc(t * A(-0.70710678118654752))));
        }
        store(out + i, values);
    });
}

template <typename T>
__global__ void gelu_backward(const T* g, const T* x, T* dx, int64 size) {
    using A = compute<T>;
    bool packs = aligned(g) && aligned(x) && aligned(dx);
    elementwise<T>(size, packs, [&](auto width, int64 i) {
        constexpr int N = decltype(width)::value;
        auto d = load<N>(g + i);
        auto values = load<N>(x + i);
        for (int k = 0; k < N; k++) {
            A t = A(values.at[k]);
            A density = A(0.39894228040143268) * exp(A(-0.5) * t * t);
            A slope = A(0.5) * erfc(t * A(-0.70710678118654752)) + t * density;
            d.at[k] = T(A(d.at[k]) * slope);
        }
        store(dx + i, d);
    });
}
