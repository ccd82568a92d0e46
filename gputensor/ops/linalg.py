"""The linear algebra of the Array API standard, with ``norm`` and ``lstsq`` of NumPy.

All functions work on stacks of matrices, in the last two axes. Where a decomposition finds that a
matrix has no result a LinAlgError is raised; on CUDA the host waits for the device to know.
Integers are taken as float64.

A singular matrix is found by a pivot of its LU decomposition that is exactly 0, as in NumPy and
PyTorch. Rounding may leave another number there, on one device and not on the other: then results
are of the size of ``1 / eps``, without an error. :func:`matrix_rank` tells. A row of zeros is
always found.

The rules follow Giles, "An extended collection of matrix derivative results" (2008); Murray,
"Differentiation of the Cholesky decomposition" (2016); Walter & Lehmann, "Algorithmic
differentiation of linear algebra functions" (2010); Golub & Pereyra, "The differentiation of
pseudo-inverses" (1973). As conjugated gradients travel on the tape, a formula that is written for
gradients holds here with the operands and results conjugated.
"""

import builtins
import functools
import math
import operator
from typing import Any, NamedTuple

import numpy as np

from gputensor import backend
from gputensor.autograd import Operand, Primitive, Tensor, as_array
from gputensor.backend import is_narrow
from gputensor.errors import DTypeError, GraphError, LinAlgError, ShapeError
from gputensor.kernels.runtime import narrow, power_of_two, squares_fit, widen
from gputensor.ops import elementwise, indexing, products, statistical
from gputensor.ops.axes import Axis, any_zero, axes_of, checked_axis, kept_shape, one_axis
from gputensor.ops.creation import raw_like, zeros_like
from gputensor.ops.data_type import astype, float64
from gputensor.ops.manipulation import (
    concat,
    expand_dims,
    matrix_transpose,
    moveaxis,
    permute_dims,
    reshape,
)
from gputensor.ops.precision import widened
from gputensor.ops.products import matmul, tensordot, vecdot
from gputensor.options import integer, number

__all__ = [
    "cholesky",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "expm",
    "inv",
    "lstsq",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "norm",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
    "tensordot",
    "trace",
    "vecdot",
    "vector_norm",
]


class EigResult(NamedTuple):
    """What :func:`eig` returns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class EighResult(NamedTuple):
    """What :func:`eigh` returns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class QRResult(NamedTuple):
    """What :func:`qr` returns."""

    Q: Tensor
    R: Tensor


class SlogdetResult(NamedTuple):
    """What :func:`slogdet` returns."""

    sign: Tensor
    logabsdet: Tensor


class SVDResult(NamedTuple):
    """What :func:`svd` returns."""

    U: Tensor
    S: Tensor
    Vh: Tensor


class LstsqResult(NamedTuple):
    """What :func:`lstsq` returns."""

    x: Tensor
    residuals: Tensor
    rank: Tensor
    s: Tensor


_SINGULAR = (
    "the matrix is singular; for the closest there is to a solution use gt.linalg.pinv or "
    "gt.linalg.lstsq, or add a small multiple of the identity"
)
_STUCK = "it did not converge; look for NaN and infinity in the matrix"
_FAILURES = {
    "cholesky": "the matrix is not positive definite; if rounding made it so, add a small "
    "multiple of the identity",
    "eig": _STUCK,
    "eigh": _STUCK,
    "eigvalsh": _STUCK,
    "inv": _SINGULAR,
    "solve": _SINGULAR,
    "solve_triangular": _SINGULAR,
    "svd": _STUCK,
}


def _run(xp: Any, name: str, *args: Any, **options: Any) -> Any:
    """A function of the namespace's ``linalg``, whose failure becomes an error that says why."""
    if any(a.dtype.kind == "V" for a in args):  # which NumPy would take for float64
        raise DTypeError(
            f"linalg.{name} does not take bfloat16; convert it first: x.astype(gt.float32)"
        )
    try:
        return getattr(xp.linalg, name)(*args, **options)
    except np.linalg.LinAlgError as error:
        raise LinAlgError(f"linalg.{name}: {_FAILURES.get(name, error)}") from None


def _matrix(name: str, x: Operand, square: bool = False) -> Operand:
    """The operand, floating point, if it is a matrix or a stack of them.

    Raises
    ------
    ShapeError
        Otherwise.
    """
    x = _floating(name, x)
    shape = x.shape
    if len(shape) < 2 or (square and shape[-1] != shape[-2]):
        form = "(..., n, n)" if square else "(..., m, n)"
        raise ShapeError(f"linalg.{name}: x must have shape {form}, its shape is {shape}")
    return x


def _floating(name: str, x: Operand) -> Operand:
    """The operand as an array of floating point numbers."""
    x = widened(as_array(f"linalg.{name}", x))
    dtype = getattr(x, "dtype", None)
    return astype(x, float64) if dtype is None or dtype.kind in "biu" else x


def _c(xp: Any, x: Any) -> Any:
    """Complex conjugate; without a copy of what is real."""
    return xp.conj(x) if x.dtype.kind == "c" else x


def _h(xp: Any, x: Any) -> Any:
    """Conjugate transpose."""
    return _c(xp, xp.matrix_transpose(x))


def _half_triangle(x: Any) -> Any:
    """Ones below the diagonal of a matrix of the last length of `x`, halves on it, zeros above."""
    n = x.shape[-1]
    return raw_like(x, "tri", n) - 0.5 * raw_like(x, "eye", n)


