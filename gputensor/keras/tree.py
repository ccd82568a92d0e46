"""``keras.tree``: functions of nested lists, tuples and dicts."""

from collections.abc import Callable
from typing import Any

from gputensor.keras.naming import lacking
from gputensor.tree import map_tree

__all__ = ["assert_same_structure", "flatten", "is_nested", "map_structure", "pack_sequence_as"]


def is_nested(structure: Any) -> bool:
    """Whether it is a list, a tuple or a dict."""
    return isinstance(structure, (list, tuple, dict))


def flatten(structure: Any) -> list[Any]:
    """What is in it, in order; dicts by their sorted keys. None is a leaf."""
    if isinstance(structure, dict):
        return [leaf for key in sorted(structure) for leaf in flatten(structure[key])]
    if isinstance(structure, (list, tuple)):
        return [leaf for part in structure for leaf in flatten(part)]
    return [structure]


def map_structure(func: Callable[..., Any], *structures: Any, none_is_leaf: bool = True) -> Any:
    """A structure of results of `func`."""
    first = structures[0]
    if isinstance(first, dict):
        return {k: map_structure(func, *(s[k] for s in structures)) for k in first}
    if isinstance(first, (list, tuple)):
        parts = [map_structure(func, *items) for items in zip(*structures, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    return func(*structures) if first is not None or none_is_leaf else None


def pack_sequence_as(structure: Any, flat_sequence: Any) -> Any:
    """The structure with other leaves."""
    leaves = iter(flat_sequence)
    if isinstance(structure, dict):
        found = {
            k: pack_sequence_as(structure[k], _some(structure[k], leaves))
            for k in sorted(structure)
        }
        return {k: found[k] for k in structure}
    if isinstance(structure, (list, tuple)):
        return type(structure)(pack_sequence_as(part, _some(part, leaves)) for part in structure)
    return next(leaves)


def _some(structure: Any, leaves: Any) -> list[Any]:
    return [next(leaves) for _ in flatten(structure)]


def assert_same_structure(a: Any, b: Any) -> None:
    """Raise ValueError if two structures differ."""
    map_tree(lambda *_: None, a, b)


__getattr__: Any = lacking(
    __name__,
    {
        "MAP_TO_NONE": "None",
        "assert_same_paths": "keras.tree.assert_same_structure",
        "flatten_with_path": "keras.tree.flatten",
        "lists_to_tuples": "keras.tree.map_structure",
        "map_shape_structure": "keras.tree.map_structure",
        "map_structure_up_to": "keras.tree.map_structure",
        "traverse": "keras.tree.map_structure",
    },
)
