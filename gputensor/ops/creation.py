"""Making tensors. Floating point data of Python's own becomes float32; arrays keep their dtype."""

from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import (
    Leaf,
    Operand,
    Tensor,
    array_of_lists,
    default_dtype,
    raw_operand,
    wrap,
)
from gputensor.backend import Device
from gputensor.errors import ShapeError
from gputensor.ops.data_type import checked_dtype

__all__ = [
    "arange",
    "asarray",
    "empty",
    "eye",
    "full",
    "full_like",
    "linspace",
    "ones",
    "ones_like",
    "tensor",
    "zeros",
    "zeros_like",
]

DType = Any  # what numpy.dtype takes: np.float32, "float32", gt.float32


def _dtype(dtype: DType) -> np.dtype[Any]:
    return checked_dtype("dtype", np.float32 if dtype is None else dtype)


def _raw(data: Any, dtype: DType, device: str | Device | None) -> Any:
    """Raw array of anything array-like, on `device`; without a copy where that is possible."""
    if isinstance(data, Tensor):
        data = data.array
    if not backend.is_array(data):
        if hasattr(data, "__cuda_array_interface__"):
            data = backend.namespace(backend.device("cuda")).asarray(data)
        else:
            data = array_of_lists("data", data, dtype and _dtype(dtype))
            if device is None:
                device = backend.default_device()
    elif isinstance(data, np.ndarray):
        data = np.asarray(data)  # a subclass becomes a plain array
        device = backend.default_device() if device is None else device
    _dtype(data.dtype)
    if dtype is not None:
        data = data.astype(_dtype(dtype), copy=False)
    if device is not None:
        data = backend.to_device(data, backend.device(device))
    return data


