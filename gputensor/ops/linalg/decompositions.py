"""Decompositions of matrices."""

import math
from typing import Any, NamedTuple

import numpy as np

from gputensor.autograd import Operand, Primitive, Tensor
from gputensor.errors import GraphError
from gputensor.ops import elementwise
from gputensor.ops.creation import raw_like
from gputensor.ops.linalg.arguments import (
    adjoint,
    conjugate,
    half_triangle,
    irregular,
    made_regular,
    matrix,
    run,
)
from gputensor.ops.linalg.solving import triangular
from gputensor.ops.manipulation import (
    concat,
    matrix_transpose,
)


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


class SVDResult(NamedTuple):
    """What :func:`svd` returns."""

    U: Tensor
    S: Tensor
    Vh: Tensor


def _cholesky_rule(xp: Any, g: Any, out: Any, _x: Any) -> Any:
    lower = conjugate(xp, out)
    upper = adjoint(xp, lower)
    middle = xp.matmul(upper, g) * half_triangle(g)
    left = triangular(xp, upper, middle, lower=False)
    both = triangular(xp, upper, adjoint(xp, left), lower=False)
    return 0.5 * (both + adjoint(xp, both))


_cholesky = Primitive("cholesky", lambda xp, x: run(xp, "cholesky", x), (_cholesky_rule,))


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

    Examples
    --------
    >>> gt.linalg.cholesky(gt.tensor([[4.0, 2.0], [2.0, 5.0]]))
    tensor([[2., 0.],
            [1., 2.]], dtype=float32)
    """
    lower = _cholesky(matrix("cholesky", x, square=True))
    if not upper:
        return lower
    return matrix_transpose(elementwise.conj(lower) if lower.dtype.kind == "c" else lower)


def _eigh_rule(xp: Any, g: Any, out: Any, _x: Any) -> Any:
    g_values, g_vectors = g
    values, vectors = out[0], conjugate(xp, out[1])
    if g_vectors is None:  # no differences, which are 0 where eigenvalues are equal
        return xp.matmul(vectors * g_values[..., None, :], adjoint(xp, vectors))
    eye = raw_like(values, "eye", values.shape[-1], dtype=bool)
    # Reciprocals of real numbers: the quotient of a complex number by infinity is NaN on CUDA.
    shares = 1 / xp.where(eye, math.inf, values[..., None, :] - values[..., :, None])
    middle = xp.matmul(adjoint(xp, vectors), g_vectors) * shares
    if g_values is not None:
        middle = xp.where(eye, g_values[..., None, :], middle)
    found = xp.matmul(xp.matmul(vectors, middle), adjoint(xp, vectors))
    return 0.5 * (found + adjoint(xp, found))


_eigh = Primitive("eigh", lambda xp, x: tuple(run(xp, "eigh", x)), (_eigh_rule,))


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

    Examples
    --------
    >>> gt.linalg.eigh(gt.tensor([[2.0, 1.0], [1.0, 2.0]])).eigenvalues
    tensor([1., 3.], dtype=float32)
    """
    return EighResult(*_eigh(matrix("eigh", x, square=True)))


def _eigvalsh_rule(xp: Any, g: Any, _out: Any, x: Any) -> Any:
    vectors = conjugate(xp, run(xp, "eigh", x)[1])
    return xp.matmul(vectors * g[..., None, :], adjoint(xp, vectors))


_eigvalsh = Primitive("eigvalsh", lambda xp, x: run(xp, "eigvalsh", x), (_eigvalsh_rule,))


def eigvalsh(x: Operand, /) -> Tensor:
    """Eigenvalues of symmetric or Hermitian matrices, as those of :func:`eigh`.

    Examples
    --------
    >>> gt.linalg.eigvalsh(gt.tensor([[2.0, 1.0], [1.0, 2.0]]))
    tensor([1., 3.], dtype=float32)
    """
    return _eigvalsh(matrix("eigvalsh", x, square=True))


def _eig_rule(xp: Any, g: Any, out: Any, _x: Any) -> Any:
    g_values, g_vectors = g
    values, vectors = out
    rows = xp.matrix_transpose(vectors)
    if g_vectors is None:  # no differences, which are 0 where eigenvalues are equal
        return run(xp, "solve", rows, g_values[..., :, None] * rows)
    eye = raw_like(values, "eye", values.shape[-1], dtype=bool)
    gaps = xp.where(eye, 1, values[..., None, :] - values[..., :, None])
    turn = xp.matmul(rows, g_vectors)
    # Lengths are 1: what would change them is taken off.
    stretch = xp.real(xp.diagonal(turn, 0, -2, -1))[..., None, :]
    turn = turn - xp.matmul(rows, xp.conj(vectors)) * stretch
    turn = xp.divide(turn, gaps)
    middle = xp.where(eye, 0 if g_values is None else g_values[..., None, :], turn)
    return run(xp, "solve", rows, xp.matmul(middle, rows))