# Solutions, inverses and determinants


def _solve_rule(xp: Any, needs: Any, g: Any, out: Any, x: Any, _y: Any) -> tuple[Any, Any]:
    part = _run(xp, "solve", xp.matrix_transpose(x), g)
    left = None if needs[0] is False else -xp.matmul(part, xp.matrix_transpose(out))
    return left, part


_solve = Primitive("solve", lambda xp, x, y: _run(xp, "solve", x, y), _solve_rule)


def solve(x1: Operand, x2: Operand, /) -> Tensor:
    """Solution `y` of ``x1 @ y = x2``.

    Parameters
    ----------
    x1 : Tensor or array of shape (..., n, n)
    x2 : Tensor or array of shape (n,) or (..., n, k)

    Returns
    -------
    Tensor
        Of shape (..., n) or (..., n, k).

    Raises
    ------
    LinAlgError
        If a pivot of a matrix is exactly 0. Rounding may hide that a matrix is singular.
    ShapeError
        If the shapes do not fit.
    """
    return _solved("solve", _solve, x1, x2)


def _solved(name: str, primitive: Primitive, a: Operand, b: Operand, **attrs: Any) -> Tensor:
    """Solution for a vector or for matrices `b`, by a primitive that takes matrices."""
    a, b = _matrix(name, a, square=True), _floating(name, b)
    axes = len(b.shape)
    if not axes or b.shape[-1 if axes == 1 else -2] != a.shape[-1]:
        raise ShapeError(
            f"linalg.{name}: operands of shape {a.shape}, {b.shape} do not fit; the second must "
            f"have shape ({a.shape[-1]},) or (..., {a.shape[-1]}, k)"
        )
    if axes > 1:
        return primitive(a, b, **attrs)
    return primitive(a, expand_dims(b, -1), **attrs)[..., 0]


def _triangular_rule(
    xp: Any, needs: Any, g: Any, out: Any, x: Any, _y: Any, *, lower: bool, unit_diagonal: bool
) -> tuple[Any, Any]:
    part = _triangular(xp, xp.matrix_transpose(x), g, not lower, unit_diagonal)
    if needs[0] is False:
        return None, part
    left = -xp.matmul(part, xp.matrix_transpose(out))
    k = int(unit_diagonal)
    return xp.tril(left, k=-k) if lower else xp.triu(left, k=k), part


def _triangular(xp: Any, x: Any, y: Any, lower: bool, unit_diagonal: bool = False) -> Any:
    return _run(xp, "solve_triangular", x, y, lower=lower, unit_diagonal=unit_diagonal)


_solve_triangular = Primitive("solve_triangular", _triangular, _triangular_rule)

_TRANSPOSED = {0: "N", 1: "T", 2: "C"}


def solve_triangular(
    a: Operand,
    b: Operand,
    /,
    *,
    trans: int | str = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
) -> Tensor:
    """Solution `x` of ``a @ x = b`` for triangular matrices `a`, as SciPy's function, on stacks.

    Parameters
    ----------
    a : Tensor or array of shape (..., n, n)
        Only one triangle is read, and has a gradient.
    b : Tensor or array of shape (n,) or (..., n, k)
    trans : {0, 1, 2} or {"N", "T", "C"}
        Whether to solve for `a`, its transpose or its conjugate transpose.
    lower : bool
        Whether the lower triangle of `a` is read, or the upper one.
    unit_diagonal : bool
        Whether to take the diagonal of `a` as ones, without reading it.

    Returns
    -------
    Tensor
        Of shape (..., n) or (..., n, k).

    Raises
    ------
    LinAlgError
        If an element of the diagonal is 0.
    ShapeError
        If the shapes do not fit.
    ValueError
        For another `trans`.
    """
    if not isinstance(trans, str):
        trans = integer("linalg.solve_triangular", "trans", trans)
    kind = trans if isinstance(trans, str) else _TRANSPOSED.get(trans)
    if kind not in _TRANSPOSED.values():
        raise ValueError(
            f"linalg.solve_triangular: trans {trans!r} is unknown; allowed are 0, 1, 2, 'N', 'T', "
            "'C'"
        )
    lower = bool(lower)
    if kind != "N":
        a, lower = matrix_transpose(_matrix("solve_triangular", a, square=True)), not lower
        a = elementwise.conj(a) if kind == "C" and a.dtype.kind == "c" else a
    options = {"lower": lower, "unit_diagonal": bool(unit_diagonal)}
    return _solved("solve_triangular", _solve_triangular, a, b, **options)


def _inv_rule(xp: Any, g: Any, out: Any, _x: Any) -> Any:
    transposed = xp.matrix_transpose(out)
    return -xp.matmul(xp.matmul(transposed, g), transposed)


_inv = Primitive("inv", lambda xp, x: _run(xp, "inv", x), (_inv_rule,))


def inv(x: Operand, /) -> Tensor:
    """Inverse of matrices of shape (..., n, n).

    Raises
    ------
    LinAlgError
        If a pivot of a matrix is exactly 0. Rounding may hide that a matrix is singular: then the
        elements of the result are of the size of ``1 / eps``.
    ShapeError
        If they are not square.
    """
    return _inv(_matrix("inv", x, square=True))


