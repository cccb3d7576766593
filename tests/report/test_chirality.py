"""Opposite classes in the report: the plot, the tables, paired differences, and names from outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vitascope import report
from vitascope.core.types import Score
from vitascope.evaluation.results import Result, append, write_predictions
from vitascope.metrics import pair_accuracy
from vitascope.metrics.pair_accuracy import CHANCE, HEADLINE, PairMargins
from vitascope.report.analysis import leaderboard, ranking
from vitascope.report.sections import chirality

NASTY = "<script>alert(1)</script>"
PAIRS = (f"up & {NASTY} / down", "open / close")
SKILLS = {"vit/small": 2.0, f"lab/{NASTY}": 0.0}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two encoders, two pairs with 40 test videos each."""
    folder = tmp_path_factory.mktemp("run")
    for number, (encoder, skill) in enumerate(SKILLS.items()):
        append(folder, result(folder, encoder, skill, number))
    return folder


def result(folder: Path, encoder: str, skill: float, number: int) -> Result:
    rng = np.random.default_rng(number)
    sides = [i // 2 % 2 for i in range(80)]
    examples = [PairMargins((i % 2,), (s,), (float(rng.normal() + skill * (s - 0.5)),)) for i, s in enumerate(sides)]
    scores, by_pair = pair_accuracy.bootstrap(examples, [None] * 80, np.random.default_rng(0))
    path = f"predictions/{number}.parquet"
    columns = {
        "id": [str(i) for i in range(80)],
        "fold": [0] * 80,
        "group": [""] * 80,
        **{name: [list(getattr(e, name)) for e in examples] for name in PairMargins._fields},
    }
    write_predictions(folder / path, columns)
    return Result(
        encoder=encoder,
        dataset="mine",
        probe="chirality",
        version=1,
        scores=scores,
        per_class={PAIRS[pair]: score for pair, score in by_pair.items()},
        chance=CHANCE,
        about=({"pairs": [{"name": name, "train": [9, 9], "test": [1020, 20]} for name in PAIRS]},),
        settings={"card": {"name": encoder}, "classes": ["up", "down"]},
        protocol="0123456789abcdef",
        axis="motion",
        n=80,
        expected=80,
        predictions=path,
    )


def test_pairs_are_drawn_with_chance_and_names_are_text(run: Path) -> None:
    text = report.write(run)["html"].read_text(encoding="utf-8")
    section = text[text.index('<section id="chirality"') :]
    section = section[: section.index("</section>")]
    assert NASTY not in section
    assert "up &amp; &lt;script&gt;" in section
    assert section.count('class="whisker"') == section.count('class="mark"') == 4
    assert section.count('<line class="chance" x1="50%"') >= 2
    assert "open / close" in section
    assert "chance 50" in section


def test_tables_hold_every_pair_with_its_interval(run: Path) -> None:
    board = leaderboard.build(leaderboard.load_results([run]))
    (table,) = chirality.pair_tables(board)
    assert table.heads[:3] == ("pair", "videos", "vit/small")
    assert {line[0] for line in table.rows} == {*PAIRS, "mean", "mean accuracy", "mean AUC"}
    assert {line[1] for line in table.rows} == {"1,020 + 20", ""}
    first = board.plain()[0].cells[0]
    score: Score = first.per_class["open / close"]
    assert f"{score.value:.1f} [{score.low:.1f}, {score.high:.1f}]" in {line[2] for line in table.rows}
    markdown = report.write(run, formats=["md"])["md"].read_text(encoding="utf-8")
    assert "opposite classes" in markdown
    assert NASTY not in markdown


def test_encoders_are_compared_on_the_same_resamples(run: Path) -> None:
    """The difference is that of the headlines, its interval lies around it, and chance is that of the result."""
    board = leaderboard.build(leaderboard.load_results([run]))
    (column,) = board.plain()
    assert column.axis == ""  # accuracies of pairs are not averaged with those of all classes
    found = ranking.analyze(column).ranking
    gap = found.difference(0, 1)
    assert gap is not None
    values = [column.cells[i].scores[HEADLINE].value for i in (0, 1)]
    assert gap.value == pytest.approx(values[0] - values[1])
    assert gap.low is not None
    assert gap.high is not None
    assert 0 < gap.low < gap.value < gap.high
    assert found.adjusted(0, 1) < 0.01
    assert (found.chance, found.tiers) == (ranking.Chance(50.0, majority=False), {0: 1, 1: 2})
