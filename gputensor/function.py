"""Functions that are one node of the tape: with a gradient of the user's own, or run again for it.

The node's operands are the tensors in the arguments. To those of :func:`checkpoint` come the tape
entries that the function reads from outside, such as parameters.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gputensor.autograd import (
    Leaf,
    Primitive,
    Several,
    Tensor,
    conjugate,
    enable_grad,
    entries_before,
    grad_enabled,
    identity,
    next_order,
    no_grad,
    outputs,
    propagate,
    was_changed,
    wrap,
)
from gputensor.errors import GraphError, ShapeError
from gputensor.ops.creation import zeros
from gputensor.ops.precision import casting
from gputensor.random.stream import Stream, recorder
from gputensor.tree import leaves, map_tree, rebuilt

__all__ = ["checkpoint", "custom_vjp"]


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, Tensor)


def _detached(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


class _Holes:
    """A tree whose tensors were taken out."""

    def __init__(self, tree: Any) -> None:
        self.places = map_tree(_is_tensor, tree)
        self._rest = map_tree(lambda x: None if isinstance(x, Tensor) else x, tree)

    def filled(self, tensors: Sequence[Any]) -> Any:
        """The tree with others in their place."""
        fresh = iter(tensors)
        return map_tree(lambda x, hole: next(fresh) if hole else x, self._rest, self.places)


def _recorded(
    primitive: Primitive, out: Any, arrays: Sequence[Any], entries: Sequence[Any], call: Any
) -> Any:
    """`out`, a tree of tensors, as the result of one node."""
    results = Several(t.array for t in leaves(out))
    node = primitive._record(results, tuple(arrays), tuple(entries), {"call": call})
    return rebuilt(out, iter(outputs(results, node)))


def _check_result(name: str, out: Any) -> None:
    for t in leaves(out):
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}: the function returned {type(t).__name__}, not a Tensor")


class custom_vjp:
    """A function with a gradient of its own, as in JAX; a decorator.

    Parameters
    ----------
    function : callable
        Takes trees of tensors and whatever else, returns a tree of tensors. What it reads from
        outside gets no gradient.

    Examples
    --------
    >>> @gt.custom_vjp
    ... def clipped(x):  # whose gradient is clipped on the way back
    ...     return x + 0
    >>> clipped.defvjp(lambda x: (x + 0, None), lambda _, g: (gt.clip(g, -1, 1),))
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.forward: Callable[..., Any] | None = None
        self.backward: Callable[..., Any] | None = None

    def __repr__(self) -> str:
        return f"<custom_vjp {self.function.__name__}>"

    def defvjp(self, forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
        """Set the functions that run in the place of this one where gradients are wanted.

        Parameters
        ----------
        forward : callable
            Takes the arguments; returns the result and a tree of what `backward` needs.
        backward : callable
            ``backward(saved, g)`` takes that tree and the gradient by the result, a tree like the
            result; returns a tuple with the gradient by each argument: a tree like it, or None
            for zero. Made of gputensor's operations, the two can be differentiated again.
        """
        self.forward, self.backward = forward, backward

    def __call__(self, *args: Any) -> Any:
        """Call the function.

        Raises
        ------
        GraphError
            If a gradient is wanted and :meth:`defvjp` was not called.
        TypeError, ShapeError
            If its functions do not return what they must; in the backward pass, too.
        """
        operands = [x for x in leaves(args) if isinstance(x, Tensor)]
        if not grad_enabled() or not any(x.requires_grad for x in operands):
            return self.function(*args)
        call = _CustomCall(self, args)
        with no_grad():
            out, saved = call.forward([x.detach() for x in operands])
        _check_result(call.name, out)
        call.results = _Holes(out)
        call.specs = [(t.shape, t.dtype, t.device) for t in leaves(out)]
        call.saved = _Holes(saved)
        kept = [x.array for x in leaves(saved) if isinstance(x, Tensor)]
        call.operands = len(operands)
        return _recorded(
            _custom,
            map_tree(_detached, out),
            [*(x.array for x in operands), *kept],
            [*(x._node for x in operands), *(None for _ in kept)],
            call,
        )


class _CustomCall:
    """A call of a :class:`custom_vjp`, without its tensors."""

    results: _Holes
    specs: list[tuple[Any, ...]]  # shape, dtype and device of each result
    saved: _Holes
    operands: int

    def __init__(self, owner: custom_vjp, args: Any) -> None:
        self.owner = owner
        self.name = f"custom_vjp {owner.function.__name__}"
        self.args = _Holes(args)

    def forward(self, operands: Sequence[Tensor]) -> tuple[Any, Any]:
        if self.owner.forward is None:
            raise GraphError(f"{self.name} has no gradient yet; call its defvjp first")
        result = self.owner.forward(*self.args.filled(operands))
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"{self.name}: forward must return a pair: result and what to save")
        return result

    def backward(self, saved: Any, g: Any) -> list[Any]:
        """Gradient by each operand, or None."""
        parts = self.owner.backward(saved, g)  # type: ignore[misc]
        places = self.args.places
        if not isinstance(parts, tuple) or len(parts) != len(places):
            raise TypeError(
                f"{self.name}: backward must return a tuple with a gradient for each argument, "
                f"{len(places)} of them; it returned {parts!r}"
            )
        found: list[Any] = []
        for part, place in zip(parts, places, strict=True):
            if part is None:
                found += [None] * sum(leaves(place))
            else:
                pairs: list[tuple[bool, Any]] = []
                map_tree(lambda *pair, into=pairs: into.append(pair), place, part)
                found += [x for hole, x in pairs if hole]
        return found


