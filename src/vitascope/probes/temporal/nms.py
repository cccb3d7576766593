"""Non-maximum suppression of segments (soft and hard), boundary voting, and fusion with external class scores."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float64, Int64

EPS = 1e-6
"""Added to segment lengths in the IoU of suppression."""
NmsKind: TypeAlias = Literal["soft", "hard"]
"""Treatment of a segment that overlaps a higher-scoring one: its score decays (soft), or it is dropped (hard)."""
VotingWeight: TypeAlias = Literal["score", "score*iou"]
"""Weight of a vote: the score (repository of the TWLV-I report), or the score times IoU (ActionFormer)."""


class Proposals(NamedTuple):
    """Candidate segments; the unit of time is that of the caller."""

    segments: Float64[np.ndarray, "n 2"]
    scores: Float64[np.ndarray, "n"]
    labels: Int64[np.ndarray, "n"]

    def take(self, indices: Int64[np.ndarray, "m"]) -> Proposals:
        """Select proposals by index."""
        return Proposals(self.segments[indices], self.scores[indices], self.labels[indices])


def iou(a: Float64[np.ndarray, "*n 2"], b: Float64[np.ndarray, "m 2"], eps: float = 0.0) -> Float64[np.ndarray, "*n m"]:
    """Return the temporal IoU of every pair of segments."""
    start, end = a[..., None, 0], a[..., None, 1]
    intersection = (np.minimum(end, b[:, 1]) - np.maximum(start, b[:, 0])).clip(min=0.0)
    union = (end - start + eps) + (b[:, 1] - b[:, 0] + eps) - intersection
    ratio: Float64[np.ndarray, "*n m"] = np.divide(
        intersection, union, out=np.zeros_like(intersection), where=union > 0
    )
    return ratio


def nms(
    proposals: Proposals, *, kind: NmsKind, by: float, min_score: float, max_segments: int, by_class: bool
) -> Proposals:
    """Return at most `max_segments` segments, best first; each suppresses overlapping ones, of its class if `by_class`.

    `soft` multiplies their scores by exp(-IoU^2 / by), a Gaussian (Bodla et al. 2017, arXiv 1704.04503, eq. 3); `hard`
    drops those with IoU above `by`. Segments below `min_score` are dropped. Suppression per class, then taking the best
    of all, equals taking the best at every turn.
    """
    order = np.argsort(proposals.labels, kind="stable") if by_class else np.arange(len(proposals.scores))
    segments, labels, scores = proposals.segments[order], proposals.labels[order], proposals.scores[order].copy()
    groups = labels if by_class else np.zeros_like(labels)
    begins, ends = (np.searchsorted(groups, groups, side=side) for side in ("left", "right"))
    selected: list[int] = []
    scores_of_selected: list[float] = []
    while len(selected) < min(max_segments, len(scores)):
        best = int(scores.argmax())
        score = float(scores[best])
        if score < min_score:
            break
        selected.append(best)
        scores_of_selected.append(score)
        scores[best] = -1.0
        others = slice(begins[best], ends[best])
        ious = iou(segments[best], segments[others], EPS)
        if kind == "soft":
            scores[others] *= np.exp(ious**2 / -by)
        else:
            scores[others][ious > by] = -1.0
    return Proposals(segments[selected], np.array(scores_of_selected), labels[selected])


def vote_boundaries(
    selected: Proposals, proposals: Proposals, *, iou_threshold: float, weighting: VotingWeight
) -> Proposals:
    """Move each of `selected` to the weighted mean of the `proposals` with IoU of at least `iou_threshold`."""
    ious = iou(selected.segments, proposals.segments)
    weights = np.where(ious >= iou_threshold, proposals.scores * (ious if weighting == "score*iou" else 1.0), 0.0)
    total = weights.sum(1, keepdims=True)
    moved = np.divide(weights @ proposals.segments, total, out=selected.segments.copy(), where=total > 0)
    return selected._replace(segments=moved)


def fuse_class_scores(proposals: Proposals, scores: Float64[np.ndarray, "k"], top: int) -> Proposals:
    """Repeat every segment for each of the `top` classes of `scores`, scored sqrt(class score x segment score)."""
    best = np.argsort(-scores, kind="stable")[:top]
    fused = np.sqrt(scores[best, None].clip(min=0.0) * proposals.scores)
    return Proposals(np.tile(proposals.segments, (len(best), 1)), fused.ravel(), np.repeat(best, len(proposals.scores)))


def conditional_softmax(scores: Float64[np.ndarray, "k"]) -> Float64[np.ndarray, "k"]:
    """Apply a softmax if a score is above 1 or below 0, as in the repository of the TWLV-I report.

    On the external scores for THUMOS14 this changes three videos in four.
    """
    if scores.max() <= 1 and scores.min() >= 0:
        return scores
    exponentials = np.exp(scores - scores.max())
    return np.asarray(exponentials / exponentials.sum())
