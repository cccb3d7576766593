"""Error types of boxes by hand and by loops, and recall of boxes against a loop."""

import numpy as np
import pytest
from hypothesis import given, settings

import detection
from vitascope.core.errors import UserError
from vitascope.metrics import boxes, detection_errors, frame_ap, localization_errors
from vitascope.metrics.detection_errors import KINDS, PEOPLE, SIZES

READING = frame_ap.READINGS["stable"]


def diagnosed(found, truth):
    selected = frame_ap.select(detection.boxes(found), detection.boxes(truth), reading=READING)
    matching = frame_ap.match(selected, [0.5], READING)
    return selected, matching, detection_errors.diagnose(selected, matching)


def test_types_by_hand():
    person, other = (0.0, 0.0, 0.4, 0.8), (0.6, 0.0, 1.0, 0.8)
    truth = [(0, 0, *person, 1, 1), (0, 0, *person, 2, 1), (0, 0, *other, 3, 1)]
    found = [
        (0, 0, *person, 1, 0.9),  # right
        (0, 0, *person, 1, 0.8),  # again
        (0, 0, *person, 3, 0.7),  # the action of the other
        (0, 0, 0.0, 0.0, 0.4, 0.2, 2, 0.6),  # a quarter of the person
        (0, 0, 0.0, 0.0, 0.4, 0.2, 3, 0.5),  # the same with the action of the other
        (0, 0, 0.45, 0.0, 0.55, 0.8, 1, 0.4),  # between them
    ]
    selected, matching, errors = diagnosed(found, truth)
    by_row = dict(zip(selected.row.tolist(), errors.kinds[0].tolist(), strict=True))
    assert [KINDS[by_row[i]] for i in range(6)] == list(KINDS)
    assert detection_errors.missed(errors) == pytest.approx(200 / 3)
    assert errors.gains["double"] == pytest.approx(0.0)
    assert list(errors.false) == list(KINDS[1:])
    assert detection_errors.people(selected.truth).tolist() == [2, 2, 2]
    parts = localization_errors.sensitivity(matching, PEOPLE, detection_errors.people(selected.truth))
    assert parts["2"].segments == 3
    assert parts["2"].missed == pytest.approx(200 / 3)
    sizes = localization_errors.sensitivity(matching, SIZES, detection_errors.sizes(selected.truth))
    assert {name: part.segments for name, part in sizes.items() if part.segments} == {"L": 3}


@settings(deadline=None, max_examples=40)
@given(detection.rows(12, flat=False), detection.rows(8, flat=False))
def test_types_equal_their_definition(found, truth):
    selected, matching, errors = diagnosed(found, truth)
    right = {selected.row[matching.row[i]] for i in np.flatnonzero(matching.true_row[0] >= 0)}
    for place, row in enumerate(selected.row.tolist()):
        p = found[row]
        near = [(detection.iou(p[2:6], t[2:6]), t[6] == p[6]) for t in truth if t[:2] == p[:2]]
        most, own = max(near, default=(0.0, False))
        kind = KINDS[errors.kinds[0, place]]
        if row in right:
            assert kind == "right"
        elif most >= 0.5:
            assert kind == ("double" if own else "wrong label")
        elif most >= 0.1:
            assert kind == ("wrong place" if own else "wrong label and place")
        else:
            assert kind == "nobody there"


@settings(deadline=None, max_examples=40)
@given(detection.rows(12, flat=False), detection.rows(8, flat=False))
def test_recall_equals_the_loop(found, truth):
    got = detection_errors.box_recall(detection.boxes(found), detection.boxes(truth), best=(1, 2, 0))
    people = list(dict.fromkeys(t[:6] for t in truth))
    assert [tuple(row) for row in np.column_stack([got.people.video, got.people.time, got.people.box])] == people
    for k, limit in enumerate((1, 2, 99)):
        taken = set()
        for frame in {p[:2] for p in people}:
            ranked = list(dict.fromkeys(p[:6] for p in sorted(found, key=lambda p: -p[7]) if p[:2] == frame))
            for p in ranked[:limit]:
                free = [i for i, t in enumerate(people) if t[:2] == frame and i not in taken]
                best = max(free, key=lambda i: (detection.iou(p[2:], people[i][2:]), -i), default=None)
                if best is not None and detection.iou(p[2:], people[best][2:]) >= 0.5:
                    taken.add(best)
        assert np.flatnonzero(got.found[k]).tolist() == sorted(taken)


def test_recall_in_ranges():
    truth = [(0, 0, 0.0, 0.0, 0.2, 0.2, 1, 1), (0, 0, 0.5, 0.5, 1.0, 1.0, 1, 1), (0, 1, 0.0, 0.0, 0.8, 0.9, 2, 1)]
    found = [(*t[:6], 7, score) for t, score in zip(truth, (0.2, 0.9, 0.5), strict=True)]
    got = detection_errors.box_recall(detection.boxes(found), detection.boxes(truth))
    assert got.percent == pytest.approx([200 / 3, 100.0, 100.0])
    by_size = detection_errors.recall_by(got, SIZES, detection_errors.sizes(got.people))
    assert by_size["XS"] == (1, [0.0, 100.0, 100.0])
    assert by_size["XL"] == (1, [100.0, 100.0, 100.0])
    assert np.isnan(by_size["S"][1]).all()
    by_people = detection_errors.recall_by(got, PEOPLE, detection_errors.people(got.people))
    assert by_people["2"] == (2, [50.0, 100.0, 100.0])
    with pytest.raises(UserError, match="1 values for 3 people"):
        detection_errors.recall_by(got, PEOPLE, [1])
    nothing = boxes.rows(got.people, np.zeros(0, np.int64))
    assert np.isnan(detection_errors.box_recall(nothing, nothing).percent).all()


@settings(deadline=None, max_examples=40)
@given(detection.rows(12, flat=False), detection.rows(8, flat=False))
def test_missed_boxes_and_the_best_predictions_equal_loops(found, truth):
    selected, matching, errors = diagnosed(found, truth)
    kinds = dict(zip(selected.row.tolist(), errors.kinds[0].tolist(), strict=True))
    counts, areas = dict.fromkeys(KINDS, 0), {}
    for label in {t[6] for t in truth}:
        ranked = sorted((r for r in kinds if found[r][6] == label), key=lambda r: (-found[r][7], r))
        right = np.array([kinds[r] == 0 for r in ranked], bool)
        positives, hits = sum(t[6] == label for t in truth), int(right.sum())
        for row in ranked[:positives]:
            counts[KINDS[kinds[row]]] += 1
        areas[label] = detection.area(right, positives), detection.area(right, hits) if hits else None
    assert detection_errors.best_kinds(matching, errors) == counts
    found_at_all = [after for _, after in areas.values() if after is not None]
    gain = detection_errors.missed_gain(matching, errors)
    if found_at_all:
        assert gain == pytest.approx(100 * (np.mean(found_at_all) - np.mean([before for before, _ in areas.values()])))
    else:
        assert np.isnan(gain)
