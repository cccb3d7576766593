"""Published embeddings: evaluated with no video and no encoder.

The TWLV-I release keeps three files a video: `<id>.json` (label, duration, clip times), `<id>_c.npy` (clips x dim) and
`<id>_v.npy` (dim), in `train/` and `val/` or in one folder. Importing them makes a folder with `dataset.json` and a
store.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from vitascope import catalogue, dataset_file, files
from vitascope.sampling import MultiClip, Sampler
from vitascope.split import check_labels, folds_of
from vitascope.store import Embedded, Key, Store
from vitascope.types import Card, Clip, Dataset, Example, Span, Video, digest, nearest

What: TypeAlias = Literal["clips", "video"]
DATASET = "dataset.json"
STORE = "store"
BLOCK = 4096
SAMPLE = 64
"""Videos whose vectors a digest is of."""
ALIKE = 0.005
"""Of a window or a stride that videos may differ by and still have the same."""
MOST_CLASSES = 100_000
"""Numbers from here on are taken for names, not for places in a list of classes."""
SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}
WHATS: tuple[What, ...] = ("clips", "video")
Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Published:
    """Stands where a sampler would: these vectors were made elsewhere, of clips that were chosen elsewhere."""

    what: What

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """Always raises ValueError: there is nothing to look at."""
        raise ValueError(f"{video.path}: published embeddings come without video; evaluate them as they are")


def stands_for(sampler: Sampler) -> What:
    """What of published embeddings answers a probe that asked for `sampler`: each clip, or one vector a video."""
    if isinstance(sampler, Published):
        return sampler.what
    return "clips" if isinstance(sampler, MultiClip) else "video"


@dataclass(frozen=True)
class Entry:
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
            raise ValueError(f"{self.path}: no label under 'annotation'{nearest('annotation', self.about)}")
        return str(said)


@dataclass
class Release:
    """Published vectors of videos that somebody has: an encoder that knows only these, and needs no weights."""

    card: Card
    source: Path
    entries: Mapping[str, Entry]

    def __call__(self, clips: Any, /) -> Any:
        """Always raises ValueError: these vectors are of their own videos, and there is no network."""
        raise ValueError(f"{self.card.name}: published vectors know only the videos below {self.source}")

    def entry(self, example: str) -> Entry | None:
        """What was published for an example: under its id, else under the name of its file."""
        name = Path(example).name
        return self.entries.get(example) or self.entries.get(name) or self.entries.get(Path(name).stem)


def release(card: Card, source: Path) -> Release:
    """The published vectors below `source` (release layout), made by the encoder of `card`; ValueError for none."""
    entries = _distinct(list(_entries(source)))
    if not entries:
        raise ValueError(f"{source}: no <id>.json with <id>_c.npy or <id>_v.npy there, nor in train/ and val/ below")
    found = _card(card.name, entries)
    if card.dim and found.dim != card.dim:
        raise ValueError(f"{source}: vectors of {found.dim} numbers, {card.name} has {card.dim}")
    return Release(replace(card, dim=found.dim, digest=found.digest), source, {e.id: e for e in entries})


def pour(release: Release, dataset: Dataset[Any], store: Store, what: What) -> dict[str, str]:
    """Put the published vectors of `dataset` into `store`; returns {example: why it has none}.

    Only what the store lacks is read.
    """
    store.create()
    known = store.status()
    lacking: dict[str, str] = {}
    taken: dict[str, str] = {}
    for start in range(0, len(dataset.examples), BLOCK):
        block: list[Embedded] = []
        for example in dataset.examples[start : start + BLOCK]:
            entry = release.entry(example.id)
            if entry is None:
                lacking[example.id] = f"not among the {len(release.entries)} published below {release.source}"
                continue
            other = taken.setdefault(entry.id, example.id)
            if other != example.id:
                raise ValueError(
                    f"{dataset.name}: {other} and {example.id} would both be {entry.id} of {release.source}; "
                    "give them the published ids in a manifest.csv"
                )
            if example.id not in known:
                block.append(_embedded(example.id, entry, what, release.card.dim))
        if block:
            store.add(digest([e.example for e in block]), block)
    store.seal()
    return lacking


def _embedded(example: str, entry: Entry, what: What, dim: int) -> Embedded:
    clips, video, spans = _vectors(entry, dim)
    if what == "clips":
        return Embedded(example, clips, spans, [""] * len(clips))
    return Embedded(example, video[None], [(spans[0][0], spans[-1][1])], [""])


def import_twelvelabs(
    source: Path, out: Path, *, encoder: str, name: str = "", classes: Sequence[str] = ()
) -> Dataset[int]:
    """Read the release layout below `source` into folder `out`; raises ValueError naming the file that does not fit."""
    entries = _distinct(list(_entries(source)))
    if not entries:
        raise ValueError(f"{source}: no <id>.json with <id>_c.npy or <id>_v.npy there, nor in train/ and val/ below")
    names = _class_names(entries, classes, source)
    number = {label: i for i, label in enumerate(names)}
    examples = tuple(Example(id=e.id, path="", truth=_index(e, number, names)) for e in entries)
    folds = folds_of(examples, [e.split for e in entries], names, where=str(source))
    check_labels(examples, folds, names, where=str(source))
    card = _card(encoder, entries)
    dataset = Dataset(
        name=name or source.resolve().name,
        examples=examples,
        classes=names,
        folds=folds,
        cards=(card,),
        store=str(out / STORE),
    )
    with files.making(out) as partial:
        _write(partial, dataset, entries)
    return dataset


def _card(encoder: str, entries: Sequence[Entry]) -> Card:
    """Of the encoder of a release."""
    return card_of(encoder, [_vectors(e)[1] for e in entries[:: max(1, len(entries) // SAMPLE)]])


def card_of(encoder: str, sample: Sequence[Array]) -> Card:
    """A card without pixels; its digest is of `sample`, vectors spread over the whole release.

    What is known about a model of that name is known about its vectors.
    """
    known = catalogue.cards().get(encoder)
    return Card(
        name=encoder,
        digest=digest([v.tobytes().hex() for v in sample]),
        saw=known.saw if known else frozenset(),
        trained=known.trained if known else "",
        licence=known.licence if known else "",
        dim=sample[0].shape[-1],
        frames=0,
        size=0,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        pool="as published",
    )


def _write(folder: Path, dataset: Dataset[int], entries: Sequence[Entry]) -> None:
    stores = {what: Store(folder / STORE, key_of(dataset, what)) for what in WHATS}
    for store in stores.values():
        store.create()
    for start in range(0, len(entries), BLOCK):
        for what, store in stores.items():
            block = [_embedded(e.id, e, what, dataset.cards[0].dim) for e in entries[start : start + BLOCK]]
            store.add(f"{start:012d}", block)
    for store in stores.values():
        store.seal()
    dataset_file.write(folder / DATASET, dataset)


def key_of(dataset: Dataset[Any], what: What) -> Key:
    """Where the vectors of published embeddings are kept."""
    return Key(dataset=dataset.name, card=dataset.cards[0], sampler=Published(what), reduce="clip", pipeline=0)


def given(dataset: Dataset[Any]) -> Sampler:
    """The windows that the clip vectors of published embeddings were made with, by their times; `Published` where these
    differ from video to video, as where each has as many.
    """
    shelf = Store(Path(dataset.store), key_of(dataset, "clips")).shelf([e.id for e in dataset.examples][:SAMPLE])
    each = [shelf.spans[a:b] for a, b in pairwise(shelf.first.tolist()) if b - a > 1]
    strides = np.array([np.median(np.diff(spans[:, 0])) for spans in each])
    seconds = np.array([np.median(np.diff(spans, axis=1)) for spans in each])
    alike = len(each) and all(np.ptp(of) <= ALIKE * np.median(of) for of in (strides, seconds))
    if not alike:
        return Published("clips")
    return MultiClip(*(round(float(np.median(of)), 4) for of in (seconds, strides)))


def open_published(folder: Path) -> Dataset[Any]:
    """The dataset of a folder that an import made."""
    return dataset_file.read(folder / DATASET, store=folder / STORE)


def _entries(source: Path) -> Iterator[Entry]:
    folders = (
        [d for d in sorted(source.iterdir()) if d.is_dir() and d.name.lower() in SPLITS] if source.is_dir() else []
    )
    for folder in folders or [source]:
        for path in sorted(folder.glob("*.json")):
            yield _entry(path, SPLITS[folder.name.lower()] if folders else "")


def _entry(path: Path, split: str) -> Entry:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    if not isinstance(about, dict):
        raise ValueError(f"{path}: not a table with 'annotation' and 'duration'")
    return Entry(path.stem, path, split, about)


def _distinct(entries: list[Entry]) -> list[Entry]:
    """`entries` under ids of their own: a release may count from zero in `train` and again in `val`."""
    if len({e.id for e in entries}) == len(entries):
        return entries
    return [replace(e, id=f"{e.path.parent.name}/{e.id}") for e in entries]


def _vectors(entry: Entry, dim: int | None = None) -> tuple[Array, Array, list[Span]]:
    """Clip vectors, video vector (the mean of the clips where there is no file of it), and the clips' spans."""
    path = entry.path
    clips = _load(path.with_name(f"{path.stem}_c.npy"), 2)
    video = _load(path.with_name(f"{path.stem}_v.npy"), 1)
    if clips is None:
        if video is None:
            raise ValueError(f"{path}: neither {path.stem}_c.npy nor {path.stem}_v.npy lies beside it")
        clips = video[None]
    elif video is None:
        video = clips.mean(0)
    if clips.shape[1] != video.shape[0]:
        raise ValueError(f"{path}: clips have {clips.shape[1]} numbers, the video vector {video.shape[0]}")
    if dim is not None and len(video) != dim:
        raise ValueError(f"{path}: {len(video)} numbers a vector, {dim} elsewhere; one encoder at a time")
    return clips, video, _spans(entry, len(clips))


