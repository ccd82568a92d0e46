"""A CUDA kernel of one's own, with its gradient and its checks: SwiGLU, ``silu(a) * b``."""

import numpy as np

import gputensor as gt
from gputensor.backend import namespace
from gputensor.kernels import CudaSource, c_type

SOURCE = CudaSource(r"""
#include "common.cuh"

template <typename T>
__global__ void swiglu(const T* a, const T* b, T* out, long long size) {
    for (int64 i = first_index(); i < size; i += grid_stride())
        out[i] = a[i] / (1 + exp(-a[i])) * b[i];
}

template <typename T>
__global__ void swiglu_backward(const T* g, const T* a, const T* b, T* da, T* db, long long size) {
    for (int64 i = first_index(); i < size; i += grid_stride()) {
        T s = 1 / (1 + exp(-a[i]));
        da[i] = g[i] * b[i] * s * (1 + a[i] * (1 - s));
        db[i] = g[i] * a[i] * s;
    }
}
""")


def launch_backward(source, g, a, b):
    da, db = namespace(a).empty_like(a), namespace(b).empty_like(b)
    source.launch(f"swiglu_backward<{c_type(a.dtype)}>", (g, a, b, da, db, a.size), elements=a.size)
    return da, db


@gt.kernel(source=SOURCE, cuda=launch_backward)
def swiglu_backward(xp, g, a, b):
    s = 1 / (1 + xp.exp(-a))
    return g * b * s * (1 + a * (1 - s)), g * a * s


def launch(source, a, b):
    out = namespace(a).empty_like(a)
    source.launch(f"swiglu<{c_type(a.dtype)}>", (a, b, out, a.size), elements=a.size)
    return out


@gt.kernel(source=SOURCE, cuda=launch, vjp=lambda xp, g, out, a, b: swiglu_backward.raw(g, a, b))
def swiglu(xp, a, b):
    return a / (1 + xp.exp(-a)) * b


if __name__ == "__main__":
    g, a, b = np.random.default_rng(0).normal(size=(3, 10, 30))
    leaves = [gt.tensor(x, requires_grad=True, dtype=gt.float64) for x in (a, b)]
    for kernel, arrays in ((swiglu, (a, b)), (swiglu_backward, (g, a, b))):
        print(gt.kernels.check(kernel, *arrays))  # each way that this machine has
    swiglu(*leaves).sum().backward()
    print(f"gradient on {leaves[0].device}: {leaves[0].grad[0, :3]}")
