"""Entries of the tape: what a node keeps for its rule."""

import itertools
import sys
import weakref
from types import CodeType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from gputensor.autograd.primitive import Primitive
    from gputensor.autograd.tensor import Leaf
    from gputensor.autograd.watch import Hooks


NO_ATTRS: dict[str, Any] = {}

next_order = itertools.count(0, -1).__next__

_ref = weakref.ref

_getframe = sys._getframe


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
    hooks: "Hooks"  # unset until there is one


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
