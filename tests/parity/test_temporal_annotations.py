"""The real lists of actions and labels of frames: read whole, with the counts that are known; videos are elsewhere."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import required
from prototypes import annotated
from vitascope.core.types import Dataset

Unpack = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("unchecked")
required("annotations", "the real annotation files")


def counted(dataset: Dataset[Any]) -> tuple[int, int, int, int]:
    """Videos to train and to test, and the actions in them."""
    (fold,) = dataset.folds
    truth = {e.id: len(e.truth) for e in dataset.examples}
    return len(fold.train), len(fold.test), sum(truth[i] for i in fold.train), sum(truth[i] for i in fold.test)


LISTS = {
    # name and files: the counts, and what is said
    ("thumos14", ()): ((200, 212, 3_007, 3_358), ["30 of 6365 actions that end after"]),
    ("thumos14/211", ()): ((200, 211, 3_007, 3_329), ["8 of 6336 actions that end after"]),
    ("thumos14", ("thumos_gt.json",)): (
        (200, 210, 3_007, 3_311),
        ["thumos_gt.json has 210 test videos but thumos14 has 212"],
    ),
    ("thumos14", ("val_Annotation.csv", "test_Annotation.csv")): (
        (200, 212, 3_007, 3_358),
        ["185 of 6550 actions without a class"],
    ),
    ("thumos14/213", ("val_Annotation.csv", "thumos14_test_groundtruth.csv")): (
        (200, 213, 3_007, 3_358),
        ["188 of 6553 actions without a class", "26 of 6553 actions that end after", "1 video without actions"],
    ),
}


@pytest.mark.parametrize(("name", "files"), LISTS, ids=str)
def test_thumos14(name: str, files: tuple[str, ...], unpacked: Unpack) -> None:
    dataset = annotated(name, unpacked("thumos14", *files))
    counts, said = LISTS[name, files]
    assert counted(dataset) == counts
    assert len(dataset.classes) == len({s.label for e in dataset.examples for s in e.truth}) == 20
    assert [note.startswith(start) for note, start in zip(dataset.notes, said, strict=True)] == [True] * len(said)
    assert len(dataset.missing_files) == len(dataset.examples)


def test_thumos14_numbers_classes_as_everybody(unpacked: Unpack) -> None:
    root = unpacked("thumos14")
    dataset = annotated("thumos14", root)
    videos = json.loads((root / "thumos14.json").read_text(encoding="utf-8"))["database"]
    for e in dataset.examples:
        theirs = [(*a["segment"], a["label_id"]) for a in videos[e.id]["annotations"]]
        assert [(s.start, s.end, s.label) for s in e.truth] == theirs
        assert e.duration == videos[e.id]["duration"]
    diving = [s for e in dataset.examples for s in e.truth if dataset.classes[s.label] == "CliffDiving"]
    twins = {(e.id, s.start, s.end) for e in dataset.examples for s in e.truth if dataset.classes[s.label] == "Diving"}
    assert len(diving) == 360
    assert all((e.id, s.start, s.end) in twins for e in dataset.examples for s in e.truth if s in diving)


def test_activitynet(unpacked: Unpack) -> None:
    root = unpacked("activitynet13")
    dataset, blocked = annotated("activitynet", root), annotated("activitynet/blocked", root)
    assert counted(dataset)[:2] == (10_024, 4_926)
    assert counted(blocked)[:2] == (10_024, 4_728)
    assert dataset.official_counts == {"train": 10_024, "test": 4_926}
    with (root / "activitynet_v1-3_valid_tsp_groundtruth.csv").open(encoding="utf-8") as file:
        listed = sum(row["temporal-region-label"] == "Action" for row in csv.DictReader(file))
    assert listed == 7_654
    assert sum(counted(dataset)[2:]) == 15_410 + 7_654 - 12 - 52
    assert [note.partition(" of ")[0] for note in dataset.notes] == [
        "12",
        "52",
        "1228",
        "10 videos without actions kept; every prediction in them is a false positive",
    ]
    assert len({s.label for e in dataset.examples for s in e.truth}) == 200


def test_activitynet_of_bmn(unpacked: Unpack) -> None:
    root = unpacked("activitynet13", "anet_anno_action.json", "video_info_new.csv")
    with pytest.raises(ValueError, match=r"has 4,728 test videos, without those blocked .* activitynet/blocked"):
        annotated("activitynet", root)
    dataset = annotated("activitynet/blocked", root)
    assert counted(dataset)[:2] == (9_649, 4_728)
    assert sum(counted(dataset)[2:]) == 14_859 + 7_293 - 12 - 50
    assert dataset.notes[0] == "4,851 testing videos left out: their labels are not public"
    assert dataset.notes[1].startswith(
        "anet_anno_action.json has 9,649 train videos but activitynet/blocked has 10,024: "
    )
    whole = annotated("activitynet/blocked", unpacked("activitynet13"))
    assert set(dataset.folds[0].test) == set(whole.folds[0].test), "both lists know the same videos as blocked"


@pytest.mark.parametrize(("factor", "classes", "twice"), [("verb", 97, 4), ("noun", 300, 6)])
def test_epic_untrimmed(factor: str, classes: int, twice: int, unpacked: Unpack) -> None:
    dataset = annotated(f"epic/localize-{factor}", unpacked("epic100"))
    train, test, *actions = counted(dataset)
    assert {"train": train, "test": test} == dataset.official_counts == {"train": 495, "test": 138}
    assert sum(actions) == 67_217 + 9_668 - twice
    assert (len(dataset.classes), len(dataset.notes)) == (classes, 1)
    assert all(e.duration and max(s.end for s in e.truth) < e.duration + 1 for e in dataset.examples)


LABELS = {
    # classes, videos, fewest and most frames, people, sides of the splits
    "50salads": ("tas_50Salads", 19, 50, (7_555, 18_143), 25, [(40, 10)] * 5),
    "gtea": ("tas_GTEA", 11, 28, (634, 2_009), 4, [(21, 7)] * 4),
    "breakfast": ("tas_Breakfast", 48, 1_712, (130, 9_741), 52, [(1460, 252), (1261, 451), (1279, 433), (1136, 576)]),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_of_every_frame(name: str, unpacked: Unpack) -> None:
    archive, classes, videos, frames, people, folds = LABELS[name]
    root = unpacked(archive)
    dataset = annotated(name, root)
    lengths = [e.truth.frames for e in dataset.examples]
    assert (len(dataset.classes), len(dataset.examples), dataset.notes) == (classes, videos, ())
    assert (min(lengths), max(lengths), len({e.group for e in dataset.examples})) == (*frames, people)
    assert [(len(f.train), len(f.test)) for f in dataset.folds] == folds
    assert sorted(i for f in dataset.folds for i in f.test) == sorted(e.id for e in dataset.examples)
    for e in dataset.examples[:: max(1, videos // 20)]:
        lines = (root / "groundTruth" / f"{e.id}.txt").read_text(encoding="utf-8").split()
        assert np.array_equal(e.truth.labels, [dataset.classes.index(line) for line in lines])
