"""Sections on scores, coverage and cost, as plain text and numbers for the templates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from vitascope.core.text import (
    escaped,
    format_duration,
    interval,
    margin,
    number,
    number_range,
    p_value,
    share,
    signed,
    with_interval,
)
from vitascope.core.types import Score
from vitascope.evaluation.results import Result
from vitascope.metrics.class_parts import ORDER_FREE
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.analysis import phrases, published
from vitascope.report.analysis.head_selection import seed_spread
from vitascope.report.analysis.leaderboard import Column, EncoderRow, Leaderboard, SettingDifference
from vitascope.report.analysis.ranking import ALPHA, Ranking, average_columns, average_name
from vitascope.report.analysis.readouts import is_blind
from vitascope.report.sections.readouts import BLIND

MAX_EXAMPLES = 200
"""Maximum number of examples listed per reason; all are in the results file."""
KINDS = ("missing", "damaged but used")
Issue = tuple[str, str, tuple[tuple[str, str], ...]]
"""Dataset, kind, and (example, reason) of each."""
MAX_TASKS = 3
"""Maximum number of tasks listed in a sentence; the rest is only counted."""
AVERAGE = "Average"
EVERYTHING = number(100.0)
TITLES = {"appearance": "Appearance", "motion": "Motion", "": "Other"}


class Cell(NamedTuple):
    """A score in the table; `tier` is 0 without a ranking."""

    value: str
    interval: str = ""
    tier: int = 0
    in_pretraining_data: bool = False
    sort: float = -1.0
    tip: str = ""


class ColumnHeader(NamedTuple):
    """Header of a column of scores; of a mean, `dataset` says over what and `probe` of what."""

    dataset: str
    probe: str
    limited: bool = False
    tip: str = ""
    chance: str = ""
    on_test: bool = False
    mean: bool = False
    order_free: str = ""

    @property
    def options(self) -> str:
        """Settings of the probe that are part of its name, one a word."""
        return "" if self.mean else " ".join(self.probe.split("+")[1:])


class HeaderGroup(NamedTuple):
    """Adjacent columns of one dataset, or one column of means; `first` is the place of the first column."""

    title: str
    first: int
    span: int
    mean: bool


class PublishedLine(NamedTuple):
    """Published scores of an encoder; the cells are those of `Table.rows`."""

    encoder: str
    tip: str
    cells: tuple[Cell, ...]


class Table(NamedTuple):
    """Encoders by tasks: (title, number of columns) of each axis, column headers, and the cells of each row."""

    groups: tuple[tuple[str, int], ...]
    heads: tuple[ColumnHeader, ...]
    rows: tuple[tuple[EncoderRow, tuple[Cell, ...]], ...]
    published: tuple[PublishedLine, ...] = ()

    @property
    def datasets(self) -> list[HeaderGroup]:
        """Adjacent columns of one dataset and axis."""
        axes = [place for place, (_, span) in enumerate(self.groups) for _ in range(span)]
        keys = [(axis, head.dataset, head.mean) for axis, head in zip(axes, self.heads, strict=True)]
        runs = [list(run) for _, run in groupby(range(len(keys)), keys.__getitem__)]
        return [HeaderGroup(keys[run[0]][1], run[0] + 1, len(run), keys[run[0]][2]) for run in runs]

    @property
    def levels(self) -> list[str]:
        """Chance level of each column; empty if none is known."""
        return [head.chance or "–" for head in self.heads] if any(head.chance for head in self.heads) else []

    @property
    def bounds(self) -> list[str]:
        """What frames without their order tell, of each column; empty if it is everything, or unknown, in all."""
        known = any(head.order_free not in ("", EVERYTHING) for head in self.heads)
        return [head.order_free or "–" for head in self.heads] if known else []


class OtherProtocol(NamedTuple):
    """A column under another protocol than the task's main column, and the settings that differ."""

    title: str
    limited: bool
    differs: Sequence[SettingDifference]
    table: Table


class DifferenceCell(NamedTuple):
    """A cell of the matrix of differences; `sign` is 0 if the difference is not significant."""

    text: str
    sign: int
    tip: str


class IncompleteResult(NamedTuple):
    """A result with unscored test examples."""

    row: EncoderRow
    task: str
    expected: int
    scored: int
    coverage: str
    """Scored fraction of the test set."""
    bounds: str
    """Range of the score if all unscored examples were wrong or right."""


