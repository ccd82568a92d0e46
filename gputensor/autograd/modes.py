"""Whether operations go on the tape: `no_grad`, `enable_grad`, transforms."""

import contextlib
import inspect
import threading
from collections.abc import Callable
from typing import Any, Self, TypeVar, overload

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _State(threading.local):
    enabled = True
    suspicious = False  # whether gradients are looked at
    transforms = 0  # see in_transform

    def __init__(self) -> None:
        self.before: list[bool] = []  # what the contexts entered and not yet left found
        self.suspicious_before: list[bool] = []


state = _State()


def grad_enabled() -> bool:
    """Whether operations are put on the tape in this thread."""
    return state.enabled


class Mode(contextlib.ContextDecorator):
    """Context and decorator that changes how operations run, in each thread for itself.

    Attributes
    ----------
    name : str
        How users call it.
    """

    name: str

    def __call__(self, function: _Function) -> _Function:
        """`function`, called inside the context."""
        if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
            raise TypeError(
                f"{self.name}: {function.__name__} is a generator or coroutine, whose body runs "
                f"after the call has returned; write `with gt.{self.name}(...):` inside it"
            )
        return super().__call__(function)


class GradMode(Mode):
    """Context and decorator of :func:`no_grad` and :func:`enable_grad`.

    Parameters
    ----------
    name : str
        How users call it.
    enabled : bool
        Whether operations are put on the tape inside.
    """

    def __init__(self, name: str, enabled: bool) -> None:
        self.name = name
        self.enabled = enabled

    def __enter__(self) -> Self:
        state.before.append(state.enabled)
        state.enabled = self.enabled
        return self

    def __exit__(self, *error: object) -> None:
        state.enabled = state.before.pop()


class in_transform(GradMode):
    """Context in which a transform, such as ``gt.grad``, calls the user's function.

    A tensor on the tape does not become a Python number there.
    """

    def __init__(self) -> None:
        super().__init__("in_transform", True)

    def __enter__(self) -> Self:
        state.transforms += 1
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        state.transforms -= 1


@overload
def no_grad() -> GradMode: ...


@overload
def no_grad(function: _Function, /) -> _Function: ...


def no_grad(function: Any = None, /) -> Any:
    """Keep operations off the tape, in this thread; a context manager and a decorator.

    Examples
    --------
    >>> x = gt.tensor(2.0, requires_grad=True)
    >>> with gt.no_grad():
    ...     print(gt.sin(x).requires_grad)
    False
    >>> @gt.no_grad
    ... def predict(x):
    ...     return 3 * x
    >>> predict(x)
    tensor(6., dtype=float32)
    """
    mode = GradMode("no_grad", False)
    return mode if function is None else mode(function)


@overload
def enable_grad() -> GradMode: ...


@overload
def enable_grad(function: _Function, /) -> _Function: ...


def enable_grad(function: Any = None, /) -> Any:
    """Put operations on the tape again, inside :func:`no_grad`; used like it.

    Examples
    --------
    >>> x = gt.tensor(2.0, requires_grad=True)
    >>> with gt.no_grad(), gt.enable_grad():
    ...     print((x * x).requires_grad)
    True
    """
    mode = GradMode("enable_grad", True)
    return mode if function is None else mode(function)
