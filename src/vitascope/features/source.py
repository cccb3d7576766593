"""Sources: the features of a dataset by one encoder, for any view: in memory, on disk, or encoded as they are read."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from vitascope.core.errors import UserError
from vitascope.core.types import Card, Dataset
from vitascope.encoders.base import Encoder
from vitascope.features.base import Features, MemmapFeatures, Spans, StoredFeatures
from vitascope.features.extract import ExtractionOptions, ExtractionSummary, embed, encode_clips, key_of, reduced
from vitascope.features.imports import twelvelabs
from vitascope.features.live import LiveFeatures
from vitascope.features.store import Store
from vitascope.features.view import Reduce, View
from vitascope.sampling.augmentations import drawing
from vitascope.sampling.names import clips_of
from vitascope.sampling.samplers import Sampler

HALF = 2
"""Bytes of a stored number."""


@dataclass
class FeatureSource:
    """One encoder and one dataset, and where its features come from; close it when done.

    `embed` encodes what the store lacks. Of views that need not be stored, those that draw without end are always live;
    the others are kept on disk while their grids fit into `budget` bytes in all, and half of the disk that is free.
    """

    encoder: Encoder | Card
    dataset: Dataset[Any]
    root: Path
    options: ExtractionOptions
    budget: int = 0
    filled: ExtractionSummary = field(default_factory=ExtractionSummary)
    kept: set[View] = field(default_factory=set)
    """The views whose grids are on disk."""
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> FeatureSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """End the workers of all live features given out so far."""
        self._open.close()

    @property
    def card(self) -> Card:
        """Of the encoder."""
        return self.encoder if isinstance(self.encoder, Card) else self.encoder.card

    def fill(self, views: Sequence[View]) -> None:
        """Encode whatever of `views` is to be kept and is not yet. ValueError where that cannot be done."""
        if isinstance(self.encoder, Card):
            for view in views:
                _refuse_without_video(view, self.card)
            return
        self.kept = set(affordable(self.encoder, self.dataset, views, self._budget(), self.options.device))
        stored = [v for v in views if v.stored or v in self.kept]
        if stored:
            self.filled = embed(self.encoder, self.dataset, stored, root=self.root, options=self.options)

    def _budget(self) -> int:
        there = next(p for p in (self.root.absolute(), *self.root.absolute().parents) if p.exists())
        return min(self.budget, shutil.disk_usage(there).free // 2) if self.budget else 0

    def features(self, view: View, ids: Sequence[str]) -> Features[Any]:
        """What a probe reads of the examples `ids` through `view`."""
        if view.stored:
            return _moved(stored(self.dataset, self.card, view, ids=ids, root=self.root), self.options.device)
        if view in self.kept:
            return shelved(self.dataset, self.card, view, ids=ids, root=self.root)
        assert not isinstance(self.encoder, Card), "`embed` refuses such views"
        return self._open.enter_context(LiveFeatures(self.encoder, self.dataset, ids, view, options=self.options))


def _refuse_without_video(view: View, card: Card) -> None:
    if view.reduce != "clip" or not view.stored:
        raise UserError(
            f"{card.name}: published embeddings are one vector a clip, and this probe wants "
            f"{'token grids' if view.reduce != 'clip' else 'videos encoded anew'}; use knn or linear"
        )


def affordable(
    encoder: Encoder, dataset: Dataset[Any], views: Sequence[View], budget: int, device: str = "cpu"
) -> list[View]:
    """Of the views that need not be stored and do not draw without end, the first ones that fit into `budget` bytes."""
    fitting: list[View] = []
    for view in dict.fromkeys(v for v in views if not v.stored and not endless(v.sampler)):
        size = bytes_of(encoder, dataset, view, device) if budget else 0
        if 0 < size <= budget:
            budget -= size
            fitting.append(view)
    return fitting


def endless(sampler: Sampler) -> bool:
    """Whether it draws anew at every pass."""
    found = drawing(sampler)
    return found is not None and found.count == 0


def bytes_of(encoder: Encoder, dataset: Dataset[Any], view: View, device: str = "cpu") -> int:
    """What the store would hold of `dataset` through `view`, in half precision."""
    here = len(dataset.examples) - len(dataset.missing_files)
    clips = clips_of(view.sampler, encoder.card.frames, dataset.mean_duration)
    return here * clips * numbers(encoder, view.reduce, device) * HALF


def numbers(encoder: Encoder, reduce: Reduce, device: str = "cpu") -> int:
    """Numbers that are kept of a clip; a grid's are counted by encoding one."""
    card = encoder.card
    if reduce == "clip":
        return card.dim
    blank = torch.zeros(1, card.frames, card.size, card.size, 3, dtype=torch.uint8)
    return reduced(encode_clips(encoder, blank, device=device), reduce)[0].numel()


def _store(dataset: Dataset[Any], card: Card, view: View, root: Path) -> Store:
    if dataset.cards:
        return Store(root, twelvelabs.key_of(dataset, twelvelabs.stands_for(view.sampler)))
    return Store(root, key_of(dataset, card, view))


def _there(dataset: Dataset[Any], ids: Sequence[str], first: Any) -> tuple[list[Any], torch.Tensor]:
    """Of `ids` the examples that have vectors, and the bounds of these."""
    counts = np.diff(first)
    by_id = dataset.by_id()
    examples = [by_id[i] for i, count in zip(ids, counts, strict=True) if count]
    return examples, torch.from_numpy(np.concatenate([[0], np.cumsum(counts[counts > 0])]))


def stored(dataset: Dataset[Any], card: Card, view: View, *, ids: Sequence[str], root: Path) -> StoredFeatures:
    """The stored vectors of those of `ids` that have some, in order, in memory."""
    vectors = _store(dataset, card, view, root).read(ids)
    examples, first = _there(dataset, ids, vectors.first)
    return StoredFeatures(
        examples, dataset.classes, torch.from_numpy(vectors.values).float(), first, Spans(vectors.spans, first)
    )


def _moved(features: StoredFeatures, device: str) -> StoredFeatures:
    """The same on a GPU, where there is one with room for the vectors and what is computed of them."""
    if not device.startswith("cuda") or 3 * features.values.nbytes > torch.cuda.mem_get_info(device)[0]:
        return features
    return replace(features, values=features.values.to(device))


def shelved(dataset: Dataset[Any], card: Card, view: View, *, ids: Sequence[str], root: Path) -> MemmapFeatures:
    """The same, left on disk until they are read."""
    shelf = _store(dataset, card, view, root).shelf(ids)
    examples, first = _there(dataset, ids, shelf.first)
    return MemmapFeatures(
        examples,
        dataset.classes,
        lambda rows: torch.from_numpy(shelf.take(rows.numpy())).float(),
        first,
        spans=Spans(shelf.spans, first),
    )
