"""Results and predictions survive being written, interrupted and given odd names."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vitascope.core.files import atomic_file
from vitascope.core.types import Score
from vitascope.evaluation.results import RESULTS, Result, append, read, read_predictions, write_predictions
from vitascope.metrics.class_parts import ClassPart
from vitascope.report.analysis.phrases import coverage_note

PLAIN = Result(
    encoder="vit/tiny",
    dataset="mine",
    probe="knn",
    version=1,
    scores={"top1": Score(61.5, 58.0, 64.9), "top5": Score(90.0)},
    per_class={"a": Score(50.0, 40.0, 60.0)},
    folds=({"top1": 61.5},),
    settings={"probe": {"k": 20}, "card": {"name": "vit/tiny", "digest": "00"}},
    protocol="p0",
    n=100,
    expected=101,
    missing={"x.mp4": "no frame could be decoded"},
    order_free=52.9,
    parts=(ClassPart("pair", "all", 100, 70.0, 60.0, 79.0, 11.8, 100.0), ClassPart("class", "still", 0)),
)


def test_round_trip(tmp_path: Path) -> None:
    append(tmp_path, PLAIN)
    assert read(tmp_path) == [PLAIN]


def test_a_result_of_before_has_no_bound_without_order_and_no_parts_and_the_same_key() -> None:
    older = {k: v for k, v in json.loads(PLAIN.to_json()).items() if k not in ("order_free", "parts")}
    result = Result.from_json(json.dumps(older))
    assert (result.order_free, result.parts) == (None, ())
    assert result.key == PLAIN.key


@pytest.mark.parametrize(
    ("value", "n", "expected", "coverage", "bounds"),
    [
        (50.0, 80, 100, 0.8, (40.0, 60.0)),  # 40 right of 80; 20 more may be wrong or right
        (62.5, 8, 9, 8 / 9, (500 / 9, 600 / 9)),  # 5 right of 8
        (0.0, 1, 2, 0.5, (0.0, 50.0)),
        (100.0, 3, 4, 0.75, (75.0, 100.0)),
        (0.0, 0, 5, 0.0, (0.0, 100.0)),
        (61.5, 100, 100, 1.0, None),
    ],
)
def test_what_is_missing_bounds_the_score(
    value: float, n: int, expected: int, coverage: float, bounds: tuple[float, float] | None
) -> None:
    result = replace(PLAIN, scores={"top1": Score(value)}, n=n, expected=expected)
    assert result.coverage == pytest.approx(coverage)
    assert result.bounds == (bounds and pytest.approx(bounds))
    assert bool(coverage_note(result)) is (bounds is not None)


def test_bounds_are_those_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    outcomes = 100.0 * (rng.random(37) < 0.6)
    result = replace(PLAIN, scores={"top1": Score(float(outcomes.mean()))}, n=37, expected=41)
    every = [np.mean([*outcomes, *rest]) for rest in itertools.product((0.0, 100.0), repeat=4)]
    assert result.bounds == pytest.approx((min(every), max(every)))


def test_a_share_that_is_not_the_whole_never_reads_100() -> None:
    result = replace(PLAIN, n=9999, expected=10000)
    assert coverage_note(result).startswith("99.9\xa0% of the test set; with the missing videos it could be 61.5–61.5")


def test_a_line_reads_without_us(tmp_path: Path) -> None:
    append(tmp_path, PLAIN)
    line = json.loads((tmp_path / RESULTS).read_text())
    assert line["scores"]["top1"] == {"value": 61.5, "low": 58.0, "high": 64.9}
    assert line["schema"] == 2


@given(st.text(st.characters(codec=None), min_size=1))
@example("caf\udce9.mp4")
def test_any_name_stays_on_one_line(name: str) -> None:
    result = replace(PLAIN, encoder=name, missing={name: name}, per_class={name: Score(1.0)})
    line = result.to_json()
    assert "\n" not in line
    assert line.isascii()
    assert Result.from_json(line) == result


def test_line_separators_inside_names_do_not_divide_lines(tmp_path: Path) -> None:
    odd = replace(PLAIN, encoder="a\u2028b\x85c")
    append(tmp_path, odd)
    assert read(tmp_path) == [odd]


def test_later_lines_replace_earlier_ones_in_place(tmp_path: Path) -> None:
    other = replace(PLAIN, encoder="vit/small")
    again = replace(PLAIN, n=99)
    reweighted = replace(PLAIN, settings={**PLAIN.settings, "card": {"name": "vit/tiny", "digest": "11"}})
    for result in (PLAIN, other, again, reweighted):
        append(tmp_path, result)
    assert read(tmp_path) == [again, other, reweighted]


def test_a_torn_line_is_passed_over_wherever_it_stands(tmp_path: Path) -> None:
    whole = PLAIN.to_json().encode()
    other = replace(PLAIN, encoder='brace } and "quote \\')
    for cut in range(1, len(whole), 7):
        (tmp_path / RESULTS).write_bytes(whole[:cut])
        assert read(tmp_path) == []
        append(tmp_path, other)
        append(tmp_path, PLAIN)
        assert read(tmp_path) == [other, PLAIN]


@pytest.mark.parametrize("line", ["hello", "{}", "[]", '{"scores": 3}', "\udcff", '{"encoder": "a"} trailing'])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    append(tmp_path, PLAIN)
    with open(tmp_path / RESULTS, "ab") as file:
        file.write(line.encode(errors="surrogateescape") + b"\n")
    append(tmp_path, PLAIN)
    with pytest.raises(ValueError, match=r"results\.jsonl:2: not a result"):
        read(tmp_path)


def test_an_empty_folder_names_the_next_command(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="vitascope evaluate"):
        read(tmp_path)


def test_fields_of_a_newer_schema_are_ignored() -> None:
    data = json.loads(PLAIN.to_json()) | {"schema": 2, "mood": "sunny"}
    assert Result.from_json(json.dumps(data)).n == PLAIN.n


def test_a_result_has_a_score() -> None:
    with pytest.raises(ValueError, match="no score"):
        replace(PLAIN, scores={})
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(PLAIN, scores={"top1": Score(float("nan"))}).to_json()


def test_predictions_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "lr=0.1" / "p.parquet"
    columns = {"id": ["a", "ü"], "top": [[1, 2], [0]], "outcome": [100.0, 0.0]}
    write_predictions(path, columns)
    assert read_predictions(path) == columns
    assert read_predictions(path, {"id", "label"}) == {"id": ["a", "ü"]}
    assert read_predictions(path, {"top"}, top=1) == {"top": [[1], [0]]}
    assert [p.name for p in path.parent.iterdir()] == ["p.parquet"]


def test_unreadable_predictions_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.parquet"):
        read_predictions(tmp_path / "gone.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ValueError, match=r"bad\.parquet"):
        read_predictions(tmp_path / "bad.parquet")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_file(path) as aside:
            aside.write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_file(path) as one, atomic_file(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
