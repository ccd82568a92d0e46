"""The processes of a job as one: what they add up, copy and agree on."""

import atexit
import contextlib
import os
import pickle
import queue
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gputensor import backend, config
from gputensor.backend import Array
from gputensor.distributed.watch import Watch
from gputensor.errors import DistributedError, DTypeError

if TYPE_CHECKING:
    from gputensor.distributed.shards import Shard

__all__ = ["Group", "Part", "group", "init", "noted", "shard_of_state", "sums_under_way"]

_MPI_STARTED = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "MPI_LOCALRANKID", "PALS_RANKID")


def noted(function: Any, *arrays: Array) -> None:
    """Call a function that writes to the raw arrays it is given; a recording notes that."""
    recording = backend.recording()
    if recording is None:
        function(*arrays)
    else:
        recording.record("call", function, function, arrays, {}, arrays)


class Part(NamedTuple):
    """A rank's part of some rows.

    Attributes
    ----------
    start, stop : int
    share : float
        Weight of a mean over them in that over all.
    factor : float
        Of a sum over them, so that it stands for one over all.
    counts : bool
        Whether what is measured on them counts: not where another rank has the same rows.
    """

    start: int
    stop: int
    share: float
    factor: float
    counts: bool


class Group:
    """All processes of a job, seen from one of them; :func:`init` makes it.

    Operations are collective: each rank has to call them, in the same order.

    Attributes
    ----------
    rank, size : int
    local_rank : int
        Number among the ranks of this machine.
    timeout : float
    shards_state : bool
        Whether each keeps a part of the state of optimizers.
    communicated, waited : float
        Seconds that overlapped operations on the CPU took, and that were waited for them.
    """

    def __init__(self, host: Any, device: Any, local_rank: int, watch: Watch) -> None:
        either = host or device
        self.rank, self.size, self.local_rank = either.rank, either.size, local_rank
        self.timeout = watch.timeout
        self.communicated = self.waited = 0.0
        self.shards_state = False
        self._host, self._device = host, device
        self._watch = watch
        self._line: _Line | None = None
        self._started: list[int] = []  # numbers of the calls of the line, or of the device's

    # Arrays

    def _run(self, what: str, array: Array, call: Callable[[Any, Array], object]) -> None:
        """Call an engine with an array that it takes, which has the result afterwards."""
        line = self._line
        if line is not None and line.busy and threading.current_thread() is not line.thread:
            line.join(line.put(lambda: self._do(what, array, call)))  # in the order of all ranks
        else:
            self._do(what, array, call)

    def _do(self, what: str, array: Array, call: Callable[[Any, Array], object]) -> None:
        on_host = isinstance(array, np.ndarray)
        what = f"{what} of {array.size} {array.dtype}"
        if self._host is not None:
            self._host.what = what
        with self._watch.entered(what):
            if on_host and self._host is None:  # by way of the device
                there = backend.to_device(array, backend.Device("cuda", self._device.device))
                with backend.on_device_of(there):
                    call(self._device, there)
                array[...] = backend.to_host(there)
            elif not on_host and self._device is None:
                with backend.expected_waits():
                    here = backend.to_host(array)
                call(self._host, here)
                with backend.on_device_of(array):
                    array[...] = backend.to_device(here, backend.device_of(array))
            elif array.flags.c_contiguous:
                call(self._host if on_host else self._device, array)
            else:
                whole = array.copy("C")
                call(self._host if on_host else self._device, whole)
                array[...] = whole

    def all_reduce(self, array: Array, op: str = "sum", what: str = "") -> None:
        """Reduce a raw array over the ranks, in place.

        Parameters
        ----------
        array : array
        op : {"sum", "max", "min"}
        what : str
            It is, for messages.
        """
        if array.dtype.kind not in "biufcV" or (array.dtype.kind == "b" and op == "sum"):
            raise DTypeError(f"all_reduce: {op} of {array.dtype} is not supported")
        self._run(f"all_reduce ({op}{what})", array, lambda engine, a: engine.all_reduce(a, op))

    def broadcast(self, array: Array, root: int = 0) -> None:
        """Copy one rank's raw array to all, in place."""
        self._run("broadcast", array, lambda engine, a: engine.broadcast(a, root))

    def reduce_parts(self, array: Array, bounds: Sequence[int]) -> None:
        """Sum a flat array over the ranks; each has the sum in its part only.

        Parameters
        ----------
        array : array of shape (n,)
        bounds : sequence of int
            Where the parts begin, and `n`.
        """
        self._run("reduce_parts", array, lambda engine, a: engine.reduce_parts(a, bounds))

    def gather_parts(self, array: Array, bounds: Sequence[int]) -> None:
        """Copy each rank's part of a flat array to all, see :meth:`reduce_parts`."""
        self._run("gather_parts", array, lambda engine, a: engine.gather_parts(a, bounds))

    # Sums behind other work

    def start(self, array: Array, what: str = "") -> None:
        """Begin to add up a contiguous array over the ranks, in place; :meth:`join` ends it."""
        if isinstance(array, np.ndarray) and self._host is not None and self._host.threads:
            if self._line is None:
                self._line = _Line()
            self._started.append(self._line.put(lambda: self._timed(array, what)))
        elif isinstance(array, np.ndarray) or self._device is None:
            self.all_reduce(array, what=what)
            self._started.append(-1)
        else:
            self._started.append(self._device.start(self._device.reducing(array, "sum")))

    def join(self, count: int | None = None) -> None:
        """Wait, or let the current stream wait, for what was started.

        Parameters
        ----------
        count : int, optional
            For the first so many since all were waited for; else for all.
        """
        waits = self._started if count is None else self._started[:count]
        last = max(waits, default=-1)
        if len(waits) == len(self._started):
            self._started = []
        if last < 0:
            return
        if self._line is None:
            self._device.join(last)
            return
        began = time.perf_counter()
        self._line.join(last)
        self.waited += time.perf_counter() - began

    # Seen by graphs, which keep the order of what is shared with other ranks.
    all_reduce.shared = "whole"  # type: ignore[attr-defined]

    def _timed(self, array: Array, what: str) -> None:
        began = time.perf_counter()
        self.all_reduce(array, what=what)
        self.communicated += time.perf_counter() - began

    # Python objects

    def share(self, thing: Any, root: int = 0) -> Any:
        """A Python object of one rank, as a copy on the others."""
        data = pickle.dumps(thing) if self.rank == root else b""
        size = np.array([len(data)], np.int64)
        self.broadcast(size, root)
        found = np.zeros(int(size[0]), np.uint8)
        found[: len(data)] = np.frombuffer(data, np.uint8)
        self.broadcast(found, root)
        return pickle.loads(found.tobytes())

    def any(self, flag: bool) -> bool:
        """Whether it is true on one of the ranks."""
        found = np.array([flag], np.int32)
        self.all_reduce(found, "max")
        return bool(found[0])

    def agree(self, what: str, value: int, mark: int = 0) -> None:
        """See that a number is the same on all ranks, and a mark of the content.

        Raises
        ------
        DistributedError
            If it is not, on all of them.
        """
        both = np.array([value, -value, mark, -mark], np.int64)
        self.all_reduce(both, "max")
        most, least = int(both[0]), -int(both[1])
        if most != least:
            raise DistributedError(
                f"{what}: rank {self.rank} has {value}, others have {least} to {most}; all ranks "
                "must have the same"
            )
        if both[2] != -both[3]:
            raise DistributedError(
                f"{what}: there are {value} on all ranks, but others; give all ranks the whole "
                "batch, in the same order: each takes its part of it"
            )

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        self.any(False)

    def part(self, rows: int) -> Part:
        """This rank's part of some rows; all of them on each rank where there are too few."""
        if rows < self.size:
            return Part(0, rows, 1 / self.size, 1.0, self.rank == 0)
        start, stop = (rows * r // self.size for r in (self.rank, self.rank + 1))
        return Part(start, stop, (stop - start) / rows, rows / (stop - start), True)

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Context in which the host waits for a device that may wait for other ranks."""
        with self._watch.entered(what):
            yield

    def end(self) -> None:
        """Leave the other processes."""
        self._watch.end()


class _Line:
    """A thread that does one call after the other."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._count = self._over = 0
        self.thread = threading.Thread(target=self._work, name="gputensor distributed", daemon=True)
        self.thread.start()

    @property
    def busy(self) -> bool:
        """Whether there are calls that nobody has waited for."""
        return self._over < self._count

    def put(self, call: Callable[[], None]) -> int:
        """Have a call done; its number."""
        self._count += 1
        self._calls.put(call)
        return self._count - 1

    def join(self, number: int) -> None:
        """Wait until a call is done, and those before it; raises what one of them raised."""
        while self._over <= number:
            error = self._done.get()
            self._over += 1
            if error is not None:
                raise error

    def _work(self) -> None:
        while True:
            call = self._calls.get()
            try:
                call()
            except BaseException as error:
                self._done.put(error)
            else:
                self._done.put(None)


# Beginning

_group: Group | None = None
# Gradients that are being added up, by their optimizer: no attribute of it, which a recording would
# note.
sums_under_way: "weakref.WeakKeyDictionary[Any, Any]" = weakref.WeakKeyDictionary()


def group() -> Group | None:
    """The processes of the job; None where this one is alone."""
    return _group


def shard_of_state() -> "Shard | None":
    """A rank's share of the state of a new optimizer; None where each rank has all of it."""
    if _group is None or not _group.shards_state:
        return None
    from gputensor.distributed.shards import Shard

    return Shard(_group)


def init(timeout: float = 60.0, *, shard_state: bool = False) -> None:
    """Bring the processes of a job together, if a launcher started several.

    What started this process is seen in the environment: ``mpiexec`` or ``srun`` with MPI, then
    arrays on the host go by MPI; or a launcher that sets ``RANK``, ``WORLD_SIZE``,
    ``MASTER_ADDR`` and ``MASTER_PORT`` as torchrun does. Arrays on CUDA devices go by NCCL. Without
    a launcher nothing happens, so that a script runs alone, too.

    Each rank takes the CUDA device of its number on the machine, unless ``GPUTENSOR_DEVICE`` names
    one by number, and ``"cpu"`` keeps to the CPU. Ranks on one machine share its cores, unless
    ``OMP_NUM_THREADS`` says how many each takes. Random numbers are those of the first rank from
    here on.

    Parameters
    ----------
    timeout : float
        Seconds that a rank may keep others waiting before the job ends with an error.
    shard_state : bool
        Whether optimizers that are made afterwards keep a part of their state on each rank, for
        models whose state does not fit. ``optimizer.state_dict()`` is collective then. Not of
        Muon, whose rule takes whole matrices.

    Raises
    ------
    DistributedError
        If the ranks cannot be brought together.

    Examples
    --------
    >>> gt.distributed.init()
    """
    global _group
    if not timeout > 0:
        raise ValueError(f"init: timeout is {timeout}; it must be above 0 seconds")
    if _group is not None:
        return
    if any(name in os.environ for name in _MPI_STARTED):
        made = _by_mpi(timeout)
    elif "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        made = _by_variables(timeout)
    else:
        return
    if made is None:
        return
    _group = made
    made.shards_state = bool(shard_state)
    made._watch.begin()
    atexit.register(made.end)
    sys.excepthook = _ending_all(made, sys.excepthook)
    from gputensor.random import default_generator

    default_generator.state = made.share(default_generator.state)


def _by_mpi(timeout: float) -> Group | None:
    import secrets
    import socket

    from gputensor.distributed.mpi import Mpi

    host = Mpi()
    if host.size == 1:
        return None
    device = _device_of(host.local_rank)
    _divide_cores(host.local_size)
    watch = Watch(host.rank, host.size, timeout, host.kill)
    alone = host.local_size == host.size
    name = "127.0.0.1" if alone else socket.gethostname()
    door = watch.listen("127.0.0.1" if alone else "", 0) if host.rank == 0 else None
    port = door.getsockname()[1] if door is not None else 0
    address = host.share((name, port, secrets.token_hex(16)))
    if door is not None:
        watch.welcome(door, address[2])
    else:
        watch.come(*address)
    engine = None
    if device is not None:
        engine = _nccl(host.rank, host.size, device, host.share)
    return Group(host, engine, host.local_rank, watch)


def _by_variables(timeout: float) -> Group | None:
    size, rank = (_number(name) for name in ("WORLD_SIZE", "RANK"))
    if size == 1:
        return None
    local_rank = _number("LOCAL_RANK", rank)
    device = _device_of(local_rank)
    if device is None:
        raise DistributedError(
            "init: RANK and WORLD_SIZE are set, as torchrun does, and there is no CUDA device for "
            "NCCL; on the CPU start with mpiexec or `python -m gputensor launch`, and "
            "pip install mpi4py mpich"
        )
    host = os.environ.get("MASTER_ADDR", "127.0.0.1")
    # The port itself is torchrun's own.
    port = _number("GPUTENSOR_MASTER_PORT", _number("MASTER_PORT", 29500) + 1)
    token = os.environ.get("TORCHELASTIC_RUN_ID", "")
    watch = Watch(rank, size, timeout)
    if rank == 0:
        from gputensor.distributed.nccl import new_id

        number = new_id()
        watch.welcome(watch.listen("", port), token, number)
    else:
        number = watch.come(host, port, token)
    return Group(None, _nccl(rank, size, device, lambda _: number), local_rank, watch)


def _nccl(rank: int, size: int, device: int, share: Callable[[Any], Any]) -> Any:
    """The engine of CUDA devices, whose number comes from the first rank."""
    from gputensor.distributed.nccl import Nccl, new_id

    return Nccl(rank, size, device, share(new_id() if rank == 0 else None))


def _device_of(local_rank: int) -> int | None:
    """The CUDA device of a rank, which becomes that of new tensors; None on the CPU."""
    where = backend.default_device()
    if where.kind == "cpu":
        return None
    setting = os.environ.get("GPUTENSOR_DEVICE", "")
    if ":" not in setting:
        count = backend.cuda_status().devices
        if local_rank >= count:
            raise DistributedError(
                f"init: local rank {local_rank} has no CUDA device of its own, there are {count}; "
                "start fewer ranks on this machine, or set GPUTENSOR_DEVICE=cpu"
            )
        os.environ["GPUTENSOR_DEVICE"] = f"cuda:{local_rank}"
        config.device_setting.cache_clear()
        where = backend.default_device()
    import cupy  # type: ignore[import-not-found, unused-ignore]

    cupy.cuda.Device(where.index).use()
    return where.index


def _divide_cores(ranks: int) -> None:
    """Have the ranks of a machine share its cores, unless they were told how many to use."""
    if any(name in os.environ for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")):
        return
    import threadpoolctl

    threads = max(1, config.cpu_threads() // ranks)
    os.environ.setdefault("GPUTENSOR_THREADS", str(threads))
    threadpoolctl.threadpool_limits(threads)


def _number(name: str, default: int | None = None) -> int:
    text = os.environ.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise DistributedError(f"init: {name} is {text!r} in the environment; it must be a number")
    return int(text)


def _ending_all(made: Group, before: Callable[..., Any]) -> Callable[..., None]:
    """What is done about an error that nobody caught: the others would wait for this rank."""

    def hook(kind: Any, error: Any, trace: Any) -> None:
        import traceback

        text = traceback.format_exception_only(kind, error)[-1].strip()
        # At once, and first: another rank's end may cut off the rest.
        sys.stderr.write(f"gputensor.distributed: rank {made.rank} ends with an error: {text}\n")
        sys.stderr.flush()
        before(kind, error, trace)
        sys.stdout.flush()
        sys.stderr.flush()
        made._watch.end(text)
        time.sleep(0.5)  # in which a launcher passes on what was written, before it ends all
        for engine in (made._device, made._host):
            if engine is not None:
                engine.kill()
        os._exit(1)

    return hook
