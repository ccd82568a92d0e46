"""Kernels from groups of maps and reductions: their CUDA C++, and what they are launched with.

A source is made for a pattern: operations, dtypes, the number of axes that are left when those
that go on as one are joined, and how each operand lies along the innermost of them. Lengths,
strides and numbers are arguments. One element after the other a kernel reads its operands once,
computes all of the group, and writes what is needed outside of it.

Reductions add up in an order that the shape decides. float16 and bfloat16 add up as float32.
"""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from gputensor.graph.formulas import compute_type, converted, formula_of, name_of, number
from gputensor.graph.fuse import Group, order_of, space, steps_along
from gputensor.graph.ir import Node, Value
from gputensor.kernels.runtime import is_narrow
from gputensor.kernels.source import CudaSource, c_type

__all__ = ["Generated", "Reduction", "fusable", "generated", "joins", "reduction_of"]

# Every operation rounds by itself, as where each is a kernel of CuPy's. As there, float32 numbers
# below the normal ones are 0: CuPy puts -ftz=true behind all options.
_OPTIONS = ("--fmad=false",)
_THREADS = 256
_MOST_READ, _MOST_NODES = 40, 150
_MOST_SUMMED = 160  # bytes of the totals of a thread: a block's are in shared memory
_SMALL = 1 << 29  # elements that are counted in 32 bits
_FEW_SUMS = 4
_BLOCKS = 1024  # that a reduction is divided into, if it is large enough
_MOST_EACH = 256  # elements, or rows of them, that a thread adds up one after the other
_IN_A_ROW = 4  # neighbours that a thread adds up, or has the sums of, whatever it reads at once
_MANY, _VERY_MANY = 30, 90  # operations from which a thread takes fewer elements: for registers


# Reductions


class Reduction(NamedTuple):
    """A sum or the like.

    Attributes
    ----------
    begin : str
        What it begins with, of the type that is added up.
    join : str
        Expression of x and y.
    axes : tuple of int
    source, out : Value
    dtype : dtype
        That is added up.
    mean : bool
        Whether the sum is divided by the number of elements.
    """

    begin: str
    join: str
    axes: tuple[int, ...]
    source: Value
    out: Value
    dtype: "np.dtype[Any]"
    mean: bool

    @property
    def ordered(self) -> bool:
        """Whether the order decides on bits."""
        return self.dtype.kind == "f" and self.join in ("x + y", "x * y")

    def spread(self, value: Value, shape: tuple[int, ...]) -> Value:
        """What is broadcast to a shape, that of the result but for axes of length 1, as it is
        broadcast to the operand's.
        """
        steps = steps_along(value, shape)
        long = (step for n, step in zip(shape, steps, strict=True) if n != 1)
        strides = tuple(
            next(long) if i not in self.axes and n != 1 else 0
            for i, n in enumerate(self.source.shape)
        )
        return value._replace(shape=self.source.shape, strides=strides)


_UFUNCS: dict[Any, str] = {np.add: "sum", np.multiply: "prod", np.maximum: "max", np.minimum: "min"}
_JOINS = {
    "sum": ("0", "x + y"),
    "mean": ("0", "x + y"),
    "prod": ("1", "x * y"),
    "max": ("-infinity<{T}>()", "maximum(x, y)"),
    "min": ("infinity<{T}>()", "minimum(x, y)"),
    "any": ("0", "x || y"),
    "all": ("1", "x && y"),
}


