"""Order-free and order-aware readouts side by side: which columns make a pair, their differences, who is blind."""

from __future__ import annotations

import io
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from vitascope import report
from vitascope.core.text import margin, with_interval
from vitascope.core.types import Score
from vitascope.evaluation.results import Result, append, read, read_predictions
from vitascope.metrics import stats
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.analysis.readouts import is_blind, order_aware, readout_pairs
from vitascope.report.sections.readouts import BLIND, READOUTS

FAKE = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "fake_run.py"))
CLASSES = ("up", "down", "left", "right")
SKILLS = {"lab/<b>frames</b>": {"motion": 0.3, "": 0.6}, "vit/video": {"motion": 0.5, "": 0.7}}
PROBES = {"attentive": None, "attentive+time=learned": "learned", "attentive+time=sine": "sine", "attentive/deep": None}


def as_evaluated(result: Result) -> Result:
    """The result with the settings of the attentive probe it is named after; the first encoder takes single frames."""
    time, deep = PROBES[result.probe], result.probe.endswith("deep")
    probe = {"type": "AttentiveProbe", "name": result.probe, "depth": 4 if deep else 1, "train": {"reduce": "grid"}}
    settings = {
        **result.settings,
        "probe": {**probe, **({"time": time} if time else {})},
        "model": {"framewise": result.encoder != "vit/video"},
    }
    return replace(result, settings=settings, order_aware=time is not None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "readouts"
    tasks = [("mine", name, "motion" if time else "", CLASSES) for name, time in PROBES.items()]
    FAKE["fake_run"](path, skills=SKILLS, tasks=tasks, n=120, odd=False)
    results = read(path)
    (path / "results.jsonl").unlink()
    for result in results:
        append(path, replace(as_evaluated(result), axis=""))
    report.write(path)
    return path


def pairs(run: Path, **changes: Any) -> list[Any]:
    return readout_pairs(boards.build([replace(r, **changes) for r in boards.load_results([run])]))


def test_pairs_differ_in_nothing_but_the_order(run: Path) -> None:
    found = pairs(run)
    assert [(p.free.task, p.aware.task) for p in found] == [
        ("mine:attentive", "mine:attentive+time=learned"),
        ("mine:attentive", "mine:attentive+time=sine"),
    ]
    assert all(p.rows == [0, 1] for p in found)
    assert len(pairs(run, order_aware=None)) == 0, "no result says that it is aware of order"


def test_differences_are_paired_on_the_same_examples(run: Path) -> None:
    pair = pairs(run)[0]
    for row, gain in pair.gains.items():
        tables = [read_predictions(Path(c.cells[row].predictions)) for c in (pair.aware, pair.free)]
        assert tables[0]["id"] == tables[1]["id"]
        outcomes = [np.array(t["outcome"]) for t in tables]
        groups = [group or None for group in tables[0]["group"]]
        expected = stats.paired(*outcomes, groups, rng=np.random.default_rng(0))
        assert gain.gap.value == pytest.approx((outcomes[0] - outcomes[1]).mean())
        assert gain.gap[:3] == pytest.approx(expected[:3])
        assert gain.tests == 2


def test_results_of_before_read_a_set_if_their_probe_is_known_to(run: Path) -> None:
    result = read(run)[0]
    assert order_aware(replace(result, order_aware=None)) is False
    other = replace(result, order_aware=None, settings={**result.settings, "probe": {"type": "Mine"}})
    assert order_aware(other) is None
    assert not is_blind(other)


def test_only_single_frames_read_as_a_set_are_blind(run: Path) -> None:
    blind = {(r.encoder, r.probe) for r in read(run) if is_blind(r)}
    assert blind == {("lab/<b>frames</b>", "attentive"), ("lab/<b>frames</b>", "attentive/deep")}


def test_every_format_has_both_columns_side_by_side(run: Path) -> None:
    console = Console(file=io.StringIO(), width=220)
    console.print(report.terminal(read(run), run))
    page = (run / "report.html").read_text(encoding="utf-8")
    markdown = (run / "report.md").read_text(encoding="utf-8")
    latex = (run / "report.tex").read_text(encoding="utf-8")
    terminal = console.file.getvalue()  # type: ignore[attr-defined]
    pair = pairs(run)[0]
    difference = margin(Score(*pair.gains[1].gap[:3]))
    for text in (page, markdown, latex, terminal):
        assert READOUTS in text
        assert BLIND in text
    for text in (page, terminal):
        assert "mine: attentive | attentive+time=learned" in text
        assert with_interval(pair.free.cells[0].headline) + f", {BLIND}" in text
        assert with_interval(pair.aware.cells[1].headline) in text
        assert difference in text
    assert page.count(f"<b>{READOUTS}</b>") == 1
    assert "<b>frames</b>" not in page


def test_a_run_of_one_readout_has_no_such_section(tmp_path: Path) -> None:
    FAKE["fake_run"](tmp_path, odd=False, n=60)
    text = report.write(tmp_path)["html"].read_text(encoding="utf-8")
    assert "Order of frames" not in text
