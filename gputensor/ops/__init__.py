"""The differentiable operations; here Tensor gets its operators and methods from one table.

This module is also the namespace that derivative rules run against under ``create_graph=True``.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

from gputensor import autograd, words
from gputensor.autograd import Primitive, Tensor, reverse
from gputensor.errors import OperandError, ShapeError
from gputensor.ops import (
    choices,
    constants,
    creation,
    data_type,
    elementwise,
    indexing,
    inplace,
    inspection,
    manipulation,
    numeric,
    pieces,
    products,
    searching,
    sets,
    sorting,
    special,
    statistical,
    utility,
)
from gputensor.ops import fft as fft  # rules find them here
from gputensor.ops import linalg as linalg
from gputensor.ops.choices import *  # noqa: F403
from gputensor.ops.constants import *  # noqa: F403
from gputensor.ops.creation import *  # noqa: F403
from gputensor.ops.data_type import *  # noqa: F403
from gputensor.ops.elementwise import *  # noqa: F403
from gputensor.ops.indexing import *  # noqa: F403
from gputensor.ops.inspection import *  # noqa: F403
from gputensor.ops.manipulation import *  # noqa: F403
from gputensor.ops.nn import log_softmax, logsumexp, softmax
from gputensor.ops.numeric import *  # noqa: F403
from gputensor.ops.pieces import *  # noqa: F403
from gputensor.ops.products import *  # noqa: F403
from gputensor.ops.searching import *  # noqa: F403
from gputensor.ops.sets import *  # noqa: F403
from gputensor.ops.sorting import *  # noqa: F403
from gputensor.ops.special import *  # noqa: F403
from gputensor.ops.statistical import *  # noqa: F403
from gputensor.ops.utility import *  # noqa: F403

__all__ = [
    *constants.__all__,
    *creation.__all__,
    *data_type.__all__,
    *choices.__all__,
    *elementwise.__all__,
    *special.__all__,
    *indexing.__all__,
    *inspection.__all__,
    *manipulation.__all__,
    *numeric.__all__,
    *pieces.__all__,
    *products.__all__,
    *searching.__all__,
    *sets.__all__,
    *sorting.__all__,
    *statistical.__all__,
    *utility.__all__,
    "log_softmax",
    "logsumexp",
    "softmax",
]

# A call that does not fit its function, as ``sum(x, dim=1)``, is told what to write.
for _module in (creation, manipulation, numeric, pieces, products, searching, sorting, statistical):
    words.teach(_module, globals())
for _module in (choices, utility, fft, linalg):
    words.teach(_module, globals())
for _name in ("log_softmax", "logsumexp", "softmax"):
    globals()[_name] = words.taught(globals()[_name])


def _operator(function: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Any]:
    """Method that leaves what `function` does not know to the other object."""
    primitive = autograd.PRIMITIVES.get(function.__name__)
    made = function.__code__.co_qualname.startswith(Primitive.__name__)  # by a primitive
    if made and primitive is not None:
        method = primitive.binary(operator=True)
    else:

        def method(x: Any, y: Any, /) -> Any:
            try:
                return function(x, y)
            except OperandError:
                return NotImplemented

    return method


def _reversed(function: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Any]:
    def method(x: Any, y: Any, /) -> Any:
        try:
            return function(y, x)
        except OperandError:
            return NotImplemented

    return method


def _ints(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Method that takes ints or a tuple of them, ``x.reshape(2, 3)`` or ``x.reshape((2, 3))``."""

    @functools.wraps(function)
    def method(x: Tensor, *ints: Any) -> Tensor:
        return function(x, ints) if len(ints) > 1 else function(x, *ints)

    return method


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


def _array_namespace(x: Tensor, /, *, api_version: str | None = None) -> Any:
    """The package, as namespace of the Python Array API standard.

    Raises
    ------
    ValueError
        If it does not follow that version.
    """
    if api_version not in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
        raise ValueError(f"api_version is {api_version!r}; followed are 2021.12 to 2024.12")
    return sys.modules[__package__.partition(".")[0]]


_OPERATORS = {
    "add": elementwise.add,
    "sub": elementwise.subtract,
    "mul": elementwise.multiply,
    "truediv": elementwise.divide,
    "floordiv": elementwise.floor_divide,
    "mod": elementwise.remainder,
    "pow": elementwise.pow,
    "matmul": products.matmul,
    "and": choices.bitwise_and,
    "or": choices.bitwise_or,
    "xor": choices.bitwise_xor,
    "lshift": choices.bitwise_left_shift,
    "rshift": choices.bitwise_right_shift,
}
_COMPARISONS = {
    "eq": choices.equal,
    "ne": choices.not_equal,
    "lt": choices.less,
    "le": choices.less_equal,
    "gt": choices.greater,
    "ge": choices.greater_equal,
}
_METHODS: dict[str, Any] = {
    **{f"__{name}__": _operator(f) for name, f in (_OPERATORS | _COMPARISONS).items()},
    **{f"__r{name}__": _reversed(f) for name, f in _OPERATORS.items()},
    "__neg__": elementwise.negative,
    "__pos__": elementwise.positive,
    "__abs__": elementwise.abs,
    "__invert__": choices.bitwise_invert,
    "__array_namespace__": _array_namespace,
    "__getitem__": indexing.getitem,
    "__setitem__": inplace.setitem,
    "__iter__": _iterate,
    **inplace.OPERATORS,
    **inplace.PARTS,
    "ravel": manipulation.flatten,
    "T": property(_t),
    "mT": property(manipulation.matrix_transpose),
}
for _module, _names, _form in (
    (data_type, "astype", None),
    (choices, "clip", None),
    (elementwise, "abs conj exp log relu sigmoid sqrt square tanh", None),
    (manipulation, "flatten squeeze", None),
    (manipulation, "permute_dims reshape transpose", _ints),
    (searching, "argmax argmin", None),
    (sorting, "argsort", None),
    (statistical, "max mean min prod std sum var", None),
    (utility, "all any", None),
    (numeric, "cumprod cumsum", None),
):
    for _name in _names.split():
        _function = getattr(_module, _name)
        _METHODS[_name] = _form(_function) if _form else _function
for _name, _method in _METHODS.items():
    setattr(Tensor, _name, _method)


# No attribute that is there passes by these.
for _ours, _names in words.TENSOR.items():
    for _name in _names.split():
        setattr(Tensor, _name, words.Elsewhere(_name, _ours.replace("NAME", _name)))

reverse.differentiable_namespace = sys.modules[__name__]
