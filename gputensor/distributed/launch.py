"""``python -m gputensor launch``: a script in several processes on this machine."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gputensor import backend
from gputensor.errors import DistributedError

__all__ = ["launch"]

_INTERRUPTED = {130, -signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGTERM}


def launch(count: int, command: Sequence[str], restarts: int = 0) -> int:
    """Run a script in several processes, by MPI where that is installed.

    Without MPI the processes are started as torchrun does it, with ``RANK``, ``WORLD_SIZE``,
    ``LOCAL_RANK``, ``MASTER_ADDR`` and ``MASTER_PORT``, which takes a CUDA device for each.

    Parameters
    ----------
    count : int
        Number of processes.
    command : sequence of str
        The script and its arguments.
    restarts : int
        How often all processes are started again when they end with an error. The script goes on
        from its last checkpoint then; ``GPUTENSOR_RESTART`` tells it the number of the start.

    Returns
    -------
    int
        Exit status: 0 if all went well in the last start.

    Raises
    ------
    DistributedError
        If there is neither MPI nor a CUDA device for each process.
    """
    run = _by_mpi if _mpiexec() else _side_by_side
    for attempt in range(restarts + 1):
        env = os.environ | {"GPUTENSOR_RESTART": str(attempt)}
        status = run(count, [sys.executable, *command], env)
        if status == 0 or status in _INTERRUPTED or attempt == restarts:
            break
        print(
            f"gputensor launch: the processes ended with status {status}; they start again, "
            f"{attempt + 1} of {restarts}",
            file=sys.stderr,
            flush=True,
        )
    return status


def _mpiexec() -> str | None:
    """Where ``mpiexec`` is, if mpi4py is there, too: that of the same environment first."""
    if importlib.util.find_spec("mpi4py") is None:
        return None
    import shutil

    return shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")


def _by_mpi(count: int, command: list[str], env: dict[str, str]) -> int:
    found = _mpiexec()
    assert found is not None
    process = subprocess.Popen([found, "-n", str(count), *command], env=env)
    return _waited([process])


def _side_by_side(count: int, command: list[str], env: dict[str, str]) -> int:
    import socket

    devices = backend.cuda_status().devices if backend.default_device().kind == "cuda" else 0
    if count > 1 and devices < count:
        raise DistributedError(
            f"launch: there is no MPI, and {devices} CUDA devices for {count} processes; "
            "pip install mpi4py mpich"
        )
    with (
        socket.create_server(("127.0.0.1", 0)) as free,
        socket.create_server(("127.0.0.1", 0)) as own,
    ):
        port, ours = free.getsockname()[1], own.getsockname()[1]
    world = {
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GPUTENSOR_MASTER_PORT": str(ours),
    }
    ranks = [{"RANK": str(r), "LOCAL_RANK": str(r)} for r in range(count)]
    return _waited([subprocess.Popen(command, env=env | world | rank) for rank in ranks])


def _waited(processes: list["subprocess.Popen[bytes]"]) -> int:
    """Wait until all have ended, or one with an error, which ends the others; the status."""
    status = 0
    try:
        while processes and not status:
            for process in list(processes):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    status = process.wait(0.05 if len(processes) > 1 else None) or status
                    processes.remove(process)
    except KeyboardInterrupt:
        status = 130
    if status:
        until = time.monotonic() + 5  # in which they end by themselves
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                process.wait(max(0.0, until - time.monotonic()))
            if process.poll() is None:
                process.kill()
                process.wait()
    return status
