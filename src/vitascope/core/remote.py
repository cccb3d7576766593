"""Objects at URLs, through fsspec: read by ranges, repeated where the network fails, written once.

A failure of the network or of credentials is a `RemoteError`, which says nothing about the content and is never
remembered of it; what is not there is a FileNotFoundError.
"""

from __future__ import annotations

import errno
import hashlib
import io
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from vitascope.core.errors import MissingPackageError, RemoteError, UserError
from vitascope.core.worker_process import report_alive

T = TypeVar("T")
CHUNK = 8 << 20
"""Bytes per request."""
SMALL = 1 << 16
"""Bytes read ahead where only parts of an object are needed."""
WAITS = (0.0, 0.5, 2.0)
"""Seconds before each attempt; clients repeat too, and jobs are tried again by `worker_pool`."""
REMEMBERED = 30.0
"""Seconds for which the state of an object is not asked again: a copy is kept under the state it was read in."""
PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}
"""The package beside fsspec that a protocol needs, as the extra `remote` has it."""
TIMES = ("LastModified", "updated", "mtime", "last_modified")
TAGS = ("ETag", "etag", "generation", "oid", "blob_id")
"""How file systems call the time of the last change, and what tells one content from another."""
DENIED = ("expired", "token", "credential", "access denied", "accessdenied", "forbidden", "unauthorized", "signature")
"""Words of a refusal that no repetition helps against."""


class RemoteState(NamedTuple):
    """What a server says of an object."""

    size: int
    """Bytes; -1 if the server does not say."""
    version: str
    """ETag, generation or time of the last change: another one means other content."""
    modified: int
    """Time of the last change, nanoseconds since 1970; 0 if unknown."""
    ranges: bool = True
    """Whether parts of it can be read."""


_known: dict[str, tuple[float, RemoteState]] = {}
"""States of objects by URL, with the time until which they hold."""


def file_system(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL and the path within it; MissingPackageError names what to install."""
    protocol = url.partition("://")[0].lower()
    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:  # the message names the missing package, or the protocol is unknown
        needs = PACKAGES.get(protocol, "fsspec")
        raise MissingPackageError(
            f"{url}: {protocol}:// needs {needs} ({' '.join(str(error).split())}); pip install 'vitascope[remote]'"
        ) from None
    return system, path


def state(url: str, *, fresh: bool = False) -> RemoteState:
    """Return the state of an object, of up to `REMEMBERED` seconds ago unless `fresh`; FileNotFoundError if absent."""
    if not fresh and (known := remembered(url)):
        return known
    system, path = file_system(url)
    system.invalidate_cache() if fresh else None
    try:
        details = repeated(url, lambda: system.info(path))
    except RemoteError:
        # a request for the state is answered without words: one for a byte says why it is refused
        repeated(url, lambda: system.cat_file(path, start=0, end=1))
        raise
    if details.get("type") == "directory":
        raise FileNotFoundError(errno.ENOENT, "a folder, not an object", url)
    found = state_of(details, protocol=url.partition("://")[0])
    remember(url, found)
    return found


def remembered(url: str) -> RemoteState | None:
    """Return the state that was kept; None if there is none that still holds."""
    until, known = _known.get(url, (0.0, None))
    return known if time.monotonic() < until else None


def remember(url: str, found: RemoteState, seconds: float = REMEMBERED) -> None:
    """Keep the state of an object for a while, as after a listing."""
    _known[url] = (time.monotonic() + seconds, found)


def state_of(details: dict[str, Any], protocol: str = "") -> RemoteState:
    """The state in the details that a file system gives of an object."""
    when = _time(next((details[k] for k in TIMES if k in details), None))
    size = details.get("size")
    tag = next((str(details[k]) for k in TAGS if details.get(k)), "")
    ranges = bool(details.get("partial", False)) if protocol in ("http", "https") else True
    return RemoteState(-1 if size is None else int(size), f"{size}:{tag.strip(chr(34)) or when}", when, ranges)


def _time(value: Any) -> int:
    """A time in nanoseconds; 0 if it is none."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value) if value[:4].isdigit() else parsedate_to_datetime(value)
        except ValueError:
            return 0
    if isinstance(value, datetime):
        return int(value.timestamp() * 1e9)
    return int(value * 1e9) if isinstance(value, int | float) else 0


def repeated(url: str, call: Callable[[], T]) -> T:
    """Call until it succeeds, a few times; RemoteError with the last cause, FileNotFoundError for what is not there."""
    cause: Exception | None = None
    for wait in WAITS:
        time.sleep(wait)
        report_alive()
        try:
            return call()
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "no such object", url) from None
        except Exception as error:  # every file system has its own
            cause = error
            if isinstance(error, UserError) or _is_denied(error):  # what no second try changes
                break
    assert cause is not None
    text = " ".join(str(cause).split()) or type(cause).__name__
    if _is_denied(cause):
        raise RemoteError(errno.EACCES, f"{url}: access is denied ({text}); renew the credentials and run this again")
    raise RemoteError(errno.ECONNRESET, f"{url}: cannot be read ({text}); run this again when the server answers")


