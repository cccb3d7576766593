"""Motion against appearance as a drawing of its own, for published scores and one's own beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from vitascope.core.text import tick, with_interval
from vitascope.core.types import Score
from vitascope.report.charts import plots
from vitascope.report.charts.drawing import GRID, MARK, XY, Drawing, Label, Line, Mark, Shape
from vitascope.report.charts.plots import Axis
from vitascope.report.charts.svg_png import text_width

WIDTH, HEIGHT = 560, 440
LEFT, TOP, RIGHT, BOTTOM = 52.0, 34.0, 20.0, 48.0


class PlanePoint(NamedTuple):
    """An encoder with its mean on both axes."""

    row: int
    name: str
    appearance: Score
    motion: Score
    here: bool = False
    """Whether it was evaluated here, among published ones."""


class Placed(NamedTuple):
    """Where a label goes."""

    at: XY
    anchor: Literal["start", "middle", "end"]
    box: tuple[float, float, float, float]
    """Left, top, right and bottom."""


def plane(points: Sequence[PlanePoint], title: str) -> Drawing:
    """Draw motion against appearance, percent, with whiskers for intervals."""
    x = plots.axis([p.appearance for p in points], steps=6)
    y = plots.axis([p.motion for p in points], steps=6)
    marks = [(_x(x.at(p.appearance.value)), _y(y.at(p.motion.value))) for p in points]
    placed = place_labels(marks, [p.name for p in points])
    shapes = [*_frame(x, y, title)]
    for point, at, label in zip(points, marks, placed, strict=True):
        shapes += [*_point(point, at, x, y), Label(label.at, point.name, label.anchor, bold=point.here)]
    said = "; ".join(f"{p.name} {with_interval(p.appearance)}, {with_interval(p.motion)}" for p in points)
    return Drawing(WIDTH, HEIGHT, tuple(shapes), f"{title}: appearance, motion: {said}")


def place_labels(marks: Sequence[XY], names: Sequence[str]) -> list[Placed]:
    """Choose a place around each mark where its name covers least of other names and marks, in order of the crowd."""
    taken = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in marks]
    placed: dict[int, Placed] = {}
    for i in sorted(range(len(marks)), key=lambda i: marks[i][1]):
        around = [box for j, box in enumerate(taken) if j != i] + [one.box for one in placed.values()]
        options = list(_places(marks[i], text_width(names[i])))
        placed[i] = min(options, key=lambda one: sum(_shared(one.box, box) for box in around) + _outside(one.box))
    return [placed[i] for i in range(len(marks))]


def _places(mark: XY, width: float) -> Iterator[Placed]:
    """Places around a mark, the preferred ones first."""
    x, y = mark
    for across, down in ((9, 4), (-9, 4), (9, -6), (9, 14), (-9, -6), (-9, 14), (0, -10), (0, 19), (9, 24), (-9, 24)):
        anchor: Literal["start", "middle", "end"] = "start" if across > 0 else "end" if across else "middle"
        left = x + across - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        yield Placed((x + across, y + down), anchor, (left, y + down - 11, left + width, y + down + 3))


def _shared(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """The area that two boxes share."""
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0.0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)


def _outside(box: tuple[float, ...]) -> float:
    """A cost of leaving the drawing, above that of any overlap."""
    return 1e4 * (box[0] < 0 or box[2] > WIDTH or box[1] < TOP or box[3] > HEIGHT - BOTTOM)


def _x(percent: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * percent / 100


def _y(percent: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (100 - percent) / 100


def _frame(x: Axis, y: Axis, title: str) -> Iterator[Shape]:
    for value in x.ticks:
        at = _x(x.at(value))
        yield Line(((at, _y(0)), (at, _y(100))), GRID)
        yield Label((at, _y(0) + 18), tick(value), "middle", soft=True)
    for value in y.ticks:
        at = _y(y.at(value))
        yield Line(((_x(0), at), (_x(100), at)), GRID)
        yield Label((_x(0) - 8, at + 4), tick(value), "end", soft=True)
    yield Label((_x(100), _y(0) + 38), "appearance, % →", "end")
    yield Label((8, 18), "↑ motion, %")
    yield Label((_x(100), 18), title, "end", bold=True)


def _point(point: PlanePoint, at: XY, x: Axis, y: Axis) -> Iterator[Shape]:
    across, up = at
    if point.appearance.low is not None and point.appearance.high is not None:
        yield Line(tuple((_x(x.at(v)), up) for v in point.appearance[1:] if v is not None), point.row, 2, opacity=0.5)
    if point.motion.low is not None and point.motion.high is not None:
        yield Line(tuple((across, _y(y.at(v))) for v in point.motion[1:] if v is not None), point.row, 2, opacity=0.5)
    tip = f"{point.name}\nappearance {with_interval(point.appearance)}\nmotion {with_interval(point.motion)}"
    yield Mark(at, point.row, tip, MARK * (1.3 if point.here else 1))