def tensor(
    data: Any,
    dtype: DType = None,
    device: str | Device | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Make a tensor with a copy of `data`.

    Parameters
    ----------
    data : number, nested lists, numpy.ndarray, cupy.ndarray or Tensor
        Values of any shape. NaN and infinity are values like others.
    dtype : dtype, optional
        Type of the elements. By default arrays keep theirs, Python floats become float32, ints
        int64 and bools bool.
    device : str or Device, optional
        Where to put it; by default CUDA data stay where they are and all else goes to the
        default device.
    requires_grad : bool
        Whether gradients are to be accumulated in ``.grad``; floating point only.

    Returns
    -------
    Tensor

    Raises
    ------
    ShapeError
        If nested lists are uneven.
    DTypeError
        If elements are not numbers or bool, or `requires_grad` is asked for integers.
    DeviceError
        If the device is not there.

    Examples
    --------
    >>> gt.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    tensor([[1., 2.],
            [3., 4.]], dtype=float32, requires_grad=True)
    """
    array = _raw(data, dtype, device)
    given = data.array if isinstance(data, Tensor) else data
    if array is given or (isinstance(array, np.ndarray) and np.may_share_memory(array, given)):
        with backend.on_device_of(array):
            array = array.copy()
    result = wrap(array)
    if requires_grad:
        result.requires_grad = True
    return result


def asarray(
    data: Any,
    dtype: DType = None,
    device: str | Device | None = None,
    copy: bool | None = None,
) -> Tensor:
    """Tensor of `data`, in the same memory where dtype and device allow.

    Parameters
    ----------
    data, dtype, device
        As for :func:`tensor`. A Tensor that fits is returned as it is, tape and all.
    copy : bool, optional
        True always copies; False raises instead of copying; None copies if needed.

    Returns
    -------
    Tensor

    Raises
    ------
    ValueError
        With ``copy=False`` if `data` cannot be shared.
    """
    if isinstance(data, Tensor) and not copy:
        same_place = device is None or data.device == backend.device(device)
        if same_place and (dtype is None or data.dtype == _dtype(dtype)):
            return data
    if copy:
        return tensor(data, dtype, device)
    array = _raw(data, dtype, device)
    if (
        copy is False
        and array is not data
        and not (
            isinstance(array, np.ndarray)
            and isinstance(data, np.ndarray)
            and np.shares_memory(array, data)
        )
    ):
        raise ValueError("asarray: copy=False, but this dtype, device or kind of data needs a copy")
    return wrap(array)


def _make(name: str, device: str | Device | None, *args: Any, **kwargs: Any) -> Tensor:
    where = backend.device(device)
    with backend.on_device_of(where):
        try:
            return wrap(getattr(backend.namespace(where), name)(*args, **kwargs))
        except ValueError as error:
            raise ShapeError(f"{name}: {error}") from None


def empty(
    shape: int | tuple[int, ...], *, dtype: DType = None, device: str | Device | None = None
) -> Tensor:
    """Tensor of `shape` with values left to chance; float32 by default."""
    return _make("empty", device, shape, dtype=_dtype(dtype))


def zeros(
    shape: int | tuple[int, ...], *, dtype: DType = None, device: str | Device | None = None
) -> Tensor:
    """Tensor of `shape` full of zeros; float32 by default."""
    return _make("zeros", device, shape, dtype=_dtype(dtype))


def ones(
    shape: int | tuple[int, ...], *, dtype: DType = None, device: str | Device | None = None
) -> Tensor:
    """Tensor of `shape` full of ones; float32 by default."""
    return _make("ones", device, shape, dtype=_dtype(dtype))


def full(
    shape: int | tuple[int, ...],
    fill_value: float,
    *,
    dtype: DType = None,
    device: str | Device | None = None,
) -> Tensor:
    """Tensor of `shape` full of `fill_value`; float32 for a float, int64 for an int."""
    if dtype is None:
        dtype = np.asarray(default_dtype(fill_value)).dtype
    return _make("full", device, shape, fill_value, dtype=_dtype(dtype))


def arange(
    start: float,
    /,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: DType = None,
    device: str | Device | None = None,
) -> Tensor:
    """Numbers from `start` (or 0) below `stop`, `step` apart: int64 if all are ints, else float32.

    Raises
    ------
    ValueError
        If `step` is 0.
    """
    if step == 0:
        raise ValueError("arange: step is 0; it must not be")
    if stop is None:
        start, stop = 0, start
    if dtype is None and all(isinstance(n, (int, np.integer)) for n in (start, stop, step)):
        dtype = np.int64
    return _make("arange", device, start, stop, step, dtype=_dtype(dtype))


def linspace(
    start: float,
    stop: float,
    /,
    num: int,
    *,
    endpoint: bool = True,
    dtype: DType = None,
    device: str | Device | None = None,
) -> Tensor:
    """`num` evenly spaced numbers from `start` to `stop`; float32 by default."""
    return _make("linspace", device, start, stop, num, endpoint=endpoint, dtype=_dtype(dtype))


def eye(
    n_rows: int,
    n_cols: int | None = None,
    /,
    *,
    k: int = 0,
    dtype: DType = None,
    device: str | Device | None = None,
) -> Tensor:
    """Matrix with ones on its `k`-th diagonal, zeros elsewhere; float32 by default."""
    return _make("eye", device, n_rows, n_cols, k, dtype=_dtype(dtype))


def full_like(
    x: Operand,
    /,
    fill_value: float,
    *,
    dtype: DType = None,
    device: str | Device | None = None,
) -> Tensor:
    """Tensor with the shape and (unless given) dtype and device of `x`, full of `fill_value`."""
    array = x.array if isinstance(x, Tensor) else raw_operand("full_like", x)
    if not backend.is_array(array):
        raise TypeError(f"full_like: x must be a tensor or an array, got {type(x).__name__}")
    where = backend.device_of(array) if device is None else device
    chosen = array.dtype if dtype is None else _dtype(dtype)
    return _make("full", where, array.shape, fill_value, dtype=chosen)


def zeros_like(x: Operand, /, *, dtype: DType = None, device: str | Device | None = None) -> Tensor:
    """Zeros with the shape and (unless given) dtype and device of `x`."""
    return full_like(x, 0, dtype=dtype, device=device)


def ones_like(x: Operand, /, *, dtype: DType = None, device: str | Device | None = None) -> Tensor:
    """Ones with the shape and (unless given) dtype and device of `x`."""
    return full_like(x, 1, dtype=dtype, device=device)


def parameter(array: Any) -> Tensor:
    """Tensor around a raw array, without a copy, that gradients are accumulated for."""
    return wrap(array, Leaf(array))
