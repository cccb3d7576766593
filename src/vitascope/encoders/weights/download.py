"""Official weights from where they are published: the hub at one revision, an address, else words on what to do."""

from __future__ import annotations

import errno
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from io import BufferedWriter
from pathlib import Path
from typing import Any

import huggingface_hub
from filelock import FileLock
from huggingface_hub import constants, errors

from vitascope.core import files
from vitascope.core.errors import UserError
from vitascope.core.files import cache
from vitascope.encoders.spec import WeightSource

SECONDS = 10
"""How long a server may stay silent."""
TRIES = 5
"""Connections for one file; each goes on where the last broke off."""
CHUNK = 1 << 20


def fetch(source: WeightSource, *, name: str, license: str) -> Path:
    """The file of `source` for the model `name`: as kept from before, without a word, else downloaded.

    Before a download, what comes from where under which `license` is said on stderr. ValueError, one line, where there
    is no way to it: which file to get, from where, and how to name it then.
    """
    if source.repo:
        return _hub(source, name, license)
    if source.url:
        return _address(source, name, license)
    raise unreachable(source, name, "it is not offered for direct download")


def unreachable(source: WeightSource, name: str, why: str, *, terms: bool = False) -> UserError:
    """The error for a file that could not be fetched, and how else to come by it."""
    file = source.file.rpartition("/")[2]
    page = page_of(source)
    where = f" from {page}" if page else ""
    if terms:
        how = f"accept its terms at {page}, then run `hf auth login`; or get the file there and say {name}=PATH"
    else:
        how = f"get it{where} and say {name}=PATH"
    return UserError(f"{name} needs {file} ({why}): {how}")


def page_of(source: WeightSource) -> str:
    """Where a person finds the file."""
    return source.page or (f"https://huggingface.co/{source.repo}" if source.repo else source.url)


def announce(name: str, source: WeightSource, license: str, size: int | None) -> None:
    """One line on stderr before a download."""
    file = source.file.rpartition("/")[2]
    much = f", {size / 1e6:.0f} MB" if size else ""
    where = f"{source.repo} on the hub" if source.repo else urllib.parse.urlsplit(source.url).netloc
    terms = license or "not known"
    print(
        f"{name}: downloading {file}{much} from {where}; license of the weights: {terms}", file=sys.stderr, flush=True
    )


def _hub(source: WeightSource, name: str, license: str) -> Path:
    """The file, and every shard of an index, in the hub's own cache."""
    try:
        path = _kept(source, source.file)
        if path is None:
            announce(name, source, license, _size(source))
            path = _download(source, source.file)
        if path.name.endswith(".index.json"):
            folder = source.file.rpartition("/")[0]
            for shard in sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())):
                file = f"{folder}/{shard}".strip("/")
                if _kept(source, file) is None:
                    _download(source, file)
        return path
    except Exception as error:  # the hub's errors share no base, and its connections have their own
        raise _explained(source, name, error) from error


def _kept(source: WeightSource, file: str) -> Path | None:
    try:
        return Path(_download(source, file, local_files_only=True))
    except errors.LocalEntryNotFoundError:
        return None


def _download(source: WeightSource, file: str, **how: Any) -> Path:
    revision = source.revision or None
    return Path(huggingface_hub.hf_hub_download(source.repo, file, revision=revision, etag_timeout=SECONDS, **how))


def _size(source: WeightSource) -> int | None:
    """Bytes of the file. It is asked for once, where a download would try for half a minute without a network."""
    url = huggingface_hub.hf_hub_url(source.repo, source.file, revision=source.revision or None)
    return huggingface_hub.get_hf_file_metadata(url, timeout=SECONDS).size


def _explained(source: WeightSource, name: str, error: Exception) -> UserError:
    """The error of a download from the hub, with the remedy; of several kinds that fit, the most telling first."""
    at = f"{source.repo} on the hub"
    lost = isinstance(error, errors.RepositoryNotFoundError)  # what a gated one is for those without a token
    if isinstance(error, errors.GatedRepoError) or (lost and source.gated):
        return unreachable(source, name, f"{at} is gated", terms=True)
    if lost:
        return unreachable(source, name, f"{at} is not there, or not open to you: `hf auth login` if you may read it")
    if isinstance(error, errors.RevisionNotFoundError):
        return unreachable(source, name, f"{at} has no revision {source.revision}")
    if constants.HF_HUB_OFFLINE or isinstance(error, errors.OfflineModeIsEnabled):
        return unreachable(source, name, "HF_HUB_OFFLINE is set and it was not downloaded before")
    if isinstance(error, errors.LocalEntryNotFoundError):
        return unreachable(source, name, f"no network: {_first(error.__cause__ or error)}")
    if re.search("Connect|Timeout", type(error).__name__):  # httpx and requests name them alike
        return unreachable(source, name, f"no network: {_first(error)}")
    if isinstance(error, errors.EntryNotFoundError):
        return unreachable(source, name, f"{at} has no {source.file} at {source.revision or 'its main revision'}")
    return unreachable(source, name, _first(error))


def _address(source: WeightSource, name: str, license: str) -> Path:
    """The file at a direct address, below our own cache under the address's name."""
    parts = urllib.parse.urlsplit(source.url)
    path = cache() / "weights" / parts.netloc.replace(":", "-") / parts.path.strip("/")
    if path.is_file():
        return path
    if constants.HF_HUB_OFFLINE:
        raise unreachable(source, name, "HF_HUB_OFFLINE is set and it was not downloaded before")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if not path.is_file():
                _receive(source, path, name, license)
    except (OSError, HTTPException) as error:
        raise unreachable(source, name, _first(error)) from error
    return path


def _receive(source: WeightSource, path: Path, name: str, license: str) -> None:
    """Write the answer of an address to `path`, which is whole or not there; a broken connection is taken up again."""
    with files.replacing(path) as aside, open(aside, "wb") as file, _ask(source.url) as answer:
        total, mark = _promised(answer.headers), answer.headers.get("ETag") or ""
        announce(name, source, license, total)
        library: Any = huggingface_hub.utils
        with library.tqdm(total=total, unit="B", unit_scale=True, desc=path.name, disable=None) as bar:
            whole = _copied(answer, file, total, bar)
            for _ in range(TRIES):
                if whole:
                    break
                with _ask(source.url, file.tell(), mark) as rest:
                    if rest.status != 206:  # all of it, whatever was asked
                        file.seek(0)
                        file.truncate()
                        bar.reset()
                    whole = _copied(rest, file, total, bar)
        if not whole:
            raise OSError(f"the connection broke off after {file.tell()} of {total or '?'} bytes, {TRIES + 1} times")


def _ask(url: str, start: int = 0, mark: str = "") -> Any:
    """The answer of a server, from byte `start` on if the file still bears `mark` (its ETag)."""
    headers = {"User-Agent": "vitascope"}
    if start and mark:
        headers |= {"Range": f"bytes={start}-", "If-Range": mark}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SECONDS)
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise
    if answer.headers.get_content_type() == "text/html":
        answer.close()
        raise OSError(errno.EPROTO, "a web page came instead of the file")
    return answer


def _promised(headers: Any) -> int | None:
    length = headers.get("Content-Length") or ""
    return int(length) if length.isdecimal() else None


def _copied(answer: Any, file: BufferedWriter, total: int | None, bar: Any) -> bool:
    """Whether all that a server promised has come."""
    try:
        while chunk := answer.read(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
    except (ConnectionError, TimeoutError, HTTPException):
        return False
    return total is None or file.tell() == total


def _first(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return f"no network: {error.reason}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    said = str(error).strip().splitlines()
    return said[0] if said else type(error).__name__
