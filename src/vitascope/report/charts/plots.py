"""Figures as plain geometry: places in percent of the plot, so that the page scales them and text keeps its size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil, floor, log10
from typing import NamedTuple

from vitascope.core.text import margin, number, shown, valued
from vitascope.core.types import Score
from vitascope.metrics.stats import Difference
from vitascope.report.analysis.leaderboard import Column, EncoderRow
from vitascope.report.analysis.ranking import Chance, Ranking

LINE = 17
"""Pixels between two labels that must not touch."""
MIDDLE = 55.0
"""Percent from the left beyond which a label stands to the left of its mark."""


class Axis(NamedTuple):
    """A scale from `low` to `high`, the values it is marked at, and where chance (of differences: zero) lies on it."""

    low: float
    high: float
    ticks: tuple[float, ...]
    chance: float | None = None

    def at(self, value: float) -> float:
        """Place of `value` along the axis, percent."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)


class Point(NamedTuple):
    """A mark: place and whiskers in percent from left and top; the label's offset in pixels, and its side."""

    row: int
    label: str
    x: float
    y: float
    x_span: tuple[float, float]
    y_span: tuple[float, float]
    nudge: float
    left: bool
    tip: str


class Dot(NamedTuple):
    """A score on the way, percent from left and top."""

    x: float
    y: float
    tip: str


class Trail(NamedTuple):
    """The way that leads to a mark, from its beginning."""

    row: int
    dots: tuple[Dot, ...]
    stopped: bool = False
    """Whether it came to an end before its time."""

    @property
    def legs(self) -> list[tuple[Dot, Dot, float]]:
        """From dot to dot, each with how far along it is, 0 to 1."""
        last = max(len(self.dots) - 1, 1)
        return [(a, b, round((i + 1) / last, 3)) for i, (a, b) in enumerate(pairwise(self.dots))]


class Contour(NamedTuple):
    """A line of equal means with its value, from one edge of the plot to another, percent from left and top."""

    text: str
    x1: float
    y1: float
    x2: float
    y2: float


class Scatter(NamedTuple):
    """Appearance against motion."""

    x: Axis
    y: Axis
    height: float
    points: tuple[Point, ...]
    trails: tuple[Trail, ...] = ()
    contours: tuple[Contour, ...] = ()


class Settled(NamedTuple):
    """Marks whose labels do not touch, in a plot of that height."""

    points: tuple[Point, ...]
    height: float


class Mark(NamedTuple):
    """One encoder in a strip."""

    row: int
    at: float
    span: tuple[float, float]


class Strip(NamedTuple):
    """A labeled line of marks; `tip` reads their values out."""

    label: str
    marks: tuple[Mark, ...]
    text: str
    tip: str
    told: bool = True
    """Whether what is shown can be told from nothing; else its marks are hollow."""


def axis(scores: Sequence[Score], chance: Chance | None = None, *, steps: int = 4) -> Axis:
    """A scale around all intervals, in about `steps` round ones, within 0 to 100; around chance too if that is near."""
    bottom, top = _around(scores, chance)
    step = rounded(max(top - bottom, 4.0) / steps)
    low = max(floor(bottom / step) * step, 0.0)
    count = 1
    while low + count * step < min(top, 100.0):
        count += 1
    ticks = tuple(low + i * step for i in range(count + 1) if low + i * step <= 100)
    high = ticks[-1] if ticks[-1] >= top else 100.0
    return Axis(low, high, ticks, chance.value if chance and low <= chance.value <= high else None)


def gap_axis(gaps: Sequence[Difference]) -> Axis:
    """A scale around the intervals of differences and around zero, which is marked."""
    ends = [end for g in gaps for end in (g.value, g.low, g.high) if end is not None]
    low, high = min([*ends, 0.0]), max([*ends, 0.0])
    step = rounded(max(high - low, 4.0) / 4)
    first, last = floor(low / step), ceil(high / step)
    ticks = tuple(step * i for i in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks, 0.0)


def gap_strip(row: int, label: str, gap: Difference, scale: Axis, *, tip: str = "", told: bool = True) -> Strip:
    """A strip with one difference and its interval."""
    score = Score(gap.value, gap.low, gap.high)
    mark = Mark(row, scale.at(gap.value), span(scale, score))
    text = margin(score).replace(", ", ",\N{NO-BREAK SPACE}")
    return Strip(label, (mark,), text, f"{label}\n{tip}", told)


def _around(scores: Sequence[Score], chance: Chance | None) -> tuple[float, float]:
    """All intervals, and chance where it is no further off than they are long: scores must not be squeezed for it."""
    low = min(s.value if s.low is None else s.low for s in scores)
    high = max(s.value if s.high is None else s.high for s in scores)
    if chance and 2 * low - high <= chance.value <= 2 * high - low:
        return min(low, chance.value), max(high, chance.value)
    return low, high


