"""Boxes and labels over a small picture: placed in pixels, as part of the page, as an SVG file and as PNG."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vitascope.core import files
from vitascope.report.charts import svg_png
from vitascope.report.charts.keyframe_selection import KeyframeView, ShownBox, Source, TaskKeyframes
from vitascope.report.charts.thumbnails import Thumbnail
from vitascope.report.charts.timelines import EMPTY

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

LINE, LETTER = 12, 6.6
"""Height of a line of text and width of a letter, pixels."""
COLORS = {
    "true": "#ffffff",
    "missed": "#ffffff",
    "right": "#3cc79c",
    "partly": "#f2c14e",
    "label": "#f2c14e",
    "wrong": "#f2c14e",
    "place": "#ff8b4d",
}
"""Colors of boxes and text by kind, those of the page's dark theme: they lie on pictures, with a dark rim."""
DASHES = {"missed": (5, 3), "label": (7, 4), "place": (4, 3)}
"""Lengths of dash and gap, pixels, of the boxes that are not drawn solid."""
MEANINGS = {
    "true": "true",
    "missed": "true, not found",
    "right": "right",
    "partly": "one class of several right",
    "label": "wrong class",
    "place": "wrong place",
}
"""Legend of the boxes."""
GAP, HEAD = 8, 40
"""Margin and height of the heading of a picture file, pixels."""


class OverlayText(NamedTuple):
    """A line of text: left end, baseline, text and kind."""

    x: float
    y: float
    text: str
    kind: str


