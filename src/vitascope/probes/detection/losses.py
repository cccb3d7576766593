"""Hungarian matching of queries to actors, and the loss of the matched pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from vitascope.probes.detection.boxes import corners, overlaps

NoObject: TypeAlias = Literal["presence", "zeros"]
"""How a query tells that there is no actor: by a probability of its own, or by no class at all."""


class Targets(NamedTuple):
    """Annotated actors of m frames, padded to the largest number."""

    boxes: Float[Tensor, "m a 4"]
    """Center and size."""
    labels: Float[Tensor, "m a c"]
    """1 for each class of an actor, else 0."""
    mask: Bool[Tensor, "m a"]

    def to(self, device: torch.device) -> Targets:
        """The targets on a device."""
        return Targets(*(part.to(device) for part in self))


class FramePredictions(NamedTuple):
    """Predictions for m frames by each of l layers."""

    boxes: Float[Tensor, "l m s 4"]
    presence: Float[Tensor, "l m s"]
    logits: Float[Tensor, "l m s c"]


@dataclass(frozen=True)
class Weights:
    """Weights of the parts of the matching cost and of the loss."""

    label: float
    distance: float
    overlap: float
    presence: float
    absent: float
    """Weight of queries without an actor in the loss of presence, or of classes, relative to those with one."""
    no_object: NoObject = "presence"


class Matches(NamedTuple):
    """Matched pairs: layer, frame, query and actor."""

    layer: Int[Tensor, "n"]
    frame: Int[Tensor, "n"]
    query: Int[Tensor, "n"]
    actor: Int[Tensor, "n"]


@torch.no_grad()
def matching_cost(predicted: FramePredictions, targets: Targets, weights: Weights) -> Float[Tensor, "l m s a"]:
    """Cost of assigning each query to each actor.

    Classes cost minus the mean probability of the classes of the actor, times that of presence if there is one; boxes
    their L1 distance and minus their generalized IoU.
    """
    labels = targets.labels / targets.labels.sum(-1, keepdim=True).clamp(min=1)
    score = torch.einsum("lmsc,mac->lmsa", predicted.logits.sigmoid(), labels)
    if weights.no_object == "presence":
        score = score * predicted.presence.sigmoid()[..., None]
    pairs = predicted.boxes[..., :, None, :], targets.boxes[:, None]
    distance = (pairs[0] - pairs[1]).abs().sum(-1)
    _, giou = overlaps(corners(pairs[0]), corners(pairs[1]))
    return weights.distance * distance - weights.label * score - weights.overlap * giou


def match(cost: Float[Tensor, "l m s a"], mask: Bool[Tensor, "m a"]) -> Matches:
    """The assignment of least total cost in each frame and layer; every actor gets a query while there are any."""
    table, counts = cost.float().cpu().numpy(), mask.sum(1).tolist()
    found = [
        (layer, frame, query, actor)
        for frame, count in enumerate(counts)
        if count
        for layer in range(len(table))
        for query, actor in zip(*linear_sum_assignment(table[layer, frame, :, :count]), strict=True)
    ]
    columns = torch.tensor(found, dtype=torch.int64).reshape(-1, 4).T.to(cost.device)
    return Matches(*columns)


def detection_loss(predicted: FramePredictions, targets: Targets, weights: Weights) -> Float[Tensor, ""]:
    """Sum over the layers of the loss of presence, classes, L1 distance and generalized IoU, per actor."""
    pairs = match(matching_cost(predicted, targets, weights), targets.mask)
    chosen = pairs.layer, pairs.frame, pairs.query
    boxes, wanted = predicted.boxes[chosen], targets.boxes[pairs.frame, pairs.actor]
    _, giou = overlaps(corners(boxes), corners(wanted))
    total = (
        _label_loss(predicted, targets, pairs, weights)
        + weights.distance * (boxes - wanted).abs().sum()
        + weights.overlap * (1 - giou).sum()
    )
    return total / targets.mask.sum().clamp(min=1)


def _label_loss(predicted: FramePredictions, targets: Targets, pairs: Matches, weights: Weights) -> Float[Tensor, ""]:
    """Loss of presence and classes; without a probability of presence, of classes, all zero where nobody is."""
    chosen = pairs.layer, pairs.frame, pairs.query
    labels = targets.labels[pairs.frame, pairs.actor]
    present = torch.zeros_like(predicted.presence)
    present[chosen] = 1.0
    importance = torch.where(present > 0, 1.0, weights.absent)
    if weights.no_object == "zeros":
        wanted = torch.zeros_like(predicted.logits)
        wanted[chosen] = labels
        return weights.label * F.binary_cross_entropy_with_logits(
            predicted.logits, wanted, importance[..., None], reduction="sum"
        )
    presence = F.binary_cross_entropy_with_logits(predicted.presence, present, importance, reduction="sum")
    label = F.binary_cross_entropy_with_logits(predicted.logits[chosen], labels, reduction="sum")
    return weights.presence * presence + weights.label * label
