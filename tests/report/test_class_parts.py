"""The order-free line and the parts of the accuracy: in every table, in the figures, and absent where unknown."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from vitascope import report
from vitascope.core.class_structure import ClassStructure
from vitascope.core.types import Score
from vitascope.evaluation.results import Result, append
from vitascope.metrics.class_parts import parts
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.analysis import ranking
from vitascope.report.analysis.ranking import Chance
from vitascope.report.charts import plots
from vitascope.report.charts.text_plot import sketch
from vitascope.report.sections import class_parts, leaderboard

NASTY = "<script>alert(1)</script>"
STRUCTURE = ClassStructure(pairs=((1, 2),), families={"still": (0,), f"up {NASTY}": (1, 2)}, alike=((1, 2),))
TRUTH = [0, 1, 2] * 20
BOUND = 100 * (1 + 1 / 2 + 1 / 2) / 3


def result(encoder: str, axis: str, correct: float, bound: float | None, **changes: object) -> Result:
    """A result with so large a share of right answers; the others are the opposite, or up."""
    answers = [t if i < correct * 60 else (1, 2, 1)[t] for i, t in enumerate(TRUTH)]
    given = {
        "encoder": encoder,
        "dataset": f"lab/{axis}",
        "probe": "knn",
        "version": 1,
        "scores": {"top-1": Score(100 * float(np.mean(np.equal(answers, TRUTH))), 1.0, 99.0)},
        "chance": 100 / 3,
        "order_free": bound,
        "parts": tuple(parts(TRUTH, answers, None, STRUCTURE, np.random.default_rng(0))) if axis == "motion" else (),
        "settings": {"card": {"name": encoder}, "classes": ["still", "up", "down"]},
        "protocol": f"p-{axis}",
        "axis": axis,
        "n": 60,
        "expected": 60,
    }
    return Result(**{**given, **changes})  # type: ignore[arg-type]


def both(bound: float | None = BOUND) -> list[Result]:
    return [
        result(encoder, axis, correct, top)
        for encoder, correct in (("good", 0.9), ("poor", 0.4))
        for axis, top in (("appearance", bound and 100.0), ("motion", bound))
    ]


def shown(results: list[Result]) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(report.terminal(results))
    return console.export_text()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("run")
    for one in both():
        append(folder, one)
    return {name: path.read_text(encoding="utf-8") for name, path in report.write(folder).items()}


def test_the_line_is_beside_chance_in_every_table(written: dict[str, str]) -> None:
    assert "| *chance* | 33.3 | 33.3 |" in written["md"]
    assert "| *order-free* | 100.0 | 66.7 |" in written["md"]
    assert r"\emph{order-free} & 100.0 & 66.7" in written["tex"]
    assert '<th scope="row">order-free</th><td>100.0</td><td>66.7</td>' in written["html"]
    assert "Order-free: what a perfect viewer" in written["md"]
    text = shown(both())
    assert any("order-free" in line and "66.7" in line for line in text.splitlines())
    assert "Order-free: what a perfect viewer" in " ".join(text.split())


def test_the_line_is_drawn_where_its_value_is(written: dict[str, str]) -> None:
    board = boards.build(both())
    rankings = {c.task: ranking.analyze(c).ranking for c in board.main()}
    motion, appearance = (ranking.overall(board, rankings, axis) for axis in ("motion", "appearance"))
    assert motion is not None
    assert appearance is not None
    plot = plots.scatter(board.rows, appearance, motion)
    assert plot is not None
    assert plot.y.order_free == pytest.approx(BOUND)
    assert plot.x.order_free is None, "one frame tells every look: nothing is bounded"
    at = f"{100 - plot.y.at(BOUND)}%"
    assert f'<line class="bound" y1="{at}" y2="{at}"' in written["html"]


@pytest.mark.parametrize("bound", [None, 100.0])
def test_nothing_is_shown_where_it_is_unknown_or_bounds_nothing(bound: float | None, tmp_path: Path) -> None:
    results = [replace(one, order_free=bound, parts=()) for one in both()]
    for one in results:
        append(tmp_path, one)
    page = report.write(tmp_path, formats=["html"])["html"].read_text(encoding="utf-8")
    assert "order-free" not in shown(results)
    assert "Order-free:" not in page
    assert '<line class="bound"' not in page
    assert 'id="parts"' not in page


def test_old_and_new_results_of_one_protocol_stand_in_one_column() -> None:
    old, new = both(None)[1], both()[3]
    (column,) = boards.build([old, new]).columns
    guess = ranking.chance_level(column, ())
    assert guess is not None
    assert guess.order_free == pytest.approx(BOUND)


def test_the_line_of_a_mean_is_the_mean_and_unknown_with_one_of_them() -> None:
    known, unknown = Chance(10.0, majority=True, order_free=50.0), Chance(20.0, majority=True)
    assert ranking._mean_chance([known, Chance(20.0, majority=True, order_free=70.0)]).order_free == 60.0  # type: ignore[union-attr]
    assert ranking._mean_chance([known, unknown]).order_free is None  # type: ignore[union-attr]


def test_a_score_far_away_does_not_make_the_axis_reach_for_it() -> None:
    near = plots.axis([Score(40.0, 35.0, 45.0)], Chance(38.0, majority=True, order_free=48.0))
    far = plots.axis([Score(4.0, 3.0, 5.0)], Chance(3.5, majority=True, order_free=53.0))
    assert (near.order_free, far.order_free) == (48.0, None)
    assert far.high < 53


def test_text_figures_have_it() -> None:
    text = sketch(both())
    assert "order-free 100.0 (appearance) and 66.7 (motion)" in text
    assert "╌" in text
    assert "order-free" not in sketch(both(None))


def test_the_head_of_a_column_says_what_it_means() -> None:
    (column,) = boards.build([both()[1], both()[3]]).columns
    head = leaderboard.table(boards.build([both()[1]]), [column], {column.task: ranking.analyze(column).ranking}).heads[
        0
    ]
    assert (head.chance, head.order_free) == ("33.3", "66.7")
    assert "order-free 66.7: what a perfect viewer" in head.tip


def test_parts_are_a_table_for_each_task_with_chance_and_order_free() -> None:
    (table,) = class_parts.tables(boards.build(both()))
    assert table.heads[:3] == ("encoder", "part", "all")
    rows = {line[:2]: line[2:] for line in table.rows}
    good = {(p.part, p.family): p for p in both()[1].parts}
    value = good["direction given the pair", "all"]
    assert rows["good", "direction given the pair"][0].startswith(f"{value.value:.1f} [")
    assert rows["good", "direction given the pair"][1] == "–", "still has no direction"
    assert rows["chance", "pair"] == ("55.6", "33.3", "66.7")
    assert rows["order-free", "class"] == ("66.7", "100.0", "50.0")
    assert rows["order-free", "direction given the pair"] == ("50.0", "–", "50.0")


def test_parts_are_drawn_and_names_are_text(written: dict[str, str]) -> None:
    section = written["html"].partition('<section id="parts"')[2].partition("</section>")[0]
    assert "Right pair" in section
    assert NASTY not in section
    assert "&lt;script&gt;" in section
    assert 'class="bound" x1="50.0%"' in section
    assert "pair and direction" in written["tex"]


def test_the_terminal_leaves_out_intervals_of_families() -> None:
    brief, whole = (class_parts.tables(boards.build(both()), brief=b)[0] for b in (True, False))
    assert "[" in brief.rows[0][2]
    assert "[" not in "".join(brief.rows[0][3:])
    assert "[" in "".join(whole.rows[0][3:])
