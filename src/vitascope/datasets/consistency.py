"""Consistency over all videos of a dataset: a unit or a frame rate taken for another one shows in every video alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vitascope.core.errors import UserError
from vitascope.core.types import Dataset, Example
from vitascope.datasets.readers.keyframe_examples import KEYFRAME_SLACK
from vitascope.video.inspect import inspect

NTSC = 1000 / 1001
RATES = (25.0, 30.0, 24.0, 30 * NTSC, 24 * NTSC, 60.0, 50.0, 60 * NTSC, 15.0, 10.0, 12.5, 20.0, 12.0)
"""Usual frame rates, frames per second, the most common first."""
SHARE = 0.9
"""Share of the videos that one factor must explain to count as common to all."""
SAMPLE = 8
"""Videos whose duration is compared with the annotated one before work starts."""
SLACK = 0.02
"""Relative difference of annotated and real durations that is taken for rounding."""
MILLISECONDS = 1000.0
Values = npt.NDArray[np.float64]


class Factor(NamedTuple):
    """A factor that explains the times of (nearly) all videos."""

    low: float
    high: float

    @property
    def value(self) -> float:
        """The middle of the possible values."""
        return (self.low + self.high) / 2

    def cause(self, given: float = 0.0) -> str:
        """The most common pair of frame rates that explains the factor, as a clause; `given` is the assumed rate."""
        for rate, taken in permutations(RATES, 2):
            if self.low <= taken / rate <= self.high and (not given or np.isclose(taken, given, rtol=1e-4)):
                return f", as if {rate:.5g} frames per second were taken for {taken:.5g}"
        return ""


def common_factor(low: Sequence[float], high: Sequence[float]) -> Factor | None:
    """The factor that lies within [low, high] of nearly all videos; None if there is none, or most videos admit 1."""
    lows, highs = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if not len(lows) or 2 * _admitting(lows, highs, 1.0) > len(lows):
        return None
    best = max(lows.tolist(), key=lambda value: _admitting(lows, highs, value))
    inside = (lows <= best) & (best <= highs)
    if inside.sum() < SHARE * len(lows):
        return None
    return Factor(float(lows[inside].max()), float(highs[inside].min()))


def _admitting(lows: Values, highs: Values, value: float) -> int:
    """Number of videos whose range contains `value`."""
    return int(np.count_nonzero((lows <= value) & (value <= highs)))


def check_temporal(dataset: Dataset[Any]) -> None:
    """Raise `UserError` for what would spoil the whole evaluation of untrimmed videos, before any work starts.

    That is a side of a split without actions, times in another unit than seconds, keyframes after the end of most
    videos, and videos whose real durations differ from the annotated ones by one factor.
    """
    if dataset.kind == "localization":
        _check_sides(dataset)
        _check_units(dataset)
    if dataset.kind == "detection":
        _check_keyframes(dataset)
    if dataset.kind != "recognition":
        _check_durations(dataset)


def _check_sides(dataset: Dataset[Any]) -> None:
    truth = {e.id: e.truth for e in dataset.examples}
    for fold in dataset.folds:
        for side, ids in (("training", fold.train), ("test", fold.test)):
            if not any(truth[i] for i in ids):
                raise UserError(
                    f"{dataset.name}: none of the {len(ids)} {side} videos of {fold.name} has an annotated action; "
                    f"annotate some, or choose another split"
                )


def _check_units(dataset: Dataset[Any]) -> None:
    """Raise `UserError` if the actions of most videos end long after the videos."""
    acting = [e for e in dataset.examples if e.truth]
    ends = [(max(s.end for s in e.truth), e.duration) for e in acting if e.duration]
    ends = ends or [(max(s.end for s in e.truth), _real_duration(e)) for e in _sample(dataset, acting)]
    ratios = [end / duration for end, duration in ends if duration]
    late = [r for r in ratios if r > 1 + SLACK]
    if not late or 2 * len(late) <= len(ratios):
        return
    largest = max(late)
    unit = "milliseconds" if largest > MILLISECONDS / 4 else "frames" if largest > min(RATES) / 2 else ""
    cause = f"; the times look like {unit}, not seconds" if unit else "; are the times in seconds?"
    raise UserError(
        f"{dataset.name}: in {len(late)} of {len(ratios)} videos actions end after the video, by a factor of up to "
        f"{largest:.3g}{cause}; convert them, or correct the durations"
    )


def _check_keyframes(dataset: Dataset[Any]) -> None:
    """Raise `UserError` if the last keyframes of most videos looked at are after the end of the video."""
    last: dict[str, Example[Any]] = {}
    for e in dataset.examples:
        if e.id not in dataset.missing_files and (e.path not in last or _end(e) > _end(last[e.path])):
            last[e.path] = e
    measured = [(_end(e), real, e) for e in _sample(dataset, list(last.values())) if (real := _real_duration(e))]
    late = [(time, real, e) for time, real, e in measured if time > real * (1 + SLACK) + KEYFRAME_SLACK]
    if not late or 2 * len(late) <= len(measured):
        return
    time, real, e = late[0]
    raise UserError(
        f"{dataset.name}: in {len(late)} of {len(measured)} videos looked at there are keyframes after the end, such "
        f"as {time:g} s of {real:.1f} s in {e.path}; are the times seconds from the start of the file, not frames?"
    )


def _end(example: Example[Any]) -> float:
    """The last annotated time of an example with keyframes, seconds."""
    return max(example.truth.times, default=0.0)


def _check_durations(dataset: Dataset[Any]) -> None:
    """Raise `UserError` if the videos on disk all differ from the annotated durations by the same factor."""
    measured = list(_durations(dataset))
    ratios = [real / annotated for annotated, real in measured]
    factor = common_factor([r * (1 - SLACK) for r in ratios], [r * (1 + SLACK) for r in ratios])
    if factor is None or len(measured) < 2:
        return
    annotated, real = measured[0]
    raise UserError(
        f"{dataset.name}: all {len(measured)} videos looked at are {factor.value:.4g} times as long as annotated (the "
        f"first {real:.1f} s, not {annotated:.1f} s){factor.cause()}; correct the rate or the durations in the "
        "annotations"
    )


def _durations(dataset: Dataset[Any]) -> Iterator[tuple[float, float]]:
    """Annotated and real duration, seconds, of a few videos on disk; those that cannot be read are skipped."""
    for example in _sample(dataset, [e for e in dataset.examples if e.duration]):
        real = _real_duration(example)
        if example.duration and real:
            yield example.duration, real


def _sample(dataset: Dataset[Any], examples: Sequence[Example[Any]]) -> list[Example[Any]]:
    """About `SAMPLE` of the examples whose file exists, evenly spread."""
    present = [e for e in examples if e.path and e.id not in dataset.missing_files]
    return present[:: max(1, len(present) // SAMPLE)]


def _real_duration(example: Example[Any]) -> float:
    try:
        return inspect(example.path, fps=example.fps).duration
    except (UserError, OSError):
        return 0.0  # reported where its features are made
