"""Where the library computes on raw arrays: calls that a recorder of a CPU step is told of.

Operations and kernels tell it themselves. What else touches raw arrays in a training step goes
through :func:`apply` or is decorated with :func:`noted`. Without a recorder these only call.
"""

import functools
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

__all__ = ["Recorder", "apply", "assign", "noted", "refuse"]

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Recorder(Protocol):
    """What is told of the calls, see :mod:`gputensor.replay`."""

    def run(self, function: Callable[..., Any], args: Any, kwargs: Any, name: str = "") -> Any:
        """Call the function and note the call."""

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """:meth:`run` for what takes arrays of an operation's results."""

    def rule(self, function: Callable[..., Any] | None, name: str) -> Callable[..., Any]:
        """A derivative rule of an operation, whose calls are noted."""

    def refuse(self, reason: str, inside: bool = False) -> None:
        """Note that what happens now could not be repeated; with `inside` in no call either."""


# For all threads: those that are not recorded find it, too, and may find it gone the next moment.
active: Recorder | None = None


def apply(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``function(*args, **kwargs)``, a computation on raw arrays."""
    recorder = active
    if recorder is None:
        return function(*args, **kwargs)
    return recorder.run(function, args, kwargs)


def noted(function: _Function) -> _Function:
    """Decorator: each call is one of :func:`apply`."""
    return functools.wraps(function)(functools.partial(apply, function))  # type: ignore[return-value]


def refuse(reason: str, inside: bool = False) -> None:
    """Tell the recorder, if there is one, that what happens now could not be repeated.

    Parameters
    ----------
    reason : str
    inside : bool
        Whether this holds in a call that is noted as a whole, too.
    """
    recorder = active
    if recorder is not None:
        recorder.refuse(reason, inside)


@noted
def assign(array: Any, value: Any) -> None:
    """Write values into a raw array."""
    array[...] = value
