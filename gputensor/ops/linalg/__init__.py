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

from gputensor.ops.linalg.decompositions import (
    cholesky,
    eig,
    eigh,
    eigvals,
    eigvalsh,
    qr,
    svd,
    svdvals,
)
from gputensor.ops.linalg.determinants import det, slogdet
from gputensor.ops.linalg.functions import (
    cross,
    diagonal,
    expm,
    matrix_norm,
    matrix_power,
    norm,
    outer,
    trace,
    vector_norm,
)
from gputensor.ops.linalg.least_squares import lstsq, matrix_rank, pinv
from gputensor.ops.linalg.solving import inv, solve, solve_triangular
from gputensor.ops.manipulation import matrix_transpose
from gputensor.ops.products import matmul, tensordot, vecdot

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
