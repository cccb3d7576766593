"""Why predicted actors are wrong: error types, and scores by size of the box and by number of people, as plain data."""

from __future__ import annotations

from math import isfinite
from typing import Any

from jaxtyping import Real
from numpy.typing import NDArray

from vitascope.metrics import detection_errors, localization_errors
from vitascope.metrics.detection_errors import PEOPLE, SIZES, Recall
from vitascope.metrics.frame_ap import Selected
from vitascope.metrics.localization_errors import Ranges
from vitascope.metrics.temporal_ap import Matching

Array = NDArray[Any]
FOUND = 1
"""Place in `detection_errors.BEST` of the number of boxes of a frame by which people are to be found."""


def diagnosis(selected: Selected, matching: Matching, found: Recall) -> dict[str, Any]:
    """Error types of the predictions, and what is found and known in each range of sizes and numbers of people.

    `matching` is that of `selected` at one threshold; `found` tells which people are found by the boxes of their frame,
    for each of `detection_errors.BEST`.
    """
    errors = detection_errors.diagnose(selected, matching)
    missed = {
        "boxes": int((~errors.detected).sum()),
        "percent": _finite(detection_errors.missed(errors)),
        "gain": _finite(detection_errors.missed_gain(matching, errors)),
    }
    sizes, people = ((of(selected.truth), of(found.people)) for of in (detection_errors.sizes, detection_errors.people))
    return {
        "gains": errors.gains,
        "false": errors.false,
        "best": detection_errors.best_kinds(matching, errors),
        "missed": missed,
        "size": _by_range(matching, found, SIZES, *sizes),
        "people": _by_range(matching, found, PEOPLE, *people),
    }


def _by_range(
    matching: Matching, found: Recall, ranges: Ranges, of_rows: Real[Array, "r"], of_people: Real[Array, "p"]
) -> list[dict[str, Any]]:
    """A record for each range that has a true box; its values are of true rows, one for each label, and of people."""
    known = localization_errors.sensitivity(matching, ranges, of_rows)
    people = detection_errors.recall_by(found, ranges, of_people)
    return [
        {
            "range": name,
            "above": above,
            "boxes": known[name].segments,
            "mAP_N": _finite(known[name].average_map),
            "missed": _finite(known[name].missed),
            "people": people[name][0],
            "found": _finite(people[name][1][FOUND]),
        }
        for name, above in zip(ranges.names, ranges.edges, strict=True)
        if known[name].segments
    ]


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
