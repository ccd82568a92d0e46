"""The backward pass."""

from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from types import SimpleNamespace
from typing import Any

import numpy as np

from gputensor import backend, memory
from gputensor.autograd import changes, watch
from gputensor.autograd.changes import check_unchanged, line_of, was_changed
from gputensor.autograd.modes import state
from gputensor.autograd.operands import ndarray
from gputensor.autograd.primitive import LARGE, identity, outputs
from gputensor.autograd.tape import NO_ATTRS, Node, Several
from gputensor.autograd.tensor import (
    Leaf,
    Tensor,
    accumulating,
    as_raw,
    wrap,
)
from gputensor.backend import NAMESPACES, Array
from gputensor.errors import (
    AnomalyError,
    GraphError,
    ShapeError,
)

_HOST = NAMESPACES[ndarray]

# gputensor.ops puts itself here: the namespace of rules under create_graph=True.
differentiable_namespace: Any = SimpleNamespace()


def _check_finite(node: Node, g: Any, parent: Node | Leaf, part: Any) -> None:
    if isinstance(part, Several):
        return  # a gradient that only finds its place
    array, before = (t.array if isinstance(t, Tensor) else as_raw(t) for t in (part, g))
    xp = NAMESPACES[type(array)]
    if bool(xp.isfinite(array).all()):
        return
    came = [] if isinstance(before, Several) else [before]
    already = any(not bool(xp.isfinite(a).all()) for a in came)
    kind = "NaN" if bool(xp.isnan(array).any()) else "infinite"
    raise AnomalyError(
        f"backward: the gradient of operand {node.parents.index(parent)} of "
        f"{node.primitive.name} is {kind}"
        + (", as is the gradient of its result" if already else "")
        + f" (made {line_of(node)})"
    )


def _hooked(entry: "Node | Leaf", g: Any) -> Any:
    """A gradient on the tape after the hooks of its tensor."""
    for hook in list(getattr(entry, "hooks", {}).values()):
        backend.end_recording("a hook is called")
        given = conjugate(g)
        # A copy, which the hook may keep: the gradient's memory may be used again.
        if isinstance(given, Tensor):
            given = differentiable_namespace.positive(given)
        else:
            given = as_raw(given)
            with backend.on_device_of(given):
                given = wrap(given.copy())
        new = hook(given)
        if new is None:
            if was_changed(given.array):
                raise GraphError(
                    "register_hook: the hook changed the gradient in place and returned None; "
                    "return the new one, for example `return 2 * g`"
                )
            continue
        if not isinstance(new, Tensor):
            raise TypeError(f"a hook must return a Tensor or None, not {type(new).__name__}")
        if new.shape != entry.shape or new.dtype != entry.dtype:
            raise ShapeError(
                f"a hook returned a gradient of shape {new.shape} and {new.dtype}; it must have "
                f"shape {entry.shape} and be {entry.dtype}"
            )
        g = conjugate(new if isinstance(g, Tensor) else new.array)
    return g


def sum_to(xp: Any, g: Any, shape: tuple[int, ...]) -> Any:
    """Sum a gradient over the axes that `shape` was broadcast along."""
    if not shape:
        return xp.sum(g)
    if axes := backend.broadcast_axes(g.shape, shape):
        g = xp.sum(g, axis=axes, keepdims=True)
    return xp.reshape(g, shape)


def _leading_to(
    wanted: set[Node | Leaf], roots: Iterable[Node | Leaf], since: int
) -> set[Node | Leaf]:
    """Entries behind `roots` that a gradient passes on its way to `wanted`, these included."""
    seen = set(roots)
    waiting = list(seen)
    nodes = []
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, Node) and entry.order <= since:
            nodes.append(entry)
            fresh = {p for p in entry.parents if p is not None and p not in seen}
            seen |= fresh
            waiting.extend(fresh)
    useful = set(wanted)
    for node in sorted(nodes, key=lambda n: n.order, reverse=True):  # parents first
        if any(parent in useful for parent in node.parents):
            useful.add(node)
    return useful


