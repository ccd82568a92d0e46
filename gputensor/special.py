"""Special functions by SciPy's names, where ``scipy.special`` finds them.

With ``SCIPY_ARRAY_API=1`` SciPy asks the namespace of its arguments for a module of this name, as
the array API standard may have one some day; without it, its functions ask tensors themselves. Both
lead to the same functions, so ``scipy.special.erf(t)`` is :func:`gputensor.erf`, on the tape.
"""

from gputensor.ops import (
    cbrt,
    digamma,
    erf,
    erfc,
    erfinv,
    exp2,
    expm1,
    gammaln,
    log1p,
    log_softmax,
    logsumexp,
    polygamma,
    sinc,
    softmax,
    softplus,
)
from gputensor.ops import digamma as psi
from gputensor.ops import sigmoid as expit

__all__ = [
    "cbrt",
    "digamma",
    "erf",
    "erfc",
    "erfinv",
    "exp2",
    "expit",
    "expm1",
    "gammaln",
    "log1p",
    "log_softmax",
    "logsumexp",
    "polygamma",
    "psi",
    "sinc",
    "softmax",
    "softplus",
]
