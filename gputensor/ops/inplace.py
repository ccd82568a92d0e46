"""Changes in place: ``x += y`` and ``x[key] = value``.

Off the tape the memory is written, and :func:`gputensor.autograd.changed` told.

On the tape `x` takes the result of the operation that makes a new tensor, ``x + y``, values and
tape entry; what was saved of the old values stays as it was. Nobody can tell this from a change
of the memory as long as nobody else sees the memory, so that is checked first, by counting
references to the arrays. Views by indexing, reshaping and permuting are known, and follow: the
tensor that `x` is a view of gets its values put in, and all views of that are taken again.
"""

import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import (
    Leaf,
    Node,
    Operand,
    Tensor,
    changed,
    grad_enabled,
    line_of,
    memory_of,
    raw_operand,
)
from gputensor.backend import NAMESPACES
from gputensor.errors import DTypeError, GraphError, OperandError, ShapeError
from gputensor.ops import choices, elementwise, products
from gputensor.ops.creation import asarray
from gputensor.ops.data_type import astype
from gputensor.ops.indexing import PART, checked_key, is_basic, set_items, write_items

__all__ = ["OPERATORS", "PARTS", "setitem"]


def _sharing(x: Tensor) -> list[Tensor]:
    """The tensor that owns the memory of `x` and all views of it, each after what it is one of."""
    memory = memory_of(x.array)
    root = x
    while (view := getattr(root, "_view", None)) and memory_of(view[0].array) is memory:
        root = view[0]
    found = [root]
    for t in found:  # which grows
        for ref in getattr(t, "_views", ()):
            view = ref()
            if view is not None and memory_of(view.array) is memory:
                found.append(view)
    return found


def _references(arrays: dict[int, Any], key: int) -> int:
    return sys.getrefcount(arrays[key])


def _root(array: Any) -> Any:
    """The array that owns the memory of another; its tracer, where that is one."""
    if hasattr(array, "recording"):
        return array if array.base is None else array.base
    return memory_of(array)


_OWN_REFERENCES = _references({0: np.empty(1)}, 0)  # those of the dictionary and of the call


def _held_elsewhere(arrays: Sequence[Any]) -> bool:
    """Whether the memory that `arrays` share is held by more than those who hold these."""
    distinct = {id(a): a for a in arrays}
    owner = id(_root(arrays[0]))
    if owner not in distinct:
        distinct[owner] = _root(arrays[0])
    if distinct[owner].base is not None:  # another library's
        return True
    for key in distinct:
        expected = 2 * sum(id(a) == key for a in arrays)  # their holders', and the argument's
        if key == owner:
            expected += sum(id(a.base) == owner for a in distinct.values())
        if _references(distinct, key) - _OWN_REFERENCES > expected:
            return True
    return False


def _saved(tensors: Sequence[Tensor], y: Operand) -> list[Any]:
    """What nodes have saved of the memory of `tensors`, the first of which is the oldest.

    The nodes are those of the tensors, and those that `y` was computed by since.
    """
    nodes = {t._node for t in tensors if isinstance(t._node, Node)}
    first = tensors[0]._node.order if isinstance(tensors[0]._node, Node) else 1
    waiting = [y._node] if isinstance(y, Tensor) else []
    while waiting:
        node = waiting.pop()
        if isinstance(node, Node) and node.order < first and node not in nodes:
            nodes.add(node)
            waiting += node.parents
    memory = memory_of(tensors[0].array)
    return [
        value
        for node in nodes
        for value in (node.out, *(node.saved or ()))
        if type(value) in NAMESPACES and memory_of(value) is memory
    ]


def _requires_grad(name: str, remedy: str, leaf: Leaf) -> GraphError:
    return GraphError(
        f"{name}: this is (a view of) a tensor made with requires_grad=True "
        f"({line_of(leaf)}), whose value the tape begins with; {remedy}, or change it inside "
        "gt.no_grad()"
    )


def _made_by(x: Tensor) -> str:
    if isinstance(x._node, Node):
        return f"the result of {x._node.primitive.name} (made {line_of(x._node)})"
    return "this tensor"


