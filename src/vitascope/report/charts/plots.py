"""Plots as plain geometry: positions in percent of the plot, so that it scales with the page but its text does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil, floor, log10
from typing import NamedTuple

from vitascope.core.text import escaped, margin, number, with_interval
from vitascope.core.types import Score
from vitascope.metrics.stats import Difference
from vitascope.report.analysis.leaderboard import Column, EncoderRow
from vitascope.report.analysis.ranking import Chance, Ranking

LINE = 17
"""Minimum vertical distance of two labels, pixels."""
LABEL = 40
"""Maximum length of a label in a plot, letters; the tooltip has the whole name."""
MIDDLE = 55.0
"""Position beyond which a label goes to the left of its marker, percent from the left."""


class Axis(NamedTuple):
    """A linear axis from `low` to `high`."""

    low: float
    high: float
    ticks: tuple[float, ...]
    chance: float | None = None
    """Chance level (zero for differences), if within the axis."""
    order_free: float | None = None
    """What frames without their order tell, if within the axis and not everything."""

    def at(self, value: float) -> float:
        """Position of `value` along the axis, percent."""
        width = self.high - self.low
        return round(100 * (value - self.low) / width, 2) if width else 0.0


class Point(NamedTuple):
    """A marker with whiskers and a label, in percent from left and top."""

    row: int
    label: str
    x: float
    y: float
    x_span: tuple[float, float]
    y_span: tuple[float, float]
    nudge: float
    """Vertical offset of the label, pixels."""
    left: bool
    """Whether the label is to the left of the marker."""
    tip: str


class Dot(NamedTuple):
    """A small marker, percent from left and top."""

    x: float
    y: float
    tip: str


class Trail(NamedTuple):
    """The path of a run that ends at its marker."""

    row: int
    dots: tuple[Dot, ...]
    stopped: bool = False
    """Whether the run was stopped early."""

    @property
    def segments(self) -> list[tuple[Dot, Dot, float]]:
        """Line segments between successive dots, each with its progress along the path, 0 to 1."""
        last = max(len(self.dots) - 1, 1)
        return [(a, b, round((i + 1) / last, 3)) for i, (a, b) in enumerate(pairwise(self.dots))]


class Contour(NamedTuple):
    """A line of constant mean, from edge to edge of the plot, percent from left and top."""

    text: str
    x1: float
    y1: float
    x2: float
    y2: float


WORD_ENDS = (100.0, 85.0, 70.0, 55.0, 40.0, 25.0)
"""Where the word of a level may end, percent from the left."""
WORD_WIDTH, LABEL_WIDTH = 9.0, 18.0
"""Generous widths of such a word and of the label of a marker, percent."""


class Scatter(NamedTuple):
    """Scatter plot of motion against appearance."""

    x: Axis
    y: Axis
    height: float
    points: tuple[Point, ...]
    trails: tuple[Trail, ...] = ()
    contours: tuple[Contour, ...] = ()

    def word_end(self, level: float) -> float:
        """Where the word at a level of motion ends, percent from the left: far right, beside markers and labels."""
        line = 100 - self.y.at(level)
        near = [p for p in self.points if p.y_span[0] < line + 2 and p.y_span[1] > line - 8]
        taken = [_extent(p) for p in near]
        free = (end for end in WORD_ENDS if all(high < end - WORD_WIDTH or low > end for low, high in taken))
        return next(free, WORD_ENDS[0])


def _extent(point: Point) -> tuple[float, float]:
    """From where to where a marker reaches with its whiskers and its label, percent from the left."""
    end = point.x + LABEL_WIDTH * bool(point.label) * (-1 if point.left else 1)
    return min(point.x_span[0], end), max(point.x_span[1], end)


class PlacedLabels(NamedTuple):
    """Markers whose labels do not overlap in a plot of this height (pixels)."""

    points: tuple[Point, ...]
    height: float


class Mark(NamedTuple):
    """Marker of one encoder in a strip, percent of the axis."""

    row: int
    at: float
    span: tuple[float, float]


class Strip(NamedTuple):
    """A labeled row of markers on a horizontal axis."""

    label: str
    marks: tuple[Mark, ...]
    text: str
    tip: str
    significant: bool = True
    """Whether the value differs significantly from zero; otherwise markers are hollow."""


def axis(scores: Sequence[Score], chance: Chance | None = None, *, steps: int = 4) -> Axis:
    """An axis around all intervals within 0 to 100, about `steps` round ticks; with chance and the like if near."""
    bottom, top = _range(scores, chance)
    step = round_step(max(top - bottom, 4.0) / steps)
    low = max(floor(bottom / step) * step, 0.0)
    count = 1
    while low + count * step < min(top, 100.0):
        count += 1
    ticks = tuple(low + i * step for i in range(count + 1) if low + i * step <= 100)
    high = ticks[-1] if ticks[-1] >= top else 100.0
    levels = (chance.value, chance.bound) if chance else (None, None)
    return Axis(low, high, ticks, *(level if level is not None and low <= level <= high else None for level in levels))


def difference_axis(gaps: Sequence[Difference]) -> Axis:
    """An axis around zero and the intervals of differences; zero is marked."""
    ends = [end for g in gaps for end in (g.value, g.low, g.high) if end is not None]
    low, high = min([*ends, 0.0]), max([*ends, 0.0])
    step = round_step(max(high - low, 4.0) / 4)
    first, last = floor(low / step), ceil(high / step)
    ticks = tuple(step * i for i in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks, 0.0)


def difference_strip(
    row: int, label: str, gap: Difference, scale: Axis, *, tip: str = "", significant: bool = True
) -> Strip:
    """Lay out a strip with one difference and its interval."""
    score = Score(gap.value, gap.low, gap.high)
    mark = Mark(row, scale.at(gap.value), span(scale, score))
    text = margin(score).replace(", ", ",\N{NO-BREAK SPACE}")
    return Strip(label, (mark,), text, f"{label}\n{tip}", significant)


def _range(scores: Sequence[Score], chance: Chance | None) -> tuple[float, float]:
    """Range of all intervals and of chance and the like, unless so far away that they would squeeze the scores."""
    low = min(s.value if s.low is None else s.low for s in scores)
    high = max(s.value if s.high is None else s.high for s in scores)
    levels = (chance.value, chance.bound) if chance else ()
    near = [level for level in levels if level is not None and 2 * low - high <= level <= 2 * high - low]
    return min([low, *near]), max([high, *near])


def round_step(step: float) -> float:
    """Round up to 1, 2, 5 or 10 times a power of ten."""
    size = 10.0 ** floor(log10(step))
    return next(size * m for m in (1, 2, 5, 10) if size * m >= step)


def scatter(rows: Sequence[EncoderRow], appearance: Ranking, motion: Ranking) -> Scatter | None:
    """Lay out motion against appearance for encoders with both scores; None if there are none."""
    both = [row for row in rows if row.index in appearance.scores and row.index in motion.scores]
    if not both:
        return None
    x = axis([appearance.scores[row.index] for row in both], appearance.chance)
    y = axis([motion.scores[row.index] for row in both], motion.chance)
    points = [_point(row, (x, y), appearance.scores[row.index], motion.scores[row.index]) for row in both]
    placed = place_labels(points, max(384.0, LINE * len(both) + 40.0))
    return Scatter(x, y, placed.height, placed.points)


def place_labels(points: Sequence[Point], height: float) -> PlacedLabels:
    """Choose sides and offsets of all labels so that they do not overlap."""
    labeled = [p for p in points if p.label]
    nudges = dict(zip(map(id, labeled), _nudges([p.y / 100 * height for p in labeled], height), strict=True))
    placed = (p._replace(nudge=nudges.get(id(p), 0.0), left=_label_goes_left(p, points, height)) for p in points)
    return PlacedLabels(tuple(placed), height)


def _label_goes_left(point: Point, points: Sequence[Point], height: float) -> bool:
    """Whether the label goes to the left: near the right edge, or if another marker is close to the right."""
    near = [p for p in points if 0 < p.x - point.x < 10 and abs(p.y - point.y) / 100 * height < LINE]
    return point.x > MIDDLE or (bool(near) and point.x > 25)


def _point(row: EncoderRow, axes: tuple[Axis, Axis], across: Score, up: Score) -> Point:
    high, low = (100 - place for place in span(axes[1], up))
    return Point(
        row=row.index,
        label=_shortened(escaped(row.label)),
        x=axes[0].at(across.value),
        y=round(100 - axes[1].at(up.value), 2),
        x_span=span(axes[0], across),
        y_span=(round(low, 2), round(high, 2)),
        nudge=0.0,
        left=False,
        tip=f"{escaped(row.label)}\nappearance {with_interval(across)}\nmotion {with_interval(up)}",
    )


def _shortened(name: str) -> str:
    return name if len(name) <= LABEL else f"{name[: LABEL - 1]}…"


def span(scale: Axis, score: Score) -> tuple[float, float]:
    """Ends of a score's interval along a scale, percent; without an interval both are the score."""
    low = score.value if score.low is None else score.low
    high = score.value if score.high is None else score.high
    return scale.at(low), scale.at(high)


