"""Fused kernels. Each is a pair of files of one name.

``NAME.py`` declares a kernel by :func:`gputensor.kernel`: the reference, which is the mathematics
in plain array calls, the Numba loop for the CPU, and the launch of the CUDA C++ in ``NAME.cu``.
Kernels work on raw arrays by ``raw``; called, they are differentiable operations on tensors.
"""

from gputensor.kernels.adam import adam_step
from gputensor.kernels.bias_activation import bias_activation, bias_activation_backward
from gputensor.kernels.checking import check
from gputensor.kernels.declare import Kernel, kernel
from gputensor.kernels.embedding import embedding, embedding_backward
from gputensor.kernels.gather_scale import gather_scale
from gputensor.kernels.gelu import gelu, gelu_backward
from gputensor.kernels.grad_norm import clip_norm, squared_norm
from gputensor.kernels.layer_norm import row_layer_norm, row_norm_backward, row_rms_norm
from gputensor.kernels.loss_scale import unscale, update_scale
from gputensor.kernels.max_pool import max_pool, max_pool_backward
from gputensor.kernels.moments import row_moments
from gputensor.kernels.next_batch import next_batch
from gputensor.kernels.philox import dropout, random_bits, random_normal, random_uniform
from gputensor.kernels.runtime import Loop, split
from gputensor.kernels.sgd import sgd_step
from gputensor.kernels.softmax import row_softmax, row_softmax_backward
from gputensor.kernels.softmax_cross_entropy import softmax_cross_entropy
from gputensor.kernels.source import CudaSource, c_type
from gputensor.kernels.unfold import fold, unfold

__all__ = [
    "CudaSource",
    "Kernel",
    "Loop",
    "adam_step",
    "bias_activation",
    "bias_activation_backward",
    "c_type",
    "check",
    "clip_norm",
    "dropout",
    "embedding",
    "embedding_backward",
    "fold",
    "gather_scale",
    "gelu",
    "gelu_backward",
    "kernel",
    "max_pool",
    "max_pool_backward",
    "next_batch",
    "random_bits",
    "random_normal",
    "random_uniform",
    "row_layer_norm",
    "row_moments",
    "row_norm_backward",
    "row_rms_norm",
    "row_softmax",
    "row_softmax_backward",
    "sgd_step",
    "softmax_cross_entropy",
    "split",
    "squared_norm",
    "unfold",
    "unscale",
    "update_scale",
]
