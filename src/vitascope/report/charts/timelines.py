"""Timelines: labeled segments of a video as colored bars, ground truth and predictions on a shared time axis."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from vitascope.core.errors import UserError
from vitascope.report.charts.plots import round_step

COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7f7f7f")
"""Colors that color-blind readers can distinguish (Okabe and Ito 2008, gray instead of black)."""
TILE = 8
"""Period of the stroke patterns, pixels."""
UP, DOWN = (
    (((-2, 2), (2, -2)), ((0, 8), (8, 0)), ((6, 10), (10, 6))),
    (((-2, 6), (2, 10)), ((0, 0), (8, 8)), ((6, -2), (10, 2))),
)
ALONG, ACROSS = (((0, 4), (8, 4)),), (((4, 0), (4, 8)),)
STROKES = ((), UP, DOWN, ALONG, ACROSS, ALONG + ACROSS)
"""Stroke patterns drawn over the colors from the ninth class on, as lines within a tile: 8 colors x 6 patterns make 48
fills that differ in more than color."""
N_FILLS = len(COLORS) * len(STROKES)
BACKGROUND, EMPTY = -1, -2
"""Fill of background classes, and of the row behind the bars."""
BAR, LANE, GAP = 22, 12, 2
"""Height of a row with one lane, height of each of several lanes, and the gap between them, pixels."""
LANES = 5
"""Maximum number of lanes per row."""


class LabeledSpan(NamedTuple):
    """A labeled segment of a video."""

    label: int
    """Class index."""
    start: float
    """Seconds."""
    end: float
    """Seconds."""
    score: float | None = None
    """Confidence of a prediction; None for ground truth and frame labels."""


class Track(NamedTuple):
    """Content of one row."""

    name: str
    spans: Sequence[LabeledSpan]
    score: str = ""
    """Shown beside the bars: score of the prediction."""
    placeholder: str = ""
    """Text shown instead of bars if there are none."""
    heads: bool = False
    """Whether it is the first of a group of rows, set apart from those above."""


class Bar(NamedTuple):
    """Bar of one segment: percent of the axis from the left, pixels from the top of its row."""

    left: float
    width: float
    top: int
    height: int
    fill: int
    tip: str


class TimelineRow(NamedTuple):
    """The bars of a track."""

    name: str
    score: str
    placeholder: str
    height: int
    bars: tuple[Bar, ...]
    heads: bool = False


class Tick(NamedTuple):
    """Tick at a round number of seconds, percent of the axis from the left."""

    at: float
    text: str


class TimelineChart(NamedTuple):
    """Rows on a shared time axis, with a legend of class names and fills."""

    rows: tuple[TimelineRow, ...]
    ticks: tuple[Tick, ...]
    legend: tuple[tuple[str, int], ...]
    note: str
    """Remarks on segments hidden behind others and on classes that share a fill; empty without any."""


def label_runs(labels: Int64[np.ndarray, "t"], fps: float) -> list[LabeledSpan]:
    """Merge frame labels into segments; negative labels (no class) are left out."""
    spans, start = [], 0
    for label, run in groupby(labels.tolist()):
        end = start + sum(1 for _ in run)
        spans += [LabeledSpan(label, start / fps, end / fps)] * (label >= 0)
        start = end
    return spans


def timeline(
    tracks: Sequence[Track], classes: Sequence[str], *, seconds: float, fills: Mapping[int, int] | None = None
) -> TimelineChart:
    """Lay out `tracks` as rows from top to bottom, ground truth first, over a duration in seconds.

    A class has the same fill in all rows: from `fills`, or by its total duration in the first track. Overlapping
    segments go to separate lanes, the highest scores first; those that overlap others in all `LANES` are not drawn.

    UserError: no track, no time, a label that there is no class for.
    """
    _check(tracks, classes, seconds)
    present = {s.label for track in tracks for s in track.spans}
    fills = assign_fills(present, tracks[0].spans) if fills is None else fills
    rows, hidden = [], 0
    for track in tracks:
        lanes = _lanes(track.spans)
        rows.append(_row(track, lanes, classes, seconds=seconds, fills=fills))
        hidden += len(track.spans) - sum(map(len, lanes))
    step = round_step(seconds / 8)
    ticks = (Tick(round(100 * i * step / seconds, 3), f"{i * step:g} s") for i in range(int(seconds / step) + 1))
    legend = tuple((classes[label], fill) for label, fill in fills.items() if label in present)
    notes = [f"Segments hidden behind others: {hidden}."] * (hidden > 0)
    notes += [f"From class {N_FILLS + 1} on, fills repeat."] * (len(legend) > N_FILLS)
    return TimelineChart(tuple(rows), tuple(ticks), legend, " ".join(notes))


def assign_fills(
    labels: Iterable[int], spans: Iterable[LabeledSpan], background: Collection[int] = ()
) -> dict[int, int]:
    """Assign fills to classes, in legend order: by decreasing duration, so that the longest differ in color alone.

    `background` classes are pale and come last.
    """
    duration: dict[int, float] = {}
    for s in spans:
        duration[s.label] = duration.get(s.label, 0.0) + s.end - s.start
    order = sorted(labels, key=lambda label: (label in background, -duration.get(label, 0.0), label))
    return {label: BACKGROUND if label in background else rank % N_FILLS for rank, label in enumerate(order)}


def _check(tracks: Sequence[Track], classes: Sequence[str], seconds: float) -> None:
    if not tracks:
        raise UserError("no tracks to draw")
    if not seconds > 0:
        raise UserError(f"cannot draw {seconds} seconds: the duration must be positive")
    for track in tracks:
        highest = max((s.label for s in track.spans), default=-1)
        if highest >= len(classes):
            raise UserError(
                f"{track.name}: label {highest} is outside the {len(classes)} classes, which are numbered from 0"
            )


def _lanes(spans: Sequence[LabeledSpan]) -> list[list[LabeledSpan]]:
    """Distribute segments over lanes without overlap, highest score first, then by time."""
    lanes: list[list[LabeledSpan]] = [[]]
    for s in sorted(spans, key=lambda s: (-(s.score or 0.0), s.start, s.end)):
        free = next((lane for lane in lanes if all(s.start >= o.end or s.end <= o.start for o in lane)), None)
        if free is None and len(lanes) < LANES:
            lanes.append(free := [])
        if free is not None:
            free.append(s)
    return lanes


def _row(
    track: Track,
    lanes: Sequence[Sequence[LabeledSpan]],
    classes: Sequence[str],
    *,
    seconds: float,
    fills: Mapping[int, int],
) -> TimelineRow:
    height = BAR if len(lanes) == 1 else LANE
    bars = []
    for number, lane in enumerate(lanes):
        for s in sorted(lane, key=lambda s: s.start):
            left, right = (round(100 * min(max(end, 0.0), seconds) / seconds, 3) for end in (s.start, s.end))
            tip = tooltip(track.name, classes[s.label], s)
            top = number * (LANE + GAP)
            bars.append(Bar(left, round(right - left, 3), top, height, fills[s.label], tip))
    total = len(lanes) * (height + GAP) - GAP
    return TimelineRow(track.name, track.score, track.placeholder, total, tuple(bars), track.heads)


def tooltip(name: str, label: str, span: LabeledSpan) -> str:
    """Tooltip of a segment: row name, class name, time, and score if any."""
    score = "" if span.score is None else f", score {span.score:.2f}"
    return f"{name}\n{label}\n{span.start:.1f} to {span.end:.1f} s{score}"
