"""Video-mAP of actors with tracks: predictions of single frames, linked over the windows of a video to tubes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy.typing import NDArray

from vitascope.core.actors import Keyframes
from vitascope.core.types import Score
from vitascope.metrics import boxes, temporal_ap, tube_ap, tube_linking, tubes
from vitascope.metrics.boxes import Boxes
from vitascope.metrics.temporal_ap import Matching

Array = NDArray[Any]
LINKING = tube_linking.LINKINGS["act"]._replace(pixel=0.0)
"""The ACT detector's rule, for boxes in fractions of the frame."""
NAMES = {"video-mAP@0.5": slice(1, 2), "video-mAP@0.2": slice(0, 1), "video-mAP@0.5:0.95": slice(1, None)}
"""The scores and their thresholds among `tube_ap.LEVELS`."""


def has_tubes(truth: Sequence[Keyframes]) -> bool:
    """Whether actors are followed over several times of an example."""
    return any(len(t.times) > 1 and any(a.track >= 0 for a in t.actors) for t in truth)


def video_scores(
    predicted: Boxes, truth: Sequence[Keyframes], groups: Sequence[str], rng: np.random.Generator
) -> dict[str, Score]:
    """Video-mAP in percent at IoU 0.2, 0.5 and averaged over 0.5 to 0.95, with intervals over the videos.

    `predicted` has the boxes of numbered examples, and `groups` the video of each. Tubes overlap as in MultiSports'
    evaluation.
    """
    video = np.unique(np.asarray(groups, str), return_inverse=True)[1].astype(np.int64)
    clock = _Clock(truth, video)
    true = true_tubes(truth, video, clock)
    frames = clock.frames(predicted.video, predicted.time)
    linked = tube_linking.link(
        predicted._replace(video=video[predicted.video], time=frames.astype(np.float64)), LINKING
    )
    matching = tube_ap.match(linked, true)
    return {name: _interval(matching, levels, rng) for name, levels in NAMES.items()} if len(true.video) else {}


def _interval(matching: Matching, levels: slice, rng: np.random.Generator) -> Score:
    chosen = matching._replace(thresholds=matching.thresholds[levels], true_row=matching.true_row[levels])
    return temporal_ap.bootstrap(chosen, rng=rng)[0]["mAP"]


class _Clock:
    """Numbers the annotated frames of each video from its first; the usual distance of two is one frame."""

    def __init__(self, truth: Sequence[Keyframes], video: Int64[Array, "e"]) -> None:
        self.video = video
        count = int(video.max(initial=-1)) + 1
        self.first, self.step = np.zeros(count), np.ones(count)
        times = np.array([(n, time) for n, t in zip(video.tolist(), truth, strict=True) for time in t.times])
        of, time = np.unique(times.reshape(-1, 2), axis=0).T
        edges = np.searchsorted(of, np.arange(count + 1))
        for n in np.flatnonzero(np.diff(edges)).tolist():
            own = time[edges[n] : edges[n + 1]]
            self.first[n], self.step[n] = own[0], float(np.median(np.diff(own))) if len(own) > 1 else 1.0

    def frames(self, example: Int64[Array, "n"], time: Array) -> Int64[Array, "n"]:
        """The number of the frame at a time of each example."""
        of = self.video[example]
        return np.rint((time - self.first[of]) / self.step[of]).astype(np.int64)


def true_tubes(truth: Sequence[Keyframes], video: Int64[Array, "e"], clock: _Clock) -> tubes.Tubes:
    """The tubes of followed actors, one for each class, however many examples they extend over.

    A frame that two examples share counts once; a tube ends where an actor is not annotated, or is not of the class,
    for more than the `patience` of the linking.
    """
    rows = [
        (n, a.time, *a.box, label, a.track)
        for n, t in enumerate(truth)
        for a in t.actors
        if a.track >= 0
        for label in a.labels
    ]
    table = np.array(rows, np.float64).reshape(-1, 8)
    example, label, track = (table[:, column].astype(np.int64) for column in (0, 6, 7))
    frame = clock.frames(example, table[:, 1])
    key = np.stack([boxes.joint_codes(video[example], label, track), frame], 1)
    each, first = np.unique(key, axis=0, return_index=True)
    starts = np.append(True, (np.diff(each[:, 0]) != 0) | (np.diff(each[:, 1]) > LINKING.patience))[: len(each)]
    chosen = Boxes(
        video[example[first]], frame[first].astype(np.float64), table[first, 2:6], label[first], np.ones(len(first))
    )
    return tubes.tubes_of(chosen, np.cumsum(starts))
