"""The report as people use it: filters, folds, sorting, permalinks, keyboard, paper, saved figures, hostile names."""

from __future__ import annotations

import base64
import importlib.util
import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from chromium import BROWSER, Browser, Tab
from vitascope import report

FAKE = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "fake_run.py"))
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
WIDTHS = (390, 768, 1280)
HURT = '<img src=x onerror="window.hurt=1">'
ENCODERS = ("tiny/twlv1", HURT, "\"quoted\" 'too' & co", "\u202eturned/round", "שלום/עולם", "w" * 120, "a]b{c}:not(*)")
DATASETS = ("motionlab/appearance", f"still {HURT}", "motionlab/motion")
PROBES = ("knn", "linear", "attentive+time=learned+layers=all")
CHECKS = (Path(__file__).parent / "checks.js").read_text(encoding="utf-8")
SIZE = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
OPEN_ALL = "document.querySelectorAll('details').forEach(part => { part.open = true; })"


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of nine tasks, of encoders, datasets and probes with names that would do harm."""
    skills = {name: {"appearance": 0.3 + place / 12, "motion": 0.9 - place / 12} for place, name in enumerate(ENCODERS)}
    tasks = [
        (dataset, probe, "motion" if "motion" in dataset.split("/")[-1] else "appearance", ("up", HURT, "\u202edown"))
        for dataset in DATASETS
        for probe in PROBES
    ]
    run = FAKE["fake_run"](tmp_path_factory.mktemp("runs") / "nine", skills=skills, tasks=tasks, n=30, odd=False)
    return report.write(run, formats=["html"])["html"]


@pytest.fixture
def tab(browser: Browser, nine: Path) -> Iterator[Tab]:
    with browser.tab(nine) as opened:
        yield opened


def texts(tab: Tab, what: str) -> list[str]:
    """Texts of the elements that are shown."""
    question = (
        "[...document.querySelectorAll({})].filter(e => e.getClientRects().length).map(e => e.textContent.trim())"
    )
    return list(tab.ask(question.format(repr(what))))


def view(tab: Tab) -> Any:
    """What a link should restore."""
    return tab.ask(
        """[[...document.querySelectorAll("#main-table tbody tr")].filter(e => e.getClientRects().length)
              .map(e => e.textContent.replace(/\\s+/g, " ")),
            [...document.querySelectorAll("#main-table th")].filter(e => e.getClientRects().length)
              .map(e => e.textContent),
            [...document.querySelectorAll("#filters input")].map(e => e.checked),
            [...document.querySelectorAll("details[id]")].map(e => e.open),
            [...document.querySelectorAll("[aria-sort]")].map(e => [e.cellIndex, e.getAttribute("aria-sort")])]"""
    )


@pytest.mark.parametrize("dark", [False, True])
def test_in_both_themes_it_is_quiet_legible_and_names_do_nothing(browser: Browser, nine: Path, dark: bool) -> None:
    with browser.tab(nine, dark=dark) as tab:
        tab.ask(OPEN_ALL)
        for width in WIDTHS:
            tab.resize(width)
            inner, outer = tab.ask(SIZE)
            assert inner <= outer <= width
        assert tab.errors() == []
        assert tab.requests() == {nine.as_uri()}
        assert tab.ask("[typeof window.hurt, document.querySelectorAll('img, iframe, object').length]") == [
            "undefined",
            0,
        ]
        assert HURT in texts(tab, "#main-table tbody bdi"), "the name is shown as it is"
        found = tab.ask(CHECKS)
    assert found["read"] > 500
    assert found["pale"] == [], "4.5 to 1 for text, as WCAG 2 AA asks"
    assert (found["nameless"], found["tables"], found["repeated"], found["jumps"]) == ([], [], [], [])
    assert found["landmarks"] == [1, 1, 1, 1, 1]


@pytest.mark.parametrize("kind", ["page", "variants", "moments", "actors", "training"])
def test_every_kind_of_page_is_quiet(
    browser: Browser, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    path = tmp_path / "report.html"
    path.write_text(request.getfixturevalue(kind), encoding="utf-8")
    with browser.tab(path, width=768, dark=True) as tab:
        tab.ask(OPEN_ALL)
        found = tab.ask(CHECKS)
        assert tab.errors() == []
        assert tab.requests() == {path.as_uri()}
        inner, outer = tab.ask(SIZE)
        assert inner <= outer
        assert {name: found[name] for name in ("pale", "nameless", "tables", "repeated", "jumps")} == {
            "pale": [], "nameless": [], "tables": [], "repeated": [], "jumps": [],
        }  # fmt: skip


def test_the_first_screen_answers_and_the_table_of_nine_tasks_fits(tab: Tab) -> None:
    plot, table, inner, outer = tab.ask(
        """(() => {
          const top = what => document.querySelector(what).getBoundingClientRect();
          const box = document.querySelector("#main-table").parentElement;
          return [top("#axes .canvas").bottom, top("#main-table").top, box.scrollWidth, box.clientWidth];
        })()"""
    )
    assert plot <= 900 < table, "appearance against motion, in a window of 1280 by 900"
    assert inner <= outer
    assert texts(tab, ".datasets th bdi")[0] == "motionlab/appearance"
    assert texts(tab, "#main-table thead tr:last-child th small")[0] == "time=learned layers=all"
    tall = tab.ask("[...document.querySelectorAll('#main-table td b')].map(e => e.getClientRects().length)")
    assert set(tall) == {1}, "one line a score"


def test_names_of_classes_are_whole(tab: Tab) -> None:
    tab.ask(OPEN_ALL)
    cut = tab.ask(
        """[...document.querySelectorAll(".strip .of bdi")].filter(e =>
             e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.parentElement.clientHeight + 6).length"""
    )
    assert cut == 0


def test_filters_hide_an_encoder_everywhere_and_a_dataset_with_its_columns(tab: Tab) -> None:
    before = texts(tab, "#main-table tbody th")
    boxes = "[...document.querySelectorAll('#filters input')]"
    for name in (HURT, f"still {HURT}", PROBES[2]):
        assert tab.ask(f"{boxes}.find(e => e.name === {name!r}).click()") is None
    assert texts(tab, "#main-table tbody th") == [name for name in before if name != HURT]
    assert (
        tab.ask("[...document.querySelectorAll('main [data-row=\"1\"]')].some(e => e.getClientRects().length)") is False
    )
    assert texts(tab, ".datasets th bdi") == ["motionlab/appearance", "mean", "motionlab/motion", "mean", "3 datasets"]
    assert tab.ask("document.querySelector('.datasets th').colSpan") == 2
    assert texts(tab, "#main-table thead tr:last-child th .sort")[1:3] == ["knn", "linear"]
    assert texts(tab, ".task > summary") != []
    assert not any(HURT in text for text in texts(tab, ".task > summary"))
    wide = tab.ask(
        """[...document.querySelectorAll('#main-table tr')].map(r =>
             [...r.cells].filter(c => !c.hidden).reduce((n, c) => n + c.colSpan, 0))"""
    )
    assert len(set(wide)) == 1, "every row has as many columns"
    assert "showing 6 of 7 encoders, 2 of 3 datasets, 2 of 3 probes" in texts(tab, "#filters summary i")[0]
    tab.ask("document.querySelector('#filters summary button').click()")
    assert texts(tab, "#main-table tbody th") == before
    assert tab.ask("location.hash") in ("", "#")


def test_every_column_sorts(tab: Tab) -> None:
    count = tab.ask("document.querySelectorAll('#main-table thead tr:last-child th').length")
    values = "[...document.querySelectorAll('#main-table tbody tr')].map(r => Number(r.cells[{}].dataset.value))"
    for column in range(1, count):
        tab.ask(f"document.querySelectorAll('#main-table .sort')[{column}].click()")
        first = tab.ask(values.format(column))
        assert first == sorted(first, reverse=True)
        assert tab.ask(
            "[...document.querySelectorAll('#main-table [aria-sort]')].map(e => [e.cellIndex, e.ariaSort])"
        ) == [[column, "descending"]]
    tab.ask("document.querySelectorAll('#main-table .sort')[0].click()")
    names = texts(tab, "#main-table tbody th")
    assert names == tab.ask(f"[...{names!r}].sort((a, b) => a.localeCompare(b))")


def test_tables_of_text_sort_by_numbers(ask: Callable[..., Any], variants: str) -> None:
    found = ask(
        """(() => {
          const tables = [...page.querySelectorAll("table.numbers")].filter(t => t.querySelector(".sort"));
          return tables.map(table => {
            const heads = [...table.tHead.rows[0].cells];
            heads[heads.length - 1].querySelector(".sort").click();
            const column = [...table.tBodies[0].rows].map(r => r.cells[heads.length - 1].textContent);
            return [heads[heads.length - 1].textContent, column, heads[heads.length - 1].ariaSort];
          });
        })()""",
        1280,
        variants,
    )
    assert found
    for _, column, order in found:
        numbers = [float(m[0].replace("−", "-")) for text in column if (m := re.match(r"[-+−]?\d+(\.\d+)?", text))]
        if len(numbers) == len(column):
            assert order == "descending"
            assert numbers == sorted(numbers, reverse=True)


def test_a_dataset_folds_to_a_narrow_column(tab: Tab) -> None:
    width = "document.querySelector('.datasets th').getBoundingClientRect().width"
    before = tab.ask(width)
    assert tab.ask("document.querySelector('.fold').getAttribute('aria-label')") == "fold motionlab/appearance"
    tab.ask("document.querySelector('.fold').click()")
    assert tab.ask(width) < before / 3
    assert tab.ask("[document.querySelector('.fold').ariaExpanded, document.querySelector('.fold').ariaLabel]") == [
        "false", "unfold motionlab/appearance",
    ]  # fmt: skip
    assert texts(tab, "#main-table tfoot td")[1] == texts(tab, "#main-table tfoot td")[2], (
        "the rest stays in its columns"
    )
    tab.ask("document.querySelector('.fold').click()")
    assert tab.ask(width) == before


def test_a_link_restores_the_view(browser: Browser, nine: Path, tab: Tab) -> None:
    untouched = view(tab)
    tab.ask(
        """document.querySelectorAll("#filters input")[1].click();
           document.querySelectorAll("#filters input")[8].click();
           document.querySelectorAll(".fold")[0].click();
           document.querySelectorAll("#main-table .sort")[2].click();
           document.querySelector("#task-2").open = true;
           document.querySelector("#scores h2 .anchor").click();"""
    )
    tab.ask("new Promise(done => setTimeout(done, 30))")
    shown, address = view(tab), tab.ask("location.hash")[1:]
    assert shown != untouched
    with browser.tab(nine, at=address) as other:
        assert view(other) == shown
        assert abs(other.ask("document.querySelector('#scores').getBoundingClientRect().top")) < 20
        other.ask("location.hash = 'at=tasks'")
        other.ask("new Promise(done => setTimeout(done, 30))")
        assert view(other) == untouched, "another address, another view"


def test_an_address_that_says_nothing_does_nothing(browser: Browser, nine: Path, tab: Tab) -> None:
    plain = view(tab)
    for at in (
        "without-row=nobody&sort=main-table+99+x&fold=%E0%A4%A", "%3Cimg%20src=x%3E", "%E0%A4%A", "at=%00&open=main",
    ):  # fmt: skip
        with browser.tab(nine, at=at) as other:
            assert view(other) == plain, at
            assert other.errors() == [], at


def test_a_plain_address_leads_to_a_part_that_is_folded(browser: Browser, nine: Path) -> None:
    with browser.tab(nine, at="task-5") as tab:
        assert tab.ask("document.getElementById('task-5').open")
        assert abs(tab.ask("document.getElementById('task-5').getBoundingClientRect().top")) < 20


def test_by_keyboard(tab: Tab) -> None:
    focused = """(at => [at.getAttribute("class") || at.localName, getComputedStyle(at).outlineStyle])(
      document.activeElement)"""
    tab.press("Tab", code=9)
    assert tab.ask(focused) == ["skip", "solid"]
    tab.press("Enter", code=13, text="\r")
    assert tab.ask("document.activeElement.id") == "main"
    reached, lost = [], []
    for _ in range(60):
        tab.press("Tab", code=9)
        name, outline = tab.ask(focused)
        reached.append(name)
        lost += [name] * (outline == "none")
    assert lost == [], "what has the focus shows it"
    assert {"point c0", "sort", "fold"} <= {*reached}
    tab.ask("document.querySelector('#main-table tbody td[data-tip]').focus()")
    here = "[document.activeElement.parentElement.rowIndex, document.activeElement.cellIndex]"
    row, cell = tab.ask(here)
    for key, moved in (
        ("ArrowRight", [row, cell + 1]),
        ("ArrowDown", [row + 1, cell + 1]),
        ("ArrowLeft", [row + 1, cell]),
    ):
        tab.press(key)
        assert tab.ask(here) == moved
        assert not tab.ask("document.getElementById('tip').hidden"), "the tooltip is that of the focus"
    assert tab.ask("document.getElementById('tip').textContent === document.activeElement.dataset.tip")
    tab.press("Escape")
    assert tab.ask("document.getElementById('tip').hidden")


SAVED = """new Promise(done => {
  HTMLAnchorElement.prototype.click = function () { done([this.href, this.download]); };
  document.querySelector('.save button[aria-label="Save %s as %s"]').click();
})"""


@pytest.mark.parametrize("figure", ["appearance-against-motion", "averages"])
def test_a_figure_is_saved_as_plain_svg(browser: Browser, nine: Path, figure: str) -> None:
    saved = []
    for dark in (False, True):
        with browser.tab(nine, dark=dark) as tab:
            address, name = tab.ask(SAVED % (figure, "SVG"))
            assert name == f"{figure}.svg"
            saved.append(unquote(address.partition(",")[2]))
    assert saved[0] == saved[1], "for paper, whatever the theme"
    root = ElementTree.fromstring(saved[0])
    tags = {element.tag.partition("}")[2] for element in root.iter()}
    assert tags <= {"svg", "rect", "line", "circle", "path", "text", "defs", "pattern"}
    assert not {"class", "style"} & {name for element in root.iter() for name in element.attrib}
    words = ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "tiny/twlv1" in words
    assert any(HURT[:12] in text for text in words)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for element in root.iter("{http://www.w3.org/2000/svg}text"):
        assert -20 <= float(element.attrib["x"]) <= width
        assert 0 <= float(element.attrib["y"]) <= height


def test_a_figure_is_saved_as_png(tab: Tab) -> None:
    address, name = tab.ask(SAVED % ("averages", "PNG"))
    assert name == "averages.png"
    content = base64.b64decode(address.partition(",")[2])
    assert content.startswith(b"\x89PNG")
    wide, box = (
        int.from_bytes(content[16:20], "big"),
        tab.ask("document.querySelector('[data-figure=averages]').offsetWidth"),
    )
    assert wide == 2 * (box + 24), "two pixels per pixel, and a margin"
    assert tab.errors() == []


def test_on_paper_nothing_is_cut_and_nothing_is_folded(tab: Tab) -> None:
    tab.call("Emulation.setEmulatedMedia", media="print")
    tab.resize(1032)
    tab.ask("dispatchEvent(new Event('beforeprint'))")
    boxes = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    assert tab.ask(boxes) == 0
    assert tab.ask(SIZE)[0] <= 1032
    assert tab.ask("[...document.querySelectorAll('main details:not([open])')].every(e => e.closest('#settings'))")
    assert "Folded here" in tab.ask("getComputedStyle(document.querySelector('#settings details'), '::after').content")
    tab.ask("dispatchEvent(new Event('afterprint'))")
    assert tab.ask("document.querySelectorAll('.task[open]').length") == 1
    assert base64.b64decode(tab.call("Page.printToPDF")["data"]).startswith(b"%PDF")


def test_axe_finds_nothing(tab: Tab) -> None:
    package = importlib.util.find_spec("axe_core_python")
    if package is None or package.origin is None:
        pytest.skip("axe-core-python (in the dev extra) is not installed")
    tab.ask(Path(package.origin).with_name("axe.min.js").read_text(encoding="utf-8") + ";0")
    tab.ask("document.querySelectorAll('#filters, #task-1').forEach(part => { part.open = true; })")
    found = tab.ask(
        "axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map(v => [v.id, v.nodes[0].html]))"
    )
    assert found == []
