"""Report of a run folder: one self-contained HTML page, tables in Markdown and LaTeX, and timelines as pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from markupsafe import Markup

from vitascope.core.errors import UserError
from vitascope.core.files import atomic_file
from vitascope.core.text import escaped, nearest
from vitascope.evaluation import results
from vitascope.evaluation.results import Result
from vitascope.metrics import detection_errors
from vitascope.pretrain.monitoring.log import TrainingLog, find_logs
from vitascope.report import export_tables
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.analysis import phrases
from vitascope.report.analysis.data_warnings import warning_lines
from vitascope.report.analysis.head_selection import chosen_on_test
from vitascope.report.analysis.leaderboard import Column, EncoderRow, Leaderboard
from vitascope.report.analysis.phrases import TextRun
from vitascope.report.analysis.ranking import (
    FAMILY,
    ColumnAnalysis,
    Confusion,
    Ranking,
    analyze,
    average_columns,
    average_name,
    rank_all,
)
from vitascope.report.analysis.units import interval_definition
from vitascope.report.charts import box_overlay, keyframe_selection, plots, svg_png, timeline_selection, track_selection
from vitascope.report.charts.keyframe_page import Keyframes, lay_out
from vitascope.report.charts.plots import Axis, Strip
from vitascope.report.charts.timeline_selection import TaskTimelines
from vitascope.report.map_page import MapView, map_views
from vitascope.report.render import TEMPLATES, render
from vitascope.report.sections import (
    chirality,
    detection,
    filters,
    insights,
    leaderboard,
    motion,
    pretraining,
    scorecard,
    temporal,
)
from vitascope.report.sections import gallery as galleries
from vitascope.report.sections.gallery import Gallery
from vitascope.report.sections.layers import LAYER_NOTE, layer_plots
from vitascope.report.sections.pretraining import Pretraining
from vitascope.report.sections.readouts import READOUTS, readout_table
from vitascope.report.sections.scorecard import ScorecardView
from vitascope.report.sections.tables import (
    DEPENDENCE_NOTE,
    ON_TEST_NOTE,
    Extras,
    collect_extras,
    sensitivity_note,
    summary_tables,
)
from vitascope.report.sections.trust import trust_values

if TYPE_CHECKING:
    from rich.console import Group

PICTURES, KEYFRAMES = "timelines", "keyframes"
FORMATS = ("html", "md", "tex", PICTURES, KEYFRAMES)
Renderers: TypeAlias = Mapping[str, Callable[[], str]]
"""By format, a function that renders the text of the report."""


class Findings(NamedTuple):
    """Everything computed from the results of a run."""

    analyses: Sequence[ColumnAnalysis]
    """One per column of a standard task."""
    rankings: Mapping[str, Ranking]
    """By task, by axis, and by probe for averages over datasets."""
    sentences: Sequence[Sequence[TextRun]]
    """Key findings."""
    extras: Extras
    pretraining: Pretraining | None
    timelines: Sequence[TaskTimelines]
    keyframes: Keyframes
    galleries: Sequence[Gallery]
    scorecard: ScorecardView | None
    maps: Sequence[MapView]
    pages: Mapping[str, str]
    """Addresses of other pages by title."""


class TaskView(NamedTuple):
    """One column in full."""

    title: str
    dataset: str
    probe: str
    limited: bool
    on_test: bool
    note: str
    spread: str
    """Range of the scores."""
    chance: str
    axis: Axis
    strips: Sequence[Strip]
    matrix: Sequence[tuple[EncoderRow, Sequence[leaderboard.DifferenceCell]]]
    classes: Sequence[Strip]
    confusions: Sequence[tuple[EncoderRow, Sequence[Confusion]]]
    rows: Sequence[EncoderRow]


def write(
    run: str | Path,
    *,
    formats: Sequence[str] = FORMATS,
    front: str = "",
    gallery: bool = True,
    pages: Mapping[str, str] | None = None,
) -> dict[str, Path]:
    """Write the report of a run folder into it: `report.html`, `report.md` and `report.tex`, or those of `formats`.

    It covers evaluation results, and pretraining runs logged in the folder or its subfolders. For temporal tasks,
    `timelines` is a folder of pictures as SVG and PNG, for boxes of actors `keyframes` is one. `front` is the encoder
    of the scorecard, by default the leading one. Without `gallery` the page has no videos of failures. `pages` are
    others to link to, relative addresses by title. UserError for an unknown format or encoder, or an empty folder.
    """
    run = Path(run)
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"no report format {name!r}{nearest(name, FORMATS)}; choose from {', '.join(FORMATS)}")
    logs = find_logs(run)
    recorded = boards.load_results([run]) if (run / results.RESULTS).is_file() or not logs else []
    if not recorded and not logs:
        raise UserError(f"{run / results.RESULTS}: no results; record some with `vitascope evaluate ... -o {run}`")
    board = boards.build(recorded)
    boxed = keyframe_selection.load(board)
    timelines = [*timeline_selection.task_timelines(board), *track_selection.task_tracks(boxed)]
    pictured = bool({"html", KEYFRAMES} & {*formats})
    keyframes = lay_out(keyframe_selection.task_keyframes(boxed) if pictured else [])
    drawn = timelines, keyframes, galleries.build(board) if gallery and "html" in formats else []
    of_results = partial(_result_renderers, run, board, logs, drawn, front, pages=pages or {})
    renderers = of_results() if recorded else _training_renderers(run, logs)
    written: dict[str, Path] = {}
    for name in [name for name in formats if name not in (PICTURES, KEYFRAMES)]:
        written[name] = run / f"report.{name}"
        with atomic_file(written[name]) as temporary:
            temporary.write_bytes(renderers[name]().encode("utf-8", "backslashreplace"))
    if timelines and PICTURES in formats:
        written[PICTURES] = svg_png.write(run / PICTURES, timelines)
    if keyframes.tasks and KEYFRAMES in formats:
        written[KEYFRAMES] = box_overlay.write(run / KEYFRAMES, keyframes.tasks, keyframes.pictures)
    return written


def json_lines(run: str | Path) -> list[str]:
    """Format the results of a folder, then each pretraining run with its last evaluation, as lines of JSON."""
    logs = find_logs(run)
    recorded = [result.to_json() for result in _results(run, logs)]
    return recorded + [json.dumps(record) for record in pretraining.run_records(logs)]


def overview(run: str | Path) -> Group:
    """Lay out the results of a folder and its pretraining runs for a terminal."""
    from rich.console import Group

    logs = find_logs(run)
    recorded = _results(run, logs)
    parts: list[Any] = [export_tables.terminal(recorded, run)] if recorded else []
    trained = pretraining.pretraining(logs)
    parts += [export_tables.terminal_summary(trained.table)] if trained else []
    return Group(*parts)


def data_warnings(run: str | Path) -> list[str]:
    """The warnings on the data behind the results of a folder, one line for each kind and dataset."""
    return warning_lines(_results(run, find_logs(run)))


def _results(run: str | Path, logs: Sequence[TrainingLog]) -> list[Result]:
    """Read the results of a folder, which may be missing if it holds pretraining runs."""
    return results.read(run) if not logs or (Path(run) / results.RESULTS).is_file() else []


def _result_renderers(
    run: Path,
    board: Leaderboard,
    logs: Sequence[TrainingLog],
    drawn: tuple[Sequence[TaskTimelines], Keyframes, Sequence[Gallery]],
    front: str,
    *,
    pages: Mapping[str, str],
) -> Renderers:
    """Render the report of evaluation results, including pretraining runs if there are any."""
    analyses = [analyze(column) for column in board.plain()]
    rankings = rank_all(board, analyses)
    trained = pretraining.pretraining(logs, first=len(board.rows))
    sentences: list[Sequence[TextRun]] = [*_key_findings(board, rankings), *(trained.findings if trained else [])]
    extras = collect_extras(board, rankings)
    card, maps = scorecard.of_run(board, rankings, front), map_views(run)
    findings = Findings(analyses, rankings, sentences, extras, trained, *drawn, card, maps, pages)
    more = [*([trained.table] if trained else []), *(one.table for one in maps)]
    return {
        "html": lambda: _html(run, board, findings),
        "md": lambda: (
            export_tables.markdown(board, rankings, sentences, extras) + export_tables.markdown_summaries(more)
        ),
        "tex": lambda: export_tables.latex(board, rankings, extras) + export_tables.latex_summaries(more),
    }


def _training_renderers(run: Path, logs: Sequence[TrainingLog]) -> Renderers:
    """Render the report of pretraining runs alone."""
    trained = pretraining.pretraining(logs)
    assert trained is not None, "there are logs"
    recorded = max((run / log.path).stat().st_mtime for log in logs)
    values = {"findings": trained.findings, "pretraining": trained, "recorded": _date_text(recorded)}
    tables = [trained.table]
    return {
        "html": lambda: render("training.html.j2", run.resolve().name, values),
        "md": lambda: (
            "\n".join(export_tables.markdown_head(trained.findings)) + export_tables.markdown_summaries(tables)
        ),
        "tex": lambda: export_tables.TEX_PREAMBLE + export_tables.latex_summaries(tables),
    }


def _key_findings(board: Leaderboard, rankings: Mapping[str, Ranking]) -> list[list[TextRun]]:
    """One sentence per axis, or per task without axes, and warnings."""
    subjects = [axis for axis in ("appearance", "motion") if axis in rankings]
    tasks = [c.task for c in board.main() if c.axis not in subjects][: 1 if subjects else 3]
    titles = board.titles()
    sentences = [phrases.leader_sentence(board, escaped(titles.get(s, s)), rankings[s]) for s in [*subjects, *tasks]]
    if any(r.limited for c in board.main() for r in c.cells.values()):
        sentences.append([TextRun("Evaluated on a subset: do not publish these numbers.", True)])
    if columns := chosen_on_test(board):
        tasks_on_test = ", ".join(escaped(c.task) for c in columns if not c.variant) or "variants"
        sentences.append([TextRun(f"Selected on the test set, so too high: {tasks_on_test}.", True)])
    return sentences


def _html(run: Path, board: Leaderboard, findings: Findings) -> str:
    rankings = findings.rankings
    recorded = [r for c in board.columns for r in c.cells.values()]
    scatter = None
    if {"appearance", "motion"} <= rankings.keys():
        scatter = plots.scatter(board.rows, rankings["appearance"], rankings["motion"])
    values = {
        "recorded": _date_text((run / results.RESULTS).stat().st_mtime),
        "versions": phrases.versions(recorded),
        "findings": findings.sentences,
        "pages": findings.pages,
        "intervals": interval_definition(board, rankings),
        **trust_values(board, rankings),
        "rows": board.rows,
        "filters": filters.filters(board),
        "data_warnings": list(map(escaped, warning_lines(recorded))),
        "table": leaderboard.table(board, board.main(), rankings),
        "other_protocols": leaderboard.other_protocols(board),
        "averages": motion.averages_section(board, rankings),
        "scatter": scatter,
        "scorecard": findings.scorecard,
        "left_out": leaderboard.left_out(board),
        "tasks": [_task(c, a, board) for c, a in zip(board.plain(), findings.analyses, strict=True)],
        "n_tasks": len(board.main()),
        "examples": _test_examples(board, recorded),
        "incomplete": leaderboard.incomplete(board),
        "issues": leaderboard.example_issues(board),
        "costs": leaderboard.costs(board),
        "protocols": [_protocol(c) for c in board.plain()],
        "any_in_pretraining_data": any(r.in_pretraining_data for r in recorded),
        "ranked": any(r.tiers for r in rankings.values()),
        "chance_definition": phrases.chance_definition(r.chance for r in rankings.values() if r.chance),
        "order_free_note": phrases.order_free_note(r.chance for r in rankings.values()),
        "percent": plots.PERCENT,
        "family": FAMILY,
        "temporal_tables": [*temporal.score_tables(board), *insights.tables(board)],
        **insights.values(board),
        "error_tables": temporal.error_tables(board),
        "pretraining": findings.pretraining,
        "timelines": findings.timelines,
        "actors": detection.actor_tasks(board),
        "kinds_of_boxes": detection_errors.KINDS,
        "keyframes": findings.keyframes,
        "galleries": findings.galleries,
        "maps": findings.maps,
        "meanings": box_overlay.MEANINGS,
        "styles": Markup(_styles(board, findings)),
        **_variants(board, findings.extras, rankings),
    }
    return render("page.html.j2", run.resolve().name, values)


def _styles(board: Leaderboard, findings: Findings) -> str:
    """The style sheets of the sections that the page has."""
    boxed = bool(findings.keyframes.tasks)
    names = {
        "trust": True,
        "timelines": bool(findings.timelines),
        "actors": boxed,
        "keyframes": boxed,
        "scorecard": findings.scorecard is not None,
        **insights.styles(board),
    }
    sheets = [(TEMPLATES / f"{name}.css").read_text(encoding="utf-8") for name, shown in names.items() if shown]
    return "\n".join([*sheets, box_overlay.css() if boxed else ""])


def _test_examples(board: Leaderboard, recorded: Sequence[Result]) -> int:
    """Number of test examples over all datasets."""
    datasets = {c.first.dataset for c in board.plain()}
    return sum(max(r.n for r in recorded if r.dataset == name) for name in datasets)


def _variants(board: Leaderboard, extras: Extras, rankings: Mapping[str, Ranking]) -> dict[str, Any]:
    """Template values for variants and head selection."""
    effects, missing = extras.motion_effects, extras.missing_results
    drawn = {row for plot in extras.low_shot_plots for row in plot.scores}
    return {
        "low_shot_plots": extras.low_shot_plots,
        "low_shot_rows": [row for row in board.rows if row.index in drawn],
        "motion": motion.motion_section(board, effects) if effects or missing else None,
        "missing_results": missing,
        "sensitivity_note": sensitivity_note(effects),
        "dependence_note": DEPENDENCE_NOTE,
        "tables": [t for t in summary_tables(board, extras) if t.title != READOUTS],
        "readouts": readout_table(board, extras.readouts),
        "layer_plots": layer_plots(board, extras.layers),
        "layer_rows": [row for row in board.rows if any(row.index in task.scores for task in extras.layers)],
        "layer_note": LAYER_NOTE,
        "on_test_note": ON_TEST_NOTE if chosen_on_test(board) else "",
        "several_seeds": any(len(r.seeds) > 1 for c in board.plain() for r in c.cells.values()),
        "any_selected": any(head.selected for head in extras.heads),
        "any_average": any(average_name(probe) in rankings for probe in average_columns(board)),
        "variants": [_protocol(c) for c in board.variants()],
    }


def _protocol(column: Column) -> tuple[str, str, bool, dict[str, Any]]:
    """Task, protocol digest, whether it is limited, and settings with only the number of classes."""
    settings = column.settings
    if "classes" in settings:
        settings["classes"] = f"{len(settings['classes'])}"
    return escaped(column.task), column.protocol, column.limited, settings


def _date_text(seconds: float) -> str:
    date = datetime.fromtimestamp(seconds, UTC)
    return f"{date.day} {date:%B %Y, %H:%M} UTC"


def _task(column: Column, analysis: ColumnAnalysis, board: Leaderboard) -> TaskView:
    axis, strips = plots.score_strips(column, board.rows, analysis.ranking)
    return TaskView(
        title=escaped(column.task),
        dataset=escaped(column.first.dataset),
        probe=escaped(column.first.probe),
        limited=column.limited,
        on_test=column.on_test,
        note="" if column.main else f"protocol {column.protocol[:6]}",
        spread=leaderboard.score_range(analysis.ranking.scores),
        chance=leaderboard.chance(analysis.ranking),
        axis=axis,
        strips=strips,
        matrix=leaderboard.matrix(analysis.ranking, board.rows),
        classes=[] if chirality.compares_pairs(column) else plots.class_strips(column, board.rows),
        confusions=[(board.rows[row], pairs) for row, pairs in analysis.confusions.items() if pairs],
        rows=[row for row in board.rows if row.index in column.cells],
    )
