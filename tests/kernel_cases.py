"""Calls of every kernel: the one table for loops, CUDA on the stand-in, NVRTC and mutants.

A new kernel gets its calls here, by a generator under :func:`calls_of`; a test fails until it has.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from gputensor import backend, kernels
from gputensor.kernels import (
    CudaSource,
    Kernel,
    adam_step,
    bias_activation,
    bias_activation_backward,
    clip_norm,
    dropout,
    embedding,
    embedding_backward,
    fold,
    gather_scale,
    gelu,
    gelu_backward,
    max_pool,
    max_pool_backward,
    next_batch,
    random_bits,
    random_normal,
    random_uniform,
    row_layer_norm,
    row_moments,
    row_norm_backward,
    row_rms_norm,
    row_softmax,
    row_softmax_backward,
    sgd_step,
    softmax_cross_entropy,
    squared_norm,
    unfold,
    unscale,
    update_scale,
)
from gputensor.kernels.bias_activation import KINDS
from gputensor.kernels.grad_norm import segments_of
from gputensor.kernels.nvrtc import Launch

HOST = backend.NAMESPACES[np.ndarray]
DTYPES: dict[str, Any] = {"float32": np.float32, "float64": np.float64, "float16": np.float16}
with contextlib.suppress(ImportError):
    import ml_dtypes

    DTYPES["bfloat16"] = ml_dtypes.bfloat16
_SMALLEST_NORMAL = {"float16": 2.0**-14, "float64": 2.0**-1022}  # others: 2**-126
# One element, odd sizes, whole and broken packs, several blocks of columns, and rows that a warp, a
# block and a block that reads them again takes, each in packs and one by one.
SHAPES = [
    *((1, 1), (3, 5), (9, 10), (7, 128), (5, 1000), (70, 33)),
    *((2, 1003), (2, 4096), (2, 3001), (3, 9000)),
]


# Numbers of each dtype whose size hides 1, and factors that squares of numbers overflow by.
_FAR = {"float16": 4e3, "bfloat16": 1e4, "float32": 1e8, "float64": 1e17}
_HUGE = {"float16": 2.0**4, "bfloat16": 2.0**66, "float32": 2.0**66, "float64": 2.0**520}


class Case(NamedTuple):
    """A call of a kernel."""

    kernel: Kernel
    operands: tuple[Any, ...]
    attrs: dict[str, Any]

    def __str__(self) -> str:
        attrs = "".join(f", {k}={v}" for k, v in self.attrs.items())
        shapes = ", ".join(f"{a.dtype}{list(a.shape)}" for a in self.operands if a is not None)
        return f"{self.kernel.name}({shapes}{attrs})"


class Draw:
    """Reproducible operands for a matrix of `rows` and `columns`.

    With `special`, each of the first rows has one of NaN, the infinities, zeros of both signs,
    subnormal and large numbers among its values.
    """

    def __init__(self, rows: int, columns: int, dtype: Any, special: bool = False) -> None:
        self.rows, self.columns, self.dtype = rows, columns, np.dtype(dtype)
        self.wide = self.dtype if self.dtype.itemsize > 2 else np.dtype(np.float32)
        self.special = special
        self.rng = np.random.default_rng([rows, columns, special])

    def array(self, *shape: int, dtype: Any = None) -> Any:
        """Standard normal numbers; without a shape, a matrix."""
        shape = shape or (self.rows, self.columns)
        dtype = self.dtype if dtype is None else np.dtype(dtype)
        values = self.rng.standard_normal(shape).astype(dtype)
        if self.special and values.ndim == 2:
            tiny = _SMALLEST_NORMAL.get(dtype.name, 2.0**-126)
            numbers = [np.nan, np.inf, -np.inf, 0.0, -0.0, tiny / 4, -tiny / 2, 50, -90]
            for row, number in zip(values, numbers, strict=False):
                row[self.rng.integers(row.size)] = number
        return values

    def huge(self) -> Any:
        """A matrix with rows, every second one, whose squares overflow."""
        values = self.array()
        values[::2] *= values.dtype.type(_HUGE[self.dtype.name])
        return values

    def row(self) -> Any:
        """One number for each column."""
        return self.rng.standard_normal(self.columns).astype(self.dtype)

    def flat(self, dtype: Any = None) -> Any:
        """As many numbers as the matrix has."""
        return self.array(dtype=dtype).reshape(-1)

    def places(self) -> Any:
        """Numbers of rows, some more than once."""
        return self.rng.integers(0, max(self.rows, 1), self.rows and self.rows + 2)

    def finite(self) -> Any:
        """Parameters: as `flat`, but always plain, as loops add ``0 * p`` without weight decay."""
        return self.rng.standard_normal(self.rows * self.columns).astype(self.dtype)


Calls = Iterator[tuple[tuple[Any, ...], dict[str, Any]]]
_TABLE: dict[Kernel, Callable[[Draw], Calls]] = {}


def calls_of(kernel: Kernel) -> Callable[[Callable[[Draw], Calls]], Callable[[Draw], Calls]]:
    """Decorate the generator of a kernel's calls: operands and attributes."""

    def enter(calls: Callable[[Draw], Calls]) -> Callable[[Draw], Calls]:
        _TABLE[kernel] = calls
        return calls

    return enter