def rounded(step: float) -> float:
    """The next of 1, 2, 5 and 10 times a power of ten."""
    size = 10.0 ** floor(log10(step))
    return next(size * m for m in (1, 2, 5, 10) if size * m >= step)


def scatter(rows: Sequence[EncoderRow], appearance: Ranking, motion: Ranking) -> Scatter | None:
    """The report's figure, of the encoders known on both axes; None where there are none."""
    both = [row for row in rows if row.index in appearance.scores and row.index in motion.scores]
    if not both:
        return None
    x = axis([appearance.scores[row.index] for row in both], appearance.chance)
    y = axis([motion.scores[row.index] for row in both], motion.chance)
    points = [_point(row, (x, y), appearance.scores[row.index], motion.scores[row.index]) for row in both]
    found = settled(points, max(400.0, LINE * len(both) + 40.0))
    return Scatter(x, y, found.height, found.points)


def settled(points: Sequence[Point], height: float) -> Settled:
    """The marks with the sides and the offsets of their labels; a mark without a label takes no room."""
    named = [p for p in points if p.label]
    nudges = dict(zip(map(id, named), _nudges([p.y / 100 * height for p in named], height), strict=True))
    placed = (p._replace(nudge=nudges.get(id(p), 0.0), left=_leftward(p, points, height)) for p in points)
    return Settled(tuple(placed), height)


def _leftward(point: Point, points: Sequence[Point], height: float) -> bool:
    """Whether the label goes to the left: near the right edge, or where another mark is close on the right."""
    near = [p for p in points if 0 < p.x - point.x < 10 and abs(p.y - point.y) / 100 * height < LINE]
    return point.x > MIDDLE or (bool(near) and point.x > 25)


def _point(row: EncoderRow, axes: tuple[Axis, Axis], across: Score, up: Score) -> Point:
    high, low = (100 - place for place in span(axes[1], up))
    return Point(
        row=row.index,
        label=shown(row.label),
        x=axes[0].at(across.value),
        y=round(100 - axes[1].at(up.value), 2),
        x_span=span(axes[0], across),
        y_span=(round(low, 2), round(high, 2)),
        nudge=0.0,
        left=False,
        tip=f"{shown(row.label)}\nappearance {valued(across)}\nmotion {valued(up)}",
    )


def span(scale: Axis, score: Score) -> tuple[float, float]:
    """Where the interval of a score begins and ends on a scale, percent; without one both are the score."""
    low = score.value if score.low is None else score.low
    high = score.value if score.high is None else score.high
    return scale.at(low), scale.at(high)


def _nudges(tops: Sequence[float], height: float) -> list[float]:
    """Vertical offsets that keep labels a line apart: pushed down in order, then back up from the lower edge."""
    order = sorted(range(len(tops)), key=lambda i: tops[i])
    placed = list(tops)
    for before, here in pairwise(order):
        placed[here] = max(placed[here], placed[before] + LINE)
    limit = float(height)
    for here in reversed(order):
        placed[here] = min(placed[here], limit)
        limit = placed[here] - LINE
    return [round(p - t, 1) for p, t in zip(placed, tops, strict=True)]


def standings(column: Column, rows: Sequence[EncoderRow], standing: Ranking) -> tuple[Axis, list[Strip]]:
    """One strip for each encoder of a column, the best first, with its interval."""
    scale = axis(list(standing.scores.values()), standing.chance)
    labels = {row.index: shown(row.label) for row in rows}
    strips = []
    for row in standing.order():
        score = standing.scores[row]
        mark = Mark(row, scale.at(score.value), span(scale, score))
        strips.append(Strip(labels[row], (mark,), valued(score), f"{labels[row]}\n{column.task} {valued(score)}"))
    return scale, strips


PERCENT = Axis(0.0, 100.0, (0.0, 25.0, 50.0, 75.0, 100.0))


def classes(column: Column, rows: Sequence[EncoderRow]) -> list[Strip]:
    """One strip for each class with a mark for each encoder, the class that is right most often first."""
    held: dict[str, dict[int, Score]] = {}
    for row, result in column.cells.items():
        for name, score in result.per_class.items():
            held.setdefault(name, {})[row] = score
    labels = {row.index: shown(row.label) for row in rows}
    ordered = sorted(held.items(), key=lambda item: (-_mean(item[1]), item[0]))
    return [_class_strip(name, scores, labels) for name, scores in ordered]


def _mean(scores: Mapping[int, Score]) -> float:
    return sum(s.value for s in scores.values()) / len(scores)


def _class_strip(name: str, scores: Mapping[int, Score], labels: Mapping[int, str]) -> Strip:
    marks = tuple(Mark(row, PERCENT.at(s.value), span(PERCENT, s)) for row, s in scores.items())
    best = sorted(scores, key=lambda row: -scores[row].value)
    tip = "\n".join([shown(name), *(f"{labels[row]} {valued(scores[row])}" for row in best)])
    return Strip(shown(name), marks, number(_mean(scores)), tip)
