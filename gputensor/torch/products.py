"""Matrix products and linear algebra, with PyTorch's names and arguments."""

from types import SimpleNamespace
from typing import Any

from gputensor import ops
from gputensor.autograd import Tensor as Engine
from gputensor.errors import ShapeError
from gputensor.ops import linalg as engine
from gputensor.torch.elementwise import METHODS as ELEMENTWISE
from gputensor.torch.tensor import Tensor, ours

__all__ = ["METHODS", "einsum", "linalg"]


def _axes(name: str, x: Any, n: int) -> Any:
    if x.array.ndim != n:
        raise ShapeError(f"{name}: expected {n} axes, the shape is {x.array.shape}")
    return x


def matmul(input: Any, other: Any) -> Any:
    """Matrix product of the last two axes; vectors, too.

    Examples
    --------
    >>> torch.matmul(torch.ones(2, 3), torch.ones(3))
    tensor([3., 3.])
    """
    result = ops.matmul(input, other)
    result.__class__ = Tensor
    return result


def mm(input: Any, mat2: Any) -> Any:
    """Product of two matrices.

    Examples
    --------
    >>> torch.mm(torch.eye(2), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[1., 2.],
            [3., 4.]])
    """
    return ours(ops.matmul(_axes("mm", input, 2), _axes("mm", mat2, 2)))


def bmm(input: Any, mat2: Any) -> Any:
    """Products of matrices, one pair for each place of the first axis.

    Examples
    --------
    >>> torch.bmm(torch.ones(5, 2, 3), torch.ones(5, 3, 4)).shape
    torch.Size([5, 2, 4])
    """
    return ours(ops.matmul(_axes("bmm", input, 3), _axes("bmm", mat2, 3)))


def mv(input: Any, vec: Any) -> Any:
    """Product of a matrix and a vector.

    Examples
    --------
    >>> torch.mv(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1.0, 1.0]))
    tensor([3., 7.])
    """
    return ours(ops.matmul(_axes("mv", input, 2), _axes("mv", vec, 1)))


def dot(input: Any, tensor: Any) -> Any:
    """Sum of the products of two vectors' elements.

    Examples
    --------
    >>> torch.dot(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    tensor(11.)
    """
    return ours(ops.matmul(_axes("dot", input, 1), _axes("dot", tensor, 1)))


def outer(input: Any, vec2: Any) -> Any:
    """Products of all pairs of elements of two vectors.

    Examples
    --------
    >>> torch.outer(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    tensor([[3., 4.],
            [6., 8.]])
    """
    return ours(ops.multiply(ops.expand_dims(input, axis=1), vec2))


def _added(input: Any, product: Any, beta: Any, alpha: Any) -> Any:
    product = product if alpha == 1 else ops.multiply(product, alpha)
    return ELEMENTWISE["add"](product, input if beta == 1 else ops.multiply(input, beta))


def addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """``beta * input + alpha * (mat1 @ mat2)``.

    Examples
    --------
    >>> torch.addmm(torch.ones(2, 2), torch.ones(2, 3), torch.ones(3, 2))
    tensor([[4., 4.],
            [4., 4.]])
    """
    return _added(input, mm(mat1, mat2), beta, alpha)


