"""Tables for papers and terminals: Markdown, LaTeX (booktabs) and rich."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vitascope.core.text import interval, number, shown
from vitascope.core.types import Score
from vitascope.evaluation.results import Result
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.analysis.head_selection import on_test
from vitascope.report.analysis.leaderboard import Column, EncoderRow, Leaderboard
from vitascope.report.analysis.phrases import Run, marks
from vitascope.report.analysis.ranking import Ranking, average_of, averaged, averages
from vitascope.report.sections import temporal
from vitascope.report.sections.tables import ON_TEST_NOTE, Extras, SummaryTable, extras, summaries

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

DAGGER = "†"
NOTE = (
    "Brackets: 95 % intervals, drawn over groups of examples. Bold: the first tier, encoders not separable from the "
    "best (paired test, Holm, 5 %). † the encoder met this data set in pretraining."
)
TEX_NEEDS = "% needs \\usepackage{booktabs} and \\usepackage[T1]{fontenc}\n"
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
    """`text` as LaTeX prints it."""
    return "".join(_TEX.get(c, c) for c in shown(text))


def md_escape(text: str) -> str:
    """`text` as Markdown prints it, inside a table too."""
    return re.sub(r"([\\`*_\[\]<>|~&$])", r"\\\1", shown(text))


def markdown(
    board: Leaderboard, standings: Mapping[str, Ranking], verdicts: Sequence[Sequence[Run]], found: Extras
) -> str:
    """The tables as GitHub shows them, under the verdicts."""
    lines = markdown_head(verdicts)
    if board.main():
        lines += [*_markdown_table(board, board.main(), standings), "", _note(board), ""]
    for column in board.apart():
        why = f"{column.task}, asked differently (not to be ranked with the above): {_why(board, column)}"
        lines += [md_escape(why), "", *_markdown_table(board, [column], {}), ""]
    timed = [*temporal.scores(board), *temporal.mistakes(board)]
    return "\n".join(lines) + markdown_summaries([*timed, *summaries(board, found)])


def markdown_head(verdicts: Sequence[Sequence[Run]]) -> list[str]:
    """The title and the verdicts, in lines that end in an empty one."""
    lines = ["# Vitascope", ""]
    for sentence in verdicts:
        lines += ["".join(f"**{md_escape(r.text)}**" if r.strong else md_escape(r.text) for r in sentence), ""]
    return lines


def markdown_summaries(found: Sequence[SummaryTable]) -> str:
    """Tables under their titles; each line of what stands before them must have ended."""
    lines = [""]
    for table in found:
        lines += [f"## {md_escape(table.title)}", "", md_escape(table.note), "", *_markdown_summary(table), ""]
    return "\n".join(lines)


def _note(board: Leaderboard) -> str:
    return f"{NOTE} {ON_TEST_NOTE}" if on_test(board) else NOTE


def _markdown_summary(table: SummaryTable) -> list[str]:
    rule = "|" + "|".join("---" for _ in table.heads) + "|"
    lines = [f"| {' | '.join(md_escape(cell) for cell in line)} |" for line in (table.heads, *table.rows)]
    return [lines[0], rule, *lines[1:]]


def _markdown_table(board: Leaderboard, columns: Sequence[Column], standings: Mapping[str, Ranking]) -> list[str]:
    heads = [*(_heading(c) for c in columns), *(name for name, _ in _averages(board, columns, standings))]
    lines = [f"| encoder | {' | '.join(map(md_escape, heads))} |", "|---|" + "---:|" * len(heads)]
    for row in _present(board, columns):
        cells = [_markdown_cell(*entry) for entry in _entries(board, columns, standings, row)]
        lines.append(f"| {md_escape(row.label)} | " + " | ".join(cells) + " |")
    return lines


def _markdown_cell(score: Score | None, first: bool, seen: bool) -> str:
    if score is None:
        return "–"
    value = number(score.value)
    text = f"**{value}**" if first else value
    return " ".join([text + DAGGER * seen, interval(score)]).strip()


def _averages(
    board: Leaderboard, columns: Sequence[Column], standings: Mapping[str, Ranking]
) -> list[tuple[str, Ranking]]:
    """The averages over data sets that stand behind `columns`, where those are the main ones."""
    names = [average_of(probe) for probe in averaged(board)] if len(columns) > 1 else []
    return [(name, standings[name]) for name in names if name in standings]


def _entries(
    board: Leaderboard, columns: Sequence[Column], standings: Mapping[str, Ranking], row: EncoderRow
) -> Iterator[tuple[Score | None, bool, bool]]:
    """Score, whether it is of the first tier, and the dagger: of a row in each column and each average."""
    for column in columns:
        result, standing = column.cells.get(row.index), standings.get(column.task)
        yield result.headline if result else None, _first(standing, row), bool(result and result.in_pretraining_data)
    for _, standing in _averages(board, columns, standings):
        yield standing.scores.get(row.index), _first(standing, row), False


def latex(board: Leaderboard, standings: Mapping[str, Ranking], found: Extras) -> str:
    r"""The tables as LaTeX, for \input after \usepackage{booktabs} and T1 fonts."""
    tables = [_latex_table(board, board.main(), standings, _note(board))] if board.main() else []
    for column in board.apart():
        note = f"Asked differently, not to be ranked with the other table: {_why(board, column)}"
        tables.append(_latex_table(board, [column], {}, note))
    told = [*temporal.scores(board), *temporal.mistakes(board), *summaries(board, found)]
    tables += [_latex_summary(table) for table in told]
    return TEX_NEEDS + "\n".join(tables)


def latex_summaries(found: Sequence[SummaryTable]) -> str:
    """Tables for the end of a file of them."""
    return "".join(f"\n{_latex_summary(table)}" for table in found)


def _latex_table(board: Leaderboard, columns: Sequence[Column], standings: Mapping[str, Ranking], note: str) -> str:
    heads = [*(_heading(c) for c in columns), *(name for name, _ in _averages(board, columns, standings))]
    body = [
        [tex_escape(row.label), *(_latex_cell(*entry) for entry in _entries(board, columns, standings, row))]
        for row in _present(board, columns)
    ]
    return _tabular(note, ["Encoder", *heads], body, f"l{'r' * len(heads)}")


def _latex_summary(table: SummaryTable) -> str:
    body = [[tex_escape(cell) for cell in line] for line in table.rows]
    return _tabular(f"{table.title}. {table.note}", table.heads, body, "l" * len(table.heads))


def _tabular(note: str, heads: Sequence[str], body: Sequence[Sequence[str]], form: str) -> str:
    """A table with its caption; the cells of `body` are LaTeX already."""
    rows = "".join(f"    {' & '.join(line)} \\\\\n" for line in body)
    return (
        "\\begin{table}\n  \\centering\n"
        f"  \\caption{{{tex_escape(note)}}}\n"
        f"  \\begin{{tabular}}{{{form}}}\n    \\toprule\n    {' & '.join(map(tex_escape, heads))} \\\\\n    \\midrule\n"
        f"{rows}    \\bottomrule\n  \\end{{tabular}}\n\\end{{table}}\n"
    )


def _latex_cell(score: Score | None, first: bool, seen: bool) -> str:
    if score is None:
        return "--"
    value = tex_escape(number(score.value))
    text = rf"\textbf{{{value}}}" if first else value
    small = interval(score)
    return text + tex_escape(DAGGER) * seen + (rf" {{\scriptsize {tex_escape(small)}}}" if small else "")


def terminal(found: Sequence[Result], run: str | Path | None = None) -> Group:
    """The results for the end of a run: plain ones in a table, what variants say in short ones below it.

    With the folder of the `run` the predictions in it are read, which motion use and need are drawn from.
    """
    from rich.console import Group

    board = boards.build(boards.located(found, run) if run is not None else found)
    parts = [_scores(board)] if board.plain() else []
    parts += [terminal_summary(table) for table in temporal.scores(board)]
    if board.variants():
        parts += [terminal_summary(table) for table in summaries(board, extras(board, {}), brief=True)]
    return Group(*parts)


def _scores(board: Leaderboard) -> Table:
    """Tasks side by side where they fit, else one line for each result."""
    from rich.table import Table
    from rich.text import Text

    columns = [*board.main(), *board.apart()]
    known = {c.task: Ranking({row: r.headline for row, r in c.cells.items()}) for c in board.main()}
    known = {**known, **averages(board, known)}
    means = [name for name, _ in _averages(board, columns, known)]
    wide = len(columns) + len(means) <= 3
    named = [*(_heading(c, "\n" if wide else ":") for c in columns), *means]
    heads = ["encoder", *named] if wide else ["task", "encoder", "score"]
    found = [result for column in columns for result in column.cells.values()]
    table = Table(caption=_caption(found), caption_justify="left")
    for place, head in enumerate(heads):
        scored = place > 0 if wide else place == 2
        table.add_column(Text(head), justify="right" if scored else "left", overflow="fold")
    cells = {
        row.label: [_plain_cell(s, seen) for s, _, seen in _entries(board, columns, known, row)] for row in board.rows
    }
    for line in _lines(cells) if wide else _long_lines(named, cells):
        table.add_row(*(Text(text) for text in line))
    return table


def terminal_summary(summary: SummaryTable) -> Table:
    """A table of text for the terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(summary.title), title_justify="left", caption=Text(summary.note), caption_justify="left")
    for head in summary.heads:
        table.add_column(Text(head), overflow="fold")
    for before, line in zip([None, *summary.rows], summary.rows, strict=False):
        again = before is not None and before[0] == line[0]
        table.add_row(*(Text(cell) for cell in ("" if again else line[0], *line[1:])))
    return table


