"""What kernels share: dtypes, Numba, CPU threads."""

import contextlib
import functools
import itertools
import os
import signal
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gputensor import blas, config
from gputensor.backend import Array, is_narrow, namespace
from gputensor.kernels import pool
from gputensor.shown import notice

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

__all__ = [
    "ALL_FLOATS",
    "LOOP_FLOATS",
    "Inline",
    "Loop",
    "is_native",
    "narrow",
    "negligible",
    "number_or_array",
    "packs",
    "power_of_two",
    "shared",
    "split",
    "spread",
    "squares_fit",
    "undone",
    "widen",
]

_ASLEEP = 8  # how much more work is worth a thread of Python's, which has to wake up

ALL_FLOATS = ("float16", "bfloat16", "float32", "float64")
LOOP_FLOATS = ("float32", "float64")  # what Numba computes with on the CPU


def widen(xp: Any, x: Any) -> Any:
    """`x` in float32 if it is of a 16-bit floating point dtype: the rest is not computed with."""
    return xp.astype(x, np.float32) if is_narrow(x.dtype) else x


def narrow(xp: Any, y: Any, like: Any) -> Any:
    """`y` in the dtype of `like`, if :func:`widen` changed that."""
    return xp.astype(y, like.dtype) if is_narrow(like.dtype) else y


def squares_fit(squares: "np.ndarray[Any, Any]") -> bool:
    """Whether sums of squares are so far from overflow and underflow that they lost no digits."""
    low, high = _normal_squares(squares.dtype)
    if squares.size == 1:
        return low <= squares.item() <= high
    return not squares.size or bool(low <= squares.min() and squares.max() <= high)


@functools.cache
def _normal_squares(dtype: "np.dtype[Any]") -> tuple[float, float]:
    limits = np.finfo(dtype)
    return float(limits.tiny / limits.eps), float(limits.max)


def power_of_two(size: Array, axis: Any, power: float = 2) -> Array:
    """What to multiply numbers by so that their powers neither over- nor underflow.

    Parameters
    ----------
    size : array
        Absolute values, at least one along `axis`.
    axis : int, tuple of ints or None
        That the powers are added up along. It stays with length 1.
    power : float

    Returns
    -------
    array
        1 where the power of the largest is a moderate number; elsewhere 1 over the largest, rounded
        to a power of two, as products with these are exact.
    """
    xp = namespace(size)
    top = xp.max(size, axis=axis, keepdims=True)
    high = np.finfo(top.dtype).maxexp
    exponent = xp.clip(xp.frexp(top)[1], 8 - high, high - 8)  # of the inverse, too
    moderate = xp.abs(exponent) * abs(power) <= high // 2
    return xp.ldexp(xp.ones_like(top), xp.where(moderate, 0, -exponent))


