"""Products: of matrices, by Einstein's convention, and the others of the standard and of NumPy."""

import math
import operator
from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np

from gputensor import backend, blas
from gputensor.autograd import Operand, Primitive, Tensor, as_array
from gputensor.backend import is_narrow
from gputensor.errors import ShapeError
from gputensor.kernels.runtime import narrow, widen
from gputensor.ops.axes import checked_axis, one_axis
from gputensor.ops.creation import raw_like
from gputensor.ops.elementwise import conj, multiply
from gputensor.ops.indexing import diagonal
from gputensor.ops.manipulation import reshape
from gputensor.ops.precision import casting, lowered
from gputensor.ops.statistical import sum
from gputensor.options import integer, ints

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

__all__ = ["dot", "einsum", "inner", "kron", "matmul", "outer", "tensordot", "trace", "vecdot"]

# What rules call as xp.matmul.
backend.CUPY_FUNCTIONS["matmul"] = blas.matmul
vars(backend.NAMESPACES[np.ndarray])["matmul"] = blas.host_matmul


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
        rows = math.prod(x.shape[:-1])
        x = xp.reshape(x, (rows, x.shape[-1]))
        g = xp.reshape(g, (rows, g.shape[-1]))
    return xp.matmul(xp.matrix_transpose(x), g)


_matmul = Primitive("matmul", None, (_matmul_left, _matmul_right)).binary()


def product(xp: Any, x: Any, y: Any, out: Any = None) -> Any:
    """``x @ y``; of 16-bit numbers as cuBLAS has it, added up in float32 and rounded once."""
    if is_narrow(x.dtype) and x.dtype == y.dtype:
        if isinstance(x, Tensor):
            return _narrow_matmul(x, y)
        if backend.on_cpu(x):
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

    Examples
    --------
    >>> gt.matmul(gt.ones((2, 3)), gt.ones((3, 2)))
    tensor([[3., 3.],
            [3., 3.]], dtype=float32)
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


def _alone(xp: Any, term: str, output: str, x: Any) -> Any:
    """Einsum of one operand: diagonals, sums and transposes."""
    if term == output:
        return x
    if len(set(term)) == len(term) == len(output):
        return xp.permute_dims(x, tuple(term.index(c) for c in output))
    return narrow(xp, xp.einsum(f"{term}->{output}", widen(xp, x)), x)


def _reduced(xp: Any, term: str, x: Any, others: dict[str, int]) -> tuple[str, Any]:
    """An operand without what concerns no other: letters of its own, diagonals, broadcast axes.

    `others` has the length of each letter of the other operand and of the output.
    """
    kept = "".join(dict.fromkeys(c for c in term if c in others))
    x = _alone(xp, term, kept, x)
    long = [n != 1 or others[c] == 1 for c, n in zip(kept, x.shape, strict=True)]
    if all(long):
        return kept, x
    shape = tuple(n for n, keep in zip(x.shape, long, strict=True) if keep)
    return "".join(c for c, keep in zip(kept, long, strict=True) if keep), xp.reshape(x, shape)


def _sizes(terms: Sequence[str], arrays: Sequence[Any]) -> dict[str, int]:
    """Length of each letter, where axes of length 1 are repeated as need be."""
    sizes: dict[str, int] = {}
    for term, array in zip(terms, arrays, strict=True):
        for letter, n in zip(term, array.shape, strict=True):
            if n != 1 or letter not in sizes:
                sizes[letter] = n
    return sizes


