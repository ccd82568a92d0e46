"""Distributions of real numbers."""

import math
from typing import Any

import numpy as np

from gputensor import backend, config, memory
from gputensor.autograd import Operand, Tensor, as_raw, wrap
from gputensor.backend import Device
from gputensor.kernels import random_normal, random_uniform
from gputensor.kernels.philox import words_of
from gputensor.ops.data_type import astype
from gputensor.ops.elementwise import add, exp, multiply, sigmoid, subtract
from gputensor.random.arguments import (
    Shape,
    check,
    is_number,
    parameters_of,
    room,
    shaped,
    skip,
    wide,
)
from gputensor.random.gamma import gamma_sample, log_gammas
from gputensor.random.stream import Stream

_GAMMA_ROUNDS = 9  # each rejects one in twenty at most


_GAMMA_CHUNK = 1 << 13  # elements that the CPU draws at once, an even number


class Continuous(Stream):
    """Methods of :class:`gputensor.random.Generator`."""

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
        if not (is_number(low) and is_number(high)):
            (low, high), sizes, dtype, where = parameters_of(
                "uniform", (low, high), shape, dtype, device
            )
            drawn = self.random(sizes, dtype=dtype, device=where)
            return add(low, multiply(subtract(high, low), drawn))
        if not -math.inf < low <= high < math.inf:
            raise ValueError(
                f"uniform: low is {low}, high is {high}; they must be finite and low not above high"
            )
        out, sizes, where = room("uniform", shape, dtype or config.default_dtype(), device)
        with backend.on_device_of(where):
            state = self.take(out.size * words_of(out.dtype))
            return wrap(shaped(random_uniform.raw(out, low=low, high=high, **state), sizes))

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
        if not (is_number(loc) and is_number(scale)):
            (loc, scale), sizes, dtype, where = parameters_of(
                "normal", (loc, scale), shape, dtype, device
            )
            drawn = self.normal(shape=sizes, dtype=dtype, device=where)
            return add(loc, multiply(scale, drawn))
        if not scale >= 0:
            raise ValueError(f"normal: scale is {scale}; it must not be negative")
        out, sizes, where = room("normal", shape, dtype or config.default_dtype(), device)
        with backend.on_device_of(where):
            state = self.take((out.size + out.size % 2) * words_of(out.dtype))
            return wrap(shaped(random_normal.raw(out, mean=loc, std=scale, **state), sizes))

    def standard_normal(
        self, shape: Shape = None, *, dtype: Any = None, device: str | Device | None = None
    ) -> Tensor:
        """Normally distributed numbers of mean 0 and standard deviation 1."""
        return self.normal(shape=shape, dtype=dtype, device=device)

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
        check("exponential", scale=(scale, 0, 0, False))
        (scale,), sizes, dtype, where = parameters_of("exponential", (scale,), shape, dtype, device)
        drawn = self.random(sizes, dtype=wide(dtype), device=where).array
        with backend.on_device_of(where):
            standard = -backend.namespace(where).log1p(-drawn)
            return multiply(scale, wrap(as_raw(standard).astype(dtype, copy=False)))

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
        check("gamma", concentration=(concentration, 0, 0, True), scale=(scale, 0, 0, False))
        given = (concentration, scale)
        (a, scale), sizes, dtype, where = parameters_of("gamma", given, shape, dtype, device)
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
        check("beta", a=(a, 0, 0, True), b=(b, 0, 0, True))
        (a, b), sizes, dtype, where = parameters_of("beta", (a, b), shape, dtype, device)
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
            if is_number(raw):
                shapes = xp.full(n, raw, np.float64)
            else:
                shapes = xp.broadcast_to(raw.astype(np.float64), sizes).reshape(n)
            chunk = _GAMMA_CHUNK if where.kind == "cpu" else max(n, 1)
            parts = [
                log_gammas(xp, shapes[first : first + chunk], [skip(s, first) for s in starts])
                for first in range(0, n, chunk)
            ]
            sample = xp.concatenate(parts).reshape(sizes) if parts else shapes.reshape(sizes)
            return gamma_sample(a, sample=sample) if isinstance(a, Tensor) else wrap(sample)
