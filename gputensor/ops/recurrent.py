"""Recurrent layers: the steps in time, given the products of all inputs at once.

Gates lie side by side along the last axis. A mask says which steps count; where it is false the
state stays.
"""

from collections.abc import Callable
from typing import Any

from gputensor.autograd import Tensor
from gputensor.ops.choices import where
from gputensor.ops.elementwise import multiply, sigmoid, tanh
from gputensor.ops.manipulation import flip, reshape, stack
from gputensor.ops.pieces import split

__all__ = ["gru_step", "lstm_step", "run", "simple_step"]

Function = Callable[[Tensor], Tensor]
State = tuple[Tensor, ...]
Step = Callable[[Tensor, State], State]


def simple_step(weight: Tensor, bias: Tensor | None = None, activation: Function = tanh) -> Step:
    """``h = activation(x + h @ weight + bias)``, as Elman (1990)."""

    def step(x: Tensor, state: State) -> State:
        h = x + state[0] @ weight
        return (activation(h if bias is None else h + bias),)

    return step


def lstm_step(
    weight: Tensor | Function,
    bias: Tensor | None = None,
    activation: Function = tanh,
    gate: Function = sigmoid,
) -> Step:
    """Long short-term memory (Gers et al. 2000): gates in the order input, forget, cell, output.

    The state is ``(h, c)``; a function `weight` of h stands for the product with a matrix.
    """
    product: Function = (lambda h: h @ weight) if isinstance(weight, Tensor) else weight

    def step(x: Tensor, state: State) -> State:
        h, c = state
        z = x + product(h)
        if bias is not None:
            z = z + bias
        i, f, g, o = split(z, 4, axis=-1)
        c = multiply(gate(f), c) + multiply(gate(i), activation(g))
        return multiply(gate(o), activation(c)), c

    return step


def gru_step(
    weight: Tensor,
    bias: Tensor | None = None,
    activation: Function = tanh,
    gate: Function = sigmoid,
    reset_after: bool = True,
    order: str = "zrh",
) -> Step:
    """Gated recurrent unit (Cho et al. 2014).

    Gates z (update), r (reset) and h (candidate) lie in `order`: "zrh" is Keras's and "rzh"
    PyTorch's. With `reset_after` the reset gate multiplies the product ``h @ weight + bias``, as in
    cuDNN, and otherwise the state before the product.
    """
    first = order[0] == "z"

    def gates(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        z, r = (a, b) if first else (b, a)
        return gate(z), gate(r)

    def step(x: Tensor, state: State) -> State:
        (h,) = state
        units = h.shape[-1]
        xa, xb, xh = split(x, 3, axis=-1)
        if reset_after:
            product = h @ weight
            if bias is not None:
                product = product + bias
            ha, hb, hh = split(product, 3, axis=-1)
            z, r = gates(xa + ha, xb + hb)
            candidate = activation(xh + multiply(r, hh))
        else:
            ha, hb = split(h @ weight[:, : 2 * units], 2, axis=-1)
            z, r = gates(xa + ha, xb + hb)
            candidate = activation(xh + multiply(r, h) @ weight[:, 2 * units :])
        return (multiply(z, h) + multiply(1 - z, candidate),)

    return step


def _beside(counts: Tensor, state: Tensor) -> Tensor:
    """What counts, of shape (n,), with as many axes as a state."""
    return reshape(counts, (*counts.shape, *(1 for _ in state.shape[1:])))


def run(
    step: Step, x: Tensor, state: State, *, mask: Any = None, backwards: bool = False
) -> tuple[Tensor, State]:
    """Run a step along the second axis.

    Parameters
    ----------
    step : callable
        ``step(x, state)`` gives the next state, whose first part is the output.
    x : Tensor of shape (n, steps, features)
    state : tuple of Tensor of shape (n, units)
    mask : Tensor of bool of shape (n, steps), optional
    backwards : bool
        Begin with the last step; outputs come in the order of `x` then, too.

    Returns
    -------
    outputs : Tensor of shape (n, steps, units)
    state : tuple of Tensor
        After the last step taken.
    """
    outputs = []
    places = range(x.shape[1])
    for t in reversed(places) if backwards else places:
        fresh = step(x[:, t], state)
        if mask is not None:
            fresh = tuple(
                where(_beside(mask[:, t], a), a, b) for a, b in zip(fresh, state, strict=True)
            )
        state = fresh
        outputs.append(state[0])
    found = stack(outputs, axis=1)
    return flip(found, axis=1) if backwards else found, state
