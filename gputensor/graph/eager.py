"""Elementwise operations and their derivative rules on CUDA, each call one generated kernel.

A function of arrays is run once for each combination of dtypes, on arrays that have shapes and
dtypes only: that leaves the maps it consists of, which become a kernel. From then on a call looks
that up, makes the result, and launches. What does not become one kernel, a function that needs
values or that the table of formulas does not have, is left to CuPy as it is written.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gputensor import backend
from gputensor.backend import Array, Device
from gputensor.graph import passes
from gputensor.graph.fuse import Group
from gputensor.graph.generate import fusable, generated
from gputensor.graph.ir import Node, Value, map_values
from gputensor.graph.trace import TRACING, CudaTracer, Recording, Tracer

__all__ = ["Fused", "rules"]

_Call = Callable[..., Any]
_MOST = 4096  # kernels with their arguments that are remembered for a function
_LARGE = 1 << 29  # elements that take more than 32 bits to count
_BLOCK = (256,)
_BLOCKS = 2048  # at most: enough for any device, as a thread takes more elements then
_ANY = (64,)  # a shape like all others: what is dense is computed in the same way whatever it is


# What a function does, from a run without values


class OutlineTracer(CudaTracer):
    """An array of which only shape and dtype are known."""

    __slots__ = ()

    @staticmethod
    def namespace() -> Any:
        """Namespace of such tracers: NumPy's functions tell shapes and dtypes."""
        return TRACING[backend.NAMESPACES[np.ndarray]]


