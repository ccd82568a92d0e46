"""Where data sets come from: files on disk, downloads, hashes."""

import hashlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gputensor import config, files
from gputensor.errors import DatasetError
from gputensor.shown import notice

if TYPE_CHECKING:  # imported where they are used: the network's modules are slow to load
    from http.client import HTTPResponse

__all__ = ["BLOCK", "content", "download", "reading"]

CONNECT_SECONDS = 5.0  # until a mirror begins to answer
STALL_SECONDS = 15.0  # between two pieces of its answer
BLOCK = 1 << 16

_log = logging.getLogger("gputensor.datasets")


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn whatever goes wrong while reading `name` into a DatasetError that names it."""
    try:
        yield
    except DatasetError:
        raise
    except FileNotFoundError:
        raise DatasetError(f"{name}: no such file") from None
    except Exception as error:  # a damaged archive has a dozen: zlib's, struct's, lzma's, ...
        raise DatasetError(f"{name}: cannot be read ({type(error).__name__}: {error})") from error


def content(name: str, digest: str, mirrors: Sequence[str], path: str | None = None) -> bytes:
    """A file of a data set.

    The sources are, in this order: gputensor's cache, the folder ``~/.keras/datasets``, and the
    mirrors. Whatever the source, the content is compared with its hash, then kept in the cache.

    Parameters
    ----------
    name : str
        The file's path in both folders.
    digest : str
        SHA-256 or MD5, in hexadecimal.
    mirrors : sequence of str
        URLs.
    path : path-like, optional
        A file of the user's, which is taken as it is, and no other source tried; the plain name
        alone, which is Keras's default, is no path.

    Raises
    ------
    DatasetError
        If there is no such file, or no source has it.
    """
    if path is not None:
        file = Path(os.path.expanduser(path))
        if str(path) != name or file.exists():
            with reading(str(file)):
                return file.read_bytes()
    cache = config.cache_dir() / name
    tried = []
    for file in (cache, Path(os.path.expanduser("~/.keras/datasets")) / name):
        try:
            with reading(str(file)):
                found = _verified(file.read_bytes(), str(file), digest)
        except DatasetError as error:
            tried.append(str(error))
            if file == cache and file.exists():
                warnings.warn(f"the cached {error}; looking for it elsewhere", stacklevel=3)
            continue
        if file != cache:
            _store(found, cache)
        return found
    unreachable: set[str] = set()
    for url in mirrors:
        try:
            found = _verified(download(url, unreachable).getvalue(), url, digest)
        except DatasetError as error:
            tried.append(str(error))
            continue
        _log.info("%s from %s", name, url)
        _store(found, cache)
        return found
    raise DatasetError(
        f"no source has {name}. Tried, in this order:\n  "
        + "\n  ".join(tried)
        + f"\nWithout a network, fetch the file elsewhere and put it at {cache}"
    )


def _verified(found: bytes, source: str, digest: str) -> bytes:
    kind = hashlib.sha256 if len(digest) == 64 else hashlib.md5
    hashed = kind(found, usedforsecurity=False).hexdigest()
    if hashed != digest:
        raise DatasetError(f"{source}: its hash is {hashed}, expected {digest}")
    return found


def _store(found: bytes, file: Path) -> None:
    """Put a file into the cache in one step, or warn that this cannot be done."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        files.clear_leftovers(file.parent)
        files.write(file, found)
    except OSError as error:
        warnings.warn(
            f"{file.name} is not kept for the next time, {file} cannot be written ({error}); "
            "GPUTENSOR_CACHE names another folder",
            stacklevel=4,
        )


# The network


def download(url: str, unreachable: set[str], most: int = 1_000_000_000) -> io.BytesIO:
    """Fetch a file. A host that does not answer joins `unreachable` and is not asked again.

    More than `most` bytes are an error.
    """
    from urllib.error import HTTPError, URLError
    from urllib.parse import urlsplit

    from tqdm import tqdm

    host = urlsplit(url).netloc
    if host in unreachable:
        raise DatasetError(f"{url}: not tried, {host} does not answer")
    notice(f"Fetching {url}")
    body = io.BytesIO()
    with reading(url):
        try:
            response = _open(url)
        except HTTPError as error:
            error.close()
            raise
        except OSError as error:
            unreachable.add(host)
            if isinstance(error, URLError):
                raise DatasetError(f"{url}: cannot be reached ({error.reason})") from None
            raise
        size, file = getattr(response, "length", None), url.rpartition("/")[2]
        # disable=None: no bar where the output is not a terminal
        with response, tqdm(total=size, desc=file, unit="B", unit_scale=True, disable=None) as bar:
            while block := response.read(BLOCK):
                bar.update(body.write(block))
                if body.tell() > most:
                    raise DatasetError(f"{url}: larger than {most} bytes")
        if size is not None and body.tell() != size:
            raise DatasetError(f"{url}: cut off after {body.tell()} of {size} bytes")
    body.seek(0)
    return body


def _open(url: str) -> "HTTPResponse":
    """Begin a GET, and give up after `CONNECT_SECONDS` whatever holds it up.

    urlopen's own timeout does not cover the name's resolution and begins anew with each address
    of the host: behind a firewall that drops packets it would take minutes.
    """
    from queue import Empty, SimpleQueue
    from threading import Thread
    from urllib.request import urlopen

    answers: SimpleQueue[HTTPResponse | Exception] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(urlopen(url, timeout=STALL_SECONDS))
        except Exception as error:  # raised below, in the caller's thread
            answers.put(error)

    Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=CONNECT_SECONDS)
    except Empty:
        raise TimeoutError(f"no answer within {CONNECT_SECONDS:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer
