"""Copies across a split: test examples that are another encoding of a training example.

Vectors propose and frames decide: the training example with the most similar vector is a candidate, and counts if the
frames of both agree (`datasets.audit.fingerprints`). Where there are no videos, only equal vectors count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vitascope.core.types import Dataset, Example
from vitascope.datasets.audit.fingerprint_journal import journal_of, take_fingerprints
from vitascope.datasets.audit.fingerprints import PrintRequest, same_video
from vitascope.features.base import Features, StoredFeatures, kept_means
from vitascope.features.extract import ExtractionOptions

MAX_PRODUCTS = 1e11
"""Multiply-adds that the search may take; larger test sets are not searched (`vitascope check` searches any)."""
SIMILAR = 0.9
"""Least cosine of the vectors of copies, after subtraction of the mean training vector."""
EQUAL = 1 - 1e-6
"""Cosine from which vectors count as equal."""
BATCH = 24
"""Candidates whose frames are compared first, the most similar; each batch with a copy is followed by a larger one."""
ROWS = 1024
"""Test vectors compared at a time."""


class Candidate(NamedTuple):
    """A test example, the training example with the most similar vector, and their cosine."""

    test: Example[Any]
    train: Example[Any]
    cosine: float


def candidates(dataset: Dataset[Any], train: Features[Any], test: Features[Any]) -> list[Candidate]:
    """The possible copies among the test examples of a fold; none if the search would take too long."""
    if dataset.kind != "recognition" or not (isinstance(train, StoredFeatures) and isinstance(test, StoredFeatures)):
        return []
    if train.values.ndim != 2 or len(train.examples) * len(test.examples) * train.values.shape[1] > MAX_PRODUCTS:
        return []
    cosines, nearest = _nearest(kept_means(train).values, kept_means(test).values)
    found = (Candidate(e, train.examples[i], c) for e, i, c in zip(test.examples, nearest, cosines, strict=True))
    return [c for c in found if c.cosine >= (SIMILAR if c.test.path else EQUAL) and not _one_recording(c.test, c.train)]


def confirmed(found: Sequence[Candidate], dataset: Dataset[Any], options: ExtractionOptions) -> dict[str, str]:
    """The candidates that are copies, {id of the test example: id of the training example}."""
    copies = {c.test.id: c.train.id for c in found if not c.test.path}
    ranked = sorted((c for c in found if c.test.path), key=lambda c: -c.cosine)
    start, count = 0, BATCH
    while batch := ranked[start : start + count]:
        prints = _fingerprints([e for c in batch for e in (c.test, c.train)], dataset, options)
        same = {c.test.id: c.train.id for c in batch if same_video(prints[c.test.id], prints[c.train.id])}
        if not same:
            break
        copies |= same
        start, count = start + count, 2 * count
    return copies


def _nearest(train: Float[Tensor, "n d"], test: Float[Tensor, "m d"]) -> tuple[list[float], list[int]]:
    """The cosine of each test vector with its nearest training vector, and the index of that one."""
    total = torch.zeros(train.shape[1], dtype=torch.float64, device=train.device)
    for part in train.split(ROWS):
        total += part.double().sum(0)
    mean = (total / len(train)).float()
    best, index = torch.full((len(test),), -torch.inf, device=train.device), torch.zeros(len(test), dtype=torch.int64)
    index = index.to(train.device)
    queries = torch.nn.functional.normalize(test.float() - mean, dim=1)
    start = 0
    for part in train.split(ROWS):
        bank = torch.nn.functional.normalize(part.float() - mean, dim=1)
        for rows in torch.arange(len(test), device=train.device).split(ROWS):
            cosine, own = (queries[rows] @ bank.T).max(1)
            nearer = cosine > best[rows]
            best[rows[nearer]], index[rows[nearer]] = cosine[nearer], own[nearer] + start
        start += len(part)
    return best.tolist(), index.tolist()


def _one_recording(one: Example[Any], other: Example[Any]) -> bool:
    """Whether two examples are of one recording, whose leak is known without their frames."""
    return bool(one.path and one.path == other.path) or (one.group is not None and one.group == other.group)


def _fingerprints(
    examples: Sequence[Example[Any]], dataset: Dataset[Any], options: ExtractionOptions
) -> dict[str, str]:
    """The fingerprint of each example by id; empty if its video is gone or shows too little."""
    requests = {e.id: PrintRequest(e.path, e.span, e.fps) for e in examples}
    prints = take_fingerprints(
        requests.values(),
        journal=journal_of(dataset.key or dataset.name),
        workers=options.processes,
        timeout=options.timeout,
        label="comparing frames",
        quiet=True,
    )
    return {i: prints[request] for i, request in requests.items()}
