"""Timelines: colored bars of what is when in a video, the truth and each encoder on one axis of seconds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from vitascope.core.errors import UserError
from vitascope.report.charts.plots import rounded

COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7f7f7f")
"""Hues that stay apart for color-blind eyes (Okabe and Ito 2008, gray instead of black)."""
TILE = 8
"""Pixels after which strokes repeat."""
UP, DOWN = (
    (((-2, 2), (2, -2)), ((0, 8), (8, 0)), ((6, 10), (10, 6))),
    (((-2, 6), (2, 10)), ((0, 0), (8, 8)), ((6, -2), (10, 2))),
)
ALONG, ACROSS = (((0, 4), (8, 4)),), (((4, 0), (4, 8)),)
STROKES = ((), UP, DOWN, ALONG, ACROSS, ALONG + ACROSS)
"""What is drawn over a hue from the ninth class on, lines within a tile that go on in the next: with these, 48 fillings
that differ in more than color."""
MOST = len(COLORS) * len(STROKES)
QUIET, EMPTY = -1, -2
"""Fillings of classes that are no action, and of what is behind the bars."""
BAR, LANE, GAP = 22, 12, 2
"""Height of a row of one lane, of each of several, and what is between those: pixels."""
LANES = 5
"""Lanes of a row at most."""


class LabeledSpan(NamedTuple):
    """One label from a second to another; the score of a predicted action."""

    label: int
    start: float
    end: float
    score: float | None = None


class Track(NamedTuple):
    """What goes into one row."""

    name: str
    stretches: Sequence[LabeledSpan]
    says: str = ""
    """Beside the bars: how much of it is right."""
    lacking: str = ""
    """Why there is nothing to draw."""


class Bar(NamedTuple):
    """A stretch: percent of the axis from the left, pixels from the top of its row."""

    left: float
    width: float
    top: int
    height: int
    filling: int
    tip: str


class TimelineRow(NamedTuple):
    """The bars of a track."""

    name: str
    says: str
    lacking: str
    height: int
    bars: tuple[Bar, ...]


class Tick(NamedTuple):
    """A round number of seconds, percent of the axis from the left."""

    at: float
    text: str


class TimelineChart(NamedTuple):
    """Rows on one axis, and the classes in them with their fillings."""

    rows: tuple[TimelineRow, ...]
    ticks: tuple[Tick, ...]
    legend: tuple[tuple[str, int], ...]
    note: str
    """What the bars do not show: stretches that overlap others in all lanes, classes that look alike."""


def runs(labels: Int64[np.ndarray, "t"], fps: float) -> list[LabeledSpan]:
    """The stretches of labels frame by frame; those without a class, negative, are left out."""
    found, at = [], 0
    for label, run in groupby(labels.tolist()):
        end = at + sum(1 for _ in run)
        found += [LabeledSpan(label, at / fps, end / fps)] * (label >= 0)
        at = end
    return found


def timeline(
    tracks: Sequence[Track], classes: Sequence[str], *, seconds: float, fillings: Mapping[int, int] | None = None
) -> TimelineChart:
    """The rows of `tracks` from top to bottom, the truth first by custom, over so many seconds.

    Classes look alike in all rows: as `fillings` says, or by how long they last in the first track. Stretches that
    overlap are in lanes, of predicted actions the best in the first; what overlaps others in all `LANES` is not drawn.

    ValueError: no track, no time, a label that there is no class for.
    """
    _check(tracks, classes, seconds)
    here = {s.label for track in tracks for s in track.stretches}
    fillings = filled(here, tracks[0].stretches) if fillings is None else fillings
    rows, unseen = [], 0
    for track in tracks:
        lanes = _lanes(track.stretches)
        rows.append(_row(track, lanes, classes, seconds=seconds, fillings=fillings))
        unseen += len(track.stretches) - sum(map(len, lanes))
    step = rounded(seconds / 8)
    ticks = (Tick(round(100 * i * step / seconds, 3), f"{i * step:g} s") for i in range(int(seconds / step) + 1))
    legend = tuple((classes[label], filling) for label, filling in fillings.items() if label in here)
    lacks = [f"Not drawn, behind others: {unseen}."] * (unseen > 0)
    lacks += [f"From the {MOST + 1}th class on, fillings come again."] * (len(legend) > MOST)
    return TimelineChart(tuple(rows), tuple(ticks), legend, " ".join(lacks))


def filled(labels: Iterable[int], stretches: Iterable[LabeledSpan], quiet: Collection[int] = ()) -> dict[int, int]:
    """The fillings of classes, in the order of a legend: those that last longest differ in hue alone.

    `quiet` ones are pale and last; the 49th looks like the first again.
    """
    lasting: dict[int, float] = {}
    for s in stretches:
        lasting[s.label] = lasting.get(s.label, 0.0) + s.end - s.start
    order = sorted(labels, key=lambda label: (label in quiet, -lasting.get(label, 0.0), label))
    return {label: QUIET if label in quiet else place % MOST for place, label in enumerate(order)}


def _check(tracks: Sequence[Track], classes: Sequence[str], seconds: float) -> None:
    if not tracks:
        raise UserError("no tracks to draw: leave it out")
    if not seconds > 0:
        raise UserError(f"{seconds} seconds to draw: must be positive")
    for track in tracks:
        highest = max((s.label for s in track.stretches), default=-1)
        if highest >= len(classes):
            raise UserError(f"{track.name}: label {highest}, and there are {len(classes)} classes, from 0 on")


def _lanes(stretches: Sequence[LabeledSpan]) -> list[list[LabeledSpan]]:
    """Stretches so that no two of a lane overlap: by time, or where they have scores the best first."""
    lanes: list[list[LabeledSpan]] = [[]]
    for s in sorted(stretches, key=lambda s: (-(s.score or 0.0), s.start, s.end)):
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
    fillings: Mapping[int, int],
) -> TimelineRow:
    height = BAR if len(lanes) == 1 else LANE
    bars = []
    for number, lane in enumerate(lanes):
        for s in sorted(lane, key=lambda s: s.start):
            left, right = (round(100 * min(max(end, 0.0), seconds) / seconds, 3) for end in (s.start, s.end))
            tip = tipped(track.name, classes[s.label], s)
            top = number * (LANE + GAP)
            bars.append(Bar(left, round(right - left, 3), top, height, fillings[s.label], tip))
    return TimelineRow(track.name, track.says, track.lacking, len(lanes) * (height + GAP) - GAP, tuple(bars))


def tipped(name: str, label: str, of: LabeledSpan) -> str:
    """What pointing at a stretch says: whose it is, what, when."""
    score = "" if of.score is None else f", score {of.score:.2f}"
    return f"{name}\n{label}\n{of.start:.1f} to {of.end:.1f} s{score}"