def reduction_of(node: Node) -> Reduction | None:
    """What a node adds up; None if there is no kernel for it."""
    if node.kind != "reduce" or len(node.outputs) != 1 or not isinstance(node.args[0], Value):
        return None
    ufunc = getattr(node.op, "__self__", None)
    name = _UFUNCS.get(ufunc, "") if isinstance(ufunc, np.ufunc) else node.name
    options = dict(zip(("axis", "dtype"), node.args[1:], strict=False)) | node.kwargs
    if name not in _JOINS or len(node.args) > 3 or options.keys() - {"axis", "dtype", "keepdims"}:
        return None
    x, out = node.args[0], node.outputs[0]
    ndim = len(x.shape)
    axis = options.get("axis", 0 if isinstance(ufunc, np.ufunc) else None)
    axes = range(ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(sorted(a % ndim for a in axes))
    if not axes or 0 in x.shape or x.dtype.kind not in "fViub" or x.overlaps(out):
        return None
    if min(x.strides) < 0 and name in ("sum", "prod", "mean"):  # CuPy's order is another
        return None
    dtype = out.dtype
    if name in ("any", "all"):
        if dtype.kind != "b":
            return None
    elif dtype.kind in "iu":
        if x.dtype.kind == "f" or name == "mean" or (name in ("max", "min") and x.dtype != dtype):
            return None
    elif dtype.kind not in "fV":
        return None
    if is_narrow(dtype):
        dtype = np.dtype(np.float32)
    begin, join = _JOINS[name]
    if name in ("max", "min") and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        begin = str(limits.max if name == "min" else limits.min + (dtype.kind == "i"))
        begin += "ULL" if dtype.kind == "u" else "LL - 1" if name == "max" else "LL"
    begin = begin.replace("{T}", compute_type(dtype))
    return Reduction(begin, join, axes, x, out, dtype, name == "mean")


# What may run together


def fusable(node: Node) -> bool:
    """Whether a node may be in a group that becomes a kernel."""
    if node.kind == "reduce":
        if reduction_of(node) is None:
            return False
    elif formula_of(node) is None:
        return False
    values = [*node.inputs, *node.outputs]
    out = node.outputs[0]
    return all(
        not any(step % v.dtype.itemsize for step in (v.offset, *v.strides)) for v in values
    ) and not any(v.overlaps(out) and not v.same_place(out) for v in node.inputs)


def joins(group: Group, node: Node) -> bool:
    """Whether a node may join a group whose shape it has."""
    sums = _reductions(group)
    if any(v.overlaps(one.out) for one in sums for v in (*node.inputs, *node.outputs)):
        return False
    own = reduction_of(node)
    if own is not None and sums:
        size = sum(max(4, one.dtype.itemsize) for one in (*sums, own))
        orders = {order_of(one.source) for one in (*sums, own) if one.ordered}
        if own.axes != sums[0].axes or len(orders) > 1 or size > _MOST_SUMMED:
            return False
    if len(group.nodes) == _MOST_NODES:
        return False
    nodes, shape = (*group.nodes, node), group.shape
    made = {_place(v, shape) for n in nodes for v in n.outputs}
    read = {_place(v, shape) for n in nodes for v in n.inputs}
    return len(read - made) <= _MOST_READ


def _reductions(group: Group) -> list[Reduction]:
    return [one for n in group.nodes if (one := reduction_of(n)) is not None]


def follows(group: Group, after: Sequence[Node], later: Group) -> bool:
    """Whether a group that needs another one's reductions may run at its end, element by element.

    Parameters
    ----------
    group : Group
    after : sequence of Node
        What runs at its end already.
    later : Group
        Nothing that it depends on runs after `group`.
    """
    sums = _reductions(group)
    if not sums or _long(sums[0].out.shape) != _long(later.shape) or _reductions(later):
        return False
    if any(n.outputs[0].shape != later.shape for n in after):
        return False
    totals = [one.out for one in sums] + [n.outputs[0] for n in after]
    outs = [n.outputs[0] for n in group.nodes if n.kind != "reduce"]
    read = [v for n in group.nodes for v in n.inputs]
    for node in later.nodes:
        for value in node.inputs:
            if any(value.overlaps(out) for out in outs):
                return False  # what other threads write
            if any(
                value.overlaps(out) and _place(value, later.shape) != _place(out, later.shape)
                for out in totals
            ):
                return False
        # Other threads may not have read yet what is written over.
        if any(v.overlaps(other) for v in node.outputs for other in (*read, *outs)):
            return False
    return len(after) + len(later.nodes) <= _MOST_NODES


def _long(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _place(value: Value, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Where the elements of a value lie that go with those of a shape.

    Values that are not broadcast to it are the same whatever axes of length 1 they have.
    """
    if _long(value.shape) != _long(shape):
        return value.buffer.number, *value[2:]
    steps = tuple(s for n, s in zip(value.shape, value.strides, strict=True) if n != 1)
    return value.buffer.number, value.offset, _long(shape), steps, value.dtype


# Kernels


PARTS, TICKETS = object(), object()


class Generated(NamedTuple):
    """A kernel and what it is launched with.

    Attributes
    ----------
    source : CudaSource
    entry : str
    arguments : tuple
        Values, whose addresses are taken, numbers, and :data:`PARTS` and :data:`TICKETS` for
        scratch memory.
    grid, block : tuple of int, or None
        None where the number of elements decides.
    elements : int
    parts : tuple of int
        Bytes of scratch memory and number of tickets; zeros where there are none.
    nodes : tuple of Node
    reads, writes : tuple of Value
    """

    source: CudaSource
    entry: str
    arguments: tuple[Any, ...]
    grid: tuple[int, ...] | None
    block: tuple[int, ...]
    elements: int
    parts: tuple[int, int]
    nodes: tuple[Node, ...]
    reads: tuple[Value, ...]
    writes: tuple[Value, ...]


_sources: dict[str, CudaSource] = {}  # by their text


def _source(text: str) -> CudaSource:
    found = _sources.get(text)
    if found is None:
        found = _sources[text] = CudaSource(text, options=_OPTIONS)
    return found


class _Operand(NamedTuple):
    """An array of a kernel: its name there, the value, and steps along the axes in elements."""

    name: str
    value: Value
    steps: tuple[int, ...]

    @property
    def pointer(self) -> str:
        """C++ type of its elements."""
        name: str = c_type(self.value.dtype)
        return name

    @property
    def across(self) -> str:
        """How it lies along the innermost axis: one number, in a row, or apart."""
        return {0: "one", 1: "row"}.get(self.steps[-1], "apart")

    def at(self, axes: Sequence[int]) -> str:
        """Its place at the indices of some axes, as an expression."""
        terms = [
            f"i{a}"
            if a == len(self.steps) - 1 and self.across == "row"
            else f"i{a} * {self.name}_{a}"
            for a in axes
            if self.steps[a]
        ]
        return " + ".join([self.name, *terms])

    def strides(self) -> Iterator[tuple[str, int]]:
        """Names and values of the strides that are arguments."""
        last = len(self.steps) - 1
        for a, step in enumerate(self.steps):
            if step and not (a == last and self.across == "row"):
                yield f"{self.name}_{a}", step


class _Body:
    """Statements for one element of a shape.

    Parameters
    ----------
    shape : tuple of int
    letters : tuple of str
        What the names of variables begin with: those of values that are read, and of others.
    numbers : list
        Where the numbers go that operands are: type, name and value.
    known : dict
        Variables that are there: name and dtype by place.

    Attributes
    ----------
    lines : list of str
    read : list of Value
    written : list of (Value, str)
        Values, and the variables that have them.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        letters: tuple[str, str],
        numbers: list[Any],
        known: dict[Any, Any],
    ) -> None:
        self._shape = shape
        self._input, self._other = letters
        self._numbers = numbers
        self._variables = known
        self._read: dict[Any, Value] = {}
        self._written: dict[Any, tuple[Value, str]] = {}
        self.lines: list[str] = []

    @property
    def read(self) -> list[Value]:
        return list(self._read.values())

    @property
    def written(self) -> list[tuple[Value, str]]:
        return list(self._written.values())

    def operand(self, operand: Any, dtype: Any) -> str:
        """Text of an operand as a number of a dtype."""
        if not isinstance(operand, Value):
            name = f"c{len(self._numbers)}"
            kind = compute_type(dtype)
            value = number(operand, dtype)
            self._numbers.append((kind, name, np.float32(value) if kind == "float" else value))
            return name
        key = _place(operand, self._shape)
        if key not in self._variables:
            self._variables[key] = f"{self._input}{len(self._read)}", operand.dtype
            self._read[key] = operand
        name, own = self._variables[key]
        return converted(name, own, dtype)

    def map(self, node: Node, inner: set[int]) -> None:
        """Add what a node computes; what lies in buffers that are `inner` is not written."""
        formula = formula_of(node)
        assert formula is not None
        texts = [
            self.operand(operand, dtype)
            for operand, dtype in zip(formula.operands, formula.dtypes, strict=True)
        ]
        out = node.outputs[0]
        text = converted(formula.text(texts), formula.dtype, out.dtype)
        name = f"{self._other}{len(self.lines)}"
        self.lines.append(f"const {compute_type(out.dtype)} {name} = {text};")
        key = _place(out, self._shape)
        self._variables[key] = name, out.dtype
        if out.buffer.number not in inner:
            self._written[key] = out, name


class _Writer:
    """A kernel under way.

    Attributes
    ----------
    lengths : tuple of int
        Of the axes.
    body, after : _Body
        For elements, and for those of results of reductions.
    sums : list of (Reduction, str)
        Reductions, and expressions of what they add up.
    loads, stores, totals : list of _Operand
        What is read, written, and the results of reductions.
    late_loads, late_stores : list of _Operand
        The same for `after`.
    index : str
        Type of indices.
    """

    def __init__(self, group: Group, after: Sequence[Node], hidden: set[int]) -> None:
        self.nodes = (*group.nodes, *after)
        self.numbers: list[tuple[str, str, Any]] = []
        self.sums: list[tuple[Reduction, str]] = []
        self.body = _Body(group.shape, ("x", "v"), self.numbers, {})
        inner = group.inner | hidden
        for node in group.nodes:
            one = reduction_of(node)
            if one is None:
                self.body.map(node, inner)
            else:
                self.sums.append((one, self.body.operand(one.source, one.dtype)))
        late = after[0].outputs[0].shape if after else ()
        totals = {
            _place(one.out, late): (f"t{i}", one.out.dtype) for i, (one, _) in enumerate(self.sums)
        }
        self.after = _Body(late, ("y", "w"), self.numbers, totals)
        for node in after:
            self.after.map(node, inner)
        self.kept_totals = [one.out.buffer.number not in hidden for one, _ in self.sums]
        self._lay_out(group.shape, after)

    def _lay_out(self, shape: tuple[int, ...], after: Sequence[Node]) -> None:
        parts = [self.body.read, [v for v, _ in self.body.written]]
        parts.append([one.spread(one.out, one.out.shape) for one, _ in self.sums])
        if after:
            like, late = self.sums[0][0], after[0].outputs[0].shape
            parts += [
                [like.spread(v, late) for v in values]
                for values in (self.after.read, [v for v, _ in self.after.written])
            ]
        values = [v for part in parts for v in part]
        # What is added up decides on the order, so that it is the same whatever else is computed.
        first = min((one for one, _ in self.sums), key=lambda one: not one.ordered, default=None)
        order = None if first is None else order_of(first.source)
        self.lengths, steps = space(shape, values, order)
        found = iter(
            tuple(step // v.dtype.itemsize for step in along)
            for v, along in zip(values, steps, strict=True)
        )
        operands = [
            [_Operand(f"{letter}{i}", v, next(found)) for i, v in enumerate(part)]
            for letter, part in zip("absde", parts, strict=False)
        ]
        self.loads, self.stores, self.totals = operands[:3]
        nothing: list[list[_Operand]] = [[], []]
        self.late_loads, self.late_stores = operands[3:] or nothing
        reach = [
            sum(abs(step) * (n - 1) for step, n in zip(o.steps, self.lengths, strict=True))
            for part in operands
            for o in part
        ]
        self.index = "int" if max(math.prod(self.lengths), *reach) < _SMALL else "int64"

    # Parts of the text

    def width(self) -> int:
        """Elements that a thread takes at a time."""
        rows = [o for o in (*self.loads, *self.stores) if o.across == "row"]
        size = max((o.value.dtype.itemsize for o in rows), default=16)
        count = len(self.body.lines)
        most = 1 if count > _VERY_MANY else 2 if count > _MANY else 16
        return max(1, min(16 // size, most))

    def aligned(self, width: int) -> bool:
        """Whether strides let `width` neighbours be read at once, if the first of all may be."""
        return self.lengths[-1] % width == 0 and all(
            not any(step % width for step in o.steps[:-1])
            for o in (*self.loads, *self.stores)
            if o.across == "row"
        )

    def alignment(self, width: int) -> str:
        """Whether `width` neighbours may be read at once, for all addresses, as an expression."""
        rows = [o.name for o in (*self.loads, *self.stores) if o.across == "row"]
        return f"all_aligned<{width}>({', '.join(rows)})" if rows and width > 1 else "true"

    def elements(self, axes: Sequence[int], packs: str, last: str, indent: str) -> list[str]:
        """Statements that read, compute and write N elements; `last` ends each one's."""
        found = []
        once = []
        for i, o in enumerate(self.loads):
            at = o.at(axes)
            if o.across == "one":
                once.append(f"const {compute_type(o.value.dtype)} x{i} = *({at});")
            elif o.across == "row":
                found.append(f"const auto p{i} = load_row<N>({at}, {packs});")
            else:
                found.append(f"const auto p{i} = load_apart<N>({at}, {o.name}_{axes[-1]});")
        found += once
        found += [f"Pack<N, {o.pointer}> q{i};" for i, o in enumerate(self.stores)]
        found += ["#pragma unroll", "for (int j = 0; j < N; ++j) {"]
        found += [
            f"    const {compute_type(o.value.dtype)} x{i} = p{i}.at[j];"
            for i, o in enumerate(self.loads)
            if o.across != "one"
        ]
        found += [f"    {line}" for line in self.body.lines]
        found += [f"    q{i}.at[j] = {name};" for i, (_, name) in enumerate(self.body.written)]
        found += [f"    {line}" for line in last.splitlines()]
        found.append("}")
        for i, o in enumerate(self.stores):
            at = o.at(axes)
            if o.across == "row":
                found.append(f"store_row({at}, q{i}, {packs});")
            elif o.across == "one":  # there is one element
                found.append(f"*({at}) = q{i}.at[0];")
            else:
                found.append(f"store_apart({at}, q{i}, {o.name}_{axes[-1]});")
        return [line if line.startswith("#") else indent + line for line in found]

    def ends(self, axes: Sequence[int], indent: str) -> list[str]:
        """Statements for a result of the reductions, and what is computed with it."""
        found = []
        used = "\n".join([*self.after.lines, *(name for _, name in self.after.written)])
        for i, (o, (one, _)) in enumerate(zip(self.totals, self.sums, strict=True)):
            total = f"sums.s{i}"
            if one.mean:
                total = f"{total} / ({compute_type(one.dtype)})length"
            total = converted(total, one.dtype, o.value.dtype)
            if re.search(rf"\bt{i}\b", used):
                found.append(f"const {compute_type(o.value.dtype)} t{i} = {total};")
                total = f"t{i}"
            if self.kept_totals[i]:
                found.append(f"*({o.at(axes)}) = {total};")
        found += [
            f"const {compute_type(o.value.dtype)} y{i} = *({o.at(axes)});"
            for i, o in enumerate(self.late_loads)
        ]
        found += self.after.lines
        found += [
            f"*({o.at(axes)}) = {name};"
            for o, (_, name) in zip(self.late_stores, self.after.written, strict=True)
        ]
        return [indent + line for line in found]

    def indices(self, axes: Sequence[int], of: str, indent: str, used: Sequence[str]) -> list[str]:
        """Statements that make the indices along axes that `used` names, of a number `of`."""
        found: list[tuple[str, str]] = []
        rest = of
        for a in reversed(axes[1:]):
            found.append((f"r{a}", f"quotient({rest}, n{a})"))
            found.append((f"i{a}", f"{rest} - r{a} * n{a}"))
            rest = f"r{a}"
        if axes:
            found.append((f"i{axes[0]}", rest))
        text, lines = "\n".join(used), list[str]()
        for name, value in reversed(found):
            if re.search(rf"\b{name}\b", text):
                lines.append(f"{indent}const {self.index} {name} = {value};")
                text += value
        return lines[::-1]

    def parameters(self, *first: tuple[str, Any]) -> tuple[str, list[Any]]:
        """Declarations of the parameters, and their arguments."""
        declared = [text for text, _ in first]
        given = [value for _, value in first]
        totals = [o for o, kept in zip(self.totals, self.kept_totals, strict=True) if kept]
        for o in (*self.loads, *self.stores, *totals, *self.late_loads, *self.late_stores):
            const = "const " if o.name[0] in "ad" else ""
            declared.append(f"{const}{o.pointer}* {o.name}")
            given.append(o.value)
            for name, step in o.strides():
                declared.append(f"{self.index} {name}")
                given.append(step)
        for kind, name, value in self.numbers:
            declared.append(f"{kind} {name}")
            given.append(value)
        return ", ".join(declared), given

    def name(self, kind: str) -> str:
        """Name of the kernel: some of what it does."""
        names = [name_of(n) for n in self.nodes]
        known = list(dict.fromkeys(n for n in names if n not in ("assign", "cast")))[:4]
        count = f"_{len(names)}" if len(names) > len(known) else ""
        return f"{kind}{count}_{'_'.join(known or names[:1])}"


def generated(
    group: Group, after: Sequence[Node] = (), hidden: set[int] | None = None
) -> Generated | None:
    """The kernel of a group; None if there is nothing to compute.

    Parameters
    ----------
    group : Group
    after : sequence of Node
        What runs at its end, see :func:`follows`.
    hidden : set of int, optional
        Numbers of more buffers that need no memory, beside ``group.inner``.
    """
    if 0 in group.shape:
        return None
    writer = _Writer(group, after, hidden or set())
    return _reduction(writer) if writer.sums else _maps(writer)


def _lines_of(head: list[str]) -> str:
    return "\n".join(head) + "\n"


def _maps(w: _Writer) -> Generated:
    lengths = w.lengths
    axes = range(len(lengths))
    width = w.width()
    packs = width > 1 and (len(lengths) == 1 or w.aligned(width))
    name = w.name("map")
    sizes = [(f"{w.index} n{a}", lengths[a]) for a in axes[1:]]
    size = math.prod(lengths)
    flag = [("bool packs", packs)] if len(lengths) > 1 and width > 1 else []
    declared, given = w.parameters(("int64 size", size), *flag, *sizes)
    body = w.elements(axes, "true", "", " " * 8)
    aligned = " && ".join([*(["packs"] if flag else []), w.alignment(width)])
    text = _lines_of(
        [
            '#include "generated.cuh"',
            f'extern "C" __global__ void __launch_bounds__({_THREADS}) {name}({declared}) {{',
            f"    for_elements<{width}>(({w.index})size, {aligned},",
            f"                    [&](auto width, {w.index} i) {{",
            "        constexpr int N = decltype(width)::value;",
            *w.indices(axes, "i", " " * 8, body),
            *body,
            "    });",
            "}",
        ]
    )
    elements = -(-size // width) if packs else size
    return _made(w, text, name, given, None, (_THREADS,), elements, (0, 0))


def _reduction(w: _Writer) -> Generated:
    lengths = w.lengths
    reduced = [a for a in range(len(lengths)) if not any(o.steps[a] for o in w.totals)]
    # An axis of the result may have one element only, and then it does not matter.
    kept = [a for a in range(len(lengths)) if a not in reduced]
    along = len(lengths) - 1 in reduced
    width = min(w.width(), _IN_A_ROW)
    if not along and len(w.sums) > _FEW_SUMS:  # of which it has one for each element
        width = 1
    while width > 1 and not w.aligned(width):
        width //= 2
    count, length = math.prod(lengths[a] for a in kept), math.prod(lengths[a] for a in reduced)
    grid, block, part = _partition(count, length, width, along)
    name = w.name("reduce")
    fields = [f"{_total_type(one.dtype)} s{i};" for i, (one, _) in enumerate(w.sums)]
    clear = [f"s{i} = {one.begin};" for i, (one, _) in enumerate(w.sums)]
    add = [_joined(one, f"s{i}", f"other.s{i}") for i, (one, _) in enumerate(w.sums)]
    target = "sums[0]" if along else "sums[j]"
    element = "\n".join(
        _joined(one, f"{target}.s{i}", text) for i, (one, text) in enumerate(w.sums)
    )
    axes = range(len(lengths))
    outs = w.ends(kept, " " * 8)
    sizes = [(f"{w.index} n{a}", lengths[a]) for a in (*kept[1:], *reduced[1:])]
    declared, given = w.parameters(
        (f"{w.index} kept", count),
        (f"{w.index} length", length),
        (f"{w.index} part", part),
        ("Sums* parts", PARTS),
        ("uint32* tickets", TICKETS),
        *sizes,
    )
    way = str(along).lower()
    body = w.elements(axes, "packs" if width > 1 else "true", element, " " * 8)
    text = _lines_of(
        [
            '#include "generated.cuh"',
            "struct alignas(8) Sums {",
            f"    {' '.join(fields)}",
            f"    __device__ __forceinline__ void clear() {{ {' '.join(clear)} }}",
            "    __device__ __forceinline__ void add(const Sums& other) {",
            *(f"        {line}" for line in add),
            "    }",
            "};",
            f'extern "C" __global__ void __launch_bounds__({_THREADS}) {name}({declared}) {{',
            f"    constexpr int N = {width};",
            *([f"    const bool packs = {w.alignment(width)};"] if width > 1 else []),
            f"    reduce<N, {_IN_A_ROW}, {way}>(kept, length, part, parts, tickets,",
            f"                    [&]({w.index} k, {w.index} r, Sums* sums) {{",
            *w.indices(kept, "k", " " * 8, body),
            *w.indices(reduced, "r", " " * 8, body),
            *body,
            f"    }}, [&]({w.index} k, const Sums& sums) {{",
            *w.indices(kept, "k", " " * 8, outs),
            *outs,
            "    });",
            "}",
        ]
    )
    shared = sum(max(8, one.dtype.itemsize) for one, _ in w.sums)
    parts = (shared * count * grid[1], grid[0]) if grid[1] > 1 else (0, 0)
    return _made(w, text, name, given, grid, block, 0, parts)


def _total_type(dtype: "np.dtype[Any]") -> str:
    return "int" if dtype.kind == "b" else compute_type(dtype)


def _joined(one: Reduction, total: str, text: str) -> str:
    """Statement that adds an expression to a total."""
    names = {"x": total, "y": text}
    joined = re.sub(r"\b[xy]\b", lambda m: names[m[0]], one.join)
    return f"{total} = {joined};"


def _power(n: int) -> int:
    """The least power of two that is not below n."""
    return 1 << max(n - 1, 0).bit_length()


def _partition(
    kept: int, length: int, width: int, along: bool
) -> tuple[tuple[int, int], tuple[int, int], int]:
    """Grid, block, and the elements of a part that a block reduces.

    The order in which elements are added up follows from the shape alone, and not from `width`,
    how many a thread reads at once: a sum has the same bits in whatever kernel it is.
    """
    rows = -(-(length if along else kept) // _IN_A_ROW)
    items, columns = (rows, kept) if along else (length, rows)
    if along:
        team = min(_power(items), _THREADS)
        teams = _THREADS // team
    else:
        teams = min(_power(columns), 32)
        team = min(_power(items), _THREADS // teams)
    # As many parts as fill a large device, if each thread of each has a few elements to add up.
    few = 4 if items >= 64 * team else 16
    parts = min(-(-items // (few * team)), max(1, _BLOCKS // -(-columns // teams)))
    each = min(-(-items // (parts * team)), _MOST_EACH)
    parts = -(-items // (each * team))
    while parts > 65535:
        each, parts = 2 * each, -(-parts // 2)
    part = team * each
    if along:
        return (-(-kept // teams), parts), (team, teams), part * _IN_A_ROW
    return (-(-kept // (width * teams)), parts), (teams, team), part


def _made(
    w: _Writer,
    text: str,
    name: str,
    given: list[Any],
    grid: Any,
    block: tuple[int, ...],
    elements: int,
    parts: tuple[int, int],
) -> Generated:
    return Generated(
        _source(text),
        name,
        tuple(given),
        grid,
        block,
        elements,
        parts,
        w.nodes,
        (*w.body.read, *w.after.read),
        tuple(v for v in given if type(v) is Value)[len(w.loads) :],
    )
