"""The page: everything a run holds, set as one self-contained HTML file, and the tables beside it."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vitascope.core.errors import UserError
from vitascope.core.files import replacing
from vitascope.core.text import nearest, number, shown, tick
from vitascope.core.types import plain
from vitascope.evaluation import results
from vitascope.evaluation.results import Result
from vitascope.pretrain.monitoring import log as recording
from vitascope.pretrain.monitoring.log import TrainingLog
from vitascope.report import export_tables
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.analysis import phrases
from vitascope.report.analysis.head_selection import on_test
from vitascope.report.analysis.leaderboard import Column, EncoderRow, Leaderboard
from vitascope.report.analysis.phrases import Run
from vitascope.report.analysis.ranking import (
    ColumnAnalysis,
    Confusion,
    Ranking,
    average_of,
    averaged,
    averages,
    examine,
    overall,
)
from vitascope.report.charts import plots, svg_png, timeline_selection
from vitascope.report.charts.plots import Axis, Strip
from vitascope.report.charts.timeline_selection import Question
from vitascope.report.charts.timelines import QUIET
from vitascope.report.sections import leaderboard, motion, pretraining, temporal
from vitascope.report.sections import tables as summaries
from vitascope.report.sections.pretraining import Pretraining
from vitascope.report.sections.tables import Extras, extras

if TYPE_CHECKING:
    from rich.console import Group

TEMPLATES = Path(__file__).parent / "templates"
PICTURES = "timelines"
FORMATS = ("html", "md", "tex", PICTURES)
Making: TypeAlias = Mapping[str, Callable[[], str]]
"""By format, what makes the text of the report."""


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
    matrix: Sequence[tuple[EncoderRow, Sequence[leaderboard.Gap]]]
    classes: Sequence[Strip]
    confusions: Sequence[tuple[EncoderRow, Sequence[Confusion]]]
    rows: Sequence[EncoderRow]


def write(run: str | Path, *, formats: Sequence[str] = FORMATS) -> dict[str, Path]:
    """Write the report of a run folder into it: `report.html`, `report.md` and `report.tex`, or those of `formats`.

    Results of evaluation are reported, and pretraining runs recorded in the folder or in folders of it. Where actions
    in time were asked for, `timelines` is a folder of pictures, each as SVG and PNG. ValueError for a format there is
    none of, or a folder with neither.
    """
    run = Path(run)
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"no report format {name!r}{nearest(name, FORMATS)}; there are {', '.join(FORMATS)}")
    recordings = recording.found(run)
    found = boards.gather([run]) if (run / results.RESULTS).is_file() or not recordings else []
    if not found and not recordings:
        raise UserError(f"{run / results.RESULTS}: no result in it; record one with `vitascope evaluate ... -o {run}`")
    board = boards.build(found)
    timed = timeline_selection.questions(board)
    making = _of_results(run, board, recordings, timed) if found else _of_training(run, recordings)
    written: dict[str, Path] = {}
    for name in [name for name in formats if name != PICTURES]:
        written[name] = run / f"report.{name}"
        with replacing(written[name]) as aside:
            aside.write_bytes(making[name]().encode("utf-8", "backslashreplace"))
    if timed and PICTURES in formats:
        written[PICTURES] = svg_png.write(run / PICTURES, timed)
    return written


def lines(run: str | Path) -> list[str]:
    """What a folder holds as lines of JSON: its results, then each pretraining run with its last probe."""
    recordings = recording.found(run)
    found = _results(run, recordings)
    return [result.to_json() for result in found] + [json.dumps(one) for one in pretraining.brief(recordings)]


def overview(run: str | Path) -> Group:
    """The same for a terminal."""
    from rich.console import Group

    recordings = recording.found(run)
    found = _results(run, recordings)
    parts: list[Any] = [export_tables.terminal(found, run)] if found else []
    trained = pretraining.pretraining(recordings)
    parts += [export_tables.terminal_summary(trained.table)] if trained else []
    return Group(*parts)


def _results(run: str | Path, recordings: Sequence[TrainingLog]) -> list[Result]:
    """The results of a folder; where nothing was pretrained, there have to be some."""
    return results.read(run) if not recordings or (Path(run) / results.RESULTS).is_file() else []


def _of_results(run: Path, board: Leaderboard, recordings: Sequence[TrainingLog], timed: Sequence[Question]) -> Making:
    """The report of results, with that of pretraining runs in it where there are any."""
    findings = [examine(column) for column in board.plain()]
    standings = _standings(board, findings)
    verdicts = _verdicts(board, standings)
    more = extras(board, standings)
    trained = pretraining.pretraining(recordings, first=len(board.rows))
    said: list[Sequence[Run]] = [*verdicts, *(trained.verdicts if trained else [])]
    also = [trained.table] if trained else []
    return {
        "html": lambda: _html(run, board, findings, (standings, said, more, trained), timed),
        "md": lambda: export_tables.markdown(board, standings, said, more) + export_tables.markdown_summaries(also),
        "tex": lambda: export_tables.latex(board, standings, more) + export_tables.latex_summaries(also),
    }


def _of_training(run: Path, recordings: Sequence[TrainingLog]) -> Making:
    """The report of pretraining runs alone."""
    trained = pretraining.pretraining(recordings)
    assert trained is not None, "there are recordings"
    recorded = max((run / one.path).stat().st_mtime for one in recordings)
    more = {"verdicts": trained.verdicts, "trained": trained, "recorded": _dated(recorded)}
    also = [trained.table]
    return {
        "html": lambda: _set("training.html.j2", run, more),
        "md": lambda: "\n".join(export_tables.markdown_head(trained.verdicts)) + export_tables.markdown_summaries(also),
        "tex": lambda: export_tables.TEX_NEEDS + export_tables.latex_summaries(also),
    }


def _set(template: str, run: Path, more: Mapping[str, Any]) -> str:
    """A template with what every page takes."""
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    return (
        _environment()
        .get_template(template)
        .render(
            run=shown(run.resolve().name),
            css=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
            js=Markup(script),
            script_hash=b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            **more,
        )
    )


def _standings(board: Leaderboard, findings: Sequence[ColumnAnalysis]) -> dict[str, Ranking]:
    """By task for the main columns, by axis, and by probe for the averages over data sets."""
    standings = {c.task: f.standing for c, f in zip(board.plain(), findings, strict=True) if c.main}
    for axis in ("appearance", "motion"):
        found = overall(board, standings, axis)
        if found is not None:
            standings[axis] = found
    return {**standings, **averages(board, standings)}


def _verdicts(board: Leaderboard, standings: Mapping[str, Ranking]) -> list[list[Run]]:
    """A sentence for each axis, else for each task."""
    subjects = [axis for axis in ("appearance", "motion") if axis in standings]
    tasks = [c.task for c in board.main() if c.axis not in subjects]
    most = 3 if not subjects else 1
    sentences = [phrases.verdict(board, shown(s), standings[s]) for s in [*subjects, *tasks[:most]]]
    if any(r.limited for c in board.main() for r in c.cells.values()):
        sentences.append([Run("This run was cut short by --limit: never publish these numbers.", True)])
    if on_test(board):
        named = ", ".join(shown(c.task) for c in on_test(board) if not c.variant) or "variants"
        sentences.append([Run(f"Chosen on the test set, so too high: {named}.", True)])
    return sentences


def _html(
    run: Path,
    board: Leaderboard,
    findings: Sequence[ColumnAnalysis],
    said: tuple[Mapping[str, Ranking], Sequence[Sequence[Run]], Extras, Pretraining | None],
    timed: Sequence[Question],
) -> str:
    standings, verdicts, more, trained = said
    found = [r for c in board.columns for r in c.cells.values()]
    scatter = None
    if {"appearance", "motion"} <= standings.keys():
        scatter = plots.scatter(board.rows, standings["appearance"], standings["motion"])
    shows = {
        "recorded": _dated((run / results.RESULTS).stat().st_mtime),
        "versions": phrases.versions(found),
        "verdicts": verdicts,
        "rows": board.rows,
        "table": leaderboard.table(board, board.main(), standings),
        "apart": leaderboard.apart(board),
        "means": motion.averages_section(board, standings),
        "scatter": scatter,
        "left_out": leaderboard.left_out(board),
        "tasks": [_task(c, f, board) for c, f in zip(board.plain(), findings, strict=True)],
        "asked": len(board.main()),
        "examples": sum(
            max(r.n for r in found if r.dataset == name) for name in {c.any.dataset for c in board.plain()}
        ),
        "lost": leaderboard.lost(board),
        "reported": leaderboard.reported(board),
        "costs": leaderboard.costs(board),
        "questions": [_settings(c) for c in board.plain()],
        "any_seen": any(r.in_pretraining_data for r in found),
        "ranked": any(s.tiers for s in standings.values()),
        "guessed": phrases.guessed(s.chance for s in standings.values() if s.chance),
        "percent": plots.PERCENT,
        "moments": temporal.scores(board),
        "mistakes": temporal.mistakes(board),
        "trained": trained,
        "timed": timed,
        "bars_css": Markup((TEMPLATES / "timelines.css").read_text(encoding="utf-8")),
    }
    return _set("page.html.j2", run, {**shows, **_variants(board, more, standings)})


def _examples(board: Leaderboard) -> int:
    """Test examples over all data sets."""
    most: dict[str, int] = {}
    for column in board.plain():
        for result in column.cells.values():
            most[result.dataset] = max(most.get(result.dataset, 0), result.n)
    return sum(most.values())


def _variants(board: Leaderboard, more: Extras, standings: Mapping[str, Ranking]) -> dict[str, Any]:
    """What the page shows of variants and trainings."""
    drawn = {row for plot in more.plots for row in plot.scores}
    return {
        "plots": more.plots,
        "curved": [row for row in board.rows if row.index in drawn],
        "worth": motion.motion_section(board, more.worth) if more.worth or more.lacking else None,
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
    loader = FileSystemLoader(TEMPLATES)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(shown=shown, number=number, pretty=_pretty, parted=_parted, tick=tick)
    environment.filters.update(paint=_paint, pattern=lambda filling: Markup(svg_png.pattern(filling)))
    return environment


def _paint(filling: int) -> str:
    """What a bar is filled with, light or dark with the page where it is no action."""
    return "var(--quiet)" if filling == QUIET else svg_png.paint(filling)


def _pretty(value: Any) -> str:
    return json.dumps(plain(value), indent=2, ensure_ascii=False)


def _parted(name: str) -> Markup:
    """A name that may be broken after a slash; after a hyphen browsers do it themselves."""
    return Markup("/<wbr>").join(shown(name).split("/"))


def _dated(seconds: float) -> str:
    last = datetime.fromtimestamp(seconds, UTC)
    return f"{last.day} {last:%B %Y, %H:%M} UTC"


def _question(column: Column) -> dict[str, Any]:
    """The settings of a column without the class names, which its figure lists."""
    settings = column.settings
    if "classes" in settings:
        settings["classes"] = f"{len(settings['classes'])}"
    return settings


def _task(column: Column, findings: ColumnAnalysis, board: Leaderboard) -> TaskView:
    axis, strips = plots.standings(column, board.rows, findings.standing)
    confusions = [(board.rows[row], found) for row, found in findings.confusions.items() if found]
    return TaskView(
        title=shown(column.task),
        limited=column.limited,
        on_test=column.on_test,
        note="" if column.main else f"protocol {column.protocol[:6]}",
        spread=leaderboard.spread(findings.standing.scores),
        chance=leaderboard.chance(findings.standing),
        axis=axis,
        strips=strips,
        matrix=leaderboard.matrix(findings.standing, board.rows),
        classes=plots.classes(column, board.rows),
        confusions=confusions,
        rows=[row for row in board.rows if row.index in column.cells],
    )
