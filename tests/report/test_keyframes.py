"""Which keyframes are drawn with which boxes, on the page and in picture files, and what stands for missing ones."""

from __future__ import annotations

import io
import re
import runpy
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

import detection
from vitascope import report
from vitascope.evaluation.results import read_predictions
from vitascope.metrics import prediction_columns
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.charts import box_overlay, keyframe_selection, thumbnails
from vitascope.report.charts.best_boxes import BestBoxes, FrameScore, best_boxes
from vitascope.report.charts.keyframe_selection import Source, choose, farthest_apart

FAKE = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "fake_actors.py"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = FAKE["fake_actors"](tmp_path_factory.mktemp("runs") / "actors")
    report.write(path)
    return path


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


def table(found: list[detection.Row], truth: list[detection.Row], videos: int = 2) -> dict[str, list]:
    given, true = (detection.boxes(sorted(rows)) for rows in (found, truth))
    times = [sorted({row[1] for row in truth if row[0] == n}) for n in range(videos)]
    names = [f"v{n}" for n in range(videos)]
    return {"id": names, "group": names, **prediction_columns.of_boxes(given, true, times)}


@settings(deadline=None, max_examples=40)
@given(detection.rows(12, flat=False), detection.rows(8, flat=False))
def test_best_boxes_equal_a_loop(found: list[detection.Row], truth: list[detection.Row]) -> None:
    best = best_boxes(table(found, truth))
    frames = {(f"v{row[0]}", row[1]) for row in truth}
    assert set(best.frames) == frames
    for name, time in frames:
        score = best.frames[name, time]
        true = [row for row in sorted(truth) if (f"v{row[0]}", row[1]) == (name, time)]
        said = [row for row in sorted(found) if (f"v{row[0]}", row[1]) == (name, time)]
        kept = sorted(said, key=lambda row: -row[7])[: len(true)]
        taken: set[int] = set()
        for row in kept:
            same = [i for i, t in enumerate(true) if t[6] == row[6]]
            most = max(same, key=lambda i: (detection.iou(row[2:6], true[i][2:6]), -i), default=None)
            if most is not None and detection.iou(row[2:6], true[most][2:6]) >= 0.5:
                taken.add(most)
        assert score.rows == len(true)
        assert round(score.share * score.rows) == len(taken)
        near = [max((detection.iou(row[2:6], t[2:6]) for row in kept), default=0.0) for t in true]
        assert score.overlap == pytest.approx(np.mean(near))
        assert best.predicted.score[score.predicted_rows].tolist() == [row[7] for row in kept]


def scored(**frames: tuple[float, int, float]) -> BestBoxes:
    empty = best_boxes(table([], []))
    return empty._replace(
        frames={
            (name, 0.0): FrameScore(share, rows, overlap, [], []) for name, (share, rows, overlap) in frames.items()
        }
    )


def test_best_typical_and_worst() -> None:
    best = scored(a=(1.0, 1, 0.9), b=(1.0, 3, 0.8), c=(0.5, 2, 0.5), d=(0.0, 1, 0.1), e=(0.0, 4, 0.3))
    assert {name: why for (name, _), why in choose(best).items()} == {"b": "best", "c": "typical", "e": "worst"}
    assert list(choose(scored(a=(0.5, 1, 0.5))).values()) == ["best, typical, worst"]
    two = choose(scored(a=(0.5, 1, 0.5), b=(0.0, 1, 0.5)))
    assert {name: why for (name, _), why in two.items()} == {"a": "best", "b": "typical, worst"}


def test_the_keyframe_that_tells_encoders_apart() -> None:
    one, other = scored(a=(1.0, 1, 0.9), b=(0.5, 2, 0.9)), scored(a=(0.8, 1, 0.9), b=(0.0, 2, 0.9), c=(1.0, 1, 1.0))
    assert farthest_apart([one, other]) == ("b", 0.0)
    assert farthest_apart([one, one]) is None
    assert farthest_apart([one]) is None


def test_boxes_lie_where_they_were_predicted(run: Path) -> None:
    (task,) = keyframe_selection.task_keyframes(keyframe_selection.load(boards.build(boards.load_results([run]))))
    saved = read_predictions(run / "predictions" / "0.parquet")
    view = task.own[0][0]
    row = saved["id"].index(view.name)
    true = np.array(saved["true_boxes"][row]).reshape(-1, 4)
    drawn = [box for box in view.shown if box.kind in ("true", "missed")]
    assert len(drawn) == 2, "a box with two classes is one"
    np.testing.assert_allclose([drawn[0].left, drawn[0].left + drawn[0].width], true[0][[0, 2]], atol=1e-6)
    assert view.reason == "best"
    assert view.score == "3 of 3 right"
    assert {box.kind for box in view.shown} == {"true", "right"}
    assert view.source == Source(saved["path"][row], 2.0, saved["keyframes"][row][0])