class Outline(Recording):
    """A recording of a function of such arrays. Those that it computes with are small."""

    def _tracer(self, array: Array, memory: Any) -> Tracer:
        made = object.__new__(OutlineTracer)
        made.recording, made.value, made.buffer, made.base = self, array, memory.buffer, None
        return made

    def operand(self, dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> Tracer:
        """An array as an argument of the graph."""
        array = np.ones(tuple(min(n, 2) for n in shape), dtype)
        made = self._tracer(array, self._admit(array, "argument"))
        self.graph.arguments.append(self.value_of(array))
        return made


class Operand(NamedTuple):
    """An array that a function is given: what is known of it."""

    dtype: "np.dtype[Any]"
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _dense(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    strides = []
    for n in reversed(shape):
        strides.append(itemsize)
        itemsize *= n
    return tuple(reversed(strides))


class Outlined(NamedTuple):
    """What a function computes.

    Attributes
    ----------
    group : Group
        Empty if it only gives what it was given.
    operands : list of Value
        Its arrays.
    results : list of Value or int
        What it computes, or the number of the array that it gives as it is.
    """

    group: Group
    operands: list[Value]
    results: list[Any]


def outlined(function: _Call, operands: list[Any], attrs: dict[str, Any]) -> Outlined | None:
    """What a function of arrays computes; None if that is more than new arrays, by elements.

    Parameters
    ----------
    function : callable
        ``function(xp, *operands, **attrs)`` gives an array or a tuple of them.
    operands : list
        An :class:`Operand` for each array, others as they are.
    attrs : dict
    """
    outline = Outline(Device("cuda"))
    arrays = [o for o in operands if type(o) is Operand]
    given = [outline.operand(o.dtype, o.shape) if type(o) is Operand else o for o in operands]
    tracers = [g for g in given if isinstance(g, Tracer)]
    backend.set_recording(outline)
    try:
        with np.errstate(all="ignore"):
            found = function(OutlineTracer.namespace(), *given, **attrs)
    except Exception:  # what is wrong the function itself says, when it is called
        return None
    finally:
        backend.set_recording(None)
    found = found if type(found) is tuple else (found,)
    if outline.reason is not None or not all(isinstance(f, OutlineTracer) for f in found):
        return None
    results: list[Any] = [next((i for i, t in enumerate(tracers) if t is f), None) for f in found]
    graph = outline.graph
    values = [outline.value_of(f.value) for f in found]
    graph.result = [v for v, i in zip(values, results, strict=True) if i is None]
    before = [*graph.arguments]
    graph = passes.simplified(graph)
    full = np.broadcast_shapes(*(o.shape for o in arrays))
    small = tuple(min(n, 2) for n in full)
    fits = all(v.shape == small and v.buffer.kind == "temporary" for v in graph.result)
    if not fits or not all(n.kind == "map" and fusable(n) for n in graph.nodes):
        return None
    own = {v.buffer.number: (v, o) for v, o in zip(before, arrays, strict=True)}

    def grown(leaf: Any) -> Any:
        """A value of the small arrays as one of the true ones."""
        if type(leaf) is not Value:
            return leaf
        whole, operand = own.get(leaf.buffer.number, (None, None))
        if whole is None:
            if not leaf.dense():
                raise LookupError
            return leaf._replace(shape=full, strides=_dense(full, leaf.dtype.itemsize))
        if not leaf.same_place(whole):
            raise LookupError
        return leaf._replace(shape=operand.shape, strides=operand.strides)

    group = Group(full)
    try:
        for node in graph.nodes:
            outputs = tuple(map(grown, node.outputs))
            made = Node("map", node.op, map_values(grown, node.args), {}, outputs, node.place)
            made.writes, made.into = node.writes, node.into
            group.nodes.append(made)
        made_by = iter([grown(v) for v in graph.result])
        results = [next(made_by) if i is None else i for i in results]
        before = [grown(v) for v in before]
    except LookupError:  # it takes views
        return None
    group.inner = {v.buffer.number for n in group.nodes for v in n.outputs}
    group.inner -= {r.buffer.number for r in results if type(r) is Value}
    return Outlined(group, before, results)


# Calls


class Plan(NamedTuple):
    """A kernel ready to launch.

    Attributes
    ----------
    launch : callable or None
        ``launch(grid, block, arguments)``; None where there is nothing to compute.
    arguments : callable
        ``arguments(arrays, outs, size)`` gives the kernel's arguments.
    dtypes : tuple of dtype or int
        Of what is computed; or the number, among all operands, of the array that is a result.
    each : int
        Elements that a block is made for.
    shape : tuple of int
        Of what is computed; not of dense operands.
    """

    launch: _Call | None
    arguments: _Call
    dtypes: tuple[Any, ...]
    each: int
    shape: tuple[int, ...]

    def run(self, arrays: tuple[Any, ...], outs: list[Array]) -> None:
        """Launch, for results that are there."""
        size = outs[0].size
        blocks = (size - 1) // self.each + 1
        grid = (blocks if blocks < _BLOCKS else _BLOCKS,)
        self.launch(grid, _BLOCK, self.arguments(arrays, outs, size))  # type: ignore[misc]


def _planned(function: _Call, operands: list[Any], attrs: dict[str, Any]) -> Plan | None:
    found = outlined(function, operands, attrs)
    if found is None:
        return None
    places = [i for i, o in enumerate(operands) if type(o) is Operand]
    dtypes = tuple(r.dtype if type(r) is Value else places[r] for r in found.results)
    if not found.group.nodes:
        return Plan(None, tuple, dtypes, 1, ())
    kernel = generated(found.group)
    if kernel is None:
        return None
    # By its address, as an array with gaps, or of another shape than the kernel's, is no argument.
    shape = found.group.shape
    dense = all(
        o.strides == _dense(shape, o.dtype.itemsize) for o in operands if type(o) is Operand
    )
    end = "" if dense else ".data"
    text = {
        v.buffer.number: f"arrays[{i}]{end}" for v, i in zip(found.operands, places, strict=True)
    }
    computed = [r for r in found.results if type(r) is Value]
    text |= {v.buffer.number: f"outs[{i}]" for i, v in enumerate(computed)}
    launch, parameters, _ = kernel.source._entry(kernel.entry)
    names: dict[str, Any] = {}
    texts = ["size"]
    for i, argument in enumerate(kernel.arguments[1:], 1):
        if type(argument) is Value:
            texts.append(text[argument.buffer.number])
        else:  # as CuPy has to be given it
            dtype = parameters[i].dtype
            names[f"n{i}"] = argument if dtype is None else dtype.type(argument)
            texts.append(f"n{i}")
    arguments = eval(f"lambda arrays, outs, size: ({', '.join(texts)},)", names)
    width = -(-math.prod(found.group.shape) // kernel.elements)
    return Plan(launch, arguments, dtypes, _BLOCK[0] * width, found.group.shape)


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
        self._several = _several()
        self._plans: dict[Any, Plan | None] = {}

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
                key.append(_other(a))
        if attrs:
            key.append(repr(attrs))
        which = tuple(key)
        try:
            plan = self._plans[which]
        except KeyError:
            plan = self._add(which, arrays, attrs, _ANY)
        if plan is None or shape is None or (self._several and _elsewhere(arrays, kind)):
            return self._plain(*arrays, **attrs)
        out = kind(shape, plan.dtypes[0])
        size = out.size
        if not 0 < size < _LARGE:
            return self._plain(*arrays, **attrs)
        blocks = (size - 1) // plan.each + 1
        grid = (blocks if blocks < _BLOCKS else _BLOCKS,)
        plan.launch(grid, _BLOCK, plan.arguments(arrays, (out,), size))  # type: ignore[misc]
        return out

    def _of_any(self, arrays: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """The result for arrays of several shapes, or with gaps, laid out as NumPy's is."""
        kind = self._kind
        if all(a._c_contiguous for a in arrays if type(a) is kind):
            return self._laid_out(*arrays, **attrs)
        return backend.in_order(self._laid_out, arrays, attrs)

    def _laid_out(self, *arrays: Any, **attrs: Any) -> Any:
        kind = self._kind
        layouts = [
            (a.dtype.char, a.shape, a.strides) if type(a) is kind else _other(a) for a in arrays
        ]
        which = (*layouts, repr(attrs)) if attrs else tuple(layouts)
        try:
            plan = self._plans[which]
        except KeyError:
            plan = self._add(which, arrays, attrs, None)
        if plan is None or (self._several and _elsewhere(arrays, kind)):
            return self._plain(*arrays, **attrs)
        out = kind(plan.shape, plan.dtypes[0])
        plan.run(arrays, [out])
        return out

    def _add(
        self, which: Any, arrays: tuple[Any, ...], attrs: dict[str, Any], shape: Any
    ) -> Plan | None:
        """Plan a kernel for operands like these; with `shape` for dense ones of any shape."""
        kind = self._kind
        own = [a for a in arrays if type(a) is kind]
        operands: list[Any] = [
            a
            if type(a) is not kind
            else Operand(a.dtype, shape, _dense(shape, a.dtype.itemsize))
            if shape
            else Operand(a.dtype, a.shape, a.strides)
            for a in arrays
        ]
        plan = None
        if own and (shape or all(0 < a.size < _LARGE for a in own)):
            plan = _planned(self._function, operands, attrs)
            if plan is not None and plan.launch is None:
                plan = None  # nothing to compute: the function itself is quicker
        if len(self._plans) >= _MOST:
            self._plans.clear()
        self._plans[which] = plan
        return plan


def _other(operand: Any) -> Any:
    """What tells an operand that is no array from others."""
    if operand is None:
        return None
    kind = type(operand)
    if kind is float or kind is int or kind is bool:
        return kind, operand if operand else repr(operand)
    dtype = getattr(operand, "dtype", None)
    return kind, dtype if dtype is not None else repr(operand)


def _several() -> bool:
    """Whether there are several devices, of which one is the current one."""
    return backend.cuda_status().devices > 1


def _elsewhere(arrays: tuple[Any, ...], kind: Any) -> bool:
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

    step: "_Step"


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
        self._plans: dict[Any, Plan | None] = {}
        self._several = _several()

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
            None if it takes more than a kernel: arrays of other shapes than that of `g`, or with
            gaps, or a rule that is no formula.
        """
        kind, shape = self._kind, g.shape
        wanted: list[Any] = []
        which: list[int] = []  # place in `wanted`, for each operand
        for parent in parents:
            if parent is None:
                which.append(-1)
                continue
            if parent.shape != shape:
                return None
            if parent not in wanted:
                wanted.append(parent)
            which.append(wanted.index(parent))
        before = [gradients.get(parent) for parent in wanted]
        arrays = (g, out, *saved, *before)
        key: list[Any] = [*which]
        for a in arrays:
            if type(a) is kind:
                if a.shape != shape or not a._c_contiguous:
                    return None
                key.append(a.dtype.char)
            else:
                key.append(_other(a))
        key += [parent.dtype.char for parent in wanted]
        if attrs:
            key.append(repr(attrs))
        at = tuple(key)
        try:
            plan = self._plans[at]
        except KeyError:
            plan = self._plans[at] = self._add(arrays, attrs, which, wanted, len(saved))
        if plan is None or (self._several and _elsewhere(arrays, kind)):
            return None
        if not 0 < g.size < _LARGE:
            return None
        found, outs = [], []
        for parent, old, dtype in zip(wanted, before, plan.dtypes, strict=True):
            if type(dtype) is int:
                found.append((parent, arrays[dtype]))
                continue
            made = old if parent in owned else kind(shape, dtype)
            outs.append(made)
            found.append((parent, made))
        if outs:
            plan.run(arrays, outs)
        return found

    def _add(
        self,
        arrays: tuple[Any, ...],
        attrs: dict[str, Any],
        which: list[int],
        wanted: list[Any],
        count: int,
    ) -> Plan | None:
        kind, functions = self._kind, self._functions
        rules = functions if len(functions) == len(which) else functions * len(which)
        operands: list[Any] = [
            Operand(a.dtype, _ANY, _dense(_ANY, a.dtype.itemsize)) if type(a) is kind else a
            for a in arrays
        ]

        def everything(xp: Any, g: Any, out: Any, *rest: Any) -> tuple[Any, ...]:
            saved, totals = rest[:count], [*rest[count:]]
            for i, function in zip(which, rules, strict=True):
                if i < 0:
                    continue
                part = function(xp, g, out, *saved, **attrs)  # type: ignore[misc]
                totals[i] = part if totals[i] is None else totals[i] + part
            return tuple(totals)

        plan = _planned(everything, operands, {})
        if plan is None or len(plan.dtypes) != len(wanted):
            return None
        for dtype, parent in zip(plan.dtypes, wanted, strict=True):
            own = arrays[dtype].dtype if type(dtype) is int else dtype
            if own != parent.dtype:
                return None
        return plan