def addmv(input: Any, mat: Any, vec: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """``beta * input + alpha * (mat @ vec)``.

    Examples
    --------
    >>> torch.addmv(torch.ones(2), torch.ones(2, 3), torch.ones(3))
    tensor([4., 4.])
    """
    return _added(input, mv(mat, vec), beta, alpha)


def baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """``beta * input + alpha * (batch1 @ batch2)``.

    Examples
    --------
    >>> torch.baddbmm(torch.ones(1, 2, 2), torch.ones(1, 2, 3), torch.ones(1, 3, 2))
    tensor([[[4., 4.],
             [4., 4.]]])
    """
    return _added(input, bmm(batch1, batch2), beta, alpha)


def einsum(equation: Any, *operands: Any) -> Any:
    """Sum of products by letters, ``"ij,jk->ik"``.

    Examples
    --------
    >>> torch.einsum("ij,jk->ik", torch.ones(2, 3), torch.ones(3, 2))
    tensor([[3., 3.],
            [3., 3.]])
    """
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    return ours(ops.einsum(equation, *operands))


def tensordot(a: Any, b: Any, dims: Any = 2) -> Any:
    """Sum of products over several axes.

    Examples
    --------
    >>> torch.tensordot(torch.ones(2, 3, 4), torch.ones(3, 4, 5), dims=2).shape
    torch.Size([2, 5])
    """
    if isinstance(dims, (list, tuple)):
        dims = tuple(tuple(d) if isinstance(d, (list, tuple)) else (d,) for d in dims)
    return ours(ops.tensordot(a, b, axes=dims))


def kron(input: Any, other: Any) -> Any:
    """Kronecker product.

    Examples
    --------
    >>> torch.kron(torch.eye(2), torch.tensor([[1.0, 2.0]]))
    tensor([[1., 2., 0., 0.],
            [0., 0., 1., 2.]])
    """
    return ours(ops.kron(input, other))


def cross(input: Any, other: Any, dim: int = -1) -> Any:
    """Cross product of vectors of three.

    Examples
    --------
    >>> torch.cross(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))
    tensor([0., 0., 1.])
    """
    return ours(engine.cross(input, other, axis=dim))


def trace(input: Any) -> Any:
    """Sum of the diagonal.

    Examples
    --------
    >>> torch.trace(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor(5.)
    """
    return ours(ops.trace(input))


def cdist(x1: Any, x2: Any, p: float = 2.0) -> Any:
    """Distance of each row of `x1` to each row of `x2`.

    Examples
    --------
    >>> torch.cdist(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[5., 1.]])
    """
    difference = ops.subtract(ops.expand_dims(x1, axis=-2), ops.expand_dims(x2, axis=-3))
    return ours(engine.vector_norm(difference, axis=-1, ord=p))


def _door(function: Any) -> Any:
    def called(*args: Any, **options: Any) -> Any:
        if "dim" in options:
            options["axis"] = options.pop("dim")
        if "keepdim" in options:
            options["keepdims"] = options.pop("keepdim")
        return ours(function(*args, **options))

    called.__name__ = called.__qualname__ = function.__name__
    called.__doc__ = function.__doc__
    return called


def _norm(x: Any, ord: Any = None, dim: Any = None, keepdim: bool = False) -> Any:
    """Norm of a vector or matrix; without `ord` that of all elements as a vector.

    Examples
    --------
    >>> torch.linalg.norm(torch.tensor([[3.0, 4.0]]))
    tensor(5.)
    """
    if ord is None:
        ord, pair = 2, False
    else:
        pair = (dim is None and x.array.ndim == 2) or (
            isinstance(dim, (tuple, list)) and len(dim) == 2
        )
    axis = tuple(dim) if isinstance(dim, list) else dim
    if pair:
        pairs = {} if axis is None else {"axis": axis}
        return ours(engine.norm(x, ord, keepdims=keepdim, **pairs))
    return ours(engine.vector_norm(x, axis=axis, ord=ord, keepdims=keepdim))


def _vector_norm(x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False) -> Any:
    """Norm of all elements as a vector, or of the vectors along `dim`.

    Examples
    --------
    >>> torch.linalg.vector_norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]]), dim=1)
    tensor([5., 1.])
    """
    axis = tuple(dim) if isinstance(dim, list) else dim
    return ours(engine.vector_norm(x, axis=axis, ord=ord, keepdims=keepdim))


linalg = SimpleNamespace(
    **{
        name: _door(getattr(engine, name))
        for name in [
            "cholesky",
            "cross",
            "det",
            "diagonal",
            "eig",
            "eigh",
            "eigvals",
            "eigvalsh",
            "inv",
            "lstsq",
            "matmul",
            "matrix_norm",
            "matrix_power",
            "matrix_rank",
            "pinv",
            "qr",
            "slogdet",
            "solve",
            "solve_triangular",
            "svd",
            "svdvals",
            "vecdot",
        ]
    },
    norm=_norm,
    vector_norm=_vector_norm,
)

METHODS: dict[str, Any] = {
    **{
        f.__name__: f
        for f in (*(matmul, mm, bmm, mv, dot, outer, addmm, addmv, baddbmm, kron, cross, trace),)
    },
    "ger": outer,
    "inner": _door(ops.inner),
    "det": linalg.det,
    "inverse": linalg.inv,
    "pinverse": linalg.pinv,
    "matrix_power": linalg.matrix_power,
    "cholesky": linalg.cholesky,
}
FUNCTIONS: dict[str, Any] = {f.__name__: f for f in (einsum, tensordot, cdist)}


def operator(self: Any, other: Any) -> Any:
    """``self @ other``."""
    return matmul(self, other) if isinstance(other, Engine) else NotImplemented