def _is_denied(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, PermissionError) or (
        type(error).__name__ in ("ClientError", "NoCredentialsError") and any(word in text for word in DENIED)
    )


def read_range(url: str, start: int, end: int) -> bytes:
    """Return the bytes from `start` to before `end` of an object that has them."""
    system, path = file_system(url)

    def read() -> bytes:
        data = bytes(system.cat_file(path, start=start, end=end))
        if len(data) != end - start:
            raise EOFError(f"{len(data)} of the {end - start} bytes from {start} on arrived")
        return data

    return repeated(url, read) if end > start else b""


def chunks(url: str, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes from `start` to before `end` in parts."""
    for first in range(start, end, CHUNK):
        yield read_range(url, first, min(first + CHUNK, end))


def download(url: str, path: Path) -> None:
    """Write an object to `path`, all of it or RemoteError; by ranges where the server allows them."""
    for again in (False, True, True):  # a state that does not hold any more is found out afterwards
        before, failure = state(url, fresh=again), None
        try:
            _fetch(url, path, before)
        except RemoteError as error:
            failure = error
        if state(url, fresh=True).version == before.version:
            if failure:
                raise failure
            return
    raise RemoteError(errno.ECONNRESET, f"{url}: changed while it was read, three times; run this again")


def _fetch(url: str, path: Path, found: RemoteState) -> None:
    """Write an object in that state to `path`; RemoteError if it is of another size, or cannot be read."""
    if found.ranges and found.size >= 0:
        with open(path, "wb") as file:
            file.writelines(chunks(url, 0, found.size))
    else:
        repeated(url, lambda: _stream(url, path, found.size))


def _stream(url: str, path: Path, size: int) -> None:
    """Write an object to `path` from one response, from its beginning."""
    system, inside = file_system(url)
    options = {"block_size": 0} if url.startswith("http") else {}  # a stream, without asking for ranges
    with system.open(inside, "rb", **options) as source, open(path, "wb") as file:
        while data := source.read(CHUNK):
            file.write(data)
            report_alive()
        if size >= 0 and file.tell() != size:
            raise EOFError(f"{file.tell()} of {size} bytes arrived")


def read_all(url: str) -> bytes:
    """Return the content of a small object."""
    found = state(url, fresh=True)
    if found.ranges and found.size >= 0:
        return b"".join(chunks(url, 0, found.size))
    system, path = file_system(url)
    return repeated(url, lambda: bytes(system.cat_file(path)))


class _Ranges(io.RawIOBase):
    """An object as a file that is read by ranges."""

    def __init__(self, url: str, size: int) -> None:
        self.url, self.size, self.place = url, size, 0

    def readable(self) -> bool:
        """True: that is all it is for."""
        return True

    def seekable(self) -> bool:
        """True: every read is a request of its own."""
        return True

    def seek(self, place: int, whence: int = 0, /) -> int:
        """Move to a byte, from the start, from here or from the end."""
        self.place = place + (0, self.place, self.size)[whence]
        return self.place

    def tell(self) -> int:
        """The byte that is read next."""
        return self.place

    def readinto(self, buffer: Any, /) -> int:
        """Read up to as many bytes as the buffer takes."""
        end = min(self.place + min(len(buffer), CHUNK), self.size)
        data = read_range(self.url, self.place, end) if end > self.place else b""
        buffer[: len(data)] = data
        self.place += len(data)
        return len(data)


def open_ranges(url: str, ahead: int = SMALL) -> io.BufferedReader:
    """Open an object for reading parts of it, at least `ahead` bytes a request; RemoteError if the server has none."""
    found = state(url)
    if not found.ranges or found.size < 0:
        raise RemoteError(errno.EOPNOTSUPP, f"{url}: the server gives no parts of files")
    return io.BufferedReader(_Ranges(url, found.size), ahead)


def put_once(url: str, data: bytes) -> bool:
    """Write an object unless one of the name exists, atomically; return whether it was written by this call."""
    system, path = file_system(url)

    def put() -> bool:
        try:
            system.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        return True

    try:
        return repeated(url, put)
    except RemoteError as error:
        # a request that was answered with an error may have been carried out
        if "precondition" in str(error).lower() or "412" in str(error):
            return False
        raise


def fingerprint(text: str) -> str:
    """A digest of a URL or of the name of a version, for names of local files."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
