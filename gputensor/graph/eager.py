"""Elementwise operations and their derivative rules on CUDA, each call one generated kernel.

A function of arrays is run once for each combination of dtypes, on arrays that have shapes and
dtypes only: that leaves the maps it consists of, which become a kernel. From then on a call looks
that up, makes the result, and launches. What does not become one kernel, a function that needs
values or that the table of formulas does not have, is left to CuPy as it is written.
"""

import functools
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from gputensor import backend
from gputensor.backend import Array, Device, Namespace
from gputensor.graph import passes
from gputensor.graph.formulas import INEXACT
from gputensor.graph.fuse import Group
from gputensor.graph.generate import PARTS, TICKETS, Generated, fusable, generated
from gputensor.graph.ir import Graph, Node, Value, dense_strides, map_values
from gputensor.graph.trace import TRACING, CudaTracer, Recording, Tracer
from gputensor.kernels.scratch import zeros

__all__ = ["Fused", "Mapped", "Reduced", "launch", "rules"]

_Call = Callable[..., Any]
_MOST = 4096  # kernels with their arguments that are remembered for a function
_LARGE = 1 << 29  # elements that take more than 32 bits to count
_BLOCK = (256,)
_BLOCKS = 2048  # at most: enough for any device, as a thread takes more elements then
_HOST = backend.NAMESPACES[np.ndarray]
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
        made.is_number = False
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
        if leaf.buffer.number not in own:
            if not leaf.dense():
                raise LookupError
            return leaf._replace(shape=full, strides=dense_strides(full, leaf.dtype.itemsize))
        whole, operand = own[leaf.buffer.number]
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


# Numbers that stand for most others: nothing is computed in another way for them.
_UNLIKE: tuple[tuple[float, int], ...] = ((0.7310585786300049, 97), (2.718281828459045, 5))
_BY_VALUE: Any = object()  # in the place of a plan: there is one for each value of the numbers


def _is_like_most(x: Any) -> bool:
    """Whether a number is none that operations may have a way of their own for, as for 2 or 0.5."""
    if type(x) is int:
        return abs(x) > 2
    if type(x) is not float:
        return False
    return 1e-30 < abs(x) < 1e30 and x * 2 % 1 != 0


def _in_place_of(number: Any, unlike: tuple[float, int]) -> Any:
    """A number of the same type and sign."""
    if type(number) is float:
        return unlike[0]
    return unlike[1] if number > 0 else -unlike[1]


def _planned(function: _Call, operands: list[Any], attrs: dict[str, Any]) -> Plan | None:
    """How to compute a function with one kernel; None if it takes more.

    Operands that are numbers like most become arguments of the kernel, where that is all they are
    for the function: else the answer is :data:`_BY_VALUE`.
    """
    places = [i for i, o in enumerate(operands) if _is_like_most(o)]
    if not places:
        return _planned_by_value(function, operands, attrs)
    narrow = any(type(o) is Operand and backend.is_narrow(o.dtype) for o in operands)
    if narrow and any(type(operands[i]) is int for i in places):
        return _BY_VALUE  # type: ignore[no-any-return]  # which may be more than 16 bits hold
    kernels: list[Generated] = []
    for unlike in _UNLIKE:
        given = [unlike[type(o) is int] + i if i in places else o for i, o in enumerate(operands)]
        found = outlined(function, given, attrs)
        if found is None or not found.group.nodes:
            return _BY_VALUE  # type: ignore[no-any-return]
        kernel = generated(found.group)
        assert kernel is not None
        kernels.append(kernel)
    one, other = kernels
    if one.source is not other.source:
        return _BY_VALUE  # type: ignore[no-any-return]
    numbers: dict[int, int] = {}  # place of the operand, by that of the argument
    for k, pair in enumerate(zip(one.arguments, other.arguments, strict=True)):
        if type(pair[0]) is Value or pair[0] == pair[1]:
            continue
        alike = (
            i
            for i in places
            if all(
                isinstance(n, np.generic) and n == type(n)(_in_place_of(operands[i], unlike) + i)
                for n, unlike in zip(pair, _UNLIKE, strict=True)
            )
        )
        place = next(alike, None)
        if place is None:
            return _BY_VALUE  # type: ignore[no-any-return]
        numbers[k] = place
    if len(set(numbers.values())) < len(places):  # Python has looked at one
        return _BY_VALUE  # type: ignore[no-any-return]
    return _plan(found, kernel, operands, numbers)  # type: ignore[arg-type]