def _custom_rule(
    xp: Any, needs: Any, g: Several, _out: Any, *operands: Any, call: _CustomCall
) -> list[Any]:
    record = isinstance(operands[0], Tensor)
    operands, kept = operands[: call.operands], operands[call.operands :]
    gradients = []
    for part, (shape, dtype, device) in zip(g, call.specs, strict=True):
        if part is None:
            gradients.append(zeros(shape, dtype=dtype, device=device))
        elif record:  # another tensor, so that a change in place is refused
            given = conjugate(part)
            gradients.append(wrap(given.array, given._node))
        else:
            gradients.append(wrap(conjugate(part)))
    # To differentiate again what was saved is computed again, as it may depend on the operands.
    saved = call.forward(operands)[1] if record else call.saved.filled([wrap(a) for a in kept])
    since = next_order()
    with enable_grad() if record else no_grad():
        parts = call.backward(saved, call.results.filled(gradients))
    if any(was_changed(t.array, since) for t in gradients):
        raise GraphError(
            f"{call.name}: backward changed the gradient in place, which others go on with; write "
            "g = 2 * g, not g *= 2"
        )
    found: list[Any] = []
    for part, operand in zip(parts, operands, strict=True):
        if part is None:
            found.append(None)
            continue
        if not isinstance(part, Tensor) or part.shape != operand.shape:
            raise ShapeError(
                f"{call.name}: backward returned {part!r} as the gradient by a tensor of shape "
                f"{operand.shape}"
            )
        found.append(conjugate(part if record else part.array))
    return found + [None] * len(kept)


def _done_already(xp: Any, *arrays: Any, call: Any) -> Any:
    raise NotImplementedError("nodes of this primitive are made of results")


_custom = Primitive("custom_vjp", _done_already, _custom_rule)