def cases(
    rows: int, columns: int, dtype: Any = np.float32, *, special: bool = False
) -> Iterator[Case]:
    """Every call of every kernel for a matrix of that shape."""
    for kernel in _TABLE:
        yield from cases_of(kernel, rows, columns, dtype, special=special)


def cases_of(
    kernel: Kernel, rows: int, columns: int, dtype: Any = np.float32, *, special: bool = False
) -> Iterator[Case]:
    """Every call of one kernel for a matrix of that shape."""
    with np.errstate(all="ignore"):
        calls = list(_TABLE[kernel](Draw(rows, columns, dtype, special)))
    for operands, attrs in calls:
        yield Case(kernel, operands, attrs)


def kernels_without_cases() -> set[Kernel]:
    """What the table lacks."""
    return {k for k in vars(kernels).values() if isinstance(k, Kernel)} - set(_TABLE)


# ---------------------------------------------------------------- running a case


def misaligned(xp: Any, array: Any) -> Any:
    """A contiguous copy of `array` in `xp` that starts at no multiple of 16 bytes."""
    if not isinstance(array, np.ndarray):
        return array
    room = xp.zeros(array.size + 1, array.dtype)
    view = room[1:].reshape(array.shape)
    view[...] = xp.asarray(array)
    return view


def only(number: int, odd: Callable[[Any], Any], plain: Callable[[Any], Any]) -> Any:
    """Places the array of that number by `odd`, the others by `plain`."""
    places = itertools.chain([plain] * number, [odd], itertools.repeat(plain))
    return lambda array: next(places)(array)


def run(case: Case, place: Callable[[Any], Any], how: str | None = None) -> list[Any]:
    """Results of a case, and its operands afterwards, all on the host.

    `place` moves an operand to a device; `how` is the implementation that must take them.
    """
    placed: dict[int, Any] = {}  # an array that is given twice is one array

    def there(given: Any) -> Any:
        if not isinstance(given, np.ndarray):
            return given
        if id(given) not in placed:
            placed[id(given)] = place(given)
        return placed[id(given)]

    operands = [there(a) for a in case.operands]
    assert how in (None, case.kernel.implementation(*operands)), case
    attrs = {k: there(v) for k, v in case.attrs.items()}
    with np.errstate(all="ignore"):
        out = case.kernel.raw(*operands, **attrs)
    return _on_host(out, [*operands, *_written(case, operands, attrs)])


def expected(case: Case) -> list[Any]:
    """What the reference makes of a case, in the form of :func:`run`."""
    operands = [a.copy() if isinstance(a, np.ndarray) else a for a in case.operands]
    attrs = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in case.attrs.items()}
    with np.errstate(all="ignore"):
        out = case.kernel.reference(HOST, *operands, **attrs)
    return _on_host(out, [*operands, *_written(case, case.operands, case.attrs, attrs)])


