"""Random numbers from a counter-based stream, Philox4x32-10: the same on the CPU and on CUDA.

Methods and their arguments are those of ``numpy.random.Generator``, in the same order. Parameters
of distributions may be tensors; then the numbers are functions of them, with gradients.
"""

import importlib
import math
import operator
import secrets
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from gputensor import backend, config, memory
from gputensor.autograd import Operand, Primitive, Tensor, _array, raw_operand, wrap
from gputensor.backend import Array, Device
from gputensor.errors import (
    DeviceMismatchError,
    DTypeError,
    GraphError,
    ShapeError,
)
from gputensor.kernels import random_bits, random_normal, random_uniform
from gputensor.kernels.philox import words_of
from gputensor.ops.creation import asarray
from gputensor.ops.data_type import astype
from gputensor.ops.elementwise import add, exp, multiply, sigmoid, subtract
from gputensor.ops.indexing import take
from gputensor.ops.inplace import setitem
from gputensor.options import integer, ints

__all__ = ["Generator", "default_generator", "default_rng", "manual_seed"]

Shape: TypeAlias = int | tuple[int, ...] | None

_GAMMA_ROUNDS = 9  # each rejects one in twenty at most
_GAMMA_CHUNK = 1 << 13  # elements that the CPU draws at once, an even number
_MOST_TRIALS = 1 << 20  # of a binomial distribution, whose table has one entry more


class _Recorder(threading.local):
    """Who is asked for what a thread takes from generators: see :func:`gputensor.checkpoint`."""

    note: "Callable[[Generator, int], dict[str, Any]] | None" = None


recorder = _Recorder()


def numbers_kept() -> bool:
    """Whether somebody keeps the numbers that this thread draws, as ``checkpoint`` does."""
    return recorder.note is not None


