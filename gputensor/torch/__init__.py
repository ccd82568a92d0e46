"""PyTorch's names and meanings over gputensor's tensors: ``import gputensor.torch as torch``.

A door beside the main namespace, which follows the Python Array API standard: here it is
``zeros(2, 3)``, ``dim=``, ``x.size()``, ``max(x, 1)`` as a pair, as in PyTorch. Memory, tape,
modules and optimizers are the same. docs/torch.md lists what differs from PyTorch.
"""

import sys
from math import e as e
from math import inf as inf
from math import nan as nan
from math import pi as pi
from typing import Any

from gputensor import config
from gputensor.autograd import Tensor as _Engine
from gputensor.autograd import enable_grad as enable_grad
from gputensor.autograd import no_grad
from gputensor.autograd.modes import GradMode
from gputensor.autograd.modes import state as _mode
from gputensor.torch import autograd as autograd
from gputensor.torch import (
    creation,
    display,
    dtypes,
    elementwise,
    inplace,
    places,
    products,
    reductions,
    shaping,
)
from gputensor.torch.tensor import Size as Size
from gputensor.torch.tensor import Tensor as Tensor
from gputensor.torch.tensor import attach, legacy_types, ours
from gputensor.torch.tensor import device as device
from gputensor.torch.tensor import get_default_device as get_default_device
from gputensor.torch.tensor import set_default_device as set_default_device

_METHODS: dict[str, Any] = {
    **creation.METHODS,
    **elementwise.METHODS,
    **products.METHODS,
    **reductions.METHODS,
    **shaping.METHODS,
    "where": lambda self, condition, other: elementwise.where(condition, self, other),
}
_OWN = ("float", "double", "half", "int", "long", "short", "bool")
attach(
    {
        **_METHODS,
        **inplace.written(_METHODS),
        **elementwise.OPERATORS,
        "__matmul__": products.operator,
        "__rmatmul__": lambda self, other: products.matmul(ours(other), self),
        "__setitem__": inplace.setting,
        **{
            symbol: inplace.augmented(symbol)
            for symbol in ("__iadd__", "__isub__", "__imul__", "__itruediv__")
        },
        "__getitem__": lambda self, key: ours(_Engine.__getitem__(self, key)),
        **{name: (lambda d: lambda self: self.to(d))(getattr(dtypes, name)) for name in _OWN},
        "byte": lambda self: self.to(dtypes.uint8),
        "char": lambda self: self.to(dtypes.int8),
        "bfloat16": lambda self: self.to(dtypes.bfloat16),
    }
)

_FUNCTIONS: dict[str, Any] = {
    **{name: f for name, f in _METHODS.items() if not name.startswith("new_")},
    **shaping.FUNCTIONS,
    **products.FUNCTIONS,
    **creation.FUNCTIONS,
    **legacy_types(),
    "where": elementwise.where,
    "var_mean": reductions.var_mean,
    "std_mean": reductions.std_mean,
}
for _name in ("view", "view_as", "expand", "expand_as", "reshape_as", "repeat"):
    del _FUNCTIONS[_name]  # methods only
globals().update(_FUNCTIONS)
for _name in dtypes.__all__:
    if _name not in ("bfloat16",):
        globals()[_name] = getattr(dtypes, _name)

cuda, backends, amp, mps, accelerator = (
    places.cuda,
    places.backends,
    places.amp,
    places.mps,
    places.accelerator,
)
xpu, autocast, jit = places.xpu, places.autocast, places.jit
linalg = products.linalg
set_printoptions = display.set_printoptions
__version__ = "2.13.0+gputensor"


def is_tensor(obj: Any) -> Any:
    """Whether an object is a tensor.

    Examples
    --------
    >>> torch.is_tensor(torch.ones(1)), torch.is_tensor(1.0)
    (True, False)
    """
    return isinstance(obj, _Engine)


def numel(input: Any) -> Any:
    """Number of elements.

    Examples
    --------
    >>> torch.numel(torch.ones(2, 3))
    6
    """
    return input.array.size


def clone(input: Any) -> Any:
    """A copy, on the tape.

    Examples
    --------
    >>> x = torch.ones(2)
    >>> y = torch.clone(x)
    >>> _ = y.zero_()
    >>> x
    tensor([1., 1.])
    """
    return input.clone()


