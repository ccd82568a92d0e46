"""What is shown to people: numbers with units, notices, and models as text and as HTML."""

import functools
import importlib
import inspect
import sys
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = [
    "Shown",
    "call_text",
    "examples",
    "in_bytes",
    "in_units",
    "log",
    "notice",
    "retold",
    "screen",
    "settings",
    "table",
]

_PLAIN = (bool, int, float, str, tuple)


def in_units(seconds: float) -> str:
    """A time for people, in the unit that fits it.

    Examples
    --------
    >>> from gputensor.shown import in_units
    >>> in_units(0.74), in_units(0.0021), in_units(75.2), in_units(7380)
    ('0.74 s', '2.1 ms', '1 min 15 s', '2 h 03 min')
    """
    if seconds >= 3600:
        minutes = round(seconds / 60)
        return f"{minutes // 60} h {minutes % 60:02} min"
    if seconds >= 60:
        whole = round(seconds)
        return f"{whole // 60} min {whole % 60:02} s"
    if seconds >= 0.1 or seconds == 0:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def in_bytes(size: float) -> str:
    """A number of bytes for people.

    Examples
    --------
    >>> from gputensor.shown import in_bytes
    >>> in_bytes(999), in_bytes(1_500_000)
    ('999 B', '1.5 MB')
    """
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


class _Cell:
    """A line in the output of a notebook's cell, where nothing is left of it when it is cleared.

    A stream would keep what was written over in notebooks that nobody watches, line after line.
    """

    encoding = "utf-8"

    def __init__(self) -> None:
        self._shown: Any = None

    def write(self, text: str) -> None:
        import html

        from IPython import display

        line = html.escape(text.strip())
        data = {"text/html": f'<pre style="margin: 0">{line}</pre>' if line else ""}
        if self._shown is not None:
            self._shown.update(data, raw=True)
        elif line:
            self._shown = display.display(data, raw=True, display_id=True)  # type: ignore[no-untyped-call, unused-ignore]

    def flush(self) -> None:
        """As a stream has it."""


@functools.lru_cache(1)
def _cell(_number: int) -> _Cell:
    """One for all bars of a cell."""
    return _Cell()


def screen() -> Any:
    """The stream where a line is written over again: a notebook, or a terminal; None elsewhere."""
    if type(sys.stdout).__module__.startswith("ipykernel."):
        from IPython import get_ipython

        return _cell(get_ipython().execution_count)
    return sys.stderr if sys.stderr is not None and sys.stderr.isatty() else None


_said: set[str] = set()


def log(name: str = "gputensor") -> Any:
    """The logger of that name, without the import of logging before there is something to log."""
    return importlib.import_module("logging").getLogger(name)


def notice(text: str) -> None:
    """Say on stderr, once in a process, what takes a while; above a progress bar, if there is one.

    Parameters
    ----------
    text : str
    """
    if text in _said or sys.stderr is None:
        return
    from tqdm import tqdm

    _said.add(text)
    tqdm.write(text, file=sys.stderr)
    sys.stderr.flush()


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


class Shown:
    """Base of what is shown as the call that makes it, with the settings that are no defaults."""

    def __repr__(self) -> str:
        kind = type(self)
        own: Any = getattr(self, "get_config", None)
        defaults: dict[str, Any] = {}
        for base in kind.__mro__[:-1]:
            for name, p in inspect.signature(base.__init__).parameters.items():  # type: ignore[misc]
                defaults.setdefault(name, p.default)
        values = own() if own is not None else {k: vars(self).get(k) for k in defaults}
        if str(values.get("name")).replace("_", "").lower().startswith(kind.__name__.lower()):
            del values["name"]
        found = {
            name: value
            for name, value in values.items()
            if isinstance(value, (*_PLAIN, list)) and value != defaults.get(name)
        }
        return call_text(kind.__name__, found)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    """A table of HTML: the first column text, the others on the right."""
    import html

    def line(cells: Sequence[Any], tag: str) -> str:
        sides = ["left"] + ["right"] * (len(cells) - 1)
        return "".join(
            f'<{tag} style="text-align: {side}">{html.escape(str(cell))}</{tag}>'
            for side, cell in zip(sides, cells, strict=True)
        )

    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f"<table>{title}<thead><tr>{line(head, 'th')}</tr></thead><tbody>{body}</tbody></table>"
