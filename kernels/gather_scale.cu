// out[i] = data[index[i]] * scale + offset, row by row, with conversion.
#include "common.cuh"

template <typename In, typename Out>
__global__ void gather_scale(const In* data, const int64* index, Out* out, int64 size,
                             int64 columns, double scale, double offset) {
    using A = compute<Out>;
    A factor = A(scale), shift = A(offset);
    // A pack of results stays within a row and is read from aligned places.
    bool packs = aligned(out) && aligned(data) && columns % (16 / (int64)sizeof(Out)) == 0;
    elementwise<Out>(size, packs, [&](auto width, int64 i) {
        constexpr int N = decltype(width)::value;
        int64 row = quotient(i, columns);
        auto source = load<N>(data + index[row] * columns + (i - row * columns));
        Pack<N, Out> result;
        for (int k = 0; k < N; k++) result.at[k] = Out(A(source.at[k]) * factor + shift);
        store(out + i, result);
    });
}
