"""Grids: which seconds of a video the rows of somebody's features speak for, however that was written down."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.core.types import Span

FIELDS = {
    **dict.fromkeys(("fps", "feature_fps"), "fps"),
    **dict.fromkeys(("stride", "feat_stride", "feature_stride", "snippet_stride", "stride_frames"), "stride"),
    **dict.fromkeys(("window", "num_frames", "clip_length", "window_frames"), "window"),
    **dict.fromkeys(("offset", "offset_frames"), "offset"),
    **dict.fromkeys(("seconds", "window_seconds"), "seconds"),
    **dict.fromkeys(("stride_seconds",), "stride_seconds"),
    **dict.fromkeys(("resized", "force_upsampling"), "resized"),
}
"""What ActionFormer, OpenTAD and others call the same things; of the file beside the features."""
OTHER = ("layout", "encoder", "note")
TEXT = re.compile(r"(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)(?:@(\d+(?:\.\d+)?))?")


@dataclass(frozen=True, slots=True)
class FeatureGrid:
    """Row j speaks for the `seconds` from `start + j * stride` on; with `resized` for one of n equal parts."""

    seconds: float = 0.0
    stride: float = 0.0
    start: float = 0.0
    resized: bool = False

    def __post_init__(self) -> None:
        if not self.resized and not (self.seconds > 0 and self.stride > 0):
            raise UserError(f"a grid has a window and a stride of more than 0 s, not {self.seconds} and {self.stride}")

    def spans(self, count: int, duration: float | None, where: str) -> list[Span]:
        """Of `count` rows; they may reach over the ends of the video: the middle of a row is what it is read at."""
        if not self.resized:
            begins = [self.start + j * self.stride for j in range(count)]
            return [(begin, begin + self.seconds) for begin in begins]
        if not duration:
            raise UserError(f"{where}: features of one length for every video need its duration, which nothing says")
        return [(duration * j / count, duration * (j + 1) / count) for j in range(count)]

    def fits(self, count: int, duration: float) -> bool:
        """Whether so many rows are what a video of `duration` seconds gives, or a little less or more."""
        covered = (count - 1) * self.stride + self.seconds
        return self.resized or abs(covered - duration) <= max(2 * self.stride + self.seconds, duration / 10)


def parse(text: str) -> FeatureGrid:
    """`0.5/0.125` (window and stride, seconds), `16/4@30` (both in frames, at so many a second), or `resized`."""
    if text.strip() == "resized":
        return FeatureGrid(resized=True)
    form = TEXT.fullmatch(text.strip())
    if form is None:
        raise UserError(
            f"--grid {text!r}: say window/stride in seconds (0.5/0.125), in frames (16/4@30), or resized (every video "
            "has as many vectors)"
        )
    rate = float(form[3] or 1)
    return FeatureGrid(float(form[1]) / rate, float(form[2]) / rate) if rate else FeatureGrid()


def of_fields(about: Mapping[str, Any], where: str) -> FeatureGrid | None:
    """The grid that a json beside the features writes down; None where it has none of it.

    Frames: `fps`, `stride` (`feat_stride`, `snippet_stride`), `window` (`num_frames`, `clip_length`) or `offset` (the
    middle of the first window); or `seconds` and `stride_seconds`; or `resized`.
    """
    given: dict[str, Any] = {}
    for name, value in about.items():
        if name in FIELDS:
            given[FIELDS[name]] = value
        elif name not in OTHER:
            known = nearest(name, FIELDS)
            raise UserError(
                f"{where}: no field {name!r}{known}; there are fps, stride, window, offset, resized, layout"
            )
    if not given:
        return None
    if given.pop("resized", False):
        return FeatureGrid(resized=True)
    number = {name: _number(value, f"{where}: {name}") for name, value in given.items()}
    if "seconds" in number and "stride_seconds" in number:
        return FeatureGrid(number["seconds"], number["stride_seconds"])
    lacking = [name for name in ("fps", "stride") if name not in number]
    lacking += [] if "window" in number or "offset" in number else ["window"]
    if lacking:
        raise UserError(f"{where}: no {' and no '.join(lacking)}; times in seconds cannot be told without")
    window = number.get("window", 2 * number.get("offset", 0.0))
    middle = number.get("offset", window / 2)
    rate = number["fps"]
    return FeatureGrid(window / rate, number["stride"] / rate, (middle - window / 2) / rate)


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise UserError(f"{where} {value!r} is not a number above 0")
    return float(value)
