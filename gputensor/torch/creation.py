"""Making tensors, and random ones, with PyTorch's arguments."""

import math
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from gputensor import backend, config, ops
from gputensor import random as engine_random
from gputensor.autograd import Tensor as Engine
from gputensor.errors import ShapeError
from gputensor.torch.shaping import lengths
from gputensor.torch.tensor import Size, Tensor, as_device, ours

__all__ = ["FUNCTIONS", "METHODS", "Generator"]


class Generator(engine_random.Generator):
    """Stream of random numbers; equal seeds give equal numbers, others than PyTorch's.

    Parameters
    ----------
    device : str or device, optional
        Numbers are drawn where they are needed, whatever is said here.

    Examples
    --------
    >>> torch.rand(3, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([3])
    """

    def __init__(self, device: Any = None) -> None:
        super().__init__(0)

    def manual_seed(self, seed: int) -> Self:
        """Start again from `seed`; negative ones count back from 2**64."""
        super().manual_seed(seed % (1 << 64))
        return self

    def initial_seed(self) -> int:
        """The seed."""
        return self.state[0]


def _generator(generator: Any) -> engine_random.Generator:
    return engine_random.default_generator if generator is None else generator


def manual_seed(seed: int) -> Any:
    """Start the door's random numbers again from `seed`; they are not PyTorch's numbers.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> first = torch.rand(3)
    >>> _ = torch.manual_seed(0)
    >>> torch.equal(first, torch.rand(3))
    True
    """
    return engine_random.manual_seed(int(seed) % (1 << 64))


def seed() -> int:
    """A seed from the operating system, which is set.

    Examples
    --------
    >>> torch.seed() == torch.initial_seed()
    True
    """
    found = engine_random.Generator().state[0]
    engine_random.manual_seed(found)
    return found


def initial_seed() -> int:
    """The seed that the random numbers started from.

    Examples
    --------
    >>> _ = torch.manual_seed(5)
    >>> torch.initial_seed()
    5
    """
    return engine_random.default_generator.state[0]


def get_rng_state() -> Any:
    """Seed and counter of the random numbers, for :func:`set_rng_state`.

    Examples
    --------
    >>> state = torch.get_rng_state()
    >>> first = torch.rand(3)
    >>> torch.set_rng_state(state)
    >>> torch.equal(first, torch.rand(3))
    True
    """
    return engine_random.default_generator.state


def set_rng_state(state: Any) -> None:
    """Go on from a state of :func:`get_rng_state`.

    Examples
    --------
    >>> state = torch.get_rng_state()
    >>> first = torch.rand(3)
    >>> torch.set_rng_state(state)
    >>> torch.equal(first, torch.rand(3))
    True
    """
    engine_random.default_generator.state = state


def _done(x: Engine, requires_grad: bool) -> Any:
    x = ours(x)
    if requires_grad:
        x.requires_grad = True
    return x


def _refuse(name: str, options: dict[str, Any]) -> None:
    """Take what changes nothing here, and refuse the rest."""
    for key in ("layout", "pin_memory", "memory_format", "names"):
        options.pop(key, None)
    if options:
        raise TypeError(f"{name}: {next(iter(options))}= is unknown")


def _shape_of(call: str) -> str:
    """An example of a docstring: a call that gives a tensor of shape (2, 3)."""
    return f"\n\n    Examples\n    --------\n    >>> {call}.shape\n    torch.Size([2, 3])"


def _filled(name: str, engine: Any) -> Callable[..., Any]:
    def function(
        *size: Any,
        dtype: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        **options: Any,
    ) -> Any:
        size = lengths((options.pop("size"),) if "size" in options else size)
        _refuse(name, options)
        made = engine(size, dtype=dtype, device=as_device(device))
        return _done(made, requires_grad)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"{engine.__doc__.splitlines()[0]} ``{name}(2, 3)`` or ``{name}((2, 3))``."
        + _shape_of(f"torch.{name}(2, 3)")
    )
    return function


def _like(name: str, make: Any) -> Callable[..., Any]:
    def function(
        input: Any,
        *,
        dtype: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        **options: Any,
    ) -> Any:
        _refuse(name, options)
        made = make(
            tuple(input.array.shape),
            dtype=input.array.dtype if dtype is None else dtype,
            device=input.device if device is None else as_device(device),
        )
        return _done(made, requires_grad)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"``{name.removesuffix('_like')}`` in the shape and dtype of another tensor."
        + _shape_of(f"torch.{name}(torch.ones(2, 3))")
    )
    return function


