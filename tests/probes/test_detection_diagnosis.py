"""The parts of a detection score by size of box and by number of actors, against loops over frames and classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

import detection
from vitascope.evaluation import result_schema
from vitascope.metrics import detection_errors, frame_ap
from vitascope.probes.detection.diagnosis import diagnosis

READING = frame_ap.READINGS["stable"]
EDGES = {
    "size": dict(zip(("XS", "S", "M", "L", "XL"), (0.0, 0.05, 0.15, 0.3, 0.5), strict=True)),
    "people": dict(zip(("1", "2", "3", "4", "5+"), (1.0, 1.5, 2.5, 3.5, 4.5), strict=True)),
}


def diagnosed(found, truth):
    selected = frame_ap.select(detection.boxes(found), detection.boxes(truth), reading=READING)
    matching = frame_ap.match(selected, [0.5], READING)
    recall = detection_errors.box_recall(detection.boxes(found), detection.boxes(truth))
    return selected, matching, recall, diagnosis(selected, matching, recall)


def quantities(truth):
    """Area and number of people of each true row."""
    people = {frame: len({t[2:6] for t in truth if t[:2] == frame}) for frame in {t[:2] for t in truth}}
    return {
        "size": [(t[4] - t[2]) * (t[5] - t[3]) for t in truth],
        "people": [people[t[:2]] for t in truth],
    }


def inside(name, part, value):
    edges = [*EDGES[name].values(), float("inf")]
    place = list(EDGES[name]).index(part)
    return (edges[place] < value or place == 0) and value <= edges[place + 1]


def normalized(right, positives, number):
    """Area under the envelope of precision at R N / (R N + false positives)."""
    hits = np.cumsum(right)
    recall = hits / positives
    precision = recall * number / np.maximum(recall * number + np.cumsum(~right), 1e-12)
    steps = np.diff(np.concatenate([[0.0], recall]))
    best = np.maximum.accumulate(precision[::-1])[::-1] if len(right) else precision
    return 100 * float((steps * best).sum())


@settings(deadline=None, max_examples=40)
@given(detection.rows(12, flat=False), detection.rows(8, flat=False))
def test_parts_equal_loops(found, truth):
    truth = [t for i, t in enumerate(truth) if t[:7] not in [u[:7] for u in truth[:i]]]
    if not truth:
        return
    selected, matching, recall, parts = diagnosed(found, truth)
    result_schema.check({}, parts)
    owner = {
        int(selected.row[p]): int(selected.true_row[t]) if t >= 0 else -1
        for p, t in zip(matching.row.tolist(), matching.true_row[0].tolist(), strict=True)
    }
    labels = sorted({t[6] for t in truth})
    number = len(truth) / len(labels)
    for name, values in quantities(truth).items():
        assert sum(part["boxes"] for part in parts[name]) == len(truth)
        for part in parts[name]:
            assert part["above"] == EDGES[name][part["range"]]
            own = {i for i, value in enumerate(values) if inside(name, part["range"], value)}
            assert part["boxes"] == len(own)
            assert part["missed"] == pytest.approx(100 * (1 - len(own & set(owner.values())) / len(own)))
            each = []
            for label in labels:
                ranked = sorted((r for r in owner if found[r][6] == label), key=lambda r: -found[r][7])
                right = np.array([owner[r] >= 0 for r in ranked if owner[r] < 0 or owner[r] in own], bool)
                positives = sum(truth[i][6] == label for i in own)
                each += [normalized(right, positives, number)] if positives else []
            assert part["mAP_N"] == pytest.approx(np.mean(each))
    missed = set(range(len(truth))) - set(owner.values())
    assert parts["missed"]["boxes"] == len(missed)
    hit = sum(part["found"] * part["people"] for part in parts["people"])
    assert hit == pytest.approx(100 * recall.found[1].sum())


def test_nothing_predicted():
    truth = [(0, 0, 0.0, 0.0, 0.5, 0.5, 1, 1.0)]
    _, _, _, parts = diagnosed([], truth)
    assert parts["missed"] == {"boxes": 1, "percent": 100.0, "gain": None}
    assert parts["best"] == dict.fromkeys(detection_errors.KINDS, 0)
    assert [(p["range"], p["mAP_N"], p["found"]) for p in parts["size"]] == [("M", 0.0, 0.0)]
