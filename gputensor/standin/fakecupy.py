"""A module that behaves like CuPy and computes with NumPy.

An array holds a NumPy array instead of being one, so that NumPy takes it for a stranger just as
it takes a CuPy array: ``numpy.asarray`` is refused, mixing the two is refused, and nothing comes
to the host unnoticed.
"""

import collections
import contextlib
import functools
import importlib
import importlib.machinery
import inspect
import operator
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np

from . import fakecuda, streams
from .cupy_api import (
    ABSENT,
    ABSENT_KEYWORDS,
    CUBLAS,
    LAYOUT_KEPT,
    MUTATING,
    NEVER_KEYWORDS,
    SYNCHRONIZING,
    THRUST,
    UFUNC_KEYWORDS,
    UFUNC_METHODS,
    words,
)
from .elementwise import parameters, run
from .host_module import RawKernel, RawModule
from .memory import (
    Allocation,
    MemoryPointer,
    MemoryPool,
    alloc,
    default_pool,
    memory_of,
    require,
    without_owner,
)
from .state import Count, counters, current, settings
from .streams import get_current_stream
from .ufuncs import LOOPS, choose, compute, converted

__all__ = ["make_modules", "ndarray"]

HostArray = np.ndarray[Any, Any]
_SCALARS = (bool, int, float, complex, np.generic)


# ------------------------------------------------------------------ between device and host


def _allocate(shape: Any, dtype: Any, order: str = "C", poison: bool = True) -> HostArray:
    """Host's view of new device memory."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "biufc" and dtype.name != "bfloat16":
        raise TypeError(f"Unsupported dtype {dtype}")
    shape = tuple(shape) if isinstance(shape, list | tuple) else (operator.index(shape),)
    size = 1
    for n in shape:
        if operator.index(n) < 0:
            raise ValueError("Negative dimensions are not allowed")
        size *= operator.index(n)
    pointer = alloc(size * dtype.itemsize)
    memory = pointer.mem
    memory.block.label = f"{dtype} array of shape {shape}"
    offset = pointer.ptr - memory.ptr
    if poison:
        np.asarray(memory)[offset : offset + size * dtype.itemsize] = 0xFF
    return np.ndarray(shape, dtype, np.asarray(memory), offset, order=order)


def _copied(host: HostArray, order: str = "K") -> HostArray:
    """Copy in new device memory; while capturing only the memory, the values are for later."""
    capturing = get_current_stream().capture is not None
    copy = _allocate_like(np.empty_like(host, order=order, subok=False), poison=capturing)
    if not capturing:
        copy[...] = host
    return copy


def _allocate_like(like: HostArray, poison: bool = False) -> HostArray:
    """New device memory with the shape, dtype and order of axes of a dense array."""
    if like.flags.c_contiguous:
        return _allocate(like.shape, like.dtype, poison=poison)
    axes = sorted(range(like.ndim), key=lambda i: -like.strides[i])
    dense = _allocate([like.shape[i] for i in axes], like.dtype, poison=poison)
    return dense.transpose(np.argsort(axes))


_OWNERS: "weakref.WeakValueDictionary[int, ndarray]" = weakref.WeakValueDictionary()


def _array(host: HostArray) -> "ndarray":
    """Device array around a view of device memory."""
    array = object.__new__(ndarray)
    array._host = host
    array._set_base()
    return array


def _upload(value: Any, dtype: Any = None, order: str = "K") -> HostArray:
    """Values from the host in new device memory, counted."""
    host = np.asarray(value, dtype)
    _to_device(host.nbytes)
    return _copied(host, order)


def _to_device(nbytes: int) -> None:
    streams.refuse_upload()
    counters.to_device(nbytes)


def _to_host(nbytes: int, stream: Any = None) -> None:
    streams.refuse_host(stream)
    counters.to_host(nbytes)


def _waits() -> None:
    """Wait for a value that the host needs."""
    streams.refuse_host()
    counters.count("synchronizations")


def _from_interface(value: Any) -> HostArray:
    """Memory of a foreign object that tells its address."""
    interface = value.__cuda_array_interface__
    if 0 in interface["shape"]:
        return _allocate(interface["shape"], interface["typestr"])
    address = interface["data"][0]
    memory = Allocation.around(address)
    if memory is None:
        raise ValueError("__cuda_array_interface__ points to no memory of the stand-in")
    return np.ndarray(
        interface["shape"],
        interface["typestr"],
        np.asarray(memory),
        address - memory.ptr,
        interface.get("strides"),
    )


def _unsupported(value: Any) -> TypeError:
    return TypeError(f"Unsupported type {type(value)}")


def _unwrap(value: Any) -> Any:
    """Argument of a function for NumPy; arrays of the host are refused."""
    if isinstance(value, ndarray):
        device = value._memory.device
        if device != current.id:
            raise ValueError(
                f"The device where the array resides ({device}) is different from the current "
                f"device ({current.id}). Peer access is unavailable between these devices."
            )
        require(value._memory)
        return value._host
    if isinstance(value, np.ndarray):
        raise _unsupported(value)
    if type(value) in (list, tuple):
        return type(value)(map(_unwrap, value))
    if hasattr(value, "__cuda_array_interface__"):
        return _from_interface(value)
    return value


def _wrap(value: Any, order: str = "C") -> Any:
    """Result of NumPy as CuPy would return it: arrays on the device, never scalars.

    Whatever the operands' order of axes: what CuPy's kernels make is C-contiguous.
    """
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, np.ndarray):
        return _array(value if memory_of(value) else _copied(value, order))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_wrap(v, order) for v in value))
    if type(value) in (list, tuple):
        return type(value)(_wrap(v, order) for v in value)
    return value


def _computed(value: Any) -> bool:
    """Whether a function of NumPy made something new, not just a view or a number."""
    if isinstance(value, list | tuple):
        return any(map(_computed, value))
    return isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not memory_of(value))


def _mapped(change: Callable[[HostArray], Any], value: Any) -> Any:
    """Arguments with each array of device memory changed."""
    if isinstance(value, dict):
        return {k: _mapped(change, v) for k, v in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_mapped(change, v) for v in value)
    return change(value) if isinstance(value, np.ndarray) and memory_of(value) else value


def _leaves(value: Any) -> list[Any]:
    """What lists and tuples hold in the end."""
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


def _bytes(args: Any, found: Any) -> int:
    """Bytes of the arrays that a function was given, and of what it made."""
    given = sum(a.nbytes for a in _leaves(tuple(args)) if isinstance(a, np.ndarray))
    return given + sum(a.nbytes for a in _leaves(found) if isinstance(a, np.ndarray | np.generic))


def _perform(
    function: Callable[..., Any],
    args: Any,
    kwargs: dict[str, Any] | None = None,
    writes: Any = (),
    *,
    name: str = "",
    order: str = "C",
) -> Any:
    """Run a function of NumPy on views of device memory, or record that while capturing.

    Parameters
    ----------
    function : callable
        What to run. It must not refer to arrays other than its arguments.
    args, kwargs
        Its arguments.
    writes : sequence of ndarray
        Those of them that it writes to.
    name : str, optional
        What it counts as; that of the function by default.
    order : {"C", "K"}
        Of the axes of what is new: C, or that of what the function gives.

    Returns
    -------
    object
        What it gives, on the device. While capturing nothing is written; what is new is garbage.
    """
    kwargs = kwargs or {}
    capture = streams.recording()
    name = name or getattr(function, "__name__", "function").strip("_")
    if not capture:
        with np.errstate(all="ignore"):  # a device does not warn
            found = function(*args, **kwargs)
        if found is None or writes or _computed(found):
            counters.ran("array_ops", Count(name, _bytes(args, found)))
        return _wrap(found, order)
    # On copies it tells the shapes of what it makes.
    copies = {id(host): host.copy() for host in writes}
    trial = _mapped(lambda host: copies.get(id(host), host), (tuple(args), kwargs))
    with np.errstate(all="ignore"):
        found = function(*trial[0], **trial[1])
    result = _wrap(found, order)
    if not (found is None or writes or _computed(found)):
        return result  # a view
    uses = streams.Uses()

    def unowned(host: HostArray) -> HostArray:
        return without_owner(host, uses, any(host is other for other in writes))

    frozen_args, frozen_kwargs = _mapped(unowned, (tuple(args), kwargs))
    outs = [
        without_owner(made._host, uses, True) if _computed(leaf) else None
        for leaf, made in zip(_leaves(found), _leaves(result), strict=True)
    ]

    def run() -> None:
        with np.errstate(all="ignore"):
            again = function(*frozen_args, **frozen_kwargs)
        for out, value in zip(outs, _leaves(again), strict=True):
            if out is not None:
                out[...] = value

    what = Count(name, _bytes(args, found))
    capture.add(get_current_stream(), [streams.Work(run, "array_ops", uses, what)])
    return result


def _check_capturable(name: str, args: Any) -> None:
    """Refuse what CuPy or CUDA refuse while capturing."""
    if not get_current_stream().capture:
        return
    if name in CUBLAS:
        hosts = [a for a in args if isinstance(a, np.ndarray)]
        if len(hosts) > 1 and any(host.dtype.kind not in "biu" for host in hosts):
            streams.refuse_library("cuBLAS")
    elif name.startswith("linalg.") and name not in ("linalg.cross", "linalg.norm"):
        streams.refuse_library("cuSOLVER")
    elif name in THRUST:
        streams.refuse_wait(None)


def _call(
    function: Callable[..., Any],
    name: str,
    args: Any,
    kwargs: dict[str, Any],
    fixed: Mapping[str, Any] = MappingProxyType({}),
) -> Any:
    """Call a function of NumPy with device arrays, and with keywords that CuPy need not know."""
    for keyword in kwargs:
        if keyword in NEVER_KEYWORDS or name in ABSENT_KEYWORDS.get(keyword, ()):
            raise TypeError(f"{name}() got an unexpected keyword argument {keyword!r}")
    if name in SYNCHRONIZING:
        _waits()
    host_args = [_unwrap(a) for a in args]
    host_kwargs = {k: _unwrap(v) for k, v in kwargs.items()}
    _check_capturable(name, host_args)
    out = kwargs.get("out")
    writes = _leaves(host_kwargs["out"]) if out is not None else host_args[: name in MUTATING]
    order = "K" if name in LAYOUT_KEPT else "C"
    if name in _REDUCED:
        function = functools.partial(_REDUCED[name], function)
    result = _perform(function, host_args, {**host_kwargs, **fixed}, writes, name=name, order=order)
    return result if out is None else out


# ------------------------------------------------------------------ reductions


def _accumulated(
    wide: bool, function: Callable[..., Any], a: HostArray, *args: Any, **kwargs: Any
) -> Any:
    """Reduce as CuPy's kernels do: in the dtype asked for, and numbers of 16 bits in float32."""
    dtype = kwargs.pop("dtype", None)
    if dtype is not None:
        a = converted(a, dtype)
    if wide and a.dtype.itemsize == 2 and a.dtype.kind in "fV":
        return np.asarray(function(a.astype(np.float32), *args, **kwargs)).astype(a.dtype)
    return (
        function(a, *args, **kwargs) if dtype is None else function(a, *args, dtype=dtype, **kwargs)
    )


