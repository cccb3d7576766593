"""In-loop probing: scores of the student during training on built-in tasks, and measures of feature collapse."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vitascope.core.types import Dataset, Example, Score
from vitascope.datasets.open import open_dataset
from vitascope.encoders.base import Encoder, Tokens
from vitascope.encoders.preprocess import to_tensor
from vitascope.features.base import StoredFeatures
from vitascope.metrics import stats
from vitascope.metrics.class_parts import order_free
from vitascope.pretrain.data.base import ClipSpec
from vitascope.pretrain.monitoring.feature_rank import effective_rank, token_std
from vitascope.probes import catalog
from vitascope.sampling.samplers import Uniform
from vitascope.video import UNREADABLE, decode, inspect

SUITES = ("motionlab/appearance", "motionlab/motion")
PROBES = ("knn", "linear")
SEED = 1
"""Seed of MotionLab's scenes for in-loop probing, disjoint from the test suites, whose seed is 0."""
MEASURED_CLIPS = 256
"""Number of clips used to measure feature collapse."""


@dataclass(frozen=True, kw_only=True)
class ProbingConfig:
    """Datasets (names or folders; first fold only) and probes for in-loop probing.

    `limit` is the number of training and of test clips, 0 for all; their pixels stay in memory.
    """

    suites: tuple[str, ...] = SUITES
    probes: tuple[str, ...] = PROBES
    limit: int = 0


class ProbingResult(NamedTuple):
    """Results of one in-loop probing; the arguments of `LogWriter.probe`."""

    scores: dict[str, Score]
    axes: dict[str, str]
    chance: dict[str, float]
    effective_rank: float
    token_std: float
    order_free: dict[str, float]
    """Of the scores that it is known of; see `metrics.class_parts.order_free`."""


class InLoopProbing:
    """Keeps the decoded clips, so that repeated probing costs only encoding and probes."""

    def __init__(self, config: ProbingConfig, spec: ClipSpec) -> None:
        self.config, self.spec = config, spec
        self.datasets = [_dataset(name) for name in config.suites]
        self.pixels: dict[str, UInt8[np.ndarray, "t y x 3"]] = {}
        self.broken: dict[str, str] = {}
        """Unreadable examples, which are skipped: {id: reason}."""

    @property
    def unreadable(self) -> dict[str, str]:
        """Unreadable examples, named so that they are distinct from training clips."""
        return {f"probing: {id}": why for id, why in self.broken.items()}

    def __call__(self, encoder: Encoder, device: torch.device, *, batch: int = 64) -> ProbingResult:
        """Evaluate an encoder, which is on `device`, with all probes on all datasets."""
        encode = partial(_encode, encoder, device)
        scores: dict[str, Score] = {}
        axes: dict[str, str] = {}
        chance: dict[str, float] = {}
        bounds: dict[str, float] = {}
        vectors: dict[str, Tensor] = {}
        for dataset in self.datasets:
            self._embed(encode, dataset, vectors, batch)
            for probe in self.config.probes:
                name = f"{dataset.name} {probe}"
                scores[name] = self._score(dataset, probe, vectors)
                axes[name], chance[name] = dataset.axis, 100 / len(dataset.classes)
                bounds |= {name: bound} if (bound := self._order_free(dataset)) is not None else {}
        measured = list(self.pixels)[:MEASURED_CLIPS]
        tokens = torch.cat([encode(pixels).grid.flatten(1, 3) for pixels in self._batches(measured, batch)])
        return ProbingResult(
            scores, axes, chance, effective_rank(torch.stack([vectors[i] for i in measured])), token_std(tokens), bounds
        )

    def _order_free(self, dataset: Dataset[int]) -> float | None:
        truth = {e.id: e.truth for e in dataset.examples}
        return order_free([truth[i] for i in self._ids(dataset)[1]], dataset.structure, len(dataset.classes))

    def _ids(self, dataset: Dataset[int]) -> tuple[Sequence[str], Sequence[str]]:
        fold, limit = dataset.folds[0], self.config.limit or None
        train, test = ([i for i in ids[:limit] if i not in self.broken] for ids in (fold.train, fold.test))
        return train, test

    def _embed(
        self,
        encode: Callable[[UInt8[Tensor, "n t y x 3"]], Tokens],
        dataset: Dataset[int],
        vectors: dict[str, Tensor],
        batch: int,
    ) -> None:
        by_id = {e.id: e for e in dataset.examples}
        for i in (i for ids in self._ids(dataset) for i in ids if i not in self.pixels):
            try:
                self.pixels[i] = _decode(by_id[i], self.spec)
            except UNREADABLE as error:
                self.broken[i] = str(error)
        missing = [i for ids in self._ids(dataset) for i in ids if i not in vectors]
        embeddings = [encode(pixels).clip for pixels in self._batches(missing, batch)]
        vectors |= dict(zip(missing, torch.cat(embeddings) if embeddings else [], strict=True))

    def _batches(self, ids: Sequence[str], batch: int) -> Iterator[UInt8[Tensor, "n t y x 3"]]:
        for start in range(0, len(ids), batch):
            yield torch.from_numpy(np.stack([self.pixels[i] for i in ids[start : start + batch]]))

    def _score(self, dataset: Dataset[int], name: str, vectors: Mapping[str, Tensor]) -> Score:
        probe: Any = catalog.PROBES.build(name)
        by_id = {e.id: e for e in dataset.examples}
        train, test = ([by_id[i] for i in ids] for ids in self._ids(dataset))
        features = [_stored_features(examples, dataset.classes, vectors) for examples in (train, test)]
        predictions = probe.predict(*features, seed=0)
        truth = [e.truth for e in test]
        return stats.bootstrap(probe.outcomes(predictions, truth), rng=np.random.default_rng(0))


def _dataset(name: str) -> Dataset[int]:
    family, _, variant = name.partition("/")
    if family == "motionlab":
        from vitascope.datasets.builders import motionlab

        return motionlab.build(variant, seed=SEED)
    return open_dataset(name)


def _decode(example: Example[int], spec: ClipSpec) -> UInt8[np.ndarray, "t y x 3"]:
    """Decode one uniformly sampled clip of an example."""
    video = inspect(example.path, fps=example.fps).within(example.span)
    (pixels,) = [p for _, p in decode(video, Uniform()(video, spec.frames), spec.size, "shorter")]
    return pixels


def _stored_features(
    examples: Sequence[Example[int]], classes: Sequence[str], vectors: Mapping[str, Tensor]
) -> StoredFeatures:
    values = torch.stack([vectors[e.id] for e in examples])
    return StoredFeatures(list(examples), list(classes), values, torch.arange(len(examples) + 1))


def _encode(encoder: Encoder, device: torch.device, pixels: UInt8[Tensor, "n t y x 3"]) -> Tokens:
    """Encode clips; returns tokens in float32 on the CPU."""
    tokens = encoder(to_tensor(pixels.to(device), encoder.card))
    return Tokens(tokens.grid.float().cpu(), tokens.clip.float().cpu())
