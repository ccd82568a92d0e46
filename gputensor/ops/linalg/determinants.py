"""Determinants, and cofactors as their derivatives."""

import math
from typing import Any, NamedTuple

import numpy as np

from gputensor.autograd import Operand, Primitive, Tensor
from gputensor.errors import LinAlgError
from gputensor.ops.creation import raw_like
from gputensor.ops.linalg.arguments import conjugate, irregular, made_regular, matrix, run


class SlogdetResult(NamedTuple):
    """What :func:`slogdet` returns."""

    sign: Tensor
    logabsdet: Tensor


def _inverted(xp: Any, x: Any) -> tuple[Any, Any, Any, Any]:
    """Matrices in one row, determinants, transposed inverses, and which are singular to rounding.

    These are the matrices of a condition number that leaves half of the digits, at most.
    """
    n = x.shape[-1]
    x = xp.reshape(x, (math.prod(x.shape[:-2]), n, n))
    det = run(xp, "det", x)
    singular = xp.equal(det, 0)
    eye = raw_like(x, "eye", n)
    try:
        inverse = run(xp, "inv", xp.where(singular[:, None, None], eye, x))
    except LinAlgError:  # of a matrix whose determinant was rounded otherwise
        inverse, singular = xp.zeros_like(x), xp.ones_like(singular)
    sizes = [xp.sqrt(xp.sum(xp.abs(m) ** 2, axis=(1, 2))) for m in (x, inverse)]
    singular = singular | (sizes[0] * sizes[1] > np.finfo(x.dtype).eps ** -0.5)
    return x, det[:, None, None], xp.matrix_transpose(inverse), xp.nonzero(singular)[0]


def _products_without(xp: Any, s: Any) -> tuple[Any, Any]:
    """Products of all numbers but the i-th, and, 0 for i = j, of all but the i-th and the j-th."""
    n = s.shape[-1]
    ones = xp.ones_like(s)[..., None]
    above = xp.triu(ones * xp.ones(n, s.dtype), k=1)
    through = xp.cumprod(xp.where(above, s[..., None, :], 1), axis=-1)  # from i + 1 to j
    between = xp.concat([ones, through[..., :-1]], axis=-1)
    before, after = between[..., :1, :] * s[..., :1, None], through[..., -1]
    before = xp.concat([ones[..., :1, :], before[..., 1:]], axis=-1)[..., 0, :]
    pairs = above * before[..., :, None] * between * after[..., None, :]
    return before * after, pairs + xp.matrix_transpose(pairs)


def _singular_parts(xp: Any, x: Any) -> tuple[Any, Any, Any, Any]:
    """Conjugated singular vectors, the determinant of their product, and singular values."""
    u, s, vh = run(xp, "svd", x)
    turn = run(xp, "det", u) * run(xp, "det", vh)
    return conjugate(xp, u), s, conjugate(xp, vh), turn[..., None, None]


def _cofactors_forward(xp: Any, x: Any) -> Any:
    shape = x.shape
    x, det, inverse, singular = _inverted(xp, x)
    found = det * inverse
    if singular.size:
        u, s, vh, turn = _singular_parts(xp, x[singular])
        others, _ = _products_without(xp, s)
        found[singular] = turn * xp.matmul(u * others[..., None, :], vh)
    return xp.reshape(found, shape)


def _slope_forward(xp: Any, g: Any, x: Any) -> Any:
    shape = x.shape
    x, det, inverse, singular = _inverted(xp, x)
    g = xp.reshape(g, x.shape)
    total = xp.sum(g * inverse, axis=(-2, -1), keepdims=True)
    turned = xp.matmul(xp.matmul(inverse, xp.matrix_transpose(g)), inverse)
    found = det * (total * inverse - turned)
    if singular.size:
        u, s, vh, turn = _singular_parts(xp, x[singular])
        _, pairs = _products_without(xp, s)
        # Of a diagonal matrix of s.
        inner = xp.matmul(xp.matmul(xp.matrix_transpose(u), g[singular]), xp.matrix_transpose(vh))
        diagonal = xp.matmul(pairs, xp.diagonal(inner, 0, -2, -1)[..., None])
        inner = raw_like(s, "eye", s.shape[-1]) * diagonal - xp.matrix_transpose(pairs * inner)
        found[singular] = turn * xp.matmul(xp.matmul(u, inner), vh)
    return xp.reshape(found, shape)


