"""The report shows the recorded results, ranks only comparable ones, and escapes every label."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import runpy
import subprocess
import sys
from dataclasses import asdict, replace
from html.parser import HTMLParser
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from vitascope import report
from vitascope.core.text import escaped, format_duration, interval, margin, number, p_value, signed
from vitascope.core.types import Score
from vitascope.evaluation.results import RESULTS, Result, append, read, read_predictions, write_predictions
from vitascope.metrics.stats import Difference, holm, paired
from vitascope.report import export_tables
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.analysis import phrases, ranking
from vitascope.report.charts import plots
from vitascope.report.render import SCRIPTS, TEMPLATES
from vitascope.report.sections import leaderboard, motion

FAKE = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "fake_run.py"))
fake_run, NASTY = FAKE["fake_run"], FAKE["NASTY"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = fake_run(tmp_path_factory.mktemp("runs") / "a <run>")
    report.write(path)
    return path


class Page(HTMLParser):
    """Elements with their attributes, and the text inside each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append((self.open[-1] if self.open else "", data.strip()))


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    return Page((run / "report.html").read_text(encoding="utf-8"))


def test_the_three_files(run: Path) -> None:
    written = report.write(run)
    assert written == {name: run / f"report.{name}" for name in ("html", "md", "tex")}
    assert sorted(p.name for p in run.iterdir()) == ["predictions", "report.html", "report.md", "report.tex", RESULTS]


def test_the_same_results_give_the_same_bytes(run: Path) -> None:
    before = (run / "report.html").read_bytes()
    assert report.write(run, formats=["html"])["html"].read_bytes() == before


def test_only_our_script_runs_and_its_digest_is_the_one_allowed(page: Page) -> None:
    scripts = [text for tag, text in page.text if tag == "script"]
    assert [tag for tag, _ in page.elements].count("script") == 1
    source = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in SCRIPTS)
    assert scripts == [source.strip()]
    allowed = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    policy = next(a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert f"script-src 'sha256-{allowed}'" in policy
    assert "default-src 'none'" in policy


def test_names_from_outside_are_only_text(page: Page) -> None:
    seen = [text for _, text in page.text]
    assert NASTY in seen, "the label is shown"
    assert any("moov atom not found in <script>" in text for text in seen), "so is the reason"
    assert "{{ 7 * 7 }}" in seen
    assert not any("\u202e" in text for text in seen), "nothing may turn the direction of the text"
    assert {tag for tag, _ in page.elements} & {"b"}
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]


def test_nothing_is_fetched(page: Page) -> None:
    for tag, attributes in page.elements:
        assert tag not in {"img", "iframe", "object", "embed", "base", "form"}
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith("#") or value == "data:,", (tag, value)
    css = " ".join(text for tag, text in page.text if tag == "style")
    assert "url(" not in css
    assert "@import" not in css


def test_every_score_and_interval_is_on_the_page(run: Path, page: Page) -> None:
    seen = {text for _, text in page.text}
    for result in read(run):
        assert number(result.headline.value) in seen
        assert interval(result.headline) in seen


def test_the_dagger_marks_datasets_in_the_pretraining_data(page: Page) -> None:
    daggers = sum(tag == "sup" and text == "†" for tag, text in page.text)
    assert daggers == 2, "vit/small on mine, in full and limited"


def test_averages_are_drawn_as_bars_in_the_order_of_the_mean_of_both(run: Path) -> None:
    board = boards.build(boards.load_results([run]))
    rankings = ranking.rank_all(board, [ranking.analyze(column) for column in board.plain()])
    panels = motion.averages_section(board, rankings)
    assert [panel.title for panel in panels] == ["Appearance", "Motion", "Mean of both"]
    lengths = [[strip.marks[0].at for strip in panel.strips] for panel in panels]
    by_hand = {
        row.index: [
            next(c for c in board.main(axis)).cells[row.index].headline.value for axis in ("appearance", "motion")
        ]
        for row in board.rows
    }
    order = sorted(by_hand, key=lambda row: -sum(by_hand[row]))
    for place, expected in enumerate(
        ([by_hand[r][0] for r in order], [by_hand[r][1] for r in order], [sum(by_hand[r]) / 2 for r in order])
    ):
        assert [strip.marks[0].row for strip in panels[place].strips] == order
        assert lengths[place] == pytest.approx(expected, abs=0.01), "the scale is 0 to 100"
    assert motion.averages_section(board, {"motion": rankings["motion"]}) == ()


