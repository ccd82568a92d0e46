"""Kernels from groups of maps and reductions: their CUDA C++, and what they are launched with.

A source is made for a pattern: operations, dtypes, the number of axes that are left when those
that go on as one are joined, and how each operand lies along the innermost of them. Lengths,
strides and numbers are arguments. One element after the other a kernel reads its operands once,
computes all of the group, and writes what is needed outside of it.

Reductions add up in an order that the shape decides. float16 and bfloat16 add up as float32.
"""

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gputensor.graph.formulas import compute_type
from gputensor.graph.fuse import Group
from gputensor.graph.ir import Node, Value
from gputensor.graph.kernel_groups import Reduction
from gputensor.graph.kernel_text import Writer
from gputensor.kernels.scratch import zeros
from gputensor.kernels.source import CudaSource

__all__ = ["PARTS", "TICKETS", "Generated", "generated", "launch", "scratch"]

# Every operation rounds by itself, as where each is a kernel of CuPy's. As there, float32 numbers
# below the normal ones are 0: CuPy puts -ftz=true behind all options.
_OPTIONS = ("--fmad=false",)
_THREADS = 256
_FEW_SUMS = 4
_BLOCKS = 1024  # that a reduction is divided into, if it is large enough
_MOST_EACH = 256  # elements, or rows of them, that a thread adds up one after the other
_IN_A_ROW = 4  # neighbours that a thread adds up, or has the sums of, whatever it reads at once
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
    writer = Writer(group, after, hidden or set())
    return _reduction(writer) if writer.sums else _maps(writer)


def _lines_of(head: list[str]) -> str:
    return "\n".join(head) + "\n"


def _maps(w: Writer) -> Generated:
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
            *w.clips("    "),
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


def _reduction(w: Writer) -> Generated:
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
            *w.clips("    "),
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
    w: Writer,
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
        (*w.body.read, *w.after.read, *w.tables),
        tuple(v for v in given if type(v) is Value)[len(w.tables) + len(w.loads) :],
    )


def scratch(nbytes: int, tickets: int) -> tuple[Any, Any]:
    """Scratch memory and tickets for a launch, or None, see ``Generated.parts``."""
    import cupy

    memory = cupy.empty(nbytes, np.uint8) if nbytes else None
    return memory, zeros(tickets).tickets if tickets else None


def launch(kernel: Generated, arrays: dict[Value, Any]) -> None:
    """Launch a kernel with arrays, in C's order, for the values of its arguments."""
    special = dict(zip((id(PARTS), id(TICKETS)), scratch(*kernel.parts), strict=True))
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
