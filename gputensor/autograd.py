"""Tensor, Primitive and the tape: reverse-mode differentiation without knowing any operation.

How it works, in full:

* A :class:`Tensor` is a raw array (``.array``) and its place on the tape (``._node``): ``None``
  where no gradient is wanted, a :class:`Leaf` for what the user differentiates, and a
  :class:`Node` for a result computed from either.
* A :class:`Primitive` is an operation on raw arrays with its derivative rules. Calling one runs
  the operation and, if an operand is on the tape, makes a Node that remembers the primitive, the
  operands' nodes and the arrays that the rules will need.
* :func:`propagate` walks the nodes from the result back, latest first, hands each node's
  gradient to the rules and adds what they return to the gradients of its parents.

A rule is a vector-Jacobian product (VJP), ``rule(xp, g, out, x, y, ...)``: `g` is the gradient of
the result, `out` the result, the others are the operands. It is written against a namespace
`xp`: NumPy's or CuPy's when gradients are plain arrays, gputensor's own when they are to be
differentiated again (``create_graph=True``), so that higher derivatives need no further code.
A parameter whose name begins with an underscore is not kept for the rule: it arrives as an object
that has only ``shape`` and ``dtype``.

Complex gradients are PyTorch's, the direction of steepest ascent ``dL/da + i dL/db`` at
``a + ib``. On the tape, and so in the rules, travels its conjugate: towards it a holomorphic
function's rule reads as that of a real one, ``g * y`` for a product and not ``g * conj(y)``.
:func:`propagate` conjugates at both ends, and passes on the real part to a real operand.

Saved arrays share memory with tensors. Whatever writes into memory that is in use tells
:func:`changed`; a backward pass then refuses nodes that are older than the change and saved
something there.
"""

import contextlib
import importlib
import inspect
import itertools
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from types import CodeType, FrameType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias, TypeVar, overload

import numpy as np

from gputensor import backend, config, memory
from gputensor.backend import NAMESPACES, Array, Device
from gputensor.errors import (
    AnomalyError,
    AxisError,
    DeviceMismatchError,
    DTypeError,
    GPUTensorError,
    GraphError,
    ImplicitTransferError,
    OperandError,
    OutOfRangeError,
    ShapeError,
)

__all__ = [
    "PRIMITIVES",
    "Leaf",
    "Node",
    "Primitive",
    "Tensor",
    "changed",
    "clearer",
    "detect_anomaly",
    "enable_grad",
    "grad_enabled",
    "no_grad",
    "primitive",
    "propagate",
    "wrap",
]

Scalar: TypeAlias = bool | int | float | complex
_Function = TypeVar("_Function", bound=Callable[..., Any])

_NO_ATTRS: dict[str, Any] = {}
_SCALARS = (bool, int, float, complex)
_NUMBERS = (*_SCALARS, np.generic)
next_order = itertools.count(0, -1).__next__
_new = object.__new__
_ndarray = np.ndarray
_ref = weakref.ref
_getframe = sys._getframe
_getrefcount = sys.getrefcount

# gputensor.ops puts itself here: the namespace of rules under create_graph=True.
differentiable_namespace: Any = SimpleNamespace()


class _Recording(threading.local):
    enabled = True
    suspicious = False  # whether gradients are looked at
    transforms = 0  # see in_transform

    def __init__(self) -> None:
        self.before: list[bool] = []  # what the contexts entered and not yet left found
        self.suspicious_before: list[bool] = []


_recording = _Recording()


def grad_enabled() -> bool:
    """Whether operations are put on the tape in this thread."""
    return _recording.enabled


class Mode(contextlib.ContextDecorator):
    """Context and decorator that changes how operations run, in each thread for itself.

    Attributes
    ----------
    name : str
        How users call it.
    """

    name: str

    def __call__(self, function: _Function) -> _Function:
        """`function`, called inside the context."""
        if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
            raise TypeError(
                f"{self.name}: {function.__name__} is a generator or coroutine, whose body runs "
                f"after the call has returned; write `with gt.{self.name}(...):` inside it"
            )
        return super().__call__(function)


class GradMode(Mode):
    """Context and decorator of :func:`no_grad` and :func:`enable_grad`.

    Parameters
    ----------
    name : str
        How users call it.
    enabled : bool
        Whether operations are put on the tape inside.
    """

    def __init__(self, name: str, enabled: bool) -> None:
        self.name = name
        self.enabled = enabled

    def __enter__(self) -> Self:
        _recording.before.append(_recording.enabled)
        _recording.enabled = self.enabled
        return self

    def __exit__(self, *error: object) -> None:
        _recording.enabled = _recording.before.pop()


class in_transform(GradMode):
    """Context in which a transform, such as ``gt.grad``, calls the user's function.

    A tensor on the tape does not become a Python number there.
    """

    def __init__(self) -> None:
        super().__init__("in_transform", True)

    def __enter__(self) -> Self:
        _recording.transforms += 1
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        _recording.transforms -= 1


@overload
def no_grad() -> GradMode: ...
@overload
def no_grad(function: _Function, /) -> _Function: ...
def no_grad(function: Any = None, /) -> Any:
    """Keep operations off the tape, in this thread; a context manager and a decorator.

    Examples
    --------
    >>> with gt.no_grad():
    ...     prediction = model(x)
    >>> @gt.no_grad
    ... def predict(x):
    ...     return model(x)
    """
    mode = GradMode("no_grad", False)
    return mode if function is None else mode(function)


@overload
def enable_grad() -> GradMode: ...
@overload
def enable_grad(function: _Function, /) -> _Function: ...
def enable_grad(function: Any = None, /) -> Any:
    """Put operations on the tape again, inside :func:`no_grad`; used like it."""
    mode = GradMode("enable_grad", True)
    return mode if function is None else mode(function)


class _Change:
    """The latest change in place of a memory that is still there.

    Attributes
    ----------
    order : int
        Running number, counting down as those of the nodes do.
    name : str
        What changed it, for the error.
    code, instruction : code object, int
        The user's place that it was changed at, see :func:`line_of`.
    memory : weakref.ref
        The array that owns the memory; takes this entry away when it goes.
    """

    __slots__ = ("code", "instruction", "memory", "name", "order")

    code: CodeType
    instruction: int

    def __init__(self, memory: Array) -> None:
        key = id(memory)
        self.memory = weakref.ref(memory, lambda _: _changes.pop(key, None))
        self.order = 0
        self.name = ""


_changes: dict[int, _Change] = {}  # by the id of the array that owns the memory
_latest_change = 1  # the order of the latest of all: a node of a lower one has nothing to fear


def memory_of(array: Array) -> Array:
    """The array that owns the memory of `array`, itself if it is no view."""
    array = getattr(array, "value", array)  # what a tracer stands for
    base = array.base
    while base is not None and hasattr(base, "base"):
        array, base = base, base.base
    return array


def changed(array: Array, name: str) -> None:
    """Note that the memory of a raw array was written to, and by what."""
    global _latest_change
    memory = memory_of(array)
    change = _changes.get(id(memory))
    if change is None:
        change = _changes[id(memory)] = _Change(memory)
    change.name = name
    _note_place(change)
    change.order = _latest_change = next_order()


def was_changed(array: Array, since: int = 1) -> bool:
    """Whether :func:`changed` was told of an array's memory after ``next_order()`` was `since`."""
    change = _changes.get(id(memory_of(array)))
    return change is not None and change.order < since


def _check_unchanged(node: "Node") -> None:
    """Refuse a node that has saved what was changed in place afterwards."""
    waiting: list[Any] = [node.out, *(node.saved or ()), *node.attrs.values()]
    while waiting:
        value = waiting.pop()
        if isinstance(value, (tuple, list)):  # an index
            waiting += value
        elif type(value) in NAMESPACES:
            change = _changes.get(id(memory_of(value)))
            if change is not None and change.order < node.order:
                raise GraphError(
                    f"backward: {node.primitive.name} saved a value for its gradient "
                    f"({line_of(node)}) that {change.name} changed in place afterwards "
                    f"({line_of(change)}); go backward before the change, or make a new tensor "
                    "instead: x = x + y, not x += y"
                )


