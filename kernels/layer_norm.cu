// Layer normalization (Ba et al. 2016) and RMS normalization (Zhang & Sennrich 2019) along rows, and
// their gradients; a group of threads to a row.
#include "columns.cuh"
#include "rows.cuh"

// A power of two that brings the largest numbers to where sums of their squares are finite, and the
// smallest normal number.
template <typename A>
__device__ __forceinline__ A small() { return __int_as_float(0x17800000); }  // 2**-80
template <>
__device__ __forceinline__ double small<double>() {
    return __longlong_as_double(0x1a70000000000000LL);  // 2**-600
}
template <typename A>
__device__ __forceinline__ A smallest() { return __int_as_float(0x00800000); }
template <>
__device__ __forceinline__ double smallest<double>() {
    return __longlong_as_double(0x0010000000000000LL);
}

// Mean, 0 without CENTER, and 1 / sqrt(variance + eps) of a row, which `values` reads; of the row
// times `unit`, which is 1 unless squares overflow.
template <int N, int GROUP, int KEPT, bool CENTER, typename T, typename A>
__device__ __forceinline__ void statistics(Row<N, KEPT, T>& values, int64 columns, A eps, A& mean,
                                           A& scale, A& unit) {
    unit = 1;
    A pivot = CENTER ? A(values.at[0]) : A(0);  // see Moments
    if constexpr (CENTER && KEPT == 0) {  // what is not kept is read once, at least
        Moments<A> found;
        for_packs<N, GROUP, KEPT>(columns,
                                  [&](int64 j, int k) { found.add(values.read(j, k), pivot); });
        found.template combine<GROUP>();
        mean = found.mean + pivot;
        scale = A(1) / sqrt(found.square / A(columns) + eps);
        if (found.square < infinity<A>()) return;  // else as below
    }
    while (true) {
        mean = 0;
        if (CENTER) {
            for_packs<N, GROUP, KEPT>(columns, [&](int64 j, int k) {
                auto& pack = values.read(j, k);
                for (int n = 0; n < N; n++) mean += A(pack.at[n]) * unit - pivot * unit;
            });
            mean = group_sum<GROUP>(mean) / A(columns) + pivot * unit;
        }
        A square = 0;
        for_packs<N, GROUP, KEPT>(columns, [&](int64 j, int k) {
            auto& pack = CENTER ? values.again(j, k) : values.read(j, k);
            for (int n = 0; n < N; n++) {
                A d = A(pack.at[n]) * unit - mean;
                square += d * d;
            }
        });
        square = group_sum<GROUP>(square);
        scale = A(1) / sqrt(square / A(columns) + eps);
        if (square < infinity<A>() || unit != A(1)) return;
        unit = small<A>();
        eps = smallest<A>();  // which is lost beside such squares, but in rows of equal numbers
    }
}

// CENTER: subtract the mean (layer normalization). `bias` may be null.
template <typename T, int N, int GROUP, int KEPT, bool CENTER>
__global__ void __launch_bounds__(block_threads<GROUP>, 1)
    layer_norm(const T* x, const T* weight, const T* bias, T* out, int64 rows, int64 columns,
               double eps) {
    using A = compute<T>;
    int64 row = group_row<GROUP>();
    if (row >= rows) return;
    Row<N, KEPT, T> values(x + row * columns);
    A mean, scale, unit;
    statistics<N, GROUP, KEPT, CENTER>(values, columns, A(eps), mean, scale, unit);
    for_packs<N, GROUP, KEPT>(columns, [&](int64 j, int k) {
        auto pack = values.again(j, k);
        auto w = load<N>(weight + j);
        Pack<N, T> b;
        if (bias) b = load<N>(bias + j);
        for (int n = 0; n < N; n++) {
            A y = (A(pack.at[n]) * unit - mean) * scale * A(w.at[n]);
            pack.at[n] = T(bias ? y + A(b.at[n]) : y);
        }
        store(out + row * columns + j, pack);
    });
}

// With h = (x - mean) * scale and d = g * weight: dx = scale * (d - mean(d) - h * mean(d * h)); the
// mean of d only with CENTER. Mean and scale are left for the gradients of weight and bias.
template <typename T, int N, int GROUP, int KEPT, bool CENTER>
__global__ void __launch_bounds__(block_threads<GROUP>, 1)
    layer_norm_backward(const T* g, const T* x, const T* weight, T* dx, compute<T>* means,
                        compute<T>* scales, int64 rows, int64 columns, double eps) {
    using A = compute<T>;
    int64 row = group_row<GROUP>();
    if (row >= rows) return;
    Row<N, KEPT, T> gradient(g + row * columns), values(x + row * columns);
    A mean, scale, unit;
    statistics<N, GROUP, KEPT, CENTER>(values, columns, A(eps), mean, scale, unit);
    A sum = 0, dot = 0;
    for_packs<N, GROUP, KEPT>(columns, [&](int64 j, int k) {
        auto& d = gradient.read(j, k);
        auto& pack = values.again(j, k);
        auto w = load<N>(weight + j);
        for (int n = 0; n < N; n++) {
            A dn = A(d.at[n]) * A(w.at[n]);
            sum += dn;
            dot += dn * (A(pack.at[n]) * unit - mean) * scale;
        }
    });
    sum = CENTER ? group_sum<GROUP>(sum) / A(columns) : A(0);
    dot = group_sum<GROUP>(dot) / A(columns);
    for_packs<N, GROUP, KEPT>(columns, [&](int64 j, int k) {
        auto d = gradient.again(j, k);
        auto& pack = values.again(j, k);
        auto w = load<N>(weight + j);
        for (int n = 0; n < N; n++) {
            A h = (A(pack.at[n]) * unit - mean) * scale;
            d.at[n] = T(scale * unit * (A(d.at[n]) * A(w.at[n]) - sum - h * dot));
        }
        store(dx + row * columns + j, d);
    });
    if (group_rank<GROUP>() == 0) {
        means[row] = mean / unit;
        scales[row] = scale * unit;
    }
}

// Sums over rows of g * h, the weight's gradient, and of g, the bias's, whose `bias_grad` and
// `bias_parts` may be null. `..._parts` are room for the sums over chunks of rows.
template <typename T, int N, bool CENTER>
__global__ void layer_norm_sums(const T* g, const T* x, const compute<T>* means,
                                const compute<T>* scales, T* weight_grad, T* bias_grad,
                                compute<T>* weight_parts, compute<T>* bias_parts, uint32* tickets,
                                int64 rows, int64 columns, int64 chunk) {
    using A = compute<T>;
    A dot[N] = {}, sum[N] = {};
    for_column<N>(rows, columns, chunk, [&](int64 row, int64 column) {
        auto d = load<N>(g + row * columns + column);
        auto pack = load<N>(x + row * columns + column);
        A mean = CENTER ? means[row] : A(0), scale = scales[row];
        for (int n = 0; n < N; n++) {
            dot[n] += A(d.at[n]) * ((A(pack.at[n]) - mean) * scale);
            sum[n] += A(d.at[n]);
        }
    });
    store_parts<N>(dot, weight_parts, columns);
    if (bias_parts) store_parts<N>(sum, bias_parts, columns);
    if (!last_of_columns(tickets)) return;
    add_parts<N>(weight_parts, weight_grad, columns);
    if (bias_parts) add_parts<N>(bias_parts, bias_grad, columns);
}
