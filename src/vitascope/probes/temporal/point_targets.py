"""Points of a pyramid: what each is to learn of the actions in a video, how wrong it is, and what it proposes.

Everything is counted on the finest level: point j of level l stands at j 2^l (Zhang et al., arXiv 2202.07925, 3.3).
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

RANGES = (0.0, 4.0, 8.0, 16.0, 32.0, 64.0, 1e4)
"""Level l learns actions whose farther end is between the l-th and the next of these away, both included; the last
level of fewer than six learns all that is farther too."""
RADIUS = 1.5
"""Strides from the middle of an action within which a point learns it."""
SAME = 1e-3
"""Actions whose lengths differ by less are learned together: THUMOS14 marks every cliff dive as a dive too."""
ALPHA, GAMMA = 0.25, 2.0
"""Of the focal loss."""
MOMENTUM = 0.9
"""Of the running count of positive points."""


class Actions(NamedTuple):
    """The actions of a batch of videos."""

    segments: Float[Tensor, "n 2"]
    """Starts and ends, in points of the finest level."""
    labels: Int[Tensor, "n"]
    owner: Int[Tensor, "n"]
    """The video of the batch."""


class Targets(NamedTuple):
    """What every point is to learn; a point without a class is background, and its offsets mean nothing."""

    classes: Float[Tensor, "b p k"]
    offsets: Float[Tensor, "b p 2"]
    """In strides of the point's level."""


class Losses(NamedTuple):
    """Both losses over the running count of positive points, and that count."""

    classes: Float[Tensor, ""]
    offsets: Float[Tensor, ""]
    normalizer: float


def targets(actions: Actions, videos: int, classes: int, sizes: tuple[int, ...]) -> Targets:
    """The shortest action that each point is for, and all classes that last as long.

    A level has at most three points within the radius of an action's middle, so only those are looked at.
    """
    segments, labels, owner = actions
    where, levels = segments.device, len(sizes)
    stride = 2.0 ** torch.arange(levels, device=where)
    size = torch.tensor(sizes, device=where)
    ranges = torch.tensor([*RANGES[:levels], RANGES[-1]], device=where)[:, None]
    low, high = ranges[:-1], ranges[1:]
    start, end = segments[:, :1, None], segments[:, 1:, None]
    middle = 0.5 * (start + end)
    reach = RADIUS * stride[:, None]
    j = (middle / stride[:, None] - RADIUS).floor() + torch.arange(5, device=where)
    t = j * stride[:, None]
    inside = torch.minimum(t - torch.maximum(middle - reach, start), torch.minimum(middle + reach, end) - t) > 0
    farther = torch.maximum(t - start, end - t)
    right = inside & (farther >= low) & (farther <= high) & (j >= 0) & (j < size[:, None])
    n, level, slot = right.nonzero(as_tuple=True)
    points = sum(sizes)
    point = owner[n] * points + (size.cumsum(0) - size)[level] + j[n, level, slot].long()
    length = (segments[:, 1] - segments[:, 0])[n]
    shortest = length.new_full((videos * points,), torch.inf).scatter_reduce(0, point, length, "amin")
    alike = length <= shortest[point] + SAME
    found = torch.zeros(videos * points, classes, device=where)
    found[point[alike], labels[n[alike]]] = 1.0
    offsets = torch.zeros(videos * points, 2, device=where)
    best = length == shortest[point]
    first = torch.full((videos * points,), len(segments), device=where).scatter_reduce(0, point[best], n[best], "amin")
    chosen = best & (first[point] == n)
    pair = torch.stack([t - start, end - t], -1)[n, level, slot] / stride[level][:, None]
    offsets[point[chosen]] = pair[chosen]
    return Targets(found.view(videos, points, -1), offsets.view(videos, points, 2))


def losses(
    logits: Float[Tensor, "b p k"],
    offsets: Float[Tensor, "m 2"],
    mask: Bool[Tensor, "b p"],
    *,
    wanted: Targets,
    normalizer: float,
    label_smoothing: float,
) -> Losses:
    """Focal loss of all points in the videos, by `mask`; distance loss of the positive ones, which `offsets` are of.

    `normalizer` is the running count before this batch; `label_smoothing` moves the targets of classes towards
    1 / (classes + 1).
    """
    normalizer = MOMENTUM * normalizer + (1 - MOMENTUM) * max(len(offsets), 1)
    goal = wanted.classes[mask] * (1 - label_smoothing) + label_smoothing / (logits.shape[-1] + 1)
    scored = focal(logits[mask], goal)
    placed = distance_iou(offsets, wanted.offsets[positive(wanted, mask)])
    return Losses(scored / normalizer, placed / normalizer, normalizer)


def positive(wanted: Targets, mask: Bool[Tensor, "b p"]) -> Bool[Tensor, "b p"]:
    """The points in the videos that have a class to learn."""
    return (wanted.classes.sum(-1) > 0) & mask


def trained(
    model: ActionFormer,
    values: Float[Tensor, "b d t"],
    mask: Bool[Tensor, "b t"],
    actions: Actions,
    *,
    generator: torch.Generator,
    normalizer: float,
    label_smoothing: float,
) -> Losses:
    """The losses of a batch; distances are computed where they are learned, and nowhere else."""
    levels = model.levels(values, mask, generator)
    logits, shown = model.logits(levels), levels.mask[:, ~levels.gaps]
    wanted = targets(actions, len(values), logits.shape[-1], levels.sizes)
    offsets = model.offsets_at(levels, positive(wanted, shown))
    return losses(logits, offsets, shown, wanted=wanted, normalizer=normalizer, label_smoothing=label_smoothing)


def focal(logits: Float[Tensor, "m k"], goal: Float[Tensor, "m k"]) -> Float[Tensor, ""]:
    """Sum of the sigmoid focal loss (Lin et al. 2017, arXiv 1708.02002, eq. 5); `goal` between 0 and 1."""
    p = logits.sigmoid()
    wrong = p + goal - 2 * p * goal
    weight = (1 - ALPHA) + (2 * ALPHA - 1) * goal
    entropy = F.binary_cross_entropy_with_logits(logits, goal, reduction="none")
    return (weight * wrong**GAMMA * entropy).sum()


def distance_iou(offsets: Float[Tensor, "m 2"], goal: Float[Tensor, "m 2"]) -> Float[Tensor, ""]:
    """Sum of 1 - IoU + (distance of the middles / length of the hull)^2 (Zheng et al. 2020, arXiv 1911.08287, eq. 7).

    Both segments hold the point that the offsets are counted from.
    """
    shared = torch.minimum(offsets, goal).sum(1)
    either = (offsets.sum(1) + goal.sum(1) - shared).clamp(min=1e-8)
    hull = torch.maximum(offsets, goal).sum(1).clamp(min=1e-8)
    apart = 0.5 * (offsets - goal).diff(dim=1)[:, 0]
    return (1 - shared / either + (apart / hull) ** 2).sum()


def proposals(pyramid: Pyramid, video: int, *, min_score: float, candidates: int, min_length: float) -> Proposals:
    """What the points of one `video` of a batch propose: at most `candidates` pairs of point and class of every level.

    Pairs of a probability above `min_score`, segments longer than `min_length`, in points of the finest level.
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
