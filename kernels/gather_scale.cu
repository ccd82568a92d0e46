// out[i] = data[index[i]] * scale + offset, row by row, with conversion.
#include "common.cuh"

template <typename In, typename Out>
__device__ void gather_scale(const In* data, const int64* index, Out* out, int64 size,
                             int64 columns, Out scale, Out offset) {
    for (int64 i = first_index(); i < size; i += grid_stride()) {
        int64 row = i / columns;
        out[i] = Out(data[index[row] * columns + (i - row * columns)]) * scale + offset;
    }
}

#define ENTRY_POINT(In, IN, Out, OUT)                                                           \
    extern "C" __global__ void gather_scale_##IN##_##OUT(const In* data, const int64* index,    \
                                                         Out* out, int64 size, int64 columns,   \
                                                         Out scale, Out offset) {               \
        gather_scale(data, index, out, size, columns, scale, offset);                           \
    }

ENTRY_POINT(unsigned char, u8, float, f32)
ENTRY_POINT(unsigned char, u8, double, f64)
ENTRY_POINT(float, f32, float, f32)
ENTRY_POINT(double, f64, double, f64)
