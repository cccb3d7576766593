"""The board: a static page with the results of many runs, from many people, and no server behind it."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from vitascope.core.errors import UserError
from vitascope.core.files import atomic_file
from vitascope.core.text import escaped
from vitascope.report.analysis import incomparable, phrases
from vitascope.report.analysis.data_warnings import warning_lines
from vitascope.report.analysis.merged_runs import MergedRuns, Run, merge, repeats
from vitascope.report.analysis.phrases import TextRun
from vitascope.report.analysis.ranking import FAMILY, Ranking, analyze, rank_all
from vitascope.report.analysis.units import interval_definition
from vitascope.report.render import TEMPLATES, render
from vitascope.report.sections import board as rows
from vitascope.report.sections import leaderboard
from vitascope.report.sections.filters import Choice, Filter, filters

PAGE = "index.html"
REPORTS = "reports"
MARK = '<meta name="board" content="vitascope">'
"""What tells a page of a board from others."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First letters of a cell that a spreadsheet would take for a formula."""
MAX_FINDINGS = 3
STYLES = ("trust.css", "board.css")


def write_board(folders: Sequence[str | Path], site: str | Path, *, export: bool = False) -> dict[str, Path]:
    """Write `index.html`, and copies of the runs' own reports, into the folder `site`; what was written by name.

    With `export` also `board.json` and `board.csv`. UserError if a run has no results, or the folder holds something
    else than a board; nothing is written then.
    """
    site = Path(site)
    check_site(site)
    merged = merge(folders)
    analyses = [analyze(column) for column in merged.board.plain()]
    tasks = rows.tasks(merged, analyses)
    links = {run.name: f"{REPORTS}/{place}.html" for place, run in enumerate(merged.runs, 1) if run.report}
    text = _html(merged, rank_all(merged.board, analyses), tasks, links)
    site.mkdir(parents=True, exist_ok=True)
    written = {"html": _write(site / PAGE, text)}
    _copy_reports(site, merged.runs, links)
    if export:
        records = rows.records(tasks)
        written["json"] = _write(site / "board.json", json.dumps(records, ensure_ascii=False, indent=1) + "\n")
        written["csv"] = _write(site / "board.csv", csv_text(records))
    return written


def check_site(site: Path) -> None:
    """UserError if `site` is no folder, or holds something else than a board."""
    if site.exists() and not site.is_dir():
        raise UserError(f"{site}: not a folder; name a folder for the page with -o")
    page = site / PAGE
    if not site.is_dir() or not any(site.iterdir()):
        return
    if not page.is_file() or MARK not in page.read_text(encoding="utf-8", errors="replace")[:4000]:
        raise UserError(f"{site}: holds something else than a board; name an empty or a new folder with -o")


def _write(path: Path, text: str) -> Path:
    with atomic_file(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
    return path


def _copy_reports(site: Path, runs: Sequence[Run], links: Mapping[str, str]) -> None:
    """Copy the reports of the runs to where the page links to them; those of an earlier board go."""
    shutil.rmtree(site / REPORTS, ignore_errors=True)
    for run in runs:
        if run.report and run.name in links:
            target = site / links[run.name]
            target.parent.mkdir(exist_ok=True)
            with atomic_file(target) as temporary:
                shutil.copyfile(run.report, temporary)


def _html(
    merged: MergedRuns, rankings: Mapping[str, Ranking], tasks: Sequence[rows.BoardTask], links: Mapping[str, str]
) -> str:
    board = merged.board
    recorded = [entry.result for entry in merged.entries]
    values = {
        "recorded": _dates(merged.runs),
        "findings": _findings(merged, rankings),
        "rows": board.rows,
        "n_runs": len(merged.runs),
        "data_warnings": list(map(escaped, warning_lines(recorded))),
        "table": leaderboard.table(board, board.main(), rankings),
        "tasks": tasks,
        "separated": incomparable.with_other_options(board),
        "unequal_videos": incomparable.unequal_videos(board),
        "runs": rows.runs(merged, links),
        "intervals": interval_definition(board, rankings),
        "ranked": any(ranking.tiers for ranking in rankings.values()),
        "family": FAMILY,
        "variants": len(board.variants()),
        "mark": Markup(MARK),
        "filters": _filters(merged),
        "versions": phrases.versions(recorded),
        "styles": Markup("\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in STYLES)),
    }
    return render("board.html.j2", "Board", values)


def _filters(merged: MergedRuns) -> list[Filter]:
    names = tuple(Choice(run.name, run.name) for run in merged.runs)
    return [*filters(merged.board), *([Filter("run", "runs", names)] if len(names) > 1 else [])]


def _findings(merged: MergedRuns, rankings: Mapping[str, Ranking]) -> list[Sequence[TextRun]]:
    """Who leads on each axis, or on the first tasks, and repeated results that disagree."""
    axes = [axis for axis in ("appearance", "motion") if axis in rankings]
    subjects = axes or [column.task for column in merged.board.main()][:MAX_FINDINGS]
    found: list[Sequence[TextRun]] = [phrases.leader_sentence(merged.board, escaped(s), rankings[s]) for s in subjects]
    apart = [(entry, said) for entry, said in repeats(merged) if not said.agrees]
    if apart:
        entry = apart[0][0]
        what = f"{escaped(entry.result.encoder)} on {escaped(entry.result.task)}"
        more = f" and {len(apart) - 1} more" if len(apart) > 1 else ""
        found.append([TextRun("Runs disagree: ", True), TextRun(f"{what} in {entry.run.name}{more}.")])
    return found


def _dates(runs: Sequence[Run]) -> str:
    first, last = min(run.recorded for run in runs), max(run.recorded for run in runs)
    days = dict.fromkeys(f"{date.day} {date:%B %Y}" for date in (first, last))
    return " to ".join(days)


def csv_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Records as CSV; text that a spreadsheet would take for a formula begins with an apostrophe."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in record.items()} for record in records)
    return out.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
