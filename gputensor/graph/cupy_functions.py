"""Functions of CuPy's namespace as generated kernels, which have the bits of larger ones.

Elementwise functions whose results are rounded, and sums: what a captured function computes in a
kernel of many operations is, bit for bit, what these compute one by one.
"""

import functools
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.backend import Array, Device, Namespace
from gputensor.graph.eager import Fused, elsewhere, several
from gputensor.graph.formulas import INEXACT
from gputensor.graph.fuse import Group
from gputensor.graph.generate import Generated, generated, launch
from gputensor.graph.ir import Graph, Node, Value, dense_strides
from gputensor.graph.kernel_groups import fusable
from gputensor.graph.plans import MOST

__all__ = ["Mapped", "Reduced"]

_Call = Callable[..., Any]
_HOST = backend.NAMESPACES[np.ndarray]


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
            if len(self._plans) >= MOST:
                self._plans.clear()
            plan = self._plans[which] = self._planned(x, axis, options)
        if plan is None or (several() and elsewhere((x,), type(x))):
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