def packs(array: Array) -> int:
    """16-byte packs that an array has, the work items of a vectorized CUDA kernel."""
    return -(-array.size * array.itemsize // 16)


@contextlib.contextmanager
def undone(xp: Any, skip: Array | None, *arrays: Array) -> Iterator[None]:
    """What is done to `arrays` inside is undone where the flag `skip` is not 0, for references."""
    before = [] if skip is None else [a.copy() for a in arrays]
    yield
    for a, old in zip(arrays, before, strict=False):
        a[...] = xp.where(skip != 0, old, a)


def number_or_array(x: Any) -> tuple[Any, float]:
    """Pointer and number of a parameter that comes as either: a null pointer with a number."""
    return (x, 0.0) if hasattr(x, "flags") else (None, x)


class Inline:
    """A function for use in loops only, compiled into them; by dtype of its first argument.

    Parameters
    ----------
    forms : dict
        Function by dtype name, or under None one for all.
    """

    def __init__(self, forms: dict[str | None, Callable[..., Any]]) -> None:
        self._forms = forms

    @functools.cached_property
    def stub(self) -> Callable[..., Any]:
        """What stands for it in compiled code."""
        import numba

        forms = {dtype: _with_inlines(form) for dtype, form in self._forms.items()}
        code = next(iter(forms.values())).__code__
        names = code.co_varnames
        arguments = ", ".join(names[: code.co_argcount])
        scope: dict[str, Any] = {"pick": lambda kind: forms.get(str(getattr(kind, "dtype", kind)))}
        exec(f"def stub({arguments}): ...\ndef choose({arguments}): return pick({names[0]})", scope)
        # Without "reassoc": the two parts of a constant must not be added up.
        options = {"error_model": "numpy", "fastmath": {"contract"}, "forceinline": True}
        numba.extending.overload(scope["stub"], jit_options=options)(scope["choose"])
        stub: Callable[..., Any] = scope["stub"]
        return stub


def _with_inlines(f: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, with stubs where it names an :class:`Inline`."""
    named = {name: f.__globals__.get(name) for name in f.__code__.co_names}
    inlines = {name: v.stub for name, v in named.items() if isinstance(v, Inline)}
    scope = f.__globals__ | inlines
    function = types.FunctionType(f.__code__, scope, f.__name__, f.__defaults__, f.__closure__)
    function.__qualname__, function.__module__ = f.__qualname__, f.__module__
    return function


_compiling = threading.Lock()  # as Numba's setting of the folder is one for all threads


@functools.cache
def _loop_folder(chosen: str) -> Path:
    """Folder for compiled loops: under `chosen`, Numba's own setting, or the user's cache.

    It is named after the sources of all kernels: Numba compiles again where the file of a loop has
    changed, but would not know of an :class:`Inline` in another one.
    """
    import hashlib

    files = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:16]
    return (Path(chosen) if chosen else config.cache_dir() / "loops") / digest


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """A block at whose end Ctrl-C takes effect.

    Within Numba or LLVM an exception out of nowhere is lost, or leaves a loop half made.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    came: list[tuple[int, types.FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            before(*came[0])


def _with_any_cache(dispatcher: Any) -> Callable[[Any], Any]:
    """``dispatcher.compile``, which does not need Numba's cache to be whole, or to take more.

    A disk may be full, and a power cut may leave half a file.
    """
    compile_with_cache = dispatcher.compile

    def compile(kinds: Any) -> Any:
        try:
            return compile_with_cache(kinds)
        except Exception as error:
            if type(error).__module__.startswith("numba."):
                raise
            cache = dispatcher._cache
            with contextlib.suppress(OSError):
                if not isinstance(error, OSError):
                    cache.flush()  # the next process makes it anew
            cache.disable()
            return compile_with_cache(kinds)

    return compile


class Loop:
    """A CPU loop, compiled by Numba on its first call and cached in a folder of the user's.

    ``nogil`` lets :func:`split` run parts of it on several threads. The fast-math flags are those
    that keep NaN, infinity and signed results: operations may be fused and reordered, no more.

    A loop that adds up stores nothing. If it did, it would go in vectors only where its arrays are
    far enough apart, which it looks for as it runs; the order of the sum, and so its last bit,
    would depend on where they lie.

    Examples
    --------
    >>> @gt.kernels.Loop
    ... def total(start, stop, x, out):
    ...     for i in range(start, stop):
    ...         out[0] += x[i]
    >>> out = np.zeros(1)
    >>> total(0, 4, np.arange(4.0), out)
    >>> out
    array([6.])
    """

    def __init__(
        self, function: Callable[..., Any], fastmath: Iterable[str] = ("contract", "reassoc")
    ) -> None:
        self._function = function
        self._fastmath = set(fastmath)
        # Numba counts references to arrays only where it must: parts that run side by side would
        # take the counts from each other, for each row that they look at.
        self._counting = False
        functools.update_wrapper(self, function)

    def __repr__(self) -> str:
        return f"<Loop {self._function.__name__}>"

    @classmethod
    def exact(cls, function: Callable[..., Any]) -> "Loop":
        """A loop in which every operation rounds by itself, in the order of the source."""
        return cls(function, fastmath=())

    @functools.cached_property
    def _compiled(self) -> Callable[..., Any]:
        return self._made(_with_inlines(self._function))

    @functools.cached_property
    def _launch(self) -> Callable[..., int]:
        # What a closure holds is in the code of its parts, and Numba's cache would not look there.
        return self._made(pool.launcher(self._compiled), cache=not self._function.__closure__)

    @_uninterrupted()
    def _made(self, function: Callable[..., Any], cache: bool = True) -> Any:
        import numba

        options = {"nogil": True, "error_model": "numpy", "fastmath": self._fastmath}
        jit = functools.partial(numba.njit, **options, _nrt=self._counting)
        with _compiling:
            before = numba.config.CACHE_DIR
            folder = _loop_folder(before)
            if not folder.exists():
                notice("Compiling loops for the CPU with Numba, some seconds that are spent once")
            numba.config.CACHE_DIR = str(folder)
            try:
                compiled = jit(cache=cache)(function)
            except RuntimeError:  # there is no folder that can be written to
                compiled = jit()(function)
            finally:
                numba.config.CACHE_DIR = before
        compiled.compile = _uninterrupted()(_with_any_cache(compiled))
        return compiled

    def _counted(self, error: Exception) -> None:
        """Have references counted, which a loop needs that makes arrays; if that was the error."""
        if self._counting or not type(error).__module__.startswith("numba."):
            raise error
        self._counting = True
        for name in ("_compiled", "_launch"):
            vars(self).pop(name, None)

    def __call__(self, *args: Any) -> Any:
        try:
            return self._compiled(*args)
        except Exception as error:
            self._counted(error)
            return self._compiled(*args)

    def in_parts(self, length: int, parts: int, *args: Any) -> None:
        """Run the loop over ``range(length)``, so many parts of it side by side."""
        if not is_native():
            spread(self, _parts(length, parts, *args))
            return
        try:
            done = self._launch(length, parts, args)
        except Exception:
            if self._has_run(length, parts, args):  # the loop itself raised it
                raise
            launch = vars(self).get("_launch")
            self(0, length, *args)  # which says what is wrong
            if vars(self).get("_launch") is launch:  # else the next call tries it with counts
                vars(self)["_launch"] = lambda *_: 0
            return
        if not done:
            self(0, length, *args)

    def _has_run(self, *args: Any) -> bool:
        """Whether the function that runs parts is compiled for such arguments."""
        overloads = getattr(vars(self).get("_launch"), "overloads", None)
        return bool(overloads) and tuple(map(self._launch.typeof_pyval, args)) in overloads


@functools.cache
def _threads() -> int:
    return min(config.cpu_threads(), pool.MOST)


@functools.cache
def is_native() -> bool:
    """Whether parts of loops run on threads of :mod:`gputensor.kernels.pool`.

    Then matrix products do, too.
    """
    address = pool.start(_threads())
    if address:
        blas.give_threads(address)
    return address != 0


@functools.cache
def _pool() -> "ThreadPoolExecutor":
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(_threads() - 1, thread_name_prefix="gputensor-kernel")


# Threads do not survive a fork; a child makes its own pool.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def split(loop: Loop, length: int, grain: int, *args: Any) -> None:
    """Run ``loop(start, stop, *args)`` over ``range(length)``, in parts of `grain` or more.

    The parts go to threads that are also those of NumPy's products, see
    ``gputensor.kernels.pool``; where these cannot be had, to Python's, which sleep when idle:
    threads that spin would take the cores from the products in between.

    Examples
    --------
    >>> @gt.kernels.Loop
    ... def double(start, stop, x, out):
    ...     for i in range(start, stop):
    ...         out[i] = 2 * x[i]
    >>> x = np.arange(4.0)
    >>> out = np.empty_like(x)
    >>> gt.kernels.split(double, len(x), 1024, x, out)
    >>> out
    array([0., 2., 4., 6.])
    """
    if grain < 1:
        raise ValueError(f"split: grain is {grain}; it must be 1 or more")
    parts = min(_threads(), length // grain) if length >= 2 * grain else 1
    if parts > 1 and not is_native():
        parts = max(1, min(parts, length // (_ASLEEP * grain)))
    if parts == 1 or _here.alone:
        loop(0, length, *args)
    else:
        loop.in_parts(length, parts, *args)


def spread(run: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Results of calls with these arguments, side by side on Python's threads."""
    rest = [_pool().submit(run, *args) for args in calls[1:]]
    try:
        first = run(*calls[0])
    finally:
        failed = [part.exception() for part in rest]  # which waits for them
    for error in filter(None, failed):
        raise error
    return [first, *(part.result() for part in rest)]


def _parts(length: int, parts: int, *args: Any) -> list[tuple[Any, ...]]:
    """Arguments of a function of `start`, `stop` and others, for parts of ``range(length)``."""
    bounds = [length * i // parts for i in range(parts + 1)]
    return [(start, stop, *args) for start, stop in itertools.pairwise(bounds)]


class _Here(threading.local):
    alone = False  # whether this thread has a part of shared work, and does all in it by itself


_here = _Here()


def shared(work: Callable[[int, int], None], length: int) -> None:
    """Run ``work(start, stop)``, Python with NumPy and loops in it, over ``range(length)``.

    The parts go to threads as those of :func:`split`; within one, loops are not split again, and
    matrix products take one thread.
    """

    def alone(start: int, stop: int) -> None:
        before, _here.alone = _here.alone, True
        try:
            work(start, stop)
        finally:
            _here.alone = before

    parts = min(_threads(), length)
    if parts < 2 or _here.alone:
        work(0, length)
        return
    with blas.one_thread():
        spread(alone, _parts(length, parts))


def negligible(array: Array) -> float:
    """Size below which an optimizer's running means become 0: the smallest normal number.

    Where gradients stay away, means decay to subnormal numbers and stay there (0.9 times the
    smallest rounds to itself), and those are slow on a CPU: with MNIST, whose outer pixels are
    rarely inked, they doubled the time of Adam. float16 needs its subnormal numbers.
    """
    return float(np.finfo(array.dtype).tiny) if array.dtype.char in "fd" else 0.0