class ExampleIssues(NamedTuple):
    """Missing or damaged examples of a dataset."""

    kind: str
    dataset: str
    encoders: str
    reasons: tuple[tuple[str, tuple[str, ...], int], ...]
    """Reason, examples listed, and number of further examples."""
    total: int


class Cost(NamedTuple):
    """Computing time of an encoder on a dataset; `parts` are (phase, duration, percent of the longest bar)."""

    row: EncoderRow
    dataset: str
    parts: tuple[tuple[str, str, float], ...]
    total: str
    rate: str


def table(board: Leaderboard, columns: Sequence[Column], rankings: Mapping[str, Ranking]) -> Table:
    """Lay out a table of `columns`: each axis with its mean if `rankings` has one, then averages over datasets."""
    groups: list[tuple[str, int]] = []
    heads: list[ColumnHeader] = []
    cells: dict[int, list[Cell]] = {row.index: [] for row in board.rows}
    places: list[tuple[Column, int]] = []
    for axis in boards.AXES:
        members = _by_dataset([c for c in columns if c.axis == axis])
        places += [(column, len(heads) + i) for i, column in enumerate(members)]
        parts = [(_head(c, rankings.get(c.task)), rankings.get(c.task), c.cells) for c in members]
        if axis in rankings and len(members) > 1:
            tip = f"mean of the {len(members)} tasks of {axis}"
            mean = _mean_head("mean", f"of {len(members)}", members, tip, rankings[axis])
            parts.append((mean, rankings[axis], {}))
        for head, ranking, results in parts:
            heads.append(head)
            for row, line in cells.items():
                line.append(_cell(results.get(row), ranking, row))
        if parts:
            groups.append((TITLES[axis], len(parts)))
    for head, ranking in _averages(board, columns, rankings):
        heads.append(head)
        groups[-1:] = [(AVERAGE, groups[-1][1] + 1)] if groups[-1][0] == AVERAGE else [groups[-1], (AVERAGE, 1)]
        for row, line in cells.items():
            line.append(_cell(None, ranking, row))
    present = [row for row in board.rows if any(row.index in c.cells for c in columns)]
    lines = _published_lines(places, len(heads))
    return Table(tuple(groups), tuple(heads), tuple((row, tuple(cells[row.index])) for row in present), lines)


def _by_dataset(columns: Sequence[Column]) -> list[Column]:
    """Bring the columns of a dataset together, in order of their first appearance."""
    order = list(dict.fromkeys(column.first.dataset for column in columns))
    return sorted(columns, key=lambda column: order.index(column.first.dataset))


def _published_lines(places: Sequence[tuple[Column, int]], count: int) -> tuple[PublishedLine, ...]:
    """A line for each encoder with a published score in the column at a place among `count`."""
    lines: dict[tuple[str, str], list[Cell]] = {}
    for column, place in places:
        for of in published.published(column.first):
            for row in of.rows:
                line = lines.setdefault((row.encoder, of.source), [Cell("–")] * count)
                tip = f"published, {of.source}\n{row.text}, {of.about}"
                line[place] = Cell(row.text, sort=row.value, tip=tip)
    return tuple(
        PublishedLine(encoder, f"published, {source}", tuple(line)) for (encoder, source), line in lines.items()
    )


def _averages(
    board: Leaderboard, columns: Sequence[Column], rankings: Mapping[str, Ranking]
) -> Iterator[tuple[ColumnHeader, Ranking]]:
    """Yield a column per probe with its unweighted mean over datasets."""
    for probe, members in average_columns(board).items() if len(columns) > 1 else ():
        ranking = rankings.get(average_name(probe))
        if ranking:
            tip = "\n".join(["unweighted mean of top-1 over", *(escaped(c.first.dataset) for c in members)])
            yield _mean_head(f"{len(members)} datasets", escaped(probe), members, tip, ranking), ranking


def _mean_head(over: str, of: str, members: Sequence[Column], tip: str, ranking: Ranking) -> ColumnHeader:
    limited, on_test = any(c.limited for c in members), any(c.on_test for c in members)
    return ColumnHeader(over, of, limited, tip, chance(ranking), on_test, True, order_free(ranking))


