"""Training by several processes: each has a copy of the model, and a part of each batch.

Start the same script several times, ``mpiexec -n 4 python script.py`` for example, and say
:func:`init` in it. ``fit`` does the rest; a loop of your own calls :func:`average_gradients` before
``optimizer.step()``. Nothing here is imported or opened before :func:`init`.
"""

from gputensor.distributed.api import (
    all_reduce,
    average_gradients,
    barrier,
    broadcast,
    is_first,
    local_rank,
    rank,
    size,
)
from gputensor.distributed.group import init

__all__ = [
    "all_reduce",
    "average_gradients",
    "barrier",
    "broadcast",
    "init",
    "is_first",
    "local_rank",
    "rank",
    "size",
]
