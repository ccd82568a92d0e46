"""Functions of functions: derivatives as values, as in JAX.

All of them run the function on tensors of their own and carry gradients back through the tape, by
:func:`gputensor.autograd.propagate`. That pass is recorded if something else depends on it: an
argument that is on the tape, such as that of an outer transform, or a tensor on the tape that the
function reads from outside.

Arguments may be trees of tensors: tuples, lists and dicts, see :mod:`gputensor.tree`.
"""

import builtins
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import (
    Leaf,
    Node,
    Tensor,
    enable_grad,
    entries_before,
    grad_enabled,
    identity,
    in_transform,
    next_order,
    no_grad,
    owned,
    propagate,
    seed_gradient,
    wrap,
)
from gputensor.errors import DTypeError, GradcheckError, GraphError, ShapeError
from gputensor.ops.creation import asarray, tensor, zeros, zeros_like
from gputensor.ops.data_type import astype
from gputensor.ops.manipulation import concat, reshape, stack
from gputensor.ops.statistical import sum
from gputensor.tree import leaves, map_tree, rebuilt

__all__ = [
    "grad",
    "gradcheck",
    "gradgradcheck",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "value_and_grad",
    "vjp",
]

ArgNums = int | Sequence[int]


def _positions(name: str, argnums: ArgNums, args: Sequence[Any]) -> tuple[int, ...]:
    positions = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for i in positions:
        if not isinstance(i, int) or not -len(args) <= i < len(args):
            raise ValueError(
                f"{name}: argnums names argument {i!r}, but the function was given {len(args)}; "
                "arguments are counted from 0"
            )
    return positions


def _check_function(name: str, function: Any, argnums: Any = 0) -> None:
    """Refuse a value in the place of the function that computes it, as PyTorch's ``grad`` takes."""
    if not callable(function):
        form = {"vjp": "f, x)", "jvp": "f, (x,), (v,))", "hvp": "f, (x,), (v,))"}.get(name, "f)(x)")
        raise TypeError(
            f"{name}: function must be callable, got {type(function).__name__}; write "
            f"gt.{name}({form}. For a loss that is computed already write loss.backward(), and "
            "read x.grad"
        )
    given = argnums if isinstance(argnums, (tuple, list)) else [argnums]
    if any(isinstance(i, Tensor) for i in given):
        raise TypeError(
            f"{name}: argnums says by number which arguments to differentiate by, got a Tensor; "
            f"write gt.{name}(f)(x)"
        )


def _checked_tensor(name: str, what: str, x: Any) -> Tensor:
    given = asarray(x)
    if given.dtype.kind not in "fcV":
        raise DTypeError(f"{name}: {what} is {given.dtype}; only floating point has gradients")
    return given


class _Input(Leaf):
    """Place on the tape of a transform's argument.

    Attributes
    ----------
    open : bool
        Whether gradients by it may be asked for: until the transformed function has returned.
    """

    __slots__ = ("open",)

    def __init__(self, array: backend.Array) -> None:
        super().__init__(array)
        self.open = True


def _close(inputs: Sequence[Tensor]) -> None:
    for x in inputs:
        if isinstance(x._node, _Input):
            x._node.open = False


