"""Drawing: timelines as files of their own, SVG and PNG of the same layout, on white as papers are."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias
from unicodedata import east_asian_width

import numpy as np
from jaxtyping import UInt8

from vitascope.core import files
from vitascope.report.charts.timeline_selection import Question
from vitascope.report.charts.timelines import COLORS, EMPTY, QUIET, STROKES, TILE, TimelineChart, TimelineRow

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

WIDTH, MARGIN = 960, 12
LETTER = 6.6
"""Pixels that a letter takes on average."""
SIZE, SPACE = 12, 6
"""Of the letters, and between rows: pixels."""
INK, SOFT, GROUND = "#1c1e22", "#62656b", "#ffffff"
PALE = {QUIET: "#d3d0c9", EMPTY: "#f3f1ec"}
STROKE, DARKER = 1.5, 0.55
"""Width of a stroke, pixels, and how much of its hue it takes away."""
MADE = "<!-- vitascope report: written anew with every report -->"
"""By what a file of ours is known."""
Anchor: TypeAlias = Literal["start", "middle", "end"]


class Box(NamedTuple):
    """A filled rectangle, and what pointing at it says."""

    left: float
    top: float
    right: float
    bottom: float
    filling: int
    tip: str = ""


class Text(NamedTuple):
    """A line of text, from its baseline."""

    x: float
    y: float
    text: str
    anchor: Anchor = "start"
    color: str = INK


class Picture(NamedTuple):
    """Everything in its place, pixels from left and top; `ticks` are short vertical lines from their upper ends."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    ticks: tuple[tuple[float, float], ...]
    texts: tuple[Text, ...]
    said: str
    """For those who cannot see it."""


def layout(drawn: TimelineChart, *, title: str, measure: str = "", width: int = WIDTH) -> Picture:
    """A title, `measure` over what the rows say, the rows, the axis and a legend in columns."""
    left = min(max(_wide(r.name) for r in drawn.rows) + MARGIN + 8, width / 4)
    right = width - MARGIN - max(_wide(measure), *(_wide(r.says) + 8 for r in drawn.rows))
    boxes, top = [], 34.0
    texts = [Text(MARGIN, 20, _cut(title, right - MARGIN - 8))]
    texts.append(Text(width - MARGIN, 20, measure, "end", SOFT))
    for row in drawn.rows:
        boxes += _boxes(row, left, right, top)
        texts += _texts(row, left, right, top=top, edge=width - MARGIN)
        top += row.height + SPACE
    ticks = [(left + (right - left) * t.at / 100, top - SPACE + 1) for t in drawn.ticks]
    texts += [Text(x, top + 13, t.text, "middle", SOFT) for (x, _), t in zip(ticks, drawn.ticks, strict=True)]
    more, signs, top = _legend(drawn.legend, top + 30, width)
    if drawn.note:
        signs.append(Text(MARGIN, top + 11, _cut(drawn.note, width - 2 * MARGIN), "start", SOFT))
        top += 20
    said = f"{title}: {', '.join(r.name for r in drawn.rows)}, from 0 s to {drawn.ticks[-1].text} and on"
    return Picture(width, int(top + MARGIN), (*boxes, *more), tuple(ticks), (*texts, *signs), said)


def _boxes(row: TimelineRow, left: float, right: float, top: float) -> list[Box]:
    def at(percent: float) -> float:
        return round(left + (right - left) * percent / 100, 2)

    behind = Box(at(0), top, at(100), top + row.height, EMPTY)
    bars = (
        Box(at(b.left), top + b.top, at(b.left + b.width), top + b.top + b.height, b.filling, b.tip) for b in row.bars
    )
    return [behind, *bars]


def _texts(row: TimelineRow, left: float, right: float, *, top: float, edge: float) -> list[Text]:
    base = top + row.height / 2 + 4
    found = [Text(left - 8, base, _cut(row.name, left - 8 - MARGIN), "end")]
    found += [Text(edge, base, row.says, "end", SOFT)] * bool(row.says)
    return found + [Text(left + 8, base, _cut(row.lacking, right - left - 16), "start", SOFT)] * bool(row.lacking)