def _quiet(function: Callable[..., Any], a: HostArray, *args: Any, **kwargs: Any) -> Any:
    """Reduce without a word about nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _accumulated(True, function, a, *args, **kwargs)


def _variance(
    function: Callable[..., Any],
    a: HostArray,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: int = 0,
    keepdims: bool = False,
) -> Any:
    """Mean of squares, NaN where no degree of freedom is left; of bfloat16 in float64."""
    count = np.size(a) // max(np.size(np.sum(np.empty(a.shape, bool), axis)), 1)
    if dtype is None:
        dtype = {"b": "d", "i": "d", "u": "d", "V": "d"}.get(a.dtype.kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = function(a, axis, dtype, out, ddof if count > ddof else 0, keepdims)
    return found if count > ddof else found * np.asarray(np.nan, np.asarray(found).dtype)


def _sorted(function: Callable[..., Any], a: HostArray, *args: Any, **kwargs: Any) -> Any:
    """Sort in a stable way; in rows of one axis a NaN whose sign is minus comes first."""
    if a.dtype.name == "bfloat16":
        raise ValueError("Unsupported dtype (bfloat16)")
    kwargs["kind"] = "stable"
    if a.ndim != 1 or a.dtype.char not in "fd":
        return function(a, *args, **kwargs)
    first = np.isnan(a) & np.signbit(a)
    if not first.any():
        return function(a, *args, **kwargs)
    order = [*np.flatnonzero(first), *np.flatnonzero(~first)[np.argsort(a[~first], kind="stable")]]
    return np.array(order) if function is np.argsort else a[order]


def _unique(function: Callable[..., Any], a: HostArray, *args: Any, **kwargs: Any) -> Any:
    if a.dtype.name == "bfloat16":
        raise ValueError("Unsupported dtype (bfloat16)")
    return function(a, *args, **kwargs)


def _extreme_place(function: Callable[..., Any], a: HostArray, *args: Any, **kwargs: Any) -> Any:
    """First place of the extreme; of several NaN any, here the last."""
    axis = kwargs.get("axis", args[0] if args else None)
    found = np.asarray(function(a, *args, **kwargs))
    if a.dtype.kind != "f" or not np.isnan(a).any():
        return found
    nan = np.isnan(a.reshape(-1) if axis is None else a)
    axis = 0 if axis is None else axis
    last = nan.shape[axis] - 1 - np.argmax(np.flip(nan, axis), axis)
    return np.where(nan.any(axis).reshape(found.shape), last.reshape(found.shape), found)


_REDUCED: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("sort", "argsort"), _sorted),
    **dict.fromkeys(("argmax", "argmin"), _extreme_place),
    "unique": _unique,
    **dict.fromkeys(("sum", "prod", "trace"), functools.partial(_accumulated, True)),
    **dict.fromkeys(("cumsum", "cumprod"), functools.partial(_accumulated, False)),
    **dict.fromkeys(("mean", "nanmean", "median", "nanmedian"), _quiet),
    **dict.fromkeys(("var", "std"), _variance),
}


# ------------------------------------------------------------------ the array


class _Flags:
    """Memory layout, with CuPy's names; there is no ``writeable``."""

    def __init__(self, host: HostArray) -> None:
        self.c_contiguous = host.flags.c_contiguous
        self.f_contiguous = host.flags.f_contiguous
        self.fnc = host.flags.fnc
        self.forc = host.flags.forc
        memory = memory_of(host)
        self.owndata = memory is None or memory.nbytes == host.nbytes

    def __getitem__(self, name: str) -> bool:
        return bool(getattr(self, name.lower()))


def _binary(function: np.ufunc) -> Callable[[Any, Any], Any]:
    def method(self: "ndarray", other: Any) -> Any:
        return NotImplemented if _defers(self, other) else _ufunc(function)(self, other)

    return method


def _reflected(function: np.ufunc) -> Callable[[Any, Any], Any]:
    def method(self: "ndarray", other: Any) -> Any:
        return NotImplemented if _defers(self, other) else _ufunc(function)(other, self)

    return method


