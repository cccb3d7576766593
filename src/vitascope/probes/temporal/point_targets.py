"""Points of a feature pyramid: training targets, losses and decoding of proposals.

Positions are in points of the finest level: point j of level l is at j 2^l (Zhang et al., arXiv 2202.07925, 3.3).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vitascope.probes.temporal.actionformer import ActionFormer, Pyramid
from vitascope.probes.temporal.nms import Proposals

REGRESSION_RANGES = (0.0, 4.0, 8.0, 16.0, 32.0, 64.0, 1e4)
"""Level l learns actions whose farther boundary is between the l-th and the next of these distances, inclusive; the
last level also learns all longer ones."""
CENTER_RADIUS = 1.5
"""Center sampling radius in strides: a point learns an action if it is this close to its center."""
SAME_LENGTH = 1e-3
"""Actions whose lengths differ by less share a point: THUMOS14 labels every cliff dive as a dive, too."""
ALPHA, GAMMA = 0.25, 2.0
"""Parameters of the focal loss."""
MOMENTUM = 0.9
"""Momentum of the running number of positive points."""


class Actions(NamedTuple):
    """The actions of a batch of videos."""

    segments: Float[Tensor, "n 2"]
    """Start and end, in points of the finest level."""
    labels: Int[Tensor, "n"]
    owner: Int[Tensor, "n"]
    """Index of the video in the batch."""


class PointTargets(NamedTuple):
    """Targets of every point; a point without a class is background, and its offsets are undefined."""

    classes: Float[Tensor, "b p k"]
    offsets: Float[Tensor, "b p 2"]
    """Distances to start and end, in strides of the level."""


class DetectionLosses(NamedTuple):
    """Classification and distance loss, divided by the running number of positive points, and that number."""

    classes: Float[Tensor, ""]
    offsets: Float[Tensor, ""]
    normalizer: float


def assign_targets(actions: Actions, videos: int, classes: int, sizes: tuple[int, ...]) -> PointTargets:
    """Assign each point the shortest action it may learn, and the classes of all actions of the same length.

    A level has at most three points within the radius of the center of an action; only those are considered.
    """
    segments, labels, owner = actions
    device, levels = segments.device, len(sizes)
    stride = 2.0 ** torch.arange(levels, device=device)
    size = torch.tensor(sizes, device=device)
    ranges = torch.tensor([*REGRESSION_RANGES[:levels], REGRESSION_RANGES[-1]], device=device)[:, None]
    low, high = ranges[:-1], ranges[1:]
    start, end = segments[:, :1, None], segments[:, 1:, None]
    middle = 0.5 * (start + end)
    radius = CENTER_RADIUS * stride[:, None]
    j = (middle / stride[:, None] - CENTER_RADIUS).floor() + torch.arange(5, device=device)
    t = j * stride[:, None]
    inside = torch.minimum(t - torch.maximum(middle - radius, start), torch.minimum(middle + radius, end) - t) > 0
    max_distance = torch.maximum(t - start, end - t)
    assigned = inside & (max_distance >= low) & (max_distance <= high) & (j >= 0) & (j < size[:, None])
    n, level, slot = assigned.nonzero(as_tuple=True)
    points = sum(sizes)
    point = owner[n] * points + (size.cumsum(0) - size)[level] + j[n, level, slot].long()
    length = (segments[:, 1] - segments[:, 0])[n]
    shortest = length.new_full((videos * points,), torch.inf).scatter_reduce(0, point, length, "amin")
    same_length = length <= shortest[point] + SAME_LENGTH
    class_targets = torch.zeros(videos * points, classes, device=device)
    class_targets[point[same_length], labels[n[same_length]]] = 1.0
    offsets = torch.zeros(videos * points, 2, device=device)
    best = length == shortest[point]
    first = torch.full((videos * points,), len(segments), device=device).scatter_reduce(0, point[best], n[best], "amin")
    regressed = best & (first[point] == n)
    pair = torch.stack([t - start, end - t], -1)[n, level, slot] / stride[level][:, None]
    offsets[point[regressed]] = pair[regressed]
    return PointTargets(class_targets.view(videos, points, -1), offsets.view(videos, points, 2))


def detection_losses(
    logits: Float[Tensor, "b p k"],
    offsets: Float[Tensor, "m 2"],
    mask: Bool[Tensor, "b p"],
    *,
    targets: PointTargets,
    normalizer: float,
    label_smoothing: float,
) -> DetectionLosses:
    """Return the focal loss of all points in `mask`, and the distance loss of the positive ones, given by `offsets`.

    `normalizer` is the running number of positive points before this batch; `label_smoothing` moves class targets
    towards 1 / (classes + 1).
    """
    normalizer = MOMENTUM * normalizer + (1 - MOMENTUM) * max(len(offsets), 1)
    class_targets = targets.classes[mask] * (1 - label_smoothing) + label_smoothing / (logits.shape[-1] + 1)
    class_loss = focal_loss(logits[mask], class_targets)
    distance_loss = diou_loss(offsets, targets.offsets[positive_points(targets, mask)])
    return DetectionLosses(class_loss / normalizer, distance_loss / normalizer, normalizer)


def positive_points(targets: PointTargets, mask: Bool[Tensor, "b p"]) -> Bool[Tensor, "b p"]:
    """Return the points inside the videos that have a class."""
    return (targets.classes.sum(-1) > 0) & mask


def training_losses(
    model: ActionFormer,
    values: Float[Tensor, "b d t"],
    mask: Bool[Tensor, "b t"],
    actions: Actions,
    *,
    generator: torch.Generator,
    normalizer: float,
    label_smoothing: float,
) -> DetectionLosses:
    """Return the losses of a batch; distances are computed at positive points only."""
    levels = model.levels(values, mask, generator)
    logits = model.logits(levels)
    targets = assign_targets(actions, len(values), logits.shape[-1], levels.sizes)
    offsets = model.offsets_at(levels, positive_points(targets, levels.mask))
    return detection_losses(
        logits, offsets, levels.mask, targets=targets, normalizer=normalizer, label_smoothing=label_smoothing
    )


def focal_loss(logits: Float[Tensor, "m k"], targets: Float[Tensor, "m k"]) -> Float[Tensor, ""]:
    """Return the summed sigmoid focal loss (Lin et al. 2017, arXiv 1708.02002, eq. 5); targets between 0 and 1."""
    p = logits.sigmoid()
    error = p + targets - 2 * p * targets
    weight = (1 - ALPHA) + (2 * ALPHA - 1) * targets
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (weight * error**GAMMA * entropy).sum()


def diou_loss(offsets: Float[Tensor, "m 2"], targets: Float[Tensor, "m 2"]) -> Float[Tensor, ""]:
    """Return the summed DIoU loss: 1 - IoU + (center distance / hull length)^2.

    Zheng et al. 2020, arXiv 1911.08287, eq. 7. Both segments contain the point from which offsets are measured.
    """
    intersection = torch.minimum(offsets, targets).sum(1)
    union = (offsets.sum(1) + targets.sum(1) - intersection).clamp(min=1e-8)
    hull = torch.maximum(offsets, targets).sum(1).clamp(min=1e-8)
    center_distance = 0.5 * (offsets - targets).diff(dim=1)[:, 0]
    return (1 - intersection / union + (center_distance / hull) ** 2).sum()


def decode_proposals(
    pyramid: Pyramid, video: int, *, min_score: float, candidates: int, min_length: float
) -> Proposals:
    """Decode the proposals of one `video` of a batch: at most `candidates` pairs of point and class per level.

    Keeps probabilities above `min_score` and segments longer than `min_length`, in points of the finest level.
    """
    classes = pyramid.logits.shape[-1]
    parts = []
    sizes = list(pyramid.sizes)
    levels = zip(*(x[video].split(sizes) for x in (pyramid.logits, pyramid.offsets, pyramid.mask)), strict=True)
    for level, (logits, offsets, mask) in enumerate(levels):
        flat = (logits.sigmoid() * mask[:, None]).flatten()
        scores, at = flat.topk(min(candidates, len(flat)))
        at, scores = at[scores > min_score], scores[scores > min_score]
        point = at // classes
        ends = offsets[point] * 2**level
        segments = torch.stack([point * 2**level - ends[:, 0], point * 2**level + ends[:, 1]], 1)
        keep = segments[:, 1] - segments[:, 0] > min_length
        parts.append([x[keep].cpu().numpy() for x in (segments, scores, at % classes)])
    columns = [np.concatenate(x) for x in zip(*parts, strict=True)]
    return Proposals(columns[0].astype(np.float64), columns[1].astype(np.float64), columns[2])