def entries_before(roots: Iterable[Node | Leaf], since: int) -> list[Node | Leaf]:
    """Leaves behind `roots`, and the nodes of before order `since` where it is met."""
    seen = set(roots)
    waiting, found = list(seen), []
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, Node) and entry.order <= since:
            fresh = {p for p in entry.parents if p is not None and p not in seen}
            seen |= fresh
            waiting.extend(fresh)
        else:
            found.append(entry)
    return found


class _Pass:
    """A backward pass on its way, with gradients that are raw arrays.

    Parameters
    ----------
    roots, wanted, retain_graph, since
        As of :func:`propagate`.

    Attributes
    ----------
    gradients : dict
        By entry, as far as they are known. Their conjugates, as on the tape.
    waiting : list
        A heap of the nodes in `gradients` with their orders, the latest first.
    results : dict
        What :func:`propagate` returns.
    old : int
        What nodes of this order and lower ones have saved was not written to since.
    special : bool
        Whether there is more to do for a gradient than to hand it on, see :meth:`arrive`.
    """

    owns_sums = True  # whether a sum of gradients may be added to in place

    def __init__(
        self,
        roots: Sequence[tuple[Node | Leaf, Any]],
        wanted: Sequence[Node | Leaf] | None,
        retain_graph: bool,
        since: int,
    ) -> None:
        self.gradients: dict[Node | Leaf, Any] = {}
        self.waiting: list[tuple[int, Node]] = []
        self.results: dict[Node | Leaf, Any] = {}
        self.old = min(since, changes.latest)
        self.special = watch.count > 0 or wanted is not None
        self._since = since
        self._retain_graph = retain_graph
        self._watched = watch.count > 0
        self._targets: set[Node | Leaf] | None = None
        self._reached: set[Node | Leaf] = set()
        if wanted is not None:
            self._targets = set(wanted)
            self._reached = _leading_to(self._targets, [entry for entry, _ in roots], since)
        self._summed: set[Node | Leaf] = set()  # whose gradient is a sum that only we have
        self._wide: set[Node | Leaf] = set()  # of 16 bits, whose gradient is a sum in float32
        self._writes: list[Leaf] = []
        self._at: tuple[Node, Any] | None = None  # of the step, where gradients are looked at
        self._follow = backend.FollowDevice()
        for entry, g in roots:
            g = conjugate(g)
            if entry in self.gradients:
                self.gradients[entry] = self.gradients[entry] + g
            else:
                self._put([(entry, g)])

    def __enter__(self) -> "_Pass":
        return self

    def __exit__(self, *error: Any) -> None:
        self._follow.__exit__(*error)
        if error[0] is not None:
            for leaf in self._writes:
                leaf.writer = None
        if isinstance(error[1], MemoryError):
            node = error[2].tb_frame.f_locals["node"]  # where propagate was
            name = f"{node.primitive.name} backward"
            raise memory.out_of_memory(name, self._follow.entered, error[1]) from None

    def arrive(self, node: Node, g: Any) -> Any:
        """The gradient of a node, as hooks leave it; None where the pass does not go on."""
        if node in self._wide:
            g = _narrowed(g, node.dtype)
        if node.order > self.old:
            if node.order > self._since:  # only what is wanted there was reached
                self.results[node] = conjugate(as_raw(g))
                return None
            check_unchanged(node)
        if self._targets is not None and node in self._targets:
            self.results[node] = as_raw(conjugate(g))
        elif self._watched:
            g = _hooked(node, g)
        if self._watched and state.suspicious:
            self._at = node, g
        return g

    def step(self, node: Node, g: Any) -> None:
        """From the gradient of a node to those of its parents."""
        primitive, saved, out, attrs = node.primitive, node.saved, node.out, node.attrs
        if saved is None:
            raise _freed(node)
        parents = node.parents if self._targets is None else self._parents(node)
        xp, rules, at_once = _HOST, primitive.rules, False
        if type(g) is not ndarray:
            g, some = _raw_parts(g)
            self._follow(some)
            xp, rules = NAMESPACES[type(some)], primitive.rules_of[type(some)]
            at_once = rules is not primitive.rules
        elif g.size >= LARGE:
            rules = primitive.rules_of[ndarray]
            at_once = rules is not primitive.rules
        parts = self._joint_step(xp, node, parents, g) if primitive.joint else None
        if not self._retain_graph:
            node.saved = node.out = None
            node.attrs = NO_ATTRS
        if parts is not None:
            self._add_all(xp, parents, parts)
        elif at_once and self._at_once(rules, parents, g, out, saved, attrs):
            pass
        # Calls without loops and unpacking are much the quickest, and most rules need none.
        elif attrs or len(saved) > 2:
            if primitive.add_to is not None and self._added(primitive.add_to, parents[0], g, attrs):
                return
            for rule, parent in zip(rules, parents, strict=True):
                if parent is not None:
                    self._add(xp, parent, rule(xp, g, out, *saved, **attrs))  # type: ignore[misc]
                    if primitive.add_to is not None:
                        self._summed.add(parent)
        elif len(saved) == 2:
            p, q = parents
            x, y = saved
            if p is not None:
                self._add(xp, p, rules[0](xp, g, out, x, y))  # type: ignore[misc]
            if q is not None:
                self._add(xp, q, rules[1](xp, g, out, x, y))  # type: ignore[misc]
        elif parents[0] is not None:
            self._add(xp, parents[0], rules[0](xp, g, out, saved[0]))  # type: ignore[misc]

    def _joint_step(
        self, xp: Any, node: Node, parents: tuple[Node | Leaf | None, ...], g: Array
    ) -> Sequence[Any]:
        """Gradients by one rule, which writes where an optimizer wants it what comes first."""
        needs: list[Any] = [p is not None for p in parents]
        if self._targets is None:
            with accumulating:
                for i, p in enumerate(parents):
                    if type(p) is Leaf and p not in self.gradients and self._may_write(p):
                        needs[i] = p.buffer
        rule: Any = node.primitive.vjp
        parts: Sequence[Any] = rule(xp, needs, g, node.out, *(node.saved or ()), **node.attrs)
        return parts

    def _may_write(self, leaf: Leaf) -> bool:
        """Whether the pass, and no other one, may write a gradient into the buffer of a leaf."""
        if leaf.buffer is None or leaf.grad is not None or leaf.writer is not None:
            return False
        leaf.writer = self.results
        self._writes.append(leaf)
        return True

    def _at_once(
        self, rules: Any, parents: Any, g: Array, out: Any, saved: Any, attrs: Any
    ) -> bool:
        """Whether one kernel has done it all, see :mod:`gputensor.graph.eager`."""
        if self._watched:
            return False
        totals = rules.step(g, out, saved, attrs, parents, self.gradients, self._summed)
        if totals is not None:
            self._put(totals)
        return totals is not None

    def _added(self, add_to: Any, parent: Any, g: Array, attrs: dict[str, Any]) -> bool:
        """Whether a part's gradient was added, in place, to that of what it is a part of."""
        if parent not in self._summed or g.dtype.itemsize == 2 or self._watched:
            return False
        return bool(add_to(self.gradients[parent], g, **attrs))

    def _add(self, xp: Any, parent: Node | Leaf, part: Any) -> None:
        """Add to the gradient of an entry what comes from one of its children."""
        if part.shape != parent.shape:
            part = sum_to(xp, part, parent.shape)
        if part.dtype is not parent.dtype and part.dtype != parent.dtype:
            part = _cast_to(xp, part, parent.dtype)
        if self._at is not None:
            _check_finite(*self._at, parent, part)
        gradients = self.gradients
        before = gradients.get(parent)
        if before is None:
            gradients[parent] = part
            if type(parent) is Node:
                heappush(self.waiting, (parent.order, parent))
        elif part.dtype.itemsize == 2:
            gradients[parent] = _wide_sum(before, part)
            self._wide.add(parent)
            self.special = True
        elif parent in self._summed:
            before += part
            gradients[parent] = before
        else:
            gradients[parent] = before + part
            if self.owns_sums:
                self._summed.add(parent)

    def _add_all(self, xp: Any, parents: Any, parts: Sequence[Any]) -> None:
        for parent, part in zip(parents, parts, strict=True):
            if parent is not None and part is not None:
                self._add(xp, parent, part)

    def _put(self, totals: Iterable[tuple[Node | Leaf, Any]]) -> None:
        """Set gradients; those of entries that had one before are sums of ours."""
        for entry, total in totals:
            if entry in self.gradients:
                self._summed.add(entry)
            elif type(entry) is Node:
                heappush(self.waiting, (entry.order, entry))
            self.gradients[entry] = total

    def _parents(self, node: Node) -> tuple[Node | Leaf | None, ...]:
        """Parents towards which a gradient is wanted, and None for others."""
        if self._targets is None:
            return node.parents
        return tuple(p if p in self._reached else None for p in node.parents)

    def finish(self) -> dict[Node | Leaf, Any]:
        """Results, with those of what has no parents."""
        for entry, g in self.gradients.items():
            if self._targets is None or entry in self._targets:
                if entry in self._wide:
                    g = _narrowed(g, entry.dtype)
                if self._watched and self._targets is None:
                    g = _hooked(entry, g)
                self.results[entry] = as_raw(conjugate(g))
        return self.results


