"""Why results of one task cannot be compared: the settings that differ between their protocols, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from vitascope.core.text import escaped
from vitascope.evaluation.results import Result
from vitascope.report.analysis.leaderboard import Column, EncoderRow, Leaderboard, setting_differences
from vitascope.report.analysis.sampling_words import sampled, value

MAX_NAMED = 6
"""Encoders named on one side; of more the number is given."""
WORDS: Mapping[str, str] = {
    "probe.k": "number of neighbors k",
    "probe.tau": "temperature of the votes",
    "probe.lr": "learning rate",
    "probe.lrs": "learning rates searched",
    "probe.taus": "temperatures searched",
    "probe.ks": "numbers of neighbors searched",
    "probe.select": "what hyperparameters are selected on",
    "probe.mean": "mean over the clips of a video",
    "probe.center": "mean of the training vectors subtracted",
    "dataset.digest": "content of the data set (examples, labels or splits)",
    "dataset.examples": "number of examples",
    "classes": "list of classes",
    "pipeline": "version of decoding and resizing",
    "options": "options of the encoder",
}
"""Words for settings by their dotted names; others are named after their last part."""
VIEWS = {"train": "clips of a training video", "test": "clips of a test video"}
UNSEEN = ("dataset.origin", "dataset.name", "probe.type", "probe.name", "probe.version")
"""Settings that are in no protocol digest, or are told otherwise."""
UNKNOWN = "something that results do not record, such as the content of a file that the head reads"


class Reason(NamedTuple):
    """One thing that differs between two protocols."""

    what: str
    here: str = ""
    there: str = ""


class Separated(NamedTuple):
    """Encoders whose results stand apart from those of a task's main protocol, and why."""

    task: str
    here: str
    """The encoders apart."""
    there: str
    """The encoders of the main protocol."""
    reasons: tuple[Reason, ...]


class UnequalVideos(NamedTuple):
    """Results of one protocol that were not scored on the same videos."""

    task: str
    text: str


def reasons(ours: Column, theirs: Column) -> list[Reason]:
    """What differs between the protocols of two columns of a task, most telling first."""
    found = [*_facts(ours.first, theirs.first), *_views(ours.settings, theirs.settings)]
    for one in setting_differences(ours.settings, theirs.settings):
        if one.name not in UNSEEN and not one.name.startswith(("probe.train.", "probe.test.")):
            found.append(_setting(one.name, one.ours, one.theirs))
    return found or [Reason(UNKNOWN)]


def _facts(ours: Result, theirs: Result) -> Iterator[Reason]:
    """What is recorded beside the settings: a limit, seeds, the version of the head."""
    if ours.limited != theirs.limited:
        yield Reason("examples used", *("a part (--limit)" if r.limited else "all" for r in (ours, theirs)))
    if ours.version != theirs.version:
        yield Reason("version of the head", str(ours.version), str(theirs.version))
    seeds = [(r.seed, len(r.seeds) or 1) for r in (ours, theirs)]
    if seeds[0] != seeds[1]:
        yield Reason("seeds", *(f"{n} from {first}" for first, n in seeds))


def _views(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[Reason]:
    for side, words in VIEWS.items():
        here, there = ((s.get("probe") or {}).get(side) for s in (ours, theirs))
        if here != there:
            yield Reason(words, sampled(here) or "not recorded", sampled(there) or "not recorded")


def _setting(name: str, here: str, there: str) -> Reason:
    last = name.rpartition(".")[2].replace("_", " ")
    if name == "dataset.digest":
        return Reason(WORDS[name], here[:6], there[:6])
    return Reason(WORDS.get(name, escaped(last)), escaped(value(here)), escaped(value(there)))


def separated(board: Leaderboard) -> list[Separated]:
    """The columns of standard tasks under another protocol than the main one, and why they stand apart."""
    pairs = [(column, board.main_of(column)) for column in board.other_protocols()]
    return [
        Separated(
            escaped(column.task),
            named(column.cells, board.rows),
            named(main.cells, board.rows),
            tuple(reasons(column, main)),
        )
        for column, main in pairs
    ]


def with_other_options(board: Leaderboard) -> list[Separated]:
    """Encoders of one dataset that no column has together, since their probes differ in options (`knn`, `knn+k=5`).

    The column with the most encoders is the main one.
    """
    alike: dict[tuple[str, str], list[Column]] = {}
    for column in board.main():
        alike.setdefault((column.first.dataset, column.first.probe.partition("+")[0]), []).append(column)
    found = []
    for main, *others in (sorted(columns, key=lambda c: -len(c.cells)) for columns in alike.values()):
        for column in others:
            here, there = column.cells.keys() - main.cells, main.cells.keys() - column.cells
            if here and there:
                names = named(here, board.rows), named(there, board.rows)
                found.append(Separated(escaped(column.task), *names, tuple(reasons(column, main))))
    return found


def named(indices: Collection[int], rows: Sequence[EncoderRow]) -> str:
    """The encoders of these rows."""
    labels = [escaped(row.label) for row in rows if row.index in indices]
    more = len(labels) - MAX_NAMED
    return ", ".join(labels[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def unequal_videos(board: Leaderboard) -> list[UnequalVideos]:
    """Main columns in which encoders were scored on different numbers of test videos, or lack different ones."""
    found = []
    for column in board.main():
        lacking = {row: (r.n, frozenset(r.missing)) for row, r in column.cells.items()}
        if len(set(lacking.values())) > 1:
            labels = {row.index: escaped(row.label) for row in board.rows}
            parts = [f"{labels[row]} on {n:,}" for row, (n, _) in lacking.items()]
            more = f" and {len(parts) - MAX_NAMED} more" if len(parts) > MAX_NAMED else ""
            expected = max(r.expected for r in column.cells.values())
            text = f"scored of {expected:,} test examples: {', '.join(parts[:MAX_NAMED])}{more}"
            found.append(UnequalVideos(escaped(column.task), text))
    return found
