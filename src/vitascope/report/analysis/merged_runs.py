"""Results of many runs merged into one leaderboard: who recorded what, and whether repeated results agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from vitascope.core.errors import UserError
from vitascope.core.text import escaped, signed
from vitascope.core.types import Score
from vitascope.evaluation import results
from vitascope.evaluation.results import Result
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.analysis.leaderboard import Column, Leaderboard


@dataclass(frozen=True)
class Run:
    """A run folder."""

    name: str
    """Its folder name, with as many parents as tell it from the others."""
    path: Path
    recorded: datetime
    """When its results were last written, UTC."""
    results: tuple[Result, ...]
    report: Path | None
    """Its own report, if there is one."""

    @property
    def versions(self) -> str:
        """Versions of Vitascope that recorded the results."""
        return ", ".join(sorted({str(r.code["vitascope"]) for r in self.results if "vitascope" in r.code})) or "unknown"


class Entry(NamedTuple):
    """A result on the board, and whether it repeats one that is ranked."""

    result: Result
    run: Run
    repeats: Result | None = None


class MergedRuns(NamedTuple):
    """The leaderboard of all runs: of results of one encoder under one protocol, the first run's is ranked."""

    board: Leaderboard
    runs: tuple[Run, ...]
    entries: tuple[Entry, ...]

    def entries_of(self, column: Column, row: int) -> list[Entry]:
        """The ranked entry of an encoder in a column, then those that repeat it."""
        ranked = column.cells[row]
        own = [e for e in self.entries if e.result is ranked]
        return own + [e for e in self.entries if e.repeats is ranked]


def merge(folders: Sequence[str | Path]) -> MergedRuns:
    """Merge run folders; UserError for a folder given twice, without results, or with a line that is none."""
    paths = [Path(folder) for folder in folders]
    twice = next((p for i, p in enumerate(paths) if p.resolve() in {q.resolve() for q in paths[:i]}), None)
    if twice is not None:
        raise UserError(f"{twice}: given twice; name each run folder once")
    runs = tuple(_run(path, name) for path, name in zip(paths, distinct_names(paths), strict=True))
    entries: list[Entry] = []
    ranked: dict[tuple[str, str, str], Result] = {}
    for run in runs:
        for result in run.results:
            first = ranked.setdefault(result.key, result)
            entries.append(Entry(result, run, None if first is result else first))
    return MergedRuns(boards.build(list(ranked.values())), runs, tuple(entries))


def _run(path: Path, name: str) -> Run:
    recorded = boards.resolve_predictions(results.read(path), path)
    if not recorded:
        raise UserError(f"{path / results.RESULTS}: no results; record some with `vitascope evaluate ... -o {path}`")
    written = datetime.fromtimestamp((path / results.RESULTS).stat().st_mtime, UTC)
    report = path / "report.html"
    return Run(escaped(name), path, written, tuple(recorded), report if report.is_file() else None)


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """Names of folders, each with as many parents as it takes to tell it from the others."""
    full = [p.resolve() for p in paths]
    names = []
    for path in full:
        depth = 1
        while depth < len(path.parts) and sum(p.parts[-depth:] == path.parts[-depth:] for p in full) > 1:
            depth += 1
        names.append("/".join(path.parts[-depth:]).lstrip("/") or str(path))
    return names


class Agreement(NamedTuple):
    """What a repeated result says of the ranked one."""

    agrees: bool
    text: str


def agreement(repeated: Score, ranked: Score) -> Agreement:
    """Whether two scores of one encoder under one protocol agree: each within the other's interval, or equal."""
    gap = signed(repeated.value - ranked.value)
    if repeated.value == ranked.value:
        return Agreement(True, "identical")
    if _within(repeated, ranked) and _within(ranked, repeated):
        return Agreement(True, f"agrees: {gap}, within both intervals")
    known = None not in (repeated.low, repeated.high, ranked.low, ranked.high)
    return Agreement(False, f"disagrees: {gap}, {'outside an interval' if known else 'without intervals to judge by'}")


def _within(score: Score, other: Score) -> bool:
    return other.low is not None and other.high is not None and other.low <= score.value <= other.high


def repeats(merged: MergedRuns) -> Iterator[tuple[Entry, Agreement]]:
    """The entries that repeat a ranked result, and whether they agree with it."""
    for entry in merged.entries:
        if entry.repeats is not None:
            yield entry, agreement(entry.result.headline, entry.repeats.headline)
