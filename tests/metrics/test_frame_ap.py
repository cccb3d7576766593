"""Frame-mAP against goldens of the evaluators' own code, the official evaluation as loops, and closed forms."""

import csv
import gzip
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import detection
from helpers import parity
from vitascope.core.errors import UserError
from vitascope.metrics import boxes, frame_ap, temporal_ap

NAMES = {"official": "official", "official_nocap": "uncapped", "slowfast": "slowfast", "mmaction2": "mmaction2"}
CLASSES = {1, 2, 3}


def golden(name):
    """Predictions, truth, frames without people and excluded frames of a golden, and what the evaluators give."""
    tables = {}
    for kind in ("gt", "det", "excluded"):
        text = gzip.decompress(parity(f"metrics/{name}/{kind}.csv.gz").read_bytes()).decode()
        tables[kind] = list(csv.reader(io.StringIO(text)))
    videos = {v: i for i, v in enumerate(sorted({row[0] for table in tables.values() for row in table}))}
    sides = {
        kind: [(videos[r[0]], *map(float, r[1:8])) for r in table if len(r) == 8] for kind, table in tables.items()
    }
    empty = [(videos[r[0]], float(r[1])) for r in tables["gt"] if len(r) == 2]
    excluded = [(videos[r[0]], float(r[1])) for r in tables["excluded"]]
    expected = json.loads(parity(f"metrics/{name}.expected.json").read_text())
    return sides["det"], sides["gt"], empty, excluded, expected


def classes_of(expected):
    """Names of the evaluated classes by number, in the order of the label map, which is that of the numbers."""
    skipped = {2, 16, 18, 19, 21, 23, 25, 31, 32, 33, 35, 39, 40, 42, 44, 50, 53, 55, 71, 75}
    numbers = [i for i in range(1, 81) if i not in skipped]
    return dict(zip(numbers, expected["official"]["per_class"], strict=True))


@pytest.mark.parametrize("name", ["ava0", "ava_ties"])
def test_every_reading_equals_its_evaluator_to_the_last_digit(name):
    predictions, truth, empty, excluded, expected = golden(name)
    classes = classes_of(expected)
    if name == "ava_ties":
        value, _ = detection.official(predictions, truth, set(classes), empty=empty, excluded=excluded)
        if value != expected["official"]["fAP"]:
            pytest.skip("NumPy's unstable sort orders equal scores otherwise on this processor")
    for kind, reading in NAMES.items():
        how = frame_ap.READINGS[reading]
        sides = (detection.boxes(predictions), detection.boxes(truth))
        frames = {"empty": detection.frames(empty), "excluded": detection.frames(excluded)}
        selected = frame_ap.select(*sides, classes=classes, **frames, reading=how)
        each = frame_ap.class_precisions(frame_ap.match(selected, [0.5], how), selected.classes, how)
        assert frame_ap.means(each, selected.classes).tolist() == [expected[kind]["fAP"]]
        for label, value in zip(selected.classes.tolist(), each[0].tolist(), strict=True):
            wanted = expected[kind].get("per_class", {}).get(classes[label], value)
            assert np.isnan(value) if wanted is None else value == wanted or np.isnan(wanted)


FRAMES = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.0, 1.0, 2.0])), max_size=2)


@settings(deadline=None, max_examples=60)
@given(detection.rows(20), detection.rows(8), FRAMES, FRAMES, st.sampled_from([0, 2, 3, 50]))
def test_equals_the_official_loop_with_ties_limits_and_frames(predictions, truth, empty, excluded, capacity):
    value, each = detection.official(predictions, truth, CLASSES, empty=empty, excluded=excluded, capacity=capacity)
    reading = frame_ap.READINGS["official"]._replace(capacity=capacity)
    selected = frame_ap.select(
        detection.boxes(predictions),
        detection.boxes(truth),
        classes=CLASSES,
        empty=detection.frames(empty),
        excluded=detection.frames(excluded),
        reading=reading,
    )
    got = frame_ap.class_precisions(frame_ap.match(selected, [0.5], reading), selected.classes, reading)
    np.testing.assert_array_equal(got[0], [each[label] for label in sorted(CLASSES)])
    np.testing.assert_array_equal(frame_ap.means(got, selected.classes), [value])
    assert sum(selected.ignored.values()) + len(selected.row) == len(predictions)


@settings(deadline=None, max_examples=40)
@given(detection.rows(20, flat=False), detection.rows(8, flat=False), st.sampled_from(["multisports", "act"]))
def test_readings_of_tube_sets_equal_their_loops(predictions, truth, name):
    reading = frame_ap.READINGS[name]

    def overlap(a, b):
        return detection.iou(a[2:6], b[2:6], reading.pixel) if a[:2] == b[:2] else 0.0

    wanted = []
    for label in sorted({t[6] for t in truth}):
        own = [t for t in truth if t[6] == label]
        listed = [(p[7], p) for p in predictions if p[6] == label]
        right = np.array(detection.walked(listed, own, overlap, 0.5, second=reading.second_choice), bool)
        wanted.append((detection.straight if reading.trapezoid else detection.area)(right, len(own)))
    got = frame_ap.mean_ap(detection.boxes(predictions), detection.boxes(truth), reading=reading)
    np.testing.assert_allclose(got, [np.mean(wanted) if wanted else np.nan], atol=1e-12)