class _Pullback:
    """A function's result with the tape behind it, through which gradients are carried back.

    Parameters
    ----------
    name : str
        The transform, for errors.
    function : callable
    args : sequence
    positions : tuple of int
        Which of `args` to differentiate by.
    kwargs : dict
    has_aux : bool
        Whether the function returns a pair, of which the second part is passed on.

    Attributes
    ----------
    inputs : list of Tensor
        Leaves of the arguments, each with a place of its own on the tape.
    out : tree of Tensor
        The result, on the tape if somebody else differentiates it, too.
    aux : tree
    nested : bool
        Whether somebody does.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        args: Sequence[Any],
        positions: tuple[int, ...],
        kwargs: dict[str, Any],
        has_aux: bool = False,
    ) -> None:
        self.since = next_order()
        self.inputs: list[Tensor] = []
        recording = grad_enabled()
        arguments = list(args)
        for i in positions:

            def own_place(x: Any, i: int = i) -> Tensor:
                given = _checked_tensor(name, f"argument {i}", x)
                if recording and given.requires_grad:
                    self.inputs.append(identity(given))
                else:
                    self.inputs.append(wrap(given.array, _Input(given.array)))
                return self.inputs[-1]

            arguments[i] = map_tree(own_place, arguments[i])
        with in_transform():
            result = function(*arguments, **kwargs)
        self.aux = None
        if has_aux:
            if not isinstance(result, tuple) or len(result) != 2:
                raise TypeError(f"{name}: with has_aux the function must return a pair")
            result, self.aux = result
        for leaf in leaves(result):
            if not isinstance(leaf, Tensor):
                raise TypeError(
                    f"{name}: the function returned {type(leaf).__name__}, not a Tensor"
                )
        self._entries: list[Any] = [x._node for x in self.inputs]
        self._outs: list[Tensor] = leaves(result)
        own = set(self._entries)
        roots = [t._node for t in self._outs if t._node is not None]
        self.nested = recording and (
            any(isinstance(e, Node) for e in own)
            or any(
                e not in own and getattr(e, "open", True) for e in entries_before(roots, self.since)
            )
        )
        _close(self.inputs)
        self.out = result
        if not self.nested:
            self.out, self.aux = (map_tree(_detached, t) for t in (result, self.aux))

    def __call__(
        self, gradients: Sequence[Tensor], retain: bool = False, own: bool = True
    ) -> list[Tensor]:
        """Gradients of `inputs` from those of the results, which are checked already.

        With `own` no two of them share memory, nor does anything else with one.
        """
        given = [
            (t._node, g) for t, g in zip(self._outs, gradients, strict=True) if t._node is not None
        ]
        record = self.nested or (grad_enabled() and any(g.requires_grad for _, g in given))
        found: dict[Any, Any] = {}
        if given:
            found = propagate(
                [(e, g if record else g.array) for e, g in given],
                self._entries,
                retain_graph=retain,
                create_graph=record,
                since=self.since,
            )
        parts = [owned(found, e) if own else found.get(e) for e in self._entries]
        return [
            zeros_like(x) if g is None else g if isinstance(g, Tensor) else wrap(g)
            for x, g in zip(self.inputs, parts, strict=True)
        ]


def _detached(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


def _as_argument(args: Sequence[Any], argnums: ArgNums, values: Sequence[Any]) -> Any:
    """`values` in the structure of the arguments that `argnums` names."""
    chosen = args[argnums] if isinstance(argnums, int) else tuple(args[i] for i in argnums)
    return rebuilt(chosen, iter(values))


def _fitting(name: str, what: str, like: Any, given: Any) -> list[Tensor]:
    """Leaves of `given`, which must be a tree like `like`, shape by shape.

    Raises
    ------
    ValueError, ShapeError
        If it is not.
    """

    def fit(like: Any, given: Any) -> Tensor:
        x, y = asarray(like), asarray(given)
        if x.shape != y.shape:
            raise ShapeError(f"{name}: {what} has shape {y.shape}, it must be {x.shape}")
        if y.dtype.kind == "c" and x.dtype.kind != "c":
            raise DTypeError(f"{name}: {what} is {y.dtype}, it must be {x.dtype}")
        return y if y.dtype == x.dtype else astype(y, x.dtype)

    try:
        return leaves(map_tree(fit, like, given))
    except ShapeError:
        raise
    except ValueError as error:
        raise ValueError(f"{name}: {what}: {error}") from None


def value_and_grad(
    function: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Function that returns ``(function(...), gradient)``; nests for higher derivatives.

    Parameters
    ----------
    function : callable
        Returns a real tensor of one element.
    argnums : int or sequence of ints
        Positions of the arguments to differentiate by: trees of floating point tensors, arrays
        and numbers.
    has_aux : bool
        Whether `function` returns a pair ``(value, aux)``; then ``((value, aux), gradient)`` is
        returned.

    Returns
    -------
    callable
        The gradient has the structure of the argument; it is a tuple of such if `argnums` is a
        sequence. It is on the tape if the arguments or what the function reads from outside are.

    Raises
    ------
    DTypeError
        If an argument is not of floating point.
    GraphError
        If the result is complex or not of one element.

    Examples
    --------
    >>> gt.grad(gt.grad(gt.sin))(gt.tensor(1.0))  # -sin(1)
    tensor(-0.841471, dtype=float32)
    """

    _check_function("value_and_grad", function, argnums)

    def transformed(*args: Any, **kwargs: Any) -> Any:
        positions = _positions("grad", argnums, args)
        pull = _Pullback("grad", function, args, positions, kwargs, has_aux)
        if not isinstance(pull.out, Tensor):
            raise TypeError(f"grad: the function returned {type(pull.out).__name__}, not a Tensor")
        if pull.out.size != 1:
            raise GraphError(
                f"grad: the function returned shape {pull.out.shape}, and a gradient is that of "
                "one number: reduce it, for example with .sum(), or write gt.jacobian or gt.vjp"
            )
        gradients = pull([wrap(seed_gradient(pull.out, None))])
        value = (pull.out, pull.aux) if has_aux else pull.out
        return value, _as_argument(args, argnums, gradients)

    return transformed


