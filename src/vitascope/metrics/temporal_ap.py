"""Mean average precision and recall of temporal localization at tIoU thresholds, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Integer
from numpy.typing import NDArray

from vitascope.core.errors import UserError
from vitascope.core.types import Score
from vitascope.metrics.matching import match_at_levels, pairs_with_equal_keys
from vitascope.metrics.stats import Groups, codes, resampled

Array: TypeAlias = NDArray[Any]
Pairs: TypeAlias = tuple[Int64[Array, "p"], Int64[Array, "p"], Float64[Array, "p"]]
"""Row indices of predictions and of true segments, and the tIoU of each pair."""
Levels: TypeAlias = Sequence[float] | Float[Array, "t"]
"""tIoU thresholds."""

SAME = 1e-3
"""Tolerance of start and end of a duplicate annotation, seconds."""
BLOCK = 1 << 20
"""Maximum number of array elements per block of resamples."""
DENSE = 64
"""Cells of a table (true positives by videos) for each prediction up to which multiplying by it is the faster way."""


class Segments(NamedTuple):
    """Segments of many videos as columns. The scores of true segments are ignored."""

    video: Int64[Array, "n"]
    """Number of the video, shared by predictions and truth."""
    start: Float64[Array, "n"]
    """Start, seconds."""
    end: Float64[Array, "n"]
    """End, seconds."""
    label: Int64[Array, "n"]
    """Class index."""
    score: Float64[Array, "n"]
    """Confidence."""


class Matching(NamedTuple):
    """Predictions matched to true segments at every threshold: the input of AP, its interval and error diagnosis.

    Predictions are sorted by class, then by descending score; ties keep their order. Predictions of classes without a
    true segment are left out.
    """

    thresholds: Float64[Array, "t"]
    classes: Int64[Array, "c"]
    """Labels with a true segment, ascending."""
    videos: Int64[Array, "v"]
    """Numbers of the videos with a prediction or a true segment, ascending."""
    row: Int64[Array, "n"]
    """Row of each prediction in the input."""
    label: Int64[Array, "n"]
    """Its class, an index into `classes`."""
    video: Int64[Array, "n"]
    """Its video, an index into `videos`."""
    true_row: Int64[Array, "t n"]
    """Row of the true segment matched to it, or -1."""
    true_label: Int64[Array, "g"]
    """Class of each true segment, an index into `classes`."""
    true_video: Int64[Array, "g"]
    """Video of each true segment, an index into `videos`."""


def mean_ap(predictions: Segments, truth: Segments, thresholds: Levels) -> Float64[Array, "t"]:
    """mAP in percent at each tIoU threshold: AP averaged over the classes of `truth`; NaN without true segments.

    Follows the ActivityNet evaluation, as do ActionFormer and OpenTAD. The predictions of a class are processed by
    descending score; each is matched to the unmatched true segment of its class and video with the largest tIoU if
    that reaches the threshold, otherwise it is a false positive. AP is the area under the precision envelope at all
    points; it is 0 for a class without predictions, and predictions of classes without true segments are ignored.
    Ties, which the official code leaves to an unstable sort, go to the earlier prediction and the earlier true segment.

    Raises UserError for columns of different lengths, a non-finite time or score, or thresholds outside (0, 1].
    """
    (each,) = mean_over_classes(average_precision(match(predictions, truth, thresholds)))
    return np.asarray(each)


def mean_over_classes(precisions: Float64[Array, "b t c"]) -> Float64[Array, "b t"]:
    """Mean AP over the classes with a true segment; NaN if there are none."""
    defined = ~np.isnan(precisions)
    total = np.where(defined, precisions, 0.0).sum(axis=2)
    mean: Float64[Array, "b t"] = np.full(total.shape, np.nan)
    np.divide(total, defined.sum(axis=2), out=mean, where=defined.any(axis=2))
    return mean


def match(predictions: Segments, truth: Segments, thresholds: Levels) -> Matching:
    """Match predictions to true segments as `mean_ap` does; resamples of videos can reuse the result."""
    levels = _checked(predictions, truth, thresholds)
    classes, true_label = np.unique(truth.label, return_inverse=True)
    videos, both = np.unique(np.concatenate([truth.video, predictions.video]), return_inverse=True)
    true_video, video = np.split(both, [len(truth.video)])
    label = class_indices(predictions.label, classes)
    row = np.flatnonzero(label >= 0)
    row = row[_falling(predictions.score[row])]
    row = row[
        np.argsort(label[row].astype(np.min_scalar_type(len(classes))), kind="stable")
    ]  # a radix sort for small integers
    own, theirs = label[row] * len(videos) + video[row], true_label * len(videos) + true_video
    left, right, tiou = sort_by_overlap(
        overlaps(rows(predictions, row), truth, keys=(own, theirs), min_tiou=levels.min())
    )
    true_row = match_at_levels(left, right, tiou >= levels[:, None], (len(row), len(true_label)))
    return Matching(levels, classes, videos, row, label[row], video[row], true_row, true_label, true_video)


def average_precision(
    matching: Matching,
    weights: Integer[Array, "b v"] | None = None,
    *,
    keep: Bool[Array, "_ n"] | None = None,
    counted: Bool[Array, "g"] | None = None,
    normalizer: float | None = None,
) -> Float64[Array, "b t c"]:
    """AP in percent per resample of videos, threshold and class; NaN for a class without true segments.

    `weights` are the counts of each video per resample (by default each once). The masks `keep` (predictions, shared
    or per threshold) and `counted` (true segments) restrict the evaluation; exclude predictions that match uncounted
    segments, too. With a `normalizer` N, precision is R N / (R N + false positives) at recall R, as if every class had
    N true segments (normalized AP; Alwassel et al., ECCV 2018, after Hoiem et al., ECCV 2012).
    """
    weights = np.ones((1, len(matching.videos)), np.int64) if weights is None else weights
    keep = np.ones((1, len(matching.row)), bool) if keep is None else keep
    counted = np.ones(len(matching.true_label), bool) if counted is None else counted
    hit = (matching.true_row >= 0) & keep
    edges = np.searchsorted(matching.label, np.arange(len(matching.classes) + 1))
    each = np.full((len(weights), len(matching.thresholds), len(matching.classes)), np.nan)
    for c, (start, stop) in enumerate(pairwise(edges)):
        own = matching.true_video[counted & (matching.true_label == c)]
        of_video = np.bincount(own, minlength=len(matching.videos))
        part = slice(start, stop)
        listed = _Listed(matching.video[part], hit[:, part], keep[:, part], weights.shape[1])
        step = max(BLOCK // max(listed.size, 1), 1)
        for i in range(0, len(weights), step):
            times = weights[i : i + step]
            each[i : i + step, :, c] = _area(listed, times, times @ of_video, normalizer)
    return each


def recall(
    predictions: Segments,
    truth: Segments,
    thresholds: Levels,
    *,
    multiples: Sequence[int] = (1, 5),
) -> Float64[Array, "t k"]:
    """Recall in percent of the top k × G predictions, averaged over classes: `recall@1x` and `recall@5x`.

    G is the number of true segments of the class in the video. As in ActionFormer's and OpenTAD's evaluation, tIoU must
    exceed the threshold and one prediction may recall several true segments.
    """
    levels, matching = np.asarray(thresholds, np.float64), match(predictions, truth, thresholds)
    key = matching.label * len(matching.videos) + matching.video
    true_key = matching.true_label * len(matching.videos) + matching.true_video
    ordered = rows(predictions, matching.row)
    left, right, tiou = overlaps(ordered, truth, keys=(key, true_key), min_tiou=levels.min())
    rank = np.empty(len(key), np.int64)
    by_key = np.argsort(key, kind="stable")
    rank[by_key] = np.arange(len(key)) - np.searchsorted(key[by_key], key[by_key])
    best = np.full((len(levels), len(true_key)), np.iinfo(np.int64).max)  # stays where nothing is recalled
    level, pair = np.nonzero(tiou > levels[:, None])
    np.minimum.at(best, (level, right[pair]), rank[left[pair]])
    _, place, count = np.unique(true_key, return_inverse=True, return_counts=True)
    recalled = best[:, None] < np.asarray(multiples)[:, None] * count[place]
    each = [recalled[..., matching.true_label == c].mean(axis=2) for c in range(len(matching.classes))]
    return 100 * np.mean(each, axis=0) if each else np.full(recalled.shape[:2], np.nan)


def bootstrap(
    matching: Matching, *, groups: Groups = None, draws: int = 2000, rng: np.random.Generator
) -> tuple[dict[str, Score], dict[int, Score]]:
    """Scores with 95 % intervals over videos, in percent: {metric: score} and {label: mean AP over thresholds}.

    The metrics are `mAP`, the mean over thresholds, and `mAP@t` at each. Videos are resampled, or whole `groups` of
    them, one per entry of `matching.videos`; see `stats.resampled`. A class without true segments in a draw does not
    enter its mean.
    """
    code = codes(groups, len(matching.videos))

    def drawn(weights: Int64[Array, "b u"]) -> Float64[Array, "b k"]:
        each = average_precision(matching, weights[:, code])
        mean = mean_over_classes(each)
        return np.column_stack([mean.mean(axis=1), mean, each.mean(axis=1)])

    names = ["mAP", *(f"mAP@{t:g}" for t in matching.thresholds.tolist())]
    scores = resampled(drawn, int(code.max(initial=-1)) + 1, draws=draws, rng=rng)
    by_label = dict(zip(matching.classes.tolist(), scores[len(names) :], strict=True))
    return dict(zip(names, scores[: len(names)], strict=True)), by_label


def cleaned(truth: Segments) -> Segments:
    """`truth` without empty segments and duplicates, as the report's code, ActionFormer and OpenTAD do.

    A duplicate has the video and class of an earlier retained segment, and a start and end within `SAME` of it. The
    ActivityNet script does not remove them.
    """
    retained: dict[tuple[int, int], list[tuple[float, float]]] = {}
    indices = []
    for i, (video, start, end, label) in enumerate(zip(*(column.tolist() for column in truth[:4]), strict=True)):
        earlier = retained.setdefault((video, label), [])
        if end > start and not any(abs(start - a) <= SAME and abs(end - b) <= SAME for a, b in earlier):
            earlier.append((start, end))
            indices.append(i)
    return rows(truth, np.array(indices, np.int64))


def class_indices(labels: Integer[Array, "n"], classes: Integer[Array, "c"]) -> Int64[Array, "n"]:
    """The index of each label in the ascending `classes`, or -1."""
    place = np.searchsorted(classes, labels)
    present = np.append(classes, 0)[place] == labels
    return np.where(present & (place < len(classes)), place, -1)


def rows(segments: Segments, which: Integer[Array, "k"] | Bool[Array, "n"]) -> Segments:
    """The segments selected by index or mask."""
    return Segments(*(column[which] for column in segments))


def overlaps(a: Segments, b: Segments, *, keys: tuple[Array, Array], min_tiou: float) -> Pairs:
    """Pairs with equal keys and a tIoU that is positive and at least `min_tiou`, ordered by row of `a`, then of `b`.

    tIoU is the intersection over the union of two intervals; segments without length overlap nothing.
    """
    blocks = []
    for i, j in pairs_with_equal_keys(*keys):
        shared = np.minimum(a.end[i], b.end[j]) - np.maximum(a.start[i], b.start[j])
        near = np.flatnonzero(shared > 0)
        i, j, shared = i[near], j[near], shared[near]
        tiou = shared / ((a.end[i] - a.start[i]) + (b.end[j] - b.start[j]) - shared)
        enough = tiou >= min_tiou
        blocks.append((i[enough], j[enough], tiou[enough]))
    left, right, tiou = (np.concatenate(column) for column in zip(*blocks, strict=True))
    return left, right, tiou


def sort_by_overlap(pairs: Pairs) -> Pairs:
    """Pairs sorted by left row, descending tIoU and right row."""
    left, right, tiou = pairs
    order, repeated, same = np.arange(len(left)), np.zeros(len(left), bool), left[1:] == left[:-1]
    repeated[1:] |= same
    repeated[:-1] |= same
    several = np.flatnonzero(repeated)
    order[several] = several[np.lexsort((-tiou[several], left[several]))]
    return left[order], right[order], tiou[order]


def _falling(scores: Float[Array, "n"]) -> Int64[Array, "n"]:
    """Rows by descending score, ties in order; the stable sort is seven times slower and runs only for ties."""
    order: Int64[Array, "n"] = np.argsort(-scores)
    ranked = scores[order]
    return order if (ranked[1:] != ranked[:-1]).all() else np.argsort(-scores, kind="stable")


class _Listed:
    """The predictions of one class up to each of its true positives, where alone the precision envelope changes."""

    def __init__(self, video: Array, hit: Bool[Array, "t n"], keep: Bool[Array, "_ n"], videos: int) -> None:
        self.at = np.flatnonzero(hit.any(axis=0))
        self.hit, self.video, self.keep = hit[:, self.at], video, keep
        self.dense = videos * len(self.at) <= DENSE * len(video)
        self.size = max(len(hit) * len(self.at), len(keep) * (videos if self.dense else len(video)))
        if self.dense:
            slot = np.searchsorted(self.at, np.arange(len(video)))
            self.counts = np.stack([self._per_video(slot[row], video[row], videos) for row in keep])

    def _per_video(self, slot: Array, video: Array, videos: int) -> Float64[Array, "a v"]:
        """Number of predictions of each video up to each true positive."""
        cells = np.bincount(slot * videos + video, minlength=(len(self.at) + 1) * videos)
        return cells.reshape(-1, videos)[: len(self.at)].cumsum(axis=0).astype(np.float64)

    def up_to(self, weights: Array) -> Array:
        """Weighted number of predictions up to each true positive, (b, _, a); a product of whole numbers is exact."""
        if self.dense:
            return np.stack([weights @ table.T for table in self.counts], axis=1)
        return (weights[:, None, self.video] * self.keep).cumsum(axis=2)[..., self.at]


def _area(listed: _Listed, weights: Array, positives: Array, normalizer: float | None) -> Float64[Array, "b t"]:
    """AP in percent of one class; `weights` (b, v) are the counts of each video per resample."""
    true = weights[:, None, listed.video[listed.at]] * listed.hit
    sofar = true.cumsum(axis=2)
    good: Array = sofar
    if normalizer is not None:
        good = sofar * (normalizer / np.maximum(positives, 1))[:, None, None]
    precision = good / np.maximum(good + (listed.up_to(weights) - sofar), np.finfo(float).tiny)
    envelope = np.maximum.accumulate(precision[..., ::-1], axis=2)[..., ::-1]
    area = 100 * (true * envelope).sum(axis=2)
    share: Float64[Array, "b t"] = np.full(area.shape, np.nan)
    np.divide(area, positives[:, None], out=share, where=np.broadcast_to(positives[:, None] > 0, area.shape))
    return share


def _checked(predictions: Segments, truth: Segments, thresholds: Levels) -> Float64[Array, "t"]:
    for name, given in (("predictions", predictions), ("true segments", truth)):
        if len({len(column) for column in given}) > 1:
            raise UserError(f"the columns of {name} differ in length: {[len(column) for column in given]}")
        columns = ("start", "end") if given is truth else ("start", "end", "score")
        for column in columns:
            bad = np.flatnonzero(~np.isfinite(getattr(given, column)))
            if bad.size:
                raise UserError(
                    f"{name}: {column} {getattr(given, column)[bad[0]]} in row {bad[0]}, video "
                    f"{given.video[bad[0]]}: expected a finite number; remove or correct it"
                )
    levels = np.asarray(thresholds, np.float64)
    if levels.ndim != 1 or not levels.size or not ((levels > 0) & (levels <= 1)).all():
        raise UserError(f"tIoU thresholds {levels.tolist()}: expected values above 0 and up to 1, such as 0.3 to 0.7")
    return levels
