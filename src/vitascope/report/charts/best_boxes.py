"""The best boxes of a result, as many rows of a keyframe as it has true ones, matched to these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64

from vitascope.core.errors import UserError
from vitascope.evaluation.results import Result, read_predictions
from vitascope.metrics import boxes, frame_ap, prediction_columns
from vitascope.metrics.boxes import Boxes
from vitascope.metrics.frame_ap import IOU
from vitascope.metrics.prediction_columns import Table

READING = frame_ap.READINGS["stable"]._replace(capacity=0)
FrameKey: TypeAlias = tuple[str, float]
"""Example and time, seconds."""


class FrameScore(NamedTuple):
    """How well a keyframe with people is predicted."""

    share: float
    """Right rows among the true ones, 0 to 1."""
    rows: int
    """Number of true rows: boxes and classes."""
    overlap: float
    """Mean over the true rows of the largest IoU with a predicted box."""
    true_rows: list[int]
    predicted_rows: list[int]
    """By falling score."""


class BestBoxes(NamedTuple):
    """True boxes of a result, and its best predictions."""

    true: Boxes
    predicted: Boxes
    partner: Int64[np.ndarray, "n"]
    """The true row that each predicted one matches, with its class; -1 if there is none."""
    overlap: Float64[np.ndarray, "n"]
    """Largest IoU of each predicted row with a true box of its keyframe."""
    nearest: Int64[np.ndarray, "n"]
    """The true row with that IoU; -1 without overlap."""
    overlap_of_true: Float64[np.ndarray, "g"]
    """Largest IoU of each true row with a predicted box of its keyframe."""
    tracks: Int64[np.ndarray, "g"]
    """Number of the actor of each true row within its video; -1 if unknown."""
    ids: Sequence[str]
    """The example of each number in `true.video` and `predicted.video`."""
    frames: Mapping[FrameKey, FrameScore]
    """Keyframes with people."""
    sources: Mapping[str, tuple[str, float]]
    """File and frame rate by example; empty for results without them."""
    groups: Mapping[str, str]
    """The video of each example."""


def read_best_boxes(result: Result) -> BestBoxes | None:
    """Read the predictions of a result with its full path; None without any. UserError for a missing column."""
    path = Path(result.predictions)
    if not result.predictions or not path.is_file():
        return None
    table = read_predictions(path)
    try:
        return best_boxes(table)
    except KeyError as error:
        raise UserError(f"{path}: column {error} is missing; evaluate again with --overwrite") from None


def best_boxes(table: Table) -> BestBoxes:
    """Keep the best predictions of each keyframe and match them as the headline does."""
    given, true, _ = prediction_columns.boxes(table)
    given = boxes.rows(given, boxes.valid(given.box) & (given.score > 0))
    predicted = boxes.rows(given, _kept(given, true))
    codes = boxes.frame_codes(predicted, true)
    pairs = boxes.pairs(predicted.box, true.box, (codes[0], codes[1]), least=0.0)
    overlap, nearest = np.zeros(len(predicted.label)), np.full(len(predicted.label), -1)
    left, right, iou = boxes.best_partner(pairs)
    overlap[left], nearest[left] = iou, right
    of_true = np.zeros(len(true.label))
    np.maximum.at(of_true, pairs[1], pairs[2])
    partner = _partners(predicted, true)
    ids, paths, rates = table["id"], table.get("path"), table.get("frame_rate")
    tracks = np.array([t for of in table.get("true_tracks") or [] for t in of] or [-1] * len(true.label), np.int64)
    return BestBoxes(
        true,
        predicted,
        partner,
        overlap,
        nearest,
        of_true,
        tracks,
        ids,
        _frames(ids, true, codes, partner >= 0, of_true),
        dict(zip(ids, zip(paths, rates, strict=True), strict=True)) if paths and rates else {},
        dict(zip(ids, table["group"], strict=True)),
    )


def _kept(given: Boxes, true: Boxes) -> Int64[np.ndarray, "k"]:
    """Rows with the highest scores of each keyframe, as many as it has true ones; by keyframe and falling score."""
    code, true_code = boxes.frame_codes(given, true)
    most = np.bincount(true_code, minlength=int(code.max(initial=-1)) + 1)
    order = boxes.falling(code, given.score, stable=True)
    ranked = code[order]
    rank = np.arange(len(ranked)) - np.searchsorted(ranked, ranked)
    kept: Int64[np.ndarray, "k"] = order[rank < most[ranked]]
    return kept


def _partners(predicted: Boxes, true: Boxes) -> Int64[np.ndarray, "n"]:
    selected = frame_ap.select(predicted, true, reading=READING)
    matching = frame_ap.match(selected, [IOU], READING)
    partner = np.full(len(predicted.label), -1)
    partner[selected.row[matching.row]] = np.append(selected.true_row, -1)[matching.true_row[0]]
    return partner


def _frames(
    ids: Sequence[str],
    true: Boxes,
    codes: list[Int64[np.ndarray, "_"]],
    right: Bool[np.ndarray, "n"],
    overlap: Float64[np.ndarray, "g"],
) -> dict[FrameKey, FrameScore]:
    """The score and the rows of each keyframe with people, in the order of the examples."""
    code, true_code = codes
    rows: dict[int, tuple[list[int], list[int]]] = {c: ([], []) for c in np.unique(true_code).tolist()}
    for row, c in enumerate(true_code.tolist()):
        rows[c][0].append(row)
    for row, c in enumerate(code.tolist()):
        rows[c][1].append(row)
    return {
        (ids[int(true.video[own[0]])], float(true.time[own[0]])): FrameScore(
            float(right[given].sum()) / len(own), len(own), float(overlap[own].mean()), own, given
        )
        for own, given in rows.values()
    }
