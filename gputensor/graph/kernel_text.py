"""The text of a kernel under way: its operands, what is computed of them, and its parameters."""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from gputensor.graph.formulas import (
    compute_type,
    converted,
    formula_of,
    is_clipping,
    name_of,
    number,
)
from gputensor.graph.fuse import Group, order_of, space
from gputensor.graph.ir import Node, Value
from gputensor.graph.kernel_groups import Reduction, place_of, reduction_of
from gputensor.kernels.grad_norm import ends_of
from gputensor.kernels.source import c_type

__all__ = ["Writer"]

_SMALL = 1 << 29  # elements that are counted in 32 bits
_CLIP = "squared", "ends", "count", "most"  # what makes a Clip of clip.cuh
_MANY, _VERY_MANY = 30, 90  # operations from which a thread takes fewer elements: for registers


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
    clips : list of (str, Node)
        Nodes that scale gradients down, and the names of what does it, see ``clip.cuh``.
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
        self.clips: list[tuple[str, Node]] = []

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
        key = place_of(operand, self._shape)
        if key not in self._variables:
            self._variables[key] = f"{self._input}{len(self._read)}", operand.dtype
            self._read[key] = operand
        name, own = self._variables[key]
        return converted(name, own, dtype)

    def map(self, node: Node, inner: set[int]) -> None:
        """Add what a node computes; what lies in buffers that are `inner` is not written."""
        formula = formula_of(node)
        assert formula is not None
        if is_clipping(node):
            formula = formula._replace(code=formula.code.replace("clip", self._clip(node)))
        texts = [
            self.operand(operand, dtype)
            for operand, dtype in zip(formula.operands, formula.dtypes, strict=True)
        ]
        out = node.outputs[0]
        text = converted(formula.text(texts), formula.dtype, out.dtype)
        name = f"{self._other}{len(self.lines)}"
        self.lines.append(f"const {compute_type(out.dtype)} {name} = {text};")
        key = place_of(out, self._shape)
        self._variables[key] = name, out.dtype
        if out.buffer.number not in inner:
            self._written[key] = out, name

    def _clip(self, node: Node) -> str:
        """Name of what scales gradients down as a node does."""
        name = f"clip{len(self.clips)}"
        self.clips.append((name, node))
        return name


class Writer:
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
            place_of(one.out, late): (f"t{i}", one.out.dtype)
            for i, (one, _) in enumerate(self.sums)
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

    @property
    def tables(self) -> list[Value]:
        """Values that are not read element by element: norms, and the ends of parameters."""
        return [value for _, node in self.body.clips for value in node.inputs[1:]]

    def clips(self, indent: str) -> list[str]:
        """Statements that make what scales gradients down."""
        return [
            f"{indent}Clip<{compute_type(node.outputs[0].dtype)}> {name}"
            f"({', '.join(f'{name}_{part}' for part in _CLIP)});"
            for name, node in self.body.clips
        ]

    def parameters(self, *first: tuple[str, Any]) -> tuple[str, list[Any]]:
        """Declarations of the parameters, and their arguments."""
        declared = [text for text, _ in first]
        given = [value for _, value in first]
        for name, node in self.body.clips:
            kinds = zip(("const double*", "const int64*", "int64", "double"), _CLIP, strict=True)
            declared += [f"{kind} {name}_{part}" for kind, part in kinds]
            given += [node.args[1], *ends_of(node.kwargs.get("segments")), node.kwargs["most"]]
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