def watched(leaves: Iterable["Leaf"]) -> bool:
    """Whether a backward pass to `leaves` calls hooks of theirs, or looks for anomalies."""
    return _watched > 0 and (
        _recording.suspicious or any(getattr(leaf, "hooks", None) for leaf in leaves)
    )


# Number of hooks, and of contexts that look for anomalies, in all threads.
_watched = 0
_watching = threading.Lock()
_accumulating = threading.RLock()  # held while gradients of leaves change: passes may run at once


def _watch(more: int) -> None:
    global _watched
    with _watching:
        _watched += more


class detect_anomaly(Mode):
    """Find where gradients become NaN or infinite; a context manager and a decorator.

    Inside, in this thread, a backward pass looks at each gradient that it computes, which waits
    for the device. Outside, nothing of this costs anything.

    Raises
    ------
    AnomalyError
        At the first such gradient, naming the operation and the line of the forward pass.

    Examples
    --------
    >>> with gt.detect_anomaly():
    ...     loss = gt.sqrt(x).sum()
    ...     loss.backward()
    """

    name = "detect_anomaly"

    def __enter__(self) -> "detect_anomaly":
        _watch(1)
        _recording.suspicious_before.append(_recording.suspicious)
        _recording.suspicious = True
        return self

    def __exit__(self, *error: object) -> None:
        _watch(-1)
        _recording.suspicious = _recording.suspicious_before.pop()


def line_of(entry: "Node | Leaf | _Change") -> str:
    """Where the user's code made a tape entry or a change, in words."""
    return 'at {}, in {}: "{}"'.format(*backend.place(entry.code, entry.instruction))


_user_code: CodeType | None = None  # that last found to be the user's, to be quick in a loop


def _frame_of_user(frame: FrameType) -> FrameType:
    global _user_code
    found = backend.user_frame(frame)
    if found is frame:
        _user_code = frame.f_code
    return found


def _note_place(entry: "Leaf | _Change") -> None:
    """Note where the user's code is, without its frame, which would keep all variables alive."""
    frame = backend.user_frame(_getframe(2))
    entry.code, entry.instruction = frame.f_code, frame.f_lasti


def _check_finite(node: "Node", i: int, g: Any, part: Any) -> None:
    if isinstance(part, Several):
        return  # a gradient that only finds its place
    array, before = (t.array if isinstance(t, Tensor) else _array(t) for t in (part, g))
    xp = NAMESPACES[type(array)]
    if bool(xp.isfinite(array).all()):
        return
    came = [] if isinstance(before, Several) else [before]
    already = any(not bool(xp.isfinite(a).all()) for a in came)
    kind = "NaN" if bool(xp.isnan(array).any()) else "infinite"
    raise AnomalyError(
        f"backward: the gradient of operand {i} of {node.primitive.name} is {kind}"
        + (", as is the gradient of its result" if already else "")
        + f" (made {line_of(node)})"
    )


class HookHandle:
    """A hook that was set by :meth:`Tensor.register_hook`."""

    def __init__(self, hooks: dict[int, Callable[[Any], Any]], key: int) -> None:
        self._hooks = hooks
        self._key = key

    def remove(self) -> None:
        """Take the hook away; a second time does nothing."""
        if self._hooks.pop(self._key, None) is not None:
            _watch(-1)


def _hooked(entry: "Node | Leaf", g: Any) -> Any:
    """A gradient on the tape after the hooks of its tensor."""
    for hook in list(getattr(entry, "hooks", {}).values()):
        backend.end_recording("a hook is called")
        given = _conjugate(g)
        # A copy, which the hook may keep: the gradient's memory may be used again.
        if isinstance(given, Tensor):
            given = differentiable_namespace.positive(given)
        else:
            given = _array(given)
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
        g = _conjugate(new if isinstance(g, Tensor) else new.array)
    return g


class Leaf:
    """Tape entry of a tensor that gradients are accumulated for.

    Attributes
    ----------
    grad : Tensor or None
        Sum of the gradients since it was last None.
    buffer : array or None
        Where gradients are written if an optimizer has given them a place. `grad` is around it,
        or around an array of its own that the user has been given, see :meth:`given`.
    writer : dict or None
        Results of the backward pass that has written into `buffer` and not accumulated yet.
    place : Place or None
        Where the tensor's values are if an optimizer has laid several side by side.
    code, instruction : code object, int
        The user's place that made it, see :func:`line_of`.
    """

    __slots__ = (
        "buffer",
        "code",
        "dtype",
        "grad",
        "hooks",
        "instruction",
        "place",
        "shape",
        "writer",
    )

    code: CodeType
    instruction: int
    hooks: dict[int, Callable[[Any], Any]]  # unset until there is one

    def __init__(self, array: Array) -> None:
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = array.dtype
        self.place: Any = None
        self.grad: Tensor | None = None
        self.buffer: Array | None = None
        self.writer: dict[Node | Leaf, Any] | None = None
        _note_place(self)

    def accumulate(
        self, g: Array, own: bool, writer: "dict[Node | Leaf, Any] | None" = None
    ) -> None:
        """Add the raw gradient `g`, with :data:`_accumulating` held.

        Parameters
        ----------
        g : array
        own : bool
            Whether nobody else has its memory, so that it is kept without a copy.
        writer : dict, optional
            Results of the backward pass that it comes from.
        """
        buffer = self.buffer
        if buffer is not None and (self.writer is None or self.writer is writer):
            self.writer = None
            if self.grad is not None and g is buffer:  # another pass came first
                buffer += self.grad.array
            elif self.grad is not None:
                self.settle()
                buffer += g
            elif g is not buffer:
                buffer[...] = g
            changed(buffer, "a backward pass")
            self.grad = wrap(buffer)
        elif self.grad is not None:
            self.grad = wrap(_array(self.grad.array + g))
        else:
            self.grad = wrap(g if own and g.flags.c_contiguous else _copied(g))

    def settle(self) -> None:
        """Bring the gradient into `buffer`, if the user was given it and may have changed it."""
        if self.buffer is not None and self.grad is not None and self.grad.array is not self.buffer:
            self.buffer[...] = self.grad.array

    def given(self) -> "Tensor | None":
        """The gradient for the user, who may keep and change it: not in `buffer`, which changes."""
        if self.buffer is None:
            return self.grad
        with _accumulating, backend.on_device_of(self.buffer):
            if self.grad is not None and self.grad.array is self.buffer:
                self.grad = wrap(self.buffer.copy())
            return self.grad


class Node:
    """Tape entry of a computed tensor.

    Attributes
    ----------
    order : int
        Running number, counting down: the latest node is the first of a heap.
    primitive : Primitive
    parents : tuple
        Node, Leaf or None for each operand.
    saved : tuple or None
        For each operand its raw array, or something with its shape and dtype where the rules do
        not need the values. None once a backward pass has freed it.
    out : array or None
        The raw result, where the rules need it.
    attrs : dict
        Keyword arguments of the call.
    code, instruction : code object, int
        The user's place that called the primitive, see :func:`line_of`.
    """

    __slots__ = (
        *("attrs", "code", "dtype", "hooks", "instruction", "order", "out", "parents"),
        *("primitive", "saved", "shape"),
    )

    order: int
    primitive: "Primitive"
    parents: "tuple[Node | Leaf | None, ...]"
    saved: tuple[Any, ...] | None
    out: Any
    attrs: dict[str, Any]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    code: CodeType
    instruction: int
    hooks: dict[int, Callable[[Any], Any]]  # unset until there is one


class Spec:
    """Shape and dtype of an operand whose values the rules do not need."""

    __slots__ = ("dtype", "shape")

    def __init__(self, operand: Any) -> None:
        self.shape: tuple[int, ...] = getattr(operand, "shape", ())
        self.dtype: Any = getattr(operand, "dtype", type(operand))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Spec):
            return NotImplemented
        return self.shape == other.shape and bool(self.dtype == other.dtype)

    __hash__ = None  # type: ignore[assignment]


class Several(tuple[Any, ...]):
    """The results of one operation, or their gradients, None where there is none.

    Each result has a node of its own, of the primitive ``output``. Its parent is the operation's
    node, where the gradients of all results come together in one of these.
    """

    __slots__ = ()
    # The tape compares these of a gradient and its node; they are the same for all.
    shape = ()
    dtype = np.dtype(np.float64)

    def __add__(self, other: "Several") -> "Several":  # type: ignore[override]
        return Several(
            b if a is None else a if b is None else a + b for a, b in zip(self, other, strict=True)
        )


