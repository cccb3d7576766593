"""Labels of every frame in the layout of MS-TCN: tiny copies of the three sets, one's own, and what may be wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from copies import build, complaint, files, lay, write
from vitascope.core.types import Timeline
from vitascope.datasets.open import open_annotations, open_dataset

SETS = {
    # fps, folds, videos
    "50salads": (30.0, 5, ["rgb-01-1", "rgb-01-2", "rgb-02-1", "rgb-03-1", "rgb-04-1", "rgb-05-1"]),
    "gtea": (15.0, 4, ["S1_Cheese_C1", "S1_Tea_C1", "S2_Tea_C1", "S3_Tea_C1", "S4_Tea_C1"]),
    "breakfast": (15.0, 4, [f"P0{p}_cam01_P0{p}_tea" for p in (3, 4, 5, 6)] + ["P03_stereo01_P03_tea"]),
}
GROUPS = {"50salads": "rgb-01", "gtea": "S1", "breakfast": "P03"}


def subject(video: str) -> str:
    return next((g for g in GROUPS.values() if video.startswith(g)), video)


def labeled(root: Path, videos: list[str], folds: int, *, ending: str = "\n") -> Path:
    """Each video is `pour, pour, stir` and a frame more a place; whoever is filmed is tested once."""
    write(root, "mapping.txt", f"1 stir{ending}0 pour")  # the last line has no end, as some have
    for i, video in enumerate(videos):
        write(root, f"groundTruth/{video}.txt", ending.join(["pour", "pour", "stir", *["pour"] * i, ""]))
    people = list(dict.fromkeys(map(subject, videos)))
    for fold in range(folds):
        tested = [v for v in videos if people.index(subject(v)) % folds == fold]
        for side, listed in (("test", tested), ("train", [v for v in videos if v not in tested])):
            write(root, f"splits/{side}.split{fold + 1}.bundle", ending.join(f"{v}.txt" for v in listed) + ending)
    return root


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_the_three_sets(name: str, ending: str, tmp_path: Path) -> None:
    fps, folds, videos = SETS[name]
    labeled(tmp_path, videos, folds, ending=ending)
    dataset = build(name, lay(tmp_path, f"videos/{videos[0]}.avi"))
    assert (dataset.kind, dataset.name, dataset.classes) == ("segmentation", name, ("pour", "stir"))
    assert [f.name for f in dataset.folds] == [f"split {n + 1}" for n in range(folds)]
    assert sorted(i for f in dataset.folds for i in f.test) == sorted(videos), "each is tested once"
    truths = {e.id: e.truth for e in dataset.examples}
    assert truths[videos[0]] == Timeline(((0, 2), (1, 1)), fps)
    assert truths[videos[2]] == Timeline(((0, 2), (1, 1), (0, 2)), fps)
    assert {e.id: e.duration for e in dataset.examples}[videos[2]] == 5 / fps
    assert {e.group for e in dataset.examples} >= {GROUPS[name]}
    assert set(dataset.missing_files) == set(videos) - {videos[0]}
    assert files(dataset)[videos[0]] == f"videos/{videos[0]}.avi"
    shutil.rmtree(tmp_path / "videos")
    assert "was found; expected e.g." in complaint(name, tmp_path)


def test_a_folder_within(tmp_path: Path) -> None:
    labeled(tmp_path / "GTEA", SETS["gtea"][2], 4)
    assert len(build("gtea", lay(tmp_path, "Videos/S1_Tea_C1.mp4")).examples) == 5


def test_breakfast_of_its_authors_has_one_name_for_all_cameras(tmp_path: Path) -> None:
    videos = ["P03_cam01_P03_tea", "P03_cam02_P03_tea", "P03_stereo01_P03_tea", "P04_cam01_P04_tea"]
    labeled(tmp_path, [*videos, "P05_cam01_P05_tea", "P06_cam01_P06_tea"], 4)
    there = ["sync/P03/cam02/P03_tea.avi", "sync/P03/stereo/P03_tea_ch0.avi", "sync/P04/cam01/P04_tea.avi"]
    dataset = build("breakfast", lay(tmp_path, *there))
    found = files(dataset)
    assert [found[v] for v in videos[1:]] == there
    assert videos[0] in dataset.missing_files, "another camera does not stand for it"


def test_labels_that_look_alike(tmp_path: Path) -> None:
    """Signs and capitals distinguish; normal forms do not, neither in labels nor in the names of files."""
    write(tmp_path, "mapping.txt", "0 temp+\n1 temp-\n2 Temp-\n3 caf\u00e9\n")
    names = ["vide\u0301o", "b"]
    for name in names:
        write(tmp_path, f"groundTruth/{name}.txt", "temp-\ntemp+\nTemp-\ncafe\u0301\n")
    write(tmp_path, "splits/train.split1.bundle", "vid\u00e9o.txt\n")
    write(tmp_path, "splits/test.split1.bundle", "b.txt\n")
    dataset = open_annotations(str(tmp_path))
    assert [e.truth.runs for e in dataset.examples] == [((1, 1), (0, 1), (2, 1), (3, 1))] * 2
    assert "the labels 'temp-' and 'Temp-' differ only in capitals or spacing, and are taken as two" in dataset.notes
    write(tmp_path, "mapping.txt", "0 temp+\n1 temp-\n2 temp+\n3 caf\u00e9\n")
    with pytest.raises(
        ValueError, match=r"mapping\.txt:3: the class 'temp\+' is listed twice; give every class its own"
    ):
        open_annotations(str(tmp_path))


def test_ones_own_with_its_rate(tmp_path: Path) -> None:
    root = labeled(tmp_path / "mine", ["a", "b", "c"], 2)
    write(root, "groundTruth/extra.txt", ["pour"])
    dataset = open_dataset(lay(root, "c.mp4"))
    assert (dataset.name, dataset.kind, dataset.examples[0].truth.fps) == ("mine", "segmentation", 30.0)
    assert dataset.notes == (
        "no fps.txt beside mapping.txt: 30 labels per second assumed",
        "1 labeled videos in no split left out, e.g. extra",
    )
    write(root, "fps.txt", "12.5\n")
    again = open_annotations(str(root))
    assert again.examples[0].truth.fps == 12.5
    assert len(again.notes) == 1
    write(root, "fps.txt", "fast")
    with pytest.raises(ValueError, match=r"fps\.txt: expected one number"):
        open_annotations(str(root))


def spoil(root: Path, what: str) -> None:
    if what == "label":
        write(root, "groundTruth/S2_Tea_C1.txt", ["pour", "pour", "stirr"])
    if what == "blank":
        write(root, "groundTruth/S2_Tea_C1.txt", ["pour", "", "stir"])
    if what == "truth":
        (root / "groundTruth" / "S2_Tea_C1.txt").unlink()
    if what == "split":
        (root / "splits" / "test.split4.bundle").unlink()
    if what == "train":
        (root / "splits" / "train.split2.bundle").unlink()
    if what == "both":
        write(root, "splits/train.split1.bundle", ["S1_Tea_C1.txt"])
    if what == "twice":
        write(root, "splits/test.split1.bundle", ["S1_Tea_C1.txt", "S1_Tea_C1.txt"])
    if what == "empty":
        write(root, "splits/test.split1.bundle", "\n")
    if what == "splits":
        shutil.rmtree(root / "splits")
    if what == "mapping":
        (root / "mapping.txt").unlink()
    if what == "numbers":
        write(root, "mapping.txt", ["1 pour", "2 stir"])
    if what == "line":
        write(root, "mapping.txt", ["0 pour", "0 stir"])
    if what == "home":
        shutil.rmtree(root / "groundTruth")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (
            "label",
            "S2_Tea_C1.txt:3: expected one label per frame, but 'stirr' is not a class of mapping.txt; did you mean "
            "'stir'?",
        ),
        ("blank", "S2_Tea_C1.txt:2: expected one label per frame, but the line is empty"),
        ("truth", "S2_Tea_C1.txt: no such file, but a split lists S2_Tea_C1; did you mean"),
        ("split", "splits: 3 splits, but gtea has 4; add the others"),
        ("train", "train.split2.bundle: no such file; test.split2.bundle needs its training list"),
        ("both", "S1_Tea_C1 is in both training and test of split 1"),
        ("twice", "test.split1.bundle:2: S1_Tea_C1 is listed twice, first in"),
        ("empty", "test.split1.bundle: lists no videos"),
        ("splits", "no train.split1.bundle and test.split1.bundle"),
        ("mapping", "mapping.txt: no such file; write one line `number name` per class"),
        ("numbers", "classes are numbered [1, 2] ...; expected 0 to 1"),
        ("line", "mapping.txt:2: '0 stir' is not an unused number followed by a class name"),
        ("home", "no folder groundTruth/ with one <video>.txt per video"),
    ],
)
def test_an_error_is_one_line(what: str, said: str, tmp_path: Path) -> None:
    labeled(tmp_path, SETS["gtea"][2], 4)
    spoil(lay(tmp_path, "S1_Tea_C1.mp4"), what)
    assert said in complaint("gtea", tmp_path)
