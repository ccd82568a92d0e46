"""Elementwise operations and their derivative rules on CUDA, each call one generated kernel.

So are the sums over axes that an operand was broadcast along, with what is summed.

A call looks its plan up (:mod:`gputensor.graph.plans`), makes the result, and launches. Where there
is no plan, CuPy computes the function as it is written.
"""

from collections.abc import Callable
from typing import Any

from gputensor import backend
from gputensor.backend import Array
from gputensor.graph.ir import dense_strides
from gputensor.graph.outline import Operand
from gputensor.graph.plans import Plan, Plans, told_apart

__all__ = ["Fused", "Rules", "elsewhere", "everything", "rules", "several", "sum_to", "wanting"]

_Call = Callable[..., Any]
_ANY = (64,)  # a shape like all others: what is dense is computed in the same way whatever it is
_LARGE = 1 << 29  # elements that take more than 32 bits to count


class Fused:
    """A function of raw CuPy arrays, element by element; each combination of dtypes is a kernel.

    Parameters
    ----------
    function : callable
        ``function(xp, *operands, **attrs)``.
    plain : callable
        What is called, with operands and attributes, where there is no kernel.
    kind : type
        Of the arrays.
    """

    __slots__ = ("_function", "_kind", "_plain", "_plans", "_several")

    def __init__(self, function: _Call, plain: _Call, kind: Any) -> None:
        self._function = function
        self._plain = plain
        self._kind = kind
        self._several = several()
        self._plans = Plans(self._planned)

    def __call__(self, *arrays: Any, **attrs: Any) -> Any:
        """The result, of dense arrays of one shape by the shortest way."""
        kind = self._kind
        shape: Any = None
        key: list[Any] = []
        for a in arrays:
            if type(a) is kind:
                if shape is None:
                    shape = a.shape
                elif a.shape != shape:
                    return self._of_any(arrays, attrs)
                if not a._c_contiguous:
                    return self._of_any(arrays, attrs)
                key.append(a.dtype.char)
            else:
                key.append(told_apart(a))
        if attrs:
            key.append(repr(attrs))
        plan = self._plans.find(tuple(key), arrays, attrs, _ANY)
        if plan is None or shape is None or (self._several and elsewhere(arrays, kind)):
            return self._plain(*arrays, **attrs)
        out = kind(shape, plan.dtypes[0])
        size = out.size
        if not 0 < size < _LARGE:
            return self._plain(*arrays, **attrs)
        try:
            plan.run(arrays, (out,), size)
        except OverflowError:  # an int that the dtype has not
            return self._plain(*arrays, **attrs)
        return out

    def _of_any(self, arrays: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """The result for arrays of several shapes, or with gaps, laid out as NumPy's is."""
        kind = self._kind
        if self._several and elsewhere(arrays, kind):
            return self._plain(*arrays, **attrs)
        if all(a._c_contiguous for a in arrays if type(a) is kind):
            return self._laid_out(*arrays, **attrs)
        return backend.in_order(self._laid_out, arrays, attrs)

    def _laid_out(self, *arrays: Any, **attrs: Any) -> Any:
        kind = self._kind
        layouts = [
            (a.dtype.char, a.shape, a.strides) if type(a) is kind else told_apart(a) for a in arrays
        ]
        which = (*layouts, repr(attrs)) if attrs else tuple(layouts)
        plan = self._plans.find(which, arrays, attrs, None)
        if plan is None or (self._several and elsewhere(arrays, kind)):
            return self._plain(*arrays, **attrs)
        out = kind(plan.shape, plan.dtypes[0])
        try:
            plan.run(arrays, (out,), out.size)
        except OverflowError:  # an int that the dtype has not
            return self._plain(*arrays, **attrs)
        return out

    def _planned(
        self, planned: _Call, arrays: tuple[Any, ...], attrs: dict[str, Any], shape: Any
    ) -> Plan | None:
        """Plan a kernel for operands like these; with `shape` for dense ones of any shape."""
        kind = self._kind
        own = [a for a in arrays if type(a) is kind]
        operands: list[Any] = [
            a
            if type(a) is not kind
            else Operand(a.dtype, shape, dense_strides(shape, a.dtype.itemsize))
            if shape
            else Operand(a.dtype, a.shape, a.strides)
            for a in arrays
        ]
        if not own or not (shape or all(0 < a.size < _LARGE for a in own)):
            return None
        plan: Plan | None = planned(self._function, operands, attrs)
        if type(plan) is Plan and (plan.launch is None or plan.grid is not None):
            return None  # nothing to compute: the function itself is quicker
        return plan


def several() -> bool:
    """Whether there are several devices, of which one is the current one."""
    return backend.cuda_status().devices > 1


def elsewhere(arrays: tuple[Any, ...], kind: Any) -> bool:
    """Whether arrays are on another device than the current one."""
    import cupy

    device = cupy.cuda.get_device_id()
    return any(type(a) is kind and a.data.device_id != device for a in arrays)


class Rules(tuple[Any, ...]):
    """Derivative rules of an operation, called as they are, for arrays of CuPy's type.

    Attributes
    ----------
    step : callable
        A whole step of the backward pass, see :class:`_Step`.
    """

    step: Any


def rules(functions: tuple[_Call | None, ...], kind: Any) -> Rules:
    """Rules as kernels, one by one and together."""
    made = Rules(f and _rule(f, kind) for f in functions)
    made.step = _Step(functions, kind)
    return made


def _rule(function: _Call, kind: Any) -> _Call:
    xp = backend.NAMESPACES[kind]
    fused = Fused(function, lambda *arrays, **attrs: function(xp, *arrays, **attrs), kind)
    return lambda _xp, *arrays, **attrs: fused(*arrays, **attrs)


class _Step:
    """All rules of an operation, and the sums with gradients that are there, as one kernel."""

    __slots__ = ("_functions", "_kind", "_plans", "_several")

    def __init__(self, functions: tuple[_Call | None, ...], kind: Any) -> None:
        self._functions = functions
        self._kind = kind
        self._plans = Plans(self._planned)
        self._several = several()

    def __call__(
        self,
        g: Array,
        out: Any,
        saved: tuple[Any, ...],
        attrs: dict[str, Any],
        parents: tuple[Any, ...],
        gradients: dict[Any, Any],
        owned: set[Any],
    ) -> list[tuple[Any, Array]] | None:
        """Gradients towards an operation's operands, added to those that they have.

        Parameters
        ----------
        g, out, saved, attrs
            What the rules take.
        parents : tuple of entry or None
            Of the operands; None where no gradient is wanted.
        gradients : dict
            By entry, those that are there.
        owned : set of entry
            Those whose gradients may be written over.

        Returns
        -------
        list of (entry, array) or None
            None if it takes more than a kernel: arrays with gaps, a rule that is no formula, sums
            over several sets of axes, or gradients of 16 bits to be added up in float32.
        """
        kind, shape = self._kind, g.shape
        found = wanting(parents, gradients)
        if found is None:
            return None
        which, wanted = found
        sums = any(parent.shape != shape for parent in wanted)  # an operand was broadcast
        before = [gradients.get(parent) for parent in wanted]
        arrays = (g, out, *saved, *before)
        key: list[Any] = which[:]
        for a in arrays:
            if a is None:
                key.append(None)
            elif type(a) is kind:
                if not a._c_contiguous or (a.shape != shape and not sums):
                    return None
                key.append(a.dtype.char)
            else:
                key.append(told_apart(a))
        key += [parent.dtype.char for parent in wanted]
        if sums:  # which their lengths decide about
            key += [a.shape for a in (g, *arrays, *wanted) if hasattr(a, "shape")]
        if attrs:
            key.append(repr(attrs))
        plan = self._plans.find(tuple(key), arrays, attrs, (which, wanted, len(saved), sums))
        if plan is None or (self._several and elsewhere(arrays, kind)):
            return None
        size = g.size
        if not 0 < size < _LARGE:
            return None
        totals, outs = [], []
        for parent, old, dtype in zip(wanted, before, plan.dtypes, strict=True):
            if type(dtype) is int:
                totals.append((parent, arrays[dtype]))
                continue
            made = old if parent in owned else kind(parent.shape, dtype)
            outs.append(made)
            totals.append((parent, made))
        if outs:
            plan.run(arrays, outs, size)
        return totals

    def _planned(
        self,
        planned: _Call,
        arrays: tuple[Any, ...],
        attrs: dict[str, Any],
        wanting: tuple[list[int], list[Any], int, bool],
    ) -> Plan | None:
        which, wanted, count, sums = wanting
        kind, functions = self._kind, self._functions
        rules = functions if len(functions) == len(which) else functions * len(which)
        shapes = {a.shape: a.shape if sums else _ANY for a in arrays if type(a) is kind}
        operands: list[Any] = [
            Operand(a.dtype, s := shapes[a.shape], dense_strides(s, a.dtype.itemsize))
            if type(a) is kind
            else a
            for a in arrays
        ]
        full = arrays[0].shape
        options = [sum_to(full, parent.shape) for parent in wanted]
        if 0 in full:
            return None

        function = everything(rules, which, options, count, attrs)
        plan: Plan | None = planned(function, operands, {})
        if type(plan) is not Plan:
            return plan
        if len(plan.dtypes) != len(wanted):
            return None
        for dtype, parent in zip(plan.dtypes, wanted, strict=True):
            own = arrays[dtype].dtype if type(dtype) is int else dtype
            if own != parent.dtype:
                return None
        return plan


def wanting(
    parents: tuple[Any, ...], gradients: dict[Any, Any]
) -> tuple[list[int], list[Any]] | None:
    """Which gradients a step gives: the place of each operand's, -1 for none, and their entries.

    None if some are of 16 bits and to be added up, which is done in float32.
    """
    wanted: list[Any] = []
    which: list[int] = []
    for parent in parents:
        if parent is None:
            which.append(-1)
            continue
        again = parent in wanted
        if parent.dtype.itemsize == 2 and (again or parent in gradients):
            return None
        if again:
            which.append(wanted.index(parent))
        else:
            which.append(len(wanted))
            wanted.append(parent)
    return which, wanted


def everything(
    functions: tuple[_Call | None, ...],
    which: list[int],
    options: list[dict[str, Any] | None],
    count: int,
    attrs: dict[str, Any],
) -> _Call:
    """Function of all that a step takes: the gradient, the result, operands, gradients before.

    Parameters
    ----------
    functions : tuple of callable or None
        The rules.
    which : list of int
        What :func:`wanting` gives.
    options : list of dict or None
        Of the sums over axes that operands were broadcast along, see :func:`sum_to`.
    count : int
        Of the operands.
    attrs : dict
        What the rules take by name.
    """

    def function(xp: Any, g: Any, out: Any, *rest: Any) -> tuple[Any, ...]:
        saved, totals = rest[:count], [*rest[count:]]
        for i, rule in zip(which, functions, strict=True):
            if i < 0:
                continue
            part = rule(xp, g, out, *saved, **attrs)  # type: ignore[misc]
            if (along := options[i]) is not None:
                part = xp.sum(part, **along)
            totals[i] = part if totals[i] is None else totals[i] + part
        return tuple(totals)

    return function


def sum_to(shape: tuple[int, ...], to: tuple[int, ...]) -> dict[str, Any] | None:
    """Options of the sum over the axes that an operand was broadcast along; None if it was not."""
    if shape == to:
        return None
    kept = {"keepdims": True} if to and len(to) == len(shape) else {}
    return {"axis": backend.broadcast_axes(shape, to), **kept}
