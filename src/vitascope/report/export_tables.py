"""Tables for papers and terminals: Markdown, LaTeX (booktabs) and rich."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from vitascope.core.text import escaped, interval, number
from vitascope.core.types import Score
from vitascope.evaluation.results import Result
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.analysis import phrases, published
from vitascope.report.analysis.data_warnings import warning_lines
from vitascope.report.analysis.head_selection import chosen_on_test
from vitascope.report.analysis.leaderboard import Column, EncoderRow, Leaderboard
from vitascope.report.analysis.phrases import TextRun, caveats
from vitascope.report.analysis.ranking import (
    FAMILY,
    Chance,
    Ranking,
    average_columns,
    average_name,
    averages,
    chance_level,
)
from vitascope.report.analysis.units import interval_definition
from vitascope.report.sections import insights, temporal
from vitascope.report.sections.tables import ON_TEST_NOTE, Extras, SummaryTable, collect_extras, summary_tables

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

DAGGER = "†"
CHANCE, BOUND = "chance", "order-free"
"""Labels of the rows of chance levels, and of what frames without their order tell."""
NOTE = (
    f"Bold: top tier, encoders that do not differ significantly from the best (paired test, {FAMILY}, 5 %). † the "
    "encoder's pretraining data include this dataset."
)
TEX_PREAMBLE = "% needs \\usepackage{booktabs} and \\usepackage[T1]{fontenc}\n"
_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "−": "$-$",
    DAGGER: r"$^\dagger$",
    **{c: rf"\{c}" for c in "&%$#_{}"},
}


def tex_escape(text: str) -> str:
    """Escape text for LaTeX."""
    return "".join(_TEX.get(c, c) for c in escaped(text))


def md_escape(text: str) -> str:
    """Escape text for Markdown, including tables."""
    return re.sub(r"([\\`*_\[\]<>|~&$])", r"\\\1", escaped(text))


def markdown(
    board: Leaderboard, rankings: Mapping[str, Ranking], findings: Sequence[Sequence[TextRun]], extras: Extras
) -> str:
    """Render the key findings and all tables as GitHub Markdown."""
    lines = markdown_head(findings)
    lines += [line for warning in _data_warnings(board) for line in (f"**{md_escape(warning)}**", "")]
    if board.main():
        lines += [*_markdown_table(board, board.main(), rankings), "", _note(board, rankings), ""]
    for column in board.other_protocols():
        note = f"{column.task} under another protocol (not comparable to the above): {_difference_text(board, column)}"
        lines += [md_escape(note), "", *_markdown_table(board, [column], {}), ""]
    return "\n".join(lines) + markdown_summaries([*_task_tables(board), *summary_tables(board, extras)])


def _task_tables(board: Leaderboard) -> list[SummaryTable]:
    """The tables of single tasks."""
    return [*temporal.score_tables(board), *temporal.error_tables(board), *insights.tables(board)]


def markdown_head(findings: Sequence[Sequence[TextRun]]) -> list[str]:
    """Title and key findings, as lines that end with an empty one."""
    lines = ["# Vitascope", ""]
    for sentence in findings:
        lines += ["".join(f"**{md_escape(r.text)}**" if r.strong else md_escape(r.text) for r in sentence), ""]
    return lines


def markdown_summaries(tables: Sequence[SummaryTable]) -> str:
    """Render tables under their titles; to be appended after a full line."""
    lines = [""]
    for table in tables:
        lines += [f"## {md_escape(table.title)}", "", md_escape(table.note), "", *_markdown_summary(table), ""]
    return "\n".join(lines)


def _data_warnings(board: Leaderboard) -> list[str]:
    """The warnings on the data of a board, each a sentence."""
    return [f"{line}." for line in warning_lines(r for column in board.columns for r in column.cells.values())]


def _note(board: Leaderboard, rankings: Mapping[str, Ranking]) -> str:
    notes = [f"Brackets: {interval_definition(board, rankings)}.", NOTE, *[ON_TEST_NOTE] * bool(chosen_on_test(board))]
    notes += [order] if (order := phrases.order_free_note(r.chance for r in rankings.values())) else []
    return " ".join([*notes, *(f"Published: {source}." for source in published.sources(c.first for c in board.main()))])


def _markdown_summary(table: SummaryTable) -> list[str]:
    rule = "|" + "|".join("---" for _ in table.heads) + "|"
    lines = [f"| {' | '.join(md_escape(cell) for cell in line)} |" for line in (table.heads, *table.rows)]
    return [lines[0], rule, *lines[1:]]


def _markdown_table(board: Leaderboard, columns: Sequence[Column], rankings: Mapping[str, Ranking]) -> list[str]:
    heads = [*(_heading(c) for c in columns), *(name for name, _ in _averages(board, columns, rankings))]
    lines = [f"| encoder | {' | '.join(map(md_escape, heads))} |", "|---|" + "---:|" * len(heads)]
    for row in _rows_in(board, columns):
        cells = [_markdown_cell(*entry) for entry in _scores_of_row(board, columns, rankings, row)]
        lines.append(f"| {md_escape(row.label)} | " + " | ".join(cells) + " |")
    lines += [f"| *{n}* | {' | '.join(cells)} |" for n, cells in _levels(board, columns, rankings).items()]
    gray = ((f"*{md_escape(name)}*", cells) for name, cells in _published(columns, len(heads)))
    return [*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in gray)]


def _published(columns: Sequence[Column], count: int) -> list[tuple[str, list[str]]]:
    """Published scores under their encoder and paper, in the columns of their tasks among `count`."""
    lines: dict[str, list[str]] = {}
    for place, column in enumerate(columns):
        for of in published.published(column.first):
            for row in of.rows:
                line = lines.setdefault(f"{row.encoder} ({of.paper}, published)", ["–"] * count)
                line[place] = row.text
    return [*lines.items()]


def _levels(board: Leaderboard, columns: Sequence[Column], rankings: Mapping[str, Ranking]) -> dict[str, list[str]]:
    """Chance level of each column and average as text, and what frames without order tell; without unknown rows."""
    known = _chance_levels(board, columns, rankings)
    rows = {CHANCE: [number(c.value) if c else "–" for c in known] if any(known) else []}
    if any(c and c.bound is not None for c in known):
        rows[BOUND] = [number(c.order_free) if c and c.order_free is not None else "–" for c in known]
    return {name: cells for name, cells in rows.items() if cells}


def _chance_levels(
    board: Leaderboard, columns: Sequence[Column], rankings: Mapping[str, Ranking]
) -> list[Chance | None]:
    """Chance level of each column and average."""
    known = [rankings[c.task].chance if c.main and c.task in rankings else chance_level(c, ()) for c in columns]
    return [*known, *(ranking.chance for _, ranking in _averages(board, columns, rankings))]


def _markdown_cell(score: Score | None, top_tier: bool, in_pretraining_data: bool) -> str:
    if score is None:
        return "–"
    value = number(score.value)
    text = f"**{value}**" if top_tier else value
    return " ".join([text + DAGGER * in_pretraining_data, interval(score)]).strip()


def _averages(
    board: Leaderboard, columns: Sequence[Column], rankings: Mapping[str, Ranking]
) -> list[tuple[str, Ranking]]:
    """Averages over datasets that follow the main columns."""
    names = [average_name(probe) for probe in average_columns(board)] if len(columns) > 1 else []
    return [(name, rankings[name]) for name in names if name in rankings]


def _scores_of_row(
    board: Leaderboard, columns: Sequence[Column], rankings: Mapping[str, Ranking], row: EncoderRow
) -> Iterator[tuple[Score | None, bool, bool]]:
    """Yield score, whether it is in the top tier, and whether it has a dagger, for each column and average."""
    for column in columns:
        result, ranking = column.cells.get(row.index), rankings.get(column.task)
        yield (
            result.headline if result else None,
            _in_top_tier(ranking, row),
            bool(result and result.in_pretraining_data),
        )
    for _, ranking in _averages(board, columns, rankings):
        yield ranking.scores.get(row.index), _in_top_tier(ranking, row), False


def latex(board: Leaderboard, rankings: Mapping[str, Ranking], extras: Extras) -> str:
    r"""Render all tables as LaTeX, for \input after \usepackage{booktabs} and \usepackage[T1]{fontenc}."""
    note = " ".join([_note(board, rankings), *_data_warnings(board)])
    tables = [_latex_table(board, board.main(), rankings, note)] if board.main() else []
    for column in board.other_protocols():
        note = f"Under another protocol, not comparable to the other table: {_difference_text(board, column)}"
        tables.append(_latex_table(board, [column], {}, note))
    tables += [_latex_summary(table) for table in [*_task_tables(board), *summary_tables(board, extras)]]
    return TEX_PREAMBLE + "\n".join(tables)


def latex_summaries(tables: Sequence[SummaryTable]) -> str:
    """Render tables, to be appended to a file of tables."""
    return "".join(f"\n{_latex_summary(table)}" for table in tables)


def _latex_table(board: Leaderboard, columns: Sequence[Column], rankings: Mapping[str, Ranking], note: str) -> str:
    """Datasets above their probes; of each encoder a line of scores and a line of intervals."""
    averages = [("average", name.removeprefix(average_name(""))) for name, _ in _averages(board, columns, rankings)]
    heads = [*(_heading(c, "\n").partition("\n")[::2] for c in columns), *averages]
    body = [line for row in _rows_in(board, columns) for line in _latex_lines(board, columns, rankings, row)]
    body += [[rf"\emph{{{n}}}", *cells] for n, cells in _levels(board, columns, rankings).items()]
    gray = _published(columns, len(heads))
    body += [[rf"\emph{{{tex_escape(name)}}}", *map(tex_escape, cells)] for name, cells in gray]
    body = [[cell.replace("–", "--") for cell in line] for line in body]
    above = _spanned([dataset for dataset, _ in heads])
    return _tabular(note, ["Encoder", *(probe for _, probe in heads)], body, f"l{'r' * len(heads)}", above)


def _latex_lines(
    board: Leaderboard, columns: Sequence[Column], rankings: Mapping[str, Ranking], row: EncoderRow
) -> list[list[str]]:
    """The scores of an encoder, and their intervals below them if there are any."""
    scores = list(_scores_of_row(board, columns, rankings, row))
    intervals = [tex_escape(interval(score)) if score else "" for score, *_ in scores]
    lines = [[tex_escape(row.label), *(_latex_cell(*entry) for entry in scores)]]
    return [*lines, ["", *(rf"{{\tiny {text}}}" if text else "" for text in intervals)]] if any(intervals) else lines


def _spanned(titles: Sequence[str]) -> str:
    """A line of titles, each over all adjacent columns that it belongs to, and rules below them; from column 2 on."""
    runs = [list(run) for _, run in groupby(range(len(titles)), titles.__getitem__)]
    cells = [rf"\multicolumn{{{len(run)}}}{{c}}{{{tex_escape(titles[run[0]])}}}" for run in runs]
    rules = "".join(rf"\cmidrule(lr){{{run[0] + 2}-{run[-1] + 2}}}" for run in runs)
    return f"    & {' & '.join(cells)} \\\\\n    {rules}\n"


def _latex_summary(table: SummaryTable) -> str:
    body = [[tex_escape(cell) for cell in line] for line in table.rows]
    return _tabular(f"{table.title}. {table.note}", table.heads, body, "l" * len(table.heads))


def _tabular(note: str, heads: Sequence[str], body: Sequence[Sequence[str]], form: str, above: str = "") -> str:
    """Render a table with a caption; the cells of `body` and the lines `above` the heads are LaTeX already."""
    # what follows \\ and starts with [ or * would be its argument
    rows = "".join(f"    {'{}' * line[0].startswith(('[', '*'))}{' & '.join(line)} \\\\\n" for line in body)
    return (
        "\\begin{table}\n  \\centering\\small\\setlength{\\tabcolsep}{3pt}\n"
        f"  \\caption{{{tex_escape(note)}}}\n"
        f"  \\begin{{tabular}}{{{form}}}\n    \\toprule\n{above}"
        f"    {' & '.join(map(tex_escape, heads))} \\\\\n    \\midrule\n"
        f"{rows}    \\bottomrule\n  \\end{{tabular}}\n\\end{{table}}\n"
    )


def _latex_cell(score: Score | None, top_tier: bool, in_pretraining_data: bool) -> str:
    if score is None:
        return "--"
    value = tex_escape(number(score.value))
    return (rf"\textbf{{{value}}}" if top_tier else value) + tex_escape(DAGGER) * in_pretraining_data


def terminal(recorded: Sequence[Result], run: str | Path | None = None) -> Group:
    """Lay out results for a terminal: scores of standard tasks, then tables of variants.

    With the folder of the `run`, the effect of motion is computed from the predictions in it.
    """
    from rich.console import Group

    board = boards.build(boards.resolve_predictions(recorded, run) if run is not None else recorded)
    parts = [_scores(board)] if board.plain() else []
    parts += [terminal_summary(table) for table in [*temporal.score_tables(board), *insights.tables(board, brief=True)]]
    parts += [terminal_summary(table) for table in summary_tables(board, collect_extras(board, {}), brief=True)]
    return Group(*parts)


def _scores(board: Leaderboard) -> Table:
    """Tasks as columns if they fit, otherwise one row per result."""
    from rich.table import Table
    from rich.text import Text

    columns = [*board.main(), *board.other_protocols()]
    rankings = {
        c.task: Ranking({row: r.headline for row, r in c.cells.items()}, chance=chance_level(c, ()))
        for c in board.main()
    }
    rankings = {**rankings, **averages(board, rankings)}
    average_names = [name for name, _ in _averages(board, columns, rankings)]
    wide = len(columns) + len(average_names) <= 3
    titles = [*(_heading(c, "\n" if wide else ":") for c in columns), *average_names]
    heads = ["encoder", *titles] if wide else ["task", "encoder", "score"]
    recorded = [result for column in columns for result in column.cells.values()]
    order = phrases.order_free_note(_chance_levels(board, columns, rankings))
    table = Table(caption="\n".join(filter(None, (_caption(recorded), order))), caption_justify="left")
    for index, head in enumerate(heads):
        is_score = index > 0 if wide else index == 2
        table.add_column(Text(head), justify="right" if is_score else "left", overflow="fold")
    cells = {
        row.label: [_terminal_cell(s, met) for s, _, met in _scores_of_row(board, columns, rankings, row)]
        for row in board.rows
    }
    cells |= _levels(board, columns, rankings)
    cells |= dict(_published(columns, len(titles)))
    for line in _lines(cells) if wide else _long_lines(titles, cells):
        table.add_row(*(Text(text) for text in line))
    return table


def terminal_summary(summary: SummaryTable) -> Table:
    """Lay out a summary table for a terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(summary.title), title_justify="left", caption=Text(summary.note), caption_justify="left")
    for head in summary.heads:
        table.add_column(Text(head), overflow="fold")
    for previous, line in zip([None, *summary.rows], summary.rows, strict=False):
        repeated = previous is not None and previous[0] == line[0]
        table.add_row(*(Text(cell) for cell in ("" if repeated else line[0], *line[1:])))
    return table


