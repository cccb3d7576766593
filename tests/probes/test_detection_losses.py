"""Overlap of boxes, matching of queries to actors, and the loss, against closed forms and brute force."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vitascope.probes.detection.boxes import centered, corners, overlaps
from vitascope.probes.detection.losses import (
    FramePredictions,
    Targets,
    Weights,
    detection_loss,
    match,
    matching_cost,
)

WEIGHTS = Weights(label=2.0, distance=5.0, overlap=2.0, presence=1.0, absent=0.1)


def some_boxes(seed: int, *shape: int) -> Tensor:
    """Boxes with sides of at least 0.05, by their corners."""
    draw = torch.Generator().manual_seed(seed)
    first = torch.rand(*shape, 2, generator=draw, dtype=torch.float64) * 0.7
    return torch.cat([first, first + 0.05 + 0.25 * torch.rand(*shape, 2, generator=draw, dtype=torch.float64)], -1)


@pytest.mark.parametrize(
    ("a", "b", "iou", "giou"),
    [
        ((0, 0, 1, 1), (0, 0, 1, 1), 1, 1),
        ((0, 0, 2, 1), (1, 0, 3, 1), 1 / 3, 1 / 3),
        ((0, 0, 1, 1), (2, 0, 3, 1), 0, -1 / 3),
        ((0, 0, 1, 1), (1, 1, 2, 2), 0, -1 / 2),
        ((0, 0, 4, 4), (1, 1, 2, 2), 1 / 16, 1 / 16),
    ],
)
def test_overlaps_are_those_of_the_closed_form(a: list[float], b: list[float], iou: float, giou: float) -> None:
    for one, other in ((a, b), (b, a)):
        found = overlaps(torch.tensor([one], dtype=torch.float64), torch.tensor([other], dtype=torch.float64))
        np.testing.assert_allclose([float(v) for v in found], [iou, giou], atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_overlaps_equal_counted_cells_and_have_right_gradients(seed: int) -> None:
    a, b = (some_boxes(seed + i, 1).mul(40).round().div(40) for i in (0, 1))
    line = (torch.arange(40) + 0.5) / 40
    inside = [
        ((line >= box[0]) & (line < box[2]))[None] & ((line >= box[1]) & (line < box[3]))[:, None]
        for box in (a[0], b[0])
    ]
    iou, _ = overlaps(a, b)
    assert float(iou) == pytest.approx(float((inside[0] & inside[1]).sum() / (inside[0] | inside[1]).sum()))
    moved = some_boxes(seed, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: overlaps(x, some_boxes(seed + 7, 3))[1], moved)


def test_centers_and_corners_are_inverse() -> None:
    boxes = some_boxes(0, 5)
    torch.testing.assert_close(corners(centered(boxes)), boxes)


def random_case(seed: int, frames: int = 3, queries: int = 5, classes: int = 4) -> tuple[FramePredictions, Targets]:
    draw = torch.Generator().manual_seed(seed)
    predicted = FramePredictions(
        centered(some_boxes(seed, 2, frames, queries)),
        torch.randn(2, frames, queries, generator=draw, dtype=torch.float64),
        torch.randn(2, frames, queries, classes, generator=draw, dtype=torch.float64),
    )
    mask = torch.arange(3)[None] < torch.randint(0, 4, (frames, 1), generator=draw)
    labels = (torch.rand(frames, 3, classes, generator=draw) < 0.5).double() * mask[..., None]
    return predicted, Targets(centered(some_boxes(seed + 1, frames, 3)), labels, mask)


@pytest.mark.parametrize("seed", range(5))
def test_matching_is_the_best_of_all_permutations(seed: int) -> None:
    predicted, targets = random_case(seed)
    cost = matching_cost(predicted, targets, WEIGHTS)
    pairs = match(cost, targets.mask)
    for layer in range(2):
        for frame, count in enumerate(targets.mask.sum(1).tolist()):
            own = (pairs.layer == layer) & (pairs.frame == frame)
            total = cost[layer, frame, pairs.query[own], pairs.actor[own]].sum()
            every = [sum(cost[layer, frame, q, a] for a, q in enumerate(p)) for p in permutations(range(5), count)]
            assert sorted(pairs.actor[own].tolist()) == list(range(count))
            assert float(total) == pytest.approx(float(min(every)) if count else 0.0)


def test_more_actors_than_queries_leave_the_worst_unmatched() -> None:
    cost = torch.tensor([[[[3.0, 1.0, 2.0]]]])
    pairs = match(cost, torch.ones(1, 3, dtype=torch.bool))
    assert (pairs.query.tolist(), pairs.actor.tolist()) == ([0], [1])


def test_the_cost_is_the_sum_of_its_parts() -> None:
    predicted, targets = random_case(3)
    cost = matching_cost(predicted, targets, WEIGHTS)
    frame, actor = (int(i) for i in targets.mask.nonzero()[0])
    for query in range(5):
        own = targets.labels[frame, actor] > 0
        score = torch.sigmoid(predicted.logits[1, frame, query])[own].mean() if own.any() else torch.tensor(0.0)
        score = score * torch.sigmoid(predicted.presence[1, frame, query])
        box, true = predicted.boxes[1, frame, query], targets.boxes[frame, actor]
        _, giou = overlaps(corners(box), corners(true))
        expected = 5 * (box - true).abs().sum() - 2 * score - 2 * giou
        assert float(cost[1, frame, query, actor]) == pytest.approx(float(expected))


def test_the_loss_of_a_perfect_prediction_is_that_of_presence_and_classes_alone() -> None:
    _, targets = random_case(1)
    targets = targets._replace(mask=torch.ones_like(targets.mask))
    sure = torch.full((1, 3, 3), 50.0, dtype=torch.float64)
    perfect = FramePredictions(targets.boxes[None], sure, (100 * targets.labels - 50)[None])
    assert float(detection_loss(perfect, targets, WEIGHTS)) == pytest.approx(0.0, abs=1e-12)
    shifted = perfect._replace(boxes=perfect.boxes + torch.tensor([0.001, 0.0, 0.0, 0.0]))
    assert float(detection_loss(shifted, targets, WEIGHTS)) > 0.005


def test_a_frame_without_actors_teaches_absence_only() -> None:
    predicted, targets = random_case(2)
    targets = targets._replace(mask=torch.zeros_like(targets.mask))
    predicted = FramePredictions(*(part.requires_grad_() for part in predicted))
    detection_loss(predicted, targets, WEIGHTS).backward()
    assert predicted.boxes.grad is None or not predicted.boxes.grad.any()
    assert predicted.presence.grad is not None
    assert (predicted.presence.grad > 0).all()


def test_without_a_probability_of_presence_nobody_is_no_class() -> None:
    zeros = Weights(label=2.0, distance=5.0, overlap=2.0, presence=1.0, absent=0.1, no_object="zeros")
    predicted, targets = random_case(4)
    pairs = match(matching_cost(predicted, targets, zeros), targets.mask)
    logits = torch.full_like(predicted.logits, -50.0)
    labels = targets.labels[pairs.frame, pairs.actor]
    logits[pairs.layer, pairs.frame, pairs.query] = 100 * labels - 50
    boxes = predicted.boxes.clone()
    boxes[pairs.layer, pairs.frame, pairs.query] = targets.boxes[pairs.frame, pairs.actor]
    presence = predicted.presence.clone().requires_grad_()
    assert float(detection_loss(FramePredictions(boxes, presence, logits), targets, zeros)) == pytest.approx(
        0, abs=1e-9
    )
    free = torch.ones_like(presence, dtype=torch.bool)
    free[pairs.layer, pairs.frame, pairs.query] = False
    layer, frame, query = free.nonzero()[0].tolist()
    logits[layer, frame, query, 1] = 3.0
    changed = logits.requires_grad_()
    loss = detection_loss(FramePredictions(boxes, presence, changed), targets, zeros)
    assert float(loss.detach()) == pytest.approx(2 * 0.1 * np.log1p(np.exp(3.0)) / int(targets.mask.sum()))
    loss.backward()
    assert presence.grad is None


def test_without_a_probability_of_presence_the_cost_is_of_classes_and_boxes() -> None:
    predicted, targets = random_case(5)
    zeros = Weights(label=2.0, distance=5.0, overlap=2.0, presence=1.0, absent=0.1, no_object="zeros")
    sure = predicted._replace(presence=torch.full_like(predicted.presence, 50.0))
    torch.testing.assert_close(matching_cost(predicted, targets, zeros), matching_cost(sure, targets, WEIGHTS))
