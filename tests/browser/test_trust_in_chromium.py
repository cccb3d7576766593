"""Data cards, costs, the gallery and the board in a real browser: quiet, offline, at three widths, in both themes."""

from __future__ import annotations

import runpy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chromium import Browser
from helpers import write_video
from vitascope import report
from vitascope.evaluation.results import RESULTS, append, read, read_predictions, write_predictions

FAKE = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "fake_run.py"))
WIDTHS = (320, 760, 1280)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose results tell costs, data and the files of videos."""
    folder = tmp_path_factory.mktemp("told")
    made, run = FAKE["fake_run"](folder / "made"), folder / "run"
    frames = np.repeat(np.arange(10) * 20, 48 * 64 * 3).reshape(10, 48, 64, 3).astype(np.uint8)
    video = str(write_video(folder / "v.mp4", frames))
    for place, one in enumerate(read(made)):
        columns = read_predictions(made / one.predictions)
        write_predictions(run / one.predictions, {**columns, "path": [video] * len(columns["id"])})
        data: dict[str, Any] = {
            "examples": 500,
            "tested": 240,
            "lengths": {"of": "clips", "count": 240, "quartiles": [1.0, 2.0, 3.0, 4.0, 9.0], "histogram": [3, 9, 1]},
            "tested_classes": [10 + c for c in range(len(one.settings["classes"]))],
            "folds": [{"name": "f", "train": 260, "test": 240}] * 2,
            "fold_count": 2,
        }
        cost = {"clips": 1.0, "bytes": 800.0 * (place + 1), "gflops": 5.0 + place, "encoded": 240}
        append(run, replace(one, data=data, cost=cost, folds=({"top-1": 40.0}, {"top-1": 55.0})))
    return run


@pytest.fixture(scope="module")
def page(told: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its report, all details open."""
    page = tmp_path_factory.mktemp("page") / "report.html"
    text = report.write(told, formats=["html"])["html"].read_text(encoding="utf-8")
    page.write_text(text.replace("<details", "<details open"), encoding="utf-8")
    return page


FITS = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
SHOWN = "[...document.querySelectorAll('.by-cost')].map(e => getComputedStyle(e).display !== 'none')"
OUTSIDE = """[...document.querySelectorAll('#data *, #cost *, #failures *')].filter(e => {
  const box = e.getBoundingClientRect();
  return !e.closest('.scroll, .loop, .tall') && box.width && box.right > innerWidth + 1;
}).length"""


def test_sections_fit_and_cost_is_chosen_without_a_script(browser: Browser, page: Path) -> None:
    for dark in (False, True):
        with browser.tab(page, width=WIDTHS[0], dark=dark) as tab:
            for width in WIDTHS:
                tab.resize(width)
                assert tab.ask(FITS)
                assert tab.ask(OUTSIDE) == 0
            assert tab.ask(SHOWN) == [True, False, False]
            tab.ask("document.getElementById('cost-bytes').click()")
            assert tab.ask(SHOWN) == [False, False, True]
            assert tab.errors() == []
            assert tab.requests() == {page.as_uri()}


MOVING = "getComputedStyle(document.querySelector('.loop img'))"


def test_loops_move_hold_still_and_stay_in_their_frames(browser: Browser, page: Path) -> None:
    with browser.tab(page) as tab:
        width, height = tab.ask(
            "(box => [box.width, box.height])(document.querySelector('.loop').getBoundingClientRect())"
        )
        assert width / height == pytest.approx(64 / 48, rel=0.02)
        loaded = "(e => e.decode().then(() => e.naturalWidth))(document.querySelector('.loop img'))"
        assert tab.ask(loaded) == 8 * 128
        assert tab.ask(f"[{MOVING}.animationName, {MOVING}.animationPlayState]") == ["loop", "running"]
        tab.ask("document.getElementById('still').click()")
        assert tab.ask(f"{MOVING}.animationPlayState") == "paused"
        tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
        assert tab.ask(f"{MOVING}.animationName") == "none"


TABLE = "document.querySelector('.ranks')"
ROWS = f"[...{TABLE}.tBodies[0].rows].filter(r => r.getClientRects().length).length"


def test_the_board_fits_sorts_and_filters_by_run(browser: Browser, told: Path, tmp_path: Path) -> None:
    again = tmp_path / "<b>again"
    shutil.copytree(told, again)
    (again / RESULTS).unlink()
    for one in read(told)[:4]:
        append(again, one)
    path = report.write_board([told, again], tmp_path / "site")["html"]
    for dark in (False, True):
        with browser.tab(path, width=WIDTHS[0], dark=dark) as tab:
            for width in WIDTHS:
                tab.resize(width)
                assert tab.ask(FITS), width
            assert tab.ask(ROWS) == 6
            tab.ask("[...document.querySelectorAll('[data-filter=run] input')][1].click()")
            assert tab.ask(ROWS) == 3
            orders = []
            for _ in range(2):
                tab.ask(f"{TABLE}.tHead.rows[0].cells[2].click()")
                orders.append(tab.ask(f"[...{TABLE}.tBodies[0].rows].map(r => Number(r.cells[2].dataset.value))"))
            assert orders == [sorted(orders[0], reverse=True), sorted(orders[0])]
            assert tab.errors() == []
            assert tab.requests() == {path.as_uri()}
