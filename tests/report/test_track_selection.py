"""Actors on a time axis: spans around keyframes, the part of a long video that is drawn, and what was found."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from vitascope.evaluation.results import read_predictions
from vitascope.metrics.boxes import iou
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.charts import keyframe_selection, track_selection
from vitascope.report.charts.timelines import LabeledSpan
from vitascope.report.charts.track_selection import Sighting, extent, runs

FAKE = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "fake_actors.py"))


def test_consecutive_keyframes_are_one_span() -> None:
    seen = [
        Sighting(1.0, 0, 0.5),
        Sighting(2.0, 0, 0.7),
        Sighting(2.0, 0, 0.9),
        Sighting(5.0, 0, 0.4),
        Sighting(2.0, 3, 0.2),
    ]
    assert runs(seen, 1.0, 0.5) == [
        LabeledSpan(0, 0.0, 2.0, pytest.approx(0.7)),
        LabeledSpan(0, 4.0, 5.0, 0.4),
        LabeledSpan(3, 1.0, 2.0, 0.2),
    ]
    assert runs([Sighting(0.0, 1)], 1.0, 0.0) == [LabeledSpan(1, 0.0, 0.5, None)]
    frames = runs([Sighting(n / 12, int(n >= 20)) for n in range(50)], 1 / 12, 0.0)
    assert frames[0].end == frames[1].start, "one ends where the other begins, to the last bit"


def test_the_fullest_minute_of_a_long_video() -> None:
    assert extent([3.0]) == (3.0, 3.0, 1.0)
    assert extent([0.0, 2.0, 4.0, 4.0]) == (0.0, 4.0, 2.0)
    times = [*np.arange(0.0, 900.0).tolist(), *np.arange(500.0, 540.0).tolist()]
    start, end, step = extent(times)
    assert step == 1.0
    assert start <= 500.0
    assert 539.0 <= end == start + 60.0


def test_rows_tell_who_is_found(tmp_path: Path) -> None:
    run = FAKE["fake_actors"](tmp_path / "run")
    boxed = keyframe_selection.load(boards.build(boards.load_results([run])))
    (task,) = track_selection.task_tracks(boxed)
    assert {view.video for view in task.chosen} == {"v0", "v1", "v2"}
    view = next(view for view in task.chosen if view.video == "v1")
    names = [name.replace("<", "&lt;") for name in ("actor 0", *FAKE["ENCODERS"], "actor 1", *FAKE["ENCODERS"])]
    assert [row.name.replace("<", "&lt;") for row in view.chart.rows] == names
    assert [row.heads for row in view.chart.rows] == [True, False, False] * 2
    saved = read_predictions(run / "predictions" / "1.parquet")
    for actor, row in ((0, 2), (1, 5)):
        hit = []
        for n in (n for n, group in enumerate(saved["group"]) if group == "v1"):
            true = np.array(saved["true_boxes"][n]).reshape(-1, 4)[2 if actor else 0]
            best = np.array(saved["boxes"][n]).reshape(-1, 4)[:3]
            hit.append(bool((iou(best, np.tile(true, (3, 1))) >= 0.5).any()))
        assert view.chart.rows[row].score == f"{100 * np.mean(hit):.1f} %"
