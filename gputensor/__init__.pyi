# ruff: noqa: F403
# The public names, for type checkers: mypy does not follow the lists of names in __init__.py.
from gputensor import errors as errors
from gputensor import kernels as kernels
from gputensor import nn as nn
from gputensor import optim as optim
from gputensor import optimize as optimize
from gputensor import plot as plot
from gputensor import random as random
from gputensor import special as special
from gputensor.autograd import Tensor as Tensor
from gputensor.autograd import detect_anomaly as detect_anomaly
from gputensor.autograd import enable_grad as enable_grad
from gputensor.autograd import no_grad as no_grad
from gputensor.backend import Device as Device
from gputensor.backend import cuda_status as cuda_status
from gputensor.backend import device as device
from gputensor.backend import synchronize as synchronize
from gputensor.config import matmul_precision as matmul_precision
from gputensor.config import set_default_dtype as set_default_dtype
from gputensor.config import sync_debug as sync_debug
from gputensor.config import use_deterministic as use_deterministic
from gputensor.function import checkpoint as checkpoint
from gputensor.function import custom_vjp as custom_vjp
from gputensor.graph.capture import capture as capture
from gputensor.graph.explain import explain as explain
from gputensor.kernels import kernel as kernel
from gputensor.memory import memory_summary as memory_summary
from gputensor.ops import fft as fft
from gputensor.ops import linalg as linalg
from gputensor.ops.choices import *
from gputensor.ops.constants import *
from gputensor.ops.creation import *
from gputensor.ops.data_type import *
from gputensor.ops.elementwise import *
from gputensor.ops.indexing import *
from gputensor.ops.inspection import *
from gputensor.ops.manipulation import *
from gputensor.ops.nn import log_softmax as log_softmax
from gputensor.ops.nn import logsumexp as logsumexp
from gputensor.ops.nn import softmax as softmax
from gputensor.ops.numeric import *
from gputensor.ops.pieces import *
from gputensor.ops.precision import autocast as autocast
from gputensor.ops.products import *
from gputensor.ops.searching import *
from gputensor.ops.sets import *
from gputensor.ops.sorting import *
from gputensor.ops.special import *
from gputensor.ops.statistical import *
from gputensor.ops.utility import *
from gputensor.random import manual_seed as manual_seed
from gputensor.transforms import grad as grad
from gputensor.transforms import gradcheck as gradcheck
from gputensor.transforms import gradgradcheck as gradgradcheck
from gputensor.transforms import hessian as hessian
from gputensor.transforms import hvp as hvp
from gputensor.transforms import jacobian as jacobian
from gputensor.transforms import jvp as jvp
from gputensor.transforms import value_and_grad as value_and_grad
from gputensor.transforms import vjp as vjp

__version__: str
