"""Views: what each part of the page shows, as plain values ready to be set in type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from vitascope.core.text import interval, lasted, margin, number, p_value, share, shown, signed, span, valued
from vitascope.core.types import Score
from vitascope.evaluation.results import Result
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.analysis import phrases
from vitascope.report.analysis.head_selection import spread as spread_of
from vitascope.report.analysis.leaderboard import Column, EncoderRow, Leaderboard, SettingDifference
from vitascope.report.analysis.ranking import ALPHA, Ranking, average_of, averaged

MOST = 200
"""Examples listed for one reason; the rest are in the results file."""
KINDS = ("missing", "damaged but used")
Trouble = tuple[str, str, tuple[tuple[str, str], ...]]
"""Dataset, kind, and (example, reason) of each."""
NAMED = 3
"""Tasks named in a sentence; of more, the number."""
AVERAGE = "Average"
TITLES = {"appearance": "Appearance", "motion": "Motion", "": "Other"}


class Cell(NamedTuple):
    """A score in the table; `tier` 0 where no ranking is possible."""

    value: str
    interval: str = ""
    tier: int = 0
    in_pretraining_data: bool = False
    sort: float = -1.0
    tip: str = ""


class ColumnHeader(NamedTuple):
    """Over a column of scores."""

    dataset: str
    probe: str
    limited: bool = False
    tip: str = ""
    chance: str = ""
    on_test: bool = False


class Table(NamedTuple):
    """Encoders by tasks: (title, columns) of each axis, heads, and the cells of each row."""

    groups: tuple[tuple[str, int], ...]
    heads: tuple[ColumnHeader, ...]
    rows: tuple[tuple[EncoderRow, tuple[Cell, ...]], ...]


class Apart(NamedTuple):
    """A column that may not be ranked with the main one, and what differs."""

    title: str
    limited: bool
    differs: Sequence[SettingDifference]
    table: Table


class Gap(NamedTuple):
    """A cell of the matrix of differences: `sign` is 0 where the two are not separable."""

    text: str
    sign: int
    tip: str


class Lost(NamedTuple):
    """A result without all its test examples, and how far those could move it."""

    row: EncoderRow
    task: str
    expected: int
    scored: int
    covered: str
    """The share that was scored."""
    reach: str


class Reported(NamedTuple):
    """Examples of a dataset, missing or damaged, for some encoders: reason, examples, and how many more there are."""

    what: str
    dataset: str
    encoders: str
    reasons: tuple[tuple[str, tuple[str, ...], int], ...]
    total: int


class Cost(NamedTuple):
    """Where an encoder's time on a dataset went: (phase, seconds, percent of the longest)."""

    row: EncoderRow
    dataset: str
    parts: tuple[tuple[str, str, float], ...]
    total: str
    rate: str


def table(board: Leaderboard, columns: Sequence[Column], standings: Mapping[str, Ranking]) -> Table:
    """The table of `columns`, with the mean of an axis behind its tasks where `standings` has it by the axis's name."""
    groups: list[tuple[str, int]] = []
    heads: list[ColumnHeader] = []
    cells: dict[int, list[Cell]] = {row.index: [] for row in board.rows}
    for axis in boards.AXES:
        members = [c for c in columns if c.axis == axis]
        parts = [(_head(c, standings.get(c.task)), standings.get(c.task), c.cells) for c in members]
        if axis in standings and len(members) > 1:
            limited, on_test = any(c.limited for c in members), any(c.on_test for c in members)
            mean = ColumnHeader("mean of", axis, limited, chance=chance(standings[axis]), on_test=on_test)
            parts.append((mean, standings[axis], {}))
        for head, standing, results in parts:
            heads.append(head)
            for row, line in cells.items():
                line.append(_cell(results.get(row), standing, row))
        if parts:
            groups.append((TITLES[axis], len(parts)))
    for head, standing in _averages(board, columns, standings):
        heads.append(head)
        groups[-1:] = [(AVERAGE, groups[-1][1] + 1)] if groups[-1][0] == AVERAGE else [groups[-1], (AVERAGE, 1)]
        for row, line in cells.items():
            line.append(_cell(None, standing, row))
    present = [row for row in board.rows if any(row.index in c.cells for c in columns)]
    return Table(tuple(groups), tuple(heads), tuple((row, tuple(cells[row.index])) for row in present))


