"""WebDataset samples out of a tar file read from front to back: nothing is extracted, any sample can be begun at."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from vitascope.core.errors import UserError
from vitascope.pretrain.data.shard_urls import Bytes

BLOCK = tarfile.BLOCKSIZE
LARGEST = 1 << 31
"""Bytes of the largest video that is read into memory."""
NOTE = 1 << 20
"""Bytes of the largest label file or extended header."""
LABELS = ("cls", "json")


class TornError(UserError):
    """The file ends, or stops making sense, within the member whose header is at `offset`."""

    def __init__(self, cause: str, offset: int, name: str = "") -> None:
        super().__init__(f"cut short: {cause} at byte {offset:,}; what is whole before it is used")
        self.offset, self.name = offset, name


class Member(NamedTuple):
    """A regular file of the archive."""

    name: str
    offset: int
    """Of its first header, where reading can begin."""
    content: bytes | None
    """None where it was not wanted."""


class Sample(NamedTuple):
    """The members with one key, as far as they matter here; or a flaw in their place."""

    key: str
    offset: int
    """Where reading it again can begin."""
    name: str = ""
    """Of the video or picture."""
    content: bytes | None = None
    label: int = -1
    flaw: str = ""


def members(file: Bytes, start: int, wanted: Callable[[str, int], bool]) -> Iterator[Member]:
    """The regular files from byte `start` on, with the content of those for which `wanted(name, bytes)`.

    Raises `TornError` where the archive ends without its mark, within a member, or in nonsense.
    """
    place = first = start
    long_name, long_size = "", -1
    _seek(file, start)
    while True:
        if not (long_name or long_size >= 0):
            first = place
        header = _read(file, BLOCK, first, long_name)
        if header == bytes(BLOCK):
            return
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            raise TornError("no header of a file", first) from None
        size = long_size if long_size >= 0 else info.size
        name = long_name or info.name
        padded = -(-size // BLOCK) * BLOCK
        place += BLOCK + padded
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            if size > NOTE:
                raise TornError(f"an extended header of {size:,} bytes", first)
            note = _read(file, padded, first, name)[:size]
            if info.type == tarfile.GNUTYPE_LONGNAME:
                long_name = _text(note.rstrip(b"\0"))
            else:
                long_name, long_size = _records(note)
            continue
        content = None
        if info.isreg() and wanted(name, size):
            content = _read(file, padded, first, name)[:size]
        else:
            _seek(file, place)
        if info.isreg():
            yield Member(name, first, content)
        long_name, long_size = "", -1


def _seek(file: Bytes, place: int) -> None:
    try:
        file.seek(place)
    except Exception as error:  # of any remote file system
        raise TornError(f"cannot be read ({_line(error)})", place) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _read(file: Bytes, size: int, offset: int, name: str) -> bytes:
    """Exactly `size` bytes for the member `name` whose header is at `offset`."""
    parts: list[bytes] = []
    left = size
    while left:
        try:
            part = file.read(left)
        except Exception as error:  # of any remote file system, or of a torn compressed file
            raise TornError(f"cannot be read ({_line(error)})", offset, name) from error
        if not part:
            what = f"{name!r} lacks {left:,} bytes" if name else "no end mark"
            raise TornError(what, offset, name)
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _records(note: bytes) -> tuple[str, int]:
    """Name and size in a POSIX extended header ("26 path=some/long/name\\n"...); "" and -1 where it says none."""
    name, size = "", -1
    while note:
        length, _, _ = note.partition(b" ")
        if not length.isdigit() or not 0 < int(length) <= len(note):
            break
        key, _, value = note[len(length) + 1 : int(length) - 1].partition(b"=")
        if key == b"path":
            name = _text(value)
        elif key == b"size" and value.isdigit():
            size = int(value)
        note = note[int(length) :]
    return name, size


def split(name: str) -> tuple[str, str]:
    """Key and ending of a member: the name up to the first dot of its last part, and what follows, in lower case."""
    folder, slash, base = name.rpartition("/")
    stem, _, ending = base.partition(".")
    return f"{folder}{slash}{stem}" if stem else "", ending.lower()


@dataclass
class _Group:
    """The members of one key, as they come."""

    key: str
    offset: int
    media: dict[str, bytes | None] = field(default_factory=dict)
    notes: dict[str, bytes | None] = field(default_factory=dict)

    def sample(self, labeled: bool) -> Sample:
        name, content = next(iter(self.media.items()), ("", None))
        if content is None:
            flaw = f"larger than {LARGEST:,} bytes" if name else "no video or picture among its files"
            return Sample(self.key, self.offset, flaw=flaw)
        try:
            label = _label(self.notes) if labeled else -1
        except ValueError as error:
            return Sample(self.key, self.offset, flaw=str(error))
        return Sample(self.key, self.offset, name, content, label)


def _label(notes: dict[str, bytes | None]) -> int:
    """The whole number in `.cls`, or in the "label" or "cls" of `.json`; -1 where neither is there."""
    text: object = (notes.get("cls") or b"").decode(errors="replace").strip()
    if not text and notes.get("json"):
        try:
            told = json.loads(notes["json"] or b"")
        except ValueError:
            raise UserError("its .json is no JSON") from None
        text = told.get("label", told.get("cls", "")) if isinstance(told, dict) else ""
    try:
        return int(str(text)) if text != "" else -1
    except ValueError:
        raise UserError(f"label {text!r} is not a whole number") from None


def samples(file: Bytes, start: int, endings: frozenset[str], *, labeled: bool) -> Iterator[Sample]:
    """The samples from byte `start` on, whose video or picture has one of `endings` (".mp4").

    A sample without one, or with a label that is none, has a flaw; where the file is cut short, the last one is a flaw
    with no key.
    """

    def wanted(name: str, size: int) -> bool:
        ending = split(name)[1]
        return (size <= LARGEST and _last(ending) in endings) or (labeled and ending in LABELS and size <= NOTE)

    group: _Group | None = None
    torn: TornError | None = None
    try:
        for member in members(file, start, wanted):
            key, ending = split(member.name)
            if not key:
                continue
            if group and group.key != key:
                yield group.sample(labeled)
                group = None
            group = group or _Group(key, member.offset)
            if _last(ending) in endings:
                group.media[member.name] = member.content
            else:
                group.notes[ending] = member.content
    except TornError as error:
        torn = error
    within = torn is not None and group is not None and split(torn.name)[0] == group.key
    if group and not within:
        yield group.sample(labeled)
    if torn:
        yield Sample("", group.offset if group and within else torn.offset, flaw=str(torn))


def _last(ending: str) -> str:
    return f".{ending.rpartition('.')[2]}"