def _head(column: Column, ranking: Ranking | None) -> ColumnHeader:
    result, guess = column.first, ranking.chance if ranking else None
    notes = [f"{next(iter(result.scores))}, percent"]
    notes += [f"{len(column.settings['classes'])} classes"] if column.settings.get("classes") else []
    notes += [f"chance {number(guess.value)}: {phrases.chance_definition([guess])}"] if guess else []
    notes += [f"order-free {number(guess.bound)}: {ORDER_FREE}"] if guess and guess.bound is not None else []
    names, levels = (escaped(result.dataset), escaped(result.probe)), (chance(ranking), column.on_test)
    return ColumnHeader(*names, column.limited, "\n".join(notes), *levels, order_free=order_free(ranking))


def chance(ranking: Ranking | None) -> str:
    """Chance level as text; empty if unknown."""
    return number(ranking.chance.value) if ranking and ranking.chance else ""


def order_free(ranking: Ranking | None) -> str:
    """What frames without their order tell, as text; empty if unknown."""
    bound = ranking.chance.order_free if ranking and ranking.chance else None
    return "" if bound is None else number(bound)


def _cell(result: Result | None, ranking: Ranking | None, row: int) -> Cell:
    score = result.headline if result else ranking.scores.get(row) if ranking else None
    if score is None:
        return Cell("–")
    tier = ranking.tiers.get(row, 0) if ranking else 0
    notes = [with_interval(score)] + ([f"tier {tier}"] if tier else [])
    if result:
        notes += [f"{n} {number(s.value)}" for n, s in list(result.scores.items())[1:]]
        notes += [text] if (text := seed_spread(result.seeds)) else []
        notes += [f"{result.n} of {result.expected} examples", *filter(None, [phrases.coverage_note(result)])]
        notes += [f"protocol {result.protocol}"]
        notes += ["† in the encoder's pretraining data"] if result.in_pretraining_data else []
        notes += [f"{BLIND} of frames: they are encoded one by one and read as a set"] if is_blind(result) else []
    in_pretraining_data = result is not None and result.in_pretraining_data
    return Cell(number(score.value), interval(score), tier, in_pretraining_data, score.value, "\n".join(notes))


def other_protocols(board: Leaderboard) -> list[OtherProtocol]:
    """Lay out the columns under other protocols."""
    parts = []
    for column in board.other_protocols():
        differs = boards.setting_differences(column.settings, board.main_of(column).settings)
        parts.append(OtherProtocol(escaped(column.task), column.limited, differs, table(board, [column], {})))
    return parts


def matrix(ranking: Ranking, rows: Sequence[EncoderRow]) -> list[tuple[EncoderRow, list[DifferenceCell]]]:
    """Differences of row encoder minus column encoder, in ranking order; empty without saved predictions."""
    by_index = {row.index: row for row in rows}
    order = ranking.order() if ranking.pairs else []
    return [(by_index[i], [_difference_cell(ranking, by_index[i], by_index[j]) for j in order]) for i in order]


def _difference_cell(ranking: Ranking, a: EncoderRow, b: EncoderRow) -> DifferenceCell:
    gap = ranking.difference(a.index, b.index)
    if gap is None:
        return DifferenceCell("", 0, "")
    p = ranking.adjusted(a.index, b.index)
    sign = 0 if p >= ALPHA else 1 if gap.value > 0 else -1
    groups = f" in {gap.units} groups" if gap.units < gap.n else ""
    text = margin(Score(*gap[:3]))
    family = f"(Holm-adjusted over {len(ranking.pairs)} pair{'s' * (len(ranking.pairs) > 1)})"
    notes = [f"{escaped(a.label)} − {escaped(b.label)}", text, f"{p_value(p)} {family}, n = {gap.n}{groups}"]
    if sign == 0:
        notes.append(phrases.not_significant(gap.n, gap.needed(), phrases.gap_too_few(gap, len(ranking.pairs))))
    return DifferenceCell(signed(gap.value), sign, "\n".join(notes))


def incomplete(board: Leaderboard) -> list[IncompleteResult]:
    """List the results with unscored test examples."""
    return [
        IncompleteResult(
            row, escaped(result.task), result.expected, result.n, share(result.coverage), number_range(bounds)
        )
        for row, result in _cells(board)
        if (bounds := result.bounds)
    ]


