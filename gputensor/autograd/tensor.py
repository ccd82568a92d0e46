"""Tensor, and Leaf: where gradients of one are accumulated."""

import sys
import threading
import weakref
from collections.abc import Callable
from types import CodeType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gputensor import backend
from gputensor.autograd.changes import changed, note_place
from gputensor.autograd.tape import Node
from gputensor.autograd.values import Values
from gputensor.autograd.watch import HookHandle, Hooks
from gputensor.backend import Array, Device
from gputensor.errors import (
    DeviceMismatchError,
    DTypeError,
    GraphError,
    ShapeError,
)

_getframe = sys._getframe

_ref = weakref.ref


_new = object.__new__

accumulating = threading.RLock()  # held while gradients of leaves change: passes may run at once


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
    hooks: Hooks  # unset until there is one

    def __init__(self, array: Array) -> None:
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = array.dtype
        self.place: Any = None
        self.grad: Tensor | None = None
        self.buffer: Array | None = None
        self.writer: dict[Node | Leaf, Any] | None = None
        note_place(self)

    def accumulate(
        self, g: Array, own: bool, writer: "dict[Node | Leaf, Any] | None" = None
    ) -> None:
        """Add the raw gradient `g`, with :data:`accumulating` held.

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
            self.grad = wrap(as_raw(self.grad.array + g))
        else:
            self.grad = wrap(g if own and g.flags.c_contiguous else copied(g))

    def settle(self) -> None:
        """Bring the gradient into `buffer`, if the user was given it and may have changed it."""
        if self.buffer is not None and self.grad is not None and self.grad.array is not self.buffer:
            self.buffer[...] = self.grad.array

    def given(self) -> "Tensor | None":
        """The gradient for the user, who may keep and change it: not in `buffer`, which changes."""
        if self.buffer is None:
            return self.grad
        with accumulating, backend.on_device_of(self.buffer):
            if self.grad is not None and self.grad.array is self.buffer:
                self.grad = wrap(self.buffer.copy())
            return self.grad


class Tensor(Values):
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

    Examples
    --------
    >>> x = gt.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.], dtype=float32)
    """

    __slots__ = ("__weakref__", "_frozen", "_node", "_view", "_views", "array")

    array: Array
    _node: Node | Leaf | None
    _frozen: Leaf  # unset until a leaf is frozen: its place on the tape, which it has again later
    # Unset but for views: the tensor it is a view of, View, and what the two depend on.
    _view: "tuple[Tensor, View, Any]"
    _views: "_Views"  # unset but for tensors that there were views of

    # Identity, as elements are what == compares.
    __hash__ = object.__hash__

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise TypeError("make a tensor with gt.tensor(data) or gt.asarray(array)")

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
        with accumulating:
            leaf.grad = None
            leaf.accumulate(_cast("grad", value.array, self.dtype), own=False)

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
        if getattr(self._node, "hooks", None) is None:
            self._node.hooks = Hooks()
        return HookHandle(self._node.hooks, hook)

    def detach(self) -> "Tensor":
        """Same elements in the same memory, off the tape."""
        return wrap(self.array)

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
            one = backend.namespace(out.array).empty(out.shape, out.dtype)  # quicker than `ones`
            one.fill(1)
            return one
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


def copied(g: Array) -> Array:
    return g.copy()


def as_raw(g: Any) -> Any:
    """`g`, a NumPy scalar as the 0-dimensional array that it came from."""
    return np.asarray(g) if isinstance(g, np.generic) else g
