"""Activation functions, and their modules."""

import math
from collections.abc import Callable
from typing import Any

from gputensor import ops
from gputensor import random as engine_random
from gputensor.nn import functional as engine
from gputensor.torch.elementwise import METHODS as ELEMENTWISE
from gputensor.torch.inplace import take_place
from gputensor.torch.nn.module import Module
from gputensor.torch.reductions import log_softmax, softmax
from gputensor.torch.tensor import Parameter, as_device, ours

__all__ = ["FUNCTIONS", "MODULES"]


def _replaced(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with the option ``inplace``."""

    def called(input: Any, *args: Any, inplace: bool = False, **options: Any) -> Any:
        made = ours(function(input, *args, **options))
        return take_place(name, input, made) if inplace else made

    called.__name__ = called.__qualname__ = name
    called.__doc__ = function.__doc__
    return called


def relu6(input: Any) -> Any:
    """``min(max(0, x), 6)``.

    Examples
    --------
    >>> torch.nn.functional.relu6(torch.tensor([-1.0, 3.0, 8.0]))
    tensor([0., 3., 6.])
    """
    return ops.clip(input, 0, 6)


def leaky_relu(input: Any, negative_slope: float = 0.01) -> Any:
    """`x` above 0, ``negative_slope * x`` below.

    Examples
    --------
    >>> torch.nn.functional.leaky_relu(torch.tensor([-1.0, 3.0]))
    tensor([-0.0100,  3.0000])
    """
    return engine.leaky_relu(input, negative_slope)


def elu(input: Any, alpha: float = 1.0) -> Any:
    """`x` above 0, ``alpha * (exp(x) - 1)`` below.

    Examples
    --------
    >>> torch.nn.functional.elu(torch.tensor([-1.0, 3.0]))
    tensor([-0.6321,  3.0000])
    """
    return engine.elu(input, alpha)


def selu(input: Any) -> Any:
    """Self-normalizing ELU (Klambauer et al. 2017).

    Examples
    --------
    >>> torch.nn.functional.selu(torch.tensor([-1.0, 3.0]))
    tensor([-1.1113,  3.1521])
    """
    return ops.multiply(engine.elu(input, 1.6732632423543772), 1.0507009873554805)


def celu(input: Any, alpha: float = 1.0) -> Any:
    """`x` above 0, ``alpha * (exp(x / alpha) - 1)`` below.

    Examples
    --------
    >>> torch.nn.functional.celu(torch.tensor([-1.0, 3.0]), alpha=0.5)
    tensor([-0.4323,  3.0000])
    """
    return ops.multiply(engine.elu(ops.divide(input, alpha)), alpha)


def gelu(input: Any, approximate: str = "none") -> Any:
    """``x * Phi(x)``; with ``approximate="tanh"`` by its formula with tanh.

    Examples
    --------
    >>> torch.nn.functional.gelu(torch.tensor([-1.0, 3.0]))
    tensor([-0.1587,  2.9960])
    """
    if approximate == "none":
        return ours(engine.gelu(input))
    if approximate != "tanh":
        raise ValueError(f"gelu: approximate is {approximate!r}; allowed are 'none' and 'tanh'")
    cube = ops.multiply(ops.pow(input, 3), 0.044715)
    inner = ops.multiply(ops.add(input, cube), math.sqrt(2 / math.pi))
    return ours(ops.multiply(ops.multiply(input, 0.5), ops.add(ops.tanh(inner), 1)))


def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """``log(1 + exp(beta * x)) / beta``; `x` itself where ``beta * x`` is above `threshold`.

    Examples
    --------
    >>> torch.nn.functional.softplus(torch.tensor([-1.0, 3.0]))
    tensor([0.3133, 3.0486])
    """
    if beta == 1:
        return ours(ops.softplus(input))
    return ours(ops.divide(ops.softplus(ops.multiply(input, beta)), beta))


def softsign(input: Any) -> Any:
    """``x / (1 + |x|)``.

    Examples
    --------
    >>> torch.nn.functional.softsign(torch.tensor([-1.0, 3.0]))
    tensor([-0.5000,  0.7500])
    """
    return ours(ops.divide(input, ops.add(ops.abs(input), 1)))


def tanhshrink(input: Any) -> Any:
    """``x - tanh(x)``.

    Examples
    --------
    >>> torch.nn.functional.tanhshrink(torch.tensor([-1.0, 3.0]))
    tensor([-0.2384,  2.0049])
    """
    return ours(ops.subtract(input, ops.tanh(input)))


def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """`x` between two bounds.

    Examples
    --------
    >>> torch.nn.functional.hardtanh(torch.tensor([-3.0, 0.5]))
    tensor([-1.0000,  0.5000])
    """
    return ops.clip(input, min_val, max_val)


def hardsigmoid(input: Any) -> Any:
    """``min(max(0, x + 3), 6) / 6``.

    Examples
    --------
    >>> torch.nn.functional.hardsigmoid(torch.tensor([-4.0, 0.0, 1.0]))
    tensor([0.0000, 0.5000, 0.6667])
    """
    return ops.divide(ops.clip(ops.add(input, 3), 0, 6), 6)


def hardswish(input: Any) -> Any:
    """``x`` times :func:`hardsigmoid`.

    Examples
    --------
    >>> torch.nn.functional.hardswish(torch.tensor([-4.0, 1.0, 4.0]))
    tensor([-0.0000,  0.6667,  4.0000])
    """
    return ops.multiply(input, hardsigmoid(input))


def silu(input: Any) -> Any:
    """``x * sigmoid(x)``.

    Examples
    --------
    >>> torch.nn.functional.silu(torch.tensor([-1.0, 3.0]))
    tensor([-0.2689,  2.8577])
    """
    return engine.silu(input)


def mish(input: Any) -> Any:
    """``x * tanh(softplus(x))``.

    Examples
    --------
    >>> torch.nn.functional.mish(torch.tensor([-1.0, 3.0]))
    tensor([-0.3034,  2.9865])
    """
    return ops.multiply(input, ops.tanh(ops.softplus(input)))


def logsigmoid(input: Any) -> Any:
    """``log(sigmoid(x))``, without overflow.

    Examples
    --------
    >>> torch.nn.functional.logsigmoid(torch.tensor([-1.0, 3.0]))
    tensor([-1.3133, -0.0486])
    """
    return ours(engine.log_sigmoid(input))


def threshold(input: Any, threshold: float, value: float) -> Any:
    """`x` above the threshold, `value` elsewhere.

    Examples
    --------
    >>> torch.nn.functional.threshold(torch.tensor([-1.0, 3.0]), 0.5, 9.0)
    tensor([9., 3.])
    """
    return ops.where(ops.greater(input, threshold), input, value)


def hardshrink(input: Any, lambd: float = 0.5) -> Any:
    """`x` beyond `lambd`, 0 within.

    Examples
    --------
    >>> torch.nn.functional.hardshrink(torch.tensor([-1.0, 0.2]))
    tensor([-1.,  0.])
    """
    return ours(ops.where(ops.less_equal(ops.abs(input), lambd), 0, input))


def softshrink(input: Any, lambd: float = 0.5) -> Any:
    """`x` moved by `lambd` towards 0, 0 within.

    Examples
    --------
    >>> torch.nn.functional.softshrink(torch.tensor([-1.0, 0.2]))
    tensor([-0.5000,  0.0000])
    """
    return ours(ops.subtract(input, ops.clip(input, -lambd, lambd)))


def prelu(input: Any, weight: Any) -> Any:
    """`x` above 0, ``weight * x`` below: one weight, or one for each channel of axis 1.

    Examples
    --------
    >>> torch.nn.functional.prelu(torch.tensor([-2.0, 2.0]), torch.tensor([0.25]))
    tensor([-0.5000,  2.0000])
    """
    if weight.array.size > 1:
        weight = ops.reshape(weight, (-1, *(1,) * max(input.array.ndim - 2, 0)))
    return ours(ops.where(ops.greater(input, 0), input, ops.multiply(weight, input)))


def glu(input: Any, dim: int = -1) -> Any:
    """First half along `dim` times the sigmoid of the second.

    Examples
    --------
    >>> torch.nn.functional.glu(torch.tensor([1.0, 2.0, 0.0, 0.0]))
    tensor([0.5000, 1.0000])
    """
    first, second = ops.split(input, 2, axis=dim)
    return ours(ops.multiply(first, ops.sigmoid(second)))


def softmin(input: Any, dim: int | None = None) -> Any:
    """``softmax(-x)``.

    Examples
    --------
    >>> torch.nn.functional.softmin(torch.tensor([0.0, 1.0]), dim=0)
    tensor([0.7311, 0.2689])
    """
    return softmax(ops.negative(input), dim)


def gumbel_softmax(logits: Any, tau: float = 1.0, hard: bool = False, dim: int = -1) -> Any:
    """Softmax with Gumbel noise; with `hard` one 1, and the gradient of the soft one.

    Examples
    --------
    >>> choice = torch.nn.functional.gumbel_softmax(torch.zeros(2, 4), hard=True)
    >>> choice.sum(1)
    tensor([1., 1.])
    """
    uniform = engine_random.default_generator.uniform(
        1e-20, 1.0, tuple(logits.array.shape), dtype=logits.array.dtype, device=logits.device
    )
    noise = ops.negative(ops.log(ops.negative(ops.log(uniform))))
    soft = softmax(ops.divide(ops.add(logits, noise), tau), dim)
    if not hard:
        return soft
    places = soft.detach().argmax(dim, keepdim=True)
    one = ops.zeros_like(soft.detach())
    chosen = ours(one).scatter(dim, places, 1.0)
    return ours(ops.add(ops.subtract(chosen, soft.detach()), soft))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{
        f.__name__: _replaced(f.__name__, f)
        for f in (relu6, leaky_relu, elu, selu, celu, hardtanh, hardsigmoid, hardswish)
    },
    **{f.__name__: _replaced(f.__name__, f) for f in (silu, mish, threshold)},
    "relu": _replaced("relu", ELEMENTWISE["relu"]),
    **{
        f.__name__: f
        for f in (
            *(gelu, softplus, softsign, tanhshrink, logsigmoid, hardshrink, softshrink, prelu),
            *(glu, softmin, softmax, log_softmax, gumbel_softmax),
        )
    },
    "sigmoid": ELEMENTWISE["sigmoid"],
    "tanh": ELEMENTWISE["tanh"],
}


def _module(
    name: str, function: Callable[..., Any], arguments: str = "", inplace: bool = False
) -> type[Module]:
    """Module class of a function of `x`, with its arguments, ``"alpha=1.0"``, as attributes."""
    defaults: dict[str, Any] = {}
    for part in arguments.split():
        key, value = part.split("=")
        defaults[key] = None if value == "None" else float(value) if "." in value else value
        if value.lstrip("-").isdecimal():
            defaults[key] = int(value)
    if inplace:
        defaults["inplace"] = False

    def start(self: Any, *args: Any, **options: Any) -> None:
        Module.__init__(self)
        given = dict(zip(defaults, args, strict=False)) | options
        if unknown := given.keys() - defaults.keys():
            raise TypeError(f"{name}: {sorted(unknown)[0]}= is unknown")
        for key, value in (defaults | given).items():
            setattr(self, key, value)

    def forward(self: Any, input: Any) -> Any:
        return function(input, **{key: getattr(self, key) for key in defaults})

    def extra_repr(self: Any) -> str:
        said = (f"{key}={getattr(self, key)}" for key in defaults)
        return ", ".join(s for s in said if s != "inplace=False")

    return type(
        name,
        (Module,),
        {
            "__init__": start,
            "forward": forward,
            "extra_repr": extra_repr,
            "__doc__": function.__doc__,
            "__module__": "gputensor.torch.nn",
        },
    )


class PReLU(Module):
    """:func:`prelu` with weights that are learned.

    Examples
    --------
    >>> torch.nn.PReLU()(torch.tensor([-2.0, 2.0]))
    tensor([-0.5000,  2.0000], grad_fn=<where>)
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.weight = Parameter(ops.full((num_parameters,), init, device=as_device(None)))

    def forward(self, input: Any) -> Any:
        """`x` above 0, ``weight * x`` below."""
        return prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


MODULES: dict[str, type[Module]] = {
    "PReLU": PReLU,
    **{
        name: _module(name, FUNCTIONS[function], arguments, inplace)
        for name, function, arguments, inplace in (
            ("ReLU", "relu", "", True),
            ("ReLU6", "relu6", "", True),
            ("LeakyReLU", "leaky_relu", "negative_slope=0.01", True),
            ("ELU", "elu", "alpha=1.0", True),
            ("SELU", "selu", "", True),
            ("CELU", "celu", "alpha=1.0", True),
            ("GELU", "gelu", "approximate=none", False),
            ("SiLU", "silu", "", True),
            ("Mish", "mish", "", True),
            ("Sigmoid", "sigmoid", "", False),
            ("Tanh", "tanh", "", False),
            ("Softplus", "softplus", "beta=1.0 threshold=20.0", False),
            ("Softsign", "softsign", "", False),
            ("Tanhshrink", "tanhshrink", "", False),
            ("Hardtanh", "hardtanh", "min_val=-1.0 max_val=1.0", True),
            ("Hardsigmoid", "hardsigmoid", "", True),
            ("Hardswish", "hardswish", "", True),
            ("Hardshrink", "hardshrink", "lambd=0.5", False),
            ("Softshrink", "softshrink", "lambd=0.5", False),
            ("LogSigmoid", "logsigmoid", "", False),
            ("Threshold", "threshold", "threshold=0.0 value=0.0", True),
            ("GLU", "glu", "dim=-1", False),
            ("Softmax", "softmax", "dim=None", False),
            ("LogSoftmax", "log_softmax", "dim=None", False),
            ("Softmin", "softmin", "dim=None", False),
        )
    },
}
