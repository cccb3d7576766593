"""Pictures as files: SVG and PNG show the same bars in the same places, in fillings that can be told apart."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image, ImageColor

from vitascope.report.charts.svg_png import GROUND, PALE, Picture, layout, png, svg
from vitascope.report.charts.timelines import (
    BACKGROUND,
    COLORS,
    EMPTY,
    N_FILLS,
    LabeledSpan,
    TimelineChart,
    Track,
    timeline,
)

SVG = "{http://www.w3.org/2000/svg}"
NASTY = '<b>"me"</b> & co'


def made(**more: object) -> TimelineChart:
    """Two rows over ten seconds: three classes and nothing, the last of them in the 9th filling, with strokes."""
    truth = [LabeledSpan(0, 0.0, 2.0), LabeledSpan(1, 2.0, 5.0), LabeledSpan(2, 7.0, 10.0)]
    tracks = [
        Track("truth", truth),
        Track(NASTY, [LabeledSpan(1, 0.0, 10.0)], "30.0 %"),
        Track("lost", [], placeholder="gone"),
    ]
    return timeline(tracks, ["cut", NASTY, "peel"], seconds=10, fills={0: 0, 1: BACKGROUND, 2: 8})


@pytest.fixture(scope="module")
def picture() -> Picture:
    return layout(made(), title=f"task, {NASTY}", measure="frames right")


def bars(text: str) -> list[ET.Element]:
    """Those with something to say on pointing."""
    return [r for r in ET.fromstring(text).iter(f"{SVG}rect") if r.find(f"{SVG}title") is not None]


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_the_svg_stands_alone(picture: Picture) -> None:
    text = svg(picture)
    root = ET.fromstring(text)
    assert (root.get("width"), root.get("height")) == (str(picture.width), str(picture.height))
    assert root.find(f"{SVG}rect").attrib == {"width": root.get("width"), "height": root.get("height"), "fill": GROUND}
    assert "var(" not in text
    assert "<b>" not in text
    assert [r.find(f"{SVG}title").text for r in bars(text)][2:] == [
        "truth\npeel\n7.0 to 10.0 s",
        f"{NASTY}\n{NASTY}\n0.0 to 10.0 s",
    ]
    said = [t.text for t in root.iter(f"{SVG}text")]
    assert {f"task, {NASTY}", "frames right", "truth", NASTY, "30.0 %", "gone", "0 s", "10 s", "peel"} <= set(said)


def test_widths_are_as_the_seconds(picture: Picture) -> None:
    x, width = ([float(r.get(k)) for r in bars(svg(picture))] for k in ("x", "width"))
    np.testing.assert_allclose(np.array(width) / width[0], [1, 1.5, 1.5, 5], atol=2e-3)
    assert x[0] == x[3]
    assert x[1] == pytest.approx(x[0] + width[0], abs=0.011)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_pixels_have_the_colors_of_the_labels(picture: Picture, scale: int) -> None:
    seen = pixels(png(picture, scale=scale))
    assert seen.shape == (picture.height * scale, picture.width * scale, 3)
    assert tuple(seen[0, 0]) == ImageColor.getrgb(GROUND)
    for box in picture.boxes:
        part = seen[
            round(box.top * scale) : round(box.bottom * scale), round(box.left * scale) : round(box.right * scale)
        ]
        colors = {tuple(c) for c in part.reshape(-1, 3).tolist()}
        if box.fill < 8 and box.fill != EMPTY:
            assert colors == {ImageColor.getrgb(PALE.get(box.fill) or COLORS[box.fill])}, box
        if box.fill == 8:
            assert ImageColor.getrgb(COLORS[0]) in colors
            assert min(sum(c) for c in colors) < 0.6 * sum(ImageColor.getrgb(COLORS[0])), "strokes are darker"


def test_png_and_svg_agree_on_where_bars_end(picture: Picture) -> None:
    seen = pixels(png(picture, scale=2))
    first = bars(svg(picture))[0]
    middle = int(2 * (float(first.get("y")) + 11))
    blue = np.flatnonzero((seen[middle, : picture.width] == ImageColor.getrgb(COLORS[0])).all(axis=1))
    left, width = (2 * float(first.get(k)) for k in ("x", "width"))
    assert (blue[0], blue[-1] + 1) == (round(left), round(left + width))


def test_all_fillings_differ_in_both() -> None:
    every = [LabeledSpan(i, 2.0 * i, 2.0 * i + 2) for i in range(N_FILLS)]
    picture = layout(timeline([Track("truth", every)], [f"c{i}" for i in range(N_FILLS)], seconds=96), title="all")
    seen = pixels(png(picture))
    swatches = [b for b in picture.boxes if not b.tip and b.fill != EMPTY]
    assert [b.fill for b in swatches] == list(range(N_FILLS))
    cuts = {
        seen[round(2 * b.top) : round(2 * b.bottom), round(2 * b.left) : round(2 * b.right)].tobytes() for b in swatches
    }
    assert len(cuts) == N_FILLS
    patterns = {
        p.get("id"): ET.tostring(p[0]) + ET.tostring(p[1]) for p in ET.fromstring(svg(picture)).iter(f"{SVG}pattern")
    }
    assert len(set(patterns.values())) == len(patterns) == N_FILLS - len(COLORS)
    assert {r.get("fill") for r in bars(svg(picture))} == {*COLORS, *(f"url(#{name})" for name in patterns)}


def test_a_bar_of_one_frame_is_still_seen() -> None:
    short = [LabeledSpan(0, 0.0, 500.0), LabeledSpan(1, 500.0, 500.01), LabeledSpan(0, 500.01, 1000.0)]
    picture = layout(timeline([Track("truth", short)], ["a", "b"], seconds=1000), title="t")
    row = pixels(png(picture, scale=2))[2 * int(picture.boxes[0].top) + 4]
    assert (row == ImageColor.getrgb(COLORS[1])).all(axis=1).sum() == 1


def test_long_names_are_cut_and_all_stays_inside() -> None:
    classes = [f"{'very ' * 30}long {i}" for i in range(3)] + ["短い名前" * 40]
    tracks = [Track("x" * 200, [LabeledSpan(i, float(i), i + 1.0) for i in range(4)], "100.0 %", "")]
    picture = layout(timeline(tracks, classes, seconds=4), title="y" * 300, measure="actions found")
    assert all(0 <= b.left < b.right <= picture.width and b.bottom <= picture.height for b in picture.boxes)
    assert all(t.y < picture.height for t in picture.texts)
    assert sum(t.text.endswith("…") for t in picture.texts) == 6
