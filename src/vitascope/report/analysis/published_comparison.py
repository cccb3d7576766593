"""One's own results against a paper's numbers: matched, explained by a setting that differs, or open.

A published number has no interval. It was measured on the same test set, so that most of its sampling error is shared
with one's own, and the own 95 % interval is not widened for it: *matched* is a number within the interval, half a unit
of its last digit added on both sides. Outside, a number is *explained* if a setting differs, which need not be the
cause, and *open* if none does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from vitascope.core.errors import UserError
from vitascope.core.text import escaped, nearest
from vitascope.core.types import Score
from vitascope.evaluation.results import Result, read_predictions
from vitascope.metrics import stats
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.analysis.published import Paper, PublishedScore, find_paper, scores
from vitascope.report.analysis.result_settings import (
    ORDER,
    Differing,
    differences,
    importance,
    official_cards,
    params_of,
    settings_of,
)

Status: TypeAlias = Literal["matched", "explained", "open"]
STATUSES: tuple[Status, ...] = ("matched", "explained", "open")
SAME_SIZE = 1.15
"""Ratio of the numbers of parameters up to which encoders of a family are one model with other weights."""
MAX_NAMED = 6
"""Maximum number of names in a sentence."""


@dataclass(frozen=True, kw_only=True)
class ComparedCell:
    """A published number, one's own beside it, and what to make of both; `dataclasses.asdict` of it can be JSON."""

    table: str
    task: str
    """`dataset:probe` of one's own result."""
    score: str
    encoder: str
    published_encoder: str
    """As the paper names it."""
    published: str
    """As printed, dagger included."""
    published_value: float
    value: float
    low: float | None
    high: float | None
    status: Status
    differs: tuple[Differing, ...] = ()
    """Settings that differ, the most important first."""
    stated: int = 0
    """Number of settings that the paper states of the column."""
    unknown: tuple[str, ...] = ()
    """Settings of the paper that the result does not record."""
    doubt: str = ""
    """Why the printed value is not what it seems."""


@dataclass(frozen=True, kw_only=True)
class PublishedComparison:
    """All cells of a paper that some runs have numbers for, and what is not there."""

    paper: str
    source: str
    cells: tuple[ComparedCell, ...]
    not_run: tuple[str, ...]
    """Datasets of the paper without a result, each with its tables."""
    not_published: tuple[str, ...]
    """Results without a published number."""
    nothing: str = ""
    """Why there are no cells."""


def compare_published(runs: Sequence[str | Path], name: str, models: Sequence[str] = ()) -> PublishedComparison:
    """Set the results of run folders beside the tables of the paper called `name`; only those of `models` if given.

    UserError for an unknown paper or encoder, and where no result has a published number.
    """
    found = beside(find_paper(name), _of(models, boards.load_results(runs)))
    if found.nothing:
        raise UserError(found.nothing)
    return found


def beside(paper: Paper, results: Sequence[Result]) -> PublishedComparison:
    """Set results beside the tables of a paper; `nothing` says why if none of them has a published number."""
    every = [one for one in scores(paper) if not one.of]
    order = [one.table for one in every]
    cells = sorted((c for r in results for c in _cells(r, every)), key=lambda cell: order.index(cell.table))
    compared = {(cell.task, cell.encoder) for cell in cells}
    others = (f"{r.encoder} on {r.task}" for r in results if (r.task, r.encoder) not in compared)
    return PublishedComparison(
        paper=paper.title,
        source=paper.source,
        cells=tuple(cells),
        not_run=tuple(_not_run(every, {_family(result) for result in results})),
        not_published=tuple(dict.fromkeys(others)),
        nothing="" if cells else _nothing(paper, every, results),
    )


def _of(models: Sequence[str], results: Sequence[Result]) -> list[Result]:
    known = [result.encoder for result in results]
    for model in models:
        if model not in known:
            listed = ", ".join(dict.fromkeys(map(escaped, known)))
            raise UserError(f"no results of encoder {model!r}{nearest(model, known)}; encoders with results: {listed}")
    return [result for result in results if not models or result.encoder in models]


