"""Mean average precision of predicted segments at thresholds of temporal overlap (tIoU), recall, and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Integer
from numpy.typing import NDArray

from vitascope.core.errors import UserError
from vitascope.core.types import Score
from vitascope.metrics.matching import at_levels, equal
from vitascope.metrics.stats import Groups, codes, resampled

Array: TypeAlias = NDArray[Any]
Pairs: TypeAlias = tuple[Int64[Array, "p"], Int64[Array, "p"], Float64[Array, "p"]]
"""Rows of predictions and of true segments, and the tIoU of each such pair."""
Levels: TypeAlias = Sequence[float] | Float[Array, "t"]
"""Thresholds of tIoU."""

SAME = 1e-3
"""Seconds by which both ends of one annotation given twice may differ."""
BLOCK = 1 << 20
"""Numbers held at once while resampling."""


class Segments(NamedTuple):
    """Segments of many videos as columns; seconds. A true segment's score is not looked at."""

    video: Int64[Array, "n"]
    """Number of the video, the same for predictions and truth."""
    start: Float64[Array, "n"]
    end: Float64[Array, "n"]
    label: Int64[Array, "n"]
    score: Float64[Array, "n"]


class Matching(NamedTuple):
    """Which true segment every prediction found, at every threshold; what AP, its interval and a diagnosis read.

    Predictions stand class by class, in each the best score first and of equal scores the earlier. Those of classes
    without a true segment are left out: nothing is asked about them.
    """

    thresholds: Float64[Array, "t"]
    classes: Int64[Array, "c"]
    """Labels that have a true segment, ascending."""
    videos: Int64[Array, "v"]
    """Numbers of all videos with a prediction or a true segment, ascending."""
    row: Int64[Array, "n"]
    """Row of the prediction among those given."""
    label: Int64[Array, "n"]
    """Its class, an index of `classes`."""
    video: Int64[Array, "n"]
    """Its video, an index of `videos`."""
    found: Int64[Array, "t n"]
    """Row of the true segment it found, or -1."""
    true_label: Int64[Array, "g"]
    true_video: Int64[Array, "g"]


def mean_ap(predictions: Segments, truth: Segments, thresholds: Levels) -> Float64[Array, "t"]:
    """Percent at each tIoU threshold: AP averaged over the classes of `truth`; NaN where there is no truth.

    The rules are those of the ActivityNet evaluation, which ActionFormer and OpenTAD follow. Predictions of a class
    go by falling score; each takes the true segment of its class and video with the largest tIoU that is still free,
    if that tIoU reaches the threshold, else it is false. AP is the area under the precision envelope at all points; a
    class without predictions has 0, predictions of classes without truth are not looked at. Where the published code
    leaves it to an unstable sort, of equal scores the earlier prediction comes first, and of equal tIoU the earlier
    true segment.

    ValueError: columns that differ in length, an end or a score that is not finite, thresholds outside (0, 1].
    """
    (each,) = over_classes(average_precision(match(predictions, truth, thresholds)))
    return np.asarray(each)


def over_classes(precisions: Float64[Array, "b t c"]) -> Float64[Array, "b t"]:
    """Mean over the classes that have a true segment; NaN where none has."""
    asked = ~np.isnan(precisions)
    total = np.where(asked, precisions, 0.0).sum(axis=2)
    mean: Float64[Array, "b t"] = np.full(total.shape, np.nan)
    np.divide(total, asked.sum(axis=2), out=mean, where=asked.any(axis=2))
    return mean


def match(predictions: Segments, truth: Segments, thresholds: Levels) -> Matching:
    """The matching behind `mean_ap`. It never leaves a video, so that a resample of videos needs no other."""
    levels = _checked(predictions, truth, thresholds)
    classes, true_label = np.unique(truth.label, return_inverse=True)
    videos, both = np.unique(np.concatenate([truth.video, predictions.video]), return_inverse=True)
    true_video, video = np.split(both, [len(truth.video)])
    label = class_indices(predictions.label, classes)
    row = np.flatnonzero(label >= 0)
    row = row[_falling(predictions.score[row])]
    row = row[np.argsort(label[row].astype(np.min_scalar_type(len(classes))), kind="stable")]  # by radix: small numbers
    own, theirs = label[row] * len(videos) + video[row], true_label * len(videos) + true_video
    left, right, tiou = by_overlap(overlaps(rows(predictions, row), truth, keys=(own, theirs), least=levels.min()))
    found = at_levels(left, right, tiou >= levels[:, None], (len(row), len(true_label)))
    return Matching(levels, classes, videos, row, label[row], video[row], found, true_label, true_video)


