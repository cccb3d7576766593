"""Data-set doctor: what is doubtful about the examples and splits of a dataset, known without reading its videos.

Every warning is one line with the number of test examples concerned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vitascope.core.data_warning import DataWarning, WarningKind
from vitascope.core.garbage import rarely_collected
from vitascope.core.text import escaped
from vitascope.core.types import Dataset, Example
from vitascope.datasets.audit.file_probe import FileReport
from vitascope.datasets.audit.fingerprints import copies
from vitascope.datasets.audit.leaks import Leak, divided_sources, overlapping_spans, recording
from vitascope.datasets.audit.name_patterns import suggested_sources
from vitascope.metrics.stats import FEWEST_TESTABLE

LEAKS = ("leak", "overlap", "copies")
"""Kinds of warnings that say that training has what the test is about."""


@rarely_collected()
def diagnose(dataset: Dataset[Any]) -> tuple[DataWarning, ...]:
    """The warnings on a dataset as it is listed: leaks, names that look like cuts, too few groups."""
    return (*leak_warnings(dataset), *_names(dataset), *_groups(dataset))


def leak_warnings(dataset: Dataset[Any]) -> Iterator[DataWarning]:
    """Recordings that a split divides, and spans that overlap across it."""
    leak = divided_sources(dataset, recording(dataset))
    if leak.pairs:
        what = "shares its recording with" if len(leak.pairs) == 1 else "share their recording with"
        yield leak_warning("leak", leak, f"{what} training examples")
    leak = overlapping_spans(dataset)
    if leak.pairs:
        yield leak_warning("overlap", leak, f"overlap{'s' * (len(leak.pairs) == 1)} in time with training examples")


def copy_warnings(dataset: Dataset[Any], reports: Mapping[str, FileReport]) -> Iterator[DataWarning]:
    """Copies across a split that `leak_warnings` does not know: files of equal bytes, or other encodings of a video."""
    first = copies({path: report.fingerprint for path, report in reports.items()})
    digests = {report.digest: path for path, report in reversed(list(reports.items())) if not report.why}
    source = {path: first.get(path, digests.get(report.digest, path)) for path, report in reports.items()}
    known = divided_sources(dataset, recording(dataset)).pairs
    leak = divided_sources(dataset, lambda e: source.get(e.path))
    pairs = {test: train for test, train in leak.pairs.items() if test not in known}
    if pairs:
        yield copies_warning(Leak(pairs, leak.tested))


def copies_warning(leak: Leak) -> DataWarning:
    """The warning on test examples whose frames are those of training examples."""
    one = len(leak.pairs) == 1
    return leak_warning(
        "copies", leak, f"{'is a copy' if one else 'are copies'} of training examples by bytes or frames"
    )


def leak_warning(kind: WarningKind, leak: Leak, what: str) -> DataWarning:
    """A warning that the test examples of a leak do `what`."""
    count, (test, train) = len(leak.pairs), next(iter(leak.pairs.items()))
    among = f"{count:,} of {leak.tested:,} test example{'s' * (leak.tested != 1)}"
    text = f"LEAK: {among} {what} (e.g. {escaped(test)} and {escaped(train)}): the score may be far too high"
    return DataWarning(kind, count, leak.tested, text)


def _names(dataset: Dataset[Any]) -> Iterator[DataWarning]:
    """Names that look like cuts of sources which a split divides, unless the user gave groups."""
    if dataset.kind != "recognition" or dataset.official_counts or _given_groups(dataset):
        return
    pattern = suggested_sources(dataset.examples)
    leak = divided_sources(dataset, lambda e: pattern.sources.get(e.id)) if pattern else None
    if pattern and leak and leak.pairs:
        part, name = escaped(pattern.part), escaped(pattern.example)
        text = (
            f"NAMES: {len(leak.pairs):,} of {leak.tested:,} test examples look like cuts of sources that are also in "
            f"training (by the part '{part}' of '{name}'): if so, give that part as column `group` of manifest.csv"
        )
        yield DataWarning("names", len(leak.pairs), leak.tested, text)


def _given_groups(dataset: Dataset[Any]) -> set[str]:
    """The groups that are not named after a file."""
    groups = {e.group for e in dataset.examples if e.group is not None}
    return groups - {e.group for e in dataset.examples if e.group is not None and e.path.endswith(e.group.lstrip("./"))}


def _groups(dataset: Dataset[Any]) -> Iterator[DataWarning]:
    """Test sets of so few groups that intervals and tests mean little."""
    by_id = dataset.by_id()
    tested = [by_id[i] for i in dict.fromkeys(i for fold in dataset.folds for i in fold.test)]
    units = len({_unit(e) for e in tested})
    if units < FEWEST_TESTABLE and any(e.group is not None for e in tested):
        folds = f" in {len(dataset.folds)} folds" if len(dataset.folds) > 1 else ""
        what = "recording or group" if units == 1 else "recordings or groups"
        # scores of temporal tasks are no means over examples, and tested otherwise
        test = f", and no two encoders can differ significantly (from {FEWEST_TESTABLE} on they can)"
        test = test if dataset.kind == "recognition" else ""
        text = (
            f"FEW GROUPS: {len(tested):,} test examples of {units} {what}{folds}: "
            f"too few to say much about others{test}"
        )
        yield DataWarning("groups", len(tested), len(tested), text)


def _unit(e: Example[Any]) -> tuple[str, bool]:
    """The unit of resampling of an example: its group, or itself."""
    return (e.id, False) if e.group is None else (e.group, True)
