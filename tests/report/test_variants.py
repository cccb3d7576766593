"""Variants on the page and in the tables: next to the standard scores, never among them."""

from __future__ import annotations

import io
import re
import runpy
from dataclasses import replace
from itertools import combinations
from math import log
from pathlib import Path

import pytest
from rich.console import Console

from vitascope import report
from vitascope.core.text import number
from vitascope.core.types import Score
from vitascope.evaluation.results import append, read
from vitascope.metrics.stats import average, holm
from vitascope.report import export_tables
from vitascope.report.analysis import head_selection, ranking
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.analysis.leaderboard import Leaderboard
from vitascope.report.analysis.phrases import SELECTED_ON_TEST
from vitascope.report.charts import low_shot as lowshot
from vitascope.report.sections import leaderboard
from vitascope.report.sections import tables as summaries

FAKE = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "fake_run.py"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = FAKE["fake_variants"](tmp_path_factory.mktemp("runs") / "variants", n=120)
    report.write(path)
    return path


@pytest.fixture(scope="module")
def board(run: Path) -> Leaderboard:
    return boards.build(boards.load_results([run]))


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


def test_variants_are_in_no_ranking(board: Leaderboard) -> None:
    assert [c.task for c in board.main()] == ["motionlab/appearance:knn", "motionlab/motion:knn", "mine:linear"]
    assert board.other_protocols() == ()
    assert len(board.variants()) == 3 * 12
    rankings = {c.task: ranking.analyze(c).ranking for c in board.plain()}
    motion = ranking.overall(board, rankings, "motion")
    assert motion is not None
    assert motion.scores == rankings["motionlab/motion:knn"].scores


def test_sections_of_the_page(page: str) -> None:
    for title in ("Low-shot", "Effect of motion", "Tables"):
        assert re.search(rf'<h2 id="[a-z-]+">{title}</h2>', page)
    scores = page.split(">Scores</h2>")[1].split("</table>")[0]
    assert "+test" not in scores
    assert "@5%" not in scores
    assert "36</b> variants" in page


def test_a_run_without_variants_has_none_of_it(tmp_path: Path) -> None:
    FAKE["fake_run"](tmp_path, odd=False, n=60)
    text = report.write(tmp_path)["html"].read_text(encoding="utf-8")
    for title in ("Low-shot", "Effect of motion", "Tables"):
        assert title not in text


def test_a_run_of_variants_alone_is_shown(tmp_path: Path, run: Path) -> None:
    for result in read(run):
        if result.variant:
            append(tmp_path, replace(result, predictions=""))
    written = report.write(tmp_path)
    assert "only variants" in written["html"].read_text(encoding="utf-8")
    assert "results on altered clips without a counterpart on real clips" in written["html"].read_text(encoding="utf-8")
    Console(file=io.StringIO()).print(report.terminal(read(tmp_path)))


def test_curves_lie_where_the_scores_say(board: Leaderboard) -> None:
    plots = lowshot.low_shot_plots(board, {})
    assert [plot.unit.split(",")[0] for plot in plots[:2]] == [
        "fraction of the training set", "training examples per class",
    ]  # fmt: skip
    shares, shots = plots[:2]
    assert [level.text for level in shares.levels] == ["5 %", "25 %", "all"]
    left, middle, right = (level.at for level in shares.levels)
    assert (middle - left) / (right - left) == pytest.approx(log(25 / 5) / log(100 / 5), abs=1e-3)
    assert [level.text for level in shots.levels] == ["2-shot", "8-shot", "all"]
    assert shots.levels[2].at - shots.levels[1].at == pytest.approx(shots.levels[1].at - shots.levels[0].at, abs=0.02)
    for plot, alike in ((shares, 3), (shots, 2)):
        curve = plot.curves[0]
        assert len(curve.line.split()) == alike
        assert bool(curve.to_full) == (alike == 2), "how many a class all of it is, nobody counted"
        assert len(curve.band.split()) == 2 * alike
        for dot, score in zip(curve.dots, plot.scores[0].values(), strict=True):
            assert plot.y.low + (100 - dot.y) / 100 * (plot.y.high - plot.y.low) == pytest.approx(score.value, abs=0.02)
    column = next(c for c in board.main() if c.task == "motionlab/appearance:knn")
    assert shares.scores[1]["all"] == column.cells[1].headline


def test_a_curve_without_the_whole_set_ends_before(run: Path) -> None:
    found = [r for r in boards.load_results([run]) if r.variant.get("train_fraction") == "5%"]
    (plot, *_) = lowshot.low_shot_plots(boards.build(found), {})
    assert plot.chance == ranking.chance_level(boards.build(found).columns[0], ())
    assert [level.text for level in plot.levels] == ["5 %"]
    assert all(len(curve.dots) == 1 and not curve.band and not curve.to_full for curve in plot.curves)


def test_the_average_over_data_sets_is_unweighted_and_of_those_that_have_all(board: Leaderboard, run: Path) -> None:
    rankings = {c.task: ranking.analyze(c).ranking for c in board.main()}
    found = ranking.averages(board, rankings)
    assert list(found) == ["average of knn"], "the other probe is on one dataset"
    first, second = (c.cells for c in board.main()[:2])
    scores = [first[0].headline, second[0].headline]
    assert found["average of knn"].scores[0] == average(scores, ["a", "b"])
    table = leaderboard.table(board, board.main(), {**rankings, **found})
    assert table.groups[-1] == ("Average", 1)
    assert table.rows[0][1][-1].value == number((scores[0].value + scores[1].value) / 2)
    less = [r for r in boards.load_results([run]) if not (r.encoder == "vit/small" and r.dataset == "motionlab/motion")]
    kept = boards.build(less)
    held = {c.task: ranking.analyze(c).ranking for c in kept.main()}
    labels = {kept.rows[row].label for row in ranking.averages(kept, held)["average of knn"].scores}
    assert "vit/small" not in labels
    assert len(labels) == 2