def _family(result: Result) -> str:
    return result.dataset.partition("@")[0].partition("/")[0]


def _kind(probe: str) -> str:
    """A probe without variant and options."""
    return probe.partition("/")[0].partition("+")[0]


def of_kind(result: Result, one: PublishedScore) -> bool:
    """Whether a result is of the dataset of a published number, whatever the variant, and by the same kind of probe."""
    return (one.family, _kind(one.probe)) == (_family(result), _kind(result.probe))


def _cells(result: Result, every: Sequence[PublishedScore]) -> list[ComparedCell]:
    """The published numbers of the task of a result; of columns that differ by settings, the one that it is closest to.

    That is the one whose first difference is the least important, and of these the one with the fewest.
    """
    same = [one for one in every if of_kind(result, one) and one.score in result.scores]
    found: dict[tuple[str, str], tuple[PublishedScore, list[Differing]]] = {}
    for table in dict.fromkeys(one.table for one in same):
        for one in of_encoder(result.encoder, [o for o in same if o.table == table]):
            differing = differences(result, one.stated, one.assumed, one.model, one.datasets)
            best = found.setdefault((table, one.score), (one, differing))
            if _distance(differing) < _distance(best[1]):
                found[table, one.score] = (one, differing)
    return [_cell(result, one, differing) for one, differing in found.values()]


def _distance(differing: Sequence[Differing]) -> tuple[int, int]:
    return -importance(differing[0].name) if differing else -len(ORDER) - 1, len(differing)


def of_encoder(name: str, every: Sequence[PublishedScore]) -> list[PublishedScore]:
    """The numbers of an encoder; without any, those of a model of its family of the same size, with other weights."""
    base = name.partition("+")[0].partition("=")[0]
    exact = [one for one in every if one.model and one.model == base]
    if exact or base not in official_cards():
        return exact
    family, size = base.partition("/")[0], params_of(base)

    def alike(model: str) -> bool:
        other = params_of(model) if model.partition("/")[0] == family else 0
        return bool(other and size and 1 / SAME_SIZE <= other / size <= SAME_SIZE)

    of_size = [one for one in every if alike(one.model)]
    return [one for one in of_size if one.model == of_size[0].model]


def _cell(result: Result, one: PublishedScore, differing: Sequence[Differing]) -> ComparedCell:
    score, ours = with_interval(result, one.score), settings_of(result)
    return ComparedCell(
        table=one.table,
        task=result.task,
        score=one.score,
        encoder=result.encoder,
        published_encoder=one.encoder,
        published=one.printed,
        published_value=one.value,
        value=score.value,
        low=score.low,
        high=score.high,
        status=status(one, score, differing),
        differs=tuple(differing),
        stated=len(one.stated),
        unknown=tuple(name for name in one.stated if ours.get(name) is None),
        doubt=one.doubt,
    )


def status(one: PublishedScore, score: Score, differing: Sequence[Differing]) -> Status:
    """What to make of a published number and one's own; without an interval, they match if they round alike."""
    low, high = (score.value if end is None else end for end in (score.low, score.high))
    slack = one.rounding + 1e-9
    if low - slack <= one.value <= high + slack:
        return "matched"
    return "explained" if differing else "open"


def with_interval(result: Result, name: str) -> Score:
    """A score of a result; top-5, of which no interval is recorded, with that of the saved predictions."""
    score = result.scores[name]
    if score.low is not None or name != "top-5" or not Path(result.predictions).is_file():
        return score
    columns = read_predictions(Path(result.predictions), {"id", "truth", "top", "group"}, top=5)
    if not {"truth", "top"} <= columns.keys():
        return score
    outcomes = [100.0 * (t in top[:5]) for t, top in zip(columns["truth"], columns["top"], strict=True)]
    groups = [group or None for group in columns.get("group", [""] * len(outcomes))]
    drawn = stats.bootstrap(outcomes, groups, rng=np.random.default_rng(0))
    if drawn.low is None or drawn.high is None:
        return score
    gap = score.value - drawn.value  # of several seeds, the predictions are the first one's
    return Score(score.value, drawn.low + gap, drawn.high + gap)


