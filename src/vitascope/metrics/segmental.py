"""Temporal segmentation metrics: frame accuracy, segmental edit score and F1@k, in two variants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from jaxtyping import Float64, Int64, Integer
from numpy.typing import NDArray

from vitascope.core.errors import UserError
from vitascope.core.types import Score
from vitascope.metrics.matching import match_at_levels, pairs_with_equal_keys
from vitascope.metrics.stats import Groups, codes, resampled

Array: TypeAlias = NDArray[Any]
Style: TypeAlias = Literal["sound", "published"]
Labels: TypeAlias = Sequence[Integer[Array, "_"]]
"""Frame labels, one array per video."""

OVERLAPS = (0.10, 0.25, 0.50)
"""IoU thresholds of F1@k."""
BLOCK = 1 << 21
"""Maximum number of array elements per block of edit distances."""


class Counts(NamedTuple):
    """Per-video counts; their sums over any set of videos give the scores of that set."""

    correct: Int64[Array, "v"]
    """Correctly labeled frames."""
    frames: Int64[Array, "v"]
    """Evaluated frames."""
    edit: Float64[Array, "v"]
    """Edit score, percent."""
    right: Int64[Array, "v k"]
    """True positives at each IoU threshold."""
    false: Int64[Array, "v k"]
    """False positives at each IoU threshold."""
    missed: Int64[Array, "v k"]
    """False negatives at each IoU threshold."""
    overlaps: tuple[float, ...]
    """IoU thresholds."""
    style: Style

    @property
    def names(self) -> list[str]:
        """Names of the scores, in the order of `pooled`."""
        return ["accuracy", "edit", *(f"F1@{100 * k:g}" for k in self.overlaps), "mF1"]


class Runs(NamedTuple):
    """Maximal runs of frames with one label, ordered by video and time; the end is exclusive."""

    video: Int64[Array, "r"]
    label: Int64[Array, "r"]
    start: Int64[Array, "r"]
    end: Int64[Array, "r"]


def counts(
    predictions: Sequence[Integer[Array, "_"] | None],
    truth: Labels,
    *,
    style: Style = "sound",
    background: Sequence[int] = (),
    overlaps: Sequence[float] = OVERLAPS,
) -> Counts:
    """Counts per video from frame labels; a missing prediction is None.

    Runs of `background` labels are not segments, but their frames count towards the accuracy.

    `published` reproduces the evaluation code of MS-TCN and ASFormer (scores of Lea et al., CVPR 2017). The last run of
    a video ends one frame early, so a run of a single frame is empty and matches nothing. Predicted segments are
    processed in order of time, each compared only to the true segment of its label with the largest IoU (the first of
    ties), and are false positives if that is matched already. A missing prediction has an edit score of 0 and is left
    out of the other scores. Without segments on either side the edit score is NaN, and predicted segments without true
    ones are an error.

    `sound` counts the last run in full and matches one to one so that as many segments as possible reach the IoU: a
    segment whose best match is used may take another, so that the score is symmetric in prediction and truth and
    independent of the order. (As the segments of a video do not overlap, taking the first free match in order of time
    is optimal: all pairs that conflict with the first pair conflict with each other. Above an IoU of 0.5 there is at
    most one candidate, and the two styles differ only in the last run.) A missing prediction is wrong in every frame
    and misses every segment. Without segments on either side all scores are 100.

    Raises UserError if the numbers of frames differ (`published` allows longer predictions and ignores the rest), if
    the truth has no frames and, for `published`, if it has no segments but the prediction does.
    """
    if not len(truth):
        raise UserError("no videos to score")
    if style not in get_args(Style):
        raise UserError(f"style is one of {', '.join(get_args(Style))}, not {style!r}")
    if not overlaps or not all(0 < k <= 1 for k in overlaps):
        raise UserError(
            f"overlaps {list(overlaps)}: expected IoU thresholds above 0 and up to 1, such as 0.1, 0.25, 0.5"
        )
    _check(predictions, truth, style)
    labels = [y[:0] if p is None else p for p, y in zip(predictions, truth, strict=True)]
    present = np.array([p is not None for p in predictions], bool)
    predicted, true = (_segments(side, background, style) for side in (labels, truth))
    n, frames = len(truth), np.array([len(y) for y in truth], np.int64)
    positives, targets = (np.bincount(side.video, minlength=n) for side in (predicted, true))
    if style == "published":
        _check_segments(positives, targets)
        frames = frames * present
        targets, empty = targets * present, np.nan
    else:
        empty = 100.0
    hits = _hits(predicted, true, overlaps, style)
    right = np.stack([np.bincount(predicted.video[row], minlength=n) for row in hits], axis=1)
    edit = edit_scores(predicted, true, n, empty=empty)
    edit[~present] = 0.0
    correct = np.array([int((p[: len(y)] == y[: len(p)]).sum()) for p, y in zip(labels, truth, strict=True)], np.int64)
    false, missed = positives[:, None] - right, targets[:, None] - right
    return Counts(correct, frames, edit, right, false, missed, tuple(overlaps), style)


def scores(each: Counts, splits: Integer[Array, "v"] | None = None) -> dict[str, float]:
    """`accuracy`, `edit`, `F1@k` and their mean `mF1` in percent, averaged over `splits` (see `pooled`)."""
    return dict(zip(each.names, pooled(each, splits=splits)[0].tolist(), strict=True))


def bootstrap(
    each: Counts,
    splits: Integer[Array, "v"] | None = None,
    *,
    groups: Groups = None,
    draws: int = 2000,
    rng: np.random.Generator,
) -> dict[str, Score]:
    """`scores` with 95 % intervals over videos or `groups` of videos; see `stats.resampled`."""
    code = codes(groups, len(each.frames))

    def drawn(weights: Int64[Array, "b u"]) -> Float64[Array, "b m"]:
        return pooled(each, weights[:, code], splits=splits)

    units = int(code.max(initial=-1)) + 1
    return dict(zip(each.names, resampled(drawn, units, draws=draws, rng=rng), strict=True))


def pooled(
    each: Counts, weights: Integer[Array, "b v"] | None = None, *, splits: Integer[Array, "v"] | None = None
) -> Float64[Array, "b m"]:
    """The scores `each.names` per resample; `weights` are the counts of each video (by default one).

    Within a split, frames and segments are pooled and edit scores averaged over videos. The result is the mean over
    splits; splits without a drawn video are left out.
    """
    weights = np.ones((1, len(each.frames)), np.int64) if weights is None else weights
    splits = np.zeros(len(each.frames), np.int64) if splits is None else splits
    empty = 100.0 if each.style == "sound" else 0.0
    total = np.zeros((len(weights), len(each.names)))
    drawn = np.zeros((len(weights), 1), np.int64)
    for split in np.unique(splits):
        own = splits == split
        times = weights[:, own]
        present = times.any(axis=1, keepdims=True)
        right, false, missed = (times @ column[own] for column in (each.right, each.false, each.missed))
        f1 = _ratio(200.0 * right, 2 * right + false + missed, empty)
        accuracy = _ratio(100.0 * (times @ each.correct[own]), times @ each.frames[own], np.nan)
        edit = _ratio(times @ each.edit[own], times.sum(axis=1), np.nan)
        total += np.where(present, np.column_stack([accuracy, edit, f1, f1.mean(axis=1)]), 0.0)
        drawn += present
    return _ratio(total, np.broadcast_to(drawn, total.shape), np.nan)


def runs(labels: Labels) -> Runs:
    """Maximal runs of equal labels in every video."""
    none = np.empty(0, np.int64)
    final = [np.append(np.flatnonzero(row[1:] != row[:-1]), len(row) - 1) if len(row) else none for row in labels]
    video = np.repeat(np.arange(len(final)), [len(last) for last in final])
    end = np.concatenate([*final, none]) + 1
    label = np.concatenate([*(row[last] for row, last in zip(labels, final, strict=True)), none])
    start = np.append(0, end[:-1])[: len(end)]
    start[np.append(True, video[1:] != video[:-1])[: len(video)]] = 0
    return Runs(video, label, start, end)


def edit_scores(predicted: Runs, true: Runs, videos: int, *, empty: float = 100.0) -> Float64[Array, "{videos}"]:
    """Segmental edit score of each video: 100 × (1 - Levenshtein distance / longer length) of the label sequences.

    `empty` is the score if both sequences are empty. All videos are computed in parallel, row by row of the dynamic
    program; within a row, insertions are a running minimum of distance minus column.
    """
    (a, long), (b, wide) = (_padded(side, videos) for side in (true, predicted))
    distance, step = np.empty(videos), max(BLOCK // (b.shape[1] + 1), 1)
    for start in range(0, videos, step):
        part = slice(start, start + step)
        distance[part] = _distances((a[part], long[part]), (b[part], wide[part]))
    return 100.0 - _ratio(100.0 * distance, np.maximum(long, wide), 100.0 - empty)


def _distances(true: tuple[Array, Array], predicted: tuple[Array, Array]) -> Int64[Array, "v"]:
    """Levenshtein distances between rows of padded label sequences, given with their lengths."""
    (a, long), (b, wide) = true, predicted
    column = np.arange(b.shape[1] + 1)
    table = np.broadcast_to(column, (len(a), len(column)))
    result = wide.copy()
    for i in range(1, a.shape[1] + 1):
        replaced = table[:, :-1] + (b != a[:, i - 1, None])
        dropped = table + 1
        dropped[:, 1:] = np.minimum(dropped[:, 1:], replaced)
        table = np.minimum.accumulate(dropped - column, axis=1) + column
        done = np.flatnonzero(long == i)
        result[done] = table[done, wide[done]]
    return result


def _padded(side: Runs, videos: int) -> tuple[Int64[Array, "{videos} m"], Int64[Array, "{videos}"]]:
    """Labels of each video's runs, padded to one length, and the number of runs."""
    sizes = np.bincount(side.video, minlength=videos)
    table = np.zeros((videos, sizes.max(initial=0)), np.int64)
    table[side.video, np.arange(len(side.video)) - np.repeat(sizes.cumsum() - sizes, sizes)] = side.label
    return table, sizes


