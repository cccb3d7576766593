"""Time grids of imported features: which seconds of a video each row covers, in any of the common notations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vitascope.core import option_text
from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.core.types import Span

FIELD_ALIASES = {
    **dict.fromkeys(("fps", "feature_fps"), "fps"),
    **dict.fromkeys(("stride", "feat_stride", "feature_stride", "snippet_stride", "stride_frames"), "stride"),
    **dict.fromkeys(("window", "num_frames", "clip_length", "window_frames"), "window"),
    **dict.fromkeys(("offset", "offset_frames"), "offset"),
    **dict.fromkeys(("seconds", "window_seconds"), "seconds"),
    **dict.fromkeys(("stride_seconds",), "stride_seconds"),
    **dict.fromkeys(("resized", "force_upsampling"), "resized"),
}
"""Field names in the metadata files of ActionFormer, OpenTAD and others, by ours."""
TINY = 1e-9
OTHER_FIELDS = ("layout", "encoder", "note")
PATTERN = re.compile(r"(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)(?:@(\d+(?:\.\d+)?|video))?")
EACH_VIDEO = "video"
"""In place of a frame rate: that of each video."""


@dataclass(frozen=True, slots=True)
class FeatureGrid:
    """Row j covers `seconds` seconds from `start + j * stride` on; with `resized`, the j-th of n equal parts."""

    seconds: float = 0.0
    stride: float = 0.0
    start: float = 0.0
    resized: bool = False
    fps: float = field(default=0.0, compare=False)
    """Frame rate by which frames were converted to seconds; 0 if given in seconds."""
    in_frames: bool = False
    """Whether the lengths are in frames of each video, to be converted by `at`."""

    def __post_init__(self) -> None:
        if not self.resized and not (self.seconds > 0 and self.stride > 0):
            raise UserError(f"time grid: window and stride must be above 0, not {self.seconds:g} and {self.stride:g}")

    def at(self, fps: float) -> FeatureGrid:
        """Return the grid in seconds of a video of `fps` frames per second."""
        if not fps > 0:
            raise UserError(f"time grid: the frame rate of window and stride must be above 0, not {fps:g}")
        return FeatureGrid(self.seconds / fps, self.stride / fps, self.start / fps, fps=fps)

    def spans(self, count: int, duration: float | None, where: str) -> list[Span]:
        """Return start and end of `count` rows, seconds; they may exceed the video, as only their centers are used."""
        if not self.resized:
            begins = [self.start + j * self.stride for j in range(count)]
            return [(begin, begin + self.seconds) for begin in begins]
        if not duration:
            raise UserError(f"{where}: resized features need the duration of the video, which is not annotated")
        return [(duration * j / count, duration * (j + 1) / count) for j in range(count)]

    def fits(self, count: int, duration: float) -> bool:
        """Return whether `count` rows roughly cover a video of `duration` seconds."""
        covered = (count - 1) * self.stride + self.seconds
        return self.resized or abs(covered - duration) <= max(2 * self.stride + self.seconds, duration / 10)

    def factor_range(self, count: int, duration: float) -> tuple[float, float]:
        """Return the least and the largest factor by which this grid can be off, if `count` rows cover `duration`.

        Within it lies 1 if the last window ends up to a stride and a window before or a stride after the video ends.
        """
        longest = self.start + self.seconds + (count + 1) * self.stride
        return duration / longest, duration / max(self.start + (count - 2) * self.stride, TINY)


def parse_grid(text: str) -> FeatureGrid:
    """Parse `0.5/0.125` (window and stride, seconds), `16/4@30` (frames, at 30 fps), `16/4@video`, or `resized`.

    Or the fields of the JSON beside the features by name, see `grid_from_fields`: `window=16+stride=4+fps=30`.
    """
    if text.strip() == "resized":
        return FeatureGrid(resized=True)
    if "=" in text:
        return _by_name(text.strip())
    match = PATTERN.fullmatch(text.strip())
    if match is None:
        raise UserError(
            f"--grid {text!r}: expected window/stride in seconds (0.5/0.125) or frames (16/4@30; 16/4@video: at the "
            "rate of each video), or resized (the same number of vectors for every video)"
        )
    window, stride, rate = float(match[1]), float(match[2]), match[3]
    return FeatureGrid(window, stride) if rate is None else _in_frames(window, stride, 0.0, rate)


def _in_frames(window: float, stride: float, start: float, rate: str | float) -> FeatureGrid:
    """Return a grid given in frames at `rate`, or in those of each video."""
    grid = FeatureGrid(window, stride, start, in_frames=True)
    return grid if rate == EACH_VIDEO else grid.at(float(rate))


def _by_name(text: str) -> FeatureGrid:
    """Parse a grid given as named fields."""
    kinds = {name: bool if known == "resized" else float for name, known in FIELD_ALIASES.items()}
    given = option_text.once(option_text.parse(f"+{text}", path=False).options, f"--grid {text}")
    read = {
        name: value if value == EACH_VIDEO else option_text.read(kinds.get(name, str), value, f"--grid: {name}")
        for name, value in given.items()
    }
    grid = grid_from_fields(read, f"--grid {text}")
    if grid is None:
        raise UserError(f"--grid {text}: window and stride missing; for example window=16+stride=4+fps=30")
    return grid


def grid_from_fields(metadata: Mapping[str, Any], where: str) -> FeatureGrid | None:
    """Return the time grid in the metadata of a feature folder; None if it states none.

    In frames: `fps`, `stride` (`feat_stride`, `snippet_stride`), and `window` (`num_frames`, `clip_length`) or `offset`
    (the center of the first window); or in seconds: `seconds` and `stride_seconds`; or `resized`. An `fps` of `video`
    stands for the frame rate of each video.
    """
    values: dict[str, Any] = {}
    for name, value in metadata.items():
        if name in FIELD_ALIASES:
            values[FIELD_ALIASES[name]] = value
        elif name not in OTHER_FIELDS:
            suggestion = nearest(name, FIELD_ALIASES)
            raise UserError(
                f"{where}: unknown field {name!r}{suggestion}; known: fps, stride, window, offset, resized, layout"
            )
    if not values:
        return None
    if values.pop("resized", False):
        return FeatureGrid(resized=True)
    each = values.get("fps") == EACH_VIDEO
    numbers = {name: _number(v, f"{where}: {name}") for name, v in values.items() if not (each and name == "fps")}
    if "seconds" in numbers and "stride_seconds" in numbers:
        return FeatureGrid(numbers["seconds"], numbers["stride_seconds"])
    missing = [name for name in ("fps", "stride") if name not in values]
    missing += [] if "window" in numbers or "offset" in numbers else ["window"]
    if missing:
        raise UserError(f"{where}: {' and '.join(missing)} missing; add them to derive times in seconds")
    window = numbers.get("window", 2 * numbers.get("offset", 0.0))
    middle = numbers.get("offset", window / 2)
    return _in_frames(window, numbers["stride"], middle - window / 2, values["fps"])


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise UserError(f"{where} must be a number above 0, not {value!r}")
    return float(value)