def _pair(xp: Any, left: str, right: str, output: str, x: Any, y: Any) -> Any:
    """Einsum of two operands: a product of matrices, of stacks of them, or of elements.

    Letters that both operands and the output have count the matrices, those that only both have
    are summed over, and the others are rows or columns.
    """
    here = dict.fromkeys(output, 1)
    sizes = [here | _sizes([right], [y]), here | _sizes([left], [x])]
    left, x = _reduced(xp, left, x, sizes[0])
    right, y = _reduced(xp, right, y, sizes[1])
    shared = set(left) & set(right)
    summed = [c for c in left if c in shared and c not in output]
    stack = [c for c in output if c in shared]
    rows = [c for c in left if c not in shared]
    columns = [c for c in right if c not in shared]
    x = xp.permute_dims(x, tuple(left.index(c) for c in stack + rows + summed))
    y = xp.permute_dims(y, tuple(right.index(c) for c in stack + summed + columns))
    lengths = x.shape[: len(stack)]
    rest = x.shape[len(stack) : len(stack + rows)], y.shape[len(stack + summed) :]
    if summed:
        k = math.prod(x.shape[len(stack + rows) :])
        x = xp.reshape(x, (*lengths, math.prod(rest[0]), k))
        y = xp.reshape(y, (*lengths, k, math.prod(rest[1])))
        out = product(xp, x, y)
    else:
        x = xp.reshape(x, (*lengths, *rest[0], *(1,) * len(columns)))
        y = xp.reshape(y, (*lengths, *(1,) * len(rows), *rest[1]))
        out = xp.multiply(x, y)
    out = xp.reshape(out, (*lengths, *rest[0], *rest[1]))
    return _alone(xp, "".join(stack + rows + columns), output, out)


def _contract(xp: Any, terms: list[str], output: str, *arrays: Any) -> Any:
    """Einsum, two operands at a time."""
    left = list(zip(terms, arrays, strict=True))
    while len(left) > 2:
        shapes = [np.broadcast_to(np.empty(()), a.shape) for _, a in left]
        subscripts = ",".join(term for term, _ in left) + "->" + output
        first = np.einsum_path(subscripts, *shapes, optimize="greedy")[0][1][:2]
        pair = [left.pop(i) for i in sorted(first, reverse=True)]
        others = set(output).union(*(term for term, _ in left))
        (one, x), (two, y) = pair
        target = "".join(dict.fromkeys(c for c in one + two if c in others))
        left.append((target, _pair(xp, one, two, target, x, y)))
    if len(left) == 1:
        return _alone(xp, terms[0], output, arrays[0])
    (one, x), (two, y) = left
    return _pair(xp, one, two, output, x, y)


def _einsum_rule(
    xp: Any, needs: Any, g: Any, _out: Any, *operands: Any, terms: list[str], output: str
) -> list[Any]:
    sizes = _sizes(terms, operands)
    parts: list[Any] = []
    for i, need in enumerate(needs):
        if need is False:
            parts.append(None)
            continue
        inputs = [output, *terms[:i], *terms[i + 1 :]]
        arrays = [g, *operands[:i], *operands[i + 1 :]]
        present = _sizes(inputs, arrays)
        spare = (c for c in map(chr, count(ord("a"))) if c.isalpha() and c not in sizes)
        target = ""
        for letter, n in zip(terms[i], operands[i].shape, strict=True):
            if letter in target:  # a diagonal was read: an identity puts its gradient back there
                other = next(spare)
                inputs.append(letter + other)
                arrays.append(raw_like(g, "eye", sizes[letter]))
                letter = other
            elif (
                letter not in present or present[letter] == 1 != n
            ):  # summed on its own: the gradient repeats along it
                inputs.append(letter)
                arrays.append(raw_like(g, "ones", n))
            target += letter
        parts.append(_contract(xp, inputs, target, *arrays))
    return parts


_einsum = Primitive(
    "einsum",
    lambda xp, *arrays, terms, output: _contract(xp, terms, output, *arrays),
    _einsum_rule,
)


def _check_lengths(
    subscripts: str, terms: Sequence[str], shapes: Sequence[tuple[int, ...]]
) -> None:
    """Refuse axes of different lengths that have the same letter, unless one is repeated.

    Raises
    ------
    ShapeError
    """
    found: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        own: dict[str, int] = {}
        for letter, n in zip(term, shape, strict=True):
            known = own.setdefault(letter, n)
            if known == n != 1:
                known = found.setdefault(letter, n)
            if known != n:
                what = f"letter {letter!r}" if letter in subscripts else "an axis of '...'"
                raise ShapeError(
                    f"einsum: {what} of {subscripts!r} has length {known} and length {n}; the "
                    f"operands have shapes {', '.join(map(str, shapes))}"
                )


