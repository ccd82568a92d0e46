"""The file of a checkpoint: a safetensors file, checked to the last bit before it is believed.

The arrays lie under the path that they have in what was saved; the metadata has the structure
around them as JSON, and a checksum. That is the CRC-32 of the arrays' bytes, as they lie in the
file, and then of the header, with zeros in the place of the checksum.
"""

import dataclasses
import json
import os
import stat
import threading
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gputensor import files, tensor_files
from gputensor.errors import CheckpointError

__all__ = ["Checkpoint", "read", "read_content", "write"]

_VERSION = 2
_KEY = "gputensor.checkpoint"
_BLANK = b'"checksum":"00000000"'
# Bytes that are written at once. More of them are worth a thread that finds their sum: neither it
# nor writing holds Python's lock, for which a piece has to wait where training holds it.
_PIECE = 16 << 20


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds besides the state of objects.

    Attributes
    ----------
    step : int
    metrics : dict of str to float
    values : dict
        Numbers, texts, arrays and trees of them, by the names that they were saved under;
        ``checkpoint[name]`` is ``checkpoint.values[name]``.
    path : Path

    Examples
    --------
    >>> model = gt.nn.Dense(2, 1)
    >>> checkpoints = gt.checkpoints.Checkpointer("run")
    >>> checkpoints.save(3, model=model)
    >>> checkpoints.wait()
    >>> checkpoints.restore(model=model).step
    3
    """

    step: int
    metrics: dict[str, float]
    values: dict[str, Any]
    path: Path

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


def write(path: Path, arrays: dict[str, Any], content: dict[str, Any]) -> None:
    """Write a checkpoint in one step.

    Parameters
    ----------
    path : Path
    arrays : dict of str to numpy.ndarray
        Nobody changes them until this returns.
    content : dict
        JSON.
    """
    text = json.dumps({"version": _VERSION, **content}, separators=(",", ":"), allow_nan=False)
    head, ordered = tensor_files.head(arrays, {_KEY: text, "checksum": "00000000"})
    with _Sum(ordered) as total, files.replacing(path) as place, open(place, "wb") as file:
        at = sent = file.seek(len(head))
        for piece in _pieces(ordered):
            at += file.write(piece)
            if at - sent >= _PIECE:
                files.send(file, sent, at)
                sent = at
        files.send(file, sent, at)
        mark = head.index(_BLANK) + len(_BLANK) - 9
        checksum = b"%08x" % zlib.crc32(head[8:], total.result())
        file.seek(0)
        file.write(head[:mark] + checksum + head[mark + 8 :])


class _Sum:
    """The checksum of arrays: of large ones a thread finds it while they are written."""

    def __init__(self, arrays: list[Any]) -> None:
        self._arrays = arrays
        self._found: int | None = None
        self._thread: threading.Thread | None = None
        if sum(array.nbytes for array in arrays) > _PIECE:
            self._thread = threading.Thread(target=self._find)
            self._thread.start()

    def _find(self) -> None:
        found = 0
        for piece in _pieces(self._arrays):
            found = zlib.crc32(piece, found)
        self._found = found

    def __enter__(self) -> "_Sum":
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._thread.join()

    def result(self) -> int:
        """The sum; of small arrays it is found here, while the disk has something to do."""
        if self._thread is None:
            self._find()
        else:
            self._thread.join()
        assert self._found is not None
        return self._found


def _pieces(arrays: Iterable[Any]) -> Iterator[memoryview]:
    """The bytes of arrays, piece by piece."""
    for array in arrays:
        if array.nbytes:
            whole = memoryview(array.reshape(-1).view(np.uint8))
            for start in range(0, len(whole), _PIECE):
                yield whole[start : start + _PIECE]


class _Header(NamedTuple):
    entries: dict[str, Any]
    content: dict[str, Any]
    checksum: str
    raw: bytes  # with zeros in the place of the checksum


def _refused(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{path}: {why}; nothing was changed")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(n for n in names if names.count(n) > 1)!r} occurs twice")
    return found


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _parsed(text: "str | bytes") -> Any:
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)


def _opened(path: Path) -> Any:
    """An open file; of a pipe nobody is waited for."""
    options = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | options))


def _header(path: Path, file: Any) -> _Header:
    """The header of an open file, if it is that of a checkpoint."""
    from safetensors import SafetensorError, safe_open

    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise _refused(path, "it is no file")
    try:
        with safe_open(path, framework="numpy"):
            pass
    except (SafetensorError, OSError, ValueError) as error:
        raise _refused(path, f"it is damaged, or no safetensors file: {error}") from None
    raw = file.read(int.from_bytes(file.read(8), "little"))
    try:
        entries = _parsed(raw)
        metadata = entries.pop("__metadata__", {})
        if _KEY not in metadata:
            raise _refused(path, "it is a safetensors file, but no checkpoint of gputensor")
        mark = b'"checksum":"%s"' % metadata.get("checksum", "").encode()
        if len(mark) != len(_BLANK) or raw.count(mark) != 1:
            raise _refused(path, "it is altered: it has no checksum")
        blank = raw.replace(mark, _BLANK)
        content = _parsed(metadata[_KEY])
        if content.get("version") != _VERSION:
            raise _refused(
                path,
                f"its format has version {content.get('version')!r}, this gputensor reads version "
                f"{_VERSION}",
            )
        return _Header(entries, content, metadata["checksum"], blank)
    except CheckpointError:
        raise
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _refused(path, f"it is altered: {error}") from None


def read_content(path: Path) -> dict[str, Any]:
    """The JSON of a checkpoint; its arrays, and its checksum, are not looked at."""
    with _opened(path) as file:
        return _header(path, file).content


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays and JSON of a checkpoint.

    Raises
    ------
    CheckpointError
        If it is cut off, altered, or something else.
    """
    with _opened(path) as file:
        header = _header(path, file)
        arrays, found = {}, 0
        for name, entry in sorted(header.entries.items(), key=lambda item: _place(item[1])):
            try:
                dtype = tensor_files.dtype_of(name, entry["dtype"])
            except ValueError as error:
                raise _refused(path, str(error)) from None
            array = arrays[name] = np.empty(entry["shape"], dtype)
            for piece in _pieces([array]):
                if file.readinto(piece) != len(piece):
                    raise _refused(path, "it is cut off")
                found = zlib.crc32(piece, found)
    if f"{zlib.crc32(header.raw, found):08x}" != header.checksum:
        raise _refused(path, "it is altered: its checksum is not that of its content")
    return arrays, header.content


def _place(entry: dict[str, Any]) -> list[int]:
    found: list[int] = entry["data_offsets"]
    return found
