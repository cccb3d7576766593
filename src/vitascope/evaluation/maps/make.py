"""Make a map: vectors of the same examples by several encoders, projected, measured and written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from vitascope.core import files
from vitascope.core.errors import UserError
from vitascope.core.files import cache
from vitascope.core.log import log
from vitascope.core.pixel_transform import Decoder
from vitascope.core.text import counted
from vitascope.core.types import Card, Dataset, Score
from vitascope.encoders.base import Encoder
from vitascope.evaluation.evaluate import precomputed_encoders
from vitascope.evaluation.maps import files as record_files
from vitascope.evaluation.maps.files import Chance, MapRecord, Neighborhood, Picture, Space
from vitascope.evaluation.maps.points import Points, Scale, Unit
from vitascope.evaluation.maps.projections import (
    LDA,
    SEED,
    Projection,
    check_installed,
    held_out_purity,
    projection,
)
from vitascope.evaluation.maps.selection import Selection, selected
from vitascope.evaluation.maps.thumbnails import thumbnails
from vitascope.evaluation.maps.vectors import check_vectors, read_vectors, scaled
from vitascope.features.export import file_name
from vitascope.features.extraction_options import Compile, ExtractionOptions
from vitascope.features.open_encoder import open_encoder
from vitascope.metrics.neighborhoods import (
    SILHOUETTE_SHUFFLES,
    Nearest,
    Survey,
    purity,
    purity_of_chance,
    survey,
)
from vitascope.metrics.stats import bootstrap
from vitascope.sampling.names import describe
from vitascope.sampling.samplers import Sampler, Uniform

DEFAULT_METHODS = ("pca", "tsne", "lda")
"""Those of the TWLV-I report."""
NESTED = (
    "every class is of one recording, so neighbors of the same recording count, and what looks like a class may be the "
    "recording"
)
SLOW = 10_000
"""Points from which on scikit-learn's t-SNE takes minutes."""


@dataclass(frozen=True, kw_only=True)
class MapConfig:
    """Settings of a map, besides the dataset and the encoders."""

    output: Path
    methods: tuple[str, ...] = ()
    """Names of projections with options; those of the report, as far as they can be drawn, if there are none."""
    selection: Selection = field(default_factory=Selection)
    unit: Unit = "video"
    sampler: Sampler = field(default_factory=Uniform)
    scale: Scale = "raw"
    neighbors: int = 10
    thumbnails: bool = True
    store: Path = field(default_factory=cache)
    options: ExtractionOptions = field(default_factory=ExtractionOptions)
    compile: Compile = "off"
    """When encoders run compiled: where that was measured to be faster, or always."""
    decoder: Decoder = "pyav"
    """What decodes videos."""


@dataclass(frozen=True)
class _Drawn:
    """The pictures of one encoder and what was measured."""

    space: Space
    pictures: tuple[Picture, ...]
    places: tuple[Float[ndarray, "n 2"], ...]
    nearest: Nearest


def make_map(dataset: Dataset[Any], encoders: Sequence[str | Encoder | Card], config: MapConfig) -> MapRecord:
    """Draw the vectors of `encoders` on `dataset` and write the files of the map; return its numbers.

    Everything is computed before anything is written. UserError for names, classes and settings that do not fit.
    """
    methods = [projection(name) for name in config.methods or DEFAULT_METHODS]
    check_installed(methods)
    examples = selected(dataset, config.selection)
    loaded = _loaded(dataset, encoders, config)
    root = Path(dataset.store) if dataset.cards else config.store
    points, matrices, notes = read_vectors(
        dataset, examples, loaded, unit=config.unit, sampler=config.sampler, root=root, options=config.options
    )
    names = _names(loaded)
    drawing = _Drawing(points, methods, config, notes)
    drawn = [drawing.encoder(name, vectors) for name, vectors in zip(names, matrices, strict=True)]
    if not any(each.pictures for each in drawn):
        raise UserError("; ".join(dict.fromkeys(notes)))
    record = _record(dataset, drawing, drawn, notes=tuple(dict.fromkeys(notes)))
    return _write(record, points, dataset.classes, drawn, config)


