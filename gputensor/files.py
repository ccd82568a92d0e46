"""Files that are whole or not there, and what runs that were killed leave behind.

A file is written in a folder of its own beside its place, ``NAME.<16 hex digits>.tmp``, synced and
moved. The writer holds a lock in that folder, which the system drops with the process: a folder
whose lock is free belongs to nobody any more.
"""

import contextlib
import mmap
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows: what is older than a day is given up
    fcntl = None  # type: ignore[assignment]

__all__ = ["clear_leftovers", "removed", "replacing", "send", "write"]

_OURS = re.compile(r".+\.[0-9a-f]{16}\.tmp")
_LOCK = ".lock"
_YOUNG = 60.0  # seconds in which a folder without a lock may be one that is just being made
_OLD = 86400.0


def _remove(folder: Path) -> None:
    import shutil  # late, as it is rarely needed

    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A place to write a file at, which takes the place of `path` at the end.

    It is synced, and so is the folder: after a power cut there is the old file or the new one.
    After an error there is the old one.
    """
    folder, lock = _own_folder(path)
    try:
        written = folder / path.name
        yield written
        os.chmod(written, stat.S_IMODE(os.fstat(lock).st_mode))
        _sync(written)
        os.replace(written, path)
        _sync(path.parent)
    finally:
        try:
            os.unlink(folder / _LOCK)
            os.rmdir(folder)
        except OSError:  # after an error there is more in it
            _remove(folder)
        os.close(lock)


def write(path: Path, content: bytes) -> None:
    """Write a file in one step, see :func:`replacing`."""
    with replacing(path) as place:
        place.write_bytes(content)


def send(file: IO[bytes], start: int, stop: int) -> None:
    """Have the system begin to write some bytes of a file to the disk, where it can be told to.

    What is on its way already need not be waited for when the file is synced.
    """
    file.flush()
    if hasattr(os, "posix_fadvise"):
        # Linux begins to write what is to be forgotten. Whole pages: others are still written to.
        start = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
        os.posix_fadvise(file.fileno(), start, max(stop - start, 1), os.POSIX_FADV_DONTNEED)


@contextlib.contextmanager
def removed(paths: Iterable[Path]) -> Iterator[None]:
    """Take files away; their space is given back at the end, which takes time for large ones."""
    held = []
    try:
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                if os.name == "posix":  # elsewhere what is open cannot be removed
                    held.append(os.open(path, os.O_RDONLY))
                path.unlink()
        yield
    finally:
        for opened in held:
            os.close(opened)


def _own_folder(path: Path) -> tuple[Path, int]:
    """A new folder beside `path`, and its lock, which is held."""
    while True:
        folder = path.with_name(f"{path.name}.{os.urandom(8).hex()}.tmp")
        folder.mkdir()
        try:
            lock = os.open(folder / _LOCK, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        except FileNotFoundError:  # cleared in between
            continue
        except OSError:
            _remove(folder)
            raise
        if fcntl is not None:
            with contextlib.suppress(OSError):  # file systems without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / _LOCK).exists():
            return folder, lock
        os.close(lock)


def _sync(path: Path) -> None:
    """Bring a file, or what a folder holds, to the disk."""
    if path.is_dir() and os.name == "nt":
        return
    opened = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def clear_leftovers(folder: Path) -> None:
    """Remove what writers that are no more have left in a folder; others' files are not touched."""
    try:
        entries = [e for e in os.scandir(folder) if _OURS.fullmatch(e.name)]
    except OSError:
        return
    for entry in entries:
        with contextlib.suppress(OSError):
            if entry.is_dir(follow_symlinks=False) and _holds_ours_only(Path(entry.path)):
                _clear(Path(entry.path))


def _holds_ours_only(folder: Path) -> bool:
    """Whether a folder holds no folder: writers make none."""
    return all(not e.is_dir(follow_symlinks=False) for e in os.scandir(folder))


def _clear(folder: Path) -> None:
    """Remove a folder, if nobody holds its lock."""
    age = time.time() - folder.stat().st_mtime
    if fcntl is None:
        if age > _OLD:
            _remove(folder)
        return
    lock: Any = None
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        if age > _YOUNG:
            _remove(folder)
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: it is in use
        _remove(folder)
    finally:
        os.close(lock)
