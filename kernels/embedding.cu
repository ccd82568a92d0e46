// Rows of a table by number, and the sums of the gradients towards each row.
#include "common.cuh"

// out[place] = weight[index[place]]; NaN, and a note in `flag`, where there is no such row.
template <typename T>
__global__ void embedding(const T* weight, const int64* index, T* out, int64 size, int64 columns,
                          int64 rows, uint32* ticket, int64* flag) {
    bool packs = aligned(weight) && aligned(out) && columns % (16 / (int64)sizeof(T)) == 0;
    elementwise<T>(size, packs, [&](auto width, int64 i) {
        constexpr int N = decltype(width)::value;
        int64 place = quotient(i, columns), row = index[place];
        Pack<N, T> values;
        if (row >= 0 && row < rows) {
            values = load<N>(weight + row * columns + (i - place * columns));
        } else {
            for (int k = 0; k < N; k++) values.at[k] = T(compute<T>(nan("")));
            note_bad(flag, place);
        }
        store(out + i, values);
    });
    if (last_block(ticket) && threadIdx.x == 0) fill_flag(flag, index, rows);
}

// grad[row] = sum of g over the places of a row, from first to last. `sorted` is the index in
// ascending order and `order` the places it came from: the threads at the first place of a row add
// up all of them, a pack of N columns each. Rows without a place stay as they are.
template <typename T, int N>
__global__ void embedding_backward(const T* g, const int64* sorted, const int64* order, T* grad,
                                   int64 places, int64 columns, int64 rows) {
    using A = compute<T>;
    int64 first = (int64)blockIdx.x * blockDim.y + threadIdx.y;
    int64 column = ((int64)blockIdx.y * blockDim.x + threadIdx.x) * N;
    if (first >= places || column >= columns) return;
    int64 row = sorted[first];
    if (row < 0 || row >= rows || (first > 0 && sorted[first - 1] == row)) return;
    A sum[N] = {};
    for (int64 place = first; place < places && sorted[place] == row; place++) {
        auto d = load<N>(g + order[place] * columns + column);
        for (int n = 0; n < N; n++) sum[n] += A(d.at[n]);
    }
    Pack<N, T> result;
    for (int n = 0; n < N; n++) result.at[n] = T(sum[n]);
    store(grad + row * columns + column, result);
}
