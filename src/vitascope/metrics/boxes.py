"""Boxes of many frames as columns, their overlap, and the pairs of predicted and true boxes of a frame."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Integer
from numpy.typing import NDArray

from vitascope.core.errors import UserError
from vitascope.metrics.matching import pairs_with_equal_keys

Array: TypeAlias = NDArray[Any]
Rows: TypeAlias = Integer[Array, "k"] | Bool[Array, "n"]
Pairs: TypeAlias = tuple[Int64[Array, "p"], Int64[Array, "p"], Float[Array, "p"]]
"""Row indices of predicted and of true boxes, and the IoU of each pair."""

COMPACT = 1 << 16
"""Range of whole numbers that is always looked up in a table."""


class Frames(NamedTuple):
    """Frames of many videos as columns, such as those without people or those that are not evaluated."""

    video: Int64[Array, "n"]
    """Number of the video, as in `Boxes`."""
    time: Float64[Array, "n"]
    """Time of the frame, as in `Boxes`."""


class Boxes(NamedTuple):
    """Labeled boxes of many frames as columns; a person with two actions has two rows.

    Scores of true boxes are ignored.
    """

    video: Int64[Array, "n"]
    """Number of the video, shared by predictions and truth."""
    time: Float64[Array, "n"]
    """Time of the frame: seconds, or the index of the frame. Rows with equal video and time are of one frame."""
    box: Float64[Array, "n 4"]
    """x1, y1, x2, y2: fractions of the frame or pixels, the same in predictions and truth."""
    label: Int64[Array, "n"]
    """Class, any whole number."""
    score: Float64[Array, "n"]
    """Confidence."""


def rows(boxes: Boxes, which: Rows) -> Boxes:
    """The boxes selected by index or mask."""
    return Boxes(*(column[which] for column in boxes))


def areas(box: Float[Array, "n 4"], pixel: float = 0.0) -> Float[Array, "n"]:
    """Area of each box; `pixel` is added to its sides (1 where coordinates are the first and last pixel)."""
    product: Float[Array, "n"] = (box[:, 2] - box[:, 0] + pixel) * (box[:, 3] - box[:, 1] + pixel)
    return product


def iou(a: Float[Array, "n 4"], b: Float[Array, "n 4"], pixel: float = 0.0) -> Float[Array, "n"]:
    """Intersection over union of each box of `a` with the box of `b` in the same row; 0 for two boxes without area."""
    size = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]) + pixel
    shared = np.maximum(size[:, 0], 0) * np.maximum(size[:, 1], 0)
    union = areas(a, pixel) + areas(b, pixel) - shared
    share: Float[Array, "n"] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return share


def pairs(
    a: Float[Array, "n 4"], b: Float[Array, "m 4"], keys: tuple[Array, Array], *, least: float, pixel: float = 0.0
) -> Pairs:
    """Pairs of rows with equal keys and an IoU above 0 and at least `least`, ordered by row of `a`, then of `b`."""
    blocks = []
    for i, j in pairs_with_equal_keys(*keys):
        overlap = iou(a[i], b[j], pixel)
        near = np.flatnonzero((overlap > 0) & (overlap >= least))
        blocks.append((i[near], j[near], overlap[near]))
    left, right, overlap = (np.concatenate(column) for column in zip(*blocks, strict=True))
    return left, right, overlap


def best_partner(pairs: Pairs) -> tuple[Int64[Array, "q"], Int64[Array, "q"], Float[Array, "q"]]:
    """For each left row its pair with the largest IoU, the first of equal ones; `pairs` as `pairs` orders them."""
    left, right, overlap = pairs
    if not len(left):
        return pairs
    first = np.flatnonzero(np.append(True, left[1:] != left[:-1]))
    most = np.repeat(np.maximum.reduceat(overlap, first), np.diff(np.append(first, len(left))))
    top = np.flatnonzero(overlap == most)
    top = top[np.append(True, left[top][1:] != left[top][:-1])]
    return left[top], right[top], overlap[top]


def by_overlap(pairs: Pairs) -> Pairs:
    """Pairs sorted by left row, descending IoU and right row."""
    left, right, overlap = pairs
    order = np.lexsort((right, -overlap, left))
    return left[order], right[order], overlap[order]


def frame_codes(*sides: Boxes | Frames) -> list[Int64[Array, "_"]]:
    """The number of the frame of each row, shared by all tables: equal for equal video and time, ordered by both."""
    video, time = (np.concatenate([getattr(side, name) for side in sides]) for name in ("video", "time"))
    whole = time.astype(np.int64)
    column = whole if (whole == time).all() else np.unique(time, return_inverse=True)[1]
    return np.split(joint_codes(video, column), np.cumsum([len(side.video) for side in sides])[:-1])


def joint_codes(*columns: Integer[Array, "n"]) -> Int64[Array, "n"]:
    """A number from 0 per distinct row of whole numbers, in their order."""
    code = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        place = compact(column)
        code = compact(code * (int(place.max(initial=0)) + 1) + place)
    return code


def compact(codes: Integer[Array, "n"]) -> Int64[Array, "n"]:
    """The whole numbers in their order as 0, 1 ...; without sorting if they lie close together."""
    low, high = (int(codes.min()), int(codes.max())) if len(codes) else (0, 0)
    if high - low > 4 * len(codes) + COMPACT:
        return np.unique(codes, return_inverse=True)[1]
    shifted = codes - low
    present = np.zeros(high - low + 1, bool)
    present[shifted] = True
    place: Int64[Array, "n"] = (present.cumsum() - 1)[shifted]
    return place


def falling(code: Int64[Array, "n"], score: Float[Array, "n"], *, stable: bool) -> Int64[Array, "n"]:
    """Rows by ascending code, within a code by descending score; ties in order if `stable`, which is slower."""
    by_score = np.argsort(-score, kind="stable" if stable else None)
    return by_score[sorted_by(code[by_score])]


def sorted_by(code: Int64[Array, "n"]) -> Int64[Array, "n"]:
    """Rows by ascending code from 0, equal ones in order; NumPy has a radix sort up to 16 bits."""
    return np.argsort(code.astype(np.min_scalar_type(int(code.max(initial=0)))), kind="stable")


def check(boxes: Boxes, what: str, *, scored: bool = True) -> None:
    """Raise UserError for columns of different lengths or numbers that are not finite; `what` names the boxes."""
    if len({len(column) for column in boxes}) > 1 or boxes.box.ndim != 2 or boxes.box.shape[1] != 4:
        raise UserError(
            f"the columns of {what} do not fit: lengths {[len(column) for column in boxes]}, boxes of shape "
            f"{boxes.box.shape}; expected one row per box and four numbers x1, y1, x2, y2"
        )
    for name in ("time", "box", *(["score"] if scored else [])):
        column = getattr(boxes, name)
        bad = not_finite(column)
        if bad.size:
            raise UserError(
                f"{what}: {name} {column[bad[0]].tolist()} in row {bad[0]}, video {boxes.video[bad[0]]}: expected "
                "finite numbers; remove or correct it"
            )


def not_finite(column: Array) -> Int64[Array, "k"]:
    """Rows that are not finite; of boxes, in any of their numbers."""
    finite = np.isfinite(column)
    return np.flatnonzero(~(finite.all(axis=1) if column.ndim > 1 else finite))


def valid(box: Float[Array, "n 4"]) -> Bool[Array, "n"]:
    """Whether each box has a positive width and height."""
    both: Bool[Array, "n"] = (box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])
    return both
