"""The board of many runs: same protocol side by side, repeats that agree or not, the rest apart with the reason."""

from __future__ import annotations

import csv
import io
import json
import re
import runpy
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from helpers import vitascope
from vitascope import report
from vitascope.core.errors import UserError
from vitascope.core.types import Score
from vitascope.evaluation.results import RESULTS, Result, append, read
from vitascope.report.analysis import merged_runs
from vitascope.report.board_page import csv_text

FAKE = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "fake_run.py"))
fake_run, NASTY = FAKE["fake_run"], FAKE["NASTY"]
TASKS = (("made", "knn", "motion", ("up", "down", "left")), ("mine", "linear", "", FAKE["LABELS"]))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = fake_run(tmp_path_factory.mktemp("runs") / "first", tasks=TASKS, n=90, odd=False)
    return path


def changed(run: Path, to: Path, **more: object) -> Path:
    """A copy of a run with other values of some fields in every result."""
    shutil.copytree(run, to)
    (to / RESULTS).unlink()
    for one in read(run):
        append(to, replace(one, **more))
    return to


def shifted(one: Result, by: float) -> Result:
    scores = dict(one.scores)
    value, low, high = one.headline
    assert low is not None
    assert high is not None
    return replace(one, scores={**scores, "top-1": Score(value + by, low + by, high + by)})


def board(runs: Sequence[Path], site: Path) -> str:
    page = report.write_board(runs, site)["html"].read_text(encoding="utf-8")
    return re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)


def test_one_page_that_holds_everything(first: Path, tmp_path: Path) -> None:
    page = report.write_board([first], tmp_path / "site")["html"].read_text(encoding="utf-8")
    assert [p.name for p in (tmp_path / "site").iterdir()] == ["index.html"]
    assert "default-src 'none'" in page
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)[^\"]+", page)


def test_repeats_that_agree_and_that_do_not(first: Path, tmp_path: Path) -> None:
    again, off = tmp_path / "again", tmp_path / "off"
    shutil.copytree(first, again)
    shutil.copytree(first, off)
    (off / RESULTS).unlink()
    for one in read(first):
        append(off, shifted(one, 40.0 if one.dataset == "made" else 0.2))
    merged = merged_runs.merge([first, again, off])
    said = {(e.run.name, e.result.dataset): a for e, a in merged_runs.repeats(merged)}
    assert {key: (a.agrees, a.text.partition(":")[0]) for key, a in said.items()} == {
        ("again", "made"): (True, "identical"),
        ("again", "mine"): (True, "identical"),
        ("off", "made"): (False, "disagrees"),
        ("off", "mine"): (True, "agrees"),
    }
    page = board([first, again, off], tmp_path / "site")
    assert "Runs disagree: " in page
    assert "outside an interval" in page
    assert page.count('class="repeated"') == 2 * len(read(first))


@pytest.mark.parametrize(
    ("a", "b", "agrees"),
    [
        (Score(50, 45, 55), Score(54, 49, 59), True),
        (Score(50, 45, 55), Score(56, 49, 63), False),
        (Score(50), Score(50), True),
        (Score(50), Score(50.1), False),
        (Score(50, 49, 51), Score(52, 40, 60), False),
    ],
)
def test_agreement_takes_both_intervals(a: Score, b: Score, agrees: bool) -> None:
    assert merged_runs.agreement(a, b).agrees is agrees
    assert merged_runs.agreement(b, a).agrees is agrees


def test_other_protocols_stand_apart_with_the_reason(first: Path, tmp_path: Path) -> None:
    probe = {**read(first)[0].settings["probe"], "k": 5}
    other = tmp_path / "other"
    shutil.copytree(first, other)
    (other / RESULTS).unlink()
    for one in read(first)[:2]:
        append(other, replace(one, protocol="0" * 16, settings={**one.settings, "probe": probe}))
    page = board([first, other], tmp_path / "site")
    assert "not all comparable" in page
    why = page[page.index("Why not comparable") :]
    assert "number of neighbors k: <b><bdi>5</bdi></b> <i>there</i> <b><bdi>20</bdi></b>" in why
    records = json.loads(report.write_board([first, other], tmp_path / "site", export=True)["json"].read_text())
    apart = [r for r in records if not r["comparable"]]
    assert {(r["run"], r["task"]) for r in apart} == {("other", "made:knn")}
    assert len(records) == len(read(first)) + 2