def test_by_hand():
    truth = [(0, 0, 0.0, 0.0, 0.5, 0.5, 1, 1), (0, 0, 0.5, 0.5, 1.0, 1.0, 1, 1), (0, 1, 0.0, 0.0, 0.5, 0.5, 2, 1)]
    found = [
        (0, 0, 0.0, 0.0, 0.5, 0.5, 1, 0.9),  # right
        (0, 0, 0.0, 0.0, 0.5, 0.5, 1, 0.8),  # again: wrong, no second choice
        (0, 0, 0.5, 0.5, 1.0, 0.75, 1, 0.7),  # half of it: the threshold counts
        (0, 2, 0.0, 0.0, 0.5, 0.5, 1, 0.99),  # a frame that is not listed
        (0, 0, 0.0, 0.0, 0.5, 0.5, 3, 0.99),  # a class without true boxes
    ]
    sides = (detection.boxes(found), detection.boxes(truth))
    assert frame_ap.mean_ap(*sides, (0.5, 0.55)).tolist() == pytest.approx([(1 + 2 / 3) / 4, 1 / 4])
    empty = detection.frames([(0, 2)])  # now it is a frame without people, and its box a false positive
    assert frame_ap.mean_ap(*sides, empty=empty).tolist() == pytest.approx([(2 / 4 + 2 / 4) / 4])
    excluded = detection.frames([(0, 1)])
    assert frame_ap.mean_ap(*sides, excluded=excluded).tolist() == pytest.approx([(1 + 2 / 3) / 2])


@pytest.mark.parametrize("score", [0.5, 0.4])
def test_only_a_higher_score_replaces_a_row_beyond_the_limit(score):
    first = [(0, 0, 0.0, 0.0, 0.1, 0.1, 1, 0.5)] * 49 + [(0, 0, 0.5, 0.5, 1.0, 1.0, 2, 0.5)]
    last = [(0, 0, 0.0, 0.0, 0.1, 0.1, 3, 0.9 if score == 0.5 else 0.5)]
    truth = detection.boxes([(0, 0, 0.0, 0.0, 0.1, 0.1, 3, 1)])
    got = frame_ap.mean_ap(detection.boxes(first + last), truth, classes=CLASSES)
    assert got.tolist() == ([1.0] if score == 0.5 else [0.0])


@settings(deadline=None, max_examples=20)
@given(detection.rows(8, flat=False))
def test_the_truth_itself_is_perfect(truth):
    distinct = list({row[:7]: row for row in truth}.values())
    if distinct:
        side = detection.boxes(distinct)
        assert frame_ap.mean_ap(side, side, (0.5, 1.0)).tolist() == pytest.approx([1.0, 1.0])
        nothing = boxes.rows(side, np.zeros(0, np.int64))
        assert frame_ap.mean_ap(nothing, side).tolist() == [0.0]
        assert np.isnan(frame_ap.mean_ap(side, nothing)).all()


def random(seed, n=300):
    """Boxes around true boxes in 12 videos of 5 frames."""
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 0.6, (n, 2)), rng.uniform(0.1, 0.4, (n, 2))
    truth = boxes.Boxes(
        rng.integers(12, size=n),
        rng.integers(5, size=n).astype(float),
        np.hstack([corner, corner + size]),
        rng.integers(1, 4, size=n),
        np.ones(n),
    )
    near = rng.integers(n, size=3 * n)
    given = boxes.rows(truth, near)
    return given._replace(box=given.box + rng.normal(0, 0.03, (3 * n, 4)), score=rng.random(3 * n)), truth


def test_interval_and_its_value_agree_with_the_mean():
    selected = frame_ap.select(*random(0))
    matching = frame_ap.match(selected, frame_ap.COCO_LEVELS)
    scores, each = temporal_ap.bootstrap(matching, draws=100, rng=np.random.default_rng(0))
    got = frame_ap.mean_ap(*random(0), frame_ap.COCO_LEVELS)
    assert scores["mAP@0.5"].value == pytest.approx(100 * got[0])
    assert scores["mAP"].value == pytest.approx(100 * got.mean())
    assert sorted(each) == [1, 2, 3]
    assert scores["mAP@0.5"].low < 100 * got[0] < scores["mAP@0.5"].high


def test_order_of_distinct_scores_does_not_matter():
    predictions, truth = random(1)
    mixed = boxes.rows(predictions, np.random.default_rng(1).permutation(len(predictions.label)))
    assert frame_ap.mean_ap(mixed, truth).tolist() == frame_ap.mean_ap(predictions, truth).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": np.array([0.5, np.nan])}, "predictions: score nan in row 1, video 0: expected finite numbers"),
        ({"score": np.array([0.5])}, "columns of predictions do not fit"),
        ({"box": np.zeros((2, 3))}, "four numbers x1, y1, x2, y2"),
    ],
)
def test_bad_columns_are_refused(change, message):
    side = detection.boxes([(0, 0, 0, 0, 1, 1, 1, 0.5)] * 2)
    with pytest.raises(UserError, match=message):
        frame_ap.mean_ap(side._replace(**change), side)


def test_an_inverted_true_box_and_a_wrong_threshold_are_refused():
    side = detection.boxes([(0, 0, 0.5, 0, 0.1, 1, 1, 0.5)])
    with pytest.raises(UserError, match=r"true box .* in row 0, video 0: expected x1, y1, x2, y2 with x1 <= x2"):
        frame_ap.mean_ap(side, side)
    good = side._replace(box=np.array([[0, 0, 1.0, 1.0]]))
    with pytest.raises(UserError, match="IoU thresholds"):
        frame_ap.mean_ap(good, good, [0.0])