def _from_lists(arguments: Sequence[Any]) -> tuple[str, list[Operand]]:
    """Subscripts and operands of NumPy's other form: operands, each with a list of ints."""
    *pairs, last = arguments if len(arguments) % 2 else (*arguments, None)
    operands, lists = pairs[::2], [*pairs[1::2], *([] if last is None else [last])]
    terms = []
    for places in lists:
        if not isinstance(places, (list, tuple)):
            raise TypeError(
                "einsum: give subscripts and operands, or each operand followed by a list of ints, "
                f"got {type(places).__name__}"
            )
        known = {...: "..."}
        try:
            terms.append("".join(known.get(i) or _LETTERS[operator.index(i)] for i in places))
        except IndexError:
            raise ShapeError(
                f"einsum: {places} must hold ints from 0 to {len(_LETTERS) - 1}"
            ) from None
    joined = ",".join(terms[: len(operands)])
    return (joined if last is None else f"{joined}->{terms[-1]}"), operands


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # in the order of NumPy


def einsum(subscripts: Any, /, *operands: Any) -> Tensor:
    """Sum of products by Einstein's convention, as :func:`numpy.einsum`.

    Parameters
    ----------
    subscripts : str
        ``"ij,jk->ik"``; without ``->`` the letters that occur once, in order. ``...`` stands for
        leading axes.
    *operands : Tensor or array
        NumPy's other form is taken, too: ``einsum(x, [0, 1], y, [1, 2], [0, 2])``, each operand
        with a list of numbers for its axes, and one for the result.

    Returns
    -------
    Tensor

    Raises
    ------
    ShapeError
        If the subscripts do not fit the operands.

    Examples
    --------
    >>> x, y = gt.ones((2, 3, 4)), gt.ones((2, 4, 5))
    >>> gt.einsum("bij,bjk->bik", x, y).shape  # a batch of matrix products
    (2, 3, 5)
    """
    if not isinstance(subscripts, str):
        subscripts, operands = _from_lists((subscripts, *operands))  # type: ignore[assignment]
    if not operands:
        raise ShapeError("einsum: there are no operands; give one for each term")
    given = [as_array("einsum", o) for o in operands]
    terms, output = _letters(subscripts, [len(getattr(o, "shape", ())) for o in given])
    if not set(output) <= set("".join(terms)) or len(set(output)) != len(output):
        raise ShapeError(
            f"einsum: the output of {subscripts!r} must name letters of the operands, each once"
        )
    _check_lengths(subscripts, terms, [_shape_of(o) for o in given])
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
        The axes of `x1` and those of `x2`, an int for a single one; ``n`` stands for the last n
        of `x1` and the first n of `x2`, in order.

    Returns
    -------
    Tensor
        The other axes of `x1`, then those of `x2`.

    Raises
    ------
    ShapeError
        If `axes` are not pairs of equal length.

    Examples
    --------
    >>> gt.tensordot(gt.ones((2, 3)), gt.ones((3, 2)), axes=1)
    tensor([[3., 3.],
            [3., 3.]], dtype=float32)
    """
    x1, x2 = as_array("tensordot", x1), as_array("tensordot", x2)
    first, second = _shape_of(x1), _shape_of(x2)
    if isinstance(axes, int) or getattr(axes, "ndim", None) == 0:
        axes = integer("tensordot", "axes", axes)
        if not 0 <= axes <= min(len(first), len(second)):
            raise ShapeError(
                f"tensordot: axes is {axes}; operands of shape {first}, {second} allow 0 to "
                f"{min(len(first), len(second))}"
            )
        axes = (range(len(first) - axes, len(first)), range(axes))
    elif not isinstance(axes, (tuple, list)) or len(axes) != 2:
        raise TypeError(f"tensordot: axes must be an int or a pair of sequences, got {axes!r}")
    left, right = (
        [a % len(shape) for a in checked_axis("tensordot", x, ints("tensordot", "axes", given))]  # type: ignore[union-attr]
        for x, shape, given in zip((x1, x2), (first, second), axes, strict=True)
    )
    if [first[a] for a in left] != [second[a] for a in right]:
        raise ShapeError(
            f"tensordot: axes {left} of shape {first} and {right} of shape {second} must be as "
            "many and as long"
        )
    one = list(_LETTERS[: len(first)])
    two = list(_LETTERS[len(first) : len(first) + len(second)])
    for a, b in zip(left, right, strict=True):
        two[b] = one[a]
    output = [c for c in one if c not in two] + [c for c in two if c not in one]
    return einsum(f"{''.join(one)},{''.join(two)}->{''.join(output)}", x1, x2)


def vecdot(x1: Operand, x2: Operand, /, *, axis: int = -1) -> Tensor:
    """Dot product of vectors, ``sum(conj(x1) * x2, axis)``, over other axes that broadcast.

    `axis` is counted in each operand for itself.

    Raises
    ------
    ShapeError
        If the operands have not the same length along `axis`, or do not broadcast.

    Examples
    --------
    >>> gt.vecdot(gt.ones((2, 3)), gt.ones((2, 3)))
    tensor([3., 3.], dtype=float32)
    """
    x1, x2 = as_array("vecdot", x1), as_array("vecdot", x2)
    for x in (x1, x2):
        axis = one_axis("vecdot", x, axis)
    first, second = _shape_of(x1), _shape_of(x2)
    if first[axis] != second[axis]:
        raise ShapeError(
            f"vecdot: operands of shape {first}, {second} must be as long along axis {axis}"
        )
    if x1.dtype.kind == "c":
        x1 = conj(x1)
    letters = _LETTERS[: max(len(first), len(second)) - 1]
    terms = []
    for shape in (first, second):
        others = letters[len(letters) - len(shape) + 1 :]
        at = axis % len(shape)
        terms.append(f"{others[:at]}Z{others[at:]}")
    return einsum(f"{terms[0]},{terms[1]}->{letters}", x1, x2)


def dot(x1: Operand, x2: Operand, /) -> Tensor:
    """NumPy's dot: of the last axis of `x1` and the last but one of `x2`, or its only one.

    Of numbers it is the product. Complex numbers are not conjugated, see :func:`vecdot`.

    Examples
    --------
    >>> gt.dot(gt.tensor([1, 2]), gt.tensor([3, 4]))
    tensor(11)
    """
    return _contracted("dot", x1, x2, -2)


def inner(x1: Operand, x2: Operand, /) -> Tensor:
    """NumPy's inner: sums of products over the last axes; of numbers the product.

    Examples
    --------
    >>> gt.inner(gt.tensor([1, 2]), gt.tensor([3, 4]))
    tensor(11)
    """
    return _contracted("inner", x1, x2, -1)


def _contracted(name: str, x1: Operand, x2: Operand, axis: int) -> Tensor:
    x1, x2 = as_array(name, x1), as_array(name, x2)
    if not _shape_of(x1) or not _shape_of(x2):
        return multiply(x1, x2)
    return tensordot(x1, x2, axes=((-1,), (axis if len(_shape_of(x2)) > 1 else -1,)))


def outer(x1: Operand, x2: Operand, /) -> Tensor:
    """Products of every element of `x1` with every one of `x2`: shape (x1.size, x2.size).

    Examples
    --------
    >>> gt.outer(gt.tensor([1, 2]), gt.tensor([3, 4]))
    tensor([[3, 4],
            [6, 8]])
    """
    return multiply(reshape(x1, (-1, 1)), reshape(x2, (1, -1)))


def kron(x1: Operand, x2: Operand, /) -> Tensor:
    """Kronecker product: each element of `x1` becomes that element times `x2`.

    Examples
    --------
    >>> gt.kron(gt.eye(2), gt.ones((1, 2)))
    tensor([[1., 1., 0., 0.],
            [0., 0., 1., 1.]], dtype=float32)
    """
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
    """Sum of the elements of :func:`diagonal`; `dtype` is that of the sum.

    Examples
    --------
    >>> gt.trace(gt.eye(3))
    tensor(3., dtype=float32)
    """
    return sum(diagonal(x, offset, axis1, axis2), axis=-1, dtype=dtype)
