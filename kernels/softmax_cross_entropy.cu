// Softmax cross-entropy, a warp to a row: maximum, sum, loss, gradient and right answers in one
// launch. The last block to finish adds up the losses, in a fixed order, and notes the first bad
// label in `flag`: row (or -1), label, and whether these are filled in.
#include "common.cuh"

// Largest value of a row and its first place; any NaN makes the value NaN.
template <typename T>
__device__ void warp_max(T& value, int64& place) {
    for (int offset = 16; offset > 0; offset /= 2) {
        T other = __shfl_xor_sync(ALL_LANES, value, offset);
        int64 other_place = __shfl_xor_sync(ALL_LANES, place, offset);
        bool nan = value != value;
        bool other_nan = other != other;
        if (!nan && (other_nan || other > value || (other == value && other_place < place))) {
            value = other;
            place = other_place;
        }
    }
}

template <typename T>
__device__ void row_maximum(const T* x, int64 classes, int lane, T& top, int64& best) {
    best = lane < classes ? lane : 0;
    top = x[best];
    for (int64 j = lane + 32; j < classes; j += 32) {
        if (x[j] > top || x[j] != x[j]) {
            top = x[j];
            best = j;
        }
    }
    warp_max(top, best);
}

template <typename T>
__device__ void add_losses(const T* losses, int64 rows, double* total, uint32* ticket,
                           const int64* labels, int64* flag) {
    if (!last_block(ticket)) return;
    __shared__ double sums[32];
    double sum = 0;
    for (int64 i = threadIdx.x; i < rows; i += blockDim.x) sum += ((const volatile T*)losses)[i];
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        sum = 0;
        for (int k = 0; k < blockDim.x / 32; k++) sum += sums[k];
        *total = sum;
        int64 row = labels ? ((volatile int64*)flag)[0] : -1;
        if (row >= 0 && !flag[2]) {
            flag[1] = labels[row];
            flag[2] = 1;
        }
    }
}

// `labels` or `weights` is null.
template <typename T>
__device__ void cross_entropy(const T* logits, const int64* labels, const T* weights, int64 rows,
                              int64 classes, T smoothing, T* losses, T* grad, int64* correct,
                              double* total, uint32* ticket, int64* flag) {
    int lane = threadIdx.x % 32;
    int64 row = (int64)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (row < rows) {
        const T* x = logits + row * classes;
        T* d = grad + row * classes;
        T top;
        int64 best;
        row_maximum(x, classes, lane, top, best);
        T sum = T(0);
        for (int64 j = lane; j < classes; j += 32) sum += exp(x[j] - top);
        sum = warp_sum(sum);
        T log_sum = log(sum) + top;
        T keep = T(1) - smoothing;
        T share = smoothing / T(classes);
        T loss = T(0);
        T mass = T(0);
        int64 label = 0;
        bool bad = false;
        if (labels) {
            label = labels[row];
            bad = label < 0 || label >= classes;
            mass = bad ? T(nan("")) : T(1);
            if (smoothing > T(0))
                for (int64 j = lane; j < classes; j += 32) loss += share * (log_sum - x[j]);
            loss = warp_sum(loss) + keep * (log_sum - x[bad ? 0 : label]);
        } else {
            const T* q = weights + row * classes;
            T largest;
            row_maximum(q, classes, lane, largest, label);
            for (int64 j = lane; j < classes; j += 32) {
                T w = q[j] * keep + share;
                mass += w;
                if (w != T(0)) loss += w * (log_sum - x[j]);
            }
            loss = warp_sum(loss);
            mass = warp_sum(mass);
        }
        T scale = mass / sum;
        for (int64 j = lane; j < classes; j += 32) {
            T q = labels ? T(j == label) : weights[row * classes + j];
            d[j] = exp(x[j] - top) * scale - (q * keep + share);
        }
        if (lane == 0) {
            losses[row] = bad ? T(nan("")) : loss;
            if (best == label && log_sum == log_sum) atomicAdd((uint64*)correct, (uint64)1);
            // -1, for no row, is the largest as an unsigned number. A filled flag is kept.
            if (bad && !flag[2]) atomicMin((uint64*)flag, (uint64)row);
        }
    }
    add_losses(losses, rows, total, ticket, labels, flag);
}

#define ENTRY_POINTS(T, NAME)                                                                     \
    extern "C" __global__ void cross_entropy_labels_##NAME(                                       \
        const T* logits, const int64* labels, int64 rows, int64 classes, T smoothing, T* losses,  \
        T* grad, int64* correct, double* total, uint32* ticket, int64* flag) {                    \
        cross_entropy(logits, labels, (const T*)0, rows, classes, smoothing, losses, grad,        \
                      correct, total, ticket, flag);                                              \
    }                                                                                             \
    extern "C" __global__ void cross_entropy_rows_##NAME(                                         \
        const T* logits, const T* weights, int64 rows, int64 classes, T smoothing, T* losses,     \
        T* grad, int64* correct, double* total, uint32* ticket) {                                 \
        cross_entropy(logits, (const int64*)0, weights, rows, classes, smoothing, losses, grad,   \
                      correct, total, ticket, (int64*)0);                                         \
    }

ENTRY_POINTS(float, f32)
ENTRY_POINTS(double, f64)
