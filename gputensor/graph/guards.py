"""What a recording holds for: the tensors, gradients and attributes that the function found."""

import operator
from typing import Any

from gputensor import watched
from gputensor.autograd import Leaf, Tensor
from gputensor.backend import Array
from gputensor.watched import is_plain, lookup, same

__all__ = ["Guards"]


class Guards:
    """What must be as it was.

    Tensors, gradients and containers are looked at before each replay, attributes only if one of
    any object was set since the last look.
    """

    def __init__(self) -> None:
        self._tensors: list[tuple[Tensor, Array, Any]] = []
        self._seen: set[int] = set()
        self._gradients: list[tuple[Leaf, Any]] = []
        self._attributes: list[tuple[Any, str, Any]] = []
        self._containers: list[tuple[Any, Any]] = []
        self._known: set[tuple[int, str]] = set()
        self._changes = watched.changes()

    def tensor(self, t: Tensor, array: Array) -> None:
        """A tensor from outside has this array, and its place on the tape."""
        if id(t) not in self._seen:
            self._seen.add(id(t))
            self._tensors.append((t, array, t._node))

    def gradient(self, leaf: Leaf, state: Any) -> None:
        """A leaf's gradient is None, in its ``"buffer"``, or of a shape, strides and dtype."""
        self._gradients.append((leaf, state))

    def attribute(self, owner: Any, name: str) -> None:
        """An object's attribute is what it is now."""
        if (id(owner), name) in self._known:
            return
        self._known.add((id(owner), name))
        if name == "__dict__":
            members = dict(object.__getattribute__(owner, "__dict__"))
            self._containers.append((owner, _Members(members)))
        elif not name.startswith("__"):
            value = lookup(owner, name)
            self._attributes.append((owner, name, value))
            if isinstance(value, (list, dict, set, tuple)):
                self._container(value)

    def _container(self, value: Any) -> None:
        if not isinstance(value, tuple):
            kind = _Elements if isinstance(value, set) else _Items
            self._containers.append((value, kind(value)))
        for item in value.values() if isinstance(value, dict) else value:
            if isinstance(item, (list, dict, set, tuple)):
                self._container(item)

    def hold(self, *, afterwards: bool = False) -> bool:
        """Whether all is as it was; `afterwards` but for gradients, which replays set."""
        for t, array, node in self._tensors:
            if t.array is not array or t._node is not node:
                return False
        for leaf, state in () if afterwards else self._gradients:
            grad = leaf.grad
            if state is None:
                if grad is not None:
                    return False
            elif grad is None:
                return False
            elif state == "buffer":
                if grad.array is not leaf.buffer:
                    return False
            else:
                raw = grad.array
                if raw is leaf.buffer or (raw.shape, raw.strides, raw.dtype) != state:
                    return False
        for container, contents in self._containers:
            if not contents.are_those_of(container):
                return False
        now = watched.changes()
        if now != self._changes:
            for owner, name, value in self._attributes:
                if not same(lookup(owner, name), value):
                    return False
            self._changes = now
        return True


class _Members:
    """Attributes that an object has, by name."""

    def __init__(self, members: dict[str, Any]) -> None:
        self._members = members

    def are_those_of(self, owner: Any) -> bool:
        """Whether an object has the same."""
        now = object.__getattribute__(owner, "__dict__")
        return now.keys() == self._members.keys() and all(
            same(value, self._members[name]) for name, value in now.items()
        )


class _Items:
    """What is in a list or dict, in order."""

    def __init__(self, container: Any) -> None:
        self._keys = list(container) if isinstance(container, dict) else None
        self._items = _values(container)

    def are_those_of(self, container: Any) -> bool:
        """Whether a container has the same."""
        items = _values(container)
        if len(items) != len(self._items) or not (
            all(map(operator.is_, items, self._items)) or all(map(same, items, self._items))
        ):
            return False
        return self._keys is None or list(container) == self._keys


def _values(container: Any) -> list[Any]:
    return list(container.values() if isinstance(container, dict) else container)


class _Elements:
    """What is in a set."""

    def __init__(self, elements: set[Any]) -> None:
        self._elements = set(elements)  # which stay alive, and so keep their identities
        self._marks = set(map(_mark, elements))

    def are_those_of(self, elements: set[Any]) -> bool:
        """Whether a set has the same."""
        return set(map(_mark, elements)) == self._marks


def _mark(value: Any) -> Any:
    return (type(value), repr(value)) if is_plain(value) else id(value)