def _lines(cells: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    for label, scores in cells.items():
        yield [escaped(label), *(score.replace(" ", "\n", 1) for score in scores)]


def _long_lines(heads: Sequence[str], cells: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    for index, head in enumerate(heads):
        scored = [(label, scores[index]) for label, scores in cells.items() if scores[index] != "–"]
        for position, (label, score) in enumerate(scored):
            yield ["" if position else head, escaped(label), score]


def _caption(recorded: Sequence[Result]) -> str:
    notes = ["headline score, 95 % interval"]
    notes += [f"{DAGGER} in the encoder's pretraining data"] if any(r.in_pretraining_data for r in recorded) else []
    notes += ["mAP over classes where examples have several labels"] if any(r.multilabel for r in recorded) else []
    unscored = sum(max(r.expected - r.n, 0) for r in recorded)
    notes += [f"{unscored} test example{'s' * (unscored > 1)} not scored"] if unscored else []
    notes += [f"published: {source}" for source in published.sources(recorded)]
    return "; ".join(notes)


def _terminal_cell(score: Score | None, in_pretraining_data: bool) -> str:
    return "–" if score is None else f"{number(score.value)}{DAGGER * in_pretraining_data} {interval(score)}".strip()


def _heading(column: Column, separator: str = ":") -> str:
    warnings = caveats(limited=column.limited, on_test=column.on_test)
    warnings += [] if column.main else [f"protocol {column.protocol[:6]}"]
    name = f"{escaped(column.first.dataset)}{separator}{escaped(column.first.probe)}"
    return name + (f" ({', '.join(warnings)})" if warnings else "")


def _in_top_tier(ranking: Ranking | None, row: EncoderRow) -> bool:
    return ranking is not None and ranking.tiers.get(row.index) == 1


def _rows_in(board: Leaderboard, columns: Sequence[Column]) -> list[EncoderRow]:
    return [row for row in board.rows if any(row.index in c.cells for c in columns)]


def _difference_text(board: Leaderboard, column: Column) -> str:
    settings = boards.setting_differences(column.settings, board.main_of(column).settings)
    if not settings:
        return "limited" if column.limited else "same recorded settings, but different protocol digests"
    return "; ".join(f"{s.name} {s.ours}, not {s.theirs}" for s in settings)