def average_precision(
    matching: Matching,
    weights: Integer[Array, "b v"] | None = None,
    *,
    kept: Bool[Array, "_ n"] | None = None,
    counted: Bool[Array, "g"] | None = None,
    normalizer: float | None = None,
) -> Float64[Array, "b t c"]:
    """AP in percent of each resample of videos, threshold and class; NaN for a class without a true segment.

    `weights` say how often each video is there (once); a video that is there twice is two videos, exactly.
    Of the predictions only the `kept` (at each threshold, or at all) are in the list, of the true segments only the
    `counted`; a prediction that found another is then best not kept. With a `normalizer` N precision is R N / (R N +
    false), R the recall: as if every class had N true segments (Alwassel et al., ECCV 2018, after Hoiem et al. 2012).
    """
    weights = np.ones((1, len(matching.videos)), np.int64) if weights is None else weights
    kept = np.ones((1, len(matching.row)), bool) if kept is None else kept
    counted = np.ones(len(matching.true_label), bool) if counted is None else counted
    hit = (matching.found >= 0) & kept
    edges = np.searchsorted(matching.label, np.arange(len(matching.classes) + 1))
    each = np.full((len(weights), len(matching.thresholds), len(matching.classes)), np.nan)
    for c, (start, stop) in enumerate(pairwise(edges)):
        own = matching.true_video[counted & (matching.true_label == c)]
        of_video = np.bincount(own, minlength=len(matching.videos))
        video, part = matching.video[start:stop], slice(start, stop)
        step = max(BLOCK // max(len(kept) * len(video), 1), 1)
        for i in range(0, len(weights), step):
            times = weights[i : i + step]
            each[i : i + step, :, c] = _area(times[:, video], times @ of_video, hit[:, part], kept[:, part], normalizer)
    return each


def recall(
    predictions: Segments,
    truth: Segments,
    thresholds: Levels,
    *,
    multiples: Sequence[int] = (1, 5),
) -> Float64[Array, "t k"]:
    """Percent of true segments that the best k × G predictions find, averaged over classes: `recall@1x` and `@5x`.

    G is the number of true segments of that class in that video. As in ActionFormer's and OpenTAD's evaluation the
    tIoU has to exceed the threshold, and one prediction may find several.
    """
    levels, matching = np.asarray(thresholds, np.float64), match(predictions, truth, thresholds)
    key = matching.label * len(matching.videos) + matching.video
    true_key = matching.true_label * len(matching.videos) + matching.true_video
    ordered = rows(predictions, matching.row)
    left, right, tiou = overlaps(ordered, truth, keys=(key, true_key), least=levels.min())
    rank = np.empty(len(key), np.int64)
    by_key = np.argsort(key, kind="stable")
    rank[by_key] = np.arange(len(key)) - np.searchsorted(key[by_key], key[by_key])
    best = np.full((len(levels), len(true_key)), np.iinfo(np.int64).max)  # of those that nothing finds
    level, pair = np.nonzero(tiou > levels[:, None])
    np.minimum.at(best, (level, right[pair]), rank[left[pair]])
    _, place, together = np.unique(true_key, return_inverse=True, return_counts=True)
    got = best[:, None] < np.asarray(multiples)[:, None] * together[place]
    each = [got[..., matching.true_label == c].mean(axis=2) for c in range(len(matching.classes))]
    return 100 * np.mean(each, axis=0) if each else np.full(got.shape[:2], np.nan)


def bootstrap_map(
    predictions: Segments,
    truth: Segments,
    thresholds: Levels,
    *,
    groups: Groups = None,
    draws: int = 2000,
    rng: np.random.Generator,
) -> dict[str, Score]:
    """`mAP`, the mean over thresholds, and `mAP@t` at each, percent, with 95 % intervals over videos.

    Videos are drawn with replacement, or whole `groups` of them, given for the videos with a prediction or a true
    segment in ascending order; see `stats.resampled`. A class that a draw leaves without truth is not in its mean.
    """
    return bootstrap_matched(match(predictions, truth, thresholds), groups=groups, draws=draws, rng=rng)[0]


def bootstrap_matched(
    matching: Matching, *, groups: Groups = None, draws: int = 2000, rng: np.random.Generator
) -> tuple[dict[str, Score], dict[int, Score]]:
    """The scores of `bootstrap_map`, and the AP of each label that has a true segment, averaged over the thresholds."""
    code = codes(groups, len(matching.videos))

    def drawn(weights: Int64[Array, "b u"]) -> Float64[Array, "b k"]:
        each = average_precision(matching, weights[:, code])
        mean = over_classes(each)
        return np.column_stack([mean.mean(axis=1), mean, each.mean(axis=1)])

    names = ["mAP", *(f"mAP@{t:g}" for t in matching.thresholds.tolist())]
    found = resampled(drawn, int(code.max(initial=-1)) + 1, draws=draws, rng=rng)
    by_label = dict(zip(matching.classes.tolist(), found[len(names) :], strict=True))
    return dict(zip(names, found[: len(names)], strict=True)), by_label


def cleaned(truth: Segments) -> Segments:
    """`truth` without what the report's repository, ActionFormer and OpenTAD remove, and ActivityNet's script does not.

    Those are segments that do not end after they start, and ones of a video and class whose ends both lie within
    `SAME` of an earlier one that was kept.
    """
    kept: dict[tuple[int, int], list[tuple[float, float]]] = {}
    stays = []
    for i, (video, start, end, label) in enumerate(zip(*(column.tolist() for column in truth[:4]), strict=True)):
        earlier = kept.setdefault((video, label), [])
        if end > start and not any(abs(start - a) <= SAME and abs(end - b) <= SAME for a, b in earlier):
            earlier.append((start, end))
            stays.append(i)
    return rows(truth, np.array(stays, np.int64))


def class_indices(
    labels: Integer[Array, "n"], known: Integer[Array, "c"], *, colliding: bool = False
) -> Int64[Array, "n"]:
    """Where each label stands among the ascending `known` ones; -1 for one that is not known.

    The published evaluations rename labels in place, so that there an unknown label goes on as its own number and
    is taken for the class that stands at that place: `colliding`.
    """
    place = np.searchsorted(known, labels)
    there = np.append(known, 0)[place] == labels
    return np.where(there & (place < len(known)), place, labels if colliding else -1)


def rows(segments: Segments, which: Integer[Array, "k"] | Bool[Array, "n"]) -> Segments:
    """The segments at these rows, in this order."""
    return Segments(*(column[which] for column in segments))


def overlaps(a: Segments, b: Segments, *, keys: tuple[Array, Array], least: float) -> Pairs:
    """Pairs with equal keys whose tIoU is positive and at least `least`, in order of the rows of a, then of b.

    tIoU is what both share over what either covers; segments without length share nothing with anything.
    """
    found = []
    for i, j in equal(*keys):
        shared = np.minimum(a.end[i], b.end[j]) - np.maximum(a.start[i], b.start[j])
        near = np.flatnonzero(shared > 0)
        i, j, shared = i[near], j[near], shared[near]
        tiou = shared / ((a.end[i] - a.start[i]) + (b.end[j] - b.start[j]) - shared)
        enough = tiou >= least
        found.append((i[enough], j[enough], tiou[enough]))
    left, right, tiou = (np.concatenate(column) for column in zip(*found, strict=True))
    return left, right, tiou


def by_overlap(pairs: Pairs) -> Pairs:
    """Pairs in order of the left row, then by falling tIoU, then of the right row."""
    left, right, tiou = pairs
    order, together, same = np.arange(len(left)), np.zeros(len(left), bool), left[1:] == left[:-1]
    together[1:] |= same
    together[:-1] |= same
    several = np.flatnonzero(together)
    order[several] = several[np.lexsort((-tiou[several], left[several]))]
    return left[order], right[order], tiou[order]


def _falling(scores: Float[Array, "n"]) -> Int64[Array, "n"]:
    """Rows by falling score, of equal ones the earlier first; a stable sort, seven times slower, only where needed."""
    order: Int64[Array, "n"] = np.argsort(-scores)
    ranked = scores[order]
    return order if (ranked[1:] != ranked[:-1]).all() else np.argsort(-scores, kind="stable")


def _area(
    times: Array, positives: Array, hit: Bool[Array, "t n"], kept: Bool[Array, "_ n"], normalizer: float | None
) -> Float64[Array, "b t"]:
    """Percent of the area under the precision envelope of one class; `times` (b, n) is how often a row is there.

    The envelope has its corners at true positives: only there precision is needed.
    """
    at = np.flatnonzero(hit.any(axis=0))
    true = times[:, None, at] * hit[:, at]
    sofar = true.cumsum(axis=2)
    listed = (times[:, None] * kept).cumsum(axis=2)[..., at]
    good: Array = sofar
    if normalizer is not None:
        good = sofar * (normalizer / np.maximum(positives, 1))[:, None, None]
    precision = good / np.maximum(good + (listed - sofar), np.finfo(float).tiny)
    envelope = np.maximum.accumulate(precision[..., ::-1], axis=2)[..., ::-1]
    area = 100 * (true * envelope).sum(axis=2)
    share: Float64[Array, "b t"] = np.full(area.shape, np.nan)
    np.divide(area, positives[:, None], out=share, where=np.broadcast_to(positives[:, None] > 0, area.shape))
    return share


def _checked(predictions: Segments, truth: Segments, thresholds: Levels) -> Float64[Array, "t"]:
    for name, given in (("predictions", predictions), ("true segments", truth)):
        if len({len(column) for column in given}) > 1:
            raise UserError(f"columns of {name} differ in length: {[len(column) for column in given]}")
        columns = ("start", "end") if given is truth else ("start", "end", "score")
        for column in columns:
            bad = np.flatnonzero(~np.isfinite(getattr(given, column)))
            if bad.size:
                raise UserError(
                    f"{name}: {column} {getattr(given, column)[bad[0]]} in row {bad[0]}, video "
                    f"{given.video[bad[0]]}: leave it out, or say what it should be"
                )
    levels = np.asarray(thresholds, np.float64)
    if levels.ndim != 1 or not levels.size or not ((levels > 0) & (levels <= 1)).all():
        raise UserError(f"tIoU thresholds {levels.tolist()}: expected some above 0 and up to 1, such as 0.3 to 0.7")
    return levels
