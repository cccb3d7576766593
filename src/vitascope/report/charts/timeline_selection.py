"""Timeline selection: which test videos of a temporal task are drawn, and what their bars are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vitascope.core.errors import UserError
from vitascope.core.text import escaped, number
from vitascope.evaluation.results import Result, read_predictions
from vitascope.metrics import prediction_columns, temporal_ap
from vitascope.metrics.prediction_columns import Table
from vitascope.metrics.temporal_ap import Segments
from vitascope.report.analysis.leaderboard import Column, Leaderboard
from vitascope.report.analysis.phrases import with_caveats
from vitascope.report.charts.timelines import LabeledSpan, TimelineChart, Track, assign_fills, label_runs, timeline

OVERLAP = 0.5
"""Temporal IoU from which a predicted action counts as correct."""
MAX_BARS = 1500
"""Maximum number of bars on the page, per task, for videos that were not selected: some 200 KB."""
MAX_SHARED_FILLS = 24
"""Number of classes up to which a class has the same fill in all videos of a task; beyond, only within a video."""
MEASURES = {"segmentation": "correct frames", "localization": "detected actions"}
NOTES = {
    "segmentation": "Right: frames with the correct label, percent.",
    "localization": "Each encoder is shown with its highest-scoring predictions, as many as the video has actions. "
    f"Right: actions detected by one of these (same class, tIoU at least {OVERLAP:g}), percent.",
}


class TimelineView(NamedTuple):
    """Timeline of one video."""

    video: str
    reason: str
    """Why it was selected; empty for other videos."""
    score: str
    """Scores of the encoders, summarized."""
    chart: TimelineChart


class TaskTimelines(NamedTuple):
    """Timelines of one column of the leaderboard."""

    title: str
    stem: str
    """First part of the names of its picture files."""
    note: str
    measure: str
    chosen: tuple[TimelineView, ...]
    others: tuple[TimelineView, ...]
    """Other videos, up to `MAX_BARS`."""
    omitted: int
    """Number of videos beyond that."""

    @property
    def fills(self) -> list[int]:
        """All fills of its bars."""
        return sorted({fill for view in (*self.chosen, *self.others) for _, fill in view.chart.legend})


class _Video(NamedTuple):
    """Ground truth and prediction of one result for a test video."""

    truth: Sequence[LabeledSpan]
    predicted: Sequence[LabeledSpan]
    score: float
    """Correct frames or detected actions, percent."""
    seconds: float
    """Duration."""
    has_features: bool


class _EncoderVideos(NamedTuple):
    """Test videos of one encoder."""

    name: str
    missing: Mapping[str, str]
    videos: Mapping[str, _Video] | None
    """Videos with ground-truth actions; None if no predictions were saved."""


def task_timelines(board: Leaderboard) -> list[TaskTimelines]:
    """Lay out timelines for each temporal task with saved predictions: up to four selected videos, and some others."""
    columns = [c for c in board.plain() if c.first.kind in MEASURES]
    return [timelines for column in columns if (timelines := _task_timelines(board, column, columns))]


def _task_timelines(board: Leaderboard, column: Column, columns: Sequence[Column]) -> TaskTimelines | None:
    encoders = [_encoder_videos(escaped(r.label), column.cells[r.index]) for r in board.rows if r.index in column.cells]
    videos = list(dict.fromkeys(video for one in encoders for video in one.videos or ()))
    if not videos:
        return None
    scores = {video: _scores(video, encoders) for video in videos}
    reasons, kind = choose_videos(scores, {v for v in videos if _complete(v, encoders)}), column.first.kind
    chosen = tuple(_view(video, encoders, column, reason=reason) for video, reason in reasons.items())
    others, bars_left = [], MAX_BARS
    rest = [video for video in videos if video not in reasons]
    for video in rest:
        view = _view(video, encoders, column)
        bars_left -= sum(len(row.bars) for row in view.chart.rows)
        if bars_left < 0:
            break
        others.append(view)
    omitted = len(rest) - len(others)
    title = with_caveats(escaped(column.task), column) + ("" if column.main else f", protocol {column.protocol[:6]}")
    return TaskTimelines(title, _stem(column, columns), NOTES[kind], MEASURES[kind], chosen, tuple(others), omitted)


def _stem(column: Column, columns: Sequence[Column]) -> str:
    """The dataset, plus the probe if the dataset has several columns, plus the protocol if it is not the main one."""
    alone = sum(c.first.dataset == column.first.dataset for c in columns) == 1
    task = column.first.dataset if alone else f"{column.first.dataset}-{column.first.probe}"
    return task if column.main else f"{task}-{column.protocol[:6]}"


def choose_videos(scores: Mapping[str, Sequence[float]], complete: set[str]) -> dict[str, str]:
    """Choose up to four videos: median, worst and best mean score, and largest difference between encoders.

    `scores` holds the scores of all encoders for each video. Videos in `complete` (with features from every encoder)
    are preferred; ties go to the first. Returns the reason for each video.
    """
    pool = [video for video in scores if video in complete] or list(scores)
    mean = {video: sum(scores[video]) / max(len(scores[video]), 1) for video in pool}
    ranked = sorted(pool, key=mean.__getitem__)
    several = len(pool) > 1
    reasons = {ranked[(len(ranked) - 1) // 2]: ["median"] if several else ["only video"]}
    if several:
        gaps = {video: max(scores[video], default=0.0) - min(scores[video], default=0.0) for video in pool}
        if max(gaps.values()) > 0:
            reasons.setdefault(max(pool, key=gaps.__getitem__), []).append("largest difference")
        reasons.setdefault(ranked[0], []).append("worst")
        reasons.setdefault(ranked[-1], []).append("best")
    return {video: ", ".join(each) for video, each in reasons.items()}


def _scores(video: str, encoders: Sequence[_EncoderVideos]) -> list[float]:
    """Scores of the encoders that have features of a video."""
    each = (one.videos[video] for one in encoders if one.videos is not None and video in one.videos)
    return [prediction.score for prediction in each if prediction.has_features]


def _complete(video: str, encoders: Sequence[_EncoderVideos]) -> bool:
    """Whether every encoder with saved predictions has features of a video."""
    return all(video in one.videos and one.videos[video].has_features for one in encoders if one.videos is not None)


def _view(video: str, encoders: Sequence[_EncoderVideos], column: Column, *, reason: str = "") -> TimelineView:
    each = [one.videos[video] for one in encoders if one.videos is not None and video in one.videos]
    tracks = [Track("ground truth", each[0].truth), *(_track(video, one) for one in encoders)]
    classes = [escaped(name) for name in column.first.settings.get("classes") or ()]
    seconds, fills = max(v.seconds for v in each), _fills(column, encoders, tracks)
    chart = timeline(tracks, classes, seconds=seconds, fills=fills)
    return TimelineView(escaped(video), reason, _score_text(_scores(video, encoders)), chart)


def _fills(column: Column, encoders: Sequence[_EncoderVideos], tracks: Sequence[Track]) -> dict[int, int]:
    """Assign fills over all videos of a task, or within the video if there are too many classes to distinguish."""
    settings = column.first.settings
    background = (settings.get("probe") or {}).get("background") or ()
    classes = settings.get("classes") or ()
    if len(classes) > MAX_SHARED_FILLS:
        return assign_fills({s.label for t in tracks for s in t.spans}, tracks[0].spans, background)
    videos = next(one.videos for one in encoders if one.videos)
    return assign_fills(range(len(classes)), [s for v in videos.values() for s in v.truth], background)


def _score_text(scores: Sequence[float]) -> str:
    if len(scores) < 2:
        return "".join(f"{number(score)} %" for score in scores)
    between = f", {number(min(scores))} to {number(max(scores))}" if min(scores) < max(scores) else ""
    return f"mean {number(sum(scores) / len(scores))} %{between}"


def _track(video: str, one: _EncoderVideos) -> Track:
    """Predictions of an encoder for a video, or why there are none."""
    if one.videos is None:
        return Track(one.name, (), placeholder="no saved predictions")
    result = one.videos.get(video)
    if result is None or not result.has_features:
        reason = one.missing.get(video, "")
        return Track(one.name, (), placeholder=f"no features{f': {escaped(reason)}' if reason else ''}")
    return Track(one.name, result.predicted, f"{number(result.score)} %", "" if result.predicted else "no detections")


def _encoder_videos(name: str, result: Result) -> _EncoderVideos:
    """Load the test videos of a result: of the first seed, and of the first fold if a video is in several."""
    path = Path(result.predictions)
    if not result.predictions or not path.is_file():
        return _EncoderVideos(name, result.missing, None)
    table = read_predictions(path)
    _check_labels(table, result, path)
    try:
        each = list(_segmented(table) if result.kind == "segmentation" else _localized(table, result.missing))
    except KeyError as error:
        raise UserError(f"{path}: column {error} is missing; evaluate again with --overwrite") from None
    videos: dict[str, _Video] = {}
    for video_id, video in zip(table["id"], each, strict=True):
        if video.truth:
            videos.setdefault(video_id, video)
    return _EncoderVideos(name, result.missing, videos)


def _check_labels(table: Table, result: Result, path: Path) -> None:
    """UserError for a label of a class that the result does not have."""
    known = len(result.settings.get("classes") or ())
    labels = (max(of, default=0) for name in ("labels", "true_labels") for of in table.get(name, ()))
    if (highest := max(labels, default=0)) >= known:
        raise UserError(f"{path}: label {highest}, but the result has {known} classes; evaluate again with --overwrite")


def _segmented(table: Table) -> Iterator[_Video]:
    predicted, true = prediction_columns.labels(table)
    for guess, truth, fps in zip(predicted, true, table["fps"], strict=True):
        n = min(len(guess), len(truth))
        correct = 100 * float((guess[:n] == truth[:n]).sum()) / max(len(truth), 1)
        yield _Video(
            label_runs(truth, fps), label_runs(guess, fps), correct, max(len(guess), len(truth)) / fps, len(guess) > 0
        )


def _localized(table: Table, missing: Mapping[str, str]) -> Iterator[_Video]:
    """Keep as many of the highest-scoring predictions of a video as it has ground-truth actions."""
    predicted, true = prediction_columns.segments(table)
    n = len(table["id"])
    actions = np.bincount(true.video, minlength=n)
    order = np.lexsort((-predicted.score, predicted.video))
    first = np.bincount(predicted.video, minlength=n).cumsum() - np.bincount(predicted.video, minlength=n)
    rank = np.arange(len(order)) - first[predicted.video[order]]
    best = temporal_ap.rows(predicted, order[rank < actions[predicted.video[order]]])
    matching = temporal_ap.match(best, true, [OVERLAP])
    hits = np.bincount(matching.videos[matching.video[matching.true_row[0] >= 0]], minlength=n)
    durations = table.get("duration") or [None] * n
    detections, truth = _by_video(best, n, scored=True), _by_video(true, n, scored=False)
    for i, video in enumerate(table["id"]):
        seconds = durations[i] or max((s.end for s in (*detections[i], *truth[i])), default=0.0)
        has_features = bool(detections[i]) or video not in missing
        yield _Video(truth[i], detections[i], 100 * float(hits[i]) / max(int(actions[i]), 1), seconds, has_features)


def _by_video(segments: Segments, n: int, *, scored: bool) -> list[list[LabeledSpan]]:
    videos: list[list[LabeledSpan]] = [[] for _ in range(n)]
    for video, start, end, label, score in zip(*(column.tolist() for column in segments), strict=True):
        videos[video].append(LabeledSpan(label, start, end, score if scored else None))
    return videos