def _not_run(every: Sequence[PublishedScore], families: set[str]) -> list[str]:
    """The datasets of the paper without a result, with their tables."""
    tables: dict[str, dict[str, None]] = {}
    for one in every:
        if one.family not in families:
            tables.setdefault(one.datasets[0], {})[one.table] = None
    return [f"{dataset} ({_tables(list(of))})" for dataset, of in tables.items()]


def _tables(names: Sequence[str]) -> str:
    numbered = all(name.isdecimal() for name in names)
    return f"table{'s' * (len(names) > 1)} {', '.join(names)}" if numbered else ", ".join(names)


def _nothing(paper: Paper, every: Sequence[PublishedScore], results: Sequence[Result]) -> str:
    """Why no result has a published number, and what to do."""
    tasks = {(one.family, _kind(one.probe)) for one in every}
    shared = [r for r in results if (_family(r), _kind(r.probe)) in tasks]
    if shared:
        models = dict.fromkeys(o.model for o in every if o.model and o.family == _family(shared[0]))
        of = _few(list(dict.fromkeys(r.encoder for r in shared)))
        return f"{paper.title} has no numbers of {of}; on {shared[0].dataset} it has those of {_few(list(models))}"
    ran = _few(list(dict.fromkeys(r.task for r in results)))
    listed = _few([f"{o}:{k}" for o, k in dict.fromkeys((one.datasets[0], _kind(one.probe)) for one in every)])
    return f"none of the results is in the tables of {paper.title}: they are of {listed}; the run has {ran}"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(map(escaped, names[:MAX_NAMED])) + more


def text(found: PublishedComparison) -> str:
    """The comparison as lines for a terminal."""
    counts = Counter(cell.status for cell in found.cells)
    told = ", ".join(f"{counts[name]} {name}" for name in STATUSES)
    lines = [f"{found.paper}, {found.source}: {len(found.cells)} cell{'s' * (len(found.cells) > 1)}: {told}"]
    rows = [_row(cell) for cell in found.cells]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines += ["  ".join(part.ljust(width) for part, width in zip(r, widths, strict=True)).rstrip() for r in rows]
    lines += [f"not evaluated here: {', '.join(found.not_run)}"] * bool(found.not_run)
    lines += [f"without a published number: {_few(found.not_published)}"] * bool(found.not_published)
    return "\n".join(lines)


def _row(cell: ComparedCell) -> tuple[str, ...]:
    digits = len(cell.published.rstrip("†").partition(".")[2])
    interval = "" if cell.low is None else f" [{cell.low:.{digits}f}, {cell.high:.{digits}f}]"
    return (
        _tables([cell.table]),
        f"{escaped(cell.task)} {cell.score}",
        escaped(cell.encoder),
        f"published {cell.published}",
        f"here {cell.value:.{digits}f}{interval}",
        cell.status,
        reason(cell),
    )


def reason(cell: ComparedCell) -> str:
    """The first setting that differs and how many more do, or that none does."""
    more = len(cell.differs) - 1
    others = f"; {more} more setting{'s' * (more > 1)} differ{'s' * (more == 1)}" if more > 0 else ""
    said = escaped(str(cell.differs[0])) + others if cell.differs else _none_differs(cell)
    unknown = f"; not recorded: {', '.join(cell.unknown)}" if cell.unknown else ""
    return said + unknown + (f"; doubtful: {cell.doubt}" if cell.doubt else "")


def _none_differs(cell: ComparedCell) -> str:
    return "no setting differs" + ("" if cell.stated else "; the paper states none of this table")
