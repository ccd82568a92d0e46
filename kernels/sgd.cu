// Stochastic gradient descent over a flat buffer, with (Nesterov) momentum and weight decay.
#include "common.cuh"

template <typename T>
__device__ void sgd(T* p, const T* g, T* velocity, int64 size, T lr, T momentum, T weight_decay,
                    T small, int nesterov) {
    for (int64 i = first_index(); i < size; i += grid_stride()) {
        T x = p[i];
        T d = g[i] + weight_decay * x;
        if (velocity) {
            T moved = momentum * velocity[i] + d;
            if (fabs(moved) < small) moved = 0;
            velocity[i] = moved;
            d = nesterov ? d + momentum * moved : moved;
        }
        p[i] = x - lr * d;
    }
}

#define ENTRY_POINTS(T, NAME)                                                                   \
    extern "C" __global__ void sgd_##NAME(T* p, const T* g, int64 size, T lr, T weight_decay) { \
        sgd(p, g, (T*)0, size, lr, T(0), weight_decay, T(0), 0);                                \
    }                                                                                           \
    extern "C" __global__ void sgd_momentum_##NAME(T* p, const T* g, T* velocity, int64 size,   \
                                                   T lr, T momentum, T weight_decay, T small,   \
                                                   int nesterov) {                              \
        sgd(p, g, velocity, size, lr, momentum, weight_decay, small, nesterov);                 \
    }

ENTRY_POINTS(float, f32)
ENTRY_POINTS(double, f64)
