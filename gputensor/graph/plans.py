"""Plans: functions of arrays as single kernels, ready to launch.

A plan is made once for each combination of dtypes. What does not become one kernel, a function that
needs values or that the table of formulas does not have, has None in its place.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gputensor import backend
from gputensor.backend import Array
from gputensor.graph.generate import PARTS, TICKETS, Generated, generated, scratch
from gputensor.graph.ir import Value, dense_strides
from gputensor.graph.outline import Operand, Outlined, outlined

__all__ = ["MOST", "Plan", "Plans", "told_apart"]

_Call = Callable[..., Any]
MOST = 4096  # kernels with their arguments that are remembered for a function
_BLOCK = (256,)
_BLOCKS = 2048  # at most: enough for any device, as a thread takes more elements then


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
    grid, block : tuple of int
        Where sums are taken, else None and that of all others.
    """

    launch: _Call | None
    arguments: _Call
    dtypes: tuple[Any, ...]
    each: int
    shape: tuple[int, ...]
    grid: tuple[int, ...] | None = None
    block: tuple[int, ...] = _BLOCK

    def run(self, arrays: tuple[Any, ...], outs: Sequence[Array], size: int) -> None:
        """Launch, for results that are there, of `size` elements each."""
        grid = self.grid
        if grid is None:
            blocks = (size - 1) // self.each + 1
            grid = (blocks if blocks < _BLOCKS else _BLOCKS,)
        self.launch(grid, self.block, self.arguments(arrays, outs, size))  # type: ignore[misc]


class Plans(dict[Any, Plan | None]):
    """Plans of a function, by what they are made for.

    Parameters
    ----------
    make : callable
        ``make(planned, arrays, attrs, rest)`` gives the plan, which it has from
        ``planned(function, operands, attrs)``.
    """

    __slots__ = ("_make",)

    def __init__(self, make: _Call) -> None:
        super().__init__()
        self._make = make

    def find(
        self, key: Any, arrays: tuple[Any, ...], attrs: dict[str, Any], rest: Any
    ) -> Plan | None:
        """The plan for arrays that a key tells from others; made when it is first asked for."""
        try:
            plan = self[key]
        except KeyError:
            plan = self._add(key, self._make(_planned, arrays, attrs, rest))
        if plan is _BY_VALUE:
            key = key, *(a for a in arrays if type(a) in (float, int))
            try:
                plan = self[key]
            except KeyError:
                plan = self._add(key, self._make(_planned_by_value, arrays, attrs, rest))
        return plan

    def _add(self, key: Any, plan: Plan | None) -> Plan | None:
        if len(self) >= MOST:
            self.clear()
        self[key] = plan
        return plan


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
        kernel = generated(found.group, found.after, found.group.inner)
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
    kernel = generated(found.group, found.after, found.group.inner)
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
    launch, parameters, _ = kernel.source.compiled(kernel.entry)
    names: dict[str, Any] = {"null": np.uint64(0)}
    names["scratch"] = functools.partial(scratch, *kernel.parts)
    texts = []
    for i, argument in enumerate(kernel.arguments):
        if type(argument) is Value:
            texts.append(text[argument.buffer.number])
            continue
        if argument is PARTS:  # and tickets, which come next
            texts.append("*scratch()" if any(kernel.parts) else "null, null")
            continue
        if argument is TICKETS:
            continue
        if i == 0 and kernel.grid is None:
            texts.append("size")
            continue
        dtype = parameters[i].dtype  # as CuPy has to be given it
        if i in numbers:
            names[f"n{i}"] = dtype.type
            texts.append(f"n{i}(arrays[{numbers[i]}])")
        else:
            names[f"n{i}"] = argument if dtype is None else dtype.type(argument)
            texts.append(f"n{i}")
    arguments = eval(f"lambda arrays, outs, size: ({', '.join(texts)},)", names)
    each = _BLOCK[0] * -(-math.prod(shape) // kernel.elements) if kernel.elements else 0
    dtypes = _dtypes(found, operands)
    return Plan(launch, arguments, dtypes, each, shape, kernel.grid, kernel.block)


def told_apart(operand: Any) -> Any:
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
