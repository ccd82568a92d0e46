"""Tracers: what stands for arrays, and for their namespace, while a function is recorded.

A :class:`Tracer` has the array and computes with it, so that whatever the function does it does
rightly; and it tells the recording of each operation. It has no silent way to its value: ``bool``,
``float``, ``item``, NumPy's functions that answer in Python, a write from another thread end the
recording with the line, and the call goes on as a plain one.
"""

import functools
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.backend import Array
from gputensor.graph.ir import Buffer, map_values

__all__ = [
    "TRACING",
    "CudaTracer",
    "HostTracer",
    "Tracer",
    "TracingNamespace",
    "assign",
    "concrete",
]

_HOST = backend.NAMESPACES[np.ndarray]


def concrete(leaf: Any) -> Any:
    """The array, or namespace of arrays, that a traced one stands for; others as they are."""
    if isinstance(leaf, Tracer):
        return leaf.value
    return leaf._real if type(leaf) is TracingNamespace else leaf


@functools.cache
def _attribute(name: str) -> Callable[..., Any]:
    """Function that reads, or calls, an attribute of an array."""
    if name in ("T", "mT", "real", "imag"):
        get: Callable[..., Any] = operator.attrgetter(name)

        def function(x: Any) -> Any:
            return get(x)
    else:

        def function(x: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
            return getattr(x, name)(*args, **kwargs)

    function.__name__ = function.__qualname__ = name
    return function


class Tracer:
    """An array while a thread records; computes with it and notes what it computes.

    Attributes
    ----------
    value : array
    recording : gputensor.graph.trace.Recording
    buffer : Buffer
    base : Tracer or None
        The tracer of the array that owns the memory, for a view; as NumPy has it.
    is_number : bool
        Whether it stands for one of NumPy's numbers, whose powers have other bits.
    """

    __slots__ = ("__weakref__", "base", "buffer", "is_number", "recording", "value")
    __hash__ = None  # type: ignore[assignment]

    value: Array
    recording: Any
    buffer: Buffer
    base: "Tracer | None"
    is_number: bool

    shape = property(lambda self: self.value.shape)
    dtype = property(lambda self: self.value.dtype)
    ndim = property(lambda self: self.value.ndim)
    size = property(lambda self: self.value.size)
    nbytes = property(lambda self: self.value.nbytes)
    itemsize = property(lambda self: self.value.itemsize)
    strides = property(lambda self: self.value.strides)
    flags = property(lambda self: self.value.flags)
    device = property(lambda self: self.value.device)
    T = property(lambda self: self._call(_attribute("T")))
    mT = property(lambda self: self._call(_attribute("mT")))
    real = property(
        lambda self: self._call(_attribute("real")),
        lambda self, value: self.real.__setitem__(..., value),
    )
    imag = property(
        lambda self: self._call(_attribute("imag")),
        lambda self, value: self.imag.__setitem__(..., value),
    )

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator["Tracer"]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"<traced array of shape {self.shape}, {self.dtype}>"

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Note a function of the array, whose result may be a view."""
        out = kwargs.get("out")
        name = function.__name__
        # CuPy's own methods add up in another order than kernels of the namespace do.
        alike = name in _REDUCTIONS and (name in _EXACT or isinstance(self, HostTracer))
        kind = "reduce" if alike else "call"
        writes = (out,) if isinstance(out, Tracer) else ()
        return self.recording.record(kind, function, function, (self, *args), kwargs, writes)

    def __getitem__(self, key: Any) -> Any:
        if _has_mask(key):
            self.recording.end("a boolean mask makes a shape depend on values")
        return self._call(operator.getitem, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        if _is_basic(key):
            # A view also of one element, where NumPy's own index gives a number.
            key = key if isinstance(key, tuple) else (key,)
            target = self._call(operator.getitem, key if ... in key else (*key, ...))
            if getattr(value, "ndim", 0) <= target.ndim and not isinstance(value, (list, tuple)):
                assign(target, value)
                return
            args = target, ..., value
        else:
            args = self, key, value
        self.recording.record("call", operator.setitem, operator.setitem, args, {}, (args[0],))

    def astype(self, dtype: Any, order: str = "K", copy: bool = True, **options: Any) -> "Tracer":
        """Elements of another type, as of arrays."""
        if not copy and self.dtype == dtype:
            return self
        made: Tracer = self._map("astype", _attribute("astype"), np.dtype(dtype), order)
        return made

    def copy(self, order: str = "C") -> "Tracer":
        """The same elements in new memory."""
        made: Tracer = self._map("copy", _attribute("copy"), order)
        return made

    def _map(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        return self.recording.record("map", name, function, (self, *args))

    def fill(self, value: Any) -> None:
        """Set all elements to a number."""
        assign(self, value)

    def conj(self) -> Any:
        """Complex conjugate; itself where the numbers are real, as of arrays."""
        if self.dtype.kind != "c":
            return self
        return self._map("conj", _attribute("conj"))

    conjugate = conj

    def __getattr__(self, name: str) -> Any:
        if name in _METHODS:
            return functools.partial(self._call, _attribute(name))
        if not name.startswith("__"):
            self.recording.end(f"{name} of an array is taken")
        return getattr(self.value, name)

    # Values

    def _read(self, how: str) -> Any:
        self.recording.end(f"{how} of a tensor's value")
        return self.value

    def __bool__(self) -> bool:
        return bool(self._read("the truth"))

    def __float__(self) -> float:
        return float(self._read("float"))

    def __int__(self) -> int:
        return int(self._read("int"))

    def __complex__(self) -> complex:
        return complex(self._read("complex"))

    def __index__(self) -> int:
        return operator.index(self._read("the index"))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.array(self._read("NumPy's array"), dtype=dtype, copy=copy)

    # Operators

    def __pow__(self, other: Any) -> Any:
        if _is_number(self) and _is_number(other):
            return self.recording.record("call", _power, _power, (self, other))
        if self.value.dtype.kind in "fc" and isinstance(other, (int, float)):
            name = _POWERS.get(other)  # what arrays have for these, whose bits differ
            if name is not None and type(other) is not bool:
                return self._map(name, _of_value(operator.pow, other))
        return _binary("power", operator.pow, self, self, other)

    def __rpow__(self, other: Any) -> Any:
        if _is_number(self) and _is_number(other):
            return self.recording.record("call", _power, _power, (other, self))
        return _binary("power", operator.pow, self, other, self)

    def __ipow__(self, other: Any) -> Any:
        assign(self, self**other)
        return self

    def __matmul__(self, other: Any) -> Any:
        return self._call(operator.matmul, other) if _takes(other) else NotImplemented

    def __rmatmul__(self, other: Any) -> Any:
        if not _takes(other):
            return NotImplemented
        return self.recording.record("call", operator.matmul, operator.matmul, (other, self))

    def __neg__(self) -> Any:
        return self._map("negative", operator.neg)

    def __pos__(self) -> Any:
        return self._map("positive", operator.pos)

    def __invert__(self) -> Any:
        return self._map("invert", operator.invert)

    def __abs__(self) -> Any:
        return self._map("absolute", operator.abs)

    # NumPy's protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *args: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", None) or ()
        recording = self.recording
        if method == "__call__" and not kwargs and _is_elementwise(ufunc):
            if not out:
                return recording.record("map", ufunc.__name__, ufunc, args)
            return recording.write(ufunc.__name__, ufunc, args, out[0])
        function = ufunc if method == "__call__" else getattr(ufunc, method)
        if out:
            kwargs["out"] = out if len(out) > 1 else out[0]
        writes = args[:1] if method == "at" else tuple(t for t in out if isinstance(t, Tracer))
        kind = "reduce" if method == "reduce" else "call"
        return recording.record(kind, function, function, args, kwargs, writes)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        recording = self.recording
        if function is np.copyto and len(args) == 2 and not kwargs:
            assign(*args)
            return None
        if function is np.where and len(args) == 3:
            return recording.record("map", "where", function, args)
        if function.__name__ not in _FUNCTIONS:
            recording.end(f"numpy.{function.__name__} is called")
        out = kwargs.get("out")
        writes = (out,) if isinstance(out, Tracer) else ()
        return recording.record("call", function, function, args, kwargs, writes)


def _is_elementwise(function: Any) -> bool:
    """Whether it is a ufunc of one result, and no generalized one."""
    return isinstance(function, np.ufunc) and function.nout == 1 and function.signature is None


class HostTracer(Tracer):
    """A tracer of a NumPy array."""

    __slots__ = ()

    @staticmethod
    def namespace() -> "TracingNamespace":
        """Namespace of such tracers."""
        return TRACING[backend.NAMESPACES[np.ndarray]]


class CudaTracer(Tracer):
    """A tracer of a CuPy array."""

    __slots__ = ()
    __array_priority__ = 1000  # CuPy's operators leave theirs to it

    @property
    def __cuda_array_interface__(self) -> Any:
        self.recording.end("a tensor's array is given to CuPy")
        return self.value.__cuda_array_interface__

    @staticmethod
    def namespace() -> "TracingNamespace":
        """Namespace of such tracers."""
        import cupy

        return TRACING[backend.NAMESPACES[cupy.ndarray]]


def _of_value(function: Callable[..., Any], other: Any) -> Callable[[Any], Any]:
    return lambda x: function(x, other)


def _is_number(x: Any) -> bool:
    return (
        x.is_number if isinstance(x, Tracer) else isinstance(x, (int, float, complex, np.generic))
    )


def _power(x: Any, y: Any) -> Any:
    """Power of numbers of NumPy's that are held as arrays."""
    x, y = (a[()] if isinstance(a, np.ndarray) else a for a in (x, y))
    return x**y


_POWERS = {2: "square", 0.5: "sqrt", -1: "reciprocal", 1: "positive"}


def assign(target: Any, value: Any) -> None:
    """Note that elements are set, as by ``target[...] = value``."""
    if isinstance(target, Tracer):
        target.recording.write("assign", _assign, (value,), target)
    else:  # of a recording that has ended
        target[...] = concrete(value)


def _assign(value: Any, out: Array) -> None:
    out[...] = value


def _takes(other: Any) -> bool:
    numbers = (bool, int, float, complex, np.generic, Tracer)
    return isinstance(other, numbers) or backend.is_array(other)


def _binary(name: str, function: Any, self: Tracer, x: Any, y: Any) -> Any:
    if not _takes(y if x is self else x):
        return NotImplemented
    return self.recording.record("map", name, function, (x, y))


def _define(symbol: str, name: str) -> None:
    function = getattr(operator, symbol)
    in_place = getattr(operator, f"i{symbol.rstrip('_')}", None)

    def forward(self: Tracer, other: Any) -> Any:
        return _binary(name, function, self, self, other)

    def reflected(self: Tracer, other: Any) -> Any:
        return _binary(name, function, self, other, self)

    def into(self: Tracer, other: Any) -> Any:
        if not _takes(other):
            return NotImplemented
        return self.recording.write(name, _in_place(in_place), (self, other), self)

    plain = symbol.rstrip("_")
    setattr(Tracer, f"__{plain}__", forward)
    if in_place is not None:
        setattr(Tracer, f"__r{plain}__", reflected)
        setattr(Tracer, f"__i{plain}__", into)


def _in_place(function: Any) -> Callable[..., None]:
    def run(x: Array, y: Any, out: Array) -> None:
        function(x, y)

    return run


for _symbol, _name in {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "and_": "bitwise_and",
    "or_": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "left_shift",
    "rshift": "right_shift",
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}.items():
    _define(_symbol, _name)

# Methods of arrays that give arrays whose shapes do not depend on values.
_REDUCTIONS = {"all", "any", "max", "mean", "min", "prod", "sum"}
_EXACT = {"all", "any", "max", "min"}
_METHODS = _REDUCTIONS | {
    *("argmax", "argmin", "argsort", "clip", "cumprod", "cumsum", "diagonal", "dot", "ravel"),
    *("flatten", "repeat", "reshape", "round", "squeeze", "std", "swapaxes", "take", "trace"),
    *("transpose", "var", "view"),
}

# Functions of NumPy that do, where the library or the user calls them by NumPy's name.
_FUNCTIONS = {
    *("all", "amax", "amin", "any", "arange", "argmax", "argmin", "argsort", "broadcast_to"),
    *("clip", "concatenate", "cumprod", "cumsum", "diagonal", "dot", "einsum", "expand_dims"),
    *("flip", "imag", "inner", "kron", "matrix_transpose", "max", "mean", "min", "moveaxis"),
    *("ones_like", "outer", "pad", "prod", "ravel", "real", "repeat", "reshape", "roll"),
    *("rollaxis", "sort", "squeeze", "stack", "std", "sum", "swapaxes", "take"),
    *("take_along_axis", "tensordot", "tile", "trace", "transpose", "tril", "triu", "var"),
    *("where", "zeros_like", "full_like", "empty_like", "vecdot", "matvec", "vstack", "hstack"),
    *("logaddexp", "around", "round", "nan_to_num", "searchsorted", "vdot", "copy"),
}

_BASIC = {int, slice, type(None), type(...)}


def _is_basic(key: Any) -> bool:
    """Whether a key gives a view."""
    return all(type(k) in _BASIC for k in (key if isinstance(key, tuple) else (key,)))


def _has_mask(key: Any) -> bool:
    """Whether a key holds a boolean array."""
    return any(
        getattr(getattr(k, "dtype", None), "kind", "") == "b" and k.ndim > 0
        for k in (key if isinstance(key, tuple) else (key,))
    )


class TracingNamespace:
    """The namespace of tracers: the functions of arrays, each of which is noted.

    Parameters
    ----------
    real : Namespace
        That of the arrays.
    prefix : str
        Name of the part of the namespace that it is, such as ``"linalg."``.
    """

    def __init__(self, real: Any, prefix: str = "") -> None:
        self._real = real
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        found: Any = value
        if name in ("linalg", "fft") and not self._prefix:
            found = TracingNamespace(value, f"{name}.")
        elif name in _NEW:
            found = functools.partial(_create, name, value)
        elif callable(value) and not isinstance(value, type) and name not in _PLAIN:
            kind = "reduce" if name in _REDUCTIONS else "call"
            if not self._prefix and (name in _MAPS or _is_elementwise(getattr(_HOST, name, None))):
                kind = "map"
            found = functools.partial(_run, kind, self._prefix + name, value)
            if hasattr(value, "at"):  # of ufuncs, which find tracers by NumPy's protocol
                found.at = value.at
        vars(self)[name] = found
        return found

    def __repr__(self) -> str:
        return f"TracingNamespace({self._real!r})"

    def astype(self, x: Any, dtype: Any, **options: Any) -> Any:
        """Elements of another type."""
        if not isinstance(x, Tracer):
            return self._real.astype(x, dtype, **options)
        return x.astype(dtype, **options)

    def copyto(self, target: Tracer, value: Any) -> None:
        """Set the elements of an array."""
        assign(target, value)

    def asarray(self, x: Any, dtype: Any = None, **options: Any) -> Any:
        """An array of what may be one."""
        if isinstance(x, Tracer):
            if x.is_number:
                x = x[...]
            return x if dtype is None else x.astype(dtype, copy=False)
        return _create("asarray", self._real.asarray, x, dtype, **options)


def _run(kind: str, op: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    recording = backend.recording() or _recording_of((args, kwargs))
    if recording is None:
        return function(*args, **kwargs)
    out = kwargs.get("out")
    writes = (out,) if isinstance(out, Tracer) else ()
    return recording.record(kind, op, function, args, kwargs, writes, op in _RAISING)


def _recording_of(tree: Any) -> Any:
    found: list[Any] = []
    map_values(lambda x: found.append(x.recording) if isinstance(x, Tracer) else None, tree)
    return found[0] if found else None


def _create(name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    recording = backend.recording() or _recording_of((args, kwargs))
    if recording is None or not recording.live:
        return function(*map_values(concrete, args), **map_values(concrete, kwargs))
    kind = name.removesuffix("_like")
    if kind == "empty":
        return recording.new(function(*map_values(concrete, args), **kwargs))
    if kind in ("zeros", "ones", "full"):
        array = function(*map_values(concrete, args), **kwargs)
        number = {"zeros": 0, "ones": 1}.get(kind)
        made = recording.new(array)
        if number is None:
            number = args[1] if len(args) > 1 else kwargs["fill_value"]
        assign(made, number)
        return made
    return recording.record("call", name, function, args, kwargs)


_MAPS = {"where", "broadcast_to", "sign", "conj", "erf", "erfc", "digamma"}
_NEW = {
    *("empty", "empty_like", "zeros", "zeros_like", "ones", "ones_like", "full", "full_like"),
    *("arange", "eye", "identity", "linspace", "tri", "indices"),
}

# Functions of dtypes and shapes.
_PLAIN = {
    *("result_type", "promote_types", "can_cast", "isdtype", "broadcast_shapes", "errstate"),
    *("shape", "ndim", "size", "min_scalar_type", "common_type", "iscomplexobj"),
}

_RAISING = {
    *("linalg.cholesky", "linalg.inv", "linalg.solve", "linalg.solve_triangular", "linalg.svd"),
    *("linalg.eigh", "linalg.eigvalsh", "linalg.lstsq", "linalg.pinv", "linalg.eig"),
}


class _Tracing(dict[Any, TracingNamespace]):
    """Namespace of tracers by that of the arrays that are traced."""

    def __missing__(self, real: Any) -> TracingNamespace:
        made = self[real] = TracingNamespace(real)
        return made


TRACING = _Tracing()

backend.HOST_TYPES.append(HostTracer)
