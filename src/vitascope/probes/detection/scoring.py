"""Scores of predicted actors: frame-AP, and its parts: whether actors are found, and whether they are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from vitascope.core.actors import NO_DETECTIONS, Actor, Detections, Keyframes
from vitascope.core.addresses import absolute
from vitascope.core.errors import UserError
from vitascope.core.types import Kind, Score
from vitascope.metrics import detection_errors, frame_ap, prediction_columns, temporal_ap
from vitascope.metrics.boxes import Boxes, Frames, iou
from vitascope.metrics.boxes import rows as rows_of
from vitascope.metrics.detection_errors import Recall
from vitascope.metrics.frame_ap import GIVEN_BOXES, HEADLINE, IOU, Selected
from vitascope.metrics.temporal_ap import Matching
from vitascope.probes.base import JointlyScored, ScoredPredictions, TestPredictions
from vitascope.probes.detection.diagnosis import diagnosis
from vitascope.probes.detection.video_ap import has_tubes, video_scores

Array = NDArray[Any]
READING = frame_ap.READINGS["stable"]


class ActorDetection(JointlyScored[Keyframes, Detections]):
    """A probe that predicts actors with boxes and class probabilities at the keyframes of a video."""

    kind: ClassVar[Kind] = "detection"
    missing_prediction: ClassVar[Detections] = NO_DETECTIONS

    def score(self, predictions: Sequence[Detections], truth: Sequence[Keyframes]) -> dict[str, float]:
        """Frame-AP at IoU 0.5 in percent, averaged over the classes with an actor; NaN if there is none."""
        columns = labeled_rows(predictions), true_rows(truth)
        (value,) = frame_ap.mean_ap(*columns, (IOU,), empty=empty_frames(truth), reading=READING)
        return {HEADLINE: 100 * float(value)}

    def outcomes(self, predictions: Sequence[Detections], truth: Sequence[Keyframes]) -> list[float]:
        """Frame-AP of each example, NaN without actors, to find failures; their mean is not that of all."""
        return [self.score([p], [t])[HEADLINE] for p, t in zip(predictions, truth, strict=True)]

    def score_predictions(self, test: TestPredictions, rng: np.random.Generator) -> ScoredPredictions:
        """Frame-AP with intervals over videos, its parts, AP per class, and the columns kept per example.

        Raises UserError if no test example has an actor.
        """
        truth = [e.truth for e in test.examples]
        if not any(t.actors for t in truth):
            raise UserError(f"none of {len(truth)} test examples has an annotated actor; annotate some")
        groups = [group or e.id for group, e in zip(test.groups, test.examples, strict=True)]
        rows = labeled_rows(test.predictions)
        selected, matching = _matched(rows, truth)
        scores, per_class = precision(matching, groups, rng)
        by_class = {test.classes[label]: score for label, score in per_class.items()}
        known, known_classes = precision(_matched(given_boxes(test.predictions, truth), truth)[1], groups, rng)
        found = people_found(test.predictions, truth)
        return ScoredPredictions(
            {
                **scores,
                **(video_scores(rows, truth, groups, rng) if has_tubes(truth) else {}),
                **by_class_group(HEADLINE, per_class, test.class_groups),
                **{name: Score(value) for name, value in recalls(found).items()},
                GIVEN_BOXES: known[HEADLINE],
                **by_class_group(GIVEN_BOXES, known_classes, test.class_groups),
            },
            by_class,
            {
                **test.columns,
                **prediction_columns.of_boxes(rows, true_rows(truth), [t.times for t in truth]),
                **sources(test),
            },
            diagnosis(selected, _at_headline(matching), found),
        )


def by_class_group(name: str, per_class: Mapping[int, Score], groups: Mapping[str, Sequence[int]]) -> dict[str, Score]:
    """The mean AP of the classes of each group that have an actor, as `name of group`."""
    parts = {group: [per_class[c].value for c in members if c in per_class] for group, members in groups.items()}
    return {f"{name} of {group}": Score(float(np.mean(part))) for group, part in parts.items() if part}


def sources(test: TestPredictions) -> dict[str, list[Any]]:
    """Columns from which pictures are drawn: file, its frame rate (0: unknown), and the track of each true row."""
    return {
        "path": [absolute(e.path) for e in test.examples],
        "frame_rate": [e.fps or 0.0 for e in test.examples],
        "true_tracks": [[a.track for a in e.truth.actors for _ in a.labels] for e in test.examples],
    }


def precision(
    matching: Matching, groups: Sequence[str], rng: np.random.Generator
) -> tuple[dict[str, Score], dict[int, Score]]:
    """Frame-AP in percent at IoU 0.5 and averaged over 0.5 to 0.95, and at 0.5 of each class, resampling `groups`."""
    units = [groups[video] for video in matching.videos.tolist()]
    scores, per_class = temporal_ap.bootstrap(_at_headline(matching), groups=units, rng=rng)
    strict, _ = temporal_ap.bootstrap(matching, groups=units, rng=rng)
    return {HEADLINE: scores["mAP"], "fAP@0.5:0.95": strict["mAP"]}, per_class


def _matched(rows: Boxes, truth: Sequence[Keyframes]) -> tuple[Selected, Matching]:
    """The rows that count, matched to the true boxes at IoU 0.5 to 0.95."""
    selected = frame_ap.select(rows, true_rows(truth), empty=empty_frames(truth), reading=READING)
    return selected, frame_ap.match(selected, frame_ap.COCO_LEVELS, READING)


def _at_headline(matching: Matching) -> Matching:
    """The matching at the first threshold alone, that of the headline."""
    return matching._replace(thresholds=matching.thresholds[:1], true_row=matching.true_row[:1])


def labeled_rows(predictions: Sequence[Detections]) -> Boxes:
    """A row for each box and class, at each time the 50 of highest score, as AVA has it; examples are numbered."""
    parts = [_top_rows(number, p) for number, p in enumerate(predictions)]
    return Boxes(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _top_rows(number: int, predicted: Detections) -> Boxes:
    score = predicted.presence[:, None] * predicted.scores
    chosen: list[Int64[Array, "k"]] = [np.zeros(0, np.int64)]
    for time in np.unique(predicted.times):
        at = np.flatnonzero(predicted.times == time)
        best = np.argsort(-score[at].ravel(), kind="stable")[: frame_ap.CAPACITY]
        chosen.append(at[best // score.shape[1]] * score.shape[1] + best % score.shape[1])
    flat = np.concatenate(chosen)
    query, label = np.divmod(flat, max(score.shape[1], 1))
    return Boxes(
        np.full(len(flat), number),
        predicted.times[query],
        predicted.boxes[query].astype(np.float64),
        label,
        score.ravel()[flat].astype(np.float64),
    )


def true_rows(truth: Sequence[Keyframes]) -> Boxes:
    """A row for each annotated box and class; examples are numbered in order."""
    return _table(
        [(n, a.time, *a.box, label, 1.0) for n, t in enumerate(truth) for a in t.actors for label in a.labels]
    )


def empty_frames(truth: Sequence[Keyframes]) -> Frames:
    """The annotated times without an actor."""
    frames = [(n, time) for n, t in enumerate(truth) for time in t.times if all(a.time != time for a in t.actors)]
    table = np.array(frames, np.float64).reshape(-1, 2)
    return Frames(table[:, 0].astype(np.int64), table[:, 1])


def candidates(predictions: Sequence[Detections]) -> Boxes:
    """A row for the box of every query, of label 0, with the probability of an actor as its score.

    Rows are in order of the best class, so that it decides where these are equal.
    """
    number = np.repeat(np.arange(len(predictions)), [len(p.times) for p in predictions])
    times, boxes, presence = (
        np.concatenate([getattr(p, name) for p in (*predictions, NO_DETECTIONS)]) for name in Detections._fields[:3]
    )
    best = np.concatenate([p.scores.max(1, initial=0.0) for p in (*predictions, NO_DETECTIONS)])
    rows = Boxes(number, times, boxes.astype(np.float64), np.zeros_like(number), presence.astype(np.float64))
    return rows_of(rows, np.argsort(-best, kind="stable"))


def people_found(predictions: Sequence[Detections], truth: Sequence[Keyframes]) -> Recall:
    """Which actors the most probable boxes of their keyframe find at IoU 0.5, for each of `detection_errors.BEST`."""
    return detection_errors.box_recall(candidates(predictions), true_rows(truth), level=IOU)


def recalls(found: Recall) -> dict[str, float]:
    """Share of the actors, in percent, that the 1, 10 or all most probable boxes of a keyframe find at IoU 0.5."""
    return dict(zip(map(detection_errors.recall_name, detection_errors.BEST), found.percent, strict=True))


def given_boxes(predictions: Sequence[Detections], truth: Sequence[Keyframes]) -> Boxes:
    """Rows as if every actor had been found: its own box, with the classes of the query that overlaps it most."""
    found = [
        ((number, actor.time, *actor.box), scores)
        for number, (predicted, t) in enumerate(zip(predictions, truth, strict=True))
        for actor in t.actors
        if (scores := _scores_at(predicted, actor)) is not None
    ]
    actors = np.array([actor for actor, _ in found], np.float64).reshape(-1, 6)
    scores = np.array([scores for _, scores in found], np.float64)
    row, label = np.divmod(np.arange(scores.size), max(scores.size // max(len(found), 1), 1))
    return Boxes(actors[row, 0].astype(np.int64), actors[row, 1], actors[row, 2:], label, scores.ravel())


def _scores_at(predicted: Detections, actor: Actor) -> Array | None:
    """Class probabilities of the query that overlaps an actor most; None without queries at its time."""
    at = np.flatnonzero(predicted.times == actor.time)
    if not len(at):
        return None
    overlap = iou(predicted.boxes[at].astype(np.float64), np.tile(np.asarray(actor.box, np.float64), (len(at), 1)))
    chosen: Array = predicted.scores[at[np.argmax(overlap)]]
    return chosen


def _table(rows: Sequence[Sequence[float]]) -> Boxes:
    """Boxes from rows of their number, time, corners, label and score."""
    table = np.array(rows, np.float64).reshape(-1, 8)
    return Boxes(table[:, 0].astype(np.int64), table[:, 1], table[:, 2:6], table[:, 6].astype(np.int64), table[:, 7])