def _cells(board: Leaderboard) -> Iterator[tuple[EncoderRow, Result]]:
    """Yield the results of standard tasks, whose videos their variants share; if there are none, those of variants."""
    for column in board.plain() or board.columns:
        for row in board.rows:
            if row.index in column.cells:
                yield row, column.cells[row.index]


def example_issues(board: Leaderboard) -> list[ExampleIssues]:
    """Group missing and damaged examples by dataset, kind and reason; encoders with the same ones share an entry."""
    encoders: dict[Issue, dict[str, None]] = {}
    for row, result in _cells(board):
        for kind, examples in zip(KINDS, (result.missing, result.notes), strict=True):
            if examples:
                issue = (result.dataset, kind, tuple(sorted(examples.items())))
                encoders.setdefault(issue, {})[escaped(row.label)] = None
    datasets = list(dict.fromkeys(dataset for dataset, *_ in encoders))
    ordered = sorted(encoders, key=lambda issue: (datasets.index(issue[0]), KINDS.index(issue[1])))
    return [_example_issues(issue, list(encoders[issue]), len(board.rows)) for issue in ordered]


def _example_issues(issue: Issue, encoders: Sequence[str], n_encoders: int) -> ExampleIssues:
    dataset, kind, examples = issue
    by_reason: dict[str, list[str]] = {}
    for name, reason in examples:
        by_reason.setdefault(escaped(reason), []).append(escaped(name))
    reasons = tuple(
        (reason, tuple(names[:MAX_EXAMPLES]), max(len(names) - MAX_EXAMPLES, 0))
        for reason, names in sorted(by_reason.items(), key=lambda item: -len(item[1]))
    )
    affected = "every encoder" if len(encoders) == n_encoders else ", ".join(encoders)
    return ExampleIssues(kind, escaped(dataset), affected, reasons, len(examples))


def left_out(board: Leaderboard) -> list[tuple[EncoderRow, str]]:
    """List the encoders without results on some task of the two axes, and these tasks."""
    columns = [*board.main("appearance"), *board.main("motion")]
    missing = [(row, [escaped(c.task) for c in columns if row.index not in c.cells]) for row in board.rows]
    return [(row, _listed(names)) for row, names in missing if names]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MAX_TASKS
    return ", ".join(names[:MAX_TASKS]) + (f" and {more} more" if more > 0 else "")


def costs(board: Leaderboard) -> list[Cost]:
    """Computing time of each encoder on each dataset by phase; embedding is shared by all probes, whose times add up.

    `embed` is the wall-clock time of decoding and encoding, which overlap; it is not counted as a phase.
    """
    groups: dict[tuple[int, str, bool], list[Result]] = {}
    for row in board.rows:
        for column in board.columns:
            result = column.cells.get(row.index)
            if result is not None and result.seconds:
                name = result.dataset.removesuffix(f"@{result.variant.get('train_fraction')}")
                groups.setdefault((row.index, name, result.limited), []).append(result)
    phases = {key: _phases(group) for key, group in groups.items()}
    longest = max((sum(p.values()) for p in phases.values()), default=0.0) or 1.0
    return [_cost(board.rows[key[0]], key[1], group, phases[key], longest) for key, group in groups.items()]


def _phases(results: Sequence[Result]) -> dict[str, float]:
    names = dict.fromkeys(name for r in results for name in r.seconds)
    shared = {"decode", "encode"} & names.keys()
    spent = {name: [r.seconds.get(name, 0.0) for r in results] for name in names if not (name == "embed" and shared)}
    return {name: sum(each) if name == "probe" else max(each) for name, each in spent.items()}


def _cost(row: EncoderRow, name: str, results: Sequence[Result], phases: Mapping[str, float], longest: float) -> Cost:
    parts = tuple((escaped(k), format_duration(v), round(100 * v / longest, 2)) for k, v in phases.items())
    wall = max(r.seconds.get("embed", r.seconds.get("encode", 0.0)) for r in results)
    examples = results[0].settings.get("dataset", {}).get("examples", 0)
    rate = f"{examples / wall:,.1f} examples/s" if wall > 0 and examples else "vectors from the store"
    return Cost(row, escaped(name), parts, format_duration(sum(phases.values())), rate)


def score_range(scores: Mapping[int, Score]) -> str:
    """Lowest and highest of some scores as text."""
    values = sorted(s.value for s in scores.values())
    return number(values[0]) if len(values) == 1 else f"{number(values[0])} to {number(values[-1])}"
