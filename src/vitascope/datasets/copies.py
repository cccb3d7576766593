"""Copies of a video in a set without a given split: one recording, before folds are drawn."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.log import log
from vitascope.core.text import escaped
from vitascope.core.types import Dataset
from vitascope.datasets.audit.fingerprint_journal import journal_of, take_fingerprints
from vitascope.datasets.audit.fingerprints import PrintRequest, copies
from vitascope.datasets.recordings import with_copies
from vitascope.datasets.splits import are_drawn, make_folds

MAX_FILES = 2_000
"""Number of videos up to which the frames of all are compared before folds are drawn."""


def with_copies_grouped(dataset: Dataset[Any], *, workers: int, timeout: float, quiet: bool) -> Dataset[Any]:
    """`dataset` with the copies of each video as one recording, and folds that divide none.

    Copies are recognized by three frames of every video. A given split is kept, as are folds of sets of more than
    `MAX_FILES` videos; copies that these divide are found after encoding. Raises `UserError` if too few recordings of a
    class are left.
    """
    if not are_drawn(dataset):
        return dataset
    rates = {e.path: e.fps for e in dataset.examples if os.path.exists(e.path)}
    if len(rates) > MAX_FILES:
        log.info(
            "%s: copies among more than %d videos are not looked for before folds are drawn; those that folds divide "
            "are named with the scores",
            dataset.name,
            MAX_FILES,
        )
        return dataset
    requests = [PrintRequest(path, fps=fps) for path, fps in rates.items()]
    label = f"comparing the frames of {dataset.name}"
    journal = journal_of(dataset.key or dataset.name)
    prints = take_fingerprints(requests, journal=journal, workers=workers, timeout=timeout, label=label, quiet=quiet)
    first = copies({request.path: text for request, text in prints.items()})
    return _regrouped(dataset, first) if first else dataset


def _regrouped(dataset: Dataset[Any], first: Mapping[str, str]) -> Dataset[Any]:
    """`dataset` with new groups and folds, where `first` is the first copy of each video that has copies."""
    examples = with_copies(dataset.examples, first, dataset.root)
    if examples == dataset.examples:
        return dataset  # known already by their names or groups
    note = _note(dataset, first)
    try:
        folds = make_folds(examples, [""] * len(examples), dataset.classes, where=dataset.name)
    except UserError as error:
        raise UserError(f"{error}; {note}") from None
    log.warning("%s: %s", dataset.name, note)
    return replace(dataset, examples=examples, folds=folds)


def _note(dataset: Dataset[Any], first: Mapping[str, str]) -> str:
    """How many videos are copies, with an example."""
    originals = set(first.values())
    copy = next(path for path in first if path not in originals)
    count, example = len(first) - len(originals), f"{_named(copy, dataset)} of {_named(first[copy], dataset)}"
    many = f"{count} videos are copies of {len(originals)} other{'s' * (len(originals) > 1)} by their frames"
    which = "1 video is a copy of another by its frames" if count == 1 else many
    return f"{which} (e.g. {example}): one recording with {'it' if count == 1 else 'them'}, which no fold divides"


def _named(path: str, dataset: Dataset[Any]) -> str:
    return escaped(os.path.relpath(path, dataset.root or None))
