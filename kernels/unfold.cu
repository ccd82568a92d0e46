// Windows of images as rows, and their sum back into images. Channels come last.
#include "common.cuh"

// out[n, i, j, (a, b), c] = x[n, i * sh - top + a * dh, j * sw - left + b * dw, c], or 0 outside.
template <typename T>
__global__ void unfold(const T* x, T* out, int64 size, int64 channels, int64 high, int64 wide,
                       int64 oh, int64 ow, int64 kh, int64 kw, int64 sh, int64 sw, int64 dh,
                       int64 dw, int64 top, int64 left) {
    bool packs = aligned(x) && aligned(out) && channels % (16 / (int64)sizeof(T)) == 0;
    elementwise<T>(size, packs, [&](auto width, int64 at) {
        constexpr int N = decltype(width)::value;
        int64 rest = quotient(at, channels), c = at - rest * channels;
        int64 next = quotient(rest, kw), b = rest - next * kw;
        rest = quotient(next, kh);
        int64 a = next - rest * kh;
        next = quotient(rest, ow);
        int64 j = rest - next * ow;
        int64 n = quotient(next, oh), i = next - n * oh;
        int64 row = i * sh - top + a * dh, column = j * sw - left + b * dw;
        Pack<N, T> values;
        if (row >= 0 && row < high && column >= 0 && column < wide) {
            values = load<N>(x + ((n * high + row) * wide + column) * channels + c);
        } else {
            for (int k = 0; k < N; k++) values.at[k] = T(compute<T>(0));
        }
        store(out + at, values);
    });
}

// The sum over all windows and places that lie on a pixel, in their order.
template <typename T>
__global__ void fold(const T* g, T* out, int64 size, int64 channels, int64 high, int64 wide,
                     int64 oh, int64 ow, int64 kh, int64 kw, int64 sh, int64 sw, int64 dh, int64 dw,
                     int64 top, int64 left) {
    using A = compute<T>;
    bool packs = aligned(g) && aligned(out) && channels % (16 / (int64)sizeof(T)) == 0;
    elementwise<T>(size, packs, [&](auto width, int64 at) {
        constexpr int N = decltype(width)::value;
        int64 rest = quotient(at, channels), c = at - rest * channels;
        int64 next = quotient(rest, wide), column = rest - next * wide + left;
        int64 n = quotient(next, high), row = next - n * high + top;
        A sum[N] = {};
        for (int64 a = kh - 1; a >= 0; a--) {
            int64 y = row - a * dh, i = y < 0 ? -1 : quotient(y, sh);
            if (i < 0 || i >= oh || i * sh != y) continue;
            for (int64 b = kw - 1; b >= 0; b--) {
                int64 z = column - b * dw, j = z < 0 ? -1 : quotient(z, sw);
                if (j < 0 || j >= ow || j * sw != z) continue;
                auto part = load<N>(g + ((((n * oh + i) * ow + j) * kh + a) * kw + b) * channels + c);
                for (int k = 0; k < N; k++) sum[k] += A(part.at[k]);
            }
        }
        Pack<N, T> values;
        for (int k = 0; k < N; k++) values.at[k] = T(sum[k]);
        store(out + at, values);
    });
}
