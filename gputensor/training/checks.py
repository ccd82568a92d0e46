"""Checks of the arguments of training loops."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from gputensor import backend
from gputensor.errors import LabelError
from gputensor.training.feeding import is_iterable_of_batches

__all__ = [
    "about",
    "check_capture",
    "check_labels",
    "check_share",
    "check_verbose",
    "evaluation_batch",
    "positive",
    "unpacked_validation",
]

_EVALUATION_BATCH = 1024


def positive(method: str, name: str, value: Any) -> int:
    """`value` as an int from 1 on."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{method}: {name} is {_short(value)}; it must be a positive int")
    return int(value)


def _short(value: Any) -> str:
    """What came, in few words: data may have slipped into the place of a number."""
    if isinstance(getattr(value, "shape", None), tuple) and value.shape:
        kind = "Tensor" if hasattr(value, "requires_grad") else "array"
        return f"{kind} of {value.dtype} and shape {value.shape}"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(_short, value[:4]))}{', ...' * (len(value) > 4)})"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def evaluation_batch(method: str, batch_size: int | None) -> int:
    """Size of batches that nothing is trained with."""
    return positive(method, "batch_size", _EVALUATION_BATCH if batch_size is None else batch_size)


def check_verbose(method: str, verbose: int | str) -> None:
    """See that it is one of those allowed."""
    if verbose not in ("auto", 0, 1, 2):
        raise ValueError(f"{method}: verbose is {verbose!r}; allowed are 'auto', 0, 1 and 2")


def check_capture(capture: Any) -> None:
    """See that it is one of those allowed."""
    if capture not in ("auto", True, False):
        raise ValueError(f"fit: capture is {capture!r}; allowed are 'auto', True and False")


def check_share(method: str, name: str, value: Any) -> None:
    """See that it is a number in [0, 1)."""
    if not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise ValueError(
            f"{method}: {name} is {value!r}; it must be a number, at least 0 and below 1"
        )


def unpacked_validation(data: Any) -> tuple[Any, Any, Any]:
    """Samples, targets and weights of what was given to evaluate on."""
    if is_iterable_of_batches(data):
        return data, None, None
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        what = type(data).__name__
        if isinstance(data, (tuple, list)):
            what = f"a {what} of {len(data)}"
        raise TypeError(
            f"fit: validation_data must be (x, y), (x, y, weights) or give batches, got {what}"
        )
    x, y, weight = (*data, None)[:3]
    return x, y, weight


def check_labels(name: str, labels: Any, classes: int) -> None:
    """Check that class labels, a raw array of shape (n,), are in range; waits for the device.

    Raises
    ------
    LabelError
        Naming the first row that is not, its label and the range.
    """
    bad = (labels < 0) | (labels >= classes)
    row = int(backend.namespace(labels).argmax(bad)) if len(labels) else 0
    if len(labels) and bool(bad[row]):
        raise LabelError(
            f"{name}: row {row} has label {labels[row].item()}; labels must be in the range 0 to "
            f"{classes - 1}, as there are {classes} outputs"
        )


@contextlib.contextmanager
def about(argument: str) -> Iterator[None]:
    """Context whose errors begin with the name of an argument."""
    try:
        yield
    except (TypeError, ValueError) as error:
        error.args = (f"{argument}: {error}", *error.args[1:])
        raise