class Generator:
    """Stream of random numbers.

    Parameters
    ----------
    seed : int, optional
        Non-negative, below 2**64; without it, one from the operating system. Equal seeds give
        equal numbers on every device, normal ones to rounding.

    Attributes
    ----------
    state : tuple of int
        Seed and counter; settable, to go on from there.

    Notes
    -----
    In the methods `shape` is that of the result, ``()`` if it is None, in the place of NumPy's
    `size`; `dtype` is its dtype and `device` its place, where the numbers are drawn.

    Where parameters of a distribution are tensors, or arrays, they broadcast, and with `shape`; by
    default the result has their shape, dtype and device. Their values are not checked, as the host
    would have to wait for them.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._lock = threading.Lock()
        self.manual_seed(secrets.randbits(63) if seed is None else seed)

    def __repr__(self) -> str:
        return f"Generator(seed={self._seed}, counter={self._counter})"

    def manual_seed(self, seed: int) -> "Generator":
        """Start again from `seed`.

        Raises
        ------
        ValueError
            If `seed` is negative or takes more than 64 bits.
        """
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise TypeError(f"seed must be an int, got {type(seed).__name__}")
        backend.end_recording("a generator is set to a seed")
        if not 0 <= seed < 1 << 64:
            raise ValueError(f"seed is {seed}; it must be from 0 to 2**64 - 1")
        with self._lock:
            self._seed, self._counter = int(seed), 0
        return self

    @property
    def state(self) -> tuple[int, int]:
        """Seed and counter."""
        backend.end_recording("a generator's state is read")
        with self._lock:
            return self._seed, self._counter

    @state.setter
    def state(self, value: tuple[int, int]) -> None:
        seed, counter = value
        self.manual_seed(seed)
        if not 0 <= counter < 1 << 64:
            raise ValueError(f"counter is {counter}; it must be from 0 to 2**64 - 1")
        with self._lock:
            self._counter = int(counter)

    def __getstate__(self) -> tuple[int, int]:
        return self.state

    def __setstate__(self, state: tuple[int, int]) -> None:
        self._lock = threading.Lock()
        self.state = state

    def spawn(self, n: int) -> "list[Generator]":
        """`n` generators for workers that draw side by side; their seeds are drawn from this one.

        Two of them share a seed with a probability of ``n**2 / 2**65``.
        """
        out, _, _ = _room("spawn", n, np.uint32, "cpu", 2)
        start = self.take(out.size)
        backend.end_recording("seeds of generators are drawn")
        words = random_bits.raw(out, **start).view(np.uint64)
        return [Generator(int(seed)) for seed in words]

    @property
    def position(self) -> tuple[int, int]:
        """Seed and counter, for what draws with them."""
        with self._lock:
            return self._seed, self._counter

    def take(self, words: int) -> dict[str, Any]:
        """Where the next `words` random words are, which are taken out of the stream.

        For kernels that draw for themselves, such as :func:`gputensor.kernels.dropout`: their
        arguments ``key`` and ``offset``, and ``state`` in a CUDA graph that is being captured.
        """
        counters = -(-words // 4)
        if recorder.note is not None:
            return recorder.note(self, counters)
        recording = backend.recording()
        if recording is not None and (found := recording.draw(self, counters)) is not None:
            return found  # type: ignore[no-any-return]
        key, offset = self.reserve(counters)
        return {"key": key, "offset": offset}

    def reserve(self, counters: int) -> tuple[int, int]:
        """Seed and counter, which is moved on: what is drawn from there on is the caller's."""
        with self._lock:
            offset = self._counter
            self._counter = (offset + counters) % (1 << 64)
            return self._seed, offset

    def give_back(self, counters: int) -> None:
        """Undo the last :meth:`reserve`."""
        self.reserve(-counters)

    def advance(self, counters: int) -> "Generator":
        """Skip the words of so many counters, four of each."""
        backend.end_recording("a generator is moved on")
        self.reserve(counters)
        return self

    def random(
        self, shape: Shape = None, *, dtype: Any = None, device: str | Device | None = None
    ) -> Tensor:
        """Numbers evenly distributed over ``[0, 1)``."""
        return self.uniform(shape=shape, dtype=dtype, device=device)

    def uniform(
        self,
        low: Operand = 0.0,
        high: Operand = 1.0,
        shape: Shape = None,
        *,
        dtype: Any = None,
        device: str | Device | None = None,
    ) -> Tensor:
        """Numbers evenly distributed over ``[low, high)``, float32 by default.

        With tensors they are ``low + (high - low) * random()``, which may round to `high`.

        Raises
        ------
        ValueError
            If `low` is above `high`, or one is not finite.
        DTypeError
            If `dtype` is not a floating point dtype.
        """
        if not (_is_number(low) and _is_number(high)):
            (low, high), sizes, dtype, where = _parameters(
                "uniform", (low, high), shape, dtype, device
            )
            drawn = self.random(sizes, dtype=dtype, device=where)
            return add(low, multiply(subtract(high, low), drawn))
        if not -math.inf < low <= high < math.inf:
            raise ValueError(
                f"uniform: low is {low}, high is {high}; they must be finite and low not above high"
            )
        out, sizes, where = _room("uniform", shape, dtype or config.default_dtype(), device)
        with backend.on_device_of(where):
            state = self.take(out.size * words_of(out.dtype))
            return wrap(_shaped(random_uniform.raw(out, low=low, high=high, **state), sizes))

    def normal(
        self,
        loc: Operand = 0.0,
        scale: Operand = 1.0,
        shape: Shape = None,
        *,
        dtype: Any = None,
        device: str | Device | None = None,
    ) -> Tensor:
        """Normally distributed numbers of mean `loc` and standard deviation `scale`.

        float32 by default. With tensors they are ``loc + scale * standard_normal()``.

        Raises
        ------
        ValueError
            If `scale` is negative.
        DTypeError
            If `dtype` is not a floating point dtype.
        """
        if not (_is_number(loc) and _is_number(scale)):
            (loc, scale), sizes, dtype, where = _parameters(
                "normal", (loc, scale), shape, dtype, device
            )
            drawn = self.normal(shape=sizes, dtype=dtype, device=where)
            return add(loc, multiply(scale, drawn))
        if not scale >= 0:
            raise ValueError(f"normal: scale is {scale}; it must not be negative")
        out, sizes, where = _room("normal", shape, dtype or config.default_dtype(), device)
        with backend.on_device_of(where):
            state = self.take((out.size + out.size % 2) * words_of(out.dtype))
            return wrap(_shaped(random_normal.raw(out, mean=loc, std=scale, **state), sizes))

    def standard_normal(
        self, shape: Shape = None, *, dtype: Any = None, device: str | Device | None = None
    ) -> Tensor:
        """Normally distributed numbers of mean 0 and standard deviation 1."""
        return self.normal(shape=shape, dtype=dtype, device=device)

    def integers(
        self,
        low: int,
        high: int | None = None,
        shape: Shape = None,
        *,
        dtype: Any = np.int64,
        endpoint: bool = False,
        device: str | Device | None = None,
    ) -> Tensor:
        """Integers from `low` to ``high - 1``, or to `high` with `endpoint`.

        Without `high` they are from 0 to ``low - 1``. A 64-bit word times the length of the range
        gives the integer, so each one's probability is right to 2**-64.

        Raises
        ------
        ValueError
            If the range is empty or does not fit `dtype`.
        """
        low = integer("integers", "low", low)
        first, last = (0, low) if high is None else (low, integer("integers", "high", high))
        last = last if endpoint else last - 1
        info = np.iinfo(dtype)
        if not info.min <= first <= last <= info.max:
            raise ValueError(
                f"integers: the range is {first} to {last}; it must not be empty and fit "
                f"{np.dtype(dtype)}, {info.min} to {info.max}"
            )
        words, sizes, where = _room("integers", shape, np.uint32, device, 2)
        with backend.on_device_of(where):
            pairs = random_bits.raw(words, **self.take(words.size)).astype(np.uint64).reshape(-1, 2)
            numbers = _high_product(pairs[:, 0], pairs[:, 1], last - first + 1)
            # Added modulo 2**64: a negative `first` is its complement.
            numbers += np.uint64(first % (1 << 64))
            return wrap(numbers.astype(np.int64).astype(dtype, copy=False).reshape(sizes))

    def exponential(
        self,
        scale: Operand = 1.0,
        shape: Shape = None,
        *,
        dtype: Any = None,
        device: str | Device | None = None,
    ) -> Tensor:
        """Exponentially distributed numbers of mean `scale`: ``-scale * log(1 - random())``.

        Raises
        ------
        ValueError
            If `scale` is negative.
        """
        _check("exponential", scale=(scale, 0, 0, False))
        (scale,), sizes, dtype, where = _parameters("exponential", (scale,), shape, dtype, device)
        drawn = self.random(sizes, dtype=_wide(dtype), device=where).array
        with backend.on_device_of(where):
            standard = -backend.namespace(where).log1p(-drawn)
            return multiply(scale, wrap(_array(standard).astype(dtype, copy=False)))

    def gamma(
        self,
        concentration: Operand,
        scale: Operand = 1.0,
        shape: Shape = None,
        *,
        dtype: Any = None,
        device: str | Device | None = None,
    ) -> Tensor:
        """Numbers of the gamma distribution, of mean ``concentration * scale``.

        NumPy calls the first parameter `shape`.

        Raises
        ------
        ValueError
            If `concentration` is not above 0, or `scale` is negative.

        Notes
        -----
        By the rejection method of Marsaglia & Tsang (2000) in float64, in nine rounds for all
        elements. An element that none of them accepts, with a probability below 2e-12, takes
        the last proposal. Gradients towards `concentration` are those of the quantile function
        at a fixed probability (implicit reparameterization, Figurnov et al. 2018), to the second
        order; a third derivative raises GraphError.
        """
        _check("gamma", concentration=(concentration, 0, 0, True), scale=(scale, 0, 0, False))
        given = (concentration, scale)
        (a, scale), sizes, dtype, where = _parameters("gamma", given, shape, dtype, device)
        return multiply(scale, astype(exp(self._log_gamma(a, sizes, where)), dtype))

    def standard_gamma(
        self,
        concentration: Operand,
        shape: Shape = None,
        *,
        dtype: Any = None,
        device: str | Device | None = None,
    ) -> Tensor:
        """Numbers of the gamma distribution with scale 1: see :meth:`gamma`."""
        return self.gamma(concentration, 1.0, shape, dtype=dtype, device=device)

    def beta(
        self,
        a: Operand,
        b: Operand,
        shape: Shape = None,
        *,
        dtype: Any = None,
        device: str | Device | None = None,
    ) -> Tensor:
        """Numbers of the beta distribution, ``x / (x + y)`` of gamma variables `x` and `y`.

        Raises
        ------
        ValueError
            If `a` or `b` is not above 0.
        """
        _check("beta", a=(a, 0, 0, True), b=(b, 0, 0, True))
        (a, b), sizes, dtype, where = _parameters("beta", (a, b), shape, dtype, device)
        x, y = self._log_gamma(a, sizes, where), self._log_gamma(b, sizes, where)
        return astype(sigmoid(subtract(x, y)), dtype)

    def _log_gamma(self, a: Operand, sizes: tuple[int, ...], where: Device) -> Tensor:
        """Logarithms of standard gamma variables, in float64, with gradients towards `a`."""
        raw = a.array if isinstance(a, Tensor) else a
        n = math.prod(sizes)
        words = [(n + n % 2) * words_of(np.float64), n * words_of(np.float64)]
        starts = [self.take(count) for count in [*words * _GAMMA_ROUNDS, words[1]]]
        with backend.on_device_of(where), memory.explained("gamma", where):
            xp = backend.namespace(where)
            if _is_number(raw):
                shapes = xp.full(n, raw, np.float64)
            else:
                shapes = xp.broadcast_to(raw.astype(np.float64), sizes).reshape(n)
            chunk = _GAMMA_CHUNK if where.kind == "cpu" else max(n, 1)
            parts = [
                _log_gammas(xp, shapes[first : first + chunk], [_skip(s, first) for s in starts])
                for first in range(0, n, chunk)
            ]
            sample = xp.concatenate(parts).reshape(sizes) if parts else shapes.reshape(sizes)
            return _gamma_sample(a, sample=sample) if isinstance(a, Tensor) else wrap(sample)

    def bernoulli(
        self,
        p: Operand = 0.5,
        shape: Shape = None,
        *,
        dtype: Any = bool,
        device: str | Device | None = None,
    ) -> Tensor:
        """True, or 1, with probability `p`; no gradients.

        Raises
        ------
        ValueError
            If `p` is not a probability.
        """
        _check("bernoulli", p=(p, 0, 1, False))
        (p,), sizes, _, where = _parameters("bernoulli", (p,), shape, None, device)
        drawn = self.random(sizes, dtype=np.float64, device=where).array
        with backend.on_device_of(where):
            return wrap(_array(drawn < (p.array if isinstance(p, Tensor) else p)).astype(dtype))

    def binomial(
        self,
        n: Operand,
        p: Operand,
        shape: Shape = None,
        *,
        dtype: Any = np.int64,
        device: str | Device | None = None,
    ) -> Tensor:
        """Number of successes in `n` trials of probability `p`; no gradients.

        Parameters
        ----------
        n : int, Tensor or array of integers
            At most 2**20. On a CUDA device, where nobody looks, the result is -1 where `n` or `p`
            is out of range.
        p : float, Tensor or array
            Broadcasts with `n`.
        shape : int or tuple of int, optional
        dtype : dtype
        device : str or Device, optional

        Raises
        ------
        ValueError
            If a number, or an element on the host, is negative or above 2**20, or no probability.
        DTypeError
            If `n` is not of integers.

        Notes
        -----
        The distribution function is inverted: for numbers by a table of it, for tensors by
        bisection, with the incomplete beta function.
        """
        both = []
        for key, value, most in (("n", n, _MOST_TRIALS), ("p", p, 1)):
            raw = value.array if isinstance(value, Tensor) else raw_operand("binomial", value)
            if key == "n" and np.result_type(raw).kind not in "iu":
                raise DTypeError(f"binomial: n must be of integers, not {np.result_type(raw)}")
            inside = _is_number(raw) or isinstance(raw, np.ndarray)
            if inside and not np.all((raw >= 0) & (raw <= most)):
                what = f"is {raw}" if _is_number(raw) else "has other elements"
                raise ValueError(f"binomial: {key} {what}; it must be from 0 to {most}")
            both.append(raw)
        if _is_number(n) and _is_number(p):
            special = importlib.import_module("scipy.special")
            k = np.arange(operator.index(n) + 1)
            ways = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
            chances = np.exp(ways + special.xlogy(k, p) + special.xlog1py(n - k, -p))
            return astype(self._from_table("binomial", chances, shape, device), dtype)
        given, sizes, _, where = _parameters("binomial", (n, p), shape, None, device)
        rest = 1 - self.random(sizes, dtype=np.float64, device=where).array
        largest = np.max(both[0], initial=0) if isinstance(both[0], np.ndarray) else both[0]
        rounds = int(largest if _is_number(largest) else _MOST_TRIALS).bit_length()
        with backend.on_device_of(where):
            xp = backend.namespace(where)
            n, p = (v.array.astype(np.float64) if isinstance(v, Tensor) else v for v in given)
            low = xp.zeros(sizes)
            high = low + n
            for _ in range(rounds):  # P(X > k) falls below `rest` first at the k to find
                middle = xp.floor((low + high) / 2)
                found = xp.betainc(middle + 1, xp.maximum(n - middle, 1), p) < rest
                high = xp.where(found, middle, high)
                low = xp.where(found, low, xp.minimum(middle + 1, high))
            proper = (n >= 0) & (n <= _MOST_TRIALS) & (p >= 0) & (p <= 1)
            return wrap(_array(xp.where(proper, low, -1)).astype(dtype))

    def _from_table(
        self, name: str, chances: Operand, shape: Shape, device: str | Device | None
    ) -> Tensor:
        """Places in a row of probabilities, each as often as it says, by its running sum."""
        where = backend.device(device)
        drawn = self.random(shape, dtype=np.float64, device=where).array
        with backend.on_device_of(where):
            xp = backend.namespace(where)
            sums = xp.cumsum(backend.to_device(chances, where).astype(np.float64))
            # Below the last sum, whatever it rounds to: a place without probability is not drawn.
            found = xp.searchsorted(sums, drawn.reshape(-1) * sums[-1:], side="right")
            return wrap(xp.minimum(found, len(sums) - 1).reshape(drawn.shape))

    def _gumbel(self, sizes: tuple[int, ...], where: Device) -> Array:
        """Standard Gumbel variables, finite, in float64."""
        drawn = self.random(sizes, dtype=np.float64, device=where).array
        xp = backend.namespace(where)
        return -xp.log(-xp.log1p(-drawn) + 2.0**-54)

    def categorical(self, logits: Operand, shape: Shape = None, *, axis: int = -1) -> Tensor:
        """Places along `axis`, with probabilities ``softmax(logits)``, as int64; no gradients.

        Parameters
        ----------
        logits : Tensor or array
            Of any shape; -inf for what does not occur.
        shape : int or tuple of int, optional
            Of the result; it ends with the shape of `logits` without `axis`, its default.
        axis : int

        Raises
        ------
        ShapeError
            If `axis` is not an axis of `logits`, or `shape` does not end as it must.

        Notes
        -----
        The largest of ``logits`` plus Gumbel noise (Gumbel 1954).
        """
        logits = asarray(logits)
        raw, where = logits.array, logits.device
        if not -raw.ndim <= axis < raw.ndim or not raw.shape[axis]:
            raise ShapeError(
                f"categorical: there is nothing to choose from along axis {axis} of logits of "
                f"shape {raw.shape}"
            )
        with backend.on_device_of(where):
            xp = backend.namespace(where)
            raw = xp.moveaxis(raw, axis, -1)
            sizes = raw.shape[:-1] if shape is None else _sizes("categorical", shape)
            if sizes[len(sizes) - raw.ndim + 1 :] != raw.shape[:-1]:
                raise ShapeError(
                    f"categorical: shape is {sizes}; it must end with {raw.shape[:-1]}, the shape "
                    "of logits without the axis"
                )
            noise = self._gumbel((*sizes, raw.shape[-1]), where)
            return wrap(_array(xp.argmax(raw + noise, axis=-1)))

    def multinomial(
        self,
        n: int,
        pvals: Operand,
        shape: Shape = None,
        *,
        device: str | Device | None = None,
    ) -> Tensor:
        """How often each outcome occurs in `n` trials, as int64.

        Parameters
        ----------
        n : int
        pvals : Tensor, array or list of shape (k,)
            Probabilities; divided by their sum.

        Returns
        -------
        Tensor of shape (*shape, k)
        """
        n = operator.index(n)
        chances, where = _chances("multinomial", pvals, None, device)
        sizes = _sizes("multinomial", shape)
        if n < 0:
            raise ValueError(f"multinomial: n is {n}; it must not be negative")
        rows, k = math.prod(sizes), len(chances)
        with backend.on_device_of(where):
            xp = backend.namespace(where)
            drawn = self._from_table("multinomial", chances, (rows, n), where).array
            places = xp.sort((drawn + k * xp.arange(rows)[:, None]).reshape(-1))
            before = xp.searchsorted(places, xp.arange(rows * k + 1))
            return wrap((before[1:] - before[:-1]).reshape(*sizes, k))

    def choice(
        self,
        a: Operand,
        shape: Shape = None,
        replace: bool = True,
        p: Operand | None = None,
        axis: int = 0,
        *,
        device: str | Device | None = None,
    ) -> Tensor:
        """Elements of `a` along `axis`, or ints below the int `a`, at random.

        Parameters
        ----------
        a : int, Tensor or array
        shape : int or tuple of int, optional
            Of what takes the place of `axis` in the result.
        replace : bool
            Whether an element may occur again.
        p : Tensor, array or list of shape (n,), optional
            Probabilities, divided by their sum; without it all are equal. Without replacement they
            are those of the first element drawn, of the second among what is left, and so on.
        axis : int
        device : str or Device, optional
            For ints; elements stay where they are.

        Returns
        -------
        Tensor
            On the tape where `a` is.

        Raises
        ------
        ValueError
            If there are too few to choose from, or probabilities on the host are negative, NaN or
            all zero.
        """
        population: Any = None
        if _is_number(a) or getattr(a, "shape", None) == ():
            n = integer("choice", "a", a)
        else:
            population = asarray(a, device=device)
            if not -population.ndim <= axis < population.ndim:
                raise ShapeError(f"choice: axis {axis} is not one of shape {population.shape}")
            n, device = population.shape[axis], population.device
        sizes = _sizes("choice", shape)
        count = math.prod(sizes)
        if n < min(count, 1) or (not replace and n < count):
            raise ValueError(f"choice: {count} out of {n} were asked for, with replace={replace}")
        where = backend.device(device)
        if p is None:
            if replace:
                index = self.integers(0, max(n, 1), sizes, device=where)
            else:
                index = self.permutation(n, device=where)[:count].reshape(sizes)
        else:
            chances, where = _chances("choice", p, n, where)
            if replace:
                index = self._from_table("choice", chances, sizes, where)
            else:
                if isinstance(p, (list, tuple, np.ndarray)) and np.count_nonzero(p) < count:
                    raise ValueError(f"choice: p has fewer than {count} entries above 0")
                with backend.on_device_of(where):
                    xp = backend.namespace(where)
                    keys = xp.where(chances > 0, xp.log(xp.where(chances > 0, chances, 1)), -xp.inf)
                    order = xp.argsort(-(keys + self._gumbel((n,), where)), kind="stable")
                    index = wrap(order[:count].reshape(sizes))
        if population is None:
            return index
        axis %= population.ndim
        taken = take(population, index.reshape(count), axis=axis)
        return taken.reshape(*population.shape[:axis], *sizes, *population.shape[axis + 1 :])

    def permutation(
        self, x: Operand, axis: int = 0, *, device: str | Device | None = None
    ) -> Tensor:
        """A tensor with its entries along `axis` in random order; of an int `x`, 0 to ``x - 1``.

        Each gets a random 64-bit key, and the keys are sorted, on the device. Of an int the result
        is int64; a tensor's is a copy, on the tape where the tensor is.
        """
        if not _is_number(x) and getattr(x, "shape", None) == ():
            x = integer("permutation", "x", x)
        if not _is_number(x):
            given = asarray(x, device=device)
            if not -given.ndim <= axis < given.ndim:
                raise ShapeError(f"permutation: axis {axis} is not one of shape {given.shape}")
            return take(given, self.permutation(given.shape[axis], device=given.device), axis=axis)
        keys, _, where = _room("permutation", x, np.uint32, device, 2)
        with backend.on_device_of(where):
            words = random_bits.raw(keys, **self.take(keys.size))
            # Stable, so that equal keys, rare as they are, come out alike on every device.
            return wrap(backend.namespace(where).argsort(words.view(np.uint64), kind="stable"))

    def shuffle(self, x: Tensor, axis: int = 0) -> None:
        """Bring the entries of a tensor along `axis` into random order, in place."""
        if not isinstance(x, Tensor):
            raise TypeError(f"shuffle: x must be a Tensor, got {type(x).__name__}")
        setitem(x, ..., self.permutation(x, axis))


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float, np.number)) and not isinstance(x, bool)


