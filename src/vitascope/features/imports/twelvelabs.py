"""Import of published embeddings, to be evaluated without videos or encoder.

The TWLV-I release has three files per video: `<id>.json` (label, duration, clip times), `<id>_c.npy` (clips x dim) and
`<id>_v.npy` (dim), in `train/` and `val/` or in one folder. The import writes a folder with `dataset.json` and a store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from vitascope.core import files
from vitascope.core.errors import UserError
from vitascope.core.log import log
from vitascope.core.media import is_clutter
from vitascope.core.names import canonical
from vitascope.core.text import nearest, whole_number
from vitascope.core.types import Clip, Dataset, Example, Video, digest
from vitascope.datasets import precomputed
from vitascope.datasets.precomputed import DATASET, STORE
from vitascope.datasets.recordings import with_array_recordings
from vitascope.datasets.splits import check_labels, make_folds
from vitascope.encoders.precomputed import (
    SAMPLE,
    Release,
    ReleasedVideo,
    card_from,
    read_entries,
    unique_entries,
    vectors_of,
)
from vitascope.features.store import EmbeddedExample, Key, Store
from vitascope.sampling.names import MultiClip, Sampler

Granularity: TypeAlias = Literal["clips", "video"]
BLOCK = 4096
TOLERANCE = 0.005
"""Relative difference up to which the windows or strides of two videos count as equal."""
MAX_CLASSES = 100_000
"""Numeric labels from here on are taken as class names, not as class indices."""
GRANULARITIES: tuple[Granularity, ...] = ("clips", "video")


@dataclass(frozen=True, slots=True)
class Published:
    """Placeholder for a sampler: these vectors were computed elsewhere, on clips sampled elsewhere."""

    what: Granularity

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """Raise UserError: there is no video to sample."""
        raise UserError(
            f"{video.path}: published embeddings come without videos; evaluate them with the views they have"
        )


def granularity_for(sampler: Sampler) -> Granularity:
    """Return which published vectors serve a probe whose view has `sampler`: those per clip, or one per video."""
    if isinstance(sampler, Published):
        return sampler.what
    return "clips" if isinstance(sampler, MultiClip) else "video"


def copy_released(release: Release, dataset: Dataset[Any], store: Store, granularity: Granularity) -> dict[str, str]:
    """Copy the published vectors of `dataset` that `store` lacks; return {example id: reason} of those without any."""
    store.create()
    stored = store.status()
    missing: dict[str, str] = {}
    example_of: dict[str, str] = {}
    for start in range(0, len(dataset.examples), BLOCK):
        block: list[EmbeddedExample] = []
        for example in dataset.examples[start : start + BLOCK]:
            entry = release.entry(example.id)
            if entry is None:
                missing[example.id] = f"not among the {len(release.entries)} published videos below {release.source}"
                continue
            other = example_of.setdefault(entry.id, example.id)
            if other != example.id:
                raise UserError(
                    f"{dataset.name}: {other} and {example.id} both match {entry.id} of {release.source}; "
                    "list their published ids in a manifest.csv"
                )
            if example.id not in stored:
                block.append(_embedded(example.id, entry, granularity, release.card.dim))
        if block:
            store.add(digest([e.example for e in block]), block)
    store.seal()
    return missing


def _embedded(example: str, entry: ReleasedVideo, granularity: Granularity, dim: int) -> EmbeddedExample:
    clips, video, spans = vectors_of(entry, dim)
    if granularity == "clips":
        return EmbeddedExample(example, clips, spans, [""] * len(clips))
    return EmbeddedExample(example, video[None], [(spans[0][0], spans[-1][1])], [""])


def import_twelvelabs(
    source: Path, out: Path, *, encoder: str, name: str = "", classes: Sequence[str] = ()
) -> Dataset[int]:
    """Import the release layout below `source` into folder `out`; UserError names a file that does not fit."""
    entries = unique_entries(list(read_entries(source)))
    if not entries:
        raise UserError(f"{source}: no <id>.json with <id>_c.npy or <id>_v.npy in it, nor in its train/ and val/")
    _warn_of_unused(source, entries)
    names = _class_names(entries, classes, source)
    number = {label: i for i, label in enumerate(names)}
    listed = [Example(id=e.id, path="", truth=_label_index(e, number, names), group=e.group) for e in entries]
    examples = with_array_recordings(listed, {e.id: e.array for e in entries}, source)
    folds = make_folds(examples, [e.split for e in entries], names, where=str(source))
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
    with files.atomic_folder(out) as partial:
        _write(partial, dataset, entries)
    return dataset


def _warn_of_unused(source: Path, entries: Sequence[ReleasedVideo]) -> None:
    """Warn of arrays below `source` that belong to none of the videos."""
    used = {e.path.with_name(f"{e.path.stem}{kind}.npy") for e in entries for kind in ("_c", "_v")}
    unused = [p for p in sorted(source.rglob("*.npy")) if p not in used and not is_clutter(p.name)]
    if unused:
        log.warning("%s: ignored: %d arrays without a .json beside them, e.g. %s", source, len(unused), unused[0])


def _write(folder: Path, dataset: Dataset[int], entries: Sequence[ReleasedVideo]) -> None:
    stores = {granularity: Store(folder / STORE, imported_key(dataset, granularity)) for granularity in GRANULARITIES}
    for store in stores.values():
        store.create()
    for start in range(0, len(entries), BLOCK):
        for granularity, store in stores.items():
            block = [_embedded(e.id, e, granularity, dataset.cards[0].dim) for e in entries[start : start + BLOCK]]
            store.add(f"{start:012d}", block)
    for store in stores.values():
        store.seal()
    precomputed.write(folder / DATASET, dataset)


def imported_key(dataset: Dataset[Any], granularity: Granularity) -> Key:
    """Return the key under which imported vectors are stored."""
    return Key(dataset=dataset.name, card=dataset.cards[0], sampler=Published(granularity), reduce="clip", pipeline=0)


def clip_sampler(dataset: Dataset[Any]) -> Sampler:
    """Return the sliding window of imported clip vectors, derived from their times.

    `Published` if windows vary between videos, as when all videos have the same number of clips.
    """
    memmap = Store(Path(dataset.store), imported_key(dataset, "clips")).memmap(
        [e.id for e in dataset.examples][:SAMPLE]
    )
    spans_per_video = [memmap.spans[a:b] for a, b in pairwise(memmap.offsets.tolist()) if b - a > 1]
    strides = np.array([np.median(np.diff(spans[:, 0])) for spans in spans_per_video])
    seconds = np.array([np.median(np.diff(spans, axis=1)) for spans in spans_per_video])
    alike = len(spans_per_video) and all(np.ptp(of) <= TOLERANCE * np.median(of) for of in (strides, seconds))
    if not alike:
        return Published("clips")
    return MultiClip(*(round(float(np.median(of)), 4) for of in (seconds, strides)))


def _class_names(entries: Sequence[ReleasedVideo], classes: Sequence[str], source: Path) -> tuple[str, ...]:
    labels = {e.label for e in entries}
    if len(labels) < 2:
        raise UserError(f"{source}: only one class, {next(iter(labels))!r}; classification needs at least two")
    if classes:
        names = tuple(map(canonical, classes))
        if len(set(names)) < len(names):
            repeated, _ = Counter(names).most_common(1)[0]
            raise UserError(f"{source}: the class {repeated!r} is listed twice; give every class its own name")
        return names
    if all(map(_is_number, labels)):
        largest = max(map(int, labels))
        return tuple(map(str, range(largest + 1))) if largest < MAX_CLASSES else tuple(sorted(labels, key=int))
    return tuple(sorted(labels))


def _is_number(label: str) -> bool:
    return (number := whole_number(label)) is not None and number >= 0


def _label_index(entry: ReleasedVideo, number: Mapping[str, int], names: Sequence[str]) -> int:
    if entry.label in number:
        return number[entry.label]
    if _is_number(entry.label) and int(entry.label) < len(names):
        return int(entry.label)
    raise UserError(
        f"{entry.path}: label {entry.label!r} is not among the {len(names)} classes{nearest(entry.label, names)}"
    )