def test_the_page_shows_each_picture_once_and_says_which_are_missing(run: Path, page: str) -> None:
    images = re.findall(r'<image id="kf\d+" width="(\d+)" height="(\d+)" href="data:image/jpeg;base64,', page)
    assert images
    assert set(images) == {("360", "270")}, "as the frames, 4 to 3"
    shown = set(re.findall(r'<use href="#kf(\d+)"', page))
    assert shown == {str(i) for i in range(len(images))}
    pictures = len(re.findall(r'class="keyframe drawing"', page))
    missing = page.count("No picture: ")
    assert pictures == len(re.findall(r'<use href="#kf', page)) + missing
    assert "<script>alert" not in page
    assert "Found and known, looks" in page


def test_a_video_that_is_not_there(tmp_path: Path) -> None:
    gone, short = Source(str(tmp_path / "gone.mp4"), 0.0, 1.0), Source(FAKE["frames"](tmp_path / "v", 0), 2.0, 99.0)
    made = thumbnails.thumbnails([gone, short, Source("", 0.0, 0.0)])
    assert "gone.mp4" in made[gone].reason
    assert made[short].reason == "99 s is past the end of the video"
    assert "--overwrite" in made[Source("", 0.0, 0.0)].reason
    assert not any(picture.jpeg for picture in made.values())


def test_pictures_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = FAKE["frames"](tmp_path / "v", 0)
    sources = [Source(folder, 2.0, float(t)) for t in range(4)]
    whole = thumbnails.thumbnails(sources)
    assert [picture.reason for picture in whole.values()] == [""] * 4
    pixel = Image.open(io.BytesIO(whole[sources[2]].jpeg)).getpixel((5, 5))
    np.testing.assert_allclose(pixel, (80, 100, 0), atol=4)
    monkeypatch.setattr(thumbnails, "MAX_BYTES", 2 * len(whole[sources[0]].jpeg) + 10)
    few = thumbnails.thumbnails(sources)
    assert sum(bool(picture.jpeg) for picture in few.values()) == 2
    monkeypatch.setattr(thumbnails, "MAX_PICTURES", 1)
    assert sum(bool(picture.jpeg) for picture in thumbnails.thumbnails(sources).values()) == 1


def test_picture_files(run: Path) -> None:
    drawn = sorted(path.stem for path in (run / "keyframes").glob("*.svg"))
    assert "made-detect-umt-large-best" in drawn
    for stem in drawn:
        ET.parse(run / "keyframes" / f"{stem}.svg")
        png = io.BytesIO((run / "keyframes" / f"{stem}.png").read_bytes())
        assert Image.open(png).size == (2 * (360 + 16), 2 * (270 + 48))
    (run / "keyframes" / "old.svg").write_text(f"<svg>{box_overlay.svg_png.GENERATED}</svg>")
    (run / "keyframes" / "mine.svg").write_text("<svg/>")
    report.write(run, formats=["keyframes"])
    assert sorted(path.stem for path in (run / "keyframes").glob("*.svg")) == sorted([*drawn, "mine"])


def test_labels_keep_apart() -> None:
    box = keyframe_selection.ShownBox(0.1, 0.1, 0.2, 0.1, "right", (keyframe_selection.Label("run 0.9", "right"),), "")
    view = keyframe_selection.KeyframeView(0, "e", "best", "v@1", "1 of 1", Source("v", 0.0, 1.0), (box,) * 4)
    laid = box_overlay.overlay(view, thumbnails.Thumbnail(360, 270, b""))
    lines = sorted(text.y for text in laid.texts)
    assert len(lines) == 4
    assert min(np.diff(lines)) >= box_overlay.LINE
    assert all(0 < text.y < 270 for text in laid.texts)


def test_results_without_sources_show_their_boxes_all_the_same(tmp_path: Path) -> None:
    path = FAKE["fake_actors"](tmp_path / "old", sources=False)
    text = report.write(path)["html"].read_text(encoding="utf-8")
    assert "the results do not tell its file" in text
    assert "<image" not in text
    assert "Timelines" not in text, "without numbers of actors there are no tracks"
