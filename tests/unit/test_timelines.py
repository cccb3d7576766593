"""Bars of labels: what is drawn where, what pointing says, names that hold markup, and what is refused."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from vitascope.report.timelines import MOST, Piece, Track, pieces, svg

SVG = "{http://www.w3.org/2000/svg}"


def bars(text):
    return [r for r in ET.fromstring(text).iter(f"{SVG}rect") if r.get("data-tip")]


def test_pieces():
    assert pieces(np.array([2, 2, 0, -1, -1, 2])) == [Piece(2, 0, 2), Piece(0, 2, 3), Piece(2, 5, 6)]


def test_stretches_lie_where_their_seconds_are():
    truth, said = np.repeat([0, 1, 0], [30, 60, 30]), np.repeat([1, 0], [60, 30])
    found = bars(svg([Track("truth", truth), Track("encoder", said)], ["cut", "peel"], fps=15))
    x, width = ([float(r.get(k)) for r in found] for k in ("x", "width"))
    assert [r.get("data-tip").split("\n") for r in found[1:4]] == [
        ["truth", "peel", "2.0 to 6.0 s"],
        ["truth", "cut", "6.0 to 8.0 s"],
        ["encoder", "peel", "0.0 to 4.0 s"],
    ]
    np.testing.assert_allclose(np.array(width) / width[0], [1, 2, 1, 2, 1], rtol=1e-3)
    assert x[0] == x[3]
    assert max(a + b for a, b in zip(x, width, strict=True)) <= 960
    fills = [r.get("fill") for r in found]
    assert fills[0] == fills[2] == fills[4] != fills[1] == fills[3]


def test_every_class_of_many_has_a_filling_of_its_own_and_a_name():
    labels = np.arange(MOST)
    text = svg([Track("truth", labels)], [f"class {i}" for i in labels], fps=1)
    assert len({r.get("fill") for r in bars(text)}) == MOST == 48
    drawn = re.findall(r'<pattern id="timeline-(\d+)".*?</pattern>', text)
    patterns = {re.sub(r'id="[^"]*"', "", m) for m in re.findall(r"<pattern.*?</pattern>", text)}
    assert len(drawn) == len(patterns) == MOST
    assert all(f">class {i}<" in text for i in labels)


def test_names_are_escaped_and_titles_can_be_left_out():
    tracks = [Track('<b>"me"</b>', np.array([0, 0]))]
    text = svg(tracks, ["<script>"], fps=2)
    assert "<script>" not in text
    assert "<b>" not in text
    assert [t.text for t in bars(text)[0]] == ['<b>"me"</b>\n<script>\n0.0 to 1.0 s']
    assert "<title>" not in svg(tracks, ["<script>"], fps=2, titles=False)


@pytest.mark.parametrize(
    ("tracks", "fps", "said"),
    [
        ([], 15, "no frames to draw: leave it out"),
        ([Track("a", np.zeros(0, np.int64))], 15, "no frames to draw of a: leave it out"),
        ([Track("a", np.array([0, 3]))], 15, "a: label 3, and there are 2 classes, from 0 on"),
        ([Track("a", np.array([0]))], 0.0, "0.0 frames per second: must be positive"),
    ],
)
def test_refused(tracks, fps, said):
    with pytest.raises(ValueError) as error:
        svg(tracks, ["x", "y"], fps=fps)
    assert str(error.value) == said
