"""Making tensors. Arrays keep their dtype; Python's floats have none, and become float32.

float32 is the default of :class:`gputensor.set_default_dtype`, which can be float64 instead.
"""

import sys
from typing import Any

import numpy as np

from gputensor import backend, config, memory
from gputensor.autograd import (
    Leaf,
    Operand,
    Primitive,
    Tensor,
    array_of_lists,
    as_array,
    default_dtype,
    raw_operand,
    wrap,
)
from gputensor.backend import Device
from gputensor.errors import DeviceError, DTypeError, ShapeError
from gputensor.ops import choices, elementwise
from gputensor.ops.data_type import astype, bfloat16, check_cast, checked_dtype
from gputensor.ops.manipulation import broadcast_to, reshape
from gputensor.options import integer, ints, number

__all__ = [
    "arange",
    "asarray",
    "empty",
    "empty_like",
    "eye",
    "from_dlpack",
    "full",
    "full_like",
    "linspace",
    "meshgrid",
    "ones",
    "ones_like",
    "tensor",
    "tril",
    "triu",
    "zeros",
    "zeros_like",
]

DType = Any  # what numpy.dtype takes: np.float32, "float32", gt.float32


def _dtype(dtype: DType) -> np.dtype[Any]:
    return checked_dtype("dtype", config.default_dtype() if dtype is None else dtype)


def _shared(data: Any) -> Any:
    """`data`, memory of other libraries and of Python's buffers as a raw array around it."""
    if isinstance(data, (Tensor, list, tuple, int, float, complex)) or backend.is_array(data):
        return data
    if hasattr(data, "__cuda_array_interface__"):
        return backend.namespace(backend.device("cuda")).asarray(data)
    if hasattr(data, "__dlpack__"):
        return from_dlpack(data).array
    if not hasattr(data, "__array__"):
        try:
            memoryview(data)
        except TypeError:
            return data
    return np.asarray(data)


