"""What a student can do so far: probes on a built-in task, and whether its features still fill their space."""

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
from vitascope.pretrain.data.base import ClipSpec
from vitascope.pretrain.monitoring.feature_rank import effective_rank, token_std
from vitascope.probes import catalog
from vitascope.sampling.samplers import Uniform
from vitascope.video import decode, inspect

SUITES = ("motionlab/appearance", "motionlab/motion")
PROBES = ("knn", "linear")
SEED = 1
"""Of MotionLab's scenes for looking in during training: none of them is in the test suites, whose seed is 0."""
MEASURED = 256
"""Clips whose tokens are looked at."""


@dataclass(frozen=True, kw_only=True)
class ProbingConfig:
    """What is asked during training: of which data sets (names or folders; the first fold), by which probes.

    `limit` clips a side, 0 for all; their pixels stay in memory.
    """

    suites: tuple[str, ...] = SUITES
    probes: tuple[str, ...] = PROBES
    limit: int = 0


class ProbingResult(NamedTuple):
    """What a check-up found, as `Recorder.probe` takes it."""

    scores: dict[str, Score]
    axes: dict[str, str]
    chance: dict[str, float]
    effective_rank: float
    token_std: float


class InLoopProbing:
    """Holds the decoded clips of a check-up, so that looking in again costs encoding and probes alone."""

    def __init__(self, checkup: ProbingConfig, spec: ClipSpec) -> None:
        self.checkup, self.spec = checkup, spec
        self.datasets = [_dataset(name) for name in checkup.suites]
        self.pixels: dict[str, UInt8[np.ndarray, "t y x 3"]] = {}
        self.broken: dict[str, str] = {}
        """What cannot be read, by id, and why: it is not asked."""

    @property
    def listed(self) -> dict[str, str]:
        """The same beside what training could not read."""
        return {f"check-up: {id}": why for id, why in self.broken.items()}

    def __call__(self, encoder: Encoder, device: torch.device, *, batch: int = 64) -> ProbingResult:
        """Ask the encoder, which is on `device`, everything."""
        encode = partial(_encoded, encoder, device)
        scores: dict[str, Score] = {}
        axes: dict[str, str] = {}
        chance: dict[str, float] = {}
        vectors: dict[str, Tensor] = {}
        for dataset in self.datasets:
            self._embed(encode, dataset, vectors, batch)
            for probe in self.checkup.probes:
                name = f"{dataset.name} {probe}"
                scores[name] = self._score(dataset, probe, vectors)
                axes[name], chance[name] = dataset.axis, 100 / len(dataset.classes)
        some = list(self.pixels)[:MEASURED]
        tokens = torch.cat([encode(pixels).grid.flatten(1, 3) for pixels in self._batches(some, batch)])
        return ProbingResult(
            scores, axes, chance, effective_rank(torch.stack([vectors[i] for i in some])), token_std(tokens)
        )

    def _ids(self, dataset: Dataset[int]) -> tuple[Sequence[str], Sequence[str]]:
        fold, limit = dataset.folds[0], self.checkup.limit or None
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
                self.pixels[i] = _decoded(by_id[i], self.spec)
            except (ValueError, OSError) as error:
                self.broken[i] = str(error)
        todo = [i for ids in self._ids(dataset) for i in ids if i not in vectors]
        found = [encode(pixels).clip for pixels in self._batches(todo, batch)]
        vectors |= dict(zip(todo, torch.cat(found) if found else [], strict=True))

    def _batches(self, ids: Sequence[str], batch: int) -> Iterator[UInt8[Tensor, "n t y x 3"]]:
        for start in range(0, len(ids), batch):
            yield torch.from_numpy(np.stack([self.pixels[i] for i in ids[start : start + batch]]))

    def _score(self, dataset: Dataset[int], name: str, vectors: Mapping[str, Tensor]) -> Score:
        probe: Any = catalog.PROBES.build(name)
        by_id = {e.id: e for e in dataset.examples}
        train, test = ([by_id[i] for i in ids] for ids in self._ids(dataset))
        sides = [_stored(examples, dataset.classes, vectors) for examples in (train, test)]
        predictions = probe.predict(*sides, seed=0)
        truth = [e.truth for e in test]
        return stats.bootstrap(probe.outcomes(predictions, truth), rng=np.random.default_rng(0))


def _dataset(name: str) -> Dataset[int]:
    family, _, variant = name.partition("/")
    if family == "motionlab":
        from vitascope.datasets.builders import motionlab

        return motionlab.build(variant, seed=SEED)
    return open_dataset(name)


def _decoded(example: Example[int], spec: ClipSpec) -> UInt8[np.ndarray, "t y x 3"]:
    """One uniform clip of an example."""
    video = inspect(example.path, fps=example.fps).within(example.span)
    (pixels,) = [p for _, p in decode(video, Uniform()(video, spec.frames), spec.size, "shorter")]
    return pixels


def _stored(examples: Sequence[Example[int]], classes: Sequence[str], vectors: Mapping[str, Tensor]) -> StoredFeatures:
    values = torch.stack([vectors[e.id] for e in examples])
    return StoredFeatures(list(examples), list(classes), values, torch.arange(len(examples) + 1))


def _encoded(encoder: Encoder, device: torch.device, pixels: UInt8[Tensor, "n t y x 3"]) -> Tokens:
    """What the encoder says of clips, in float32 on the CPU."""
    tokens = encoder(to_tensor(pixels.to(device), encoder.card))
    return Tokens(tokens.grid.float().cpu(), tokens.clip.float().cpu())
