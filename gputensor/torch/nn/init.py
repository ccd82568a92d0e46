"""First values of parameters, with PyTorch's names and formulas; all in place, off the tape."""

import functools
import math
from collections.abc import Callable
from typing import Any

from gputensor import linalg, ops
from gputensor import random as engine_random
from gputensor.autograd import no_grad
from gputensor.errors import ShapeError
from gputensor.torch.inplace import copy_, fill_

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

_GAINS = {"relu": math.sqrt(2.0), "selu": 0.75, "tanh": 5.0 / 3}
_LINEAR = ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d")


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """What the deviation is to be multiplied by for an activation.

    Examples
    --------
    >>> torch.nn.init.calculate_gain("relu")
    1.4142135623730951
    """
    if nonlinearity in ("sigmoid", *_LINEAR):
        return 1.0
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity not in _GAINS:
        allowed = ", ".join(["leaky_relu", "sigmoid", *_GAINS, *_LINEAR])
        raise ValueError(f"calculate_gain: {nonlinearity!r} is unknown; allowed are {allowed}")
    return _GAINS[nonlinearity]


def _filling(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which gives numbers for a tensor, as one that puts them into it."""

    @functools.wraps(function)
    def fill(tensor: Any, *args: Any, generator: Any = None, **options: Any) -> Any:
        source = engine_random.default_generator if generator is None else generator
        with no_grad():
            return copy_(tensor, function(tensor, source, *args, **options))

    return fill


def _place(tensor: Any) -> dict[str, Any]:
    return {
        "shape": tuple(tensor.array.shape),
        "dtype": tensor.array.dtype,
        "device": tensor.device,
    }


def _fans(tensor: Any) -> tuple[int, int]:
    """Inputs and outputs of a unit."""
    shape = tensor.array.shape
    if len(shape) < 2:
        raise ShapeError(f"init: a tensor of shape {shape} has no fan; it needs two axes or more")
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


@_filling
def uniform_(tensor: Any, source: Any, a: float = 0.0, b: float = 1.0) -> Any:
    """Evenly distributed over ``[a, b)``.

    Examples
    --------
    >>> bool((torch.nn.init.uniform_(torch.empty(50), 0, 2) >= 0).all())
    True
    """
    return source.uniform(a, b, **_place(tensor))


@_filling
def normal_(tensor: Any, source: Any, mean: float = 0.0, std: float = 1.0) -> Any:
    """Normally distributed.

    Examples
    --------
    >>> torch.nn.init.normal_(torch.empty(3, 2), std=0.01).shape
    torch.Size([3, 2])
    """
    return source.normal(mean, std, **_place(tensor))


@_filling
def trunc_normal_(
    tensor: Any, source: Any, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Any:
    """Normally distributed, within ``[a, b]``.

    Examples
    --------
    >>> bool((torch.nn.init.trunc_normal_(torch.empty(50), a=-1, b=1).abs() <= 1).all())
    True
    """
    low, high = (math.erf((v - mean) / std / math.sqrt(2)) for v in (a, b))
    drawn = source.uniform(low, high, **_place(tensor))
    found = ops.add(ops.multiply(ops.erfinv(drawn), std * math.sqrt(2)), mean)
    return ops.clip(found, a, b)


def constant_(tensor: Any, val: float) -> Any:
    """One number everywhere.

    Examples
    --------
    >>> torch.nn.init.constant_(torch.empty(2), 3)
    tensor([3., 3.])
    """
    with no_grad():
        return fill_(tensor, val)


def zeros_(tensor: Any) -> Any:
    """Zeros.

    Examples
    --------
    >>> torch.nn.init.zeros_(torch.empty(2))
    tensor([0., 0.])
    """
    return constant_(tensor, 0.0)


def ones_(tensor: Any) -> Any:
    """Ones.

    Examples
    --------
    >>> torch.nn.init.ones_(torch.empty(2))
    tensor([1., 1.])
    """
    return constant_(tensor, 1.0)


@_filling
def eye_(tensor: Any, source: Any) -> Any:
    """Ones on the diagonal.

    Examples
    --------
    >>> torch.nn.init.eye_(torch.empty(2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    return ops.eye(*tensor.array.shape, dtype=tensor.array.dtype, device=tensor.device)


@_filling
def xavier_uniform_(tensor: Any, source: Any, gain: float = 1.0) -> Any:
    """Even, of deviation ``gain * sqrt(2 / (inputs + outputs))`` (Glorot & Bengio 2010).

    Examples
    --------
    >>> bool((torch.nn.init.xavier_uniform_(torch.empty(3, 3)).abs() <= 1).all())
    True
    """
    bound = gain * math.sqrt(6.0 / sum(_fans(tensor)))
    return source.uniform(-bound, bound, **_place(tensor))


@_filling
def xavier_normal_(tensor: Any, source: Any, gain: float = 1.0) -> Any:
    """Normal, of deviation ``gain * sqrt(2 / (inputs + outputs))`` (Glorot & Bengio 2010).

    Examples
    --------
    >>> torch.nn.init.xavier_normal_(torch.empty(3, 2)).shape
    torch.Size([3, 2])
    """
    return source.normal(0.0, gain * math.sqrt(2.0 / sum(_fans(tensor))), **_place(tensor))


def _kaiming(tensor: Any, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"init: mode is {mode!r}; allowed are 'fan_in' and 'fan_out'")
    fan = _fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


@_filling
def kaiming_uniform_(
    tensor: Any,
    source: Any,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
) -> Any:
    """Even, of deviation ``gain / sqrt(fan)`` (He et al. 2015).

    Examples
    --------
    >>> bool((torch.nn.init.kaiming_uniform_(torch.empty(9, 6)).abs() <= 1).all())
    True
    """
    bound = math.sqrt(3.0) * _kaiming(tensor, a, mode, nonlinearity)
    return source.uniform(-bound, bound, **_place(tensor))


@_filling
def kaiming_normal_(
    tensor: Any,
    source: Any,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
) -> Any:
    """Normal, of deviation ``gain / sqrt(fan)`` (He et al. 2015).

    Examples
    --------
    >>> weight = torch.nn.init.kaiming_normal_(torch.empty(200, 50))
    >>> round(weight.std().item(), 1)
    0.2
    """
    return source.normal(0.0, _kaiming(tensor, a, mode, nonlinearity), **_place(tensor))


@_filling
def orthogonal_(tensor: Any, source: Any, gain: float = 1.0) -> Any:
    """Rows, or columns, that are orthogonal to each other (Saxe et al. 2013).

    Examples
    --------
    >>> weight = torch.nn.init.orthogonal_(torch.empty(3, 3))
    >>> torch.allclose(weight @ weight.t(), torch.eye(3), atol=1e-5)
    True
    """
    shape = tensor.array.shape
    if len(shape) < 2:
        raise ShapeError(f"orthogonal_: a tensor of shape {shape} has no rows and columns")
    rows, columns = shape[0], math.prod(shape[1:])
    drawn = source.normal(shape=(max(rows, columns), min(rows, columns)), device=tensor.device)
    q, r = linalg.qr(drawn)
    q = ops.multiply(q, ops.sign(ops.diag(r)))
    q = ops.matrix_transpose(q) if rows < columns else q
    return ops.reshape(ops.multiply(q, gain), tuple(shape))


@_filling
def sparse_(tensor: Any, source: Any, sparsity: float, std: float = 0.01) -> Any:
    """Normal, with a share of each column zero.

    Examples
    --------
    >>> int((torch.nn.init.sparse_(torch.empty(10, 4), sparsity=0.5) == 0).sum())
    20
    """
    rows, columns = tensor.array.shape
    drawn = source.normal(0.0, std, **_place(tensor))
    zeros = math.ceil(sparsity * rows)
    ranks = ops.argsort(ops.argsort(source.uniform(shape=(rows, columns)), axis=0), axis=0)
    return ops.where(ops.less(ranks, zeros), 0.0, drawn)


@_filling
def dirac_(tensor: Any, source: Any) -> Any:
    """Kernels of convolutions that keep the first channels as they are.

    Examples
    --------
    >>> torch.nn.init.dirac_(torch.empty(1, 1, 3))
    tensor([[[0., 1., 0.]]])
    """
    shape = tuple(tensor.array.shape)
    made = ops.zeros(shape, dtype=tensor.array.dtype, device=tensor.device)
    for i in range(min(shape[:2])):
        made[(i, i, *(n // 2 for n in shape[2:]))] = 1.0
    return made


xavier_uniform, xavier_normal = xavier_uniform_, xavier_normal_
kaiming_uniform, kaiming_normal = kaiming_uniform_, kaiming_normal_
normal, uniform, constant, orthogonal = normal_, uniform_, constant_, orthogonal_