def test_limited_results_are_marked_everywhere(run: Path, page: Page) -> None:
    marks = sum(text == "limited: do not publish" for _, text in page.text)
    assert marks == 3, "in the table, the task and the settings"
    assert "limited: do not publish" in (run / "report.md").read_text()
    assert "limited: do not publish" in (run / "report.tex").read_text()


def test_a_limited_run_is_marked_first(tmp_path: Path, run: Path) -> None:
    append(tmp_path, next(r for r in read(run) if r.limited))
    report.write(tmp_path)
    assert "Evaluated on a subset: do not publish" in (tmp_path / "report.md").read_text().split("|")[0]


def test_other_protocols_are_separate_and_list_their_differences(run: Path) -> None:
    board = boards.build(boards.load_results([run]))
    (column,) = board.other_protocols()
    assert column.task == "mine:linear"
    assert column.limited
    assert list(column.cells) == [0]
    differs = boards.setting_differences(column.settings, board.main_of(column).settings)
    assert ("probe.k", "10", "20") in differs
    assert not [s for s in differs if s.name.startswith("card")]


def test_a_protocol_of_more_encoders_is_the_main_one(run: Path) -> None:
    found = boards.load_results([run])
    changed = [replace(r, protocol="other", limited=False) if r.limited else r for r in reversed(found)]
    board = boards.build(changed)
    main = next(c for c in board.main() if c.task == "mine:linear")
    assert len(main.cells) == 3
    assert main.protocol != "other"


def test_two_cards_of_one_name_are_two_rows(run: Path) -> None:
    found = boards.load_results([run])
    twin = replace(found[0], settings={**found[0].settings, "card": {"name": "vit/small", "digest": "new"}})
    labels = [row.label for row in boards.build([*found, twin]).rows]
    assert len(labels) == 4
    assert sum(bool(re.fullmatch(r"vit/small@[0-9a-f]{6}", label)) for label in labels) == 2
    with pytest.raises(ValueError, match="several cards"):
        report.analysis.comparison.find(boards.build([*found, twin]), "vit/small")


def test_tiers_and_differences_from_predictions(run: Path) -> None:
    board = boards.build(boards.load_results([run]))
    column = next(c for c in board.columns if c.task == "motionlab/motion:knn")
    ranked = ranking.analyze(column).ranking
    outcomes = [np.array(read_predictions(Path(column.cells[i].predictions))["outcome"]) for i in range(3)]
    for (i, j), difference in ranked.pairs.items():
        assert difference.value == pytest.approx(outcomes[i].mean() - outcomes[j].mean())
        assert ranked.p[i, j] >= difference.p
    assert ranked.order() == [1, 0, 2]
    assert ranked.tiers[1] == 1
    assert ranked.tiers[0] == (1 if ranked.adjusted(0, 1) >= 0.05 else 2)
    turned = ranked.difference(1, 0)
    assert turned is not None
    assert turned[:3] == pytest.approx([-x for x in (ranked.pairs[0, 1][i] for i in (0, 2, 1))])


def test_order_of_predictions_does_not_matter(run: Path, tmp_path: Path) -> None:
    a, b = [ranking.load_predictions(r) for r in boards.load_results([run])[:2]]
    assert a is not None
    assert b is not None
    turn = np.random.default_rng(0).permutation(len(b.key))
    shuffled = ranking.Predictions(b.key[turn], b.outcome[turn], b.group[turn])
    one, other = ranking.difference(a, b), ranking.difference(a, shuffled)
    assert one is not None
    assert other is not None
    assert other == pytest.approx(one)


