"""Frame-mAP and video-mAP of files of boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from vitascope.core.errors import UserError
from vitascope.core.text import counted, nearest
from vitascope.core.types import Score
from vitascope.evaluation.scored_files.box_files import BoxFiles, prediction_notes, read_box_files
from vitascope.evaluation.scored_files.scored import DRAWS, SEED, Scored, Statistic
from vitascope.metrics import detection_errors, frame_ap, localization_errors, tube_ap, tube_linking, tubes
from vitascope.metrics.detection_errors import PEOPLE, SIZES, SIZES_IN_PIXELS
from vitascope.metrics.frame_ap import COCO_LEVELS, READINGS, Reading
from vitascope.metrics.localization_errors import Errors, RangeErrors
from vitascope.metrics.stats import resampled
from vitascope.metrics.temporal_ap import Matching, average_precision, mean_over_classes

TIED = "equal scores: the official script leaves their order to an unstable sort; in the order of the file it is {:.2f}"
TELLING = 5e-5
"""Difference between two readings that is worth a note."""
OTHERS = ("official", "stable", "uncapped", "slowfast", "mmaction2")
"""Readings whose number is given beside the chosen one."""


def frame_scores(
    truth: Path, predictions: Sequence[Path], *, exclude: Path | None, classes: str, reading: str
) -> list[Scored]:
    """Frame-mAP at IoU 0.5 and 0.5:0.95 of each file, with intervals over videos and why boxes are wrong."""
    how = _reading(reading or "official", READINGS)
    files = read_box_files(truth, predictions, exclude, classes)
    return [_frames(files, index, READINGS[how], how) for index in range(len(predictions))]


def _frames(files: BoxFiles, index: int, reading: Reading, name: str) -> Scored:
    selected = _selected(files, index, reading)
    if not len(selected.truth.label):
        raise UserError(f"{files.tables[0].path}: no true box of an evaluated class is left after exclusion")
    matching = frame_ap.match(selected, COCO_LEVELS, reading)
    each = frame_ap.class_precisions(matching, selected.classes, reading)
    means = frame_ap.means(each, selected.classes)
    scores, per_class, statistic = _intervals(matching)
    names = files.classes.names
    exact = {
        name: float(means[0]),
        **{f"{name}@{level:g}": float(v) for level, v in zip(COCO_LEVELS, means, strict=True)},
    }
    exact |= {other: _exact(files, index, READINGS[other]) for other in OTHERS if other != name}
    notes = [*files.notes, *prediction_notes(files, index)]
    notes += [f"{counted(count, 'row')} {reason}: not counted" for reason, count in selected.ignored.items() if count]
    if name == "official" and abs(exact["stable"] - exact["official"]) >= TELLING:
        notes.append(TIED.format(100 * exact["stable"]))
    scores = {
        "frame-mAP@0.5": _moved(scores["mAP@0.5"], means[0]),
        "frame-mAP@0.5:0.95": _moved(scores["mAP"], means.mean()),
    }
    labeled = dict(zip(selected.classes.tolist(), each[0].tolist(), strict=True))
    classes = {names[c]: _moved(per_class.get(c, Score(100 * ap)), ap) for c, ap in labeled.items()}
    diagnosis = _diagnosis(files, index, selected, frame_ap.match(selected, [0.5], reading))
    return Scored(
        str(files.tables[index + 1].path), scores, classes, statistic, _units(files, reading), notes, exact, diagnosis
    )


def _selected(files: BoxFiles, index: int, reading: Reading) -> frame_ap.Selected:
    return frame_ap.select(
        files.predictions[index],
        files.truth,
        classes=files.classes.names,
        empty=files.empty,
        excluded=files.excluded,
        reading=reading,
    )


def _exact(files: BoxFiles, index: int, reading: Reading) -> float:
    selected = _selected(files, index, reading)
    each = frame_ap.class_precisions(frame_ap.match(selected, [0.5], reading), selected.classes, reading)
    return float(frame_ap.means(each, selected.classes)[0])


def _intervals(matching: Matching) -> tuple[dict[str, Score], dict[int, Score], Statistic]:
    """Scores at 0.5 and averaged over all thresholds, AP per class at the first, and the headline of resamples."""
    first = at_levels(matching, slice(0, 1))

    def main(weights: Int64[ndarray, "b u"]) -> Float64[ndarray, "b k"]:
        each = average_precision(first, weights)
        return np.column_stack([mean_over_classes(each), each[:, 0]])

    def average(weights: Int64[ndarray, "b u"]) -> Float64[ndarray, "b 1"]:
        mean: Float64[ndarray, "b 1"] = mean_over_classes(average_precision(matching, weights)).mean(
            axis=1, keepdims=True
        )
        return mean

    units = len(matching.videos)
    headline, *each = resampled(main, units, draws=DRAWS, rng=np.random.default_rng(SEED))
    (mean,) = resampled(average, units, draws=DRAWS // 4, rng=np.random.default_rng(SEED))
    per_class = dict(zip(matching.classes.tolist(), each, strict=True))

    def statistic(weights: Int64[ndarray, "b u"]) -> Float64[ndarray, "b 1"]:
        return mean_over_classes(average_precision(first, weights[:, matching.videos]))

    return {f"mAP@{matching.thresholds[0]:g}": headline, "mAP": mean}, per_class, statistic


def _moved(score: Score, value: float) -> Score:
    """The score with the evaluator's own value (a fraction); the interval moves along."""
    gap = 100 * float(value) - score.value
    ends = (None if end is None else min(max(end + gap, 0.0), 100.0) for end in score[1:])
    return Score(100 * float(value), *ends)