class _RecordedPass(_Pass):
    """A backward pass with gradients that are tensors, which goes on the tape itself."""

    owns_sums = False

    def step(self, node: Node, g: Any) -> None:
        """From the gradient of a node to those of its parents."""
        if node.saved is None:
            raise _freed(node)
        some = g if type(g) is not Several else next(t for t in g if t is not None)
        if type(some.array) is not ndarray:
            self._follow(some.array)  # rules make raw arrays, too
        parents, xp = self._parents(node), differentiable_namespace
        self._add_all(xp, parents, _differentiable_step(xp, node, parents, g))


def propagate(
    roots: Sequence[tuple[Node | Leaf, Any]],
    wanted: Sequence[Node | Leaf] | None = None,
    *,
    retain_graph: bool = False,
    create_graph: bool = False,
    since: int = 1,
) -> dict[Node | Leaf, Any]:
    """Carry gradients from `roots` back through the tape.

    Parameters
    ----------
    roots : sequence of (entry, gradient)
        Where to start, and the gradient there: raw arrays, or Tensors with `create_graph`.
    wanted : sequence of entries, optional
        Whose gradients to compute; every leaf otherwise.
    retain_graph : bool
        Keep the saved values for another pass.
    create_graph : bool
        Record the pass itself, so that its results can be differentiated. Keeps saved values.
    since : int
        With `wanted`: nodes of before this order are not passed.

    Returns
    -------
    dict
        Gradient by entry, of the entries that any gradient reached.

    Raises
    ------
    GraphError
        If saved values are freed already.
    """
    kind = _RecordedPass if create_graph else _Pass
    walk = kind(roots, wanted, retain_graph, since)
    waiting, gradients, step, old = walk.waiting, walk.gradients, walk.step, walk.old
    with walk:
        while waiting:
            order, node = heappop(waiting)
            g = gradients.pop(node)
            if order > old or walk.special:
                g = walk.arrive(node, g)
                if g is None:
                    continue
            step(node, g)
    return walk.finish()