# What to write where NumPy or Python would lose the gradient.
_WITH_GRADIENT = (
    "gt.stack([x, y]) for np.array([x, y]), z = gt.zeros(n) and z[key] = x to fill an array, "
    "gt.full(n, x) for np.full(n, x), gt.exp(x) for math.exp(x), gt.where(x > y, x, y) to choose"
)


class Tensor:
    """Array on one device that operations are recorded for. Make one with :func:`tensor`.

    Attributes
    ----------
    array : numpy.ndarray or cupy.ndarray
        The raw array; it shares memory with the tensor.

    Notes
    -----
    ``x += y`` and ``x[key] = value`` change `x` and whatever shares its memory, as in NumPy; dtype
    and shape stay. Where gradients are recorded they are right, or the change is refused before
    anything is changed: on tensors made with ``requires_grad=True``, and where the memory is in use
    elsewhere, by an array, a detached tensor or an operation that has saved it. Views by indexing,
    reshaping and permuting follow. A backward pass that needs a value which was changed after it
    was saved is refused, too.
    """

    __slots__ = ("__weakref__", "_frozen", "_node", "_view", "_views", "array")

    array: Array
    _node: Node | Leaf | None
    _frozen: Leaf  # unset until a leaf is frozen: its place on the tape, which it has again later
    # Unset but for views: the tensor it is a view of, View, and what the two depend on.
    _view: "tuple[Tensor, View, Any]"
    _views: "_Views"  # unset but for tensors that there were views of

    if TYPE_CHECKING:  # gputensor.ops attaches these; declared here for type checkers
        __add__: Callable[["Tensor", Any], "Tensor"]
        __radd__: Callable[["Tensor", Any], "Tensor"]
        __sub__: Callable[["Tensor", Any], "Tensor"]
        __rsub__: Callable[["Tensor", Any], "Tensor"]
        __mul__: Callable[["Tensor", Any], "Tensor"]
        __rmul__: Callable[["Tensor", Any], "Tensor"]
        __truediv__: Callable[["Tensor", Any], "Tensor"]
        __rtruediv__: Callable[["Tensor", Any], "Tensor"]
        __floordiv__: Callable[["Tensor", Any], "Tensor"]
        __mod__: Callable[["Tensor", Any], "Tensor"]
        __pow__: Callable[["Tensor", Any], "Tensor"]
        __rpow__: Callable[["Tensor", Any], "Tensor"]
        __matmul__: Callable[["Tensor", Any], "Tensor"]
        __rmatmul__: Callable[["Tensor", Any], "Tensor"]
        __rfloordiv__: Callable[["Tensor", Any], "Tensor"]
        __rmod__: Callable[["Tensor", Any], "Tensor"]
        __and__: Callable[["Tensor", Any], "Tensor"]
        __rand__: Callable[["Tensor", Any], "Tensor"]
        __or__: Callable[["Tensor", Any], "Tensor"]
        __ror__: Callable[["Tensor", Any], "Tensor"]
        __xor__: Callable[["Tensor", Any], "Tensor"]
        __rxor__: Callable[["Tensor", Any], "Tensor"]
        __lshift__: Callable[["Tensor", Any], "Tensor"]
        __rlshift__: Callable[["Tensor", Any], "Tensor"]
        __rshift__: Callable[["Tensor", Any], "Tensor"]
        __rrshift__: Callable[["Tensor", Any], "Tensor"]
        __array_namespace__: Callable[..., Any]
        __neg__: Callable[["Tensor"], "Tensor"]
        __pos__: Callable[["Tensor"], "Tensor"]

        def __abs__(self) -> "Tensor": ...
        def __eq__(self, other: object) -> "Tensor": ...  # type: ignore[override]
        def __ne__(self, other: object) -> "Tensor": ...  # type: ignore[override]

        __invert__: Callable[["Tensor"], "Tensor"]
        __lt__: Callable[["Tensor", Any], "Tensor"]
        __le__: Callable[["Tensor", Any], "Tensor"]
        __gt__: Callable[["Tensor", Any], "Tensor"]
        __ge__: Callable[["Tensor", Any], "Tensor"]
        __getitem__: Callable[["Tensor", Any], "Tensor"]

        def __setitem__(self, key: Any, value: Any) -> None: ...

        __iadd__: Callable[["Tensor", Any], "Tensor"]
        __isub__: Callable[["Tensor", Any], "Tensor"]
        __imul__: Callable[["Tensor", Any], "Tensor"]
        __itruediv__: Callable[["Tensor", Any], "Tensor"]
        __ifloordiv__: Callable[["Tensor", Any], "Tensor"]
        __imod__: Callable[["Tensor", Any], "Tensor"]
        __ipow__: Callable[["Tensor", Any], "Tensor"]
        __imatmul__: Callable[["Tensor", Any], "Tensor"]
        __iand__: Callable[["Tensor", Any], "Tensor"]
        __ior__: Callable[["Tensor", Any], "Tensor"]
        __ixor__: Callable[["Tensor", Any], "Tensor"]
        __ilshift__: Callable[["Tensor", Any], "Tensor"]
        __irshift__: Callable[["Tensor", Any], "Tensor"]
        __iter__: Callable[["Tensor"], Iterator["Tensor"]]
        T: "Tensor"
        mT: "Tensor"
        imag: "Tensor"
        real: "Tensor"
        abs: Callable[..., "Tensor"]
        all: Callable[..., "Tensor"]
        any: Callable[..., "Tensor"]
        argmax: Callable[..., "Tensor"]
        argmin: Callable[..., "Tensor"]
        astype: Callable[..., "Tensor"]
        argsort: Callable[..., "Tensor"]
        clip: Callable[..., "Tensor"]
        cumprod: Callable[..., "Tensor"]
        cumsum: Callable[..., "Tensor"]
        conj: Callable[..., "Tensor"]
        exp: Callable[..., "Tensor"]
        flatten: Callable[..., "Tensor"]
        log: Callable[..., "Tensor"]
        max: Callable[..., "Tensor"]
        ravel: Callable[..., "Tensor"]
        mean: Callable[..., "Tensor"]
        min: Callable[..., "Tensor"]
        permute_dims: Callable[..., "Tensor"]
        prod: Callable[..., "Tensor"]
        relu: Callable[..., "Tensor"]
        reshape: Callable[..., "Tensor"]
        sigmoid: Callable[..., "Tensor"]
        sqrt: Callable[..., "Tensor"]
        square: Callable[..., "Tensor"]
        squeeze: Callable[..., "Tensor"]
        std: Callable[..., "Tensor"]
        sum: Callable[..., "Tensor"]
        tanh: Callable[..., "Tensor"]
        transpose: Callable[..., "Tensor"]
        var: Callable[..., "Tensor"]

    # Identity, as elements are what == compares.
    __hash__ = object.__hash__

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise TypeError("make a tensor with gt.tensor(data) or gt.asarray(array)")

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        shape: tuple[int, ...] = self.array.shape
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of an element."""
        dtype: np.dtype[Any] = self.array.dtype
        return dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return int(self.array.ndim)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(self.array.size)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return int(self.array.nbytes)

    @property
    def device(self) -> Device:
        """Device that the elements are on."""
        return backend.device_of(self.array)

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this tensor; settable on tensors that are not computed."""
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if isinstance(self._node, Node):
            if not value:
                raise GraphError("a computed tensor cannot leave the tape; use x.detach()")
        elif not value:
            if self._node is not None:
                self._frozen = self._node
            self._set_leaf(None)
        elif self._node is None:
            if self.dtype.kind not in "fcV":
                raise DTypeError(
                    f"requires_grad: only floating point tensors have gradients, this one is "
                    f"{self.dtype}; convert it first, for example x.astype(gt.float32)"
                )
            self._set_leaf(leaf_of(self) or Leaf(self.array))

    def _set_leaf(self, leaf: Leaf | None) -> None:
        if (recording := backend.recording()) is not None and leaf is not self._node:
            recording.leaf_set(self)
        self._node = leaf

    @property
    def grad(self) -> "Tensor | None":
        """Accumulated gradient; None before a backward pass, and for computed tensors.

        It is the same tensor until something is added to the gradient: changed in place it is what
        an optimizer's step takes. Later passes and steps do not change it.
        """
        leaf = leaf_of(self)
        return None if leaf is None else leaf.given()

    @grad.setter
    def grad(self, value: "Tensor | None") -> None:
        leaf = leaf_of(self)
        if leaf is None:
            if value is None and self._node is None:
                return
            raise GraphError("grad can be set on tensors made with requires_grad=True only")
        if value is None or value is leaf.grad:  # the latter after `x.grad *= 2`
            leaf.grad = value
            return
        if not isinstance(value, Tensor):
            raise TypeError(f"grad must be a Tensor or None, got {type(value).__name__}")
        if value.shape != self.shape:
            raise ShapeError(f"grad has shape {value.shape}, the tensor has {self.shape}")
        if value.device != self.device:
            raise DeviceMismatchError(f"grad is on {value.device}, the tensor on {self.device}")
        with _accumulating:
            leaf.grad = None
            leaf.accumulate(_cast("grad", value.array, self.dtype), own=False)

    def backward(self, gradient: "Tensor | None" = None, retain_graph: bool = False) -> None:
        """Add the gradient of this tensor to ``.grad`` of every leaf it was computed from.

        Parameters
        ----------
        gradient : Tensor, optional
            Gradient of the final result with respect to this tensor, of its shape; 1 for a
            real tensor of one element.
        retain_graph : bool
            Keep the saved values for another backward pass.

        Raises
        ------
        GraphError
            If nothing here requires a gradient, the saved values are freed already, or
            `gradient` is missing for a tensor of several elements or a complex one.
        ShapeError
            If `gradient` has another shape.
        DTypeError
            If `gradient` is complex and this tensor is not.
        """
        node = self._node
        if node is None:
            raise GraphError(
                "backward: this tensor was computed from nothing that requires a gradient; make "
                "an input with requires_grad=True, and compute outside gt.no_grad()"
            )
        g = seed_gradient(self, gradient)
        found = propagate([(node, g)], retain_graph=retain_graph)
        with _accumulating:
            while found:
                leaf, value = found.popitem()
                own = value.base is None and _getrefcount(value) <= _ALONE
                leaf.accumulate(value, own, found)  # type: ignore[union-attr]

    def register_hook(self, hook: "Callable[[Tensor], Tensor | None]") -> HookHandle:
        """Have `hook` called with the gradient of this tensor in every backward pass.

        Parameters
        ----------
        hook : callable
            Takes the gradient, once a pass and complete. May return another of its shape and
            dtype, which goes on in its place; must not change it in place.

        Returns
        -------
        HookHandle
            Its ``remove()`` takes the hook away.

        Raises
        ------
        GraphError
            If no gradient flows to this tensor.
        """
        if self._node is None:
            raise GraphError("register_hook: this tensor requires no gradient")
        _watch(1)
        if getattr(self._node, "hooks", None) is None:
            self._node.hooks = {}
        key = next_order()
        self._node.hooks[key] = hook
        return HookHandle(self._node.hooks, key)

    def detach(self) -> "Tensor":
        """Same elements in the same memory, off the tape."""
        return wrap(self.array)

    def to(self, where: str | Device) -> "Tensor":
        """Same values on another device; the tensor itself if it is there. Differentiable.

        A copy has its axes in the same order in memory.
        """
        target = backend.device(where)
        return self if self.device == target else _transfer(self, where=target, here=self.device)

    def cpu(self) -> "Tensor":
        """Same values on the CPU."""
        return self.to("cpu")

    def to_device(self, device: str | Device, /, *, stream: None = None) -> "Tensor":
        """:meth:`to` under the name of the array API standard.

        Raises
        ------
        ValueError
            If a stream is given: transfers take the current one.
        """
        if stream is not None:
            raise ValueError("to_device: stream must be None; enter a CuPy stream to use it")
        return self.to(device)

    def numpy(self) -> "np.ndarray[Any, Any]":
        """NumPy array: of the same memory on the CPU, a copy from CUDA (this waits for it).

        Raises
        ------
        GraphError
            If the tensor is on the tape: NumPy would lose the gradient. Use ``x.detach()``.
        """
        self._leave_tape("numpy", "x.detach().numpy()")
        return backend.to_host(self.array)

    def _leave_tape(self, name: str, instead: str) -> None:
        if self._node is not None and _recording.enabled:
            raise GraphError(
                f"{name}: this tensor requires a gradient, which would be lost; write {instead}"
            )

    def lose_gradient(self, name: str, result: str, instead: str, silent: str) -> None:
        """Refuse a use that would lose the gradient inside a transform; warn of it elsewhere.

        Parameters
        ----------
        name, result : str
            The use, and what comes of it.
        instead, silent : str
            What to write to keep the gradient, and to give it up.
        """
        if self._node is None or not _recording.enabled:
            return
        lost = f"{name}: this tensor requires a gradient, which {result} does not have; write"
        if _recording.transforms:
            raise GraphError(f"{lost} {instead}, {silent} where no gradient is wanted")
        frame = backend.user_frame(_getframe(1))
        warnings.warn_explicit(
            f"{lost} {silent} where none is wanted, else {instead}",
            UserWarning,
            frame.f_code.co_filename,
            frame.f_lineno,
            registry=frame.f_globals.setdefault("__warningregistry__", {}),
        )

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Capsule for another library's ``from_dlpack``, as NumPy's or CuPy's array gives it.

        A view with negative strides, which other libraries do not take, is copied.

        Raises
        ------
        GraphError
            If the tensor is on the tape: the gradient would be lost. Use ``x.detach()``.
        BufferError
            With ``copy=False`` for such a view.
        """
        self._leave_tape("__dlpack__", "x.detach()")
        backend.end_recording("another library is given a tensor")
        array = self.array
        if any(n < 0 for n in array.strides):
            if copy is False:
                raise BufferError("__dlpack__: copy=False, but strides are negative; copy x first")
            with backend.on_device_of(array):
                array, copy = array.copy(), None
        return array.__dlpack__(
            stream=stream, max_version=max_version, dl_device=dl_device, copy=copy
        )

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, index = self.array.__dlpack_device__()
        return kind, index

    def item(self) -> Any:
        """Python number of a tensor with one element; waits for the device.

        Raises
        ------
        ShapeError
            If there is more or less than one element.
        """
        if self.array.size != 1:
            raise ShapeError(f"item: only one element can become a number, shape is {self.shape}")
        return backend.to_host(self.array).item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers; waits for the device."""
        return backend.to_host(self.array).tolist()

    def __float__(self) -> float:
        self.lose_gradient("float", "a Python number", _WITH_GRADIENT, "x.item()")
        return float(self.item())

    def __int__(self) -> int:
        self.lose_gradient("int", "a Python number", _WITH_GRADIENT, "x.item()")
        return int(self.item())

    def __complex__(self) -> complex:
        self.lose_gradient("complex", "a Python number", _WITH_GRADIENT, "x.item()")
        value = self.item()
        # As the array API standard has it, unlike Python.
        return (
            complex(value, value) if value != value and self.dtype.kind == "f" else complex(value)
        )

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise DTypeError(f"only an integer tensor can be an index, this one is {self.dtype}")
        return int(self.item())

    def __bool__(self) -> bool:
        if self.array.size != 1:
            raise ShapeError(
                f"the truth value of a tensor of shape {self.shape} is ambiguous; "
                "use .any() or .all()"
            )
        return bool(self.item())

    def __len__(self) -> int:
        if not self.array.ndim:
            raise TypeError("len() of a 0-dimensional tensor")
        return len(self.array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> "np.ndarray[Any, Any]":
        if self._node is not None and _recording.enabled:
            raise GraphError(
                "NumPy was given a tensor that requires a gradient, which would be lost; write "
                f"{_WITH_GRADIENT}, x.detach().numpy() where no gradient is wanted"
            )
        if not backend.on_cpu(self.array):
            raise ImplicitTransferError(
                f"NumPy was given a tensor on {self.device}; copy it to the host in plain sight: "
                "x.numpy(), or x.detach().numpy() if it requires a gradient"
            )
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __repr__(self) -> str:
        array = backend.to_host(self.array)
        extra = "" if backend.on_cpu(self.array) else f", device={str(self.device)!r}"
        if self.dtype.kind not in "bi" or self.dtype.itemsize != np.dtype(int).itemsize:
            extra += f", dtype={self.dtype}" if self.dtype.kind != "b" else ""
        if isinstance(self._node, Node):
            extra += f", grad_fn={self._node.primitive.name}"
        elif self._node is not None:
            extra += ", requires_grad=True"
        return f"tensor({np.array2string(array, separator=', ', prefix='tensor(')}{extra})"


def leaf_of(t: Tensor) -> Leaf | None:
    """Tape entry that gradients of a tensor are accumulated in; a frozen tensor keeps its own."""
    node = t._node
    if node is None:
        return getattr(t, "_frozen", None)
    return node if isinstance(node, Leaf) else None


class View(NamedTuple):
    """How a view is taken of a tensor, and how values are put back: for changes in place.

    Attributes
    ----------
    take : callable
        ``take(x, key)``, the view of `x`.
    put : callable
        ``put(x, value, key, own)``, `x` with `value` in the place of the view; with `own` it may
        be written into the memory of `x`.
    """

    take: Callable[[Tensor, Any], Tensor]
    put: Callable[[Tensor, Tensor, Any, bool], Tensor]


class _Views(list["weakref.ref[Tensor]"]):
    """Views of a tensor, and some that are gone."""

    __slots__ = ("limit",)

    limit: int  # of its length, before those that are gone are dropped


def note_view(view: Tensor, x: Tensor, how: View, key: Any) -> None:
    """Note that `view` is one of `x`, if that keeps no tape alive which `view` is not on itself."""
    if view._node is None and x._node is not None:
        return
    view._view = (x, how, key)
    views = getattr(x, "_views", None)
    if views is None:
        views = x._views = _Views()
        views.limit = 32
    views.append(_ref(view))
    if len(views) > views.limit:
        views[:] = [ref for ref in views if ref() is not None]
        views.limit = 2 * len(views) + 32


# A Tensor, a raw array or a Python number. CuPy arrays have no static type, hence Any.
Operand: TypeAlias = Any


def wrap(array: Array, node: Node | Leaf | None = None) -> Tensor:
    """Tensor around a raw array, at a place on the tape."""
    t = _new(Tensor)
    t.array = array
    t._node = node
    return t


def seed_gradient(out: Tensor, gradient: Tensor | None) -> Array:
    """Raw gradient that a backward pass from `out` starts with, checked."""
    if gradient is None:
        if out.array.size != 1:
            raise GraphError(
                f"backward: a result of shape {out.shape} needs `gradient`, a tensor of that "
                "shape; or reduce it to one element first, for example with .sum()"
            )
        if out.dtype.kind == "c":
            raise GraphError(
                f"backward: a {out.dtype} result needs `gradient`; or make it real first, for "
                "example with gt.abs or gt.real"
            )
        with backend.on_device_of(out.array):
            return backend.namespace(out.array).ones(out.shape, out.dtype)
    if not isinstance(gradient, Tensor):
        raise TypeError(f"gradient must be a Tensor, got {type(gradient).__name__}")
    if gradient.shape != out.shape:
        raise ShapeError(f"gradient has shape {gradient.shape}, the result has {out.shape}")
    backend.same_device("backward", [out.array, gradient.array])
    return _cast("gradient", gradient.array, out.dtype)


def _cast(name: str, array: Array, dtype: np.dtype[Any]) -> Array:
    """A gradient that the user gave, as `dtype`."""
    if array.dtype.kind == "c" != dtype.kind:
        raise DTypeError(f"{name} is {array.dtype}, the tensor is {dtype}; give its real part")
    return array.astype(dtype, copy=False)


Rule: TypeAlias = Callable[..., Any]


# Every primitive by name: the tests see to it that each has a gradient check.
PRIMITIVES: "dict[str, Primitive]" = {}


def _keeps(rule: Rule, skip: int) -> tuple[bool, ...]:
    """For `out` and each operand of a rule, whether the rule reads its values.

    A star parameter stands for all operands.
    """
    code = rule.__code__
    names = code.co_varnames[skip : code.co_argcount]
    if code.co_flags & _STAR:
        names += (code.co_varnames[code.co_argcount + code.co_kwonlyargcount],)
    return tuple(not name.startswith("_") for name in names)


_STAR = 0x04  # inspect.CO_VARARGS, without importing inspect


# What operations do not take, by their names, in NumPy's letters for dtypes: where NumPy and CuPy
# differ, or either takes what it has no result for. It is the same on both devices.
REFUSED = {
    **dict.fromkeys(("atan2", "copysign", "hypot", "nextafter"), "FD"),  # the compiler would
    "clip": "?FD",
    **dict.fromkeys(("eigh", "eigvalsh"), "e"),
    "sign": "?",
}


# Operations whose results are in C's order in memory, whatever the operands': NumPy would keep some
# of their order, CuPy none. Others are elementwise, make views, or come out in that order anyway.
IN_C_ORDER = {
    *("all", "any", "cofactors", "cofactors_slope", "concat", "cross", "cumulative_prod"),
    *("cumulative_sum", "einsum", "fft", "fftn", "hfft", "ifft", "ifftn", "ihfft", "irfft"),
    *("irfftn", "logsumexp", "max", "mean", "min", "pad", "prod", "rfft", "rfftn", "sort", "sum"),
    *("tril", "triu", "var", "vector_norm"),
}


def _refuse(name: str, arrays: Sequence[Any]) -> DTypeError:
    found = ", ".join(str(getattr(a, "dtype", type(a).__name__)) for a in arrays)
    return DTypeError(f"{name} does not take operands of dtype {found}")


class _Bound(dict[type, Callable[..., Any]]):
    """A primitive's forward function by array type, so that one look-up dispatches a call."""

    def __init__(self, name: str, forward: Callable[..., Any] | None, elementwise: bool) -> None:
        super().__init__()
        self.name = name
        self.forward = forward
        self.elementwise = elementwise
        function = self._function(NAMESPACES[_ndarray])
        # NumPy's own ufuncs refuse by themselves what is in the table.
        self[_ndarray] = function if forward is None else self._checked(function)

    def _function(self, xp: Any) -> Callable[..., Any]:
        if self.forward is None:
            function: Callable[..., Any] = getattr(xp, self.name)
            return function
        forward, in_c_order = self.forward, backend.in_c_order
        if self.name in IN_C_ORDER:
            return lambda *arrays, **attrs: in_c_order(forward(xp, *arrays, **attrs))
        return lambda *arrays, **attrs: forward(xp, *arrays, **attrs)

    def _checked(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, if no operand is of a dtype that :data:`REFUSED` has for it."""
        refused = REFUSED.get(self.name)
        if refused is None:
            return function

        def checked(*arrays: Any, **attrs: Any) -> Any:
            for a in arrays:
                dtype = a.dtype if hasattr(a, "dtype") else np.dtype(type(a))
                if dtype.char in refused:
                    raise _refuse(self.name, arrays)
            return function(*arrays, **attrs)

        return checked

    def __missing__(self, kind: type) -> Callable[..., Any]:
        function = self._checked(self._function(NAMESPACES[kind]))
        if kind in backend.HOST_TYPES:
            self[kind] = function
            return function
        elementwise = self.elementwise

        def on_device(*arrays: Array, **attrs: Any) -> Any:
            there: list[Any] = [a for a in arrays if isinstance(a, kind)]
            backend.same_device(self.name, there)
            with backend.on_device_of(there[0]):
                if elementwise:
                    for a in there:
                        if a.ndim > 1 and not a.flags.c_contiguous:
                            return backend.in_order(function, arrays, attrs)
                return function(*arrays, **attrs)

        self[kind] = on_device
        if elementwise and not hasattr(kind, "recording"):  # arrays, no tracers of such
            eager = importlib.import_module("gputensor.graph.eager")
            self[kind] = eager.Fused(self.traced, on_device, kind)
        return self[kind]

    def traced(self, xp: Any, *arrays: Any, **attrs: Any) -> Any:
        """The forward function in a namespace."""
        if self.forward is None:
            return getattr(xp, self.name)(*arrays, **attrs)
        return self.forward(xp, *arrays, **attrs)


class _Rules(dict[type, tuple[Any, ...]]):
    """A primitive's derivative rules by array type."""

    def __init__(self, rules: tuple[Any, ...], elementwise: bool) -> None:
        super().__init__()
        self.rules = rules
        self.elementwise = elementwise

    def __missing__(self, kind: type) -> tuple[Any, ...]:
        found = self.rules
        if self.elementwise and kind not in backend.HOST_TYPES and not hasattr(kind, "recording"):
            eager = importlib.import_module("gputensor.graph.eager")
            found = eager.rules(found, kind)
        self[kind] = found
        return found


class Primitive:
    """A differentiable operation: what it computes and its derivative rules, in one object.

    Parameters
    ----------
    name : str
        The operation's name; without `forward` also that of the namespace function it is.
    forward : callable, optional
        ``forward(xp, *arrays, **attrs)``, the result as a raw array; or a tuple of several results.
        Then the primitive returns a tuple of tensors, `out` is the tuple of all, and so is `g`,
        with None for a result without a gradient.
    vjp : tuple of callables, callable or None
        A tuple has a rule for each operand, ``rule(xp, g, out, *operands, **attrs)``, and None
        for operands without a gradient. A single callable computes all at once,
        ``rule(xp, needs, g, out, *operands, **attrs)``, and returns a sequence: ``needs[i]`` is
        false where operand `i` needs no gradient, and may be an array of the operand's shape
        into which the gradient can be written (and which is then returned) to save a copy.
        None is for operations without gradients. Rules ignore broadcasting; gradients are summed
        over broadcast axes afterwards. They must not return an operand or `out` itself. The `g`
        of a complex result, and what is returned for a complex operand, is the conjugate of its
        gradient.
    reference : callable, optional
        ``reference(xp, *operands, **attrs)``, the same mathematics in namespace operations, for
        fused operations whose rules cannot be differentiated again. Then all operands are kept.
    elementwise : bool
        Whether an element of the result depends on the elements of the operands at its place alone.
        Then the order of axes in memory is that of the operands on both devices.
    """

    __slots__ = (
        "bound",
        "joint",
        "keep",
        "keep_all",
        "keep_none",
        "keep_out",
        "name",
        "partial",
        "reference",
        "rules",
        "rules_of",
        "vjp",
    )

    def __init__(
        self,
        name: str,
        forward: Callable[..., Any] | None = None,
        vjp: tuple[Rule | None, ...] | Rule | None = None,
        *,
        reference: Callable[..., Any] | None = None,
        elementwise: bool = False,
    ) -> None:
        PRIMITIVES[name] = self
        self.name = name
        self.bound = _Bound(name, forward, elementwise)
        self.vjp = vjp
        self.reference = reference
        self.joint = callable(vjp)
        self.rules: tuple[Rule | None, ...] = vjp if isinstance(vjp, tuple) else ()
        self.rules_of = _Rules(self.rules, elementwise)
        self.partial = None in self.rules
        keep: tuple[bool, ...] = (False,)
        if isinstance(vjp, tuple):
            kept = [_keeps(rule, 2) for rule in vjp if rule is not None]
            keep = tuple(any(k[i] for k in kept) for i in range(len(vjp) + 1))
        elif vjp is not None:
            keep = _keeps(vjp, 3)
        self.keep_out = keep[0]
        self.keep = keep[1:]
        self.keep_all = reference is not None or False not in self.keep
        self.keep_none = True not in self.keep

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def unary(self) -> Callable[[Operand], Tensor]:
        """Function of one operand: :meth:`__call__` without its loops, for speed."""
        bound, record, differentiable = self.bound, self._record, self.vjp is not None

        def function(x: Operand, /) -> Tensor:
            if not isinstance(x, Tensor):
                return self(x)
            array = x.array
            kind = type(array)
            try:
                out = bound[kind](array)
            except (TypeError, MemoryError):
                return self(x)  # which says what is wrong
            if type(out) is not kind:
                out = NAMESPACES[kind].asarray(out)
            t = _new(Tensor)
            t.array = out
            parent = x._node
            if parent is not None and differentiable and _recording.enabled:
                t._node = record(out, (array,), (parent,), _NO_ATTRS)
            else:
                t._node = None
            return t

        return function

    def binary(self, operator: bool = False) -> Callable[[Operand, Operand], Tensor]:
        """Function of two operands: :meth:`__call__` without its loops, for speed.

        Parameters
        ----------
        operator : bool
            Whether it is for a method such as ``__add__``, which returns ``NotImplemented`` for
            what it does not know: Python then asks the other object.
        """
        bound, record, differentiable = self.bound, self._record, self.vjp is not None

        def function(x: Operand, y: Operand, /) -> Tensor:
            if not isinstance(x, Tensor) or not isinstance(y, Tensor):
                try:
                    return self(x, y)
                except OperandError:
                    if operator:
                        return NotImplemented  # type: ignore[no-any-return]
                    raise
            a = x.array
            b = y.array
            kind = type(a)
            if kind is not type(b):
                backend.same_device(self.name, [a, b])
            try:
                out = bound[kind](a, b)
            except (TypeError, ValueError, MemoryError):
                return self(x, y)  # which says what is wrong
            if type(out) is not kind:
                out = NAMESPACES[kind].asarray(out)
            t = _new(Tensor)
            t.array = out
            p = x._node
            q = y._node
            if (p is not None or q is not None) and differentiable and _recording.enabled:
                t._node = record(out, (a, b), (p, q), _NO_ATTRS)
            else:
                t._node = None
            return t

        return function

    def __call__(self, *operands: Operand, **attrs: Any) -> Tensor:
        """Run the operation on tensors, raw arrays or Python scalars, and record it.

        Raises
        ------
        DeviceMismatchError
            If operands are on different devices.
        ShapeError
            If their shapes do not fit together.
        DTypeError
            If the operation does not take their dtypes.
        """
        arrays: list[Any] = []
        parents: list[Node | Leaf | None] = []
        tracked = False
        kind: type | None = None
        alike = True
        for operand in operands:
            if isinstance(operand, Tensor):
                array = operand.array
                parent = operand._node
                tracked = tracked or parent is not None
            else:
                array = raw_operand(self.name, operand)
                parent = None
            arrays.append(array)
            parents.append(parent)
            if kind is not type(array) and not isinstance(array, _NUMBERS):
                alike = kind is None
                kind = kind or type(array)
        if kind is None:
            xp = backend.namespace(backend.default_device())
            arrays = [xp.asarray(default_dtype(a)) for a in arrays]
            kind = type(arrays[0])
        elif not alike:
            kind = _follow(operands, arrays) or kind
            backend.same_device(self.name, arrays)
        try:
            out = self.bound[kind](*arrays, **attrs)
        except ValueError as error:
            raise clearer(self.name, arrays, error) from None
        except IndexError as error:
            if "key" not in attrs:
                raise
            raise clearer(self.name, arrays, error) from None
        except TypeError as error:
            for key, value in attrs.items():
                if isinstance(value, (Tensor, np.bool_)) and value.dtype.kind in "biu":
                    return self(*operands, **attrs | {key: value.item()})  # such as keepdims
            if not any(text in str(error) for text in _DTYPE_COMPLAINTS):
                raise
            raise _refuse(self.name, arrays) from None
        except MemoryError as error:
            where = attrs.get("where")  # where a transfer goes
            if not isinstance(where, Device):
                where = backend.device_of(next(a for a in arrays if backend.is_array(a)))
            raise memory.out_of_memory(self.name, where, error) from None
        if type(out) is not kind:
            out = Several(map(_array, out)) if isinstance(out, tuple) else _array(out)
        if tracked and _recording.enabled and self.vjp is not None:
            node = self._record(out, tuple(arrays), tuple(parents), attrs)
            return wrap(out, node) if type(out) is not Several else outputs(out, node)
        return wrap(out) if type(out) is not Several else outputs(out, None)

    def _record(
        self,
        out: Array,
        arrays: tuple[Any, ...],
        parents: tuple[Node | Leaf | None, ...],
        attrs: dict[str, Any],
    ) -> Node | None:
        """Node of a result; None if its gradient cannot reach a parent."""
        dtype = out.dtype
        if dtype.kind not in "fcV":  # V is bfloat16's
            return None
        if self.partial:
            parents = tuple(
                p if rule is not None else None for p, rule in zip(parents, self.rules, strict=True)
            )
            if not any(p is not None for p in parents):
                return None
        node = _new(Node)
        node.order = next_order()
        node.primitive = self
        node.parents = parents
        node.out = out if self.keep_out else None
        if self.keep_all:
            node.saved = arrays
        elif self.keep_none and None not in parents:  # quicker than the general case below
            node.saved = parents
        else:
            keep = self.keep if len(self.keep) == len(arrays) else self.keep * len(arrays)
            node.saved = tuple(
                a if k else p or Spec(a) for a, p, k in zip(arrays, parents, keep, strict=True)
            )
        node.attrs = attrs
        node.shape = out.shape
        node.dtype = dtype
        frame = _getframe(2)
        code = frame.f_code
        if code is not _user_code:
            frame = _frame_of_user(frame)
            code = frame.f_code
        node.code = code
        node.instruction = frame.f_lasti
        return node


primitive = Primitive

_output = Primitive(
    "output",
    lambda xp, results, i, n: results[i],
    (lambda xp, g, _out, _results, i, n: Several(g if k == i else None for k in range(n)),),
)


def outputs(results: Several, node: Node | None) -> Any:
    """Tensors of the results of one operation, which `node` stands for."""
    if node is None:
        return tuple(map(wrap, results))
    return tuple(
        wrap(out, _output._record(out, (results,), (node,), {"i": i, "n": len(results)}))
        for i, out in enumerate(results)
    )


# How NumPy and CuPy say that a function is not for these dtypes.
_DTYPE_COMPLAINTS = (
    *("not supported for the input types", "did not contain a loop"),  # NumPy's
    "unsupported in linalg",
    *("boolean subtract, the", "boolean negative, the"),  # both
    *("Wrong type", "boolean positive, the"),  # CuPy's
)


def default_dtype(value: Any) -> Any:
    """A Python number that decides on a dtype: that of :class:`gputensor.set_default_dtype`."""
    if type(value) is float:
        return config.default_dtype().type(value)
    return config.default_complex().type(value) if type(value) is complex else value


def _items(data: Any) -> Iterator[Any]:
    """What nested lists hold."""
    if isinstance(data, (list, tuple)):
        for item in data:
            yield from _items(item)
    else:
        yield data


def _unwrapped(data: Any) -> Any:
    if isinstance(data, (list, tuple)):
        return [_unwrapped(item) for item in data]
    if isinstance(data, _ndarray):
        return backend.plain(data)
    return backend.to_host(data.array) if isinstance(data, Tensor) else data


def array_of_lists(name: str, data: Any, dtype: Any = None) -> "np.ndarray[Any, Any]":
    """NumPy array of nested lists; Python floats get the default dtype where none was chosen.

    Raises
    ------
    ShapeError
        If their lengths are uneven.
    GraphError
        If they hold tensors that are on the tape.
    """
    if _recording.enabled and any(
        isinstance(item, Tensor) and item._node is not None for item in _items(data)
    ):
        raise GraphError(f"{name}: a list loses its tensors' gradients; write gt.stack(list)")
    try:
        array = np.asarray(_unwrapped(data), dtype)
    except ValueError as error:
        raise ShapeError(f"{name}: nested lists of uneven lengths: {error}") from None
    usual = {"f": config.default_dtype(), "c": config.default_complex()}.get(array.dtype.kind)
    if usual is None or dtype or any(hasattr(item, "dtype") for item in _items(data)):
        return array
    return array.astype(usual)


def raw_operand(name: str, operand: Any) -> Any:
    """Raw array or scalar of an operand that is no Tensor.

    Raises
    ------
    OperandError
        If it is none of these, so that operators leave it to the other object.
    DTypeError
        If elements are no numbers, such as times.
    TypeError
        If it is a subclass of NumPy's array, see :func:`gputensor.backend.plain`.
    """
    if isinstance(operand, _SCALARS):
        return operand
    if isinstance(operand, (list, tuple)):
        operand = array_of_lists(name, operand)
    elif isinstance(operand, np.ndarray):
        operand = backend.plain(operand)
        if (recording := backend.recording()) is not None:
            operand = recording.constant(operand)
    elif not isinstance(operand, np.generic) and not backend.is_array(operand):
        raise OperandError(
            f"{name}: operands are tensors, NumPy or CuPy arrays and Python numbers, "
            f"not {type(operand).__name__}"
        )
    if operand.dtype.kind not in "biufc" and operand.dtype.name != "bfloat16":
        raise DTypeError(f"{name} does not take operands of dtype {operand.dtype}")
    return operand


def as_array(name: str, x: Operand) -> Any:
    """The operand, nested lists as an array on the default device, for its shape."""
    if not isinstance(x, (list, tuple)):
        return x
    return backend.to_device(raw_operand(name, x), backend.default_device())


def _follow(operands: Sequence[Operand], arrays: list[Any]) -> type | None:
    """Bring lists, which live anywhere as numbers do, to the others; the type of those."""
    listed = [isinstance(operand, (list, tuple)) for operand in operands]
    there = [a for a, new in zip(arrays, listed, strict=True) if backend.is_array(a) and not new]
    if not there or not any(listed):
        return None
    home = backend.device_of(there[0])
    arrays[:] = [
        backend.to_device(a, home) if new else a for a, new in zip(arrays, listed, strict=True)
    ]
    return type(there[0])


def clearer(name: str, arrays: Sequence[Any], error: ValueError | IndexError) -> Exception:
    """The same complaint with the operation's name and the operands' shapes."""
    shapes = ", ".join(str(getattr(a, "shape", "scalar")) for a in arrays)
    if isinstance(error, GPUTensorError):
        return error
    if isinstance(error, ValueError):
        return ShapeError(f"{name}: operands of shape {shapes} do not fit: {error}")
    kind = OutOfRangeError if "out of bounds" in str(error) else AxisError
    return kind(f"{name}: the index does not fit operands of shape {shapes}: {error}")


def sum_to(xp: Any, g: Any, shape: tuple[int, ...]) -> Any:
    """Sum a gradient over the axes that `shape` was broadcast along."""
    extra = len(g.shape) - len(shape)
    axes = tuple(range(extra)) + tuple(
        i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1
    )
    if axes:
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


class _Pass(backend.FollowDevice):
    """Context of :func:`propagate`, which says for which operation there was no memory.

    Parameters
    ----------
    results : dict
        What the pass will return.
    """

    def __init__(self, results: dict[Node | Leaf, Any]) -> None:
        super().__init__()
        self._results = results
        self._writes: list[Leaf] = []

    def may_write(self, leaf: Leaf) -> bool:
        """Whether the pass, and no other one, may write a gradient into the buffer of a leaf."""
        if leaf.buffer is None or leaf.grad is not None or leaf.writer is not None:
            return False
        leaf.writer = self._results
        self._writes.append(leaf)
        return True

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        if error[0] is not None:
            for leaf in self._writes:
                leaf.writer = None
        if isinstance(error[1], MemoryError):
            node = error[2].tb_frame.f_locals["node"]  # where propagate was
            where = self._entered or Device("cpu")
            raise memory.out_of_memory(f"{node.primitive.name} backward", where, error[1]) from None


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
    targets: set[Node | Leaf] | None = None
    if wanted is not None:
        targets = set(wanted)
        reached = _leading_to(targets, [entry for entry, _ in roots], since)
    gradients: dict[Node | Leaf, Any] = {}
    waiting: list[tuple[int, Node]] = []  # a heap of the nodes in `gradients`, latest first
    for entry, g in roots:
        g = _conjugate(g)
        if entry in gradients:
            gradients[entry] = gradients[entry] + g
        else:
            gradients[entry] = g
            if isinstance(entry, Node):
                heappush(waiting, (entry.order, entry))
    summed: set[Node | Leaf] = set()  # those whose gradient is a sum that only we have
    wide: set[Node | Leaf] = set()  # those of 16 bits whose gradient is a sum in float32
    results: dict[Node | Leaf, Any] = {}
    old, watched = min(since, _latest_change), _watched
    with _Pass(results) as follow:
        while waiting:
            order, node = heappop(waiting)
            g = gradients.pop(node)
            if wide and node in wide:
                g = _narrowed(g, node.dtype)
            if order > old:
                if order > since:  # only what is wanted there was reached
                    results[node] = _conjugate(_array(g))
                    continue
                _check_unchanged(node)
            if watched and (targets is None or node not in targets):
                g = _hooked(node, g)
            saved = node.saved
            if saved is None:
                raise GraphError(
                    f"backward: the values that {node.primitive.name} saved were freed by an "
                    "earlier backward pass; write backward(retain_graph=True) there"
                )
            parents = node.parents
            if targets is not None:
                if node in targets:
                    results[node] = _array(_conjugate(g))
                parents = tuple(p if p in reached else None for p in parents)
            out = node.out
            attrs = node.attrs
            parts: Sequence[Any] | None = None
            rules = node.primitive.rules
            if create_graph:
                xp = differentiable_namespace
                some = g if type(g) is not Several else next(t for t in g if t is not None)
                if type(some.array) is not _ndarray:
                    follow(some.array)  # rules make raw arrays, too
                parts = _differentiable_step(xp, node, parents, g)
            else:
                if type(g) is not _ndarray:
                    g = some = _array(g)
                    if type(g) is Several:
                        g = Several(map(_array, g))
                        some = next(a for a in g if a is not None)
                    follow(some)
                    xp = NAMESPACES[type(some)]
                    rules = node.primitive.rules_of[type(some)]
                else:
                    xp = NAMESPACES[_ndarray]
                if node.primitive.joint:
                    writing = follow if targets is None else None
                    parts = _joint_step(xp, node, parents, g, gradients, writing)
                if not retain_graph:
                    node.saved = node.out = None
                    node.attrs = _NO_ATTRS
                if rules is not node.primitive.rules and not watched:
                    totals = rules.step(g, out, saved, attrs, parents, gradients, summed)  # type: ignore[attr-defined]
                    if totals is not None:
                        for parent, total in totals:
                            if parent in gradients:
                                summed.add(parent)
                            elif type(parent) is Node:
                                heappush(waiting, (parent.order, parent))
                            gradients[parent] = total
                        continue
            i = -1
            for parent in parents:
                i += 1
                if parent is None:
                    continue
                if parts is not None:
                    part = parts[i]
                    if part is None:
                        continue
                # Calls without unpacking are much the quickest, and most rules need none.
                elif attrs or len(saved) > 2:
                    part = rules[i](xp, g, out, *saved, **attrs)  # type: ignore[misc]
                elif len(saved) == 2:
                    part = rules[i](xp, g, out, saved[0], saved[1])  # type: ignore[misc]
                else:
                    part = rules[i](xp, g, out, saved[0])  # type: ignore[misc]
                if part.shape != parent.shape:
                    part = sum_to(xp, part, parent.shape)
                if part.dtype is not parent.dtype and part.dtype != parent.dtype:
                    part = _cast_to(xp, part, parent.dtype)
                if watched and _recording.suspicious:
                    _check_finite(node, i, g, part)
                before = gradients.get(parent)
                if before is not None:
                    if part.dtype.itemsize == 2:
                        before = _wide_sum(before, part)
                        wide.add(parent)
                    elif parent in summed:
                        before += part
                    else:
                        before = before + part
                        if not create_graph:
                            summed.add(parent)
                    gradients[parent] = before
                else:
                    gradients[parent] = part
                    if type(parent) is Node:
                        heappush(waiting, (parent.order, parent))
    for entry, g in gradients.items():
        if targets is None or entry in targets:
            if wide and entry in wide:
                g = _narrowed(g, entry.dtype)
            if watched and targets is None:
                g = _hooked(entry, g)
            results[entry] = _array(_conjugate(g))
    return results


def _references(found: dict[Any, Any]) -> int:
    _, g = found.popitem()
    return _getrefcount(g)


_ALONE = _references({0: np.empty(0)})  # references to an array that nobody else has


def owned(found: dict[Node | Leaf, Any], entry: Node | Leaf) -> Tensor | None:
    """Take a gradient out of what :func:`propagate` found, for the user, who may change it.

    No other has its memory: no other gradient, hook or tensor of the user's. It is in C's order.
    """
    g = found.pop(entry, None)
    if isinstance(g, Tensor):
        result: Tensor = differentiable_namespace.positive(g)
        return result
    if g is None:
        return None
    if g.base is None and _getrefcount(g) <= _ALONE and g.flags.c_contiguous:
        return wrap(g)
    with backend.on_device_of(g):
        return wrap(_copied(g))


def _copied(g: Array) -> Array:
    return g.copy()


def _cast_to(xp: Any, g: Any, dtype: np.dtype[Any]) -> Any:
    """A gradient in the dtype of what it is towards; the real part for what is real."""
    return xp.astype(xp.real(g) if g.dtype.kind == "c" != dtype.kind else g, dtype)


def _wide_sum(g: Any, part: Any) -> Any:
    """Sum of gradients of 16-bit numbers in float32: in 16 bits it stops to grow."""
    return g.astype(np.float32, copy=False) + part


def _narrowed(g: Any, dtype: np.dtype[Any]) -> Any:
    """A sum of :func:`_wide_sum` as the gradient that it is."""
    with backend.on_device_of(g.array if isinstance(g, Tensor) else _array(g)):
        return g.astype(dtype)


def _array(g: Any) -> Any:
    """`g`, a NumPy scalar as the 0-dimensional array that it came from."""
    return np.asarray(g) if isinstance(g, np.generic) else g


def _conjugate(g: Any) -> Any:
    """Gradient that enters or leaves the tape, where its conjugate travels."""
    if g.dtype.kind != "c":
        return g
    if isinstance(g, Tensor):
        return g.conj()
    g = _array(g)
    with backend.on_device_of(g):
        return _array(g.conj())


def _joint_step(
    xp: Any,
    node: Node,
    parents: tuple[Node | Leaf | None, ...],
    g: Array,
    gradients: dict[Node | Leaf, Any],
    writing: _Pass | None,
) -> Sequence[Any]:
    """Gradients of all operands, written where an optimizer wants them if they are the first."""
    needs: list[Any] = [p is not None for p in parents]
    if writing is not None:
        with _accumulating:
            for i, p in enumerate(parents):
                if type(p) is Leaf and p not in gradients and writing.may_write(p):
                    needs[i] = p.buffer
    rule: Any = node.primitive.vjp
    parts: Sequence[Any] = rule(xp, needs, g, node.out, *(node.saved or ()), **node.attrs)
    return parts


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
    inner = [s if p is None else _identity(s) for s, p in zip(saved, parents, strict=True)]
    result = node.primitive.reference(xp, *inner, **node.attrs)  # type: ignore[misc]
    entries = [None if p is None else t._node for t, p in zip(inner, parents, strict=True)]
    root = result._node, _conjugate(g)
    found = propagate([root], [e for e in entries if e is not None], create_graph=True)
    return [None if e not in found else _conjugate(found[e]) for e in entries]


_identity = Primitive("identity", lambda xp, x: x[...], (lambda xp, g, _out, _x: g,))


def _transfer_back(xp: Any, g: Any, _out: Any, _x: Any, where: Device, here: Device) -> Any:
    return g.to(here) if isinstance(g, Tensor) else backend.to_device(g, here)


_transfer = Primitive(
    "to", lambda xp, x, where, here: backend.to_device(x, where), (_transfer_back,)
)


def _held_by_node(node: Node) -> Iterator[tuple[str, Any]]:
    purpose = f"saved by {node.primitive.name} for its gradient"
    for value in (*(node.saved or ()), node.out, *node.attrs.values()):
        yield purpose, value
        if isinstance(value, tuple):  # a kernel's results
            yield from ((purpose, part) for part in value)


memory.HOLDERS[Node] = _held_by_node
memory.HOLDERS[Tensor] = lambda t: [("tensor", getattr(t, "array", None))]
memory.HOLDERS[Leaf] = lambda leaf: [("gradient", getattr(leaf.grad, "array", leaf.buffer))]
