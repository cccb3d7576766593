"""Radar of one encoder against the best of its competitors, an axis for each task, with intervals as a band."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import cos, pi, sin
from typing import NamedTuple

from vitascope.core.types import Score
from vitascope.report.charts.drawing import GRID, MARK, PLAIN, XY, Area, Drawing, Label, Line, Mark, Shape
from vitascope.report.charts.svg_png import truncate

WIDTH, HEIGHT, RADIUS = 560, 480, 178.0
CENTER = (WIDTH / 2, HEIGHT / 2 + 14)
RINGS = (0.25, 0.5, 0.75, 1.0)
"""Shares of the best score of a task at which rings are drawn."""
LINE = 14
"""Pixels from one line of text to the next."""
BOLD = 0.9
"""Width of a letter as a share of a bold one."""


class Spoke(NamedTuple):
    """The scores on one task, by row."""

    label: str
    scores: dict[int, Score]
    tips: dict[int, str]

    @property
    def top(self) -> float:
        """The score at the rim: the best, its interval included."""
        return max(max(s.value, s.high or 0.0) for s in self.scores.values()) or 1.0


def radar(spokes: Sequence[Spoke], front: int, names: tuple[str, str], description: str) -> Drawing:
    """Draw row `front` as an area with a band for its intervals, and the best of the others as a dashed line.

    `names` are those of the two lines.
    """
    own = [_at(i, spokes, spoke.scores.get(front)) for i, spoke in enumerate(spokes)]
    others = [max((s.value for row, s in spoke.scores.items() if row != front), default=None) for spoke in spokes]
    rivals = [_at(i, spokes, None if best is None else Score(best)) for i, best in enumerate(others)]
    shapes: list[Shape] = [*_frame(spokes), *_band(spokes, front)]
    shapes += [Area(tuple(p for p in own if p), front, 0.14)] if all(own) else []
    shapes += [*_path(rivals, PLAIN, 1.4, dashed=True), *_path(own, front, 2.4, dashed=False)]
    shapes += [*_marks(spokes, front), *_legend(front, names)]
    return Drawing(WIDTH, HEIGHT, tuple(shapes), description)


def point(place: int, count: int, share: float) -> XY:
    """A point on the axis at `place` of `count`, clockwise from the top, at a share of the radius."""
    angle = 2 * pi * place / count - pi / 2
    return CENTER[0] + RADIUS * share * cos(angle), CENTER[1] + RADIUS * share * sin(angle)


def _at(place: int, spokes: Sequence[Spoke], score: Score | None) -> XY | None:
    return None if score is None else point(place, len(spokes), max(score.value, 0.0) / spokes[place].top)


def _frame(spokes: Sequence[Spoke]) -> Iterator[Shape]:
    count = len(spokes)
    for share in RINGS:
        ring = tuple(point(i % count, count, share) for i in range(count + 1))
        yield Line(ring, GRID)
    for i, spoke in enumerate(spokes):
        yield Line((point(i, count, 0.0), point(i, count, 1.0)), GRID)
        yield from _labels(spoke, i, count)


def _labels(spoke: Spoke, place: int, count: int) -> Iterator[Label]:
    """The name of a task, in two lines where one has no room, and its best score below."""
    (x, y), angle = point(place, count, 1.1), 2 * pi * place / count - pi / 2
    anchor = "middle" if abs(cos(angle)) < 0.2 else "start" if cos(angle) > 0 else "end"
    lines = _lines(spoke.label, BOLD * {"middle": WIDTH / 2, "start": WIDTH - x, "end": x}[anchor])
    top = y + 6 * sin(angle) - (LINE * (len(lines) - 1) if sin(angle) < 0 else 0)
    for number, line in enumerate(lines):
        yield Label((x, top + LINE * number), line, anchor, bold=True)  # type: ignore[arg-type] # of three words
    yield Label((x, top + LINE * len(lines)), f"{spoke.top:.1f}", anchor, soft=True)  # type: ignore[arg-type]


def _lines(name: str, room: float) -> list[str]:
    """A name in as many pixels, broken behind its last slash if it is too long."""
    whole, (family, slash, rest) = truncate(name, room), name.rpartition("/")
    return [whole] if whole == name or not slash else [truncate(family + slash, room), truncate(rest, room)]


def _band(spokes: Sequence[Spoke], front: int) -> Iterator[Shape]:
    """The area between the ends of the intervals; none where an interval is not known."""
    scores = [spoke.scores.get(front) for spoke in spokes]
    ends = [(s.low, s.high) for s in scores if s and s.low is not None and s.high is not None]
    if len(ends) == len(spokes):
        count = len(spokes)
        low, high = (
            tuple(point(i, count, max(end[side] or 0.0, 0.0) / spokes[i].top) for i, end in enumerate(ends))
            for side in (0, 1)
        )
        yield Area(high, front, 0.35, low)


def _path(points: Sequence[XY | None], row: int, width: float, *, dashed: bool) -> Iterator[Line]:
    """Lines between neighbors that are both known, around."""
    for here, there in zip(points, [*points[1:], *points[:1]], strict=True):
        if here and there:
            yield Line((here, there), row, width, dashed)


def _legend(front: int, names: tuple[str, str]) -> Iterator[Shape]:
    for y, row, name in ((14.0, front, names[0]), (32.0, PLAIN, names[1])):
        yield Line(((8.0, y), (36.0, y)), row, 2.4 if row == front else 1.4, dashed=row == PLAIN)
        yield Label((43.0, y + 4), name, soft=row == PLAIN)


def _marks(spokes: Sequence[Spoke], front: int) -> Iterator[Mark]:
    for i, spoke in enumerate(spokes):
        for row, score in sorted(spoke.scores.items(), key=lambda item: item[0] == front):
            at = _at(i, spokes, score)
            if at:
                yield Mark(at, row, spoke.tips.get(row, ""), MARK if row == front else 0.7 * MARK)
