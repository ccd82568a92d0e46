// relu(z + bias) in place, and its gradients. The bias gradient is summed in two stages, each in a
// fixed order, so equal inputs give equal bits.
#include "common.cuh"

template <typename T>
__device__ void forward(T* z, const T* bias, int64 size, int64 columns) {
    for (int64 i = first_index(); i < size; i += grid_stride()) {
        T t = z[i] + bias[i % columns];
        z[i] = t <= T(0) ? T(0) : t;  // NaN is not <= 0 and stays
    }
}

// Block (32, 8): each warp walks down 32 columns of a chunk of rows; the 8 partial sums of a column
// meet in shared memory.
template <typename T>
__device__ void backward(const T* g, const T* out, T* masked, T* parts, int64 rows, int64 columns,
                         int64 chunk) {
    __shared__ T sums[8][33];
    int64 column = (int64)blockIdx.x * 32 + threadIdx.x;
    int64 first = blockIdx.y * chunk;
    int64 last = first + chunk < rows ? first + chunk : rows;
    T sum = T(0);
    if (column < columns) {
        for (int64 row = first + threadIdx.y; row < last; row += 8) {
            int64 i = row * columns + column;
            T t = out[i] <= T(0) ? T(0) : g[i];
            masked[i] = t;
            sum += t;
        }
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
        for (int k = 1; k < 8; k++) sum += sums[k][threadIdx.x];
        parts[blockIdx.y * columns + column] = sum;
    }
}

template <typename T>
__device__ void sum_parts(const T* parts, T* bias_grad, int64 chunks, int64 columns) {
    for (int64 column = first_index(); column < columns; column += grid_stride()) {
        T sum = T(0);
        for (int64 k = 0; k < chunks; k++) sum += parts[k * columns + column];
        bias_grad[column] = sum;
    }
}

#define ENTRY_POINTS(T, NAME)                                                                  \
    extern "C" __global__ void bias_relu_forward_##NAME(T* z, const T* bias, int64 size,       \
                                                        int64 columns) {                       \
        forward(z, bias, size, columns);                                                       \
    }                                                                                          \
    extern "C" __global__ void bias_relu_backward_##NAME(const T* g, const T* out, T* masked,  \
                                                         T* parts, int64 rows, int64 columns,  \
                                                         int64 chunk) {                        \
        backward(g, out, masked, parts, rows, columns, chunk);                                 \
    }                                                                                          \
    extern "C" __global__ void bias_relu_sum_##NAME(const T* parts, T* bias_grad, int64 chunks, \
                                                    int64 columns) {                           \
        sum_parts(parts, bias_grad, chunks, columns);                                          \
    }

ENTRY_POINTS(float, f32)
ENTRY_POINTS(double, f64)
