"""Linear algebra that NumPy and CuPy have in another form, or not at all."""

import functools
import importlib
import importlib.util
from typing import Any

import numpy as np

from gputensor.backend.layout import in_c_order
from gputensor.backend.modes import Array
from gputensor.backend.waits import wait_for_device

# Stacks of matrices of fewer rows are left to NumPy's LU decomposition, which goes through them
# without Python, and without the threads of SciPy's BLAS, which NumPy's are in the way of.
_SMALL = 128


def host_solve_triangular(a: Array, b: Array, *, lower: bool, unit_diagonal: bool = False) -> Array:
    """Solve for matrices `b` by the lower or the upper triangle of `a`."""
    a, b, dtype = _triangular_operands(np, a, b)
    if a.ndim > 2 and a.shape[-1] < _SMALL:
        part = np.tril(a) if lower else np.triu(a)
        if unit_diagonal:
            part = np.where(np.eye(a.shape[-1], dtype=bool), dtype.type(1), part)
        return np.linalg.solve(part, b)
    lapack = importlib.import_module("scipy.linalg.lapack")
    function = getattr(lapack, {"f": "s", "F": "c", "D": "z"}.get(dtype.char, "d") + "trtrs")
    out = np.empty(b.shape, dtype)
    for i in np.ndindex(b.shape[:-2]) if b.size else ():
        if a[i].flags.f_contiguous:
            out[i], failure = function(a[i], b[i], lower, 0, unit_diagonal)
        else:  # whose transpose needs no copy to become what LAPACK reads
            out[i], failure = function(a[i].T, b[i], not lower, 1, unit_diagonal)
        if failure:
            raise np.linalg.LinAlgError(f"element {failure} of the diagonal is 0")
    return out


def _triangular_operands(xp: Any, a: Array, b: Array) -> tuple[Array, Array, np.dtype[Any]]:
    """Operands of a triangular solve, of one stack and one dtype, which neither library sees to.

    Raises
    ------
    TypeError
        If LAPACK and cuBLAS do not know the dtype.
    """
    dtype = np.result_type(a, b)
    if dtype.char not in "fdFD":
        raise TypeError(f"array type {dtype} is unsupported in linalg")
    a, b = (x.astype(dtype, copy=False) for x in _of_one_stack(xp, a, b))
    return a, b, dtype


def _of_one_stack(xp: Any, a: Array, b: Array) -> list[Array]:
    """Matrices in stacks that broadcast, broadcast."""
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return [
        x if x.shape[:-2] == stack else xp.broadcast_to(x, (*stack, *x.shape[-2:])).copy()
        for x in (a, b)
    ]


class CudaLinalg:
    """CuPy's ``linalg``, which raises where its results are invalid, as NumPy's does.

    To know that, the host waits for the device.
    """

    def __getattr__(self, name: str) -> Any:
        return functools.partial(self._checked, name)

    def _checked(self, name: str, *args: Any, **options: Any) -> Any:
        import cupy
        import cupyx  # type: ignore[import-not-found, unused-ignore]

        wait_for_device(f"linalg.{name}")
        with cupyx.errstate(linalg="raise"):
            found = getattr(cupy.linalg, name)(*args, **options)
        # cuSOLVER's are in Fortran's order.
        return tuple(map(in_c_order, found)) if isinstance(found, tuple) else in_c_order(found)

    def cross(self, a: Array, b: Array) -> Array:
        """Cross product, which cannot fail."""
        import cupy

        return cupy.cross(a, b)

    def solve(self, a: Array, b: Array) -> Array:
        """Solve for matrices `b` in stacks that broadcast, which CuPy's function does not do."""
        import cupy

        return self._checked("solve", *_of_one_stack(cupy, a, b))

    def solve_triangular(
        self, a: Array, b: Array, *, lower: bool, unit_diagonal: bool = False
    ) -> Array:
        """As that of the CPU, which fails where CuPy's divides by 0."""
        cupy, linalg = (importlib.import_module(n) for n in ("cupy", "cupyx.scipy.linalg"))
        a, b, dtype = _triangular_operands(cupy, a, b)
        if not b.size:
            return cupy.empty(b.shape, dtype)
        wait_for_device("linalg.solve_triangular")
        if not unit_diagonal and not bool(cupy.diagonal(a, 0, -2, -1).all()):
            raise np.linalg.LinAlgError("an element of the diagonal is 0")
        found = linalg.solve_triangular(a, b, lower=lower, unit_diagonal=unit_diagonal)
        return in_c_order(found)


def host_qr(x: Array, mode: Any = "reduced") -> tuple[Array, ...]:
    """NumPy's, whose R keeps the order of the axes of `x` in memory."""
    return tuple(map(in_c_order, np.linalg.qr(x, mode)))
