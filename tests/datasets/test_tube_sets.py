"""UCF101-24, JHMDB and MultiSports: tiny copies in their files, and the authors' own annotations where at hand."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from copies import build, complaint, lay, sides, write
from helpers import write_video
from vitascope.core.types import Example
from vitascope.datasets.audit.manifest import survey
from vitascope.datasets.readers.tube_windows import windows

DIVING, SURFING = "Diving/v_Diving_g01_c01", "Surfing/v_Surfing_g02_c03"


def put(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, 2))


def pyannot() -> dict[str, Any]:
    """Two videos of 60 and 20 frames; the tubes of the first are of frames 10 to 29 and 25 to 59."""
    one = np.stack([np.arange(20), np.full(20, 24), np.full(20, 32), np.full(20, 48)], 1).astype(np.int16)
    two = np.tile(np.array([[160, 120, 200, 60]], np.uint8), (35, 1))
    tubes = [{"sf": 10, "ef": 30, "label": 5, "boxes": one}, {"sf": 25, "ef": 60, "label": 5, "boxes": two}]
    return {
        DIVING: {"numf": 60, "label": 5, "annotations": tubes},
        SURFING: {"numf": 20, "label": 19, "annotations": []},
    }


def ucf(root: Path) -> Path:
    put(root / "pyannot.pkl", pyannot())
    write(root, "splitfiles/testlist01.txt", [SURFING])
    write(root, "splitfiles/testlist02.txt", [f"{DIVING}.avi 1", "YoYo/v_YoYo_g01_c01.avi"])
    return lay(root, *(f"rgb-images/{name}/{n:05d}.jpg" for name in (DIVING, SURFING) for n in (1, 2)))


def act(videos: tuple[str, str] = ("wave/a_wave", "walk/b"), splits: int = 3) -> dict[str, Any]:
    """One tube of 3 frames and one of 4, in frames of 320 x 240."""
    boxes = np.array([[1, 32, 24, 64, 120], [2, 32, 24, 64, 120], [3, -32, 24, 64, 120]], np.float32)
    other = np.array([[n, 160, 120, 400, 200] for n in (2, 3, 4, 5)], np.float32)
    return {
        "labels": ["walk", "wave"],
        "gttubes": {videos[0]: {1: [boxes]}, videos[1]: {0: [other, other[:2]]}},
        "nframes": {videos[0]: 3, videos[1]: 6},
        "resolution": dict.fromkeys(videos, (240, 320)),
        "train_videos": [[videos[0]]] * splits,
        "test_videos": [[videos[1]]] * splits,
    }


def at(example: Example[Any], time: float) -> list[tuple[Any, ...]]:
    return [(a.track, a.labels, a.box) for a in example.truth.actors if a.time == time]


def test_ucf101_24(tmp_path: Path) -> None:
    dataset = build("ucf101_24", ucf(tmp_path))
    assert sides(dataset) == ((f"{DIVING}@00001", f"{DIVING}@00031"), (f"{SURFING}@00001",))
    first, second, empty = dataset.examples
    assert (first.span, second.span, empty.span) == ((0.0, 1.2), (1.2, 2.4), (0.0, 0.8))
    assert (first.group, first.fps, first.path) == (DIVING, 25.0, f"{tmp_path}/rgb-images/{DIVING}")
    assert first.truth.times == tuple(n / 25 for n in range(30))
    assert at(first, 10 / 25) == [(0, (5,), (0.0, 0.1, 0.1, 0.3))]
    assert [a[0] for a in at(first, 27 / 25)] == [0, 1]
    assert at(second, 40 / 25) == [(1, (5,), (0.5, 0.5, 1.0, 0.75))]
    assert empty.truth.actors == ()
    assert (dataset.classes[5], dataset.kind, dataset.notes[0]) == (
        "Diving",
        "detection",
        "35 of 55 boxes extended beyond the frame and were cut at it",
    )
    assert sides(build("ucf101_24/2", tmp_path))[1] == (f"{DIVING}@00001", f"{DIVING}@00031")


def test_times_are_those_of_the_rate_that_a_file_states(tmp_path: Path) -> None:
    put(tmp_path / "JHMDB-GT.pkl", act())
    write_video(tmp_path / "videos/wave/a_wave.avi", np.zeros((3, 32, 32, 3), np.uint8), fps=10)
    dataset = build("jhmdb", tmp_path)
    one, other = dataset.examples
    assert (one.fps, one.truth.times, one.span) == (None, (0.0, 0.1, 0.2), (0.0, 0.3))
    assert (other.fps, other.truth.times[1]) == (30.0, 1 / 30)
    assert list(dataset.missing_files) == ["walk/b@00001"]


def test_jhmdb_and_multisports(tmp_path: Path) -> None:
    put(tmp_path / "annotations/JHMDB-GT.pkl", act())
    put(tmp_path / "trainval/multisports_GT.pkl", act(splits=1))
    lay(tmp_path, "Frames/wave/a_wave/00001.png", "Frames/walk/b/00001.png")
    for name in ("jhmdb", "jhmdb/3", "multisports"):
        dataset = build(name, tmp_path)
        assert sides(dataset) == (("wave/a_wave@00001",), ("walk/b@00001",))
        one, other = dataset.examples
        rate = 25 if name == "multisports" else 30
        assert at(one, 0.0) == [(0, (1,), (0.1, 0.1, 0.2, 0.5))]
        assert at(one, 2 / rate) == [(0, (1,), (0.0, 0.1, 0.2, 0.5))]
        assert at(other, 1 / rate) == [(n, (0,), (0.5, 0.5, 1.0, pytest.approx(200 / 240))) for n in (0, 1)]
        assert (at(other, 0.0), len(at(other, 4 / rate))) == ([], 1)


def test_windows_are_equal_parts() -> None:
    for frames, expected in {1: [1], 30: [30], 37: [37], 38: [19, 19], 75: [25] * 3, 61: [30, 31]}.items():
        found = list(windows(frames, 25))
        assert sorted(stop - first for first, stop in found) == expected
        assert [n for first, stop in found for n in range(first, stop)] == list(range(frames))


def test_a_copy_is_checked_frame_folder_by_frame_folder(tmp_path: Path) -> None:
    put(tmp_path / "JHMDB-GT.pkl", act())
    lay(tmp_path, "Frames/walk/b/00001.png")
    report = survey(build("jhmdb", tmp_path), output=tmp_path / "out.csv", quiet=True)
    assert {row.id: row.status for row in report.rows if row.id} == {
        "wave/a_wave@00001": "missing",
        "walk/b@00001": "unreadable",
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.pop("labels"), "no 'labels'"),
        (lambda d: d["nframes"].pop("walk/b"), "['nframes']: no 'walk/b'"),
        (lambda d: d["nframes"].update({"walk/b": 4}), "expected ascending frames from 1 to 4"),
        (lambda d: d["resolution"].update({"walk/b": "wide"}), "expected height and width in pixels, not 'wide'"),
        (lambda d: d["gttubes"]["walk/b"].update({2: []}), "a label from 0 to 1"),
        (lambda d: d["gttubes"]["walk/b"].update({0: [np.zeros((2, 4))]}), "expected rows of 5 finite numbers"),
        (lambda d: d["gttubes"]["walk/b"].update({0: [np.full((1, 5), np.nan)]}), "expected rows of 5 finite numbers"),
        (lambda d: d["train_videos"].__setitem__(0, ["walk/c"]), "'walk/c' has no entry in 'gttubes'"),
        (lambda d: d.update(train_videos=[]), "expected 0 lists, one for each split"),
        (lambda d: d.update(train_videos=[["wave/a_wave"]], test_videos=[["walk/b"]]), "has 1 splits, so no split 2"),
        (lambda d: d.update(labels=[1]), "expected text, not 1"),
        (lambda d: d.update(extra=Path("x")), "refused: its pickle would run pathlib."),
    ],
)
def test_what_is_wrong_in_a_file_of_sets_is_said(tmp_path: Path, change: Any, words: str) -> None:
    content = act()
    content["train_videos"] = list(content["train_videos"])
    change(content)
    put(tmp_path / "JHMDB-GT.pkl", content)
    assert words in complaint("jhmdb/2", tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d[DIVING].pop("numf"), f"['{DIVING}']: no 'numf'"),
        (lambda d: d[DIVING].update(numf=59), "['ef']: expected 26 to 59, not 60"),
        (lambda d: d[DIVING]["annotations"][0].update(ef=29), "expected 19 rows, for frames 10 to 28, not 20"),
        (lambda d: d[DIVING]["annotations"][0].update(label=24), "['label']: expected 0 to 23, not 24"),
        (lambda d: d[DIVING]["annotations"][0].update(label=4), "label 4 is 'CricketBowling', which the folder"),
        (lambda d: d.update({"Dancing/v": d[SURFING]}), "'Dancing' is not one of the 24 classes"),
        (lambda d: d.pop(SURFING), "has none of the 1 test videos of split 1"),
        (lambda d: d.clear(), "expected a dictionary of videos, not {}"),
    ],
)
def test_what_is_wrong_in_pyannot_is_said(tmp_path: Path, change: Any, words: str) -> None:
    content = pyannot()
    ucf(tmp_path)
    change(content)
    put(tmp_path / "pyannot.pkl", content)
    assert words in complaint("ucf101_24", tmp_path)


def test_missing_annotations_are_named(tmp_path: Path) -> None:
    assert "no annotations of tubes; put multisports_GT.pkl there" in complaint("multisports", tmp_path)
    assert "put pyannot.pkl or UCF101v2-GT.pkl there" in complaint("ucf101_24", tmp_path)
    put(tmp_path / "UCF101v2-GT.pkl", act(("Diving/a", "Surfing/b"), splits=1))
    assert "has 1 split only; put pyannot.pkl beside it" in complaint("ucf101_24/2", tmp_path)
    assert "none of the 2 videos of ucf101_24 was found" in complaint("ucf101_24", tmp_path)
