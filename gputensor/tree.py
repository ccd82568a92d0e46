"""Trees: tuples, lists and dicts that hold arrays, or such trees again. None is an empty tree."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["is_named_tuple", "leaves", "map_tree", "rebuilt"]

_CONTAINERS = (tuple, list, dict)


def map_tree(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Tree with ``function(leaf, ...)`` in the place of each leaf; `others` are of its structure.

    Raises
    ------
    ValueError
        If one is of another structure.
    """
    if tree is None and not any(o is not None for o in others):
        return None
    if not isinstance(tree, _CONTAINERS):
        if any(isinstance(o, _CONTAINERS) for o in others):
            raise ValueError(f"{_outline(others[0])} is no single leaf like {_outline(tree)}")
        return function(tree, *others)
    for other in others:
        if type(other) is not type(tree) or len(other) != len(tree):
            raise ValueError(f"{_outline(other)} is not of the structure {_outline(tree)}")
    if isinstance(tree, dict):
        if any(tree.keys() != other.keys() for other in others):
            raise ValueError(f"keys of dicts differ: {[list(t) for t in (tree, *others)]}")
        made = {k: map_tree(function, v, *(o[k] for o in others)) for k, v in tree.items()}
        if type(tree) is dict:
            return made
        like = copy.copy(tree)  # with all else that is in it
        like.update(made)
        return like
    parts = (map_tree(function, *items) for items in zip(tree, *others, strict=True))
    return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)


def is_named_tuple(kind: type) -> bool:
    """Whether a class is one of ``collections.namedtuple``, whose objects are their items."""
    return kind.__base__ is tuple and hasattr(kind, "_fields") and not kind.__dictoffset__


def _outline(tree: Any) -> str:
    if isinstance(tree, _CONTAINERS):
        return f"{type(tree).__name__} of {len(tree)}"
    return type(tree).__name__


def leaves(tree: Any) -> list[Any]:
    """What the tree holds, from left to right."""
    found: list[Any] = []
    map_tree(found.append, tree)
    return found


def rebuilt(tree: Any, values: Iterator[Any]) -> Any:
    """Tree of the structure of `tree` with `values` as its leaves, from left to right."""
    return map_tree(lambda _: next(values), tree)
