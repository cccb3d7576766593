"""Error analysis against hand-made cases and loops over every prediction."""

import numpy as np
import pytest
from hypothesis import given, settings

import temporal
from vitascope.metrics import localization_errors as errors
from vitascope.metrics import temporal_ap
from vitascope.metrics.temporal_ap import match

LEVELS = (0.3, 0.5, 0.7)
CASES = [
    ((0, 0, 10, 0, 0.99), "true positive"),
    ((0, 0, 9, 0, 0.98), "double detection"),
    ((0, 0, 9, 1, 0.97), "wrong label"),
    ((0, 0, 4, 0, 0.96), "localization"),
    ((0, 0, 4, 1, 0.95), "confusion"),
    ((0, 9.5, 14, 0, 0.94), "background"),  # touches by 0.5 of 14 seconds
    ((3, 0, 10, 0, 0.93), "background"),  # another video
    ((0, 50, 60, 0, 0.92), "wrong label"),
    ((0, 70, 80, 0, 0.91), "true positive"),
    ((0, 70, 80, 0, 0.90), "double detection"),  # the same segment is annotated with class 1, too
]
TRUTH = [(0, 0, 10, 0, 1), (0, 50, 60, 1, 1), (0, 70, 80, 1, 1), (0, 70, 80, 0, 1)]


def test_kinds_by_hand():
    rows = [row for row, _ in CASES] + [(0, 0, 10, 9, 0.5)]  # class 9 has no true segment
    result = errors.diagnose(temporal.segments(rows), temporal.segments(TRUTH), [0.5])
    assert [errors.KINDS[k] for k in result.kinds[0, :-1]] == [kind for _, kind in CASES]
    assert result.kinds[0, -1] == -1
    assert result.detected.tolist() == [[True, False, False, True]]
    assert sum(result.false.values()) == pytest.approx(100.0)
    assert result.false["double detection"] == pytest.approx(100 * 2 / 8)


def kind(prediction, truth, level):
    """The error type of a false positive."""
    near = [(temporal.tiou(prediction, t), t[3] == prediction[3]) for t in truth if t[0] == prediction[0]]
    most, own = max(near, default=(0.0, False))
    if most >= level:
        return "double detection" if own else "wrong label"
    if most >= 0.1:
        return "localization" if own else "confusion"
    return "background"


