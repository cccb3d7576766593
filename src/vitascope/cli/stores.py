"""Check and merge of stores: what the commands `check` and `merge` print of stored embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from vitascope.core.errors import UserError
from vitascope.core.origins import origin
from vitascope.core.text import counted

if TYPE_CHECKING:
    from vitascope.features.merge import MergeReport
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
        lines += [
            f"{report.name or 'unknown'}: {report.examples} examples hold{failed}",
            f"    {origin(str(report.folder))}",
        ]
        lines += [f"    damaged: {problem}" for problem in report.problems]
        if report.dropped:
            first = ", ".join(sorted(report.dropped)[:3])
            more = ", ..." if len(report.dropped) > 3 else ""
            lines.append(f"    vectors that do not hold: {counted(len(report.dropped), 'example')} ({first}{more})")
        if report.unverified:
            count, done = report.unverified, "now added" if report.repaired else "--repair adds them"
            lines.append(f"    without checksums, of an earlier version: {count} examples; {done}")
    if any(report.problems and not report.repaired for report in reports):
        return [*lines, f"next: vitascope check {name} --repair drops what does not hold; the next run embeds it again"]
    if any(report.problems for report in reports):
        return [*lines, "next: rerun `vitascope embed` or `vitascope evaluate`: what was dropped is embedded again"]
    return lines


NAMED = 20
"""Examples that are named in a line; JSON has all."""


def print_merged(reports: Sequence[MergeReport], *, as_json: bool) -> bool:
    """Print what merged stores consist of; returns whether nothing is missing and nothing of another dataset."""
    from vitascope.cli import tables

    if as_json:
        print(tables.as_json([{**asdict(report), "folder": origin(str(report.folder))} for report in reports]))
    else:
        for line in (line for report in reports for line in _merge_lines(report)):
            print(line)
    return all(report.complete for report in reports)


def _merge_lines(report: MergeReport) -> list[str]:
    failed = f", {len(report.failed)} recorded as failed" if report.failed else ""
    lines = [
        f"{report.name}: {report.examples} examples{failed}, from {report.stores} stores",
        f"    {origin(str(report.folder))}",
    ]
    named = {
        "in several stores, with equal vectors": report.doubled,
        "missing": report.missing,
        "of no example of the dataset": report.unknown,
        "shards that no store has": report.absent,
    }
    lines += [f"    {what}: {_few(names)}" for what, names in named.items() if names]
    if report.absent or report.missing:
        lines.append("    next: run `vitascope embed` with the shards that lack something, then merge again")
    return lines


def _few(names: Sequence[str]) -> str:
    return f"{len(names)} ({', '.join(names[:NAMED])}{', ...' if len(names) > NAMED else ''})"
