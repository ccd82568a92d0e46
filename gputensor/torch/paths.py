"""Modules of PyTorch and torchvision whose names are to be had elsewhere here, for imports."""

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

__all__ = ["lead"]


class _View(ModuleType):
    """A module whose names are those of another, or of a namespace."""

    _target: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def __dir__(self) -> list[str]:
        return dir(self._target)


def lead(package: str, paths: Mapping[str, Any]) -> None:
    """Make modules that have the names of others.

    Parameters
    ----------
    package : str
        Of the door: modules are inside.
    paths : mapping of str to module or namespace
        By dotted path. Attributes that are there stay.
    """
    for path, target in paths.items():
        name = f"{package}.{path}"
        view = _View(name, f"Names of ``{getattr(target, '__name__', path)}``.")
        vars(view).update(_target=target, __path__=[])
        sys.modules[name] = view
        above, _, last = name.rpartition(".")
        if last not in dir(sys.modules[above]):
            setattr(sys.modules[above], last, view)
