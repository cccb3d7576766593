"""Viewing: which test videos of a question about time are drawn as bars, and what their bars are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vitascope.core.errors import UserError
from vitascope.core.text import number, shown
from vitascope.evaluation.results import Result, read_predictions
from vitascope.metrics import prediction_columns, temporal_ap
from vitascope.metrics.prediction_columns import Table
from vitascope.metrics.temporal_ap import Segments
from vitascope.report.analysis.leaderboard import Column, Leaderboard
from vitascope.report.analysis.phrases import titled
from vitascope.report.charts.timelines import LabeledSpan, TimelineChart, Track, filled, runs, timeline

OVERLAP = 0.5
"""Intersection over union from which a predicted action is called right."""
MOST = 1500
"""Bars that the videos which were not chosen may take on the page, of each question: some 200 KB."""
FEW = 24
"""Classes up to which each looks the same in all videos of a question; of more, in all rows of a video."""
MEASURES = {"segmentation": "frames right", "localization": "actions found"}
NOTES = {
    "segmentation": "At the right: frames with the right label, percent.",
    "localization": "Of each encoder as many predictions are drawn as the video has actions, those with the highest "
    f"scores. At the right: actions that one of these finds (same class, tIoU {OVERLAP:g} or more), percent.",
}


class TimelineView(NamedTuple):
    """A video as it is drawn: its name, why it was chosen, and in words how the encoders do."""

    video: str
    why: str
    score: str
    drawn: TimelineChart


class Question(NamedTuple):
    """The videos of one column."""

    title: str
    stem: str
    """Begins the names of its files."""
    note: str
    measure: str
    chosen: tuple[TimelineView, ...]
    others: tuple[TimelineView, ...]
    """As many more as there is room for."""
    left: int
    """Those there was no room for."""

    @property
    def fillings(self) -> list[int]:
        """All that its bars have."""
        return sorted({filling for view in (*self.chosen, *self.others) for _, filling in view.drawn.legend})


class _Video(NamedTuple):
    """A test video as one result has it."""

    truth: Sequence[LabeledSpan]
    said: Sequence[LabeledSpan]
    right: float
    """Percent."""
    seconds: float
    told: bool
    """Whether it had features."""


class _Seen(NamedTuple):
    """The test videos of one encoder, those without a true action left out; None where no predictions were kept."""

    name: str
    missing: Mapping[str, str]
    videos: Mapping[str, _Video] | None


def questions(board: Leaderboard) -> list[Question]:
    """Of each column about actions in time whose predictions are kept, up to four videos chosen and some more."""
    timed = [c for c in board.plain() if c.any.kind in MEASURES]
    return [found for column in timed if (found := _question(board, column, timed))]


def _question(board: Leaderboard, column: Column, timed: Sequence[Column]) -> Question | None:
    seen = [_seen(shown(r.label), column.cells[r.index]) for r in board.rows if r.index in column.cells]
    videos = list(dict.fromkeys(video for one in seen for video in one.videos or ()))
    if not videos:
        return None
    scores = {video: _scores(video, seen) for video in videos}
    picks, kind = choice(scores, {v for v in videos if _whole(v, seen)}), column.any.kind
    chosen = tuple(_view(video, seen, column, why=why) for video, why in picks.items())
    others, room = [], MOST
    rest = [video for video in videos if video not in picks]
    for video in rest:
        view = _view(video, seen, column)
        room -= sum(len(row.bars) for row in view.drawn.rows)
        if room < 0:
            break
        others.append(view)
    left = len(rest) - len(others)
    title = titled(shown(column.task), column) + ("" if column.main else f", protocol {column.protocol[:6]}")
    return Question(title, _stem(column, timed), NOTES[kind], MEASURES[kind], chosen, tuple(others), left)


def _stem(column: Column, timed: Sequence[Column]) -> str:
    """The data set, where several questions are asked of it the probe too, and of several protocols which."""
    alone = sum(c.any.dataset == column.any.dataset for c in timed) == 1
    task = column.any.dataset if alone else f"{column.any.dataset}-{column.any.probe}"
    return task if column.main else f"{task}-{column.protocol[:6]}"


def choice(scores: Mapping[str, Sequence[float]], whole: set[str]) -> dict[str, str]:
    """Up to four videos and why: the median of the means, the largest difference, the worst and the best mean.

    `scores` of every video by each encoder; chosen are those in `whole`, which all encoders have, where there are any.
    Of equal ones the first.
    """
    pool = [video for video in scores if video in whole] or list(scores)
    mean = {video: sum(scores[video]) / max(len(scores[video]), 1) for video in pool}
    ranked = sorted(pool, key=mean.__getitem__)
    several = len(pool) > 1
    found = {ranked[(len(ranked) - 1) // 2]: ["median"] if several else ["the only one"]}
    if several:
        apart = {video: max(scores[video], default=0.0) - min(scores[video], default=0.0) for video in pool}
        if max(apart.values()) > 0:
            found.setdefault(max(pool, key=apart.__getitem__), []).append("largest difference")
        found.setdefault(ranked[0], []).append("worst")
        found.setdefault(ranked[-1], []).append("best")
    return {video: ", ".join(why) for video, why in found.items()}


def _scores(video: str, seen: Sequence[_Seen]) -> list[float]:
    """Of those that had features of it."""
    there = (one.videos[video] for one in seen if one.videos is not None and video in one.videos)
    return [found.right for found in there if found.told]


def _whole(video: str, seen: Sequence[_Seen]) -> bool:
    """Whether every encoder whose predictions are kept had features of it."""
    return all(video in one.videos and one.videos[video].told for one in seen if one.videos is not None)


def _view(video: str, seen: Sequence[_Seen], column: Column, *, why: str = "") -> TimelineView:
    there = [one.videos[video] for one in seen if one.videos is not None and video in one.videos]
    tracks = [Track("truth", there[0].truth), *(_track(video, one) for one in seen)]
    classes = [shown(name) for name in column.any.settings.get("classes") or ()]
    drawn = timeline(tracks, classes, seconds=max(v.seconds for v in there), fillings=_fillings(column, seen, tracks))
    return TimelineView(shown(video), why, _told(_scores(video, seen)), drawn)


def _fillings(column: Column, seen: Sequence[_Seen], tracks: Sequence[Track]) -> dict[int, int]:
    """The same in all videos, or where the classes are too many to be told apart, in all rows of one."""
    settings = column.any.settings
    quiet = (settings.get("probe") or {}).get("background") or ()
    classes = settings.get("classes") or ()
    if len(classes) > FEW:
        return filled({s.label for t in tracks for s in t.stretches}, tracks[0].stretches, quiet)
    known = next(one.videos for one in seen if one.videos)
    return filled(range(len(classes)), [s for v in known.values() for s in v.truth], quiet)


def _told(scores: Sequence[float]) -> str:
    if len(scores) < 2:
        return "".join(f"{number(score)} %" for score in scores)
    between = f", {number(min(scores))} to {number(max(scores))}" if min(scores) < max(scores) else ""
    return f"mean {number(sum(scores) / len(scores))} %{between}"


def _track(video: str, one: _Seen) -> Track:
    """What an encoder said of a video, or why it said nothing."""
    if one.videos is None:
        return Track(one.name, (), lacking="no predictions kept")
    found = one.videos.get(video)
    if found is None or not found.told:
        why = one.missing.get(video, "")
        return Track(one.name, (), lacking=f"no features{f': {shown(why)}' if why else ''}")
    return Track(one.name, found.said, f"{number(found.right)} %", "" if found.said else "nothing found")


def _seen(name: str, result: Result) -> _Seen:
    """Of several seeds the first's; of a video tested in several folds, as in the first."""
    path = Path(result.predictions)
    if not result.predictions or not path.is_file():
        return _Seen(name, result.missing, None)
    table = read_predictions(path)
    try:
        each = list(_segmented(table) if result.kind == "segmentation" else _localized(table, result.missing))
    except KeyError as error:
        raise UserError(f"{path}: no column {error} there; evaluate with --overwrite") from None
    videos: dict[str, _Video] = {}
    for video, found in zip(table["id"], each, strict=True):
        if found.truth:
            videos.setdefault(video, found)
    return _Seen(name, result.missing, videos)


