// Mean and sum of squared deviations of rows, or of chunks of rows, in one pass over the data.
#include "rows.cuh"

template <typename T, int N, int GROUP>
__global__ void __launch_bounds__(block_threads<GROUP>, 1)
    row_moments(const T* x, compute<T>* means, compute<T>* squares, int64 rows, int64 columns,
                int64 chunk) {
    using A = compute<T>;
    int64 row = group_row<GROUP>();
    if (row >= rows) return;
    int64 first = blockIdx.y * chunk;
    int64 count = first + chunk < columns ? chunk : columns - first;
    const T* values = x + row * columns + first;
    A pivot = values[0];
    if (pivot - pivot != A(0)) pivot = 0;
    Moments<A> found;
    for_packs<N, GROUP, 0>(count, [&](int64 j, int) { found.add(load<N>(values + j), pivot); });
    found.template combine<GROUP>();
    if (group_rank<GROUP>() == 0) {
        means[row * gridDim.y + blockIdx.y] = found.mean + pivot;
        squares[row * gridDim.y + blockIdx.y] = found.square;
    }
}
