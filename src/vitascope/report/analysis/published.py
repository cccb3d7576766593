"""Published scores, to stand beside one's own: data files with the paper, the number of the table and what it states.

A row holds its cells as the paper prints them, so that a file is read against its source line by line. `settings` are
what the paper states of a column, `assumed` what its code or its authors' habits suggest; both are named as in
`result_settings`, and null takes one back that the table has for all columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from vitascope.core.errors import DamagedFileError, UserError
from vitascope.core.files import read_json
from vitascope.core.text import nearest
from vitascope.evaluation.results import Result

FOLDER = Path(__file__).parents[1] / "published"
NO_NUMBER, DAGGER = "-", "†"
MEAN = "mean"
"""Score of the columns that are means of others."""
Stated: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """Columns of a table on one dataset, a column for each score."""

    scores: tuple[str, ...]
    """Names of the scores here, or `mean`."""
    datasets: tuple[str, ...] = ()
    """Names of the dataset here, variants included; the first is the one evaluated."""
    probe: str = ""
    """The probe here with the paper's settings, if it is not the table's."""
    settings: Stated = field(default_factory=dict)
    assumed: Stated = field(default_factory=dict)
    of: tuple[str, ...] = ()
    """Datasets that a mean is over, of their first score."""


@dataclass(frozen=True)
class Row:
    """Scores of one encoder."""

    encoder: str
    """As the paper names it."""
    cells: str
    """As the paper prints them, spaces between: a hyphen where there is no number, a dagger behind it."""
    model: str = ""
    """The encoder here that it is, if any: `family/variant`."""


@dataclass(frozen=True)
class Doubt:
    """A printed value that is not what it seems."""

    encoder: str
    why: str
    dataset: str = ""
    """Dataset or `mean`; empty: all of the row."""


@dataclass(frozen=True)
class Table:
    """Scores of some encoders."""

    table: str
    """Number of the table in the paper."""
    about: str
    """What was evaluated."""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    probe: str = ""
    settings: Stated = field(default_factory=dict)
    assumed: Stated = field(default_factory=dict)
    doubtful: tuple[Doubt, ...] = ()


@dataclass(frozen=True)
class Spoke:
    """An axis of the scorecard: a column of a table."""

    label: str
    table: str
    dataset: str
    score: str


@dataclass(frozen=True)
class Scorecard:
    """What the paper's radar shows."""

    encoder: str
    """The encoder in front, as the paper names it."""
    note: str
    """What is assumed of it."""
    axes: tuple[Spoke, ...]
    leave_out: tuple[str, ...] = ()
    """Encoders that are no competitors: other versions of the one in front."""


@dataclass(frozen=True)
class Plane:
    """What a plot of motion against appearance shows: means over datasets."""

    title: str
    table: str
    appearance: tuple[str, ...]
    motion: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Paper:
    """The tables of one paper; each is read once, and equal to itself only."""

    title: str
    source: str
    """Where it is, with the version."""
    read: str
    """What was read in its place, if it was not at hand itself."""
    tables: tuple[Table, ...]
    scorecard: Scorecard | None = None
    planes: tuple[Plane, ...] = ()
    plane_note: str = ""


class PublishedScore(NamedTuple):
    """One number of a paper, and what it says of how it came about."""

    table: str
    about: str
    encoder: str
    model: str
    datasets: tuple[str, ...]
    probe: str
    score: str
    text: str
    """As it is printed, without a dagger."""
    dagger: bool
    """Whether the paper marks that the dataset was met in pretraining."""
    stated: Stated
    assumed: Stated
    doubt: str = ""
    """Why the printed value is not what it seems."""
    of: tuple[str, ...] = ()

    @property
    def value(self) -> float:
        """Percent."""
        return float(self.text)

    @property
    def rounding(self) -> float:
        """Half a unit of the last printed digit."""
        return float(0.5 * 10.0 ** -len(self.text.partition(".")[2]))

    @property
    def printed(self) -> str:
        """The number as it is printed, dagger included."""
        return self.text + DAGGER * self.dagger

    @property
    def family(self) -> str:
        """The dataset without its variant."""
        return self.datasets[0].partition("/")[0] if self.datasets else ""


class PublishedRow(NamedTuple):
    """A score of one encoder."""

    encoder: str
    value: float
    text: str
    """As it is printed."""


class Published(NamedTuple):
    """Published scores of a task, and where they stand."""

    paper: str
    source: str
    about: str
    rows: tuple[PublishedRow, ...]