def _regular(xp: Any, x: Any, singular: Any) -> tuple[Any, Any]:
    """Matrices of a stack, the identity in the place of singular ones, and their mask.

    So that one of them does not stop the others. A single matrix is left to raise the error.
    """
    if len(x.shape) == 2:
        return x, None
    mask = singular[..., None, None]
    return xp.where(mask, raw_like(x, "eye", x.shape[-1]), x), mask


def _irregular(xp: Any, found: Any, mask: Any, *gradients: Any) -> Any:
    """Gradients of a stack, NaN for singular matrices unless those of their results are 0."""
    if mask is None:
        return found
    asked = [xp.any(xp.not_equal(g, 0), axis=(-2, -1), keepdims=True) for g in gradients]
    return xp.where(mask, xp.where(functools.reduce(xp.logical_or, asked), math.nan, 0.0), found)


# The gradient of a determinant is the matrix of cofactors, C = det(x) inv(x)^T. Singular matrices
# have one, too, which follows from the singular values, and so has its derivative.


def _inverted(xp: Any, x: Any) -> tuple[Any, Any, Any, Any]:
    """Matrices in one row, determinants, transposed inverses, and which are singular to rounding.

    These are the matrices of a condition number that leaves half of the digits, at most.
    """
    n = x.shape[-1]
    x = xp.reshape(x, (math.prod(x.shape[:-2]), n, n))
    det = _run(xp, "det", x)
    singular = xp.equal(det, 0)
    eye = raw_like(x, "eye", n)
    try:
        inverse = _run(xp, "inv", xp.where(singular[:, None, None], eye, x))
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
    u, s, vh = _run(xp, "svd", x)
    turn = _run(xp, "det", u) * _run(xp, "det", vh)
    return _c(xp, u), s, _c(xp, vh), turn[..., None, None]


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
    det = _run(xp, "det", x)
    det = xp.reshape(det, (*det.shape, 1, 1))
    regular, mask = _regular(xp, x, xp.equal(det[..., 0, 0], 0))
    inverse = xp.matrix_transpose(_run(xp, "inv", regular))
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
    return _irregular(xp, det * found, mask, xp.where(asked, h, 0))


_cofactors = Primitive("cofactors", _cofactors_forward, (lambda xp, g, _out, x: _slope(xp, g, x),))
_cofactors_slope = Primitive(
    "cofactors_slope",
    _slope_forward,
    (lambda xp, h, _out, _g, x: _slope(xp, h, x), _third_rule),
)


def _det_rule(xp: Any, g: Any, _out: Any, x: Any) -> Any:
    cofactors = _cofactors(x) if isinstance(x, Tensor) else _cofactors_forward(xp, x)
    return xp.reshape(g, (*g.shape, 1, 1)) * cofactors


_det = Primitive("det", lambda xp, x: _run(xp, "det", x), (_det_rule,))


def det(x: Operand, /) -> Tensor:
    """Determinant of matrices of shape (..., n, n), of shape (...).

    First and second derivatives are right where a matrix is singular; the third needs its inverse.
    """
    return _det(_matrix("det", x, square=True))


def _slogdet_rule(xp: Any, g: Any, out: Any, x: Any) -> Any:
    g_sign, g_log = g
    if x.dtype.kind == "c" and g_sign is not None:
        turn = g_sign * out[0]
        turn = 0.5 * (turn - xp.conj(turn))  # only the change of the angle counts
        g_log = turn if g_log is None else g_log + turn
    if g_log is None:  # the sign of real numbers is flat
        return xp.zeros_like(x)
    regular, mask = _regular(xp, x, xp.equal(out[0], 0))
    g_log = xp.reshape(g_log, (*g_log.shape, 1, 1))
    found = g_log * xp.matrix_transpose(_run(xp, "inv", regular))
    return _irregular(xp, found, mask, g_log)


