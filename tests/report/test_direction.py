"""The section on direction: what is drawn of hand-made results, and names that would like to be code."""

from dataclasses import replace
from pathlib import Path

import pytest

from vitascope.core.errors import UserError
from vitascope.core.types import Score
from vitascope.evaluation.results import Result, append
from vitascope.report import page
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.sections import direction

NASTY = "<script>alert(1)</script>"
FOUND = {
    "of": "direction",
    "names": ["forward", "reversed"],
    "p": 0.001,
    "draws": 999,
    "inflation": 1.6,
    "videos": 9,
    "groups": 4,
    "tied": 0,
    "cosine": [0.1, 0.2, 0.93, 0.4, 0.5],
    "reach": 4.0,
    "counts": [[0, 1, 8], [8, 1, 0]],
}
PICTURE = {"points": [[[9.0, 1.0], [-1.0, 0.5]]], "accuracy": 98.2, "noise": 97.1, "videos": 9, "size": 40}


def result(encoder: str = "lab/a") -> Result:
    scores = {"pairwise": Score(88.9, 60.0, 97.0), "AUC": Score(91.0, 70.0, 99.0)}
    settings = {"card": {"name": encoder}, "classes": ["a", "b"]}
    common = {
        "dataset": "d",
        "probe": "direction",
        "version": 1,
        "protocol": "p",
        "n": 9,
        "expected": 9,
        "axis": "motion",
    }
    return Result(
        encoder=encoder, scores=scores, settings=settings, chance=50.0, diagnosis={"versions": FOUND}, **common
    )


def test_histograms_and_pictures_are_drawn_and_explained():
    drawn = replace(result(), about=({"picture": PICTURE},))
    (task,) = direction.direction_tasks(boards.build([drawn]))
    assert (task.low, task.high, task.chance) == ("reversed", "forward", "50.0")
    assert task.histograms[0].paths == ("M0 100V100H1V87.5H2V0H3V100Z", "M0 100V0H1V87.5H2V100H3V100Z")
    assert "p = 0.001 (999 relabelings of 4 groups)" in task.histograms[0].details
    assert "cosine forward–reversed 0.930" in task.histograms[0].details
    assert task.pictures[0].points == (((3.5, -1.0),), ((-1.0, -0.5),))
    assert "accuracy on these points 98.2 %, on Gaussian noise of the same shape 97.1 %" in task.pictures[0].caption
    assert "88.9 [60.0, 97.0]" in task.pictures[0].caption


def test_it_is_no_score_of_the_axis_of_its_data():
    assert [column.axis for column in boards.build([result()]).columns] == [""]


def test_names_are_no_code(tmp_path: Path):
    append(tmp_path, result(NASTY))
    append(tmp_path, replace(result(), about=({"picture": PICTURE},)))
    text = page.write(tmp_path, formats=["html"])["html"].read_text()
    assert NASTY not in text
    assert "&lt;script&gt;" in text
    assert text.count('<path class="v0"') == 2
    assert "chance 50.0" in text


def test_damaged_diagnoses_are_refused():
    wrong = replace(result(), diagnosis={"versions": {**FOUND, "counts": [[1, 2]]}})
    with pytest.raises(UserError, match="histogram"):
        Result.from_json(wrong.to_json())
    assert Result.from_json(result().to_json()).diagnosis["versions"]["videos"] == 9
