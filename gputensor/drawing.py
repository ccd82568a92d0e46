"""Drawings of the tape and of captured programs, as texts of SVG."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gputensor import backend
from gputensor.autograd import Leaf, Tensor
from gputensor.graph.explain import Explanation

__all__ = ["Drawing", "program", "tape"]

_HEIGHT, _GAP, _ROW, _EDGE = 44, 24, 40, 16  # of a box; beside and below it; around all
_LETTER = 7.2  # width of one
_MOST = 200  # boxes of a drawing


class Drawing(str):
    """A text of SVG: ``save`` writes it, a notebook shows it.

    Examples
    --------
    >>> w = gt.tensor([1.0], requires_grad=True)
    >>> isinstance(gt.plot.tape(w * 2), gt.plot.Drawing)
    True
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Drawing of {len(self):,} letters; save('drawing.svg') writes it"

    def save(self, file: Any) -> None:
        """Write it to a file."""
        Path(file).write_text(self, "utf-8")

    def _repr_svg_(self) -> str:
        return str(self)


class _Box:
    """What is drawn: two lines of text, what is above, and where."""

    def __init__(self, head: str, text: str, kind: str, about: str = "") -> None:
        self.head, self.text, self.kind, self.about = head, text, kind, about
        self.above: list[_Box] = []
        self.row = 0
        self.x = self.y = 0.0
        self.width = max(_LETTER * max(len(head), len(text)) + 20, 70)


def tape(out: Tensor) -> Drawing:
    """Draw what the tape has recorded for a tensor: values go down the arrows, gradients up.

    Parameters
    ----------
    out : Tensor
        A result that requires a gradient, such as a loss.

    Returns
    -------
    Drawing
        Parameters are green, operations white, the result is blue. The line of the program that
        called an operation is shown where the pointer rests on it.

    Raises
    ------
    ValueError
        If the tensor is not on the tape, or there are more than 200 operations.

    Examples
    --------
    >>> w = gt.tensor([1.0, 2.0], requires_grad=True)
    >>> drawing = gt.plot.tape(gt.sin(w).sum())
    >>> drawing.save("tape.svg")
    """
    first = out._node if isinstance(out, Tensor) else None
    if first is None:
        raise ValueError(
            "tape: there is no tape of it; give a tensor that was computed from a tensor with "
            "requires_grad=True, outside gt.no_grad()"
        )
    boxes: dict[int, _Box] = {}
    order: list[Any] = []
    waiting = [first]
    while waiting:
        node = waiting.pop()
        if id(node) in boxes:
            continue
        boxes[id(node)] = _box_of(node, first)
        order.append(node)
        if len(boxes) > _MOST:
            raise ValueError(f"tape: there are more than {_MOST} operations; give a smaller part")
        waiting += [p for p in getattr(node, "parents", ()) if p is not None]
    for node in order:
        for parent in getattr(node, "parents", ()):
            if parent is not None and boxes[id(parent)] not in boxes[id(node)].above:
                boxes[id(node)].above.append(boxes[id(parent)])
    return _drawn(list(boxes.values()), f"Tape of a tensor of shape {out.shape}")


def _box_of(node: Any, first: Any) -> _Box:
    shape = f"{node.shape} {node.dtype}"
    line, _, source = backend.place(node.code, node.instruction)
    if isinstance(node, Leaf):
        return _Box("parameter", shape, "leaf", f"{line}: {source}")
    kind = "result" if node is first else "operation"
    return _Box(node.primitive.name, shape, kind, f"{line}: {source}")


def program(explanation: Explanation) -> Drawing:
    """Draw what a captured function does when it is replayed, from above downwards.

    Parameters
    ----------
    explanation : Explanation
        What ``gt.explain(function)(*args)`` gives.

    Returns
    -------
    Drawing
        A box for each part, with its operations and what it reads and writes; generated kernels
        are blue, loops green, hand-written kernels orange, other calls white.

    Raises
    ------
    ValueError
        If the function is not captured.

    Examples
    --------
    >>> drawing = gt.plot.program(gt.explain(lambda x: gt.exp(-x) + 1)(gt.ones(5)))
    >>> drawing.startswith("<svg")
    True
    """
    if not isinstance(explanation, Explanation):
        raise TypeError(
            f"program: got {explanation!r}; give gt.explain(function)(*args), which says what is "
            "done with these arguments"
        )
    if explanation.reason is not None:
        raise ValueError(f"program: {explanation.name} is not captured: {explanation.reason}")
    boxes: list[_Box] = []
    for i, part in enumerate(explanation.parts, 1):
        count = sum(len(place.operations) for place in part.places)
        about = "\n".join(f"{p.line}: {p.source}" for p in part.places)
        moved = f"{_bytes(part.read)} in, {_bytes(part.written)} out"
        text = f"{count} operation{'s' * (count != 1)}, {moved}{', beside the next' * part.beside}"
        box = _Box(f"{i}. {part.name}", text, part.kind, about)
        box.above = boxes[-1:]
        boxes.append(box)
    return _drawn(boxes, f"{explanation.name} on {explanation.device}")


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


