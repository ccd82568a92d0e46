"""Event files, which TensorBoard shows: numbers, histograms, images and texts by name and step.

A file is a row of records, as TensorFlow's ``record_writer.h`` has them: length, checksum, message,
checksum. A message is an ``Event`` of TensorFlow's ``event.proto``, in the wire format of protocol
buffers, of which the few fields are written here that are needed.
"""

import io
import os
import socket
import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["EventFile"]


def _table() -> list[int]:
    found = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        found.append(n)
    return found


_CRC32C = _table()  # Castagnoli's polynomial


def _checksum(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC32C[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _varint(n: int) -> bytes:
    n &= (1 << 64) - 1
    found = bytearray()
    while n > 0x7F:
        found.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes([*found, n])


def _integer(field: int, n: int) -> bytes:
    return _varint(field << 3) + _varint(n)


def _double(field: int, x: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", x)


def _bytes(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _doubles(field: int, values: Iterable[float]) -> bytes:
    return _bytes(field, b"".join(struct.pack("<d", x) for x in values))


class EventFile:
    """A new file of events in a folder, which is made if it is not there.

    Parameters
    ----------
    folder : path-like
    suffix : str
        Of the file's name.

    Examples
    --------
    >>> events = EventFile("runs/first")  # doctest: +SKIP
    >>> events.scalar("loss", 0.5, step=1)  # doctest: +SKIP
    """

    def __init__(self, folder: Any, suffix: str = "") -> None:
        self.folder = Path(os.path.expanduser(folder))
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}{suffix}"
        self._file = open(self.folder / name, "ab")  # noqa: SIM115
        self._record(_bytes(3, b"brain.Event:2"))

    def _record(self, message: bytes, when: float | None = None) -> None:
        message = _double(1, time.time() if when is None else when) + message
        length = struct.pack("<Q", len(message))
        self._file.write(length + _checksum(length) + message + _checksum(message))

    def _value(self, tag: str, value: bytes, step: int, when: float | None) -> None:
        summary = _bytes(1, _bytes(1, tag.encode()) + value)
        self._record(_integer(2, int(step)) + _bytes(5, summary), when)

    def scalar(self, tag: str, value: float, step: int = 0, when: float | None = None) -> None:
        """Write a number; `when` are seconds since 1970, those of the call by default."""
        self._value(tag, _varint(2 << 3 | 5) + struct.pack("<f", float(value)), step, when)

    def histogram(
        self, tag: str, values: Any, step: int = 0, when: float | None = None, bins: Any = 30
    ) -> None:
        """Write how values are distributed; those that are not finite are left out."""
        array = np.asarray(values, np.float64).reshape(-1)
        array = array[np.isfinite(array)]
        counts, edges = np.histogram(array, bins=bins)
        least, most = (array.min(), array.max()) if array.size else (0.0, 0.0)
        parts = [least, most, array.size, array.sum(), (array * array).sum()]
        message = b"".join(_double(i, float(x)) for i, x in enumerate(parts, start=1))
        message += _doubles(6, edges[1:]) + _doubles(7, counts)
        self._value(tag, _bytes(5, message), step, when)

    def image(self, tag: str, array: Any, step: int = 0, when: float | None = None) -> None:
        """Write an image: uint8, or numbers from 0 to 1, (height, width[, channels]); by Pillow."""
        from PIL import Image

        pixels = np.asarray(array)
        if pixels.dtype != np.uint8:
            pixels = np.clip(pixels * 255.0, 0, 255).astype(np.uint8)
        pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
        made = io.BytesIO()
        Image.fromarray(pixels).save(made, format="png")
        high, wide = pixels.shape[:2]
        channels = 1 if pixels.ndim == 2 else pixels.shape[-1]
        message = _integer(1, high) + _integer(2, wide) + _integer(3, channels)
        self._value(tag, _bytes(4, message + _bytes(4, made.getvalue())), step, when)

    def text(self, tag: str, text: str, step: int = 0, when: float | None = None) -> None:
        """Write a text, which may be Markdown."""
        metadata = _bytes(9, _bytes(1, _bytes(1, b"text")))
        shape = _bytes(2, _bytes(2, _integer(1, 1)))
        tensor = _integer(1, 7) + shape + _bytes(8, text.encode())  # 7: strings
        self._value(tag, metadata + _bytes(8, tensor), step, when)

    def flush(self) -> None:
        """See that all is in the file."""
        self._file.flush()

    def close(self) -> None:
        """Write what is left; nothing can be added after that."""
        self._file.close()
