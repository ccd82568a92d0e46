"""Tensor, Primitive and the tape: reverse-mode differentiation without knowing any operation.

How it works, in full, with the file of each part:

* tensor.py: a :class:`Tensor` is a raw array (``.array``) and its place on the tape
  (``._node``): ``None`` where no gradient is wanted, a :class:`Leaf` for what the user
  differentiates, and a :class:`Node` (tape.py) for a result computed from either.
* primitive.py: a :class:`Primitive` is an operation on raw arrays with its derivative rules.
  Calling one runs the operation and, if an operand is on the tape, makes a Node that remembers
  the primitive, the operands' nodes and the arrays that the rules will need.
* reverse.py: :func:`propagate` walks the nodes from the result back, latest first, hands each
  node's gradient to the rules and adds what they return to the gradients of its parents.
* backward.py: what leaves the pass, to the leaves and to the user.

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

from gputensor.autograd.backward import owned
from gputensor.autograd.changes import changed, line_of, memory_of, was_changed
from gputensor.autograd.modes import Mode, enable_grad, grad_enabled, in_transform, no_grad
from gputensor.autograd.operands import (
    array_of_lists,
    as_array,
    clearer,
    default_dtype,
    raw_operand,
)
from gputensor.autograd.primitive import PRIMITIVES, Primitive, Rule, identity, outputs
from gputensor.autograd.reverse import conjugate, entries_before, propagate
from gputensor.autograd.tape import Node, Several, next_order
from gputensor.autograd.tensor import (
    Leaf,
    Operand,
    Tensor,
    View,
    as_raw,
    leaf_of,
    note_view,
    seed_gradient,
    wrap,
)
from gputensor.autograd.watch import detect_anomaly, watched

__all__ = [
    "PRIMITIVES",
    "Leaf",
    "Mode",
    "Node",
    "Operand",
    "Primitive",
    "Rule",
    "Several",
    "Tensor",
    "View",
    "array_of_lists",
    "as_array",
    "as_raw",
    "changed",
    "clearer",
    "conjugate",
    "default_dtype",
    "detect_anomaly",
    "enable_grad",
    "entries_before",
    "grad_enabled",
    "identity",
    "in_transform",
    "leaf_of",
    "line_of",
    "memory_of",
    "next_order",
    "no_grad",
    "note_view",
    "outputs",
    "owned",
    "propagate",
    "raw_operand",
    "seed_gradient",
    "was_changed",
    "watched",
    "wrap",
]