class OverlayRect(NamedTuple):
    """A box in pixels, its kind and its tooltip."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    tip: str


class Overlay(NamedTuple):
    """A keyframe laid out."""

    picture: Thumbnail
    rects: tuple[OverlayRect, ...]
    """The largest first, so that the pointer reaches all of them."""
    texts: tuple[OverlayText, ...]
    description: str
    """Alternative text."""


def overlay(view: KeyframeView, picture: Thumbnail) -> Overlay:
    """Place the boxes and labels of a keyframe over its picture; labels that find no room are left to the tooltips."""
    rects = [
        OverlayRect(*_pixels(b, picture), b.kind, b.tip) for b in sorted(view.shown, key=lambda b: -b.width * b.height)
    ]
    counts = {kind: sum(b.kind == kind for b in view.shown) for kind in MEANINGS}
    told = ", ".join(f"{count} {MEANINGS[kind]}" for kind, count in counts.items() if count)
    return Overlay(picture, tuple(rects), tuple(_texts(view.shown, picture)), f"{view.name}: boxes {told or 'none'}")


def _pixels(box: ShownBox, picture: Thumbnail) -> tuple[float, float, float, float]:
    wide, high = picture.width, picture.height
    x, y, width, height = box.left * wide, box.top * high, box.width * wide, box.height * high
    return round(x, 1), round(y, 1), round(width, 1), round(height, 1)


def _texts(shown: Sequence[ShownBox], picture: Thumbnail) -> Iterator[OverlayText]:
    """Labels of predicted boxes from their upper edges down, of true ones above their lower edges."""
    taken: list[tuple[float, float, float]] = []
    for box in sorted(shown, key=lambda b: b.kind in ("true", "missed")):
        x, y, _, height = _pixels(box, picture)
        base = y + height - 4 if box.kind in ("true", "missed") else y + LINE
        for line, label in enumerate(box.labels):
            width = LETTER * len(label.text)
            left = max(min(x + 3, picture.width - width - 2), 2.0)
            place = _free(left, width, base + line * LINE, picture.height, taken)
            if place is not None:
                taken.append((left, left + width, place))
                yield OverlayText(round(left, 1), round(place, 1), label.text, label.kind)


def _free(
    left: float, width: float, base: float, height: int, taken: Sequence[tuple[float, float, float]]
) -> float | None:
    """The baseline nearest to `base` that is free and within the picture, in steps of a line; None for none near."""
    start = min(max(base, LINE), height - 3.0)
    for step in (0, 1, -1, 2, -2, 3, -3):
        y = start + step * LINE
        clear = all(left >= right or left + width <= first or abs(y - other) >= LINE for first, right, other in taken)
        if clear and LINE - 1 <= y <= height - 2:
            return y
    return None


def css() -> str:
    """Style rules of boxes and their texts on a page."""
    dashes = {kind: f";stroke-dasharray:{dash} {gap}" for kind, (dash, gap) in DASHES.items()}
    boxes = (f".box.{kind}{{stroke:{color}{dashes.get(kind, '')}}}" for kind, color in COLORS.items())
    return "".join([*boxes, *(f".keyframe text.{kind}{{fill:{color}}}" for kind, color in COLORS.items())])


def data_url(picture: Thumbnail) -> str:
    """A picture as text that stands in a page."""
    return f"data:image/jpeg;base64,{b64encode(picture.jpeg).decode()}"


def write(folder: Path, tasks: Sequence[TaskKeyframes], pictures: Mapping[Source, Thumbnail]) -> Path:
    """Draw each keyframe as `<dataset>-<probe>-<encoder>-<reason>.svg` and `.png` in `folder`, and return it.

    Pictures of earlier reports that are not drawn again are removed; other files stay.
    """
    stems: set[str] = set()
    for task in tasks:
        for view in task.views:
            stem = svg_png.file_stem(f"{task.stem}-{view.encoder}-{view.reason}", stems)
            laid = overlay(view, pictures[view.source])
            heads = (f"{view.encoder}, {view.reason}: {view.score}", f"{task.title}, {view.name}")
            files.write(folder / f"{stem}.svg", svg(laid, heads).encode())
            files.write(folder / f"{stem}.png", png(laid, heads))
    svg_png.remove_others(folder, stems)
    return folder


def svg(laid: Overlay, heads: tuple[str, str]) -> str:
    """A keyframe as a standalone SVG file, its picture inside."""
    wide, high = laid.picture.width + 2 * GAP, laid.picture.height + HEAD + GAP
    inner = "".join([_svg_picture(laid.picture), *map(_svg_rect, laid.rects), *map(_svg_text, laid.texts)])
    lines = "".join(
        f'<text x="{GAP}" y="{16 + 15 * i}" fill="{color}">{escape(text)}</text>'
        for i, (text, color) in enumerate(zip(heads, (svg_png.INK, svg_png.SOFT), strict=True))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}" '
        f'role="img" aria-label="{escape(laid.description)}" font-family="Helvetica, Arial, sans-serif" font-size="11">'
        f'{svg_png.GENERATED}<rect width="{wide}" height="{high}" fill="{svg_png.GROUND}"/>{lines}'
        f'<g transform="translate({GAP} {HEAD})">{inner}</g></svg>\n'
    )


def _svg_picture(picture: Thumbnail) -> str:
    size = f'width="{picture.width}" height="{picture.height}"'
    if picture.jpeg:
        return f'<image {size} href="{data_url(picture)}"/>'
    text = f'<text x="8" y="{picture.height / 2:g}" fill="{svg_png.SOFT}">{escape(picture.reason)}</text>'
    return f'<rect {size} fill="{svg_png.PALE[EMPTY]}"/>{text}'


def _svg_rect(rect: OverlayRect) -> str:
    place = f'x="{rect.x:g}" y="{rect.y:g}" width="{rect.width:g}" height="{rect.height:g}"'
    dash = f' stroke-dasharray="{" ".join(map(str, DASHES[rect.kind]))}"' if rect.kind in DASHES else ""
    return (
        f'<rect {place} fill="none" stroke="#000" stroke-opacity="0.4" stroke-width="3.5"/>'
        f'<rect {place} fill="transparent" stroke="{COLORS[rect.kind]}" stroke-width="2"{dash}>'
        f"<title>{escape(rect.tip)}</title></rect>"
    )


def _svg_text(text: OverlayText) -> str:
    return (
        f'<text x="{text.x:g}" y="{text.y:g}" fill="{COLORS[text.kind]}" stroke="#000" stroke-opacity="0.7" '
        f'stroke-width="3" paint-order="stroke" font-weight="600" pointer-events="none">{escape(text.text)}</text>'
    )


def png(laid: Overlay, heads: tuple[str, str], *, scale: int = 2) -> bytes:
    """A keyframe as PNG with `scale` pixels per pixel of the layout."""
    from PIL import Image, ImageDraw, ImageFont

    picture = laid.picture
    size = (picture.width + 2 * GAP) * scale, (picture.height + HEAD + GAP) * scale
    canvas = Image.new("RGB", size, svg_png.GROUND)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(11 * scale)
    for i, (text, color) in enumerate(zip(heads, (svg_png.INK, svg_png.SOFT), strict=True)):
        pen.text((GAP * scale, (16 + 15 * i) * scale), text, color, font, "ls")
    inner = _png_picture(picture, scale)
    drawn = ImageDraw.Draw(inner)
    for rect in laid.rects:
        _png_rect(drawn, rect, scale)
    for line in laid.texts:
        place = line.x * scale, line.y * scale
        drawn.text(place, line.text, COLORS[line.kind], font, "ls", stroke_width=scale, stroke_fill="#000000")
    canvas.paste(inner, (GAP * scale, HEAD * scale))
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG", dpi=(96 * scale, 96 * scale))
    return buffer.getvalue()


def _png_picture(picture: Thumbnail, scale: int) -> Any:
    from PIL import Image, ImageDraw, ImageFont

    size = picture.width * scale, picture.height * scale
    if picture.jpeg:
        return Image.open(io.BytesIO(picture.jpeg)).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    blank = Image.new("RGB", size, svg_png.PALE[EMPTY])
    place = 8 * scale, size[1] / 2
    ImageDraw.Draw(blank).text(place, picture.reason, svg_png.SOFT, ImageFont.load_default(11 * scale), "ls")
    return blank


def _png_rect(pen: ImageDraw, rect: OverlayRect, scale: int) -> None:
    x, y, right, bottom = (v * scale for v in (rect.x, rect.y, rect.x + rect.width, rect.y + rect.height))
    corners = [(x, y), (right, y), (right, bottom), (x, bottom), (x, y)]
    pen.line(corners, fill="#444444", width=3 * scale, joint="curve")
    dash, gap = DASHES.get(rect.kind, (0, 0))
    for (a, b), (c, d) in pairwise(corners):
        length = abs(c - a) + abs(d - b)
        step = (dash + gap) * scale or length
        starts = [step * i for i in range(int(length // step) + bool(length % step))] if length else []
        for start in starts:
            end = min(start + (dash * scale or length), length)
            ends = [(a + (c - a) * at / length, b + (d - b) * at / length) for at in (start, end)]
            pen.line(ends, fill=COLORS[rect.kind], width=2 * scale)