@cache
def papers() -> dict[str, Paper]:
    """All papers by the names of their files; UserError for a file that is damaged."""
    found = {path: read_json(path, REMEDY, Paper) for path in sorted(FOLDER.glob("*.json"))}
    for path, paper in found.items():
        _check(path, paper)
    return {path.stem: paper for path, paper in found.items()}


REMEDY = "install vitascope again"


def _check(path: Path, paper: Paper) -> None:
    """DamagedFileError for a row that has not a cell for each column, or a cell that is no number."""
    for i, table in enumerate(paper.tables):
        count = sum(len(column.scores) for column in table.columns)
        for j, row in enumerate(table.rows):
            where = f"{path}: tables[{i}].rows[{j}].cells"
            words = row.cells.split()
            if len(words) != count:
                raise DamagedFileError(f"{where}: {len(words)} cells for {count} columns; {REMEDY}")
            for word in words:
                if word != NO_NUMBER and not word.removesuffix(DAGGER).replace(".", "", 1).isdecimal():
                    raise DamagedFileError(f"{where}: {word!r} is no number; {REMEDY}")


def find_paper(name: str) -> Paper:
    """The paper of a name; UserError with the nearest otherwise."""
    known = papers()
    if name not in known:
        listed = ", ".join(f"{key} ({paper.title})" for key, paper in known.items())
        raise UserError(f"no published tables {name!r}{nearest(name, known)}; there are {listed}")
    return known[name]


@cache
def scores(paper: Paper) -> tuple[PublishedScore, ...]:
    """All numbers of a paper, row by row."""
    return tuple(score for table in paper.tables for row in table.rows for score in _row_scores(table, row))


def _row_scores(table: Table, row: Row) -> Iterator[PublishedScore]:
    places = [(column, score) for column in table.columns for score in column.scores]
    for (column, score), word in zip(places, row.cells.split(), strict=True):
        if word != NO_NUMBER:
            yield PublishedScore(
                table=table.table,
                about=table.about,
                encoder=row.encoder,
                model=row.model,
                datasets=column.datasets,
                probe=column.probe or table.probe,
                score=score,
                text=word.removesuffix(DAGGER),
                dagger=word.endswith(DAGGER),
                stated=_merged(table.settings, column.settings),
                assumed=_merged(table.assumed, column.assumed),
                doubt=_doubt(table, row, column),
                of=column.of,
            )


def _merged(common: Stated, own: Stated) -> Stated:
    return {name: value for name, value in {**common, **own}.items() if value is not None}


def _doubt(table: Table, row: Row, column: Column) -> str:
    names = {*column.datasets, *([MEAN] if column.of else []), ""}
    whys = [d.why for d in table.doubtful if d.encoder == row.encoder and d.dataset in names]
    return "; ".join(whys)


def recomputed_means(paper: Paper) -> list[tuple[PublishedScore, float]]:
    """The printed means that differ from those of the printed values by more than rounding, and these means."""
    every = scores(paper)
    wrong = []
    for mean in (one for one in every if one.of):
        parts = [_part(every, mean, dataset) for dataset in mean.of]
        value = sum(part.value for part in parts) / len(parts)
        slack = mean.rounding + max(part.rounding for part in parts) + 1e-9
        if abs(value - mean.value) > slack:
            wrong.append((mean, value))
    return wrong


def _part(every: Sequence[PublishedScore], mean: PublishedScore, dataset: str) -> PublishedScore:
    same = (one for one in every if (one.table, one.encoder) == (mean.table, mean.encoder))
    return next(one for one in same if dataset in one.datasets)


def published(result: Result) -> list[Published]:
    """The published scores of the task of a result, with its headline; no variants of tasks, none with `--limit`."""
    if result.variant or result.limited:
        return []
    headline = next(iter(result.scores))
    found: list[Published] = []
    for paper in papers().values():
        same = [
            one
            for one in scores(paper)
            if result.dataset in one.datasets and (result.probe, headline) == (one.probe, one.score)
        ]
        for table, about in Counter((one.table, one.about) for one in same):
            rows = tuple(PublishedRow(one.encoder, one.value, one.printed) for one in same if one.table == table)
            found.append(Published(paper.title, source_of(paper, table), about, rows))
    return found


def source_of(paper: Paper, table: str) -> str:
    """Where a table stands."""
    return f"{paper.title}, {paper.source}, {'table ' if table.isdecimal() else ''}{table}"


def sources(results: Iterable[Result]) -> list[str]:
    """Where the published scores of the tasks of some results stand, each once."""
    return list(dict.fromkeys(of.source for result in results for of in published(result)))


def listing(found: Sequence[Published]) -> list[str]:
    """A line for each source."""
    return [f"published ({one.source}): " + ", ".join(f"{row.encoder} {row.text}" for row in one.rows) for one in found]
