"""Helpers of Keras scripts."""

from typing import Any

import numpy as np

from gputensor.errors import DTypeError, LabelError
from gputensor.random import manual_seed

__all__ = ["set_random_seed", "to_categorical"]


def set_random_seed(seed: int) -> None:
    """Start the generator of weights, dropout and shuffling from `seed`."""
    manual_seed(seed)


def to_categorical(x: Any, num_classes: int | None = None) -> "np.ndarray[Any, Any]":
    """One-hot rows of class labels.

    Parameters
    ----------
    x : array-like of int, shape (n,), (n, 1) or any other
    num_classes : int, optional
        By default one more than the largest label.

    Returns
    -------
    float32 numpy.ndarray of shape (n, num_classes), or (..., num_classes)

    Raises
    ------
    LabelError
        If a label is negative or not below `num_classes`.
    DTypeError
        If `x` holds something else than whole numbers.
    """
    given = np.asarray(x)
    if given.dtype.kind not in "biuf" or not np.all(np.floor(given) == given):
        raise DTypeError("to_categorical: x must hold class labels, whole numbers")
    shape = given.shape[:-1] if given.ndim > 1 and given.shape[-1] == 1 else given.shape
    labels = given.astype(np.int64).reshape(-1)
    classes = int(labels.max(initial=-1)) + 1 if num_classes is None else num_classes
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if bad.size:
        raise LabelError(
            f"to_categorical: row {bad[0]} has label {labels[bad[0]]}; labels must be in the range "
            f"0 to {classes - 1}"
        )
    return np.eye(classes, dtype=np.float32)[labels.reshape(shape)]