@settings(deadline=None, max_examples=150)
@given(temporal.rows(), temporal.rows(8, least=1))
def test_kinds_profile_and_gains_by_loops(predictions, truth):
    result = errors.diagnose(temporal.segments(predictions), temporal.segments(truth), LEVELS, multiple=2)
    counts = np.zeros((2, len(errors.KINDS)))
    base = np.mean([temporal.mean_ap(predictions, truth, level) for level in LEVELS])
    without = dict.fromkeys(errors.KINDS[1:], 0.0)
    for t, level in enumerate(LEVELS):
        named = ["-"] * len(predictions)
        for label in {r[3] for r in truth}:
            count = sum(r[3] == label for r in truth)
            for rank, (i, j) in enumerate(temporal.walked(predictions, truth, level, label)):
                named[i] = "true positive" if j >= 0 else kind(predictions[i], truth, level)
                assert j < 0 or result.detected[t, j]
                if rank < 2 * count:
                    counts[rank // count, errors.KINDS.index(named[i])] += 1
        assert [errors.KINDS[k] if k >= 0 else "-" for k in result.kinds[t]] == named
        assert result.detected[t].sum() == named.count("true positive")
        for name in without:
            left = [p for p, n in zip(predictions, named, strict=True) if n != name]
            without[name] += temporal.mean_ap(left, truth, level) / len(LEVELS)
    for got, row in zip(result.profile, counts, strict=True):
        np.testing.assert_allclose(got, 100 * row / row.sum() if row.any() else np.nan)
    wrong = counts[:, 1:].sum(axis=0)
    assert list(result.false.values()) == pytest.approx((100 * wrong / max(wrong.sum(), 1)).tolist())
    assert result.gains == pytest.approx({name: value - base for name, value in without.items()}, abs=1e-9)
    assert min(result.gains.values()) > -1e-9


def test_normalized_gains_are_gains_of_normalized_ap():
    truth, predictions = temporal.segments(TRUTH), temporal.segments([row for row, _ in CASES])
    result = errors.diagnose(predictions, truth, [0.5], normalized=True)
    keep = np.array([k != "double detection" for _, k in CASES])
    base, without = (
        temporal_ap.average_precision(match(side, truth, [0.5]), normalizer=2.0).mean()
        for side in (predictions, temporal_ap.rows(predictions, keep))
    )
    assert result.gains["double detection"] == pytest.approx(without - base)


@settings(deadline=None, max_examples=100)
@given(temporal.rows(), temporal.rows(8, least=1))
def test_ranges_by_loops(predictions, truth):
    ranges = errors.Ranges(("short", "middle", "long", "never"), (0, 2, 4, 99))
    columns = temporal.segments(truth)
    matching = match(temporal.segments(predictions), columns, LEVELS)
    parts = errors.sensitivity(matching, ranges, errors.lengths(columns))
    labels = sorted({r[3] for r in truth})
    for name, low, high in (("short", 0, 2), ("middle", 2, 4), ("long", 4, 99), ("never", 99, 1000)):
        own = [low < r[2] - r[1] <= high for r in truth]
        assert parts[name].segments == sum(own)
        if not any(own):
            assert np.isnan([parts[name].average_map, parts[name].missed]).all()
            continue
        each, got = [], 0
        for level in LEVELS:
            values = []
            for label in labels:
                count = sum(o and r[3] == label for o, r in zip(own, truth, strict=True))
                walk = [j for _, j in temporal.walked(predictions, truth, level, label) if j < 0 or own[j]]
                got += sum(j >= 0 for j in walk)
                if count:
                    values.append(temporal.area([j >= 0 for j in walk], count, len(truth) / len(labels)))
            each.append(np.mean(values))
        assert parts[name].average_map == pytest.approx(np.mean(each))
        assert parts[name].missed == pytest.approx(100 * (1 - got / sum(own) / len(LEVELS)))


def test_edges_of_ranges():
    assert [errors.LENGTH.names[i] for i in errors.LENGTH.of([0, 30, 30.1, 60, 120, 180, 181, 1e9])] == [
        *("XS", "XS", "S", "S", "M", "L", "XL", "XL")
    ]
    assert errors.COVERAGE.of([0.02, 0.021, 0.08, 0.09, 1]).tolist() == [0, 1, 3, 4, 4]
    with pytest.raises(ValueError, match=r"-1\.0 at row 1 is outside all ranges: the lowest starts at 0"):
        errors.LENGTH.of([1, -1])
    with pytest.raises(ValueError, match="nan at row 0"):
        errors.LENGTH.of([np.nan])


def test_coverage():
    truth = temporal.segments([(4, 0, 10, 0, 1), (5, 5, 10, 0, 1), (5, 5, 30, 0, 1)])
    assert errors.coverage(truth, {4: 40.0, 5: 20.0}).tolist() == [0.25, 0.25, 1.0]
    with pytest.raises(ValueError, match="no duration for 1 video with true segments, the first is 5"):
        errors.coverage(truth, {4: 40.0})
    with pytest.raises(ValueError, match=r"video 5 has duration 0\.0 s"):
        errors.coverage(truth, {4: 40.0, 5: 0.0})
    with pytest.raises(ValueError, match="2 values for 3 true segments"):
        errors.sensitivity(match(truth, truth, [0.5]), errors.COVERAGE, [0.1, 0.2])


def test_perfect_predictions_have_no_error():
    truth = temporal.segments(TRUTH)
    result = errors.diagnose(truth, truth, LEVELS)
    assert not result.kinds.any()
    assert result.detected.all()
    assert set(result.false.values()) == set(result.gains.values()) == {0.0}
