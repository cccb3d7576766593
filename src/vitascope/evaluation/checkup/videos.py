"""The videos of a check-up: those of a folder, labels or not, a sample of them, and their copies."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.types import Dataset, Example, digest
from vitascope.datasets.audit.fingerprint_journal import journal_of, take_fingerprints
from vitascope.datasets.audit.fingerprints import PrintRequest, copies
from vitascope.datasets.open import open_dataset
from vitascope.datasets.precomputed import DATASET
from vitascope.datasets.readers.folder_lists import find_manifest
from vitascope.datasets.readers.video_files import walk
from vitascope.datasets.recordings import with_copies, with_recordings
from vitascope.features.extraction_options import ExtractionOptions

FEWEST = 8
"""Fewest videos of which anything can be said."""


def unlabeled(data: str, data_root: Path | None = None) -> Dataset[Any]:
    """The videos of the folder or dataset `data`, without classes; UserError for too few, or imported embeddings.

    Below a folder without a list every video and folder of frames counts. Files of one recording are a group, as far as
    the list, names and bytes tell.
    """
    folder = Path(data).expanduser()
    if folder.is_dir() and not (folder / DATASET).is_file() and not find_manifest(folder):
        examples = [Example(id=path, path=f"{folder}/{path}", truth=0) for path in sorted(walk(folder, frames=True))]
        grouped = with_recordings(examples, folder)
        name = folder.resolve().name
        found = Dataset(
            name=name, examples=grouped, classes=(name,), folds=(), root=str(folder),
            key=f"{name}-videos-{digest(str(folder.resolve()))[:8]}",
        )  # fmt: skip
    else:
        found = open_dataset(data, data_root, labeled=False)
        if found.cards:
            raise UserError(
                f"{data} holds imported embeddings; a check-up alters the videos, so give the folder of these"
            )
    if len(found.examples) - len(found.missing_files) < FEWEST:
        there = len(found.examples) - len(found.missing_files)
        raise UserError(f"{data}: {there} videos; a check-up needs {FEWEST} or more: give the folder that holds them")
    return found


def sample(dataset: Dataset[Any], most: int) -> Dataset[Any]:
    """`dataset` with at most `most` videos that are there, drawn by their ids: more videos add to the same sample."""
    there = [e for e in dataset.examples if e.id not in dataset.missing_files]
    chosen = sorted(there, key=lambda e: random.Random(e.id).random())[:most]
    return replace(dataset, examples=tuple(chosen), folds=(), missing_files={})


def join_copies(dataset: Dataset[Any], options: ExtractionOptions) -> tuple[Dataset[Any], dict[str, str]]:
    """`dataset` with the copies of each video as one group, and {id: id of the first video of which it is a copy}.

    Copies are told by three frames of every video.
    """
    rates = {e.path: e.fps for e in dataset.examples}
    requests = [PrintRequest(path, fps=fps) for path, fps in rates.items()]
    prints = take_fingerprints(
        requests,
        journal=journal_of(dataset.key or dataset.name),
        workers=options.processes,
        timeout=options.timeout,
        label=f"comparing the frames of {dataset.name}",
        quiet=options.quiet,
    )
    first = copies({request.path: text for request, text in prints.items()})
    ids = {e.path: e.id for e in reversed(dataset.examples)}
    examples = with_copies(dataset.examples, first, dataset.root)
    return replace(dataset, examples=examples), {ids[p]: ids[o] for p, o in first.items() if p != o}