def _segments(labels: Labels, background: Sequence[int], style: Style) -> Runs:
    """The runs that are not background; in style `published` the last run of a video ends one frame early."""
    every = runs(labels)
    if style == "published":
        last = np.append(every.video[1:] != every.video[:-1], True)[: len(every.video)]
        every = every._replace(end=every.end - last)
    counts = ~np.isin(every.label, np.asarray(background, np.int64))
    return Runs(*(column[counts] for column in every))


def _hits(predicted: Runs, true: Runs, overlaps: Sequence[float], style: Style) -> list[Array]:
    """For each IoU threshold, which predicted segments are true positives."""
    classes = 1 + max(predicted.label.max(initial=0), true.label.max(initial=0))
    keys = (predicted.video * classes + predicted.label, true.video * classes + true.label)
    blocks = []
    for i, j in pairs_with_equal_keys(*keys):
        shared = np.minimum(predicted.end[i], true.end[j]) - np.maximum(predicted.start[i], true.start[j])
        near = np.flatnonzero(shared > 0)
        i, j, shared = i[near], j[near], shared[near]
        union = predicted.end[i] - predicted.start[i] + true.end[j] - true.start[j] - shared
        blocks.append((i, j, shared / union))
    left, right, iou = (np.concatenate(column) for column in zip(*blocks, strict=True))
    if style == "published":
        order = np.lexsort((-iou, left))
        left, right, iou = left[order], right[order], iou[order]
        best = np.append(True, left[1:] != left[:-1])[: len(left)]
        left, right, iou = left[best], right[best], iou[best]
    eligible = iou >= np.asarray(overlaps)[:, None]
    return list(match_at_levels(left, right, eligible, (len(predicted.label), len(true.label))) >= 0)