def _asarray(data: Any, dtype: DType, device: str | Device | None) -> Any:
    """Raw array of what :func:`_shared` gives, on `device`; without a copy if possible."""
    if isinstance(data, Tensor):
        data = data.array
    if not backend.is_array(data):
        data = array_of_lists("data", data, dtype and _dtype(dtype))
        if device is None:
            device = backend.default_device()
    elif isinstance(data, np.ndarray):
        data = backend.plain(data)
        device = backend.default_device() if device is None else device
    _dtype(data.dtype)
    if dtype is not None:
        check_cast("dtype", data.dtype, _dtype(dtype))
        data = data.astype(_dtype(dtype), copy=False)
    if device is not None:
        where = backend.device(device)
        with memory.explained("tensor", where):
            data = backend.to_device(data, where)
    recording = backend.recording()
    return data if recording is None else recording.constant(data)


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
        Values of any shape; other libraries' arrays by DLPack, ``__array__`` or Python's buffer
        protocol. NaN and infinity are values like others. The copy of a Tensor is off the tape,
        which :func:`asarray` with ``copy=True`` keeps it on.
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
    if isinstance(data, Tensor) and not requires_grad:
        data.lose_gradient(
            "tensor", "the copy", "gt.asarray(x, copy=True)", "gt.tensor(x.detach())"
        )
    data = _shared(data)
    array = _asarray(data, dtype, device)
    given = data.array if isinstance(data, Tensor) else data
    if array is given or (
        backend.on_cpu(array)
        and isinstance(given, np.ndarray)
        and np.may_share_memory(array, given)
    ):
        with backend.on_device_of(array), memory.explained("tensor", backend.device_of(array)):
            array = array.copy()
    result = wrap(backend.in_c_order(array))
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
        As for :func:`tensor`. A Tensor that fits is returned as it is; others are converted and
        copied on the tape.
    copy : bool, optional
        True always copies; False raises instead of copying; None copies if needed.

    Returns
    -------
    Tensor

    Raises
    ------
    ValueError
        With ``copy=False`` if `data` cannot be shared.

    Examples
    --------
    >>> gt.asarray([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    """
    if isinstance(data, Tensor):
        moved = data if device is None else data.to(device)
        if (dtype is not None and moved.dtype != _dtype(dtype)) or (copy and moved is data):
            moved = astype(moved, moved.dtype if dtype is None else dtype)
        if copy is False and moved is not data:
            raise ValueError("asarray: copy=False, but this dtype or device needs a copy")
        return moved
    if copy:
        return tensor(data, dtype, device)
    data = _shared(data)
    array = _asarray(data, dtype, device)
    if (
        copy is False
        and array is not data
        and not (
            backend.on_cpu(array) and isinstance(data, np.ndarray) and np.shares_memory(array, data)
        )
    ):
        raise ValueError("asarray: copy=False, but this dtype, device or kind of data needs a copy")
    return wrap(array)


def _make(name: str, device: str | Device | None, *args: Any, **kwargs: Any) -> Tensor:
    where = backend.device(device)
    with backend.on_device_of(where):
        try:
            make = getattr(backend.namespace(where), name)
            return wrap(make(*args, **kwargs))
        except ValueError as error:
            raise ShapeError(f"{name}: {error}") from None
        except MemoryError as error:
            raise memory.out_of_memory(name, where, error) from None


def _lengths(name: str, shape: int | tuple[int, ...]) -> tuple[int, ...]:
    """Lengths of the axes of a new tensor."""
    lengths = ints(name, "shape", shape)
    if any(n < 0 for n in lengths):
        raise ShapeError(f"{name}: shape {lengths} has a negative length; give 0 or more")
    return lengths


def empty(
    shape: int | tuple[int, ...], *, dtype: DType = None, device: str | Device | None = None
) -> Tensor:
    """Tensor of `shape` with values left to chance; float32 by default.

    Examples
    --------
    >>> gt.empty((2, 3)).shape
    (2, 3)
    """
    return _make("empty", device, _lengths("empty", shape), dtype=_dtype(dtype))


def zeros(
    shape: int | tuple[int, ...], *, dtype: DType = None, device: str | Device | None = None
) -> Tensor:
    """Tensor of `shape` full of zeros; float32 by default.

    Examples
    --------
    >>> gt.zeros((2, 3))
    tensor([[0., 0., 0.],
            [0., 0., 0.]], dtype=float32)
    """
    return _make("zeros", device, _lengths("zeros", shape), dtype=_dtype(dtype))


def ones(
    shape: int | tuple[int, ...], *, dtype: DType = None, device: str | Device | None = None
) -> Tensor:
    """Tensor of `shape` full of ones; float32 by default.

    Examples
    --------
    >>> gt.ones((2, 2))
    tensor([[1., 1.],
            [1., 1.]], dtype=float32)
    """
    return _make("ones", device, _lengths("ones", shape), dtype=_dtype(dtype))


def full(
    shape: int | tuple[int, ...],
    fill_value: complex | Tensor,
    *,
    dtype: DType = None,
    device: str | Device | None = None,
) -> Tensor:
    """Tensor of `shape` full of `fill_value`; float32 for a float, int64 for an int.

    A tensor with one element gives its dtype and its device too, and gets the gradient.

    Raises
    ------
    DTypeError
        If `fill_value` is complex and `dtype` real.
    OverflowError
        If `dtype` has no such integer.

    Examples
    --------
    >>> gt.full((2, 2), 7.0)
    tensor([[7., 7.],
            [7., 7.]], dtype=float32)
    """
    if isinstance(fill_value, (list, tuple)) or backend.is_array(fill_value):
        fill_value = asarray(fill_value)
    if isinstance(fill_value, Tensor):
        one = reshape(fill_value, ()) if fill_value.size == 1 else fill_value
        found = broadcast_to(one, ints("full", "shape", shape))
        return astype(found, found.dtype if dtype is None else dtype, copy=False, device=device)
    value = np.asarray(default_dtype(fill_value))
    chosen = _dtype(value.dtype if dtype is None else dtype)
    check_cast("full", value.dtype, chosen)
    # CuPy takes an integer that is too large for its lowest bits.
    number = np.asarray(fill_value, chosen).item()
    return _make("full", device, _lengths("full", shape), number, dtype=chosen)


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

    Examples
    --------
    >>> gt.arange(5)
    tensor([0, 1, 2, 3, 4])
    >>> gt.arange(1.0, 2.0, 0.25)
    tensor([1.  , 1.25, 1.5 , 1.75], dtype=float32)
    """
    if stop is None:
        start, stop = 0, start
    given = {"start": start, "stop": stop, "step": step}
    start, stop, step = (number("arange", key, value) for key, value in given.items())
    if step == 0:
        raise ValueError("arange: step is 0; it must not be")
    if dtype is None and all(isinstance(n, int) for n in (start, stop, step)):
        dtype = np.int64
    return _make("arange", device, start, stop, step, dtype=_dtype(dtype))


def linspace(
    start: complex | Operand,
    stop: complex | Operand,
    /,
    num: int,
    *,
    dtype: DType = None,
    device: str | Device | None = None,
    endpoint: bool = True,
) -> Tensor:
    """`num` evenly spaced numbers from `start` to `stop`; float32, or complex64, by default.

    Parameters
    ----------
    start, stop : number, Tensor or array
        Ends; tensors and arrays broadcast together, and the numbers are along a new first axis.
        They decide on dtype and device, unless these are given, and gradients flow to them.
        Integers are taken as float64.
    num : int
    dtype : dtype, optional
    device : str or Device, optional
    endpoint : bool
        Whether `stop` is the last number, or the one that would follow.

    Returns
    -------
    Tensor
        Of shape (num, ...), where ... is that of `start` and `stop`.

    Raises
    ------
    DTypeError
        If `start` or `stop` is complex and `dtype` real.
    ValueError
        If `num` is negative.

    Examples
    --------
    >>> gt.linspace(0, 1, 5)
    tensor([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float32)
    """
    num = integer("linspace", "num", num)
    if any(
        isinstance(end, (Tensor, list, tuple)) or backend.is_array(end) for end in (start, stop)
    ):
        return _between(start, stop, num, dtype, device, endpoint)
    if not any(isinstance(end, complex) for end in (start, stop)):
        return _make("linspace", device, start, stop, num, endpoint=endpoint, dtype=_dtype(dtype))
    chosen = _dtype(config.default_complex() if dtype is None else dtype)
    check_cast("linspace", config.default_complex(), chosen)
    found = _make("empty", device, (num,), dtype=np.complex128)
    for part in ("real", "imag"):  # CuPy's function is for real numbers
        ends = getattr(start, part), getattr(stop, part)
        line = _make("linspace", device, *ends, num, endpoint=endpoint, dtype=np.float64)
        with backend.on_device_of(found.array):
            setattr(found.array, part, line.array)
    return astype(found, chosen, copy=False)


def _between(
    start: Operand, stop: Operand, num: int, dtype: DType, device: Any, endpoint: bool
) -> Tensor:
    """:func:`linspace` of tensors, by NumPy's formula."""
    if num < 0:
        raise ShapeError(f"linspace: num is {num}; it must not be negative")
    start, stop = (asarray(e) if isinstance(e, (list, tuple)) else e for e in (start, stop))
    delta = elementwise.subtract(stop, start)
    floating = delta.dtype  # NumPy's promotion does not know bfloat16
    floating = floating if backend.is_narrow(floating) else np.result_type(floating, 1.0)
    if backend.is_narrow(floating):  # 16 bits do not count to many
        start, stop, delta = (
            astype(asarray(e, device=delta.device), np.float32) for e in (start, stop, delta)
        )
        found = _between(start, stop, num, None, None, endpoint)
        return astype(found, floating if dtype is None else dtype, copy=False, device=device)
    places = reshape(arange(num, dtype=floating, device=delta.device), (num, *(1,) * delta.ndim))
    found = elementwise.add(
        start, elementwise.multiply(places, elementwise.divide(delta, max(1, num - endpoint)))
    )
    if endpoint and num > 1:
        found = choices.where(choices.equal(places, num - 1), stop, found)
    chosen = floating if dtype is None else _dtype(dtype)
    found = elementwise.floor(found) if chosen.kind in "iu" else found
    return astype(found, chosen, copy=False, device=device)


def eye(
    n_rows: int,
    n_cols: int | None = None,
    /,
    *,
    k: int = 0,
    dtype: DType = None,
    device: str | Device | None = None,
) -> Tensor:
    """Matrix with ones on its `k`-th diagonal, zeros elsewhere; float32 by default.

    Examples
    --------
    >>> gt.eye(2)
    tensor([[1., 0.],
            [0., 1.]], dtype=float32)
    """
    n_rows, k = integer("eye", "n_rows", n_rows), integer("eye", "k", k)
    n_cols = n_cols if n_cols is None else integer("eye", "n_cols", n_cols)
    return _make("eye", device, n_rows, n_cols, k, dtype=_dtype(dtype))


def _like(
    name: str, x: Operand, dtype: DType, device: str | Device | None
) -> tuple[tuple[int, ...], np.dtype[Any], str | Device]:
    """Shape, dtype and device of what shall be like `x`."""
    array = x.array if isinstance(x, Tensor) else raw_operand(name, x)
    if not backend.is_array(array):
        raise TypeError(f"{name}: x must be a tensor or an array, got {type(x).__name__}")
    where = backend.device_of(array) if device is None else device
    return array.shape, array.dtype if dtype is None else _dtype(dtype), where


def full_like(
    x: Operand,
    /,
    fill_value: complex | Tensor,
    *,
    dtype: DType = None,
    device: str | Device | None = None,
) -> Tensor:
    """Tensor with the shape and (unless given) dtype and device of `x`, full of `fill_value`.

    Examples
    --------
    >>> gt.full_like(gt.ones(2), 5)
    tensor([5., 5.], dtype=float32)
    """
    shape, chosen, where = _like("full_like", x, dtype, device)
    return full(shape, fill_value, dtype=chosen, device=where)


def empty_like(x: Operand, /, *, dtype: DType = None, device: str | Device | None = None) -> Tensor:
    """Tensor with the shape and (unless given) dtype and device of `x`; values by chance.

    Examples
    --------
    >>> gt.empty_like(gt.ones((2, 3))).shape
    (2, 3)
    """
    shape, chosen, where = _like("empty_like", x, dtype, device)
    return _make("empty", where, shape, dtype=chosen)


def zeros_like(x: Operand, /, *, dtype: DType = None, device: str | Device | None = None) -> Tensor:
    """Zeros with the shape and (unless given) dtype and device of `x`.

    Examples
    --------
    >>> gt.zeros_like(gt.ones(2))
    tensor([0., 0.], dtype=float32)
    """
    shape, chosen, where = _like("zeros_like", x, dtype, device)
    return _make("zeros", where, shape, dtype=chosen)


def ones_like(x: Operand, /, *, dtype: DType = None, device: str | Device | None = None) -> Tensor:
    """Ones with the shape and (unless given) dtype and device of `x`.

    Examples
    --------
    >>> gt.ones_like(gt.zeros(2))
    tensor([1., 1.], dtype=float32)
    """
    shape, chosen, where = _like("ones_like", x, dtype, device)
    return _make("ones", where, shape, dtype=chosen)


# Kinds of devices in DLPack; pinned and managed memory is the host's and the device's as well.
_DLPACK_CPU, _DLPACK_CUDA = (1, 3), (2, 13)


def from_dlpack(
    x: Any, /, *, device: str | Device | None = None, copy: bool | None = None
) -> Tensor:
    """Tensor of another library's array, in the same memory where that is possible.

    Parameters
    ----------
    x : object with ``__dlpack__`` and ``__dlpack_device__``
        Of PyTorch, JAX, NumPy, CuPy and others.
    device : str or Device, optional
        Where to put it; by default it stays where it is.
    copy : bool, optional
        True always copies; False raises instead of copying; None copies if needed.

    Returns
    -------
    Tensor

    Raises
    ------
    ValueError
        With ``copy=False`` if it has to go to another device.
    DeviceError
        If it is on a kind of device that is not supported.
    TypeError
        If `x` is no such object.

    Examples
    --------
    >>> gt.from_dlpack(np.arange(3.0))
    tensor([0., 1., 2.], dtype=float64)
    """
    if not hasattr(x, "__dlpack_device__"):
        raise TypeError(
            f"from_dlpack: x is a {type(x).__name__}, which does not export; gt.asarray takes it"
        )
    kind, index = (int(n) for n in x.__dlpack_device__())
    if kind not in (*_DLPACK_CPU, *_DLPACK_CUDA):
        raise DeviceError(
            f"from_dlpack: x is on a device of DLPack's kind {kind}; allowed are memory of the CPU "
            "and of CUDA devices"
        )
    here = backend.device("cpu" if kind in _DLPACK_CPU else f"cuda:{index}")
    target = here if device is None else backend.device(device)
    if copy is False and target != here:
        raise ValueError(f"from_dlpack: copy=False, but x is on {here} and shall be on {target}")
    if isinstance(x, Tensor):  # CuPy asks for more than DLPack's methods
        x._leave_tape("from_dlpack", "gt.from_dlpack(x.detach())")
        x = x.array
    if isinstance(x, np.ndarray):
        x = backend.plain(x)
        _dtype(x.dtype)
    with backend.on_device_of(here):
        array = _imported(backend.namespace(here), x)
        _dtype(array.dtype)
        return wrap(backend.to_device(array.copy() if copy else array, target))


def _imported(xp: Any, x: Any) -> Any:
    """Raw array in the memory of an object that exports it; NumPy takes no bfloat16 by itself."""
    dtype = str(getattr(x, "dtype", ""))
    if backend.is_array(x) or not dtype.endswith("bfloat16"):
        try:
            return xp.from_dlpack(x)
        except RuntimeError as error:
            if "dtype" not in str(error):
                raise
            raise DTypeError(f"from_dlpack: elements of {dtype} are not supported") from None
    if getattr(x, "requires_grad", False):
        raise BufferError("from_dlpack: x requires a gradient; write gt.from_dlpack(x.detach())")
    torch = sys.modules.get("torch")
    is_torch = torch is not None and isinstance(x, torch.Tensor)
    bits = x.view(torch.int16 if is_torch else np.int16)  # type: ignore[union-attr]
    return xp.from_dlpack(bits).view(bfloat16("from_dlpack"))


def meshgrid(*arrays: Operand, indexing: str = "xy") -> list[Tensor]:
    """Coordinates of every point of a grid: each array repeated along the axes of the others.

    Parameters
    ----------
    *arrays : Tensor or array
        One axis each, or none.
    indexing : {"xy", "ij"}
        Whether the first two axes of the results are those of the second and the first array,
        as rows and columns of a picture, or all are in order.

    Returns
    -------
    list of Tensor
        One for each array. Gradients are summed along the axes that it was repeated along.

    Raises
    ------
    ShapeError
        If an array has several axes.
    ValueError
        If `indexing` is another.

    Examples
    --------
    >>> x, y = gt.meshgrid(gt.arange(2), gt.arange(3))
    >>> x.shape, y[0]
    ((3, 2), tensor([0, 0]))
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing is {indexing!r}; allowed are 'xy' and 'ij'")
    given = [asarray(a) for a in arrays]
    for i, a in enumerate(given):
        if a.ndim > 1:
            raise ShapeError(f"meshgrid: array {i} has shape {a.shape}; give arrays of one axis")
    order = list(range(len(given)))
    if indexing == "xy":
        order[:2] = reversed(order[:2])  # of no more than there are
    shape = tuple(given[i].size for i in order)
    places = {i: place for place, i in enumerate(order)}
    lines = [
        reshape(a, tuple(a.size if k == places[i] else 1 for k in range(len(given))))
        for i, a in enumerate(given)
    ]
    return [broadcast_to(line, shape) for line in lines]


def _triangle(name: str) -> Primitive:
    """The rule is the operation itself: what was cut off gets no gradient."""
    return Primitive(
        name,
        lambda xp, x, k: getattr(xp, name)(x, k=k),
        (lambda xp, g, _out, _x, k: getattr(xp, name)(g, k=k),),
    )


_tril, _triu = _triangle("tril"), _triangle("triu")


def _matrices(name: str, x: Operand) -> Operand:
    x = as_array(name, x)
    if len(getattr(x, "shape", ())) < 2:
        raise ShapeError(f"{name}: x needs two axes or more, its shape is {np.shape(x)}")
    return x


def tril(x: Operand, /, *, k: int = 0) -> Tensor:
    """Lower triangle of the last two axes, zeros above.

    Parameters
    ----------
    x : Tensor or array of shape (..., m, n)
    k : int
        The last diagonal that stays: 0 is the main one, above it they are positive.

    Returns
    -------
    Tensor
        Of the shape of `x`.

    Raises
    ------
    ShapeError
        If `x` has fewer than two axes.

    Examples
    --------
    >>> gt.tril(gt.ones((2, 2)))
    tensor([[1., 0.],
            [1., 1.]], dtype=float32)
    """
    return _tril(_matrices("tril", x), k=integer("tril", "k", k))


def triu(x: Operand, /, *, k: int = 0) -> Tensor:
    """Upper triangle of the last two axes, zeros below; `k` is the first diagonal that stays.

    Examples
    --------
    >>> gt.triu(gt.ones((2, 2)))
    tensor([[1., 1.],
            [0., 1.]], dtype=float32)
    """
    return _triu(_matrices("triu", x), k=integer("triu", "k", k))


def raw_like(x: Any, name: str, *args: Any, dtype: Any = None) -> Any:
    """Raw array made by a function of the namespace of `x`, on its device and of its dtype."""
    raw = x.array if isinstance(x, Tensor) else x
    with backend.on_device_of(raw):
        make = getattr(backend.namespace(raw), name)
        return make(*args, dtype=dtype or x.dtype)


def parameter(array: Any) -> Tensor:
    """Tensor around a raw array, without a copy, that gradients are accumulated for."""
    return wrap(array, Leaf(array))