def _in_place(function: np.ufunc) -> Callable[[Any, Any], Any]:
    def method(self: "ndarray", other: Any) -> Any:
        return NotImplemented if _defers(self, other) else _ufunc(function)(self, other, out=self)

    return method


def _unary(function: np.ufunc) -> Callable[[Any], Any]:
    return lambda self: _ufunc(function)(self)


def _defers(self: "ndarray", other: Any) -> bool:
    """Whether an operator is left to the other operand."""
    if isinstance(other, (ndarray, np.ndarray, *_SCALARS)):
        return False
    if hasattr(other, "__array_ufunc__"):
        return other.__array_ufunc__ is None
    return getattr(other, "__array_priority__", 0) > self.__array_priority__


def _forward(name: str) -> Callable[..., Any]:
    function = getattr(np.ndarray, name, None) or getattr(np, name)
    return lambda self, *args, **kwargs: _call(function, name, (self, *args), kwargs)


def _around(shape: tuple[int, ...], items: list[Any]) -> tuple[Any, ...]:
    """Index for NumPy of an array of some shape."""
    items = list(items)
    consumed = sum(
        k.ndim if isinstance(k, np.ndarray) and k.dtype == bool else 1
        for k in items
        if k is not None and k is not Ellipsis and not isinstance(k, bool)
    )
    axis = 0
    for i, k in enumerate(items):
        if k is Ellipsis:
            axis += len(shape) - consumed
        elif isinstance(k, np.ndarray) and k.dtype == bool:
            axis += k.ndim
        elif k is not None and not isinstance(k, bool):
            # Unlike NumPy, CuPy takes what lies out of bounds around the end.
            if isinstance(k, np.ndarray) and k.dtype.kind in "iu" and axis < len(shape):
                items[i] = k % max(shape[axis], 1)
            axis += 1
    # Without an ellipsis NumPy would make scalars where CuPy makes 0-d views.
    return tuple(items) if any(k is Ellipsis for k in items) else (*items, Ellipsis)


def _picked(host: HostArray, items: list[Any]) -> HostArray:
    return np.array(host[_around(host.shape, items)])


def _put_in(host: HostArray, items: list[Any], value: HostArray) -> None:
    host[_around(host.shape, items)] = converted(value, host.dtype)


def _write_number(host: HostArray, value: Any) -> None:
    host[...] = value