def grad(
    function: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Function that returns the gradient of `function`, or ``(gradient, aux)`` with `has_aux`.

    As :func:`value_and_grad` otherwise.

    Examples
    --------
    >>> gt.grad(gt.sin)(gt.tensor(0.0))
    tensor(1., dtype=float32)
    >>> gt.grad(lambda x, y: x * y, argnums=1)(gt.tensor(3.0), gt.tensor(4.0))
    tensor(3., dtype=float32)
    """
    _check_function("grad", function, argnums)
    both = value_and_grad(function, argnums, has_aux)

    def transformed(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return transformed


def vjp(function: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """``function(*primals)``, and the function that carries gradients back through it.

    Parameters
    ----------
    function : callable
        Returns a tree of tensors.
    *primals
        Trees of floating point tensors.
    has_aux : bool
        Whether `function` returns a pair ``(out, aux)``.

    Returns
    -------
    out : tree of Tensor
    vjp_function : callable
        Takes the gradient of a final result by `out`, a tree like that; returns a tuple with its
        gradient by each of `primals`, of their structure. It may be called many times; the saved
        values are kept as long as it is.
    aux : tree
        With `has_aux`.

    Examples
    --------
    >>> out, pull = gt.vjp(gt.sin, gt.tensor(0.0))
    >>> pull(gt.tensor(2.0))
    (tensor(2., dtype=float32),)
    """
    _check_function("vjp", function)
    pull = _Pullback("vjp", function, primals, tuple(range(len(primals))), {}, has_aux)

    def vjp_function(gradient: Any) -> Any:
        given = _fitting("vjp", "the gradient", pull.out, gradient)
        return rebuilt(primals, iter(pull(given, retain=True)))

    return (pull.out, vjp_function, pull.aux) if has_aux else (pull.out, vjp_function)


def jvp(
    function: Callable[..., Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    has_aux: bool = False,
) -> tuple[Any, ...]:
    """``function(*primals)``, and its derivative there in the direction of `tangents`.

    No primitive has a rule for this: the gradients that :func:`vjp` gives are linear in the one it
    is given, and their derivative by that is what is asked for (Townsend, "A new trick for
    calculating Jacobian vector products", 2017).

    Parameters
    ----------
    function : callable
        Returns a tree of tensors.
    primals : tuple
        Its arguments, trees of floating point tensors.
    tangents : tuple
        A tree like each of `primals`.
    has_aux : bool
        Whether `function` returns a pair ``(out, aux)``.

    Returns
    -------
    out, tangent_out : trees of Tensor
    aux : tree
        With `has_aux`.

    Raises
    ------
    ShapeError, ValueError
        If a tangent does not fit its primal.

    Examples
    --------
    >>> gt.jvp(gt.sin, (gt.tensor(0.0),), (gt.tensor(2.0),))
    (tensor(0., dtype=float32), tensor(2., dtype=float32))
    """
    _check_function("jvp", function)
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise TypeError("jvp: primals and tangents must be tuples, such as (x,) and (v,)")
    pull = _Pullback("jvp", function, primals, tuple(range(len(primals))), {}, has_aux)
    given = _fitting("jvp", "a tangent", tuple(primals), tuple(tangents))
    directions = [wrap(t.array, _Input(t.array)) for t in map(zeros_like, leaves(pull.out))]
    with enable_grad():
        gradients = pull(directions, retain=True, own=False)
    record = grad_enabled() and (pull.nested or any(t.requires_grad for t in given))
    found = propagate(
        [
            (g._node, t if record else t.array)
            for g, t in zip(gradients, given, strict=True)
            if g._node is not None
        ],
        [d._node for d in directions],  # type: ignore[misc]
        create_graph=record,
        since=pull.since,
    )
    _close(directions)
    parts = [owned(found, d._node) for d in directions]  # type: ignore[arg-type]
    pairs = zip(parts, directions, strict=True)
    tangent = rebuilt(pull.out, (d.detach() if part is None else part for part, d in pairs))
    return (pull.out, tangent, pull.aux) if has_aux else (pull.out, tangent)


def jacobian(
    function: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Function that returns the Jacobian of `function`, a backward pass for each of its rows.

    Parameters
    ----------
    function : callable
        Returns a tree of real tensors.
    argnums : int or sequence of ints
        Positions of the arguments to differentiate by: trees of floating point tensors.
    has_aux : bool
        Whether `function` returns a pair ``(out, aux)``; then ``(jacobian, aux)`` is returned.

    Returns
    -------
    callable
        In the place of each tensor of the result there is a tree like the argument, of tensors of
        shape ``result.shape + argument.shape``.

    Raises
    ------
    DTypeError
        If a result is complex: take its real and imaginary parts.

    Examples
    --------
    >>> gt.jacobian(lambda x: x * x)(gt.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]], dtype=float32)
    """

    _check_function("jacobian", function, argnums)

    def transformed(*args: Any, **kwargs: Any) -> Any:
        positions = _positions("jacobian", argnums, args)
        pull = _Pullback("jacobian", function, args, positions, kwargs, has_aux)
        outs: list[Tensor] = leaves(pull.out)
        blocks = []
        left = builtins.sum(out.size for out in outs)
        for k, out in enumerate(outs):
            if out.dtype.kind == "c":
                raise DTypeError(
                    f"jacobian: the result is {out.dtype}; return its real and imaginary parts"
                )
            gradients = [zeros_like(o) for o in outs]
            rows: list[list[Tensor]] = [[] for _ in pull.inputs]
            for i in range(out.size):
                gradients[k] = zeros_like(out)
                gradients[k].array.reshape(-1)[i] = 1
                left -= 1
                for row, g in zip(rows, pull(gradients, left > 0, own=False), strict=True):
                    row.append(g)
            columns = [
                reshape(stack(row), (*out.shape, *x.shape)) if row else _nothing(out, x)
                for row, x in zip(rows, pull.inputs, strict=True)
            ]
            blocks.append(_as_argument(args, argnums, columns))
        result = rebuilt(pull.out, iter(blocks))
        return (result, pull.aux) if has_aux else result

    return transformed


def _nothing(out: Tensor, x: Tensor) -> Tensor:
    return zeros((*out.shape, *x.shape), dtype=x.dtype, device=x.device)


def hessian(
    function: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Function that returns the second derivatives: the :func:`jacobian` of :func:`grad`.

    Of a function of one tensor they have shape ``x.shape + x.shape``; of trees there is such a
    block for each pair of leaves.

    Where a function is made of parts with a kink, such as ``norm(x)**2`` at 0, they are what the
    parts' own derivatives there make of them (0), although the whole is smooth.

    Examples
    --------
    >>> gt.hessian(lambda x: (x**3).sum())(gt.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]], dtype=float32)
    """
    _check_function("hessian", function, argnums)
    return jacobian(grad(function, argnums, has_aux), argnums, has_aux)


def hvp(function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """Product of the Hessian of `function` at `primals` with `tangents`, without the Hessian.

    It is the gradient of the inner product of gradient and tangents (Pearlmutter, "Fast exact
    multiplication by the Hessian", 1994), at a cost of a few evaluations of `function`.

    Parameters
    ----------
    function : callable
        Returns a real tensor of one element.
    primals : tuple
        Its arguments, trees of real tensors.
    tangents : tuple
        A tree like each of `primals`.

    Returns
    -------
    tuple
        A tree like each of `primals`.

    Examples
    --------
    >>> gt.hvp(lambda x: (x**3).sum(), (gt.tensor([1.0, 2.0]),), (gt.ones(2),))
    (tensor([ 6., 12.], dtype=float32),)
    """
    _check_function("hvp", function)
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise TypeError("hvp: primals and tangents must be tuples, such as (x,) and (v,)")
    every = tuple(range(len(primals)))
    given = _fitting("hvp", "a tangent", tuple(primals), tuple(tangents))
    if any(t.dtype.kind == "c" for t in given):
        raise DTypeError("hvp: primals must be real")

    def slope(*args: Any) -> Tensor:
        gradients = leaves(grad(function, every)(*args))
        return stack([sum(g * t) for g, t in zip(gradients, given, strict=True)]).sum()

    return grad(slope, every)(*primals)


def gradcheck(
    function: Callable[..., Tensor],
    *inputs: Tensor,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-4,
) -> bool:
    """Compare the tape's gradients of ``(function(*inputs) * weights).sum()`` with differences.

    Of a complex sum it is the real part.

    Parameters
    ----------
    function : callable
        Takes and returns float64 or complex128 tensors; must be smooth around `inputs`.
    *inputs : Tensor
        float64 or complex128; those with ``requires_grad`` are checked.
    eps : float
        Half of the step of the central differences; complex elements also take it along the
        imaginary axis.
    atol, rtol : float
        Allowed difference, absolute and relative to the numerical gradient.

    Returns
    -------
    bool
        True.

    Raises
    ------
    GradcheckError
        Naming the input, the element and both gradients, if one differs.
    DTypeError
        If an input is of lower precision: differences would be rounding noise.

    Examples
    --------
    >>> x = gt.tensor([0.5, 2.0], dtype=gt.float64, requires_grad=True)
    >>> gt.gradcheck(lambda x: gt.exp(x) / x, x)
    True
    """
    for i, x in enumerate(inputs):
        if x.dtype not in (np.float64, np.complex128):
            raise DTypeError(f"gradcheck: input {i} is {x.dtype}; it must be float64 or complex128")
    fresh = [tensor(x, requires_grad=x.requires_grad) for x in inputs]
    out = function(*fresh)
    weights = np.cos(np.arange(out.size, dtype=np.float64)).reshape(out.shape) + 1.5
    if out.dtype.kind == "c":
        weights = weights * np.exp(1j * weights)
    if out.requires_grad:
        out.backward(tensor(weights.conj(), device=out.device))
    if not any(x.requires_grad for x in inputs):
        raise GraphError("gradcheck: no input requires a gradient")
    for i, x in enumerate(fresh):
        if not x.requires_grad:
            continue
        analytic = np.zeros(x.shape) if x.grad is None else backend.to_host(x.grad.array)
        steps = (eps, 1j * eps) if x.dtype.kind == "c" else (eps,)
        host = np.array(backend.to_host(x.array))
        for place in np.ndindex(*x.shape):
            numeric: complex = 0
            for step in steps:
                values = []
                for move in (step, -step):
                    moved = host.copy()
                    moved[place] += move
                    args = [
                        tensor(moved, device=x.device) if k == i else f.detach()
                        for k, f in enumerate(fresh)
                    ]
                    found = backend.to_host(function(*args).array) * weights
                    values.append(float(found.real.sum()))
                numeric += (values[0] - values[1]) / (2 * eps) * (step / eps)
            if not abs(analytic[place] - numeric) <= atol + rtol * abs(numeric):
                raise GradcheckError(
                    f"gradcheck: input {i}, element {place}: the tape says {analytic[place]}, "
                    f"finite differences say {numeric}"
                )
    return True


def gradgradcheck(
    function: Callable[..., Tensor],
    *inputs: Tensor,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-4,
) -> bool:
    """Compare second derivatives with differences of first ones: :func:`gradcheck` of the gradient.

    The gradient is that of a sum of the results with weights, which are an input, too. Parameters,
    result and errors are those of :func:`gradcheck`.

    Examples
    --------
    >>> x = gt.tensor([0.5, 2.0], dtype=gt.float64, requires_grad=True)
    >>> gt.gradgradcheck(gt.sin, x)
    True
    """
    if not any(x.requires_grad for x in inputs):
        raise GraphError("gradgradcheck: no input requires a gradient")
    with no_grad():
        out = function(*inputs)
    weights = np.cos(np.arange(out.size, dtype=np.float64)).reshape(out.shape) + 1.5
    seed = tensor(weights.astype(out.dtype), device=out.device, requires_grad=True)

    def gradients(*args: Tensor) -> Tensor:
        chosen = [i for i, x in enumerate(args[:-1]) if inputs[i].requires_grad]

        def of_chosen(*some: Tensor) -> Tensor:
            full = list(args[:-1])
            for i, x in zip(chosen, some, strict=True):
                full[i] = x
            return function(*full)

        parts = vjp(of_chosen, *(args[i] for i in chosen))[1](args[-1])
        return concat([reshape(part, (-1,)) for part in parts])

    return gradcheck(gradients, *inputs, seed, eps=eps, atol=atol, rtol=rtol)