def test_confusions_are_counted(run: Path) -> None:
    result = boards.load_results([run])[0]
    columns = read_predictions(Path(result.predictions))
    loaded = ranking.load_predictions(result)
    assert loaded is not None
    first, *_ = ranking.confusions(loaded)
    classes = result.settings["classes"]
    rows = [(t, classes[top[0]]) for t, top in zip(columns["label"], columns["top"], strict=True)]
    assert first.wrong == rows.count((first.truth, first.predicted))
    assert first.total == columns["label"].count(first.truth)
    assert first.truth != first.predicted
    assert first.wrong == max(rows.count(pair) for pair in set(rows) if pair[0] != pair[1])


def test_without_predictions_nothing_is_ranked(tmp_path: Path) -> None:
    fake_run(tmp_path, odd=False, n=60)
    for path in (tmp_path / "predictions").iterdir():
        path.unlink()
    report.write(tmp_path)
    assert "**" not in (tmp_path / "report.md").read_text().split("|", 1)[1].split("Brackets")[0]
    assert "needs saved predictions" in (tmp_path / "report.md").read_text()


def test_sentences_about_the_leader() -> None:
    rows = tuple(boards.EncoderRow(i, name, name, {}) for i, name in enumerate(["a", "b", "c"]))
    board = boards.Leaderboard(rows, ())
    scores = {0: Score(60.0, 57.0, 63.0), 1: Score(59.0, 56.0, 62.0), 2: Score(40.0, 37.0, 43.0)}
    pairs = {
        (0, 1): Difference(1.0, -1.0, 3.0, 0.3, 99, 99),
        (0, 2): Difference(20.0, 17.0, 23.0, 1e-6, 99, 99),
        (1, 2): Difference(19.0, 16.0, 22.0, 1e-6, 99, 99),
    }

    def sentence(rows: list[int]) -> str:
        ranked = ranking.rank(
            {i: scores[i] for i in rows}, {pair: d for pair, d in pairs.items() if set(pair) <= set(rows)}
        )
        return "".join(run.text for run in phrases.leader_sentence(board, "motion", ranked)).replace("\xa0", " ")

    assert sentence([0, 1, 2]) == "On motion, a scores highest (60.0 %), but not significantly higher than b (59.0)."
    assert sentence([0, 2]) == "On motion, a leads with 60.0 %, 20.0 [17.0, 23.0] points ahead of c."
    assert sentence([2]) == "On motion, c scores 40.0 [37.0, 43.0]."


def test_missing_examples_bound_the_score(run: Path) -> None:
    result = next(r for r in read(run) if r.dataset == "mine" and not r.limited)
    right = result.headline.value / 100 * result.n
    low, high = 100 * right / 240, 100 * (right + 2) / 240
    assert result.bounds == pytest.approx((low, high))
    note = phrases.coverage_note(result).replace("\xa0", " ")
    assert note == f"99.2 % of the test set; with the missing videos it could be {low:.1f}–{high:.1f}"


def test_missing_examples_are_listed_with_reasons(page: Page) -> None:
    seen = [text for _, text in page.text]
    assert "gone.mp4" in seen
    assert "the file is not there" in seen


def test_damaged_examples_are_listed_beside_the_missing_ones(page: Page) -> None:
    seen = [text for _, text in page.text]
    heads = [
        " ".join(seen[i - 1 : i + 2]) for i, text in enumerate(seen) if text in ("missing in", "damaged but used in")
    ]
    assert heads == ["2 missing in mine", "2 damaged but used in mine"]
    assert "torn.mp4" in seen
    assert f"short {NASTY}.mp4" in seen
    assert f"ends at 1.2 s of 3.0 s in {NASTY}" in seen


def test_issues_are_grouped_by_dataset_and_shared_by_encoders(run: Path) -> None:
    first, *others = boards.load_results([run])
    torn = {f"{i:03d}.mp4": "torn" for i in range(leaderboard.MAX_EXAMPLES + 5)}
    results = [replace(first, notes=torn, missing={"gone.mp4": "not there"}), *(replace(r, notes=torn) for r in others)]
    issues = leaderboard.example_issues(boards.build(results))
    assert [(r.dataset, r.kind, r.encoders) for r in issues] == [
        ("motionlab/appearance", "missing", "vit/small"),
        ("motionlab/appearance", "damaged but used", "every encoder"),
        ("motionlab/motion", "damaged but used", "every encoder"),
        ("mine", "missing", "every encoder"),
        ("mine", "damaged but used", "every encoder"),
    ]
    (reason,) = issues[1].reasons
    assert reason == ("torn", tuple(torn)[: leaderboard.MAX_EXAMPLES], 5)


