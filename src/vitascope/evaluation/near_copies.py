"""Copies across a split: test examples that are another encoding of a training example.

Vectors propose and frames decide: the training example with the most similar vector is a candidate, and counts if the
frames of both agree (`datasets.audit.fingerprints`). Where there are no videos, only equal vectors count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from vitascope.core.types import Dataset, Example
from vitascope.datasets.audit.fingerprint_journal import journal_of, take_fingerprints
from vitascope.datasets.audit.fingerprints import PrintRequest, same_video
from vitascope.features.base import Features, StoredFeatures, kept_arrays
from vitascope.features.extraction_options import ExtractionOptions
from vitascope.features.stored_rows import Rows, StoredRows

Array: TypeAlias = NDArray[Any]
MAX_PRODUCTS = 1e11
"""Multiply-adds that the search may take; larger test sets are not searched (`vitascope check` searches any)."""
SIMILAR = 0.9
"""Least cosine of the vectors of copies, after subtraction of the mean training vector."""
EQUAL = 1 - 1e-6
"""Cosine from which vectors count as equal."""
BATCH = 24
"""Candidates whose frames are compared first, the most similar; each batch with a copy is followed by a larger one."""
ROWS = 2048
"""Training vectors compared at a time."""
FIRST = 64
"""Values of vectors that are compared first: where these alone are too far apart, the others need no look."""
ROUNDING = 1e-5
"""Of squared distances of unit vectors in single precision, generously."""


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
    bank, queries = (kept_arrays(side, mean=True).values for side in (train, test))
    least = np.array([SIMILAR if e.path else EQUAL for e in test.examples])
    cosines, nearest = _nearest(_host(bank), _host(queries), least)
    places = np.flatnonzero(cosines >= least).tolist()
    found = (Candidate(test.examples[i], train.examples[nearest[i]], float(cosines[i])) for i in places)
    return [c for c in found if not _one_recording(c.test, c.train)]


def _host(values: Any) -> Rows:
    return values if isinstance(values, np.ndarray | StoredRows) else values.cpu().numpy()


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


def _nearest(
    train: Float[Array, "n d"] | StoredRows, test: Float[Array, "m d"] | StoredRows, least: Float[Array, "m"]
) -> tuple[Float[Array, "m"], Int[Array, "m"]]:
    """The cosine of each test vector with its nearest training vector, and the index of that one.

    Only cosines of `least` or more are sought, -1 where there is none: two unit vectors are at least as far apart as
    their first values are.
    """
    mean = np.sum([part.sum(axis=0, dtype=np.float64) for part in _parts(train)], axis=0) / len(train)
    best, index = np.full(len(test), -1.0, np.float32), np.zeros(len(test), np.int64)
    queries, start = _unit(test[:], mean), 0
    near = (2 * (1 - least) + ROUNDING).astype(np.float32)[:, None]
    every = np.arange(len(test))
    for part in _parts(train):
        bank = _unit(part, mean)
        rows = every
        if least.min() >= EQUAL:
            rows = np.flatnonzero((_squares(queries[:, :FIRST], bank[:, :FIRST]) <= near).any(axis=1))
        cosines = queries[rows] @ bank.T
        own = cosines.argmax(axis=1)
        highest = np.take_along_axis(cosines, own[:, None], axis=1)[:, 0]
        nearer = highest > best[rows]
        places = rows[nearer]
        best[places], index[places] = highest[nearer], own[nearer] + start
        start += len(part)
    return best, index


def _parts(values: Float[Array, "n d"] | StoredRows) -> Iterator[Float[Array, "m d"]]:
    """Few rows at a time, in single precision."""
    for start in range(0, len(values), ROWS):
        yield values[start : start + ROWS].astype(np.float32)


def _unit(values: Float[Array, "n d"], mean: Float[Array, "d"]) -> Float[Array, "n d"]:
    """Vectors without the mean, of unit length."""
    centered = values.astype(np.float32) - mean.astype(np.float32)
    norms = np.sqrt(np.einsum("nd,nd->n", centered, centered))
    centered /= np.maximum(norms, 1e-12)[:, None]
    return centered


def _squares(one: Float[Array, "m d"], other: Float[Array, "n d"]) -> Float[Array, "m n"]:
    """The squared distances of all pairs."""
    first, second = (np.einsum("nd,nd->n", side, side) for side in (one, other))
    squares: Array = first[:, None] + second
    squares -= 2 * (one @ other.T)
    return squares


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