def _written(case: Case, operands: Any, attrs: Any, copies: Any = None) -> list[Any]:
    """Arrays given by name that the kernel writes to, but for those that are operands as well."""
    return [
        (copies or attrs)[name]
        for name in sorted(case.kernel.writes)
        if attrs.get(name) is not None and not any(attrs[name] is a for a in operands)
    ]


def compare(case: Case, found: list[Any], wanted: list[Any]) -> None:
    """Assert that the results in `found` are those in `wanted`, but for what rounding does."""
    columns = case.operands[0].shape[-1]
    dtypes = {a.dtype.name for a in case.operands if isinstance(a, np.ndarray)}
    least = (
        0.0 if dtypes <= {"float64", "int64", "uint8", "uint32"} else _allowed("float32", columns)
    )
    for i, (a, b) in enumerate(zip(found, wanted, strict=True)):
        if not isinstance(b, np.ndarray):
            assert a is b
            continue
        assert (a.dtype, a.shape) == (b.dtype, b.shape), f"{case}, array {i}"
        if b.dtype.kind not in "fV":
            np.testing.assert_array_equal(a, b, err_msg=f"{case}, array {i}")
            continue
        allowed = max(_allowed(b.dtype.name, columns), least)
        a, b = a.astype(np.float64), b.astype(np.float64)
        np.testing.assert_allclose(a, b, allowed, allowed, err_msg=f"{case}, array {i}")


def _allowed(dtype: str, columns: int) -> float:
    """Relative and absolute error of what is computed in a dtype, in sums of any order."""
    single = 1e-4 if columns > 2000 else 2e-5
    return {"float64": 1e-10, "float32": single, "float16": 4e-3, "bfloat16": 3e-2}[dtype]


def _on_host(out: Any, operands: list[Any]) -> list[Any]:
    outs = [] if out is None else list(out) if isinstance(out, (tuple, list)) else [out]
    return [backend.to_host(a) if backend.is_array(a) else a for a in (*outs, *operands)]


@contextlib.contextmanager
def launches_recorded(launch: Any = None) -> Iterator[dict[tuple[str, str], Launch]]:
    """Collect what is launched, by file and entry; nothing runs, unless by a function `launch`."""
    seen: dict[tuple[str, str], Launch] = {}

    def record(
        source: CudaSource,
        entry: str,
        args: Any,
        *,
        threads: int | tuple[int, ...] = 256,
        shared: int = 0,
        **shape: Any,
    ) -> None:
        key = source.name, entry
        before = seen.get(key, Launch(source, entry, 0, 0))
        most = max(before.threads, int(np.prod(threads))), max(before.shared, shared)
        seen[key] = Launch(source, entry, *most)
        if launch is not None:
            launch(source, entry, args, threads=threads, shared=shared, **shape)

    with mock.patch.object(CudaSource, "launch", record):
        yield seen