def _on_tape(name: str, remedy: str, x: Tensor, y: Operand) -> list[Tensor]:
    """The tensors that share the memory of `x`, see :func:`_sharing`, if the tape can follow.

    Raises
    ------
    GraphError
        Otherwise. Nothing is changed yet.
    """
    recording = backend.recording()
    if recording is not None:
        recording.follow(x.array)
    tensors = _sharing(x)
    for t in tensors:
        if isinstance(t._node, Leaf):
            raise _requires_grad(name, remedy, t._node)
    if _held_elsewhere([t.array for t in tensors] + _saved(tensors, y)):
        raise GraphError(
            f"{name}: the memory of {_made_by(x)} is also that of another tensor, such as a "
            "detached one, or of an array, or saved by an operation for its gradient, so the tape "
            f"cannot follow a change; {remedy}, or change a copy"
        )
    return tensors


def _checked(name: str, x: Tensor, result: Any) -> Any:
    """`result` in the dtype of `x`, if `x` can take it.

    Raises
    ------
    DTypeError
        If its dtype is of another kind by NumPy's rule ``same_kind``, naming both.
    ShapeError
        If its shape is another.
    """
    if result.dtype != x.dtype:
        if not np.can_cast(result.dtype, x.dtype, "same_kind"):
            raise DTypeError(
                f"{name}: the result is {result.dtype}, but the tensor stays {x.dtype}; convert "
                f"the operand first, for example y.astype(gt.{x.dtype})"
            )
        result = astype(result, x.dtype)
    if result.shape != x.shape:
        raise ShapeError(f"{name}: the result has shape {result.shape}, the tensor {x.shape}")
    return result


def _laid_out(name: str, x: Tensor, new: Any, own: bool) -> Any:
    """Array with the elements of `new` and the strides of `x`, on which views to come depend."""
    old = x.array
    if new.strides == old.strides:
        return new
    with backend.on_device_of(old):
        out = backend.namespace(old).empty_like(old)
        if out.strides != old.strides:  # those of a part of some memory
            if not own:
                raise GraphError(
                    f"{name}: {_made_by(x)} is a part of some memory that an operation has saved "
                    "for its gradient; change a copy"
                )
            out = old
        out[...] = new
        return out


def _take_over(name: str, x: Tensor, value: Tensor, tensors: list[Tensor]) -> None:
    """Give `x` the values and the tape entry of `value`, and let the others follow."""
    own = not _held_elsewhere([t.array for t in tensors])
    root, *views = tensors
    t = x
    while t is not root:
        base, how, key = t._view
        value = how.put(base, value, key, own)
        t = base
    root.array, root._node = _laid_out(name, root, value.array, own), value._node
    for t in views:
        base, how, key = t._view
        fresh = how.take(base, key)
        t.array, t._node = fresh.array, fresh._node


def _tracked(x: Tensor, y: Operand) -> bool:
    return grad_enabled() and (
        x._node is not None or (isinstance(y, Tensor) and y._node is not None)
    )


