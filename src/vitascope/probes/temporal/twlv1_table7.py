"""Table 7 of the TWLV-I report: the windows through which dense heads see each data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vitascope.features.view import View
from vitascope.sampling.names import MultiClip


@dataclass(frozen=True)
class Table7Windows:
    """What the table says of how one data set is embedded."""

    seconds: float
    """Length T of a clip."""
    stride: float
    """Seconds T_s from one clip to the next."""
    fps: float
    """Frames per second of its videos, as the report has them."""

    @property
    def view(self) -> View:
        """One vector a clip, stored; the tail rule is `MultiClip`'s."""
        return View(MultiClip(self.seconds, self.stride))


WINDOWS: Mapping[str, Table7Windows] = {
    "thumos14": Table7Windows(0.5, 0.125, 30),
    "activitynet": Table7Windows(0.5, 0.25, 30),
    "50salads": Table7Windows(1.0, 0.25, 30),
    "gtea": Table7Windows(0.5, 0.125, 15),
    "breakfast": Table7Windows(0.5, 0.125, 15),
}
OWN: Mapping[str, Table7Windows] = {"motionlab": Table7Windows(1.0, 0.25, 12)}
"""Ours: a clip of MotionLab's slow films needs a second to show where things go."""
OTHERS = Table7Windows(0.5, 0.25, 30)
"""Of data sets that the table does not have: as ActivityNet, half as many clips as THUMOS14."""


def windows(family: str) -> Table7Windows:
    """The windows of a data set by its family's name (`Dataset.family`)."""
    return WINDOWS.get(family) or OWN.get(family, OTHERS)
