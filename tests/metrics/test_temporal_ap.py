"""Mean average precision against the official evaluation as loops, closed forms and general properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import temporal
from vitascope.metrics import temporal_ap
from vitascope.metrics.temporal_ap import Segments, average_precision, match, mean_over_classes

LEVELS = (0.3, 0.5, 0.7)


def random(seed: int, videos: int = 6, classes: int = 3, n: int = 60) -> tuple[Segments, Segments]:
    """Predictions around true segments, with distinct scores, and the truth."""
    rng = np.random.default_rng(seed)
    start, length = rng.uniform(0, 60, n), rng.uniform(1, 8, n)
    truth = Segments(rng.integers(videos, size=n), start, start + length, rng.integers(classes, size=n), np.ones(n))
    near = rng.integers(n, size=4 * n)
    label = np.where(rng.random(4 * n) < 0.8, truth.label[near], rng.integers(classes, size=4 * n))
    ends = [column[near] + rng.normal(0, 1.5, 4 * n) for column in (truth.start, truth.end)]
    return Segments(truth.video[near], *ends, label, rng.permutation(4 * n) / (4.0 * n)), truth


@settings(deadline=None, max_examples=200)
@given(temporal.rows(), temporal.rows(8))
def test_equals_the_official_loop(predictions, truth):
    got = temporal_ap.mean_ap(temporal.segments(predictions), temporal.segments(truth), LEVELS)
    np.testing.assert_allclose(got, [temporal.mean_ap(predictions, truth, level) for level in LEVELS], atol=1e-9)


@settings(deadline=None, max_examples=100)
@given(temporal.rows(), temporal.rows(8, least=1))
def test_each_prediction_matches_as_in_the_loop(predictions, truth):
    matching = match(temporal.segments(predictions), temporal.segments(truth), LEVELS)
    for level, true_row in zip(LEVELS, matching.true_row.tolist(), strict=True):
        expected = [
            w for label in sorted({t[3] for t in truth}) for w in temporal.walked(predictions, truth, level, label)
        ]
        assert list(zip(matching.row.tolist(), true_row, strict=True)) == expected


@pytest.mark.parametrize("seed", range(3))
def test_order_of_distinct_scores_does_not_matter(seed):
    predictions, truth = random(seed)
    rng = np.random.default_rng(seed)
    expected = temporal_ap.mean_ap(predictions, truth, LEVELS)
    mixed = [temporal_ap.rows(side, rng.permutation(len(side.video))) for side in (predictions, truth)]
    np.testing.assert_allclose(temporal_ap.mean_ap(*mixed, LEVELS), expected, rtol=1e-12)
    assert np.ptp(expected) > 10


@pytest.mark.parametrize("seed", range(3))
def test_only_the_order_of_scores_matters(seed):
    predictions, truth = random(seed)
    curved = predictions._replace(score=np.exp(5 * predictions.score) - 90)
    expected = temporal_ap.mean_ap(predictions, truth, LEVELS)
    assert temporal_ap.mean_ap(curved, truth, LEVELS).tolist() == expected.tolist()


@settings(deadline=None, max_examples=100)
@given(temporal.rows(), temporal.rows(8, least=1), st.integers(0, 2), st.sampled_from([0.0, 0.5, 1.0]))
def test_a_false_positive_never_helps_and_at_the_end_never_hurts(predictions, truth, label, score):
    before = temporal_ap.mean_ap(temporal.segments(predictions), temporal.segments(truth), LEVELS)
    far = [*predictions, (0, 1000.0, 1001.0, label, score)]
    after = temporal_ap.mean_ap(temporal.segments(far), temporal.segments(truth), LEVELS)
    assert (after <= before + 1e-9).all()
    if score == 0.0:
        np.testing.assert_allclose(after, before, atol=1e-9)


@settings(deadline=None, max_examples=100)
@given(temporal.rows(8, least=1))
def test_the_truth_itself_is_perfect(truth):
    columns = temporal.segments(truth)
    assert temporal_ap.mean_ap(columns, columns, (0.3, 1.0)) == pytest.approx([100.0, 100.0])
    assert temporal_ap.recall(columns, columns, LEVELS) == pytest.approx(100.0)
    nothing = temporal_ap.rows(columns, np.zeros(0, np.int64))
    assert temporal_ap.mean_ap(nothing, columns, LEVELS).tolist() == [0.0] * 3
    assert temporal_ap.recall(nothing, columns, LEVELS).tolist() == [[0.0] * 2] * 3


def test_by_hand():
    truth = temporal.segments([(0, 0, 10, 0, 1), (0, 10, 20, 0, 1), (1, 0, 10, 0, 1), (1, 0, 4, 7, 1)])
    rows = [
        (0, 0, 10, 0, 0.9),  # right
        (0, 1, 11, 0, 0.8),  # its best is taken, it overlaps the next by 1 of 19 s: false
        (1, 0, 5, 0, 0.7),  # half of it: right at 0.5, the threshold counts
        (5, 0, 10, 0, 0.6),  # a video without truth: false
        (0, 10, 20, 0, 0.5),  # right, the fifth
        (0, 0, 10, 3, 0.99),  # class 3 has no true segment
    ]
    # precision 1, 2/3, 3/5 at the recalls 1/3, 2/3, 1; class 7 has no prediction
    expected = 100 * (1 + 2 / 3 + 3 / 5) / 3 / 2
    assert temporal_ap.mean_ap(temporal.segments(rows), truth, [0.5]) == pytest.approx([expected])
    expected = 100 * (1 + 2 / 5) / 3 / 2
    assert temporal_ap.mean_ap(temporal.segments(rows), truth, [0.51]) == pytest.approx([expected])


def test_a_taken_segment_leaves_the_next_best():
    truth = temporal.segments([(0, 0, 10, 0, 1), (0, 2, 12, 0, 1)])
    same = temporal.segments([(0, 0, 10, 0, 0.9), (0, 0, 10, 0, 0.8), (0, 0, 10, 0, 0.7)])
    assert match(same, truth, [0.5]).true_row.tolist() == [[0, 1, -1]]
    assert match(same, truth, [0.7]).true_row.tolist() == [[0, -1, -1]]


def test_of_equal_scores_the_earlier_comes_first():
    truth = temporal.segments([(0, 0, 10, 0, 1)])
    right, wrong = (0, 0, 10, 0, 0.5), (0, 20, 30, 0, 0.5)
    assert temporal_ap.mean_ap(temporal.segments([right, wrong]), truth, [0.5]) == pytest.approx([100.0])
    assert temporal_ap.mean_ap(temporal.segments([wrong, right]), truth, [0.5]) == pytest.approx([50.0])


@settings(deadline=None, max_examples=100)
@given(temporal.rows(), temporal.rows(8, least=1))
def test_recall_counts_true_segments_that_some_top_prediction_exceeds(predictions, truth):
    expected = np.zeros((len(LEVELS), 2))
    labels = sorted({t[3] for t in truth})
    for label in labels:
        for t, level in enumerate(LEVELS):
            for k, multiple in enumerate((1, 5)):
                own = [r for r in truth if r[3] == label]
                got = 0
                for video in {r[0] for r in own}:
                    targets = [r for r in own if r[0] == video]
                    listed = sorted((p for p in predictions if p[0] == video and p[3] == label), key=lambda p: -p[4])
                    top = listed[: multiple * len(targets)]
                    got += sum(any(temporal.tiou(p, r) > level for p in top) for r in targets)
                expected[t, k] += 100 * got / len(own) / len(labels)
    got = temporal_ap.recall(temporal.segments(predictions), temporal.segments(truth), LEVELS)
    np.testing.assert_allclose(got, expected, atol=1e-9)


@pytest.mark.parametrize("normalizer", [None, 4.0])
@pytest.mark.parametrize("seed", range(3))
def test_weights_are_copies_of_videos(seed, normalizer):
    predictions, truth = random(seed, videos=5, n=30)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(5, np.full(5, 0.2), size=8)
    got = average_precision(match(predictions, truth, LEVELS), weights, normalizer=normalizer)
    for times, row in zip(weights, got, strict=True):
        copied = []
        for side in (predictions, truth):
            parts = []
            for video, count in enumerate(times.tolist()):
                own = temporal_ap.rows(side, side.video == video)
                parts += [own._replace(video=own.video * 10 + copy) for copy in range(count)]
            copied.append(Segments(*(np.concatenate(columns) for columns in zip(*parts, strict=True))))
        matching = match(*copied, LEVELS)
        (expected,) = average_precision(matching, normalizer=normalizer)
        np.testing.assert_allclose(row[:, matching.classes], expected, rtol=1e-9)
        assert np.isnan(np.delete(row, matching.classes, axis=1)).all()


@settings(deadline=None, max_examples=50)
@given(temporal.rows(), temporal.rows(8, least=1), st.floats(0.5, 9))
def test_normalized_precision(predictions, truth, normalizer):
    matching = match(temporal.segments(predictions), temporal.segments(truth), [0.5])
    got = average_precision(matching, normalizer=normalizer)[0, 0]
    for value, label in zip(got.tolist(), matching.classes.tolist(), strict=True):
        right = [j >= 0 for _, j in temporal.walked(predictions, truth, 0.5, label)]
        assert value == pytest.approx(temporal.area(right, sum(t[3] == label for t in truth), normalizer))


def test_blocks_of_draws_and_of_pairs_change_nothing(monkeypatch):
    predictions, truth = random(0)
    weights = np.random.default_rng(0).multinomial(6, np.full(6, 1 / 6), size=30)
    whole = average_precision(match(predictions, truth, LEVELS), weights)
    monkeypatch.setattr("vitascope.metrics.matching.BLOCK", 7)
    monkeypatch.setattr(temporal_ap, "BLOCK", 100)
    np.testing.assert_array_equal(average_precision(match(predictions, truth, LEVELS), weights), whole)


def test_intervals_over_videos():
    predictions, truth = random(1, videos=40, n=300)
    scores, _ = temporal_ap.bootstrap(match(predictions, truth, LEVELS), draws=400, rng=np.random.default_rng(0))
    values = temporal_ap.mean_ap(predictions, truth, LEVELS)
    assert list(scores) == ["mAP", "mAP@0.3", "mAP@0.5", "mAP@0.7"]
    assert [s.value for s in scores.values()] == pytest.approx([values.mean(), *values])
    assert all(s.low < s.value < s.high for s in scores.values())
    # by drawing and scoring anew: the same spread
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(100):
        picked = rng.integers(40, size=40)
        copies = [
            [(n, *r[1:]) for n, v in enumerate(picked.tolist()) for r in temporal.table(side) if r[0] == v]
            for side in (predictions, truth)
        ]
        drawn.append(temporal_ap.mean_ap(*map(temporal.segments, copies), LEVELS).mean())
    assert scores["mAP"].high - scores["mAP"].low == pytest.approx(2 * 1.96 * np.std(drawn), rel=0.3)


def test_groups_are_drawn_whole():
    predictions, truth = random(1, videos=20, n=100)
    options = {"draws": 100, "groups": np.arange(20) // 10}
    matching = match(predictions, truth, LEVELS)
    two, _ = temporal_ap.bootstrap(matching, rng=np.random.default_rng(0), **options)
    assert two["mAP"].low is not None
    one, _ = temporal_ap.bootstrap(matching, groups=["a"] * 20, rng=np.random.default_rng(0))
    assert one["mAP"].low is None


def test_a_class_that_no_draw_has_is_left_out():
    each = np.array([[[50.0, np.nan, 100.0]], [[np.nan, np.nan, np.nan]]])
    np.testing.assert_array_equal(mean_over_classes(each), [[75.0], [np.nan]])


def test_cleaning():
    rows = [
        (0, 1.0, 2.0, 0, 1),
        (0, 1.0005, 2.0005, 0, 1),  # the first again
        (0, 1.0015, 2.0, 0, 1),  # near the one before, which is gone
        (0, 1.0, 2.0, 1, 1),  # another class
        (1, 1.0, 2.0, 0, 1),  # another video
        (0, 3.0, 3.0, 0, 1),
        (0, 5.0, 4.0, 0, 1),
    ]
    assert temporal.table(temporal_ap.cleaned(temporal.segments(rows))) == [rows[i] for i in (0, 2, 3, 4)]


def test_labels_outside_the_classes_have_no_index():
    labels, classes = np.array([10, 20, 1, 30, 2]), np.array([10, 20, 40])
    assert temporal_ap.class_indices(labels, classes).tolist() == [0, 1, -1, -1, -1]
    assert temporal_ap.class_indices(labels, classes[:0]).tolist() == [-1] * 5


def test_segments_without_length_find_nothing():
    points = temporal.segments([(0, 1, 1, 0, 1), (0, 3, 2, 0, 1)])
    assert temporal_ap.mean_ap(points, points, [0.5]).tolist() == [0.0]


def test_nothing_at_all():
    nothing = temporal.segments([])
    assert np.isnan(temporal_ap.mean_ap(nothing, nothing, LEVELS)).all()
    assert np.isnan(temporal_ap.recall(nothing, nothing, LEVELS)).all()


@pytest.mark.parametrize(
    ("change", "levels", "message"),
    [
        ({"score": np.array([np.nan, 1.0])}, [0.5], "predictions: score nan in row 0, video 4"),
        ({"end": np.array([1.0, np.inf])}, [0.5], "predictions: end inf in row 1, video 5"),
        ({"end": np.ones(3)}, [0.5], "columns of predictions differ in length"),
        ({}, [0.0], "tIoU thresholds"),
        ({}, [30.0], "such as 0.3 to 0.7"),
        ({}, [], "tIoU thresholds"),
    ],
)
def test_bad_input_is_named(change, levels, message):
    good = temporal.segments([(4, 0, 1, 0, 0.5), (5, 0, 1, 0, 0.5)])
    with pytest.raises(ValueError, match=message):
        temporal_ap.mean_ap(good._replace(**change), good, levels)


def test_scores_of_the_truth_are_ignored():
    good = temporal.segments([(4, 0, 1, 0, 0.5)])
    truth = good._replace(score=np.array([np.nan]))
    assert temporal_ap.mean_ap(good, truth, [0.5]).tolist() == [100.0]