def _operator(
    symbol: str, function: Callable[[Any, Any], Tensor], write: Callable[[Any, Any], Any]
) -> Callable[[Tensor, Operand], Tensor]:
    """Method for ``x symbol y``; `function` makes a new tensor, `write` changes a raw array."""
    remedy = f"write x = x {symbol[:-1]} y, which makes a new tensor"
    # Of these NumPy's or CuPy's own forms differ, in special cases of the standard, or are missing.
    replaced, fractional = symbol in ("//=", "%=", "**=", "@="), symbol == "/="

    def method(x: Tensor, y: Operand, /) -> Tensor:
        if isinstance(y, Tensor):
            raw = None  # the array itself is not to be held, see _held_elsewhere
        else:
            try:
                raw = raw_operand(symbol, y)
            except OperandError:
                return NotImplemented  # type: ignore[no-any-return]
        if _tracked(x, y):
            if isinstance(x._node, Leaf):
                raise _requires_grad(symbol, remedy, x._node)
            tensors = _on_tape(symbol, remedy, x, y)
            _take_over(symbol, x, _checked(symbol, x, function(x, y)), tensors)
            return x
        array = x.array
        dtype = array.dtype
        raw = y.array if raw is None else raw
        # CuPy's quotients of complex numbers are others.
        own = dtype.kind == "f" or (dtype.kind == "c" and type(array) is np.ndarray)
        direct = not replaced and (not fractional or own)
        try:
            if direct and type(array) is type(raw) is np.ndarray and dtype == raw.dtype:
                write(array, raw)
            else:
                with backend.on_device_of(array):
                    if direct and np.result_type(dtype, getattr(raw, "dtype", raw)) == dtype:
                        write(array, raw)
                    else:
                        array[...] = _checked(symbol, x, function(x, y)).array
        except (TypeError, ValueError):
            _checked(symbol, x, function(x, y))  # says what is wrong, where it can
            raise
        changed(array, symbol)
        return x

    method.__name__ = method.__qualname__ = f"__i{write.__name__[1:]}__"
    return method


def setitem(x: Tensor, key: Any, value: Operand, /) -> None:
    """``x[key] = value``; keys as in :func:`gputensor.ops.indexing.getitem`.

    The value is broadcast to what the key selects, and converted to the dtype of `x` if NumPy's
    rule ``same_kind`` allows. Where an index array names a place twice the last value stays.

    Raises
    ------
    DTypeError
        If the value is of another kind, such as a float for integers, naming both dtypes.
    ShapeError
        If the shape does not fit.
    GraphError
        If the tape cannot follow, see :mod:`gputensor.ops.inplace`.
    """
    name = "x[key] = value"
    if isinstance(value, Tensor) and _is_part(x, key, value):  # how Python ends x[key] += y
        return
    remedy = "write x = gt.index_set(x, key, value), which makes a new tensor"
    if isinstance(x._node, Leaf) and grad_enabled():
        raise _requires_grad(name, remedy, x._node)
    if isinstance(value, (list, tuple)):
        value = asarray(value, device=x.device)
    if _tracked(x, value):
        tensors = _on_tape(name, remedy, x, value)
        own = x is tensors[0] and not _held_elsewhere([t.array for t in tensors])
        _take_over(name, x, set_items(name, x, key, value, own), tensors)
        return
    changed(write_items(name, x, key, value), name)


def _is_part(x: Tensor, key: Any, value: Tensor) -> bool:
    """Whether `value` is the view ``x[key]``."""
    view = getattr(value, "_view", None)
    return (
        view is not None
        and view[0] is x
        and view[1] is PART
        and memory_of(x.array) is memory_of(value.array)
        and is_basic(known := checked_key(x, key))
        and view[2] == known
    )


def _part(function: Callable[[Tensor], Tensor]) -> property:
    """Real or imaginary part as an attribute, which can be set."""
    return property(function, lambda x, value: setitem(function(x), ..., value))


OPERATORS = {
    method.__name__: method
    for method in (
        _operator("+=", elementwise.add, operator.iadd),
        _operator("-=", elementwise.subtract, operator.isub),
        _operator("*=", elementwise.multiply, operator.imul),
        _operator("/=", elementwise.divide, operator.itruediv),
        _operator("//=", elementwise.floor_divide, operator.ifloordiv),
        _operator("%=", elementwise.remainder, operator.imod),
        _operator("**=", elementwise.pow, operator.ipow),
        _operator("@=", products.matmul, operator.imatmul),
        _operator("&=", choices.bitwise_and, operator.iand),
        _operator("|=", choices.bitwise_or, operator.ior),
        _operator("^=", choices.bitwise_xor, operator.ixor),
        _operator("<<=", choices.bitwise_left_shift, operator.ilshift),
        _operator(">>=", choices.bitwise_right_shift, operator.irshift),
    )
}
PARTS = {"real": _part(elementwise.real), "imag": _part(elementwise.imag)}