def instantiations(xp: Any) -> dict[tuple[str, str], Launch]:
    """What the launch code asks for: all dtypes, widths of a pack and layouts of a row.

    `xp` is CuPy or the stand-in; nothing runs.
    """
    with launches_recorded() as seen:
        for dtype in DTYPES.values():
            for width in (1, 16 // np.dtype(dtype).itemsize):
                for packs in (1, 33, 257, 2049):  # a first odd number of each layout
                    for case in cases(1, packs * width, dtype):
                        run(case, xp.asarray)
    return seen


def small_cases(xp: Any) -> list[Case]:
    """Few cases that reach each kernel, and each branch of it that its template arguments choose.

    All calls for a small matrix in float32, and of other layouts of a row and of 16-bit numbers
    what has an argument that no call before had. `xp` is as for :func:`instantiations`.
    """
    sizes = [(1, packs) for packs in (5, 33, 257, 2049)]
    sizes += [(4, packs) for packs in (1, 33, 257, 2049)]
    tried = [
        *((np.float32, width * packs) for width, packs in sizes),
        *((np.float16, columns) for columns in (5, 8)),
    ]
    known: set[tuple[str, int, str]] = set()
    chosen = []
    for i, (dtype, columns) in enumerate(tried):
        for case in cases(3, columns, dtype):
            with launches_recorded() as seen:
                run(case, xp.asarray)
            found = {argument for _, entry in seen for argument in _arguments(entry)}
            if i == 0 or found - known:
                chosen.append(case)
            known |= found
    return chosen


def _arguments(entry: str) -> Iterator[tuple[str, int, str]]:
    """A kernel's name with each of its template arguments."""
    name, _, arguments = entry.rstrip(">").partition("<")
    for i, argument in enumerate(arguments.split(", ")):
        yield name, i, argument


# ---------------------------------------------------------------- the table


@calls_of(bias_activation)
def _(draw: Draw) -> Calls:
    for kind in KINDS:
        yield (draw.array(), draw.row()), {"kind": kind}


@calls_of(bias_activation_backward)
def _(draw: Draw) -> Calls:
    for kind in KINDS:
        yield (draw.array(), draw.array(), draw.row()), {"kind": kind}


@calls_of(softmax_cross_entropy)
def _(draw: Draw) -> Calls:
    x = draw.array()
    x[:1], x[1:2] = 0, -2  # ties of maxima
    labels = draw.rng.integers(0, draw.columns, draw.rows)
    first = np.argmax(x, axis=1).astype(np.int64)  # right answers
    # Rows that do not sum to 1 are weights.
    weights = (draw.rng.random(x.shape) / draw.columns).astype(draw.dtype)
    weights[:, ::3] = 0
    yield (x, labels), {}
    yield (x, first), {}
    yield (x, labels), {"smoothing": 0.2}
    yield (x, weights), {}
    yield (x, weights), {"smoothing": 0.1}
    for target, first in ((labels, 5.0), (weights, -3.0)):
        yield (x, target), {"sums": np.array([first])}
        yield (x, target), {"sums": np.array([first, 2.0])}
    far = x + draw.dtype.type(_FAR[draw.dtype.name])  # losses must not round at this size
    yield (far, labels), {"smoothing": 0.2}
    yield (far, weights), {"smoothing": 0.1}
    ahead = draw.array()
    ahead[:, 0] = 9  # the first of equal targets is the right answer
    yield (ahead, np.full_like(weights, 0.5)), {}
    if draw.columns > 1000:  # the maximum in every warp of a block
        width = 16 // draw.dtype.itemsize
        step = 32 * (width if draw.columns % width == 0 else 1)
        places = np.arange(min(32, draw.columns // step)) * step
        peaks = np.zeros((len(places), draw.columns), draw.dtype)
        peaks[np.arange(len(places)), places] = 9
        yield (peaks, places), {}


@calls_of(gelu)
def _(draw: Draw) -> Calls:
    x = draw.array()
    yield (x,), {}
    yield (4 * x,), {}  # where erfc is small


@calls_of(gelu_backward)
def _(draw: Draw) -> Calls:
    g, x = draw.array(), draw.array()
    yield (g, x), {}
    yield (g, 4 * x), {}


@calls_of(row_softmax)
def _(draw: Draw) -> Calls:
    for logarithm in (False, True):
        x = draw.array()
        x[1:2] = -2  # ties of maxima
        yield (x,), {"logarithm": logarithm}


@calls_of(row_softmax_backward)
def _(draw: Draw) -> Calls:
    for logarithm in (False, True):
        out = row_softmax.reference(HOST, draw.array(), logarithm=logarithm)
        yield (draw.array(), out), {"logarithm": logarithm}


@calls_of(row_layer_norm)
def _(draw: Draw) -> Calls:
    for x in (draw.array(), draw.huge()):
        yield (x, draw.row(), draw.row()), {"eps": 0.1}


@calls_of(row_rms_norm)
def _(draw: Draw) -> Calls:
    for x in (draw.array(), draw.huge()):
        yield (x, draw.row()), {"eps": 0.1}


@calls_of(row_norm_backward)
def _(draw: Draw) -> Calls:
    for center in (True, False):
        for x in (draw.array(), draw.huge()):
            yield (draw.array(), x, draw.row()), {"eps": 0.1, "center": center}


@calls_of(adam_step)
def _(draw: Draw) -> Calls:
    rates = {"lr": 0.1, "beta1": 0.9, "beta2": 0.99}
    p, g, m = draw.finite(), draw.flat(), draw.flat(draw.wide)
    v = draw.flat(draw.wide) ** 2
    ticket = np.zeros(1, np.uint32)
    for count, attrs in (
        (0, {"eps": 1e-8}),
        (3, {"eps": 1e-8, "weight_decay": 0.05}),
        (7, {"eps": 1e-3, "weight_decay": 0.05, "decoupled": True}),
        (2, {"eps": 1e-8, "advance": False}),
        (1, {"eps": 1e-8, "lr": np.asarray(0.03)}),
        (1, {"eps": 0.5, "hat": True}),
        (1, {"eps": 1e-8, "skip": np.zeros(1, np.uint32)}),
        (1, {"eps": 1e-8, "skip": np.ones(1, np.uint32)}),
    ):
        yield (p, g, m, v, np.full(1, count), ticket), rates | attrs
    for attrs in _clips(g):
        yield (
            (p, g, m, v, np.full(1, 3), ticket),
            rates | {"eps": 1e-8, "weight_decay": 0.05} | attrs,
        )


def _clips(g: Any) -> Iterator[dict[str, Any]]:
    """Attributes of a step that scales gradients down, or not, done or left out."""
    for squared, skip in ((0.25, None), (16.0, None), (16.0, 0), (16.0, 1), (np.nan, 1)):
        clip = {"squared": np.asarray(squared), "most": 1.0, "clipped": g}
        yield clip if skip is None else clip | {"skip": np.full(1, skip, np.uint32)}
    for skip in (None, 0, 1):
        clip = {**_each(g), "most": 1.0, "clipped": g}
        yield clip if skip is None else clip | {"skip": np.full(1, skip, np.uint32)}


def _segments(x: Any) -> Any:
    """Parameters of odd sizes side by side in a buffer, also none that has elements."""
    cuts = sorted({0, *(x.size * k // 7 for k in (1, 2, 3, 5)), x.size * 5 // 7 + 1, x.size})
    ends = [c for c in cuts if c <= x.size]
    sizes = [0, *np.diff(ends), 0]
    sizes[3:3] = [0]
    return segments_of(sizes, x)


def _each(x: Any) -> dict[str, Any]:
    """Parameters and the squares of their norms, some of which are small or not finite."""
    segments = _segments(x)
    squared = np.resize([0.25, 16.0, 9.0, np.inf, 0.5, np.nan, 4.0], segments.shape[1])
    return {"squared": squared, "segments": segments}


@calls_of(sgd_step)
def _(draw: Draw) -> Calls:
    p, g, velocity = draw.finite(), draw.flat(), draw.flat(draw.wide)
    yield (p, g, None), {"lr": 0.1}
    yield (p, g, None), {"lr": 0.1, "weight_decay": 0.05}
    yield (p, g, velocity), {"lr": 0.1, "momentum": 0.9}
    yield (p, g, velocity), {"lr": np.asarray(0.03), "momentum": 0.9}
    yield (p, g, velocity), {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05, "nesterov": True}
    yield (p, g, None), {"lr": 0.1, "within": True}
    for skip in (0, 1):
        counts = np.full(1, 3, np.int64), np.zeros(1, np.uint32)
        yield (p, g, None, *counts), {"lr": 0.1, "skip": np.full(1, skip, np.uint32)}
    for nesterov in (False, True):
        options = {"lr": np.asarray(0.03), "within": True, "nesterov": nesterov}
        yield (p, g, velocity), {"momentum": 0.9, "weight_decay": 0.05, **options}
    for skip in (0, 1):
        yield (p, g, velocity), {"lr": 0.1, "momentum": 0.9, "skip": np.full(1, skip, np.uint32)}
    yield (p, g, None), {"lr": 0.1, "skip": np.ones(1, np.uint32)}
    for attrs in _clips(g):
        counts = np.full(1, 3, np.int64), np.zeros(1, np.uint32)
        yield (p, g, velocity, *counts), {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05, **attrs}


@calls_of(gather_scale)
def _(draw: Draw) -> Calls:
    data, index = draw.array(), draw.places()
    for dtype in DTYPES.values():
        yield (data, index), {"dtype": dtype, "scale": 0.5, "offset": -0.25}
    pixels = draw.rng.integers(0, 256, data.shape, dtype=np.uint8)
    yield (pixels, index), {"dtype": draw.dtype, "scale": 1 / 255, "offset": 0.1}
    yield (pixels, index), {"dtype": draw.dtype}


@calls_of(next_batch)
def _(draw: Draw) -> Calls:
    data = draw.array()
    n = len(data)
    if not n:
        return
    order, at = draw.rng.permutation(np.arange(2 * n) % n), np.array([n // 2])
    for labels in (draw.rng.integers(0, 9, n), draw.array(), draw.rng.random((n, 3))):
        for dtype in DTYPES.values():
            options = {"rows": n, "dtype": dtype, "scale": 0.5, "offset": -0.25}
            yield (data, labels, order, at), options
    pixels = draw.rng.integers(0, 256, data.shape, dtype=np.uint8)
    options = {"rows": n, "dtype": draw.dtype, "scale": 1 / 255, "offset": 0.1}
    yield (pixels, draw.rng.integers(0, 9, n), order, at), options


# A key of which both halves count, and an offset whose counters carry into the upper word.
_STREAM = {"key": 0x9ABCDEF012345678, "offset": 2**32 - 2}
# The same on the device, the offset going on from there.
_STATE = {"key": 0, "offset": 7, "state": np.array([0x9ABCDEF012345678, 2**32 - 9], np.uint64)}


@calls_of(random_bits)
def _(draw: Draw) -> Calls:
    for stream in (_STREAM, _STATE):
        yield (np.zeros(draw.rows * draw.columns, np.uint32),), stream


@calls_of(random_uniform)
def _(draw: Draw) -> Calls:
    yield (draw.flat(),), _STREAM
    yield (draw.flat(),), _STATE | {"low": -3.0, "high": 0.5}


@calls_of(random_normal)
def _(draw: Draw) -> Calls:
    yield (draw.flat(),), _STREAM
    yield (draw.flat(),), _STATE | {"mean": 1.5, "std": 0.25}


@calls_of(dropout)
def _(draw: Draw) -> Calls:
    word = random_bits.reference(HOST, np.zeros(1, np.uint32), **_STREAM)[0]
    for p in (0.0, 0.3, 1.0, float(word >> 8) * 2**-24):  # the last is just what is drawn first
        yield (draw.array(),), {"p": p, **_STREAM}
    yield (draw.array(),), {"p": 0.3, **_STATE}


@calls_of(embedding)
def _(draw: Draw) -> Calls:
    yield (draw.array(), draw.places()), {}


@calls_of(embedding_backward)
def _(draw: Draw) -> Calls:
    index = draw.places()
    g = draw.array(len(index), draw.columns)
    yield (g, index), {"rows": draw.rows + 1}  # the last row does not occur
    yield (g, np.zeros_like(index)), {"rows": 1}


@calls_of(squared_norm)
def _(draw: Draw) -> Calls:
    yield (draw.flat(),), {}
    yield (draw.flat(),), {"segments": _segments(draw.flat())}
    if draw.columns > 5000:  # more blocks than the last one has threads
        x = draw.array(1, 300_001).reshape(-1)
        yield (x,), {}
        yield (x,), {"segments": segments_of([7, 299_990, 4], x)}
        many = np.full(1100, x.size // 1100)  # more parameters than there are blocks
        yield (x,), {"segments": segments_of([*many, x.size - many.sum()], x)}


@calls_of(clip_norm)
def _(draw: Draw) -> Calls:
    for squared in (0.25, 16.0, np.inf, np.nan):
        yield (draw.flat(), np.asarray(squared)), {"most": 1.0}
    each = _each(x := draw.flat())
    yield (x, each["squared"]), {"most": 1.0, "segments": each["segments"]}


@calls_of(unscale)
def _(draw: Draw) -> Calls:
    for values, scale, found in ((draw.finite(), 4, 0), (draw.finite(), 3, 1), (draw.flat(), 8, 0)):
        yield (values, np.float32([scale]), np.full(1, found, np.uint32)), {}
    for bad in (np.nan, np.inf, -np.inf):
        values = draw.finite()
        values[-1:] = bad
        yield (values, np.float32([2]), np.zeros(1, np.uint32)), {}


@calls_of(update_scale)
def _(draw: Draw) -> Calls:
    attrs = {"growth": 2.0, "backoff": 0.5, "interval": 3}
    states = ((8, 0, 0), (8, 2, 0), (8, 2, 1), (8, 0, 1), (2.0**127, 2, 0)) if draw.rows else ()
    for scale, streak, found in states:
        flags = np.full(1, streak, np.uint32), np.full(1, found, np.uint32)
        yield (np.float32([scale]), *flags), attrs
        yield (np.float32([scale]), *flags), attrs | {"least": 6.0}


@calls_of(row_moments)
def _(draw: Draw) -> Calls:
    yield (draw.array(),), {}
    if draw.columns > 2000:  # several chunks of a row
        yield (draw.array(draw.rows, (1 << 14) + draw.columns),), {}


# Windows that lie apart, overlap, have gaps, and reach over the edges on either side.
_WINDOWS: list[dict[str, tuple[int, int]]] = [
    {"window": (2, 2), "stride": (2, 2), "dilation": (1, 1), "before": (0, 0)},
    {"window": (3, 2), "stride": (1, 2), "dilation": (1, 1), "before": (1, 0)},
    {"window": (2, 3), "stride": (3, 1), "dilation": (2, 1), "before": (0, 2)},
    {"window": (3, 2), "stride": (3, 2), "dilation": (1, 1), "before": (1, 1)},
]


def _windows(draw: Draw) -> Iterator[tuple[Any, dict[str, Any], tuple[int, int]]]:
    """Images, the geometry of windows on them, and how many there are."""
    channels = min(draw.columns, 33)
    for geometry in _WINDOWS:
        images = draw.array(min(draw.rows, 2) * 7 * 6, channels).reshape(-1, 7, 6, channels)
        yield images, geometry, (3, 4)


@calls_of(unfold)
def _(draw: Draw) -> Calls:
    for images, geometry, out in _windows(draw):
        yield (images,), geometry | {"out": out}


@calls_of(fold)
def _(draw: Draw) -> Calls:
    for images, geometry, out in _windows(draw):
        places = geometry["window"][0] * geometry["window"][1]
        g = draw.array(len(images) * 12 * places, images.shape[3])
        yield (g.reshape(-1, *out, places, images.shape[3]),), geometry | {"size": (7, 6)}


@calls_of(max_pool)
def _(draw: Draw) -> Calls:
    for images, geometry, out in _windows(draw):
        yield (images,), geometry | {"out": out}
        yield (images.round(),), geometry | {"out": out}  # equal ones


@calls_of(max_pool_backward)
def _(draw: Draw) -> Calls:
    for images, geometry, out in _windows(draw):
        for x in (images, images.round()):
            y = max_pool.reference(HOST, x, out=out, **geometry)
            yield (draw.array(y.size).reshape(y.shape), x, y), geometry