def _averages(
    board: Leaderboard, columns: Sequence[Column], standings: Mapping[str, Ranking]
) -> Iterator[tuple[ColumnHeader, Ranking]]:
    """What stands behind the main columns: for each probe the unweighted mean over its data sets."""
    for probe, members in averaged(board).items() if len(columns) > 1 else ():
        standing = standings.get(average_of(probe))
        if standing:
            tip = "\n".join(["unweighted mean of top-1 over", *(shown(c.any.dataset) for c in members)])
            limited, on_test = any(c.limited for c in members), any(c.on_test for c in members)
            yield (
                ColumnHeader(f"{len(members)} data sets", shown(probe), limited, tip, chance(standing), on_test),
                standing,
            )


def _head(column: Column, standing: Ranking | None) -> ColumnHeader:
    result, guess = column.any, standing.chance if standing else None
    notes = [f"{next(iter(result.scores))}, percent"]
    notes += [f"{len(column.settings['classes'])} classes"] if column.settings.get("classes") else []
    notes += [f"chance {number(guess.value)}: {phrases.guessed([guess])}"] if guess else []
    tip, guessed = "\n".join(notes), chance(standing)
    return ColumnHeader(shown(result.dataset), shown(result.probe), column.limited, tip, guessed, column.on_test)


def chance(standing: Ranking | None) -> str:
    """The level of chance as text; nothing where it is not known."""
    return number(standing.chance.value) if standing and standing.chance else ""


def _cell(result: Result | None, standing: Ranking | None, row: int) -> Cell:
    score = result.headline if result else standing.scores.get(row) if standing else None
    if score is None:
        return Cell("–")
    tier = standing.tiers.get(row, 0) if standing else 0
    notes = [valued(score)] + ([f"tier {tier}"] if tier else [])
    if result:
        notes += [f"{n} {number(s.value)}" for n, s in list(result.scores.items())[1:]]
        notes += [text] if (text := spread_of(result.seeds)) else []
        notes += [f"{result.n} of {result.expected} examples", *filter(None, [phrases.covered(result)])]
        notes += [f"protocol {result.protocol}"]
        notes += ["† met this data set in pretraining"] if result.in_pretraining_data else []
    seen = result is not None and result.in_pretraining_data
    return Cell(number(score.value), interval(score), tier, seen, score.value, "\n".join(notes))


def apart(board: Leaderboard) -> list[Apart]:
    """The columns shown apart."""
    found = []
    for column in board.apart():
        differs = boards.differing(column.settings, board.main_of(column).settings)
        found.append(Apart(shown(column.task), column.limited, differs, table(board, [column], {})))
    return found


def matrix(standing: Ranking, rows: Sequence[EncoderRow]) -> list[tuple[EncoderRow, list[Gap]]]:
    """Row encoder minus column encoder, both in the order of the standing; empty without differences."""
    by_index = {row.index: row for row in rows}
    order = standing.order() if standing.pairs else []
    return [(by_index[i], [_gap(standing, by_index[i], by_index[j]) for j in order]) for i in order]


def _gap(standing: Ranking, a: EncoderRow, b: EncoderRow) -> Gap:
    found = standing.difference(a.index, b.index)
    if found is None:
        return Gap("", 0, "")
    p = standing.adjusted(a.index, b.index)
    sign = 0 if p >= ALPHA else 1 if found.value > 0 else -1
    among = f" in {found.units} groups" if found.units < found.n else ""
    gap = margin(Score(*found[:3]))
    notes = [f"{shown(a.label)} − {shown(b.label)}", gap, f"{p_value(p)} after Holm, n = {found.n}{among}"]
    if sign == 0:
        notes.append(phrases.unsure(found.n, found.units, found.needed()))
    return Gap(signed(found.value), sign, "\n".join(notes))


def lost(board: Leaderboard) -> list[Lost]:
    """Results with test examples that were not scored."""
    return [
        Lost(row, shown(result.task), result.expected, result.n, share(result.coverage), span(bounds))
        for row, result in _cells(board)
        if (bounds := result.bounds)
    ]