def _check(name: str, **parameters: tuple[Any, float, float, bool]) -> None:
    """Check numbers: each with its bounds (0 for no upper one), and whether it must be above."""
    for key, (value, low, high, above) in parameters.items():
        if not _is_number(value):
            continue
        inside = low < value if above else low <= value
        if not (inside and value < math.inf and (not high or value <= high)):
            allowed = f"above {low}" if above else f"at least {low}"
            allowed += f" and at most {high}" if high else " and finite"
            raise ValueError(f"{name}: {key} is {value}; it must be {allowed}")


def _parameters(
    name: str,
    values: tuple[Operand, ...],
    shape: Shape,
    dtype: Any,
    device: str | Device | None,
) -> tuple[tuple[Operand, ...], tuple[int, ...], Any, Device]:
    """Parameters of a distribution, numbers or tensors; shape, dtype and place of the result."""
    tensors = [v for v in values if isinstance(v, Tensor)]
    where = tensors[0].device if tensors else backend.device(device)
    made = tuple(
        float(v) if _is_number(v) else v if isinstance(v, Tensor) else asarray(v, device=where)
        for v in values
    )
    tensors = [v for v in made if isinstance(v, Tensor)]
    backend.same_device(name, [v.array for v in tensors])
    if device is not None and backend.device(device) != where:
        raise DeviceMismatchError(
            f"{name}: device is {backend.device(device)}, and the parameters are on {where}; move "
            f"them, for example x.to({str(backend.device(device))!r})"
        )
    if dtype is None:
        floats = [v.dtype for v in tensors if v.dtype.kind in "fV"]
        dtype = np.result_type(*floats) if floats else config.default_dtype()
    wanted = None if shape is None else _sizes(name, shape)
    try:
        sizes = np.broadcast_shapes(*(v.shape for v in tensors))
        if wanted is not None:
            sizes = wanted
            fits = np.broadcast_shapes(sizes, *(v.shape for v in tensors)) == sizes
        else:
            fits = True
    except ValueError:
        fits = False
    if not fits:
        found = ", ".join(str(v.shape) for v in tensors)
        raise ShapeError(
            f"{name}: parameters of shape {found} do not broadcast to "
            f"{'each other' if shape is None else shape}"
        )
    return made, sizes, _floating(name, dtype), where


