"""Published embeddings: evaluated with no video and no encoder.

The TWLV-I release keeps three files a video: `<id>.json` (label, duration, clip times), `<id>_c.npy` (clips x dim) and
`<id>_v.npy` (dim), in `train/` and `val/` or in one folder. Importing them makes a folder with `dataset.json` and a
store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from vitascope.core import files
from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.core.types import Clip, Dataset, Example, Video, digest
from vitascope.datasets import precomputed
from vitascope.datasets.precomputed import DATASET, STORE
from vitascope.datasets.splits import check_labels, folds_of
from vitascope.encoders.precomputed import SAMPLE, Release, ReleasedVideo, card_from, distinct, entries_of, vectors_of
from vitascope.features.store import Embedded, Key, Store
from vitascope.sampling.names import MultiClip, Sampler

What: TypeAlias = Literal["clips", "video"]
BLOCK = 4096
ALIKE = 0.005
"""Of a window or a stride that videos may differ by and still have the same."""
MOST_CLASSES = 100_000
"""Numbers from here on are taken for names, not for places in a list of classes."""
WHATS: tuple[What, ...] = ("clips", "video")


@dataclass(frozen=True, slots=True)
class Published:
    """Stands where a sampler would: these vectors were made elsewhere, of clips that were chosen elsewhere."""

    what: What

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """Always raises ValueError: there is nothing to look at."""
        raise UserError(f"{video.path}: published embeddings come without video; evaluate them as they are")


def stands_for(sampler: Sampler) -> What:
    """What of published embeddings answers a probe that asked for `sampler`: each clip, or one vector a video."""
    if isinstance(sampler, Published):
        return sampler.what
    return "clips" if isinstance(sampler, MultiClip) else "video"


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
                raise UserError(
                    f"{dataset.name}: {other} and {example.id} would both be {entry.id} of {release.source}; "
                    "give them the published ids in a manifest.csv"
                )
            if example.id not in known:
                block.append(_embedded(example.id, entry, what, release.card.dim))
        if block:
            store.add(digest([e.example for e in block]), block)
    store.seal()
    return lacking


def _embedded(example: str, entry: ReleasedVideo, what: What, dim: int) -> Embedded:
    clips, video, spans = vectors_of(entry, dim)
    if what == "clips":
        return Embedded(example, clips, spans, [""] * len(clips))
    return Embedded(example, video[None], [(spans[0][0], spans[-1][1])], [""])


def import_twelvelabs(
    source: Path, out: Path, *, encoder: str, name: str = "", classes: Sequence[str] = ()
) -> Dataset[int]:
    """Read the release layout below `source` into folder `out`; raises ValueError naming the file that does not fit."""
    entries = distinct(list(entries_of(source)))
    if not entries:
        raise UserError(f"{source}: no <id>.json with <id>_c.npy or <id>_v.npy there, nor in train/ and val/ below")
    names = _class_names(entries, classes, source)
    number = {label: i for i, label in enumerate(names)}
    examples = tuple(Example(id=e.id, path="", truth=_index(e, number, names)) for e in entries)
    folds = folds_of(examples, [e.split for e in entries], names, where=str(source))
    check_labels(examples, folds, names, where=str(source))
    card = card_from(encoder, entries)
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


def _write(folder: Path, dataset: Dataset[int], entries: Sequence[ReleasedVideo]) -> None:
    stores = {what: Store(folder / STORE, key_of(dataset, what)) for what in WHATS}
    for store in stores.values():
        store.create()
    for start in range(0, len(entries), BLOCK):
        for what, store in stores.items():
            block = [_embedded(e.id, e, what, dataset.cards[0].dim) for e in entries[start : start + BLOCK]]
            store.add(f"{start:012d}", block)
    for store in stores.values():
        store.seal()
    precomputed.write(folder / DATASET, dataset)


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


def _class_names(entries: Sequence[ReleasedVideo], classes: Sequence[str], source: Path) -> tuple[str, ...]:
    labels = {e.label for e in entries}
    if len(labels) < 2:
        raise UserError(f"{source}: only one class, {next(iter(labels))!r}; two are needed to tell apart")
    if classes:
        return tuple(classes)
    if all(map(_is_number, labels)):
        largest = max(map(int, labels))
        return tuple(map(str, range(largest + 1))) if largest < MOST_CLASSES else tuple(sorted(labels, key=int))
    return tuple(sorted(labels))


def _is_number(label: str) -> bool:
    return label.isascii() and label.isdecimal()


def _index(entry: ReleasedVideo, number: Mapping[str, int], names: Sequence[str]) -> int:
    if entry.label in number:
        return number[entry.label]
    if _is_number(entry.label) and int(entry.label) < len(names):
        return int(entry.label)
    raise UserError(
        f"{entry.path}: label {entry.label!r} is not among the {len(names)} classes{nearest(entry.label, names)}"
    )