class ndarray:
    """Array on a device, with the interface of ``cupy.ndarray``."""

    __slots__ = ("__weakref__", "_host", "base")
    __module__ = "cupy"
    __array_priority__ = 100
    __hash__ = None

    def __init__(
        self,
        shape: Any,
        dtype: Any = float,
        memptr: MemoryPointer | None = None,
        strides: Any = None,
        order: str = "C",
    ) -> None:
        self._host: HostArray
        self.base: ndarray | None = None
        if memptr is None:
            self._host = _allocate(shape, dtype, order)
            self._set_base()
        else:
            offset = memptr.ptr - memptr.mem.ptr
            self._host = np.ndarray(
                shape,
                dtype,
                np.asarray(memptr.mem),
                offset,
                strides,
                order,
            )
            _OWNERS[id(self._memory)] = self  # the base of views to come

    # ---- what it is

    @property
    def _memory(self) -> Allocation:
        memory = memory_of(self._host)
        assert memory is not None
        return memory

    @property
    def data(self) -> MemoryPointer:
        """Where the first element lies."""
        memory = self._memory
        return MemoryPointer(memory, self._host.__array_interface__["data"][0] - memory.ptr)

    @property
    def device(self) -> fakecuda.Device:
        """Device that the array lives on."""
        return fakecuda.Device(self._memory.device)

    @property
    def _c_contiguous(self) -> bool:
        """What CuPy's compiled part has for it, without making flags."""
        return bool(self._host.flags.c_contiguous)

    @property
    def flags(self) -> _Flags:
        """Memory layout."""
        return _Flags(self._host)

    def _set_base(self) -> None:
        """The first array in a memory is its owner, and the base of those that come later."""
        memory = memory_of(self._host)
        owner = self if memory is None else _OWNERS.setdefault(id(memory), self)
        self.base = None if owner is self else owner

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self._host.shape

    @shape.setter
    def shape(self, shape: Any) -> None:
        self._host.shape = shape

    @property
    def T(self) -> "ndarray":
        """View with the axes reversed."""
        return _array(self._host.T)

    @property
    def mT(self) -> "ndarray":
        """View with the last two axes exchanged."""
        return _array(self._host.mT)

    @property
    def real(self) -> "ndarray":
        """Real part, a view."""
        return _array(self._host.real)

    @real.setter
    def real(self, value: Any) -> None:
        self.real[...] = value

    @property
    def imag(self) -> Any:
        """Imaginary part, a view; zeros for real numbers."""
        return _perform(lambda host: host.imag, (self._host,))

    @imag.setter
    def imag(self, value: Any) -> None:
        self.imag[...] = value

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        host = self._host
        return {
            "shape": host.shape,
            "typestr": host.dtype.str,
            "descr": host.dtype.descr,
            "stream": 1,
            "version": 3,
            "strides": None if host.flags.c_contiguous else host.strides,
            "data": (host.__array_interface__["data"][0] if host.size else 0, False),
        }

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator["ndarray"]:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    # ---- to the host

    def get(
        self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True
    ) -> HostArray:
        """Copy to the host."""
        require(self._memory)
        _to_host(self.nbytes, stream)
        if out is None:
            return self._host.copy("A" if order == "A" else order)
        if not isinstance(out, np.ndarray):
            raise TypeError("Only numpy.ndarray can be obtained from cupy.ndarray")
        if out.dtype != self.dtype or out.shape != self.shape:
            raise TypeError(f"{out.dtype}{out.shape} cannot take {self.dtype}{self.shape}")
        out[...] = self._host
        return out

    def set(self, arr: HostArray, stream: Any = None) -> None:
        """Copy from the host."""
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype or arr.shape != self.shape:
            raise TypeError(f"{arr.dtype}{arr.shape} cannot be set to {self.dtype}{self.shape}")
        _to_device(arr.nbytes)
        self._host[...] = arr

    def item(self) -> Any:
        """Only element, as a Python number."""
        return self.get().item()

    def tolist(self) -> Any:
        """All elements, as Python numbers."""
        return self.get().tolist()

    def tobytes(self, order: Any = "C") -> bytes:
        """All elements, as bytes."""
        return self.get().tobytes(order)

    def __bool__(self) -> bool:
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __complex__(self) -> complex:
        return complex(self.get())

    def __repr__(self) -> str:
        return repr(self.get())

    def __str__(self) -> str:
        return str(self.get())

    def __format__(self, spec: str) -> str:
        return format(self.get(), spec)

    def __reduce__(self) -> Any:
        return _asarray, (self.get(),)

    def __array__(self, dtype: Any = None, copy: Any = None) -> HostArray:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    # ---- protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        function = getattr(_namespace(), ufunc.__name__, None)
        if method != "__call__" or function is None:
            return NotImplemented
        if "out" in kwargs:
            (kwargs["out"],) = kwargs["out"]
        return function(*inputs, **kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        place: Any = _namespace()
        try:
            for name in func.__module__.split(".")[1:]:
                place = getattr(place, name)
            function = getattr(place, func.__name__)
        except AttributeError:
            return NotImplemented
        if any(t not in (ndarray, np.ndarray) for t in types):
            return NotImplemented
        return function(*args, **kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self._memory.device

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: Any = None,
        dl_device: Any = None,
        copy: Any = None,
    ) -> Any:
        if dl_device is None or tuple(dl_device) != (1, 0):
            raise BufferError("the stand-in exports to the CPU only")
        return self.get().__dlpack__()

    # ---- indexing

    def _index(self, key: Any) -> tuple[list[Any], bool, bool]:
        """Index of host arrays; whether there are arrays in it, and whether one is a mask."""
        items = [self._index_item(k) for k in (key if type(key) is tuple else (key,))]
        arrays = [k for k in items if isinstance(k, np.ndarray)]
        return items, bool(arrays), any(a.dtype == bool for a in arrays)

    def _index_item(self, k: Any) -> Any:
        if isinstance(k, np.ndarray | list):
            host = np.asarray(k)
            _to_device(host.nbytes)
            return host.astype(np.int64) if host.size == 0 else host
        return _unwrap(k)

    def __getitem__(self, key: Any) -> "ndarray":
        items, arrays, masked = self._index(key)
        if not arrays:
            return _array(self._host[_around(self.shape, items)])
        if masked:
            _waits()
        picked: ndarray = _perform(_picked, (_unwrap(self), items))
        return picked

    def __setitem__(self, key: Any, value: Any) -> None:
        items, arrays, masked = self._index(key)
        if not isinstance(value, ndarray) and not hasattr(value, "__cuda_array_interface__"):
            if not arrays:
                _array(self._host[_around(self.shape, items)]).fill(value)
                return
            # An array of no axes, whose one element is filled in.
            value = _asarray(value, self.dtype)
        host = _unwrap(value)
        if masked and host.ndim:
            _waits()
        _perform(_put_in, (_unwrap(self), items, host), writes=[self._host], name="cupy_copy")

    def __delitem__(self, key: Any) -> None:
        raise NotImplementedError

    # ---- copies and views

    def copy(self, order: str = "C") -> Any:
        """Copy in new memory."""
        require(self._memory)
        kwargs = {"order": order}
        return _perform(np.array, (self._host,), kwargs, name="cupy_copy", order="K")

    def __copy__(self) -> Any:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Any:
        with self.device:
            return self.copy()

    def astype(
        self,
        dtype: Any,
        order: str = "K",
        casting: Any = None,
        subok: Any = None,
        copy: bool = True,
    ) -> Any:
        """Copy with another dtype."""
        if casting is not None:
            raise TypeError("casting is not supported yet")
        if subok is not None:
            raise TypeError("subok is not supported yet")
        if not copy and np.dtype(dtype) == self.dtype:
            return self
        args = (_unwrap(self), dtype, order)
        return _perform(converted, args, name="cupy_copy", order="K")

    def fill(self, value: Any) -> None:
        """Set every element; what equals 0 by zero bytes, where they lie without gaps."""
        host = _unwrap(self)
        if isinstance(value, ndarray):
            if value.shape != ():
                raise ValueError("non-scalar cupy.ndarray cannot be used for fill")
            _perform(_put_in, (host, [...], _unwrap(value)), writes=[host], name="cupy_fill")
            return
        number = np.asarray(value, self.dtype)
        if number.shape != ():
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        if number == 0 and host.flags.c_contiguous:
            self.data.memset_async(0, self.nbytes)
        else:
            _perform(_write_number, (host, number[()]), writes=[host], name="cupy_fill")

    def view(self, dtype: Any = None, type: Any = None) -> "ndarray":
        """Same memory, read as another dtype."""
        return _array(self._host.view() if dtype is None else self._host.view(dtype))

    def reshape(self, *shape: Any, order: Any = "C", copy: bool | None = None) -> "ndarray":
        """Same elements in another shape, a view where that is possible."""
        return _call(np.ndarray.reshape, "ndarray.reshape", (self, *shape), {"order": order})

    def take(self, indices: Any, axis: Any = None, out: Any = None) -> "ndarray":
        """Elements along an axis; what lies out of bounds is taken around the end."""
        return _take(self, indices, axis, out)

    def clip(self, min: Any = None, max: Any = None, out: Any = None) -> "ndarray":
        """Bring elements between two bounds."""
        return _clip(self, min, max, out)

    def round(self, decimals: int = 0, out: Any = None) -> "ndarray":
        """Round to a number of decimals."""
        return _round(self, decimals, out)

    def conj(self) -> "ndarray":
        """Complex conjugate; of real numbers the array itself."""
        return _ufunc(np.conjugate)(self) if self.dtype.kind == "c" else self

    conjugate = conj

    def __pow__(self, other: Any) -> Any:
        """Power, by other functions where the exponent is a number that these are for."""
        if type(other) is int and other == 2:
            dtype = None if self.dtype.kind in "ifc" else np.result_type(self.dtype, other)
            return _ufunc(np.square)(self, dtype=dtype)
        quick = {0.5: np.sqrt, 2.0: np.square, -1.0: np.reciprocal}
        if type(other) is float and other in quick:
            dtype = None if self.dtype.kind in "fc" else np.result_type(self.dtype, other)
            return _ufunc(quick[other])(self, dtype=dtype)
        return NotImplemented if _defers(self, other) else _ufunc(np.power)(self, other)

    def scatter_add(self, slices: Any, value: Any) -> None:
        """Add at places that may repeat."""
        _ufunc(np.add).at(self, slices, value)

    def scatter_max(self, slices: Any, value: Any) -> None:
        """Take the greater at places that may repeat."""
        _ufunc(np.maximum).at(self, slices, value)

    def scatter_min(self, slices: Any, value: Any) -> None:
        """Take the smaller at places that may repeat."""
        _ufunc(np.minimum).at(self, slices, value)

    def __eq__(self, other: object) -> Any:
        return self._compare(np.equal, other)

    def __ne__(self, other: object) -> Any:
        return self._compare(np.not_equal, other)

    def _compare(self, function: np.ufunc, other: Any) -> Any:
        if _defers(self, other):
            return NotImplemented
        if other is None or isinstance(other, str):
            return _perform(np.full, (self.shape, function is np.not_equal))
        return _ufunc(function)(self, other)


for _name in ("dtype", "itemsize", "nbytes", "ndim", "size", "strides"):
    setattr(ndarray, _name, property(operator.attrgetter(f"_host.{_name}")))

for _name in words("""
    all any argmax argmin argpartition argsort choose compress cumprod cumsum
    diagonal dot flatten max mean min nonzero partition prod ptp put ravel repeat
    searchsorted sort squeeze std sum swapaxes trace transpose var
"""):
    setattr(ndarray, _name, _forward(_name))

for _name, _function in {
    **{"add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide},
    **{"floordiv": np.floor_divide, "mod": np.remainder, "pow": np.power, "matmul": np.matmul},
    **{"lshift": np.left_shift, "rshift": np.right_shift, "divmod": np.divmod},
    **{"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor},
}.items():
    if _name != "pow":
        setattr(ndarray, f"__{_name}__", _binary(_function))
    setattr(ndarray, f"__r{_name}__", _reflected(_function))
    if _name != "divmod":
        setattr(ndarray, f"__i{_name}__", _in_place(_function))

for _name, _function in {
    **{"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal}
}.items():
    setattr(ndarray, f"__{_name}__", _binary(_function))

for _name, _function in {
    **{"neg": np.negative, "pos": np.positive, "abs": np.absolute, "invert": np.invert}
}.items():
    setattr(ndarray, f"__{_name}__", _unary(_function))


# ------------------------------------------------------------------ the functions


class ufunc:
    """Universal function: arrays of the device and scalars, nothing else."""

    def __init__(self, function: Callable[..., Any], name: str = "", nin: int = 1) -> None:
        self._function = function
        self.__name__ = self.name = name or function.__name__
        self.nin, self.nout = getattr(function, "nin", nin), getattr(function, "nout", 1)
        self.nargs = self.nin + self.nout
        self._keywords = set(UFUNC_KEYWORDS)
        self._generalized = getattr(function, "signature", None) is not None
        if self._generalized:
            self._keywords |= {"axes", "axis", "keepdims", "order", "signature"}

    def __repr__(self) -> str:
        return f"<ufunc '{self.name}'>"

    @property
    def types(self) -> list[str]:
        """Its loops, as NumPy's ufuncs tell theirs."""
        return list(LOOPS[self.name])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        wrong = kwargs.keys() - self._keywords
        if wrong:
            raise TypeError(f"Wrong arguments { ({k: kwargs[k] for k in wrong}) }")
        if not self.nin <= len(args) <= self.nargs:
            raise TypeError(f"Wrong number of arguments for '{self.name}'")
        for a in args:
            if not isinstance(a, (ndarray, *_SCALARS)) and not hasattr(
                a, "__cuda_array_interface__"
            ):
                raise _unsupported(a)
        args, given = args[: self.nin], args[self.nin :]
        out = kwargs.pop("out", None)
        outs = given or (out if isinstance(out, tuple) else (out,) * (out is not None))
        if not all(isinstance(o, ndarray) for o in outs):
            raise TypeError("Output arguments type must be cupy.ndarray")
        if self._generalized:
            kwargs = {**kwargs, "out": outs[0]} if outs else kwargs
            return _call(self._function, self.name, args, kwargs)
        return self._run([_unwrap(a) for a in args], outs, **kwargs)

    def _run(
        self, args: list[Any], outs: tuple["ndarray", ...], dtype: Any = None, casting: str = ""
    ) -> Any:
        hosts = [_unwrap(o) for o in outs]
        shape = np.broadcast_shapes(*(np.shape(a) for a in (*args, *hosts)))
        loop = choose(self.name, args, dtype)
        for host, made in zip(hosts, loop.outs, strict=len(hosts) > 0):
            if host.shape != shape:
                raise ValueError("Out shape is mismatched")
            if not np.can_cast(made, host.dtype, casting or "same_kind"):
                raise TypeError(
                    f"Cannot cast output operand from {made!r} to {host.dtype!r} according to the "
                    f"rule '{casting or 'same_kind'}'"
                )
        if not hosts:
            run = functools.partial(compute, self.name, self._function, loop)
            return _perform(run, args, name=f"cupy_{self.name}")
        run = functools.partial(_computed_into, self.name, self._function, loop, len(hosts))
        _perform(run, (*args, *hosts), writes=hosts, name=f"cupy_{self.name}")
        return outs[0] if len(outs) == 1 else outs

    def _method(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if self.name not in UFUNC_METHODS[name]:
            raise NotImplementedError(f"`{self.name}.{name}` is not supported yet")
        return _call(getattr(self._function, name), name, args, kwargs)

    def reduce(
        self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False
    ) -> Any:
        """Reduce along an axis."""
        return self._method("reduce", array, axis, dtype, keepdims=keepdims, out=out)

    def accumulate(self, array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        """Accumulate along an axis."""
        return self._method("accumulate", array, axis, dtype, out=out)

    def reduceat(
        self, array: Any, indices: Any, axis: int = 0, dtype: Any = None, out: Any = None
    ) -> Any:
        """Reduce pieces of an axis."""
        return self._method("reduceat", array, indices, axis, dtype, out=out)

    def outer(self, A: Any, B: Any, **kwargs: Any) -> Any:
        """Apply to all pairs."""
        A, B = _make_array(A), _make_array(B)
        a, b = A.reshape(A.shape + (1,) * B.ndim), B.reshape((1,) * A.ndim + B.shape)
        return self(a, b, **kwargs)

    def at(self, a: "ndarray", indices: Any, b: Any = None) -> None:
        """Apply in place at places that may repeat."""
        if self.name not in UFUNC_METHODS["at"]:
            raise NotImplementedError(f"`{self.name}.at` is not supported yet")
        items, arrays, masked = a._index(indices)
        if not arrays:
            self(a[indices], b, out=a[indices])
            return
        dtypes = _AT_DTYPES["order" if self.name in ("maximum", "minimum") else self.name]
        if not masked and a.dtype.char not in dtypes:
            raise TypeError(f"cupy.{self.name}.at only supports {', '.join(dtypes)} as data type")
        function = self._function

        def put(host: HostArray, items: list[Any], value: Any) -> None:
            function.at(host, _around(host.shape, items), value)

        _perform(put, (_unwrap(a), items, _unwrap(b)), writes=[a._host])


# Types that the atomic operations behind `ufunc.at` exist for; complex ones are not among them.
_AT_DTYPES: dict[str, str] = collections.defaultdict(
    lambda: "iIlLqQ", add="iIlLqQefd", subtract="iI", order="iIlLqQfd"
)

_ufunc = functools.cache(ufunc)


def _computed_into(name: str, function: Any, loop: Any, nout: int, *arrays: HostArray) -> None:
    """Run a loop, and write what it gives into the last `nout` arrays."""
    found = compute(name, function, loop, *arrays[:-nout])
    results = found if isinstance(found, tuple) else (found,)
    for out, value in zip(arrays[-nout:], results, strict=True):
        out[...] = converted(value, out.dtype)


def _empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return ndarray(shape, dtype, order=order)


def _zeros(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    array = _empty(shape, dtype, order)
    array.data.memset_async(0, array.nbytes)
    return array


def _ones(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    array = _empty(shape, dtype, order)
    array.fill(1)
    return array


def _full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C") -> ndarray:
    if dtype is None:
        dtype = getattr(fill_value, "dtype", None) or np.array(fill_value).dtype
    return _full_into(_empty(shape, dtype, order), fill_value)


def _full_into(array: ndarray, value: Any) -> ndarray:
    """Array full of a number, which unlike by ``fill`` is always written by a kernel."""
    host = _unwrap(array)
    if isinstance(value, ndarray):
        _perform(_put_in, (host, [...], _unwrap(value)), writes=[host], name="cupy_copy")
    else:
        number = np.asarray(value).astype(host.dtype)
        _perform(_write_number, (host, number), writes=[host], name="cupy_copy")
    return array


def _zeros_like(
    a: ndarray, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    array = _empty_like(a, dtype, order, subok, shape)
    array.data.memset_async(0, array.nbytes)
    return array


def _ones_like(
    a: ndarray, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    array = _empty_like(a, dtype, order, subok, shape)
    array.fill(1)
    return array


def _full_like(
    a: ndarray,
    fill_value: Any,
    dtype: Any = None,
    order: str = "K",
    subok: Any = None,
    shape: Any = None,
) -> ndarray:
    return _full_into(_empty_like(a, dtype, order, subok, shape), fill_value)


def _empty_like(
    prototype: ndarray, dtype: Any = None, order: str = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    host = _unwrap(prototype)
    like = np.empty_like(host, dtype, order, False, shape)
    return _array(_allocate_like(like, poison=True))


def _holds_device_array(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_holds_device_array, value))
    return hasattr(value, "__cuda_array_interface__")


def _asarray(
    a: Any,
    dtype: Any = None,
    order: str | None = None,
    *,
    copy: bool | None = None,
    blocking: bool = False,
) -> Any:
    order = order or "K"
    if isinstance(a, ndarray):
        moved = a._memory.device != current.id
        host = a._host if moved else _unwrap(a)
    elif hasattr(a, "__cuda_array_interface__"):
        a, moved = _array(_from_interface(a)), False
        host = a._host
    elif copy is False:
        raise ValueError("Unable to avoid copy while creating an array as requested.")
    elif _holds_device_array(a):
        return _perform(np.array, (_unwrap(a), dtype), {"order": order})
    else:
        host = np.asarray(a, dtype)
        if host.ndim:  # of other orders of axes C's is made
            kept = "F" if order in "KA" and host.flags.fnc else "C"
            return _array(_upload(host, None, order if order in "CF" else kept))
        array = _empty((), host.dtype)
        array.fill(host)  # the number is an argument of the kernel, or zero bytes
        return array
    fits = (order not in "CA" or host.flags.c_contiguous) and (
        order != "F" or host.flags.f_contiguous
    )
    if not copy and not moved and fits and (dtype is None or np.dtype(dtype) == host.dtype):
        return a
    if copy is False:
        raise ValueError("Unable to avoid copy while creating an array as requested.")
    args = (host, dtype or host.dtype, order)
    return _perform(converted, args, name="cupy_copy", order="K")


def _make_array(
    obj: Any,
    dtype: Any = None,
    copy: bool | None = True,
    order: str = "K",
    subok: bool = False,
    ndmin: int = 0,
    *,
    blocking: bool = False,
) -> ndarray:
    on_device = isinstance(obj, ndarray) or hasattr(obj, "__cuda_array_interface__")
    array = _asarray(obj, dtype, order, copy=(copy or None) if on_device else None)
    return array.reshape((1,) * (ndmin - array.ndim) + array.shape) if array.ndim < ndmin else array


def _ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    return _asarray(a, dtype, "C")


def _asfortranarray(a: Any, dtype: Any = None) -> ndarray:
    return _asarray(a, dtype, "F")


def _asnumpy(
    a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True
) -> HostArray:
    if isinstance(a, ndarray):
        return a.get(stream, order, out, blocking)
    if hasattr(a, "__cuda_array_interface__"):
        return _array(_from_interface(a)).get(stream, order, out, blocking)
    host = np.asarray(a, order=order)
    if out is None:
        return host
    np.copyto(out, host)
    return out


def _from_dlpack(array: Any, *, device: Any = None, copy: bool | None = None) -> ndarray:
    if not hasattr(array, "__cuda_array_interface__"):
        raise TypeError(
            "CPU arrays cannot be directly imported to CuPy. "
            "Use `cupy.array(numpy.from_dlpack(input))` instead."
        )
    view = _array(_from_interface(array))
    return view.copy() if copy else view


def _take(a: ndarray, indices: Any, axis: Any = None, out: Any = None) -> Any:
    if isinstance(indices, list | np.ndarray):
        indices = _array(_upload(indices))
    return _call(np.take, "take", (a, indices, axis), {"out": out}, {"mode": "wrap"})


def _take_along_axis(a: ndarray, indices: ndarray, axis: int | None) -> Any:
    length = a.size if axis is None else a.shape[axis]
    return _call(
        lambda x, i: np.take_along_axis(x, i % max(length, 1), axis),
        "take_along_axis",
        (a, indices),
        {},
    )


def _put(a: ndarray, ind: Any, v: Any, mode: str = "wrap") -> None:
    _call(np.put, "put", (a, ind, v, mode), {})


def _where(condition: ndarray, x: Any = None, y: Any = None) -> Any:
    if (x is None) != (y is None):
        raise ValueError("Must provide both 'x' and 'y' or neither.")
    if x is None:
        return condition.nonzero()
    return _where_ufunc(condition.astype(bool, copy=False), x, y)


_where_ufunc = ufunc(np.where, "where", 3)
_clip_ufunc = ufunc(np.clip, "clip", 3)
_round_ufunc = ufunc(np.round, "round", 2)


def _clip(a: Any, a_min: Any, a_max: Any, out: Any = None) -> Any:
    kind, dtype = a.dtype.kind, a.dtype.type
    if a_min is None:
        a_min = dtype("-inf") if kind == "f" else np.iinfo(dtype).min if kind in "iu" else None
    if a_max is None:
        a_max = dtype("inf") if kind == "f" else np.iinfo(dtype).max if kind in "iu" else None
    return _clip_ufunc(a, a_min, a_max, out=out)


def _round(a: Any, decimals: int = 0, out: Any = None) -> Any:
    if not isinstance(a, ndarray):
        a = _make_array(a)
    if decimals < 0 and a.dtype.kind in "iu":
        return _call(np.round, "round", (a, decimals), {"out": out})
    return _round_ufunc(a, decimals, out=out)


def _linspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, **options: Any) -> Any:
    if any(isinstance(end, complex) for end in (start, stop)):
        raise TypeError("float() argument must be a string or a real number, not 'complex'")
    return _call(np.linspace, "linspace", (start, stop, num, endpoint), options)


def _searchsorted(a: ndarray, v: ndarray, side: str = "left", sorter: Any = None) -> ndarray:
    if not isinstance(v, ndarray):
        raise NotImplementedError("Only int or ndarray are supported for v")
    if {a.dtype.kind, v.dtype.kind} == {"i", "u"}:
        raise NotImplementedError("CuPy compares these as C++ does: -1 would be larger than 1")
    found: ndarray = _call(np.searchsorted, "searchsorted", (a, v, side, sorter), {})
    return found


def _convolve(a: ndarray, v: ndarray, mode: str = "full") -> ndarray:
    """Convolution; of numbers that are no integers through Fourier transforms."""
    found: ndarray = _call(_convolved, "convolve", (a, v, mode), {})
    return found


def _convolved(a: HostArray, v: HostArray, mode: str) -> HostArray:
    if a.dtype.kind in "biu" or v.dtype.kind in "biu":
        return np.convolve(a, v, mode)
    size, both = a.size + v.size - 1, np.result_type(a, v)
    full = np.fft.ifft(np.fft.fft(a, size) * np.fft.fft(v, size), size)
    full = full if both.kind == "c" else full.real
    short, long = sorted((a.size, v.size))
    start = {"full": 0, "same": (short - 1) // 2, "valid": short - 1}[mode]
    length = {"full": size, "same": long, "valid": long - short + 1}[mode]
    return full[start : start + length].astype(both)


def _diagonal(a: ndarray, offset: int = 0, axis1: int = 0, axis2: int = 1) -> ndarray:
    def writable(*args: Any) -> HostArray:
        view = np.diagonal(*args)
        view.flags.writeable = True
        return view

    found: ndarray = _call(writable, "diagonal", (a, offset, axis1, axis2), {})
    return found


def _flip(a: ndarray, axis: Any = None) -> ndarray:
    if a.ndim < 1:
        raise np.exceptions.AxisError("Input must be >= 1-d")
    found: ndarray = _call(np.flip, "flip", (a, axis), {})
    return found


def _roll(a: ndarray, shift: Any, axis: Any = None) -> ndarray:
    if isinstance(axis, tuple):
        axis = tuple(sorted(n % a.ndim for n in axis))
    found: ndarray = _call(np.roll, "roll", (a, shift, axis), {})
    return found


def _over_axes(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Transform over several axes: an `s` that equals the shape changes no length."""
    inverse = name == "irfftn"

    def call(a: ndarray, s: Any = None, axes: Any = None, norm: Any = None) -> Any:
        if s is not None and axes is not None and s == a.shape:
            s = [a.shape[axis] for axis in axes[: -1 if inverse else None]] + [s[-1]] * inverse
        return _call(function, f"fft.{name}", (a, s, axes, norm), {})

    return call


def _get_array_module(*args: Any) -> ModuleType:
    return _namespace() if any(isinstance(a, ndarray) for a in args) else np


# First parameters that are an array, and the functions that take a number for it all the same.
_ARRAY_PARAMETERS = words("a x m v arr ary array arrays ar ar1 y")
_NUMBERS_TOO = words("""
    array2string array_repr array_str atleast_1d atleast_2d atleast_3d diag fix interp iscomplex
    iscomplexobj isreal isrealobj isscalar min_scalar_type ndim shape size tile
    """)
_DOWNLOADING = words("array2string array_repr array_str save savetxt savez savez_compressed")
_UPLOADING = words("frombuffer fromfile fromfunction fromiter fromstring genfromtxt loadtxt")
_AS_ARRAY = {"allclose", "array_equal", "array_equiv"}


def _function(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """CuPy's form of one of NumPy's functions."""
    try:
        first = next(iter(inspect.signature(function).parameters), "")
    except ValueError:
        first = ""
    needs_array = first in _ARRAY_PARAMETERS and name not in _NUMBERS_TOO

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if needs_array and args and not _holds_device_array(args[0]):
            raise _unsupported(args[0])
        if name in _DOWNLOADING:
            _to_host(sum(a.nbytes for a in args if isinstance(a, ndarray)))
        result = _call(function, name, args, kwargs)
        if name in _UPLOADING:
            _to_device(result.nbytes)
        return _wrap(np.asarray(result)) if name in _AS_ARRAY else result

    return call


class ElementwiseKernel:
    """``cupy.ElementwiseKernel``: C++ for each element of arrays, which are broadcast.

    A type that is a letter is that of the arrays; names of dtypes are those of numbers, too.
    """

    def __init__(
        self,
        in_params: str,
        out_params: str,
        operation: str,
        name: str = "kernel",
        reduce_dims: bool = True,
        preamble: str = "",
        **options: Any,
    ) -> None:
        self.in_params, self.out_params = parameters(in_params), parameters(out_params)
        self.operation, self.name, self.preamble = operation, name, preamble

    def __call__(self, *args: Any) -> Any:
        if len(args) != len(self.in_params):
            raise TypeError(f"Wrong number of arguments for {self.name!r}: {len(args)}")
        types: dict[str, Any] = {}
        for value, parameter in zip(args, self.in_params, strict=True):
            wanted = parameter.type if len(parameter.type) > 1 else None
            if isinstance(value, ndarray):
                known = types.setdefault(parameter.type, np.dtype(wanted or value.dtype))
                if known != value.dtype:
                    raise TypeError(f"Type is mismatched. {parameter.type} {value.dtype} {known}")
            elif wanted:
                types[parameter.type] = np.dtype(wanted)
            elif not isinstance(value, _SCALARS):
                raise _unsupported(value)
        for parameter in self.out_params:
            if len(parameter.type) > 1:
                types[parameter.type] = np.dtype(parameter.type)
        found = _perform(
            functools.partial(
                run, self.in_params, self.out_params, self.operation, self.preamble, types
            ),
            [_unwrap(a) for a in args],
            name=self.name,
        )
        return found[0] if len(found) == 1 else tuple(found)


# ------------------------------------------------------------------ linear algebra


class _ErrorState(contextlib.AbstractContextManager[None]):
    """``cupyx.errstate``: whether failures of linear algebra are looked for."""

    linalg: str | None = None

    def __init__(self, *, linalg: str | None = None) -> None:
        self._state = linalg

    def __enter__(self) -> None:
        self._before, _ErrorState.linalg = _ErrorState.linalg, self._state

    def __exit__(self, *error: object) -> None:
        _ErrorState.linalg = self._before


def _decided(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Function of ``cupy.linalg``, which gives garbage and no error unless told to look for it."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if _ErrorState.linalg == "raise":
            _waits()
            return function(*args, **kwargs)
        try:
            return function(*args, **kwargs)
        except np.linalg.LinAlgError as error:
            text = f"cupy.linalg.{name} would give garbage here: {error}; use cupyx.errstate"
            raise RuntimeError(text) from None

    return call


def _pivots(a: HostArray) -> HostArray:
    """Diagonal of U in the LU decomposition of a matrix, and the sign of its permutation.

    Each update is rounded once, as by a fused multiply-add: where the plain arithmetic of the
    host gives a pivot that is exactly 0, a rounding error may be left.
    """
    exact = {"f": np.float64, "d": np.longdouble, "F": np.complex128, "D": np.clongdouble}
    u, n, sign = a.astype(a.dtype), a.shape[-1], 1
    for k in range(n):
        pivot = k + int(np.argmax(np.abs(u[k:, k])))
        if pivot != k:
            u[[k, pivot]], sign = u[[pivot, k]], -sign
        if u[k, k] == 0:
            continue
        factors = (u[k + 1 :, k] / u[k, k]).astype(exact[a.dtype.char])
        u[k + 1 :] = u[k + 1 :] - factors[:, None] * u[k].astype(exact[a.dtype.char])
    return np.append(np.diagonal(u), a.dtype.type(sign))


def _stack(a: HostArray) -> HostArray:
    """Matrices in one row, of a dtype that cuSOLVER knows."""
    dtype = a.dtype if a.dtype.char in "fdFD" else np.dtype(np.float64)
    return a.astype(dtype).reshape(-1, *a.shape[-2:])


def _with_pivots(function: Callable[..., Any]) -> Callable[..., Any]:
    """Inverse or solution, refused where a pivot is 0; garbage where it should be."""

    def compute(a: HostArray, *others: HostArray) -> Any:
        if a.dtype == np.float16:
            raise TypeError("float16 is unsupported in linalg")
        if a.size and a.ndim > 1 and a.shape[-1] == a.shape[-2]:
            # What is decomposed for an inverse is the transpose, but for Fortran's order.
            transposed = not others and (a.ndim > 2 or a.flags.c_contiguous)
            for m in _stack(a):
                if not _pivots(m.T if transposed else m)[:-1].all():
                    raise np.linalg.LinAlgError("Singular matrix")
        try:
            return function(a, *others)
        except np.linalg.LinAlgError as error:
            if "Singular" not in str(error):
                raise
            eye = np.eye(a.shape[-1], dtype=a.dtype)
            return function(a + np.finfo(a.dtype).eps * np.abs(a).max() * eye, *others)

    return compute


_inverse, _solution = _with_pivots(np.linalg.inv), _with_pivots(np.linalg.solve)


def _inv(a: ndarray) -> Any:
    return _call(_inverse, "linalg.inv", (a,), {})


def _solve(a: ndarray, b: ndarray) -> Any:
    if a.ndim > 1 and b.shape[: a.ndim - 1] != a.shape[:-1]:
        raise ValueError("a must have (..., M, M) shape and b must have (M,) or (..., M, K)")
    return _call(_solution, "linalg.solve", (a, b), {})


def _slogdet_of(a: HostArray) -> tuple[HostArray, HostArray]:
    sign, log = (np.array(part) for part in np.linalg.slogdet(a))
    for i in np.flatnonzero(sign == 0):
        pivots = _pivots(_stack(a)[i].T)
        if pivots.all():
            sign.flat[i] = np.prod(pivots / np.abs(pivots))
            log.flat[i] = np.log(np.abs(pivots)).sum()
    return sign, log


def _slogdet(a: ndarray) -> Any:
    return _call(_slogdet_of, "linalg.slogdet", (a,), {})


def _det(a: ndarray) -> Any:
    def compute(host: HostArray) -> HostArray:
        sign, log = _slogdet_of(host)
        return np.where(sign == 0, sign, np.linalg.det(host) if sign.all() else sign * np.exp(log))

    return _call(compute, "linalg.det", (a,), {})


def _symmetric(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Eigenvalues, and vectors in Fortran's order; of float16 too, computed in float32."""

    def compute(a: HostArray) -> Any:
        wide = function(a.astype(np.float32) if a.dtype == np.float16 else a)
        parts = wide if isinstance(wide, tuple) else (wide,)
        if a.dtype == np.float16:
            parts = tuple(part.astype(a.dtype) for part in parts)
        if len(parts) == 1:
            return parts[0]
        values, vectors = parts
        return values, np.asarray(vectors, order="F") if a.ndim == 2 else vectors

    return lambda a: _call(compute, f"linalg.{name}", (a,), {})


def _solve_triangular(
    a: ndarray,
    b: ndarray,
    trans: int | str = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = False,
) -> Any:
    """``cupyx.scipy.linalg.solve_triangular``, for `b` with as many axes as `a`.

    It takes the dtype of `a`, and looks for no zeros on the diagonal: it divides by them.
    """
    if not isinstance(a, ndarray) or not isinstance(b, ndarray):
        raise TypeError("cupyx.scipy.linalg.solve_triangular takes CuPy arrays only")
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError("expected a batch of square matrices")
    if a.shape[:-2] != b.shape[: a.ndim - 2]:
        raise ValueError("incompatible batch count")
    if b.ndim != a.ndim or a.shape[-2] != b.shape[-2]:
        raise ValueError("incompatible dimensions")
    if not b.size:
        raise RuntimeError("cuBLAS refuses empty matrices, and CuPy takes empty stacks for none")
    dtype = a.dtype if a.dtype.char in "fd" else np.promote_types(a.dtype.char, "f")
    blas = importlib.import_module("scipy.linalg.blas")
    trsm = getattr(blas, {"f": "s", "d": "d", "F": "c", "D": "z"}[dtype.char] + "trsm")
    kind = {"N": 0, "T": 1, "C": 2}.get(trans, trans)  # type: ignore[call-overload]

    def compute(a: HostArray, b: HostArray) -> HostArray:
        out = np.empty_like(b, dtype)
        for i in np.ndindex(a.shape[:-2]):
            out[i] = trsm(1, a[i], b[i], lower=lower, trans_a=kind, diag=unit_diagonal)
        return out

    return _call(compute, "linalg.solve_triangular", (a, b), {})


def _linalg() -> ModuleType:
    module = _fill(ModuleType("cupy.linalg"), np.linalg, "linalg.")
    vars(module).update(inv=_inv, solve=_solve, slogdet=_slogdet, det=_det)
    for name in ("eigh", "eigvalsh"):
        setattr(module, name, _symmetric(getattr(np.linalg, name), name))
    for name in words("cholesky eigh eigvalsh inv lstsq pinv qr solve svd"):
        setattr(module, name, _decided(getattr(module, name), name))
    return module


# ------------------------------------------------------------------ the module

_OWN: dict[str, Any] = {
    "RawKernel": RawKernel,
    "RawModule": RawModule,
    "array": _make_array,
    "asanyarray": _asarray,
    "asarray": _asarray,
    "ascontiguousarray": _ascontiguousarray,
    "asfortranarray": _asfortranarray,
    "asnumpy": _asnumpy,
    "ElementwiseKernel": ElementwiseKernel,
    "around": _round,
    "clip": _clip,
    "convolve": _convolve,
    "copy": lambda a, order="K": a.copy(order),
    "diagonal": _diagonal,
    "empty": _empty,
    "empty_like": _empty_like,
    "fix": ufunc(np.fix, "fix"),
    "flip": _flip,
    "from_dlpack": _from_dlpack,
    "full": _full,
    "full_like": _full_like,
    "get_array_module": _get_array_module,
    "linspace": _linspace,
    "ones": _ones,
    "ones_like": _ones_like,
    "roll": _roll,
    "round": _round,
    "searchsorted": _searchsorted,
    "sinc": ufunc(np.sinc, "sinc"),
    "get_default_memory_pool": lambda: default_pool,
    "get_default_pinned_memory_pool": lambda: MemoryPool(),
    "is_available": lambda: settings.devices > 0,
    "ndarray": ndarray,
    "put": _put,
    "show_config": lambda: print("NumPy stand-in for CuPy"),
    "take": _take,
    "take_along_axis": _take_along_axis,
    "ufunc": ufunc,
    "where": _where,
    "zeros": _zeros,
    "zeros_like": _zeros_like,
}


def _fft() -> ModuleType:
    module = _fill(ModuleType("cupy.fft"), np.fft, "fft.")
    for name in words("fftn ifftn irfftn rfftn"):
        setattr(module, name, _over_axes(getattr(np.fft, name), name))
    return module


def _fill(module: ModuleType, source: ModuleType, prefix: str = "") -> ModuleType:
    """Give a module CuPy's form of what there is in a module of NumPy."""
    absent = ABSENT[prefix.rstrip(".")]
    for name in dir(source):
        if name.startswith("_") or name in absent or name in _OWN:
            continue
        value = getattr(source, name)
        if isinstance(value, np.ufunc):
            value = _ufunc(value)
        elif isinstance(value, type):
            known = issubclass(value, np.generic | Exception | np.dtype | np.finfo | np.iinfo)
            if not (known or value is np.ndindex):
                continue
        elif callable(value):
            value = _function(value, prefix + name)
        elif not isinstance(value, float | None):
            continue
        setattr(module, name, value)
    return module


class _Random(ModuleType):
    """Refuses: the library draws its random numbers itself."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(f"cupy.random.{name} is not to be used: results would differ from NumPy")


class _Special(ModuleType):
    """SciPy's special functions that are ufuncs there and in CuPy."""

    def __getattr__(self, name: str) -> Any:
        special = importlib.import_module("scipy.special")
        if name == "polygamma":
            return _polygamma
        if name not in LOOPS or not hasattr(special, name):
            raise AttributeError(name)
        return ufunc(getattr(special, name), name)


def _polygamma(n: Any, x: Any) -> Any:
    """Of two arrays: CuPy looks for the zeros of `n` by a method of what ``n == 0`` gives."""
    return _where(n == 0, _Special("").digamma(x), _call(_higher, "polygamma", (n, x), {}))


def _higher(n: Any, x: Any) -> Any:
    special = importlib.import_module("scipy.special")
    return special.polygamma(np.where(n == 0, 1, n), x)


@functools.cache
def make_modules() -> dict[str, ModuleType]:
    """Make ``cupy`` and what is below it, by their names."""
    module = _fill(ModuleType("cupy", "NumPy stand-in for CuPy."), np)
    vars(module).update(_OWN)
    below = {
        "cupy.linalg": _linalg(),
        "cupy.fft": _fft(),
        "cupy.random": _Random("cupy.random"),
        "cupy.exceptions": np.exceptions,
        **fakecuda.make_modules(),
    }
    for name in ("cupyx", "cupyx.scipy", "cupyx.scipy.linalg"):
        below[name] = ModuleType(name)
        below[name].__path__ = []
    below["cupyx.scipy.special"] = _Special("cupyx.scipy.special")
    below["cupyx"].errstate = _ErrorState
    below["cupyx"].scipy = below["cupyx.scipy"]
    below["cupyx.scipy.linalg"].solve_triangular = _solve_triangular
    below["cupyx.scipy"].linalg = below["cupyx.scipy.linalg"]
    below["cupyx.scipy"].special = below["cupyx.scipy.special"]
    for name, value in below.items():
        if name.count(".") == 1 and name.startswith("cupy."):
            setattr(module, name.partition(".")[2], value)
    module.__path__ = []
    module.__version__ = "14.2.0"
    modules = {"cupy": module, **below}
    for name, value in modules.items():
        if value is not np.exceptions:
            value.__spec__ = importlib.machinery.ModuleSpec(name, None)
    return modules


def _namespace() -> ModuleType:
    return make_modules()["cupy"]
