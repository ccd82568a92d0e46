"""Differentiable arrays over CuPy and NumPy, with fused kernels and training on the device."""

import signal as _signal
import sys as _sys
import types as _types
import typing as _typing
from os import path as _path

# Ctrl-C ends the command without a traceback while it imports, too; then its `entry` takes over.
_name = _path.basename(_sys.orig_argv[1] if _sys.orig_argv[1:] else "")
_is_command = _name in ("gputensor", "gputensor.exe") or _sys.orig_argv[1:3] == ["-m", "gputensor"]
if _is_command and _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

# In a checkout kernels/ and benchmarks/ are beside the package; once installed, they are inside it.
__path__ = [
    *__path__,
    *(_path.dirname(p) for p in __path__ if not _path.exists(_path.join(p, "kernels"))),
]

# The public names, one for whoever runs this and for type checkers.
from gputensor import checkpoints as checkpoints
from gputensor import distributed as distributed
from gputensor import errors as errors
from gputensor import interop as _interop
from gputensor import kernels as kernels
from gputensor import nn as nn
from gputensor import optim as optim
from gputensor import optimize as optimize
from gputensor import plot as plot
from gputensor import random as random
from gputensor import special as special
from gputensor import words as _words
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
from gputensor.ops.choices import *  # noqa: F403
from gputensor.ops.constants import *  # noqa: F403
from gputensor.ops.creation import *  # noqa: F403
from gputensor.ops.data_type import *  # noqa: F403
from gputensor.ops.elementwise import *  # noqa: F403
from gputensor.ops.indexing import *  # noqa: F403
from gputensor.ops.inspection import *  # noqa: F403
from gputensor.ops.manipulation import *  # noqa: F403
from gputensor.ops.nn import log_softmax as log_softmax
from gputensor.ops.nn import logsumexp as logsumexp
from gputensor.ops.nn import softmax as softmax
from gputensor.ops.numeric import *  # noqa: F403
from gputensor.ops.pieces import *  # noqa: F403
from gputensor.ops.precision import autocast as autocast
from gputensor.ops.products import *  # noqa: F403
from gputensor.ops.searching import *  # noqa: F403
from gputensor.ops.sets import *  # noqa: F403
from gputensor.ops.sorting import *  # noqa: F403
from gputensor.ops.special import *  # noqa: F403
from gputensor.ops.statistical import *  # noqa: F403
from gputensor.ops.utility import *  # noqa: F403
from gputensor.random import manual_seed as manual_seed
from gputensor.serialization import load as load
from gputensor.serialization import save as save
from gputensor.transforms import grad as grad
from gputensor.transforms import gradcheck as gradcheck
from gputensor.transforms import gradgradcheck as gradgradcheck
from gputensor.transforms import hessian as hessian
from gputensor.transforms import hvp as hvp
from gputensor.transforms import jacobian as jacobian
from gputensor.transforms import jvp as jvp
from gputensor.transforms import value_and_grad as value_and_grad
from gputensor.transforms import vjp as vjp

__version__ = "0.1.0"

if not _typing.TYPE_CHECKING:  # where any name would be taken for one
    _rooms = (
        checkpoints,
        distributed,
        errors,
        fft,
        kernels,
        linalg,
        nn,
        optim,
        optimize,
        plot,
        random,
        special,
    )
    __all__ = [
        name
        for name, value in globals().copy().items()
        if (value in _rooms if isinstance(value, _types.ModuleType) else name[0] != "_")
    ]
    __all__ += ["__array_api_version__", "__array_namespace_info__"]  # noqa: F405

    __getattr__ = _words.unknown("gputensor", {k: f"gt.{v}" for k, v in _interop.NAMES.items()})