def _load(path: Path, axes: int) -> Array | None:
    if not path.exists():
        return None
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path}: not a NumPy array ({error})") from None
    values = values.squeeze(0) if values.ndim == axes + 1 and values.shape[0] == 1 else values
    if values.ndim != axes or not values.size:
        raise ValueError(f"{path}: shape {values.shape}, expected {'(clips, dim)' if axes == 2 else '(dim,)'}")
    if not np.isfinite(values).all():
        raise ValueError(
            f"{path}: {np.count_nonzero(~np.isfinite(values))} of {values.size} numbers are NaN or infinite"
        )
    return np.asarray(values, np.float32)


def _spans(entry: Entry, count: int) -> list[Span]:
    """The clip times the file gives; else equal parts of the duration."""
    if times := clip_times(entry.about, count):
        return times
    duration = entry.about.get("duration") or 0.0
    if not isinstance(duration, (int, float)):
        raise ValueError(f"{entry.path}: duration {duration!r} is no number of seconds")
    return [(duration * i / count, duration * (i + 1) / count) for i in range(count)]


def clip_times(about: Mapping[str, Any], count: int) -> list[Span] | None:
    """The times of `count` clips that a release's json gives, whatever it calls them; None for none."""
    for value in about.values():
        if isinstance(value, list) and len(value) == count and all(_is_span(v) for v in value):
            return [(float(v[0]), float(v[1])) for v in value]
    return None


def _is_span(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(v, (int, float)) for v in value)


def _class_names(entries: Sequence[Entry], classes: Sequence[str], source: Path) -> tuple[str, ...]:
    labels = {e.label for e in entries}
    if len(labels) < 2:
        raise ValueError(f"{source}: only one class, {next(iter(labels))!r}; two are needed to tell apart")
    if classes:
        return tuple(classes)
    if all(map(_is_number, labels)):
        largest = max(map(int, labels))
        return tuple(map(str, range(largest + 1))) if largest < MOST_CLASSES else tuple(sorted(labels, key=int))
    return tuple(sorted(labels))


def _is_number(label: str) -> bool:
    return label.isascii() and label.isdecimal()


def _index(entry: Entry, number: Mapping[str, int], names: Sequence[str]) -> int:
    if entry.label in number:
        return number[entry.label]
    if _is_number(entry.label) and int(entry.label) < len(names):
        return int(entry.label)
    raise ValueError(
        f"{entry.path}: label {entry.label!r} is not among the {len(names)} classes{nearest(entry.label, names)}"
    )
