"""Pseudo-inverses, ranks and least squares."""

from typing import Any, NamedTuple

import numpy as np

from gputensor.autograd import Operand, Primitive, Tensor
from gputensor.errors import ShapeError
from gputensor.ops import elementwise, statistical
from gputensor.ops.linalg.arguments import adjoint, conjugate, floating, matrix, run
from gputensor.ops.linalg.decompositions import svdvals
from gputensor.ops.manipulation import (
    reshape,
)
from gputensor.ops.products import matmul
from gputensor.options import number


class LstsqResult(NamedTuple):
    """What :func:`lstsq` returns."""

    x: Tensor
    residuals: Tensor
    rank: Tensor
    s: Tensor


def _cutoff(s: Any, shape: tuple[int, ...], rtol: Any) -> Any:
    """Below which singular values of matrices of `shape` count as 0."""
    if rtol is None:
        rtol = max(shape[-2:]) * float(np.finfo(s.dtype).eps)
    return rtol[..., None] * s[..., :1] if getattr(rtol, "ndim", 0) else rtol * s[..., :1]


def _raw_tolerance(rtol: Any) -> Any:
    return rtol.array if isinstance(rtol, Tensor) else rtol


def _pinv_forward(xp: Any, x: Any, rtol: Any) -> Any:
    u, s, vh = run(xp, "svd", x, full_matrices=False)
    counts = s > _cutoff(s, x.shape, rtol)
    inverse = xp.where(counts, 1 / xp.where(counts, s, 1), 0)
    return xp.matmul(adjoint(xp, vh) * inverse[..., None, :], adjoint(xp, u))


def _pinv_rule(xp: Any, g: Any, out: Any, x: Any, rtol: Any) -> Any:
    p, x, g = conjugate(xp, out), conjugate(xp, x), adjoint(xp, g)
    ph = adjoint(xp, p)
    inner = -xp.matmul(xp.matmul(ph, adjoint(xp, g)), ph)
    left = xp.matmul(xp.matmul(g - xp.matmul(x, xp.matmul(p, g)), p), ph)
    right = xp.matmul(xp.matmul(ph, p), g - xp.matmul(xp.matmul(g, p), x))
    return inner + left + right


_pinv = Primitive("pinv", _pinv_forward, (_pinv_rule,))


def pinv(x: Operand, /, *, rtol: Operand | None = None) -> Tensor:
    """Moore-Penrose pseudo-inverse, by singular values.

    Parameters
    ----------
    x : Tensor or array of shape (..., m, n)
    rtol : float or array of shape (...), optional
        Singular values up to `rtol` times the largest count as 0; ``max(m, n)`` times the spacing
        of the dtype at 1 by default.

    Returns
    -------
    Tensor
        Of shape (..., n, m). The gradient is that among matrices of the same rank.

    Examples
    --------
    >>> gt.linalg.pinv(gt.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5 , 0.  ],
            [0.  , 0.25]], dtype=float32)
    """
    return _pinv(matrix("pinv", x), rtol=_raw_tolerance(rtol))


def _rank_forward(xp: Any, x: Any, rtol: Any) -> Any:
    s = run(xp, "svd", x, compute_uv=False)
    return xp.sum(s > _cutoff(s, x.shape, rtol), axis=-1)


_rank = Primitive("matrix_rank", _rank_forward)


def matrix_rank(x: Operand, /, *, rtol: Operand | None = None) -> Tensor:
    """Number of singular values that do not count as 0, int64; parameters as for :func:`pinv`.

    Examples
    --------
    >>> gt.linalg.matrix_rank(gt.ones((3, 3)))
    tensor(1)
    """
    return _rank(matrix("matrix_rank", x), rtol=_raw_tolerance(rtol))


def lstsq(a: Operand, b: Operand, /, rcond: float | None = None) -> LstsqResult:
    """The shortest of the `x` that bring ``a @ x`` closest to `b`, as NumPy's function.

    Parameters
    ----------
    a : Tensor or array of shape (m, n)
    b : Tensor or array of shape (m,) or (m, k)
    rcond : float, optional
        As `rtol` of :func:`pinv`.

    Returns
    -------
    LstsqResult
        ``x`` of shape (n,) or (n, k); ``residuals`` of shape (1,) or (k,), the squared distances,
        or (0,) if the rank is below n or ``m <= n``; ``rank``; singular values ``s``. The host
        waits for the rank.

    Raises
    ------
    ShapeError
        If the shapes do not fit.

    Examples
    --------
    >>> gt.linalg.lstsq(gt.tensor([[1.0], [1.0]]), gt.tensor([1.0, 3.0]))[0]
    tensor([1.9999999], dtype=float32)
    """
    a, b = matrix("lstsq", a), floating("lstsq", b)
    if len(a.shape) != 2 or len(b.shape) not in (1, 2) or b.shape[0] != a.shape[0]:
        raise ShapeError(
            f"linalg.lstsq: operands of shape {a.shape}, {b.shape} do not fit; they must have "
            "shape (m, n) and (m,) or (m, k)"
        )
    rcond = rcond if rcond is None else number("linalg.lstsq", "rcond", rcond)
    x = matmul(pinv(a, rtol=rcond), b)
    rank = matrix_rank(a, rtol=rcond)
    m, n = a.shape
    if m > n and int(rank) == n:
        gap = reshape(b - matmul(a, x), (m, -1))
        residuals = statistical.sum(elementwise.abs(gap) ** 2, axis=0)
    else:
        residuals = reshape(elementwise.abs(x), (-1,))[:0]
    return LstsqResult(x, residuals, rank, svdvals(a))
