"""Page and pictures of a paper's own tables: its scorecard, motion against appearance, one's own beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from vitascope.core.files import write as write_file
from vitascope.core.log import log
from vitascope.core.text import escaped
from vitascope.core.types import Score
from vitascope.evaluation.results import Result
from vitascope.metrics import stats
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.analysis import published_comparison, scorecard
from vitascope.report.analysis.phrases import TextRun
from vitascope.report.analysis.published import DAGGER, Paper, Plane, PublishedScore, find_paper, scores, source_of
from vitascope.report.analysis.published_comparison import PublishedComparison
from vitascope.report.analysis.scorecard import plain_name
from vitascope.report.charts import drawing
from vitascope.report.charts.drawing import Drawing
from vitascope.report.charts.plane import PlanePoint, plane
from vitascope.report.render import TEMPLATES, render
from vitascope.report.sections.scorecard import ScorecardView, lay_out, summary

FOLDER = "published"


class Figures(NamedTuple):
    """What of a paper is drawn, with one's own rows."""

    card: ScorecardView | None
    planes: tuple[Drawing, ...]
    left_out: tuple[str, ...]
    """Encoders evaluated here that lack a dataset of the planes, with its name."""


class PrintedTable(NamedTuple):
    """A table as the paper prints it."""

    source: str
    about: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    """Encoders, and (number, doubt) of each cell."""


def write(name: str, folder: Path, runs: Sequence[str | Path] = ()) -> dict[str, Path]:
    """Write `name.html`, `name-scorecard` and `name-appearance-motion` as SVG and PNG into `folder`.

    Results of `runs` are drawn beside the paper's and compared with its tables; that none is in them is logged and said
    in the page. UserError for an unknown paper.
    """
    paper = find_paper(name)
    recorded = boards.load_results(runs) if runs else []
    compared = published_comparison.beside(paper, recorded) if runs else None
    if compared and compared.nothing:
        log.warning(compared.nothing)
    figures = _figures(paper, recorded)
    pictures = {f"{name}-appearance-motion{f'-{i + 1}' * bool(i)}": one for i, one in enumerate(figures.planes)}
    pictures |= {f"{name}-scorecard": figures.card.radar} if figures.card else {}
    folder.mkdir(parents=True, exist_ok=True)
    written = {"html": folder / f"{name}.html"}
    write_file(written["html"], _html(paper, figures, compared).encode("utf-8", "backslashreplace"))
    for stem, picture in pictures.items():
        written[stem] = folder / f"{stem}.svg"
        write_file(written[stem], drawing.svg(picture, standalone=True).encode())
        write_file(folder / f"{stem}.png", drawing.png(picture))
    return written


def _figures(paper: Paper, recorded: Sequence[Result]) -> Figures:
    card = _scorecard(paper, recorded)
    planes, left_out = [], dict[str, None]()
    for one in paper.planes:
        points, missing = _points(paper, one, recorded)
        planes += [plane(points, f"{paper.title}: {one.title}")] if points else []
        left_out |= dict.fromkeys(missing)
    return Figures(card, tuple(planes), tuple(left_out))


def _scorecard(paper: Paper, recorded: Sequence[Result]) -> ScorecardView | None:
    if paper.scorecard is None:
        return None
    tasks, contenders = scorecard.of_paper(paper, recorded)
    front = next(one for one in contenders if one.name == plain_name(paper.scorecard.encoder))
    aside = {front.name, *map(plain_name, paper.scorecard.leave_out)}
    others = [one for one in contenders if one.name not in aside]
    near = {one.row for one in scorecard.same_scale(front, [one for one in others if not one.here])}
    rivals = [one for one in others if one.here or one.row in near]
    return lay_out(tasks, front, rivals, note=paper.scorecard.note)


def _points(paper: Paper, axes: Plane, recorded: Sequence[Result]) -> tuple[list[PlanePoint], list[str]]:
    """The encoders with scores on all datasets of both axes; and those evaluated here that lack one, with it."""
    every = [one for one in scores(paper) if one.table == axes.table and one.score == "top-1"]
    datasets = (*axes.appearance, *axes.motion)
    tables = {name: {one.datasets[0]: one for one in every if one.encoder == name} for name in _names(every)}
    rows = _rows(paper)
    points = []
    for name, of in tables.items():
        if all(dataset in of for dataset in datasets):
            marked = any(of[dataset].dagger for dataset in datasets)
            means = [_mean([Score(of[d].value) for d in side]) for side in (axes.appearance, axes.motion)]
            points.append(PlanePoint(rows[plain_name(name)], name + DAGGER * marked, means[0], means[1]))
    own, missing = _own_points(axes, every, recorded)
    return points + [p._replace(row=len(rows) + i) for i, p in enumerate(own)], missing


