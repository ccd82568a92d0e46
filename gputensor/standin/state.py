"""What the whole stand-in shares: counters, settings and the current device."""

import collections
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["Count", "Counters", "Settings", "counters", "current", "settings"]


class Count(NamedTuple):
    """A piece of work: the name of its kernel, and the bytes of the arrays that it is given."""

    name: str
    nbytes: int


@dataclass
class Counters:
    """What went on between host and device since the last :meth:`reset`.

    A launch of a graph counts as one of `graph_launches`; what it replays, as `replayed_launches`,
    `replayed_array_ops`, `replayed_memsets` and `replayed_copies`. Work that is recorded does not
    count. `driver_allocations` are those that no memory pool could serve, hence ``cudaMalloc``.

    `kernels` has what ran by its name, replayed or not: kernels from sources, and CuPy's functions
    as one each. `bytes_moved` adds up the sizes of the arrays that these were given and made.

    With `logging` set, `log` gets a pair for each count: what was counted, and file and line of
    the code that caused it.
    """

    transfers_to_host: int = 0
    transfers_to_device: int = 0
    bytes_to_host: int = 0
    bytes_to_device: int = 0
    synchronizations: int = 0
    launches: int = 0
    array_ops: int = 0
    memsets: int = 0
    copies: int = 0
    graph_launches: int = 0
    replayed_launches: int = 0
    replayed_array_ops: int = 0
    replayed_memsets: int = 0
    replayed_copies: int = 0
    driver_allocations: int = 0
    bytes_moved: int = 0
    kernels: "collections.Counter[str]" = field(default_factory=collections.Counter)
    logging: bool = False
    log: list[tuple[str, str]] = field(default_factory=list)

    def reset(self) -> None:
        """Set every count to zero and forget the log."""
        for name, value in vars(Counters()).items():
            if name != "logging":
                setattr(self, name, value)

    def count(self, kind: str) -> None:
        """Add one to a count."""
        setattr(self, kind, getattr(self, kind) + 1)
        if self.logging:
            self.log.append((kind, _caller()))

    def ran(self, kind: str, what: Count) -> None:
        """Count a piece of work that ran on the device."""
        self.count(kind)
        self.kernels[what.name] += 1
        self.bytes_moved += what.nbytes

    def to_host(self, nbytes: int) -> None:
        """Count a copy to the host, which waits for the device."""
        self.count("transfers_to_host")
        self.count("synchronizations")
        self.bytes_to_host += nbytes

    def to_device(self, nbytes: int) -> None:
        """Count a copy to the device."""
        self.count("transfers_to_device")
        self.bytes_to_device += nbytes


def _caller() -> str:
    """File and line of the innermost frame outside of this package and NumPy."""
    inside = (str(Path(__file__).parent), str(Path(np.__file__).parent), "<__array_function__")
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


@dataclass
class Settings:
    """How the stand-in behaves; :func:`standin.install` sets it.

    Attributes
    ----------
    devices : int
        Number of CUDA devices there seem to be.
    order : {"forward", "reverse", "shuffle", "compare"}
        In which order blocks, and threads of a block, run. ``"compare"`` runs each launch in all
        three and raises if the results differ in any bit.
    contiguous : bool
        Whether a kernel may only be given C-contiguous arrays.
    seed : int or None
        Of the orders in which a graph's work on several streams is replayed; None for the one in
        which it was recorded.
    """

    devices: int = 1
    order: str = "forward"
    contiguous: bool = True
    seed: int | None = 0


counters = Counters()
settings = Settings()


class CurrentDevice(threading.local):
    """Number of the calling thread's current device."""

    id = 0


current = CurrentDevice()
