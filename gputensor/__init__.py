"""Differentiable arrays over CuPy and NumPy, with fused kernels and training on the device."""

from gputensor import errors
from gputensor.autograd import Tensor, no_grad
from gputensor.backend import Device, cuda_status, device, synchronize
from gputensor.ops import *  # noqa: F403
