"""Drawings of lines, areas, marks and text: as SVG in a page or a file, which follow the reader's theme, and as PNG."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import pairwise
from math import cos, hypot, pi, sin
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from vitascope.report.charts.svg_png import GENERATED, INK, SOFT

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

XY: TypeAlias = tuple[float, float]
GRID: Literal[-1] = -1
"""Row of what belongs to no encoder: spokes and ticks."""
PLAIN: Literal[-2] = -2
"""Row of what is drawn in the color of text."""
LIGHT = ("#0068ad", "#cc4f00", "#008a68", "#b0488f", "#b98100", "#2f9fd8", "#4a4d52")
DARK = ("#5aa9e6", "#ff8b4d", "#3cc79c", "#e79ac8", "#f2c14e", "#a6dbff", "#c3c6cb")
"""Colors of encoders, as in the page."""
TONES = {GRID: ("#dcd9d2", "#3a3f47"), PLAIN: (INK, "#e9e7e2")}
SIDES = ("#ffffff", "#15171b")
FONT = "system-ui, Helvetica, Arial, sans-serif"
SIZE, MARK = 12.0, 5.4
"""Size of text and of marks, pixels."""
DASH = (5.0, 4.0)
ASCII = str.maketrans({"→": "", "↑": "", "†": "*", "–": "-", "−": "-"})
"""What stands in a PNG for letters that Pillow's own font lacks."""


class Line(NamedTuple):
    """A line through points, pixels from left and top."""

    points: tuple[XY, ...]
    row: int = GRID
    width: float = 1.0
    dashed: bool = False
    opacity: float = 1.0


class Area(NamedTuple):
    """A filled polygon, with a hole if there is one."""

    points: tuple[XY, ...]
    row: int
    opacity: float
    hole: tuple[XY, ...] = ()


class Mark(NamedTuple):
    """The marker of an encoder, with a tooltip."""

    at: XY
    row: int
    tip: str = ""
    size: float = MARK


class Label(NamedTuple):
    """A line of text; `at` is on its baseline."""

    at: XY
    text: str
    anchor: Literal["start", "middle", "end"] = "start"
    soft: bool = False
    bold: bool = False


Shape: TypeAlias = Line | Area | Mark | Label


class Drawing(NamedTuple):
    """What is drawn, in order, and what it shows in words."""

    width: int
    height: int
    shapes: tuple[Shape, ...]
    description: str


def outline(row: int) -> tuple[XY, ...]:
    """The marker of an encoder as a polygon around the origin, about one unit in radius; as in the page."""
    circle = tuple((cos(2 * pi * i / 24), sin(2 * pi * i / 24)) for i in range(24))
    cross = ((-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4))
    kinds: tuple[tuple[XY, ...], ...] = (
        circle,
        ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
        ((0, -1.2), (1.15, 0.9), (-1.15, 0.9)),
        ((0, 1.2), (1.15, -0.9), (-1.15, -0.9)),
        (*cross, *((-x, -y) for x, y in cross)),
    )
    return circle if row < 0 else kinds[row % len(kinds)]


def svg(drawing: Drawing, *, standalone: bool = False) -> str:
    """Render as SVG: for a page, whose style gives `.c0` to `.c6` their color `--c`, or as a file of its own."""
    width, height = drawing.width, drawing.height
    file = ' xmlns="http://www.w3.org/2000/svg"' if standalone else ""
    size = f'width="{width}" height="{height}" ' if standalone else ""
    return "".join(
        [
            f'<svg{file} class="sketch" {size}viewBox="0 0 {width} {height}" role="img" '
            f'aria-label="{escape(drawing.description)}" font-family="{FONT}" font-size="{SIZE:g}">',
            _style() if standalone else "",
            *(_element(shape, standalone=standalone) for shape in drawing.shapes),
            "</svg>" + "\n" * standalone,
        ]
    )


def _style() -> str:
    """Colors of a file, in both themes of whoever looks at it."""

    def rules(side: int) -> str:
        colors = (LIGHT, DARK)[side]
        soft = (SOFT, "#a0a4ab")[side]
        tones = f"--card:{SIDES[side]};--ink:{TONES[PLAIN][side]};--soft:{soft};--line:{TONES[GRID][side]}"
        return f"svg{{{tones}}}" + "".join(f".c{i}{{--c:{color}}}" for i, color in enumerate(colors))

    ground = '<rect width="100%" height="100%" fill="var(--card)"/>'
    return f"{GENERATED}<style>{rules(0)}@media(prefers-color-scheme:dark){{{rules(1)}}}</style>{ground}"


def _element(shape: Shape, *, standalone: bool) -> str:
    if isinstance(shape, Line):
        return _line(shape)
    if isinstance(shape, Area):
        path = "".join(f"M{_points(ring)}Z" for ring in (shape.points, shape.hole) if ring)
        return (
            f'<path{_class(shape.row)} d="{path}" fill="{_paint(shape.row)}" fill-rule="evenodd" '
            f'opacity="{shape.opacity:g}"/>'
        )
    return _mark(shape, standalone=standalone) if isinstance(shape, Mark) else _label(shape)


