"""The page of a map in a real browser: quiet, offline, and everything shown at a point is reached by mouse and keys."""

from __future__ import annotations

import html
import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from vitascope.report import map_page

MADE = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "fake_map.py"))
BROWSER = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--virtual-time-budget=4000",
    "--enable-logging=stderr",
    "--v=0",
)
FRAMES = """<!doctype html><meta charset="utf-8">
{frames}
<pre id="answer"></pre><script>
const ask = async (frame) => {{
  const page = frame.contentDocument, look = frame.contentWindow;
  while (!page.querySelector("#map-main.ready")) await new Promise((done) => setTimeout(done, 50));
  await new Promise((done) => setTimeout(done, 300));
  return ({question})(page, look);
}};
onload = async () => {{
  const answers = [];
  for (const frame of document.querySelectorAll("iframe")) answers.push(await ask(frame).catch(String));
  document.getElementById("answer").textContent = JSON.stringify(answers);
}};
</script>"""
FRAME = (
    '<iframe srcdoc="{page}" style="border:0;display:block;width:{width}px;height:900px;color-scheme:{theme}"></iframe>'
)
QUESTION = """async (page, look) => {
  const frame = () => new Promise((done) => look.requestAnimationFrame(done));
  const pause = async () => { await frame(); await frame(); await new Promise((done) => setTimeout(done, 20)); };
  const card = page.getElementById("map-card"), lens = page.getElementById("map-lens");
  const [first, second] = page.querySelectorAll(".over");
  const at = (kind, canvas, x, y) => {
    const box = canvas.getBoundingClientRect();
    canvas.dispatchEvent(new look.PointerEvent(kind, { bubbles: true, clientX: box.left + x, clientY: box.top + y }));
  };
  const press = async (key) => {
    page.activeElement.dispatchEvent(new look.KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    await pause();
  };
  const seen = {};
  seen.wide = [page.documentElement.scrollWidth, page.documentElement.clientWidth];
  seen.panels = page.querySelectorAll(".map-panel").length;
  const painted = (canvas) => {
    const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
    const context = copy.getContext("2d", { willReadFrequently: true }), colors = new Set();
    context.drawImage(canvas, 0, 0);
    for (const pixel of new Uint32Array(context.getImageData(0, 0, copy.width, copy.height).data.buffer))
      if (pixel) colors.add(pixel);
    return colors;
  };
  const back = page.querySelector(".map-panel canvas");
  seen.colors = painted(back).size;
  const size = first.getBoundingClientRect().width;
  for (let i = 0; i < 400 && card.hidden; i++)
    at("pointermove", first, i % 20 * size / 20, Math.floor(i / 20) * size / 20);
  seen.hover = [card.hidden, card.querySelector("ul").textContent, card.querySelectorAll("ol li").length];
  seen.lines = painted(first).size > 0 && painted(second).size > 0;
  seen.children = card.querySelectorAll("script, img").length;
  at("pointerleave", first, 0, 0);
  seen.left = card.hidden;
  first.matches = (what) => what === ":focus-visible" || Element.prototype.matches.call(first, what);
  first.focus();
  await pause();
  const ids = new Set();
  for (const key of ["", "ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown", "n"]) {
    if (key) await press(key);
    ids.add(card.querySelector("ul i").textContent);
  }
  seen.keys = [card.hidden, ids.size];
  await press("Escape");
  seen.escaped = card.hidden;
  const pixels = () => back.toDataURL();
  const before = pixels();
  await press("+");
  const zoomed = pixels();
  await press("0");
  seen.zoom = [before !== zoomed, pixels() === before];
  const button = page.querySelector("#map-legend li button");
  button.click();
  await pause();
  seen.isolated = [button.getAttribute("aria-pressed"), painted(back).size < seen.colors];
  page.getElementById("map-all").click();
  await pause();
  seen.all = pixels() === before;
  page.getElementById("theme").click();
  await pause();
  seen.theme = pixels() !== before;
  seen.lens = null;
  for (const word of ["video_000000", "video_000001"]) {
    for (let i = 0; i < 1600 && !card.textContent.includes(word); i++)
      at("pointermove", first, i % 40 * size / 40, Math.floor(i / 40) * size / 40);
    if (card.querySelector("ul").textContent.includes(word)) seen.lens = [lens.hidden, lens.width];
  }
  return seen;
}"""
WIDTHS = (320, 768, 1280)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = MADE["fake_map"](tmp_path_factory.mktemp("maps") / "map", pictures=300)
    return map_page.write(folder)


def browse(folder: Path, url: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = [str(BROWSER), *QUIET, f"--user-data-dir={folder / 'profile'}", *more, "--dump-dom", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.fixture(scope="module")
def seen(page: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the page shows and does at three widths; the second in the dark theme."""
    folder = tmp_path_factory.mktemp("browser")
    text = html.escape(page.read_text(encoding="utf-8"))
    themes = ("light", "dark", "light")
    frames = "\n".join(FRAME.format(page=text, width=w, theme=t) for w, t in zip(WIDTHS, themes, strict=True))
    (folder / "frame.html").write_text(FRAMES.format(frames=frames, question=QUESTION), encoding="utf-8")
    found = browse(folder, (folder / "frame.html").as_uri())
    assert "CONSOLE" not in found.stderr, found.stderr[-2000:]
    answer = re.search(r'<pre id="answer">(.*?)</pre>', found.stdout, re.DOTALL)
    assert answer is not None
    assert answer[1], found.stderr[-2000:]
    return list(json.loads(html.unescape(answer[1])))


def test_quiet_and_offline(page: Path, tmp_path: Path) -> None:
    log = tmp_path / "net.json"
    opened = browse(tmp_path, page.as_uri(), f"--log-net-log={log}")
    assert "CONSOLE" not in opened.stderr
    assert re.search(r'id="map-main" class="ready"', opened.stdout), "the points were unpacked"
    requested = set(re.findall(r'"url":"((?:https?|wss?|file):[^"]*)"', log.read_text(encoding="utf-8")))
    assert {url for url in requested if "google" not in url and "gvt1" not in url} <= {page.as_uri()}


def test_fits_and_draws(seen: list[dict[str, Any]]) -> None:
    for width, one in zip(WIDTHS, seen, strict=True):
        assert one["wide"][0] <= one["wide"][1] <= width
        assert one["panels"] == 4
        assert one["colors"] > 20


def test_pointing_shows_class_name_and_neighbors(seen: list[dict[str, Any]]) -> None:
    for one in seen:
        hidden, text, neighbors = one["hover"]
        assert not hidden
        assert "video_" in text
        assert neighbors == 5
        assert one["lines"], "in all maps"
        assert one["children"] == 0, "names are text"
        assert one["left"]


def test_thumbnails(seen: list[dict[str, Any]]) -> None:
    assert any(one["lens"] == [False, 128] for one in seen)


def test_keys_go_from_point_to_point(seen: list[dict[str, Any]]) -> None:
    for one in seen:
        assert one["keys"][0] is False
        assert one["keys"][1] >= 3
        assert one["escaped"]


def test_zoom_legend_and_theme(seen: list[dict[str, Any]]) -> None:
    for one in seen:
        assert one["zoom"] == [True, True]
        assert one["isolated"] == ["true", True]
        assert one["all"]
        assert one["theme"]
