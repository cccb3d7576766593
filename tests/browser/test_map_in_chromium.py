"""The page of a map in a real browser: quiet, offline, and everything shown at a point is reached by mouse and keys."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chromium import BROWSER, Browser, Tab
from vitascope.report import map_page

MADE = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "fake_map.py"))
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
WIDTHS = (320, 768, 1280)
POINTS = 300
READY = """(async () => {
  while (!document.querySelector("#map-main.ready")) await new Promise((done) => setTimeout(done, 20));
  await painted();
})()"""
HELP = """
window.painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 20)));
window.card = document.getElementById("map-card");
window.colors = (canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height), seen = new Set();
  for (let i = 0; i < data.length; i += 4) if (data[i + 3]) seen.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]);
  return seen.size;
};
window.pixels = () => document.querySelector(".map-panel canvas").toDataURL();
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = MADE["fake_map"](tmp_path_factory.mktemp("maps") / "map", n=POINTS, pictures=POINTS)
    return map_page.write(folder)


@pytest.fixture(scope="module", params=[False, True], ids=["light", "dark"])
def tab(browser: Browser, page: Path, request: pytest.FixtureRequest) -> Iterator[Tab]:
    with browser.tab(page, dark=request.param) as opened:
        opened.ask(HELP)
        opened.ask(READY)
        yield opened


@pytest.fixture(autouse=True)
def at_the_first_map(tab: Tab) -> None:
    """The whole first map in a wide window, all of it shown, nothing pointed at."""
    tab.resize(1280)
    move(tab, 2, 2)
    tab.ask("document.activeElement.blur()")
    tab.ask("document.querySelector('.over').scrollIntoView({ block: 'center' }); painted()")


def move(tab: Tab, x: float, y: float) -> None:
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)


def place_of_a_marker(tab: Tab) -> tuple[float, float]:
    """Where the first map has a marker: its pixel, farthest from white and black, in the window."""
    x, y = tab.ask("""(() => {
      const canvas = document.querySelector(".map-panel canvas"), box = canvas.getBoundingClientRect();
      const { data, width } = canvas.getContext("2d").getImageData(0, 60, canvas.width, canvas.height - 60);
      let best = 0, most = -1;
      for (let i = 0; i < data.length; i += 4) {
        const strong = Math.max(data[i], data[i + 1], data[i + 2]) - Math.min(data[i], data[i + 1], data[i + 2]);
        if (strong > most) { most = strong; best = i / 4; }
      }
      const ratio = canvas.width / box.width;
      return [box.left + best % width / ratio, box.top + (60 + Math.floor(best / width)) / ratio];
    })()""")
    return float(x), float(y)


def shown(tab: Tab) -> dict[str, Any]:
    """The card of the point that is pointed at."""
    found: dict[str, Any] = tab.ask("""painted().then(() => ({
      there: !card.hidden,
      name: card.querySelector("ul i")?.textContent ?? "",
      neighbors: card.querySelectorAll("ol li").length,
      elements: card.querySelectorAll("script, img").length,
      picture: document.getElementById("map-lens").hidden ? 0 : document.getElementById("map-lens").width,
      lines: [...document.querySelectorAll(".over")].map((canvas) => colors(canvas) > 0),
      box: (({ left, top, right, bottom }) => [left, top, right, bottom])(card.getBoundingClientRect()),
    }))""")
    return found


def test_quiet_offline_and_in_the_window(tab: Tab, page: Path) -> None:
    for width in WIDTHS:
        tab.resize(width)
        inner, outer = tab.ask("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert inner <= outer <= width
    assert tab.ask("document.querySelectorAll('.map-panel').length") == 4
    assert tab.ask("painted().then(() => colors(document.querySelector('.map-panel canvas')))") > 20
    assert tab.errors() == []
    assert tab.requests() == {page.as_uri()}


@pytest.mark.parametrize("width", [390, 1280])
def test_pointing_shows_picture_name_and_neighbors_beside_the_point(tab: Tab, width: int) -> None:
    tab.resize(width)
    tab.ask("document.querySelector('.over').scrollIntoView({ block: 'center' }); painted()")
    x, y = place_of_a_marker(tab)
    move(tab, x, y)
    seen = shown(tab)
    assert seen["there"]
    assert "/video_" in seen["name"]
    assert seen["neighbors"] == 5
    assert seen["picture"] == 128
    assert seen["elements"] == 0, "names are text"
    assert all(seen["lines"]), "in all maps"
    left, top, right, bottom = seen["box"]
    assert 0 <= left < right <= width
    assert not (left <= x <= right and top <= y <= bottom), "the card hides the point"
    move(tab, 2, 2)
    assert not shown(tab)["there"]


def test_keys_go_from_point_to_point(tab: Tab) -> None:
    tab.ask("document.querySelector('#map-legend li:last-child button').focus()")
    tab.ask("document.querySelector('.over').focus({ focusVisible: true })")
    names = [shown(tab)["name"]]
    for key in ("ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown", "n"):
        tab.press(key, text=key if key == "n" else "")
        names.append(shown(tab)["name"])
    assert all(names)
    assert len(set(names)) >= 3
    tab.press("Escape")
    assert not shown(tab)["there"]


def test_zoom_and_reset(tab: Tab) -> None:
    before = tab.ask("pixels()")
    for key, same in (("+", False), ("0", True)):
        tab.ask(f"document.querySelector('[data-key=\"{key}\"]').click()")
        assert (tab.ask("painted().then(pixels)") == before) is same


def test_a_class_of_the_legend_is_shown_alone(tab: Tab) -> None:
    before = tab.ask("pixels()")
    count = tab.ask("colors(document.querySelector('.map-panel canvas'))")
    assert tab.ask("""(() => {
      const button = document.querySelector("#map-legend li button");
      button.click();
      return [button.getAttribute("aria-pressed"), document.querySelectorAll("[aria-pressed=true]").length];
    })()""") == ["true", 1]
    assert tab.ask("painted().then(() => colors(document.querySelector('.map-panel canvas')))") < count
    tab.ask("document.getElementById('map-all').click()")
    assert tab.ask("painted().then(pixels)") == before


def test_the_other_theme_and_back(tab: Tab) -> None:
    before = tab.ask("pixels()")
    for same in (False, True):
        tab.ask("document.getElementById('theme').click()")
        assert (tab.ask("painted().then(pixels)") == before) is same
