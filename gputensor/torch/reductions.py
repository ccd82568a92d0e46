"""Sums, extrema, orders: functions along axes, with ``dim=`` and ``keepdim=``."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gputensor import ops
from gputensor.autograd import Tensor as Engine
from gputensor.errors import DTypeError, ShapeError
from gputensor.ops import linalg
from gputensor.torch.dtypes import floating
from gputensor.torch.tensor import ours

__all__ = ["METHODS"]


class Pair(NamedTuple):
    """Values and their places, as ``max(x, dim)`` returns them."""

    values: Any
    indices: Any


def _axes(dim: Any) -> Any:
    """Axes of ``dim=``; no axes are all."""
    if isinstance(dim, (list, tuple)):
        return tuple(dim) or None
    return dim


def _aliases(dim: Any, keepdim: bool, options: dict[str, Any], name: str) -> tuple[Any, bool]:
    """`dim` and `keepdim`, which PyTorch takes by NumPy's names, too."""
    if options:
        dim = options.pop("axis", dim)
        keepdim = options.pop("keepdims", keepdim)
        if options:
            raise TypeError(
                f"{name}: {next(iter(options))}= is unknown; allowed are dim, keepdim and dtype"
            )
    return _axes(dim), keepdim


def sum(
    input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, **options: Any
) -> Any:
    """Sum over all axes or some; integers and bools add up in int64.

    Examples
    --------
    >>> torch.sum(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), dim=0)
    tensor([4., 6.])
    """
    dim, keepdim = _aliases(dim, keepdim, options, "sum")
    if dtype is None and input.array.dtype.kind in "biu":
        dtype = np.int64
    return ours(ops.sum(input, axis=dim, dtype=dtype, keepdims=keepdim))


def nansum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """:func:`sum` of the elements that are not NaN.

    Examples
    --------
    >>> torch.nansum(torch.tensor([1.0, torch.nan, 2.0]))
    tensor(3.)
    """
    return sum(ops.where(ops.isnan(input), 0, input), dim, keepdim, dtype=dtype)


def _of_floats(name: str, input: Any, dtype: Any = None) -> Any:
    if dtype is not None:
        return ops.astype(input, dtype)
    if input.array.dtype.kind not in "fcV":
        raise DTypeError(
            f"{name}: the tensor is {input.dtype}, which has none; write x.float().{name}(), or "
            "give a floating point dtype"
        )
    return input


def mean(
    input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, **options: Any
) -> Any:
    """Mean over all axes or some, of floating point numbers.

    Examples
    --------
    >>> torch.mean(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), dim=1, keepdim=True)
    tensor([[1.5000],
            [3.5000]])
    """
    dim, keepdim = _aliases(dim, keepdim, options, "mean")
    return ours(ops.mean(_of_floats("mean", input, dtype), axis=dim, keepdims=keepdim))


def prod(
    input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, **options: Any
) -> Any:
    """Product over all axes or one.

    Examples
    --------
    >>> torch.prod(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor(24.)
    """
    dim, keepdim = _aliases(dim, keepdim, options, "prod")
    if dtype is None and input.array.dtype.kind in "biu":
        dtype = np.int64
    return ours(ops.prod(input, axis=dim, dtype=dtype, keepdims=keepdim))


_EXAMPLE = """

    Examples
    --------
    """


def _spread(name: str, engine: Any, about: str, of_three: str) -> Callable[..., Any]:
    def function(
        input: Any,
        dim: Any = None,
        unbiased: bool = True,
        keepdim: bool = False,
        *,
        correction: float | None = None,
        **options: Any,
    ) -> Any:
        if isinstance(dim, bool):  # x.std(False)
            dim, unbiased = None, dim
        dim, keepdim = _aliases(dim, keepdim, options, name)
        freedom = correction if correction is not None else 1 if unbiased else 0
        x = _of_floats(name, input)
        return ours(engine(x, axis=dim, correction=freedom, keepdims=keepdim))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"{about} over all axes or some; by default the sample's, over ``n - 1``.{_EXAMPLE}"
        f">>> torch.{name}(torch.tensor([1.0, 3.0, 5.0]))\n    tensor({of_three})"
    )
    return function