def _loaded(
    dataset: Dataset[Any], encoders: Sequence[str | Encoder | Card], config: MapConfig
) -> Sequence[Encoder | Card]:
    if dataset.cards:
        return precomputed_encoders(dataset, encoders)
    if not encoders:
        raise UserError("no encoder given: name at least one with -m, for instance -m vit/tiny-random")
    return [open_encoder(e, config.options, decoder=config.decoder, compile=config.compile) for e in encoders]


def _names(encoders: Sequence[Encoder | Card]) -> list[str]:
    """The name of each encoder; UserError for one that is there twice."""
    names = [e.name if isinstance(e, Card) else e.card.name for e in encoders]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise UserError(f"-m {twice} is given twice; name each encoder once")
    return names


class _Drawing:
    """What is the same for all encoders of a map."""

    def __init__(
        self, points: Points, methods: Sequence[tuple[str, Projection]], config: MapConfig, notes: list[str]
    ) -> None:
        self.points, self.methods, self.config, self.notes = points, methods, config, notes
        self.labels, self.groups = points.labels, points.groups
        if not _shares_classes(self.labels, self.groups):
            notes.append(NESTED)
            self.groups = points.owner
        self.k = max(1, min(config.neighbors, (len(self.labels) - 1) // 2))
        if self.k < config.neighbors:
            few = counted(len(self.labels), "point")
            notes.append(f"neighborhoods of {self.k} instead of {config.neighbors}: less than half of {few}")
        self.divided = len(np.unique(self.groups)) < len(self.groups)

    def encoder(self, name: str, vectors: Float[ndarray, "n d"]) -> _Drawn:
        """Project and measure the vectors of one encoder."""
        check_vectors(name, vectors)
        vectors = scaled(vectors, self.config.scale)
        drawn = [
            (method, how, places) for method, how in self.methods if (places := self._project(how, vectors)) is not None
        ]
        near = [self._survey(places) for _, _, places in drawn]
        space = self._survey(vectors, [each.nearest.indices for each in near], shuffles=SILHOUETTE_SHUFFLES)
        pictures = []
        for (method, how, _), seen, trust in zip(drawn, near, space.trust, strict=True):
            measured = replace(
                self._measured(seen),
                trustworthiness=_number(100 * trust),
                held_out=self._held_out(how, vectors),
            )
            stem = file_name(f"{name}-{method}").replace(" ", "_")
            pictures.append(Picture(encoder=name, method=method, title=how.title, stem=stem, measured=measured))
        return _Drawn(
            Space(encoder=name, dim=vectors.shape[1], measured=self._measured(space), chance=self._chance(space)),
            tuple(pictures),
            tuple(places for *_, places in drawn),
            space.nearest,
        )

    def _project(self, how: Projection, vectors: Float[ndarray, "n d"]) -> Float[ndarray, "n 2"] | None:
        """Project; None, and a note, where a projection that nobody asked for by name cannot be drawn."""
        if len(vectors) > SLOW and how.title.startswith("t-SNE"):
            log.info(
                "%s of %s points takes minutes; --share or --method opentsne is faster", how.title, f"{len(vectors):,}"
            )
        try:
            return np.asarray(how(vectors, self.labels), np.float64)
        except UserError as error:
            if self.config.methods:
                raise
            self.notes.append(f"left out: {error}")
            return None

    def _survey(
        self, points: Float[ndarray, "n d"], pictures: Sequence[Int[ndarray, "n k"]] = (), shuffles: int = 0
    ) -> Survey:
        labelings = [self.labels, *(self._shuffled(np.random.default_rng(i)) for i in range(shuffles))]
        groups = self.groups if self.divided else None
        return survey(points, self.k, groups=groups, labelings=labelings, pictures=pictures)

    def _shuffled(self, rng: np.random.Generator) -> Int[ndarray, "n"]:
        """The labels of the videos dealt out anew; the clips of a video keep one label."""
        labels = np.array([e.truth for e in self.points.examples], np.int64)
        shuffled: Int[ndarray, "n"] = rng.permutation(labels)[self.points.owner]
        return shuffled

    def _measured(self, seen: Survey) -> Neighborhood:
        alike = purity(seen.apart.indices, self.labels)
        return Neighborhood(
            purity=self._with_interval(alike) if self._several_classes() else None,
            silhouette=_number(seen.silhouettes[0].mean()),
        )

    def _several_classes(self) -> bool:
        return len(np.unique(self.labels)) > 1

    def _chance(self, seen: Survey) -> Chance:
        rng = np.random.default_rng(SEED)
        mean, high = purity_of_chance(seen.apart.indices, lambda: self._shuffled(rng))
        return Chance(
            purity=None if math.isnan(mean) or not self._several_classes() else (mean, high),
            silhouette=_number(seen.silhouettes[1:].mean()),
            best=_number(self._best(seen)),
        )

    def _best(self, seen: Survey) -> float:
        """Purity if every neighbor that can be of the same class is."""
        both = np.column_stack([self.labels, self.groups])
        _, own, together = np.unique(both, axis=0, return_inverse=True, return_counts=True)
        others = np.bincount(self.labels)[self.labels] - together[own.ravel()]
        known = (seen.apart.indices >= 0).sum(1)
        shares = np.minimum(others, known)[known > 0] / known[known > 0]
        return 100 * float(shares.mean()) if len(shares) else float("nan")

    def _held_out(self, how: Projection, vectors: Float[ndarray, "n d"]) -> Score | None:
        if not isinstance(how, LDA):
            return None
        values = held_out_purity(how, vectors, self.labels, self.groups, self.k)
        return None if values is None else self._with_interval(values)

    def _with_interval(self, values: Float[ndarray, "n"]) -> Score | None:
        known = ~np.isnan(values)
        if not known.any():
            return None
        return bootstrap(values[known], self.groups[known], rng=np.random.default_rng(SEED))


def _shares_classes(labels: Int[ndarray, "n"], groups: Int[ndarray, "n"]) -> bool:
    """Whether a class has points of two groups."""
    pairs = np.unique(np.column_stack([labels, groups]), axis=0)
    return len(pairs) > len(np.unique(labels))


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _record(dataset: Dataset[Any], drawing: _Drawing, drawn: Sequence[_Drawn], *, notes: tuple[str, ...]) -> MapRecord:
    points, config = drawing.points, drawing.config
    shown = sorted({e.truth for e in points.examples})
    return MapRecord(
        dataset=dataset.name,
        split=config.selection.split,
        unit=config.unit,
        view="as imported" if dataset.cards else describe(config.sampler),
        scale=config.scale,
        share=config.selection.share,
        seed=config.selection.seed,
        k=drawing.k,
        points=len(points.owner),
        videos=len(points.examples),
        recordings=len(np.unique(drawing.groups)),
        classes=tuple(record_files.readable(dataset.classes[label]) for label in shown),
        spaces=tuple(each.space for each in drawn),
        pictures=tuple(picture for each in drawn for picture in each.pictures),
        notes=notes,
    )


def _write(
    record: MapRecord, points: Points, classes: Sequence[str], drawn: Sequence[_Drawn], config: MapConfig
) -> MapRecord:
    """Write the points of each picture, thumbnails and the numbers; return these, with the tiles of the thumbnails."""
    made = thumbnails(points, config.selection.seed) if config.thumbnails else None
    config.output.mkdir(parents=True, exist_ok=True)
    record_files.remove_earlier(config.output)
    if made:
        record = replace(record, sprites=made[0])
        files.write(config.output / record_files.SPRITES, made[1])
    for each in drawn:
        for picture, places in zip(each.pictures, each.places, strict=True):
            record_files.write_points(config.output / f"{picture.stem}.parquet", places, points, classes, each.nearest)
    record_files.write_record(config.output, record)
    return record
