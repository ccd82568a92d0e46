"""Random numbers by Philox4x32-10: bits as a function of a key and a counter (Salmon et al. 2011).

Each number has words of its own, of the counter ``offset + i * words // 4``, so the numbers do not
depend on how the work is divided, nor on the device: bits and uniform numbers are equal on both,
normal ones to rounding.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.backend import Array, namespace
from gputensor.kernels.declare import kernel
from gputensor.kernels.runtime import ALL_FLOATS, LOOP_FLOATS, Loop, packs, split
from gputensor.kernels.source import CudaSource, c_type

__all__ = ["dropout", "random_bits", "random_normal", "random_uniform", "words_of"]

_SOURCE = CudaSource(Path(__file__).with_suffix(".cu"))
_GRAIN = 1 << 13  # counters that are worth a CPU thread
_M0, _M1 = 0xD2511F53, 0xCD9E8D57  # multipliers
_W0, _W1 = 0x9E3779B9, 0xBB67AE85  # key increments, from the golden ratio and sqrt(3)
_LOW = 0xFFFFFFFF


def words_of(dtype: Any) -> int:
    """Words that a uniform number of a dtype takes: one for 24 bits, two for float64's 53."""
    return 2 if dtype == np.float64 else 1


@Loop
def _words_loop(start, stop, out, key, offset):  # type: ignore[no-untyped-def]
    low = np.uint64(_LOW)
    half = np.uint64(32)
    for i in range(start, stop):
        block = offset + np.uint64(i)
        c0, c1 = block & low, block >> half
        c2 = c3 = np.uint64(0)
        k0, k1 = key & low, key >> half
        for _ in range(10):
            a = np.uint64(_M0) * c0
            b = np.uint64(_M1) * c2
            c0, c1, c2, c3 = (b >> half) ^ c1 ^ k0, b & low, (a >> half) ^ c3 ^ k1, a & low
            k0 = (k0 + np.uint64(_W0)) & low
            k1 = (k1 + np.uint64(_W1)) & low
        out[4 * i] = c0
        out[4 * i + 1] = c1
        out[4 * i + 2] = c2
        out[4 * i + 3] = c3


# Fused, or in another order, the numbers would not be those of CUDA.
@Loop.exact
def _uniform_loop(start, stop, words, out, span, low, below):  # type: ignore[no-untyped-def]
    out, words = out[start:stop], words[start:stop]
    for i in range(out.size):
        x = np.float32(words[i] >> np.uint32(8)) * np.float32(2.0**-24) * span + low
        out[i] = below if x > below else x


@Loop.exact
def _uniform64_loop(start, stop, words, out, span, low, below):  # type: ignore[no-untyped-def]
    first, second = words[2 * start : 2 * stop : 2], words[2 * start + 1 : 2 * stop : 2]
    out = out[start:stop]
    for i in range(out.size):
        high_bits = np.float64(first[i] >> np.uint32(6)) * 2.0**-26
        x = (high_bits + np.float64(second[i] >> np.uint32(5)) * 2.0**-53) * span + low
        out[i] = below if x > below else x


@Loop
def _dropout_loop(start, stop, words, x, out, p, scale):  # type: ignore[no-untyped-def]
    zero = x.dtype.type(0)
    words, x, out = words[start:stop], x[start:stop], out[start:stop]
    for i in range(out.size):
        drawn = np.float32(words[i] >> np.uint32(8)) * np.float32(2.0**-24)
        out[i] = x[i] * (zero if drawn < p else scale)


