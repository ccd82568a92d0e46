"""PyTorch's dtypes, and its rules for what operands of two dtypes become."""

import functools
from typing import Any

import numpy as np

from gputensor import backend, config, ops
from gputensor.autograd import Tensor as Engine
from gputensor.errors import DTypeError
from gputensor.ops.data_type import checked_dtype

__all__ = [
    "bool",
    "can_cast",
    "cdouble",
    "cfloat",
    "complex64",
    "complex128",
    "double",
    "dtype",
    "finfo",
    "float",
    "float16",
    "float32",
    "float64",
    "get_default_dtype",
    "half",
    "iinfo",
    "int",
    "int8",
    "int16",
    "int32",
    "int64",
    "is_complex",
    "is_floating_point",
    "long",
    "promote_types",
    "result_type",
    "set_default_dtype",
    "short",
    "uint8",
]

dtype = np.dtype
bool = ops.bool
uint8, int8, int16, int32, int64 = ops.uint8, ops.int8, ops.int16, ops.int32, ops.int64
float16, float32, float64 = ops.float16, ops.float32, ops.float64
complex64, complex128 = ops.complex64, ops.complex128
short, int, long = int16, int32, int64
half, float, double = float16, float32, float64
cfloat, cdouble = complex64, complex128
finfo, iinfo = ops.finfo, ops.iinfo

_CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2, "V": 2, "c": 3}
_NUMBERS = {"bool": 0, "int": 1, "float": 2, "complex": 3}  # Python's types
_COMPLEX: dict[Any, np.dtype[Any]] = {
    2: np.dtype(np.complex64),
    4: np.dtype(np.complex64),
    8: np.dtype(np.complex128),
}


def __getattr__(name: str) -> Any:
    if name == "bfloat16":  # from a package that may not be there
        return checked_dtype("bfloat16", name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def get_default_dtype() -> "np.dtype[Any]":
    """The dtype of Python's floats.

    Examples
    --------
    >>> torch.get_default_dtype()
    dtype('float32')
    """
    return config.default_dtype()


def set_default_dtype(d: Any) -> None:
    """Make Python's floats tensors of this dtype, float32 or float64, from here on.

    Examples
    --------
    >>> torch.set_default_dtype(torch.float64)
    >>> torch.tensor(1.0).dtype
    dtype('float64')
    >>> torch.set_default_dtype(torch.float32)
    """
    config.set_default_dtype(d)


def _category(d: "np.dtype[Any]") -> Any:
    return _CATEGORY[d.kind]


def category_of(number: Any) -> Any:
    """0, 1, 2, 3 for a Python bool, int, float, complex; None for what is no number."""
    return _NUMBERS.get(type(number).__name__)


@functools.cache
def promote_types(a: "np.dtype[Any]", b: "np.dtype[Any]") -> "np.dtype[Any]":
    """The dtype of a result of tensors of `a` and `b`, both with axes.

    A floating dtype stays what it is beside integers, ``int64`` with ``float16`` is ``float16``.

    Examples
    --------
    >>> torch.promote_types(torch.int64, torch.float32)
    dtype('float32')
    """
    if a == b:
        return a
    first, second = _category(a), _category(b)
    if first == second:
        if "V" in (a.kind, b.kind):  # bfloat16 beside another
            other: Any = b if a.kind == "V" else a
            return np.promote_types(np.dtype(np.float32), other)
        return np.promote_types(a, b)
    low, high = (a, b) if first < second else (b, a)
    if high.kind == "c" and low.kind in "fV":
        wide: np.dtype[Any] = _COMPLEX[low.itemsize]
        return np.promote_types(high, wide)
    return high


def result_type(x: Any, y: Any) -> "np.dtype[Any]":
    """The dtype of a result of two operands, tensors or Python numbers.

    Tensors with axes decide; one without axes, and after that a number, counts only if its kind
    is higher (bool, integer, floating, complex).

    Examples
    --------
    >>> torch.result_type(torch.tensor([1, 2]), 1.0)
    dtype('float32')
    """
    ranks: list[list[np.dtype[Any]]] = [[], [], []]
    for operand in (x, y):
        if isinstance(operand, Engine):
            ranks[0 if operand.array.ndim else 1].append(operand.array.dtype)
        else:
            ranks[2].append(_of_number(operand))
    found: np.dtype[Any] | None = None
    for rank in ranks:
        for d in rank:
            if found is None:
                found = d
            elif (
                rank is ranks[0]
                or (rank is ranks[1] and not ranks[0])
                or _category(d) > _category(found)
            ):
                found = promote_types(found, d)
    assert found is not None
    return found


def _of_number(number: Any) -> "np.dtype[Any]":
    kind = category_of(number)
    if kind is None:
        raise DTypeError(f"an operand must be a tensor or a number, got {type(number).__name__}")
    return (bool, int64, config.default_dtype(), config.default_complex())[kind]


def floating(x: Engine) -> Engine:
    """`x`, integers and bools as the default dtype: what functions such as ``exp`` take them as."""
    return ops.astype(x, config.default_dtype()) if x.array.dtype.kind in "biu" else x


def operand(value: Any, beside: Any) -> Any:
    """An operand as a tensor, or as a Python number; what is neither is returned as it is."""
    if isinstance(value, np.generic):
        return value.item()
    if backend.is_array(value):
        return ops.asarray(value, device=beside.device if isinstance(beside, Engine) else None)
    return value


def promoted(x: Any, y: Any) -> tuple[Any, Any]:
    """Both operands such that the engine's result has the dtype that PyTorch's has."""
    x, y = operand(x, y), operand(y, x)
    tensor_x, tensor_y = isinstance(x, Engine), isinstance(y, Engine)
    if tensor_x and tensor_y:
        if x.array.dtype == y.array.dtype:
            return x, y
        d = result_type(x, y)
        return _cast(x, d), _cast(y, d)
    if tensor_x:
        return (x, y) if category_of(y) is None else (_beside(x, y), y)
    if tensor_y:
        return (x, y) if category_of(x) is None else (x, _beside(y, x))
    return x, y


def _cast(x: Engine, d: "np.dtype[Any]") -> Engine:
    return x if x.array.dtype == d else ops.astype(x, d)


def _beside(x: Engine, number: Any) -> Engine:
    """A tensor that a number stands beside: only a higher kind of number changes its dtype."""
    if _category(x.array.dtype) >= category_of(number):
        return x
    return ops.astype(x, result_type(x, number))


def is_floating_point(x: Engine) -> Any:
    """Whether the elements are floating point numbers.

    Examples
    --------
    >>> torch.is_floating_point(torch.tensor([1.0]))
    True
    """
    return x.array.dtype.kind in "fV"


def is_complex(x: Engine) -> Any:
    """Whether the elements are complex numbers.

    Examples
    --------
    >>> torch.is_complex(torch.tensor([1j]))
    True
    """
    return x.array.dtype.kind == "c"


def can_cast(source: "np.dtype[Any]", target: "np.dtype[Any]") -> Any:
    """Whether no kind is lost: floats do not become integers, numbers no bools.

    Examples
    --------
    >>> torch.can_cast(torch.float32, torch.int64)
    False
    """
    return _category(source) <= _category(target)
