"""Benchmarks: datasets and probes of the tables of a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.core.types import Dataset
from vitascope.datasets.open import folder_below, open_dataset

VIDEO_PROBES = ("knn/paper", "knn/paper-clip", "knn/paper-video", "linear/paper", "attentive/paper")
BENCHMARKS: dict[str, dict[str, tuple[str, ...]]] = {
    "twlv1-recognition": {
        "k400": VIDEO_PROBES,
        "mit": VIDEO_PROBES,
        "ssv2": VIDEO_PROBES,
        "diving48": VIDEO_PROBES,
        "epic/verb": VIDEO_PROBES,
        "epic/noun": VIDEO_PROBES,
        "epic/action": VIDEO_PROBES,
        "in1k": ("knn/paper", "linear/paper", "attentive/paper"),
    },
    "twlv1-temporal": {
        "thumos14": ("localize/paper",),
        "activitynet": ("localize/paper",),
        "50salads": ("segment/paper",),
        "gtea": ("segment/paper",),
        "breakfast": ("segment/paper",),
    },
}
"""Tables of the TWLV-I report. `twlv1-recognition`, tables 3, 5 and 6: linear and attentive probing (table 4) and kNN.
For EPIC-Kitchens the report has verbs only; nouns and actions are added. `linear/paper` and `attentive/paper` encode a
new clip of every video in every epoch: some 300 million clips per encoder. `--dry-run` estimates the time on this
machine; `-t linear/paper+draws=8` is cheaper. `twlv1-temporal`, tables 7, 9 and 10: localization and segmentation
without external scores; with those of another classifier, use `localize/external-paper+scores=FILE` on one dataset."""


def benchmark_tasks(
    name: str, roots: Sequence[str], tasks: Sequence[str], data_root: Path | None
) -> tuple[list[tuple[Dataset[Any], list[str]]], list[str]]:
    """Open the available datasets of a benchmark; return them with their probes, and the names of missing datasets.

    `roots` are `NAME=FOLDER` and take precedence over the folders in `data_root`. `tasks`, if any, are the probes to
    keep: `knn` keeps all its variants, `linear/paper+draws=8` that probe with its options. Raises UserError for an
    unknown benchmark, dataset or probe, or if no dataset is available.
    """
    if name not in BENCHMARKS:
        raise UserError(f"no benchmark {name!r}{nearest(name, BENCHMARKS)}; known: {', '.join(BENCHMARKS)}")
    datasets = BENCHMARKS[name]
    root_of = dict(_parse_root(text, name) for text in roots)
    opened: list[tuple[Dataset[Any], list[str]]] = []
    missing: list[str] = []
    for data, probes in datasets.items():
        selected = _select_probes(probes, tasks) if tasks else list(probes)
        family = data.partition("/")[0]
        root = root_of.get(data) or root_of.get(family)
        if not root and not folder_below(data_root, family):
            missing.append(data)
        elif selected:
            opened.append((open_dataset(f"{data}={root}" if root else data, data_root), selected))
    if not opened:
        where = f" below {data_root}" if data_root else ""
        raise UserError(
            f"{name}: found none of {', '.join(datasets)}{where}; pass --data-root FOLDER with a subfolder for each, "
            f"or {next(iter(datasets))}=FOLDER"
        )
    return opened, missing


def _select_probes(probes: Sequence[str], tasks: Sequence[str]) -> list[str]:
    """Return those of `probes` that `tasks` name, with the options given there."""
    known = [*probes, *(p.partition("/")[0] for p in probes)]
    for task in tasks:
        if task.partition("+")[0] not in known:
            raise UserError(
                f"-t {task}: not in this benchmark{nearest(task, known)}; its probes are {', '.join(probes)}"
            )
    named = {t.partition("+")[0]: t for t in tasks}
    return [named.get(p, p) for p in probes if p in named or p.partition("/")[0] in tasks]


def _parse_root(text: str, name: str) -> tuple[str, str]:
    data, _, root = text.partition("=")
    families = [d.partition("/")[0] for d in BENCHMARKS[name]]
    if data not in (*BENCHMARKS[name], *families) or not root:
        raise UserError(f"{text}: --benchmark {name} needs DATASET=FOLDER, for example {next(iter(families))}=FOLDER")
    return data, root
