"""What models, optimizers and histories look like when they are printed, as text and as HTML."""

import html
import inspect
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["call_text", "examples", "retold", "settings", "table"]

_PLAIN = (bool, int, float, str, tuple)


def settings(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """Plain values by name that the constructor takes and that are not its defaults."""
    found = inspect.signature(kind).parameters
    return {
        name: values[name]
        for name, p in found.items()
        if name in values and isinstance(values[name], _PLAIN) and values[name] != p.default
    }


def examples(example: str) -> str:
    """The section of a docstring for an example, as deep as the others."""
    lines = ["Examples", "--------", *example.splitlines(), ""]
    return "\n" + "\n".join("    " + line for line in lines) if example else ""


def retold(kind: type, summary: str, example: str = "") -> str:
    """A class's docstring with another first line, for a subclass that differs in few words."""
    text = kind.__doc__ or ""
    return summary + text[text.index("\n") :] + examples(example)


def call_text(name: str, values: dict[str, Any], before: Iterable[str] = ()) -> str:
    """Text such as ``Adam(lr=0.001)``."""
    parts = [*before, *(f"{key}={value!r}" for key, value in values.items())]
    return f"{name}({', '.join(parts)})"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    """A table of HTML: the first column text, the others on the right."""

    def line(cells: Sequence[Any], tag: str) -> str:
        sides = ["left"] + ["right"] * (len(cells) - 1)
        return "".join(
            f'<{tag} style="text-align: {side}">{html.escape(str(cell))}</{tag}>'
            for side, cell in zip(sides, cells, strict=True)
        )

    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f"<table>{title}<thead><tr>{line(head, 'th')}</tr></thead><tbody>{body}</tbody></table>"