def _eig_forward(xp: Any, x: Any) -> tuple[Any, Any]:
    values, vectors = run(xp, "eig", x)
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

    Examples
    --------
    >>> gt.linalg.eig(gt.tensor([[2.0, 0.0], [0.0, 3.0]])).eigenvalues
    tensor([2.+0.j, 3.+0.j], dtype=complex64)
    """
    return EigResult(*_eig(matrix("eig", x, square=True)))


def eigvals(x: Operand, /) -> Tensor:
    """Eigenvalues of square matrices, as those of :func:`eig`.

    Examples
    --------
    >>> gt.linalg.eigvals(gt.tensor([[0.0, 1.0], [-1.0, 0.0]])).shape
    (2,)
    """
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
    u, s, vh = conjugate(xp, out[0]), out[1], conjugate(xp, out[2])
    row, column = s[..., None, :], s[..., :, None]
    if g_u is None and g_vh is None:
        return xp.matmul(u * g_s[..., None, :], vh)
    eye = raw_like(s, "eye", k, dtype=bool)
    shares = 1 / xp.where(eye, math.inf, (row - column) * (row + column))  # see _eigh_rule
    middle = xp.zeros_like(xp.matmul(adjoint(xp, u), u))
    on_diagonal = g_s
    if g_u is not None:
        turn = xp.matmul(adjoint(xp, u), g_u)
        middle = middle + (turn - adjoint(xp, turn)) * shares * row
        if g_vh is not None and x.dtype.kind == "c":
            phase = 1j * (xp.imag(xp.diagonal(turn, 0, -2, -1)) / s)
            on_diagonal = phase if g_s is None else g_s + phase
    if g_vh is not None:
        turn = xp.matmul(vh, adjoint(xp, g_vh))
        middle = middle + column * ((turn - adjoint(xp, turn)) * shares)
    if on_diagonal is not None:
        middle = xp.where(eye, on_diagonal[..., None, :], middle)
    found = xp.matmul(xp.matmul(u, middle), vh)
    if g_u is not None and m > k:
        outside = g_u - xp.matmul(u, xp.matmul(adjoint(xp, u), g_u))
        found = found + xp.matmul(outside * (1 / row), vh)
    if g_vh is not None and n > k:
        outside = g_vh - xp.matmul(xp.matmul(g_vh, adjoint(xp, vh)), vh)
        found = found + xp.matmul(u * (1 / row), outside)
    return found


def _svd_forward(xp: Any, x: Any, full_matrices: bool) -> tuple[Any, ...]:
    """The decomposition, and the vectors beyond it that are arbitrary."""
    u, s, vh = run(xp, "svd", x, full_matrices=full_matrices)
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

    Examples
    --------
    >>> gt.linalg.svd(gt.tensor([[3.0, 0.0], [0.0, 4.0]])).S
    tensor([4., 3.], dtype=float32)
    """
    parts: Any = _svd(matrix("svd", x), full_matrices=full_matrices)
    u, s, vh, more_u, more_vh = parts
    if more_u.shape[-1]:
        u = concat([u, more_u], axis=-1)
    if more_vh.shape[-2]:
        vh = concat([vh, more_vh], axis=-2)
    return SVDResult(u, s, vh)


def _svdvals_rule(xp: Any, g: Any, _out: Any, x: Any) -> Any:
    u, _, vh = run(xp, "svd", x, full_matrices=False)
    return xp.matmul(conjugate(xp, u) * g[..., None, :], conjugate(xp, vh))


_svdvals = Primitive("svdvals", lambda xp, x: run(xp, "svd", x, compute_uv=False), (_svdvals_rule,))


def svdvals(x: Operand, /) -> Tensor:
    """Singular values of matrices, in descending order, as those of :func:`svd`.

    Examples
    --------
    >>> gt.linalg.svdvals(gt.tensor([[3.0, 0.0], [0.0, 4.0]]))
    tensor([4., 3.], dtype=float32)
    """
    return _svdvals(matrix("svdvals", x))


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
        out, g_r = run(xp, "qr", x), g_r[..., :n, :]
    q, r = conjugate(xp, out[0]), conjugate(xp, out[1])
    rest = None
    if n > m:  # the columns right of the square are Q^H times those of x
        right, r = r[..., m:], r[..., :m]
        rest = xp.zeros_like(right)
        if g_r is not None:
            g_right, g_r = g_r[..., m:], g_r[..., :m]
            rest = xp.matmul(q, g_right)
            turn = xp.matmul(xp.matmul(q, right), adjoint(xp, g_right))
            g_q = turn if g_q is None else g_q + turn
    middle = 0 if g_r is None else xp.matmul(g_r, adjoint(xp, r))
    if g_q is not None:
        middle = middle - xp.matmul(adjoint(xp, q), g_q)
    middle = middle * xp.matrix_transpose(half_triangle(r))
    found = xp.matmul(q, middle + adjoint(xp, middle))
    if g_q is not None:
        found = found + g_q
    r, mask = made_regular(xp, r, xp.any(xp.equal(xp.diagonal(r, 0, -2, -1), 0), axis=-1))
    left = adjoint(xp, triangular(xp, r, adjoint(xp, found), lower=False))
    left = irregular(xp, left, mask, *given)
    return left if rest is None else xp.concat([left, rest], axis=-1)


_qr = Primitive("qr", lambda xp, x, mode: tuple(run(xp, "qr", x, mode=mode)), (_qr_rule,))


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

    Examples
    --------
    >>> q, r = gt.linalg.qr(gt.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> gt.allclose(q @ r, gt.tensor([[1.0, 2.0], [3.0, 4.0]]), atol=1e-5)
    True
    """
    if mode not in ("reduced", "complete"):
        raise ValueError(f"linalg.qr: mode {mode!r} is unknown; allowed are 'reduced', 'complete'")
    return QRResult(*_qr(matrix("qr", x), mode=mode))
