"""mAP of detected actions, and segmentation scores of frame labels, in files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from vitascope.core.errors import UserError
from vitascope.core.text import counted, nearest
from vitascope.core.types import Example, Score, Segment
from vitascope.datasets.readers.activitynet_json import (
    UNNAMED,
    AnnotationIssues,
    UntrimmedVideo,
    clean_actions,
    parse_subset,
    read_database,
)
from vitascope.datasets.readers.annotation_files import ClassOrder
from vitascope.datasets.readers.mstcn_labels import MAPPING, TRUTH, find_labels, read_classes, read_folds, read_timeline
from vitascope.datasets.readers.temporal_predictions import read_detections, read_frame_labels
from vitascope.evaluation.scored_files.scored import DRAWS, SEED, Scored, unknown_videos
from vitascope.metrics import segmental, temporal_ap
from vitascope.metrics.localization_diagnosis import diagnose
from vitascope.metrics.prediction_columns import columns
from vitascope.metrics.stats import resampled

THUMOS14, ACTIVITYNET = (0.3, 0.4, 0.5, 0.6, 0.7), tuple(0.5 + 0.05 * i for i in range(10))
"""tIoU thresholds of the two evaluations."""
BACKGROUND = "background"
"""The class whose runs are no segments, as in MS-TCN's evaluation."""


def localization_scores(truth: Path, predictions: Sequence[Path], *, thresholds: str, subset: str) -> list[Scored]:
    """mAP of each file of detections over the videos of a subset of the truth, with intervals over videos."""
    videos = read_database(truth)
    names = sorted({action.label for video in videos for action in video.actions} - UNNAMED)
    order = ClassOrder(tuple(names))
    given = [read_detections(path, order) for path in predictions]
    wanted = parse_subset(subset, "--subset") if subset else _subset(videos, given)
    chosen = [video for video in videos if video.subset == wanted]
    if not chosen:
        raise UserError(f"{truth}: no video of subset {wanted!r}; choose with --subset")
    issues = AnnotationIssues()
    actions = [clean_actions(video, order.index, issues) for video in chosen]
    if not any(actions):
        raise UserError(f"{truth}: none of the {counted(len(chosen), 'video')} of subset {wanted!r} has an action")
    levels = _levels(thresholds, chosen)
    about = f"{counted(len(chosen), 'video')} of subset {wanted!r}, tIoU {levels[0]:g} to {levels[-1]:g}"
    examples = [Example(id=v.id, path=v.id, truth=a, duration=v.duration) for v, a in zip(chosen, actions, strict=True)]
    return [
        _localization(str(path), each, examples, (order, levels, [about, *issues.notes()]))
        for path, each in zip(predictions, given, strict=True)
    ]


def _localization(
    name: str,
    detections: dict[str, list[Segment]],
    examples: Sequence[Example[tuple[Segment, ...]]],
    rule: tuple[ClassOrder, tuple[float, ...], list[str]],
) -> Scored:
    order, levels, notes = rule
    known = [example.id for example in examples]
    extra = [video for video in detections if video not in set(known)]
    examples = [*examples, *(Example(id=video, path=video, truth=()) for video in extra)]
    predicted, actual = columns([detections.get(e.id, []) for e in examples]), columns([e.truth for e in examples])
    if not set(known) & set(detections):
        raise UserError(f"{name}: none of its videos is in the truth{nearest(next(iter(detections)), known)}")
    matching = temporal_ap.match(predicted, actual, levels)
    scores, per_class = temporal_ap.bootstrap(matching, draws=DRAWS, rng=np.random.default_rng(SEED))
    missing = len(set(known) - set(detections))
    odd = [f"no predictions in {counted(missing, 'video')} of the truth"] if missing else []
    if extra:
        note = unknown_videos(list(detections), known, "the predictions")
        odd.append(f"false positives, as in the official evaluation: {note}")

    def statistic(weights: Int64[ndarray, "b u"]) -> Float64[ndarray, "b 1"]:
        each = temporal_ap.average_precision(matching, weights[:, matching.videos])
        mean: Float64[ndarray, "b 1"] = temporal_ap.mean_over_classes(each).mean(axis=1, keepdims=True)
        return mean

    return Scored(
        name,
        scores,
        {order.classes[label]: score for label, score in per_class.items()},
        statistic,
        len(examples),
        [*notes, *odd],
        {key: score.value / 100 for key, score in scores.items()},
        diagnose(predicted, actual, matching, examples),
    )


def _subset(videos: Sequence[UntrimmedVideo], given: Sequence[dict[str, list[Segment]]]) -> str:
    """The subset of most of the videos that are predicted."""
    of = {video.id: video.subset for video in videos}
    counts = Counter(of[video] for each in given for video in each if video in of)
    if not counts:
        first = next(iter(given[0]))
        raise UserError(f"none of the predicted videos, such as {first!r}, is in the truth{nearest(first, of)}")
    return counts.most_common(1)[0][0]