def svg_points(points: Sequence[tuple[float, float]]) -> str:
    """Format points as the `points` attribute of an SVG line or polygon."""
    return " ".join(f"{x:g},{round(y, 2):g}" for x, y in points)


def _nudges(tops: Sequence[float], height: float) -> list[float]:
    """Vertical offsets that keep labels a line apart: push down in order, then back up from the bottom."""
    order = sorted(range(len(tops)), key=lambda i: tops[i])
    placed = list(tops)
    for before, here in pairwise(order):
        placed[here] = max(placed[here], placed[before] + LINE)
    limit = float(height)
    for here in reversed(order):
        placed[here] = min(placed[here], limit)
        limit = placed[here] - LINE
    return [round(p - t, 1) for p, t in zip(placed, tops, strict=True)]


def score_strips(column: Column, rows: Sequence[EncoderRow], ranking: Ranking) -> tuple[Axis, list[Strip]]:
    """Lay out one strip per encoder of a column, best first, with its interval."""
    scale = axis(list(ranking.scores.values()), ranking.chance)
    labels = {row.index: escaped(row.label) for row in rows}
    strips = []
    for row in ranking.order():
        score = ranking.scores[row]
        mark = Mark(row, scale.at(score.value), span(scale, score))
        text = with_interval(score)
        strips.append(Strip(labels[row], (mark,), text, f"{labels[row]}\n{column.task} {text}"))
    return scale, strips


