"""Lists of actions in untrimmed videos: every layout that goes round in tiny copies, cleaned and counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copies import build, complaint, lay, sides, write
from vitascope.core.types import Segment
from vitascope.datasets.open import open_annotations, open_dataset
from vitascope.datasets.readers.activitynet_json import (
    SAME,
    AnnotationIssues,
    ListedAction,
    UntrimmedVideo,
    clean_actions,
)
from vitascope.datasets.readers.annotation_files import labels

# ------------------------------------------------------------------------------------------------------------- cleaning


def brute(actions: list[tuple[float, float, str]]) -> list[tuple[float, float, int]]:
    """The rules of PROTOCOLS 6.9, one after another."""
    kept: list[tuple[float, float, str]] = []
    for start, end, label in actions:
        twice = any(k[2] == label and abs(k[0] - start) <= SAME and abs(k[1] - end) <= SAME for k in kept)
        if end > start and not twice and label != "Ambiguous":
            kept.append((start, end, label))
    return [(start, end, "xy".index(label)) for start, end, label in kept]


TIMES = st.sampled_from([0.0, 0.0005, 0.5, 0.5009, 1.0, 2.0])


@settings(deadline=None)
@given(st.lists(st.tuples(TIMES, TIMES, st.sampled_from(["x", "y", "Ambiguous"])), max_size=12))
def test_cleaning_is_what_the_rules_say(actions: list[tuple[float, float, str]]) -> None:
    tally = AnnotationIssues()
    film = UntrimmedVideo("v", "train", tuple(ListedAction(*a, where="here") for a in actions), 1.5)
    found = clean_actions(film, lambda label, where: "xy".index(label), tally)
    assert [(s.start, s.end, s.label) for s in found] == brute(actions)
    assert tally.total == len(actions)
    assert (tally.late, tally.bare) == (sum(s.end > 1.5 for s in found), int(not found))


# ------------------------------------------------------------------------------------------------------- one's own list


def record(of: str, *actions: tuple[Any, Any, str], duration: float | None = 60.0) -> dict[str, Any]:
    listed = [{"segment": [start, end], "label": label} for start, end, label in actions]
    return {"subset": of, "annotations": listed, **({} if duration is None else {"duration": duration})}


def own(**videos: dict[str, Any]) -> dict[str, Any]:
    return {"version": "mine", "database": videos}


MINE = own(
    one=record("training", (1.0, 5.0, "jump"), ("7.5", "9", "run")),
    two=record("Training", (2.0, 61.0, "run"), (2.0, 61.0, "run"), (9.0, 9.0, "run")),
    three=record("validation", (0.0, 3.0, "jump"), (1.0, 2.0, "Ambiguous"), duration=None),
    four=record("validation"),
)


@pytest.mark.parametrize("where", ["annotations.json", "annotations/mine.json"])
def test_ones_own_folder_or_list(where: str, tmp_path: Path) -> None:
    path = write(lay(tmp_path / "mine", "films/one.mkv", "two.mp4"), where, MINE)
    dataset = open_dataset(tmp_path / "mine")
    assert (dataset.kind, dataset.name, dataset.classes) == ("localization", "mine", ("jump", "run"))
    assert sides(dataset) == (("one", "two"), ("three", "four"))
    assert {e.id: e.truth for e in dataset.examples} == {
        "one": (Segment(1.0, 5.0, 0), Segment(7.5, 9.0, 1)),
        "two": (Segment(2.0, 61.0, 1),),
        "three": (Segment(0.0, 3.0, 0),),
        "four": (),
    }
    assert [e.duration for e in dataset.examples] == [60.0, 60.0, None, 60.0]
    assert set(dataset.missing_files) == {"three", "four"}
    assert dataset.notes == (
        "1 of 7 actions without a class (ambiguous) dropped",
        "1 of 7 actions that do not end after their start dropped",
        "1 of 7 actions listed twice, counted once",
        "1 of 7 actions that end after their video kept unchanged; no prediction can match the part beyond it",
        "1 video without actions kept; every prediction in it is a false positive",
    )
    if path.parent == tmp_path / "mine":
        assert open_dataset(path).digest == dataset.digest == open_annotations(str(path)).digest


@pytest.mark.parametrize(
    ("one", "other"),
    [("temp+", "temp-"), ("Open", "open"), ("\u0915\u093f", "\u0915\u093e"), ("a_b", "a b"), ("x!", "x"), ("1", "1.0")],
)
def test_labels_that_differ_are_two_classes(one: str, other: str, tmp_path: Path) -> None:
    films = own(a=record("train", (0, 1, one), (2, 3, other)), b=record("test", (0, 1, other), (2, 3, one)))
    dataset = open_annotations(str(write(tmp_path, "a.json", films)))
    assert set(dataset.classes) == {one, other}
    named = [[dataset.classes[s.label] for s in e.truth] for e in dataset.examples]
    assert named == [[one, other], [other, one]]
    assert any("are taken as two" in note for note in dataset.notes) == (one == "Open")


def test_a_label_in_two_normal_forms_is_one_class(tmp_path: Path) -> None:
    films = own(a=record("train", (0, 1, "caf\u00e9"), (2, 3, "x")), b=record("test", (0, 1, "cafe\u0301 ")))
    assert open_annotations(str(write(tmp_path, "a.json", films))).classes == ("caf\u00e9", "x")


def test_a_video_listed_twice_is_named(tmp_path: Path) -> None:
    film = '{"subset": "train", "annotations": [{"segment": [0, 1], "label": "x"}]}'
    path = write(tmp_path, "a.json", f'{{"database": {{"v1": {film}, "v1": {film}}}}}')
    with pytest.raises(ValueError, match=r"a\.json: invalid JSON \(key 'v1' twice in one object\)"):
        open_annotations(str(path))


def test_videos_are_found_in_other_spellings(tmp_path: Path) -> None:
    """By normal form silently, by capitals with a note; a file that is another video's is nobody else's."""
    films = {"caf\u00e9": "train", "Clip.v1": "train", "clip.v2": "test", "CLIP.v2": "test", "v1.0.ts": "test"}
    lay(tmp_path, "cafe\u0301.mp4", "sub/clip.V1.MKV", "clip.v2.mp4", "v1.0.ts.mp4", "v1.0.mp4")
    path = write(tmp_path, "a.json", own(**{name: record(side, (0, 1, "x")) for name, side in films.items()}))
    dataset = open_dataset(path)
    found = {e.id: Path(e.path).name for e in dataset.examples if e.id not in dataset.missing_files}
    assert found == {
        "caf\u00e9": "cafe\u0301.mp4",
        "Clip.v1": "clip.V1.MKV",
        "clip.v2": "clip.v2.mp4",
        "v1.0.ts": "v1.0.ts.mp4",
    }
    assert dataset.notes[-1] == "1 videos found only regardless of capitals, e.g. 'Clip.v1' as 'clip.V1'"
    lay(tmp_path, "other/CLIP.V1.mp4")
    with pytest.raises(ValueError, match=r"'Clip\.v1' fits both 'clip\.V1' and 'CLIP\.V1'|'CLIP\.V1' and 'clip\.V1'"):
        open_dataset(path)


def test_which_sides_are_meant(tmp_path: Path) -> None:
    def divided(**of: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        films = {name: record(side, (0.0, 1.0, "jump")) for name, side in of.items()}
        return sides(open_annotations(str(write(tmp_path, "a.json", own(**films)))))

    assert divided(a="train", b="val", c="test") == (("a",), ("c",))
    assert divided(a="Validation", b="Test") == (("a",), ("b",))
    films = {"a": record("training", (0.0, 1.0, "jump")), "b": record("val", (0.0, 1.0, "jump")), "c": record("test")}
    dataset = open_annotations(str(write(tmp_path, "a.json", own(**films))))
    assert sides(dataset) == (("a",), ("b",))
    assert dataset.notes == ("1 testing videos without an action left out: their labels are not public",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "a.json: invalid JSON"),
        ([1], "a.json: expected a JSON object of videos"),
        ({"databse": {}}, "a.json: no object 'database' of videos; did you mean 'databse'?"),
        (own(), "a.json: no object 'database' of videos"),
        (own(a=3), "a.json: 'a': expected a JSON object with"),
        (
            own(a=record("trainig")),
            "'a': subset 'trainig' is not training, validation or testing; did you mean 'training'?",
        ),
        (own(a=record("train", (0, "x", "y"))), "'a': action 0: 'x' is not a time in seconds"),
        (own(a=record("train", (-1, 2, "y"))), "'a': action 0: -1 is not a time in seconds"),
        (own(a={"subset": "train", "annotations": [{"label": "x"}]}), "action 0: expected a 'segment' [start, end]"),
        (own(a={"subset": "train", "annotations": {}}), "'a': 'annotations' is not a list"),
        (own(a=record("train", duration=-1.0)), "'a': duration: -1.0 is not a time"),
        (own(a=record("train", (0, 1, "y"))), "training and test videos are required, but 'subset' gives 1 train"),
        (own(a=record("train"), b=record("test")), "no video has an action"),
        (own(**{"../a": record("train")}), "'../a' is outside the folder"),
    ],
)
def test_an_error_in_a_list_is_one_line(content: Any, said: str, tmp_path: Path) -> None:
    write(tmp_path, "a.json", content if isinstance(content, (str, dict)) else [*map(str, content)])
    if isinstance(content, list):
        write(tmp_path, "a.json", "[1]")
    with pytest.raises(ValueError) as error:
        open_annotations(str(tmp_path / "a.json"))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_two_lists_in_a_folder_and_no_video(tmp_path: Path) -> None:
    write(tmp_path, "a.json", MINE)
    with pytest.raises(ValueError, match=r"none of the 4 videos of .* was found"):
        open_dataset(tmp_path)
    write(tmp_path, "b.json", MINE)
    with pytest.raises(ValueError, match=r"both a\.json and b\.json list actions; give one of the files"):
        open_dataset(tmp_path)


# ------------------------------------------------------------------------------------------------------------- THUMOS14

JUMP = ("HighJump", "LongJump")


def thumos(root: Path, *test: str) -> Path:
    films = {"video_validation_0000051": record("Validation", (1.0, 2.0, "Diving"), (1.0, 2.0, "CliffDiving"))}
    films |= {name: record("Test", (0.5, 1.5, "HighJump"), (70.0, 71.0, "LongJump")) for name in test}
    return write(root, "annotations/thumos14.json", own(**films))


def test_thumos14_json(tmp_path: Path) -> None:
    tested = [f"video_test_{n:07d}" for n in (4, 270)]
    thumos(lay(tmp_path, "test/video_test_0000004.mp4", "val/video_validation_0000051.webm"), *tested)
    dataset = build("thumos14", tmp_path)
    assert (dataset.kind, len(dataset.classes), dataset.folds[0].name) == ("localization", 20, "validation/test")
    assert sides(dataset) == (("video_validation_0000051",), tuple(tested))
    assert dataset.by_id()["video_validation_0000051"].truth == (Segment(1.0, 2.0, 7), Segment(1.0, 2.0, 4))
    assert dataset.notes[:2] == (
        "thumos14.json has 1 train videos but thumos14 has 200: scores are not comparable with those on all videos",
        "thumos14.json has 2 test videos but thumos14 has 212: scores are not comparable with those on all videos",
    )
    assert list(dataset.missing_files) == ["video_test_0000270"]
    other = build("thumos14/211", tmp_path)
    assert sides(other)[1] == ("video_test_0000004",)
    assert (other.key, other.official_counts["test"]) == (dataset.key, 211)
    assert "has 2 test videos, without video_test_0001292" in complaint("thumos14/213", tmp_path)


def test_thumos14_tables(tmp_path: Path) -> None:
    head = "video,type,type_idx,start,end,startFrame,endFrame"
    write(tmp_path, "val_Annotation.csv", [head, "video_validation_0000051,Billiards,12,67.5,75.9,2025,2277"])
    numbered = "video-name,t-init,t-end,f-init,f-end,video-duration,frame-rate,video-frames,label-idx"
    rows = [numbered, "video_test_0000278,0.0,1.4,0,42,215.17,30.0,6455,-1"]
    rows += ["video_test_0000278,95.7,97.2,2871,2916,215.17,30.0,6455,11", "video_test_0001292,1,2,3,4,9.0,30.0,270,-1"]
    write(tmp_path, "thumos14_test_groundtruth.csv", rows)
    lay(tmp_path, "video_test_0000278.mp4")
    assert sides(build("thumos14", tmp_path))[1] == ("video_test_0000278",)
    dataset = build("thumos14/213", tmp_path)
    assert [(e.truth, e.duration) for e in dataset.examples] == [
        ((Segment(67.5, 75.9, 2),), None),
        ((Segment(95.7, 97.2, 11),), 215.17),
        ((), 9.0),
    ]
    write(tmp_path, "thumos14_test_groundtruth.csv", [numbered, "v,0,1,0,30,9,30,270,20"])
    assert ":2: label '20' is out of range; class numbers are 0 to 19" in complaint("thumos14", tmp_path)
    write(tmp_path, "thumos14_test_groundtruth.csv", rows)
    write(tmp_path, "val_Annotation.csv", [head, "v,Biliards,12,1,2,0,0"])
    assert ":2: 'Biliards' is not one of the 20 classes of this dataset; did you mean 'Billiards'?" in complaint(
        "thumos14", tmp_path
    )
    (tmp_path / "val_Annotation.csv").unlink()
    assert "no JSON file of the videos or table of the train actions; put thumos14.json or" in complaint(
        "thumos14", tmp_path
    )


# ---------------------------------------------------------------------------------------------------------- ActivityNet


def test_activitynet_json(tmp_path: Path) -> None:
    films = {
        "---9CpRcKoU": record("training", (0.5, 10.0, "Drinking beer")),
        "--1DO2V4K74": record("validation", (30.0, 205.0, "rock_climbing"), duration=211.53),
        "---testing--": record("testing"),
    }
    write(tmp_path, "activity_net.v1-3.min.json", own(**films))
    lay(tmp_path, "v_---9CpRcKoU.mp4", "val/--1DO2V4K74.mkv")
    dataset = build("activitynet", tmp_path)
    assert dataset.missing_files == {}
    assert dataset.notes[0] == "1 testing videos left out: their labels are not public"
    names = labels("activitynet")
    assert [names[e.truth[0].label] for e in dataset.examples] == ["Drinking beer", "Rock climbing"]
    assert dataset.official_counts == {"train": 10_024, "test": 4_926}
    assert "no list of the blocked videos; add blocked.json (OpenTAD) or video_info_new.csv" in complaint(
        "activitynet/blocked", tmp_path
    )
    write(tmp_path, "blocked.json", '["v_--1DO2V4K74"]')
    assert "list no test examples" in complaint("activitynet/blocked", tmp_path)
    write(tmp_path, "blocked.json", '["v_somebodyelse"]')
    assert sides(build("activitynet/blocked", tmp_path)) == sides(dataset)


def test_activitynet_of_tsp_and_of_bmn(tmp_path: Path) -> None:
    head = "video-name,t-start,t-end,action-label,video-duration,filename,fps,video-frames,temporal-region-label"
    rows = ["{},0.0,30.5,,211.0,v_x.mp4,30.0,6344,No action", "{},30.5,205.2,Archery,211.0,v_x.mp4,30.0,6344,Action"]
    for side, name in (("train", "---9CpRcKoU"), ("valid", "--1DO2V4K74")):
        write(tmp_path, f"tsp/activitynet_v1-3_{side}_tsp_groundtruth.csv", [head, *(r.format(name) for r in rows)])
    lay(tmp_path / "tsp", "v_---9CpRcKoU.mp4")
    dataset = build("activitynet", tmp_path / "tsp")
    assert [e.truth for e in dataset.examples] == [(Segment(30.5, 205.2, 1),)] * 2
    flat = {
        f"v_{e.id}": {"duration_second": 211.0, "annotations": [{"segment": [30.5, 205.2], "label": "Archery"}]}
        for e in dataset.examples
    }
    write(tmp_path, "bmn/anet_anno_action.json", flat)
    info = ["video,numFrame,seconds,fps,rfps,subset,featureFrame", "v_---9CpRcKoU,418,14.07,30.0,29.7,training,400"]
    write(tmp_path, "bmn/video_info_new.csv", [*info, "v_--1DO2V4K74,418,14.07,30.0,29.7,validation,400"])
    lay(tmp_path / "bmn", "v_---9CpRcKoU.mp4")
    other = build("activitynet", tmp_path / "bmn")
    assert other.digest == dataset.digest
    write(tmp_path, "bmn/video_info_new.csv", info)
    assert "'v_--1DO2V4K74': not in video_info_new.csv" in complaint("activitynet", tmp_path / "bmn")


# ----------------------------------------------------------------------------------------------------------------- EPIC


def test_epic_untrimmed(tmp_path: Path) -> None:
    head = "narration_id,video,start,stop,verb,noun,action"
    write(tmp_path, "c2_training.csv", [head, "P01_01_0,P01_01,30,90,3,5,1", "P01_01_1,P01_01,60,120,6,5,1"])
    write(tmp_path, "c2_validation.csv", [head, "P02_03_0,P02_03,0,45,3,114,1"])
    write(tmp_path, "c2_video_lengths.csv", ["video,frames", "P01_01,300"])
    lay(tmp_path, "P01/videos/P01_01.MP4")
    verbs, nouns = (build(f"epic/localize-{what}", tmp_path) for what in ("verb", "noun"))
    assert sides(verbs) == sides(nouns) == (("P01_01",), ("P02_03",))
    assert verbs.by_id()["P01_01"].truth == (Segment(1.0, 3.0, 3), Segment(2.0, 4.0, 6))
    assert nouns.by_id()["P02_03"].truth == (Segment(0.0, 1.5, 114),)
    assert [e.duration for e in verbs.examples] == [10.0, None]
    assert (len(verbs.classes), len(nouns.classes), verbs.factors) == (97, 300, ())
    assert verbs.key == build("epic/verb", tmp_path).key


# ------------------------------------------------------------------------------------------------------- without videos


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("thumos14", "thumos14: give the folder of its annotations as thumos14=FOLDER"),
        ("thumos15=/tmp", "thumos15=/tmp: not a dataset with temporal annotations; did you mean 'thumos14'?"),
        ("thumos14=/no/such", "thumos14: /no/such is not a folder"),
        ("thumos14/214=.", "no dataset 'thumos14/214'; did you mean 'thumos14/21"),
    ],
)
def test_missing_annotations(name: str, said: str) -> None:
    with pytest.raises(ValueError) as error:
        open_annotations(name)
    assert str(error.value).startswith(said)
