"""Targets against every point and every segment, losses against arithmetic, proposals: the original's and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from actionformer_golden import inputs, renamed, stacked
from helpers import golden
from vitascope.core.device import generator
from vitascope.probes.temporal.actionformer import ActionFormer, Pyramid, random_actionformer
from vitascope.probes.temporal.nms import nms, vote_boundaries
from vitascope.probes.temporal.point_targets import (
    REGRESSION_RANGES,
    Actions,
    PointTargets,
    assign_targets,
    decode_proposals,
    detection_losses,
    diou_loss,
    focal_loss,
    positive_points,
    training_losses,
)

KINDS = {"actionformer_sc": 5, "actionformer_ext": 1}
SIZES = (576, 288, 144, 72, 36, 18)


def actions_of(data):
    segments, labels = ([torch.from_numpy(data[f"in/{name}/{i}"]) for i in (0, 1)] for name in ("segments", "labels"))
    return Actions(torch.cat(segments), torch.cat(labels), torch.tensor([0] * len(labels[0]) + [1] * len(labels[1])))


def pyramid_of(data, classes):
    levels = range(6)
    assert len(levels) == len(SIZES)
    return Pyramid(stacked(data, "logits"), stacked(data, "offsets"), stacked(data, "masks"), SIZES)


@pytest.mark.parametrize("name", KINDS)
def test_the_original_s_targets_and_losses(name):
    data, classes = golden(name), KINDS[name]
    result = assign_targets(actions_of(data), 2, classes, SIZES)
    wanted = torch.stack([torch.from_numpy(data[f"out/gt_cls/{i}"]) for i in (0, 1)])
    offsets = torch.stack([torch.from_numpy(data[f"out/gt_off/{i}"]) for i in (0, 1)])
    assert torch.equal(result.classes, wanted)
    learned = wanted.sum(-1) > 0
    np.testing.assert_allclose(result.offsets[learned], offsets[learned], atol=1e-5)
    pyramid = pyramid_of(data, classes)
    own = pyramid.offsets[positive_points(result, pyramid.mask)]
    loss = detection_losses(pyramid.logits, own, pyramid.mask, targets=result, normalizer=100.0, label_smoothing=0.1)
    assert loss.normalizer == pytest.approx(float(data["out/loss_normalizer/1"]))
    assert float(loss.classes) == pytest.approx(float(data["out/loss/0"]), rel=1e-5)
    assert float(loss.offsets) == pytest.approx(float(data["out/loss/1"]), rel=1e-5)
    assert float(loss.classes + 2 * loss.offsets) == pytest.approx(float(data["out/loss/2"]), rel=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_the_same_losses_from_the_weights(name):
    data = golden(name)
    model = ActionFormer(24, KINDS[name], width=64, drop_path=0.0)
    model.load_state_dict(renamed(data), strict=True)
    values, mask = inputs(data)
    with torch.no_grad():
        loss = training_losses(
            model, values, mask, actions_of(data), generator=generator(0), normalizer=100.0, label_smoothing=0.1
        )
    assert float(loss.classes) == pytest.approx(float(data["out/loss/0"]), rel=1e-5)
    assert float(loss.offsets) == pytest.approx(float(data["out/loss/1"]), rel=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_the_original_s_segments(name):
    data = golden(name)
    pyramid = pyramid_of(data, KINDS[name])
    for video in (0, 1):
        every = decode_proposals(pyramid, video, min_score=0.001, candidates=2000, min_length=0.05)
        alone = name == "actionformer_sc"
        kept = nms(every, kind="soft", by=0.5, min_score=0.001, max_segments=50, by_class=alone)
        kept = kept if alone else vote_boundaries(kept, every, iou_threshold=0.7, weighting="score")
        seconds = (kept.segments * 0.125 + 0.25).clip(0, float(data[f"in/duration/{video}"]))
        np.testing.assert_allclose(seconds, data[f"out/det_segments/{video}"], atol=1e-4)
        np.testing.assert_allclose(kept.scores, data[f"out/det_scores/{video}"], atol=1e-5)
        np.testing.assert_array_equal(kept.labels, data[f"out/det_labels/{video}"])


def brute(segments, labels, classes, sizes):
    """One point after another, one segment after another."""
    rows, pairs = [], []
    ranges = [*REGRESSION_RANGES[: len(sizes)], 1e4]
    for level, size in enumerate(sizes):
        stride = 2.0**level
        for j in range(size):
            t, fitting = j * stride, []
            for (start, end), label in zip(segments, labels, strict=True):
                middle = (start + end) / 2
                inside = min(t - max(middle - 1.5 * stride, start), min(middle + 1.5 * stride, end) - t) > 0
                if inside and REGRESSION_RANGES[level] <= max(t - start, end - t) <= ranges[level + 1]:
                    fitting.append((end - start, (t - start) / stride, (end - t) / stride, label))
            row = np.zeros(classes)
            best = min(fitting, default=None, key=lambda f: f[0])
            for f in fitting:
                row[f[3]] = max(row[f[3]], f[0] <= best[0] + 1e-3)
            rows.append(row)
            pairs.append((0.0, 0.0) if best is None else best[1:3])
    return np.array(rows), np.array(pairs)


quarters = st.integers(-8, 300).map(lambda n: n / 4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(quarters, st.integers(0, 400).map(lambda n: n / 4), st.integers(0, 2)), max_size=6))
def test_targets_are_those_of_every_point_and_every_segment(drawn):
    sizes = (64, 32, 16, 8)
    segments, labels = [(s, s + length) for s, length, _ in drawn], [label for *_, label in drawn]
    own = torch.tensor(segments).view(-1, 2).float()
    both = Actions(
        torch.cat([own, torch.tensor([[3.0, 9.0]])]),
        torch.tensor([*labels, 1]),
        torch.tensor([0] * len(labels) + [1]),
    )
    targets = assign_targets(both, 2, 3, sizes)
    for video, args in enumerate([(segments, labels), ([(3.0, 9.0)], [1])]):
        classes, offsets = brute(*args, 3, sizes)
        np.testing.assert_array_equal(targets.classes[video], classes)
        np.testing.assert_allclose(targets.offsets[video][classes.any(1)], offsets[classes.any(1)], atol=1e-6)


def test_a_distance_of_exactly_four_is_learned_at_two_levels():
    targets = assign_targets(
        Actions(torch.tensor([[4.0, 12.0]]), torch.tensor([0]), torch.tensor([0])), 1, 1, (32, 16, 8)
    )
    where = targets.classes[0, :, 0].nonzero()[:, 0].tolist()
    assert {8, 32 + 4} <= set(where)


def test_twins_share_their_points():
    targets = assign_targets(
        Actions(torch.tensor([[4.3, 10.2], [4.3, 10.2004]]), torch.tensor([0, 2]), torch.zeros(2, dtype=torch.int64)),
        1,
        3,
        (32, 16),
    )
    assert set(map(tuple, targets.classes[0][targets.classes[0].any(1)].tolist())) == {(1.0, 0.0, 1.0)}


def test_no_actions():
    none = Actions(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    targets = assign_targets(none, 2, 3, (8, 4))
    assert not targets.classes.any()
    assert targets.classes.shape == (2, 12, 3)


@settings(max_examples=60, deadline=None)
@given(x=st.floats(-8, 8), t=st.floats(0, 1))
def test_focal_loss_is_its_formula(x, t):
    p = 1 / (1 + math.exp(-x))
    entropy = -(t * math.log(p) + (1 - t) * math.log(1 - p))
    sure = t * p + (1 - t) * (1 - p)
    wanted = (0.25 * t + 0.75 * (1 - t)) * (1 - sure) ** 2 * entropy
    result = focal_loss(torch.tensor([[x]], dtype=torch.float64), torch.tensor([[t]], dtype=torch.float64))
    assert float(result) == pytest.approx(wanted, rel=1e-6, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.01, 50), min_size=4, max_size=4))
def test_distance_loss_is_that_of_two_intervals(ends):
    left, right, true_left, true_right = ends
    shared = min(right, true_right) + min(left, true_left)
    hull = max(right, true_right) + max(left, true_left)
    apart = (right - left) / 2 - (true_right - true_left) / 2
    wanted = 1 - shared / (left + right + true_left + true_right - shared) + (apart / hull) ** 2
    pair = (torch.tensor([ends[:2]], dtype=torch.float64), torch.tensor([ends[2:]], dtype=torch.float64))
    assert float(diou_loss(*pair)) == pytest.approx(wanted, rel=1e-9)
    assert float(diou_loss(pair[1], pair[1])) == pytest.approx(0.0, abs=1e-12)


def test_the_slope_of_both_losses():
    x = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    goal = torch.rand(4, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda y: focal_loss(y, goal), (x,))
    assert torch.autograd.gradcheck(lambda y: diou_loss(y.exp(), goal + 0.1), (x,))


def test_the_running_count():
    wanted = PointTargets(torch.zeros(1, 6, 2), torch.zeros(1, 6, 2))
    wanted.classes[0, :3, 0] = 1
    mask = torch.tensor([[True, True, False, True, True, True]])
    assert positive_points(wanted, mask).sum() == 2
    logits = torch.zeros(1, 6, 2)
    loss = detection_losses(logits, torch.ones(2, 2), mask, targets=wanted, normalizer=10.0, label_smoothing=0.0)
    assert loss.normalizer == pytest.approx(0.9 * 10 + 0.1 * 2)
    none = detection_losses(
        logits,
        torch.ones(0, 2),
        mask,
        targets=wanted._replace(classes=torch.zeros(1, 6, 2)),
        normalizer=10.0,
        label_smoothing=0.0,
    )
    assert none.normalizer == pytest.approx(9.1)
    assert float(none.offsets) == 0


def test_proposals_by_hand():
    logits = torch.tensor([[[0.0, -9.0], [2.0, 1.0], [-1.0, -9.0]]])
    offsets = torch.tensor([[[1.0, 1.0], [0.5, 1.0], [0.25, 0.25]]])
    pyramid = Pyramid(logits, offsets, torch.tensor([[True, True, True]]), (2, 1))
    result = decode_proposals(pyramid, 0, min_score=0.001, candidates=2, min_length=0.05)
    assert result.labels.tolist() == [0, 1, 0]
    np.testing.assert_allclose(result.segments, [[0.5, 2.0], [0.5, 2.0], [-0.5, 0.5]])
    np.testing.assert_allclose(result.scores, 1 / (1 + np.exp([-2.0, -1.0, 1.0])), rtol=1e-6)
    assert len(decode_proposals(pyramid, 0, min_score=0.8, candidates=2, min_length=0.05).scores) == 1
    assert decode_proposals(pyramid, 0, min_score=0.001, candidates=2, min_length=1.2).segments.tolist() == [
        [0.5, 2.0],
        [0.5, 2.0],
    ]
    hidden = pyramid._replace(mask=torch.zeros(1, 3, dtype=torch.bool))
    assert len(decode_proposals(hidden, 0, min_score=0.001, candidates=2, min_length=0.05).scores) == 0


def test_a_step_down_the_slope_makes_the_loss_smaller():
    model = random_actionformer(generator(0), ActionFormer(4, 2, width=8, heads=2, windows=(5, 5), drop_path=0.0))
    actions = Actions(torch.tensor([[2.0, 6.0]]), torch.tensor([1]), torch.tensor([0]))
    x, mask = torch.randn(1, 4, 16, generator=generator(1)), torch.arange(16)[None] < 13
    optimizer, course = torch.optim.AdamW(model.parameters(), lr=3e-3), []
    for _ in range(25):
        loss = training_losses(model, x, mask, actions, generator=generator(0), normalizer=2.0, label_smoothing=0.0)
        course.append(float((total := loss.classes + loss.offsets).detach()))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    assert course[-1] < 0.7 * course[0]
