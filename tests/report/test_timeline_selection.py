"""Which videos are drawn with which bars, on the page and in picture files, and what is missing."""

from __future__ import annotations

import re
import runpy
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vitascope import report
from vitascope.core.types import Segment
from vitascope.evaluation.results import append, read, read_predictions, write_predictions
from vitascope.metrics import prediction_columns
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.charts import svg_png, timeline_selection
from vitascope.report.charts.timeline_selection import TaskTimelines, choose_videos
from vitascope.report.charts.timelines import BACKGROUND

FAKE = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "fake_moments.py"))
fake_moments, NASTY, KITCHEN = FAKE["fake_moments"], FAKE["NASTY"], FAKE["KITCHEN"]
ROWS = ["ground truth", *FAKE["ENCODERS"]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = fake_moments(tmp_path_factory.mktemp("runs") / "moments", videos=6, seconds=30.0)
    report.write(path)
    return path


@pytest.fixture(scope="module")
def tasks(run: Path) -> list[TaskTimelines]:
    return timeline_selection.task_timelines(boards.build(boards.load_results([run])))


def views(question: TaskTimelines) -> dict[str, timeline_selection.TimelineView]:
    return {v.video: v for v in (*question.chosen, *question.others)}


def test_choice() -> None:
    scores = {"a": [10.0, 20.0], "b": [50.0, 60.0], "c": [0.0, 100.0], "d": [90.0, 91.0], "e": [30.0, 31.0]}
    assert choose_videos(scores, set(scores)) == {"c": "median, largest difference", "a": "worst", "d": "best"}
    assert choose_videos(scores, {"b", "d", "e"}) == {"b": "median, largest difference", "e": "worst", "d": "best"}
    assert list(choose_videos(scores, set())) == ["c", "a", "d"], "where nobody has all"
    assert choose_videos({"a": [3.0]}, {"a"}) == {"a": "only video"}
    assert choose_videos({"a": [3.0], "b": [4.0], "c": [5.0]}, {"a", "b", "c"}) == {
        "b": "median",
        "a": "worst",
        "c": "best",
    }
    assert choose_videos({"a": [], "b": []}, set()) == {"a": "median, worst", "b": "best"}


def test_the_truth_comes_first_then_every_encoder_as_recorded(tasks: list[TaskTimelines]) -> None:
    assert [(q.title, q.measure) for q in tasks] == [
        ("gtea:segment", "correct frames"),
        ("thumos14:localize", "detected actions"),
    ]
    for question in tasks:
        assert 3 <= len(question.chosen) <= 4
        assert len(views(question)) + question.omitted == 6
        assert all([r.name for r in v.chart.rows] == ROWS for v in views(question).values())


def test_frames_are_drawn_and_scored_as_saved(run: Path, tasks: list[TaskTimelines]) -> None:
    table = read_predictions(run / "predictions" / "segment-0.parquet")
    predicted, true = prediction_columns.labels(table)
    for video, p, y in zip(table["id"], predicted, true, strict=True):
        view = views(tasks[0])[video]
        row = view.chart.rows[1]
        assert row.score == f"{100 * np.mean(p == y):.1f} %"
        cuts = np.flatnonzero(np.diff(p)) + 1
        np.testing.assert_allclose([b.left for b in row.bars], 100 * np.array([0, *cuts]) / len(p), atol=6e-4)
        assert row.bars[0].tip.split("\n")[:2] == ["umt/large", KITCHEN[p[0]].replace("\u202e", "\\u202e")]
        assert row.bars[-1].tip.endswith(f" to {len(p) / 15:.1f} s")


def test_classes_look_the_same_in_all_videos_of_a_task_with_few(tasks: list[TaskTimelines]) -> None:
    for question in tasks:
        seen = {entry for view in views(question).values() for entry in view.chart.legend}
        assert len({name for name, _ in seen}) == len(seen)
    assert dict(entry for v in tasks[0].chosen for entry in v.chart.legend)["background"] == BACKGROUND


def test_as_many_of_the_best_predictions_as_there_are_actions(run: Path, tasks: list[TaskTimelines]) -> None:
    table = read_predictions(run / "predictions" / "localize-2.parquet")
    whole = 0
    for video, scores, starts in zip(table["id"], table["scores"], table["true_starts"], strict=True):
        drawn = views(tasks[1])[video].chart
        told = [b.tip.rpartition(" ")[2] for b in drawn.rows[3].bars]
        best = [f"{score:.2f}" for score in sorted(scores, reverse=True)[: len(starts)]]
        assert set(told) <= set(best)
        if not drawn.note:
            whole += 1
            assert sorted(told) == sorted(best)
        assert drawn.ticks[-1].text == "30 s", "the video lasts so long"
    assert whole


def test_detected_actions_by_hand(tmp_path: Path) -> None:
    true = (Segment(0.0, 10.0, 1), Segment(20.0, 30.0, 2), Segment(40.0, 50.0, 1))
    predicted = [
        Segment(0.0, 6.0, 1, 0.9),  # 0.6 of it
        Segment(20.0, 30.0, 1, 0.8),  # another class
        Segment(46.0, 52.0, 1, 0.7),  # 4 of 12
        Segment(40.0, 50.0, 1, 0.6),  # right, and one too many
    ]
    empty = (Segment(0.0, 10.0, 1),)
    columns = prediction_columns.of_segments([predicted, [], predicted], [true, empty, ()])
    write_predictions(tmp_path / "p", {"id": ["v", "w", "x"], "fold": [0] * 3, "group": [""] * 3, **columns})
    append(tmp_path, FAKE["result"]("localize", "e", "p", {}, n=3))
    (question,) = timeline_selection.task_timelines(boards.build(boards.load_results([tmp_path])))
    found = views(question)
    assert found.keys() == {"v", "w"}, "nothing is to be found in x"
    rows = found["v"].chart.rows
    assert rows[1].score == "33.3 %"
    assert len(rows[1].bars) == len(rows[0].bars) == 3
    assert max(b.left + b.width for b in rows[1].bars) == 100, "without a duration the axis ends with what is drawn"
    assert (found["w"].chart.rows[1].placeholder, found["w"].chart.rows[1].score) == ("no detections", "0.0 %")


def test_missing_features_are_shown_and_the_video_is_not_selected(run: Path, tasks: list[TaskTimelines]) -> None:
    for question in tasks:
        assert "S2/coffee" not in {v.video for v in question.chosen}
        row = views(question)["S2/coffee"].chart.rows[2]
        assert (row.bars, row.score) == ((), "")
        assert row.placeholder == "no features: moov atom not found <i>here</i>"
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "no features: moov atom not found &lt;i&gt;here&lt;/i&gt;" in page


def test_missing_predictions_are_shown(run: Path, tmp_path: Path) -> None:
    for result in read(run):
        gone = "" if result.encoder == "umt/large" else str((run / result.predictions).relative_to(run))
        append(tmp_path, replace(result, predictions=gone))
    assert timeline_selection.task_timelines(boards.build(boards.resolve_predictions(read(tmp_path), tmp_path))) == []
    (tmp_path / "predictions").symlink_to(run / "predictions")
    found = [replace(r, predictions=r.predictions and str(run / r.predictions)) for r in read(tmp_path)]
    for question in timeline_selection.task_timelines(boards.build(found)):
        assert question.chosen[0].chart.rows[1].placeholder == "no saved predictions"
        assert question.chosen[0].chart.rows[0].bars


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p", {"id": ["v"], "labels": [[0]]})
    append(tmp_path, FAKE["result"]("segment", "e", "p", {}, n=1))
    with pytest.raises(ValueError, match=r"p: column 'frames' is missing; evaluate again with --overwrite"):
        report.write(tmp_path)


def test_the_page_stays_small(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline_selection, "MAX_BARS", 0)
    board = boards.build(boards.load_results([run]))
    for question in timeline_selection.task_timelines(board):
        assert question.others == ()
        assert question.omitted == 6 - len(question.chosen)
    page = report.write(run, formats=["html"])["html"].read_text(encoding="utf-8")
    assert "other test videos omitted to keep this page small" in page


def test_tooltips_are_on_the_page_and_escaped(run: Path) -> None:
    page = report.write(run, formats=["html"])["html"].read_text(encoding="utf-8")
    section = page[page.index('<section id="timelines"') :]
    section = section[: section.index("</section>")]
    assert "alert(1)" in section
    assert "<script" not in section
    assert "<b>big" not in section
    assert re.search(r'data-tip="pixels/motion-energy\nSport number \d+\n\d+\.\d to \d+\.\d s, score 0\.\d\d"', section)
    used = set(re.findall(r"url\(#(timeline-\d+)\)", section))
    assert used
    assert used <= set(re.findall(r'<pattern id="(timeline-\d+)"', section))
    assert len(re.findall(r'<pattern id="(timeline-\d+)"', section)) == len(
        set(re.findall(r'<pattern id="(timeline-\d+)"', section))
    )


def test_a_legend_of_many_is_cut_on_the_page_and_whole_in_a_file(tmp_path: Path) -> None:
    many = [[Segment(float(i), i + 1.0, i) for i in range(30)]]
    columns = {"id": ["v"], "fold": [0], "group": [""], **prediction_columns.of_segments(many, many)}
    write_predictions(tmp_path / "p", columns)
    found = FAKE["result"]("localize", "e", "p", {}, n=1)
    append(tmp_path, replace(found, settings={**found.settings, "classes": [f"class {i}." for i in range(30)]}))
    written = report.write(tmp_path)
    page = written["html"].read_text(encoding="utf-8")
    assert len(re.findall(r"<bdi>class \d+\.</bdi>", page)) == 24
    assert "and 6 more: hover over a bar" in page
    drawn = (written["timelines"] / "thumos14-v.svg").read_text()
    assert len(re.findall(r">class \d+\.</text>", drawn)) == 30


def test_files_are_written_and_old_ones_of_ours_removed(tmp_path: Path) -> None:
    run = fake_moments(tmp_path / "run", videos=3, seconds=20.0, kinds=["segment"])
    folder = run / "timelines"
    folder.mkdir(parents=True)
    (folder / "mine.svg").write_text("<svg/>")
    (folder / "gtea-old.svg").write_text(f"<svg>{svg_png.GENERATED}</svg>")
    (folder / "gtea-old.png").write_bytes(b"")
    written = report.write(run)
    assert list(written) == ["html", "md", "tex", "timelines"]
    assert written["timelines"] == folder
    names = {p.name for p in folder.iterdir()}
    assert names == {"mine.svg", *(f"gtea-S{i}-tea.{kind}" for i in (0, 1) for kind in ("svg", "png"))}
    assert ET.parse(folder / "gtea-S0-tea.svg").getroot().get("width") == "960"
    before = {p: p.read_bytes() for p in folder.iterdir()}
    report.write(run, formats=["timelines"])
    assert {p: p.read_bytes() for p in folder.iterdir()} == before


def test_tasks_on_one_dataset_have_separate_files(tmp_path: Path) -> None:
    run = fake_moments(tmp_path, videos=2, seconds=20.0, kinds=["segment"])
    for result in read(run):
        append(run, replace(result, probe="segment/other", protocol="other"))
        append(run, replace(result, protocol="third", limited=True))
    names = {p.stem for p in report.write(run, formats=["timelines"])["timelines"].iterdir()}
    assert names == {
        f"gtea-{probe}-S{i}-tea" for probe in ("segment", "segment-other", "segment-third") for i in (0, 1)
    }


def test_names_that_a_disk_would_confuse(tasks: list[TaskTimelines], tmp_path: Path) -> None:
    view = tasks[0].chosen[0]
    alike = tuple(view._replace(video=video) for video in ("a/b", "A b", "a-b", "../../etc/passwd"))
    svg_png.write(tmp_path / "t", [tasks[0]._replace(chosen=alike)])
    names = {p.stem for p in (tmp_path / "t").iterdir()}
    assert names == {"gtea-a-b", "gtea-A-b-1", "gtea-a-b-2", "gtea-..-..-etc-passwd"}
    assert [p.name for p in tmp_path.iterdir()] == ["t"]


def test_recognition_has_no_timelines(tmp_path: Path) -> None:
    run = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "fake_run.py"))["fake_run"](tmp_path, n=24)
    assert list(report.write(run)) == ["html", "md", "tex"]
    assert report.write(run, formats=["timelines"]) == {}
    assert not (run / "timelines").exists()
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Timelines" not in page
    assert ".timeline .strip" not in page  # nor its style sheet
