"""Distributions of integers, and orders."""

import importlib
import math
import operator
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Operand, Tensor, as_raw, raw_operand, wrap
from gputensor.backend import Array, Device
from gputensor.errors import DTypeError, ShapeError
from gputensor.kernels import random_bits
from gputensor.ops.creation import asarray
from gputensor.ops.data_type import astype
from gputensor.ops.indexing import take
from gputensor.ops.inplace import setitem
from gputensor.options import integer
from gputensor.random.arguments import (
    Shape,
    chances_of,
    check,
    is_number,
    parameters_of,
    room,
    sizes_of,
)
from gputensor.random.continuous import Continuous

_MOST_TRIALS = 1 << 20  # of a binomial distribution, whose table has one entry more


class Discrete(Continuous):
    """Methods of :class:`gputensor.random.Generator`."""

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
        words, sizes, where = room("integers", shape, np.uint32, device, 2)
        with backend.on_device_of(where):
            pairs = random_bits.raw(words, **self.take(words.size)).astype(np.uint64).reshape(-1, 2)
            numbers = _high_product(pairs[:, 0], pairs[:, 1], last - first + 1)
            # Added modulo 2**64: a negative `first` is its complement.
            numbers += np.uint64(first % (1 << 64))
            return wrap(numbers.astype(np.int64).astype(dtype, copy=False).reshape(sizes))

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
        check("bernoulli", p=(p, 0, 1, False))
        (p,), sizes, _, where = parameters_of("bernoulli", (p,), shape, None, device)
        drawn = self.random(sizes, dtype=np.float64, device=where).array
        with backend.on_device_of(where):
            return wrap(as_raw(drawn < (p.array if isinstance(p, Tensor) else p)).astype(dtype))

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
            inside = is_number(raw) or isinstance(raw, np.ndarray)
            if inside and not np.all((raw >= 0) & (raw <= most)):
                what = f"is {raw}" if is_number(raw) else "has other elements"
                raise ValueError(f"binomial: {key} {what}; it must be from 0 to {most}")
            both.append(raw)
        if is_number(n) and is_number(p):
            special = importlib.import_module("scipy.special")
            k = np.arange(operator.index(n) + 1)
            ways = special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)
            chances = np.exp(ways + special.xlogy(k, p) + special.xlog1py(n - k, -p))
            return astype(self._from_table("binomial", chances, shape, device), dtype)
        given, sizes, _, where = parameters_of("binomial", (n, p), shape, None, device)
        rest = 1 - self.random(sizes, dtype=np.float64, device=where).array
        largest = np.max(both[0], initial=0) if isinstance(both[0], np.ndarray) else both[0]
        rounds = int(largest if is_number(largest) else _MOST_TRIALS).bit_length()
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
            return wrap(as_raw(xp.where(proper, low, -1)).astype(dtype))

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
            sizes = raw.shape[:-1] if shape is None else sizes_of("categorical", shape)
            if sizes[len(sizes) - raw.ndim + 1 :] != raw.shape[:-1]:
                raise ShapeError(
                    f"categorical: shape is {sizes}; it must end with {raw.shape[:-1]}, the shape "
                    "of logits without the axis"
                )
            noise = self._gumbel((*sizes, raw.shape[-1]), where)
            return wrap(as_raw(xp.argmax(raw + noise, axis=-1)))

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
        chances, where = chances_of("multinomial", pvals, None, device)
        sizes = sizes_of("multinomial", shape)
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
        if is_number(a) or getattr(a, "shape", None) == ():
            n = integer("choice", "a", a)
        else:
            population = asarray(a, device=device)
            if not -population.ndim <= axis < population.ndim:
                raise ShapeError(f"choice: axis {axis} is not one of shape {population.shape}")
            n, device = population.shape[axis], population.device
        sizes = sizes_of("choice", shape)
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
            chances, where = chances_of("choice", p, n, where)
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
        if not is_number(x) and getattr(x, "shape", None) == ():
            x = integer("permutation", "x", x)
        if not is_number(x):
            given = asarray(x, device=device)
            if not -given.ndim <= axis < given.ndim:
                raise ShapeError(f"permutation: axis {axis} is not one of shape {given.shape}")
            return take(given, self.permutation(given.shape[axis], device=given.device), axis=axis)
        keys, _, where = room("permutation", x, np.uint32, device, 2)
        with backend.on_device_of(where):
            words = random_bits.raw(keys, **self.take(keys.size))
            # Stable, so that equal keys, rare as they are, come out alike on every device.
            return wrap(backend.namespace(where).argsort(words.view(np.uint64), kind="stable"))

    def shuffle(self, x: Tensor, axis: int = 0) -> None:
        """Bring the entries of a tensor along `axis` into random order, in place."""
        if not isinstance(x, Tensor):
            raise TypeError(f"shuffle: x must be a Tensor, got {type(x).__name__}")
        setitem(x, ..., self.permutation(x, axis))


def _high_product(high: Array, low: Array, span: int) -> Array:
    """Upper 64 bits of ``(high * 2**32 + low) * span``, for words below 2**32 in uint64."""
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    if span == 1 << 64:
        return (high << half) | low
    span_high, span_low = np.uint64(span >> 32), np.uint64(span & 0xFFFFFFFF)
    middle = high * span_low + ((low * span_low) >> half)
    other = low * span_high + (middle & mask)
    return high * span_high + (middle >> half) + (other >> half)