def test_presets_of_a_data_set_are_one_probe(board: Leaderboard) -> None:
    one = board.main()[0].first
    results = [
        replace(one, dataset="k400", probe="linear/paper", axis="appearance"),
        replace(one, dataset="ssv2", probe="linear/paper-ssv2", axis="motion"),
        replace(one, dataset="dv48/v2", probe="linear/paper-dv48", axis="motion"),
        replace(one, dataset="ek", probe="linear/published", axis="motion"),
        replace(one, dataset="mit", probe="linear/paper-mit", axis="motion", scores={"mAP": Score(3.0)}),
    ]
    found = ranking.average_columns(boards.build(results))
    assert {probe: [c.first.dataset for c in columns] for probe, columns in found.items()} == {
        "linear/paper": ["k400", "ssv2", "dv48/v2"]
    }


def test_an_axis_of_one_probe_has_its_mean_only_once(board: Leaderboard) -> None:
    one = board.main()[1].first
    assert ranking.average_columns(boards.build([one, replace(one, dataset="other")])) == {}


def test_selected_settings_are_listed_with_their_frequency(board: Leaderboard) -> None:
    found = [one for one in head_selection.head_summaries(board) if one.task == "mine:linear"]
    assert len(found) == 3
    assert found[0].selected == "lr 10, weight_decay 0 (2 of 3); lr 1, weight_decay 0 (1 of 3)"
    assert found[0].candidates == "3 tried, 50.1 to 60.0"
    assert found[0].select == "held-out"
    assert found[0].seeds.startswith("mean of 3 seeds")
    assert found[0].seeds.endswith("SD 1.00")
    assert not found[0].on_test


def test_selected_settings_by_part_of_the_label(board: Leaderboard) -> None:
    about = {"verb": {"chosen": {"k": 5}, "select": "held-out"}, "noun": {"chosen": {"k": 9}, "select": "held-out"}}
    result = replace(board.main()[0].first, about=(about,))
    (one,) = head_selection.head_summaries(boards.build([result]))
    assert one.selected == "verb: k 5 (1 of 2); noun: k 9 (1 of 2)"


def test_heads_selected_on_the_test_set_are_marked_everywhere(tmp_path: Path, run: Path) -> None:
    for result in read(run):
        if result.dataset == "motionlab/motion":
            probe = {**result.settings["probe"], "select": boards.ON_TEST}
            append(tmp_path, replace(result, settings={**result.settings, "probe": probe}, predictions=""))
    written = report.write(tmp_path)
    for name, path in written.items():
        text = path.read_text(encoding="utf-8")
        assert SELECTED_ON_TEST in text, name
        assert summaries.ON_TEST_NOTE in text, name
    assert "Selected on the test set, so too high: motionlab/motion:knn." in written["html"].read_text(encoding="utf-8")
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(report.terminal(read(tmp_path)))
    assert SELECTED_ON_TEST in console.export_text()
    first, second = "vit/small", "pixels/motion-energy"
    assert any(c.on_test for c in report.compare([tmp_path], first, second))


def test_every_format_has_the_short_tables(run: Path, board: Leaderboard) -> None:
    found = summaries.summary_tables(board, summaries.collect_extras(board, {}))
    titles = [table.title for table in found]
    low_shot = ["fraction of the training set", "training examples per class"]
    assert titles == [
        "Motion sensitivity",
        "Motion dependence",
        *(f"Low-shot by {unit}" for unit in low_shot),
        "Head selection",
    ]
    assert {len(row) for table in found for row in table.rows} >= {6, 7, 5}
    assert all(len(row) == len(table.heads) for table in found for row in table.rows)
    levels = [row[2:] for table in found[2:4] for row in table.rows if row[1] == "chance"]
    assert levels
    assert all(len({*level}) == 1 and float(level[0]) > 0 for level in levels), "one test set, one chance level"
    assert all("(chance " in row[3] for row in found[1].rows)
    markdown = (run / "report.md").read_text(encoding="utf-8")
    assert [line[3:] for line in markdown.splitlines() if line.startswith("## ")] == titles
    assert (run / "report.tex").read_text(encoding="utf-8").count(r"\begin{table}") == 1 + len(titles)
    for table in found:
        assert export_tables.md_escape(table.rows[0][-1]) in markdown
    assert len(re.findall(r"(?<!\\)\|", markdown.split("## Head selection")[1])) == 7 * (2 + len(found[-1].rows))


def test_the_terminal_reads_predictions_of_the_run(run: Path) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(report.terminal(read(run), run))
    text = console.export_text()
    for title in ("Motion sensitivity", "Motion dependence", "Low-shot", "average of knn"):
        assert title in text
    assert "knn+test" not in text.split("Motion sensitivity")[0]


def test_variants_compare_with_their_own_kind(run: Path) -> None:
    names = list(dict.fromkeys(r.encoder for r in read(run)))
    every = [report.compare([run], a, b) for a, b in combinations(names, 2)]
    for found in every:
        assert len(found) == 3 * 13 + 1
        assert not [c for c in found if c.refused]
    for same in zip(*every, strict=True):
        assert len({c.task for c in same}) == 1
        assert [c.adjusted for c in same] == holm([c.p for c in same]), "all pairs of encoders of the task, no other"
