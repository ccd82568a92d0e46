"""``torch.autograd``: gradients as results, and the names of old scripts."""

from collections.abc import Sequence
from typing import Any

from gputensor import detect_anomaly as detect_anomaly
from gputensor import gradcheck as engine_gradcheck
from gputensor import ops
from gputensor.autograd import Leaf, Node, propagate, seed_gradient
from gputensor.autograd import Tensor as Engine
from gputensor.errors import GradcheckError, GraphError
from gputensor.function import custom_vjp
from gputensor.torch.creation import as_tensor
from gputensor.torch.tensor import Tensor, ours

__all__ = ["Function", "Variable", "backward", "detect_anomaly", "grad", "gradcheck"]


def _listed(value: Any) -> list[Any]:
    return [value] if isinstance(value, Engine) or value is None else list(value)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """Gradients of the sum of `outputs` with respect to each of `inputs`.

    Parameters
    ----------
    outputs, inputs : Tensor or sequence of Tensor
    grad_outputs : Tensor or sequence of Tensor, optional
        Gradient of what follows with respect to each output; 1 for one element.
    retain_graph : bool, optional
        Keep the saved values for another pass; by default as `create_graph`.
    create_graph : bool
        Whether the results can be differentiated again.
    only_inputs : bool
        Says nothing, as in PyTorch.
    allow_unused : bool
        Whether an input that no output depends on has the gradient None.

    Raises
    ------
    GraphError
        If one requires no gradient, or is not used.

    Examples
    --------
    >>> x = torch.tensor([2.0], requires_grad=True)
    >>> torch.autograd.grad((x**3).sum(), x)
    (tensor([12.]),)
    """
    results, wanted = _listed(outputs), _listed(inputs)
    seeds: Sequence[Any] = (
        _listed(grad_outputs) if grad_outputs is not None else [None] * len(results)
    )
    roots: list[tuple[Node | Leaf, Any]] = []
    for out, seed in zip(results, seeds, strict=True):
        if out._node is None:
            raise GraphError("grad: an output was computed from nothing that requires a gradient")
        start: Any = seed_gradient(out, seed)
        if create_graph:
            start = seed if seed is not None else ops.asarray(start)
        roots.append((out._node, start))
    for x in wanted:
        if x._node is None:
            raise GraphError("grad: an input requires no gradient; set x.requires_grad = True")
    found = propagate(
        roots,
        [x._node for x in wanted],
        retain_graph=create_graph if retain_graph is None else retain_graph,
        create_graph=create_graph,
    )
    gradients: list[Any] = []
    for x in wanted:
        g = found.get(x._node)
        if g is None and not allow_unused:
            raise GraphError(
                "grad: an input was not used for the outputs; give allow_unused=True to get None"
            )
        gradients.append(g if g is None or isinstance(g, Engine) else ops.asarray(g))
    return tuple(ours(ops.positive(g)) if g is not None else None for g in gradients)


def backward(tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None) -> None:
    """``backward()`` of each tensor.

    Examples
    --------
    >>> x = torch.tensor([2.0], requires_grad=True)
    >>> torch.autograd.backward([(x * x).sum()])
    >>> x.grad
    tensor([4.])
    """
    listed = _listed(tensors)
    seeds = _listed(grad_tensors) if grad_tensors is not None else [None] * len(listed)
    for i, (t, g) in enumerate(zip(listed, seeds, strict=True)):
        t.backward(g, retain_graph=bool(retain_graph) or i < len(listed) - 1)


class _Context:
    """What ``forward`` of a :class:`Function` keeps for ``backward``.

    Attributes
    ----------
    saved_tensors : tuple of Tensor
    needs_input_grad : tuple of bool
        Whether each argument is on the tape.
    """

    def __init__(self, needs_input_grad: tuple[bool, ...]) -> None:
        self.saved_tensors: tuple[Any, ...] = ()
        self.needs_input_grad = needs_input_grad

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors."""
        self.saved_tensors = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Say nothing: results that are not floating point have no gradient anyway."""


class Function:
    """An operation with a gradient of the user's own: static ``forward`` and ``backward``.

    ``forward(ctx, *args)`` computes the result, ``backward(ctx, *grads)`` returns the gradient by
    each argument, None for those without. Call it as ``MyFunction.apply(x)``.

    Examples
    --------
    >>> class Cube(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x**3
    ...     @staticmethod
    ...     def backward(ctx, gradient):
    ...         (x,) = ctx.saved_tensors
    ...         return 3 * x**2 * gradient
    >>> x = torch.tensor([2.0], requires_grad=True)
    >>> Cube.apply(x).sum().backward()
    >>> x.grad
    tensor([12.])
    """

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run the operation."""
        needs = tuple(isinstance(x, Engine) and x._node is not None for x in args)
        kind: Any = cls

        def run(*inner: Any) -> tuple[Any, Any]:
            ctx = _Context(needs)
            out = kind.forward(ctx, *(ours(x) for x in inner))
            saved, ctx.saved_tensors = ctx.saved_tensors, ()
            return out, (ctx, saved)

        def back(kept: Any, g: Any) -> tuple[Any, ...]:
            ctx, saved = kept
            ctx.saved_tensors = tuple(ours(t) for t in saved)
            given = ours(g)
            found = kind.backward(ctx, *(given if isinstance(given, tuple) else (given,)))
            return found if isinstance(found, tuple) else (found,)

        call = custom_vjp(lambda *inner: run(*inner)[0])
        call.defvjp(run, back)
        return ours(call(*args))


class _VariableType(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor)

    def __call__(cls, data: Any, requires_grad: bool = False, volatile: bool = False) -> Any:
        made = ours(data.detach() if isinstance(data, Engine) else as_tensor(data))
        if isinstance(data, Engine) and not requires_grad and data.requires_grad:
            return ours(data)
        if requires_grad:
            made.requires_grad = True
        return made


class Variable(metaclass=_VariableType):
    """Old name: a tensor itself, ``Variable(x, requires_grad=True)`` one that needs gradients.

    Examples
    --------
    >>> torch.autograd.Variable(torch.ones(1), requires_grad=True).requires_grad
    True
    """


def gradcheck(
    func: Any,
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
) -> bool:
    """Compare gradients with differences, for inputs of float64: see ``gt.gradcheck``.

    Examples
    --------
    >>> x = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    >>> torch.autograd.gradcheck(torch.exp, (x,))
    True
    """
    try:
        return engine_gradcheck(
            lambda *x: func(*(ours(t) for t in x)), *_listed(inputs), eps=eps, atol=atol, rtol=rtol
        )
    except GradcheckError:
        if raise_exception:
            raise
        return False
