"""Bars on one axis: what lies where, what pointing says, lanes of what overlaps, fillings, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitascope.report.charts.timelines import (
    BACKGROUND,
    BAR,
    LANES,
    N_FILLS,
    LabeledSpan,
    Track,
    assign_fills,
    label_runs,
    timeline,
)


def test_runs_of_frames() -> None:
    found = label_runs(np.array([2, 2, 0, -1, -1, 2]), 2.0)
    assert found == [LabeledSpan(2, 0.0, 1.0), LabeledSpan(0, 1.0, 1.5), LabeledSpan(2, 2.5, 3.0)]


def test_bars_have_the_position_and_tooltip_of_their_segment() -> None:
    truth, predicted = np.repeat([0, 1, 0], [30, 60, 30]), np.repeat([1, 0], [60, 30])
    tracks = [Track("truth", label_runs(truth, 15)), Track("encoder", label_runs(predicted, 15), "50.0 %")]
    drawn = timeline(tracks, ["cut", "peel"], seconds=8)
    assert [(b.left, b.width) for b in drawn.rows[0].bars] == [(0, 25), (25, 50), (75, 25)]
    assert [(b.left, b.width) for b in drawn.rows[1].bars] == [(0, 50), (50, 25)], "it ends before the video does"
    assert [b.tip for b in drawn.rows[1].bars] == ["encoder\npeel\n0.0 to 4.0 s", "encoder\ncut\n4.0 to 6.0 s"]
    assert [r.height for r in drawn.rows] == [BAR, BAR]
    assert [b.fill for r in drawn.rows for b in r.bars] == [0, 1, 0, 1, 0], "as long as the other, the first by number"
    assert drawn.legend == (("cut", 0), ("peel", 1))
    assert [(t.at, t.text) for t in drawn.ticks] == [(12.5 * i, f"{i} s") for i in range(9)]


def test_scores_are_in_the_tooltip_and_the_highest_in_the_first_lane() -> None:
    predicted = [
        LabeledSpan(0, 0.0, 4.0, 0.3),
        LabeledSpan(0, 2.0, 6.0, 0.9),
        LabeledSpan(0, 5.0, 8.0, 0.2),
        LabeledSpan(0, 6.0, 9.0, 0.8),
    ]
    (row,) = timeline([Track("encoder", predicted)], ["cut"], seconds=10).rows
    assert [(b.left, b.top > 0) for b in row.bars] == [(20, False), (60, False), (0, True), (50, True)]
    assert row.bars[0].tip == "encoder\ncut\n2.0 to 6.0 s, score 0.90"
    assert row.height == row.bars[-1].top + row.bars[-1].height


spans = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6), st.sampled_from([0.1, 0.5, 0.9])), max_size=25)


@given(spans)
def test_what_overlaps_is_never_drawn_over_another(drawn: list[tuple[int, int, float]]) -> None:
    stretches = [LabeledSpan(0, float(start), float(start + length), score) for start, length, score in drawn]
    found = timeline([Track("encoder", stretches)], ["cut"], seconds=26)
    (row,) = found.rows
    for lane in {b.top for b in row.bars}:
        ordered = sorted((b for b in row.bars if b.top == lane), key=lambda b: b.left)
        assert all(a.left + a.width <= b.left + 2e-3 for a, b in pairwise(ordered))
    assert len({b.top for b in row.bars}) <= LANES
    left_out = len(stretches) - len(row.bars)
    assert found.note == (f"Segments hidden behind others: {left_out}." if left_out else "")
    most = max((sum(s.start <= t < s.end for s in stretches) for t in range(26)), default=0)
    assert left_out or most <= LANES
    assert bool(left_out) >= (most > LANES)


def test_fills_are_assigned_by_duration_and_background_is_pale() -> None:
    truth = [LabeledSpan(3, 0, 1), LabeledSpan(1, 1, 5), LabeledSpan(0, 5, 15), LabeledSpan(3, 15, 16)]
    assert assign_fills([0, 1, 2, 3], truth, background=[0]) == {1: 0, 3: 1, 2: 2, 0: BACKGROUND}
    assert list(assign_fills([0, 1], truth, background=[0])) == [1, 0], "in a legend, last"


def test_a_note_if_there_are_more_classes_than_fills() -> None:
    every = [LabeledSpan(i, float(i), i + 1.0) for i in range(N_FILLS + 1)]
    classes = [f"class {i}" for i in range(N_FILLS + 1)]
    most = timeline([Track("truth", every[:-1])], classes, seconds=60)
    assert len({b.fill for b in most.rows[0].bars}) == N_FILLS == 48
    assert not most.note
    more = timeline([Track("truth", every)], classes, seconds=60)
    assert more.note == "From class 49 on, fills repeat."
    assert more.rows[0].bars[-1].fill == more.rows[0].bars[0].fill


@pytest.mark.parametrize(
    ("tracks", "seconds", "message"),
    [
        ([], 8.0, "no tracks to draw"),
        ([Track("a", [])], 0.0, "cannot draw 0.0 seconds: the duration must be positive"),
        (
            [Track("a", [LabeledSpan(3, 0.0, 1.0)])],
            8.0,
            "a: label 3 is outside the 2 classes, which are numbered from 0",
        ),
    ],
)
def test_refused(tracks: list[Track], seconds: float, message: str) -> None:
    with pytest.raises(ValueError) as error:
        timeline(tracks, ["x", "y"], seconds=seconds)
    assert str(error.value) == message