def checkpoint(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``function(*args, **kwargs)``, whose saved values are given up and computed again if needed.

    Memory for time: the backward pass runs the function once more (Chen et al., "Training deep
    nets with sublinear memory cost", 2016). Gradients are those of the plain call, towards the
    arguments and towards what the function reads from outside, such as parameters.

    Parameters
    ----------
    function : callable
        Takes trees of tensors and whatever else, returns a tree of tensors. It must do the same
        when it is run again; it gets the same random numbers from every
        :class:`gputensor.random.Generator`, and the precision of the first run's
        :class:`gputensor.autocast`.
    *args, **kwargs
        Its arguments.

    Returns
    -------
    tree of Tensor
        What the function returns.

    Raises
    ------
    GraphError
        In the backward pass, if the function did not do the same again.

    Examples
    --------
    >>> x = gt.tensor([0.5], requires_grad=True)
    >>> for block in (gt.sin, gt.exp):
    ...     x = gt.checkpoint(block, x)
    >>> x
    tensor([1.6151463], dtype=float32, grad_fn=output)
    """
    if not grad_enabled():
        return function(*args, **kwargs)
    operands = [x for x in leaves((args, kwargs)) if isinstance(x, Tensor)]
    call = _CheckpointedCall(function, args, kwargs)
    since = next_order()
    own = [wrap(x.array, Leaf(x.array) if x.requires_grad else None) for x in operands]
    out = call.run(own)
    _check_result("checkpoint", out)
    mine = {x._node for x in own}
    roots = [t._node for t in leaves(out) if t._node is not None]
    outside = [e for e in entries_before(roots, since) if e not in mine]
    out = map_tree(_detached, out)
    entries = [*(x._node for x in operands), *outside]
    if not roots:
        return out
    return _recorded(_checkpoint, out, [*(x.array for x in operands), *outside], entries, call)


class _CheckpointedCall:
    """A call of :func:`checkpoint`, without its tensors: what it takes to run it again."""

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self._function = function
        self.arguments = _Holes((args, kwargs))
        self._dtype = casting.dtype
        self._numbers: list[dict[str, Any]] | None = None

    def run(self, operands: Sequence[Tensor]) -> Any:
        """The function's result, on the tape."""
        args, kwargs = self.arguments.filled(operands)
        before = casting.dtype
        casting.dtype = self._dtype
        try:
            with enable_grad(), self._same_numbers():
                return self._function(*args, **kwargs)
        finally:
            casting.dtype = before

    @contextlib.contextmanager
    def _same_numbers(self) -> Iterator[None]:
        """Note what is taken from generators the first time, and give the same ever after."""
        before = recorder.note
        taken: list[dict[str, Any]] = []
        again = None if self._numbers is None else iter(self._numbers)

        def note(generator: Stream, counters: int) -> dict[str, Any]:
            if again is not None:
                found = next(again, None)
                if found is None:
                    raise _not_the_same("it took more random numbers")
                return found
            recorder.note = before
            try:
                taken.append(generator.take(4 * counters))
            finally:
                recorder.note = note
            return taken[-1]

        recorder.note = note
        try:
            yield
        finally:
            recorder.note = before
        if again is None:
            self._numbers = taken


def _not_the_same(what: str) -> GraphError:
    return GraphError(f"checkpoint: the function did not do the same when it was run again: {what}")


def _checkpoint_rule(
    xp: Any, needs: Any, g: Several, _out: Any, *operands: Any, call: _CheckpointedCall
) -> list[Any]:
    record = any(isinstance(t, Tensor) for t in g)
    since = next_order()
    count = sum(leaves(call.arguments.places))
    own = []
    for operand, need in zip(operands[:count], needs, strict=False):
        if record:
            own.append(identity(operand) if need is not False else operand)
        else:
            own.append(wrap(operand, None if need is False else Leaf(operand)))
    outs = leaves(call.run(own))
    if len(outs) != len(g):
        raise _not_the_same(f"it returned {len(outs)} tensors, not {len(g)}")
    roots = []
    for t, part in zip(outs, g, strict=True):
        if part is None or t._node is None:
            continue
        if t.shape != part.shape:
            raise _not_the_same(f"a result has shape {t.shape}, not {part.shape}")
        roots.append((t._node, conjugate(part)))
    entries = [*(t._node for t in own), *operands[count:]]
    wanted = [e for e, need in zip(entries, needs, strict=True) if need is not False]
    found = propagate(roots, wanted, create_graph=record, since=since)
    parts = [found.get(e) for e in entries]
    return [None if part is None else conjugate(part) for part in parts]


_checkpoint = Primitive("checkpoint", _done_already, _checkpoint_rule)
