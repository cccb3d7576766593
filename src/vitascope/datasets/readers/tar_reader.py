"""Read WebDataset samples sequentially from a tar file, without extracting it and starting at any sample."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Protocol, runtime_checkable

from vitascope.core.errors import UserError
from vitascope.core.media import MEDIA_SUFFIXES
from vitascope.core.schema import parse

BLOCK = tarfile.BLOCKSIZE
NO_NOTES: Mapping[str, bytes | None] = {}
MAX_MEDIA_BYTES = 1 << 31
"""Size in bytes of the largest video or image read into memory."""
MAX_NOTE_BYTES = 1 << 20
"""Size in bytes of the largest label file or extended header."""
MAX_LABEL = 1 << 31
LABELS = ("cls", "json")


@runtime_checkable
class ByteFile(Protocol):
    """The part of a binary file's interface that shards need; fsspec's files often provide no more."""

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes."""

    def seek(self, place: int, whence: int = 0, /) -> int:
        """Move to byte `place`."""

    def __enter__(self) -> Any: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> Any: ...


class TruncatedError(UserError):
    """The archive ends or is corrupt within the member whose header is at byte `offset`."""

    def __init__(self, cause: str, offset: int, name: str = "") -> None:
        super().__init__(f"truncated: {cause} at byte {offset:,}; the samples before it are used")
        self.offset, self.name = offset, name


class Member(NamedTuple):
    """A regular file in the archive."""

    name: str
    offset: int
    """Byte position of its first header, where reading can start."""
    content: bytes | None
    """Bytes of the file; None if it was skipped."""
    start: int = 0
    """Byte position of the content."""
    size: int = 0
    """Bytes of the content."""


class Sample(NamedTuple):
    """The video or image and the label of one key, or the error that prevents reading it."""

    key: str
    offset: int
    """Byte position where reading this sample can start."""
    name: str = ""
    """Name of the video or image."""
    content: bytes | None = None
    label: int = -1
    """Class index, -1 if unlabeled."""
    error: str = ""
    place: tuple[int, int] = (0, 0)
    """The first byte of the video or image in the archive, and the byte after the last, if it is only located."""
    notes: Mapping[str, bytes | None] = NO_NOTES
    """What stands beside it, by ending (`cls`, `json`), if it is only located."""


