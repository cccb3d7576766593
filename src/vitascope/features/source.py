"""Feature source: features of a dataset by one encoder through any view: in memory, on disk, or encoded live.

What encodes is imported where something is encoded: vectors that are stored are read without torch.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from vitascope.core.device import torch
from vitascope.core.errors import UserError
from vitascope.core.file_identity import FULL
from vitascope.core.types import Card, Dataset, Example
from vitascope.encoders.precomputed import Release
from vitascope.features.base import ClipSpans, Features, MemmapFeatures, StoredFeatures
from vitascope.features.extraction_options import ExtractionOptions, ExtractionSummary, store_key
from vitascope.features.freshness import FILES, Freshness, Known, files_digest, inputs_digest
from vitascope.features.imports import twelvelabs
from vitascope.features.store import Store
from vitascope.features.stored_rows import StoredRows
from vitascope.features.view import Reduce, View
from vitascope.sampling.augmentations import find_drawn
from vitascope.sampling.names import altered, clips_of
from vitascope.sampling.samplers import Sampler

if TYPE_CHECKING:
    from vitascope.encoders.base import Encoder

BYTES_PER_VALUE = 2
"""Bytes of a stored half-precision value."""


@dataclass
class FeatureSource:
    """Features of one dataset by one encoder; close it when done.

    `prepare` encodes what the store lacks. Of the views that need not be stored, those that augment without limit are
    always encoded live; the others are stored while their token grids fit into `budget` bytes in total, and into half
    of the free disk space.
    """

    encoder: Encoder | Card
    dataset: Dataset[Any]
    root: Path
    options: ExtractionOptions
    budget: int = 0
    summary: ExtractionSummary = field(default_factory=ExtractionSummary)
    stored_views: set[View] = field(default_factory=set)
    """Views whose token grids are on disk."""
    _open: ExitStack = field(default_factory=ExitStack)
    _fresh: Freshness = field(default_factory=Freshness)
    _files: str = ""
    """Digest of the files when `prepare` began, if a view is encoded live."""
    _current: dict[bool, str] = field(default_factory=dict)
    """Digests of the files by whether all bytes were read."""
    _outcome: ExtractionSummary | UserError | None = None
    """How `prepare` went."""

    def __enter__(self) -> FeatureSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Stop the workers of all live features handed out so far."""
        self._open.close()

    @property
    def card(self) -> Card:
        """The card of the encoder."""
        return self.encoder if isinstance(self.encoder, Card) else self.encoder.card

    def prepare(self, views: Sequence[View]) -> None:
        """Encode and store what the store lacks of `views`; UserError if none of it can be encoded.

        Once is enough: after `prepare_together`, this only tells how that went.
        """
        if self._outcome is None:
            prepare_together([(self, views)])
        if isinstance(self._outcome, UserError):
            raise self._outcome
        self.summary = self._outcome or self.summary

    def _choose(self, views: Sequence[View], reserved: int) -> list[View]:
        """Return those of `views` to store, on a disk of which some bytes are reserved; note the files of the rest."""
        views = list(dict.fromkeys(view.clips for view in views))
        if isinstance(self.encoder, Card):
            for view in views:
                _check_imported_view(view, self.card)
            return []
        budget = self._budget(reserved)
        self.stored_views = set(views_within_budget(self.encoder, self.dataset, views, budget, self.options.device))
        if not all(v.stored for v in views):
            self._files = files_digest(self._available(), full=self.options.full_digest)
        return [v for v in views if v.stored or v in self.stored_views]

    def _grid_bytes(self) -> int:
        """Return the bytes of the token grids that are to be stored."""
        if isinstance(self.encoder, Card):
            return 0
        return sum(stored_bytes(self.encoder, self.dataset, v, self.options.device) for v in self.stored_views)

    def inputs(self, views: Sequence[View]) -> str:
        """Return digests of the files that the vectors of `views` were computed from; empty if unknown.

        One of what the store recorded, and one of the files as `prepare` found them if a view is encoded live.
        """
        known = list(self._known(views).values())
        stored = inputs_digest(self._available(), known) if known else ""
        return " ".join(filter(None, (stored, self._files if self._has_live(views) else "")))

    def has_changed(self, views: Sequence[View], inputs: str) -> bool:
        """Return whether `views` would now have other vectors than when `inputs` was recorded.

        Also if something befell the machine then. False if the store knows nothing of a stored view.
        """
        recorded = inputs.split()
        live = next((i for i in recorded if i.startswith(FILES)), "")
        if live and self._has_live(views) and self._files_now(full=live.startswith(FILES + FULL)) != live:
            return True
        known = list(self._known(views).values())
        if not known or not all(known):
            return False
        stored = next((i for i in recorded if i != live), "")
        changed = bool(self._fresh.missing(self._available(), known))
        return changed or (bool(stored) and inputs_digest(self._available(), known) != stored)

    def _has_live(self, views: Sequence[View]) -> bool:
        """Return whether one of `views` may be encoded from the files whenever it is read."""
        return not isinstance(self.encoder, Card | Release) and not all(v.stored for v in views)

    def _files_now(self, *, full: bool) -> str:
        """Return the digest of the files as they are, read once."""
        if full not in self._current:
            self._current[full] = files_digest(self._available(), full=full)
        return self._current[full]

    def _available(self) -> list[Example[Any]]:
        return [e for e in self.dataset.examples if e.id not in self.dataset.missing_files]

    def _known(self, views: Sequence[View]) -> dict[View, Known]:
        """Return what the store has through those of `views` that it keeps; nothing of imported embeddings."""
        if isinstance(self.encoder, Card | Release):
            return {}
        stored = dict.fromkeys(v.clips for v in views if v.stored)
        return {v: _store(self.dataset, self.card, v, self.root).status() for v in stored}

    def _budget(self, reserved: int) -> int:
        existing = next(p for p in (self.root.absolute(), *self.root.absolute().parents) if p.exists())
        return min(self.budget, max(0, shutil.disk_usage(existing).free - reserved) // 2) if self.budget else 0

    def features(self, view: View, ids: Sequence[str]) -> Features[Any]:
        """Return the features of the examples `ids` through `view`, which does not aggregate; see `aggregation`."""
        assert view.agg is None, "aggregation is fitted to training features, see `features.aggregation.aggregated`"
        if view.stored:
            return _to_device(_mapped(self.dataset, self.card, view, ids=ids, root=self.root), self.options.device)
        if view in self.stored_views:
            return load_memmap(self.dataset, self.card, view, ids=ids, root=self.root)
        assert not isinstance(self.encoder, Card), "`prepare` rejects such views"
        from vitascope.features.live import LiveFeatures

        return self._open.enter_context(LiveFeatures(self.encoder, self.dataset, ids, view, options=self.options))


def prepare_together(requests: Sequence[tuple[FeatureSource, Sequence[View]]]) -> None:
    """Prepare sources of one dataset and store by several encoders, each with its views, decoding every frame once.

    What an encoder fails by is raised by the `prepare` of its source.
    """
    stored: list[tuple[FeatureSource, list[View]]] = []
    reserved = 0
    for source, views in requests:
        try:
            stored.append((source, source._choose(views, reserved)))
            reserved += source._grid_bytes() if len(requests) > 1 else 0
        except UserError as error:
            source._outcome = error
    encoders = [(s.encoder, views) for s, views in stored if views and not isinstance(s.encoder, Card)]
    if encoders:
        from vitascope.features.extract import embed_together

        first = stored[0][0]
        outcomes = iter(embed_together(encoders, first.dataset, root=first.root, options=first.options))
    for source, views in stored:
        source._outcome = next(outcomes) if views else source.summary


def _check_imported_view(view: View, card: Card) -> None:
    changed = altered(view.sampler)
    if changed:
        raise UserError(
            f"{card.name}: embeddings of {changed} clips cannot be made of imported ones, which are of the clips as "
            "they were; evaluate an encoder on the videos"
        )
    if view.reduce != "clip" or not view.stored:
        raise UserError(
            f"{card.name}: imported embeddings have one vector per clip, but this probe needs "
            f"{'token grids' if view.reduce != 'clip' else 'videos to encode anew'}; use knn or linear"
        )


def views_within_budget(
    encoder: Encoder, dataset: Dataset[Any], views: Sequence[View], budget: int, device: str = "cpu"
) -> list[View]:
    """Return the optional views to store: those with finitely many draws, in order, that fit into `budget` bytes."""
    chosen: list[View] = []
    for view in dict.fromkeys(v for v in views if not v.stored and not draws_endlessly(v.sampler)):
        size = stored_bytes(encoder, dataset, view, device) if budget else 0
        if 0 < size <= budget:
            budget -= size
            chosen.append(view)
    return chosen


def draws_endlessly(sampler: Sampler) -> bool:
    """Return whether the sampler draws new clips at every pass."""
    drawn = find_drawn(sampler)
    return drawn is not None and drawn.count == 0


def stored_bytes(encoder: Encoder, dataset: Dataset[Any], view: View, device: str = "cpu") -> int:
    """Return the bytes that `dataset` through `view` takes in the store, in half precision."""
    available = len(dataset.examples) - len(dataset.missing_files)
    clips = clips_of(view.sampler, encoder.card.frames, dataset.mean_duration)
    return available * clips * values_per_clip(encoder, view.reduce, device) * BYTES_PER_VALUE


def values_per_clip(encoder: Encoder, reduce: Reduce, device: str = "cpu") -> int:
    """Return the number of values kept per clip; for token grids this encodes one blank clip."""
    card = encoder.card
    if reduce == "clip":
        return card.dim
    from vitascope.encoders.compiled import eager
    from vitascope.features.encode import encode_clips, reduce_tokens

    blank = torch.zeros(1, card.frames, card.size, card.size, 3, dtype=torch.uint8)
    return reduce_tokens(encode_clips(eager(encoder), blank, device=device), reduce)[0].numel()


def _store(dataset: Dataset[Any], card: Card, view: View, root: Path) -> Store:
    if dataset.cards:
        return Store(root, twelvelabs.imported_key(dataset, twelvelabs.granularity_for(view.sampler)))
    return Store(root, store_key(dataset, card, view))


def _with_vectors(
    dataset: Dataset[Any], ids: Sequence[str], offsets: npt.NDArray[np.int64]
) -> tuple[list[Any], npt.NDArray[np.int64]]:
    """Return those of `ids` that have vectors, and the row offsets of these."""
    counts = np.diff(offsets)
    by_id = dataset.by_id()
    examples = [by_id[i] for i, count in zip(ids, counts, strict=True) if count]
    return examples, np.concatenate([[0], np.cumsum(counts[counts > 0])])


def load_stored(dataset: Dataset[Any], card: Card, view: View, *, ids: Sequence[str], root: Path) -> StoredFeatures:
    """Load the stored vectors of `ids` into memory, in order; examples without vectors are left out."""
    features = _mapped(dataset, card, view, ids=ids, root=root)
    assert isinstance(features.values, StoredRows)
    return replace(features, values=features.values.in_memory)


def _mapped(dataset: Dataset[Any], card: Card, view: View, *, ids: Sequence[str], root: Path) -> StoredFeatures:
    """Like `load_stored`, with the vectors read where they are needed."""
    memmap = _store(dataset, card, view, root).memmap(ids)
    examples, offsets = _with_vectors(dataset, ids, memmap.offsets)
    return StoredFeatures(examples, dataset.classes, StoredRows(memmap), offsets, ClipSpans(memmap.spans, offsets))


def _to_device(features: StoredFeatures, device: str) -> StoredFeatures:
    """Move features to the GPU if `device` is one with room for the vectors and the computation on them."""
    if not device.startswith("cuda") or 3 * features.values.nbytes > torch.cuda.mem_get_info(device)[0]:
        return features
    return replace(features, values=features.tensor.to(device))


def load_memmap(dataset: Dataset[Any], card: Card, view: View, *, ids: Sequence[str], root: Path) -> MemmapFeatures:
    """Like `load_stored`, with the vectors left on disk until they are read."""
    memmap = _store(dataset, card, view, root).memmap(ids)
    examples, offsets = _with_vectors(dataset, ids, memmap.offsets)
    return MemmapFeatures(
        examples,
        dataset.classes,
        lambda rows: torch.from_numpy(memmap.take(rows.numpy())).float(),
        torch.from_numpy(offsets),
        spans=ClipSpans(memmap.spans, offsets),
    )
