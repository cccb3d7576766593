"""Check of stores: the part of the command `check` that verifies stored embeddings and drops what does not hold."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from vitascope.core.errors import UserError

if TYPE_CHECKING:
    from vitascope.features.store_check import StoreReport


def is_store(name: str) -> bool:
    """Return whether `name` is a folder of stored embeddings."""
    if not Path(name).is_dir():
        return False
    from vitascope.features.store_check import is_root

    return is_root(Path(name))


def check_stores(name: str, *, repair: bool, as_json: bool) -> bool:
    """Verify every store in the folder `name`, and print what was found; returns whether all hold now."""
    from vitascope.cli import tables
    from vitascope.features.store_check import check_store, store_folders

    folders = store_folders(Path(name))
    if not folders:
        raise UserError(f"{name}: no stored embeddings there; --repair is for stores, see `vitascope ls store`")
    reports = [check_store(folder, repair=repair) for folder in folders]
    if as_json:
        print(tables.as_json([{**asdict(r), "folder": str(r.folder), "dropped": sorted(r.dropped)} for r in reports]))
    else:
        for line in _lines(name, reports):
            print(line)
    return all(not report.problems or report.repaired for report in reports)


def _lines(name: str, reports: list[StoreReport]) -> list[str]:
    lines = []
    for report in reports:
        failed = f", {report.failed} recorded as failed" if report.failed else ""
        lines += [f"{report.name or 'unknown'}: {report.examples} examples hold{failed}", f"    {report.folder}"]
        lines += [f"    damaged: {problem}" for problem in report.problems]
        if report.dropped:
            first = ", ".join(sorted(report.dropped)[:3])
            more = ", ..." if len(report.dropped) > 3 else ""
            lines.append(f"    vectors that do not hold: {len(report.dropped)} examples ({first}{more})")
        if report.unverified:
            count, done = report.unverified, "now added" if report.repaired else "--repair adds them"
            lines.append(f"    without checksums, of an earlier version: {count} examples; {done}")
    if any(report.problems and not report.repaired for report in reports):
        return [*lines, f"next: vitascope check {name} --repair drops what does not hold; the next run embeds it again"]
    if any(report.problems for report in reports):
        return [*lines, "next: rerun `vitascope embed` or `vitascope evaluate`: what was dropped is embedded again"]
    return lines