def test_damaged_examples_alone_leave_the_coverage_complete(tmp_path: Path, run: Path) -> None:
    append(tmp_path, replace(read(run)[0], predictions="", notes={"torn.mp4": "4 frames lost"}))
    seen = [text for _, text in Page(report.write(tmp_path)["html"].read_text()).text]
    assert "All expected examples were found and scored." in seen
    assert "torn.mp4" in seen


def test_chance_is_the_share_of_the_most_frequent_test_class(run: Path, page: Page) -> None:
    board = boards.build(boards.load_results([run]))
    column = next(c for c in board.columns if c.task == "mine:linear" and c.main)
    truth = read_predictions(Path(column.first.predictions))["truth"]
    chance = ranking.analyze(column).ranking.chance
    assert chance is not None
    assert chance.majority
    assert chance.value == pytest.approx(100 * max(truth.count(t) for t in truth) / len(truth))
    assert chance.value > 100 / 8, "the classes are not even"
    assert f"chance {number(chance.value)}" in [text for _, text in page.text]
    assert any("Chance: frequency of the most common test class." in text for _, text in page.text)


def test_chance_over_encoders_that_scored_different_examples(run: Path, tmp_path: Path) -> None:
    found = [r for r in boards.load_results([run]) if r.dataset == "motionlab/motion"][:2]
    columns = read_predictions(Path(found[0].predictions))
    kept = [i for i, t in enumerate(columns["truth"]) if t == 0]
    write_predictions(tmp_path / "p.parquet", {name: [v[i] for i in kept] for name, v in columns.items()})
    few = replace(found[0], predictions=str(tmp_path / "p.parquet"))
    (column,) = boards.build([few, found[1]]).columns
    chance = ranking.analyze(column).ranking.chance
    assert chance is not None
    assert chance.value == pytest.approx(100 / 6), "of all examples that some encoder scored"


def test_chance_without_predictions_is_one_over_the_classes(tmp_path: Path, run: Path) -> None:
    for result in read(run):
        append(tmp_path, replace(result, predictions=""))
    seen = [text for _, text in Page(report.write(tmp_path)["html"].read_text()).text]
    assert {"chance 8.3", "chance 16.7", "chance 12.5"} <= set(seen)
    assert any("Chance: 1 / number of classes." in text for text in seen)
    mixed = [ranking.Chance(8.0, majority=True), ranking.Chance(9.0, majority=False)]
    assert phrases.chance_definition(mixed).endswith("test class, or without saved predictions 1 / number of classes")
    assert phrases.chance_definition([]) == ""


@pytest.mark.parametrize("change", [{"scores": {"mAP": Score(30.0)}}, {"settings": {}}])
def test_no_chance_for_other_scores_or_unknown_classes(run: Path, change: dict[str, Any]) -> None:
    (column,) = boards.build([replace(boards.load_results([run])[0], **change)]).columns
    assert ranking.analyze(column).ranking.chance is None


def test_chance_of_an_axis_is_the_mean_over_its_tasks_and_unknown_with_one_of_them(run: Path) -> None:
    first = next(r for r in boards.load_results([run]) if r.dataset == "motionlab/motion")
    other = replace(first, dataset="other", predictions="", settings={**first.settings, "classes": ["a", "b"]})
    unknown = replace(other, settings={**first.settings, "classes": []})
    for second, expected in ((other, (100 / 6 + 50) / 2), (unknown, None)):
        board = boards.build([first, second])
        rankings = {c.task: ranking.analyze(c).ranking for c in board.columns}
        whole = ranking.overall(board, rankings, "motion")
        assert whole is not None
        assert (whole.chance and whole.chance.value) == (expected and pytest.approx(expected))
        assert whole.chance is None or not whole.chance.majority