def _planned_by_value(function: _Call, operands: list[Any], attrs: dict[str, Any]) -> Plan | None:
    found = outlined(function, operands, attrs)
    if found is None:
        return None
    if not found.group.nodes:
        return Plan(None, tuple, _dtypes(found, operands), 1, ())
    kernel = generated(found.group)
    return None if kernel is None else _plan(found, kernel, operands, {})


def _dtypes(found: Outlined, operands: list[Any]) -> tuple[Any, ...]:
    places = [i for i, o in enumerate(operands) if type(o) is Operand]
    return tuple(r.dtype if type(r) is Value else places[r] for r in found.results)


def _plan(found: Outlined, kernel: Generated, operands: list[Any], numbers: dict[int, int]) -> Plan:
    """A kernel with the arguments that operands and results are; see :func:`_planned`."""
    places = [i for i, o in enumerate(operands) if type(o) is Operand]
    # By its address, as an array with gaps, or of another shape than the kernel's, is no argument.
    shape = found.group.shape
    dense = all(
        o.shape == shape and o.strides == dense_strides(shape, o.dtype.itemsize)
        for o in operands
        if type(o) is Operand
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
            continue
        dtype = parameters[i].dtype  # as CuPy has to be given it
        if i in numbers:
            names[f"n{i}"] = dtype.type
            texts.append(f"n{i}(arrays[{numbers[i]}])")
        else:
            names[f"n{i}"] = argument if dtype is None else dtype.type(argument)
            texts.append(f"n{i}")
    arguments = eval(f"lambda arrays, outs, size: ({', '.join(texts)},)", names)
    width = -(-math.prod(shape) // kernel.elements)
    return Plan(launch, arguments, _dtypes(found, operands), _BLOCK[0] * width, shape)


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
        if plan is _BY_VALUE:
            plan = self._by_value(which, arrays, attrs, _ANY)
        if plan is None or shape is None or (self._several and _elsewhere(arrays, kind)):
            return self._plain(*arrays, **attrs)
        out = kind(shape, plan.dtypes[0])
        size = out.size
        if not 0 < size < _LARGE:
            return self._plain(*arrays, **attrs)
        blocks = (size - 1) // plan.each + 1
        grid = (blocks if blocks < _BLOCKS else _BLOCKS,)
        try:
            arguments = plan.arguments(arrays, (out,), size)
        except OverflowError:  # an int that the dtype has not
            return self._plain(*arrays, **attrs)
        plan.launch(grid, _BLOCK, arguments)  # type: ignore[misc]
        return out

    def _of_any(self, arrays: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """The result for arrays of several shapes, or with gaps, laid out as NumPy's is."""
        kind = self._kind
        if self._several and _elsewhere(arrays, kind):
            return self._plain(*arrays, **attrs)
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
        if plan is _BY_VALUE:
            plan = self._by_value(which, arrays, attrs, None)
        if plan is None or (self._several and _elsewhere(arrays, kind)):
            return self._plain(*arrays, **attrs)
        out = kind(plan.shape, plan.dtypes[0])
        try:
            plan.run(arrays, [out])
        except OverflowError:  # an int that the dtype has not
            return self._plain(*arrays, **attrs)
        return out

    def _by_value(
        self, which: Any, arrays: tuple[Any, ...], attrs: dict[str, Any], shape: Any
    ) -> Plan | None:
        """The plan for these values of the numbers."""
        which = which, *(a for a in arrays if type(a) in (float, int))
        try:
            return self._plans[which]
        except KeyError:
            return self._add(which, arrays, attrs, shape, _planned_by_value)

    def _add(
        self,
        which: Any,
        arrays: tuple[Any, ...],
        attrs: dict[str, Any],
        shape: Any,
        planned: _Call = _planned,
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
        plan = None
        if own and (shape or all(0 < a.size < _LARGE for a in own)):
            plan = planned(self._function, operands, attrs)
            if plan is not None and plan is not _BY_VALUE and plan.launch is None:
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
    if _is_like_most(operand):
        return kind if kind is float else (kind, "+" if operand > 0 else "-")
    if kind is float or kind is int or kind is bool:
        return kind, operand if operand else repr(operand)
    if isinstance(operand, np.generic):
        return kind, operand.tobytes()
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
            gaps, or a rule that is no formula, or gradients of 16 bits to be added up in float32.
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
            again = parent in wanted
            if parent.dtype.itemsize == 2 and (again or parent in gradients):
                return None
            if again:
                which.append(wanted.index(parent))
            else:
                which.append(len(wanted))
                wanted.append(parent)
        before = [gradients.get(parent) for parent in wanted]
        arrays = (g, out, *saved, *before)
        key: list[Any] = which[:]
        for a in arrays:
            if a is None:
                key.append(None)
            elif type(a) is kind:
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
        if plan is _BY_VALUE:
            at = at, *(a for a in saved if type(a) in (float, int))
            try:
                plan = self._plans[at]
            except KeyError:
                planned = _planned_by_value
                plan = self._add(arrays, attrs, which, wanted, len(saved), planned)
                self._plans[at] = plan
        if plan is None or (self._several and _elsewhere(arrays, kind)):
            return None
        size = g.size
        if not 0 < size < _LARGE:
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
            blocks = (size - 1) // plan.each + 1
            grid = (blocks if blocks < _BLOCKS else _BLOCKS,)
            plan.launch(grid, _BLOCK, plan.arguments(arrays, outs, size))  # type: ignore[misc]
        return found

    def _add(
        self,
        arrays: tuple[Any, ...],
        attrs: dict[str, Any],
        which: list[int],
        wanted: list[Any],
        count: int,
        planned: _Call = _planned,
    ) -> Plan | None:
        kind, functions = self._kind, self._functions
        rules = functions if len(functions) == len(which) else functions * len(which)
        operands: list[Any] = [
            Operand(a.dtype, _ANY, dense_strides(_ANY, a.dtype.itemsize)) if type(a) is kind else a
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

        plan: Plan | None = planned(everything, operands, {})
        if plan is None or plan is _BY_VALUE:
            return plan
        if len(plan.dtypes) != len(wanted):
            return None
        for dtype, parent in zip(plan.dtypes, wanted, strict=True):
            own = arrays[dtype].dtype if type(dtype) is int else dtype
            if own != parent.dtype:
                return None
        return plan


# Single operations


class Mapped:
    """A function of CuPy's namespace that computes elements from elements, as kernels.

    In kernels of several operations it has the same bits: CuPy's own is compiled in another way.

    Parameters
    ----------
    name : str
    plain : callable, optional
        What is called where there is no kernel; CuPy's function by default.
    """

    __slots__ = ("_by_kind", "_name", "_plain")

    def __init__(self, name: str, plain: _Call | None) -> None:
        self._name = name
        self._plain = plain or _of_cupy(name)
        self._by_kind: dict[Any, Fused] = {}

    def __call__(self, *operands: Any, **options: Any) -> Any:
        """The result, as CuPy's function of that name."""
        if options:
            return self._plain(*operands, **options)
        kind = _cupy().ndarray
        fused = self._by_kind.get(kind)
        if fused is None:
            name = self._name
            fused = Fused(lambda xp, *xs: getattr(xp, name)(*xs), self._plain, kind)
            self._by_kind = {kind: fused}
        return fused(*operands)


class Reduced:
    """A reduction of CuPy's namespace as generated kernels, which add up in their order.

    That of integers is exact, in whatever order, and left to CuPy.

    Parameters
    ----------
    name : {"sum", "prod", "mean", "max", "min"}
    plain : callable, optional
        What is called where there is no kernel; CuPy's function by default.
    """

    __slots__ = ("_name", "_plain", "_plans")

    def __init__(self, name: str, plain: _Call | None) -> None:
        self._name = name
        self._plain = plain or _of_cupy(name)
        self._plans: dict[Any, tuple[Generated, Value] | None] = {}

    def __call__(self, x: Any, axis: Any = None, *, out: Any = None, **options: Any) -> Any:
        """The result, as CuPy's function of that name."""
        into = {} if out is None else {"out": out}
        if isinstance(axis, list) or not backend.is_array(x) or 0 in x.shape:
            return self._plain(x, axis=axis, **options, **into)
        which = (x.dtype.char, x.shape, x.strides, axis, *options.items())
        try:
            plan = self._plans[which]
        except KeyError:
            if len(self._plans) >= _MOST:
                self._plans.clear()
            plan = self._plans[which] = self._planned(x, axis, options)
        if plan is None or (_several() and _elsewhere((x,), type(x))):
            return self._plain(x, axis=axis, **options, **into)
        kernel, value = plan
        if out is None:
            out = type(x)(value.shape, value.dtype)
        elif not _takes(out, value) or _overlap(x, kernel.reads[0], out):
            return self._plain(x, axis=axis, **options, **into)
        launch(kernel, {kernel.reads[0]: _row(x), kernel.writes[0]: out})
        return out

    def _planned(
        self, x: Array, axis: Any, options: dict[str, Any]
    ) -> tuple[Generated, Value] | None:
        """Kernel and result."""
        function = getattr(_HOST, self._name)
        try:
            like = np.empty((1,) * x.ndim, x.dtype)
            dtype = function(like, axis=axis, **options).dtype
        except Exception:  # what is wrong CuPy says
            return None
        if dtype.kind not in "fV":
            return None
        named = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        axes = {a % x.ndim for a in named} if x.ndim else set()
        keep = options.get("keepdims", False)
        shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape) if keep or i not in axes)
        graph = Graph(Device("cuda"))
        source = Value(graph.buffer("argument", x.nbytes), 0, 0, x.shape, x.strides, x.dtype)
        size = math.prod(shape) * dtype.itemsize
        strides = dense_strides(shape, dtype.itemsize)
        out = Value(graph.buffer("temporary", size), 1, 0, shape, strides, dtype)
        place = launch.__code__, 0
        node = Node("reduce", self._name, (source,), {"axis": axis, **options}, (out,), place)
        if not fusable(node):
            return None
        group = Group(x.shape)
        group.nodes.append(node)
        kernel = generated(group)
        return None if kernel is None else (kernel, out)


def launch(kernel: Generated, arrays: dict[Value, Any]) -> None:
    """Launch a kernel with arrays, in C's order, for the values of its arguments."""
    import cupy

    scratch, tickets = kernel.parts
    special = {
        id(PARTS): cupy.empty(scratch, np.uint8) if scratch else None,
        id(TICKETS): zeros(tickets).tickets if tickets else None,
    }
    args = [
        arrays[a] if type(a) is Value else special[id(a)] if type(a) is object else a
        for a in kernel.arguments
    ]
    kernel.source.launch(
        kernel.entry,
        args,
        elements=kernel.elements if kernel.grid is None else None,
        blocks=kernel.grid,
        threads=kernel.block,
    )


def _takes(out: Array, value: Value) -> bool:
    """Whether a value may be written to an array."""
    return (out.shape, out.dtype) == (value.shape, value.dtype) and bool(out.flags.c_contiguous)


def _overlap(x: Array, value: Value, out: Array) -> bool:
    """Whether an array, which is a value, shares bytes with one in C's order."""
    low, high = value.extent()
    start, place = x.data.ptr, out.data.ptr
    return bool(start + low < place + out.nbytes and place < start + high)


def _row(x: Array) -> Array:
    """The memory of an array from its first element on, as one without gaps.

    It is a place for a kernel, which knows the strides: where elements lie before the first,
    only that is in it.
    """
    if x.flags.c_contiguous:
        return x
    count = math.prod(n for n, stride in zip(x.shape, x.strides, strict=True) if stride)
    count = count if min(x.strides) >= 0 else 1
    return type(x)((count,), x.dtype, x.data)


def _cupy() -> Any:
    return sys.modules["cupy"]  # whoever has arrays of it has imported it


@functools.cache
def _namespace(module: Any) -> Any:
    """CuPy's own functions, without what takes the place of some."""
    return Namespace(module)


def _of_cupy(name: str) -> _Call:
    return lambda *operands, **options: getattr(_namespace(_cupy()), name)(*operands, **options)


def _names() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names of functions, and all that they go by in a namespace."""
    for name in INEXACT:
        own = getattr(np, name, None)
        also = [n for n in dir(np) if own is not None and getattr(np, n) is own]
        yield name, tuple({name, *also})


for _name, _also in _names():
    _function = Mapped(_name, backend.CUPY_FUNCTIONS.get(_name))
    backend.CUPY_FUNCTIONS.update(dict.fromkeys(_also, _function))
for _name in ("sum", "prod", "mean", "max", "min"):
    backend.CUPY_FUNCTIONS[_name] = Reduced(_name, backend.CUPY_FUNCTIONS.get(_name))
