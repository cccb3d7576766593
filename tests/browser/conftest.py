"""One browser for all tests of pages, and reports to open in it."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from chromium import BROWSER, Browser
from vitascope import report

FIXTURES = Path(__file__).parents[1] / "fixtures"
FAKE = runpy.run_path(str(FIXTURES / "fake_run.py"))
TASKS = tuple((f"made/{name}", "knn", "motion", ("up", "down")) for name in "abcdefghijklmnop")
NAMES = ("pixels/motion-energy", "pixels/thumbnail", "x" * 90)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if BROWSER is None:
        pytest.skip("no chromium on this machine")
    started = Browser(tmp_path_factory.mktemp("browser"))
    yield started
    started.close()


def text_of(run: Path) -> str:
    return report.write(run, formats=["html"])["html"].read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of more tasks than a window shows side by side."""
    skills = {name: {"motion": 0.6 + place / 20} for place, name in enumerate(NAMES)}
    return text_of(
        FAKE["fake_run"](tmp_path_factory.mktemp("runs") / "many", skills=skills, tasks=TASKS, n=24, odd=False)
    )


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return text_of(FAKE["fake_run"](tmp_path_factory.mktemp("runs") / "run"))


@pytest.fixture(scope="session")
def actors(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of boxes of actors, with keyframes and published scores."""
    made = runpy.run_path(str(FIXTURES / "fake_actors.py"))
    return text_of(made["fake_actors"](tmp_path_factory.mktemp("runs") / "actors", dataset="ava"))


@pytest.fixture(scope="session")
def training(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of pretraining runs."""
    made = runpy.run_path(str(FIXTURES / "fake_training.py"))
    return text_of(made["fake_training"](tmp_path_factory.mktemp("runs") / "tiny", steps=2000, every=200))


@pytest.fixture(scope="session")
def variants(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of a run with all variants."""
    return text_of(FAKE["fake_variants"](tmp_path_factory.mktemp("runs") / "variants", n=120))


@pytest.fixture(scope="session")
def moments(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of temporal tasks."""
    made = runpy.run_path(str(FIXTURES / "fake_moments.py"))
    return text_of(made["fake_moments"](tmp_path_factory.mktemp("runs") / "moments", videos=5, seconds=60.0))


@pytest.fixture
def ask_each(browser: Browser, page: str, tmp_path: Path) -> Callable[..., list[Any]]:
    """The values of a JavaScript expression over `page`, a report in windows of some widths, all details open."""

    def values(question: str, widths: Sequence[int], text: str = page) -> list[Any]:
        path = tmp_path / "report.html"
        path.write_text(text.replace("<details", "<details open"), encoding="utf-8")
        found = []
        with browser.tab(path, width=widths[0]) as tab:
            for width in widths:
                tab.resize(width)
                found.append(tab.ask(f"(page => {question})(document)"))
        return found

    return values


@pytest.fixture
def ask(ask_each: Callable[..., list[Any]], page: str) -> Callable[..., Any]:
    """The same in a window of one width."""
    return lambda question, width=390, text=page: ask_each(question, [width], text)[0]
