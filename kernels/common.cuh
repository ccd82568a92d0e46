// Shared by the kernels: number types, 16-byte accesses, reductions in a fixed order.
#pragma once

typedef long long int64;
typedef unsigned int uint32;
typedef unsigned long long uint64;

constexpr unsigned ALL_LANES = 0xffffffffu;

// ---------------------------------------------------------------- number types

// 16-bit numbers are storage: they turn into float, are computed with as float, and are rounded
// to the nearest, ties to even, when stored. Own types, as NVRTC does not always find cuda_fp16.h;
// CUDA_HOST is the host compiler of the tests.
struct f16 {
    unsigned short bits;
    f16() = default;
    __device__ __forceinline__ f16(float x) {
#ifdef CUDA_HOST
        bits = __builtin_bit_cast(unsigned short, (_Float16)x);
#else
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
#endif
    }
    __device__ __forceinline__ operator float() const {
#ifdef CUDA_HOST
        return (float)__builtin_bit_cast(_Float16, bits);
#else
        float x;
        asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
        return x;
#endif
    }
};

// The upper half of a float.
struct bf16 {
    unsigned short bits;
    bf16() = default;
    __device__ __forceinline__ bf16(float x) {
        uint32 b = __float_as_uint(x);
        // A carry out of the low half must not turn a NaN into an infinity.
        bits = x != x ? (b >> 16) | 0x40u : (b + 0x7fffu + (b >> 16 & 1u)) >> 16;
    }
    __device__ __forceinline__ operator float() const {
        return __uint_as_float((uint32)bits << 16);
    }
};

// What a type is computed with.
template <typename T>
struct Compute { using type = float; };
template <>
struct Compute<double> { using type = double; };
template <typename T>
using compute = typename Compute<T>::type;

template <typename A>
__device__ __forceinline__ A infinity() { return __int_as_float(0x7f800000); }
template <>
__device__ __forceinline__ double infinity<double>() {
    return __longlong_as_double(0x7ff0000000000000LL);
}

// ---------------------------------------------------------------- indices and 16-byte accesses

__device__ __forceinline__ int64 first_index() {
    return (int64)blockIdx.x * blockDim.x + threadIdx.x;
}

__device__ __forceinline__ int64 grid_stride() { return (int64)gridDim.x * blockDim.x; }

// N neighbours that are read or written at once, N a power of two.
template <int N, typename T>
struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Pack {
    T at[N];
};

template <int N, typename T>
__device__ __forceinline__ Pack<N, T> load(const T* p) {
    return *(const Pack<N, T>*)p;
}

template <int N, typename T>
__device__ __forceinline__ void store(T* p, const Pack<N, T>& values) {
    *(Pack<N, T>*)p = values;
}

// i / n for i, n >= 0, quicker where both fit in 32 bits.
__device__ __forceinline__ int64 quotient(int64 i, int64 n) {
    return (uint64)(i | n) >> 32 ? i / n : (int64)((uint32)i / (uint32)n);
}

template <int N>
struct Width { static constexpr int value = N; };

// Whether x <= 0. CuPy compiles with -ftz=true behind all other options: for a comparison a float
// above 0 but below the normal numbers is 0, too.
__device__ __forceinline__ bool not_positive(float x) {
    unsigned bits = __float_as_uint(x);
    return bits == 0 || (bits >> 31 && bits <= 0xff800000u);
}
__device__ __forceinline__ bool not_positive(double x) { return x <= 0.0; }

// x * y, rounded: the compiler makes no part of a sum of it.
__device__ __forceinline__ float product(float x, float y) { return __fmul_rn(x, y); }
__device__ __forceinline__ double product(double x, double y) { return __dmul_rn(x, y); }

__device__ __forceinline__ bool aligned(const void* p) { return ((uint64)p & 15) == 0; }

// Calls body(width, i) for all i of 0..size-1, in packs of 16 bytes of T from i on where `packs`
// says that pointers and shape allow it, and one by one in the rest.
template <typename T, typename Body>
__device__ __forceinline__ void elementwise(int64 size, bool packs, Body body) {
    constexpr int N = 16 / sizeof(T);
    int64 done = 0;
    if (packs) {
        done = size / N * N;
        for (int64 i = first_index() * N; i < done; i += grid_stride() * N) body(Width<N>(), i);
    }
    for (int64 i = done + first_index(); i < size; i += grid_stride()) body(Width<1>(), i);
}

// ---------------------------------------------------------------- reductions

template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
    for (int offset = 16; offset > 0; offset /= 2)
        value += __shfl_xor_sync(ALL_LANES, value, offset);
    return value;
}

// True in the block that is the last of `blocks` to arrive; what they wrote is visible to it.
// `ticket` must be 0 before the launch and is 0 again after it.
__device__ __forceinline__ bool last_of(uint32* ticket, uint32 blocks) {
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x + threadIdx.y == 0) {
        last = atomicAdd(ticket, 1u) == blocks - 1;
        if (last) *ticket = 0;
    }
    __syncthreads();
    return last;
}

// The same for all blocks of the grid.
__device__ __forceinline__ bool last_block(uint32* ticket) {
    return last_of(ticket, gridDim.x * gridDim.y);
}

// ---------------------------------------------------------------- bad values, for the host

// `flag` is {place, value, limit, filled}, see flags.py. Any thread may note the place of a bad value;
// the first place stays, as -1, for none, is the largest as an unsigned number.
__device__ __forceinline__ void note_bad(int64* flag, int64 place) {
    if (!flag[3]) atomicMin((uint64*)flag, (uint64)place);
}

// For one thread of the last block.
__device__ __forceinline__ void fill_flag(int64* flag, const int64* values, int64 limit) {
    int64 place = ((volatile int64*)flag)[0];
    if (place >= 0 && !flag[3]) {
        flag[1] = values[place];
        flag[2] = limit;
        flag[3] = 1;
    }
}
