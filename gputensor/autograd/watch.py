"""Hooks, and who looks for gradients that are not finite."""

import itertools
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from gputensor.autograd.modes import Mode, state

if TYPE_CHECKING:
    from gputensor.autograd.tensor import Leaf


def watched(leaves: Iterable["Leaf"]) -> bool:
    """Whether a backward pass to `leaves` calls hooks of theirs, or looks for anomalies."""
    return count > 0 and (state.suspicious or any(getattr(leaf, "hooks", None) for leaf in leaves))


# Number of hooks, and of contexts that look for anomalies, in all threads.
count = 0
_keys = itertools.count()
_watching = threading.RLock()  # again by one thread, where hooks go while it counts


def watch_more(more: int) -> None:
    global count
    with _watching:
        count += more


class detect_anomaly(Mode):
    """Find where gradients become NaN or infinite; a context manager and a decorator.

    Inside, in this thread, a backward pass looks at each gradient that it computes, which waits
    for the device. Outside, nothing of this costs anything.

    Raises
    ------
    AnomalyError
        At the first such gradient, naming the operation and the line of the forward pass.

    Examples
    --------
    >>> x = gt.tensor([4.0, 9.0], requires_grad=True)
    >>> with gt.detect_anomaly():
    ...     loss = gt.sqrt(x).sum()
    ...     loss.backward()
    >>> x.grad
    tensor([0.25      , 0.16666667], dtype=float32)
    """

    name = "detect_anomaly"

    def __enter__(self) -> "detect_anomaly":
        watch_more(1)
        state.suspicious_before.append(state.suspicious)
        state.suspicious = True
        return self

    def __exit__(self, *error: object) -> None:
        watch_more(-1)
        state.suspicious = state.suspicious_before.pop()


class Hooks(dict[int, Callable[[Any], Any]]):
    """Hooks of an entry of the tape, counted as long as it lives."""

    __slots__ = ("__weakref__",)

    def __del__(self) -> None:
        watch_more(-len(self))


class HookHandle:
    """A hook that was set by :meth:`Tensor.register_hook`."""

    def __init__(self, hooks: Hooks, hook: Callable[[Any], Any]) -> None:
        self._hooks = weakref.ref(hooks)
        self._key = next(_keys)
        hooks[self._key] = hook
        watch_more(1)

    def remove(self) -> None:
        """Take the hook away; a second time does nothing."""
        hooks = self._hooks()
        if hooks is not None and hooks.pop(self._key, None) is not None:
            watch_more(-1)