_slogdet = Primitive("slogdet", lambda xp, x: tuple(_run(xp, "slogdet", x)), (_slogdet_rule,))


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
    """
    return SlogdetResult(*_slogdet(_matrix("slogdet", x, square=True)))  # type: ignore[misc]


# Decompositions


def _cholesky_rule(xp: Any, g: Any, out: Any, _x: Any) -> Any:
    lower = _c(xp, out)
    upper = _h(xp, lower)
    middle = xp.matmul(upper, g) * _half_triangle(g)
    left = _triangular(xp, upper, middle, lower=False)
    both = _triangular(xp, upper, _h(xp, left), lower=False)
    return 0.5 * (both + _h(xp, both))


_cholesky = Primitive("cholesky", lambda xp, x: _run(xp, "cholesky", x), (_cholesky_rule,))


def cholesky(x: Operand, /, *, upper: bool = False) -> Tensor:
    """Lower triangular `L` with ``x = L @ L^H``, or upper triangular `U` with ``x = U^H @ U``.

    Parameters
    ----------
    x : Tensor or array of shape (..., n, n)
        Symmetric (complex: Hermitian) and positive definite; its lower triangle is read. The
        gradient is symmetric, too.
    upper : bool

    Raises
    ------
    LinAlgError
        If a matrix is not positive definite.
    ShapeError
        If they are not square.
    """
    lower = _cholesky(_matrix("cholesky", x, square=True))
    if not upper:
        return lower
    return matrix_transpose(elementwise.conj(lower) if lower.dtype.kind == "c" else lower)


def _eigh_rule(xp: Any, g: Any, out: Any, _x: Any) -> Any:
    g_values, g_vectors = g
    values, vectors = out[0], _c(xp, out[1])
    if g_vectors is None:  # no differences, which are 0 where eigenvalues are equal
        return xp.matmul(vectors * g_values[..., None, :], _h(xp, vectors))
    eye = raw_like(values, "eye", values.shape[-1], dtype=bool)
    # Reciprocals of real numbers: the quotient of a complex number by infinity is NaN on CUDA.
    shares = 1 / xp.where(eye, math.inf, values[..., None, :] - values[..., :, None])
    middle = xp.matmul(_h(xp, vectors), g_vectors) * shares
    if g_values is not None:
        middle = xp.where(eye, g_values[..., None, :], middle)
    found = xp.matmul(xp.matmul(vectors, middle), _h(xp, vectors))
    return 0.5 * (found + _h(xp, found))


_eigh = Primitive("eigh", lambda xp, x: tuple(_run(xp, "eigh", x)), (_eigh_rule,))


def eigh(x: Operand, /) -> EighResult:
    """Eigenvalues in ascending order and eigenvectors of symmetric or Hermitian matrices.

    Parameters
    ----------
    x : Tensor or array of shape (..., n, n)
        Its lower triangle is read. The gradient is symmetric.

    Returns
    -------
    EighResult
        ``eigenvalues`` of shape (..., n), and ``eigenvectors`` of shape (..., n, n), whose columns
        have length 1. The gradient of eigenvectors is infinite or NaN where eigenvalues are equal,
        and means something only where the result does not depend on the phase of each of them.

    Raises
    ------
    LinAlgError
        If it does not converge.
    """
    return EighResult(*_eigh(_matrix("eigh", x, square=True)))  # type: ignore[misc]


def _eigvalsh_rule(xp: Any, g: Any, _out: Any, x: Any) -> Any:
    vectors = _c(xp, _run(xp, "eigh", x)[1])
    return xp.matmul(vectors * g[..., None, :], _h(xp, vectors))


_eigvalsh = Primitive("eigvalsh", lambda xp, x: _run(xp, "eigvalsh", x), (_eigvalsh_rule,))


def eigvalsh(x: Operand, /) -> Tensor:
    """Eigenvalues of symmetric or Hermitian matrices, as those of :func:`eigh`."""
    return _eigvalsh(_matrix("eigvalsh", x, square=True))


def _eig_rule(xp: Any, g: Any, out: Any, _x: Any) -> Any:
    g_values, g_vectors = g
    values, vectors = out
    rows = xp.matrix_transpose(vectors)
    if g_vectors is None:  # no differences, which are 0 where eigenvalues are equal
        return _run(xp, "solve", rows, g_values[..., :, None] * rows)
    eye = raw_like(values, "eye", values.shape[-1], dtype=bool)
    gaps = xp.where(eye, 1, values[..., None, :] - values[..., :, None])
    turn = xp.matmul(rows, g_vectors)
    # Lengths are 1: what would change them is taken off.
    stretch = xp.real(xp.diagonal(turn, 0, -2, -1))[..., None, :]
    turn = turn - xp.matmul(rows, xp.conj(vectors)) * stretch
    turn = xp.divide(turn, gaps)
    middle = xp.where(eye, 0 if g_values is None else g_values[..., None, :], turn)
    return _run(xp, "solve", rows, xp.matmul(middle, rows))


def _eig_forward(xp: Any, x: Any) -> tuple[Any, Any]:
    values, vectors = _run(xp, "eig", x)
    dtype = np.result_type(x.dtype, np.complex64)  # NumPy's are real if there are no others
    return xp.astype(values, dtype), xp.astype(vectors, dtype)


_eig = Primitive("eig", _eig_forward, (_eig_rule,))


def eig(x: Operand, /) -> EigResult:
    """Eigenvalues and eigenvectors of square matrices, in no particular order.

    Parameters
    ----------
    x : Tensor or array of shape (..., n, n)

    Returns
    -------
    EigResult
        ``eigenvalues`` of shape (..., n), and ``eigenvectors`` of shape (..., n, n), whose columns
        have length 1; complex, also where all are real. The gradient of eigenvectors is infinite or
        NaN where eigenvalues are equal, and means something only where the result does not depend
        on the phase of each of them.

    Raises
    ------
    LinAlgError
        If it does not converge; in a backward pass if a matrix has no basis of eigenvectors.
    """
    return EigResult(*_eig(_matrix("eig", x, square=True)))  # type: ignore[misc]


def eigvals(x: Operand, /) -> Tensor:
    """Eigenvalues of square matrices, as those of :func:`eig`."""
    return eig(x).eigenvalues


def _svd_rule(xp: Any, g: Any, out: Any, x: Any, full_matrices: bool) -> Any:
    g_u, g_s, g_vh, *arbitrary = g
    m, n = x.shape[-2:]
    k = min(m, n)
    for name, part in zip(("U", "Vh"), arbitrary, strict=True):
        if part is not None:
            raise GraphError(
                f"linalg.svd: of matrices of shape ({m}, {n}) the gradient of {name} is not "
                "defined, as some of its vectors are arbitrary; use full_matrices=False"
            )
    u, s, vh = _c(xp, out[0]), out[1], _c(xp, out[2])
    row, column = s[..., None, :], s[..., :, None]
    if g_u is None and g_vh is None:
        return xp.matmul(u * g_s[..., None, :], vh)
    eye = raw_like(s, "eye", k, dtype=bool)
    shares = 1 / xp.where(eye, math.inf, (row - column) * (row + column))  # see _eigh_rule
    middle = xp.zeros_like(xp.matmul(_h(xp, u), u))
    on_diagonal = g_s
    if g_u is not None:
        turn = xp.matmul(_h(xp, u), g_u)
        middle = middle + (turn - _h(xp, turn)) * shares * row
        if g_vh is not None and x.dtype.kind == "c":
            phase = 1j * (xp.imag(xp.diagonal(turn, 0, -2, -1)) / s)
            on_diagonal = phase if g_s is None else g_s + phase
    if g_vh is not None:
        turn = xp.matmul(vh, _h(xp, g_vh))
        middle = middle + column * ((turn - _h(xp, turn)) * shares)
    if on_diagonal is not None:
        middle = xp.where(eye, on_diagonal[..., None, :], middle)
    found = xp.matmul(xp.matmul(u, middle), vh)
    if g_u is not None and m > k:
        outside = g_u - xp.matmul(u, xp.matmul(_h(xp, u), g_u))
        found = found + xp.matmul(outside * (1 / row), vh)
    if g_vh is not None and n > k:
        outside = g_vh - xp.matmul(xp.matmul(g_vh, _h(xp, vh)), vh)
        found = found + xp.matmul(u * (1 / row), outside)
    return found


def _svd_forward(xp: Any, x: Any, full_matrices: bool) -> tuple[Any, ...]:
    """The decomposition, and the vectors beyond it that are arbitrary."""
    u, s, vh = _run(xp, "svd", x, full_matrices=full_matrices)
    k = s.shape[-1]
    return u[..., :k], s, vh[..., :k, :], u[..., k:], vh[..., k:, :]


_svd = Primitive("svd", _svd_forward, (_svd_rule,))


def svd(x: Operand, /, *, full_matrices: bool = True) -> SVDResult:
    """Singular value decomposition ``x = U @ diag(S) @ Vh``.

    Parameters
    ----------
    x : Tensor or array of shape (..., m, n)
    full_matrices : bool
        Whether `U` and `Vh` are square; otherwise they have ``k = min(m, n)`` columns or rows.

    Returns
    -------
    SVDResult
        ``U`` of shape (..., m, m or k), ``S`` of shape (..., k) in descending order, ``Vh`` of
        shape (..., n or k, n). The gradients of `U` and `Vh` are infinite or NaN where singular
        values are equal, and mean something only where the result does not depend on the phase of
        each pair of vectors.

    Raises
    ------
    LinAlgError
        If it does not converge.
    GraphError
        In a backward pass through that of `U` and `Vh` which has more than k vectors.
    """
    parts: Any = _svd(_matrix("svd", x), full_matrices=full_matrices)
    u, s, vh, more_u, more_vh = parts
    if more_u.shape[-1]:
        u = concat([u, more_u], axis=-1)
    if more_vh.shape[-2]:
        vh = concat([vh, more_vh], axis=-2)
    return SVDResult(u, s, vh)


def _svdvals_rule(xp: Any, g: Any, _out: Any, x: Any) -> Any:
    u, _, vh = _run(xp, "svd", x, full_matrices=False)
    return xp.matmul(_c(xp, u) * g[..., None, :], _c(xp, vh))


_svdvals = Primitive(
    "svdvals", lambda xp, x: _run(xp, "svd", x, compute_uv=False), (_svdvals_rule,)
)


def svdvals(x: Operand, /) -> Tensor:
    """Singular values of matrices, in descending order, as those of :func:`svd`."""
    return _svdvals(_matrix("svdvals", x))


def _qr_rule(xp: Any, g: Any, out: Any, x: Any, mode: str) -> Any:
    g_q, g_r = g
    given = [part for part in g if part is not None]
    m, n = x.shape[-2:]
    if mode == "complete" and m > n:
        if g_q is not None:
            raise GraphError(
                f"linalg.qr: of matrices of shape ({m}, {n}) the gradient of the complete Q is not "
                "defined, as some of its vectors are arbitrary; use mode='reduced'"
            )
        out, g_r = _run(xp, "qr", x), g_r[..., :n, :]
    q, r = _c(xp, out[0]), _c(xp, out[1])
    rest = None
    if n > m:  # the columns right of the square are Q^H times those of x
        right, r = r[..., m:], r[..., :m]
        rest = xp.zeros_like(right)
        if g_r is not None:
            g_right, g_r = g_r[..., m:], g_r[..., :m]
            rest = xp.matmul(q, g_right)
            turn = xp.matmul(xp.matmul(q, right), _h(xp, g_right))
            g_q = turn if g_q is None else g_q + turn
    middle = 0 if g_r is None else xp.matmul(g_r, _h(xp, r))
    if g_q is not None:
        middle = middle - xp.matmul(_h(xp, q), g_q)
    middle = middle * xp.matrix_transpose(_half_triangle(r))
    found = xp.matmul(q, middle + _h(xp, middle))
    if g_q is not None:
        found = found + g_q
    r, mask = _regular(xp, r, xp.any(xp.equal(xp.diagonal(r, 0, -2, -1), 0), axis=-1))
    left = _h(xp, _triangular(xp, r, _h(xp, found), lower=False))
    left = _irregular(xp, left, mask, *given)
    return left if rest is None else xp.concat([left, rest], axis=-1)


_qr = Primitive("qr", lambda xp, x, mode: tuple(_run(xp, "qr", x, mode=mode)), (_qr_rule,))


def qr(x: Operand, /, *, mode: str = "reduced") -> QRResult:
    """Decomposition ``x = Q @ R`` into orthonormal columns and an upper triangle.

    Parameters
    ----------
    x : Tensor or array of shape (..., m, n)
    mode : {"reduced", "complete"}
        Whether `Q` has ``k = min(m, n)`` columns or m.

    Returns
    -------
    QRResult
        ``Q`` of shape (..., m, k or m) and ``R`` of shape (..., k or m, n). Gradients need the
        first k columns of `x` to be linearly independent: where they are not, a backward pass
        raises LinAlgError for a single matrix, and in a stack gives NaN for it.

    Raises
    ------
    GraphError
        In a backward pass through the complete `Q` of a matrix with more rows than columns.
    ValueError
        For another mode.
    """
    if mode not in ("reduced", "complete"):
        raise ValueError(f"linalg.qr: mode {mode!r} is unknown; allowed are 'reduced', 'complete'")
    return QRResult(*_qr(_matrix("qr", x), mode=mode))  # type: ignore[misc]


# Pseudo-inverse and rank


def _cutoff(s: Any, shape: tuple[int, ...], rtol: Any) -> Any:
    """Below which singular values of matrices of `shape` count as 0."""
    if rtol is None:
        rtol = max(shape[-2:]) * float(np.finfo(s.dtype).eps)
    return rtol[..., None] * s[..., :1] if getattr(rtol, "ndim", 0) else rtol * s[..., :1]


def _raw_tolerance(rtol: Any) -> Any:
    return rtol.array if isinstance(rtol, Tensor) else rtol


def _pinv_forward(xp: Any, x: Any, rtol: Any) -> Any:
    u, s, vh = _run(xp, "svd", x, full_matrices=False)
    counts = s > _cutoff(s, x.shape, rtol)
    inverse = xp.where(counts, 1 / xp.where(counts, s, 1), 0)
    return xp.matmul(_h(xp, vh) * inverse[..., None, :], _h(xp, u))


def _pinv_rule(xp: Any, g: Any, out: Any, x: Any, rtol: Any) -> Any:
    p, x, g = _c(xp, out), _c(xp, x), _h(xp, g)
    ph = _h(xp, p)
    inner = -xp.matmul(xp.matmul(ph, _h(xp, g)), ph)
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
    """
    return _pinv(_matrix("pinv", x), rtol=_raw_tolerance(rtol))


