"""The report in a real browser: quiet, offline, no wider than a phone, in both themes."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chromium import BROWSER

FAKE = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "fake_run.py"))
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")

SIZE = "[page.documentElement.scrollWidth, page.documentElement.clientWidth]"


def test_no_wider_than_the_window(ask_each: Callable[..., list[Any]]) -> None:
    widths = (320, 390, 1280)
    for width, size in zip(widths, ask_each(SIZE, widths), strict=True):
        assert size[0] <= size[1] <= width


def test_pretraining_fits_the_window_too(ask_each: Callable[..., list[Any]], training: str) -> None:
    heights = "[...page.querySelectorAll('.plot > svg')].map(e => e.getBoundingClientRect().height)"
    widths = (320, 1280)
    for width, (size, high) in zip(widths, ask_each(f"[{SIZE}, {heights}]", widths, training), strict=True):
        assert size[0] <= size[1] <= width
        assert min(high) >= 200


def test_pointing_at_a_run_dims_the_others(ask: Callable[..., Any], training: str) -> None:
    seen = ask(
        """(() => {
          const row = page.querySelector(".legend li[data-row='1']");
          row.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
          const dim = kind => [...page.querySelectorAll(kind)].map(e =>
            [e.closest("g").dataset.row, Number(getComputedStyle(e.closest("g")).opacity)]);
          return [...dim(".trail"), ...dim(".curve")];
        })()""",
        1280,
        training,
    )
    assert {row for row, _ in seen} == {"0", "1", "2", "3", "4"}
    assert all((opacity == 1) == (row == "1") for row, opacity in seen)


def test_wide_tables_scroll_in_their_own_box(ask: Callable[..., Any]) -> None:
    boxes = ask("[...page.querySelectorAll('.scroll')].map(e => [e.scrollWidth, e.clientWidth, e.offsetWidth])", 320)
    assert any(inner > outer for inner, outer, _ in boxes)
    assert all(width <= 320 for _, _, width in boxes)


def test_names_break_after_slash_or_hyphen(ask_each: Callable[..., list[Any]], many: str) -> None:
    broken = ask_each(
        """[...page.querySelectorAll(".scores tbody .name bdi")].flatMap(name => [...name.childNodes]).flatMap(node =>
          [...node.textContent.matchAll(/[^-]+-?/g)].filter(part => {
            const range = page.createRange();
            range.setStart(node, part.index);
            range.setEnd(node, part.index + part[0].length);
            return range.getClientRects().length > 1;
          }).map(part => part[0]))""",
        (390, 1280),
        many,
    )
    assert broken == [["x" * 90]] * 2, "for which there is no room"


def test_a_wide_table_leaves_the_text_column_and_fades_where_it_goes_on(ask: Callable[..., Any], many: str) -> None:
    box, text, window, before, after, stuck = ask(
        """(() => {
          const box = page.querySelector(".scroll");
          const name = box.querySelector("tbody th");
          const at = () => name.getBoundingClientRect().left - box.getBoundingClientRect().left;
          const fades = () => { box.dispatchEvent(new Event("scroll")); return box.className; };
          const before = fades();
          box.scrollLeft = box.scrollWidth;
          const width = e => e.getBoundingClientRect().width;
          return [width(box), width(page.querySelector("h2")), page.documentElement.clientWidth, before, fades(), at()];
        })()""",
        1280,
        many,
    )
    assert text < box <= window
    assert (before, after) == ("scroll broad cut", "scroll broad slid")
    assert stuck == 0


def test_themes_differ_and_the_button_turns_them(ask: Callable[..., Any]) -> None:
    first, second, third = ask(
        """(() => {
          const ground = () => page.defaultView.getComputedStyle(page.body).backgroundColor;
          const seen = [ground()];
          for (let i = 0; i < 2; i++) { page.getElementById("theme").click(); seen.push(ground()); }
          return seen;
        })()"""
    )
    assert first != second
    assert first == third


def test_clicking_a_heading_sorts(ask: Callable[..., Any]) -> None:
    orders = ask(
        """(() => {
          const table = page.querySelector(".scores");
          const heads = table.tHead.rows[table.tHead.rows.length - 1].cells;
          const order = () => [...table.tBodies[0].rows].map(r => Number(r.cells[2].dataset.value));
          const seen = [order()];
          for (let i = 0; i < 2; i++) { heads[2].click(); seen.push(order()); }
          return seen;
        })()"""
    )
    assert orders[1] == sorted(orders[0], reverse=True)
    assert orders[2] == sorted(orders[0])
    assert orders[0] not in orders[1:]


def test_pointing_shows_the_numbers_as_text(ask: Callable[..., Any]) -> None:
    tip = ask(
        """(() => {
          const strips = [...page.querySelectorAll(".tall .strip[data-tip]")];
          const strip = strips.find(e => e.dataset.tip.startsWith("<script>"));
          const place = {bubbles: true, clientX: 5, clientY: 5};
          strip.dispatchEvent(new page.defaultView.PointerEvent("pointermove", place));
          const tip = page.getElementById("tip");
          return [tip.hidden, tip.textContent, tip.children.length];
        })()"""
    )
    assert tip[0] is False
    assert tip[1].startswith(FAKE["NASTY"])
    assert "vit/small" in tip[1]
    assert tip[2] == 0


def test_chance_is_drawn_where_its_value_is(ask: Callable[..., Any]) -> None:
    ticks, lines, labels = ask(
        """(() => {
          const plot = page.querySelector("figure .canvas");
          const x = e => Number(e.getAttribute("x1").replace("%", ""));
          const grid = [...plot.querySelectorAll(".gridline")].filter(e => e.getAttribute("y2") === "100%");
          const texts = [...plot.querySelectorAll(".tick")];
          return [[grid.length, x(grid[grid.length - 1]), Number(texts[grid.length - 1].textContent)],
                  [...plot.querySelectorAll(".chance")].map(x), texts.filter(e => e.textContent === "chance").length];
        })()"""
    )
    assert labels == len(lines) == 2
    assert lines[0] == pytest.approx(ticks[1] * (100 / 12) / ticks[2], abs=0.01), (
        "one in twelve, on a scale from nought"
    )


def test_labels_of_the_scatter_stay_inside(ask: Callable[..., Any]) -> None:
    outside = ask(
        """(() => {
          const box = page.querySelector("figure").getBoundingClientRect();
          return [...page.querySelectorAll("figure .label")].map(e => e.getBoundingClientRect())
            .filter(r => r.left < box.left || r.right > box.right || r.top < box.top || r.bottom > box.bottom).length;
        })()""",
        1280,
    )
    assert outside == 0


def test_variants_fit_their_window_and_curves_pass_through_their_marks(
    ask_each: Callable[..., list[Any]], variants: str
) -> None:
    widths = (320, 1280)
    found = ask_each(
        """(() => {
          const root = page.documentElement;
          const plots = [...page.querySelectorAll(".curves")];
          const far = plots.flatMap(plot => [...plot.querySelectorAll("polyline.curve:not(.rest)")].flatMap(line => {
            const at = line.getScreenCTM();
            const marks = [...plot.querySelectorAll(`g[data-row="${line.parentNode.dataset.row}"] .mark`)];
            return [...line.points].map((point, i) => {
              const drawn = point.matrixTransform(at);
              const box = marks[i].getBoundingClientRect();
              return Math.hypot(drawn.x - box.x - box.width / 2, drawn.y - box.y - box.height / 2);
            });
          }));
          const motion = [...page.querySelectorAll(".panel .value")].map(e => e.getBoundingClientRect());
          return [root.scrollWidth, plots.length, [Math.max(...far), Math.max(...motion.map(box => box.right))]];
        })()""",
        widths,
        variants,
    )
    for width, (size, seen, off) in zip(widths, found, strict=True):
        assert size <= width
        assert seen == 6
        assert off[0] < 3, "pixels between the line and the middle of its mark"
        assert off[1] <= width


def test_bars_lie_below_one_another_and_inside(ask_each: Callable[..., list[Any]], moments: str) -> None:
    widths = (320, 1280)
    found = ask_each(
        """(() => {
          const off = Math.max(...[...page.querySelectorAll(".timeline")].flatMap(video => {
            const rows = [...video.querySelectorAll(".strip > svg")].map(svg => svg.getBoundingClientRect());
            return rows.map(r => Math.abs(r.left - rows[0].left) + Math.abs(r.right - rows[0].right));
          }));
          const bars = [...page.querySelectorAll(".timeline rect[data-tip]")];
          const out = bars.filter(bar => {
            const inner = bar.getBoundingClientRect(), outer = bar.parentNode.getBoundingClientRect();
            return inner.left < outer.left - 1 || inner.right > outer.right + 1 || inner.bottom > outer.bottom + 1;
          });
          return [page.documentElement.scrollWidth, off, bars.length, out.length];
        })()""",
        widths,
        moments,
    )
    for width, (size, off, bars, out) in zip(widths, found, strict=True):
        assert size <= width
        assert off < 0.1, "pixels between the ends of the rows of a video"
        assert bars > 500
        assert out == 0


def test_pointing_at_a_bar_shows_row_class_and_time(ask: Callable[..., Any], moments: str) -> None:
    hidden, text, children, fill = ask(
        """(() => {
          const bar = [...page.querySelectorAll(".timeline rect[data-tip]")].find(e => e.dataset.tip.includes("alert"));
          bar.dispatchEvent(new page.defaultView.PointerEvent("pointermove", {bubbles: true, clientX: 5, clientY: 5}));
          const tip = page.getElementById("tip");
          return [tip.hidden, tip.textContent, tip.children.length, page.defaultView.getComputedStyle(bar).fill];
        })()""",
        1280,
        moments,
    )
    assert not hidden
    assert re.fullmatch(r"ground truth\n<script>alert\(1\)</script> & \\u202eco\n\d+\.\d to \d+\.\d s", text)
    assert children == 0
    assert fill


SHOWN = """[page.documentElement.scrollWidth - page.documentElement.clientWidth,
  [...page.querySelectorAll(".keyframe > svg")].map(svg => Math.round(svg.getBoundingClientRect().width * 3
    - svg.getBoundingClientRect().height * 4)),
  [...page.querySelectorAll(".keyframe use")].map(use => Math.round(use.getBBox().width))]"""


def test_keyframes_fit_any_window_and_show_their_pictures(ask_each: Callable[..., list[Any]], actors: str) -> None:
    for wider, shapes, pictures in ask_each(SHOWN, (320, 1280), actors):
        assert wider <= 0
        assert shapes
        assert all(abs(shape) <= 4 for shape in shapes), "4 to 3, as the frames"
        assert pictures
        assert set(pictures) == {360}
