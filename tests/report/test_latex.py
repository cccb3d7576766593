"""The tables for LaTeX: as many cells in every line, datasets above probes, nothing that LaTeX takes for its own."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from vitascope import report

FAKE = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "fake_run.py"))
TASKS = (
    ("a/b", "knn", "appearance", ("x", "y")),
    ("a/b", "linear", "appearance", ("x", "y")),
    ("a_c", "knn", "motion", ("x", "y")),
)
SKILLS = {"[odd]": {"appearance": 0.8, "motion": 0.4}, "*odd & co": {"appearance": 0.5, "motion": 0.7}}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = FAKE["fake_run"](tmp_path_factory.mktemp("runs") / "run", skills=SKILLS, tasks=TASKS, n=40, odd=False)
    report.write(path)
    return path


def cells(line: str) -> int:
    """Number of columns that a line of a table fills."""
    spans = [int(span) for span in re.findall(r"\\multicolumn\{(\d+)\}", line)]
    return len(re.findall(r"(?<!\\)&", line)) + 1 - len(spans) + sum(spans)


def test_every_line_fills_the_columns_and_braces_are_balanced(run: Path) -> None:
    text = (run / "report.tex").read_text(encoding="utf-8")
    for form, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        lines = [line for line in body.splitlines() if line.endswith("\\\\")]
        assert len(lines) >= 5
        assert {cells(line) for line in lines} == {len(form)}
    assert len(re.findall(r"(?<!\\)\{", text)) == len(re.findall(r"(?<!\\)\}", text))


def test_datasets_stand_above_their_probes_and_intervals_below_scores(run: Path) -> None:
    lines = [line.strip() for line in (run / "report.tex").read_text(encoding="utf-8").splitlines()]
    start = lines.index(r"\toprule")
    assert lines[start + 1].startswith(r"& \multicolumn{2}{c}{a/b} & \multicolumn{1}{c}{a\_c}")
    assert lines[start + 2].startswith(r"\cmidrule(lr){2-3}\cmidrule(lr){4-4}")
    assert lines[start + 3].startswith("Encoder & knn & linear & knn")
    assert re.match(r"& \{\\tiny \[", lines[start + 6])


def test_no_name_is_taken_for_an_argument(run: Path) -> None:
    text = (run / "report.tex").read_text(encoding="utf-8")
    assert "{}[odd] &" in text
    assert r"{}*odd \& co &" in text
    assert not re.search(r"(\\\\|\\midrule)\s*[\[*]", text), "LaTeX looks for it beyond the end of the line"


@pytest.mark.parametrize("form", ["html", "md", "tex"])
def test_groups_are_spoken_of_where_there_are_some(tmp_path: Path, form: str) -> None:
    path = FAKE["fake_run"](tmp_path / "run", skills=SKILLS, tasks=TASKS[:1], n=40, odd=False)
    grouped = report.write(path, formats=[form])[form].read_text(encoding="utf-8")
    assert "whole groups of test examples" in grouped
    from vitascope.evaluation.results import read, read_predictions, write_predictions

    for result in read(path):
        columns = read_predictions(path / result.predictions)
        write_predictions(path / result.predictions, {**columns, "group": [""] * len(columns["group"])})
    alone = report.write(path, formats=[form])[form].read_text(encoding="utf-8")
    assert "groups of test examples" not in alone
    assert "group" not in alone.partition("Bold")[0].partition("Brackets")[2]