def _cells(board: Leaderboard) -> Iterator[tuple[EncoderRow, Result]]:
    """The results of plain questions, whose videos their variants share; without any those of the variants."""
    for column in board.plain() or board.columns:
        for row in board.rows:
            if row.index in column.cells:
                yield row, column.cells[row.index]


def reported(board: Leaderboard) -> list[Reported]:
    """Examples by dataset, kind of trouble and reason; encoders that report the same ones share an entry."""
    held: dict[Trouble, dict[str, None]] = {}
    for row, result in _cells(board):
        for what, said in zip(KINDS, (result.missing, result.notes), strict=True):
            if said:
                held.setdefault((result.dataset, what, tuple(sorted(said.items()))), {})[shown(row.label)] = None
    datasets = list(dict.fromkeys(dataset for dataset, *_ in held))
    ordered = sorted(held, key=lambda key: (datasets.index(key[0]), KINDS.index(key[1])))
    return [_reported(key, list(held[key]), len(board.rows)) for key in ordered]


def _reported(key: Trouble, who: Sequence[str], of: int) -> Reported:
    dataset, what, said = key
    reasons: dict[str, list[str]] = {}
    for name, why in said:
        reasons.setdefault(shown(why), []).append(shown(name))
    listed = tuple(
        (why, tuple(names[:MOST]), max(len(names) - MOST, 0))
        for why, names in sorted(reasons.items(), key=lambda item: -len(item[1]))
    )
    return Reported(what, shown(dataset), "every encoder" if len(who) == of else ", ".join(who), listed, len(said))


def left_out(board: Leaderboard) -> list[tuple[EncoderRow, str]]:
    """The encoders that lack a task of the two axes, and which."""
    columns = [*board.main("appearance"), *board.main("motion")]
    lacks = [(row, [shown(c.task) for c in columns if row.index not in c.cells]) for row in board.rows]
    return [(row, _listed(names)) for row, names in lacks if names]


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def costs(board: Leaderboard) -> list[Cost]:
    """Seconds of each encoder on each dataset by phase; one embedding serves all probes, whose seconds add up.

    `embed` is the time by the clock in which decoding and encoding overlapped: no phase of its own.
    """
    held: dict[tuple[int, str, bool], list[Result]] = {}
    for row in board.rows:
        for column in board.columns:
            result = column.cells.get(row.index)
            if result is not None and result.seconds:
                name = result.dataset.removesuffix(f"@{result.variant.get('train_fraction')}")
                held.setdefault((row.index, name, result.limited), []).append(result)
    phases = {key: _phases(found) for key, found in held.items()}
    longest = max((sum(p.values()) for p in phases.values()), default=0.0) or 1.0
    return [_cost(board.rows[key[0]], key[1], found, phases[key], longest) for key, found in held.items()]


def _phases(found: Sequence[Result]) -> dict[str, float]:
    names = dict.fromkeys(name for r in found for name in r.seconds)
    shared = {"decode", "encode"} & names.keys()
    spent = {name: [r.seconds.get(name, 0.0) for r in found] for name in names if not (name == "embed" and shared)}
    return {name: sum(each) if name == "probe" else max(each) for name, each in spent.items()}


def _cost(row: EncoderRow, name: str, found: Sequence[Result], phases: Mapping[str, float], longest: float) -> Cost:
    parts = tuple((shown(k), lasted(v), round(100 * v / longest, 2)) for k, v in phases.items())
    wall = max(r.seconds.get("embed", r.seconds.get("encode", 0.0)) for r in found)
    examples = found[0].settings.get("dataset", {}).get("examples", 0)
    rate = f"{examples / wall:,.1f} examples/s" if wall > 0 and examples else "vectors from the store"
    return Cost(row, shown(name), parts, lasted(sum(phases.values())), rate)


def spread(scores: Mapping[int, Score]) -> str:
    """Lowest and highest of some scores, in words."""
    values = sorted(s.value for s in scores.values())
    return number(values[0]) if len(values) == 1 else f"{number(values[0])} to {number(values[-1])}"
