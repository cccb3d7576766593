"""Why boxes are wrong, and whether people are found at all: error types, and recall of boxes regardless of class.

Error types are those of temporal localization (DETAD) with boxes in place of segments; a person with several actions
is a true box of each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Int64
from numpy.typing import NDArray

from vitascope.core.errors import UserError
from vitascope.metrics import boxes, localization_errors
from vitascope.metrics.boxes import Boxes
from vitascope.metrics.frame_ap import Selected, levels_of
from vitascope.metrics.localization_errors import FAINT, Errors, Ranges, Values
from vitascope.metrics.matching import match_at_levels
from vitascope.metrics.temporal_ap import Matching, average_precision, mean_over_classes

Array: TypeAlias = NDArray[Any]

KINDS = ("right", "double", "wrong label", "wrong place", "wrong label and place", "nobody there")
"""Types of predictions, in the order of `localization_errors.KINDS`; all but the first are false positives."""
SIZES = Ranges(("XS", "S", "M", "L", "XL"), (0, 0.05, 0.15, 0.3, 0.5))
"""Fraction of the frame that a box covers."""
SIZES_IN_PIXELS = Ranges(("small", "medium", "large"), (0, 32**2, 96**2))
"""Area of a box in pixels, COCO's ranges."""
PEOPLE = Ranges(("1", "2", "3", "4", "5+"), (1, 1.5, 2.5, 3.5, 4.5))
"""Number of people in a frame."""
BEST = (1, 10, 0)
"""Numbers of boxes of a frame whose recall is given; 0 stands for all."""


class Recall(NamedTuple):
    """Result of `box_recall`."""

    people: Boxes
    """The true boxes, each once, whatever its labels."""
    found: Bool[Array, "k g"]
    """Whether each is found by the best boxes of its frame, for each number of them."""

    @property
    def percent(self) -> list[float]:
        """Share of the people that are found, in percent, for each number of boxes; NaN without people."""
        shares: list[float] = (100 * _mean(self.found)).tolist()
        return shares


def recall_name(best: int) -> str:
    """Name of the recall of so many boxes of a frame (0: of all) among the scores of a result."""
    return f"recall of the best {best}" if best else "recall of all"


def diagnose(selected: Selected, matching: Matching, *, multiple: int = 10) -> Errors:
    """Classify the predictions by error type and compute the mAP (percent points) that each type costs.

    `matching` is that of `frame_ap.match`; rows refer to `selected`. The type of a false positive depends on the true
    box of its frame, of any class, with the largest IoU. See `localization_errors.diagnose`; `detected` of the result
    has one column for each true box of a class of `matching`, and the share of those that are not is what is missed.
    """
    given, truth = boxes.rows(selected.predictions, matching.row), selected.truth
    keys = boxes.frame_codes(given, truth)
    pairs = boxes.pairs(given.box, truth.box, (keys[0], keys[1]), least=FAINT)
    kinds = localization_errors.types_of_overlaps(matching, pairs, (given.label, truth.label))
    count = len(selected.predictions.label)
    return localization_errors.summary(matching, kinds, count, multiple=multiple, names=KINDS)


def missed(errors: Errors) -> float:
    """Share of the true boxes that no prediction matches, in percent, averaged over thresholds; NaN without any."""
    return 100 * float(1 - errors.detected.mean()) if errors.detected.size else float("nan")


def missed_gain(matching: Matching, errors: Errors) -> float:
    """Gain in mAP (percent points) if the true boxes that no prediction matches were left out of the truth.

    A class of which nothing is matched leaves the mean. NaN if nothing at all is matched.
    """
    each = [
        mean_over_classes(average_precision(matching._replace(thresholds=level, true_row=row), counted=counted))
        for level, row, detected in zip(
            matching.thresholds[:, None], matching.true_row[:, None], errors.detected, strict=True
        )
        for counted in (detected, np.ones_like(detected))
    ]
    return float(np.mean(each[::2]) - np.mean(each[1::2]))


def best_kinds(matching: Matching, errors: Errors) -> dict[str, float]:
    """Number of predictions of each type among the best of each class, as many as it has true boxes.

    Averaged over thresholds.
    """
    positives = np.bincount(matching.true_label, minlength=len(matching.classes))
    first = np.searchsorted(matching.label, np.arange(len(matching.classes)))
    best = np.arange(len(matching.row)) - first[matching.label] < positives[matching.label]
    kinds = errors.kinds[:, matching.row[best]]
    return {name: float((kinds == kind).sum() / len(kinds)) for kind, name in enumerate(KINDS)}


def box_recall(predictions: Boxes, truth: Boxes, *, best: Sequence[int] = BEST, level: float = 0.5) -> Recall:
    """Which people are found by the boxes of their frame with the highest scores, whatever the labels.

    Equal boxes of a frame are one, with the highest of their scores. By descending score (ties in order) each box takes
    the free person with the largest IoU, if that reaches the `level`. Raises UserError as `frame_ap.select` does.
    """
    boxes.check(predictions, "predictions")
    boxes.check(truth, "true boxes", scored=False)
    (threshold,) = levels_of([level])
    given = _distinct(boxes.rows(predictions, np.argsort(-predictions.score, kind="stable")))
    people = _distinct(truth)
    frame, true_frame = boxes.frame_codes(given, people)
    pairs = boxes.by_overlap(boxes.pairs(given.box, people.box, (frame, true_frame), least=float(threshold)))
    order = np.argsort(frame, kind="stable")
    rank = np.empty(len(frame), np.int64)
    rank[order] = np.arange(len(frame)) - np.searchsorted(frame[order], frame[order])
    limits = np.array([k or len(frame) + 1 for k in best], np.int64)
    matched = match_at_levels(*pairs[:2], rank[pairs[0]] < limits[:, None], (len(frame), len(true_frame)))
    found = np.zeros((len(limits), len(true_frame) + 1), bool)
    found[np.arange(len(limits))[:, None], matched] = True  # -1 falls into the extra column
    return Recall(people, found[:, :-1])


def recall_by(recall: Recall, ranges: Ranges, values: Values) -> dict[str, tuple[int, list[float]]]:
    """Number of people in each range of a quantity, and the percent of them found; `values` has one for each person."""
    place = ranges.of(values)
    if len(place) != len(recall.people.label):
        raise UserError(f"{len(place)} values for {len(recall.people.label)} people: expected one value each")
    parts = {}
    for index, name in enumerate(ranges.names):
        own = place == index
        parts[name] = int(own.sum()), (100 * _mean(recall.found[:, own])).tolist()
    return parts


def sizes(truth: Boxes) -> Any:
    """Area of each box, in the square of the unit of its coordinates."""
    return np.maximum(boxes.areas(truth.box), 0.0)


def people(truth: Boxes) -> Int64[Array, "n"]:
    """Number of different true boxes in the frame of each row."""
    (frame,) = boxes.frame_codes(truth)
    count = np.bincount(frame[_first(truth)], minlength=int(frame.max(initial=-1)) + 1)
    return count[frame]


def _first(side: Boxes) -> Int64[Array, "k"]:
    """The first row of each different box of a frame, ascending."""
    (frame,) = boxes.frame_codes(side)
    corners = (np.unique(side.box[:, i], return_inverse=True)[1] for i in range(4))
    _, first = np.unique(boxes.joint_codes(frame, *corners), return_index=True)
    return np.sort(first)


def _distinct(side: Boxes) -> Boxes:
    return boxes.rows(side, _first(side))


def _mean(found: Bool[Array, "k g"]) -> Any:
    return found.mean(axis=1) if found.shape[1] else np.full(len(found), np.nan)
