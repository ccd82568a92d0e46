"""Who of the processes is late: each tells the first one what it waits for, over a socket.

A collective operation that one rank does not come to would keep all others waiting for ever, and
an engine such as MPI or NCCL cannot say for whom. Here each rank says a few times a minute what it
is in; the first rank compares, names the one that is missing, and all end with that message. A
process that dies without a word is known by its socket.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

__all__ = ["EXIT", "Watch", "fault"]

EXIT = 70  # exit status of a process that ends because of another one
_Heard = dict[int, dict[str, Any]]


def fault(heard: _Heard, ages: dict[int, float], size: int, timeout: float) -> str:
    """What is wrong, in words; nothing if all is well.

    Parameters
    ----------
    heard : dict of int to dict
        By rank, what it said last: ``count`` of the operations that it has begun, ``what`` the
        last one is, and for how many seconds it has been ``waiting`` in it, or None if it is over.
    ages : dict of int to float
        Seconds since then.
    size : int
        Number of ranks.
    timeout : float
        Seconds that a rank may keep others waiting.
    """
    silent = [r for r in range(size) if ages.get(r, 0.0) > timeout]
    if silent:
        return f"{_ranks(silent)} did not answer for {timeout:g} seconds; the process is stopped"
    late = {
        r: said
        for r, said in heard.items()
        if said["waiting"] is not None and said["waiting"] + ages[r] > timeout
    }
    if not late:
        return ""
    furthest = max(said["count"] for said in late.values())
    what = next(said["what"] for said in late.values() if said["count"] == furthest)
    idle = [r for r in range(size) if r not in heard or heard[r]["waiting"] is None]
    missing = idle or [r for r in range(size) if heard[r]["count"] < furthest]
    if missing:
        reasons = sorted({_doing(heard.get(r)) for r in missing})
        return (
            f"{_ranks(missing)} did not come to operation {furthest}, {what}, within {timeout:g} "
            f"seconds, where {_ranks(sorted(set(late) - set(missing)))} waited; "
            f"{'; '.join(reasons)}"
        )
    if len({said["what"] for said in late.values()}) > 1:
        each = ", ".join(f"rank {r} is in {said['what']}" for r, said in sorted(late.items()))
        return f"the ranks disagree on operation {furthest}: {each}"
    return f"operation {furthest}, {what}, did not end within {timeout:g} seconds on any rank"


def _doing(said: dict[str, Any] | None) -> str:
    if said is None:
        return "it has not been heard of"
    if said["waiting"] is not None:
        return f"it is in {said['what']}"
    end = "it has ended, and " if "bye" in said else ""
    if not said["count"]:
        return f"{end}it began none"
    return f"{end}its last one was {said['count']}, {said['what']}"


def _ranks(ranks: list[int]) -> str:
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))}"


class Watch:
    """The watch of one process.

    Parameters
    ----------
    rank, size : int
    timeout : float
        Seconds that a rank may keep others waiting.
    kill : callable
        Ends the process and, where the engine can, all others.
    """

    def __init__(
        self, rank: int, size: int, timeout: float, kill: Callable[[], object] | None = None
    ) -> None:
        self.rank, self.size, self.timeout = rank, size, timeout
        self.count = 0
        self._what = ""
        self._since: float | None = None
        self._kill = kill or (lambda: None)
        self._over = threading.Event()
        self._links: dict[int, _Link] = {}  # of the first rank: to each other; else to the first
        self._lock = threading.Lock()
        self._heard: _Heard = {}
        self._at: dict[int, float] = {}
        self._ended: set[int] = set()

    @contextlib.contextmanager
    def entered(self, what: str) -> Iterator[None]:
        """Context of an operation that waits for the other ranks."""
        self.count += 1
        self._what, self._since = what, time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def _said(self) -> dict[str, Any]:
        since = self._since
        waiting = None if since is None else time.monotonic() - since
        return {"count": self.count, "what": self._what, "waiting": waiting}

    # Beginning and end

    def listen(self, host: str, port: int) -> "socket.socket":
        """As the first rank: open the door that the others come to."""
        import socket

        door = socket.create_server((host, port), backlog=self.size)
        door.settimeout(self.timeout)
        return door

    def welcome(self, door: "socket.socket", token: str, news: Any = None) -> None:
        """As the first rank: wait until all are there, and tell each of them `news`."""
        missing = set(range(1, self.size))
        with door:
            while missing:
                try:
                    link = _Link(door.accept()[0])
                    hello = link.read()
                except TimeoutError:
                    raise TimeoutError(
                        f"init: {_ranks(sorted(missing))} did not come within {self.timeout:g} "
                        "seconds"
                    ) from None
                if not isinstance(hello, dict) or hello.get("token") != token:
                    link.close()
                    continue
                rank = int(hello["rank"])
                if rank not in missing:
                    raise ValueError(f"init: two processes say that they are rank {rank}")
                missing.discard(rank)
                self._links[rank] = link
        for link in self._links.values():
            link.send({"news": news})

    def come(self, host: str, port: int, token: str) -> Any:
        """As another rank: go to the first one; what it tells."""
        import socket

        until = time.monotonic() + self.timeout
        while True:
            try:
                link = _Link(socket.create_connection((host, port), timeout=self.timeout))
                break
            except OSError as error:
                if time.monotonic() > until:
                    raise TimeoutError(
                        f"init: rank 0 does not answer at {host}:{port}: {error}"
                    ) from None
                time.sleep(0.1)
        link.send({"rank": self.rank, "token": token})
        news = link.read()
        if not isinstance(news, dict):
            raise ConnectionError("init: rank 0 is gone")
        self._links[0] = link
        return news["news"]

    def begin(self) -> None:
        """Watch from here on."""
        now = time.monotonic()
        self._at = dict.fromkeys(self._links, now)
        for rank, link in self._links.items():
            link.patient()
            self._run(self._read, rank, link)
        self._run(self._beat)

    def _run(self, function: Callable[..., None], *args: Any) -> None:
        threading.Thread(target=function, args=args, name="gputensor watch", daemon=True).start()

    def end(self, error: str = "") -> None:
        """Say that this process ends, because of an error for example."""
        if not self._over.is_set():
            self._over.set()
            for link in self._links.values():
                text = {"error": f"rank {self.rank} ended: {error}"}
                link.send(text if error else {"bye": 1, **self._said()})

    # Threads

    def _beat(self) -> None:
        pause = max(min(5.0, self.timeout / 8), 0.05)
        while not self._over.wait(pause):
            for link in list(self._links.values()):
                link.send(self._said())
            with self._lock:
                now = time.monotonic()
                ages = {r: now - at for r, at in self._at.items()}
                if self.rank == 0:
                    self._heard[0], ages[0] = self._said(), 0.0
                    for rank in self._ended:  # waits for nobody, and nobody hears of it
                        ages[rank] = 0.0
                    text = fault(self._heard, ages, self.size, self.timeout)
                else:
                    silent = ages[0] > 1.5 * self.timeout and 0 not in self._ended
                    text = "rank 0 does not answer; its process is stopped" if silent else ""
            if text:
                self._fail(text)

    def _read(self, rank: int, link: "_Link") -> None:
        while True:
            said = link.read()
            if self._over.is_set():
                return
            if said is None:
                if rank not in self._ended:
                    self._fail(f"the process of rank {rank} died")
                return
            if "error" in said:
                self._fail(said["error"], told=True)
                return
            with self._lock:
                self._at[rank] = time.monotonic()
                self._heard[rank] = said
                if "bye" in said:
                    self._ended.add(rank)

    def _fail(self, text: str, told: bool = False) -> None:
        """End this process, and have the others end."""
        if self._over.is_set():
            return
        self._over.set()
        if self.rank == 0:
            for link in self._links.values():
                link.send({"error": text})
        if self.rank == 0 or not told:
            sys.stderr.write(f"gputensor.distributed: {text}. All ranks end.\n")
            sys.stderr.flush()
        if self.rank == 0:
            time.sleep(0.2)  # the others end by themselves
            self._kill()
        os._exit(EXIT)


class _Link:
    """A socket that carries lines of JSON."""

    def __init__(self, connection: "socket.socket") -> None:
        import json
        import socket

        self._json = json
        self._socket = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = connection.makefile("r", encoding="utf-8")
        self._lock = threading.Lock()

    def send(self, said: dict[str, Any]) -> None:
        """Send a line, if there is still somebody who reads it."""
        with self._lock, contextlib.suppress(OSError):
            self._socket.sendall(self._json.dumps(said).encode() + b"\n")

    def read(self) -> dict[str, Any] | None:
        """The next line; None if the other end is gone."""
        try:
            line = self._file.readline()
            said = self._json.loads(line) if line.endswith("\n") else None
        except TimeoutError:
            raise
        except (OSError, ValueError):
            return None
        return said if isinstance(said, dict) else None

    def patient(self) -> None:
        """Wait for lines as long as it takes."""
        self._socket.settimeout(None)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
