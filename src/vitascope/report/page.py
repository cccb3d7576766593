"""The page: everything a run holds, set as one self-contained HTML file, and the tables beside it."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vitascope import results
from vitascope.files import replacing
from vitascope.report import board as boards
from vitascope.report import figures, tables, views, words
from vitascope.report.board import Board, Column, Row
from vitascope.report.figures import Axis, Strip
from vitascope.report.findings import Confusion, Findings, Standing, examine, overall
from vitascope.report.words import Run, shown
from vitascope.types import nearest, plain

HERE = Path(__file__).parent
FORMATS = ("html", "md", "tex")


class TaskView(NamedTuple):
    """One column in full."""

    title: str
    limited: bool
    note: str
    spread: str
    chance: str
    axis: Axis
    strips: Sequence[Strip]
    matrix: Sequence[tuple[Row, Sequence[views.Gap]]]
    classes: Sequence[Strip]
    confusions: Sequence[tuple[Row, Sequence[Confusion]]]
    rows: Sequence[Row]


def write(run: str | Path, *, formats: Sequence[str] = FORMATS) -> dict[str, Path]:
    """Write the report of a run folder into it: `report.html`, `report.md` and `report.tex`, or those of `formats`.

    ValueError for a format there is none of, or a run folder without results.
    """
    run = Path(run)
    for name in formats:
        if name not in FORMATS:
            raise ValueError(f"no report format {name!r}{nearest(name, FORMATS)}; there are {', '.join(FORMATS)}")
    found = boards.gather([run])
    if not found:
        raise ValueError(f"{run / results.RESULTS}: no result in it; record one with `vitascope evaluate ... -o {run}`")
    board = boards.build(found)
    findings = [examine(column) for column in board.columns]
    standings = _standings(board, findings)
    verdicts = _verdicts(board, standings)
    written: dict[str, Path] = {}
    for name in formats:
        if name == "html":
            text = _html(run, board, findings, standings, verdicts)
        elif name == "md":
            text = tables.markdown(board, standings, verdicts)
        else:
            text = tables.latex(board, standings)
        written[name] = run / f"report.{name}"
        with replacing(written[name]) as aside:
            aside.write_bytes(text.encode("utf-8", "backslashreplace"))
    return written


def _standings(board: Board, findings: Sequence[Findings]) -> dict[str, Standing]:
    """By task for the main columns, and by axis."""
    standings = {c.task: f.standing for c, f in zip(board.columns, findings, strict=True) if c.main}
    for axis in ("appearance", "motion"):
        found = overall(board, standings, axis)
        if found is not None:
            standings[axis] = found
    return standings


def _verdicts(board: Board, standings: Mapping[str, Standing]) -> list[list[Run]]:
    """A sentence for each axis, else for each task."""
    subjects = [axis for axis in ("appearance", "motion") if axis in standings]
    tasks = [c.task for c in board.main() if c.axis not in subjects]
    most = 3 if not subjects else 1
    sentences = [words.verdict(board, shown(s), standings[s]) for s in [*subjects, *tasks[:most]]]
    if any(r.limited for c in board.main() for r in c.cells.values()):
        sentences.append([Run("This run was cut short by --limit: never publish these numbers.", True)])
    return sentences


def _html(
    run: Path,
    board: Board,
    findings: Sequence[Findings],
    standings: Mapping[str, Standing],
    verdicts: Sequence[Sequence[Run]],
) -> str:
    script = (HERE / "page.js").read_text(encoding="utf-8")
    found = [r for c in board.columns for r in c.cells.values()]
    scatter = None
    if {"appearance", "motion"} <= standings.keys():
        scatter = figures.scatter(board.rows, standings["appearance"], standings["motion"])
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            run=shown(run.resolve().name),
            recorded=_recorded(run),
            versions=words.versions(found),
            verdicts=verdicts,
            rows=board.rows,
            table=views.table(board, board.main(), standings),
            apart=views.apart(board),
            scatter=scatter,
            left_out=views.left_out(board),
            tasks=[_task(c, f, board) for c, f in zip(board.columns, findings, strict=True)],
            asked=len(board.main()),
            examples=sum(max(r.n for r in found if r.dataset == name) for name in {r.dataset for r in found}),
            lost=views.lost(board),
            reported=views.reported(board),
            costs=views.costs(board),
            questions=[(shown(c.task), c.protocol, c.limited, _question(c)) for c in board.columns],
            any_seen=any(r.seen for r in found),
            ranked=any(s.tiers for s in standings.values()),
            guessed=words.guessed(s.chance for s in standings.values() if s.chance),
            percent=figures.PERCENT,
            css=Markup((HERE / "page.css").read_text(encoding="utf-8")),
            js=Markup(script),
            script_hash=b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _environment() -> Environment:
    loader = FileSystemLoader(HERE)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(shown=shown, number=words.number, pretty=_pretty, parted=_parted)
    return environment


def _pretty(value: Any) -> str:
    return json.dumps(plain(value), indent=2, ensure_ascii=False)


def _parted(name: str) -> Markup:
    """A name that may be broken after a slash; after a hyphen browsers do it themselves."""
    return Markup("/<wbr>").join(shown(name).split("/"))


def _recorded(run: Path) -> str:
    last = datetime.fromtimestamp((run / results.RESULTS).stat().st_mtime, UTC)
    return f"{last.day} {last:%B %Y, %H:%M} UTC"


def _question(column: Column) -> dict[str, Any]:
    """The settings of a column without the class names, which its figure lists."""
    settings = column.settings
    if "classes" in settings:
        settings["classes"] = f"{len(settings['classes'])}"
    return settings


def _task(column: Column, findings: Findings, board: Board) -> TaskView:
    axis, strips = figures.standings(column, board.rows, findings.standing)
    confusions = [(board.rows[row], found) for row, found in findings.confusions.items() if found]
    return TaskView(
        title=shown(column.task),
        limited=column.limited,
        note="" if column.main else f"protocol {column.protocol[:6]}",
        spread=views.spread(findings.standing.scores),
        chance=views.chance(findings.standing),
        axis=axis,
        strips=strips,
        matrix=views.matrix(findings.standing, board.rows),
        classes=figures.classes(column, board.rows),
        confusions=confusions,
        rows=[row for row in board.rows if row.index in column.cells],
    )