std = _spread("std", ops.std, "Standard deviation", "2.")
var = _spread("var", ops.var, "Variance", "4.")


def var_mean(input: Any, dim: Any = None, **options: Any) -> tuple[Any, Any]:
    """Variance and mean.

    Examples
    --------
    >>> variance, mean = torch.var_mean(torch.tensor([1.0, 2.0, 3.0]))
    >>> variance.item(), mean.item()
    (1.0, 2.0)
    """
    return var(input, dim, **options), mean(input, dim, options.get("keepdim", False))


def std_mean(input: Any, dim: Any = None, **options: Any) -> tuple[Any, Any]:
    """Standard deviation and mean.

    Examples
    --------
    >>> deviation, mean = torch.std_mean(torch.tensor([1.0, 2.0, 3.0]))
    >>> deviation.item(), mean.item()
    (1.0, 2.0)
    """
    return std(input, dim, **options), mean(input, dim, options.get("keepdim", False))


def _chosen(input: Any, places: Any, dim: int, keepdim: bool) -> Pair:
    """The elements at `places`, which keep the axis; the gradient goes to these alone."""
    values = ops.take_along_axis(input, places, axis=dim)
    if not keepdim:
        values, places = ops.squeeze(values, axis=dim), ops.squeeze(places, axis=dim)
    return Pair(ours(values), ours(places))


def _extremum(
    name: str, engine: Any, places: Any, elementwise: Any, of_four: str, places_of_four: list[int]
) -> Callable[..., Any]:
    def function(input: Any, dim: Any = None, keepdim: bool = False, **options: Any) -> Any:
        other = options.pop("other", None)
        if isinstance(dim, Engine) or other is not None:
            from_other = dim if other is None else other
            return ours(elementwise(input, from_other))
        dim, keepdim = _aliases(dim, keepdim, options, name)
        if dim is None:
            return ours(engine(input))
        if not input.array.ndim:
            return Pair(ours(ops.positive(input)), ours(ops.zeros((), dtype=np.int64)))
        return _chosen(input, places(input, axis=dim, keepdims=True), dim, keepdim)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"``{name}(x)``, one element; ``{name}(x, dim)``, a pair of values and indices; "
        f"``{name}(x, y)``, elementwise.{_EXAMPLE}"
        f">>> x = torch.tensor([[1.0, 5.0], [4.0, 2.0]])\n    >>> torch.{name}(x)\n"
        f"    tensor({of_four})\n    >>> torch.{name}(x, 1).indices\n    tensor({places_of_four})"
    )
    return function


max = _extremum("max", ops.max, ops.argmax, ops.maximum, "5.", [1, 0])
min = _extremum("min", ops.min, ops.argmin, ops.minimum, "1.", [0, 1])


