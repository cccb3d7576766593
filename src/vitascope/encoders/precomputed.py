"""Released embeddings of an encoder whose weights are not public: reading the files of a release, and its card."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vitascope.core import files
from vitascope.core.arrays import map_array
from vitascope.core.errors import UserError
from vitascope.core.media import kind_of
from vitascope.core.names import NameIndex, canonical, split_of
from vitascope.core.text import nearest
from vitascope.core.types import Card, Span, digest
from vitascope.encoders.catalog import cards

SAMPLE = 64
"""Number of videos whose vectors enter the digest."""
MAX_SECONDS = 1e12
"""Largest value accepted as a time in a video, seconds."""

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ReleasedVideo:
    """One video of a release."""

    id: str
    """Common name of its three files, preceded by that of their folder if it occurs in two folders."""
    path: Path
    """Its JSON file."""
    split: str
    about: Mapping[str, Any]
    """Content of the JSON file."""

    @property
    def label(self) -> str:
        """The annotated class name or number."""
        annotation = self.about.get("annotation")
        if not isinstance(annotation, (str, int)):
            raise UserError(f"{self.path}: no label under 'annotation'{nearest('annotation', self.about)}")
        return canonical(str(annotation))

    @property
    def group(self) -> str | None:
        """The recording that its JSON file names under `group`, if it does."""
        group = self.about.get("group")
        return None if group is None else canonical(str(group))

    @property
    def array(self) -> Path:
        """One of its arrays: that of its clips, else that of the video."""
        clips = self.path.with_name(f"{self.path.stem}_c.npy")
        return clips if clips.exists() else self.path.with_name(f"{self.path.stem}_v.npy")


@dataclass
class Release:
    """An encoder without a network: the released embeddings of a set of videos."""

    card: Card
    source: Path
    entries: Mapping[str, ReleasedVideo]

    def __call__(self, clips: Any, /) -> Any:
        """Always raises `UserError`, since there is no network to encode other videos."""
        raise UserError(f"{self.card.name}: only the videos of the release below {self.source} have embeddings")

    def entry(self, example: str) -> ReleasedVideo | None:
        """The released video of an example, looked up by id, then by file name; None if it is not in the release."""
        name = Path(example).name
        bare = os.path.splitext(name)[0] if kind_of(name) else name
        found = next((n for n in (example, name, bare) if n in self.entries), None)
        found = found or self.names.find(example) or self.names.find(bare)
        return self.entries[found] if found else None

    @cached_property
    def names(self) -> NameIndex:
        """The ids of the release, to be looked up."""
        return NameIndex(self.entries)


def release(card: Card, source: Path) -> Release:
    """Open the release below `source`, made by the encoder of `card`; `UserError` if there are no embeddings."""
    entries = unique_entries(list(read_entries(source)))
    if not entries:
        raise UserError(f"{source}: no <id>.json with <id>_c.npy or <id>_v.npy in it or in its train/ and val/")
    sampled = card_from(card.name, entries)
    if card.dim and sampled.dim != card.dim:
        raise UserError(f"{source}: vectors of dimension {sampled.dim}, but {card.name} has {card.dim}")
    return Release(replace(card, dim=sampled.dim, digest=sampled.digest), source, {e.id: e for e in entries})


def card_from(encoder: str, entries: Sequence[ReleasedVideo]) -> Card:
    """The card of the encoder that made a release."""
    return card_of(encoder, [vectors_of(e)[1] for e in entries[:: max(1, len(entries) // SAMPLE)]])


def card_of(encoder: str, sample: Sequence[Array]) -> Card:
    """The card of released embeddings: no input, and a digest of `sample`, vectors spread over the whole release.

    License and pretraining data are those of the published model of that name, if there is one.
    """
    published = cards().get(encoder)
    return Card(
        name=encoder,
        digest=digest([v.tobytes().hex() for v in sample]),
        pretraining_datasets=published.pretraining_datasets if published else frozenset(),
        trained=published.trained if published else "",
        license=published.license if published else "",
        dim=sample[0].shape[-1],
        frames=0,
        size=0,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        pool="as published",
    )


def read_entries(source: Path) -> Iterator[ReleasedVideo]:
    """The videos of a release, split by split."""
    folders = [d for d in sorted(source.iterdir()) if d.is_dir() and split_of(d.name)] if source.is_dir() else []
    for folder in folders or [source]:
        for path in sorted(folder.glob("*.json")):
            yield _entry(path, split_of(folder.name) if folders else "")


def _entry(path: Path, split: str) -> ReleasedVideo:
    about = files.read_json(path, "download it again", dict[str, Any])
    return ReleasedVideo(path.stem, path, split, about)


def unique_entries(entries: list[ReleasedVideo]) -> list[ReleasedVideo]:
    """`entries` with unique ids: numbering may start from zero in both `train` and `val`."""
    if len({e.id for e in entries}) == len(entries):
        return entries
    return [replace(e, id=f"{e.path.parent.name}/{e.id}") for e in entries]


def vectors_of(entry: ReleasedVideo, dim: int | None = None) -> tuple[Array, Array, list[Span]]:
    """The clip vectors, the video vector (by default the mean of the clips), and the spans of the clips in seconds."""
    path = entry.path
    clips = load_array(path.with_name(f"{path.stem}_c.npy"), 2)
    video = load_array(path.with_name(f"{path.stem}_v.npy"), 1)
    if clips is None:
        if video is None:
            raise UserError(f"{path}: neither {path.stem}_c.npy nor {path.stem}_v.npy is beside it")
        clips = video[None]
    elif video is None:
        video = clips.mean(0)
    if clips.shape[1] != video.shape[0]:
        raise UserError(f"{path}: clip vectors of dimension {clips.shape[1]}, but video vector of {video.shape[0]}")
    if dim is not None and len(video) != dim:
        raise UserError(f"{path}: vectors of dimension {len(video)}, but {dim} elsewhere; import one encoder at a time")
    return clips, video, _spans(entry, len(clips))


def load_array(path: Path, axes: int) -> Array | None:
    """An array of a release with `axes` axes (1: vector, 2: vectors); None if the file does not exist."""
    if not path.exists():
        return None
    values = map_array(path, "download it again")
    values = values.squeeze(0) if values.ndim == axes + 1 and values.shape[0] == 1 else values
    if values.ndim != axes or not values.size or values.dtype.kind not in "fiu":
        raise UserError(
            f"{path}: {values.dtype} of shape {values.shape}, expected {'(clips, dim)' if axes == 2 else '(dim,)'}"
        )
    if not np.isfinite(values).all():
        raise UserError(f"{path}: {np.count_nonzero(~np.isfinite(values))} of {values.size} values are NaN or infinite")
    return np.asarray(values, np.float32)


def _spans(entry: ReleasedVideo, count: int) -> list[Span]:
    """The spans of the clips as given in the file, otherwise equal parts of the duration."""
    if times := clip_times(entry.about, count):
        return times
    duration = entry.about.get("duration") or 0.0
    if not _is_time(duration):
        raise UserError(f"{entry.path}: duration {duration!r} is not a number of seconds")
    return [(duration * i / count, duration * (i + 1) / count) for i in range(count)]


def clip_times(about: Mapping[str, Any], count: int) -> list[Span] | None:
    """The spans of `count` clips from the JSON data of a release, under any key; None if there are none."""
    for value in about.values():
        if isinstance(value, list) and len(value) == count and all(_is_span(v) for v in value):
            return [(float(v[0]), float(v[1])) for v in value]
    return None


def _is_span(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_time, value))


def _is_time(value: Any) -> bool:
    """True if `value` is plausible as a time in seconds, unlike an integer of hundreds of digits."""
    return isinstance(value, (int, float)) and abs(value) < MAX_SECONDS