def detach(input: Any) -> Any:
    """Same elements in the same memory, off the tape.

    Examples
    --------
    >>> torch.detach(torch.ones(2, requires_grad=True)).requires_grad
    False
    """
    return input.detach()


def is_grad_enabled() -> Any:
    """Whether operations are put on the tape in this thread.

    Examples
    --------
    >>> with torch.no_grad():
    ...     print(torch.is_grad_enabled())
    False
    """
    return _mode.enabled


class set_grad_enabled(GradMode):
    """Record operations, or not, from here on; as a context manager, inside.

    Examples
    --------
    >>> with torch.set_grad_enabled(False):
    ...     y = torch.ones(2, requires_grad=True) * 2
    >>> y.requires_grad
    False
    """

    def __init__(self, mode: Any) -> None:
        super().__init__("set_grad_enabled", mode)
        self._found = _mode.enabled
        _mode.enabled = mode

    def __enter__(self) -> Any:
        _mode.enabled = self._found
        return super().__enter__()


inference_mode = no_grad


def compile(model: Any = None, **options: Any) -> Any:
    """The function or module itself: there is nothing to compile before it runs.

    ``gt.capture`` records a training step as one program.

    Examples
    --------
    >>> model = torch.compile(torch.nn.Linear(2, 1))
    >>> model(torch.ones(3, 2)).shape
    torch.Size([3, 1])
    """
    return (lambda f: f) if model is None else model


def set_num_threads(n: Any) -> None:
    """Nothing: ``GPUTENSOR_THREADS`` sets the threads of kernels.

    Examples
    --------
    >>> torch.set_num_threads(4)
    """


def get_num_threads() -> Any:
    """CPU threads of one kernel.

    Examples
    --------
    >>> torch.get_num_threads() >= 1
    True
    """
    return config.cpu_threads()


def use_deterministic_algorithms(mode: Any, *, warn_only: Any = False) -> None:
    """Results that are the same bits each time; they mostly are, anyway.

    Examples
    --------
    >>> torch.use_deterministic_algorithms(True)
    >>> torch.use_deterministic_algorithms(False)
    """
    config.use_deterministic(mode)


def manual_seed_all(seed: Any) -> None:
    """See :func:`manual_seed`.

    Examples
    --------
    >>> torch.cuda.manual_seed_all(0)
    Generator(seed=0, counter=0)
    """
    creation.manual_seed(seed)


Generator = creation.Generator
from gputensor.torch import distributions as distributions  # noqa: E402
from gputensor.torch import nn as nn  # noqa: E402  (these use the above)
from gputensor.torch import optim as optim  # noqa: E402
from gputensor.torch import utils as utils  # noqa: E402
from gputensor.torch.paths import lead  # noqa: E402
from gputensor.torch.serialization import load as load  # noqa: E402
from gputensor.torch.serialization import save as save  # noqa: E402

# Files of PyTorch's that scripts import layers from.
_LAYER_FILES = (
    *("activation", "batchnorm", "container", "conv", "dropout", "linear", "loss", "module"),
    *("normalization", "padding", "pooling", "rnn", "sparse", "transformer", "upsampling"),
)
lead(
    __name__,
    {
        "cuda": cuda,
        "cuda.amp": cuda.amp,
        **{name: globals()[name] for name in ("amp", "backends", "jit", "mps", "linalg")},
        "backends.cudnn": backends.cudnn,
        "random": creation,
        **dict.fromkeys(("autograd.function", "autograd.variable"), autograd),
        **dict.fromkeys(("nn.modules", "nn.parameter", "nn.parallel"), nn),
        **{f"nn.modules.{name}": nn for name in _LAYER_FILES},
        "nn.utils.clip_grad": nn.utils,
        **{f"optim.{name.lower()}": optim for name in ("Optimizer", "SGD", "Adam", "AdamW")},
        **{f"utils.data.{name}": utils.data for name in ("dataset", "dataloader", "sampler")},
    },
)


def __getattr__(name: str) -> Any:
    if name == "bfloat16":
        return dtypes.bfloat16
    raise AttributeError(
        f"module 'gputensor.torch' has no attribute {name!r}; docs/torch.md lists what is there",
        name=name,
        obj=sys.modules[__name__],
    )
