"""Tables for papers and terminals: Markdown, LaTeX (booktabs) and rich."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from vitascope.report import board as boards
from vitascope.report.board import Board, Column, Row
from vitascope.report.findings import Standing
from vitascope.report.words import Run, interval, number, shown
from vitascope.results import Result

if TYPE_CHECKING:
    from rich.table import Table

DAGGER = "†"
LIMITED = "limited: never publish"
NOTE = (
    "Brackets: 95 % intervals, drawn over groups of examples. Bold: the first tier, encoders not separable from the "
    "best (paired test, Holm, 5 %). † the encoder met this data set in pretraining."
)
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


def markdown(board: Board, standings: Mapping[str, Standing], verdicts: Sequence[Sequence[Run]]) -> str:
    """The tables as GitHub shows them, under the verdicts."""
    lines = ["# Vitascope", ""]
    for sentence in verdicts:
        lines += ["".join(f"**{md_escape(r.text)}**" if r.strong else md_escape(r.text) for r in sentence), ""]
    lines += [*_markdown_table(board, board.main(), standings), "", NOTE, ""]
    for column in board.apart():
        why = f"{column.task}, asked differently (not to be ranked with the above): {_why(board, column)}"
        lines += [md_escape(why), "", *_markdown_table(board, [column], {}), ""]
    return "\n".join(lines)


def _markdown_table(board: Board, columns: Sequence[Column], standings: Mapping[str, Standing]) -> list[str]:
    head = "| encoder | " + " | ".join(md_escape(_heading(c)) for c in columns) + " |"
    lines = [head, "|---|" + "---:|" * len(columns)]
    for row in _present(board, columns):
        cells = [_markdown_cell(c.cells.get(row.index), _first(standings, c, row)) for c in columns]
        lines.append(f"| {md_escape(row.label)} | " + " | ".join(cells) + " |")
    return lines


def _markdown_cell(result: Result | None, first: bool) -> str:
    if result is None:
        return "–"
    value = number(result.headline.value)
    text = f"**{value}**" if first else value
    return " ".join([text + DAGGER * result.seen, interval(result.headline)]).strip()


def latex(board: Board, standings: Mapping[str, Standing]) -> str:
    r"""The tables as LaTeX, for \input after \usepackage{booktabs} and T1 fonts."""
    tables = [_latex_table(board, board.main(), standings, NOTE)]
    for column in board.apart():
        note = f"Asked differently, not to be ranked with the other table: {_why(board, column)}"
        tables.append(_latex_table(board, [column], {}, note))
    return "% needs \\usepackage{booktabs} and \\usepackage[T1]{fontenc}\n" + "\n".join(tables)


def _latex_table(board: Board, columns: Sequence[Column], standings: Mapping[str, Standing], note: str) -> str:
    head = " & ".join(["Encoder", *(tex_escape(_heading(c)) for c in columns)])
    body = [
        " & ".join(
            [tex_escape(row.label), *(_latex_cell(c.cells.get(row.index), _first(standings, c, row)) for c in columns)]
        )
        for row in _present(board, columns)
    ]
    rows = "".join(f"    {line} \\\\\n" for line in body)
    return (
        "\\begin{table}\n  \\centering\n"
        f"  \\caption{{{tex_escape(note)}}}\n"
        f"  \\begin{{tabular}}{{l{'r' * len(columns)}}}\n    \\toprule\n    {head} \\\\\n    \\midrule\n"
        f"{rows}    \\bottomrule\n  \\end{{tabular}}\n\\end{{table}}\n"
    )


def _latex_cell(result: Result | None, first: bool) -> str:
    if result is None:
        return "--"
    value = tex_escape(number(result.headline.value))
    text = rf"\textbf{{{value}}}" if first else value
    small = interval(result.headline)
    return text + tex_escape(DAGGER) * result.seen + (rf" {{\scriptsize {tex_escape(small)}}}" if small else "")


def terminal(found: Sequence[Result]) -> Table:
    """The results as a table for the end of a run: tasks side by side where they fit, else one line for each result."""
    from rich.table import Table
    from rich.text import Text

    board = boards.build(found)
    columns = [*board.main(), *board.apart()]
    wide = len(columns) <= 3
    heads = ["encoder", *(_heading(c, "\n") for c in columns)] if wide else ["task", "encoder", "score"]
    table = Table(caption=_caption(found), caption_justify="left")
    for place, head in enumerate(heads):
        scored = place > 0 if wide else place == 2
        table.add_column(Text(head), justify="right" if scored else "left", overflow="fold")
    for line in _lines(board, columns) if wide else _long_lines(board, columns):
        table.add_row(*(Text(text) for text in line))
    return table


def _lines(board: Board, columns: Sequence[Column]) -> Iterator[list[str]]:
    for row in board.rows:
        cells = [_plain_cell(c.cells.get(row.index)).replace(" ", "\n", 1) for c in columns]
        yield [shown(row.label), *cells]


def _long_lines(board: Board, columns: Sequence[Column]) -> Iterator[list[str]]:
    for column in columns:
        first = _heading(column)
        for row in _present(board, [column]):
            yield [first, shown(row.label), _plain_cell(column.cells.get(row.index))]
            first = ""


def _caption(found: Sequence[Result]) -> str:
    notes = ["headline score, 95 % interval"]
    notes += [f"{DAGGER} met in pretraining"] if any(r.seen for r in found) else []
    lost = sum(max(r.expected - r.n, 0) for r in found)
    notes += [f"{lost} test example{'s' * (lost > 1)} not scored"] if lost else []
    return "; ".join(notes)


def _plain_cell(result: Result | None) -> str:
    if result is None:
        return "–"
    return f"{number(result.headline.value)}{DAGGER * result.seen} {interval(result.headline)}".strip()


def _heading(column: Column, between: str = ":") -> str:
    marks = [LIMITED] if column.limited else []
    marks += [] if column.main else [f"protocol {column.protocol[:6]}"]
    name = f"{shown(column.any.dataset)}{between}{shown(column.any.probe)}"
    return name + (f" ({', '.join(marks)})" if marks else "")


def _first(standings: Mapping[str, Standing], column: Column, row: Row) -> bool:
    standing = standings.get(column.task)
    return standing is not None and standing.tiers.get(row.index) == 1


def _present(board: Board, columns: Sequence[Column]) -> list[Row]:
    return [row for row in board.rows if any(row.index in c.cells for c in columns)]


def _why(board: Board, column: Column) -> str:
    settings = boards.differing(column.settings, board.main_of(column).settings)
    if not settings:
        return "limited" if column.limited else "the settings read alike, the protocol digests do not"
    return "; ".join(f"{s.name} {s.ours}, not {s.theirs}" for s in settings)