def test_unknown_axes_leave_the_scatter_out(tmp_path: Path) -> None:
    fake_run(tmp_path, tasks=[("mine", "knn", "", ("a", "b"))], odd=False, n=60)
    text = report.write(tmp_path)["html"].read_text()
    assert "Appearance against motion" not in text
    assert "On mine:knn" in text


def test_scatter_points_lie_where_the_scores_say(run: Path) -> None:
    rows = [boards.EncoderRow(0, "a", "a", {})]
    plot = plots.scatter(
        rows, ranking.Ranking({0: Score(50.0, 40.0, 60.0)}), ranking.Ranking({0: Score(25.0, 20.0, 30.0)})
    )
    assert plot is not None
    (point,) = plot.points
    assert plot.x.low + point.x / 100 * (plot.x.high - plot.x.low) == pytest.approx(50)
    assert plot.y.low + (100 - point.y) / 100 * (plot.y.high - plot.y.low) == pytest.approx(25)
    assert point.x_span == (plot.x.at(40.0), plot.x.at(60.0))
    assert point.y_span == pytest.approx((100 - plot.y.at(30.0), 100 - plot.y.at(20.0)))
    assert plots.scatter(rows, ranking.Ranking({}), ranking.Ranking({})) is None


@pytest.mark.parametrize(("level", "low", "drawn"), [(58.0, 55.0, True), (45.0, 40.0, True), (30.0, 60.0, False)])
def test_an_axis_reaches_for_chance_only_where_it_is_near(level: float, low: float, *, drawn: bool) -> None:
    axis = plots.axis([Score(65.0, 60.0, 70.0), Score(72.0, 66.0, 78.0)], ranking.Chance(level, majority=True))
    assert axis.low == low
    assert axis.chance == (level if drawn else None)


@given(st.lists(st.tuples(*[st.floats(0, 100)] * 3), min_size=1, max_size=9))
@settings(deadline=None, max_examples=50)
def test_axes_hold_every_interval_and_are_round(numbers: list[tuple[float, float, float]]) -> None:
    scores = [Score(sorted(n)[1], sorted(n)[0], sorted(n)[2]) for n in numbers]
    axis = plots.axis(scores)
    assert all(-0.01 <= axis.at(v) <= 100.01 for s in scores for v in s if v is not None)
    assert 2 <= len(axis.ticks) <= 8
    assert all(len(f"{tick:g}") <= 4 for tick in axis.ticks)


@given(st.lists(st.floats(0, 400), min_size=1, max_size=20))
@settings(deadline=None, max_examples=50)
def test_labels_keep_apart(tops: list[float]) -> None:
    placed = sorted(t + n for t, n in zip(tops, plots._nudges(tops, 400.0), strict=True))
    assert all(b - a > plots.LINE - 0.3 for a, b in pairwise(placed))
    assert placed[-1] <= 400.1
    assert placed[0] >= min(0, min(tops)) - 0.1


@given(st.text(st.characters(codec="utf-8")))
@settings(deadline=None, max_examples=50)
def test_latex_escapes(text: str) -> None:
    escaped = export_tables.tex_escape(text)
    for command in export_tables._TEX.values():
        escaped = escaped.replace(command, "")
    assert not set("\\&%$#_{}~^\n") & set(escaped)


def test_markdown_rows_keep_their_columns(run: Path) -> None:
    lines = [line for line in (run / "report.md").read_text().splitlines() if line.startswith("|")]
    bare = [len(re.findall(r"(?<!\\)\|", line)) for line in lines]
    assert bare == [6] * 6 + [3] * 4, "three tasks and an average; one task asked differently"
    assert "<b>" not in (run / "report.md").read_text().replace("\\<b\\>", "")


def test_numbers_in_type() -> None:
    assert [number(x) for x in (-0.01, 63.64, -3.25)] == ["0.0", "63.6", "−3.2"]
    assert [signed(x) for x in (0.0, 2.0, -2.0)] == ["0.0", "+2.0", "−2.0"]
    assert [format_duration(s) for s in (3.21, 61.0, 7260.0)] == ["3.2 s", "1 min 1 s", "2 h 1 min"]
    assert escaped("a\n\ud800\u202eb\u200dé") == "a\\n\\ud800\\u202eb\u200dé"


