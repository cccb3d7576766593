"""Warnings on the data behind the scores of a run: one line for each kind and dataset."""

from __future__ import annotations

from collections.abc import Iterable

from vitascope.core.data_warning import DataWarning
from vitascope.evaluation.results import Result

KINDS = ("leak", "overlap", "copies", "names", "groups", "floor", "given")
"""In the order of the lines: what makes a score wrong comes before what makes it say little."""


def warning_lines(recorded: Iterable[Result]) -> list[str]:
    """The warnings on the data of some results, as lines that begin with the name of the dataset.

    Of the warnings of one kind on one dataset, which encoders and probes may find to different extents, the one that
    touches most examples is given. Those of variants count where there is no other result: a floor of altered clips
    says nothing about the task.
    """
    recorded = list(recorded)
    worst: dict[tuple[str, str], DataWarning] = {}
    for result in [r for r in recorded if not r.variant] or recorded:
        name = result.dataset.removesuffix(f"@{result.variant.get('train_fraction')}")
        for warning in result.data_warnings:
            known = worst.setdefault((name, warning.kind), warning)
            worst[name, warning.kind] = max(known, warning, key=lambda w: w.touched)
    datasets = list(dict.fromkeys(name for name, _ in worst))
    ordered = sorted(worst, key=lambda key: (datasets.index(key[0]), KINDS.index(key[1])))
    return [f"{name}: {worst[name, kind].text}" for name, kind in ordered]
