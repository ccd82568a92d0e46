"""Functions for CPU loops that LLVM can vectorize, as it cannot the calls of the C library's.

Range reduction and polynomial of exp after Cephes (Moshier 1989): the largest error seen is below
one unit in the last place. erf in float32 is ``x * p(x**2)`` near zero and ``1 - exp(-q(|x|))``
elsewhere, fitted for the least relative error: the largest seen is below three units. erfc of what
is not negative is ``exp(-x**2) * t * p(t)`` with ``t = 1 / (1 + x / 2)``, fitted likewise: beyond
x = 5 its error is that of rounding ``x**2``.
"""

from math import erf as c_erf
from math import erfc as c_erfc
from typing import Any

import numpy as np

from gputensor.kernels.runtime import Inline

__all__ = ["erf", "erfc_and_exp", "exp", "row_max"]


def _exp32(x):  # type: ignore[no-untyped-def]
    f = np.float32
    low = x < f(-104.0)  # the result is 0, which a product would come to slowly, by subnormals
    c = f(0.0) if low else x
    c = f(89.0) if c > f(89.0) else c
    n = np.floor(c * f(1.44269504) + f(0.5))
    r = c - n * f(0.693359375) + n * f(2.12194440e-4)
    p = f(1.9875691500e-4)
    p = p * r + f(1.3981999507e-3)
    p = p * r + f(8.3334519073e-3)
    p = p * r + f(4.1665795894e-2)
    p = p * r + f(1.6666665459e-1)
    p = p * r + f(5.0000001201e-1)
    y = p * (r * r) + r + f(1.0)
    # 2**n in two factors, as it may be subnormal or overflow where the result does not.
    k = np.int32(n)
    h = k >> np.int32(1)
    a = np.int32((h + 127) << 23).view(np.float32)
    b = np.int32((k - h + 127) << 23).view(np.float32)
    y = f(0.0) if low else y * a * b
    return x if x != x else y


def _exp64(x):  # type: ignore[no-untyped-def]
    low = x < -746.0
    c = 0.0 if low else x
    c = 710.0 if c > 710.0 else c
    n = np.floor(c * 1.4426950408889634 + 0.5)
    r = c - n * 0.693145751953125 - n * 1.4286068203094172e-6
    p = 1 / 6227020800.0  # 1 / 13!
    p = p * r + 1 / 479001600.0
    p = p * r + 1 / 39916800.0
    p = p * r + 1 / 3628800.0
    p = p * r + 1 / 362880.0
    p = p * r + 1 / 40320.0
    p = p * r + 1 / 5040.0
    p = p * r + 1 / 720.0
    p = p * r + 1 / 120.0
    p = p * r + 1 / 24.0
    p = p * r + 1 / 6.0
    p = p * r + 0.5
    y = p * (r * r) + r + 1.0
    k = np.int64(n)
    h = k >> np.int64(1)
    a = np.int64((h + 1023) << 52).view(np.float64)
    b = np.int64((k - h + 1023) << 52).view(np.float64)
    y = 0.0 if low else y * a * b
    return x if x != x else y


# The maximum of floating point numbers is not vectorized, for the sake of NaN; that of integers is.
# With the bits of negative numbers turned over, integers are in the order of the numbers.


def _row_max32(x):  # type: ignore[no-untyped-def]
    low = np.int32(0x7FFFFFFF)
    bits = x.view(np.int32)
    top = ~low
    for j in range(bits.size):
        b = bits[j]
        b = np.int32(b ^ ((b >> np.int32(31)) & low))
        top = b if b > top else top
    return np.int32(top ^ ((top >> np.int32(31)) & low)).view(np.float32)


def _row_max64(x):  # type: ignore[no-untyped-def]
    low = np.int64(0x7FFFFFFFFFFFFFFF)
    bits = x.view(np.int64)
    top = ~low
    for j in range(bits.size):
        b = bits[j]
        b = np.int64(b ^ ((b >> np.int64(63)) & low))
        top = b if b > top else top
    return np.int64(top ^ ((top >> np.int64(63)) & low)).view(np.float64)


def _erf32(x):  # type: ignore[no-untyped-def]
    f = np.float32
    a = abs(x)
    s = x * x
    near = f(-0.0006021808949299157)
    near = near * s + f(0.004999601747840643)
    near = near * s + f(-0.026771284639835358)
    near = near * s + f(0.11281955242156982)
    near = near * s + f(-0.3761250674724579)
    near = near * s + f(1.1283791065216064)
    c = f(3.95) if a > f(3.95) else a
    p = f(0.0012401246931403875)
    p = p * c + f(-0.015488555654883385)
    p = p * c + f(0.09083002805709839)
    p = p * c + f(0.6511750817298889)
    p = p * c + f(1.1198828220367432)
    p = p * c + f(0.001965890172868967)
    far = f(1.0) - exp(-p)
    far = -far if x < f(0.0) else far
    return far if a >= f(0.92) else x * near  # NaN is not >= and stays


def _erf64(x):  # type: ignore[no-untyped-def]
    return c_erf(x)


def _erfc_and_exp32(x):  # type: ignore[no-untyped-def]
    """erfc(x) and exp(-x * x), x at least 0."""
    f = np.float32
    a = f(14.0) if x > f(14.0) else x  # where both are 0
    power = exp(-a * a)
    t = f(1.0) / (f(1.0) + f(0.5) * a)
    p = f(0.010817307978868484)
    p = p * t + f(-0.11547785997390747)
    p = p * t + f(0.4111431837081909)
    p = p * t + f(-0.6470638513565063)
    p = p * t + f(0.40289443731307983)
    p = p * t + f(-0.08888442069292068)
    p = p * t + f(0.22244800627231598)
    p = p * t + f(0.23926816880702972)
    p = p * t + f(0.2827872037887573)
    p = p * t + f(0.28206780552864075)
    return power * (t * p), power


def _erfc_and_exp64(x):  # type: ignore[no-untyped-def]
    return c_erfc(x), exp(-x * x)


exp: Any = Inline({"float32": _exp32, "float64": _exp64})
erf: Any = Inline({"float32": _erf32, "float64": _erf64})
row_max: Any = Inline({"float32": _row_max32, "float64": _row_max64})
erfc_and_exp: Any = Inline({"float32": _erfc_and_exp32, "float64": _erfc_and_exp64})
