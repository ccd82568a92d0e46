// Adam and AdamW over a flat buffer, with the step counter on the device: one launch is one step.
#include "common.cuh"

template <typename T>
__device__ void adam(T* p, const T* g, T* m, T* v, int64* step, uint32* ticket, int64 size,
                     double lr, double beta1, double beta2, double eps, double weight_decay,
                     double small, int decoupled, int advance) {
    __shared__ T rates[2];
    if (threadIdx.x == 0) {
        double t = double(*step + 1);
        rates[0] = T(lr / (1 - pow(beta1, t)));
        rates[1] = T(1 / sqrt(1 - pow(beta2, t)));
    }
    __syncthreads();
    T rate = rates[0];
    T root = rates[1];
    T b1 = T(beta1), c1 = T(1 - beta1), b2 = T(beta2), c2 = T(1 - beta2), e = T(eps);
    T decay = T(decoupled ? 0 : weight_decay);
    T least = T(small);
    T shrink = T(decoupled ? 1 - lr * weight_decay : 1);
    for (int64 i = first_index(); i < size; i += grid_stride()) {
        T x = p[i];
        T d = g[i] + decay * x;
        T mean = b1 * m[i] + c1 * d;
        T square = b2 * v[i] + c2 * d * d;
        if (fabs(mean) < least) mean = 0;
        if (square < least) square = 0;
        m[i] = mean;
        v[i] = square;
        p[i] = x * shrink - rate * mean / (sqrt(square) * root + e);
    }
    // Every block has read the counter before the last one moves it.
    if (advance && last_block(ticket) && threadIdx.x == 0) *step += 1;
}

#define ENTRY_POINT(T, NAME)                                                                   \
    extern "C" __global__ void adam_##NAME(                                                    \
        T* p, const T* g, T* m, T* v, int64* step, uint32* ticket, int64 size, double lr,      \
        double beta1, double beta2, double eps, double weight_decay, double small,             \
        int decoupled, int advance) {                                                          \
        adam(p, g, m, v, step, ticket, size, lr, beta1, beta2, eps, weight_decay, small,       \
             decoupled, advance);                                                              \
    }

ENTRY_POINT(float, f32)
ENTRY_POINT(double, f64)