def _freed(node: Node) -> GraphError:
    return GraphError(
        f"backward: the values that {node.primitive.name} saved were freed by an "
        "earlier backward pass; write backward(retain_graph=True) there"
    )


def _raw_parts(g: Any) -> tuple[Any, Array]:
    """A gradient as a raw array, or several of them, and one array of it."""
    g = as_raw(g)
    if type(g) is not Several:
        return g, g
    g = Several(map(as_raw, g))
    return g, next(a for a in g if a is not None)


def _cast_to(xp: Any, g: Any, dtype: np.dtype[Any]) -> Any:
    """A gradient in the dtype of what it is towards; the real part for what is real."""
    return xp.astype(xp.real(g) if g.dtype.kind == "c" != dtype.kind else g, dtype)


def _wide_sum(g: Any, part: Any) -> Any:
    """Sum of gradients of 16-bit numbers in float32: in 16 bits it stops to grow."""
    return g.astype(np.float32, copy=False) + part


def _narrowed(g: Any, dtype: np.dtype[Any]) -> Any:
    """A sum of :func:`_wide_sum` as the gradient that it is."""
    with backend.on_device_of(g.array if isinstance(g, Tensor) else as_raw(g)):
        return g.astype(dtype)


def conjugate(g: Any) -> Any:
    """Gradient that enters or leaves the tape, where its conjugate travels."""
    if g.dtype.kind != "c":
        return g
    if isinstance(g, Tensor):
        return g.conj()
    g = as_raw(g)
    with backend.on_device_of(g):
        return as_raw(g.conj())