def _lines(cells: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    for label, scores in cells.items():
        yield [shown(label), *(score.replace(" ", "\n", 1) for score in scores)]


def _long_lines(heads: Sequence[str], cells: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    for place, head in enumerate(heads):
        there = [(label, scores[place]) for label, scores in cells.items() if scores[place] != "–"]
        for turn, (label, score) in enumerate(there):
            yield ["" if turn else head, shown(label), score]


def _caption(found: Sequence[Result]) -> str:
    notes = ["headline score, 95 % interval"]
    notes += [f"{DAGGER} met in pretraining"] if any(r.in_pretraining_data for r in found) else []
    lost = sum(max(r.expected - r.n, 0) for r in found)
    notes += [f"{lost} test example{'s' * (lost > 1)} not scored"] if lost else []
    return "; ".join(notes)


def _plain_cell(score: Score | None, seen: bool) -> str:
    return "–" if score is None else f"{number(score.value)}{DAGGER * seen} {interval(score)}".strip()


def _heading(column: Column, between: str = ":") -> str:
    told = marks(limited=column.limited, on_test=column.on_test)
    told += [] if column.main else [f"protocol {column.protocol[:6]}"]
    name = f"{shown(column.any.dataset)}{between}{shown(column.any.probe)}"
    return name + (f" ({', '.join(told)})" if told else "")


def _first(standing: Ranking | None, row: EncoderRow) -> bool:
    return standing is not None and standing.tiers.get(row.index) == 1


def _present(board: Leaderboard, columns: Sequence[Column]) -> list[EncoderRow]:
    return [row for row in board.rows if any(row.index in c.cells for c in columns)]


def _why(board: Leaderboard, column: Column) -> str:
    settings = boards.differing(column.settings, board.main_of(column).settings)
    if not settings:
        return "limited" if column.limited else "the settings read alike, the protocol digests do not"
    return "; ".join(f"{s.name} {s.ours}, not {s.theirs}" for s in settings)