def _words_on_cpu(count: int, key: int, offset: int, state: Array | None = None) -> Array:
    """`count` words or up to three more."""
    counters = -(-count // 4)
    words = np.empty(4 * counters, np.uint32)
    split(_words_loop, counters, _GRAIN, words, *_start(key, offset, state))
    return words


def _start(key: int, offset: int, state: Array | None = None) -> tuple[Any, Any]:
    """Key and first counter, uint64; where a state gives them they stay on its device."""
    if state is None:
        return np.uint64(key), np.uint64(offset)
    with np.errstate(over="ignore"):  # counters go round
        return state[0], state[1] + np.uint64(offset)


def _in_order(key: int, offset: int, state: Array | None = None) -> tuple[Any, ...]:
    """Where words begin, as the parameters of the kernels."""
    return key, offset, state


def _words(xp: Any, count: int, key: int, offset: int, state: Array | None) -> Array:
    """`count` words by plain array calls."""
    start_key, start = _start(key, offset, state)
    block = xp.arange(-(-count // 4), dtype=np.uint64) + start
    low, half = np.uint64(_LOW), np.uint64(32)
    c0, c1 = block & low, block >> half
    c2 = xp.zeros_like(block)
    c3 = xp.zeros_like(block)
    k0, k1 = start_key & low, start_key >> half
    for _ in range(10):
        a, b = np.uint64(_M0) * c0, np.uint64(_M1) * c2
        c0, c1, c2, c3 = (b >> half) ^ c1 ^ k0, b & low, (a >> half) ^ c3 ^ k1, a & low
        k0, k1 = (k0 + np.uint64(_W0)) & low, (k1 + np.uint64(_W1)) & low
    return xp.stack([c0, c1, c2, c3], axis=1).astype(np.uint32).reshape(-1)[:count]


def _unit(words: Array, dtype: Any) -> Array:
    """Numbers in [0, 1), float64 ones for float64, else float32 ones."""
    if words_of(dtype) == 2:
        pairs = words.reshape(-1, 2)
        return (pairs[:, 0] >> np.uint32(6)).astype(np.float64) * 2.0**-26 + (
            pairs[:, 1] >> np.uint32(5)
        ).astype(np.float64) * 2.0**-53
    return (words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def _bits_on_cpu(out: Array, **start: Any) -> Array:
    if out.size % 4:
        out[:] = _words_on_cpu(out.size, **start)[: out.size]
    else:
        split(_words_loop, out.size // 4, _GRAIN, out, *_start(**start))
    return out


def _bits_on_cuda(source: CudaSource, out: Array, **start: Any) -> Array:
    source.launch("random_bits", (out, out.size, *_in_order(**start)), elements=packs(out))
    return out


@kernel(source=_SOURCE, cuda=_bits_on_cuda, loop=_bits_on_cpu, dtypes=("uint32",), writes=("out",))
def random_bits(xp: Any, out: Array, *, key: int, offset: int, state: Array | None = None) -> Array:
    """Fill `out` with random words: those of the counters from `offset` on, four to a counter.

    Parameters
    ----------
    out : uint32 array of shape (n,)
    key : int
        The stream, 64 bits.
    offset : int
        First counter, 64 bits.
    state : uint64 array of shape (2,), optional
        A key to use in place of `key`, and a counter to add to `offset`, on the device of `out`.

    Returns
    -------
    array
        `out`.

    Examples
    --------
    >>> gt.kernels.random_bits.raw(np.empty(4, np.uint32), key=0, offset=0)
    array([1713891541, 3781805453, 3159862348, 2600524760], dtype=uint32)
    """
    out[...] = _words(xp, out.size, key, offset, state)
    return out


def _below(dtype: Any, low: float, high: float) -> float:
    """Largest number of a dtype below `high`; `low` where there is none from there on."""
    kind = np.dtype(dtype)
    if kind.kind == "V":  # bfloat16, whose numbers NumPy cannot step through, but lie this close
        return max(low, high - abs(high) * 2.0**-7)
    return float(np.nextafter(kind.type(high), kind.type(low)))


def _uniform_on_cpu(out: Array, *, low: float = 0.0, high: float = 1.0, **start: Any) -> Array:
    words = _words_on_cpu(out.size * words_of(out.dtype), **start)
    number = out.dtype.type
    loop = _uniform64_loop if out.dtype == np.float64 else _uniform_loop
    numbers = number(high - low), number(low), number(_below(out.dtype, low, high))
    split(loop, out.size, 4 * _GRAIN, words, out, *numbers)
    return out


def _uniform_on_cuda(
    source: CudaSource, out: Array, *, low: float = 0.0, high: float = 1.0, **start: Any
) -> Array:
    numbers = (low, high, _below(out.dtype, low, high))
    entry = f"random_uniform<{c_type(out.dtype)}>"
    source.launch(entry, (out, out.size, *_in_order(**start), *numbers), elements=packs(out))
    return out


@kernel(
    source=_SOURCE,
    cuda=_uniform_on_cuda,
    loop=_uniform_on_cpu,
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
    writes=("out",),
)
def random_uniform(
    xp: Any,
    out: Array,
    *,
    key: int,
    offset: int,
    state: Array | None = None,
    low: float = 0.0,
    high: float = 1.0,
) -> Array:
    """Fill `out` with numbers evenly distributed over ``[low, high)``.

    Parameters
    ----------
    out : array of shape (n,)
        float64 takes 53 random bits a number, the other dtypes 24.
    key, offset, state
        As for :func:`random_bits`.
    low, high : float

    Returns
    -------
    array
        `out`.

    Examples
    --------
    >>> x = gt.kernels.random_uniform.raw(np.empty(1000, "f"), key=0, offset=0)
    >>> bool((0 <= x).all() and (x < 1).all())
    True
    """
    drawn = _unit(_words(xp, out.size * words_of(out.dtype), key, offset, state), out.dtype)
    number = drawn.dtype.type
    out[...] = drawn * number(high - low) + number(low)
    below = out.dtype.type(_below(out.dtype, low, high))
    out[...] = xp.where(out > below, below, out)
    return out


def _normals(xp: Any, words: Array, out: Array, mean: float, std: float) -> Array:
    pairs = _unit(words, out.dtype).reshape(-1, 2)
    radius = xp.sqrt(-2 * xp.log1p(-pairs[:, 0]))
    angle = pairs[:, 1] * pairs.dtype.type(2 * math.pi)
    numbers = xp.stack([radius * xp.cos(angle), radius * xp.sin(angle)], axis=1)
    out[...] = (numbers * std + mean).reshape(-1)[: out.size]
    return out


def _normal_words(out: Array) -> int:
    return (out.size + out.size % 2) * words_of(out.dtype)


def _normal_on_cpu(out: Array, *, mean: float = 0.0, std: float = 1.0, **start: Any) -> Array:
    # NumPy's logarithm and sines are vectorized, Numba's are not.
    count = _normal_words(out)
    words = _words_on_cpu(count, **start)[:count]
    return _normals(namespace(out), words, out, mean, std)


def _normal_on_cuda(
    source: CudaSource, out: Array, *, mean: float = 0.0, std: float = 1.0, **start: Any
) -> Array:
    entry = f"random_normal<{c_type(out.dtype)}>"
    source.launch(entry, (out, out.size, *_in_order(**start), mean, std), elements=packs(out))
    return out


@kernel(
    source=_SOURCE,
    cuda=_normal_on_cuda,
    loop=_normal_on_cpu,
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
    writes=("out",),
)
def random_normal(
    xp: Any,
    out: Array,
    *,
    key: int,
    offset: int,
    state: Array | None = None,
    mean: float = 0.0,
    std: float = 1.0,
) -> Array:
    """Fill `out` with normally distributed numbers, by the transform of Box & Muller (1958).

    Parameters
    ----------
    out : array of shape (n,)
    key, offset, state
        As for :func:`random_bits`; numbers 2 i and 2 i + 1 come from the same two uniform ones.
    mean, std : float

    Returns
    -------
    array
        `out`.

    Examples
    --------
    >>> x = gt.kernels.random_normal.raw(np.empty(1000, "f"), key=0, offset=0, mean=5.0)
    >>> round(float(x.mean()))
    5
    """
    return _normals(xp, _words(xp, _normal_words(out), key, offset, state), out, mean, std)


def _scale(p: float) -> float:
    return 1 / (1 - p) if p < 1 else 0.0


def _dropout_on_cpu(x: Array, *, p: float, **start: Any) -> Array:
    out = np.empty_like(x)
    words = _words_on_cpu(x.size, **start)
    number = x.dtype.type
    flat = x.reshape(-1), out.reshape(-1)
    split(_dropout_loop, x.size, 4 * _GRAIN, words, *flat, np.float32(p), number(_scale(p)))
    return out


def _dropout_on_cuda(source: CudaSource, x: Array, *, p: float, **start: Any) -> Array:
    out = namespace(x).empty_like(x)
    entry = f"dropout<{c_type(x.dtype)}>"
    source.launch(entry, (x, out, x.size, *_in_order(**start), p, _scale(p)), elements=packs(x))
    return out


@kernel(
    source=_SOURCE,
    cuda=_dropout_on_cuda,
    loop=_dropout_on_cpu,
    # Linear in x, so the gradient is the same operation: no mask is kept.
    vjp=lambda _xp, g, _out, _x, **attrs: dropout.raw(g, **attrs),
    dtypes=ALL_FLOATS,
    loop_dtypes=LOOP_FLOATS,
)
def dropout(xp: Any, x: Any, *, p: float, key: int, offset: int, state: Array | None = None) -> Any:
    """`x` times 0 with probability `p` and times ``1 / (1 - p)`` otherwise.

    Parameters
    ----------
    x : array
        Any shape. NaN and infinity times 0 are NaN.
    p : float
        In [0, 1].
    key, offset, state
        As for :func:`random_bits`; word i decides about element i.

    Returns
    -------
    array of the shape of `x`

    Examples
    --------
    >>> x = gt.kernels.dropout(gt.ones(1000), p=0.5, key=0, offset=0)
    >>> sorted(set(x.numpy().tolist()))
    [0.0, 2.0]
    """
    raw = x if backend.is_array(x) else x.array  # a tensor where gradients are recorded
    words = _words(namespace(raw), raw.size, key, offset, state)
    factor = namespace(raw).where(_unit(words, np.float32) < np.float32(p), 0.0, _scale(p))
    return x * factor.astype(raw.dtype).reshape(raw.shape)
