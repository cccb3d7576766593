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
from vitascope.report import figures, sections, summaries, tables, views, words
from vitascope.report.board import Board, Column, Row
from vitascope.report.figures import Axis, Strip
from vitascope.report.findings import Confusion, Findings, Standing, average_of, averaged, averages, examine, overall
from vitascope.report.summaries import Extras, extras
from vitascope.report.training import on_test
from vitascope.report.words import Run, shown
from vitascope.types import nearest, plain

HERE = Path(__file__).parent
FORMATS = ("html", "md", "tex")


class TaskView(NamedTuple):
    """One column in full."""

    title: str
    limited: bool
    on_test: bool
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
    findings = [examine(column) for column in board.plain()]
    standings = _standings(board, findings)
    verdicts = _verdicts(board, standings)
    more = extras(board, standings)
    written: dict[str, Path] = {}
    for name in formats:
        if name == "html":
            text = _html(run, board, findings, (standings, verdicts, more))
        elif name == "md":
            text = tables.markdown(board, standings, verdicts, more)
        else:
            text = tables.latex(board, standings, more)
        written[name] = run / f"report.{name}"
        with replacing(written[name]) as aside:
            aside.write_bytes(text.encode("utf-8", "backslashreplace"))
    return written


def _standings(board: Board, findings: Sequence[Findings]) -> dict[str, Standing]:
    """By task for the main columns, by axis, and by probe for the averages over data sets."""
    standings = {c.task: f.standing for c, f in zip(board.plain(), findings, strict=True) if c.main}
    for axis in ("appearance", "motion"):
        found = overall(board, standings, axis)
        if found is not None:
            standings[axis] = found
    return {**standings, **averages(board, standings)}


def _verdicts(board: Board, standings: Mapping[str, Standing]) -> list[list[Run]]:
    """A sentence for each axis, else for each task."""
    subjects = [axis for axis in ("appearance", "motion") if axis in standings]
    tasks = [c.task for c in board.main() if c.axis not in subjects]
    most = 3 if not subjects else 1
    sentences = [words.verdict(board, shown(s), standings[s]) for s in [*subjects, *tasks[:most]]]
    if any(r.limited for c in board.main() for r in c.cells.values()):
        sentences.append([Run("This run was cut short by --limit: never publish these numbers.", True)])
    if on_test(board):
        named = ", ".join(shown(c.task) for c in on_test(board) if not c.variant) or "variants"
        sentences.append([Run(f"Chosen on the test set, so too high: {named}.", True)])
    return sentences


def _html(
    run: Path,
    board: Board,
    findings: Sequence[Findings],
    said: tuple[Mapping[str, Standing], Sequence[Sequence[Run]], Extras],
) -> str:
    script = (HERE / "page.js").read_text(encoding="utf-8")
    standings, verdicts, more = said
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
            tasks=[_task(c, f, board) for c, f in zip(board.plain(), findings, strict=True)],
            asked=len(board.main()),
            examples=sum(
                max(r.n for r in found if r.dataset == name) for name in {c.any.dataset for c in board.plain()}
            ),
            lost=views.lost(board),
            reported=views.reported(board),
            costs=views.costs(board),
            questions=[_settings(c) for c in board.plain()],
            any_seen=any(r.seen for r in found),
            ranked=any(s.tiers for s in standings.values()),
            guessed=words.guessed(s.chance for s in standings.values() if s.chance),
            percent=figures.PERCENT,
            css=Markup((HERE / "page.css").read_text(encoding="utf-8")),
            js=Markup(script),
            script_hash=b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            **_variants(board, more, standings),
        )
    )


def _examples(board: Board) -> int:
    """Test examples over all data sets."""
    most: dict[str, int] = {}
    for column in board.plain():
        for result in column.cells.values():
            most[result.dataset] = max(most.get(result.dataset, 0), result.n)
    return sum(most.values())


def _variants(board: Board, more: Extras, standings: Mapping[str, Standing]) -> dict[str, Any]:
    """What the page shows of variants and trainings."""
    drawn = {row for plot in more.plots for row in plot.scores}
    return {
        "plots": more.plots,
        "curved": [row for row in board.rows if row.index in drawn],
        "worth": sections.motion_section(board, more.worth) if more.worth or more.lacking else None,
        "lacking": more.lacking,
        "use_note": summaries.USE_NOTE,
        "need_note": summaries.NEED_NOTE,
        "summaries": summaries.summaries(board, more),
        "on_test": summaries.ON_TEST_NOTE if on_test(board) else "",
        "seeded": any(len(r.seeds) > 1 for c in board.plain() for r in c.cells.values()),
        "chosen": any(one.chosen for one in more.trained),
        "averaged": any(average_of(probe) in standings for probe in averaged(board)),
        "variants": [_settings(c) for c in board.variants()],
    }


def _settings(column: Column) -> tuple[str, str, bool, dict[str, Any]]:
    return shown(column.task), column.protocol, column.limited, _question(column)


def _environment() -> Environment:
    loader = FileSystemLoader(HERE)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(shown=shown, number=words.number, pretty=_pretty, parted=_parted, tick=words.tick)
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
        on_test=column.on_test,
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
