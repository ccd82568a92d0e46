"""Norms, products and functions of matrices."""

import builtins
import math
import operator
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Operand, Primitive, Tensor, as_array
from gputensor.backend import is_narrow
from gputensor.errors import DTypeError, ShapeError
from gputensor.kernels.runtime import narrow, power_of_two, squares_fit, widen
from gputensor.ops import choices, elementwise, indexing, products, statistical
from gputensor.ops.axes import Axis, any_zero, axes_of, checked_axis, kept_shape, one_axis
from gputensor.ops.creation import raw_like, zeros_like
from gputensor.ops.data_type import astype
from gputensor.ops.linalg.arguments import conjugate, floating, matrix, run
from gputensor.ops.linalg.decompositions import svdvals
from gputensor.ops.linalg.solving import inv
from gputensor.ops.manipulation import (
    moveaxis,
    permute_dims,
    reshape,
)
from gputensor.ops.products import matmul
from gputensor.options import number


def matrix_power(x: Operand, n: int, /) -> Tensor:
    """Product of `n` times the matrices of shape (..., m, m); their inverse if `n` is negative.

    Raises
    ------
    LinAlgError
        If `n` is negative and :func:`inv` finds a matrix singular.

    Examples
    --------
    >>> gt.linalg.matrix_power(gt.tensor([[1.0, 1.0], [0.0, 1.0]]), 3)
    tensor([[1., 3.],
            [0., 1.]], dtype=float32)
    """
    x = matrix("matrix_power", x, square=True)
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
    found = run(xp, "solve", even - odd, even + odd)
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

    Examples
    --------
    >>> gt.linalg.expm(gt.zeros((2, 2)))
    tensor([[1., 0.],
            [0., 1.]], dtype=float32)
    """
    return _expm(matrix("expm", x, square=True))


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
    share = (conjugate(xp, x) if ord == 2 else xp.abs(x)) / xp.where(flat, 1, out)
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

    Examples
    --------
    >>> gt.linalg.vector_norm(gt.tensor([3.0, -4.0]), ord=1)
    tensor(7., dtype=float32)
    """
    x, ord = floating("vector_norm", x), number("linalg.vector_norm", "ord", ord)
    axis = checked_axis("linalg.vector_norm", x, axis)
    if ord == math.inf:
        return _largest(elementwise.abs(x), axis, keepdims)
    if ord == -math.inf:
        return statistical.min(elementwise.abs(x), axis=axis, keepdims=keepdims)
    if ord == 0:
        real = np.empty(0, x.dtype).real.dtype
        return statistical.sum(astype(choices.not_equal(x, 0), real), axis=axis, keepdims=keepdims)
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

    Examples
    --------
    >>> gt.linalg.matrix_norm(gt.tensor([[3.0, 0.0], [0.0, 4.0]]))
    tensor(5., dtype=float32)
    """
    x = matrix("matrix_norm", x)
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

    Examples
    --------
    >>> gt.linalg.norm(gt.tensor([3.0, 4.0]))
    tensor(5., dtype=float32)
    """
    x = floating("norm", x)
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


def cross(x1: Operand, x2: Operand, /, *, axis: int = -1) -> Tensor:
    """Cross product of vectors of three elements along `axis`, over other axes that broadcast.

    `axis` is counted in each operand and in the result for itself.

    Raises
    ------
    ShapeError
        If the operands do not have length 3 along `axis`.

    Examples
    --------
    >>> gt.linalg.cross(gt.tensor([1, 0, 0]), gt.tensor([0, 1, 0]))
    tensor([0, 0, 1])
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

    Examples
    --------
    >>> gt.linalg.outer(gt.tensor([1, 2]), gt.tensor([3, 4]))
    tensor([[3, 4],
            [6, 8]])
    """
    x1, x2 = as_array("linalg.outer", x1), as_array("linalg.outer", x2)
    shapes = [getattr(x, "shape", ()) for x in (x1, x2)]
    if any(len(shape) != 1 for shape in shapes):
        raise ShapeError(f"linalg.outer: operands must be vectors, shapes are {shapes}")
    return products.outer(x1, x2)


def diagonal(x: Operand, /, *, offset: int = 0) -> Tensor:
    """View of the elements ``[..., i, i + offset]`` of matrices of shape (..., m, n).

    Examples
    --------
    >>> gt.linalg.diagonal(gt.ones((5, 2, 2))).shape
    (5, 2)
    """
    return indexing.diagonal(x, offset, -2, -1)


def trace(x: Operand, /, *, offset: int = 0, dtype: Any = None) -> Tensor:
    """Sum of the elements of :func:`diagonal`; `dtype` is that of the sum.

    Examples
    --------
    >>> gt.linalg.trace(gt.ones((2, 3, 3)))
    tensor([3., 3.], dtype=float32)
    """
    return statistical.sum(diagonal(x, offset=offset), axis=-1, dtype=dtype)