@pytest.mark.parametrize("count", [2, 3])
def test_terminal_tables_hold_every_score(run: Path, count: int) -> None:
    console = Console(width=78, record=True, file=io.StringIO())
    found = read(run) if count == 3 else [r for r in read(run) if r.dataset.startswith("motionlab")]
    console.print(report.terminal(found))
    text = console.export_text()
    for result in found:
        assert number(result.headline.value) in text
    assert ("†" in text) == (count == 3)
    assert ("limited" in text) == (count == 3)


def test_the_word_of_a_level_gives_way_to_a_marker() -> None:
    axis = plots.axis([Score(5.0, 4.0, 6.0), Score(90.0, 85.0, 95.0)], ranking.Chance(6.0, majority=True))
    line = 100 - axis.at(6.0)

    def end(*places: tuple[float, float, str, bool]) -> float:
        points = tuple(
            plots.Point(0, label, x, y, (x - 2, x + 2), (y - 2, y + 2), 0.0, left=left, tip="")
            for x, y, label, left in places
        )
        return plots.Scatter(axis, axis, 400, points).word_end(6.0)

    assert end() == end((80, line, "", False)) == end((96, line - 20, "far above", True)) == 100
    assert end((96, line, "", False)) == end((96, line - 5, "", False)) == 85
    assert end((96, line, "to the left", True)) == end((75, line, "to the right", False)) == 70
    assert end((96, line, "left", True), (4, line, "right", False)) == 70, "neither end"
    assert end(*((x, line, "", False) for x in range(0, 101, 4))) == 100, "there is no free place"


def test_every_table_has_the_chance_level(run: Path) -> None:
    """By the most common test class; in results without predictions by the recorded level, or 1 / number of classes."""
    board = boards.build(boards.load_results([run]))
    levels = [number(ranking.analyze(c).ranking.chance.value) for c in board.main()]
    written = {name: (run / f"report.{name}").read_text(encoding="utf-8") for name in ("html", "md", "tex")}
    assert re.search(r"\| \*chance\* \| " + r" \| ".join(map(re.escape, levels)), written["md"])
    assert re.search(r"emph\{chance\} & " + " & ".join(map(re.escape, levels)), written["tex"])
    assert all(level in written["html"] for level in levels)
    for width, found in ((78, read(run)), (120, [r for r in read(run) if r.dataset.startswith("motionlab")])):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(report.terminal([replace(r, chance=12.3) for r in found]))
        text = console.export_text()
        columns = len({(r.task, r.protocol) for r in found})
        assert text.count("chance") == (columns + 1 if width == 78 else 1), "one of the average over datasets"
        assert "12.3" in text
    assert ranking.chance_level(board.main()[0], ()).value == pytest.approx(100 / 12)


def test_compare_pairs_on_the_common_examples(run: Path, tmp_path: Path) -> None:
    fake_run(tmp_path, odd=False)
    path = tmp_path / read(tmp_path)[0].predictions
    columns = read_predictions(path)
    write_predictions(path, {name: values[40:] for name, values in columns.items()})
    first, *others = report.compare([tmp_path], "vit/small", "hf:lab/<b>big</b> & co")
    theirs = read_predictions(tmp_path / read(tmp_path)[1].predictions)
    assert (first.n, first.only_a, first.only_b) == (200, 0, 40)
    assert first.mean_a == pytest.approx(np.mean(columns["outcome"][40:]))
    assert first.mean_b == pytest.approx(np.mean(theirs["outcome"][40:]))
    assert first.value == pytest.approx(first.mean_a - first.mean_b)
    assert len(others) == 3
    assert json.loads(json.dumps([asdict(c) for c in (first, *others)]))
    text = report.compare_text([first, *others])
    assert "left out: 0 of the first encoder, 40 of the second" in text
    assert "motionlab/motion:knn" in text
    truth = theirs["label"]
    level = 100 * max(map(truth.count, truth)) / len(truth)
    assert first.chance == pytest.approx(level)
    assert f"chance {number(level)}" in text