def _line(line: Line) -> str:
    dash = f' stroke-dasharray="{DASH[0]:g} {DASH[1]:g}"' if line.dashed else ""
    clear = f' opacity="{line.opacity:g}"' if line.opacity < 1 else ""
    return (
        f'<polyline{_class(line.row)} points="{_points(line.points)}" fill="none" stroke="{_paint(line.row)}" '
        f'stroke-width="{line.width:g}" stroke-linejoin="round"{dash}{clear}/>'
    )


def _mark(mark: Mark, *, standalone: bool) -> str:
    """A mark with its tooltip: that of the page, or a title where there is no script."""
    (x, y), r = mark.at, mark.size
    corners = _points((x + r * dx, y + r * dy) for dx, dy in outline(mark.row))
    said = f' data-tip="{escape(mark.tip)}"' if mark.tip and not standalone else ""
    title = f"<title>{escape(mark.tip)}</title>" if mark.tip and standalone else ""
    return (
        f'<polygon{_class(mark.row)}{said} points="{corners}" fill="{_paint(mark.row)}" stroke="var(--card)">'
        f"{title}</polygon>"
    )


def _label(label: Label) -> str:
    (x, y), tone = label.at, "soft" if label.soft else "ink"
    weight = ' font-weight="650"' if label.bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{label.anchor}" fill="var(--{tone})"{weight}>'
        f"{escape(label.text)}</text>"
    )


def _class(row: int) -> str:
    return f' class="c{row % len(LIGHT)}"' if row >= 0 else ""


def _paint(row: int) -> str:
    return "var(--c)" if row >= 0 else "var(--line)" if row == GRID else "var(--ink)"


def _points(points: Iterable[XY]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def png(drawing: Drawing, *, scale: int = 2, fine: int = 2) -> bytes:
    """Render as PNG on white with `scale` pixels per pixel of the drawing, shapes drawn `fine` times as large."""
    from PIL import Image, ImageDraw, ImageFont

    times = scale * fine
    picture = Image.new("RGBA", (drawing.width * times, drawing.height * times), SIDES[0])
    pen = ImageDraw.Draw(picture)
    for shape in drawing.shapes:
        if isinstance(shape, Mark) or (isinstance(shape, Line) and shape.opacity == 1):
            _draw(pen, shape, times)
        elif not isinstance(shape, Label):
            layer = Image.new("RGBA", picture.size)
            _draw(ImageDraw.Draw(layer), shape, times)
            picture.alpha_composite(layer)
    picture = picture.resize((drawing.width * scale, drawing.height * scale), Image.Resampling.BOX)
    pen, anchors = ImageDraw.Draw(picture), {"start": "ls", "middle": "ms", "end": "rs"}
    font = ImageFont.load_default(SIZE * scale)
    for label in drawing.shapes:
        if isinstance(label, Label):
            at = (label.at[0] * scale, label.at[1] * scale)
            pen.text(at, label.text.translate(ASCII).strip(), SOFT if label.soft else INK, font, anchors[label.anchor])
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "PNG", dpi=(96 * scale, 96 * scale))
    return buffer.getvalue()


def _draw(pen: ImageDraw, shape: Line | Area | Mark, times: int) -> None:
    """Draw a shape; what is not opaque needs a clear picture of its own."""
    from PIL import ImageColor

    color = LIGHT[shape.row % len(LIGHT)] if shape.row >= 0 else TONES[shape.row][0]
    opacity = 1.0 if isinstance(shape, Mark) else shape.opacity
    fill = (*ImageColor.getrgb(color)[:3], round(255 * opacity))
    if isinstance(shape, Line):
        for part in _strokes(shape):
            pen.line(_scaled(part, times), fill, max(round(shape.width * times), 1), joint="curve")
    elif isinstance(shape, Area):
        pen.polygon(_scaled(shape.points, times), fill)
        if shape.hole:
            pen.polygon(_scaled(shape.hole, times), (0, 0, 0, 0))
    else:
        (x, y), r = shape.at, shape.size
        corners = [(x + r * dx, y + r * dy) for dx, dy in outline(shape.row)]
        pen.polygon(_scaled(corners, times), fill, outline=SIDES[0], width=times)


def _scaled(points: Sequence[XY], times: int) -> list[XY]:
    return [(x * times, y * times) for x, y in points]


def _strokes(line: Line) -> Iterator[Sequence[XY]]:
    """The parts of a line that are drawn: all of it, or its dashes."""
    if not line.dashed:
        yield line.points
        return
    for (x, y), (u, v) in pairwise(line.points):
        length = hypot(u - x, v - y)
        begin = 0.0
        while begin < length:
            ends = (begin, min(begin + DASH[0], length))
            yield [(x + (u - x) * at / length, y + (v - y) * at / length) for at in ends]
            begin += sum(DASH)
