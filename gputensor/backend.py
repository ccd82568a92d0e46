"""NumPy or CuPy: which device there is, which namespace an array belongs to, and transfers.

Everything that differs between the two libraries is in this file. CuPy is imported when a CUDA
device is first asked about, never by ``import gputensor``. Bytes cross between host and device
in :func:`to_host` and :func:`to_device` only.
"""

import contextlib
import functools
import importlib
import importlib.util
import linecache
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import CodeType, FrameType, ModuleType, TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np

from gputensor import config, cuda_functions
from gputensor.errors import CaptureError, DeviceError, DeviceMismatchError, SyncError

__all__ = [
    "Array",
    "CudaStatus",
    "Device",
    "FollowDevice",
    "Namespace",
    "capturing",
    "cuda_status",
    "default_device",
    "device",
    "device_of",
    "expected_waits",
    "is_array",
    "is_narrow",
    "namespace",
    "on_device_of",
    "place",
    "same_device",
    "synchronize",
    "to_device",
    "to_host",
    "user_frame",
    "user_line",
    "wait_for",
    "wait_for_device",
    "while_capturing",
]

# A numpy.ndarray or a cupy.ndarray. Neither library types the common part of the two.
Array = Any
_Function = TypeVar("_Function", bound=Callable[..., Any])

_CUDA_HELP = (
    "To use an NVIDIA GPU install the driver and gputensor's CUDA extra: "
    "pip install 'gputensor[cuda13]' (or [cuda12], as `nvidia-smi` shows). "
    "`python -m gputensor doctor` says what was found."
)


class CudaStatus(NamedTuple):
    """What the probe for CUDA found.

    Attributes
    ----------
    available : bool
        Whether arrays can be put on a CUDA device.
    reason : str
        The device's name, or why CUDA is not used.
    devices : int
        Number of CUDA devices.
    """

    available: bool
    reason: str
    devices: int


class _Local(threading.local):
    def __init__(self) -> None:
        self.devices: list[Device] = []  # entered and not yet left
        self.capturing = False  # whether work is recorded into a CUDA graph
        self.expected = False  # whether waits for the device are meant to be
        self.recording: Any = None  # what records this thread's work, see gputensor.graph


_local = _Local()


def recording() -> Any:
    """What records this thread's work as a graph; None at most times."""
    return _local.recording


def set_recording(recorder: Any) -> None:
    """Have this thread's work recorded, or no longer."""
    _local.recording = recorder


def end_recording(reason: str) -> None:
    """Say that what happens now cannot be part of a graph, to what records it, if anything."""
    if _local.recording is not None:
        _local.recording.end(reason)


