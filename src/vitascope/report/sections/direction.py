"""The section on direction, order and speed: histograms of held-out projections, and the LDA picture by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vitascope.core.text import escaped, number, p_value, with_interval
from vitascope.core.types import Score
from vitascope.evaluation.result_schema import VersionsDiagnosis
from vitascope.evaluation.results import Result
from vitascope.report.analysis.leaderboard import Column, EncoderRow, Leaderboard
from vitascope.report.analysis.phrases import with_caveats
from vitascope.report.analysis.versions import MOST, LdaPicture, details, picture_of, versions_of
from vitascope.report.sections.tables import SummaryTable

TOP = 100.0
"""Height of a histogram, units of its view box."""
REACH = 3.5
"""End of the picture in standard deviations; points beyond it are drawn at the end."""
NOTE = (
    "Percent. Pairwise, or within video: share of the versions that score highest of their own video as what they are. "
    "p: share of random relabelings of whole groups, each with a classifier of its own, whose headline is as far from "
    "chance. Equal: videos whose vectors are the same in all versions but for rounding; they count as guessed."
)


class Histogram(NamedTuple):
    """Projections of the versions of held-out videos, by one encoder."""

    row: EncoderRow
    score: str
    details: str
    paths: tuple[str, ...]
    """The outline of each version's histogram in a box of `bins` by 100."""
    bins: int
    label: str
    """What is drawn, for those who do not see it."""


class Picture(NamedTuple):
    """The LDA picture of one encoder, and what it is."""

    row: EncoderRow
    points: tuple[tuple[tuple[float, float], ...], ...]
    """Of each version, within `REACH` of the middle."""
    caption: str


class VersionsTask(NamedTuple):
    """One task of telling versions apart."""

    title: str
    names: tuple[str, ...]
    low: str
    """What a projection to the left means."""
    high: str
    chance: str
    histograms: tuple[Histogram, ...]
    pictures: tuple[Picture, ...]


def direction_tasks(board: Leaderboard) -> list[VersionsTask]:
    """The tasks of a board in which versions of videos are told apart."""
    return [_task(board, column) for column in board.plain() if versions_of(column.first)]


def tables(board: Leaderboard) -> list[SummaryTable]:
    """All scores, p-values and cosines: a table for each task."""
    return [_table(board, column) for column in board.plain() if versions_of(column.first)]


def _results(board: Leaderboard, column: Column) -> list[tuple[EncoderRow, Result, VersionsDiagnosis]]:
    cells = [(row, column.cells[row.index]) for row in board.rows if row.index in column.cells]
    return [(row, result, found) for row, result in cells if (found := versions_of(result))]


def _task(board: Leaderboard, column: Column) -> VersionsTask:
    each = _results(board, column)
    names = tuple(map(escaped, each[0][2].names))
    ends = (names[-1], names[0]) if len(names) == 2 else (names[0], names[-1])
    pictures = [(row, result, drawn) for row, result, _ in each if (drawn := picture_of(result))]
    return VersionsTask(
        title=with_caveats(escaped(column.task), column),
        names=names,
        low=ends[0],
        high=ends[1],
        chance=number(100 / len(names)),
        histograms=tuple(_histogram(*one) for one in each),
        pictures=tuple(_picture(*one) for one in pictures),
    )


def _histogram(row: EncoderRow, result: Result, found: VersionsDiagnosis) -> Histogram:
    most = max(max(map(max, found.counts)), 1)
    return Histogram(
        row=row,
        score=with_interval(result.headline),
        details="; ".join(details(result, found)),
        paths=tuple(_outline(counts, most) for counts in found.counts),
        bins=len(found.counts[0]),
        label=f"{escaped(row.label)}: projections of {found.videos} held-out videos in {len(found.names)} versions",
    )


def _outline(counts: Sequence[int], most: int) -> str:
    """The outline of a histogram as an SVG path."""
    steps = "".join(f"V{TOP * (1 - count / most):.4g}H{i + 1}" for i, count in enumerate(counts))
    return f"M0 {TOP:g}{steps}V{TOP:g}Z"


def _picture(row: EncoderRow, result: Result, drawn: LdaPicture) -> Picture:
    count = min((len(video) for video in drawn.points), default=0)
    points = tuple(tuple(map(_inside, (video[v] for video in drawn.points[:MOST]))) for v in range(count))
    caption = (
        f"Fitted to the points that it shows ({drawn.videos} videos, {drawn.size} numbers each), so it separates "
        f"whatever it is given: accuracy on these points {number(drawn.accuracy)} %, on Gaussian noise of the same "
        f"shape {number(drawn.noise)} %. On videos that the classifier has not seen: {with_interval(result.headline)}."
    )
    return Picture(row, points, caption)


def _inside(point: tuple[float, float]) -> tuple[float, float]:
    x, y = (round(min(max(value, -REACH), REACH), 2) for value in point)
    return x, -y


def _table(board: Leaderboard, column: Column) -> SummaryTable:
    each = _results(board, column)
    names = tuple(column.first.scores)
    rows = tuple(
        (
            escaped(row.label),
            *(with_interval(result.scores.get(name, Score(0.0))) for name in names),
            p_value(found.p),
            f"{found.cosine[len(found.cosine) // 2]:.3f}" if found.cosine else "–",
            f"{found.videos} in {found.groups}" if found.groups < found.videos else f"{found.videos}",
            f"{found.tied}",
        )
        for row, result, found in each
    )
    heads = ("encoder", *names, "p", "median cosine", "videos (in groups)", "equal")
    return SummaryTable(with_caveats(escaped(column.task), column), NOTE, heads, rows)
