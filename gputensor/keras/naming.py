"""Names of layers and models, dense, dense_1, dense_2 and so on."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

__all__ = ["auto_name", "forget", "lacking", "snake_case"]

_counts: dict[str, int] = {}


def snake_case(name: str) -> str:
    """``BatchNormalization`` as ``batch_normalization``, as Keras writes it."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def auto_name(kind: str) -> str:
    """The next name of a class."""
    stem = snake_case(kind)
    count = _counts.get(stem, 0)
    _counts[stem] = count + 1
    return f"{stem}_{count}" if count else stem


def forget() -> None:
    """Begin again with the first names."""
    _counts.clear()


def lacking(module: str, instead: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's ``__getattr__``: an error that says what there is instead of a name of Keras's.

    Parameters
    ----------
    module : str
    instead : mapping of str to str
        By the names that are not there.
    """

    def __getattr__(name: str) -> NoReturn:
        hint = f"; use {instead[name]}" if name in instead else ""
        raise AttributeError(f"module {module!r} has no attribute {name!r}{hint}", name=name)

    return __getattr__
