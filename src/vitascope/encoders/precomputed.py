"""Encoders known by their released embeddings alone: the embedding files of a release and its card."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.core.types import Card, Span, digest
from vitascope.encoders.catalog import cards

SAMPLE = 64
"""Videos whose vectors a digest is of."""


SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}


Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ReleasedVideo:
    """One video of the release; `path` is its json file."""

    id: str
    """The name its three files share, after that of their folder where two folders have a file of that name."""
    path: Path
    split: str
    about: Mapping[str, Any]

    @property
    def label(self) -> str:
        """As annotated: a class name or its number."""
        said = self.about.get("annotation")
        if not isinstance(said, (str, int)):
            raise UserError(f"{self.path}: no label under 'annotation'{nearest('annotation', self.about)}")
        return str(said)


@dataclass
class Release:
    """Published vectors of videos that somebody has: an encoder that knows only these, and needs no weights."""

    card: Card
    source: Path
    entries: Mapping[str, ReleasedVideo]

    def __call__(self, clips: Any, /) -> Any:
        """Always raises ValueError: these vectors are of their own videos, and there is no network."""
        raise UserError(f"{self.card.name}: published vectors know only the videos below {self.source}")

    def entry(self, example: str) -> ReleasedVideo | None:
        """What was published for an example: under its id, else under the name of its file."""
        name = Path(example).name
        return self.entries.get(example) or self.entries.get(name) or self.entries.get(Path(name).stem)


def release(card: Card, source: Path) -> Release:
    """The published vectors below `source` (release layout), made by the encoder of `card`; ValueError for none."""
    entries = distinct(list(entries_of(source)))
    if not entries:
        raise UserError(f"{source}: no <id>.json with <id>_c.npy or <id>_v.npy there, nor in train/ and val/ below")
    found = card_from(card.name, entries)
    if card.dim and found.dim != card.dim:
        raise UserError(f"{source}: vectors of {found.dim} numbers, {card.name} has {card.dim}")
    return Release(replace(card, dim=found.dim, digest=found.digest), source, {e.id: e for e in entries})


def card_from(encoder: str, entries: Sequence[ReleasedVideo]) -> Card:
    """The card of the encoder that made a release."""
    return card_of(encoder, [vectors_of(e)[1] for e in entries[:: max(1, len(entries) // SAMPLE)]])


def card_of(encoder: str, sample: Sequence[Array]) -> Card:
    """A card without pixels; its digest is of `sample`, vectors spread over the whole release.

    What is known about a model of that name is known about its vectors.
    """
    known = cards().get(encoder)
    return Card(
        name=encoder,
        digest=digest([v.tobytes().hex() for v in sample]),
        pretraining_datasets=known.pretraining_datasets if known else frozenset(),
        trained=known.trained if known else "",
        license=known.license if known else "",
        dim=sample[0].shape[-1],
        frames=0,
        size=0,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        pool="as published",
    )


def entries_of(source: Path) -> Iterator[ReleasedVideo]:
    """Every video of a release, split by split."""
    folders = (
        [d for d in sorted(source.iterdir()) if d.is_dir() and d.name.lower() in SPLITS] if source.is_dir() else []
    )
    for folder in folders or [source]:
        for path in sorted(folder.glob("*.json")):
            yield _entry(path, SPLITS[folder.name.lower()] if folders else "")


def _entry(path: Path, split: str) -> ReleasedVideo:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    if not isinstance(about, dict):
        raise UserError(f"{path}: not a table with 'annotation' and 'duration'")
    return ReleasedVideo(path.stem, path, split, about)


def distinct(entries: list[ReleasedVideo]) -> list[ReleasedVideo]:
    """`entries` under ids of their own: a release may count from zero in `train` and again in `val`."""
    if len({e.id for e in entries}) == len(entries):
        return entries
    return [replace(e, id=f"{e.path.parent.name}/{e.id}") for e in entries]


def vectors_of(entry: ReleasedVideo, dim: int | None = None) -> tuple[Array, Array, list[Span]]:
    """Clip vectors, video vector (the mean of the clips where there is no file of it), and the clips' spans."""
    path = entry.path
    clips = load_array(path.with_name(f"{path.stem}_c.npy"), 2)
    video = load_array(path.with_name(f"{path.stem}_v.npy"), 1)
    if clips is None:
        if video is None:
            raise UserError(f"{path}: neither {path.stem}_c.npy nor {path.stem}_v.npy lies beside it")
        clips = video[None]
    elif video is None:
        video = clips.mean(0)
    if clips.shape[1] != video.shape[0]:
        raise UserError(f"{path}: clips have {clips.shape[1]} numbers, the video vector {video.shape[0]}")
    if dim is not None and len(video) != dim:
        raise UserError(f"{path}: {len(video)} numbers a vector, {dim} elsewhere; one encoder at a time")
    return clips, video, _spans(entry, len(clips))


def load_array(path: Path, axes: int) -> Array | None:
    """A vector (1 axis) or vectors (2 axes) of a release; None where there is no such file."""
    if not path.exists():
        return None
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path}: not a NumPy array ({error})") from None
    values = values.squeeze(0) if values.ndim == axes + 1 and values.shape[0] == 1 else values
    if values.ndim != axes or not values.size:
        raise UserError(f"{path}: shape {values.shape}, expected {'(clips, dim)' if axes == 2 else '(dim,)'}")
    if not np.isfinite(values).all():
        raise UserError(
            f"{path}: {np.count_nonzero(~np.isfinite(values))} of {values.size} numbers are NaN or infinite"
        )
    return np.asarray(values, np.float32)


def _spans(entry: ReleasedVideo, count: int) -> list[Span]:
    """The clip times the file gives; else equal parts of the duration."""
    if times := clip_times(entry.about, count):
        return times
    duration = entry.about.get("duration") or 0.0
    if not isinstance(duration, (int, float)):
        raise UserError(f"{entry.path}: duration {duration!r} is no number of seconds")
    return [(duration * i / count, duration * (i + 1) / count) for i in range(count)]


def clip_times(about: Mapping[str, Any], count: int) -> list[Span] | None:
    """The times of `count` clips that a release's json gives, whatever it calls them; None for none."""
    for value in about.values():
        if isinstance(value, list) and len(value) == count and all(_is_span(v) for v in value):
            return [(float(v[0]), float(v[1])) for v in value]
    return None


def _is_span(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(v, (int, float)) for v in value)
