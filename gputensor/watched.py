"""Objects whose attributes captured functions read: that one was set is counted.

A captured function holds for the attributes that it was recorded with. It looks at them again when
:func:`changes` has moved, which costs a call nothing as long as nothing is set.
"""

import itertools
from types import MemberDescriptorType
from typing import Any

from gputensor import backend

__all__ = ["Watched", "changes", "lookup", "note_change"]

_tick = itertools.count(1).__next__
_changes = 0
_missing = object()


def changes() -> int:
    """A number that moves whenever an attribute of a :class:`Watched` object, or class, is set."""
    return _changes


def note_change() -> None:
    """Move :func:`changes`."""
    global _changes
    _changes = _tick()


def lookup(owner: Any, name: str) -> Any:
    """What an object, or else its class, has under a name; properties and functions as they are."""
    found = object.__getattribute__(owner, "__dict__").get(name, _missing)
    if found is not _missing:
        return found
    found = getattr(type(owner), name, None)
    if type(found) is MemberDescriptorType:  # of ``__slots__``
        try:
            return found.__get__(owner)
        except AttributeError:
            return _missing
    return found


def is_plain(value: Any) -> bool:
    """Whether a value is a number, a text or None, or a tuple of these, and equals its like."""
    if type(value) is tuple:
        return all(map(is_plain, value))
    return value is None or type(value) in (bool, int, float, complex, str)


def same(one: Any, other: Any) -> bool:
    """Whether two attributes are the same to a captured function."""
    if one is other:
        return True
    plain = type(one) is type(other) and is_plain(one) and is_plain(other)
    return plain and repr(one) == repr(other)  # 0.0 is not -0.0, and NaN is NaN


class _WatchedType(type):
    """Class of :class:`Watched` classes, of which attributes may be set, too."""

    def __setattr__(cls, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        note_change()

    def __delattr__(cls, name: str) -> None:
        super().__delattr__(name)
        note_change()


_WatchedType.__name__ = "type"  # as messages about classes call it


class Watched(metaclass=_WatchedType):
    """Base of modules, optimizers and others that a captured function may read."""

    def __setattr__(self, name: str, value: Any) -> None:
        before = lookup(self, name)
        if hasattr(type(before), "__set__"):  # a property, which knows what it changes
            object.__setattr__(self, name, value)
            return
        object.__setattr__(self, name, value)
        if not same(before, value):
            note_change()
            recording = backend.recording()
            if recording is not None:
                recording.attribute_set(self, name)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        note_change()
        recording = backend.recording()
        if recording is not None:
            recording.attribute_set(self, name)