PERCENT = Axis(0.0, 100.0, (0.0, 25.0, 50.0, 75.0, 100.0))
"""Axis of percentages."""


def class_strips(column: Column, rows: Sequence[EncoderRow]) -> list[Strip]:
    """Lay out one strip per class with a marker per encoder, in descending order of mean accuracy."""
    by_class: dict[str, dict[int, Score]] = {}
    for row, result in column.cells.items():
        for name, score in result.per_class.items():
            by_class.setdefault(name, {})[row] = score
    labels = {row.index: escaped(row.label) for row in rows}
    ordered = sorted(by_class.items(), key=lambda item: (-_mean(item[1]), item[0]))
    return [_class_strip(name, scores, labels) for name, scores in ordered]


def _mean(scores: Mapping[int, Score]) -> float:
    return sum(s.value for s in scores.values()) / len(scores)


def _class_strip(name: str, scores: Mapping[int, Score], labels: Mapping[int, str]) -> Strip:
    marks = tuple(Mark(row, PERCENT.at(s.value), span(PERCENT, s)) for row, s in scores.items())
    best = sorted(scores, key=lambda row: -scores[row].value)
    tip = "\n".join([escaped(name), *(f"{labels[row]} {with_interval(scores[row])}" for row in best)])
    return Strip(escaped(name), marks, number(_mean(scores)), tip)