def _amount(name: str, engine: Any) -> Callable[..., Any]:
    def function(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
        return ours(engine(input, axis=_axes(dim), keepdims=keepdim))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = engine.__doc__
    return function


def _place(name: str, engine: Any) -> Callable[..., Any]:
    def function(input: Any, dim: Any = None, keepdim: bool = False, **options: Any) -> Any:
        dim, keepdim = _aliases(dim, keepdim, options, name)
        return ours(engine(input, axis=dim, keepdims=keepdim))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = engine.__doc__
    return function


def aminmax(input: Any, *, dim: Any = None, keepdim: bool = False) -> Any:
    """Smallest and largest elements.

    Examples
    --------
    >>> low, high = torch.aminmax(torch.tensor([3.0, 1.0, 2.0]))
    >>> low.item(), high.item()
    (1.0, 3.0)
    """
    return tuple(ours(f(input, axis=dim, keepdims=keepdim)) for f in (ops.min, ops.max))


def median(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The middle element, the lower one of two; with `dim` a pair of values and indices.

    Examples
    --------
    >>> torch.median(torch.tensor([3.0, 1.0, 2.0, 4.0]))
    tensor(2.)
    """
    if dim is None:
        flat = ops.flatten(input)
        order = ops.argsort(flat)
        return ours(flat[order[(len(flat) - 1) // 2]])
    n = input.array.shape[dim]
    order = ops.argsort(input, axis=dim)
    places = ops.take(order, ops.asarray([(n - 1) // 2], device=input.device), axis=dim)
    return _chosen(input, places, dim, keepdim)


def _total(name: str, engine: Any) -> Callable[..., Any]:
    def function(input: Any, dim: Any, *, dtype: Any = None) -> Any:
        if dtype is None and input.array.dtype.kind in "biu":
            dtype = np.int64
        return ours(engine(input, axis=dim, dtype=dtype))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = engine.__doc__
    return function


def logsumexp(input: Any, dim: Any, keepdim: bool = False) -> Any:
    """Logarithm of the sum of exponentials.

    Examples
    --------
    >>> torch.logsumexp(torch.zeros(2, 4), dim=1)
    tensor([1.3863, 1.3863])
    """
    return ours(ops.logsumexp(floating(input), axis=_axes(dim), keepdims=keepdim))


def softmax(input: Any, dim: Any = None, dtype: Any = None, **options: Any) -> Any:
    """Exponentials over their sum along `dim`.

    Examples
    --------
    >>> torch.softmax(torch.tensor([0.0, 1.0]), dim=0)
    tensor([0.2689, 0.7311])
    """
    return _soft(ops.softmax, "softmax", input, dim, dtype, options)


def log_softmax(input: Any, dim: Any = None, dtype: Any = None, **options: Any) -> Any:
    """Logarithm of :func:`softmax`.

    Examples
    --------
    >>> torch.log_softmax(torch.tensor([0.0, 1.0]), dim=0)
    tensor([-1.3133, -0.3133])
    """
    return _soft(ops.log_softmax, "log_softmax", input, dim, dtype, options)


def _soft(engine: Any, name: str, input: Any, dim: Any, dtype: Any, options: dict[str, Any]) -> Any:
    options.pop("_stacklevel", None)
    dim, _ = _aliases(dim, False, options, name)
    x = _of_floats(name, input, dtype)
    if dim is None:  # as PyTorch chooses, with a warning there
        dim = 0 if x.array.ndim in (0, 1, 3) else 1
    return ours(engine(x, axis=dim))


def all(input: Any, dim: Any = None, keepdim: bool = False, **options: Any) -> Any:
    """Whether all elements are true.

    Examples
    --------
    >>> torch.all(torch.tensor([True, False]))
    tensor(False)
    """
    dim, keepdim = _aliases(dim, keepdim, options, "all")
    return ours(ops.all(input, axis=dim, keepdims=keepdim))


def any(input: Any, dim: Any = None, keepdim: bool = False, **options: Any) -> Any:
    """Whether some element is true.

    Examples
    --------
    >>> torch.any(torch.tensor([True, False]))
    tensor(True)
    """
    dim, keepdim = _aliases(dim, keepdim, options, "any")
    return ours(ops.any(input, axis=dim, keepdims=keepdim))


def count_nonzero(input: Any, dim: Any = None) -> Any:
    """Number of elements that are not 0.

    Examples
    --------
    >>> torch.count_nonzero(torch.tensor([0, 3, 4]))
    tensor(2)
    """
    return ours(ops.count_nonzero(input, axis=_axes(dim)))


def norm(input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False) -> Any:
    """Norm of the elements as a vector; `p` is 2 for ``"fro"``.

    Examples
    --------
    >>> torch.norm(torch.tensor([3.0, 4.0]))
    tensor(5.)
    """
    p = 2 if p in ("fro", None) else p
    x = _of_floats("norm", input)
    return ours(linalg.vector_norm(x, axis=_axes(dim), ord=p, keepdims=keepdim))


def sort(input: Any, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Pair:
    """Pair of sorted values and of the indices that they come from.

    Examples
    --------
    >>> values, indices = torch.sort(torch.tensor([3.0, 1.0, 2.0]))
    >>> values, indices
    (tensor([1., 2., 3.]), tensor([1, 2, 0]))
    """
    if not input.array.ndim:
        return Pair(ours(ops.positive(input)), ours(ops.zeros((), dtype=np.int64)))
    places = ops.argsort(input, axis=dim, descending=descending)
    return _chosen(input, places, dim, True)


def argsort(input: Any, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Any:
    """Indices that would sort along `dim`.

    Examples
    --------
    >>> torch.argsort(torch.tensor([3.0, 1.0, 2.0]))
    tensor([1, 2, 0])
    """
    return ours(ops.argsort(input, axis=dim, descending=descending))


def topk(input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Pair:
    """Pair of the `k` largest (or smallest) elements along `dim`, in order, and their indices.

    Examples
    --------
    >>> torch.topk(torch.tensor([3.0, 1.0, 2.0]), 2).values
    tensor([3., 2.])
    """
    found = ops.topk(input, k, axis=dim, largest=largest)
    return Pair(ours(found.values), ours(found.indices))


def kthvalue(input: Any, k: int, dim: int = -1, keepdim: bool = False) -> Pair:
    """Pair of the `k`-th smallest element along `dim`, counted from 1, and its index.

    Examples
    --------
    >>> torch.kthvalue(torch.tensor([3.0, 1.0, 2.0]), 2).values
    tensor(2.)
    """
    n = input.array.shape[dim]
    if not 1 <= k <= n:
        raise ShapeError(f"kthvalue: k is {k}; axis {dim} has {n} elements")
    order = ops.argsort(input, axis=dim)
    places = ops.take(order, ops.asarray([k - 1], device=input.device), axis=dim)
    return _chosen(input, places, dim, keepdim)


def unique(
    input: Any,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: Any = None,
) -> Any:
    """Different elements in order; on demand all elements' places among them, and counts.

    Examples
    --------
    >>> torch.unique(torch.tensor([3, 1, 3]), return_counts=True)
    (tensor([1, 3]), tensor([1, 2]))
    """
    if dim is not None:
        raise ValueError(
            "unique: dim= is not known here; elements of the whole tensor are compared"
        )
    found = ops.unique_all(input)
    parts = [found.values]
    if return_inverse:
        parts.append(found.inverse_indices)
    if return_counts:
        parts.append(found.counts)
    return ours(tuple(parts)) if len(parts) > 1 else ours(parts[0])


def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often each number from 0 on is there, or the sum of its weights.

    Examples
    --------
    >>> torch.bincount(torch.tensor([0, 2, 2]))
    tensor([1, 0, 2])
    """
    return ours(ops.bincount(input, weights=weights, minlength=minlength))


def quantile(input: Any, q: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Quantiles with linear interpolation.

    Examples
    --------
    >>> torch.quantile(torch.tensor([1.0, 2.0, 3.0, 4.0]), 0.5)
    tensor(2.5000)
    """
    return ours(ops.quantile(input, q, axis=dim, keepdims=keepdim))


def dist(input: Any, other: Any, p: float = 2) -> Any:
    """Norm of the difference.

    Examples
    --------
    >>> torch.dist(torch.tensor([0.0, 0.0]), torch.tensor([3.0, 4.0]))
    tensor(5.)
    """
    return norm(ops.subtract(input, other), p)


METHODS: dict[str, Any] = {
    **{
        f.__name__: f
        for f in (
            *(sum, nansum, mean, prod, std, var, max, min, aminmax, median, logsumexp, softmax),
            *(log_softmax, all, any, count_nonzero, norm, sort, argsort, topk, kthvalue, unique),
            *(bincount, quantile, dist),
        )
    },
    "amax": _amount("amax", ops.max),
    "amin": _amount("amin", ops.min),
    "argmax": _place("argmax", ops.argmax),
    "argmin": _place("argmin", ops.argmin),
    "cumsum": _total("cumsum", ops.cumulative_sum),
    "cumprod": _total("cumprod", ops.cumulative_prod),
}
