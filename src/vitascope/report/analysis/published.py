"""Published scores, to stand beside one's own: data files with the paper and the number of the table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from vitascope.core.files import read_json
from vitascope.evaluation.results import Result

FOLDER = Path(__file__).parents[1] / "published"


@dataclass(frozen=True)
class PublishedRow:
    """A score of one encoder."""

    encoder: str
    """As the paper names it."""
    value: float
    """Percent."""
    model: str = ""
    """The encoder here that it is, if any: `family/variant`."""


@dataclass(frozen=True)
class PublishedTable:
    """Scores of one task."""

    table: str
    """Number of the table in the paper."""
    datasets: tuple[str, ...]
    """Names of the dataset here, variants included."""
    probe: str
    score: str
    """Name of the score here, which is the headline."""
    about: str
    """What was evaluated."""
    rows: tuple[PublishedRow, ...]


@dataclass(frozen=True)
class Paper:
    """The tables of one paper."""

    title: str
    source: str
    """Where it is, with the version."""
    tables: tuple[PublishedTable, ...]


class Published(NamedTuple):
    """Published scores of a task, and where they stand."""

    paper: str
    source: str
    about: str
    rows: tuple[PublishedRow, ...]


@cache
def papers() -> dict[str, Paper]:
    """All papers by the names of their files."""
    remedy = "install vitascope again"
    return {path.stem: read_json(path, remedy, Paper) for path in sorted(FOLDER.glob("*.json"))}


def published(result: Result) -> list[Published]:
    """The published scores of the task of a result, with its headline; no variants of tasks, none with `--limit`."""
    if result.variant or result.limited:
        return []
    headline = next(iter(result.scores))
    return [
        Published(paper.title, f"{paper.title}, {paper.source}, table {table.table}", table.about, table.rows)
        for paper in papers().values()
        for table in paper.tables
        if result.dataset in table.datasets and (result.probe, headline) == (table.probe, table.score)
    ]


def sources(results: Iterable[Result]) -> list[str]:
    """Where the published scores of the tasks of some results stand, each once."""
    return list(dict.fromkeys(of.source for result in results for of in published(result)))


def listing(found: Sequence[Published]) -> list[str]:
    """A line for each source."""
    return [
        f"published ({one.source}): " + ", ".join(f"{row.encoder} {row.value:.2f}" for row in one.rows) for one in found
    ]