def _sizes(name: str, shape: Shape) -> tuple[int, ...]:
    """Shape of a result as a tuple, checked."""
    sizes = () if shape is None else ints(name, "shape", shape)
    if any(n < 0 for n in sizes):
        raise ValueError(f"{name}: shape is {shape!r}; it must be of non-negative ints")
    return sizes


def _floating(name: str, dtype: Any) -> "np.dtype[Any]":
    """The dtype, if random numbers can have it."""
    chosen: np.dtype[Any] = np.dtype(dtype)
    if chosen.kind not in "fV" or chosen.itemsize > 8:
        raise DTypeError(f"{name}: random numbers have a floating point dtype, not {chosen}")
    return chosen


def _chances(
    name: str, p: Operand, n: int | None, device: str | Device | None
) -> tuple[Array, Device]:
    """Probabilities as a row, checked where they are on the host, and their place."""
    raw = p.array if isinstance(p, Tensor) else raw_operand(name, p)
    if raw.ndim != 1 or (n is not None and len(raw) != n) or not len(raw):
        wanted = "(k,)" if n is None else f"({n},)"
        raise ShapeError(f"{name}: probabilities have shape {raw.shape}; it must be {wanted}")
    if isinstance(raw, np.ndarray) and not (np.all(raw >= 0) and 0 < raw.sum() < math.inf):
        raise ValueError(
            f"{name}: probabilities must not be negative, NaN or infinite, nor all zero"
        )
    where = backend.device(device)
    if not isinstance(p, (list, tuple, np.ndarray)):
        where = backend.device_of(raw) if device is None else where
        backend.same_device(name, [raw, backend.namespace(where).empty(0)])
    return backend.to_device(raw, where), where


