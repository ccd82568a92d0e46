"""What a program says to the other processes."""

from typing import Any

import numpy as np

from gputensor import backend
from gputensor.autograd import Tensor, wrap
from gputensor.distributed.group import group
from gputensor.options import number

__all__ = [
    "all_reduce",
    "average_gradients",
    "barrier",
    "broadcast",
    "is_first",
    "local_rank",
    "rank",
    "size",
]


def rank() -> int:
    """Number of this process, from 0 on.

    Examples
    --------
    >>> gt.distributed.rank()
    0
    """
    found = group()
    return 0 if found is None else found.rank


def size() -> int:
    """How many processes there are; 1 without a launcher, or before :func:`init`.

    Examples
    --------
    >>> gt.distributed.size()
    1
    """
    found = group()
    return 1 if found is None else found.size


def local_rank() -> int:
    """Number of this process among those of its machine.

    Examples
    --------
    >>> gt.distributed.local_rank()
    0
    """
    found = group()
    return 0 if found is None else found.local_rank


def is_first() -> bool:
    """Whether this is the process that prints and writes files: rank 0, or the only one.

    Examples
    --------
    >>> if gt.distributed.is_first():
    ...     print("done")
    done
    """
    return rank() == 0


def barrier() -> None:
    """Wait until all processes have called it.

    Examples
    --------
    >>> gt.distributed.barrier()
    """
    found = group()
    if found is not None:
        found.barrier()


def all_reduce(x: Any, op: str = "sum") -> Any:
    """Sum, mean, largest or smallest of what all processes give, element by element.

    Parameters
    ----------
    x : Tensor, NumPy array or number
        Of the same shape and dtype on each.
    op : {"sum", "mean", "max", "min"}

    Returns
    -------
    object
        Of the kind of `x`, without a gradient: the same bits on each process.

    Examples
    --------
    >>> right, rows = 9, 10  # of this process
    >>> gt.distributed.all_reduce(right) / gt.distributed.all_reduce(rows)
    0.9
    """
    if op not in ("sum", "mean", "max", "min"):
        raise ValueError(f"all_reduce: op is {op!r}; allowed are 'sum', 'mean', 'max' and 'min'")
    backend.end_recording("all_reduce is called")
    raw = x.array if isinstance(x, Tensor) else x
    if not backend.is_array(raw):
        raw = np.asarray(raw)
        if raw.dtype.kind not in "biufc":
            raise TypeError(f"all_reduce: x must be a tensor or a number, got {type(x).__name__}")
    found = group()
    with backend.on_device_of(raw):
        whole = raw.copy()
        if op == "mean" and whole.dtype.kind not in "fcV":
            whole = whole.astype(np.float64)
        if found is not None:
            found.all_reduce(whole, "sum" if op == "mean" else op)
            if op == "mean":
                whole /= whole.dtype.type(found.size)
    if isinstance(x, Tensor):
        return wrap(whole)
    return whole if isinstance(x, np.ndarray) else whole[()].item()


def broadcast(x: Any, root: int = 0) -> Any:
    """What one process has, on all.

    Parameters
    ----------
    x : Tensor, Module, Optimizer, or anything that can be pickled
        Parameters and buffers of a module, state and learning rates of an optimizer are copied in
        place, and shapes must agree.
    root : int
        The process that gives it.

    Returns
    -------
    object
        `x` itself where it was copied in place; else what `root` has: of a tensor a new one, of
        other things a copy.

    Examples
    --------
    >>> model = gt.distributed.broadcast(gt.nn.Linear(3, 2))
    >>> gt.distributed.broadcast({"seed": 5})
    {'seed': 5}
    """
    from gputensor.distributed import models
    from gputensor.nn import Module
    from gputensor.optim import Optimizer

    found = group()
    if not 0 <= root < size():
        raise ValueError(f"broadcast: root is {root}; there are {size()} processes, from 0 on")
    if isinstance(x, Module):
        if found is not None:
            models.copy_module(found, x, root)
        return x
    if isinstance(x, Optimizer):
        if found is not None:
            models.copy_optimizer(found, x, root)
        return x
    backend.end_recording("broadcast is called")
    if isinstance(x, Tensor):
        with backend.on_device_of(x.array):
            whole = x.array.copy()
            if found is not None:
                found.broadcast(whole, root)
        return wrap(whole)
    return x if found is None else found.share(x, root)


def average_gradients(optimizer: Any, share: float | None = None) -> None:
    """Bring the gradients of all processes together; after ``backward``, before clipping and step.

    A parameter that has a gradient on some processes only counts as 0 on the others.

    Parameters
    ----------
    optimizer : Optimizer
        Of the same parameters on each.
    share : float, optional
        Weight of this process's gradients: rows of its batch over rows of all. By default all
        count the same, which is wrong where batches differ in length.

    Examples
    --------
    >>> w = gt.tensor([1.0, 1.0], requires_grad=True)
    >>> optimizer = gt.optim.SGD([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> gt.distributed.average_gradients(optimizer)
    >>> optimizer.step()
    >>> w.detach()
    tensor([0., 0.], dtype=float32)
    """
    from gputensor.distributed import gradients

    found = group()
    if share is not None:
        share = number("average_gradients", "share", share)
    if found is not None:
        gradients.add_up(found, optimizer, 1 / found.size if share is None else share).wait()