def test_compare_ends_with_the_mean_of_both_axes(run: Path) -> None:
    *tasks, both = report.compare([run], "vit/small", "pixels/motion-energy")
    assert (both.task, both.axis) == ("mean of both axes:knn", "both")
    axes = [[c for c in tasks if c.axis == axis] for axis in ("appearance", "motion")]
    for name in ("value", "mean_a", "mean_b", "low", "chance"):
        mean = np.mean([np.mean([getattr(c, name) for c in axis]) for axis in axes])
        assert getattr(both, name) == pytest.approx(mean)
    assert both.n == sum(c.n for axis in axes for c in axis)
    assert both.p < both.adjusted <= 3 * both.p
    assert both.pairs == 3
    assert not any(c.axis == "both" for c in tasks)


def test_compare_refuses_different_protocols(run: Path, tmp_path: Path) -> None:
    found = read(run)
    mine = [r for r in found if r.dataset == "mine"]
    here, there = tmp_path / "here", tmp_path / "there"
    append(here, next(r for r in mine if r.limited))
    append(there, next(r for r in mine if r.encoder.startswith("pixels")))
    (one,) = report.compare([here, there], "vit/small", "pixels/motion-energy")
    assert one.refused == "only one was evaluated with --limit"
    assert ("probe.k", "10", "20") in one.differs
    assert one.value is None
    assert "not compared" in report.compare_text([one])
    assert "probe.k: 10 | 20" in report.compare_text([one])


def test_compare_across_runs(run: Path, tmp_path: Path) -> None:
    whole = report.compare([run], "vit/small", "pixels/motion-energy")
    for folder, encoder in (("one", "vit/small"), ("two", "pixels/motion-energy")):
        for result in read(run):
            if result.encoder == encoder:
                write_predictions(tmp_path / folder / result.predictions, read_predictions(run / result.predictions))
                append(tmp_path / folder, result)
    apart = report.compare([tmp_path / "one", tmp_path / "two"], "vit/small", "pixels/motion-energy")
    assert [replace(c, adjusted=None, least=0, pairs=0) for c in apart] == [
        replace(c, adjusted=None, least=0, pairs=0) for c in whole
    ]
    assert all((c.adjusted, c.pairs) == (c.p, 1) for c in apart), "two encoders are one pair"


def test_the_page_and_compare_print_the_same_p_value(run: Path, page: Page) -> None:
    """One function, one family of tests: all pairs of encoders of a task."""
    every = [tip for _, attributes in page.elements if (tip := attributes.get("data-tip"))]
    board = boards.build(boards.load_results([run]))
    for column in board.main():
        order = ranking.analyze(column).ranking
        for a, b in combinations(board.rows, 2):
            (one,) = [
                c for c in report.compare([run], a.label, b.label) if c.task == column.task and c.value is not None
            ]
            gap = order.difference(a.index, b.index)
            assert (one.value, one.low, one.high, one.p) == gap[:4]
            assert one.adjusted == order.adjusted(a.index, b.index)
            assert one.pairs == 3
            title = f"{escaped(a.label)} − {escaped(b.label)}"
            tips = [t for t in every if t.startswith(title) and margin(Score(*gap[:3])) in t]
            assert any(f"{p_value(one.adjusted)} (Holm-adjusted over 3 pairs)" in tip for tip in tips)
            assert f"{p_value(one.adjusted)}  n = {one.n}" in report.compare_text([one])
    assert ranking.FAMILY in " ".join(text for _, text in page.text)
    assert ranking.FAMILY in report.compare_text([one])


def test_what_it_takes_to_detect_a_difference() -> None:
    assert phrases.not_significant(35, 19, "") == "not significant"
    assert (
        phrases.not_significant(35, 2000, "")
        == "not significant; detecting a difference this large takes about 2,000 examples"
    )


def gap(units: int, n: int = 35) -> Difference:
    """A difference as clear as can be: one is right and the other wrong in all examples."""
    return paired(np.full(n, 100.0), np.zeros(n), np.arange(n) % units, rng=np.random.default_rng(0))