def _slope(xp: Any, g: Any, x: Any) -> Any:
    """Vector-Jacobian product of the cofactors of `x`, symmetric as their derivative is."""
    tensors = isinstance(g, Tensor) or isinstance(x, Tensor)
    return _cofactors_slope(g, x) if tensors else _slope_forward(xp, g, x)


def _third_rule(xp: Any, h: Any, _out: Any, g: Any, x: Any) -> Any:
    det = run(xp, "det", x)
    det = xp.reshape(det, (*det.shape, 1, 1))
    regular, mask = made_regular(xp, x, xp.equal(det[..., 0, 0], 0))
    inverse = xp.matrix_transpose(run(xp, "inv", regular))
    turned, totals, both = [], [], []
    for a in (g, h):
        both.append(xp.matmul(inverse, xp.matrix_transpose(a)))
        turned.append(xp.matmul(both[-1], inverse))
        totals.append(xp.sum(a * inverse, axis=(-2, -1), keepdims=True))
    all_three = xp.sum(h * turned[0], axis=(-2, -1), keepdims=True)
    found = (totals[0] * totals[1] - all_three) * inverse
    found = found - totals[1] * turned[0] - totals[0] * turned[1]
    found = found + xp.matmul(both[0], turned[1]) + xp.matmul(both[1], turned[0])
    asked = xp.any(xp.not_equal(g, 0), axis=(-2, -1), keepdims=True)
    return irregular(xp, det * found, mask, xp.where(asked, h, 0))


_cofactors = Primitive("cofactors", _cofactors_forward, (lambda xp, g, _out, x: _slope(xp, g, x),))

_cofactors_slope = Primitive(
    "cofactors_slope",
    _slope_forward,
    (lambda xp, h, _out, _g, x: _slope(xp, h, x), _third_rule),
)


def _det_rule(xp: Any, g: Any, _out: Any, x: Any) -> Any:
    cofactors = _cofactors(x) if isinstance(x, Tensor) else _cofactors_forward(xp, x)
    return xp.reshape(g, (*g.shape, 1, 1)) * cofactors


_det = Primitive("det", lambda xp, x: run(xp, "det", x), (_det_rule,))


def det(x: Operand, /) -> Tensor:
    """Determinant of matrices of shape (..., n, n), of shape (...).

    First and second derivatives are right where a matrix is singular; the third needs its inverse.

    Examples
    --------
    >>> gt.linalg.det(gt.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor(-2., dtype=float32)
    """
    return _det(matrix("det", x, square=True))


def _slogdet_rule(xp: Any, g: Any, out: Any, x: Any) -> Any:
    g_sign, g_log = g
    if x.dtype.kind == "c" and g_sign is not None:
        turn = g_sign * out[0]
        turn = 0.5 * (turn - xp.conj(turn))  # only the change of the angle counts
        g_log = turn if g_log is None else g_log + turn
    if g_log is None:  # the sign of real numbers is flat
        return xp.zeros_like(x)
    regular, mask = made_regular(xp, x, xp.equal(out[0], 0))
    g_log = xp.reshape(g_log, (*g_log.shape, 1, 1))
    found = g_log * xp.matrix_transpose(run(xp, "inv", regular))
    return irregular(xp, found, mask, g_log)


_slogdet = Primitive("slogdet", lambda xp, x: tuple(run(xp, "slogdet", x)), (_slogdet_rule,))


def slogdet(x: Operand, /) -> SlogdetResult:
    """Sign and logarithm of the absolute value of the determinant: 0 and -inf if a pivot is 0.

    Parameters
    ----------
    x : Tensor or array of shape (..., n, n)

    Returns
    -------
    SlogdetResult
        ``sign`` and ``logabsdet`` of shape (...). The sign of a complex determinant has absolute
        value 1. There is no gradient where a matrix is singular: a backward pass raises LinAlgError
        for a single one, and in a stack gives NaN for it.

    Examples
    --------
    >>> gt.linalg.slogdet(gt.tensor([[2.0, 0.0], [0.0, -3.0]]))
    SlogdetResult(sign=tensor(-1., dtype=float32), logabsdet=tensor(1.7917595, dtype=float32))
    """
    return SlogdetResult(*_slogdet(matrix("slogdet", x, square=True)))
