"""Products: of matrices, by Einstein's convention, and the others of the standard and of NumPy."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import count
from string import ascii_letters
from typing import Any

import numpy as np

from gputensor import backend, blas
from gputensor.autograd import Operand, Primitive, Tensor, as_array
from gputensor.errors import ShapeError
from gputensor.kernels.runtime import is_narrow, narrow, widen
from gputensor.ops.axes import checked_axis
from gputensor.ops.elementwise import conj, multiply
from gputensor.ops.indexing import diagonal
from gputensor.ops.manipulation import reshape
from gputensor.ops.precision import casting, lowered
from gputensor.ops.statistical import sum

__all__ = ["dot", "einsum", "inner", "kron", "matmul", "outer", "tensordot", "trace", "vecdot"]

backend.CUPY_FUNCTIONS["matmul"] = blas.matmul  # what rules call as xp.matmul


def _matmul_left(xp: Any, g: Any, _out: Any, _x: Any, y: Any) -> Any:
    if len(y.shape) == 1:
        return (g if len(_x.shape) == 1 else xp.expand_dims(g, -1)) * y
    if len(_x.shape) == 1:
        return xp.matmul(y, xp.expand_dims(g, -1))[..., 0]
    return xp.matmul(g, xp.matrix_transpose(y))


def _matmul_right(xp: Any, g: Any, _out: Any, x: Any, _y: Any) -> Any:
    if len(x.shape) == 1:
        if len(_y.shape) == 1:
            return g * x
        return xp.expand_dims(x, -1) * xp.expand_dims(g, -2)
    if len(_y.shape) == 1:
        return xp.matmul(xp.matrix_transpose(x), xp.expand_dims(g, -1))[..., 0]
    if len(_y.shape) == 2 < len(x.shape):  # one product instead of a batch of them and a sum
        x = xp.reshape(x, (-1, x.shape[-1]))
        g = xp.reshape(g, (-1, g.shape[-1]))
    return xp.matmul(xp.matrix_transpose(x), g)


_matmul = Primitive("matmul", None, (_matmul_left, _matmul_right)).binary()


def product(xp: Any, x: Any, y: Any, out: Any = None) -> Any:
    """``x @ y``; of 16-bit numbers as cuBLAS has it, added up in float32 and rounded once."""
    if is_narrow(x.dtype) and x.dtype == y.dtype:
        if isinstance(x, Tensor):
            return _narrow_matmul(x, y)
        if isinstance(x, np.ndarray):
            wide = np.matmul(x.astype(np.float32), y.astype(np.float32))
            if out is None:
                return wide.astype(x.dtype)
            out[...] = wide
            return out
    return xp.matmul(x, y) if out is None else xp.matmul(x, y, out=out)


class _Products:
    """The namespace `xp` with :func:`product` in the place of its matmul."""

    def __init__(self, xp: Any) -> None:
        self._xp = xp

    def matmul(self, x: Any, y: Any) -> Any:
        return product(self._xp, x, y)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._xp, name)


# Apart from the other, which so goes to NumPy without a look at the dtype.
_narrow_matmul = Primitive(
    "narrow_matmul",
    product,
    (
        lambda xp, g, _out, _x, y: _matmul_left(_Products(xp), g, _out, _x, y),
        lambda xp, g, _out, x, _y: _matmul_right(_Products(xp), g, _out, x, _y),
    ),
).binary()


def matmul(x: Operand, y: Operand, /) -> Tensor:
    """Matrix product ``x @ y``, over leading axes that broadcast.

    Parameters
    ----------
    x : Tensor or array of shape (..., m, k) or (k,)
    y : Tensor or array of shape (..., k, n) or (k,)

    Returns
    -------
    Tensor
        Of shape (..., m, n), without the axis of an operand that has one axis only.

    Raises
    ------
    ShapeError
        If the shapes do not fit, or an operand has no axis.
    """
    if casting.dtype is not None:
        x, y = lowered("matmul", x, y)
        return _narrow_matmul(x, y)
    return _matmul(x, y)


def _letters(subscripts: str, ndims: list[int]) -> tuple[list[str], str]:
    """Operand subscripts and output subscripts with letters in the place of every ellipsis."""
    left, arrow, right = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        raise ShapeError(
            f"einsum: {subscripts!r} names {len(terms)} operands, {len(ndims)} were given"
        )
    used = set(left + right)
    spare = (c for c in map(chr, count(ord("A"))) if c.isalpha() and c not in used)
    longest = max(
        (n - len(t.replace("...", "")) for t, n in zip(terms, ndims, strict=True) if "..." in t),
        default=0,
    )
    dots = "".join(next(spare) for _ in range(longest))
    if not all(c.isalpha() for c in (left + right).replace("...", "").replace(",", "")):
        raise ShapeError(
            f"einsum: subscripts {subscripts!r} may hold letters, commas, '...' and one '->'"
        )
    full = []
    for term, ndim in zip(terms, ndims, strict=True):
        axes = ndim - len(term.replace("...", ""))
        if axes < 0 or (axes and "..." not in term):
            raise ShapeError(
                f"einsum: subscripts {term!r} of {subscripts!r} do not fit an operand with "
                f"{ndim} axes"
            )
        full.append(term.replace("...", dots[len(dots) - axes :]))
    if not arrow:
        times = Counter(c for t in full for c in t)
        right = "..." + "".join(sorted(c for c in times if times[c] == 1 and c not in dots))
    return full, right.replace("...", dots)


def _product(xp: Any, terms: list[str], output: str, x: Any, y: Any) -> Any:
    """Einsum of two operands as one product of matrices, or of stacks of them; None if it is none.

    Letters that both operands and the output have count the matrices, those that both have are
    summed over, and the others are rows or columns.
    """
    left, right = terms
    shared = set(left) & set(right)
    summed = [c for c in left if c in shared and c not in output]
    if (
        not summed
        or len(left) + len(right) != len(set(left)) + len(set(right))  # a diagonal
        or not set(left) ^ set(right) <= set(output)  # summed in one operand alone
        or any(x.shape[left.index(c)] != y.shape[right.index(c)] for c in shared)
    ):
        return None
    stack = [c for c in output if c in shared]
    rows = [c for c in output if c in left and c not in shared]
    columns = [c for c in output if c in right and c not in shared]
    x = xp.permute_dims(x, tuple(left.index(c) for c in stack + rows + summed))
    y = xp.permute_dims(y, tuple(right.index(c) for c in stack + summed + columns))
    lengths, k = x.shape[: len(stack)], math.prod(x.shape[len(stack + rows) :])
    rest = x.shape[len(stack) : len(stack + rows)], y.shape[len(stack + summed) :]
    x = xp.reshape(x, (*lengths, math.prod(rest[0]), k))
    y = xp.reshape(y, (*lengths, k, math.prod(rest[1])))
    out = xp.reshape(product(xp, x, y), (*lengths, *rest[0], *rest[1]))
    found = stack + rows + columns
    return xp.permute_dims(out, tuple(found.index(c) for c in output))


def _contract(xp: Any, terms: list[str], output: str, *arrays: Any, **options: Any) -> Any:
    found = _product(xp, terms, output, *arrays) if len(arrays) == 2 else None
    if found is not None:
        return found
    subscripts = ",".join(terms) + "->" + output
    if any(not is_narrow(a.dtype) for a in arrays):
        return xp.einsum(subscripts, *arrays, **options)
    return narrow(xp, xp.einsum(subscripts, *(widen(xp, a) for a in arrays), **options), arrays[0])


def _einsum_rule(
    xp: Any, needs: Any, g: Any, _out: Any, *operands: Any, terms: list[str], output: str
) -> list[Any]:
    sizes: dict[str, int] = {}
    for term, operand in zip(terms, operands, strict=True):
        for letter, n in zip(term, operand.shape, strict=True):
            sizes[letter] = max(n, sizes.get(letter, 1))
    parts: list[Any] = []
    for i, need in enumerate(needs):
        if need is False:
            parts.append(None)
            continue
        inputs = [output, *terms[:i], *terms[i + 1 :]]
        arrays = [g, *operands[:i], *operands[i + 1 :]]
        present = set("".join(inputs))
        spare = (c for c in map(chr, count(ord("a"))) if c.isalpha() and c not in sizes)
        target = ""
        for letter in terms[i]:
            if letter in target:  # a diagonal was read: an identity puts its gradient back there
                other = next(spare)
                inputs.append(letter + other)
                arrays.append(xp.eye(sizes[letter], dtype=g.dtype))
                letter = other
            elif letter not in present:  # summed on its own: the gradient repeats along it
                inputs.append(letter)
                arrays.append(xp.ones(sizes[letter], dtype=g.dtype))
            target += letter
        parts.append(_contract(xp, inputs, target, *arrays))
    return parts


_einsum = Primitive(
    "einsum",
    lambda xp, *arrays, terms, output: _contract(
        xp, terms, output, *arrays, optimize=len(arrays) > 1
    ),
    _einsum_rule,
)


def einsum(subscripts: str, /, *operands: Operand) -> Tensor:
    """Sum of products by Einstein's convention, as :func:`numpy.einsum`.

    Parameters
    ----------
    subscripts : str
        ``"ij,jk->ik"``; without ``->`` the letters that occur once, in order. ``...`` stands for
        leading axes.
    *operands : Tensor or array

    Returns
    -------
    Tensor

    Raises
    ------
    ShapeError
        If the subscripts do not fit the operands.

    Examples
    --------
    >>> gt.einsum("bij,bjk->bik", x, y)  # a batch of matrix products
    """
    if not isinstance(subscripts, str):
        raise TypeError(f"einsum: subscripts must be a str, got {type(subscripts).__name__}")
    if not operands:
        raise ShapeError("einsum: there are no operands; give one for each term")
    given = [as_array("einsum", o) for o in operands]
    terms, output = _letters(subscripts, [len(getattr(o, "shape", ())) for o in given])
    if not set(output) <= set("".join(terms)) or len(set(output)) != len(output):
        raise ShapeError(
            f"einsum: the output of {subscripts!r} must name letters of the operands, each once"
        )
    if casting.dtype is not None:
        operands = lowered("einsum", *operands)
    return _einsum(*operands, terms=terms, output=output)


def _shape_of(x: Operand) -> tuple[int, ...]:
    shape: tuple[int, ...] = getattr(x, "shape", ())
    return shape


def tensordot(
    x1: Operand, x2: Operand, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2
) -> Tensor:
    """Sum of products over pairs of axes, one of `x1` and one of `x2` each.

    Parameters
    ----------
    x1, x2 : Tensor or array
    axes : int or (sequence of ints, sequence of ints)
        The axes of `x1` and those of `x2`; ``n`` stands for the last n of `x1` and the first n of
        `x2`, in order.

    Returns
    -------
    Tensor
        The other axes of `x1`, then those of `x2`.

    Raises
    ------
    ShapeError
        If `axes` are not pairs of equal length.
    """
    x1, x2 = as_array("tensordot", x1), as_array("tensordot", x2)
    first, second = _shape_of(x1), _shape_of(x2)
    if isinstance(axes, int):
        if not 0 <= axes <= min(len(first), len(second)):
            raise ShapeError(
                f"tensordot: axes is {axes}; operands of shape {first}, {second} allow 0 to "
                f"{min(len(first), len(second))}"
            )
        axes = (range(len(first) - axes, len(first)), range(axes))
    left, right = (
        [a % len(shape) for a in checked_axis("tensordot", x, tuple(given))]  # type: ignore[union-attr]
        for x, shape, given in zip((x1, x2), (first, second), axes, strict=True)
    )
    if [first[a] for a in left] != [second[a] for a in right]:
        raise ShapeError(
            f"tensordot: axes {left} of shape {first} and {right} of shape {second} must be as "
            "many and as long"
        )
    one = list(ascii_letters[: len(first)])
    two = list(ascii_letters[len(first) : len(first) + len(second)])
    for a, b in zip(left, right, strict=True):
        two[b] = one[a]
    output = [c for c in one if c not in two] + [c for c in two if c not in one]
    return einsum(f"{''.join(one)},{''.join(two)}->{''.join(output)}", x1, x2)


def vecdot(x1: Operand, x2: Operand, /, *, axis: int = -1) -> Tensor:
    """Dot product of vectors, ``sum(conj(x1) * x2, axis)``, over other axes that broadcast.

    Raises
    ------
    ShapeError
        If the operands have not the same length along `axis`, or do not broadcast.
    """
    x1, x2 = as_array("vecdot", x1), as_array("vecdot", x2)
    for x in (x1, x2):
        checked_axis("vecdot", x, axis)
    first, second = _shape_of(x1), _shape_of(x2)
    axes = max(len(first), len(second))
    at = axis % axes if axis < 0 else axis  # in the broadcast shape
    letters = ascii_letters[:axes]
    terms = [letters[axes - len(shape) :] for shape in (first, second)]
    lengths = [
        dict(zip(t, shape, strict=True)) for t, shape in zip(terms, (first, second), strict=True)
    ]
    if lengths[0].get(letters[at]) != lengths[1].get(letters[at]):
        raise ShapeError(
            f"vecdot: operands of shape {first}, {second} must be as long along axis {axis}"
        )
    if x1.dtype.kind == "c":
        x1 = conj(x1)
    return einsum(f"{terms[0]},{terms[1]}->{letters[:at]}{letters[at + 1 :]}", x1, x2)


def dot(x1: Operand, x2: Operand, /) -> Tensor:
    """NumPy's dot: of the last axis of `x1` and the last but one of `x2`, or its only one.

    Of numbers it is the product. Complex numbers are not conjugated, see :func:`vecdot`.
    """
    return _contracted("dot", x1, x2, -2)


def inner(x1: Operand, x2: Operand, /) -> Tensor:
    """NumPy's inner: sums of products over the last axes; of numbers the product."""
    return _contracted("inner", x1, x2, -1)


