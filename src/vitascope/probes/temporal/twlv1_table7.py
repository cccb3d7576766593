"""Table 7 of the TWLV-I report: sliding windows of localization and segmentation on each dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vitascope.features.view import View
from vitascope.sampling.names import MultiClip


@dataclass(frozen=True)
class Table7Windows:
    """Sliding window by which one dataset is embedded."""

    seconds: float
    """Clip length T, seconds."""
    stride: float
    """Stride T_s from one clip to the next, seconds."""
    fps: float
    """Frame rate of the videos, as in the report."""

    @property
    def view(self) -> View:
        """One stored vector per clip; the end of a video is treated as by `MultiClip`."""
        return View(MultiClip(self.seconds, self.stride))


WINDOWS: Mapping[str, Table7Windows] = {
    "thumos14": Table7Windows(0.5, 0.125, 30),
    "activitynet": Table7Windows(0.5, 0.25, 30),
    "50salads": Table7Windows(1.0, 0.25, 30),
    "gtea": Table7Windows(0.5, 0.125, 15),
    "breakfast": Table7Windows(0.5, 0.125, 15),
}
OWN: Mapping[str, Table7Windows] = {"motionlab": Table7Windows(1.0, 0.25, 12)}
"""Datasets outside the report: motion in MotionLab's videos takes a second to become visible."""
OTHERS = Table7Windows(0.5, 0.25, 30)
"""Default for all other datasets: as for ActivityNet, half as many clips as for THUMOS14."""


def windows(family: str) -> Table7Windows:
    """Return the window of a dataset by the name of its family (`Dataset.family`)."""
    return WINDOWS.get(family) or OWN.get(family, OTHERS)
