"""The differentiable operations; here Tensor gets its operators and methods from one table.

This module is also the namespace that derivative rules run against under ``create_graph=True``.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gputensor import autograd, backend
from gputensor.autograd import Tensor
from gputensor.errors import ShapeError
from gputensor.ops import (
    creation,
    data_type,
    elementwise,
    indexing,
    linalg,
    manipulation,
    searching,
    statistical,
)
from gputensor.ops.creation import *  # noqa: F403
from gputensor.ops.data_type import *  # noqa: F403
from gputensor.ops.elementwise import *  # noqa: F403
from gputensor.ops.indexing import *  # noqa: F403
from gputensor.ops.linalg import *  # noqa: F403
from gputensor.ops.manipulation import *  # noqa: F403
from gputensor.ops.nn import log_softmax, logsumexp, softmax
from gputensor.ops.searching import *  # noqa: F403
from gputensor.ops.statistical import *  # noqa: F403

__all__ = [
    *creation.__all__,
    *data_type.__all__,
    *elementwise.__all__,
    *indexing.__all__,
    *linalg.__all__,
    *manipulation.__all__,
    *searching.__all__,
    *statistical.__all__,
    "log_softmax",
    "logsumexp",
    "softmax",
]


def _reversed(function: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
    return lambda x, y: function(y, x)


def _comparable(function: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Any]:
    """``==`` and ``!=`` leave what is not array-like to Python, which compares identity."""

    def operator(x: Tensor, y: Any) -> Any:
        if isinstance(y, (Tensor, int, float, complex, np.generic)) or backend.is_array(y):
            return function(x, y)
        return NotImplemented

    return operator


def _reshape_method(x: Tensor, *shape: Any) -> Tensor:
    """Same elements in another shape: ``x.reshape(2, 3)`` or ``x.reshape((2, 3))``."""
    return manipulation.reshape(x, shape[0] if len(shape) == 1 else shape)


def _t(x: Tensor) -> Tensor:
    """Matrix with rows and columns exchanged."""
    if x.ndim != 2:
        raise ShapeError(
            f".T is for two axes, the shape is {x.shape}; use .mT for the last two axes of many, "
            "or gt.permute_dims(x, axes)"
        )
    return manipulation.permute_dims(x, (1, 0))


def _iterate(x: Tensor) -> Iterator[Tensor]:
    return (x[i] for i in range(len(x)))


_METHODS: dict[str, Any] = {
    "__add__": elementwise.add,
    "__radd__": _reversed(elementwise.add),
    "__sub__": elementwise.subtract,
    "__rsub__": _reversed(elementwise.subtract),
    "__mul__": elementwise.multiply,
    "__rmul__": _reversed(elementwise.multiply),
    "__truediv__": elementwise.divide,
    "__rtruediv__": _reversed(elementwise.divide),
    "__floordiv__": elementwise.floor_divide,
    "__rfloordiv__": _reversed(elementwise.floor_divide),
    "__mod__": elementwise.remainder,
    "__rmod__": _reversed(elementwise.remainder),
    "__pow__": elementwise.pow,
    "__rpow__": _reversed(elementwise.pow),
    "__matmul__": linalg.matmul,
    "__rmatmul__": _reversed(linalg.matmul),
    "__neg__": elementwise.negative,
    "__pos__": elementwise.positive,
    "__abs__": elementwise.abs,
    "__invert__": elementwise.logical_not,
    "__and__": elementwise.logical_and,
    "__or__": elementwise.logical_or,
    "__xor__": elementwise.logical_xor,
    "__eq__": _comparable(elementwise.equal),
    "__ne__": _comparable(elementwise.not_equal),
    "__lt__": elementwise.less,
    "__le__": elementwise.less_equal,
    "__gt__": elementwise.greater,
    "__ge__": elementwise.greater_equal,
    "__getitem__": indexing.getitem,
    "__iter__": _iterate,
    "T": property(_t),
    "mT": property(manipulation.matrix_transpose),
    "reshape": _reshape_method,
}
for _module, _names in {
    data_type: "astype",
    elementwise: "abs clip exp log relu sigmoid sqrt square tanh",
    manipulation: "flatten permute_dims squeeze transpose",
    searching: "argmax argmin",
    statistical: "all any max mean min std sum var",
}.items():
    for _name in _names.split():
        _METHODS[_name] = getattr(_module, _name)
for _name, _method in _METHODS.items():
    setattr(Tensor, _name, _method)

autograd.differentiable_namespace = sys.modules[__name__]
