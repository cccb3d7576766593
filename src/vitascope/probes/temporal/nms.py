"""From many overlapping segments to few: soft and hard non-maximum suppression, voting, and classes from elsewhere."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float64, Int64

EPS = 1e-6
"""Added to lengths in the overlap of suppression."""
Suppression: TypeAlias = Literal["soft", "hard"]
"""What becomes of a segment that overlaps a likelier one: its score sinks, or it is dropped."""
Weighting: TypeAlias = Literal["score", "score*iou"]
"""By what segments vote: the report's repository by their scores, ActionFormer by scores times overlap."""


class Proposals(NamedTuple):
    """Segments that may hold an action; the unit of time is the caller's."""

    segments: Float64[np.ndarray, "n 2"]
    scores: Float64[np.ndarray, "n"]
    labels: Int64[np.ndarray, "n"]

    def take(self, which: Int64[np.ndarray, "m"]) -> Proposals:
        """Those of these numbers."""
        return Proposals(self.segments[which], self.scores[which], self.labels[which])


def overlap(
    a: Float64[np.ndarray, "*n 2"], b: Float64[np.ndarray, "m 2"], eps: float = 0.0
) -> Float64[np.ndarray, "*n m"]:
    """Shared time over time of either."""
    start, end = a[..., None, 0], a[..., None, 1]
    shared = (np.minimum(end, b[:, 1]) - np.maximum(start, b[:, 0])).clip(min=0.0)
    either = (end - start + eps) + (b[:, 1] - b[:, 0] + eps) - shared
    found: Float64[np.ndarray, "*n m"] = np.divide(shared, either, out=np.zeros_like(shared), where=either > 0)
    return found


def suppressed(
    found: Proposals, *, kind: Suppression, by: float, min_score: float, max_segments: int, by_class: bool
) -> Proposals:
    """The best `max_segments` segments, best first, each of which takes its toll of the others, of its class where `by_class`.

    `soft` multiplies their scores by exp(-IoU^2 / by), a Gaussian (Bodla et al. 2017, arXiv 1704.04503, eq. 3); `hard`
    drops those whose IoU is above `by`. What falls below `min_score` is dropped. Each class alone, then the best of all,
    is the same as the best at every turn.
    """
    order = np.argsort(found.labels, kind="stable") if by_class else np.arange(len(found.scores))
    segments, labels, scores = found.segments[order], found.labels[order], found.scores[order].copy()
    groups = labels if by_class else np.zeros_like(labels)
    begins, ends = (np.searchsorted(groups, groups, side=side) for side in ("left", "right"))
    kept: list[int] = []
    reached: list[float] = []
    while len(kept) < min(max_segments, len(scores)):
        best = int(scores.argmax())
        score = float(scores[best])
        if score < min_score:
            break
        kept.append(best)
        reached.append(score)
        scores[best] = -1.0
        rivals = slice(begins[best], ends[best])
        shared = overlap(segments[best], segments[rivals], EPS)
        if kind == "soft":
            scores[rivals] *= np.exp(shared**2 / -by)
        else:
            scores[rivals][shared > by] = -1.0
    return Proposals(segments[kept], np.array(reached), labels[kept])


def voted(kept: Proposals, every: Proposals, *, iou_threshold: float, weighting: Weighting) -> Proposals:
    """`kept` with each segment in the weighted mean of those of `every` that overlap it by `iou_threshold` or more."""
    shared = overlap(kept.segments, every.segments)
    weights = np.where(shared >= iou_threshold, every.scores * (shared if weighting == "score*iou" else 1.0), 0.0)
    total = weights.sum(1, keepdims=True)
    moved = np.divide(weights @ every.segments, total, out=kept.segments.copy(), where=total > 0)
    return kept._replace(segments=moved)


def classified(found: Proposals, scores: Float64[np.ndarray, "k"], top: int) -> Proposals:
    """Every segment once for each of the `top` classes of `scores`, by sqrt(class x segment)."""
    best = np.argsort(-scores, kind="stable")[:top]
    fused = np.sqrt(scores[best, None].clip(min=0.0) * found.scores)
    return Proposals(np.tile(found.segments, (len(best), 1)), fused.ravel(), np.repeat(best, len(found.scores)))


def conditional_softmax(scores: Float64[np.ndarray, "k"]) -> Float64[np.ndarray, "k"]:
    """The softmax of `scores` where one is above 1 or below 0, as the report's repository has it; else as they are.

    Of THUMOS14's scores, some of which sum to more than 1, this flattens three videos in four and leaves the others.
    """
    if scores.max() <= 1 and scores.min() >= 0:
        return scores
    raised = np.exp(scores - scores.max())
    return np.asarray(raised / raised.sum())
