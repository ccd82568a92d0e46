// Softmax and its logarithm along rows, and their gradients; a group of threads to a row.
#include "rows.cuh"

// KIND 0 is softmax, 1 its logarithm.
template <typename T, int N, int GROUP, int KEPT, int KIND>
__global__ void __launch_bounds__(block_threads<GROUP>, 1)
    softmax(const T* x, T* out, int64 rows, int64 columns) {
    using A = compute<T>;
    int64 row = group_row<GROUP>();
    if (row >= rows) return;
    Row<N, KEPT, T> values(x + row * columns);
    OnlineSoftmax<A> found;
    for_packs<N, GROUP, KEPT>(columns, [&](int64 j, int k) {
        auto& pack = values.read(j, k);
        for (int n = 0; n < N; n++) found.add(A(pack.at[n]), j + n);
    });
    found.template combine<GROUP>();
    A scale = A(1) / found.sum;
    A log_sum = log(found.sum);
    for_packs<N, GROUP, KEPT>(columns, [&](int64 j, int k) {
        auto pack = values.again(j, k);
        for (int n = 0; n < N; n++) {
            A shifted = A(pack.at[n]) - found.top;
            pack.at[n] = T(KIND == 0 ? exp(shifted) * scale : shifted - log_sum);
        }
        store(out + row * columns + j, pack);
    });
}

// From the gradient of the result and the result: out * (g - sum(g * out)) and, for the logarithm,
// g - exp(out) * sum(g).
template <typename T, int N, int GROUP, int KEPT, int KIND>
__global__ void __launch_bounds__(block_threads<GROUP>, 1)
    softmax_backward(const T* g, const T* out, T* dx, int64 rows, int64 columns) {
    using A = compute<T>;
    int64 row = group_row<GROUP>();
    if (row >= rows) return;
    Row<N, KEPT, T> gradient(g + row * columns), result(out + row * columns);
    A sum = 0;
    for_packs<N, GROUP, KEPT>(columns, [&](int64 j, int k) {
        auto& d = gradient.read(j, k);
        if (KIND == 0) {
            auto& y = result.read(j, k);
            for (int n = 0; n < N; n++) sum += A(d.at[n]) * A(y.at[n]);
        } else {
            for (int n = 0; n < N; n++) sum += A(d.at[n]);
        }
    });
    sum = group_sum<GROUP>(sum);
    for_packs<N, GROUP, KEPT>(columns, [&](int64 j, int k) {
        auto d = gradient.again(j, k);
        auto& y = KIND == 0 ? result.again(j, k) : result.read(j, k);
        for (int n = 0; n < N; n++) {
            A gn = A(d.at[n]), yn = A(y.at[n]);
            d.at[n] = T(KIND == 0 ? yn * (gn - sum) : gn - exp(yn) * sum);
        }
        store(dx + row * columns + j, d);
    });
}