def _units(files: BoxFiles, reading: Reading) -> int:
    """Number of videos that can change the score."""
    return len(files.videos) if reading.frames == "all" else files.known


def at_levels(matching: Matching, levels: slice) -> Matching:
    """The matching at some of its thresholds."""
    return matching._replace(thresholds=matching.thresholds[levels], true_row=matching.true_row[levels])


def _diagnosis(files: BoxFiles, index: int, selected: frame_ap.Selected, matching: Matching) -> dict[str, Any]:
    errors = detection_errors.diagnose(selected, matching)
    ranges = SIZES if files.unit == "fraction" else SIZES_IN_PIXELS
    sizes, people = detection_errors.sizes(selected.truth), detection_errors.people(selected.truth)
    recall = detection_errors.box_recall(files.predictions[index], selected.truth)
    kept = len(sizes) == len(matching.true_label)
    return {
        **_errors(errors),
        "by size": _ranges(localization_errors.sensitivity(matching, ranges, sizes)) if kept else {},
        "by people": _ranges(localization_errors.sensitivity(matching, PEOPLE, people)) if kept else {},
        "box recall": dict(zip(("best 1", "best 10", "all"), recall.percent, strict=True)),
    }


def _errors(errors: Errors) -> dict[str, Any]:
    return {"missed": detection_errors.missed(errors), "false": dict(errors.false), "gains": dict(errors.gains)}


def _ranges(parts: Mapping[str, RangeErrors]) -> dict[str, Any]:
    return {
        name: {"boxes": part.segments, "mAP_N": part.average_map, "missed": part.missed}
        for name, part in parts.items()
        if part.segments
    }


def tube_scores(
    truth: Path, predictions: Sequence[Path], *, exclude: Path | None, classes: str, reading: str
) -> list[Scored]:
    """Frame-mAP and video-mAP of each file; predictions without numbers of tubes are linked first."""
    how = _reading(reading or "multisports", tube_ap.READINGS)
    if exclude:
        raise UserError("--exclude is for frame-ap; leave frames out of both files instead")
    files = read_box_files(truth, predictions, None, classes)
    if files.tables[0].person is None:
        raise UserError(f"{truth}: no column 'person' or 'tube', which tells the tubes of a video apart; add one")
    true = tubes.tubes_of(files.truth, files.tables[0].person)
    return [_tubes(files, index, true, how) for index in range(len(predictions))]


def _tubes(files: BoxFiles, index: int, true: tubes.Tubes, how: str) -> Scored:
    given, table = files.predictions[index], files.tables[index + 1]
    linked = table.person is None
    made = (
        tube_linking.link(given, tube_linking.LINKINGS[how])
        if table.person is None
        else tubes.tubes_of(given, table.person)
    )
    names = files.classes.names
    matching = tube_ap.match(made, true, reading=how, classes=names)
    each = frame_ap.class_precisions(matching, matching.classes, READINGS[how])
    means = each.mean(axis=1)
    scores, per_class, statistic = _intervals(at_levels(matching, slice(1, None)))
    low, _, _ = _intervals(at_levels(matching, slice(0, 1)))
    framed = frame_ap.select(given, files.truth, classes=names, reading=READINGS[how])
    frames, _, _ = _intervals(frame_ap.match(framed, [0.5], READINGS[how]))
    exact = _exact(files, index, READINGS[how])
    told = (
        f"linked to {counted(len(made.video), 'tube')} by the rule of {how}"
        if linked
        else counted(len(made.video), "tube")
    )
    return Scored(
        str(table.path),
        {
            "video-mAP@0.5": _moved(scores["mAP@0.5"], means[1]),
            "video-mAP@0.2": _moved(low["mAP@0.2"], means[0]),
            "video-mAP@0.5:0.95": _moved(scores["mAP"], means[1:].mean()),
            "frame-mAP@0.5": _moved(frames["mAP@0.5"], exact),
        },
        {names[c]: _moved(per_class[c], ap) for c, ap in zip(matching.classes.tolist(), each[1].tolist(), strict=True)},
        statistic,
        len(files.videos),
        [*files.notes, told, *prediction_notes(files, index)],
        {f"video-mAP@{level:g}": float(v) for level, v in zip(matching.thresholds, means, strict=True)}
        | {"frame-mAP@0.5": exact},
    )


def _reading(name: str, known: Mapping[str, Any]) -> str:
    if name not in known:
        raise UserError(f"--reading {name!r}{nearest(name, known)}; choose from {', '.join(known)}")
    return name