def _wide(dtype: Any) -> Any:
    """What 16-bit numbers are computed in."""
    return np.float64 if np.dtype(dtype) == np.float64 else np.float32


def _skip(start: dict[str, Any], numbers: int) -> dict[str, Any]:
    """Where the words after those of an even count of float64 numbers are."""
    return start | {"offset": (start["offset"] + numbers // 2) % (1 << 64)}


def _log_gammas(xp: Any, a: Array, starts: list[dict[str, Any]]) -> Array:
    """Logarithms of standard gamma variables, by Marsaglia & Tsang."""
    n = len(a)
    proper = a > 0
    a = xp.where(proper, a, 1)
    small = a < 1
    d = xp.where(small, a + 1, a) - 1 / 3
    c = 1 / xp.sqrt(9 * d)
    root = xp.ones(n, np.float64)  # the cube root of the proposal over d
    waiting = xp.ones(n, bool)
    for i in range(0, len(starts) - 1, 2):
        x = random_normal.raw(xp.empty(n, np.float64), **starts[i])
        u = random_uniform.raw(xp.empty(n, np.float64), **starts[i + 1])
        t = 1 + c * x
        positive = t > 0
        t = xp.where(positive, t, 1)
        bound = 0.5 * x * x + d * (1 - t * t * t + 3 * xp.log(t))
        root = xp.where(waiting & positive, t, root)
        waiting &= ~(positive & (xp.log1p(-u) < bound))
        if isinstance(waiting, np.ndarray) and not waiting.any():
            break  # CUDA goes on, as the host does not look
    u = random_uniform.raw(xp.empty(n, np.float64), **starts[-1])
    # Below 1, a variable of one more times a power of a uniform one.
    power = xp.where(small, xp.log1p(-u) / a, 0)
    return xp.where(proper, xp.log(d) + 3 * xp.log(root) + power, xp.nan)


def _gamma_slope_forward(xp: Any, a: Any, sample: Any) -> Any:
    """Derivative of the logarithm of a gamma variable at a fixed probability.

    The distribution function F(a, x) stays: dx/da is -(dF/da) / (dF/dx). The numerator is a
    difference of the incomplete gamma function, of its complement where x is above a.
    """
    a = xp.asarray(a, np.float64)
    x = xp.exp(sample)
    step = 1e-4 * a / xp.sqrt(1 + a)
    below = xp.gammainc(a + step, x) - xp.gammainc(a - step, x)
    above = xp.gammaincc(a - step, x) - xp.gammaincc(a + step, x)
    change = xp.where(x > a, above, below) / (2 * step)
    density = xp.exp(a * sample - x - xp.gammaln(a))  # times x
    # Near 0, where F is x**a / gamma(a + 1).
    small = -(sample - 1 / a - xp.digamma(a)) / a
    return xp.where(sample < -14, small, -change / density)


def _gamma_slope_rule(xp: Any, g: Any, _out: Any, a: Any, sample: Any) -> Any:
    if isinstance(g, Tensor):
        raise GraphError("gamma: third derivatives towards concentration are not supported")
    a = xp.asarray(a, np.float64)
    step = 1e-3 * a / xp.sqrt(1 + a)
    ends = [_gamma_slope_forward(xp, a + h, sample) for h in (step, -step)]
    return g * (ends[0] - ends[1]) / (2 * step)


_gamma_slope = Primitive(
    "gamma_slope",
    _gamma_slope_forward,
    (
        _gamma_slope_rule,
        # As dF/ds = x**a exp(-x) / gamma(a), with s the logarithm of x.
        lambda xp, g, out, a, s: g * (xp.digamma(a) - s - out * (a - xp.exp(s))),
    ),
)


def _gamma_rule(xp: Any, g: Any, out: Any, a: Any, sample: Array) -> Any:
    if isinstance(g, Tensor):
        return g * _gamma_slope(a, out)
    return g * _gamma_slope_forward(xp, a, out)


_gamma_sample = Primitive("gamma_sample", lambda xp, a, sample: sample, (_gamma_rule,))


def _room(
    name: str, shape: Shape, dtype: Any, device: str | Device | None, words: int = 0
) -> tuple[Array, tuple[int, ...], Device]:
    """Flat array to fill, `words` for an element if that is given, its shape to be, its place."""
    sizes = _sizes(name, shape)
    dtype = np.dtype(dtype) if words else _floating(name, dtype)
    where = backend.device(device)
    with backend.on_device_of(where), memory.explained(name, where):
        make = backend.namespace(where).empty
        out = make(math.prod(sizes) * (words or 1), dtype)
    return out, sizes, where


def _shaped(x: Array, shape: tuple[int, ...]) -> Array:
    return x.reshape(shape)


def _high_product(high: Array, low: Array, span: int) -> Array:
    """Upper 64 bits of ``(high * 2**32 + low) * span``, for words below 2**32 in uint64."""
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    if span == 1 << 64:
        return (high << half) | low
    span_high, span_low = np.uint64(span >> 32), np.uint64(span & 0xFFFFFFFF)
    middle = high * span_low + ((low * span_low) >> half)
    other = low * span_high + (middle & mask)
    return high * span_high + (middle >> half) + (other >> half)


default_generator = Generator()


def default_rng(seed: int | None = None) -> Generator:
    """Make a generator, as ``numpy.random.default_rng`` does; the same as ``Generator(seed)``."""
    return Generator(seed)


def manual_seed(seed: int) -> Generator:
    """Start gputensor's own generator, which layers and dropout draw from, again from `seed`."""
    return default_generator.manual_seed(seed)