def _ratio(part: Array, whole: Array, empty: float) -> Float64[Array, "..."]:
    """`part / whole`, or `empty` where `whole` is 0."""
    share: Float64[Array, "..."] = np.divide(part, whole, out=np.full(np.shape(part), empty), where=whole > 0)
    return share


def _check(predictions: Sequence[Array | None], truth: Labels, style: Style) -> None:
    if len(predictions) != len(truth):
        raise UserError(f"{len(predictions)} predictions for {len(truth)} videos: expected one per video, or None")
    for i, (p, y) in enumerate(zip(predictions, truth, strict=True)):
        if not len(y):
            raise UserError(f"video {i} has no labeled frames: remove it")
        odd = p is not None and (len(p) < len(y) if style == "published" else len(p) != len(y))
        if p is not None and odd:
            raise UserError(f"video {i}: {len(p)} predicted labels for {len(y)} frames; expected one per frame")


def _check_segments(positives: Int64[Array, "v"], targets: Int64[Array, "v"]) -> None:
    """Raise where the official evaluation code fails: it takes an argmax over no true segments."""
    bad = np.flatnonzero((positives > 0) & (targets == 0))
    if bad.size:
        raise UserError(
            f"video {bad[0]} is all background but has {positives[bad[0]]} predicted segments, which the official "
            "evaluation cannot score; use style='sound'"
        )