def iter_members(file: ByteFile, start: int, wanted: Callable[[str, int], bool]) -> Iterator[Member]:
    """Yield the regular files from byte `start` on, with the content of those for which `wanted(name, size)` holds.

    Raises `TruncatedError` if the archive ends within a member or without its end mark, or is corrupt.
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
            raise TruncatedError("no valid file header", first) from None
        size = long_size if long_size >= 0 else info.size
        if size < 0:
            raise TruncatedError(f"a member of {size:,} bytes", first)
        name = long_name or info.name
        padded = -(-size // BLOCK) * BLOCK
        place += BLOCK + padded
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            if size > MAX_NOTE_BYTES:
                raise TruncatedError(f"an extended header of {size:,} bytes", first)
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
            yield Member(name, first, content, place - padded, size)
        long_name, long_size = "", -1


def _seek(file: ByteFile, place: int) -> None:
    try:
        file.seek(place)
    except Exception as error:  # of any remote file system
        raise TruncatedError(f"cannot be read ({_line(error)})", place) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _read(file: ByteFile, size: int, offset: int, name: str) -> bytes:
    """Read exactly `size` bytes of the member `name` whose header is at `offset`."""
    parts: list[bytes] = []
    left = size
    while left:
        try:
            part = file.read(left)
        except Exception as error:  # of any remote file system, or of a truncated compressed file
            raise TruncatedError(f"cannot be read ({_line(error)})", offset, name) from error
        if not part:
            cause = f"{name!r} is {left:,} bytes short" if name else "no end mark"
            raise TruncatedError(cause, offset, name)
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _records(note: bytes) -> tuple[str, int]:
    """Parse name and size from a POSIX extended header ("26 path=some/long/name\\n"...); "" and -1 if absent."""
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


def split_name(name: str) -> tuple[str, str]:
    """Split a member's name into its key and the lower-case extension.

    As in WebDataset, the key ends at the first dot of the base name; but parts between dots that begin with a digit
    belong to it, since they number samples (`scene_v1.0_0000.mp4`) rather than name what a file holds (`7.left.mp4`).
    """
    folder, slash, base = name.rpartition("/")
    parts = base.split(".")
    numbered = [i for i, p in enumerate(parts[:-1]) if p[:1].isdigit() and f".{p.lower()}" not in MEDIA_SUFFIXES]
    last = max(numbered, default=0)
    stem, extension = ".".join(parts[: last + 1]), ".".join(parts[last + 1 :])
    return f"{folder}{slash}{stem}" if parts[0] else "", extension.lower()


def _front(name: str) -> str:
    """The name of a member without its last extension."""
    return name.rpartition(".")[0]


@dataclass
class _Group:
    """Members with the same key, in archive order, of which one is a video or image."""

    key: str
    name: str
    """Key of the sample, which differs from `key` if it is not the first video of that key."""
    media: Member | None = None
    notes: list[Member] = field(default_factory=list)

    @property
    def offset(self) -> int:
        """Byte position of its first member."""
        return min(member.offset for member in (*self.notes, *([self.media] if self.media else [])))

    def parted(self, member: Member, is_media: bool) -> _Group | None:
        """The group that `member` starts; None if it belongs to this one.

        Videos of one key are samples of their own, and take the labels that are named as they are, apart from the last
        extension.
        """
        key, front = split_name(member.name)[0], _front(member.name)
        if key != self.key:
            return _Group(key, key)
        if self.media is None or front == _front(self.media.name):
            return None
        own = [_last(n.name) for n in self.notes if _front(n.name) == _front(self.media.name)]
        if not is_media and _last(member.name) not in own:
            return None
        moved = [n for n in self.notes if _front(n.name) == front]
        self.notes = [n for n in self.notes if n not in moved]
        return _Group(key, front, notes=moved)

    def located(self) -> Sample:
        """The sample of the members without the content of the video."""
        if self.media is None:
            return Sample(self.name, self.offset, error="no video or image among its files")
        place = (self.media.start, self.media.start + self.media.size)
        return Sample(self.name, self.offset, self.media.name, place=place, notes=self._notes(self.media))

    def _notes(self, media: Member) -> dict[str, bytes | None]:
        """What stands beside the video or image, by ending."""
        notes = {split_name(n.name)[1]: n.content for n in self.notes}
        return notes | {_last(n.name)[1:]: n.content for n in self.notes if _front(n.name) == _front(media.name)}

    def sample(self, labeled: bool) -> Sample:
        """The sample of the members."""
        if self.media is None or self.media.content is None:
            problem = f"larger than {MAX_MEDIA_BYTES:,} bytes" if self.media else "no video or image among its files"
            return Sample(self.name, self.offset, error=problem)
        notes = self._notes(self.media)
        try:
            label = _label(notes) if labeled else -1
        except UserError as error:
            return Sample(self.name, self.offset, error=str(error))
        return Sample(self.name, self.offset, self.media.name, self.media.content, label)


def _label(notes: dict[str, bytes | None]) -> int:
    """Read the class index from `.cls`, or from "label" or "cls" in `.json`; -1 if neither is present."""
    text: object = (notes.get("cls") or b"").decode(errors="replace").strip()
    if not text and notes.get("json"):
        try:
            metadata = parse(notes["json"] or b"")
        except UserError as error:
            raise UserError(f"its .json is {error}") from None
        text = metadata.get("label", metadata.get("cls", "")) if isinstance(metadata, dict) else ""
    try:
        label = int(str(text)) if text != "" else -1
    except ValueError:
        raise UserError(f"label {text!r:.60} is not an integer") from None
    if not -1 <= label < MAX_LABEL:
        raise UserError(f"label {label} is not a class index, 0 to {MAX_LABEL - 1}")
    return label


def iter_samples(
    file: ByteFile, start: int, extensions: frozenset[str], *, labeled: bool, located: bool = False
) -> Iterator[Sample]:
    """Yield the samples from byte `start` on; their video or image has one of the `extensions` (".mp4").

    A sample without one, or with an invalid label, carries an error; a truncated file ends with an error without key.
    Samples that are only `located` come without content and label, but with their place and what stands beside them.
    """

    def wanted(name: str, size: int) -> bool:
        return (size <= MAX_MEDIA_BYTES and _last(name) in extensions and not located) or (
            labeled and _last(name)[1:] in LABELS and size <= MAX_NOTE_BYTES
        )

    def finished(group: _Group) -> Sample:
        return group.located() if located else group.sample(labeled)

    group: _Group | None = None
    truncation: TruncatedError | None = None
    try:
        for member in iter_members(file, start, wanted):
            if not (key := split_name(member.name)[0]):
                continue
            is_media = _last(member.name) in extensions
            following = group.parted(member, is_media) if group else _Group(key, key)
            if group and following:
                yield finished(group)
            group = following or group
            assert group
            if not is_media:
                group.notes.append(member)
            elif group.media is None:
                group.media = member
    except TruncatedError as error:
        truncation = error
    torn = Member(truncation.name, truncation.offset, None) if truncation else None
    following = group.parted(torn, _last(torn.name) in extensions) if group and torn else None
    # what stands last before a cut may lack its label, or the end of its video, which is passed over unread
    if group and (torn is None or (following and not located)):
        yield finished(group)
    if torn:
        first = following or group
        offset = first.offset if first and (first.media or first.notes) else torn.offset
        yield Sample("", offset, error=str(truncation))


def _last(name: str) -> str:
    """The last extension of a name, lower case with the dot."""
    return f".{name.rpartition('.')[2].lower()}"
