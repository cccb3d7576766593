"""Copies across a split: test examples that are another encoding of a training example.

Vectors propose and frames decide: the training example with the most similar vector is a candidate, and counts if the
frames of both agree (`datasets.audit.fingerprints`). Where there are no videos, only equal vectors count.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vitascope.core.types import Dataset, Example, Span
from vitascope.core.worker_pool import Failed, Pool
from vitascope.datasets.audit.fingerprints import PrintRequest, same_video, take_fingerprint
from vitascope.features.base import Features, StoredFeatures, mean_vectors
from vitascope.features.extract import ExtractionOptions

MAX_PRODUCTS = 1e11
"""Multiply-adds that the search may take; larger test sets are not searched (`vitascope check` searches any)."""
SIMILAR = 0.9
"""Least cosine of the vectors of copies, after subtraction of the mean training vector."""
EQUAL = 1 - 1e-6
"""Cosine from which vectors count as equal."""
MAX_CANDIDATES = 200
"""Number of candidates, the most similar ones, whose frames are compared."""
ROWS = 1024
"""Test vectors compared at a time."""

_taken: dict[tuple[str, int, Span | None], str] = {}
"""Fingerprints taken by this process, by path, modification time and span."""


class Copies(NamedTuple):
    """The copies found among the test examples of a fold."""

    pairs: Mapping[str, str]
    """{id of a test example: id of the training example of which it is a copy}."""
    least: bool = False
    """Whether there may be more, because candidates were left out."""


def find_copies(dataset: Dataset[Any], train: Features[Any], test: Features[Any], options: ExtractionOptions) -> Copies:
    """Find the test examples that are copies of training examples; none if the search would take too long."""
    if dataset.kind != "recognition" or not (isinstance(train, StoredFeatures) and isinstance(test, StoredFeatures)):
        return Copies({})
    if train.values.ndim != 2 or len(train.examples) * len(test.examples) * train.values.shape[1] > MAX_PRODUCTS:
        return Copies({})
    candidates = [c for c in _candidates(train, test) if not _one_recording(c.test, c.train)]
    chosen = candidates[:MAX_CANDIDATES]
    prints = _fingerprints([e for c in chosen for e in (c.test, c.train)], options)
    pairs = {
        c.test.id: c.train.id
        for c in chosen
        if (same_video(prints[c.test.id], prints[c.train.id]) if c.test.path else c.cosine >= EQUAL)
    }
    return Copies(pairs, least=bool(pairs) and len(candidates) > len(chosen))


class _Candidate(NamedTuple):
    """A test example, the training example with the most similar vector, and their cosine."""

    test: Example[Any]
    train: Example[Any]
    cosine: float


def _candidates(train: StoredFeatures, test: StoredFeatures) -> list[_Candidate]:
    """The candidates, most similar first."""
    cosines, nearest = _nearest(mean_vectors(train).values, mean_vectors(test).values)
    order = [i for i in torch.argsort(cosines, descending=True, stable=True).tolist() if cosines[i] >= SIMILAR]
    return [_Candidate(test.examples[i], train.examples[int(nearest[i])], float(cosines[i])) for i in order]


def _nearest(train: Float[Tensor, "n d"], test: Float[Tensor, "m d"]) -> tuple[Float[Tensor, "m"], Tensor]:
    """The cosine of each test vector with its nearest training vector, and the index of that one."""
    mean = train.mean(0)
    bank = torch.nn.functional.normalize(train - mean, dim=1)
    found = [(torch.nn.functional.normalize(rows - mean, dim=1) @ bank.T).max(1) for rows in test.split(ROWS)]
    return torch.cat([f.values for f in found]).cpu(), torch.cat([f.indices for f in found]).cpu()


def _one_recording(one: Example[Any], other: Example[Any]) -> bool:
    """Whether two examples are of one recording, whose leak is known without their frames."""
    return bool(one.path and one.path == other.path) or (one.group is not None and one.group == other.group)


def _fingerprints(examples: Sequence[Example[Any]], options: ExtractionOptions) -> dict[str, str]:
    """The fingerprint of each example by id; empty if its video is gone or shows too little."""
    requests = {e.id: PrintRequest(e.path, e.span, e.fps) for e in examples if e.path and os.path.exists(e.path)}
    new = [r for r in dict.fromkeys(requests.values()) if _key(r) not in _taken]
    if new:
        workers = min(options.processes, len(new))
        with Pool(take_fingerprint, workers=workers, slots=1, slot_bytes=1, timeout=options.timeout, ahead=4) as pool:
            for request, message, _ in pool.run(new):
                _taken[_key(request)] = "" if isinstance(message, Failed) else message
    return {e.id: _taken.get(_key(requests[e.id]), "") if e.id in requests else "" for e in examples}


def _key(request: PrintRequest) -> tuple[str, int, Span | None]:
    return request.path, os.stat(request.path).st_mtime_ns, request.span
