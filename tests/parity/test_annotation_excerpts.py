"""Lines of the real annotation files, in their official form: each is read as it stands there."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from helpers import FIXTURES
from prototypes import annotated
from vitascope.datasets.readers import kinetics_lists
from vitascope.datasets.readers.annotation_files import ClassOrder, find_annotations, labels

EXCERPTS = FIXTURES / "annotations"
Line = tuple[str, int | str]
"""A video and its class, as a number or as a name."""


def rows(path: str) -> list[str]:
    return (EXCERPTS / path).read_text(encoding="utf-8").splitlines()


def table(path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(rows(path)))


def ssv2(side: str, split: str) -> list[Line]:
    """Number of the video, frames, number of the class."""
    lines = rows(f"ssv2/somesomev2_rgb_{ {'train': 'train', 'test': 'validation'}[side] }_split.txt")
    return [(line.split()[0], int(line.split()[2])) for line in lines]


def diving48(side: str, split: str) -> list[Line]:
    """The folder in the path is the class of another version, and not always that of this one."""
    lines = rows(f"diving48/diving48_{ {'train': 'train', 'test': 'val'}[side] }_list_videos.txt")
    return [(Path(line.split()[0]).stem, int(line.split()[1])) for line in lines]


def jester(side: str, split: str) -> list[Line]:
    lines = rows(f"jester/{ {'train': 'train', 'test': 'validation'}[side] }.csv")
    return [(line.split(";")[0], line.split(";")[1]) for line in lines]


def ucf101(side: str, split: str) -> list[Line]:
    """Lists to train count classes from 1; lists to test only have folders."""
    lines = rows(f"ucf101/{side}list0{split or 1}.txt")
    named = [(Path(line.split()[0]).stem, line.split("/")[0]) for line in lines]
    if side == "test":
        return [(video, {"HandstandPushups": "HandStandPushups"}.get(name, name)) for video, name in named]
    return [(video, int(line.split()[1]) - 1) for (video, _), line in zip(named, lines, strict=True)]


def hmdb51(side: str, split: str) -> list[Line]:
    """Name, frames, number of the class."""
    lines = rows(f"hmdb51/split{split or 1}_{ {'train': 'train', 'test': 'val'}[side] }.txt")
    return [(line.split()[0], int(line.split()[2])) for line in lines]


def epic(side: str, factor: str) -> list[Line]:
    """Of a pair the file has a number in another list of pairs, so pairs are looked up by their parts."""
    found = table(f"epic100/c2_{ {'train': 'training', 'test': 'validation'}[side] }.csv")
    if factor != "action":
        return [(row["narration_id"], int(row[factor])) for row in found]
    verbs, nouns = labels("epic_verb"), labels("epic_noun")
    return [(row["narration_id"], f"{verbs[int(row['verb'])]} {nouns[int(row['noun'])]}") for row in found]


SETS = {
    "ssv2": (ssv2, "ssv2"),
    "diving48": (diving48, "diving48"),
    "epic/verb": (epic, "epic100"),
    "epic/noun": (epic, "epic100"),
    "epic/action": (epic, "epic100"),
    "jester": (jester, "jester"),
    **dict.fromkeys(("ucf101", "ucf101/1", "ucf101/2", "ucf101/3"), (ucf101, "ucf101")),
    **dict.fromkeys(("hmdb51", "hmdb51/1", "hmdb51/2", "hmdb51/3"), (hmdb51, "hmdb51")),
}


@pytest.mark.parametrize("name", SETS)
def test_every_line_is_an_example_of_its_class(name: str) -> None:
    lines, folder = SETS[name]
    dataset = annotated(name, EXCERPTS / folder)
    (fold,) = dataset.folds
    by_id = dataset.by_id()
    for side, ids, count in (("train", fold.train, 20), ("test", fold.test, 10)):
        expected = lines(side, name.partition("/")[2])
        assert len(ids) == len(expected) == count
        for i, (video, label) in zip(ids, expected, strict=True):
            truth = by_id[i].truth
            assert (i, truth if isinstance(label, int) else dataset.classes[truth]) == (video, label)
    assert len(dataset.missing_files) == len(dataset.examples) == 30


@pytest.mark.parametrize("name", ["ucf101", "hmdb51", "diving48"])
def test_clips_of_one_recording_are_a_group(name: str) -> None:
    """Names say which they are: `_g08_c01` of UCF101, the film before the class of HMDB51, the video of Diving-48."""
    dataset = annotated(name, EXCERPTS / name)
    cut = {
        "ucf101": lambda i, label: i.removeprefix("v_").rpartition("_")[0],
        "hmdb51": lambda i, label: f"{label}/{i.rpartition(f'_{label}_')[0]}",
        "diving48": lambda i, label: i.rpartition("_")[0],
    }[name]
    for example in dataset.examples:
        assert example.group == cut(example.id, dataset.classes[example.truth])


def test_epic_spans_are_frames_of_30_a_second() -> None:
    """The list counts frames from 1 at 30 a second, whatever the camera's rate was."""
    by_id = annotated("epic/verb", EXCERPTS / "epic100").by_id()
    for row in table("epic100/c2_training.csv") + table("epic100/c2_validation.csv"):
        span = by_id[row["narration_id"]].span
        assert span == pytest.approx((int(row["start"]) / 30, int(row["stop"]) / 30), abs=1e-6)
        assert by_id[row["narration_id"]].group == row["video"]


def test_epic_untrimmed_videos_have_the_actions_of_their_lines() -> None:
    found = table("epic100/c2_training.csv") + table("epic100/c2_validation.csv")
    dataset = annotated("epic/localize-noun", EXCERPTS / "epic100")
    assert {e.id for e in dataset.examples} == {row["video"] for row in found}
    said = sorted((e.id, s.label) for e in dataset.examples for s in e.truth)
    assert said == sorted((row["video"], int(row["noun"])) for row in found)


@pytest.mark.parametrize("size", [400, 600])
def test_kinetics_tables(size: int) -> None:
    order = ClassOrder(labels(f"k{size}"))
    path = kinetics_lists.find_list(find_annotations(EXCERPTS / "kinetics"), size, "test")
    assert path.name == f"kinetics-{size}_val.csv"
    entries = kinetics_lists.read_official(path, "test", order)
    known = [
        (f"{r['youtube_id']}_{int(r['time_start']):06}_{int(r['time_end']):06}", r["label"])
        for r in table(f"kinetics/kinetics-{size}_val.csv")
    ]
    assert len(entries) == 15
    assert [(e.id, order.classes[e.truth]) for e in entries] == known


def test_thumos14() -> None:
    videos = json.loads((EXCERPTS / "thumos14" / "thumos14.json").read_text(encoding="utf-8"))["database"]
    dataset = annotated("thumos14", EXCERPTS / "thumos14")
    (fold,) = dataset.folds
    sides = {
        side: tuple(v for v, entry in videos.items() if entry["subset"] == side) for side in ("Validation", "Test")
    }
    assert (fold.train, fold.test) == (sides["Validation"], sides["Test"])
    assert (len(fold.train), len(fold.test), sum(len(e.truth) for e in dataset.examples)) == (3, 3, 25)
    for example in dataset.examples:
        theirs = [(*a["segment"], a["label_id"], a["label"]) for a in videos[example.id]["annotations"]]
        assert [(s.start, s.end, s.label, dataset.classes[s.label]) for s in example.truth] == theirs
        assert example.duration == videos[example.id]["duration"]
    late = sum(s.end > e.duration for e in dataset.examples for s in e.truth)
    assert late == 1
    assert dataset.notes[-1].startswith("1 of 25 actions that end after")
