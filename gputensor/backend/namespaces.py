"""Namespaces of NumPy's and of CuPy's arrays, and where the two differ."""

import importlib
import importlib.util
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from gputensor import cuda_functions
from gputensor.backend.devices import Device, device_of
from gputensor.backend.modes import Array, local
from gputensor.backend.solvers import CudaLinalg, host_qr, host_solve_triangular
from gputensor.errors import DeviceMismatchError

# What both libraries have in SciPy's part of theirs, which takes long to import.
_SPECIAL = {
    *("betainc", "digamma", "erf", "erfc", "erfinv", "gammainc", "gammaincc", "gammaln"),
    "polygamma",
}

# Of these SciPy has some for complex numbers, too, and CuPy none that has a derivative.
_REAL_IN_CUPY = {"digamma", "erf", "erfc"}


def _of_real_numbers(function: Callable[..., Array]) -> Callable[..., Array]:
    """Function that refuses complex numbers, in CuPy's words."""

    def of_real_numbers(x: Array, **options: Any) -> Array:
        if x.dtype.kind == "c":
            raise TypeError(f"Wrong type ({x.dtype}) of arguments")
        return function(x, **options)

    return of_real_numbers


def is_narrow(dtype: "np.dtype[Any]") -> bool:
    """Whether it is a floating point dtype of 16 bits."""
    return dtype.itemsize == 2 and dtype.kind in "fV"  # V is bfloat16's


def _in_float32(function: Callable[..., Array]) -> Callable[..., Array]:
    """A sum, product or mean whose intermediate values are float32 where elements have 16 bits.

    In 16 bits a sum stops to grow at 256 (bfloat16) or 2048 (float16) times what is added.
    """

    def wide(x: Array, axis: Any = None, dtype: Any = None, **options: Any) -> Array:
        if dtype is None and x.dtype.itemsize != 2:  # said by position: names take time
            return function(x, axis, **options) if options else function(x, axis)
        result = x.dtype if dtype is None else np.dtype(dtype)
        if not is_narrow(result):
            return function(x, axis=axis, dtype=dtype, **options)
        out = options.pop("out", None)  # where NumPy would round in between
        found = function(x, axis=axis, dtype=np.float32, **options).astype(result)
        if out is None:
            return found
        out[...] = found
        return out

    return wide