@pytest.mark.parametrize(("units", "tests"), [(2, 1), (5, 1), (6, 1), (6, 2), (8, 6), (8, 7), (12, 100)])
def test_what_no_difference_over_so_few_groups_can_reach(units: int, tests: int) -> None:
    """The clearest difference has the smallest p-value; Holm multiplies it by the number of tests."""
    clear = gap(units)
    assert clear.least == clear.p == pytest.approx(2.0 ** (1 - units))
    assert phrases.least_adjusted(clear, tests) == pytest.approx(max(holm([clear.p] * tests)))
    assert bool(phrases.gap_too_few(clear, tests)) == (min(tests * clear.p, 1.0) >= ranking.ALPHA)


def test_too_few_groups_in_words() -> None:
    few = phrases.gap_too_few(gap(5), 3)
    assert few == ("with 5 groups p cannot fall below 0.19 after correction for 3 tests, however large the difference")
    assert phrases.not_significant(35, None, few) == f"not significant; {few}"
    assert phrases.gap_too_few(gap(5, n=5), 1).startswith("with 5 examples p cannot fall below 0.062, however")
    rows = tuple(boards.EncoderRow(i, name, name, {}) for i, name in enumerate("ab"))
    ranked = ranking.rank({0: Score(100.0, 50.0, 100.0), 1: Score(0.0, 0.0, 50.0)}, {(0, 1): gap(5)})
    text = "".join(run.text for run in phrases.leader_sentence(boards.Leaderboard(rows, ()), "motion", ranked))
    assert text.endswith("b (0.0); with 5 groups p cannot fall below 0.062, however large the difference.")


def test_compare_names_what_is_wrong(run: Path) -> None:
    with pytest.raises(ValueError, match=r"no results of encoder 'vit/smal'; did you mean 'vit/small'\?"):
        report.compare([run], "vit/smal", "pixels/motion-energy")
    with pytest.raises(ValueError, match="given twice"):
        report.compare([run], "vit/small", "vit/small")


def test_predictions_may_not_lie_outside(run: Path, tmp_path: Path) -> None:
    append(tmp_path, replace(read(run)[0], predictions="../secret.parquet"))
    with pytest.raises(ValueError, match="outside the run folder"):
        report.write(tmp_path)


def test_wrong_format_and_empty_run(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'html'"):
        report.write(run, formats=["htm"])
    (tmp_path / RESULTS).write_text("")
    with pytest.raises(ValueError, match="no results; record some"):
        report.write(tmp_path)


def test_a_result_of_another_kind_is_shown_too(tmp_path: Path) -> None:
    bare = Result(
        encoder="e", dataset="d", probe="localize", version=1, scores={"mAP": Score(30.0)}, settings={}, protocol="p",
        n=3, expected=3,
    )  # fmt: skip
    append(tmp_path, bare)
    text = report.write(tmp_path)["html"].read_text()
    assert "30.0" in text
    assert "Classes" not in text


def test_no_torch_is_needed() -> None:
    every = "[getattr(vitascope.report, name) for name in vitascope.report.__all__]"
    code = f"import sys, vitascope.report, vitascope.metrics.stats; {every}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_predictions_of_another_shape_are_named(run: Path, tmp_path: Path) -> None:
    result = replace(read(run)[0], predictions="predictions/p.parquet")
    write_predictions(tmp_path / result.predictions, {"example": ["a"]})
    append(tmp_path, result)
    with pytest.raises(ValueError, match=r"p\.parquet: cannot be read \(no column id\)"):
        report.write(tmp_path)


def test_encoders_without_both_axes_are_named(tmp_path: Path, run: Path) -> None:
    for result in read(run):
        if not (result.encoder == "vit/small" and result.axis == "motion"):
            append(tmp_path, replace(result, predictions=""))
    page = Page(report.write(tmp_path)["html"].read_text())
    note = next(i for i, (_, text) in enumerate(page.text) if text.endswith("Left out:"))
    assert page.text[note + 1 : note + 3] == [("bdi", "vit/small"), ("p", "(no result on motionlab/motion:knn).")]
    assert sum(a.get("class", "").startswith("point ") for tag, a in page.elements if tag == "g") == 2
