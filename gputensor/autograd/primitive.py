"""Primitive: an operation with its derivative rules."""

import functools
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from gputensor import backend, memory
from gputensor.autograd import changes
from gputensor.autograd.changes import frame_of_user
from gputensor.autograd.modes import state
from gputensor.autograd.operands import (
    DTYPE_COMPLAINTS,
    NUMBERS,
    clearer,
    default_dtype,
    follow_device,
    ndarray,
    raw_operand,
)
from gputensor.autograd.tape import NO_ATTRS, Node, Several, Spec, next_order
from gputensor.autograd.tensor import Leaf, Operand, Tensor, as_raw, wrap
from gputensor.backend import NAMESPACES, Array, Device
from gputensor.errors import (
    DTypeError,
    OperandError,
)

_getframe = sys._getframe

_new = object.__new__

_FLOAT32 = np.dtype(np.float32)  # the usual one, which is quick to tell


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
    *("all", "any", "cofactors", "cofactors_slope", "concat", "count_nonzero", "cross"),
    *("cumulative_prod", "cumulative_sum", "einsum", "fft", "fftn", "hfft", "ifft", "ifftn"),
    *("ihfft", "irfft", "irfftn", "logsumexp", "max", "mean", "min", "pad", "prod", "rfft"),
    *("rfftn", "sort", "std", "sum", "tril", "triu", "var", "vector_norm"),
}


def _refuse(name: str, arrays: Sequence[Any]) -> DTypeError:
    found = ", ".join(str(getattr(a, "dtype", type(a).__name__)) for a in arrays)
    return DTypeError(f"{name} does not take operands of dtype {found}")


LARGE = 1 << 17  # elements from which on an elementwise operation on the CPU takes several threads


class _Bound(dict[type, Callable[..., Any]]):
    """A primitive's forward function by array type, so that one look-up dispatches a call."""

    def __init__(self, name: str, forward: Callable[..., Any] | None, elementwise: bool) -> None:
        super().__init__()
        self.name = name
        self.forward = forward
        self.elementwise = elementwise
        function = self._function(NAMESPACES[ndarray])
        # NumPy's own ufuncs refuse by themselves what is in the table.
        self[ndarray] = function if forward is None else self._checked(function)

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

    @functools.cached_property
    def large(self) -> Callable[..., Any]:
        """The forward function of large NumPy arrays."""
        function = self[ndarray]
        if not self.elementwise:
            return function
        return importlib.import_module("gputensor.graph.large").Large(self.traced, function)  # type: ignore[no-any-return]

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
        if self.elementwise and kind is ndarray:  # large ones
            found = importlib.import_module("gputensor.graph.large").rules(found)
        elif self.elementwise and kind not in backend.HOST_TYPES and not hasattr(kind, "recording"):
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
    add_to : callable, optional
        ``add_to(total, g, **attrs)``, for an operation with one operand that takes a part of it:
        add the gradient to `total`, of the operand's shape, in place, as the rule would with
        zeros around it; false if that cannot be done. What the rule returns is then new memory.
    elementwise : bool
        Whether an element of the result depends on the elements of the operands at its place alone.
        Then the order of axes in memory is that of the operands on both devices.
    """

    __slots__ = (
        "add_to",
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
        add_to: Callable[..., bool] | None = None,
        elementwise: bool = False,
    ) -> None:
        PRIMITIVES[name] = self
        self.name = name
        self.bound = _Bound(name, forward, elementwise)
        self.vjp = vjp
        self.reference = reference
        self.add_to = add_to
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
                if array.size < LARGE or kind is not ndarray:
                    out = bound[kind](array)
                else:
                    out = bound.large(array)
            except (TypeError, MemoryError):
                return self(x)  # which says what is wrong
            if type(out) is not kind:
                out = NAMESPACES[kind].asarray(out)
            t = _new(Tensor)
            t.array = out
            parent = x._node
            if parent is not None and differentiable and state.enabled:
                t._node = record(out, (array,), (parent,), NO_ATTRS)
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
                if 1 < a.size < LARGE or a.size + b.size < LARGE or kind is not ndarray:
                    out = bound[kind](a, b)
                else:
                    out = bound.large(a, b)
            except (TypeError, ValueError, MemoryError):
                return self(x, y)  # which says what is wrong
            if type(out) is not kind:
                out = NAMESPACES[kind].asarray(out)
            t = _new(Tensor)
            t.array = out
            p = x._node
            q = y._node
            if (p is not None or q is not None) and differentiable and state.enabled:
                t._node = record(out, (a, b), (p, q), NO_ATTRS)
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
            if kind is not type(array) and not isinstance(array, NUMBERS):
                alike = kind is None
                kind = kind or type(array)
        if kind is None:
            xp = backend.namespace(backend.default_device())
            arrays = [xp.asarray(default_dtype(a)) for a in arrays]
            kind = type(arrays[0])
        elif not alike:
            kind = follow_device(operands, arrays) or kind
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
            if not any(text in str(error) for text in DTYPE_COMPLAINTS):
                raise
            raise _refuse(self.name, arrays) from None
        except MemoryError as error:
            where = attrs.get("where")  # where a transfer goes
            if not isinstance(where, Device):
                where = backend.device_of(next(a for a in arrays if backend.is_array(a)))
            raise memory.out_of_memory(self.name, where, error) from None
        if type(out) is not kind:
            out = Several(map(as_raw, out)) if isinstance(out, tuple) else as_raw(out)
        if tracked and state.enabled and self.vjp is not None:
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
        if dtype is not _FLOAT32 and dtype.kind not in "fcV":  # V is bfloat16's
            return None
        if self.partial:
            parents = tuple(
                p if rule is not None else None for p, rule in zip(parents, self.rules, strict=True)
            )
            if parents.count(None) == len(parents):
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
        if code is not changes.user_code:
            frame = frame_of_user(frame)
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


identity = Primitive("identity", lambda xp, x: x[...], (lambda xp, g, _out, _x: g,))
