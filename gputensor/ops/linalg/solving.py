"""Solutions of equations, and inverses."""

from typing import Any

from gputensor.autograd import Operand, Primitive, Tensor
from gputensor.errors import ShapeError
from gputensor.ops import elementwise
from gputensor.ops.linalg.arguments import floating, matrix, run
from gputensor.ops.manipulation import (
    expand_dims,
    matrix_transpose,
)
from gputensor.options import integer


def _solve_rule(xp: Any, needs: Any, g: Any, out: Any, x: Any, _y: Any) -> tuple[Any, Any]:
    part = run(xp, "solve", xp.matrix_transpose(x), g)
    left = None if needs[0] is False else -xp.matmul(part, xp.matrix_transpose(out))
    return left, part


_solve = Primitive("solve", lambda xp, x, y: run(xp, "solve", x, y), _solve_rule)


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

    Examples
    --------
    >>> gt.linalg.solve(gt.tensor([[2.0, 0.0], [0.0, 4.0]]), gt.tensor([1.0, 1.0]))
    tensor([0.5 , 0.25], dtype=float32)
    """
    return _solved("solve", _solve, x1, x2)


def _solved(name: str, primitive: Primitive, a: Operand, b: Operand, **attrs: Any) -> Tensor:
    """Solution for a vector or for matrices `b`, by a primitive that takes matrices."""
    a, b = matrix(name, a, square=True), floating(name, b)
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
    part = triangular(xp, xp.matrix_transpose(x), g, not lower, unit_diagonal)
    if needs[0] is False:
        return None, part
    left = -xp.matmul(part, xp.matrix_transpose(out))
    k = int(unit_diagonal)
    return xp.tril(left, k=-k) if lower else xp.triu(left, k=k), part


def triangular(xp: Any, x: Any, y: Any, lower: bool, unit_diagonal: bool = False) -> Any:
    return run(xp, "solve_triangular", x, y, lower=lower, unit_diagonal=unit_diagonal)


_solve_triangular = Primitive("solve_triangular", triangular, _triangular_rule)

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

    Examples
    --------
    >>> a = gt.tensor([[2.0, 0.0], [1.0, 1.0]])
    >>> gt.linalg.solve_triangular(a, gt.tensor([2.0, 3.0]), lower=True)
    tensor([1., 2.], dtype=float32)
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
        a, lower = matrix_transpose(matrix("solve_triangular", a, square=True)), not lower
        a = elementwise.conj(a) if kind == "C" and a.dtype.kind == "c" else a
    options = {"lower": lower, "unit_diagonal": bool(unit_diagonal)}
    return _solved("solve_triangular", _solve_triangular, a, b, **options)


def _inv_rule(xp: Any, g: Any, out: Any, _x: Any) -> Any:
    transposed = xp.matrix_transpose(out)
    return -xp.matmul(xp.matmul(transposed, g), transposed)


_inv = Primitive("inv", lambda xp, x: run(xp, "inv", x), (_inv_rule,))


def inv(x: Operand, /) -> Tensor:
    """Inverse of matrices of shape (..., n, n).

    Raises
    ------
    LinAlgError
        If a pivot of a matrix is exactly 0. Rounding may hide that a matrix is singular: then the
        elements of the result are of the size of ``1 / eps``.
    ShapeError
        If they are not square.

    Examples
    --------
    >>> gt.linalg.inv(gt.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5 , 0.  ],
            [0.  , 0.25]], dtype=float32)
    """
    return _inv(matrix("inv", x, square=True))
