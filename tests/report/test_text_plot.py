"""The text figures show every encoder at its scores, and nothing for fewer than two encoders."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.core.types import Score
from vitascope.evaluation.results import Result
from vitascope.report.charts.text_plot import ACROSS, BAR, sketch


def result(encoder: str, axis: str, value: float, **changes: object) -> Result:
    given: dict[str, object] = {
        "encoder": encoder,
        "dataset": f"set/{axis}",
        "probe": "linear",
        "version": 1,
        "scores": {"top-1": Score(value)},
        "settings": {"card": {"name": encoder}, "classes": list("abcd")},
        "protocol": axis,
        "axis": axis,
        "n": 4,
        "expected": 4,
    }
    return Result(**{**given, **changes})  # type: ignore[arg-type]


def both(encoder: str, appearance: float, motion: float) -> list[Result]:
    return [result(encoder, "appearance", appearance), result(encoder, "motion", motion)]


def test_bars_are_as_long_as_the_numbers_and_the_best_mean_comes_first() -> None:
    text = sketch([*both("low", 25, 12.5), *both("high", 100, 50)])
    bars = [line for line in text.splitlines() if "█" in line]
    assert [line.count("█") for line in bars] == [BAR, BAR // 2, BAR // 4, BAR // 8]
    assert "percent; chance 25.0 (appearance) and 25.0 (motion)" in text, "of four classes"
    assert bars[0].split() == ["high", "appearance", "█" * BAR, "100.0"]
    assert bars[3].split()[-1] == "12.5"


def test_the_plane_has_each_letter_once_and_a_legend() -> None:
    text = sketch([*both("low", 0, 0), *both("high", 100, 100), *both("same", 100, 100)])
    plane = [line[3:] for line in text.splitlines() if line.startswith("  │")]
    assert plane[0].index("A") == ACROSS - 1
    assert plane[0].index("B") == ACROSS - 2
    assert plane[-1].startswith("C")
    assert "  B  same  100.0 / 100.0" in text
    assert "┼" in text


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=2, max_size=20))
@settings(deadline=None)
def test_any_numbers_fit(pairs: list[tuple[float, float]]) -> None:
    text = sketch([r for i, (a, m) in enumerate(pairs) for r in both(f"e{i}", a, m)])
    plane = [line[3:] for line in text.splitlines() if line.startswith("  │")]
    assert sum(c.isalpha() for line in plane for c in line) == len(pairs)
    assert {len(line) for line in plane} == {ACROSS}


@pytest.mark.parametrize("results", [[], both("one", 50, 50), [result("a", "motion", 1), result("b", "motion", 2)]])
def test_nothing_to_compare_is_nothing(results: list[Result]) -> None:
    assert sketch(results) == ""
