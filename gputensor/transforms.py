"""Functions of functions: gradients as values, and their check against finite differences."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Node, Tensor, _identity, propagate, seed_gradient, wrap
from gputensor.errors import DTypeError, GradcheckError, GraphError
from gputensor.ops.creation import asarray, tensor

__all__ = ["grad", "gradcheck", "value_and_grad"]


def value_and_grad(
    function: Callable[..., Tensor], argnums: int | Sequence[int] = 0
) -> Callable[..., Any]:
    """Function that returns ``(function(...), gradient)``; nests for higher derivatives.

    Parameters
    ----------
    function : callable
        Takes tensors (arrays are taken as such), returns a real tensor of one element.
    argnums : int or sequence of ints
        Positions of the arguments to differentiate by.

    Returns
    -------
    callable
        The gradient is a tensor, or a tuple of them if `argnums` is a sequence. It is on the
        tape if one of those arguments is.

    Examples
    --------
    >>> gt.grad(gt.grad(gt.sin))(gt.tensor(1.0))  # -sin(1)
    tensor(-0.841471, dtype=float32)
    """
    positions = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    def transformed(*args: Any, **kwargs: Any) -> Any:
        inputs = list(args)
        for i in positions:
            if not isinstance(i, int) or not -len(args) <= i < len(args):
                raise ValueError(
                    f"grad: argnums names argument {i!r}, but the function was given {len(args)}; "
                    "arguments are counted from 0"
                )
            given = asarray(inputs[i])
            if given.dtype.kind not in "fc":
                raise DTypeError(
                    f"grad: argument {i} is {given.dtype}; only floating point has gradients"
                )
            # A place of its own on the tape: whatever else the argument is part of, the gradients
            # asked for end here.
            inputs[i] = _identity(given) if given.requires_grad else wrap(given.array)
            inputs[i].requires_grad = True
        entries = [inputs[i]._node for i in positions]
        nested = any(isinstance(e, Node) for e in entries)
        result = function(*inputs, **kwargs)
        if not isinstance(result, Tensor):
            raise TypeError(f"grad: the function returned {type(result).__name__}, not a Tensor")
        found: dict[Any, Any] = {}
        if result._node is not None:
            seed = seed_gradient(result, None)
            root = (result._node, wrap(seed) if nested else seed)
            found = propagate([root], entries, create_graph=nested)
        gradients = tuple(
            found.get(e, backend.namespace(t.array).zeros_like(t.array))
            for t, e in zip((inputs[i] for i in positions), entries, strict=True)
        )
        gradients = tuple(g if isinstance(g, Tensor) else wrap(g) for g in gradients)
        value = result if nested else result.detach()
        return value, gradients[0] if isinstance(argnums, int) else gradients

    return transformed


def grad(function: Callable[..., Tensor], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """Function that returns the gradient of `function`; as :func:`value_and_grad` otherwise."""
    both = value_and_grad(function, argnums)
    return lambda *args, **kwargs: both(*args, **kwargs)[1]


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
                    f"gradcheck: input {i}, element {place}: the tape says {analytic[place]!r}, "
                    f"finite differences say {numeric!r}"
                )
    return True