class Device:
    """A place for arrays: ``cpu`` or ``cuda:N``.

    As a context manager it is the device that new tensors are put on, in this thread. It equals
    its name: ``x.device == "cuda:0"``.
    """

    __slots__ = ("index", "kind")

    def __init__(self, kind: str, index: int = 0) -> None:
        self.kind = kind
        self.index = index

    def __str__(self) -> str:
        return "cpu" if self.kind == "cpu" else f"cuda:{self.index}"

    def __repr__(self) -> str:
        return f"device({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return str(self) == ("cuda:0" if other == "cuda" else other)
        return isinstance(other, Device) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __enter__(self) -> "Device":
        _local.devices.append(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _local.devices.pop()


@functools.cache
def cuda_status() -> CudaStatus:
    """Look for CuPy, a driver and a device, once; never raises.

    Returns
    -------
    CudaStatus
        Whether CUDA is usable, and the device's name or the reason why it is not.
    """
    if importlib.util.find_spec("cupy") is None:
        return CudaStatus(False, "CuPy is not installed", 0)
    try:
        import cupy  # type: ignore[import-not-found, unused-ignore]

        runtime = cupy.cuda.runtime
        count = int(runtime.getDeviceCount())
        if count < 1:
            return CudaStatus(False, "CuPy found no CUDA device", 0)
        cupy.empty(1)
        name = runtime.getDeviceProperties(0)["name"].decode()
    # A broken driver or library surfaces as almost any exception, and a probe must not raise.
    except Exception as error:
        return CudaStatus(False, f"CuPy cannot use a device: {type(error).__name__}: {error}", 0)
    return CudaStatus(True, f"{name} through CuPy {cupy.__version__}", count)


def device(spec: "str | Device | None" = None) -> Device:
    """Name a device; use it as a value or as a context manager.

    Parameters
    ----------
    spec : {"auto", "cpu", "cuda", "cuda:N"} or Device, optional
        ``"auto"`` is CUDA where it is usable, else the CPU; without it the default device.

    Returns
    -------
    Device

    Raises
    ------
    DeviceError
        For another name, or for a CUDA device that is not there.

    Examples
    --------
    >>> with gt.device("cpu"):
    ...     x = gt.ones((2, 3))
    """
    if spec is None:
        return default_device()
    if isinstance(spec, Device):
        return spec
    name = spec.strip().lower() if isinstance(spec, str) else repr(spec)
    if name == "cpu":
        return Device("cpu")
    if name == "auto":
        return Device("cuda") if cuda_status().available else Device("cpu")
    kind, colon, index = name.partition(":")
    if kind != "cuda" or (colon and not index.isdecimal()):
        raise DeviceError(f"device {spec!r} is unknown; allowed are auto, cpu, cuda and cuda:N")
    status = cuda_status()
    if not status.available:
        raise DeviceError(f"device {spec!r} is not available: {status.reason}. {_CUDA_HELP}")
    number = int(index or 0)
    if number >= status.devices:
        raise DeviceError(
            f"device {spec!r} is not there: this machine has {status.devices} CUDA device(s), "
            f"cuda:0 to cuda:{status.devices - 1}"
        )
    return Device("cuda", number)


@functools.cache
def _configured_device(setting: str) -> Device:
    return device(setting)


def entered_device() -> Device | None:
    """Device of the innermost ``with gt.device(...)``, if there is one."""
    return _local.devices[-1] if _local.devices else None


def default_device() -> Device:
    """Device of new tensors: the innermost ``with gt.device(...)``, else ``GPUTENSOR_DEVICE``."""
    if _local.devices:
        return _local.devices[-1]
    return _configured_device(config.device_setting())


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
        result = x.dtype if dtype is None else np.dtype(dtype)
        if not is_narrow(result):
            return function(x, axis=axis, dtype=dtype, **options)
        return function(x, axis=axis, dtype=np.float32, **options).astype(result)

    return wide


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


# Stacks of matrices of fewer rows are left to NumPy's LU decomposition, which goes through them
# without Python, and without the threads of SciPy's BLAS, which NumPy's are in the way of.
_SMALL = 128


def _host_solve_triangular(
    a: Array, b: Array, *, lower: bool, unit_diagonal: bool = False
) -> Array:
    """Solve for matrices `b` by the lower or the upper triangle of `a`."""
    a, b, dtype = _triangular_operands(a, b)
    if a.ndim > 2 and a.shape[-1] < _SMALL:
        part = np.tril(a) if lower else np.triu(a)
        if unit_diagonal:
            part = np.where(np.eye(a.shape[-1], dtype=bool), dtype.type(1), part)
        return np.linalg.solve(part, b)
    lapack = importlib.import_module("scipy.linalg.lapack")
    function = getattr(lapack, {"f": "s", "F": "c", "D": "z"}.get(dtype.char, "d") + "trtrs")
    out = np.empty(b.shape, dtype)
    for i in np.ndindex(b.shape[:-2]) if b.size else ():
        if a[i].flags.f_contiguous:
            out[i], failure = function(a[i], b[i], lower, 0, unit_diagonal)
        else:  # whose transpose needs no copy to become what LAPACK reads
            out[i], failure = function(a[i].T, b[i], not lower, 1, unit_diagonal)
        if failure:
            raise np.linalg.LinAlgError(f"element {failure} of the diagonal is 0")
    return out


def _triangular_operands(a: Array, b: Array) -> tuple[Array, Array, np.dtype[Any]]:
    """Operands of a triangular solve, of one stack and one dtype, which neither library sees to.

    Raises
    ------
    TypeError
        If LAPACK and cuBLAS do not know the dtype.
    """
    dtype = np.result_type(a, b)
    if dtype.char not in "fdFD":
        raise TypeError(f"array type {dtype} is unsupported in linalg")
    a, b = (x.astype(dtype, copy=False) for x in _of_one_stack(a, b))
    return a, b, dtype


def _of_one_stack(a: Array, b: Array) -> tuple[Array, Array]:
    """Matrices in stacks that broadcast, broadcast."""
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    xp = NAMESPACES[type(a)]
    a, b = (
        x if x.shape[:-2] == stack else xp.broadcast_to(x, (*stack, *x.shape[-2:])) for x in (a, b)
    )
    return a, b


class _CudaLinalg:
    """CuPy's ``linalg``, which raises where its results are invalid, as NumPy's does.

    To know that, the host waits for the device.
    """

    def __getattr__(self, name: str) -> Any:
        return functools.partial(self._checked, name)

    def _checked(self, name: str, *args: Any, **options: Any) -> Any:
        import cupy
        import cupyx  # type: ignore[import-not-found, unused-ignore]

        wait_for_device(f"linalg.{name}")
        with cupyx.errstate(linalg="raise"):
            found = getattr(cupy.linalg, name)(*args, **options)
        # cuSOLVER's are in Fortran's order.
        return tuple(map(in_c_order, found)) if isinstance(found, tuple) else in_c_order(found)

    def cross(self, a: Array, b: Array) -> Array:
        """Cross product, which cannot fail."""
        import cupy

        return cupy.cross(a, b)

    def solve(self, a: Array, b: Array) -> Array:
        """Solve for matrices `b` in stacks that broadcast, which CuPy's function does not do."""
        return self._checked("solve", *_of_one_stack(a, b))

    def solve_triangular(
        self, a: Array, b: Array, *, lower: bool, unit_diagonal: bool = False
    ) -> Array:
        """As that of the CPU, which fails where CuPy's divides by 0."""
        cupy, linalg = (importlib.import_module(n) for n in ("cupy", "cupyx.scipy.linalg"))
        a, b, dtype = _triangular_operands(a, b)
        if not b.size:
            return cupy.empty(b.shape, dtype)
        wait_for_device("linalg.solve_triangular")
        if not unit_diagonal and not bool(cupy.diagonal(a, 0, -2, -1).all()):
            raise np.linalg.LinAlgError("an element of the diagonal is 0")
        found = linalg.solve_triangular(a, b, lower=lower, unit_diagonal=unit_diagonal)
        return in_c_order(found)


def in_order(function: Callable[..., Array], arrays: Sequence[Any], attrs: dict[str, Any]) -> Array:
    """Result of an elementwise function of CuPy, its axes in the order in memory that NumPy's have.

    NumPy keeps the order of the operands' axes, CuPy makes C's of any. What is a view depends on
    that: a reshape of the result would share its memory on one device alone.
    """
    layouts = [(a.shape, a.strides) for a in arrays if hasattr(a, "strides")]
    axes = _order_of_axes(layouts)
    given = [
        a[(None,) * (len(axes) - a.ndim)].transpose(axes) if hasattr(a, "strides") else a
        for a in arrays
    ]
    return _at_axes(function(*given, **attrs), axes)


def _at_axes(x: Array, axes: Sequence[int]) -> Array:
    """The array with its axes at places `axes`: of its memory, but no view of it."""
    back = sorted(range(len(axes)), key=axes.__getitem__)
    if x.base is not None or isinstance(x, np.ndarray) or hasattr(x, "recording"):
        return x.transpose(back)  # a view of an operand, or a tracer
    shape, strides = (tuple(part[i] for i in back) for part in (x.shape, x.strides))
    return type(x)(shape, x.dtype, x.data, strides)


def _order_of_axes(layouts: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> list[int]:
    """Axes of what NumPy computes of arrays of some shapes and strides, outermost first."""
    # Never read, and of as little memory as has the same order of axes.
    alike = [
        np.lib.stride_tricks.as_strided(np.empty((), bool), [min(n, 2) for n in shape], strides)
        for shape, strides in layouts
    ]
    flags: Any = [["readonly"]] * len(alike) + [["writeonly", "allocate"]]
    out = np.nditer([*alike, None], ["zerosize_ok"], flags, order="K").operands[-1]
    return sorted(range(out.ndim), key=lambda i: -out.strides[i])


def in_c_order(x: Array) -> Array:
    """The array, its elements in C's order in memory: a copy where they are not."""
    return x if x.flags.c_contiguous else x.copy("C")


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

            self[kind] = Namespace(
                cupy,
                linalg=_CudaLinalg(),
                cumprod=_in_float32(cupy.cumprod),  # its sum, prod and mean are so themselves
                cumsum=_in_float32(cupy.cumsum),
                **CUPY_FUNCTIONS,
            )
            return self[kind]
        raise TypeError(f"{kind.__module__}.{kind.__qualname__} is no NumPy or CuPy array")


def _host_qr(x: Array, mode: Any = "reduced") -> tuple[Array, ...]:
    """NumPy's, whose R keeps the order of the axes of `x` in memory."""
    return tuple(map(in_c_order, np.linalg.qr(x, mode)))


_HOST_LINALG = Namespace(np.linalg, qr=_host_qr, solve_triangular=_host_solve_triangular)
NAMESPACES = _Namespaces(
    {
        np.ndarray: Namespace(
            np,
            linalg=_HOST_LINALG,
            cumprod=_in_float32(np.cumprod),
            cumsum=_in_float32(np.cumsum),
            mean=_in_float32(np.mean),
            # `reduce` is quicker than NumPy's functions around it.
            prod=_in_float32(np.multiply.reduce),
            sum=_in_float32(np.add.reduce),
        )
    }
)


# Types of arrays on the CPU; recordings have one of their own, see gputensor.graph.trace.
HOST_TYPES: list[type] = [np.ndarray]


def on_cpu(x: object) -> bool:
    """Whether `x` is an array on the CPU."""
    return isinstance(x, np.ndarray) or type(x) in HOST_TYPES


def one_call(*, raises: bool = False) -> Callable[[_Function], _Function]:
    """Decorator of a function of raw arrays that looks at their values to choose a way.

    A recording notes the call as one, and not what is done in it. With `raises` it may raise an
    error because of values.
    """

    def decorated(function: Any) -> Any:
        function.raises = raises

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if _local.recording is None:
                return function(*args, **kwargs)
            return _local.recording.call(function, args, kwargs)

        return call

    return decorated


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
    recording = _local.recording
    return NAMESPACES[kind] if recording is None else recording.namespace(NAMESPACES[kind])


def device_of(array: Array) -> Device:
    """Device that a raw array lives on."""
    if on_cpu(array):
        return Device("cpu")
    return Device("cuda", array.device.id)


def same_device(name: str, arrays: list[Array]) -> None:
    """Check that all raw arrays live on one device; scalars live anywhere.

    Raises
    ------
    DeviceMismatchError
        Naming the operation, the devices and the fix.
    """
    if all(type(a) is np.ndarray for a in arrays):  # quicker than to name their device
        return
    devices = [device_of(a) for a in arrays if is_array(a)]
    if any(d != devices[0] for d in devices[1:]):
        found = ", ".join(str(d) for d in devices)
        raise DeviceMismatchError(
            f"{name}: operands are on different devices ({found}); "
            f"move them to one, for example x.to({str(devices[0])!r})"
        )


@contextlib.contextmanager
def _cuda_device(index: int) -> Iterator[None]:
    import cupy

    with cupy.cuda.Device(index):
        yield


_NO_CONTEXT = contextlib.nullcontext()


def on_device_of(place: "Array | Device") -> contextlib.AbstractContextManager[None]:
    """Make the CUDA device of an array current, so that results and launches go there."""
    if type(place) is np.ndarray:
        return _NO_CONTEXT
    where = place if isinstance(place, Device) else device_of(place)
    return _NO_CONTEXT if where.kind == "cpu" else _cuda_device(where.index)


class FollowDevice:
    """Context in which the current CUDA device follows the arrays shown to it."""

    def __init__(self) -> None:
        self._entered: Device | None = None
        self._context: contextlib.AbstractContextManager[None] = _NO_CONTEXT

    def __enter__(self) -> Self:
        return self

    def __call__(self, array: Array) -> None:
        """Make the device of `array` the current one."""
        here = device_of(array)
        if here != self._entered:
            self._context.__exit__(None, None, None)
            self._entered, self._context = here, on_device_of(here)
            self._context.__enter__()

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(None, None, None)


def capturing() -> bool:
    """Whether this thread's work is being recorded into a CUDA graph, and not done."""
    return _local.capturing


@contextlib.contextmanager
def while_capturing() -> Iterator[None]:
    """Context in which the host cannot wait for the device: see :func:`wait_for_device`."""
    _local.capturing = True
    try:
        yield
    finally:
        _local.capturing = False


@contextlib.contextmanager
def expected_waits() -> Iterator[None]:
    """Context whose waits ``gt.sync_debug`` does not mind."""
    before, _local.expected = _local.expected, True
    try:
        yield
    finally:
        _local.expected = before


_LIBRARIES = {
    *("contextlib", "cupy", "cupy_backends", "cupyx", "functools", "gputensor", "numpy", "nvmath"),
}


class _LibraryFiles(dict[str, bool]):
    """Whether a source file is one of those libraries', by its name."""

    def __missing__(self, file: str) -> bool:
        # Tracebacks name compiled code by its source's path in the package: cupy/cuda/memory.pyx.
        self[file] = file.partition("/")[0] in _LIBRARIES or any(
            getattr(module, "__file__", None) == file
            for name, module in list(sys.modules.items())
            if name.partition(".")[0] in _LIBRARIES
            and not name.startswith("gputensor.benchmarks.")  # which only use it
        )
        return self[file]


_library_files = _LibraryFiles()


# What the library's own computations run through; not to be told from it where Python is watched.
_TOOLS = _LIBRARIES | {"llvmlite", "numba", "scipy", "threadpoolctl"} | sys.stdlib_module_names


def is_library(frame: FrameType) -> bool:
    """Whether a frame is of a function of the library's, or of what that is made with."""
    name = frame.f_globals.get("__name__")
    if name is None:  # Numba's frames have no globals
        return _library_files[frame.f_code.co_filename]
    if name.startswith("gputensor.benchmarks."):
        return False
    root = name.partition(".")[0]
    return root in _TOOLS or root.startswith("namedtuple_")


def user_frame(frame: FrameType) -> FrameType:
    """The first frame from `frame` outwards that is the user's; the last, if none is."""
    while _library_files[frame.f_code.co_filename] and frame.f_back is not None:
        frame = frame.f_back
    return frame


def place(code: CodeType, instruction: int) -> tuple[str, str, str]:
    """Where an instruction (a frame's ``f_lasti``) is: ``file:line``, function and source."""
    number: int | None = code.co_firstlineno
    for start, end, line in code.co_lines():
        if start <= instruction < end and line is not None:
            number = line
            break
    text = linecache.getline(code.co_filename, number or 0).strip()
    return f"{code.co_filename}:{number}", code.co_name, text


def user_line(frames: Iterable[FrameType] | None = None) -> str:
    """Where the user's code is, ``file:line: source``.

    Parameters
    ----------
    frames : iterable of frames, optional
        A stack, innermost frame first; by default the calling thread's.
    """
    if frames is None:
        frame = user_frame(sys._getframe(1))
    else:
        for frame in frames:  # the last one, if none is the user's
            if not _library_files[frame.f_code.co_filename]:
                break
    where, _, text = place(frame.f_code, frame.f_lasti)
    return f"{where}: {text}"


def wait_for_device(what: str) -> None:
    """Say that the host is about to wait for a CUDA device.

    Raises
    ------
    CaptureError
        If work is being recorded, when there is nothing to wait for.
    SyncError
        Under ``gt.sync_debug("error")``, unless the wait is expected.
    """
    if _local.capturing:
        raise CaptureError(f"{what} makes the host wait for values that are not computed yet")
    mode = config.sync_debug_mode()
    if mode == "off" or _local.expected:
        return
    text = f"{what} makes the host wait for the device, at {user_line()}"
    if mode == "error":
        raise SyncError(text)
    warnings.warn(text, UserWarning, stacklevel=2)


# What must be looked at before the host may believe a value: kernels that find bad input on the
# device (a label out of range) cannot raise there, so they leave a callable here, once a key.
DEFERRED_CHECKS: dict[str, Callable[[], None]] = {}


def wait_for(array: Array, what: str) -> None:
    """:func:`wait_for_device`, if `array` is on one; for results whose shape its values decide."""
    end_recording(f"{what} makes a shape depend on values")
    if not on_cpu(array):
        wait_for_device(what)


def to_host(array: Array) -> "np.ndarray[Any, Any]":
    """NumPy array with the values of a raw array: itself on the CPU, a copy from CUDA.

    Raises
    ------
    LabelError
        If a kernel launched before found a class label out of range.
    CaptureError, SyncError
        As of :func:`wait_for_device`.
    """
    if _local.recording is not None:
        array = _local.recording.read(array)
    if isinstance(array, np.ndarray):
        return array
    wait_for_device("reading a tensor's values")
    while DEFERRED_CHECKS:
        DEFERRED_CHECKS.popitem()[1]()
    host: np.ndarray[Any, Any] = _transferred(array, lambda a: a.get())
    return host


def to_device(array: Array, where: Device) -> Array:
    """Raw array with the values of `array` on `where`; itself if it is there already."""
    here = device_of(array)
    if here == where:
        return array
    if where.kind == "cpu":
        return to_host(array)
    if _local.capturing and here.kind == "cpu":
        raise CaptureError("copying from the host would be repeated with a stale array")
    with on_device_of(where):
        return _transferred(array, namespace(where).asarray)


def _transferred(array: Array, transfer: Callable[[Array], Array]) -> Array:
    """Copy on another device, its axes in the same order in memory, which CuPy would not keep."""
    if array.flags.c_contiguous:
        return transfer(array)
    axes = _order_of_axes([(array.shape, array.strides)])
    return _at_axes(transfer(array.transpose(axes)), axes)


def synchronize(where: "str | Device | None" = None) -> None:
    """Wait until a device has finished what was given to it; the CPU never waits."""
    chosen = device(where)
    if chosen.kind == "cuda":
        import cupy

        wait_for_device("synchronize()")
        cupy.cuda.Device(chosen.index).synchronize()