_FILLS = {
    "leaf": "#d7f0d8",
    "result": "#cfe2ff",
    "generated": "#cfe2ff",
    "loops": "#d7f0d8",
    "written": "#ffe3c2",
}


def _drawn(boxes: list[_Box], title: str) -> Drawing:
    """SVG of boxes in rows: each below all that are above it."""
    import html

    rows = _rows(boxes)
    width = max(sum(b.width for b in row) + _GAP * (len(row) - 1) for row in rows)
    width = max(width, _LETTER * 1.2 * len(title)) + 2 * _EDGE
    for i, row in enumerate(rows):
        x = (width - sum(b.width for b in row) - _GAP * (len(row) - 1)) / 2
        for box in row:
            box.x, box.y = x, 2 * _EDGE + 18 + i * (_HEIGHT + _ROW)
            x += box.width + _GAP
    height = rows[-1][0].y + _HEIGHT + _EDGE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#555"/></marker></defs>',
        f'<text x="{width / 2:.1f}" y="{_EDGE + 8}" text-anchor="middle" font-size="14" '
        f'font-weight="bold">{html.escape(title)}</text>',
        *_edges(boxes),
        *(line for box in boxes for line in _shape_of(box)),
        "</svg>",
    ]
    return Drawing("\n".join(parts))


def _rows(boxes: list[_Box]) -> list[list[_Box]]:
    """Boxes by row, those of a row by where the boxes above them are."""
    changed = True
    while changed:  # longest way from a box without any above
        changed = False
        for box in boxes:
            lowest = max((above.row + 1 for above in box.above), default=0)
            changed, box.row = changed or lowest != box.row, lowest
    # What nothing is above goes to where it is used, beside the row of its user.
    users: dict[int, list[int]] = {}
    for box in boxes:
        for above in box.above:
            users.setdefault(id(above), []).append(box.row)
    for box in boxes:
        if not box.above and id(box) in users:
            box.row = min(users[id(box)]) - 1
    rows: list[list[_Box]] = [[] for _ in range(max(box.row for box in boxes) + 1)]
    for box in boxes:
        rows[box.row].append(box)
    places: dict[int, float] = {}

    def arrange(row: list[_Box], beside: Callable[[_Box], list[_Box]]) -> None:
        means = {}
        for box in row:
            found = [places[id(b)] for b in beside(box)]
            means[id(box)] = sum(found) / len(found) if found else places.get(id(box), 0)
        row.sort(key=lambda box: means[id(box)])
        places.update({id(box): (i + 0.5) / len(row) for i, box in enumerate(row)})

    for row in rows:
        arrange(row, lambda box: box.above)
    for below, row in zip(rows[:0:-1], rows[-2::-1], strict=True):
        arrange(row, lambda box, below=below: [b for b in below if box in b.above])  # type: ignore[misc]
    return [row for row in rows if row]


def _edges(boxes: list[_Box]) -> Iterator[str]:
    for box in boxes:
        for i, above in enumerate(sorted(box.above, key=lambda b: b.x + b.width / 2), 1):
            x1, y1 = above.x + above.width / 2, above.y + _HEIGHT
            x2, y2 = box.x + box.width * i / (len(box.above) + 1), box.y - 2
            middle = (y1 + y2) / 2
            yield (
                f'<path d="M{x1:.1f},{y1:.1f} C{x1:.1f},{middle:.1f} {x2:.1f},{middle:.1f} '
                f'{x2:.1f},{y2:.1f}" fill="none" stroke="#555" marker-end="url(#tip)"/>'
            )


def _shape_of(box: _Box) -> Iterator[str]:
    import html

    fill = _FILLS.get(box.kind, "#ffffff")
    middle = box.x + box.width / 2
    yield f"<g><title>{html.escape(box.about)}</title>"
    yield (
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{_HEIGHT}" rx="6" '
        f'fill="{fill}" stroke="#555"/>'
    )
    for dy, text, weight in ((18, box.head, "bold"), (34, box.text, "normal")):
        yield (
            f'<text x="{middle:.1f}" y="{box.y + dy:.1f}" text-anchor="middle" '
            f'font-weight="{weight}">{html.escape(text)}</text>'
        )
    yield "</g>"
