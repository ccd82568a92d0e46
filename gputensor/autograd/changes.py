"""Changes in place: which memory was written to last, and where."""

import sys
import weakref
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from gputensor import backend
from gputensor.autograd.tape import Node, next_order
from gputensor.backend import NAMESPACES, Array
from gputensor.errors import GraphError

if TYPE_CHECKING:
    from gputensor.autograd.tensor import Leaf

_getframe = sys._getframe


class _Change:
    """The latest change in place of a memory that is still there.

    Attributes
    ----------
    order : int
        Running number, counting down as those of the nodes do.
    name : str
        What changed it, for the error.
    code, instruction : code object, int
        The user's place that it was changed at, see :func:`line_of`.
    memory : weakref.ref
        The array that owns the memory; takes this entry away when it goes.
    """

    __slots__ = ("code", "instruction", "memory", "name", "order")

    code: CodeType
    instruction: int

    def __init__(self, memory: Array) -> None:
        key = id(memory)
        self.memory = weakref.ref(memory, lambda _: _changes.pop(key, None))
        self.order = 0
        self.name = ""


_changes: dict[int, _Change] = {}  # by the id of the array that owns the memory

latest = 1  # the order of the latest of all: a node of a lower one has nothing to fear


def memory_of(array: Array) -> Array:
    """The array that owns the memory of `array`, itself if it is no view."""
    array = getattr(array, "value", array)  # what a tracer stands for
    base = array.base
    while base is not None and hasattr(base, "base"):
        array, base = base, base.base
    return array


def changed(array: Array, name: str) -> None:
    """Note that the memory of a raw array was written to, and by what."""
    global latest
    memory = memory_of(array)
    change = _changes.get(id(memory))
    if change is None:
        change = _changes[id(memory)] = _Change(memory)
    change.name = name
    note_place(change)
    change.order = latest = next_order()


def was_changed(array: Array, since: int = 1) -> bool:
    """Whether :func:`changed` was told of an array's memory after ``next_order()`` was `since`."""
    change = _changes.get(id(memory_of(array)))
    return change is not None and change.order < since


def check_unchanged(node: "Node") -> None:
    """Refuse a node that has saved what was changed in place afterwards."""
    waiting: list[Any] = [node.out, *(node.saved or ()), *node.attrs.values()]
    while waiting:
        value = waiting.pop()
        if isinstance(value, (tuple, list)):  # an index
            waiting += value
        elif type(value) in NAMESPACES:
            change = _changes.get(id(memory_of(value)))
            if change is not None and change.order < node.order:
                raise GraphError(
                    f"backward: {node.primitive.name} saved a value for its gradient "
                    f"({line_of(node)}) that {change.name} changed in place afterwards "
                    f"({line_of(change)}); go backward before the change, or make a new tensor "
                    "instead: x = x + y, not x += y"
                )


def line_of(entry: "Node | Leaf | _Change") -> str:
    """Where the user's code made a tape entry or a change, in words."""
    return 'at {}, in {}: "{}"'.format(*backend.place(entry.code, entry.instruction))


user_code: CodeType | None = None  # that last found to be the user's, to be quick in a loop


def frame_of_user(frame: FrameType) -> FrameType:
    global user_code
    found = backend.user_frame(frame)
    if found is frame:
        user_code = frame.f_code
    return found


def note_place(entry: "Leaf | _Change") -> None:
    """Note where the user's code is, without its frame, which would keep all variables alive."""
    frame = backend.user_frame(_getframe(2))
    entry.code, entry.instruction = frame.f_code, frame.f_lasti
