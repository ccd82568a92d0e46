"""``torch.nn.utils``: gradients and parameters of a model together."""

import math
from collections.abc import Iterable
from typing import Any

from gputensor import backend, linalg, ops
from gputensor.autograd import Tensor as Engine
from gputensor.autograd import changed, leaf_of, no_grad, wrap
from gputensor.kernels import clip_norm, squared_norm
from gputensor.optim.blocks import place_of
from gputensor.torch.nn.utils import rnn
from gputensor.torch.tensor import ours

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "parameters_to_vector",
    "rnn",
    "vector_to_parameters",
]


def _listed(parameters: Any) -> list[Any]:
    return [parameters] if isinstance(parameters, Engine) else list(parameters)


def _gradients(parameters: list[Any]) -> list[Any]:
    return [g for g in (p.grad for p in parameters) if g is not None]


def clip_grad_norm_(
    parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Any:
    """Scale all gradients down so that their norm together is `max_norm` at most.

    Returns
    -------
    Tensor of shape ()
        The norm before.

    Examples
    --------
    >>> x = torch.tensor([3.0, 4.0], requires_grad=True)
    >>> (x * x / 2).sum().backward()
    >>> torch.nn.utils.clip_grad_norm_([x], 1.0)
    tensor(5.)
    >>> x.grad
    tensor([0.6000, 0.8000])
    """
    listed = _listed(parameters)
    rows = _rows(listed) if norm_type == 2 and not error_if_nonfinite else []
    if rows:
        return _clip_rows(rows, float(max_norm))
    gradients = _gradients(listed)
    if not gradients:
        return ours(ops.zeros((), device="cpu"))
    with no_grad():
        norms = [linalg.vector_norm(g, ord=norm_type) for g in gradients]
        total = linalg.vector_norm(ops.stack(norms), ord=norm_type)
        if error_if_nonfinite and not math.isfinite(total.item()):
            raise RuntimeError(f"clip_grad_norm_: the norm of the gradients is {total.item()}")
        scale = ops.clip(ops.divide(max_norm, ops.add(total, 1e-6)), max=1.0)
        for g in gradients:
            g *= ops.astype(scale, g.dtype)
    return ours(total)


def _rows(parameters: list[Any]) -> list[Any]:
    """Gradients that lie side by side in blocks, as flat arrays; none where one lies elsewhere.

    So do those of an optimizer's parameters, but for what the user holds.
    """
    places = []
    for p in parameters:
        leaf, place = leaf_of(p), place_of(p)
        grad = None if leaf is None else leaf.grad
        if leaf is not None and grad is None:
            continue
        if leaf is None or grad is None or place is None or grad.array is not leaf.buffer:
            return []
        places.append(place)
    rows: list[list[Any]] = []  # block, start, stop
    for block, start, stop, _ in places:
        if rows and rows[-1][0] is block and rows[-1][2] == start:
            rows[-1][2] = stop
        else:
            rows.append([block, start, stop])
    kinds = {(block.values.device, block.values.dtype) for block, _, _ in rows}
    return [b.grads.array[start:stop] for b, start, stop in rows] if len(kinds) == 1 else []


def _clip_rows(rows: list[Any], most: float) -> Any:
    with backend.on_device_of(rows[0]):
        xp = backend.namespace(rows[0])
        first, *rest = [squared_norm.raw(g) for g in rows]
        squared = xp.asarray(sum(rest, first))
        for g in rows:
            clip_norm.raw(g, squared, most=most)
            changed(g, "clip_grad_norm_")
        return ours(wrap(xp.asarray(xp.sqrt(squared)).astype(rows[0].dtype)))


def clip_grad_value_(parameters: Any, clip_value: float) -> None:
    """Bring each element of the gradients between ``-clip_value`` and ``clip_value``.

    Examples
    --------
    >>> x = torch.tensor([3.0, 4.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> torch.nn.utils.clip_grad_value_([x], 7.0)
    >>> x.grad
    tensor([6., 7.])
    """
    with no_grad():
        for g in _gradients(_listed(parameters)):
            g[...] = ops.clip(g, -float(clip_value), float(clip_value))


def parameters_to_vector(parameters: Iterable[Any]) -> Any:
    """All elements in a row.

    Examples
    --------
    >>> torch.nn.utils.parameters_to_vector(torch.nn.Linear(3, 2).parameters()).shape
    torch.Size([8])
    """
    return ours(ops.concat([ops.flatten(p) for p in parameters]))


def vector_to_parameters(vec: Any, parameters: Iterable[Any]) -> None:
    """Put a row of elements into the parameters.

    Examples
    --------
    >>> layer = torch.nn.Linear(1, 1)
    >>> torch.nn.utils.vector_to_parameters(torch.tensor([2.0, 1.0]), layer.parameters())
    >>> layer(torch.tensor([[3.0]])).item()
    7.0
    """
    start = 0
    for p in parameters:
        stop = start + p.array.size
        p.data = vec[start:stop].view(*p.array.shape)
        start = stop


clip_grad_norm = clip_grad_norm_