def _legend(entries: Sequence[tuple[str, int]], top: float, width: int) -> tuple[list[Box], list[Text], float]:
    """Names with their fillings, in columns as wide as the longest name, row by row; and where they end."""
    each = max((_wide(name) for name, _ in entries), default=0) + 38
    columns = max(int((width - 2 * MARGIN) // each), 1)
    boxes, texts = [], []
    for i, (name, filling) in enumerate(entries):
        x, y = MARGIN + i % columns * each, top + i // columns * 20
        boxes.append(Box(x, y, x + 14, y + 14, filling))
        texts.append(Text(x + 20, y + 11, _cut(name, width - 2 * MARGIN - 20)))
    return boxes, texts, top + -(-len(entries) // columns) * 20


def _wide(text: str) -> float:
    """About how wide a text is, pixels."""
    return LETTER * sum(2 if east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str, room: float) -> str:
    """As much of a text as there is room for, pixels."""
    if _wide(text) <= room:
        return text
    while text and _wide(text) + LETTER > room:
        text = text[:-1]
    return f"{text}…"


def svg(picture: Picture) -> str:
    """The picture as a file of its own; browsers show on pointing at a bar what it is."""
    width, height = picture.width, picture.height
    used = sorted({b.filling for b in picture.boxes})
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            f'role="img" aria-label="{escape(picture.said)}" font-family="Helvetica, Arial, sans-serif" '
            f'font-size="{SIZE}">{MADE}<defs>{"".join(map(pattern, used))}</defs>',
            f'<rect width="{width}" height="{height}" fill="{GROUND}"/>',
            '<g shape-rendering="crispEdges">',  # else what is behind shows between neighbors
            *map(_svg_box, picture.boxes),
            "</g>",
            *(f'<path d="M{x:.2f} {y:g}v5" stroke="{SOFT}"/>' for x, y in picture.ticks),
            *map(_svg_text, picture.texts),
            "</svg>\n",
        ]
    )


def write(folder: Path, questions: Sequence[Question]) -> Path:
    """Draw the chosen videos of questions: `<dataset>-<video>.svg` and `.png` in `folder`, which is given back.

    What an earlier report drew there and this one does not is removed; files of other making stay.
    """
    stems: set[str] = set()
    for question in questions:
        for view in question.chosen:
            stem = _stem(f"{question.stem}-{view.video}", stems)
            picture = layout(view.drawn, title=f"{question.title}, {view.video}", measure=question.measure)
            files.write(folder / f"{stem}.svg", svg(picture).encode())
            files.write(folder / f"{stem}.png", png(picture))
    for old in folder.glob("*.svg"):
        if old.stem.casefold() not in stems and MADE in old.read_text("utf-8", "replace"):
            old.unlink()
            old.with_suffix(".png").unlink(missing_ok=True)
    return folder


def _stem(name: str, taken: set[str]) -> str:
    """A file's name that all systems take; added to those `taken`, which may differ in more than case."""
    plain = re.sub(r"[^\w.-]+", "-", name)[-100:].strip("-.")
    names = (f"{plain}-{i}" if i else plain for i in count())
    stem = next(one for one in names if one.casefold() not in taken)
    taken.add(stem.casefold())
    return stem


def _svg_box(box: Box) -> str:
    title = f"<title>{escape(box.tip)}</title>" if box.tip else ""
    return (
        f'<rect x="{box.left:g}" y="{box.top:g}" width="{box.right - box.left:.2f}" '
        f'height="{box.bottom - box.top:g}" fill="{paint(box.filling)}">{title}</rect>'
    )


def _svg_text(text: Text) -> str:
    place = f'x="{text.x:.2f}" y="{text.y:g}"'
    return f'<text {place} text-anchor="{text.anchor}" fill="{text.color}">{escape(text.text)}</text>'


def paint(filling: int) -> str:
    """A filling as the value of SVG's `fill`: a hue, or the name of its `pattern`."""
    if filling < 0:
        return PALE[filling]
    return COLORS[filling] if filling < len(COLORS) else f"url(#timeline-{filling})"


def pattern(filling: int) -> str:
    """What a filling with strokes refers to, an element for `<defs>`; nothing for one without."""
    if filling < len(COLORS):
        return ""
    path = "".join(f"M{x} {y}L{u} {v}" for (x, y), (u, v) in STROKES[filling // len(COLORS)])
    return (
        f'<pattern id="timeline-{filling}" width="{TILE}" height="{TILE}" patternUnits="userSpaceOnUse">'
        f'<rect width="{TILE}" height="{TILE}" fill="{COLORS[filling % len(COLORS)]}"/>'
        f'<path d="{path}" stroke="#000" stroke-opacity="{DARKER}" stroke-width="{STROKE}" fill="none"/></pattern>'
    )


def png(picture: Picture, *, scale: int = 2) -> bytes:
    """The picture as pixels, `scale` of them to a pixel of the layout; no bar is thinner than one.

    Letters that Pillow's own font lacks (it is near to ASCII) are boxes: the SVG has them all.
    """
    from PIL import Image, ImageColor, ImageDraw

    canvas = np.empty((picture.height * scale, picture.width * scale, 3), np.uint8)
    canvas[:] = ImageColor.getrgb(GROUND)
    tiles = {filling: _tile(filling, scale) for filling in {b.filling for b in picture.boxes}}
    for box in sorted(picture.boxes, key=lambda b: b.left - b.right):  # the narrow ones last: no neighbor hides them
        left, top, right, bottom = (round(v * scale) for v in box[:4])
        down, across = np.arange(top, bottom), np.arange(left, max(right, left + 1))
        tile = tiles[box.filling]
        canvas[np.ix_(down, across)] = tile[np.ix_(down % len(tile), across % len(tile))]
    image = Image.fromarray(canvas)
    _write(ImageDraw.Draw(image), picture, scale)
    held = io.BytesIO()
    image.save(held, "PNG", dpi=(96 * scale, 96 * scale))
    return held.getvalue()


def _tile(filling: int, scale: int, fine: int = 4) -> UInt8[np.ndarray, "y x 3"]:
    """What a filling repeats: drawn `fine` times as large, so that its strokes are smooth."""
    from PIL import Image, ImageColor, ImageDraw

    hue = PALE[filling] if filling < 0 else COLORS[filling % len(COLORS)]
    color = ImageColor.getrgb(hue)
    side, times = TILE * scale, scale * fine
    tile = Image.new("RGB", (side * fine, side * fine), color)
    pen, dark = ImageDraw.Draw(tile), tuple(round(c * (1 - DARKER)) for c in color)
    for ends in STROKES[max(filling, 0) // len(COLORS)]:
        pen.line([(x * times, y * times) for x, y in ends], fill=dark, width=round(STROKE * times))
    return np.asarray(tile.resize((side, side), Image.Resampling.BOX))


def _write(pen: ImageDraw, picture: Picture, scale: int) -> None:
    from PIL import ImageFont

    font = ImageFont.load_default(SIZE * scale)
    for x, y in picture.ticks:
        pen.line([(x * scale, y * scale), (x * scale, (y + 5) * scale)], fill=SOFT, width=scale)
    anchors = {"start": "ls", "middle": "ms", "end": "rs"}
    for text in picture.texts:
        pen.text((text.x * scale, text.y * scale), text.text, text.color, font, anchors[text.anchor])
