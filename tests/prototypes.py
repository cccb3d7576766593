"""Features that say what goes on when: a vector drawn for each class under noise, and how well they can be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vitascope.core.types import Dataset, Example, Segment, Timeline
from vitascope.features.base import ClipSpans, StoredFeatures


def annotated(name: str, root: Path) -> Dataset[Any]:
    """A data set as its lists have it, whatever videos are there."""
    family, _, variant = name.partition("/")
    dataset: Dataset[Any] = import_module(f"vitascope.datasets.builders.{family}").annotated(variant, root)
    return dataset


@dataclass(frozen=True)
class Prototypes:
    """A vector a clip of `seconds` every `stride`: the sum of those of all classes active at its middle, and noise.

    Every number of a class's vector is drawn from a normal distribution of deviation 1; so is that of background, which
    stands where no class is active. `noise` is the deviation of what is added to every number of a clip.
    """

    classes: int
    noise: float
    dim: int = 32
    seconds: float = 0.5
    stride: float = 0.25
    seed: int = 0

    @cached_property
    def table(self) -> np.ndarray:
        """The vectors of the classes, then that of background."""
        return np.random.default_rng([self.seed, 99]).standard_normal((self.classes + 1, self.dim))

    def spans(self, example: Example[Any]) -> np.ndarray:
        """As a sliding window has them."""
        count = max(int((lasting(example) - self.seconds) / self.stride + 1e-6) + 1, 1)
        return np.arange(count)[:, None] * self.stride + [0.0, self.seconds]

    def active(self, example: Example[Any]) -> np.ndarray:
        """Clips x (classes and background): what goes on at the middle of each clip."""
        middles, truth = self.spans(example).mean(1), example.truth
        found = np.zeros((len(middles), self.classes + 1), bool)
        if isinstance(truth, Timeline):
            at = (middles * truth.fps).astype(int).clip(0, truth.frames - 1)
            found[np.arange(len(middles)), truth.labels[at]] = True
            return found
        for s in truth:
            found[(middles >= s.start) & (middles < s.end), s.label] = True
        found[:, -1] = ~found.any(1)
        return found

    def values(self, example: Example[Any]) -> np.ndarray:
        """The vectors of an example; the same whatever else is asked for."""
        draw = np.random.default_rng([self.seed, *example.id.encode()])
        clean = self.active(example) @ self.table
        return (clean + self.noise * draw.standard_normal(clean.shape)).astype(np.float32)

    def write(self, examples: Sequence[Example[Any]], folder: Path) -> Path:
        """A file a video, clips x numbers."""
        folder.mkdir(parents=True)
        for example in examples:
            np.save(folder / f"{example.id}.npy", self.values(example))
        return folder

    def stored(self, dataset: Dataset[Any], ids: Sequence[str]) -> StoredFeatures:
        """As a probe reads them."""
        examples = [dataset.by_id()[i] for i in ids]
        each = [self.values(e) for e in examples]
        first = torch.tensor([0, *map(len, each)]).cumsum(0)
        spans = ClipSpans(np.concatenate([self.spans(e) for e in examples]), first)
        return StoredFeatures(examples, dataset.classes, torch.from_numpy(np.concatenate(each)), first, spans)

    def nearest(self, example: Example[Any]) -> np.ndarray:
        """Clips x (classes and background): the one whose vector lies nearest, clip by clip, without a look around."""
        distance = ((self.values(example)[:, None] - self.table) ** 2).sum(-1)
        return np.eye(self.classes + 1, dtype=bool)[distance.argmin(1)]

    def actions(self, example: Example[Any], active: np.ndarray) -> list[Segment]:
        """The runs of each class, each end half a stride beyond the middle of its last clip."""
        middles, found = self.spans(example).mean(1), []
        for label in np.flatnonzero(active[:, :-1].any(0)).tolist():
            turns = np.diff(np.pad(active[:, label].astype(int), 1))
            starts, stops = middles[turns[:-1] == 1] - self.stride / 2, middles[turns[1:] == -1] + self.stride / 2
            found += [Segment(a, b, label) for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]
        return found

    def labels(self, example: Example[Any], active: np.ndarray) -> np.ndarray:
        """The class of every frame: that of the clip whose middle is nearest."""
        truth, clips = example.truth, active[:, :-1].argmax(1)
        places = ((np.arange(truth.frames) + 0.5) / truth.fps - self.seconds / 2) / self.stride
        return clips[np.rint(places).astype(int).clip(0, len(clips) - 1)]


def lasting(example: Example[Any]) -> float:
    """Seconds of a video."""
    truth = example.truth
    if isinstance(truth, Timeline):
        return truth.frames / truth.fps
    assert example.duration is not None
    return example.duration
