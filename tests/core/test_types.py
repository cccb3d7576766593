"""Segments, timelines and dataset digests."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.core.truth import describe_truth
from vitascope.core.types import Dataset, Example, Fold, Segment, Timeline, digest

FOLD = (Fold(name="f", train=("a",), test=("b",)),)


def two(**more: object) -> Dataset[int]:
    examples = (
        Example(id="a", path="p", truth=0, span=(0.0, 1.0), group="g", fps=3.0),
        Example(id="b", path="p", truth=1),
    )
    return Dataset(name="n", examples=examples, classes=("x", "y"), folds=FOLD, **more)  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), max_size=40))
def test_a_timeline_is_its_labels(labels: list[int]) -> None:
    timeline = Timeline.of(labels, 15.0)
    assert timeline.labels.dtype == np.int64
    assert timeline.labels.tolist() == labels
    assert timeline.frames == len(labels)
    assert all(a[0] != b[0] for a, b in zip(timeline.runs, timeline.runs[1:], strict=False))
    assert Timeline.of(timeline.labels, 15.0) == timeline


@pytest.mark.parametrize(("runs", "fps"), [(((0, 3),), 0.0), (((0, 0),), 15.0), (((1, -2),), 15.0)])
def test_a_timeline_without_frames_is_refused(runs: tuple[tuple[int, int], ...], fps: float) -> None:
    with pytest.raises(ValueError, match="a timeline needs frames"):
        Timeline(runs, fps)


def test_digests_of_recognition_are_what_they_were() -> None:
    """The digest from before task types and durations existed, written out by hand."""
    content = [["a", 0, [0.0, 1.0], "g", 3.0], ["b", 1, None, None, None]]
    fold = {"type": "Fold", "name": "f", "train": ["a"], "test": ["b"]}
    assert two().digest == digest(["n", ["x", "y"], content, [fold]])
    assert two(notes=("odd",)).digest == two().digest, "notes do not enter the digest"


def test_digests_know_kinds_durations_and_truths() -> None:
    def timed(truth: object, duration: float | None = 3.0, kind: str = "localization") -> str:
        examples = (Example(id="a", path="p", truth=truth, duration=duration), Example(id="b", path="p", truth=()))
        return Dataset(name="n", examples=examples, classes=("x", "y"), folds=FOLD, kind=kind).digest  # type: ignore[arg-type]

    first = timed((Segment(0.0, 1.0, 0),))
    others = [
        timed((Segment(0.0, 1.5, 0),)),
        timed((Segment(0.0, 1.0, 1),)),
        timed((Segment(0.0, 1.0, 0),), duration=4.0),
        timed((Segment(0.0, 1.0, 0),), duration=None),
        timed((Segment(0.0, 1.0, 0),), kind="segmentation"),
        timed(Timeline(((0, 2),), 2.0)),
    ]
    assert len({first, *others}) == 7
    assert timed((Segment(0.0, 1.0, 0),)) == first


@pytest.mark.parametrize(
    ("truth", "words"),
    [
        (1, "run"),
        (7, "7"),
        ((), "nothing"),
        ((Segment(0, 1, 1), Segment(2, 3, 0), Segment(4, 5, 1)), "jump, run x 2"),
        (Timeline.of([0, 0, 1, 0], 5.0), "jump x 2, run"),
    ],
)
def test_truths_in_words(truth: object, words: str) -> None:
    assert describe_truth(truth, ("jump", "run")) == words