def _segmented(table: Table) -> Iterator[_Video]:
    said, real = prediction_columns.labels(table)
    for p, y, fps in zip(said, real, table["fps"], strict=True):
        both = min(len(p), len(y))
        right = 100 * float((p[:both] == y[:both]).sum()) / max(len(y), 1)
        yield _Video(runs(y, fps), runs(p, fps), right, max(len(p), len(y)) / fps, len(p) > 0)


def _localized(table: Table, missing: Mapping[str, str]) -> Iterator[_Video]:
    """As many of the best predictions of a video as it has true actions."""
    said, real = prediction_columns.segments(table)
    n = len(table["id"])
    actions = np.bincount(real.video, minlength=n)
    order = np.lexsort((-said.score, said.video))
    first = np.bincount(said.video, minlength=n).cumsum() - np.bincount(said.video, minlength=n)
    rank = np.arange(len(order)) - first[said.video[order]]
    best = temporal_ap.rows(said, order[rank < actions[said.video[order]]])
    matching = temporal_ap.match(best, real, [OVERLAP])
    hits = np.bincount(matching.videos[matching.video[matching.found[0] >= 0]], minlength=n)
    lasting = table.get("duration") or [None] * n
    drawn, true = _by_video(best, n, scored=True), _by_video(real, n, scored=False)
    for i, video in enumerate(table["id"]):
        seconds = lasting[i] or max((s.end for s in (*drawn[i], *true[i])), default=0.0)
        told = bool(drawn[i]) or video not in missing
        yield _Video(true[i], drawn[i], 100 * float(hits[i]) / max(int(actions[i]), 1), seconds, told)


def _by_video(of: Segments, n: int, *, scored: bool) -> list[list[LabeledSpan]]:
    found: list[list[LabeledSpan]] = [[] for _ in range(n)]
    for video, start, end, label, score in zip(*(column.tolist() for column in of), strict=True):
        found[video].append(LabeledSpan(label, start, end, score if scored else None))
    return found