def _in_order(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of NumPy's that compares elements; it knows no NaN of bfloat16."""

    def of_floats(x: Array, *args: Any, **options: Any) -> Any:
        if x.dtype.kind != "V":
            return function(x, *args, **options)
        found = function(x.astype(np.float32), *args, **options)
        if isinstance(found, tuple):
            return found[0].astype(x.dtype), *found[1:]
        return found.astype(x.dtype) if found.dtype == np.float32 else found

    return of_floats


class Namespace:
    """The functions of NumPy or CuPy, plus the few that the two spell or compute differently.

    Derivative rules take one as ``xp``. With ``create_graph=True`` they get gputensor's own
    operations instead, so what a rule calls must exist in all three.
    """

    def __init__(self, module: ModuleType, **own: Any) -> None:
        self._module = module
        vars(self).update(own)

    def __getattr__(self, name: str) -> Any:
        place = self._module
        if name in _SPECIAL:
            prefix = "scipy" if place is np else "cupyx.scipy"
            place = importlib.import_module(f"{prefix}.special")
        value = getattr(place, name)
        if name in _REAL_IN_CUPY:
            value = _of_real_numbers(value)
        setattr(self, name, value)  # the next look-up finds it without coming here
        return value

    def __repr__(self) -> str:
        return f"Namespace({self._module.__name__})"

    def broadcast_to(self, x: Array, shape: tuple[int, ...]) -> Array:
        """Copy of `x` with `shape`; ten times quicker than a view for small NumPy arrays."""
        out = self._module.empty(shape, x.dtype)
        out[...] = x
        return out

    def index_add(self, shape: tuple[int, ...], index: Any, values: Array) -> Array:
        """Zeros of `shape` with `values` added at `index`; repeated places add up, in float32."""
        dtype = np.float32 if is_narrow(values.dtype) else values.dtype
        out = self._module.zeros(shape, dtype)
        self._module.add.at(out, index, values.astype(dtype, copy=False))
        return out.astype(values.dtype, copy=False)

    def index_set(self, x: Array, index: Any, values: Any) -> Array:
        """Copy of `x` with `values` put at `index`."""
        out = x.copy()
        out[index] = values
        return out

    def index_put(self, shape: tuple[int, ...], index: Any, values: Array) -> Array:
        """Zeros of `shape` with `values` put at `index`, which names no place twice."""
        out = self._module.zeros(shape, values.dtype)
        out[index] = values
        return out


# What CuPy's namespace has in the place of CuPy's own functions; gputensor.ops adds its own.
CUPY_FUNCTIONS: dict[str, Callable[..., Array]] = cuda_functions.FUNCTIONS


class _Namespaces(dict[type, Namespace]):
    """Namespace by array type; CuPy's is added when the first CuPy array is seen."""

    def __missing__(self, kind: type) -> Namespace:
        if hasattr(kind, "recording"):  # a tracer of gputensor.graph
            self[kind] = kind.namespace()  # type: ignore[attr-defined]
            return self[kind]
        if issubclass(kind, np.ndarray):  # numpy.memmap, for instance
            return self[np.ndarray]
        if kind.__name__ == "ndarray" and kind.__module__.partition(".")[0] == "cupy":
            import cupy

            importlib.import_module("gputensor.graph.cupy_functions")  # which adds to the functions
            self[kind] = Namespace(
                cupy,
                linalg=CudaLinalg(),
                cumprod=_in_float32(cupy.cumprod),  # its sum, prod and mean are so themselves
                cumsum=_in_float32(cupy.cumsum),
                **CUPY_FUNCTIONS,
            )
            return self[kind]
        raise TypeError(f"{kind.__module__}.{kind.__qualname__} is no NumPy or CuPy array")


_HOST_LINALG = Namespace(np.linalg, qr=host_qr, solve_triangular=host_solve_triangular)

NAMESPACES = _Namespaces(
    {
        np.ndarray: Namespace(
            np,
            linalg=_HOST_LINALG,
            argsort=_in_order(np.argsort),
            sort=_in_order(np.sort),
            unique=_in_order(np.unique),
            cumprod=_in_float32(np.cumprod),
            cumsum=_in_float32(np.cumsum),
            mean=_in_float32(np.mean),
            # These are quicker than NumPy's functions around them.
            prod=_in_float32(np.multiply.reduce),
            sum=_in_float32(np.add.reduce),
            reshape=lambda x, shape, **how: x.reshape(shape, **how),
        )
    }
)


def is_array(x: object) -> bool:
    """Whether `x` is a raw NumPy or CuPy array."""
    try:
        NAMESPACES[type(x)]
    except TypeError:
        return False
    return True


def plain(array: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """The same elements in the byte order of the machine, as compiled loops and CuPy want them.

    Raises
    ------
    TypeError
        If the array is of a subclass, such as a masked array, whose meaning would be lost.
    """
    kind = type(array)
    if kind is not np.ndarray:
        if not issubclass(kind, np.memmap):
            text = "x.filled(value)" if issubclass(kind, np.ma.MaskedArray) else "np.asarray(x)"
            raise TypeError(
                f"{kind.__module__}.{kind.__qualname__} is more than its elements, and a tensor "
                f"would lose the rest (a mask, a unit, rules of its own); write {text}"
            )
        array = np.asarray(array)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def namespace(place: "Array | Device") -> Namespace:
    """Namespace of a raw array, or of the arrays of a device."""
    if not isinstance(place, Device):
        return NAMESPACES[type(place)]
    kind: type = np.ndarray
    if place.kind == "cuda":
        import cupy

        kind = cupy.ndarray
    recording = local.recording
    return NAMESPACES[kind] if recording is None else recording.namespace(NAMESPACES[kind])


def same_device(name: str, arrays: list[Array]) -> None:
    """Check that all raw arrays live on one device; scalars live anywhere.

    Raises
    ------
    DeviceMismatchError
        Naming the operation, the devices and the fix.
    """
    if len(arrays) < 2 or all(type(a) is np.ndarray for a in arrays):  # quicker than to name it
        return
    devices = [device_of(a) for a in arrays if is_array(a)]
    if any(d != devices[0] for d in devices[1:]):
        found = ", ".join(str(d) for d in devices)
        raise DeviceMismatchError(
            f"{name}: operands are on different devices ({found}); "
            f"move them to one, for example x.to({str(devices[0])!r})"
        )