def _drawn(name: str, draw: str) -> Callable[..., Any]:
    def make(
        shape: tuple[int, ...], *, dtype: Any = None, device: Any = None, generator: Any = None
    ) -> Engine:
        method = getattr(_generator(generator), draw)
        return method(shape=shape, dtype=dtype, device=device)  # type: ignore[no-any-return]

    def function(
        *size: Any,
        generator: Any = None,
        dtype: Any = None,
        device: Any = None,
        requires_grad: bool = False,
        **options: Any,
    ) -> Any:
        size = lengths((options.pop("size"),) if "size" in options else size)
        _refuse(name, options)
        made = make(size, dtype=dtype, device=as_device(device), generator=generator)
        return _done(made, requires_grad)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = {
        "rand": "Random numbers evenly distributed over ``[0, 1)``.",
        "randn": "Normally distributed random numbers of mean 0 and deviation 1.",
    }[name] + _shape_of(f"torch.{name}(2, 3)")
    function.make = make  # type: ignore[attr-defined]
    return function


rand, randn = _drawn("rand", "uniform"), _drawn("randn", "standard_normal")


def tensor(
    data: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Any:
    """A tensor with a copy of `data`: numbers, lists, arrays, tensors; the dtype is theirs.

    Examples
    --------
    >>> torch.tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    >>> torch.tensor(0.5, requires_grad=True)
    tensor(0.5000, requires_grad=True)
    """
    if isinstance(data, Engine):
        data = data.detach()
    made = ops.tensor(data, dtype=dtype, device=as_device(device))
    return _done(made, requires_grad)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Any:
    """`data` as a tensor, in the same memory where that is possible.

    Examples
    --------
    >>> torch.as_tensor([1.0, 2.0])
    tensor([1., 2.])
    """
    if isinstance(data, Tensor):
        return data.to(device, dtype)
    made = ops.asarray(data, dtype=dtype, device=as_device(device))
    return ours(made.__copy__() if made is data else made)


def asarray(obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Any:
    """:func:`as_tensor`, or a copy.

    Examples
    --------
    >>> torch.asarray([1.0, 2.0])
    tensor([1., 2.])
    """
    made = as_tensor(obj, dtype, device)
    return made.clone() if copy else made


def from_numpy(ndarray: Any) -> Any:
    """A tensor on the CPU in the memory of a NumPy array.

    Examples
    --------
    >>> array = np.zeros(2)
    >>> x = torch.from_numpy(array)
    >>> array[0] = 5
    >>> x
    tensor([5., 0.], dtype=torch.float64)
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"from_numpy: expected a numpy.ndarray, got {type(ndarray).__name__}")
    return ours(ops.asarray(ndarray, device="cpu"))


def full(
    size: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    **options: Any,
) -> Any:
    """One number everywhere; its kind is the dtype's.

    Examples
    --------
    >>> torch.full((2, 2), 0.5)
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """
    _refuse("full", options)
    shape = lengths((size,)) if isinstance(size, (tuple, list)) else (size,)
    made = ops.full(shape, fill_value, dtype=dtype, device=as_device(device))
    return _done(made, requires_grad)


def full_like(
    input: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, **options: Any
) -> Any:
    """``full`` in the shape and dtype of another tensor.

    Examples
    --------
    >>> torch.full_like(torch.zeros(2), 7)
    tensor([7., 7.])
    """
    requires_grad = options.pop("requires_grad", False)
    _refuse("full_like", options)
    return _done(
        ops.full(
            tuple(input.array.shape),
            fill_value,
            dtype=input.array.dtype if dtype is None else dtype,
            device=input.device if device is None else as_device(device),
        ),
        requires_grad,
    )


def arange(
    *bounds: Any,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    **options: Any,
) -> Any:
    """Numbers from `start` (0) up to but without `end`, `step` (1) apart; int64 if all are ints.

    Examples
    --------
    >>> torch.arange(3)
    tensor([0, 1, 2])
    >>> torch.arange(0.0, 1.0, 0.25)
    tensor([0.0000, 0.2500, 0.5000, 0.7500])
    """
    named = {key: options.pop(key) for key in ("start", "end", "step") if key in options}
    _refuse("arange", options)
    first: tuple[Any, ...] = bounds
    if named:
        start, end, step = named.get("start", 0), named.get("end"), named.get("step", 1)
        if len(bounds) == 1:
            start, end = (bounds[0], end) if end is not None else (start, bounds[0])
        elif len(bounds) == 2:
            start, end = bounds
        first = (start, end, step)
    values = [b.item() if isinstance(b, (Engine, np.generic)) else b for b in first]
    if dtype is None and any(isinstance(v, float) for v in values):
        dtype = config.default_dtype()
    made = ops.arange(*values, dtype=dtype, device=as_device(device))
    return _done(made, requires_grad)


def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Any:
    """`steps` numbers from `start` to `end`, both among them, evenly apart.

    Examples
    --------
    >>> torch.linspace(0, 1, 5)
    tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """
    start, end = (v.item() if isinstance(v, Engine) else v for v in (start, end))
    made = ops.linspace(start, end, int(steps), dtype=dtype, device=as_device(device))
    return _done(made, requires_grad)


def logspace(start: Any, end: Any, steps: int, base: float = 10.0, **options: Any) -> Any:
    """Powers of `base` with exponents as of :func:`linspace`.

    Examples
    --------
    >>> torch.logspace(0, 2, 3)
    tensor([  1.,  10., 100.])
    """
    return ours(ops.pow(base, linspace(start, end, steps, **options)))


def eye(
    n: int, m: int | None = None, *, dtype: Any = None, device: Any = None, **options: Any
) -> Any:
    """Ones on the diagonal of a matrix of zeros.

    Examples
    --------
    >>> torch.eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    requires_grad = options.pop("requires_grad", False)
    _refuse("eye", options)
    return _done(ops.eye(n, m, dtype=dtype, device=as_device(device)), requires_grad)


def meshgrid(*tensors: Any, indexing: str = "ij") -> Any:
    """Coordinates of a grid, a tensor for each axis.

    Examples
    --------
    >>> x, y = torch.meshgrid(torch.arange(2), torch.arange(3), indexing="ij")
    >>> y
    tensor([[0, 1, 2],
            [0, 1, 2]])
    """
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    return ours(tuple(ops.meshgrid(*tensors, indexing=indexing)))


def cartesian_prod(*tensors: Any) -> Any:
    """Rows of all combinations.

    Examples
    --------
    >>> torch.cartesian_prod(torch.tensor([1, 2]), torch.tensor([5, 6]))
    tensor([[1, 5],
            [1, 6],
            [2, 5],
            [2, 6]])
    """
    grids = meshgrid(*tensors)
    return ours(ops.stack([ops.flatten(g) for g in grids], axis=1))


def tril_indices(row: int, col: int, offset: int = 0, **options: Any) -> Any:
    """Places of the lower triangle.

    Examples
    --------
    >>> torch.tril_indices(2, 2)
    tensor([[0, 1, 1],
            [0, 0, 1]])
    """
    return tensor(np.stack(np.tril_indices(row, offset, col)), **options)


def triu_indices(row: int, col: int, offset: int = 0, **options: Any) -> Any:
    """Places of the upper triangle.

    Examples
    --------
    >>> torch.triu_indices(2, 2)
    tensor([[0, 0, 1],
            [0, 1, 1]])
    """
    return tensor(np.stack(np.triu_indices(row, offset, col)), **options)


def one_hot(tensor: Any, num_classes: int = -1) -> Any:
    """int64 rows with a 1 at the place that each number names.

    Examples
    --------
    >>> torch.nn.functional.one_hot(torch.tensor([0, 2]), 3)
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    if num_classes == -1:
        num_classes = int(ops.max(tensor).item()) + 1
    classes = ops.arange(num_classes, device=tensor.device)
    return ours(ops.astype(ops.equal(ops.expand_dims(tensor, axis=-1), classes), np.int64))


def randint(*bounds: Any, generator: Any = None, dtype: Any = None, **options: Any) -> Any:
    """Random integers: ``randint(high, size)`` or ``randint(low, high, size)``, `high` left out.

    Examples
    --------
    >>> sorted(set(torch.randint(3, (100,)).tolist()))
    [0, 1, 2]
    """
    values = list(bounds)
    size = options.pop("size") if "size" in options else values.pop()
    if "high" in options:
        values.append(options.pop("high"))
    if "low" in options:
        values.insert(0, options.pop("low"))
    low, high = (0, values[0]) if len(values) == 1 else values
    device, requires_grad = options.pop("device", None), options.pop("requires_grad", False)
    _refuse("randint", options)
    made = _generator(generator).integers(
        int(low), int(high), tuple(size), device=as_device(device)
    )
    return _done(made if dtype is None else ops.astype(made, dtype), requires_grad)


def randint_like(input: Any, *bounds: Any) -> Any:
    """:func:`randint` in the shape and dtype of another tensor.

    Examples
    --------
    >>> torch.randint_like(torch.zeros(2, 3), 5).shape
    torch.Size([2, 3])
    """
    return randint(*bounds, input.array.shape, dtype=input.array.dtype, device=input.device)


def randperm(n: int, *, generator: Any = None, device: Any = None, dtype: Any = None) -> Any:
    """The numbers from 0 to ``n - 1`` in random order.

    Examples
    --------
    >>> sorted(torch.randperm(4).tolist())
    [0, 1, 2, 3]
    """
    made = _generator(generator).permutation(int(n), device=as_device(device))
    return ours(made if dtype is None else ops.astype(made, dtype))


def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Any = None,
    device: Any = None,
    dtype: Any = None,
    requires_grad: bool = False,
) -> Any:
    """Normally distributed numbers of a mean and deviation, which may be tensors.

    Examples
    --------
    >>> torch.normal(0.0, 1.0, (2, 3)).shape
    torch.Size([2, 3])
    """
    made = _generator(generator).normal(
        mean, std, None if size is None else tuple(size), dtype=dtype, device=as_device(device)
    )
    return _done(made.detach(), requires_grad)


def bernoulli(input: Any, p: Any = None, *, generator: Any = None) -> Any:
    """1 with the probability that an element of `input` is, else 0; of its dtype.

    Examples
    --------
    >>> torch.bernoulli(torch.tensor([0.0, 1.0]))
    tensor([0., 1.])
    """
    chance = ops.full(input.array.shape, p, device=input.device) if p is not None else input
    return ours(_generator(generator).bernoulli(chance, dtype=input.array.dtype))


def multinomial(
    input: Any, num_samples: int, replacement: bool = False, *, generator: Any = None
) -> Any:
    """Places drawn with the weights of a vector, or of each row of a matrix.

    Examples
    --------
    >>> torch.multinomial(torch.tensor([0.0, 1.0, 0.0]), 1)
    tensor([1])
    """
    rows = input.detach()
    if rows.array.ndim == 1:
        drawn = _generator(generator).choice(
            len(rows), (num_samples,), replacement, rows, device=input.device
        )
        return ours(drawn)
    if rows.array.ndim != 2:
        raise ShapeError(f"multinomial: weights must have one or two axes, not {rows.shape}")
    return ours(
        ops.stack([multinomial(r, num_samples, replacement, generator=generator) for r in rows])
    )


def _new(make: Any) -> Callable[..., Any]:
    """Method that makes a tensor in the dtype and on the device of another."""

    def method(self: Any, *args: Any, **options: Any) -> Any:
        options.setdefault("dtype", self.array.dtype)
        options.setdefault("device", self.device)
        return make(*args, **options)

    return method


zeros, ones, empty = (_filled(n, getattr(ops, n)) for n in ("zeros", "ones", "empty"))


def new(input: Any, *args: Any) -> Any:
    """A tensor of the dtype and on the device of `input`: of sizes or of data, or empty.

    Examples
    --------
    >>> torch.zeros(2).new([1, 2])
    tensor([1., 2.])
    """
    if len(args) == 1 and not hasattr(args[0], "__index__") and not isinstance(args[0], Size):
        return _new(tensor)(input, args[0])
    return _new(empty)(input, *(args or (0,)))


def resize_(input: Any, *sizes: Any) -> Any:
    """Other lengths, in place; elements that there were not are 0.

    Examples
    --------
    >>> torch.ones(2).resize_(3)
    tensor([1., 1., 0.])
    """
    if input.requires_grad:
        raise RuntimeError("resize_: a tensor that requires a gradient keeps its shape")
    shape = lengths(sizes)
    array = input.array
    with backend.on_device_of(array):
        flat = array.reshape(-1)[: math.prod(shape)]
        made = backend.namespace(array).zeros(shape, array.dtype)
        made.reshape(-1)[: flat.size] = flat
    input.array = made
    return input


def resize_as_(input: Any, other: Any) -> Any:
    """The lengths of another tensor, in place, see :func:`resize_`.

    Examples
    --------
    >>> torch.ones(4).resize_as_(torch.zeros(2, 2)).shape
    torch.Size([2, 2])
    """
    return resize_(input, other.array.shape)


METHODS: dict[str, Any] = {
    "new": new,
    "resize_": resize_,
    "resize_as_": resize_as_,
    "new_zeros": _new(zeros),
    "new_ones": _new(ones),
    "new_empty": _new(empty),
    "new_full": _new(full),
    "new_tensor": _new(tensor),
    "bernoulli": bernoulli,
    "multinomial": multinomial,
}
FUNCTIONS: dict[str, Any] = {
    **{
        f.__name__: f
        for f in (
            *(zeros, ones, empty, rand, randn, tensor, as_tensor, asarray, from_numpy, full),
            *(full_like, arange, linspace, logspace, eye, meshgrid, cartesian_prod, tril_indices),
            *(triu_indices, randint, randint_like, randperm, normal, bernoulli, multinomial),
            *(manual_seed, seed, initial_seed, get_rng_state, set_rng_state),
        )
    },
    "zeros_like": _like("zeros_like", ops.zeros),
    "ones_like": _like("ones_like", ops.ones),
    "empty_like": _like("empty_like", ops.empty),
    "rand_like": _like("rand_like", rand.make),  # type: ignore[attr-defined]
    "randn_like": _like("randn_like", randn.make),  # type: ignore[attr-defined]
}
