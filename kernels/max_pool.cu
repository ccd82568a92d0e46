// The largest element of each window of images, and its gradient. Channels come last.
#include "common.cuh"

template <typename A>
__device__ __forceinline__ bool above(A value, A best) {
    return !(best >= value || best != best);  // a NaN is above all, and stays
}

// Equality by bits: for a comparison all floats below the normal numbers are 0, see common.cuh.
__device__ __forceinline__ bool same(float a, float b) {
    unsigned x = __float_as_uint(a), y = __float_as_uint(b);
    return x == y || ((x | y) << 1) == 0;
}
__device__ __forceinline__ bool same(double a, double b) { return a == b; }

template <typename T>
__global__ void max_pool(const T* x, T* out, int64 size, int64 channels, int64 high, int64 wide,
                         int64 oh, int64 ow, int64 kh, int64 kw, int64 sh, int64 sw, int64 dh,
                         int64 dw, int64 top, int64 left) {
    using A = compute<T>;
    bool packs = aligned(x) && aligned(out) && channels % (16 / (int64)sizeof(T)) == 0;
    elementwise<T>(size, packs, [&](auto width, int64 at) {
        constexpr int N = decltype(width)::value;
        int64 rest = quotient(at, channels), c = at - rest * channels;
        int64 next = quotient(rest, ow), j = rest - next * ow;
        int64 n = quotient(next, oh), i = next - n * oh;
        A best[N];
        for (int k = 0; k < N; k++) best[k] = -infinity<A>();
        for (int64 a = 0; a < kh; a++) {
            int64 row = i * sh - top + a * dh;
            if (row < 0 || row >= high) continue;
            for (int64 b = 0; b < kw; b++) {
                int64 column = j * sw - left + b * dw;
                if (column < 0 || column >= wide) continue;
                auto value = load<N>(x + ((n * high + row) * wide + column) * channels + c);
                for (int k = 0; k < N; k++)
                    if (above(A(value.at[k]), best[k])) best[k] = A(value.at[k]);
            }
        }
        Pack<N, T> values;
        for (int k = 0; k < N; k++) values.at[k] = T(best[k]);
        store(out + at, values);
    });
}

// The gradients of all windows whose first largest element is this one, in the windows' order.
template <typename T>
__global__ void max_pool_backward(const T* g, const T* x, const T* y, T* out, int64 size,
                                  int64 channels, int64 high, int64 wide, int64 oh, int64 ow,
                                  int64 kh, int64 kw, int64 sh, int64 sw, int64 dh, int64 dw,
                                  int64 top, int64 left) {
    using A = compute<T>;
    for (int64 at = first_index(); at < size; at += grid_stride()) {
        int64 rest = quotient(at, channels), c = at - rest * channels;
        int64 next = quotient(rest, wide), column = rest - next * wide;
        int64 n = quotient(next, high), row = next - n * high;
        A own = A(x[at]), sum = 0;
        for (int64 a = kh - 1; a >= 0; a--) {
            int64 down = row + top - a * dh, i = down < 0 ? -1 : quotient(down, sh);
            if (i < 0 || i >= oh || i * sh != down) continue;
            for (int64 b = kw - 1; b >= 0; b--) {
                int64 along = column + left - b * dw, j = along < 0 ? -1 : quotient(along, sw);
                if (j < 0 || j >= ow || j * sw != along) continue;
                int64 window = ((n * oh + i) * ow + j) * channels + c;
                if (own == own && !same(own, A(y[window]))) continue;
                bool first = true;
                for (int64 k = 0; first && k < a * kw + b; k++) {
                    int64 r = row + (k / kw - a) * dh, s = column + (k % kw - b) * dw;
                    if (r < 0 || s < 0 || s >= wide) continue;  // not below this one
                    A other = A(x[((n * high + r) * wide + s) * channels + c]);
                    first = !(same(other, A(y[window])) || other != other);
                }
                if (first) sum += A(g[window]);
            }
        }
        out[at] = T(sum);
    }
}