def test_ranks_are_those_of_the_report(first: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for place, to in enumerate((one, two)):
        shutil.copytree(first, to)
        (to / RESULTS).unlink()
        for result in [r for r in read(first) if (r.encoder == "vit/small") is (place == 0)]:
            append(to, result)
    both = json.loads(report.write_board([one, two], tmp_path / "a", export=True)["json"].read_text())
    alone = json.loads(report.write_board([first], tmp_path / "b", export=True)["json"].read_text())
    facts = [{(r["task"], r["encoder"], r["tier"], r["value"]) for r in records} for records in (both, alone)]
    assert facts[0] == facts[1]
    assert {r["run"] for r in both} == {"one", "two"}
    assert all(r["tier"] for r in both)


def test_runs_of_one_name_are_told_apart_and_given_twice_refused(first: Path, tmp_path: Path) -> None:
    for who in ("ann", "bob"):
        shutil.copytree(first, tmp_path / who / "run")
    merged = merged_runs.merge([tmp_path / "ann" / "run", tmp_path / "bob" / "run", first])
    assert [run.name for run in merged.runs] == ["ann/run", "bob/run", "first"]
    with pytest.raises(UserError, match="given twice"):
        merged_runs.merge([first, first.parent / "." / "first"])


def test_reports_are_copied_and_linked(first: Path, tmp_path: Path) -> None:
    reported = tmp_path / "reported"
    shutil.copytree(first, reported)
    (reported / "report.html").write_text("<p>own</p>")
    site = tmp_path / "site"
    page = board([first, reported], site)
    assert re.findall(r'href="(reports/[^"]+)"', page) == ["reports/2.html"]
    assert (site / "reports" / "2.html").read_text() == "<p>own</p>"
    board([first], site)
    assert not (site / "reports").exists(), "those of an earlier board go"


def test_what_is_wrong_is_refused_and_nothing_is_written(first: Path, tmp_path: Path) -> None:
    empty, broken, full = tmp_path / "empty", tmp_path / "broken", tmp_path / "full"
    empty.mkdir()
    broken.mkdir()
    (broken / RESULTS).write_bytes((first / RESULTS).read_bytes() + b'{"encoder": 3}\n')
    full.mkdir()
    (full / "index.html").write_text("<p>somebody's page</p>")
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / RESULTS).write_text("\n")
    site = tmp_path / "site"
    for runs, place, match in (
        ([first, empty], site, RESULTS),
        ([first, broken], site, rf"{RESULTS}:7: not a result"),
        ([tmp_path / "none"], site, "no results"),
        ([first], full, "something else"),
        ([first], first, "something else"),
        ([first], first / RESULTS, "not a folder"),
    ):
        with pytest.raises(UserError, match=match):
            report.write_board(runs, place)
    assert not site.exists()
    assert [p.name for p in full.iterdir()] == ["index.html"]


def test_hostile_names_are_only_text(first: Path, tmp_path: Path) -> None:
    run = changed(first, tmp_path / "<b>run & co", encoder=NASTY, dataset='"><img src=x onerror=alert(1)>')
    page = board([first, run], tmp_path / "site")
    assert NASTY not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_no_cell_is_a_formula() -> None:
    text = csv_text([{"encoder": "=1+1", "value": -2.5, "note": "+x"}, {"encoder": "ok", "value": None, "note": "a,b"}])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows == [
        {"encoder": "'=1+1", "value": "-2.5", "note": "'+x"},
        {"encoder": "ok", "value": "", "note": "a,b"},
    ]


def test_the_command_writes_the_page_and_names_what_is_wrong(first: Path, tmp_path: Path) -> None:
    done = vitascope("board", first, "-o", tmp_path / "site", "--export")
    assert [Path(line).name for line in done.stdout.split()] == ["index.html", "board.json", "board.csv"]
    failed = vitascope("board", tmp_path / "nothing", "-o", tmp_path / "other", code=2)
    assert "no results.jsonl in it" in failed.stderr
    assert not (tmp_path / "other").exists()