def _contracted(name: str, x1: Operand, x2: Operand, axis: int) -> Tensor:
    x1, x2 = as_array(name, x1), as_array(name, x2)
    if not _shape_of(x1) or not _shape_of(x2):
        return multiply(x1, x2)
    return tensordot(x1, x2, axes=((-1,), (axis if len(_shape_of(x2)) > 1 else -1,)))


def outer(x1: Operand, x2: Operand, /) -> Tensor:
    """Products of every element of `x1` with every one of `x2`: shape (x1.size, x2.size)."""
    return multiply(reshape(x1, (-1, 1)), reshape(x2, (1, -1)))


def kron(x1: Operand, x2: Operand, /) -> Tensor:
    """Kronecker product: each element of `x1` becomes that element times `x2`."""
    x1, x2 = as_array("kron", x1), as_array("kron", x2)
    first, second = _shape_of(x1), _shape_of(x2)
    axes = max(len(first), len(second))
    first, second = ((1,) * (axes - len(s)) + s for s in (first, second))
    spread = multiply(
        reshape(x1, [n for length in first for n in (length, 1)]),
        reshape(x2, [n for length in second for n in (1, length)]),
    )
    return reshape(spread, tuple(a * b for a, b in zip(first, second, strict=True)))


def trace(
    x: Operand, /, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None
) -> Tensor:
    """Sum of the elements of :func:`diagonal`; `dtype` is that of the sum."""
    return sum(diagonal(x, offset, axis1, axis2), axis=-1, dtype=dtype)
