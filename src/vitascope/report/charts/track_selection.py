"""Actors on a time axis: for some videos of a task, each actor's classes and where each encoder finds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vitascope.core.text import escaped, number
from vitascope.metrics.frame_ap import IOU
from vitascope.report.charts.best_boxes import BestBoxes
from vitascope.report.charts.keyframe_selection import ColumnBoxes, Encoder
from vitascope.report.charts.timeline_selection import TaskTimelines, TimelineView, choose_videos
from vitascope.report.charts.timelines import LabeledSpan, Track, assign_fills, timeline

MAX_TRACKS = 6
"""Number of actors of a video that are drawn, those annotated longest."""
MAX_SECONDS = 60.0
"""Longest part of a video that is drawn, the one with most annotated boxes."""
MEASURE = "found"
NOTE = (
    "For each actor its true classes, then what each encoder sees of it: the classes of those of its best boxes (as "
    f"many rows as a keyframe has true ones) that overlap the actor with an IoU of at least {IOU:g}. Right: keyframes "
    "of the actor in which there is such a box, percent. A keyframe stands for the time around it."
)


class Sighting(NamedTuple):
    """A class of an actor at a keyframe."""

    time: float
    label: int
    score: float | None = None
    """Of a prediction; None for the truth."""


class Sightings(NamedTuple):
    """The true and the predicted classes of one actor at its keyframes."""

    true: list[Sighting]
    seen: list[Sighting]


Actors = Mapping[int, Sightings]
"""The actors of a video by number."""


def task_tracks(columns: Sequence[ColumnBoxes]) -> list[TaskTimelines]:
    """Lay out up to four videos of each task whose actors are numbered."""
    return [laid for one in columns if (laid := _of_column(one))]


def _of_column(boxed: ColumnBoxes) -> TaskTimelines | None:
    each = [(one, sightings(one.best)) for one in boxed.encoders]
    each = [(one, found) for one, found in each if found]
    videos = list(dict.fromkeys(video for _, found in each for video in found))
    if not videos:
        return None
    scores = {video: [found_percent(found[video]) for _, found in each if video in found] for video in videos}
    reasons = choose_videos(scores, {video for video in videos if all(video in found for _, found in each)})
    chosen = tuple(
        _view(video, [(one, found[video]) for one, found in each if video in found], boxed.classes, reason)
        for video, reason in reasons.items()
    )
    omitted = len(videos) - len(chosen)
    return TaskTimelines(f"{boxed.title}: actors", f"{boxed.stem}-actors", NOTE, MEASURE, chosen, (), omitted)


def sightings(best: BestBoxes) -> dict[str, dict[int, Sightings]]:
    """What is true and what is seen of each numbered actor, by video and number."""
    actors: dict[str, dict[int, Sightings]] = {}
    known = [best.groups[name] or name for name in best.ids]
    for row in np.flatnonzero(best.tracks >= 0).tolist():
        of = actors.setdefault(known[best.true.video[row]], {}).setdefault(int(best.tracks[row]), Sightings([], []))
        of.true.append(Sighting(float(best.true.time[row]), int(best.true.label[row])))
    seen = (best.overlap >= IOU) & (np.append(best.tracks, -1)[best.nearest] >= 0)
    for row in np.flatnonzero(seen).tolist():
        of = actors[known[best.predicted.video[row]]][int(best.tracks[best.nearest[row]])]
        score = float(best.predicted.score[row])
        of.seen.append(Sighting(float(best.predicted.time[row]), int(best.predicted.label[row]), score))
    return actors


def found_percent(actors: Actors) -> float:
    """Share of the keyframes of all actors in which they are found, percent."""
    pairs = [_times(a.true) for a in actors.values()], [_times(a.seen) for a in actors.values()]
    return 100 * sum(map(len, pairs[1])) / max(sum(map(len, pairs[0])), 1)


def _times(of: Iterable[Sighting]) -> set[float]:
    return {s.time for s in of}


def _view(video: str, each: Sequence[tuple[Encoder, Actors]], classes: Sequence[str], reason: str) -> TimelineView:
    start, end, step = extent([s.time for a in each[0][1].values() for s in a.true])
    cut = [(one, {n: _between(a, start, end) for n, a in actors.items()}) for one, actors in each]
    longest = sorted(cut[0][1].items(), key=lambda pair: (-len(_times(pair[1].true)), pair[0]))
    shown = sorted(n for n, a in longest[:MAX_TRACKS] if a.true)
    offset = 0.0 if end <= MAX_SECONDS else max(start - step / 2, 0.0)
    tracks = [track for n in shown for track in _rows(n, cut, (step, offset))]
    truth = [span for n in shown for span in runs(cut[0][1][n].true, step, offset)]
    present = {s.label for track in tracks for s in track.spans}
    chart = timeline(tracks, classes, seconds=end + step / 2 - offset, fills=assign_fills(present, truth))
    notes = [chart.note] * bool(chart.note)
    notes += [f"The axis begins at {offset:.1f} s of the video."] * (offset > 0)
    hidden = sum(bool(a.true) for a in cut[0][1].values()) - len(shown)
    notes += [f"Actors left out: {hidden}."] * (hidden > 0)
    scores = [found_percent(actors) for _, actors in cut]
    told = (
        f"{number(min(scores))} to {number(max(scores))} % found" if len(scores) > 1 else f"{number(scores[0])} % found"
    )
    return TimelineView(escaped(video), reason, told, chart._replace(note=" ".join(notes)))


def extent(times: Sequence[float]) -> tuple[float, float, float]:
    """First and last time to draw, and the time between two keyframes, seconds."""
    distinct = np.unique(times)
    step = float(np.median(np.diff(distinct))) if len(distinct) > 1 else 1.0
    if distinct[-1] - distinct[0] <= MAX_SECONDS:
        return float(distinct[0]), float(distinct[-1]), step
    ordered = np.sort(times)
    counts = np.searchsorted(ordered, distinct + MAX_SECONDS, "right") - np.searchsorted(ordered, distinct)
    start = float(distinct[int(counts.argmax())])
    return start, float(distinct[distinct <= start + MAX_SECONDS][-1]), step


def _between(a: Sightings, start: float, end: float) -> Sightings:
    return Sightings(*([s for s in of if start <= s.time <= end] for of in a))


def _rows(actor: int, each: Sequence[tuple[Encoder, Actors]], scale: tuple[float, float]) -> list[Track]:
    """The truth of an actor, then what each encoder sees of it."""
    rows = [Track(f"actor {actor}", runs(each[0][1][actor].true, *scale), heads=True)]
    for one, actors in each:
        share = 100 * len(_times(actors[actor].seen)) / max(len(_times(actors[actor].true)), 1)
        spans = runs(actors[actor].seen, *scale)
        rows.append(Track(one.label, spans, f"{number(share)} %", "" if spans else "not found"))
    return rows


def runs(of: Sequence[Sighting], step: float, offset: float) -> list[LabeledSpan]:
    """Each class of an actor as spans around its keyframes, consecutive ones as one, with their mean score."""
    spans: list[LabeledSpan] = []
    for label in sorted({s.label for s in of}):
        best: dict[float, Sighting] = {}
        for s in of:
            if s.label == label and (s.time not in best or (s.score or 0.0) > (best[s.time].score or 0.0)):
                best[s.time] = s
        times = sorted(best)
        breaks = [i for i in range(1, len(times)) if times[i] - times[i - 1] > 1.5 * step]
        for first, last in zip([0, *breaks], [*breaks, len(times)], strict=True):
            scores = [best[t].score for t in times[first:last]]
            known = [score for score in scores if score is not None]
            mean = sum(known) / len(known) if known else None
            # rounded, so that a span that begins where another ends does not overlap it
            begin, stop = (round(at - offset, 6) for at in (times[first] - step / 2, times[last - 1] + step / 2))
            spans.append(LabeledSpan(label, max(begin, 0.0), stop, mean))
    return spans
