"""Benchmarks: which probes are put to which data sets, as the report's tables have them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.core.types import Dataset
from vitascope.datasets.open import below, open_dataset

VIDEOS = ("knn", "knn/clip", "knn/video", "linear/paper", "attentive/paper")
BENCHMARKS: dict[str, dict[str, tuple[str, ...]]] = {
    "twlv1-recognition": {
        "k400": VIDEOS,
        "mit": VIDEOS,
        "ssv2": VIDEOS,
        "diving48": VIDEOS,
        "epic/verb": VIDEOS,
        "epic/noun": VIDEOS,
        "epic/action": VIDEOS,
        "in1k": ("knn", "linear/paper", "attentive/paper"),
    },
    "twlv1-temporal": {
        "thumos14": ("localize/paper",),
        "activitynet": ("localize/paper",),
        "50salads": ("segment/paper",),
        "gtea": ("segment/paper",),
        "breakfast": ("segment/paper",),
    },
}
"""Tables of the TWLV-I report. `twlv1-recognition`, tables 3, 5 and 6: linear and attentive probing and kNN by table 4.
EPIC-Kitchens' number in the report is the verb's; noun and action stand beside it. `linear/paper` and `attentive/paper`
encode a new clip of every video at every epoch: some 300 million clips an encoder. `--dry-run` says how long that takes
here; `-t linear/paper+draws:8` is the cheaper way. `twlv1-temporal`, tables 7, 9 and 10: localization and segmentation,
self-contained; with another classifier's scores ask `localize/external-paper+scores:FILE` of one data set."""


def questions(
    name: str, roots: Sequence[str], tasks: Sequence[str], data_root: Path | None
) -> tuple[list[tuple[Dataset[Any], list[str]]], list[str]]:
    """The data sets of a benchmark that are at hand, opened, each with its probes; and the names of those that are not.

    `roots` are `NAME=FOLDER`, before what `data_root` holds. `tasks`, if any, are the probes to keep: `knn` keeps all
    its variants, `linear/paper+draws:8` that one with its options. ValueError for an unknown benchmark, data set or
    probe, and where nothing is at hand.
    """
    if name not in BENCHMARKS:
        raise UserError(f"no benchmark {name!r}{nearest(name, BENCHMARKS)}; there are {', '.join(BENCHMARKS)}")
    asked = BENCHMARKS[name]
    of = dict(_root(text, name) for text in roots)
    found: list[tuple[Dataset[Any], list[str]]] = []
    absent: list[str] = []
    for data, probes in asked.items():
        kept = _kept(probes, tasks) if tasks else list(probes)
        family = data.partition("/")[0]
        at = of.get(data) or of.get(family)
        if not at and not below(data_root, family):
            absent.append(data)
        elif kept:
            found.append((open_dataset(f"{data}={at}" if at else data, data_root), kept))
    if not found:
        where = f" below {data_root}" if data_root else ""
        raise UserError(
            f"{name}: none of {', '.join(asked)}{where}; say --data-root FOLDER, which holds a folder of that name for "
            f"each, or {next(iter(asked))}=FOLDER"
        )
    return found, absent


def _kept(probes: Sequence[str], tasks: Sequence[str]) -> list[str]:
    """Of `probes` those that `tasks` name, with the options given there."""
    every = [*probes, *(p.partition("/")[0] for p in probes)]
    for task in tasks:
        if task.partition("+")[0] not in every:
            raise UserError(f"-t {task}: not of this benchmark{nearest(task, every)}; there are {', '.join(probes)}")
    named = {t.partition("+")[0]: t for t in tasks}
    return [named.get(p, p) for p in probes if p in named or p.partition("/")[0] in tasks]


def _root(text: str, name: str) -> tuple[str, str]:
    data, _, root = text.partition("=")
    families = [d.partition("/")[0] for d in BENCHMARKS[name]]
    if data not in (*BENCHMARKS[name], *families) or not root:
        raise UserError(f"{text}: with --benchmark {name} say where a data set lies: {next(iter(families))}=FOLDER")
    return data, root
