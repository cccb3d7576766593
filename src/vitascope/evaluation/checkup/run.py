"""The check-up: embed the videos as they are and altered, and compare the vectors. No labels are read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vitascope.core.errors import UserError
from vitascope.core.log import log
from vitascope.core.pixel_transform import Decoder
from vitascope.core.types import Dataset, Example, Score
from vitascope.encoders.base import Encoder
from vitascope.encoders.precomputed import Release
from vitascope.evaluation.checkup.measures import (
    Vectors,
    cka,
    close_pairs,
    jackknife,
    neighbors_asked,
    shared_neighbors,
    shift,
    unit_count,
)
from vitascope.evaluation.checkup.report import Agreement, Checkup, EncoderCheckup
from vitascope.evaluation.checkup.videos import FEWEST, join_copies, sample, unlabeled
from vitascope.evaluation.cost_estimate import measure_speed
from vitascope.evaluation.runner import EvaluationConfig
from vitascope.features.extract import embed_together
from vitascope.features.extraction_options import Compile, ExtractionOptions
from vitascope.features.open_encoder import open_encoder
from vitascope.features.source import BYTES_PER_VALUE, load_stored
from vitascope.features.view import View
from vitascope.pretrain.monitoring.feature_rank import effective_rank
from vitascope.sampling.names import MultiClip, Reversed, Shuffled, Slowed, Uniform
from vitascope.video import UNREADABLE, inspect
from vitascope.video.alterations import ALTERATIONS, excerpt, write_excerpts

MOST = 300
"""Videos looked at by default."""
ALTERED = 48
"""Videos of which excerpts are altered."""
ALIKE = 0.1
"""Share of the typical distance below which an encoder hardly tells two videos apart."""
SHOWN = 20
"""Most such pairs that are named."""
CLIP = 2.0
"""Seconds of a clip where costs are told."""
AS_IS = View(Uniform())
ORDERS: Mapping[str, View] = {
    "reversed": View(Reversed(Uniform())),
    "shuffled": View(Shuffled(Uniform())),
    "slowed": View(Slowed(Uniform())),
}
"""Views of the same video in another order, or of its middle half at half speed."""


@dataclass(frozen=True)
class _Embedded:
    """Vectors of one encoder by view or alteration, {name: {id of the video: vector}}; empty name: as they are."""

    encoder: Encoder
    videos: Mapping[str, Mapping[str, np.ndarray]]
    excerpts: Mapping[str, Mapping[str, np.ndarray]]
    failures: Mapping[str, str]

    def both(self, parts: Mapping[str, Mapping[str, np.ndarray]], name: str) -> tuple[list[str], Vectors, Vectors]:
        """The videos that have vectors as they are and as `name`, and both vectors of each."""
        ids = [i for i in parts[""] if i in parts[name]]
        return ids, np.stack([parts[""][i] for i in ids]), np.stack([parts[name][i] for i in ids])


def checkup(
    data: str,
    encoders: Sequence[str | Encoder],
    *,
    root: Path,
    data_root: Path | None = None,
    most: int = MOST,
    options: ExtractionOptions | None = None,
    compile: Compile = "off",
    decoder: Decoder = "pyav",
) -> Checkup:
    """Look at up to `most` videos of `data` through each encoder; vectors of whole videos are kept in the store `root`.

    UserError for fewer than `FEWEST` videos, or if an encoder has no network.
    """
    options = options or ExtractionOptions()
    whole = unlabeled(data, data_root)
    loaded = [open_encoder(e, options, decoder=decoder, compile=compile) for e in encoders]
    for encoder in loaded:
        if isinstance(encoder, Release):
            raise UserError(f"{encoder.card.name}: released embeddings cannot be made of altered videos; give weights")
    dataset, copies = join_copies(sample(whole, max(most, FEWEST)), options)
    with tempfile.TemporaryDirectory(prefix="vitascope-") as folder:
        log.info("altering excerpts of up to %d videos", ALTERED)
        excerpts = _excerpts(dataset, Path(folder))
        if not excerpts.examples:
            raise UserError(f"{data}: no video could be read; see `vitascope check {data}`")
        embedded = _embed(loaded, dataset, excerpts, (root, Path(folder)), options)
    groups = {e.id: e.group or e.id for e in dataset.examples}
    common = [i for i in embedded[0].videos[""] if all(i in e.videos[""] for e in embedded)]
    if len(common) < FEWEST:
        raise UserError(f"{data}: only {len(common)} videos could be read; see `vitascope check {data}`")
    return Checkup(
        data=data,
        videos=len(common),
        found=len(whole.examples) - len(whole.missing_files),
        recordings=unit_count([groups[i] for i in common], len(common)),
        altered=len(excerpts.examples) // (1 + len(ALTERATIONS)),
        seconds=_mean_seconds(dataset),
        neighbors=neighbors_asked(len(common)),
        most_rank=len(common) - 1,
        copies=copies,
        encoders=[_examined(e, dataset, groups, copies, options) for e in embedded],
        agreements=list(_agreements(embedded, common, groups)),
        failures={i: why for e in embedded for i, why in e.failures.items()},
        device=options.device,
    )


def _mean_seconds(dataset: Dataset[Any]) -> float:
    """Mean duration of a few videos, seconds."""
    durations = []
    for example in dataset.examples[:ALTERED]:
        try:
            durations.append(inspect(example.path, fps=example.fps).within(example.span))
        except UNREADABLE:
            continue
    return float(np.mean([video.end - video.start for video in durations])) if durations else 0.0


def _excerpts(dataset: Dataset[Any], folder: Path) -> Dataset[Any]:
    """Excerpts of a few videos, as they are and altered, the latter written below `folder`; ids say which."""
    made: list[Example[Any]] = []
    for number, example in enumerate(dataset.examples):
        if len(made) == ALTERED * (1 + len(ALTERATIONS)):
            break
        files = {name: folder / f"{number}-{name}.mp4" for name in ALTERATIONS}
        try:
            video = inspect(example.path, fps=example.fps).within(example.span)
            span = excerpt(video)
            write_excerpts(video, span, files)
        except UNREADABLE as error:
            log.debug("%s: no excerpt: %s", example.path, error)
            continue
        made.append(replace(example, id=_excerpt_id("", example.id), span=span))
        made += [
            replace(example, id=_excerpt_id(n, example.id), path=str(f), span=None, fps=None) for n, f in files.items()
        ]
    return replace(dataset, key="excerpts", examples=tuple(made))


def _excerpt_id(alteration: str, video: str) -> str:
    return f"{alteration}:{video}"


def _embed(
    encoders: Sequence[Encoder],
    dataset: Dataset[Any],
    excerpts: Dataset[Any],
    roots: tuple[Path, Path],
    options: ExtractionOptions,
) -> list[_Embedded]:
    """All vectors of the encoders; those of excerpts are kept in the second root, which is temporary."""
    views = {"": AS_IS, **ORDERS}
    summaries = [
        embed_together([(e, asked) for e in encoders], videos, root=root, options=options)
        for videos, asked, root in ((dataset, [*views.values()], roots[0]), (excerpts, [AS_IS], roots[1]))
    ]
    for error in (outcome for each in summaries for outcome in each if isinstance(outcome, UserError)):
        raise error
    embedded = []
    for encoder, summary in zip(encoders, summaries[0], strict=True):
        assert not isinstance(summary, UserError)
        videos = {name: _vectors(encoder, dataset, view, roots[0]) for name, view in views.items()}
        parts: dict[str, dict[str, np.ndarray]] = {name: {} for name in ("", *ALTERATIONS)}
        for key, vector in _vectors(encoder, excerpts, AS_IS, roots[1]).items():
            name, _, video = key.partition(":")
            parts[name][video] = vector
        embedded.append(_Embedded(encoder, videos, parts, summary.failures))
    return embedded


def _vectors(encoder: Encoder, dataset: Dataset[Any], view: View, root: Path) -> dict[str, np.ndarray]:
    """The vector of each video that has one."""
    stored = load_stored(dataset, encoder.card, view, ids=[e.id for e in dataset.examples], root=root)
    return {e.id: row for e, row in zip(stored.examples, np.asarray(stored.values, np.float32), strict=True)}


def _examined(
    embedded: _Embedded,
    dataset: Dataset[Any],
    groups: Mapping[str, str],
    copies: Mapping[str, str],
    options: ExtractionOptions,
) -> EncoderCheckup:
    ids, vectors = list(embedded.videos[""]), np.stack(list(embedded.videos[""].values()))
    config = EvaluationConfig(run=Path(), options=options)
    speed = measure_speed(embedded.encoder, dataset, [View(MultiClip(CLIP))], config, multiply=0.0)
    card = embedded.encoder.card
    hour = 3600 / CLIP
    return EncoderCheckup(
        encoder=card.name,
        dim=card.dim,
        rank=effective_rank(torch.from_numpy(vectors)),
        order=_shifts(embedded, embedded.videos, groups),
        stability=_shifts(embedded, embedded.excerpts, groups),
        alike=[(ids[a], ids[b]) for a, b in _alike(ids, vectors, copies)],
        clip_seconds=speed.clip,
        hour_seconds=hour * speed.clip,
        hour_bytes=round(hour * card.dim * BYTES_PER_VALUE),
    )


def _shifts(
    embedded: _Embedded, parts: Mapping[str, Mapping[str, np.ndarray]], groups: Mapping[str, str]
) -> dict[str, Score]:
    shifts = {}
    for name in filter(None, parts):
        ids, original, altered = embedded.both(parts, name)
        shifts[name] = shift(original, altered, [groups[i] for i in ids], rng=np.random.default_rng(0))
    return shifts


def _alike(ids: Sequence[str], vectors: Vectors, copies: Mapping[str, str]) -> list[tuple[int, int]]:
    """Close pairs that are not copies of one video."""
    first = [copies.get(i, i) for i in ids]
    return [(a, b) for a, b in close_pairs(vectors, ALIKE) if first[a] != first[b]][:SHOWN]


def _agreements(embedded: Sequence[_Embedded], ids: Sequence[str], groups: Mapping[str, str]) -> Iterator[Agreement]:
    of = [groups[i] for i in ids]
    for one, other in combinations(embedded, 2):
        first, second = (np.stack([e.videos[""][i] for i in ids]) for e in (one, other))
        yield Agreement(
            encoders=(one.encoder.card.name, other.encoder.card.name),
            cka=jackknife(lambda kept, a=first, b=second: cka(a[kept], b[kept]), of, len(ids)),  # type: ignore[misc]
            neighbors=shared_neighbors(first, second, of, rng=np.random.default_rng(0)),
        )
