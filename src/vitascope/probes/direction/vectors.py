"""The vectors of every example in each version, and which versions are equal but for rounding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32
from numpy import ndarray
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.core.types import Example
from vitascope.features.base import Features, FlatVectors, all_vectors

HALF_STEP = 2.0**-10
"""Largest relative difference of two stored values of one number: a step of half precision."""
NOISE = 1e-5
"""Largest difference of equal values by the order of sums, relative to the root mean square of the vector."""


class VersionVectors(NamedTuple):
    """One vector for each version of each example: the mean of its clips in that version."""

    examples: Sequence[Example[Any]]
    values: Float32[ndarray, "n v p"]
    tied: Bool[ndarray, "n"]
    """Whether all versions of an example have the same vector but for rounding; they then have their mean."""

    @property
    def units(self) -> list[str]:
        """The group of each example, or itself without one."""
        return [e.id if e.group is None else e.group for e in self.examples]

    def part(self, rows: Sequence[int]) -> VersionVectors:
        """The examples at some places."""
        return VersionVectors([self.examples[i] for i in rows], self.values[list(rows)], self.tied[list(rows)])


def read_versions(features: Features[Any], versions: int) -> VersionVectors:
    """The vectors of `features`, whose clips are those of one version after another, as many of each."""
    flat = all_vectors(features)
    if flat.values.ndim != 2:
        raise UserError("versions of a video are told apart by one vector per clip; the views must reduce to clip")
    counts = torch.bincount(flat.owner, minlength=len(features.examples))
    if bool((counts % versions).any()):
        one = features.examples[int((counts % versions).nonzero()[0])].id
        raise UserError(f"{one}: its clips are not {versions} versions of the same number; embed them again")
    sums, largest = _by_version(flat, counts, versions)
    means = sums / (counts[:, None, None] / versions)
    tied = _equal(means, largest)
    means[tied] = means[tied].mean(dim=1, keepdim=True)
    return VersionVectors(features.examples, means.float().numpy(), tied.numpy())


def _by_version(flat: FlatVectors, counts: Tensor, versions: int) -> tuple[Tensor, Tensor]:
    """Sums of the vectors of each version (n x v x p), and the largest magnitude of each element (n x p)."""
    owner, values = flat.owner.cpu(), flat.values.cpu()
    counts = counts.cpu()
    place = torch.arange(len(owner)) - (counts.cumsum(0) - counts)[owner]
    cell = owner * versions + place // (counts[owner] // versions)
    sums = torch.zeros(len(counts) * versions, values.shape[1], dtype=torch.float64)
    sums.index_add_(0, cell, values.double())
    largest = torch.zeros(len(counts), values.shape[1])
    largest.scatter_reduce_(0, owner[:, None].expand_as(values), values.abs(), "amax")
    return sums.unflatten(0, (-1, versions)), largest


def _equal(means: Tensor, largest: Tensor) -> Tensor:
    """Whether no element differs between versions by more than a step of half precision, and noise of sums."""
    scale = means.square().mean(dim=(1, 2)).sqrt()[:, None]
    spread = means.amax(dim=1) - means.amin(dim=1)
    equal: Tensor = (spread <= HALF_STEP * largest + NOISE * scale).all(dim=1)
    return equal


def cosines(vectors: VersionVectors) -> Float32[ndarray, "n"]:
    """Cosine of the first version of each example with the others, their mean where there are several."""
    values = vectors.values / np.maximum(np.linalg.norm(vectors.values, axis=2, keepdims=True), 1e-12)
    return np.asarray((values[:, :1] * values[:, 1:]).sum(axis=2).mean(axis=1), np.float32)
