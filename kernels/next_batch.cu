// The next training batch: rows of data, converted and scaled, and their labels. `order` says which,
// `at` where in it; the last block moves that on, when all have read it.
#include "common.cuh"

template <typename In, typename Out, typename Y>
__global__ void next_batch(const In* data, const Y* labels, const int64* order, int64* at,
                           uint32* ticket, Out* x, Y* y, int64 rows, int64 columns,
                           int64 label_columns, double scale, double offset) {
    using A = compute<Out>;
    A factor = A(scale), shift = A(offset);
    const int64 start = *at;
    const int64* index = order + start;
    // A pack of results stays within a row and is read from aligned places.
    bool packs = aligned(x) && aligned(data) && columns % (16 / (int64)sizeof(Out)) == 0;
    elementwise<Out>(rows * columns, packs, [&](auto width, int64 i) {
        constexpr int N = decltype(width)::value;
        int64 row = quotient(i, columns);
        auto source = load<N>(data + index[row] * columns + (i - row * columns));
        Pack<N, Out> result;
        for (int k = 0; k < N; k++) result.at[k] = Out(A(source.at[k]) * factor + shift);
        store(x + i, result);
    });
    for (int64 i = first_index(); i < rows * label_columns; i += grid_stride()) {
        int64 row = quotient(i, label_columns);
        y[i] = labels[index[row] * label_columns + (i - row * label_columns)];
    }
    if (last_block(ticket) && threadIdx.x == 0) *at = start + rows;
}