def _rank_forward(xp: Any, x: Any, rtol: Any) -> Any:
    s = _run(xp, "svd", x, compute_uv=False)
    return xp.sum(s > _cutoff(s, x.shape, rtol), axis=-1)


_rank = Primitive("matrix_rank", _rank_forward)


def matrix_rank(x: Operand, /, *, rtol: Operand | None = None) -> Tensor:
    """Number of singular values that do not count as 0, int64; parameters as for :func:`pinv`."""
    return _rank(_matrix("matrix_rank", x), rtol=_raw_tolerance(rtol))


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
    """
    a, b = _matrix("lstsq", a), _floating("lstsq", b)
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


def matrix_power(x: Operand, n: int, /) -> Tensor:
    """Product of `n` times the matrices of shape (..., m, m); their inverse if `n` is negative.

    Raises
    ------
    LinAlgError
        If `n` is negative and :func:`inv` finds a matrix singular.
    """
    x = _matrix("matrix_power", x, square=True)
    n = operator.index(n)
    if n == 0:
        return elementwise.add(zeros_like(x), raw_like(x, "eye", x.shape[-1]))
    if n < 0:
        x, n = inv(x), -n
    found: Tensor | None = None
    while n:
        if n & 1:
            found = x if found is None else matmul(found, x)
        n >>= 1
        x = matmul(x, x) if n else x
    return elementwise.positive(found)


# Of the Padé approximant of degree 13, which is exact to rounding for norms up to 5.37
# (Higham, "The scaling and squaring method for the matrix exponential revisited", 2005).
_PADE = (
    *(64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800),
    *(129060195264000, 10559470521600, 670442572800, 33522128640, 1323241920, 40840800, 960960),
    *(16380, 182, 1),
)


@backend.one_call()
def _expm_forward(xp: Any, x: Any) -> Any:
    if is_narrow(x.dtype):
        raise DTypeError(f"linalg.expm does not take {x.dtype}; convert it: x.astype(gt.float32)")
    if not x.size:
        return x.copy()
    norm = xp.max(xp.sum(xp.abs(x), axis=-2), axis=-1)
    times = xp.where(xp.isfinite(norm), xp.maximum(xp.frexp(norm / 5.37)[1], 0), 0)
    x = x * xp.ldexp(xp.ones_like(norm), -times)[..., None, None]
    powers = [raw_like(x, "eye", x.shape[-1]), xp.matmul(x, x)]
    for _ in range(2):
        powers.append(xp.matmul(powers[-1], powers[1]))

    def half(first: int) -> Any:
        low, high = (
            builtins.sum(map(operator.mul, _PADE[start:stop:2], matrices))
            for start, stop, matrices in (
                (first, first + 8, powers),
                (first + 8, None, powers[1:]),
            )
        )
        return low + xp.matmul(powers[3], high)

    odd, even = xp.matmul(x, half(1)), half(0)
    found = _run(xp, "solve", even - odd, even + odd)
    for i in range(int(backend.to_host(xp.asarray(xp.max(times))))):
        squared = xp.matmul(found, found)
        found = xp.where((times > i)[..., None, None], squared, found)
    return found


def _expm_rule(xp: Any, g: Any, _out: Any, x: Any) -> Any:
    # The exponential of a block matrix holds the derivative of that of its diagonal blocks
    # (Najfeld & Havel, "Derivatives of the matrix exponential and their computation", 1995).
    x, n = xp.matrix_transpose(x), x.shape[-1]
    rows = [xp.concat([x, g], axis=-1), xp.concat([xp.zeros_like(x), x], axis=-1)]
    both = xp.concat(rows, axis=-2)
    both = expm(both) if isinstance(both, Tensor) else _expm_forward(xp, both)
    return both[..., :n, n:]


_expm = Primitive("expm", _expm_forward, (_expm_rule,))


def expm(x: Operand, /) -> Tensor:
    """Exponential of square matrices, ``eye + x + x @ x / 2 + ...``, of shape (..., n, n).

    On CUDA the host waits for the largest norm. Scaling, a Padé approximant and squaring after
    Higham (2005).
    """
    return _expm(_matrix("expm", x, square=True))


# Norms


def _largest(x: Tensor, axis: Axis, keepdims: bool = False) -> Tensor:
    """Largest of the elements, none of which is negative; 0 if there are none."""
    none = 0 in x.shape
    return (statistical.sum if none else statistical.max)(x, axis=axis, keepdims=keepdims)


@backend.one_call()
def _norm_forward(xp: Any, x: Any, axis: Axis, ord: float, keepdims: bool) -> Any:
    size = xp.asarray(xp.abs(widen(xp, x)))
    if ord == 1:
        return narrow(xp, xp.sum(size, axis=axis, keepdims=keepdims), x)
    if ord == 2 and isinstance(size, np.ndarray):
        with np.errstate(over="ignore"):
            square = xp.asarray(xp.sum(size * size, axis=axis, keepdims=keepdims))
        if squares_fit(square):
            return narrow(xp, xp.sqrt(square), x)
    if any_zero(x.shape, axis):
        return narrow(xp, xp.sum(size, axis=axis, keepdims=keepdims) ** (1 / ord), x)
    with np.errstate(over="ignore", divide="ignore"):
        # Of a negative order the smallest number counts most.
        unit = power_of_two(size if ord > 0 else xp.asarray(1 / size), axis, ord)
        unit = unit if ord > 0 else 1 / unit
        size = size * unit
        power = size * size if ord == 2 else size**ord
        found = xp.sum(power, axis=axis, keepdims=True)
        found = (xp.sqrt(found) if ord == 2 else found ** (1 / ord)) / unit
    kept = found.shape
    shape = (
        kept if keepdims else tuple(n for a, n in enumerate(kept) if a not in axes_of(kept, axis))
    )
    return narrow(xp, xp.reshape(found, shape), x)


def _norm_rule(xp: Any, g: Any, out: Any, x: Any, axis: Axis, ord: float, keepdims: bool) -> Any:
    kept, x = kept_shape(x.shape, axis), widen(xp, x)
    g, out = widen(xp, xp.reshape(g, kept)), widen(xp, xp.reshape(out, kept))
    flat = xp.equal(out, 0)
    share = (_c(xp, x) if ord == 2 else xp.abs(x)) / xp.where(flat, 1, out)
    if ord == 2:
        return g * share
    if ord < 2:  # whose slope at an element 0, or the slope of that, is infinite
        share = xp.where(xp.logical_or(flat, xp.equal(x, 0)), 1, share)
        g = xp.where(flat, 0, g)
    return elementwise.abs_rule(xp, g, None, x) * share ** (ord - 1)


_norm = Primitive("vector_norm", _norm_forward, (_norm_rule,))


def vector_norm(
    x: Operand, /, *, axis: Axis = None, keepdims: bool = False, ord: float = 2
) -> Tensor:
    """Norm ``sum(abs(x)**ord)**(1/ord)`` of vectors.

    Parameters
    ----------
    x : Tensor or array
    axis : int, tuple of ints or None
        That the elements of a vector are along; all elements are one vector by default.
    keepdims : bool
        Whether reduced axes stay, with length 1.
    ord : float
        Order; the largest absolute value for infinity, the smallest for ``-inf``, and for 0 the
        number of elements that are not 0.

    Returns
    -------
    Tensor
        Real. Its gradient is 0 at a vector of zeros and, of an order below 1, towards elements that
        are 0. Second derivatives there are 0, too, also those of ``norm(x)**2``, which is smooth:
        write ``sum(x * x)``.
    """
    x, ord = _floating("vector_norm", x), number("linalg.vector_norm", "ord", ord)
    axis = checked_axis("linalg.vector_norm", x, axis)
    if ord == math.inf:
        return _largest(elementwise.abs(x), axis, keepdims)
    if ord == -math.inf:
        return statistical.min(elementwise.abs(x), axis=axis, keepdims=keepdims)
    if ord == 0:
        real = np.empty(0, x.dtype).real.dtype
        return statistical.sum(
            astype(elementwise.not_equal(x, 0), real), axis=axis, keepdims=keepdims
        )
    return _norm(x, axis=axis, ord=ord, keepdims=keepdims)


def matrix_norm(
    x: Operand, /, *, keepdims: bool = False, ord: float | str | None = "fro"
) -> Tensor:
    """Norm of matrices.

    Parameters
    ----------
    x : Tensor or array of shape (..., m, n)
    keepdims : bool
        Whether the result has shape (..., 1, 1) instead of (...).
    ord : {"fro", "nuc", 1, 2, inf, -1, -2, -inf}
        Root of the sum of squares (also for None); sum, largest (2) or smallest (-2) of the
        singular values; largest (1) or smallest (-1) sum of absolute values of a column; the same
        of a row (inf).

    Raises
    ------
    ValueError
        For another `ord`.
    """
    x = _matrix("matrix_norm", x)
    if not isinstance(ord, str) and ord is not None:
        ord = number("linalg.matrix_norm", "ord", ord)
    if ord in ("fro", None):
        return vector_norm(x, axis=(-2, -1), keepdims=keepdims)
    if ord in ("nuc", 2, -2):
        parts = svdvals(x)
    elif ord in (1, -1, math.inf, -math.inf):
        parts = statistical.sum(elementwise.abs(x), axis=-2 if ord in (1, -1) else -1)
    else:
        raise ValueError(
            f"linalg.matrix_norm: ord {ord!r} is unknown; allowed are 'fro', 'nuc', 1, 2, inf, -1, "
            "-2, -inf"
        )
    if ord == "nuc":
        found = statistical.sum(parts, axis=-1)
    else:
        found = _largest(parts, -1) if float(ord) > 0 else statistical.min(parts, axis=-1)
    return reshape(found, (*found.shape, 1, 1)) if keepdims else found


def norm(
    x: Operand, /, ord: float | str | None = None, axis: Axis = None, keepdims: bool = False
) -> Tensor:
    """NumPy's norm: of vectors along one axis, of matrices in two.

    Without `axis` and `ord` it is the norm of all elements as one vector; without `axis` alone `x`
    must be a vector or a matrix. Orders are those of :func:`vector_norm` or :func:`matrix_norm`.

    Raises
    ------
    ShapeError
        If `axis` names more than two axes, or is missing where `x` has more than two.
    """
    x = _floating("norm", x)
    axes = len(x.shape)
    if axis is None and ord is None:
        return vector_norm(x, keepdims=keepdims)
    if axis is None:
        axis = tuple(range(axes))
    axis = checked_axis("linalg.norm", x, axis)
    given = (axis,) if isinstance(axis, int) else tuple(axis)  # type: ignore[arg-type]
    if len(given) == 1:
        return vector_norm(x, axis=given, ord=2 if ord is None else ord, keepdims=keepdims)  # type: ignore[arg-type]
    if len(given) != 2:
        raise ShapeError(
            f"linalg.norm: {len(given)} axes, {axis} of shape {x.shape}, are neither those of a "
            "vector nor of a matrix; give one or two axes"
        )
    places = [a % axes for a in given]
    moved = matrix_norm(
        permute_dims(x, (*(a for a in range(axes) if a not in places), *places)),
        ord="fro" if ord is None else ord,
    )
    return reshape(moved, kept_shape(x.shape, given)) if keepdims else moved


# Products and diagonals


def cross(x1: Operand, x2: Operand, /, *, axis: int = -1) -> Tensor:
    """Cross product of vectors of three elements along `axis`, over other axes that broadcast.

    `axis` is counted in each operand and in the result for itself.

    Raises
    ------
    ShapeError
        If the operands do not have length 3 along `axis`.
    """
    x1, x2 = as_array("linalg.cross", x1), as_array("linalg.cross", x2)
    for x in (x1, x2):
        axis = one_axis("linalg.cross", x, axis)
    if not x1.shape[axis] == x2.shape[axis] == 3:
        raise ShapeError(
            f"linalg.cross: operands of shape {x1.shape}, {x2.shape} must have length 3 along "
            f"axis {axis}"
        )
    if axis == -1:
        return _cross(x1, x2)
    return moveaxis(_cross(*(moveaxis(x, axis, -1) for x in (x1, x2))), -1, axis)


_cross = Primitive(
    "cross",
    lambda xp, x, y: xp.cross(x, y),
    (
        lambda xp, g, _out, _x, y: xp.linalg.cross(y, g),
        lambda xp, g, _out, x, _y: xp.linalg.cross(g, x),
    ),
)


def outer(x1: Operand, x2: Operand, /) -> Tensor:
    """Products of every element of the vector `x1` with every one of the vector `x2`.

    Raises
    ------
    ShapeError
        If an operand has not just one axis.
    """
    x1, x2 = as_array("linalg.outer", x1), as_array("linalg.outer", x2)
    shapes = [getattr(x, "shape", ()) for x in (x1, x2)]
    if any(len(shape) != 1 for shape in shapes):
        raise ShapeError(f"linalg.outer: operands must be vectors, shapes are {shapes}")
    return products.outer(x1, x2)


def diagonal(x: Operand, /, *, offset: int = 0) -> Tensor:
    """View of the elements ``[..., i, i + offset]`` of matrices of shape (..., m, n)."""
    return indexing.diagonal(x, offset, -2, -1)


def trace(x: Operand, /, *, offset: int = 0, dtype: Any = None) -> Tensor:
    """Sum of the elements of :func:`diagonal`; `dtype` is that of the sum."""
    return statistical.sum(diagonal(x, offset=offset), axis=-1, dtype=dtype)
