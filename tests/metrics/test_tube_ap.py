"""Video-mAP and linking against the published code written down as loops, and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import detection
from vitascope.core.errors import UserError
from vitascope.metrics import frame_ap, temporal_ap, tube_ap, tube_linking, tubes

LEVELS = (0.2, 0.5, 0.75)


@settings(deadline=None, max_examples=40)
@given(detection.tracks(8), detection.tracks(), st.sampled_from(["multisports", "act"]))
def test_equals_the_published_loop(predictions, truth, name):
    measure, how = tube_ap.READINGS[name], frame_ap.READINGS[name]

    def overlap(a, b):
        return detection.tube_iou(a, b, pixel=measure.pixel, frame=measure.frame)

    wanted = []
    for label in sorted({t[1] for t in truth}):
        own = [t for t in truth if t[1] == label]
        listed = [(p[2], p) for p in predictions if p[1] == label]
        area = detection.straight if how.trapezoid else detection.area
        wanted.append(
            [
                area(np.array(detection.walked(listed, own, overlap, level, second=how.second_choice), bool), len(own))
                for level in LEVELS
            ]
        )
    got = tube_ap.mean_ap(detection.tubes(predictions), detection.tubes(truth), LEVELS, reading=name)
    np.testing.assert_allclose(got, np.mean(wanted, axis=0) if wanted else [np.nan] * 3, atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(detection.tracks(8), st.sampled_from([0.1, 0.3, 0.5]))
def test_suppression_equals_the_loop(each, limit):
    measure = tube_ap.READINGS["act"]
    kept = []
    for i in sorted(range(len(each)), key=lambda i: (-each[i][2], i)):
        same = [k for k in kept if each[k][1] == each[i][1]]
        if all(detection.tube_iou(each[k], each[i], pixel=1.0, frame=1) <= limit for k in same):
            kept.append(i)
    got = tubes.suppressed(detection.tubes(each), limit, measure)
    want = detection.tubes([each[i] for i in sorted(kept)])
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)


def linked_by_loop(rows, rule):
    """The tubes of one video and class: (score, {frame: box}), in the way of ACT.py."""
    frames = sorted({int(r[1]) for r in rows})
    open_tubes, closed = [], []
    for frame in range(min(frames, default=0), max(frames, default=-1) + 1):
        rest = sorted((r for r in rows if r[1] == frame), key=lambda r: -r[7])
        fresh = []
        while rest and len(fresh) < rule.keep:
            fresh.append(rest[0])
            rest = [r for r in rest[1:] if detection.iou(r[2:6], fresh[-1][2:6], rule.pixel) <= rule.nms]
        open_tubes.sort(key=lambda tube: -np.mean([r[7] for r in tube]))
        for tube in list(open_tubes):
            near = [r for r in fresh if detection.iou(tube[-1][2:6], r[2:6], rule.pixel) >= rule.overlap]
            if near:
                tube.append(near[0])
                fresh.remove(near[0])
            elif frame - tube[-1][1] >= rule.patience:
                open_tubes.remove(tube)
                closed.append(tube)
        open_tubes += [[r] for r in fresh]
    long = [t for t in closed + open_tubes if t[-1][1] - t[0][1] + 1 >= rule.least_frames]
    return [(float(np.mean([r[7] for r in t])), {int(r[1]): r[2:6] for r in t}) for t in long]


@st.composite
def moving(draw):
    """Rows of one video: a few boxes that wander, with distinct scores."""
    count = draw(st.integers(1, 4))
    seed = draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        place = rng.uniform(0, 12, 2)
        for frame in range(int(rng.integers(0, 4)), int(rng.integers(6, 12))):
            place = place + rng.normal(0, 1.0, 2)
            if rng.random() < 0.85:
                rows.append((0, float(frame), *place, *(place + 5), int(rng.integers(0, 2)), float(rng.random())))
    return rows


@settings(deadline=None, max_examples=40)
@given(moving(), st.sampled_from(["act", "multisports"]))
def test_linking_equals_the_loop(rows, name):
    rule = tube_linking.LINKINGS[name]._replace(least_frames=3, tube_nms=1.0)
    got = tube_linking.link(detection.boxes(rows), rule)
    found = []
    for label in (0, 1):
        found += [(label, *tube) for tube in linked_by_loop([r for r in rows if r[6] == label], rule)]
    assert sorted(got.label.tolist()) == sorted(label for label, _, _ in found)
    for label, score, at in found:
        (tube,) = np.flatnonzero((got.label == label) & np.isclose(got.score, score))
        own = got.tube == tube
        assert got.frame[own].tolist() == list(range(min(at), max(at) + 1))
        boxes = dict(zip(got.frame[own].tolist(), got.box[own].tolist(), strict=True))
        for frame, box in at.items():
            assert boxes[frame] == pytest.approx(box)


def test_a_gap_is_filled_by_interpolation_and_the_score_is_that_of_the_given_boxes():
    rows = [(0, t, t, 0.0, t + 10.0, 10.0, 1, 0.4 if t else 0.8) for t in (0.0, 4.0)]
    rule = tube_linking.LINKINGS["act"]._replace(least_frames=2)
    got = tube_linking.link(detection.boxes(rows), rule)
    assert got.score.tolist() == pytest.approx([0.6])
    assert got.frame.tolist() == [0, 1, 2, 3, 4]
    assert got.box[:, 0].tolist() == pytest.approx([0, 1, 2, 3, 4])
    assert len(tube_linking.link(detection.boxes(rows), rule._replace(patience=3)).video) == 0
    assert len(tube_linking.link(detection.boxes([]), rule).video) == 0


def test_by_hand():
    box = (0.0, 0.0, 10.0, 10.0)
    truth = detection.tubes([(0, 0, 1.0, [(t, *box) for t in range(10)])])
    half = detection.tubes([(0, 0, 1.0, [(t, 0.0, 0.0, 10.0, 5.0) for t in range(5)])])
    # half of the frames (0 to 4 of 0 to 9, intervals of 4 and 9) and half of every box
    assert tube_ap.match(half, truth, [0.22]).true_row.tolist() == [[0]]
    assert tube_ap.match(half, truth, [0.23]).true_row.tolist() == [[-1]]
    assert tube_ap.mean_ap(truth, truth, [0.2, 1.0]).tolist() == [1.0, 1.0]
    once = detection.tubes([(0, 0, 1.0, [(3, *box)])])
    assert tube_ap.mean_ap(once, once, [0.5], reading="act").tolist() == [1.0]
    assert tube_ap.mean_ap(once, once, [0.5]).tolist() == [0.0]  # its interval has no length, as in the published code


def test_tubes_from_rows_and_back():
    rows = [(0, 1.0, 0, 0, 1, 1, 2, 0.5), (0, 0.0, 0, 0, 2, 2, 2, 0.7), (0, 0.0, 3, 3, 4, 4, 2, 0.1)]
    made = tubes.tubes_of(detection.boxes(rows), np.array([7, 7, 8]))
    assert made.score.tolist() == pytest.approx([0.6, 0.1])
    assert made.tube.tolist() == [0, 0, 1]
    assert made.frame.tolist() == [0, 1, 0]
    back = tubes.boxes_of(made)
    assert back.box[:, 2].tolist() == [2, 1, 4]
    with pytest.raises(UserError, match="two boxes in frame 0; give every actor its own number"):
        tubes.tubes_of(detection.boxes(rows), np.array([7, 7, 7]))


def test_intervals_resample_videos():
    rng = np.random.default_rng(0)
    sides = []
    for side in range(2):
        made = []
        for video in range(20):
            for label in range(2):
                shift = side * rng.normal(0, 2)
                made.append((video, label, rng.random(), [(t, shift, 0.0, shift + 10, 10.0) for t in range(8)]))
        sides.append(detection.tubes(made))
    scores, _ = temporal_ap.bootstrap(tube_ap.match(sides[1], sides[0]), draws=100, rng=np.random.default_rng(0))
    assert scores["mAP@0.5"].low < scores["mAP@0.5"].value <= 100
    assert scores["mAP@0.2"].value == pytest.approx(100 * tube_ap.mean_ap(sides[1], sides[0])[0])