def roots_of(result: Any, g: Any) -> list[tuple[Node | Leaf, Any]]:
    """Where a pass through a plain form begins: the entries of its results, with gradients."""
    pairs = zip(result, g, strict=True) if isinstance(result, tuple) else [(result, g)]
    return [
        (t._node, conjugate(part)) for t, part in pairs if part is not None and t._node is not None
    ]


def _differentiable_step(
    xp: Any, node: Node, parents: tuple[Node | Leaf | None, ...], g: Tensor
) -> Sequence[Any]:
    """Gradients of the operands as tensors that are on the tape themselves."""
    primitive = node.primitive
    saved = [
        wrap(a, p) if backend.is_array(a) else _as_tensor(a, node, g) if type(a) in _NUMERIC else a
        for a, p in zip(node.saved or (), node.parents, strict=True)
    ]
    if primitive.reference is not None:
        return _through_reference(xp, node, parents, saved, g)
    out = node.out
    if out is not None:
        out = wrap(out, node) if type(out) is not Several else outputs(out, node)
    if primitive.joint:
        needs = [p is not None for p in parents]
        parts: Sequence[Any] = primitive.vjp(  # type: ignore[misc, operator]
            xp, needs, g, out, *saved, **node.attrs
        )
        return parts
    return [
        None if p is None else primitive.rules[i](xp, g, out, *saved, **node.attrs)  # type: ignore[misc]
        for i, p in enumerate(parents)
    ]


_NUMERIC = (int, float, complex)


def _as_tensor(number: complex, node: Node, g: Any) -> Tensor:
    """A Python number among operands, in their dtype: functions of it alone would be float32."""
    some = next(t for t in g if t is not None) if type(g) is Several else g
    real = node.dtype.kind == "c" and not isinstance(number, complex)
    dtype = node.dtype.char.lower() if real else node.dtype
    return wrap(NAMESPACES[type(some.array)].asarray(number, dtype))


def _through_reference(
    xp: Any,
    node: Node,
    parents: tuple[Node | Leaf | None, ...],
    saved: list[Any],
    g: Tensor,
) -> Sequence[Any]:
    """Gradients of a fused operation through its plain form, which can be differentiated."""
    inner = [s if p is None else identity(s) for s, p in zip(saved, parents, strict=True)]
    result = node.primitive.reference(xp, *inner, **node.attrs)  # type: ignore[misc]
    entries = [None if p is None else t._node for t, p in zip(inner, parents, strict=True)]
    wanted = [e for e in entries if e is not None]
    found = propagate(roots_of(result, g), wanted, create_graph=True)
    return [None if e not in found else conjugate(found[e]) for e in entries]
