"""Temporal segmentation: frame accuracy, segmental edit score and F1 at overlaps, as published and put right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from jaxtyping import Float64, Int64, Integer
from numpy.typing import NDArray

from vitascope.core.errors import UserError
from vitascope.core.types import Score
from vitascope.metrics.matching import at_levels, equal
from vitascope.metrics.stats import Groups, codes, resampled

Array: TypeAlias = NDArray[Any]
Style: TypeAlias = Literal["sound", "published"]
Labels: TypeAlias = Sequence[Integer[Array, "_"]]
"""The class of every frame, one array a video."""

OVERLAPS = (0.10, 0.25, 0.50)
"""Shares of intersection over union at which F1 is reported."""
BLOCK = 1 << 21
"""Numbers held at once by the edit distances."""


class Counts(NamedTuple):
    """What each video adds to the scores: sums of these, over any videos, give the score of those videos."""

    correct: Int64[Array, "v"]
    """Frames that are labeled right."""
    frames: Int64[Array, "v"]
    edit: Float64[Array, "v"]
    """Edit score, percent."""
    right: Int64[Array, "v k"]
    """Predicted segments that hit a true one, at each overlap."""
    false: Int64[Array, "v k"]
    """Predicted segments that do not."""
    missed: Int64[Array, "v k"]
    """True segments that are not hit."""
    overlaps: tuple[float, ...]
    style: Style

    @property
    def names(self) -> list[str]:
        """Of the scores, in the order of `pooled`."""
        return ["accuracy", "edit", *(f"F1@{100 * k:g}" for k in self.overlaps), "mF1"]


class Runs(NamedTuple):
    """Stretches of frames with one label, in order of video and time; the end is exclusive."""

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
    """What each video adds to the scores, from the label of every frame; a prediction that is missing is None.

    Runs of `background` labels are no segments, but their frames count in the accuracy.

    `published` is what MS-TCN's and ASFormer's evaluation prints (Lea et al., CVPR 2017, for the scores): the last run
    of a video ends one frame early, so that one of a single frame has no length and hits nothing; a predicted
    segment, in order of time, asks only the true segment of its label with the largest overlap, the first of equal
    ones, and is false where that is hit already; a missing prediction has an edit score of 0 and is in none of the
    other scores; the edit score of a video without segments on either side is NaN, and predicted segments where
    there are no true ones stop it.

    `sound` counts the last run whole, and matches one to one, as many segments as the overlap allows: a segment whose
    best true one is taken may hit its next, so that the score is the same when truth and prediction change places
    and never depends on who comes first. (Two sequences of segments without overlap make a matching of that kind
    easy: going by time and taking what is free is optimal, because all pairs that exclude the first one exclude each
    other. Above an overlap of a half nobody has a second choice and the two styles only differ in the last run.) A
    missing prediction is wrong in every frame and misses every segment. Nothing to find and nothing found is right.

    ValueError: another number of frames than the truth has (`published` lets a prediction be longer, and compares the
    frames there are), a truth without frames, and, `published`, one without segments where there are predicted ones.
    """
    if not len(truth):
        raise UserError("no videos to score")
    if style not in get_args(Style):
        raise UserError(f"style {style!r} is none of {', '.join(get_args(Style))}")
    if not overlaps or not all(0 < k <= 1 for k in overlaps):
        raise UserError(f"overlaps {list(overlaps)}: expected shares above 0 and up to 1, such as 0.1, 0.25, 0.5")
    _check(predictions, truth, style)
    given = [y[:0] if p is None else p for p, y in zip(predictions, truth, strict=True)]
    there = np.array([p is not None for p in predictions], bool)
    found, real = (_segments(side, background, style) for side in (given, truth))
    n, frames = len(truth), np.array([len(y) for y in truth], np.int64)
    claimed, asked = (np.bincount(side.video, minlength=n) for side in (found, real))
    if style == "published":
        _check_segments(claimed, asked)
        frames = frames * there
        asked, nothing = asked * there, np.nan
    else:
        nothing = 100.0
    hits = _hits(found, real, overlaps, style)
    right = np.stack([np.bincount(found.video[row], minlength=n) for row in hits], axis=1)
    edit = edit_scores(found, real, n, nothing=nothing)
    edit[~there] = 0.0
    correct = np.array([int((p[: len(y)] == y[: len(p)]).sum()) for p, y in zip(given, truth, strict=True)], np.int64)
    false, missed = claimed[:, None] - right, asked[:, None] - right
    return Counts(correct, frames, edit, right, false, missed, tuple(overlaps), style)


def scores(each: Counts, splits: Integer[Array, "v"] | None = None) -> dict[str, float]:
    """`accuracy`, `edit`, `F1@10` and so on, and their mean `mF1`, in percent: of each split, then their mean."""
    return dict(zip(each.names, pooled(each, splits=splits)[0].tolist(), strict=True))


def bootstrap(
    each: Counts,
    splits: Integer[Array, "v"] | None = None,
    *,
    groups: Groups = None,
    draws: int = 2000,
    rng: np.random.Generator,
) -> dict[str, Score]:
    """`scores` with 95 % intervals over videos, or over whole `groups` of them; see `stats.resampled`."""
    code = codes(groups, len(each.frames))

    def drawn(weights: Int64[Array, "b u"]) -> Float64[Array, "b m"]:
        return pooled(each, weights[:, code], splits=splits)

    units = int(code.max(initial=-1)) + 1
    return dict(zip(each.names, resampled(drawn, units, draws=draws, rng=rng), strict=True))


def pooled(
    each: Counts, weights: Integer[Array, "b v"] | None = None, *, splits: Integer[Array, "v"] | None = None
) -> Float64[Array, "b m"]:
    """The scores `each.names` of each resample; `weights` say how often a video is there (once).

    Frames and segments of a split are pooled, edit scores averaged over its videos; then comes the mean over splits,
    leaving out those of which nothing was drawn.
    """
    weights = np.ones((1, len(each.frames)), np.int64) if weights is None else weights
    splits = np.zeros(len(each.frames), np.int64) if splits is None else splits
    empty = 100.0 if each.style == "sound" else 0.0
    total = np.zeros((len(weights), len(each.names)))
    drawn = np.zeros((len(weights), 1), np.int64)
    for split in np.unique(splits):
        own = splits == split
        times = weights[:, own]
        there = times.any(axis=1, keepdims=True)
        right, false, missed = (times @ column[own] for column in (each.right, each.false, each.missed))
        f1 = _ratio(200.0 * right, 2 * right + false + missed, empty)
        accuracy = _ratio(100.0 * (times @ each.correct[own]), times @ each.frames[own], np.nan)
        edit = _ratio(times @ each.edit[own], times.sum(axis=1), np.nan)
        total += np.where(there, np.column_stack([accuracy, edit, f1, f1.mean(axis=1)]), 0.0)
        drawn += there
    return _ratio(total, np.broadcast_to(drawn, total.shape), np.nan)


def runs(labels: Labels) -> Runs:
    """The stretches of equal labels of every video, each ending where the next begins."""
    none = np.empty(0, np.int64)
    final = [np.append(np.flatnonzero(row[1:] != row[:-1]), len(row) - 1) if len(row) else none for row in labels]
    video = np.repeat(np.arange(len(final)), [len(last) for last in final])
    end = np.concatenate([*final, none]) + 1
    label = np.concatenate([*(row[last] for row, last in zip(labels, final, strict=True)), none])
    start = np.append(0, end[:-1])[: len(end)]
    start[np.append(True, video[1:] != video[:-1])[: len(video)]] = 0
    return Runs(video, label, start, end)


def edit_scores(found: Runs, real: Runs, videos: int, *, nothing: float = 100.0) -> Float64[Array, "{videos}"]:
    """100 × (1 − Levenshtein distance of the sequences of labels / the longer's length) of each video, percent.

    `nothing` stands where both are empty. All videos are computed at once, a row of the tables at a time: within a
    row the chain of insertions is a running minimum of the distance less the column.
    """
    (a, long), (b, wide) = (_padded(side, videos) for side in (real, found))
    distance, step = np.empty(videos), max(BLOCK // (b.shape[1] + 1), 1)
    for start in range(0, videos, step):
        part = slice(start, start + step)
        distance[part] = _distances((a[part], long[part]), (b[part], wide[part]))
    return 100.0 - _ratio(100.0 * distance, np.maximum(long, wide), 100.0 - nothing)


def _distances(real: tuple[Array, Array], found: tuple[Array, Array]) -> Int64[Array, "v"]:
    """Levenshtein distances of rows of labels, each with its lengths."""
    (a, long), (b, wide) = real, found
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
    """The labels of each video's runs as a row, and how many they are."""
    sizes = np.bincount(side.video, minlength=videos)
    table = np.zeros((videos, sizes.max(initial=0)), np.int64)
    table[side.video, np.arange(len(side.video)) - np.repeat(sizes.cumsum() - sizes, sizes)] = side.label
    return table, sizes


def _segments(labels: Labels, background: Sequence[int], style: Style) -> Runs:
    """The runs that count, with the published end of a video's last run where that is asked for."""
    every = runs(labels)
    if style == "published":
        last = np.append(every.video[1:] != every.video[:-1], True)[: len(every.video)]
        every = every._replace(end=every.end - last)
    counts = ~np.isin(every.label, np.asarray(background, np.int64))
    return Runs(*(column[counts] for column in every))


def _hits(found: Runs, real: Runs, overlaps: Sequence[float], style: Style) -> list[Array]:
    """At each overlap whether a predicted segment hits."""
    classes = 1 + max(found.label.max(initial=0), real.label.max(initial=0))
    keys = (found.video * classes + found.label, real.video * classes + real.label)
    blocks = []
    for i, j in equal(*keys):
        shared = np.minimum(found.end[i], real.end[j]) - np.maximum(found.start[i], real.start[j])
        near = np.flatnonzero(shared > 0)
        i, j, shared = i[near], j[near], shared[near]
        blocks.append((i, j, shared / (found.end[i] - found.start[i] + real.end[j] - real.start[j] - shared)))
    left, right, iou = (np.concatenate(column) for column in zip(*blocks, strict=True))
    if style == "published":
        order = np.lexsort((-iou, left))
        left, right, iou = left[order], right[order], iou[order]
        best = np.append(True, left[1:] != left[:-1])[: len(left)]
        left, right, iou = left[best], right[best], iou[best]
    got = at_levels(left, right, iou >= np.asarray(overlaps)[:, None], (len(found.label), len(real.label)))
    return list(got >= 0)


def _ratio(part: Array, whole: Array, empty: float) -> Float64[Array, "..."]:
    """Part over whole; `empty` where there is no whole."""
    share: Float64[Array, "..."] = np.divide(part, whole, out=np.full(np.shape(part), empty), where=whole > 0)
    return share


def _check(predictions: Sequence[Array | None], truth: Labels, style: Style) -> None:
    if len(predictions) != len(truth):
        raise UserError(f"{len(predictions)} predictions of {len(truth)} videos: one for each is needed, or None")
    for i, (p, y) in enumerate(zip(predictions, truth, strict=True)):
        if not len(y):
            raise UserError(f"video {i} has no labeled frame: leave it out")
        odd = p is not None and (len(p) < len(y) if style == "published" else len(p) != len(y))
        if p is not None and odd:
            raise UserError(f"video {i}: {len(p)} labels for {len(y)} frames; predict one for every frame")


def _check_segments(claimed: Int64[Array, "v"], asked: Int64[Array, "v"]) -> None:
    """The published evaluation takes the argmax over no segments, which is an error."""
    stuck = np.flatnonzero((claimed > 0) & (asked == 0))
    if stuck.size:
        raise UserError(
            f"video {stuck[0]} has nothing but background, and {claimed[stuck[0]]} predicted segments: the published "
            "evaluation stops here; score it with style='sound'"
        )