def _names(every: Sequence[PublishedScore]) -> list[str]:
    return list(dict.fromkeys(one.encoder for one in every))


def _rows(paper: Paper) -> dict[str, int]:
    """The number of each encoder among all of the paper, so that it looks alike in every figure."""
    names = dict.fromkeys(plain_name(one.encoder) for one in scores(paper))
    return {name: row for row, name in enumerate(names)}


def _mean(values: Sequence[Score]) -> Score:
    """The mean of scores on several datasets, with an interval if all have one."""
    return stats.average(values, list(range(len(values))))


def _own_points(
    axes: Plane, every: Sequence[PublishedScore], recorded: Sequence[Result]
) -> tuple[list[PlanePoint], list[str]]:
    like = {one.datasets[0]: one for one in every}
    points, missing = [], []
    for name in dict.fromkeys(result.encoder for result in recorded):
        own = [result for result in recorded if result.encoder == name and not (result.variant or result.limited)]
        found = {d: [r for r in own if d in like and published_comparison.of_kind(r, like[d])] for d in like}
        best = {d: min(rs, key=lambda r, d=d: r.probe != like[d].probe) for d, rs in found.items() if rs}  # type: ignore[misc]
        lacking = [d for d in (*axes.appearance, *axes.motion) if d not in best]
        if not lacking:
            means = [_mean([best[d].headline for d in side]) for side in (axes.appearance, axes.motion)]
            points.append(PlanePoint(0, f"{escaped(name)} (here)", means[0], means[1], here=True))
        elif best:
            missing.append(f"{escaped(name)} ({axes.title}: no result on {', '.join(lacking)})")
    return points, missing


def _html(paper: Paper, figures: Figures, compared: PublishedComparison | None) -> str:
    card = figures.card
    finding = [[TextRun(card.name, True), TextRun(summary(card))]] if card and card.rivals else []
    values: dict[str, Any] = {
        "findings": finding,
        "recorded": escaped(paper.source),
        "paper": paper,
        "card": card,
        "planes": [Markup(drawing.svg(one)) for one in figures.planes],
        "left_out": figures.left_out,
        "compared": compared,
        "lines": _compared_lines(compared) if compared else [],
        "tables": _printed(paper),
        "styles": Markup((TEMPLATES / "scorecard.css").read_text(encoding="utf-8")),
    }
    return render("published.html.j2", f"{paper.title}, published scores", values)


def _compared_lines(compared: PublishedComparison) -> list[tuple[str, ...]]:
    """A line for each number: table, task, encoder, published, here, interval, status, reason, all that differs."""
    return [
        (
            cell.table,
            f"{escaped(cell.task)} {cell.score}",
            escaped(cell.encoder),
            cell.published,
            f"{cell.value:.2f}",
            "" if cell.low is None else f"[{cell.low:.2f}, {cell.high:.2f}]",
            cell.status,
            published_comparison.reason(cell),
            "\n".join(escaped(str(one)) for one in cell.differs),
        )
        for cell in compared.cells
    ]


def _printed(paper: Paper) -> list[PrintedTable]:
    """All tables as printed, with what is doubtful."""
    every, tables = scores(paper), []
    for table in paper.tables:
        places = [(column, score) for column in table.columns for score in column.scores]
        heads = tuple(f"{(column.datasets or ('',))[0]} {score}".strip() for column, score in places)
        doubts = {(o.encoder, o.datasets, o.probe, o.score): o.doubt for o in every if o.table == table.table}
        rows = []
        for row in table.rows:
            keys = [(row.encoder, column.datasets, column.probe or table.probe, score) for column, score in places]
            cells = zip(row.cells.split(), keys, strict=True)
            rows.append((row.encoder, tuple((word.replace("-", "–"), doubts.get(key, "")) for word, key in cells)))
        tables.append(PrintedTable(source_of(paper, table.table), table.about, heads, tuple(rows)))
    return tables
