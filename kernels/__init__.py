"""Fused kernels. Each is a pair of files of one name.

``NAME.py`` holds the launch, the Numba loop for the CPU and the reference, which is the same
mathematics in plain array calls; ``NAME.cu`` holds the CUDA C++. A kernel works on raw NumPy or
CuPy arrays and knows nothing of tensors or gradients. What runs is decided by the array and the
setting ``GPUTENSOR_KERNELS``:

=============  =============================  ==========================
array          auto                           reference
=============  =============================  ==========================
NumPy          Numba loop (float32, float64)  NumPy calls
CuPy           CUDA C++ (float32, float64)    CuPy calls
other dtypes   reference                      reference
=============  =============================  ==========================
"""

from gputensor.kernels import (
    adam,
    bias_relu,
    gather_scale,
    philox,
    sgd,
    softmax_cross_entropy,
)

__all__ = ["adam", "bias_relu", "gather_scale", "philox", "sgd", "softmax_cross_entropy"]
