"""What the functions share: checks of operands, errors with their names, triangles."""

import functools
import math
from typing import Any

import numpy as np

from gputensor.autograd import Operand, as_array
from gputensor.errors import DTypeError, LinAlgError, ShapeError
from gputensor.ops.creation import raw_like
from gputensor.ops.data_type import astype, float64
from gputensor.ops.precision import widened

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


def run(xp: Any, name: str, *args: Any, **options: Any) -> Any:
    """A function of the namespace's ``linalg``, whose failure becomes an error that says why."""
    if any(a.dtype.kind == "V" for a in args):  # which NumPy would take for float64
        raise DTypeError(
            f"linalg.{name} does not take bfloat16; convert it first: x.astype(gt.float32)"
        )
    try:
        return getattr(xp.linalg, name)(*args, **options)
    except np.linalg.LinAlgError as error:
        raise LinAlgError(f"linalg.{name}: {_FAILURES.get(name, error)}") from None


def matrix(name: str, x: Operand, square: bool = False) -> Operand:
    """The operand, floating point, if it is a matrix or a stack of them.

    Raises
    ------
    ShapeError
        Otherwise.
    """
    x = floating(name, x)
    shape = x.shape
    if len(shape) < 2 or (square and shape[-1] != shape[-2]):
        form = "(..., n, n)" if square else "(..., m, n)"
        raise ShapeError(f"linalg.{name}: x must have shape {form}, its shape is {shape}")
    return x


def floating(name: str, x: Operand) -> Operand:
    """The operand as an array of floating point numbers."""
    x = widened(as_array(f"linalg.{name}", x))
    dtype = getattr(x, "dtype", None)
    return astype(x, float64) if dtype is None or dtype.kind in "biu" else x


def conjugate(xp: Any, x: Any) -> Any:
    """Complex conjugate; without a copy of what is real."""
    return xp.conj(x) if x.dtype.kind == "c" else x


def adjoint(xp: Any, x: Any) -> Any:
    """Conjugate transpose."""
    return conjugate(xp, xp.matrix_transpose(x))


def half_triangle(x: Any) -> Any:
    """Ones below the diagonal of a matrix of the last length of `x`, halves on it, zeros above."""
    n = x.shape[-1]
    return raw_like(x, "tri", n) - 0.5 * raw_like(x, "eye", n)


def made_regular(xp: Any, x: Any, singular: Any) -> tuple[Any, Any]:
    """Matrices of a stack, the identity in the place of singular ones, and their mask.

    So that one of them does not stop the others. A single matrix is left to raise the error.
    """
    if len(x.shape) == 2:
        return x, None
    mask = singular[..., None, None]
    return xp.where(mask, raw_like(x, "eye", x.shape[-1]), x), mask


def irregular(xp: Any, found: Any, mask: Any, *gradients: Any) -> Any:
    """Gradients of a stack, NaN for singular matrices unless those of their results are 0."""
    if mask is None:
        return found
    asked = [xp.any(xp.not_equal(g, 0), axis=(-2, -1), keepdims=True) for g in gradients]
    return xp.where(mask, xp.where(functools.reduce(xp.logical_or, asked), math.nan, 0.0), found)