def _levels(text: str, videos: Sequence[UntrimmedVideo]) -> tuple[float, ...]:
    """The thresholds of `--thresholds` (`low:high:step` or a list), by default those of the dataset."""
    if not text:
        return THUMOS14 if videos[0].id.startswith(("video_test_", "video_validation_")) else ACTIVITYNET
    try:
        parts = [float(part) for part in text.replace(":", ",").split(",")]
    except ValueError:
        parts = []
    if not parts or (":" in text and (len(parts) != 3 or parts[2] <= 0)):
        raise UserError(f"--thresholds {text!r}: expected low:high:step, such as 0.3:0.7:0.1, or 0.3,0.5")
    if ":" not in text:
        return tuple(parts)
    low, high, step = parts
    return tuple(low + step * i for i in range(round((high - low) / step) + 1))


def segmentation_scores(truth: Path, predictions: Sequence[Path], *, reading: str) -> list[Scored]:
    """Accuracy, edit score and F1 of each folder of frame labels, with intervals over videos."""
    style = reading or "sound"
    place = find_labels(truth)
    if place is None:
        raise UserError(f"{truth}: no folder {TRUTH}/ with one <video>.txt per video, beside {MAPPING}")
    order = read_classes(place / MAPPING)
    every = sorted(path.stem for path in (place / TRUTH).glob("*.txt"))
    return [_segmentation(folder, place, (order, every, style)) for folder in predictions]


def _segmentation(folder: Path, place: Path, rule: tuple[ClassOrder, list[str], str]) -> Scored:
    order, every, style = rule
    given = read_frame_labels(folder, every, order)
    videos, about = _split(place, every, set(given))
    true = [np.repeat(*np.array(read_timeline(place / TRUTH / f"{v}.txt", order, 1.0).runs).T) for v in videos]
    predicted = [given.get(video) for video in videos]
    for video, p, y in zip(videos, predicted, true, strict=True):
        if p is not None and len(p) != len(y) and not (style == "published" and len(p) > len(y)):
            raise UserError(f"{folder}: {video} has {len(p)} labels for {len(y)} frames; expected one per frame")
    background = [i for i, name in enumerate(order.classes) if name == BACKGROUND]
    counts = segmental.counts(predicted, true, style=style, background=background)  # type: ignore[arg-type]
    scores = segmental.bootstrap(counts, draws=DRAWS, rng=np.random.default_rng(SEED))
    names = ["mF1", *(name for name in scores if name != "mF1")]
    missing = sum(p is None for p in predicted)
    notes = [about, f"style {style}", *([f"no predictions of {counted(missing, 'video')}"] if missing else [])]

    def statistic(weights: Int64[ndarray, "b u"]) -> Float64[ndarray, "b 1"]:
        return segmental.pooled(counts, weights)[:, [counts.names.index("mF1")]]

    return Scored(
        str(folder),
        {name: scores[name] for name in names},
        _class_accuracies(predicted, true, order),
        statistic,
        len(videos),
        notes,
        {name: scores[name].value for name in names},
    )


def _split(place: Path, every: list[str], given: set[str]) -> tuple[list[str], str]:
    """The test videos of the smallest split with all that are predicted; without one, all videos."""
    folds = list(read_folds(place)) if (place / "splits").is_dir() else []
    fitting = [fold for fold in folds if given <= set(fold.test)]
    if not fitting:
        return every, f"all {counted(len(every), 'video')} of the truth"
    fold = min(fitting, key=lambda fold: len(fold.test))
    return list(fold.test), f"{counted(len(fold.test), 'test video')} of {fold.name}"


def _class_accuracies(
    predicted: Sequence[Int64[ndarray, "_"] | None], true: Sequence[Int64[ndarray, "_"]], order: ClassOrder
) -> dict[str, Score]:
    """Share of the frames of each class that are right, with intervals over videos."""
    size = len(order.classes)
    frames = np.stack([np.bincount(y, minlength=size) for y in true])
    right = np.stack([_right(p, y, size) for p, y in zip(predicted, true, strict=True)])

    def drawn(weights: Int64[ndarray, "b u"]) -> Float64[ndarray, "b k"]:
        total = weights @ frames
        share: Float64[ndarray, "b k"] = np.full(total.shape, np.nan)
        np.divide(100.0 * (weights @ right), total, out=share, where=total > 0)
        return share

    scores = resampled(drawn, len(true), draws=DRAWS, rng=np.random.default_rng(SEED))
    return dict(zip(order.classes, scores, strict=True))


def _right(predicted: Int64[ndarray, "_"] | None, true: Int64[ndarray, "_"], size: int) -> Int64[ndarray, "k"]:
    if predicted is None:
        return np.zeros(size, np.int64)
    return np.bincount(true[predicted[: len(true)] == true], minlength=size)
