"""Warnings on the data that only vectors and scores show: copies across the split, and a floor that is high."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vitascope.core.data_warning import DataWarning
from vitascope.core.text import number
from vitascope.core.types import Card, Dataset
from vitascope.datasets.audit.doctor import copies_warning
from vitascope.datasets.audit.leaks import Leak
from vitascope.encoders.catalog import ENCODERS
from vitascope.probes.base import ScoredPredictions

MEASURED = ("copies", "floor", "given")
"""Kinds of the warnings that are found here or by the probe; the others follow from the dataset alone."""
FLOORS = "pixels"
"""Family of encoders that learn nothing."""
HIGH = 1 / 3
"""Share of the range from chance to 100 % from which the score of a floor is high."""


def measured_warnings(
    card: Card, dataset: Dataset[Any], scored: ScoredPredictions, copies: Mapping[str, str], chance: float | None
) -> Iterator[DataWarning]:
    """The warnings that vectors and scores of one result give rise to.

    `copies` are the ids of test examples with those of the training examples of which they are copies, `chance` is the
    headline score of chance, if known.
    """
    if copies:
        yield copies_warning(Leak(copies, len({i for fold in dataset.folds for i in fold.test})))
    family, _, variant = card.name.partition("/")
    about = ENCODERS.variants(FLOORS).get(variant) if family == FLOORS else None
    if about and chance is not None:
        yield from _floor(card.name, about, scored, chance)


def _floor(name: str, about: str, scored: ScoredPredictions, chance: float) -> Iterator[DataWarning]:
    """A warning if the headline score of a floor is far above `chance`."""
    tested, score = len(scored.columns["id"]), next(iter(scored.scores.values()))
    if chance < 100 and score.value - chance >= HIGH * (100 - chance) and (score.low or 0) > chance:
        text = (
            f"FLOOR: {name} alone ({about}) scores {number(score.value)} where chance is {number(chance)}: much of the "
            "task is solved without a learned encoder"
        )
        yield DataWarning("floor", round(tested * score.value / 100), tested, text)
